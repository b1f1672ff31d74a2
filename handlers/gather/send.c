/* An endpoint whose only step is `send`: the reply is a file. */
#include <errno.h>

#include "async/loop.h"
#include "handlers/gather/internal.h"
#include "handlers/web/file_reply.h"

struct sending {
	struct run *run;
	struct conditions conditions;
	struct file *file;
	struct file_info info;
};

bool plan_sends(const struct plan *plan)
{
	return plan->step_count == 1 && plan->steps[0].config->is_reply;
}

/* Suspends. Every permit that the endpoint, the step and its source ask for; they are held until the file is sent. */
static int acquire_permits(struct run *run, int held[3], unsigned *count)
{
	const struct plan_step *p = &run->plan->steps[0];
	const int wanted[3] = {run->plan->endpoint->semaphore, p->semaphores[0], p->semaphores[1]};

	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
		if (wanted[i] < 0)
			continue;
		int r = run_acquire(run, wanted[i], &run->error);
		if (r < 0)
			return r;
		held[(*count)++] = wanted[i];
	}
	return 0;
}

/* Suspends. */
static int open_file(struct sending *s)
{
	struct run *run = s->run;
	const struct plan_step *p = &run->plan->steps[0];
	struct arena *a = run->evaluation.arena;
	struct run_options options = {
		.timeout_us = p->config->timeout_us ? p->config->timeout_us : p->config->source->timeout_us,
		.arena = a,
	};
	struct value *args = arena_array(a, p->arg_count + 1, sizeof(*args));
	int64_t began_us = loop_now_us(loop_current());

	run->steps[0].started_us = began_us;
	for (unsigned i = 0; i < p->arg_count; i++)
		args[i] = slot_value(&p->args[i], &run->evaluation);
	int r = file_open(&s->file, &s->info, run->env->clients[p->source], p->action, args, &options,
			  file_reply_ahead(run->exchange, &s->conditions), &run->error);
	if (r < 0)
		run->error.step = p->config->name;
	run->steps[0].wait_us = began_us - run->began_us;
	run->steps[0].run_us = loop_now_us(loop_current()) - began_us;
	step_count(p, run->steps[0].run_us, r < 0 ? &run->error : NULL);
	return r;
}

/* Suspends. */
static int send_file(struct sending *s)
{
	struct reply head;
	int r = reply_head(s->run, &head);

	if (r < 0) {
		reply_failure(s->run, r);
		return r;
	}
	return file_reply_send(s->run->exchange, &s->conditions, &s->file, &s->info, &head);
}

static int send_request(void *arg)
{
	struct exchange *x = arg;
	struct sending *s = x->handler_data;
	struct run *run = s->run;
	int held[3];
	unsigned count = 0;
	int r = acquire_permits(run, held, &count);
	if (r == 0)
		r = open_file(s);
	if (r == 0)
		r = send_file(s);
	else if (!task_cancelled())
		reply_failure(run, r);
	file_close(s->file);
	while (count > 0)
		shared_semaphore_release(run->env->semaphores[held[--count]]);
	return r;
}

void send_answer(struct run *run)
{
	struct exchange *x = run->exchange;
	struct sending *s = arena_zalloc(run->evaluation.arena, sizeof(*s));

	s->run = run;
	conditions_take(&s->conditions, x);
	x->handler_data = s;
	exchange_spawn(x, send_request);
}
