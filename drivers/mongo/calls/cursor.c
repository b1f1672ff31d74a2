/* The first batch is small, so that it is there soon. */
#include "drivers/mongo/calls/cursor.h"

#include <errno.h>
#include <string.h>

#include "drivers/mongo/wire/errors.h"

struct opening {
	struct mongo_operation operation;
	const struct mongo_command *command;
	struct mongo_cursor *cursor;
};

static struct mongo_sending asking_of(const struct mongo_cursor *c, struct mongo_connection *connection,
				      struct error *e, unsigned *consequences)
{
	return (struct mongo_sending){.connection = connection,
				      .database = c->client->pool.settings->database,
				      .from_request = c->from_request,
				      .error = e,
				      .consequences = consequences};
}

static void take_batch(struct mongo_cursor *c, const struct mongo_batch *b)
{
	c->cursor = b->cursor;
	mongo_element_iter_init(&c->at, b->documents.value, b->documents.len);
}

static void forget_batch(struct mongo_cursor *c)
{
	bson_free(c->answer.data);
	c->answer = (struct mongo_answer){0};
	c->at = (struct mongo_element_iter){0};
}

static void release(struct mongo_cursor *c, unsigned consequences)
{
	if (c->part.transaction)
		mongo_transaction_leave(&c->part);
	else if (c->connection)
		mongo_pool_release(&c->client->pool, c->connection, consequences);
	c->connection = NULL;
	c->cursor = 0;
}

/* Suspends (shielded). */
static void kill_cursor(struct mongo_cursor *c)
{
	unsigned consequences = 0;
	struct error e = ERROR_INIT;

	if (!c->connection)
		return;
	struct mongo_sending sending = asking_of(c, c->connection, &e, &consequences);
	if (!c->part.transaction || mongo_transaction_enter(c->part.transaction, &e) == 0)
		mongo_batch_kill(&sending, c->cursor, c->collection);
	release(c, consequences);
}

static int ask_first(struct mongo_operation *a, struct mongo_connection *connection, unsigned *consequences)
{
	struct opening *o = container_of(a, struct opening, operation);
	struct mongo_cursor *c = o->cursor;
	struct mongo_sending sending = asking_of(c, connection, a->error, consequences);
	struct mongo_batch b = {0};
	bson_t document;

	forget_batch(c);
	if (!bson_init_static(&document, (const uint8_t *)o->command->bytes.data, o->command->bytes.len))
		return error_set(a->error, -E2BIG, c->from_request ? 400 : 500, NULL, "the command is too large");
	int r = mongo_send(&sending, &document, &c->answer);
	if (r == 0)
		r = mongo_batch_read(&sending, &c->answer, "firstBatch", &b);
	if (r < 0)
		return r;
	take_batch(c, &b);
	if (b.cursor)
		memcpy(c->collection, b.collection, strlen(b.collection) + 1);
	return 0;
}

/* What is left of the batch can still be read. */
static void end_with_transaction(struct mongo_transaction_part *p)
{
	struct mongo_cursor *c = container_of(p, struct mongo_cursor, part);

	c->outlived = c->cursor != 0;
	kill_cursor(c);
}

static int open_cursor(struct mongo_cursor *c, const struct mongo_target *t, const struct mongo_reading *r,
		       struct error *e)
{
	int64_t size = r->choices.batch_size;
	struct opening o = {.operation = {.client = mongo_client_of(t->client),
					  .run = ask_first,
					  .timeout_us = t->options->timeout_us,
					  .hold = true,
					  .by = DEADLINE_NEVER,
					  .error = e},
			    .command = &r->command,
			    .cursor = c};

	*c = (struct mongo_cursor){.client = o.operation.client,
				   .timeout_us = t->options->timeout_us,
				   .from_request = r->command.from_request};
	c->batch_size = size <= 0 ? NEXT_BATCH : size < INT32_MAX ? (int32_t)size : INT32_MAX;
	if (r->command.nothing)
		return 0;
	int status = mongo_run(&o.operation);
	if (status < 0) {
		forget_batch(c);
		return status;
	}
	c->connection = o.operation.connection;
	if (o.operation.transaction)
		mongo_transaction_join(o.operation.transaction, &c->part, end_with_transaction);
	if (c->cursor == 0)
		release(c, 0);
	return 0;
}

int mongo_cursor_find(struct mongo_cursor *c, const struct mongo_target *t, const struct value *filter,
		      const struct value *options, struct error *e)
{
	struct mongo_reading r;
	int status = mongo_reading_find(&r, t->collection, filter, options, false, DELIVER_STREAM, e);

	if (status == 0)
		status = open_cursor(c, t, &r, e);
	mongo_reading_done(&r);
	return status;
}

int mongo_cursor_aggregate(struct mongo_cursor *c, const struct mongo_target *t, const struct value *pipeline,
			   const struct value *options, struct error *e)
{
	struct mongo_reading r;
	int status = mongo_reading_aggregate(&r, t->collection, pipeline, options, DELIVER_STREAM, e);

	if (status == 0)
		status = open_cursor(c, t, &r, e);
	mongo_reading_done(&r);
	return status;
}

static int ask_next(struct mongo_cursor *c, struct error *e)
{
	unsigned consequences = 0;
	struct mongo_transaction *tx = c->part.transaction;
	struct mongo_sending sending = asking_of(c, c->connection, e, &consequences);
	struct mongo_batch b = {0};
	int r = tx ? mongo_transaction_enter(tx, e) : 0;

	forget_batch(c);
	if (r < 0)
		return r;
	deadline_t before = deadline_push(c->timeout_us ? deadline_in_us(c->timeout_us) : DEADLINE_NEVER);
	r = mongo_batch_next(&sending, c->cursor, c->collection, c->batch_size, 0, &c->answer, &b);
	deadline_pop(before);
	if (r < 0) {
		if (tx)
			mongo_transaction_fail(tx, consequences, e);
		forget_batch(c);
		release(c, consequences);
		return r;
	}
	take_batch(c, &b);
	if (c->cursor == 0)
		release(c, 0);
	return 0;
}

int mongo_cursor_next(struct mongo_cursor *c, struct mongo_element *out, struct error *e)
{
	while (!mongo_element_next(&c->at, out)) {
		if (c->outlived)
			return error_set(e, -EPIPE, 500, NULL, "the cursor's transaction has ended");
		if (!c->connection)
			return 0;
		int r = ask_next(c, e);
		if (r < 0)
			return r;
	}
	return 1;
}

void mongo_cursor_close(struct mongo_cursor *c)
{
	kill_cursor(c);
	forget_batch(c);
}
