/* What a statement does, apart from what the server says of it: a step's, compiled when the configuration was loaded
 * (immutable; any thread), or a handler's text (statements/cache.h; its worker's). */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>

#include "drivers/affected.h"
#include "drivers/driver.h"
#include "drivers/inner.h"

/* From `at` on, the text is what stands in the scalar from `from` on; or all of it is one reference there. */
struct pg_sql_piece {
	size_t at, from; /* bytes */
	bool reference;
};

/* A statement that changes at most one row, if what its text says of its table is so (statements/single.c). */
enum pg_single_kind {
	PG_NOT_SINGLE,
	PG_SINGLE_ROW, /* an INSERT of one row */
	PG_SINGLE_KEY, /* an UPDATE or DELETE by the values of columns, if these hold a key */
};

#define PG_KEY_COLUMNS 8

struct pg_single {
	enum pg_single_kind kind;
	bool only;        /* not the tables that inherit from it */
	size_t table;     /* a PG_SINGLE_KEY's: where its name stands in the text, as it is written; bytes */
	size_t table_len; /* bytes */
	unsigned column_count;
	struct {
		size_t at, len;     /* its name, as it is written */
		unsigned parameter; /* 1, 2, …: that it must equal; 0: a constant */
	} columns[PG_KEY_COLUMNS];
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
	struct pg_single single;

	const struct node *node;           /* where it stands */
	const struct pg_sql_piece *pieces; /* in order; the first is at 0 */
	size_t piece_count;
};

enum pg_isolation { PG_READ_COMMITTED, PG_REPEATABLE_READ, PG_SERIALIZABLE, PG_SESSION_ISOLATION };

struct pg_action;

/* A statement of a declared transaction. */
struct pg_inner {
	const char *name;
	const struct pg_action *action; /* its args are the values of slots */
	const struct inner_slot *slots;
	unsigned slot_count;
	uint32_t needs;        /* bits of the statements before it that it refers to */
	int when, each;        /* slots; -1: there is none */
	int match, tags;       /* the same: a version, and those that the request wants (If-Match) */
	const char *each_text; /* the reference, for messages */
	enum on_error on_error;
	struct value substitute;
};

/* A declared transaction. */
struct pg_plan {
	const struct pg_inner *inner; /* in order */
	unsigned count;
	bool single; /* a step with `each`: the result of its only statement is the step's */
	enum pg_isolation isolation;
	unsigned attempts;
	int64_t backoff_us;
};

struct pg_action {
	uint64_t hash;    /* of what makes its statement: the text, declared types, whether it may write */
	const char *step; /* its name, for messages; NULL: a handler's text */
	struct pg_sql sql;
	const struct config_schema *const *schemas; /* of $1, $2, …: the declared parameter's; NULL: none */
	const Oid *declared; /* of $1, $2, …: by the declared type of the parameter; 0, or NULL: none was declared */
	enum expect expect;  /* never EXPECT_DEFAULT; a handler's text: each run says it */
	struct affected affected;
	const struct pg_plan *steps; /* NULL: it is one statement, sql */
	bool read_only;
	bool writes; /* it may change something: what has become of that is to be known when it fails */
};
