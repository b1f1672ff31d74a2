/* Reading JSON. One loop over the text; the containers that are open form a chain through their `next`, and the
 * children of an open container a ring whose last element `child` points at, so that nothing but the tree is kept. */
#include "base/json.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/ascii.h"
#include "base/json_out.h"
#include "base/json_scan.h"
#include "base/utf8.h"

struct parser {
	const char *at, *end;
	struct arena *arena;
	struct json *open; /* the innermost container, or NULL */
	unsigned depth, max_depth;
	unsigned lets;   /* enum json_leniency */
	bool cut;        /* the string that was read last holds half of a surrogate pair */
	int error;       /* -errno */
	const char *why; /* with error: static text */
};

static bool fail(struct parser *p, const char *why)
{
	p->error = -EBADMSG;
	p->why = why;
	return false;
}

static void skip_space(struct parser *p)
{
	while (p->at < p->end && (*p->at == ' ' || *p->at == '\n' || *p->at == '\r' || *p->at == '\t'))
		p->at++;
}

static bool next_is(const struct parser *p, char c)
{
	return p->at < p->end && *p->at == c;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static const char *skip_digits(const char *s, const char *end)
{
	while (s < end && is_digit(*s))
		s++;
	return s;
}

/* Where the number that begins at s ends; NULL if it is none. */
static const char *number_end(const char *s, const char *end)
{
	if (s < end && *s == '-')
		s++;
	if (s == end || !is_digit(*s))
		return NULL;
	s = *s == '0' ? s + 1 : skip_digits(s, end);
	if (s < end && *s == '.') {
		const char *digits = ++s;

		s = skip_digits(s, end);
		if (s == digits)
			return NULL;
	}
	if (s < end && (*s == 'e' || *s == 'E')) {
		if (++s < end && (*s == '+' || *s == '-'))
			s++;

		const char *digits = s;
		s = skip_digits(s, end);
		if (s == digits)
			return NULL;
	}
	return s;
}

bool json_is_number(const char *text, size_t len)
{
	return len > 0 && number_end(text, text + len) == text + len;
}

/* The four hexadecimal digits at s, or -1. */
static int32_t hex4(const char *s, const char *end)
{
	int32_t n = 0;

	if (end - s < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		int digit = ascii_hex_value(s[i]);
		if (digit < 0)
			return -1;
		n = n << 4 | digit;
	}
	return n;
}

/* The second half of a surrogate pair at s, with its `\u`; -1: there is none. */
static int32_t low_surrogate(const char *s, const char *end)
{
	int32_t low = end - s >= 6 && s[0] == '\\' && s[1] == 'u' ? hex4(s + 2, end) : -1;

	return low >= 0xDC00 && low <= 0xDFFF ? low : -1;
}

/* Read the \uXXXX or the pair of them at s (after the first `\u`) and write its character to *to. Returns where it
 * ends, or NULL. */
static const char *unescape_unicode(struct parser *p, const char *s, const char *end, char **to)
{
	int32_t c = hex4(s, end);

	if (c < 0)
		return NULL;
	s += 4;
	if (c >= 0xD800 && c <= 0xDFFF) {
		int32_t low = c <= 0xDBFF ? low_surrogate(s, end) : -1;
		if (low >= 0) {
			c = 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00);
			s += 6;
		} else if (p->lets & JSON_CUT_SURROGATES) {
			c = 0xFFFD;
			p->cut = true;
		} else {
			return NULL;
		}
	}
	*to += utf8_encode(*to, (uint32_t)c);
	return s;
}

/* What a backslash and this letter stand for, \u aside; 0: nothing. */
static char simple_escape(char c)
{
	switch (c) {
	case '"':
	case '\\':
	case '/':
		return c;
	case 'b':
		return '\b';
	case 'f':
		return '\f';
	case 'n':
		return '\n';
	case 'r':
		return '\r';
	case 't':
		return '\t';
	default:
		return 0;
	}
}

/* The rest of a string from its first backslash on; `begin` is where its characters begin. */
static bool unescape_string(struct parser *p, const char *begin, const char **text, uint32_t *len)
{
	/* Look for the end first: the room that is needed is at most what the escaped text takes. */
	const char *close = p->at;
	while (close < p->end && *close != '"')
		close += *close == '\\' && p->end - close >= 2 ? 2 : 1;
	if (close >= p->end) {
		p->at = p->end;
		return fail(p, "a string does not end");
	}

	char *copy = arena_alloc(p->arena, (size_t)(close - begin));
	char *to = copy;
	for (const char *from = begin;;) {
		size_t run = json_plain_run(from, (size_t)(close - from));

		memcpy(to, from, run);
		to += run;
		from += run;
		if (from == close)
			break;
		p->at = from;
		if (*from != '\\')
			return fail(p, "a control character in a string");
		if (from[1] == 'u') {
			from = unescape_unicode(p, from + 2, close, &to);
			if (!from)
				return fail(p, "a wrong \\u escape");
			continue;
		}
		*to = simple_escape(from[1]);
		if (!*to++)
			return fail(p, "a wrong escape");
		from += 2;
	}
	p->at = close + 1;
	*text = copy;
	*len = (uint32_t)(to - copy);
	return true;
}

/* The string whose opening quote is at p->at. */
static bool parse_string(struct parser *p, const char **text, uint32_t *len)
{
	const char *begin = p->at + 1;

	p->cut = false;
	p->at = begin + json_plain_run(begin, (size_t)(p->end - begin));
	if (p->at == p->end)
		return fail(p, "a string does not end");
	if (*p->at == '"') {
		*text = begin;
		*len = (uint32_t)(p->at++ - begin);
		return true;
	}
	if (*p->at == '\\')
		return unescape_string(p, begin, text, len);
	return fail(p, "a control character in a string");
}

static bool parse_literal(struct parser *p, const char *word, size_t len)
{
	if ((size_t)(p->end - p->at) < len || memcmp(p->at, word, len) != 0)
		return fail(p, "a value was expected");
	p->at += len;
	return true;
}

static bool parse_number(struct parser *p, struct json *j)
{
	const char *end = number_end(p->at, p->end);

	if (!end)
		return fail(p, "a wrong number");
	j->kind = JSON_NUMBER;
	j->text = p->at;
	j->len = (uint32_t)(end - p->at);
	p->at = end;
	return true;
}

static bool open_container(struct parser *p, struct json *j, enum json_kind kind)
{
	if (p->depth == p->max_depth && !(p->lets & JSON_ANY_DEPTH)) {
		p->error = -E2BIG;
		p->why = "nested too deep";
		return false;
	}
	p->at++;
	p->depth++;
	j->kind = kind;
	j->next = p->open;
	p->open = j;
	return true;
}

/* The value at p->at, into j. A container is left open. */
static bool parse_value(struct parser *p, struct json *j)
{
	skip_space(p);
	if (p->at == p->end)
		return fail(p, "the text ends where a value was expected");
	j->raw = p->at;
	switch (*p->at) {
	case '{':
		return open_container(p, j, JSON_OBJECT);
	case '[':
		return open_container(p, j, JSON_ARRAY);
	case '"':
		j->kind = JSON_STRING;
		if (!parse_string(p, &j->text, &j->len))
			return false;
		j->cut = p->cut;
		return true;
	case 't':
		j->kind = JSON_BOOL;
		j->boolean = true;
		return parse_literal(p, "true", 4);
	case 'f':
		j->kind = JSON_BOOL;
		return parse_literal(p, "false", 5);
	case 'n':
		j->kind = JSON_NULL;
		return parse_literal(p, "null", 4);
	default:
		if (*p->at == '-' || is_digit(*p->at))
			return parse_number(p, j);
		return fail(p, "a value was expected");
	}
}

/* The name and the colon of the member that j will be. */
static bool parse_name(struct parser *p, struct json *j)
{
	skip_space(p);
	if (!next_is(p, '"'))
		return fail(p, "a member's name in quotes was expected");
	if (!parse_string(p, &j->name, &j->name_len))
		return false;
	skip_space(p);
	if (!next_is(p, ':'))
		return fail(p, "a colon was expected");
	p->at++;
	return true;
}

/* j has ended: hang it into the ring of the innermost open container. */
static void append_child(struct json *parent, struct json *j)
{
	if (parent->child) {
		j->next = parent->child->next;
		parent->child->next = j;
	} else {
		j->next = j;
	}
	parent->child = j;
	parent->count++;
}

/* The innermost container has ended at p->at: cut its ring open, first child first. */
static struct json *close_container(struct parser *p)
{
	struct json *j = p->open;

	p->at++;
	p->depth--;
	p->open = j->next;
	j->next = NULL;
	j->raw_len = (uint32_t)(p->at - j->raw);
	if (j->child) {
		struct json *last = j->child;

		j->child = last->next;
		last->next = NULL;
	}
	return j;
}

static bool at_closer(const struct parser *p)
{
	return next_is(p, p->open->kind == JSON_ARRAY ? ']' : '}');
}

/* j has ended: close what ends with it, up to the comma after which the next value stands. *done: j was the outermost
 * one, or the container that was closed last. */
static bool end_value(struct parser *p, struct json **j, bool *done)
{
	*done = false;
	while (p->open) {
		append_child(p->open, *j);
		skip_space(p);
		if (next_is(p, ',')) {
			p->at++;
			return true;
		}
		if (!at_closer(p))
			return fail(p, p->open->kind == JSON_ARRAY ? "a comma or ] was expected"
								   : "a comma or } was expected");
		*j = close_container(p);
	}
	*done = true;
	skip_space(p);
	return p->at == p->end || fail(p, "more text after the value");
}

static struct json *parse_document(struct parser *p)
{
	for (;;) {
		struct json *j = arena_zalloc(p->arena, sizeof(*j));
		bool done;

		if (p->open && p->open->kind == JSON_OBJECT && !parse_name(p, j))
			return NULL;
		if (!parse_value(p, j))
			return NULL;
		if (p->open == j) {
			skip_space(p);
			if (!at_closer(p))
				continue;
			j = close_container(p);
		} else {
			j->raw_len = (uint32_t)(p->at - j->raw);
		}
		if (!end_value(p, &j, &done))
			return NULL;
		if (done)
			return j;
	}
}

int json_parse(struct json **out, struct arena *a, const char *text, size_t len, unsigned max_depth, char *what,
	       size_t what_size)
{
	return json_read(out, a, text, len, max_depth, JSON_STRICT, what, what_size);
}

int json_read(struct json **out, struct arena *a, const char *text, size_t len, unsigned max_depth, unsigned lets,
	      char *what, size_t what_size)
{
	struct parser p = {.at = text, .end = text + len, .arena = a, .max_depth = max_depth, .lets = lets};

	*out = NULL;
	if (len > UINT32_MAX) {
		snprintf(what, what_size, "too long");
		return -E2BIG;
	}

	size_t good = lets & JSON_ANY_BYTES ? len : utf8_prefix(text, len);
	if (good < len) {
		p.at = text + good;
		fail(&p, "bad UTF-8");
	} else {
		*out = parse_document(&p);
	}
	if (p.error < 0)
		snprintf(what, what_size, "%s (at byte %zu)", p.why, (size_t)(p.at - text));
	return p.error;
}

const struct json *json_member(const struct json *object, const char *name, size_t len)
{
	const struct json *found = NULL;

	if (object->kind != JSON_OBJECT)
		return NULL;
	for (const struct json *j = object->child; j; j = j->next)
		if (j->name_len == len && memcmp(j->name, name, len) == 0)
			found = j;
	return found;
}

/* Where the string that begins at s (a quote) ends, its closing quote included. */
static const char *string_end(const char *s, const char *end)
{
	for (s++; s < end && *s != '"'; s++)
		if (*s == '\\')
			s++;
	return s < end ? s + 1 : end;
}

void json_compact(struct buf *out, const char *text, size_t len)
{
	const char *end = text + len;

	buf_reserve(out, len);
	for (const char *s = text; s < end;) {
		const char *from = s;

		while (s < end && *s != ' ' && *s != '\n' && *s != '\r' && *s != '\t')
			s = *s == '"' ? string_end(s, end) : s + 1;
		buf_append(out, from, (size_t)(s - from));
		while (s < end && (*s == ' ' || *s == '\n' || *s == '\r' || *s == '\t'))
			s++;
	}
}

static void render_name(struct buf *out, const struct json *parent, const struct json *j)
{
	if (j != parent->child)
		buf_char(out, ',');
	if (parent->kind != JSON_OBJECT)
		return;
	json_string(out, j->name, j->name_len);
	buf_char(out, ':');
}

/* What has no parts, or stands as it stood. */
static void render_leaf(struct buf *out, const struct json *j)
{
	if (j->raw)
		json_compact(out, j->raw, j->raw_len);
	else if (j->kind == JSON_NULL)
		buf_lit(out, "null");
	else if (j->kind == JSON_BOOL)
		buf_str(out, j->boolean ? "true" : "false");
	else if (j->kind == JSON_NUMBER)
		buf_append(out, j->text, j->len);
	else
		json_string(out, j->text, j->len);
}

void json_render(struct buf *out, const struct json *j)
{
	const struct json *open[JSON_MAX_DEPTH + 1], *next[JSON_MAX_DEPTH + 1];
	size_t depth = 0;

	for (;;) {
		bool container = !j->raw && j->kind >= JSON_ARRAY && depth <= JSON_MAX_DEPTH;

		if (container) {
			buf_char(out, j->kind == JSON_ARRAY ? '[' : '{');
			open[depth] = j;
			next[depth++] = j->child;
		} else {
			render_leaf(out, j);
		}
		while (depth > 0 && !next[depth - 1])
			buf_char(out, open[--depth]->kind == JSON_ARRAY ? ']' : '}');
		if (depth == 0)
			return;
		j = next[depth - 1];
		next[depth - 1] = j->next;
		render_name(out, open[depth - 1], j);
	}
}
