/* Writes on a scripted server: what is sent, how it is cut into commands, what comes back, what is refused before
 * anything is sent; and that nothing is ever sent twice. */
#include "async/run.h"
#include "drivers/mongo/calls/bulk.h"
#include "drivers/mongo/calls/find_and_modify.h"
#include "drivers/mongo/calls/write.h"
#include "tests/unit/drivers/mongo/mongo_values.h"

enum { PATIENCE_US = 60000000 };

static const char *last_write(struct fixture *f)
{
	pthread_mutex_lock(&f->server.lock);
	const char *copy = arena_strdup(&f->arena, f->server.last);
	pthread_mutex_unlock(&f->server.lock);
	return copy;
}

static int writes(struct fixture *f)
{
	return atomic_load(&f->server.writes);
}

/* --- one function a kind of write; what it brought, as told() --- */

static const char *insert_one(struct fixture *f, const char *collection, const struct value *document)
{
	struct result *r = NULL;
	struct error e = ERROR_INIT;
	return told(f, mongo_insert_one(target(f, collection, PATIENCE_US), document, &r, &e), &r, &e);
}

static const char *insert_many(struct fixture *f, const char *collection, const struct value *documents,
			       const char *options)
{
	struct result *r = NULL;
	struct error e = ERROR_INIT;
	return told(f, mongo_insert_many(target(f, collection, PATIENCE_US), documents, made(f, options), &r, &e), &r,
		    &e);
}

static const char *update(struct fixture *f, enum mongo_update kind, const char *collection, const char *filter,
			  const char *change, const char *options)
{
	struct result *r = NULL;
	struct error e = ERROR_INIT;
	return told(f,
		    mongo_update(target(f, collection, PATIENCE_US), kind, made(f, filter), made(f, change),
				 made(f, options), &r, &e),
		    &r, &e);
}

static const char *delete_from(struct fixture *f, bool many, const char *collection, const struct value *filter)
{
	struct result *r = NULL;
	struct error e = ERROR_INIT;
	return told(f, mongo_delete(target(f, collection, PATIENCE_US), many, filter, &r, &e), &r, &e);
}

static const char *find_one_and(struct fixture *f, enum mongo_find_one_and kind, const char *collection,
				const char *filter, const char *change, const char *options)
{
	struct result *r = NULL;
	struct error e = ERROR_INIT;
	return told(f,
		    mongo_find_one_and(target(f, collection, PATIENCE_US), kind, made(f, filter), made(f, change),
				       made(f, options), &r, &e),
		    &r, &e);
}

static const char *bulk(struct fixture *f, const char *collection, const char *operations, const char *options)
{
	struct result *r = NULL;
	struct error e = ERROR_INIT;
	return told(f, mongo_bulk(target(f, collection, PATIENCE_US), made(f, operations), made(f, options), &r, &e),
		    &r, &e);
}

/* --- what is sent, what comes back --- */

MONGO_TEST(inserts)
{
	ck_assert_str_eq(insert_one(f, "c", made(f, "{'_id':7,'a':[1,{'b':'~x'}]}")), "{\"inserted_id\":7}");
	ck_assert_str_eq(last_write(f), "{ \"insert\" : \"c\", \"documents\" : [ { \"_id\" : 7, \"a\" : [ 1, { \"b\" : "
					"\"x\" } ] } ], \"ordered\" : true }");
	ck_assert_str_eq(insert_many(f, "c", made(f, "[{'_id':1},{'_id':'b'},{'_id':null}]"), NULL),
			 "{\"inserted_count\":3,\"inserted_ids\":[1,\"b\",null]}");
	ck_assert_str_eq(insert_many(f, "c", made(f, "[{'_id':1}]"), "{'ordered':false,'comment':'why'}"),
			 "{\"inserted_count\":1,\"inserted_ids\":[1]}");
	ck_contains(last_write(f), "\"ordered\" : false, \"comment\" : \"why\" }");
	int before = writes(f);
	ck_assert_str_eq(insert_many(f, "c", made(f, "[]"), NULL), "{\"inserted_count\":0,\"inserted_ids\":[]}");
	ck_assert_int_eq(writes(f), before);
	/* A request's body is what a document is. */
	ck_assert_str_eq(insert_one(f, "c", sent(f, "{'_id':3,'a':{'b':[]}}", false)), "{\"inserted_id\":3}");
	ck_assert_str_eq(insert_many(f, "c", sent(f, "[{'_id':3},{'_id':4}]", false), NULL),
			 "{\"inserted_count\":2,\"inserted_ids\":[3,4]}");
}

/* The _id is made here, stands first, and stays an ObjectId on its way into the next call. */
MONGO_TEST(an_id_is_made)
{
	struct path_segment way[] = {{.kind = PATH_MEMBER, .name = "inserted_id", .name_len = 11}};
	struct path path = {way, 1};
	struct result *r = NULL;
	struct error e = ERROR_INIT;
	char expected[128];

	ck_assert_int_eq(mongo_insert_one(target(f, "c", PATIENCE_US), made(f, "{'a':1}"), &r, &e), 0);
	struct value id = r->ops->get(r, &path, &f->arena);
	ck_assert_int_eq(id.kind, VALUE_FOREIGN);
	struct buf hex = BUF_INIT;
	value_text(&id, &hex);
	ck_assert_uint_eq(hex.len, 24);
	snprintf(expected, sizeof(expected), "\"documents\" : [ { \"_id\" : { \"$oid\" : \"%s\" }, \"a\" : 1 } ]",
		 buf_cstr(&hex));
	ck_contains(last_write(f), expected);
	struct value_member member = {.name = "_id", .len = 3, .value = id};
	struct value filter = {.kind = VALUE_DOCUMENT, .count = 1, .members = &member};
	ck_assert_str_eq(delete_from(f, false, "c", &filter), "{\"deleted_count\":1}");
	snprintf(expected, sizeof(expected), "{ \"q\" : { \"_id\" : { \"$oid\" : \"%s\" } }, \"limit\" : 1 }",
		 hex.data);
	ck_contains(last_write(f), expected);
	buf_done(&hex);
	result_free(r);
	insert_many(f, "c", made(f, "[{},{}]"), NULL);
	const char *first = strstr(last_write(f), "$oid"), *second = strstr(first + 1, "$oid");
	ck_assert_int_ne(strncmp(first, second, 34), 0);
}

MONGO_TEST(updates)
{
	ck_assert_str_eq(update(f, UPDATE_ONE, "c", "{'a':'~x'}", "{'$set':{'b':'~y'}}", NULL),
			 "{\"matched_count\":1,\"modified_count\":1,\"upserted_id\":null}");
	ck_assert_str_eq(last_write(f), "{ \"update\" : \"c\", \"updates\" : [ { \"q\" : { \"a\" : \"x\" }, \"u\" : { "
					"\"$set\" : { \"b\" : \"y\" } } } ], \"ordered\" : true }");
	update(f, UPDATE_MANY, "c", "{}", "{'$inc':{'n':1}}", NULL);
	ck_contains(last_write(f), "\"u\" : { \"$inc\" : { \"n\" : 1 } }, \"multi\" : true }");
	ck_assert_str_eq(update(f, UPDATE_ONE, "c", "{'a':1}", "{'$set':{'b':1}}", "{'upsert':true}"),
			 "{\"matched_count\":0,\"modified_count\":1,\"upserted_id\":1000}");
	ck_contains(last_write(f), "\"upsert\" : true");
	update(f, UPDATE_ONE, "c", "{}", "{'$set':{'g.$[e].m':1}}",
	       "{'array_filters':[{'e.a':{'$gt':'~3'}}],'hint':'a_1','collation':{'locale':'de'},'comment':'k','let':{'"
	       "x'"
	       ":1}}");
	ck_contains(last_write(f),
		    "\"arrayFilters\" : [ { \"e.a\" : { \"$gt\" : \"3\" } } ], \"hint\" : \"a_1\", "
		    "\"collation\" : { \"locale\" : \"de\" } } ], \"ordered\" : true, \"comment\" : \"k\", "
		    "\"let\" : { \"x\" : 1 } }");
	update(f, UPDATE_ONE, "c", "{}", "[{'$set':{'a':'$b'}}]", NULL);
	ck_contains(last_write(f), "\"u\" : [ { \"$set\" : { \"a\" : \"$b\" } } ]");
	ck_assert_str_eq(update(f, REPLACE_ONE, "c", "{'_id':1}", "{'a':1}", "{'hint':{'_id':1}}"),
			 "{\"matched_count\":1,\"modified_count\":1,\"upserted_id\":null}");
	ck_contains(last_write(f), "\"u\" : { \"a\" : 1 }, \"hint\" : { \"_id\" : 1 } } ]");
}

MONGO_TEST(deletes)
{
	ck_assert_str_eq(delete_from(f, false, "c", made(f, "{'a':1}")), "{\"deleted_count\":1}");
	ck_contains(last_write(f), "{ \"delete\" : \"c\", \"deletes\" : [ { \"q\" : { \"a\" : 1 }, \"limit\" : 1 } ]");
	ck_assert_str_eq(delete_from(f, true, "c", made(f, "{}")), "{\"deleted_count\":1}");
	ck_contains(last_write(f), "{ \"q\" : {  }, \"limit\" : 0 }");
}

MONGO_TEST(find_and_modify)
{
	const char *sent_before = find_one_and(f, AND_UPDATE, "echo", "{'a':'~x'}", "{'$set':{'b':1}}", NULL);
	ck_contains(
		sent_before,
		"{\"findAndModify\":\"echo\",\"query\":{\"a\":\"x\"},\"update\":{\"$set\":{\"b\":1}},\"maxTimeMS\":");
	const char *after = find_one_and(f, AND_UPDATE, "echo", "{}", "[{'$set':{'b':'$a'}}]",
					 "{'return':'after','upsert':true,'sort':{'a':-1,'b':1},'projection':{'a':1},"
					 "'array_filters':[{'x':1}]}");
	ck_contains(after, "\"update\":[{\"$set\":{\"b\":\"$a\"}}],\"sort\":{\"a\":-1,\"b\":1},\"fields\":{\"a\":1},"
			   "\"arrayFilters\":[{\"x\":1}],\"new\":true,\"upsert\":true,");
	ck_contains(find_one_and(f, AND_REPLACE, "echo", "{}", "{'c':1}", "{'return':'before'}"),
		    "\"query\":{},\"update\":{\"c\":1},\"maxTimeMS\"");
	ck_contains(find_one_and(f, AND_DELETE, "echo", "{'a':1}", NULL, "{'sort':{'a':1}}"),
		    "\"query\":{\"a\":1},\"remove\":true,\"sort\":{\"a\":1},");
	ck_assert_str_eq(find_one_and(f, AND_DELETE, "docs_0", "{}", NULL, NULL), "null");
	ck_contains(find_one_and(f, AND_UPDATE, "error_11000", "{}", "{'$set':{'a':1}}", NULL), "! 409 11000");
	ck_contains(find_one_and(f, AND_UPDATE, "concern", "{}", "{'$set':{'a':1}}", NULL), "! 502 64");
}

MONGO_TEST(operations_of_all_kinds)
{
	static const char operations[] =
		"[{'insert_one':{'document':{'_id':1}}},{'insert_one':{'document':{'_id':2}}},"
		"{'update_one':{'filter':{'a':1},'update':{'$set':{'b':1}},'upsert':true}},"
		"{'delete_many':{'filter':{'a':'~x'},'hint':'a_1'}},"
		"{'update_many':{'filter':{},'update':{'$set':{'b':1}},'array_filters':[{'x':1}]}},"
		"{'replace_one':{'filter':{},'replacement':{'b':1},'upsert':true}},"
		"{'delete_one':{'filter':{}}}]";
	static const char result[] =
		"{\"inserted_count\":2,\"matched_count\":1,\"modified_count\":3,\"deleted_count\":2,"
		"\"upserted_ids\":[{\"index\":2,\"id\":1000},{\"index\":5,\"id\":1001}]}";
	static const char unordered[] =
		"{\"inserted_count\":2,\"matched_count\":1,\"modified_count\":3,\"deleted_count\":2,"
		"\"upserted_ids\":[{\"index\":2,\"id\":1000},{\"index\":5,\"id\":1002}]}";

	/* Runs of one kind are one command. */
	ck_assert_str_eq(bulk(f, "c", operations, NULL), result);
	ck_assert_int_eq(writes(f), 5);
	ck_contains(last_write(f), "\"deletes\" : [ { \"q\" : {  }, \"limit\" : 1 } ], \"ordered\" : true");
	/* Where the order does not matter, one command a kind. */
	ck_assert_str_eq(bulk(f, "c", operations, "{'ordered':false,'comment':'all'}"), unordered);
	ck_assert_int_eq(writes(f), 8);
	ck_contains(last_write(f),
		    "\"deletes\" : [ { \"q\" : { \"a\" : \"x\" }, \"hint\" : \"a_1\", \"limit\" : 0 }, { "
		    "\"q\" : {  }, \"limit\" : 1 } ], \"ordered\" : false, \"comment\" : \"all\" }");
	ck_assert_str_eq(bulk(f, "c", "[]", NULL),
			 "{\"inserted_count\":0,\"matched_count\":0,\"modified_count\":0,\"deleted_count\":0,"
			 "\"upserted_ids\":[]}");
	ck_assert_int_eq(writes(f), 8);
}

static const struct value *documents(struct fixture *f, uint32_t count, size_t size)
{
	struct value *list = arena_array(&f->arena, count, sizeof(*list)), *v = arena_alloc(&f->arena, sizeof(*v));
	char *text = arena_alloc(&f->arena, size + 1);

	memset(text, 'x', size);
	for (uint32_t i = 0; i < count; i++) {
		struct value_member *m = arena_array(&f->arena, 2, sizeof(*m));
		m[0] = (struct value_member){.name = "_id", .len = 3, .value = value_int(i)};
		m[1] = (struct value_member){.name = "t", .len = 1, .value = value_string(text, size)};
		list[i] = (struct value){.kind = VALUE_DOCUMENT, .count = 2, .members = m};
	}
	*v = (struct value){.kind = VALUE_LIST, .count = count, .list = list};
	return v;
}

MONGO_TEST(many_statements_are_several_commands)
{
	ck_contains(insert_many(f, "c", documents(f, 2500, 10), NULL), "{\"inserted_count\":2500,");
	ck_assert_int_eq(writes(f), 1);
	atomic_store(&f->server.statements_max, 1000);
	server_drop_all(&f->server);
	settle();
	ck_contains(insert_many(f, "c", documents(f, 2500, 10), NULL), "{\"inserted_count\":2500,");
	ck_assert_int_eq(writes(f), 4);
	ck_assert_int_eq(atomic_load(&f->server.statements), 5000);
	ck_contains(insert_many(f, "bad_7_11000", documents(f, 2500, 10), NULL),
		    "! 409 11000: MongoDB error 11000: at index 7: secret internals; 7 of 2500 were done");
	ck_assert_int_eq(writes(f), 5);
	ck_contains(insert_many(f, "bad_7_11000", documents(f, 2500, 10), "{'ordered':false}"),
		    "at index 7: secret internals; 2497 of 2500 were done");
	ck_assert_int_eq(writes(f), 8);
	ck_contains(insert_many(f, "bad_600_121", documents(f, 1500, 10), NULL), "! 422 121");
}

MONGO_TEST(large_documents_are_several_commands)
{
	atomic_store(&f->server.document_max, 10000);
	server_drop_all(&f->server);
	settle();
	ck_contains(insert_many(f, "c", documents(f, 10, 4000), NULL), "{\"inserted_count\":10,");
	ck_assert_int_eq(writes(f), 5);
	ck_contains(insert_many(f, "c", documents(f, 2, 9900), NULL), "{\"inserted_count\":2,");
	ck_assert_int_eq(writes(f), 7);
	/* One that is too large is known before anything is sent. */
	ck_contains(insert_many(f, "c", documents(f, 1, 10000), NULL), "! 500 : document 0 has 100");
	ck_assert_int_eq(writes(f), 7);
}

/* Of the full size that MongoDB allows: a command of its own, and a little larger than a document may be. */
MONGO_TEST(the_largest_document)
{
	enum { LARGEST = 16777216, AROUND = 4 + 9 + 3 + 4 + 1 + 1 };
	const struct value *one = documents(f, 1, LARGEST - AROUND);

	ck_assert_str_eq(insert_one(f, "c", &one->list[0]), "{\"inserted_id\":0}");
	one = documents(f, 1, LARGEST - AROUND + 1);
	ck_contains(insert_one(f, "c", &one->list[0]), "! 500 : document 0 has 16777217 bytes");
}

MONGO_TEST(errors_have_statuses)
{
	ck_contains(insert_one(f, "bad_0_11000", made(f, "{}")), "! 409 11000: MongoDB error 11000: secret internals");
	ck_contains(insert_one(f, "bad_0_121", made(f, "{}")), "! 422 121");
	ck_contains(insert_one(f, "error_13", made(f, "{}")), "! 500 13");
	ck_contains(insert_one(f, "error_50", made(f, "{}")), "the write may or may not have happened");
	ck_contains(insert_one(f, "wordless", made(f, "{}")), "no n; the write may or may not have happened");
	ck_contains(insert_one(f, "concern", made(f, "{}")), "! 502 64: MongoDB's write concern failed");
	ck_contains(delete_from(f, true, "error_2", made(f, "{}")), "! 500 2");
	ck_contains(bulk(f, "bad_0_2",
			 "[{'delete_one':{'filter':{}}},{'insert_one':{'document':{}}},{'delete_one':{'filter':{}}}]",
			 "{'ordered':false}"),
		    "! 500 2: MongoDB error 2: at index 1: secret internals; 1 of 3 were done");
	ck_assert_str_eq(insert_one(f, "c", made(f, "{'_id':1}")), "{\"inserted_id\":1}");
}

static int change_of(struct fixture *f, const char *collection, const char *documents, int *status)
{
	struct result *result = NULL;
	struct error e = ERROR_INIT;

	ck_assert_int_lt(mongo_insert_many(target(f, collection, 0), made(f, documents), NULL, &result, &e), 0);
	*status = e.status;
	return e.change;
}

MONGO_TEST(a_failure_says_what_it_has_left)
{
	int status;

	ck_assert_int_eq(change_of(f, "bad_0_11000", "[{},{},{}]", &status), CHANGE_NONE);
	ck_assert_int_eq(status, 409);
	ck_assert_int_eq(change_of(f, "bad_1_11000", "[{},{},{}]", &status), CHANGE_PARTIAL);
	ck_assert_int_eq(status, 409);
	ck_assert_int_eq(change_of(f, "concern", "[{},{}]", &status), CHANGE_UNKNOWN);
	ck_assert_int_eq(status, 502);
	ck_assert_int_eq(change_of(f, "error_11600", "[{}]", &status), CHANGE_UNKNOWN);
	ck_assert_int_eq(status, 502);
	ck_assert_int_eq(change_of(f, "error_13", "[{}]", &status), CHANGE_NONE);
}

/* --- what is refused, and never sent --- */

MONGO_TEST(mistakes_of_the_handler)
{
	ck_contains(insert_one(f, "", made(f, "{}")), "! 500 : the collection has no name");
	ck_contains(insert_one(f, NULL, made(f, "{}")), "the collection has no name");
	ck_contains(insert_one(f, "c", made(f, "null")), "the document: it is null");
	ck_contains(insert_one(f, "c", NULL), "the document: it is null");
	ck_contains(insert_one(f, "c", made(f, "[]")), "the document: it is not a document");
	ck_contains(insert_one(f, "c", made(f, "{'$set':{}}")), "$set is an operator");
	ck_contains(insert_many(f, "c", made(f, "{}"), NULL), "the documents: they are not a list");
	ck_contains(insert_many(f, "c", made(f, "[{},3]"), NULL), "the document: it is not a document");
	ck_contains(insert_many(f, "c", made(f, "[{}]"), "{'orderd':true}"),
		    "the options: there is no \"orderd\" here; did you mean \"ordered\"?");
	ck_contains(insert_many(f, "c", made(f, "[{}]"), "{'upsert':true}"), "there is no \"upsert\" here");
	ck_contains(insert_many(f, "c", made(f, "[{}]"), "{'ordered':1}"), "ordered is neither true nor false");
	ck_contains(insert_many(f, "c", made(f, "[{}]"), "[]"), "the options: they are not a document");
	ck_contains(update(f, UPDATE_ONE, "c", "{}", "{'a':1}", NULL), "the update: a is not an operator");
	ck_contains(update(f, UPDATE_ONE, "c", "{}", "{}", NULL), "the update: it has no operator");
	ck_contains(update(f, UPDATE_ONE, "c", "{}", "[{'$set':{},'$unset':{}}]", NULL), "stage 0 is not a document");
	ck_contains(update(f, UPDATE_ONE, "c", "null", "{'$set':{'a':1}}", NULL), "the filter: it is null");
	ck_contains(update(f, UPDATE_ONE, "c", "{}", "{'$set':{'a':1}}", "{'arrayFilters':[]}"),
		    "did you mean \"array_filters\"?");
	ck_contains(update(f, UPDATE_ONE, "c", "{}", "{'$set':{'a':1}}", "{'array_filters':{}}"),
		    "array_filters is not a list");
	ck_contains(update(f, REPLACE_ONE, "c", "{}", "{'$set':{'a':1}}", NULL),
		    "the replacement: $set is an operator");
	ck_contains(update(f, REPLACE_ONE, "c", "{}", "{'a':1}", "{'array_filters':[]}"), "there is no");
	ck_contains(find_one_and(f, AND_UPDATE, "c", "{}", "{'$set':{'a':1}}", "{'return':'both'}"),
		    "neither \"before\" nor \"after\"");
	ck_contains(find_one_and(f, AND_DELETE, "c", "{}", NULL, "{'return':'after'}"), "there is no \"return\" here");
	ck_contains(delete_from(f, true, "c", NULL), "the filter: it is null");
	ck_contains(bulk(f, "c", "{}", NULL), "the operations: they are not a list");
	ck_contains(bulk(f, "c", "[{'insertone':{'document':{}}}]", NULL), "did you mean \"insert_one\"?");
	ck_contains(bulk(f, "c", "[{'insert_one':{'document':{}},'x':{}}]", NULL), "it is not {insert_one");
	ck_contains(bulk(f, "c", "[{'insert_one':{'doc':{}}}]", NULL), "insert_one is {document}");
	ck_contains(bulk(f, "c", "[{'update_one':{'filter':{},'update':{'$set':{'a':1}},'upser':true}}]", NULL),
		    "did you mean \"upsert\"?");
	ck_contains(bulk(f, "c", "[{'delete_one':{}}]", NULL), "the filter: it is null");
	ck_assert_int_eq(writes(f), 0);
}

/* Whatever a stranger sends, he brings data. */
MONGO_TEST(mistakes_of_a_request)
{
	struct result *r = NULL;
	struct error e = ERROR_INIT;

	ck_contains(insert_one(f, "c", sent(f, "{'a':{'$gt':1}}", true)),
		    "! 400 : the document: it has a member whose");
	ck_contains(insert_one(f, "c", sent(f, "[]", true)), "! 400");
	ck_contains(insert_one(f, "c", sent(f, "null", true)), "! 400");
	ck_contains(insert_many(f, "c", sent(f, "[{'$a':1}]", false), NULL), "! 400");
	ck_contains(delete_from(f, true, "c", sent(f, "{'a':1}", false)),
		    "! 400 : the filter: it is an object or array");
	ck_contains(delete_from(f, true, "c", sent(f, "{'a':{'$ne':1}}", true)), "! 400");
	ck_contains(delete_from(f, true, "c", made(f, "{'~a':{'$ne':1}}")),
		    "! 400 : the filter: a is an object or array");
	ck_contains(delete_from(f, true, "c", made(f, "{'~a':[1]}")), "! 400");
	ck_contains(delete_from(f, true, "c", made(f, "{'$where':'~true'}")), "! 500 : the filter: $where: no value");
	ck_contains(update(f, UPDATE_ONE, "c", "{}", "{'~$set':{'a':1}}", NULL), "! 400");
	ck_assert_int_lt(mongo_update(target(f, "c", 0), UPDATE_ONE, made(f, "{}"), sent(f, "{'$set':{'a':1}}", true),
				      NULL, &r, &e),
			 0);
	ck_assert_int_eq(e.status, 400);
	ck_assert_int_lt(mongo_update(target(f, "c", 0), UPDATE_ONE, made(f, "{}"), sent(f, "[{'$set':{'a':1}}]", true),
				      NULL, &r, &e),
			 0);
	ck_assert_int_eq(e.status, 400);
	ck_assert_int_lt(mongo_bulk(target(f, "c", 0), sent(f, "[{'delete_many':{'filter':{}}}]", true), NULL, &r, &e),
			 0);
	ck_assert_int_eq(writes(f), 0);
	/* Data it is where an expression would name a field. */
	update(f, UPDATE_ONE, "c", "{}", "[{'$set':{'a':'~$secret','b':'$own','c':['~$x']}}]", NULL);
	ck_contains(last_write(f),
		    "{ \"a\" : { \"$literal\" : \"$secret\" }, \"b\" : \"$own\", \"c\" : [ { \"$literal\" : "
		    "\"$x\" } ] }");
	update(f, UPDATE_ONE, "c", "{}", "[{'$set':{'a':'^$secret','b':'$own'}}]", NULL);
	ck_contains(last_write(f), "{ \"a\" : { \"$literal\" : \"$secret\" }, \"b\" : \"$own\" }");
	/* And as it is where it is none. */
	update(f, UPDATE_ONE, "c", "{'a':'~$x'}", "{'$set':{'a':'~$y'}}", NULL);
	ck_contains(last_write(f), "{ \"q\" : { \"a\" : \"$x\" }, \"u\" : { \"$set\" : { \"a\" : \"$y\" } } }");
	/* A declared object, without operators, is one. */
	ck_assert_str_eq(delete_from(f, true, "c", sent(f, "{'a':1}", true)), "{\"deleted_count\":1}");
}

/* A form is a document whose names are a stranger's. */
MONGO_TEST(names_of_a_request)
{
	struct value_member member = {.name = "$where", .len = 6, .value = value_string("x", 1)};
	struct value form = {.kind = VALUE_DOCUMENT, .count = 1, .members = &member, .from_request = true};
	struct value_member outer = {.name = "a", .len = 1, .value = form};
	struct value filter = {.kind = VALUE_DOCUMENT, .count = 1, .members = &outer};

	ck_contains(delete_from(f, true, "c", &form), "! 400");
	ck_contains(delete_from(f, true, "c", &filter), "! 400");
	ck_contains(insert_one(f, "c", &form), "! 400");
	member.name = "where";
	member.len = 5;
	ck_contains(delete_from(f, true, "c", &form), "! 400");
	ck_contains(delete_from(f, true, "c", &filter), "! 400");
	ck_contains(insert_one(f, "c", &form), "inserted_id");
}

MONGO_TEST(documents_may_be_nested_deeply_but_not_without_end)
{
	struct buf text = BUF_INIT;

	for (int depth = 80; depth <= 160; depth += 80) {
		text.len = 0;
		for (int i = 0; i < depth; i++)
			buf_str(&text, i % 2 ? "[" : "{'a':");
		buf_str(&text, "1");
		for (int i = depth; i-- > 0;)
			buf_str(&text, i % 2 ? "]" : "}");
		ck_contains(insert_one(f, "c", made(f, buf_cstr(&text))),
			    depth == 80 ? "inserted_id" : "nested too deeply");
		ck_contains(insert_one(f, "c", sent(f, buf_cstr(&text), true)),
			    depth == 80 ? "inserted_id" : "nested too deeply");
	}
	buf_done(&text);
}

/* --- once, and never twice --- */

/* One write, on a connection that is cut somewhere: it is done or it fails, and is sent once at most. */
static bool write_cut(struct fixture *f, atomic_long *where, long n, int *unknown)
{
	struct result *result = NULL;
	struct error e = ERROR_INIT;

	cut_begin(f, where, n);
	int before = writes(f);
	int r = mongo_insert_one(target(f, "c", PATIENCE_US), made(f, "{'_id':1,'a':'some text'}"), &result, &e);
	bool cut = cut_end(f, where);
	settle();
	ck_assert_int_le(writes(f), before + 1);
	if (r < 0) {
		check_error(&e, r);
		bool said = strstr(e.what, "may or may not have happened");
		/* What the server has got is never said not to have happened. */
		ck_assert_msg(said || writes(f) == before, "after byte %ld: %s", n, e.what);
		*unknown += said;
	} else {
		ck_assert_int_eq(writes(f), before + 1);
		ck_assert_str_eq(told(f, r, &result, &e), "{\"inserted_id\":1}");
	}
	await_idle(f);
	return cut;
}

static void sweep_bytes(struct fixture *f, atomic_long *where)
{
	int unknown = 0;
	long n = 0;

	/* On a slow machine a cut may come too late to be seen: that alone is not the end. */
	for (int whole = 0; whole < 10; n++)
		whole = write_cut(f, where, n, &unknown) ? 0 : whole + 1;
	ck_assert_int_gt(n, 200);
	ck_assert_int_gt(unknown, 20);
}

MONGO_TEST(cut_after_each_byte_of_the_answer)
{
	sweep_bytes(f, &f->server.cut_after);
}

MONGO_TEST(cut_after_each_byte_of_the_request)
{
	sweep_bytes(f, &f->server.cut_requests);
}

MONGO_TEST(a_primary_that_steps_down_is_not_asked_again)
{
	ck_assert_str_eq(insert_one(f, "c", made(f, "{'_id':1}")), "{\"inserted_id\":1}");
	atomic_store(&f->server.not_primary, true);
	const char *said = insert_one(f, "c", made(f, "{'_id':1}"));
	ck_contains(said, "! 503 10107");
	ck_assert_ptr_null(strstr(said, "may or may not"));
	ck_assert_int_eq(writes(f), 2);
	atomic_store(&f->server.not_primary, false);
	ck_assert_str_eq(insert_one(f, "c", made(f, "{'_id':1}")), "{\"inserted_id\":1}");
	ck_assert_uint_eq(server_accepted(&f->server), 2);
}

MONGO_TEST(time_runs_out)
{
	struct result *result = NULL;
	struct error e = ERROR_INIT;

	ck_assert(await_ready(f, 1000));
	int r = mongo_insert_one(target(f, "hang", 50000), made(f, "{}"), &result, &e);
	ck_assert_int_eq(r, -ETIMEDOUT);
	ck_assert_int_eq(e.status, 504);
	ck_contains(e.what, "the write may or may not have happened");
	ck_contains(e.public, "The change may or may not have been made.");
	ck_assert_uint_eq(e.change, CHANGE_UNKNOWN);
	ck_assert_int_le(atomic_load(&f->server.last_max_time_ms), 50);
	ck_assert_int_gt(atomic_load(&f->server.last_max_time_ms), 20);
	deadline_t before = deadline_push(deadline_in_ms(50));
	r = mongo_find_one_and(target(f, "hang", 0), AND_DELETE, made(f, "{}"), NULL, NULL, &result, &e);
	deadline_pop(before);
	ck_assert_int_eq(r, -ETIMEDOUT);
	ck_contains(e.what, "the write may or may not have happened");
	ck_assert_int_eq(writes(f), 2);
}

struct one_write {
	struct fixture *f;
	struct error error;
	bool done;
};

static int write_one(void *arg)
{
	struct one_write *o = arg;
	struct result *result = NULL;

	o->error = ERROR_INIT;
	int r = mongo_insert_many(target(o->f, "c", PATIENCE_US), documents(o->f, 5, 10), NULL, &result, &o->error);
	if (r == 0)
		result_free(result);
	o->done = true;
	return r;
}

/* Cancel it after the task has run n times: three commands, and maybe a connection to be made. */
static void sweep_cancellation(struct fixture *f, bool warm)
{
	struct one_write o = {.f = f};
	int canceled = 0, n = 0, r;

	atomic_store(&f->server.statements_max, 2);
	lose_connections(f);
	for (bool finished = false; !finished; n += n > 60 ? n / 20 : 1) {
		if (warm)
			ck_assert_str_eq(insert_one(f, "c", made(f, "{'_id':1}")), "{\"inserted_id\":1}");
		else
			lose_connections(f);
		o.done = false;
		finished = cancel_in_turn(n, write_one, &o, &o.done, &r);
		ck_assert_msg(r == 0 || r == -ECANCELED, "%d: %d %s", n, r, o.error.what);
		canceled += r == -ECANCELED;
		await_idle(f);
	}
	ck_assert_int_gt(canceled, 1);
	ck_assert_str_eq(insert_one(f, "c", made(f, "{'_id':1}")), "{\"inserted_id\":1}");
}

MONGO_TEST(cancel_at_each_suspension)
{
	sweep_cancellation(f, true);
}

MONGO_TEST(cancel_at_each_suspension_while_connecting)
{
	sweep_cancellation(f, false);
}

/* --- sources that can't be written to --- */

/* What an insert says, of a source with these options in its URL. */
struct unwritable {
	struct fixture *f;
	const char *says;
};

static int unwritable_main(void *arg)
{
	struct unwritable *u = arg;

	fixture_open(u->f);
	ck_contains(insert_one(u->f, "c", made(u->f, "{}")), u->says);
	ck_contains(find_one_and(u->f, AND_DELETE, "c", "{}", NULL, NULL), u->says);
	ck_assert_int_eq(writes(u->f), 0);
	ck_assert_uint_eq(server_accepted(&u->f->server), 1);
	fixture_close(u->f);
	return 0;
}

static void check_unwritable(const char *options, bool secondary, const char *says)
{
	struct fixture *f = malloc(sizeof(*f));
	struct unwritable u = {f, says};

	fixture_config(f);
	atomic_store(&f->server.secondary, secondary);
	server_start(&f->server, 0);
	fixture_url(f, options);
	ck_assert_int_eq(loop_run_main(unwritable_main, &u), 0);
	server_stop(&f->server);
	fixture_done(f);
	free(f);
}

START_TEST(secondaries_are_not_written_to)
{
	check_unwritable("?readPreference=secondaryPreferred", true, "! 500 : the source's URL leads to a secondary");
}
END_TEST

static int promoted_main(void *arg)
{
	struct fixture *f = arg;
	const char *said = "";

	atomic_store(&f->server.secondary, true);
	fixture_open(f);
	ck_contains(insert_one(f, "c", made(f, "{}")), "! 500 : the source's URL leads to a secondary");
	atomic_store(&f->server.secondary, false);
	for (int i = 0; i < 1000 && strncmp(said, "{", 1) != 0; i++) {
		ck_assert_int_eq(task_sleep_ms(10), 0);
		said = insert_one(f, "c", made(f, "{}"));
	}
	ck_contains(said, "inserted_id");
	ck_assert_int_eq(writes(f), 1);
	ck_assert_uint_eq(server_accepted(&f->server), 2);
	fixture_close(f);
	return 0;
}

/* Its connections were opened before. */
MONGO_MAIN_TEST(a_secondary_that_becomes_the_primary, promoted_main)

START_TEST(writes_are_acknowledged)
{
	check_unwritable("?w=0", false, "! 500 : the source's URL asks for no answers to writes (w=0)");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("mongo writes");
	TCase *c = async_tcase(s, "writes");

	tcase_add_test(c, inserts);
	tcase_add_test(c, an_id_is_made);
	tcase_add_test(c, updates);
	tcase_add_test(c, deletes);
	tcase_add_test(c, find_and_modify);
	tcase_add_test(c, operations_of_all_kinds);
	tcase_add_test(c, many_statements_are_several_commands);
	tcase_add_test(c, large_documents_are_several_commands);
	tcase_add_test(c, the_largest_document);
	tcase_add_test(c, errors_have_statuses);
	tcase_add_test(c, a_failure_says_what_it_has_left);
	tcase_add_test(c, mistakes_of_the_handler);
	tcase_add_test(c, mistakes_of_a_request);
	tcase_add_test(c, names_of_a_request);
	tcase_add_test(c, documents_may_be_nested_deeply_but_not_without_end);
	tcase_add_test(c, secondaries_are_not_written_to);
	tcase_add_test(c, a_secondary_that_becomes_the_primary);
	tcase_add_test(c, writes_are_acknowledged);
	c = async_tcase(s, "once");
	tcase_add_test(c, cut_after_each_byte_of_the_answer);
	tcase_add_test(c, cut_after_each_byte_of_the_request);
	tcase_add_test(c, a_primary_that_steps_down_is_not_asked_again);
	tcase_add_test(c, time_runs_out);
	tcase_add_test(c, cancel_at_each_suspension);
	tcase_add_test(c, cancel_at_each_suspension_while_connecting);
	return run_suite(s);
}
