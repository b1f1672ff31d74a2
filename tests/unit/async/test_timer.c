/* Timers: order, also of equals; restart and stop from anywhere; ten thousand random ones against a model. */
#include "async/internal.h"
#include "tests/unit/async/async_fixture.h"

struct probe {
	struct timer timer;
	struct timers *timers;
	int fired;
	int fired_as; /* its place in the order of all */
	struct probe *other;
};

static int fired_in_all;

static void note(struct timer *t)
{
	struct probe *p = container_of(t, struct probe, timer);
	p->fired++;
	p->fired_as = ++fired_in_all;
}

static struct timers heap;

static void set_up(void)
{
	timers_init(&heap);
	fired_in_all = 0;
}

static void tear_down(void)
{
	timers_done(&heap);
}

static void probe_init(struct probe *p, void (*fire)(struct timer *t))
{
	*p = (struct probe){.timers = &heap};
	timer_init(&p->timer, fire);
}

static void start(struct probe *p, int64_t at_us)
{
	timer_start(&p->timer, p->timers, (deadline_t){at_us});
}

START_TEST(they_fire_in_the_order_of_their_times)
{
	enum { COUNT = 200 };
	static struct probe p[COUNT];
	uint64_t seed = 1;
	for (int i = 0; i < COUNT; i++) {
		probe_init(&p[i], note);
		start(&p[i], next_random(&seed) % 1000);
	}
	ck_assert(timers_expire(&heap, 1000));
	for (int i = 0; i < COUNT; i++) {
		ck_assert_int_eq(p[i].fired, 1);
		ck_assert(!timer_running(&p[i].timer));
		for (int k = 0; k < COUNT; k++) {
			if (p[i].timer.at.us < p[k].timer.at.us)
				ck_assert_int_lt(p[i].fired_as, p[k].fired_as);
		}
	}
	ck_assert(!timers_expire(&heap, 2000));
	ck_assert_int_eq(timers_next(&heap).us, DEADLINE_NEVER.us);
}
END_TEST

START_TEST(none_fires_early_and_each_fires_once)
{
	struct probe p;
	probe_init(&p, note);
	start(&p, 100);
	ck_assert(!timers_expire(&heap, 99));
	ck_assert_int_eq(p.fired, 0);
	ck_assert(timers_expire(&heap, 100));
	ck_assert(!timers_expire(&heap, 100));
	ck_assert_int_eq(p.fired, 1);
}
END_TEST

/* What fires next of those that run: the earliest time, and of equals the earliest start. */
static int model_next(const int64_t *due, const int *started, int count)
{
	int next = -1;
	for (int i = 0; i < count; i++) {
		if (due[i] == INT64_MAX)
			continue;
		if (next < 0 || due[i] < due[next] || (due[i] == due[next] && started[i] < started[next]))
			next = i;
	}
	return next;
}

/* Few times for many timers, started in any order, some again or never. */
START_TEST(of_the_same_time_the_first_that_was_started_fires_first)
{
	enum { COUNT = 100, STARTS = 400, TIMES = 4 };
	static struct probe p[COUNT];
	int64_t due[COUNT];
	int started[COUNT];
	uint64_t seed = 9;
	for (int round = 0; round < 50; round++) {
		for (int i = 0; i < COUNT; i++) {
			probe_init(&p[i], note);
			due[i] = INT64_MAX;
		}
		for (int k = 0; k < STARTS; k++) {
			uint32_t i = next_random(&seed) % COUNT;
			due[i] = next_random(&seed) % 8 ? 10 + next_random(&seed) % TIMES : INT64_MAX;
			started[i] = k;
			start(&p[i], due[i]);
		}
		int before = fired_in_all;
		ck_assert(timers_expire(&heap, 100));
		for (int next, place = 1; (next = model_next(due, started, COUNT)) >= 0; place++) {
			ck_assert_int_eq(p[next].fired_as, before + place);
			due[next] = INT64_MAX;
		}
		ck_assert_uint_eq(heap.count, 0);
	}
	ck_assert_int_gt(fired_in_all, 50 * COUNT / 2);
}
END_TEST

START_TEST(restart_moves_it_both_ways)
{
	struct probe p, q;
	probe_init(&p, note);
	probe_init(&q, note);
	start(&p, 100);
	start(&q, 200);
	start(&p, 300);
	ck_assert_int_eq(timers_next(&heap).us, 200);
	start(&p, 50);
	ck_assert_int_eq(timers_next(&heap).us, 50);
	timers_expire(&heap, 60);
	ck_assert_int_eq(p.fired, 1);
	ck_assert_int_eq(q.fired, 0);
}
END_TEST

START_TEST(stop_is_idempotent_and_never_means_stop)
{
	struct probe p;
	probe_init(&p, note);
	timer_stop(&p.timer, &heap);
	start(&p, 100);
	timer_stop(&p.timer, &heap);
	timer_stop(&p.timer, &heap);
	start(&p, 100);
	timer_start(&p.timer, &heap, DEADLINE_NEVER);
	ck_assert(!timer_running(&p.timer));
	ck_assert(!timers_expire(&heap, INT64_MAX - 1));
	ck_assert_int_eq(p.fired, 0);
}
END_TEST

static void stop_the_other(struct timer *t)
{
	struct probe *p = container_of(t, struct probe, timer);
	note(t);
	timer_stop(t, p->timers);
	timer_stop(&p->other->timer, p->timers);
}

START_TEST(one_that_is_due_too_is_stopped_by_a_callback)
{
	struct probe p, q, r;
	probe_init(&p, stop_the_other);
	probe_init(&q, note);
	probe_init(&r, note);
	p.other = &q;
	start(&p, 10);
	start(&q, 20);
	start(&r, 30);
	timers_expire(&heap, 100);
	ck_assert_int_eq(p.fired, 1);
	ck_assert_int_eq(q.fired, 0);
	ck_assert_int_eq(r.fired, 1);
}
END_TEST

static void restart_in_the_past(struct timer *t)
{
	struct probe *p = container_of(t, struct probe, timer);
	note(t);
	start(p, 1);
}

/* Restarted in the past it fires in the next round, and the others have theirs in this one. */
START_TEST(restart_in_the_past_waits_for_the_next_turn)
{
	struct probe p, q, r;
	probe_init(&p, restart_in_the_past);
	probe_init(&q, note);
	probe_init(&r, restart_in_the_past);
	start(&p, 10);
	start(&q, 20);
	start(&r, 15);
	timers_expire(&heap, 100);
	ck_assert_int_eq(p.fired, 1);
	ck_assert_int_eq(q.fired, 1);
	ck_assert_int_eq(r.fired, 1);
	timers_expire(&heap, 200);
	ck_assert_int_eq(p.fired, 2);
	ck_assert_int_eq(q.fired, 1);
	ck_assert_int_eq(r.fired, 2);
}
END_TEST

static void start_the_other(struct timer *t)
{
	struct probe *p = container_of(t, struct probe, timer);
	note(t);
	start(p->other, 50);
}

START_TEST(a_callback_starts_another)
{
	struct probe p, q;
	probe_init(&p, start_the_other);
	probe_init(&q, note);
	p.other = &q;
	start(&p, 10);
	timers_expire(&heap, 20);
	ck_assert_int_eq(q.fired, 0);
	timers_expire(&heap, 60);
	ck_assert_int_eq(q.fired, 1);
}
END_TEST

static void start_both_in_the_past(struct timer *t)
{
	struct probe *p = container_of(t, struct probe, timer);
	start(p->other, 7);
	start(p, 3);
}

/* They all fire in the next turn: then the order of the starts is that of the calls. */
START_TEST(those_that_are_started_in_the_past_keep_their_order)
{
	struct probe first, second;
	probe_init(&first, start_both_in_the_past);
	probe_init(&second, note);
	first.other = &second;
	start(&first, 10);
	timers_expire(&heap, 20);
	ck_assert_int_eq(second.fired, 0);
	first.timer.fire = note;
	timers_expire(&heap, 30);
	ck_assert_int_eq(second.fired_as, 1);
	ck_assert_int_eq(first.fired_as, 2);
}
END_TEST

START_TEST(what_is_left_until_the_beginning_of_time_is_nothing)
{
	ck_assert_int_eq(deadline_left_us((deadline_t){INT64_MIN}), 0);
	ck_assert_int_eq(deadline_left_us(deadline_in_ms(INT64_MIN)), 0);
	ck_assert_int_eq(deadline_left_us(DEADLINE_NEVER), INT64_MAX);
	ck_assert_int_gt(deadline_left_us((deadline_t){INT64_MAX - 1}), INT64_MAX / 2);
}
END_TEST

enum { MODEL = 300, MODEL_ROUNDS = 10000 };

static void check_the_heap(size_t running)
{
	ck_assert_uint_eq(heap.count, running);
	for (size_t i = 1; i <= heap.count; i++) {
		ck_assert_uint_eq(heap.heap[i].timer->slot, i);
		if (i > 1)
			ck_assert_int_le(heap.heap[i / 2].at_us, heap.heap[i].at_us);
	}
}

/* What the model says must have fired by now_us has, and nothing else. */
static size_t compare(struct probe *p, int64_t *due, int *fired, int64_t now_us)
{
	size_t running = 0;
	for (int i = 0; i < MODEL; i++) {
		if (due[i] <= now_us) {
			fired[i]++;
			due[i] = INT64_MAX;
		}
		ck_assert_int_eq(p[i].fired, fired[i]);
		ck_assert_int_eq(timer_running(&p[i].timer), due[i] != INT64_MAX);
		running += due[i] != INT64_MAX;
	}
	return running;
}

START_TEST(ten_thousand_random_starts_and_stops_agree_with_a_model)
{
	static struct probe p[MODEL];
	static int64_t due[MODEL];
	static int fired[MODEL];
	uint64_t seed = 42;
	int64_t now_us = 1000;
	for (int i = 0; i < MODEL; i++) {
		probe_init(&p[i], note);
		due[i] = INT64_MAX;
	}
	for (int round = 0; round < MODEL_ROUNDS; round++) {
		uint32_t i = next_random(&seed) % MODEL;
		if (next_random(&seed) % 3) {
			due[i] = now_us + next_random(&seed) % 500 - 20;
			start(&p[i], due[i]);
		} else {
			due[i] = INT64_MAX;
			timer_stop(&p[i].timer, &heap);
		}
		if (round % 10 == 0) {
			now_us += next_random(&seed) % 40;
			timers_expire(&heap, now_us);
			check_the_heap(compare(p, due, fired, now_us));
		}
	}
	ck_assert_int_gt(fired_in_all, 1000);
}
END_TEST

/* On a loop, by the clock. */
struct clocked {
	struct timer timer;
	deadline_t wanted;
	int64_t fired_us;
	int *left;
};

static void note_the_clock(struct timer *t)
{
	struct clocked *c = container_of(t, struct clocked, timer);
	c->fired_us = monotonic_us();
	if (--*c->left == 0)
		loop_stop(loop_current());
}

START_TEST(a_loop_fires_them_on_time)
{
	enum { COUNT = 20 };
	struct clocked c[COUNT];
	int left = COUNT;
	struct loop *l;
	ck_assert_int_eq(loop_new(&l), 0);
	for (int i = 0; i < COUNT; i++) {
		c[i] = (struct clocked){.wanted = deadline_in_us(i * 1700 - 2000), .left = &left};
		timer_init(&c[i].timer, note_the_clock);
		timer_start(&c[i].timer, loop_timers(l), c[i].wanted);
	}
	loop_run(l);
	loop_free(l);
	for (int i = 0; i < COUNT; i++) {
		ck_assert_int_ge(c[i].fired_us, c[i].wanted.us);
		if (i > 0)
			ck_assert_int_ge(c[i].fired_us, c[i - 1].fired_us);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("timer");
	TCase *c = async_tcase(s, "timer");
	tcase_add_checked_fixture(c, set_up, tear_down);
	tcase_add_test(c, they_fire_in_the_order_of_their_times);
	tcase_add_test(c, none_fires_early_and_each_fires_once);
	tcase_add_test(c, of_the_same_time_the_first_that_was_started_fires_first);
	tcase_add_test(c, restart_moves_it_both_ways);
	tcase_add_test(c, stop_is_idempotent_and_never_means_stop);
	tcase_add_test(c, one_that_is_due_too_is_stopped_by_a_callback);
	tcase_add_test(c, restart_in_the_past_waits_for_the_next_turn);
	tcase_add_test(c, a_callback_starts_another);
	tcase_add_test(c, those_that_are_started_in_the_past_keep_their_order);
	tcase_add_test(c, what_is_left_until_the_beginning_of_time_is_nothing);
	tcase_add_test(c, ten_thousand_random_starts_and_stops_agree_with_a_model);
	tcase_add_test(c, a_loop_fires_them_on_time);
	return run_suite(s);
}
