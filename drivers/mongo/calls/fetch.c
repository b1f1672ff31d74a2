/* Cursors, and what a step expects of them. An answer that came in one batch is kept as it came; of one that came in
 * several the documents are gathered in one array. */
#include "drivers/mongo/calls/fetch.h"

#include <errno.h>
#include <string.h>

#include "drivers/mongo/calls/batch.h"

struct fetching {
	struct mongo_sending sending;
	const struct mongo_action *action;
};

struct gathering {
	struct mongo_out out;
	uint32_t count;
};

static void gather(struct gathering *g, const struct mongo_element *documents)
{
	struct mongo_element_iter i;
	struct mongo_element e;
	char digits[16];
	const char *key;

	mongo_element_iter_init(&i, documents->value, documents->len);
	while (mongo_element_next(&i, &e)) {
		size_t len = bson_uint32_to_string(g->count++, &key, digits, sizeof(digits));
		mongo_out_raw(&g->out, e.type, key, len, e.value, e.len);
	}
}

/* All documents of the cursor, behind those of the first batch. */
static int gather_all(const struct fetching *o, const struct mongo_batch *first, struct mongo_result *r)
{
	struct gathering g = {0};
	struct mongo_batch b = *first;
	char collection[COLLECTION_MAX];
	int status = 0;

	memcpy(collection, first->collection, strlen(first->collection) + 1);
	mongo_out_init(&g.out, &r->bytes);
	mongo_out_document(&g.out);
	gather(&g, &b.documents);
	while (b.cursor && status == 0) {
		struct mongo_answer answer = {0};
		status = mongo_batch_next(&o->sending, b.cursor, collection, 0, 0, &answer, &b);
		if (status == 0)
			gather(&g, &b.documents);
		bson_free(answer.data);
		if (status == 0 && r->bytes.len > RESULT_MAX_BYTES) {
			mongo_batch_kill(&o->sending, b.cursor, collection);
			status = error_say(o->sending.error, -EFBIG, REASON_RESULT_LARGE,
					   "the result is larger than %zu MiB", RESULT_MAX_BYTES >> 20);
		}
	}
	mongo_out_end(&g.out);
	r->value = (struct mongo_element){
		.type = BSON_TYPE_ARRAY, .key = "", .value = (const uint8_t *)r->bytes.data, .len = r->bytes.len};
	r->base.rows = g.count;
	return status;
}

/* --- what is expected --- */

static size_t count_elements(const struct mongo_element *array, size_t most)
{
	struct mongo_element_iter i;
	struct mongo_element e;
	size_t n = 0;

	mongo_element_iter_init(&i, array->value, array->len);
	while (n < most && mongo_element_next(&i, &e))
		n++;
	return n;
}

static int one_document(const struct fetching *o, const struct mongo_batch *b, struct mongo_result *r)
{
	size_t n = count_elements(&b->documents, 2);

	mongo_batch_kill(&o->sending, b->cursor, b->collection);
	r->base.rows = n;
	if (n == 0 && o->action->expect == EXPECT_ONE)
		return error_set(o->sending.error, -ENOENT, 404, NULL, "no document, where one is expected");
	if (n > 1)
		return error_set(o->sending.error, -EINVAL, 500, NULL, "more than one document, where one is expected");
	r->value = mongo_element_at(b->documents.value, b->documents.len, 0);
	return 0;
}

static int counted(const struct fetching *o, const struct mongo_answer *answer, struct mongo_result *r)
{
	struct mongo_element n = mongo_answer_member(answer, "n");
	struct mongo_batch b;

	if (!n.type) {
		int status = mongo_batch_read(&o->sending, answer, "firstBatch", &b);
		if (status < 0)
			return status;
		struct mongo_element group = mongo_element_at(b.documents.value, b.documents.len, 0);
		if (group.type == BSON_TYPE_DOCUMENT)
			n = mongo_element_find(group.value, group.len, "n", 1);
	}
	/* No document at all has no group. */
	int64_t count = n.type ? mongo_element_integer(&n, -1) : 0;
	struct mongo_out out;
	mongo_out_init(&out, &r->bytes);
	mongo_out_int64(&out, "", 0, count);
	r->value = (struct mongo_element){
		.type = BSON_TYPE_INT64, .key = "", .value = (const uint8_t *)r->bytes.data + 2, .len = 8};
	r->base.rows = 1;
	return 0;
}

static int distinct_values(const struct fetching *o, const struct mongo_answer *answer, struct mongo_result *r)
{
	r->value = mongo_answer_member(answer, "values");
	if (r->value.type != BSON_TYPE_ARRAY)
		return mongo_answer_lacks(&o->sending, "values");
	r->base.rows = count_elements(&r->value, SIZE_MAX);
	return 0;
}

static int documents(const struct fetching *o, const struct mongo_answer *answer, struct mongo_result *r)
{
	struct mongo_batch b;
	int status = mongo_batch_read(&o->sending, answer, "firstBatch", &b);

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

int mongo_fetch(struct mongo_connection *c, const char *database, const struct mongo_action *a,
		const struct mongo_command *what, struct mongo_result *r, struct error *e, unsigned *consequences)
{
	struct fetching o = {.sending = {.connection = c,
					 .database = database,
					 .from_request = what->from_request,
					 .error = e,
					 .consequences = consequences},
			     .action = a};
	bson_t document;

	*consequences = 0;
	if (!bson_init_static(&document, (const uint8_t *)what->bytes.data, what->bytes.len))
		return error_set(e, -E2BIG, what->from_request ? 400 : 500, NULL, "the command is too large");
	struct mongo_answer answer = {0};
	int status = a->pipeline.writes ? mongo_send_write(&o.sending, &document, &answer)
					: mongo_send(&o.sending, &document, &answer);
	if (status < 0)
		return status;
	r->reply = answer.data;
	status = a->pipeline.writes ? mongo_answer_concern(&o.sending, &answer) : 0;
	if (status < 0)
		return status;
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
		r->value = (struct mongo_element){0};
	if (status < 0 && a->pipeline.writes && e->change == CHANGE_NONE) {
		e->change = CHANGE_PARTIAL;
		error_add_public(e, reason_text(REASON_ALSO_MADE));
	}
	return status;
}

int mongo_fetch_nothing(const struct mongo_action *a, struct mongo_result *r, struct error *e)
{
	static const uint8_t empty[] = {5, 0, 0, 0, 0}, zero[8] = {0};

	if (a->expect == EXPECT_ONE)
		return error_set(e, -ENOENT, 404, NULL, "no document (limit 0), where one is expected");
	if (a->expect == EXPECT_MANY)
		r->value = (struct mongo_element){
			.type = BSON_TYPE_ARRAY, .key = "", .value = empty, .len = sizeof(empty)};
	else if (a->expect == EXPECT_VALUE)
		r->value = (struct mongo_element){
			.type = BSON_TYPE_INT64, .key = "", .value = zero, .len = sizeof(zero)};
	return 0;
}
