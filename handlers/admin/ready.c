/* Readiness: asked by load balancers, which send requests elsewhere when it is not there. */
#include "handlers/admin/ready.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/json_out.h"
#include "base/log.h"
#include "drivers/driver.h"
#include "handlers/web/percent.h"

/* --- ?ignore= --- */

/* Take the part of *rest before the next `mark` off it. */
static struct span take_part(struct span *rest, char mark)
{
	const char *end = memchr(rest->base, mark, rest->len);
	size_t len = end ? (size_t)(end - rest->base) : rest->len;
	struct span part = {rest->base, len};
	size_t taken = end ? len + 1 : len;
	*rest = (struct span){rest->base + taken, rest->len - taken};
	return part;
}

static bool list_names(struct span list, const char *name)
{
	size_t len = strlen(name);
	while (list.len > 0) {
		struct span one = take_part(&list, ',');
		if ((one.len == 1 && *one.base == '*') || (one.len == len && memcmp(one.base, name, len) == 0))
			return true;
	}
	return false;
}

/* The lists of ignore= in the query, one after another; a name that no source has leaves nothing out. */
static struct span ignored_names(struct exchange *x)
{
	static const char key[] = "ignore=";
	const size_t key_len = sizeof(key) - 1;
	struct span rest = x->query, names = {NULL, 0};
	char *to = arena_alloc(&x->arena, rest.len + 1);

	names.base = to;
	while (rest.len > 0) {
		struct span pair = take_part(&rest, '&');
		if (pair.len < key_len || memcmp(pair.base, key, key_len) != 0)
			continue;
		ssize_t n = percent_decode(to + names.len, pair.base + key_len, pair.len - key_len, true);
		if (n < 0)
			continue;
		names.len += (size_t)n;
		to[names.len++] = ',';
	}
	return names;
}

/* --- the page --- */

/* code: for programs, in a word. */
static void refuse(struct exchange *x, enum reason why, const char *code, const char *what)
{
	struct error e;
	error_say(&e, -ESHUTDOWN, why, "%s", what);
	snprintf(e.code, sizeof(e.code), "%s", code);
	exchange_problem(x, &e, NULL, NULL, NULL);
}

static void refuse_down(struct exchange *x, struct buf *down, struct buf *names)
{
	struct error e;
	buf_char(down, ']');
	error_say(&e, -EHOSTDOWN, REASON_SOURCE_DOWN, "%s", buf_cstr(names));
	exchange_problem(x, &e, NULL, buf_cstr(down), NULL);
}

static void reply_ready(struct exchange *x, bool ready)
{
	struct reply reply = {.status = 200};
	buf_printf(&reply.body, "{\"ready\":%s}", ready ? "true" : "false");
	exchange_reply(x, &reply);
}

void ready_page(struct exchange *x, const struct readiness *r, const struct config *c, struct source *const *sources)
{
	struct span ignored = ignored_names(x);
	struct buf down = BUF_INIT, names = BUF_INIT;

	for (size_t i = 0; i < c->source_count; i++) {
		const struct config_source *s = &c->sources[i];
		if (!s->ready || list_names(ignored, s->name) || sources[i]->driver->source_ready(sources[i]))
			continue;
		buf_str(&down, down.len ? "," : "\"down\":[");
		json_string(&down, s->name, strlen(s->name));
		buf_str(&names, names.len ? ", " : "down: ");
		buf_str(&names, s->name);
	}
	if (atomic_load_explicit(&r->draining, memory_order_relaxed))
		refuse(x, REASON_DRAINING, "draining", "draining");
	else if (atomic_load_explicit(&r->off, memory_order_relaxed))
		refuse(x, REASON_SWITCHED_OFF, "off", "switched off by hand");
	else if (down.len)
		refuse_down(x, &down, &names);
	else
		reply_ready(x, true);
	buf_done(&down);
	buf_done(&names);
}

/* --- by hand --- */

/* Returns 1 or 0, or -EBADMSG. */
static int wanted(struct exchange *x)
{
	struct json *body;
	char why[100];

	if (json_parse(&body, &x->arena, x->body.base, x->body.len, 2, why, sizeof(why)) < 0)
		return -EBADMSG;
	const struct json *ready = json_member(body, "ready", 5);
	return ready && ready->kind == JSON_BOOL && body->count == 1 ? ready->boolean : -EBADMSG;
}

void ready_switch(struct exchange *x, struct readiness *r)
{
	struct error e;
	int on = wanted(x);

	if (on < 0) {
		error_say(&e, on, REASON_READY_BODY, "a body that is neither");
		exchange_problem(x, &e, NULL, NULL, NULL);
		return;
	}
	if (atomic_exchange(&r->off, !on) == (bool)on)
		log_line(LOG_LINE_INFO, on ? "ready again, by hand" : "not ready any more, by hand", "id=%s", x->id);
	reply_ready(x, on);
}
