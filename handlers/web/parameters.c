/* Parameters. Whatever a parameter comes from becomes a small tree of JSON first, so that one checker (schema.c) and
 * one conversion to values serve them all. */
#include "handlers/web/parameters.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "base/ascii.h"
#include "base/decimal.h"
#include "base/reason.h"
#include "base/utf8.h"
#include "handlers/web/body.h"
#include "handlers/web/duplicates.h"
#include "handlers/web/mistakes.h"
#include "handlers/web/percent.h"
#include "handlers/web/schema/schema.h"
#include "handlers/web/typed.h"

/* What the client gave for a parameter. */
struct given {
	struct json *value; /* NULL: nothing */
	struct json *array; /* value, while it is collected item by item */
	struct json *last;  /* its last item */
	bool refused;       /* a mistake was reported already */
};

struct collector {
	struct parameters *out;
	struct exchange *x;
	const struct route_match *match;
	const struct config_endpoint *endpoint;
	struct arena *arena;
	struct mistakes mistakes;
	struct schema_check *check;
	struct given *given; /* for each parameter */
	struct body read;
	struct json *body;    /* the tree of it; NULL: none */
	struct span *unknown; /* query parameters that were reported, MISTAKES_MAX of them at most */
	size_t unknown_count;
};

static bool same_text(struct span a, const char *b)
{
	return strlen(b) == a.len && memcmp(a.base, b, a.len) == 0;
}

/* Of the body as a whole: its name is empty. */
static void refuse_name(struct collector *c, enum parameter_in in, const char *name, const char *keyword,
			const char *detail)
{
	const struct mistake_place at = mistake_at(in, name);

	mistake_add(&c->mistakes, &at, keyword, "%s", detail);
}

static void refuse_parameter(struct collector *c, size_t i, const char *detail)
{
	const struct config_parameter *p = &c->endpoint->parameters[i];

	if (!c->given[i].refused)
		refuse_name(c, p->in, p->name, NULL, detail);
	c->given[i].refused = true;
}

/* One more text for parameter i: an item where it is an array, its value else. */
static void give(struct collector *c, size_t i, struct span text)
{
	const struct config_schema *s = &c->endpoint->parameters[i].schema;
	struct given *given = &c->given[i];

	if (s->type != TYPE_ARRAY) {
		if (given->value)
			refuse_parameter(c, i, MISTAKE_TWICE);
		else
			given->value = typed_text(c->arena, text, s);
		return;
	}
	if (!given->array) {
		given->array = arena_zalloc(c->arena, sizeof(*given->array));
		given->array->kind = JSON_ARRAY;
		given->value = given->array;
	}
	struct json *item = typed_text(c->arena, text, s->items ? s->items : &typed_any_text);
	if (given->last)
		given->last->next = item;
	else
		given->array->child = item;
	given->last = item;
	given->array->count++;
}

/* --- the path --- */

static void collect_path(struct collector *c)
{
	for (size_t i = 0; i < c->endpoint->parameter_count; i++) {
		const struct config_parameter *p = &c->endpoint->parameters[i];

		if (p->in != IN_PATH)
			continue;
		for (size_t k = 0; k < c->match->count; k++)
			if (strcmp(c->match->names[k], p->name) == 0)
				give(c, i, c->match->values[k]);
	}
}

/* --- headers --- */

static struct span trimmed(struct span s)
{
	while (s.len > 0 && (*s.base == ' ' || *s.base == '\t'))
		s = (struct span){s.base + 1, s.len - 1};
	while (s.len > 0 && (s.base[s.len - 1] == ' ' || s.base[s.len - 1] == '\t'))
		s.len--;
	return s;
}

static const char *lower_case(struct arena *a, const char *name)
{
	char *copy = arena_strdup(a, name);

	for (char *s = copy; *s; s++)
		*s = ascii_lower(*s);
	return copy;
}

static void give_list(struct collector *c, size_t i, struct span list)
{
	const char *end = list.base + list.len;

	for (const char *s = list.base; s < end;) {
		const char *comma = memchr(s, ',', (size_t)(end - s));
		const char *item_end = comma ? comma : end;
		struct span item = trimmed((struct span){s, (size_t)(item_end - s)});

		if (item.len > 0)
			give(c, i, item);
		s = item_end + 1;
	}
}

static void collect_headers(struct collector *c)
{
	for (size_t i = 0; i < c->endpoint->parameter_count; i++) {
		const struct config_parameter *p = &c->endpoint->parameters[i];

		if (p->in != IN_HEADER)
			continue;
		/* All of them: who takes the first, where a proxy adds the one that counts, believes the client. */
		struct span value = exchange_header_list(c->x, lower_case(c->arena, p->name));
		if (!value.base)
			continue;
		value = trimmed(value);
		if (!utf8_valid(value.base, value.len))
			refuse_parameter(c, i, MISTAKE_UTF8);
		else if (p->schema.type == TYPE_ARRAY)
			give_list(c, i, value);
		else
			give(c, i, value);
	}
}

/* --- the query --- */

static void unknown_parameter(struct collector *c, struct span name)
{
	for (size_t i = 0; i < c->unknown_count; i++)
		if (c->unknown[i].len == name.len && memcmp(c->unknown[i].base, name.base, name.len) == 0)
			return;
	if (!c->unknown)
		c->unknown = arena_array(c->arena, MISTAKES_MAX, sizeof(*c->unknown));
	if (c->unknown_count < MISTAKES_MAX)
		c->unknown[c->unknown_count++] = name;
	const struct mistake_place at = {.in = IN_QUERY, .name = name.base, .name_len = name.len};
	mistake_add(&c->mistakes, &at, NULL, MISTAKE_UNKNOWN);
}

/* The number of the query parameter of that name; parameter_count: none is declared. */
static size_t query_parameter(const struct collector *c, struct span name)
{
	size_t i = 0;

	while (i < c->endpoint->parameter_count &&
	       !(c->endpoint->parameters[i].in == IN_QUERY && same_text(name, c->endpoint->parameters[i].name)))
		i++;
	return i;
}

/* One piece of the query, between two `&`; `to` has room for it decoded. */
static void query_pair(struct collector *c, struct span piece, char *to)
{
	const char *equals = memchr(piece.base, '=', piece.len);
	size_t name_len = equals ? (size_t)(equals - piece.base) : piece.len;
	size_t value_len = equals ? piece.len - name_len - 1 : 0;

	ssize_t n = percent_decode(to, piece.base, name_len, true);
	if (n < 0) {
		if (!c->endpoint->additional)
			refuse_name(c, IN_QUERY, "", NULL, MISTAKE_NAME_PERCENT);
		return;
	}
	struct span name = {to, (size_t)n};
	size_t i = query_parameter(c, name);
	if (i == c->endpoint->parameter_count) {
		if (!c->endpoint->additional)
			unknown_parameter(c, name);
		return;
	}

	to += n;
	n = percent_decode(to, piece.base + piece.len - value_len, value_len, true);
	if (n < 0)
		refuse_parameter(c, i, MISTAKE_PERCENT);
	else
		give(c, i, (struct span){to, (size_t)n});
}

static void collect_query(struct collector *c)
{
	struct span query = c->x->query;

	if (query.len == 0)
		return;
	char *to = arena_alloc(c->arena, query.len);
	const char *end = query.base + query.len;
	for (const char *s = query.base; s < end;) {
		const char *ampersand = memchr(s, '&', (size_t)(end - s));
		struct span piece = {s, (size_t)((ampersand ? ampersand : end) - s)};

		if (piece.len > 0)
			query_pair(c, piece, to + (s - query.base));
		s += piece.len + 1;
	}
}

/* --- the body --- */

static bool takes_body_parameters(const struct config_endpoint *e)
{
	for (size_t i = 0; i < e->parameter_count; i++)
		if (e->parameters[i].in == IN_BODY)
			return true;
	return false;
}

static bool parse_body(struct collector *c)
{
	size_t values = 0;

	if (!body_read(&c->read, c->endpoint, c->x, &c->mistakes))
		return false;
	c->body = c->read.tree;
	bool right = !c->body || duplicates_none(&c->mistakes, c->body, c->arena, &values);
	schema_check_allow(c->check, values);
	return right;
}

static void body_members(struct collector *c)
{
	for (size_t i = 0; i < c->endpoint->parameter_count; i++) {
		const struct config_parameter *p = &c->endpoint->parameters[i];

		if (p->in == IN_BODY && c->body)
			c->given[i].value = (struct json *)(uintptr_t)json_member(c->body, p->name, strlen(p->name));
	}
}

/* The body as a whole is wrong: that is one mistake, not one more for each parameter that was not found. */
static void refuse_body(struct collector *c)
{
	for (size_t i = 0; i < c->endpoint->parameter_count; i++)
		if (c->endpoint->parameters[i].in == IN_BODY)
			c->given[i].refused = true;
}

static void check_body(struct collector *c)
{
	const struct config_schema *schema = c->endpoint->body;

	if (c->body && schema)
		schema_check(c->check, schema, c->body, "", IN_BODY);
	else if (!c->body && !c->read.bytes.base && (schema ? !schema->nullable : c->out->body_wanted == BODY_REQUIRED))
		refuse_name(c, IN_BODY, "", "required", MISTAKE_REQUIRED);
}

/* Returns 0, or -EMEDIUMTYPE: what is declared can't be found in a body of this type. */
static int collect_body(struct collector *c)
{
	bool parameters = takes_body_parameters(c->endpoint);
	bool json = body_is_of_type(c->endpoint->body_as, c->x->content_type);
	bool whole = c->endpoint->body || c->out->body_wanted != BODY_ANY;

	if (c->x->body.len > 0) {
		if (!json && (parameters || whole))
			return -EMEDIUMTYPE;
		if (json && !parse_body(c)) {
			refuse_body(c);
			return 0;
		}
	}
	if (c->body && parameters && c->body->kind != JSON_OBJECT) {
		refuse_name(c, IN_BODY, "", "type", MISTAKE_BODY_OBJECT);
		refuse_body(c);
		return 0;
	}
	body_members(c);
	if (whole)
		check_body(c);
	return 0;
}

/* --- values --- */

static struct value absent_value(struct collector *c, const struct config_parameter *p)
{
	struct value v = p->has_default ? p->default_value : VALUE_OF_NULL;

	if (p->required && !p->has_default)
		refuse_name(c, p->in, p->name, "required", MISTAKE_REQUIRED);
	if (v.kind == VALUE_STRING)
		v.subtype = (uint8_t)p->schema.format;
	v.from_request = false;
	return v;
}

static void check_parameter(struct collector *c, size_t i)
{
	const struct config_parameter *p = &c->endpoint->parameters[i];
	struct value *out = &c->out->values[i];
	struct json *j = c->given[i].value;

	if (c->given[i].refused)
		return;
	if (!j)
		*out = absent_value(c, p);
	else if (schema_check(c->check, &p->schema, j, p->name, p->in))
		*out = typed_value(c->arena, &p->schema, j);
}

/* --- all of it --- */

static void collect(struct collector *c)
{
	collect_path(c);
	collect_headers(c);
	collect_query(c);
}

static int refuse(struct collector *c, struct error *e, struct buf *errors_json)
{
	mistakes_render(&c->mistakes, errors_json);
	return error_say(e, -EINVAL, REASON_PARAMETERS_WRONG, "%s: %zu mistake%s in parameters", c->endpoint->name,
			 c->mistakes.count, c->mistakes.count == 1 ? "" : "s");
}

int parameters_parse(struct parameters *p, struct exchange *x, const struct route_match *m, struct error *e,
		     struct buf *errors_json)
{
	struct buf list = BUF_INIT;
	struct collector c = {
		.out = p,
		.x = x,
		.match = m,
		.endpoint = m->endpoint,
		.arena = &x->arena,
		.mistakes = {.json = &list},
	};
	size_t count = c.endpoint->parameter_count;
	int r;

	p->values = arena_array(c.arena, count, sizeof(*p->values));
	p->body = VALUE_OF_NULL;
	c.given = arena_array(c.arena, count, sizeof(*c.given));
	c.check = schema_check_begin(&c.mistakes, c.arena);
	collect(&c);
	r = collect_body(&c);
	if (r < 0) {
		r = body_refuse_type(x, c.endpoint, e);
		goto end_check;
	}
	for (size_t i = 0; i < count; i++)
		check_parameter(&c, i);
	if (c.mistakes.count > 0)
		r = refuse(&c, e, errors_json);
	else if (c.body || c.read.bytes.base)
		p->body = c.endpoint->body ? body_value(&c.read, c.endpoint, c.arena)
					   : typed_scalar(&typed_any_text, c.body);
end_check:
	schema_check_end(c.check);
	buf_done(&list);
	return r;
}
