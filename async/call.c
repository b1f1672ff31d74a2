/* Delayed and periodic calls: a timer or a deferred call with a function and its argument. */
#include "async/call.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#include "async/internal.h"
#include "base/mem.h"

static void call_now(struct callback *c)
{
	c->fn(c->arg); /* may free c */
}

static void timer_fired(struct timer *t)
{
	call_now(container_of(t, struct callback, timer));
}

static void turn_ends(struct deferred *d)
{
	call_now(container_of(d, struct callback, soon));
}

void call_init(struct callback *c, void (*fn)(void *arg), void *arg)
{
	*c = (struct callback){.fn = fn, .arg = arg};
	timer_init(&c->timer, timer_fired);
	deferred_init(&c->soon, turn_ends);
}

void call_cancel(struct callback *c)
{
	if (timer_running(&c->timer))
		timer_stop(&c->timer, loop_timers(loop_current()));
	deferred_cancel(&c->soon);
}

void call_soon(struct callback *c)
{
	call_cancel(c);
	loop_defer(loop_current(), &c->soon);
}

void call_at(struct callback *c, deadline_t at)
{
	call_cancel(c);
	timer_start(&c->timer, loop_timers(loop_current()), at);
}

void call_later(struct callback *c, int64_t ms)
{
	call_at(c, deadline_in_ms(ms));
}

bool call_pending(const struct callback *c)
{
	return timer_running(&c->timer) || !list_empty(&c->soon.link);
}

/* --- from other threads --- */

struct posted_call {
	struct message message;
	void (*fn)(void *arg);
	void *arg;
};

static void posted_call_arrived(struct message *m)
{
	struct posted_call *c = container_of(m, struct posted_call, message);
	c->fn(c->arg);
	free(c);
}

void call_soon_threadsafe(struct loop *l, void (*fn)(void *arg), void *arg)
{
	struct posted_call *c = mem_alloc(sizeof(*c));
	*c = (struct posted_call){.message.run = posted_call_arrived, .fn = fn, .arg = arg};
	loop_post(l, &c->message);
}

/* --- ticks --- */

int ticker_init(struct ticker *t, int64_t period_us)
{
	if (period_us <= 0)
		return -EINVAL;
	*t = (struct ticker){.period_us = period_us, .next = deadline_in_us(period_us)};
	return 0;
}

int ticker_wait(struct ticker *t, deadline_t by)
{
	int r = task_sleep(deadline_min(by, t->next));
	if (r < 0)
		return r;
	if (by.us < t->next.us)
		return -ETIMEDOUT;
	int64_t missed = (monotonic_us() - t->next.us) / t->period_us;
	t->next.us += (missed + 1) * t->period_us;
	return missed > INT_MAX ? INT_MAX : (int)missed;
}
