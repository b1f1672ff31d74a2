/* Gather: results in order, fail fast, all, next, and that no child outlives it. */
#include "async/gather.h"

#include "async/future.h"
#include "async/internal.h"
#include "tests/unit/async/async_fixture.h"

struct plan {
	int64_t ms;
	int result;
	int *ended; /* counts */
};

static int follow(void *arg)
{
	const struct plan *p = arg;
	int r = task_sleep_ms(p->ms);
	if (p->ended)
		++*p->ended;
	return r < 0 ? r : p->result;
}

static unsigned tasks_alive(void)
{
	return loop_stats(loop_current()).tasks;
}

LOOP_TEST(results_are_in_order_whatever_order_they_end_in)
{
	static const struct plan plans[] = {{8, 10, 0}, {1, 11, 0}, {5, 12, 0}, {0, 13, 0}, {3, 14, 0}};
	struct gather g;
	gather_init(&g, GATHER_FAIL_FAST);
	for (int i = 0; i < 5; i++) {
		ck_assert_int_eq(gather_add(&g, "child", follow, (void *)&plans[i]), i);
		ck_assert_int_eq(gather_result(&g, (unsigned)i), -EINPROGRESS);
	}
	int64_t before_us = monotonic_us();
	ck_assert_int_eq(gather_wait(&g, DEADLINE_NEVER), 0);
	ck_assert_int_lt(monotonic_us() - before_us, 20000000);
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(gather_result(&g, (unsigned)i), 10 + i);
	ck_assert_int_eq(gather_wait(&g, DEADLINE_NEVER), 0); /* again: they have ended */
	gather_done(&g);
	gather_done(&g);
	ck_assert_uint_eq(tasks_alive(), 1);
	return 0;
}

LOOP_TEST(one_without_children_is_done)
{
	struct gather g;
	gather_init(&g, GATHER_ALL);
	ck_assert_int_eq(gather_wait(&g, DEADLINE_NEVER), 0);
	ck_assert_int_eq(gather_next(&g, DEADLINE_NEVER), -ENOENT);
	gather_cancel(&g);
	gather_done(&g);
	return 0;
}

LOOP_TEST(fail_fast_cancels_the_rest)
{
	int ended = 0;
	struct plan plans[] = {{60000, 1, &ended}, {2, -ENOENT, &ended}, {60000, 1, &ended}, {0, 5, &ended}};
	struct gather g;
	gather_init(&g, GATHER_FAIL_FAST);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(gather_add(&g, NULL, follow, &plans[i]), i);
	ck_assert_int_eq(gather_wait(&g, DEADLINE_NEVER), -ENOENT);
	ck_assert_int_eq(ended, 4); /* it returns when all have ended */
	ck_assert_uint_eq(tasks_alive(), 1);
	ck_assert_int_eq(gather_result(&g, 0), -ECANCELED);
	ck_assert_int_eq(gather_result(&g, 1), -ENOENT);
	ck_assert_int_eq(gather_result(&g, 2), -ECANCELED);
	ck_assert_int_eq(gather_result(&g, 3), 5);
	ck_assert_int_eq(gather_add(&g, NULL, follow, &plans[3]), -ECANCELED); /* after a failure */
	gather_done(&g);
	return 0;
}

/* Children that end when they are told to. */
static int await_the_future(void *arg)
{
	return future_await(arg, DEADLINE_NEVER);
}

static void add_futures(struct gather *g, struct future *f, int count)
{
	for (int i = 0; i < count; i++) {
		future_init(&f[i]);
		ck_assert_int_eq(gather_add(g, NULL, await_the_future, &f[i]), i);
	}
	settle();
}

LOOP_TEST(the_first_failure_in_time_is_the_one)
{
	struct future f[3];
	struct gather g;
	gather_init(&g, GATHER_FAIL_FAST);
	add_futures(&g, f, 3);
	future_resolve(&f[2], 0);
	future_resolve(&f[1], -ENOENT);
	future_resolve(&f[0], -EIO);
	ck_assert_int_eq(gather_wait(&g, DEADLINE_NEVER), -ENOENT);
	ck_assert_int_eq(gather_result(&g, 0), -EIO); /* it had its result before it was cancelled */
	gather_done(&g);
	return 0;
}

LOOP_TEST(all_collects_every_error)
{
	struct plan plans[] = {{3, -EIO, 0}, {1, -ENOENT, 0}, {2, 7, 0}};
	struct gather g;
	gather_init(&g, GATHER_ALL);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(gather_add(&g, NULL, follow, &plans[i]), i);
	ck_assert_int_eq(gather_wait(&g, DEADLINE_NEVER), 0);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(gather_result(&g, (unsigned)i), plans[i].result);
	ck_assert_int_eq(gather_add(&g, NULL, follow, &plans[2]), 3); /* and goes on */
	ck_assert_int_eq(gather_wait(&g, DEADLINE_NEVER), 0);
	ck_assert_int_eq(gather_result(&g, 3), 7);
	gather_done(&g);
	return 0;
}

LOOP_TEST(next_returns_them_as_they_end)
{
	static const int order[] = {3, 1, 4, 0, 2};
	struct plan plan = {0, 9, 0};
	struct future f[5];
	struct gather g;
	gather_init(&g, GATHER_ALL);
	add_futures(&g, f, 5);
	future_resolve(&f[order[0]], 0); /* two before anybody asks */
	future_resolve(&f[order[1]], 1);
	settle();
	for (int i = 0; i < 5; i++) {
		if (i >= 2)
			future_resolve(&f[order[i]], i == 4 ? -EIO : i);
		ck_assert_int_eq(gather_next(&g, DEADLINE_NEVER), order[i]);
		ck_assert_int_eq(gather_result(&g, (unsigned)order[i]), i == 4 ? -EIO : i);
	}
	ck_assert_int_eq(gather_next(&g, DEADLINE_NEVER), -ENOENT);
	ck_assert_int_eq(gather_add(&g, NULL, follow, &plan), 5); /* one more, and one more result */
	ck_assert_int_eq(gather_next(&g, DEADLINE_NEVER), 5);
	ck_assert_int_eq(gather_next(&g, DEADLINE_NEVER), -ENOENT);
	gather_done(&g);
	return 0;
}

struct latecomer {
	struct gather *gather;
	struct future *future;
	struct plan plan;
};

static int add_when_it_is_resolved(void *arg)
{
	struct latecomer *l = arg;
	int r = future_await(l->future, DEADLINE_NEVER);
	return r < 0 ? r : gather_add(l->gather, NULL, follow, &l->plan);
}

/* The last child has ended, and who waits for all is on its way, when somebody adds another one. */
LOOP_TEST(one_that_is_added_when_all_have_ended_is_waited_for)
{
	struct future f;
	struct gather g;
	struct latecomer late = {&g, &f, {2, 7, NULL}};
	gather_init(&g, GATHER_ALL);
	add_futures(&g, &f, 1);
	struct task *adds = spawn(add_when_it_is_resolved, &late);
	settle();
	future_resolve(&f, 0); /* wakes the child, and then the one that adds */
	ck_assert_int_eq(gather_wait(&g, DEADLINE_NEVER), 0);
	ck_assert_int_eq(gather_result(&g, 0), 0);
	ck_assert_int_eq(gather_result(&g, 1), 7);
	ck_assert_int_eq(task_await(&adds, DEADLINE_NEVER), 1);
	gather_done(&g);
	return 0;
}

LOOP_TEST(a_deadline_ends_the_wait_and_done_ends_the_children)
{
	int ended = 0;
	struct plan plan = {60000, 0, &ended};
	struct gather g;
	gather_init(&g, GATHER_ALL);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(gather_add(&g, NULL, follow, &plan), i);
	ck_assert_int_eq(gather_wait(&g, deadline_in_ms(2)), -ETIMEDOUT);
	ck_assert_int_eq(gather_next(&g, deadline_in_ms(2)), -ETIMEDOUT);
	ck_assert_int_eq(ended, 0);
	ck_assert_uint_eq(tasks_alive(), 4);
	gather_done(&g);
	ck_assert_int_eq(ended, 3);
	ck_assert_uint_eq(tasks_alive(), 1);
	return 0;
}

static int gather_for_long(void *arg)
{
	struct plan plan = {60000, 0, arg};
	struct gather g;
	gather_init(&g, GATHER_ALL);
	int r = 0;
	for (int i = 0; r >= 0 && i < 3; i++)
		r = gather_add(&g, NULL, follow, &plan);
	if (r >= 0)
		r = gather_wait(&g, DEADLINE_NEVER);
	gather_done(&g);
	return r;
}

LOOP_TEST(cancelling_the_one_who_gathers_ends_the_children)
{
	int ended = 0;
	struct task *t = spawn(gather_for_long, &ended);
	settle();
	ck_assert_uint_eq(tasks_alive(), 5);
	task_cancel(t);
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), -ECANCELED);
	ck_assert_int_eq(ended, 3);
	ck_assert_uint_eq(tasks_alive(), 1);
	return 0;
}

/* A gather inside a gather: cancellation goes all the way down. */
static int nest(void *arg)
{
	int *ended = arg;
	struct gather g;
	gather_init(&g, GATHER_FAIL_FAST);
	int r = 0;
	for (int i = 0; r >= 0 && i < 3; i++)
		r = gather_add(&g, NULL, gather_for_long, ended);
	if (r >= 0)
		r = gather_wait(&g, DEADLINE_NEVER);
	gather_done(&g);
	return r;
}

LOOP_TEST(cancellation_reaches_the_grandchildren)
{
	int ended = 0;
	struct task *t = spawn(nest, &ended);
	settle();
	ck_assert_uint_eq(tasks_alive(), 2 + 3 + 9);
	task_cancel(t);
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), -ECANCELED);
	ck_assert_int_eq(ended, 9);
	ck_assert_uint_eq(tasks_alive(), 1);
	return 0;
}

LOOP_TEST(a_thousand_children)
{
	enum { COUNT = 1000 };
	static struct plan plans[COUNT];
	struct gather g;
	gather_init(&g, GATHER_FAIL_FAST);
	for (int i = 0; i < COUNT; i++) {
		plans[i] = (struct plan){i % 7, i, 0};
		ck_assert_int_eq(gather_add(&g, NULL, follow, &plans[i]), i);
	}
	ck_assert_int_eq(gather_wait(&g, deadline_in_ms(20000)), 0);
	for (int i = 0; i < COUNT; i++)
		ck_assert_int_eq(gather_result(&g, (unsigned)i), i);
	gather_done(&g);
	return 0;
}

/* The one who waits is woken once, not once a child. */
LOOP_TEST(the_wait_for_all_is_woken_once)
{
	struct plan plans[] = {{1, 0, 0}, {4, 0, 0}, {7, 0, 0}, {10, 0, 0}};
	struct gather g;
	gather_init(&g, GATHER_ALL);
	uint64_t switches = loop_stats(loop_current()).switches;
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(gather_add(&g, NULL, follow, &plans[i]), i);
	ck_assert_int_eq(gather_wait(&g, DEADLINE_NEVER), 0);
	ck_assert_uint_eq(loop_stats(loop_current()).switches - switches, 4 * 2 + 1);
	gather_done(&g);
	return 0;
}

static int stubborn(void *arg)
{
	struct shield s;
	task_shield(&s, deadline_in_ms(10000));
	int r = task_sleep_ms(10);
	task_unshield(&s);
	*(bool *)arg = r == 0;
	return task_yield();
}

/* It ignores its cancellation for a while: gather_done waits for it. */
LOOP_TEST(a_shielded_child_is_waited_for)
{
	bool finished = false;
	struct plan fails = {1, -EIO, 0};
	struct gather g;
	gather_init(&g, GATHER_FAIL_FAST);
	ck_assert_int_eq(gather_add(&g, NULL, stubborn, &finished), 0);
	ck_assert_int_eq(gather_add(&g, NULL, follow, &fails), 1);
	ck_assert_int_eq(gather_wait(&g, deadline_in_ms(4)), -ETIMEDOUT);
	ck_assert(!finished);
	gather_done(&g);
	ck_assert(finished);
	ck_assert_uint_eq(tasks_alive(), 1);
	return 0;
}

static int inherits_the_deadline(void *arg)
{
	(void)arg;
	return task_sleep_ms(60000);
}

static int finish_shielded(void *arg)
{
	struct shield s;
	task_shield(&s, DEADLINE_NEVER);
	int r = task_sleep_ms(30);
	++*(int *)arg;
	task_unshield(&s);
	return r;
}

LOOP_TEST(a_shield_with_a_deadline_does_not_end_the_wait_for_the_children)
{
	int finished = 0;
	struct gather g;
	gather_init(&g, GATHER_ALL);
	ck_assert_int_eq(gather_add(&g, "child", finish_shielded, &finished), 0);
	ck_assert_int_eq(task_yield(), 0);
	struct shield s;
	task_shield(&s, deadline_in_ms(1));
	gather_done(&g);
	task_unshield(&s);
	ck_assert_int_eq(finished, 1);
	return 0;
}

LOOP_TEST(children_have_the_deadline_of_their_parent)
{
	struct gather g;
	gather_init(&g, GATHER_ALL);
	deadline_t before = deadline_push(deadline_in_ms(3));
	ck_assert_int_eq(gather_add(&g, NULL, inherits_the_deadline, NULL), 0);
	deadline_pop(before);
	ck_assert_int_eq(gather_wait(&g, DEADLINE_NEVER), 0);
	ck_assert_int_eq(gather_result(&g, 0), -ETIMEDOUT);
	gather_done(&g);
	return 0;
}

int main(void)
{
	Suite *s = suite_create("gather");
	TCase *c = async_tcase(s, "gather");
	tcase_add_test(c, results_are_in_order_whatever_order_they_end_in);
	tcase_add_test(c, one_without_children_is_done);
	tcase_add_test(c, fail_fast_cancels_the_rest);
	tcase_add_test(c, the_first_failure_in_time_is_the_one);
	tcase_add_test(c, all_collects_every_error);
	tcase_add_test(c, next_returns_them_as_they_end);
	tcase_add_test(c, one_that_is_added_when_all_have_ended_is_waited_for);
	tcase_add_test(c, a_deadline_ends_the_wait_and_done_ends_the_children);
	tcase_add_test(c, cancelling_the_one_who_gathers_ends_the_children);
	tcase_add_test(c, cancellation_reaches_the_grandchildren);
	tcase_add_test(c, a_thousand_children);
	tcase_add_test(c, the_wait_for_all_is_woken_once);
	tcase_add_test(c, a_shielded_child_is_waited_for);
	tcase_add_test(c, children_have_the_deadline_of_their_parent);
	tcase_add_test(c, a_shield_with_a_deadline_does_not_end_the_wait_for_the_children);
	return run_suite(s);
}
