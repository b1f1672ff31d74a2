/* What a configuration says of a postgres source, beside what it says of any. */
#pragma once

#include "config/config.h"

/* What `own` of its config_source points to. */
struct pg_source_keys {
	bool prepare;
};

/* The actions of its steps. sql: action_value is the text; transaction: the steps stand in `inner`. */
enum pg_step_action { PG_STEP_SQL, PG_STEP_TRANSACTION };

enum pg_declared_isolation {
	PG_DECLARED_NONE,
	PG_DECLARED_COMMITTED,
	PG_DECLARED_REPEATABLE,
	PG_DECLARED_SERIALIZABLE
};

/* What `own` of its config_step points to: all of it is a transaction's. */
struct pg_step_keys {
	unsigned isolation; /* enum pg_declared_isolation */
	struct pg_step_retry {
		unsigned attempts; /* in all; 0: by the isolation */
		int64_t backoff_us;
	} retry;
	bool read_only;
};

enum { PG_MAX_INNER = 32 };

extern const struct source_kind postgres_kind;
