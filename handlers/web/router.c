/* Routing. Endpoints' paths become a tree of nodes, one edge a segment; a request's path is split and decoded once,
 * then the tree is searched depth first with an explicit stack. Every node has one way to it, so none is visited twice:
 * a hostile path costs its own length plus, at most, the size of the tree. */
#include "handlers/web/router.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "handlers/web/percent.h"

/* An endpoint at the end of its path. */
struct route {
	const struct config_endpoint *endpoint;
	size_t index;
	bool rest;    /* the last of its parameters is `{rest*}` */
	size_t count; /* of parameters */
	const char *names[ROUTE_MAX_PARAMETERS];
	size_t positions[ROUTE_MAX_PARAMETERS]; /* the segment that each takes; the last may be `{rest*}` */
};

/* What answers where a path ends. */
struct leaf {
	const struct route *routes[METHOD_COUNT];
};

struct edge {
	struct span text; /* decoded */
	struct route_node *to;
};

struct route_node {
	struct edge *literals; /* in the order of compare_text */
	size_t literal_count, literal_room;
	struct route_node *parameter;
	struct leaf *exact; /* the path ends here */
	struct leaf *rest;  /* `{rest*}` takes all that follows */
};

struct router {
	struct route_node root;
	size_t depth; /* segments of the longest path that was declared */
};

static int compare_text(struct span a, struct span b)
{
	if (a.len != b.len)
		return a.len < b.len ? -1 : 1;
	return a.len ? memcmp(a.base, b.base, a.len) : 0;
}

/* Where text stands among n's literals, or would stand. */
static size_t literal_slot(const struct route_node *n, struct span text)
{
	size_t low = 0, high = n->literal_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (compare_text(n->literals[middle].text, text) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct route_node *find_literal(const struct route_node *n, struct span text)
{
	size_t i = literal_slot(n, text);

	if (i < n->literal_count && compare_text(n->literals[i].text, text) == 0)
		return n->literals[i].to;
	return NULL;
}

/* --- building --- */

static struct route_node *add_literal(struct route_node *n, struct span text, struct arena *a)
{
	struct route_node *found = find_literal(n, text);
	if (found)
		return found;

	if (n->literal_count == n->literal_room) {
		size_t room = n->literal_room ? n->literal_room * 2 : 4;
		struct edge *more = arena_array(a, room, sizeof(*more));

		if (n->literal_count)
			memcpy(more, n->literals, n->literal_count * sizeof(*more));
		n->literals = more;
		n->literal_room = room;
	}
	size_t i = literal_slot(n, text);
	memmove(n->literals + i + 1, n->literals + i, (n->literal_count - i) * sizeof(*n->literals));
	n->literals[i] = (struct edge){.text = text, .to = arena_zalloc(a, sizeof(struct route_node))};
	n->literal_count++;
	return n->literals[i].to;
}

static struct leaf *add_leaf(struct leaf **place, struct arena *a)
{
	if (!*place)
		*place = arena_zalloc(a, sizeof(**place));
	return *place;
}

/* Note that segment number `position` is the parameter {name}. */
static bool add_parameter(struct route *route, struct span name, size_t position, struct arena *a,
			  struct diagnostics *d)
{
	if (route->count == ROUTE_MAX_PARAMETERS) {
		diagnostics_error(d, route->endpoint->at, "more than %d parameters in the path \"%s\"",
				  ROUTE_MAX_PARAMETERS, route->endpoint->path);
		return false;
	}
	route->names[route->count] = arena_strndup(a, name.base, name.len);
	route->positions[route->count++] = position;
	return true;
}

/* The literal segment as a request's is seen: decoded. One that can't be decoded can't be asked for either. */
static bool literal_text(struct span *text, const struct route *route, struct arena *a, struct diagnostics *d)
{
	char *copy = arena_alloc(a, text->len + 1);
	ssize_t n = percent_decode(copy, text->base, text->len, false);

	if (n < 0 || (n == 1 && copy[0] == '.') || (n == 2 && memcmp(copy, "..", 2) == 0)) {
		diagnostics_error(d, route->endpoint->at, "the path \"%s\" can't be asked for: segment \"%.*s\"",
				  route->endpoint->path, (int)text->len, text->base);
		return false;
	}
	*text = (struct span){copy, (size_t)n};
	return true;
}

/* Walk, and where needed build, the way of route's path. Returns where it ends, or NULL: d says why. */
static struct leaf *add_path(struct router *r, struct route *route, struct arena *a, struct diagnostics *d)
{
	struct route_node *n = &r->root;
	const char *s = route->endpoint->path;

	for (size_t position = 0; *s == '/'; position++) {
		struct span segment = {s + 1, strcspn(s + 1, "/")};
		s = segment.base + segment.len;
		if (r->depth < position + 1)
			r->depth = position + 1;

		if (segment.len < 2 || segment.base[0] != '{' || segment.base[segment.len - 1] != '}') {
			if (!literal_text(&segment, route, a, d))
				return NULL;
			n = add_literal(n, segment, a);
			continue;
		}
		struct span name = {segment.base + 1, segment.len - 2};
		bool rest = name.len > 0 && name.base[name.len - 1] == '*';
		name.len -= rest;
		if (!add_parameter(route, name, position, a, d))
			return NULL;
		if (rest && *s) {
			diagnostics_error(d, route->endpoint->at, "{%.*s*} must be the last segment of the path",
					  (int)name.len, name.base);
			return NULL;
		}
		route->rest = rest;
		if (rest)
			return add_leaf(&n->rest, a);
		if (!n->parameter)
			n->parameter = arena_zalloc(a, sizeof(*n->parameter));
		n = n->parameter;
	}
	if (*s || n == &r->root) {
		diagnostics_error(d, route->endpoint->at, "the path \"%s\" must begin with \"/\"",
				  route->endpoint->path);
		return NULL;
	}
	return add_leaf(&n->exact, a);
}

struct router *router_new(const struct config *c, struct arena *a, struct diagnostics *d)
{
	struct router *r = arena_zalloc(a, sizeof(*r));

	for (size_t i = 0; i < c->endpoint_count; i++) {
		const struct config_endpoint *e = &c->endpoints[i];
		if (!e->sound)
			continue;
		struct route *route = arena_zalloc(a, sizeof(*route));
		*route = (struct route){.endpoint = e, .index = i};

		struct leaf *leaf = add_path(r, route, a, d);
		if (!leaf)
			continue;
		const struct route *same = leaf->routes[e->method];
		if (same)
			diagnostics_error(d, e->at, "\"%s\" can't be told apart from \"%s\" (line %u)", e->name,
					  same->endpoint->name, same->endpoint->at.line);
		else
			leaf->routes[e->method] = route;
	}
	return r;
}

/* --- matching --- */

/* A request's path, split and decoded. */
struct segments {
	struct span *at; /* the first `kept` of them; they stand in one buffer, with "/" between */
	size_t count, kept;
	const char *end;     /* of the buffer */
	size_t empty_before; /* one more than the number of the last segment that is empty; 0: none is */
	size_t slash_before; /* the same for one that holds a decoded "/" */
};

static bool is_dots(const char *s, size_t len)
{
	return (len == 1 && s[0] == '.') || (len == 2 && s[0] == '.' && s[1] == '.');
}

/* Returns 0 or -EBADMSG. Every segment is checked, also those that no route could reach. */
static int split(struct segments *out, struct span path, size_t keep, struct arena *a)
{
	if (path.len == 0 || path.base[0] != '/')
		return -EBADMSG;

	const char *end = path.base + path.len;
	char *to = arena_alloc(a, path.len);
	*out = (struct segments){.at = arena_array(a, keep, sizeof(struct span))};
	for (const char *s = path.base; s < end; out->count++) {
		const char *from = s + 1;
		s = memchr(from, '/', (size_t)(end - from));
		if (!s)
			s = end;

		ssize_t n = percent_decode(to, from, (size_t)(s - from), false);
		if (n < 0 || is_dots(to, (size_t)n))
			return -EBADMSG;
		if (n == 0)
			out->empty_before = out->count + 1;
		else if (memchr(to, '/', (size_t)n))
			out->slash_before = out->count + 1;
		if (out->count < keep)
			out->at[out->kept++] = (struct span){to, (size_t)n};
		to += n;
		out->end = to;
		if (s < end)
			*to++ = '/';
	}
	return 0;
}

/* The search: nodes still to be visited, the best last. Every level leaves at most two behind. */
struct visit {
	const struct route_node *node;
	size_t depth; /* segments that led to it */
	bool rest;    /* try its `{rest*}`, not what is below it */
};

struct search {
	struct visit *stack;
	size_t height;
	const struct route *found;
	bool slash_in_rest; /* found is not a good: its `{rest*}` has a decoded "/" */
	unsigned answered;  /* bits of methods with a route of their own */
	bool any;
};

static void push(struct search *s, const struct route_node *node, size_t depth, bool rest)
{
	s->stack[s->height++] = (struct visit){node, depth, rest};
}

/* The path fits a leaf: take its route, if none that is better was found. */
static void arrive(struct search *s, const struct leaf *leaf, enum http_method method, bool slash_in_rest)
{
	const struct route *route = method < METHOD_COUNT ? leaf->routes[method] : NULL;

	if (!route && method == METHOD_HEAD)
		route = leaf->routes[METHOD_GET];
	if (route && !s->found) {
		s->found = route;
		s->slash_in_rest = slash_in_rest;
	}
	for (unsigned i = 0; i < METHOD_COUNT; i++)
		if (leaf->routes[i])
			s->answered |= BIT(i);
	s->any = true;
}

static void look(struct search *s, const struct segments *path, enum http_method method)
{
	while (s->height > 0) {
		struct visit v = s->stack[--s->height];

		if (v.rest) {
			arrive(s, v.node->rest, method, path->slash_before > v.depth);
			continue;
		}
		if (v.depth == path->count) {
			if (v.node->exact)
				arrive(s, v.node->exact, method, false);
			continue;
		}
		if (v.node->rest && path->empty_before <= v.depth)
			push(s, v.node, v.depth, true);
		if (v.depth >= path->kept)
			continue;
		if (v.node->parameter && path->at[v.depth].len > 0)
			push(s, v.node->parameter, v.depth + 1, false);
		const struct route_node *literal = find_literal(v.node, path->at[v.depth]);
		if (literal)
			push(s, literal, v.depth + 1, false);
	}
}

static unsigned allowed_methods(unsigned answered)
{
	if (answered & BIT(METHOD_GET))
		answered |= BIT(METHOD_HEAD);
	return answered | BIT(METHOD_OPTIONS);
}

static void take_parameters(struct route_match *m, const struct route *route, const struct segments *path)
{
	m->endpoint = route->endpoint;
	m->index = route->index;
	m->count = route->count;
	for (size_t i = 0; i < route->count; i++) {
		m->names[i] = route->names[i];
		m->values[i] = path->at[route->positions[i]];
	}
	if (route->rest)
		m->values[m->count - 1].len = (size_t)(path->end - m->values[m->count - 1].base);
}

int router_match(const struct router *r, enum http_method method, struct span path, struct arena *a,
		 struct route_match *m)
{
	struct segments segments;
	struct search s = {0};

	m->endpoint = NULL;
	m->count = 0;
	m->allowed = 0;
	if (split(&segments, path, r->depth, a) < 0)
		return -EBADMSG;

	s.stack = arena_array(a, 2 * r->depth + 3, sizeof(*s.stack));
	push(&s, &r->root, 0, false);
	look(&s, &segments, method);
	if (!s.any)
		return -ENOENT;
	m->allowed = allowed_methods(s.answered);
	if (!s.found)
		return -EOPNOTSUPP;
	if (s.slash_in_rest)
		return -EBADMSG;
	take_parameters(m, s.found, &segments);
	return 0;
}
