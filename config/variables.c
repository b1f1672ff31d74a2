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
	struct arena *arena;
	struct mark at;
	struct diagnostics *diagnostics;
	bool from_environment;
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

/* Append the variable's value, or the default: fallback, NULL where there is none. */
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
	buf_str(&x->out, value);
	x->from_environment = true;
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

bool variables_expand(const char **out, size_t *out_len, bool *from_environment, const char *text, size_t len,
		      struct arena *a, struct mark at, struct diagnostics *d)
{
	struct expansion x = {.out = BUF_INIT, .arena = a, .at = at, .diagnostics = d};
	const char *p = text, *found;

	*out = text;
	*out_len = len;
	*from_environment = false;
	if (!strstr(text, "${"))
		return true;
	while (p && (found = strstr(p, "${"))) {
		if (found > p && found[-1] == '$') {
			buf_append(&x.out, p, (size_t)(found - 1 - p));
			buf_lit(&x.out, "${");
			p = found + 2;
		} else {
			buf_append(&x.out, p, (size_t)(found - p));
			p = expand_one(&x, found);
		}
	}
	if (p) {
		buf_str(&x.out, p);
		*out = arena_strndup(a, x.out.data ? x.out.data : "", x.out.len);
		*out_len = x.out.len;
		*from_environment = x.from_environment;
	}
	buf_done(&x.out);
	return p != NULL;
}
