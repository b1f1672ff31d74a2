/* The hub: what is wanted is compared with what the server was told, one command at a time. */
#include "drivers/postgres/calls/listen.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "drivers/postgres/calls/query.h"
#include "drivers/postgres/calls/transaction.h"
#include "drivers/postgres/wire/connection.h"
#include "drivers/postgres/wire/pipeline.h"
#include "drivers/postgres/wire/pool.h"
#include "drivers/postgres/wire/sqlstate.h"

#define PROBE_US    30000000
#define PATIENCE_US 10000000 /* with an answer */
#define PROOF_US    2000000  /* with a notification of our own */

struct pg_hub {
	struct pg_client *client;
	struct list channels;
	struct pg_call *lease; /* NULL: there is no connection */
	struct deferred begin; /* the task, from outside any other: it inherits nothing */
	bool running;          /* the task */
	int64_t probe_us, patience_us;
	int64_t heard_us; /* when something last came */
	char proof[32];   /* a channel of our own; "": none */
	bool proven;      /* what was sent to it was heard */
};

struct pg_channel {
	struct list link;
	struct list listeners;
	bool listening; /* the server was told, and has said so */
	char name[PG_CHANNEL_LEN + 1];
};

/* In a listener's queue. */
struct heard {
	struct list link;
	struct pg_notification *notification;
};

/* What is wanted has changed. */
static void poke(struct pg_hub *hub)
{
	if (!hub->running)
		loop_defer(hub->client->loop, &hub->begin);
	else if (hub->lease && hub->lease->waiter)
		task_wake(hub->lease->waiter, 0);
}

/* --- listeners --- */

static void notification_drop(struct pg_notification *n)
{
	if (n && --n->users == 0)
		free(n);
}

static struct pg_notification *take_heard(struct pg_listener *l)
{
	struct heard *h = container_of(list_shift(&l->heard), struct heard, link);
	struct pg_notification *n = h->notification;

	l->count--;
	l->bytes -= n->len;
	free(h);
	return n;
}

static void wake(struct pg_listener *l)
{
	if (l->waiter)
		task_wake(l->waiter, 0);
}

/* It hears nothing more. */
static void fail(struct pg_listener *l, const struct error *e)
{
	l->failure = *e;
	l->channel = NULL;
	list_remove(&l->link);
	wake(l);
}

static void fail_channel(struct pg_channel *ch, const struct error *e)
{
	list_for_each_safe (link, &ch->listeners)
		fail(container_of(link, struct pg_listener, link), e);
}

/* Is there room for one more in l's queue? Else it fails. */
static bool has_room(struct pg_listener *l, size_t len)
{
	struct error e;

	if (l->count < PG_LISTENER_NOTIFICATIONS && l->bytes + len <= PG_LISTENER_BYTES)
		return true;
	error_say(&e, -ENOBUFS, REASON_NOTIFICATIONS_MISSED,
		  "source %s: the listener to %s is too slow: %u notifications wait for it, and more were missed",
		  l->client->source->base.name, l->channel->name, l->count);
	fail(l, &e);
	return false;
}

static struct pg_channel *find(const struct pg_hub *hub, const char *name)
{
	list_for_each (link, &hub->channels) {
		struct pg_channel *ch = container_of(link, struct pg_channel, link);
		if (strcmp(ch->name, name) == 0)
			return ch;
	}
	return NULL;
}

static void deliver(struct pg_hub *hub, const PGnotify *heard)
{
	struct pg_channel *ch = find(hub, heard->relname);
	size_t len = strlen(heard->extra);

	if (!ch && *hub->proof && strcmp(heard->relname, hub->proof) == 0) {
		hub->proven = true;
		poke(hub);
	}
	if (!ch || list_empty(&ch->listeners))
		return;
	struct pg_notification *n = mem_zalloc(sizeof(*n) + len + 1);
	*n = (struct pg_notification){.users = 1, .pid = heard->be_pid, .len = len};
	memcpy(n->payload, heard->extra, len + 1);
	list_for_each_safe (link, &ch->listeners) {
		struct pg_listener *l = container_of(link, struct pg_listener, link);
		if (!has_room(l, len))
			continue;
		struct heard *h = mem_zalloc(sizeof(*h));
		h->notification = n;
		n->users++;
		l->count++;
		l->bytes += len;
		list_append(&l->heard, &h->link);
		wake(l);
	}
	notification_drop(n);
	if (list_empty(&ch->listeners))
		poke(hub);
}

/* Something has come on the lease's connection. */
static void hub_heard(struct pg_call *lease, const PGnotify *n)
{
	struct pg_hub *hub = lease->client->hub;

	if (lease != hub->lease)
		return;
	if (n)
		deliver(hub, n);
	else
		hub->heard_us = loop_now_us(hub->client->loop);
}

/* --- the connection --- */

/* Suspends. Wait for what was put on the lease. *result takes what failed of it; it may be NULL. */
static int exchange(struct pg_hub *hub, PGresult **result, struct error *e)
{
	struct pg_call *lease = hub->lease;
	struct pg_limit limit = {.timeout_us = hub->patience_us, .by = deadline_in_us(hub->patience_us)};

	*result = NULL;
	int r = pg_call_wait(lease, &limit, e);
	if (r == 0 && lease->phase == PG_CALL_ENDED)
		return error_set(e, -EPIPE, 503, NULL, "%s",
				 lease->outcome == PG_BROKEN ? lease->error.what : "the server ended the connection");
	*result = lease->result;
	lease->result = NULL;
	return r;
}

/* Suspends. A command of which nothing but success is of interest. */
static int command(struct pg_hub *hub, const char *sql, struct error *e)
{
	struct pg_place place = {.source = hub->client->source->base.name, .call = "gd_pg_listen"};
	PGresult *failure;

	pg_pipeline_command(hub->lease->connection, hub->lease, sql);
	int r = exchange(hub, &failure, e);
	if (r == 0 && pg_failed(failure))
		r = pg_error_from_result(e, failure, &place);
	PQclear(failure);
	return r;
}

/* Suspends. Is it the server's own process that we are connected to? The cancel key of a pooler names another one. */
static int is_direct(struct pg_hub *hub, bool *direct, struct error *e)
{
	struct pg_connection *conn = hub->lease->connection;
	PGresult *rows;

	pg_pipeline_query(conn, hub->lease, "select pg_catalog.pg_backend_pid()", 0, NULL);
	int r = exchange(hub, &rows, e);
	*direct = r == 0 && PQntuples(rows) == 1 && atoi(PQgetvalue(rows, 0, 0)) == PQbackendPID(conn->pg);
	PQclear(rows);
	return r;
}

/* Suspends. Send something to our own channel over another connection, and wait until it is heard. */
static int hear_oneself(struct pg_hub *hub, struct error *e)
{
	static const char sql[] = "select pg_catalog.pg_notify($1, '')";
	const struct value channel = value_string(hub->proof, strlen(hub->proof));
	const struct pg_ask ask = {
		.call = "gd_pg_listen",
		.sql = sql,
		.len = sizeof(sql) - 1,
		.args = &channel,
		.count = 1,
		.expect = EXPECT_MANY,
		.writes = true,
		.timeout_us = PROOF_US,
	};
	struct pg_answer answer;
	struct pg_call *lease = hub->lease;
	PGresult *failure;

	int r = pg_query(hub->client, &ask, &answer, e);
	result_free(answer.result);
	if (r < 0)
		return r;
	deadline_t by = deadline_in_us(PROOF_US);
	while (r == 0 && !hub->proven && pg_call_is_placed(lease))
		r = pg_call_suspend(lease, "a notification of its own from PostgreSQL", by);
	if (lease->phase == PG_CALL_ENDED)
		return exchange(hub, &failure, e);
	if (!hub->proven)
		return error_set(e, -EOPNOTSUPP, 500, NULL,
				 "gd_pg_listen, source %s: a pooler that does not keep sessions (pgbouncer in "
				 "transaction mode?) stands before the server, and no notification comes through it: "
				 "listen on a source that connects to the server itself",
				 hub->client->source->base.name);
	return 0;
}

/* Suspends. Through a pooler LISTEN may be taken without anything being heard, ever: that is found out. */
static int prove(struct pg_hub *hub, struct error *e)
{
	char sql[64];
	bool direct;

	int r = is_direct(hub, &direct, e);
	if (r < 0 || direct)
		return r;
	hub->proven = false;
	snprintf(hub->proof, sizeof(hub->proof), "gatherd_%08x%08x", arc4random(), arc4random());
	snprintf(sql, sizeof(sql), "listen %s", hub->proof);
	r = command(hub, sql, e);
	if (r == 0)
		r = hear_oneself(hub, e);
	snprintf(sql, sizeof(sql), "unlisten %s", hub->proof);
	*hub->proof = '\0';
	return r == 0 ? command(hub, sql, e) : r;
}

/* Suspends. Tell the server that there is somebody to hear the channel, or nobody any more. */
static int change(struct pg_hub *hub, struct pg_channel *ch, struct error *e)
{
	struct pg_place place = {.source = hub->client->source->base.name, .call = "gd_pg_listen"};
	bool listen = !ch->listening;
	PGresult *failure;
	struct buf sql = BUF_INIT;

	buf_str(&sql, listen ? "listen \"" : "unlisten \"");
	for (const char *p = ch->name; *p; p++) {
		if (*p == '"')
			buf_char(&sql, '"');
		buf_char(&sql, *p);
	}
	buf_char(&sql, '"');
	ch->listening = false;
	pg_pipeline_command(hub->lease->connection, hub->lease, buf_cstr(&sql));
	buf_done(&sql);
	int r = exchange(hub, &failure, e);
	if (r < 0 || !pg_failed(failure)) {
		PQclear(failure);
		ch->listening = r == 0 && listen;
		return r;
	}
	r = pg_error_from_result(e, failure, &place);
	PQclear(failure);
	if (!listen)
		return r;
	fail_channel(ch, e);
	return 0;
}

/* Suspends until something is wanted, the connection has broken, or it is time for a sign of life. */
static int rest(struct pg_hub *hub, struct error *e)
{
	struct pg_call *lease = hub->lease;
	PGresult *failure;

	int r = pg_call_suspend(lease, "notifications from PostgreSQL", (deadline_t){hub->heard_us + hub->probe_us});
	if (lease->phase == PG_CALL_ENDED)
		return exchange(hub, &failure, e);
	if (r != -ETIMEDOUT || loop_now_us(hub->client->loop) - hub->heard_us < hub->probe_us)
		return 0;
	pg_pipeline_command(lease->connection, lease, "select 1");
	r = exchange(hub, &failure, e);
	PQclear(failure);
	return r;
}

/* A channel of which the server does not know what is wanted, if there is one. */
static struct pg_channel *next_change(struct pg_hub *hub)
{
	list_for_each_safe (link, &hub->channels) {
		struct pg_channel *ch = container_of(link, struct pg_channel, link);
		bool wanted = !list_empty(&ch->listeners);
		if (wanted != ch->listening)
			return ch;
		if (!wanted) {
			list_remove(&ch->link);
			free(ch);
		}
	}
	return NULL;
}

static void tell_listeners(const struct pg_channel *ch)
{
	list_for_each (link, &ch->listeners)
		wake(container_of(link, struct pg_listener, link));
}

/* Suspends until nobody listens. */
static int attend(struct pg_hub *hub, struct error *e)
{
	hub->heard_us = loop_now_us(hub->client->loop);
	int r = prove(hub, e);
	while (r == 0) {
		struct pg_channel *ch = next_change(hub);
		if (!ch && list_empty(&hub->channels))
			break;
		r = ch ? change(hub, ch, e) : rest(hub, e);
		if (ch && ch->listening)
			tell_listeners(ch);
	}
	return r;
}

/* A connection of which we don't know what it listens to goes to nobody else. */
static void leave(struct pg_hub *hub, int r)
{
	struct pg_call *lease = hub->lease;
	struct pg_connection *conn = pg_call_is_placed(lease) ? lease->connection : NULL;

	if (conn && r < 0) {
		conn->broken = true;
		loop_defer(hub->client->loop, &conn->flush);
	}
	hub->lease = NULL;
	pg_call_leave(lease);
}

/* Suspends. On a connection, until it breaks or nobody listens. */
static int serve(struct pg_hub *hub, struct error *e)
{
	struct pg_limit limit = {.by = DEADLINE_NEVER};
	struct pg_call *lease = pg_call_new(hub->client, NULL);

	lease->writes = true; /* standbys take no LISTEN */
	lease->heard = hub_heard;
	hub->lease = lease;
	int r = pg_pool_submit(lease, e);
	if (r == 0)
		r = pg_call_wait(lease, &limit, e);
	if (r == 0 && lease->phase == PG_CALL_ENDED) {
		*e = lease->error;
		r = e->errnum;
	}
	if (r == 0)
		r = attend(hub, e);
	leave(hub, r);
	return r;
}

/* Those who heard something have missed something; the others never began. */
static void fail_all(struct pg_hub *hub, const struct error *e)
{
	struct error missed;

	error_say(&missed, -EPIPE, REASON_NOTIFICATIONS_DOUBTFUL, "source %s: notifications may have been missed: %s",
		  hub->client->source->base.name, e->what);
	list_for_each_safe (link, &hub->channels) {
		struct pg_channel *ch = container_of(link, struct pg_channel, link);
		fail_channel(ch, ch->listening ? &missed : e);
		list_remove(&ch->link);
		free(ch);
	}
}

static int listen_task(void *arg)
{
	struct pg_hub *hub = arg;
	struct error e = ERROR_INIT;
	struct shield shield;

	pg_shield_until(&shield, DEADLINE_NEVER);
	while (!list_empty(&hub->channels)) {
		if (serve(hub, &e) < 0)
			fail_all(hub, &e);
	}
	task_unshield(&shield);
	hub->running = false;
	hub->client->callers--;
	return 0; /* the listeners have been told */
}

static void begin(struct deferred *d)
{
	static const struct task_options options = {.name = "postgres listen", .detached = true};
	struct pg_hub *hub = container_of(d, struct pg_hub, begin);
	struct error e;

	if (hub->running || list_empty(&hub->channels))
		return;
	if (task_spawn(NULL, listen_task, hub, &options) < 0) {
		error_set(&e, -EAGAIN, 503, NULL, "source %s: no task is to be had", hub->client->source->base.name);
		fail_all(hub, &e);
		return;
	}
	hub->running = true;
	hub->client->callers++;
}

static struct pg_hub *hub_of(struct pg_client *c)
{
	if (!c->hub) {
		c->hub = mem_zalloc(sizeof(*c->hub));
		c->hub->client = c;
		c->hub->probe_us = PROBE_US;
		c->hub->patience_us = PATIENCE_US;
		list_init(&c->hub->channels);
		deferred_init(&c->hub->begin, begin);
	}
	return c->hub;
}

void pg_listen_probe(struct pg_client *c, int64_t us, int64_t patience_us)
{
	hub_of(c)->probe_us = us;
	hub_of(c)->patience_us = patience_us;
}

void pg_listen_done(struct pg_client *c)
{
	if (!c->hub)
		return;
	deferred_cancel(&c->hub->begin);
	free(c->hub);
	c->hub = NULL;
}

/* --- the life of a listener --- */

static int check(const struct pg_client *c, const char *channel, const struct pg_place *place, struct error *e)
{
	size_t len = channel ? strlen(channel) : 0;

	if (len == 0 || len > PG_CHANNEL_LEN || !utf8_valid(channel, len))
		return pg_error_at(e, -EINVAL, 500, NULL, place, "the name of a channel has 1 to 63 bytes of UTF-8");
	if (c->base.config->pool.size <= c->source->workers)
		return pg_error_at(e, -EINVAL, 500, NULL, place,
				   "one connection a worker listens: pool.size must be above the number of workers");
	if (c->closing)
		return pg_error_at(e, -ECONNREFUSED, 503, reason_text(REASON_STOPPING), place, "closing");
	int r = task_check();
	return r < 0 ? pg_error_at(e, r, r == -ETIMEDOUT ? 504 : 503, NULL, place, "not begun") : 0;
}

/* Suspends until something has happened to l. */
static int await(struct pg_listener *l, const char *what, struct error *e)
{
	struct waiter w;

	waiter_init(&w, NULL, what);
	l->waiter = &w; // cppcheck-suppress autoVariables ; it leaves l before it goes
	int r = task_suspend(&w, DEADLINE_NEVER);
	l->waiter = NULL;
	if (r < 0)
		error_set(e, r, r == -ETIMEDOUT ? 504 : 503, NULL, "source %s: %s while waiting for %s",
			  l->client->source->base.name, r == -ETIMEDOUT ? "the deadline passed" : "cancelled", what);
	return r;
}

static void join(struct pg_listener *l, struct pg_hub *hub, const char *name)
{
	struct pg_channel *ch = find(hub, name);

	if (!ch) {
		ch = mem_zalloc(sizeof(*ch));
		list_init(&ch->listeners);
		memcpy(ch->name, name, strlen(name) + 1);
		list_append(&hub->channels, &ch->link);
		poke(hub);
	}
	l->channel = ch;
	list_append(&ch->listeners, &l->link);
}

int pg_listener_open(struct pg_listener *l, struct pg_client *c, const char *channel, const char *call, struct error *e)
{
	struct pg_place place = {.source = c->source->base.name, .call = call};

	*l = (struct pg_listener){0};
	list_init(&l->link);
	list_init(&l->heard);
	int r = check(c, channel, &place, e);
	if (r < 0)
		return r;
	l->client = c;
	c->callers++;
	join(l, hub_of(c), channel);
	while (r == 0 && l->channel && !l->channel->listening)
		r = await(l, "LISTEN on PostgreSQL", e);
	if (r == 0 && l->failure.errnum < 0) {
		*e = l->failure;
		r = e->errnum;
	}
	if (r < 0) {
		pg_error_called(e, &place);
		pg_listener_close(l);
	}
	return r;
}

int pg_listener_next(struct pg_listener *l, const struct pg_notification **out, struct error *e)
{
	int r = task_check();

	if (!l->client)
		return error_set(e, -EINVAL, 500, NULL, "the listener is closed");
	notification_drop(l->current);
	l->current = NULL;
	if (r < 0)
		return error_set(e, r, r == -ETIMEDOUT ? 504 : 503, NULL, "source %s: not begun to wait",
				 l->client->source->base.name);
	while (list_empty(&l->heard)) {
		if (l->failure.errnum < 0) {
			*e = l->failure;
			return e->errnum;
		}
		r = await(l, "a notification from PostgreSQL", e);
		if (r < 0)
			return r;
	}
	*out = l->current = take_heard(l);
	return 1;
}

void pg_listener_close(struct pg_listener *l)
{
	struct pg_channel *ch = l->channel;

	if (!l->client)
		return;
	list_remove(&l->link);
	l->channel = NULL;
	while (!list_empty(&l->heard))
		notification_drop(take_heard(l));
	notification_drop(l->current);
	l->current = NULL;
	if (ch && list_empty(&ch->listeners))
		poke(l->client->hub);
	l->client->callers--;
	l->client = NULL;
}
