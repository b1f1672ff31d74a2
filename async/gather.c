/* Children of one scope. A child's end is a callback on the loop, so no task is needed to collect it. */
#include "async/gather.h"

#include <errno.h>
#include <stdlib.h>

#include "async/internal.h"
#include "base/mem.h"

struct gather_child {
	struct gather *gather;
	struct list link;  /* gather.finished */
	struct task *task; /* NULL once ended */
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

int gather_add(struct gather *g, const char *name, task_fn fn, void *arg)
{
	if (g->mode == GATHER_FAIL_FAST && g->first_error)
		return -ECANCELED;
	if (g->count % CHUNK == 0) {
		g->chunks = mem_realloc_array(g->chunks, g->count / CHUNK + 1, sizeof(*g->chunks));
		g->chunks[g->count / CHUNK] = mem_array(CHUNK, sizeof(struct gather_child));
	}
	struct gather_child *c = child(g, g->count);
	*c = (struct gather_child){.gather = g, .index = g->count, .result = -EINPROGRESS};
	list_init(&c->link);
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

/* Suspends until a child ends, or until all have. */
static int await_children(struct gather *g, bool any, deadline_t by)
{
	struct waiter w;
	waiter_init(&w, NULL, any ? "one of its children" : "its children");
	g->waiter = &w;
	g->any = any;
	int r = task_suspend(&w, by);
	g->waiter = NULL;
	return r;
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

int gather_result(const struct gather *g, unsigned index)
{
	return child(g, index)->result;
}

void gather_cancel(struct gather *g)
{
	for (unsigned i = 0; i < g->count; i++) {
		if (child(g, i)->task)
			task_cancel(child(g, i)->task);
	}
}

void gather_done(struct gather *g)
{
	while (g->ended < g->count) {
		/* The children end of themselves: each of their waits returns -ECANCELED. */
		struct shield s;
		gather_cancel(g);
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
