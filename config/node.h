/* YAML as a tree: what libyaml's events say, with the place of each node, aliases resolved and bounded.
 *
 * Scalars follow the YAML 1.2 core schema: plain null, true/false, integers (012 is 12, 0o14 and 0xC are, too) and
 * floats (.5, 1., +1e3); .inf and .nan are refused; `yes`, `on`, `1_000` and everything quoted are strings. ${NAME} was
 * expanded after parsing, so a value cannot change the structure; a plain scalar is typed after expansion. Keys are
 * strings, as they stand. Texts are UTF-8 and hold no NUL. The tree is at most NODE_MAX_DEPTH deep, and aliases add at
 * most NODE_MAX_ADDED nodes to what the text has, so that it may be walked by recursion (on a thread's stack, not a
 * task's). Immutable; lives in the configuration's arena. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/value.h"
#include "config/diagnostics.h"

#define NODE_MAX_DEPTH 64
#define NODE_MAX_ADDED 1000000

enum node_kind { NODE_NULL, NODE_BOOL, NODE_INT, NODE_FLOAT, NODE_STRING, NODE_SEQUENCE, NODE_MAPPING };

struct node;

struct node_member {
	const struct node *key; /* always a scalar */
	const struct node *value;
};

/* A part of a scalar's text that a variable supplied. It is data, whatever it looks like. */
struct node_part {
	size_t at, len; /* bytes of the text */
};

struct node {
	enum node_kind kind;
	struct mark at;
	bool plain;       /* a scalar without quotes or block style */
	bool expanded;    /* a scalar that took something from the environment, or a secret: never shown in messages */
	bool variable;    /* a scalar with ${…} in it: if a number, true or false is expected, quotes do not count */
	bool verbatim;    /* a scalar whose text stands in the file just so, from body_at on */
	bool refused;     /* a mistake about it was reported: say no more (never in a configuration that loaded) */
	bool boolean;     /* NODE_BOOL */
	int64_t integer;  /* NODE_INT */
	const char *text; /* scalars: the text, NUL-terminated, as it stands in the file */
	size_t len;
	const char *number; /* NODE_INT, NODE_FLOAT: text as a JSON number, NUL-terminated, digit for digit */
	size_t count;       /* NODE_SEQUENCE, NODE_MAPPING */
	const struct node *const *items;   /* NODE_SEQUENCE */
	const struct node_member *members; /* NODE_MAPPING: in order, names unique */
	struct mark body_at; /* scalars: where the text begins, behind the quote or on the line after | or > */
	const struct node_part *supplied; /* what variables supplied, in order */
	size_t supplied_count;
};

static inline bool node_is_scalar(const struct node *n)
{
	return n->kind <= NODE_STRING;
}
/* Nothing stands there: a key without a value, a file without a text. */
static inline bool node_is_absent(const struct node *n)
{
	return n->kind == NODE_NULL && n->len == 0 && !n->refused;
}
/* Drop members whose name was there before; twice(arg, key, index, first) tells of each. Sorted, so that a large
 * mapping costs no square. Returns how many are left, in order. */
size_t node_members_unique(struct node_member *members, size_t count,
			   void (*twice)(void *arg, const struct node *key, size_t index, const struct node *first),
			   void *arg);
/* Did a variable supply one of the len bytes at `at` of n's text? */
bool node_is_supplied(const struct node *n, size_t at, size_t len);
/* n as its text reads without quotes, if a variable stands in it (a copy in a); else n itself. */
const struct node *node_unquoted(const struct node *n, struct arena *a);
/* The same the other way round: n as a text. */
const struct node *node_quoted(const struct node *n, struct arena *a);
/* Is it a text, or what stands for one: a number, or anything that a variable gave? */
bool node_is_text(const struct node *n);
/* Was no mistake reported in it (bounded by NODE_MAX_DEPTH and the count of nodes)? */
bool node_is_sound(const struct node *n);
/* The value of that name; NULL if n is not a mapping or has none. */
const struct node *node_member(const struct node *n, const char *name);
/* "a mapping", "a text", … : for diagnostics. */
const char *node_kind_name(const struct node *n);
/* What n is, for messages: a scalar as `"text"`, clipped, but for what the environment supplied; else its kind. The
 * result lives in a. */
const char *node_shown(const struct node *n, struct arena *a);
/* The place of the text's byte at `offset`, as exactly as it is known: if the text is not verbatim (a folded text,
 * escapes, variables), the place of the scalar. */
struct mark node_mark_at(const struct node *n, size_t offset);
/* The tree as JSON text, digit for digit. */
void node_render(const struct node *n, struct buf *out);
/* The tree as a value: scalars as scalars, the rest VALUE_JSON. It lives in a. */
struct value node_value(const struct node *n, struct arena *a);
