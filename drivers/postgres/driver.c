/* PostgreSQL behind the interface of drivers: sources, clients, and one run of an action from its arguments to its
 * result. */
#include "drivers/driver.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "drivers/postgres/action.h"
#include "drivers/postgres/call.h"
#include "drivers/postgres/cancel.h"
#include "drivers/postgres/check.h"
#include "drivers/postgres/connect.h"
#include "drivers/postgres/pool.h"
#include "drivers/postgres/result.h"
#include "drivers/postgres/sqlstate.h"
#include "drivers/postgres/statement.h"

#define PATIENCE_US 2000000 /* with statements that were cancelled by closing */

/* --- sources --- */

static void source_check(const struct config_source *config, struct diagnostics *d)
{
	pg_conninfo_check(config, d);
}

/* What a session would be told once, a transaction is told each time: behind a pooler there is no session. */
static char *transaction_settings(const struct config_source *config, const struct pg_conninfo *info)
{
	struct buf sql = BUF_INIT;
	const char *options = pg_conninfo_get(info, "options");
	int64_t longest_ms = config->longest_us / 1000 + 1000;

	buf_printf(&sql,
		   "select pg_catalog.set_config('statement_timeout', '%lld', true), "
		   "pg_catalog.set_config('DateStyle', 'ISO', true)",
		   (long long)(longest_ms > INT32_MAX ? INT32_MAX : longest_ms));
	if (!options || !strcasestr(options, "intervalstyle"))
		buf_lit(&sql, ", pg_catalog.set_config('IntervalStyle', 'postgres', true)");
	if (!options || !strcasestr(options, "timezone"))
		buf_lit(&sql, ", pg_catalog.set_config('TimeZone', 'UTC', true)");
	char *text = mem_strdup(buf_cstr(&sql));
	buf_done(&sql);
	return text;
}

static int source_new(struct source **out, const struct config_source *config, struct executor *executor,
		      unsigned workers, struct error *e)
{
	struct pg_conninfo *info = pg_conninfo_new(config, e);
	if (!info)
		return -EINVAL;

	struct pg_source *s = mem_zalloc(sizeof(*s));
	unsigned size = config->pool.size > workers ? config->pool.size : workers;
	s->config = config;
	s->executor = executor;
	s->conninfo = info;
	s->connect_timeout_us = pg_connect_timeout_us(info);
	s->settings = transaction_settings(config, info);
	budget_init(&s->budget, size, workers, config->pool.max_waiting);
	*out = (struct source *)s;
	return 0;
}

static void source_free(struct source *source)
{
	struct pg_source *s = (struct pg_source *)source;

	if (!s)
		return;
	budget_done(&s->budget);
	pg_conninfo_drop(s->conninfo);
	free(s->settings);
	free(s);
}

static struct action *action_new(const struct config_source *config, const struct config_step *step,
				 struct action_env *env)
{
	(void)config;
	return (struct action *)pg_action_new(step, env);
}

/* --- clients --- */

static int client_open(struct client **out, struct source *source, struct error *e)
{
	struct pg_client *c = mem_zalloc(sizeof(*c));

	(void)e;
	c->source = (struct pg_source *)source;
	c->loop = loop_current();
	list_init(&c->free_calls);
	pg_pool_init(c);
	*out = (struct client *)c;
	return 0;
}

/* Close what is idle, cancel what runs before it is closed (the server would not notice that we have gone), and what
 * is being connected. */
static void close_connections(struct pg_client *c, bool patient)
{
	static const enum pg_state open[] = {PG_IDLE, PG_BUSY, PG_SHARED, PG_QUARANTINED};

	for (size_t i = 0; i < ARRAY_SIZE(open); i++) {
		list_for_each_safe (link, &c->connections[open[i]]) {
			struct pg_connection *conn = container_of(link, struct pg_connection, link);
			bool runs = conn->entries > 0 || conn->cancelling;
			if (!runs || !patient)
				pg_connection_close(conn, "closing");
			else
				(void)pg_cancel_request(conn);
		}
	}
	list_for_each (link, &c->connections[PG_CONNECTING]) {
		struct pg_connection *conn = container_of(link, struct pg_connection, link);
		if (conn->connector)
			task_cancel(conn->connector);
	}
}

static bool has_ended(struct pg_client *c)
{
	return c->callers == 0 && c->cancels == 0 && c->count[PG_CONNECTING] == 0 && pg_client_live(c) == 0 &&
	       budget_quiet(&c->member);
}

static void free_calls(struct pg_client *c)
{
	list_for_each_safe (link, &c->free_calls) {
		struct pg_call *call = container_of(link, struct pg_call, link);
		pg_parameters_done(&call->parameters);
		free(call);
	}
}

static void client_close(struct client *client)
{
	struct pg_client *c = (struct pg_client *)client;
	struct error closing;
	struct shield shield;

	if (!c)
		return;
	task_shield(&shield, DEADLINE_NEVER);
	c->closing = true;
	error_set(&closing, -ECONNREFUSED, 503, "The service is stopping.", "source %s: closing",
		  c->source->config->name);
	pg_pool_refuse(c, &closing);
	budget_leave(&c->member);
	/* Everything that is under way ends by itself, and soon: attempts to connect are cancelled, requests to cancel
	 * have a deadline. */
	deadline_t patience = deadline_in_us(PATIENCE_US);
	for (;;) {
		close_connections(c, !deadline_passed(patience));
		if (has_ended(c))
			break;
		int r = task_sleep_ms(1);
		(void)r;
	}
	task_unshield(&shield);
	pg_pool_done(c);
	pg_connections_bury(c);
	pg_statements_done(c);
	pg_types_done(&c->types);
	free_calls(c);
	free(c);
}

static bool client_ready(const struct client *client)
{
	const struct pg_client *c = (const struct pg_client *)client;
	return pg_client_live(c) > 0 || (c->ever_connected && c->failures == 0);
}

static bool client_idle(const struct client *client)
{
	const struct pg_client *c = (const struct pg_client *)client;
	return c->callers == 0 && c->cancels == 0 && c->count[PG_BUSY] + c->count[PG_SHARED] == 0 &&
	       c->count[PG_QUARANTINED] == 0 && pg_client_waiting(c) == 0;
}

/* --- one run --- */

struct run {
	struct pg_client *client;
	const struct pg_action *action;
	struct pg_statement *statement;
	uint32_t generation; /* of statement, as the call was bound */
	struct pg_call *call;
	const struct value *args;
	struct pg_limit limit;
	struct error *error;
	struct pg_place place;
};

static int bind_arguments(struct run *run)
{
	const struct pg_sql *sql = &run->action->sql;
	struct pg_parameters *p = &run->call->parameters;

	pg_parameters_begin(p, sql->parameter_count);
	for (unsigned i = 0; i < sql->parameter_count; i++) {
		const struct value *v = &run->args[sql->slots[i]];
		const char *why;
		int r = pg_parameters_add(p, &run->statement->parameters[i], v, &why);
		if (r < 0) {
			char text[160];
			snprintf(text, sizeof(text), "%s holds %s.", sql->references[i].text, why);
			return error_set(run->error, r, v->from_request ? 400 : 500, v->from_request ? text : NULL,
					 "step %s, source %s: %s", run->place.step, run->place.source, text);
		}
	}
	pg_parameters_end(p);
	run->place.from_request = p->from_request;
	return 0;
}

/* Does the failure say that the server has forgotten the statement, or that its columns have changed since? */
static bool is_stale(const PGresult *result)
{
	const char *function = PQresultErrorField(result, PG_DIAG_SOURCE_FUNCTION);

	if (pg_sqlstate_is(result, "26000") || pg_sqlstate_is(result, "42P05"))
		return true;
	/* "cached plan must not change result type": the only message of that function, in whatever language. */
	return pg_sqlstate_is(result, "0A000") && function && strcmp(function, "RevalidateCachedQuery") == 0;
}

/* Suspends. Run it once; 1: it has to be learned again. */
static int attempt(struct run *run, bool last)
{
	struct pg_call *call = run->call;

	int r = bind_arguments(run);
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
	if (!last && is_stale(call->result)) {
		pg_statement_forget(run->statement, run->generation);
		return 1;
	}
	return pg_error_from_result(run->error, call->result, &run->place);
}

/* Do the rows keep what `expect` promises? */
static int check_expect(struct run *run, const PGresult *result)
{
	enum expect expect = run->action->expect;
	int rows = PQntuples(result);
	const char *what = NULL;

	if (expect == EXPECT_ONE && rows == 0)
		return error_set(run->error, -ENOENT, 404, NULL, "step %s, source %s: no row", run->place.step,
				 run->place.source);
	if ((expect == EXPECT_ONE || expect == EXPECT_MAYBE || expect == EXPECT_VALUE) && rows > 1)
		what = "more than one row";
	else if (expect == EXPECT_VALUE && PQnfields(result) != 1)
		what = "not exactly one column";
	if (what)
		return error_set(run->error, -EBADMSG, 500, NULL, "step %s, source %s: %s", run->place.step,
				 run->place.source, what);
	return 0;
}

/* The columns of the result; NULL: it has to be learned again, which what may have written is not. */
static struct pg_layout *layout_of(struct run *run, bool last)
{
	struct pg_statement *st = run->statement;

	if (pg_layout_fits(st->layout, run->call->result))
		return pg_layout_keep(st->layout);
	pg_statement_forget(st, run->generation);
	return last || !run->action->read_only ? pg_layout_new(run->call->result, &run->client->types) : NULL;
}

/* The call was answered. 1: it has to be learned again. */
static int take_result(struct run *run, bool last, struct result **out)
{
	struct pg_layout *layout = layout_of(run, last);

	if (!layout)
		return 1;
	int r = check_expect(run, run->call->result);
	if (r == 0) {
		*out = pg_result_new(run->call->result, layout, run->action->expect);
		run->call->result = NULL;
	}
	pg_layout_drop(layout);
	return r;
}

/* Suspends. */
static int run_action(struct run *run, struct result **out)
{
	int r = 1;

	for (int tries = 0; r == 1; tries++) {
		r = pg_statement_learn(run->client, run->statement, &run->limit, run->error);
		if (r < 0)
			return r;
		run->generation = run->statement->generation;
		run->call = pg_call_new(run->client, run->statement);
		r = attempt(run, tries > 0);
		if (r == 0)
			r = take_result(run, tries > 0, out);
		pg_call_leave(run->call);
	}
	return r;
}

static int run(struct client *client, const struct action *action, const struct value *args,
	       const struct run_options *options, struct result **out, struct error *e)
{
	struct pg_client *c = (struct pg_client *)client;
	const struct pg_action *a = (const struct pg_action *)action;
	struct run run = {
		.client = c,
		.action = a,
		.args = args,
		.limit = {.timeout_us = options->timeout_us, .by = DEADLINE_NEVER},
		.error = e,
		.place = {.source = c->source->config->name, .step = a->step, .read_only = a->read_only},
	};

	/* Nothing is sent for a task that is over already. */
	int r = task_check();
	if (r < 0)
		return error_set(e, r, r == -ETIMEDOUT ? 504 : 503, NULL, "step %s, source %s: not begun", a->step,
				 c->source->config->name);
	c->callers++;
	run.statement = pg_statement_of(c, a);
	r = run_action(&run, out);
	c->callers--;
	return r;
}

static int check(struct client *client, const struct action *const *actions, size_t count, int64_t patience_us,
		 struct diagnostics *d, struct error *e)
{
	struct pg_client *c = (struct pg_client *)client;

	c->callers++;
	int r = pg_check(c, (const struct pg_action *const *)actions, count, patience_us, d, e);
	c->callers--;
	return r;
}

const struct driver postgres_driver = {
	.kind = "postgres",
	.source_check = source_check,
	.source_new = source_new,
	.source_free = source_free,
	.action_new = action_new,
	.client_open = client_open,
	.client_close = client_close,
	.client_ready = client_ready,
	.client_idle = client_idle,
	.run = run,
	.check = check,
};
