/* A run binds its arguments, is placed by the pool, waits, and turns rows into a result. Where the server says that it
 * knows the statement no more, or knows it otherwise, it is learned and run once more: nothing has run before.
 *
 * A step's read whose statement is known needs no task for its first attempt, which nearly always is the last: it is an
 * operation. Whatever comes after that suspends, and is the same code for both.
 *
 * A statement that may write is a transaction: BEGIN, the statement and COMMIT leave in one flush. If `expect` or
 * `affected` may find fault with its rows, COMMIT waits for that look (a transaction on a lease, transaction.h), and
 * what is not as expected is rolled back. No look is needed if the statement is known to change one row at most, and
 * one is right: none is a fault, but nothing was changed then. */
#include "drivers/postgres/calls/query.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "drivers/postgres/calls/steps.h"
#include "drivers/postgres/calls/transaction.h"
#include "drivers/postgres/statements/learn.h"
#include "drivers/postgres/statements/result.h"
#include "drivers/postgres/statements/steps.h"
#include "drivers/postgres/wire/call.h"
#include "drivers/postgres/wire/pipeline.h"
#include "drivers/postgres/wire/pool.h"

struct run {
	struct pg_client *client;
	const struct pg_action *action; /* the step's; of a handler's text: the statement's */
	struct pg_statement *statement; /* which others may have, too */
	uint32_t generation;            /* of statement, as the call was bound */
	PGresult *rows;                 /* what an attempt has brought */
	PGresult *names;                /* of their columns, if they are not what was learned */
	bool retyped;                   /* its types are not what was learned */
	bool unfreed; /* the last attempt failed because the server had lost what was to be deallocated */
	bool looks;   /* the attempt commits when the rows were looked at */
	bool fresh;   /* the next one goes to a connection that was opened after the last one ended */
	bool last;    /* no attempt follows the next one */
	int failure;  /* of the last attempt, which is SUSPECT; 0: it is not */
	struct pg_arguments args;
	enum expect expect;
	struct pg_limit limit;
	struct error *error;
	struct pg_place place;
};

/* What an attempt may come to, beside 0 and -errno. */
enum {
	AGAIN = 1, /* it has to be learned again, and run again */
	SUSPECT,   /* it has failed, perhaps because something has changed: the server has to be asked */
};

/* Suspends. Has it changed? Then it is forgotten. */
static bool has_changed(struct run *run)
{
	struct error ignored = ERROR_INIT;

	return pg_statement_recheck(run->client, run->statement, run->generation, &run->limit, &ignored) == 1;
}

/* What the server said of names and types besides the rows. */
static void take_signs(struct run *run, struct pg_call *call)
{
	run->retyped = call->signs.retyped;
	run->names = call->names;
	call->names = NULL;
}

/* --- an attempt: in one flush --- */

/* The attempt has failed after its statement was sent, and the server has not said that nothing was changed. */
static int uncertain(const struct run *run, int r)
{
	if (run->action->writes && run->error)
		error_uncertain(run->error);
	return r;
}

/* Suspends until the call was answered, has ended, or may not be waited for any longer. */
static int await_answer(struct run *run, struct pg_call *call)
{
	int r = pg_call_wait(call, &run->limit, run->error);
	bool sent = pg_call_is_placed(call);

	if (r == -ETIMEDOUT && sent && run->action->writes)
		r = pg_last_word(call, r);
	return r < 0 && sent ? uncertain(run, r) : r;
}

/* The call is on its way. */
static int submit(struct run *run, struct pg_call *call)
{
	int r = pg_bind(&call->parameters, run->statement, &run->args, &run->place, run->error);
	return r < 0 ? r : pg_pool_submit(call, run->error);
}

/* The call has ended. */
static int take_answer(struct run *run, struct pg_call *call)
{
	if (call->outcome == PG_REFUSED) {
		if (run->error)
			*run->error = call->error;
		return call->error.errnum;
	}
	if (call->outcome == PG_BROKEN)
		return uncertain(run, pg_error_broken(run->error, &run->place, call->error.what));
	run->rows = call->result;
	run->unfreed = call->signs.unfreed;
	take_signs(run, call);
	call->result = NULL;
	return run->rows ? 0 : uncertain(run, pg_error_broken(run->error, &run->place, "no answer came"));
}

/* The call was answered or has failed, r; it is left. What the server answers is in run->rows. */
static int judge(struct run *run, struct pg_call *call, int r)
{
	bool unparsed = call->signs.unparsed, failed = r == 0 && pg_failed(run->rows);
	/* Now: the call has the parameters, one of which may be to blame. */
	int failure = failed ? pg_error_from_result(run->error, run->rows, &run->place) : 0;

	pg_call_leave(call);
	run->place.parameters = NULL;
	if (!failed)
		return r;
	/* Each connection can say that but once. */
	if (run->unfreed)
		return AGAIN;
	if (!run->last && run->retyped) {
		pg_statement_forget_types(run->client, run->statement, run->generation);
		return AGAIN;
	}
	if (!run->last && pg_is_stale(run->rows, unparsed)) {
		pg_statement_forget(run->statement, run->generation);
		return AGAIN;
	}
	if (pg_sqlstate_is_uncertain(run->rows))
		return uncertain(run, failure);
	if (run->last || !pg_is_suspect(pg_sqlstate(run->rows)))
		return failure;
	/* Nothing of it has stayed: what fails was rolled back. */
	run->failure = failure;
	return SUSPECT;
}

/* Suspends. */
static int attempt_flush(struct run *run)
{
	struct pg_call *call = pg_call_new(run->client, run->statement);
	int r = submit(run, call);

	if (r == 0)
		r = await_answer(run, call);
	if (r == 0)
		r = take_answer(run, call);
	return judge(run, call, r);
}

/* --- an attempt: with a look before COMMIT --- */

/* Are the rows, and is their number, as the step wants it? */
static int check_rows(struct run *run, struct error *e)
{
	int r = pg_check_affected(run->action, run->args.values, run->rows, &run->place, e);

	return r == 0 ? pg_check_expect(run->expect, run->rows, &run->place, e) : r;
}

/* Suspends. Until it is committed nothing has happened, whatever comes in between. */
static int run_checked(struct run *run, struct pg_transaction *tx, struct error *e)
{
	int r = pg_bind(&tx->lease->parameters, run->statement, &run->args, &run->place, e);

	if (r == 0)
		r = pg_transaction_begin(tx, e);
	if (r < 0)
		return r;
	tx->place.from_request = run->place.from_request;
	tx->place.reads_data = run->place.reads_data;
	tx->place.parameters = run->place.parameters;
	pg_call_run(tx->lease, run->statement);
	pg_pipeline_run(tx->lease->connection, tx->lease);
	r = pg_transaction_exchange(tx, &run->rows, e);
	take_signs(run, tx->lease);
	if (r == 0)
		r = check_rows(run, e);
	return r == 0 ? pg_transaction_commit(tx, e) : r;
}

/* Suspends. As attempt_flush. */
static int attempt_checked(struct run *run)
{
	struct pg_transaction_options options = {
		.call = run->place.call, .isolation = PG_SESSION_ISOLATION, .timeout_us = run->limit.timeout_us};
	struct pg_transaction tx;
	struct error e = ERROR_INIT;
	bool fresh = run->fresh;

	int r = pg_transaction_open(&tx, run->client, &options, fresh, &e);
	if (r < 0) {
		if (run->error)
			*run->error = e;
		return r;
	}
	tx.place.step = run->place.step;
	r = run_checked(run, &tx, &e);
	/* A lease that has gone was lost at COMMIT. */
	bool unbegun = r < 0 && tx.lease && !tx.lease->signs.begun && strncmp(e.code, "57P0", 4) == 0;
	run->unfreed = r < 0 && tx.lease && tx.lease->signs.unfreed;
	pg_transaction_close(&tx);
	run->place.parameters = NULL;
	if (run->unfreed || (r < 0 && tx.stale && !run->last))
		return AGAIN;
	/* The server has ended the session instead of beginning the transaction. */
	run->fresh = unbegun && !fresh && !run->client->closing;
	if (run->fresh)
		return AGAIN;
	if (r < 0 && run->error)
		*run->error = e;
	if (r == 0 || tx.uncertain || run->last || !pg_is_suspect(e.code))
		return r;
	run->failure = r;
	return SUSPECT;
}

static bool must_look(const struct run *run)
{
	const struct pg_action *action = run->action;
	const struct affected *affected = &action->affected;
	bool one_is_right = !affected->given || (affected->slot < 0 && affected->least <= 1 && affected->most >= 1);

	if (action->read_only || !(affected->given || run->expect == EXPECT_ONE || run->expect == EXPECT_MAYBE ||
				   run->expect == EXPECT_VALUE))
		return false;
	return !one_is_right || !pg_statement_is_single(run->statement, loop_now_us(run->client->loop));
}

/* The rows of what was committed with its statement. */
static int look_back(struct run *run)
{
	int r = check_rows(run, run->error);

	/* The key that made it one row at most was dropped a moment ago. */
	if (r < 0 && run->error && run->action->writes && pg_changed_rows(run->rows) > 0) {
		run->error->change = CHANGE_PARTIAL;
		error_add_public(run->error, reason_text(REASON_ALSO_MADE));
	}
	return r;
}

/* --- the result --- */

/* The columns of the result; NULL: it has to be learned again, and run again unless it may have written. */
static struct pg_layout *layout_of(struct run *run)
{
	struct pg_statement *st = run->statement;

	if (!run->retyped && !run->names && pg_layout_fits(st->layout, run->rows))
		return pg_layout_keep(st->layout);
	if (run->retyped)
		pg_statement_forget_types(run->client, st, run->generation);
	else
		pg_statement_forget(st, run->generation);
	if (!run->last && run->action->read_only)
		return NULL;
	return run->names ? pg_layout_renamed(run->names, run->rows, &run->client->types)
			  : pg_layout_new(run->rows, &run->client->types);
}

/* The statement was answered. Returns 0, AGAIN or -errno. */
static int take_result(struct run *run, struct result **out)
{
	int r = run->looks ? 0 : look_back(run);
	if (r < 0)
		return r;
	if (PQresultStatus(run->rows) == PGRES_COMMAND_OK) {
		*out = pg_changed_result(run->expect, pg_changed_rows(run->rows));
		return 0;
	}
	struct pg_layout *layout = layout_of(run);
	if (!layout)
		return AGAIN;
	*out = pg_result_new(run->rows, layout, run->expect);
	run->rows = NULL;
	pg_layout_drop(layout);
	return 0;
}

/* An attempt has come to r: take what it brought, if all is well. *changed, if it is not NULL: how many rows were
 * changed by what brought none; *out is NULL then. */
static int conclude(struct run *run, int r, struct result **out, int64_t *changed)
{
	if (r == 0 && changed && PQresultStatus(run->rows) == PGRES_COMMAND_OK)
		*changed = pg_changed_rows(run->rows);
	else if (r == 0)
		r = take_result(run, out);
	run->last |= !run->unfreed && !run->fresh;
	PQclear(run->rows);
	PQclear(run->names);
	run->rows = run->names = NULL;
	run->retyped = false;
	return r;
}

/* Suspends. r: what the attempt before came to; AGAIN if there was none. */
static int run_statement(struct run *run, int r, struct result **out, int64_t *changed)
{
	for (;;) {
		if (r == SUSPECT)
			r = has_changed(run) ? AGAIN : run->failure;
		run->failure = 0;
		if (r != AGAIN)
			return r;
		r = pg_statement_learn(run->client, run->statement, &run->limit, run->error);
		if (r < 0)
			return run->error ? pg_error_called(run->error, &run->place) : r;
		run->generation = run->statement->generation;
		run->looks = must_look(run);
		r = run->looks ? attempt_checked(run) : attempt_flush(run);
		r = conclude(run, r, out, changed);
	}
}

/* Nothing is sent for a task that is over already. */
static int check_task(const struct pg_place *place, struct error *e)
{
	int r = task_check();
	return r < 0 ? pg_error_at(e, r, r == -ETIMEDOUT ? 504 : 503, NULL, place, "not begun") : 0;
}

static struct run run_of_action(struct pg_client *c, const struct pg_action *action, const struct value *args,
				int64_t timeout_us, struct error *e)
{
	return (struct run){
		.client = c,
		.action = action,
		.args = {args, &action->sql},
		.expect = action->expect,
		.limit = {.timeout_us = timeout_us, .by = DEADLINE_NEVER},
		.error = e,
		.place = {.source = c->source->base.name, .step = action->step, .read_only = action->read_only},
	};
}

int pg_run_action(struct pg_client *c, const struct pg_action *action, const struct value *args,
		  const struct run_options *options, struct result **out, struct error *e)
{
	if (action->steps)
		return pg_run_steps(c, action, args, options, out, e);
	struct run run = run_of_action(c, action, args, options->timeout_us, e);

	int r = check_task(&run.place, e);
	if (r < 0)
		return r;
	c->callers++;
	run.statement = pg_statement_of(c, action);
	r = run_statement(&run, AGAIN, out, NULL);
	c->callers--;
	return r;
}

/* --- an operation --- */

struct read {
	struct operation operation;
	struct run run;
	struct pg_call *call; /* NULL: it was collected, and cannot end without a task */
	deadline_t by;        /* of who waits */
};

static struct read *read_of(struct operation *op)
{
	return container_of(op, struct read, operation);
}

static void look(struct operation *op)
{
	struct read *read = read_of(op);

	op->look_at = pg_call_look_at(read->call, &read->run.limit, read->by);
	if (!deadline_passed(op->look_at))
		return;
	read->call->operation = NULL;
	operation_complete(op);
}

static void cancel(struct operation *op)
{
	struct read *read = read_of(op);

	if (read->call)
		pg_call_leave(read->call);
	read->run.client->callers--;
}

static void describe(const struct operation *op, struct buf *out)
{
	pg_call_describe(container_of(op, const struct read, operation)->call, out);
}

static const struct operation_kind read_kind = {.look = look, .cancel = cancel, .describe = describe};

int pg_submit_action(struct pg_client *c, const struct pg_action *action, const struct value *args,
		     const struct run_options *options, struct operation **out, struct error *e)
{
	struct pg_statement *st = action->read_only && !action->steps ? pg_statement_of(c, action) : NULL;

	*out = NULL;
	if (!st || st->knowledge != PG_KNOWN || task_check() < 0)
		return 0;
	struct read *read = arena_alloc(options->arena, sizeof(*read));
	*read = (struct read){.operation.kind = &read_kind,
			      .run = run_of_action(c, action, args, options->timeout_us, e),
			      .call = pg_call_new(c, st),
			      .by = task_deadline()};
	read->run.statement = st;
	read->run.generation = st->generation;
	int r = submit(&read->run, read->call);
	if (r < 0) {
		pg_call_leave(read->call);
		return r;
	}
	assert(read->call->phase != PG_CALL_ENDED); /* nothing ends inside a task that sends */
	c->callers++;
	read->call->operation = &read->operation;
	read->operation.look_at = pg_call_look_at(read->call, &read->run.limit, read->by);
	*out = &read->operation;
	return 0;
}

int pg_collect_action(struct operation *op, struct result **out, struct error *e)
{
	struct read *read = read_of(op);
	struct run *run = &read->run;
	struct pg_call *call = read->call;

	run->error = e;
	read->call = NULL;
	int r = call->phase == PG_CALL_ENDED ? take_answer(run, call) : pg_call_late(call, &run->limit, read->by, e);
	r = conclude(run, judge(run, call, r), out, NULL);
	if (r > 0)
		return 1;
	run->client->callers--;
	return r;
}

int pg_finish_action(struct operation *op, struct result **out, struct error *e)
{
	struct run *run = &read_of(op)->run;

	run->error = e;
	int r = run_statement(run, run->failure ? SUSPECT : AGAIN, out, NULL);
	run->client->callers--;
	return r;
}

int pg_query(struct pg_client *c, const struct pg_ask *ask, struct pg_answer *out, struct error *e)
{
	struct run run = {
		.client = c,
		.expect = ask->expect,
		.limit = {.timeout_us = ask->timeout_us, .by = DEADLINE_NEVER},
		.error = e,
		.place = {.source = c->source->base.name,
			  .call = ask->call,
			  .read_only = !ask->writes,
			  .advice = "gd_pg_execute is for what writes"},
	};

	*out = (struct pg_answer){0};
	int r = check_task(&run.place, e);
	if (r == 0)
		r = pg_ask_statement(c, ask, &run.place, &run.statement, e);
	if (!run.statement)
		return r;
	run.action = run.statement->action;
	run.args = (struct pg_arguments){ask->args, &run.action->sql};
	c->callers++;
	r = run_statement(&run, AGAIN, &out->result, ask->writes ? &out->changed : NULL);
	out->writes = run.action->writes;
	c->callers--;
	pg_statement_drop(c, run.statement);
	return r < 0 ? pg_error_called(e, &run.place) : r;
}
