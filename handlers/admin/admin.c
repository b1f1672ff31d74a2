/* /-/live, /-/ready, /-/metrics and /-/tasks. */
#include "handlers/admin/admin.h"

#include <errno.h>
#include <string.h>

#include "base/json_out.h"
#include "handlers/admin/tasks.h"

static void reply_json(struct exchange *x, const char *json)
{
	struct reply reply = {.status = 200, .headers = {{{"cache-control", 13}, {"no-store", 8}}}, .header_count = 1};
	buf_str(&reply.body, json);
	exchange_reply(x, &reply);
}

/* The process runs and its loops turn: this is being answered. */
static void live(struct exchange *x, const struct admin_view *r)
{
	(void)r;
	reply_json(x, "{\"live\":true}");
}

/* Requests are welcome: every source has a connection, and no drain has begun. */
static void ready(struct exchange *x, const struct admin_view *r)
{
	struct buf down = BUF_INIT;
	struct buf names = BUF_INIT;
	for (size_t i = 0; i < r->source_count; i++) {
		const char *name = r->source_down(r->arg, i);
		if (!name)
			continue;
		buf_str(&down, down.len ? "," : "\"down\":[");
		json_string(&down, name, strlen(name));
		buf_str(&names, names.len ? ", " : "");
		buf_str(&names, name);
	}
	struct error e;
	if (r->draining) {
		error_set(&e, -ESHUTDOWN, 503, "The daemon is draining.", "draining");
		exchange_problem(x, &e, NULL, NULL, NULL);
	} else if (down.len) {
		buf_char(&down, ']');
		error_set(&e, -EHOSTDOWN, 503, "A source is down.", "down: %s", buf_cstr(&names));
		exchange_problem(x, &e, NULL, buf_cstr(&down), NULL);
	} else {
		reply_json(x, "{\"ready\":true}");
	}
	buf_done(&down);
	buf_done(&names);
}

static void metrics(struct exchange *x, const struct admin_view *r)
{
	struct reply reply = {.status = 200, .content_type = "text/plain; version=0.0.4; charset=utf-8"};
	r->metrics(r->arg, &reply.body);
	exchange_reply(x, &reply);
}

static void tasks(struct exchange *x, const struct admin_view *r)
{
	(void)r;
	tasks_page(x);
}

static const struct {
	const char *path;
	void (*answer)(struct exchange *x, const struct admin_view *r);
	bool for_everybody; /* else for the admin listener, and without one for loopback peers */
} pages[] = {
	{"/-/live", live, true},
	{"/-/ready", ready, true},
	{"/-/metrics", metrics, false},
	{"/-/tasks", tasks, false},
};

static bool has_admin_listener(const struct config *c)
{
	return c->server.listen[c->server.listen_count - 1].admin;
}

static void refuse(struct exchange *x, int errnum, unsigned status, const char *what, const struct header *extra)
{
	struct error e;
	error_set(&e, errnum, (int)status, NULL, "%s", what);
	exchange_problem(x, &e, NULL, NULL, extra);
}

static void answer_page(struct exchange *x, const struct admin_view *r, size_t page)
{
	static const struct header allow = {.name = {"allow", 5}, .value = {"GET, HEAD, OPTIONS", 18}};
	if (x->method == METHOD_GET || x->method == METHOD_HEAD)
		pages[page].answer(x, r);
	else if (x->method == METHOD_OPTIONS)
		exchange_reply(x, &(struct reply){.status = 204, .headers = {allow}, .header_count = 1});
	else
		refuse(x, -EOPNOTSUPP, 405, "method not allowed", &allow);
}

static bool may_see(const struct exchange *x, const struct config *c, size_t page)
{
	if (x->admin_listener)
		return true;
	return !has_admin_listener(c) && (pages[page].for_everybody || x->loopback_peer);
}

bool admin_handle(struct exchange *x, const struct config *c, const struct admin_view *view)
{
	bool below = x->path.len >= 3 && memcmp(x->path.base, "/-/", 3) == 0;
	if (!below && !x->admin_listener)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
		if (x->path.len == strlen(pages[i].path) && memcmp(x->path.base, pages[i].path, x->path.len) == 0 &&
		    may_see(x, c, i)) {
			x->endpoint = pages[i].path;
			answer_page(x, view, i);
			return true;
		}
	}
	refuse(x, -ENOENT, 404, "no such path", NULL);
	return true;
}
