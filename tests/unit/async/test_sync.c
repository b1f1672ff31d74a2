/* Mutex, event, condition: order, ownership, whoever leaves, bad use; and a time limit for a task (wait_for). */
#include "async/condition.h"
#include "async/event.h"
#include "async/internal.h"
#include "async/mutex.h"
#include "async/wait.h"
#include "tests/unit/async/strike_fixture.h"

enum { MANY = 8 };

/* --- mutex --- */

static struct mutex mutex;
static int order[MANY], ordered; /* who had it, one after the other */

struct locker {
	int number;
	deadline_t by;
	bool yields; /* while it holds it */
};

static int lock_and_note(void *arg)
{
	const struct locker *l = arg;
	int r = mutex_lock(&mutex, l->by);
	if (r < 0)
		return r;
	order[ordered++] = l->number;
	if (l->yields)
		r = task_yield();
	ck_assert(mutex_held(&mutex));
	ck_assert_int_eq(mutex_unlock(&mutex), 0);
	return r;
}

static void start_lockers(struct locker *l, struct task **t, int count)
{
	mutex_init(&mutex);
	ordered = 0;
	ck_assert_int_eq(mutex_lock(&mutex, DEADLINE_NEVER), 0);
	for (int i = 0; i < count; i++) {
		if (l[i].by.us == 0)
			l[i].by = DEADLINE_NEVER;
		l[i].number = i;
		t[i] = spawn(lock_and_note, &l[i]);
	}
	ck_assert_int_eq(task_yield(), 0);
	ck_assert_int_eq(ordered, 0);
}

/* All of them end well, and had it in the order in which they came. */
static void end_in_order(struct task **t)
{
	for (int i = 0; i < MANY; i++) {
		ck_assert_int_eq(task_await(&t[i], DEADLINE_NEVER), 0);
		ck_assert_int_eq(order[i], i);
	}
	ck_assert(!mutex_locked(&mutex));
}

LOOP_TEST(a_mutex_is_handed_over_in_order)
{
	struct locker l[MANY] = {0};
	struct task *t[MANY];
	for (int i = 0; i < MANY; i++)
		l[i].yields = i % 2;
	start_lockers(l, t, MANY);
	ck_assert_int_eq(mutex_unlock(&mutex), 0);
	ck_assert(mutex_locked(&mutex)); /* by the first, before it runs */
	ck_assert(!mutex_held(&mutex));
	ck_assert_int_eq(mutex_try_lock(&mutex), -EBUSY);
	ck_assert_int_eq(mutex_lock(&mutex, DEADLINE_NEVER), 0); /* behind all of them */
	ck_assert_int_eq(ordered, MANY);
	ck_assert_int_eq(mutex_unlock(&mutex), 0);
	end_in_order(t);
	return 0;
}

/* Each of the waiters in turn is cancelled, or comes to its deadline, while it waits. */
LOOP_TEST(a_waiter_that_leaves_a_mutex_leaves_no_hole)
{
	for (int leaves = 0; leaves < MANY; leaves++) {
		for (int timed = 0; timed < 2; timed++) {
			struct locker l[MANY] = {0};
			struct task *t[MANY];
			if (timed)
				l[leaves].by = deadline_in_us(500);
			start_lockers(l, t, MANY);
			if (timed)
				ck_assert_int_eq(task_sleep_ms(2), 0);
			else
				task_cancel(t[leaves]);
			ck_assert_int_eq(mutex_unlock(&mutex), 0);
			for (int i = 0; i < MANY; i++)
				ck_assert_int_eq(task_await(&t[i], DEADLINE_NEVER), i != leaves ? 0
										    : timed     ? -ETIMEDOUT
												: -ECANCELED);
			ck_assert_int_eq(ordered, MANY - 1);
			for (int i = 0; i < ordered; i++)
				ck_assert_int_eq(order[i], i < leaves ? i : i + 1);
			ck_assert(!mutex_locked(&mutex));
		}
	}
	return 0;
}

/* It was given the mutex before it was cancelled: it has it. */
LOOP_TEST(a_mutex_on_its_way_to_a_cancelled_task_arrives)
{
	struct locker l[2] = {0};
	struct task *t[2];
	start_lockers(l, t, 2);
	ck_assert_int_eq(mutex_unlock(&mutex), 0);
	task_cancel(t[0]);
	ck_assert_int_eq(task_await(&t[0], DEADLINE_NEVER), 0);
	ck_assert_int_eq(task_await(&t[1], DEADLINE_NEVER), 0);
	ck_assert_int_eq(ordered, 2);
	ck_assert(!mutex_locked(&mutex));
	return 0;
}

static int unlock_anothers(void *arg)
{
	(void)arg;
	ck_assert_int_eq(mutex_unlock(&mutex), -EPERM);
	ck_assert(!mutex_held(&mutex));
	return mutex_lock(&mutex, deadline_in_us(-1));
}

static void outside_of_tasks(struct timer *t)
{
	(void)t;
	ck_assert_int_eq(mutex_unlock(&mutex), -EPERM);
	ck_assert_int_eq(mutex_try_lock(&mutex), -EPERM);
	ck_assert_int_eq(mutex_lock(&mutex, DEADLINE_NEVER), -EPERM);
	ordered = -1;
}

LOOP_TEST(bad_use_of_a_mutex_is_answered)
{
	struct timer timer;
	mutex_init(&mutex);
	ck_assert_int_eq(mutex_unlock(&mutex), -EPERM);
	ck_assert_int_eq(mutex_lock(&mutex, deadline_in_us(-1)), 0); /* a free one needs no time */
	ck_assert_int_eq(mutex_lock(&mutex, DEADLINE_NEVER), -EDEADLK);
	ck_assert_int_eq(mutex_try_lock(&mutex), -EBUSY);
	struct task *t = spawn(unlock_anothers, NULL);
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), -ETIMEDOUT);
	ck_assert_int_eq(mutex_unlock(&mutex), 0);
	ck_assert_int_eq(mutex_unlock(&mutex), -EPERM);
	timer_init(&timer, outside_of_tasks);
	timer_start(&timer, loop_timers(loop_current()), deadline_in_us(0));
	ck_assert_int_eq(task_sleep_ms(1), 0);
	ck_assert_int_eq(ordered, -1);
	ck_assert(!mutex_locked(&mutex));
	return 0;
}

static int lock_and_end(void *arg)
{
	return mutex_lock(arg, deadline_in_ms(1));
}

/* The next task has the stack of the one that left it locked, and is another one all the same. */
LOOP_TEST(a_mutex_that_is_left_locked_stays_so)
{
	mutex_init(&mutex);
	struct task *t = spawn(lock_and_end, &mutex), *at = t;
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), 0);
	t = spawn(lock_and_end, &mutex);
	ck_assert_ptr_eq(t, at);
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), -ETIMEDOUT);
	t = spawn(unlock_anothers, NULL);
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), -ETIMEDOUT);
	ck_assert(mutex_locked(&mutex));
	return 0;
}

LOOP_TEST(a_cancelled_task_locks_nothing)
{
	struct locker l = {.by = DEADLINE_NEVER};
	mutex_init(&mutex);
	struct task *t = spawn(lock_and_note, &l);
	task_cancel(t);
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), -ECANCELED);
	ck_assert(!mutex_locked(&mutex));
	return 0;
}

/* Two tasks hand it to each other; the loop's turn does not end for it. */
static int lock_often(void *arg)
{
	uint64_t turns = loop_stats(loop_current()).turns;
	(void)arg;
	for (int i = 0; i < 500; i++) {
		if (!mutex_held(&mutex))
			ck_assert_int_eq(mutex_lock(&mutex, DEADLINE_NEVER), 0);
		ordered++;
		ck_assert_int_eq(mutex_unlock(&mutex), 0);
		ck_assert_int_eq(mutex_lock(&mutex, DEADLINE_NEVER), 0); /* the other one waits for it */
	}
	ck_assert_int_eq(mutex_unlock(&mutex), 0);
	return (int)(loop_stats(loop_current()).turns - turns);
}

LOOP_TEST(a_thousand_hand_overs_take_no_turn_of_the_loop)
{
	mutex_init(&mutex);
	ordered = 0;
	ck_assert_int_eq(mutex_lock(&mutex, DEADLINE_NEVER), 0);
	struct task *a = spawn(lock_often, NULL), *b = spawn(lock_often, NULL);
	ck_assert_int_eq(task_yield(), 0); /* both wait for it */
	uint64_t switches = loop_stats(loop_current()).switches;
	ck_assert_int_eq(mutex_unlock(&mutex), 0);
	int turns = task_await(&a, DEADLINE_NEVER) + task_await(&b, DEADLINE_NEVER);
	ck_assert_int_le(turns, 2); /* the one above */
	ck_assert_int_eq(ordered, 1000);
	ck_assert_uint_ge(loop_stats(loop_current()).switches - switches, 1000);
	return 0;
}

/* --- event --- */

static struct event event;

static int wait_and_note(void *arg)
{
	int r = event_wait(&event, DEADLINE_NEVER);
	if (r == 0)
		order[ordered++] = (int)(intptr_t)arg;
	return r;
}

LOOP_TEST(an_event_wakes_all_in_order)
{
	struct task *t[MANY];
	event_init(&event);
	ordered = 0;
	ck_assert(!event_is_set(&event));
	ck_assert_int_eq(event_wait(&event, deadline_in_ms(1)), -ETIMEDOUT);
	for (int i = 0; i < MANY; i++)
		t[i] = spawn(wait_and_note, (void *)(intptr_t)i);
	ck_assert_int_eq(task_yield(), 0);
	task_cancel(t[3]);
	event_set(&event);
	event_set(&event);
	ck_assert(event_is_set(&event));
	task_cancel(t[5]);   /* it has happened for this one */
	event_clear(&event); /* and for those that did not run yet */
	for (int i = 0; i < MANY; i++)
		ck_assert_int_eq(task_await(&t[i], DEADLINE_NEVER), i == 3 ? -ECANCELED : 0);
	ck_assert_int_eq(ordered, MANY - 1);
	for (int i = 0; i < ordered; i++)
		ck_assert_int_eq(order[i], i < 3 ? i : i + 1);
	ck_assert_int_eq(event_wait(&event, deadline_in_ms(1)), -ETIMEDOUT); /* cleared */
	event_set(&event);
	ck_assert_int_eq(event_wait(&event, deadline_in_us(-1)), 0);
	struct task *late = spawn(wait_and_note, NULL);
	task_cancel(late);
	ck_assert_int_eq(task_await(&late, DEADLINE_NEVER), -ECANCELED); /* sticky */
	return 0;
}

/* --- condition --- */

static struct condition condition;
static int stock;

static void conditions_init(void)
{
	mutex_init(&mutex);
	condition_init(&condition, &mutex);
	stock = ordered = 0;
}

struct waits {
	int number;
	deadline_t by;
};

static int wait_once(void *arg)
{
	const struct waits *w = arg;
	int r = mutex_lock(&mutex, DEADLINE_NEVER);
	if (r < 0)
		return r;
	r = condition_wait(&condition, w->by);
	ck_assert(mutex_held(&mutex)); /* whatever it returned */
	if (r == 0)
		order[ordered++] = w->number;
	ck_assert_int_eq(mutex_unlock(&mutex), 0);
	return r;
}

static void start_waits(struct waits *w, struct task **t)
{
	for (int i = 0; i < MANY; i++) {
		w[i] = (struct waits){i, w[i].by.us ? w[i].by : DEADLINE_NEVER};
		t[i] = spawn(wait_once, &w[i]);
	}
	ck_assert_int_eq(task_yield(), 0);
}

static void notify(unsigned n)
{
	ck_assert_int_eq(mutex_lock(&mutex, DEADLINE_NEVER), 0);
	ck_assert_int_eq(condition_notify(&condition, n), 0);
	ck_assert_int_eq(task_yield(), 0);
	ck_assert_int_eq(mutex_unlock(&mutex), 0);
	settle();
}

LOOP_TEST(notify_wakes_that_many_in_order)
{
	struct waits w[MANY] = {0};
	struct task *t[MANY];
	conditions_init();
	notify(3); /* for nobody: it is not kept */
	start_waits(w, t);
	notify(0);
	ck_assert_int_eq(ordered, 0);
	notify(2);
	ck_assert_int_eq(ordered, 2);
	notify(1);
	ck_assert_int_eq(ordered, 3);
	ck_assert_int_eq(mutex_lock(&mutex, DEADLINE_NEVER), 0);
	ck_assert_int_eq(condition_notify_all(&condition), 0);
	ck_assert_int_eq(mutex_unlock(&mutex), 0);
	end_in_order(t);
	return 0;
}

/* Those that leave hold the mutex again, which they wait for although they were cancelled or are late. */
LOOP_TEST(whoever_leaves_a_condition_holds_the_mutex)
{
	struct waits w[MANY] = {0};
	struct task *t[MANY];
	conditions_init();
	w[0].by = w[4].by = deadline_in_ms(100);
	start_waits(w, t);
	ck_assert_int_eq(mutex_lock(&mutex, DEADLINE_NEVER), 0);
	ck_assert_int_eq(task_sleep_ms(120), 0);
	task_cancel(t[2]);
	settle();
	ck_assert(!task_ended(t[0]) && !task_ended(t[2]) && !task_ended(t[4])); /* they wait for the mutex */
	ck_assert_int_eq(mutex_unlock(&mutex), 0);
	ck_assert_int_eq(task_await(&t[0], DEADLINE_NEVER), -ETIMEDOUT);
	ck_assert_int_eq(task_await(&t[4], DEADLINE_NEVER), -ETIMEDOUT);
	ck_assert_int_eq(task_await(&t[2], DEADLINE_NEVER), -ECANCELED);
	notify(MANY);
	ck_assert_int_eq(ordered, MANY - 3);
	for (int i = 0; i < MANY; i++) {
		if (t[i])
			ck_assert_int_eq(task_await(&t[i], DEADLINE_NEVER), 0);
	}
	ck_assert(!mutex_locked(&mutex));
	return 0;
}

/* Cancelled when the notification was on its way, or while it waited for the mutex: the next one gets it. */
LOOP_TEST(a_notification_for_a_cancelled_task_goes_to_the_next)
{
	for (int late = 0; late < 2; late++) {
		struct waits w[MANY] = {0};
		struct task *t[MANY];
		conditions_init();
		start_waits(w, t);
		ck_assert_int_eq(mutex_lock(&mutex, DEADLINE_NEVER), 0);
		ck_assert_int_eq(condition_notify(&condition, 1), 0);
		if (late)
			ck_assert_int_eq(task_yield(), 0);
		task_cancel(t[0]);
		ck_assert_int_eq(mutex_unlock(&mutex), 0);
		ck_assert_int_eq(task_await(&t[0], DEADLINE_NEVER), -ECANCELED);
		ck_assert_int_eq(task_await(&t[1], deadline_in_ms(20000)), 0);
		ck_assert_int_eq(ordered, 1);
		notify(MANY);
		for (int i = 2; i < MANY; i++)
			ck_assert_int_eq(task_await(&t[i], DEADLINE_NEVER), 0);
	}
	return 0;
}

static int wait_in_a_short_shield(void *arg)
{
	struct shield s;
	(void)arg;
	ck_assert_int_eq(mutex_lock(&mutex, DEADLINE_NEVER), 0);
	task_shield(&s, deadline_in_us(100));
	int r = condition_wait(&condition, DEADLINE_NEVER);
	task_unshield(&s);
	ck_assert_int_eq(mutex_unlock(&mutex), 0);
	return r;
}

LOOP_TEST(the_end_of_a_shield_around_it_does_not_cost_the_mutex)
{
	conditions_init();
	struct task *t = spawn(wait_in_a_short_shield, NULL);
	ck_assert_int_eq(task_yield(), 0);
	ck_assert_int_eq(mutex_lock(&mutex, DEADLINE_NEVER), 0);
	ck_assert_int_eq(task_sleep_ms(2), 0);
	task_cancel(t);
	ck_assert_int_eq(task_sleep_ms(2), 0);
	ck_assert_int_eq(mutex_unlock(&mutex), 0);
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), -ETIMEDOUT);
	return 0;
}

LOOP_TEST(a_condition_without_its_mutex_is_refused)
{
	conditions_init();
	ck_assert_int_eq(condition_wait(&condition, DEADLINE_NEVER), -EPERM);
	ck_assert_int_eq(condition_wait_for(&condition, NULL, NULL, DEADLINE_NEVER), -EPERM);
	ck_assert_int_eq(condition_notify(&condition, 1), -EPERM);
	ck_assert_int_eq(condition_notify_all(&condition), -EPERM);
	struct locker l = {.by = DEADLINE_NEVER, .yields = true};
	struct task *t = spawn(lock_and_note, &l);
	ck_assert_int_eq(task_yield(), 0);
	ck_assert(mutex_locked(&mutex)); /* by another */
	ck_assert_int_eq(condition_wait(&condition, DEADLINE_NEVER), -EPERM);
	ck_assert_int_eq(condition_notify(&condition, 1), -EPERM);
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), 0);
	return 0;
}

static bool enough(void *arg)
{
	ck_assert(mutex_held(&mutex));
	return stock >= *(int *)arg;
}

static int wait_for_stock(void *arg)
{
	int r = mutex_lock(&mutex, DEADLINE_NEVER);
	if (r < 0)
		return r;
	r = condition_wait_for(&condition, enough, arg, DEADLINE_NEVER);
	ck_assert_int_eq(mutex_unlock(&mutex), 0);
	return r < 0 ? r : stock;
}

LOOP_TEST(wait_for_asks_again_after_each_notification)
{
	int need = 3;
	conditions_init();
	struct task *t = spawn(wait_for_stock, &need);
	settle();
	for (int i = 0; i < 3; i++) {
		ck_assert(!task_ended(t));
		stock++;
		notify(1);
	}
	ck_assert(task_ended(t));
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), 3);
	ck_assert_int_eq(mutex_lock(&mutex, DEADLINE_NEVER), 0);
	ck_assert_int_eq(condition_wait_for(&condition, enough, &need, deadline_in_us(-1)), 0); /* there already */
	need = 4;
	ck_assert_int_eq(condition_wait_for(&condition, enough, &need, deadline_in_ms(1)), -ETIMEDOUT);
	ck_assert_int_eq(mutex_unlock(&mutex), 0);
	return 0;
}

/* --- the sweep: a shelf of two places between two makers and three takers --- */

static struct {
	struct condition item, place;
	int on_shelf, made, taken, makers, inside;
} shelf;

static void shelf_init(void)
{
	mutex_init(&mutex);
	condition_init(&shelf.item, &mutex);
	condition_init(&shelf.place, &mutex);
	shelf.on_shelf = shelf.made = shelf.taken = shelf.inside = 0;
	shelf.makers = 2;
}

static int enter(void)
{
	point();
	int r = mutex_lock(&mutex, DEADLINE_NEVER);
	point();
	if (r == 0)
		ck_assert_int_eq(++shelf.inside, 1);
	return r;
}

static void go_out(void)
{
	ck_assert(mutex_held(&mutex));
	ck_assert_int_eq(shelf.inside--, 1);
	ck_assert_int_eq(mutex_unlock(&mutex), 0);
	point();
}

static int await_shelf(struct condition *c)
{
	point();
	shelf.inside--;
	int r = condition_wait(c, DEADLINE_NEVER);
	shelf.inside++;
	point();
	return r;
}

static int make_one(void)
{
	int r = enter();
	if (r < 0)
		return r;
	while (r == 0 && shelf.on_shelf == 2)
		r = await_shelf(&shelf.place);
	if (r == 0) {
		shelf.on_shelf++;
		shelf.made++;
		condition_notify(&shelf.item, 1);
	}
	go_out();
	return r;
}

static int maker(void *arg)
{
	struct shield s;
	int r = 0;
	(void)arg;
	for (int i = 0; r == 0 && i < 4; i++)
		r = make_one();
	task_shield(&s, DEADLINE_NEVER);
	ck_assert_int_eq(mutex_lock(&mutex, DEADLINE_NEVER), 0);
	shelf.makers--;
	condition_notify_all(&shelf.item);
	ck_assert_int_eq(mutex_unlock(&mutex), 0);
	task_unshield(&s);
	return leave(r);
}

/* Returns 1 when there was one, 0 at the end. */
static int take_one(void)
{
	int r = enter();
	if (r < 0)
		return r;
	while (r == 0 && shelf.on_shelf == 0 && shelf.makers > 0)
		r = await_shelf(&shelf.item);
	if (r == 0 && shelf.on_shelf > 0) {
		shelf.on_shelf--;
		shelf.taken++;
		condition_notify(&shelf.place, 1);
		r = 1;
	}
	go_out();
	return r;
}

static int taker(void *arg)
{
	int r;
	(void)arg;
	while ((r = take_one()) > 0)
		;
	return leave(r);
}

static void check_shelf(void)
{
	ck_assert(!mutex_locked(&mutex));
	ck_assert(list_empty(&mutex.waiters));
	ck_assert(list_empty(&shelf.item.waiters));
	ck_assert(list_empty(&shelf.place.waiters));
	ck_assert_int_eq(shelf.inside, 0);
	ck_assert_int_eq(shelf.on_shelf, 0);
	ck_assert_int_eq(shelf.made, shelf.taken);
	ck_assert_int_ge(shelf.made, 4);
	ck_assert_uint_eq(loop_stats(loop_current()).tasks, 1);
}

LOOP_TEST(whoever_is_cancelled_the_others_go_on)
{
	static const task_fn takers_first[] = {taker, taker, taker, maker, maker};
	static const task_fn makers_first[] = {maker, maker, taker, taker, taker};
	ck_assert_int_gt(strike_everywhere(takers_first, 5, shelf_init, check_shelf), 40);
	ck_assert_int_gt(strike_everywhere(makers_first, 5, shelf_init, check_shelf), 40);
	return 0;
}

/* --- wait_for --- */

struct limited {
	int64_t ms, clean_up_ms;
	int result;      /* when it has slept */
	int interrupted; /* result when it was interrupted; 0: what the sleep returned */
	int ended;
	deadline_t deadline;
};

static int limited(void *arg)
{
	struct limited *l = arg;
	struct shield s;
	l->deadline = task_deadline();
	int r = task_sleep_ms(l->ms);
	if (r < 0 && l->clean_up_ms) {
		task_shield(&s, DEADLINE_NEVER);
		ck_assert_int_eq(task_sleep_ms(l->clean_up_ms), 0);
		task_unshield(&s);
	}
	l->ended++;
	return r == 0 ? l->result : l->interrupted ? l->interrupted : r;
}

LOOP_TEST(wait_for_returns_what_came_in_time)
{
	struct limited l = {.ms = 1, .result = 7};
	deadline_t by = deadline_in_ms(20000);
	ck_assert_int_eq(wait_for("quick", limited, &l, by), 7);
	ck_assert_int_eq(l.deadline.us, by.us);
	l.result = -EIO;
	ck_assert_int_eq(wait_for("fails", limited, &l, DEADLINE_NEVER), -EIO);
	ck_assert_int_eq(l.ended, 2);
	ck_assert_int_eq(task_deadline().us, DEADLINE_NEVER.us);
	return 0;
}

LOOP_TEST(wait_for_ends_what_is_late_and_waits_for_it)
{
	struct limited l = {.ms = 60000, .clean_up_ms = 5};
	ck_assert_int_eq(wait_for("slow", limited, &l, deadline_in_ms(50)), -ETIMEDOUT);
	ck_assert_int_eq(l.ended, 1);
	ck_assert_uint_eq(loop_stats(loop_current()).tasks, 1);
	l.interrupted = 9; /* it has a result all the same */
	ck_assert_int_eq(wait_for("slow", limited, &l, deadline_in_ms(50)), 9);
	ck_assert_int_eq(wait_for("never", limited, &l, deadline_in_ms(-1000)), -ETIMEDOUT);
	ck_assert_int_eq(l.ended, 2); /* it was not even called */
	return 0;
}

static int wait_for_the_limited(void *arg)
{
	return wait_for("slow", limited, arg, deadline_in_ms(20000));
}

LOOP_TEST(wait_for_passes_a_cancellation_on)
{
	struct limited l = {.ms = 60000, .clean_up_ms = 2};
	struct task *t = spawn(wait_for_the_limited, &l);
	settle();
	task_cancel(t);
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), -ECANCELED);
	ck_assert_int_eq(l.ended, 1);
	t = spawn(wait_for_the_limited, &l);
	task_cancel(t);
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), -ECANCELED);
	ck_assert_int_eq(l.ended, 1);
	return 0;
}

/* In a shield that ends before the task does. */
LOOP_TEST(wait_for_keeps_its_word_in_a_short_shield)
{
	struct limited l = {.ms = 60000, .clean_up_ms = 5};
	struct shield s;
	task_shield(&s, deadline_in_ms(50));
	ck_assert_int_eq(wait_for("slow", limited, &l, DEADLINE_NEVER), -ETIMEDOUT);
	task_unshield(&s);
	ck_assert_int_eq(l.ended, 1);
	return 0;
}

int main(void)
{
	Suite *s = suite_create("sync");
	TCase *c = async_tcase(s, "mutex");
	tcase_add_test(c, a_mutex_is_handed_over_in_order);
	tcase_add_test(c, a_waiter_that_leaves_a_mutex_leaves_no_hole);
	tcase_add_test(c, a_mutex_on_its_way_to_a_cancelled_task_arrives);
	tcase_add_test(c, bad_use_of_a_mutex_is_answered);
	tcase_add_test(c, a_mutex_that_is_left_locked_stays_so);
	tcase_add_test(c, a_cancelled_task_locks_nothing);
	tcase_add_test(c, a_thousand_hand_overs_take_no_turn_of_the_loop);
	c = async_tcase(s, "event");
	tcase_add_test(c, an_event_wakes_all_in_order);
	c = async_tcase(s, "condition");
	tcase_add_test(c, notify_wakes_that_many_in_order);
	tcase_add_test(c, whoever_leaves_a_condition_holds_the_mutex);
	tcase_add_test(c, a_notification_for_a_cancelled_task_goes_to_the_next);
	tcase_add_test(c, the_end_of_a_shield_around_it_does_not_cost_the_mutex);
	tcase_add_test(c, a_condition_without_its_mutex_is_refused);
	tcase_add_test(c, wait_for_asks_again_after_each_notification);
	tcase_add_test(c, whoever_is_cancelled_the_others_go_on);
	c = async_tcase(s, "wait_for");
	tcase_add_test(c, wait_for_returns_what_came_in_time);
	tcase_add_test(c, wait_for_ends_what_is_late_and_waits_for_it);
	tcase_add_test(c, wait_for_passes_a_cancellation_on);
	tcase_add_test(c, wait_for_keeps_its_word_in_a_short_shield);
	return run_suite(s);
}
