/* What `write` and `append` put into a file: a text with references in it, or JSON where it is declared as such. */
#pragma once

#include "base/buf.h"
#include "drivers/driver.h"
#include "drivers/json_body.h"

struct content_part;

struct content {
	const struct content_part *parts; /* of a text */
	size_t count;
	bool is_json;
	struct body json;
};

/* Compile n. What is wrong goes to env->diagnostics; false then. Main thread. */
bool content_compile(struct content *out, const struct node *n, struct action_env *env);
/* Append the content for args: a text with its values as text (null: nothing); JSON ends with a line break. */
void content_fill(const struct content *c, const struct value *args, struct buf *out);
