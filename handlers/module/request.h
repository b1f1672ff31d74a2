/* A request as its handler sees it. In its exchange's arena. */
#pragma once

#include <stdbool.h>

#include "handlers/module/scope.h"
#include "handlers/web/exchange.h"
#include "handlers/web/parameters.h"

struct handler;

struct gd_request {
	struct exchange *exchange;
	const struct handler *handler;
	const struct config_endpoint *endpoint;
	const struct module_env *env;
	struct gd_scope scope;
	struct parameters parameters;
	struct span traceparent; /* for HTTP sources, as exchange_trace gives them */
	struct span tracestate;
	struct span body, content_type; /* copies; base NULL: not made yet, or there is none */
	struct reply reply;             /* the headers that the handler has put on it so far */
	bool replied;
	bool streaming;                 /* gd_stream_begin was called, and there is a body to be written */
	bool discarding;                /* the same, if there is none: HEAD, 204, 304 */
	bool undated;                   /* its deadline does not hold any more */
	int64_t keep_alive_us, said_us; /* server-sent events: how long may be silence; when something was sent last */
};

/* Is it the request that the calling task works for? Returns 0, -EINVAL (NULL) or -EPERM (said in the log): of another
 * one, which may be over, nothing is read. `function` is the caller's name. */
int request_check(const gd_request *req, const char *function) must_check;
/* May the handler reply? Then it has. -EALREADY (said in the log): it had; -EINVAL: no such status; and as
 * request_check. */
int request_reply(gd_request *req, int status, const char *function) must_check;
/* Answer with the problem that e is. */
void request_problem(gd_request *req, const struct error *e);
