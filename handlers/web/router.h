/* Which endpoint a request is for: a tree of path segments, matched on the raw path.
 *
 * The path is split at "/" before it is percent-decoded (RFC 3986), so %2F is data of its segment; "." and ".."
 * segments (also percent-encoded), NUL and bad UTF-8 after decoding are refused. An empty segment matches only if it
 * was declared ("/a/" is not "/a", "//" is not "/"), never a parameter. `{rest*}` takes one segment or more, none of
 * them empty; its value is the decoded segments joined with "/", so a %2F among them is refused. A literal segment wins
 * over a parameter, a parameter over `{rest*}`, deciding left to right, among the endpoints of the request's method:
 * where "GET /a/b" and "POST /a/{id}" are declared, POST /a/b is for the second. A match visits each node of the tree
 * at most once. Built at load, read-only afterwards, any thread. */
#pragma once

#include <stddef.h>

#include "base/arena.h"
#include "config/config.h"
#include "handlers/web/exchange.h"

struct router;

/* Two endpoints that can't be told apart (same method, same shape of path), more than ROUTE_MAX_PARAMETERS parameters
 * in a path, a `{rest*}` that is not the last segment are reported to d. a owns the router; c must outlive it. */
struct router *router_new(const struct config *c, struct arena *a, struct diagnostics *d);

#define ROUTE_MAX_PARAMETERS 32
struct route_match {
	const struct config_endpoint *endpoint; /* of the method; HEAD falls back to GET */
	size_t index;                           /* in config.endpoints */
	unsigned allowed; /* bits of enum http_method that this path answers, OPTIONS and HEAD included */
	size_t count;     /* decoded segments, in the order in which the path declares its parameters; in the arena */
	struct span values[ROUTE_MAX_PARAMETERS];
	const char *names[ROUTE_MAX_PARAMETERS];
};

/* Returns 0; -ENOENT (no such path: 404); -EOPNOTSUPP (another method: 405, m->allowed is set; OPTIONS always comes
 * back so where the path exists and declares none); -EBADMSG (the path itself is wrong: 400). METHOD_COUNT stands for
 * a method that is none of enum http_method. */
int router_match(const struct router *r, enum http_method method, struct span path, struct arena *a,
		 struct route_match *m) must_check;
