/* Counting requests. */
#include "handlers/web/numbers.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { STATUSES = 600 };

static void endpoint_done(void *block)
{
	struct endpoint_numbers *e = block;
	struct reply_counts *next, *more = atomic_load(&e->replies.more);
	for (; more; more = next) {
		next = atomic_load(&more->more);
		free(more);
	}
}

const struct tally_kind endpoint_tally = {sizeof(struct endpoint_numbers), endpoint_done};
const struct tally_kind server_tally = {sizeof(struct server_numbers), NULL};
const struct tally_kind listener_tally = {sizeof(struct listener_numbers), NULL};

const char *const refusal_names[REFUSALS] = {
	[REFUSED_MAX_REQUESTS] = "max_requests",
	[REFUSED_MAX_CONNECTIONS] = "max_connections",
	[REFUSED_RATE] = "rate",
	[REFUSED_DRAINING] = "draining",
	[REFUSED_MALFORMED] = "malformed",
	[REFUSED_TIMEOUT] = "timeout",
};

/* The one writer's: a key is published when its place is taken. */
static struct counter *count_of(struct reply_counts *r, uint32_t key)
{
	for (;;) {
		for (unsigned i = 0; i < REPLY_COUNTS; i++) {
			uint32_t there = atomic_load_explicit(&r->counts[i].key, memory_order_relaxed);
			if (!there)
				atomic_store_explicit(&r->counts[i].key, key, memory_order_relaxed);
			if (!there || there == key)
				return &r->counts[i].replies;
		}
		struct reply_counts *more = atomic_load_explicit(&r->more, memory_order_relaxed);
		if (!more) {
			more = mem_zalloc(sizeof(*more));
			atomic_store_explicit(&r->more, more, memory_order_release);
		}
		r = more;
	}
}

void endpoint_count(struct endpoint_numbers *e, enum http_method method, unsigned status, int64_t us)
{
	counter_add(count_of(&e->replies, (uint32_t)method << 16 | (status < STATUSES ? status : STATUSES - 1)), 1);
	if (us >= 0)
		histogram_observe(&e->duration, us);
}

/* --- reading --- */

static void add_sum(struct reply_sums *sums, uint32_t key, uint64_t n)
{
	size_t at = 0;
	while (at < sums->count && sums->items[at].key < key)
		at++;
	if (at == sums->count || sums->items[at].key != key) {
		mem_reserve(sums->items, sums->capacity, sums->count + 1);
		memmove(&sums->items[at + 1], &sums->items[at], (sums->count - at) * sizeof(*sums->items));
		sums->items[at] = (struct reply_sum){.key = key};
		sums->count++;
	}
	sums->items[at].replies += n;
}

static void add_block(struct reply_sums *sums, const struct endpoint_numbers *e)
{
	for (const struct reply_counts *r = &e->replies; r; r = atomic_load_explicit(&r->more, memory_order_acquire)) {
		for (unsigned i = 0; i < REPLY_COUNTS; i++) {
			uint32_t key = atomic_load_explicit(&r->counts[i].key, memory_order_relaxed);
			if (key)
				add_sum(sums, key, counter_read(&r->counts[i].replies));
		}
	}
}

void endpoint_replies(const struct tally *t, struct reply_sums *out)
{
	out->count = 0;
	for (unsigned i = 0; i < t->workers; i++)
		add_block(out, (const struct endpoint_numbers *)(const void *)t->blocks[i]);
}

void reply_sums_done(struct reply_sums *sums)
{
	free(sums->items);
	*sums = (struct reply_sums){0};
}
