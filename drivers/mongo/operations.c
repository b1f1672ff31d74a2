/* Cursors, and what a step expects of them. An answer that came in one batch is kept as it came; of one that came in
 * several the documents are gathered in one array. */
#include "drivers/mongo/operations.h"

#include <errno.h>
#include <string.h>

#include "drivers/mongo/errors.h"

#define RESULT_MAX ((size_t)256 * 1024 * 1024) /* as BSON; beyond it a step is a mistake */
#define KILL_US    500000

struct operation {
	struct connection *connection;
	const char *database;
	const struct mongo_action *action;
	bool from_request;
	struct error *error;
	unsigned *consequences;
};

struct answer {
	uint8_t *data; /* libbson's memory */
	uint32_t len;
};

/* One batch of a cursor's documents. */
struct batch {
	int64_t cursor;           /* 0: the last one */
	struct element documents; /* an array */
	const char *collection;   /* the cursor's; in the reply */
};

static int nonsense(const struct operation *o, const char *what)
{
	*o->consequences = MONGO_DISCARD;
	return error_set(o->error, -EPROTO, 502, NULL, "MongoDB's answer has no %s", what);
}

static bool ask(const struct operation *o, const bson_t *document, struct answer *answer, bson_error_t *error)
{
	bson_t reply;
	bool good = mongo_connection_command(o->connection, o->database, document, &reply, error);

	if (good)
		answer->data = bson_destroy_with_steal(&reply, true, &answer->len);
	else
		bson_destroy(&reply);
	return good;
}

/* Not every server that speaks MongoDB's language takes maxTimeMS with every command: FerretDB 1.24 refuses it with
 * `distinct`. */
static bool refuses_max_time(const struct operation *o, const bson_error_t *error)
{
	enum { FAILED_TO_PARSE = 9, UNKNOWN_FIELD = 40415 };
	return !o->connection->streams.fault && error->domain == MONGOC_ERROR_SERVER &&
	       (error->code == FAILED_TO_PARSE || error->code == UNKNOWN_FIELD) && strstr(error->message, "maxTimeMS");
}

/* Our own deadline holds all the same. */
static bool ask_without_max_time(const struct operation *o, const bson_t *document, struct answer *answer,
				 bson_error_t *error)
{
	bson_t without = BSON_INITIALIZER;

	bson_copy_to_excluding_noinit(document, &without, "maxTimeMS", NULL);
	bool good = ask(o, &without, answer, error);
	bson_destroy(&without);
	return good;
}

/* Send it. Returns 0: the answer is the caller's, to be given to bson_free. */
static int command(const struct operation *o, const bson_t *document, struct answer *answer)
{
	bson_error_t error = {0};

	if (ask(o, document, answer, &error))
		return 0;
	if (refuses_max_time(o, &error) && ask_without_max_time(o, document, answer, &error))
		return 0;
	return mongo_operation_error(o->error, &error, &o->connection->streams, o->from_request, o->consequences);
}

static struct element member(const struct answer *a, const char *name)
{
	return element_find(a->data, a->len, name, strlen(name));
}

static int64_t integer_of(const struct element *e)
{
	switch (e->type) {
	case BSON_TYPE_INT32:
		return bson_read_int32(e->value);
	case BSON_TYPE_INT64:
		return bson_read_int64(e->value);
	case BSON_TYPE_DOUBLE:
		return (int64_t)bson_read_double(e->value);
	default:
		return -1;
	}
}

static int read_batch(const struct operation *o, const struct answer *answer, const char *name, struct batch *b)
{
	struct element cursor = member(answer, "cursor");
	struct element_iter i;
	struct element e;

	*b = (struct batch){.cursor = -1};
	if (cursor.type != BSON_TYPE_DOCUMENT)
		return nonsense(o, "cursor");
	element_iter_init(&i, cursor.value, cursor.len);
	while (element_next(&i, &e)) {
		size_t len;
		if (e.type == BSON_TYPE_ARRAY && strcmp(e.key, name) == 0)
			b->documents = e;
		else if (strcmp(e.key, "id") == 0)
			b->cursor = integer_of(&e);
		else if (e.type == BSON_TYPE_UTF8 && strcmp(e.key, "ns") == 0)
			b->collection = strchr(bson_read_text(&e, &len), '.');
	}
	if (!b->documents.type || b->cursor == -1 || (b->cursor && !b->collection))
		return nonsense(o, name);
	return 0;
}

/* --- more batches --- */

static int get_more(const struct operation *o, int64_t cursor, const char *collection, struct answer *answer)
{
	bson_t document = BSON_INITIALIZER;

	BSON_APPEND_INT64(&document, "getMore", cursor);
	BSON_APPEND_UTF8(&document, "collection", collection);
	int r = command(o, &document, answer);
	bson_destroy(&document);
	return r;
}

/* The server would keep it for ten minutes. What comes of it does not matter. */
static void kill_cursor(const struct operation *o, int64_t cursor, const char *collection)
{
	bson_t document = BSON_INITIALIZER, list, reply;
	bson_error_t error;
	struct shield shield;

	if (cursor == 0 || !collection || o->connection->streams.fault)
		return;
	BSON_APPEND_UTF8(&document, "killCursors", collection);
	BSON_APPEND_ARRAY_BEGIN(&document, "cursors", &list);
	BSON_APPEND_INT64(&list, "0", cursor);
	bson_append_array_end(&document, &list);
	task_shield(&shield, deadline_in_us(KILL_US));
	if (!mongo_connection_command(o->connection, o->database, &document, &reply, &error))
		*o->consequences |= MONGO_DISCARD;
	task_unshield(&shield);
	bson_destroy(&reply);
	bson_destroy(&document);
}

struct gathering {
	struct bson_out out;
	uint32_t count;
};

static void gather(struct gathering *g, const struct element *documents)
{
	struct element_iter i;
	struct element e;
	char digits[16];
	const char *key;

	element_iter_init(&i, documents->value, documents->len);
	while (element_next(&i, &e)) {
		size_t len = bson_uint32_to_string(g->count++, &key, digits, sizeof(digits));
		bson_out_raw(&g->out, e.type, key, len, e.value, e.len);
	}
}

/* All documents of the cursor, behind those of the first batch. */
static int gather_all(const struct operation *o, const struct batch *first, struct mongo_result *r)
{
	struct gathering g = {0};
	struct batch b = *first;
	char collection[256];
	int status = 0;

	if (snprintf(collection, sizeof(collection), "%s", first->collection + 1) >= (int)sizeof(collection))
		return nonsense(o, "collection of a sane length");
	bson_out_init(&g.out, &r->bytes);
	bson_out_document(&g.out);
	gather(&g, &b.documents);
	while (b.cursor && status == 0) {
		struct answer answer = {0};
		int64_t cursor = b.cursor;
		status = get_more(o, cursor, collection, &answer);
		if (status == 0)
			status = read_batch(o, &answer, "nextBatch", &b);
		if (status == 0)
			gather(&g, &b.documents);
		bson_free(answer.data);
		if (status == 0 && r->bytes.len > RESULT_MAX) {
			kill_cursor(o, b.cursor, collection);
			status = error_set(o->error, -EFBIG, 500, NULL, "the result is larger than %zu MiB",
					   RESULT_MAX >> 20);
		}
	}
	bson_out_end(&g.out);
	r->value = (struct element){
		.type = BSON_TYPE_ARRAY, .key = "", .value = (const uint8_t *)r->bytes.data, .len = r->bytes.len};
	r->base.rows = g.count;
	return status;
}

/* --- what is expected --- */

static size_t count_elements(const struct element *array, size_t most)
{
	struct element_iter i;
	struct element e;
	size_t n = 0;

	element_iter_init(&i, array->value, array->len);
	while (n < most && element_next(&i, &e))
		n++;
	return n;
}

static int one_document(const struct operation *o, const struct batch *b, struct mongo_result *r)
{
	size_t n = count_elements(&b->documents, 2);

	if (b->cursor)
		kill_cursor(o, b->cursor, b->collection + 1);
	r->base.rows = n;
	if (n == 0 && o->action->expect == EXPECT_ONE)
		return error_set(o->error, -ENOENT, 404, NULL, "no document, where one is expected");
	if (n > 1)
		return error_set(o->error, -EINVAL, 500, NULL, "more than one document, where one is expected");
	r->value = element_at(b->documents.value, b->documents.len, 0);
	return 0;
}

static int counted(const struct operation *o, const struct answer *answer, struct mongo_result *r)
{
	struct element n = member(answer, "n");
	struct batch b;

	if (!n.type) {
		int status = read_batch(o, answer, "firstBatch", &b);
		if (status < 0)
			return status;
		struct element group = element_at(b.documents.value, b.documents.len, 0);
		if (group.type == BSON_TYPE_DOCUMENT)
			n = element_find(group.value, group.len, "n", 1);
	}
	/* No document at all has no group. */
	int64_t count = n.type ? integer_of(&n) : 0;
	struct bson_out out;
	bson_out_init(&out, &r->bytes);
	bson_out_int64(&out, "", 0, count);
	r->value = (struct element){
		.type = BSON_TYPE_INT64, .key = "", .value = (const uint8_t *)r->bytes.data + 2, .len = 8};
	r->base.rows = 1;
	return 0;
}

static int distinct_values(const struct operation *o, const struct answer *answer, struct mongo_result *r)
{
	r->value = member(answer, "values");
	if (r->value.type != BSON_TYPE_ARRAY)
		return nonsense(o, "values");
	r->base.rows = count_elements(&r->value, SIZE_MAX);
	return 0;
}

static int documents(const struct operation *o, const struct answer *answer, struct mongo_result *r)
{
	struct batch b;
	int status = read_batch(o, answer, "firstBatch", &b);

	if (status < 0)
		return status;
	if (o->action->expect == EXPECT_ONE || o->action->expect == EXPECT_MAYBE)
		return one_document(o, &b, r);
	if (b.cursor)
		return gather_all(o, &b, r);
	r->value = b.documents;
	r->base.rows = count_elements(&b.documents, SIZE_MAX);
	return 0;
}

int mongo_execute(struct connection *c, const char *database, const struct mongo_action *a,
		  const struct mongo_command *what, struct mongo_result *r, struct error *e, unsigned *consequences)
{
	struct operation o = {.connection = c,
			      .database = database,
			      .action = a,
			      .from_request = what->from_request,
			      .error = e,
			      .consequences = consequences};
	bson_t document;

	*consequences = 0;
	if (!bson_init_static(&document, (const uint8_t *)what->bytes.data, what->bytes.len))
		return error_set(e, -E2BIG, what->from_request ? 400 : 500, NULL, "the command is too large");
	struct answer answer = {0};
	int status = command(&o, &document, &answer);
	if (status < 0)
		return status;
	r->reply = answer.data;
	switch (a->kind) {
	case ACTION_COUNT:
		status = counted(&o, &answer, r);
		break;
	case ACTION_DISTINCT:
		status = distinct_values(&o, &answer, r);
		break;
	default:
		status = documents(&o, &answer, r);
	}
	if (status == 0 && a->expect == EXPECT_NONE)
		r->value = (struct element){0};
	return status;
}

int mongo_nothing(const struct mongo_action *a, struct mongo_result *r, struct error *e)
{
	static const uint8_t empty[] = {5, 0, 0, 0, 0}, zero[8] = {0};

	if (a->expect == EXPECT_ONE)
		return error_set(e, -ENOENT, 404, NULL, "no document (limit 0), where one is expected");
	if (a->expect == EXPECT_MANY)
		r->value = (struct element){.type = BSON_TYPE_ARRAY, .key = "", .value = empty, .len = sizeof(empty)};
	else if (a->expect == EXPECT_VALUE)
		r->value = (struct element){.type = BSON_TYPE_INT64, .key = "", .value = zero, .len = sizeof(zero)};
	return 0;
}
