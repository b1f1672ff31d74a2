/* Tasks: life, suspension, cancellation, deadlines. See task.h for the design.
 *
 * A task that wakes another one only queues it; a task that suspends or ends switches straight to the next one that is
 * ready, and to the loop's own stack when none is left or the pass is used up. A task's timer runs ahead of its waits:
 * waiting again with the same or a later deadline costs nothing, and a timer that fires too early for the wait at hand
 * restarts itself. */
#include "async/task.h"

#include <assert.h>
#include <errno.h>

#include "async/internal.h"
#include "async/operation.h"

enum { SWITCHES_A_PASS = 4096 }; /* then the poll gets its turn */

static _Atomic(lost_failure_fn) report_lost_failure;

const char *task_name(const struct task *t)
{
	return t->options.name ? t->options.name : "task";
}

uint64_t task_id(const struct task *t)
{
	return t->id;
}

/* --- switching --- */

/* Switch from here to the next task that is ready. Inlined, with all that it calls: a return that follows a switch is
 * one that the processor predicts wrongly. */
static inline __attribute__((always_inline)) struct context *enter_next(struct loop *l, struct context *context,
									struct fiber *here, bool last)
{
	struct task *next = task_queue_shift(&l->ready);
	l->running = next;
	fiber_switch_begin(here, &next->stack->fiber, last);
	return context_switch(context, &next->context);
}

/* Leave t, which has suspended or ended, for the next one, or for the loop's own stack. Returns t, which need not be
 * kept over the switch; nor is l. */
static inline __attribute__((always_inline)) struct task *leave(struct loop *l, struct task *t, bool last)
{
	struct context *here;
	if (__builtin_expect(l->ready.first && --l->pass_left >= 0, 1)) {
		here = enter_next(l, &t->context, &t->stack->fiber, last);
	} else {
		l->running = NULL;
		fiber_switch_begin(&t->stack->fiber, &l->fiber, last);
		here = context_switch(&t->context, &l->context);
	}
	if (last)
		__builtin_unreachable();
	t = container_of(here, struct task, context);
	fiber_switch_end(&t->stack->fiber, &loop_on_thread->fiber);
	return t;
}

static void put_left(struct loop *l)
{
	if (l->left)
		stack_put(&l->stacks, l->left);
	l->left = NULL;
}

void tasks_run(struct loop *l)
{
	if (!l->ready.first)
		return;
	l->stats.switches += SWITCHES_A_PASS; /* less what will be left of them */
	l->pass_left = SWITCHES_A_PASS - 1;
	enter_next(l, &l->context, &l->fiber, false);
	fiber_switch_end(&l->fiber, &l->fiber);
	l->stats.switches = tasks_switches(l);
	l->pass_left = 0;
	put_left(l);
}

void task_make_ready(struct task *t)
{
	task_queue_append(&loop_on_thread->ready, t);
}

/* --- life --- */

void task_on_lost_failure(lost_failure_fn report)
{
	atomic_store_explicit(&report_lost_failure, report, memory_order_relaxed);
}

/* t has ended and nobody will read its result. */
static void lose_result(const struct task *t)
{
	lost_failure_fn report = atomic_load_explicit(&report_lost_failure, memory_order_relaxed);
	if (report && t->result < 0 && t->result != -ECANCELED)
		report(task_name(t), t->id, t->result);
}

/* Forget t, but for the stack that it stands on. */
static void task_forget(struct task *t)
{
	struct loop *l = t->loop;
	timer_stop(&t->timer, &l->timers);
	list_remove(&t->all);
	l->task_count--;
	locals_release(t->locals);
}

static void task_free(struct task *t)
{
	task_forget(t);
	stack_put(&t->loop->stacks, t->stack);
}

/* t ends before the children in its scopes do. */
static void leave_scopes(struct task *t)
{
	struct list *node;
	while ((node = list_shift(&t->scopes)))
		container_of(node, struct task_scope, link)->owner = NULL;
}

/* On t's own stack, which its function has left. */
static void task_has_ended(struct task *t)
{
	struct loop *l = t->loop;
	t->ended = true;
	l->running = NULL;
	if (l->hooks)
		l->hooks->task_ended(l, t);
	if (!list_empty(&t->scopes))
		leave_scopes(t);
	if (t->awaiter) {
		task_wake(t->awaiter, 0);
	} else if (t->detached) {
		task_forget(t);
		if (t->options.ended)
			t->options.ended(t->options.ended_arg, t->result);
		else
			lose_result(t);
		put_left(l);
		if (!stack_leave(&l->stacks, t->stack))
			l->left = t->stack;
	}
}

/* It never returns, which TSan must not count: its own stack of calls would grow with each task of a reused stack. */
static __attribute__((no_sanitize("thread"))) void task_main(void)
{
	struct loop *l = loop_on_thread;
	struct task *t = l->running;
	fiber_switch_end(&t->stack->fiber, &l->fiber);
	t->result = t->fn(t->arg);
	task_has_ended(t);
	leave(l, t, true);
}

static void deadline_fired(struct timer *timer);

int task_spawn(struct task **out, task_fn fn, void *arg, const struct task_options *options)
{
	struct loop *l = loop_on_thread;
	assert(l);
	struct stack *s = stack_get(&l->stacks);
	if (!s)
		return -EAGAIN;
	size_t offset = (sizeof(struct task) + 63) & ~(size_t)63;
	struct task *t = (struct task *)(void *)((char *)s - offset);
	*t = (struct task){
		.loop = l,
		.stack = s,
		.id = ++l->last_id,
		.born_us = now_us(l),
		.fn = fn,
		.arg = arg,
		.deadline = l->running ? l->running->deadline : DEADLINE_NEVER,
		.locals = l->running ? locals_share(l->running->locals) : NULL,
	};
	t->since_us = t->born_us;
	if (l->hooks)
		l->hooks->task_spawned(l, t);
	context_init(&t->context, t, s->size - offset, task_main);
	if (options)
		t->options = *options;
	t->detached = t->options.detached || t->options.ended;
	timer_init(&t->timer, deadline_fired);
	t->timer.at = DEADLINE_NEVER;
	list_init(&t->scopes);
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
	return t->ended;
}

void task_detach(struct task *t)
{
	if (!t->ended) {
		t->detached = true;
		return;
	}
	lose_result(t);
	task_free(t);
}

/* Has it suspended, and nobody woken it? */
static bool is_waiting(const struct task *t)
{
	return t->waiting && t->waiting->task;
}

struct await_wait {
	struct waiter waiter;
	struct task *awaited;
};

static void stop_awaiting(struct waiter *w)
{
	container_of(w, struct await_wait, waiter)->awaited->awaiter = NULL;
}

/* The task that cannot go on, or not end, before t has ended: who awaits it, or the owner of its gather. */
static struct task *held_up_by(const struct task *t)
{
	if (t->awaiter)
		return t->awaiter->task;
	return t->scope ? t->scope->owner : NULL;
}

/* The task that t awaits in task_await; NULL: none. */
static const struct task *awaited_by(const struct task *t)
{
	if (!is_waiting(t) || t->waiting->abandon != stop_awaiting)
		return NULL;
	return container_of(t->waiting, struct await_wait, waiter)->awaited;
}

/* May t be awaited by the running task? The chain of those that this one holds up has no fork: nobody is awaited twice.
 * Nor has the chain of those that t awaits, up to one that has children. A circle would be in both, so the end of the
 * shorter one is enough: tasks that await each other thousands deep take no more time than others. */
static int check_await(const struct task *t)
{
	const struct task *me = running_task(), *below = t;
	for (const struct task *held = me; held && !t->ended; held = held_up_by(held)) {
		if (held == t || below == me)
			return -EDEADLK;
		if (!list_empty(&below->scopes))
			continue;
		below = awaited_by(below);
		if (!below)
			break;
	}
	if (t->awaiter)
		return -EBUSY;
	return t->detached && !t->ended ? -EINVAL : 0;
}

int task_await(struct task **task, deadline_t by)
{
	struct task *t = *task;
	int refused = check_await(t);
	if (refused < 0)
		return refused;
	if (!t->ended) {
		struct await_wait wait = {.awaited = t};
		waiter_init(&wait.waiter, stop_awaiting, "a task's end");
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

void waiter_init(struct waiter *w, void (*abandon)(struct waiter *w), const char *what)
{
	list_init(&w->link);
	w->task = loop_on_thread->running;
	w->abandon = abandon;
	w->what = what;
	w->describe = NULL;
	w->each = NULL;
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

static inline __attribute__((always_inline)) int wait_until(struct loop *l, struct waiter *w, deadline_t by)
{
	struct task *t = l->running;
	t->by = by;
	t->since_us = l->now_us;
	t->waiting = w;
	t = leave(l, t, false);
	w = t->waiting;
	t->waiting = NULL;
	return w->result;
}

/* Anything may have to be done before the task waits, or instead of it. */
static __attribute__((noinline)) int suspend_slowly(struct loop *l, struct waiter *w, deadline_t by)
{
	struct task *t = l->running;
	if (!w->task)
		return w->result; /* woken before it waited */
	assert(w->task == t);
	if (t->cancelled && !t->shielded)
		return give_up(w, -ECANCELED);
	int64_t now = now_us(l);
	if (by.us != DEADLINE_NEVER.us) {
		if (by.us <= now)
			return give_up(w, -ETIMEDOUT);
		if (t->timer.at.us > by.us)
			timer_start(&t->timer, &l->timers, by);
	}
	return wait_until(l, w, by);
}

int task_suspend(struct waiter *w, deadline_t by)
{
	struct loop *l = loop_on_thread;
	struct task *t = l->running;
	by = deadline_min(by, t->deadline);
	/* The clock was read in this turn, and the timer will fire in time if it has to. */
	bool timed = l->now_us < by.us && t->timer.at.us <= by.us;
	if (__builtin_expect(timed && !t->cancelled && w->task == t, 1))
		return wait_until(l, w, by);
	return suspend_slowly(l, w, by);
}

void task_wake(struct waiter *w, int result)
{
	struct task *t = w->task;
	if (!t)
		return;
	w->task = NULL;
	w->result = result;
	if (!list_empty(&w->link))
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
	timer->at = DEADLINE_NEVER;
	if (!is_waiting(t) || t->by.us == DEADLINE_NEVER.us)
		return;
	if (t->by.us > loop_now_us(t->loop))
		timer_start(timer, &t->loop->timers, t->by);
	else
		interrupt(t, -ETIMEDOUT);
}

void task_cancel(struct task *t)
{
	if (t->cancelled || t->ended)
		return;
	t->cancelled = true;
	if (is_waiting(t) && !t->shielded)
		interrupt(t, -ECANCELED);
}

/* --- the task table --- */

static enum task_state state_of(const struct task *t)
{
	if (is_waiting(t))
		return TASK_WAITING;
	if (t->ended)
		return TASK_ENDED;
	return t == t->loop->running ? TASK_RUNNING : TASK_READY;
}

static const char *awaits(const struct task *t)
{
	if (is_waiting(t))
		return t->waiting->what;
	return state_of(t) == TASK_READY ? "its turn" : NULL;
}

void task_awaits(const struct task *t, const struct task_info *info, struct buf *out)
{
	if (info->operation) {
		info->operation->kind->describe(info->operation, out);
		return;
	}
	buf_str(out, info->awaits);
	if (is_waiting(t) && t->waiting->describe)
		t->waiting->describe(t->waiting, out);
}

/* Tasks that wait are cold, each on a stack of its own: fetching the next one while this one is looked at is twice as
 * fast. */
static void prefetch_task(const struct list *node)
{
	const char *t = (const char *)container_of(node, const struct task, all);
	for (size_t line = 0; line < sizeof(struct task); line += 64)
		__builtin_prefetch(t + line);
}

struct visit {
	task_visit_fn fn;
	void *arg;
	const struct task *task;
	unsigned count, most;
};

static void visit_operation(void *arg, const struct operation *op, const char *name, uint64_t id, int64_t born_us)
{
	struct visit *v = arg;
	struct task_info info = {
		.name = name,
		.id = id,
		.state = TASK_WAITING,
		.awaits = "an operation",
		.born_us = born_us,
		.since_us = born_us,
		.cancelled = v->task->cancelled,
		.operation = op,
	};
	if (v->count < v->most)
		v->fn(v->arg, v->task, &info);
	v->count++;
}

unsigned loop_each_task(struct loop *l, unsigned most, task_visit_fn fn, void *arg)
{
	struct visit v = {.fn = fn, .arg = arg, .most = most};
	unsigned tasks = 0;
	list_for_each (node, &l->tasks) {
		if (v.count >= most)
			return v.count + l->task_count - tasks;
		tasks++;
		prefetch_task(node->next);
		const struct task *t = container_of(node, struct task, all);
		const struct task *awaited = awaited_by(t);
		struct task_info info = {
			.name = task_name(t),
			.id = t->id,
			.state = state_of(t),
			.awaits = awaits(t),
			.awaits_id = awaited ? awaited->id : 0,
			.born_us = t->born_us,
			.since_us = t->since_us,
			.cancelled = t->cancelled,
			.shielded = t->shielded,
			.detached = t->detached,
		};
		fn(arg, t, &info);
		v.count++;
		v.task = t;
		if (is_waiting(t) && t->waiting->each)
			t->waiting->each(t->waiting, visit_operation, &v);
	}
	return v.count;
}

bool task_cancelled(void)
{
	struct task *t = running_task();
	return t && t->cancelled;
}

int task_check(void)
{
	struct task *t = running_task();
	if (t->cancelled && !t->shielded)
		return -ECANCELED;
	return t->deadline.us <= loop_now_us(t->loop) ? -ETIMEDOUT : 0;
}

/* --- sleep --- */

int task_yield(void)
{
	struct task *t = running_task();
	int r = task_check();
	if (r < 0)
		return r;
	t->since_us = now_us(t->loop);
	task_queue_append(&t->loop->yielded, t);
	leave(t->loop, t, false);
	return task_check();
}

int task_sleep(deadline_t until)
{
	struct waiter w;
	struct task *t = running_task();
	if (until.us <= loop_now_us(t->loop))
		return task_yield();
	waiter_init(&w, NULL, "sleep");
	/* Its timer does not run ahead: of those that sleep until the same time, who began first wakes first. */
	if (until.us < t->deadline.us)
		timer_start(&t->timer, &t->loop->timers, until);
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
	struct task *t = running_task();
	deadline_t before = t->deadline;
	t->deadline = deadline_min(before, by);
	return before;
}

void deadline_pop(deadline_t before)
{
	running_task()->deadline = before;
}

deadline_t task_deadline(void)
{
	struct task *t = running_task();
	return t ? t->deadline : DEADLINE_NEVER;
}

void task_shield(struct shield *s, deadline_t by)
{
	struct task *t = running_task();
	*s = (struct shield){.before = t->deadline, .nested = t->shielded};
	t->deadline = t->shielded ? deadline_min(by, t->deadline) : by;
	t->shielded = true;
}

void task_shield_fully(struct shield *s)
{
	task_shield(s, DEADLINE_NEVER);
	running_task()->deadline = DEADLINE_NEVER;
}

void task_unshield(const struct shield *s)
{
	struct task *t = running_task();
	t->shielded = s->nested;
	t->deadline = s->before;
}
