/* Running a command on a connection, and bringing its result into the shape that the step expects. */
#pragma once

#include "drivers/mongo/calls/action.h"
#include "drivers/mongo/calls/result.h"
#include "drivers/mongo/wire/connection.h"

/* Suspends, until the task's deadline. Returns 0 with r filled, or -errno with e filled; *consequences says what that
 * means for the connection and whether another attempt makes sense (errors.h). */
int mongo_fetch(struct mongo_connection *c, const char *database, const struct mongo_action *a,
		const struct mongo_command *command, struct mongo_result *r, struct error *e,
		unsigned *consequences) must_check;
/* The result of an action whose answer is known to be empty (limit 0). Returns as mongo_fetch; does not suspend. */
int mongo_fetch_nothing(const struct mongo_action *a, struct mongo_result *r, struct error *e) must_check;
