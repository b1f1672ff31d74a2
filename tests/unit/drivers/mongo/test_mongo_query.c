/* Operations on a scripted server: commands as they are sent, batches, what is expected, errors and their statuses. */
#include "drivers/mongo/calls/run.h"
#include "tests/unit/drivers/mongo/mongo_fixture.h"

static struct value text(const char *s)
{
	struct value v = value_string(s, strlen(s));
	v.from_request = true;
	return v;
}

MONGO_TEST(results_take_their_shape)
{
	ck_assert_str_eq(ask(f, "{ find: docs_3 }", NULL), "[{\"n\":0},{\"n\":1},{\"n\":2}]");
	ck_assert_str_eq(ask(f, "{ find: docs_0 }", NULL), "[]");
	ck_assert_str_eq(ask(f, "{ find_one: docs_1 }", NULL), "{\"n\":0}");
	ck_assert_str_eq(ask(f, "{ find_one: docs_0 }", NULL), "null");
	ck_assert_str_eq(ask(f, "{ find_one: docs_0, expect: one }", NULL), "! 404 ");
	ck_assert_str_eq(ask(f, "{ find: docs_1, expect: one }", NULL), "{\"n\":0}");
	ck_assert_str_eq(ask(f, "{ find: docs_2, expect: one }", NULL), "! 500 ");
	ck_assert_str_eq(ask(f, "{ find: docs_0, expect: maybe }", NULL), "null");
	ck_assert_str_eq(ask(f, "{ find: docs_1, expect: none }", NULL), "null");
	ck_assert_str_eq(ask(f, "{ aggregate: docs_1, pipeline: [] }", NULL), "[{\"n\":0}]");
	ck_assert_str_eq(ask(f, "{ aggregate: docs_2, pipeline: [], expect: one }", NULL), "! 500 ");
	ck_assert_str_eq(ask(f, "{ distinct: docs_1, key: a }", NULL), "[\"a\",2]");
	ck_assert_str_eq(ask(f, "{ count: anything }", NULL), "41");
	ck_assert_str_eq(ask(f, "{ count: docs_0, filter: { a: 1 } }", NULL), "0");
	ck_assert_uint_eq(strlen(ask(f, "{ find_one: nested_99 }", NULL)), 99 * strlen("{\"d\":}") + 2);
}

MONGO_TEST(commands_are_mongodb_s)
{
	struct value id = text("x");

	ck_assert_str_eq(ask(f, "{ find: docs_1, limit: 3 }", NULL), "[{\"n\":0}]");
	const char *sent = ask(f,
			       "{ find: echo, filter: { a: \"{id}\" }, projection: { a: 1 }, sort: { a: -1 }, "
			       "skip: 2, limit: 5 }",
			       &id);
	ck_assert_ptr_nonnull(strstr(sent, "[{\"find\":\"echo\",\"filter\":{\"a\":\"x\"},\"projection\":{\"a\":1},"
					   "\"sort\":{\"a\":-1},\"skip\":2,\"limit\":5,\"maxTimeMS\":"));
	ck_assert_ptr_nonnull(strstr(sent, "\"$db\":\"catalog\""));
	sent = ask(f, "{ find_one: echo }", NULL);
	ck_assert_ptr_nonnull(strstr(sent, "{\"find\":\"echo\",\"filter\":{},\"limit\":1,\"singleBatch\":true,"));
	sent = ask(f, "{ find: echo, expect: one }", NULL);
	ck_assert_ptr_nonnull(strstr(sent, "\"limit\":2,\"singleBatch\":true"));
	sent = ask(f, "{ aggregate: echo, pipeline: [ { $match: { a: \"{id}\" } } ] }", &id);
	ck_assert_ptr_nonnull(strstr(sent, "{\"aggregate\":\"echo\",\"pipeline\":[{\"$match\":{\"a\":\"x\"}}],"
					   "\"cursor\":{},\"maxTimeMS\":"));
}

MONGO_TEST(many_batches_are_one_array)
{
	struct buf json = BUF_INIT;
	struct error e;
	struct result *r;
	struct action *a = compile(f, "{ find: many_50_20 }");

	ck_assert_int_eq(run_result(f, a, NULL, 60000000, &r, &e), 0);
	ck_assert_uint_eq(r->rows, 1000);
	r->ops->render(r, &json);
	ck_assert_int_eq(strncmp(buf_cstr(&json), "[{\"n\":0},{\"n\":1},", 16), 0);
	struct path_segment each[] = {{.kind = PATH_EACH}, {.kind = PATH_MEMBER, .name = "n", .name_len = 1}};
	struct path path = {each, 2};
	struct value v = r->ops->get(r, &path, &f->arena);
	ck_assert_int_eq(v.kind, VALUE_LIST);
	ck_assert_uint_eq(v.count, 1000);
	ck_assert_int_eq(v.list[999].integer, 49);
	result_free(r);
	ck_assert_int_eq(atomic_load(&f->server.get_mores), 19);
	ck_assert_int_eq(atomic_load(&f->server.other_session), 0);
	buf_done(&json);
}

MONGO_TEST(a_cursor_that_is_not_wanted_is_closed)
{
	ck_assert_str_eq(ask(f, "{ aggregate: many_2_5, pipeline: [], expect: one }", NULL), "! 500 ");
	ck_assert_int_eq(atomic_load(&f->server.killed), 1);
	ck_assert_int_eq(atomic_load(&f->server.other_session), 0);
}

MONGO_TEST(limit_0_is_none_and_not_all)
{
	struct value zero = value_int(0), minus = value_int(-1), nothing = VALUE_OF_NULL, word = text("x");

	zero.from_request = minus.from_request = true;
	int before = atomic_load(&f->server.finds);
	ck_assert_str_eq(ask(f, "{ find: docs_3, limit: \"{n}\" }", &zero), "[]");
	ck_assert_str_eq(ask(f, "{ find: docs_3, limit: \"{n}\", expect: one }", &zero), "! 404 ");
	ck_assert_str_eq(ask(f, "{ find: docs_3, limit: \"{n}\", expect: maybe }", &zero), "null");
	ck_assert_str_eq(ask(f, "{ count: docs_3, limit: \"{n}\" }", &zero), "0");
	ck_assert_int_eq(atomic_load(&f->server.finds), before);
	ck_assert_str_eq(ask(f, "{ find: docs_3, limit: \"{n}\" }", &minus), "! 400 ");
	ck_assert_str_eq(ask(f, "{ find: docs_3, skip: \"{n}\" }", &word), "! 400 ");
	ck_assert_str_eq(ask(f, "{ find: docs_1, limit: \"{n}\" }", &nothing), "[{\"n\":0}]");
}

MONGO_TEST(errors_have_statuses)
{
	struct value from_request = text("x");

	ck_assert_str_eq(ask(f, "{ find: error_11000 }", NULL), "! 409 11000");
	ck_assert_str_eq(ask(f, "{ find: error_121 }", NULL), "! 422 121");
	ck_assert_str_eq(ask(f, "{ find: error_50 }", NULL), "! 504 50");
	ck_assert_str_eq(ask(f, "{ find: error_2 }", NULL), "! 500 2");
	ck_assert_str_eq(ask(f, "{ find: error_13 }", NULL), "! 500 13");
	ck_assert_str_eq(ask(f, "{ find: error_18 }", NULL), "! 503 18");
	ck_assert_str_eq(ask(f, "{ find: error_51091 }", NULL), "! 500 51091");
	ck_assert_str_eq(ask(f, "{ find: error_51091, filter: { a: \"{q}\" } }", &from_request), "! 400 51091");
	ck_assert_str_eq(ask(f, "{ find: error_99999 }", NULL), "! 500 99999");
	ck_assert_str_eq(ask(f, "{ find: nonsense }", NULL), "! 502 ");
	ck_assert_str_eq(ask(f, "{ distinct: nonsense, key: a }", NULL), "! 502 ");
	ck_assert_str_eq(ask(f, "{ find: docs_1 }", NULL), "[{\"n\":0}]");
}

MONGO_TEST(a_primary_that_steps_down_is_asked_again_once)
{
	ck_assert_str_eq(ask(f, "{ find: docs_1 }", NULL), "[{\"n\":0}]");
	int before = atomic_load(&f->server.finds);
	atomic_store(&f->server.not_primary, true);
	ck_assert_str_eq(ask(f, "{ find: docs_1 }", NULL), "! 503 10107");
	ck_assert_int_eq(atomic_load(&f->server.finds), before + 2);
	atomic_store(&f->server.not_primary, false);
	ck_assert_str_eq(ask(f, "{ find: docs_1 }", NULL), "[{\"n\":0}]");
	ck_assert_uint_eq(server_accepted(&f->server), 3);
}

MONGO_TEST(time_runs_out)
{
	struct buf json = BUF_INIT;
	struct error e;
	struct action *a = compile(f, "{ find: hang }");

	ck_assert(await_ready(f, 1000));
	int64_t begun = monotonic_us();
	ck_assert_int_eq(run_for(f, a, NULL, 500000, &json, &e), -ETIMEDOUT);
	ck_assert_int_eq(e.status, 504);
	ck_assert_int_lt(monotonic_us() - begun, 20000000);
	ck_assert_int_le(atomic_load(&f->server.last_max_time_ms), 500);
	ck_assert_int_gt(atomic_load(&f->server.last_max_time_ms), 0);
	/* And by the task's own. */
	deadline_t before = deadline_push(deadline_in_ms(50));
	ck_assert_int_eq(run_for(f, a, NULL, 0, &json, &e), -ETIMEDOUT);
	ck_assert_int_eq(e.status, 504);
	deadline_pop(before);
	ck_assert_str_eq(ask(f, "{ find: docs_1 }", NULL), "[{\"n\":0}]");
	buf_done(&json);
}

MONGO_TEST(paths_lead_into_documents)
{
	struct error e;
	struct result *r;
	struct action *a = compile(
		f, "{ find_one: echo, filter: { id: { $oid: 0123456789abcdef01234567 }, at: { $date: 2024-02-29 }, "
		   "d: 1.5, i: 3, s: x, b: true, z: null, l: [ 1, { a: 2 }, { a: [ 3, 4 ] } ] } }");
	static const struct {
		const char *path[4];
		const char *json;
	} cases[] = {
		{{"filter", "id"}, "\"0123456789abcdef01234567\""},
		{{"filter", "at"}, "\"2024-02-29T00:00:00.000Z\""},
		{{"filter", "d"}, "1.5"},
		{{"filter", "i"}, "3"},
		{{"filter", "s"}, "\"x\""},
		{{"filter", "b"}, "true"},
		{{"filter", "z"}, "null"},
		{{"filter", "none", "a"}, "null"},
		{{"filter", "i", "a"}, "null"},
		{{"filter", "l", "1"}, "{\"a\":2}"},
		{{"filter", "l", "9"}, "null"},
		{{"filter", "l", "*"}, "[1,{\"a\":2},{\"a\":[3,4]}]"},
		{{"filter", "s", "*"}, "[]"},
	};

	ck_assert_int_eq(run_result(f, a, NULL, 1000000, &r, &e), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct path_segment segments[4];
		struct path path = {.segments = segments};
		for (; path.count < 4 && cases[i].path[path.count]; path.count++) {
			const char *s = cases[i].path[path.count];
			segments[path.count] = (struct path_segment){.kind = *s == '*'   ? PATH_EACH
									     : *s <= '9' ? PATH_INDEX
											 : PATH_MEMBER,
								     .name = s,
								     .name_len = strlen(s),
								     .index = (uint32_t)atoi(s)};
		}
		struct value v = r->ops->get(r, &path, &f->arena);
		struct buf json = BUF_INIT;
		value_render(&v, &json);
		ck_assert_str_eq(buf_cstr(&json), cases[i].json);
		buf_done(&json);
	}
	result_free(r);
}

/* An ObjectId that one step brought goes into another step's document as one. */
MONGO_TEST(bson_survives_the_way_between_steps)
{
	struct error e;
	struct result *r;
	struct action *a = compile(f, "{ find_one: echo, filter: { id: { $oid: 0123456789abcdef01234567 } } }");
	struct path_segment way[] = {{.kind = PATH_MEMBER, .name = "filter", .name_len = 6},
				     {.kind = PATH_MEMBER, .name = "id", .name_len = 2}};
	struct path path = {way, 2};

	mongo_client_of(f->client)->json = MONGO_JSON_RELAXED;
	ck_assert_int_eq(run_result(f, a, NULL, 1000000, &r, &e), 0);
	struct value id = r->ops->get(r, &path, &f->arena);
	ck_assert_ptr_nonnull(strstr(ask(f, "{ find_one: echo, filter: { a: \"{id}\", b: \"x-{id}\" } }", &id),
				     "{\"a\":{\"$oid\":\"0123456789abcdef01234567\"},"
				     "\"b\":\"x-0123456789abcdef01234567\"}"));
	result_free(r);
}

MONGO_TEST(a_server_without_sessions_will_do)
{
	atomic_store(&f->server.old, true);
	server_drop_all(&f->server);
	ck_assert_str_eq(ask(f, "{ find: many_2_2 }", NULL), "[{\"n\":0},{\"n\":1},{\"n\":0},{\"n\":1}]");
}

static int read_concern_main(void *arg)
{
	struct fixture *f = arg;

	fixture_url(f, "?readConcernLevel=majority");
	fixture_open(f);
	const char *concern = "\"readConcern\":{\"level\":\"majority\"}";
	ck_assert_ptr_nonnull(strstr(ask(f, "{ find_one: echo }", NULL), concern));
	ck_assert_ptr_nonnull(strstr(ask(f, "{ aggregate: echo, pipeline: [] }", NULL), concern));
	ck_assert_str_eq(ask(f, "{ count: anything }", NULL), "41");
	ck_assert_str_eq(ask(f, "{ distinct: docs_1, key: a }", NULL), "[\"a\",2]");
	ck_assert_str_eq(ask(f, "{ find: many_1_2 }", NULL), "[{\"n\":0},{\"n\":0}]");
	ck_assert_str_eq(ask(f, "{ aggregate: many_2_5, pipeline: [], expect: one }", NULL), "! 500 ");
	ck_assert_int_eq(atomic_load(&f->server.killed), 1);
	ck_assert_uint_eq(server_accepted(&f->server), 1);
	fixture_close(f);
	return 0;
}

/* Only what reads collections has it: MongoDB refuses all else. */
MONGO_MAIN_TEST(a_read_concern_of_the_url, read_concern_main)

int main(void)
{
	Suite *s = suite_create("mongo query");
	TCase *c = async_tcase(s, "operations");

	tcase_add_test(c, results_take_their_shape);
	tcase_add_test(c, commands_are_mongodb_s);
	tcase_add_test(c, many_batches_are_one_array);
	tcase_add_test(c, a_cursor_that_is_not_wanted_is_closed);
	tcase_add_test(c, limit_0_is_none_and_not_all);
	tcase_add_test(c, errors_have_statuses);
	tcase_add_test(c, a_primary_that_steps_down_is_asked_again_once);
	tcase_add_test(c, time_runs_out);
	tcase_add_test(c, paths_lead_into_documents);
	tcase_add_test(c, bson_survives_the_way_between_steps);
	tcase_add_test(c, a_server_without_sessions_will_do);
	tcase_add_test(c, a_read_concern_of_the_url);
	return run_suite(s);
}
