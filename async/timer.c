/* A binary heap of timers, each knowing its slot, so that any of them can be taken out. */
#include "async/timer.h"

#include <stdint.h>
#include <stdlib.h>

#include "async/internal.h"
#include "base/mem.h"

static void place(struct timers *h, size_t slot, struct timer *t)
{
	h->heap[slot] = t;
	t->slot = slot;
}

static void sift_up(struct timers *h, size_t slot, struct timer *t)
{
	for (size_t parent; slot > 1; slot = parent) {
		parent = slot / 2;
		if (h->heap[parent]->at.us <= t->at.us)
			break;
		place(h, slot, h->heap[parent]);
	}
	place(h, slot, t);
}

static void sift_down(struct timers *h, size_t slot, struct timer *t)
{
	for (size_t child; (child = slot * 2) <= h->count; slot = child) {
		if (child < h->count && h->heap[child + 1]->at.us < h->heap[child]->at.us)
			child++;
		if (t->at.us <= h->heap[child]->at.us)
			break;
		place(h, slot, h->heap[child]);
	}
	place(h, slot, t);
}

static void resettle(struct timers *h, size_t slot, struct timer *t)
{
	if (slot > 1 && t->at.us < h->heap[slot / 2]->at.us)
		sift_up(h, slot, t);
	else
		sift_down(h, slot, t);
}

void timers_init(struct timers *h)
{
	*h = (struct timers){.expiring_us = INT64_MIN};
}

void timers_done(struct timers *h)
{
	free(h->heap);
	timers_init(h);
}

deadline_t timers_next(const struct timers *h)
{
	return h->count ? h->heap[1]->at : DEADLINE_NEVER;
}

bool timers_expire(struct timers *h, int64_t now_us)
{
	bool fired = false;
	h->expiring_us = now_us;
	while (h->count && h->heap[1]->at.us <= now_us) {
		struct timer *t = h->heap[1];
		timer_stop(t, h);
		t->fire(t);
		fired = true;
	}
	h->expiring_us = INT64_MIN;
	return fired;
}

void timer_init(struct timer *t, void (*fire)(struct timer *t))
{
	*t = (struct timer){.fire = fire};
}

void timer_start(struct timer *t, struct timers *h, deadline_t at)
{
	if (at.us == DEADLINE_NEVER.us) {
		timer_stop(t, h);
		return;
	}
	/* Started in the past by one that fires: it must wait for the next turn, and not keep others from theirs. */
	t->at.us = at.us > h->expiring_us ? at.us : h->expiring_us + 1;
	if (t->slot) {
		resettle(h, t->slot, t);
		return;
	}
	if (h->count + 1 >= h->capacity) {
		h->capacity = h->capacity ? h->capacity * 2 : 64;
		h->heap = mem_realloc_array(h->heap, h->capacity, sizeof(*h->heap));
	}
	h->count++;
	sift_up(h, h->count, t);
}

void timer_stop(struct timer *t, struct timers *h)
{
	size_t slot = t->slot;
	if (!slot)
		return;
	struct timer *last = h->heap[h->count--];
	t->slot = 0;
	if (last != t)
		resettle(h, slot, last);
}
