/* A flag and who waits for it. */
#include "async/event.h"

#include "async/internal.h"

void event_init(struct event *e)
{
	e->set = false;
	list_init(&e->waiters);
}

void event_set(struct event *e)
{
	e->set = true;
	waiters_wake_all(&e->waiters, 0);
}

void event_clear(struct event *e)
{
	e->set = false;
}

int event_wait(struct event *e, deadline_t by)
{
	int r = task_check();
	if (r < 0 || e->set)
		return r;
	struct waiter w;
	waiter_init(&w, NULL, "an event");
	list_append(&e->waiters, &w.link);
	return task_suspend(&w, by);
}
