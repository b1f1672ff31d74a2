/* Changing one document and getting it in one step: findAndModify. */
#include "drivers/mongo/calls/find_and_modify.h"

#include <errno.h>
#include <string.h>

#include "drivers/mongo/calls/options.h"
#include "drivers/mongo/calls/result.h"
#include "drivers/mongo/calls/send.h"
#include "drivers/mongo/wire/errors.h"

#define KEY(s) s, sizeof(s) - 1

struct modifying {
	struct mongo_operation operation;
	struct mongo_command command;
	struct mongo_result *result;
	int64_t n;
};

static int put_change(struct mongo_document_maker *m, enum mongo_find_one_and kind, const struct value *change)
{
	switch (kind) {
	case AND_UPDATE:
		return mongo_document_put(m, "update", change, DOCUMENT_UPDATE, "the update");
	case AND_REPLACE:
		return mongo_document_put(m, "update", change, DOCUMENT_STORED, "the replacement");
	default:
		mongo_out_bool(&m->out, KEY("remove"), true);
		return 0;
	}
}

static void put_choices(struct mongo_document_maker *m, const struct mongo_choices *c)
{
	if (c->after)
		mongo_out_bool(&m->out, KEY("new"), true);
	if (c->upsert)
		mongo_out_bool(&m->out, KEY("upsert"), true);
}

static int make(struct mongo_command *command, const struct mongo_target *t, enum mongo_find_one_and kind,
		const struct value *filter, const struct value *change, const struct value *options, struct error *e)
{
	static const enum mongo_option_set sets[] = {[AND_UPDATE] = OPTIONS_FIND_AND_UPDATE,
						     [AND_REPLACE] = OPTIONS_FIND_AND_REPLACE,
						     [AND_DELETE] = OPTIONS_FIND_AND_DELETE};
	struct mongo_document_maker m;
	struct mongo_choices choices = MONGO_CHOICES_NONE;
	int r = mongo_name_check(t->collection, "the collection", e);

	if (r < 0)
		return r;
	mongo_document_maker_init(&m, &command->bytes, e);
	mongo_out_document(&m.out);
	mongo_out_text(&m.out, KEY("findAndModify"), t->collection, strlen(t->collection));
	r = mongo_document_put(&m, "query", filter, DOCUMENT_FILTER, "the filter");
	if (r == 0)
		r = put_change(&m, kind, change);
	if (r == 0)
		r = mongo_options_put(&m, options, sets[kind], OPTION_OF_COMMAND | OPTION_OF_STATEMENT, NULL, &choices);
	if (r == 0) {
		put_choices(&m, &choices);
		mongo_out_int32(&m.out, KEY("maxTimeMS"), INT32_MAX);
		command->max_time_at = command->bytes.len - sizeof(int32_t);
		mongo_out_end(&m.out);
	}
	command->from_request = m.from_request;
	mongo_document_maker_done(&m);
	return r;
}

static int modify(struct mongo_operation *a, struct mongo_connection *c, unsigned *consequences)
{
	struct modifying *x = container_of(a, struct modifying, operation);
	struct mongo_sending sending = {.connection = c,
					.database = a->client->pool.settings->database,
					.from_request = x->command.from_request,
					.error = a->error,
					.consequences = consequences};
	struct mongo_answer answer = {0};
	bson_t document;

	mongo_command_limit(&x->command, task_deadline());
	if (!bson_init_static(&document, (const uint8_t *)x->command.bytes.data, x->command.bytes.len))
		return error_set(a->error, -E2BIG, sending.from_request ? 413 : 500, NULL, "the command is too large");
	int r = mongo_send_write(&sending, &document, &answer);
	if (r < 0)
		return r;
	x->result->reply = answer.data;
	r = mongo_answer_concern(&sending, &answer);
	if (r < 0)
		return r;
	x->result->value = mongo_answer_member(&answer, "value");
	x->result->base.rows = x->result->value.type == BSON_TYPE_DOCUMENT;
	/* {lastErrorObject: {n, updatedExisting}} */
	struct mongo_element last = mongo_answer_member(&answer, "lastErrorObject"), n = {0};
	if (last.type == BSON_TYPE_DOCUMENT)
		n = mongo_element_find(last.value, last.len, KEY("n"));
	x->n = mongo_element_integer(&n, (int64_t)x->result->base.rows);
	return 0;
}

int mongo_modify(struct client *client, const struct run_options *options, struct mongo_command *command, int64_t *n,
		 struct result **out, struct error *e)
{
	struct modifying x = {.operation = {.client = mongo_client_of(client),
					    .run = modify,
					    .timeout_us = options->timeout_us,
					    .once = true,
					    .by = DEADLINE_NEVER,
					    .error = e},
			      .command = *command,
			      .result = mongo_result_new(mongo_client_of(client)->json)};

	int r = mongo_run(&x.operation);
	mongo_command_done(&x.command);
	if (r < 0) {
		mongo_result_free(x.result);
		return r;
	}
	*n = x.n;
	*out = &x.result->base;
	return 0;
}

int mongo_find_one_and(const struct mongo_target *t, enum mongo_find_one_and kind, const struct value *filter,
		       const struct value *change, const struct value *options, struct result **out, struct error *e)
{
	struct mongo_command command = {0};
	int64_t n;
	int r = make(&command, t, kind, filter, change, options, e);

	if (r == 0)
		return mongo_modify(t->client, t->options, &command, &n, out, e);
	mongo_command_done(&command);
	return r;
}
