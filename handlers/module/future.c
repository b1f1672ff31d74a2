/* Futures, and the promises by which other threads resolve them.
 *
 * A promise is memory of its own, known to its loop as a message that is certain to come: so the loop waits for it, and
 * it may find that its future has gone with a scope. */
#include <errno.h>
#include <stdlib.h>

#include "async/future.h"
#include "async/loop.h"
#include "base/mem.h"
#include "handlers/module/internal.h"

struct gd_future {
	struct thing thing;
	struct future future;
	struct list promises;
};

struct gd_promise {
	struct list link;         /* of its future's; loop thread only */
	struct gd_future *future; /* NULL: it is gone; loop thread only */
	struct loop *loop;
	struct message message;
	int result; /* the resolver's until the message is posted */
};

static void end_future(struct thing *t)
{
	struct gd_future *f = container_of(t, struct gd_future, thing);
	struct list *node;
	while ((node = list_shift(&f->promises)))
		container_of(node, struct gd_promise, link)->future = NULL;
}

gd_future *gd_future_new(void)
{
	struct gd_scope *s = scope_here(__func__);
	if (!s)
		return NULL;
	gd_future *f = arena_zalloc(s->arena, sizeof(*f));
	future_init(&f->future);
	list_init(&f->promises);
	scope_add(s, &f->thing, end_future);
	return f;
}

void gd_future_resolve(gd_future *f, int result)
{
	if (scope_here(__func__) && f)
		future_resolve(&f->future, result);
}

bool gd_future_done(const gd_future *f)
{
	return scope_here(__func__) && f && future_done(&f->future);
}

int gd_future_await(gd_future *f, gd_deadline by)
{
	if (!scope_here(__func__))
		return -EPERM;
	return f ? future_await(&f->future, deadline_of(by)) : -EINVAL;
}

/* --- promises --- */

/* On the loop. */
static void resolved(struct message *m)
{
	struct gd_promise *p = container_of(m, struct gd_promise, message);
	loop_expect(p->loop, -1);
	list_remove(&p->link);
	if (p->future)
		future_resolve(&p->future->future, p->result);
	free(p);
}

gd_promise *gd_future_promise(gd_future *f)
{
	if (!scope_here(__func__) || !f)
		return NULL;
	gd_promise *p = mem_alloc(sizeof(*p));
	*p = (struct gd_promise){.future = f, .loop = loop_current(), .message.run = resolved};
	list_append(&f->promises, &p->link);
	loop_expect(p->loop, 1);
	return p;
}

void gd_promise_resolve(gd_promise *p, int result)
{
	if (!p)
		return;
	p->result = result;
	loop_post(p->loop, &p->message);
}
