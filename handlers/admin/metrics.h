/* /-/metrics: what the process counts, as Prometheus reads it.
 *
 * The names of the series, with their labels, are rendered when a configuration is loaded; a scrape copies them and
 * adds up the workers' counters (base/tally.h), on the loop that was asked, without a lock or a message on the way of
 * any request. Labels are names of the configuration and words of this program, never what a client has sent. */
#pragma once

#include "async/executor.h"
#include "async/semaphore.h"
#include "base/buf.h"
#include "config/config.h"
#include "drivers/driver.h"
#include "handlers/gather/plan.h"
#include "handlers/web/cache.h"

struct metrics;

/* Which families are wanted: ?collect[]= */
enum metric_part { PART_HTTP, PART_STEPS, PART_POOLS, PART_LOOP, PART_PROCESS, METRIC_PARTS };
extern const char *const metric_part_names[METRIC_PARTS];
#define METRICS_ALL (BIT(METRIC_PARTS) - 1)

/* What is asked for its state when it is scraped. */
struct metrics_view {
	struct source *const *sources;              /* one for each of the configuration's */
	struct shared_semaphore *const *semaphores; /* the same */
	const struct cache *cache;
	struct executor *executor;
	unsigned running; /* requests */
};

/* tallies and plans: one for each endpoint of c. They, and c, outlive it. */
struct metrics *metrics_new(const struct config *c, struct tally *const *tallies, struct plan *const *plans);
/* NULL is allowed. */
void metrics_free(struct metrics *m);

/* The families of `parts` (bits of enum metric_part). Any thread. */
void metrics_render(const struct metrics *m, const struct metrics_view *view, unsigned parts, bool open_metrics,
		    struct buf *out);
