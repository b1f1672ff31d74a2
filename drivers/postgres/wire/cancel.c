/* A cancel request is a connection of its own, for which the server forks a process, and it names a session, not a
 * statement. So: only what still runs a while after it was abandoned, only in the group at the head of the pipe, only a
 * few at once; and no new call enters the connection before the request has been answered and the statement has ended.
 * What it hits of others in the same pipe is run again. */
#include "drivers/postgres/wire/cancel.h"

#include <errno.h>
#include <stdlib.h>

#include "async/executor.h"
#include "base/mem.h"
#include "drivers/postgres/wire/pool.h"

#define GRACE_US        100000
#define AGAIN_US        20000 /* too many are under way: a little later */
#define GIVE_UP_US      5000000
#define NO_ANSWER_US    2000000 /* to the request itself: the server does not answer anybody */
#define CANCELS_AT_ONCE 2       /* a worker */

struct cancel_job {
	struct job job;
	PGcancel *cancel;
	bool requested;
};

static void cancel_run(struct job *job)
{
	struct cancel_job *j = container_of(job, struct cancel_job, job);
	char why[256];
	j->requested = PQcancel(j->cancel, why, sizeof(why)) == 1;
}

static void cancel_free(struct job *job)
{
	struct cancel_job *j = container_of(job, struct cancel_job, job);
	PQfreeCancel(j->cancel);
	free(j);
}

/* A task: the request, then the connection's return. */
static int cancel_task(void *arg)
{
	struct pg_connection *conn = arg;
	struct pg_client *c = conn->client;
	struct cancel_job *j = mem_zalloc(sizeof(*j));
	bool requested = false;

	j->job.run = cancel_run;
	j->job.free = cancel_free;
	j->cancel = PQgetCancel(conn->pg);
	int r = executor_run(c->source->executor, &j->job, deadline_in_us(NO_ANSWER_US));
	if (r == 0) {
		requested = j->requested;
		cancel_free(&j->job);
	} else if (r == -ETIMEDOUT) {
		pg_pool_frozen(conn);
	}
	conn->cancelling = false;
	c->cancels--;
	/* One that is late may still hit something: never again a call on this connection. */
	if (!requested)
		pg_connection_close(conn, "a cancel request failed");
	else
		pg_connection_settle(conn);
	pg_pool_serve(c);
	pg_pool_tend(c);
	return 0;
}

static void again_in(struct pg_connection *conn, int64_t us)
{
	struct loop *l = conn->client->loop;
	timer_start(&conn->cancel_timer, loop_timers(l), (deadline_t){loop_now_us(l) + us});
}

/* The server holds its answers back until the Sync: any statement of the group at the head may be the one that runs. */
static const struct pg_call *unwanted_in_head_group(const struct pg_connection *conn)
{
	for (unsigned i = 0; i < conn->entries; i++) {
		const struct pg_entry *entry = &conn->ring[(conn->first + i) & (conn->ring_size - 1)];
		if (entry->role == PG_SYNC)
			break;
		if (entry->call && pg_call_is_unwanted(entry->call))
			return entry->call;
	}
	return NULL;
}

bool pg_cancel_request(struct pg_connection *conn)
{
	static const struct task_options options = {.name = "postgres cancel", .detached = true};
	struct pg_client *c = conn->client;
	int64_t now = loop_now_us(c->loop);

	/* The last one may have hit, and the news be on its way. */
	if (conn->cancelling || now - conn->cancelled_us < AGAIN_US || c->cancels >= CANCELS_AT_ONCE)
		return false;
	if (task_spawn(NULL, cancel_task, conn, &options) < 0)
		return false;
	conn->cancelling = true;
	conn->cancelled_us = now;
	c->cancels++;
	if (conn->state != PG_QUARANTINED) {
		pg_connection_move(conn, PG_QUARANTINED);
		conn->quarantined_us = now;
	}
	again_in(conn, GRACE_US);
	return true;
}

/* In quarantine one look follows the other: another statement of the pipe may have been abandoned, or nothing may
 * help. */
void pg_cancel_fire(struct timer *t)
{
	struct pg_connection *conn = container_of(t, struct pg_connection, cancel_timer);
	struct pg_client *c = conn->client;
	bool quarantined = conn->state == PG_QUARANTINED;

	if (pg_hosts_is_frozen(&c->source->hosts, conn->host, conn->began_us) && unwanted_in_head_group(conn)) {
		pg_connection_close(conn, "the server does not answer");
		pg_pool_serve(c);
	} else if (quarantined && loop_now_us(c->loop) - conn->quarantined_us >= GIVE_UP_US) {
		pg_connection_close(conn, "a statement did not end after it was cancelled");
		pg_pool_serve(c);
	} else if (unwanted_in_head_group(conn) && !conn->cancelling && !pg_cancel_request(conn)) {
		again_in(conn, AGAIN_US);
	} else if (quarantined) {
		again_in(conn, GRACE_US);
	}
}

/* If BEGIN or SAVEPOINT lead the group, they must not be what is hit: without them there is no way back. They take
 * no time. */
void pg_cancel_soon(struct pg_connection *conn)
{
	const struct pg_entry *head = pg_connection_head(conn);

	again_in(conn, head && head->role == PG_OTHER ? GRACE_US : 0);
}

void pg_cancel_consider(struct pg_connection *conn)
{
	struct loop *l = conn->client->loop;

	if (conn->state != PG_BUSY && conn->state != PG_SHARED)
		return;
	const struct pg_call *call = unwanted_in_head_group(conn);
	if (!call)
		timer_stop(&conn->cancel_timer, loop_timers(l));
	else if (!timer_running(&conn->cancel_timer))
		timer_start(&conn->cancel_timer, loop_timers(l), (deadline_t){call->abandoned_us + GRACE_US});
}
