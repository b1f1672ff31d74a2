/* From the first worker's start to the last one's end: what the main thread does meanwhile. */
#pragma once

#include <stdint.h>

#include "base/compiler.h"
#include "daemon/reload.h"
#include "daemon/worker.h"

/* Return when SIGTERM or SIGINT asks for the end; reload meanwhile, when it is asked for. */
void lifecycle_serve(struct workers *workers, struct reloads *reloads);
/* How long the way down may take. */
struct lifecycle_times {
	int64_t delay_us; /* requests are accepted still, though /-/ready says no already */
	int64_t drain_us; /* then those that are running may end */
};

/* Return when every worker has ended: after the delay new connections are refused, requests that are running may end
 * within their time, then they are cancelled; by a second SIGTERM or SIGINT at once. Returns 0, or -ETIMEDOUT if some
 * worker does not end even so. */
int lifecycle_end(struct workers *workers, const struct lifecycle_times *times) must_check;
