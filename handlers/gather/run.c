/* Running a plan: one task a request, the steps beside each other, the reply rendered from what they brought back.
 *
 * A plan of a single step runs in the request's own task. Otherwise the steps are children of one gather, as operations
 * if their sources offer that and nothing else makes them wait, else each as a task: the first failure that `on_error`
 * does not replace cancels the rest, the client's leaving cancels all, and nothing is freed or rendered before the last
 * child has ended. What is fetched for the cache may be waited for by other requests: it runs in tasks beside the
 * steps, and the request's memory stays until they have ended too, after the reply if need be. */
#include "handlers/gather/run.h"

#include <errno.h>
#include <string.h>

#include "async/loop.h"
#include "handlers/gather/internal.h"
#include "handlers/gather/join.h"
#include "handlers/web/prefer.h"

/* --- the steps --- */

static int start(struct run *run, struct step_run *s)
{
	const char *name = run->plan->steps[s->index].config->name;
	s->started = true;
	int r = step_submit(s);
	if (r > 0)
		r = gather_add(&run->gather, name, step_run, s);
	else if (r == 0 && s->operation)
		r = gather_add_operation(&run->gather, name, s->operation, s);
	return r < 0 ? r : 0;
}

/* A step that is skipped has ended at once, and others may be ready then. */
static int start_ready_steps(struct run *run)
{
	uint64_t ended;
	do {
		ended = run->ended;
		for (unsigned i = 0; i < run->plan->step_count; i++) {
			struct step_run *s = &run->steps[i];
			if (s->started || (run->plan->steps[i].needs & ~run->ended))
				continue;
			int r = start(run, s);
			if (r < 0)
				return r;
		}
	} while (run->ended != ended);
	return 0;
}

/* Suspends until one more step has ended. At the request's deadline every step ends of itself, each by its own policy,
 * so the wait goes on until they have. */
static int await_step(struct run *run)
{
	int r = gather_next(&run->gather, DEADLINE_NEVER);
	if (r != -ETIMEDOUT)
		return r;
	struct shield s;
	task_shield(&s, DEADLINE_NEVER);
	r = gather_next(&run->gather, DEADLINE_NEVER);
	task_unshield(&s);
	return r;
}

/* A child of the gather has ended: if that was an operation, the step has, or goes on in a task. */
static int end_step(struct run *run, unsigned child)
{
	struct step_run *s = gather_arg(&run->gather, child);
	if (!s->operation)
		return 0;
	int r = step_collect(s);
	if (r > 0)
		r = gather_add(&run->gather, run->plan->steps[s->index].config->name, step_finish, s);
	return r < 0 ? r : 0;
}

/* Suspends. One step after the other, as they end. Returns 0 or what ended the request. */
static int run_children(struct run *run)
{
	for (;;) {
		int r = start_ready_steps(run);
		if (r < 0)
			return r;
		r = await_step(run);
		if (run->gather.first_error)
			return run->gather.first_error;
		if (r == -ENOENT)
			return 0; /* all have ended */
		if (r >= 0)
			r = end_step(run, (unsigned)r);
		if (r < 0)
			return r;
	}
}

/* Suspends. Returns 0, or what ended the request. */
static int run_steps(struct run *run)
{
	if (run->plan->step_count == 1)
		return step_run(&run->steps[0]);
	gather_init(&run->gather, GATHER_FAIL_FAST);
	int r = run_children(run);
	gather_done(&run->gather);
	for (unsigned i = 0; i < run->plan->step_count; i++)
		step_drop(&run->steps[i]);
	return r;
}

/* Whatever becomes of the request: a problem that ends it says what was changed. */
static void note_changes(struct run *run)
{
	for (unsigned i = 0; i < run->plan->step_count; i++) {
		run->exchange->changed |= run->steps[i].changed;
		run->exchange->uncertain |= run->steps[i].uncertain;
	}
}

static int apply_joins(struct run *run)
{
	const struct plan *plan = run->plan;
	struct outcome *outcomes = run->evaluation.outcomes;
	for (unsigned i = 0; i < plan->join_count; i++) {
		unsigned from = plan->joins[i];
		const struct config_join *join = plan->steps[from].config->join;
		int r = join_apply(join, (struct join_side){&outcomes[join->into], plan->steps[join->into].config},
				   (struct join_side){&outcomes[from], plan->steps[from].config},
				   run->evaluation.arena);
		if (r < 0) {
			error_say(&run->error, r, REASON_JOIN_LARGE, "more than %d rows match", JOIN_MAX_MATCHES);
			run->error.step = plan->steps[from].config->name;
			return r;
		}
	}
	return 0;
}

/* Suspends. All steps, within the endpoint's own permit, and what is joined of them. */
static int run_plan(struct run *run)
{
	int semaphore = run->plan->endpoint->semaphore;
	int r = semaphore < 0 ? 0 : run_acquire(run, semaphore, &run->error);
	if (r < 0)
		return r;
	r = run_steps(run);
	note_changes(run);
	if (semaphore >= 0)
		shared_semaphore_release(run->env->semaphores[semaphore]);
	return r == 0 ? apply_joins(run) : r;
}

/* --- fetches --- */

/* Suspends. The steps' results live until nobody can look at them any more. Who is cancelled only now is so because the
 * daemon ends: then the fetches end too. */
static void finish(struct run *run)
{
	struct shield s;
	if (gather_wait(&run->fetches, DEADLINE_NEVER) == -ECANCELED && !run->left)
		gather_cancel(&run->fetches);
	task_shield(&s, DEADLINE_NEVER);
	while (gather_wait(&run->fetches, DEADLINE_NEVER) < 0) {
		/* GATHER_ALL, shielded: it ends with the last fetch, each of which has a deadline. */
	}
	task_unshield(&s);
	gather_done(&run->fetches);
	for (unsigned i = 0; i < run->plan->step_count; i++)
		result_free(run->evaluation.outcomes[i].result);
}

/* --- the request --- */

static struct client *store_of(const struct run *run)
{
	return run->env->clients[run->plan->store];
}

/* Suspends. The steps, unless the request was done before; *reply is what is to be said. */
static int run_once(struct run *run, struct reply *reply)
{
	struct idempotency *key = run->idempotency;
	int r = key ? idempotency_claim(key, store_of(run), reply, &run->error) : 0;
	if (r != 0)
		return r < 0 ? r : 0;
	r = run_plan(run);
	if (r == 0)
		r = run_reply(run, reply);
	if (!key)
		return r;
	bool touched = run->exchange->changed || run->exchange->uncertain;
	idempotency_settle(key, store_of(run),
			   r == 0    ? IDEMPOTENCY_DONE
			   : touched ? IDEMPOTENCY_UNKNOWN
				     : IDEMPOTENCY_NOTHING,
			   reply);
	return r;
}

/* The task of a request whose reply is not kept. */
static int run_request(void *arg)
{
	struct exchange *x = arg;
	struct run *run = x->handler_data;
	struct reply reply;
	int r = run_once(run, &reply);
	if (r == 0) {
		exchange_reply(x, &reply);
	} else if (r != -ECANCELED || !task_cancelled()) {
		reply_failure(run, r);
	}
	run->left = task_cancelled();
	if (run->idempotency)
		idempotency_expire(run->idempotency, store_of(run));
	finish(run);
	return r;
}

struct reply_fetch {
	struct run *run;
	struct flight *flight;
};

static int fetch_reply(void *arg)
{
	struct reply_fetch *f = arg;
	struct run *run = f->run;
	struct error e = ERROR_INIT;
	struct cached *v = NULL;
	int r = run_plan(run);
	struct reply reply;
	if (r == 0)
		r = run_reply(run, &reply);
	if (r == 0) {
		v = reply_keep(run, &reply);
	} else {
		e = run->failed >= 0 ? *run->steps[run->failed].error : run->error;
		if (e.errnum == 0)
			error_set(&e, r, r == -ETIMEDOUT ? 504 : 503, NULL, "the fetch that was waited for ended (%s)",
				  strerror(-r));
	}
	flight_end(f->flight, v, r == 0 && run_complete(run), r, &e);
	return 0;
}

static struct span reply_key(const struct run *run)
{
	const struct plan *plan = run->plan;
	struct buf key = BUF_INIT;
	buf_append(&key, &plan->identity, sizeof(plan->identity));
	buf_str(&key, plan->endpoint->name);
	for (unsigned i = 0; i < plan->key_count; i++) {
		struct value v = slot_value(&plan->key[i], &run->evaluation);
		buf_char(&key, '\n');
		value_render(&v, &key);
	}
	struct span span = {arena_strndup(run->evaluation.arena, key.data, key.len), key.len};
	buf_done(&key);
	return span;
}

static void spawn_reply_fetch(struct run *run, struct flight *flight)
{
	struct reply_fetch *f = arena_alloc(run->evaluation.arena, sizeof(*f));
	struct task *t;
	*f = (struct reply_fetch){.run = run, .flight = flight};
	int r = run_spawn_fetch(run, fetch_reply, f, &t);
	if (r == 0) {
		flight_task(flight, t);
		return;
	}
	struct error e;
	error_set(&e, r, 503, NULL, "no memory map is left for a task's stack");
	flight_end(flight, NULL, false, r, &e);
}

/* The task of a request whose reply is kept and was not there, or is stale. */
static int run_cached_request(void *arg)
{
	struct exchange *x = arg;
	struct run *run = x->handler_data;
	struct span key = reply_key(run);
	struct cached *v;
	struct flight *flight;
	struct flight_wait *wait;
	enum cache_state state = cache_look(run->env->cache, key.base, key.len, &run->plan->endpoint->cache, &v,
					    &flight, &wait);
	int r = 0;
	if (flight)
		spawn_reply_fetch(run, flight);
	if (state == CACHE_WAIT || state == CACHE_FETCH)
		r = flight_await(wait, &v, run->evaluation.arena, &run->error);
	static const char *const from[] = {
		[CACHE_FRESH] = "hit", [CACHE_STALE] = "stale", [CACHE_WAIT] = "shared", [CACHE_FETCH] = NULL};
	if (r == 0)
		reply_cached(run, v, from[state]);
	else if (r != -ECANCELED || !task_cancelled())
		reply_failure(run, r);
	if (r == 0)
		cached_drop(v);
	run->left = task_cancelled();
	finish(run);
	return r;
}

static bool reply_from_cache(struct run *run)
{
	struct span key = reply_key(run);
	struct cached *v = cache_find(run->env->cache, key.base, key.len, &run->plan->endpoint->cache);
	if (!v)
		return false;
	reply_cached(run, v, "hit");
	cached_drop(v);
	return true;
}

/* --- its beginning --- */

/* The parts of the request that references and the reply will want are copied while h2o still has it. */
static void collect_headers(struct run *run)
{
	const struct plan *plan = run->plan;
	struct span *headers = arena_array(run->evaluation.arena, plan->header_count + 1, sizeof(*headers));
	for (unsigned i = 0; i < plan->header_count; i++)
		headers[i] = exchange_header_list(run->exchange, plan->headers[i]);
	run->evaluation.headers = headers;
	exchange_trace(run->exchange, &run->traceparent, &run->tracestate);
	preconditions_take(run);
	if (plan->may_be_minimal)
		run->minimal = prefer_minimal(exchange_header_list(run->exchange, "prefer"));
	struct span explain = exchange_header(run->exchange, "gatherd-explain");
	run->explained = run->env->explain && explain.len == 1 && explain.base[0] == '1';
}

static struct run *run_new(const struct plan *plan, const struct gather_env *env, struct exchange *x)
{
	struct arena *a = &x->arena;
	struct run *run = arena_zalloc(a, sizeof(*run));
	run->plan = plan;
	run->evaluation.parameters.body_wanted = plan->body_wanted;
	run->env = env;
	run->exchange = x;
	run->failed = -1;
	run->began_us = loop_now_us(loop_current());
	gather_init(&run->fetches, GATHER_ALL);
	run->steps = arena_array(a, plan->step_count + 1, sizeof(*run->steps));
	for (unsigned i = 0; i < plan->step_count; i++) {
		run->steps[i].run = run;
		run->steps[i].index = i;
	}
	run->evaluation.exchange = x;
	run->evaluation.arena = a;
	run->evaluation.outcomes = arena_array(a, plan->step_count + 1, sizeof(*run->evaluation.outcomes));
	return run;
}

static void answer(struct run *run)
{
	struct exchange *x = run->exchange;
	if (run->plan->endpoint->cache.ttl_us) {
		if (!reply_from_cache(run))
			exchange_spawn(x, run_cached_request);
	} else if (plan_sends(run->plan)) {
		send_answer(run);
	} else if (run->plan->step_count > 0) {
		exchange_spawn(x, run_request);
	} else {
		struct reply reply;
		int r = run_reply(run, &reply);
		if (r == 0)
			exchange_reply(x, &reply);
		else
			reply_failure(run, r);
	}
}

/* The steps that have run, for whoever asks what a request took so long for. */
static void list_steps(const void *of, struct buf *out)
{
	const struct run *run = of;
	bool first = true;
	buf_char(out, '[');
	for (unsigned i = 0; i < run->plan->step_count; i++) {
		const struct step_run *s = &run->steps[i];
		if (s->started_us == 0)
			continue;
		buf_printf(out, "%s{\"name\":\"%s\",\"start_ms\":%.3f,\"ms\":%.3f}", first ? "" : ",",
			   run->plan->steps[i].config->name, (double)s->wait_us / 1000, (double)s->run_us / 1000);
		first = false;
	}
	buf_char(out, ']');
}

void gather_handle(const struct plan *plan, const struct gather_env *env, struct exchange *x,
		   const struct route_match *m)
{
	struct run *run = run_new(plan, env, x);
	struct buf errors = BUF_INIT;
	struct error e = ERROR_INIT;
	x->endpoint = plan->endpoint->name;
	x->handler_data = run;
	x->parts = list_steps;
	x->parts_of = run;
	if (plan->endpoint->timeout_us)
		x->by = deadline_min(x->by, deadline_in_us(plan->endpoint->timeout_us));
	if (plan->endpoint->rate.count && !rate_admit(env->rates, plan->rate_identity, &plan->endpoint->rate, x))
		return;
	int r = parameters_parse(&run->evaluation.parameters, x, m, &e, &errors);
	if (r == 0) {
		collect_headers(run);
		r = preconditions_check(run, &e);
	}
	if (r == 0 && plan->endpoint->idempotency)
		r = idempotency_take(&run->idempotency, plan->endpoint, x, &e);
	if (r < 0) {
		exchange_problem(x, &e, NULL, errors.len ? buf_cstr(&errors) : NULL, NULL);
	} else {
		answer(run);
	}
	buf_done(&errors);
}
