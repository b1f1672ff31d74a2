/* One connection to the server: libpq's, its place in the poller, its state and the pipe of what was sent.
 *
 *   CONNECTING   libpq is at it; connect.c
 *   IDLE         nothing is on its way
 *   BUSY         one call has it alone, or a lease holds it
 *   SHARED       short reads of several tasks are on their way
 *   QUARANTINED  a cancel request is under way: no call may come in, and a lease goes on (BUSY), only when both the
 *                request and the statement have ended
 *   CLOSED       freed at the end of the turn
 *
 * One that is IDLE may be sent to another worker: it then belongs to that worker's loop.
 *
 * Loop thread only. */
#pragma once

#include "async/loop.h"
#include "drivers/postgres/wire/call.h"
#include "drivers/postgres/wire/client.h"

/* What an entry of the pipe is an answer to. */
enum pg_role {
	PG_OTHER,
	PG_PREPARE,
	PG_DEALLOCATE,
	PG_DESCRIBE,
	PG_EXECUTE,
	PG_FETCH,
	PG_COPY,
	PG_NAMES,
	PG_TYPES,
	PG_RESET,
	PG_JUDGE,
	PG_SYNC
};

/* Which way the data of the COPY goes that is at the head of the pipe. */
enum pg_copying { PG_COPYING_NOT, PG_COPYING_IN, PG_COPYING_OUT };

struct pg_entry {
	struct pg_call *call; /* NULL: the connection's own */
	/* That the call was running then. It lives for as long as the call is wanted. */
	struct pg_statement *statement;
	unsigned index; /* the statement's, among what is prepared */
	uint8_t role;
};

struct pg_connection {
	struct list link;         /* in its client's list of its state */
	struct pg_client *client; /* NULL: on its way to another worker's */
	struct budget_parcel parcel;
	uint64_t number; /* for the log */
	uint8_t state;   /* enum pg_state; written by pg_connection_move alone */
	PGconn *pg;
	unsigned host;         /* of the URL's, to which it leads */
	enum source_role role; /* of that server, when it was made */
	struct watch watch;
	struct deferred flush; /* the Sync and the system call of this turn */
	struct timer cancel_timer;
	struct task *connector; /* CONNECTING */

	struct pg_entry *ring; /* a power of two of entries */
	unsigned first, entries, ring_size;
	unsigned calls;         /* on their way, abandoned ones included */
	unsigned abandoned;     /* of them */
	unsigned group_left;    /* EXECUTEs of the group that is being answered */
	int64_t group_share_us; /* what each of them took */
	int64_t answered_us;    /* when the last answer came */
	bool unsynced;          /* commands were sent since the last Sync */
	bool broken;            /* libpq refused a command: closed at the end of the turn */
	bool draining;          /* shared, but takes no more calls */
	bool retired;           /* to be closed as soon as it is idle */
	bool ending;            /* the server has said that it ends it */
	bool cancelling;        /* the request is under way */
	uint8_t left;           /* enum pg_leaving: on the session, since its last reset */
	bool moved;             /* sequences moved on it, for somebody who has left it (leaving.h) */
	struct pg_judge *judge; /* of a statement that has run here; NULL: none */
	uint8_t copying;        /* enum pg_copying */
	bool paused;            /* PG_COPYING_OUT, PG_FETCH: what has come is not read yet, and no more is taken in */
	int64_t said_us;        /* PG_COPYING_IN: since when there is something from the server that is not a notice; 0:
				 * nothing
				 */

	unsigned unfinished; /* reads, one after another, that finished no result */
	int64_t received;    /* bytes, when that began to be counted */

	struct pg_call *lease;
	uint32_t *prepared; /* by statement, of any worker: the generation that was prepared here; 0: none */
	unsigned prepared_size, prepared_stale;
	unsigned prepared_elsewhere;          /* by other workers, when it came */
	int64_t began_us;                     /* to connect */
	int64_t longest_us;                   /* that its session lets a statement run */
	int64_t cancelled_us, quarantined_us; /* the last request; since when */
	int64_t expires_us, idle_since_us;
};

#define PG_MAX_SHARING 64 /* calls on a shared connection */

struct pg_connection *pg_connection_new(struct pg_client *c);
/* libpq has connected: pg is taken over, the connection is idle. */
void pg_connection_established(struct pg_connection *conn, PGconn *pg);
/* The one writer of the state. */
void pg_connection_move(struct pg_connection *conn, enum pg_state state);
/* It is idle, and leaves its client's loop: nothing of this thread knows it any more. */
void pg_connection_detach(struct pg_connection *conn);
/* It has come from another worker's, and is idle in c. Where it can't be used it is closed. */
void pg_connection_attach(struct pg_connection *conn, struct pg_client *c);
/* Close it, whatever its state; calls that are on it are run again or fail with `why`. */
void pg_connection_close(struct pg_connection *conn, const char *why);
/* Nothing is in the pipe and nobody holds it: back to idle, or closed where its time has come. Who holds it still goes
 * on after a cancel request. */
void pg_connection_settle(struct pg_connection *conn);
/* Free those that were closed. Outside their callbacks. */
void pg_connections_bury(struct pg_client *c);

/* What is prepared here with st's index; 0: nothing. */
uint32_t pg_connection_prepared_generation(const struct pg_connection *conn, const struct pg_statement *st);
/* Is st prepared here, as it is now? Or on its way there? */
bool pg_connection_has(const struct pg_connection *conn, const struct pg_statement *st);
void pg_connection_prepared(struct pg_connection *conn, const struct pg_statement *st);
/* The statement of that index is not prepared here, or not any more. */
void pg_connection_unprepared(struct pg_connection *conn, unsigned index);

/* Shall it be closed as soon as it is idle? Its server was found to go, to take no writes or not to answer since it was
 * begun; or the configuration has changed: there are fewer connections, or its session would end statements that may
 * take longer now. */
static inline bool pg_connection_is_suspect(const struct pg_connection *conn)
{
	const struct pg_client *c = conn->client;

	return budget_over(&c->source->budget) || conn->longest_us < c->longest_us ||
	       pg_hosts_is_suspect(&c->source->hosts, conn->host, conn->began_us);
}

static inline struct pg_entry *pg_connection_head(struct pg_connection *conn)
{
	return conn->entries ? &conn->ring[conn->first & (conn->ring_size - 1)] : NULL;
}
