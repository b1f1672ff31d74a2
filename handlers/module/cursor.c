/* Cursors: what comes one by one, whatever it comes from. */
#include <errno.h>

#include "handlers/module/holds.h"
#include "handlers/module/internal.h"

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
	const struct gd_cursor *c = container_of(t, struct gd_cursor, thing);
	while (c->reading && task_sleep_ms(1) == 0) {
		/* A task of a scope around this one reads; the source's timeout bounds that. */
	}
	if (c->ops)
		hold_left_open("cursor");
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
	c->reading = true; /* whoever ends its scope meanwhile waits for this, too */
	shield_whole(&whole);
	end_cursor(&c->thing);
	task_unshield(&whole);
	scope_forget(&c->thing);
	c->reading = false;
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
	if (!scope_here(__func__) || !c)
		return NULL;
	if (!c->ops)
		return tell_failure(c);
	if (c->reading)
		return value_fail(c->scope, -EBUSY, 500, NULL, "gd_next: another task reads this cursor");
	arena_reset(&c->row);
	bool in_time = task_check() == 0;
	c->reading = true;
	int r = c->ops->next(c, &v, &c->error);
	c->reading = false;
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
	if (scope_here(__func__) && c && !c->reading)
		close_cursor(c);
}
