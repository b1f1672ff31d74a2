/* The bounds of histograms. */
#include "base/counter.h"

#define DEFAULT_BOUNDS                                                                                                 \
	{                                                                                                              \
		14,                                                                                                    \
		{                                                                                                      \
			500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2500000, 5000000, \
				10000000                                                                               \
		}                                                                                                      \
	}

const struct histogram_bounds histogram_bounds_default = DEFAULT_BOUNDS;
struct histogram_bounds histogram_bounds = DEFAULT_BOUNDS;

void histogram_set_bounds(const struct histogram_bounds *bounds)
{
	histogram_bounds = *bounds;
}
