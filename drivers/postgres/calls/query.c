/* A run binds its arguments, is placed by the pool, waits, and turns rows into a result. Where the server says that it
 * knows the statement no more, or knows it otherwise, it is learned and run once more: nothing has run before. */
#include "drivers/postgres/calls/query.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/postgres/statements/text.h"
#include "drivers/postgres/wire/call.h"
#include "drivers/postgres/wire/pool.h"

struct run {
	struct pg_client *client;
	struct pg_statement *statement;
	uint32_t generation; /* of statement, as the call was bound */
	struct pg_call *call;
	const struct value *args;
	enum expect expect;
	struct pg_limit limit;
	struct error *error;
	struct pg_place place;
};

static const struct value *argument(const struct pg_sql *sql, const struct value *args, unsigned i)
{
	return &args[sql->slots ? sql->slots[i] : (int)i];
}

static int refuse_argument(const struct pg_sql *sql, unsigned i, const struct value *v, int r, const char *why,
			   const struct pg_place *place, struct error *e)
{
	char text[160];

	if (sql->references)
		snprintf(text, sizeof(text), "%s holds %s.", sql->references[i].text, why);
	else
		snprintf(text, sizeof(text), "$%u holds %s.", i + 1, why);
	return pg_error_at(e, r, v->from_request ? 400 : 500,
			   !v->from_request  ? NULL
			   : sql->references ? text
					     : "A parameter's value does not fit.",
			   place, text);
}

int pg_bind(struct pg_parameters *p, const struct pg_statement *st, const struct value *args, struct pg_place *place,
	    struct error *e)
{
	const struct pg_sql *sql = &st->action->sql;

	pg_parameters_begin(p, sql->parameter_count);
	for (unsigned i = 0; i < sql->parameter_count; i++) {
		const struct value *v = argument(sql, args, i);
		const char *why;
		int r = pg_parameters_add(p, &st->parameters[i], v, &why);
		if (r < 0)
			return refuse_argument(sql, i, v, r, why, place, e);
	}
	pg_parameters_end(p);
	place->from_request = p->from_request;
	return 0;
}

bool pg_is_stale(const PGresult *failure, bool unparsed)
{
	const char *function = PQresultErrorField(failure, PG_DIAG_SOURCE_FUNCTION);

	if (pg_sqlstate_is(failure, "26000") || pg_sqlstate_is(failure, "42P05"))
		return true;
	/* It was fine when it was learned: what it speaks of has changed. */
	if (unparsed && strncmp(pg_sqlstate(failure), "42", 2) == 0)
		return true;
	/* "cached plan must not change result type": the only message of that function, in whatever language. */
	return pg_sqlstate_is(failure, "0A000") && function && strcmp(function, "RevalidateCachedQuery") == 0;
}

/* Suspends. Run it once; 1: it has to be learned again. */
static int attempt(struct run *run, bool last)
{
	struct pg_call *call = run->call;

	int r = pg_bind(&call->parameters, run->statement, run->args, &run->place, run->error);
	if (r == 0)
		r = pg_pool_submit(call, run->error);
	if (r == 0)
		r = pg_call_wait(call, &run->limit, run->error);
	if (r < 0)
		return r;
	if (call->outcome == PG_REFUSED) {
		if (run->error)
			*run->error = call->error;
		return call->error.errnum;
	}
	if (call->outcome == PG_BROKEN)
		return pg_error_broken(run->error, &run->place, call->error.what);
	if (!call->result)
		return pg_error_broken(run->error, &run->place, "no answer came");
	if (!pg_failed(call->result))
		return 0;
	/* Each connection can say that but once. */
	if (call->unfreed)
		return 1;
	if (!last && pg_is_stale(call->result, call->unparsed)) {
		pg_statement_forget(run->statement, run->generation);
		return 1;
	}
	return pg_error_from_result(run->error, call->result, &run->place);
}

/* Do the rows keep what `expect` promises? */
static int check_expect(enum expect expect, const PGresult *result, const struct pg_place *place, struct error *e)
{
	int rows = PQntuples(result);
	const char *what = NULL;

	if (expect == EXPECT_ONE && rows == 0)
		return pg_error_at(e, -ENOENT, 404, NULL, place, "no row");
	if ((expect == EXPECT_ONE || expect == EXPECT_MAYBE || expect == EXPECT_VALUE) && rows > 1)
		what = "more than one row";
	else if (expect == EXPECT_VALUE && PQnfields(result) != 1)
		what = "not exactly one column";
	return what ? pg_error_at(e, -EBADMSG, 500, NULL, place, what) : 0;
}

/* The columns of the result; NULL: it has to be learned again, which what may have written is not. */
static struct pg_layout *layout_of(struct run *run, bool last)
{
	struct pg_statement *st = run->statement;

	if (pg_layout_fits(st->layout, run->call->result))
		return pg_layout_keep(st->layout);
	pg_statement_forget(st, run->generation);
	return last || !st->action->read_only ? pg_layout_new(run->call->result, &run->client->types) : NULL;
}

/* The call was answered. 1: it has to be learned again. */
static int take_result(struct run *run, bool last, struct result **out)
{
	struct pg_layout *layout = layout_of(run, last);

	if (!layout)
		return 1;
	int r = check_expect(run->expect, run->call->result, &run->place, run->error);
	if (r == 0) {
		*out = pg_result_new(run->call->result, layout, run->expect);
		run->call->result = NULL;
	}
	pg_layout_drop(layout);
	return r;
}

static int64_t changed_rows(const PGresult *result)
{
	return strtoll(PQcmdTuples((PGresult *)result), NULL, 10);
}

int pg_take_answer(PGresult **rows, struct pg_layout *layout, const struct pg_ask *ask, const struct pg_place *place,
		   struct pg_answer *out, struct error *e)
{
	if (ask->writes && PQresultStatus(*rows) == PGRES_COMMAND_OK) {
		*out = (struct pg_answer){.changed = changed_rows(*rows)};
		PQclear(*rows);
		*rows = NULL;
		return 0;
	}
	int r = check_expect(ask->expect, *rows, place, e);
	if (r < 0)
		return r;
	*out = (struct pg_answer){.result = pg_result_new(*rows, layout, ask->expect)};
	*rows = NULL;
	return 0;
}

/* Suspends. *changed, where it is not NULL: how many rows were changed by what brought none; *out is NULL then. */
static int run_statement(struct run *run, struct result **out, int64_t *changed)
{
	bool last = false;
	int r = 1;

	while (r == 1) {
		r = pg_statement_learn(run->client, run->statement, &run->limit, run->error);
		if (r < 0)
			return r;
		run->generation = run->statement->generation;
		run->call = pg_call_new(run->client, run->statement);
		r = attempt(run, last);
		if (r == 0 && changed && PQresultStatus(run->call->result) == PGRES_COMMAND_OK)
			*changed = changed_rows(run->call->result);
		else if (r == 0)
			r = take_result(run, last, out);
		last |= !run->call->unfreed;
		pg_call_leave(run->call);
	}
	return r;
}

/* Nothing is sent for a task that is over already. */
static int check_task(const struct pg_place *place, struct error *e)
{
	int r = task_check();
	return r < 0 ? pg_error_at(e, r, r == -ETIMEDOUT ? 504 : 503, NULL, place, "not begun") : 0;
}

int pg_run_action(struct pg_client *c, const struct pg_action *action, const struct value *args, int64_t timeout_us,
		  struct result **out, struct error *e)
{
	struct run run = {
		.client = c,
		.args = args,
		.expect = action->expect,
		.limit = {.timeout_us = timeout_us, .by = DEADLINE_NEVER},
		.error = e,
		.place = {.source = c->source->config->name, .step = action->step, .read_only = action->read_only},
	};

	int r = check_task(&run.place, e);
	if (r < 0)
		return r;
	c->callers++;
	run.statement = pg_statement_of(c, action);
	r = run_statement(&run, out, NULL);
	c->callers--;
	return r;
}

int pg_ask_statement(struct pg_client *c, const struct pg_ask *ask, const struct pg_place *place,
		     struct pg_statement **out, struct error *e)
{
	const char *why;
	struct pg_statement *st = pg_text_of(c, ask->sql, ask->len, !ask->writes, &why);

	if (!st)
		return pg_error_at(e, -EINVAL, 500, NULL, place, why);
	unsigned takes = st->action->sql.parameter_count;
	if (takes != ask->count) {
		char text[100];
		snprintf(text, sizeof(text), "the statement takes %u parameter%s, and %u value%s given", takes,
			 takes == 1 ? "" : "s", ask->count, ask->count == 1 ? " was" : "s were");
		pg_text_drop(c, st);
		return pg_error_at(e, -EINVAL, 500, NULL, place, text);
	}
	*out = st;
	return 0;
}

int pg_query(struct pg_client *c, const struct pg_ask *ask, struct pg_answer *out, struct error *e)
{
	struct run run = {
		.client = c,
		.args = ask->args,
		.expect = ask->expect,
		.limit = {.timeout_us = ask->timeout_us, .by = DEADLINE_NEVER},
		.error = e,
		.place = {.source = c->source->config->name,
			  .call = ask->call,
			  .read_only = !ask->writes,
			  .advice = "gd_pg_execute is for what writes"},
	};

	*out = (struct pg_answer){0};
	int r = check_task(&run.place, e);
	if (r == 0)
		r = pg_ask_statement(c, ask, &run.place, &run.statement, e);
	if (r < 0)
		return r;
	c->callers++;
	r = run_statement(&run, &out->result, ask->writes ? &out->changed : NULL);
	c->callers--;
	pg_text_drop(c, run.statement);
	return r < 0 ? pg_error_called(e, &run.place) : r;
}
