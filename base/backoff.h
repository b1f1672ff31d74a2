/* Waiting before a further attempt: longer each time, and never together with others that failed at the same moment. */
#pragma once

#include <stdint.h>

/* How long to wait after that many failures in a row, which are at least one: first_us, doubled each time, at most
 * longest_us; of that, half for certain and up to half by chance ("equal jitter": M. Brooker, Exponential Backoff And
 * Jitter, 2015). Microseconds. Any thread. */
int64_t backoff_us(unsigned failures, int64_t first_us, int64_t longest_us);
/* That long, give or take a tenth at most earlier: what began together does not end together. */
int64_t backoff_spread_us(int64_t us);
