/* One task on a loop of its own, and the end of all that it left. */
#include "async/run.h"

#include "async/internal.h"

struct main_call {
	struct loop *loop;
	int result;
};

static void main_ended(void *arg, int result)
{
	struct main_call *call = arg;
	call->result = result;
	loop_stop(call->loop);
}

/* Cancel what still lives. Returns whether anything does. */
static bool cancel_tasks(struct loop *l)
{
	bool alive = false;
	list_for_each (node, &l->tasks) {
		struct task *t = container_of(node, struct task, all);
		task_cancel(t);
		alive |= !task_ended(t);
	}
	return alive;
}

/* End the tasks that main left. */
static void end_tasks(struct loop *l)
{
	struct loop *outer = loop_become_current(l);
	for (int wait = 0; cancel_tasks(l);)
		wait = loop_turn(l, l->ready.first ? 0 : wait); /* those that others spawned while they ended */
	list_for_each_safe (node, &l->tasks)
		task_detach(container_of(node, struct task, all)); /* nobody awaited it */
	loop_on_thread = outer;
}

int loop_run_main(int (*main_fn)(void *arg), void *arg)
{
	struct main_call call = {0};
	int r = loop_new(&call.loop);
	if (r < 0)
		return r;
	struct loop *outer = loop_become_current(call.loop);
	r = task_spawn(NULL, main_fn, arg,
		       &(struct task_options){.name = "main", .ended = main_ended, .ended_arg = &call});
	loop_on_thread = outer;
	if (r == 0) {
		loop_run(call.loop);
		end_tasks(call.loop);
		r = call.result;
	}
	loop_free(call.loop);
	return r;
}
