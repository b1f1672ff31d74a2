/* A call's target, path and query, as a template: checked and percent-encoded when the configuration is loaded, filled
 * in a request.
 *
 * A value never leaves the place it stands in: in a path it can't begin another segment or become "." or "..", in a
 * query it can't begin another parameter. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"
#include "config/node.h"
#include "drivers/driver.h"

struct target_part;

struct target {
	const struct target_part *parts;
	size_t count;
};

/* Compile `path` (a text: "/items/{id}?lang=de") behind `base`, and the mapping `query` (or NULL) behind that. What is
 * wrong goes to env->diagnostics; false then. Main thread. */
bool target_compile(struct target *out, const char *base, const struct node *path, const struct node *query,
		    struct action_env *env);
/* The target for args. Returns 0; or -EINVAL with e filled, by what is wrong: 400 if the request supplied the value,
 * else 500. A null in a path is wrong; as the value of a query parameter it leaves the parameter out, and a list
 * repeats it; inside a longer value it is nothing. */
int target_fill(const struct target *t, const struct value *args, struct buf *out, struct error *e) must_check;
/* Append a handler's target: `path`, percent-encoded and perhaps with a query, behind `base`, and the members of the
 * document `query` (NULL: none) as parameters: null leaves one out, a list repeats it. Returns 0 or -EINVAL with e
 * filled (500): path does not begin with "/", holds what can't stand in a URL, or a segment "." or ".." (however they
 * are written); or query is not a document, or 400 if a request's value in it can't be sent. */
int target_make(const char *base, const char *path, const struct value *query, struct buf *out,
		struct error *e) must_check;
/* Append s with everything percent-encoded that is not unreserved (RFC 3986). */
void target_encode(struct buf *out, const char *s, size_t len);
