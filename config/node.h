/* YAML as a tree: what libyaml's events say, with the place of each node, aliases resolved and bounded.
 *
 * Scalars follow the YAML 1.2 core schema: plain null, true/false, integers and floats as in JSON, .inf and .nan refused;
 * `yes`, `on`, `012` and everything quoted are strings. ${NAME} was expanded after parsing, so a value cannot change the
 * structure; a plain scalar is typed after expansion. Immutable; lives in the configuration's arena. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/diagnostics.h"

enum node_kind { NODE_NULL, NODE_BOOL, NODE_INT, NODE_FLOAT, NODE_STRING, NODE_SEQUENCE, NODE_MAPPING };

struct node;

struct node_member {
	const struct node *key; /* always a scalar */
	const struct node *value;
};

struct node {
	enum node_kind kind;
	struct mark at;
	bool plain;          /* a scalar without quotes or block style */
	bool boolean;        /* NODE_BOOL */
	int64_t integer;     /* NODE_INT */
	const char *text;    /* scalars: the text, NUL-terminated */
	size_t len;
	size_t count;                      /* NODE_SEQUENCE, NODE_MAPPING */
	const struct node *const *items;   /* NODE_SEQUENCE */
	const struct node_member *members; /* NODE_MAPPING: in order, names unique */
	struct mark body_at; /* block scalars (| and >): where the first line of the text begins, else equal to `at` */
};

static inline bool node_is_scalar(const struct node *n)
{
	return n->kind <= NODE_STRING;
}
const struct node *node_member(const struct node *mapping, const char *name);
/* "a mapping", "a string", … : for diagnostics. */
const char *node_kind_name(const struct node *n);
