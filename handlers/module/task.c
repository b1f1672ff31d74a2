/* Tasks of handlers, and what is around a task: deadlines, shields, task-local values.
 *
 * A task's result is kept here, where it may be asked for again and again; the task itself, with its stack, is freed by
 * whoever awaits it or spawns the next one, at the latest by the end of the scope. */
#include <errno.h>
#include <string.h>

#include "async/local.h"
#include "async/wait.h"
#include "base/log.h"
#include "handlers/module/internal.h"
#include "handlers/module/request.h"

struct gd_task {
	struct thing thing;
	struct gd_scope *scope;
	struct list returned; /* of the scope's, while its task is to be freed */
	struct task *task;    /* NULL: it was freed */
	const char *name;
	gd_task_fn *fn;
	void *arg;
	int64_t delay_ms; /* of gd_call_later */
	int result;
	struct users users; /* its function, until that has returned, and who is in task_await on it */
	struct list beside; /* who waits for it while its scope's end does */
	bool ending;        /* that does */
	bool has_returned;
	bool asked;     /* somebody knows the result */
	bool cancelled; /* by the scope's end */
};

/* --- life --- */

static int run_task(void *arg)
{
	struct gd_task *t = arg;
	int r = t->delay_ms > 0 ? task_sleep(deadline_of(gd_in_ms(t->delay_ms))) : 0;
	t->result = r < 0 ? r : t->fn(t->arg);
	mutexes_release();
	t->has_returned = true;
	list_append(&t->scope->returned, &t->returned);
	/* It has ended by the time the tasks that this wakes run. */
	waiters_wake_all(&t->beside, 0);
	users_leave(&t->users);
	return t->result;
}

/* Suspends if it has not ended. t->task is NULL afterwards, or -errno says why not. */
static int await_task(struct gd_task *t, deadline_t by)
{
	users_enter(&t->users);
	int r = task_await(&t->task, by);
	if (!t->task)
		list_remove(&t->returned);
	users_leave(&t->users);
	return r;
}

static void cancel_task(struct thing *thing)
{
	struct gd_task *t = container_of(thing, struct gd_task, thing);
	t->cancelled = true;
	if (t->task)
		task_cancel(t->task);
}

static void end_task(struct thing *thing)
{
	struct gd_task *t = container_of(thing, struct gd_task, thing);
	t->ending = true;
	if (t->task)
		(void)await_task(t, DEADLINE_NEVER);
	if (t->task) /* refused: another task awaits it, or it awaits, shielded, this one; both have an end */
		users_await(&t->users, DEADLINE_NEVER);
	if (t->task)
		(void)await_task(t, DEADLINE_NEVER); /* it has ended */
	users_await(&t->users, DEADLINE_NEVER);
	if (t->asked || t->result >= 0 || (t->result == -ECANCELED && t->cancelled))
		return;
	log_line(LOG_LINE_WARNING, "a task failed and nobody asked", "name=\"%s\" result=%d error=\"%s\"", t->name,
		 t->result, strerror(-t->result));
}

/* So that one who spawns task after task holds the stacks of those that run. */
static void free_returned(struct gd_scope *s)
{
	struct list *node;
	while ((node = list_shift(&s->returned))) {
		struct gd_task *t = container_of(node, struct gd_task, returned);
		if (t->task && t->users.count == 0)
			(void)await_task(t, DEADLINE_NEVER); /* it has ended; the result is kept */
	}
}

static gd_task *spawn(struct gd_scope *s, const char *name, int64_t delay_ms, gd_task_fn *fn, void *arg)
{
	free_returned(s);
	struct gd_task *t = arena_zalloc(s->arena, sizeof(*t));
	*t = (struct gd_task){.scope = s, .name = name ? name : "task", .fn = fn, .arg = arg, .delay_ms = delay_ms};
	list_init(&t->returned);
	list_init(&t->beside);
	users_enter(&t->users);
	if (task_spawn(&t->task, run_task, t, &(struct task_options){.name = t->name}) < 0)
		return NULL;
	scope_add_task(s, &t->thing, end_task, cancel_task);
	return t;
}

gd_task *gd_spawn(const char *name, gd_task_fn *fn, void *arg)
{
	struct gd_scope *s = scope_here(__func__);
	return s && fn ? spawn(s, name, 0, fn, arg) : NULL;
}

gd_task *gd_call_later(const char *name, int64_t ms, gd_task_fn *fn, void *arg)
{
	struct gd_scope *s = scope_here(__func__);
	return s && fn ? spawn(s, name, ms, fn, arg) : NULL;
}

/* --- its end --- */

/* Suspends. While the scope's end awaits t, who cleans up and is shielded waits for it all the same. */
static int await_beside(struct gd_task *t, deadline_t by)
{
	struct waiter w;
	waiter_init(&w, NULL, "a task's end");
	list_append(&t->beside, &w.link);
	users_enter(&t->users);
	int r = task_suspend(&w, by);
	users_leave(&t->users);
	return r;
}

int gd_await(gd_task *t, gd_deadline by)
{
	if (!t)
		return scope_here(__func__) ? -EAGAIN : -EPERM;
	if (!scope_of_worker(t->scope->env->worker, __func__))
		return -EPERM;
	if (!t->has_returned || (t->task && t->users.count == 0)) {
		int r = await_task(t, deadline_of(by));
		if (r == -EBUSY && t->task && t->ending)
			r = await_beside(t, deadline_of(by));
		if (t->task && !t->has_returned)
			return turn_over(r);
	}
	t->asked = true;
	if (!t->task)
		scope_forget(&t->thing);
	return t->result;
}

void gd_cancel(gd_task *t)
{
	if (t && scope_of_worker(t->scope->env->worker, __func__) && t->task)
		task_cancel(t->task);
}

bool gd_ended(const gd_task *t)
{
	return !t || t->has_returned;
}

bool gd_cancelled(void)
{
	return task_cancelled();
}

struct waited_for {
	gd_task_fn *fn;
	void *arg;
};

static int run_waited_for(void *arg)
{
	const struct waited_for *w = arg;
	int r = w->fn(w->arg);
	mutexes_release();
	return r;
}

int gd_wait_for(const char *name, gd_task_fn *fn, void *arg, gd_deadline by)
{
	struct waited_for w = {fn, arg};
	if (!scope_here(__func__))
		return -EPERM;
	return fn ? wait_for(name ? name : "wait_for", run_waited_for, &w, deadline_of(by)) : -EINVAL;
}

/* --- deadlines and shields --- */

gd_deadline gd_in_ms(int64_t ms)
{
	if (ms < 0)
		ms = 0;
	int64_t now_us = monotonic_us();
	return (gd_deadline){ms > (INT64_MAX - now_us) / 1000 ? INT64_MAX : now_us + ms * 1000};
}

gd_deadline gd_deadline_push(gd_deadline by)
{
	if (!scope_here(__func__))
		return GD_NEVER;
	return (gd_deadline){deadline_push(deadline_of(by)).us};
}

void gd_deadline_pop(gd_deadline before)
{
	struct gd_scope *s = scope_here(__func__);
	if (!s)
		return;
	/* What was the request's deadline when it was pushed may be none by now. */
	const struct gd_request *req = s->request;
	bool was_the_requests = req && req->undated && before.us >= req->exchange->by.us;
	deadline_pop(was_the_requests ? DEADLINE_NEVER : deadline_of(before));
}

/* What a gd_shield holds while it is up. */
struct kept_shield {
	struct shield shield;
	uint64_t task;          /* whose it is */
	const gd_shield *place; /* itself: memory that was never begun, or ended before, is none */
};

_Static_assert(sizeof(struct kept_shield) <= sizeof(gd_shield), "gd_shield has room for a shield");

void gd_shield_begin(gd_shield *s, gd_deadline by)
{
	struct kept_shield kept = {.place = s};
	if (!scope_here(__func__) || !s)
		return;
	kept.task = task_id(task_self());
	task_shield(&kept.shield, deadline_of(by));
	memcpy(s, &kept, sizeof(kept));
}

/* Is s up, the calling task's, and not ended with one around it? */
static bool is_shield(const gd_shield *s)
{
	const gd_shield *place;
	uint64_t task;
	struct shield now;
	memcpy(&place, (const char *)s + offsetof(struct kept_shield, place), sizeof(place));
	memcpy(&task, (const char *)s + offsetof(struct kept_shield, task), sizeof(task));
	shield_note(&now);
	return place == s && task == task_id(task_self()) && now.nested;
}

void gd_shield_end(gd_shield *s)
{
	struct kept_shield kept;
	if (!scope_here(__func__) || !s)
		return;
	if (!is_shield(s)) {
		log_line(LOG_LINE_WARNING, "gd_shield_end without its gd_shield_begin", "task=\"%s\"",
			 task_name(task_self()));
		return;
	}
	memcpy(&kept, s, sizeof(kept));
	memset(s, 0, sizeof(*s));
	task_unshield(&kept.shield);
}

/* --- sleep --- */

int gd_yield(void)
{
	return scope_here(__func__) ? turn_over(task_yield()) : -EPERM;
}

int gd_sleep(int64_t ms)
{
	if (!scope_here(__func__))
		return -EPERM;
	return turn_over(ms > 0 ? task_sleep(deadline_of(gd_in_ms(ms))) : task_yield());
}

/* --- task-local values --- */

_Static_assert(sizeof(struct task_local) <= sizeof(gd_local) &&
		       offsetof(struct task_local, name) == offsetof(gd_local, name),
	       "a gd_local is a task_local whose `drop` is NULL");

int gd_local_set(gd_local *key, void *value)
{
	if (!scope_here(__func__))
		return -EPERM;
	return key ? task_local_set((const struct task_local *)key, value) : -EINVAL;
}

void *gd_local_get(const gd_local *key)
{
	return scope_here(__func__) && key ? task_local_get((const struct task_local *)key) : NULL;
}
