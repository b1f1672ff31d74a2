/* What is counted of one thing that has a name: an endpoint, a step, a source, a listener.
 *
 * DESIGN. A tally has a block of counters for each worker, which only that worker writes. It is found by kind and name
 * when a configuration is loaded; from then on whoever counts holds a pointer to it, and a request costs an index and a
 * store. The same kind and name is the same tally, so what is counted goes on when the thing itself is made anew by a
 * new configuration, and ends when nobody has it any more. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/counter.h"
#include "base/list.h"

struct tally_kind {
	size_t size;               /* of a block, which is all zero in the beginning */
	void (*done)(void *block); /* frees what a block holds; NULL: nothing */
};

struct tally {
	struct list link; /* under lock */
	const struct tally_kind *kind;
	char *name;
	unsigned users; /* under lock */
	unsigned workers;
	void *memory;
	char *blocks[]; /* one for each worker, on cache lines of its own */
};

/* Which worker the calling thread is; 0 unless it was said. */
extern _Thread_local unsigned tally_worker;

/* How many workers there will be; 1 unless it was said. Before the first tally. */
void tally_set_workers(unsigned count);

/* The tally of that kind and name. Any thread. To be dropped. */
struct tally *tally_take(const struct tally_kind *kind, const char *name) __attribute__((returns_nonnull));
/* No counter of it is written or read by the caller any more. NULL is allowed. Any thread. */
void tally_drop(struct tally *t);
/* Call fn for each tally of that kind, in the order in which they came. Any thread; fn takes and drops none. */
void tally_each(const struct tally_kind *kind, void (*fn)(const struct tally *t, void *arg), void *arg);

/* The calling worker's block. */
static inline void *tally_here(const struct tally *t)
{
	return t->blocks[tally_worker < t->workers ? tally_worker : 0];
}

/* The sum over all workers of the counter that stands at that offset in a block. Any thread. */
static inline uint64_t tally_sum(const struct tally *t, size_t offset)
{
	uint64_t sum = 0;
	for (unsigned i = 0; i < t->workers; i++)
		sum += counter_read((const struct counter *)(const void *)(t->blocks[i] + offset));
	return sum;
}
