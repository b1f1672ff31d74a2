/* Rows one by one: all of them in their order, few of them in memory, and nothing left when the reader leaves. */
#include "drivers/postgres/calls/stream.h"
#include "tests/unit/drivers/postgres/postgres_ask.h"

static int open_stream(struct fixture *f, struct pg_stream *s, const char *sql, struct error *e)
{
	struct pg_ask ask = ask_of(sql, NULL, 0);
	ask.call = "gd_pg_stream";
	*e = ERROR_INIT;
	return pg_stream_open(s, client_of(f), &ask, e);
}

static int open_within(struct pg_transaction *tx, struct pg_stream *s, const char *sql, struct error *e)
{
	struct pg_ask ask = ask_of(sql, NULL, 0);
	ask.call = "gd_tx_stream";
	*e = ERROR_INIT;
	return pg_stream_open_within(s, tx, &ask, e);
}

/* The next row's JSON, "end", or "! status code what"; in the arena. */
static const char *next(struct fixture *f, struct pg_stream *s)
{
	struct value row;
	struct error e = ERROR_INIT;
	int r = pg_stream_next(s, &row, &e);

	if (r < 0)
		return arena_printf(&f->arena, "! %d %s %s", e.status, e.code, e.what);
	if (r == 0)
		return "end";
	struct buf json = BUF_INIT;
	value_render(&row, &json);
	const char *out = arena_strndup(&f->arena, json.data, json.len);
	buf_done(&json);
	return out;
}

PG_TEST(rows_come_one_by_one)
{
	struct pg_stream s;
	struct error e;
	struct value v[2] = {value_int(100), value_string("x", 1)};
	struct pg_ask ask = ask_of("select n, row(n, $2::text) as r from generate_series(1, $1) n", v, 2);
	char expected[64];

	ck_assert_int_eq(pg_stream_open(&s, client_of(f), &ask, &e), 0);
	for (int i = 1; i <= 100; i++) {
		snprintf(expected, sizeof(expected), "{\"n\":%d,\"r\":{\"f1\":%d,\"f2\":\"x\"}}", i, i);
		ck_assert_str_eq(next(f, &s), expected);
	}
	ck_assert_str_eq(next(f, &s), "end");
	ck_assert_str_eq(next(f, &s), "end");
	pg_stream_close(&s);
	pg_stream_close(&s);
	ck_assert_contains(next(f, &s), "the stream is closed");
	ck_assert_int_eq(open_stream(f, &s, "select 1 where false", &e), 0);
	ck_assert_str_eq(next(f, &s), "end");
	pg_stream_close(&s);
	/* As many as the first batch has. */
	ck_assert_int_eq(open_stream(f, &s, "select n from generate_series(1, 16) n", &e), 0);
	for (int i = 0; i < 16; i++)
		ck_assert_contains(next(f, &s), "{\"n\":");
	ck_assert_str_eq(next(f, &s), "end");
	pg_stream_close(&s);
	await_quiet(f);
}

PG_TEST(what_is_wrong_with_the_statement_is_said)
{
	static const struct {
		const char *sql, *why;
	} wrong[] = {
		{"selec", "42601"},
		{"select $1", "takes 1 parameter"},
		{"select 1; select 2", "one statement"},
		{"insert into t values (1) returning x", "! 500 42601"},
		{"select nextval('s')", "! 500 25006"},
		{"select * from nowhere", "42P01"},
	};
	struct pg_stream s;
	struct error e;
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		int r = open_stream(f, &s, wrong[i].sql, &e);
		ck_assert_int_lt(r, 0);
		ck_assert_contains(arena_printf(&f->arena, "! %d %s %s", e.status, e.code, e.what), wrong[i].why);
		ck_assert_contains(next(f, &s), "closed");
		pg_stream_close(&s);
		await_quiet(f);
	}
	/* One that fails on its way. */
	ck_assert_int_eq(open_stream(f, &s, "select 1 / (n - 200) as x from generate_series(1, 300) n", &e), 0);
	const char *got;
	unsigned rows = 0;
	while ((got = next(f, &s))[0] == '{')
		rows++;
	ck_assert_contains(got, "! 500 22012");
	ck_assert_uint_lt(rows, 200);
	ck_assert_contains(next(f, &s), "25P02");
	pg_stream_close(&s);
	await_quiet(f);
}

static long read_all(struct fixture *f, const char *sql, unsigned expected)
{
	struct pg_stream s;
	struct error e;
	struct value row;
	struct buf json = BUF_INIT;
	unsigned n = 0;
	long most = 0, before = resident_kib();
	int r;

	ck_assert_int_eq(open_stream(f, &s, sql, &e), 0);
	while ((r = pg_stream_next(&s, &row, &e)) == 1) {
		json.len = 0;
		value_render(&row, &json);
		ck_assert_int_eq(json.data[0], '{');
		if (n++ % 1000 == 0 && resident_kib() - before > most)
			most = resident_kib() - before;
	}
	ck_assert_msg(r == 0, "%s", e.what);
	ck_assert_uint_eq(n, expected);
	pg_stream_close(&s);
	buf_done(&json);
	return most;
}

PG_TEST(a_million_rows_take_no_memory)
{
	long kib = read_all(f, "select n, 'row number ' || n as text from generate_series(1, 1000000) n", 1000000);
	ck_assert_msg(kib < 20000 + QUARANTINE_KIB, "grew by %ld KiB", kib);
	await_quiet(f);
}

/* 400 MB of rows, wide and narrow ones in turns. */
PG_TEST(wide_rows_take_little_memory)
{
	long kib = read_all(f,
			    "select n, repeat('x', case when n % 20000 < 400 then 100000 else 10 end) as text from "
			    "generate_series(1, 200000) n",
			    200000);
	ck_assert_msg(kib < 100000 + QUARANTINE_KIB, "grew by %ld KiB", kib);
	await_quiet(f);
}

PG_TEST(who_leaves_early_leaves_nothing)
{
	struct pg_stream s;
	struct error e;
	for (int rows = 0; rows < 100; rows += 9) {
		ck_assert_int_eq(open_stream(f, &s, "select generate_series(1, 100000000) as n", &e), 0);
		for (int i = 0; i < rows; i++)
			ck_assert_contains(next(f, &s), "{\"n\":");
		pg_stream_close(&s);
		ck_assert_str_eq(read_text(f, "select 1 as a", NULL, 0), "[{\"a\":1}]");
		await_quiet(f);
	}
}

/* --- within a transaction --- */

struct story {
	struct fixture *f;
	unsigned n;
	bool done, committed;
	struct error error;
};

static int sub_reads_on(struct pg_transaction *tx, void *arg)
{
	struct pg_stream *s = arg;
	struct pg_stream own;
	struct value row;
	struct error e;

	ck_assert_int_eq(pg_stream_next(s, &row, &e), 1);
	ck_assert_int_eq(open_within(tx, &own, "select 1 as a", &e), 0);
	ck_assert_int_eq(pg_stream_next(&own, &row, &e), 1);
	pg_stream_close(&own);
	return -ENOENT;
}

static struct pg_stream inner;

static int sub_opens(struct pg_transaction *tx, void *arg)
{
	struct error e;
	(void)arg;
	return open_within(tx, &inner, "select n from generate_series(1, 100) n", &e);
}

static int sub_opens_in_vain(struct pg_transaction *tx, void *arg)
{
	ck_assert_int_eq(sub_opens(tx, arg), 0);
	return -ENOENT;
}

static int with_streams(struct pg_transaction *tx, void *arg)
{
	struct story *story = arg;
	struct fixture *f = story->f;
	struct pg_stream a, b;
	struct error e;

	ck_assert_str_eq(in_tx(f, tx, "insert into t select n from generate_series(1, 200) n"), "changed 200");
	ck_assert_int_eq(open_within(tx, &a, "select x from t order by x", &e), 0);
	ck_assert_int_eq(open_within(tx, &b, "select x from t order by x desc", &e), 0);
	for (int i = 1; i <= 100; i++) {
		ck_assert_str_eq(next(f, &a), arena_printf(&f->arena, "{\"x\":%d}", i));
		ck_assert_str_eq(next(f, &b), arena_printf(&f->arena, "{\"x\":%d}", 201 - i));
		ck_assert_str_eq(in_tx(f, tx, arena_printf(&f->arena, "delete from t where x = %d returning x", i)),
				 arena_printf(&f->arena, "[{\"x\":%d}]", i));
	}
	pg_stream_close(&b);
	ck_assert_int_eq(pg_transaction_savepoint(tx, sub_reads_on, &a, &e), -ENOENT);
	for (int i = 102; i <= 200; i++)
		ck_assert_str_eq(next(f, &a), arena_printf(&f->arena, "{\"x\":%d}", i));
	ck_assert_str_eq(next(f, &a), "end");
	pg_stream_close(&a);
	ck_assert_str_eq(in_tx(f, tx, "select count(*) as n from pg_cursors where name like 'gatherd%'"),
			 "[{\"n\":0}]");
	/* One of a savepoint goes with it, or stays with it. */
	ck_assert_int_eq(pg_transaction_savepoint(tx, sub_opens_in_vain, NULL, &e), -ENOENT);
	ck_assert_contains(next(f, &inner), "savepoint has ended");
	pg_stream_close(&inner);
	ck_assert_int_eq(pg_transaction_savepoint(tx, sub_opens, NULL, &e), 0);
	for (int i = 1; i <= 100; i++)
		ck_assert_str_eq(next(f, &inner), arena_printf(&f->arena, "{\"n\":%d}", i));
	ck_assert_str_eq(next(f, &inner), "end");
	return 0; /* open still */
}

static struct pg_transaction_options in_transaction(void)
{
	return (struct pg_transaction_options){.call = "gd_pg_transaction", .timeout_us = 60000000};
}

PG_TEST(within_a_transaction)
{
	struct story s = {.f = f};
	struct pg_transaction_options options = in_transaction();
	for (int i = 0; i < 2; i++) {
		int r = pg_transact(client_of(f), &f->arena, &options, with_streams, &s, &s.error);
		ck_assert_msg(r == 0, "%s", s.error.what);
		ck_assert_contains(next(f, &inner), "transaction or savepoint has ended");
		pg_stream_close(&inner);
		await_quiet(f);
		free(server_sql("truncate t"));
	}
}

static int stream_fails(struct pg_transaction *tx, void *arg)
{
	struct story *story = arg;
	struct pg_stream s;
	struct error e;

	ck_assert_str_eq(in_tx(story->f, tx, "insert into t values (1)"), "changed 1");
	ck_assert_int_eq(open_within(tx, &s, "select 1 / (n - 50) as x from generate_series(1, 100) n", &e), 0);
	while (next(story->f, &s)[0] == '{')
		;
	ck_assert_contains(in_tx(story->f, tx, "select 1"), "25P02");
	pg_stream_close(&s);
	return 0;
}

PG_TEST(its_failure_is_the_transaction_s)
{
	struct story s = {.f = f};
	struct pg_transaction_options options = in_transaction();
	ck_assert_int_lt(pg_transact(client_of(f), &f->arena, &options, stream_fails, &s, &s.error), 0);
	ck_assert_str_eq(s.error.code, "22012");
	await_quiet(f);
	ck_assert_str_eq(read_text(f, "select count(*) as n from t", NULL, 0), "[{\"n\":0}]");
}

/* --- interrupted --- */

static int stream_task(void *arg)
{
	struct story *story = arg;
	struct pg_stream s;
	struct value row;
	struct error e;
	int r = open_stream(
		story->f, &s,
		arena_printf(&story->f->arena, "select n, %u as m from generate_series(1, 100) n", story->n), &e);

	while (r >= 0 && (r = pg_stream_next(&s, &row, &e)) == 1)
		;
	pg_stream_close(&s);
	story->done = true;
	return r;
}

static int stream_in_tx(struct pg_transaction *tx, void *arg)
{
	struct story *story = arg;
	struct pg_stream s;
	struct value row;
	struct error e;
	int r = open_within(
		tx, &s, arena_printf(&story->f->arena, "select n, %u as m from generate_series(1, 100) n", story->n),
		&e);

	while (r >= 0 && (r = pg_stream_next(&s, &row, &e)) == 1)
		;
	pg_stream_close(&s);
	return r;
}

static int tx_task(void *arg)
{
	struct story *story = arg;
	struct pg_transaction_options options = in_transaction();
	int r = pg_transact(client_of(story->f), &story->f->arena, &options, stream_in_tx, story, &story->error);
	story->done = true;
	return r;
}

static void sweep(struct fixture *f, task_fn fn, bool fresh)
{
	unsigned cancelled = 0;
	bool finished = false;

	/* As often as it takes: how many there are in one sweep depends on how much comes at once. */
	for (unsigned n = 0, sweeps = 0; sweeps == 0 || (cancelled < 5 && sweeps < 100);
	     n = finished ? 0 : n + 1 + n / 25) {
		struct story s = {.f = f, .n = fresh ? n : 0};
		int r;
		finished = cancel_after(n, fn, &s, &s.done, &r);
		ck_assert_msg(r == 0 || r == -ECANCELED, "%d", r);
		cancelled += r < 0;
		await_quiet(f);
		sweeps += finished;
	}
	ck_assert_uint_ge(cancelled, 5);
}

PG_TEST(cancel_at_each_suspension)
{
	sweep(f, stream_task, false);
	sweep(f, stream_task, true);
}

PG_TEST(cancel_at_each_suspension_within_a_transaction)
{
	sweep(f, tx_task, false);
	sweep(f, tx_task, true);
}

PG_TEST(the_server_goes_away)
{
	struct pg_stream s;
	struct error e;
	for (int rows = 0; rows < 40; rows += 8) {
		ck_assert_int_eq(open_stream(f, &s, "select n from generate_series(1, 1000) n", &e), 0);
		for (int i = 0; i < rows; i++)
			ck_assert_contains(next(f, &s), "{\"n\":");
		end_sessions("state = 'idle in transaction'");
		const char *got;
		while ((got = next(f, &s))[0] == '{')
			;
		check_broken(got);
		pg_stream_close(&s);
		await_quiet(f);
	}
}

PG_TEST(a_batch_has_its_timeout)
{
	struct pg_stream s;
	struct error e = ERROR_INIT;
	struct pg_ask ask = ask_of(
		"select pg_sleep(case when n = 30 then 100 else 0 end) from generate_series(1, 100) n", NULL, 0);
	ask.timeout_us = 100000;
	ck_assert_int_eq(pg_stream_open(&s, client_of(f), &ask, &e), 0);
	const char *got;
	while ((got = next(f, &s))[0] == '{')
		;
	ck_assert_contains(got, "! 504");
	pg_stream_close(&s);
	await_quiet(f);
}

int main(void)
{
	server_start();
	free(server_sql("create table t (x int primary key); create sequence s"));
	Suite *s = suite_create("PostgreSQL streams");
	TCase *c = async_tcase(s, "streams");
	tcase_set_timeout(c, 120);
	tcase_add_test(c, rows_come_one_by_one);
	tcase_add_test(c, what_is_wrong_with_the_statement_is_said);
	tcase_add_test(c, a_million_rows_take_no_memory);
	tcase_add_test(c, wide_rows_take_little_memory);
	tcase_add_test(c, who_leaves_early_leaves_nothing);
	tcase_add_test(c, within_a_transaction);
	tcase_add_test(c, its_failure_is_the_transaction_s);
	tcase_add_test(c, cancel_at_each_suspension);
	tcase_add_test(c, cancel_at_each_suspension_within_a_transaction);
	tcase_add_test(c, the_server_goes_away);
	tcase_add_test(c, a_batch_has_its_timeout);
	return run_and_stop_server(s);
}
