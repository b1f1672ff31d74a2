/* Judging JSON text without keeping anything of it: what json_parse would say, at a third of the cost. The containers
 * that are open are the bits of one word. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/ascii.h"
#include "base/json.h"
#include "base/json_scan.h"
#include "base/utf8.h"

struct checker {
	const char *at, *end;
	const char *why; /* what is wrong; NULL: nothing so far */
	int error;       /* with why: -errno */
	bool spaced;
	bool cut_surrogates; /* are let through */
	unsigned depth, max_depth;
	uint64_t objects; /* bit n: the container at depth n + 1 is an object */
};

static bool fail(struct checker *c, const char *why)
{
	c->why = why;
	c->error = -EBADMSG;
	return false;
}

static void skip_space(struct checker *c)
{
	const char *from = c->at;

	while (c->at < c->end && (*c->at == ' ' || *c->at == '\n' || *c->at == '\r' || *c->at == '\t'))
		c->at++;
	c->spaced |= c->at != from;
}

static bool next_is(const struct checker *c, char wanted)
{
	return c->at < c->end && *c->at == wanted;
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

/* What follows a backslash at c->at. */
static bool check_escape(struct checker *c)
{
	if (++c->at == c->end)
		return fail(c, "a string does not end");
	if (*c->at != 'u') {
		if (!*c->at || !strchr("\"\\/bfnrt", *c->at))
			return fail(c, "a wrong escape");
		c->at++;
		return true;
	}
	int32_t code = hex4(c->at + 1, c->end);
	if (code < 0 || (code >= 0xDC00 && code <= 0xDFFF && !c->cut_surrogates))
		return fail(c, "a wrong \\u escape");
	c->at += 5;
	/* If halves may stand alone, nothing has to follow one. */
	if (code < 0xD800 || code > 0xDBFF || c->cut_surrogates)
		return true;
	int32_t low = c->end - c->at >= 6 && c->at[0] == '\\' && c->at[1] == 'u' ? hex4(c->at + 2, c->end) : -1;
	if (low < 0xDC00 || low > 0xDFFF)
		return fail(c, "a wrong \\u escape");
	c->at += 6;
	return true;
}

static bool check_string(struct checker *c)
{
	c->at++;
	for (;;) {
		c->at += json_plain_run(c->at, (size_t)(c->end - c->at));
		if (c->at == c->end)
			return fail(c, "a string does not end");
		if (*c->at == '"') {
			c->at++;
			return true;
		}
		if (*c->at != '\\')
			return fail(c, "a control character in a string");
		if (!check_escape(c))
			return false;
	}
}

static bool in_number(char c)
{
	return (c >= '0' && c <= '9') || c == '.' || c == 'e' || c == 'E' || c == '+' || c == '-';
}

static bool check_number(struct checker *c)
{
	const char *from = c->at;

	while (c->at < c->end && in_number(*c->at))
		c->at++;
	return json_is_number(from, (size_t)(c->at - from)) || fail(c, "a wrong number");
}

static bool check_literal(struct checker *c, const char *word, size_t len)
{
	if ((size_t)(c->end - c->at) < len || memcmp(c->at, word, len) != 0)
		return fail(c, "a value was expected");
	c->at += len;
	return true;
}

static bool check_name(struct checker *c)
{
	skip_space(c);
	if (!next_is(c, '"'))
		return fail(c, "a member's name in quotes was expected");
	if (!check_string(c))
		return false;
	skip_space(c);
	if (!next_is(c, ':'))
		return fail(c, "a colon was expected");
	c->at++;
	return true;
}

static bool in_object(const struct checker *c)
{
	return c->depth > 0 && (c->objects >> (c->depth - 1) & 1);
}

static bool open_container(struct checker *c)
{
	if (c->depth == c->max_depth) {
		fail(c, "nested too deep");
		c->error = -E2BIG;
		return false;
	}
	uint64_t bit = UINT64_C(1) << c->depth++;
	c->objects = *c->at == '{' ? c->objects | bit : c->objects & ~bit;
	c->at++;
	return true;
}

static bool at_closer(const struct checker *c)
{
	return next_is(c, in_object(c) ? '}' : ']');
}

/* The value at c->at. *opened: it is a container that has members. */
static bool check_value(struct checker *c, bool *opened)
{
	*opened = false;
	skip_space(c);
	if (c->at == c->end)
		return fail(c, "the text ends where a value was expected");
	switch (*c->at) {
	case '{':
	case '[':
		if (!open_container(c))
			return false;
		skip_space(c);
		*opened = !at_closer(c);
		if (!*opened) {
			c->at++;
			c->depth--;
		}
		return true;
	case '"':
		return check_string(c);
	case 't':
		return check_literal(c, "true", 4);
	case 'f':
		return check_literal(c, "false", 5);
	case 'n':
		return check_literal(c, "null", 4);
	default:
		return in_number(*c->at) ? check_number(c) : fail(c, "a value was expected");
	}
}

/* A value has ended: close what ends with it, up to the comma after which the next one stands. False: it was the last,
 * or something is wrong. */
static bool next_value(struct checker *c)
{
	while (c->depth > 0) {
		skip_space(c);
		if (next_is(c, ',')) {
			c->at++;
			return true;
		}
		if (!at_closer(c))
			return fail(c, in_object(c) ? "a comma or } was expected" : "a comma or ] was expected");
		c->at++;
		c->depth--;
	}
	skip_space(c);
	return c->at == c->end ? false : fail(c, "more text after the value");
}

static void check_document(struct checker *c)
{
	for (;;) {
		bool opened;

		if (in_object(c) && !check_name(c))
			return;
		if (!check_value(c, &opened))
			return;
		if (!opened && !next_value(c))
			return;
	}
}

int json_check(const char *text, size_t len, unsigned max_depth, unsigned lets, bool *spaced, char *what,
	       size_t what_size)
{
	struct checker c = {
		.at = text, .end = text + len, .max_depth = max_depth, .cut_surrogates = lets & JSON_CUT_SURROGATES};

	assert(max_depth <= JSON_MAX_DEPTH);
	size_t good = utf8_prefix(text, len);
	if (len > UINT32_MAX) {
		snprintf(what, what_size, "too long");
		return -E2BIG;
	}
	if (good < len) {
		c.at += good;
		fail(&c, "bad UTF-8");
	} else {
		check_document(&c);
	}
	*spaced = c.spaced;
	if (c.error < 0)
		snprintf(what, what_size, "%s (at byte %zu)", c.why, (size_t)(c.at - text));
	return c.error;
}
