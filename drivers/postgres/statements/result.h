/* The rows of a statement as a result: rendered as JSON straight from libpq's rows, and looked into by references. */
#pragma once

#include <libpq-fe.h>
#include <stddef.h>

#include "config/config.h"
#include "drivers/postgres/types/layout.h"
#include "drivers/result.h"

/* Takes rows over and keeps layout. `expect` is one of many, one (an object), maybe, value, none: the number of rows
 * was checked. */
struct result *pg_result_new(PGresult *rows, struct pg_layout *layout, enum expect expect);
/* A row of it, which lives as long as r. */
struct value pg_result_row(const struct result *r, size_t row);
