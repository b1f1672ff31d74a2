/* ${NAME} and ${NAME:-default} in scalars: environment variables, expanded after parsing. `$${` is a literal `${`. */
#pragma once

#include <stdbool.h>

#include "base/arena.h"
#include "config/diagnostics.h"
#include "config/node.h"

/* Expand the text of n, a scalar. The new text lives in a; n->expanded and n->supplied say what the environment
 * supplied. A default stands for a variable that is unset or empty, and is text of the file. False if it is wrong:
 * reported to d, and n is as it was. */
bool variables_expand(struct node *n, struct arena *a, struct diagnostics *d);
