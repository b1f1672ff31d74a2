/* The action of a step: which of its keys it is, which others belong to it, and what its value must be. */
#include <string.h>

#include "config/language.h"
#include "config/scalar.h"

/* true or false, also of a variable in quotes. */
static bool is_flag(const struct node *n)
{
	return n->kind == NODE_BOOL ||
	       (n->kind == NODE_STRING && n->variable && scalar_kind(n->text, n->len) == NODE_BOOL);
}

static const char *actions_of(struct decoder *dc, const struct source_kind *kind)
{
	struct buf names = BUF_INIT;
	for (size_t i = 0; i < kind->action_count; i++)
		buf_printf(&names, "%s%s", names.len ? ", " : "", kind->actions[i].name);
	const char *kept = arena_strndup(&dc->diagnostics->arena, names.data, names.len);
	buf_done(&names);
	return kept;
}

/* The action of that name, or NULL. */
static const struct action_row *find_row(const struct source_kind *kind, const char *name)
{
	for (size_t i = 0; i < kind->action_count; i++) {
		if (strcmp(kind->actions[i].name, name) == 0)
			return &kind->actions[i];
	}
	return NULL;
}

/* The action of that name of any kind of sources, *kind, or NULL. */
static const struct action_row *find_row_of_any(const struct language *l, const char *name,
						const struct source_kind **kind)
{
	const struct action_row *row = NULL;
	for (size_t i = 0; i < l->kind_count && !row; i++) {
		*kind = l->kinds[i];
		row = find_row(l->kinds[i], name);
	}
	return row;
}

/* An action of another kind of source. */
bool step_stranger(struct decoder *dc, const struct node *key, void *object)
{
	const struct config_step *s = object;
	const struct source_kind *kind, *own = s->source->kind;
	const struct action_row *row = find_row_of_any(dc->language, key->text, &kind);

	if (!row || row->also_flag) /* as a flag, it is a key of other steps too */
		return false;
	decode_error(dc, key->at, "%s is an action of %s sources; \"%s\" is %s %s source, whose actions are: %s",
		     key->text, kind->name, s->source->name, own->article, own->name, actions_of(dc, own));
	return true;
}

/* The action that a member of the step is, or NULL. `write: true` is none. */
static const struct action_row *action_of(const struct node_member *m, const struct source_kind *kind)
{
	const struct action_row *row = find_row(kind, m->key->text);
	return row && row->also_flag && is_flag(m->value) ? NULL : row;
}

/* The one action among the step's keys; NULL if there is none, or more than one (reported). */
static const struct action_row *find_action(struct decoder *dc, const struct node *mapping, struct config_step *s)
{
	const struct action_row *found = NULL;

	for (size_t i = 0; i < mapping->count; i++) {
		const struct action_row *row = action_of(&mapping->members[i], s->source->kind);
		if (!row)
			continue;
		if (found) {
			decode_error(dc, mapping->members[i].key->at, "step \"%s\" has two actions: %s and %s", s->name,
				     found->name, row->name);
			return NULL;
		}
		found = row;
		s->action = (unsigned)(row - s->source->kind->actions);
		if (!s->action_value) /* sql of a file has it */
			s->action_value = node_quoted(mapping->members[i].value, dc->arena);
	}
	return found;
}

/* Keys that belong to other actions of the same kind. */
static void check_action_keys(struct decoder *dc, const struct node *mapping, const struct source_kind *kind,
			      const struct action_row *row)
{
	for (size_t i = 0; i < mapping->count; i++) {
		const struct node *key = mapping->members[i].key;
		const char *padded = arena_printf(&dc->diagnostics->arena, " %s ", key->text);
		bool of_kind = false;
		for (size_t j = 0; j < kind->action_count; j++)
			of_kind = of_kind || strstr(kind->actions[j].keys, padded);
		if (of_kind && !strstr(row->keys, padded))
			decode_error(dc, key->at, "%s has no \"%s\"", row->name, key->text);
	}
}

static void check_writing(struct decoder *dc, const struct node *mapping, const struct action_row *row,
			  struct config_step *s)
{
	const struct node *said = node_member(mapping, "write");
	enum http_method method = dc->endpoint->method;

	if (method == METHOD_GET)
		decode_report(dc, mapping, row->name, "a GET endpoint only reads");
	if (said && (said = node_unquoted(said, dc->arena))->kind == NODE_BOOL && !said->boolean)
		decode_report(dc, mapping, "write",
			      arena_printf(&dc->diagnostics->arena, "false: %s writes", row->name));
	s->write = true;
}

static const char *const expect_names[] = {
	[EXPECT_MANY] = "many", [EXPECT_ONE] = "one",   [EXPECT_MAYBE] = "maybe",       [EXPECT_VALUE] = "value",
	[EXPECT_NONE] = "none", [EXPECT_JSON] = "json", [EXPECT_RESPONSE] = "response",
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
	for (unsigned e = EXPECT_MANY; e < ARRAY_SIZE(expect_names); e++) {
		if (row->expect_allowed & BIT(e))
			buf_printf(&allowed, "%s%s", allowed.len ? ", " : "", expect_names[e]);
	}
	decode_error(dc, n ? n->at : mapping->at, "expect: %s has no \"%s\": expected %s", row->name,
		     expect_names[s->expect], buf_cstr(&allowed));
	buf_done(&allowed);
}

/* Was something reported already that stands where the action should? */
static bool action_was_refused(struct decoder *dc, const struct node *mapping, const struct config_step *s)
{
	for (size_t i = 0; i < mapping->count; i++) {
		const struct node_member *m = &mapping->members[i];
		const struct source_kind *kind;
		const struct action_row *row = find_row_of_any(dc->language, m->key->text, &kind);
		const struct key *k = section_find(s->source->kind->step, m->key->text);
		if ((row && !(row->also_flag && is_flag(m->value))) || (k && k->type == KEY_LATER))
			return true;
	}
	return false;
}

static void check_action(struct decoder *dc, const struct node *mapping, struct config_step *s,
			 const struct action_row *row)
{
	check_action_keys(dc, mapping, s->source->kind, row);
	if (row->writes)
		check_writing(dc, mapping, row, s);
	if (row->required && !node_member(mapping, row->required))
		decode_error(dc, mapping->at, "%s: \"%s\" is missing", row->name, row->required);
	check_expect(dc, mapping, row, s);
	s->is_reply = row->is_reply;
	s->no_rows = row->no_rows;
}

void check_step(struct decoder *dc, const struct node *mapping, void *object)
{
	struct config_step *s = object;
	const struct source_kind *kind = s->source->kind;
	const struct action_row *row = find_action(dc, mapping, s);

	if (row)
		check_action(dc, mapping, s, row);
	else if (!action_was_refused(dc, mapping, s))
		decode_error(dc, mapping->at, "step \"%s\" has no action: expected %s", s->name, actions_of(dc, kind));
	if (kind->check_step)
		kind->check_step(dc, mapping, s, row);
	if (row)
		check_step_policies(dc, mapping, s);
}
