/* A request that a handler answers: what is around the call, and what is answered where the handler has not.
 *
 * Everything that the handler made is ended while the request's memory is still there: the scope is closed in the
 * request's own task, after the reply. */
#include "handlers/module/handle.h"

#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "handlers/module/internal.h"
#include "handlers/module/module.h"
#include "handlers/module/request.h"
#include "handlers/module/status.h"

/* --- the end --- */

static void answer_instead(gd_request *req, int r)
{
	struct error e;
	if (r < 0) {
		scope_error(&req->scope, r, &e);
	} else {
		log_line(LOG_LINE_ERROR, "a handler returned without a reply", "handler=%s endpoint=\"%s\" id=%s",
			 req->endpoint->handler.function, req->endpoint->name, req->exchange->id);
		error_set(&e, -EIO, 500, NULL, "%s returned without a reply", req->endpoint->handler.function);
	}
	request_problem(req, &e);
}

/* The connection breaks: say in the log why. */
static void explain_cut(gd_request *req, int r)
{
	struct error *e = &req->exchange->error;
	if (r < 0)
		scope_error(&req->scope, r, e);
	else
		error_set(e, -EIO, 500, NULL, "%s returned without gd_stream_end", req->endpoint->handler.function);
}

/* --- the call --- */

static int call_handler(gd_request *req)
{
	scope_open(&req->scope, req->env, req, &req->exchange->arena);
	int r = req->handler->fn(req);
	mutexes_release();
	if (!req->replied && (r != -ECANCELED || !task_cancelled()))
		answer_instead(req, r);
	else if (req->streaming && !task_cancelled())
		explain_cut(req, r);
	scope_close(&req->scope);
	return r;
}

static int refuse(gd_request *req, int r)
{
	struct error e;
	error_of_errno(&e, r);
	if (r == -EBUSY)
		error_say(&e, r, REASON_PERMITS_FULL, "the queue of a semaphore is full");
	else if (r == -ETIMEDOUT)
		error_say(&e, r, REASON_DEADLINE_PASSED, "the deadline passed in the queue of a semaphore");
	if (r != -ECANCELED || !task_cancelled())
		request_problem(req, &e);
	return r;
}

static int run_handler(void *arg)
{
	struct exchange *x = arg;
	gd_request *req = x->handler_data;
	int index = req->endpoint->semaphore;
	if (index < 0)
		return call_handler(req);
	struct shared_semaphore *permits = req->env->semaphores[index];
	int r = shared_semaphore_acquire(permits, DEADLINE_NEVER);
	if (r < 0)
		return refuse(req, r);
	r = call_handler(req);
	shared_semaphore_release(permits);
	return r;
}

/* --- the beginning --- */

/* The memory of requests is used again; those that follow each other have different places in it, so that one which is
 * used after its end is not taken for its successor (request_check). */
static gd_request *request_new(struct exchange *x)
{
	enum { PLACES = 16 };
	static _Thread_local unsigned place;
	place = (place + 1) % PLACES;
	char *memory = arena_zalloc(&x->arena, sizeof(gd_request) + PLACES * _Alignof(gd_request));
	return (gd_request *)(void *)(memory + place * _Alignof(gd_request));
}

void module_handle(const struct handler *h, const struct module_env *env, struct rates *rates, struct exchange *x,
		   const struct route_match *m)
{
	const struct config_endpoint *endpoint = h->endpoint;
	struct error e = ERROR_INIT;
	struct buf errors = BUF_INIT;
	gd_request *req = request_new(x);
	req->exchange = x;
	req->handler = h;
	req->endpoint = endpoint;
	req->env = env;
	x->endpoint = endpoint->name;
	x->handler_data = req;
	if (endpoint->timeout_us)
		x->by = deadline_min(x->by, deadline_in_us(endpoint->timeout_us));
	if (endpoint->rate.count && !rate_admit(rates, h->rate_identity, &endpoint->rate, x))
		return;
	int r = parameters_parse(&req->parameters, x, m, &e, &errors);
	if (r < 0) {
		exchange_problem(x, &e, NULL, errors.len ? buf_cstr(&errors) : NULL, NULL);
	} else {
		exchange_trace(x, &req->traceparent, &req->tracestate);
		exchange_spawn(x, run_handler);
	}
	buf_done(&errors);
}
