/* DECLARE and the first FETCH leave together. Each batch says how wide rows are now, and so how many the next one may
 * have; it grows slowly, since wide rows may follow narrow ones. */
#include "drivers/postgres/stream.h"

#include <errno.h>
#include <stdio.h>

#include "base/buf.h"
#include "drivers/postgres/call.h"
#include "drivers/postgres/pipeline.h"
#include "drivers/postgres/result.h"

#define BATCH_BYTES       (256 << 10)
#define FIRST_BATCH       16 /* rows */
#define LARGEST_BATCH     128
#define CLOSE_PATIENCE_US 2000000

static int send_fetch(struct pg_stream *s, struct error *e)
{
	char sql[80];

	snprintf(sql, sizeof(sql), "fetch forward %u from gatherd_cursor_%u", s->wanted, s->number);
	return pg_transaction_send(s->tx, sql, e);
}

static void send_declare(struct pg_stream *s)
{
	struct pg_call *lease = s->tx->lease;
	struct buf sql = BUF_INIT;

	buf_printf(&sql, "declare gatherd_cursor_%u no scroll cursor for ", s->number);
	buf_str(&sql, lease->running->sql);
	pg_pipeline_bound(lease->connection, lease, buf_cstr(&sql));
	buf_done(&sql);
}

/* How many rows the next batch has, by what these took. */
static unsigned next_batch(const struct pg_stream *s, const PGresult *rows)
{
	size_t bytes_a_row = PQresultMemorySize(rows) / (size_t)PQntuples(rows) + 1;
	size_t fitting = BATCH_BYTES / bytes_a_row;
	unsigned most = 2 * s->wanted < LARGEST_BATCH ? 2 * s->wanted : LARGEST_BATCH;

	if (fitting == 0)
		return 1;
	return fitting < most ? (unsigned)fitting : most;
}

/* Suspends. Take in a batch that is on its way. */
static int take_batch(struct pg_stream *s, struct error *e)
{
	PGresult *rows;

	int r = pg_transaction_exchange(s->tx, &rows, e);
	if (r < 0)
		return r;
	if (!s->layout || !pg_layout_fits(s->layout, rows)) {
		pg_layout_drop(s->layout);
		s->layout = pg_layout_new(rows, &s->tx->client->types);
	}
	s->row = 0;
	s->rows = (size_t)PQntuples(rows);
	s->last = s->rows < s->wanted;
	if (s->rows > 0)
		s->wanted = next_batch(s, rows);
	s->batch = pg_result_new(rows, s->layout, EXPECT_MANY);
	return 0;
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
	r = send_fetch(s, e);
	return r < 0 ? r : take_batch(s, e);
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
	result_free(s->batch);
	s->batch = NULL;
	s->row = s->rows = 0;
	r = send_fetch(s, e);
	if (r == 0)
		r = take_batch(s, e);
	pg_transaction_leave(s->tx, r, e);
	return r;
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
	if (s->row == s->rows && s->last)
		return 0;
	if (s->row == s->rows) {
		int r = fetch(s, e);
		if (r < 0)
			return r;
		if (s->rows == 0)
			return 0;
	}
	*out = pg_result_row(s->batch, s->row++);
	return 1;
}

/* Suspends. The transaction goes on without the cursor. Where it can't be told so now, it ends with the transaction. */
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
	result_free(s->batch);
	pg_layout_drop(s->layout);
	s->batch = NULL;
	s->layout = NULL;
	if (tx == &s->own)
		pg_transaction_close(tx);
	else if (!s->held.gone && tx->state == PG_TRANSACTION_OPEN)
		close_cursor(s);
	list_remove(&s->held.link);
	s->tx = NULL;
}
