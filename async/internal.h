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

/* A timer that runs, with the time that it is due: the heap is ordered without a look at the timers. */
struct timer_entry {
	int64_t at_us;
	struct timer *timer;
};

struct timers {
	struct timer_entry *heap; /* from 1 */
	size_t count, capacity;
	uint64_t started;    /* so far */
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

/* First in, first out; all zero is empty. `last` counts if there is a first. */
struct task_queue {
	struct task *first, *last;
};

/* Stands on top of its own stack. Loop thread only. */
struct task {
	struct task *next; /* in loop.ready or loop.yielded */
	struct context context;
	struct waiter *waiting; /* from task_suspend until it runs again; once woken, it has no task any more */
	bool ended, cancelled, shielded, detached;
	struct loop *loop;
	struct stack *stack;
	struct list all; /* loop.tasks */
	uint64_t id;
	int64_t born_us;
	int64_t since_us; /* its last suspension */
	task_fn fn;
	void *arg;
	int result;
	deadline_t deadline;            /* of everything that it awaits */
	deadline_t by;                  /* of the wait at hand */
	struct timer timer;             /* runs ahead of `by`, see task.c; `at` is NEVER while it does not run */
	struct waiter *awaiter;         /* who is in task_await on it */
	const struct task_scope *scope; /* that it is a child of; NULL: none */
	struct list scopes;             /* that it owns, with children that run */
	struct locals *locals;          /* its task-local values, shared with its children; NULL: none */
	struct task_options options;
};

/* The watch over a loop in debug mode: embedded by its owner, which sets loop.monitor. Called on the loop's thread. */
struct monitor_hooks {
	void (*busy)(struct loop *l);                         /* our code runs; several times a turn */
	void (*idle)(struct loop *l);                         /* the turn is over: the next poll comes */
	void (*task_spawned)(struct loop *l, struct task *t); /* its stack is not in use yet */
	/* t's function has returned; its stack is still as it left it, but for the call of this. */
	void (*task_ended)(struct loop *l, struct task *t);
};

struct loop {
	const struct monitor_hooks *hooks; /* NULL if debug mode is off */
	struct monitor *monitor;           /* theirs */
	struct st_h2o_evloop_t *h2o;
	struct st_h2o_socket_t *poller_socket;
	struct poller poller;
	struct timers timers;
	struct list deferred;

	struct task_queue ready;   /* tasks that run next */
	struct task_queue yielded; /* tasks that run after the next poll */
	struct list tasks;         /* all that live */
	unsigned task_count;
	uint64_t last_id;       /* of a task */
	struct task *running;   /* NULL while the loop's own stack runs, or `ended` of a task */
	int pass_left;          /* switches until the loop's own stack has its turn; 0 while it has */
	struct stack *left;     /* of a task that has ended, if the pool was full: unmapped from another stack */
	struct context context; /* the loop's own, while a task runs */
	struct fiber fiber;     /* the thread's own stack */
	struct stack_pool stacks;

	unsigned depth; /* of loop_enter */
	int64_t now_us; /* NOT_READ since the poll */
	struct loop_stats stats;

	int64_t spare_us;      /* when what is not used is looked for again; INT64_MAX: the loop is quiet */
	uint64_t spare_work;   /* what work was then, last */
	uint64_t freed;        /* calls of loop_freed */
	unsigned quiet;        /* times in a row that there was no work */
	unsigned spare_ticks;  /* times in all */
	unsigned spare_stacks; /* to be unmapped */

	atomic_bool stop;
	struct watch inbox_watch;
	int inbox_fd;                    /* an eventfd */
	_Atomic(struct message *) inbox; /* the newest first */
	atomic_uint posting;             /* threads that are in loop_post */
	unsigned expected; /* messages that other threads are certain to post: the loop must outlive them */
};

/* The loop that runs on this thread. */
extern _Thread_local struct loop *loop_on_thread __attribute__((tls_model("local-exec")));

#define NOT_READ INT64_MAX
int64_t loop_read_clock(struct loop *l);

/* loop_now_us in line: a wait notes when it began. */
static inline int64_t now_us(struct loop *l)
{
	return l->now_us == NOT_READ ? loop_read_clock(l) : l->now_us;
}

static inline void task_queue_append(struct task_queue *q, struct task *t)
{
	t->next = NULL;
	if (q->first)
		q->last->next = t;
	else
		q->first = t;
	q->last = t;
}

/* q is not empty. */
static inline struct task *task_queue_shift(struct task_queue *q)
{
	struct task *t = q->first;
	q->first = t->next;
	return t;
}

/* Move all of `from` to the end of q. */
static inline void task_queue_move(struct task_queue *q, struct task_queue *from)
{
	if (!from->first)
		return;
	if (q->first)
		q->last->next = from->first;
	else
		q->first = from->first;
	q->last = from->last;
	*from = (struct task_queue){0};
}

/* The task that runs on this thread, or NULL: task_self in line. */
static inline struct task *running_task(void)
{
	struct loop *l = loop_on_thread;
	return l ? l->running : NULL;
}

/* Switches to tasks so far: they are counted ahead, a pass at a time. */
static inline uint64_t tasks_switches(const struct loop *l)
{
	return l->stats.switches - (l->pass_left > 0 ? (unsigned)l->pass_left : 0);
}

/* From here on l runs on the calling thread's stack. Returns the loop that did before, or NULL. */
struct loop *loop_become_current(struct loop *l);
/* One turn, whose poll waits for at most `wait` milliseconds. Returns how long the next one may wait. */
int loop_turn(struct loop *l, int wait);

/* Make t run, after all that is ready. */
void task_make_ready(struct task *t);
/* Run the tasks that are ready; leaves something for the next turn rather than starve the poll. */
void tasks_run(struct loop *l);

/* Another holder of l, which may be NULL. Returns l. */
struct locals *locals_share(struct locals *l);
/* Give up l, which may be NULL; the values that nobody else holds are dropped. */
void locals_release(struct locals *l);
