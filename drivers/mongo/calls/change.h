/* A step that writes: its documents are compiled when the configuration is loaded, and filled in each request.
 *
 * Each write is sent once. Its result is as a handler's of the same name (write.h). */
#pragma once

#include "drivers/affected.h"
#include "drivers/mongo/calls/action.h"

/* What mongo_action's `change` points to. */
struct mongo_change {
	struct mongo_template document; /* to be stored, or the update; whole lists of insert_many */
	bool merge;                     /* the document is a patch (RFC 7386) */
	bool pipeline;                  /* the update is an array of stages */
	bool has_array_filters, has_hint;
	struct mongo_template array_filters, hint;
	const char *hint_name; /* an index's; NULL: none */
	bool upsert, ordered, after;
	struct affected affected;
};

/* False if the step is wrong: diagnostics say why. Main thread. */
bool mongo_change_compile(struct mongo_action *a, const struct config_step *step, struct action_env *env);
/* Suspends. Run it. Returns 0 and *out, which the caller frees; or -errno with e filled. */
int mongo_change_run(struct client *client, const struct mongo_action *a, const struct value *args,
		     const struct run_options *options, struct result **out, struct error *e) must_check;

/* Suspends. The same of an insert_one, for each of args, as one ordered list of statements. results: one for each, the
 * caller's; none after a failure. */
int mongo_change_insert_each(struct client *client, const struct mongo_action *a, const struct value *const *args,
			     unsigned count, const struct run_options *options, struct result **results,
			     struct error *e) must_check;
