/* Connections: states, readiness, the end of a turn. */
#include "drivers/postgres/wire/connection.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/backoff.h"
#include "base/mem.h"
#include "base/states.h"
#include "drivers/postgres/wire/cancel.h"
#include "drivers/postgres/wire/pipeline.h"
#include "drivers/postgres/wire/pool.h"
#include "drivers/postgres/wire/received.h"
#include "drivers/postgres/wire/sqlstate.h"
#include "drivers/postgres/wire/statement.h"

/* Statements that were prepared again leave their old selves on the server; beyond so many the connection is closed
 * when it is idle. */
#define MAX_STALE_STATEMENTS 64
/* The same for what other workers have prepared on it: each prepares its own, and the server keeps them all. */
#define MAX_STATEMENTS_ELSEWHERE 512

static const struct states states = {
	.of = "postgres connection",
	.names =
		{
			[PG_CONNECTING] = "connecting",
			[PG_IDLE] = "idle",
			[PG_BUSY] = "busy",
			[PG_SHARED] = "shared",
			[PG_QUARANTINED] = "quarantined",
			[PG_CLOSED] = "closed",
		},
	.allowed =
		{
			[PG_CONNECTING] = BIT(PG_IDLE) | BIT(PG_CLOSED),
			[PG_IDLE] = BIT(PG_BUSY) | BIT(PG_SHARED) | BIT(PG_CLOSED),
			[PG_BUSY] = BIT(PG_IDLE) | BIT(PG_QUARANTINED) | BIT(PG_CLOSED),
			[PG_SHARED] = BIT(PG_IDLE) | BIT(PG_QUARANTINED) | BIT(PG_CLOSED),
			[PG_QUARANTINED] = BIT(PG_IDLE) | BIT(PG_BUSY) | BIT(PG_CLOSED),
		},
};

/* Where a connection is counted; below 0: nowhere. */
static const int pool_states[PG_STATES] = {
	[PG_CONNECTING] = POOL_CONNECTING,   [PG_IDLE] = POOL_IDLE, [PG_BUSY] = POOL_BUSY, [PG_SHARED] = POOL_BUSY,
	[PG_QUARANTINED] = POOL_QUARANTINED, [PG_CLOSED] = -1,
};

/* There is one more connection in that state, or one less. */
static void count_state(struct pg_client *c, enum pg_state state, int n)
{
	c->count[state] += (unsigned)n;
	if (pool_states[state] >= 0)
		counter_add(&pg_numbers(c)->connections[pool_states[state]], n);
}

static void ready(struct watch *w, uint32_t events);
static void end_of_turn(struct deferred *d);

/* What the server said that it is when we came. */
static void count_role(const struct pg_connection *conn, int n)
{
	counter_add(&pg_numbers(conn->client)->roles[conn->role], n);
}

void pg_connection_move(struct pg_connection *conn, enum pg_state state)
{
	struct pg_client *c = conn->client;

	if (conn->draining) {
		conn->draining = false;
		budget_drained(&c->source->budget);
	}
	list_remove(&conn->link);
	count_state(c, conn->state, -1);
	states_move(&states, &conn->state, state,
		    (struct states_subject){.source = c->source->base.name, .which = conn->number});
	count_state(c, state, 1);
	/* The one that was used last is used next: the others grow old and are closed. */
	if (state == PG_IDLE)
		list_prepend(&c->connections[state], &conn->link);
	else
		list_append(&c->connections[state], &conn->link);
}

struct pg_connection *pg_connection_new(struct pg_client *c)
{
	struct pg_connection *conn = mem_zalloc(sizeof(*conn));

	conn->client = c;
	conn->number = states_number();
	conn->state = PG_CONNECTING;
	conn->began_us = loop_now_us(c->loop);
	conn->longest_us = c->longest_us;
	watch_init(&conn->watch, ready);
	deferred_init(&conn->flush, end_of_turn);
	timer_init(&conn->cancel_timer, pg_cancel_fire);
	list_append(&c->connections[PG_CONNECTING], &conn->link);
	count_state(c, PG_CONNECTING, 1);
	return conn;
}

/* libpq would print notices, which are nobody's business, but for one: the server's last words on an idle connection.
 */
static void take_notice(void *arg, const PGresult *result)
{
	struct pg_connection *conn = arg;
	conn->ending |= pg_sqlstate_ends_connection(result);
	if (pg_sqlstate_ends_server(result))
		pg_pool_suspect(conn, false);
	conn->said_us = 0;
	conn->unfinished = 0;
}

/* Connections that were opened together shall not be closed together. */
static int64_t lifetime_us(const struct pg_client *c)
{
	return backoff_spread_us(c->base.config->pool.lifetime_us);
}

void pg_connection_established(struct pg_connection *conn, PGconn *pg)
{
	struct pg_client *c = conn->client;

	conn->pg = pg;
	health_connected(&c->source->health);
	PQsetNoticeReceiver(pg, take_notice, conn);
	conn->expires_us = loop_now_us(c->loop) + lifetime_us(c);
	conn->idle_since_us = loop_now_us(c->loop);
	budget_works(&c->source->budget, true);
	const char *standby = PQparameterStatus(pg, "in_hot_standby");
	conn->role = standby && strcmp(standby, "on") == 0 ? ROLE_STANDBY : ROLE_PRIMARY;
	count_role(conn, 1);
	pg_connection_move(conn, PG_IDLE);
	bool piped = PQsetnonblocking(pg, 1) == 0 && PQenterPipelineMode(pg) == 1;
	if (!piped || watch_set(&conn->watch, loop_poller(c->loop), PQsocket(pg), EPOLLIN) < 0)
		pg_connection_close(conn, "cannot use the connection");
}

void pg_connection_detach(struct pg_connection *conn)
{
	struct pg_client *c = conn->client;

	assert(conn->state == PG_IDLE && conn->entries == 0 && !conn->cancelling && !conn->lease);
	watch_clear(&conn->watch);
	timer_stop(&conn->cancel_timer, loop_timers(c->loop));
	deferred_cancel(&conn->flush);
	list_remove(&conn->link);
	count_state(c, PG_IDLE, -1);
	count_role(conn, -1);
	conn->client = NULL;
}

static unsigned prepared_elsewhere(const struct pg_connection *conn)
{
	unsigned count = 0;

	for (unsigned i = 0; i < conn->prepared_size; i++)
		count += conn->prepared[i] && i % conn->client->source->workers != conn->client->number;
	return count;
}

void pg_connection_attach(struct pg_connection *conn, struct pg_client *c)
{
	conn->client = c;
	conn->prepared_elsewhere = prepared_elsewhere(conn);
	list_prepend(&c->connections[PG_IDLE], &conn->link);
	count_state(c, PG_IDLE, 1);
	count_role(conn, 1);
	if (watch_set(&conn->watch, loop_poller(c->loop), PQsocket(conn->pg), EPOLLIN) < 0)
		pg_connection_close(conn, "cannot use the connection");
	else if (c->closing)
		pg_connection_close(conn, "closing");
}

/* Each call that is on conn, once: its entries are dropped. */
static void break_calls(struct pg_connection *conn, const char *why)
{
	struct pg_call *lease = conn->lease;

	while (conn->entries > 0) {
		struct pg_call *call = pg_connection_head(conn)->call;
		conn->first++;
		conn->entries--;
		if (call && --call->pending == 0 && call != lease)
			pg_call_broken(call, why);
	}
	conn->lease = NULL;
	if (lease)
		pg_call_broken(lease, why);
}

void pg_connection_close(struct pg_connection *conn, const char *why)
{
	struct pg_client *c = conn->client;
	char reason[256];

	if (conn->state == PG_CLOSED)
		return;
	if (conn->state != PG_CONNECTING) {
		budget_works(&c->source->budget, false);
		count_role(conn, -1);
	}
	/* It may point into what PQfinish frees. */
	snprintf(reason, sizeof(reason), "%s", why);
	reason[strcspn(reason, "\n")] = '\0';
	pg_connection_move(conn, PG_CLOSED);
	watch_clear(&conn->watch);
	timer_stop(&conn->cancel_timer, loop_timers(c->loop));
	deferred_cancel(&conn->flush);
	if (conn->pg)
		health_disconnected(&c->source->health);
	pg_leaving_drop(conn);
	PQfinish(conn->pg);
	conn->pg = NULL;
	budget_give(&c->member);
	break_calls(conn, reason);
	pg_pool_lost(c, reason);
}

void pg_connections_bury(struct pg_client *c)
{
	list_for_each_safe (link, &c->connections[PG_CLOSED]) {
		struct pg_connection *conn = container_of(link, struct pg_connection, link);
		if (conn->cancelling)
			continue;
		list_remove(&conn->link);
		c->count[PG_CLOSED]--;
		free(conn->ring);
		free(conn->prepared);
		free(conn);
	}
}

/* A lease goes on. */
static void leave_quarantine(struct pg_connection *conn)
{
	timer_stop(&conn->cancel_timer, loop_timers(conn->client->loop));
	pg_connection_move(conn, PG_BUSY);
	if (conn->lease->waiter)
		task_wake(conn->lease->waiter, 0);
}

void pg_connection_settle(struct pg_connection *conn)
{
	struct pg_client *c = conn->client;
	int64_t now = loop_now_us(c->loop);

	if (conn->state <= PG_IDLE || conn->state == PG_CLOSED || conn->entries > 0 || conn->cancelling)
		return;
	if (conn->lease) {
		if (conn->state == PG_QUARANTINED)
			leave_quarantine(conn);
		return;
	}
	timer_stop(&conn->cancel_timer, loop_timers(c->loop));
	if (pg_leaving_tidy(conn))
		return;
	conn->idle_since_us = now;
	pg_connection_move(conn, PG_IDLE);
	if (conn->retired || conn->ending || now >= conn->expires_us || conn->prepared_stale > MAX_STALE_STATEMENTS ||
	    conn->prepared_elsewhere > MAX_STATEMENTS_ELSEWHERE || pg_connection_is_suspect(conn))
		pg_connection_close(conn, "its time has come");
}

/* Data of a COPY out has come: no more is taken in before it was read. */
static void pause_copy(struct pg_connection *conn)
{
	conn->paused = true;
	loop_defer(conn->client->loop, &conn->flush);
	if (conn->lease->waiter)
		task_wake(conn->lease->waiter, 0);
}

/* What was sent in this turn has left, or there is room for more of a COPY in, or for more rows; the end may have been
 * read already. */
static void go_on(struct pg_connection *conn)
{
	const struct pg_entry *head = pg_connection_head(conn);

	if (!head || (head->role != PG_COPY && head->role != PG_FETCH) || conn->broken)
		return;
	if (!pg_pipeline_drain(conn))
		conn->broken = true;
	else if (conn->copying == PG_COPYING_IN && conn->lease && conn->lease->waiter &&
		 !(conn->watch.events & EPOLLOUT))
		task_wake(conn->lease->waiter, 0);
}

/* Is what has come for the result at the head more than one may have? */
static bool is_too_large(const struct pg_connection *conn)
{
	int64_t most = (int64_t)conn->client->result_max;
	return conn->unfinished > 0 && pg_received(PQsocket(conn->pg), false) - conn->received > most;
}

/* Take in what has come. It is counted from the first read on that finished no result: few results take a third. */
static bool take_in(struct pg_connection *conn)
{
	if (is_too_large(conn)) {
		pg_pipeline_overflow(conn);
		return false;
	}
	conn->unfinished++;
	bool alive = pg_pipeline_drain(conn);
	if (conn->entries == 0 || conn->copying || conn->paused)
		conn->unfinished = 0;
	if (alive && conn->unfinished == 1)
		conn->received = pg_received(PQsocket(conn->pg), true);
	return alive;
}

/* What is heard by a connection that does not listen is dropped. */
static void take_notifications(struct pg_connection *conn)
{
	struct pg_call *lease = conn->lease;
	bool listens = lease && lease->heard;
	PGnotify *n;

	if (listens)
		lease->heard(lease, NULL);
	while ((n = PQnotifies(conn->pg))) {
		if (listens)
			lease->heard(lease, n);
		PQfreemem(n);
	}
}

/* Answers came, there is room to send, or the server went away. */
static void ready(struct watch *w, uint32_t events)
{
	struct pg_connection *conn = container_of(w, struct pg_connection, watch);
	struct pg_client *c = conn->client;
	bool was_paused = conn->paused;
	int consumed = PQconsumeInput(conn->pg);
	if (conn->copying == PG_COPYING_IN && events & EPOLLIN && !conn->said_us)
		conn->said_us = loop_now_us(c->loop);
	/* What comes on an idle connection is read by PQisBusy. */
	bool idle = conn->entries == 0 && !PQisBusy(conn->pg) && conn->state == PG_IDLE;
	bool alive = take_in(conn);

	/* Not at once: who is to take the rows may be about to. */
	if (was_paused)
		loop_defer(c->loop, &conn->flush);
	take_notifications(conn);
	if (!consumed || !alive || (idle && conn->ending)) {
		pg_connection_close(conn, PQerrorMessage(conn->pg));
	} else {
		if (w->events & EPOLLOUT)
			loop_defer(c->loop, &conn->flush);
		if (conn->abandoned > 0)
			pg_cancel_consider(conn);
		if (conn->copying == PG_COPYING_OUT && conn->lease && !pg_call_is_unwanted(conn->lease))
			pause_copy(conn);
		pg_connection_settle(conn);
	}
	pg_pool_serve(c);
}

/* What was sent in this turn goes out; what broke in it is closed; a lease that ended gives the connection back. */
static void end_of_turn(struct deferred *d)
{
	struct pg_connection *conn = container_of(d, struct pg_connection, flush);
	struct pg_client *c = conn->client;

	pg_pipeline_flush(conn);
	go_on(conn);
	if (conn->broken)
		pg_connection_close(conn, PQerrorMessage(conn->pg));
	else
		pg_connection_settle(conn);
	pg_pool_serve(c);
}

uint32_t pg_connection_prepared_generation(const struct pg_connection *conn, const struct pg_statement *st)
{
	return st->index < conn->prepared_size ? conn->prepared[st->index] : 0;
}

bool pg_connection_has(const struct pg_connection *conn, const struct pg_statement *st)
{
	return pg_connection_prepared_generation(conn, st) == st->generation;
}

void pg_connection_prepared(struct pg_connection *conn, const struct pg_statement *st)
{
	if (st->index >= conn->prepared_size) {
		unsigned size = (st->index + 32) & ~31u;
		conn->prepared = mem_realloc_array(conn->prepared, size, sizeof(*conn->prepared));
		memset(conn->prepared + conn->prepared_size, 0, (size - conn->prepared_size) * sizeof(*conn->prepared));
		conn->prepared_size = size;
	}
	if (conn->prepared[st->index])
		conn->prepared_stale++;
	conn->prepared[st->index] = st->generation;
}

void pg_connection_unprepared(struct pg_connection *conn, unsigned index)
{
	if (index < conn->prepared_size)
		conn->prepared[index] = 0;
}
