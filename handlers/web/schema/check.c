/* The walk over a value, and what holds for values of every kind. It goes down both the value, which is at most
 * JSON_MAX_DEPTH deep, and the schemas that apply to one value, whose depth config/schema_circles.c bounds. */
#include <string.h>

#include "base/decimal.h"
#include "handlers/web/schema/internal.h"

enum { VISITS_MAX = 100000 };

struct schema_check *schema_check_begin(struct mistakes *m, struct arena *a)
{
	struct schema_check *c = arena_zalloc(a, sizeof(*c));

	c->mistakes = m;
	c->arena = a;
	c->visits = VISITS_MAX;
	return c;
}

void schema_check_allow(struct schema_check *c, size_t values)
{
	c->visits += values;
}

void schema_check_end(struct schema_check *c)
{
	pcre2_match_context_free(c->limits);
	pcre2_match_data_free(c->match);
}

bool schema_spend(struct schema_check *c, size_t n)
{
	if (n <= c->visits) {
		c->visits -= n;
		return true;
	}
	c->visits = 0;
	c->exhausted = true;
	return false;
}

/* --- type, enum, const --- */

static bool is_of_type(enum parameter_type type, const struct json *j)
{
	switch (type) {
	case TYPE_STRING:
		return j->kind == JSON_STRING;
	case TYPE_INTEGER:
		return j->kind == JSON_NUMBER && decimal_is_integer(j->text, j->len);
	case TYPE_NUMBER:
		return j->kind == JSON_NUMBER;
	case TYPE_BOOLEAN:
		return j->kind == JSON_BOOL;
	case TYPE_ARRAY:
		return j->kind == JSON_ARRAY;
	case TYPE_OBJECT:
		return j->kind == JSON_OBJECT;
	case TYPE_ANY:
		break;
	}
	return true;
}

static bool type_fits(const struct config_schema *s, const struct json *j)
{
	if (j->kind == JSON_NULL && s->nullable)
		return true;
	if (!s->types)
		return is_of_type(s->type, j);
	for (unsigned type = 0; type < TYPE_ANY; type++) {
		if ((s->types & BIT(type)) && is_of_type((enum parameter_type)type, j))
			return true;
	}
	return false;
}

static bool number_equals(const struct value *v, const struct json *j)
{
	struct buf digits = BUF_INIT;

	if (v->kind == VALUE_NUMBER)
		return decimal_compare(v->text, v->len, j->text, j->len) == 0;
	buf_int(&digits, v->integer);
	bool equal = decimal_compare(digits.data, digits.len, j->text, j->len) == 0;
	buf_done(&digits);
	return equal;
}

static bool container_equals(struct schema_check *c, const struct value *v, const struct json *j)
{
	struct buf wanted = BUF_INIT, given = BUF_INIT;

	if (v->json->kind != j->kind || v->json->count != j->count || !schema_spend(c, j->count + j->raw_len / 64))
		return false;
	json_canonical(&wanted, v->json, c->arena);
	json_canonical(&given, j, c->arena);
	bool equal = wanted.len == given.len && memcmp(wanted.data, given.data, given.len) == 0;
	buf_done(&wanted);
	buf_done(&given);
	return equal;
}

static bool equals(struct schema_check *c, const struct value *v, const struct json *j)
{
	switch (v->kind) {
	case VALUE_NULL:
		return j->kind == JSON_NULL;
	case VALUE_BOOL:
		return j->kind == JSON_BOOL && j->boolean == v->boolean;
	case VALUE_INT:
	case VALUE_NUMBER:
		return j->kind == JSON_NUMBER && number_equals(v, j);
	case VALUE_STRING:
		return j->kind == JSON_STRING && j->len == v->len && memcmp(j->text, v->text, v->len) == 0;
	case VALUE_JSON:
		return j->kind >= JSON_ARRAY && container_equals(c, v, j);
	default:
		return false; /* the configuration brings no others */
	}
}

static bool is_enumerated(struct schema_check *c, const struct config_schema *s, const struct json *j)
{
	for (size_t i = 0; i < s->enumeration_count; i++) {
		if (equals(c, &s->enumeration[i], j))
			return true;
	}
	return s->enumeration_count == 0;
}

/* --- the walk --- */

static bool check_kind(struct schema_check *c, const struct config_schema *s, struct json *j)
{
	switch (j->kind) {
	case JSON_NUMBER:
		return schema_number(c, s, j);
	case JSON_STRING:
		return schema_string(c, s, j);
	case JSON_ARRAY:
		return schema_array(c, s, j);
	case JSON_OBJECT:
		return schema_object(c, s, j);
	case JSON_NULL:
	case JSON_BOOL:
		break;
	}
	return true;
}

/* Whoever uses the value may know that it is an array or an object. */
static void mark(const struct config_schema *s, struct json *j)
{
	if (j->kind == JSON_ARRAY)
		j->declared |= s->type == TYPE_ARRAY || (s->types & BIT(TYPE_ARRAY));
	else if (j->kind == JSON_OBJECT)
		j->declared |= s->type == TYPE_OBJECT || (s->types & BIT(TYPE_OBJECT));
}

bool schema_visit(struct schema_check *c, const struct config_schema *s, struct json *j)
{
	bool right = true;

	if (!schema_spend(c, 1))
		return false;
	if (s->never)
		return schema_found(c, s, KEYWORD_NEVER);
	if (s->read_only && c->depth > 0)
		return schema_found(c, s, KEYWORD_READ_ONLY);
	if (!type_fits(s, j))
		return schema_found(c, s, KEYWORD_TYPE);
	if (s->file)
		return schema_file(c, s, j);
	if (s->enumeration_count && !is_enumerated(c, s, j))
		right = schema_found(c, s, KEYWORD_ENUM);
	if (s->constant && !equals(c, s->constant, j))
		right = schema_found(c, s, KEYWORD_CONST);
	if (!right && (c->quiet || j->kind < JSON_ARRAY))
		return false;
	right &= check_kind(c, s, j);
	if (s->applies && (right || !c->quiet))
		right &= schema_combined(c, s, j);
	if (right)
		mark(s, j);
	return right;
}

void schema_enter(struct schema_check *c, const struct json *child, uint32_t index, bool item)
{
	if (!c->path)
		c->path = arena_array(c->arena, JSON_MAX_DEPTH, sizeof(*c->path));
	c->path[c->depth++] = (struct mistake_step){.child = child, .index = index, .item = item};
}

void schema_leave(struct schema_check *c)
{
	c->depth--;
}

bool schema_fits(struct schema_check *c, const struct config_schema *s, struct json *j)
{
	c->quiet++;
	c->branches++;
	bool fits = schema_visit(c, s, j);
	c->branches--;
	c->quiet--;
	return fits;
}

bool schema_check(struct schema_check *c, const struct config_schema *s, struct json *j, const char *name,
		  enum parameter_in in)
{
	c->name = name;
	c->in = in;
	c->depth = 0;
	c->kept = c->lost = c->first = 0;
	c->progress = (struct progress){0};
	bool right = schema_visit(c, s, j);
	if (c->exhausted) {
		/* The mistakes that are known by now are only a part of all. */
		c->kept = c->lost = 0;
		schema_found(c, s, KEYWORD_COMPLEX);
		right = false;
	}
	findings_render(c);
	return right;
}
