/* JSON Schema words, taken together: what they say of a parameter or a schema is checked here as a whole, and `enum`,
 * `const` and `default` against it. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#include "base/decimal.h"
#include "base/json.h"
#include "config/language.h"

/* --- the whole ------------------------------------------------------------------------------------------------- */

#define NUMBERS (BIT(TYPE_INTEGER) | BIT(TYPE_NUMBER))

/* A word of one type stands only if that may come: elsewhere it would never be looked at. */
static void check_applies(struct decoder *dc, const struct node *mapping, const struct config_schema *s)
{
	static const struct {
		const char *word;
		unsigned types;
		const char *why;
	} applies[] = {
		{"minimum", NUMBERS, "it is for \"type: integer\" or \"number\""},
		{"maximum", NUMBERS, "it is for \"type: integer\" or \"number\""},
		{"exclusiveMinimum", NUMBERS, "it is for \"type: integer\" or \"number\""},
		{"exclusiveMaximum", NUMBERS, "it is for \"type: integer\" or \"number\""},
		{"multipleOf", NUMBERS, "it is for \"type: integer\" or \"number\""},
		{"minLength", BIT(TYPE_STRING), "it is for \"type: string\""},
		{"pattern", BIT(TYPE_STRING), "it is for \"type: string\""},
		{"format", BIT(TYPE_STRING), "it is for \"type: string\""},
		{"minItems", BIT(TYPE_ARRAY), "it is for \"type: array\""},
		{"maxItems", BIT(TYPE_ARRAY), "it is for \"type: array\""},
		{"items", BIT(TYPE_ARRAY), "it is for \"type: array\""},
		{"prefixItems", BIT(TYPE_ARRAY), "it is for \"type: array\""},
		{"contains", BIT(TYPE_ARRAY), "it is for \"type: array\""},
		{"uniqueItems", BIT(TYPE_ARRAY), "it is for \"type: array\""},
		{"properties", BIT(TYPE_OBJECT), "it is for \"type: object\""},
		{"patternProperties", BIT(TYPE_OBJECT), "it is for \"type: object\""},
		{"additionalProperties", BIT(TYPE_OBJECT), "it is for \"type: object\""},
		{"propertyNames", BIT(TYPE_OBJECT), "it is for \"type: object\""},
		{"dependentRequired", BIT(TYPE_OBJECT), "it is for \"type: object\""},
		{"minProperties", BIT(TYPE_OBJECT), "it is for \"type: object\""},
		{"maxProperties", BIT(TYPE_OBJECT), "it is for \"type: object\""},
	};
	unsigned types = s->types ? s->types : BIT(s->type);

	if (!(types & BIT(TYPE_STRING)) && !s->file && (s->types || s->type != TYPE_ANY))
		decode_report(dc, mapping, "maxLength", "it is for \"type: string\"");
	if (!s->types && s->type == TYPE_ANY && !s->file)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(applies); i++) {
		if (s->file || !(applies[i].types & types))
			decode_report(dc, mapping, applies[i].word, applies[i].why);
	}
}

/* Words that say something of another one. */
static void check_companions(struct decoder *dc, const struct node *mapping)
{
	static const struct {
		const char *word, *other, *why;
	} companions[] = {
		{"then", "if", "it does nothing without \"if\""},
		{"else", "if", "it does nothing without \"if\""},
		{"minContains", "contains", "it does nothing without \"contains\""},
		{"maxContains", "contains", "it does nothing without \"contains\""},
	};
	for (size_t i = 0; i < ARRAY_SIZE(companions); i++) {
		if (!node_member(mapping, companions[i].other))
			decode_report(dc, mapping, companions[i].word, companions[i].why);
	}
}

static void check_least(struct decoder *dc, const struct node *mapping, const char *least, const char *most,
			bool crossed)
{
	if (crossed && node_member(mapping, least))
		decode_report(dc, mapping, most, arena_printf(&dc->diagnostics->arena, "it is below \"%s\"", least));
}

static void check_bounds(struct decoder *dc, const struct node *mapping, struct config_schema *s)
{
	const struct {
		const char *name;
		bool *has;
	} counts[] = {
		{"minLength", &s->has_min_length},         {"maxLength", &s->has_max_length},
		{"minItems", &s->has_min_items},           {"maxItems", &s->has_max_items},
		{"minProperties", &s->has_min_properties}, {"maxProperties", &s->has_max_properties},
		{"minContains", &s->has_min_contains},     {"maxContains", &s->has_max_contains},
	};

	for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
		*counts[i].has = node_member(mapping, counts[i].name);
	s->has_minimum = s->minimum != NULL;
	s->has_maximum = s->maximum != NULL;
	check_least(dc, mapping, "minimum", "maximum",
		    s->has_minimum && s->has_maximum &&
			    decimal_compare(s->minimum, strlen(s->minimum), s->maximum, strlen(s->maximum)) > 0);
	check_least(dc, mapping, "minLength", "maxLength", s->has_max_length && s->min_length > s->max_length);
	check_least(dc, mapping, "minItems", "maxItems", s->has_max_items && s->min_items > s->max_items);
	check_least(dc, mapping, "minProperties", "maxProperties",
		    s->has_max_properties && s->min_properties > s->max_properties);
	check_least(dc, mapping, "minContains", "maxContains",
		    s->has_max_contains && s->min_contains > s->max_contains);
	if (s->multiple_of && !decimal_divides(s->multiple_of, strlen(s->multiple_of))) {
		decode_report(dc, mapping, "multipleOf", "expected a number above 0 of at most 18 digits");
		s->multiple_of = NULL;
	}
}

void *compile_pattern(struct decoder *dc, const char *name, const struct node *n)
{
	int error = 0;
	PCRE2_SIZE offset = 0;
	pcre2_compile_context *context = pcre2_compile_context_create(dc->pattern_context);
	/* JSON Schema's "$" is the end of the text, and not a place before its last line end. */
	uint32_t options = PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C | PCRE2_DOLLAR_ENDONLY;

	pcre2_code *code = pcre2_compile((PCRE2_SPTR)n->text, n->len, options, &error, &offset, context);
	pcre2_compile_context_free(context);
	if (code)
		return code;
	PCRE2_UCHAR why[128];
	pcre2_get_error_message(error, why, sizeof(why));
	decode_error(dc, node_mark_at(n, offset), "%s: %s", name, (const char *)why);
	return NULL;
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
		const char *why = where->refused ? NULL : schema_misfit(s, item, &where);
		if (why)
			decode_error(dc, where->at, "enum: %s does not fit: %s", decode_shown(dc, where), why);
		values[i] = node_value(item, dc->arena);
	}
	s->enumeration = values;
	s->enumeration_count = n->count;
}

static void check_constant(struct decoder *dc, const struct node *mapping, struct config_schema *s)
{
	const struct node *n = node_member(mapping, "const");

	if (!n || n->refused)
		return;
	n = variable_as(dc, s, n);
	const struct node *where = n;
	const char *why = schema_misfit(s, n, &where);
	if (why)
		decode_error(dc, where->at, "const: %s does not fit: %s", decode_shown(dc, where), why);
	struct value *v = arena_alloc(dc->arena, sizeof(*v));
	*v = node_value(n, dc->arena);
	s->constant = v;
}

/* As it is put into a body. */
static const struct json *parsed(struct decoder *dc, const struct config_schema *s, const struct node *n)
{
	struct json *j = NULL;
	struct buf text = BUF_INIT;
	char what[96];

	node_render(n, &text);
	const char *copy = arena_strndup(dc->arena, text.data, text.len);
	if (json_parse(&j, dc->arena, copy, text.len, JSON_MAX_DEPTH, what, sizeof(what)) == 0)
		j->declared = s->type == TYPE_ARRAY || s->type == TYPE_OBJECT;
	else
		decode_error(dc, n->at, "default: %s", what);
	buf_done(&text);
	return j;
}

static void check_default(struct decoder *dc, const struct node *mapping, struct config_parameter *p)
{
	const struct node *n = node_member(mapping, "default");

	if (!n || n->refused)
		return;
	n = variable_as(dc, &p->schema, n);
	/* null is what an optional parameter is where it is absent. */
	const struct node *where = n;
	const char *why = n->kind == NODE_NULL ? NULL : schema_misfit(&p->schema, n, &where);
	if (why)
		decode_error(dc, where->at, "default: %s does not fit: %s", decode_shown(dc, where), why);
	p->has_default = true;
	p->default_value = node_value(n, dc->arena);
	p->default_value.subtype = (uint8_t)p->schema.format;
	p->default_json = parsed(dc, &p->schema, n);
}

static void require(struct decoder *dc, struct config_schema *s, const struct node *name)
{
	const char **names = arena_array(&dc->diagnostics->arena, s->property_count + 1, sizeof(*names));

	if (name->kind != NODE_STRING || name->refused) {
		decode_unexpected(dc, "required", name, "the name of a member");
		return;
	}
	for (size_t i = 0; i < s->property_count; i++) {
		names[i] = s->properties[i].name;
		if (strcmp(names[i], name->text) != 0)
			continue;
		s->properties[i].required = true;
		return;
	}
	const char *near = name->expanded ? NULL : nearest_name(name->text, names, s->property_count);
	if (!s->additional && s->pattern_count == 0)
		decode_unknown(dc, name->at, "property", name->expanded ? "from the environment" : name->text, names,
			       s->property_count);
	else if (near)
		diagnostics_warning(dc->diagnostics, name->at,
				    "required: \"%.100s\" is not in \"properties\": did you mean \"%s\"?", name->text,
				    near);
	s->required[s->required_count++] = name->text;
}

/* required: [ names ], of an object. */
static void check_required_members(struct decoder *dc, const struct node *mapping, struct config_schema *s)
{
	const struct node *n = node_member(mapping, "required");
	bool object = s->types ? s->types & BIT(TYPE_OBJECT) : s->type == TYPE_OBJECT || s->type == TYPE_ANY;

	if (!n || n->kind != NODE_SEQUENCE)
		return;
	if (!object || s->file) {
		decode_report(dc, mapping, "required", "a list of members is for \"type: object\"");
		return;
	}
	s->required = arena_array(dc->arena, n->count, sizeof(*s->required));
	for (size_t i = 0; i < n->count; i++)
		require(dc, s, n->items[i]);
}

static void check_words(struct decoder *dc, const struct node *mapping, struct config_parameter *p)
{
	struct config_schema *s = &p->schema;
	const struct node *type = node_member(mapping, "type"), *pattern = node_member(mapping, "pattern");
	bool wrong_type = type && s->type == TYPE_ANY && !s->types && !s->file;

	s->before = dc->schemas;
	dc->schemas = s;
	s->applies = s->ref || s->all_of.count || s->any_of.count || s->one_of.count || s->negated || s->condition;
	if (!wrong_type)
		check_applies(dc, mapping, s);
	check_companions(dc, mapping);
	check_bounds(dc, mapping, s);
	if (pattern && s->pattern)
		s->pattern_compiled = compile_pattern(dc, "pattern", pattern);
	if (!wrong_type)
		check_required_members(dc, mapping, s);
	check_enum(dc, mapping, s);
	check_constant(dc, mapping, s);
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
		decode_error(dc, at->at, "type: %s can't stand in the %s", type == TYPE_OBJECT ? "object" : "array",
			     p->in == IN_PATH     ? "path"
			     : p->in == IN_HEADER ? "header"
						  : "query");
	else if (in_path && in_path->rest && type != TYPE_STRING && type != TYPE_ANY)
		decode_error(dc, at->at, "type: {%s*} is the rest of the path: a string", p->name);
	else if (type == TYPE_ARRAY && items && (items->type == TYPE_ARRAY || items->type == TYPE_OBJECT))
		decode_error(dc, items->at, "items: %s can't stand in the %s",
			     items->type == TYPE_OBJECT ? "object" : "array", p->in == IN_HEADER ? "header" : "query");
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
