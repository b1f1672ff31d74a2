/* What a handler asks of its request, and of the daemon around it. */
#include "handlers/module/request.h"

#include <errno.h>
#include <string.h>

#include "async/local.h"
#include "async/monitor.h"
#include "base/ascii.h"
#include "base/log.h"
#include "handlers/module/internal.h"

int request_check(const gd_request *req, const char *function)
{
	const struct gd_scope *s = scope_here(function);
	if (!s)
		return -EPERM;
	if (!req)
		return -EINVAL;
	if (s->request == req)
		return 0;
	log_line(LOG_LINE_WARNING, "a request is used by a task that is not its own", "function=%s id=%s", function,
		 s->request ? s->request->exchange->id : "");
	return -EPERM;
}

gd_value *gd_param(gd_request *req, const char *name)
{
	int r = request_check(req, __func__);
	struct gd_scope *s = scope_try();
	if (!s)
		return value_outside();
	if (r < 0 || !name)
		return value_fail(s, r < 0 ? r : -EINVAL, 500, "gd_param: %s",
				  r == -EPERM ? "not the request of this task" : "NULL");
	for (size_t i = 0; i < req->endpoint->parameter_count; i++) {
		if (strcmp(req->endpoint->parameters[i].name, name) == 0)
			return value_new(s, req->parameters.values[i]);
	}
	return value_fail(s, -EINVAL, 500, "gd_param: %s declares no parameter \"%.100s\"", req->endpoint->name, name);
}

const char *gd_method(gd_request *req)
{
	return request_check(req, __func__) == 0 ? http_method_names[req->exchange->method] : NULL;
}

const char *gd_path(gd_request *req)
{
	if (request_check(req, __func__) < 0)
		return NULL;
	return arena_strndup(scope_try()->arena, req->exchange->path.base, req->exchange->path.len);
}

const char *gd_request_id(gd_request *req)
{
	return request_check(req, __func__) == 0 ? req->exchange->id : NULL;
}

const char *gd_client(gd_request *req)
{
	return request_check(req, __func__) == 0 ? req->exchange->peer : NULL;
}

const char *gd_header(gd_request *req, const char *name)
{
	if (request_check(req, __func__) < 0 || !name)
		return NULL;
	char *lower = arena_strdup(scope_try()->arena, name);
	for (char *p = lower; *p; p++)
		*p = ascii_lower(*p);
	struct span v = strcmp(lower, "host") == 0 ? exchange_header(req->exchange, lower)
						   : exchange_header_list(req->exchange, lower);
	return v.base;
}

/* --- the daemon --- */

unsigned gd_worker(void)
{
	struct gd_scope *s = scope_here(__func__);
	return s ? s->env->worker : 0;
}

bool gd_draining(void)
{
	const struct gd_scope *s = scope_here(__func__);
	return s && event_is_set(s->env->drain);
}

int gd_drain_wait(gd_deadline by)
{
	const struct gd_scope *s = scope_here(__func__);
	return s ? turn_over(event_wait(s->env->drain, deadline_of(by))) : -EPERM;
}

bool gd_debug(void)
{
	return monitor_running();
}

void gd_log(gd_log_level level, const char *format, ...)
{
	static const enum log_severity severities[] = {
		[GD_LOG_ERROR] = LOG_LINE_ERROR,
		[GD_LOG_WARN] = LOG_LINE_WARNING,
		[GD_LOG_INFO] = LOG_LINE_INFO,
		[GD_LOG_DEBUG] = LOG_LINE_DEBUG,
	};
	enum log_severity severity = level <= GD_LOG_DEBUG ? severities[level] : LOG_LINE_ERROR;
	if (!log_enabled(severity))
		return;
	const struct gd_scope *s = scope_try();
	struct buf text = BUF_INIT;
	va_list ap;
	va_start(ap, format);
	if (format)
		buf_vprintf(&text, format, ap);
	va_end(ap);
	log_line(severity, buf_cstr(&text), "%s%s", s && s->request ? "id=" : "",
		 s && s->request ? s->request->exchange->id : "");
	buf_done(&text);
}
