/* What the main thread does in between for the service manager: it feeds the watchdog while every worker turns, and
 * asks for more time while a start or a stop takes long. Main thread only. */
#pragma once

#include <stdint.h>

#include "daemon/worker.h"

/* From now on, as often as it takes, while the main thread waits (signals.h). workers: may have none yet; NULL: no
 * more. */
void heartbeat_begin(struct workers *workers);
/* It serves: no extension is asked for. */
void heartbeat_serving(void);
/* It drains, for at most that long. */
void heartbeat_draining(int64_t timeout_us);
/* A slow part of the start begins, of which the main thread does not come back in between. */
void heartbeat_starting(const char *what);
