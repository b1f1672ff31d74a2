/* What is counted of a source, by each worker in a block of its own (base/tally.h), and what it is like now. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/tally.h"

enum pool_state { POOL_IDLE, POOL_BUSY, POOL_CONNECTING, POOL_QUARANTINED, POOL_STATES };
enum pool_refusal { POOL_FULL, POOL_TIMEOUT, POOL_DOWN, POOL_REFUSALS };
enum pool_connect { POOL_CONNECTED, POOL_CONNECT_FAILED, POOL_CONNECTS };
enum source_role { ROLE_PRIMARY, ROLE_STANDBY, SOURCE_ROLES };
extern const char *const pool_state_names[POOL_STATES];
extern const char *const pool_refusal_names[POOL_REFUSALS];
extern const char *const pool_connect_names[POOL_CONNECTS];
extern const char *const source_role_names[SOURCE_ROLES];

struct source_numbers {
	struct histogram steps;       /* and calls of handlers: how long they ran, with their connection */
	struct counter step_failures; /* of any reason, also those that were replaced */
	struct histogram wait;        /* for a connection, or a permit to call */
	struct counter refused[POOL_REFUSALS];
	struct counter connects[POOL_CONNECTS];
	struct counter connections[POOL_STATES];
	struct counter roles[SOURCE_ROLES]; /* connections to a server of that role */
};
/* By the sources' names. */
extern const struct tally_kind source_tally;

static inline void source_count_move(struct source_numbers *n, enum pool_state from, enum pool_state to)
{
	counter_add(&n->connections[from], -1);
	counter_add(&n->connections[to], 1);
}

/* It was asked, by a step or a handler's call. */
static inline void source_count_call(struct source_numbers *n, int64_t us, bool failed)
{
	histogram_observe(&n->steps, us);
	if (failed)
		counter_add(&n->step_failures, 1);
}

struct source_state {
	bool up;
	int64_t down_since_us; /* CLOCK_MONOTONIC; 0: it is not down, or was never tried */
	char error[256];       /* why it is down, on one line, without secrets; "": it is not, or nothing is known */
	bool roles;            /* its connections are counted by the roles of their servers */
	bool pooled;           /* what follows is there */
	unsigned waiting;
	int busy; /* calls under way, if connections are not counted by their states; else -1 */
};
