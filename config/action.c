/* The action of a step: which of its keys it is, which others belong to it, and what its value must be. */
#include <string.h>

#include "config/language.h"
#include "config/reference.h"
#include "config/scalar.h"

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
	return NULL;
}

/* An action of another kind of source. */
bool step_stranger(struct decoder *dc, const struct node *key, void *object)
{
	const struct config_step *s = object;
	const char *kind = kind_of_action(key->text);

	if (!kind || strcmp(key->text, "write") == 0) /* a key of postgres steps too */
		return false;
	const char *own = source_kind_names[s->source->kind];
	decode_error(dc, key->at, "%s is an action of %s sources; \"%s\" is %s %s source, whose actions are: %s",
		     key->text, kind, s->source->name, strchr("aeh", *own) ? "an" : "a", own,
		     actions_of(dc, s->source->kind));
	return true;
}

/* true or false, also of a variable in quotes. */
static bool is_flag(const struct node *n)
{
	return n->kind == NODE_BOOL ||
	       (n->kind == NODE_STRING && n->variable && scalar_kind(n->text, n->len) == NODE_BOOL);
}

/* The action that a member of the step is, or NULL. `write: true` is none. */
static const struct action_row *action_of(const struct node_member *m, enum source_kind kind)
{
	for (size_t i = 0; i < action_count; i++) {
		if (action_rows[i].kind == kind && strcmp(action_rows[i].name, m->key->text) == 0)
			return i == ACTION_WRITE && is_flag(m->value) ? NULL : &action_rows[i];
	}
	return NULL;
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
		s->action = (enum action_kind)(row - action_rows);
		if (!s->action_value) /* sql of a file has it */
			s->action_value = node_quoted(mapping->members[i].value, dc->arena);
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

/* Below the folder, whatever its references bring. */
static void check_file_path(struct decoder *dc, const struct action_row *row, const struct node *n)
{
	if (n->kind != NODE_STRING || n->refused)
		return;
	if (n->len == 0 || n->text[0] == '/') {
		decode_unexpected(dc, row->name, n, "a path below the source's folder (\".\" is the folder itself)");
		return;
	}
	for (const char *segment = n->text; *segment; segment += strspn(segment, "/")) {
		size_t len = strcspn(segment, "/");
		if (len == 2 && memcmp(segment, "..", 2) == 0)
			decode_error(dc, node_mark_at(n, (size_t)(segment - n->text)),
				     "%s: \"..\" leads out of a folder", row->name);
		segment += len;
	}
}

static void check_writing(struct decoder *dc, const struct node *mapping, const struct action_row *row,
			  struct config_step *s)
{
	const struct node *said = node_member(mapping, "write");
	enum http_method method = dc->endpoint->method;

	if (method == METHOD_GET)
		decode_report(dc, mapping, row->name, "a GET endpoint only reads");
	if (row->kind == SOURCE_FILES && !s->source->write)
		decode_report(dc, mapping, row->name,
			      arena_printf(&dc->diagnostics->arena, "the source \"%s\" does not say \"write: true\"",
					   s->source->name));
	if (said && (said = node_unquoted(said, dc->arena))->kind == NODE_BOOL && !said->boolean)
		decode_report(dc, mapping, "write",
			      arena_printf(&dc->diagnostics->arena, "false: %s writes", row->name));
	s->write = true;
}

static void check_pick(struct decoder *dc, const struct node *mapping, const struct config_step *s)
{
	const char *why = NULL;
	struct path path;

	if (!s->pick || !strstr(action_rows[s->action].keys, " pick "))
		return;
	if (s->expect == EXPECT_RESPONSE)
		decode_report(dc, mapping, "pick", "it is of the JSON answer: not for \"expect: response\"");
	if (path_parse(&path, dc->arena, s->pick->text, s->pick->len, &why))
		return;
	decode_error(dc, s->pick->at, "pick: %s; expected the way to a member, such as rates.EUR or items[0].id", why);
}

static void check_amount(struct decoder *dc, const char *name, const struct node *n, int64_t least)
{
	if (n && n->kind == NODE_INT && n->integer < least)
		decode_error(dc, n->at, "%s: expected %s, found %s", name, least ? "1 or more" : "0 or more",
			     decode_shown(dc, n));
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
static bool action_was_refused(const struct node *mapping, const struct config_step *s)
{
	const struct section *section = step_sections[s->source->kind];
	for (size_t i = 0; i < mapping->count; i++) {
		const char *name = mapping->members[i].key->text;
		const struct key *k = section_find(section, name);
		bool flag = strcmp(name, "write") == 0 && is_flag(mapping->members[i].value);
		if ((kind_of_action(name) && !flag) || (k && k->type == KEY_LATER))
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
	else if (row->kind == SOURCE_FILES)
		check_file_path(dc, row, s->action_value);
	if (row->writes)
		check_writing(dc, mapping, row, s);
	if (row->required && !node_member(mapping, row->required))
		decode_error(dc, mapping->at, "%s: \"%s\" is missing", row->name, row->required);
	check_expect(dc, mapping, row, s);
	check_pick(dc, mapping, s);
	check_step_policies(dc, mapping, s);
}
