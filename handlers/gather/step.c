/* One step: its condition, the cache, its permits, its action, and what on_error makes of a failure. */
#include <errno.h>
#include <string.h>

#include "async/loop.h"
#include "handlers/gather/internal.h"
#include "handlers/gather/text_result.h"

static const struct plan_step *plan_of(const struct step_run *s)
{
	return &s->run->plan->steps[s->index];
}

/* This worker's. */
static struct step_numbers *numbers_of(const struct step_run *s)
{
	return tally_here(plan_of(s)->tally);
}

static struct outcome *outcome_of(const struct step_run *s)
{
	return &s->run->evaluation.outcomes[s->index];
}

/* --- the action --- */

static const struct value *evaluate_args(const struct step_run *s)
{
	const struct plan_step *p = plan_of(s);
	struct value *args = arena_alloc(s->run->evaluation.arena, (p->arg_count + 1) * sizeof(*args));
	for (unsigned i = 0; i < p->arg_count; i++)
		args[i] = slot_value(&p->args[i], &s->run->evaluation);
	return args;
}

/* A source was asked. */
static void count_call(const struct plan_step *p, int64_t us, bool failed)
{
	source_count_call(tally_here(p->source_tally), us, failed);
}

static void count_run(const struct plan_step *p, int64_t us)
{
	struct step_numbers *numbers = tally_here(p->tally);
	counter_add(&numbers->runs, 1);
	counter_add(&numbers->us, us);
}

void step_count(const struct plan_step *p, int64_t us, const struct error *e)
{
	struct step_numbers *numbers = tally_here(p->tally);
	count_call(p, us, e != NULL);
	count_run(p, us);
	if (e)
		counter_add(&numbers->failures[step_failure_of(e->status)], 1);
}

static struct run_options options_of(const struct step_run *s)
{
	const struct config_step *c = plan_of(s)->config;
	return (struct run_options){
		.timeout_us = c->timeout_us ? c->timeout_us : c->source->timeout_us,
		.arena = s->run->evaluation.arena,
		.request_id = s->run->exchange->id,
		.traceparent = s->run->traceparent.base,
		.tracestate = s->run->tracestate.base,
	};
}

static int run_action(const struct step_run *s, const struct value *args, struct result **out, struct error *e)
{
	const struct plan_step *p = plan_of(s);
	struct run_options options = options_of(s);
	int64_t since_us = loop_now_us(loop_current());
	int r = p->driver->run(s->run->env->clients[p->source], p->action, args, &options, out, e);
	count_call(p, loop_now_us(loop_current()) - since_us, r < 0 && (r != -ECANCELED || !task_cancelled()));
	return r;
}

int run_acquire(struct run *run, int semaphore, struct error *e)
{
	int r = shared_semaphore_acquire(run->env->semaphores[semaphore], DEADLINE_NEVER);
	if (r == -EBUSY)
		return error_say(e, r, REASON_PERMITS_FULL, "the queue of a semaphore is full");
	if (r == -ETIMEDOUT)
		return error_say(e, r, REASON_DEADLINE_PASSED, "the deadline passed in the queue of a semaphore");
	return r;
}

/* It goes from waiting to running; a fetch that a stale result has begun does not count. */
static void note_start(struct step_run *s, int64_t now_us)
{
	if (s->run->ended & (UINT64_C(1) << s->index))
		return;
	s->started_us = now_us;
	s->wait_us = now_us - s->run->began_us;
}

/* Suspends. The permits are held around the action; waiting for them is bounded by max_waiting and the deadline. */
static int run_with_permits(struct step_run *s, const struct value *args, struct result **out, struct error *e)
{
	const struct plan_step *p = plan_of(s);
	unsigned held = 0;
	int r = 0;
	for (; held < ARRAY_SIZE(p->semaphores) && p->semaphores[held] >= 0; held++) {
		r = run_acquire(s->run, p->semaphores[held], e);
		if (r < 0)
			break;
	}
	if (r == 0) {
		note_start(s, loop_now_us(loop_current()));
		r = run_action(s, args, out, e);
	}
	while (held > 0)
		shared_semaphore_release(s->run->env->semaphores[p->semaphores[--held]]);
	return r;
}

/* --- the cache --- */

/* A step's fetch that others may wait for; in the request's arena, which outlives it. */
struct fetch {
	struct step_run *step;
	const struct value *args;
	struct flight *flight;
};

static int fetch_step(void *arg)
{
	struct fetch *f = arg;
	struct result *result = NULL;
	struct error e = ERROR_INIT;
	struct cached *v = NULL;
	int r = run_with_permits(f->step, f->args, &result, &e);
	if (r == 0) {
		struct buf text = BUF_INIT;
		result->ops->render(result, &text);
		v = cached_new(text.data, text.len, NULL, 0);
		v->rows = result->rows;
		buf_done(&text);
		result_free(result);
	} else if (e.errnum == 0) {
		error_set(&e, r, r == -ETIMEDOUT ? 504 : 503, NULL, "the fetch that was waited for ended (%s)",
			  strerror(-r));
	}
	flight_end(f->flight, v, true, r, &e);
	return 0;
}

static int spawn_fetch(struct step_run *s, const struct value *args, struct flight *flight)
{
	struct fetch *f = arena_alloc(s->run->evaluation.arena, sizeof(*f));
	struct task *t;
	*f = (struct fetch){.step = s, .args = args, .flight = flight};
	int r = run_spawn_fetch(s->run, fetch_step, f, &t);
	if (r == 0) {
		flight_task(flight, t);
		return 0;
	}
	struct error e;
	error_set(&e, r, 503, NULL, "no memory map is left for a task's stack");
	flight_end(flight, NULL, false, r, &e);
	return r;
}

/* The values of the references, under the identity of the step, and the names of endpoint and step. */
static struct span cache_key(const struct step_run *s, const struct value *args)
{
	const struct plan *plan = s->run->plan;
	struct buf key = BUF_INIT;
	buf_append(&key, &plan_of(s)->identity, sizeof(plan_of(s)->identity));
	buf_str(&key, plan->endpoint->name);
	buf_char(&key, '\n');
	buf_str(&key, plan_of(s)->config->name);
	for (unsigned i = 0; i < plan_of(s)->arg_count; i++) {
		buf_char(&key, '\n');
		value_render(&args[i], &key);
	}
	struct span span = {arena_strndup(s->run->evaluation.arena, key.data, key.len), key.len};
	buf_done(&key);
	return span;
}

/* Suspends. The result from the cache, or from a fetch that is shared with all who want the same. */
static int run_cached(struct step_run *s, const struct value *args, struct error *e)
{
	struct cache *cache = s->run->env->cache;
	struct cached *v;
	struct flight *flight;
	struct flight_wait *wait;
	int r = 0;
	s->key = cache_key(s, args);
	enum cache_state state = cache_look(cache, s->key.base, s->key.len, &plan_of(s)->config->cache, &v, &flight,
					    &wait);
	if (flight)
		(void)spawn_fetch(s, args, flight); /* its failure reaches all who wait */
	if (state == CACHE_WAIT || state == CACHE_FETCH)
		r = flight_await(wait, &v, s->run->evaluation.arena, e);
	if (r == 0)
		outcome_of(s)->result = text_result_new(v);
	return r;
}

/* --- its end --- */

/* Apply on_error to a failure. Returns 0 if the request goes on. */
static int replace(struct step_run *s, int r)
{
	struct outcome *o = outcome_of(s);
	struct cached *old = NULL;
	switch (plan_of(s)->config->on_error) {
	case ON_ERROR_NULL:
		o->kind = OUTCOME_NULL;
		return 0;
	case ON_ERROR_DEFAULT:
		o->kind = OUTCOME_DEFAULT;
		o->substitute = &plan_of(s)->substitute;
		return 0;
	case ON_ERROR_OMIT:
		o->kind = OUTCOME_OMITTED;
		return 0;
	case ON_ERROR_STALE:
		old = s->key.base ? cache_find_old(s->run->env->cache, s->key.base, s->key.len) : NULL;
		if (!old)
			break;
		o->kind = OUTCOME_STALE;
		o->result = text_result_new(old);
		return 0;
	case ON_ERROR_FAIL:
		break;
	}
	o->kind = OUTCOME_FAILED;
	if (s->run->failed < 0)
		s->run->failed = (int)s->index;
	return r;
}

static bool skipped(const struct step_run *s)
{
	if (!plan_of(s)->has_when)
		return false;
	struct value when = slot_value(&plan_of(s)->when, &s->run->evaluation);
	return value_falsy(&when);
}

/* What becomes of the request when the action has come to r, with e. Returns 0 if it goes on. */
static int settle(struct step_run *s, int r, struct error *e)
{
	struct outcome *o = outcome_of(s);
	s->uncertain = e->change == CHANGE_UNKNOWN;
	if (r == 0) {
		o->kind = OUTCOME_RESULT;
		s->changed = plan_of(s)->effect != ACTION_READS && !s->uncertain;
		return 0;
	}
	s->changed = e->change == CHANGE_PARTIAL;
	if (r == -ECANCELED && task_cancelled())
		return r; /* not its own failure: the client left or a neighbour failed */
	if (e->errnum == 0)
		error_set(e, r, r == -ETIMEDOUT ? 504 : 500, NULL, "the step ended without saying why");
	s->error = arena_alloc(s->run->evaluation.arena, sizeof(*s->error));
	*s->error = *e;
	s->error->step = plan_of(s)->config->name;
	counter_add(&numbers_of(s)->failures[step_failure_of(e->status)], 1);
	r = replace(s, r);
	if (r == 0)
		counter_add(&numbers_of(s)->replaced[plan_of(s)->config->on_error], 1);
	return r;
}

/* An error is large, and rarely wanted: it is neither cleared nor part of the step. */
static void error_begin(struct error *e)
{
	e->errnum = 0;
	e->change = CHANGE_NONE;
}

static int run_unless_skipped(struct step_run *s)
{
	struct outcome *o = outcome_of(s);
	if (skipped(s)) {
		o->kind = OUTCOME_SKIPPED;
		return 0;
	}
	const struct value *args = evaluate_args(s);
	struct error e;
	error_begin(&e);
	int r = plan_of(s)->config->cache.ttl_us ? run_cached(s, args, &e) : run_with_permits(s, args, &o->result, &e);
	return settle(s, r, &e);
}

/* The step has ended with r. Returns r. */
static int ended(struct step_run *s, int r)
{
	s->run_us = loop_now_us(loop_current()) - s->started_us;
	if (outcome_of(s)->kind != OUTCOME_SKIPPED)
		count_run(plan_of(s), s->run_us);
	if (r == 0)
		s->run->ended |= UINT64_C(1) << s->index;
	return r;
}

int step_run(void *arg)
{
	struct step_run *s = arg;
	note_start(s, loop_now_us(loop_current()));
	return ended(s, run_unless_skipped(s));
}

/* --- without a task --- */

static bool is_operation(const struct plan_step *p)
{
	return p->driver->submit && p->effect == ACTION_READS && p->semaphores[0] < 0 && !p->config->cache.ttl_us;
}

/* The operation has come to r. */
static int conclude(struct step_run *s, int r, struct error *e)
{
	s->operation = NULL;
	count_call(plan_of(s), loop_now_us(loop_current()) - s->started_us,
		   r < 0 && (r != -ECANCELED || !task_cancelled()));
	return ended(s, settle(s, r, e));
}

int step_submit(struct step_run *s)
{
	const struct plan_step *p = plan_of(s);
	if (!is_operation(p))
		return 1;
	note_start(s, loop_now_us(loop_current()));
	if (skipped(s)) {
		outcome_of(s)->kind = OUTCOME_SKIPPED;
		return ended(s, 0);
	}
	struct run_options options = options_of(s);
	struct error e;
	error_begin(&e);
	int r = p->driver->submit(s->run->env->clients[p->source], p->action, evaluate_args(s), &options, &s->operation,
				  &e);
	if (r < 0)
		return conclude(s, r, &e);
	return s->operation ? 0 : 1;
}

int step_collect(struct step_run *s)
{
	struct error e;
	error_begin(&e);
	int r = plan_of(s)->driver->collect(s->operation, &outcome_of(s)->result, &e);
	if (r <= 0)
		return conclude(s, r, &e);
	if (e.errnum < 0) {
		s->error = arena_alloc(s->run->evaluation.arena, sizeof(*s->error));
		*s->error = e;
	}
	return 1;
}

int step_finish(void *arg)
{
	struct step_run *s = arg;
	struct error e;
	error_begin(&e);
	if (s->error)
		e = *s->error;
	s->error = NULL;
	return conclude(s, plan_of(s)->driver->finish(s->operation, &outcome_of(s)->result, &e), &e);
}

void step_drop(struct step_run *s)
{
	if (!s->operation)
		return;
	/* Its gather has cancelled it, unless it had completed before. */
	if (!s->operation->completed)
		s->operation->kind->cancel(s->operation);
	s->operation = NULL;
	count_call(plan_of(s), loop_now_us(loop_current()) - s->started_us, false);
	(void)ended(s, -ECANCELED);
}
