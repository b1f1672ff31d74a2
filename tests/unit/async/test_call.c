/* Calls by the loop: soon, later, at a time, from other threads; cancelled; tickers that do not drift. */
#include "async/call.h"

#include <pthread.h>
#include <sys/eventfd.h>

#include "async/fd.h"
#include "async/future.h"
#include "async/internal.h"
#include "tests/unit/async/async_fixture.h"

enum { MANY = 8 };

static int order[MANY * 4], ordered;

struct noted {
	struct callback call;
	int number;
	struct callback *other;
};

static void note(void *arg)
{
	const struct noted *n = arg;
	ck_assert_ptr_null(task_self());
	order[ordered++] = n->number;
}

static void noted_init(struct noted *n, int number, void (*fn)(void *arg))
{
	*n = (struct noted){.number = number};
	call_init(&n->call, fn, n);
}

LOOP_TEST(calls_come_in_the_order_they_were_asked_for)
{
	struct noted n[MANY];
	ordered = 0;
	for (int i = 0; i < MANY; i++) {
		noted_init(&n[i], i, note);
		ck_assert(!call_pending(&n[i].call));
		call_soon(&n[i].call);
		ck_assert(call_pending(&n[i].call));
	}
	ck_assert_int_eq(ordered, 0);
	settle();
	ck_assert_int_eq(ordered, MANY);
	for (int i = 0; i < MANY; i++) {
		ck_assert_int_eq(order[i], i);
		ck_assert(!call_pending(&n[i].call));
	}
	return 0;
}

LOOP_TEST(later_ones_come_when_it_is_time)
{
	static const int in_ms[] = {9, 3, 6, 1};
	struct noted n[5];
	ordered = 0;
	int64_t before_us = monotonic_us();
	for (int i = 0; i < 4; i++) {
		noted_init(&n[i], i, note);
		call_later(&n[i].call, in_ms[i]);
	}
	noted_init(&n[4], 100, note);
	call_at(&n[4].call, DEADLINE_NEVER);
	ck_assert(!call_pending(&n[4].call));
	while (ordered < 4) {
		ck_assert_int_eq(task_sleep_ms(1), 0);
		if (ordered > 0)
			ck_assert_int_ge(monotonic_us() - before_us, in_ms[order[ordered - 1]] * 1000);
	}
	ck_assert_int_lt(monotonic_us() - before_us, 5000000);
	for (int i = 0; i < 3; i++)
		ck_assert_int_le(n[order[i]].call.timer.at.us, n[order[i + 1]].call.timer.at.us);
	call_at(&n[4].call, (deadline_t){0}); /* long ago */
	ck_assert_int_eq(ordered, 4);
	settle();
	ck_assert_int_eq(ordered, 5);
	return 0;
}

static void cancel_other(void *arg)
{
	struct noted *n = arg;
	note(n);
	call_cancel(n->other);
	call_cancel(&n->call); /* which is under way */
}

static void resolve(void *arg)
{
	future_resolve(arg, 0);
}

struct long_ago {
	struct callback soon, call;
	int kind;
};

static void ask_for_long_ago(void *arg)
{
	struct long_ago *l = arg;
	if (l->kind == 0)
		call_at(&l->call, (deadline_t){INT64_MIN});
	else
		call_later(&l->call, l->kind == 1 ? INT64_MIN : -1);
}

/* They are the last thing that a turn asks for, and nothing else happens: the loop must not sleep over them. */
LOOP_TEST(those_of_long_ago_come_at_once)
{
	int fd = eventfd(1, EFD_CLOEXEC);
	for (int i = 0; i < 3; i++) {
		struct long_ago l = {.kind = i};
		struct future f;
		future_init(&f);
		call_init(&l.soon, ask_for_long_ago, &l);
		call_init(&l.call, resolve, &f);
		ck_assert_int_eq(await_fd(fd, EPOLLIN, DEADLINE_NEVER),
				 EPOLLIN); /* what follows runs within the poll */
		call_soon(&l.soon);
		int64_t before_us = monotonic_us();
		ck_assert_int_eq(future_await(&f, DEADLINE_NEVER), 0);
		ck_assert_int_lt(monotonic_us() - before_us, 20000000);
	}
	close(fd);
	return 0;
}

LOOP_TEST(a_cancelled_call_does_not_come)
{
	struct noted n[6];
	ordered = 0;
	for (int i = 0; i < 6; i++)
		noted_init(&n[i], i, i % 2 ? note : cancel_other);
	n[0].other = &n[1].call;
	n[2].other = &n[3].call;
	n[4].other = &n[5].call;
	call_soon(&n[0].call); /* cancels the next, which is due in the same batch */
	call_soon(&n[1].call);
	call_at(&n[2].call, deadline_in_us(0)); /* and so does this one */
	call_at(&n[3].call, deadline_in_us(1));
	call_later(&n[5].call, 1);
	call_cancel(&n[5].call);
	call_cancel(&n[5].call);
	ck_assert(!call_pending(&n[5].call));
	call_cancel(&n[4].call); /* it was never asked for */
	ck_assert_int_eq(task_sleep_ms(3), 0);
	ck_assert_int_eq(ordered, 2);
	ck_assert_int_eq(order[0] + order[1], 2);
	ck_assert_uint_eq(loop_current()->timers.count, 0);
	return 0;
}

/* A handle stands for one call: asking again takes the place of what was asked before. */
LOOP_TEST(asking_again_replaces)
{
	struct noted n;
	ordered = 0;
	noted_init(&n, 1, note);
	call_later(&n.call, 1);
	call_soon(&n.call);
	call_soon(&n.call);
	settle();
	ck_assert_int_eq(task_sleep_ms(3), 0);
	ck_assert_int_eq(ordered, 1);
	call_soon(&n.call);
	call_later(&n.call, 60000);
	ck_assert_int_eq(task_sleep_ms(3), 0);
	ck_assert_int_eq(ordered, 1);
	ck_assert(call_pending(&n.call));
	call_later(&n.call, 1);
	ck_assert_int_eq(task_sleep_ms(3), 0);
	ck_assert_int_eq(ordered, 2);
	ck_assert(!call_pending(&n.call));
	return 0;
}

static void again(void *arg)
{
	struct noted *n = arg;
	note(n);
	if (--n->number > 0 && n->number % 2)
		call_soon(&n->call);
	else if (n->number > 0)
		call_at(&n->call, deadline_in_us(100));
}

static void free_itself(void *arg)
{
	note(arg);
	free(arg);
}

LOOP_TEST(a_call_asks_for_itself_or_frees_itself)
{
	struct noted n;
	ordered = 0;
	noted_init(&n, MANY, again);
	call_soon(&n.call);
	while (n.number > 0)
		ck_assert_int_eq(task_sleep_ms(1), 0);
	ck_assert_int_eq(ordered, MANY);
	for (int i = 0; i < 2; i++) {
		struct noted *once = malloc(sizeof(*once));
		noted_init(once, 1, free_itself);
		if (i == 0)
			call_soon(&once->call);
		else
			call_at(&once->call, deadline_in_us(1));
	}
	ck_assert_int_eq(task_sleep_ms(2), 0);
	ck_assert_int_eq(ordered, MANY + 2);
	return 0;
}

static int note_task(void *arg)
{
	(void)arg;
	ck_assert_ptr_nonnull(task_self());
	order[ordered++] = 100;
	return 0;
}

static void spawn_and_note(void *arg)
{
	ck_assert_int_eq(task_spawn(NULL, note_task, NULL, &(struct task_options){.detached = true}), 0);
	ck_assert_uint_eq(task_deadline().us, DEADLINE_NEVER.us);
	note(arg);
}

LOOP_TEST(what_a_call_spawns_runs_after_it)
{
	struct noted n[2];
	ordered = 0;
	for (int i = 0; i < 2; i++)
		noted_init(&n[i], i, spawn_and_note);
	call_soon(&n[0].call);
	settle();
	ck_assert_int_eq(ordered, 2);
	call_at(&n[1].call, deadline_in_us(1));
	ck_assert_int_eq(task_sleep_ms(2), 0);
	ck_assert_int_eq(ordered, 4);
	ck_assert(order[0] == 0 && order[1] == 100 && order[2] == 1 && order[3] == 100);
	return 0;
}

/* --- from other threads --- */

enum { THREADS = 4 };
#define CALLS_EACH SLOWER(5000)

struct caller {
	struct loop *loop;
	int last; /* loop thread only */
	pthread_t thread;
};

static struct caller callers[THREADS];
static int left;

static void count_call(void *arg)
{
	intptr_t n = (intptr_t)arg;
	struct caller *c = &callers[n % THREADS];
	ck_assert_ptr_eq(loop_current(), c->loop);
	ck_assert_ptr_null(task_self());
	ck_assert_int_eq((int)(n / THREADS), c->last + 1);
	c->last++;
	left--;
}

static void *call_often(void *arg)
{
	struct caller *c = arg;
	for (intptr_t i = 1; i <= CALLS_EACH; i++)
		call_soon_threadsafe(c->loop, count_call, (void *)(i * THREADS + (c - callers)));
	return NULL;
}

LOOP_TEST(threads_call_each_in_its_order)
{
	left = THREADS * CALLS_EACH;
	for (int i = 0; i < THREADS; i++) {
		callers[i] = (struct caller){.loop = loop_current()};
		ck_assert_int_eq(pthread_create(&callers[i].thread, NULL, call_often, &callers[i]), 0);
	}
	deadline_t by = deadline_in_ms(30000);
	while (left > 0 && !deadline_passed(by))
		ck_assert_int_eq(task_sleep_ms(1), 0);
	ck_assert_int_eq(left, 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(callers[i].thread, NULL);
	return 0;
}

START_TEST(a_loop_that_is_freed_makes_the_calls_that_are_left)
{
	struct loop *l;
	ck_assert_int_eq(loop_new(&l), 0);
	callers[0] = (struct caller){.loop = l};
	left = 3;
	for (intptr_t i = 1; i <= 3; i++)
		call_soon_threadsafe(l, count_call, (void *)(i * THREADS));
	ck_assert_int_eq(left, 3);
	loop_free(l);
	ck_assert_int_eq(left, 0);
}
END_TEST

/* --- tickers --- */

LOOP_TEST(ticks_do_not_drift)
{
	enum { PERIOD_US = 3000, TICKS = 30 };
	struct ticker t;
	ck_assert_int_eq(ticker_init(&t, 0), -EINVAL);
	ck_assert_int_eq(ticker_init(&t, -5), -EINVAL);
	ck_assert_int_eq(ticker_init(&t, PERIOD_US), 0);
	int64_t first_us = t.next.us;
	for (int ticks = 0; ticks < TICKS;) {
		int64_t due_us = t.next.us;
		int missed = ticker_wait(&t, DEADLINE_NEVER);
		ck_assert_int_ge(missed, 0);
		ck_assert_int_ge(monotonic_us(), due_us);
		ticks += missed + 1;
		ck_assert_int_eq(t.next.us, first_us + (int64_t)ticks * PERIOD_US);
		usleep(500); /* the work, which must not move the schedule */
	}
	return 0;
}

LOOP_TEST(missed_ticks_are_counted_and_not_made_up_for)
{
	struct ticker t;
	ck_assert_int_eq(ticker_init(&t, 5000), 0);
	deadline_t first = t.next;
	usleep(22000); /* ticks 1 to 4 have passed */
	int missed = ticker_wait(&t, DEADLINE_NEVER);
	ck_assert_int_ge(missed, 3);
	ck_assert_int_eq(t.next.us, first.us + (missed + 1) * 5000);
	ck_assert_int_gt(t.next.us, first.us + 15000);
	int64_t next_us = t.next.us;
	ck_assert_int_ge(ticker_wait(&t, DEADLINE_NEVER), 0);
	ck_assert_int_ge(monotonic_us(), next_us);
	return 0;
}

static int tick(void *arg)
{
	return ticker_wait(arg, DEADLINE_NEVER);
}

LOOP_TEST(a_wait_for_a_tick_ends_by_deadline_or_cancellation)
{
	struct ticker t;
	ck_assert_int_eq(ticker_init(&t, 60000000), 0);
	deadline_t next = t.next;
	ck_assert_int_eq(ticker_wait(&t, deadline_in_ms(1)), -ETIMEDOUT);
	ck_assert_int_eq(t.next.us, next.us); /* still to come */
	deadline_t before = deadline_push(deadline_in_ms(1));
	ck_assert_int_eq(ticker_wait(&t, DEADLINE_NEVER), -ETIMEDOUT);
	deadline_pop(before);
	struct task *waits = spawn(tick, &t);
	settle();
	task_cancel(waits);
	ck_assert_int_eq(task_await(&waits, DEADLINE_NEVER), -ECANCELED);
	ck_assert_int_eq(t.next.us, next.us);
	return 0;
}

int main(void)
{
	Suite *s = suite_create("call");
	TCase *c = async_tcase(s, "calls");
	tcase_add_test(c, calls_come_in_the_order_they_were_asked_for);
	tcase_add_test(c, later_ones_come_when_it_is_time);
	tcase_add_test(c, those_of_long_ago_come_at_once);
	tcase_add_test(c, a_cancelled_call_does_not_come);
	tcase_add_test(c, asking_again_replaces);
	tcase_add_test(c, a_call_asks_for_itself_or_frees_itself);
	tcase_add_test(c, what_a_call_spawns_runs_after_it);
	c = async_tcase(s, "threads");
	tcase_add_test(c, threads_call_each_in_its_order);
	tcase_add_test(c, a_loop_that_is_freed_makes_the_calls_that_are_left);
	c = async_tcase(s, "tickers");
	tcase_add_test(c, ticks_do_not_drift);
	tcase_add_test(c, missed_ticks_are_counted_and_not_made_up_for);
	tcase_add_test(c, a_wait_for_a_tick_ends_by_deadline_or_cancellation);
	return run_suite(s);
}
