/* Running a plan: one task a request, one task a step, the reply rendered from what they brought back.
 *
 * A plan of a single step runs in the request's own task. Otherwise the steps are children of one gather: the first
 * failure that `on_error` does not replace cancels the rest, the client's leaving cancels all, and nothing is freed or
 * rendered before the last child has ended. */
#include "handlers/gather/run.h"

#include <errno.h>
#include <string.h>

#include "async/gather.h"
#include "async/task.h"

struct run;

struct step_run {
	struct run *run;
	unsigned index;
	bool started;
	struct error error;
};

struct run {
	const struct plan *plan;
	struct client *const *clients;
	struct exchange *exchange;
	struct evaluation evaluation;
	struct step_run *steps;
	struct gather gather;
	uint64_t ended; /* bits of the steps that have */
	int failed;     /* the step that failed the request; -1: none */
};

/* --- one step --- */

/* What on_error makes of a failure. Returns 0 where the request goes on. */
static int replace(struct step_run *s, int r)
{
	const struct plan_step *p = &s->run->plan->steps[s->index];
	struct outcome *o = &s->run->evaluation.outcomes[s->index];
	switch (p->config->on_error) {
	case ON_ERROR_NULL:
		o->kind = OUTCOME_NULL;
		return 0;
	case ON_ERROR_DEFAULT:
		o->kind = OUTCOME_DEFAULT;
		o->substitute = &p->substitute;
		return 0;
	case ON_ERROR_OMIT:
		o->kind = OUTCOME_OMITTED;
		return 0;
	case ON_ERROR_FAIL:
		break;
	}
	o->kind = OUTCOME_FAILED;
	if (s->run->failed < 0)
		s->run->failed = (int)s->index;
	return r;
}

static int64_t step_timeout_us(const struct config_step *c)
{
	return c->timeout_us ? c->timeout_us : c->source->timeout_us;
}

static int run_action(struct step_run *s)
{
	struct run *run = s->run;
	const struct plan_step *p = &run->plan->steps[s->index];
	struct value *args = arena_alloc(run->evaluation.arena, (p->arg_count + 1) * sizeof(*args));
	for (unsigned i = 0; i < p->arg_count; i++)
		args[i] = slot_value(&p->args[i], &run->evaluation);
	struct run_options options = {.timeout_us = step_timeout_us(p->config), .arena = run->evaluation.arena};
	return p->driver->run(run->clients[p->source], p->action, args, &options,
			      &run->evaluation.outcomes[s->index].result, &s->error);
}

/* Suspends. Returns 0, also where `when` skipped it or its failure was replaced, or the failure that ends the request.
 */
static int run_unless_skipped(struct step_run *s)
{
	const struct plan_step *p = &s->run->plan->steps[s->index];
	struct outcome *o = &s->run->evaluation.outcomes[s->index];
	if (p->has_when) {
		struct value when = slot_value(&p->when, &s->run->evaluation);
		if (value_falsy(&when)) {
			o->kind = OUTCOME_SKIPPED;
			return 0;
		}
	}
	int r = run_action(s);
	if (r == 0) {
		o->kind = OUTCOME_RESULT;
		return 0;
	}
	if (r == -ECANCELED && task_cancelled())
		return r; /* not its own failure: the client left or a neighbour failed */
	return replace(s, r);
}

/* The task of a step. */
static int run_step(void *arg)
{
	struct step_run *s = arg;
	int r = run_unless_skipped(s);
	if (r == 0)
		s->run->ended |= UINT64_C(1) << s->index;
	return r;
}

/* --- all of them --- */

static int start_ready_steps(struct run *run)
{
	for (unsigned i = 0; i < run->plan->step_count; i++) {
		struct step_run *s = &run->steps[i];
		if (s->started || (run->plan->steps[i].needs & ~run->ended))
			continue;
		s->started = true;
		int r = gather_add(&run->gather, run->plan->steps[i].config->name, run_step, s);
		if (r < 0)
			return r;
	}
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

/* Suspends. Returns 0, or what ended the request. */
static int run_steps(struct run *run)
{
	if (run->plan->step_count == 1)
		return run_step(&run->steps[0]);
	gather_init(&run->gather, GATHER_FAIL_FAST);
	int r;
	do {
		r = start_ready_steps(run);
		if (r == 0)
			r = await_step(run);
	} while (r >= 0 && run->gather.first_error == 0);
	if (run->gather.first_error)
		r = run->gather.first_error;
	else if (r == -ENOENT)
		r = 0; /* all have ended */
	gather_done(&run->gather);
	return r;
}

/* --- the reply --- */

/* "reviews, rate": the steps that were replaced. NULL: none. */
static const char *missing_steps(const struct run *run)
{
	struct buf names = BUF_INIT;
	for (unsigned i = 0; i < run->plan->step_count; i++) {
		enum outcome_kind kind = run->evaluation.outcomes[i].kind;
		if (kind != OUTCOME_NULL && kind != OUTCOME_DEFAULT && kind != OUTCOME_OMITTED)
			continue;
		if (names.len)
			buf_lit(&names, ", ");
		buf_str(&names, run->plan->steps[i].config->name);
	}
	const char *text = names.len ? arena_strndup(run->evaluation.arena, names.data, names.len) : NULL;
	buf_done(&names);
	return text;
}

/* The failures that were replaced are seen in the log: the first of them, with its step. */
static void note_replaced(struct run *run)
{
	for (unsigned i = 0; i < run->plan->step_count; i++) {
		if (run->steps[i].error.errnum == 0)
			continue;
		run->exchange->error = run->steps[i].error;
		return;
	}
}

static void add_header(struct reply *reply, const char *name, const char *value)
{
	reply->headers[reply->header_count++] = (struct header){.name = {name, strlen(name)},
								.value = {value, strlen(value)}};
}

static bool header_safe(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (s[i] == '\r' || s[i] == '\n' || s[i] == '\0')
			return false;
	}
	return true;
}

/* Declared headers. Returns 0, or -EBADMSG: a value would break the head of the reply. */
static int add_declared_headers(struct run *run, struct reply *reply)
{
	const struct plan *plan = run->plan;
	for (unsigned i = 0; i < plan->reply_header_count; i++) {
		const struct plan_header *h = &plan->reply_headers[i];
		struct buf text = BUF_INIT;
		text_eval(&h->value, &run->evaluation, h->escape, &text);
		bool safe = header_safe(text.data, text.len);
		char *copy = arena_strndup(run->evaluation.arena, text.data, text.len);
		struct header header = {.name = h->name, .value = {copy, text.len}};
		buf_done(&text);
		if (!safe)
			return -EBADMSG;
		reply->headers[reply->header_count++] = header;
	}
	return 0;
}

static void reply_with_results(struct run *run)
{
	struct exchange *x = run->exchange;
	struct reply reply = {.status = run->plan->endpoint->status};
	x->missing = missing_steps(run);
	add_header(&reply, "gatherd-complete", x->missing ? "false" : "true");
	if (x->missing) {
		add_header(&reply, "gatherd-missing", x->missing);
		note_replaced(run);
	}
	if (add_declared_headers(run, &reply) < 0) {
		struct error e;
		error_set(&e, -EBADMSG, 500, NULL, "a declared header's value holds CR, LF or NUL");
		exchange_problem(x, &e, NULL, NULL, NULL);
		return;
	}
	if (reply.status != 204)
		respond_render(&run->plan->respond, &run->evaluation, &reply.body);
	exchange_reply(x, &reply);
}

static void reply_with_failure(struct run *run, int r)
{
	struct exchange *x = run->exchange;
	struct error e = ERROR_INIT;
	const char *step = NULL;
	if (run->failed >= 0) {
		e = run->steps[run->failed].error;
		step = run->plan->steps[run->failed].config->name;
	}
	if (e.errnum == 0 && r == -ETIMEDOUT)
		error_set(&e, r, 504, "The deadline of the request has passed.", "the request's deadline passed");
	else if (e.errnum == 0 && r == -EAGAIN)
		error_set(&e, r, 503, NULL, "no memory map is left for a task's stack");
	else if (e.errnum == 0)
		error_set(&e, r, 500, NULL, "a step failed without saying why (%s)", strerror(-r));
	exchange_problem(x, &e, step, NULL, NULL);
}

static int run_request(void *arg)
{
	struct exchange *x = arg;
	struct run *run = x->handler_data;
	int r = run_steps(run);
	if (r == 0)
		reply_with_results(run);
	else if (r != -ECANCELED || !task_cancelled())
		reply_with_failure(run, r);
	for (unsigned i = 0; i < run->plan->step_count; i++)
		result_free(run->evaluation.outcomes[i].result);
	return r;
}

/* --- the request --- */

/* What references will want of the request is copied while h2o still has it. */
static void collect_headers(struct run *run)
{
	const struct plan *plan = run->plan;
	struct span *headers = arena_array(run->evaluation.arena, plan->header_count + 1, sizeof(*headers));
	for (unsigned i = 0; i < plan->header_count; i++)
		headers[i] = exchange_header(run->exchange, plan->headers[i]);
	run->evaluation.headers = headers;
}

static struct run *run_new(const struct plan *plan, struct client *const *clients, struct exchange *x)
{
	struct arena *a = &x->arena;
	struct run *run = arena_zalloc(a, sizeof(*run));
	run->plan = plan;
	run->clients = clients;
	run->exchange = x;
	run->failed = -1;
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

void gather_handle(const struct plan *plan, struct client *const *clients, struct exchange *x,
		   const struct route_match *m)
{
	struct run *run = run_new(plan, clients, x);
	struct buf errors = BUF_INIT;
	struct error e = ERROR_INIT;
	x->endpoint = plan->endpoint->name;
	x->handler_data = run;
	if (plan->endpoint->timeout_us)
		x->by = deadline_min(x->by, deadline_in_us(plan->endpoint->timeout_us));
	int r = parameters_parse(&run->evaluation.parameters, x, m, &e, &errors);
	if (r < 0) {
		exchange_problem(x, &e, NULL, errors.len ? buf_cstr(&errors) : NULL, NULL);
		buf_done(&errors);
		return;
	}
	buf_done(&errors);
	collect_headers(run);
	if (plan->step_count == 0)
		reply_with_results(run);
	else
		exchange_spawn(x, run_request);
}
