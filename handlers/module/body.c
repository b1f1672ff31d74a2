/* A request's body as its handler sees it: raw, as JSON, as a form. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "handlers/module/internal.h"
#include "handlers/module/request.h"
#include "handlers/web/body.h"
#include "handlers/web/form.h"

/* h2o's memory goes with the reply: what a handler keeps is a copy. */
static struct span body_of(gd_request *req)
{
	struct exchange *x = req->exchange;
	if (!req->body.base && !req->replied) {
		req->body.len = x->body.len;
		req->body.base = arena_strndup(&x->arena, x->body.len ? x->body.base : "", x->body.len);
		req->content_type.len = x->content_type.len;
		req->content_type.base = arena_strndup(&x->arena, x->content_type.len ? x->content_type.base : "",
						       x->content_type.len);
	}
	return req->body;
}

const void *gd_body(gd_request *req, size_t *len)
{
	struct span body = {"", 0};
	if (request_check(req, __func__) == 0 && body_of(req).base)
		body = req->body;
	if (len)
		*len = body.len;
	return body.base;
}

gd_value *gd_body_json(gd_request *req)
{
	int r = request_check(req, __func__);
	struct gd_scope *s = scope_try();
	if (!s)
		return value_outside();
	if (r < 0)
		return value_fail(s, r, 500, "gd_body_json: not the request of this task");
	if (body_of(req).len == 0)
		return value_say(s, -EINVAL, REASON_BODY_MISSING, "gd_body_json: there is no body");
	if (!body_is_of_type(BODY_AS_JSON, req->content_type))
		return value_say(s, -EMEDIUMTYPE, REASON_BODY_NOT_JSON,
				 "gd_body_json: the body's Content-Type is not JSON");
	return value_new(s, req->parameters.body);
}

/* --- forms --- */

static struct value field_value(struct arena *a, const struct form_field *f)
{
	struct value v = value_string(f->content.base, f->content.len);
	if (f->filename.base) {
		struct value_member *m = arena_array(a, 3, sizeof(*m));
		m[0] = (struct value_member){"filename", 8, value_string(f->filename.base, f->filename.len)};
		m[1] = (struct value_member){"type", 4, value_string(f->type.base, f->type.len)};
		m[2] = (struct value_member){"content", 7, value_bytes_of(f->content.base, f->content.len)};
		for (int i = 0; i < 3; i++)
			m[i].value.from_request = true;
		v = (struct value){.kind = VALUE_DOCUMENT, .members = m, .count = 3};
	}
	v.from_request = true;
	return v;
}

static int by_name(const void *left, const void *right)
{
	const struct form_field *a = *(const struct form_field *const *)left;
	const struct form_field *b = *(const struct form_field *const *)right;
	size_t common = a->name.len < b->name.len ? a->name.len : b->name.len;
	int order = memcmp(a->name.base, b->name.base, common);
	if (order == 0 && a->name.len != b->name.len)
		order = a->name.len < b->name.len ? -1 : 1;
	return order ? order : a < b ? -1 : 1;
}

static bool same_name(const struct form_field *a, const struct form_field *b)
{
	return a->name.len == b->name.len && memcmp(a->name.base, b->name.base, a->name.len) == 0;
}

/* The values of `count` fields of one name: one, or a list. */
static struct value values_of(struct arena *a, struct form_field *const *fields, size_t count)
{
	if (count == 1)
		return field_value(a, fields[0]);
	struct value *list = arena_array(a, count, sizeof(*list));
	for (size_t i = 0; i < count; i++)
		list[i] = field_value(a, fields[i]);
	return (struct value){.kind = VALUE_LIST, .list = list, .count = (uint32_t)count, .from_request = true};
}

/* Its names are a stranger's, too: `from_request` says so. */
static struct value form_value(struct arena *a, const struct form *f)
{
	struct form_field **sorted = arena_array(a, f->count + 1, sizeof(struct form_field *));
	struct value_member *members = arena_array(a, f->count + 1, sizeof(*members));
	uint32_t count = 0;
	for (size_t i = 0; i < f->count; i++)
		sorted[i] = &f->fields[i];
	qsort(sorted, f->count, sizeof(struct form_field *), by_name);
	for (size_t i = 0, n; i < f->count; i += n) {
		for (n = 1; i + n < f->count && same_name(sorted[i], sorted[i + n]);)
			n++;
		struct span name = sorted[i]->name;
		members[count++] = (struct value_member){arena_strndup(a, name.base, name.len), name.len,
							 values_of(a, sorted + i, n)};
	}
	return (struct value){.kind = VALUE_DOCUMENT, .members = members, .count = count, .from_request = true};
}

gd_value *gd_body_form(gd_request *req)
{
	int r = request_check(req, __func__);
	struct gd_scope *s = scope_try();
	if (!s)
		return value_outside();
	if (r < 0)
		return value_fail(s, r, 500, "gd_body_form: not the request of this task");
	struct span body = body_of(req);
	struct form form;
	const char *why;
	r = form_parse(&form, s->arena, req->content_type, (struct span){body.base ? body.base : "", body.len}, &why);
	if (r == -EMEDIUMTYPE)
		return value_say(s, r, REASON_BODY_NOT_FORM,
				 "gd_body_form: the body's Content-Type is that of no form");
	if (r < 0)
		return value_say(s, r, r == -E2BIG ? REASON_FORM_LARGE : REASON_FORM_WRONG,
				 arena_printf(s->arena, "gd_body_form: %s", why));
	return value_new(s, form_value(s->arena, &form));
}
