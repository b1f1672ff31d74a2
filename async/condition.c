/* A queue of tasks beside a mutex. */
#include "async/condition.h"

#include <errno.h>
#include <limits.h>

#include "async/internal.h"

void condition_init(struct condition *c, struct mutex *m)
{
	c->mutex = m;
	list_init(&c->waiters);
}

/* Fails only if somebody ends the mutex and wakes those that wait for it. */
static int lock_again(struct mutex *m)
{
	struct shield s;
	task_shield_fully(&s);
	int r = mutex_lock(m, DEADLINE_NEVER);
	task_unshield(&s);
	return r;
}

int condition_wait(struct condition *c, deadline_t by)
{
	if (!mutex_held(c->mutex))
		return -EPERM;
	int r = task_check();
	if (r < 0)
		return r;
	struct waiter w;
	waiter_init(&w, NULL, "a condition");
	list_append(&c->waiters, &w.link);
	mutex_unlock(c->mutex);
	r = task_suspend(&w, by);
	int locked = lock_again(c->mutex);
	if (locked < 0)
		return locked;
	if (r == 0 && task_check() == -ECANCELED) {
		condition_notify(c, 1);
		r = -ECANCELED;
	}
	return r;
}

int condition_wait_for(struct condition *c, bool (*predicate)(void *arg), void *arg, deadline_t by)
{
	if (!mutex_held(c->mutex))
		return -EPERM;
	int r = 0;
	while (r == 0 && !predicate(arg))
		r = condition_wait(c, by);
	return r;
}

int condition_notify(struct condition *c, unsigned n)
{
	if (!mutex_held(c->mutex))
		return -EPERM;
	for (; n > 0 && !list_empty(&c->waiters); n--)
		waiters_wake_first(&c->waiters, 0);
	return 0;
}

int condition_notify_all(struct condition *c)
{
	return condition_notify(c, UINT_MAX);
}
