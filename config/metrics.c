/* metrics: what is measured, and how finely. */
#include "config/language.h"
#include "config/scalar.h"

enum { FEWEST_BUCKETS = 2 };
#define SHORTEST_US 100
#define LONGEST_US  INT64_C(3600000000)

/* [ 1ms, 10ms, 100ms, 1s ] */
void decode_buckets(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	struct histogram_bounds *bounds = (struct histogram_bounds *)(void *)((char *)object + k->offset);

	if (n->kind != NODE_SEQUENCE || n->count < FEWEST_BUCKETS || n->count > HISTOGRAM_MOST) {
		decode_unexpected(dc, k->name, n, "a list of 2 to 30 durations");
		return;
	}
	for (size_t i = 0; i < n->count; i++) {
		const struct node *item = n->items[i];
		int64_t us = 0, before_us = i > 0 ? bounds->us[i - 1] : SHORTEST_US - 1;
		if (item->kind != NODE_STRING || !scalar_duration(item->text, &us) || us > LONGEST_US ||
		    us <= before_us) {
			decode_unexpected(dc, k->name, item,
					  i > 0 ? "a duration that is longer than the one before it, up to 1h"
						: "a duration from 0.1ms to 1h");
			*bounds = (struct histogram_bounds){0};
			return;
		}
		bounds->us[bounds->count++] = us;
	}
}
