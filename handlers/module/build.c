/* gd_build: JSON text with values in it, read from the left and put together from the inside.
 *
 * It is RFC 8259's JSON and what a person writing C would rather write: names without quotes (letters, digits and _ $ .
 * -), texts and names in '…' as well as "…", and fillers. What fills in is never read as JSON. A name that is filled in
 * can't begin with "$": operators stand in the format, or are made by gd_doc. In quotes "%%" is a per cent sign, and a
 * filler is a mistake. */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/json_out.h"
#include "base/utf8.h"
#include "handlers/module/parts.h"

/* A list or document that is open, and the name of its member to come. */
struct frame {
	gd_value *parts;
	const char *name;
	size_t name_len;
};

struct builder {
	struct gd_scope *scope;
	const char *format, *at;
	va_list args;
	struct frame frames[JSON_MAX_DEPTH];
	unsigned depth;
	gd_value *failure;
};

/* --- mistakes --- */

static bool mistake(struct builder *b, const char *where, const char *why)
{
	size_t shown = utf8_prefix(where, strnlen(where, 24));

	b->failure = value_fail(b->scope, -EINVAL, 0, "gd_build: byte %zu: %s%s%.*s%s", (size_t)(where - b->format),
				why, *where ? ", at `" : ", at the end", (int)shown, where, *where ? "`" : "");
	return false;
}

static bool pass_on(struct builder *b, gd_value *failed)
{
	b->failure = failed;
	return false;
}

/* --- reading --- */

static void skip_space(struct builder *b)
{
	while (*b->at == ' ' || *b->at == '\t' || *b->at == '\r' || *b->at == '\n')
		b->at++;
}

/* A text in quotes as JSON has it. Ends behind the closing quote. */
static bool requote(struct builder *b, struct buf *json)
{
	const char *begin = b->at;
	char quote = *b->at++;

	buf_char(json, '"');
	for (; *b->at != quote; b->at++) {
		char c = *b->at;
		if (c == '\0')
			return mistake(b, begin, "the quotes are not closed");
		if (c == '%' && *++b->at != '%')
			return mistake(b, b->at - 1, "in quotes stands \"%%\" for a per cent sign, and no filler");
		if (c == '\\' && b->at[1] != '\0') {
			if (*++b->at != '\'')
				buf_char(json, '\\');
			c = *b->at;
		} else if (c == '"') {
			buf_char(json, '\\');
		}
		buf_char(json, c);
	}
	b->at++;
	buf_char(json, '"');
	return true;
}

static bool read_quoted(struct builder *b, struct value *out)
{
	const char *begin = b->at;
	struct buf json = BUF_INIT;
	struct json *j;
	char why[96];
	bool good = requote(b, &json);

	if (good) {
		const char *copy = arena_strndup(b->scope->arena, json.data, json.len);
		good = json_parse(&j, b->scope->arena, copy, json.len, 1, why, sizeof(why)) == 0;
		if (good)
			*out = value_from_json(j);
		else
			(void)mistake(b, begin, "a text that is not as in JSON");
	}
	buf_done(&json);
	return good;
}

static bool is_name_character(char c)
{
	char letter = (char)(c | 0x20);

	return (letter >= 'a' && letter <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '$' || c == '.' ||
	       c == '-';
}

static size_t name_length(const char *s)
{
	size_t len = 0;

	while (is_name_character(s[len]))
		len++;
	return len;
}

/* A number, null, true or false: what stands there until something else begins. */
static size_t word_length(const char *s)
{
	size_t len = 0;

	while (is_name_character(s[len]) || s[len] == '+')
		len++;
	return len;
}

static bool read_word(struct builder *b, struct value *out)
{
	size_t len = word_length(b->at);
	static const struct {
		const char *word;
		struct value value;
	} words[] = {
		{"null", {.kind = VALUE_NULL}},
		{"true", {.kind = VALUE_BOOL, .boolean = true}},
		{"false", {.kind = VALUE_BOOL}},
	};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (strlen(words[i].word) != len || memcmp(words[i].word, b->at, len) != 0)
			continue;
		*out = words[i].value;
		b->at += len;
		return true;
	}
	if (!json_is_number(b->at, len))
		return mistake(b, b->at, "expected a value (texts stand in quotes)");
	*out = value_number(arena_strndup(b->scope->arena, b->at, len), len);
	b->at += len;
	return true;
}

/* --- fillers --- */

enum filler { FILL_TEXT, FILL_INT, FILL_LONG, FILL_LONG_LONG, FILL_DOUBLE, FILL_VALUE, FILLERS };

static enum filler filler_at(const char *at, size_t *len)
{
	static const char *const spelt[FILLERS] = {"%s", "%d", "%ld", "%lld", "%g", "%p"};

	for (unsigned i = 0; i < FILLERS; i++) {
		*len = strlen(spelt[i]);
		if (strncmp(at, spelt[i], *len) == 0)
			return (enum filler)i;
	}
	return FILLERS;
}

static bool take_text(struct builder *b, const char *where, const char *s, struct value *out)
{
	size_t len = s ? strlen(s) : 0;

	if (!utf8_valid(s ? s : "", len))
		return mistake(b, where, "%s is a text that is not UTF-8");
	*out = s ? value_string(arena_strndup(b->scope->arena, s, len), len) : VALUE_OF_NULL;
	return true;
}

/* The value of a filler; *given is %p's. */
static bool read_filler(struct builder *b, struct value *out, gd_value **given)
{
	const char *where = b->at;
	size_t len;
	enum filler filler = filler_at(where, &len);

	b->at += filler == FILLERS ? 0 : len;
	switch (filler) {
	case FILL_TEXT:
		return take_text(b, where, va_arg(b->args, const char *), out);
	case FILL_INT:
		*out = value_int(va_arg(b->args, int));
		return true;
	case FILL_LONG:
		*out = value_int(va_arg(b->args, long));
		return true;
	case FILL_LONG_LONG:
		*out = value_int(va_arg(b->args, long long));
		return true;
	case FILL_DOUBLE:
		*given = gd_double(va_arg(b->args, double));
		return (*given)->state == VALUE_READY || mistake(b, where, "%g is not finite");
	case FILL_VALUE:
		*given = va_arg(b->args, gd_value *);
		return true;
	case FILLERS:
		break;
	}
	return mistake(b, where, "a filler is one of %s %d %ld %lld %g %p");
}

/* %p's may have failed: what went wrong there, and where it stands here. */
static bool check_given(struct builder *b, const char *where, const gd_value *given)
{
	char what[48];
	struct error e;

	snprintf(what, sizeof(what), "gd_build: byte %zu: the value of %%p", (size_t)(where - b->format));
	return value_usable(given, what, &e) || pass_on(b, value_failed(b->scope, &e));
}

/* --- names --- */

static bool read_name(struct builder *b, struct frame *f)
{
	const char *where = b->at;
	struct value name = VALUE_OF_NULL;
	size_t len = name_length(where);

	if (len > 0) {
		name = value_string(where, len);
		b->at += len;
	} else if (*where == '"' || *where == '\'') {
		if (!read_quoted(b, &name))
			return false;
	} else if (strncmp(where, "%s", 2) == 0) {
		b->at += 2;
		if (!take_text(b, where, va_arg(b->args, const char *), &name))
			return false;
		if (name.kind == VALUE_NULL || (name.len && *name.text == '$'))
			return mistake(b, where,
				       name.len ? "a name that is filled in begins with \"$\"" : "a name is NULL");
	}
	if (name.kind != VALUE_STRING || memchr(name.text, '\0', name.len))
		return mistake(b, where, "expected a name");
	f->name = name.text;
	f->name_len = name.len;
	skip_space(b);
	if (*b->at != ':')
		return mistake(b, b->at, "expected \":\" behind a name");
	b->at++;
	skip_space(b);
	return true;
}

/* --- putting together --- */

static bool is_open(const struct builder *b, enum value_kind kind)
{
	return b->depth > 0 && b->frames[b->depth - 1].parts->v.kind == kind;
}

static bool closes(const struct builder *b)
{
	return (*b->at == ']' && is_open(b, VALUE_LIST)) || (*b->at == '}' && is_open(b, VALUE_DOCUMENT));
}

static bool open_parts(struct builder *b)
{
	if (b->depth == JSON_MAX_DEPTH)
		return mistake(b, b->at, "nested too deeply");
	b->frames[b->depth++] = (struct frame){
		.parts = parts_new(b->scope, *b->at == '[' ? VALUE_LIST : VALUE_DOCUMENT)};
	b->at++;
	return true;
}

static bool place(struct builder *b, const gd_value *item)
{
	struct frame *f = &b->frames[b->depth - 1];
	int r = is_open(b, VALUE_LIST) ? parts_append(f->parts, item, "gd_build: a value")
				       : parts_set(f->parts, f->name, f->name_len, item);

	return r == 0 || pass_on(b, f->parts);
}

/* One value that has no parts to be read. */
static bool read_item(struct builder *b, gd_value *scratch, gd_value **out)
{
	const char *where = b->at;
	gd_value *given = NULL;
	bool good;

	*scratch = (gd_value){.scope = b->scope};
	if (*where == '%')
		good = read_filler(b, &scratch->v, &given);
	else if (*where == '"' || *where == '\'')
		good = read_quoted(b, &scratch->v);
	else
		good = read_word(b, &scratch->v);
	*out = given ? given : scratch;
	if (good && where[0] == '%' && where[1] == 'p') {
		*out = given;
		good = check_given(b, where, given);
	}
	return good;
}

/* Behind a value: all that closes there. *done: the outermost one is complete, *out. */
static bool close_parts(struct builder *b, gd_value **out, bool *done)
{
	for (;;) {
		skip_space(b);
		*done = b->depth == 0;
		if (*done)
			return *b->at == '\0' || mistake(b, b->at, "expected the end");
		if (*b->at == ',') {
			b->at++;
			skip_space(b);
			return true;
		}
		if (!closes(b))
			return mistake(b, b->at,
				       is_open(b, VALUE_LIST) ? "expected \",\" or \"]\"" : "expected \",\" or \"}\"");
		b->at++;
		*out = b->frames[--b->depth].parts;
		if (b->depth > 0 && !place(b, *out))
			return false;
	}
}

/* One value, or the beginning of one, with its name. */
static bool step(struct builder *b, gd_value *scratch, gd_value **out, bool *done)
{
	bool inside = b->depth > 0;

	if (is_open(b, VALUE_DOCUMENT) && !read_name(b, &b->frames[b->depth - 1]))
		return false;
	if (*b->at == '[' || *b->at == '{') {
		if (!open_parts(b))
			return false;
		skip_space(b);
		return closes(b) ? close_parts(b, out, done) : true;
	}
	if (!read_item(b, scratch, out) || (inside && !place(b, *out)))
		return false;
	return close_parts(b, out, done);
}

gd_value *gd_build(const char *format, ...)
{
	struct gd_scope *s = scope_here(__func__);
	gd_value scratch, *out = NULL;
	bool done = false;

	if (!s)
		return value_outside();
	if (!format)
		return value_fail(s, -EINVAL, 0, "gd_build: the format is NULL");
	struct builder b = {.scope = s, .format = format, .at = format};
	skip_space(&b);
	va_start(b.args, format);
	while (!b.failure && !done)
		(void)step(&b, &scratch, &out, &done);
	va_end(b.args);
	if (b.failure)
		return b.failure;
	return out == &scratch ? value_new(s, scratch.v) : out;
}
