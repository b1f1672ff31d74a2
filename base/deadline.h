/* Points in time on CLOCK_MONOTONIC. A wait that takes a deadline_t ends by it; the clock of the wall plays no part. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

typedef struct {
	int64_t us; /* CLOCK_MONOTONIC, microseconds */
} deadline_t;

#define DEADLINE_NEVER ((deadline_t){INT64_MAX})

static inline int64_t monotonic_us(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* What lies beyond the end of time is DEADLINE_NEVER. */
static inline deadline_t deadline_in_us(int64_t us)
{
	deadline_t at;
	if (__builtin_add_overflow(monotonic_us(), us, &at.us))
		at = DEADLINE_NEVER;
	return at;
}

static inline deadline_t deadline_in_ms(int64_t ms)
{
	int64_t us;
	if (__builtin_mul_overflow(ms, INT64_C(1000), &us))
		us = ms < 0 ? INT64_MIN : INT64_MAX;
	return deadline_in_us(us);
}

static inline deadline_t deadline_min(deadline_t a, deadline_t b)
{
	return a.us < b.us ? a : b;
}

static inline bool deadline_passed(deadline_t d)
{
	return d.us != INT64_MAX && d.us <= monotonic_us();
}

/* What is left, not below 0. INT64_MAX for DEADLINE_NEVER. */
static inline int64_t deadline_left_us(deadline_t d)
{
	if (d.us == INT64_MAX)
		return INT64_MAX;
	int64_t now_us = monotonic_us();
	return d.us > now_us ? d.us - now_us : 0;
}
