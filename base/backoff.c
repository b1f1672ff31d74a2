/* Exponential backoff with jitter. */
#include "base/backoff.h"

#include <stdlib.h>

static int64_t by_chance(int64_t most)
{
	if (most <= 0)
		return 0;
	return (int64_t)arc4random_uniform(most < UINT32_MAX ? (uint32_t)most : UINT32_MAX);
}

int64_t backoff_us(unsigned failures, int64_t first_us, int64_t longest_us)
{
	int64_t us = first_us;

	for (unsigned i = 1; i < failures && us < longest_us; i++)
		us *= 2;
	if (us > longest_us)
		us = longest_us;
	return us - us / 2 + by_chance(us / 2 + 1);
}

int64_t backoff_spread_us(int64_t us)
{
	return us - by_chance(us / 10 + 1);
}
