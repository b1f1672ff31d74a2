/* Ticks of a schedule, for handlers. */
#include <errno.h>

#include "async/call.h"
#include "handlers/module/scope.h"

struct gd_ticker {
	struct ticker ticker;
};

gd_ticker *gd_ticker_new(int64_t period_ms)
{
	struct gd_scope *s = scope_here(__func__);
	if (!s || period_ms > INT64_MAX / 1000)
		return NULL;
	gd_ticker *t = arena_zalloc(s->arena, sizeof(*t));
	return ticker_init(&t->ticker, period_ms * 1000) < 0 ? NULL : t;
}

int gd_ticker_wait(gd_ticker *t, gd_deadline by)
{
	if (!scope_here(__func__))
		return -EPERM;
	return t ? ticker_wait(&t->ticker, (deadline_t){by.us}) : -EINVAL;
}
