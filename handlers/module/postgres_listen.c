/* NOTIFY and LISTEN for handlers; drivers/postgres/calls/listen.c does the rest. */
#include <errno.h>
#include <string.h>

#include "drivers/postgres/calls/listen.h"
#include "drivers/postgres/calls/query.h"
#include "drivers/postgres/driver.h"
#include "handlers/module/internal.h"

/* --- listening --- */

struct listening {
	struct gd_cursor base;
	struct pg_listener listener;
	const char *channel;
};

static struct value text_of(const char *text)
{
	return value_string(text, strlen(text));
}

static int next_notification(struct gd_cursor *c, struct value *out, struct error *e)
{
	struct listening *l = container_of(c, struct listening, base);
	const struct pg_notification *n;

	int r = pg_listener_next(&l->listener, &n, e);
	if (r < 0)
		return r;
	struct value_member *members = arena_array(&c->row, 3, sizeof(*members));
	members[0] = (struct value_member){"channel", sizeof("channel") - 1, text_of(l->channel)};
	members[1] = (struct value_member){"payload", sizeof("payload") - 1, value_string(n->payload, n->len)};
	members[2] = (struct value_member){"pid", sizeof("pid") - 1, value_int(n->pid)};
	*out = (struct value){.kind = VALUE_DOCUMENT, .count = 3, .members = members};
	return 1;
}

static void close_listener(struct gd_cursor *c)
{
	pg_listener_close(&container_of(c, struct listening, base)->listener);
}

static const struct cursor_ops listening_ops = {.next = next_notification, .close = close_listener, .resumes = true};

gd_cursor *gd_pg_listen(const char *source, const char *channel)
{
	gd_value *failed;
	struct call *c = call_new(sizeof(*c), __func__, source, &postgres_driver, &failed);

	if (!c)
		return failed && failed->scope ? cursor_failed(failed->scope, failed->error) : NULL;
	struct listening *l = arena_zalloc(c->scope->arena, sizeof(*l));
	if (pg_listener_open(&l->listener, pg_client_of(c->client), channel, __func__, &c->error) < 0)
		return cursor_failed(c->scope, &c->error);
	l->channel = arena_strdup(c->scope->arena, channel);
	cursor_open(&l->base, c->scope, &listening_ops);
	return &l->base;
}

/* --- notifying --- */

struct notify_call {
	struct call call;
	struct value args[2];
	bool taken;
};

/* Brings null. */
static int run_notify(struct call *call)
{
	static const char sql[] = "select pg_catalog.pg_notify($1, $2)";
	struct notify_call *c = container_of(call, struct notify_call, call);
	const struct pg_ask ask = {
		.call = "gd_pg_notify",
		.sql = sql,
		.len = sizeof(sql) - 1,
		.args = c->args,
		.count = 2,
		.expect = EXPECT_MANY,
		.writes = true,
		.timeout_us = call->options.timeout_us,
	};
	struct pg_answer answer;

	if (!c->taken)
		return call->error.errnum;
	int r = pg_query(pg_client_of(call->client), &ask, &answer, &call->error);
	result_free(answer.result);
	return r;
}

static bool take(struct notify_call *c, const char *channel, const gd_value *payload)
{
	const struct value *v = payload ? value_use(payload, "the payload", &c->call.error) : NULL;

	if (payload && !v)
		return false;
	c->args[0] = text_of(arena_strdup(c->call.scope->arena, channel ? channel : ""));
	c->args[1] = v && v->kind != VALUE_NULL ? *v : text_of("");
	return true;
}

gd_value *gd_pg_notify(gd_gather *g, const char *source, const char *channel, gd_value *payload)
{
	gd_value *failed;
	struct notify_call *c = call_new(sizeof(*c), __func__, source, &postgres_driver, &failed);

	if (!c)
		return failed;
	c->taken = take(c, channel, payload);
	return call_start(&c->call, g, "gd_pg_notify", run_notify);
}
