/* From a step of the configuration to a statement; and what type a declared parameter has in PostgreSQL. */
#include "drivers/postgres/statements/action.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "drivers/postgres/keys.h"
#include "drivers/postgres/statements/sql.h"
#include "drivers/postgres/types/types.h"

static Oid scalar_oid(const struct config_schema *s)
{
	switch (s->type) {
	case TYPE_STRING:
		switch (s->format) {
		case FORMAT_DATE:
			return PG_OID_DATE;
		case FORMAT_DATE_TIME:
			return PG_OID_TIMESTAMPTZ;
		case FORMAT_UUID:
			return PG_OID_UUID;
		default:
			return PG_OID_TEXT;
		}
	case TYPE_INTEGER:
		return PG_OID_INT8;
	case TYPE_NUMBER:
		return PG_OID_NUMERIC;
	case TYPE_BOOLEAN:
		return PG_OID_BOOL;
	case TYPE_OBJECT:
		return PG_OID_JSONB;
	default:
		return 0;
	}
}

static const struct {
	Oid element, array;
} arrays[] = {
	{PG_OID_DATE, PG_OID_DATE_ARRAY}, {PG_OID_TIMESTAMPTZ, PG_OID_TIMESTAMPTZ_ARRAY},
	{PG_OID_UUID, PG_OID_UUID_ARRAY}, {PG_OID_TEXT, PG_OID_TEXT_ARRAY},
	{PG_OID_INT8, PG_OID_INT8_ARRAY}, {PG_OID_NUMERIC, PG_OID_NUMERIC_ARRAY},
	{PG_OID_BOOL, PG_OID_BOOL_ARRAY}, {PG_OID_JSONB, PG_OID_JSONB_ARRAY},
};

static Oid schema_oid(const struct config_schema *s)
{
	if (s->type != TYPE_ARRAY)
		return scalar_oid(s);
	Oid element = s->items ? scalar_oid(s->items) : 0;
	for (size_t i = 0; i < ARRAY_SIZE(arrays); i++) {
		if (arrays[i].element == element)
			return arrays[i].array;
	}
	return PG_OID_TEXT_ARRAY;
}

static const struct config_parameter *find(const struct config_parameter *list, size_t count, const char *name,
					   size_t len)
{
	for (size_t i = 0; i < count; i++) {
		if (strlen(list[i].name) == len && memcmp(list[i].name, name, len) == 0)
			return &list[i];
	}
	return NULL;
}

/* What says of which type a value is: the schema, or the one that it refers to. */
static const struct config_schema *typed(const struct config_schema *s)
{
	while (s && s->type == TYPE_ANY && !s->types && s->ref)
		s = s->ref;
	return s;
}

/* `{name}` of a parameter, `{body.a.b}` of a declared body; NULL: nothing is declared of it. */
static const struct config_schema *schema_of(const struct config_endpoint *e, const struct reference *ref)
{
	const struct config_schema *s = NULL;
	const struct path_segment *segments = ref->path.segments;
	size_t i = 0;

	if (!e || ref->sent)
		return NULL;
	const struct config_parameter *p = find(e->parameters, e->parameter_count, ref->root, strlen(ref->root));
	if (p)
		s = &p->schema;
	else if (strcmp(ref->root, "body") == 0)
		s = e->body;
	s = typed(s);
	for (; s && i < ref->path.count && segments[i].kind == PATH_MEMBER; i++) {
		p = find(s->properties, s->property_count, segments[i].name, segments[i].name_len);
		s = p ? typed(&p->schema) : NULL;
	}
	return i == ref->path.count ? s : NULL;
}

/* {request.if_match}: a list of texts, or null. */
static bool is_tags(const struct reference *ref)
{
	const struct path_segment *s = ref->path.segments;

	return strcmp(ref->root, "request") == 0 && ref->path.count == 1 && s->kind == PATH_MEMBER &&
	       s->name_len == strlen("if_match") && memcmp(s->name, "if_match", s->name_len) == 0;
}

static Oid declared_oid(const struct config_schema *s, const struct reference *ref)
{
	if (s)
		return schema_oid(s);
	if (ref->sent)
		return PG_OID_BOOL;
	if (is_tags(ref))
		return PG_OID_TEXT_ARRAY;
	return strcmp(ref->root, "request") == 0 || strcmp(ref->root, "headers") == 0 ? PG_OID_TEXT : 0;
}

/* The server counts what these change or bring. */
static int check_affected(const struct pg_action *a, const struct config_step *step, struct action_env *env)
{
	static const char *const counted[] = {"insert", "update", "delete", "merge", "with", "select", "values"};
	const char *why = NULL;

	if (!step->affected.given)
		return 0;
	if (env->effect == ACTION_READS)
		why = "the statement changes nothing";
	else
		why = arena_printf(env->arena, "the server does not count what `%s` changes", a->sql.keyword);
	for (size_t i = 0; i < ARRAY_SIZE(counted) && env->effect != ACTION_READS; i++) {
		if (strcmp(counted[i], a->sql.keyword) == 0)
			return 0;
	}
	diagnostics_error(env->diagnostics, step->affected.at, "affected: %s", why);
	return -EINVAL;
}

/* Of what the server is asked for: its effect is in the text. */
static uint64_t hash_of(const struct pg_action *a)
{
	uint64_t h = hash_bytes(HASH_INIT, a->sql.text, strlen(a->sql.text));

	h = hash_bytes(h, a->declared, a->sql.parameter_count * sizeof(*a->declared));
	return hash_bytes(h, &a->read_only, sizeof(a->read_only));
}

/* step: whose statement it is; name: for messages. */
static struct pg_action *statement_new(const struct config_step *step, const char *name, struct action_env *env)
{
	struct pg_action *a = arena_zalloc(env->arena, sizeof(*a));

	if (!pg_sql_parse(&a->sql, step->action_value, env))
		return NULL;
	a->step = name;
	a->expect = step->expect == EXPECT_DEFAULT ? EXPECT_MANY : step->expect;
	a->read_only = env->read_only;
	env->effect = env->read_only ? ACTION_READS : a->sql.effect;
	a->writes = env->effect != ACTION_READS;
	if (check_affected(a, step, env) < 0 || affected_compile(&a->affected, step, env) < 0)
		return NULL;
	size_t room = a->sql.parameter_count + 1;
	const struct config_schema **schemas = arena_array(env->arena, room, sizeof(*schemas));
	Oid *declared = arena_array(env->arena, room, sizeof(*declared));
	for (unsigned i = 0; i < a->sql.parameter_count; i++) {
		schemas[i] = schema_of(env->endpoint, &a->sql.references[i]);
		declared[i] = declared_oid(schemas[i], &a->sql.references[i]);
	}
	a->schemas = schemas;
	a->declared = declared;
	a->hash = hash_of(a);
	return a;
}

/* --- transactions --- */

/* The version that a step brings, or one before it has brought, and the versions that the request wants. */
static bool match_new(struct pg_inner *out, const struct config_step *step, struct inner_sink *s,
		      struct action_env *env)
{
	static const char tags[] = "{request.if_match}";
	struct reference ref;
	const char *why;

	if (step->each) {
		diagnostics_error(env->diagnostics, step->match->at, "match: not beside \"each\"");
		return false;
	}
	s->has_own = true;
	out->match = inner_reference(s, step->match, "match", env);
	s->has_own = false;
	s->needs &= ~(UINT32_C(1) << s->at);
	reference_parse(&ref, env->arena, tags, strlen(tags), step->match->at, &why);
	out->tags = env->references->add(env->references, &ref);
	return out->match >= 0 && out->tags >= 0;
}

/* Its references go through s, and become slots of it. */
static bool inner_new(struct pg_inner *out, const struct config_step *step, const char *around, struct inner_sink *s,
		      struct action_env *env)
{
	struct action_env own = *env;
	bool single = step->name == around;
	bool good = true;

	*out = (struct pg_inner){.name = step->name,
				 .when = -1,
				 .each = -1,
				 .match = -1,
				 .tags = -1,
				 .on_error = single ? ON_ERROR_FAIL : step->on_error};
	own.references = &s->base;
	own.effect = ACTION_READS;
	if (step->when && !single)
		good = (out->when = inner_reference(s, step->when, "when", &own)) >= 0;
	if (step->each) {
		out->each = inner_reference(s, step->each, "each", &own);
		out->each_text = step->each->text;
		good = good && out->each >= 0;
		s->has_item = true;
	}
	if (step->match)
		good = match_new(out, step, s, &own) && good;
	if (step->on_error == ON_ERROR_DEFAULT && !single)
		good = env->references->constant(env->references, step->default_node, &out->substitute) == 0 && good;
	const char *name = single ? around : arena_printf(env->arena, "%s.%s", around, step->name);
	out->action = statement_new(step, name, &own);
	if (own.effect > env->effect)
		env->effect = own.effect;
	out->slots = inner_slots(s, env->arena);
	out->slot_count = s->slot_count;
	out->needs = s->needs;
	return good && out->action;
}

static bool all_new(struct pg_inner *inner, const struct config_step *steps, size_t count, const char *around,
		    struct action_env *env)
{
	struct inner_sink *s = mem_alloc(sizeof(*s));
	bool good = true;

	for (size_t i = 0; i < count; i++) {
		inner_sink_init(s, steps, steps[i].name == around ? 0 : count, i, env);
		good = inner_new(&inner[i], &steps[i], around, s, env) && good;
	}
	free(s);
	return good;
}

static struct pg_action *transaction_new(const struct config_step *step, struct action_env *env)
{
	static const enum pg_isolation isolations[] = {
		[PG_DECLARED_COMMITTED] = PG_READ_COMMITTED,
		[PG_DECLARED_REPEATABLE] = PG_REPEATABLE_READ,
		[PG_DECLARED_SERIALIZABLE] = PG_SERIALIZABLE,
	};
	const struct pg_step_keys *own = step->own;
	struct pg_action *a = arena_zalloc(env->arena, sizeof(*a));
	struct pg_plan *steps = arena_zalloc(env->arena, sizeof(*steps));
	struct action_env inside = *env;

	steps->single = step->each;
	steps->count = steps->single ? 1 : (unsigned)step->inner_count;
	inside.read_only = env->read_only || own->read_only;
	inside.effect = ACTION_READS;
	if (steps->single)
		steps->isolation = PG_SESSION_ISOLATION;
	else if (own->isolation == PG_DECLARED_NONE)
		steps->isolation = inside.read_only ? PG_REPEATABLE_READ : PG_READ_COMMITTED;
	else
		steps->isolation = isolations[own->isolation];
	bool strict = steps->isolation == PG_REPEATABLE_READ || steps->isolation == PG_SERIALIZABLE;
	steps->attempts = own->retry.attempts ? own->retry.attempts : strict ? 3 : 1;
	steps->backoff_us = own->retry.backoff_us;
	struct pg_inner *inner = arena_array(env->arena, steps->count, sizeof(*inner));
	steps->inner = inner;
	if (!all_new(inner, steps->single ? step : step->inner, steps->count, step->name, &inside))
		return NULL;
	if (steps->single && inside.effect == ACTION_READS) {
		diagnostics_error(env->diagnostics, step->each->at,
				  "each: the statement changes nothing: to read, give the list to one statement, as in "
				  "`= any({list})`");
		return NULL;
	}
	*a = (struct pg_action){.step = step->name, .steps = steps, .read_only = inside.read_only};
	env->effect = inside.effect;
	a->writes = env->effect != ACTION_READS;
	return a;
}

struct pg_action *pg_action_new(const struct config_step *step, struct action_env *env)
{
	bool transaction = step->action == PG_STEP_TRANSACTION || step->each;

	return transaction ? transaction_new(step, env) : statement_new(step, step->name, env);
}
