/* A lock for tasks of one loop (asyncio.Lock): first come, first served.
 *
 * It knows who holds it. Unlocking hands it straight to the first who waits, so nobody can overtake. A waiter that
 * leaves (deadline, cancellation) leaves no hole; one that was given the lock holds it, even if it is cancelled before
 * it runs again. A task that ends with the lock held leaves it locked for good. Loop thread only. */
#pragma once

#include <stdbool.h>

#include "async/task.h"

struct mutex {
	uint64_t owner; /* the id of the task that holds it; 0: nobody does, and nobody waits */
	struct list waiters;
};

void mutex_init(struct mutex *m);
/* Suspends if another task holds it. Returns 0, -EDEADLK (the caller holds it), -EPERM (outside any task),
 * -ETIMEDOUT or -ECANCELED. */
int mutex_lock(struct mutex *m, deadline_t by) must_check;
/* Returns 0, -EBUSY (somebody holds it, perhaps the caller) or -EPERM (outside any task). */
int mutex_try_lock(struct mutex *m) must_check;
/* Returns 0, or -EPERM: the calling task does not hold it (nothing is changed). */
int mutex_unlock(struct mutex *m);
/* Does the calling task hold it? */
bool mutex_held(const struct mutex *m);

static inline bool mutex_locked(const struct mutex *m)
{
	return m->owner != 0;
}
