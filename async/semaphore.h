/* Permits: at most n at once, first come first served, a bounded number of waiters.
 *
 * `struct semaphore` belongs to one loop and costs no lock. `struct shared_semaphore` is exact over all workers of the
 * process: its count and its queue are under a mutex that is held for a few instructions; a waiter on another loop is
 * woken by a message. A waiter that leaves (deadline, cancellation) leaves no hole, and a permit that was on its way to
 * it goes to the next. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "async/loop.h"
#include "async/task.h"

struct semaphore {
	unsigned permits, available;
	unsigned waiting, max_waiting;
	struct list waiters;
};

/* That many permits, and never more (asyncio.BoundedSemaphore). */
void semaphore_init(struct semaphore *s, unsigned permits, unsigned max_waiting);
/* The same to begin with; a release that no acquire preceded adds one (asyncio.Semaphore). */
void semaphore_init_unbounded(struct semaphore *s, unsigned permits, unsigned max_waiting);
/* Suspends if no permit is free. Returns 0, -EBUSY (the queue is full), -ETIMEDOUT or -ECANCELED. */
int semaphore_acquire(struct semaphore *s, deadline_t by) must_check;
/* Take a permit if one is free. Outside tasks too. */
bool semaphore_try(struct semaphore *s) must_check;
/* Is no permit free? */
bool semaphore_locked(const struct semaphore *s);
/* Returns 0, or -EPERM: more was released than acquired (nothing is changed). */
int semaphore_release(struct semaphore *s);

struct shared_semaphore {
	pthread_mutex_t lock;
	/* Written under lock; more are taken than there are while a resize waits for them. */
	atomic_uint permits, taken, waiting;
	_Atomic uint64_t refused; /* written under lock: acquires that found the queue full */
	unsigned max_waiting;     /* under lock */
	struct list waiters;      /* under lock */
};

void shared_semaphore_init(struct shared_semaphore *s, unsigned permits, unsigned max_waiting);
/* All permits must be back; nobody waits. */
void shared_semaphore_done(struct shared_semaphore *s);
/* As semaphore_acquire; from a task of any worker. */
int shared_semaphore_acquire(struct shared_semaphore *s, deadline_t by) must_check;
/* Take a permit if one is free and nobody waits. Any thread. */
bool shared_semaphore_try(struct shared_semaphore *s) must_check;
/* How many of the permits are taken, and how many tasks wait. Any thread; takes no lock. */
struct semaphore_levels {
	unsigned permits, taken, waiting;
	uint64_t refused;
};
struct semaphore_levels shared_semaphore_levels(const struct shared_semaphore *s);
/* Any thread. */
int shared_semaphore_release(struct shared_semaphore *s);
/* From now on there are that many. More of them go to those who wait; if there are fewer, nobody is let in until enough
 * have come back, and who waits already goes on waiting, also beyond max_waiting. Any thread. */
void shared_semaphore_resize(struct shared_semaphore *s, unsigned permits, unsigned max_waiting);
