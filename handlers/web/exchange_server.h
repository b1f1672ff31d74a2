/* The daemon's side of exchanges: making one of a request that h2o has read, and telling it what became of its client.
 *
 * The connection that the request came in on is a `struct carrier`; exchange.c knows no sockets. Loop thread only, but
 * for exchange_limits. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "async/loop.h"
#include "base/buf.h"
#include "base/list.h"
#include "handlers/web/exchange.h"

/* Of the whole process. Any thread. */
struct exchange_limits {
	atomic_uint max_requests; /* tasks at once */
	_Atomic int64_t request_timeout_us;
	atomic_uint running; /* tasks */
};

/* All exchanges of a worker. */
struct exchanges {
	struct loop *loop;
	struct exchange_limits *limits;
	struct list live, idle; /* of struct exchange_private */
	unsigned live_count, idle_count;
	bool draining; /* replies close their connection */
	struct tally *none_tally, *admin_tally, *server_tally;
	struct endpoint_numbers *none, *admin; /* this worker's of the endpoints that are none of the configuration's */
	struct server_numbers *server;         /* this worker's */
	struct buf line;                       /* the log line that is being put together */
	uint64_t random[4];                    /* xoshiro256++: request ids */
};

struct carrier;

struct carrier_ops {
	/* The request is not answered at once: call exchange_left when the client goes. */
	void (*watch)(struct carrier *c);
	/* h2o has a part of the reply, and will ask for the next. */
	void (*streaming)(struct carrier *c);
	/* h2o has the whole reply: call exchange_sent when it is through. */
	void (*replied)(struct carrier *c);
	/* Close: nobody is there to read a reply. Calls exchange_sent. */
	void (*drop)(struct carrier *c);
};

/* A connection, as an exchange sees it; embedded. */
struct carrier {
	const struct carrier_ops *ops;
	struct exchange *exchange; /* the request that is being answered, or NULL */
	char peer[48];
	bool loopback; /* loopback or a Unix socket */
	bool admin;    /* came in on server.admin or server.control */
	bool control;  /* … on server.control */
	bool local;    /* a Unix socket */
};

void exchanges_init(struct exchanges *all, struct loop *l, struct exchange_limits *limits);
/* None may be live. */
void exchanges_done(struct exchanges *all);
/* Cancel every task that runs, or only those of exchanges that owe that (exchange_owes); those that have not replied
 * answer 503 with `why`. */
void exchanges_cancel(struct exchanges *all, const void *owing, enum reason why);
/* A new request id, NUL-terminated. */
void exchange_make_id(struct exchanges *all, char *out, size_t size);

/* Count a request that never becomes an exchange; method base NULL: unknown. us below 0: unknown. */
void exchanges_count(struct exchanges *all, struct span method, unsigned status, int64_t us);

/* Make the exchange of a request. `forwarded`: it came through a proxy. Returns NULL if it has been answered
 * already: a method or a target that no handler could answer. */
struct exchange *exchange_begin(struct exchanges *all, struct carrier *c, struct st_h2o_req_t *req,
				bool forwarded) must_check;
/* The client went away before the reply, or its end. */
void exchange_left(struct exchange *x);
/* How much of the reply's body was written to the connection. */
uint64_t exchange_sent_bytes(const struct exchange *x);
/* The reply was sent, `whole` or not; or the connection is gone. The carrier is not touched any more. */
void exchange_sent(struct exchange *x, bool whole);

/* Was this reply made by an exchange, or is it one of h2o's own? */
bool exchange_made_reply(const struct st_h2o_req_t *req);
