/* A step's SQL: its references become parameters ($1, $2, …), everything else stays as it was written. */
#pragma once

#include <stdbool.h>

#include "drivers/driver.h"

struct pg_sql {
	const char *text;                   /* for PREPARE; one statement without its semicolon; NUL-terminated */
	unsigned parameter_count;           /* at most 65535 */
	const int *slots;                   /* of $1, $2, …: their places in the plan's args */
	const struct reference *references; /* of $1, $2, … */
	char keyword[16];                   /* the first word, in lower case: select, with, insert, … */
	bool modifies;                      /* insert, update, delete or merge */
};

/* Read n's text. References in literals, quoted identifiers, dollar quotes and comments are left alone, with a warning.
 * False: what is wrong was reported. Lives in env->arena. */
bool pg_sql_parse(struct pg_sql *out, const struct node *n, struct action_env *env);
