/* A request's JSON body as a template: rendered when the configuration is loaded, but for its references. */
#pragma once

#include "base/buf.h"
#include "config/node.h"
#include "drivers/driver.h"

struct body_part;

struct body {
	const struct body_part *parts;
	size_t count; /* 0: no body */
};

/* Compile n, a tree with references in its texts (a text that is one reference keeps the value's type). What is wrong
 * goes to env->diagnostics; false then. Main thread. */
bool body_compile(struct body *out, const struct node *n, struct action_env *env);
/* Append the body for args, JSON. */
void body_fill(const struct body *b, const struct value *args, struct buf *out);
