/* Looking into the values of handlers: kinds, ways, parts, conversions.
 *
 * What is found points into what it was found in, and is the current scope's: if that may live longer, it is copied.
 * What a driver brought is followed by the driver itself, so that its types survive; for gd_at and the like its parts
 * are put in a row when they are first asked for. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/decimal.h"
#include "handlers/module/internal.h"

#define TWO_TO_63 9223372036854775808.0

enum { SEGMENTS_MAX = 64, DOUBLE_TEXT_MAX = 400 };

gd_kind gd_kind_of(const gd_value *v)
{
	static const uint8_t kinds[] = {
		[VALUE_NULL] = GD_NULL,     [VALUE_BOOL] = GD_BOOL,         [VALUE_INT] = GD_INT,
		[VALUE_NUMBER] = GD_NUMBER, [VALUE_STRING] = GD_STRING,     [VALUE_BYTES] = GD_BYTES,
		[VALUE_LIST] = GD_LIST,     [VALUE_DOCUMENT] = GD_DOCUMENT,
	};

	if (v && v->state == VALUE_PENDING)
		return GD_PENDING;
	return v && v->state == VALUE_READY ? (gd_kind)kinds[value_looks(&v->v)] : GD_FAILED;
}

static bool is_ready(const gd_value *v)
{
	return v && v->state == VALUE_READY;
}

/* x was found in v. */
static gd_value *found_in(struct gd_scope *s, const gd_value *v, struct value x)
{
	bool has_parts = x.kind == VALUE_LIST || x.kind == VALUE_DOCUMENT;

	if (!v->fleeting && !value_outlives(v, s))
		x = value_copy(&x, s->arena);
	gd_value *out = value_new(s, x);
	out->fleeting = v->fleeting;
	out->depth = has_parts && v->depth == 0 ? 1 : has_parts ? v->depth : 0;
	if (v->growing && has_parts && x.list == v->v.list)
		((gd_value *)(uintptr_t)v)->shared = true;
	return out;
}

/* --- ways --- */

struct way {
	const char *at;
	struct path_segment segments[SEGMENTS_MAX];
	size_t count;
	const char *why; /* after a mistake */
};

/* "a" behind a dot or at the beginning. */
static bool read_name(struct way *w, struct path_segment *out)
{
	size_t len = 0;

	while (w->at[len] && w->at[len] != '.' && w->at[len] != '[' && w->at[len] != ']')
		len++;
	*out = (struct path_segment){.kind = PATH_MEMBER, .name = w->at, .name_len = len};
	w->at += len;
	w->why = "expected a name";
	return len > 0;
}

/* ["any name"], at its quotes. */
static bool read_quoted(struct way *w, struct path_segment *out)
{
	const char *end = strchr(w->at + 1, *w->at);

	w->why = "the quotes are not closed";
	if (!end)
		return false;
	*out = (struct path_segment){.kind = PATH_MEMBER, .name = w->at + 1, .name_len = (size_t)(end - w->at - 1)};
	w->at = end + 1;
	return true;
}

static bool read_index(struct way *w, struct path_segment *out)
{
	uint64_t index = 0;

	w->why = "expected a number, \"*\" or a name in quotes behind \"[\"";
	if (*w->at == '*') {
		*out = (struct path_segment){.kind = PATH_EACH};
		w->at++;
		return true;
	}
	if (*w->at < '0' || *w->at > '9')
		return false;
	for (; *w->at >= '0' && *w->at <= '9' && index <= UINT32_MAX; w->at++)
		index = index * 10 + (uint64_t)(*w->at - '0');
	*out = (struct path_segment){.kind = PATH_INDEX, .index = index < UINT32_MAX ? (uint32_t)index : UINT32_MAX};
	return index <= UINT32_MAX;
}

static bool read_segment(struct way *w)
{
	struct path_segment *out = &w->segments[w->count];

	w->why = "too long";
	if (w->count++ == SEGMENTS_MAX)
		return false;
	if (*w->at != '[') {
		bool dot = *w->at == '.';
		w->why = "expected \".\" or \"[\"";
		if (dot == (w->count == 1))
			return false;
		w->at += dot;
		return read_name(w, out);
	}
	w->at++;
	if (!(*w->at == '"' || *w->at == '\'' ? read_quoted(w, out) : read_index(w, out)))
		return false;
	w->why = "expected \"]\"";
	return *w->at++ == ']';
}

gd_value *gd_get(const gd_value *v, const char *path)
{
	struct gd_scope *s = scope_here(__func__);
	struct way w; /* its segments are filled as they are read */
	struct error e;

	if (!s)
		return value_outside();
	if (!value_usable(v, "gd_get: the value", &e))
		return value_failed(s, &e);
	w.at = path ? path : "";
	w.count = 0;
	while (*w.at)
		if (!read_segment(&w))
			return value_fail(s, -EINVAL, 0, "gd_get: \"%.100s\" is no way: %s", path, w.why);
	if (w.count == 0)
		return value_fail(s, -EINVAL, 0, "gd_get: the way is %s", path ? "empty" : "NULL");
	return found_in(s, v, value_follow(&v->v, w.segments, w.count, s->arena));
}

/* --- parts --- */

/* The parts of JSON and of what a driver brought; kept as long as v is. */
static size_t parts_of(const gd_value *v, const char *function)
{
	gd_value *kept = (gd_value *)(uintptr_t)v;

	if (v->parts)
		return v->parts_count;
	if (!scope_here(function))
		return 0;
	kept->parts_count = value_parts(&v->v, v->fleeting ? v->fleeting : v->scope->arena, &kept->parts);
	return v->parts_count;
}

static bool counts_itself(const gd_value *v)
{
	return v->v.kind == VALUE_LIST || v->v.kind == VALUE_DOCUMENT;
}

size_t gd_count(const gd_value *v)
{
	if (!is_ready(v))
		return 0;
	if (counts_itself(v))
		return v->v.count;
	if (v->v.kind == VALUE_JSON)
		return v->v.json->count;
	if (v->v.kind != VALUE_FOREIGN)
		return 0;
	return v->parts_count ? v->parts_count : parts_of(v, __func__);
}

/* The i-th part of v, which has more. */
static struct value part_at(const gd_value *v, size_t i)
{
	struct value part = !counts_itself(v)         ? v->parts[i].value
			    : v->v.kind == VALUE_LIST ? v->v.list[i]
						      : v->v.members[i].value;
	part.from_request |= v->v.from_request;
	part.brought |= v->v.brought || !counts_itself(v);
	part.structured |= v->v.structured;
	return part;
}

static bool has_part(const gd_value *v, size_t i, const char *function)
{
	if (counts_itself(v))
		return i < v->v.count;
	return (v->v.kind == VALUE_JSON || v->v.kind == VALUE_FOREIGN) && i < parts_of(v, function);
}

gd_value *gd_at(const gd_value *v, size_t i)
{
	struct gd_scope *s = scope_here(__func__);
	struct error e;

	if (!s)
		return value_outside();
	if (!value_usable(v, "gd_at: the value", &e))
		return value_failed(s, &e);
	return found_in(s, v, has_part(v, i, __func__) ? part_at(v, i) : VALUE_OF_NULL);
}

const char *gd_name_at(const gd_value *v, size_t i)
{
	if (!is_ready(v) || !has_part(v, i, __func__))
		return NULL;
	if (counts_itself(v))
		return v->v.kind == VALUE_DOCUMENT ? v->v.members[i].name : NULL;
	return v->parts[i].name;
}

/* --- conversions --- */

/* The digits of a number, or of a text that is one. out is to be given back by buf_done. */
static bool number_text(const gd_value *v, struct buf *out)
{
	enum value_kind kind = is_ready(v) ? value_looks(&v->v) : VALUE_NULL;

	if (kind != VALUE_INT && kind != VALUE_NUMBER && kind != VALUE_STRING)
		return false;
	value_text(&v->v, out);
	return out->len > 0 && json_is_number(out->data, out->len);
}

int64_t gd_to_int(const gd_value *v, int64_t otherwise)
{
	struct buf text = BUF_INIT;
	int64_t n;

	if (is_ready(v) && v->v.kind == VALUE_INT)
		return v->v.integer;
	bool good = number_text(v, &text) && decimal_to_int64(text.data, text.len, &n);
	buf_done(&text);
	return good ? n : otherwise;
}

/* Decimal fractions become the nearest double; integers only if it is the same. */
double gd_to_double(const gd_value *v, double otherwise)
{
	struct buf text = BUF_INIT;
	double d = NAN;
	int64_t n;

	if (number_text(v, &text) && text.len < DOUBLE_TEXT_MAX) {
		d = strtod(buf_cstr(&text), NULL);
		bool whole = decimal_to_int64(text.data, text.len, &n);
		if (whole && (d < -TWO_TO_63 || d >= TWO_TO_63 || (int64_t)d != n))
			d = NAN;
	}
	buf_done(&text);
	return isfinite(d) ? d : otherwise;
}

bool gd_truthy(const gd_value *v)
{
	return is_ready(v) && !value_falsy(&v->v);
}

/* v by `write`, with a NUL behind it, in the current scope. */
static const char *written(const gd_value *v, const char *function,
			   void (*write)(const struct value *v, struct buf *out), size_t *len)
{
	struct gd_scope *s = scope_here(function);
	struct buf text = BUF_INIT;

	if (!s)
		return NULL;
	write(&v->v, &text);
	const char *copy = arena_strndup(s->arena, text.data, text.len);
	*len = text.len;
	buf_done(&text);
	return copy;
}

static bool has_text(const gd_value *v)
{
	return is_ready(v) && v->v.kind != VALUE_NULL;
}

const char *gd_to_text(const gd_value *v)
{
	size_t len;

	return has_text(v) ? written(v, __func__, value_text, &len) : NULL;
}

const void *gd_to_bytes(const gd_value *v, size_t *len)
{
	struct gd_scope *s;
	const void *p;
	size_t ignored;

	if (!len)
		len = &ignored;
	*len = 0;
	if (!has_text(v) || !(s = scope_here(__func__)))
		return NULL;
	if (value_bytes(&v->v, s->arena, &p, len))
		return arena_strndup(s->arena, p, *len);
	return written(v, __func__, value_text, len);
}

const char *gd_to_json(const gd_value *v)
{
	size_t len;

	return is_ready(v) ? written(v, __func__, value_render, &len) : NULL;
}
