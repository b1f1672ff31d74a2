/* Commands and their results, whoever made the command. */
#include "drivers/mongo/calls/read.h"

#include "drivers/mongo/calls/fetch.h"
#include "drivers/mongo/calls/transaction.h"

struct running {
	struct mongo_operation operation;
	const struct mongo_action *action;
	struct mongo_command *command;
	struct mongo_result *result;
};

static int ask_server(struct mongo_operation *a, struct mongo_connection *connection, unsigned *consequences)
{
	struct running *r = container_of(a, struct running, operation);

	mongo_result_reset(r->result);
	mongo_command_limit(r->command, task_deadline());
	return mongo_fetch(connection, a->client->pool.settings->database, r->action, r->command, r->result, a->error,
			   consequences);
}

int mongo_read(struct client *client, const struct run_options *options, const struct mongo_action *action,
	       struct mongo_command *command, struct result **out, struct error *e)
{
	struct running r = {.operation = {.client = mongo_client_of(client),
					  .run = ask_server,
					  .timeout_us = options->timeout_us,
					  .once = action->pipeline.writes,
					  .by = DEADLINE_NEVER,
					  .error = e},
			    .action = action,
			    .command = command};

	r.result = mongo_result_new(mongo_client_of(client)->json);
	int status = command->nothing ? mongo_fetch_nothing(action, r.result, e) : mongo_run(&r.operation);
	mongo_command_done(command);
	if (status < 0) {
		mongo_result_free(r.result);
		return status;
	}
	*out = &r.result->base;
	return 0;
}

/* made: whether there is a command. */
static int run(const struct mongo_target *t, struct mongo_reading *r, int made, struct result **out, struct error *e)
{
	if (made == 0)
		return mongo_read(t->client, t->options, &r->action, &r->command, out, e);
	mongo_reading_done(r);
	return made;
}

int mongo_find(const struct mongo_target *t, const struct value *filter, const struct value *options,
	       struct result **out, struct error *e)
{
	struct mongo_reading r;

	return run(t, &r, mongo_reading_find(&r, t->collection, filter, options, false, DELIVER_WHOLE, e), out, e);
}

int mongo_find_one(const struct mongo_target *t, const struct value *filter, const struct value *options,
		   struct result **out, struct error *e)
{
	struct mongo_reading r;

	return run(t, &r, mongo_reading_find(&r, t->collection, filter, options, true, DELIVER_WHOLE, e), out, e);
}

int mongo_aggregate(const struct mongo_target *t, const struct value *pipeline, const struct value *options,
		    struct result **out, struct error *e)
{
	struct mongo_reading r;

	return run(t, &r, mongo_reading_aggregate(&r, t->collection, pipeline, options, DELIVER_WHOLE, e), out, e);
}

int mongo_count(const struct mongo_target *t, const struct value *filter, const struct value *options,
		struct result **out, struct error *e)
{
	bool within = mongo_transaction_here(mongo_client_of(t->client)) != NULL;
	struct mongo_reading r;

	return run(t, &r, mongo_reading_count(&r, t->collection, filter, options, within, e), out, e);
}

int mongo_distinct(const struct mongo_target *t, const char *field, const struct value *filter, struct result **out,
		   struct error *e)
{
	struct mongo_reading r;

	return run(t, &r, mongo_reading_distinct(&r, t->collection, field, filter, e), out, e);
}
