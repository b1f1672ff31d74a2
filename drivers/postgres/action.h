/* A step's statement as it was compiled when the configuration was loaded. Immutable; any thread. */
#pragma once

#include <libpq-fe.h>

#include "drivers/driver.h"
#include "drivers/postgres/sql.h"

struct pg_action {
	const char *step; /* its name, for messages */
	struct pg_sql sql;
	const struct config_schema *const *schemas; /* of $1, $2, …: the declared parameter's; NULL: none */
	const Oid *declared; /* of $1, $2, …: by the declared type of the parameter; 0: none was declared */
	enum expect expect;  /* never EXPECT_DEFAULT */
	bool read_only;
};

/* NULL: what is wrong was reported. */
struct pg_action *pg_action_new(const struct config_step *step, struct action_env *env);
