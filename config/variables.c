/* ${NAME}: the environment in a scalar. It is expanded in the text of one scalar of the tree, never in the file, so
 * that no value can bring keys or structure of its own. */
#include "config/variables.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/utf8.h"

struct expansion {
	struct buf out;
	struct buf parts; /* struct node_part: what the environment supplied */
	struct arena *arena;
	struct mark at;
	struct diagnostics *diagnostics;
	bool variable; /* there was one */
};

static size_t name_length(const char *p)
{
	size_t n = 0;
	if (isdigit((unsigned char)*p))
		return 0;
	while (isalnum((unsigned char)p[n]) || p[n] == '_')
		n++;
	return n;
}

/* Append the variable's value, or the default: fallback, NULL if there is none. */
static bool substitute(struct expansion *x, const char *name, const char *fallback, size_t fallback_len)
{
	const char *value = getenv(name);

	if (!value && !fallback) {
		diagnostics_error(x->diagnostics, x->at,
				  "the environment variable %s is not set (${%s:-default} would give it a default)",
				  name, name);
		return false;
	}
	if (!value || (fallback && !*value)) {
		buf_append(&x->out, fallback, fallback_len);
		return true;
	}
	if (!utf8_valid(value, strlen(value))) {
		diagnostics_error(x->diagnostics, x->at, "the environment variable %s is not UTF-8", name);
		return false;
	}
	struct node_part part = {x->out.len, strlen(value)};
	buf_append(&x->parts, &part, sizeof(part));
	buf_append(&x->out, value, part.len);
	return true;
}

/* One ${…}: p is at its "$". Returns where it ends, or NULL. */
static const char *expand_one(struct expansion *x, const char *p)
{
	const char *name = p + 2;
	size_t len = name_length(name);
	const char *after = name + len;
	const char *end = strchr(after, '}');

	if (len > 0 && *after == '}')
		return substitute(x, arena_strndup(x->arena, name, len), NULL, 0) ? after + 1 : NULL;
	if (len > 0 && strncmp(after, ":-", 2) == 0 && end)
		return substitute(x, arena_strndup(x->arena, name, len), after + 2, (size_t)(end - after - 2)) ? end + 1
													       : NULL;
	diagnostics_error(x->diagnostics, x->at,
			  "\"${\" begins a variable: expected ${NAME} or ${NAME:-default}; $${ is a literal ${");
	return NULL;
}

/* The expanded text becomes n's. */
static void keep(struct node *n, struct expansion *x)
{
	n->text = arena_strndup(x->arena, x->out.data ? x->out.data : "", x->out.len);
	n->len = x->out.len;
	n->variable = x->variable;
	if (x->parts.len == 0)
		return;
	struct node_part *parts = arena_alloc(x->arena, x->parts.len);
	memcpy(parts, x->parts.data, x->parts.len);
	n->supplied = parts;
	n->supplied_count = x->parts.len / sizeof(*parts);
	n->expanded = true;
}

bool variables_expand(struct node *n, struct arena *a, struct diagnostics *d)
{
	struct expansion x = {.out = BUF_INIT, .parts = BUF_INIT, .arena = a, .at = n->at, .diagnostics = d};
	const char *p = n->text, *found;

	if (!strstr(p, "${"))
		return true;
	while (p && (found = strstr(p, "${"))) {
		if (found > p && found[-1] == '$') {
			buf_append(&x.out, p, (size_t)(found - 1 - p));
			buf_lit(&x.out, "${");
			p = found + 2;
		} else {
			buf_append(&x.out, p, (size_t)(found - p));
			p = expand_one(&x, found);
			x.variable = true;
		}
	}
	if (p) {
		buf_str(&x.out, p);
		keep(n, &x);
	}
	buf_done(&x.out);
	buf_done(&x.parts);
	return p != NULL;
}
