/* A worker's part of the connections to one source: shared by all its tasks, one task at a time each.
 *
 * DESIGN. A connection is opening, idle, busy or leaving; mongo_pool_acquire takes an idle one, or waits in line, while
 * the pool opens more as far as the process's budget allows. The line is one for all workers (budget.h): what becomes
 * idle, here or in another worker, goes to the first in it. Opening and destroying are tasks of the pool's own, so
 * that a caller who gives up leaves nothing behind. A pool without a connection always tries to get one, with growing
 * pauses, whether anybody asks or not: it is ready again as soon as the server is. While the server is down calls wait
 * for up to acquire_timeout; once it has been down for longer than that they fail at once. Loop thread only. */
#pragma once

#include "config/config.h"
#include "drivers/budget.h"
#include "drivers/health.h"
#include "drivers/mongo/wire/connection.h"

struct mongo_pool_settings {
	const char *name; /* the source's */
	const mongoc_uri_t *uri;
	const char *database;
	struct config_pool limits;
	struct mongo_stream_settings streams;
	struct budget *budget;
	struct health *health;
	struct tally *tally;
	atomic_uint *generation; /* of the source: counted up when the connections of before became suspect */
};

struct mongo_pool {
	const struct mongo_pool_settings *settings;
	const struct config_pool *limits; /* the settings', or what they have become */
	struct loop *loop;
	struct budget_member member;
	struct list in[CONNECTION_STATES];
	unsigned count[CONNECTION_STATES];
	struct list waiters; /* each has a ticket in the line of the source */
	unsigned waiting;
	int64_t pause_us;      /* after the next failure to connect */
	int64_t down_since_us; /* of the first failure since the last success; 0: fine */
	bool proven;           /* the last attempt to connect succeeded */
	struct error failure;  /* the last one */
	struct timer retry;    /* runs: no attempt before it fires */
	struct timer janitor;  /* closes what was idle, or open, for too long */
	struct deferred work;
	bool destroying;          /* the task that destroys connections is there */
	struct waiter *destroyer; /* it waits */
	deadline_t close_by;
	bool closing;
	struct waiter *closer;
};

/* Starts connecting; does not wait. */
void mongo_pool_open(struct mongo_pool *p, const struct mongo_pool_settings *settings);
/* Other limits from now on; they outlive the pool, or the next call of this. */
void mongo_pool_follow(struct mongo_pool *p, const struct config_pool *limits);
/* Suspends, not cancelled: refuses who waits, ends what runs, closes everything. */
void mongo_pool_close(struct mongo_pool *p);
/* Suspends. A connection for the caller alone, until mongo_pool_release. Returns 0; -EBUSY (max_waiting are waiting),
 * -EHOSTUNREACH (the source is down), -ETIMEDOUT or -ECANCELED, with e filled. */
int mongo_pool_acquire(struct mongo_pool *p, struct mongo_connection **out, struct error *e) must_check;
/* Give c back. consequences: what its last operation said of it (errors.h). */
void mongo_pool_release(struct mongo_pool *p, struct mongo_connection *c, unsigned consequences);
/* Suspends until a server has answered and let us in, the first attempt at it has failed, or `by`. Returns 0 or -errno
 * with e filled. */
int mongo_pool_check(struct mongo_pool *p, deadline_t by, struct error *e) must_check;
bool mongo_pool_idle(const struct mongo_pool *p);
