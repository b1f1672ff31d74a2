/* DECLARE and the first FETCH leave together. Each batch says how wide rows are now, and so how many the next one may
 * have. Its rows come one by one (pg_rows), and only a few at a time: where wide ones follow narrow ones, what is too
 * much waits in the socket. */
#include "drivers/postgres/calls/stream.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "drivers/postgres/statements/result.h"
#include "drivers/postgres/wire/call.h"
#include "drivers/postgres/wire/pipeline.h"
#include "drivers/postgres/wire/statement.h"

#define FIRST_BATCH       16 /* rows */
#define CLOSE_PATIENCE_US 2000000

/* At most so much in a batch. That of a stream within a transaction may have to come whole, where something else is
 * asked. */
static const struct most {
	unsigned rows;
	size_t bytes;
} most_alone = {1024, 4 << 20}, most_within = {128, 512 << 10};

/* --- rows that have come --- */

static void free_rows(struct pg_rows *rows)
{
	while (rows->count > 0)
		PQclear(rows->items[rows->first + --rows->count]);
	free(rows->items);
	*rows = (struct pg_rows){0};
}

static PGresult *take_row(struct pg_rows *rows)
{
	PGresult *row = rows->items[rows->first++];

	rows->bytes -= PQresultMemorySize(row);
	if (--rows->count == 0)
		rows->first = 0;
	return row;
}

/* --- batches --- */

static bool is_under_way(const struct pg_stream *s)
{
	const struct pg_call *lease = s->tx->lease;
	return lease && lease->fetching && lease->rows == &s->rows;
}

static void send_fetch(struct pg_stream *s)
{
	struct pg_call *lease = s->tx->lease;
	char sql[80];

	snprintf(sql, sizeof(sql), "fetch forward %u from gatherd_cursor_%u", s->wanted, s->number);
	pg_pipeline_fetch(lease->connection, lease, sql, &s->rows);
	s->fetched = true;
	s->checked = false;
}

static void send_declare(struct pg_stream *s)
{
	struct pg_call *lease = s->tx->lease;
	struct buf sql = BUF_INIT;
	char untimed[80];

	if (s->tx == &s->own) {
		/* A statement lasts as long as it takes to read its rows. */
		pg_transaction_untimed(untimed, sizeof(untimed));
		pg_pipeline_command(lease->connection, lease, untimed);
	}
	buf_printf(&sql, "declare gatherd_cursor_%u no scroll cursor for ", s->number);
	buf_str(&sql, lease->running->sql);
	pg_pipeline_bound(lease->connection, lease, buf_cstr(&sql));
	buf_done(&sql);
}

/* How many rows the next batch has, by what the last one took. */
static unsigned next_batch(const struct pg_stream *s)
{
	const struct most *most = s->tx == &s->own ? &most_alone : &most_within;
	size_t fitting = most->bytes / (s->rows.came_bytes / s->rows.came + 1);
	unsigned next = 2 * s->wanted < most->rows ? 2 * s->wanted : most->rows;

	if (fitting == 0)
		return 1;
	return fitting < next ? (unsigned)fitting : next;
}

/* The batch that was under way has ended, whoever has seen that. */
static void end_batch(struct pg_stream *s)
{
	s->fetched = false;
	s->last = s->rows.came < s->wanted;
	if (!s->last)
		s->wanted = next_batch(s);
}

/* Suspends. In the transaction, until there is a row or there are no more. */
static int await_row(struct pg_stream *s, struct error *e)
{
	int r = 0;

	while (r >= 0 && s->rows.count == 0 && !s->last) {
		if (!s->fetched) {
			r = pg_transaction_begin(s->tx, e);
			if (r == 0)
				send_fetch(s);
		}
		if (r >= 0)
			r = pg_transaction_rows(s->tx, false, e);
		if (r == 0)
			end_batch(s);
	}
	return r < 0 ? r : 0;
}

/* The first rows have come: are the columns called what they were when the statement was learned? */
static void take_names(struct pg_stream *s)
{
	const struct pg_call *lease = s->tx->lease;

	if (!lease || !lease->names || !s->rows.count)
		return;
	pg_layout_drop(s->layout);
	s->layout = pg_layout_renamed(lease->names, s->rows.items[s->rows.first], &s->tx->client->types);
	pg_statement_forget(lease->running, lease->running->generation);
}

/* Suspends. In the transaction. */
static int declare(struct pg_stream *s, const struct pg_ask *ask, struct error *e)
{
	struct pg_transaction *tx = s->tx;

	int r = pg_transaction_prepare(tx, ask, e);
	if (r < 0)
		return r;
	s->number = ++tx->cursors;
	s->wanted = FIRST_BATCH;
	s->layout = pg_layout_keep(tx->lease->running->layout);
	pg_transaction_hold(tx, &s->held);
	send_declare(s);
	send_fetch(s);
	int awaited = await_row(s, e);
	take_names(s);
	return awaited;
}

int pg_stream_open_within(struct pg_stream *s, struct pg_transaction *tx, const struct pg_ask *ask, struct error *e)
{
	struct pg_ask read = *ask;

	if (tx != &s->own)
		*s = (struct pg_stream){0};
	read.writes = false;
	list_init(&s->held.link);
	s->call = ask->call;
	int r = pg_transaction_enter(tx, ask->call, e);
	if (r < 0)
		return r;
	s->tx = tx;
	r = declare(s, &read, e);
	pg_transaction_leave(tx, r, e);
	if (r < 0)
		pg_stream_close(s);
	return r;
}

int pg_stream_open(struct pg_stream *s, struct pg_client *c, const struct pg_ask *ask, struct error *e)
{
	struct pg_transaction_options options = {
		.call = ask->call,
		.read_only = true,
		.timeout_us = ask->timeout_us,
	};

	*s = (struct pg_stream){0};
	int r = pg_transaction_open(&s->own, c, &options, false, e);
	if (r == 0)
		r = pg_stream_open_within(s, &s->own, ask, e);
	/* Closed already, unless it could not even be entered. */
	if (r < 0)
		pg_transaction_close(&s->own);
	return r;
}

/* Suspends. */
static int fetch(struct pg_stream *s, struct error *e)
{
	int r = pg_transaction_enter(s->tx, s->call, e);
	if (r < 0)
		return r;
	r = await_row(s, e);
	pg_transaction_leave(s->tx, r, e);
	return r;
}

/* A row that has come is the current one. */
static void advance(struct pg_stream *s)
{
	PGresult *row = take_row(&s->rows);

	if (!s->checked && !pg_layout_fits(s->layout, row)) {
		pg_layout_drop(s->layout);
		s->layout = pg_layout_new(row, &s->tx->client->types);
	}
	s->checked = true;
	result_free(s->current);
	s->current = pg_result_new(row, s->layout, EXPECT_MANY);
}

int pg_stream_next(struct pg_stream *s, struct value *out, struct error *e)
{
	if (!s->tx)
		return error_set(e, -EINVAL, 500, NULL, "%s: the stream is closed", s->call);
	/* One that failed or was lost says so itself. */
	bool ended = s->tx->state == PG_TRANSACTION_OPEN || s->tx->state == PG_TRANSACTION_ENDED;
	if (s->held.gone && ended)
		return error_set(e, -EINVAL, 500, NULL,
				 "%s, source %s: the stream's transaction or savepoint has ended", s->call,
				 s->tx->place.source);
	if (s->rows.given_up && ended)
		return error_set(e, -EIO, 502, NULL, "%s, source %s: a batch of its rows was given up", s->call,
				 s->tx->place.source);
	if (s->fetched && !is_under_way(s) && s->tx->state == PG_TRANSACTION_OPEN)
		end_batch(s);
	if (s->rows.count == 0 && !s->last) {
		int r = fetch(s, e);
		if (r < 0)
			return r;
	}
	if (s->rows.count == 0)
		return 0;
	advance(s);
	*out = pg_result_row(s->current, 0);
	return 1;
}

/* Suspends. The transaction goes on without the cursor. If it can't be told so now, it ends with the transaction. */
static void close_cursor(struct pg_stream *s)
{
	struct error e = ERROR_INIT;
	struct shield shield;
	PGresult *result;
	char sql[64];

	pg_shield_until(&shield, deadline_in_us(CLOSE_PATIENCE_US));
	if (pg_transaction_enter(s->tx, s->call, &e) == 0) {
		snprintf(sql, sizeof(sql), "close gatherd_cursor_%u", s->number);
		int r = pg_transaction_send(s->tx, sql, &e);
		if (r == 0)
			r = pg_transaction_exchange(s->tx, &result, &e);
		if (r == 0)
			PQclear(result);
		pg_transaction_leave(s->tx, r, &e);
	}
	task_unshield(&shield);
}

void pg_stream_close(struct pg_stream *s)
{
	struct pg_transaction *tx = s->tx;

	if (!tx)
		return;
	result_free(s->current);
	pg_layout_drop(s->layout);
	s->current = NULL;
	s->layout = NULL;
	if (is_under_way(s))
		tx->lease->rows = NULL;
	free_rows(&s->rows);
	if (tx == &s->own)
		pg_transaction_close(tx);
	else if (!s->held.gone && tx->state == PG_TRANSACTION_OPEN)
		close_cursor(s);
	list_remove(&s->held.link);
	s->tx = NULL;
}
