/* SQL that comes as text at run time: its parameters, what it may do, and that no number of texts grows anything. */
#include "tests/unit/drivers/postgres/postgres_ask.h"

static struct value stranger(const char *s)
{
	struct value v = value_string(s, strlen(s));
	v.from_request = true;
	return v;
}

PG_TEST(rows_come_as_they_do_for_steps)
{
	struct value v[2] = {value_int(2), value_string("x", 1)};
	ck_assert_str_eq(read_text(f, "select n, $2::text as t from generate_series(1, $1) n;", v, 2),
			 "[{\"n\":1,\"t\":\"x\"},{\"n\":2,\"t\":\"x\"}]");
	ck_assert_str_eq(read_text(f, "select 1 where false", NULL, 0), "[]");
	/* What only the server can render, behind a comment that would swallow a bracket. */
	ck_assert_str_eq(read_text(f, "select row(1, 'a') as r; -- a row", NULL, 0),
			 "[{\"r\":{\"f1\":1,\"f2\":\"a\"}}]");
	struct pg_ask ask = ask_of("select 42", NULL, 0);
	ask.expect = EXPECT_VALUE;
	ck_assert_str_eq(query(f, &ask), "42");
	ask = ask_of("select 1 as a", NULL, 0);
	ask.expect = EXPECT_MAYBE;
	ck_assert_str_eq(query(f, &ask), "{\"a\":1}");
	ask = ask_of("values (1), (2)", NULL, 0);
	ask.expect = EXPECT_MAYBE;
	ck_assert_contains(query(f, &ask), "! 500  gd_pg_query, source shop: more than one row");
}

PG_TEST(braces_and_literals_are_left_alone)
{
	struct value v = value_int(1);
	ck_assert_str_eq(
		read_text(f, "select '{}'::jsonb as a, '$7' as b, $1::int as \"$9\", $x$ $3 $x$ as c /* $4 */", &v, 1),
		"[{\"a\":{},\"b\":\"$7\",\"$9\":1,\"c\":\" $3 \"}]");
	/* Bound as often as it stands there, typed by where that is. */
	ck_assert_str_eq(read_text(f, "select $1::int + $1::int as n", &v, 1), "[{\"n\":2}]");
	/* Where the server can't tell, it is text; a number that is skipped counts. */
	struct value w[2] = {VALUE_OF_NULL, value_int(5)};
	ck_assert_str_eq(read_text(f, "select $2 as n", w, 2), "[{\"n\":\"5\"}]");
}

PG_TEST(the_number_of_values_must_be_right)
{
	struct value v[3] = {value_int(1), value_int(2), value_int(3)};
	ck_assert_contains(read_text(f, "select $1::int, $2::int", v, 1),
			   "the statement takes 2 parameters, and 1 value was given");
	ck_assert_contains(read_text(f, "select $1::int, $2::int", v, 3),
			   "takes 2 parameters, and 3 values were given");
	ck_assert_contains(read_text(f, "select 1", v, 1), "takes 0 parameters, and 1 value was given");
	ck_assert_contains(read_text(f, "select $1::int", NULL, 0), "takes 1 parameter, and 0 values were given");
}

static const struct {
	const char *sql, *why;
} refused[] = {
	{"", "expected an SQL statement"},
	{" ; -- nothing", "expected an SQL statement"},
	{"select 1; select 2", "one statement at a time"},
	{"commit", "gd_pg_transaction"},
	{"/* a */ BEGIN", "gd_pg_transaction"},
	{"savepoint x", "gd_pg_savepoint"},
	{"set search_path = x", "set_config"},
	{"copy t to stdout", "COPY"},
	{"declare c cursor for select 1", "gd_pg_stream"},
	{"select 'a", "the string has no end"},
	{"select $0", "$1, $2"},
	{"select $99999999999", "$65535"},
	{"selec 1", "42601"},
	{"select nothing from nowhere", "42P01"},
};

PG_TEST(what_would_break_the_pool_is_refused)
{
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		ck_assert_contains(read_text(f, refused[i].sql, NULL, 0), "! 500");
		ck_assert_contains(write_text(f, refused[i].sql, NULL, 0), refused[i].why);
	}
	struct pg_ask ask = {.call = "gd_pg_query", .sql = "select\0 1", .len = 9, .expect = EXPECT_MANY};
	ck_assert_contains(query(f, &ask), "NUL");
	ck_assert_str_eq(read_text(f, "select 1 as a", NULL, 0), "[{\"a\":1}]");
}

PG_TEST(reads_do_not_write)
{
	ck_assert_contains(read_text(f, "insert into t values (1)", NULL, 0), "! 500 25006");
	ck_assert_contains(read_text(f, "insert into t values (1)", NULL, 0), "gd_pg_execute is for what writes");
	ck_assert_str_eq(read_text(f, "select count(*) as n from t", NULL, 0), "[{\"n\":0}]");
}

PG_TEST(writes_bring_rows_or_a_number)
{
	struct value v = value_int(3);
	ck_assert_str_eq(write_text(f, "insert into t select n from generate_series(1, $1) n", &v, 1), "changed 3");
	ck_assert_str_eq(write_text(f, "update t set x = x + 10 where x >= 2 returning x", NULL, 0),
			 "[{\"x\":12},{\"x\":13}]");
	ck_assert_str_eq(write_text(f, "update t set x = x where x > 100", NULL, 0), "changed 0");
	ck_assert_str_eq(write_text(f, "create table made (y int)", NULL, 0), "changed 0");
	ck_assert_str_eq(write_text(f, "insert into made values (7)", NULL, 0), "changed 1");
	ck_assert_str_eq(write_text(f, "drop table made", NULL, 0), "changed 0");
	ck_assert_contains(write_text(f, "insert into t values (1)", NULL, 0), "! 409 23505");
	ck_assert_str_eq(write_text(f, "delete from t", NULL, 0), "changed 3");
}

PG_TEST(whose_fault_a_bad_value_is)
{
	struct value v = stranger("x");
	ck_assert_contains(read_text(f, "select $1::text::int", &v, 1), "! 400 22P02");
	v.from_request = false;
	ck_assert_contains(read_text(f, "select $1::text::int", &v, 1), "! 500 22P02");
	v = value_string("a\0b", 3);
	ck_assert_contains(read_text(f, "select $1::text", &v, 1),
			   "! 500  gd_pg_query, source shop: $1 holds a NUL byte");
	v.from_request = true;
	ck_assert_contains(read_text(f, "select $1::text", &v, 1), "! 400");
}

/* A table is made anew with other columns, or goes: the texts that speak of it notice. */
PG_TEST(what_changes_is_learned_again)
{
	free(server_sql("create table changing (a int); insert into changing values (1)"));
	ck_assert_str_eq(read_text(f, "select * from changing", NULL, 0), "[{\"a\":1}]");
	struct value v = value_string("1", 1);
	ck_assert_str_eq(read_text(f, "select a from changing where a = $1", &v, 1), "[{\"a\":1}]");
	free(server_sql(
		"drop table changing; create table changing (a text, b int); insert into changing values ('1', 2)"));
	ck_assert_str_eq(read_text(f, "select * from changing", NULL, 0), "[{\"a\":\"1\",\"b\":2}]");
	/* Its parameter was an integer. */
	free(server_sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'gatherd'"));
	ck_assert_str_eq(read_text(f, "select a from changing where a = $1", &v, 1), "[{\"a\":\"1\"}]");
	free(server_sql("drop table changing"));
	ck_assert_contains(read_text(f, "select * from changing", NULL, 0), "42P01");
}

static const char *numbered(struct fixture *f, unsigned n)
{
	return arena_printf(&f->arena, "select %u as n, $1::int as m", n);
}

/* Texts without end: the cache forgets, and so do the servers' sessions, which stay the same. */
static char *sessions(void)
{
	return server_sql("select string_agg(pid::text, ',' order by backend_start) from pg_stat_activity "
			  "where application_name = 'gatherd'");
}

PG_TEST(no_number_of_texts_grows_anything)
{
	struct pg_client *c = client_of(f);
	struct value v = value_int(1);
	char expected[64];

	ck_assert_str_eq(read_text(f, "select 1 as a", NULL, 0), "[{\"a\":1}]");
	char *began = sessions();
	for (unsigned i = 0; i < 3 * PG_TEXTS_KEPT; i++) {
		snprintf(expected, sizeof(expected), "[{\"n\":%u,\"m\":1}]", i);
		ck_assert_str_eq(read_text(f, numbered(f, i), &v, 1), expected);
		ck_assert_uint_le(c->texts->count, PG_TEXTS_KEPT);
	}
	ck_assert_uint_le(c->next_index, PG_TEXTS_KEPT + 2);
	/* One that was forgotten and one that was not. */
	ck_assert_str_eq(read_text(f, numbered(f, 5), &v, 1), "[{\"n\":5,\"m\":1}]");
	ck_assert_str_eq(read_text(f, numbered(f, 3 * PG_TEXTS_KEPT - 1), &v, 1), expected);
	const char *prepared = read_text(f, "select count(*) as n from pg_prepared_statements", NULL, 0);
	ck_assert_msg(atoi(strstr(prepared, ":") + 1) <= PG_TEXTS_KEPT + 2, "%s", prepared);
	char *now = sessions();
	ck_assert_int_eq(strncmp(began, now, strlen(began)), 0);
	free(began);
	free(now);
}

/* Bytes count as well: huge texts are fewer. */
PG_TEST(huge_texts_are_kept_in_small_number)
{
	struct pg_client *c = client_of(f);
	size_t len = 1 << 20;
	char *sql = malloc(len + 1);

	for (int i = 0; i < 20; i++) {
		memset(sql, ' ', len);
		sql[len] = '\0';
		sql[len - 1] = (char)('0' + i % 10);
		sql[len - 2] = (char)('0' + i / 10);
		memcpy(sql, "select", 6);
		ck_assert_contains(read_text(f, sql, NULL, 0), "[{");
		ck_assert_uint_le(c->texts->bytes, PG_TEXT_BYTES_KEPT);
	}
	ck_assert_uint_lt(c->texts->count, 10);
	free(sql);
}

struct one {
	struct fixture *f;
	const char *sql;
	struct value arg;
	int64_t timeout_us;
	char outcome[200];
	bool done;
};

static int run_one(void *arg)
{
	struct one *o = arg;
	struct pg_ask ask = ask_of(o->sql, &o->arg, 1);

	if (o->timeout_us)
		ask.timeout_us = o->timeout_us;
	snprintf(o->outcome, sizeof(o->outcome), "%s", query(o->f, &ask));
	o->done = true;
	return 0;
}

/* All in use at once: none is taken away from who runs it. */
PG_TEST(what_is_in_use_stays)
{
	enum { MANY = 300 };
	struct pg_client *c = client_of(f);
	struct one *ones = calloc(MANY, sizeof(*ones));
	struct task **tasks = calloc(MANY, sizeof(*tasks));

	for (unsigned i = 0; i < MANY; i++) {
		ones[i] = (struct one){.f = f, .sql = numbered(f, i), .arg = value_int(i)};
		tasks[i] = spawn(run_one, &ones[i]);
	}
	ck_assert_int_eq(task_yield(), 0);
	/* They are all forgotten while they run. */
	pg_texts_done(c);
	for (unsigned i = 0; i < MANY; i++) {
		char expected[64];
		join(tasks[i]);
		snprintf(expected, sizeof(expected), "[{\"n\":%u,\"m\":%u}]", i, i);
		ck_assert_str_eq(ones[i].outcome, expected);
	}
	free(ones);
	free(tasks);
}

/* Cancel after n runs of the task, for each n, with texts that are new each time and texts that are known. */
PG_TEST(cancel_at_each_suspension)
{
	unsigned cancelled = 0;

	/* As often as it takes: how many there are in one sweep depends on how much comes at once. */
	for (int known = 0; known < 2 || (cancelled < 4 && known < 20); known++) {
		bool finished = false;
		for (unsigned n = 0; !finished; n += 1 + n / 30) {
			struct one o = {.f = f, .sql = numbered(f, known ? 1 : 100000 + n), .arg = value_int(1)};
			struct task *t = spawn(run_one, &o);
			for (unsigned i = 0; i < n && !o.done; i++)
				ck_assert_int_eq(task_yield(), 0);
			finished = o.done;
			task_cancel(t);
			join(t);
			ck_assert_msg(o.outcome[0] == '[' || strstr(o.outcome, "! 503"), "%s", o.outcome);
			cancelled += o.outcome[0] == '!';
			await_quiet(f);
		}
	}
	ck_assert_uint_ge(cancelled, 4);
}

PG_TEST(a_timeout_cancels_on_the_server)
{
	struct one o = {.f = f, .sql = "select pg_sleep($1)", .arg = value_int(100), .timeout_us = 50000};
	run_one(&o);
	ck_assert_contains(o.outcome, "! 504");
	await_quiet(f);
}

/* Through a pooler there are no names. */
PG_TEST(without_prepared_statements)
{
	struct fixture g;
	struct value v = value_int(1);
	fixture_config(&g);
	g.keys.prepare = false;
	fixture_open(&g);
	for (unsigned i = 0; i < 5; i++) {
		ck_assert_contains(read_text(&g, numbered(&g, i % 2), &v, 1), "\"m\":1}]");
		ck_assert_str_eq(write_text(&g, "insert into t values (1)", NULL, 0), "changed 1");
		ck_assert_str_eq(write_text(&g, "delete from t where x = $1", &v, 1), "changed 1");
	}
	ck_assert_str_eq(read_text(&g, "select count(*) as n from pg_prepared_statements", NULL, 0), "[{\"n\":0}]");
	fixture_close(&g);
	ck_assert_str_eq(read_text(f, "select count(*) as n from t", NULL, 0), "[{\"n\":0}]");
}

int main(void)
{
	server_start();
	free(server_sql("create table t (x int primary key)"));
	Suite *s = suite_create("SQL as text");
	TCase *c = async_tcase(s, "text");
	tcase_add_test(c, rows_come_as_they_do_for_steps);
	tcase_add_test(c, braces_and_literals_are_left_alone);
	tcase_add_test(c, the_number_of_values_must_be_right);
	tcase_add_test(c, what_would_break_the_pool_is_refused);
	tcase_add_test(c, reads_do_not_write);
	tcase_add_test(c, writes_bring_rows_or_a_number);
	tcase_add_test(c, whose_fault_a_bad_value_is);
	tcase_add_test(c, what_changes_is_learned_again);
	tcase_add_test(c, no_number_of_texts_grows_anything);
	tcase_add_test(c, huge_texts_are_kept_in_small_number);
	tcase_add_test(c, what_is_in_use_stays);
	tcase_add_test(c, cancel_at_each_suspension);
	tcase_add_test(c, a_timeout_cancels_on_the_server);
	tcase_add_test(c, without_prepared_statements);
	return run_and_stop_server(s);
}
