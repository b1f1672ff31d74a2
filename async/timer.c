/* A binary heap of timers, each knowing its slot, so that any of them can be taken out. */
#include "async/timer.h"

#include <stdint.h>
#include <stdlib.h>

#include "async/internal.h"
#include "base/mem.h"

static inline void place(struct timers *h, size_t slot, struct timer_entry e)
{
	h->heap[slot] = e;
	e.timer->slot = slot;
}

static inline bool fires_before(struct timer_entry a, struct timer_entry b)
{
	if (__builtin_expect(a.at_us == b.at_us, 0))
		return a.timer->number < b.timer->number;
	return a.at_us < b.at_us;
}

static void sift_up(struct timers *h, size_t slot, struct timer_entry e)
{
	for (size_t parent; slot > 1; slot = parent) {
		parent = slot / 2;
		if (fires_before(h->heap[parent], e))
			break;
		place(h, slot, h->heap[parent]);
	}
	place(h, slot, e);
}

static void sift_down(struct timers *h, size_t slot, struct timer_entry e)
{
	for (size_t child; (child = slot * 2) <= h->count; slot = child) {
		/* Added rather than branched upon, which the processor would guess wrongly half the time. */
		if (child < h->count)
			child += fires_before(h->heap[child + 1], h->heap[child]);
		if (fires_before(e, h->heap[child]))
			break;
		place(h, slot, h->heap[child]);
	}
	place(h, slot, e);
}

static void resettle(struct timers *h, size_t slot, struct timer_entry e)
{
	if (slot > 1 && fires_before(e, h->heap[slot / 2]))
		sift_up(h, slot, e);
	else
		sift_down(h, slot, e);
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
	if (h->count == 0)
		return DEADLINE_NEVER;
	return (deadline_t){h->heap[1].at_us};
}

bool timers_expire(struct timers *h, int64_t now_us)
{
	bool fired = false;
	h->expiring_us = now_us;
	while (h->count && h->heap[1].at_us <= now_us) {
		struct timer *t = h->heap[1].timer;
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
	t->number = ++h->started;
	struct timer_entry e = {.at_us = t->at.us, .timer = t};
	if (t->slot) {
		resettle(h, t->slot, e);
		return;
	}
	if (h->count + 1 >= h->capacity) {
		h->capacity = h->capacity ? h->capacity * 2 : 64;
		h->heap = mem_realloc_array(h->heap, h->capacity, sizeof(*h->heap));
	}
	h->count++;
	sift_up(h, h->count, e);
}

void timer_stop(struct timer *t, struct timers *h)
{
	size_t slot = t->slot;
	if (!slot)
		return;
	struct timer_entry last = h->heap[h->count--];
	t->slot = 0;
	if (last.timer != t)
		resettle(h, slot, last);
}
