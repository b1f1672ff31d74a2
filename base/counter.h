/* Numbers that are written on the way of a request and read by whoever wants to see them.
 *
 * DESIGN. Each counter has one thread that writes it, with a plain load and store: no locked instruction, no cache line
 * that two writers fight for. Any thread reads it at any time. What several workers count of the same thing are several
 * counters, whose sum the reader makes (tally.h). */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct counter {
	_Atomic uint64_t value;
};

/* Its writer only. Of a gauge, n may be negative. */
static inline void counter_add(struct counter *c, int64_t n)
{
	uint64_t value = atomic_load_explicit(&c->value, memory_order_relaxed);
	atomic_store_explicit(&c->value, value + (uint64_t)n, memory_order_relaxed);
}

/* Its writer only. */
static inline void counter_set(struct counter *c, uint64_t value)
{
	atomic_store_explicit(&c->value, value, memory_order_relaxed);
}

/* Any thread. */
static inline uint64_t counter_read(const struct counter *c)
{
	return atomic_load_explicit(&c->value, memory_order_relaxed);
}

enum { HISTOGRAM_MOST = 30 };

/* The upper bounds of the buckets of all histograms, ascending, in microseconds. */
struct histogram_bounds {
	unsigned count;
	int64_t us[HISTOGRAM_MOST];
};
extern struct histogram_bounds histogram_bounds;

/* 0.5 1 2.5 5 10 25 50 100 250 500 ms, 1 2.5 5 10 s. */
extern const struct histogram_bounds histogram_bounds_default;

/* Before there are threads that observe. */
void histogram_set_bounds(const struct histogram_bounds *bounds);

/* How often something took how long; its count is the sum of its buckets. */
struct histogram {
	struct counter buckets[HISTOGRAM_MOST + 1]; /* those beyond the last bound are counted in [bounds.count] */
	struct counter sum_us;
};

/* Its writer only. */
static inline void histogram_observe(struct histogram *h, int64_t us)
{
	unsigned i = 0;
	while (i < histogram_bounds.count && us > histogram_bounds.us[i])
		i++;
	counter_add(&h->buckets[i], 1);
	counter_add(&h->sum_us, us);
}
