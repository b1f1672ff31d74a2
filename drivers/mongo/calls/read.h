/* What handlers ask of a source whose documents they read: one call, one result. */
#pragma once

#include "drivers/mongo/calls/action.h"
#include "drivers/mongo/calls/reading.h"
#include "drivers/mongo/calls/run.h"

/* Of whom it is asked. */
struct mongo_target {
	struct client *client;
	const struct run_options *options;
	const char *collection;
};

/* Suspends. Run a command that was made. Takes command over. Returns 0 and *out, the caller's; or -errno with e filled.
 */
int mongo_read(struct client *client, const struct run_options *options, const struct mongo_action *action,
	       struct mongo_command *command, struct result **out, struct error *e) must_check;

/* Each suspends, and returns 0 and *out, which the caller frees, or -errno with e filled. options may be NULL; which
 * there are: options.c. A read whose connection broke is run once more, an aggregate with $out or $merge never is. */

/* A list of documents. */
int mongo_find(const struct mongo_target *t, const struct value *filter, const struct value *options,
	       struct result **out, struct error *e) must_check;
/* The first one, or null. */
int mongo_find_one(const struct mongo_target *t, const struct value *filter, const struct value *options,
		   struct result **out, struct error *e) must_check;
int mongo_aggregate(const struct mongo_target *t, const struct value *pipeline, const struct value *options,
		    struct result **out, struct error *e) must_check;
/* A number. */
int mongo_count(const struct mongo_target *t, const struct value *filter, const struct value *options,
		struct result **out, struct error *e) must_check;
/* A list of values. */
int mongo_distinct(const struct mongo_target *t, const char *field, const struct value *filter, struct result **out,
		   struct error *e) must_check;
