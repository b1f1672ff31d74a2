/* A worker's share of a generation: its clients, and what its requests run with.
 *
 * Whatever works with a share counts as one of its uses, which are plain integers, as a share never leaves its thread:
 * the service itself for the newest one, and each request until its very end, with the fetches that it has begun. When
 * the last use has ended, what no other share has is closed: modules stop, clients close, and the generation is told.
 * Clients and modules are counted by the shares that have them; so a source that did not change keeps its client.
 * Loop thread only. */
#pragma once

#include "handlers/gather/run.h"
#include "handlers/generation.h"
#include "handlers/module/background.h"
#include "handlers/module/users.h"

/* What the shares of a worker have together. */
struct shares {
	struct shared *shared;
	unsigned worker;
	struct event *drain;
	struct list all;     /* of struct share, the newest first; that which is being opened is not among them */
	struct list clients; /* of struct share_client */
	struct list runs;    /* of struct share_run */
	struct users open;   /* shares, from their opening until they are gone */
};

struct share {
	struct list link;
	struct shares *among;
	struct generation *generation;
	unsigned uses;
	struct share_client **entries; /* one for each source; NULL: not opened */
	struct client **clients;       /* the same */
	struct share_run **runs;       /* one for each module; NULL: not started */
	struct gather_env env;
	struct module_env module_env;
};

void shares_init(struct shares *all, struct shared *shared, unsigned worker, struct event *drain);
/* Suspends. Wait until all shares have ended. */
void shares_await(struct shares *all);

struct share_options {
	int64_t probe_us;     /* a new source must answer within that time; 0: it is not asked */
	bool without_modules; /* it is only tried */
};

/* What could not be opened: one of these, or neither. */
struct share_failure {
	const struct config_source *source;
	const struct module *module;
};

/* Suspends. Open a share of g, which is counted: clients of sources that no other share has, and runs of modules that
 * are new, or changed, or see other sources. Requests do not see it yet. Returns 0, or -errno with e and f filled; then
 * nothing is left of it. */
int share_open(struct share **out, struct shares *all, struct generation *g, const struct share_options *o,
	       struct share_failure *f, struct error *e) must_check;
/* It is the newest one from now on, with one use. What is carried over follows its configuration. */
void share_commit(struct share *s);
/* Suspends. Instead of share_commit. */
void share_undo(struct share *s);

static inline void share_take(struct share *s)
{
	s->uses++;
}
/* The last one: the share ends, in a task of its own. */
void share_drop(struct share *s);
