/* Answering a request by a plan. */
#pragma once

#include "async/semaphore.h"
#include "drivers/driver.h"
#include "handlers/gather/plan.h"
#include "handlers/web/cache.h"
#include "handlers/web/exchange.h"
#include "handlers/web/rate.h"
#include "handlers/web/router.h"

/* The surroundings in which this worker runs the plans of one configuration. */
struct gather_env {
	struct client *const *clients;              /* one for each source */
	struct shared_semaphore *const *semaphores; /* one for each of config.semaphores; the process's */
	struct cache *cache;                        /* the process's */
	struct rates *rates;                        /* the process's */
	bool explain;                               /* server.explain */
	size_t reply_limit;                         /* server.reply_limit */
	int64_t fetch_budget_us;                    /* what a fetch that is shared may take: server.request_timeout */
};

/* Check the parameters, then reply: at once if the plan has no steps or the reply is cached, else from a task in
 * which the steps are operations, or tasks of their own. Loop thread. */
void gather_handle(const struct plan *plan, const struct gather_env *env, struct exchange *x,
		   const struct route_match *m);
