/* A step's action: compiled when the configuration is loaded, made a command of MongoDB in each request. */
#pragma once

#include "base/error.h"
#include "drivers/driver.h"
#include "drivers/mongo/bson/template.h"
#include "drivers/mongo/keys.h"

struct mongo_action {
	enum mongo_action_kind kind;
	enum expect expect;
	const char *collection;
	const char *key; /* ACTION_DISTINCT: the field */
	bool has_filter, has_projection, has_sort;
	struct mongo_template filter, projection, sort, pipeline;
	struct mongo_number_template limit, skip;
	unsigned slots; /* of its args */
};

/* NULL if the step is wrong: diagnostics say why. Main thread. */
struct mongo_action *mongo_action_compile(const struct config_step *step, struct action_env *env);

/* What is asked of the server in one request. */
struct mongo_command {
	struct buf bytes;   /* a BSON document */
	size_t max_time_at; /* where in it the value of maxTimeMS stands; 0: it has none */
	bool nothing;       /* the answer is known to be empty: limit 0, which MongoDB takes for no limit */
	bool from_request;  /* a value of the request stands in it */
};

/* The command for args. Returns 0 or -EINVAL with e filled. Does not suspend. mongo_command_done also after a
 * failure. */
int mongo_command_make(struct mongo_command *out, const struct mongo_action *a, const struct value *args,
		       struct arena *scratch, struct error *e) must_check;
/* The stages behind a $match that count its documents, and the end of the pipeline. skip and limit below 0: none. */
void mongo_count_stages(struct mongo_out *out, int64_t skip, int64_t limit);
/* The server is to give up at `by`. */
void mongo_command_limit(struct mongo_command *c, deadline_t by);
void mongo_command_done(struct mongo_command *c);
