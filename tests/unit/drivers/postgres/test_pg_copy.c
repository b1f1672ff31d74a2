/* COPY both ways: all of it or nothing, little of it in memory, and a clean connection afterwards. */
#include "drivers/postgres/calls/copy.h"
#include "tests/unit/drivers/postgres/postgres_ask.h"

static struct pg_copy_ask copy_ask(const char *call, const char *sql)
{
	return (struct pg_copy_ask){.call = call, .sql = sql, .len = strlen(sql), .timeout_us = 60000000};
}

static int open_copy(struct fixture *f, struct pg_copy *c, const char *sql, struct error *e)
{
	struct pg_copy_ask ask = copy_ask("gd_pg_copy", sql);
	*e = ERROR_INIT;
	return pg_copy_open(c, client_of(f), &ask, e);
}

static int open_within(struct pg_transaction *tx, struct pg_copy *c, const char *sql, struct error *e)
{
	struct pg_copy_ask ask = copy_ask("gd_tx_copy", sql);
	*e = ERROR_INIT;
	return pg_copy_open_within(c, tx, &ask, e);
}

static void begin(struct fixture *f, struct pg_copy *c, const char *sql)
{
	struct error e;
	int r = open_copy(f, c, sql, &e);
	ck_assert_msg(r == 0, "%s", e.what);
}

static void put(struct pg_copy *c, const char *text)
{
	struct error e = ERROR_INIT;
	int r = pg_copy_write(c, text, strlen(text), &e);
	ck_assert_msg(r == 0, "%s", e.what);
}

static const char *said(struct fixture *f, int r, int64_t rows, const struct error *e)
{
	if (r < 0) {
		ck_assert_int_eq(e->errnum, r);
		return arena_printf(&f->arena, "! %d %s %s", e->status, e->code, e->what);
	}
	return arena_printf(&f->arena, "%lld", (long long)rows);
}

/* How many rows, or "! status code what"; in the arena. */
static const char *end(struct fixture *f, struct pg_copy *c)
{
	struct error e = ERROR_INIT;
	int64_t rows = -1;
	int r = pg_copy_end(c, &rows, &e);
	return said(f, r, rows, &e);
}

/* What comes next, "end", or "! status code what". */
static const char *next(struct fixture *f, struct pg_copy *c)
{
	struct error e = ERROR_INIT;
	const void *p;
	int64_t n = pg_copy_read(c, &p, &e);
	if (n > 0)
		return arena_strndup(&f->arena, p, (size_t)n);
	return n == 0 ? "end" : said(f, (int)n, 0, &e);
}

static const char *table(struct fixture *f)
{
	char *rows = server_sql("select coalesce(string_agg(a || ':' || coalesce(b, '-'), ',' order by a), '') from t");
	const char *out = arena_strdup(&f->arena, rows);
	free(rows);
	return out;
}

static void clear(void)
{
	free(server_sql("truncate t"));
}

/* The connection is a pipe again, and in no transaction. */
static void await_clean(struct fixture *f)
{
	await_quiet(f);
	ck_assert_str_eq(read_text(f, "select 1 as a", NULL, 0), "[{\"a\":1}]");
	ck_assert_str_eq(write_text(f, "insert into t values (99, 'x') returning a", NULL, 0), "[{\"a\":99}]");
	ck_assert_str_eq(write_text(f, "delete from t where a = 99", NULL, 0), "changed 1");
}

/* --- into a table --- */

PG_TEST(bytes_are_stored_at_the_end)
{
	struct pg_copy c;
	clear();
	begin(f, &c, "copy t (a, b) from stdin");
	put(&c, "1\tone\n2\t\\");
	put(&c, "N\n3\tä\n");
	ck_assert_str_eq(table(f), "");
	ck_assert_str_eq(end(f, &c), "3");
	ck_assert_str_eq(table(f), "1:one,2:-,3:ä");
	ck_assert_contains(end(f, &c), "closed");
	pg_copy_close(&c);
	await_clean(f);
	/* Nothing at all; another format. */
	begin(f, &c, "COPY t FROM STDIN;");
	ck_assert_str_eq(end(f, &c), "0");
	begin(f, &c, "copy t from stdin with (format csv, header)");
	put(&c, "a,b\n4,\"x, y\"\n");
	ck_assert_str_eq(end(f, &c), "1");
	ck_assert_str_eq(table(f), "1:one,2:-,3:ä,4:x, y");
	await_clean(f);
}

PG_TEST(rows_are_written_as_they_are_meant)
{
	static const char odd[] = "tab\t nl\n cr\r bs\\ \b\f\v \\N \\. end";
	struct value list[] = {value_int(1), value_int(2)};
	struct value_member member = {"k", 1, value_string("v\n", 2)};
	struct value row[] = {
		value_int(5),
		value_string(odd, sizeof(odd) - 1),
		value_bool(true),
		value_number("1.50", 4),
		value_bytes_of("\0\xff\\", 3),
		{.kind = VALUE_LIST, .count = 2, .list = list},
		{.kind = VALUE_DOCUMENT, .count = 1, .members = &member},
		VALUE_OF_NULL,
	};
	struct value all = {.kind = VALUE_LIST, .count = ARRAY_SIZE(row), .list = row};
	struct pg_copy c;
	struct error e = ERROR_INIT;

	free(server_sql("truncate wide"));
	begin(f, &c, "copy wide from stdin");
	ck_assert_int_eq(pg_copy_row(&c, &all, &e), 0);
	ck_assert_str_eq(end(f, &c), "1");
	ck_assert_str_eq(read_text(f, "select a, s, b, n, encode(y, 'hex') as y, l, j, z from wide", NULL, 0),
			 "[{\"a\":5,\"s\":\"tab\\t nl\\n cr\\r bs\\\\ \\b\\f\\u000b \\\\N \\\\. end\",\"b\":true,"
			 "\"n\":1.50,\"y\":\"00ff5c\",\"l\":[1,2],\"j\":{\"k\": \"v\\n\"},\"z\":null}]");
	/* Where rows are not what the statement reads. */
	begin(f, &c, "copy t from stdin with (format csv)");
	ck_assert_int_eq(pg_copy_row(&c, &all, &e), -EINVAL);
	ck_assert_contains(e.what, "write the bytes");
	ck_assert_str_eq(end(f, &c), "0");
	/* What can't be written makes it fail. */
	struct value nul = value_string("a\0b", 3);
	all = (struct value){.kind = VALUE_LIST, .count = 1, .list = &nul};
	begin(f, &c, "copy t from stdin");
	ck_assert_int_eq(pg_copy_row(&c, &all, &e), -EINVAL);
	ck_assert_contains(e.what, "a NUL byte");
	ck_assert_contains(end(f, &c), "a NUL byte");
	await_clean(f);
}

PG_TEST(binary_bytes_pass_untouched)
{
	struct pg_copy in, out;
	struct error e = ERROR_INIT;
	const void *p;
	int64_t n;

	free(server_sql("truncate t; insert into t select n, repeat(chr(n), n) from generate_series(1, 200) n; "
			"truncate u"));
	begin(f, &out, "copy t to stdout with (format binary)");
	begin(f, &in, "copy u from stdin with (format binary)");
	while ((n = pg_copy_read(&out, &p, &e)) > 0)
		ck_assert_int_eq(pg_copy_write(&in, p, (size_t)n, &e), 0);
	ck_assert_int_eq(n, 0);
	ck_assert_str_eq(end(f, &out), "200");
	ck_assert_str_eq(end(f, &in), "200");
	char *same = server_sql("select count(*) from t join u using (a, b)");
	ck_assert_str_eq(same, "200");
	free(same);
	clear();
	await_clean(f);
}

PG_TEST(a_bad_row_is_told_with_its_line)
{
	struct pg_copy c;
	clear();
	begin(f, &c, "copy t from stdin");
	put(&c, "1\ta\n2\tb\nzwei\tc\n");
	const char *got = end(f, &c);
	ck_assert_contains(got, "! 500 22P02 gd_pg_copy, source shop: invalid input syntax for type integer");
	ck_assert_contains(got, "(COPY t, line 3, column a)");
	/* A stranger's is his fault, and not for the log. */
	struct value row[] = {value_string("secret", 6), VALUE_OF_NULL};
	struct value list = {.kind = VALUE_LIST, .count = 2, .list = row};
	struct error e = ERROR_INIT;
	row[0].from_request = true;
	begin(f, &c, "copy t from stdin");
	ck_assert_int_eq(pg_copy_row(&c, &list, &e), 0);
	got = end(f, &c);
	ck_assert_contains(got, "! 400 22P02");
	ck_assert_ptr_null(strstr(got, "secret"));
	begin(f, &c, "copy t from stdin");
	put(&c, "1\ta\textra\n");
	ck_assert_contains(end(f, &c), "22P04");
	begin(f, &c, "copy t from stdin");
	put(&c, "1\ta\n1\tb\n");
	ck_assert_contains(end(f, &c), "! 409 23505");
	ck_assert_str_eq(table(f), "");
	await_clean(f);
}

/* Not all the rest is sent in vain; notices are nothing bad. */
PG_TEST(a_refusal_is_seen_before_the_end)
{
	struct pg_copy c;
	struct error e = ERROR_INIT;
	int r = 0;

	clear();
	begin(f, &c, "copy t from stdin");
	put(&c, "eins\ta\n");
	for (int i = 0; i < 3000 && r == 0; i++) {
		ck_assert_int_eq(task_sleep_ms(10), 0);
		r = pg_copy_write(&c, "2\tb\n", 4, &e);
	}
	ck_assert_int_eq(r, -EINVAL);
	ck_assert_str_eq(e.code, "22P02");
	ck_assert_contains(e.what, "(COPY t, line 1, column a)");
	pg_copy_close(&c);
	await_clean(f);
	begin(f, &c, "copy noticed from stdin");
	for (int i = 0; i < 150; i++) {
		ck_assert_int_eq(task_sleep_ms(10), 0);
		for (int row = 0; row < 100; row++)
			put(&c, "some words\n");
	}
	ck_assert_str_eq(end(f, &c), "15000");
	await_clean(f);
}

PG_TEST(only_copies_with_the_client_are_taken)
{
	static const struct {
		const char *sql, *why;
	} wrong[] = {
		{"select 1", "expected COPY"},
		{"copy t from '/etc/passwd'", "expected COPY"},
		{"copy t from program 'id'", "expected COPY"},
		{"copy t to '/tmp/x'", "expected COPY"},
		{"copy t to program 'cat' /* to stdout */", "expected COPY"},
		{"copy t from E'stdin' stdin", "expected COPY"},
		{"copy t from $$stdin$$", "expected COPY"},
		{"copy t from /* stdin */ \"stdin\"", "expected COPY"},
		{"copy (select 1 from stdin) to '/tmp/x'", "expected COPY"},
		{"copy t from stdout", "expected COPY"},
		{"copy t to stdin", "expected COPY"},
		{"copy t", "expected COPY"},
		{"", "expected COPY"},
		{"copy t from stdin; drop table t", "one statement at a time"},
		{"copy (select $1) to stdout", "COPY takes no parameters"},
		{"copy nowhere from stdin", "42P01"},
		{"copy (insert into t values (7) returning a) to stdout", "what writes is copied out by gd_tx_copy"},
		{"copy t (nothing) from stdin", "42703"},
		{"copy (select 1 / 0) to stdout", "22012"},
	};
	struct pg_copy c;
	struct error e;

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		int r = open_copy(f, &c, wrong[i].sql, &e);
		const char *got = said(f, r, 0, &e);
		if (r == 0)
			got = next(f, &c);
		ck_assert_contains(got, wrong[i].why);
		pg_copy_close(&c);
		await_quiet(f);
	}
	begin(f, &c, "copy /* to '/tmp/x' */ \"t\" -- from 'x'\n (a) from  stdin");
	const void *p;
	ck_assert_int_eq(pg_copy_read(&c, &p, &e), -EINVAL);
	ck_assert_str_eq(end(f, &c), "0");
	begin(f, &c, "copy (select ' to stdin ' as \"from\") to stdout");
	ck_assert_int_eq(pg_copy_write(&c, "x", 1, &e), -EINVAL);
	ck_assert_str_eq(next(f, &c), " to stdin \n");
	ck_assert_str_eq(end(f, &c), "1");
	await_clean(f);
}

/* --- out of one --- */

PG_TEST(rows_come_as_they_are)
{
	struct pg_copy c;
	begin(f, &c, "copy (select n, 'row ' || n from generate_series(1, 5000) n) to stdout");
	for (int i = 1; i <= 5000; i++)
		ck_assert_str_eq(next(f, &c), arena_printf(&f->arena, "%d\trow %d\n", i, i));
	ck_assert_str_eq(next(f, &c), "end");
	ck_assert_str_eq(next(f, &c), "end");
	ck_assert_str_eq(end(f, &c), "5000");
	await_clean(f);
	/* One that fails on its way. */
	begin(f, &c, "copy (select 1 / (n - 3000) from generate_series(1, 5000) n) to stdout");
	const char *got;
	while ((got = next(f, &c))[0] != '!' && strcmp(got, "end") != 0)
		;
	ck_assert_contains(got, "! 500 22012");
	ck_assert_contains(end(f, &c), "! 500");
	/* What was not read is dropped. */
	begin(f, &c, "copy (select generate_series(1, 100000)) to stdout");
	ck_assert_str_eq(next(f, &c), "1\n");
	ck_assert_str_eq(end(f, &c), "100000");
	await_clean(f);
}

static long grown(long before)
{
	return resident_kib() - before;
}

PG_TEST(a_slow_server_or_reader_takes_no_memory)
{
	enum { KIB = 100 << 10 };
	static char block[64 << 10];
	struct pg_copy c;
	struct error e = ERROR_INIT;
	const void *p;
	int64_t n, sum = 0;
	long most = 0, before = resident_kib();

	/* The server sleeps at every 1000th row, and we go on writing. */
	free(server_sql("truncate slow"));
	for (size_t i = 0; i < sizeof(block); i++)
		block[i] = i % 64 == 63 ? '\n' : 'x';
	begin(f, &c, "copy slow from stdin");
	for (int i = 0; i < KIB / 64; i++) {
		ck_assert_int_eq(pg_copy_write(&c, block, sizeof(block), &e), 0);
		most = grown(before) > most ? grown(before) : most;
	}
	ck_assert_str_eq(end(f, &c), arena_printf(&f->arena, "%d", (KIB / 64) * 1024));
	ck_assert_msg(most < 20000 + QUARANTINE_KIB, "grew by %ld KiB", most);
	/* It sends as fast as it can, and we read a little and sleep. */
	begin(f, &c, "copy (select repeat('x', 1000) from generate_series(1, 100000)) to stdout");
	before = resident_kib();
	for (int i = 0; (n = pg_copy_read(&c, &p, &e)) > 0; i++) {
		sum += n;
		if (i % 2000 == 0) {
			ck_assert_int_eq(task_sleep_ms(10), 0);
			most = grown(before) > most ? grown(before) : most;
		}
	}
	ck_assert_int_eq(n, 0);
	ck_assert_int_eq(sum, 100100000);
	ck_assert_msg(most < 20000 + QUARANTINE_KIB, "grew by %ld KiB", most);
	ck_assert_str_eq(end(f, &c), "100000");
	free(server_sql("truncate slow"));
	await_clean(f);
}

static int count_turns(void *arg)
{
	unsigned *turns = arg;
	int r;
	while ((r = task_yield()) == 0)
		++*turns;
	return r;
}

PG_TEST(others_run_meanwhile)
{
	unsigned turns = 0;
	struct pg_copy c;
	struct task *t = spawn(count_turns, &turns);
	clear();
	begin(f, &c, "copy slow from stdin");
	for (int i = 0; i < 200000; i++)
		put(&c, "some text\n");
	ck_assert_str_eq(end(f, &c), "200000");
	task_cancel(t);
	ck_assert_int_eq(join(t), -ECANCELED);
	ck_assert_uint_gt(turns, 20);
	free(server_sql("truncate slow"));
	await_quiet(f);
}

/* --- given up --- */

PG_TEST(without_its_end_nothing_is_stored)
{
	static const char *const copies[] = {
		"copy t from stdin",
		"copy (select generate_series(1, 10)) to stdout",
		"copy (select generate_series(1, 100000000), repeat('x', 1000)) to stdout",
		("copy (select n, pg_sleep(case when n > 50 then 100 else 0 end), repeat('x', 1000) from "
		 "generate_series(1, 90) n) to stdout"),
	};
	clear();
	for (size_t i = 0; i < ARRAY_SIZE(copies); i++) {
		for (int rows = 0; rows < 5; rows++) {
			struct pg_copy c;
			begin(f, &c, copies[i]);
			for (int row = 0; row < rows && c.in; row++)
				put(&c, arena_printf(&f->arena, "%d\tx\n", row));
			for (int row = 0; row < rows && !c.in; row++)
				next(f, &c);
			pg_copy_close(&c);
			pg_copy_close(&c);
			await_clean(f);
			ck_assert_str_eq(table(f), "");
		}
	}
}

/* --- within a transaction --- */

struct story {
	struct fixture *f;
	int (*tell)(struct story *s, struct pg_transaction *tx);
	struct pg_copy kept;
	int result; /* of a function that does all it should */
	bool done;
	int64_t rows;
	struct error error;
};

static int tell(struct pg_transaction *tx, void *arg)
{
	struct story *s = arg;
	return s->tell(s, tx);
}

static int transact(struct story *s)
{
	struct pg_transaction_options options = {.call = "gd_pg_transaction", .timeout_us = 60000000};
	s->error = ERROR_INIT;
	int r = pg_transact(client_of(s->f), &s->f->arena, &options, tell, s, &s->error);
	s->done = true;
	return r;
}

static void begin_within(struct story *s, struct pg_transaction *tx, struct pg_copy *c, const char *sql)
{
	int r = open_within(tx, c, sql, &s->error);
	ck_assert_msg(r == 0, "%s", s->error.what);
}

static int in_and_out(struct story *s, struct pg_transaction *tx)
{
	struct fixture *f = s->f;
	struct pg_copy c;

	ck_assert_str_eq(in_tx(f, tx, "insert into t values (1, 'a')"), "changed 1");
	begin_within(s, tx, &c, "copy t from stdin");
	put(&c, "2\tb\n");
	ck_assert_contains(in_tx(f, tx, "select 1"), "gd_copy_end comes first");
	put(&c, "3\tc\n");
	ck_assert_str_eq(end(f, &c), "2");
	ck_assert_str_eq(in_tx(f, tx, "update t set b = 'd' where a = 3"), "changed 1");
	begin_within(s, tx, &c, "copy (select a, b from t order by a) to stdout");
	ck_assert_str_eq(next(f, &c), "1\ta\n");
	ck_assert_str_eq(next(f, &c), "2\tb\n");
	ck_assert_str_eq(next(f, &c), "3\td\n");
	ck_assert_str_eq(next(f, &c), "end");
	pg_copy_close(&c);
	begin_within(s, tx, &c, "copy (insert into t values (4, 'e') returning a) to stdout");
	ck_assert_str_eq(next(f, &c), "4\n");
	ck_assert_str_eq(end(f, &c), "1");
	ck_assert_contains(in_tx(f, tx, "select current_setting('statement_timeout') as t"), "[{\"t\":\"11s\"}]");
	ck_assert_str_eq(table(f), "");
	return s->result;
}

PG_TEST(within_a_transaction)
{
	struct story s = {.f = f, .tell = in_and_out, .result = -EPERM};
	clear();
	ck_assert_int_eq(transact(&s), -EPERM);
	ck_assert_str_eq(table(f), "");
	s.result = 7;
	ck_assert_int_eq(transact(&s), 7);
	ck_assert_str_eq(table(f), "1:a,2:b,3:d,4:e");
	clear();
	await_clean(f);
}

static int sub_copies_badly(struct pg_transaction *tx, void *arg)
{
	struct story *s = arg;
	struct pg_copy c;
	begin_within(s, tx, &c, "copy t from stdin");
	put(&c, "1\tagain\n");
	ck_assert_contains(end(s->f, &c), "23505");
	ck_assert_contains(in_tx(s->f, tx, "select 1"), "25P02");
	return 0;
}

static int sub_gives_up(struct pg_transaction *tx, void *arg)
{
	struct story *s = arg;
	begin_within(s, tx, &s->kept, "copy t from stdin");
	put(&s->kept, "5\tx\n");
	return 0;
}

static int sub_gives_up_reading(struct pg_transaction *tx, void *arg)
{
	struct story *s = arg;
	begin_within(s, tx, &s->kept, "copy (select generate_series(1, 1000)) to stdout");
	ck_assert_str_eq(next(s->f, &s->kept), "1\n");
	return 0;
}

static int with_savepoints(struct story *s, struct pg_transaction *tx)
{
	struct error e;
	ck_assert_str_eq(in_tx(s->f, tx, "insert into t values (1, 'a')"), "changed 1");
	ck_assert_int_eq(pg_transaction_savepoint(tx, sub_copies_badly, s, &e), -EEXIST);
	ck_assert_int_eq(pg_transaction_savepoint(tx, sub_gives_up, s, &e), -EINVAL);
	ck_assert_contains(e.what, "gd_copy_end stores it");
	ck_assert_contains(end(s->f, &s->kept), "closed");
	ck_assert_int_eq(pg_transaction_savepoint(tx, sub_gives_up_reading, s, &e), 0);
	ck_assert_str_eq(in_tx(s->f, tx, "insert into t values (2, 'b')"), "changed 1");
	return 0;
}

static int leaves_it_open(struct story *s, struct pg_transaction *tx)
{
	ck_assert_str_eq(in_tx(s->f, tx, "insert into t values (3, 'a')"), "changed 1");
	return sub_gives_up(tx, s);
}

/* Too much to be read while it is given up. */
static int leaves_much(struct story *s, struct pg_transaction *tx)
{
	ck_assert_str_eq(in_tx(s->f, tx, "insert into t values (3, 'a')"), "changed 1");
	begin_within(s, tx, &s->kept, "copy (select generate_series(1, 1000000000)) to stdout");
	return 0;
}

PG_TEST(what_is_given_up_fails_its_savepoint)
{
	struct story s = {.f = f, .tell = with_savepoints};
	clear();
	int r = transact(&s);
	ck_assert_msg(r == 0, "%s", s.error.what);
	ck_assert_str_eq(table(f), "1:a,2:b");
	s.tell = leaves_it_open;
	ck_assert_int_eq(transact(&s), -EINVAL);
	ck_assert_contains(s.error.what, "gd_copy_end stores it");
	s.tell = leaves_much;
	ck_assert_int_lt(transact(&s), 0);
	await_quiet(f);
	ck_assert_str_eq(table(f), "1:a,2:b");
	clear();
	await_clean(f);
}

/* --- interrupted --- */

static int copy_in_task(void *arg)
{
	struct story *s = arg;
	struct pg_copy c;
	static char row[70000];
	int r = open_copy(s->f, &c, "copy t from stdin", &s->error);

	memset(row, 'x', sizeof(row) - 1);
	row[0] = '1';
	row[1] = '\t';
	row[sizeof(row) - 1] = '\n';
	for (int i = 0; i < 5 && r == 0; i++) {
		row[0] = (char)('1' + i);
		r = pg_copy_write(&c, row, sizeof(row), &s->error);
	}
	if (r == 0)
		r = pg_copy_end(&c, &s->rows, &s->error);
	pg_copy_close(&c);
	s->done = true;
	return r;
}

static int copy_out_task(void *arg)
{
	struct story *s = arg;
	struct pg_copy c;
	const void *p;
	int64_t n = open_copy(s->f, &c, "copy (select n, repeat('x', 100) from generate_series(1, 2000) n) to stdout",
			      &s->error);
	if (n == 0) {
		while ((n = pg_copy_read(&c, &p, &s->error)) > 0)
			;
	}
	if (n == 0)
		n = pg_copy_end(&c, &s->rows, &s->error);
	pg_copy_close(&c);
	s->done = true;
	return (int)n;
}

static int copy_within(struct story *s, struct pg_transaction *tx)
{
	struct pg_copy c;
	int r = open_within(tx, &c, "copy t from stdin", &s->error);
	if (r == 0)
		r = pg_copy_write(&c, "1\ta\n", 4, &s->error);
	if (r == 0)
		r = pg_copy_end(&c, &s->rows, &s->error);
	if (r < 0)
		pg_copy_close(&c);
	return r;
}

static int copy_within_task(void *arg)
{
	return transact(arg);
}

static void sweep(struct fixture *f, task_fn fn, unsigned all)
{
	unsigned cancelled = 0;
	bool finished = false;

	/* As often as it takes: how many there are in one sweep depends on how much comes at once. */
	for (unsigned n = 0, sweeps = 0; sweeps == 0 || (cancelled < 5 && sweeps < 100);
	     n = finished ? 0 : n + 1 + n / 25) {
		struct story s = {.f = f, .tell = copy_within};
		int r;
		finished = cancel_after(n, fn, &s, &s.done, &r);
		ck_assert_msg(r == 0 || r == -ECANCELED || r == -EIO, "%d %s", r, s.error.what);
		cancelled += r < 0;
		await_quiet(f);
		ck_assert_uint_eq(rows_of("t"), r == 0 ? all : 0);
		free(server_sql("truncate t"));
		ck_assert_str_eq(read_text(f, "select 1 as a", NULL, 0), "[{\"a\":1}]");
		sweeps += finished;
	}
	ck_assert_uint_ge(cancelled, 5);
}

PG_TEST(cancel_at_each_suspension)
{
	clear();
	sweep(f, copy_in_task, 5);
	sweep(f, copy_within_task, 1);
	sweep(f, copy_out_task, 0);
}

PG_TEST(time_out_at_each_suspension)
{
	unsigned late = 0;

	clear();
	for (int us = 0; us < 8000; us += 1 + us / 8) {
		struct story s = {.f = f, .tell = copy_within};
		deadline_t before = deadline_push(deadline_in_us(us));
		int r = us % 2 ? copy_in_task(&s) : transact(&s);
		deadline_pop(before);
		ck_assert_msg(r == 0 || r == -ETIMEDOUT || r == -EIO, "%d %s", r, s.error.what);
		late += r < 0;
		await_quiet(f);
		ck_assert_uint_eq(rows_of("t"), r == 0 ? (us % 2 ? 5 : 1) : 0);
		free(server_sql("truncate t"));
	}
	ck_assert_uint_ge(late, 3);
	await_clean(f);
}

PG_TEST(the_server_goes_away)
{
	struct error e = ERROR_INIT;
	struct pg_copy c;

	clear();
	for (int rows = 0; rows < 3; rows++) {
		begin(f, &c, "copy t from stdin");
		for (int i = 0; i < rows; i++)
			put(&c, arena_printf(&f->arena, "%d\tx\n", i));
		end_sessions("state <> 'idle'");
		int r = 0;
		for (int i = 0; i < 2000 && r == 0; i++) {
			ck_assert_int_eq(task_sleep_ms(1), 0);
			r = pg_copy_write(&c, "7\tx\n", 4, &e);
		}
		ck_assert_msg(e.status == 502 || e.status == 503, "%d %s", e.status, e.what);
		ck_assert_contains(end(f, &c), "!");
		pg_copy_close(&c);
		await_clean(f);
		begin(f, &c, "copy (select n, repeat('x', 1000) from generate_series(1, 1000000) n) to stdout");
		for (int i = 0; i < rows; i++)
			next(f, &c);
		end_sessions("state <> 'idle'");
		const char *got;
		while ((got = next(f, &c))[0] != '!' && strcmp(got, "end") != 0)
			;
		check_broken(got);
		pg_copy_close(&c);
		await_clean(f);
		ck_assert_str_eq(table(f), "");
	}
}

PG_TEST(each_wait_has_its_timeout)
{
	struct pg_copy c;
	struct error e = ERROR_INIT;
	struct pg_copy_ask ask = copy_ask("gd_pg_copy", "copy (select pg_sleep(60)) to stdout");
	const void *p;

	ask.timeout_us = 100000;
	int r = pg_copy_open(&c, client_of(f), &ask, &e);
	if (r == 0)
		r = (int)pg_copy_read(&c, &p, &e);
	ck_assert_int_eq(r, -ETIMEDOUT);
	ck_assert_int_eq(e.status, 504);
	pg_copy_close(&c);
	await_clean(f);
}

PG_TEST_OF(without_prepared_statements, false)
{
	struct pg_copy c;
	clear();
	begin(f, &c, "copy t from stdin");
	put(&c, "1\tx\n");
	ck_assert_str_eq(end(f, &c), "1");
	begin(f, &c, "copy (select a, timestamptz '2024-01-01 00:00Z' from t) to stdout");
	ck_assert_str_eq(next(f, &c), "1\t2024-01-01 00:00:00+00\n");
	ck_assert_str_eq(end(f, &c), "1");
	await_quiet(f);
	clear();
}

LOOP_TEST(closing_ends_it)
{
	struct fixture f;
	fixture_config(&f);
	fixture_open(&f);
	struct story s = {.f = &f};
	free(server_sql("truncate t; insert into t values (1, 'held')"));
	struct task *t = spawn(copy_in_task, &s); /* it waits for who inserts the same key */
	PGconn *pg = server_connect();
	PQclear(PQexec(pg, "begin; delete from t"));
	ck_assert_int_eq(task_sleep_ms(200), 0);
	fixture_close_now(&f);
	ck_assert_int_lt(join(t), 0);
	PQfinish(pg);
	fixture_free(&f);
	ck_assert_uint_eq(rows_of("t"), 1);
	clear();
	return 0;
}

static const char setup[] =
	"create table t (a int primary key, b text); create table u (a int, b text); "
	"create table wide (a int, s text, b bool, n numeric, y bytea, l int[], j jsonb, z text); "
	"create table slow (a text); "
	"create function sleep() returns trigger language plpgsql as $$ begin perform pg_sleep(0.0002); return new; "
	"end "
	"$$; "
	"create table noticed (a text); "
	"create function notice() returns trigger language plpgsql as $$ begin raise notice '%', repeat('n', 200); "
	"return "
	"new; end $$; "
	"create trigger noticed before insert on noticed for each row execute function notice(); "
	"create sequence seen; "
	"create trigger slow before insert on slow for each row when (nextval('seen') % 1000 = 0) execute function "
	"sleep()";

int main(void)
{
	server_start();
	free(server_sql("%s", setup));
	Suite *s = suite_create("PostgreSQL COPY");
	TCase *c = async_tcase(s, "copy");
	tcase_set_timeout(c, 120);
	tcase_add_test(c, bytes_are_stored_at_the_end);
	tcase_add_test(c, rows_are_written_as_they_are_meant);
	tcase_add_test(c, binary_bytes_pass_untouched);
	tcase_add_test(c, a_bad_row_is_told_with_its_line);
	tcase_add_test(c, a_refusal_is_seen_before_the_end);
	tcase_add_test(c, only_copies_with_the_client_are_taken);
	tcase_add_test(c, rows_come_as_they_are);
	tcase_add_test(c, a_slow_server_or_reader_takes_no_memory);
	tcase_add_test(c, others_run_meanwhile);
	tcase_add_test(c, without_its_end_nothing_is_stored);
	tcase_add_test(c, within_a_transaction);
	tcase_add_test(c, what_is_given_up_fails_its_savepoint);
	tcase_add_test(c, cancel_at_each_suspension);
	tcase_add_test(c, time_out_at_each_suspension);
	tcase_add_test(c, the_server_goes_away);
	tcase_add_test(c, each_wait_has_its_timeout);
	tcase_add_test(c, without_prepared_statements);
	tcase_add_test(c, closing_ends_it);
	return run_and_stop_server(s);
}
