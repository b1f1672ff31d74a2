/* References, `{name}` and `{step.path}`: one syntax wherever a text stands. `{{` and `}}` are literal braces.
 *
 *   reference = "{" name *( "." name | "[" index "]" | "[*]" ) [ "?" ] "}"     name = [A-Za-z_][A-Za-z0-9_-]*  */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/value.h"
#include "config/diagnostics.h"
#include "config/node.h"

struct reference {
	const char *root; /* a parameter's or step's name, or request, headers, body, claims */
	struct path path; /* what follows the root */
	bool sent;        /* {body.a?}: not the member, but whether it was sent */
	const char *text; /* as it was written, with its braces: for messages */
	struct mark at;
};

/* Is this the beginning of a reference, as opposed to a brace that means something else? Parses one reference at text
 * (which begins with "{"). Returns the bytes it takes; 0 if it is none (`{}`, `{ `, `{"`): *why then says what was
 * expected. The reference is copied to a. */
size_t reference_parse(struct reference *out, struct arena *a, const char *text, size_t len, struct mark at,
		       const char **why);

/* The same in a scalar's text: p is at the "{". What a variable supplied is no part of a reference. */
size_t reference_in(struct reference *out, struct arena *a, const struct node *n, const char *p, const char **why);

/* A way alone, as it stands behind a root but without the first ".": `rates.EUR`, `items[0].id`. text is
 * NUL-terminated; the way lives in a. False: *why says what was expected. */
bool path_parse(struct path *out, struct arena *a, const char *text, size_t len, const char **why);

/* A text with references in it: literal pieces and references by turns. */
struct template_piece {
	const char *text; /* literal, with {{ and }} replaced; NULL if it is a reference */
	size_t len;
	bool supplied; /* literal: by a variable */
	struct reference reference;
};
struct template
{
	const struct template_piece *pieces;
	size_t count;
	struct mark at;
};

/* Split n's text (a scalar node). A wrong reference or a lone brace is reported to d; returns false then. */
bool template_parse(struct template *out, struct arena *a, const struct node *n, struct diagnostics *d);
/* One reference and nothing else: keeps the type of the value. */
static inline bool template_is_reference(const struct template *t)
{
	return t->count == 1 && !t->pieces[0].text;
}
/* No reference at all. */
bool template_is_literal(const struct template *t);
/* The whole text of one without references, NUL-terminated; it lives in a. */
const char *template_text(const struct template *t, struct arena *a, size_t *len);
