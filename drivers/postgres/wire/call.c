/* Calls: their life, and the wait for them. */
#include "drivers/postgres/wire/call.h"

#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/states.h"
#include "drivers/postgres/wire/cancel.h"
#include "drivers/postgres/wire/connection.h"
#include "drivers/postgres/wire/pipeline.h"
#include "drivers/postgres/wire/pool.h"
#include "drivers/postgres/wire/sqlstate.h"
#include "drivers/postgres/wire/statement.h"

#define FREE_CALLS_KEPT 256
#define KEPT_TEXT_BYTES 4096 /* a free call keeps its buffer, unless it is larger */

static const struct states phases = {
	.of = "postgres call",
	.names =
		{
			[PG_CALL_FREE] = "free",
			[PG_CALL_NEW] = "new",
			[PG_CALL_WAITING] = "waiting",
			[PG_CALL_SENT] = "sent",
			[PG_CALL_HELD] = "held",
			[PG_CALL_GIVEN_UP] = "given_up",
			[PG_CALL_ABANDONED] = "abandoned",
			[PG_CALL_ENDED] = "ended",
		},
	.allowed =
		{
			[PG_CALL_FREE] = BIT(PG_CALL_NEW),
			[PG_CALL_NEW] = BIT(PG_CALL_WAITING) | BIT(PG_CALL_SENT) | BIT(PG_CALL_HELD) |
					BIT(PG_CALL_FREE),
			[PG_CALL_WAITING] = BIT(PG_CALL_SENT) | BIT(PG_CALL_HELD) | BIT(PG_CALL_ENDED) |
					    BIT(PG_CALL_FREE),
			[PG_CALL_SENT] = BIT(PG_CALL_WAITING) | BIT(PG_CALL_ABANDONED) | BIT(PG_CALL_ENDED),
			[PG_CALL_HELD] = BIT(PG_CALL_GIVEN_UP) | BIT(PG_CALL_ABANDONED) | BIT(PG_CALL_ENDED) |
					 BIT(PG_CALL_FREE),
			[PG_CALL_GIVEN_UP] = BIT(PG_CALL_HELD) | BIT(PG_CALL_ABANDONED) | BIT(PG_CALL_ENDED) |
					     BIT(PG_CALL_FREE),
			[PG_CALL_ABANDONED] = BIT(PG_CALL_FREE),
			[PG_CALL_ENDED] = BIT(PG_CALL_FREE),
		},
};

void pg_call_move(struct pg_call *call, enum pg_phase phase)
{
	states_move(&phases, &call->phase, phase,
		    (struct states_subject){.source = call->client->source->base.name, .which = call->number});
}

struct pg_call *pg_call_new(struct pg_client *c, struct pg_statement *st)
{
	struct list *first = list_shift(&c->free_calls);
	struct pg_call *call;

	if (first) {
		call = container_of(first, struct pg_call, link);
		c->free_call_count--;
	} else {
		call = mem_zalloc(sizeof(*call));
		list_init(&call->link);
		call->client = c;
	}
	call->statement = st;
	call->writes = st && !st->action->read_only;
	call->running = NULL;
	pg_statement_keep(st);
	call->connection = NULL;
	call->waiter = NULL;
	call->operation = NULL;
	call->heard = NULL;
	call->rows = NULL;
	call->batch = NULL;
	call->result = NULL;
	call->begun_us = 0;
	call->number = c->call_number += c->source->workers;
	call->outcome = PG_ANSWERED;
	call->alone = call->rerun = call->transaction = call->fetching = false;
	call->signs = (struct pg_signs){0};
	call->pending = 0;
	pg_call_move(call, PG_CALL_NEW);
	return call;
}

void pg_call_run(struct pg_call *lease, struct pg_statement *st)
{
	pg_statement_keep(st);
	pg_statement_drop(lease->client, lease->running);
	lease->running = st;
	lease->signs.retyped = false;
	PQclear(lease->names);
	lease->names = NULL;
}

static void recycle(struct pg_call *call)
{
	struct pg_client *c = call->client;

	pg_call_move(call, PG_CALL_FREE);
	pg_statement_drop(c, call->statement);
	pg_statement_drop(c, call->running);
	PQclear(call->result);
	call->result = NULL;
	PQclear(call->names);
	call->names = NULL;
	if (c->free_call_count >= FREE_CALLS_KEPT || call->parameters.text.cap > KEPT_TEXT_BYTES) {
		pg_parameters_done(&call->parameters);
		free(call);
		return;
	}
	list_prepend(&c->free_calls, &call->link);
	c->free_call_count++;
}

static void leave_connection(struct pg_call *call)
{
	struct pg_connection *conn = call->connection;

	if (conn->lease == call) {
		conn->lease = NULL;
		loop_defer(call->client->loop, &conn->flush);
	}
	if (call->pending == 0) {
		if (call->transaction)
			pg_pipeline_end_transaction(conn);
		conn->calls--;
		recycle(call);
		return;
	}
	pg_call_move(call, PG_CALL_ABANDONED);
	call->rows = NULL;
	call->batch = NULL;
	call->abandoned_us = loop_now_us(call->client->loop);
	conn->abandoned++;
	conn->paused = false;
	pg_cancel_consider(conn);
}

void pg_call_give_up(struct pg_call *lease)
{
	struct pg_connection *conn = lease->connection;

	pg_call_move(lease, PG_CALL_GIVEN_UP);
	lease->fetching = false;
	if (lease->rows)
		lease->rows->given_up = true;
	lease->rows = NULL;
	conn->paused = false;
	loop_defer(lease->client->loop, &conn->flush);
	pg_cancel_soon(conn);
}

void pg_call_go_on(struct pg_call *lease)
{
	pg_call_move(lease, PG_CALL_HELD);
	PQclear(lease->result);
	lease->result = NULL;
}

void pg_call_leave(struct pg_call *call)
{
	call->waiter = NULL;
	call->operation = NULL;
	if (pg_call_is_placed(call)) {
		leave_connection(call);
		return;
	}
	if (call->phase == PG_CALL_WAITING)
		pg_pool_forget(call);
	recycle(call);
}

/* --- waiting --- */

struct call_waiter {
	struct waiter waiter;
	const struct pg_call *call;
};

static void put_phase(const struct pg_call *call, struct buf *out)
{
	buf_printf(out, " (source %s, %s)", call->client->source->base.name, phases.names[call->phase]);
}

static void describe(const struct waiter *w, struct buf *out)
{
	put_phase(container_of(w, const struct call_waiter, waiter)->call, out);
}

int pg_call_suspend(struct pg_call *call, const char *what, deadline_t by)
{
	struct call_waiter w = {.call = call};

	waiter_init(&w.waiter, NULL, what);
	w.waiter.describe = describe;
	call->waiter = &w.waiter;
	int r = task_suspend(&w.waiter, by);
	call->waiter = NULL;
	return r;
}

/* Is there what the task waits for? */
static bool is_ready(const struct pg_call *call)
{
	if (call->phase == PG_CALL_ENDED)
		return true;
	return !call->statement && call->connection && call->pending == 0;
}

static int wait_failed(const struct pg_call *call, int r, struct error *e)
{
	const char *source = call->client->source->base.name;
	const char *where = call->phase == PG_CALL_WAITING ? "waiting for a connection" : "waiting for the answer";

	if (r == -ETIMEDOUT)
		return error_say(e, r, REASON_SLOW, "source %s: the deadline passed while %s", source, where);
	return error_set(e, r, 503, NULL, "source %s: cancelled while %s", source, where);
}

static int acquire_failed(const struct pg_call *call, struct error *e)
{
	const struct pg_client *c = call->client;
	bool down = c->down_since_us != 0;

	counter_add(&pg_numbers(c)->refused[POOL_TIMEOUT], 1);
	return error_say(e, -ETIMEDOUT, REASON_BUSY, "source %s: no connection was free within acquire_timeout%s%s",
			 c->source->base.name, down ? "; " : "", down ? c->down.what : "");
}

static deadline_t acquire_by(const struct pg_call *call)
{
	if (call->phase != PG_CALL_WAITING)
		return DEADLINE_NEVER;
	return (deadline_t){call->queued_us + call->client->base.config->pool.acquire_timeout_us};
}

deadline_t pg_call_look_at(const struct pg_call *call, struct pg_limit *limit, deadline_t by)
{
	bool timed = limit->timeout_us && limit->by.us == DEADLINE_NEVER.us;

	if (timed && call->begun_us)
		limit->by.us = call->begun_us + limit->timeout_us;
	else if (timed) /* if it is placed now its time-out counts from now on, and nobody says so */
		by = deadline_min(by, (deadline_t){loop_now_us(call->client->loop) + limit->timeout_us});
	return deadline_min(by, deadline_min(limit->by, acquire_by(call)));
}

int pg_call_late(const struct pg_call *call, const struct pg_limit *limit, deadline_t by, struct error *e)
{
	if (acquire_by(call).us < deadline_min(by, limit->by).us)
		return acquire_failed(call, e);
	return wait_failed(call, -ETIMEDOUT, e);
}

/* A statement goes on from a connection to its answer, and nobody is woken for that. */
static const char *awaits(const struct pg_call *call)
{
	bool lease = !call->statement;
	return lease && call->phase == PG_CALL_WAITING ? "a PostgreSQL connection" : "an answer from PostgreSQL";
}

void pg_call_describe(const struct pg_call *call, struct buf *out)
{
	buf_str(out, awaits(call));
	put_phase(call, out);
}

int pg_call_wait(struct pg_call *call, struct pg_limit *limit, struct error *e)
{
	while (!is_ready(call)) {
		deadline_t at = pg_call_look_at(call, limit, DEADLINE_NEVER);
		int r = pg_call_suspend(call, awaits(call), at);
		if (r == 0 || (r == -ETIMEDOUT && is_ready(call)))
			continue;
		if (r != -ETIMEDOUT || task_check() < 0)
			return wait_failed(call, r, e);
		/* If it is not yet time, the wait was ended from outside: as late, too. */
		if (!deadline_passed(at) || deadline_passed(pg_call_look_at(call, limit, DEADLINE_NEVER)))
			return pg_call_late(call, limit, DEADLINE_NEVER, e);
	}
	return 0;
}

void pg_call_end(struct pg_call *call, enum pg_outcome outcome)
{
	call->outcome = (uint8_t)outcome;
	call->connection = NULL;
	if (call->phase == PG_CALL_ABANDONED) {
		recycle(call);
		return;
	}
	pg_call_move(call, PG_CALL_ENDED);
	if (call->waiter)
		task_wake(call->waiter, 0);
	else if (call->operation)
		operation_complete(call->operation);
}

/* Would it be no second run? A read may be run again; a write where the server ended the session instead of beginning
 * its transaction. */
static bool is_repeatable(const struct pg_call *call)
{
	if (!call->statement)
		return false;
	return call->statement->action->read_only ||
	       (!call->signs.begun && call->result && pg_sqlstate_ends_connection(call->result));
}

/* A call whose answer was lost through no fault of its own is run again, once, unseen by its task. */
static bool run_again(struct pg_call *call, enum pg_queue queue)
{
	if (call->rerun || call->phase == PG_CALL_ABANDONED || call->client->closing || !is_repeatable(call))
		return false;
	PQclear(call->result);
	call->result = NULL;
	PQclear(call->names);
	call->names = NULL;
	call->signs = (struct pg_signs){0};
	call->pending = 0;
	call->connection = NULL;
	pg_pool_resubmit(call, queue);
	return true;
}

/* Did somebody else's failure, or a cancel request that was meant for somebody else, end it? */
static bool is_innocent(const struct pg_call *call, const struct pg_connection *conn)
{
	if (!pg_failed(call->result))
		return call->signs.aborted;
	if (conn->state == PG_QUARANTINED && pg_sqlstate_is(call->result, "57014"))
		return true;
	return pg_sqlstate_ends_connection(call->result);
}

/* What a failure says of the connection and of its server. */
static void take_failure(const struct pg_call *call, struct pg_connection *conn)
{
	if (!pg_failed(call->result))
		return;
	conn->ending |= pg_sqlstate_ends_connection(call->result);
	if (call->writes && pg_sqlstate_refuses_writes(call->result))
		pg_pool_suspect(conn, true);
	else if (pg_sqlstate_ends_server(call->result))
		pg_pool_suspect(conn, false);
}

void pg_call_answered(struct pg_call *call)
{
	struct pg_connection *conn = call->connection;

	take_failure(call, conn);
	if (conn->lease == call) {
		if (call->waiter)
			task_wake(call->waiter, 0);
		return;
	}
	conn->calls--;
	if (call->phase == PG_CALL_ABANDONED)
		conn->abandoned--;
	bool innocent = is_innocent(call, conn);
	if (pg_failed(call->result) && call->statement && !innocent)
		pg_statement_erred(call->statement, loop_now_us(call->client->loop));
	/* Where the server ends this connection it may be about to end the others. */
	if (innocent && run_again(call, conn->ending ? PG_QUEUE_FRESH : PG_QUEUE_ALONE))
		return;
	if (call->signs.aborted && !pg_failed(call->result)) {
		error_set(&call->error, -EIO, 502, NULL, "aborted by the failure of another statement");
		pg_call_end(call, PG_BROKEN);
		return;
	}
	pg_call_end(call, PG_ANSWERED);
}

void pg_call_overflow(struct pg_call *call)
{
	const struct pg_client *c = call->client;

	call->signs.too_large = true;
	error_say(&call->error, -EFBIG, REASON_RESULT_LARGE, "source %s: the result is larger than %zu MiB",
		  c->source->base.name, c->result_max >> 20);
	/* COMMIT has left with it. */
	if (call->statement && call->statement->action->writes)
		error_uncertain(&call->error);
}

void pg_call_broken(struct pg_call *call, const char *why)
{
	if (call->signs.too_large) {
		pg_call_end(call, PG_REFUSED);
		return;
	}
	if (run_again(call, PG_QUEUE_FRESH))
		return;
	if (pg_failed(call->result) && *pg_sqlstate(call->result)) {
		pg_call_end(call, PG_ANSWERED);
		return;
	}
	error_say(&call->error, -EIO, REASON_BROKEN, "%s", why);
	pg_call_end(call, PG_BROKEN);
}
