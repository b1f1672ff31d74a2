/* Waiting, with a mutex held, for what the mutex guards to change (asyncio.Condition).
 *
 * A wait gives the mutex up and holds it again when it returns, whatever it returns. A notification for a task that is
 * cancelled before it could act on it goes to the next one, so a wait may end without a reason: look again, or use
 * condition_wait_for. Loop thread only. */
#pragma once

#include <stdbool.h>

#include "async/mutex.h"

struct condition {
	struct mutex *mutex; /* borrowed; several conditions may share one */
	struct list waiters;
};

void condition_init(struct condition *c, struct mutex *m);
/* Suspends until it is notified and holds the mutex again; that second wait is shielded: it has no deadline. Returns 0,
 * -EPERM (the calling task does not hold the mutex), -ETIMEDOUT or -ECANCELED; or, if somebody ended the mutex and
 * woke who waits for it, with what: it is not held then. */
int condition_wait(struct condition *c, deadline_t by) must_check;
/* Suspends until predicate(arg) is true, which is asked with the mutex held. Returns as condition_wait. */
int condition_wait_for(struct condition *c, bool (*predicate)(void *arg), void *arg, deadline_t by) must_check;
/* Wake the first n who wait. They run when the caller has unlocked. Returns 0, or -EPERM: the calling task does not
 * hold the mutex. */
int condition_notify(struct condition *c, unsigned n);
int condition_notify_all(struct condition *c);
