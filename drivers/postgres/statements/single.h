/* Which statements change at most one row, as far as their text says it. `expect: one` and the like can't find two rows
 * of such a statement, so its COMMIT need not wait until the rows were looked at. */
#pragma once

#include "drivers/postgres/wire/action.h"

/* Judge the text of one statement, in which parameters are $1, $2, …. Whether a table has such a key, and no trigger or
 * rule that makes more of it, the server is asked later (wire/leaving.h). A mistake is never in favour of a statement.
 */
void pg_single_parse(struct pg_single *out, const char *text);
