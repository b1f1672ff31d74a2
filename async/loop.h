/* The event loop of one worker thread: h2o's evloop, with descriptors, timers, ready tasks and messages of our own.
 *
 * h2o's loop owns the HTTP sockets. Everything else hangs on it in three places:
 *  - a nested epoll (poller.h) that h2o watches as one descriptor, for descriptors that foreign libraries open and
 * close;
 *  - a heap of timers on CLOCK_MONOTONIC (timer.h), whose next deadline is the loop's longest wait: h2o's own timeouts
 *    follow the wall clock, and a step of it would fire or stall everything;
 *  - the queue of tasks that are ready to run (task.h).
 *
 * A turn: h2o polls and calls back (requests, the poller) -> each of our callbacks runs the tasks that it made ready
 * before it returns to h2o -> expired timers -> the deferred calls (batched flushes) -> the next turn. Tasks run inside
 * h2o's callbacks because h2o 2.2.5 only runs its pending work after a poll.
 *
 * Loop thread only, but for loop_post and loop_stop. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "async/current.h"
#include "async/poller.h"
#include "async/timer.h"
#include "base/compiler.h"
#include "base/deadline.h"
#include "base/list.h"

struct task;
struct st_h2o_evloop_t; /* h2o_loop_t */

/* A call that another thread asks for; embedded in what it is about, which must live until run was called. */
struct message {
	struct message *next; /* owned by the loop between loop_post and run */
	void (*run)(struct message *m);
};

/* A call at the end of this turn of the loop, once, however often it was asked for. */
struct deferred {
	struct list link;
	void (*run)(struct deferred *d);
};

struct loop;

int loop_new(struct loop **out) must_check;
/* No task may be left. NULL is allowed. */
void loop_free(struct loop *l);

struct st_h2o_evloop_t *loop_h2o(struct loop *l);
struct poller *loop_poller(struct loop *l);
struct timers *loop_timers(struct loop *l);

/* Run turns on the calling thread until loop_stop was called. Tasks that are left stay suspended. */
void loop_run(struct loop *l);
/* Any thread. */
void loop_stop(struct loop *l);

/* That many more (below 0: fewer) messages are certain to come from other threads: loop_free waits for them. Loop
 * thread only. */
void loop_expect(struct loop *l, int messages);
/* Any thread: m->run is called on l's thread, in a later turn, in the order of the posts of one thread. */
void loop_post(struct loop *l, struct message *m);
void deferred_init(struct deferred *d, void (*run)(struct deferred *d));
void loop_defer(struct loop *l, struct deferred *d);
void deferred_cancel(struct deferred *d);

/* Memory was freed outside a task: a loop that is quiet gives memory back to the kernel after its last work. */
void loop_freed(struct loop *l);

/* Around a callback that h2o makes into our code: loop_leave runs the tasks that became ready meanwhile. They nest. */
void loop_enter(struct loop *l);
void loop_leave(struct loop *l);

struct loop_stats {
	uint64_t turns;
	uint64_t switches; /* to a task */
	unsigned tasks;    /* alive */
};
struct loop_stats loop_stats(const struct loop *l);
