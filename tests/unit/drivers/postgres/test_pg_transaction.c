/* Transactions: all of it or nothing of it, whatever happens, and a clean connection afterwards. */
#include "async/future.h"
#include "tests/unit/drivers/postgres/postgres_ask.h"

/* What a test's function does, and what came of it. */
struct story {
	struct fixture *f;
	int (*tell)(struct story *s, struct pg_transaction *tx);
	unsigned runs;
	int result;
	struct error error;
	struct pg_transaction_options options;
	struct pg_transaction *kept;
	const char *seen;
	bool done;
};

static int tell(struct pg_transaction *tx, void *arg)
{
	struct story *s = arg;
	s->runs++;
	s->kept = tx;
	return s->tell(s, tx);
}

static int transact(struct story *s)
{
	s->options.call = "gd_pg_transaction";
	if (!s->options.timeout_us)
		s->options.timeout_us = 60000000;
	s->error = ERROR_INIT;
	s->result = pg_transact(client_of(s->f), &s->f->arena, &s->options, tell, s, &s->error);
	s->done = true;
	if (s->result >= 0)
		ck_assert_int_eq(s->error.errnum, 0);
	return s->result;
}

static int transact_task(void *arg)
{
	return transact(arg);
}

static void insert(struct story *s, struct pg_transaction *tx, int x)
{
	const char *got = in_tx(s->f, tx, arena_printf(&s->f->arena, "insert into t values (%d)", x));
	ck_assert_str_eq(got, "changed 1");
}

static void clear(void)
{
	free(server_sql("truncate t"));
}

/* --- the whole of it --- */

static int two_inserts(struct story *s, struct pg_transaction *tx)
{
	insert(s, tx, 1);
	ck_assert_str_eq(in_tx(s->f, tx, "insert into t values (2) returning x"), "[{\"x\":2}]");
	ck_assert_str_eq(in_tx(s->f, tx, "select x from t order by x"), "[{\"x\":1},{\"x\":2}]");
	ck_assert_uint_eq(rows_of("t"), 0);
	return 7;
}

static int two_inserts_in_vain(struct story *s, struct pg_transaction *tx)
{
	two_inserts(s, tx);
	return -EPERM;
}

PG_TEST(it_is_committed_or_rolled_back)
{
	struct story s = {.f = f, .tell = two_inserts_in_vain};
	clear();
	ck_assert_int_eq(transact(&s), -EPERM);
	ck_assert_int_eq(s.error.errnum, 0);
	ck_assert_uint_eq(rows_of("t"), 0);
	s.tell = two_inserts;
	ck_assert_int_eq(transact(&s), 7);
	ck_assert_uint_eq(rows_of("t"), 2);
	await_quiet(f);
	clear();
}

static int nothing(struct story *s, struct pg_transaction *tx)
{
	(void)s, (void)tx;
	return 3;
}

static int how(struct story *s, struct pg_transaction *tx)
{
	s->seen = in_tx(
		s->f, tx,
		"select current_setting('transaction_isolation') as i, current_setting('transaction_read_only') as r");
	return 0;
}

static int write_in_it(struct story *s, struct pg_transaction *tx)
{
	s->seen = in_tx(s->f, tx, "insert into t values (1)");
	return 0;
}

PG_TEST(options_are_kept)
{
	struct story s = {.f = f, .tell = nothing};
	ck_assert_int_eq(transact(&s), 3);
	s.tell = how;
	ck_assert_int_eq(transact(&s), 0);
	ck_assert_str_eq(s.seen, "[{\"i\":\"read committed\",\"r\":\"off\"}]");
	s.options = (struct pg_transaction_options){.isolation = PG_SERIALIZABLE, .read_only = true};
	ck_assert_int_eq(transact(&s), 0);
	ck_assert_str_eq(s.seen, "[{\"i\":\"serializable\",\"r\":\"on\"}]");
	s.options.isolation = PG_REPEATABLE_READ;
	ck_assert_int_eq(transact(&s), 0);
	ck_assert_str_eq(s.seen, "[{\"i\":\"repeatable read\",\"r\":\"on\"}]");
	s.tell = write_in_it;
	ck_assert_int_lt(transact(&s), 0);
	ck_assert_contains(s.seen, "! 500 25006");
	ck_assert_contains(s.seen, "the transaction is read-only");
	ck_assert_str_eq(s.error.code, "25006");
}

static int a_table_of_the_session(struct story *s, struct pg_transaction *tx)
{
	ck_assert_str_eq(in_tx(s->f, tx, "create temp table mine (a int) on commit drop"), "changed 0");
	ck_assert_str_eq(in_tx(s->f, tx, "insert into mine values (1) returning a"), "[{\"a\":1}]");
	return 0;
}

static int its_own_table(struct story *s, struct pg_transaction *tx)
{
	for (int i = 0; i < 2; i++) {
		ck_assert_str_eq(in_tx(s->f, tx, "create table own (a int)"), "changed 0");
		ck_assert_str_eq(in_tx(s->f, tx, "insert into own values (1), (2)"), "changed 2");
		ck_assert_str_eq(in_tx(s->f, tx, "select row(a, 'x') as r from own where a = 1"),
				 "[{\"r\":{\"f1\":1,\"f2\":\"x\"}}]");
		ck_assert_str_eq(in_tx(s->f, tx, "drop table own"), "changed 0");
	}
	return 0;
}

PG_TEST(statements_are_learned_where_they_run)
{
	struct story s = {.f = f, .tell = its_own_table};
	ck_assert_int_eq(transact(&s), 0);
	ck_assert_int_eq(transact(&s), 0);
	/* Nobody else ever sees that table. */
	ck_assert_contains(read_text(f, "select row(a, 'x') as r from own where a = 1", NULL, 0), "42P01");
	s.tell = a_table_of_the_session;
	ck_assert_int_eq(transact(&s), 0);
	ck_assert_int_eq(transact(&s), 0);
	await_quiet(f);
}

/* --- failures in it --- */

static int ignores_a_failure(struct story *s, struct pg_transaction *tx)
{
	insert(s, tx, 1);
	ck_assert_contains(in_tx(s->f, tx, "insert into t values (1)"), "! 409 23505");
	const char *next = in_tx(s->f, tx, "select 1");
	ck_assert_contains(next, "! 409 25P02 gd_tx_execute, source shop: the transaction has failed before");
	ck_assert_contains(next, "duplicate key");
	return 0;
}

static int ignores_a_bad_text(struct story *s, struct pg_transaction *tx)
{
	insert(s, tx, 1);
	ck_assert_contains(in_tx(s->f, tx, s->seen), "! 500");
	ck_assert_contains(in_tx(s->f, tx, "select 1"), "25P02");
	return 0;
}

PG_TEST(a_failure_is_never_committed)
{
	struct story s = {.f = f, .tell = ignores_a_failure};
	static const char *const texts[] = {"selec", "select nothing from nowhere", "commit", "select $1",
					    "select 1/0"};
	clear();
	ck_assert_int_eq(transact(&s), -EEXIST);
	ck_assert_int_eq(s.error.status, 409);
	ck_assert_str_eq(s.error.code, "23505");
	ck_assert_uint_eq(s.runs, 1);
	s.tell = ignores_a_bad_text;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		s.seen = texts[i];
		ck_assert_int_lt(transact(&s), 0);
		ck_assert_int_eq(s.error.status, 500);
	}
	await_quiet(f);
	ck_assert_uint_eq(rows_of("t"), 0);
}

static int breaks_a_deferred_rule(struct story *s, struct pg_transaction *tx)
{
	ck_assert_str_eq(in_tx(s->f, tx, "insert into later values (99)"), "changed 1");
	return 0;
}

PG_TEST(a_failure_of_commit_is_one)
{
	struct story s = {.f = f, .tell = breaks_a_deferred_rule, .options.attempts = 5};
	ck_assert_int_eq(transact(&s), -EEXIST);
	ck_assert_str_eq(s.error.code, "23503");
	ck_assert_uint_eq(s.runs, 1);
	await_quiet(f);
}

/* --- savepoints --- */

static int sub_fails(struct pg_transaction *tx, void *arg)
{
	struct story *s = arg;
	insert(s, tx, 2);
	ck_assert_contains(in_tx(s->f, tx, "insert into t values (1)"), "23505");
	ck_assert_contains(in_tx(s->f, tx, "select 1"), "until the savepoint is rolled back");
	return 0;
}

static int sub_gives_up(struct pg_transaction *tx, void *arg)
{
	insert(arg, tx, 3);
	return -ENOENT;
}

static int sub_fine(struct pg_transaction *tx, void *arg)
{
	insert(arg, tx, 4);
	return 11;
}

static int sub_nothing(struct pg_transaction *tx, void *arg)
{
	(void)tx, (void)arg;
	return -ENOENT;
}

static int sub_nested(struct pg_transaction *tx, void *arg)
{
	struct error e = ERROR_INIT;
	insert(arg, tx, 5);
	ck_assert_int_eq(pg_transaction_savepoint(tx, sub_fine, arg, &e), 11);
	ck_assert_int_eq(pg_transaction_savepoint(tx, sub_gives_up, arg, &e), -ENOENT);
	ck_assert_int_eq(pg_transaction_savepoint(tx, sub_fails, arg, &e), -EEXIST);
	return -ESTALE;
}

static int with_savepoints(struct story *s, struct pg_transaction *tx)
{
	struct error e = ERROR_INIT;
	ck_assert_int_eq(pg_transaction_savepoint(tx, sub_nothing, s, &e), -ENOENT);
	insert(s, tx, 1);
	ck_assert_int_eq(pg_transaction_savepoint(tx, sub_fails, s, &e), -EEXIST);
	ck_assert_str_eq(e.code, "23505");
	ck_assert_int_eq(pg_transaction_savepoint(tx, sub_gives_up, s, &e), -ENOENT);
	ck_assert_int_eq(e.errnum, 0);
	ck_assert_int_eq(pg_transaction_savepoint(tx, sub_nested, s, &e), -ESTALE);
	ck_assert_str_eq(in_tx(s->f, tx, "select x from t"), "[{\"x\":1}]");
	ck_assert_int_eq(pg_transaction_savepoint(tx, sub_nothing, s, &e), -ENOENT);
	ck_assert_int_eq(pg_transaction_savepoint(tx, sub_fine, s, &e), 11);
	return 0;
}

PG_TEST(savepoints_undo_their_part)
{
	struct story s = {.f = f, .tell = with_savepoints};
	clear();
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(transact(&s), 0);
		char *got = server_sql("select string_agg(x::text, ',' order by x) from t");
		ck_assert_str_eq(got, "1,4");
		free(got);
		clear();
	}
}

/* --- other tasks, other times --- */

struct intruder {
	struct story *story;
	struct pg_transaction *tx;
	const char *sql, *got;
};

static int intrude(void *arg)
{
	struct intruder *i = arg;
	i->got = in_tx(i->story->f, i->tx, i->sql);
	return 0;
}

static int two_tasks(struct story *s, struct pg_transaction *tx)
{
	struct intruder first = {s, tx, "select pg_sleep(0.05)", NULL}, second = {s, tx, "select 2 as n", NULL};
	struct task *a = spawn(intrude, &first), *b = spawn(intrude, &second);
	join(a);
	join(b);
	ck_assert_contains(first.got, "[{");
	ck_assert_contains(second.got, "! 500  gd_tx_execute, source shop: another task is at work");
	ck_assert_str_eq(in_tx(s->f, tx, "select 3 as n"), "[{\"n\":3}]");
	return 0;
}

/* The function returns while another task is at it: that one is told to go, nothing of it is committed. */
static struct intruder late;
static struct task *late_task;

static int leaves_one_behind(struct story *s, struct pg_transaction *tx)
{
	insert(s, tx, 1);
	late = (struct intruder){s, tx, "select pg_sleep(100)", NULL};
	late_task = spawn(intrude, &late);
	ck_assert_int_eq(task_sleep_ms(20), 0);
	return 0;
}

PG_TEST(one_task_at_a_time)
{
	struct story s = {.f = f, .tell = two_tasks};
	clear();
	ck_assert_int_eq(transact(&s), 0);
	s.tell = leaves_one_behind;
	ck_assert_int_lt(transact(&s), 0);
	join(late_task);
	ck_assert_contains(late.got, "! 503");
	await_quiet(f);
	ck_assert_uint_eq(rows_of("t"), 0);
}

PG_TEST(what_has_ended_says_so)
{
	struct story s = {.f = f, .tell = nothing};
	struct error e = ERROR_INIT;
	ck_assert_int_eq(transact(&s), 3);
	ck_assert_contains(in_tx(f, s.kept, "select 1"),
			   "! 500  gd_tx_execute, source shop: the transaction has ended");
	ck_assert_int_eq(pg_transaction_savepoint(s.kept, sub_fine, &s, &e), -EINVAL);
}

/* --- again --- */

static int fails_twice(struct story *s, struct pg_transaction *tx)
{
	insert(s, tx, (int)s->runs);
	if (s->runs < 3)
		ck_assert_contains(in_tx(s->f, tx, "select raise('40001')"), "40001");
	return 0;
}

static int always_deadlocked(struct story *s, struct pg_transaction *tx)
{
	in_tx(s->f, tx, "select raise('40P01')");
	return -ENOTTY; /* whatever the function makes of it */
}

static int sub_serialization(struct pg_transaction *tx, void *arg)
{
	struct story *s = arg;
	in_tx(s->f, tx, "select raise('40001')");
	return 0;
}

static int another_reason(struct story *s, struct pg_transaction *tx)
{
	struct error e;
	ck_assert_int_lt(pg_transaction_savepoint(tx, sub_serialization, s, &e), 0);
	return -ENOENT;
}

PG_TEST(it_is_tried_again)
{
	struct story s = {.f = f, .tell = fails_twice, .options.attempts = 3};
	clear();
	ck_assert_int_eq(transact(&s), 0);
	ck_assert_uint_eq(s.runs, 3);
	ck_assert_uint_eq(rows_of("t"), 1);
	clear();
	s.runs = 0;
	s.options.attempts = 2;
	ck_assert_int_lt(transact(&s), 0);
	ck_assert_uint_eq(s.runs, 2);
	ck_assert_int_eq(s.error.status, 503);
	s = (struct story){.f = f, .tell = always_deadlocked, .options.attempts = 3};
	ck_assert_int_eq(transact(&s), -ENOTTY);
	ck_assert_uint_eq(s.runs, 3);
	s = (struct story){.f = f, .tell = always_deadlocked};
	ck_assert_int_eq(transact(&s), -ENOTTY);
	ck_assert_uint_eq(s.runs, 1);
	/* What a savepoint has mended is no reason any more. */
	s = (struct story){.f = f, .tell = another_reason, .options.attempts = 3};
	ck_assert_int_eq(transact(&s), -ENOENT);
	ck_assert_uint_eq(s.runs, 1);
	/* No attempt that the deadline leaves no room for. */
	s = (struct story){.f = f, .tell = always_deadlocked, .options.attempts = 1000};
	deadline_t before = deadline_push(deadline_in_ms(300));
	ck_assert_int_lt(transact(&s), 0);
	deadline_pop(before);
	ck_assert_uint_ge(s.runs, 2);
	ck_assert_uint_lt(s.runs, 30);
	await_quiet(f);
}

/* Two real ones, each reading what the other writes: one of them has to begin again. */
struct meeting {
	unsigned arrived;
	struct future all;
};
static struct meeting meeting;

static int counts_and_inserts(struct story *s, struct pg_transaction *tx)
{
	const char *got = in_tx(s->f, tx, "select count(*) as n from t");
	if (got[0] == '!')
		return -EAGAIN;
	if (s->runs == 1) {
		if (++meeting.arrived == 2)
			future_resolve(&meeting.all, 0);
		ck_assert_int_eq(future_await(&meeting.all, DEADLINE_NEVER), 0);
	}
	int n = atoi(strchr(got, ':') + 1);
	got = in_tx(s->f, tx, arena_printf(&s->f->arena, "insert into t values (%d) returning x", n));
	return got[0] == '!' ? -EAGAIN : 0;
}

PG_TEST(real_serialization_failures_are_tried_again)
{
	free(server_sql("create table if not exists plain (x int)"));
	for (int i = 0; i < 10; i++) {
		struct pg_transaction_options serializable = {.isolation = PG_SERIALIZABLE, .attempts = 10};
		struct story a = {.f = f, .tell = counts_and_inserts, .options = serializable}, b = a;
		clear();
		meeting = (struct meeting){0};
		future_init(&meeting.all);
		struct task *first = spawn(transact_task, &a), *second = spawn(transact_task, &b);
		ck_assert_msg(join(first) == 0, "%s", a.error.what);
		ck_assert_msg(join(second) == 0, "%s", b.error.what);
		ck_assert_uint_ge(a.runs + b.runs, 3);
		char *got = server_sql("select string_agg(x::text, ',' order by x) from t");
		ck_assert_str_eq(got, "0,1");
		free(got);
	}
	clear();
	await_quiet(f);
}

/* --- the connection breaks --- */

static void kill_sessions(void)
{
	end_sessions("state = 'idle in transaction'");
}

static int killed_between(struct story *s, struct pg_transaction *tx)
{
	insert(s, tx, (int)s->runs);
	if (s->runs == 1) {
		kill_sessions();
		if (s->seen)
			ck_assert_int_eq(task_sleep_ms(50), 0);
		ck_assert_contains(in_tx(s->f, tx, "select 1"), "! 50");
		ck_assert_contains(in_tx(s->f, tx, "select 1"), "25P02");
	}
	return 0;
}

static int killed_within(struct story *s, struct pg_transaction *tx)
{
	insert(s, tx, (int)s->runs);
	if (s->runs == 1)
		ck_assert_contains(in_tx(s->f, tx, "select pg_terminate_backend(pg_backend_pid())"), "! 50");
	return 0;
}

PG_TEST(broken_before_commit)
{
	static const struct {
		int (*tell)(struct story *s, struct pg_transaction *tx);
		const char *seen;
	} ways[] = {{killed_between, NULL}, {killed_between, "noticed"}, {killed_within, NULL}};
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		struct story s = {.f = f, .tell = ways[i].tell, .seen = ways[i].seen};
		clear();
		ck_assert_int_lt(transact(&s), 0);
		ck_assert_uint_eq(s.runs, 1);
		ck_assert_msg(s.error.status == 502 || s.error.status == 503, "%d %s", s.error.status, s.error.what);
		ck_assert_uint_eq(rows_of("t"), 0);
		s.runs = 0;
		s.options.attempts = 2;
		ck_assert_msg(transact(&s) == 0, "%s", s.error.what);
		ck_assert_uint_eq(s.runs, 2);
		ck_assert_uint_eq(rows_of("t"), 1);
		await_quiet(f);
	}
	clear();
}

/* It breaks while the function rests, and then comes COMMIT: either it was seen before, and nothing was committed, or
 * nobody knows. It is never told as done, and never done twice. */
static int killed_before_commit(struct story *s, struct pg_transaction *tx)
{
	insert(s, tx, (int)s->runs);
	kill_sessions();
	return 0;
}

/* COMMIT itself takes a while (a deferred trigger sleeps), and the server ends the session in it. */
static int killed_in_commit(struct story *s, struct pg_transaction *tx)
{
	ck_assert_str_eq(in_tx(s->f, tx, "insert into slow values (1)"), "changed 1");
	return 0;
}

static int kill_committing(void *arg)
{
	(void)arg;
	for (int i = 0; i < 1000; i++) {
		char *n = server_sql(
			"select count(pg_terminate_backend(pid)) from pg_stat_activity where query = 'commit' "
			"and state = 'active' and application_name = 'gatherd'");
		bool hit = strcmp(n, "0") != 0;
		free(n);
		if (hit)
			return 0;
		ck_assert_int_eq(task_sleep_ms(5), 0);
	}
	return -ENOENT;
}

PG_TEST(broken_at_commit)
{
	struct story s = {.f = f, .tell = killed_before_commit, .options.attempts = 5};
	clear();
	ck_assert_int_eq(transact(&s), -EIO);
	ck_assert_uint_eq(s.runs, 1);
	ck_assert_contains(s.error.what, "may or may not have happened");
	s = (struct story){.f = f, .tell = killed_in_commit, .options.attempts = 5};
	struct task *killer = spawn(kill_committing, NULL);
	ck_assert_int_eq(transact(&s), -EIO);
	ck_assert_int_eq(join(killer), 0);
	ck_assert_uint_eq(s.runs, 1);
	ck_assert_contains(s.error.what, "may or may not have happened");
	ck_assert_int_eq(s.error.status, 502);
	await_quiet(f);
}

/* --- leaving --- */

static int sleeps_too_long(struct story *s, struct pg_transaction *tx)
{
	struct error e = ERROR_INIT;
	insert(s, tx, 1);
	s->seen = in_tx(s->f, tx, "select pg_sleep(100)");
	ck_assert_contains(in_tx(s->f, tx, "select 1"), "! 504 25P02");
	ck_assert_int_lt(pg_transaction_savepoint(tx, sub_fine, s, &e), 0);
	return 0;
}

PG_TEST(a_statement_has_its_timeout)
{
	struct story s = {.f = f, .tell = sleeps_too_long, .options.timeout_us = 50000};
	clear();
	ck_assert_int_eq(transact(&s), -ETIMEDOUT);
	ck_assert_contains(s.seen, "! 504");
	await_quiet(f);
	ck_assert_uint_eq(rows_of("t"), 0);
}

static int is_cancelled(struct story *s, struct pg_transaction *tx)
{
	insert(s, tx, 1);
	task_cancel(task_self());
	return 0;
}

PG_TEST(one_that_was_cancelled_is_not_committed)
{
	struct story s = {.f = f, .tell = is_cancelled};
	clear();
	ck_assert_int_eq(join(spawn(transact_task, &s)), -ECANCELED);
	await_quiet(f);
	ck_assert_uint_eq(rows_of("t"), 0);
}

/* Everything that suspends, with what was never seen before and with what is known. */
static int sub_all(struct pg_transaction *tx, void *arg)
{
	struct story *s = arg;
	const char *got = in_tx(s->f, tx, "insert into t values (2) returning x");
	return got[0] == '!' ? -EIO : 0;
}

static int sub_undone(struct pg_transaction *tx, void *arg)
{
	struct story *s = arg;
	in_tx(s->f, tx, "insert into t values (1)");
	return 0;
}

static int all_of_it(struct story *s, struct pg_transaction *tx)
{
	struct error e = ERROR_INIT;
	const char *got = in_tx(s->f, tx, s->seen);
	if (got[0] == '!')
		return -EIO;
	int r = pg_transaction_savepoint(tx, sub_all, s, &e);
	if (r == 0)
		r = pg_transaction_savepoint(tx, sub_undone, s, &e) == -EEXIST ? 0 : -EIO;
	return r;
}

/* With all connections taken, it also waits for one. */
static void sweep(struct fixture *f, bool fresh, bool deadline)
{
	unsigned ended = 0;
	bool finished = false;

	/* As often as it takes: how many there are in one sweep depends on how much comes at once. */
	for (unsigned n = 0, sweeps = 0; sweeps == 0 || (ended < 10 && sweeps < 100);
	     n = finished ? 0 : n + 1 + n / 25) {
		struct story s = {.f = f, .tell = all_of_it};
		s.seen = arena_printf(&f->arena, "insert into t values (1) returning x, %u as n", fresh ? n : 0);
		clear();
		struct task *t = spawn(transact_task, &s);
		finished = let_run(n, &s.done);
		if (deadline && !s.done && s.kept && s.kept->lease && s.kept->lease->waiter)
			task_wake(s.kept->lease->waiter, -ETIMEDOUT);
		else
			task_cancel(t);
		int r = join(t);
		await_quiet(f);
		unsigned rows = rows_of("t");
		/* Its answer to COMMIT may be lost by a connection that is given up, or by being late. */
		ck_assert_msg((r == 0 && rows == 2) || (r < 0 && rows == 0) ||
				      (r == -EIO && s.error.change == CHANGE_UNKNOWN),
			      "%u: %d, %u rows, %s", n, r, rows, s.error.what);
		ended += r < 0;
		sweeps += finished;
	}
	ck_assert_uint_ge(ended, 10);
}

PG_TEST(cancel_at_each_suspension)
{
	sweep(f, false, false);
}

PG_TEST(cancel_at_each_suspension_of_new_statements)
{
	sweep(f, true, false);
}

PG_TEST(time_out_at_each_suspension)
{
	sweep(f, true, true);
}

/* --- the pool --- */

static int holds(struct story *s, struct pg_transaction *tx)
{
	(void)tx;
	s->seen = "held";
	return task_sleep_ms(1000);
}

static int reads(struct story *s, struct pg_transaction *tx)
{
	s->seen = in_tx(s->f, tx, s->seen);
	return 0;
}

/* The pool is bounded, and so is the wait; and who holds the last connection needs no other one. */
LOOP_TEST(the_wait_for_a_connection_is_bounded)
{
	struct fixture f;
	fixture_config(&f);
	f.config.pool.size = 2;
	f.config.pool.acquire_timeout_us = 60000000; /* at first: connecting takes its time */
	f.config.pool.max_waiting = 1;
	fixture_open(&f);
	ck_assert_str_eq(read_text(&f, "select 1 as a", NULL, 0), "[{\"a\":1}]");
	await_quiet(&f); /* its session may be reset behind it */
	struct story stories[4];
	struct task *tasks[4];
	for (int i = 0; i < 2; i++) {
		stories[i] = (struct story){.f = &f, .tell = holds};
		tasks[i] = spawn(transact_task, &stories[i]);
	}
	while (!stories[0].seen || !stories[1].seen)
		ck_assert_int_eq(task_sleep_ms(1), 0);
	f.config.pool.acquire_timeout_us = 50000;
	for (int i = 2; i < 4; i++) {
		stories[i] = (struct story){.f = &f, .tell = nothing, .options.attempts = 5};
		tasks[i] = spawn(transact_task, &stories[i]);
	}
	ck_assert_int_eq(join(tasks[3]), -EBUSY);
	ck_assert_int_eq(stories[3].error.status, 503);
	ck_assert_int_eq(join(tasks[2]), -ETIMEDOUT);
	ck_assert_int_eq(stories[2].error.status, 503);
	ck_assert_int_eq(join(tasks[0]), 0);
	ck_assert_int_eq(join(tasks[1]), 0);
	ck_assert_uint_eq(stories[2].runs + stories[3].runs, 0);
	await_quiet(&f);
	f.config.pool.acquire_timeout_us = 60000000;
	/* Both connections are taken by those who learn the same statement at the same time. */
	for (int i = 0; i < 2; i++) {
		stories[i] = (struct story){.f = &f, .tell = reads, .seen = "select row(1, 2) as never_seen_before"};
		tasks[i] = spawn(transact_task, &stories[i]);
	}
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(join(tasks[i]), 0);
		ck_assert_str_eq(stories[i].seen, "[{\"never_seen_before\":{\"f1\":1,\"f2\":2}}]");
	}
	await_quiet(&f);
	fixture_close(&f);
	return 0;
}

PG_TEST_OF(without_prepared_statements, false)
{
	struct story s = {.f = f, .tell = with_savepoints};
	clear();
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(transact(&s), 0);
		ck_assert_uint_eq(rows_of("t"), 2);
		clear();
	}
	s.tell = its_own_table;
	ck_assert_int_eq(transact(&s), 0);
	await_quiet(f);
}

/* The client is closed while a transaction rests: it is over, and closing does not wait for ever. */
static int rests(struct story *s, struct pg_transaction *tx)
{
	insert(s, tx, 1);
	s->seen = "resting";
	for (int i = 0; i < 200; i++)
		ck_assert_int_eq(task_sleep_ms(1), 0);
	ck_assert_contains(in_tx(s->f, tx, "select 1"), "! 50");
	return 0;
}

LOOP_TEST(closing_ends_it)
{
	struct fixture f;
	fixture_config(&f);
	fixture_open(&f);
	struct story s = {.f = &f, .tell = rests, .options.attempts = 3};
	clear();
	struct task *t = spawn(transact_task, &s);
	while (!s.seen)
		ck_assert_int_eq(task_sleep_ms(1), 0);
	fixture_close_now(&f);
	ck_assert_int_lt(join(t), 0);
	ck_assert_uint_eq(s.runs, 1);
	fixture_free(&f);
	ck_assert_uint_eq(rows_of("t"), 0);
	return 0;
}

static const char setup[] =
	"create table t (x int primary key); create table parent (x int primary key);"
	"create table later (x int references parent deferrable initially deferred);"
	"create table slow (x int);"
	"create function raise(code text) returns int language plpgsql as "
	"$$ begin raise exception 'raised' using errcode = code; end $$;"
	"create function sleep() returns trigger language plpgsql as $$ begin perform pg_sleep(30); return null; end "
	"$$;"
	"create constraint trigger sleeps after insert on slow deferrable initially deferred for each row "
	"execute function sleep();";

int main(void)
{
	server_start();
	free(server_sql("%s", setup));
	Suite *s = suite_create("PostgreSQL transactions");
	TCase *c = async_tcase(s, "transactions");
	tcase_set_timeout(c, 120);
	tcase_add_test(c, it_is_committed_or_rolled_back);
	tcase_add_test(c, options_are_kept);
	tcase_add_test(c, statements_are_learned_where_they_run);
	tcase_add_test(c, a_failure_is_never_committed);
	tcase_add_test(c, a_failure_of_commit_is_one);
	tcase_add_test(c, savepoints_undo_their_part);
	tcase_add_test(c, one_task_at_a_time);
	tcase_add_test(c, what_has_ended_says_so);
	tcase_add_test(c, it_is_tried_again);
	tcase_add_test(c, real_serialization_failures_are_tried_again);
	tcase_add_test(c, broken_before_commit);
	tcase_add_test(c, broken_at_commit);
	tcase_add_test(c, a_statement_has_its_timeout);
	tcase_add_test(c, one_that_was_cancelled_is_not_committed);
	tcase_add_test(c, cancel_at_each_suspension);
	tcase_add_test(c, cancel_at_each_suspension_of_new_statements);
	tcase_add_test(c, time_out_at_each_suspension);
	tcase_add_test(c, the_wait_for_a_connection_is_bounded);
	tcase_add_test(c, without_prepared_statements);
	tcase_add_test(c, closing_ends_it);
	return run_and_stop_server(s);
}
