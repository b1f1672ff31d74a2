/* Values: what they are made of, how they read as JSON and as text, and the way into parsed JSON. */
#include "base/value.h"

#include <stdlib.h>
#include <string.h>

#include "base/decimal.h"
#include "base/json_out.h"
#include "base/mem.h"

/* Of what was let in before. */
#define ANYTHING (JSON_CUT_SURROGATES | JSON_ANY_BYTES | JSON_ANY_DEPTH)

struct value value_string(const char *s, size_t len)
{
	return (struct value){.kind = VALUE_STRING, .text = s, .len = len};
}

struct value value_int(int64_t n)
{
	return (struct value){.kind = VALUE_INT, .integer = n};
}

struct value value_bool(bool b)
{
	return (struct value){.kind = VALUE_BOOL, .boolean = b};
}

struct value value_bytes_of(const void *p, size_t len)
{
	return (struct value){.kind = VALUE_BYTES, .bytes = p, .len = len};
}

/* Plain digits become an integer where they fit; -0, 1.0 and 1e3 keep their digits. */
struct value value_number(const char *digits, size_t len)
{
	int64_t n;

	if (!memchr(digits, '.', len) && !memchr(digits, 'e', len) && !memchr(digits, 'E', len) &&
	    !(len == 2 && memcmp(digits, "-0", 2) == 0) && decimal_to_int64(digits, len, &n))
		return value_int(n);
	return (struct value){.kind = VALUE_NUMBER, .text = digits, .len = len};
}

/* --- a JSON string with half of a surrogate pair: no text has one, so in JSON it stays as it was written --- */

static void cut_string_render(const struct value *v, struct buf *out)
{
	const struct json *j = v->foreign;

	buf_append(out, j->raw, j->raw_len);
}

static void cut_string_text(const struct value *v, struct buf *out)
{
	const struct json *j = v->foreign;

	buf_append(out, j->text, j->len);
}

static bool cut_string_falsy(const struct value *v)
{
	(void)v;
	return false;
}

static enum value_kind cut_string_looks(const struct value *v)
{
	(void)v;
	return VALUE_STRING;
}

static size_t cut_string_parts(const struct value *v, struct arena *a, const struct value_member **out)
{
	(void)v;
	(void)a;
	(void)out;
	return 0;
}

static struct value cut_string_copy(const struct value *v, struct arena *a)
{
	const struct json *from = v->foreign;
	struct json *j = arena_alloc(a, sizeof(*j));
	struct value out = *v;

	*j = *from;
	j->raw = arena_strndup(a, from->raw, from->raw_len);
	j->text = arena_strndup(a, from->text, from->len);
	out.foreign = j;
	return out;
}

static const struct value_ops cut_string_ops = {
	.render = cut_string_render,
	.text = cut_string_text,
	.falsy = cut_string_falsy,
	.looks = cut_string_looks,
	.parts = cut_string_parts,
	.copy = cut_string_copy,
};

struct value value_from_json(const struct json *j)
{
	switch (j->kind) {
	case JSON_NULL:
		return VALUE_OF_NULL;
	case JSON_BOOL:
		return value_bool(j->boolean);
	case JSON_NUMBER:
		return value_number(j->text, j->len);
	case JSON_STRING:
		if (j->cut)
			return (struct value){
				.kind = VALUE_FOREIGN, .foreign = j, .len = j->len, .ops = &cut_string_ops};
		return value_string(j->text, j->len);
	case JSON_ARRAY:
	case JSON_OBJECT:
		break;
	}
	return (struct value){.kind = VALUE_JSON, .json = j, .undeclared = !j->declared};
}

static void render_scalar(const struct value *v, struct buf *out)
{
	switch (v->kind) {
	case VALUE_NULL:
	case VALUE_LIST: /* value_render's */
	case VALUE_DOCUMENT:
		json_null(out);
		break;
	case VALUE_BOOL:
		json_bool(out, v->boolean);
		break;
	case VALUE_INT:
		buf_int(out, v->integer);
		break;
	case VALUE_NUMBER:
		buf_append(out, v->text, v->len);
		break;
	case VALUE_STRING:
		json_string(out, v->text, v->len);
		break;
	case VALUE_JSON:
		json_render(out, v->json);
		break;
	case VALUE_FOREIGN:
		v->ops->render(v, out);
		break;
	case VALUE_BYTES:
		json_base64(out, v->bytes, v->len);
		break;
	}
}

static bool has_parts(const struct value *v)
{
	return v->kind == VALUE_LIST || v->kind == VALUE_DOCUMENT;
}

/* A list or document that is being rendered, and how far. */
struct open_parts {
	const struct value *v;
	uint32_t at;
};

struct parts_stack {
	struct open_parts here[8], *parts;
	size_t depth, room;
};

static void open_parts(struct parts_stack *s, const struct value *v, struct buf *out)
{
	if (s->depth == s->room) {
		struct open_parts *more = mem_array(s->room * 2, sizeof(*more));

		memcpy(more, s->parts, s->depth * sizeof(*more));
		if (s->parts != s->here)
			free(s->parts);
		s->parts = more;
		s->room *= 2;
	}
	s->parts[s->depth++] = (struct open_parts){.v = v};
	buf_char(out, v->kind == VALUE_LIST ? '[' : '{');
}

/* The next part of what is open, with its comma and its name. */
static const struct value *next_part(struct open_parts *o, struct buf *out)
{
	uint32_t at = o->at++;

	if (at)
		buf_char(out, ',');
	if (o->v->kind == VALUE_LIST)
		return &o->v->list[at];
	const struct value_member *m = &o->v->members[at];
	json_string(out, m->name, m->len);
	buf_char(out, ':');
	return &m->value;
}

/* Lists in lists are rendered with a stack of their own: tasks have little. */
static void render_parts(const struct value *v, struct buf *out)
{
	struct parts_stack s = {.parts = s.here, .room = ARRAY_SIZE(s.here)};

	open_parts(&s, v, out);
	while (s.depth > 0 && !buf_over(out)) {
		struct open_parts *top = &s.parts[s.depth - 1];

		if (top->at == top->v->count) {
			buf_char(out, top->v->kind == VALUE_LIST ? ']' : '}');
			s.depth--;
			continue;
		}
		const struct value *part = next_part(top, out);
		if (has_parts(part))
			open_parts(&s, part, out);
		else
			render_scalar(part, out);
	}
	if (s.parts != s.here)
		free(s.parts);
}

void value_render(const struct value *v, struct buf *out)
{
	if (has_parts(v))
		render_parts(v, out);
	else
		render_scalar(v, out);
}

/* Base64 without the quotes. */
static void bytes_text(const struct value *v, struct buf *out)
{
	size_t begin = out->len;

	json_base64(out, v->bytes, v->len);
	out->len -= 2;
	memmove(out->data + begin, out->data + begin + 1, out->len - begin);
}

void value_text(const struct value *v, struct buf *out)
{
	switch (v->kind) {
	case VALUE_NULL:
		break;
	case VALUE_STRING:
		buf_append(out, v->text, v->len);
		break;
	case VALUE_FOREIGN:
		v->ops->text(v, out);
		break;
	case VALUE_BYTES:
		bytes_text(v, out);
		break;
	default:
		value_render(v, out);
		break;
	}
}

/* 0, -0, 0.00, 0e5: no digit but 0 before the exponent. */
static bool number_is_zero(const char *digits, size_t len)
{
	for (size_t i = 0; i < len && digits[i] != 'e' && digits[i] != 'E'; i++)
		if (digits[i] >= '1' && digits[i] <= '9')
			return false;
	return true;
}

bool value_falsy(const struct value *v)
{
	switch (v->kind) {
	case VALUE_NULL:
		return true;
	case VALUE_BOOL:
		return !v->boolean;
	case VALUE_INT:
		return v->integer == 0;
	case VALUE_NUMBER:
		return number_is_zero(v->text, v->len);
	case VALUE_STRING:
		return v->len == 0;
	case VALUE_BYTES:
		return v->len == 0;
	case VALUE_LIST:
	case VALUE_DOCUMENT:
		return v->count == 0;
	case VALUE_JSON:
		return v->json->count == 0;
	case VALUE_FOREIGN:
		return v->ops->falsy(v);
	}
	return true;
}

static const struct json *element_at(const struct json *array, uint32_t index)
{
	if (array->kind != JSON_ARRAY || index >= array->count)
		return NULL;
	const struct json *j = array->child;
	while (index-- > 0)
		j = j->next;
	return j;
}

/* One step of a path; NULL: nothing there. */
static const struct json *step_into(const struct json *j, const struct path_segment *s)
{
	if (!j)
		return NULL;
	return s->kind == PATH_MEMBER ? json_member(j, s->name, s->name_len) : element_at(j, s->index);
}

/* Where a path has come to: one place, or after `[*]` many. NULL: nothing there. */
struct places {
	const struct json **at;
	size_t count;
	bool undeclared; /* an array on the way here was not declared as one */
};

/* The elements of every array among the places, in order; what is not an array has none. */
static struct places each_element(const struct places *from, struct arena *a)
{
	struct places to = {.undeclared = from->undeclared};

	for (size_t i = 0; i < from->count; i++) {
		if (!from->at[i] || from->at[i]->kind != JSON_ARRAY)
			continue;
		to.count += from->at[i]->count;
		to.undeclared |= !from->at[i]->declared;
	}
	to.at = arena_array(a, to.count, sizeof(const struct json *));

	size_t n = 0;
	for (size_t i = 0; i < from->count; i++)
		if (from->at[i] && from->at[i]->kind == JSON_ARRAY)
			for (const struct json *j = from->at[i]->child; j; j = j->next)
				to.at[n++] = j;
	return to;
}

static struct value value_at(const struct json *j)
{
	return j ? value_from_json(j) : VALUE_OF_NULL;
}

struct value json_follow(const struct json *j, const struct path_segment *segments, size_t count, struct arena *a)
{
	struct places places = {.at = &j, .count = 1};
	bool many = false;

	for (size_t i = 0; i < count; i++) {
		if (segments[i].kind == PATH_EACH) {
			places = each_element(&places, a);
			many = true;
			continue;
		}
		for (size_t k = 0; k < places.count; k++)
			places.at[k] = step_into(places.at[k], &segments[i]);
	}
	if (!many)
		return value_at(j);

	struct value *list = arena_array(a, places.count, sizeof(*list));
	for (size_t k = 0; k < places.count; k++)
		list[k] = value_at(places.at[k]);
	return (struct value){
		.kind = VALUE_LIST, .count = (uint32_t)places.count, .list = list, .undeclared = places.undeclared};
}

/* --- the way into any value --- */

/* A part of v, which came from wherever v did. */
static struct value part_of(const struct value *v, struct value part)
{
	part.from_request |= v->from_request;
	part.brought |= v->brought;
	part.structured |= v->structured;
	return part;
}

bool path_has_each(const struct path_segment *segments, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (segments[i].kind == PATH_EACH)
			return true;
	return false;
}

/* The elements of the lists among `parts` as one list; what is not a list adds nothing. */
static struct value flattened(const struct value *parts, uint32_t count, struct arena *a)
{
	size_t total = 0, n = 0;

	for (uint32_t i = 0; i < count; i++)
		total += parts[i].kind == VALUE_LIST ? parts[i].count : 0;
	struct value *list = arena_array(a, total, sizeof(*list));
	for (uint32_t i = 0; i < count; i++) {
		for (uint32_t k = 0; parts[i].kind == VALUE_LIST && k < parts[i].count; k++) {
			list[n++] = part_of(&parts[i], parts[i].list[k]);
		}
	}
	return (struct value){.kind = VALUE_LIST, .count = (uint32_t)n, .list = list};
}

static struct value follow_list(const struct value *v, const struct path_segment *segments, size_t count,
				struct arena *a)
{
	if (segments->kind == PATH_INDEX)
		return segments->index < v->count ? value_follow(&v->list[segments->index], segments + 1, count - 1, a)
						  : VALUE_OF_NULL;
	if (segments->kind != PATH_EACH)
		return VALUE_OF_NULL;
	if (count == 1)
		return *v;
	struct value *list = arena_array(a, v->count, sizeof(*list));
	for (uint32_t i = 0; i < v->count; i++)
		list[i] = value_follow(&v->list[i], segments + 1, count - 1, a);
	if (path_has_each(segments + 1, count - 1))
		return flattened(list, v->count, a);
	return (struct value){.kind = VALUE_LIST, .count = v->count, .list = list};
}

static struct value follow_document(const struct value *v, const struct path_segment *segments, size_t count,
				    struct arena *a)
{
	for (uint32_t i = 0; segments->kind == PATH_MEMBER && i < v->count; i++) {
		const struct value_member *m = &v->members[i];
		if (m->len == segments->name_len && memcmp(m->name, segments->name, m->len) == 0)
			return value_follow(&m->value, segments + 1, count - 1, a);
	}
	return VALUE_OF_NULL;
}

/* As deep as the path is long. */
struct value value_follow(const struct value *v, const struct path_segment *segments, size_t count, struct arena *a)
{
	struct value found = VALUE_OF_NULL;

	if (count == 0)
		return *v;
	if (v->kind == VALUE_DOCUMENT)
		found = follow_document(v, segments, count, a);
	else if (v->kind == VALUE_JSON)
		found = json_follow(v->json, segments, count, a);
	else if (v->kind == VALUE_LIST)
		found = follow_list(v, segments, count, a);
	else if (v->kind == VALUE_FOREIGN && v->ops->follow)
		found = v->ops->follow(v, segments, count, a);
	found.from_request |= v->from_request;
	found.brought |= v->brought || v->kind == VALUE_JSON || v->kind == VALUE_FOREIGN;
	found.structured |= v->structured;
	return found;
}

/* --- what it looks like, its parts, a copy --- */

/* Two trees of the same text: what is declared in one is in the other. A request's are no deeper than this. */
static void copy_declared(const struct json *from, struct json *to)
{
	struct {
		const struct json *from;
		struct json *to;
	} open[JSON_MAX_DEPTH + 1];
	size_t depth = 0;

	for (;;) {
		to->declared = from->declared;
		bool inside = from->kind == JSON_ARRAY || from->kind == JSON_OBJECT;
		if (inside && from->child && depth < ARRAY_SIZE(open)) {
			open[depth].from = from;
			open[depth++].to = to;
			from = from->child;
			to = to->child;
			continue;
		}
		while (depth > 0 && !from->next) {
			from = open[--depth].from;
			to = open[depth].to;
		}
		if (depth == 0)
			return;
		from = from->next;
		to = to->next;
	}
}

static struct value by_way_of_json(const struct value *v, struct arena *a)
{
	struct buf text = BUF_INIT;
	struct json *j;
	char why[64];

	value_render(v, &text);
	const char *copy = arena_strndup(a, text.len ? text.data : "", text.len);
	size_t len = text.len;
	buf_done(&text);
	if (json_read(&j, a, copy, len, 0, ANYTHING, why, sizeof(why)) < 0)
		return VALUE_OF_NULL;
	if (v->kind == VALUE_JSON && v->from_request)
		copy_declared(v->json, j);
	struct value out = value_from_json(j);
	out.from_request = v->from_request;
	out.brought = v->brought;
	out.structured = v->structured;
	out.undeclared = v->undeclared;
	return out;
}

static enum value_kind looks_by_json(const struct value *v)
{
	struct arena a;

	arena_init(&a);
	struct value parsed = by_way_of_json(v, &a);
	enum value_kind kind = value_looks(&parsed);
	arena_done(&a);
	return kind;
}

enum value_kind value_looks(const struct value *v)
{
	if (v->kind == VALUE_JSON)
		return v->json->kind == JSON_ARRAY ? VALUE_LIST : VALUE_DOCUMENT;
	if (v->kind == VALUE_FOREIGN)
		return v->ops->looks ? v->ops->looks(v) : looks_by_json(v);
	return v->kind;
}

static size_t list_parts(const struct value *v, struct arena *a, const struct value_member **out)
{
	struct value_member *parts = arena_array(a, v->count, sizeof(*parts));

	for (uint32_t i = 0; i < v->count; i++)
		parts[i].value = part_of(v, v->list[i]);
	*out = parts;
	return v->count;
}

static size_t document_parts(const struct value *v, struct arena *a, const struct value_member **out)
{
	struct value_member *parts;

	*out = v->members;
	if (!v->from_request && !v->brought)
		return v->count;
	*out = parts = arena_array(a, v->count, sizeof(*parts));
	for (uint32_t i = 0; i < v->count; i++) {
		parts[i] = v->members[i];
		parts[i].value = part_of(v, parts[i].value);
	}
	return v->count;
}

static size_t json_parts(const struct value *v, struct arena *a, const struct value_member **out)
{
	struct value_member *parts = arena_array(a, v->json->count, sizeof(*parts)), *part = parts;

	for (const struct json *j = v->json->child; j; j = j->next, part++) {
		part->value = part_of(v, value_from_json(j));
		part->name = v->json->kind == JSON_OBJECT ? arena_strndup(a, j->name, j->name_len) : NULL;
		part->len = part->name ? j->name_len : 0;
	}
	*out = parts;
	return v->json->count;
}

size_t value_parts(const struct value *v, struct arena *a, const struct value_member **out)
{
	switch (v->kind) {
	case VALUE_LIST:
		return list_parts(v, a, out);
	case VALUE_JSON:
		return json_parts(v, a, out);
	case VALUE_DOCUMENT:
		return document_parts(v, a, out);
	case VALUE_FOREIGN:
		if (v->ops->parts)
			return v->ops->parts(v, a, out);
		struct value parsed = by_way_of_json(v, a);
		return parsed.kind == VALUE_JSON ? json_parts(&parsed, a, out) : 0;
	default:
		return 0;
	}
}

bool value_bytes(const struct value *v, struct arena *a, const void **p, size_t *len)
{
	if (v->kind == VALUE_FOREIGN && v->ops->bytes)
		return v->ops->bytes(v, a, p, len);
	if (v->kind != VALUE_BYTES)
		return false;
	*p = v->bytes;
	*len = v->len;
	return true;
}

/* What is still to be copied: lists and documents whose parts are those of the original. */
struct copy_stack {
	struct value **waiting;
	size_t count, room;
};

static void copy_later(struct copy_stack *s, struct value *v)
{
	mem_reserve(s->waiting, s->room, s->count + 1);
	s->waiting[s->count++] = v;
}

/* Put what v points to into a. */
static void copy_one(struct copy_stack *s, struct value *v, struct arena *a)
{
	bool from_request = v->from_request, brought = v->brought, structured = v->structured;
	bool undeclared = v->undeclared;

	switch (v->kind) {
	case VALUE_NULL:
	case VALUE_BOOL:
	case VALUE_INT:
		break;
	case VALUE_NUMBER:
	case VALUE_STRING:
	case VALUE_BYTES:
		v->text = arena_strndup(a, v->text, v->len);
		break;
	case VALUE_LIST:
	case VALUE_DOCUMENT:
		copy_later(s, v);
		break;
	case VALUE_FOREIGN:
		if (v->ops->copy) {
			*v = v->ops->copy(v, a);
			break;
		}
		__attribute__((fallthrough));
	case VALUE_JSON:
		*v = by_way_of_json(v, a);
		break;
	}
	v->from_request = from_request;
	v->brought = brought;
	v->structured = structured;
	v->undeclared = undeclared;
}

static void copy_list(struct copy_stack *s, struct value *v, struct arena *a)
{
	struct value *list = arena_array(a, v->count, sizeof(*list));

	if (v->count)
		memcpy(list, v->list, v->count * sizeof(*list));
	v->list = list;
	for (uint32_t i = 0; i < v->count; i++)
		copy_one(s, &list[i], a);
}

static void copy_members(struct copy_stack *s, struct value *v, struct arena *a)
{
	struct value_member *members = arena_array(a, v->count, sizeof(*members));

	if (v->count)
		memcpy(members, v->members, v->count * sizeof(*members));
	v->members = members;
	for (uint32_t i = 0; i < v->count; i++) {
		members[i].name = arena_strndup(a, members[i].name, members[i].len);
		copy_one(s, &members[i].value, a);
	}
}

struct value value_copy(const struct value *v, struct arena *a)
{
	struct copy_stack s = {0};
	struct value out = *v;

	copy_one(&s, &out, a);
	while (s.count > 0) {
		struct value *next = s.waiting[--s.count];
		if (next->kind == VALUE_LIST)
			copy_list(&s, next, a);
		else
			copy_members(&s, next, a);
	}
	free(s.waiting);
	return out;
}
