/* A configuration that serves, or is to: what is compiled of it, and what of the process it uses.
 *
 * DESIGN. The process has one `struct shared`: what outlives a configuration, by identity. Sources (their limits, their
 * breakers), semaphores, the cache, the buckets of rates. Each configuration that is loaded becomes a generation: its
 * arena, plans, router and handlers, read-only, and the sources and semaphores that it names. Those that the generation
 * which serves has already, by the same identity, are carried over; the others are made. So nothing of what serves is
 * touched before generation_commit, and a generation that is not to be is dropped without a trace.
 *
 * Each worker has a share of a generation (share.h), and each share counts as one of its references. The last reference
 * goes on a worker's thread; the generation is freed by shared_bury, on the main thread. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "async/executor.h"
#include "async/semaphore.h"
#include "config/config.h"
#include "drivers/driver.h"
#include "handlers/admin/metrics.h"
#include "handlers/admin/ready.h"
#include "handlers/gather/plan.h"
#include "handlers/module/module.h"
#include "handlers/web/cache.h"
#include "handlers/web/rate.h"
#include "handlers/web/router.h"

/* A source of the process. */
struct shared_source {
	struct list link; /* under the lock of shared */
	const struct driver *driver;
	struct source *source;
	struct buf identity;
	unsigned references; /* under the lock of shared; of generations */
};

/* A semaphore of the process. */
struct shared_permits {
	struct list link; /* under the lock of shared */
	char *name;       /* of its declaration, or of where it stands in place */
	struct shared_semaphore semaphore;
	unsigned references; /* under the lock of shared; of generations */
};

struct shared {
	struct executor *executor;
	unsigned workers;
	struct cache *cache;
	struct rates *rates; /* NULL: no endpoint has had a rate yet */
	struct readiness readiness;
	pthread_mutex_t lock;
	struct list sources, semaphores; /* under lock */
	struct list retired;             /* under lock: generations that nobody uses */
	struct list alive; /* under lock: generations that are not freed, from their commit on, the oldest first */
	atomic_uint generations; /* that are alive */
	void (*wake)(void *arg); /* there is something to bury; any thread */
	void *arg;
};

struct generation {
	atomic_uint references;
	unsigned number; /* from 1; 0: not committed */
	struct config *config;
	struct arena arena;  /* plans, routes */
	struct plan **plans; /* one for each endpoint; NULL: it has a handler */
	struct modules modules;
	struct handler *handlers; /* one for each endpoint */
	struct router *router;
	struct buf *identities;   /* of each source */
	uint64_t module_identity; /* of all that modules can see of the configuration */
	bool has_rates;
	struct tally **tallies;        /* one for each endpoint */
	struct tally **source_tallies; /* one for each source */
	struct metrics *metrics;
	/* From generation_open on. */
	struct shared *shared;
	struct shared_source **entries;       /* one for each source; NULL: not opened */
	struct source **sources;              /* the same */
	struct shared_permits **permits;      /* one for each of config.semaphores */
	struct shared_semaphore **semaphores; /* the same */
	bool *carried;                        /* one for each source: the generation that serves has it, too */
	struct list alive, retired;           /* in shared's */
};

void shared_init(struct shared *s, struct executor *executor, unsigned workers);
/* All generations are freed. */
void shared_done(struct shared *s);
/* Free the generations that nobody uses any more. Main thread, or the one that reloads. */
void shared_bury(struct shared *s);

/* Compile every endpoint of c and load its modules; every mistake goes to d. No network. Takes c over. Returns NULL if
 * d->errors is not 0; else with one reference. One thread at a time; reads files: not on a loop thread. */
struct generation *generation_compile(struct config *c, struct diagnostics *d);
/* Find the sources and semaphores of g, or make them. serving: the generation whose may be carried over; NULL: there is
 * none. No network. Not on a loop thread. Returns 0, or -errno with e and *at, where it stands, filled. */
int generation_open(struct generation *g, struct shared *s, const struct generation *serving, struct error *e,
		    struct mark *at) must_check;
/* g serves from now on: what is carried over takes its sizes and time-outs. The clients of workers follow with their
 * shares. Not on a loop thread. */
void generation_commit(struct generation *g, unsigned number);
/* The oldest one that is not freed, beside the one that serves; 0: there is none. Any thread. */
unsigned shared_oldest(struct shared *s);
/* Instead of generation_open: as sources_check (source_check.h). */
int generation_check(struct generation *g, struct executor *ex, struct diagnostics *d) must_check;

void generation_keep(struct generation *g);
/* Any thread. The last one: it goes to shared_bury, or, if it was never opened, is freed at once. NULL is allowed. */
void generation_drop(struct generation *g);
