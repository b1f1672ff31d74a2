/* Rendering and looking into results. */
#include "drivers/mongo/calls/result.h"

#include "base/json_out.h"
#include "base/mem.h"
#include "drivers/mongo/bson/bson_json.h"
#include "drivers/mongo/bson/follow.h"

static const struct mongo_result *of(const struct result *base)
{
	return container_of(base, const struct mongo_result, base);
}

static void render(const struct result *base, struct buf *out)
{
	const struct mongo_result *r = of(base);

	if (r->value.type)
		mongo_render(out, &r->value, r->mode);
	else
		json_null(out);
}

static struct value get(const struct result *base, const struct path *path, struct arena *a)
{
	const struct mongo_result *r = of(base);
	return mongo_follow(&r->value, r->mode, path->segments, path->count, a);
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

void mongo_result_begin(struct mongo_result *r, struct mongo_out *out)
{
	mongo_out_init(out, &r->bytes);
	mongo_out_document(out);
}

void mongo_result_end(struct mongo_result *r, struct mongo_out *out)
{
	mongo_out_end(out);
	r->base.rows = 1;
	r->value = (struct mongo_element){
		.type = BSON_TYPE_DOCUMENT, .key = "", .value = (const uint8_t *)r->bytes.data, .len = r->bytes.len};
}

void mongo_result_reset(struct mongo_result *r)
{
	bson_free(r->reply);
	buf_done(&r->bytes);
	r->reply = NULL;
	r->bytes = BUF_INIT;
	r->value = (struct mongo_element){0};
	r->base.rows = 0;
}

void mongo_result_free(struct mongo_result *r)
{
	if (!r)
		return;
	bson_free(r->reply);
	buf_done(&r->bytes);
	free(r);
}
