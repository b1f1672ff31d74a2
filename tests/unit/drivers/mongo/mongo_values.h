/* What the tests of the driver's functions for handlers share: values as a handler makes them, written as JSON with '
 * for ". A text that begins with "~" came with a request, one with "^" from a source; so did all of what stands below a
 * name that begins with "~". */
#pragma once

#include "drivers/mongo/calls/read.h"
#include "tests/unit/drivers/mongo/mongo_fixture.h"

static inline struct json *json_of(struct fixture *f, const char *text)
{
	char *copy = arena_strdup(&f->arena, text), what[64];
	struct json *j;

	for (char *p = copy; *p; p++)
		*p = *p == '\'' ? '"' : *p;
	ck_assert_msg(json_parse(&j, &f->arena, copy, strlen(copy), 300, what, sizeof(what)) == 0, "%s: %s", text,
		      what);
	return j;
}

static inline struct value made_of(struct fixture *f, const struct json *j)
{
	struct value v = value_from_json(j);
	const struct json *child = j->kind == JSON_ARRAY || j->kind == JSON_OBJECT ? j->child : NULL;
	struct value *list = arena_array(&f->arena, j->count + 1, sizeof(*list));
	struct value_member *members = arena_array(&f->arena, j->count + 1, sizeof(*members));

	if (j->kind == JSON_STRING && j->len && (*j->text == '~' || *j->text == '^')) {
		v = value_string(j->text + 1, j->len - 1);
		v.from_request = *j->text == '~';
		v.brought = *j->text == '^';
	}
	for (uint32_t i = 0; child; child = child->next, i++) {
		bool theirs = j->kind == JSON_OBJECT && child->name_len && *child->name == '~';
		struct value part = theirs ? value_from_json(child) : made_of(f, child);
		part.from_request |= theirs;
		list[i] = part;
		if (j->kind == JSON_OBJECT)
			members[i] = (struct value_member){
				.name = arena_strndup(&f->arena, child->name + theirs, child->name_len - theirs),
				.len = child->name_len - theirs,
				.value = part};
	}
	if (j->kind == JSON_ARRAY)
		return (struct value){.kind = VALUE_LIST, .count = j->count, .list = list};
	if (j->kind == JSON_OBJECT)
		return (struct value){.kind = VALUE_DOCUMENT, .count = j->count, .members = members};
	return v;
}

/* NULL stays NULL. */
static inline const struct value *made(struct fixture *f, const char *text)
{
	struct value *v = arena_alloc(&f->arena, sizeof(*v));

	if (!text)
		return NULL;
	*v = made_of(f, json_of(f, text));
	return v;
}

/* A request's body, or a parameter that was declared as an object. */
static inline const struct value *sent(struct fixture *f, const char *text, bool declared)
{
	struct value *v = arena_alloc(&f->arena, sizeof(*v));

	*v = value_from_json(json_of(f, text));
	v->from_request = true;
	v->structured = declared;
	v->undeclared = !declared;
	return v;
}

static inline struct mongo_target *target(struct fixture *f, const char *collection, int64_t timeout_us)
{
	struct mongo_target *t = arena_alloc(&f->arena, sizeof(*t));
	struct run_options *options = arena_zalloc(&f->arena, sizeof(*options));

	*options = (struct run_options){.timeout_us = timeout_us, .arena = &f->arena};
	*t = (struct mongo_target){.client = f->client, .options = options, .collection = collection};
	return t;
}

static inline void check_error(const struct error *e, int r)
{
	ck_assert_int_lt(r, 0);
	ck_assert_int_eq(e->errnum, r);
	ck_assert_int_ge(e->status, 400);
	ck_assert(e->what[0]);
	ck_assert_ptr_null(strstr(e->public, "secret"));
}

/* What a call brought: its JSON, or "! status code: the log's words". In the arena. */
static inline const char *told(struct fixture *f, int r, struct result **result, const struct error *e)
{
	struct buf json = BUF_INIT;

	if (r < 0) {
		check_error(e, r);
		return arena_printf(&f->arena, "! %d %s: %s", e->status, e->code, e->what);
	}
	ck_assert_int_eq(r, 0);
	(*result)->ops->render(*result, &json);
	const char *out = arena_strndup(&f->arena, json.data, json.len);
	result_free(*result);
	buf_done(&json);
	return out;
}

#define ck_contains(text, part)                                                                                        \
	do {                                                                                                           \
		const char *text_ = (text);                                                                            \
		ck_assert_msg(strstr(text_, (part)) != NULL, "%s is not in %s", (part), text_);                        \
	} while (0)
