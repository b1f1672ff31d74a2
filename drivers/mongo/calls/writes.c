/* The writes that have a function of their own, but for find-and-modify, are one statement or many of one kind. */
#include "drivers/mongo/calls/writes.h"

#include <errno.h>
#include <string.h>

#include "drivers/mongo/calls/statements.h"

#define KEY(s) s, sizeof(s) - 1

/* made: whether there are statements. Sends them; if that went well, *out is a result to be filled, else NULL. */
static int run(struct statements *s, const struct mongo_target *t, int made, struct mongo_result **out, struct error *e)
{
	int r = made;

	*out = NULL;
	if (r == 0)
		r = mongo_name_check(t->collection, "the collection", e);
	if (r == 0)
		r = statements_run(s, t, e);
	if (r == 0)
		*out = mongo_result_new(mongo_client_of(t->client)->json);
	return r;
}

int mongo_insert_one(const struct mongo_target *t, const struct value *document, struct result **out, struct error *e)
{
	struct statements s;
	struct mongo_result *result;
	struct bson_out o;

	statements_init(&s, e);
	int r = run(&s, t, statements_insert(&s, document), &result, e);
	if (r == 0) {
		struct element id = statements_id(&s, 0);
		mongo_result_begin(result, &o);
		bson_out_raw(&o, id.type, KEY("inserted_id"), id.value, id.len);
		mongo_result_end(result, &o);
		*out = &result->base;
	}
	statements_done(&s);
	return r;
}

static int insert_each(struct statements *s, const struct value *documents, struct arena *a)
{
	const struct value_member *parts;

	s->maker.what = "the documents";
	if (!documents || value_looks(documents) != VALUE_LIST)
		return document_refuse(&s->maker, documents && documents->from_request, "they are not a list");
	size_t count = value_parts(documents, a, &parts);
	for (size_t i = 0; i < count; i++) {
		int r = statements_insert(s, &parts[i].value);
		if (r < 0)
			return r;
	}
	return 0;
}

static void tell_inserted(const struct statements *s, struct mongo_result *result)
{
	struct bson_out o;
	char digits[16];
	const char *key;

	mongo_result_begin(result, &o);
	bson_out_int(&o, KEY("inserted_count"), s->inserted);
	bson_out_begin(&o, BSON_TYPE_ARRAY, KEY("inserted_ids"));
	for (uint32_t i = 0; i < s->count; i++) {
		struct element id = statements_id(s, i);
		size_t len = bson_uint32_to_string(i, &key, digits, sizeof(digits));
		bson_out_raw(&o, id.type, key, len, id.value, id.len);
	}
	bson_out_end(&o);
	mongo_result_end(result, &o);
}

int mongo_insert_many(const struct mongo_target *t, const struct value *documents, const struct value *options,
		      struct result **out, struct error *e)
{
	struct statements s;
	struct mongo_result *result;

	statements_init(&s, e);
	int r = statements_options(&s, options, OPTIONS_INSERT);
	if (r == 0)
		r = insert_each(&s, documents, t->options->arena);
	r = run(&s, t, r, &result, e);
	if (r == 0) {
		tell_inserted(&s, result);
		*out = &result->base;
	}
	statements_done(&s);
	return r;
}

/* The _id of the only upsert, or null. */
static void put_upserted_id(const struct statements *s, struct bson_out *o)
{
	struct element first = element_at((const uint8_t *)s->upserted_bytes.data, s->upserted_bytes.len, 0), id = {0};

	if (first.type == BSON_TYPE_DOCUMENT)
		id = element_find(first.value, first.len, "id", 2);
	if (id.type)
		bson_out_raw(o, id.type, KEY("upserted_id"), id.value, id.len);
	else
		bson_out_null(o, KEY("upserted_id"));
}

int mongo_update(const struct mongo_target *t, enum mongo_update kind, const struct value *filter,
		 const struct value *change, const struct value *options, struct result **out, struct error *e)
{
	enum option_set set = kind == REPLACE_ONE ? OPTIONS_REPLACE : OPTIONS_UPDATE;
	struct statement_change c = {.filter = filter,
				     .change = change,
				     .use = kind == REPLACE_ONE ? DOCUMENT_STORED : DOCUMENT_UPDATE,
				     .many = kind == UPDATE_MANY,
				     .options = options,
				     .set = set};
	struct statements s;
	struct mongo_result *result;
	struct bson_out o;

	statements_init(&s, e);
	int r = statements_update(&s, &c);
	if (r == 0)
		r = statements_options(&s, options, set);
	r = run(&s, t, r, &result, e);
	if (r == 0) {
		bson_out_end(&s.upserted);
		mongo_result_begin(result, &o);
		bson_out_int(&o, KEY("matched_count"), s.matched);
		bson_out_int(&o, KEY("modified_count"), s.modified);
		put_upserted_id(&s, &o);
		mongo_result_end(result, &o);
		*out = &result->base;
	}
	statements_done(&s);
	return r;
}

int mongo_delete(const struct mongo_target *t, bool many, const struct value *filter, struct result **out,
		 struct error *e)
{
	struct statement_change c = {.filter = filter, .many = many};
	struct statements s;
	struct mongo_result *result;
	struct bson_out o;

	statements_init(&s, e);
	int r = run(&s, t, statements_delete(&s, &c), &result, e);
	if (r == 0) {
		mongo_result_begin(result, &o);
		bson_out_int(&o, KEY("deleted_count"), s.deleted);
		mongo_result_end(result, &o);
		*out = &result->base;
	}
	statements_done(&s);
	return r;
}
