/* Results that are JSON text. */
#include "handlers/gather/text_result.h"

#include <stdlib.h>

#include "base/mem.h"

struct text_result {
	struct result base;
	struct cached *value;
	struct json *tree; /* in the arena of the first look inside; one request's */
};

static void render(const struct result *base, struct buf *out)
{
	const struct cached *v = container_of(base, const struct text_result, base)->value;
	buf_append(out, v->text, v->len);
}

static struct value get(const struct result *base, const struct path *path, struct arena *a)
{
	struct text_result *r = container_of(base, struct text_result, base);
	char why[64];

	if (!r->tree &&
	    json_parse(&r->tree, a, r->value->text, r->value->len, JSON_MAX_DEPTH * 4, why, sizeof(why)) < 0)
		return VALUE_OF_NULL;
	return json_follow(r->tree, path->segments, path->count, a);
}

static void free_text(struct result *base)
{
	struct text_result *r = container_of(base, struct text_result, base);
	cached_drop(r->value);
	free(r);
}

static const struct result_ops ops = {.render = render, .get = get, .free = free_text};

struct result *text_result_new(struct cached *v)
{
	struct text_result *r = mem_alloc(sizeof(*r));
	*r = (struct text_result){.base = {.ops = &ops, .rows = v->rows}, .value = v};
	return &r->base;
}
