/* What a statement does, apart from what the server says of it: a step's, compiled when the configuration was loaded
 * (immutable; any thread), or a handler's text (statements/cache.h; its worker's). */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>

#include "drivers/affected.h"
#include "drivers/driver.h"

/* From `at` on, the text is what stands in the scalar from `from` on; or all of it is one reference there. */
struct pg_sql_piece {
	size_t at, from; /* bytes */
	bool reference;
};

struct pg_sql {
	const char *text;                   /* for PREPARE; one statement without its semicolon; NUL-terminated */
	unsigned parameter_count;           /* at most 65535 */
	const int *slots;                   /* of $1, $2, …: their places in the plan's args; NULL: the same order */
	const struct reference *references; /* of $1, $2, …; NULL: a handler's text */
	char keyword[16];                   /* the first word, in lower case: select, with, insert, … */
	bool modifies;                      /* insert, update, delete or merge */
	enum action_effect effect;          /* as far as the text says it, if it may write */
	bool reads_data;                    /* it has a word that brings rows in: from, update, … */

	const struct node *node;           /* where it stands */
	const struct pg_sql_piece *pieces; /* in order; the first is at 0 */
	size_t piece_count;
};

struct pg_action {
	uint64_t hash;    /* of what makes its statement: the text, declared types, whether it may write */
	const char *step; /* its name, for messages; NULL: a handler's text */
	struct pg_sql sql;
	const struct config_schema *const *schemas; /* of $1, $2, …: the declared parameter's; NULL: none */
	const Oid *declared; /* of $1, $2, …: by the declared type of the parameter; 0, or NULL: none was declared */
	enum expect expect;  /* never EXPECT_DEFAULT; a handler's text: each run says it */
	struct affected affected;
	bool read_only;
	bool writes; /* it may change something: what has become of that is to be known when it fails */
};
