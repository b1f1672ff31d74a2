/* The event loop of a worker. See loop.h for the order of a turn. */
#include "async/loop.h"

#include <assert.h>
#include <errno.h>
#include <fenv.h>
#include <h2o.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "async/internal.h"
#include "base/mem.h"

enum {
	STACKS_KEPT = 4096, /* idle stacks of a loop that stay mapped */
	LONGEST_WAIT_MS = 60000,
};

static _Thread_local struct loop *current;

struct loop *loop_current(void)
{
	return current;
}

struct st_h2o_evloop_t *loop_h2o(struct loop *l)
{
	return l->h2o;
}

struct poller *loop_poller(struct loop *l)
{
	return &l->poller;
}

struct timers *loop_timers(struct loop *l)
{
	return &l->timers;
}

int64_t loop_now_us(const struct loop *l)
{
	if (l->now_stale) {
		struct loop *mutable = (struct loop *)(uintptr_t)l;
		mutable->now_us = monotonic_us();
		mutable->now_stale = false;
	}
	return l->now_us;
}

struct loop_stats loop_stats(const struct loop *l)
{
	struct loop_stats s = l->stats;
	s.tasks = l->task_count;
	return s;
}

/* --- callbacks of h2o and what they make ready --- */

void loop_enter(struct loop *l)
{
	l->depth++;
}

void loop_leave(struct loop *l)
{
	if (l->depth == 1)
		tasks_run(l);
	l->depth--;
}

static void on_poller_ready(h2o_socket_t *sock, const char *err)
{
	struct loop *l = sock->data;
	(void)err;
	loop_enter(l);
	poller_dispatch(&l->poller);
	loop_leave(l);
}

/* --- messages --- */

void loop_post(struct loop *l, struct message *m)
{
	struct message *newest = atomic_load_explicit(&l->inbox, memory_order_relaxed);
	do {
		m->next = newest;
	} while (!atomic_compare_exchange_weak_explicit(&l->inbox, &newest, m, memory_order_release,
							memory_order_relaxed));
	if (!newest) {
		/* Only the first of a batch wakes the loop. EAGAIN is impossible below 2^64 - 1 unread wakes. */
		ssize_t written = write(l->inbox_fd, &(uint64_t){1}, sizeof(uint64_t));
		(void)written;
	}
}

static void run_inbox(struct loop *l)
{
	struct message *newest = atomic_exchange_explicit(&l->inbox, NULL, memory_order_acquire);
	struct message *oldest = NULL;
	while (newest) {
		struct message *m = newest;
		newest = m->next;
		m->next = oldest;
		oldest = m;
	}
	while (oldest) {
		struct message *m = oldest;
		oldest = m->next;
		m->run(m);
	}
}

static void inbox_ready(struct watch *w, uint32_t events)
{
	struct loop *l = container_of(w, struct loop, inbox_watch);
	uint64_t count;
	(void)events;
	ssize_t got = read(l->inbox_fd, &count, sizeof(count));
	(void)got;
	run_inbox(l);
}

/* --- deferred calls --- */

void deferred_init(struct deferred *d, void (*run)(struct deferred *d))
{
	list_init(&d->link);
	d->run = run;
}

void loop_defer(struct loop *l, struct deferred *d)
{
	if (list_empty(&d->link))
		list_append(&l->deferred, &d->link);
}

void deferred_cancel(struct deferred *d)
{
	list_remove(&d->link);
}

static void run_deferred(struct loop *l)
{
	/* What is deferred meanwhile belongs to the next turn. */
	struct list batch;
	list_init(&batch);
	while (!list_empty(&l->deferred))
		list_append(&batch, list_shift(&l->deferred));
	while (!list_empty(&batch)) {
		struct deferred *d = container_of(list_shift(&batch), struct deferred, link);
		d->run(d);
	}
}

/* --- life --- */

static int open_inbox(struct loop *l)
{
	watch_init(&l->inbox_watch, inbox_ready);
	l->inbox_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->inbox_fd < 0)
		return -errno;
	return watch_set(&l->inbox_watch, &l->poller, l->inbox_fd, EPOLLIN);
}

static void watch_poller(struct loop *l)
{
	l->poller_socket = h2o_evloop_socket_create(l->h2o, l->poller.epoll_fd, H2O_SOCKET_FLAG_DONT_READ);
	l->poller_socket->data = l;
	h2o_socket_read_start(l->poller_socket, on_poller_ready);
}

int loop_new(struct loop **out)
{
	struct loop *l = mem_zalloc(sizeof(*l));
	l->inbox_fd = -1;
	l->now_stale = true;
	list_init(&l->deferred);
	list_init(&l->ready);
	list_init(&l->yielded);
	list_init(&l->tasks);
	timers_init(&l->timers);
	stack_pool_init(&l->stacks, STACKS_KEPT);
	int r = poller_init(&l->poller);
	if (r == 0)
		r = open_inbox(l);
	if (r < 0) {
		if (l->inbox_fd >= 0)
			close(l->inbox_fd);
		if (l->poller.epoll_fd >= 0)
			close(l->poller.epoll_fd);
		free(l);
		return r;
	}
	l->h2o = h2o_evloop_create();
	watch_poller(l);
	*out = l;
	return 0;
}

static int wait_ms(struct loop *l)
{
	if (!list_empty(&l->ready) || !list_empty(&l->yielded) || !list_empty(&l->deferred))
		return 0;
	deadline_t next = timers_next(&l->timers);
	if (next.us == DEADLINE_NEVER.us)
		return LONGEST_WAIT_MS;
	int64_t ms = (next.us - monotonic_us() + 999) / 1000;
	return ms < 0 ? 0 : ms > LONGEST_WAIT_MS ? LONGEST_WAIT_MS : (int)ms;
}

/* Returns how long the next turn may wait. Tasks and timers that ran outside h2o's callbacks may have sent replies,
 * whose completion h2o handles only after its next poll: then that poll must not wait. */
static int turn(struct loop *l, int wait)
{
	while (!list_empty(&l->yielded))
		list_append(&l->ready, list_shift(&l->yielded));
	l->now_stale = true;
	(void)h2o_evloop_run(l->h2o, wait); /* -1: EINTR, or a descriptor that is stale: the next turn goes on */
	l->stats.turns++;
	l->now_stale = true;
	loop_enter(l);
	bool ran = timers_expire(&l->timers, loop_now_us(l)) || !list_empty(&l->ready);
	loop_leave(l);
	run_deferred(l);
	return ran ? 0 : wait_ms(l);
}

/* Each switch saves and loads the floating-point status, and loading another one than the current costs some 15 ns.
 * The flags in it are sticky and nobody reads them: where all are set from the start, loop and tasks never differ. */
static void set_float_flags(void)
{
	const fexcept_t all = FE_ALL_EXCEPT;
	fesetexceptflag(&all, FE_ALL_EXCEPT);
}

/* From here on l runs on the calling thread's stack. Returns the loop that did before. */
static struct loop *become_current(struct loop *l)
{
	struct loop *outer = current;
	current = l;
	l->fiber = (struct fiber){0};
	set_float_flags();
#ifdef CONTEXT_TSAN
	l->fiber.tsan = __tsan_get_current_fiber();
#endif
	return outer;
}

void loop_run(struct loop *l)
{
	struct loop *outer = become_current(l);
	int wait = 0;
	while (!atomic_load_explicit(&l->stop, memory_order_acquire))
		wait = turn(l, wait);
	atomic_store_explicit(&l->stop, false, memory_order_relaxed);
	current = outer;
}

void loop_expect(struct loop *l, int messages)
{
	l->expected += (unsigned)messages;
}

struct stop_message {
	struct message message;
	struct loop *loop;
};

static void stop_now(struct message *m)
{
	struct stop_message *stop = container_of(m, struct stop_message, message);
	atomic_store_explicit(&stop->loop->stop, true, memory_order_release);
	free(stop);
}

void loop_stop(struct loop *l)
{
	struct stop_message *stop = mem_alloc(sizeof(*stop));
	*stop = (struct stop_message){.message.run = stop_now, .loop = l};
	loop_post(l, &stop->message);
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	struct loop *outer = become_current(l);
	/* Other threads will still post to this loop. */
	for (int wait = 0; l->expected > 0;)
		wait = turn(l, wait);
	run_inbox(l);
	current = outer;
	assert(l->task_count == 0);
	watch_clear(&l->inbox_watch);
	close(l->inbox_fd);
	h2o_socket_close(l->poller_socket); /* closes the nested epoll */
	h2o_evloop_destroy(l->h2o);         /* 2.2.5 leaves its own epoll descriptor open */
	timers_done(&l->timers);
	stack_pool_done(&l->stacks);
	free(l);
}

/* --- asyncio.run --- */

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

/* End what main left behind. */
static void end_tasks(struct loop *l)
{
	struct loop *outer = become_current(l);
	for (int wait = 0; cancel_tasks(l);)
		wait = turn(l, wait);
	list_for_each_safe (node, &l->tasks)
		task_detach(container_of(node, struct task, all)); /* nobody awaited it */
	current = outer;
}

int loop_run_main(int (*main_fn)(void *arg), void *arg)
{
	struct main_call call = {0};
	int r = loop_new(&call.loop);
	if (r < 0)
		return r;
	struct loop *outer = become_current(call.loop);
	r = task_spawn(NULL, main_fn, arg,
		       &(struct task_options){.name = "main", .ended = main_ended, .ended_arg = &call});
	current = outer;
	if (r == 0) {
		loop_run(call.loop);
		end_tasks(call.loop);
		r = call.result;
	}
	loop_free(call.loop);
	return r;
}
