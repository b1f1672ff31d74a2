/* The line that `systemctl status` shows while gatherd serves: "412 req/s, p99 8 ms, 0 errors/s; sources 3 of 4 (down:
 * rates)", at most every ten seconds. Main thread only. */
#pragma once

#include "handlers/generation.h"

/* From now on: what was counted before is not. */
void pulse_begin(void);
/* Call it often; g serves. Does nothing without a service manager. */
void pulse_turn(const struct generation *g);
