/* JSON Schema words: of a parameter, its items, the members of a body. What they say is checked here as a whole, and
 * `enum` and `default` against it, so that a request never meets a schema that contradicts itself. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#include "base/decimal.h"
#include "base/format.h"
#include "base/utf8.h"
#include "config/language.h"

#define MATCH_LIMIT 100000

static const char *const type_words[] = {
	[TYPE_STRING] = "string", [TYPE_INTEGER] = "integer", [TYPE_NUMBER] = "number", [TYPE_BOOLEAN] = "boolean",
	[TYPE_ARRAY] = "array",   [TYPE_OBJECT] = "object",   [TYPE_ANY] = NULL,
};
/* --- does a tree fit a schema? --------------------------------------------------------------------------------- */

static bool is_number(const struct node *n)
{
	return n->kind == NODE_INT || n->kind == NODE_FLOAT;
}

static bool fits_type(const struct node *n, enum parameter_type type)
{
	switch (type) {
	case TYPE_STRING:
		return n->kind == NODE_STRING;
	case TYPE_INTEGER:
		return is_number(n) && decimal_is_integer(n->number, strlen(n->number));
	case TYPE_NUMBER:
		return is_number(n);
	case TYPE_BOOLEAN:
		return n->kind == NODE_BOOL;
	case TYPE_ARRAY:
		return n->kind == NODE_SEQUENCE;
	case TYPE_OBJECT:
		return n->kind == NODE_MAPPING;
	case TYPE_ANY:
		break;
	}
	return true;
}

static bool matches(const struct config_schema *s, const struct node *n)
{
	const pcre2_code *code = s->pattern_compiled;
	if (!code)
		return true;
	pcre2_match_data *data = pcre2_match_data_create_from_pattern(code, NULL);
	pcre2_match_context *limits = pcre2_match_context_create(NULL);
	bool matched = false;
	if (data && limits) {
		pcre2_set_match_limit(limits, MATCH_LIMIT);
		matched = pcre2_match(code, (PCRE2_SPTR)n->text, n->len, 0, 0, data, limits) > 0;
	}
	pcre2_match_context_free(limits);
	pcre2_match_data_free(data);
	return matched;
}

/* Equal as JSON Schema means it: 3 and 3.0 are. */
static bool equals(const struct value *v, const struct node *n)
{
	struct buf a = BUF_INIT, b = BUF_INIT;

	value_render(v, &a);
	node_render(n, &b);
	bool equal = is_number(n) && (v->kind == VALUE_INT || v->kind == VALUE_NUMBER)
			     ? decimal_compare(a.data, a.len, b.data, b.len) == 0
			     : a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
	buf_done(&a);
	buf_done(&b);
	return equal;
}

static bool in_enumeration(const struct config_schema *s, const struct node *n)
{
	bool found = s->enumeration_count == 0;
	for (size_t i = 0; i < s->enumeration_count && !found; i++)
		found = equals(&s->enumeration[i], n);
	return found;
}

static const char *const not_of_type[] = {
	[TYPE_STRING] = "it is no string",
	[TYPE_INTEGER] = "it is no integer",
	[TYPE_NUMBER] = "it is no number",
	[TYPE_BOOLEAN] = "it is no boolean",
	[TYPE_ARRAY] = "it is no array",
	[TYPE_OBJECT] = "it is no object",
	[TYPE_ANY] = NULL,
};

static const char *misfit(const struct config_schema *s, const struct node *n, const struct node **where);

static const char *misfit_within(const struct config_schema *s, const struct node *n, const struct node **where)
{
	const char *why = NULL;
	if (n->kind == NODE_SEQUENCE) {
		for (size_t i = 0; s->items && i < n->count && !why; i++)
			why = misfit(s->items, n->items[i], where);
		return why;
	}
	for (size_t i = 0; i < s->property_count && !why; i++) {
		const struct config_parameter *p = &s->properties[i];
		const struct node *member = node_member(n, p->name);
		if (member) {
			why = misfit(&p->schema, member, where);
		} else if (p->required) {
			*where = n;
			why = "a member that is required is missing";
		}
	}
	for (size_t i = 0; !s->additional && i < n->count && !why; i++) {
		bool declared = false;
		for (size_t j = 0; j < s->property_count && !declared; j++)
			declared = strcmp(s->properties[j].name, n->members[i].key->text) == 0;
		if (!declared) {
			*where = n->members[i].key;
			why = "it is not in \"properties\"";
		}
	}
	return why;
}

/* Why n does not fit s, and which part of it; NULL if it does. The recursion is bounded by the depth of the tree. */
static const char *misfit(const struct config_schema *s, const struct node *n, const struct node **where)
{
	bool number = is_number(n);
	size_t length = n->kind == NODE_STRING ? utf8_length(n->text, n->len) : n->count;
	bool measured = n->kind == NODE_STRING || n->kind == NODE_SEQUENCE;

	*where = n;
	if (n->kind == NODE_NULL)
		return s->nullable || s->type == TYPE_ANY ? NULL : "null is not allowed";
	if (!fits_type(n, s->type))
		return not_of_type[s->type];
	if (number && s->has_minimum &&
	    decimal_compare(n->number, strlen(n->number), s->minimum, strlen(s->minimum)) < 0)
		return "it is below \"minimum\"";
	if (number && s->has_maximum &&
	    decimal_compare(n->number, strlen(n->number), s->maximum, strlen(s->maximum)) > 0)
		return "it is above \"maximum\"";
	if (measured && s->has_min_length && length < s->min_length)
		return n->kind == NODE_STRING ? "it is shorter than \"minLength\"" : "it has less than \"minItems\"";
	if (measured && s->has_max_length && length > s->max_length)
		return n->kind == NODE_STRING ? "it is longer than \"maxLength\"" : "it has more than \"maxItems\"";
	if (n->kind == NODE_STRING && !format_valid(s->format, n->text, n->len))
		return "it is not of that \"format\"";
	if (n->kind == NODE_STRING && !matches(s, n))
		return "it does not match \"pattern\"";
	if (!in_enumeration(s, n))
		return "it is none of \"enum\"";
	return node_is_scalar(n) ? NULL : misfit_within(s, n, where);
}

/* --- words ----------------------------------------------------------------------------------------------------- */

static bool decode_type_word(struct decoder *dc, const struct node *n, enum parameter_type *type)
{
	int word = n->kind == NODE_STRING ? decode_word(n->text, type_words) : -1;
	if (word >= 0) {
		*type = (enum parameter_type)word;
		return true;
	}
	if (n->kind == NODE_STRING && !n->refused && !n->expanded)
		decode_unknown(dc, n->at, "type", n->text, type_words, TYPE_ANY);
	else
		decode_unexpected(dc, "type", n, "string, integer, number, boolean, array or object");
	return false;
}

/* X, or [X, "null"]. */
void decode_type(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	struct config_parameter *p = object;
	const struct node *word = n;

	p->schema.type = TYPE_ANY;
	if (n->kind == NODE_SEQUENCE) {
		word = NULL;
		for (size_t i = 0; i < n->count; i++) {
			const struct node *item = n->items[i];
			bool null = item->kind == NODE_NULL ||
				    (item->kind == NODE_STRING && strcmp(item->text, "null") == 0);
			if (null)
				p->schema.nullable = true;
			else if (!word)
				word = item;
			else
				decode_error(dc, item->at, "type: expected one type, with or without \"null\"");
		}
	}
	if (word)
		decode_type_word(dc, word, &p->schema.type);
	else
		decode_unexpected(dc, k->name, n, "a type beside \"null\"");
}

static struct config_parameter *decode_schema(struct decoder *dc, const char *name, const struct node *n)
{
	struct config_parameter *p = arena_zalloc(dc->arena, sizeof(*p));
	p->name = name;
	p->at = p->schema.at = n->at;
	decode_section(dc, &section_schema, name, n, p);
	return p;
}

void decode_items(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	struct config_parameter *p = object;
	p->schema.items = &decode_schema(dc, k->name, n)->schema;
}

void decode_body(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	struct config_endpoint *e = object;
	if (e->method == METHOD_GET || e->method == METHOD_DELETE)
		decode_error(dc, n->at, "body: a %s request has none", http_method_names[e->method]);
	e->body = &decode_schema(dc, k->name, n)->schema;
}

void decode_properties(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	struct config_parameter *p = object;

	if (!decode_is_mapping(dc, k->name, n))
		return;
	p->schema.properties = arena_array(dc->arena, n->count, sizeof(*p->schema.properties));
	for (size_t i = 0; i < n->count; i++) {
		struct config_parameter *property = decode_schema(dc, n->members[i].key->text, n->members[i].value);
		property->at = n->members[i].key->at;
		p->schema.properties[p->schema.property_count++] = *property;
	}
}

/* --- the whole ------------------------------------------------------------------------------------------------- */

/* Each word stands only if its type does: elsewhere it would never be looked at. */
static void check_applies(struct decoder *dc, const struct node *mapping, const struct config_schema *s)
{
	static const struct {
		const char *word;
		unsigned types;
		const char *why;
	} applies[] = {
		{"minimum", BIT(TYPE_INTEGER) | BIT(TYPE_NUMBER), "it is for \"type: integer\" or \"number\""},
		{"maximum", BIT(TYPE_INTEGER) | BIT(TYPE_NUMBER), "it is for \"type: integer\" or \"number\""},
		{"minLength", BIT(TYPE_STRING), "it is for \"type: string\""},
		{"maxLength", BIT(TYPE_STRING), "it is for \"type: string\""},
		{"pattern", BIT(TYPE_STRING), "it is for \"type: string\""},
		{"format", BIT(TYPE_STRING), "it is for \"type: string\""},
		{"minItems", BIT(TYPE_ARRAY), "it is for \"type: array\""},
		{"maxItems", BIT(TYPE_ARRAY), "it is for \"type: array\""},
		{"items", BIT(TYPE_ARRAY), "it is for \"type: array\""},
		{"properties", BIT(TYPE_OBJECT), "it is for \"type: object\""},
		{"additionalProperties", BIT(TYPE_OBJECT), "it is for \"type: object\""},
	};
	for (size_t i = 0; i < ARRAY_SIZE(applies); i++) {
		if (!(applies[i].types & BIT(s->type)))
			decode_report(dc, mapping, applies[i].word, applies[i].why);
	}
}

static void check_bounds(struct decoder *dc, const struct node *mapping, struct config_schema *s)
{
	s->has_minimum = s->minimum != NULL;
	s->has_maximum = s->maximum != NULL;
	s->has_min_length = node_member(mapping, "minLength") || node_member(mapping, "minItems");
	s->has_max_length = node_member(mapping, "maxLength") || node_member(mapping, "maxItems");
	if (s->has_minimum && s->has_maximum &&
	    decimal_compare(s->minimum, strlen(s->minimum), s->maximum, strlen(s->maximum)) > 0)
		decode_report(dc, mapping, "maximum", "it is below \"minimum\"");
	if (s->has_min_length && s->has_max_length && s->min_length > s->max_length) {
		decode_report(dc, mapping, "maxLength", "it is below \"minLength\"");
		decode_report(dc, mapping, "maxItems", "it is below \"minItems\"");
	}
}

static void compile_pattern(struct decoder *dc, const struct node *mapping, struct config_schema *s)
{
	const struct node *n = node_member(mapping, "pattern");
	int error = 0;
	PCRE2_SIZE offset = 0;

	if (!n || !s->pattern)
		return;
	pcre2_compile_context *context = pcre2_compile_context_create(dc->pattern_context);
	/* JSON Schema's "$" is the end of the text, and not a place before its last line end. */
	uint32_t options = PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C | PCRE2_DOLLAR_ENDONLY;
	s->pattern_compiled = pcre2_compile((PCRE2_SPTR)s->pattern, n->len, options, &error, &offset, context);
	pcre2_compile_context_free(context);
	if (s->pattern_compiled)
		return;
	PCRE2_UCHAR why[128];
	pcre2_get_error_message(error, why, sizeof(why));
	decode_error(dc, node_mark_at(n, offset), "pattern: %s", (const char *)why);
}

/* n as a value of s: a variable's text is a number, true or false if s is, in quotes or not; and a text if s is one. */
static const struct node *variable_as(struct decoder *dc, const struct config_schema *s, const struct node *n)
{
	if (s->type == TYPE_INTEGER || s->type == TYPE_NUMBER || s->type == TYPE_BOOLEAN)
		return node_unquoted(n, dc->arena);
	return s->type == TYPE_STRING ? node_quoted(n, dc->arena) : n;
}

static void check_enum(struct decoder *dc, const struct node *mapping, struct config_schema *s)
{
	const struct node *n = node_member(mapping, "enum");

	if (!n || n->kind != NODE_SEQUENCE)
		return;
	if (n->count == 0)
		decode_error(dc, n->at, "enum: it allows nothing");
	struct value *values = arena_array(dc->arena, n->count, sizeof(*values));
	for (size_t i = 0; i < n->count; i++) {
		const struct node *item = variable_as(dc, s, n->items[i]), *where = item;
		const char *why = where->refused ? NULL : misfit(s, item, &where);
		if (why)
			decode_error(dc, where->at, "enum: %s does not fit: %s", decode_shown(dc, where), why);
		values[i] = node_value(item, dc->arena);
	}
	s->enumeration = values;
	s->enumeration_count = n->count;
}

static void check_default(struct decoder *dc, const struct node *mapping, struct config_parameter *p)
{
	const struct node *n = node_member(mapping, "default");

	if (!n || n->refused)
		return;
	n = variable_as(dc, &p->schema, n);
	/* null is what an optional parameter is where it is absent. */
	const struct node *where = n;
	const char *why = n->kind == NODE_NULL ? NULL : misfit(&p->schema, n, &where);
	if (why)
		decode_error(dc, where->at, "default: %s does not fit: %s", decode_shown(dc, where), why);
	p->has_default = true;
	p->default_value = node_value(n, dc->arena);
	p->default_value.subtype = (uint8_t)p->schema.format;
}

static void require(struct decoder *dc, struct config_schema *s, const struct node *name)
{
	for (size_t i = 0; i < s->property_count; i++) {
		if (name->kind == NODE_STRING && strcmp(s->properties[i].name, name->text) == 0) {
			s->properties[i].required = true;
			return;
		}
	}
	const char **names = arena_array(&dc->diagnostics->arena, s->property_count + 1, sizeof(*names));
	for (size_t i = 0; i < s->property_count; i++)
		names[i] = s->properties[i].name;
	if (name->kind == NODE_STRING && !name->refused)
		decode_unknown(dc, name->at, "property", name->expanded ? "from the environment" : name->text, names,
			       s->property_count);
	else
		decode_unexpected(dc, "required", name, "the name of a property");
}

/* required: [ names ], of an object. */
static void check_required_members(struct decoder *dc, const struct node *mapping, struct config_schema *s)
{
	const struct node *n = node_member(mapping, "required");
	if (!n || n->kind != NODE_SEQUENCE)
		return;
	if (s->type != TYPE_OBJECT)
		decode_report(dc, mapping, "required", "a list of members is for \"type: object\"");
	for (size_t i = 0; s->type == TYPE_OBJECT && i < n->count; i++)
		require(dc, s, n->items[i]);
}

static void check_words(struct decoder *dc, const struct node *mapping, struct config_parameter *p)
{
	const struct node *type = node_member(mapping, "type");
	bool wrong_type = type && p->schema.type == TYPE_ANY;

	if (!wrong_type)
		check_applies(dc, mapping, &p->schema);
	check_bounds(dc, mapping, &p->schema);
	compile_pattern(dc, mapping, &p->schema);
	if (!wrong_type)
		check_required_members(dc, mapping, &p->schema);
	check_enum(dc, mapping, &p->schema);
	check_default(dc, mapping, p);
}

void check_schema(struct decoder *dc, const struct node *mapping, void *object)
{
	struct config_parameter *p = object;

	if (!node_member(mapping, "type"))
		p->schema.type = TYPE_ANY;
	check_words(dc, mapping, p);
}

/* --- parameters ------------------------------------------------------------------------------------------------ */

static const struct path_name *path_name(const struct decoder *dc, const char *name)
{
	for (size_t i = 0; i < dc->path_name_count; i++) {
		if (strcmp(dc->path_names[i].name, name) == 0)
			return &dc->path_names[i];
	}
	return NULL;
}

static void check_in(struct decoder *dc, const struct node *mapping, struct config_parameter *p)
{
	const struct node *n = node_member(mapping, "in");
	bool in_path = path_name(dc, p->name) != NULL;
	enum http_method method = dc->endpoint->method;
	bool bodiless = method == METHOD_GET || method == METHOD_DELETE;

	if (!n) {
		p->in = in_path ? IN_PATH : bodiless ? IN_QUERY : IN_BODY;
		return;
	}
	if (in_path && p->in != IN_PATH)
		decode_error(dc, n->at, "in: the path names %s, so it stands in the path", p->name);
	else if (!in_path && p->in == IN_PATH && n->kind == NODE_STRING && strcmp(n->text, "path") == 0)
		decode_error(dc, n->at, "in: the path has no {%s}", p->name);
	else if (bodiless && p->in == IN_BODY)
		decode_error(dc, n->at, "in: a %s request has no body", http_method_names[method]);
}

/* What can be written in a path, a header, a query? */
static void check_form(struct decoder *dc, const struct node *mapping, const struct config_parameter *p)
{
	const struct path_name *in_path = path_name(dc, p->name);
	enum parameter_type type = p->schema.type;
	const struct node *at = node_member(mapping, "type");
	const struct config_schema *items = p->schema.items;

	if (!at || p->in == IN_BODY)
		return;
	if (type == TYPE_OBJECT || (type == TYPE_ARRAY && p->in == IN_PATH))
		decode_error(dc, at->at, "type: %s can't stand in the %s", type_words[type],
			     p->in == IN_PATH     ? "path"
			     : p->in == IN_HEADER ? "header"
						  : "query");
	else if (in_path && in_path->rest && type != TYPE_STRING && type != TYPE_ANY)
		decode_error(dc, at->at, "type: {%s*} is the rest of the path: a string", p->name);
	else if (type == TYPE_ARRAY && items && (items->type == TYPE_ARRAY || items->type == TYPE_OBJECT))
		decode_error(dc, items->at, "items: %s can't stand in the %s", type_words[items->type],
			     p->in == IN_HEADER ? "header" : "query");
}

static void check_required(struct decoder *dc, const struct node *mapping, struct config_parameter *p)
{
	const struct node *n = node_member(mapping, "required");
	const struct node *initial = node_member(mapping, "default");
	bool said = n && (n = node_unquoted(n, dc->arena))->kind == NODE_BOOL;

	p->required = !(said && !n->boolean) && !initial;
	if (said && n->boolean && initial)
		decode_error(dc, n->at, "required: what has a default is not required");
	if (p->in == IN_PATH && said && !n->boolean)
		decode_error(dc, n->at, "required: a parameter in the path always is");
	if (p->in == IN_PATH && initial)
		decode_error(dc, initial->at, "default: a parameter in the path is always there");
}

void check_parameter(struct decoder *dc, const struct node *mapping, void *object)
{
	struct config_parameter *p = object;

	check_in(dc, mapping, p);
	/* A text that says nothing else is a string; a member of the body may be anything. */
	if (!node_member(mapping, "type"))
		p->schema.type = p->in == IN_BODY ? TYPE_ANY : TYPE_STRING;
	check_form(dc, mapping, p);
	check_required(dc, mapping, p);
	check_words(dc, mapping, p);
}
