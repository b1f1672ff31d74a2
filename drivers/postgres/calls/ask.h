/* What is asked of a statement, and what comes of it. Loop thread only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "drivers/postgres/wire/sqlstate.h"
#include "drivers/postgres/wire/statement.h"

/* What a handler asks, as text. */
struct pg_ask {
	const char *call; /* the public function, for messages: static */
	const char *sql;
	size_t len;
	const struct value *args; /* for $1, $2, … */
	unsigned count;
	enum expect expect; /* never EXPECT_DEFAULT */
	bool writes;        /* it may write: a transaction of its own, sent once; else the server refuses to */
	int64_t timeout_us; /* from when it has its connection; 0: none */
};

struct pg_answer {
	struct result *result; /* the caller's to free; NULL: it brought no rows, and may have changed some */
	int64_t changed;       /* then: how many */
	bool writes;           /* the statement may have changed something */
};

/* The statement of what is asked, to be given back with pg_statement_drop. Returns 0 or -EINVAL with e filled. */
int pg_ask_statement(struct pg_client *c, const struct pg_ask *ask, const struct pg_place *place,
		     struct pg_statement **out, struct error *e) must_check;
/* The values of a run. */
struct pg_arguments {
	const struct value *values;
	const struct pg_sql *sql; /* of the action that runs: which of them are $1, $2, … */
};

/* Bind args to p as st, which is known, takes them. place->from_request is set. Returns 0, or -errno with e filled. */
int pg_bind(struct pg_parameters *p, const struct pg_statement *st, const struct pg_arguments *args,
	    struct pg_place *place, struct error *e) must_check;
/* Does the failure say that the server has forgotten the statement, that its columns have changed since, or that it
 * means something else here? Nothing has run then. unparsed: the failure is of PREPARE. */
bool pg_is_stale(const PGresult *failure, bool unparsed);
/* May a failure come from that the statement was learned when tables and types were others? A value was out of the
 * range that its parameter had then, or the statement, as it was prepared, does not fit what is there now. */
bool pg_is_suspect(const char *sqlstate);
/* Turn *rows, which is taken over (*rows is NULL then) unless it fails, into what was asked for. */
int pg_take_answer(PGresult **rows, struct pg_layout *layout, const struct pg_ask *ask, const struct pg_place *place,
		   struct pg_answer *out, struct error *e) must_check;
/* Does the number of rows, or of changes, fit? Returns 0, or -errno with e filled. */
int pg_check_expect(enum expect expect, const PGresult *result, const struct pg_place *place,
		    struct error *e) must_check;
/* Does the number of changes keep `affected`? Returns 0, or -errno with e filled. */
int pg_check_affected(const struct pg_action *action, const struct value *args, const PGresult *result,
		      const struct pg_place *place, struct error *e) must_check;
/* The result of a statement that changed n rows and brought none: {"changed": n}; with `value` n, with `none` null. */
struct result *pg_changed_result(enum expect expect, int64_t n);
/* The columns of what st, as it was at that generation, has brought. *as_learned: they are what was learned; if not, st
 * is forgotten. */
struct pg_layout *pg_layout_of(struct pg_client *c, struct pg_statement *st, uint32_t generation,
			       const struct pg_brought *brought, bool *as_learned);
/* How many rows it changed. */
int64_t pg_changed_rows(const PGresult *result);
