/* Tasks: life, suspension, cancellation, deadlines. See task.h for the design.
 *
 * Every switch is between a task and its loop; a task that wakes another one only queues it. A task's timer runs ahead
 * of its waits: waiting again with the same or a later deadline costs nothing, and a timer that fires too early for the
 * wait at hand restarts itself. */
#include "async/task.h"

#include <assert.h>
#include <errno.h>

#include "async/internal.h"

enum { SWITCHES_A_PASS = 4096 }; /* then the poll gets its turn */

struct task *task_self(void)
{
	struct loop *l = loop_current();
	return l ? l->running : NULL;
}

const char *task_name(const struct task *t)
{
	return t->options.name ? t->options.name : "task";
}

/* --- switching --- */

/* It never returns, which TSan must not count: its own stack of calls would grow with each task of a reused stack. */
static _Noreturn __attribute__((no_sanitize("thread"))) void task_main(struct transfer from)
{
	struct task *t = from.data;
	fiber_switch_end(&t->stack->fiber, &t->loop->fiber);
	t->loop->context = from.context;
	t->result = t->fn(t->arg);
	t->state = TASK_ENDED;
	fiber_switch_begin(&t->stack->fiber, &t->loop->fiber, true);
	jump_fcontext(t->loop->context, NULL);
	__builtin_unreachable();
}

static void switch_to_loop(struct task *t)
{
	fiber_switch_begin(&t->stack->fiber, &t->loop->fiber, false);
	struct transfer from = jump_fcontext(t->loop->context, NULL);
	fiber_switch_end(&t->stack->fiber, &t->loop->fiber);
	t->loop->context = from.context;
}

static void task_free(struct task *t)
{
	struct loop *l = t->loop;
	timer_stop(&t->timer, &l->timers);
	list_remove(&t->all);
	l->task_count--;
	stack_put(&l->stacks, t->stack);
}

static void task_has_ended(struct task *t)
{
	struct task_options options = t->options;
	int result = t->result;
	if (t->awaiter)
		task_wake(t->awaiter, 0);
	else if (t->detached)
		task_free(t);
	if (options.ended)
		options.ended(options.ended_arg, result);
}

/* Switch to t until it suspends or ends. Inlined: a return that follows a switch is one that the processor predicts
 * wrongly. */
static inline __attribute__((always_inline)) void task_resume(struct task *t)
{
	struct loop *l = t->loop;
	t->state = TASK_RUNNING;
	l->running = t;
	l->stats.switches++;
	fiber_switch_begin(&l->fiber, &t->stack->fiber, false);
	struct transfer from = jump_fcontext(t->context, t);
	fiber_switch_end(&l->fiber, NULL);
	l->running = NULL;
	if (t->state == TASK_ENDED)
		task_has_ended(t);
	else
		t->context = from.context;
}

void tasks_run(struct loop *l)
{
	for (int n = 0; n < SWITCHES_A_PASS && !list_empty(&l->ready); n++)
		task_resume(container_of(list_shift(&l->ready), struct task, link));
}

void task_make_ready(struct task *t)
{
	t->state = TASK_READY;
	t->waiting = NULL;
	list_append(&t->loop->ready, &t->link);
}

/* --- life --- */

static void deadline_fired(struct timer *timer);

int task_spawn(struct task **out, task_fn fn, void *arg, const struct task_options *options)
{
	struct loop *l = loop_current();
	assert(l);
	struct stack *s = stack_get(&l->stacks);
	if (!s)
		return -EAGAIN;
	size_t offset = (sizeof(struct task) + 63) & ~(size_t)63;
	struct task *t = (struct task *)(void *)((char *)s - offset);
	*t = (struct task){
		.loop = l,
		.stack = s,
		.context = make_fcontext(t, s->size - offset, task_main),
		.fn = fn,
		.arg = arg,
		.deadline = l->running ? l->running->deadline : DEADLINE_NEVER,
	};
	if (options)
		t->options = *options;
	t->detached = t->options.detached || t->options.ended;
	timer_init(&t->timer, deadline_fired);
	list_init(&t->link);
	list_append(&l->tasks, &t->all);
	l->task_count++;
	task_make_ready(t);
	assert(out || t->detached);
	if (out)
		*out = t;
	return 0;
}

bool task_ended(const struct task *t)
{
	return t->state == TASK_ENDED;
}

void task_detach(struct task *t)
{
	if (t->state == TASK_ENDED)
		task_free(t);
	else
		t->detached = true;
}

struct await_wait {
	struct waiter waiter;
	struct task *awaited;
};

static void stop_awaiting(struct waiter *w)
{
	container_of(w, struct await_wait, waiter)->awaited->awaiter = NULL;
}

int task_await(struct task **task, deadline_t by)
{
	struct task *t = *task;
	if (t == task_self())
		return -EDEADLK;
	assert(!t->awaiter);
	if (t->state != TASK_ENDED) {
		struct await_wait wait = {.awaited = t};
		waiter_init(&wait.waiter, stop_awaiting);
		t->awaiter = &wait.waiter;
		int r = task_suspend(&wait.waiter, by);
		if (r < 0)
			return r;
	}
	int result = t->result;
	task_free(t);
	*task = NULL;
	return result;
}

/* --- suspension --- */

void waiter_init(struct waiter *w, void (*abandon)(struct waiter *w))
{
	list_init(&w->link);
	w->task = task_self();
	w->result = 0;
	w->abandon = abandon;
	assert(w->task);
}

static int give_up(struct waiter *w, int why)
{
	w->task = NULL;
	w->result = why;
	list_remove(&w->link);
	if (w->abandon)
		w->abandon(w);
	return why;
}

int task_suspend(struct waiter *w, deadline_t by)
{
	struct task *t = w->task;
	if (!t)
		return w->result; /* woken before it waited */
	struct loop *l = t->loop;
	assert(t == l->running);
	if (t->cancelled && !t->shielded)
		return give_up(w, -ECANCELED);
	by = deadline_min(by, t->deadline);
	if (by.us != DEADLINE_NEVER.us) {
		if (by.us <= loop_now_us(l))
			return give_up(w, -ETIMEDOUT);
		if (!timer_running(&t->timer) || t->timer.at.us > by.us)
			timer_start(&t->timer, &l->timers, by);
	}
	t->by = by;
	t->waiting = w;
	t->state = TASK_WAITING;
	switch_to_loop(t);
	return w->result;
}

void task_wake(struct waiter *w, int result)
{
	struct task *t = w->task;
	if (!t)
		return;
	w->task = NULL;
	w->result = result;
	list_remove(&w->link);
	if (t->waiting == w)
		task_make_ready(t);
}

/* Wake t out of what it waits in, which did not happen. */
static void interrupt(struct task *t, int why)
{
	give_up(t->waiting, why);
	task_make_ready(t);
}

static void deadline_fired(struct timer *timer)
{
	struct task *t = container_of(timer, struct task, timer);
	if (t->state != TASK_WAITING || t->by.us == DEADLINE_NEVER.us)
		return;
	if (t->by.us > loop_now_us(t->loop))
		timer_start(timer, &t->loop->timers, t->by);
	else
		interrupt(t, -ETIMEDOUT);
}

void task_cancel(struct task *t)
{
	if (t->cancelled || t->state == TASK_ENDED)
		return;
	t->cancelled = true;
	if (t->state == TASK_WAITING && !t->shielded)
		interrupt(t, -ECANCELED);
}

bool task_cancelled(void)
{
	struct task *t = task_self();
	return t && t->cancelled;
}

int task_check(void)
{
	struct task *t = task_self();
	if (t->cancelled && !t->shielded)
		return -ECANCELED;
	return t->deadline.us <= loop_now_us(t->loop) ? -ETIMEDOUT : 0;
}

/* --- sleep --- */

int task_yield(void)
{
	struct task *t = task_self();
	int r = task_check();
	if (r < 0)
		return r;
	t->state = TASK_READY;
	list_append(&t->loop->yielded, &t->link);
	switch_to_loop(t);
	return task_check();
}

int task_sleep(deadline_t until)
{
	struct waiter w;
	struct task *t = task_self();
	if (until.us <= loop_now_us(t->loop))
		return task_yield();
	waiter_init(&w, NULL);
	int r = task_suspend(&w, until);
	/* Slept through, unless it is the task's own deadline that came first. */
	return r == -ETIMEDOUT && until.us <= t->deadline.us ? 0 : r;
}

int task_sleep_ms(int64_t ms)
{
	return task_sleep(deadline_in_ms(ms));
}

/* --- deadlines and shields --- */

deadline_t deadline_push(deadline_t by)
{
	struct task *t = task_self();
	deadline_t before = t->deadline;
	t->deadline = deadline_min(before, by);
	return before;
}

void deadline_pop(deadline_t before)
{
	task_self()->deadline = before;
}

deadline_t task_deadline(void)
{
	struct task *t = task_self();
	return t ? t->deadline : DEADLINE_NEVER;
}

void task_shield(struct shield *s, deadline_t by)
{
	struct task *t = task_self();
	*s = (struct shield){.before = t->deadline, .nested = t->shielded};
	t->deadline = t->shielded ? deadline_min(by, t->deadline) : by;
	t->shielded = true;
}

void task_unshield(const struct shield *s)
{
	struct task *t = task_self();
	t->shielded = s->nested;
	t->deadline = s->before;
}
