/* One call, of a step or a handler: attempts, the waits between them, and what the breaker thinks of each. */
#include "drivers/http/call.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "async/task.h"
#include "base/backoff.h"
#include "drivers/http/request.h"
#include "drivers/http/trace.h"

enum { DOWN_US = 5000000, MAX_BACKOFF_DOUBLINGS = 10, MAX_RETRY_AFTER_S = 3600 };

/* Does the answer say that another attempt may be better? */
static bool is_transient(unsigned status)
{
	return status == 429 || status == 502 || status == 503 || status == 504;
}

static bool may_try_again(struct http_client *c, const struct http_request *request, int r,
			  const struct http_response *response)
{
	if (!http_method_idempotent(request->method) || breaker_state(&c->source->breaker) == BREAKER_OPEN)
		return false;
	if (r == 0)
		return is_transient(response->status);
	return r != -EBUSY && (response->outcome == HTTP_NOT_SENT || response->outcome == HTTP_BROKEN);
}

static enum breaker_verdict verdict_of(int r, const struct http_response *response)
{
	if (r == 0)
		return response->status >= 500 || response->status == 429 ? BREAKER_FAILED : BREAKER_FINE;
	return r == -ECANCELED || r == -EBUSY || r == -EINVAL ? BREAKER_UNKNOWN : BREAKER_FAILED;
}

/* What the source will say when it is asked whether it is ready. */
static void note_readiness(struct http_source *s, int r, const struct http_response *response, const char *why)
{
	if (r == -ECONNREFUSED && response->outcome == HTTP_NOT_SENT) {
		atomic_store_explicit(&s->down_until_us, monotonic_us() + DOWN_US, memory_order_relaxed);
		health_failed(&s->health, why);
		return;
	}
	if (r == 0 && atomic_load_explicit(&s->down_until_us, memory_order_relaxed) != 0)
		atomic_store_explicit(&s->down_until_us, 0, memory_order_relaxed);
	if (r == 0)
		health_answered(&s->health);
}

static int attempt(struct http_client *c, const struct http_request *request, struct http_response *response,
		   struct error *e)
{
	struct breaker *b = &c->source->breaker;
	unsigned era = 0;
	int retry_after_s;

	*response = (struct http_response){.outcome = HTTP_NOT_SENT};
	if (breaker_enter(b, &era, &retry_after_s) < 0) {
		int r = error_set(e, -EBUSY, 503, NULL, "the breaker is open");
		if (e)
			e->retry_after_s = retry_after_s;
		return r;
	}
	int r = http_request(c->engine, request, response, DEADLINE_NEVER, e);
	breaker_leave(b, era, verdict_of(r, response));
	note_readiness(c->source, r, response, e ? e->what : "no answer");
	return r;
}

/* Only a 4xx, or that nothing was sent, says that nothing was done. */
static bool may_have_done(int r, const struct http_response *response)
{
	return r < 0 ? response->sent : response->status < 400 || response->status > 499;
}

/* Retry-After in seconds; its other form, a date, is of a clock that is not ours. */
static int64_t retry_after_us(const struct http_response *response)
{
	struct http_header h;
	int64_t seconds = 0;

	if (response->outcome != HTTP_ANSWERED || !http_header_find(response, "Retry-After", &h))
		return 0;
	for (size_t i = 0; i < h.value_len; i++) {
		if (h.value[i] < '0' || h.value[i] > '9')
			return 0;
		seconds = seconds * 10 + (h.value[i] - '0');
		if (seconds > MAX_RETRY_AFTER_S)
			seconds = MAX_RETRY_AFTER_S;
	}
	return seconds * 1000000;
}

static int64_t pause_us(struct http_client *c, unsigned attempts, const struct http_response *response)
{
	int64_t first_us = http_client_keys(c)->retry.backoff_us;
	int64_t ours_us = backoff_us(attempts, first_us, first_us << MAX_BACKOFF_DOUBLINGS);
	int64_t asked_us = retry_after_us(response);

	return asked_us > ours_us ? asked_us : ours_us;
}

/* Suspends. The pause before another attempt. Returns 0, or -errno with e filled: there will be none. */
static int pause_before(struct http_client *c, int64_t us, struct http_response *response, struct error *e)
{
	http_response_done(response);
	int woken = future_await(&c->closing, deadline_in_us(us));
	if (woken == -ETIMEDOUT)
		return 0;
	response->outcome = HTTP_INTERRUPTED;
	return error_set(e, woken < 0 ? woken : -ECONNREFUSED, 503, NULL, "given up between attempts");
}

/* Suspends. All attempts, within the task's deadline. */
static int try_all(struct http_client *c, const struct http_request *request, struct http_response *response,
		   struct error *e)
{
	bool in_doubt = false;
	int r;

	for (unsigned attempts = 1;; attempts++) {
		r = attempt(c, request, response, e);
		in_doubt |= may_have_done(r, response);
		if (attempts >= http_client_keys(c)->retry.attempts || !may_try_again(c, request, r, response))
			break;
		/* Never past the deadline: what came is then the outcome. */
		int64_t pause = pause_us(c, attempts, response);
		if (pause >= deadline_left_us(task_deadline()))
			break;
		r = pause_before(c, pause, response, e);
		if (r < 0)
			break;
	}
	response->in_doubt = in_doubt && !http_method_safe(request->method);
	return r;
}

int http_call(struct http_client *c, struct http_request *request, int64_t timeout_us, struct http_response *response,
	      struct error *e)
{
	const struct http_source_keys *keys = http_client_keys(c);
	deadline_t before = deadline_push(timeout_us ? deadline_in_us(timeout_us) : DEADLINE_NEVER);

	request->max_size = keys->max_size;
	request->redirects = keys->redirects;
	int r = try_all(c, request, response, e);
	deadline_pop(before);
	return r;
}

int http_locate(struct error *e, int r, const struct http_client *c, const struct http_action *a)
{
	if (!e)
		return r;
	struct error inner = *e;
	error_set(e, r, inner.status, inner.public[0] ? inner.public : NULL, "%s%s%ssource %s: %s %s: %s",
		  a->step ? "step " : "", a->step ? a->step : "", a->step ? ", " : "", c->source->base.name, a->method,
		  a->shown, inner.what);
	e->retry_after_s = inner.retry_after_s;
	e->change = inner.change;
	return r;
}

int http_conclude(struct error *e, int r, const struct http_response *response, const struct http_client *c,
		  const struct http_action *a)
{
	if (r < 0)
		http_locate(e, r, c, a);
	if (r < 0 && e && response->in_doubt)
		error_uncertain(e);
	else if (e && response->in_doubt && response->status > 499)
		e->change = CHANGE_UNKNOWN;
	return r;
}
