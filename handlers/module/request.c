/* What a handler asks of its request, and of the daemon around it. */
#include "handlers/module/request.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "async/local.h"
#include "async/monitor.h"
#include "base/log.h"
#include "handlers/module/internal.h"

gd_value *gd_param(gd_request *req, const char *name)
{
	struct gd_scope *s = scope_here(__func__);
	if (!s)
		return NULL;
	if (!req || !name)
		return value_fail(s, -EINVAL, 500, NULL, "gd_param: NULL");
	for (size_t i = 0; i < req->endpoint->parameter_count; i++) {
		if (strcmp(req->endpoint->parameters[i].name, name) == 0)
			return value_new(s, req->parameters.values[i]);
	}
	return value_fail(s, -EINVAL, 500, NULL, "gd_param: %s declares no parameter \"%.100s\"", req->endpoint->name,
			  name);
}

const char *gd_method(gd_request *req)
{
	return scope_here(__func__) && req ? http_method_names[req->exchange->method] : NULL;
}

const char *gd_path(gd_request *req)
{
	struct gd_scope *s = scope_here(__func__);
	return s && req ? arena_strndup(s->arena, req->exchange->path.base, req->exchange->path.len) : NULL;
}

const char *gd_request_id(gd_request *req)
{
	return scope_here(__func__) && req ? req->exchange->id : NULL;
}

const char *gd_client(gd_request *req)
{
	return scope_here(__func__) && req ? req->exchange->peer : NULL;
}

const char *gd_header(gd_request *req, const char *name)
{
	struct gd_scope *s = scope_here(__func__);
	if (!s || !req || !name)
		return NULL;
	char *lower = arena_strdup(s->arena, name);
	for (char *p = lower; *p; p++)
		*p = (char)tolower((unsigned char)*p);
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
	buf_vprintf(&text, format, ap);
	va_end(ap);
	log_line(severity, buf_cstr(&text), "%s%s", s && s->request ? "id=" : "",
		 s && s->request ? s->request->exchange->id : "");
	buf_done(&text);
}
