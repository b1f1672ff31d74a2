/* Waiting for a task of one's own, and no longer. */
#include "async/wait.h"

#include <errno.h>

#include "async/internal.h"

/* Tasks that must not outlive the caller are cancelled, and awaited whatever becomes of the caller. */
static int end(struct task *t, int why)
{
	struct shield s;
	task_cancel(t);
	task_shield_fully(&s);
	int r = task_await(&t, DEADLINE_NEVER);
	task_unshield(&s);
	return r == -ECANCELED ? why : r;
}

int wait_for(const char *name, task_fn fn, void *arg, deadline_t by)
{
	struct task *t;
	deadline_t before = deadline_push(by);
	int r = task_check();
	if (r == 0)
		r = task_spawn(&t, fn, arg, &(struct task_options){.name = name});
	deadline_pop(before);
	if (r < 0)
		return r;
	r = task_await(&t, by);
	return t ? end(t, r) : r;
}
