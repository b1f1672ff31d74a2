/* Lines that say the same again and again: of one kind, five in ten seconds are written; those that follow become one.
 *
 * A kind is what a warning or an error is about: its msg, its error, its source, step, task and the like, but no number
 * and no request. The log's writer thread only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/log_fields.h"

enum { REPEATS_SHOWN = 5, REPEAT_KINDS = 64 };

struct log_repeat {
	uint64_t kind;   /* 0: free */
	int64_t end_us;  /* of its ten seconds */
	unsigned count;  /* in them */
	struct buf last; /* of those that were held back: without its newline */
};

struct log_repeats {
	struct log_repeat kinds[REPEAT_KINDS];
	unsigned held; /* kinds that hold a line */
};

void log_repeats_done(struct log_repeats *r);
/* Is the line to be held back? */
bool log_repeats_hold(struct log_repeats *r, const struct log_fields *fields, const char *line, size_t len,
		      int64_t now_us);
/* Append the lines of the kinds whose time is up (all: of all kinds), each with repeated=N: how many were held back. */
void log_repeats_release(struct log_repeats *r, struct buf *out, int64_t now_us, bool all);
/* When log_repeats_release has something to do; INT64_MAX: nothing is held. */
int64_t log_repeats_due_us(const struct log_repeats *r);
