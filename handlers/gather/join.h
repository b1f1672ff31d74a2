/* Joining one step's rows into another's: by hash, whatever the two sources are.
 *
 * A joined result wraps the one that it was made from: the rows stay in their driver's own form, and the added members
 * are found by row number when the reply is rendered or looked into. */
#pragma once

#include "config/config.h"
#include "handlers/gather/slot.h"

/* Where a step's rows come from: its expectation says whether its result is a list of them or one. */
struct join_side {
	struct outcome *outcome;
	const struct config_step *step;
};

/* Embed the rows of `from` in those of `into`, whose outcome's result is replaced by the joined one. Keys are compared
 * as JSON values: 1 equals 1.0, "1" does not equal 1, null equals nothing. Rows keep their order; those of `from` that
 * match one row come in theirs. A side that has no rows (it failed and was replaced, it was skipped) matches nothing.
 * Returns 0, or -EMSGSIZE if more than JOIN_MAX_MATCHES would match: nothing is joined then.
 *
 * Joins into joins multiply. A way into them that gives more than JOIN_MAX_LISTED values, or comes by more than
 * JOIN_MAX_MATCHES rows, gives one that cannot be rendered: the buffer is over its limit then (buf_over). */
enum { JOIN_MAX_MATCHES = 1 << 24, JOIN_MAX_LISTED = 1 << 20 };
int join_apply(const struct config_join *join, struct join_side into, struct join_side from,
	       struct arena *a) must_check;
