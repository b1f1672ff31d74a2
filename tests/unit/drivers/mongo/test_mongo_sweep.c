/* Whatever happens to a connection, at whatever byte or moment: an operation ends with its result or with a clear
 * error, and everything that it took is given back. */
#include "tests/unit/drivers/mongo/mongo_fixture.h"

static const char step[] = "{ find: many_2_3 }";
static const char rows[] = "[{\"n\":0},{\"n\":1},{\"n\":0},{\"n\":1},{\"n\":0},{\"n\":1}]";

/* Cut one connection after each possible byte; the pool, or the second attempt, makes up for it. */
static void sweep_bytes(struct fixture *f, atomic_long *where)
{
	struct action *a = compile(f, step);
	struct buf json = BUF_INIT;
	struct error e;
	long n = 0;

	for (bool cut = true; cut; n++) {
		cut_begin(f, where, n);
		int r = run_for(f, a, NULL, 60000000, &json, &e);
		cut = cut_end(f, where);
		/* The server broke off while it answered, and did so again on the second attempt: never here. */
		ck_assert_msg(r == 0, "after byte %ld: %d %s", n, r, e.what);
		ck_assert_str_eq(buf_cstr(&json), rows);
	}
	ck_assert_int_gt(n, 300);
	buf_done(&json);
}

MONGO_TEST(cut_after_each_byte_of_the_answers)
{
	sweep_bytes(f, &f->server.cut_after);
}

MONGO_TEST(cut_after_each_byte_of_the_requests)
{
	sweep_bytes(f, &f->server.cut_requests);
}

/* A server that breaks off always: an error in time, and no attempt too many. */
MONGO_TEST(a_server_that_always_breaks_off)
{
	struct action *a = compile(f, step);
	struct buf json = BUF_INIT;
	struct error e;

	ck_assert(await_ready(f, 1000));
	int before = atomic_load(&f->server.finds);
	/* In the first answer to find, behind hello and ping. */
	atomic_store(&f->server.cuts, 1000000);
	atomic_store(&f->server.cut_after, 330);
	lose_connections(f);
	int r = run_for(f, a, NULL, 60000000, &json, &e);
	ck_assert_int_lt(r, 0);
	ck_assert_msg(e.status == 502 || e.status == 503, "%d %s", e.status, e.what);
	ck_assert_int_le(atomic_load(&f->server.finds), before + 2);
	buf_done(&json);
}

struct one_run {
	struct fixture *f;
	struct action *action;
	struct error error;
	bool done;
};

static int run_one(void *arg)
{
	struct one_run *o = arg;
	struct buf json = BUF_INIT;
	int r = run_for(o->f, o->action, NULL, 60000000, &json, &o->error);

	if (r == 0)
		ck_assert_str_eq(buf_cstr(&json), rows);
	buf_done(&json);
	o->done = true;
	return r;
}

/* Cancel it after the task has run n times. */
static void sweep_cancellation(struct fixture *f, bool warm)
{
	struct one_run o = {.f = f, .action = compile(f, step)};
	int canceled = 0, n = 0, r;

	for (bool finished = false; !finished; n += n > 60 ? n / 20 : 1) {
		if (warm)
			ck_assert_str_eq(ask(f, "{ find: docs_1 }", NULL), "[{\"n\":0}]");
		else
			lose_connections(f);
		o.done = false;
		finished = cancel_in_turn(n, run_one, &o, &o.done, &r);
		ck_assert_msg(r == 0 || r == -ECANCELED, "%d: %d %s", n, r, o.error.what);
		canceled += r == -ECANCELED;
		await_idle(f);
	}
	ck_assert_int_gt(canceled, 1);
	ck_assert_str_eq(ask(f, step, NULL), rows);
}

MONGO_TEST(cancel_at_each_suspension)
{
	sweep_cancellation(f, true);
}

MONGO_TEST(cancel_at_each_suspension_while_connecting)
{
	sweep_cancellation(f, false);
}

MONGO_TEST(a_deadline_at_any_moment)
{
	struct action *a = compile(f, step);
	struct buf json = BUF_INIT;
	struct error e;
	int late = 0, in_time = 0;

	for (int64_t us = 1; us < 4000; us += us / 10 + 7) {
		int r = run_for(f, a, NULL, us, &json, &e);
		ck_assert_msg(r == 0 || (r == -ETIMEDOUT && e.status == 504), "%d us: %d %s", (int)us, r, e.what);
		late += r < 0;
		in_time += r == 0;
		/* The same by the task's own deadline, which covers the wait for a connection. */
		deadline_t before = deadline_push(deadline_in_us(us));
		r = run_for(f, a, NULL, 0, &json, &e);
		deadline_pop(before);
		ck_assert_msg(r == 0 || (r == -ETIMEDOUT && e.status == 504), "%d us: %d %s", (int)us, r, e.what);
	}
	ck_assert_int_gt(late, 0);
	ck_assert_int_gt(in_time, 0);
	buf_done(&json);
}

struct chaos {
	struct fixture *f;
	struct action *action;
	deadline_t until;
	int good, bad;
};

static int run_in_chaos(void *arg)
{
	struct chaos *c = arg;
	struct buf json = BUF_INIT;
	struct error e;

	while (!deadline_passed(c->until)) {
		int r = run_for(c->f, c->action, NULL, 1000000, &json, &e);
		if (r == 0)
			ck_assert_str_eq(buf_cstr(&json), rows);
		else
			ck_assert_msg(e.status == 502 || e.status == 503 || e.status == 504, "%d %s", e.status, e.what);
		c->good += r == 0;
		c->bad += r < 0;
		if (task_yield() < 0)
			break;
	}
	buf_done(&json);
	return 0;
}

MONGO_TEST(connections_that_die_all_the_time)
{
	struct chaos c = {.f = f, .action = compile(f, step), .until = deadline_in_ms(800)};
	struct task *tasks[24];

	for (size_t i = 0; i < ARRAY_SIZE(tasks); i++)
		tasks[i] = spawn(run_in_chaos, &c);
	while (!deadline_passed(c.until)) {
		ck_assert_int_eq(task_sleep_ms(15), 0);
		server_drop_all(&f->server);
	}
	for (size_t i = 0; i < ARRAY_SIZE(tasks); i++)
		join(tasks[i]);
	ck_assert_int_gt(c.good, 20);
	ck_assert_str_eq(ask(f, step, NULL), rows);
}

int main(void)
{
	Suite *s = suite_create("mongo sweep");
	TCase *c = async_tcase(s, "sweeps");

	tcase_add_test(c, cut_after_each_byte_of_the_answers);
	tcase_add_test(c, cut_after_each_byte_of_the_requests);
	tcase_add_test(c, a_server_that_always_breaks_off);
	tcase_add_test(c, cancel_at_each_suspension);
	tcase_add_test(c, cancel_at_each_suspension_while_connecting);
	tcase_add_test(c, a_deadline_at_any_moment);
	tcase_add_test(c, connections_that_die_all_the_time);
	return run_suite(s);
}
