/* One call of a client, awaited by the caller or run as a child of a gather. */
#include <errno.h>
#include <string.h>

#include "async/loop.h"
#include "config/language.h"
#include "handlers/module/internal.h"
#include "handlers/module/request.h"
#include "handlers/module/status.h"

static const struct config_source *find_source(const struct config *c, const char *name)
{
	for (size_t i = 0; i < c->source_count; i++) {
		if (name && strcmp(c->sources[i].name, name) == 0)
			return &c->sources[i];
	}
	return NULL;
}

/* A task without a deadline gets none from its request: the source's longest bounds the call. */
static int64_t timeout_of(const struct config_source *source)
{
	if (source->timeout_us)
		return source->timeout_us;
	return task_deadline().us == DEADLINE_NEVER.us ? source->longest_us : 0;
}

/* NULL: the source has none, or the handler holds a permit of it for as long as it runs. */
static struct shared_semaphore *limit_of(const struct gd_scope *s, const struct config_source *source)
{
	int index = source->semaphore;
	const struct gd_request *req = s->request;
	if (index < 0 || (req && req->endpoint->semaphore == index))
		return NULL;
	return s->env->semaphores[index];
}

void *call_new(size_t size, const char *function, const char *source, const struct driver *driver, gd_value **failed)
{
	struct gd_scope *s = scope_here(function);
	*failed = NULL;
	if (!s)
		return NULL;
	const struct config_source *found = find_source(s->env->config, source);
	if (!found || found->kind != driver->kind) {
		*failed = value_fail(s, -EINVAL, 500, "%s: \"%.100s\" is no %s source of the configuration", function,
				     source ? source : "", driver->kind->name);
		return NULL;
	}
	struct call *c = arena_zalloc(s->arena, size);
	c->scope = s;
	c->limit = limit_of(s, found);
	c->client = s->env->clients[found - s->env->config->sources];
	c->numbers = tally_here(s->env->tallies[found - s->env->config->sources]);
	c->options = (struct run_options){.timeout_us = timeout_of(found), .arena = s->arena};
	if (s->request) {
		c->options.request_id = s->request->exchange->id;
		c->options.traceparent = s->request->traceparent.base;
		c->options.tracestate = s->request->tracestate.base;
	}
	return c;
}

/* What it brought, or why it did not, becomes *c->out. Where it was cancelled the reason is another's. */
static void settle(struct call *c, int r)
{
	scope_note_change(c->scope, c->error.change, r >= 0 && c->changes);
	if (r >= 0) {
		*c->out = c->result ? *value_of_result(c->scope, c->result) : *value_new(c->scope, c->value);
		return;
	}
	if (c->error.errnum >= 0)
		error_of_errno(&c->error, r);
	*c->out = *value_failed(c->scope, &c->error);
	if (r != -ECANCELED)
		scope_fail(c->scope, &c->error);
}

/* Does the calling task hold a permit of these already? Two for what one task does at a time would be a way to wait for
 * oneself. */
static bool holds_one(const struct gd_scope *outermost, const struct shared_semaphore *permits)
{
	uint64_t self = task_id(task_self());
	list_for_each (node, &outermost->permits) {
		const struct call *c = container_of(node, struct call, permit);
		if (c->holder == self && c->permits == permits)
			return true;
	}
	return false;
}

int call_acquire(struct call *c)
{
	struct gd_scope *outermost = scope_outermost(c->scope);
	struct shared_semaphore *permits = c->limit;
	if (!permits || holds_one(outermost, permits))
		return 0;
	int r = shared_semaphore_acquire(permits, DEADLINE_NEVER);
	if (r == -EBUSY)
		return error_say(&c->error, r, REASON_PERMITS_FULL, "the queue of a semaphore is full");
	if (r == -ETIMEDOUT)
		return error_set(&c->error, r, 504, NULL, "the deadline passed in the queue of a semaphore");
	if (r < 0) {
		error_of_errno(&c->error, r);
		return r;
	}
	c->permits = permits;
	c->holder = task_id(task_self());
	list_append(&outermost->permits, &c->permit);
	return 0;
}

void call_release(struct call *c)
{
	if (!c->permits)
		return;
	list_remove(&c->permit);
	shared_semaphore_release(c->permits);
	c->permits = NULL;
}

/* Suspends. As a step's action is counted. */
static int run_counted(struct call *c)
{
	int64_t since_us = loop_now_us(loop_current());
	int r = c->run(c);
	source_count_call(c->numbers, loop_now_us(loop_current()) - since_us,
			  r < 0 && (r != -ECANCELED || !task_cancelled()));
	return r;
}

static int run_call(void *arg)
{
	struct call *c = arg;
	int r = task_check(); /* a task that was cancelled sends nothing */
	if (r == 0)
		r = call_acquire(c);
	if (r == 0) {
		r = run_counted(c);
		call_release(c);
	}
	settle(c, r);
	return r;
}

gd_value *call_start(struct call *c, gd_gather *g, const char *name, call_fn *run)
{
	c->run = run;
	c->out = value_new(c->scope, VALUE_OF_NULL);
	c->out->state = VALUE_PENDING;
	if (!g) {
		run_call(c);
		return c->out;
	}
	int r = gather_start(g, name, run_call, c, c->out);
	if (r < 0)
		settle(c, r);
	return c->out;
}
