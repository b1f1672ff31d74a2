/* References and the texts that hold them. */
#include "config/reference.h"

#include <ctype.h>
#include <string.h>

#define MAX_SEGMENTS 64

struct scan {
	const char *p, *end;
	struct arena *arena;
	const char *why;
};

static bool begins_name(char c)
{
	return isalpha((unsigned char)c) || c == '_';
}

/* A name at s->p, copied; NULL if there is none. */
static const char *scan_name(struct scan *s, size_t *len)
{
	const char *start = s->p;

	if (s->p == s->end || !begins_name(*s->p))
		return NULL;
	while (s->p < s->end && (begins_name(*s->p) || isdigit((unsigned char)*s->p) || *s->p == '-'))
		s->p++;
	*len = (size_t)(s->p - start);
	return arena_strndup(s->arena, start, *len);
}

/* "[0]" or "[*]", behind the bracket. */
static bool scan_index(struct scan *s, struct path_segment *out)
{
	uint64_t index = 0;
	const char *start = s->p;

	if (s->p < s->end && *s->p == '*') {
		s->p++;
		out->kind = PATH_EACH;
	} else {
		while (s->p < s->end && isdigit((unsigned char)*s->p) && index <= UINT32_MAX)
			index = index * 10 + (uint64_t)(*s->p++ - '0');
		if (s->p == start || index > UINT32_MAX) {
			s->why = "expected a number or \"*\" behind \"[\"";
			return false;
		}
		out->kind = PATH_INDEX;
		out->index = (uint32_t)index;
	}
	if (s->p == s->end || *s->p != ']') {
		s->why = "expected \"]\"";
		return false;
	}
	s->p++;
	return true;
}

/* What follows the root, up to the closing brace. Returns the number of segments, or -1. */
static int scan_path(struct scan *s, struct path_segment *segments)
{
	int count = 0;

	for (; s->p < s->end && *s->p != '}' && *s->p != '?'; count++) {
		struct path_segment *segment = &segments[count];
		if (count == MAX_SEGMENTS) {
			s->why = "too long";
			return -1;
		}
		*segment = (struct path_segment){.kind = PATH_MEMBER};
		char c = *s->p++;
		if (c == '[') {
			if (!scan_index(s, segment))
				return -1;
		} else if (c != '.') {
			s->why = "expected \".\", \"[\" or \"}\" behind a name";
			return -1;
		} else if (!(segment->name = scan_name(s, &segment->name_len))) {
			s->why = "expected a name behind \".\"";
			return -1;
		}
	}
	if (s->p < s->end)
		return count;
	s->why = "its \"}\" is missing";
	return -1;
}

/* "?}" behind a member of the body. */
static bool ends_question(struct scan *s, const char *root, const struct path_segment *segments, int count)
{
	s->p++;
	if (strcmp(root, "body") != 0 || count == 0 || segments[count - 1].kind != PATH_MEMBER) {
		s->why = "\"?\" asks whether a member of the body was sent: {body.name?}";
		return false;
	}
	if (s->p < s->end && *s->p == '}')
		return true;
	s->why = "expected \"}\" behind \"?\"";
	return false;
}

size_t reference_parse(struct reference *out, struct arena *a, const char *text, size_t len, struct mark at,
		       const char **why)
{
	struct scan s = {.p = text, .end = text + len, .arena = a};
	struct path_segment segments[MAX_SEGMENTS];
	size_t root_len;

	if (len == 0 || *s.p++ != '{') {
		*why = "expected \"{\"";
		return 0;
	}
	const char *root = scan_name(&s, &root_len);
	if (!root) {
		*why = s.p < s.end && *s.p == '}' ? "it is empty: expected a name, such as {id}"
						  : "expected a name right behind \"{\"";
		return 0;
	}
	int count = scan_path(&s, segments);
	bool sent = count >= 0 && *s.p == '?';
	if (sent && !ends_question(&s, root, segments, count))
		count = -1;
	if (count < 0) {
		*why = s.why;
		return 0;
	}
	size_t size = (size_t)(s.p + 1 - text);
	struct path_segment *kept = arena_array(a, (size_t)count, sizeof(*kept));
	if (count)
		memcpy(kept, segments, (size_t)count * sizeof(*kept));
	*out = (struct reference){.root = root,
				  .path = {kept, (size_t)count},
				  .sent = sent,
				  .text = arena_strndup(a, text, size),
				  .at = at};
	return size;
}

size_t reference_in(struct reference *out, struct arena *a, const struct node *n, const char *p, const char **why)
{
	size_t at = (size_t)(p - n->text);
	size_t size = reference_parse(out, a, p, n->len - at, node_mark_at(n, at), why);

	if (!node_is_supplied(n, at, size))
		return size;
	*why = "a variable's value is data: no part of a reference";
	return 0;
}

bool path_parse(struct path *out, struct arena *a, const char *text, size_t len, const char **why)
{
	const char *whole = arena_printf(a, "{_%s%s}", len > 0 && *text == '[' ? "" : ".", text);
	struct reference reference;
	size_t size = reference_parse(&reference, a, whole, strlen(whole), (struct mark){0}, why);

	if (size > 0 && whole[size] != '\0')
		*why = "\"}\" can't stand in it";
	if (size == 0 || whole[size] != '\0')
		return false;
	*out = reference.path;
	return true;
}

/* --- texts ----------------------------------------------------------------------------------------------------- */

/* Is the byte at p of n's text a brace that the file has? One that a variable supplied is data. */
static bool is_brace(const struct node *n, const char *p)
{
	return (*p == '{' || *p == '}') && !node_is_supplied(n, (size_t)(p - n->text), 1);
}

/* Is p a brace that stands alone? {{ and }} are literal ones. */
static bool is_lone_brace(const struct node *n, const char *p)
{
	const char *end = n->text + n->len;
	return is_brace(n, p) && (p + 1 == end || p[1] != *p || !is_brace(n, p + 1));
}

static size_t count_braces(const struct node *n)
{
	size_t count = 0;
	for (size_t i = 0; i < n->len; i++)
		count += is_brace(n, n->text + i);
	return count;
}

/* The literal text from p up to a reference, the end, a brace that stands alone, or where what a variable supplied
 * begins or ends; {{ and }} become one brace each. */
static const char *take_literal(const struct node *n, const char *p, struct arena *a, struct template_piece *piece)
{
	const char *end = n->text + n->len;
	char *text = arena_alloc(a, (size_t)(end - p) + 1);
	size_t len = 0;

	bool supplied = node_is_supplied(n, (size_t)(p - n->text), 1);

	while (p < end && node_is_supplied(n, (size_t)(p - n->text), 1) == supplied && !is_lone_brace(n, p)) {
		text[len++] = *p;
		p += is_brace(n, p) ? 2 : 1;
	}
	text[len] = '\0';
	*piece = (struct template_piece){.text = text, .len = len, .supplied = supplied};
	return p;
}

bool template_parse(struct template *out, struct arena *a, const struct node *n, struct diagnostics *d)
{
	const char *p = n->text, *end = n->text + n->len;
	struct template_piece *pieces = arena_array(a, 2 * (count_braces(n) + n->supplied_count) + 1, sizeof(*pieces));
	size_t count = 0, errors = d->errors;

	while (p < end) {
		struct template_piece *piece = &pieces[count];
		struct mark at = node_mark_at(n, (size_t)(p - n->text));
		const char *why = NULL;
		bool lone = is_lone_brace(n, p);
		if (lone && *p == '}') {
			diagnostics_error(d, at, "\"}\" without \"{\": a literal brace is \"}}\"");
			p++;
		} else if (!lone) {
			p = take_literal(n, p, a, piece);
			count++;
		} else {
			*piece = (struct template_piece){0};
			size_t size = reference_in(&piece->reference, a, n, p, &why);
			if (size == 0)
				diagnostics_error(d, at, "not a reference: %s; a literal brace is \"{{\"", why);
			else
				count++;
			/* Behind a wrong one: at what closes it, so that it is not reported as standing alone. */
			const char *close = size ? NULL : memchr(p, '}', (size_t)(end - p));
			p += size;
			if (size == 0)
				p = close ? close + 1 : end;
		}
	}
	*out = (struct template){.pieces = pieces, .count = count, .at = n->at};
	return d->errors == errors;
}

bool template_is_literal(const struct template *t)
{
	for (size_t i = 0; i < t->count; i++) {
		if (!t->pieces[i].text)
			return false;
	}
	return true;
}

const char *template_text(const struct template *t, struct arena *a, size_t *len)
{
	*len = 0;
	for (size_t i = 0; i < t->count; i++)
		*len += t->pieces[i].len;
	char *text = arena_alloc(a, *len + 1), *to = text;
	for (size_t i = 0; i < t->count; i++) {
		memcpy(to, t->pieces[i].text, t->pieces[i].len);
		to += t->pieces[i].len;
	}
	*to = '\0';
	return text;
}
