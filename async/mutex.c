/* A lock with an owner. It is never free while somebody waits for it. */
#include "async/mutex.h"

#include <errno.h>

#include "async/internal.h"

void mutex_init(struct mutex *m)
{
	m->owner = 0;
	list_init(&m->waiters);
}

bool mutex_held(const struct mutex *m)
{
	const struct task *self = task_self();
	return self && m->owner == self->id;
}

int mutex_try_lock(struct mutex *m)
{
	struct task *self = task_self();
	if (!self)
		return -EPERM;
	if (m->owner)
		return -EBUSY;
	m->owner = self->id;
	return 0;
}

int mutex_lock(struct mutex *m, deadline_t by)
{
	if (mutex_held(m))
		return -EDEADLK;
	if (!task_self())
		return -EPERM;
	int r = task_check();
	if (r == 0)
		r = mutex_try_lock(m);
	if (r != -EBUSY)
		return r;
	struct waiter w;
	waiter_init(&w, NULL, "a mutex");
	list_append(&m->waiters, &w.link);
	return task_suspend(&w, by);
}

int mutex_unlock(struct mutex *m)
{
	if (!mutex_held(m))
		return -EPERM;
	if (list_empty(&m->waiters)) {
		m->owner = 0;
		return 0;
	}
	struct waiter *next = container_of(m->waiters.next, struct waiter, link);
	m->owner = next->task->id;
	task_wake(next, 0);
	return 0;
}
