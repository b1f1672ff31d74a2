/* Background tasks, and what a module starts with and ends with. */
#include <errno.h>
#include <gatherd.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static atomic_int polls, ticks, failures, once, held;
static _Thread_local gd_queue *jobs;
static _Thread_local int started;

static int poll(void *arg)
{
	polls++;
	int r = gd_sleep(60000);
	gd_shield s;
	gd_shield_begin(&s, gd_in_ms(10000));
	gd_sleep(20);
	gd_shield_end(&s);
	gd_log(GD_LOG_INFO, "%s cleaned up", (const char *)arg);
	return r;
}

static int tick(void *arg)
{
	(void)arg;
	ticks++;
	gd_alloc(1000);
	return ticks % 2 ? 0 : gd_fail(-EIO, 500, "odd ticks only");
}

static int fail_often(void *arg)
{
	(void)arg;
	failures++;
	return failures < 3 ? -ENOLINK : 0;
}

static int run_once(void *arg)
{
	(void)arg;
	once++;
	return 0;
}

/* Holds the permit of all workers until it is cancelled, and forgets it then. */
static int hold(void *arg)
{
	int r = gd_acquire(gd_semaphore_named(arg), GD_NEVER);
	held += r == 0;
	return r < 0 ? r : gd_sleep(60000);
}

struct job {
	int n;
	gd_future *done;
};

static int work(void *arg)
{
	void *item;
	int r;
	while ((r = gd_queue_get(arg, &item, GD_NEVER)) == 0) {
		struct job *job = item;
		gd_future_resolve(job->done, job->n * 2);
	}
	return r;
}

int gd_module_start(unsigned worker, unsigned workers)
{
	const char *mode = getenv("MODE");
	started = (int)(worker + workers * 100);
	jobs = gd_queue_new(10);
	if (mode && strcmp(mode, "refuse") == 0)
		return gd_fail(-EACCES, 500, "no licence for %u workers", workers);
	gd_spawn("forgotten", poll, "a task of the start");
	gd_deadline before = gd_deadline_push(gd_in_ms(1)); /* is not the background tasks' */
	int r = gd_background("poll", poll, "a poll");
	gd_deadline_pop(before);
	if (r == 0)
		r = gd_every("tick", 20, tick, NULL);
	if (r == 0)
		r = gd_background("fails", fail_often, NULL);
	if (r == 0)
		r = gd_background("once", run_once, NULL);
	if (r == 0)
		r = gd_background("worker", work, jobs);
	if (r == 0)
		r = gd_background("holds", hold, "only");
	return r;
}

void gd_module_stop(unsigned worker, unsigned workers)
{
	gd_log(GD_LOG_INFO, "worker %u of %u stops: %d", worker, workers, gd_sleep(1));
}

int state(gd_request *req)
{
	return gd_reply(req, 200,
			gd_build("{started: %d, worker: %d, polls: %d, ticks: %d, failures: %d, once: %d, held: %d, "
				 "too_late: %d}",
				 started, (int)gd_worker(), polls, ticks, failures, once, held,
				 gd_background("late", run_once, NULL)));
}

int twice(gd_request *req)
{
	struct job job = {.n = (int)gd_to_int(gd_param(req, "n"), 0), .done = gd_future_new()};
	int r = gd_queue_put(jobs, &job, GD_NEVER);
	if (r == 0)
		r = gd_future_await(job.done, GD_NEVER);
	return r < 0 ? r : gd_reply(req, 200, gd_int(r));
}
