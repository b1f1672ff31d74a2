/* Semaphores: a loop's own, and the process's.
 *
 * A permit that is released goes straight to the first waiter: one is only free when nobody waits, so nobody can
 * overtake. */
#include "async/semaphore.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "async/internal.h"
#include "base/mem.h"

/* --- of one loop --- */

void semaphore_init(struct semaphore *s, unsigned permits, unsigned max_waiting)
{
	*s = (struct semaphore){.permits = permits, .available = permits, .max_waiting = max_waiting};
	list_init(&s->waiters);
}

void semaphore_init_unbounded(struct semaphore *s, unsigned permits, unsigned max_waiting)
{
	semaphore_init(s, permits, max_waiting);
	s->permits = UINT_MAX;
}

struct semaphore_wait {
	struct waiter waiter;
	struct semaphore *semaphore;
};

static void leave_queue(struct waiter *w)
{
	container_of(w, struct semaphore_wait, waiter)->semaphore->waiting--;
}

bool semaphore_locked(const struct semaphore *s)
{
	return s->available == 0;
}

bool semaphore_try(struct semaphore *s)
{
	if (s->available == 0)
		return false;
	s->available--;
	return true;
}

int semaphore_acquire(struct semaphore *s, deadline_t by)
{
	int r = task_check();
	if (r < 0)
		return r;
	if (semaphore_try(s))
		return 0;
	if (s->waiting >= s->max_waiting)
		return -EBUSY;
	struct semaphore_wait wait = {.semaphore = s};
	waiter_init(&wait.waiter, leave_queue, "a permit of a semaphore");
	list_append(&s->waiters, &wait.waiter.link);
	s->waiting++;
	return task_suspend(&wait.waiter, by);
}

int semaphore_release(struct semaphore *s)
{
	if (!list_empty(&s->waiters)) {
		s->waiting--;
		waiters_wake_first(&s->waiters, 0);
		return 0;
	}
	if (s->available == s->permits)
		return -EPERM;
	s->available++;
	return 0;
}

/* --- of the process --- */

static unsigned level(const atomic_uint *n)
{
	return atomic_load_explicit(n, memory_order_relaxed);
}

/* Under lock: written by one thread at a time, so no read-modify-write is needed. */
static void add(atomic_uint *n, int by)
{
	atomic_store_explicit(n, level(n) + (unsigned)by, memory_order_relaxed);
}

struct semaphore_levels shared_semaphore_levels(const struct shared_semaphore *s)
{
	return (struct semaphore_levels){
		.permits = level(&s->permits),
		.taken = level(&s->taken),
		.waiting = level(&s->waiting),
		.refused = atomic_load_explicit(&s->refused, memory_order_relaxed),
	};
}

/* One who waits. On the heap: a grant that is on its way as a message may outlive the waiting task. */
struct shared_wait {
	struct list link; /* under lock */
	struct shared_semaphore *semaphore;
	struct loop *loop;
	struct message granted;
	struct waiter *waiter; /* on its loop; NULL: it left */
};

void shared_semaphore_init(struct shared_semaphore *s, unsigned permits, unsigned max_waiting)
{
	*s = (struct shared_semaphore){.max_waiting = max_waiting};
	atomic_init(&s->permits, permits);
	pthread_mutex_init(&s->lock, NULL);
	list_init(&s->waiters);
}

void shared_semaphore_done(struct shared_semaphore *s)
{
	assert(list_empty(&s->waiters) && s->taken == 0);
	pthread_mutex_destroy(&s->lock);
}

/* The permit has arrived on the waiter's loop. */
static void grant_arrived(struct message *m)
{
	struct shared_wait *w = container_of(m, struct shared_wait, granted);
	w->loop->expected--;
	if (w->waiter)
		task_wake(w->waiter, 0);
	free(w);
}

struct shared_acquire {
	struct waiter waiter;
	struct shared_wait *wait;
};

static void leave_shared(struct waiter *waiter)
{
	struct shared_wait *w = container_of(waiter, struct shared_acquire, waiter)->wait;
	struct shared_semaphore *s = w->semaphore;
	pthread_mutex_lock(&s->lock);
	bool queued = !list_empty(&w->link);
	if (queued) {
		list_remove(&w->link);
		add(&s->waiting, -1);
	}
	pthread_mutex_unlock(&s->lock);
	if (queued) {
		w->loop->expected--;
		free(w);
		return;
	}
	/* A permit is on its way: it goes to the next at once, and what arrives is an empty message. Nothing of the
	 * semaphore is used then; it may be gone. */
	w->waiter = NULL;
	w->semaphore = NULL;
	shared_semaphore_release(s);
}

static int enqueue(struct shared_semaphore *s, struct shared_wait *w)
{
	int r = 1;
	pthread_mutex_lock(&s->lock);
	if (level(&s->taken) < level(&s->permits)) {
		add(&s->taken, 1);
		r = 0;
	} else if (level(&s->waiting) >= s->max_waiting) {
		atomic_store_explicit(&s->refused, atomic_load_explicit(&s->refused, memory_order_relaxed) + 1,
				      memory_order_relaxed);
		r = -EBUSY;
	} else {
		list_append(&s->waiters, &w->link);
		add(&s->waiting, 1);
		w->loop->expected++;
	}
	pthread_mutex_unlock(&s->lock);
	return r;
}

int shared_semaphore_acquire(struct shared_semaphore *s, deadline_t by)
{
	int r = task_check();
	if (r < 0)
		return r;
	if (shared_semaphore_try(s))
		return 0;
	struct shared_acquire acquire = {.wait = mem_alloc(sizeof(*acquire.wait))};
	waiter_init(&acquire.waiter, leave_shared, "a permit of a shared semaphore");
	*acquire.wait = (struct shared_wait){
		.semaphore = s, .loop = loop_current(), .granted.run = grant_arrived, .waiter = &acquire.waiter};
	list_init(&acquire.wait->link);
	r = enqueue(s, acquire.wait);
	if (r <= 0) {
		free(acquire.wait);
		return r;
	}
	return task_suspend(&acquire.waiter, by);
}

bool shared_semaphore_try(struct shared_semaphore *s)
{
	pthread_mutex_lock(&s->lock);
	bool taken = level(&s->taken) < level(&s->permits);
	if (taken)
		add(&s->taken, 1);
	pthread_mutex_unlock(&s->lock);
	return taken;
}

/* Under lock. The first waiter, which a permit was taken for; NULL: nobody waits, or none is free. */
static struct shared_wait *admit(struct shared_semaphore *s)
{
	if (level(&s->taken) >= level(&s->permits) || list_empty(&s->waiters))
		return NULL;
	add(&s->taken, 1);
	add(&s->waiting, -1);
	return container_of(list_shift(&s->waiters), struct shared_wait, link);
}

int shared_semaphore_release(struct shared_semaphore *s)
{
	struct shared_wait *next = NULL;
	int r = 0;
	pthread_mutex_lock(&s->lock);
	if (s->taken == 0) {
		r = -EPERM;
	} else {
		add(&s->taken, -1);
		next = admit(s);
	}
	pthread_mutex_unlock(&s->lock);
	if (next && next->loop == loop_current())
		grant_arrived(&next->granted);
	else if (next)
		loop_post(next->loop, &next->granted);
	return r;
}

void shared_semaphore_resize(struct shared_semaphore *s, unsigned permits, unsigned max_waiting)
{
	struct shared_wait *next;
	pthread_mutex_lock(&s->lock);
	atomic_store_explicit(&s->permits, permits, memory_order_relaxed);
	s->max_waiting = max_waiting;
	while ((next = admit(s)))
		loop_post(next->loop, &next->granted);
	pthread_mutex_unlock(&s->lock);
}
