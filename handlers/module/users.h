/* Who is in something of a scope's: tasks that read it, write it, wait in it. It does not go before they have left.
 * Loop thread only. */
#pragma once

#include "async/task.h"

/* All zero: nobody is. */
struct users {
	unsigned count;
	struct waiter *end; /* who waits until nobody is; NULL: nobody does */
};

static inline void users_enter(struct users *u)
{
	u->count++;
}

/* The last one to leave wakes who waits for that; what u is part of may be gone once the calling task suspends. */
void users_leave(struct users *u);
/* Suspends until nobody is in it; one task at a time. Returns 0, -ETIMEDOUT or -ECANCELED, which a scope's end,
 * shielded as it is, never sees. */
int users_await(struct users *u, deadline_t by);
