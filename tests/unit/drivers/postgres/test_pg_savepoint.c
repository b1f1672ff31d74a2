/* What a savepoint mends that was not waited for: the statement is cancelled on the server, and the transaction goes on
 * where the server answers that. */
#include "drivers/postgres/calls/copy.h"
#include "drivers/postgres/calls/stream.h"
#include "tests/unit/drivers/postgres/postgres_ask.h"

struct story {
	struct fixture *f;
	const char *sql;
	int (*within)(struct story *s, struct pg_transaction *tx);
	int64_t timeout_us;
	unsigned n;
	int base;         /* of what is inserted */
	int result, part; /* of the transaction, of the savepoint */
	struct error error, part_error;
	struct pg_transaction *tx;
	bool waiting, done;
};

static int run_within(struct pg_transaction *tx, void *arg)
{
	struct story *s = arg;
	return s->within(s, tx);
}

static void insert(struct story *s, struct pg_transaction *tx, int x)
{
	const char *got = in_tx(s->f, tx, arena_printf(&s->f->arena, "insert into t values (%d)", x));
	ck_assert_str_eq(got, "changed 1");
}

static int tell(struct pg_transaction *tx, void *arg)
{
	struct story *s = arg;
	s->tx = tx;
	insert(s, tx, s->base + 1);
	const char *before = in_tx(s->f, tx, "select pg_backend_pid() as pid");
	s->part = pg_transaction_savepoint(tx, run_within, s, &s->part_error);
	const char *after = in_tx(s->f, tx, "select pg_backend_pid() as pid");
	if (after[0] == '!')
		return -EIO;
	ck_assert_str_eq(after, before);
	insert(s, tx, s->base + 3);
	return 0;
}

static int transact(void *arg)
{
	struct story *s = arg;
	struct pg_transaction_options options = {.call = "gd_pg_transaction",
						 .timeout_us = s->timeout_us ? s->timeout_us : 60000000};
	s->error = s->part_error = ERROR_INIT;
	s->result = pg_transact(client_of(s->f), &s->f->arena, &options, tell, s, &s->error);
	s->done = true;
	return s->result;
}

static const char *rows(struct fixture *f)
{
	char *got = server_sql("select coalesce(string_agg(x::text, ',' order by x), '') from t");
	const char *out = arena_strdup(&f->arena, got);
	free(got);
	return out;
}

static void clear(void)
{
	free(server_sql("truncate t"));
}

/* The savepoint's part has failed so, and all the rest is stored. */
static void check_mended(struct story *s, int part)
{
	ck_assert_msg(s->result == 0, "%d %s", s->result, s->error.what);
	ck_assert_msg(s->part == part, "%d %s", s->part, s->part_error.what);
	ck_assert_str_eq(rows(s->f), "1,3");
	await_quiet(s->f);
	clear();
}

/* --- statements --- */

static int too_long(struct story *s, struct pg_transaction *tx)
{
	insert(s, tx, 2);
	ck_assert_contains(in_tx(s->f, tx, s->sql), "! 504");
	ck_assert_contains(in_tx(s->f, tx, "select 1"), "! 504 25P02");
	return 0;
}

static void check_timeouts(struct fixture *f)
{
	static const char *const slow[] = {
		"select pg_sleep(100)", "with a as (insert into t values (9) returning x) select pg_sleep(100) from a",
		"insert into slow values (1)"};
	for (size_t i = 0; i < 2 * ARRAY_SIZE(slow); i++) {
		struct story s = {.f = f, .within = too_long, .timeout_us = 100000};
		s.sql = slow[i % ARRAY_SIZE(slow)];
		transact(&s);
		check_mended(&s, -ETIMEDOUT);
		ck_assert_int_eq(s.part_error.status, 504);
	}
}

PG_TEST(one_that_times_out)
{
	check_timeouts(f);
}

PG_TEST_OF(without_prepared_statements, false)
{
	check_timeouts(f);
}

/* PREPARE waits for a lock. */
PG_TEST(one_that_is_not_known_yet)
{
	PGconn *other = server_connect();
	PQclear(PQexec(other, "begin; lock table locked in access exclusive mode"));
	struct story s = {.f = f, .within = too_long, .timeout_us = 100000, .sql = "select row(x) as r from locked"};
	transact(&s);
	check_mended(&s, -ETIMEDOUT);
	PQfinish(other);
	ck_assert_str_eq(read_text(f, s.sql, NULL, 0), "[]");
}

static int pushed_deadline(struct story *s, struct pg_transaction *tx)
{
	deadline_t before = deadline_push(deadline_in_us(50000));
	ck_assert_contains(in_tx(s->f, tx, "select pg_sleep(100)"), "! 504");
	deadline_pop(before);
	return -ENOENT;
}

static int waits_100s(struct story *s, struct pg_transaction *tx)
{
	s->waiting = true;
	return in_tx(s->f, tx, "select pg_sleep(100)")[0] == '!' ? -EIO : 0;
}

static int nested(struct story *s, struct pg_transaction *tx)
{
	struct story inner = {.f = s->f, .within = waits_100s};
	insert(s, tx, 2);
	deadline_t before = deadline_push(deadline_in_us(50000));
	ck_assert_int_eq(pg_transaction_savepoint(tx, run_within, &inner, &inner.error), -EIO);
	deadline_pop(before);
	ck_assert_str_eq(in_tx(s->f, tx, "select x from t order by x"), "[{\"x\":1},{\"x\":2}]");
	return -ESTALE;
}

PG_TEST(deadlines_of_the_task)
{
	struct story s = {.f = f, .within = pushed_deadline};
	transact(&s);
	check_mended(&s, -ENOENT);
	s = (struct story){.f = f, .within = nested};
	transact(&s);
	check_mended(&s, -ESTALE);
}

/* --- tasks that are cancelled --- */

static int child(void *arg)
{
	struct story *s = arg;
	return waits_100s(s, s->tx);
}

static int cancels_a_child(struct story *s, struct pg_transaction *tx)
{
	(void)tx;
	struct task *t = spawn(child, s);
	while (!s->waiting)
		ck_assert_int_eq(task_sleep_ms(1), 0);
	ck_assert_int_eq(task_sleep_ms(10), 0);
	task_cancel(t);
	ck_assert_int_eq(join(t), -EIO);
	return -ENOENT;
}

/* A task of its own for the whole of the savepoint. */
static int child_with_savepoint(void *arg)
{
	struct story inner = {.f = ((struct story *)arg)->f, .within = waits_100s};
	return pg_transaction_savepoint(((struct story *)arg)->tx, run_within, &inner, &inner.error);
}

static int tell_with_child(struct pg_transaction *tx, void *arg)
{
	struct story *s = arg;
	s->tx = tx;
	insert(s, tx, 1);
	struct task *t = spawn(child_with_savepoint, s);
	ck_assert_int_eq(task_sleep_ms(30), 0);
	task_cancel(t);
	s->part = join(t);
	insert(s, tx, 3);
	return 0;
}

PG_TEST(a_child_that_is_cancelled)
{
	struct pg_transaction_options options = {.call = "gd_pg_transaction"};
	struct story s = {.f = f, .within = cancels_a_child};
	transact(&s);
	check_mended(&s, -ENOENT);
	s = (struct story){.f = f};
	s.result = pg_transact(client_of(f), &f->arena, &options, tell_with_child, &s, &s.error);
	check_mended(&s, -EIO);
}

PG_TEST(the_task_itself_is_cancelled)
{
	struct story s = {.f = f, .within = waits_100s};
	struct task *t = spawn(transact, &s);
	while (!s.waiting)
		ck_assert_int_eq(task_sleep_ms(1), 0);
	ck_assert_int_eq(task_sleep_ms(10), 0);
	int64_t begun = loop_now_us(loop_current());
	task_cancel(t);
	ck_assert_int_lt(join(t), 0);
	ck_assert_int_lt(loop_now_us(loop_current()) - begun, 20000000);
	await_quiet(f);
	ck_assert_str_eq(rows(f), "");
}

/* --- COPY and streams --- */

static struct pg_copy_ask copy_ask(const char *sql)
{
	return (struct pg_copy_ask){.call = "gd_tx_copy", .sql = sql, .len = strlen(sql)};
}

static int copies_in(struct story *s, struct pg_transaction *tx)
{
	struct pg_copy_ask ask = copy_ask("copy slow from stdin");
	struct pg_copy c;
	struct error e;
	int64_t n;
	(void)s;
	ck_assert_int_eq(pg_copy_open_within(&c, tx, &ask, &e), 0);
	ck_assert_int_eq(pg_copy_write(&c, "1\n", 2, &e), 0);
	return pg_copy_end(&c, &n, &e);
}

/* Nothing is read, nothing is ended: the deadline of the task passes while more is written than the server takes. */
static int copies_in_vain(struct story *s, struct pg_transaction *tx)
{
	struct pg_copy_ask ask = copy_ask("copy slow from stdin");
	static struct pg_copy c;
	struct error e;
	char *lines = arena_alloc(&s->f->arena, 1 << 20);
	int r;

	memset(lines, '\n', 1 << 20);
	for (size_t i = 0; i + 1 < 1 << 20; i += 2)
		lines[i] = '7';
	r = pg_copy_open_within(&c, tx, &ask, &e);
	while (r == 0)
		r = pg_copy_write(&c, lines, 1 << 20, &e);
	return r; /* open still */
}

static int copies_out(struct story *s, struct pg_transaction *tx)
{
	struct pg_copy_ask ask = copy_ask(s->sql);
	struct pg_copy c;
	struct error e;
	const void *p;
	int64_t n = pg_copy_open_within(&c, tx, &ask, &e);
	for (n = n < 0 ? n : 1; n > 0; n = pg_copy_read(&c, &p, &e))
		;
	pg_copy_close(&c);
	return (int)n;
}

PG_TEST(copies_that_time_out)
{
	struct story s = {.f = f, .within = copies_in, .timeout_us = 100000};
	transact(&s);
	check_mended(&s, -ETIMEDOUT);
	s = (struct story){.f = f, .within = copies_in_vain, .timeout_us = 100000};
	transact(&s);
	check_mended(&s, -ETIMEDOUT);
	static const char *const out[] = {
		"copy (select pg_sleep(100)) to stdout",
		"copy (select repeat('x', 10000), pg_sleep(n / 500) from generate_series(1, 1000) n) to stdout"};
	for (size_t i = 0; i < ARRAY_SIZE(out); i++) {
		s = (struct story){.f = f, .within = copies_out, .timeout_us = 100000, .sql = out[i]};
		transact(&s);
		check_mended(&s, -ETIMEDOUT);
	}
}

static struct pg_ask stream_ask(const char *sql)
{
	struct pg_ask ask = ask_of(sql, NULL, 0);
	ask.call = "gd_tx_stream";
	return ask;
}

static int streams(struct story *s, struct pg_transaction *tx)
{
	struct pg_ask ask = stream_ask(s->sql);
	struct pg_stream stream;
	struct value row;
	struct error e;
	int r = pg_stream_open_within(&stream, tx, &ask, &e);
	unsigned n = 0;
	for (r = r < 0 ? r : 1; r > 0; r = pg_stream_next(&stream, &row, &e))
		n++;
	ck_assert_uint_lt(n, 50);
	ck_assert_int_lt(pg_stream_next(&stream, &row, &e), 0);
	pg_stream_close(&stream);
	return r;
}

static int reads_outer(struct story *s, struct pg_transaction *tx);

static struct pg_stream outer;

static int tell_with_stream(struct pg_transaction *tx, void *arg)
{
	struct story *s = arg;
	struct pg_ask ask = stream_ask(s->sql);
	struct error e;
	struct value row;
	insert(s, tx, 1);
	ck_assert_int_eq(pg_stream_open_within(&outer, tx, &ask, &e), 0);
	s->part = pg_transaction_savepoint(tx, run_within, s, &s->part_error);
	/* What it would have brought is lost: it does not end as if that were all. */
	ck_assert_int_lt(pg_stream_next(&outer, &row, &e), 0);
	pg_stream_close(&outer);
	insert(s, tx, 3);
	return 0;
}

static int reads_outer(struct story *s, struct pg_transaction *tx)
{
	struct value row;
	struct error e;
	int r;
	(void)s, (void)tx;
	while ((r = pg_stream_next(&outer, &row, &e)) > 0)
		;
	return r;
}

PG_TEST(streams_that_time_out)
{
	static const char *const slow[] = {
		"select pg_sleep(100)",
		"select pg_sleep(case when n = 40 then 100 else 0 end) from generate_series(1, 100) n"};
	struct pg_transaction_options options = {.call = "gd_pg_transaction", .timeout_us = 100000};
	for (size_t i = 0; i < ARRAY_SIZE(slow); i++) {
		struct story s = {.f = f, .within = streams, .timeout_us = 100000, .sql = slow[i]};
		transact(&s);
		check_mended(&s, -ETIMEDOUT);
	}
	struct story s = {.f = f, .within = reads_outer, .sql = slow[1]};
	s.result = pg_transact(client_of(f), &f->arena, &options, tell_with_stream, &s, &s.error);
	check_mended(&s, -ETIMEDOUT);
	/* One that merely fails, where the savepoint has nothing else in it. */
	s = (struct story){.f = f, .within = reads_outer, .sql = "select 1 / (n - 40) from generate_series(1, 100) n"};
	s.result = pg_transact(client_of(f), &f->arena, &options, tell_with_stream, &s, &s.error);
	check_mended(&s, -EINVAL);
}

/* --- servers that do not answer, and many at once --- */

static int stops_the_server(struct story *s, struct pg_transaction *tx)
{
	const char *got = in_tx(s->f, tx, "select pg_backend_pid() as pid");
	s->n = (unsigned)atoi(strchr(got, ':') + 1);
	kill((pid_t)s->n, SIGSTOP);
	ck_assert_contains(in_tx(s->f, tx, "select 2"), "! 504");
	return 0;
}

PG_TEST(a_server_that_does_not_answer)
{
	struct story s = {.f = f, .within = stops_the_server, .timeout_us = 50000};
	transact(&s);
	kill((pid_t)s.n, SIGCONT);
	ck_assert_int_eq(s.part, -ETIMEDOUT);
	ck_assert_contains(s.part_error.what, "did not end after it was cancelled");
	ck_assert_int_lt(s.result, 0);
	await_quiet(f);
	ck_assert_str_eq(rows(f), "");
	ck_assert_str_eq(read_text(f, "select 1 as a", NULL, 0), "[{\"a\":1}]");
}

/* More than may be cancelled at once. */
PG_TEST(many_at_once)
{
	enum { MANY = 12 };
	struct story s[MANY];
	struct task *t[MANY];
	for (unsigned i = 0; i < MANY; i++) {
		s[i] = (struct story){.f = f, .within = pushed_deadline, .base = 10 * (int)i};
		t[i] = spawn(transact, &s[i]);
	}
	for (unsigned i = 0; i < MANY; i++) {
		ck_assert_msg(join(t[i]) == 0, "%s", s[i].error.what);
		ck_assert_int_eq(s[i].part, -ENOENT);
	}
	await_quiet(f);
	ck_assert_uint_eq(rows_of("t"), 2 * MANY);
	clear();
}

/* The time is over at any moment within the savepoint: its part is there, or is not, and the rest is there, unless the
 * transaction was lost. */
static int new_statements(struct story *s, struct pg_transaction *tx)
{
	s->waiting = true;
	const char *got = in_tx(s->f, tx, arena_printf(&s->f->arena, "select row(%u) from pg_sleep(0.003)", s->n));
	if (got[0] != '!')
		got = in_tx(s->f, tx, "insert into t values (2)");
	s->waiting = false;
	return got[0] == '!' ? -EIO : 0;
}

PG_TEST(time_out_at_each_suspension)
{
	unsigned timed_out = 0;
	bool finished = false;

	for (unsigned n = 0, sweeps = 0; sweeps == 0 || (timed_out < 10 && sweeps < 100);
	     n = finished ? 0 : n + 1 + n / 25) {
		struct story s = {.f = f, .within = new_statements, .n = n};
		struct task *t = spawn(transact, &s);
		while (!s.waiting)
			ck_assert_int_eq(task_yield(), 0);
		finished = let_run(n, &s.done);
		if (s.waiting && s.tx->lease && s.tx->lease->waiter)
			task_wake(s.tx->lease->waiter, -ETIMEDOUT);
		ck_assert_msg(join(t) == 0, "%u: %s", n, s.error.what);
		ck_assert_str_eq(rows(f), s.part == 0 ? "1,2,3" : "1,3");
		timed_out += s.part < 0;
		sweeps += finished;
		await_quiet(f);
		clear();
	}
	ck_assert_uint_ge(timed_out, 10);
}

static const char setup[] =
	"create table t (x int primary key); create table slow (x int); create table locked (x int);"
	"create function sleep() returns trigger language plpgsql as $$ begin perform pg_sleep(30); return null; end "
	"$$;"
	"create trigger sleeps before insert on slow for each row execute function sleep();";

int main(void)
{
	server_start();
	free(server_sql("%s", setup));
	Suite *s = suite_create("PostgreSQL savepoints");
	TCase *c = async_tcase(s, "savepoints");
	tcase_set_timeout(c, 120);
	tcase_add_test(c, one_that_times_out);
	tcase_add_test(c, without_prepared_statements);
	tcase_add_test(c, one_that_is_not_known_yet);
	tcase_add_test(c, deadlines_of_the_task);
	tcase_add_test(c, a_child_that_is_cancelled);
	tcase_add_test(c, the_task_itself_is_cancelled);
	tcase_add_test(c, copies_that_time_out);
	tcase_add_test(c, streams_that_time_out);
	tcase_add_test(c, a_server_that_does_not_answer);
	tcase_add_test(c, many_at_once);
	tcase_add_test(c, time_out_at_each_suspension);
	return run_and_stop_server(s);
}
