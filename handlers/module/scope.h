/* Scopes: what the calling task works in, and what is to be ended with it. See internal.h for the design. Loop thread
 * only. */
#pragma once

#include <stdbool.h>

#define GATHERD_DAEMON 1
#include "async/event.h"
#include "async/executor.h"
#include "async/semaphore.h"
#include "async/task.h"
#include "base/arena.h"
#include "base/error.h"
#include "base/list.h"
#include "config/config.h"
#include "drivers/driver.h"
#include "include/gatherd.h"

/* Of tickers: in microseconds there is room for the present in front of it. */
#define PERIOD_MS_MAX (INT64_MAX / 2000)

/* What this worker's handlers run with: of one configuration. What a module has started runs on when the next one
 * comes, and has its own copy, which follows. */
struct module_env {
	const struct config *config;
	struct client *const *clients;              /* one for each of config's sources */
	struct tally *const *tallies;               /* the same: what is counted of them */
	struct shared_semaphore *const *semaphores; /* one for each of config.semaphores */
	struct executor *executor;
	unsigned worker, workers;
	struct event *drain; /* set: the daemon is to end */
};

/* Something of a scope that has to be ended with it; embedded. */
struct thing {
	struct list link;
	/* May suspend; the task is shielded. Called once; the memory is the scope's arena's. */
	void (*end)(struct thing *t);
	/* Of tasks and what holds some: they end before the other things do, which they may be using. Does not suspend;
	 * may be called again. NULL: it is no task. */
	void (*cancel)(struct thing *t);
};

/* A request, a run of a background task, a module's start, or (gd_scope_begin) a part of one. */
struct gd_scope {
	struct arena own; /* where it is not the exchange's */
	struct arena *arena;
	struct gd_scope *outer; /* NULL: the outermost */
	struct list things;     /* the newest first */
	struct list tasks;      /* the same, of those that have `cancel` */
	struct list returned;   /* of tasks whose stacks may be given back; task.c's */
	bool closing;           /* what is spawned in it is cancelled at once */
	bool start;             /* of the outermost: a module's start, gd_background is allowed */
	struct list scopes;     /* within it that are open, the newest first: they end behind its tasks */
	struct thing thing;     /* of an inner one, in its outer scope's `scopes` */
	uint64_t opener;        /* of an inner one: the task that may end it */
	const struct module_env *env;
	struct gd_request *request;    /* NULL: not in a request */
	struct list permits;           /* of the outermost: of sources' semaphores, held by its calls; call.c's */
	struct list holds;             /* of the outermost: permits that were taken; holds.c's */
	struct list spare_holds;       /* the same, for the next ones */
	struct list locks;             /* of the outermost: mutexes that its tasks hold; sync.c's */
	struct gd_semaphore *borrowed; /* of the outermost: its handles of named semaphores */
	struct list failures;          /* of the outermost: what gd_fail and failed calls left, the newest first */
	unsigned failure_count;
};

/* Make s the calling task's outermost scope. request and arena may be NULL: the scope has memory of its own then. */
void scope_open(struct gd_scope *s, const struct module_env *env, struct gd_request *request, struct arena *arena);
/* Make s the calling task's scope, which another task has opened. */
void scope_enter(struct gd_scope *s);
/* Suspends (shielded). End all its things, free its own memory. From any task. */
void scope_close(struct gd_scope *s);
/* The calling task's scope; NULL: the caller is no task of a handler (said in the log, with the function's name). */
struct gd_scope *scope_here(const char *function);
/* The same, where being elsewhere is not a mistake. */
struct gd_scope *scope_try(void);
/* The same, for something that this worker has made; another one has no business with it (said in the log). */
struct gd_scope *scope_of_worker(unsigned worker, const char *function);
/* t belongs to s from now on. */
void scope_add(struct gd_scope *s, struct thing *t, void (*end)(struct thing *t));
/* The same of a task, or what holds tasks. Where the scope is closing already it is cancelled. */
void scope_add_task(struct gd_scope *s, struct thing *t, void (*end)(struct thing *t), void (*cancel)(struct thing *t));
/* t has ended by itself. Idempotent. */
void scope_forget(struct thing *t);
/* The outermost one around s. */
struct gd_scope *scope_outermost(struct gd_scope *s);
/* Is s (NULL: no scope) the scope `outer`, or one within it? */
bool scope_is_within(const struct gd_scope *s, const struct gd_scope *outer);
/* Remember e as what the scope's outermost one failed with, beside others of another errnum: of several tasks that fail
 * it is not the last that counts, but whose errnum is returned. Returns e->errnum. */
int scope_fail(struct gd_scope *s, const struct error *e);
/* What has become of a change that a call of s was to make, for the problem that may end the request: `change` of its
 * failure, or that it was made. Nothing if there is no request. */
void scope_note_change(struct gd_scope *s, enum change change, bool made);
/* What a scope's function that returned r failed with: what was remembered of that errnum last, else what is known of r
 * by itself. */
void scope_error(struct gd_scope *s, int r, struct error *e);

/* Suspends. Wait for the promises of this worker; give up, after a while, those that nobody resolves. No handler may
 * run any more. future.c's. */
void promises_end(void);
/* Returns r, what a call returned that suspends. Suspends if the calling task is refused to wait: one that does not
 * look at that, and asks again forever, does not keep the others from running. */
int turn_over(int r);
/* The calling task's shield and deadline as they are: task_unshield takes back what a module's function has left. */
void shield_note(struct shield *s);
