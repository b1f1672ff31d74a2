/* Threads for what blocks (DNS, disk, PQcancel) or computes for long: bounded in number, with a bounded queue.
 *
 * A job owns all that its function touches: a waiter that was cancelled leaves while the job goes on. */
#pragma once

#include "async/loop.h"
#include "async/task.h"

struct executor;

/* Embedded at the start of what the work needs. */
struct job {
	void (*run)(struct job *j);  /* on a thread of the executor; must not touch loops or tasks */
	void (*free)(struct job *j); /* frees the job; on any thread */
	/* private */
	struct list link;
	struct message done;
	struct loop *loop;     /* under the executor's lock until it returns; NULL: nobody waits */
	bool returning;        /* under the executor's lock: it is on its way back to the loop */
	struct waiter *waiter; /* loop thread only */
};

int executor_new(struct executor **out, unsigned threads, unsigned max_queued) must_check;
/* Runs what is queued, then joins the threads. Blocks, for a few seconds at most: a thread that hangs in a call without
 * a time-out is left to end with the process. No loop may be waiting for a job. NULL is allowed. */
void executor_free(struct executor *e);

/* How busy the pool is. Any thread; takes no lock. */
struct executor_levels {
	unsigned threads, busy, queued;
	uint64_t refused; /* jobs that found the queue full */
};
struct executor_levels executor_levels(const struct executor *e);

/* Suspends until j has run. Returns 0: j is the caller's again, to be read and freed. Otherwise j is not the caller's
 * any more and frees itself when it is through: -ETIMEDOUT, -ECANCELED, or -EBUSY (the queue is full; freed at once).
 */
int executor_run(struct executor *e, struct job *j, deadline_t by) must_check;
/* The same with nobody waiting: j frees itself. Any thread. Returns 0 or -EBUSY (freed at once). */
int executor_submit(struct executor *e, struct job *j) must_check;
