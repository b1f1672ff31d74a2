/* Client connections of a worker: what happens on one before, between and after its requests.
 *
 * DESIGN. h2o speaks HTTP/1 on a connection's socket; we stand at two of its doors, the callbacks for input and for
 * "written". Before each request our own callback reads the head (head.h), and h2o's is put back and called once the
 * head is whole and right. After each reply ours is called first: the request is logged, bytes of a next, pipelined
 * request are kept from h2o, and we stand at the first door again. So h2o only ever sees right heads, one at a time.
 *
 * A client that leaves while its request is answered is noticed by the poller. One that shuts its sending side down,
 * and awaits its reply, looks the same at first, and is asked, once a second, whether it is still there.
 *
 * h2o's own timeouts follow the wall clock, and it has none for writing. Once a second all connections are looked at
 * instead: each state has the time that it may take. A reply may take longer, as long as its client keeps taking it:
 * what it has not taken is memory of ours. Loop thread only. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "async/loop.h"
#include "handlers/service.h"
#include "handlers/web/exchange_server.h"

struct st_h2o_accept_ctx_t; /* h2o_accept_ctx_t */
struct st_h2o_req_t;        /* h2o_req_t */
struct connection;

enum { CONNECTION_LEAST_TAKEN = 64 * 1024 };

/* An address that connections come in on, as a worker counts them: there while its listener or one of them is. */
struct entrance {
	struct tally *tally;
	struct listener_numbers *numbers;
	unsigned users;
};

/* name: of the address. To be left by whoever enters. */
struct entrance *entrance_new(const char *name);
void entrance_leave(struct entrance *e);

/* All connections of a worker. */
struct connections {
	struct loop *loop;
	struct st_h2o_accept_ctx_t *accept;
	struct exchanges *exchanges;
	struct service *service;
	size_t body_limit;        /* every endpoint takes that much: what has more is looked at */
	int64_t idle_timeout_us;  /* between requests; of these three 0 is none */
	int64_t read_timeout_us;  /* for a body */
	int64_t write_timeout_us; /* in each the client takes CONNECTION_LEAST_TAKEN bytes of a reply, or the rest */
	struct list live;
	unsigned count;
	atomic_uint *total; /* of the process */
	struct timer sweep;
};

void connections_init(struct connections *all, struct loop *l);
/* None may be open. */
void connections_done(struct connections *all);

/* Serve a connection that was accepted on such a listener: fd is taken over. */
void connection_open(struct connections *all, int fd, const struct sockaddr_storage *peer, bool admin, bool control,
		     struct entrance *entrance);
/* While the worker drains, every now and then: close what is idle. A client that has just had a reply may be sending
 * its next request, unaware: it gets a moment for it, and a reply that ends the connection. */
void connections_drain(struct connections *all);
/* Close those on which no request is being answered; with `everything` these, too. */
void connections_close(struct connections *all, bool everything);

/* The connection that a request came in on. */
struct connection *connection_of(struct st_h2o_req_t *req);
/* h2o has read a whole request: answer it. */
void connection_request(struct connection *c, struct st_h2o_req_t *req);
/* A request id for a refusal. */
void connection_make_id(struct connection *c, char *out, size_t size);
/* h2o refused a request itself (a body that is too large, broken chunks) and has begun to write our text for it. */
void connection_refused(struct connection *c, struct st_h2o_req_t *req, const char *id);
