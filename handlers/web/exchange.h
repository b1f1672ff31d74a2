/* One HTTP request and its one reply, over h2o.
 *
 * DESIGN. h2o's request may vanish (HTTP/2: at any time) or stay while nobody listens any more (HTTP/1: h2o has stopped
 * reading and hears nothing). So an exchange is memory of ours: what a task needs of the request is copied to its arena
 * before the task starts, the client's leaving is noticed by the poller (daemon/connection.h) and cancels the task, and
 * the exchange ends when both the task and the reply have. The body of the reply lives in the exchange until h2o has
 * sent it. A method that is none of ours never becomes an exchange that a handler sees: it is answered with 501. Loop
 * thread only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "async/local.h"
#include "async/task.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"
#include "config/config.h"
#include "handlers/web/numbers.h"
#include "handlers/web/problem.h"

struct st_h2o_req_t; /* h2o_req_t */
struct service;

struct span {
	const char *base;
	size_t len;
};

struct header {
	struct span name; /* lower case */
	struct span value;
};

/* The id of the request that a task works for: a NUL-terminated text. */
extern const struct task_local exchange_request_id;

struct exchange {
	struct arena arena;
	enum http_method method;  /* HEAD stays HEAD: the body of the reply is dropped by the exchange. METHOD_COUNT:
				     TRACE or  CONNECT, which no resource has */
	struct span path;         /* raw, as sent, up to the "?"; begins with "/" */
	struct span query;        /* raw, after the "?"; base NULL: there was none */
	struct span body;         /* the whole body; h2o's: valid until the reply, empty once the connection is gone */
	bool has_body;            /* it is not empty */
	struct span content_type; /* len 0: none; the same */
	char id[68];              /* X-Request-Id, NUL-terminated */
	char peer[48];            /* the client's address, which a trusted proxy may have named; "unix" */
	bool unix_peer;           /* came over a Unix socket */
	bool loopback_peer;       /* … or from loopback, without a field that only proxies write */
	bool admin_listener;      /* came in on server.admin or server.control */
	bool control_listener;    /* … on server.control */
	deadline_t by;            /* request_timeout from when the request was complete; may be narrowed before spawn */

	/* for the log line; set by the part that knows */
	const char *endpoint;             /* "GET /customers/{id}", or NULL */
	struct endpoint_numbers *numbers; /* where it is counted: of that endpoint, in this worker */
	const char *missing;              /* steps that were replaced: "a, b"; or NULL */
	struct error error;               /* what went wrong, for the log; errnum 0: nothing */

	/* What the request has changed by now; set by the part that knows, and said in the problem that ends it. */
	bool changed;   /* a change was made, and stays */
	bool uncertain; /* one may or may not have been made */

	void *handler_data; /* the handler's own */
	/* Append how long the request's parts took: a JSON list of {"name", "start_ms", "ms"}. NULL: it has none. */
	void (*parts)(const void *parts_of, struct buf *out);
	const void *parts_of; /* lives as long as the exchange */

	struct header always[3]; /* on the reply, whatever it will be; they live in the arena, or are static */
	unsigned always_count;

	/* private to exchange.c and the daemon follow; see exchange.c */
	struct exchange_private *private;
};

struct reply {
	unsigned status;
	const char *content_type; /* NULL: application/json; "": there is none, as there is no body */
	/* Beyond Content-Type, Content-Length, X-Request-Id; no control characters but tabs: refused. Room for what an
	 * endpoint declares (CONFIG_MAX_REPLY_HEADERS and Location) and for what gatherd adds. */
	struct header headers[CONFIG_MAX_REPLY_HEADERS + 20];
	size_t header_count;
	struct buf body; /* the exchange takes it over */
};

/* The header of that name (lower case), copied to the arena; base NULL: absent. Several of them: the first. Before the
 * reply only. */
struct span exchange_header(struct exchange *x, const char *name);
/* The same; several of them are one list, in their order, with commas in between (RFC 9110, 5.3), cookies with
 * semicolons (RFC 9113, 8.2.3). */
struct span exchange_header_list(struct exchange *x, const char *name);

/* The request's traceparent and tracestate, as HTTP sources pass them on; base NULL: absent. Whoever reads them judges
 * them: of several traceparents a list is made, which is not a traceparent. */
void exchange_trace(struct exchange *x, struct span *traceparent, struct span *tracestate);

/* At the very end of x, when neither its task nor its reply is left: call give_back(what). Once an exchange. */
void exchange_owes(struct exchange *x, void *what, void (*give_back)(void *what));

/* Run fn(x) as the request's task: its deadline is x->by, the client's leaving cancels it. fn must reply before it
 * returns, unless it was cancelled. Replies 503 itself if max_requests are running (of which a page about the daemon,
 * exchange_count_admin, is none) or no stack is to be had. */
void exchange_spawn(struct exchange *x, task_fn fn);

/* Send the reply; once an exchange. Does not suspend. Takes r->body. A reply that can't be sent as it is (a header with
 * a control character) becomes a 500. */
void exchange_reply(struct exchange *x, struct reply *r);

#define EXCHANGE_LENGTH_UNKNOWN UINT64_MAX

/* Begin a reply whose body of `length` bytes (EXCHANGE_LENGTH_UNKNOWN: exchange_stream_end says where it ends, chunked
 * in HTTP/1.1) follows piece by piece, instead of exchange_reply; in x's task, outside any deadline_push of it. r has
 * no body. Does not suspend; what is sent first goes out with the first piece. From here on the request's deadline does
 * not hold any more: a client may take as long as it keeps taking (one that takes less than server.write_timeout asks
 * for is dropped), and each call of the handler's own needs a deadline of its own. Returns 1: write the body; 0: there
 * is none to be written (HEAD, 204, 304, a length of 0), the reply is complete; or -ECANCELED (the client has left) or
 * -EINVAL (a header was bad and the reply is a 500). */
int exchange_stream_begin(struct exchange *x, struct reply *r, uint64_t length) must_check;

/* Suspends until h2o has sent the piece before, then gives it the bytes of b; *b is empty afterwards and owns memory to
 * be filled again, so a stream has two pieces in memory. The last of `length` bytes ends the reply. Returns 0;
 * -ECANCELED: the client is gone or the daemon ends; -EMSGSIZE: beyond `length`. A task that returns before the last
 * byte was written breaks the connection, which is how the client learns that the body is not whole. */
int exchange_stream_write(struct exchange *x, struct buf *b) must_check;
/* The same for small pieces, of a reply of unknown length: what is put while h2o has a piece gathers behind it, and
 * goes out with the next one. Suspends only if more than some 64 KiB have gathered. data stays the caller's. */
int exchange_stream_put(struct exchange *x, const void *data, size_t len) must_check;
/* The handler writes a body although there is none to be written (HEAD, 204, 304): as if the client had left, x's task
 * is cancelled, or it would write forever. */
void exchange_stream_unwanted(struct exchange *x);
/* Suspends until everything was sent, then ends a reply of unknown length. Returns 0 or -ECANCELED. */
int exchange_stream_end(struct exchange *x) must_check;

/* An RFC 9457 problem+json, from e: status, title, detail (e->public), instance (the request id), code and step where
 * they are not NULL; members_json: further members, rendered (`"errors":[…]`) or NULL. Sets x->error for the log.
 * If the request may change something, the problem says what has become of that (`outcome`), by e->change, x->changed
 * and x->uncertain. 503 and 429 (and 409 with e->retry_after_s) get Retry-After, unless something was or may have been
 * changed; extra headers (Allow, WWW-Authenticate) by `extra`, which may be NULL. */
void exchange_problem(struct exchange *x, const struct error *e, const char *step, const char *members_json,
		      const struct header *extra);

/* The client's request was refused, for that reason. */
void exchange_count_refusal(struct exchange *x, enum refusal_reason reason);
/* How many tasks of requests run in the process. */
unsigned exchange_running(const struct exchange *x);
/* It is for a page below /-/. */
void exchange_count_admin(struct exchange *x);
