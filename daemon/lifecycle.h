/* From the first worker's start to the last one's end: what the main thread does meanwhile. */
#pragma once

#include <stdint.h>

#include "base/compiler.h"
#include "daemon/worker.h"

/* Return when SIGTERM or SIGINT asks for the end. */
void lifecycle_serve(struct workers *workers);
/* Return when every worker has ended: new connections are refused, requests that are running may end for
 * drain_timeout_us, then they are cancelled; a further signal cancels them at once. Returns 0, or -ETIMEDOUT: a worker
 * does not end. Once. */
int lifecycle_end(struct workers *workers, int64_t drain_timeout_us) must_check;
