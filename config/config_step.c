/* gather: steps, each with a source and one action. */
#include <string.h>

#include "base/utf8.h"
#include "config/language.h"
#include "config/reference.h"

#define SQL_FILE_MAX (1u << 20) /* bytes */

static const struct section *const step_sections[] = {
	[SOURCE_POSTGRES] = &section_postgres_step,
	[SOURCE_MONGODB] = &section_mongodb_step,
	[SOURCE_HTTP] = &section_http_step,
	[SOURCE_FILES] = &section_files_step,
};

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

/* The place of the byte at offset in a file's text. */
static struct mark place_in(const char *path, const char *text, size_t offset)
{
	struct mark at = {path, 1, 1};
	for (size_t i = 0; i < offset; i++) {
		at.column += ((unsigned char)text[i] & 0xC0) != 0x80;
		if (text[i] == '\n')
			at = (struct mark){path, at.line + 1, 1};
	}
	return at;
}

/* A file's text as a scalar of the tree whose places are those of the file. */
static const struct node *sql_of_file(struct decoder *dc, const struct node *n, const char *file)
{
	const char *path = decode_path(dc, n->at, file);
	size_t len = 0;
	const char *text = read_text_file(dc, n->at, path, SQL_FILE_MAX, &len);
	size_t mark = text && len >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
	struct mark start = {path, 1, 1};

	if (!text)
		return NULL;
	text += mark;
	len -= mark;
	size_t good = utf8_prefix(text, len);
	const char *nul = memchr(text, '\0', len);
	if (nul || good < len)
		decode_error(dc, place_in(path, text, nul && (size_t)(nul - text) < good ? (size_t)(nul - text) : good),
			     "SQL is UTF-8 text without NUL");
	if (text[strspn(text, " \t\r\n")] == '\0' && !nul)
		decode_error(dc, start, "there is no statement in the file");
	struct node *made = arena_zalloc(dc->arena, sizeof(*made));
	*made = (struct node){.kind = NODE_STRING, .at = start, .body_at = start, .verbatim = true};
	made->text = text;
	made->len = len;
	return made;
}

void decode_sql(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	struct config_step *s = object;
	struct sql_words words = {0};

	if (n->kind != NODE_MAPPING || n->refused) {
		decode_is_text(dc, k->name, n);
		return;
	}
	decode_section(dc, &section_sql, k->name, n, &words);
	if (words.file)
		s->action_value = sql_of_file(dc, node_member(n, "file"), words.file);
}

/* Of a step of a files source: the path of the file to write, or true beside another action. */
void decode_write(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	struct config_step *s = object;

	if (n->kind == NODE_BOOL)
		s->write = n->boolean;
	else if (n->kind != NODE_STRING)
		decode_unexpected(dc, k->name, n, "the path of a file, or true beside append or remove");
}

void decode_on_error(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	static const char *const words[] = {"fail", "null", "omit", "stale", NULL};
	static const enum on_error meaning[] = {ON_ERROR_FAIL, ON_ERROR_NULL, ON_ERROR_OMIT, ON_ERROR_STALE};
	struct config_step *s = object;
	int word = node_is_scalar(n) ? decode_word(n->text, words) : -1;

	if (n->kind == NODE_MAPPING) {
		decode_section(dc, &section_on_error, k->name, n, s);
		s->on_error = ON_ERROR_DEFAULT;
	} else if (word >= 0) {
		s->on_error = meaning[word];
	} else {
		decode_unexpected(dc, k->name, n, "fail, null, omit, stale or { default: X }");
	}
}

/* --- the action ------------------------------------------------------------------------------------------------ */

/* The action that a member of the step is, or NULL. `write: true` is none. */
static const struct action_row *action_of(const struct node_member *m, enum source_kind kind)
{
	for (size_t i = 0; i < action_count; i++) {
		if (action_rows[i].kind == kind && strcmp(action_rows[i].name, m->key->text) == 0)
			return i == ACTION_WRITE && m->value->kind == NODE_BOOL ? NULL : &action_rows[i];
	}
	return NULL;
}

/* The one action among the step's keys; NULL where there is none, or more than one (reported). */
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
	if (said && said->kind == NODE_BOOL && !said->boolean)
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
		decode_error(dc, n->at, "%s: expected %s, found %s", name, least ? "1 or more" : "0 or more", n->text);
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
		bool flag = strcmp(name, "write") == 0 && mapping->members[i].value->kind == NODE_BOOL;
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
	dc->gather = n;
	for (size_t i = 0; i < n->count; i++) {
		const struct node *name = n->members[i].key, *value = n->members[i].value;
		check_step_name(dc, name);
		if (!decode_is_mapping(dc, name->text, value))
			continue;
		const struct config_source *source = find_source(dc, name, value);
		if (!source)
			continue;
		struct config_step *s = &e->steps[e->step_count++];
		*s = (struct config_step){.name = name->text, .at = name->at, .source = source, .semaphore = -1};
		decode_section(dc, step_sections[source->kind], name->text, value, s);
	}
}
