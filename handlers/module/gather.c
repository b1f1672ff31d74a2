/* Gathers of handlers: struct gather, and what those of its children brought that are calls of clients. */
#include <errno.h>
#include <string.h>

#include "handlers/module/internal.h"

static void cancel_children(struct thing *thing)
{
	gather_cancel(&container_of(thing, struct gd_gather, thing)->gather);
}

static void await_children(struct thing *thing)
{
	struct gd_gather *g = container_of(thing, struct gd_gather, thing);
	while (g->waiting && task_sleep_ms(1) == 0) {
		/* A task of the scope waits in it; it is cancelled, and leaves. */
	}
	g->waiting = true;
	int r = gather_wait(&g->gather, DEADLINE_NEVER); /* shielded: it returns when the last child has ended */
	g->waiting = false;
	(void)r;
}

static void free_children(struct thing *thing)
{
	gather_done(&container_of(thing, struct gd_gather, memory)->gather);
}

gd_gather *gd_gather_new(gd_gather_mode mode)
{
	struct gd_scope *s = scope_here(__func__);
	if (!s)
		return NULL;
	struct gd_gather *g = arena_zalloc(s->arena, sizeof(*g));
	g->scope = s;
	gather_init(&g->gather, mode == GD_ALL ? GATHER_ALL : GATHER_FAIL_FAST);
	list_init(&g->thing.link);
	scope_add(s, &g->memory, free_children);
	return g;
}

static void keep_value(gd_gather *g, size_t index, gd_value *value)
{
	if (index >= g->room) {
		size_t room = g->room ? 2 * g->room : 16;
		gd_value **grown = arena_array(g->scope->arena, room, sizeof(gd_value *));
		if (g->room)
			memcpy(grown, g->values, g->room * sizeof(gd_value *));
		memset(grown + g->room, 0, (room - g->room) * sizeof(gd_value *));
		g->values = grown;
		g->room = room;
	}
	g->values[index] = value;
}

int gather_start(gd_gather *g, const char *name, gd_task_fn *fn, void *arg, gd_value *value)
{
	int index = gather_add(&g->gather, name, fn, arg);
	if (index < 0)
		return index;
	keep_value(g, (size_t)index, value);
	if (list_empty(&g->thing.link))
		scope_add_task(g->scope, &g->thing, await_children, cancel_children);
	else if (g->scope->closing)
		gather_cancel(&g->gather);
	return index;
}

int gd_gather_add(gd_gather *g, const char *name, gd_task_fn *fn, void *arg)
{
	if (!scope_here(__func__))
		return -EPERM;
	return g && fn ? gather_start(g, name ? name : "child", fn, arg, NULL) : -EINVAL;
}

int gd_gather_wait(gd_gather *g, gd_deadline by)
{
	if (!scope_here(__func__))
		return -EPERM;
	if (!g)
		return -EINVAL;
	if (g->waiting)
		return -EBUSY;
	g->waiting = true;
	int r = gather_wait(&g->gather, deadline_of(by));
	g->waiting = false;
	return r;
}

int gd_gather_next(gd_gather *g, gd_deadline by)
{
	if (!scope_here(__func__))
		return -EPERM;
	if (!g)
		return -EINVAL;
	if (g->waiting)
		return -EBUSY;
	g->waiting = true;
	int r = gather_next(&g->gather, deadline_of(by));
	g->waiting = false;
	return r;
}

static bool has_child(const gd_gather *g, int index)
{
	return g && index >= 0 && (unsigned)index < g->gather.count;
}

int gd_gather_result(const gd_gather *g, int index)
{
	return has_child(g, index) ? gather_result(&g->gather, (unsigned)index) : -ENOENT;
}

gd_value *gd_gather_value(const gd_gather *g, int index)
{
	struct gd_scope *s = scope_here(__func__);
	if (!s)
		return NULL;
	if (!has_child(g, index))
		return value_fail(s, -ENOENT, 500, NULL, "gd_gather_value: there is no child %d", index);
	if (!g->values[index])
		return value_fail(s, -EINVAL, 500, NULL, "gd_gather_value: child %d is no client's call", index);
	return g->values[index];
}

void gd_gather_cancel(gd_gather *g)
{
	if (scope_here(__func__) && g)
		gather_cancel(&g->gather);
}
