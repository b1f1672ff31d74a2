/* Learning a statement from the server: its types, its columns, whether it can be rendered. Loop thread only. */
#pragma once

#include "drivers/postgres/wire/sqlstate.h"
#include "drivers/postgres/wire/statement.h"

/* Suspends if the statement is not known yet: one task asks the server for its types, the others wait for it.
 * Returns 0, or -errno with e filled. */
int pg_statement_learn(struct pg_client *c, struct pg_statement *st, struct pg_limit *limit,
		       struct error *e) must_check;
/* Suspends. The same for one that is unknown, on a lease whose transaction has begun and goes on whatever comes of it,
 * unless the connection broke or the wait failed (the lease has commands in the pipe, or has ended). */
int pg_statement_learn_within(struct pg_client *c, struct pg_statement *st, struct pg_call *lease,
			      const struct pg_place *place, struct pg_limit *limit, struct error *e) must_check;
/* Suspends. The server's failure may come from that something has changed of what is known at that generation: ask it
 * again. Returns 1: something has, and the statement is forgotten; 0: nothing has; or -errno with e filled. */
int pg_statement_recheck(struct pg_client *c, struct pg_statement *st, uint32_t generation, struct pg_limit *limit,
			 struct error *e) must_check;
