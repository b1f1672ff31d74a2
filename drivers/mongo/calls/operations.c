/* Cursors, and what a step expects of them. An answer that came in one batch is kept as it came; of one that came in
 * several the documents are gathered in one array. */
#include "drivers/mongo/calls/operations.h"

#include <errno.h>
#include <string.h>

#include "drivers/mongo/calls/batch.h"

struct operation {
	struct asking asking;
	const struct mongo_action *action;
};

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
	char collection[COLLECTION_MAX];
	int status = 0;

	memcpy(collection, first->collection, strlen(first->collection) + 1);
	bson_out_init(&g.out, &r->bytes);
	bson_out_document(&g.out);
	gather(&g, &b.documents);
	while (b.cursor && status == 0) {
		struct answer answer = {0};
		status = batch_next(&o->asking, b.cursor, collection, 0, 0, &answer, &b);
		if (status == 0)
			gather(&g, &b.documents);
		bson_free(answer.data);
		if (status == 0 && r->bytes.len > RESULT_MAX_BYTES) {
			batch_kill(&o->asking, b.cursor, collection);
			status = error_say(o->asking.error, -EFBIG, REASON_RESULT_LARGE,
					   "the result is larger than %zu MiB", RESULT_MAX_BYTES >> 20);
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

	batch_kill(&o->asking, b->cursor, b->collection);
	r->base.rows = n;
	if (n == 0 && o->action->expect == EXPECT_ONE)
		return error_set(o->asking.error, -ENOENT, 404, NULL, "no document, where one is expected");
	if (n > 1)
		return error_set(o->asking.error, -EINVAL, 500, NULL, "more than one document, where one is expected");
	r->value = element_at(b->documents.value, b->documents.len, 0);
	return 0;
}

static int counted(const struct operation *o, const struct answer *answer, struct mongo_result *r)
{
	struct element n = answer_member(answer, "n");
	struct batch b;

	if (!n.type) {
		int status = batch_read(&o->asking, answer, "firstBatch", &b);
		if (status < 0)
			return status;
		struct element group = element_at(b.documents.value, b.documents.len, 0);
		if (group.type == BSON_TYPE_DOCUMENT)
			n = element_find(group.value, group.len, "n", 1);
	}
	/* No document at all has no group. */
	int64_t count = n.type ? element_integer(&n, -1) : 0;
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
	r->value = answer_member(answer, "values");
	if (r->value.type != BSON_TYPE_ARRAY)
		return mongo_nonsense(&o->asking, "values");
	r->base.rows = count_elements(&r->value, SIZE_MAX);
	return 0;
}

static int documents(const struct operation *o, const struct answer *answer, struct mongo_result *r)
{
	struct batch b;
	int status = batch_read(&o->asking, answer, "firstBatch", &b);

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
	struct operation o = {.asking = {.connection = c,
					 .database = database,
					 .from_request = what->from_request,
					 .error = e,
					 .consequences = consequences},
			      .action = a};
	bson_t document;

	*consequences = 0;
	if (!bson_init_static(&document, (const uint8_t *)what->bytes.data, what->bytes.len))
		return error_set(e, -E2BIG, what->from_request ? 400 : 500, NULL, "the command is too large");
	struct answer answer = {0};
	int status = a->pipeline.writes ? mongo_ask_to_write(&o.asking, &document, &answer)
					: mongo_ask(&o.asking, &document, &answer);
	if (status < 0)
		return status;
	r->reply = answer.data;
	status = a->pipeline.writes ? mongo_check_concern(&o.asking, &answer) : 0;
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
		r->value = (struct element){0};
	if (status < 0 && a->pipeline.writes && e->change == CHANGE_NONE) {
		e->change = CHANGE_PARTIAL;
		error_add_public(e, reason_text(REASON_ALSO_MADE));
	}
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
