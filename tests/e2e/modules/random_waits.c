/* Random programs: what tasks wait for each other with, futures, threads, descriptors. See random.h. */
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "random.h"

/* --- semaphores --- */

static void op_bounded(struct node *n)
{
	struct board *b = n->board;
	gd_deadline by = soon(n);
	if (expect(n, gd_acquire(b->bounded, by), by, 0) < 0)
		return;
	must(n, ++b->inside <= b->permits);
	run_within(n);
	b->inside--;
	must(n, gd_release(b->bounded) == 0);
}

static void op_plain(struct node *n)
{
	gd_deadline by = gd_in_ms(pick(n, 20));
	if (chance(n, 2))
		must(n, gd_release(n->board->plain) == 0);
	else
		expect(n, gd_acquire(n->board->plain, by), by, -EBUSY);
}

/* "three" is exact over all workers. */
static void op_named(struct node *n)
{
	static atomic_int inside;
	gd_semaphore *s = gd_semaphore_named("three");
	gd_deadline by = soon(n);
	must(n, s && gd_semaphore_named("none") == NULL);
	if (expect(n, gd_acquire(s, by), by, 0) < 0)
		return;
	must(n, atomic_fetch_add(&inside, 1) < 3);
	run_within(n);
	atomic_fetch_sub(&inside, 1);
	must(n, gd_release(s) == 0);
}

/* What is not given back goes with the request. */
static void op_forget(struct node *n)
{
	gd_deadline by = gd_in_ms(pick(n, 10));
	expect(n, gd_acquire(gd_semaphore_named("left"), by), by, -EBUSY);
}

/* --- locks --- */

static void op_mutex(struct node *n)
{
	struct board *b = n->board;
	gd_deadline by = soon(n);
	if (b->holder == n) {
		must(n, gd_lock(b->mutex, by) == -EDEADLK);
		return;
	}
	if (expect(n, gd_lock(b->mutex, by), by, 0) < 0)
		return;
	must(n, b->holder == NULL);
	b->holder = n;
	run_within(n);
	must(n, b->holder == n);
	b->holder = NULL;
	must(n, gd_unlock(b->mutex) == 0);
}

/* It is held again whatever the wait has returned, and tokens are neither lost nor doubled. */
static void op_condition(struct node *n)
{
	struct board *b = n->board;
	gd_deadline by = soon(n);
	int r = 0;
	if (b->holder == n || expect(n, gd_lock(b->mutex, by), by, 0) < 0)
		return;
	if (chance(n, 2)) {
		b->tokens++;
		must(n, gd_condition_notify(b->condition, 1 + pick(n, 2)) == 0);
	} else {
		while (b->tokens == 0 && r == 0)
			r = expect(n, gd_condition_wait(b->condition, by), by, 0);
		must(n, b->holder == NULL);
		if (r == 0)
			b->tokens--;
	}
	must(n, gd_unlock(b->mutex) == 0);
	must(n, gd_condition_wait(b->condition, by) == -EPERM);
}

static void op_event(struct node *n)
{
	gd_deadline by = soon(n);
	switch (pick(n, 3)) {
	case 0:
		gd_event_set(n->board->event);
		break;
	case 1:
		gd_event_clear(n->board->event);
		break;
	default:
		expect(n, gd_event_wait(n->board->event, by), by, 0);
	}
}

/* --- queues --- */

/* Of the board: whoever comes. */
static void op_queue(struct node *n)
{
	static int item;
	gd_queue *q = chance(n, 3) ? n->board->lifo : n->board->queue;
	gd_deadline by = soon(n);
	void *got = NULL;
	if (chance(n, 2))
		expect(n, gd_queue_put(q, &item, by), by, 0);
	else if (expect(n, gd_queue_get(q, &got, by), by, 0) == 0)
		must(n, got == &item);
	if (chance(n, 4))
		must(n, gd_queue_get_now(q, &got) != -EPIPE);
}

/* A queue of their own: two who put, one who takes. */
struct line {
	gd_queue *queue;
	bool by_number;
	int put, taken, to_put, producers;
};

struct producer {
	struct line *line;
	int first;
};

static int compare_items(const void *a, const void *b)
{
	intptr_t x = (intptr_t)a, y = (intptr_t)b;
	return x < y ? -1 : x > y;
}

static int produce(void *arg)
{
	struct producer *p = arg;
	struct line *l = p->line;
	int r = 0;
	for (int i = 0; r == 0 && i < l->to_put; i++) {
		r = gd_queue_put(l->queue, (void *)(intptr_t)(p->first + i), GD_NEVER);
		l->put += r == 0;
	}
	if (--l->producers == 0)
		gd_queue_close(l->queue);
	return r;
}

static void op_line(struct node *n)
{
	struct line *l = gd_alloc(sizeof(*l));
	struct producer *p = gd_alloc(2 * sizeof(*p));
	int last[2] = {0, 0}, r;
	void *item;
	*l = (struct line){.by_number = chance(n, 3), .to_put = 1 + (int)pick(n, 8), .producers = 2};
	unsigned room = pick(n, 4);
	l->queue = l->by_number ? gd_queue_new_priority(room, compare_items) : gd_queue_new(room);
	for (int i = 0; i < 2; i++) {
		p[i] = (struct producer){.line = l, .first = 1 + 1000 * i};
		gd_spawn("puts", produce, &p[i]);
	}
	gd_deadline by = soon(n);
	while ((r = gd_queue_get(l->queue, &item, by)) == 0) {
		int number = (int)(intptr_t)item, who = number > 1000;
		must(n, l->by_number || number > last[who]);
		last[who] = number;
		l->taken++;
		must(n, gd_queue_task_done(l->queue) == 0);
		if (chance(n, 4))
			gd_yield();
	}
	expect(n, r, by, -EPIPE);
	if (r == -EPIPE)
		must(n, l->taken == l->put && gd_queue_count(l->queue) == 0 && gd_queue_task_done(l->queue) == -EPERM);
}

/* --- first come, first served --- */

enum { WAITERS = 6 };

struct row {
	unsigned what;
	gd_semaphore *semaphore;
	gd_mutex *mutex;
	gd_condition *condition;
	gd_queue *queue;
	unsigned arrived, last; /* numbers from 1: who waits, who was served */
	bool in_order;
};

static int wait_in_row(struct row *r)
{
	void *item;
	int result;
	switch (r->what) {
	case 0:
		return gd_acquire(r->semaphore, GD_NEVER);
	case 1:
		return gd_queue_get(r->queue, &item, GD_NEVER);
	case 2:
		result = gd_lock(r->mutex, GD_NEVER);
		return result == 0 ? gd_unlock(r->mutex) : result;
	default:
		result = gd_lock(r->mutex, GD_NEVER);
		if (result < 0)
			return result;
		result = gd_condition_wait(r->condition, GD_NEVER);
		gd_unlock(r->mutex);
		return result;
	}
}

static int stand_in_row(void *arg)
{
	struct row *r = arg;
	unsigned number = ++r->arrived;
	int result = wait_in_row(r);
	if (result == 0) {
		r->in_order &= number > r->last;
		r->last = number;
	}
	return result;
}

/* The next one of them. */
static void serve(struct node *n, struct row *r)
{
	static int item;
	if (r->what == 0)
		must(n, gd_release(r->semaphore) == 0);
	else if (r->what == 1)
		must(n, gd_queue_put_now(r->queue, &item) == 0);
	else if (r->what == 3 && expect(n, gd_lock(r->mutex, GD_NEVER), GD_NEVER, 0) == 0)
		must(n, gd_condition_notify(r->condition, 1) == 0 && gd_unlock(r->mutex) == 0);
}

/* Those that leave leave no hole. */
static void op_row(struct node *n)
{
	gd_task *waiting[WAITERS];
	struct row *r = gd_alloc(sizeof(*r));
	*r = (struct row){.what = pick(n, 4), .in_order = true, .semaphore = gd_semaphore_new_unbounded(0, 0)};
	r->mutex = gd_mutex_new();
	r->condition = gd_condition_new(r->mutex);
	r->queue = gd_queue_new(0);
	if (r->what == 2 && expect(n, gd_lock(r->mutex, GD_NEVER), GD_NEVER, 0) < 0)
		return;
	for (unsigned i = 0; i < WAITERS; i++)
		waiting[i] = gd_spawn("stands in a row", stand_in_row, r);
	expect(n, gd_yield(), GD_NEVER, 0);
	for (unsigned i = 0; i < WAITERS; i++) {
		if (chance(n, 4))
			gd_cancel(waiting[i]);
		else
			serve(n, r);
	}
	if (r->what == 2)
		must(n, gd_unlock(r->mutex) == 0);
	for (unsigned i = 0; i < WAITERS; i++)
		gd_await(waiting[i], gd_in_ms(pick(n, 5)));
	must(n, r->in_order);
}

/* --- futures --- */

static void op_future(struct node *n)
{
	gd_future *f = n->board->future;
	gd_deadline by = soon(n);
	if (chance(n, 6))
		gd_future_resolve(f, 41);
	int r = gd_future_await(f, by);
	if (gd_future_done(f) && r == 41)
		must(n, gd_future_await(f, GD_NEVER) == 41);
	else
		expect(n, r, by, 0);
}

struct resolver {
	gd_promise *promise;
	unsigned us;
	int result;
};

static void *resolve_later(void *arg)
{
	struct resolver s = *(struct resolver *)arg;
	free(arg);
	usleep(s.us);
	gd_promise_resolve(s.promise, s.result);
	atomic_fetch_sub(&threads_running, 1);
	return NULL;
}

/* A thread of our own resolves it, perhaps when the scope it was made in is gone. */
static void op_promise(struct node *n)
{
	gd_scope *s = gd_scope_begin();
	gd_future *f = gd_future_new();
	struct resolver *resolver = malloc(sizeof(*resolver));
	pthread_t thread;
	*resolver = (struct resolver){gd_future_promise(f), pick(n, 3000), 1 + (int)pick(n, 100)};
	int wanted = resolver->result;
	atomic_fetch_add(&threads_running, 1);
	if (pthread_create(&thread, NULL, resolve_later, resolver) != 0)
		abort();
	pthread_detach(thread);
	gd_deadline by = soon(n);
	if (chance(n, 4))
		by = gd_in_ms(0);
	int r = gd_future_await(f, by);
	must(n, !gd_future_done(f) || r == wanted || r < 0);
	if (r != wanted)
		expect(n, r, by, 0);
	gd_scope_end(s);
}

/* --- threads of the executor --- */

static int doze(void *arg)
{
	usleep(*(unsigned *)arg);
	return (int)(*(unsigned *)arg % 7);
}

static void drop(void *arg)
{
	atomic_fetch_sub(&arguments_held, 1);
	free(arg);
}

static void op_blocking(struct node *n)
{
	unsigned us = pick(n, 3000);
	int r = gd_run_blocking(doze, &us);
	must(n, r < 0 || r == (int)(us % 7));
	expect(n, r, GD_NEVER, -EBUSY);
}

static void op_blocking_until(struct node *n)
{
	unsigned *us = malloc(sizeof(*us));
	gd_deadline by = soon(n);
	bool ran;
	*us = pick(n, 5000);
	atomic_fetch_add(&arguments_held, 1);
	int r = gd_run_blocking_until(doze, us, drop, by, &ran);
	must(n, ran == (r >= 0));
	if (ran) {
		must(n, r == (int)(*us % 7));
		drop(us);
	} else {
		expect(n, r, by, -EBUSY);
	}
}

/* --- descriptors --- */

static int write_one(void *arg)
{
	gd_sleep(1);
	return (int)write(*(int *)arg, "x", 1);
}

static void op_descriptor(struct node *n)
{
	int fds[2];
	char byte;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
		return;
	gd_task *writer = gd_spawn("writes", write_one, &fds[1]);
	gd_deadline by = soon(n);
	must(n, expect(n, gd_await_fd(fds[1], GD_WRITABLE, by), by, 0) <= GD_WRITABLE);
	int r = expect(n, gd_await_fd(fds[0], GD_READABLE, by), by, 0);
	must(n, r < 0 || (r == GD_READABLE && read(fds[0], &byte, 1) == 1));
	/* It has the descriptor as long as it runs, whatever becomes of us. */
	while (!gd_ended(writer))
		gd_await(writer, GD_NEVER);
	must(n, gd_await(writer, GD_NEVER) == 1);
	close(fds[0]);
	close(fds[1]);
}

/* --- what ends with a scope while an outer one's task waits for it --- */

enum { OUTLIVED = 8 };

struct outlived {
	gd_semaphore *semaphore;
	gd_mutex *mutex, *beside;
	gd_event *event;
	gd_condition *condition;
	gd_queue *queue;
	gd_future *future;
	gd_ticker *ticker;
	gd_task *task;
	enum { NOT_YET, THERE, GONE } state;
};

struct outliver {
	struct outlived *of;
	unsigned what;
};

static int wait_for_it(void *arg)
{
	struct outliver *o = arg;
	struct outlived *of = o->of;
	void *item;
	int r = 0;
	while (of->state == NOT_YET && r == 0)
		r = gd_yield();
	if (of->state != THERE)
		return -ECANCELED;
	switch (o->what) {
	case 0:
		return gd_acquire(of->semaphore, GD_NEVER);
	case 1:
		return gd_lock(of->mutex, GD_NEVER);
	case 2:
		return gd_event_wait(of->event, GD_NEVER);
	case 3:
		r = gd_lock(of->beside, GD_NEVER);
		return r < 0 ? r : gd_condition_wait(of->condition, GD_NEVER);
	case 4:
		return gd_queue_get(of->queue, &item, GD_NEVER);
	case 5:
		return gd_future_await(of->future, GD_NEVER);
	case 6:
		return gd_ticker_wait(of->ticker, GD_NEVER);
	default:
		return gd_await(of->task, GD_NEVER);
	}
}

static int sleep_long(void *arg)
{
	(void)arg;
	return gd_sleep(60000);
}

static void op_outlived(struct node *n)
{
	struct outlived *of = gd_alloc(sizeof(*of));
	struct outliver *o = gd_alloc(OUTLIVED * sizeof(*o));
	gd_task *waiting[OUTLIVED];
	for (unsigned i = 0; i < OUTLIVED; i++) {
		o[i] = (struct outliver){of, i};
		waiting[i] = gd_spawn("outlives", wait_for_it, &o[i]);
	}
	gd_scope *s = gd_scope_begin();
	*of = (struct outlived){.semaphore = gd_semaphore_new(0, 0), .mutex = gd_mutex_new(), .beside = gd_mutex_new()};
	of->event = gd_event_new();
	of->condition = gd_condition_new(of->beside);
	of->queue = gd_queue_new(1);
	of->future = gd_future_new();
	of->ticker = gd_ticker_new(60000);
	of->task = gd_spawn("sleeps", sleep_long, NULL);
	bool met = gd_lock(of->mutex, GD_NEVER) == 0;
	of->state = met ? THERE : GONE;
	for (unsigned i = pick(n, 3); i > 0; i--)
		gd_yield();
	met = met && gd_sleep(1) == 0;
	of->state = GONE;
	gd_scope_end(s);
	for (unsigned i = 0; i < OUTLIVED; i++) {
		int r = gd_await(waiting[i], GD_NEVER);
		if (met && r != -ECANCELED && r != -ETIMEDOUT)
			violation(n, "%u: %d", i, r);
	}
}

/* clang-format off */
const struct operation wait_operations[] = {
	{"bounded",        5, 0, op_bounded},
	{"plain",          3, 0, op_plain},
	{"named",          4, 0, op_named},
	{"forget",         1, 0, op_forget},
	{"mutex",          4, 0, op_mutex},
	{"condition",      4, 0, op_condition},
	{"event",          4, 0, op_event},
	{"queue",          4, 0, op_queue},
	{"line",           4, 0, op_line},
	{"row",            4, 0, op_row},
	{"future",         3, 0, op_future},
	{"promise",        3, 0, op_promise},
	{"blocking",       2, 0, op_blocking},
	{"blocking_until", 3, 0, op_blocking_until},
	{"descriptor",     3, 0, op_descriptor},
	{"outlived",       2, 0, op_outlived},
	{NULL, 0, 0, NULL},
};
/* clang-format on */
