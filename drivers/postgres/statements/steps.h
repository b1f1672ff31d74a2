/* The statements of steps, as a worker knows them. Those that say the same are one, whichever endpoint or generation of
 * the configuration they stand in: so one that a reload does not change goes on with what was learned of it and with
 * its name on the connections. It goes with the last action that has it; what a server knows of it is dropped when
 * another takes its place (pg_pipeline_deallocate). Loop thread only. */
#pragma once

#include <stddef.h>

#include "drivers/postgres/wire/statement.h"

/* The statement of an action; made on first use. It lives until the action is forgotten, at least. */
struct pg_statement *pg_statement_of(struct pg_client *c, const struct pg_action *action);
/* These actions serve from now on: those whose statements others have already take a part in them. */
void pg_statements_adopt(struct pg_client *c, const struct pg_action *const *actions, size_t count);
/* These actions go, and nobody runs them any more. */
void pg_statements_forget(struct pg_client *c, const struct pg_action *const *actions, size_t count);
void pg_statements_done(struct pg_client *c);
