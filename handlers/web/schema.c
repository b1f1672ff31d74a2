/* Checking values against schemas. The walk keeps a stack of the containers that it is in, which also says where a
 * mistake is; it goes no deeper than the schema has words for. Patterns are matched with limits, and all patterns of a
 * request together get a share of CPU time: a pattern that backtracks without end is a mistake of its parameter. */
#include "handlers/web/schema.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/decimal.h"
#include "base/format.h"
#include "base/json_out.h"
#include "base/reason.h"
#include "base/utf8.h"

enum {
	PATTERN_MATCH_LIMIT = 100000,
	PATTERN_DEPTH_LIMIT = 10000,
	PATTERN_HEAP_LIMIT_KIB = 1024,
	PATTERN_SHORT_BYTES = 2048,
	PATTERN_BUDGET_NS = 20 * 1000 * 1000, /* of the thread's CPU time, a request */
};

/* A container that the walk is in. */
struct frame {
	const struct config_schema *schema;
	const struct json *container;
	struct json *child; /* where it is; NULL before the first */
	size_t index;       /* of child */
};

struct schema_check {
	struct mistakes *mistakes;
	struct arena *arena;
	const char *name; /* of the value that is checked */
	enum parameter_in in;
	bool right;           /* no mistake so far in this value */
	struct frame *frames; /* JSON_MAX_DEPTH of them; NULL until the first container */
	size_t depth;
	pcre2_match_context *limits; /* NULL until the first pattern */
	pcre2_match_data *match;
	int64_t patterns_until_ns; /* CPU time */
};

static int64_t thread_cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

struct schema_check *schema_check_begin(struct mistakes *m, struct arena *a)
{
	struct schema_check *c = arena_zalloc(a, sizeof(*c));

	c->mistakes = m;
	c->arena = a;
	return c;
}

void schema_check_end(struct schema_check *c)
{
	pcre2_match_context_free(c->limits);
	pcre2_match_data_free(c->match);
}

/* --- saying what is wrong --- */

/* Where the walk is, as `name.member[3]`, and below it `member`, which may be NULL. */
static struct span place(const struct schema_check *c, const char *member)
{
	struct buf path = BUF_INIT;

	buf_str(&path, c->name);
	for (size_t i = 0; i < c->depth && path.len < 1024; i++) {
		const struct frame *f = &c->frames[i];

		if (f->container->kind == JSON_ARRAY) {
			buf_printf(&path, "[%zu]", f->index);
			continue;
		}
		if (path.len > 0)
			buf_char(&path, '.');
		buf_append(&path, f->child->name, f->child->name_len);
	}
	if (member) {
		if (path.len > 0)
			buf_char(&path, '.');
		buf_str(&path, member);
	}
	if (path.len == 0)
		buf_lit(&path, "body");
	struct span out = {arena_strndup(c->arena, path.data, path.len), path.len};
	buf_done(&path);
	return out;
}

#define wrong(c, ...) wrong_member((c), NULL, __VA_ARGS__)
#define wrong_member(c, member, ...)                                                                                   \
	((c)->right = false, mistake_add((c)->mistakes, place((c), (member)), (c)->in, __VA_ARGS__))

static void wrong_choice(struct schema_check *c, const struct config_schema *s)
{
	struct buf choices = BUF_INIT;

	for (size_t i = 0; i < s->enumeration_count && choices.len < 300; i++) {
		if (i > 0)
			buf_lit(&choices, ", ");
		value_text(&s->enumeration[i], &choices);
	}
	wrong(c, MISTAKE_CHOICE, buf_cstr(&choices));
	buf_done(&choices);
}

/* --- scalars --- */

static bool number_equals(const struct value *v, const struct json *j)
{
	if (v->kind == VALUE_NUMBER)
		return decimal_compare(v->text, v->len, j->text, j->len) == 0;

	char digits[24];
	int n = snprintf(digits, sizeof(digits), "%lld", (long long)v->integer);
	return decimal_compare(digits, (size_t)n, j->text, j->len) == 0;
}

/* Arrays and objects are equal where their compact texts are; those that were collected from texts have none. */
static bool text_equals(const struct value *v, const struct json *j)
{
	struct buf wanted = BUF_INIT, given = BUF_INIT;

	if (!j->raw)
		return false;
	value_render(v, &wanted);
	json_compact(&given, j->raw, j->raw_len);
	bool equal = wanted.len == given.len && memcmp(wanted.data, given.data, given.len) == 0;
	buf_done(&wanted);
	buf_done(&given);
	return equal;
}

static bool equals(const struct value *v, const struct json *j)
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
	case VALUE_LIST:
	case VALUE_DOCUMENT:
	case VALUE_JSON:
	case VALUE_FOREIGN:
	case VALUE_BYTES:
		return j->kind >= JSON_ARRAY && text_equals(v, j);
	}
	return false;
}

static bool is_enumerated(const struct config_schema *s, const struct json *j)
{
	for (size_t i = 0; i < s->enumeration_count; i++)
		if (equals(&s->enumeration[i], j))
			return true;
	return s->enumeration_count == 0;
}

static void check_number(struct schema_check *c, const struct config_schema *s, const struct json *j)
{
	int64_t n;

	if (s->type == TYPE_INTEGER && !decimal_to_int64(j->text, j->len, &n))
		wrong(c, MISTAKE_INT64, (long long)INT64_MIN, (long long)INT64_MAX);
	else if (s->has_minimum && decimal_compare(j->text, j->len, s->minimum, strlen(s->minimum)) < 0)
		wrong(c, MISTAKE_MINIMUM, s->minimum);
	else if (s->has_maximum && decimal_compare(j->text, j->len, s->maximum, strlen(s->maximum)) > 0)
		wrong(c, MISTAKE_MAXIMUM, s->maximum);
}

static bool prepare_patterns(struct schema_check *c)
{
	if (c->limits)
		return true;
	if (!c->match)
		c->match = pcre2_match_data_create(1, NULL);
	c->limits = pcre2_match_context_create(NULL);
	if (!c->limits || !c->match)
		return false;
	pcre2_set_match_limit(c->limits, PATTERN_MATCH_LIMIT);
	pcre2_set_depth_limit(c->limits, PATTERN_DEPTH_LIMIT);
	pcre2_set_heap_limit(c->limits, PATTERN_HEAP_LIMIT_KIB);
	c->patterns_until_ns = thread_cpu_ns() + PATTERN_BUDGET_NS;
	return true;
}

static bool is_anchored(const pcre2_code *code)
{
	uint32_t options = 0;

	pcre2_pattern_info(code, PCRE2_INFO_ALLOPTIONS, &options);
	return options & PCRE2_ANCHORED;
}

/* Returns whether the pattern matches somewhere, or PCRE2_ERROR_MATCHLIMIT and the like. A search tries every start,
 * and each try may run to the end of the text: quadratic in a way that PCRE2's limits do not count. So long texts are
 * searched start by start, with an eye on the budget. The text was checked to be UTF-8 when it was read. */
static int search(struct schema_check *c, const pcre2_code *code, const char *text, size_t len)
{
	if (thread_cpu_ns() > c->patterns_until_ns)
		return PCRE2_ERROR_MATCHLIMIT;
	if (len <= PATTERN_SHORT_BYTES || is_anchored(code))
		return pcre2_match(code, (PCRE2_SPTR)text, len, 0, PCRE2_NO_UTF_CHECK, c->match, c->limits);

	for (size_t start = 0; start <= len; start++) {
		if (start < len && ((unsigned char)text[start] & 0xC0) == 0x80)
			continue;
		int r = pcre2_match(code, (PCRE2_SPTR)text, len, start, PCRE2_NO_UTF_CHECK | PCRE2_ANCHORED, c->match,
				    c->limits);
		if (r != PCRE2_ERROR_NOMATCH)
			return r;
		if (thread_cpu_ns() > c->patterns_until_ns)
			return PCRE2_ERROR_MATCHLIMIT;
	}
	return PCRE2_ERROR_NOMATCH;
}

static void check_pattern(struct schema_check *c, const struct config_schema *s, const struct json *j)
{
	int r = prepare_patterns(c) ? search(c, s->pattern_compiled, j->text, j->len) : PCRE2_ERROR_NOMEMORY;

	if (r == PCRE2_ERROR_NOMATCH)
		wrong(c, MISTAKE_PATTERN, s->pattern);
	else if (r < 0)
		wrong(c, MISTAKE_PATTERN_SLOW);
}

static const char *plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

/* minLength and maxLength: characters of strings, items of arrays. */
static bool check_length(struct schema_check *c, const struct config_schema *s, uint64_t length, const char *unit)
{
	if (s->has_min_length && length < s->min_length) {
		wrong(c, MISTAKE_SHORT, (unsigned long long)s->min_length, unit, plural(s->min_length));
		return false;
	}
	if (s->has_max_length && length > s->max_length) {
		wrong(c, MISTAKE_LONG, (unsigned long long)s->max_length, unit, plural(s->max_length));
		return false;
	}
	return true;
}

static void check_string(struct schema_check *c, const struct config_schema *s, const struct json *j)
{
	if (memchr(j->text, '\0', j->len)) {
		wrong(c, MISTAKE_NUL);
		return;
	}
	if (!check_length(c, s, utf8_length(j->text, j->len), "character"))
		return;
	if (!format_valid(s->format, j->text, j->len))
		wrong(c, MISTAKE_TYPE, format_description(s->format));
	else if (s->pattern_compiled)
		check_pattern(c, s, j);
}

/* --- containers --- */

static void enter(struct schema_check *c, const struct config_schema *s, const struct json *j)
{
	if (!j->child || c->depth == JSON_MAX_DEPTH)
		return;
	if (!c->frames)
		c->frames = arena_array(c->arena, JSON_MAX_DEPTH, sizeof(*c->frames));
	c->frames[c->depth++] = (struct frame){.schema = s, .container = j};
}

static void check_array(struct schema_check *c, const struct config_schema *s, const struct json *j)
{
	if (check_length(c, s, j->count, "item") && s->items)
		enter(c, s, j);
}

static void check_object(struct schema_check *c, const struct config_schema *s, const struct json *j)
{
	for (size_t i = 0; i < s->property_count; i++) {
		const struct config_parameter *p = &s->properties[i];

		if (p->required && !json_member(j, p->name, strlen(p->name)))
			wrong_member(c, p->name, MISTAKE_REQUIRED);
	}
	if (s->property_count > 0 || !s->additional)
		enter(c, s, j);
}

static const struct config_schema *property_schema(const struct config_schema *s, const struct json *member)
{
	for (size_t i = 0; i < s->property_count; i++) {
		const char *name = s->properties[i].name;

		if (strncmp(name, member->name, member->name_len) == 0 && strlen(name) == member->name_len)
			return &s->properties[i].schema;
	}
	return NULL;
}

/* --- the walk --- */

static bool type_fits(enum parameter_type type, const struct json *j)
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

static const char *const type_descriptions[] = {
	[TYPE_STRING] = "a string",       [TYPE_INTEGER] = "an integer", [TYPE_NUMBER] = "a number",
	[TYPE_BOOLEAN] = "true or false", [TYPE_ARRAY] = "an array",     [TYPE_OBJECT] = "an object",
	[TYPE_ANY] = "a value",
};

/* One value; what is in it comes later. */
static void check_value(struct schema_check *c, const struct config_schema *s, struct json *j)
{
	if (j->kind == JSON_NULL && s->nullable)
		return;
	if (!type_fits(s->type, j)) {
		wrong(c, MISTAKE_TYPE, type_descriptions[s->type]);
		return;
	}
	if (!is_enumerated(s, j)) {
		wrong_choice(c, s);
		return;
	}
	j->declared = s->type == TYPE_ARRAY || s->type == TYPE_OBJECT;
	switch (j->kind) {
	case JSON_NUMBER:
		check_number(c, s, j);
		break;
	case JSON_STRING:
		check_string(c, s, j);
		break;
	case JSON_ARRAY:
		check_array(c, s, j);
		break;
	case JSON_OBJECT:
		check_object(c, s, j);
		break;
	default:
		break;
	}
}

/* Go on to the next child of f. */
static bool advance(struct frame *f)
{
	f->index = f->child ? f->index + 1 : 0;
	f->child = f->child ? f->child->next : f->container->child;
	return f->child;
}

bool schema_check(struct schema_check *c, const struct config_schema *s, struct json *j, const char *name,
		  enum parameter_in in)
{
	c->name = name;
	c->in = in;
	c->depth = 0;
	c->right = true;
	check_value(c, s, j);
	while (c->depth > 0 && !mistakes_full(c->mistakes)) {
		struct frame *f = &c->frames[c->depth - 1];

		if (!advance(f)) {
			c->depth--;
			continue;
		}
		const struct config_schema *of = f->container->kind == JSON_ARRAY
							 ? f->schema->items
							 : property_schema(f->schema, f->child);
		if (of)
			check_value(c, of, f->child);
		else if (!f->schema->additional)
			wrong(c, MISTAKE_UNKNOWN);
	}
	return c->right;
}
