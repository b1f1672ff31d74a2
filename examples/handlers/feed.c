/* A feed: what PostgreSQL is told goes to everybody who reads, as server-sent events. Who is too slow is sent away, and
 * when the daemon ends, so are all. */
#include <errno.h>
#include <gatherd.h>
#include <stdlib.h>
#include <string.h>

enum { BEHIND = 100 }; /* events that a reader may be behind */

struct reader {
	gd_queue *events;
	struct reader *next;
};

static _Thread_local struct reader *readers; /* a worker's own: its tasks share them without a lock */

/* The texts outlive the scope they come from: each reader has a copy. */
static void tell(const char *text)
{
	for (struct reader *r = readers; r; r = r->next) {
		char *copy = strdup(text);
		if (gd_queue_put_now(r->events, copy) < 0) {
			free(copy);
			gd_queue_close(r->events); /* it gets what was put, and then the end */
		}
	}
}

static int follow(void *arg)
{
	(void)arg;
	gd_cursor *news = gd_pg_listen("shop", "feed");
	gd_value *one;
	while ((one = gd_next(news)) && !gd_failed(one)) {
		gd_scope *s = gd_scope_begin(); /* else each text would stay */
		tell(gd_to_text(gd_get(one, "payload")));
		gd_scope_end(s);
		gd_yield(); /* the readers take it: many at once are no reason to send them away */
	}
	return gd_fail_with(one);
}

/* The daemon waits for the requests that run, and these would run for ever. */
static int end_feeds(void *arg)
{
	(void)arg;
	int r = gd_drain_wait(GD_NEVER);
	for (struct reader *one = readers; one; one = one->next)
		gd_queue_close(one->events);
	return r;
}

int gd_module_start(unsigned worker, unsigned workers)
{
	(void)worker, (void)workers;
	int r = gd_background("follow", follow, NULL);
	return r < 0 ? r : gd_background("end feeds", end_feeds, NULL);
}

static void leave(struct reader *me)
{
	struct reader **at = &readers;
	while (*at != me)
		at = &(*at)->next;
	*at = me->next;
	for (void *text; gd_queue_get_now(me->events, &text) == 0;)
		free(text);
}

int feed(gd_request *req)
{
	struct reader me = {gd_queue_new(BEHIND), readers};
	readers = &me;
	if (gd_draining())
		gd_queue_close(me.events);
	void *text;
	int r = gd_sse_begin(req, 0);
	while (r == 0 && (r = gd_queue_get(me.events, &text, GD_NEVER)) == 0) {
		r = gd_sse_send(req, "news", NULL, text);
		free(text);
	}
	leave(&me);
	return r == -EPIPE ? gd_stream_end(req) : r;
}

int publish(gd_request *req)
{
	return gd_reply(req, 202, gd_pg_notify(NULL, "shop", "feed", gd_param(req, "text")));
}
