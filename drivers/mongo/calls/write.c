/* The writes that have a function of their own, but for find-and-modify, are one statement or many of one kind. */
#include "drivers/mongo/calls/write.h"

#include <errno.h>
#include <string.h>

#include "drivers/mongo/calls/statements_send.h"
#include "drivers/mongo/calls/written.h"

/* made: whether there are statements. Sends them; if that went well, *out is a result to be filled, else NULL. */
static int run(struct mongo_statements *s, const struct mongo_target *t, int made, struct mongo_result **out,
	       struct error *e)
{
	int r = made;

	*out = NULL;
	if (r == 0)
		r = mongo_name_check(t->collection, "the collection", e);
	if (r == 0)
		r = mongo_statements_send(s, t, e);
	if (r == 0)
		*out = mongo_result_new(mongo_client_of(t->client)->json);
	return r;
}

int mongo_insert_one(const struct mongo_target *t, const struct value *document, struct result **out, struct error *e)
{
	struct mongo_statements s;
	struct mongo_result *result;

	mongo_statements_init(&s, e);
	int r = run(&s, t, mongo_statements_insert(&s, document), &result, e);
	if (r == 0) {
		mongo_written_inserted(&s, 0, result);
		*out = &result->base;
	}
	mongo_statements_done(&s);
	return r;
}

static int insert_each(struct mongo_statements *s, const struct value *documents, struct arena *a)
{
	const struct value_member *parts;

	s->maker.what = "the documents";
	if (!documents || value_looks(documents) != VALUE_LIST)
		return mongo_document_refuse(&s->maker, documents && documents->from_request, "they are not a list");
	size_t count = value_parts(documents, a, &parts);
	for (size_t i = 0; i < count; i++) {
		int r = mongo_statements_insert(s, &parts[i].value);
		if (r < 0)
			return r;
	}
	return 0;
}

int mongo_insert_many(const struct mongo_target *t, const struct value *documents, const struct value *options,
		      struct result **out, struct error *e)
{
	struct mongo_statements s;
	struct mongo_result *result;

	mongo_statements_init(&s, e);
	int r = mongo_statements_options(&s, options, OPTIONS_INSERT);
	if (r == 0)
		r = insert_each(&s, documents, t->options->arena);
	r = run(&s, t, r, &result, e);
	if (r == 0) {
		mongo_written_all(&s, result);
		*out = &result->base;
	}
	mongo_statements_done(&s);
	return r;
}

int mongo_update(const struct mongo_target *t, enum mongo_update kind, const struct value *filter,
		 const struct value *change, const struct value *options, struct result **out, struct error *e)
{
	enum mongo_option_set set = kind == REPLACE_ONE ? OPTIONS_REPLACE : OPTIONS_UPDATE;
	struct mongo_statement_change c = {.filter = filter,
					   .change = change,
					   .use = kind == REPLACE_ONE ? DOCUMENT_STORED : DOCUMENT_UPDATE,
					   .many = kind == UPDATE_MANY,
					   .options = options,
					   .set = set};
	struct mongo_statements s;
	struct mongo_result *result;

	mongo_statements_init(&s, e);
	int r = mongo_statements_update(&s, &c);
	if (r == 0)
		r = mongo_statements_options(&s, options, set);
	r = run(&s, t, r, &result, e);
	if (r == 0) {
		mongo_written_changed(&s, result);
		*out = &result->base;
	}
	mongo_statements_done(&s);
	return r;
}

int mongo_delete(const struct mongo_target *t, bool many, const struct value *filter, struct result **out,
		 struct error *e)
{
	struct mongo_statement_change c = {.filter = filter, .many = many};
	struct mongo_statements s;
	struct mongo_result *result;

	mongo_statements_init(&s, e);
	int r = run(&s, t, mongo_statements_delete(&s, &c), &result, e);
	if (r == 0) {
		mongo_written_deleted(&s, result);
		*out = &result->base;
	}
	mongo_statements_done(&s);
	return r;
}
