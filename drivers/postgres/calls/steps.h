/* Running a declared transaction. Loop thread only. */
#pragma once

#include "drivers/postgres/calls/ask.h"

/* Suspends. Run a transaction's statements (action->steps) and commit them, or leave nothing behind; args has a value
 * for each slot of the plan. As driver.run. */
int pg_run_steps(struct pg_client *c, const struct pg_action *action, const struct value *args,
		 const struct run_options *options, struct result **out, struct error *e) must_check;
