/* /-/tasks: every task of the process, what it awaits and for how long.
 *
 * Tasks belong to their workers' loops, so each worker lists its own when a message asks it to. One that does not come
 * to it within a second is blocked, and the page says so instead of waiting for it. */
#pragma once

#include "async/loop.h"
#include "base/list.h"
#include "handlers/web/exchange.h"

/* A worker whose tasks are listed; embedded by its owner. */
struct tasks_member {
	struct list link; /* under the list's lock */
	struct loop *loop;
	unsigned worker;
};

/* From now on m's tasks are listed. Any thread. */
void tasks_join(struct tasks_member *m, struct loop *l, unsigned worker);
/* Not any more: what still asks is answered in the loop's last turn. Before loop_free. Any thread. */
void tasks_leave(struct tasks_member *m);

/* Suspends, for a second at most. Append the JSON object of /-/tasks, with at most `most` tasks of each worker, the
 * oldest. Returns 0 or -ECANCELED. */
int tasks_census(struct buf *out, unsigned most) must_check;
/* Answer x with the list, from a task. */
void tasks_page(struct exchange *x);
/* Log a line for each task of l, which is the calling thread's: `msg`, its name, what it awaits and since when. */
void tasks_log(struct loop *l, unsigned worker, const char *msg);
