/* MongoDB for handlers: arguments are taken here, drivers/mongo does the rest. */
#include <errno.h>

#include "drivers/mongo/cursor.h"
#include "drivers/mongo/follow.h"
#include "drivers/mongo/writes.h"
#include "handlers/module/internal.h"

/* One of the functions below, with what it was called with. Which values there are says the function. */
struct mongo_call {
	struct call call;
	struct mongo_target target;
	const struct value *filter;  /* or documents, a pipeline, operations */
	const struct value *change;  /* an update or a replacement */
	const struct value *options; /* NULL: none */
	const char *field;
};

/* An argument before it is taken. */
struct argument {
	gd_value *value;
	const char *what;
};

static struct mongo_call *call_of(struct call *c)
{
	return container_of(c, struct mongo_call, call);
}

/* An argument was wrong; the call's error says how. */
static int fail_call(struct call *c)
{
	return c->error.errnum;
}

static const char *text_of(struct gd_scope *s, const char *text)
{
	return text ? arena_strdup(s->arena, text) : NULL;
}

/* NULL stays NULL where it is allowed. False: c's error is filled. */
static bool take(struct mongo_call *c, const struct value **out, gd_value *v, const char *what, bool allowed)
{
	if (!v && allowed)
		return true;
	*out = value_use(v, what, &c->call.error);
	return *out != NULL;
}

static bool take_all(struct mongo_call *c, struct argument filter, struct argument change, gd_value *options)
{
	return take(c, &c->filter, filter.value, filter.what, !filter.what) &&
	       take(c, &c->change, change.value, change.what, !change.what) &&
	       take(c, &c->options, options, "the options", true);
}

/* function is the name of the public one. NULL with *failed set: as call_new. */
static struct mongo_call *new_call(const char *function, const char *source, const char *collection, gd_value **failed)
{
	struct mongo_call *c = call_new(sizeof(*c), function, source, SOURCE_MONGODB, failed);

	if (c)
		c->target = (struct mongo_target){.client = c->call.client,
						  .options = &c->call.options,
						  .collection = text_of(c->call.scope, collection)};
	return c;
}

static gd_value *start(gd_gather *g, const char *function, const char *source, const char *collection, call_fn *run,
		       struct argument filter, struct argument change, gd_value *options)
{
	gd_value *failed;
	struct mongo_call *c = new_call(function, source, collection, &failed);

	if (!c)
		return failed;
	return call_start(&c->call, g, function, take_all(c, filter, change, options) ? run : fail_call);
}

#define NOTHING ((struct argument){NULL, NULL})
#define FILTER  ((struct argument){filter, "the filter"})

/* --- reading --- */

static int run_find(struct call *call)
{
	struct mongo_call *c = call_of(call);
	return mongo_find(&c->target, c->filter, c->options, &call->result, &call->error);
}

gd_value *gd_mongo_find(gd_gather *g, const char *source, const char *collection, gd_value *filter, gd_value *options)
{
	return start(g, __func__, source, collection, run_find, FILTER, NOTHING, options);
}

static int run_find_one(struct call *call)
{
	struct mongo_call *c = call_of(call);
	return mongo_find_one(&c->target, c->filter, c->options, &call->result, &call->error);
}

gd_value *gd_mongo_find_one(gd_gather *g, const char *source, const char *collection, gd_value *filter,
			    gd_value *options)
{
	return start(g, __func__, source, collection, run_find_one, FILTER, NOTHING, options);
}

static int run_aggregate(struct call *call)
{
	struct mongo_call *c = call_of(call);
	return mongo_aggregate(&c->target, c->filter, c->options, &call->result, &call->error);
}

gd_value *gd_mongo_aggregate(gd_gather *g, const char *source, const char *collection, gd_value *pipeline,
			     gd_value *options)
{
	return start(g, __func__, source, collection, run_aggregate, (struct argument){pipeline, "the pipeline"},
		     NOTHING, options);
}

static int run_count(struct call *call)
{
	struct mongo_call *c = call_of(call);
	return mongo_count(&c->target, c->filter, c->options, &call->result, &call->error);
}

gd_value *gd_mongo_count(gd_gather *g, const char *source, const char *collection, gd_value *filter, gd_value *options)
{
	return start(g, __func__, source, collection, run_count, FILTER, NOTHING, options);
}

static int run_distinct(struct call *call)
{
	struct mongo_call *c = call_of(call);
	return mongo_distinct(&c->target, c->field, c->filter, &call->result, &call->error);
}

gd_value *gd_mongo_distinct(gd_gather *g, const char *source, const char *collection, const char *field,
			    gd_value *filter)
{
	gd_value *failed;
	struct mongo_call *c = new_call(__func__, source, collection, &failed);

	if (!c)
		return failed;
	c->field = text_of(c->call.scope, field);
	return call_start(&c->call, g, __func__, take_all(c, FILTER, NOTHING, NULL) ? run_distinct : fail_call);
}

/* --- writing --- */

static int run_insert_one(struct call *call)
{
	struct mongo_call *c = call_of(call);
	return mongo_insert_one(&c->target, c->filter, &call->result, &call->error);
}

gd_value *gd_mongo_insert_one(gd_gather *g, const char *source, const char *collection, gd_value *document)
{
	return start(g, __func__, source, collection, run_insert_one, (struct argument){document, "the document"},
		     NOTHING, NULL);
}

static int run_insert_many(struct call *call)
{
	struct mongo_call *c = call_of(call);
	return mongo_insert_many(&c->target, c->filter, c->options, &call->result, &call->error);
}

gd_value *gd_mongo_insert_many(gd_gather *g, const char *source, const char *collection, gd_value *documents,
			       gd_value *options)
{
	return start(g, __func__, source, collection, run_insert_many, (struct argument){documents, "the documents"},
		     NOTHING, options);
}

static int run_update(struct call *call, enum mongo_update kind)
{
	struct mongo_call *c = call_of(call);
	return mongo_update(&c->target, kind, c->filter, c->change, c->options, &call->result, &call->error);
}

static int run_update_one(struct call *call)
{
	return run_update(call, UPDATE_ONE);
}

gd_value *gd_mongo_update_one(gd_gather *g, const char *source, const char *collection, gd_value *filter,
			      gd_value *update, gd_value *options)
{
	return start(g, __func__, source, collection, run_update_one, FILTER, (struct argument){update, "the update"},
		     options);
}

static int run_update_many(struct call *call)
{
	return run_update(call, UPDATE_MANY);
}

gd_value *gd_mongo_update_many(gd_gather *g, const char *source, const char *collection, gd_value *filter,
			       gd_value *update, gd_value *options)
{
	return start(g, __func__, source, collection, run_update_many, FILTER, (struct argument){update, "the update"},
		     options);
}

static int run_replace_one(struct call *call)
{
	return run_update(call, REPLACE_ONE);
}

gd_value *gd_mongo_replace_one(gd_gather *g, const char *source, const char *collection, gd_value *filter,
			       gd_value *replacement, gd_value *options)
{
	return start(g, __func__, source, collection, run_replace_one, FILTER,
		     (struct argument){replacement, "the replacement"}, options);
}

static int run_delete_one(struct call *call)
{
	struct mongo_call *c = call_of(call);
	return mongo_delete(&c->target, false, c->filter, &call->result, &call->error);
}

gd_value *gd_mongo_delete_one(gd_gather *g, const char *source, const char *collection, gd_value *filter)
{
	return start(g, __func__, source, collection, run_delete_one, FILTER, NOTHING, NULL);
}

static int run_delete_many(struct call *call)
{
	struct mongo_call *c = call_of(call);
	return mongo_delete(&c->target, true, c->filter, &call->result, &call->error);
}

gd_value *gd_mongo_delete_many(gd_gather *g, const char *source, const char *collection, gd_value *filter)
{
	return start(g, __func__, source, collection, run_delete_many, FILTER, NOTHING, NULL);
}

static int run_find_one_and(struct call *call, enum mongo_find_one_and kind)
{
	struct mongo_call *c = call_of(call);
	return mongo_find_one_and(&c->target, kind, c->filter, c->change, c->options, &call->result, &call->error);
}

static int run_find_one_and_update(struct call *call)
{
	return run_find_one_and(call, AND_UPDATE);
}

gd_value *gd_mongo_find_one_and_update(gd_gather *g, const char *source, const char *collection, gd_value *filter,
				       gd_value *update, gd_value *options)
{
	return start(g, __func__, source, collection, run_find_one_and_update, FILTER,
		     (struct argument){update, "the update"}, options);
}

static int run_find_one_and_replace(struct call *call)
{
	return run_find_one_and(call, AND_REPLACE);
}

gd_value *gd_mongo_find_one_and_replace(gd_gather *g, const char *source, const char *collection, gd_value *filter,
					gd_value *replacement, gd_value *options)
{
	return start(g, __func__, source, collection, run_find_one_and_replace, FILTER,
		     (struct argument){replacement, "the replacement"}, options);
}

static int run_find_one_and_delete(struct call *call)
{
	return run_find_one_and(call, AND_DELETE);
}

gd_value *gd_mongo_find_one_and_delete(gd_gather *g, const char *source, const char *collection, gd_value *filter,
				       gd_value *options)
{
	return start(g, __func__, source, collection, run_find_one_and_delete, FILTER, NOTHING, options);
}

static int run_bulk(struct call *call)
{
	struct mongo_call *c = call_of(call);
	return mongo_bulk(&c->target, c->filter, c->options, &call->result, &call->error);
}

gd_value *gd_mongo_bulk(gd_gather *g, const char *source, const char *collection, gd_value *operations,
			gd_value *options)
{
	return start(g, __func__, source, collection, run_bulk, (struct argument){operations, "the operations"},
		     NOTHING, options);
}

/* --- one by one --- */

struct mongo_stream {
	struct gd_cursor base;
	struct mongo_cursor cursor;
};

static struct mongo_stream *stream_of(struct gd_cursor *c)
{
	return container_of(c, struct mongo_stream, base);
}

static int next_document(struct gd_cursor *c, struct value *out, struct error *e)
{
	struct mongo_stream *s = stream_of(c);
	struct element document;
	int r = mongo_cursor_next(&s->cursor, &document, e);

	if (r > 0)
		*out = bson_follow(&document, s->cursor.client->config->json, NULL, 0, &c->row);
	return r;
}

static void close_stream(struct gd_cursor *c)
{
	mongo_cursor_close(&stream_of(c)->cursor);
}

static const struct cursor_ops stream_ops = {.next = next_document, .close = close_stream};

typedef int open_fn(struct mongo_cursor *c, const struct mongo_target *t, const struct value *filter,
		    const struct value *options, struct error *e);

static gd_cursor *open_stream(const char *function, const char *source, const char *collection, open_fn *open_cursor,
			      struct argument filter, gd_value *options)
{
	gd_value *failed;
	struct mongo_call *c = new_call(function, source, collection, &failed);

	if (!c)
		return failed && failed->scope ? cursor_failed(failed->scope, failed->error) : NULL;
	struct mongo_stream *s = arena_zalloc(c->call.scope->arena, sizeof(*s));
	struct error *e = &c->call.error;
	int r = take_all(c, filter, NOTHING, options) ? open_cursor(&s->cursor, &c->target, c->filter, c->options, e)
						      : e->errnum;
	if (r < 0)
		return cursor_failed(c->call.scope, e);
	cursor_open(&s->base, c->call.scope, &stream_ops);
	return &s->base;
}

gd_cursor *gd_mongo_find_stream(const char *source, const char *collection, gd_value *filter, gd_value *options)
{
	return open_stream(__func__, source, collection, mongo_cursor_find, FILTER, options);
}

gd_cursor *gd_mongo_aggregate_stream(const char *source, const char *collection, gd_value *pipeline, gd_value *options)
{
	return open_stream(__func__, source, collection, mongo_cursor_aggregate,
			   (struct argument){pipeline, "the pipeline"}, options);
}
