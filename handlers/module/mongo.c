/* MongoDB for handlers: arguments are taken here, drivers/mongo does the rest. */
#include <errno.h>

#include "drivers/mongo/bson/follow.h"
#include "drivers/mongo/calls/bulk.h"
#include "drivers/mongo/calls/cursor.h"
#include "drivers/mongo/calls/find_and_modify.h"
#include "drivers/mongo/calls/transaction.h"
#include "drivers/mongo/calls/write.h"
#include "drivers/mongo/driver.h"
#include "handlers/module/mongo.h"

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
int mongo_fail_call(struct call *c)
{
	return c->error.errnum;
}

static const char *text_of(struct gd_scope *s, const char *text)
{
	return text ? arena_strdup(s->arena, text) : NULL;
}

bool mongo_take(struct mongo_call *c, const struct value **out, gd_value *v, const char *what, bool allowed)
{
	if (!v && allowed)
		return true;
	*out = value_use(v, what, &c->call.error);
	return *out != NULL;
}

static bool take_all(struct mongo_call *c, struct argument filter, struct argument change, gd_value *options)
{
	return mongo_take(c, &c->filter, filter.value, filter.what, !filter.what) &&
	       mongo_take(c, &c->change, change.value, change.what, !change.what) &&
	       mongo_take(c, &c->options, options, "the options", true);
}

struct mongo_call *mongo_call_new(const char *function, const char *source, const char *collection, gd_value **failed)
{
	struct mongo_call *c = call_new(sizeof(*c), function, source, &mongo_driver, failed);

	if (c)
		c->target = (struct mongo_target){.client = c->call.client,
						  .options = &c->call.options,
						  .collection = text_of(c->call.scope, collection)};
	return c;
}

gd_value *mongo_call_start(struct mongo_call *c, gd_gather *g, const char *name, call_fn *run)
{
	return call_start(&c->call, g, name, run);
}

static gd_value *start(gd_gather *g, const char *function, const char *source, const char *collection, call_fn *run,
		       struct argument filter, struct argument change, gd_value *options)
{
	gd_value *failed;
	struct mongo_call *c = mongo_call_new(function, source, collection, &failed);

	if (!c)
		return failed;
	return mongo_call_start(c, g, function, take_all(c, filter, change, options) ? run : mongo_fail_call);
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
	struct mongo_call *c = mongo_call_new(__func__, source, collection, &failed);

	if (!c)
		return failed;
	c->field = text_of(c->call.scope, field);
	return mongo_call_start(c, g, __func__, take_all(c, FILTER, NOTHING, NULL) ? run_distinct : mongo_fail_call);
}

/* --- writing --- */

/* What a transaction has not committed is not changed for good. */
static int written(struct call *call, int r)
{
	call->changes = r >= 0 && !mongo_transaction_here(mongo_client_of(call->client));
	return r;
}

static int run_insert_one(struct call *call)
{
	struct mongo_call *c = call_of(call);
	return written(call, mongo_insert_one(&c->target, c->filter, &call->result, &call->error));
}

gd_value *gd_mongo_insert_one(gd_gather *g, const char *source, const char *collection, gd_value *document)
{
	return start(g, __func__, source, collection, run_insert_one, (struct argument){document, "the document"},
		     NOTHING, NULL);
}

static int run_insert_many(struct call *call)
{
	struct mongo_call *c = call_of(call);
	return written(call, mongo_insert_many(&c->target, c->filter, c->options, &call->result, &call->error));
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
	return written(call,
		       mongo_update(&c->target, kind, c->filter, c->change, c->options, &call->result, &call->error));
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
	return written(call, mongo_delete(&c->target, false, c->filter, &call->result, &call->error));
}

gd_value *gd_mongo_delete_one(gd_gather *g, const char *source, const char *collection, gd_value *filter)
{
	return start(g, __func__, source, collection, run_delete_one, FILTER, NOTHING, NULL);
}

static int run_delete_many(struct call *call)
{
	struct mongo_call *c = call_of(call);
	return written(call, mongo_delete(&c->target, true, c->filter, &call->result, &call->error));
}

gd_value *gd_mongo_delete_many(gd_gather *g, const char *source, const char *collection, gd_value *filter)
{
	return start(g, __func__, source, collection, run_delete_many, FILTER, NOTHING, NULL);
}

static int run_find_one_and(struct call *call, enum mongo_find_one_and kind)
{
	struct mongo_call *c = call_of(call);
	return written(call, mongo_find_one_and(&c->target, kind, c->filter, c->change, c->options, &call->result,
						&call->error));
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
	return written(call, mongo_bulk(&c->target, c->filter, c->options, &call->result, &call->error));
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
	struct call *call; /* holds the source's permit */
};

static struct mongo_stream *stream_of(struct gd_cursor *c)
{
	return container_of(c, struct mongo_stream, base);
}

static int next_document(struct gd_cursor *c, struct value *out, struct error *e)
{
	struct mongo_stream *s = stream_of(c);
	struct mongo_element document;
	int r = mongo_cursor_next(&s->cursor, &document, e);

	if (r > 0)
		*out = mongo_follow(&document, s->cursor.client->json, NULL, 0, &c->row);
	return r;
}

static void close_stream(struct gd_cursor *c)
{
	struct mongo_stream *s = stream_of(c);

	mongo_cursor_close(&s->cursor);
	call_release(s->call);
}

static const struct cursor_ops stream_ops = {.next = next_document, .close = close_stream};

gd_cursor *mongo_cursor_without_call(const gd_value *failed)
{
	return failed && failed->scope ? cursor_failed(failed->scope, failed->error) : NULL;
}

typedef int open_fn(struct mongo_cursor *c, const struct mongo_target *t, const struct value *filter,
		    const struct value *options, struct error *e);

static gd_cursor *open_stream(const char *function, const char *source, const char *collection, open_fn *open_cursor,
			      struct argument filter, gd_value *options)
{
	gd_value *failed;
	struct mongo_call *c = mongo_call_new(function, source, collection, &failed);

	if (!c)
		return mongo_cursor_without_call(failed);
	struct mongo_stream *s = arena_zalloc(c->call.scope->arena, sizeof(*s));
	struct error *e = &c->call.error;
	s->call = &c->call;
	if (!take_all(c, filter, NOTHING, options) || call_acquire(&c->call) < 0)
		return cursor_failed(c->call.scope, e);
	if (open_cursor(&s->cursor, &c->target, c->filter, c->options, e) < 0) {
		call_release(&c->call);
		return cursor_failed(c->call.scope, e);
	}
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
