/* Futures: a result, and who waits for it. */
#include "async/future.h"

#include <assert.h>

#include "async/internal.h"

static void posted(struct message *m)
{
	struct future *f = container_of(m, struct future, message);
	future_resolve(f, f->posted);
}

void future_init(struct future *f)
{
	*f = (struct future){.loop = loop_current(), .message.run = posted};
	list_init(&f->waiters);
	assert(f->loop);
}

void future_resolve(struct future *f, int result)
{
	if (f->done)
		return;
	f->done = true;
	f->result = result;
	/* The wakes only queue: the first waiter to run may free f, and the others never look at it again. */
	waiters_wake_all(&f->waiters, result);
}

void future_post(struct future *f, int result)
{
	f->posted = result;
	loop_post(f->loop, &f->message);
}

int future_await(struct future *f, deadline_t by)
{
	if (f->done)
		return f->result;
	struct waiter w;
	waiter_init(&w, NULL, "a future");
	list_append(&f->waiters, &w.link);
	return task_suspend(&w, by);
}
