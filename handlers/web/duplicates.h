/* Members of a request's JSON that come twice. Which one counts differs from reader to reader (RFC 8259, 4), so what
 * one of them has checked may not be what another one stores: such a body is refused. */
#pragma once

#include <stdbool.h>

#include "base/arena.h"
#include "base/json.h"
#include "handlers/web/mistakes.h"

/* Report each name that an object in j, at any depth, has more than once: as `member`, `a.member` or `a[3].member` of
 * the body. j is nested at most JSON_MAX_DEPTH deep; scratch space is in a. Returns true if there is none; *values is
 * then how many values there are in j, itself included. */
bool duplicates_none(struct mistakes *m, const struct json *j, struct arena *a, size_t *values);
