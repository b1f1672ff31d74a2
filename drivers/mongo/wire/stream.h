/* The sockets of a libmongoc client: streams that suspend the calling task when libmongoc's own would block the
 * thread.
 *
 * DESIGN. libmongoc asks for a stream a server (mongo_stream_initiate), polls them while it looks for the servers'
 * roles, then reads and writes one of them. A stream connects, and shakes hands under TLS, while it is polled; its
 * socket is watched once, edge-triggered, so that an operation costs one write, one suspension and one read. The
 * streams of one client form a set. The set remembers the first thing that went wrong, its fault: from then on every
 * call on any of its streams fails at once, without suspending, so that libmongoc finds its way out by its own error
 * paths; the client is thrown away afterwards. Loop thread only; what suspends, in a task. */
#pragma once

#include <mongoc/mongoc.h>
#include <stdbool.h>

#include "async/executor.h"
#include "base/compiler.h"
#include "base/deadline.h"
#include "base/list.h"

struct mongo_tls;

struct mongo_stream_settings {
	struct executor *executor;   /* resolves names */
	const struct mongo_tls *tls; /* NULL: clear text */
	int64_t connect_timeout_us;  /* of one server: its name, its addresses, TLS */
};

struct mongo_stream_set {
	const struct mongo_stream_settings *settings;
	struct list streams; /* open ones */
	int fault;         /* 0, or -errno: why nothing goes through any more; -ETIMEDOUT, -ECANCELED: the task's own */
	bool answering;    /* bytes of an answer have come since the last request was written */
	int64_t polled_us; /* when libmongoc last looked for its servers; 0: never */
	bool writes;       /* the command that was sent last writes: its answer is awaited beyond the deadline */
	deadline_t word_by;   /* and until then, at most; never: the deadline has not passed yet */
	bool wants_primary;   /* no other server will do: once it has answered, the others get no more than a moment */
	deadline_t others_by; /* when that is over */
	char why[160];        /* the last thing that went wrong on a socket, for the log; "" */
	/* A connection was closed, or spoke, while nobody waited for it. */
	void (*disturbed)(struct mongo_stream_set *set);
};

void mongo_stream_set_init(struct mongo_stream_set *set, const struct mongo_stream_settings *settings,
			   void (*disturbed)(struct mongo_stream_set *set));
/* Set the fault, if there is none yet, and close every socket. A task that waits on one is woken. Does not suspend. */
void mongo_stream_set_fail(struct mongo_stream_set *set, int fault);
/* The client goes to another thread: its sockets leave this loop, and are watched by that one. Nobody waits on them.
 * An event of a socket meanwhile is noticed by the loop that it comes to. */
void mongo_stream_set_detach(struct mongo_stream_set *set);
void mongo_stream_set_attach(struct mongo_stream_set *set);
/* Are no streams left? */
static inline bool mongo_stream_set_empty(const struct mongo_stream_set *set)
{
	return list_empty(&set->streams);
}

/* For mongoc_client_set_stream_initiator; user_data is the struct mongo_stream_set. Suspends while a name is resolved.
 * Never returns NULL: libmongoc would hang on it. A stream that can't connect says so when it is polled. */
mongoc_stream_t *mongo_stream_initiate(const mongoc_uri_t *uri, const mongoc_host_list_t *host, void *user_data,
				       bson_error_t *error);
