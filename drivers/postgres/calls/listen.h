/* Notifications: one connection of a worker listens, for all its listeners to all channels of the source.
 *
 * DESIGN. While somebody listens a task of the client's own, the hub's, holds a lease (call.h): it sends LISTEN for a
 * channel with its first listener and UNLISTEN after its last, asks the server for a sign of life when it was silent
 * for long, and gives the connection back when nobody listens any more. What arrives is queued for each listener of its
 * channel. Where a connection breaks, or a listener does not read in time, notifications are missed: those listeners
 * fail once they have read what did arrive, and whoever wants to go on listens again. Loop thread only. */
#pragma once

#include "async/task.h"
#include "base/error.h"
#include "drivers/postgres/wire/client.h"

struct pg_connection;

enum {
	PG_CHANNEL_LEN = 63, /* bytes; the server's NAMEDATALEN */
	PG_LISTENER_NOTIFICATIONS = 1024,
	PG_LISTENER_BYTES = 4 << 20,
};

/* Shared by the listeners that it is queued for. */
struct pg_notification {
	unsigned users;
	int pid; /* of the server's process that sent it */
	size_t len;
	char payload[];
};

struct pg_listener {
	struct list link;           /* in its channel's */
	struct pg_client *client;   /* NULL: closed */
	struct pg_channel *channel; /* NULL: it hears nothing any more */
	struct waiter *waiter;
	struct list heard; /* and not read yet, the first first */
	unsigned count;
	size_t bytes;
	struct pg_notification *current; /* what was read last */
	struct error failure;            /* errnum below 0: why it hears nothing more */
};

/* Suspends until the server has taken the LISTEN: everything that is sent from then on is heard. Returns 0, or -errno
 * with e filled: it is closed then. */
int pg_listener_open(struct pg_listener *l, struct pg_client *c, const char *channel, const char *call,
		     struct error *e) must_check;
/* Suspends until there is one. *out is valid until the next call. Returns 1, or -errno with e filled: -ETIMEDOUT and
 * -ECANCELED are the task's; -EPIPE: the connection broke; -ENOBUFS: too many were not read in time. */
int pg_listener_next(struct pg_listener *l, const struct pg_notification **out, struct error *e) must_check;
/* Idempotent. Nobody may be in pg_listener_next. */
void pg_listener_close(struct pg_listener *l);

/* Ask for a sign of life after that time without any (30 s), and wait so long for each answer (10 s). For tests. */
void pg_listen_probe(struct pg_client *c, int64_t us, int64_t patience_us);

/* Nobody listens. */
void pg_listen_done(struct pg_client *c);
