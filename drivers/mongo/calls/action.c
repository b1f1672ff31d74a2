/* From a step to a command: `find`, `aggregate`, `count`, `distinct` of MongoDB's own language. The commands are
 * written out here, rather than by libmongoc's helpers, because then a command is one piece of memory, and its answer
 * another, that the result can keep as it came. */
#include "drivers/mongo/calls/action.h"

#include <errno.h>
#include <string.h>

#include "drivers/mongo/calls/change.h"

/* --- compiling --- */

/* Counts the slots that the plan gives to this action's references. */
struct counting_sink {
	struct reference_sink sink;
	struct reference_sink *plan;
	unsigned slots;
};

static int count_slot(struct reference_sink *sink, const struct reference *ref)
{
	struct counting_sink *c = container_of(sink, struct counting_sink, sink);
	int slot = c->plan->add(c->plan, ref);

	if (slot >= 0 && (unsigned)slot >= c->slots)
		c->slots = (unsigned)slot + 1;
	return slot;
}

static bool compile_document(struct mongo_template *out, bool *has, const struct node *n, enum mongo_template_use use,
			     struct action_env *env)
{
	*has = n && n->kind != NODE_NULL;
	return !*has || mongo_template_compile(out, n, use, env);
}

static bool compile_parts(struct mongo_action *a, const struct config_step *step, struct action_env *env)
{
	const struct mongo_step_keys *own = step->own;
	bool good = true;

	a->collection = mongo_name_compile(step->action_value, "the name of a collection", env);
	good &= a->collection != NULL;
	if (a->kind == ACTION_DISTINCT) {
		a->key = mongo_name_compile(own->key, "the name of a field", env);
		good &= a->key != NULL;
	}
	good &= compile_document(&a->filter, &a->has_filter, own->filter, TEMPLATE_FILTER, env);
	good &= compile_document(&a->projection, &a->has_projection, own->projection, TEMPLATE_EXPRESSION, env);
	good &= compile_document(&a->sort, &a->has_sort, own->sort, TEMPLATE_EXPRESSION, env);
	good &= mongo_number_compile(&a->limit, own->limit, "limit", env);
	good &= mongo_number_compile(&a->skip, own->skip, "skip", env);
	if (a->kind == ACTION_AGGREGATE)
		good &= own->pipeline && mongo_template_compile(&a->pipeline, own->pipeline, TEMPLATE_PIPELINE, env);
	if (a->pipeline.writes)
		env->effect = ACTION_WRITES;
	if (a->kind >= ACTION_INSERT_ONE)
		good &= mongo_change_compile(a, step, env);
	return good;
}

static enum expect default_expect(enum mongo_action_kind kind)
{
	switch (kind) {
	case ACTION_FIND_ONE:
		return EXPECT_MAYBE;
	case ACTION_COUNT:
		return EXPECT_VALUE;
	default:
		return EXPECT_MANY;
	}
}

struct mongo_action *mongo_action_compile(const struct config_step *step, struct action_env *env)
{
	struct mongo_action *a = arena_zalloc(env->arena, sizeof(*a));
	struct counting_sink counting = {.sink.add = count_slot, .plan = env->references};
	struct action_env own = *env;

	own.references = &counting.sink;
	a->kind = step->action;
	a->expect = step->expect == EXPECT_DEFAULT ? default_expect(a->kind) : step->expect;
	if (!compile_parts(a, step, &own))
		return NULL;
	env->effect = own.effect;
	a->slots = counting.slots;
	return a;
}

/* --- making --- */

struct making {
	const struct mongo_action *action;
	const struct value *args;
	struct arena *scratch;
	struct mongo_out out;
	int64_t limit, skip; /* -1: none */
	struct error *error;
};

#define KEY(s) s, sizeof(s) - 1

static int put_template(struct making *m, uint8_t type, const char *key, const struct mongo_template *t)
{
	mongo_out_key(&m->out, type, key, strlen(key));
	return mongo_template_fill(t, m->args, m->scratch, m->out.bytes, m->error);
}

/* The filter, or {}. */
static int put_filter(struct making *m, const char *key)
{
	static const struct mongo_template all = {0};

	return put_template(m, BSON_TYPE_DOCUMENT, key, m->action->has_filter ? &m->action->filter : &all);
}

static void begin(struct making *m, const char *name)
{
	const char *collection = m->action->collection;

	mongo_out_document(&m->out);
	mongo_out_text(&m->out, name, strlen(name), collection, strlen(collection));
}

static int make_find(struct making *m)
{
	const struct mongo_action *a = m->action;
	bool single = a->expect == EXPECT_ONE || a->expect == EXPECT_MAYBE;
	/* Of several documents where one is expected, two tell as much as all. */
	int64_t most = a->kind == ACTION_FIND_ONE ? 1 : single ? 2 : INT64_MAX;
	int64_t limit = m->limit >= 0 && m->limit < most ? m->limit : most;

	begin(m, "find");
	int r = put_filter(m, "filter");
	if (r == 0 && a->has_projection)
		r = put_template(m, BSON_TYPE_DOCUMENT, "projection", &a->projection);
	if (r == 0 && a->has_sort)
		r = put_template(m, BSON_TYPE_DOCUMENT, "sort", &a->sort);
	if (m->skip > 0)
		mongo_out_int(&m->out, KEY("skip"), m->skip);
	if (limit != INT64_MAX)
		mongo_out_int(&m->out, KEY("limit"), limit);
	if (single)
		mongo_out_bool(&m->out, KEY("singleBatch"), true);
	return r;
}

static int make_aggregate(struct making *m)
{
	begin(m, "aggregate");
	int r = put_template(m, BSON_TYPE_ARRAY, "pipeline", &m->action->pipeline);
	mongo_out_begin(&m->out, BSON_TYPE_DOCUMENT, KEY("cursor"));
	mongo_out_end(&m->out);
	return r;
}

/* Counting documents one by one is exact; the collection's own count is asked for where it is all that is wanted. */
static int make_count(struct making *m)
{
	if (!m->action->has_filter && m->limit < 0 && m->skip <= 0) {
		begin(m, "count");
		return 0;
	}
	begin(m, "aggregate");
	mongo_out_begin(&m->out, BSON_TYPE_ARRAY, KEY("pipeline"));
	mongo_out_begin(&m->out, BSON_TYPE_DOCUMENT, KEY("0"));
	int r = put_filter(m, "$match");
	if (r < 0)
		return r;
	mongo_out_end(&m->out);
	mongo_count_stages(&m->out, m->skip, m->limit);
	return 0;
}

static int make_distinct(struct making *m)
{
	const char *key = m->action->key;

	begin(m, "distinct");
	mongo_out_text(&m->out, KEY("key"), key, strlen(key));
	return put_filter(m, "query");
}

static int make(struct making *m)
{
	switch (m->action->kind) {
	case ACTION_FIND:
	case ACTION_FIND_ONE:
		return make_find(m);
	case ACTION_AGGREGATE:
		return make_aggregate(m);
	case ACTION_COUNT:
		return make_count(m);
	default:
		return make_distinct(m);
	}
}

int mongo_action_make(struct mongo_command *out, const struct mongo_action *a, const struct value *args,
		      struct arena *scratch, struct error *e)
{
	struct making m = {.action = a, .args = args, .scratch = scratch, .error = e};

	*out = (struct mongo_command){0};
	for (unsigned i = 0; i < a->slots; i++)
		out->from_request |= args[i].from_request;
	int r = mongo_number_fill(&a->limit, args, &m.limit, e);
	if (r == 0)
		r = mongo_number_fill(&a->skip, args, &m.skip, e);
	if (r < 0)
		return r;
	out->nothing = m.limit == 0;
	mongo_out_init(&m.out, &out->bytes);
	r = make(&m);
	if (r < 0)
		return r;
	mongo_out_int32(&m.out, KEY("maxTimeMS"), INT32_MAX);
	out->max_time_at = out->bytes.len - sizeof(int32_t);
	mongo_out_end(&m.out);
	return 0;
}
