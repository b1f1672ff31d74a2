/* HTTP calls: permits, addresses, redirections, and what went wrong before anything was sent. */
#include "drivers/http/request.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "drivers/http/internal.h"
#include "drivers/http/stream.h"
#include "drivers/http/transfer.h"
#include "drivers/numbers.h"

/* --- failures --- */

/* The task may not go on waiting: its deadline has passed, or it was cancelled. */
static int interrupted(struct error *e, struct http_response *response, int r, const char *what)
{
	response->outcome = HTTP_INTERRUPTED;
	if (r == -ETIMEDOUT)
		return error_set(e, r, 504, NULL, "the deadline passed while %s", what);
	return error_set(e, r, 503, NULL, "cancelled while %s", what);
}

/* The same before anything was sent. */
static int interrupted_before(struct error *e, struct http_response *response, int r, const char *what)
{
	if (r != -ETIMEDOUT)
		return interrupted(e, response, r, what);
	response->outcome = HTTP_NOT_SENT;
	return error_say(e, r, REASON_UNREACHED, "nothing was sent: the deadline passed while %s", what);
}

/* --- permits --- */

/* Suspends while all calls of the pool are taken. Returns 0, -EBUSY or -ECANCELED. */
static int take_permit(struct http_engine *engine, struct http_response *response, deadline_t by, struct error *e)
{
	const struct config_pool *pool = engine->settings.pool;
	deadline_t patience = deadline_in_us(pool->acquire_timeout_us);
	int64_t since_us = loop_now_us(engine->loop);
	int r = task_check();

	if (r < 0)
		return interrupted_before(e, response, r, "the request was made");
	r = shared_semaphore_acquire(engine->settings.permits, deadline_min(by, patience));
	struct source_numbers *numbers = engine->settings.tally ? tally_here(engine->settings.tally) : NULL;
	if (numbers && r == 0)
		histogram_observe(&numbers->wait, loop_now_us(engine->loop) - since_us);
	else if (numbers && r != -ECANCELED)
		counter_add(&numbers->refused[r == -EBUSY ? POOL_FULL : POOL_TIMEOUT], 1);
	switch (r) {
	case 0:
		return 0;
	case -EBUSY:
		return error_say(e, r, REASON_BUSY,
				 "nothing was sent: %u calls are under way (pool.size), and %u wait (pool.max_waiting)",
				 pool->size, pool->max_waiting);
	case -ETIMEDOUT:
		return error_say(e, -EBUSY, REASON_BUSY,
				 "nothing was sent: %u calls were under way (pool.size), and none ended within %s",
				 pool->size, deadline_passed(patience) ? "pool.acquire_timeout" : "the deadline");
	default:
		return interrupted(e, response, r, "waiting for a call of the pool to end");
	}
}

static void give_permit(struct http_engine *engine)
{
	shared_semaphore_release(engine->settings.permits);
}

/* --- one exchange --- */

static int find_addresses(struct http_engine *engine, struct http_response *response, deadline_t by, struct error *e)
{
	int r = http_names_await(&engine->names, by);

	if (r == 0)
		return 0;
	if (r != -EHOSTUNREACH && r != -EAGAIN)
		return interrupted_before(e, response, r, "the host's name was looked up");
	response->outcome = HTTP_NOT_SENT;
	return error_set(e, -ECONNREFUSED, 503, NULL, "looking up the host's name: %s",
			 r == -EAGAIN ? "no task for it" : engine->names.why);
}

/* Should it go out once more, on a new connection? Any request may that was not sent. One on a kept connection may have
 * met its end there, or what the service had said to nobody, a 408 above all (RFC 9110, 15.5.9): it may too, if it may
 * be repeated and nothing of an answer has come. */
static bool goes_again(const struct http_transfer *t, int r)
{
	if (t->trouble == TROUBLE_STALE)
		return true;
	if (!t->kept || !t->repeatable)
		return false;
	return r == 0 ? t->response->status == 408 : r == -EPIPE && t->head_bytes == 0;
}

static void drop_stream(struct http_response *response)
{
	if (response->stream)
		http_stream_drop(response->stream);
	response->stream = NULL;
}

/* What has become of t, which ended or was answered. */
static int conclude(const struct http_transfer *t, struct http_response *response, struct error *e)
{
	long status = 0;
	int r = 0;

	if (response->stream && http_stream_is_answered(response->stream))
		response->outcome = HTTP_ANSWERED; /* how its body ends shows when that is read */
	else
		r = http_transfer_judge(t, response, e);
	if (response->outcome == HTTP_NOT_SENT)
		http_names_doubt(&t->engine->names);
	curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	response->status = (unsigned)status;
	return r;
}

/* Suspends. *again says whether it ended in vain; of a fresh one it never does. */
static int exchange_once(struct http_engine *engine, const struct http_request *request, struct http_response *response,
			 bool fresh, bool *again, deadline_t by, struct error *e)
{
	struct http_transfer *t = http_engine_take(engine);

	if (!t) {
		response->outcome = HTTP_NOT_SENT;
		return error_set(e, -ENOMEM, 500, NULL, "libcurl can't be set up");
	}
	http_transfer_prepare(t, request, response, fresh);
	response->stream = request->streamed ? http_stream_new(t) : NULL;
	int r = http_transfer_run(t, by);
	response->sent |= t->sends > 0;
	*again = false;
	if (r < 0) {
		t->ended = true;
		r = t->sends ? interrupted(e, response, r, "the answer was awaited")
			     : interrupted_before(e, response, r, "a connection was being made");
	} else {
		r = conclude(t, response, e);
		*again = !fresh && goes_again(t, r);
	}
	if (!response->stream)
		http_engine_give(t);
	else if (r < 0 || *again)
		drop_stream(response);
	return r;
}

static int exchange(struct http_engine *engine, const struct http_request *request, struct http_response *response,
		    deadline_t by, struct error *e)
{
	bool again = false;
	int r = exchange_once(engine, request, response, false, &again, by, e);

	if (!again)
		return r;
	response->head.len = response->body.len = 0;
	return exchange_once(engine, request, response, true, &again, by, e);
}

/* --- redirections --- */

static bool is_redirection(unsigned status)
{
	return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* Where the answer sends to, as the next request; false: it can't be followed. */
static bool redirect(const struct http_origin *origin, struct http_request *request,
		     const struct http_response *response, struct arena *a)
{
	struct http_header location;

	if (!http_header_find(response, "Location", &location))
		return false;
	const char *where = arena_strndup(a, location.value, location.value_len);
	request->target = http_origin_follow(origin, a, request->target, where);
	if (!request->target || strlen(request->target) > HTTP_MAX_TARGET_BYTES)
		return false;
	/* As browsers do, and RFC 9110 allows: the redirected POST is a GET, unless 307 or 308 say otherwise. */
	bool keeps = response->status == 307 || response->status == 308;
	if (!keeps && strcmp(request->method, "HEAD") != 0 && strcmp(request->method, "GET") != 0) {
		request->method = "GET";
		request->body = NULL;
		request->body_len = 0;
	}
	request->redirects--;
	return true;
}

static int follow(struct http_engine *engine, const struct http_request *request, struct http_response *response,
		  deadline_t by, struct error *e)
{
	struct http_request at = *request;
	struct arena a;
	int r;

	arena_init(&a);
	while ((r = exchange(engine, &at, response, by, e)) == 0 && request->redirects > 0 &&
	       is_redirection(response->status)) {
		if (at.redirects == 0 || !redirect(engine->settings.origin, &at, response, &a)) {
			response->outcome = HTTP_NONSENSE;
			r = error_set(e, -EPIPE, 502, NULL,
				      at.redirects == 0 ? "it redirects too often"
							: "it redirects to another origin, or to nowhere");
			break;
		}
		drop_stream(response);
		response->head.len = response->body.len = 0;
	}
	if (r < 0)
		drop_stream(response);
	arena_done(&a);
	return r;
}

/* --- calls --- */

/* What would be no request, or another one than was meant. */
static bool is_sendable(const struct http_request *request)
{
	size_t len = strlen(request->target);

	for (size_t i = 0; i < len; i++)
		if ((unsigned char)request->target[i] <= ' ' || (unsigned char)request->target[i] >= 0x7F)
			return false;
	for (size_t i = 0; i < request->line_count; i++)
		if (strpbrk(request->lines[i], "\r\n"))
			return false;
	return request->target[0] == '/' && len <= HTTP_MAX_TARGET_BYTES && request->line_count <= HTTP_MAX_LINES;
}

/* With a permit. */
static int call(struct http_engine *engine, const struct http_request *request, struct http_response *response,
		deadline_t by, struct error *e)
{
	if (engine->closing)
		return error_say(e, -ECONNREFUSED, REASON_STOPPING, "closing");
	int r = find_addresses(engine, response, by, e);
	return r < 0 ? r : follow(engine, request, response, by, e);
}

int http_request(struct http_engine *engine, const struct http_request *request, struct http_response *response,
		 deadline_t by, struct error *e)
{
	*response = (struct http_response){.outcome = HTTP_NOT_SENT};
	if (!is_sendable(request))
		return error_set(e, -EINVAL, 500, NULL,
				 "the target or a header can't be sent: it is too long, or "
				 "holds what may not stand there");
	engine->callers++;
	int r = take_permit(engine, response, by, e);
	if (r == 0) {
		r = call(engine, request, response, by, e);
		if (response->stream)
			return r; /* it has the permit, and is a caller, until it is closed */
		give_permit(engine);
	}
	engine->callers--;
	return r;
}

int http_get(struct http_engine *engine, const char *target, struct http_response *response, deadline_t by,
	     struct error *e)
{
	struct http_request request = {.method = "GET", .target = target};

	return http_request(engine, &request, response, by, e);
}

static int connect_only(struct http_engine *engine, deadline_t by, struct error *e)
{
	const struct http_request request = {.method = "GET", .target = "/"};
	struct http_response response = {0};

	int r = find_addresses(engine, &response, by, e);
	if (r < 0)
		return r;
	struct http_transfer *t = http_engine_take(engine);
	if (!t)
		return error_set(e, -ENOMEM, 500, NULL, "libcurl can't be set up");
	http_transfer_prepare(t, &request, &response, false);
	curl_easy_setopt(t->easy, CURLOPT_CONNECT_ONLY, 1L);
	r = http_transfer_run(t, by);
	t->head_ended = true; /* there is none to wait for */
	r = r < 0 ? interrupted_before(e, &response, r, "connecting") : http_transfer_judge(t, &response, e);
	curl_easy_setopt(t->easy, CURLOPT_CONNECT_ONLY, 0L);
	http_engine_give(t);
	return r;
}

int http_connect(struct http_engine *engine, deadline_t by, struct error *e)
{
	engine->callers++;
	int r = connect_only(engine, by, e);
	engine->callers--;
	return r;
}

void http_response_done(struct http_response *r)
{
	http_stream_close(r->stream);
	r->stream = NULL;
	buf_done(&r->head);
	buf_done(&r->body);
}
