/* A step's action: compiled when the configuration is loaded, made a command of MongoDB in each request. */
#pragma once

#include "base/error.h"
#include "drivers/driver.h"
#include "drivers/mongo/bson/template.h"
#include "drivers/mongo/calls/command.h"
#include "drivers/mongo/keys.h"

struct mongo_action {
	enum mongo_action_kind kind;
	enum expect expect;
	const char *collection;
	const char *key; /* ACTION_DISTINCT: the field */
	bool has_filter, has_projection, has_sort;
	struct mongo_template filter, projection, sort, pipeline;
	struct mongo_number_template limit, skip;
	const struct mongo_steps *steps;   /* each, transaction (steps.h); NULL: it is one action */
	const struct mongo_change *change; /* of one that writes (change.h); NULL: it reads */
	unsigned slots;                    /* of its args */
};

/* NULL if the step is wrong: diagnostics say why. Main thread. */
struct mongo_action *mongo_action_compile(const struct config_step *step, struct action_env *env);

/* The command for args. Returns 0 or -EINVAL with e filled. Does not suspend. mongo_command_done also after a
 * failure. */
int mongo_action_make(struct mongo_command *out, const struct mongo_action *a, const struct value *args,
		      struct arena *scratch, struct error *e) must_check;
