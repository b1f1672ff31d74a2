/* The JSON Schema of the language, from the tables: what an editor needs to complete keys and to show mistakes. */
#include <inttypes.h>
#include <string.h>

#include "base/json_out.h"
#include "config/language.h"
#include "config/scalar.h"

/* Shapes that several keys share. ${NAME} may stand for any scalar, whatever its type. */
static const struct {
	const char *name, *shape;
} shapes[] = {
	{"variable", "{\"description\":\"An environment variable: ${NAME} or ${NAME:-default}.\",\"type\":\"string\","
		     "\"pattern\":\"\\\\$\\\\{\"}"},
	{"size", "{\"description\":\"A number with B, KiB, MiB or GiB.\",\"anyOf\":[{\"const\":0},{\"type\":\"string\","
		 "\"pattern\":\"^[0-9]+(\\\\.[0-9]+)?(B|KiB|MiB|GiB)$\"},{\"$ref\":\"#/$defs/variable\"}]}"},
	{"duration", "{\"description\":\"A number with ms, s, m or h.\",\"anyOf\":[{\"const\":0},{\"type\":\"string\","
		     "\"pattern\":\"^[0-9]+(\\\\.[0-9]+)?(ms|s|m|h)$\"},{\"$ref\":\"#/$defs/variable\"}]}"},
	{"address", "{\"description\":\"HOST:PORT with a numeric host or localhost, or "
		    "unix:/path.\",\"type\":\"string\",\"anyOf\":"
		    "[{\"pattern\":\"^(\\\\[[0-9A-Fa-f:.]+\\\\]|[0-9.]+|localhost):[0-9]{1,5}$\"},{\"pattern\":"
		    "\"^unix:/.\"},{\"$ref\":\"#/$defs/variable\"}]}"},
	{"secret", "{\"description\":\"A text, or where it is to be found.\",\"anyOf\":[{\"type\":\"string\","
		   "\"minLength\":1},{\"$ref\":\"#/$defs/secret_place\"}]}"},
};

static void print_words(struct buf *out, const struct key *k)
{
	buf_lit(out, "\"enum\":[");
	for (size_t i = 0; k->words[i]; i++) {
		if (i)
			buf_char(out, ',');
		json_string(out, k->words[i], strlen(k->words[i]));
	}
	buf_char(out, ']');
}

static void print_kinds(struct buf *out, unsigned kinds)
{
	static const char *const names[] = {
		[NODE_BOOL] = "boolean",  [NODE_INT] = "integer",    [NODE_FLOAT] = "number",
		[NODE_STRING] = "string", [NODE_SEQUENCE] = "array", [NODE_MAPPING] = "object",
	};
	bool first = true;
	buf_lit(out, "\"type\":[");
	for (unsigned kind = 0; kind < ARRAY_SIZE(names); kind++) {
		if (!(kinds & BIT(kind)) || !names[kind])
			continue;
		buf_printf(out, "%s\"%s\"", first ? "" : ",", names[kind]);
		first = false;
	}
	buf_char(out, ']');
}

/* A reference to the source or the step of each kind. */
static void print_references(struct buf *out, const struct language *l, bool steps)
{
	for (size_t i = 0; i < l->kind_count; i++)
		buf_printf(out, "%s{\"$ref\":\"#/$defs/%s\"}", i ? "," : "",
			   steps ? l->kinds[i]->step->name : l->kinds[i]->source->name);
}

static void print_shape(struct buf *out, const char *shape, size_t len, const struct language *l)
{
	static const char *const marks[] = {"@sources", "@steps"};
	const char *end = shape + len, *at;

	while ((at = memchr(shape, '@', (size_t)(end - shape)))) {
		bool steps = strncmp(at, marks[1], strlen(marks[1])) == 0;
		buf_append(out, shape, (size_t)(at - shape));
		print_references(out, l, steps);
		shape = at + strlen(marks[steps]);
	}
	buf_append(out, shape, (size_t)(end - shape));
}

/* What a value must be, as one member of a schema; nothing if anything goes. */
static void print_type(struct buf *out, const struct key *k, const struct language *l)
{
	switch (k->type) {
	case KEY_BOOL:
		buf_lit(out, "\"anyOf\":[{\"type\":\"boolean\"},{\"$ref\":\"#/$defs/variable\"}]");
		break;
	case KEY_INTEGER:
		buf_printf(out, "\"anyOf\":[{\"type\":\"integer\",\"minimum\":%" PRId64, k->minimum);
		if (k->maximum != INT64_MAX)
			buf_printf(out, ",\"maximum\":%" PRId64, k->maximum);
		buf_lit(out, "},{\"$ref\":\"#/$defs/variable\"}]");
		break;
	case KEY_NUMBER:
		buf_lit(out, "\"anyOf\":[{\"type\":\"number\"},{\"$ref\":\"#/$defs/variable\"}]");
		break;
	case KEY_SIZE:
		buf_lit(out, "\"$ref\":\"#/$defs/size\"");
		break;
	case KEY_DURATION:
		buf_lit(out, "\"$ref\":\"#/$defs/duration\"");
		break;
	case KEY_STRING:
		buf_lit(out, "\"type\":\"string\",\"minLength\":1");
		break;
	case KEY_ENUM:
		buf_lit(out, "\"anyOf\":[{");
		print_words(out, k);
		buf_lit(out, "},{\"$ref\":\"#/$defs/variable\"}]");
		break;
	case KEY_NODE:
		if (k->kinds)
			print_kinds(out, k->kinds);
		break;
	case KEY_SECTION:
		buf_printf(out, "\"$ref\":\"#/$defs/%s\"", k->section->name);
		break;
	case KEY_CUSTOM:
		print_shape(out, k->shape + 1, strlen(k->shape) - 2, l); /* its members */
		break;
	case KEY_LATER:
		break;
	}
}

/* The initial value in JSON: as it is written, in quotes unless it is a number or a word of JSON. */
static void print_initial(struct buf *out, const struct key *k)
{
	size_t len = strlen(k->initial);

	buf_lit(out, ",\"default\":");
	if (scalar_kind(k->initial, len) == NODE_STRING)
		json_string(out, k->initial, len);
	else
		buf_append(out, k->initial, len);
}

static void print_key(struct buf *out, const struct key *k, const struct language *l)
{
	json_string(out, k->name, strlen(k->name));
	buf_lit(out, ":{\"description\":");
	json_string(out, k->help, strlen(k->help));
	if (k->type != KEY_NODE || k->kinds)
		buf_char(out, ',');
	print_type(out, k, l);
	if (k->initial)
		print_initial(out, k);
	buf_char(out, '}');
}

static void print_required(struct buf *out, const struct section *s)
{
	const struct key *k;
	bool first = true;

	for (size_t i = 0; (k = section_key(s, i)); i++) {
		if (!k->required)
			continue;
		buf_str(out, first ? ",\"required\":[" : ",");
		json_string(out, k->name, strlen(k->name));
		first = false;
	}
	if (!first)
		buf_char(out, ']');
}

/* The members of a section's schema, without braces. */
static void print_section(struct buf *out, const struct section *s, const struct language *l)
{
	const struct key *k;
	bool first = true;

	buf_lit(out, "\"type\":\"object\",\"properties\":{");
	for (size_t i = 0; (k = section_key(s, i)); i++) {
		if (k->type == KEY_LATER)
			continue;
		if (!first)
			buf_char(out, ',');
		print_key(out, k, l);
		first = false;
	}
	buf_char(out, '}');
	print_required(out, s);
	if (s->shape)
		buf_str(out, s->shape);
	buf_lit(out, ",\"additionalProperties\":false");
}

void config_schema_print(struct buf *out, const struct language *l)
{
	buf_lit(out,
		"{\"$schema\":\"https://json-schema.org/draft/2020-12/schema\",\"title\":\"gatherd configuration\",");
	print_section(out, &section_root, l);
	buf_lit(out, ",\"$defs\":{");
	for (size_t i = 0; i < ARRAY_SIZE(shapes); i++)
		buf_printf(out, "%s\"%s\":%s", i ? "," : "", shapes[i].name, shapes[i].shape);
	const struct section *section;
	for (size_t i = 0; (section = language_section(l, i)); i++) {
		buf_printf(out, ",\"%s\":{", section->name);
		print_section(out, section, l);
		buf_char(out, '}');
	}
	buf_lit(out, "}}\n");
}
