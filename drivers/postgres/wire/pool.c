/* The pool of a worker: placing calls, opening and closing connections.
 *
 * A call takes an idle connection; else, where it is a short read, the least loaded shared one; else it waits. While
 * calls wait that need a connection alone, shared connections are drained for them one after another, but for one, so
 * that neither kind starves the other.
 *
 * Opening and closing is `tend`, at the end of a turn and on a timer: nobody who waits is needed to bring a source back
 * to life. Attempts back off with jitter while they fail. */
#include "drivers/postgres/wire/pool.h"

#include <errno.h>
#include <stdlib.h>

#include "drivers/postgres/calls/listen.h"
#include "drivers/postgres/wire/connect.h"
#include "drivers/postgres/wire/pipeline.h"
#include "drivers/postgres/wire/statement.h"

#define CONNECTING_AT_ONCE 4
#define BACKOFF_FIRST_US   20000
#define BACKOFF_LONGEST_US 5000000
#define PRESSURE_US        20000   /* a call without an idle connection is news for so long */
#define ASKING_US          1000000 /* … and so long we go on asking other workers for one */
#define TICK_SHORTEST_US   5000
#define TRIED_US           1000000 /* a connection as young as this shows that another one would lead to the same server */
#define TICK_LONGEST_US    1000000

static bool tending(const struct pg_client *c)
{
	return c->asking || c->count[PG_CONNECTING] > 0;
}

/* --- placing --- */

static struct pg_connection *first_of(struct pg_client *c, enum pg_state state)
{
	struct list *head = &c->connections[state];
	return list_empty(head) ? NULL : container_of(head->next, struct pg_connection, link);
}

static struct pg_connection *least_loaded(struct pg_client *c)
{
	struct pg_connection *best = NULL;

	list_for_each (link, &c->connections[PG_SHARED]) {
		struct pg_connection *conn = container_of(link, struct pg_connection, link);
		/* Behind one that was abandoned there may be a long wait. */
		bool closed = conn->draining || conn->retired || conn->ending || conn->broken || conn->abandoned > 0;
		if (closed || conn->calls >= PG_MAX_SHARING)
			continue;
		if (!best || conn->calls < best->calls)
			best = conn;
	}
	return best;
}

static void put_on(struct pg_connection *conn, struct pg_call *call)
{
	if (conn->state == PG_IDLE)
		pg_connection_move(conn, call->alone ? PG_BUSY : PG_SHARED);
	if (call->statement) {
		pg_pipeline_send(conn, call);
		if (call->waiter && call->placed_us < call->rewait_us)
			task_wake(call->waiter, 0);
		return;
	}
	conn->lease = call;
	conn->calls++;
	call->connection = conn;
	call->state = PG_CALL_PLACED;
	call->placed_us = loop_now_us(conn->client->loop);
	if (call->waiter)
		task_wake(call->waiter, 0);
}

/* All but one of the connections that work may be drained for calls that need one alone. */
static void drain_for_waiting(struct pg_client *c)
{
	unsigned live = pg_client_live(c);
	unsigned wanted = live > 1 ? live - 1 : 1;

	if (wanted > c->waiting_count[PG_QUEUE_ALONE])
		wanted = c->waiting_count[PG_QUEUE_ALONE];
	while (c->draining < wanted) {
		struct pg_connection *conn = least_loaded(c);
		if (!conn)
			break;
		conn->draining = true;
		c->draining++;
	}
}

static void enqueue(struct pg_call *call, enum pg_queue queue)
{
	struct pg_client *c = call->client;

	call->state = PG_CALL_WAITING;
	call->queue = (uint8_t)queue;
	call->sequence = call->rerun ? 0 : ++c->waiting_sequence;
	if (call->rerun)
		list_prepend(&c->waiting[queue], &call->link);
	else
		list_append(&c->waiting[queue], &call->link);
	c->waiting_count[queue]++;
}

void pg_pool_forget(struct pg_call *call)
{
	list_remove(&call->link);
	call->client->waiting_count[call->queue]--;
	if (call->counted)
		budget_wait_end(&call->client->source->budget);
	call->counted = false;
}

static struct pg_call *head_of(struct pg_client *c, enum pg_queue queue)
{
	struct list *head = &c->waiting[queue];
	return list_empty(head) ? NULL : container_of(head->next, struct pg_call, link);
}

/* Who has waited longest of those that may go on conn, which is idle. */
static struct pg_call *next_for(struct pg_client *c, const struct pg_connection *conn)
{
	struct pg_call *fresh = head_of(c, PG_QUEUE_FRESH);
	struct pg_call *alone = head_of(c, PG_QUEUE_ALONE);
	struct pg_call *sharing = head_of(c, PG_QUEUE_SHARING);

	if (fresh && conn->began_us >= fresh->broken_us)
		return fresh;
	return !sharing || (alone && alone->sequence < sharing->sequence) ? alone : sharing;
}

static bool serve_one(struct pg_client *c)
{
	struct pg_connection *conn = NULL;
	struct pg_call *call = NULL;

	list_for_each (link, &c->connections[PG_IDLE]) {
		conn = container_of(link, struct pg_connection, link);
		call = next_for(c, conn);
		if (call)
			break;
	}
	if (!call) {
		call = head_of(c, PG_QUEUE_SHARING);
		conn = call ? least_loaded(c) : NULL;
	}
	if (!call || !conn)
		return false;
	pg_pool_forget(call);
	put_on(conn, call);
	return true;
}

void pg_pool_serve(struct pg_client *c)
{
	while (pg_client_waiting(c) > 0 && serve_one(c))
		;
	if (c->waiting_count[PG_QUEUE_ALONE] > c->draining)
		drain_for_waiting(c);
}

void pg_pool_resubmit(struct pg_call *call, enum pg_queue queue)
{
	call->alone = true;
	call->rerun = true;
	call->broken_us = loop_now_us(call->client->loop);
	enqueue(call, queue);
	pg_pool_tend(call->client);
}

/* --- refusing --- */

static bool is_down(const struct pg_client *c)
{
	return c->down_since_us && c->failures > 0 &&
	       loop_now_us(c->loop) - c->down_since_us >= c->source->config->pool.acquire_timeout_us;
}

void pg_pool_refuse(struct pg_client *c, const struct error *e)
{
	for (enum pg_queue queue = 0; queue < PG_QUEUES; queue++) {
		while (c->waiting_count[queue] > 0) {
			struct pg_call *call = head_of(c, queue);
			pg_pool_forget(call);
			call->error = *e;
			pg_call_end(call, PG_REFUSED);
		}
	}
}

static int refused(struct pg_client *c, struct error *e)
{
	const char *name = c->source->config->name;

	if (c->closing)
		return error_set(e, -ECONNREFUSED, 503, "The service is stopping.", "source %s: closing", name);
	if (is_down(c)) {
		if (e)
			*e = c->down;
		return -ECONNREFUSED;
	}
	if (budget_wait_begin(&c->source->budget) < 0)
		return error_set(e, -EBUSY, 503, "The queue is full.", "source %s: the queue is full (max_waiting %u)",
				 name, c->source->config->pool.max_waiting);
	return 0;
}

int pg_pool_submit(struct pg_call *call, struct error *e)
{
	struct pg_client *c = call->client;
	int64_t now = loop_now_us(c->loop);
	struct pg_connection *conn = c->closing ? NULL : first_of(c, PG_IDLE);

	call->alone = !call->statement || !pg_statement_may_share(call->statement, now);
	if (!conn) {
		c->pressed_us = now;
		if (!tending(c))
			pg_pool_tend(c);
		if (!call->alone && !c->closing)
			conn = least_loaded(c);
	}
	if (conn) {
		put_on(conn, call);
		return 0;
	}
	int r = refused(c, e);
	if (r < 0)
		return r;
	call->counted = true;
	enqueue(call, call->alone ? PG_QUEUE_ALONE : PG_QUEUE_SHARING);
	if (call->alone)
		drain_for_waiting(c);
	return 0;
}

/* --- the number of connections --- */

static bool wants_more(const struct pg_client *c)
{
	unsigned connecting = c->count[PG_CONNECTING];
	unsigned waiting = pg_client_waiting(c);
	bool pressed = loop_now_us(c->loop) - c->pressed_us < PRESSURE_US;

	if (pg_client_live(c) + connecting == 0)
		return true;
	return connecting < waiting || (pressed && connecting == 0 && !first_of((struct pg_client *)c, PG_IDLE));
}

/* The budget counts it already. */
static void open_one(struct pg_client *c)
{
	struct pg_connection *conn = pg_connection_new(c);

	if (pg_connect_start(conn) < 0) {
		c->retry_at_us = loop_now_us(c->loop) + BACKOFF_FIRST_US;
		pg_connection_close(conn, "no task is to be had");
	}
}

/* The first of that state that will be free some day: not the one that listens. */
static struct pg_connection *first_to_free(struct pg_client *c, enum pg_state state)
{
	list_for_each (link, &c->connections[state]) {
		struct pg_connection *conn = container_of(link, struct pg_connection, link);
		if (!pg_listens(conn))
			return conn;
	}
	return NULL;
}

/* The budget is used up, and somebody waits for a fresh connection: an old one makes room for it. */
static void make_room(struct pg_client *c)
{
	static const enum pg_state states[] = {PG_IDLE, PG_SHARED, PG_BUSY};

	if (c->waiting_count[PG_QUEUE_FRESH] == 0)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
		struct pg_connection *conn = first_to_free(c, states[i]);
		if (!conn)
			continue;
		conn->retired = true;
		if (states[i] == PG_IDLE)
			pg_connection_close(conn, "a fresh one is needed");
		return;
	}
}

static void grow(struct pg_client *c)
{
	unsigned at_once = c->failures ? 1 : CONNECTING_AT_ONCE;

	while (c->count[PG_CONNECTING] < at_once && wants_more(c)) {
		/* The first one is ours, whatever we ask the others for. */
		bool first = pg_client_live(c) + c->count[PG_CONNECTING] == 0;
		if (loop_now_us(c->loop) < c->retry_at_us || (c->asking && !first))
			break;
		if (!budget_take(&c->member)) {
			/* Where it would be the first, one that was granted is on its way to us, in a message. */
			c->asking = true;
			make_room(c);
			break;
		}
		open_one(c);
	}
	int64_t quiet_us = loop_now_us(c->loop) - c->pressed_us;
	if (c->asking && pg_client_waiting(c) == 0 && quiet_us > ASKING_US) {
		budget_withdraw(&c->member);
		c->asking = false;
	}
}

/* Idle connections that nobody needs, but for the last one; and those whose time has come. */
static void reap(struct pg_client *c)
{
	int64_t now = loop_now_us(c->loop);
	int64_t idle_since = now - c->source->config->pool.idle_timeout_us;

	list_for_each_safe (link, &c->connections[PG_IDLE]) {
		struct pg_connection *conn = container_of(link, struct pg_connection, link);
		if (now >= conn->expires_us)
			pg_connection_close(conn, "its lifetime is over");
		else if (pg_connection_is_suspect(conn))
			pg_connection_close(conn, "the server went, or takes no writes");
		else if (conn->idle_since_us <= idle_since && pg_client_live(c) > 1)
			pg_connection_close(conn, "idle");
	}
	list_for_each (link, &c->connections[PG_SHARED]) {
		struct pg_connection *conn = container_of(link, struct pg_connection, link);
		conn->retired |= now >= conn->expires_us || pg_connection_is_suspect(conn);
	}
}

static int64_t tick_us(const struct config_pool *pool)
{
	int64_t us = pool->acquire_timeout_us < pool->idle_timeout_us ? pool->acquire_timeout_us
								      : pool->idle_timeout_us;
	us = (us < pool->lifetime_us ? us : pool->lifetime_us) / 4;
	return us < TICK_SHORTEST_US ? TICK_SHORTEST_US : us > TICK_LONGEST_US ? TICK_LONGEST_US : us;
}

static void tend_now(struct deferred *d)
{
	struct pg_client *c = container_of(d, struct pg_client, tend);

	pg_connections_bury(c);
	if (c->closing)
		return;
	reap(c);
	grow(c);
	if (is_down(c))
		pg_pool_refuse(c, &c->down);
	int64_t now = loop_now_us(c->loop);
	int64_t next = now + tick_us(&c->source->config->pool);
	if (c->retry_at_us > now && c->retry_at_us < next)
		next = c->retry_at_us;
	timer_start(&c->tend_timer, loop_timers(c->loop), (deadline_t){next});
}

static void tend_fire(struct timer *t)
{
	pg_pool_tend(container_of(t, struct pg_client, tend_timer));
}

void pg_pool_tend(struct pg_client *c)
{
	loop_defer(c->loop, &c->tend);
}

void pg_pool_lost(struct pg_client *c, const char *why)
{
	if (pg_client_live(c) == 0 && !c->down_since_us && c->ever_connected) {
		c->down_since_us = loop_now_us(c->loop);
		error_set(&c->down, -ECONNREFUSED, 503, "The data source is not available.", "source %s: %s",
			  c->source->config->name, why);
	}
	pg_pool_tend(c);
}

void pg_pool_suspect(struct pg_connection *conn, bool refuses)
{
	struct pg_client *c = conn->client;
	struct pg_source *source = c->source;
	int64_t now = loop_now_us(c->loop);
	enum pg_target target = source->conninfo->target;
	bool wanted_so = target == PG_READ_ONLY || target == PG_STANDBY || target == PG_PREFER_STANDBY;

	if (now - conn->began_us < TRIED_US || (refuses && wanted_so))
		return;
	pg_hosts_suspect(&source->hosts, conn->host, now);
	if (refuses)
		pg_hosts_failed(&source->hosts, conn->host, now);
	pg_pool_tend(c);
}

void pg_pool_frozen(struct pg_connection *conn)
{
	struct pg_client *c = conn->client;
	int64_t now = loop_now_us(c->loop);

	pg_hosts_frozen(&c->source->hosts, conn->host, now);
	pg_hosts_failed(&c->source->hosts, conn->host, now);
	pg_pool_tend(c);
}

/* 20 ms, 40 ms, … 5 s; from half of it to all of it, so that workers and daemons do not knock together. */
static int64_t backoff_us(unsigned failures)
{
	int64_t us = BACKOFF_FIRST_US << (failures < 9 ? failures - 1 : 8);
	if (us > BACKOFF_LONGEST_US)
		us = BACKOFF_LONGEST_US;
	return us / 2 + (int64_t)arc4random_uniform((uint32_t)(us / 2));
}

void pg_pool_connected(struct pg_client *c, int r, const struct error *e)
{
	if (r == 0) {
		c->failures = 0;
		c->retry_at_us = 0;
		c->down_since_us = 0;
		c->ever_connected = true;
		pg_pool_serve(c);
	} else if (!c->closing) {
		c->failures++;
		c->retry_at_us = loop_now_us(c->loop) + backoff_us(c->failures);
		/* While others work, one that is refused is no reason to refuse who waits. */
		if (pg_client_live(c) == 0) {
			c->down = *e;
			if (!c->down_since_us)
				c->down_since_us = loop_now_us(c->loop);
		}
	}
	pg_pool_tend(c);
}

/* From the budget: `granted` more may be opened (they are counted); another worker could use an idle one. */
static void notified(struct budget_member *m, unsigned granted, bool shed)
{
	struct pg_client *c = container_of(m, struct pg_client, member);

	if (granted)
		c->asking = false;
	for (; granted > 0; granted--) {
		if (!c->closing && wants_more(c))
			open_one(c);
		else
			budget_give(m);
	}
	if (shed && pg_client_live(c) > 1 && !list_empty(&c->connections[PG_IDLE]))
		pg_connection_close(container_of(c->connections[PG_IDLE].prev, struct pg_connection, link),
				    "another worker needs it");
}

void pg_pool_init(struct pg_client *c)
{
	for (unsigned i = 0; i < PG_STATES; i++)
		list_init(&c->connections[i]);
	for (unsigned i = 0; i < PG_QUEUES; i++)
		list_init(&c->waiting[i]);
	deferred_init(&c->tend, tend_now);
	timer_init(&c->tend_timer, tend_fire);
	budget_join(&c->source->budget, &c->member, c->loop, notified);
	c->pressed_us = INT64_MIN / 2;
	pg_pool_tend(c);
}

void pg_pool_done(struct pg_client *c)
{
	deferred_cancel(&c->tend);
	timer_stop(&c->tend_timer, loop_timers(c->loop));
}
