/* Checking a JSON value against a JSON Schema (2020-12) of the configuration. */
#pragma once

#include "base/arena.h"
#include "base/json.h"
#include "config/config.h"
#include "handlers/web/mistakes.h"

struct schema_check;

/* A check of one request: its mistakes go to m, its scratch space is in a. schema_check_end frees it. It looks at
 * values 100,000 times at most: schemas that combine others can ask for more than anybody should compute. */
struct schema_check *schema_check_begin(struct mistakes *m, struct arena *a);
/* There are that many values: it may look at each of them once more. */
void schema_check_allow(struct schema_check *c, size_t values);
void schema_check_end(struct schema_check *c);

/* Check j, which is nested at most JSON_MAX_DEPTH deep, and all that is in it. Mistakes are in what `name` says, or in
 * the body as a whole if it is "". Returns true if j is right: then members that are absent and have a default are
 * there, and each array and object that is declared as one is marked as such. The time that patterns take is bounded
 * for the request as a whole. Recursive: for threads, not for tasks. */
bool schema_check(struct schema_check *c, const struct config_schema *s, struct json *j, const char *name,
		  enum parameter_in in);
