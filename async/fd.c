/* Awaiting a descriptor: a watch of the poller and a waiter in one. */
#include "async/fd.h"

#include "async/internal.h"

struct fd_wait {
	struct waiter waiter;
	struct watch watch;
};

static void fd_ready(struct watch *watch, uint32_t events)
{
	struct fd_wait *wait = container_of(watch, struct fd_wait, watch);
	watch_clear(watch);
	task_wake(&wait->waiter, (int)events);
}

static void leave_fd(struct waiter *w)
{
	watch_clear(&container_of(w, struct fd_wait, waiter)->watch);
}

int await_fd(int fd, uint32_t events, deadline_t by)
{
	struct fd_wait wait;
	int r = task_check();
	if (r < 0)
		return r;
	waiter_init(&wait.waiter, leave_fd, "a file descriptor");
	watch_init(&wait.watch, fd_ready);
	r = watch_set(&wait.watch, loop_poller(loop_current()), fd, events);
	/* The watch goes when the wait is over, not when the task runs again: until then somebody else may close fd and
	 * wait for another descriptor of the same number. */
	return r < 0 ? r : task_suspend(&wait.waiter, by);
}
