/* Making a call: a permit, addresses, one exchange or two, redirections. Loop thread only. */
#pragma once

#include "base/compiler.h"
#include "base/deadline.h"
#include "base/error.h"
#include "drivers/http/engine.h"
#include "drivers/http/message.h"

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
