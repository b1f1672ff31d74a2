/* What the files of PostgreSQL for handlers share. */
#pragma once

#include "drivers/postgres/calls/transaction.h"
#include "handlers/module/internal.h"

/* A transaction as its function sees it; each attempt has its own. */
struct gd_pg {
	struct pg_transaction *tx;
	gd_pg_fn *fn;
	void *arg;
};
