/* One run of a statement: from its arguments to its result. Loop thread only. */
#pragma once

#include <stdint.h>

#include "async/operation.h"
#include "drivers/postgres/calls/ask.h"

/* Suspends. Run a step's statement, or its transaction; args has a value for each slot of the plan. As driver.run. */
int pg_run_action(struct pg_client *c, const struct pg_action *action, const struct value *args,
		  const struct run_options *options, struct result **out, struct error *e) must_check;
/* The same as an operation, for a read whose statement is known: as driver.submit, collect and finish. */
int pg_submit_action(struct pg_client *c, const struct pg_action *action, const struct value *args,
		     const struct run_options *options, struct operation **out, struct error *e) must_check;
int pg_collect_action(struct operation *op, struct result **out, struct error *e) must_check;
int pg_finish_action(struct operation *op, struct result **out, struct error *e) must_check;

/* Suspends. Returns 0 with *out filled, or -errno with e filled. */
int pg_query(struct pg_client *c, const struct pg_ask *ask, struct pg_answer *out, struct error *e) must_check;
