/* Checking a JSON value against the JSON Schema words of the configuration. */
#pragma once

#include "base/arena.h"
#include "base/json.h"
#include "config/config.h"
#include "handlers/web/mistakes.h"

struct schema_check;

/* A check of one request: its mistakes go to m, its scratch space is in a. schema_check_end frees it. */
struct schema_check *schema_check_begin(struct mistakes *m, struct arena *a);
void schema_check_end(struct schema_check *c);

/* Check j, which is nested at most JSON_MAX_DEPTH deep, and all that is in it. Mistakes are named `name`, or for what
 * is inside `name.member`, `name[3].member`; where name is "" (the whole body) `member`, and `body` for the body
 * itself. Returns true if j is right. Each array and object that
 * is declared as one is marked as such. Iterative; the time that patterns take is bounded for the request as a whole.
 */
bool schema_check(struct schema_check *c, const struct config_schema *s, struct json *j, const char *name,
		  enum parameter_in in);
