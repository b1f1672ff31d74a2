/* Tasks: C functions that suspend instead of blocking (stackful coroutines).
 *
 * DESIGN. A task is a function with a pooled, guarded stack of its own (stack.h) that is switched to and from
 * (context.h). It runs until it suspends; then the next one that is ready runs. There is one primitive,
 * task_suspend, and every wait is built on it: the waiting task stands somewhere as a `struct waiter`, somebody calls
 * task_wake on it, or its deadline passes or it is cancelled, in which case the waiter's `abandon` takes it off the
 * place where it stood. Nothing is ever unwound behind the code's back: each of the three comes back as a return value.
 *
 * CANCELLATION is sticky: after task_cancel every suspending call returns -ECANCELED at once, until the function has
 * cleaned up and returned. What must finish all the same runs between task_shield and task_unshield.
 *
 * DEADLINES are absolute. deadline_push narrows the deadline of everything the task awaits until deadline_pop; children
 * that are spawned inherit it.
 *
 * Loop thread only: a task lives and dies on the loop that spawned it. errno belongs to the thread, not to the task: it
 * is not preserved over a suspension. The rounding mode and the other controls of floating point are the thread's, too:
 * who changes them changes them back before suspending. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "async/current.h"
#include "async/timer.h"
#include "base/buf.h"
#include "base/compiler.h"
#include "base/deadline.h"
#include "base/list.h"

struct loop;
struct operation;
struct task;

/* The function of a task. Returns 0 or more, or -errno: the task's result. */
typedef int (*task_fn)(void *arg);

struct task_options {
	const char *name; /* static or outliving the task; NULL: "task" */
	bool detached;    /* nobody awaits it: it is freed when it ends */
	/* Called on the loop thread, outside any task, when fn has returned and the task is gone. Implies detached. */
	void (*ended)(void *ended_arg, int result);
	void *ended_arg;
};

/* Start fn(arg) as a task of the current loop. It runs soon, not at once. The deadline of the spawning task, if
 * there is one, is inherited. *out (may be NULL if detached) is awaited or detached exactly once. Returns 0 or
 * -EAGAIN: no memory map is left for a stack. */
int task_spawn(struct task **out, task_fn fn, void *arg, const struct task_options *options) must_check;

/* Suspends. Wait for *t to end, free it and set *t to NULL. Returns its result. One that has ended is awaited without
 * suspending, by a cancelled task too. Or, with *t left as it is (it goes on and is still the caller's): -ETIMEDOUT or
 * -ECANCELED; and at once
 *  -EDEADLK: *t is the caller, or cannot end before the caller has: it awaits the caller, over however many others, or
 *            the caller is a child of its gather;
 *  -EBUSY:   another task is awaiting *t, whose result has one owner;
 *  -EINVAL:  *t is detached.
 * A future (future.h) is what many tasks await. */
int task_await(struct task **t, deadline_t by) must_check;
/* Has t's function returned? */
bool task_ended(const struct task *t);
/* Give up the right to await t, which nobody is awaiting: it is freed when it ends. */
void task_detach(struct task *t);
/* Every suspending call of t returns -ECANCELED from now on, the one that it is in included. Idempotent. */
void task_cancel(struct task *t);
/* Was the calling task cancelled (also while shielded)? */
bool task_cancelled(void);

/* The code that a suspending call of the calling task would return at once: -ECANCELED, -ETIMEDOUT (its deadline has
 * passed), or 0: it would wait. */
int task_check(void) must_check;

const char *task_name(const struct task *t);
/* A number that no other task of the process has or had; below 2^53. */
uint64_t task_id(const struct task *t);

/* Call report for every task of the process that fails (below 0, but not -ECANCELED) while nobody can read its result:
 * it is detached and has no `ended`, it is detached after it has failed, or it is left over when loop_run_main (run.h)
 * returns. On the task's loop thread, at a moment when report must not suspend. NULL: no report. */
typedef void (*lost_failure_fn)(const char *name, uint64_t id, int result);
void task_on_lost_failure(lost_failure_fn report);

/* Suspends until `until`. A time in the past yields: to the tasks that are ready and to the poll, so that a task which
 * computes and yields holds nobody up. Of those that sleep until the same time, who began first wakes first. Returns 0,
 * -ETIMEDOUT (a narrower pushed deadline) or -ECANCELED. */
int task_sleep(deadline_t until) must_check;
int task_sleep_ms(int64_t ms) must_check;
int task_yield(void) must_check;

/* Narrow the deadline of the calling task to `by` until deadline_pop with what this returned. They nest; the earlier
 * deadline wins. */
deadline_t deadline_push(deadline_t by) must_check;
void deadline_pop(deadline_t before);
/* The calling task's deadline; DEADLINE_NEVER outside tasks. */
deadline_t task_deadline(void);

/* Between the two, neither cancellation nor pushed deadlines reach the calling task; `by` bounds it instead. They
 * nest. */
struct shield {
	deadline_t before;
	bool nested;
};
void task_shield(struct shield *s, deadline_t by);
/* The same without any deadline, not even that of a shield around it: for a wait that is certain to end. */
void task_shield_fully(struct shield *s);
void task_unshield(const struct shield *s);

/* --- the task table --- */

enum task_state { TASK_READY, TASK_RUNNING, TASK_WAITING, TASK_ENDED };

struct task_info {
	const char *name;
	uint64_t id;
	enum task_state state;
	const char *awaits; /* static; NULL: nothing, it runs or has ended. task_awaits says more */
	uint64_t awaits_id; /* the task whose end it awaits; 0: none */
	int64_t born_us;    /* CLOCK_MONOTONIC */
	int64_t since_us;   /* when it last suspended; born_us if it never did */
	bool cancelled, shielded, detached;
	const struct operation *operation; /* of the task, which is as good as one; NULL: it is the task itself */
};

/* Append what that is awaits, with all that is known of it: "an answer from PostgreSQL (source shop, sent)". Only
 * inside a visit of loop_each_task, if it awaits something. */
void task_awaits(const struct task *t, const struct task_info *info, struct buf *out);

typedef void (*task_visit_fn)(void *arg, const struct task *t, const struct task_info *info);
/* Call fn for each task of l that was not freed yet, the oldest first, and after it for each operation that it waits
 * for, as if that were a task; no more than `most` times. fn neither suspends nor frees a task. Returns how often fn
 * was called, and how many tasks were left out beside that. Loop thread only. */
unsigned loop_each_task(struct loop *l, unsigned most, task_visit_fn fn, void *arg);

/* --- for what waits are built of --- */

/* Children that a task cannot end before, such as a gather's; embedded by what holds them. */
struct task_scope {
	struct list link;   /* in its owner's list, as long as children run */
	struct task *owner; /* of children that run; NULL: nobody, or it has ended */
};

typedef void (*operation_visit_fn)(void *arg, const struct operation *op, const char *name, uint64_t id,
				   int64_t born_us);

/* A task that waits; on the stack of task_suspend's caller. */
struct waiter {
	struct list link;  /* for the place where it waits; init'ed by waiter_init */
	struct task *task; /* NULL once woken */
	int result;
	/* The deadline passed or the task was cancelled: leave the place. Called at most once, never after task_wake.
	 * NULL: just unlink `link`. */
	void (*abandon)(struct waiter *w);
	const char *what; /* is awaited, for people to read: static */
	/* Append more of it to out, after `what`. May be set after waiter_init; NULL: there is no more. */
	void (*describe)(const struct waiter *w, struct buf *out);
	/* The operations that are waited for. May be set after waiter_init; NULL: none. */
	void (*each)(const struct waiter *w, operation_visit_fn fn, void *arg);
};

/* For a wait of the calling task. */
void waiter_init(struct waiter *w, void (*abandon)(struct waiter *w), const char *what);
/* Suspends until task_wake(w, result): returns result. Or w is abandoned: -ETIMEDOUT at `by` or the task's own
 * deadline, -ECANCELED. If the task is cancelled already or the deadline has passed, w is abandoned without
 * suspending. */
int task_suspend(struct waiter *w, deadline_t by) must_check;
/* Make w's task ready; it runs later, in the order of the wakes. Unlinks w->link. A second wake has no effect.
 * Loop thread only. */
void task_wake(struct waiter *w, int result);
/* The same for those that wait in a list, by their links: the first one, if there is any; all, the first one first.
 * Loop thread only. */
static inline void waiters_wake_first(struct list *waiters, int result)
{
	if (!list_empty(waiters))
		task_wake(container_of(waiters->next, struct waiter, link), result);
}

static inline void waiters_wake_all(struct list *waiters, int result)
{
	while (!list_empty(waiters))
		waiters_wake_first(waiters, result);
}
