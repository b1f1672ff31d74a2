/* Values of handlers: made, and handed on.
 *
 * A value lives in its scope's arena, with what it points to: what is handed to a scope that lives longer is copied
 * with all that belongs to it. What is made of a failure is that failure; of NULL and of calls that have not ended,
 * too, a failure comes. */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/json_out.h"
#include "base/utf8.h"
#include "drivers/mongo/bson/bson.h"
#include "handlers/module/internal.h"
#include "handlers/module/parts.h"
#include "handlers/module/status.h"

enum { NUMBER_LEN_MAX = 4096 };

const char gd_end;

/* --- life --- */

static const struct error outside_error = {
	.errnum = -EPERM, .status = 500, .what = "called outside the tasks of a handler"};

gd_value *value_outside(void)
{
	static gd_value outside = {.state = VALUE_FAILED, .error = &outside_error};

	return &outside;
}

gd_value *value_new(struct gd_scope *s, struct value v)
{
	gd_value *out = arena_zalloc(s->arena, sizeof(*out));

	out->v = v;
	out->scope = s;
	return out;
}

static gd_value *failed_value(struct gd_scope *s, const struct error *kept)
{
	gd_value *v = value_new(s, VALUE_OF_NULL);

	v->state = VALUE_FAILED;
	v->error = kept;
	return v;
}

gd_value *value_failed(struct gd_scope *s, const struct error *e)
{
	struct error *kept = arena_alloc(s->arena, sizeof(*kept));

	*kept = *e;
	return failed_value(s, kept);
}

gd_value *value_fail(struct gd_scope *s, int errnum, int status, const char *format, ...)
{
	struct error e;
	va_list ap;

	error_of_errno(&e, errnum);
	if (status)
		e.status = status;
	va_start(ap, format);
	vsnprintf(e.what, sizeof(e.what), format, ap);
	va_end(ap);
	return value_failed(s, &e);
}

gd_value *value_say(struct gd_scope *s, int errnum, enum reason why, const char *what)
{
	struct error e;

	error_say(&e, errnum, why, "%s", what);
	return value_failed(s, &e);
}

struct kept_result {
	struct thing thing;
	struct result *result;
};

static void end_result(struct thing *t)
{
	result_free(container_of(t, struct kept_result, thing)->result);
}

gd_value *value_of_result(struct gd_scope *s, struct result *r)
{
	static const struct path whole;
	struct kept_result *kept;

	if (!r)
		return value_new(s, VALUE_OF_NULL);
	kept = arena_zalloc(s->arena, sizeof(*kept));
	kept->result = r;
	scope_add(s, &kept->thing, end_result);
	gd_value *v = value_new(s, r->ops->get(r, &whole, s->arena));
	v->v.brought = true;
	if (v->v.kind == VALUE_FOREIGN && value_looks(&v->v) == VALUE_LIST)
		v->parts_count = r->rows;
	return v;
}

/* --- handing on --- */

bool value_outlives(const gd_value *v, const struct gd_scope *s)
{
	if (v->fleeting)
		return false;
	while (s && s != v->scope)
		s = s->outer;
	return s != NULL;
}

struct value value_kept(struct gd_scope *s, const gd_value *v)
{
	if (!value_outlives(v, s))
		return value_copy(&v->v, s->arena);
	if (v->growing)
		((gd_value *)(uintptr_t)v)->shared = true;
	return v->v;
}

bool value_usable(const gd_value *v, const char *what, struct error *e)
{
	if (v && v->state == VALUE_READY)
		return true;
	if (v && v->state == VALUE_FAILED) {
		*e = *v->error;
		return false;
	}
	error_of_errno(e, v ? -EINPROGRESS : -EINVAL);
	snprintf(e->what, sizeof(e->what), v ? "%s is of a call that has not ended" : "%s is NULL", what);
	return false;
}

const struct value *value_use(const gd_value *v, const char *what, struct error *e)
{
	struct gd_scope *s = scope_here(__func__);

	if (!s)
		*e = outside_error;
	if (!s || !value_usable(v, what, e))
		return NULL;
	if (!v->growing && value_outlives(v, s))
		return &v->v;
	struct value *now = arena_alloc(s->arena, sizeof(*now));
	*now = value_kept(s, v);
	return now;
}

/* --- scalars --- */

/* For what needs no memory but the value's own. */
static gd_value *made(const char *function, struct value v)
{
	struct gd_scope *s = scope_here(function);
	return s ? value_new(s, v) : value_outside();
}

gd_value *gd_null(void)
{
	return made(__func__, VALUE_OF_NULL);
}

gd_value *gd_bool(bool b)
{
	return made(__func__, value_bool(b));
}

gd_value *gd_int(int64_t n)
{
	return made(__func__, value_int(n));
}

gd_value *gd_double(double d)
{
	struct gd_scope *s = scope_here(__func__);
	struct buf text = BUF_INIT;

	if (!s)
		return value_outside();
	if (!isfinite(d))
		return value_fail(s, -EINVAL, 0, "gd_double: %s is no JSON number", isnan(d) ? "NaN" : "infinity");
	json_double(&text, d);
	const char *digits = arena_strndup(s->arena, text.data, text.len);
	gd_value *v = value_new(s, value_number(digits, text.len));
	buf_done(&text);
	return v;
}

gd_value *gd_number(const char *digits)
{
	struct gd_scope *s = scope_here(__func__);
	size_t len = digits ? strnlen(digits, NUMBER_LEN_MAX + 1) : 0;

	if (!s)
		return value_outside();
	if (len > NUMBER_LEN_MAX || !json_is_number(digits ? digits : "", len))
		return value_fail(s, -EINVAL, 0, "gd_number: \"%.40s\" is no JSON number", digits ? digits : "NULL");
	struct value v = value_number(arena_strndup(s->arena, digits, len), len);
	v.subtype = v.kind == VALUE_NUMBER ? NUMBER_EXACT : 0;
	return value_new(s, v);
}

static gd_value *string_of(struct gd_scope *s, const char *function, const char *text, size_t len)
{
	if (!utf8_valid(text, len))
		return value_fail(s, -EILSEQ, 0, "%s: a text that is not UTF-8", function);
	return value_new(s, value_string(arena_strndup(s->arena, text, len), len));
}

gd_value *gd_string(const char *text)
{
	struct gd_scope *s = scope_here(__func__);

	if (!s)
		return value_outside();
	return text ? string_of(s, __func__, text, strlen(text)) : value_new(s, VALUE_OF_NULL);
}

gd_value *gd_string_n(const char *text, size_t len)
{
	struct gd_scope *s = scope_here(__func__);

	if (!s)
		return value_outside();
	return text ? string_of(s, __func__, text, len) : value_new(s, VALUE_OF_NULL);
}

gd_value *gd_bytes(const void *p, size_t len)
{
	struct gd_scope *s = scope_here(__func__);

	if (!s)
		return value_outside();
	if (!p && len)
		return value_fail(s, -EINVAL, 0, "gd_bytes: NULL");
	return value_new(s, value_bytes_of(arena_strndup(s->arena, p, len), len));
}

gd_value *gd_object_id(const char *hex)
{
	struct gd_scope *s = scope_here(__func__);
	size_t len = hex ? strnlen(hex, 25) : 0;

	if (!s)
		return value_outside();
	if (len != 24 || strspn(hex, "0123456789abcdefABCDEF") != 24)
		return value_fail(s, -EINVAL, 0, "gd_object_id: \"%.40s\" is not 24 hexadecimal digits",
				  hex ? hex : "NULL");
	struct value v = value_string(arena_strndup(s->arena, hex, len), len);
	v.subtype = FORMAT_OBJECTID;
	return value_new(s, v);
}

/* ISO 8601 and PostgreSQL's input end with the year 9999. */
gd_value *gd_datetime(int64_t unix_ms)
{
	const int64_t first = -62167219200000, beyond = 253402300800000; /* the years 0000 and 10000 */
	struct gd_scope *s = scope_here(__func__);
	struct buf text = BUF_INIT;

	if (!s)
		return value_outside();
	if (unix_ms < first || unix_ms >= beyond)
		return value_fail(s, -ERANGE, 0, "gd_datetime: %lld is outside the years 0000 to 9999",
				  (long long)unix_ms);
	mongo_date_format(&text, unix_ms, true);
	struct value v = value_string(arena_strndup(s->arena, text.data, text.len), text.len);
	v.subtype = FORMAT_INSTANT;
	buf_done(&text);
	return value_new(s, v);
}

gd_value *gd_parse(const char *json, size_t len)
{
	struct gd_scope *s = scope_here(__func__);
	struct json *j;
	char why[96];

	if (!s)
		return value_outside();
	if (!json)
		return value_fail(s, -EINVAL, 0, "gd_parse: NULL");
	int r = json_parse(&j, s->arena, arena_strndup(s->arena, json, len), len, JSON_MAX_DEPTH, why, sizeof(why));
	if (r < 0)
		return value_fail(s, r, 0, "gd_parse: %s", why);
	return value_new(s, value_from_json(j));
}
