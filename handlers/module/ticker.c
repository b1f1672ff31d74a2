/* Ticks of a schedule, for handlers. */
#include <errno.h>

#include "async/call.h"
#include "handlers/module/internal.h"

struct gd_ticker {
	struct thing thing;
	unsigned worker; /* that made it */
	struct ticker ticker;
	struct list waiters;
	struct users users; /* tasks that are in gd_ticker_wait */
	bool ended;         /* with its scope: who still waits is told -ECANCELED */
};

static void end_ticker(struct thing *thing)
{
	struct gd_ticker *t = container_of(thing, struct gd_ticker, thing);
	t->ended = true;
	waiters_wake_all(&t->waiters, -ECANCELED);
	users_await(&t->users, DEADLINE_NEVER);
}

gd_ticker *gd_ticker_new(int64_t period_ms)
{
	struct gd_scope *s = scope_here(__func__);
	if (!s || period_ms <= 0 || period_ms > PERIOD_MS_MAX)
		return NULL;
	gd_ticker *t = arena_zalloc(s->arena, sizeof(*t));
	t->worker = s->env->worker;
	list_init(&t->waiters);
	if (ticker_init(&t->ticker, period_ms * 1000) < 0)
		return NULL;
	scope_add(s, &t->thing, end_ticker);
	return t;
}

static int wait_for_tick(gd_ticker *t, deadline_t by)
{
	struct waiter w;
	waiter_init(&w, NULL, "a tick");
	list_append(&t->waiters, &w.link);
	int r = task_suspend(&w, deadline_min(by, t->ticker.next));
	return r == -ETIMEDOUT && !t->ended ? ticker_wait(&t->ticker, by) : r;
}

int gd_ticker_wait(gd_ticker *t, gd_deadline by)
{
	if (!scope_here(__func__))
		return -EPERM;
	if (!t)
		return -EINVAL;
	if (!scope_of_worker(t->worker, __func__))
		return -EPERM;
	if (t->ended)
		return -ECANCELED;
	users_enter(&t->users);
	int r = wait_for_tick(t, deadline_of(by));
	users_leave(&t->users);
	return turn_over(r);
}
