/* A worker's part of the pool: placing calls, opening and closing connections.
 *
 * A call takes an idle connection; else, if it is a short read, the least loaded shared one; else it stands in the line
 * of all workers (budget.h), and so does every call that comes while others stand there. Whatever becomes idle goes to
 * the first in line, here or in another worker: `pg_pool_serve` follows whenever a connection may have become idle.
 * While calls stand in line, as many shared connections take no more calls and so become idle. A call that may share
 * need not wait for its turn if a connection that this worker shares can take it.
 *
 * Opening and closing is `tend`, at the end of a turn and on a timer: nobody who waits is needed to bring a source back
 * to life. Attempts back off with jitter while they fail. */
#include "drivers/postgres/wire/pool.h"

#include <errno.h>
#include <stdlib.h>

#include "base/backoff.h"
#include "drivers/postgres/wire/connect.h"
#include "drivers/postgres/wire/pipeline.h"
#include "drivers/postgres/wire/statement.h"

#define CONNECTING_AT_ONCE 4
#define BACKOFF_FIRST_US   20000
#define BACKOFF_LONGEST_US 5000000
#define PRESSURE_US        20000   /* a call without an idle connection is news for so long */
#define WISHING_US         1000000 /* … and so long we go on wishing for another worker's */
#define STUCK_US           10000   /* a statement that shares and has run for so long is not short this time */
#define SPARE_US           20000   /* idle for so long, another worker may have it */
#define SPARE_LAST_US      1000000 /* … even if it is our last */
#define TICK_SHORTEST_US   5000
#define TRIED_US           1000000 /* a connection as young as this shows that another one would lead to the same server */
#define TICK_LONGEST_US    1000000

static bool tending(const struct pg_client *c)
{
	return c->wishing || c->count[PG_CONNECTING] > 0;
}

/* --- placing --- */

static struct pg_connection *first_of(struct pg_client *c, enum pg_state state)
{
	struct list *head = &c->connections[state];
	return list_empty(head) ? NULL : container_of(head->next, struct pg_connection, link);
}

/* Does the statement at the head run for longer than one that shares should? What is sent now would wait for it. */
static bool is_stuck(struct pg_connection *conn, int64_t now)
{
	const struct pg_entry *head = pg_connection_head(conn);

	if (!head || !head->call)
		return false;
	int64_t since = head->call->placed_us > conn->answered_us ? head->call->placed_us : conn->answered_us;
	return now - since > STUCK_US;
}

static struct pg_connection *least_loaded(struct pg_client *c)
{
	struct pg_connection *best = NULL;
	int64_t now = loop_now_us(c->loop);

	list_for_each (link, &c->connections[PG_SHARED]) {
		struct pg_connection *conn = container_of(link, struct pg_connection, link);
		/* Behind one that was abandoned there may be a long wait. */
		bool closed = conn->draining || conn->retired || conn->ending || conn->broken || conn->abandoned > 0;
		if (closed || conn->calls >= PG_MAX_SHARING || is_stuck(conn, now))
			continue;
		if (!best || conn->calls < best->calls)
			best = conn;
	}
	return best;
}

static void put_on(struct pg_connection *conn, struct pg_call *call)
{
	int64_t now = loop_now_us(conn->client->loop);
	histogram_observe(&pg_numbers(conn->client)->wait, call->phase == PG_CALL_WAITING ? now - call->queued_us : 0);
	if (conn->state == PG_IDLE)
		pg_connection_move(conn, call->alone ? PG_BUSY : PG_SHARED);
	if (call->statement) {
		pg_pipeline_send(conn, call);
		return;
	}
	conn->lease = call;
	conn->calls++;
	call->connection = conn;
	pg_call_move(call, PG_CALL_HELD);
	call->placed_us = call->begun_us = now;
	if (call->waiter)
		task_wake(call->waiter, 0);
}

static struct pg_call *head_of(struct pg_client *c, enum pg_queue queue)
{
	struct list *head = &c->waiting[queue];
	return list_empty(head) ? NULL : container_of(head->next, struct pg_call, link);
}

/* Returns 0 or -EBUSY: the line is full. */
static int enqueue(struct pg_call *call, enum pg_queue queue)
{
	struct pg_client *c = call->client;
	int64_t fresh_us = queue == PG_QUEUE_FRESH ? call->broken_us : INT64_MIN;

	int r = budget_stand(&c->member, &call->ticket, call->rerun, fresh_us);
	if (r < 0)
		return r;
	pg_call_move(call, PG_CALL_WAITING);
	call->queued_us = loop_now_us(c->loop);
	call->queue = (uint8_t)queue;
	if (call->rerun)
		list_prepend(&c->waiting[queue], &call->link);
	else
		list_append(&c->waiting[queue], &call->link);
	c->waiting_count[queue]++;
	return 0;
}

/* Its ticket is out of line already. */
static void dequeue(struct pg_call *call)
{
	list_remove(&call->link);
	call->client->waiting_count[call->queue]--;
}

void pg_pool_forget(struct pg_call *call)
{
	budget_withdraw(&call->ticket);
	dequeue(call);
}

static void serve_ticket(struct pg_connection *conn, struct budget_ticket *ticket)
{
	struct pg_call *call = container_of(ticket, struct pg_call, ticket);

	dequeue(call);
	put_on(conn, call);
}

/* One that broke, or that has something to send, settles at the end of the turn. */
static bool is_at_rest(const struct pg_connection *conn)
{
	return conn->entries == 0 && !conn->unsynced && !conn->broken;
}

static void send_away(struct pg_connection *conn)
{
	pg_connection_detach(conn);
	budget_send(&conn->parcel);
}

/* What is idle goes to the first in line. */
static void serve_idle(struct pg_client *c)
{
	list_for_each_safe (link, &c->connections[PG_IDLE]) {
		struct pg_connection *conn = container_of(link, struct pg_connection, link);
		struct budget_ticket *ours;
		if (!is_at_rest(conn))
			continue;
		if (pg_connection_is_suspect(conn)) {
			pg_connection_close(conn, "its server went, or the configuration has changed");
			continue;
		}
		switch (budget_next(&c->member, &conn->parcel, conn->began_us, &ours)) {
		case BUDGET_OURS:
			serve_ticket(conn, ours);
			break;
		case BUDGET_SEND:
			send_away(conn);
			break;
		case BUDGET_KEEP:
			break;
		}
	}
}

static void share(struct pg_client *c)
{
	struct pg_connection *conn;
	struct pg_call *call;

	while ((call = head_of(c, PG_QUEUE_SHARING)) && (conn = least_loaded(c))) {
		pg_pool_forget(call);
		put_on(conn, call);
	}
}

static void drain(struct pg_client *c)
{
	struct pg_connection *conn;

	while ((conn = least_loaded(c)) && budget_drain(&c->source->budget))
		conn->draining = true;
}

void pg_pool_serve(struct pg_client *c)
{
	if (!budget_waiting(&c->source->budget))
		return;
	serve_idle(c);
	share(c);
	drain(c);
}

void pg_pool_resubmit(struct pg_call *call, enum pg_queue queue)
{
	call->alone = true;
	call->rerun = true;
	call->broken_us = loop_now_us(call->client->loop);
	int r = enqueue(call, queue);
	(void)r; /* what is run again is never refused */
	pg_pool_tend(call->client);
}

/* --- refusing --- */

/* The pool is down while no worker has a connection that works. */
static bool is_down(struct pg_client *c)
{
	if (budget_working(&c->source->budget) > 0)
		c->down_since_us = 0;
	return c->down_since_us && c->failures > 0 &&
	       loop_now_us(c->loop) - c->down_since_us >= c->base.config->pool.acquire_timeout_us;
}

void pg_pool_refuse(struct pg_client *c, const struct error *e)
{
	for (enum pg_queue queue = 0; queue < PG_QUEUES; queue++) {
		while (c->waiting_count[queue] > 0) {
			struct pg_call *call = head_of(c, queue);
			pg_pool_forget(call);
			call->error = *e;
			counter_add(&pg_numbers(c)->refused[POOL_DOWN], 1);
			pg_call_end(call, PG_REFUSED);
		}
	}
}

static int refused(struct pg_client *c, struct error *e)
{
	if (c->closing)
		return error_say(e, -ECONNREFUSED, REASON_STOPPING, "source %s: closing", c->source->base.name);
	if (is_down(c)) {
		counter_add(&pg_numbers(c)->refused[POOL_DOWN], 1);
		if (e)
			*e = c->down;
		return -ECONNREFUSED;
	}
	return 0;
}

/* There is no connection for it, or others wait for longer. */
static int submit_waiting(struct pg_call *call, struct error *e)
{
	struct pg_client *c = call->client;

	int r = refused(c, e);
	if (r < 0)
		return r;
	r = enqueue(call, call->alone ? PG_QUEUE_ALONE : PG_QUEUE_SHARING);
	if (r < 0)
		counter_add(&pg_numbers(c)->refused[POOL_FULL], 1);
	if (r < 0)
		return error_say(e, r, REASON_QUEUE_FULL, "source %s: the queue is full (max_waiting %u)",
				 c->source->base.name, c->base.config->pool.max_waiting);
	pg_pool_serve(c);
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
	} else if (budget_waiting(&c->source->budget)) {
		conn = NULL;
	}
	if (!conn)
		return submit_waiting(call, e);
	put_on(conn, call);
	return 0;
}

/* --- the number of connections --- */

static bool is_pressed(const struct pg_client *c)
{
	return loop_now_us(c->loop) - c->pressed_us < PRESSURE_US;
}

static bool wants_more(const struct pg_client *c)
{
	unsigned connecting = c->count[PG_CONNECTING];

	if (pg_client_live(c) + connecting == 0)
		return true;
	return connecting < pg_client_waiting(c) ||
	       (is_pressed(c) && connecting == 0 && !first_of((struct pg_client *)c, PG_IDLE));
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
		if (!conn->lease || !conn->lease->heard)
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

static void stop_wishing(struct pg_client *c)
{
	if (c->wishing)
		budget_unwish(&c->member);
	c->wishing = false;
}

static void grow(struct pg_client *c)
{
	unsigned at_once = c->failures ? 1 : CONNECTING_AT_ONCE;

	while (c->count[PG_CONNECTING] < at_once && wants_more(c)) {
		if (loop_now_us(c->loop) < c->retry_at_us)
			break;
		if (!budget_take(&c->member)) {
			make_room(c);
			if (is_pressed(c)) {
				budget_wish(&c->member);
				c->wishing = true;
			}
			break;
		}
		stop_wishing(c);
		open_one(c);
	}
	if (c->wishing && loop_now_us(c->loop) - c->pressed_us > WISHING_US)
		stop_wishing(c);
}

/* What has long been idle here goes to workers that would like one more. */
static void grant_wishes(struct pg_client *c)
{
	int64_t now = loop_now_us(c->loop);

	while (budget_wished(&c->source->budget) && !list_empty(&c->connections[PG_IDLE])) {
		struct pg_connection *conn = container_of(c->connections[PG_IDLE].prev, struct pg_connection, link);
		int64_t idle_us = now - conn->idle_since_us;
		if (idle_us < (pg_client_live(c) > 1 ? SPARE_US : SPARE_LAST_US) || !is_at_rest(conn) ||
		    !budget_next_wish(&c->member, &conn->parcel))
			break;
		send_away(conn);
	}
}

/* Idle connections that nobody needs, but for the last one; and those whose time has come. */
static void reap(struct pg_client *c)
{
	int64_t now = loop_now_us(c->loop);
	int64_t idle_since = now - c->base.config->pool.idle_timeout_us;

	list_for_each_safe (link, &c->connections[PG_IDLE]) {
		struct pg_connection *conn = container_of(link, struct pg_connection, link);
		if (now >= conn->expires_us)
			pg_connection_close(conn, "its lifetime is over");
		else if (pg_connection_is_suspect(conn))
			pg_connection_close(conn, "its server went, or the configuration has changed");
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
	pg_pool_serve(c);
	reap(c);
	grant_wishes(c);
	grow(c);
	if (is_down(c))
		pg_pool_refuse(c, &c->down);
	int64_t now = loop_now_us(c->loop);
	int64_t next = now + tick_us(&c->base.config->pool);
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
	if (budget_working(&c->source->budget) == 0 && !c->down_since_us && c->ever_connected) {
		c->down_since_us = loop_now_us(c->loop);
		error_say(&c->down, -ECONNREFUSED, REASON_UNAVAILABLE, "source %s: %s", c->source->base.name, why);
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

void pg_pool_connected(struct pg_client *c, int r, const struct error *e)
{
	if (r != -ECANCELED)
		counter_add(&pg_numbers(c)->connects[r == 0 ? POOL_CONNECTED : POOL_CONNECT_FAILED], 1);
	if (r == 0) {
		c->failures = 0;
		c->retry_at_us = 0;
		c->down_since_us = 0;
		c->ever_connected = true;
		pg_pool_serve(c);
	} else if (!c->closing) {
		c->failures++;
		c->retry_at_us = loop_now_us(c->loop) + backoff_us(c->failures, BACKOFF_FIRST_US, BACKOFF_LONGEST_US);
		/* While others work, one that is refused is no reason to refuse who waits. */
		if (budget_working(&c->source->budget) == 0) {
			c->down = *e;
			if (!c->down_since_us)
				c->down_since_us = loop_now_us(c->loop);
		}
	}
	pg_pool_tend(c);
}

/* A connection from another worker. */
static void arrived(struct budget_member *m, struct budget_parcel *parcel, struct budget_ticket *ticket)
{
	struct pg_client *c = container_of(m, struct pg_client, member);
	struct pg_connection *conn = container_of(parcel, struct pg_connection, parcel);

	c->down_since_us = 0;
	c->wishing &= ticket != NULL;
	pg_connection_attach(conn, c);
	if (ticket && conn->state == PG_IDLE) {
		serve_ticket(conn, ticket);
	} else if (ticket) {
		int r = budget_stand(m, ticket, true, ticket->fresh_us);
		(void)r; /* the first in line is never refused */
	}
	pg_pool_serve(c);
}

/* Others wait for what is idle here, or there is room for one more. */
static void look(struct budget_member *m)
{
	struct pg_client *c = container_of(m, struct pg_client, member);

	pg_pool_serve(c);
	pg_pool_tend(c);
}

static const struct budget_ops budget_ops = {.arrived = arrived, .look = look};

void pg_pool_init(struct pg_client *c)
{
	for (unsigned i = 0; i < PG_STATES; i++)
		list_init(&c->connections[i]);
	for (unsigned i = 0; i < PG_QUEUES; i++)
		list_init(&c->waiting[i]);
	deferred_init(&c->tend, tend_now);
	timer_init(&c->tend_timer, tend_fire);
	budget_join(&c->source->budget, &c->member, c->loop, &budget_ops);
	c->pressed_us = INT64_MIN / 2;
	pg_pool_tend(c);
}

void pg_pool_done(struct pg_client *c)
{
	deferred_cancel(&c->tend);
	timer_stop(&c->tend_timer, loop_timers(c->loop));
}
