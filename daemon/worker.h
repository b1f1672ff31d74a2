/* The worker threads: each with a loop, h2o, its connections and its share of the application.
 *
 * They share nothing on the way of a request but a few counters. What the main thread wants of them (drain, cancel) it
 * posts to their loops. Main thread only, unless it says otherwise. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/error.h"
#include "config/config.h"
#include "daemon/listener.h"
#include "handlers/service.h"
#include "handlers/web/exchange_server.h"

struct worker;

/* A reload, as the thread that does it and the workers see it. */
struct worker_reload {
	struct generation *generation; /* that is opened, or, at the start, the first one */
	struct share_options options;
	const struct listeners *next; /* of its commit */
	unsigned oldest;              /* the generation that is to end */
	atomic_bool given_up;
	pthread_mutex_t lock;
	pthread_cond_t done;
	unsigned owed; /* under lock: workers that have not done the step yet */
};

struct workers {
	struct worker *workers;
	unsigned count;
	struct shared *shared;
	struct worker_reload reload;
	struct listeners *listeners;
	struct exchange_limits limits;
	atomic_uint connections; /* of the process */
	atomic_bool ending;      /* workers_drain was called */
	atomic_uint ended;       /* threads that are through */
	atomic_uint unclean;     /* threads that ended with something still taken */
	int changed_fd;          /* an eventfd: written to when a thread has started or ended */
};

/* Start the workers, one after another, each when the one before is ready; when all of them are, they accept. Returns
 * 0; or 1 (somebody has asked for the end meanwhile) or -errno with e filled: then none has accepted anything, and
 * those that there are, one of which may still be starting, are to be ended: lifecycle_end, workers_join. */
int workers_start(struct workers *all, struct shared *shared, struct generation *g, struct listeners *listeners,
		  struct error *e) must_check;
/* Ask each worker to turn its loop; it answers when it comes to it. Each is asked again when it has answered. */
void workers_ping(struct workers *all);
/* How long the worker that is latest with its answer has owed it (microseconds; 0: none does), and which one it is. */
int64_t workers_owe_us(const struct workers *all, unsigned *worker);
/* Accept nothing more, end behind the requests that are running; what is starting is cancelled. Once. */
void workers_drain(struct workers *all);
/* Do not wait for those any longer. Once, after workers_drain. */
void workers_cancel(struct workers *all);
/* The steps of a reload. From the thread that reloads, which waits in them; the workers serve. */
/* Open a share of g on each worker, one after another. Returns 0; or -errno with f and e filled, -ECANCELED after
 * workers_give_up: then nothing is left of them. */
int workers_prepare(struct workers *all, struct generation *g, const struct share_options *options,
		    struct share_failure *f, struct error *e) must_check;
/* Close those shares. */
void workers_undo(struct workers *all);
/* They serve from now on; each worker accepts on the rows of `next` instead of those of all->listeners, which the
 * caller then replaces by them. */
void workers_commit(struct workers *all, const struct listeners *next);
/* Cancel the requests of that generation. */
void workers_end_oldest(struct workers *all, unsigned generation);
/* What is being prepared ends soon, and nothing is any more. Any thread; for good. */
void workers_give_up(struct workers *all);
/* The main thread comes back from its wait for signals. Any thread. */
void workers_wake(struct workers *all);
/* Join the threads, which have all ended. Returns how many were unclean. */
unsigned workers_join(struct workers *all);
