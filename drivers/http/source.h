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

static inline const struct http_source_keys *http_client_keys(const struct http_client *c)
{
	return c->base.config->own;
}
