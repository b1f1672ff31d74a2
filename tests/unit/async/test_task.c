/* Tasks: life, waiting, cancellation, deadlines, and that nothing grows. */
#include "async/fd.h"
#include "async/run.h"
#include "tests/unit/async/async_fixture.h"

static int return_arg(void *arg)
{
	return (int)(intptr_t)arg;
}

static int add_one(void *arg)
{
	int *n = arg;
	(*n)++;
	return 0;
}

static int spawn_and_await(void *arg)
{
	struct task *t, *self = task_self();
	(void)arg;
	ck_assert_int_eq(task_spawn(&t, return_arg, (void *)42, NULL), 0);
	ck_assert(!task_ended(t));
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), 42);
	ck_assert_ptr_null(t);
	ck_assert_int_eq(task_await(&self, DEADLINE_NEVER), -EDEADLK);
	return 7;
}

START_TEST(spawn_await_returns_the_result)
{
	ck_assert_int_eq(loop_run_main(spawn_and_await, NULL), 7);
}
END_TEST

static int await_an_ended_one(void *arg)
{
	struct task *t;
	(void)arg;
	ck_assert_int_eq(task_spawn(&t, return_arg, (void *)-ENOENT, NULL), 0);
	ck_assert_int_eq(task_yield(), 0);
	ck_assert(task_ended(t));
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), -ENOENT);
	return 0;
}

START_TEST(a_task_that_has_ended_is_awaited_late)
{
	ck_assert_int_eq(loop_run_main(await_an_ended_one, NULL), 0);
}
END_TEST

static int detached_ones(void *arg)
{
	int ran = 0;
	(void)arg;
	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(task_spawn(NULL, add_one, &ran, &(struct task_options){.detached = true}), 0);
	struct task *t;
	ck_assert_int_eq(task_spawn(&t, add_one, &ran, NULL), 0);
	task_detach(t);
	ck_assert_int_eq(ran, 0);
	ck_assert_int_eq(task_yield(), 0);
	ck_assert_int_eq(ran, 11);
	ck_assert_uint_eq(loop_stats(loop_current()).tasks, 1);
	return 0;
}

START_TEST(detached_tasks_run_and_are_freed)
{
	ck_assert_int_eq(loop_run_main(detached_ones, NULL), 0);
}
END_TEST

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { ROUNDS = 1000000, GROWTH_KIB = 32768 }; /* their own bookkeeping */
#else
enum { ROUNDS = 1000000, GROWTH_KIB = 4096 };
#endif

/* A million tasks and two million switches leave the process as large as it was. */
static int million(void *arg)
{
	(void)arg;
	long before_kib = resident_kib();
	for (int i = 0; i < ROUNDS; i++) {
		struct task *t;
		if (task_spawn(&t, return_arg, (void *)(intptr_t)i, NULL) < 0 || task_await(&t, DEADLINE_NEVER) != i)
			return -1;
	}
	ck_assert_uint_eq(loop_stats(loop_current()).tasks, 1);
	ck_assert_int_lt(resident_kib() - before_kib, GROWTH_KIB);
	return 0;
}

START_TEST(a_million_rounds_do_not_grow)
{
	ck_assert_int_eq(loop_run_main(million, NULL), 0);
}
END_TEST

static int sleeper(void *arg)
{
	return task_sleep_ms((intptr_t)arg);
}

static int cancel_a_sleeper(void *arg)
{
	struct task *t;
	(void)arg;
	ck_assert_int_eq(task_spawn(&t, sleeper, (void *)60000, NULL), 0);
	ck_assert_int_eq(task_yield(), 0);
	task_cancel(t);
	task_cancel(t);
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), -ECANCELED);
	return 0;
}

START_TEST(cancel_wakes_a_sleeper)
{
	ck_assert_int_eq(loop_run_main(cancel_a_sleeper, NULL), 0);
}
END_TEST

/* Cancelled before its first turn: it still runs, and its first wait says so. */
static int cancel_before_it_ran(void *arg)
{
	struct task *t;
	(void)arg;
	ck_assert_int_eq(task_spawn(&t, sleeper, (void *)60000, NULL), 0);
	task_cancel(t);
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), -ECANCELED);
	return 0;
}

START_TEST(cancel_before_the_first_turn)
{
	ck_assert_int_eq(loop_run_main(cancel_before_it_ran, NULL), 0);
}
END_TEST

static int sticky(void *arg)
{
	(void)arg;
	ck_assert_int_eq(task_sleep_ms(60000), -ECANCELED);
	ck_assert_int_eq(task_sleep_ms(60000), -ECANCELED);
	ck_assert_int_eq(task_yield(), -ECANCELED);
	ck_assert(task_cancelled());
	struct shield s, inner;
	task_shield(&s, deadline_in_ms(5000));
	ck_assert_int_eq(task_sleep_ms(2), 0);
	ck_assert_int_eq(task_yield(), 0);
	task_shield(&inner, deadline_in_ms(1));
	ck_assert_int_eq(task_sleep_ms(1000), -ETIMEDOUT);
	task_unshield(&inner);
	ck_assert_int_eq(task_sleep_ms(1), 0);
	task_unshield(&s);
	ck_assert_int_eq(task_yield(), -ECANCELED);
	return 3;
}

static int cancel_sticky(void *arg)
{
	struct task *t;
	(void)arg;
	ck_assert_int_eq(task_spawn(&t, sticky, NULL, NULL), 0);
	ck_assert_int_eq(task_yield(), 0);
	task_cancel(t);
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), 3);
	return 0;
}

START_TEST(cancellation_is_sticky_and_a_shield_holds_it_off)
{
	ck_assert_int_eq(loop_run_main(cancel_sticky, NULL), 0);
}
END_TEST

static int deadlines(void *arg)
{
	struct task *t;
	(void)arg;
	ck_assert_int_eq(task_spawn(&t, sleeper, (void *)60000, NULL), 0);
	ck_assert_int_eq(task_await(&t, deadline_in_ms(5)), -ETIMEDOUT);
	ck_assert(!task_ended(t));

	deadline_t outer = deadline_push(deadline_in_ms(10));
	deadline_t inner = deadline_push(deadline_in_ms(60000));
	ck_assert_int_eq(task_sleep_ms(30000), -ETIMEDOUT); /* the earlier one wins */
	ck_assert_int_eq(task_yield(), -ETIMEDOUT);
	deadline_pop(inner);
	deadline_pop(outer);
	ck_assert_int_eq(task_yield(), 0);
	ck_assert_int_eq(task_sleep_ms(1), 0);

	task_cancel(t);
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), -ECANCELED);
	return 0;
}

START_TEST(deadlines_nest_and_the_earlier_wins)
{
	ck_assert_int_eq(loop_run_main(deadlines, NULL), 0);
}
END_TEST

static int inherits(void *arg)
{
	struct task *t;
	(void)arg;
	deadline_t before = deadline_push(deadline_in_ms(10));
	ck_assert_int_eq(task_spawn(&t, sleeper, (void *)60000, NULL), 0);
	deadline_pop(before);
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), -ETIMEDOUT);
	return 0;
}

START_TEST(children_inherit_the_deadline)
{
	ck_assert_int_eq(loop_run_main(inherits, NULL), 0);
}
END_TEST

/* A wait with a late deadline after one with an early deadline: the early timer must not end it. */
static int later_wait(void *arg)
{
	struct task *t;
	(void)arg;
	ck_assert_int_eq(task_spawn(&t, sleeper, (void *)30, NULL), 0);
	ck_assert_int_eq(task_await(&t, deadline_in_ms(5)), -ETIMEDOUT);
	ck_assert_int_eq(task_await(&t, deadline_in_ms(10000)), 0);
	return 0;
}

START_TEST(an_early_timer_does_not_end_a_later_wait)
{
	ck_assert_int_eq(loop_run_main(later_wait, NULL), 0);
}
END_TEST

/* The timer of a wait that ended before its deadline still runs: it must not end the next wait. */
LOOP_TEST(the_timer_of_an_ended_wait_does_not_end_the_next)
{
	struct task *t = spawn(return_arg, (void *)3);
	ck_assert_int_eq(task_await(&t, deadline_in_ms(5)), 3);
	int64_t before_us = monotonic_us();
	ck_assert_int_eq(task_sleep_ms(15), 0);
	ck_assert_int_ge(monotonic_us() - before_us, 15000);
	return 0;
}

LOOP_TEST(a_shield_in_a_shield_lasts_no_longer_than_the_outer_one)
{
	struct shield outer, inner;
	task_shield(&outer, deadline_in_ms(2));
	task_shield(&inner, DEADLINE_NEVER);
	ck_assert_int_eq(task_sleep_ms(10000), -ETIMEDOUT);
	task_unshield(&inner);
	task_unshield(&outer);
	ck_assert_int_eq(task_yield(), 0);
	return 0;
}

static int wake_it(void *arg)
{
	task_wake(arg, 6);
	task_wake(arg, 7); /* has no effect */
	return 0;
}

/* The task is woken for one wait while it is in another: that one goes on, and the first has its result. */
LOOP_TEST(a_wake_reaches_only_the_wait_that_it_is_for)
{
	struct waiter w;
	waiter_init(&w, NULL, "a wake");
	struct task *t = spawn(wake_it, &w);
	int64_t before_us = monotonic_us();
	ck_assert_int_eq(task_sleep_ms(5), 0);
	ck_assert_int_ge(monotonic_us() - before_us, 5000);
	ck_assert_int_eq(task_suspend(&w, DEADLINE_NEVER), 6);
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), 0);
	return 0;
}

static int order_at[3];

static int note_order(void *arg)
{
	static int turn;
	order_at[(intptr_t)arg] = ++turn;
	return 0;
}

static int in_order(void *arg)
{
	struct task *t[3];
	(void)arg;
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(task_spawn(&t[i], note_order, (void *)(intptr_t)i, NULL), 0);
	for (int i = 2; i >= 0; i--)
		ck_assert_int_eq(task_await(&t[i], DEADLINE_NEVER), 0);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(order_at[i], i + 1);
	return 0;
}

START_TEST(tasks_run_in_the_order_they_became_ready)
{
	ck_assert_int_eq(loop_run_main(in_order, NULL), 0);
}
END_TEST

static struct {
	struct waiter waiters[2];
	bool stop;
} ping;

static int wake_the_other(void *arg)
{
	intptr_t side = (intptr_t)arg;
	while (!ping.stop) {
		waiter_init(&ping.waiters[side], NULL, "the other side");
		task_wake(&ping.waiters[!side], 0);
		ck_assert_int_eq(task_suspend(&ping.waiters[side], DEADLINE_NEVER), 0);
	}
	task_wake(&ping.waiters[!side], 0);
	return 0;
}

/* Two tasks that are never both asleep: each switches straight to the other, and yet timers fire. */
LOOP_TEST(tasks_that_wake_each_other_leave_the_loop_its_turn)
{
	struct loop_stats before = loop_stats(loop_current());
	struct task *t[2] = {spawn(wake_the_other, (void *)0), spawn(wake_the_other, (void *)1)};
	ck_assert_int_eq(task_sleep_ms(5), 0);
	ping.stop = true;
	ck_assert_int_eq(join(t[0]), 0);
	ck_assert_int_eq(join(t[1]), 0);
	struct loop_stats after = loop_stats(loop_current());
	ck_assert_uint_gt(after.switches - before.switches, 4096);
	ck_assert_uint_gt(after.turns, before.turns);
	return 0;
}

/* Those that have waited for something shorter before, and those that have not. */
struct sleeper_until {
	deadline_t until;
	bool waited_before;
	int *woken, place;
};

static int sleep_until(void *arg)
{
	struct sleeper_until *s = arg;
	if (s->waited_before) {
		struct task *quick = spawn(return_arg, NULL);
		ck_assert_int_eq(task_await(&quick, (deadline_t){s->until.us - 10000}),
				 0); /* a timer that still runs */
	} else {
		ck_assert_int_eq(task_yield(), 0);
	}
	int begun = ++s->woken[0];
	ck_assert_int_eq(task_sleep(s->until), 0);
	s->place = ++s->woken[1];
	ck_assert_int_eq(s->place, begun);
	return 0;
}

LOOP_TEST(those_that_sleep_until_the_same_time_wake_in_order)
{
	enum { COUNT = 60 };
	struct sleeper_until s[COUNT];
	struct task *t[COUNT];
	int woken[2] = {0};
	deadline_t until = deadline_in_ms(300);
	for (int i = 0; i < COUNT; i++) {
		s[i] = (struct sleeper_until){.until = until, .waited_before = i % 3 == 0, .woken = woken};
		t[i] = spawn(sleep_until, &s[i]);
	}
	for (int i = 0; i < COUNT; i++)
		ck_assert_int_eq(task_await(&t[i], DEADLINE_NEVER), 0);
	ck_assert_int_eq(woken[1], COUNT);
	return 0;
}

/* Each awaits the next one; `yields`: when that one has begun to wait itself. */
struct chain {
	int left;
	bool yields;
};

static int await_the_next(void *arg)
{
	struct chain *c = arg;
	struct task *t;
	if (c->left-- == 0)
		return 3;
	int r = task_spawn(&t, await_the_next, c, NULL);
	if (r == 0 && c->yields)
		r = task_yield();
	return r < 0 ? r : task_await(&t, DEADLINE_NEVER);
}

LOOP_TEST(a_chain_of_thousands_takes_no_more_than_its_links)
{
	for (int yields = 0; yields < 2; yields++) {
		struct chain c = {SLOWER(SLOWER(12000)), yields}; /* TSan takes milliseconds for a new stack */
		int64_t before_us = monotonic_us();
		ck_assert_int_eq(await_the_next(&c), 3);
		ck_assert_int_lt(monotonic_us() - before_us, 10000000);
	}
	return 0;
}

static int many_sleepers(void *arg)
{
	enum { COUNT = 2000 };
	static struct task *t[COUNT];
	(void)arg;
	for (int i = 0; i < COUNT; i++)
		ck_assert_int_eq(task_spawn(&t[i], sleeper, (void *)(intptr_t)(1 + i % 50), NULL), 0);
	for (int i = 0; i < COUNT; i++)
		ck_assert_int_eq(task_await(&t[i], DEADLINE_NEVER), 0);
	return 0;
}

START_TEST(thousands_sleep_at_once)
{
	ck_assert_int_eq(loop_run_main(many_sleepers, NULL), 0);
}
END_TEST

static int read_byte(void *arg)
{
	int fd = *(int *)arg;
	int r = await_fd(fd, EPOLLIN, deadline_in_ms(10000));
	if (r < 0)
		return r;
	char c;
	return read(fd, &c, 1) == 1 ? c : -EIO;
}

static int descriptor(void *arg)
{
	int fds[2];
	struct task *t;
	(void)arg;
	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_eq(await_fd(fds[0], EPOLLIN, deadline_in_ms(5)), -ETIMEDOUT);
	ck_assert_int_eq(task_spawn(&t, read_byte, &fds[0], NULL), 0);
	ck_assert_int_eq(task_yield(), 0);
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), 'x');
	ck_assert_int_eq(await_fd(12345, EPOLLIN, DEADLINE_NEVER), -EBADF);
	close(fds[0]);
	close(fds[1]);
	return 0;
}

START_TEST(a_descriptor_is_awaited)
{
	ck_assert_int_eq(loop_run_main(descriptor, NULL), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("task");
	TCase *c = async_tcase(s, "task");
	tcase_add_test(c, spawn_await_returns_the_result);
	tcase_add_test(c, a_task_that_has_ended_is_awaited_late);
	tcase_add_test(c, detached_tasks_run_and_are_freed);
	tcase_add_test(c, a_million_rounds_do_not_grow);
	tcase_add_test(c, cancel_wakes_a_sleeper);
	tcase_add_test(c, cancel_before_the_first_turn);
	tcase_add_test(c, cancellation_is_sticky_and_a_shield_holds_it_off);
	tcase_add_test(c, deadlines_nest_and_the_earlier_wins);
	tcase_add_test(c, children_inherit_the_deadline);
	tcase_add_test(c, an_early_timer_does_not_end_a_later_wait);
	tcase_add_test(c, the_timer_of_an_ended_wait_does_not_end_the_next);
	tcase_add_test(c, a_shield_in_a_shield_lasts_no_longer_than_the_outer_one);
	tcase_add_test(c, a_wake_reaches_only_the_wait_that_it_is_for);
	tcase_add_test(c, tasks_run_in_the_order_they_became_ready);
	tcase_add_test(c, tasks_that_wake_each_other_leave_the_loop_its_turn);
	tcase_add_test(c, those_that_sleep_until_the_same_time_wake_in_order);
	tcase_add_test(c, a_chain_of_thousands_takes_no_more_than_its_links);
	tcase_add_test(c, thousands_sleep_at_once);
	tcase_add_test(c, a_descriptor_is_awaited);
	return run_suite(s);
}
