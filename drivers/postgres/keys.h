/* What a configuration says of a postgres source, beside what it says of any. */
#pragma once

#include "config/config.h"

/* What `own` of its config_source points to. */
struct pg_source_keys {
	bool prepare;
};

/* Its only action is 0, sql: action_value is the text. */
extern const struct source_kind postgres_kind;
