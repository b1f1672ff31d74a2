/* From the first worker's start to the last one's end: what the main thread does meanwhile. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "daemon/worker.h"

/* Take the signals from all threads that will be started, and ignore SIGPIPE. Before any thread, those of modules
 * included, which may start some when they are loaded. */
int lifecycle_begin(void) must_check;
/* Wait until changed_fd was written to, or a signal came. Returns whether the end was asked for, by this one or one
 * before. */
bool lifecycle_wait(int changed_fd);
/* Return when SIGTERM or SIGINT asks for the end. */
void lifecycle_serve(struct workers *workers);
/* Return when every worker has ended: new connections are refused, requests that are running may end for
 * drain_timeout_us, then they are cancelled; a further signal cancels them at once. Returns 0, or -ETIMEDOUT: a worker
 * does not end. Once. */
int lifecycle_end(struct workers *workers, int64_t drain_timeout_us) must_check;
