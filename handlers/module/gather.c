/* Gathers of handlers: struct gather, and what those of its children brought that are calls of clients.
 *
 * A child uses what the scope holds in which it was added. Where that is one within the gather's own it ends with that;
 * where it is one of another request, or of another run of a background task, it is refused. */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "handlers/module/internal.h"

/* The children first to last - 1 were added in that scope. */
struct guest {
	struct thing thing;
	struct gd_gather *gather;
	const struct gd_scope *scope;
	int first, last;
	struct users running; /* of these children */
};

/* What a child runs. */
struct child {
	gd_task_fn *fn;
	void *arg;
	gd_gather *gather;
	struct guest *guest; /* that it is part of; NULL: none */
};

/* May the calling task wait in g? Followed by leave. */
static int enter(gd_gather *g, const char *function)
{
	if (!g)
		return scope_here(function) ? -EINVAL : -EPERM;
	if (!scope_of_worker(g->scope->env->worker, function))
		return -EPERM;
	if (g->users.count > 0)
		return -EBUSY;
	users_enter(&g->users);
	return 0;
}

/* Suspends. A caller that can't wait any more goes on to its end, and takes along what its children were given: they
 * end first. */
static int leave(gd_gather *g, int r)
{
	if (r < 0 && task_check() < 0) {
		struct shield whole;
		gather_cancel(&g->gather);
		task_shield_fully(&whole);
		int ended = gather_wait(&g->gather, DEADLINE_NEVER);
		(void)ended; /* each has its own result */
		task_unshield(&whole);
	}
	users_leave(&g->users);
	return turn_over(r);
}

static void cancel_children(struct thing *thing)
{
	gather_cancel(&container_of(thing, struct gd_gather, thing)->gather);
}

/* Beside a task that waits in it, perhaps shielded, and that may come only now. */
static void await_children(struct thing *thing)
{
	struct gd_gather *g = container_of(thing, struct gd_gather, thing);
	while (g->running.count > 0 || g->users.count > 0) {
		users_await(&g->running, DEADLINE_NEVER);
		users_await(&g->users, DEADLINE_NEVER);
	}
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

/* --- children of scopes within --- */

static void cancel_guests(struct thing *thing)
{
	struct guest *guest = container_of(thing, struct guest, thing);
	const struct gather *g = &guest->gather->gather; /* it has none any more where it went before this scope */
	for (int i = guest->first; i < guest->last && (unsigned)i < g->count; i++) {
		struct task *t = gather_task(g, (unsigned)i);
		if (t)
			task_cancel(t);
	}
}

/* Suspends. What they brought goes with the scope. */
static void await_guests(struct thing *thing)
{
	struct guest *guest = container_of(thing, struct guest, thing);
	struct gd_gather *g = guest->gather;
	users_await(&guest->running, DEADLINE_NEVER);
	for (int i = guest->first; i < guest->last; i++)
		g->values[i] = NULL;
	if (g->newest == guest)
		g->newest = NULL;
}

static struct guest *add_guest(gd_gather *g, struct gd_scope *s, int index)
{
	struct guest *guest = g->newest;
	if (guest && guest->scope == s && guest->last == index) {
		guest->last++;
	} else {
		guest = arena_zalloc(s->arena, sizeof(*guest));
		*guest = (struct guest){.gather = g, .scope = s, .first = index, .last = index + 1};
		g->newest = guest;
		scope_add_task(s, &guest->thing, await_guests, cancel_guests);
	}
	users_enter(&guest->running);
	return guest;
}

/* Nothing suspends between the last of this and the child's end. */
static int run_child(void *arg)
{
	const struct child *c = arg;
	int r = c->fn(c->arg);
	mutexes_release();
	users_leave(&c->gather->running);
	if (c->guest)
		users_leave(&c->guest->running);
	return r;
}

int gather_start(gd_gather *g, const char *name, gd_task_fn *fn, void *arg, gd_value *value)
{
	struct gd_scope *s = scope_of_worker(g->scope->env->worker, name);
	if (!s)
		return -EPERM;
	bool within = s != g->scope && scope_is_within(s, g->scope);
	if (!within && !scope_is_within(g->scope, s)) {
		log_line(LOG_LINE_WARNING, "a gather can't be added to from another request", "child=\"%s\"", name);
		return -EPERM;
	}
	struct child *c = arena_alloc(s->arena, sizeof(*c));
	*c = (struct child){.fn = fn, .arg = arg, .gather = g};
	int index = gather_add(&g->gather, name, run_child, c);
	if (index < 0)
		return index;
	users_enter(&g->running);
	keep_value(g, (size_t)index, value);
	if (within)
		c->guest = add_guest(g, s, index);
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
	int r = enter(g, __func__);
	return r < 0 ? r : leave(g, gather_wait(&g->gather, deadline_of(by)));
}

int gd_gather_next(gd_gather *g, gd_deadline by)
{
	int r = enter(g, __func__);
	return r < 0 ? r : leave(g, gather_next(&g->gather, deadline_of(by)));
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
		return value_fail(s, -ENOENT, 500, "gd_gather_value: there is no child %d", index);
	if (!g->values[index])
		return value_fail(s, -EINVAL, 500, "gd_gather_value: child %d is no client's call", index);
	return g->values[index];
}

void gd_gather_cancel(gd_gather *g)
{
	if (g && scope_of_worker(g->scope->env->worker, __func__))
		gather_cancel(&g->gather);
}
