/* Results that are one value. */
#include "drivers/value_result.h"

#include <stdlib.h>

#include "base/mem.h"

static void render(const struct result *base, struct buf *out)
{
	value_render(&container_of(base, const struct value_result, base)->value, out);
}

static struct value get(const struct result *base, const struct path *path, struct arena *a)
{
	const struct value_result *r = container_of(base, const struct value_result, base);

	return path->count ? value_follow(&r->value, path->segments, path->count, a) : r->value;
}

static void free_result(struct result *base)
{
	struct value_result *r = container_of(base, struct value_result, base);

	arena_done(&r->arena);
	buf_done(&r->text);
	free(r);
}

static const struct result_ops ops = {.render = render, .get = get, .free = free_result};

struct value_result *value_result_new(void)
{
	struct value_result *r = mem_zalloc(sizeof(*r));

	r->base = (struct result){.ops = &ops, .rows = 1};
	r->value = VALUE_OF_NULL;
	arena_init(&r->arena);
	return r;
}
