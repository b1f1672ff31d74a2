/* An answer's body that is read while it comes, with a bounded part of it in memory: a reader who is slow makes the
 * service wait. Loop thread only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/deadline.h"
#include "base/error.h"

struct http_transfer;
struct http_stream; /* http_response.stream of a request that was `streamed` */

/* Suspends if nothing has come yet. The next piece, decompressed: *p has it until the next call, or the stream is
 * closed. Returns its bytes, above 0; 0: the body has come to its end; or, with e filled and now and ever after, -EPIPE
 * (it broke off, or its compression is broken; 502), -ECONNREFUSED (the engine is being freed; 503), -ETIMEDOUT (504)
 * or -ECANCELED. One task at a time; -EBUSY for a second one. */
int64_t http_stream_read(struct http_stream *s, const void **p, deadline_t by, struct error *e) must_check;
/* Before its end the connection is given up. Nobody reads. NULL is allowed. */
void http_stream_close(struct http_stream *s);

/* For request.c: a stream for the body of t. */
struct http_stream *http_stream_new(struct http_transfer *t);
/* Has the final head come? */
bool http_stream_is_answered(const struct http_stream *s);
/* Give the transfer back, stopped; free. What http_request took for it stays taken. */
void http_stream_drop(struct http_stream *s);
