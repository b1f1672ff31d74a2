/* Every type as JSON, against the judge: what is rendered from `select X` is what the server renders from
 * `select to_json(X)`. */
#include "tests/unit/drivers/postgres/postgres_fixture.h"

static const char *const expressions[] = {
	"1::int2",
	"'-32768'::int2",
	"2147483647",
	"'-9223372036854775808'::int8",
	"0",
	"1.50::numeric",
	"12345678901234567890.123456789012345678901234567890::numeric",
	"'NaN'::numeric",
	"'Infinity'::numeric",
	"'-Infinity'::numeric",
	"0.000000000000000000001::numeric",
	"1e100::numeric",
	"-0.0::numeric",
	"0.1::float4",
	"0.1::float8",
	"1e300::float8",
	"'NaN'::float8",
	"'Infinity'::float8",
	"'-Infinity'::float4",
	"'-0'::float8",
	"1e-7::float8",
	"3::float8",
	"123456789012345680::float8",
	"true",
	"false",
	"null::bool",
	"null::int4[]",
	"'plain'::text",
	"''::text",
	"E'a\\nb\\tc\\rd\\be\\ff\\\\g\"h/i'::text",
	"E'\\x01\\x1f\\x7f'::text",
	"'h\u00e9llo \u4e16\u754c \U0001F600'::text",
	"E'\\u2028'::text",
	"'abc'::varchar(10)",
	"'abc'::char(6)",
	"'abc'::name",
	"'x'::\"char\"",
	"'\\xdeadbeef'::bytea",
	"''::bytea",
	"E'a\\\\000b'::bytea",
	"date '2024-02-29'",
	"date '0044-03-15 BC'",
	"date 'infinity'",
	"date '-infinity'",
	"date '12024-01-01'",
	"timestamp '2024-02-29 12:34:56'",
	"timestamp '2024-02-29 12:34:56.789'",
	"timestamp '2024-02-29 00:00:00.000001'",
	"timestamp '0044-03-15 12:00:00 BC'",
	"timestamp 'infinity'",
	"timestamp '-infinity'",
	"timestamp '294276-12-31 23:59:59'",
	"timestamptz '2024-02-29 12:34:56+05:30'",
	"timestamptz '2024-02-29 12:34:56.5Z'",
	"timestamptz '0044-03-15 12:00:00+00 BC'",
	"timestamptz 'infinity'",
	"timestamptz '-infinity'",
	"time '12:34:56.789'",
	"timetz '12:34:56+02'",
	"interval '1 year 2 mons 3 days 04:05:06.789'",
	"interval '-1 day'",
	"interval '0'",
	"'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid",
	"'12.34'::money",
	"'192.168.0.1/24'::inet",
	"'10.0.0.0/8'::cidr",
	"'08:00:2b:01:02:03'::macaddr",
	"B'1010'",
	"B'1010'::varbit(8)",
	"'<a>b</a>'::xml",
	"point(1,2)",
	"box(point(0,0),point(1,1))",
	"'[(0,0),(1,1)]'::path",
	"circle(point(0,0),5)",
	"int4range(1,5)",
	"tsrange('2024-01-01','2024-02-01')",
	"'{[1,3),[5,7)}'::int4multirange",
	"to_tsvector('simple', 'a fat cat')",
	"'a & b'::tsquery",
	"'$.a'::jsonpath",
	"12345::oid",
	"'pg_class'::regclass",
	"'1 2'::int2vector",
	"'1 2 3'::oidvector",
	"''::int2vector",
	"'0/0'::pg_lsn",
	"'(0,1)'::tid",
	"'7'::xid",
	"'8'::xid8",
	"'{\"a\": [1, 2,  {\"b\":null}]}'::json",
	"'{\"b\": 1, \"a\": [true]}'::jsonb",
	"'null'::json",
	"'\"x\"'::jsonb",
	"array[1,2,3]",
	"array[1,null,3]",
	"'{}'::int4[]",
	"array[[1,2],[3,4]]",
	"array[[[1],[2]],[[3],[null::int]]]",
	"'[2:4]={7,8,9}'::int4[]",
	"'[0:1][-1:0]={{1,2},{3,4}}'::int4[]",
	"array['a','b c','d,e','f\"g','h\\i','',null,'NULL','null','{x}']::text[]",
	"array['h\u00e9','\u4e16']",
	"array[E'line\\nbreak', E'tab\\there']",
	"array[true,false,null]",
	"array[1.50, 'NaN']::numeric[]",
	"array[0.1,'Infinity']::float8[]",
	"array[date '2024-02-29', 'infinity']",
	"array[timestamp '2024-02-29 12:34:56']",
	"array[timestamptz '2024-02-29 12:34:56+02', null]",
	"array['{\"a\": 1}','[1, \"x,y\"]']::json[]",
	"array['{\"a\": \"q\\\"uote\"}']::jsonb[]",
	"array['\\xdead']::bytea[]",
	"array[box(point(0,0),point(1,1)), box(point(2,2),point(3,3))]",
	"array['a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11']::uuid[]",
	"array[interval '1 day 02:00']",
	"array['1 2','3']::int2vector[]",
	"array['1','2']::oid[]",
	"array['1 2','3']::oidvector[]",
	"row(1,'a',null)",
	"row(row(1,2),array[3])",
	"array[row(1,'x'),row(2,'y')]",
	/* types of the test's own */
	"'happy'::mood",
	"array['happy','so so']::mood[]",
	"7::positive",
	"array[1,2]::positive[]",
	"array[1,2]::int_list",
	"(1,'two')::pair",
	"array[(1,'two')::pair, null]",
	"(3, (1,'two')::pair)::nested",
	"'[1.5,2.5]'::floatrange",
	"'{\"x\": 1}'::document",
	"array['{\"x\": 1}']::document[]",
	"timestamp '2024-02-29 12:34:56'::instant",
	"'a=>1, b=>NULL'::hstore",
	"array['a=>1'::hstore]",
	"8::deep",
	"true::flag",
	"array['x','y']::hstore_or_text[]",
	"'(1,two)'::pair_domain",
	"'{\"{1,2}\",\"{3}\"}'::int_list[]",
};

static const char setup[] =
	"create extension hstore;"
	"create type mood as enum ('happy', 'so so');"
	"create domain positive as int check (value > 0); create domain deep as positive; create domain flag as bool;"
	"create domain int_list as int[]; create domain document as jsonb; create domain instant as timestamp;"
	"create domain hstore_or_text as text;"
	"create type pair as (a int, b text); create type nested as (n int, p pair); create domain pair_domain as pair;"
	"create type floatrange as range (subtype = float8);"
	"create table people (id int primary key, name text, mood mood, pair pair);"
	"insert into people values (1, 'Ada', 'happy', (1, 'x'))";

PG_TEST(types_are_what_to_json_gives)
{
	for (size_t i = 0; i < ARRAY_SIZE(expressions); i++) {
		const char *x = expressions[i];
		/* Braces in a literal are left alone, but `{x}` would be warned of. */
		const char *ours = ask(f, EXPECT_VALUE, arena_printf(&f->arena, "select %s", x), NULL);
		const char *theirs = ask(f, EXPECT_VALUE, arena_printf(&f->arena, "select to_json(%s)", x), NULL);
		ck_assert_msg(strcmp(ours, theirs) == 0, "%s: ours %s, to_json %s", x, ours, theirs);
		ck_assert_msg(*ours != '!', "%s: %s", x, ours);
	}
}

PG_TEST(rows_are_what_row_to_json_gives)
{
	const char *sql = "select * from people";
	const char *ours = ask(f, EXPECT_ONE, sql, NULL);
	const char *theirs = ask(f, EXPECT_VALUE, "select row_to_json(p) from people p", NULL);
	ck_assert_str_eq(ours, theirs);
	ours = ask(f, EXPECT_ONE, "select 1 as \"a \"\"quoted\"\" näme\", 2 as \"back\\slash\", 3 as x, 4 as x", NULL);
	ck_assert_str_eq(ours, "{\"a \\\"quoted\\\" näme\":1,\"back\\\\slash\":2,\"x\":3,\"x\":4}");
}

/* A statement that only the server can render works in every form that it may have. */
PG_TEST(the_server_renders_in_every_form)
{
	struct error e;
	struct buf json = BUF_INIT;

	ck_assert_str_eq(ask(f, EXPECT_ONE, "select id, pair from people -- the end", NULL),
			 "{\"id\":1,\"pair\":{\"a\":1,\"b\":\"x\"}}");
	ck_assert_str_eq(ask(f, EXPECT_ONE, "with p as (select * from people) select id, pair from p;", NULL),
			 "{\"id\":1,\"pair\":{\"a\":1,\"b\":\"x\"}}");
	ck_assert_str_eq(ask(f, EXPECT_MANY, "values (1, row(2, 3))", NULL),
			 "[{\"column1\":1,\"column2\":{\"f1\":2,\"f2\":3}}]");
	struct action *a = compile(f, "insert into people (id, pair) values (2, (5, 'y')) returning id, pair",
				   EXPECT_ONE, false);
	ck_assert_int_eq(run_for(f, a, NULL, 0, &json, &e), 0);
	ck_assert_str_eq(buf_cstr(&json), "{\"id\":2,\"pair\":{\"a\":5,\"b\":\"y\"}}");
	a = compile(f, "with x as (delete from people where id = 2 returning *) select id, pair from x", EXPECT_MANY,
		    false);
	ck_assert_int_eq(run_for(f, a, NULL, 0, &json, &e), 0);
	/* Neither form can be wrapped: the composite stays its text. */
	ck_assert_str_eq(buf_cstr(&json), "[{\"id\":2,\"pair\":\"(5,y)\"}]");
	buf_done(&json);
}

PG_TEST(the_urls_settings_are_kept)
{
	const char *now = ask(f, EXPECT_VALUE, "select timestamptz '2024-07-01 12:00:00+00'", NULL);
	ck_assert_str_eq(now, "\"2024-07-01T12:00:00+00:00\"");
	ck_assert_str_eq(ask(f, EXPECT_VALUE, "select current_setting('default_transaction_read_only')", NULL),
			 "\"on\"");

	struct fixture g;
	fixture_config(&g);
	server_url(g.url, sizeof(g.url),
		   "&options=-c%20TimeZone%3DAsia/"
		   "Kolkata%20-c%20DateStyle%3DGerman%20-c%20default_transaction_read_only%3Doff");
	fixture_open(&g);
	ck_assert_str_eq(ask(&g, EXPECT_VALUE, "select timestamptz '2024-07-01 12:00:00+00'", NULL),
			 "\"2024-07-01T17:30:00+05:30\"");
	ck_assert_str_eq(ask(&g, EXPECT_VALUE, "select date '2024-07-01'", NULL), "\"2024-07-01\"");
	ck_assert_str_eq(ask(&g, EXPECT_VALUE, "select current_setting('default_transaction_read_only')", NULL),
			 "\"on\"");
	fixture_close(&g);
}

int main(void)
{
	server_start();
	free(server_sql("%s", setup));
	Suite *s = suite_create("postgres: json");
	TCase *c = async_tcase(s, "json");
	tcase_add_test(c, types_are_what_to_json_gives);
	tcase_add_test(c, rows_are_what_row_to_json_gives);
	tcase_add_test(c, the_server_renders_in_every_form);
	tcase_add_test(c, the_urls_settings_are_kept);
	int status = run_suite(s);
	server_stop();
	return status;
}
