/* What the process was like until now, for the status page: its last fifteen minutes, what has happened in them, and
 * the last minute of each endpoint, source and worker.
 *
 * DESIGN. The main thread looks at the counters (base/tally.h) every five seconds and keeps what it saw; so a request
 * costs nothing. What is shown are differences between two looks: rates, means, and percentiles within the buckets of
 * the histograms. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

/* The main thread looks that often. */
enum { HISTORY_EVERY_MS = 5000 };

/* Look once. Main thread; the first time before there are requests. */
void history_look(unsigned running);
void history_done(void);

/* Something happened: "reload", "source down", "breaker", …; text NULL: there is no more to say. Any thread. */
void history_event(const char *kind, const char *text);

/* The last minute of something that is counted in a histogram. Below 0: it is not known. */
struct history_minute {
	double per_s, mean_ms, p50_ms, p95_ms, p99_ms;
	double failures_per_s; /* of endpoints: answers from 500 on; of sources: steps */
	double failed_percent, incomplete_percent;
};

/* Append members of the status document: "history":{…},"events":[…]. Any thread. */
void history_render(struct buf *out);
/* Append "endpoints":[…], those first on which most time was spent. Returns whether replies were incomplete. Any
 * thread. */
bool history_endpoints(struct buf *out);
/* The last minute of a source, by its name. Any thread. */
void history_source(const char *name, struct history_minute *out);
/* Append "lag_ms":…,"turns_per_s":… of a worker. Any thread. */
void history_worker(struct buf *out, unsigned worker);

/* The value that a share of what a histogram has counted stays below, in milliseconds, by its buckets; below 0: it has
 * counted nothing. For its tests, too. */
double history_quantile_ms(const uint64_t *buckets, double share);
