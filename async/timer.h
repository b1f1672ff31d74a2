/* Timers on CLOCK_MONOTONIC: a binary heap, O(log n) to start and stop. Fired by the loop, never early, late by at most
 * a millisecond or so (epoll's unit) when the loop is idle; in the order of their times, and of those with the same
 * time the one that was started first. Loop thread only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/deadline.h"

struct timers;

/* Embedded by its owner. */
struct timer {
	deadline_t at;   /* when it fires; of one started in the past: the next turn */
	uint64_t number; /* of its start: the lower of two that are due at once fires first */
	size_t slot;     /* place in the heap, from 1; 0: not running */
	void (*fire)(struct timer *t);
};

void timer_init(struct timer *t, void (*fire)(struct timer *t));
/* (Re)start t to fire once at `at`. One in the past fires in the next turn. DEADLINE_NEVER stops it. One that is
 * started again stands after all that were started for the same time before. */
void timer_start(struct timer *t, struct timers *timers, deadline_t at);
/* Idempotent. */
void timer_stop(struct timer *t, struct timers *timers);

static inline bool timer_running(const struct timer *t)
{
	return t->slot != 0;
}
