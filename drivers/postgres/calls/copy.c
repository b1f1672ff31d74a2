/* BEGIN, COPY, the data, COMMIT. The data goes through the connection's readiness like everything else: what is written
 * leaves at the end of the turn, what has come wakes the task. */
#include "drivers/postgres/calls/copy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "drivers/postgres/statements/sql.h"
#include "drivers/postgres/wire/call.h"
#include "drivers/postgres/wire/connection.h"
#include "drivers/postgres/wire/pipeline.h"

#define PIECE_BYTES       (64 << 10) /* between two looks whether the server keeps up */
#define ROW_BYTES_KEPT    (64 << 10)
#define CLOSE_PATIENCE_US 2000000
#define SAID_US           1000000 /* then it is not a notice of which only a part has come */

static int misused(const struct pg_copy *c, int errnum, const char *why, struct error *e)
{
	return error_set(e, errnum, 500, NULL, "%s: %s", c->call, why);
}

/* The bytes of text before what the server quotes of the data: "COPY t, line 2, column a". */
static int place_in_data(const char *context)
{
	return context && strncmp(context, "COPY ", 5) == 0 ? (int)strcspn(context, ":\n") : 0;
}

/* Returns e->errnum. */
static int refused(struct pg_copy *c, const PGresult *failure, struct error *e)
{
	struct pg_place place = c->tx->place;
	const char *context = PQresultErrorField(failure, PG_DIAG_CONTEXT);
	char what[sizeof(e->what)];
	int len = place_in_data(context);

	place.from_request = c->from_request;
	place.parameters = NULL;
	int r = pg_error_from_result(e, failure, &place);
	if (len > 0) {
		memcpy(what, e->what, sizeof(what));
		snprintf(e->what, sizeof(e->what), "%.250s (%.*s)", what, len < 120 ? len : 120, context);
	}
	return r;
}

/* Suspends until it is met, or the server has answered the COPY. */
static int await(struct pg_copy *c, bool (*met)(struct pg_copy *c), deadline_t by, struct error *e)
{
	struct pg_transaction *tx = c->tx;
	struct pg_call *lease = tx->lease;

	while (pg_call_is_placed(lease) && lease->pending > 0 && !(met && met(c))) {
		int r = pg_call_suspend(lease, "COPY on PostgreSQL", by);
		if (r < 0 && pg_call_is_placed(lease))
			return pg_error_at(e, r, r == -ETIMEDOUT ? 504 : 503,
					   r == -ETIMEDOUT ? reason_text(REASON_SLOW) : NULL, &tx->place,
					   r == -ETIMEDOUT ? "the deadline passed in COPY" : "cancelled in COPY");
	}
	if (pg_call_is_placed(lease))
		return 0;
	return pg_failed(lease->result) ? refused(c, lease->result, e)
					: pg_error_broken(e, &tx->place, lease->error.what);
}

static deadline_t patience(const struct pg_copy *c)
{
	int64_t us = c->tx->options.timeout_us;
	return us ? deadline_in_us(us) : DEADLINE_NEVER;
}

/* The server has answered. *rows may be NULL. */
static int take_answer(struct pg_copy *c, int64_t *rows, struct error *e)
{
	struct pg_call *lease = c->tx->lease;
	PGresult *result = lease->result;
	int r = 0;

	lease->result = NULL;
	c->ended = true;
	if (pg_failed(result))
		r = refused(c, result, e);
	else if (PQresultStatus(result) != PGRES_COMMAND_OK)
		r = pg_error_broken(e, &c->tx->place, "no answer came");
	else if (rows)
		*rows = strtoll(PQcmdTuples(result), NULL, 10);
	PQclear(result);
	return r;
}

/* --- the beginning --- */

/* Suspends. A COPY may last longer than any statement. */
static int lift_timeout(struct pg_copy *c, struct error *e)
{
	PGresult *result;
	char sql[80];

	int r = pg_transaction_begin(c->tx, e);
	if (r < 0)
		return r;
	pg_transaction_untimed(sql, sizeof(sql));
	r = pg_transaction_send(c->tx, sql, e);
	if (r == 0)
		r = pg_transaction_exchange(c->tx, &result, e);
	if (r == 0)
		PQclear(result);
	return r;
}

/* Suspends. What follows in the transaction has the time-out of its session again. */
static int restore_timeout(struct pg_copy *c, struct error *e)
{
	const struct pg_client *client = c->tx->client;
	PGresult *result;

	int r = pg_transaction_send(
		c->tx, client->source->prepare ? "set local statement_timeout to default" : client->settings, e);
	if (r == 0)
		r = pg_transaction_exchange(c->tx, &result, e);
	if (r == 0)
		PQclear(result);
	return r;
}

static bool has_begun(struct pg_copy *c)
{
	return c->tx->lease->connection->copying != PG_COPYING_NOT;
}

/* Suspends. */
static int begin(struct pg_copy *c, const char *sql, struct error *e)
{
	int r = lift_timeout(c, e);

	if (r < 0)
		return r;
	pg_pipeline_copy(c->tx->lease->connection, c->tx->lease, sql);
	r = await(c, has_begun, patience(c), e);
	if (r < 0 || c->tx->lease->pending > 0)
		return r;
	r = take_answer(c, NULL, e);
	return r < 0 ? r : pg_error_at(e, -EINVAL, 500, NULL, &c->tx->place, "the server copied nothing");
}

int pg_copy_open_within(struct pg_copy *c, struct pg_transaction *tx, const struct pg_copy_ask *ask, struct error *e)
{
	struct pg_copy_sql sql;
	const char *why;

	if (tx != &c->own)
		*c = (struct pg_copy){0};
	c->call = ask->call;
	int r = pg_transaction_enter(tx, ask->call, e);
	if (r < 0)
		return r;
	c->tx = tx;
	tx->copy = c;
	tx->end_copy = pg_copy_close;
	if (pg_sql_scan_copy(&sql, ask->sql, ask->len, &why)) {
		c->in = sql.in;
		c->plain = sql.plain;
		r = begin(c, sql.text, e);
	} else {
		r = pg_error_at(e, -EINVAL, 500, NULL, &tx->place, why);
	}
	free(sql.text);
	pg_transaction_leave(tx, r, e);
	if (r < 0)
		pg_copy_close(c);
	return r;
}

/* Does it only read? Whatever is wrong with it is told later. */
static bool reads(const struct pg_copy_ask *ask)
{
	struct pg_copy_sql sql;
	const char *why;
	bool fine = pg_sql_scan_copy(&sql, ask->sql, ask->len, &why);

	free(sql.text);
	return fine && !sql.in;
}

int pg_copy_open(struct pg_copy *c, struct pg_client *client, const struct pg_copy_ask *ask, struct error *e)
{
	struct pg_transaction_options options = {
		.call = ask->call,
		.read_only = reads(ask),
		.timeout_us = ask->timeout_us,
	};

	*c = (struct pg_copy){0};
	int r = pg_transaction_open(&c->own, client, &options, false, e);
	if (r == 0) {
		c->own.place.advice = "what writes is copied out by gd_tx_copy";
		r = pg_copy_open_within(c, &c->own, ask, e);
	}
	/* Closed already, unless it could not even be entered. */
	if (r < 0)
		pg_transaction_close(&c->own);
	return r;
}

/* --- the data --- */

/* May data go that way now? Where that is so the task is at work in the transaction. */
static int enter(struct pg_copy *c, bool in, struct error *e)
{
	if (!c->tx)
		return misused(c, -EINVAL, "the copy is closed", e);
	if (c->in != in)
		return misused(c, -EINVAL, in ? "COPY TO is read, not written" : "COPY FROM is written, not read", e);
	return pg_transaction_enter_copy(c->tx, c->call, e);
}

static bool has_room(struct pg_copy *c)
{
	return PQflush(c->tx->lease->connection->pg) <= 0;
}

/* Suspends: others run, and the server catches up. */
static int keep_pace(struct pg_copy *c, struct error *e)
{
	struct pg_connection *conn = c->tx->lease->connection;

	c->unflushed = 0;
	loop_defer(conn->client->loop, &conn->flush);
	int r = await(c, has_room, patience(c), e);
	if (r < 0)
		return r;
	r = task_yield();
	return r < 0 ? pg_error_at(e, r, r == -ETIMEDOUT ? 504 : 503, NULL, &c->tx->place, "over in COPY") : 0;
}

/* What the server says to rows is a failure, if it is not a notice. libpq shows it only at the end: so that is now, or
 * all the rest would be sent in vain. */
static bool has_refused(const struct pg_connection *conn)
{
	return conn->said_us && loop_now_us(conn->client->loop) - conn->said_us > SAID_US;
}

/* Suspends: what has come by now is looked at first. */
static int end_early(struct pg_copy *c, struct error *e)
{
	struct pg_call *lease = c->tx->lease;

	int r = task_yield();
	if (r < 0)
		return pg_error_at(e, r, r == -ETIMEDOUT ? 504 : 503, NULL, &c->tx->place, "over in COPY");
	if (!pg_call_is_placed(lease))
		return await(c, NULL, DEADLINE_NEVER, e);
	if (!has_refused(lease->connection))
		return 0;
	pg_pipeline_copy_end(lease->connection, "given up");
	r = await(c, NULL, patience(c), e);
	return r < 0 ? r : take_answer(c, NULL, e);
}

/* Suspends. */
static int put(struct pg_copy *c, const char *p, size_t len, struct error *e)
{
	int r = 0;

	while (len > 0 && r == 0) {
		struct pg_call *lease = c->tx->lease;
		size_t n = len < PIECE_BYTES ? len : PIECE_BYTES;
		if (!pg_call_is_placed(lease))
			return await(c, NULL, DEADLINE_NEVER, e);
		if (has_refused(lease->connection)) {
			r = end_early(c, e);
			continue;
		}
		if (PQputCopyData(lease->connection->pg, p, (int)n) != 1) {
			lease->connection->broken = true;
			loop_defer(lease->client->loop, &lease->connection->flush);
			return pg_error_broken(e, &c->tx->place, PQerrorMessage(lease->connection->pg));
		}
		p += n;
		len -= n;
		c->unflushed += n;
		if (c->unflushed >= PIECE_BYTES)
			r = keep_pace(c, e);
	}
	return r;
}

int pg_copy_write(struct pg_copy *c, const void *p, size_t len, struct error *e)
{
	int r = enter(c, true, e);

	if (r < 0)
		return r;
	r = put(c, p, len, e);
	pg_transaction_leave(c->tx, r, e);
	return r;
}

/* How a value is written where the type of its column is not known: lists as arrays, documents as JSON. */
static struct pg_type type_of(const struct value *v)
{
	struct pg_type t = {.oid = PG_OID_TEXT, .shape = PG_SHAPE_STRING};
	enum value_kind looks = value_looks(v);
	bool bytes = v->kind == VALUE_LIST && v->count > 0 && v->list[0].kind == VALUE_BYTES;

	if (looks == VALUE_BYTES)
		t.oid = PG_OID_BYTEA;
	else if (looks == VALUE_LIST)
		t = (struct pg_type){.oid = bytes ? PG_OID_BYTEA_ARRAY : PG_OID_TEXT_ARRAY,
				     .shape = PG_SHAPE_ARRAY,
				     .element = PG_SHAPE_STRING,
				     .delimiter = ','};
	return t;
}

static void field(struct buf *out, const char *text)
{
	static const char special[] = "\\\b\f\n\r\t\v", names[] = "\\bfnrtv";

	if (!text) {
		buf_lit(out, "\\N");
		return;
	}
	for (;;) {
		size_t plain = strcspn(text, special);
		buf_append(out, text, plain);
		text += plain;
		if (!*text)
			return;
		buf_char(out, '\\');
		buf_char(out, names[strchr(special, *text++) - special]);
	}
}

/* Into c->row. */
static int encode(struct pg_copy *c, const struct value *list, struct error *e)
{
	const struct value_member *parts;
	struct arena arena;
	const char *why;
	char text[100];
	int r = 0;

	arena_init(&arena);
	size_t count = value_parts(list, &arena, &parts);
	pg_parameters_begin(&c->values, (unsigned)count);
	for (size_t i = 0; i < count && r == 0; i++) {
		struct pg_type t = type_of(&parts[i].value);
		r = pg_parameters_add(&c->values, &t, &parts[i].value, &why);
		if (r < 0) {
			snprintf(text, sizeof(text), "column %zu of the row holds %s", i + 1, why);
			pg_error_at(e, r, c->values.from_request ? 400 : 500, NULL, &c->tx->place, text);
		}
	}
	c->from_request |= c->values.from_request;
	pg_parameters_end(&c->values);
	if (c->row.cap > ROW_BYTES_KEPT)
		buf_done(&c->row);
	c->row.len = 0;
	for (size_t i = 0; i < count && r == 0; i++) {
		if (i)
			buf_char(&c->row, '\t');
		field(&c->row, c->values.values[i]);
	}
	buf_char(&c->row, '\n');
	arena_done(&arena);
	return r;
}

int pg_copy_row(struct pg_copy *c, const struct value *list, struct error *e)
{
	if (c->tx && !c->plain)
		return misused(c, -EINVAL,
			       "rows are written in the text format, and the statement has options: write the bytes",
			       e);
	int r = enter(c, true, e);
	if (r < 0)
		return r;
	r = encode(c, list, e);
	if (r == 0)
		r = put(c, c->row.data, c->row.len, e);
	pg_transaction_leave(c->tx, r, e);
	return r;
}

/* Takes what has come. Returns how much; 0: the end. */
static int take_data(struct pg_copy *c, struct error *e, int64_t *out)
{
	struct pg_connection *conn = c->tx->lease->connection;
	int n = PQgetCopyData(conn->pg, &c->data, 1);

	if (n > 0) {
		*out = n;
		return 1;
	}
	if (n == 0) {
		conn->paused = false;
		loop_defer(conn->client->loop, &conn->flush);
		return 0;
	}
	pg_pipeline_copied(conn);
	int r = await(c, NULL, patience(c), e);
	*out = 0;
	return r < 0 ? r : 1;
}

static bool has_data(struct pg_copy *c)
{
	return c->tx->lease->connection->paused;
}

/* Suspends. What comes next, however it goes: a failure of the server's is told by the answer. */
static int64_t pull(struct pg_copy *c, struct error *e)
{
	struct pg_call *lease = c->tx->lease;
	int64_t n = 0;

	PQfreemem(c->data);
	c->data = NULL;
	for (;;) {
		if (!pg_call_is_placed(lease))
			return await(c, NULL, DEADLINE_NEVER, e);
		if (lease->pending == 0 || lease->connection->copying == PG_COPYING_NOT)
			return 0;
		int r = take_data(c, e, &n);
		if (r != 0)
			return r < 0 ? r : n;
		r = await(c, has_data, patience(c), e);
		if (r < 0)
			return r;
	}
}

int64_t pg_copy_read(struct pg_copy *c, const void **out, struct error *e)
{
	int64_t n = enter(c, false, e);

	if (n < 0)
		return n;
	n = c->ended ? 0 : pull(c, e);
	if (n == 0 && !c->ended && pg_failed(c->tx->lease->result))
		n = take_answer(c, NULL, e);
	*out = c->data;
	pg_transaction_leave(c->tx, (int)(n < 0 ? n : 0), e);
	return n;
}

/* --- the end --- */

/* Suspends. The rest of the data, and the answer. */
static int finish(struct pg_copy *c, const char *why, int64_t *rows, struct error *e)
{
	const struct pg_call *lease = c->tx->lease;
	int64_t n = 0;

	if (c->in && pg_call_is_placed(lease) && lease->pending > 0)
		pg_pipeline_copy_end(lease->connection, why);
	while (!c->in && (n = pull(c, e)) > 0)
		;
	int r = n < 0 ? (int)n : await(c, NULL, patience(c), e);
	return r < 0 ? r : take_answer(c, rows, e);
}

int pg_copy_end(struct pg_copy *c, int64_t *rows, struct error *e)
{
	int r = enter(c, c->in, e);

	if (r == -EBUSY)
		return r;
	if (r == 0) {
		r = finish(c, NULL, rows, e);
		if (r == 0 && c->tx != &c->own)
			r = restore_timeout(c, e);
		pg_transaction_leave(c->tx, r, e);
	}
	if (r == 0 && c->in && c->tx == &c->own) {
		c->own.options.call = c->call;
		r = pg_transaction_commit(&c->own, e);
	}
	pg_copy_close(c);
	return r;
}

/* Suspends. The transaction may go on, where all that was to be read was read. */
static void give_up(struct pg_copy *c)
{
	struct pg_transaction *tx = c->tx;
	struct error e = ERROR_INIT;
	struct shield shield;
	int64_t rows;

	pg_shield_until(&shield, deadline_in_us(CLOSE_PATIENCE_US));
	int r = pg_transaction_enter_copy(tx, c->call, &e);
	if (r == 0) {
		r = finish(c, "given up", &rows, &e);
		if (r == 0)
			r = restore_timeout(c, &e);
		if (r < 0 && c->in && c->ended)
			r = pg_error_at(&e, -EINVAL, 500, NULL, &tx->place,
					"the COPY was given up: gd_copy_end stores it");
		pg_transaction_leave(tx, r, &e);
	}
	task_unshield(&shield);
}

void pg_copy_close(struct pg_copy *c)
{
	struct pg_transaction *tx = c->tx;

	if (!tx)
		return;
	if (tx != &c->own && !c->ended && tx->state == PG_TRANSACTION_OPEN)
		give_up(c);
	PQfreemem(c->data);
	c->data = NULL;
	pg_parameters_done(&c->values);
	buf_done(&c->row);
	tx->copy = NULL;
	c->tx = NULL;
	if (tx == &c->own)
		pg_transaction_close(tx);
}
