/* A list of operations of all kinds, as statements. */
#include "drivers/mongo/calls/bulk.h"

#include <errno.h>
#include <string.h>

#include "config/diagnostics.h"
#include "drivers/mongo/calls/statements_send.h"

#define KEY(s) s, sizeof(s) - 1

/* One row a kind of operation: what it is made of, and which options it may have beside that. */
static const struct bulk_operation {
	const char *name;
	enum mongo_statement_kind kind;
	const char *const parts[3]; /* the filter or the document, then the change */
	enum mongo_document_use use;
	bool many;
	enum mongo_option_set set;
} operations[] = {
	{"insert_one", STATEMENT_INSERT, {"document"}, DOCUMENT_STORED, false, 0},
	{"update_one", STATEMENT_UPDATE, {"filter", "update"}, DOCUMENT_UPDATE, false, OPTIONS_BULK_UPDATE},
	{"update_many", STATEMENT_UPDATE, {"filter", "update"}, DOCUMENT_UPDATE, true, OPTIONS_BULK_UPDATE},
	{"replace_one", STATEMENT_UPDATE, {"filter", "replacement"}, DOCUMENT_STORED, false, OPTIONS_BULK_REPLACE},
	{"delete_one", STATEMENT_DELETE, {"filter"}, DOCUMENT_FILTER, false, OPTIONS_BULK_DELETE},
	{"delete_many", STATEMENT_DELETE, {"filter"}, DOCUMENT_FILTER, true, OPTIONS_BULK_DELETE},
};

static int unknown(struct mongo_document_maker *m, const char *name)
{
	const char *names[ARRAY_SIZE(operations)];

	for (size_t i = 0; i < ARRAY_SIZE(operations); i++)
		names[i] = operations[i].name;
	const char *nearest = nearest_name(name, names, ARRAY_SIZE(names));
	if (nearest)
		return mongo_document_refuse(m, false, "there is no \"%.40s\"; did you mean \"%s\"?", name, nearest);
	return mongo_document_refuse(m, false,
				     "there is no \"%.40s\", only insert_one, update_one, update_many, replace_one, "
				     "delete_one and delete_many",
				     name);
}

static const struct value *part(const struct value *of, const char *name)
{
	for (uint32_t i = 0; name && i < of->count; i++) {
		if (strcmp(of->members[i].name, name) == 0)
			return &of->members[i].value;
	}
	return NULL;
}

static int add_as(struct mongo_statements *s, const struct bulk_operation *o, const struct value *v)
{
	struct mongo_statement_change c = {.filter = part(v, o->parts[0]),
					   .change = part(v, o->parts[1]),
					   .use = o->use,
					   .many = o->many,
					   .options = v,
					   .set = o->set,
					   .besides = o->parts};

	switch (o->kind) {
	case STATEMENT_INSERT:
		if (v->count != 1 || !c.filter)
			return mongo_document_refuse(&s->maker, false, "insert_one is {document}");
		return mongo_statements_insert(s, c.filter);
	case STATEMENT_UPDATE:
		return mongo_statements_update(s, &c);
	default:
		return mongo_statements_delete(s, &c);
	}
}

/* A document that the handler wrote. */
static bool is_made(const struct value *v)
{
	return v->kind == VALUE_DOCUMENT && !v->from_request;
}

static int add_one(struct mongo_statements *s, const struct value *v)
{
	s->maker.what = "an operation";
	if (!is_made(v) || v->count != 1 || !is_made(&v->members[0].value))
		return mongo_document_refuse(&s->maker, false, "it is not {insert_one: {...}}" MADE_HERE);
	for (size_t i = 0; i < ARRAY_SIZE(operations); i++) {
		if (strcmp(operations[i].name, v->members[0].name) == 0)
			return add_as(s, &operations[i], &v->members[0].value);
	}
	return unknown(&s->maker, v->members[0].name);
}

static int add_all(struct mongo_statements *s, const struct value *list, const struct value *options)
{
	int r = mongo_statements_options(s, options, OPTIONS_BULK);

	s->maker.what = "the operations";
	if (r == 0 && (!list || list->kind != VALUE_LIST || list->from_request))
		return mongo_document_refuse(&s->maker, false, "they are not a list" MADE_HERE);
	for (uint32_t i = 0; r == 0 && i < list->count; i++)
		r = add_one(s, &list->list[i]);
	return r;
}

static void tell(const struct mongo_statements *s, struct mongo_result *result)
{
	struct mongo_out o;

	mongo_result_begin(result, &o);
	mongo_out_int(&o, KEY("inserted_count"), s->inserted);
	mongo_out_int(&o, KEY("matched_count"), s->matched);
	mongo_out_int(&o, KEY("modified_count"), s->modified);
	mongo_out_int(&o, KEY("deleted_count"), s->deleted);
	mongo_out_raw(&o, BSON_TYPE_ARRAY, KEY("upserted_ids"), s->upserted_bytes.data, s->upserted_bytes.len);
	mongo_result_end(result, &o);
}

int mongo_bulk(const struct mongo_target *t, const struct value *list, const struct value *options, struct result **out,
	       struct error *e)
{
	struct mongo_statements s;

	mongo_statements_init(&s, e);
	int r = add_all(&s, list, options);
	if (r == 0)
		r = mongo_name_check(t->collection, "the collection", e);
	if (r == 0)
		r = mongo_statements_send(&s, t, e);
	if (r == 0) {
		struct mongo_result *result = mongo_result_new(mongo_client_of(t->client)->json);
		mongo_out_end(&s.upserted);
		tell(&s, result);
		*out = &result->base;
	}
	mongo_statements_done(&s);
	return r;
}
