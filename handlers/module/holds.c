/* Leases that are never released: seen when the outermost scope ends, so that nobody waits forever for what a request
 * that is over has forgotten. */
#include "handlers/module/holds.h"

#include "async/monitor.h"
#include "base/log.h"
#include "handlers/module/internal.h"
#include "handlers/module/request.h"

/* What one outermost scope has of one thing. In the scope's arena. */
struct hold {
	struct list in_scope; /* of its `holds`, or of its `spare_holds` */
	struct list by;       /* of what is held */
	struct list *spare;   /* the scope's `spare_holds` */
	struct held *held;
	unsigned count; /* above 0 */
};

static void say(const struct gd_scope *s, const char *message, const char *kind, unsigned count)
{
	const struct gd_request *req = s ? s->request : NULL;
	log_line(LOG_LINE_WARNING, message, "kind=%s count=%u task=\"%s\" endpoint=\"%s\" id=%s", kind, count,
		 task_name(task_self()), req ? req->endpoint->name : "", req ? req->exchange->id : "");
}

void hold_tell(const struct gd_scope *s, const char *kind, unsigned count)
{
	say(s, "taken and never released", kind, count);
}

void hold_left_open(const struct gd_scope *s, const char *kind)
{
	if (monitor_running())
		say(s, "left open", kind, 1);
}

void held_init(struct held *h, void (*take_back)(struct held *h))
{
	list_init(&h->by);
	h->take_back = take_back;
}

static struct hold *hold_of(struct list *by)
{
	return container_of(by, struct hold, by);
}

/* What s has of h; NULL: nothing. */
static struct hold *find(struct gd_scope *s, const struct held *h)
{
	list_for_each (node, &s->holds) {
		struct hold *hold = container_of(node, struct hold, in_scope);
		if (hold->held == h)
			return hold;
	}
	return NULL;
}

static struct hold *hold_new(struct gd_scope *s, struct held *h)
{
	struct list *spare = list_shift(&s->spare_holds);
	struct hold *hold = spare ? container_of(spare, struct hold, in_scope) : arena_alloc(s->arena, sizeof(*hold));
	hold->held = h;
	hold->count = 0;
	hold->spare = &s->spare_holds;
	list_append(&s->holds, &hold->in_scope);
	list_append(&h->by, &hold->by);
	return hold;
}

static void hold_drop(struct hold *hold)
{
	list_remove(&hold->in_scope);
	list_remove(&hold->by);
	list_append(hold->spare, &hold->in_scope);
}

void held_done(struct held *h)
{
	while (!list_empty(&h->by))
		hold_drop(hold_of(h->by.next));
}

void hold_taken(struct gd_scope *s, struct held *h)
{
	if (!h->take_back && !monitor_running())
		return;
	struct hold *hold = find(s, h);
	if (!hold)
		hold = hold_new(s, h);
	hold->count++;
}

bool hold_given(struct gd_scope *s, struct held *h)
{
	struct hold *hold = find(s, h);
	if (!hold && list_empty(&h->by))
		return false;
	if (!hold)
		hold = hold_of(h->by.next);
	if (--hold->count == 0)
		hold_drop(hold);
	return true;
}

void holds_end(struct gd_scope *s)
{
	while (!list_empty(&s->holds)) {
		struct hold *hold = container_of(s->holds.next, struct hold, in_scope);
		struct held *h = hold->held;
		unsigned count = hold->count;
		hold_drop(hold);
		hold_tell(s, "semaphore", count);
		for (; count > 0 && h->take_back; count--)
			h->take_back(h);
	}
}
