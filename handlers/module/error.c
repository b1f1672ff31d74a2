/* Failures of handlers, asked for and made. The client reads the title of the status, never the name of an errno. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "handlers/module/internal.h"
#include "handlers/module/status.h"

/* What v is to those who ask for failures. NULL: none. scratch is filled where v has no error of its own. */
static const struct error *error_of(const gd_value *v, struct error *scratch)
{
	if (v && v->state == VALUE_READY)
		return NULL;
	if (v && v->state == VALUE_FAILED)
		return v->error;
	error_of_errno(scratch, v ? -EINPROGRESS : -EINVAL);
	snprintf(scratch->what, sizeof(scratch->what), "%s",
		 v ? "a value of a call that has not ended" : "a value that is NULL");
	return scratch;
}

/* It is remembered, too: `return gd_failed(v);` then replies with its text. */
int gd_failed(const gd_value *v)
{
	struct error scratch;
	const struct error *e = error_of(v, &scratch);

	if (e && v && v->state == VALUE_FAILED && v->scope)
		return scope_fail(v->scope, e);
	return e ? e->errnum : 0;
}

const char *gd_error_text(const gd_value *v)
{
	if (!v)
		return "a value that is NULL";
	if (v->state == VALUE_PENDING)
		return "a value of a call that has not ended";
	return v->state == VALUE_FAILED ? v->error->what : "";
}

int gd_error_status(const gd_value *v)
{
	struct error scratch;
	const struct error *e = error_of(v, &scratch);

	if (!e)
		return 0;
	return e->status ? e->status : 500;
}

const char *gd_error_code(const gd_value *v)
{
	return v && v->state == VALUE_FAILED ? v->error->code : "";
}

/* A status that a failure may have: of an error, and one that can be sent. */
static printf_like(4, 0) void failure(struct error *e, int errnum, int status, const char *detail, va_list ap)
{
	error_of_errno(e, errnum);
	if (status >= 400 && status <= 599)
		e->status = status;
	if (!detail)
		return;
	char whole[sizeof(e->what)];
	vsnprintf(whole, sizeof(whole), detail, ap);
	size_t shown = utf8_prefix(whole, strnlen(whole, sizeof(e->public) - 1));
	snprintf(e->public, sizeof(e->public), "%.*s", (int)shown, whole);
	snprintf(e->what, sizeof(e->what), "%s", whole);
}

gd_value *gd_failure(int errnum, int status, const char *detail, ...)
{
	struct gd_scope *s = scope_here(__func__);
	struct error e;
	va_list ap;

	if (!s)
		return value_outside();
	va_start(ap, detail);
	failure(&e, errnum, status, detail, ap);
	va_end(ap);
	return value_failed(s, &e);
}

gd_value *gd_failure_of(int r)
{
	struct gd_scope *s = scope_here(__func__);
	struct error e;

	if (!s)
		return value_outside();
	if (r >= 0)
		return value_new(s, VALUE_OF_NULL);
	scope_error(s, r, &e);
	return value_failed(s, &e);
}

int gd_fail(int errnum, int status, const char *detail, ...)
{
	struct gd_scope *s = scope_here(__func__);
	struct error e;
	va_list ap;

	if (!s)
		return -EPERM;
	va_start(ap, detail);
	failure(&e, errnum, status, detail, ap);
	va_end(ap);
	return scope_fail(s, &e);
}

int gd_fail_with(const gd_value *v)
{
	struct gd_scope *s = scope_here(__func__);
	struct error scratch;
	const struct error *e = error_of(v, &scratch);

	if (!s)
		return -EPERM;
	return e ? scope_fail(s, e) : 0;
}
