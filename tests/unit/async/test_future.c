/* Futures: awaited early, late and by many; resolved here and from threads. */
#include "async/future.h"

#include <pthread.h>

#include "async/internal.h"
#include "tests/unit/async/async_fixture.h"

static int await_it(void *arg)
{
	return future_await(arg, DEADLINE_NEVER);
}

LOOP_TEST(a_result_that_is_there_needs_no_waiting)
{
	struct future f;
	future_init(&f);
	ck_assert(!future_done(&f));
	future_resolve(&f, 7);
	ck_assert(future_done(&f));
	uint64_t switches = loop_stats(loop_current()).switches;
	ck_assert_int_eq(future_await(&f, DEADLINE_NEVER), 7);
	ck_assert_int_eq(future_await(&f, deadline_in_ms(-1)), 7);
	ck_assert_uint_eq(loop_stats(loop_current()).switches, switches);
	return 0;
}

LOOP_TEST(many_wait_and_all_get_it)
{
	enum { COUNT = 500 };
	static struct task *t[COUNT];
	struct future f;
	future_init(&f);
	for (int i = 0; i < COUNT; i++)
		t[i] = spawn(await_it, &f);
	settle();
	for (int i = 0; i < COUNT; i++)
		ck_assert(!task_ended(t[i]));
	future_resolve(&f, 11);
	for (int i = 0; i < COUNT; i++)
		ck_assert_int_eq(task_await(&t[i], DEADLINE_NEVER), 11);
	return 0;
}

LOOP_TEST(only_the_first_result_counts)
{
	struct future f;
	future_init(&f);
	struct task *t = spawn(await_it, &f);
	settle();
	future_resolve(&f, -ENOENT);
	future_resolve(&f, 5);
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), -ENOENT);
	ck_assert_int_eq(future_await(&f, DEADLINE_NEVER), -ENOENT);
	return 0;
}

LOOP_TEST(waiters_leave_at_their_deadline_or_when_cancelled)
{
	struct future f;
	future_init(&f);
	struct task *stays = spawn(await_it, &f), *goes = spawn(await_it, &f);
	ck_assert_int_eq(future_await(&f, deadline_in_ms(2)), -ETIMEDOUT);
	task_cancel(goes);
	ck_assert_int_eq(task_await(&goes, DEADLINE_NEVER), -ECANCELED);
	ck_assert(!future_done(&f));
	ck_assert(f.waiters.next == f.waiters.prev && !list_empty(&f.waiters)); /* one is left */
	future_resolve(&f, 3);
	ck_assert_int_eq(task_await(&stays, DEADLINE_NEVER), 3);
	return 0;
}

/* Woken by the result, and cancelled or past its deadline before it runs: the result counts. */
LOOP_TEST(a_result_that_was_there_first_is_not_lost)
{
	struct future f;
	future_init(&f);
	struct task *t = spawn(await_it, &f);
	settle();
	future_resolve(&f, 3);
	task_cancel(t);
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), 3);
	return 0;
}

struct shared_future {
	struct future future;
	int waiting;
};

/* Whoever comes first frees it; the others were woken with the result and never look at it again. */
static int await_and_free(void *arg)
{
	struct shared_future *s = arg;
	s->waiting++;
	int r = future_await(&s->future, DEADLINE_NEVER);
	return r;
}

static int await_and_be_first(void *arg)
{
	struct shared_future *s = arg;
	int r = future_await(&s->future, DEADLINE_NEVER);
	free(s);
	return r;
}

LOOP_TEST(the_first_to_run_may_free_it)
{
	struct shared_future *s = malloc(sizeof(*s));
	s->waiting = 0;
	future_init(&s->future);
	struct task *t[4];
	t[0] = spawn(await_and_be_first, s);
	for (int i = 1; i < 4; i++)
		t[i] = spawn(await_and_free, s);
	settle();
	ck_assert_int_eq(s->waiting, 3);
	future_resolve(&s->future, 4);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(task_await(&t[i], DEADLINE_NEVER), 4);
	return 0;
}

enum { POSTED = 200 };

static struct future posted[POSTED];

static void *post_half(void *arg)
{
	for (int i = (int)(intptr_t)arg; i < POSTED; i += 2) {
		future_post(&posted[i], i);
		if (i % 16 == 0)
			usleep(50);
	}
	return NULL;
}

LOOP_TEST(threads_resolve_them)
{
	pthread_t t[2];
	for (int i = 0; i < POSTED; i++)
		future_init(&posted[i]);
	for (int i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, post_half, (void *)(intptr_t)i);
	for (int i = 0; i < POSTED; i++)
		ck_assert_int_eq(future_await(&posted[i], deadline_in_ms(10000)), i);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	return 0;
}

static void *post_a_failure(void *arg)
{
	future_post(arg, -EIO);
	return NULL;
}

LOOP_TEST(a_thread_fails_one)
{
	struct future f;
	pthread_t t;
	future_init(&f);
	pthread_create(&t, NULL, post_a_failure, &f);
	ck_assert_int_eq(future_await(&f, deadline_in_ms(10000)), -EIO);
	pthread_join(t, NULL);
	return 0;
}

int main(void)
{
	Suite *s = suite_create("future");
	TCase *c = async_tcase(s, "future");
	tcase_add_test(c, a_result_that_is_there_needs_no_waiting);
	tcase_add_test(c, many_wait_and_all_get_it);
	tcase_add_test(c, only_the_first_result_counts);
	tcase_add_test(c, waiters_leave_at_their_deadline_or_when_cancelled);
	tcase_add_test(c, a_result_that_was_there_first_is_not_lost);
	tcase_add_test(c, the_first_to_run_may_free_it);
	tcase_add_test(c, threads_resolve_them);
	tcase_add_test(c, a_thread_fails_one);
	return run_suite(s);
}
