/* Futures, and the promises by which other threads resolve them.
 *
 * A promise is memory of its own, known to its loop as a message that is certain to come: so the loop waits for it, and
 * it may find that its future has gone with a scope. A worker that ends waits for a while; then its promises are given
 * up: they stay in memory, and whoever resolves one after all finds that nobody is there. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "async/future.h"
#include "async/loop.h"
#include "base/log.h"
#include "base/mem.h"
#include "handlers/module/internal.h"

enum { LAST_PROMISES_MS = 5000 };

struct gd_future {
	struct thing thing;
	unsigned worker; /* that made it */
	struct future future;
	struct list promises;
};

/* The promises of a worker that nobody has resolved. */
struct promises {
	pthread_mutex_t lock;
	struct loop *loop; /* under lock; NULL: it is gone */
	struct list open;  /* under lock */
	unsigned count;    /* under lock; of open */
	struct users kept; /* those that have not come to the loop yet; loop thread only */
	struct promises *next_abandoned;
};

struct gd_promise {
	struct list link;         /* of its future's; loop thread only */
	struct gd_future *future; /* NULL: it is gone; loop thread only */
	struct promises *among;
	struct list open; /* under its lock */
	struct message message;
	int result; /* the resolver's until the message is posted */
};

static void end_future(struct thing *t)
{
	struct gd_future *f = container_of(t, struct gd_future, thing);
	struct list *node;
	future_resolve(&f->future, -ECANCELED); /* for tasks of scopes around it */
	while ((node = list_shift(&f->promises)))
		container_of(node, struct gd_promise, link)->future = NULL;
}

gd_future *gd_future_new(void)
{
	struct gd_scope *s = scope_here(__func__);
	if (!s)
		return NULL;
	gd_future *f = arena_zalloc(s->arena, sizeof(*f));
	f->worker = s->env->worker;
	future_init(&f->future);
	list_init(&f->promises);
	scope_add(s, &f->thing, end_future);
	return f;
}

void gd_future_resolve(gd_future *f, int result)
{
	if (f && scope_of_worker(f->worker, __func__))
		future_resolve(&f->future, result);
}

bool gd_future_done(const gd_future *f)
{
	return scope_here(__func__) && f && future_done(&f->future);
}

int gd_future_await(gd_future *f, gd_deadline by)
{
	if (!f)
		return scope_here(__func__) ? -EINVAL : -EPERM;
	return scope_of_worker(f->worker, __func__) ? turn_over(future_await(&f->future, deadline_of(by))) : -EPERM;
}

/* --- promises --- */

static _Thread_local struct promises *here; /* the worker's; NULL: it has made none */

static struct promises *promises_here(void)
{
	if (!here) {
		here = mem_zalloc(sizeof(*here));
		pthread_mutex_init(&here->lock, NULL);
		list_init(&here->open);
		here->loop = loop_current();
	}
	return here;
}

/* On the loop. */
static void resolved(struct message *m)
{
	struct gd_promise *p = container_of(m, struct gd_promise, message);
	loop_expect(loop_current(), -1);
	list_remove(&p->link);
	if (p->future)
		future_resolve(&p->future->future, p->result);
	users_leave(&p->among->kept);
	free(p);
}

gd_promise *gd_future_promise(gd_future *f)
{
	if (!f || !scope_of_worker(f->worker, __func__))
		return NULL;
	struct promises *among = promises_here();
	gd_promise *p = mem_alloc(sizeof(*p));
	*p = (struct gd_promise){.future = f, .among = among, .message.run = resolved};
	list_append(&f->promises, &p->link);
	users_enter(&among->kept);
	loop_expect(loop_current(), 1);
	pthread_mutex_lock(&among->lock);
	list_append(&among->open, &p->open);
	among->count++;
	pthread_mutex_unlock(&among->lock);
	return p;
}

void gd_promise_resolve(gd_promise *p, int result)
{
	if (!p)
		return;
	struct promises *among = p->among;
	p->result = result;
	pthread_mutex_lock(&among->lock);
	list_remove(&p->open);
	among->count--;
	if (among->loop)
		loop_post(among->loop, &p->message); /* p is the loop's */
	else
		free(p);
	pthread_mutex_unlock(&among->lock);
}

/* --- the end of a worker --- */

void promises_end(void)
{
	static _Atomic(struct promises *) abandoned; /* so that they are not lost, but kept */
	struct promises *among = here;
	deadline_t by = deadline_in_ms(LAST_PROMISES_MS);
	if (!among)
		return;
	users_await(&among->kept, by);
	pthread_mutex_lock(&among->lock);
	unsigned left = among->count;
	among->loop = NULL;
	pthread_mutex_unlock(&among->lock);
	here = NULL;
	if (left == 0) {
		users_await(&among->kept, DEADLINE_NEVER); /* what was resolved at the last moment is on its way */
		pthread_mutex_destroy(&among->lock);
		free(among);
		return;
	}
	loop_expect(loop_current(), -(int)left);
	log_line(LOG_LINE_ERROR, "promises were never resolved", "count=%u", left);
	among->next_abandoned = atomic_load(&abandoned);
	while (!atomic_compare_exchange_weak(&abandoned, &among->next_abandoned, among)) {}
}
