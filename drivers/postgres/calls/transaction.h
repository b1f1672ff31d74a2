/* A transaction on a connection of its own, for a function that runs its statements one after another.
 *
 * DESIGN. The connection is a lease (call.h) that is marked: while it is held an open transaction on it is left alone,
 * and when it is left, however that comes about, the transaction is rolled back before the connection goes back to the
 * pool; what still runs on it is cancelled first. BEGIN and SAVEPOINT leave with the first statement that needs them.
 *
 *   OPEN     statements run
 *   FAILED   one has failed: the others fail at once, until the savepoint around it is rolled back. What was not waited
 *            for to its end (a time-out, a task that was cancelled) is cancelled on the server meanwhile
 *   LOST     the connection broke, or a wait for it ended outside of all savepoints, or what was cancelled did not end:
 *            it was given up, and nothing brings it back
 *   ENDED    committed or rolled back
 *
 * Loop thread only. One task at a time: where another one is at it, calls fail with -EBUSY. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "async/task.h"
#include "base/arena.h"
#include "drivers/postgres/calls/ask.h"

struct pg_copy;

enum pg_transaction_state { PG_TRANSACTION_OPEN, PG_TRANSACTION_FAILED, PG_TRANSACTION_LOST, PG_TRANSACTION_ENDED };

struct pg_transaction_options {
	const char *call; /* the public function, for messages: static */
	enum pg_isolation isolation;
	bool read_only;
	unsigned attempts;  /* in all; 0: 1 */
	int64_t timeout_us; /* of each statement; 0: none */
};

/* Something on the server that goes with the savepoint that it was made in; embedded. */
struct pg_held {
	struct list link;
	unsigned depth;
	bool gone;
};

struct pg_transaction {
	struct pg_client *client;
	struct pg_transaction_options options;
	struct pg_call *lease; /* NULL: LOST, ENDED */
	struct pg_place place;
	enum pg_transaction_state state;
	bool begun;                             /* BEGIN was sent */
	bool busy;                              /* a task is at it */
	bool broken;                            /* the connection broke */
	bool stale;                             /* a statement was not what it was when it was learned */
	bool uncertain;                         /* COMMIT was sent, and it is not known what became of it */
	unsigned depth;                         /* of savepoints */
	unsigned depth_sent;                    /* … that the server knows */
	unsigned cursors;                       /* counts those that were opened, for their names */
	struct list held;                       /* pg_held */
	struct pg_copy *copy;                   /* that is under way; nothing else runs then */
	void (*end_copy)(struct pg_copy *copy); /* suspends: what ends it with the transaction */
	struct error failure;                   /* FAILED, LOST: why */
	struct waiter *quiet;                   /* who waits until it is not busy */
};

/* Returns 0 or more, or -errno. */
typedef int pg_transaction_fn(struct pg_transaction *tx, void *arg);

/* Suspends. fn in a transaction: committed where it returns 0 or more and nothing in it has failed, else rolled back.
 * Where that was a serialization failure or a deadlock, or the connection broke before COMMIT, it is tried again, from
 * its beginning, up to `attempts`. What fn is given lives in a, beyond its end: it says then that it has ended. Returns
 * what fn returned, or the failure with e filled (if it is fn's own, e stays empty): -EIO with e saying so where it
 * may or may not have happened. */
int pg_transact(struct pg_client *c, struct arena *a, const struct pg_transaction_options *options,
		pg_transaction_fn *fn, void *arg, struct error *e) must_check;
/* Suspends. fn within a savepoint: what it did is undone where it, or something in it, fails; then the transaction goes
 * on. What timed out in it, or whose task was cancelled, is cancelled on the server: the end waits for that for up to
 * 2 s, whatever the task's deadline, and fails with -ETIMEDOUT if it is in vain; the transaction is lost then.
 * Returns as pg_transact. */
int pg_transaction_savepoint(struct pg_transaction *tx, pg_transaction_fn *fn, void *arg, struct error *e) must_check;
/* Suspends. As pg_query; ask->timeout_us is not used, and a statement may write wherever the transaction may. What
 * fails makes the transaction fail. -EBUSY: another task is at it; -EINVAL: it has ended. */
int pg_transaction_query(struct pg_transaction *tx, const struct pg_ask *ask, struct pg_answer *out,
			 struct error *e) must_check;

/* What was to be asked was wrong before it came here: it fails as a statement does. */
void pg_transaction_fail(struct pg_transaction *tx, const struct error *e);

/* --- for streams, COPY and declared steps --- */

/* Suspends, shielded. The deadline has passed while a write is on its way: it is cancelled, and the server has a moment
 * to say what has become of it. Returns 0: it has; or r. */
int pg_last_word(struct pg_call *call, int r) must_check;
/* Suspends. first_us after the first failure, twice as long after each further one, up to 1 s; from half of it to all
 * of it. False: there is no time for it, or for what comes then. */
bool pg_back_off(unsigned failures, int64_t first_us);

/* As task_shield, whatever shield or deadline is around it. */
static inline void pg_shield_until(struct shield *s, deadline_t by)
{
	task_shield(s, by);
	deadline_pop(by);
}

/* Suspends. Get a connection; fresh: one that was opened after the last one broke. Returns 0, or -errno with e filled:
 * it is closed then. */
int pg_transaction_open(struct pg_transaction *tx, struct pg_client *c, const struct pg_transaction_options *options,
			bool fresh, struct error *e) must_check;
/* It is over: rolled back, unless it was committed. Idempotent. */
void pg_transaction_close(struct pg_transaction *tx);
/* The calling task is at it, until pg_transaction_leave, whose r below 0 makes it fail with e. Returns 0, or -errno
 * with e filled. */
int pg_transaction_enter(struct pg_transaction *tx, const char *call, struct error *e) must_check;
void pg_transaction_leave(struct pg_transaction *tx, int r, const struct error *e);
/* As pg_transaction_enter, for tx->copy itself. */
int pg_transaction_enter_copy(struct pg_transaction *tx, const char *call, struct error *e) must_check;
/* Suspends if the rest of a stream's batch is still to come: it is taken in. Something may be put on the lease then.
 * Returns 0, or -errno with e filled. */
int pg_transaction_ready(struct pg_transaction *tx, struct error *e) must_check;
/* Suspends as pg_transaction_ready. What is sent next is not a statement that the client knows; BEGIN and the
 * savepoints are on their way. Returns 0, or -errno with e filled. */
int pg_transaction_begin(struct pg_transaction *tx, struct error *e) must_check;
/* Suspends (shielded). Commit one that is nobody's function's. Returns 0, or -errno with e filled. */
int pg_transaction_commit(struct pg_transaction *tx, struct error *e) must_check;
/* Suspends. What is asked becomes what the lease runs: known, its arguments bound; BEGIN and the savepoints are on
 * their way. The statement stays until the next one. */
int pg_transaction_prepare(struct pg_transaction *tx, const struct pg_ask *ask, struct error *e) must_check;
/* Suspends as pg_transaction_ready. Put a command without parameters on the lease. Returns 0, or -errno with e filled.
 */
int pg_transaction_send(struct pg_transaction *tx, const char *sql, struct error *e) must_check;
/* Suspends. Wait for what was put on the lease. *out takes what came; it may be NULL. */
int pg_transaction_exchange(struct pg_transaction *tx, PGresult **out, struct error *e) must_check;
/* Suspends. Wait for rows of the FETCH that is on its way; all: for all of them, however many that are. Returns 1:
 * there are some, and more may come; 0: all have come; or -errno with e filled. Each wait has the transaction's
 * time-out. */
int pg_transaction_rows(struct pg_transaction *tx, bool all, struct error *e) must_check;
/* SQL that replaces the time-out of the session until the end of the transaction: what lasts longer than a statement is
 * bounded by the calling task's deadline. */
void pg_transaction_untimed(char *sql, size_t size);
/* h goes with the current savepoint, or with the transaction. */
void pg_transaction_hold(struct pg_transaction *tx, struct pg_held *h);
