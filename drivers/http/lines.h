/* The header lines of a request: the source's, the step's, and those that every call has. */
#pragma once

#include "base/error.h"
#include "config/node.h"
#include "drivers/driver.h"

struct line;

/* The headers that every call has, unless they are named otherwise. */
struct lines_own {
	bool id, parent, state; /* X-Request-Id, traceparent, tracestate */
};

struct lines {
	const struct line *items;
	size_t count;
	struct lines_own named; /* the configuration says what they are */
};

/* What a step's lines are made of. */
struct lines_spec {
	const struct node *source, *step; /* mappings of name to text, or NULL; the step's win. The source's texts have
					     no references */
	const char *accept;               /* where neither names it; NULL: none */
	bool json_body;                   /* Content-Type: application/json, if neither names it */
};

/* Check and compile. What is wrong goes to env->diagnostics; false then. Main thread. */
bool lines_compile(struct lines *out, const struct lines_spec *spec, struct action_env *env);
/* The lines for args into out (room for HTTP_MAX_LINES), texts in a. A header that is null or empty is left out.
 * Returns their number; or -EINVAL with e filled: 400 if the request supplied a value with a control character in
 * it, else 500. */
int lines_fill(const struct lines *l, const struct value *args, const struct run_options *options, struct arena *a,
	       uint64_t *random, const char **out, struct error *e) must_check;
/* The lines of a handler's call, likewise: the source's, those of `given` (which win), and, if neither names them,
 * Accept, Content-Type (each NULL: none), X-Request-Id, traceparent and tracestate. -EINVAL if one of `given` is no
 * header, is the connection's or Host, or if there are too many. */
int lines_make(const struct node *source, const struct value *given, const char *accept, const char *content_type,
	       const struct run_options *options, uint64_t *random, const char **out, struct error *e) must_check;
/* Report the headers of a source that can't be sent. */
void lines_check(const struct node *headers, struct diagnostics *d);
