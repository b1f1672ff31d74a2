/* Leases that are never released: seen when the outermost scope ends. Nothing is given back, as the next one to take it
 * may count on what it guards. */
#include "handlers/module/holds.h"

#include "async/monitor.h"
#include "base/log.h"
#include "handlers/module/internal.h"
#include "handlers/module/request.h"

struct hold {
	struct thing thing;
	struct hold *next;
	const char *kind;
	const void *what;
	int count;
};

static void say(const char *message, const char *kind, int count)
{
	const struct gd_scope *s = scope_try();
	const struct gd_request *req = s ? s->request : NULL;
	log_line(LOG_LINE_WARNING, message, "kind=%s count=%d endpoint=\"%s\" id=%s", kind, count,
		 req ? req->endpoint->name : "", req ? req->exchange->id : "");
}

static void report(struct thing *t)
{
	const struct hold *h = container_of(t, struct hold, thing);
	if (h->count > 0)
		say("taken and never released", h->kind, h->count);
}

void hold_left_open(const char *kind)
{
	if (monitor_running())
		say("left open", kind, 1);
}

static struct hold *find(struct gd_scope *s, const void *what)
{
	struct hold *h = s->holds;
	while (h && h->what != what)
		h = h->next;
	return h;
}

void hold_taken(struct gd_scope *scope, const char *kind, const void *what)
{
	if (!monitor_running())
		return;
	struct gd_scope *s = scope_outermost(scope);
	struct hold *h = find(s, what);
	if (!h) {
		h = arena_zalloc(s->arena, sizeof(*h));
		*h = (struct hold){.next = s->holds, .kind = kind, .what = what};
		s->holds = h;
		scope_add(s, &h->thing, report);
	}
	h->count++;
}

void hold_given(struct gd_scope *scope, const void *what)
{
	struct hold *h = find(scope_outermost(scope), what);
	if (h)
		h->count--;
}
