/* Several tasks and operations at once, as one scope: no child outlives it.
 *
 * Results are kept in the order of gather_add, whatever order they end in. GATHER_FAIL_FAST cancels the rest when one
 * fails; GATHER_ALL lets all of them end. Loop thread only; one task owns a gather. */
#pragma once

#include "async/operation.h"
#include "async/task.h"

enum gather_mode { GATHER_FAIL_FAST, GATHER_ALL };

struct gather_child;

struct gather {
	enum gather_mode mode;
	struct gather_child **chunks; /* of children, in the order of gather_add: they never move */
	unsigned count;
	unsigned ended;
	unsigned operations;     /* that have not ended */
	int first_error;         /* the first failure, in time; 0: none */
	struct list finished;    /* ended, not yet returned by gather_next */
	struct task_scope scope; /* its owner: the task that added the first of the children that run */
	struct waiter *waiter;
	bool any; /* the waiter waits for one more child, not for all of them */
};

void gather_init(struct gather *g, enum gather_mode mode);
/* Spawn fn(arg) as a child. Returns its index (0, 1, …), -EAGAIN (no stack) or, after a failure in GATHER_FAIL_FAST,
 * -ECANCELED. */
int gather_add(struct gather *g, const char *name, task_fn fn, void *arg) must_check;
/* Let op be a child: its maker has begun it, and nobody else waits for it. It is a child that has ended, with the
 * result 0, when it has completed: then it is the caller's to collect. Returns its index or, after a failure in
 * GATHER_FAIL_FAST, -ECANCELED: op stays the caller's. name: for people to read; outlives the child.
 */
int gather_add_operation(struct gather *g, const char *name, struct operation *op, void *arg) must_check;
/* Suspends until all children have ended. Returns 0, the first failure (GATHER_FAIL_FAST), -ETIMEDOUT or -ECANCELED
 * (children are still running: gather_done ends them). */
int gather_wait(struct gather *g, deadline_t by) must_check;
/* Suspends until one more child has ended (asyncio.as_completed). Returns its index, -ENOENT when all were returned,
 * -ETIMEDOUT or -ECANCELED. */
int gather_next(struct gather *g, deadline_t by) must_check;
/* A child's task; NULL once it has ended, and if it is an operation. Still the gather's: not to be awaited. */
struct task *gather_task(const struct gather *g, unsigned index);
/* The arg that a child was added with. */
void *gather_arg(const struct gather *g, unsigned index);
/* The result of a child that has ended; -EINPROGRESS if it has not. */
int gather_result(const struct gather *g, unsigned index);
/* Cancel all that still run. Operations have ended then, with the result -ECANCELED. */
void gather_cancel(struct gather *g);
/* Suspends (shielded): cancel what still runs, wait until it has ended, free. Idempotent. */
void gather_done(struct gather *g);
