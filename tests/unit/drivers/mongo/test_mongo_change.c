/* Declared writes on a scripted server: the commands that they are, merge patches, what is refused before anything is
 * sent, and what a late or lost answer means. */
#include "drivers/mongo/calls/change.h"
#include "tests/unit/drivers/mongo/mongo_values.h"

/* The last command's statements, without its blanks. */
static const char *last_write(struct fixture *f)
{
	char *copy = arena_strdup(&f->arena, ""), *to;

	pthread_mutex_lock(&f->server.lock);
	copy = arena_strdup(&f->arena, f->server.last);
	pthread_mutex_unlock(&f->server.lock);
	to = copy;
	for (const char *p = copy; *p; p++) {
		if (*p != ' ')
			*to++ = *p;
	}
	*to = '\0';
	return copy;
}

/* Run the step; what was sent must be `command`, with ' for ". */
static void check_sent(struct fixture *f, const char *step, const struct value *args, const char *command)
{
	char *expected = arena_strdup(&f->arena, command);
	const char *result = ask(f, step, args);

	for (char *p = expected; *p; p++)
		*p = *p == '\'' ? '"' : *p;
	ck_assert_msg(*result != '!', "%s: %s", step, result);
	ck_assert_msg(strstr(last_write(f), expected) != NULL, "%s: %s", step, last_write(f));
}

MONGO_TEST(writes_are_mongodb_s_commands)
{
	const struct value *body = sent(f, "{'a':{'b':'$x'}}", false), *id = sent(f, "'7'", false);

	check_sent(f, "{ insert_one: c, document: { _id: 1, a: [ \"{id}\", { $oid: 0123456789abcdef01234567 } ] } }",
		   id, "'documents':[{'_id':1,'a':['7',{'$oid':'0123456789abcdef01234567'}]}],'ordered':true}");
	check_sent(f, "{ insert_many: c, documents: [ { _id: 1 }, { _id: 2 } ], ordered: false }", NULL,
		   "'documents':[{'_id':1},{'_id':2}],'ordered':false}");
	check_sent(f, "{ update_one: c, filter: { a: \"{id}\" }, update: { $set: { a: \"{id}\" } }, upsert: true }", id,
		   "{'q':{'a':'7'},'u':{'$set':{'a':'7'}},'upsert':true}");
	check_sent(f, "{ update_one: c, filter: {}, update: { $set: \"{body}\", $unset: { z: 1 } } }", body,
		   "{'q':{},'u':{'$set':{'a':{'b':'$x'}},'$unset':{'z':1}}}");
	check_sent(f,
		   "{ update_many: c, filter: {}, update: { $inc: { \"g.$[e].n\": 1 } }, array_filters: [ { e.a: "
		   "\"{id}\" } ], hint: a_1 }",
		   id, "'arrayFilters':[{'e.a':'7'}],'hint':'a_1','multi':true}");
	/* In a pipeline a value is a value, whatever it looks like. */
	check_sent(f, "{ update_one: c, filter: {}, update: [ { $set: { a: $b, c: \"{body}\" } } ] }",
		   sent(f, "{'b':1}", true), "'u':[{'$set':{'a':'$b','c':{'$literal':{'b':1}}}}]");
	check_sent(f, "{ update_one: c, filter: {}, update: [ { $replaceWith: \"{body}\" } ] }",
		   sent(f, "{'b':'$x'}", true), "'u':[{'$replaceWith':{'$literal':{'b':'$x'}}}]");
	check_sent(f, "{ replace_one: c, filter: { _id: 1 }, replacement: \"{body}\", hint: { _id: 1 } }", body,
		   "{'q':{'_id':1},'u':{'a':{'b':'$x'}},'hint':{'_id':1}}");
	check_sent(f, "{ delete_one: c, filter: { a: 1 } }", NULL, "{'q':{'a':1},'limit':1}");
	check_sent(f, "{ delete_many: c, filter: { a: 1 }, hint: a_1 }", NULL, "{'q':{'a':1},'hint':'a_1','limit':0}");
	check_sent(f,
		   "{ find_one_and_update: c, filter: { a: 1 }, update: { $inc: { n: 1 } }, sort: { a: -1 }, "
		   "projection: { n: 1 }, return: after, upsert: true }",
		   NULL,
		   "{'findAndModify':'c','query':{'a':1},'update':{'$inc':{'n':1}},'upsert':true,'fields':{'n':1},"
		   "'sort':{'a':-1},'new':true");
	check_sent(f, "{ find_one_and_delete: c, filter: { a: 1 } }", NULL, "'query':{'a':1},'remove':true");
}

MONGO_TEST(a_write_brings_what_it_did)
{
	ck_assert_str_eq(ask(f, "{ insert_one: c, document: { _id: x } }", NULL), "{\"inserted_id\":\"x\"}");
	ck_assert_str_eq(ask(f, "{ insert_one: c, document: { _id: x }, expect: none }", NULL), "null");
	ck_assert_str_eq(ask(f, "{ insert_many: c, documents: [ { _id: 1 }, { _id: 2 } ] }", NULL),
			 "{\"inserted_count\":2,\"inserted_ids\":[1,2]}");
	ck_assert_str_eq(ask(f, "{ update_one: c, filter: {}, update: { $set: { a: 1 } } }", NULL),
			 "{\"matched_count\":1,\"modified_count\":1,\"upserted_id\":null}");
	ck_assert_str_eq(ask(f, "{ delete_many: c, filter: {} }", NULL), "{\"deleted_count\":1}");
	ck_assert_str_eq(ask(f, "{ find_one_and_delete: docs_0, filter: {} }", NULL), "null");
	ck_assert_str_eq(ask(f, "{ find_one_and_delete: docs_0, filter: {}, expect: one }", NULL), "! 404 ");
	ck_assert_str_eq(ask(f, "{ insert_one: error_11000, document: {} }", NULL), "! 409 11000");
	ck_assert_str_eq(ask(f, "{ insert_one: concern, document: {} }", NULL), "! 502 64");
}

/* --- merge patches --- */

MONGO_TEST(a_flat_patch_is_set_and_unset)
{
	const char *step = "{ update_one: c, filter: { _id: 1 }, update: { merge: \"{body}\" }, upsert: true }";

	check_sent(f, step, sent(f, "{'a':1,'b':null,'c':[null,{'d':null}]}", false),
		   "{'q':{'_id':1},'u':{'$set':{'a':1,'c':[null,{'d':null}]},'$unset':{'b':''}},'upsert':true}");
	check_sent(f, step, sent(f, "{'b':null}", false), "'u':{'$unset':{'b':''}}");
	check_sent(f, "{ update_one: c, filter: {}, update: { merge: { a: \"{x}\", b: } } }", sent(f, "'$c'", false),
		   "'u':{'$set':{'a':'$c'},'$unset':{'b':''}}");
}

/* The first update matches nothing. */
static enum script matches_none(struct server *s, const char *name, const bson_t *command, bson_t *reply)
{
	(void)command;
	if (strcmp(name, "update") != 0 || atomic_fetch_add((atomic_int *)s->script_state, 1) > 0)
		return SCRIPT_NOTHING;
	BSON_APPEND_INT32(reply, "n", 0);
	BSON_APPEND_INT32(reply, "nModified", 0);
	return SCRIPT_ANSWER;
}

MONGO_TEST(a_patch_with_objects_is_guarded_and_then_a_pipeline)
{
	const char *step = "{ update_one: c, filter: { _id: 1 }, update: { merge: \"{body}\" }, upsert: true }";
	atomic_int updates = 0;

	check_sent(
		f, step, sent(f, "{'a':{'b':1},'n':{'x':null}}", false),
		"{'q':{'$and':[{'_id':1},{'$or':[{'a':{'$exists':false}},{'a':{'$type':'object','$not':{'$type':'array'"
		"}}"
		"}]},{'n':{'$type':'object','$not':{'$type':'array'}}}]},'u':{'$set':{'a.b':1},'$unset':{'n.x':''}}}");
	ck_assert_ptr_null(strstr(last_write(f), "upsert"));
	f->server.script_state = &updates;
	f->server.script = matches_none;
	check_sent(
		f, step, sent(f, "{'a':{'b':{'c':'$x','d':null}},'e':2}", false),
		"{'q':{'_id':1},'u':[{'$set':{'a':{'$cond':[{'$eq':[{'$type':'$a'},'object']},'$a',{'$literal':{}}]}}},"
		"{'$set':{'a.b':{'$cond':[{'$eq':[{'$type':'$a.b'},'object']},'$a.b',{'$literal':{}}]}}},"
		"{'$set':{'a.b.c':{'$literal':'$x'},'e':{'$literal':2}}},{'$unset':['a.b.d']}],'upsert':true}");
	ck_assert_int_eq(atomic_load(&updates), 2);
	f->server.script = NULL;
}

static const char *const hostile[] = {"{'$set':1}",
				      "{'a.b':1}",
				      "{'':1}",
				      "{'a':{'$gt':1}}",
				      "{'a':{'b.c':1}}",
				      "{'a':[{'':1}]}",
				      "{'a\\u0000':1}",
				      "{'_id':1}",
				      "[1]",
				      "1",
				      "null"};

MONGO_TEST(names_of_a_request_are_refused_before_anything_is_sent)
{
	int before = atomic_load(&f->server.writes);

	for (size_t i = 0; i < ARRAY_SIZE(hostile); i++) {
		const struct value *body = sent(f, hostile[i], true);
		ck_assert_str_eq(ask(f, "{ update_one: c, filter: {}, update: { merge: \"{body}\" } }", body),
				 "! 400 ");
		if (strcmp(hostile[i], "{'_id':1}") != 0)
			ck_assert_str_eq(ask(f, "{ update_one: c, filter: {}, update: { $set: \"{body}\" } }", body),
					 "! 400 ");
	}
	ck_assert_int_eq(atomic_load(&f->server.writes), before);
}

/* --- once, and how it ended --- */

static int change_of(struct fixture *f, const char *step, int64_t timeout_us, struct error *e)
{
	struct buf json = BUF_INIT;

	*e = ERROR_INIT;
	int r = run_for(f, compile(f, step), NULL, timeout_us, &json, e);
	buf_done(&json);
	return r;
}

MONGO_TEST(a_failure_says_what_it_has_left)
{
	struct error e;

	ck_assert_int_eq(change_of(f, "{ insert_many: bad_1_11000, documents: [ {}, {}, {} ] }", 0, &e), -EEXIST);
	ck_assert_int_eq(e.change, CHANGE_PARTIAL);
	ck_assert_str_eq(e.members,
			 "\"inserted_count\":1,\"errors\":[{\"pointer\":\"#/1\",\"detail\":\"A document with "
			 "this key exists already.\",\"code\":\"11000\"}]");
	ck_assert_int_eq(change_of(f, "{ insert_many: bad_0_11000, documents: [ {}, {} ] }", 0, &e), -EEXIST);
	ck_assert_int_eq(e.change, CHANGE_NONE);
	ck_assert_int_eq(change_of(f, "{ update_one: concern, filter: {}, update: { $set: { a: 1 } } }", 0, &e), -EIO);
	ck_assert_int_eq(e.change, CHANGE_UNKNOWN);
	int before = atomic_load(&f->server.writes);
	ck_assert_int_eq(change_of(f, "{ delete_one: hang, filter: {} }", 50000, &e), -ETIMEDOUT);
	ck_assert_int_eq(e.change, CHANGE_UNKNOWN);
	ck_assert_int_eq(e.status, 504);
	ck_assert_int_eq(atomic_load(&f->server.writes), before + 1);
	/* MongoDB takes nothing back. */
	ck_assert_int_eq(change_of(f, "{ delete_many: c, filter: {}, affected: 2 }", 0, &e), -EMLINK);
	ck_assert_int_eq(e.status, 409);
	ck_assert_int_eq(e.change, CHANGE_PARTIAL);
	ck_assert_int_eq(change_of(f, "{ find_one_and_delete: docs_0, filter: {}, affected: 1 }", 0, &e), -ENOENT);
	ck_assert_int_eq(e.change, CHANGE_NONE);
}

/* Answer once the step's deadline has passed. */
static enum script is_late(struct server *s, const char *name, const bson_t *command, bson_t *reply)
{
	(void)s, (void)command, (void)reply;
	if (strcmp(name, "delete") == 0)
		usleep(60000);
	return SCRIPT_NOTHING;
}

MONGO_TEST(an_answer_just_behind_the_deadline_counts)
{
	struct error e;
	int r = -1;

	f->server.script = is_late;
	/* On a machine that is busy the answer may come after the server's last moment, too. */
	for (int i = 0; i < 50 && r < 0; i++) {
		r = change_of(f, "{ delete_one: c, filter: {} }", 30000, &e);
		ck_assert(r == 0 || (e.change == CHANGE_UNKNOWN && e.status == 504) || e.change == CHANGE_NONE);
	}
	ck_assert_int_eq(r, 0);
	f->server.script = NULL;
}

int main(void)
{
	Suite *s = suite_create("mongo change");
	TCase *c = async_tcase(s, "change");

	tcase_add_test(c, writes_are_mongodb_s_commands);
	tcase_add_test(c, a_write_brings_what_it_did);
	tcase_add_test(c, a_flat_patch_is_set_and_unset);
	tcase_add_test(c, a_patch_with_objects_is_guarded_and_then_a_pipeline);
	tcase_add_test(c, names_of_a_request_are_refused_before_anything_is_sent);
	tcase_add_test(c, a_failure_says_what_it_has_left);
	tcase_add_test(c, an_answer_just_behind_the_deadline_counts);
	return run_suite(s);
}
