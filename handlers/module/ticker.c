/* Ticks of a schedule, for handlers. */
#include <errno.h>

#include "async/call.h"
#include "handlers/module/scope.h"

struct gd_ticker {
	const struct module_env *env; /* the worker's that made it */
	struct ticker ticker;
};

gd_ticker *gd_ticker_new(int64_t period_ms)
{
	struct gd_scope *s = scope_here(__func__);
	if (!s || period_ms <= 0 || period_ms > PERIOD_MS_MAX)
		return NULL;
	gd_ticker *t = arena_zalloc(s->arena, sizeof(*t));
	t->env = s->env;
	return ticker_init(&t->ticker, period_ms * 1000) < 0 ? NULL : t;
}

int gd_ticker_wait(gd_ticker *t, gd_deadline by)
{
	if (!scope_here(__func__))
		return -EPERM;
	if (!t)
		return -EINVAL;
	return scope_of_worker(t->env, __func__) ? turn_over(ticker_wait(&t->ticker, (deadline_t){by.us})) : -EPERM;
}
