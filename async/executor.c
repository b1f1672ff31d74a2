/* A bounded pool of threads.
 *
 * A job's state moves under the executor's lock until it has run; from then on it belongs to the loop that waits for
 * it, where a message brings it back. A job whose waiter left is freed: at once while it is queued, by its thread when
 * it has run otherwise, so that no loop waits for a call that hangs. */
#include "async/executor.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "async/internal.h"
#include "base/mem.h"

enum {
	JOIN_WAIT_S = 2,
	REST_AFTER_S = 5, /* without a job, a thread gives back the memory that is kept for it */
};

struct executor {
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct list queue;        /* under lock */
	unsigned max_queued;      /* under lock */
	atomic_uint queued, busy; /* written under lock */
	_Atomic uint64_t refused; /* written under lock */
	bool stopping;            /* under lock */
	unsigned thread_count;
	pthread_t threads[];
};

static unsigned level(const atomic_uint *n)
{
	return atomic_load_explicit(n, memory_order_relaxed);
}

/* Under lock: written by one thread at a time, so no read-modify-write is needed. */
static void add(atomic_uint *n, int by)
{
	atomic_store_explicit(n, level(n) + (unsigned)by, memory_order_relaxed);
}

struct executor_levels executor_levels(const struct executor *e)
{
	return (struct executor_levels){
		.threads = e->thread_count,
		.busy = level(&e->busy),
		.queued = level(&e->queued),
		.refused = atomic_load_explicit(&e->refused, memory_order_relaxed),
	};
}

/* On the loop that asked for it. */
static void job_returned(struct message *m)
{
	struct job *j = container_of(m, struct job, done);
	j->loop->expected--;
	if (j->waiter)
		task_wake(j->waiter, 0);
	else
		j->free(j);
}

static struct job *next_job(struct executor *e, bool again)
{
	struct job *j = NULL;
	pthread_mutex_lock(&e->lock);
	if (again)
		add(&e->busy, -1);
	bool rested = false;
	while (list_empty(&e->queue) && !e->stopping) {
		if (rested) {
			pthread_cond_wait(&e->work, &e->lock);
			continue;
		}
		struct timespec until;
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += REST_AFTER_S;
		if (pthread_cond_clockwait(&e->work, &e->lock, CLOCK_MONOTONIC, &until) == ETIMEDOUT) {
			rested = true;
			mem_rest();
		}
	}
	if (!list_empty(&e->queue)) {
		j = container_of(list_shift(&e->queue), struct job, link);
		add(&e->queued, -1);
		add(&e->busy, 1);
	}
	pthread_mutex_unlock(&e->lock);
	return j;
}

/* The loop that it goes back to, if anybody there still waits for it. */
static struct loop *return_to(struct executor *e, struct job *j)
{
	pthread_mutex_lock(&e->lock);
	struct loop *l = j->loop;
	j->returning = true;
	pthread_mutex_unlock(&e->lock);
	return l;
}

static void *executor_thread(void *arg)
{
	struct executor *e = arg;
	struct job *j;
	pthread_setname_np(pthread_self(), "gatherd-exec");
	for (bool again = false; (j = next_job(e, again)); again = true) {
		j->run(j);
		struct loop *l = return_to(e, j);
		if (l)
			loop_post(l, &j->done);
		else
			j->free(j);
	}
	return NULL;
}

static void start_threads(struct executor *e, unsigned threads)
{
	/* Signals are the main thread's business. */
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (e->thread_count < threads && pthread_create(&e->threads[e->thread_count], NULL, executor_thread, e) == 0)
		e->thread_count++;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

int executor_new(struct executor **out, unsigned threads, unsigned max_queued)
{
	struct executor *e = mem_zalloc(sizeof(*e) + threads * sizeof(e->threads[0]));
	pthread_mutex_init(&e->lock, NULL);
	pthread_cond_init(&e->work, NULL);
	list_init(&e->queue);
	e->max_queued = max_queued;
	start_threads(e, threads);
	if (e->thread_count < threads) {
		executor_free(e);
		return -EAGAIN;
	}
	*out = e;
	return 0;
}

/* False: some of them hang. */
static bool join_threads(struct executor *e)
{
	struct timespec until;
	bool all = true;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += JOIN_WAIT_S;
	for (unsigned i = 0; i < e->thread_count; i++) {
		if (pthread_timedjoin_np(e->threads[i], NULL, &until) == 0)
			continue;
		pthread_detach(e->threads[i]);
		all = false;
	}
	return all;
}

void executor_free(struct executor *e)
{
	if (!e)
		return;
	pthread_mutex_lock(&e->lock);
	e->stopping = true;
	pthread_cond_broadcast(&e->work);
	pthread_mutex_unlock(&e->lock);
	if (!join_threads(e))
		return; /* it still belongs to those that hang */
	pthread_cond_destroy(&e->work);
	pthread_mutex_destroy(&e->lock);
	free(e);
}

static int enqueue(struct executor *e, struct job *j)
{
	int r = 0;
	pthread_mutex_lock(&e->lock);
	if (level(&e->queued) >= e->max_queued) {
		atomic_store_explicit(&e->refused, e->refused + 1, memory_order_relaxed);
		r = -EBUSY;
	} else {
		list_append(&e->queue, &j->link);
		add(&e->queued, 1);
		pthread_cond_signal(&e->work);
	}
	pthread_mutex_unlock(&e->lock);
	return r;
}

int executor_submit(struct executor *e, struct job *j)
{
	list_init(&j->link);
	j->loop = NULL;
	j->returning = false;
	j->waiter = NULL;
	int r = enqueue(e, j);
	if (r < 0)
		j->free(j);
	return r;
}

struct job_wait {
	struct waiter waiter;
	struct executor *executor;
	struct job *job;
};

static void leave_job(struct waiter *w)
{
	struct job_wait *wait = container_of(w, struct job_wait, waiter);
	struct executor *e = wait->executor;
	struct job *j = wait->job;
	struct loop *l = j->loop;
	pthread_mutex_lock(&e->lock);
	bool queued = !list_empty(&j->link);
	bool returning = j->returning;
	j->waiter = NULL;
	if (queued) {
		list_remove(&j->link);
		add(&e->queued, -1);
	}
	if (!returning)
		j->loop = NULL;
	pthread_mutex_unlock(&e->lock);
	if (!returning)
		l->expected--;
	if (queued)
		j->free(j);
}

int executor_run(struct executor *e, struct job *j, deadline_t by)
{
	struct job_wait wait = {.executor = e, .job = j};
	int r = task_check();
	if (r < 0) {
		j->free(j);
		return r;
	}
	waiter_init(&wait.waiter, leave_job, "the executor");
	list_init(&j->link);
	j->loop = loop_current();
	j->returning = false;
	j->waiter = &wait.waiter; // cppcheck-suppress autoVariables ; it leaves j before it goes
	j->done.run = job_returned;
	j->loop->expected++;
	r = enqueue(e, j);
	if (r < 0) {
		j->loop->expected--;
		j->free(j);
		return r;
	}
	return task_suspend(&wait.waiter, by);
}
