/* Many calls at once: each gets its own rows, whatever happens to its neighbours and to the connections. */
#include <pthread.h>
#include <stdatomic.h>

#include "async/run.h"
#include "tests/unit/drivers/postgres/postgres_fixture.h"

#define TASKS SLOWER(200)

struct shared {
	struct fixture *f;
	struct action *action;
	unsigned fine, failed, wrong, left;
	int seconds; /* a parameter of pg_sleep */
};

struct job_of {
	struct shared *shared;
	int number;
	struct value args[2];
	int64_t timeout_us;
	int result;
	struct error error;
};

/* `{a}` and `{b}`: the number comes back, and nothing else may. */
static int ask_number(void *arg)
{
	struct job_of *j = arg;
	struct shared *s = j->shared;
	struct buf json = BUF_INIT;
	char expected[32];

	j->args[0] = value_int(j->number);
	j->args[0].from_request = true;
	j->result = run_for(s->f, s->action, j->args, j->timeout_us, &json, &j->error);
	snprintf(expected, sizeof(expected), "{\"n\":%d}", j->number);
	if (j->result < 0)
		s->failed++;
	else if (strcmp(buf_cstr(&json), expected) == 0)
		s->fine++;
	else
		s->wrong++;
	buf_done(&json);
	s->left--;
	return j->result;
}

static struct task *ask_in_task(struct job_of *j, struct shared *s, int number)
{
	j->shared = s;
	j->number = number;
	s->left++;
	return spawn(ask_number, j);
}

/* Run it until it is known to be short. */
static void warm_up(struct shared *s, const struct value *args)
{
	struct buf json = BUF_INIT;
	struct error e;
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(run_for(s->f, s->action, args, 0, &json, &e), 0);
	buf_done(&json);
}

static unsigned backends(void)
{
	char *n = server_sql("select count(*) from pg_stat_activity where application_name = 'gatherd'");
	unsigned count = (unsigned)atoi(n);
	free(n);
	return count;
}

static void wait_for_backends(unsigned least, unsigned most)
{
	unsigned now = 0;
	for (deadline_t by = deadline_in_ms(30000); !deadline_passed(by);) {
		now = backends();
		if (now >= least && now <= most)
			return;
		ck_assert_int_eq(task_sleep_ms(5), 0);
	}
	ck_abort_msg("%u connections", now);
}

static void wait_until_gone(const char *condition)
{
	for (deadline_t by = deadline_in_ms(30000); !deadline_passed(by);) {
		char *n = server_sql("select count(*) from pg_stat_activity where application_name = 'gatherd' and %s",
				     condition);
		bool gone = strcmp(n, "0") == 0;
		free(n);
		if (gone)
			return;
		ck_assert_int_eq(task_sleep_ms(5), 0);
	}
	ck_abort_msg("still there: %s", condition);
}

/* The server ends the driver's connections; `killed` is the condition for those. */
static void kill_all(char *killed, size_t room)
{
	char *pids = server_sql("select coalesce('pid in (' || string_agg(pid::text, ', ') || ')', 'false') || "
				"left(count(pg_terminate_backend(pid))::text, 0) "
				"from pg_stat_activity where application_name = 'gatherd'");
	snprintf(killed, room, "%s", pids);
	free(pids);
}

PG_TEST(each_task_gets_its_own_rows)
{
	struct shared s = {.f = f, .action = compile(f, "select {a}::int as n", EXPECT_ONE, true)};
	struct job_of *jobs = calloc(TASKS, sizeof(*jobs));
	struct task **tasks = calloc(TASKS, sizeof(*tasks));

	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < TASKS; i++)
			tasks[i] = ask_in_task(&jobs[i], &s, round * TASKS + i);
		for (int i = 0; i < TASKS; i++)
			ck_assert_int_eq(join(tasks[i]), 0);
	}
	ck_assert_uint_eq(s.fine, 20 * TASKS);
	ck_assert_uint_eq(s.wrong, 0);
	ck_assert_uint_le(backends(), f->config.pool.size);
	ck_assert_uint_ge(backends(), 2);
	free(jobs);
	free(tasks);
}

/* Half of the tasks leave, at every moment of the run; the others notice nothing. */
PG_TEST(who_leaves_disturbs_nobody)
{
	struct shared s = {.f = f,
			   .action = compile(f, "select {a}::int as n where {b}::text is not null", EXPECT_ONE, true)};
	struct shared t = {.f = f, .action = compile(f, "select {a}::int as n", EXPECT_ONE, true)};
	struct job_of *jobs = calloc(TASKS, sizeof(*jobs));
	struct task **tasks = calloc(TASKS, sizeof(*tasks));
	uint64_t random = 1;

	for (int round = 0; round < 10; round++) {
		for (int i = 0; i < TASKS; i++) {
			jobs[i] = (struct job_of){.args[1] = value_string("x", 1)};
			tasks[i] = ask_in_task(&jobs[i], i % 2 ? &s : &t, i);
		}
		for (int i = 1; i < TASKS; i += 2) {
			if (next_random(&random) % 8 == 0)
				ck_assert_int_eq(task_yield(), 0);
			task_cancel(tasks[i]);
		}
		for (int i = 0; i < TASKS; i++) {
			int r = join(tasks[i]);
			ck_assert_msg(i % 2 || r == 0, "task %d: %d %s", i, r, jobs[i].error.what);
		}
	}
	ck_assert_uint_eq(t.fine, 10 * TASKS / 2);
	ck_assert_uint_eq(t.wrong, 0);
	free(jobs);
	free(tasks);
}

/* One that was thought to be short is not, and is abandoned; those that share its connection get their answers. */
PG_TEST(a_cancel_hits_only_whom_it_is_meant_for)
{
	struct shared s = {.f = f, .action = compile(f, "select {a}::int as n from pg_sleep({b})", EXPECT_ONE, true)};
	struct job_of jobs[40] = {0};
	struct task *tasks[40];
	struct value quick[2] = {value_int(1), value_int(0)};

	warm_up(&s, quick);
	int64_t before = monotonic_us();
	for (int i = 0; i < 40; i++) {
		jobs[i].args[1] = value_int(i == 5 || i == 11 ? 30 : 0);
		jobs[i].timeout_us = i == 5 || i == 11 ? 50000 : 0;
		tasks[i] = ask_in_task(&jobs[i], &s, i);
	}
	for (int i = 0; i < 40; i++) {
		int r = join(tasks[i]);
		if (i == 5 || i == 11)
			ck_assert_msg(r == -ETIMEDOUT && jobs[i].error.status == 504, "%d %s", r, jobs[i].error.what);
		else
			ck_assert_msg(r == 0, "task %d: %d %s", i, r, jobs[i].error.what);
	}
	ck_assert_uint_eq(s.fine, 38);
	ck_assert_int_lt(monotonic_us() - before, 20000000);
	wait_until_gone("state = 'active'");
}

/* Several groups of one pipe were abandoned: each is cancelled in its turn. */
LOOP_TEST(every_abandoned_group_is_cancelled)
{
	struct fixture f;
	fixture_config(&f);
	f.config.pool.size = 1;
	fixture_open(&f);
	struct shared s = {.f = &f, .action = compile(&f, "select {a}::int as n from pg_sleep({b})", EXPECT_ONE, true)};
	struct job_of jobs[6] = {0};
	struct task *tasks[6];
	struct value quick[2] = {value_int(1), value_int(0)};
	warm_up(&s, quick);
	for (int i = 0; i < 6; i++) {
		jobs[i].args[1] = value_int(30);
		tasks[i] = ask_in_task(&jobs[i], &s, i);
		ck_assert_int_eq(task_sleep_ms(2), 0); /* a group for each */
	}
	for (int i = 0; i < 6; i++)
		task_cancel(tasks[i]);
	for (int i = 0; i < 6; i++)
		ck_assert_int_eq(join(tasks[i]), -ECANCELED);
	int64_t before = monotonic_us();
	wait_until_gone("state = 'active'");
	ck_assert_str_eq(ask(&f, EXPECT_VALUE, "select 1", NULL), "1");
	ck_assert_int_lt(monotonic_us() - before, 20000000);
	fixture_close(&f);
	return 0;
}

PG_TEST(a_neighbours_failure_is_not_ours)
{
	struct shared s = {.f = f, .action = compile(f, "select {a}::int / {b}::int as n", EXPECT_ONE, true)};
	struct job_of jobs[60] = {0};
	struct task *tasks[60];
	struct value one[2] = {value_int(1), value_int(1)};

	warm_up(&s, one);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 60; i++) {
			jobs[i] = (struct job_of){.args[1] = value_int(i % 20 == 7 ? 0 : 1)};
			tasks[i] = ask_in_task(&jobs[i], &s, i);
		}
		for (int i = 0; i < 60; i++) {
			int r = join(tasks[i]);
			if (i % 20 == 7)
				ck_assert_str_eq(jobs[i].error.code, "22012");
			else
				ck_assert_msg(r == 0, "task %d: %d %s", i, r, jobs[i].error.what);
		}
	}
	ck_assert_uint_eq(s.wrong, 0);
}

/* Connections die under reads, again and again: each is answered, with its own rows. */
PG_TEST(reads_survive_the_death_of_a_connection)
{
	struct shared s = {.f = f, .action = compile(f, "select {a}::int as n", EXPECT_ONE, true)};
	struct job_of *jobs = calloc(TASKS, sizeof(*jobs));
	struct task **tasks = calloc(TASKS, sizeof(*tasks));
	char killed[1024] = "false";

	for (int round = 0; round < 10; round++) {
		/* What the last round has killed is gone: one call is not hit twice. */
		wait_until_gone(killed);
		for (int i = 0; i < TASKS; i++)
			tasks[i] = ask_in_task(&jobs[i], &s, i);
		for (int i = 0; i < round % 5; i++)
			ck_assert_int_eq(task_yield(), 0);
		kill_all(killed, sizeof(killed));
		for (int i = 0; i < TASKS; i++) {
			int r = join(tasks[i]);
			ck_assert_msg(r == 0, "task %d of round %d: %d %s", i, round, r, jobs[i].error.what);
		}
	}
	ck_assert_uint_eq(s.fine, 10 * TASKS);
	free(jobs);
	free(tasks);
}

/* A write is not run twice: as many rows as answers, or fewer answers than rows where the answer was lost. */
PG_TEST(writes_are_never_run_twice)
{
	struct shared s = {.f = f};
	struct job_of jobs[40] = {0};
	struct task *tasks[40];
	PGconn *killer = server_connect();

	s.action = compile(f, "insert into written values ({a}) returning x as n", EXPECT_ONE, false);
	for (int round = 0; round < 10; round++) {
		free(server_sql("truncate written"));
		s.fine = s.failed = 0;
		for (int i = 0; i < 40; i++)
			tasks[i] = ask_in_task(&jobs[i], &s, i);
		ck_assert_int_eq(task_sleep_ms(round), 0);
		PQclear(PQexec(killer, "select pg_terminate_backend(pid) from pg_stat_activity "
				       "where application_name = 'gatherd'"));
		for (int i = 0; i < 40; i++) {
			if (join(tasks[i]) < 0)
				ck_assert_msg(jobs[i].error.status == 502 || jobs[i].error.status == 503, "%d %s",
					      jobs[i].error.status, jobs[i].error.what);
		}
		char *rows = server_sql("select count(*) || ' ' || count(distinct x) from written");
		unsigned count, distinct;
		ck_assert_int_eq(sscanf(rows, "%u %u", &count, &distinct), 2);
		ck_assert_uint_eq(count, distinct);
		ck_assert_uint_ge(count, s.fine);
		free(rows);
	}
	PQfinish(killer);
}

/* Cancel one run after every number of turns that it may take, first use (learning) included. */
PG_TEST(cancelled_at_every_suspension)
{
	for (int n = 0; n < 60; n++) {
		struct shared s = {.f = f};
		struct job_of j = {.args[1] = value_int(n % 3 ? 0 : 1)};
		const char *sql = n % 2 ? "select {a}::int as n from pg_sleep({b} / 100.0)"
					: "insert into written select {a} from pg_sleep({b} / 100.0) returning x as n";
		s.action = compile(f, sql, EXPECT_ONE, n % 2);
		struct task *t = ask_in_task(&j, &s, n);
		for (int i = 0; i < n / 2; i++)
			ck_assert_int_eq(i % 2 ? task_sleep(deadline_in_us(300)) : task_yield(), 0);
		task_cancel(t);
		int r = join(t);
		ck_assert_msg(r == 0 || r == -ECANCELED, "%d %s", r, j.error.what);
	}
	ck_assert_str_eq(ask(f, EXPECT_VALUE, "select 1", NULL), "1");
	wait_until_gone("state <> 'idle'");
}

/* The same by deadlines; what is left over is cancelled on the server. */
PG_TEST(deadlines_are_kept)
{
	struct shared s = {.f = f, .action = compile(f, "select {a}::int as n from pg_sleep({b})", EXPECT_ONE, true)};
	struct job_of jobs[8] = {0};
	struct task *tasks[8];
	struct value quick[2] = {value_int(1), value_int(0)};

	warm_up(&s, quick);
	int64_t before = monotonic_us();
	for (int i = 0; i < 4; i++) {
		jobs[i] = (struct job_of){.args[1] = value_int(20), .timeout_us = 40000 + i};
		tasks[i] = ask_in_task(&jobs[i], &s, i);
	}
	for (int i = 0; i < 4; i++) {
		ck_assert_int_eq(join(tasks[i]), -ETIMEDOUT);
		ck_assert_int_eq(jobs[i].error.status, 504);
	}
	int64_t took = monotonic_us() - before;
	ck_assert_msg(took > 30000 && took < 15000000, "%lld us", (long long)took);
	/* The time-out of a step begins when it has a connection: all of them are taken now. Another statement: this
	 * one is known to be short, and its calls would share connections. */
	s.action = compile(f, "select {a}::int as n from pg_sleep({b}) as other", EXPECT_ONE, true);
	for (int i = 0; i < 8; i++) {
		jobs[i] = (struct job_of){.args[1] = value_int(2), .timeout_us = 3500000};
		tasks[i] = ask_in_task(&jobs[i], &s, i);
	}
	for (int i = 0; i < 8; i++)
		ck_assert_msg(join(tasks[i]) == 0, "%s", jobs[i].error.what);
	/* The request's own deadline. */
	struct buf json = BUF_INIT;
	struct error e;
	struct value slow[2] = {value_int(1), value_int(20)};
	deadline_t outer = deadline_push(deadline_in_ms(30));
	ck_assert_int_eq(run_for(f, s.action, slow, 0, &json, &e), -ETIMEDOUT);
	deadline_pop(outer);
	ck_assert_int_eq(e.status, 504);
	buf_done(&json);
	wait_until_gone("state = 'active'");
}

LOOP_TEST(the_queue_is_bounded)
{
	struct fixture f;
	fixture_config(&f);
	f.config.pool.size = 1;
	f.config.pool.max_waiting = 2;
	fixture_open(&f);
	ck_assert_str_eq(ask(&f, EXPECT_VALUE, "select 1", NULL), "1");
	struct shared s = {.f = &f,
			   .action = compile(&f, "select {a}::int as n from pg_sleep(0.05)", EXPECT_ONE, true)};
	warm_up(&s, (struct value[]){value_int(1)});
	struct job_of jobs[6] = {0};
	struct task *tasks[6];
	for (int i = 0; i < 6; i++)
		tasks[i] = ask_in_task(&jobs[i], &s, i);
	ck_assert_int_eq(join(tasks[3]), -EBUSY);
	ck_assert_uint_eq(s.fine, 0); /* none of those before it has ended */
	ck_assert_int_eq(jobs[3].error.status, 503);
	for (int i = 0; i < 6; i++) {
		if (i != 3)
			ck_assert_int_eq(join(tasks[i]), i < 3 ? 0 : -EBUSY);
	}
	fixture_close(&f);
	return 0;
}

LOOP_TEST(waiting_for_a_connection_is_bounded)
{
	struct fixture f;
	fixture_config(&f);
	f.config.pool.size = 1;
	f.config.pool.acquire_timeout_us = 40000;
	fixture_open(&f);
	for (int i = 0; i < 1000 && strcmp(ask(&f, EXPECT_VALUE, "select 1", NULL), "1") != 0; i++)
		ck_assert_int_eq(task_sleep_ms(5), 0); /* connecting may take longer than that */
	struct shared s = {.f = &f, .action = compile(&f, "select {a}::int as n from pg_sleep({b})", EXPECT_ONE, true)};
	struct job_of jobs[2] = {{.args[1] = value_int(30)}, {.args[1] = value_int(30)}};
	warm_up(&s, (struct value[]){value_int(1), value_string("0.2", 3)}); /* slow: it shares no connection */
	struct task *first = ask_in_task(&jobs[0], &s, 0);
	struct task *second = ask_in_task(&jobs[1], &s, 1);
	ck_assert_int_eq(join(second), -ETIMEDOUT);
	ck_assert_int_eq(jobs[1].error.status, 503);
	task_cancel(first);
	ck_assert_int_eq(join(first), -ECANCELED);
	fixture_close(&f);
	return 0;
}

/* A flood of short reads that share the only connection: what needs it alone gets its turn. */
static int flood(void *arg)
{
	struct shared *s = arg;
	struct job_of j = {0};
	while (s->seconds) {
		s->left++;
		j.shared = s;
		j.number = 3;
		ask_number(&j);
	}
	return 0;
}

LOOP_TEST(nobody_starves)
{
	for (unsigned size = 1; size <= 2; size++) {
		struct fixture f;
		fixture_config(&f);
		f.config.pool.size = size;
		fixture_open(&f);
		struct shared s = {
			.f = &f, .action = compile(&f, "select {a}::int as n", EXPECT_ONE, true), .seconds = 1};
		struct task *tasks[30];
		warm_up(&s, (struct value[]){value_int(1)});
		for (int i = 0; i < 30; i++)
			tasks[i] = spawn(flood, &s);
		ck_assert_int_eq(task_sleep_ms(10), 0);
		for (int i = 0; i < 10; i++) {
			struct buf json = BUF_INIT;
			struct error e;
			struct action *write = compile(&f, "insert into written values (1000) returning x", EXPECT_ONE,
						       false);
			ck_assert_msg(run_for(&f, write, NULL, 30000000, &json, &e) == 0, "%s", e.what);
			buf_done(&json);
		}
		unsigned before = s.fine;
		for (int i = 0; i < 1500 && s.fine == before; i++)
			ck_assert_int_eq(task_sleep_ms(20), 0);
		ck_assert_uint_gt(s.fine, before);
		s.seconds = 0;
		for (int i = 0; i < 30; i++)
			join(tasks[i]);
		ck_assert_uint_eq(s.failed + s.wrong, 0);
		fixture_close(&f);
	}
	return 0;
}

PG_TEST(a_dead_idle_connection_is_noticed)
{
	ck_assert_str_eq(ask(f, EXPECT_VALUE, "select 1", NULL), "1");
	char killed[1024];
	for (int i = 0; i < 5; i++) {
		kill_all(killed, sizeof(killed));
		wait_until_gone(killed);
		ck_assert_int_eq(task_sleep_ms(5), 0); /* a turn of the loop, which sees it */
		/* A write: it may not be run again, so it must not meet a dead connection. */
		struct buf json = BUF_INIT;
		struct error e;
		struct action *write = compile(f, "insert into written values (7)", EXPECT_NONE, false);
		int r = run_for(f, write, NULL, 0, &json, &e);
		ck_assert_msg(r == 0, "%s", e.what);
		buf_done(&json);
	}
	/* Nobody asks, and yet there is a connection again. */
	kill_all(killed, sizeof(killed));
	wait_until_gone(killed);
	ck_assert_int_eq(task_sleep_ms(5), 0);
	for (int i = 0; i < 6000 && !postgres_driver.source_ready(f->source); i++)
		ck_assert_int_eq(task_sleep_ms(5), 0);
	ck_assert(postgres_driver.source_ready(f->source));
	wait_for_backends(1, 1);
}

LOOP_TEST(idle_connections_are_closed_but_for_one)
{
	struct fixture f;
	fixture_config(&f);
	f.config.pool.idle_timeout_us = 50000;
	f.config.pool.lifetime_us = 300000;
	fixture_open(&f);
	struct shared s = {.f = &f, .action = compile(&f, "select {a}::int as n from pg_sleep(100)", EXPECT_ONE, true)};
	struct job_of jobs[12] = {0};
	struct task *tasks[12];
	for (int i = 0; i < 12; i++)
		tasks[i] = ask_in_task(&jobs[i], &s, i);
	wait_for_backends(2, 100);
	for (int i = 0; i < 12; i++)
		task_cancel(tasks[i]);
	for (int i = 0; i < 12; i++)
		ck_assert_int_eq(join(tasks[i]), -ECANCELED);
	wait_for_backends(1, 1);
	char *pid = server_sql("select pid from pg_stat_activity where application_name = 'gatherd'");
	/* … which is replaced when its lifetime is over. */
	bool replaced = false;
	for (int i = 0; i < 3000 && !replaced; i++) {
		ck_assert_int_eq(task_sleep_ms(10), 0);
		char *n = server_sql(
			"select count(*) from pg_stat_activity where application_name = 'gatherd' and pid <> %s", pid);
		replaced = strcmp(n, "1") == 0;
		free(n);
	}
	ck_assert(replaced);
	free(pid);
	fixture_close(&f);
	return 0;
}

/* Close while calls run and wait: they are refused or broken, and everything ends. */
LOOP_TEST(closing_ends_everything)
{
	for (int n = 0; n < 12; n++) {
		struct fixture f;
		fixture_config(&f);
		f.config.pool.size = 2;
		fixture_open(&f);
		struct shared s = {.f = &f};
		s.action = compile(&f, "select {a}::int as n from pg_sleep({b})", EXPECT_ONE, true);
		struct job_of jobs[20] = {0};
		struct task *tasks[20];
		for (int i = 0; i < 20; i++) {
			jobs[i].args[1] = value_int(i % 2 ? 30 : 0);
			tasks[i] = ask_in_task(&jobs[i], &s, i);
		}
		for (int i = 0; i <= n; i++)
			ck_assert_int_eq(task_sleep(deadline_in_us(i * 400)), 0);
		int64_t before = monotonic_us();
		fixture_close_now(&f);
		ck_assert_int_lt(monotonic_us() - before, 20000000);
		for (int i = 0; i < 20; i++)
			(void)join(tasks[i]);
		ck_assert_uint_eq(s.wrong, 0);
		fixture_free(&f);
	}
	wait_until_gone("true");
	return 0;
}

/* Two workers, three connections: one sure each, and the third goes to who needs it. */
struct worker {
	struct fixture *f;
	struct fixture own;
	unsigned asked, fine;
	int delay_ms;
	atomic_bool *enough; /* has been seen of them */
};

static int worker_main(void *arg)
{
	struct worker *w = arg;
	struct error e;
	w->own = *w->f;
	arena_init(&w->own.arena);
	diagnostics_init(&w->own.diagnostics);
	ck_assert_int_eq(postgres_driver.client_open(&w->own.client, w->f->source, &e), 0);
	struct shared s = {.f = &w->own};
	s.action = compile(&w->own, "select {a}::int as n from pg_sleep(0.005)", EXPECT_ONE, true);
	struct job_of jobs[30] = {0};
	struct task *tasks[30];
	while (!atomic_load(w->enough)) {
		ck_assert_int_eq(task_sleep_ms(w->delay_ms), 0);
		w->asked += 30;
		for (int i = 0; i < 30; i++)
			tasks[i] = ask_in_task(&jobs[i], &s, i);
		for (int i = 0; i < 30; i++)
			(void)join(tasks[i]);
	}
	w->fine = s.fine;
	while (!postgres_driver.client_idle(w->own.client))
		ck_assert_int_eq(task_sleep_ms(1), 0);
	postgres_driver.client_close(w->own.client);
	arena_done(&w->own.arena);
	diagnostics_done(&w->own.diagnostics);
	return 0;
}

static void *worker_thread(void *arg)
{
	return loop_run_main(worker_main, arg) == 0 ? NULL : arg;
}

START_TEST(workers_share_the_budget)
{
	struct fixture f;
	atomic_bool enough = false;
	struct worker workers[2] = {{.f = &f, .delay_ms = 1, .enough = &enough},
				    {.f = &f, .delay_ms = 40, .enough = &enough}};
	pthread_t threads[2];
	struct error e;
	fixture_config(&f);
	f.config.pool.size = 3;
	ck_assert_int_eq(executor_new(&f.executor, 2, 100), 0);
	ck_assert_int_eq(postgres_driver.source_new(&f.source, &f.config, f.executor, 2, &e), 0);
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, worker_thread, &workers[i]);
	unsigned most = 0;
	for (int i = 0; i < 20 || (most < f.config.pool.size && i < 1000); i++) {
		/* The server shows one that was closed until its process has ended. */
		unsigned now = backends();
		for (int k = 0; k < 1000 && now > f.config.pool.size; k++) {
			usleep(2000);
			now = backends();
		}
		most = now > most ? now : most;
		usleep(10000);
	}
	atomic_store(&enough, true);
	for (int i = 0; i < 2; i++) {
		void *failed;
		pthread_join(threads[i], &failed);
		ck_assert_ptr_null(failed);
		ck_assert_uint_gt(workers[i].asked, 0);
		ck_assert_uint_eq(workers[i].fine, workers[i].asked);
	}
	ck_assert_uint_eq(most, 3);
	postgres_driver.source_free(f.source);
	executor_free(f.executor);
	arena_done(&f.arena);
	diagnostics_done(&f.diagnostics);
}
END_TEST

int main(void)
{
	server_start();
	free(server_sql("create table written (x int)"));
	Suite *s = suite_create("postgres: pool");
	TCase *c = async_tcase(s, "pool");
	tcase_add_test(c, each_task_gets_its_own_rows);
	tcase_add_test(c, who_leaves_disturbs_nobody);
	tcase_add_test(c, a_cancel_hits_only_whom_it_is_meant_for);
	tcase_add_test(c, every_abandoned_group_is_cancelled);
	tcase_add_test(c, a_neighbours_failure_is_not_ours);
	tcase_add_test(c, reads_survive_the_death_of_a_connection);
	tcase_add_test(c, writes_are_never_run_twice);
	tcase_add_test(c, cancelled_at_every_suspension);
	tcase_add_test(c, deadlines_are_kept);
	tcase_add_test(c, the_queue_is_bounded);
	tcase_add_test(c, waiting_for_a_connection_is_bounded);
	tcase_add_test(c, nobody_starves);
	tcase_add_test(c, a_dead_idle_connection_is_noticed);
	tcase_add_test(c, idle_connections_are_closed_but_for_one);
	tcase_add_test(c, closing_ends_everything);
	tcase_add_test(c, workers_share_the_budget);
	int status = run_suite(s);
	server_stop();
	return status;
}
