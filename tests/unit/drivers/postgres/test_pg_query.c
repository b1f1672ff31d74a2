/* One statement at a time: rows, parameters, expectations, errors. */
#include "drivers/postgres/statements/steps.h"
#include "tests/unit/drivers/postgres/postgres_fixture.h"

PG_TEST(a_row_is_an_object)
{
	ck_assert_str_eq(ask(f, EXPECT_ONE, "select 1 as id, 'Ada' as name, null as nothing", NULL),
			 "{\"id\":1,\"name\":\"Ada\",\"nothing\":null}");
	ck_assert_str_eq(ask(f, EXPECT_MANY, "select n from generate_series(1, 3) n", NULL),
			 "[{\"n\":1},{\"n\":2},{\"n\":3}]");
	ck_assert_str_eq(ask(f, EXPECT_MANY, "select 1 where false", NULL), "[]");
	ck_assert_str_eq(ask(f, EXPECT_MAYBE, "select 1 where false", NULL), "null");
	ck_assert_str_eq(ask(f, EXPECT_VALUE, "select 42", NULL), "42");
	ck_assert_str_eq(ask(f, EXPECT_VALUE, "select 42 where false", NULL), "null");
	ck_assert_str_eq(ask(f, EXPECT_NONE, "select 42", NULL), "null");
}

static struct value text(const char *s)
{
	struct value v = value_string(s, strlen(s));
	v.from_request = true;
	return v;
}

static struct value parsed(struct fixture *f, const char *json)
{
	struct json *tree;
	char why[100];
	ck_assert_int_eq(json_parse(&tree, &f->arena, json, strlen(json), 64, why, sizeof(why)), 0);
	struct value v = value_from_json(tree);
	v.from_request = true;
	return v;
}

PG_TEST(parameters_are_typed_by_the_server)
{
	struct value v[3] = {value_int(7), text("7"), VALUE_OF_NULL};
	ck_assert_str_eq(ask(f, EXPECT_ONE, "select {a}::int + 1 as x, {b}::int8 * 2 as y, {c}::text as z", v),
			 "{\"x\":8,\"y\":14,\"z\":null}");
	v[0] = text("1.50");
	ck_assert_str_eq(ask(f, EXPECT_VALUE, "select {a}::numeric", v), "1.50");
	ck_assert_str_eq(
		ask(f, EXPECT_VALUE, "select date '2024-01-31' + {a}::interval", (struct value[]){text("1 day")}),
		"\"2024-02-01T00:00:00\"");
	v[0] = value_bool(true);
	ck_assert_str_eq(ask(f, EXPECT_VALUE, "select not {a}", v), "false");
	v[0] = text("o'; drop table t; --");
	ck_assert_str_eq(ask(f, EXPECT_VALUE, "select {a}::text", v), "\"o'; drop table t; --\"");
	v[0] = value_int(2);
	ck_assert_str_eq(ask(f, EXPECT_MANY, "select n from generate_series(1, 5) n order by n limit{a}", v),
			 "[{\"n\":1},{\"n\":2}]");
}

PG_TEST(arrays_and_json_bind_by_their_type)
{
	struct value list[] = {value_int(3), VALUE_OF_NULL, value_int(1)};
	struct value v = {.kind = VALUE_LIST, .count = 3, .list = list};
	ck_assert_str_eq(ask(f, EXPECT_MANY, "select n from generate_series(1, 5) n where n = any({a}) order by n", &v),
			 "[{\"n\":1},{\"n\":3}]");
	struct value texts[] = {text("a\"b"), text("c\\d"), text("e,f"), text("NULL"), text(""), text("{")};
	v = (struct value){.kind = VALUE_LIST, .count = 6, .list = texts};
	ck_assert_str_eq(ask(f, EXPECT_VALUE, "select {a}::text[]", &v),
			 "[\"a\\\"b\",\"c\\\\d\",\"e,f\",\"NULL\",\"\",\"{\"]");
	v = (struct value){.kind = VALUE_LIST, .count = 0, .list = texts};
	ck_assert_str_eq(ask(f, EXPECT_VALUE, "select {a}::int[]", &v), "[]");
	v = parsed(f, "[[1,2],[3,null]]");
	ck_assert_str_eq(ask(f, EXPECT_VALUE, "select {a}::int[]", &v), "[[1,2],[3,null]]");
	v = parsed(f, "[{\"a\": 1}, {\"b\": [true, \"x\\\"y\"]}]");
	ck_assert_str_eq(ask(f, EXPECT_VALUE, "select {a}::jsonb", &v), "[{\"a\": 1}, {\"b\": [true, \"x\\\"y\"]}]");
	ck_assert_str_eq(ask(f, EXPECT_VALUE, "select {a}::jsonb[]", &v), "[{\"a\": 1},{\"b\": [true, \"x\\\"y\"]}]");
	ck_assert_str_eq(ask(f, EXPECT_VALUE, "select {a}::text", &v),
			 "\"[{\\\"a\\\":1},{\\\"b\\\":[true,\\\"x\\\\\\\"y\\\"]}]\"");
	v = parsed(f, "{\"a\": {\"b\": 1.0}}");
	ck_assert_str_eq(ask(f, EXPECT_VALUE, "select {a}::jsonb -> 'a'", &v), "{\"b\": 1.0}");
	v = parsed(f, "[[[[[[[1]]]]]]]");
	ck_assert_ptr_nonnull(strstr(ask(f, EXPECT_VALUE, "select {a}::int[]", &v), "! 400"));
}

/* What handlers put together. */
PG_TEST(documents_and_bytes_bind_by_their_type)
{
	struct value raw = value_bytes_of("\0'\377", 3), raws[] = {raw, VALUE_OF_NULL};
	struct value list = {.kind = VALUE_LIST, .count = 2, .list = raws};
	struct value_member inner[] = {{.name = "b\"c", .len = 3, .value = text("x\\y")}};
	struct value doc = {.kind = VALUE_DOCUMENT, .count = 1, .members = inner}, docs[] = {doc, doc};
	struct value both = {.kind = VALUE_LIST, .count = 2, .list = docs};
	struct value_member outer[] = {{.name = "a", .len = 1, .value = both}, {.name = "r", .len = 1, .value = raw}};
	struct value v = {.kind = VALUE_DOCUMENT, .count = 2, .members = outer};

	ck_assert_str_eq(ask(f, EXPECT_VALUE, "select {a}::jsonb -> 'a' -> 1", &v), "{\"b\\\"c\": \"x\\\\y\"}");
	ck_assert_str_eq(ask(f, EXPECT_VALUE, "select {a}::json ->> 'r'", &v), "\"ACf/\"");
	ck_assert_str_eq(ask(f, EXPECT_VALUE, "select {a}::text", &doc), "\"{\\\"b\\\\\\\"c\\\":\\\"x\\\\\\\\y\\\"}\"");
	ck_assert_str_eq(ask(f, EXPECT_VALUE, "select ({a}::jsonb[])[2] ->> 'b\"c'", &both), "\"x\\\\y\"");
	ck_assert_str_eq(ask(f, EXPECT_VALUE, "select {a}::jsonb -> 0 ->> 'b\"c'", &both), "\"x\\\\y\"");
	ck_assert_str_eq(ask(f, EXPECT_VALUE, "select {a}::bytea = '\\x0027ff'", &raw), "true");
	ck_assert_str_eq(ask(f, EXPECT_VALUE, "select ({a}::bytea[])[1] = '\\x0027ff'", &list), "true");
	ck_assert_ptr_nonnull(strstr(ask(f, EXPECT_VALUE, "select {a}::text", &raw), "bytea"));
	ck_assert_ptr_nonnull(strstr(ask(f, EXPECT_VALUE, "select {a}::text[]", &list), "bytea"));
}

/* Where the server can't tell a parameter's type, its declared one counts; where it can, that is not used. */
PG_TEST(declared_types_are_the_last_resort)
{
	static struct config_parameter declared[] = {
		{.name = "q", .schema.type = TYPE_STRING},
		{.name = "n", .schema.type = TYPE_INTEGER},
		{.name = "day", .schema.type = TYPE_STRING},
		{.name = "tags", .schema.type = TYPE_ARRAY},
	};
	f->endpoint = (struct config_endpoint){.parameters = declared, .parameter_count = 4};
	struct value v[3] = {VALUE_OF_NULL, text("2024-01-01"), VALUE_OF_NULL};
	ck_assert_str_eq(
		ask(f, EXPECT_MANY,
		    "select 1 as x where ({q} is null or 'a' = {q}) and date '2024-01-01' >= {day} and {n} is null", v),
		"[{\"x\":1}]");
	v[0] = text("b");
	ck_assert_str_eq(
		ask(f, EXPECT_MANY,
		    "select 1 as x where ({q} is null or 'a' = {q}) and date '2024-01-01' >= {day} and {n} is null", v),
		"[]");
	v[0] = value_int(5);
	ck_assert_str_eq(ask(f, EXPECT_VALUE, "select {n}", v), "\"5\"");
	v[0] = parsed(f, "[\"x\",\"y\"]");
	ck_assert_str_eq(ask(f, EXPECT_VALUE, "select {tags} is null or 'x' = any({tags})", v), "true");
}

PG_TEST(expectations_are_kept)
{
	ck_assert_ptr_nonnull(strstr(ask(f, EXPECT_ONE, "select 1 where false", NULL), "! 404"));
	ck_assert_ptr_nonnull(strstr(ask(f, EXPECT_ONE, "values (1), (2)", NULL), "! 500"));
	ck_assert_ptr_nonnull(strstr(ask(f, EXPECT_MAYBE, "values (1), (2)", NULL), "! 500"));
	ck_assert_ptr_nonnull(strstr(ask(f, EXPECT_VALUE, "values (1), (2)", NULL), "! 500"));
	ck_assert_ptr_nonnull(strstr(ask(f, EXPECT_VALUE, "select 1, 2", NULL), "! 500"));
	ck_assert_ptr_nonnull(strstr(ask(f, EXPECT_VALUE, "select", NULL), "! 500"));
	ck_assert_str_eq(ask(f, EXPECT_MANY, "select from generate_series(1, 2)", NULL), "[{},{}]");
}

static const struct {
	const char *sql, *outcome;
	bool parameter;
} failures[] = {
	{"select nothing from nowhere", "! 500 42P01", false},
	{"selec", "! 500 42601", false},
	{"select 1/0", "! 500 22012", false},
	{"select 1/{a}::int", "! 400 22012", true},
	{"select ({a} || 'x')::int", "! 400 22P02", true},
	{"select {a}::int2 * 100000::int2", "! 400 22003", true},
	{"insert into t values (5)", "! 500 25006", false},
	{"select nextval('s')", "! 500 25006", false},
	{"select raise('23505')", "! 409 23505", false},
	{"select raise('23503')", "! 409 23503", false},
	{"select raise('23502')", "! 422 23502", false},
	{"select raise('23514')", "! 422 23514", false},
	{"select raise('23P01')", "! 422 23P01", false},
	{"select raise('40001')", "! 503 40001", false},
	{"select raise('40P01')", "! 503 40P01", false},
	{"select raise('53200')", "! 503 53200", false},
	{"select raise('57P03')", "! 503 57P03", false},
	{"select raise('42501')", "! 500 42501", false},
	{"select raise('XX000')", "! 502 XX000", false},
	{"select raise('P0001')", "! 422 P0001", false},
	{"select raise('0A000')", "! 500 0A000", false},
	{"select raise('26000')", "! 500 26000", false},
};

PG_TEST(errors_have_their_status)
{
	struct value zero = text("0");
	for (size_t i = 0; i < ARRAY_SIZE(failures); i++) {
		const char *got = ask(f, EXPECT_MANY, failures[i].sql, failures[i].parameter ? &zero : NULL);
		ck_assert_msg(strncmp(got, failures[i].outcome, strlen(failures[i].outcome)) == 0, "%s: %s",
			      failures[i].sql, got);
		ck_assert_str_eq(ask(f, EXPECT_VALUE, "select 1", NULL), "1");
	}
}

PG_TEST(the_statement_timeout_is_the_backstop)
{
	struct fixture g;
	fixture_config(&g);
	server_url(g.url, sizeof(g.url), "&options=-c%20statement_timeout%3D30");
	fixture_open(&g);
	ck_assert_ptr_nonnull(strstr(ask(&g, EXPECT_MANY, "select pg_sleep(100)", NULL), "! 504 57014"));
	ck_assert_str_eq(ask(f, EXPECT_VALUE, "select current_setting('statement_timeout')", NULL), "\"11s\"");
	fixture_close(&g);
}

PG_TEST(bad_text_is_refused)
{
	struct value nul = value_string("a\0b", 3), bad = value_string("a\xff", 2);
	nul.from_request = bad.from_request = true;
	ck_assert_ptr_nonnull(strstr(ask(f, EXPECT_VALUE, "select {a}::text", &nul), "! 400"));
	ck_assert_ptr_nonnull(strstr(ask(f, EXPECT_VALUE, "select {a}::text", &bad), "! 400"));
	struct value list = {.kind = VALUE_LIST, .count = 1, .list = &nul, .from_request = true};
	ck_assert_ptr_nonnull(strstr(ask(f, EXPECT_VALUE, "select {a}::text[]", &list), "! 400"));
	/* Not a stranger's: nothing that he could do about it. */
	nul.from_request = false;
	ck_assert_ptr_nonnull(strstr(ask(f, EXPECT_VALUE, "select {a}::text", &nul), "! 500"));
	struct value json = parsed(f, "{\"a\": \"\\u0000\"}");
	ck_assert_ptr_nonnull(strstr(ask(f, EXPECT_VALUE, "select {a}::jsonb", &json), "! 400 22P05"));
}

PG_TEST(writes_are_committed_or_not_at_all)
{
	struct buf json = BUF_INIT;
	struct error e;
	struct action *insert = compile(f, "insert into t values ({a}) returning x", EXPECT_ONE, false);
	struct value v = value_int(10);
	ck_assert_int_eq(run_for(f, insert, &v, 0, &json, &e), 0);
	ck_assert_str_eq(buf_cstr(&json), "{\"x\":10}");
	/* The same again fails, and the connection is as good as new. */
	for (int i = 0; i < 10; i++) {
		ck_assert_int_lt(run_for(f, insert, &v, 0, &json, &e), 0);
		ck_assert_int_eq(e.status, 409);
		ck_assert_str_eq(ask(f, EXPECT_VALUE, "select count(*) from t where x = 10", NULL), "1");
	}
	/* A failure that comes with the COMMIT is a failure. */
	struct action *deferred = compile(f, "insert into later values (1)", EXPECT_NONE, false);
	ck_assert_int_lt(run_for(f, deferred, NULL, 0, &json, &e), 0);
	ck_assert_str_eq(e.code, "23503");
	ck_assert_int_eq(e.status, 409);
	struct action *none = compile(f, "delete from t where x = 10", EXPECT_DEFAULT, false);
	ck_assert_int_eq(run_for(f, none, NULL, 0, &json, &e), 0);
	ck_assert_str_eq(buf_cstr(&json), "{\"changed\":1}");
	ck_assert_str_eq(ask(f, EXPECT_VALUE, "select count(*) from t", NULL), "0");
	buf_done(&json);
}

static void change_the_table(struct fixture *f)
{
	struct buf json = BUF_INIT;
	struct error e;
	free(server_sql("create table c as select 1 as a"));
	struct action *a = compile(f, "select * from c", EXPECT_ONE, true);
	for (int i = 0; i < 20; i++) {
		ck_assert_int_eq(run_for(f, a, NULL, 0, &json, &e), 0);
		ck_assert_str_eq(buf_cstr(&json), "{\"a\":1}");
	}
	free(server_sql("alter table c add b text default 'two'"));
	ck_assert_int_eq(run_for(f, a, NULL, 0, &json, &e), 0);
	ck_assert_str_eq(buf_cstr(&json), "{\"a\":1,\"b\":\"two\"}");
	free(server_sql("alter table c alter a type bool using true"));
	ck_assert_int_eq(run_for(f, a, NULL, 0, &json, &e), 0);
	ck_assert_str_eq(buf_cstr(&json), "{\"a\":true,\"b\":\"two\"}");
	free(server_sql("drop table c"));
	ck_assert_int_lt(run_for(f, a, NULL, 0, &json, &e), 0);
	ck_assert_str_eq(e.code, "42P01");
	buf_done(&json);
}

PG_TEST(a_changed_table_is_learned_again)
{
	change_the_table(f);
}

/* Without a prepared statement the server says nothing about it. */
PG_TEST_OF(a_changed_table_is_noticed_without_prepare, false)
{
	change_the_table(f);
}

/* Somebody (a pooler) has thrown the prepared statements away. */
PG_TEST(lost_statements_are_prepared_again)
{
	struct buf json = BUF_INIT;
	struct error e;
	struct action *a = compile(f, "select 1 as a", EXPECT_ONE, true);
	struct action *forget = compile(f, "select forget()", EXPECT_MANY, true);
	for (int i = 0; i < 5; i++) {
		ck_assert_int_eq(run_for(f, a, NULL, 0, &json, &e), 0);
		run_for(f, forget, NULL, 0, &json, &e);
	}
	buf_done(&json);
}

static struct value follow(struct fixture *f, struct result *r, const struct path_segment *segments, size_t count)
{
	return r->ops->get(r, &(struct path){segments, count}, &f->arena);
}

#define MEMBER(s)                                                                                                      \
	{                                                                                                              \
		.kind = PATH_MEMBER, .name = (s), .name_len = sizeof(s) - 1                                            \
	}
#define INDEX(i)                                                                                                       \
	{                                                                                                              \
		.kind = PATH_INDEX, .index = (i)                                                                       \
	}
#define EACH                                                                                                           \
	{                                                                                                              \
		.kind = PATH_EACH                                                                                      \
	}
#define FOLLOW(...)                                                                                                    \
	follow(f, result, (struct path_segment[]){__VA_ARGS__},                                                        \
	       sizeof((struct path_segment[]){__VA_ARGS__}) / sizeof(struct path_segment))

static struct result *fetch(struct fixture *f, const char *sql, enum expect expect)
{
	struct run_options options = {.arena = &f->arena};
	struct result *result = NULL;
	struct error e = ERROR_INIT;
	struct action *a = compile(f, sql, expect, true);
	ck_assert_int_eq(postgres_driver.run(f->client, a, NULL, &options, &result, &e), 0);
	return result;
}

static void check_json(const struct value *v, const char *json)
{
	struct buf out = BUF_INIT;
	value_render(v, &out);
	ck_assert_str_eq(buf_cstr(&out), json);
	buf_done(&out);
}

PG_TEST(references_look_into_rows)
{
	struct result *result = fetch(
		f,
		"select n as i, n * 1.5 as d, 'r' || n as s, n = 1 as b, null as z, array[n, n + 1] as a, "
		"jsonb_build_object('k', jsonb_build_array(n)) as j, timestamp '2024-01-01' as t, "
		"'NaN'::float8 as nan, row(n) as r from generate_series(1, 3) n",
		EXPECT_MANY);
	ck_assert_uint_eq(result->rows, 3);
	struct value v = FOLLOW(INDEX(1), MEMBER("i"));
	ck_assert_int_eq(v.kind, VALUE_INT);
	ck_assert_int_eq(v.integer, 2);
	v = FOLLOW(INDEX(0), MEMBER("d"));
	ck_assert_int_eq(v.kind, VALUE_NUMBER);
	check_json(&v, "1.5");
	v = FOLLOW(INDEX(2), MEMBER("s"));
	ck_assert_int_eq(v.kind, VALUE_STRING);
	check_json(&v, "\"r3\"");
	v = FOLLOW(INDEX(0), MEMBER("b"));
	ck_assert_int_eq(v.kind, VALUE_BOOL);
	check_json(&v, "true");
	v = FOLLOW(INDEX(0), MEMBER("z"));
	ck_assert_int_eq(v.kind, VALUE_NULL);
	v = FOLLOW(INDEX(0), MEMBER("a"), INDEX(1));
	check_json(&v, "2");
	v = FOLLOW(INDEX(1), MEMBER("j"), MEMBER("k"), INDEX(0));
	check_json(&v, "2");
	v = FOLLOW(INDEX(1), MEMBER("j"));
	ck_assert_int_eq(v.kind, VALUE_JSON);
	v = FOLLOW(INDEX(0), MEMBER("t"));
	check_json(&v, "\"2024-01-01T00:00:00\"");
	v = FOLLOW(INDEX(0), MEMBER("nan"));
	check_json(&v, "\"NaN\"");
	v = FOLLOW(INDEX(0), MEMBER("r"), MEMBER("f1"));
	check_json(&v, "1");
	v = FOLLOW(EACH, MEMBER("i"));
	ck_assert_int_eq(v.kind, VALUE_LIST);
	check_json(&v, "[1,2,3]");
	v = FOLLOW(EACH, MEMBER("a"), EACH);
	check_json(&v, "[1,2,2,3,3,4]");
	v = FOLLOW(EACH, MEMBER("absent"));
	check_json(&v, "[null,null,null]");
	v = FOLLOW(INDEX(3));
	ck_assert_int_eq(v.kind, VALUE_NULL);
	v = FOLLOW(MEMBER("i"));
	ck_assert_int_eq(v.kind, VALUE_NULL);
	v = FOLLOW(INDEX(0), MEMBER("i"), MEMBER("deeper"));
	ck_assert_int_eq(v.kind, VALUE_NULL);
	v = FOLLOW(INDEX(0), INDEX(0));
	ck_assert_int_eq(v.kind, VALUE_NULL);
	v = follow(f, result, NULL, 0);
	ck_assert(!value_falsy(&v));
	result_free(result);
}

PG_TEST(references_look_into_what_is_no_list)
{
	struct result *result = fetch(f, "select 7 as n, row(1) as r", EXPECT_ONE);
	struct value v = FOLLOW(MEMBER("n"));
	check_json(&v, "7");
	v = follow(f, result, NULL, 0);
	check_json(&v, "{\"n\":7,\"r\":{\"f1\":1}}");
	v = FOLLOW(EACH);
	ck_assert_int_eq(v.kind, VALUE_NULL);
	result_free(result);

	result = fetch(f, "select '{\"a\": [5]}'::json", EXPECT_VALUE);
	v = FOLLOW(MEMBER("a"), INDEX(0));
	check_json(&v, "5");
	result_free(result);

	result = fetch(f, "select 1 where false", EXPECT_MAYBE);
	v = FOLLOW(MEMBER("a"));
	ck_assert_int_eq(v.kind, VALUE_NULL);
	v = follow(f, result, NULL, 0);
	ck_assert_int_eq(v.kind, VALUE_NULL);
	result_free(result);

	result = fetch(f, "select 1 where false", EXPECT_MANY);
	v = follow(f, result, NULL, 0);
	ck_assert(value_falsy(&v));
	v = FOLLOW(EACH, MEMBER("x"));
	check_json(&v, "[]");
	result_free(result);
}

/* As handlers see them: kinds, parts in order, and copies that outlive the rows. */
PG_TEST(rows_have_parts)
{
	const struct value_member *rows, *columns;
	const void *p;
	size_t len;
	struct result *result = fetch(
		f, "select n as id, '\\x00ff'::bytea as raw, array[n] as a, n as id from generate_series(1, 2) n",
		EXPECT_MANY);
	struct value v = follow(f, result, NULL, 0);

	ck_assert_int_eq(value_looks(&v), VALUE_LIST);
	ck_assert_uint_eq(value_parts(&v, &f->arena, &rows), 2);
	ck_assert_int_eq(value_looks(&rows[1].value), VALUE_DOCUMENT);
	ck_assert_uint_eq(value_parts(&rows[1].value, &f->arena, &columns), 4);
	ck_assert_str_eq(columns[0].name, "id");
	ck_assert_int_eq(columns[0].value.integer, 2);
	ck_assert_str_eq(columns[2].name, "a");
	check_json(&columns[2].value, "[2]");

	struct value raw = value_copy(&columns[1].value, &f->arena), row = value_copy(&rows[1].value, &f->arena);
	result_free(result);
	ck_assert_int_eq(value_looks(&raw), VALUE_BYTES);
	check_json(&raw, "\"\\\\x00ff\"");
	ck_assert(value_bytes(&raw, &f->arena, &p, &len) && len == 2 && memcmp(p, "\0\377", 2) == 0);
	check_json(&row, "{\"id\":2,\"raw\":\"\\\\x00ff\",\"a\":[2],\"id\":2}");
	/* And back. */
	ck_assert_str_eq(ask(f, EXPECT_VALUE, "select {a}::bytea = '\\x00ff'", &raw), "true");
	ck_assert_str_eq(ask(f, EXPECT_VALUE, "select {a}::text", &raw), "\"\\\\x00ff\"");
}

/* Behind a pooler: no prepared statements, no session. */
LOOP_TEST(prepare_false_works)
{
	struct fixture f;
	struct buf json = BUF_INIT;
	struct error e;
	fixture_config(&f);
	f.keys.prepare = false;
	f.config.pool.size = 1;
	fixture_open(&f);
	struct value v = value_int(5);
	for (int i = 0; i < 3; i++) {
		ck_assert_str_eq(ask(&f, EXPECT_VALUE, "select {a}::int + 1", &v), "6");
		ck_assert_str_eq(ask(&f, EXPECT_VALUE, "select timestamptz '2024-07-01 12:00:00+00'", NULL),
				 "\"2024-07-01T12:00:00+00:00\"");
		ck_assert_str_eq(ask(&f, EXPECT_VALUE, "select row(1, 2)", NULL), "{\"f1\":1,\"f2\":2}");
		ck_assert_ptr_nonnull(strstr(ask(&f, EXPECT_VALUE, "insert into t values (77)", NULL), "! 500 25006"));
		ck_assert_str_eq(ask(&f, EXPECT_VALUE, "select {a} is null", &v), "false");
		ck_assert_str_eq(ask(&f, EXPECT_VALUE, "select current_setting('statement_timeout')", NULL), "\"11s\"");
	}
	struct action *insert = compile(&f, "insert into t values (77)", EXPECT_NONE, false);
	ck_assert_int_eq(run_for(&f, insert, NULL, 0, &json, &e), 0);
	ck_assert_int_lt(run_for(&f, insert, NULL, 0, &json, &e), 0);
	ck_assert_int_eq(e.status, 409);
	struct action *delete = compile(&f, "delete from t", EXPECT_NONE, false);
	ck_assert_int_eq(run_for(&f, delete, NULL, 0, &json, &e), 0);
	/* Nothing of it stays in the session. */
	ck_assert_str_eq(ask(&f, EXPECT_VALUE, "select count(*) from pg_prepared_statements", NULL), "0");
	buf_done(&json);
	fixture_close(&f);
	return 0;
}

START_TEST(urls_are_checked)
{
	struct diagnostics d;
	static const struct {
		const char *url;
		size_t errors;
	} urls[] = {
		{"postgresql://shop@/shop?host=/run/postgresql", 0},
		{"host=a,b port=1,2 dbname=x", 0},
		{"postgresql://h/d?client_encoding=UTF8", 0},
		{"postgresql://h/d?client_encoding=LATIN1", 1},
		{"postgresql://h/d?colour=red", 1},
		{"mysql://h/d", 1},
		{"postgresql://h/d?replication=database", 1},
	};
	struct pg_source_keys keys = {.prepare = true};
	struct config_source config = {.own = &keys, .name = "shop", .url = urls[_i].url};
	diagnostics_init(&d);
	postgres_driver.source_check(&config, &d);
	ck_assert_uint_eq(d.errors, urls[_i].errors);
	diagnostics_done(&d);
}
END_TEST

static struct pg_statement *statement_of(struct fixture *f, struct action *a)
{
	return pg_statement_of(pg_client_of(f->client), (const struct pg_action *)a);
}

/* Actions that ask the same have one statement, which goes with the last of them. */
PG_TEST(actions_that_ask_the_same_share_a_statement)
{
	struct action *a = compile(f, "select {a}::int + 1", EXPECT_VALUE, true);
	struct action *later = compile(f, "select {other}::int + 1", EXPECT_ONE, true);
	const struct action *first[] = {a}, *both[] = {a, later};
	struct value v = value_int(1);
	struct buf json = BUF_INIT;
	struct error e;

	ck_assert_int_eq(run_for(f, a, &v, 0, &json, &e), 0);
	struct pg_statement *st = statement_of(f, a);
	ck_assert_ptr_ne(st, statement_of(f, compile(f, "select {a}::int + 2", EXPECT_VALUE, true)));
	ck_assert_ptr_ne(st, statement_of(f, compile(f, "select {a}::int + 1", EXPECT_VALUE, false)));
	postgres_driver.client_adopt(f->client, both, 2);
	postgres_driver.client_forget(f->client, first, 1);
	ck_assert_ptr_eq(statement_of(f, later), st);
	ck_assert_int_eq(st->knowledge, PG_KNOWN);
	ck_assert_uint_eq(st->generation, 1);
	ck_assert_int_eq(run_for(f, later, &v, 0, &json, &e), 0);
	ck_assert_uint_eq(st->generation, 1);
	/* One that runs outlives its actions. */
	pg_statement_keep(st);
	postgres_driver.client_forget(f->client, both, 2);
	ck_assert_ptr_eq(statement_of(f, later), st);
	postgres_driver.client_forget(f->client, both, 2);
	/* The connection may be about to judge it, still. */
	while (st->users > 1)
		ck_assert_int_eq(task_sleep_ms(1), 0);
	pg_statement_drop(pg_client_of(f->client), st);
	ck_assert_int_eq(statement_of(f, later)->knowledge, PG_UNKNOWN);
	buf_done(&json);
}

static const char setup[] =
	"create table t (x int primary key); create sequence s;"
	"create table later (x int references t deferrable initially deferred);"
	"create function raise(text) returns int language plpgsql as $$ begin raise exception 'boom' using errcode = "
	"$1; end $$;"
	"create function forget() returns void language plpgsql as $$ begin execute 'deallocate all'; end $$";

int main(void)
{
	server_start();
	free(server_sql("%s", setup));
	Suite *s = suite_create("postgres: query");
	TCase *c = async_tcase(s, "query");
	tcase_add_test(c, a_row_is_an_object);
	tcase_add_test(c, parameters_are_typed_by_the_server);
	tcase_add_test(c, arrays_and_json_bind_by_their_type);
	tcase_add_test(c, documents_and_bytes_bind_by_their_type);
	tcase_add_test(c, declared_types_are_the_last_resort);
	tcase_add_test(c, expectations_are_kept);
	tcase_add_test(c, errors_have_their_status);
	tcase_add_test(c, the_statement_timeout_is_the_backstop);
	tcase_add_test(c, bad_text_is_refused);
	tcase_add_test(c, writes_are_committed_or_not_at_all);
	tcase_add_test(c, a_changed_table_is_learned_again);
	tcase_add_test(c, a_changed_table_is_noticed_without_prepare);
	tcase_add_test(c, lost_statements_are_prepared_again);
	tcase_add_test(c, actions_that_ask_the_same_share_a_statement);
	tcase_add_test(c, references_look_into_rows);
	tcase_add_test(c, references_look_into_what_is_no_list);
	tcase_add_test(c, rows_have_parts);
	tcase_add_test(c, prepare_false_works);
	tcase_add_loop_test(c, urls_are_checked, 0, 7);
	int status = run_suite(s);
	server_stop();
	return status;
}
