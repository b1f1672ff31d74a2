/* Rendering and looking into results. */
#include "drivers/mongo/result.h"

#include "base/json_out.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "drivers/mongo/bson_json.h"
#include "drivers/mongo/convert.h"

static const struct mongo_result *of(const struct result *base)
{
	return container_of(base, const struct mongo_result, base);
}

static void render(const struct result *base, struct buf *out)
{
	const struct mongo_result *r = of(base);

	if (r->value.type)
		bson_render(out, &r->value, r->mode);
	else
		json_null(out);
}

/* --- looking into it --- */

/* Where a path has come to: one place, or after `[*]` many. Type 0: nothing there. */
struct places {
	struct element *at;
	size_t count;
};

static struct element step_into(const struct element *e, const struct path_segment *s)
{
	if (s->kind == PATH_MEMBER && e->type == BSON_TYPE_DOCUMENT)
		return element_find(e->value, e->len, s->name, s->name_len);
	if (s->kind == PATH_INDEX && e->type == BSON_TYPE_ARRAY)
		return element_at(e->value, e->len, s->index);
	return (struct element){0};
}

/* The elements of every array among the places, in order; what is no array has none. */
static struct places each_element(const struct places *from, struct arena *a)
{
	struct places to = {0};
	struct element_iter i;
	struct element e;
	size_t capacity = 0;

	for (size_t k = 0; k < from->count; k++) {
		if (from->at[k].type != BSON_TYPE_ARRAY)
			continue;
		element_iter_init(&i, from->at[k].value, from->at[k].len);
		while (element_next(&i, &e)) {
			if (to.count == capacity) {
				capacity = capacity ? capacity * 2 : 16;
				struct element *at = arena_array(a, capacity, sizeof(*at));
				if (to.count)
					memcpy(at, to.at, to.count * sizeof(*at));
				to.at = at;
			}
			to.at[to.count++] = e;
		}
	}
	return to;
}

static struct value text_value(const struct element *e, struct arena *a)
{
	size_t len;
	const char *text = bson_read_text(e, &len);
	struct buf json = BUF_INIT;
	struct json *j;
	char what[64];

	if (utf8_valid(text, len))
		return value_string(text, len);
	/* Repaired as in JSON, and read back. */
	bson_render_string(&json, text, len);
	const char *copy = arena_strndup(a, json.data, json.len);
	int r = json_parse(&j, a, copy, json.len, 1, what, sizeof(what));
	buf_done(&json);
	return r == 0 ? value_from_json(j) : VALUE_OF_NULL;
}

static struct value double_value(const struct element *e, struct arena *a)
{
	struct buf text = BUF_INIT;

	json_double(&text, bson_read_double(e->value));
	const char *copy = arena_strndup(a, text.data, text.len);
	size_t len = text.len;
	buf_done(&text);
	if (copy[0] == '"')
		return value_string(copy + 1, len - 2); /* NaN, Infinity */
	return (struct value){.kind = VALUE_NUMBER, .text = copy, .len = len};
}

/* What has a native form takes it; the rest stays BSON, so that it goes unchanged into another document. */
static struct value value_of(const struct mongo_result *r, const struct element *e, struct arena *a)
{
	switch (e->type) {
	case 0:
	case BSON_TYPE_NULL:
	case BSON_TYPE_UNDEFINED:
		return VALUE_OF_NULL;
	case BSON_TYPE_BOOL:
		return value_bool(*e->value);
	case BSON_TYPE_INT32:
		return value_int(bson_read_int32(e->value));
	case BSON_TYPE_INT64:
		return value_int(bson_read_int64(e->value));
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
			.ops = r->mode == MONGO_JSON_PLAIN ? &bson_value_ops_plain : &bson_value_ops_relaxed,
		};
	}
}

static struct value get(const struct result *base, const struct path *path, struct arena *a)
{
	const struct mongo_result *r = of(base);
	struct element here = r->value;
	struct places places = {.at = &here, .count = 1};
	bool many = false;

	for (size_t i = 0; i < path->count; i++) {
		if (path->segments[i].kind == PATH_EACH) {
			places = each_element(&places, a);
			many = true;
			continue;
		}
		for (size_t k = 0; k < places.count; k++)
			places.at[k] = step_into(&places.at[k], &path->segments[i]);
	}
	if (!many)
		return value_of(r, &here, a);

	struct value *list = arena_array(a, places.count, sizeof(*list));
	for (size_t k = 0; k < places.count; k++)
		list[k] = value_of(r, &places.at[k], a);
	return (struct value){.kind = VALUE_LIST, .count = (uint32_t)places.count, .list = list};
}

/* --- life --- */

static void free_base(struct result *base)
{
	mongo_result_free(container_of(base, struct mongo_result, base));
}

static const struct result_ops operations = {.render = render, .get = get, .free = free_base};

struct mongo_result *mongo_result_new(enum mongo_json mode)
{
	struct mongo_result *r = mem_zalloc(sizeof(*r));

	r->base.ops = &operations;
	r->mode = mode;
	return r;
}

void mongo_result_free(struct mongo_result *r)
{
	if (!r)
		return;
	bson_free(r->reply);
	buf_done(&r->bytes);
	free(r);
}
