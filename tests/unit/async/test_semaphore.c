/* Semaphores: first come, first served, bounded, no permit lost; the process-wide kind over four threads. */
#include "async/semaphore.h"

#include <stdatomic.h>

#include "async/internal.h"
#include "async/run.h"
#include "tests/unit/async/strike_fixture.h"

/* --- of one loop --- */

struct user {
	struct semaphore *semaphore;
	deadline_t by;
	int *turn; /* counts who got it */
	int got_as;
};

static int take_and_give_back(void *arg)
{
	struct user *u = arg;
	int r = semaphore_acquire(u->semaphore, u->by);
	if (r < 0)
		return r;
	u->got_as = ++*u->turn;
	return semaphore_release(u->semaphore);
}

LOOP_TEST(permits_are_served_in_order)
{
	enum { COUNT = 50 };
	static struct user u[COUNT];
	struct task *t[COUNT];
	struct semaphore s;
	int turn = 0;
	semaphore_init(&s, 1, COUNT);
	ck_assert_int_eq(semaphore_acquire(&s, DEADLINE_NEVER), 0);
	for (int i = 0; i < COUNT; i++) {
		u[i] = (struct user){&s, DEADLINE_NEVER, &turn, 0};
		t[i] = spawn(take_and_give_back, &u[i]);
	}
	settle();
	ck_assert_uint_eq(s.waiting, COUNT);
	ck_assert_int_eq(turn, 0);
	ck_assert_int_eq(semaphore_release(&s), 0);
	ck_assert_int_eq(semaphore_acquire(&s, DEADLINE_NEVER), 0); /* behind all of them */
	ck_assert_int_eq(turn, COUNT);
	ck_assert_int_eq(semaphore_release(&s), 0);
	for (int i = 0; i < COUNT; i++) {
		ck_assert_int_eq(task_await(&t[i], DEADLINE_NEVER), 0);
		ck_assert_int_eq(u[i].got_as, i + 1);
	}
	ck_assert_uint_eq(s.available, 1);
	ck_assert_uint_eq(s.waiting, 0);
	return 0;
}

LOOP_TEST(waiters_are_bounded_and_over_release_is_refused)
{
	struct semaphore s;
	int turn = 0;
	semaphore_init(&s, 2, 1);
	ck_assert_int_eq(semaphore_release(&s), -EPERM);
	ck_assert_int_eq(semaphore_acquire(&s, DEADLINE_NEVER), 0);
	ck_assert_int_eq(semaphore_acquire(&s, deadline_in_ms(-1)), 0); /* a free permit needs no time */
	struct user u = {&s, DEADLINE_NEVER, &turn, 0};
	struct task *t = spawn(take_and_give_back, &u);
	settle();
	ck_assert_int_eq(semaphore_acquire(&s, DEADLINE_NEVER), -EBUSY);
	ck_assert_int_eq(semaphore_release(&s), 0);
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), 0);
	ck_assert_int_eq(semaphore_release(&s), 0);
	ck_assert_int_eq(semaphore_release(&s), -EPERM);
	ck_assert_uint_eq(s.available, 2);
	return 0;
}

LOOP_TEST(a_waiter_that_leaves_leaves_no_hole)
{
	struct semaphore s;
	struct user u[4];
	struct task *t[4];
	int turn = 0;
	semaphore_init(&s, 1, 4);
	ck_assert_int_eq(semaphore_acquire(&s, DEADLINE_NEVER), 0);
	for (int i = 0; i < 4; i++) {
		u[i] = (struct user){&s, i == 1 ? deadline_in_ms(1) : DEADLINE_NEVER, &turn, 0};
		t[i] = spawn(take_and_give_back, &u[i]);
	}
	settle();
	ck_assert_int_eq(task_await(&t[1], DEADLINE_NEVER), -ETIMEDOUT);
	task_cancel(t[0]);
	ck_assert_uint_eq(s.waiting, 2);
	ck_assert_int_eq(semaphore_release(&s), 0); /* goes to 2, past 0 and 1 */
	ck_assert_int_eq(task_await(&t[0], DEADLINE_NEVER), -ECANCELED);
	ck_assert_int_eq(task_await(&t[2], DEADLINE_NEVER), 0);
	ck_assert_int_eq(task_await(&t[3], DEADLINE_NEVER), 0);
	ck_assert_int_lt(u[2].got_as, u[3].got_as);
	ck_assert_uint_eq(s.available, 1);
	return 0;
}

/* The permit was granted, then the task is cancelled before it runs: it has it, and gives it back. */
LOOP_TEST(a_permit_on_its_way_to_a_cancelled_task_is_not_lost)
{
	struct semaphore s;
	int turn = 0;
	semaphore_init(&s, 1, 4);
	ck_assert_int_eq(semaphore_acquire(&s, DEADLINE_NEVER), 0);
	struct user u = {&s, DEADLINE_NEVER, &turn, 0};
	struct task *t = spawn(take_and_give_back, &u);
	settle();
	ck_assert_int_eq(semaphore_release(&s), 0);
	ck_assert_uint_eq(s.available, 0);
	task_cancel(t);
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), 0);
	ck_assert_uint_eq(s.available, 1);
	return 0;
}

LOOP_TEST(a_cancelled_task_acquires_nothing)
{
	struct semaphore s;
	int turn = 0;
	semaphore_init(&s, 1, 4);
	struct user u = {&s, DEADLINE_NEVER, &turn, 0};
	struct task *t = spawn(take_and_give_back, &u);
	task_cancel(t);
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), -ECANCELED);
	ck_assert_uint_eq(s.available, 1);
	return 0;
}

/* --- asyncio's Semaphore, and more of both kinds --- */

LOOP_TEST(a_plain_one_may_be_released_beyond_its_beginning)
{
	struct semaphore s;
	int turn = 0;
	semaphore_init_unbounded(&s, 0, 1);
	ck_assert(semaphore_locked(&s));
	ck_assert_int_eq(semaphore_acquire(&s, deadline_in_ms(1)), -ETIMEDOUT);
	struct user u = {&s, DEADLINE_NEVER, &turn, 0};
	struct task *t = spawn(take_and_give_back, &u);
	settle();
	ck_assert_int_eq(semaphore_acquire(&s, DEADLINE_NEVER), -EBUSY);
	ck_assert_int_eq(semaphore_release(&s), 0); /* to the one who waits */
	ck_assert(semaphore_locked(&s));
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), 0);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(semaphore_release(&s), 0);
	ck_assert_uint_eq(s.available, 5);
	for (int i = 0; i < 5; i++)
		ck_assert(semaphore_try(&s));
	ck_assert(!semaphore_try(&s));
	return 0;
}

LOOP_TEST(try_takes_what_is_free_and_overtakes_nobody)
{
	struct semaphore s;
	int turn = 0;
	semaphore_init(&s, 2, 4);
	ck_assert(!semaphore_locked(&s));
	ck_assert(semaphore_try(&s));
	ck_assert(!semaphore_locked(&s));
	ck_assert(semaphore_try(&s));
	ck_assert(semaphore_locked(&s));
	ck_assert(!semaphore_try(&s));
	struct user u = {&s, DEADLINE_NEVER, &turn, 0};
	struct task *t = spawn(take_and_give_back, &u);
	settle();
	ck_assert_int_eq(semaphore_release(&s), 0);
	ck_assert(!semaphore_try(&s)); /* it is on its way to the one who waits */
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), 0);
	ck_assert(semaphore_try(&s));
	ck_assert_int_eq(semaphore_release(&s), 0);
	ck_assert_int_eq(semaphore_release(&s), 0);
	ck_assert_int_eq(semaphore_release(&s), -EPERM);
	return 0;
}

/* Two tasks hand one permit to each other; the loop's turn does not end for it. */
static int acquire_often(void *arg)
{
	struct semaphore *s = arg;
	uint64_t turns = loop_stats(loop_current()).turns;
	for (int i = 0; i < 500; i++) {
		ck_assert_int_eq(semaphore_acquire(s, DEADLINE_NEVER), 0);
		if (i == 0) /* both wait before it begins */
			turns = loop_stats(loop_current()).turns;
		ck_assert_int_eq(semaphore_release(s), 0);
	}
	return (int)(loop_stats(loop_current()).turns - turns);
}

LOOP_TEST(a_thousand_hand_overs_take_no_turn_of_the_loop)
{
	struct semaphore s;
	semaphore_init(&s, 1, 2);
	ck_assert(semaphore_try(&s));
	struct task *a = spawn(acquire_often, &s), *b = spawn(acquire_often, &s);
	ck_assert_int_eq(task_yield(), 0);
	uint64_t switches = loop_stats(loop_current()).switches;
	ck_assert_int_eq(semaphore_release(&s), 0);
	ck_assert_int_eq(task_await(&a, DEADLINE_NEVER), 0);
	ck_assert_int_eq(task_await(&b, DEADLINE_NEVER), 0);
	ck_assert_uint_ge(loop_stats(loop_current()).switches - switches, 900);
	ck_assert_uint_eq(s.available, 1);
	return 0;
}

/* --- the sweep: five tasks and two permits --- */

static struct semaphore swept;
static unsigned inside;

static void set_up_sweep(void)
{
	semaphore_init(&swept, 2, 5);
	inside = 0;
}

static int acquires_and_releases(void *arg)
{
	int r = 0;
	for (int i = 0; r == 0 && i < 3; i++) {
		point();
		r = semaphore_acquire(&swept, DEADLINE_NEVER);
		point();
		if (r < 0)
			break;
		ck_assert_uint_le(++inside, 2);
		if ((intptr_t)arg % 2)
			r = task_yield();
		inside--;
		ck_assert_int_eq(semaphore_release(&swept), 0);
		point();
	}
	return leave(r);
}

static void check_sweep(void)
{
	ck_assert_uint_eq(swept.available, 2);
	ck_assert_uint_eq(swept.waiting, 0);
	ck_assert(list_empty(&swept.waiters));
	ck_assert_int_eq(semaphore_release(&swept), -EPERM);
}

LOOP_TEST(whoever_is_cancelled_the_permits_are_back)
{
	static const task_fn fns[] = {acquires_and_releases, acquires_and_releases, acquires_and_releases,
				      acquires_and_releases, acquires_and_releases};
	ck_assert_int_eq(strike_everywhere(fns, 5, set_up_sweep, check_sweep), 5 * 3 * 3);
	return 0;
}

/* --- of the process, on one loop --- */

static int take_shared(void *arg)
{
	struct shared_semaphore *s = arg;
	int r = shared_semaphore_acquire(s, DEADLINE_NEVER);
	return r < 0 ? r : shared_semaphore_release(s);
}

static int shared_taker(void *arg)
{
	return shared_semaphore_acquire(arg, DEADLINE_NEVER);
}

LOOP_TEST(a_shared_one_keeps_the_same_rules)
{
	struct shared_semaphore s;
	shared_semaphore_init(&s, 1, 2);
	ck_assert_int_eq(shared_semaphore_release(&s), -EPERM);
	ck_assert(shared_semaphore_try(&s));
	ck_assert(!shared_semaphore_try(&s));
	ck_assert_int_eq(shared_semaphore_acquire(&s, deadline_in_ms(2)), -ETIMEDOUT);
	struct task *first = spawn(take_shared, &s), *second = spawn(take_shared, &s);
	settle();
	ck_assert_int_eq(shared_semaphore_acquire(&s, DEADLINE_NEVER), -EBUSY);
	task_cancel(first);
	ck_assert_int_eq(task_await(&first, DEADLINE_NEVER), -ECANCELED);
	ck_assert_int_eq(shared_semaphore_release(&s), 0);
	ck_assert(!shared_semaphore_try(&s)); /* it is the second one's */
	task_cancel(second);
	ck_assert_int_eq(task_await(&second, DEADLINE_NEVER), 0);
	ck_assert_int_eq(shared_semaphore_release(&s), -EPERM);
	shared_semaphore_done(&s);
	return 0;
}

LOOP_TEST(a_shared_one_changes_its_size_in_place)
{
	struct shared_semaphore s;
	shared_semaphore_init(&s, 1, 3);
	ck_assert(shared_semaphore_try(&s));
	struct task *t[3];
	for (int i = 0; i < 3; i++)
		t[i] = spawn(shared_taker, &s);
	settle();
	shared_semaphore_resize(&s, 3, 0); /* two of those who wait come in, the third goes on waiting */
	settle();
	ck_assert_uint_eq(s.taken, 3);
	ck_assert_uint_eq(s.waiting, 1);
	ck_assert_int_eq(shared_semaphore_acquire(&s, DEADLINE_NEVER), -EBUSY); /* nobody else may */
	shared_semaphore_resize(&s, 1, 3);
	ck_assert_int_eq(shared_semaphore_release(&s), 0);
	ck_assert_int_eq(shared_semaphore_release(&s), 0);
	settle();
	ck_assert_uint_eq(s.waiting, 1); /* nobody was let in until enough came back */
	ck_assert(!shared_semaphore_try(&s));
	ck_assert_int_eq(shared_semaphore_release(&s), 0);
	settle();
	ck_assert_uint_eq(s.waiting, 0);
	ck_assert_uint_eq(s.taken, 1);
	ck_assert_int_eq(shared_semaphore_release(&s), 0);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(task_await(&t[i], DEADLINE_NEVER), 0);
	shared_semaphore_done(&s);
	return 0;
}

/* --- over threads --- */

enum { WORKERS = 4, PERMITS = 3, TASKS = 200 };
#define ROUNDS SLOWER(100)

static struct shared_semaphore shared;
static atomic_int holders, most_holders, acquired, left, refused;

static void note_holder(void)
{
	int now = atomic_fetch_add(&holders, 1) + 1, most = atomic_load(&most_holders);
	while (now > most && !atomic_compare_exchange_weak(&most_holders, &most, now))
		;
	atomic_fetch_add(&acquired, 1);
}

struct worker {
	pthread_t thread;
	uint64_t seed; /* its loop thread only */
	struct task *tasks[TASKS];
	int result;
};

static int hold_for_a_while(struct worker *w)
{
	note_holder();
	int r = next_random(&w->seed) % 4 ? task_yield() : 0;
	atomic_fetch_sub(&holders, 1);
	if (shared_semaphore_release(&shared) < 0)
		abort();
	return r;
}

static int compete(void *arg)
{
	struct worker *w = arg;
	int r = 0;
	for (int i = 0; i < ROUNDS && r != -ECANCELED; i++) {
		bool hurried = next_random(&w->seed) % 4 == 0;
		r = shared_semaphore_acquire(&shared,
					     hurried ? deadline_in_us(next_random(&w->seed) % 2000) : DEADLINE_NEVER);
		if (r == 0)
			r = hold_for_a_while(w);
		else
			atomic_fetch_add(r == -EBUSY ? &refused : &left, 1);
	}
	return r;
}

/* The tasks compete; some of them are cancelled at random moments. */
static int worker_main(void *arg)
{
	struct worker *w = arg;
	for (int i = 0; i < TASKS; i++)
		w->tasks[i] = spawn(compete, w);
	for (int i = 0; i < TASKS; i++) {
		if (task_sleep(deadline_in_us(next_random(&w->seed) % 300)) < 0)
			return -1;
		if (i % 3 == 0)
			task_cancel(w->tasks[next_random(&w->seed) % TASKS]);
		if (i % 10 == 0)
			task_cancel(w->tasks[i]);
	}
	for (int i = 0; i < TASKS; i++) {
		int r = task_await(&w->tasks[i], deadline_in_ms(50000));
		if (w->tasks[i])
			return r;
	}
	return 0;
}

static void *worker_thread(void *arg)
{
	struct worker *w = arg;
	w->result = loop_run_main(worker_main, w);
	return NULL;
}

static void compete_over_threads(unsigned max_waiting)
{
	static struct worker workers[WORKERS];
	atomic_store(&holders, 0);
	shared_semaphore_init(&shared, PERMITS, max_waiting);
	for (int i = 0; i < WORKERS; i++) {
		workers[i] = (struct worker){.seed = (uint64_t)i + 1};
		pthread_create(&workers[i].thread, NULL, worker_thread, &workers[i]);
	}
	for (int i = 0; i < WORKERS; i++) {
		pthread_join(workers[i].thread, NULL);
		ck_assert_int_eq(workers[i].result, 0);
	}
	ck_assert_int_eq(atomic_load(&holders), 0);
	ck_assert_int_le(atomic_load(&most_holders), PERMITS);
	ck_assert_uint_eq(shared.taken, 0);
	ck_assert_uint_eq(shared.waiting, 0);
	shared_semaphore_done(&shared);
}

START_TEST(four_threads_never_hold_more_than_there_is)
{
	compete_over_threads(WORKERS * TASKS);
	ck_assert_int_eq(atomic_load(&most_holders), PERMITS);
	ck_assert_int_gt(atomic_load(&acquired), 1000);
	ck_assert_int_gt(atomic_load(&left), 10);
	ck_assert_int_eq(atomic_load(&refused), 0);
}
END_TEST

START_TEST(four_threads_and_a_short_queue)
{
	compete_over_threads(5);
	ck_assert_int_gt(atomic_load(&refused), 100);
}
END_TEST

/* A thread gives the permit to a waiter that leaves before it arrives: the permit is there for others at once, and the
 * semaphore may be gone when the message comes. */
static void *release_once(void *arg)
{
	return (void *)(intptr_t)shared_semaphore_release(arg);
}

LOOP_TEST(a_permit_for_one_that_left_is_back_at_once)
{
	struct shared_semaphore *s = malloc(sizeof(*s));
	pthread_t thread;
	void *result;
	shared_semaphore_init(s, 1, 5);
	ck_assert(shared_semaphore_try(s));
	struct task *t = spawn(take_shared, s);
	settle();
	pthread_create(&thread, NULL, release_once, s);
	pthread_join(thread, &result); /* the loop stands still: the message waits */
	ck_assert_ptr_null(result);
	ck_assert(!shared_semaphore_try(s));
	task_cancel(t);
	ck_assert(shared_semaphore_try(s));
	ck_assert_int_eq(shared_semaphore_release(s), 0);
	shared_semaphore_done(s);
	free(s);
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), -ECANCELED);
	settle();
	ck_assert_uint_eq(loop_current()->expected, 0);
	return 0;
}

/* Those who wait on several loops are served in the order in which they came. */
enum { IN_TURN = 40 };
static atomic_int served;

struct customer {
	int served_as;
	pthread_t thread;
};

static int queue_up(void *arg)
{
	struct customer *c = arg;
	int r = shared_semaphore_acquire(&shared, deadline_in_ms(20000));
	if (r < 0)
		return r;
	c->served_as = atomic_fetch_add(&served, 1);
	return shared_semaphore_release(&shared);
}

static void *customer_thread(void *arg)
{
	return (void *)(intptr_t)loop_run_main(queue_up, arg);
}

static bool is_waiting(unsigned count)
{
	pthread_mutex_lock(&shared.lock);
	bool is = shared.waiting == count;
	pthread_mutex_unlock(&shared.lock);
	return is;
}

START_TEST(loops_are_served_in_order)
{
	static struct customer c[IN_TURN];
	shared_semaphore_init(&shared, 1, IN_TURN);
	ck_assert(shared_semaphore_try(&shared));
	for (int i = 0; i < IN_TURN; i++) {
		pthread_create(&c[i].thread, NULL, customer_thread, &c[i]);
		while (!is_waiting((unsigned)i + 1))
			usleep(100);
	}
	ck_assert_int_eq(shared_semaphore_release(&shared), 0); /* by a thread without a loop */
	for (int i = 0; i < IN_TURN; i++) {
		void *result;
		pthread_join(c[i].thread, &result);
		ck_assert_ptr_null(result);
		ck_assert_int_eq(c[i].served_as, i);
	}
	shared_semaphore_done(&shared);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("semaphore");
	TCase *c = async_tcase(s, "one loop");
	tcase_add_test(c, permits_are_served_in_order);
	tcase_add_test(c, waiters_are_bounded_and_over_release_is_refused);
	tcase_add_test(c, a_waiter_that_leaves_leaves_no_hole);
	tcase_add_test(c, a_permit_on_its_way_to_a_cancelled_task_is_not_lost);
	tcase_add_test(c, a_cancelled_task_acquires_nothing);
	tcase_add_test(c, a_plain_one_may_be_released_beyond_its_beginning);
	tcase_add_test(c, try_takes_what_is_free_and_overtakes_nobody);
	tcase_add_test(c, a_thousand_hand_overs_take_no_turn_of_the_loop);
	tcase_add_test(c, whoever_is_cancelled_the_permits_are_back);
	tcase_add_test(c, a_shared_one_keeps_the_same_rules);
	tcase_add_test(c, a_shared_one_changes_its_size_in_place);
	c = async_tcase(s, "threads");
	tcase_add_test(c, four_threads_never_hold_more_than_there_is);
	tcase_add_test(c, four_threads_and_a_short_queue);
	tcase_add_test(c, a_permit_for_one_that_left_is_back_at_once);
	tcase_add_test(c, loops_are_served_in_order);
	return run_suite(s);
}
