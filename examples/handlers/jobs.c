/* Jobs: a request puts one into a queue and is answered at once, or told that the queue is full. Background tasks do
 * them, again where they fail; what was accepted is done before the daemon ends. */
#include <gatherd.h>
#include <stdint.h>

enum { CONSUMERS = 2, MOST_WAITING = 10, ATTEMPTS = 3 };

static _Thread_local gd_queue *jobs; /* of numbers of pages */
static _Thread_local int done, given_up;

static int fetch_and_keep(int page)
{
	gd_semaphore *few = gd_semaphore_named("fetching"); /* of all workers together */
	int r = gd_acquire(few, GD_NEVER);
	if (r < 0)
		return r;
	gd_value *text = gd_http_get(NULL, "pages", gd_format("/pages/%d", page));
	gd_release(few);
	/* A failure of the service passes through what is made of it. */
	return gd_failed(gd_write_file(NULL, "papers", gd_format("page-%d.json", page), text));
}

static void do_job(int page)
{
	gd_scope *s = gd_scope_begin(); /* else the values of all jobs would stay */
	int r = fetch_and_keep(page), pause_ms = 50;
	for (int attempt = 1; r < 0 && attempt < ATTEMPTS; attempt++, pause_ms *= 2)
		r = gd_sleep(pause_ms) == 0 ? fetch_and_keep(page) : r;
	if (r < 0)
		gd_log(GD_LOG_ERROR, "page %d is given up", page);
	given_up += r < 0;
	done += r == 0;
	gd_scope_end(s);
}

/* A consumer that is cancelled waits for no further jobs, but does those that are there. */
static int consume(void *arg)
{
	(void)arg;
	void *page;
	while (gd_queue_get(jobs, &page, GD_NEVER) == 0 || gd_queue_get_now(jobs, &page) == 0) {
		gd_shield shield;
		gd_shield_begin(&shield, gd_in_ms(5000));
		do_job((int)(intptr_t)page);
		gd_shield_end(&shield);
	}
	return 0;
}

int gd_module_start(unsigned worker, unsigned workers)
{
	(void)worker, (void)workers;
	jobs = gd_queue_new(MOST_WAITING);
	int r = 0;
	for (int i = 0; i < CONSUMERS && r == 0; i++)
		r = gd_background("consumer", consume, NULL);
	return r;
}

int enqueue(gd_request *req)
{
	int64_t page = gd_to_int(gd_param(req, "page"), 0);
	int r = gd_queue_put_now(jobs, (void *)(intptr_t)page);
	if (r < 0)
		return gd_fail(r, 503, "Too many jobs are waiting.");
	return gd_reply(req, 202, gd_build("{waiting: %d}", (int)gd_queue_count(jobs)));
}

int count(gd_request *req)
{
	int waiting = (int)gd_queue_count(jobs);
	return gd_reply(req, 200, gd_build("{waiting: %d, done: %d, given_up: %d}", waiting, done, given_up));
}
