/* `gatherd check --connect`: every statement is prepared on its server, as it would be for its first request. */
#pragma once

#include "drivers/postgres/statements/action.h"
#include "drivers/postgres/wire/client.h"

/* As `check` of struct driver. */
int pg_check(struct pg_client *c, const struct pg_action *const *actions, size_t count, int64_t patience_us,
	     struct diagnostics *d, struct error *e) must_check;
