/* From the first request to the last: what the main thread does while the workers serve. */
#pragma once

#include <stdint.h>

#include "base/compiler.h"
#include "daemon/worker.h"

/* Take the signals from all threads that will be started, and ignore SIGPIPE. Before any thread. */
int lifecycle_begin(void) must_check;
/* Return when every worker has ended, after SIGTERM or SIGINT: new connections are refused, requests that are running
 * may end for drain_timeout_us, then they are cancelled; a second signal cancels them at once. Returns 0, or
 * -ETIMEDOUT: a worker does not end. */
int lifecycle_run(struct workers *workers, int64_t drain_timeout_us) must_check;
