/* A declared endpoint, compiled: its steps, what each refers to, and the reply.
 *
 * The references are the edges of a graph. A step starts the moment the last step that it refers to has ended; all
 * others start at once. Read-only once it is made; lives in the application's arena. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "drivers/driver.h"
#include "handlers/gather/numbers.h"
#include "handlers/gather/respond.h"
#include "handlers/gather/slot.h"

struct plan_step {
	const struct config_step *config;
	const struct driver *driver;
	unsigned source; /* index in config.sources */
	struct action *action;
	enum action_effect effect;
	const struct slot *args;
	unsigned arg_count;
	bool has_when;
	struct slot when;
	uint64_t needs;          /* bits of the steps that it refers to */
	int semaphores[2];       /* in config.semaphores, the lower index first; -1: none */
	struct value substitute; /* on_error: { default: … } */
	uint64_t identity;       /* of all that its result depends on beside its arguments: its text, its source */
	struct tally *tally, *source_tally; /* set by plan_count */
};

struct plan_header {
	struct span name; /* lower case */
	struct text value;
	enum text_escape escape; /* TEXT_URL for location */
};

struct plan {
	const struct config_endpoint *endpoint;
	struct plan_step *steps;
	unsigned step_count;
	const uint8_t *joins; /* the steps that are joined into others, each before the one that it is joined into */
	unsigned join_count;
	struct respond respond;
	enum body_wanted body_wanted;
	const struct slot *key; /* all of the request that the reply depends on: if it is cached */
	unsigned key_count;
	const char *const *headers; /* of the request, that references name */
	unsigned header_count;
	unsigned store; /* of keys (idempotency.h): index in config.sources */
	bool has_etag;
	struct text etag; /* unless it is a hash of the reply */
	bool has_created;
	struct slot created; /* is there something new: 201, and Location */
	bool may_be_minimal; /* its reply follows Prefer: return=minimal */
	struct plan_header *reply_headers;
	unsigned reply_header_count;
	uint64_t identity;      /* of all that the reply depends on beside its key: the endpoint's text, its sources */
	uint64_t rate_identity; /* rate.h; if the endpoint has a rate */
};

/* Compile e. sources: a hash of the identity of each of c's sources (driver.h). Every mistake goes to d: wrong
 * references, cycles, what the drivers refuse. NULL if there was one. */
struct plan *plan_compile(const struct config *c, const struct config_endpoint *e, const uint64_t *sources,
			  struct arena *a, struct diagnostics *d);

/* Have the plan's steps counted. Once, before it runs. */
void plan_count(struct plan *p);
/* … no more. NULL is allowed, and a plan that was never counted. */
void plan_uncount(struct plan *p);
