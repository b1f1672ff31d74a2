/* Cursors: what comes one by one, whatever it comes from. */
#include <errno.h>

#include "handlers/module/holds.h"
#include "handlers/module/internal.h"
#include "handlers/module/status.h"

static void end_cursor(struct thing *t)
{
	struct gd_cursor *c = container_of(t, struct gd_cursor, thing);
	const struct cursor_ops *ops = c->ops;
	c->ops = NULL;
	c->current = (struct gd_value){.v = VALUE_OF_NULL, .scope = c->scope};
	arena_done(&c->row);
	if (ops)
		ops->close(c);
}

static void end_forgotten(struct thing *t)
{
	struct gd_cursor *c = container_of(t, struct gd_cursor, thing);
	users_await(&c->users, DEADLINE_NEVER); /* of scopes around this one */
	if (c->ops)
		hold_left_open(scope_try(), "cursor");
	end_cursor(t);
}

void cursor_open(struct gd_cursor *c, struct gd_scope *s, const struct cursor_ops *ops)
{
	c->scope = s;
	c->ops = ops;
	scope_add(s, &c->thing, end_forgotten);
}

struct gd_cursor *cursor_failed(struct gd_scope *s, const struct error *e)
{
	struct gd_cursor *c = arena_zalloc(s->arena, sizeof(*c));
	list_init(&c->thing.link);
	c->scope = s;
	c->error = *e;
	return c;
}

/* Suspends (shielded). */
static void close_cursor(struct gd_cursor *c)
{
	struct shield whole;
	users_enter(&c->users); /* whoever ends its scope meanwhile waits for this, too */
	task_shield_fully(&whole);
	end_cursor(&c->thing);
	task_unshield(&whole);
	scope_forget(&c->thing);
	users_leave(&c->users);
}

/* --- reading --- */

/* A reader that is of no scope within the cursor's, and so goes on when that ends. */
struct visit {
	struct thing thing;
	struct task *task;
	struct gd_cursor *cursor;
	struct value *out;
};

static int run_visit(void *arg)
{
	const struct visit *v = arg;
	return v->cursor->ops->next(v->cursor, v->out, &v->cursor->error);
}

static void cancel_visit(struct thing *t)
{
	struct visit *v = container_of(t, struct visit, thing);
	if (v->task)
		task_cancel(v->task);
}

static void end_visit(struct thing *t)
{
	(void)t; /* the cursor's own end waits for it */
}

/* `next` in a task of the cursor's scope, which ends with that. It has the caller's deadline. */
static int next_from_outside(struct gd_cursor *c, struct value *out)
{
	struct visit v = {.cursor = c, .out = out};
	int r = task_spawn(&v.task, run_visit, &v, &(struct task_options){.name = "gd_next"});
	if (r < 0)
		return r;
	scope_add_task(c->scope, &v.thing, end_visit, cancel_visit);
	deadline_t before = task_deadline();
	deadline_pop(DEADLINE_NEVER);
	r = task_await(&v.task, DEADLINE_NEVER);
	deadline_pop(before);
	if (v.task) { /* the caller was cancelled */
		struct shield whole;
		task_cancel(v.task);
		task_shield_fully(&whole);
		r = task_await(&v.task, DEADLINE_NEVER);
		task_unshield(&whole);
	}
	scope_forget(&v.thing);
	return r;
}

static int next(struct gd_cursor *c, struct value *out)
{
	users_enter(&c->users);
	int r = scope_is_within(scope_try(), c->scope) ? c->ops->next(c, out, &c->error) : next_from_outside(c, out);
	users_leave(&c->users);
	return r;
}

/* The failure is told once: a loop over gd_next that does not look at it ends all the same. */
static gd_value *tell_failure(struct gd_cursor *c)
{
	if (c->error.errnum >= 0)
		return NULL;
	c->current = *value_failed(c->scope, &c->error);
	scope_fail(c->scope, &c->error);
	c->error.errnum = 0;
	return &c->current;
}

gd_value *gd_next(gd_cursor *c)
{
	struct value v = VALUE_OF_NULL;
	struct gd_scope *here = c ? scope_of_worker(c->scope->env->worker, __func__) : scope_here(__func__);
	if (!here || !c)
		return c && scope_try() ? value_fail(scope_try(), -EPERM, 500, "gd_next: another worker's cursor")
					: NULL;
	if (!c->ops)
		return tell_failure(c);
	if (c->users.count > 0)
		return value_fail(c->scope, -EBUSY, 500, "gd_next: another task reads this cursor");
	arena_reset(&c->row);
	bool in_time = task_check() == 0;
	int r = next(c, &v);
	if (r > 0) {
		c->current = (struct gd_value){.v = v, .scope = c->scope, .state = VALUE_READY, .fleeting = &c->row};
		return &c->current;
	}
	/* Who has no time left is not asked again: a loop that does not look at failures ends. */
	if (r == -ETIMEDOUT && in_time && c->ops && c->ops->resumes) {
		c->current = *value_failed(c->scope, &c->error);
		c->error.errnum = 0;
		return &c->current;
	}
	if (c->ops)
		close_cursor(c);
	if (r < 0 && c->error.errnum >= 0)
		error_of_errno(&c->error, r);
	return tell_failure(c);
}

void gd_close(gd_cursor *c)
{
	if (c && scope_of_worker(c->scope->env->worker, __func__) && c->users.count == 0)
		close_cursor(c);
}
