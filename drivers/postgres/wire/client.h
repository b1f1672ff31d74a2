/* The source (the process's) and its client (a worker's): what the files of this folder share.
 *
 * DESIGN. A call (call.h) is one run of one statement by one task. It is placed on a connection (pool.h): an idle one;
 * else, if its statement is known to be short and reads only, one that other such calls share; else it waits, in a
 * line of all workers, and the next connection that becomes idle in any worker comes to it (budget.h). A
 * connection (connection.h) is a pipe: commands go in (pipeline.h), and what they brought comes out in their order.
 * What was sent in one turn of the loop goes out with one Sync and one system call at the end of the turn. Whatever
 * happens to a connection happens in its readiness callback or at the end of a turn, never inside a task that sends. */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "async/loop.h"
#include "base/error.h"
#include "drivers/budget.h"
#include "drivers/driver.h"
#include "drivers/health.h"
#include "drivers/postgres/types/types.h"
#include "drivers/postgres/wire/conninfo.h"
#include "drivers/postgres/wire/hosts.h"

enum pg_state { PG_CONNECTING, PG_IDLE, PG_BUSY, PG_SHARED, PG_QUARANTINED, PG_CLOSED, PG_STATES };

/* Calls that wait: for a connection alone; for one alone or for a place on a shared one; for one that was opened after
 * the one on which they broke, which others that are about to break may outlive. */
enum pg_queue { PG_QUEUE_ALONE, PG_QUEUE_SHARING, PG_QUEUE_FRESH, PG_QUEUES };

struct pg_source {
	struct source base;
	bool prepare; /* of its pg_source_keys */
	struct executor *executor;
	struct budget budget;
	struct pg_conninfo *conninfo;
	struct pg_hosts hosts;
	struct health health;
	struct tally *tally;
	unsigned workers;
	atomic_uint clients; /* that were opened: the next one's number */
};

/* A statement has gone whose names had this index; the next one that takes it goes on counting its generations. */
struct pg_free_index {
	unsigned index;
	uint32_t generation;
};

struct pg_client {
	struct client base;
	struct pg_source *source;
	struct pg_conninfo *conninfo; /* for further connections; differs from the source's in the longest statement */
	int64_t longest_us;           /* of statements on them */
	char *settings;               /* prepare: false: the statement that begins every transaction */
	struct loop *loop;
	struct budget_member member;
	unsigned number; /* among the source's */
	struct pg_types types;
	size_t result_max; /* bytes, of what one statement brings: RESULT_MAX_BYTES, but in tests */

	struct list connections[PG_STATES]; /* of each state; idle: the last one used first */
	unsigned count[PG_STATES];

	/* Calls, the first to come first; each has a ticket in the line of the source. */
	struct list waiting[PG_QUEUES];
	unsigned waiting_count[PG_QUEUES];
	uint64_t call_number; /* of the last one, for the log; those of other workers are different ones */
	struct list free_calls;
	unsigned free_call_count;

	struct pg_steps *steps; /* statements of steps; NULL: none yet */
	struct pg_texts *texts; /* of handlers; NULL: none yet */
	struct pg_hub *hub;     /* who listens (listen.h); NULL: nobody yet */
	unsigned next_index;    /* of statements; those of other workers are different ones */
	struct pg_free_index *free_indexes;
	unsigned free_index_count, free_index_capacity;

	struct deferred tend;    /* open and close connections: at the end of the turn, outside tasks */
	struct timer tend_timer; /* … and when time has come */
	int64_t pressed_us;      /* when a call last found no idle connection */
	bool wishing;            /* the other workers know that we would like one more */
	bool closing;

	unsigned failures;     /* of connecting, since the last success */
	int64_t retry_at_us;   /* not before */
	int64_t down_since_us; /* there is no connection since; 0: there is one, or nothing is known yet */
	struct error down;     /* why */
	bool ever_connected;

	unsigned callers; /* tasks inside run */
	unsigned cancels; /* cancel requests that are under way */
};

static inline struct pg_client *pg_client_of(struct client *c)
{
	return container_of(c, struct pg_client, base);
}

/* This worker's, of the source. */
static inline struct source_numbers *pg_numbers(const struct pg_client *c)
{
	return tally_here(c->source->tally);
}

static inline unsigned pg_client_waiting(const struct pg_client *c)
{
	return c->waiting_count[PG_QUEUE_ALONE] + c->waiting_count[PG_QUEUE_SHARING] + c->waiting_count[PG_QUEUE_FRESH];
}

/* Connections that work: not connecting, not closed. */
static inline unsigned pg_client_live(const struct pg_client *c)
{
	return c->count[PG_IDLE] + c->count[PG_BUSY] + c->count[PG_SHARED] + c->count[PG_QUARANTINED];
}
