/* ${NAME} and ${NAME:-default} in scalars: environment variables, expanded after parsing. `$${` is a literal `${`. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "config/diagnostics.h"

/* Expand text, a NUL-terminated scalar of len bytes. *out lives in a (or is text itself, where nothing was to do);
 * *from_environment says whether the environment supplied part of it. A default stands for a variable that is unset or
 * empty. False where it is wrong: reported to d at `at`. */
bool variables_expand(const char **out, size_t *out_len, bool *from_environment, const char *text, size_t len,
		      struct arena *a, struct mark at, struct diagnostics *d);
