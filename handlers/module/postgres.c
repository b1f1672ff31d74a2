/* PostgreSQL for handlers: arguments are taken here, drivers/postgres does the rest. */
#include <errno.h>
#include <string.h>

#include "drivers/postgres/calls/query.h"
#include "drivers/postgres/calls/stream.h"
#include "drivers/postgres/driver.h"
#include "handlers/module/postgres.h"

/* What may be asked: what comes back of it, and whether it may write. */
struct asking {
	const char *function;
	enum expect expect;
	bool writes;
};

/* The SQL and the values for $1, $2, …; false with e filled. What is asked lives in s. */
static bool take(struct pg_ask *out, struct gd_scope *s, const struct asking *how, const char *sql, gd_value *args,
		 struct error *e)
{
	const struct value_member *parts = NULL;
	size_t count = 0;

	if (args) {
		const struct value *list = value_use(args, "the list of values", e);
		if (!list)
			return false;
		if (value_looks(list) != VALUE_LIST) {
			error_set(e, -EINVAL, 500, NULL, "%s: the values for $1, $2, … are no list", how->function);
			return false;
		}
		count = value_parts(list, s->arena, &parts);
	}
	struct value *values = arena_array(s->arena, count + 1, sizeof(*values));
	for (size_t i = 0; i < count; i++)
		values[i] = parts[i].value;
	*out = (struct pg_ask){
		.call = how->function,
		.sql = arena_strdup(s->arena, sql ? sql : ""),
		.len = sql ? strlen(sql) : 0,
		.args = values,
		.count = (unsigned)count,
		.expect = how->expect,
		.writes = how->writes,
	};
	return true;
}

/* --- a statement by itself --- */

struct pg_call_of_handler {
	struct call call;
	struct pg_ask ask;
	bool taken;
};

static int run_query(struct call *call)
{
	struct pg_call_of_handler *c = container_of(call, struct pg_call_of_handler, call);
	struct pg_answer answer;

	if (!c->taken)
		return call->error.errnum;
	int r = pg_query(pg_client_of(call->client), &c->ask, &answer, &call->error);
	if (r < 0)
		return r;
	call->result = answer.result;
	call->changes = answer.writes;
	if (!answer.result)
		call->value = value_int(answer.changed);
	return 0;
}

static gd_value *query(gd_gather *g, const struct asking *how, const char *source, const char *sql, gd_value *args)
{
	gd_value *failed;
	struct pg_call_of_handler *c = call_new(sizeof(*c), how->function, source, &postgres_driver, &failed);

	if (!c)
		return failed;
	c->taken = take(&c->ask, c->call.scope, how, sql, args, &c->call.error);
	c->ask.timeout_us = c->call.options.timeout_us;
	return call_start(&c->call, g, how->function, run_query);
}

gd_value *gd_pg_query(gd_gather *g, const char *source, const char *sql, gd_value *args)
{
	static const struct asking how = {"gd_pg_query", EXPECT_MANY, false};
	return query(g, &how, source, sql, args);
}

gd_value *gd_pg_row(gd_gather *g, const char *source, const char *sql, gd_value *args)
{
	static const struct asking how = {"gd_pg_row", EXPECT_MAYBE, false};
	return query(g, &how, source, sql, args);
}

gd_value *gd_pg_scalar(gd_gather *g, const char *source, const char *sql, gd_value *args)
{
	static const struct asking how = {"gd_pg_scalar", EXPECT_VALUE, false};
	return query(g, &how, source, sql, args);
}

gd_value *gd_pg_execute(gd_gather *g, const char *source, const char *sql, gd_value *args)
{
	static const struct asking how = {"gd_pg_execute", EXPECT_MANY, true};
	return query(g, &how, source, sql, args);
}

/* --- transactions --- */

/* What an attempt runs: arg says what, and each attempt has a handle of its own, which may outlive it. */
static int run_attempt(struct pg_transaction *tx, void *arg)
{
	struct gd_scope *s = scope_here("gd_pg_transaction");
	struct gd_pg *handle = arena_alloc(s->arena, sizeof(*handle));

	*handle = *(struct gd_pg *)arg;
	handle->tx = tx;
	return handle->fn(handle, handle->arg);
}

/* A failure of the transaction's own is what the handler fails with. */
static int ended(struct gd_scope *s, int r, const struct error *e)
{
	if (r < 0 && r != -ECANCELED && e->errnum == r)
		scope_fail(s, e);
	return r;
}

int gd_pg_transaction(const char *source, const gd_pg_options *options, gd_pg_fn *fn, void *arg)
{
	static const enum pg_isolation isolations[] = {
		[GD_READ_COMMITTED] = PG_READ_COMMITTED,
		[GD_REPEATABLE_READ] = PG_REPEATABLE_READ,
		[GD_SERIALIZABLE] = PG_SERIALIZABLE,
	};
	gd_value *failed;
	struct call *c = call_new(sizeof(*c), __func__, source, &postgres_driver, &failed);

	if (!c)
		return failed ? gd_fail_with(failed) : -EPERM;
	if (!fn || (options && (unsigned)options->isolation >= ARRAY_SIZE(isolations)))
		return gd_fail_with(value_fail(c->scope, -EINVAL, 500, "%s: %s", __func__,
					       fn ? "there is no such isolation" : "no function was given"));
	struct pg_transaction_options how = {.call = __func__, .timeout_us = c->options.timeout_us};
	if (options) {
		how.isolation = isolations[options->isolation];
		how.read_only = options->read_only;
		how.attempts = options->attempts;
	}
	struct gd_pg what = {.fn = fn, .arg = arg};
	struct error *e = &c->error;
	int r = call_acquire(c);
	if (r == 0) {
		r = pg_transact(pg_client_of(c->client), c->scope->arena, &how, run_attempt, &what, e);
		call_release(c);
	}
	scope_note_change(c->scope, e->change, r >= 0 && !how.read_only);
	return ended(c->scope, r, e);
}

struct savepoint {
	struct gd_pg *handle;
	gd_pg_fn *fn;
	void *arg;
};

static int run_savepoint(struct pg_transaction *tx, void *arg)
{
	struct savepoint *s = arg;
	(void)tx;
	return s->fn(s->handle, s->arg);
}

int gd_pg_savepoint(gd_pg *tx, gd_pg_fn *fn, void *arg)
{
	struct gd_scope *s = scope_here(__func__);
	struct savepoint savepoint = {.handle = tx, .fn = fn, .arg = arg};
	struct error e = ERROR_INIT;

	if (!s)
		return -EPERM;
	if (!tx || !fn)
		return gd_fail_with(
			value_fail(s, -EINVAL, 500, "%s: no %s was given", __func__, tx ? "function" : "transaction"));
	int r = pg_transaction_savepoint(tx->tx, run_savepoint, &savepoint, &e);
	return ended(s, r, &e);
}

/* As take; what is wrong makes the transaction fail. */
static int take_within(struct pg_ask *out, struct gd_scope *s, gd_pg *tx, const struct asking *how, const char *sql,
		       gd_value *args, struct error *e)
{
	if (!tx)
		return error_set(e, -EINVAL, 500, NULL, "%s: no transaction was given", how->function);
	if (take(out, s, how, sql, args, e))
		return 0;
	pg_transaction_fail(tx->tx, e);
	return e->errnum;
}

static gd_value *ask_within(gd_pg *tx, const struct asking *how, const char *sql, gd_value *args)
{
	struct gd_scope *s = scope_here(how->function);
	struct error e = ERROR_INIT;
	struct pg_answer answer = {0};
	struct pg_ask ask;

	if (!s)
		return value_outside();
	int r = take_within(&ask, s, tx, how, sql, args, &e);
	if (r == 0)
		r = pg_transaction_query(tx->tx, &ask, &answer, &e);
	if (r < 0) {
		ended(s, r, &e);
		return value_failed(s, &e);
	}
	return answer.result ? value_of_result(s, answer.result) : value_new(s, value_int(answer.changed));
}

gd_value *gd_tx_query(gd_pg *tx, const char *sql, gd_value *args)
{
	static const struct asking how = {"gd_tx_query", EXPECT_MANY, false};
	return ask_within(tx, &how, sql, args);
}

gd_value *gd_tx_row(gd_pg *tx, const char *sql, gd_value *args)
{
	static const struct asking how = {"gd_tx_row", EXPECT_MAYBE, false};
	return ask_within(tx, &how, sql, args);
}

gd_value *gd_tx_scalar(gd_pg *tx, const char *sql, gd_value *args)
{
	static const struct asking how = {"gd_tx_scalar", EXPECT_VALUE, false};
	return ask_within(tx, &how, sql, args);
}

gd_value *gd_tx_execute(gd_pg *tx, const char *sql, gd_value *args)
{
	static const struct asking how = {"gd_tx_execute", EXPECT_MANY, true};
	return ask_within(tx, &how, sql, args);
}

/* --- streams --- */

struct rows {
	struct gd_cursor base;
	struct pg_stream stream;
	struct call *call; /* holds the source's permit; NULL: within a transaction */
};

static int next_row(struct gd_cursor *c, struct value *out, struct error *e)
{
	return pg_stream_next(&container_of(c, struct rows, base)->stream, out, e);
}

static void close_rows(struct gd_cursor *c)
{
	struct rows *rows = container_of(c, struct rows, base);
	pg_stream_close(&rows->stream);
	if (rows->call)
		call_release(rows->call);
}

static const struct cursor_ops rows_ops = {.next = next_row, .close = close_rows};

gd_cursor *gd_pg_stream(const char *source, const char *sql, gd_value *args)
{
	static const struct asking how = {"gd_pg_stream", EXPECT_MANY, false};
	gd_value *failed;
	struct call *c = call_new(sizeof(*c), how.function, source, &postgres_driver, &failed);
	struct pg_ask ask;

	if (!c)
		return failed && failed->scope ? cursor_failed(failed->scope, failed->error) : NULL;
	struct rows *rows = arena_zalloc(c->scope->arena, sizeof(*rows));
	if (!take(&ask, c->scope, &how, sql, args, &c->error))
		return cursor_failed(c->scope, &c->error);
	ask.timeout_us = c->options.timeout_us;
	rows->call = c;
	if (call_acquire(c) < 0)
		return cursor_failed(c->scope, &c->error);
	if (pg_stream_open(&rows->stream, pg_client_of(c->client), &ask, &c->error) < 0) {
		call_release(c);
		return cursor_failed(c->scope, &c->error);
	}
	cursor_open(&rows->base, c->scope, &rows_ops);
	return &rows->base;
}

gd_cursor *gd_tx_stream(gd_pg *tx, const char *sql, gd_value *args)
{
	static const struct asking how = {"gd_tx_stream", EXPECT_MANY, false};
	struct gd_scope *s = scope_here(how.function);
	struct error e = ERROR_INIT;
	struct pg_ask ask;

	if (!s)
		return NULL;
	struct rows *rows = arena_zalloc(s->arena, sizeof(*rows));
	int r = take_within(&ask, s, tx, &how, sql, args, &e);
	if (r == 0)
		r = pg_stream_open_within(&rows->stream, tx->tx, &ask, &e);
	if (r < 0)
		return cursor_failed(s, &e);
	cursor_open(&rows->base, s, &rows_ops);
	return &rows->base;
}
