/* The path of a file as a template: checked when the configuration is loaded, filled in a request. A value stays in the
 * segment that it stands in; only `{path*}`, the rest of a request's path, may bring segments of its own. */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "drivers/driver.h"

struct path_part;

struct file_path {
	const struct path_part *parts;
	size_t count;
};

/* Compile n, a text. What is wrong goes to env->diagnostics; false then. Main thread. */
bool file_path_compile(struct file_path *out, const struct node *n, struct action_env *env);
/* Append the path for args. Returns 0; or -EINVAL with e filled: a value that is null, no scalar, empty, "." or "..",
 * or that holds "/" or NUL; 400 if the request supplied it, else 500. */
int file_path_fill(const struct file_path *p, const struct value *args, struct buf *out, struct error *e) must_check;
