/* PostgreSQL behind the interface of drivers: sources and clients. */
#include "drivers/postgres/driver.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "drivers/identity.h"
#include "drivers/postgres/calls/listen.h"
#include "drivers/postgres/calls/query.h"
#include "drivers/postgres/keys.h"
#include "drivers/postgres/statements/action.h"
#include "drivers/postgres/statements/cache.h"
#include "drivers/postgres/statements/check.h"
#include "drivers/postgres/statements/steps.h"
#include "drivers/postgres/wire/call.h"
#include "drivers/postgres/wire/cancel.h"
#include "drivers/postgres/wire/conninfo.h"
#include "drivers/postgres/wire/pool.h"
#include "drivers/postgres/wire/statement.h"

#define PATIENCE_US 2000000 /* with statements that were cancelled by closing */

static struct pg_source *source_of(struct source *s)
{
	return container_of(s, struct pg_source, base);
}

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
		   "pg_catalog.set_config('DateStyle', 'ISO', true), "
		   "pg_catalog.set_config('standard_conforming_strings', 'on', true)",
		   (long long)(longest_ms > INT32_MAX ? INT32_MAX : longest_ms));
	if (!options || !strcasestr(options, "intervalstyle"))
		buf_lit(&sql, ", pg_catalog.set_config('IntervalStyle', 'postgres', true)");
	if (!options || !strcasestr(options, "timezone"))
		buf_lit(&sql, ", pg_catalog.set_config('TimeZone', 'UTC', true)");
	if (!options || !strcasestr(options, "extra_float_digits"))
		buf_lit(&sql, ", pg_catalog.set_config('extra_float_digits', '1', true)");
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
	s->base = (struct source){&postgres_driver, mem_strdup(config->name), config};
	s->prepare = ((const struct pg_source_keys *)config->own)->prepare;
	s->executor = executor;
	s->conninfo = info;
	pg_hosts_init(&s->hosts, info->host_count);
	health_init(&s->health, s->base.name);
	s->tally = tally_take(&source_tally, config->name);
	s->workers = workers;
	atomic_init(&s->clients, 0);
	budget_init(&s->budget, config->pool.size, config->pool.max_waiting);
	*out = &s->base;
	return 0;
}

static void source_identity(const struct config_source *config, struct buf *out)
{
	static const char *const files[] = {"sslrootcert", "sslcert", "sslkey", "sslcrl", "passfile"};
	struct pg_conninfo *info = pg_conninfo_new(config, NULL);

	buf_char(out, ((const struct pg_source_keys *)config->own)->prepare ? 'p' : '-');
	for (size_t i = 0; info && i < ARRAY_SIZE(files); i++)
		identity_file(out, pg_conninfo_get(info, files[i]));
	pg_conninfo_drop(info);
}

static void source_update(struct source *source, const struct config_source *config)
{
	budget_resize(&source_of(source)->budget, config->pool.size, config->pool.max_waiting);
}

static void source_free(struct source *source)
{
	if (!source)
		return;
	struct pg_source *s = source_of(source);
	budget_done(&s->budget);
	pg_hosts_done(&s->hosts);
	health_done(&s->health);
	tally_drop(s->tally);
	pg_conninfo_drop(s->conninfo);
	free(s->base.name);
	free(s);
}

static bool source_ready(struct source *source)
{
	return health_is_up(&source_of(source)->health);
}

static void source_state(struct source *source, struct source_state *out)
{
	struct pg_source *s = source_of(source);

	*out = (struct source_state){
		.roles = true, .pooled = true, .waiting = atomic_load(&s->budget.waiting), .busy = -1};
	health_look(&s->health, false, out);
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
	c->base = (struct client){&postgres_driver, source->config};
	c->source = source_of(source);
	c->longest_us = source->config->longest_us;
	c->conninfo = pg_conninfo_keep(c->source->conninfo);
	c->settings = transaction_settings(source->config, c->conninfo);
	c->loop = loop_current();
	c->number = atomic_fetch_add_explicit(&c->source->clients, 1, memory_order_relaxed);
	assert(c->number < c->source->workers);
	c->next_index = c->number;
	c->call_number = c->number;
	c->result_max = RESULT_MAX_BYTES;
	list_init(&c->free_calls);
	pg_pool_init(c);
	*out = &c->base;
	return 0;
}

/* Sessions end a statement that takes longer than any may. If longer ones may come, they need other sessions: those
 * that there are go when they are idle. */
static void allow_longer(struct pg_client *c, const struct config_source *config)
{
	struct pg_conninfo *info = pg_conninfo_new(config, NULL);

	if (!info)
		return;
	pg_conninfo_drop(c->conninfo);
	c->conninfo = info;
	c->longest_us = config->longest_us;
	free(c->settings);
	c->settings = transaction_settings(config, info);
}

static void client_update(struct client *client, const struct config_source *config)
{
	struct pg_client *c = pg_client_of(client);

	if (config->longest_us > c->longest_us)
		allow_longer(c, config);
	pg_pool_tend(c);
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
	struct error closing;
	struct shield shield;

	if (!client)
		return;
	struct pg_client *c = pg_client_of(client);
	task_shield(&shield, DEADLINE_NEVER);
	c->closing = true;
	error_say(&closing, -ECONNREFUSED, REASON_STOPPING, "source %s: closing", c->source->base.name);
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
	pg_listen_done(c);
	pg_texts_done(c);
	pg_statements_done(c);
	free(c->free_indexes);
	pg_types_done(&c->types);
	free_calls(c);
	pg_conninfo_drop(c->conninfo);
	free(c->settings);
	free(c);
}

/* The statements of actions: those of a transaction are several. The caller frees them. */
static const struct pg_action **statements_of(const struct action *const *actions, size_t count, size_t *out)
{
	const struct pg_action *const *all = (const struct pg_action *const *)actions;
	size_t room = count;

	for (size_t i = 0; i < count; i++)
		room += all[i]->steps ? all[i]->steps->count : 0;
	const struct pg_action **statements = mem_array(room + 1, sizeof(*statements));
	*out = 0;
	for (size_t i = 0; i < count; i++) {
		const struct pg_plan *steps = all[i]->steps;
		if (!steps)
			statements[(*out)++] = all[i];
		for (unsigned k = 0; steps && k < steps->count; k++)
			statements[(*out)++] = steps->inner[k].action;
	}
	return statements;
}

static void client_adopt(struct client *client, const struct action *const *actions, size_t count)
{
	size_t statement_count;
	const struct pg_action **statements = statements_of(actions, count, &statement_count);

	pg_statements_adopt(pg_client_of(client), statements, statement_count);
	free(statements);
}

static void client_forget(struct client *client, const struct action *const *actions, size_t count)
{
	size_t statement_count;
	const struct pg_action **statements = statements_of(actions, count, &statement_count);

	pg_statements_forget(pg_client_of(client), statements, statement_count);
	free(statements);
}

static bool client_idle(const struct client *client)
{
	const struct pg_client *c = container_of(client, const struct pg_client, base);
	return c->callers == 0 && c->cancels == 0 && c->count[PG_BUSY] + c->count[PG_SHARED] == 0 &&
	       c->count[PG_QUARANTINED] == 0 && pg_client_waiting(c) == 0;
}

static int run(struct client *client, const struct action *action, const struct value *args,
	       const struct run_options *options, struct result **out, struct error *e)
{
	return pg_run_action(pg_client_of(client), (const struct pg_action *)action, args, options, out, e);
}

static int submit(struct client *client, const struct action *action, const struct value *args,
		  const struct run_options *options, struct operation **out, struct error *e)
{
	return pg_submit_action(pg_client_of(client), (const struct pg_action *)action, args, options, out, e);
}

static int check(struct client *client, const struct action *const *actions, size_t count, int64_t patience_us,
		 struct diagnostics *d, struct error *e)
{
	struct pg_client *c = pg_client_of(client);

	size_t statement_count;
	const struct pg_action **statements = statements_of(actions, count, &statement_count);

	c->callers++;
	int r = pg_check(c, statements, statement_count, patience_us, d, e);
	c->callers--;
	free(statements);
	return r;
}

const struct driver postgres_driver = {
	.kind = &postgres_kind,
	.source_check = source_check,
	.source_new = source_new,
	.source_identity = source_identity,
	.source_free = source_free,
	.source_update = source_update,
	.source_ready = source_ready,
	.action_new = action_new,
	.client_open = client_open,
	.client_update = client_update,
	.client_adopt = client_adopt,
	.client_forget = client_forget,
	.client_close = client_close,
	.client_idle = client_idle,
	.source_state = source_state,
	.run = run,
	.submit = submit,
	.collect = pg_collect_action,
	.finish = pg_finish_action,
	.check = check,
	.must_be_there = true,
};
