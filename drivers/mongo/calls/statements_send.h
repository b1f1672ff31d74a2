/* Sending statements: in as few commands as MongoDB's limits allow, each once. Loop thread only. */
#pragma once

#include "drivers/mongo/calls/statements.h"

/* Suspends. Send them all. Returns 0 with the outcome in s; or -errno with e filled: it says which one failed and how
 * many were done. */
int mongo_statements_send(struct mongo_statements *s, const struct mongo_target *t, struct error *e) must_check;
