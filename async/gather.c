/* Children of one scope. A child's end is a callback on the loop, so no task is needed to collect it.
 *
 * Operations have no timers: the task that waits wakes when the first of them wants to be looked at. */
#include "async/gather.h"

#include <errno.h>
#include <stdlib.h>

#include "async/internal.h"
#include "base/mem.h"

struct gather_child {
	struct gather *gather;
	struct list link;            /* gather.finished */
	struct task *task;           /* NULL once ended */
	struct operation *operation; /* NULL: it is a task, or has ended */
	const char *name;            /* an operation's; a task has its own */
	uint64_t id;
	int64_t born_us;
	void *arg;
	int result;
	unsigned index;
};

enum { CHUNK = 16 };

static struct gather_child *child(const struct gather *g, unsigned index)
{
	return &g->chunks[index / CHUNK][index % CHUNK];
}

void gather_init(struct gather *g, enum gather_mode mode)
{
	*g = (struct gather){.mode = mode};
	list_init(&g->finished);
	list_init(&g->scope.link);
}

/* The calling task cannot end before the children that it now adds: as long as it lives, task_await knows that. */
static void own(struct gather *g)
{
	g->scope.owner = task_self();
	if (g->scope.owner)
		list_append(&g->scope.owner->scopes, &g->scope.link);
}

static void child_ended(void *arg, int result)
{
	struct gather_child *c = arg;
	struct gather *g = c->gather;
	c->task = NULL;
	if (c->operation)
		g->operations--;
	c->operation = NULL;
	c->result = result;
	g->ended++;
	list_append(&g->finished, &c->link);
	if (g->ended == g->count)
		list_remove(&g->scope.link);
	if (result < 0 && g->first_error == 0) {
		g->first_error = result;
		if (g->mode == GATHER_FAIL_FAST)
			gather_cancel(g);
	}
	if (g->waiter && (g->any || g->ended == g->count))
		task_wake(g->waiter, 0);
}

/* The next child, which does not count yet. */
static struct gather_child *child_new(struct gather *g, void *arg)
{
	if (g->count % CHUNK == 0) {
		g->chunks = mem_realloc_array(g->chunks, g->count / CHUNK + 1, sizeof(*g->chunks));
		g->chunks[g->count / CHUNK] = mem_array(CHUNK, sizeof(struct gather_child));
	}
	struct gather_child *c = child(g, g->count);
	*c = (struct gather_child){.gather = g, .arg = arg, .index = g->count, .result = -EINPROGRESS};
	list_init(&c->link);
	return c;
}

static void operation_completed(struct operation *op)
{
	child_ended(op->waiting, 0);
}

int gather_add_operation(struct gather *g, const char *name, struct operation *op, void *arg)
{
	if (g->mode == GATHER_FAIL_FAST && g->first_error)
		return -ECANCELED;
	struct gather_child *c = child_new(g, arg);
	struct loop *l = loop_on_thread;
	c->operation = op;
	c->name = name;
	c->id = ++l->last_id;
	c->born_us = now_us(l);
	op->completed = operation_completed;
	op->waiting = c;
	if (g->ended == g->count)
		own(g);
	g->operations++;
	return (int)g->count++;
}

int gather_add(struct gather *g, const char *name, task_fn fn, void *arg)
{
	if (g->mode == GATHER_FAIL_FAST && g->first_error)
		return -ECANCELED;
	struct gather_child *c = child_new(g, arg);
	int r = task_spawn(&c->task, fn, arg,
			   &(struct task_options){.name = name, .ended = child_ended, .ended_arg = c});
	if (r < 0) {
		if (g->count % CHUNK == 0)
			free(g->chunks[g->count / CHUNK]);
		return r;
	}
	if (g->ended == g->count)
		own(g);
	c->task->scope = &g->scope;
	return (int)g->count++;
}

struct gather_waiter {
	struct waiter waiter;
	const struct gather *gather;
};

static void each_operation(const struct waiter *w, operation_visit_fn fn, void *arg)
{
	const struct gather *g = container_of(w, const struct gather_waiter, waiter)->gather;
	for (unsigned i = 0; i < g->count; i++) {
		const struct gather_child *c = child(g, i);
		if (c->operation)
			fn(arg, c->operation, c->name, c->id, c->born_us);
	}
}

/* When the first operation wants to be looked at. */
static deadline_t first_look(const struct gather *g)
{
	deadline_t first = DEADLINE_NEVER;
	for (unsigned i = 0; i < g->count; i++) {
		const struct operation *op = child(g, i)->operation;
		if (op)
			first = deadline_min(first, op->look_at);
	}
	return first;
}

/* It is time for one of them, or for `by`. Returns 0 or -ETIMEDOUT: that was it. */
static int look(struct gather *g, deadline_t by)
{
	int64_t now = now_us(loop_on_thread);
	for (unsigned i = 0; i < g->count; i++) {
		struct operation *op = child(g, i)->operation;
		if (op && op->look_at.us <= now)
			op->kind->look(op);
	}
	return deadline_min(by, task_deadline()).us <= now ? -ETIMEDOUT : 0;
}

/* Suspends until a child ends, or until all have; may end early, with 0. */
static int await_children(struct gather *g, bool any, deadline_t by)
{
	struct gather_waiter w = {.gather = g};
	waiter_init(&w.waiter, NULL, any ? "one of its children" : "its children");
	deadline_t wake_at = by;
	if (g->operations > 0) {
		w.waiter.each = each_operation;
		wake_at = deadline_min(by, first_look(g));
	}
	g->waiter = &w.waiter;
	g->any = any;
	int r = task_suspend(&w.waiter, wake_at);
	g->waiter = NULL;
	return r == -ETIMEDOUT && g->operations > 0 ? look(g, by) : r;
}

int gather_wait(struct gather *g, deadline_t by)
{
	while (g->ended < g->count) { /* another one may have been added when all had ended */
		int r = await_children(g, false, by);
		if (r < 0)
			return r;
	}
	return g->mode == GATHER_FAIL_FAST ? g->first_error : 0;
}

int gather_next(struct gather *g, deadline_t by)
{
	while (list_empty(&g->finished)) {
		if (g->ended == g->count)
			return -ENOENT;
		int r = await_children(g, true, by);
		if (r < 0)
			return r;
	}
	return (int)container_of(list_shift(&g->finished), struct gather_child, link)->index;
}

struct task *gather_task(const struct gather *g, unsigned index)
{
	return child(g, index)->task;
}

void *gather_arg(const struct gather *g, unsigned index)
{
	return child(g, index)->arg;
}

int gather_result(const struct gather *g, unsigned index)
{
	return child(g, index)->result;
}

void gather_cancel(struct gather *g)
{
	for (unsigned i = 0; i < g->count; i++) {
		struct gather_child *c = child(g, i);
		if (c->task) {
			task_cancel(c->task);
		} else if (c->operation) {
			c->operation->kind->cancel(c->operation);
			child_ended(c, -ECANCELED);
		}
	}
}

void gather_done(struct gather *g)
{
	if (g->ended < g->count)
		gather_cancel(g);
	while (g->ended < g->count) {
		/* The children end of themselves: each of their waits returns -ECANCELED. */
		struct shield s;
		task_shield_fully(&s);
		if (await_children(g, false, DEADLINE_NEVER) < 0)
			abort(); /* a shielded wait without a deadline has no other end */
		task_unshield(&s);
	}
	for (unsigned i = 0; i < g->count; i += CHUNK)
		free(g->chunks[i / CHUNK]);
	free(g->chunks);
	gather_init(g, g->mode);
}
