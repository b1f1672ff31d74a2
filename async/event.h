/* Something that has happened, or not yet (asyncio.Event): set wakes all who wait, and later ones do not wait until it
 * is cleared. Loop thread only. */
#pragma once

#include <stdbool.h>

#include "async/task.h"

struct event {
	bool set;
	struct list waiters;
};

void event_init(struct event *e);
/* Wake all who wait, in the order in which they came. Idempotent. */
void event_set(struct event *e);
void event_clear(struct event *e);
/* Suspends until it is set. Returns 0, also if it was cleared again before the caller ran; -ETIMEDOUT or
 * -ECANCELED. */
int event_wait(struct event *e, deadline_t by) must_check;

static inline bool event_is_set(const struct event *e)
{
	return e->set;
}
