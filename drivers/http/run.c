/* A handler's call is a step's whose message is made on the spot. */
#include "drivers/http/run.h"

#include <errno.h>
#include <string.h>

#include "drivers/http/call.h"
#include "drivers/http/request.h"
#include "drivers/http/result.h"
#include "drivers/http/source.h"
#include "drivers/http/stream.h"

/* --- what is sent --- */

static bool is_method(const char *s)
{
	size_t len = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-");

	return len > 0 && len < 32 && s[len] == '\0' && strcmp(s, "CONNECT") != 0;
}

/* How the call is to be named and judged. */
static struct http_action action_of(const struct http_ask *ask, enum expect expect, struct arena *a)
{
	const char *path = ask->path ? ask->path : "NULL";
	const char *method = ask->method ? ask->method : "GET";

	return (struct http_action){
		.method = method,
		.shown = arena_strndup(a, path, strcspn(path, "?")),
		.expect = expect,
		.idempotent = http_method_idempotent(method),
	};
}

/* Into out, with its media type. */
static const char *fill_body(const struct value *v, struct buf *out, struct arena *a)
{
	const void *p;
	size_t len;

	buf_reserve(out, 1); /* an empty body is one */
	if (value_bytes(v, a, &p, &len)) {
		buf_append(out, p, len);
		return "application/octet-stream";
	}
	if (value_looks(v) == VALUE_STRING) {
		value_text(v, out);
		return "text/plain; charset=utf-8";
	}
	value_render(v, out);
	return "application/json";
}

/* http_message_done also after a failure. */
static int make(struct http_message *out, const struct http_ask *ask, const struct http_action *action,
		struct http_client *c, const struct run_options *options, struct error *e)
{
	const char *content_type = NULL;

	out->target = out->body = BUF_INIT;
	out->request = (struct http_request){.method = action->method, .lines = out->lines};
	if (!is_method(action->method))
		return error_set(e, -EINVAL, 500, NULL, "there is no such method");
	if (ask->body && (strcmp(action->method, "GET") == 0 || strcmp(action->method, "HEAD") == 0))
		return error_set(e, -EINVAL, 500, NULL, "a request of this method has no body");
	int r = target_make(c->source->origin.base, ask->path, ask->query, &out->target, e);
	if (r < 0)
		return r;
	out->request.target = buf_cstr(&out->target);
	if (ask->body) {
		content_type = fill_body(ask->body, &out->body, options->arena);
		out->request.body = out->body.data;
		out->request.body_len = out->body.len;
	}
	r = lines_make(http_client_keys(c)->headers, ask->headers,
		       action->expect == EXPECT_JSON ? "application/json" : NULL, content_type, options, &c->random,
		       out->lines, e);
	if (r < 0)
		return r;
	out->request.line_count = (size_t)r;
	return 0;
}

/* --- in one piece --- */

static int run(struct client *client, const struct http_ask *ask, enum expect expect, const struct run_options *options,
	       struct result **out, struct error *e)
{
	struct http_client *c = http_client_of(client);
	const struct http_action action = action_of(ask, expect, options->arena);
	struct http_response response = {0};
	struct http_message message;

	c->callers++;
	int r = make(&message, ask, &action, c, options, e);
	if (r == 0)
		r = http_call(c, &message.request, options->timeout_us, &response, e);
	if (r == 0 && expect == EXPECT_RESPONSE)
		*out = http_answer_new(&response);
	else if (r == 0)
		r = http_result_new(out, &action, &response, e);
	http_conclude(e, r, &response, c, &action);
	http_response_done(&response);
	http_message_done(&message);
	c->callers--;
	return r;
}

int http_run_json(struct client *c, const struct http_ask *ask, const struct run_options *options, struct result **out,
		  struct error *e)
{
	return run(c, ask, EXPECT_JSON, options, out, e);
}

int http_run(struct client *c, const struct http_ask *ask, const struct run_options *options, struct result **out,
	     struct error *e)
{
	return run(c, ask, EXPECT_RESPONSE, options, out, e);
}

/* --- piece by piece --- */

int http_reading_open(struct http_reading *out, struct client *client, const struct http_ask *ask,
		      const struct run_options *options, struct error *e)
{
	struct http_client *c = http_client_of(client);

	*out = (struct http_reading){.client = c, .timeout_us = options->timeout_us};
	out->action = action_of(ask, EXPECT_RESPONSE, options->arena);
	c->callers++;
	int r = make(&out->message, ask, &out->action, c, options, e);
	out->message.request.streamed = true;
	if (r == 0)
		r = http_call(c, &out->message.request, options->timeout_us, &out->response, e);
	http_conclude(e, r, &out->response, c, &out->action);
	if (r < 0)
		http_reading_close(out);
	return r;
}

int64_t http_reading_next(struct http_reading *r, const void **p, struct error *e)
{
	deadline_t by = r->timeout_us ? deadline_in_us(r->timeout_us) : DEADLINE_NEVER;
	int64_t n = http_stream_read(r->response.stream, p, by, e);

	return n < 0 ? http_locate(e, (int)n, r->client, &r->action) : n;
}

void http_reading_close(struct http_reading *r)
{
	if (!r->client)
		return;
	http_response_done(&r->response);
	http_message_done(&r->message);
	r->client->callers--;
	r->client = NULL;
}
