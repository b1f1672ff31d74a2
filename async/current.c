/* The state of this thread: the loop, its task, the time of its turn. */
#include "async/current.h"

#include "async/internal.h"

_Thread_local struct loop *loop_on_thread;

struct loop *loop_current(void)
{
	return loop_on_thread;
}

struct task *task_self(void)
{
	return running_task();
}

int64_t loop_read_clock(struct loop *l)
{
	l->now_us = monotonic_us();
	return l->now_us;
}

int64_t loop_now_us(const struct loop *l)
{
	return now_us((struct loop *)(uintptr_t)l);
}
