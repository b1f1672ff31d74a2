/* The reply of an endpoint, compiled: a flat program that renders JSON.
 *
 * A constant part is rendered once, at load; a reply without references is one piece of text. */
#pragma once

#include <stdbool.h>

#include "handlers/gather/slot.h"

struct respond_op;

struct respond {
	const struct respond_op *ops;
	size_t count;
	bool constant; /* no reference in it: rendering needs no evaluation */
};

/* From `respond`, or, if it is absent, one object of the steps' results in the order they are declared. */
int respond_compile(struct respond *out, struct scope *scope) must_check;
/* Returns 0; or, as soon as out is over its limit, -EMSGSIZE and in *step (may be NULL) the step that stood there, -1:
 * none. */
int respond_render(const struct respond *r, const struct evaluation *e, struct buf *out, int *step);

/* A node without references as a value, for `{ default: … }`. */
int constant_value(struct value *out, const struct node *n, struct scope *scope) must_check;
