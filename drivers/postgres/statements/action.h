/* What a statement does, apart from what the server says of it: a step's, compiled when the configuration was loaded
 * (immutable; any thread), or a handler's text (text.h; its worker's). */
#pragma once

#include <libpq-fe.h>

#include "drivers/driver.h"
#include "drivers/postgres/statements/sql.h"

struct pg_action {
	const char *step; /* its name, for messages; NULL: a handler's text */
	struct pg_sql sql;
	const struct config_schema *const *schemas; /* of $1, $2, …: the declared parameter's; NULL: none */
	const Oid *declared; /* of $1, $2, …: by the declared type of the parameter; 0, or NULL: none was declared */
	enum expect expect;  /* never EXPECT_DEFAULT; a handler's text: each run says it */
	bool read_only;
	bool writes; /* it may change something: what has become of that is to be known when it fails */
};

/* NULL: what is wrong was reported. */
struct pg_action *pg_action_new(const struct config_step *step, struct action_env *env);
