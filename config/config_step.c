/* gather: steps, each with a source and one action. */
#include <string.h>

#include "config/language.h"

/* Actions of sources that this build has not. */
static const struct {
	const char *name, *kind;
} foreign_actions[] = {
	{"get", "http"},    {"post", "http"},    {"put", "http"},     {"patch", "http"},
	{"delete", "http"}, {"head", "http"},    {"read", "files"},   {"stat", "files"},
	{"list", "files"},  {"append", "files"}, {"remove", "files"}, {"send", "files"},
};

static const struct section *section_of_step(enum source_kind kind)
{
	return kind == SOURCE_POSTGRES ? &section_postgres_step : &section_mongodb_step;
}

static const char *actions_of(struct decoder *dc, enum source_kind kind)
{
	struct buf names = BUF_INIT;
	for (size_t i = 0; i < action_count; i++) {
		if (action_rows[i].kind == kind)
			buf_printf(&names, "%s%s", names.len ? ", " : "", action_rows[i].name);
	}
	const char *kept = arena_strndup(&dc->diagnostics->arena, names.data, names.len);
	buf_done(&names);
	return kept;
}

/* The kind of sources that have an action of that name, or NULL. */
static const char *kind_of_action(const char *name)
{
	for (size_t i = 0; i < action_count; i++) {
		if (strcmp(action_rows[i].name, name) == 0)
			return source_kind_names[action_rows[i].kind];
	}
	for (size_t i = 0; i < ARRAY_SIZE(foreign_actions); i++) {
		if (strcmp(foreign_actions[i].name, name) == 0)
			return foreign_actions[i].kind;
	}
	return NULL;
}

/* An action of another kind of source. */
bool step_stranger(struct decoder *dc, const struct node *key, void *object)
{
	const struct config_step *s = object;
	const char *kind = kind_of_action(key->text);

	if (!kind)
		return false;
	decode_error(dc, key->at, "%s is an action of %s sources; \"%s\" is a %s source, whose actions are: %s",
		     key->text, kind, s->source->name, source_kind_names[s->source->kind],
		     actions_of(dc, s->source->kind));
	return true;
}

void decode_sql(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	(void)object;
	if (node_member(n, "file"))
		decode_error(dc, n->at, "sql: { file: … }: not supported by this build");
	else
		decode_is_text(dc, k->name, n);
}

void decode_on_error(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	static const char *const words[] = {"fail", "null", "omit", NULL};
	static const enum on_error meaning[] = {ON_ERROR_FAIL, ON_ERROR_NULL, ON_ERROR_OMIT};
	struct config_step *s = object;
	int word = node_is_scalar(n) ? decode_word(n->text, words) : -1;

	if (n->kind == NODE_MAPPING) {
		decode_section(dc, &section_on_error, k->name, n, s);
		s->on_error = ON_ERROR_DEFAULT;
	} else if (word >= 0) {
		s->on_error = meaning[word];
	} else if (node_is_scalar(n) && strcmp(n->text, "stale") == 0) {
		decode_error(dc, n->at, "on_error: stale: not supported by this build");
	} else {
		decode_unexpected(dc, k->name, n, "fail, null, omit or { default: X }");
	}
}

/* --- the action ------------------------------------------------------------------------------------------------ */

/* The one action among the step's keys; NULL where there is none, or more than one (reported). */
static const struct action_row *find_action(struct decoder *dc, const struct node *mapping, struct config_step *s)
{
	const struct action_row *found = NULL;

	for (size_t i = 0; i < mapping->count; i++) {
		const struct node *key = mapping->members[i].key;
		const struct action_row *row = NULL;
		for (size_t j = 0; j < action_count; j++) {
			if (strcmp(action_rows[j].name, key->text) == 0)
				row = &action_rows[j];
		}
		if (!row || row->kind != s->source->kind)
			continue;
		if (found) {
			decode_error(dc, key->at, "step \"%s\" has two actions: %s and %s", s->name, found->name,
				     row->name);
			return NULL;
		}
		found = row;
		s->action = (enum action_kind)(row - action_rows);
		s->action_value = mapping->members[i].value;
	}
	return found;
}

/* Keys that belong to other actions of the same kind. */
static void check_action_keys(struct decoder *dc, const struct node *mapping, const struct action_row *row)
{
	for (size_t i = 0; i < mapping->count; i++) {
		const struct node *key = mapping->members[i].key;
		const char *padded = arena_printf(&dc->diagnostics->arena, " %s ", key->text);
		bool of_kind = false;
		for (size_t j = 0; j < action_count; j++)
			of_kind = of_kind || (action_rows[j].kind == row->kind && strstr(action_rows[j].keys, padded));
		if (of_kind && !strstr(row->keys, padded))
			decode_error(dc, key->at, "%s has no \"%s\"", row->name, key->text);
	}
}

static void check_collection(struct decoder *dc, const struct action_row *row, const struct node *n)
{
	if (n->kind == NODE_STRING && n->len == 0)
		decode_unexpected(dc, row->name, n, "the name of a collection");
}

static void check_amount(struct decoder *dc, const char *name, const struct node *n, int64_t least)
{
	if (n && n->kind == NODE_INT && n->integer < least)
		decode_error(dc, n->at, "%s: expected %s, found %s", name, least ? "1 or more" : "0 or more", n->text);
}

static const char *const expect_names[] = {
	[EXPECT_MANY] = "many",   [EXPECT_ONE] = "one",   [EXPECT_MAYBE] = "maybe",
	[EXPECT_VALUE] = "value", [EXPECT_NONE] = "none",
};

static void check_expect(struct decoder *dc, const struct node *mapping, const struct action_row *row,
			 struct config_step *s)
{
	const struct node *n = node_member(mapping, "expect");
	struct buf allowed = BUF_INIT;

	if (s->expect == EXPECT_DEFAULT) {
		s->expect = row->expect;
		return;
	}
	if (row->expect_allowed & BIT(s->expect))
		return;
	for (unsigned e = EXPECT_MANY; e <= EXPECT_NONE; e++) {
		if (row->expect_allowed & BIT(e))
			buf_printf(&allowed, "%s%s", allowed.len ? ", " : "", expect_names[e]);
	}
	decode_error(dc, n ? n->at : mapping->at, "expect: %s has no \"%s\": expected %s", row->name,
		     expect_names[s->expect], buf_cstr(&allowed));
	buf_done(&allowed);
}

/* Was something reported already that stands where the action should? */
static bool action_was_refused(const struct node *mapping, const struct config_step *s)
{
	const struct section *section = section_of_step(s->source->kind);
	for (size_t i = 0; i < mapping->count; i++) {
		const char *name = mapping->members[i].key->text;
		const struct key *k = section_find(section, name);
		if (kind_of_action(name) || (k && k->type == KEY_LATER))
			return true;
	}
	return false;
}

void check_step(struct decoder *dc, const struct node *mapping, void *object)
{
	struct config_step *s = object;
	const struct action_row *row = find_action(dc, mapping, s);

	check_amount(dc, "limit", s->limit, 1);
	check_amount(dc, "skip", s->skip, 0);
	if (!row) {
		if (!action_was_refused(mapping, s))
			decode_error(dc, mapping->at, "step \"%s\" has no action: expected %s", s->name,
				     actions_of(dc, s->source->kind));
		return;
	}
	check_action_keys(dc, mapping, row);
	if (row->kind == SOURCE_MONGODB)
		check_collection(dc, row, s->action_value);
	if (row->required && !node_member(mapping, row->required))
		decode_error(dc, mapping->at, "%s: \"%s\" is missing", row->name, row->required);
	check_expect(dc, mapping, row, s);
}

/* --- gather ---------------------------------------------------------------------------------------------------- */

/* The source that `from` names; NULL where there is none that could be decoded (reported). */
static const struct config_source *find_source(struct decoder *dc, const struct node *name, const struct node *step)
{
	const struct node *from = node_member(step, "from");

	if (!from) {
		decode_error(dc, step->at, "step \"%s\": \"from\" is missing: the name of a source", name->text);
		return NULL;
	}
	if (!decode_is_text(dc, "from", from))
		return NULL;
	for (size_t i = 0; i < dc->config->source_count; i++) {
		if (strcmp(dc->config->sources[i].name, from->text) == 0)
			return &dc->config->sources[i];
	}
	for (size_t i = 0; i < dc->source_name_count; i++) {
		if (strcmp(dc->source_names[i], from->text) == 0)
			return NULL;
	}
	decode_unknown(dc, from->at, "source", from->expanded ? "from the environment" : from->text, dc->source_names,
		       dc->source_name_count);
	return NULL;
}

static void check_step_name(struct decoder *dc, const struct node *name)
{
	if (!is_name(name->text))
		decode_error(dc, name->at, "step \"%.100s\": " NAME_RULE, name->text);
	else if (is_reserved_name(name->text))
		decode_error(dc, name->at, "step \"%s\": the name is taken: {%s} is of the request", name->text,
			     name->text);
}

void decode_gather(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	struct config_endpoint *e = object;

	if (!decode_is_mapping(dc, k->name, n))
		return;
	if (n->count == 0)
		decode_unexpected(dc, k->name, n, "at least one step");
	e->steps = arena_array(dc->arena, n->count, sizeof(*e->steps));
	for (size_t i = 0; i < n->count; i++) {
		const struct node *name = n->members[i].key, *value = n->members[i].value;
		check_step_name(dc, name);
		if (!decode_is_mapping(dc, name->text, value))
			continue;
		const struct config_source *source = find_source(dc, name, value);
		if (!source)
			continue;
		struct config_step *s = &e->steps[e->step_count++];
		*s = (struct config_step){.name = name->text, .at = name->at, .source = source};
		decode_section(dc, section_of_step(source->kind), name->text, value, s);
	}
}
