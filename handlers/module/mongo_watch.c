/* Change streams of MongoDB for handlers. */
#include "drivers/mongo/bson/follow.h"
#include "drivers/mongo/calls/watch.h"
#include "handlers/module/mongo.h"

struct watching {
	struct gd_cursor base;
	struct mongo_watch watch;
};

static int next_change(struct gd_cursor *c, struct value *out, struct error *e)
{
	struct watching *w = container_of(c, struct watching, base);
	struct mongo_element change;
	int r = mongo_watch_next(&w->watch, &change, e);

	if (r > 0)
		*out = mongo_follow(&change, w->watch.client->json, NULL, 0, &c->row);
	return r;
}

static void close_watch(struct gd_cursor *c)
{
	mongo_watch_close(&container_of(c, struct watching, base)->watch);
}

static const struct cursor_ops watch_ops = {.next = next_change, .close = close_watch, .resumes = true};

gd_cursor *gd_mongo_watch(const char *source, const char *collection, gd_value *pipeline, gd_value *options)
{
	gd_value *failed;
	struct mongo_call *c = mongo_call_new(__func__, source, collection, &failed);

	if (!c)
		return mongo_cursor_without_call(failed);
	struct watching *w = arena_zalloc(c->call.scope->arena, sizeof(*w));
	struct error *e = &c->call.error;
	bool taken = mongo_take(c, &c->filter, pipeline, "the pipeline", true) &&
		     mongo_take(c, &c->options, options, "the options", true);
	if (!taken || mongo_watch(&w->watch, &c->target, c->filter, c->options, e) < 0)
		return cursor_failed(c->call.scope, e);
	cursor_open(&w->base, c->call.scope, &watch_ops);
	return &w->base;
}
