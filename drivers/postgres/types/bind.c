/* Text format throughout: the server reads it by the parameter's type, whatever that is. libpq ends a text parameter at
 * its first NUL without a word, so one that holds a NUL is refused here. */
#include "drivers/postgres/types/bind.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/ascii.h"
#include "base/decimal.h"
#include "base/mem.h"
#include "base/utf8.h"

#define MAX_DIMENSIONS 6 /* the server's MAXDIM */

void pg_parameters_done(struct pg_parameters *p)
{
	buf_done(&p->text);
	free(p->offsets);
	free(p->values);
	free(p->theirs);
	*p = (struct pg_parameters){0};
}

void pg_parameters_begin(struct pg_parameters *p, unsigned count)
{
	if (count > p->capacity) {
		p->offsets = mem_realloc_array(p->offsets, count, sizeof(*p->offsets));
		p->values = mem_realloc_array(p->values, count, sizeof(*p->values));
		p->theirs = mem_realloc_array(p->theirs, count, sizeof(*p->theirs));
		p->capacity = count;
	}
	p->count = 0;
	p->text.len = 0;
	p->from_request = false;
}

void pg_parameters_end(struct pg_parameters *p)
{
	for (unsigned i = 0; i < p->count; i++)
		p->values[i] = p->offsets[i] == SIZE_MAX ? NULL : p->text.data + p->offsets[i];
}

/* An element in the quotes of an array literal. */
static void element_quoted(struct buf *out, const char *s, size_t len)
{
	buf_char(out, '"');
	for (size_t i = 0; i < len; i++) {
		if (s[i] == '"' || s[i] == '\\')
			buf_char(out, '\\');
		buf_char(out, s[i]);
	}
	buf_char(out, '"');
}

/* Bytes as bytea reads them: \\x and hexadecimal digits. */
static void bytes_hex(struct buf *out, const void *p, size_t len)
{
	const uint8_t *bytes = p;

	buf_lit(out, "\\x");
	buf_reserve(out, 2 * len);
	for (size_t i = 0; i < len; i++) {
		buf_char(out, ascii_hex_digit(bytes[i] >> 4));
		buf_char(out, ascii_hex_digit(bytes[i]));
	}
}

/* The text of a value that has no parts. An integer's type reads plain digits alone: a whole number written 1.0 or 1e2
 * is turned into them. A number of any other type keeps its own. */
static void add_scalar(struct buf *out, enum pg_shape shape, const struct value *v)
{
	size_t begin = out->len;
	int64_t n;

	if (shape == PG_SHAPE_JSON) {
		value_render(v, out);
		return;
	}
	value_text(v, out);
	if (shape != PG_SHAPE_INTEGER || value_looks(v) != VALUE_NUMBER)
		return;
	const char *digits = out->data + begin;
	size_t len = out->len - begin;
	if (json_is_number(digits, len) && decimal_to_int64(digits, len, &n)) {
		out->len = begin;
		buf_int(out, n);
	}
}

static int add_array(struct buf *out, const struct pg_type *t, const struct value *v, unsigned depth);

/* An element whose text may hold what an array literal needs quotes for. */
static void add_quoted(struct buf *out, enum pg_shape shape, const struct value *v)
{
	struct buf text = BUF_INIT;

	add_scalar(&text, shape, v);
	element_quoted(out, text.data, text.len);
	buf_done(&text);
}

static int add_element(struct buf *out, const struct pg_type *t, const struct value *v, unsigned depth)
{
	struct buf text = BUF_INIT;

	switch (v->kind) {
	case VALUE_NULL:
		buf_lit(out, "NULL");
		return 0;
	case VALUE_BYTES:
		if (t->oid != PG_OID_BYTEA_ARRAY)
			return -EINVAL;
		bytes_hex(&text, v->bytes, v->len);
		element_quoted(out, text.data, text.len);
		buf_done(&text);
		return 0;
	case VALUE_LIST:
		if (t->element != PG_SHAPE_JSON)
			return add_array(out, t, v, depth + 1);
		add_quoted(out, PG_SHAPE_JSON, v);
		return 0;
	case VALUE_JSON:
		if (v->json->kind == JSON_ARRAY && t->element != PG_SHAPE_JSON)
			return add_array(out, t, v, depth + 1);
		add_quoted(out, PG_SHAPE_JSON, v);
		return 0;
	case VALUE_DOCUMENT:
		add_quoted(out, PG_SHAPE_JSON, v);
		return 0;
	case VALUE_STRING:
	case VALUE_FOREIGN:
		add_quoted(out, t->element, v);
		return 0;
	default:
		add_scalar(out, t->element, v);
		return 0;
	}
}

/* {1,2,"three",NULL}; nested lists are further dimensions, at most as many as the server has. */
static int add_array(struct buf *out, const struct pg_type *t, const struct value *v, unsigned depth)
{
	char delimiter = t->delimiter ? t->delimiter : ',';
	int r = 0;

	if (depth > MAX_DIMENSIONS)
		return -E2BIG;
	buf_char(out, '{');
	if (v->kind == VALUE_LIST) {
		for (uint32_t i = 0; i < v->count && r == 0; i++) {
			if (i)
				buf_char(out, delimiter);
			r = add_element(out, t, &v->list[i], depth);
		}
	} else {
		const struct json *first = v->json->child;
		for (const struct json *j = first; j && r == 0; j = j->next) {
			if (j != first)
				buf_char(out, delimiter);
			struct value element = value_from_json(j);
			r = add_element(out, t, &element, depth);
		}
	}
	buf_char(out, '}');
	return r;
}

/* Another driver's array (BSON's, say), element by element. Returns 1 if v is none. */
static int add_foreign_array(struct buf *out, const struct pg_type *t, const struct value *v)
{
	static const struct path_segment each = {.kind = PATH_EACH};
	struct buf json = BUF_INIT;
	struct arena arena;
	int r = 1;

	arena_init(&arena);
	value_render(v, &json);
	if (v->ops->follow && json.len && json.data[0] == '[') {
		struct value list = v->ops->follow(v, &each, 1, &arena);
		if (list.kind == VALUE_LIST)
			r = add_array(out, t, &list, 1);
	}
	buf_done(&json);
	arena_done(&arena);
	return r;
}

/* Bytes are bytea and nothing else; another driver's have a text as well. Returns 1 if v is none. */
static int add_bytes(struct buf *out, const struct pg_type *t, const struct value *v)
{
	const void *p;
	size_t len;

	if (v->kind != VALUE_BYTES && (v->kind != VALUE_FOREIGN || t->oid != PG_OID_BYTEA))
		return 1;
	struct arena arena;
	arena_init(&arena);
	int r = value_bytes(v, &arena, &p, &len) ? 0 : 1;
	if (r == 0 && t->oid != PG_OID_BYTEA)
		r = -EINVAL;
	if (r == 0)
		bytes_hex(out, p, len);
	arena_done(&arena);
	return r;
}

static int add_text(struct buf *out, const struct pg_type *t, const struct value *v)
{
	bool is_list = v->kind == VALUE_LIST || (v->kind == VALUE_JSON && v->json->kind == JSON_ARRAY);
	int bytes = add_bytes(out, t, v);

	if (bytes <= 0)
		return bytes;
	if (is_list && t->shape == PG_SHAPE_ARRAY)
		return add_array(out, t, v, 1);
	if (v->kind == VALUE_FOREIGN && t->shape == PG_SHAPE_ARRAY) {
		int r = add_foreign_array(out, t, v);
		if (r <= 0)
			return r;
	}
	if (is_list || v->kind == VALUE_JSON)
		value_render(v, out);
	else
		add_scalar(out, t->shape, v);
	return 0;
}

int pg_parameters_add(struct pg_parameters *p, const struct pg_type *t, const struct value *v, const char **why)
{
	size_t *offset = &p->offsets[p->count++];
	size_t begin = p->text.len;

	p->from_request |= v->from_request;
	p->theirs[p->count - 1] = v->from_request;
	*offset = SIZE_MAX;
	if (v->kind == VALUE_NULL)
		return 0;
	int r = add_text(&p->text, t, v);
	if (r < 0) {
		*why = r == -E2BIG ? "an array of more than 6 dimensions" : "bytes for a parameter that is no bytea";
		return r;
	}
	size_t len = p->text.len - begin;
	if (len && memchr(p->text.data + begin, '\0', len)) {
		*why = "a NUL byte in a text";
		return -EINVAL;
	}
	bool may_be_wrong = v->kind != VALUE_INT && v->kind != VALUE_NUMBER && v->kind != VALUE_BOOL;
	if (may_be_wrong && len && !utf8_valid(p->text.data + begin, len)) {
		*why = "a text that is not UTF-8";
		return -EINVAL;
	}
	*offset = begin;
	buf_char(&p->text, '\0');
	return 0;
}
