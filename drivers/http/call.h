/* A call as a step or a handler asks for it: with its attempts, its breaker, its time-out. */
#pragma once

#include "base/compiler.h"
#include "base/error.h"
#include "drivers/http/message.h"
#include "drivers/http/source.h"

/* Suspends. Make the call once, or again if `retry` says so, under the breaker, within timeout_us (0: only the
 * task's deadline) and with the source's max_size and redirects. Returns 0 with an answer in response, whatever its
 * status; or -errno with e filled. response is http_response_done's. */
int http_call(struct http_client *c, struct http_request *request, int64_t timeout_us, struct http_response *response,
	      struct error *e) must_check;
/* Say in e where it happened, and return r. */
int http_locate(struct error *e, int r, const struct http_client *c, const struct http_action *a);
/* How a call ended, with r: a failure is located, and e->change says so if the service may have done it all the same
 * (of an answer that is handed on whatever its status, too). Returns r. */
int http_conclude(struct error *e, int r, const struct http_response *response, const struct http_client *c,
		  const struct http_action *a);
