/* Values: what they are made of, how they read as JSON and as text, and the way into parsed JSON. */
#include "base/value.h"

#include <stdlib.h>
#include <string.h>

#include "base/decimal.h"
#include "base/json_out.h"
#include "base/mem.h"

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

/* Plain digits become an integer where they fit; -0, 1.0 and 1e3 keep their digits. */
struct value value_number(const char *digits, size_t len)
{
	int64_t n;

	if (!memchr(digits, '.', len) && !memchr(digits, 'e', len) && !memchr(digits, 'E', len) &&
	    !(len == 2 && memcmp(digits, "-0", 2) == 0) && decimal_to_int64(digits, len, &n))
		return value_int(n);
	return (struct value){.kind = VALUE_NUMBER, .text = digits, .len = len};
}

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
		return value_string(j->text, j->len);
	case JSON_ARRAY:
	case JSON_OBJECT:
		break;
	}
	return (struct value){.kind = VALUE_JSON, .json = j};
}

static void render_one(const struct value *v, struct buf *out)
{
	switch (v->kind) {
	case VALUE_NULL:
	case VALUE_LIST: /* value_render's */
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
		json_compact(out, v->json->raw, v->json->raw_len);
		break;
	case VALUE_FOREIGN:
		v->ops->render(v, out);
		break;
	}
}

/* A list that is being rendered, and what of it is left. */
struct open_list {
	const struct value *next, *end;
};

struct list_stack {
	struct open_list here[8], *lists;
	size_t depth, room;
};

static void push_list(struct list_stack *s, const struct value *list)
{
	if (s->depth == s->room) {
		struct open_list *more = mem_array(s->room * 2, sizeof(*more));

		memcpy(more, s->lists, s->depth * sizeof(*more));
		if (s->lists != s->here)
			free(s->lists);
		s->lists = more;
		s->room *= 2;
	}
	s->lists[s->depth++] = (struct open_list){list->list, list->list + list->count};
}

/* Lists in lists are rendered with a stack of their own: tasks have little. */
static void render_list(const struct value *v, struct buf *out)
{
	struct list_stack s = {.lists = s.here, .room = ARRAY_SIZE(s.here)};

	buf_char(out, '[');
	push_list(&s, v);
	while (s.depth > 0) {
		struct open_list *top = &s.lists[s.depth - 1];

		if (top->next == top->end) {
			buf_char(out, ']');
			s.depth--;
			continue;
		}
		if (out->data[out->len - 1] != '[')
			buf_char(out, ',');
		const struct value *item = top->next++;
		if (item->kind == VALUE_LIST) {
			buf_char(out, '[');
			push_list(&s, item);
		} else {
			render_one(item, out);
		}
	}
	if (s.lists != s.here)
		free(s.lists);
}

void value_render(const struct value *v, struct buf *out)
{
	if (v->kind == VALUE_LIST)
		render_list(v, out);
	else
		render_one(v, out);
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
	case VALUE_LIST:
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
};

/* The elements of every array among the places, in order; what is no array has none. */
static struct places each_element(const struct places *from, struct arena *a)
{
	struct places to = {0};

	for (size_t i = 0; i < from->count; i++)
		if (from->at[i] && from->at[i]->kind == JSON_ARRAY)
			to.count += from->at[i]->count;
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
	return (struct value){.kind = VALUE_LIST, .count = (uint32_t)places.count, .list = list};
}

/* --- the way into any value --- */

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
	return (struct value){.kind = VALUE_LIST, .count = v->count, .list = list};
}

struct value value_follow(const struct value *v, const struct path_segment *segments, size_t count, struct arena *a)
{
	struct value found = VALUE_OF_NULL;

	if (count == 0)
		return *v;
	if (v->kind == VALUE_JSON)
		found = json_follow(v->json, segments, count, a);
	else if (v->kind == VALUE_LIST)
		found = follow_list(v, segments, count, a);
	else if (v->kind == VALUE_FOREIGN && v->ops->follow)
		found = v->ops->follow(v, segments, count, a);
	found.from_request = v->from_request;
	found.structured = v->structured;
	return found;
}
