/* The budget of a source over several loops: never more than its size, every worker sure of one, what is given back
 * goes to who asked first, counters back at zero. */
#include <pthread.h>
#include <stdatomic.h>

#include "async/run.h"
#include "drivers/budget.h"
#include "tests/unit/async/async_fixture.h"

#define WORKERS 4
#define SIZE    6
#define ROUNDS  SLOWER(2000)

static struct budget budget;
static atomic_uint open_now, most_open, opened;
static atomic_uint ready_workers;

/* A client in small: it opens what it may and closes what it has. */
struct worker {
	struct budget_member member;
	unsigned have, granted, asked_to_shed;
	bool wants;
	uint64_t random;
};

static void opened_one(struct worker *w)
{
	w->have++;
	atomic_fetch_add(&opened, 1);
	unsigned now = atomic_fetch_add(&open_now, 1) + 1;
	unsigned most = atomic_load(&most_open);
	while (now > most && !atomic_compare_exchange_weak(&most_open, &most, now))
		;
}

static void close_one(struct worker *w)
{
	w->have--;
	atomic_fetch_sub(&open_now, 1);
	budget_give(&w->member);
}

static void notify(struct budget_member *m, unsigned granted, bool shed)
{
	struct worker *w = container_of(m, struct worker, member);
	w->granted += granted;
	w->asked_to_shed += shed;
	for (; granted > 0; granted--) {
		if (w->wants)
			opened_one(w);
		else
			budget_give(m);
	}
	if (shed && w->have > 1)
		close_one(w);
}

static void leave(struct worker *w)
{
	w->wants = false;
	while (w->have > 0)
		close_one(w);
	budget_leave(&w->member);
	while (!budget_quiet(&w->member))
		ck_assert_int_eq(task_sleep_ms(1), 0);
}

static int churn(void *arg)
{
	struct worker *w = arg;
	budget_join(&budget, &w->member, loop_current(), notify);
	w->wants = true;
	/* One is sure, whatever the others do. */
	ck_assert(budget_take(&w->member));
	opened_one(w);
	atomic_fetch_add(&ready_workers, 1);
	while (atomic_load(&ready_workers) < WORKERS)
		ck_assert_int_eq(task_sleep_ms(1), 0);
	for (int i = 0; i < ROUNDS; i++) {
		if (next_random(&w->random) % 2) {
			if (budget_take(&w->member))
				opened_one(w);
		} else if (w->have > 1) {
			close_one(w);
		} else if (next_random(&w->random) % 4 == 0) {
			budget_withdraw(&w->member);
		}
		if (i % 8 == 0)
			ck_assert_int_eq(task_yield(), 0);
	}
	leave(w);
	return 0;
}

static void *thread_main(void *arg)
{
	return loop_run_main(churn, arg) == 0 ? NULL : arg;
}

START_TEST(never_more_than_its_size)
{
	struct worker workers[WORKERS] = {0};
	pthread_t threads[WORKERS];
	budget_init(&budget, SIZE, WORKERS, 10);
	for (unsigned i = 0; i < WORKERS; i++) {
		workers[i].random = i + 1;
		ck_assert_int_eq(pthread_create(&threads[i], NULL, thread_main, &workers[i]), 0);
	}
	for (int i = 0; i < WORKERS; i++) {
		void *failed;
		pthread_join(threads[i], &failed);
		ck_assert_ptr_null(failed);
	}
	ck_assert_uint_eq(atomic_load(&open_now), 0);
	ck_assert_uint_le(atomic_load(&most_open), SIZE);
	ck_assert_uint_eq(budget.spare, SIZE - WORKERS);
	ck_assert_uint_eq(atomic_load(&budget.asked), 0);
	budget_done(&budget);
}
END_TEST

static struct worker first, second, third;

static int hand_over_main(void *unused)
{
	(void)unused;
	budget_init(&budget, 4, 3, 10);
	struct worker *all[] = {&first, &second, &third};
	for (int i = 0; i < 3; i++) {
		budget_join(&budget, &all[i]->member, loop_current(), notify);
		all[i]->wants = true;
		ck_assert(budget_take(&all[i]->member));
		opened_one(all[i]);
	}
	ck_assert(budget_take(&first.member));
	opened_one(&first);
	ck_assert(!budget_wanted(&first.member));
	/* Nothing is left: the second asks before the third, and the first is told once. */
	ck_assert(!budget_take(&second.member));
	ck_assert(!budget_take(&second.member));
	/* Who asks alone is not wanted elsewhere: it would close its own connections for itself. */
	ck_assert(!budget_wanted(&second.member));
	ck_assert(budget_wanted(&first.member));
	ck_assert(!budget_take(&third.member));
	ck_assert(budget_wanted(&second.member));
	settle();
	ck_assert_int_eq(task_sleep_ms(2), 0);
	ck_assert_uint_eq(first.asked_to_shed, 1);
	ck_assert_uint_eq(first.have, 1);
	ck_assert_uint_eq(second.have, 2);
	ck_assert_uint_eq(third.have, 1);
	/* The third stops asking: what the second gives back stays spare. */
	budget_withdraw(&third.member);
	close_one(&second);
	ck_assert_int_eq(task_sleep_ms(2), 0);
	ck_assert_uint_eq(third.have, 1);
	ck_assert_uint_eq(budget.spare, 1);
	ck_assert(!budget_wanted(&first.member));
	for (int i = 0; i < 3; i++)
		leave(all[i]);
	budget_done(&budget);
	return 0;
}

START_TEST(who_asked_first_gets_it)
{
	ck_assert_int_eq(loop_run_main(hand_over_main, NULL), 0);
}
END_TEST

/* A grant that is on its way when its member leaves is given back. */
static int leaving_main(void *unused)
{
	(void)unused;
	budget_init(&budget, 3, 2, 10);
	budget_join(&budget, &first.member, loop_current(), notify);
	budget_join(&budget, &second.member, loop_current(), notify);
	first.wants = second.wants = true;
	for (int i = 0; i < 2; i++) {
		ck_assert(budget_take(&first.member));
		opened_one(&first);
	}
	ck_assert(budget_take(&second.member));
	opened_one(&second);
	ck_assert(!budget_take(&second.member));
	close_one(&first); /* granted to the second; the message is on its way */
	leave(&second);
	ck_assert_uint_eq(budget.spare, 1);
	leave(&first);
	ck_assert_uint_eq(budget.spare, 1);
	budget_done(&budget);
	return 0;
}

START_TEST(a_grant_finds_nobody)
{
	first = second = (struct worker){0};
	ck_assert_int_eq(loop_run_main(leaving_main, NULL), 0);
}
END_TEST

START_TEST(waiting_is_bounded)
{
	budget_init(&budget, 1, 1, 2);
	ck_assert_int_eq(budget_wait_begin(&budget), 0);
	ck_assert_int_eq(budget_wait_begin(&budget), 0);
	ck_assert_int_eq(budget_wait_begin(&budget), -EBUSY);
	budget_wait_end(&budget);
	ck_assert_int_eq(budget_wait_begin(&budget), 0);
	budget_wait_end(&budget);
	budget_wait_end(&budget);
	ck_assert_uint_eq(atomic_load(&budget.waiting), 0);
	budget_done(&budget);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("budget");
	TCase *c = async_tcase(s, "budget");
	tcase_add_test(c, never_more_than_its_size);
	tcase_add_test(c, who_asked_first_gets_it);
	tcase_add_test(c, a_grant_finds_nobody);
	tcase_add_test(c, waiting_is_bounded);
	return run_suite(s);
}
