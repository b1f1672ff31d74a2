/* JSON Schema words (2020-12), decoded: of a parameter, of the body, of what is in them. A schema that is not in
 * another one is a document: its `$defs` are known before its words are decoded, so a `$ref` finds its schema at once.
 */
#include <string.h>

#include "base/hash.h"
#include "config/language.h"

enum {
	FEW_PROPERTIES = 4, /* are compared one by one */
	MANY_PROPERTIES = 16384,
};

static const char *const type_words[] = {
	[TYPE_STRING] = "string", [TYPE_INTEGER] = "integer", [TYPE_NUMBER] = "number", [TYPE_BOOLEAN] = "boolean",
	[TYPE_ARRAY] = "array",   [TYPE_OBJECT] = "object",   [TYPE_ANY] = "null",      NULL,
};

/* --- types --- */

/* A bit of enum parameter_type, or TYPE_BIT_NULL; 0: it is none, which was reported. */
static unsigned type_bit(struct decoder *dc, const struct node *n)
{
	int word = n->kind == NODE_NULL && n->len > 0 ? (int)TYPE_ANY
		   : n->kind == NODE_STRING           ? decode_word(n->text, type_words)
						      : -1;

	if (word >= 0)
		return BIT(word);
	if (n->kind == NODE_STRING && !n->refused && !n->expanded)
		decode_unknown(dc, n->at, "type", n->text, type_words, TYPE_ANY + 1);
	else
		decode_unexpected(dc, "type", n, "string, integer, number, boolean, array, object or null");
	return 0;
}

/* One type, with or without null, is `type`; all else is `types`. */
static void set_types(struct config_schema *s, unsigned bits)
{
	unsigned values = bits & ~(unsigned)TYPE_BIT_NULL;

	s->nullable = bits & TYPE_BIT_NULL;
	s->type = TYPE_ANY;
	if (values && (values & (values - 1)) == 0)
		s->type = (enum parameter_type)__builtin_ctz(values);
	else
		s->types = (uint8_t)bits;
}

void decode_type(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	struct config_parameter *p = object;
	unsigned bits = 0;

	p->schema.type = TYPE_ANY;
	if (n->kind == NODE_STRING && strcmp(n->text, "file") == 0) {
		p->schema.file = true;
		if (!dc->endpoint || dc->endpoint->body_as != BODY_AS_FORM)
			decode_error(dc, n->at, "type: a file comes in a form: \"body: { as: form }\"");
		return;
	}
	if (n->kind != NODE_SEQUENCE) {
		bits = type_bit(dc, n);
	} else if (n->count == 0) {
		decode_unexpected(dc, k->name, n, "a type");
		return;
	}
	for (size_t i = 0; n->kind == NODE_SEQUENCE && i < n->count; i++)
		bits |= type_bit(dc, n->items[i]);
	if (bits)
		set_types(&p->schema, bits);
}

/* --- schemas in schemas --- */

/* A schema with the words of the section in n, or true or false, into p, which is zeroed. */
static void decode_words(struct decoder *dc, const struct section *words, const char *name, const struct node *n,
			 struct config_parameter *p)
{
	p->name = name;
	p->at = p->schema.at = n->at;
	if (n->kind == NODE_BOOL && !n->refused) {
		decode_defaults(dc, words, n->at, p);
		p->schema.never = !n->boolean;
	} else {
		decode_section(dc, words, name, n, p);
	}
}

static void decode_schema_into(struct decoder *dc, const char *name, const struct node *n, struct config_parameter *p)
{
	decode_words(dc, &section_schema, name, n, p);
}

static const struct config_schema *decode_schema(struct decoder *dc, const char *name, const struct node *n)
{
	struct config_parameter *p = arena_zalloc(dc->arena, sizeof(*p));

	decode_schema_into(dc, name, n, p);
	return &p->schema;
}

void decode_subschema(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	const struct config_schema *s = decode_schema(dc, k->name, n);

	memcpy((char *)object + k->offset, &s, sizeof(s));
}

void decode_subschemas(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	struct config_schemas list = {0};

	if (n->kind != NODE_SEQUENCE || n->count == 0) {
		decode_unexpected(dc, k->name, n, "a list of schemas");
		return;
	}
	list.items = arena_array(dc->arena, n->count, sizeof(*list.items));
	for (; list.count < n->count; list.count++)
		list.items[list.count] = decode_schema(dc, k->name, n->items[list.count]);
	memcpy((char *)object + k->offset, &list, sizeof(list));
}

/* --- objects --- */

static void enter_names(struct decoder *dc, struct config_schema *s)
{
	uint32_t size = 16;

	if (s->property_count <= FEW_PROPERTIES)
		return;
	while (size < 2 * s->property_count)
		size *= 2;
	s->names.mask = size - 1;
	s->names.entries = arena_zalloc(dc->arena, size * sizeof(*s->names.entries));
	for (size_t i = 0; i < s->property_count; i++) {
		const char *name = s->properties[i].name;
		uint32_t at = (uint32_t)hash_bytes(HASH_INIT, name, strlen(name)) & s->names.mask;

		while (s->names.entries[at])
			at = (at + 1) & s->names.mask;
		s->names.entries[at] = (uint16_t)(i + 1);
	}
}

void decode_properties(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	struct config_schema *s = &((struct config_parameter *)object)->schema;

	if (!decode_is_mapping(dc, k->name, n))
		return;
	if (n->count > MANY_PROPERTIES) {
		decode_error(dc, n->at, "properties: more than %d", MANY_PROPERTIES);
		return;
	}
	s->properties = arena_zalloc(dc->arena, n->count * sizeof(*s->properties));
	for (size_t i = 0; i < n->count; i++) {
		struct config_parameter *p = &s->properties[i];

		decode_schema_into(dc, n->members[i].key->text, n->members[i].value, p);
		p->at = n->members[i].key->at;
		s->property_count++;
		s->has_default |= p->has_default;
	}
	enter_names(dc, s);
}

void decode_pattern_properties(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	struct config_schema *s = &((struct config_parameter *)object)->schema;

	if (!decode_is_mapping(dc, k->name, n))
		return;
	s->patterns = arena_zalloc(dc->arena, n->count * sizeof(*s->patterns));
	for (size_t i = 0; i < n->count; i++) {
		const struct node *pattern = n->members[i].key;

		s->patterns[s->pattern_count++] = (struct config_pattern_property){
			.pattern = pattern->text,
			.compiled = compile_pattern(dc, k->name, pattern),
			.schema = decode_schema(dc, pattern->text, n->members[i].value),
		};
	}
}

/* true, false or a schema. */
void decode_additional(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	struct config_schema *s = &((struct config_parameter *)object)->schema;

	s->additional = n->kind != NODE_BOOL || n->boolean;
	if (n->kind == NODE_MAPPING)
		s->additional_schema = decode_schema(dc, k->name, n);
	else if (n->kind != NODE_BOOL)
		decode_unexpected(dc, k->name, n, "true, false or a schema");
}

/* The texts of a list; NULL: it is none, which was reported. */
static const char **decode_texts(struct decoder *dc, const char *name, const struct node *n, size_t *count)
{
	*count = 0;
	if (n->kind != NODE_SEQUENCE) {
		decode_unexpected(dc, name, n, "a list");
		return NULL;
	}
	const char **texts = arena_array(dc->arena, n->count, sizeof(*texts));
	for (size_t i = 0; i < n->count; i++) {
		if (decode_is_text(dc, name, n->items[i]))
			texts[(*count)++] = n->items[i]->text;
	}
	return texts;
}

void decode_dependent(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	struct config_schema *s = &((struct config_parameter *)object)->schema;

	if (!decode_is_mapping(dc, k->name, n))
		return;
	s->dependents = arena_zalloc(dc->arena, n->count * sizeof(*s->dependents));
	for (size_t i = 0; i < n->count; i++) {
		struct config_dependent *d = &s->dependents[s->dependent_count++];

		d->name = n->members[i].key->text;
		d->required = decode_texts(dc, k->name, n->members[i].value, &d->count);
	}
}

void decode_media_types(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	struct config_schema *s = &((struct config_parameter *)object)->schema;

	if (n->kind == NODE_SEQUENCE) {
		s->media_types = decode_texts(dc, k->name, n, &s->media_type_count);
	} else if (decode_is_text(dc, k->name, n)) {
		s->media_types = arena_array(dc->arena, 1, sizeof(*s->media_types));
		s->media_types[s->media_type_count++] = n->text;
	}
}

/* --- documents and references --- */

void schema_document_begin(struct decoder *dc, struct schema_document *d, const struct node *n,
			   const struct config_schema *root)
{
	const struct node *definitions = node_member(n, "$defs");

	*d = (struct schema_document){.root = root};
	dc->document = d;
	if (!definitions || definitions->kind != NODE_MAPPING)
		return;
	d->count = definitions->count;
	d->names = arena_array(dc->arena, d->count, sizeof(*d->names));
	d->schemas = arena_zalloc(dc->arena, d->count * sizeof(*d->schemas));
	for (size_t i = 0; i < d->count; i++)
		d->names[i] = definitions->members[i].key->text;
}

void schema_document_end(struct decoder *dc)
{
	dc->document = NULL;
}

static const struct config_schema *decode_document(struct decoder *dc, const struct section *words, const char *name,
						   const struct node *n, struct config_parameter *p)
{
	struct schema_document d;

	schema_document_begin(dc, &d, n, &p->schema);
	decode_words(dc, words, name, n, p);
	schema_document_end(dc);
	return &p->schema;
}

void decode_definitions(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	const struct schema_document *d = dc->document;

	if (!decode_is_mapping(dc, k->name, n))
		return;
	if (d->root != &((struct config_parameter *)object)->schema) {
		decode_error(dc, n->at, "$defs: it stands at the top of a schema alone, and no \"$ref\" leads here");
		return;
	}
	for (size_t i = 0; i < n->count; i++)
		decode_schema_into(dc, d->names[i], n->members[i].value, &d->schemas[i]);
}

/* A segment of a JSON pointer: ~1 is /, ~0 is ~ (RFC 6901). */
static const char *unescaped(struct decoder *dc, const char *segment)
{
	char *text = arena_strdup(dc->arena, segment), *to = text;

	for (const char *s = segment; *s; s++) {
		bool escape = *s == '~' && (s[1] == '0' || s[1] == '1');

		*to++ = escape ? (s[1] == '0' ? '~' : '/') : *s;
		s += escape;
	}
	*to = '\0';
	return text;
}

static const struct config_schema *find_schema(struct decoder *dc, const struct node *n,
					       const struct schema_document *d, const char *name)
{
	size_t i = 0, count = d ? d->count : 0;

	while (i < count && strcmp(d->names[i], name) != 0)
		i++;
	if (i < count)
		return &d->schemas[i].schema;
	decode_unknown(dc, n->at, "schema", name, d ? d->names : NULL, count);
	return NULL;
}

void decode_ref(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	static const char definition[] = "#/$defs/", library[] = "#/schemas/";
	struct config_schema *s = &((struct config_parameter *)object)->schema;

	if (!decode_is_text(dc, k->name, n))
		return;
	const char *last = strrchr(n->text, '/');
	if (strcmp(n->text, "#") == 0)
		s->ref = dc->document->root;
	else if (last && (size_t)(last + 1 - n->text) == strlen(definition) &&
		 strncmp(n->text, definition, strlen(definition)) == 0)
		s->ref = find_schema(dc, n, dc->document, unescaped(dc, last + 1));
	else if (last && (size_t)(last + 1 - n->text) == strlen(library) &&
		 strncmp(n->text, library, strlen(library)) == 0)
		s->ref = find_schema(dc, n, dc->library, unescaped(dc, last + 1));
	else
		decode_unexpected(dc, k->name, n, "\"#\", \"#/$defs/NAME\" or \"#/schemas/NAME\"");
}

/* The root's `schemas`. */
void decode_schemas(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	struct schema_document *d = arena_zalloc(dc->arena, sizeof(*d));

	(void)object;
	if (!decode_is_mapping(dc, k->name, n))
		return;
	d->count = n->count;
	d->names = arena_array(dc->arena, n->count, sizeof(*d->names));
	d->schemas = arena_zalloc(dc->arena, n->count * sizeof(*d->schemas));
	for (size_t i = 0; i < n->count; i++) {
		const struct node *name = n->members[i].key;

		d->names[i] = name->text;
		if (!is_name(name->text))
			decode_error(dc, name->at, "schema \"%.100s\": " NAME_RULE, name->text);
	}
	dc->library = d;
	for (size_t i = 0; i < n->count; i++)
		decode_document(dc, &section_schema, d->names[i], n->members[i].value, &d->schemas[i]);
}

/* --- the body --- */

enum { MOST_ITEMS = 10000 }; /* of a body that is an array and says nothing of that */

/* Before all other words, which it is about. */
void decode_body_as(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	struct key word = *k;

	(void)object;
	word.type = KEY_ENUM;
	word.offset = 0;
	word.width = sizeof(dc->endpoint->body_as);
	decode_value(dc, &word, n, &dc->endpoint->body_as);
}

/* What a body that is read like that can be. */
static void check_body_type(struct decoder *dc, const struct node *n, const struct config_endpoint *e)
{
	static const struct {
		enum parameter_type type;
		const char *why;
	} types[] = {
		[BODY_AS_FORM] = {TYPE_OBJECT, "a form is an object"},
		[BODY_AS_BYTES] = {TYPE_ANY, "bytes have no type"},
		[BODY_AS_TEXT] = {TYPE_STRING, "a text is a string"},
		[BODY_AS_NDJSON] = {TYPE_ARRAY, "ndjson is a list: an array"},
		[BODY_AS_CSV] = {TYPE_ARRAY, "csv is a list: an array"},
	};
	bool fits = e->body->type == types[e->body_as].type || (e->body->type == TYPE_ANY && !e->body->types);

	if (e->body_as != BODY_AS_JSON && !fits)
		decode_report(dc, n, "type", types[e->body_as].why);
}

void decode_body(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	struct config_endpoint *e = object;
	struct config_parameter *p = arena_zalloc(dc->arena, sizeof(*p));

	if (e->method == METHOD_GET || e->method == METHOD_DELETE)
		decode_error(dc, n->at, "body: a %s request has none", http_method_names[e->method]);
	e->body = decode_document(dc, &section_body, k->name, n, p);
	if (!p->schema.has_max_items) {
		p->schema.has_max_items = true;
		p->schema.max_items = MOST_ITEMS;
	}
	check_body_type(dc, n, e);
}
