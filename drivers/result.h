/* What a step brought back, as the rest of gatherd sees it: rendered as JSON straight from the driver's own form
 * (libpq's rows, BSON documents), and looked into by the references of other steps. */
#pragma once

#include <stddef.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/value.h"

struct result;

/* Of one result, in memory: more is a mistake of who asked. */
#define RESULT_MAX_BYTES ((size_t)256 << 20)

struct result_ops {
	/* The whole result as JSON. Does not fail, does not suspend, does not recurse without bound. */
	void (*render)(const struct result *r, struct buf *out);
	/* Follow path into the result; absent is null. What *out points to lives in r or in a. */
	struct value (*get)(const struct result *r, const struct path *path, struct arena *a);
	void (*free)(struct result *r);
};

/* At the start of a driver's own struct. Read-only once it is made. */
struct result {
	const struct result_ops *ops;
	size_t rows; /* rows or documents; for the log and for explain */
	/* The parts that failed and were replaced or left out, "order.mail, order.log"; lives in it. NULL: there are
	 * none. */
	const char *missing;
};

static inline void result_free(struct result *r)
{
	if (r)
		r->ops->free(r);
}
