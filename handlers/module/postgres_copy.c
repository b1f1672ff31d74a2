/* COPY for handlers; drivers/postgres/calls/copy.c does the rest. */
#include <errno.h>
#include <string.h>

#include "drivers/postgres/calls/copy.h"
#include "drivers/postgres/driver.h"
#include "handlers/module/holds.h"
#include "handlers/module/postgres.h"
#include "handlers/module/status.h"

struct gd_copy {
	struct thing thing;
	struct gd_scope *scope;
	struct call *call; /* its permit is held while it is open; NULL: within a transaction */
	struct pg_copy copy;
	struct error error; /* errnum below 0: what every call fails with */
	bool open;
	struct users users; /* a task that is in it: it can't be closed */
};

/* Suspends (shielded). */
static void close_copy(struct gd_copy *c)
{
	struct shield whole;

	if (!c->open)
		return;
	c->open = false;
	users_enter(&c->users); /* whoever ends its scope meanwhile waits for this, too */
	task_shield_fully(&whole);
	pg_copy_close(&c->copy);
	if (c->call)
		call_release(c->call);
	task_unshield(&whole);
	scope_forget(&c->thing);
	users_leave(&c->users);
}

static void end_forgotten(struct thing *t)
{
	struct gd_copy *c = container_of(t, struct gd_copy, thing);

	users_await(&c->users, DEADLINE_NEVER); /* of scopes around this one; the source's timeout bounds that */
	if (c->open)
		hold_left_open(scope_try(), "copy");
	close_copy(c);
}

/* What went wrong is remembered for the reply, but if the task was cancelled itself. */
static int tell(struct gd_scope *here, const struct error *e)
{
	if (!(e->errnum == -ECANCELED && task_cancelled()))
		scope_fail(here, e);
	return e->errnum;
}

static gd_copy *copy_new(struct gd_scope *s)
{
	struct gd_copy *c = arena_zalloc(s->arena, sizeof(*c));

	list_init(&c->thing.link);
	c->scope = s;
	return c;
}

static gd_copy *opened(struct gd_copy *c, int r)
{
	if (r == 0) {
		c->open = true;
		scope_add(c->scope, &c->thing, end_forgotten);
		return c;
	}
	if (c->error.errnum >= 0)
		error_of_errno(&c->error, r);
	tell(c->scope, &c->error);
	return c;
}

static struct pg_copy_ask ask_of(const char *call, const char *sql)
{
	return (struct pg_copy_ask){.call = call, .sql = sql ? sql : "", .len = sql ? strlen(sql) : 0};
}

gd_copy *gd_pg_copy(const char *source, const char *sql)
{
	gd_value *failed;
	struct call *call = call_new(sizeof(*call), __func__, source, &postgres_driver, &failed);
	struct pg_copy_ask ask = ask_of(__func__, sql);

	if (!call && !(failed && failed->scope))
		return NULL;
	struct gd_copy *c = copy_new(call ? call->scope : failed->scope);
	if (!call) {
		c->error = *failed->error;
		return opened(c, c->error.errnum);
	}
	c->call = call;
	ask.timeout_us = call->options.timeout_us;
	int r = call_acquire(call);
	if (r < 0) {
		c->error = call->error;
		return opened(c, r);
	}
	r = pg_copy_open(&c->copy, pg_client_of(call->client), &ask, &c->error);
	if (r < 0)
		call_release(call);
	return opened(c, r);
}

gd_copy *gd_tx_copy(gd_pg *tx, const char *sql)
{
	struct gd_scope *s = scope_here(__func__);
	struct pg_copy_ask ask = ask_of(__func__, sql);

	if (!s)
		return NULL;
	struct gd_copy *c = copy_new(s);
	int r = tx ? pg_copy_open_within(&c->copy, tx->tx, &ask, &c->error)
		   : error_set(&c->error, -EINVAL, 500, NULL, "%s: no transaction was given", __func__);
	return opened(c, r);
}

/* May the calling task work with c now? Then it is busy. */
static int enter(struct gd_copy *c, const char *function)
{
	struct gd_scope *here = scope_here(function);
	struct error e;

	if (!here)
		return -EPERM;
	if (!c) {
		error_set(&e, -EINVAL, 500, NULL, "%s: no copy was given", function);
		return tell(here, &e);
	}
	if (c->error.errnum < 0)
		return tell(here, &c->error);
	if (!c->open || c->users.count > 0) {
		error_set(&e, c->open ? -EBUSY : -EBADF, 500, NULL, "%s: %s", function,
			  c->open ? "another task is at work on the copy" : "the copy is closed");
		return tell(here, &e);
	}
	users_enter(&c->users);
	return 0;
}

/* What went wrong in it, e where r is below 0, is its last word, unless it was merely misused. */
static int leave(struct gd_copy *c, int r, const struct error *e)
{
	users_leave(&c->users);
	if (r >= 0)
		return 0;
	if (c->copy.tx && c->copy.tx->state != PG_TRANSACTION_OPEN)
		c->error = *e;
	return tell(c->scope, e);
}

int gd_copy_write(gd_copy *c, const void *p, size_t len)
{
	struct error e = ERROR_INIT;

	int r = enter(c, __func__);
	if (r < 0)
		return r;
	return leave(c, pg_copy_write(&c->copy, p, p ? len : 0, &e), &e);
}

int gd_copy_row(gd_copy *c, gd_value *list)
{
	struct error e = ERROR_INIT;

	int r = enter(c, __func__);
	if (r < 0)
		return r;
	const struct value *v = value_use(list, "the row", &e);
	if (v && value_looks(v) != VALUE_LIST)
		r = error_set(&e, -EINVAL, 500, NULL, "gd_copy_row: the row is no list");
	else
		r = v ? pg_copy_row(&c->copy, v, &e) : e.errnum;
	return leave(c, r, &e);
}

int64_t gd_copy_read(gd_copy *c, const void **p)
{
	const void *data = NULL;
	struct error e = ERROR_INIT;

	int r = enter(c, __func__);
	if (r < 0)
		return r;
	int64_t n = pg_copy_read(&c->copy, &data, &e);
	if (p)
		*p = data;
	return n < 0 ? leave(c, (int)n, &e) : (leave(c, 0, NULL), n);
}

gd_value *gd_copy_end(gd_copy *c)
{
	struct error e = ERROR_INIT;
	int64_t rows = 0;

	int r = enter(c, __func__);
	if (r < 0) {
		struct gd_scope *here = scope_try();
		if (!here)
			return value_outside();
		if (c && c->error.errnum < 0)
			return value_failed(here, &c->error);
		return value_fail(here, r, 500, "gd_copy_end: %s",
				  !c            ? "no copy was given"
				  : r == -EBUSY ? "another task is at work on the copy"
						: "the copy is closed");
	}
	r = pg_copy_end(&c->copy, &rows, &e);
	scope_note_change(c->scope, e.change, r >= 0 && rows > 0 && c->copy.in && c->call);
	leave(c, r, &e);
	if (r < 0)
		c->error = e;
	close_copy(c);
	return r < 0 ? value_failed(c->scope, &e) : value_new(c->scope, value_int(rows));
}

void gd_copy_close(gd_copy *c)
{
	if (scope_here(__func__) && c && c->users.count == 0)
		close_copy(c);
}
