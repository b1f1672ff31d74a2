/* As the specification of change streams has it, but for one thing: it is resumed as often as is needed, with growing
 * pauses, rather than once. */
#include "drivers/mongo/calls/watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/backoff.h"
#include "base/mem.h"
#include "drivers/mongo/wire/errors.h"

#define AWAIT_MS       1000
#define ANSWER_US      INT64_C(10000000) /* beyond that: if the source has no time-out */
#define LAST_MS        20                /* before the deadline it is not worth sending any more */
#define PAUSE_FIRST_US INT64_C(20000)
#define FAILURES_MOST  10 /* in a row: 20 seconds of pauses */

#define KEY(s)         s, sizeof(s) - 1

struct starting {
	struct mongo_operation operation;
	struct mongo_watch *watch;
	struct buf command;
};

static struct mongo_sending asking_of(const struct mongo_watch *w, struct mongo_connection *connection, struct error *e,
				      unsigned *consequences)
{
	return (struct mongo_sending){.connection = connection,
				      .database = w->client->pool.settings->database,
				      .from_request = w->from_request,
				      .error = e,
				      .consequences = consequences};
}

static void forget_batch(struct mongo_watch *w)
{
	bson_free(w->answer.data);
	w->answer = (struct mongo_answer){0};
	w->at = (struct mongo_element_iter){0};
}

static void release(struct mongo_watch *w, unsigned consequences)
{
	if (w->connection)
		mongo_pool_release(&w->client->pool, w->connection, consequences);
	w->connection = NULL;
	w->cursor = 0;
}

/* --- where it is --- */

/* From now on it begins there. */
static void set_token(struct mongo_watch *w, const char *name, uint8_t type, const void *value, size_t len)
{
	struct mongo_out out;

	w->token.len = 0;
	mongo_out_init(&out, &w->token);
	mongo_out_raw(&out, type, name, strlen(name), value, len);
}

static void move_to(struct mongo_watch *w, const void *token, size_t len)
{
	set_token(w, w->starts_after ? "startAfter" : "resumeAfter", BSON_TYPE_DOCUMENT, token, len);
}

/* The batch is through. */
static void move_behind_batch(struct mongo_watch *w)
{
	if (w->latest.len)
		move_to(w, w->latest.data, w->latest.len);
	w->latest.len = 0;
}

static bool has_more(const struct mongo_watch *w)
{
	struct mongo_element_iter at = w->at;
	struct mongo_element e;

	return mongo_element_next(&at, &e);
}

static void take_batch(struct mongo_watch *w, const struct mongo_batch *b)
{
	w->cursor = b->cursor;
	w->over = b->cursor == 0;
	mongo_element_iter_init(&w->at, b->documents.value, b->documents.len);
	w->latest.len = 0;
	if (b->token.type)
		buf_append(&w->latest, b->token.value, b->token.len);
	if (!has_more(w))
		move_behind_batch(w);
}

/* A server that gave no token at all tells when it began. */
static void keep_beginning(struct mongo_watch *w, const struct mongo_connection *c)
{
	struct mongo_element time = mongo_answer_member(&w->answer, "operationTime");

	if (c->limits.starts_at_times && w->token.len == 0 && w->latest.len == 0 && time.type == BSON_TYPE_TIMESTAMP)
		set_token(w, "startAtOperationTime", time.type, time.value, time.len);
}

/* --- starting --- */

static void make_command(const struct mongo_watch *w, struct buf *bytes)
{
	struct mongo_out out;
	struct mongo_element_iter stages;
	struct mongo_element stage;
	char digits[16];
	const char *key;
	uint32_t n = 1;

	mongo_out_init(&out, bytes);
	mongo_out_document(&out);
	if (w->collection)
		mongo_out_text(&out, KEY("aggregate"), w->collection, strlen(w->collection));
	else
		mongo_out_int32(&out, KEY("aggregate"), 1);
	mongo_out_begin(&out, BSON_TYPE_ARRAY, KEY("pipeline"));
	mongo_out_begin(&out, BSON_TYPE_DOCUMENT, KEY("0"));
	mongo_out_begin(&out, BSON_TYPE_DOCUMENT, KEY("$changeStream"));
	buf_append(bytes, w->options.data, w->options.len);
	buf_append(bytes, w->token.data, w->token.len);
	mongo_out_end(&out);
	mongo_out_end(&out);
	if (w->stages.len && mongo_element_iter_init(&stages, (const uint8_t *)w->stages.data, w->stages.len)) {
		for (; mongo_element_next(&stages, &stage); n++) {
			size_t len = bson_uint32_to_string(n, &key, digits, sizeof(digits));
			mongo_out_raw(&out, stage.type, key, len, stage.value, stage.len);
		}
	}
	mongo_out_end(&out);
	mongo_out_begin(&out, BSON_TYPE_DOCUMENT, KEY("cursor"));
	if (w->batch_size > 0)
		mongo_out_int(&out, KEY("batchSize"), w->batch_size);
	mongo_out_end(&out);
	mongo_out_end(&out);
}

static int ask_first(struct mongo_operation *a, struct mongo_connection *connection, unsigned *consequences)
{
	struct starting *s = container_of(a, struct starting, operation);
	struct mongo_watch *w = s->watch;
	struct mongo_sending sending = asking_of(w, connection, a->error, consequences);
	struct mongo_batch b = {0};
	bson_t document;

	forget_batch(w);
	if (!bson_init_static(&document, (const uint8_t *)s->command.data, s->command.len))
		return error_set(a->error, -E2BIG, w->from_request ? 400 : 500, NULL, "the command is too large");
	int r = mongo_send(&sending, &document, &w->answer);
	if (r == 0)
		r = mongo_batch_read(&sending, &w->answer, "firstBatch", &b);
	if (r < 0)
		return r;
	if (b.collection)
		memcpy(w->name, b.collection, strlen(b.collection) + 1);
	take_batch(w, &b);
	keep_beginning(w, connection);
	return 0;
}

/* Suspends. Returns 0 with a cursor, or -errno with e filled. */
static int start(struct mongo_watch *w, struct error *e)
{
	struct starting s = {.operation = {.client = w->client,
					   .run = ask_first,
					   .timeout_us = w->timeout_us ? w->timeout_us : ANSWER_US,
					   .hold = true,
					   .alone = true,
					   .by = DEADLINE_NEVER,
					   .error = e},
			     .watch = w};

	make_command(w, &s.command);
	int r = mongo_run(&s.operation);
	buf_done(&s.command);
	if (r < 0) {
		forget_batch(w);
		return r;
	}
	w->connection = s.operation.connection;
	if (w->cursor == 0)
		release(w, 0);
	return 0;
}

static int put_stages(struct mongo_watch *w, const struct value *pipeline, struct error *e)
{
	struct mongo_document_maker m;
	struct buf whole = BUF_INIT;
	int r = 0;

	if (!pipeline)
		return 0;
	mongo_document_maker_init(&m, &whole, e);
	mongo_out_document(&m.out);
	r = mongo_document_put(&m, "", pipeline, DOCUMENT_PIPELINE, "the pipeline");
	if (r == 0 && m.writes)
		r = mongo_document_refuse(&m, false, "$out and $merge bring no documents to read one by one");
	if (r == 0) {
		mongo_out_end(&m.out);
		struct mongo_element stages = mongo_element_at((const uint8_t *)whole.data, whole.len, 0);
		buf_append(&w->stages, stages.value, stages.len);
	}
	w->from_request |= m.from_request;
	mongo_document_maker_done(&m);
	buf_done(&whole);
	return r;
}

/* Elements of one kind of options. */
static int put_options(struct mongo_watch *w, struct buf *out, const struct value *options, unsigned target,
		       struct error *e)
{
	struct mongo_document_maker m;
	struct mongo_choices choices;

	mongo_document_maker_init(&m, out, e);
	int r = mongo_options_put(&m, options, OPTIONS_WATCH, target, NULL, &choices);
	w->batch_size = choices.batch_size < INT32_MAX ? choices.batch_size : INT32_MAX;
	w->from_request |= m.from_request;
	mongo_document_maker_done(&m);
	return r;
}

/* The element in `token`, after its type. */
static bool begins_with(const struct mongo_watch *w, const char *name)
{
	return w->token.len > strlen(name) + 1 && memcmp(w->token.data + 1, name, strlen(name) + 1) == 0;
}

int mongo_watch(struct mongo_watch *w, const struct mongo_target *t, const struct value *pipeline,
		const struct value *options, struct error *e)
{
	*w = (struct mongo_watch){.client = mongo_client_of(t->client), .timeout_us = t->options->timeout_us};
	int r = t->collection ? mongo_name_check(t->collection, "the collection", e) : 0;
	if (r == 0)
		r = put_stages(w, pipeline, e);
	if (r == 0)
		r = put_options(w, &w->options, options, OPTION_OF_STAGE, e);
	if (r == 0)
		r = put_options(w, &w->token, options, OPTION_OF_START, e);
	if (r == 0) {
		w->collection = t->collection ? mem_strdup(t->collection) : NULL;
		w->starts_after = begins_with(w, "startAfter");
		r = start(w, e);
	}
	if (r < 0)
		mongo_watch_close(w);
	return r;
}

/* --- going on --- */

/* CursorNotFound, and what servers before 4.4 say without a label. Who kills the cursor means to end it. */
static bool is_resumable_code(const char *code)
{
	static const char *const codes[] = {"6",   "7",   "43",   "63",    "89",    "91",    "133",   "150",   "189",
					    "234", "262", "9001", "10107", "11600", "11602", "13388", "13435", "13436"};

	for (size_t i = 0; i < ARRAY_SIZE(codes); i++)
		if (strcmp(code, codes[i]) == 0)
			return true;
	return false;
}

/* Of an answer to getMore, or of none. */
static bool is_resumable(const struct mongo_connection *c, const struct error *e)
{
	if (e->errnum == -ECANCELED || deadline_passed(task_deadline()))
		return false;
	return c->streams.fault || c->lost || (c->labels & LABEL_RESUMABLE) || is_resumable_code(e->code);
}

/* Suspends. Start again behind what was handed out; with pauses, so that a server that comes back is not in the way of
 * its clients. */
static int resume(struct mongo_watch *w, struct error *e)
{
	/* From now on would not do: what happened meanwhile would be lost. */
	if (w->token.len == 0)
		return error_say(e, -EIO, REASON_UNAVAILABLE,
				 "the connection broke before the first change, and a server before MongoDB 4.0 can't "
				 "be told where to go on");
	do {
		w->failures += w->failures < FAILURES_MOST;
		int64_t longest_us = PAUSE_FIRST_US << (FAILURES_MOST - 1);
		int r = task_sleep(deadline_in_us(backoff_us(w->failures, PAUSE_FIRST_US, longest_us)));
		if (r < 0)
			return r == -ETIMEDOUT ? error_set(e, r, 504, NULL, "the deadline passed")
					       : error_set(e, r, 503, NULL, "cancelled");
		*e = ERROR_INIT;
		r = start(w, e);
		/* What it was refused for will not change; that there is no server may. */
		if (r == 0 || e->status <= 500)
			return r;
	} while (w->failures < FAILURES_MOST);
	return e->errnum;
}

/* For how long the server is to wait; 0: the deadline is as good as there. */
static int64_t await_ms(void)
{
	int64_t left = deadline_left_us(task_deadline()) / 1000;

	if (left > AWAIT_MS * 2)
		return AWAIT_MS;
	return left > LAST_MS ? left / 2 : 0;
}

/* Suspends. The rest of the time, without a question whose answer would come too late. */
static int wait_for_deadline(struct error *e)
{
	int r = task_sleep(DEADLINE_NEVER);

	return error_set(e, r == -ECANCELED ? r : -ETIMEDOUT, r == -ECANCELED ? 503 : 504, NULL,
			 r == -ECANCELED ? "cancelled" : "nothing happened before the deadline");
}

static int ask_next(struct mongo_watch *w, struct error *e)
{
	unsigned consequences = 0;
	struct mongo_sending sending = asking_of(w, w->connection, e, &consequences);
	struct mongo_batch b = {0};
	int64_t wait = await_ms();
	int32_t size = w->batch_size > 0 ? (int32_t)w->batch_size : 0;

	if (wait == 0)
		return wait_for_deadline(e);
	forget_batch(w);
	w->connection->labels = 0;
	deadline_t before = deadline_push(deadline_in_us(wait * 1000 + (w->timeout_us ? w->timeout_us : ANSWER_US)));
	int r = mongo_batch_next(&sending, w->cursor, w->name, size, wait, &w->answer, &b);
	deadline_pop(before);
	if (r < 0) {
		bool again = is_resumable(w->connection, e);
		forget_batch(w);
		release(w, consequences);
		return again ? resume(w, e) : r;
	}
	w->failures = 0;
	take_batch(w, &b);
	if (w->cursor == 0)
		release(w, 0);
	return 0;
}

static int hand_out(struct mongo_watch *w, const struct mongo_element *change, struct error *e)
{
	struct mongo_element token = mongo_element_find(change->value, change->len, "_id", 3);

	if (change->type != BSON_TYPE_DOCUMENT || token.type != BSON_TYPE_DOCUMENT)
		return error_set(
			e, -EINVAL, 500, NULL,
			"a change without its _id: the pipeline must leave it, to resume the stream behind it");
	w->starts_after = false;
	move_to(w, token.value, token.len);
	if (!has_more(w))
		move_behind_batch(w);
	return 1;
}

int mongo_watch_next(struct mongo_watch *w, struct mongo_element *out, struct error *e)
{
	while (!mongo_element_next(&w->at, out)) {
		if (w->over)
			return 0;
		int r = w->connection ? ask_next(w, e) : resume(w, e);
		if (r < 0)
			return r;
	}
	return hand_out(w, out, e);
}

void mongo_watch_close(struct mongo_watch *w)
{
	unsigned consequences = 0;
	struct error e = ERROR_INIT;

	if (w->connection) {
		struct mongo_sending sending = asking_of(w, w->connection, &e, &consequences);
		mongo_batch_kill(&sending, w->cursor, w->name);
		release(w, consequences);
	}
	forget_batch(w);
	buf_done(&w->stages);
	buf_done(&w->options);
	buf_done(&w->token);
	buf_done(&w->latest);
	free(w->collection);
	w->collection = NULL;
}
