/* Children that use what stands on their parent's stack, failures of several tasks, streams of any status, and feeds
 * that end with the daemon: test_handlers_together.py. */
#include <errno.h>
#include <gatherd.h>
#include <string.h>

static _Thread_local int running, left_behind, waited;

/* --- a parent that can't wait any more --- */

struct part {
	gd_semaphore *none;
	char room[200];
};

/* It writes to its parent's memory when it ends, after a wait that even its cancellation does not end. */
static int slow(void *arg)
{
	struct part *p = arg;
	gd_shield s;
	running++;
	int r = gd_acquire(p->none, GD_NEVER);
	gd_shield_begin(&s, gd_in_ms(10000));
	gd_sleep(20);
	gd_shield_end(&s);
	memset(p->room, 'x', sizeof(p->room));
	running--;
	return r;
}

enum { PARTS = 20 };

static void begin(gd_gather *g, struct part *parts)
{
	gd_semaphore *none = gd_semaphore_new(0, 0);
	for (int i = 0; i < PARTS; i++) {
		parts[i].none = none;
		gd_gather_add(g, "slow", slow, &parts[i]);
	}
}

static int came_back(int r)
{
	left_behind += running;
	waited++;
	return r;
}

int wait_for_all(gd_request *req)
{
	(void)req;
	struct part parts[PARTS];
	gd_gather *g = gd_gather_new(GD_ALL);
	begin(g, parts);
	return came_back(gd_gather_wait(g, GD_NEVER));
}

int wait_for_next(gd_request *req)
{
	(void)req;
	struct part parts[PARTS];
	gd_gather *g = gd_gather_new(GD_FAIL_FAST);
	begin(g, parts);
	return came_back(gd_gather_next(g, GD_NEVER));
}

/* The deadline is the caller's own: its gather ends with it, and the caller goes on. */
int pushed(gd_request *req)
{
	struct part parts[PARTS];
	gd_gather *g = gd_gather_new(GD_ALL);
	begin(g, parts);
	gd_deadline before = gd_deadline_push(gd_in_ms(30));
	int r = came_back(gd_gather_wait(g, GD_NEVER));
	gd_deadline_pop(before);
	int again = gd_gather_wait(g, GD_NEVER);
	return gd_reply(req, 200, gd_list(gd_int(r), gd_int(again), gd_int(gd_gather_result(g, 0))));
}

/* A deadline of the wait alone is no reason to end what is waited for. */
int not_so_long(gd_request *req)
{
	struct part parts[PARTS];
	gd_gather *g = gd_gather_new(GD_ALL);
	begin(g, parts);
	int r = gd_gather_wait(g, gd_in_ms(30)), next = gd_gather_next(g, gd_in_ms(1)), still = running;
	gd_gather_cancel(g);
	int end = gd_gather_wait(g, GD_NEVER);
	return gd_reply(req, 200, gd_list(gd_int(r), gd_int(next), gd_int(still), gd_int(end), gd_int(running)));
}

int left(gd_request *req)
{
	return gd_reply(req, 200, gd_list(gd_int(waited), gd_int(left_behind), gd_int(running)));
}

/* --- failures of several --- */

static int refuse(void *arg)
{
	(void)arg;
	return gd_fail(-EINVAL, 422, "This is no picture.");
}

static int lose(void *arg)
{
	(void)arg;
	return gd_fail(-ENOENT, 404, "There is no such picture.");
}

/* Its own failure comes later, and only because it is cancelled. */
static int store(void *arg)
{
	(void)arg;
	int r = gd_sleep(60000);
	return gd_fail(r, 503, "The picture was not stored.");
}

int first_failure(gd_request *req)
{
	gd_gather *g = gd_gather_new(GD_FAIL_FAST);
	gd_gather_add(g, "store", store, NULL);
	gd_gather_add(g, "refuse", refuse, NULL);
	int r = gd_gather_wait(g, GD_NEVER);
	return r < 0 ? r : gd_reply(req, 200, gd_null());
}

/* Of those that all ended it is the handler that says which counts. */
int chosen_failure(gd_request *req)
{
	gd_gather *g = gd_gather_new(GD_ALL);
	int refused = gd_gather_add(g, "refuse", refuse, NULL), lost = gd_gather_add(g, "lose", lose, NULL);
	int r = gd_gather_wait(g, GD_NEVER);
	if (r < 0)
		return r;
	return gd_gather_result(g, gd_truthy(gd_param(req, "lost")) ? lost : refused);
}

/* More of them than are remembered: the last ones are. */
int many_failures(gd_request *req)
{
	int64_t which = gd_to_int(gd_param(req, "which"), 0);
	for (int i = 1; i <= 50; i++)
		gd_fail(-i, 422, "Number %d.", i);
	return (int)-which;
}

static int twice(gd_pg *tx, void *arg)
{
	(void)arg;
	gd_value *v = gd_tx_execute(tx, "create temporary table once (id integer primary key) on commit drop", NULL);
	if (!gd_failed(v))
		v = gd_tx_execute(tx, "insert into once values (1), (1)", NULL);
	return gd_fail_with(v);
}

static gd_value *told_of(int r)
{
	gd_value *v = gd_failure_of(r);
	return gd_build("{same: %d, status: %d, code: %s, text: %s}", gd_failed(v) == r, gd_error_status(v),
			gd_error_code(v), gd_error_text(v));
}

/* What a transaction failed with can be looked at, and the handler goes on. */
int failure_of(gd_request *req)
{
	gd_value *told = gd_list(told_of(gd_pg_transaction("pg", NULL, twice, NULL)), told_of(lose(NULL)),
				 told_of(-EBUSY), told_of(0));
	gd_append(told, gd_failure_of(7));
	return gd_reply(req, 200, told);
}

/* --- streams of other statuses than 200 --- */

int stream(gd_request *req)
{
	int r = gd_stream_begin(req, (int)gd_to_int(gd_param(req, "status"), 0), "text/plain");
	for (int i = 0; i < 3 && r == 0; i++) {
		r = gd_stream_printf(req, "line %d\n", i);
		if (r == 0 && gd_truthy(gd_param(req, "slow")))
			r = gd_sleep(5);
	}
	if (r < 0)
		return r;
	return gd_truthy(gd_param(req, "whole")) ? gd_stream_end(req) : -EIO;
}

/* --- the daemon's end --- */

static _Thread_local gd_queue *feed_ends;

static int end_feeds(void *arg)
{
	(void)arg;
	int early = gd_drain_wait(gd_in_ms(1));
	int r = early == -ETIMEDOUT && !gd_draining() ? gd_drain_wait(GD_NEVER) : -EIO;
	int again = gd_drain_wait(GD_NEVER);
	gd_log(GD_LOG_INFO, "the end: %d %d %d", r, again, gd_draining());
	gd_queue_close(feed_ends);
	return r;
}

int gd_module_start(unsigned worker, unsigned workers)
{
	(void)worker, (void)workers;
	feed_ends = gd_queue_new(1);
	return gd_background("end feeds", end_feeds, NULL);
}

int feed(gd_request *req)
{
	void *item;
	int r = gd_stream_begin(req, 200, "text/plain");
	if (r == 0)
		r = gd_stream_printf(req, "begin ");
	if (r == 0)
		r = gd_queue_get(feed_ends, &item, GD_NEVER);
	if (r == -EPIPE)
		r = gd_stream_printf(req, "end");
	return r < 0 ? r : gd_stream_end(req);
}

static int elsewhere_fn(void *arg)
{
	*(int *)arg = gd_drain_wait(GD_NEVER);
	return gd_draining();
}

int elsewhere(gd_request *req)
{
	int r = 0, draining = gd_run_blocking(elsewhere_fn, &r);
	return gd_reply(req, 200, gd_list(gd_int(draining), gd_int(r)));
}
