/* Operations: what is under way without a task and a stack of its own, such as a query.
 *
 * DESIGN. Whoever can do something so (a driver) embeds a struct operation, sets its kind and begins it. It goes on by
 * callbacks of its loop and ends with operation_complete, once: in a callback, or in `look`, but never inside the
 * function that began it. Then its result is collected from its maker. A gather (gather.h) waits for operations as for
 * tasks: twenty of them cost it one suspension.
 *
 * Its time-outs cost no timers: whoever waits wakes at `look_at` at the latest, and has the operation look whether one
 * has passed. `look_at` may be too early, but never too late.
 *
 * Loop thread only. */
#pragma once

#include "base/buf.h"
#include "base/deadline.h"

struct operation;

struct operation_kind {
	/* look_at has come: complete, or set look_at to a later time. */
	void (*look)(struct operation *op);
	/* Nobody wants it any more: end it, at once. It does not complete, and is not collected. */
	void (*cancel)(struct operation *op);
	/* Append what it waits for, for people to read: "an answer from PostgreSQL (source shop, sent)". */
	void (*describe)(const struct operation *op, struct buf *out);
};

struct operation {
	const struct operation_kind *kind;
	deadline_t look_at; /* DEADLINE_NEVER: it need not look */
	/* Set by who waits for it, and called once; must not suspend. NULL: it has completed, or nobody waits. */
	void (*completed)(struct operation *op);
	void *waiting; /* … and theirs */
};

/* It has ended, whether well or not. For its maker. */
static inline void operation_complete(struct operation *op)
{
	void (*completed)(struct operation * op) = op->completed;

	op->completed = NULL;
	completed(op);
}
