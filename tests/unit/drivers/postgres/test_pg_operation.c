/* Steps' reads as operations of a gather: what comes of them is what a run of its own would have brought. */
#include "async/gather.h"
#include "tests/unit/drivers/postgres/postgres_fixture.h"

enum { MANY = 20 };

static const struct run_options *options_of(struct fixture *f, int64_t timeout_us)
{
	struct run_options *options = arena_zalloc(&f->arena, sizeof(*options));

	options->arena = &f->arena;
	options->timeout_us = timeout_us;
	return options;
}

/* The statement is known then. */
static struct action *known(struct fixture *f, const char *sql, enum expect expect, const struct value *args)
{
	struct action *a = compile(f, sql, expect, true);
	struct buf json = BUF_INIT;
	struct error e;

	ck_assert_ptr_nonnull(a);
	ck_assert_int_eq(run_for(f, a, args, 0, &json, &e), 0);
	buf_done(&json);
	return a;
}

static struct operation *submit(struct fixture *f, struct action *a, const struct value *args, int64_t timeout_us)
{
	struct operation *op;
	struct error e = ERROR_INIT;

	ck_assert_int_eq(postgres_driver.submit(f->client, a, args, options_of(f, timeout_us), &op, &e), 0);
	ck_assert_ptr_nonnull(op);
	return op;
}

/* What op brings, as JSON or as "! status what", in the arena. *finished: it could not end without a task. */
static const char *collect(struct fixture *f, struct operation *op, bool *finished)
{
	struct result *result = NULL;
	struct buf json = BUF_INIT;
	struct error e = ERROR_INIT;
	int r = postgres_driver.collect(op, &result, &e);

	*finished = r == 1;
	if (r == 1)
		r = postgres_driver.finish(op, &result, &e);
	if (r < 0) {
		ck_assert_ptr_null(result);
		return arena_printf(&f->arena, "! %d %s %s", e.status, e.code, e.what);
	}
	result->ops->render(result, &json);
	result_free(result);
	const char *text = arena_strndup(&f->arena, json.data, json.len);
	buf_done(&json);
	return text;
}

/* One of its own in a gather. */
static const char *ask_operation(struct fixture *f, struct action *a, const struct value *args, int64_t timeout_us,
				 bool *finished)
{
	struct gather g;
	struct operation *op = submit(f, a, args, timeout_us);

	gather_init(&g, GATHER_ALL);
	ck_assert_int_eq(gather_add_operation(&g, "step", op, NULL), 0);
	ck_assert_int_eq(gather_wait(&g, DEADLINE_NEVER), 0);
	gather_done(&g);
	return collect(f, op, finished);
}

PG_TEST(many_cost_no_task)
{
	struct value args[MANY];
	struct operation *ops[MANY];
	struct gather g;
	bool finished;
	args[0] = value_int(1);
	struct action *a = known(f, "select {a}::int as n", EXPECT_ONE, args);

	gather_init(&g, GATHER_ALL);
	unsigned tasks = loop_stats(loop_current()).tasks;
	for (int i = 0; i < MANY; i++) {
		args[i] = value_int(i);
		ops[i] = submit(f, a, &args[i], 60000000);
		ck_assert_int_eq(gather_add_operation(&g, "step", ops[i], NULL), i);
	}
	ck_assert_uint_le(loop_stats(loop_current()).tasks, tasks + 4); /* those that connect */
	ck_assert_int_eq(gather_wait(&g, DEADLINE_NEVER), 0);
	for (int i = 0; i < MANY; i++) {
		char expected[32];
		snprintf(expected, sizeof(expected), "{\"n\":%d}", i);
		ck_assert_str_eq(collect(f, ops[i], &finished), expected);
		ck_assert(!finished);
	}
	gather_done(&g);
}

PG_TEST(what_needs_a_task_is_no_operation)
{
	struct operation *op;
	struct error e = ERROR_INIT;
	struct action *unknown = compile(f, "select 'nobody has asked this before'", EXPECT_ONE, true);
	struct action *writes = compile(f, "create temporary table t ()", EXPECT_NONE, false);

	ck_assert_int_eq(postgres_driver.submit(f->client, unknown, NULL, options_of(f, 0), &op, &e), 0);
	ck_assert_ptr_null(op);
	ck_assert_int_eq(postgres_driver.submit(f->client, writes, NULL, options_of(f, 0), &op, &e), 0);
	ck_assert_ptr_null(op);
	struct action *a = known(f, "select 1", EXPECT_VALUE, NULL);
	deadline_t before = deadline_push((deadline_t){0});
	ck_assert_int_eq(postgres_driver.submit(f->client, a, NULL, options_of(f, 0), &op, &e), 0);
	deadline_pop(before);
	ck_assert_ptr_null(op);
}

PG_TEST(a_value_that_does_not_fit_fails_at_once)
{
	struct value v = value_int(1);
	struct operation *op;
	struct error e = ERROR_INIT;
	struct action *a = known(f, "select {a}::text", EXPECT_VALUE, &v);

	v = value_string("x\0y", 3);
	v.from_request = true;
	ck_assert_int_lt(postgres_driver.submit(f->client, a, &v, options_of(f, 0), &op, &e), 0);
	ck_assert_int_eq(e.status, 400);
}

PG_TEST(failures_are_those_of_a_run)
{
	struct value v = value_int(1);
	bool finished;
	struct action *division = known(f, "select 1 / {a}::int", EXPECT_VALUE, &v);
	struct action *one = known(f, "select n from generate_series(1, {a}::int) n", EXPECT_ONE, &v);

	v = value_int(0);
	ck_assert_ptr_nonnull(strstr(ask_operation(f, division, &v, 0, &finished), " 22012 "));
	ck_assert(finished); /* the server was asked whether the types have changed */
	ck_assert_int_eq(strncmp(ask_operation(f, one, &v, 0, &finished), "! 404", 5), 0);
	ck_assert(!finished);
	v = value_int(2);
	ck_assert_int_eq(strncmp(ask_operation(f, one, &v, 0, &finished), "! 500", 5), 0);
}

PG_TEST(a_table_that_has_changed_is_learned_again)
{
	bool finished;

	free(server_sql("create table operation_changes (a int); insert into operation_changes values (1)"));
	struct action *a = known(f, "select * from operation_changes", EXPECT_ONE, NULL);
	ck_assert_str_eq(ask_operation(f, a, NULL, 0, &finished), "{\"a\":1}");
	ck_assert(!finished);
	free(server_sql("alter table operation_changes add b text default 'new'"));
	ck_assert_str_eq(ask_operation(f, a, NULL, 0, &finished), "{\"a\":1,\"b\":\"new\"}");
	ck_assert(finished);
	ck_assert_str_eq(ask_operation(f, a, NULL, 0, &finished), "{\"a\":1,\"b\":\"new\"}");
	ck_assert(!finished);
}

/* Until the server runs none of the driver's statements. */
static void wait_until_quiet(void)
{
	for (deadline_t by = deadline_in_ms(30000); !deadline_passed(by);) {
		char *n = server_sql("select count(*) from pg_stat_activity where application_name = 'gatherd' and "
				     "state = 'active'");
		bool quiet = strcmp(n, "0") == 0;
		free(n);
		if (quiet)
			return;
		ck_assert_int_eq(task_sleep_ms(5), 0);
	}
	ck_abort_msg("still running");
}

PG_TEST(its_time_out_ends_it)
{
	struct value v = value_int(0);
	bool finished;
	struct action *a = known(f, "select 'x' from pg_sleep({a}::int)", EXPECT_VALUE, &v);

	v = value_int(600);
	const char *text = ask_operation(f, a, &v, 20000, &finished);
	ck_assert_int_eq(strncmp(text, "! 504", 5), 0);
	ck_assert_ptr_nonnull(strstr(text, "waiting for the answer"));
	deadline_t before = deadline_push(deadline_in_ms(20)); /* of who waits */
	struct operation *op = submit(f, a, &v, 0);
	deadline_pop(before);
	struct gather g;
	gather_init(&g, GATHER_ALL);
	ck_assert_int_eq(gather_add_operation(&g, "step", op, NULL), 0);
	ck_assert_int_eq(gather_wait(&g, DEADLINE_NEVER), 0);
	gather_done(&g);
	ck_assert_int_eq(strncmp(collect(f, op, &finished), "! 504", 5), 0);
	wait_until_quiet();
}

static bool is_sent(const struct operation *op)
{
	struct buf text = BUF_INIT;

	op->kind->describe(op, &text);
	bool sent = strcmp(buf_cstr(&text), "an answer from PostgreSQL (source shop, sent)") == 0;
	if (!sent)
		ck_assert_str_eq(buf_cstr(&text), "an answer from PostgreSQL (source shop, waiting)");
	buf_done(&text);
	return sent;
}

/* The connection may have to be reset before it is given to op, which is a child of g. */
static void wait_until_sent(struct gather *g, const struct operation *op)
{
	for (deadline_t by = deadline_in_ms(30000); !is_sent(op) && !deadline_passed(by);)
		ck_assert_int_eq(gather_wait(g, deadline_in_ms(2)), -ETIMEDOUT);
	ck_assert(is_sent(op));
}

static int cancel_two(void *arg)
{
	struct fixture *f = arg;
	struct value v = value_int(0);
	struct action *a = known(f, "select 'y' from pg_sleep({a}::int)", EXPECT_VALUE, &v);
	struct operation *sent, *waiting;
	struct gather g;

	v = value_int(600);
	gather_init(&g, GATHER_ALL);
	sent = submit(f, a, &v, 0);
	ck_assert_int_eq(gather_add_operation(&g, "sent", sent, NULL), 0);
	wait_until_sent(&g, sent);
	waiting = submit(f, a, &v, 0);
	ck_assert_int_eq(gather_add_operation(&g, "waiting", waiting, NULL), 1);
	ck_assert(!is_sent(waiting));
	ck_assert_int_eq(gather_wait(&g, deadline_in_ms(20)), -ETIMEDOUT);
	gather_done(&g);
	wait_until_quiet();
	return 0;
}

/* One connection: the second call waits in line. */
LOOP_TEST(those_that_are_cancelled_leave_nothing)
{
	struct fixture f;

	fixture_config(&f);
	f.config.pool.size = 1;
	fixture_open(&f);
	ck_assert_int_eq(cancel_two(&f), 0);
	fixture_close(&f);
	return 0;
}

LOOP_TEST(the_line_has_a_length_and_an_end)
{
	struct fixture f;
	struct value v = value_int(0);
	struct operation *sent, *waiting, *refused;
	struct error e = ERROR_INIT;
	struct gather g;
	bool finished;

	fixture_config(&f);
	f.config.pool.size = 1;
	f.config.pool.max_waiting = 1;
	fixture_open(&f);
	struct action *a = known(&f, "select 'z' from pg_sleep({a}::int)", EXPECT_VALUE, &v);
	v = value_int(600);
	gather_init(&g, GATHER_ALL);
	sent = submit(&f, a, &v, 0);
	ck_assert_int_eq(gather_add_operation(&g, "sent", sent, NULL), 0);
	wait_until_sent(&g, sent);
	f.config.pool.acquire_timeout_us = 50000;
	waiting = submit(&f, a, &v, 60000000);
	ck_assert_int_eq(postgres_driver.submit(f.client, a, &v, options_of(&f, 0), &refused, &e), -EBUSY);
	ck_assert_int_eq(e.status, 503);
	ck_assert_int_eq(gather_add_operation(&g, "waiting", waiting, NULL), 1);
	ck_assert_int_eq(gather_next(&g, DEADLINE_NEVER), 1);
	const char *text = collect(&f, waiting, &finished);
	ck_assert_int_eq(strncmp(text, "! 503", 5), 0);
	ck_assert_ptr_nonnull(strstr(text, "acquire_timeout"));
	gather_done(&g);
	fixture_close(&f);
	return 0;
}

PG_TEST(a_connection_that_is_lost_is_not_noticed)
{
	struct value v = value_int(0);
	bool finished;
	struct action *a = known(f, "select 'lost' from pg_sleep({a}::float8 / 10)", EXPECT_VALUE, &v);

	v = value_int(2);
	struct operation *op = submit(f, a, &v, 0);
	struct gather g;
	gather_init(&g, GATHER_ALL);
	ck_assert_int_eq(gather_add_operation(&g, "step", op, NULL), 0);
	ck_assert_int_eq(gather_wait(&g, deadline_in_ms(20)), -ETIMEDOUT);
	free(server_sql(
		"select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'gatherd'"));
	ck_assert_int_eq(gather_wait(&g, DEADLINE_NEVER), 0);
	gather_done(&g);
	ck_assert_str_eq(collect(f, op, &finished), "\"lost\"");
}

static int close_client(void *arg)
{
	fixture_close_now(arg);
	return 0;
}

/* The client closes while an operation is under way: it ends, and what it brought is collected. */
LOOP_TEST(closing_ends_it)
{
	struct fixture f;
	struct value v = value_int(0);
	struct gather g;
	bool finished;

	fixture_config(&f);
	fixture_open(&f);
	struct action *a = known(&f, "select 'closing' from pg_sleep({a}::int)", EXPECT_VALUE, &v);
	v = value_int(600);
	struct operation *op = submit(&f, a, &v, 0);
	gather_init(&g, GATHER_ALL);
	ck_assert_int_eq(gather_add_operation(&g, "step", op, NULL), 0);
	struct task *closer = spawn(close_client, &f);
	ck_assert_int_eq(gather_wait(&g, DEADLINE_NEVER), 0);
	gather_done(&g);
	ck_assert(!task_ended(closer)); /* it waits until all was collected */
	ck_assert_int_eq(*collect(&f, op, &finished), '!');
	ck_assert_int_eq(task_await(&closer, DEADLINE_NEVER), 0);
	fixture_free(&f);
	return 0;
}

int main(void)
{
	server_start();
	Suite *s = suite_create("postgres: operations");
	TCase *c = async_tcase(s, "operations");
	tcase_set_timeout(c, 120);
	tcase_add_test(c, many_cost_no_task);
	tcase_add_test(c, what_needs_a_task_is_no_operation);
	tcase_add_test(c, a_value_that_does_not_fit_fails_at_once);
	tcase_add_test(c, failures_are_those_of_a_run);
	tcase_add_test(c, a_table_that_has_changed_is_learned_again);
	tcase_add_test(c, its_time_out_ends_it);
	tcase_add_test(c, those_that_are_cancelled_leave_nothing);
	tcase_add_test(c, the_line_has_a_length_and_an_end);
	tcase_add_test(c, a_connection_that_is_lost_is_not_noticed);
	tcase_add_test(c, closing_ends_it);
	return run_and_stop_server(s);
}
