/* A step as it runs: one action, one for each element of a list (`each`), or a transaction of several. */
#pragma once

#include "drivers/inner.h"
#include "drivers/mongo/calls/action.h"

enum { MONGO_MAX_INNER = 32 };

struct mongo_inner {
	const char *name;
	const struct mongo_action *action;
	int when, each; /* slots; -1: none */
	const char *each_text;
	const struct inner_slot *slots; /* the values of its references */
	unsigned slot_count;
};

/* What mongo_action's `steps` points to. */
struct mongo_steps {
	const struct mongo_inner *inner;
	unsigned count;
	bool single;       /* no transaction: one action, for each element */
	unsigned attempts; /* of the transaction, in all */
	bool snapshot;     /* it only reads: all see the same moment */
	const char *name;
};

/* The action of any step. NULL if it is wrong: diagnostics say why. Main thread. */
struct mongo_action *mongo_steps_compile(const struct config_step *step, struct action_env *env);
/* Suspends. Run it. Returns 0 and *out, which the caller frees; or -errno with e filled. */
int mongo_steps_run(struct client *client, const struct mongo_action *a, const struct value *args,
		    const struct run_options *options, struct result **out, struct error *e) must_check;
