/* Replies that are whole when they are made: JSON, text, bytes, problems. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/token.h"
#include "handlers/module/internal.h"
#include "handlers/module/request.h"

/* --- which replies --- */

int request_reply(gd_request *req, int status, const char *function)
{
	int r = request_check(req, function);
	if (r < 0)
		return r;
	if (status < 200 || status > 599)
		return -EINVAL;
	if (req->replied) {
		log_line(LOG_LINE_WARNING, "second reply to one request", "function=%s endpoint=\"%s\" id=%s", function,
			 req->endpoint->name, req->exchange->id);
		return -EALREADY;
	}
	req->replied = true;
	req->reply.status = (unsigned)status;
	return 0;
}

void request_problem(gd_request *req, const struct error *e)
{
	req->replied = true;
	exchange_problem(req->exchange, e, NULL, NULL, NULL);
}

/* Send it, or say that it is too large. */
static int send(gd_request *req, const char *content_type, struct buf *body)
{
	size_t limit = req->env->config->server.reply_limit;
	if (body->len > limit || buf_over(body)) {
		struct error e;
		buf_done(body);
		error_say(&e, -EMSGSIZE, REASON_REPLY_LARGE, "the reply of %s is larger than reply_limit (%zu bytes)",
			  req->endpoint->handler.function, limit);
		request_problem(req, &e);
		return e.errnum;
	}
	if (!req->reply.content_type)
		req->reply.content_type = content_type;
	req->reply.body = *body;
	exchange_reply(req->exchange, &req->reply);
	return 0;
}

/* --- headers --- */

static bool is_own(const char *name)
{
	static const char *const own[] = {
		"connection", "content-length", "date",    "keep-alive",        "server",
		"te",         "trailer",        "upgrade", "transfer-encoding", "x-request-id"};
	for (size_t i = 0; i < ARRAY_SIZE(own); i++) {
		if (strcasecmp(own[i], name) == 0)
			return true;
	}
	return false;
}

/* Room is kept for what gatherd adds. */
enum { MOST_HEADERS = ARRAY_SIZE(((struct reply *)0)->headers) - 8 };

int gd_reply_header(gd_request *req, const char *name, const char *value)
{
	int r = request_check(req, __func__);
	if (r < 0)
		return r;
	if (!name || !value || !is_token(name) || is_own(name) || !is_field_value(value, strlen(value)))
		return -EINVAL;
	if (req->replied)
		return -EALREADY;
	struct arena *a = &req->exchange->arena;
	if (strcasecmp(name, "content-type") == 0) {
		req->reply.content_type = arena_strdup(a, value);
		return 0;
	}
	if (req->reply.header_count == MOST_HEADERS)
		return -ENOSPC;
	char *lower = arena_strdup(a, name);
	for (char *p = lower; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	size_t len = strlen(value);
	req->reply.headers[req->reply.header_count++] = (struct header){{lower, strlen(lower)},
									{arena_strndup(a, value, len), len}};
	return 0;
}

/* --- bodies --- */

int gd_reply(gd_request *req, int status, gd_value *v)
{
	struct error e = ERROR_INIT;
	int r = request_check(req, __func__);
	if (r < 0)
		return r;
	const struct value *rendered = value_use(v, "the reply", &e);
	r = request_reply(req, rendered ? status : 500, __func__);
	if (r < 0)
		return r;
	struct buf body = {.limit = req->env->config->server.reply_limit};
	if (rendered && status != 204 && status != 304)
		value_render(rendered, &body);
	if (e.errnum < 0) {
		request_problem(req, &e);
		return e.errnum;
	}
	return send(req, NULL, &body);
}

int gd_reply_text(gd_request *req, int status, const char *format, ...)
{
	int r = request_reply(req, status, __func__);
	if (r < 0)
		return r;
	struct buf body = BUF_INIT;
	va_list ap;
	va_start(ap, format);
	if (format)
		buf_vprintf(&body, format, ap);
	va_end(ap);
	return send(req, "text/plain; charset=utf-8", &body);
}

int gd_reply_bytes(gd_request *req, int status, const char *content_type, const void *p, size_t len)
{
	if (len > 0 && !p)
		return -EINVAL;
	if (content_type && !is_field_value(content_type, strlen(content_type)))
		return -EINVAL;
	int r = request_reply(req, status, __func__);
	if (r < 0)
		return r;
	struct buf body = BUF_INIT;
	buf_append(&body, p, len);
	return send(req, content_type ? arena_strdup(&req->exchange->arena, content_type) : "application/octet-stream",
		    &body);
}

int gd_reply_error(gd_request *req, int r)
{
	struct error e;
	int refused = request_reply(req, 500, __func__);
	if (refused < 0)
		return refused;
	scope_error(&req->scope, r, &e);
	request_problem(req, &e);
	return r;
}
