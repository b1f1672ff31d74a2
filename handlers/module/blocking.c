/* What a handler waits for beside other tasks: threads of the executor, descriptors. */
#include <errno.h>
#include <stdlib.h>

#include "async/fd.h"
#include "async/poller.h"
#include "base/mem.h"
#include "handlers/module/internal.h"

/* --- threads --- */

/* The job is the caller's, and waited for to its end. */
struct blocking {
	struct job job;
	int (*fn)(void *arg);
	void *arg;
	void (*drop)(void *arg); /* NULL: arg is the caller's */
	int result;
};

static void run_blocking(struct job *j)
{
	struct blocking *b = container_of(j, struct blocking, job);
	b->result = b->fn(b->arg);
}

/* Nobody waits for it any more. */
static void drop_blocking(struct job *j)
{
	struct blocking *b = container_of(j, struct blocking, job);
	if (b->drop)
		b->drop(b->arg);
	free(b);
}

static struct blocking *blocking_new(int (*fn)(void *arg), void *arg, void (*drop)(void *arg))
{
	struct blocking *b = mem_alloc(sizeof(*b));
	*b = (struct blocking){.job = {.run = run_blocking, .free = drop_blocking}, .fn = fn, .arg = arg, .drop = drop};
	return b;
}

int gd_run_blocking(int (*fn)(void *arg), void *arg)
{
	struct gd_scope *s = scope_here(__func__);
	if (!s)
		return -EPERM;
	if (!fn)
		return -EINVAL;
	int r = task_check();
	if (r < 0)
		return r;
	struct blocking *b = blocking_new(fn, arg, NULL);
	struct shield whole;
	task_shield_fully(&whole);
	r = executor_run(s->env->executor, &b->job, DEADLINE_NEVER);
	task_unshield(&whole);
	if (r < 0)
		return r; /* it never ran: the queue is full */
	r = b->result;
	free(b);
	return r;
}

int gd_run_blocking_until(int (*fn)(void *arg), void *arg, void (*drop)(void *arg), gd_deadline by, bool *ran)
{
	struct gd_scope *s = scope_here(__func__);
	if (ran)
		*ran = false;
	if (!s || !fn) {
		if (drop)
			drop(arg);
		return s ? -EINVAL : -EPERM;
	}
	struct blocking *b = blocking_new(fn, arg, drop);
	int r = executor_run(s->env->executor, &b->job, deadline_of(by));
	if (r < 0)
		return r;
	r = b->result;
	free(b);
	if (ran)
		*ran = true;
	return r;
}

/* --- descriptors --- */

int gd_await_fd(int fd, int events, gd_deadline by)
{
	if (!scope_here(__func__))
		return -EPERM;
	events &= GD_READABLE | GD_WRITABLE;
	if (fd < 0 || events == 0)
		return fd < 0 ? -EBADF : -EINVAL;
	uint32_t wanted = (events & GD_READABLE ? EPOLLIN | EPOLLRDHUP : 0) | (events & GD_WRITABLE ? EPOLLOUT : 0);
	int r = await_fd(fd, wanted, deadline_of(by));
	if (r < 0)
		return turn_over(r);
	/* Broken or hung up: whatever is tried next will tell. */
	if (r & (EPOLLERR | EPOLLHUP))
		return events;
	return (r & (EPOLLIN | EPOLLRDHUP) ? GD_READABLE : 0) | (r & EPOLLOUT ? GD_WRITABLE : 0);
}
