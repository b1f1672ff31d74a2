/* Can what a parameter was declared to be stand where the server wants a value of some type? */
#pragma once

#include "base/buf.h"
#include "config/config.h"
#include "drivers/postgres/types/types.h"

enum pg_fit {
	PG_FITS,       /* or nobody can tell */
	PG_MAY_FIT,    /* some of its values, and nothing keeps the others out */
	PG_CANNOT_FIT, /* none of its values */
};

enum pg_fit pg_fit(const struct config_schema *declared, const struct pg_type *wanted);
/* "string (date)", "array of integer": as it was declared. */
void pg_declared_name(struct buf *out, const struct config_schema *declared);
/* "integer", "uuid[]": the server's name for it. */
void pg_type_name(struct buf *out, const struct pg_type *t);
