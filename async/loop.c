/* The event loop of a worker. See loop.h for the order of a turn. */
#include "async/loop.h"

#include <assert.h>
#include <errno.h>
#include <h2o.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "async/internal.h"
#include "base/mem.h"

enum {
	STACKS_KEPT = 4096,  /* idle stacks of a loop that stay mapped */
	STACKS_WARM = 64,    /* of them when the loop is quiet */
	STACKS_A_TICK = 256, /* are unmapped: one to two milliseconds */
	STACK_WINDOW = 30,   /* ticks: a stack that was not needed for that long is spare */
	SPARE_TICK_US = 100000,
	QUIET_TICKS = 90, /* longer than stacks and freed memory take to be given back */
	LONGEST_WAIT_MS = 60000,
};
#define NEVER_SPARE INT64_MAX

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

struct loop_stats loop_stats(const struct loop *l)
{
	struct loop_stats s = l->stats;
	s.switches = tasks_switches(l);
	s.tasks = l->task_count;
	return s;
}

/* --- callbacks of h2o and what they make ready --- */

void loop_enter(struct loop *l)
{
	if (l->depth++ == 0 && l->hooks)
		l->hooks->busy(l);
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
	atomic_fetch_add_explicit(&l->posting, 1, memory_order_relaxed);
	do {
		m->next = newest;
	} while (!atomic_compare_exchange_weak_explicit(&l->inbox, &newest, m, memory_order_release,
							memory_order_relaxed));
	if (!newest) {
		/* Only the first of a batch wakes the loop. EAGAIN is impossible below 2^64 - 1 unread wakes. */
		ssize_t written = write(l->inbox_fd, &(uint64_t){1}, sizeof(uint64_t));
		(void)written;
	}
	atomic_fetch_sub_explicit(&l->posting, 1, memory_order_release);
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
	/* A call that is deferred meanwhile belongs to the next turn. */
	struct list batch;
	if (l->hooks)
		l->hooks->busy(l);
	list_init(&batch);
	while (!list_empty(&l->deferred))
		list_append(&batch, list_shift(&l->deferred));
	while (!list_empty(&batch)) {
		struct deferred *d = container_of(list_shift(&batch), struct deferred, link);
		d->run(d);
	}
}

/* --- what is not used --- */

static uint64_t work_done(const struct loop *l)
{
	return loop_stats(l).switches + l->freed;
}

void loop_freed(struct loop *l)
{
	l->freed++;
}

static void trim_stacks(struct loop *l)
{
	if (++l->spare_ticks % STACK_WINDOW == 0) {
		unsigned unused = stack_pool_unused(&l->stacks);
		l->spare_stacks = unused > STACKS_WARM ? unused - STACKS_WARM : 0;
	}
	unsigned count = l->spare_stacks < STACKS_A_TICK ? l->spare_stacks : STACKS_A_TICK;
	l->spare_stacks -= count;
	stack_pool_trim(&l->stacks, count);
}

/* A little at a time: no turn takes long. */
static void give_back(struct loop *l, uint64_t work)
{
	l->quiet = work == l->spare_work ? l->quiet + 1 : 0;
	l->spare_work = work;
	trim_stacks(l);
	if (l->quiet < QUIET_TICKS) {
		mem_decay();
		l->spare_us = loop_now_us(l) + SPARE_TICK_US;
	} else {
		mem_rest();
		mem_purge();
		l->spare_us = NEVER_SPARE;
	}
}

/* Costs a few comparisons a turn. */
static void watch_spare(struct loop *l)
{
	uint64_t work = work_done(l);

	if (l->spare_us != NEVER_SPARE) {
		if (loop_now_us(l) >= l->spare_us)
			give_back(l, work);
	} else if (work != l->spare_work) {
		l->quiet = 0;
		l->spare_us = loop_now_us(l) + SPARE_TICK_US;
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
	static atomic_uint loops;
	struct loop *l = mem_zalloc(sizeof(*l));
	l->last_id = (uint64_t)atomic_fetch_add_explicit(&loops, 1, memory_order_relaxed) << 40;
	l->inbox_fd = -1;
	l->now_us = NOT_READ;
	list_init(&l->deferred);
	list_init(&l->tasks);
	timers_init(&l->timers);
	l->spare_us = NEVER_SPARE;
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
	if (l->ready.first || l->yielded.first || !list_empty(&l->deferred))
		return 0;
	int64_t left_us = deadline_left_us(timers_next(&l->timers));
	if (l->spare_us != NEVER_SPARE) {
		int64_t spare_us = deadline_left_us((deadline_t){l->spare_us});
		left_us = spare_us < left_us ? spare_us : left_us;
	}
	return left_us < LONGEST_WAIT_MS * 1000 ? (int)((left_us + 999) / 1000) : LONGEST_WAIT_MS;
}

/* Tasks and timers that ran outside h2o's callbacks may have sent replies, whose completion h2o handles only after its
 * next poll: then that poll must not wait. */
int loop_turn(struct loop *l, int wait)
{
	task_queue_move(&l->ready, &l->yielded);
	l->now_us = NOT_READ;
	(void)h2o_evloop_run(l->h2o, wait); /* -1: EINTR, or a descriptor that is stale: the next turn goes on */
	l->stats.turns++;
	l->now_us = NOT_READ;
	loop_enter(l);
	bool ran = timers_expire(&l->timers, loop_now_us(l)) || l->ready.first;
	loop_leave(l);
	if (!list_empty(&l->deferred))
		run_deferred(l);
	watch_spare(l);
	if (l->hooks)
		l->hooks->idle(l);
	return ran ? 0 : wait_ms(l);
}

struct loop *loop_become_current(struct loop *l)
{
	struct loop *outer = loop_on_thread;
	loop_on_thread = l;
	l->fiber = (struct fiber){0};
#ifdef CONTEXT_TSAN
	l->fiber.tsan = __tsan_get_current_fiber();
#endif
	return outer;
}

void loop_run(struct loop *l)
{
	struct loop *outer = loop_become_current(l);
	int wait = 0;
	while (!atomic_load_explicit(&l->stop, memory_order_acquire))
		wait = loop_turn(l, wait);
	atomic_store_explicit(&l->stop, false, memory_order_relaxed);
	loop_on_thread = outer;
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
	struct loop *outer = loop_become_current(l);
	/* Other threads will still post to this loop. */
	for (int wait = 0; l->expected > 0;)
		wait = loop_turn(l, wait);
	run_inbox(l);
	/* A message may have run before its poster has woken the loop for it. */
	while (atomic_load_explicit(&l->posting, memory_order_acquire) > 0)
		sched_yield();
	loop_on_thread = outer;
	assert(l->task_count == 0);
	watch_clear(&l->inbox_watch);
	close(l->inbox_fd);
	h2o_socket_close(l->poller_socket); /* closes the nested epoll */
	h2o_evloop_destroy(l->h2o);         /* 2.2.5 leaves its own epoll descriptor open */
	timers_done(&l->timers);
	stack_pool_done(&l->stacks);
	free(l);
}
