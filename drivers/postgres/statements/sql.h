/* A step's SQL: its references become parameters ($1, $2, …), everything else stays as it was written. */
#pragma once

#include <stdbool.h>

#include "drivers/postgres/wire/action.h"

/* Read n's text. References in literals, quoted identifiers, dollar quotes and comments are left alone, with a warning.
 * False: what is wrong was reported. Lives in env->arena. */
bool pg_sql_parse(struct pg_sql *out, const struct node *n, struct action_env *env);
/* Read a handler's text, in which parameters are $1, $2, …; it takes as many as the highest of them says. out->text is
 * the caller's to free. False: *why says what is wrong. */
bool pg_sql_scan(struct pg_sql *out, const char *text, size_t len, const char **why);
/* A handler's COPY. */
struct pg_copy_sql {
	char *text; /* as in struct pg_sql; the caller's to free */
	bool in;    /* FROM STDIN; else TO STDOUT */
	bool plain; /* nothing follows: text format, with tabs and \N */

	enum { PG_COPY_TABLE, PG_COPY_TARGET, PG_COPY_DECIDED } state; /* while it is read */
	bool streams;
};

/* Read one: neither from nor to files and programs of the server. False: *why says what is wrong, text is NULL. */
bool pg_sql_scan_copy(struct pg_copy_sql *out, const char *text, size_t len, const char **why);
/* Where the character of the text at `position` stands in the file: as the server counts, from 1. 0, or what is beyond
 * the end: where the statement begins, or ends. */
struct mark pg_sql_mark(const struct pg_sql *sql, size_t position);
