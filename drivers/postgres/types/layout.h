/* The columns of a statement: their names, as JSON's keys too, and their types. */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>
#include <stddef.h>

#include "drivers/postgres/types/types.h"

struct pg_column {
	struct pg_type type;
	const char *name;
	size_t name_len;
	const char *key; /* `"name":`, escaped */
	size_t key_len;
};

/* The columns of a statement; shared by the statement and its results. Loop thread only. */
struct pg_layout {
	unsigned references;
	unsigned count;
	bool wrapped; /* the names are the statement's own, and not those of the rows of the one around it */
	struct pg_column columns[];
};

/* From a description or rows; the names are `names`' columns', the types are found in types (a string where they are
 * not). */
struct pg_layout *pg_layout_new(const PGresult *names, const struct pg_types *types);
/* For rows of a statement inside another, which are described by names now: its columns' names, the types of rows. */
struct pg_layout *pg_layout_renamed(const PGresult *names, const PGresult *rows, const struct pg_types *types);
/* Are rows of this layout? A table may have changed since the statement was described. */
bool pg_layout_fits(const struct pg_layout *layout, const PGresult *rows);
struct pg_layout *pg_layout_keep(struct pg_layout *layout);
/* NULL is allowed. */
void pg_layout_drop(struct pg_layout *layout);
