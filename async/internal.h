/* What the files of async/ know of each other. Nobody else includes this. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "async/context.h"
#include "async/loop.h"
#include "async/poller.h"
#include "async/stack.h"
#include "async/task.h"
#include "async/timer.h"
#include "base/list.h"

struct timers {
	struct timer **heap; /* from 1 */
	size_t count, capacity;
	int64_t expiring_us; /* what is started while timers fire is due after this */
};

void timers_init(struct timers *h);
void timers_done(struct timers *h);
deadline_t timers_next(const struct timers *h);
/* Fire what is due. Returns whether anything was. */
bool timers_expire(struct timers *h, int64_t now_us);

enum { POLLER_BATCH = 128 };

struct poller {
	int epoll_fd;
	struct epoll_event batch[POLLER_BATCH];
	int batch_at, batch_count; /* what is being dispatched */
};

/* The epoll descriptor is closed by h2o, with the socket that it is wrapped in. */
int poller_init(struct poller *p) must_check;
/* Call back whatever is ready; does not wait. */
void poller_dispatch(struct poller *p);

enum task_state { TASK_READY, TASK_RUNNING, TASK_WAITING, TASK_ENDED };

/* Stands on top of its own stack. Loop thread only. */
struct task {
	struct list link; /* loop.ready while TASK_READY */
	struct list all;  /* loop.tasks */
	struct loop *loop;
	struct stack *stack;
	void *context; /* where it goes on */
	task_fn fn;
	void *arg;
	int result;
	enum task_state state;
	bool cancelled, shielded, detached;
	deadline_t deadline;    /* of everything that it awaits */
	struct waiter *waiting; /* while TASK_WAITING */
	deadline_t by;          /* of that wait */
	struct timer timer;     /* runs ahead of `by`, see task.c */
	struct waiter *awaiter; /* who is in task_await on it */
	struct task_options options;
};

struct loop {
	struct st_h2o_evloop_t *h2o;
	struct st_h2o_socket_t *poller_socket;
	struct poller poller;
	struct timers timers;
	struct list deferred;

	struct list ready;   /* tasks that run next */
	struct list yielded; /* tasks that run after the next poll */
	struct list tasks;   /* all that live */
	unsigned task_count;
	struct task *running; /* NULL while the loop's own stack runs */
	void *context;        /* the loop's own, while a task runs */
	struct fiber fiber;   /* the thread's own stack */
	struct stack_pool stacks;

	unsigned depth; /* of loop_enter */
	int64_t now_us;
	bool now_stale;
	struct loop_stats stats;

	atomic_bool stop;
	struct watch inbox_watch;
	int inbox_fd;                    /* an eventfd */
	_Atomic(struct message *) inbox; /* the newest first */
	unsigned expected; /* messages that other threads are certain to post: the loop must outlive them */
};

/* Make t run, behind all that is ready. */
void task_make_ready(struct task *t);
/* Run the tasks that are ready; leaves something for the next turn rather than starve the poll. */
void tasks_run(struct loop *l);
