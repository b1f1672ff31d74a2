/* HTTP calls on a loop: one libcurl multi handle, driven by the loop's own poller and timers.
 *
 * DESIGN. An engine is one worker's way to one origin. A call takes an easy handle from the engine's pool, gives it to
 * the multi handle and suspends its task; libcurl says which sockets it wants watched (they become watches of the
 * poller) and when it wants to be called (a timer), and its message that a transfer is done wakes the task. All of
 * libcurl runs on the loop's own stack, but for adding and removing a transfer.
 *
 * Names are resolved on the executor and handed to libcurl ready made: its own resolver has a thread for each look-up,
 * and taking a transfer off the multi handle waits for that thread (curl#8515).
 *
 * Connections are kept and used again. The watch of an idle one stays registered, so that a call on it costs no
 * epoll_ctl. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "async/executor.h"
#include "async/loop.h"
#include "base/buf.h"
#include "base/compiler.h"
#include "base/deadline.h"
#include "base/error.h"
#include "drivers/http/origin.h"

struct config_pool;
struct http_engine;
struct http_trust;
struct shared_semaphore;
struct tally;

/* What holds for all calls of an engine. Everything that it points to outlives it. */
struct http_settings {
	const struct http_origin *origin;
	struct executor *executor;        /* for names */
	const struct http_trust *trust;   /* with https: whom to believe (trust.h) */
	const struct http_origin *proxy;  /* NULL: none, whatever the environment says */
	int64_t connect_timeout_us;       /* with the TLS handshake; 0: 5 s */
	const struct config_pool *pool;   /* its size is also how many connections the engine keeps */
	struct tally *tally;              /* the source's; NULL: nothing is counted */
	struct shared_semaphore *permits; /* one for each call under way; of all engines that share the pool */
};

/* Loop thread. Returns 0 or -errno with e filled. */
int http_engine_new(struct http_engine **out, const struct http_settings *settings, struct error *e) must_check;
/* End what runs (-ECONNREFUSED) and refuse what comes. Loop thread. */
void http_engine_refuse(struct http_engine *engine);
/* Suspends (shielded): ends what still runs (-ECONNREFUSED), waits for its callers to leave, closes all connections.
 * NULL is allowed. */
void http_engine_free(struct http_engine *engine);
/* Is no call under way? Loop thread. */
bool http_engine_idle(const struct http_engine *engine);

enum {
	HTTP_MAX_LINES = 65,           /* header lines of a request */
	HTTP_MAX_HEAD_BYTES = 65536,   /* of all header lines of an answer, interim answers and trailers included */
	HTTP_MAX_HEAD_LINES = 256,     /* of the same */
	HTTP_MAX_TARGET_BYTES = 32768, /* of a request's target */
};

struct http_request {
	const char *method;       /* "GET" */
	const char *target;       /* path and query, percent-encoded, beginning with "/" */
	const char *const *lines; /* header lines, "Name: value"; no CR, LF or NUL */
	size_t line_count;        /* at most HTTP_MAX_LINES */
	const void *body;         /* NULL: none. Stays the caller's, and unchanged until the call returns */
	size_t body_len;
	size_t max_size;    /* of the answer's body, as it comes and decompressed; 0: 8 MiB */
	unsigned redirects; /* to follow on the same origin; 0: a redirection is an answer like any other */
	bool streamed; /* the answer's body is left to be read (stream.h), however long: over HTTP/1, where a reader
			  who takes its time holds nobody else up. The request stays as it is until that is closed */
};

/* How far a call came. */
enum http_outcome {
	HTTP_ANSWERED,    /* a whole answer: status, head, body */
	HTTP_NOT_SENT,    /* nothing was sent: no permit, no address, no connection, or none in time */
	HTTP_BROKEN,      /* it may have been sent, and the connection broke, or what came is no HTTP */
	HTTP_NONSENSE,    /* what came can't be used: too large, too many headers, a redirection elsewhere, no TLS */
	HTTP_INTERRUPTED, /* the deadline passed or the task was cancelled */
};

struct http_response {
	enum http_outcome outcome;
	unsigned status;
	bool sent;                  /* something of the request has left, or was about to */
	bool in_doubt;              /* http_call's: nothing says that no attempt has done what it was to do */
	struct buf head;            /* header lines of the final answer, each "Name: value\r\n" */
	struct buf body;            /* decompressed */
	struct http_stream *stream; /* of what was streamed and answered: the body; the response stays where it is. It
				       is a call under way until it is closed. Else NULL */
};

/* Suspends until the whole answer is there (streamed: its head), or `by`. Returns 0, whatever its status; or, with e
 * filled, -ECONNREFUSED (cannot connect; 503), -EBUSY (the pool is full: too many wait, or it waited for too long;
 * 503), -EPIPE (it broke, or is no HTTP; 502), -EMSGSIZE (too large; 502), -ETIMEDOUT (504; before it was sent: 503),
 * -ECANCELED, -EINVAL (the request can't be sent; 500). response is
 * initialized in any case, and http_response_done's. A write is sent at most once; GET, HEAD, PUT, DELETE, OPTIONS are
 * sent again once, on a new connection, if the one that was kept turns out to be closed, or brings what is not an
 * answer or a 408 that was on its way before. A whole answer that a service sends unasked in that same moment can't be
 * told from the right one (HTTP/1 numbers nothing); one that comes any earlier is never taken for it. */
int http_request(struct http_engine *engine, const struct http_request *request, struct http_response *response,
		 deadline_t by, struct error *e) must_check;
/* The same for a plain GET. */
int http_get(struct http_engine *engine, const char *target, struct http_response *response, deadline_t by,
	     struct error *e) must_check;
/* Suspends. Connect, with TLS where the origin has it, and close: nothing is sent. Returns 0 or as http_request. */
int http_connect(struct http_engine *engine, deadline_t by, struct error *e) must_check;
/* Closes its stream, too. */
void http_response_done(struct http_response *r);

/* May a request of this method be sent again without doing its work twice (RFC 9110, 9.2.2)? */
bool http_method_idempotent(const char *method);
/* Does a request of this method change nothing (RFC 9110, 9.2.1)? */
bool http_method_safe(const char *method);

struct http_header {
	const char *name, *value;
	size_t name_len, value_len;
};
/* The headers of r by turns; *at begins as 0. False: no more. */
bool http_header_next(const struct http_response *r, size_t *at, struct http_header *out);
/* The first one of that name, case aside; false: there is none. */
bool http_header_find(const struct http_response *r, const char *name, struct http_header *out);
