/* Fetches of a run that are for others, too: a cached result or reply that several requests wait for. */
#include "handlers/gather/internal.h"

int run_spawn_fetch(struct run *run, task_fn fn, void *arg, struct task **t)
{
	struct shield s;
	task_shield(&s, deadline_in_us(run->env->fetch_budget_us)); /* the child inherits this deadline */
	int r = gather_add(&run->fetches, "fetch", fn, arg);
	task_unshield(&s);
	if (r < 0)
		return r;
	*t = gather_task(&run->fetches, (unsigned)r);
	return 0;
}
