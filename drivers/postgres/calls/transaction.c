/* Transactions: statements on a lease, savepoints, the end, another attempt. */
#include "drivers/postgres/calls/transaction.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/backoff.h"
#include "drivers/postgres/statements/cache.h"
#include "drivers/postgres/statements/learn.h"
#include "drivers/postgres/wire/call.h"
#include "drivers/postgres/wire/cancel.h"
#include "drivers/postgres/wire/connection.h"
#include "drivers/postgres/wire/pipeline.h"
#include "drivers/postgres/wire/pool.h"

#define END_PATIENCE_US    5000000 /* with COMMIT and with the way back to a savepoint: nothing interrupts them */
#define SETTLE_PATIENCE_US 2000000 /* with a statement that was cancelled */
#define LAST_WORD_US       500000  /* that the server has, at a write's deadline, to say what has become of it */
#define BACKOFF_FIRST_US   10000
#define BACKOFF_LONGEST_US 1000000

static const char *const isolations[] = {
	[PG_READ_COMMITTED] = "isolation level read committed ",
	[PG_REPEATABLE_READ] = "isolation level repeatable read ",
	[PG_SERIALIZABLE] = "isolation level serializable ",
	[PG_SESSION_ISOLATION] = "",
};

/* --- the connection --- */

int pg_transaction_open(struct pg_transaction *tx, struct pg_client *c, const struct pg_transaction_options *options,
			bool fresh, struct error *e)
{
	struct pg_limit limit = {.by = DEADLINE_NEVER};
	int r = 0;

	*tx = (struct pg_transaction){
		.client = c,
		.options = *options,
		.place = {.source = c->source->base.name,
			  .call = options->call,
			  .read_only = options->read_only,
			  .advice = "the transaction is read-only"},
	};
	list_init(&tx->held);
	c->callers++;
	tx->lease = pg_call_new(c, NULL);
	tx->lease->transaction = true;
	tx->lease->writes = !options->read_only;
	if (fresh && !c->closing)
		pg_pool_resubmit(tx->lease, PG_QUEUE_FRESH);
	else
		r = pg_pool_submit(tx->lease, e);
	if (r == 0)
		r = pg_call_wait(tx->lease, &limit, e);
	if (r == 0 && tx->lease->phase == PG_CALL_ENDED) {
		tx->broken = tx->lease->outcome == PG_BROKEN;
		*e = tx->lease->error;
		r = e->errnum;
	}
	if (r < 0) {
		pg_error_called(e, &tx->place);
		pg_transaction_close(tx);
	}
	return r;
}

static void drop_held(struct pg_transaction *tx, unsigned depth)
{
	list_for_each_safe (link, &tx->held) {
		struct pg_held *h = container_of(link, struct pg_held, link);
		if (h->depth < depth)
			continue;
		h->gone = true;
		list_remove(&h->link);
	}
}

static void give_up_lease(struct pg_transaction *tx)
{
	if (tx->lease)
		pg_call_leave(tx->lease);
	tx->lease = NULL;
	drop_held(tx, 0);
}

void pg_transaction_close(struct pg_transaction *tx)
{
	if (tx->state == PG_TRANSACTION_ENDED)
		return;
	give_up_lease(tx);
	tx->state = PG_TRANSACTION_ENDED;
	tx->client->callers--;
}

void pg_transaction_hold(struct pg_transaction *tx, struct pg_held *h)
{
	h->depth = tx->depth;
	h->gone = false;
	list_append(&tx->held, &h->link);
}

/* --- statements --- */

/* What comes after a failure fails as the server would make it fail. */
static int failed_before(const struct pg_transaction *tx, struct error *e)
{
	const struct error *failure = &tx->failure;

	error_set(e, failure->errnum, failure->status, failure->public,
		  "%s, source %s: the transaction has failed before, and nothing runs in it any more%s: %s",
		  tx->place.call, tx->place.source,
		  tx->state == PG_TRANSACTION_FAILED && tx->depth ? " until the savepoint is rolled back" : "",
		  failure->what);
	memcpy(e->code, "25P02", sizeof("25P02"));
	return failure->errnum;
}

int pg_transaction_enter_copy(struct pg_transaction *tx, const char *call, struct error *e)
{
	struct pg_place place = tx->place;

	place.call = call;
	if (tx->state == PG_TRANSACTION_ENDED)
		return pg_error_at(e, -EINVAL, 500, NULL, &place, "the transaction has ended");
	if (tx->busy)
		return pg_error_at(e, -EBUSY, 500, NULL, &place, "another task is at work in the transaction");
	tx->place = place;
	if (tx->state != PG_TRANSACTION_OPEN)
		return failed_before(tx, e);
	int r = task_check();
	if (r < 0)
		return pg_error_at(e, r, r == -ETIMEDOUT ? 504 : 503, NULL, &place, "not begun");
	tx->busy = true;
	return 0;
}

int pg_transaction_enter(struct pg_transaction *tx, const char *call, struct error *e)
{
	struct pg_place place = tx->place;

	place.call = call;
	if (tx->copy && tx->state == PG_TRANSACTION_OPEN)
		return pg_error_at(e, -EBUSY, 500, NULL, &place,
				   "a COPY is under way in the transaction: gd_copy_end comes first");
	return pg_transaction_enter_copy(tx, call, e);
}

static void lose(struct pg_transaction *tx)
{
	tx->state = PG_TRANSACTION_LOST;
	tx->broken = tx->lease->phase == PG_CALL_ENDED && tx->lease->outcome != PG_REFUSED;
	give_up_lease(tx);
}

/* The failure says where the transaction stands. What the lease waits for must not be met by the next command: within a
 * savepoint it is cancelled, and the savepoint's end waits for that. */
static void fail(struct pg_transaction *tx, const struct error *e)
{
	struct pg_call *lease = tx->lease;

	if (tx->state != PG_TRANSACTION_OPEN || !lease)
		return;
	tx->failure = *e;
	tx->state = PG_TRANSACTION_FAILED;
	if (pg_call_is_placed(lease) && lease->pending == 0)
		return;
	if (pg_call_is_placed(lease) && tx->depth > 0)
		pg_call_give_up(lease);
	else
		lose(tx);
}

void pg_transaction_leave(struct pg_transaction *tx, int r, const struct error *e)
{
	if (r < 0)
		fail(tx, e);
	tx->busy = false;
	if (tx->quiet)
		task_wake(tx->quiet, 0);
}

void pg_transaction_fail(struct pg_transaction *tx, const struct error *e)
{
	if (!tx->busy)
		fail(tx, e);
}

/* The tasks that are at work in it are told to go. Suspends until they have. A COPY that nobody ended is given up. */
static void quieten(struct pg_transaction *tx)
{
	struct shield shield;

	pg_shield_until(&shield, DEADLINE_NEVER);
	while (tx->busy) {
		struct waiter w;
		waiter_init(&w, NULL, "another task's statement in a transaction");
		tx->quiet = &w;
		if (tx->lease && tx->lease->waiter)
			task_wake(tx->lease->waiter, -ECANCELED);
		int r = task_suspend(&w, DEADLINE_NEVER);
		(void)r;
		tx->quiet = NULL;
	}
	task_unshield(&shield);
	if (tx->copy)
		tx->end_copy(tx->copy);
}

static int answer_failed(struct pg_transaction *tx, PGresult **out, struct error *e)
{
	struct pg_statement *st = tx->lease->running;

	int r = pg_error_from_result(e, *out, &tx->place);
	if (st && pg_is_stale(*out, tx->lease->signs.unparsed)) {
		pg_statement_forget(st, st->generation);
		tx->stale = true;
	}
	PQclear(*out);
	*out = NULL;
	return r;
}

/* The lease was answered, or has ended. */
static int take_answer(struct pg_transaction *tx, PGresult **out, struct error *e)
{
	struct pg_call *lease = tx->lease;

	if (lease->outcome == PG_REFUSED) {
		*e = lease->error;
		return pg_error_called(e, &tx->place);
	}
	if (lease->outcome == PG_BROKEN)
		return pg_error_broken(e, &tx->place, lease->error.what);
	*out = lease->result;
	lease->result = NULL;
	if (pg_failed(*out))
		return answer_failed(tx, out, e);
	if (lease->phase == PG_CALL_ENDED) {
		PQclear(*out);
		*out = NULL;
		return pg_error_broken(e, &tx->place, "the connection was lost");
	}
	return 0;
}

int pg_transaction_exchange(struct pg_transaction *tx, PGresult **out, struct error *e)
{
	int64_t timeout_us = tx->options.timeout_us;
	struct pg_limit limit = {.timeout_us = timeout_us, .by = DEADLINE_NEVER};
	struct pg_call *lease = tx->lease;

	*out = NULL;
	if (timeout_us)
		limit.by = deadline_in_us(timeout_us);
	lease->signs.aborted = lease->signs.unparsed = false;
	int r = pg_call_wait(lease, &limit, e);
	return r < 0 ? pg_error_called(e, &tx->place) : take_answer(tx, out, e);
}

/* Are there rows that somebody may take, or will there be none? */
static bool has_rows(const struct pg_call *lease, bool all)
{
	if (!pg_call_is_placed(lease) || lease->pending == 0)
		return true;
	return !all && lease->rows && lease->rows->count > 0;
}

/* Take in what was left with libpq. False: nothing was. */
static bool go_on(const struct pg_call *lease)
{
	struct pg_connection *conn = lease->connection;

	if (!conn->paused)
		return false;
	conn->paused = false;
	if (!pg_pipeline_drain(conn))
		conn->broken = true;
	loop_defer(lease->client->loop, &conn->flush);
	return true;
}

int pg_transaction_rows(struct pg_transaction *tx, bool all, struct error *e)
{
	int64_t timeout_us = tx->options.timeout_us;
	deadline_t by = timeout_us ? deadline_in_us(timeout_us) : DEADLINE_NEVER;
	struct pg_call *lease = tx->lease;
	PGresult *end = NULL;

	if (lease->rows)
		lease->rows->all |= all;
	while (!has_rows(lease, all)) {
		if (go_on(lease))
			continue;
		int r = pg_call_suspend(lease, "rows from PostgreSQL", by);
		if (r < 0 && !has_rows(lease, all))
			return pg_error_at(e, r, r == -ETIMEDOUT ? 504 : 503,
					   r == -ETIMEDOUT ? reason_text(REASON_SLOW) : NULL, &tx->place,
					   r == -ETIMEDOUT ? "the deadline passed while waiting for rows"
							   : "cancelled while waiting for rows");
	}
	if (pg_call_is_placed(lease) && lease->pending > 0)
		return 1;
	int r = take_answer(tx, &end, e);
	PQclear(end);
	if (lease->rows)
		lease->rows->given_up = r < 0;
	lease->rows = NULL;
	lease->fetching = false;
	return r;
}

/* What has to come before the next statement. */
static void send_prefix(struct pg_transaction *tx)
{
	struct pg_connection *conn = tx->lease->connection;
	char sql[80];

	if (!tx->begun) {
		snprintf(sql, sizeof(sql), "begin %sread %s", isolations[tx->options.isolation],
			 tx->options.read_only ? "only" : "write");
		pg_pipeline_command(conn, tx->lease, sql);
		if (!tx->client->source->prepare)
			pg_pipeline_command(conn, tx->lease, tx->client->settings);
		pg_leaving_prepare(conn, NULL);
		tx->begun = true;
	}
	while (tx->depth_sent < tx->depth) {
		snprintf(sql, sizeof(sql), "savepoint gatherd_%u", ++tx->depth_sent);
		pg_pipeline_command(conn, tx->lease, sql);
	}
}

int pg_transaction_ready(struct pg_transaction *tx, struct error *e)
{
	struct pg_call *lease = tx->lease;

	if (lease->fetching)
		return pg_transaction_rows(tx, true, e);
	if (lease->phase != PG_CALL_ENDED)
		return 0;
	return pg_error_broken(e, &tx->place, lease->outcome == PG_BROKEN ? lease->error.what : "the server ended it");
}

void pg_transaction_untimed(char *sql, size_t size)
{
	int64_t left_us = deadline_left_us(task_deadline());
	int64_t ms = task_deadline().us == DEADLINE_NEVER.us ? 0 : left_us / 1000 + 1000;

	snprintf(sql, size, "set local statement_timeout = %lld", (long long)(ms > INT32_MAX ? 0 : ms));
}

/* Suspends if st is not known yet: it is learned on the transaction's own connection. Waiting for another one while
 * this one is held could be a wait for oneself, and the statement may speak of what only this transaction sees. */
static int learn(struct pg_transaction *tx, struct pg_statement **st, struct error *e)
{
	struct pg_limit limit = {.timeout_us = tx->options.timeout_us, .by = DEADLINE_NEVER};

	if ((*st)->knowledge == PG_KNOWN)
		return 0;
	if ((*st)->knowledge == PG_LEARNING) {
		struct pg_statement *copy = pg_text_copy(tx->client, *st);
		pg_statement_drop(tx->client, *st);
		*st = copy;
	}
	if (limit.timeout_us)
		limit.by = deadline_in_us(limit.timeout_us);
	send_prefix(tx);
	return pg_statement_learn_within(tx->client, *st, tx->lease, &tx->place, &limit, e);
}

int pg_transaction_begin(struct pg_transaction *tx, struct error *e)
{
	int r = pg_transaction_ready(tx, e);

	if (r < 0)
		return r;
	pg_call_run(tx->lease, NULL);
	send_prefix(tx);
	return 0;
}

int pg_transaction_prepare(struct pg_transaction *tx, const struct pg_ask *ask, struct error *e)
{
	struct pg_statement *st = NULL;

	int r = pg_transaction_ready(tx, e);
	if (r == 0)
		r = pg_ask_statement(tx->client, ask, &tx->place, &st, e);
	if (!st)
		return r;
	pg_call_run(tx->lease, NULL);
	r = learn(tx, &st, e);
	struct pg_arguments args = {ask->args, &st->action->sql};
	if (r == 0)
		r = pg_bind(&tx->lease->parameters, st, &args, &tx->place, e);
	if (r == 0) {
		pg_call_run(tx->lease, st);
		send_prefix(tx);
	}
	pg_statement_drop(tx->client, st);
	return r;
}

/* Suspends. */
static int run_statement(struct pg_transaction *tx, const struct pg_ask *ask, struct pg_answer *out, struct error *e)
{
	PGresult *rows = NULL;

	int r = pg_transaction_prepare(tx, ask, e);
	if (r < 0)
		return r;
	struct pg_statement *st = tx->lease->running;
	uint32_t generation = st->generation;
	pg_pipeline_run(tx->lease->connection, tx->lease);
	pg_statement_keep(st);
	r = pg_transaction_exchange(tx, &rows, e);
	if (r == 0) {
		if (tx->lease->signs.retyped)
			pg_statement_forget_types(tx->client, st, generation);
		bool fits = !tx->lease->signs.retyped && !tx->lease->names && pg_layout_fits(st->layout, rows);
		struct pg_layout *layout = fits ? pg_layout_keep(st->layout)
					   : tx->lease->names
						   ? pg_layout_renamed(tx->lease->names, rows, &tx->client->types)
						   : pg_layout_new(rows, &tx->client->types);
		r = pg_take_answer(&rows, layout, ask, &tx->place, out, e);
		pg_layout_drop(layout);
		if (!fits)
			pg_statement_forget(st, generation);
	}
	PQclear(rows);
	pg_statement_drop(tx->client, st);
	return r;
}

int pg_transaction_query(struct pg_transaction *tx, const struct pg_ask *ask, struct pg_answer *out, struct error *e)
{
	*out = (struct pg_answer){0};
	int r = pg_transaction_enter(tx, ask->call, e);
	if (r < 0)
		return r;
	r = run_statement(tx, ask, out, e);
	pg_transaction_leave(tx, r, e);
	return r;
}

int pg_transaction_send(struct pg_transaction *tx, const char *sql, struct error *e)
{
	int r = pg_transaction_ready(tx, e);

	if (r == 0)
		pg_pipeline_query(tx->lease->connection, tx->lease, sql, 0, NULL);
	return r;
}

int pg_last_word(struct pg_call *call, int r)
{
	deadline_t by = deadline_in_us(LAST_WORD_US);
	struct pg_limit limit = {.by = by};
	struct error none;
	struct shield shield;

	pg_shield_until(&shield, by);
	(void)pg_cancel_request(call->connection);
	int waited = pg_call_wait(call, &limit, &none);
	task_unshield(&shield);
	return waited == 0 ? 0 : r;
}

/* --- savepoints --- */

/* Suspends, shielded. One command and the answer to it. */
static int command(struct pg_transaction *tx, const char *sql, PGresult **out, struct error *e)
{
	struct shield shield;

	pg_shield_until(&shield, deadline_in_us(END_PATIENCE_US));
	int r = pg_transaction_send(tx, sql, e);
	if (r == 0)
		r = pg_transaction_exchange(tx, out, e);
	task_unshield(&shield);
	return r;
}

/* Is there still something of a statement that was given up? */
static bool is_settling(const struct pg_call *lease)
{
	return pg_call_is_placed(lease) && (lease->pending > 0 || lease->connection->state != PG_BUSY);
}

/* Suspends, shielded. A statement that was given up has ended, and no cancel request can hit the next one; else the
 * connection is given up. */
static int settle(struct pg_transaction *tx, struct error *e)
{
	deadline_t by = deadline_in_us(SETTLE_PATIENCE_US);
	struct pg_call *lease = tx->lease;
	struct shield shield;

	if (lease->phase != PG_CALL_GIVEN_UP)
		return 0;
	pg_shield_until(&shield, by);
	while (is_settling(lease) && !deadline_passed(by)) {
		int r = pg_call_suspend(lease, "the end of a statement that was cancelled", by);
		(void)r;
	}
	task_unshield(&shield);
	if (is_settling(lease)) {
		lose(tx);
		return pg_error_at(e, -ETIMEDOUT, 504, NULL, &tx->place,
				   "a statement did not end after it was cancelled: the transaction is lost");
	}
	if (lease->phase == PG_CALL_GIVEN_UP)
		pg_call_go_on(lease);
	return 0;
}

/* Suspends. What came in the savepoint stays, or is undone. */
static int end_savepoint(struct pg_transaction *tx, unsigned depth, bool stays, struct error *e)
{
	PGresult *result = NULL;
	char sql[64];
	int r = 0;

	if (!stays)
		drop_held(tx, depth);
	list_for_each (link, &tx->held) {
		struct pg_held *h = container_of(link, struct pg_held, link);
		h->depth = h->depth < depth ? h->depth : depth - 1;
	}
	tx->busy = true;
	r = settle(tx, e);
	if (r == 0)
		tx->state = PG_TRANSACTION_OPEN;
	if (r == 0 && !stays && tx->depth_sent >= depth) {
		snprintf(sql, sizeof(sql), "rollback to savepoint gatherd_%u", depth);
		r = command(tx, sql, &result, e);
		PQclear(result);
	}
	if (r == 0 && tx->depth_sent >= depth) {
		snprintf(sql, sizeof(sql), "release savepoint gatherd_%u", depth);
		r = command(tx, sql, &result, e);
		PQclear(result);
		tx->depth_sent = depth - 1;
	}
	tx->depth = depth - 1;
	tx->stale = false;
	pg_transaction_leave(tx, r, e);
	return r;
}

int pg_transaction_savepoint(struct pg_transaction *tx, pg_transaction_fn *fn, void *arg, struct error *e)
{
	struct error ended = ERROR_INIT;

	int r = pg_transaction_enter(tx, "gd_pg_savepoint", e);
	if (r < 0)
		return r;
	unsigned depth = ++tx->depth;
	pg_transaction_leave(tx, 0, NULL);
	*e = ERROR_INIT;
	r = fn(tx, arg);
	quieten(tx);
	if (tx->state == PG_TRANSACTION_ENDED)
		return pg_error_at(e, -EINVAL, 500, NULL, &tx->place, "the transaction has ended");
	if (tx->depth != depth && tx->state != PG_TRANSACTION_LOST) {
		pg_error_at(&ended, -EINVAL, 500, NULL, &tx->place, "savepoints of several tasks overlap");
		fail(tx, &ended);
	}
	bool stays = r >= 0 && tx->state == PG_TRANSACTION_OPEN;
	if (!stays && tx->state != PG_TRANSACTION_OPEN && (r >= 0 || r == tx->failure.errnum)) {
		*e = tx->failure;
		r = e->errnum;
	}
	if (tx->state == PG_TRANSACTION_LOST || tx->depth != depth)
		return r;
	int end = end_savepoint(tx, depth, stays, &ended);
	if (end < 0)
		*e = ended;
	return end < 0 ? end : r;
}

/* --- the end --- */

static int not_known(struct pg_transaction *tx, int r, const char *why, struct error *e)
{
	bool late = r == -ETIMEDOUT;
	char text[256];

	tx->uncertain = true;
	snprintf(text, sizeof(text), "the answer to COMMIT was lost: %.200s", why);
	pg_error_at(e, -EIO, late ? 504 : 502, reason_text(late ? REASON_SLOW : REASON_BROKEN), &tx->place, text);
	error_uncertain(e);
	return e->errnum;
}

/* Suspends, shielded. */
static int commit(struct pg_transaction *tx, struct error *e)
{
	struct error failure = ERROR_INIT;
	PGresult *result = NULL;

	if (!tx->begun)
		return 0;
	tx->lease->rows = NULL;
	int r = pg_transaction_ready(tx, e);
	if (r < 0)
		return r;
	pg_leaving_tidy_within(tx->lease->connection, tx->lease);
	r = command(tx, "commit", &result, &failure);
	bool answered = pg_call_is_placed(tx->lease) && tx->lease->pending == 0;
	if (r == 0 && strcmp(PQcmdStatus(result), "COMMIT") != 0)
		r = pg_error_at(&failure, -EIO, 500, NULL, &tx->place, "the server rolled the transaction back");
	PQclear(result);
	if (r < 0 && (!answered || strcmp(failure.code, "40003") == 0 || strncmp(failure.code, "08", 2) == 0))
		return not_known(tx, r, failure.what, e);
	if (r < 0)
		*e = failure;
	return r;
}

/* Suspends. fn has returned r. */
static int end(struct pg_transaction *tx, int r, struct error *e)
{
	tx->place.call = tx->options.call;
	if (r < 0) {
		if (tx->state != PG_TRANSACTION_OPEN && r == tx->failure.errnum)
			*e = tx->failure;
		return r;
	}
	if (tx->state != PG_TRANSACTION_OPEN) {
		*e = tx->failure;
		return e->errnum;
	}
	int over = task_check();
	if (over < 0)
		return pg_error_at(e, over, over == -ETIMEDOUT ? 504 : 503, NULL, &tx->place,
				   "rolled back: the task was over before COMMIT");
	tx->busy = true;
	int committed = commit(tx, e);
	pg_transaction_leave(tx, committed, e);
	return committed < 0 ? committed : r;
}

int pg_transaction_commit(struct pg_transaction *tx, struct error *e)
{
	return end(tx, 0, e);
}

/* May what has failed be tried again? It was rolled back, then. */
static bool is_repeatable(const struct pg_transaction *tx)
{
	const char *code = tx->failure.code;

	if (tx->uncertain || tx->state == PG_TRANSACTION_OPEN || tx->client->closing)
		return false;
	return tx->broken || tx->stale || strcmp(code, "40001") == 0 || strcmp(code, "40P01") == 0;
}

bool pg_back_off(unsigned failures, int64_t first_us)
{
	int64_t us = backoff_us(failures, first_us, BACKOFF_LONGEST_US);

	return deadline_left_us(task_deadline()) > us && task_sleep(deadline_in_us(us)) == 0;
}

int pg_transact(struct pg_client *c, struct arena *a, const struct pg_transaction_options *options,
		pg_transaction_fn *fn, void *arg, struct error *e)
{
	bool again = false, fresh = false;
	unsigned failures = 0;
	int r;

	do {
		struct pg_transaction *tx = arena_alloc(a, sizeof(*tx));
		struct error failure = ERROR_INIT;
		r = pg_transaction_open(tx, c, options, fresh, &failure);
		if (r == 0) {
			r = fn(tx, arg);
			quieten(tx);
			r = end(tx, r, &failure);
		}
		again = r < 0 && is_repeatable(tx);
		fresh = tx->broken;
		pg_transaction_close(tx);
		*e = failure;
	} while (again && ++failures < options->attempts && pg_back_off(failures, BACKOFF_FIRST_US));
	return r;
}
