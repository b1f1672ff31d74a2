/* Values as the text parameters of a statement. */
#pragma once

#include <stdbool.h>

#include "base/buf.h"
#include "base/compiler.h"
#include "base/value.h"
#include "drivers/postgres/types/types.h"

/* What a call binds; kept by its call and used again. */
struct pg_parameters {
	struct buf text;     /* the texts, each with its NUL */
	size_t *offsets;     /* into text; SIZE_MAX: null */
	const char **values; /* for libpq: NULL is SQL NULL; set by pg_parameters_end */
	bool *theirs;        /* a stranger supplied it */
	unsigned count, capacity;
	bool from_request; /* a stranger supplied one of them */
};

void pg_parameters_done(struct pg_parameters *p);
void pg_parameters_begin(struct pg_parameters *p, unsigned count);
/* Bind the next one, for a parameter of type t. Lists and JSON arrays become array literals where t is an array, and
 * JSON where it is not; documents are JSON everywhere, and bytes bytea alone. For json and jsonb a text is a JSON
 * string, whatever it says. For integers a whole number may be written in any way that JSON has. Returns 0, -EINVAL (a
 * NUL byte, bad UTF-8, bytes elsewhere) or -E2BIG (an array of too many dimensions): *why says it. */
int pg_parameters_add(struct pg_parameters *p, const struct pg_type *t, const struct value *v,
		      const char **why) must_check;
void pg_parameters_end(struct pg_parameters *p);
