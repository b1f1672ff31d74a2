/* One run of one statement, or a connection held for a while (a lease), by one task.
 *
 * A call outlives the task that made it when that task leaves (deadline, cancellation) while the server still works on
 * it: it is then abandoned, what comes for it is dropped, and it goes back to its client with its last entry in the
 * pipe. Loop thread only. */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "async/operation.h"
#include "async/task.h"
#include "base/error.h"
#include "drivers/budget.h"
#include "drivers/postgres/types/bind.h"

struct pg_client;
struct pg_connection;
struct pg_statement;

enum pg_phase {
	PG_CALL_FREE, /* nobody's: kept to be used again */
	PG_CALL_NEW,
	PG_CALL_WAITING,   /* for a connection */
	PG_CALL_SENT,      /* on one: its answers are awaited */
	PG_CALL_HELD,      /* a lease that holds one, whatever it has in the pipe */
	PG_CALL_GIVEN_UP,  /* a lease whose answers are dropped, until the last of them has come */
	PG_CALL_ABANDONED, /* its task has left; what comes for it is dropped */
	PG_CALL_ENDED,
};

enum pg_outcome {
	PG_ANSWERED, /* result holds what came */
	PG_BROKEN,   /* the connection broke before the answer */
	PG_REFUSED,  /* by the pool, or it brought too much: error says why */
};

enum { PG_ROWS_BYTES = 64 << 10 };

/* The rows of a FETCH, which come one by one, until somebody takes them. If PG_ROWS_BYTES wait, the rest stays with
 * libpq and in the socket, unless all of it is wanted now. */
struct pg_rows {
	PGresult **items;
	unsigned first, count, capacity;
	size_t bytes;      /* of those that wait */
	unsigned came;     /* since the FETCH was sent */
	size_t came_bytes; /* … and how large they were */
	bool all;
	bool given_up; /* some will never come */
};

/* What answers have said besides their rows, since the call was sent. */
struct pg_signs {
	bool begun;     /* the server has begun its transaction */
	bool aborted;   /* by a neighbour's failure in the same group */
	bool unparsed;  /* the server did not take the statement's text: nothing has run */
	bool unfreed;   /* the server had lost what was to be deallocated before it: nothing has run */
	bool retyped;   /* types that its statement was learned with are not what they were */
	bool too_large; /* the result was: error says it */
};

/* What the statements of a lease's flush bring, in the order in which they were put on it, up to the first that fails.
 */
struct pg_brought {
	PGresult *rows;
	PGresult *names; /* of the columns, if they are not what they were when the statement was learned; or NULL */
	bool retyped;    /* types that the statement was learned with are not what they were */
};
struct pg_batch {
	struct pg_brought *items; /* room for all that are put on it */
	unsigned count;
	struct pg_brought next; /* names and retyped: what was said of the statement whose rows come next */
	size_t bytes;
};

struct pg_call {
	struct list link;            /* waiting, or free */
	struct budget_ticket ticket; /* PG_CALL_WAITING */
	struct pg_client *client;
	struct pg_statement *statement; /* NULL: a lease */
	struct pg_statement *running;   /* a lease's, until the next one; NULL: none */
	struct pg_connection *connection;
	struct waiter *waiter;
	struct operation *operation; /* it is an operation, which completes with it; NULL: it is waited for by a task */
	struct pg_parameters parameters;
	/* Of a lease that listens: something has come, and n, unless it is NULL, is a notification. It keeps its
	 * connection for as long as somebody listens: nobody waits for it to become free. NULL: it does not listen. */
	void (*heard)(struct pg_call *lease, const PGnotify *n);
	struct pg_rows *rows;   /* a lease's FETCH: where they go; NULL: they are dropped */
	struct pg_batch *batch; /* a lease's: where its statements' results go, not to result; NULL: to result */
	PGresult *result;       /* rows; or the first error */
	PGresult *names;        /* of the columns, if they are not what they were when the statement was learned */
	struct error error;     /* PG_REFUSED, PG_BROKEN: why */
	uint8_t phase;          /* enum pg_phase; written by pg_call_move alone */
	uint8_t outcome;        /* enum pg_outcome; PG_CALL_ENDED */
	uint8_t queue;          /* enum pg_queue; PG_CALL_WAITING */
	/* What kind of call it is. */
	bool alone;       /* must not share */
	bool writes;      /* … or may: a server that refuses that is not the one that is wanted */
	bool rerun;       /* is being run again: not a third time */
	bool transaction; /* a lease that keeps one open between its commands; it is rolled back when the lease is left
			   */
	bool fetching;    /* a lease's FETCH is on its way, or its end was not looked at: pg_transaction_rows does */
	struct pg_signs signs;
	uint64_t number;   /* for the log */
	unsigned pending;  /* its entries in the pipe */
	int64_t queued_us; /* since when it waits */
	int64_t placed_us, abandoned_us;
	int64_t begun_us;  /* when it was placed first; 0: it was not */
	int64_t broken_us; /* PG_QUEUE_FRESH: when its connection broke */
};

/* A step's time-out counts from when it first has a connection; all that it does is bound by it together. */
struct pg_limit {
	int64_t timeout_us; /* 0: none */
	deadline_t by;      /* DEADLINE_NEVER until it has begun */
};

/* Is it on a connection, and somebody's? */
static inline bool pg_call_is_placed(const struct pg_call *call)
{
	return call->phase == PG_CALL_SENT || call->phase == PG_CALL_HELD || call->phase == PG_CALL_GIVEN_UP;
}

/* Is what comes for it dropped? */
static inline bool pg_call_is_unwanted(const struct pg_call *call)
{
	return call->phase == PG_CALL_GIVEN_UP || call->phase == PG_CALL_ABANDONED;
}

struct pg_call *pg_call_new(struct pg_client *c, struct pg_statement *st);
/* What a lease runs next, or NULL; it stays as long as answers to it may come. */
void pg_call_run(struct pg_call *lease, struct pg_statement *st);
/* What a lease waits for is not wanted any more: it is cancelled on the server, at once if that is possible. */
void pg_call_give_up(struct pg_call *lease);
/* The last answer to a lease that was given up has come: it goes on. */
void pg_call_go_on(struct pg_call *lease);
/* Suspends until something has happened to the call: it was placed, it ended, its answers or a part of them have come.
 * As task_suspend. what: is awaited, for people to read; static. */
int pg_call_suspend(struct pg_call *call, const char *what, deadline_t by) must_check;
/* By the task, in any phase: the call is not its any more. */
void pg_call_leave(struct pg_call *call);
/* Suspends until the call has ended, or (a lease) has a connection, or all that a lease sent was answered. Waiting for
 * a connection ends by acquire_timeout, everything by the task's own deadline. Returns 0; -ETIMEDOUT or -ECANCELED with
 * e filled: the call is still the task's to leave. */
int pg_call_wait(struct pg_call *call, struct pg_limit *limit, struct error *e) must_check;
/* The same without a task: when to look whether the wait is over, at the latest; in the past, it is. by: the deadline
 * of who waits. */
deadline_t pg_call_look_at(const struct pg_call *call, struct pg_limit *limit, deadline_t by);
/* The wait is over before the call is. Returns -ETIMEDOUT with e filled. */
int pg_call_late(const struct pg_call *call, const struct pg_limit *limit, deadline_t by, struct error *e) must_check;
/* Append what is awaited, for people to read. */
void pg_call_describe(const struct pg_call *call, struct buf *out);

/* --- for the pool and the pipe --- */

/* The one writer of the phase. */
void pg_call_move(struct pg_call *call, enum pg_phase phase);
/* The call is over: wake its task, or free it where it was abandoned. */
void pg_call_end(struct pg_call *call, enum pg_outcome outcome);
/* Everything that it had in the pipe was answered. */
void pg_call_answered(struct pg_call *call);
/* What comes for it is more than may be held. Its connection is closed next. */
void pg_call_overflow(struct pg_call *call);
/* Its connection is gone. */
void pg_call_broken(struct pg_call *call, const char *why);
