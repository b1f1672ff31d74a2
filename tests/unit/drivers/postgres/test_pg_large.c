/* How much of what the server sends is held: a result has a bound, and a stream holds little of what comes at once. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "drivers/postgres/calls/stream.h"
#include "drivers/postgres/wire/received.h"
#include "tests/unit/drivers/postgres/postgres_ask.h"

#define MIB ((size_t)1 << 20)

/* --- what was read from a socket --- */

static void check_counted(int reader, int writer)
{
	static char bytes[100000];
	const size_t pieces[] = {1, 33333, 4096, 20000};
	size_t sum = 0;
	struct timeval second = {.tv_sec = 1};

	ck_assert_int_eq(setsockopt(reader, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second)), 0);
	ck_assert_int_eq(write(writer, bytes, sizeof(bytes)), sizeof(bytes));
	ck_assert_int_eq(recv(reader, bytes, 1000, MSG_WAITALL), 1000);
	int64_t begun = pg_received(reader, true);
	ck_assert_int_ge(begun, 0);
	for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
		ck_assert_int_eq(pg_received(reader, false) - begun, sum);
		ck_assert_int_eq(recv(reader, bytes, pieces[i], MSG_WAITALL), pieces[i]);
		sum += pieces[i];
	}
	ck_assert_int_eq(pg_received(reader, false) - begun, sum);
	begun = pg_received(reader, true);
	ck_assert_int_eq(recv(reader, bytes, 10, MSG_WAITALL), 10);
	ck_assert_int_eq(pg_received(reader, false) - begun, 10);
	close(reader);
	close(writer);
}

START_TEST(the_kernel_counts)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);
	int pair[2], pipes[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	check_counted(pair[0], pair[1]);
	int listener = socket(AF_INET, SOCK_STREAM, 0), writer = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&at, sizeof(at)), 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&at, &len), 0);
	ck_assert_int_eq(connect(writer, (struct sockaddr *)&at, sizeof(at)), 0);
	check_counted(accept(listener, NULL, NULL), writer);
	close(listener);
	ck_assert_int_eq(pipe(pipes), 0);
	ck_assert_int_eq(pg_received(pipes[0], true), -1);
	close(pipes[0]);
	close(pipes[1]);
}
END_TEST

/* --- results --- */

/* A server that is sending notices soon that nobody reads. */
static void await_end(struct fixture *f)
{
	for (int i = 0; i < 5000 && rows_of("pg_stat_activity where application_name = 'gatherd' and state = 'active'");
	     i++)
		ck_assert_int_eq(task_sleep_ms(2), 0);
	await_quiet(f);
}

#define WIDE "select repeat('x', 1000000) as x from generate_series(1, %u)"

static const char *wide(struct fixture *f, unsigned rows)
{
	return arena_printf(&f->arena, WIDE, rows);
}

PG_TEST(a_result_has_a_bound)
{
	static const char *const large[] = {
		"select repeat('x', 1000000) as x from generate_series(1, 1000)",
		"select repeat('x', 100000000) as x",
		"select n, n, n, n from generate_series(1, 800000) n",
	};
	struct value v = value_int(20);
	client_of(f)->result_max = 16 * MIB;
	read_text(f, "select 1", NULL, 0);
	long before = resident_kib(), most = 0;
	for (unsigned i = 0; i < 2 * ARRAY_SIZE(large); i++) {
		const char *got = read_text(f, large[i % ARRAY_SIZE(large)], NULL, 0);
		ck_assert_contains(got, "! 502  gd_pg_query, source shop: the result is larger than 16 MiB");
		most = resident_kib() - before > most ? resident_kib() - before : most;
		await_end(f);
	}
	ck_assert_msg(most < 120000 + QUARANTINE_KIB, "grew by %ld KiB", most);
	/* One that fits comes whole, as often as one likes. */
	for (unsigned i = 0; i < 2; i++)
		ck_assert_uint_eq(strlen(read_text(f, wide(f, 14), NULL, 0)), 14 * 1000008 + 14 - 1 + 2);
	ck_assert_contains(ask(f, EXPECT_MANY, "select repeat('x', 1000000) as x from generate_series(1, {n})", &v),
			   "! 502  source shop: the result is larger than 16 MiB");
	ck_assert_str_eq(read_text(f, "select 1 as a", NULL, 0), "[{\"a\":1}]");
}

struct reader {
	struct fixture *f;
	const char *sql, *got;
};

static int read_task(void *arg)
{
	struct reader *r = arg;
	r->got = read_text(r->f, r->sql, NULL, 0);
	return 0;
}

/* Those who share the connection are served by another one. */
LOOP_TEST(neighbours_do_not_notice)
{
	enum { READERS = 40 };
	struct reader readers[READERS];
	struct task *tasks[READERS];
	struct fixture f;

	fixture_config(&f);
	f.config.pool.size = 1;
	fixture_open(&f);
	client_of(&f)->result_max = 4 * MIB;
	static const char sql[] = "select repeat('x', case when current_setting('application_name') = 'gatherd' then "
				  "(select max(x) from width) else 0 end) as x";
	for (unsigned round = 0; round < 3; round++) {
		free(server_sql("update width set x = 1"));
		/* It is known as a short one. */
		for (unsigned i = 0; i < 5; i++)
			ck_assert_str_eq(read_text(&f, sql, NULL, 0), "[{\"x\":\"x\"}]");
		free(server_sql("update width set x = 50000000"));
		for (unsigned i = 0; i < READERS; i++) {
			readers[i] = (struct reader){&f, i == 20 ? sql : "select 1 as a", NULL};
			tasks[i] = spawn(read_task, &readers[i]);
		}
		for (unsigned i = 0; i < READERS; i++) {
			join(tasks[i]);
			if (i == 20)
				ck_assert_contains(readers[i].got, "! 502  gd_pg_query, source shop: the result is");
			else
				ck_assert_str_eq(readers[i].got, "[{\"a\":1}]");
		}
		await_end(&f);
	}
	fixture_close(&f);
	return 0;
}

PG_TEST(a_write_that_brings_too_much)
{
	client_of(f)->result_max = 4 * MIB;
	const char *got = write_text(
		f, "insert into t select repeat('x', 1000000) from generate_series(1, 50) returning x", NULL, 0);
	ck_assert_contains(got,
			   "! 502  gd_pg_execute, source shop: the result is larger than 4 MiB; the write may or may "
			   "not have happened");
	await_end(f);
	ck_assert_contains(write_text(f, "insert into t select 'x' from generate_series(1, 50)", NULL, 0),
			   "changed 50");
	free(server_sql("truncate t"));
}

struct story {
	struct fixture *f;
	unsigned runs;
};

static int asks_too_much(struct pg_transaction *tx, void *arg)
{
	struct story *s = arg;
	s->runs++;
	ck_assert_str_eq(in_tx(s->f, tx, "insert into t values ('x')"), "changed 1");
	ck_assert_contains(in_tx(s->f, tx, wide(s->f, 100)), "! 502  gd_tx_execute, source shop: the result is larger");
	ck_assert_contains(in_tx(s->f, tx, "select 1"), "25P02");
	return 0;
}

PG_TEST(a_transaction_that_asks_too_much_ends)
{
	struct pg_transaction_options options = {.call = "gd_pg_transaction", .attempts = 5};
	struct story s = {.f = f};
	struct error e = ERROR_INIT;
	client_of(f)->result_max = 4 * MIB;
	ck_assert_int_eq(pg_transact(client_of(f), &f->arena, &options, asks_too_much, &s, &e), -EFBIG);
	ck_assert_int_eq(e.status, 502);
	ck_assert_uint_eq(s.runs, 1);
	await_end(f);
	ck_assert_uint_eq(rows_of("t"), 0);
}

/* What a statement says beside its result is not held, and does not count. */
PG_TEST(notices_do_not_count)
{
	client_of(f)->result_max = 1 * MIB;
	ck_assert_str_eq(read_text(f, "select shout(5000) as a", NULL, 0), "[{\"a\":1}]");
}

/* --- streams --- */

static int next(struct pg_stream *s, size_t *len)
{
	struct value row;
	struct error e = ERROR_INIT;
	struct buf json = BUF_INIT;
	int r = pg_stream_next(s, &row, &e);

	if (r > 0)
		value_render(&row, &json);
	*len = json.len;
	buf_done(&json);
	return r;
}

/* 885 narrow rows, and then 265 of 1 MB each: a batch of 128 would have begun just before. */
static const char behind[] = "select repeat('x', case when n > 885 then 1000000 else 1 end) as x from "
			     "generate_series(1, 1150) n";

PG_TEST(wide_rows_behind_narrow_ones)
{
	struct pg_ask ask = ask_of(behind, NULL, 0);
	struct pg_stream s;
	struct error e;
	size_t len, sum = 0;
	unsigned rows = 0;
	long before = resident_kib(), most = 0;

	ck_assert_int_eq(pg_stream_open(&s, client_of(f), &ask, &e), 0);
	while (next(&s, &len) > 0) {
		rows++;
		sum += len;
		if (rows > 885 && rows % 20 == 0)
			ck_assert_int_eq(task_sleep_ms(5), 0); /* the server is always faster */
		most = resident_kib() - before > most ? resident_kib() - before : most;
	}
	ck_assert_uint_eq(rows, 1150);
	ck_assert_uint_eq(sum, 1150 * 8 + 885 + 265000000);
	ck_assert_msg(most < 24000 + QUARANTINE_KIB, "grew by %ld KiB", most);
	pg_stream_close(&s);
	/* Who leaves in the middle of them leaves at once. */
	for (unsigned leave = 880; leave < 1030; leave += 47) {
		ck_assert_int_eq(pg_stream_open(&s, client_of(f), &ask, &e), 0);
		for (unsigned i = 0; i < leave; i++)
			ck_assert_int_eq(next(&s, &len), 1);
		pg_stream_close(&s);
		await_end(f);
	}
}

static int interrupts_a_batch(struct pg_transaction *tx, void *arg)
{
	struct story *story = arg;
	struct pg_ask ask = ask_of(behind, NULL, 0);
	struct pg_stream s;
	struct error e;
	size_t len;
	unsigned rows = 0;
	int r = pg_stream_open_within(&s, tx, &ask, &e);

	for (r = r < 0 ? r : 1; r > 0; rows += r > 0) {
		r = next(&s, &len);
		/* At every place of a batch. */
		if (r > 0 && rows % 13 == 0 && in_tx(story->f, tx, "insert into t values ('x')")[0] == '!')
			break;
	}
	story->runs = rows;
	pg_stream_close(&s);
	return r;
}

PG_TEST(something_else_is_asked_between_the_rows)
{
	struct pg_transaction_options options = {.call = "gd_pg_transaction"};
	struct story s = {.f = f};
	struct error e = ERROR_INIT;
	ck_assert_int_eq(pg_transact(client_of(f), &f->arena, &options, interrupts_a_batch, &s, &e), 0);
	ck_assert_uint_eq(s.runs, 1150);
	ck_assert_uint_eq(rows_of("t"), 1150 / 13 + 1);
	/* Then the batch has a bound, too. */
	client_of(f)->result_max = 8 * MIB;
	ck_assert_int_eq(pg_transact(client_of(f), &f->arena, &options, interrupts_a_batch, &s, &e), -EFBIG);
	ck_assert_contains(e.what, "larger than 8 MiB");
	ck_assert_uint_gt(s.runs, 500);
	await_end(f);
	free(server_sql("truncate t"));
}

/* A row has the bound of a result. */
PG_TEST(a_row_that_is_too_large)
{
	struct pg_ask ask = ask_of("select repeat('x', n) as x from (values (1000000), (60000000)) v(n)", NULL, 0);
	struct pg_stream s;
	struct error e = ERROR_INIT;
	size_t len;
	client_of(f)->result_max = 8 * MIB;
	int r = pg_stream_open(&s, client_of(f), &ask, &e);
	if (r == 0) {
		ck_assert_int_eq(next(&s, &len), 1);
		ck_assert_int_eq(next(&s, &len), -EFBIG);
		pg_stream_close(&s);
	} else {
		ck_assert_int_eq(r, -EFBIG);
	}
	await_end(f);
}

static const char setup[] = "create table t (x text); create table width (x int); insert into width values (1);"
			    "create function shout(n int) returns int language plpgsql as $$ begin for i in 1..n loop "
			    "raise notice '%', repeat('!', 2000); end loop; return 1; end $$;";

int main(void)
{
	server_start();
	free(server_sql("%s", setup));
	Suite *s = suite_create("PostgreSQL, large");
	TCase *c = async_tcase(s, "large");
	tcase_set_timeout(c, 120);
	tcase_add_test(c, the_kernel_counts);
	tcase_add_test(c, a_result_has_a_bound);
	tcase_add_test(c, neighbours_do_not_notice);
	tcase_add_test(c, a_write_that_brings_too_much);
	tcase_add_test(c, a_transaction_that_asks_too_much_ends);
	tcase_add_test(c, notices_do_not_count);
	tcase_add_test(c, wide_rows_behind_narrow_ones);
	tcase_add_test(c, something_else_is_asked_between_the_rows);
	tcase_add_test(c, a_row_that_is_too_large);
	return run_and_stop_server(s);
}
