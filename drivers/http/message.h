/* A request and its answer, as they are before they are sent and after they have come. Any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

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
