/* Queues: order in each of the three kinds, bounds, whoever leaves, close, join; no item lost, none there twice. */
#include "async/queue.h"

#include <string.h>

#include "async/internal.h"
#include "tests/unit/async/strike_fixture.h"

enum { MANY = 8 };

static struct queue queue;

/* Items are numbers, from 1. */
static void *item(int n)
{
	return (void *)(intptr_t)n;
}

static void put(int n)
{
	ck_assert_int_eq(queue_put_now(&queue, item(n)), 0);
}

/* Returns the number, or -errno. */
static int get(void)
{
	void *got;
	int r = queue_get_now(&queue, &got);
	return r < 0 ? r : (int)(intptr_t)got;
}

static int compare(const void *a, const void *b)
{
	int x = (int)(intptr_t)a % 100, y = (int)(intptr_t)b % 100; /* hundreds tell equals apart */
	return (x > y) - (x < y);
}

/* --- order --- */

LOOP_TEST(first_in_first_out)
{
	queue_init(&queue, 0);
	ck_assert_int_eq(get(), -EAGAIN);
	int in = 1, out = 1;
	for (int round = 1; round <= 50; round++) { /* the ring wraps around and grows */
		for (int i = 0; i < round; i++)
			put(in++);
		for (int i = 0; i < round - 1; i++)
			ck_assert_int_eq(get(), out++);
	}
	ck_assert_uint_eq(queue_count(&queue), 50);
	while (out < in)
		ck_assert_int_eq(get(), out++);
	ck_assert_int_eq(get(), -EAGAIN);
	queue_done(&queue);
	return 0;
}

LOOP_TEST(last_in_first_out)
{
	queue_init_lifo(&queue, 0);
	for (int round = 0; round < 3; round++) {
		for (int i = 1; i <= 100; i++)
			put(i);
		for (int i = 100; i > 50; i--)
			ck_assert_int_eq(get(), i);
		put(7);
		ck_assert_int_eq(get(), 7);
		for (int i = 50; i > 0; i--)
			ck_assert_int_eq(get(), i);
	}
	ck_assert_int_eq(get(), -EAGAIN);
	queue_done(&queue);
	return 0;
}

LOOP_TEST(the_lowest_first_and_equals_in_order)
{
	enum { COUNT = 2000 };
	uint64_t seed = 5;
	int last = 0, hundreds[100] = {0}, seen[100] = {0};
	queue_init_priority(&queue, 0, compare);
	for (int i = 0; i < COUNT; i++) {
		int n = (int)(next_random(&seed) % 100);
		put(n + 100 * ++hundreds[n]);
	}
	for (int i = 0; i < COUNT; i++) {
		int got = get();
		ck_assert_int_ge(got % 100, last);
		last = got % 100;
		ck_assert_int_eq(got / 100, ++seen[last]);
	}
	ck_assert_int_eq(get(), -EAGAIN);
	queue_done(&queue);
	return 0;
}

/* Puts and gets mixed, against a plain search for the lowest. */
LOOP_TEST(a_heap_is_right_in_every_mixture)
{
	uint64_t seed = 11;
	int model[100] = {0}, count = 0;
	queue_init_priority(&queue, 0, compare);
	for (int i = 0; i < 20000; i++) {
		int lowest = 0, n = 1 + (int)(next_random(&seed) % 99);
		if (next_random(&seed) % 2 == 0) {
			put(n);
			model[n]++;
			count++;
			continue;
		}
		while (lowest < 100 && model[lowest] == 0)
			lowest++;
		if (count > 0) {
			model[lowest]--;
			count--;
		}
		ck_assert_int_eq(get(), lowest < 100 ? lowest : -EAGAIN);
		ck_assert_uint_eq(queue_count(&queue), (size_t)count);
	}
	queue_done(&queue);
	return 0;
}

/* --- waiting --- */

static int outcome[MANY], outcomes; /* what was got, or whose put went in, one after the other */

struct visit {
	int number;
	deadline_t by;
};

static int put_it(void *arg)
{
	const struct visit *v = arg;
	int r = queue_put(&queue, item(v->number), v->by);
	if (r == 0)
		outcome[outcomes++] = v->number;
	return r;
}

static int get_it(void *arg)
{
	const struct visit *v = arg;
	void *got = NULL;
	int r = queue_get(&queue, &got, v->by);
	if (r < 0)
		return r;
	outcome[outcomes++] = v->number;
	return (int)(intptr_t)got;
}

static void start(task_fn fn, struct visit *v, struct task **t, int count)
{
	outcomes = 0;
	for (int i = 0; i < count; i++) {
		v[i] = (struct visit){i + 1, v[i].by.us ? v[i].by : DEADLINE_NEVER};
		t[i] = spawn(fn, &v[i]);
	}
	ck_assert_int_eq(task_yield(), 0);
}

LOOP_TEST(a_full_queue_lets_putters_in_one_by_one)
{
	struct visit v[MANY] = {0};
	struct task *t[MANY];
	queue_init(&queue, 2);
	start(put_it, v, t, MANY);
	ck_assert_int_eq(outcomes, 2);
	ck_assert_uint_eq(queue_count(&queue), 2);
	ck_assert_int_eq(queue_put_now(&queue, item(99)), -EAGAIN);
	for (int i = 1; i <= MANY; i++) {
		ck_assert_int_eq(get(), i);
		int room = queue_put_now(&queue, item(99)); /* nobody overtakes one that waits */
		ck_assert_int_eq(room, i + 2 <= MANY ? -EAGAIN : 0);
	}
	for (int i = 0; i < MANY; i++)
		ck_assert_int_eq(task_await(&t[i], DEADLINE_NEVER), 0);
	ck_assert_int_eq(outcomes, MANY);
	for (int i = 0; i < MANY; i++)
		ck_assert_int_eq(outcome[i], i + 1);
	ck_assert_int_eq(get(), 99);
	ck_assert_int_eq(get(), 99);
	queue_done(&queue);
	return 0;
}

LOOP_TEST(items_go_to_the_getters_in_order)
{
	struct visit v[MANY] = {0};
	struct task *t[MANY];
	queue_init(&queue, 2);
	start(get_it, v, t, MANY);
	for (int i = 0; i < MANY; i++)
		put(10 + i); /* more than it holds: they are on their way */
	ck_assert_uint_eq(queue_count(&queue), 0);
	ck_assert_int_eq(get(), -EAGAIN); /* nobody overtakes */
	for (int i = 0; i < MANY; i++) {
		ck_assert_int_eq(task_await(&t[i], DEADLINE_NEVER), 10 + i);
		ck_assert_int_eq(outcome[i], i + 1);
	}
	queue_done(&queue);
	return 0;
}

/* Each in turn leaves while it waits. */
LOOP_TEST(a_getter_or_putter_that_leaves_leaves_no_hole)
{
	for (int leaves = 0; leaves < MANY; leaves++) {
		for (int kind = 0; kind < 4; kind++) {
			bool putters = kind & 1, timed = kind & 2;
			struct visit v[MANY] = {0};
			struct task *t[MANY];
			queue_init(&queue, 1);
			if (putters)
				put(50);
			if (timed)
				v[leaves].by = deadline_in_us(300);
			start(putters ? put_it : get_it, v, t, MANY);
			if (timed)
				ck_assert_int_eq(task_sleep_ms(2), 0);
			else
				task_cancel(t[leaves]);
			if (putters)
				ck_assert_int_eq(get(), 50);
			for (int i = 0; i < MANY; i++) {
				int here = i < leaves ? i + 1 : i + 2; /* who is the i-th of those that stay */
				if (i == MANY - 1)
					ck_assert_int_eq(putters ? get() : -EAGAIN, -EAGAIN);
				else if (putters)
					ck_assert_int_eq(get(), here);
				else
					put(here);
			}
			for (int i = 0; i < MANY; i++) {
				int r = task_await(&t[i], DEADLINE_NEVER);
				int left = timed ? -ETIMEDOUT : -ECANCELED;
				ck_assert_int_eq(r, i == leaves ? left : putters ? 0 : i + 1);
			}
			ck_assert_int_eq(outcomes, MANY - 1);
			queue_done(&queue);
		}
	}
	return 0;
}

/* The item was handed to a getter that is cancelled before it runs. */
LOOP_TEST(an_item_on_its_way_to_a_cancelled_getter_goes_to_the_next)
{
	struct visit v[3] = {0};
	struct task *t[3];
	queue_init(&queue, 0);
	start(get_it, v, t, 3);
	put(10);
	task_cancel(t[0]);
	ck_assert_int_eq(task_await(&t[0], DEADLINE_NEVER), -ECANCELED);
	ck_assert_int_eq(task_await(&t[1], deadline_in_ms(20000)), 10);
	put(11);
	task_cancel(t[2]);
	ck_assert_int_eq(task_await(&t[2], DEADLINE_NEVER), -ECANCELED);
	ck_assert_int_eq(get(), 11); /* or back */
	queue_done(&queue);
	return 0;
}

static int get_shielded(void *arg)
{
	struct shield s;
	task_shield(&s, DEADLINE_NEVER);
	int r = get_it(arg);
	task_unshield(&s);
	return r;
}

LOOP_TEST(a_shielded_getter_keeps_what_it_gets)
{
	struct visit v[1] = {0};
	struct task *t[1];
	queue_init(&queue, 0);
	start(get_shielded, v, t, 1);
	put(10);
	task_cancel(t[0]);
	ck_assert_int_eq(task_await(&t[0], DEADLINE_NEVER), 10);
	queue_done(&queue);
	return 0;
}

/* Several come back while later ones were put, into a full queue too: each to its place. */
LOOP_TEST(items_that_come_back_find_their_place)
{
	static const int expected[3][6] = {{1, 2, 3, 4, 5, 6}, {6, 5, 4, 3, 2, 1}, {1, 2, 3, 4, 5, 6}};
	for (int kind = 0; kind < 3; kind++) {
		struct visit v[3] = {0};
		struct task *t[3];
		if (kind == QUEUE_FIFO)
			queue_init(&queue, 3);
		else if (kind == QUEUE_LIFO)
			queue_init_lifo(&queue, 3);
		else
			queue_init_priority(&queue, 3, compare);
		start(get_it, v, t, 3);
		for (int i = 1; i <= 6; i++)
			put(i); /* three on their way, three in it */
		for (int i = 0; i < 3; i++)
			task_cancel(t[i]);
		for (int i = 0; i < 3; i++)
			ck_assert_int_eq(task_await(&t[i], DEADLINE_NEVER), -ECANCELED);
		ck_assert_uint_eq(queue_count(&queue), 6);
		for (int i = 0; i < 6; i++) {
			if (i <= 3)
				ck_assert_int_eq(queue_put_now(&queue, item(9)), -EAGAIN); /* still three or more */
			ck_assert_int_eq(get(), expected[kind][i]);
		}
		queue_done(&queue);
	}
	return 0;
}

/* What came back is above the bound: a putter waits until there is room below it. */
LOOP_TEST(items_that_come_back_are_ahead_of_waiting_putters)
{
	struct visit getters[2] = {0}, putters[2] = {0};
	struct task *g[2], *p[2];
	queue_init(&queue, 1);
	start(get_it, getters, g, 2);
	for (int i = 11; i <= 13; i++)
		put(i); /* two on their way, one in it */
	task_cancel(g[0]);
	task_cancel(g[1]);
	start(put_it, putters, p, 2);
	ck_assert_uint_eq(queue_count(&queue), 3);
	for (int i = 11; i <= 13; i++) {
		ck_assert_int_eq(outcomes, 0);
		ck_assert_int_eq(get(), i);
		ck_assert_uint_eq(queue_count(&queue), i == 11 ? 2 : 1);
		ck_assert_int_eq(task_yield(), 0);
	}
	ck_assert_int_eq(outcomes, 1);
	ck_assert_int_eq(get(), 1);
	ck_assert_int_eq(get(), 2);
	ck_assert_int_eq(get(), -EAGAIN);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(task_await(&g[i], DEADLINE_NEVER), -ECANCELED);
		ck_assert_int_eq(task_await(&p[i], DEADLINE_NEVER), 0);
	}
	queue_done(&queue);
	return 0;
}

/* It was taken from a putter that is cancelled before it runs: it is in, and the put says so. */
LOOP_TEST(an_item_of_a_cancelled_putter_is_there_once)
{
	struct visit v[2] = {0};
	struct task *t[2];
	queue_init(&queue, 1);
	put(50);
	start(put_it, v, t, 2);
	ck_assert_int_eq(get(), 50);
	task_cancel(t[0]); /* it is in already */
	task_cancel(t[1]); /* it still waits */
	ck_assert_int_eq(task_await(&t[0], DEADLINE_NEVER), 0);
	ck_assert_int_eq(task_await(&t[1], DEADLINE_NEVER), -ECANCELED);
	ck_assert_int_eq(get(), 1);
	ck_assert_int_eq(get(), -EAGAIN);
	queue_done(&queue);
	return 0;
}

LOOP_TEST(a_cancelled_task_neither_puts_nor_gets)
{
	struct visit v = {1, DEADLINE_NEVER};
	queue_init(&queue, 5);
	put(50);
	struct task *t[2] = {spawn(put_it, &v), spawn(get_it, &v)};
	task_cancel(t[0]);
	task_cancel(t[1]);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(task_await(&t[i], DEADLINE_NEVER), -ECANCELED);
	ck_assert_uint_eq(queue_count(&queue), 1);
	void *got;
	ck_assert_int_eq(queue_get(&queue, &got, deadline_in_ms(-1000)), 0); /* what is there needs no time */
	ck_assert_int_eq(queue_get(&queue, &got, deadline_in_ms(-1000)), -ETIMEDOUT);
	queue_done(&queue);
	return 0;
}

/* --- the end --- */

LOOP_TEST(a_closed_queue_is_emptied_and_then_broken)
{
	struct visit v[MANY] = {0};
	struct task *t[MANY];
	void *got;
	queue_init(&queue, 2);
	put(50);
	put(51);
	start(put_it, v, t, MANY);
	queue_close(&queue);
	queue_close(&queue);
	for (int i = 0; i < MANY; i++)
		ck_assert_int_eq(task_await(&t[i], DEADLINE_NEVER), -EPIPE);
	ck_assert_int_eq(queue_put_now(&queue, item(1)), -EPIPE);
	ck_assert_int_eq(queue_put(&queue, item(1), DEADLINE_NEVER), -EPIPE);
	ck_assert_int_eq(get(), 50);
	ck_assert_int_eq(queue_get(&queue, &got, DEADLINE_NEVER), 0);
	ck_assert_ptr_eq(got, item(51));
	ck_assert_int_eq(queue_get(&queue, &got, DEADLINE_NEVER), -EPIPE);
	ck_assert_int_eq(get(), -EPIPE);
	queue_done(&queue);
	return 0;
}

LOOP_TEST(close_wakes_the_getters)
{
	struct visit v[MANY] = {0};
	struct task *t[MANY];
	queue_init(&queue, 2);
	start(get_it, v, t, MANY);
	put(10);
	queue_close(&queue);
	ck_assert_int_eq(task_await(&t[0], DEADLINE_NEVER), 10); /* it was on its way */
	for (int i = 1; i < MANY; i++)
		ck_assert_int_eq(task_await(&t[i], DEADLINE_NEVER), -EPIPE);
	queue_done(&queue);
	return 0;
}

/* Closed while an item is on its way to a getter that is cancelled: one of the others takes it before it leaves. */
LOOP_TEST(close_leaves_nothing_behind)
{
	struct visit v[3] = {0};
	struct task *t[3];
	queue_init(&queue, 2);
	start(get_it, v, t, 3);
	put(10);
	task_cancel(t[0]);
	queue_close(&queue);
	ck_assert_int_eq(task_await(&t[0], DEADLINE_NEVER), -ECANCELED);
	ck_assert_int_eq(task_await(&t[1], DEADLINE_NEVER), 10);
	ck_assert_int_eq(task_await(&t[2], DEADLINE_NEVER), -EPIPE);
	ck_assert_int_eq(get(), -EPIPE);
	queue_done(&queue);
	return 0;
}

static int join_it(void *arg)
{
	const struct visit *v = arg;
	return queue_join(&queue, v->by);
}

LOOP_TEST(join_waits_until_all_is_done)
{
	struct visit v[3] = {0};
	struct task *t[3];
	queue_init(&queue, 1);
	ck_assert_int_eq(queue_join(&queue, DEADLINE_NEVER), 0); /* nothing was put */
	ck_assert_int_eq(queue_task_done(&queue), -EPERM);
	put(1);
	start(join_it, v, t, 3);
	task_cancel(t[1]);
	ck_assert_int_eq(task_await(&t[1], DEADLINE_NEVER), -ECANCELED);
	ck_assert_int_eq(get(), 1);
	put(2);
	ck_assert_int_eq(queue_task_done(&queue), 0);
	settle();
	ck_assert(!task_ended(t[0]));
	ck_assert_int_eq(queue_join(&queue, deadline_in_ms(1)), -ETIMEDOUT);
	ck_assert_int_eq(get(), 2);
	ck_assert_int_eq(queue_task_done(&queue), 0);
	ck_assert_int_eq(queue_task_done(&queue), -EPERM);
	ck_assert_int_eq(task_await(&t[0], DEADLINE_NEVER), 0);
	ck_assert_int_eq(task_await(&t[2], DEADLINE_NEVER), 0);
	queue_done(&queue);
	return 0;
}

/* --- hand-over --- */

static int put_many(void *arg)
{
	(void)arg;
	for (int i = 1; i <= 1000; i++)
		ck_assert_int_eq(queue_put(&queue, item(i), DEADLINE_NEVER), 0);
	return 0;
}

static int get_many(void *arg)
{
	uint64_t turns = loop_stats(loop_current()).turns;
	(void)arg;
	for (int i = 1; i <= 1000; i++) {
		void *got;
		ck_assert_int_eq(queue_get(&queue, &got, DEADLINE_NEVER), 0);
		ck_assert_ptr_eq(got, item(i));
	}
	return (int)(loop_stats(loop_current()).turns - turns);
}

LOOP_TEST(a_thousand_hand_overs_take_no_turn_of_the_loop)
{
	queue_init(&queue, 1);
	struct task *getter = spawn(get_many, NULL), *putter = spawn(put_many, NULL);
	uint64_t switches = loop_stats(loop_current()).switches;
	ck_assert_int_eq(task_await(&getter, DEADLINE_NEVER), 0);
	ck_assert_int_eq(task_await(&putter, DEADLINE_NEVER), 0);
	ck_assert_uint_ge(loop_stats(loop_current()).switches - switches, 600); /* some carry two items */
	queue_done(&queue);
	return 0;
}

/* --- the sweep: two putters, three getters, one who waits for the end of it all --- */

enum { ITEMS = 10 };

static struct {
	enum queue_order order;
	int putters;
	bool was_put[ITEMS + 1];
	int got[ITEMS + 1];
} world;

static void set_up(void)
{
	enum queue_order kind = world.order;
	memset(&world, 0, sizeof(world));
	world.order = kind;
	world.putters = 2;
	if (kind == QUEUE_FIFO)
		queue_init(&queue, 2);
	else if (kind == QUEUE_LIFO)
		queue_init_lifo(&queue, 2);
	else
		queue_init_priority(&queue, 2, compare);
}

static int putter(void *arg)
{
	int r = 0;
	for (int n = 1 + (int)(intptr_t)arg % 2; r == 0 && n <= ITEMS; n += 2) {
		point();
		r = queue_put(&queue, item(n), DEADLINE_NEVER);
		world.was_put[n] = r == 0;
		point();
	}
	if (--world.putters == 0)
		queue_close(&queue);
	return leave(r);
}

static int getter(void *arg)
{
	bool slow = (intptr_t)arg % 2;
	int r = 0;
	while (r == 0) {
		void *got;
		point();
		r = queue_get(&queue, &got, DEADLINE_NEVER);
		point();
		if (r < 0)
			break;
		world.got[(intptr_t)got]++;
		if (slow)
			r = task_yield();
		ck_assert_int_eq(queue_task_done(&queue), 0);
	}
	return leave(r == -EPIPE ? 0 : r);
}

static int joiner(void *arg)
{
	(void)arg;
	point();
	int r = queue_join(&queue, DEADLINE_NEVER);
	point();
	return leave(r);
}

static void check(void)
{
	for (int i = 1; i <= ITEMS; i++)
		ck_assert_msg(world.got[i] == world.was_put[i], "item %d: %d", i, world.got[i]);
	ck_assert_uint_eq(queue_count(&queue), 0);
	ck_assert_int_eq(queue_join(&queue, DEADLINE_NEVER), 0);
	ck_assert_uint_eq(queue.unfinished, 0);
	ck_assert_uint_eq(loop_stats(loop_current()).tasks, 1);
	queue_done(&queue);
}

LOOP_TEST(whoever_is_cancelled_no_item_is_lost_or_doubled)
{
	static const task_fn getters_first[] = {getter, getter, getter, putter, putter, joiner};
	static const task_fn putters_first[] = {putter, putter, joiner, getter, getter, getter};
	for (int kind = 0; kind < 3; kind++) {
		world.order = (enum queue_order)kind;
		ck_assert_int_gt(strike_everywhere(getters_first, 6, set_up, check), 40);
		ck_assert_int_gt(strike_everywhere(putters_first, 6, set_up, check), 40);
	}
	return 0;
}

int main(void)
{
	Suite *s = suite_create("queue");
	TCase *c = async_tcase(s, "order");
	tcase_add_test(c, first_in_first_out);
	tcase_add_test(c, last_in_first_out);
	tcase_add_test(c, the_lowest_first_and_equals_in_order);
	tcase_add_test(c, a_heap_is_right_in_every_mixture);
	c = async_tcase(s, "waiting");
	tcase_add_test(c, a_full_queue_lets_putters_in_one_by_one);
	tcase_add_test(c, items_go_to_the_getters_in_order);
	tcase_add_test(c, a_getter_or_putter_that_leaves_leaves_no_hole);
	tcase_add_test(c, an_item_on_its_way_to_a_cancelled_getter_goes_to_the_next);
	tcase_add_test(c, a_shielded_getter_keeps_what_it_gets);
	tcase_add_test(c, items_that_come_back_find_their_place);
	tcase_add_test(c, items_that_come_back_are_ahead_of_waiting_putters);
	tcase_add_test(c, an_item_of_a_cancelled_putter_is_there_once);
	tcase_add_test(c, a_cancelled_task_neither_puts_nor_gets);
	c = async_tcase(s, "end");
	tcase_add_test(c, a_closed_queue_is_emptied_and_then_broken);
	tcase_add_test(c, close_wakes_the_getters);
	tcase_add_test(c, close_leaves_nothing_behind);
	tcase_add_test(c, join_waits_until_all_is_done);
	c = async_tcase(s, "hand-over");
	tcase_add_test(c, a_thousand_hand_overs_take_no_turn_of_the_loop);
	tcase_add_test(c, whoever_is_cancelled_no_item_is_lost_or_doubled);
	return run_suite(s);
}
