/* BSON values on their way between steps: the way of a reference into them, and how they read elsewhere. */
#include "drivers/mongo/bson/follow.h"

#include "base/json_out.h"
#include "base/utf8.h"
#include "drivers/mongo/bson/bson_json.h"

bool mongo_value_is_bson(const struct value *v)
{
	return v->kind == VALUE_FOREIGN && (v->ops == &mongo_value_ops_plain || v->ops == &mongo_value_ops_relaxed);
}

struct mongo_element mongo_value_element(const struct value *v)
{
	return (struct mongo_element){.type = v->subtype, .key = "", .value = v->foreign, .len = v->len};
}

/* Where a path has come to: one place, or after `[*]` many. Type 0: nothing there. */
struct places {
	struct mongo_element *at;
	size_t count;
};

static struct mongo_element step_into(const struct mongo_element *e, const struct path_segment *s)
{
	if (s->kind == PATH_MEMBER && e->type == BSON_TYPE_DOCUMENT)
		return mongo_element_find(e->value, e->len, s->name, s->name_len);
	if (s->kind == PATH_INDEX && e->type == BSON_TYPE_ARRAY)
		return mongo_element_at(e->value, e->len, s->index);
	return (struct mongo_element){0};
}

/* The elements of every array among the places, in order; what is not an array has none. */
static struct places each_element(const struct places *from, struct arena *a)
{
	struct places to = {0};
	struct mongo_element_iter i;
	struct mongo_element e;
	size_t capacity = 0;

	for (size_t k = 0; k < from->count; k++) {
		if (from->at[k].type != BSON_TYPE_ARRAY)
			continue;
		mongo_element_iter_init(&i, from->at[k].value, from->at[k].len);
		while (mongo_element_next(&i, &e)) {
			if (to.count == capacity) {
				capacity = capacity ? capacity * 2 : 16;
				struct mongo_element *at = arena_array(a, capacity, sizeof(*at));
				if (to.count)
					memcpy(at, to.at, to.count * sizeof(*at));
				to.at = at;
			}
			to.at[to.count++] = e;
		}
	}
	return to;
}

static struct value text_value(const struct mongo_element *e, struct arena *a)
{
	size_t len;
	const char *text = mongo_read_text(e, &len);
	struct buf json = BUF_INIT;
	struct json *j;
	char what[64];

	if (utf8_valid(text, len))
		return value_string(text, len);
	/* Repaired as in JSON, and read back. */
	mongo_render_string(&json, text, len);
	const char *copy = arena_strndup(a, json.data, json.len);
	int r = json_parse(&j, a, copy, json.len, 1, what, sizeof(what));
	buf_done(&json);
	return r == 0 ? value_from_json(j) : VALUE_OF_NULL;
}

static struct value double_value(const struct mongo_element *e, struct arena *a)
{
	struct buf text = BUF_INIT;

	json_double(&text, mongo_read_double(e->value));
	const char *copy = arena_strndup(a, text.data, text.len);
	size_t len = text.len;
	buf_done(&text);
	if (copy[0] == '"')
		return value_string(copy + 1, len - 2); /* NaN, Infinity */
	return (struct value){.kind = VALUE_NUMBER, .text = copy, .len = len};
}

/* What has a native form takes it; the rest stays BSON, so that it goes unchanged into another document. */
static struct value value_of(const struct mongo_element *e, enum mongo_json mode, struct arena *a)
{
	switch (e->type) {
	case 0:
	case BSON_TYPE_NULL:
	case BSON_TYPE_UNDEFINED:
		return VALUE_OF_NULL;
	case BSON_TYPE_BOOL:
		return value_bool(*e->value);
	case BSON_TYPE_INT32:
		return value_int(mongo_read_int32(e->value));
	case BSON_TYPE_INT64:
		return value_int(mongo_read_int64(e->value));
	case BSON_TYPE_UTF8:
	case BSON_TYPE_SYMBOL:
		return text_value(e, a);
	case BSON_TYPE_DOUBLE:
		return double_value(e, a);
	default:
		return (struct value){
			.kind = VALUE_FOREIGN,
			.subtype = e->type,
			.foreign = e->value,
			.len = e->len,
			.ops = mode == MONGO_JSON_PLAIN ? &mongo_value_ops_plain : &mongo_value_ops_relaxed,
		};
	}
}

struct value mongo_follow(const struct mongo_element *e, enum mongo_json mode, const struct path_segment *segments,
			  size_t count, struct arena *a)
{
	struct mongo_element here = *e;
	struct places places = {.at = &here, .count = 1};
	bool many = false;

	for (size_t i = 0; i < count; i++) {
		if (segments[i].kind == PATH_EACH) {
			places = each_element(&places, a);
			many = true;
			continue;
		}
		for (size_t k = 0; k < places.count; k++)
			places.at[k] = step_into(&places.at[k], &segments[i]);
	}
	if (!many)
		return value_of(&here, mode, a);

	struct value *list = arena_array(a, places.count, sizeof(*list));
	for (size_t k = 0; k < places.count; k++)
		list[k] = value_of(&places.at[k], mode, a);
	return (struct value){.kind = VALUE_LIST, .count = (uint32_t)places.count, .list = list};
}

static struct value bson_value_follow_plain(const struct value *v, const struct path_segment *segments, size_t count,
					    struct arena *a)
{
	struct mongo_element e = mongo_value_element(v);
	return mongo_follow(&e, MONGO_JSON_PLAIN, segments, count, a);
}

static struct value bson_value_follow_relaxed(const struct value *v, const struct path_segment *segments, size_t count,
					      struct arena *a)
{
	struct mongo_element e = mongo_value_element(v);
	return mongo_follow(&e, MONGO_JSON_RELAXED, segments, count, a);
}

/* --- parts --- */

static size_t count_elements(const struct mongo_element *e)
{
	struct mongo_element_iter i;
	struct mongo_element each;
	size_t count = 0;

	if (mongo_element_iter_init(&i, e->value, e->len))
		while (mongo_element_next(&i, &each))
			count++;
	return count;
}

/* Ordinal and seconds, in this order. */
static size_t timestamp_parts(const struct mongo_element *e, struct arena *a, const struct value_member **out)
{
	struct value_member *parts = arena_array(a, 2, sizeof(*parts));

	parts[0] = (struct value_member){"t", 1, value_int((uint32_t)mongo_read_int32(e->value + 4))};
	parts[1] = (struct value_member){"i", 1, value_int((uint32_t)mongo_read_int32(e->value))};
	*out = parts;
	return 2;
}

static size_t parts_of(const struct value *v, enum mongo_json mode, struct arena *a, const struct value_member **out)
{
	struct mongo_element e = mongo_value_element(v), each;
	struct mongo_element_iter i;

	if (e.type == BSON_TYPE_TIMESTAMP && e.len == 8)
		return timestamp_parts(&e, a, out);
	if (e.type != BSON_TYPE_DOCUMENT && e.type != BSON_TYPE_ARRAY)
		return 0;
	size_t count = count_elements(&e), n = 0;
	struct value_member *parts = arena_array(a, count, sizeof(*parts));
	if (mongo_element_iter_init(&i, e.value, e.len)) {
		for (; n < count && mongo_element_next(&i, &each); n++) {
			parts[n].value = value_of(&each, mode, a);
			parts[n].value.from_request = v->from_request;
			if (e.type == BSON_TYPE_ARRAY)
				continue;
			parts[n].name = each.key;
			parts[n].len = each.key_len;
		}
	}
	*out = parts;
	return n;
}

static size_t bson_value_parts_plain(const struct value *v, struct arena *a, const struct value_member **out)
{
	return parts_of(v, MONGO_JSON_PLAIN, a, out);
}

static size_t bson_value_parts_relaxed(const struct value *v, struct arena *a, const struct value_member **out)
{
	return parts_of(v, MONGO_JSON_RELAXED, a, out);
}

/* --- the operations --- */

static void render_plain(const struct value *v, struct buf *out)
{
	struct mongo_element e = mongo_value_element(v);
	mongo_render(out, &e, MONGO_JSON_PLAIN);
}

static void render_relaxed(const struct value *v, struct buf *out)
{
	struct mongo_element e = mongo_value_element(v);
	mongo_render(out, &e, MONGO_JSON_RELAXED);
}

static void as_text(const struct value *v, struct buf *out)
{
	struct mongo_element e = mongo_value_element(v);
	mongo_render_text(out, &e);
}

static bool falsy(const struct value *v)
{
	struct mongo_element e = mongo_value_element(v);
	struct mongo_element_iter i;
	bson_decimal128_t d;
	char text[BSON_DECIMAL128_STRING];

	switch (e.type) {
	case BSON_TYPE_DOCUMENT:
	case BSON_TYPE_ARRAY:
		return e.len <= 5 || !mongo_element_iter_init(&i, e.value, e.len);
	case BSON_TYPE_DECIMAL128:
		d = mongo_read_decimal(e.value);
		bson_decimal128_to_string(&d, text);
		return strchr("E", text[strspn(text, "-0.")]) != NULL; /* 0, 0.00, -0E+3 */
	case BSON_TYPE_UNDEFINED:
		return true;
	default:
		return false;
	}
}

static enum value_kind looks(const struct value *v)
{
	switch (v->subtype) {
	case BSON_TYPE_DOCUMENT:
	case BSON_TYPE_TIMESTAMP:
		return VALUE_DOCUMENT;
	case BSON_TYPE_ARRAY:
		return VALUE_LIST;
	case BSON_TYPE_DECIMAL128:
		return VALUE_NUMBER;
	case BSON_TYPE_BINARY:
		return v->len > 4 && v->foreign && ((const uint8_t *)v->foreign)[4] == BSON_SUBTYPE_UUID ? VALUE_STRING
													 : VALUE_BYTES;
	default:
		return VALUE_STRING;
	}
}

static struct value copy(const struct value *v, struct arena *a)
{
	struct value out = *v;

	out.foreign = arena_strndup(a, v->foreign, v->len);
	return out;
}

static bool bytes_of(const struct value *v, struct arena *a, const void **p, size_t *len)
{
	struct mongo_element e = mongo_value_element(v);

	(void)a;
	if (e.type != BSON_TYPE_BINARY || e.len < 5)
		return false;
	*p = mongo_read_binary(&e, len);
	return true;
}

const struct value_ops mongo_value_ops_plain = {
	.render = render_plain,
	.text = as_text,
	.falsy = falsy,
	.follow = bson_value_follow_plain,
	.looks = looks,
	.parts = bson_value_parts_plain,
	.copy = copy,
	.bytes = bytes_of,
};
const struct value_ops mongo_value_ops_relaxed = {
	.render = render_relaxed,
	.text = as_text,
	.falsy = falsy,
	.follow = bson_value_follow_relaxed,
	.looks = looks,
	.parts = bson_value_parts_relaxed,
	.copy = copy,
	.bytes = bytes_of,
};
