/* Results that are JSON text. */
#include "drivers/json_result.h"

#include <stdlib.h>

#include "base/json.h"
#include "base/mem.h"

/* What a driver has let in is read again here, whatever it is. */
enum { ANYTHING = JSON_CUT_SURROGATES | JSON_ANY_BYTES | JSON_ANY_DEPTH };

struct json_result {
	struct result base;
	const char *text;
	size_t len;
	void (*drop)(void *owner);
	void *owner;
	struct json *tree; /* in the arena of the first look inside: one request's */
};

static void render(const struct result *base, struct buf *out)
{
	const struct json_result *r = container_of(base, const struct json_result, base);

	buf_append(out, r->text, r->len);
}

static struct value get(const struct result *base, const struct path *path, struct arena *a)
{
	struct json_result *r = container_of(base, struct json_result, base);
	char why[64];

	if (!r->tree && json_read(&r->tree, a, r->text, r->len, 0, ANYTHING, why, sizeof(why)) < 0)
		return VALUE_OF_NULL;
	return json_follow(r->tree, path->segments, path->count, a);
}

static void free_result(struct result *base)
{
	struct json_result *r = container_of(base, struct json_result, base);

	r->drop(r->owner);
	free(r);
}

static const struct result_ops ops = {.render = render, .get = get, .free = free_result};

struct result *json_result_new(const char *text, size_t len, size_t rows, void (*drop)(void *owner), void *owner)
{
	struct json_result *r = mem_alloc(sizeof(*r));

	*r = (struct json_result){
		.base = {.ops = &ops, .rows = rows},
		.text = text,
		.len = len,
		.drop = drop,
		.owner = owner,
	};
	return &r->base;
}

struct result *json_result_take(struct buf *text, size_t rows)
{
	struct result *r = json_result_new(text->data, text->len, rows, free, text->data);

	*text = BUF_INIT;
	return r;
}
