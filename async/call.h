/* Calls of a function by the loop itself, soon, later, again and again: on the loop's own stack, outside any task. They
 * must not suspend; they may spawn tasks, which run after them. Loop thread only, but for call_soon_threadsafe. */
#pragma once

#include <stdbool.h>

#include "async/loop.h"
#include "async/timer.h"

/* A call that is to come: the handle of asyncio's call_soon, call_later and call_at. Embedded by its owner, which may
 * free it, or ask for it once more, within the call itself. */
struct callback {
	void (*fn)(void *arg);
	void *arg;
	struct timer timer;
	struct deferred soon;
};

void call_init(struct callback *c, void (*fn)(void *arg), void *arg);
/* Each of these asks for one call by the loop of this thread, in place of one that was asked for before.
 * At the end of this turn, in the order in which they were asked for. */
void call_soon(struct callback *c);
/* In ms milliseconds; never early. */
void call_later(struct callback *c, int64_t ms);
/* In the next turn after `at`; DEADLINE_NEVER: not at all. Of two for the same time, the one that was asked
 * for first comes first. */
void call_at(struct callback *c, deadline_t at);
/* It does not come. On the thread of the loop that was asked. Idempotent. */
void call_cancel(struct callback *c);
/* Is it still to come? */
bool call_pending(const struct callback *c);

/* Any thread: fn(arg) on l's thread in a later turn, in the order of the calls of one thread. It can't be cancelled.
 * loop_free makes those that have not come yet. */
void call_soon_threadsafe(struct loop *l, void (*fn)(void *arg), void *arg);

/* The ticks of a fixed schedule: what is done between two of them does not move the next. */
struct ticker {
	int64_t period_us;
	deadline_t next;
};

/* The first tick is one period from now. Returns 0, or -EINVAL: period_us is not above 0. */
int ticker_init(struct ticker *t, int64_t period_us) must_check;
/* Suspends until the next tick; one that has passed only yields. Returns how many ticks were missed before it (0: none;
 * they are not made up for), -ETIMEDOUT (it is still to come) or -ECANCELED. */
int ticker_wait(struct ticker *t, deadline_t by) must_check;
