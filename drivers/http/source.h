/* An HTTP source and a worker's share of it. */
#pragma once

#include <stdatomic.h>

#include "async/future.h"
#include "async/semaphore.h"
#include "drivers/driver.h"
#include "drivers/health.h"
#include "drivers/http/action.h"
#include "drivers/http/breaker.h"
#include "drivers/http/engine.h"
#include "drivers/http/keys.h"
#include "drivers/http/trust.h"

struct http_source {
	struct source base;
	const struct http_source_keys *keys;
	struct executor *executor;
	struct arena arena;
	struct http_origin origin;
	struct http_origin proxy;
	bool proxied;
	struct http_trust *trust; /* NULL: no TLS */
	struct breaker breaker;
	struct health health; /* by its calls */
	struct tally *tally;
	struct shared_semaphore permits; /* one for each call under way, of all workers: config.pool.size */
	atomic_llong down_until_us;      /* the last attempt to connect failed: not ready until then; 0: it did not */
};

/* Loop thread only. */
struct http_client {
	struct client base;
	struct http_source *source;
	struct http_engine *engine;
	uint64_t random;
	unsigned callers;
	struct future closing; /* resolved when the client is being closed */
};

static inline struct http_client *http_client_of(struct client *c)
{
	return container_of(c, struct http_client, base);
}

/* The proxy that the environment names for calls to o, into out; texts live in a. Returns 0, -ENOENT (none) or -EINVAL
 * with *why. Main thread. */
int http_proxy_of_environment(struct http_origin *out, struct arena *a, const struct http_origin *o,
			      const char **why) must_check;

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
