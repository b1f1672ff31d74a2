/* The pages below /-/: which there are, who may see them, and what all of them have in common. */
#include "handlers/admin/admin.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "handlers/admin/reload_page.h"
#include "handlers/admin/status.h"
#include "handlers/admin/tasks.h"

/* The process runs and its loops turn: this is being answered. */
static void live(struct exchange *x, const struct admin_view *v)
{
	struct reply reply = {.status = 200};
	(void)v;
	buf_lit(&reply.body, "{\"live\":true}");
	exchange_reply(x, &reply);
}

static void ready(struct exchange *x, const struct admin_view *v)
{
	ready_page(x, v->readiness, v->config, v->sources);
}

static void switch_ready(struct exchange *x, const struct admin_view *v)
{
	ready_switch(x, v->readiness);
}

static void metrics(struct exchange *x, const struct admin_view *v)
{
	v->metrics(v->arg, x);
}

static void tasks(struct exchange *x, const struct admin_view *v)
{
	(void)v;
	tasks_page(x);
}

static void reload(struct exchange *x, const struct admin_view *v)
{
	(void)v;
	reload_page(x);
}

static void answer_status(struct exchange *x, const struct admin_view *v, bool page)
{
	const struct status_view view = {
		.config = v->config,
		.sources = v->sources,
		.readiness = v->readiness,
		.generation = v->generation,
	};
	status_answer(x, &view, page);
}

static void status(struct exchange *x, const struct admin_view *v)
{
	answer_status(x, v, true);
}

static void status_json(struct exchange *x, const struct admin_view *v)
{
	answer_status(x, v, false);
}

typedef void answer_fn(struct exchange *x, const struct admin_view *v);

static const struct page {
	const char *path;
	answer_fn *get;     /* NULL: it is only for post */
	answer_fn *post;    /* changes something: on the control socket alone. NULL: there is nothing to change */
	bool for_everybody; /* else for the admin listener, and without one for loopback peers */
} pages[] = {
	{"/-/live", live, NULL, true},
	{"/-/ready", ready, switch_ready, true},
	{"/-/metrics", metrics, NULL, false},
	{"/-/tasks", tasks, NULL, false},
	{"/-/reload", NULL, reload, false},
	{"/-/status", status, NULL, false},
	{"/-/status.json", status_json, NULL, false},
};

/* --- who may --- */

static bool has_admin_listener(const struct config *c)
{
	return c->server.listen[c->server.listen_count - 1].admin;
}

/* A loopback address or localhost, with or without a port: no name that somebody else's DNS may point at us. Nothing,
 * too: browsers, which could be led here, always send a name. */
static bool is_loopback_name(struct span host)
{
	static const struct span names[] = {{"localhost", 9}, {"[::1]", 5}};
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		size_t len = names[i].len;
		if (host.len >= len && strncasecmp(host.base, names[i].base, len) == 0 &&
		    (host.len == len || host.base[len] == ':'))
			return true;
	}
	size_t digits = 0, dots = 0;
	while (digits < host.len &&
	       ((host.base[digits] >= '0' && host.base[digits] <= '9') || host.base[digits] == '.'))
		dots += host.base[digits++] == '.';
	bool whole = digits == host.len || host.base[digits] == ':';
	return host.len == 0 || (whole && dots == 3 && host.len > 4 && memcmp(host.base, "127.", 4) == 0);
}

static const struct page *find_page(const struct exchange *x)
{
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
		if (x->path.len == strlen(pages[i].path) && memcmp(x->path.base, pages[i].path, x->path.len) == 0)
			return &pages[i];
	}
	return NULL;
}

/* Returns REASON_NONE, or the reason to refuse it with: a 404 tells nobody what there is. */
static enum reason refusal(struct exchange *x, const struct config *c, const struct page *p)
{
	if (!p || (!p->get && !x->control_listener) || (p->post && x->method == METHOD_POST && !x->control_listener))
		return REASON_PATH_UNKNOWN;
	if (x->admin_listener)
		return REASON_NONE;
	if (has_admin_listener(c))
		return REASON_PATH_UNKNOWN;
	if (p->for_everybody)
		return REASON_NONE;
	if (!x->loopback_peer)
		return REASON_PATH_UNKNOWN;
	return x->unix_peer || is_loopback_name(exchange_header(x, "host")) ? REASON_NONE : REASON_HOST_NOT_LOOPBACK;
}

/* --- answering --- */

static void refuse(struct exchange *x, int errnum, enum reason why, const struct header *extra)
{
	struct error e;
	error_say(&e, errnum, why, "%s", reason_text(why));
	exchange_problem(x, &e, NULL, NULL, extra);
}

static struct header allow_header(const struct exchange *x, const struct page *p)
{
	bool post = p->post && x->control_listener;
	const char *methods = !p->get ? "POST, OPTIONS" : post ? "GET, HEAD, POST, OPTIONS" : "GET, HEAD, OPTIONS";
	return (struct header){.name = {"allow", 5}, .value = {methods, strlen(methods)}};
}

static void answer_page(struct exchange *x, const struct admin_view *v, const struct page *p)
{
	struct header allow = allow_header(x, p);
	x->endpoint = p->path;
	if (p->get && (x->method == METHOD_GET || x->method == METHOD_HEAD))
		p->get(x, v);
	else if (p->post && x->method == METHOD_POST)
		p->post(x, v);
	else if (x->method == METHOD_OPTIONS)
		exchange_reply(x, &(struct reply){.status = 204, .headers = {allow}, .header_count = 1});
	else
		refuse(x, -EOPNOTSUPP, REASON_METHOD_NOT_OF_PATH, &allow);
}

/* Of the moment, no document of another site's, and nothing but what it says it is. */
static void set_common_headers(struct exchange *x)
{
	static const struct header common[] = {
		{{"cache-control", 13}, {"no-store", 8}},
		{{"x-content-type-options", 22}, {"nosniff", 7}},
		{{"cross-origin-resource-policy", 28}, {"same-origin", 11}},
	};
	memcpy(x->always, common, sizeof(common));
	x->always_count = ARRAY_SIZE(common);
}

bool admin_handle(struct exchange *x, const struct admin_view *v)
{
	bool below = x->path.len >= 3 && memcmp(x->path.base, "/-/", 3) == 0;
	if (!below && !x->admin_listener)
		return false;
	exchange_count_admin(x);
	set_common_headers(x);
	const struct page *p = find_page(x);
	enum reason why = refusal(x, v->config, p);
	if (why == REASON_NONE)
		answer_page(x, v, p);
	else
		refuse(x, why == REASON_PATH_UNKNOWN ? -ENOENT : -EPERM, why, NULL);
	return true;
}
