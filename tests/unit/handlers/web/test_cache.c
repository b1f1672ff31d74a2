/* The cache: fresh, stale and expired values, fetches that are shared over loops, those who leave, the bound. */
#include "handlers/web/cache.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "async/run.h"
#include "tests/unit/async/async_fixture.h"

static const struct config_cache lasting = {.ttl_us = 3600000000};
static const struct config_cache nothing = {.ttl_us = 1};

static struct cached *value_of(const char *text)
{
	return cached_new(text, strlen(text), NULL, 0);
}

static bool has(struct cache *c, const char *key)
{
	struct cached *v = cache_find_old(c, key, strlen(key));
	cached_drop(v);
	return v != NULL;
}

/* Put a value in, as a fetch that nobody shares. */
static void put(struct cache *c, const char *key, const char *text, size_t len)
{
	struct cached *v;
	struct flight *f;
	struct flight_wait *w;
	struct error e;
	ck_assert_int_eq(cache_look(c, key, strlen(key), &nothing, &v, &f, &w), CACHE_FETCH);
	flight_end(f, cached_new(text, len, NULL, 0), true, 0, NULL);
	ck_assert_int_eq(flight_await(w, &v, NULL, &e), 0);
	cached_drop(v);
}

/* --- one who asks --- */

LOOP_TEST(a_value_is_fresh_then_stale_then_gone)
{
	const struct config_cache policy = {.ttl_us = 500000, .stale_us = 500000};
	struct cache *c = cache_new(1 << 20);
	struct cached *v, *stale;
	struct flight *f, *again;
	struct flight_wait *w, *wait;
	struct error e;
	ck_assert_ptr_null(cache_find(c, "k", 1, &policy));
	ck_assert_int_eq(cache_look(c, "k", 1, &policy, &v, &f, &w), CACHE_FETCH);
	ck_assert_ptr_null(v);
	flight_end(f, value_of("one"), true, 0, NULL);
	ck_assert_int_eq(flight_await(w, &v, NULL, &e), 0);
	ck_assert_str_eq(v->text, "one");
	cached_drop(v);

	ck_assert_int_eq(cache_look(c, "k", 1, &policy, &v, &f, &w), CACHE_FRESH);
	ck_assert(!f && !w);
	ck_assert_str_eq(v->text, "one");
	cached_drop(v);

	ck_assert_int_eq(task_sleep_ms(550), 0);
	ck_assert_ptr_null(cache_find(c, "k", 1, &policy));
	ck_assert_int_eq(cache_look(c, "k", 1, &policy, &v, &f, &w), CACHE_STALE);
	ck_assert(f && !w);
	ck_assert_int_eq(cache_look(c, "k", 1, &policy, &stale, &again, &wait), CACHE_STALE);
	ck_assert(!again && !wait); /* one fetches already */
	ck_assert_ptr_eq(stale, v);
	cached_drop(stale);

	ck_assert_int_eq(task_sleep_ms(550), 0);
	ck_assert_int_eq(cache_look(c, "k", 1, &policy, &stale, &again, &wait), CACHE_WAIT);
	ck_assert(!again && wait && !stale);
	flight_end(f, value_of("two"), true, 0, NULL);
	ck_assert_int_eq(flight_await(wait, &stale, NULL, &e), 0);
	ck_assert_str_eq(stale->text, "two");
	ck_assert_str_eq(v->text, "one"); /* who has it, keeps it */
	cached_drop(stale);
	cached_drop(v);
	v = cache_find(c, "k", 1, &policy);
	ck_assert_str_eq(v->text, "two");
	cached_drop(v);
	cache_free(c);
	return 0;
}

LOOP_TEST(keys_are_bytes)
{
	struct cache *c = cache_new(1 << 20);
	char key[24];
	for (int i = 0; i < 3000; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		put(c, key, key, strlen(key));
	}
	for (int i = 0; i < 3000; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		struct cached *v = cache_find(c, key, strlen(key), &lasting);
		ck_assert_str_eq(v->text, key);
		cached_drop(v);
	}
	ck_assert_ptr_null(cache_find_old(c, "k1\0", 3));
	ck_assert_ptr_null(cache_find_old(c, "", 0));
	cache_free(c);
	return 0;
}

LOOP_TEST(what_is_not_to_be_kept_is_handed_over_only)
{
	struct cache *c = cache_new(1 << 20);
	struct cached *v;
	struct flight *f;
	struct flight_wait *w;
	struct error e;
	ck_assert_int_eq(cache_look(c, "k", 1, &lasting, &v, &f, &w), CACHE_FETCH);
	flight_end(f, value_of("x"), false, 0, NULL);
	ck_assert_int_eq(flight_await(w, &v, NULL, &e), 0);
	ck_assert_str_eq(v->text, "x");
	cached_drop(v);
	ck_assert(!has(c, "k"));
	cache_free(c);
	return 0;
}

LOOP_TEST(a_failure_leaves_the_old_value)
{
	struct cache *c = cache_new(1 << 20);
	struct cached *v;
	struct flight *f;
	struct flight_wait *w;
	struct error e, got;
	put(c, "k", "old", 3);
	ck_assert_int_eq(task_sleep_ms(1), 0);
	ck_assert_int_eq(cache_look(c, "k", 1, &nothing, &v, &f, &w), CACHE_FETCH);
	error_set(&e, -ECONNREFUSED, 503, "public", "what");
	flight_end(f, NULL, true, -ECONNREFUSED, &e);
	ck_assert_int_eq(flight_await(w, &v, NULL, &got), -ECONNREFUSED);
	ck_assert_int_eq(got.status, 503);
	ck_assert_str_eq(got.what, "what");
	v = cache_find_old(c, "k", 1);
	ck_assert_str_eq(v->text, "old");
	cached_drop(v);
	cache_free(c);
	return 0;
}

/* --- the bound --- */

enum { SHARDS = 16, LARGE = 1000 };

LOOP_TEST(the_least_recently_used_go_first)
{
	static const char large[LARGE];
	struct cache *c = cache_new(SHARDS * 8 * LARGE);
	char key[24];
	put(c, "mine", large, LARGE);
	for (int i = 0; i < 2000; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		put(c, key, large, LARGE);
		ck_assert_msg(has(c, "mine"), "after %d others", i); /* for it is used each time */
	}
	int kept = 0;
	for (int i = 0; i < 2000; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		kept += has(c, key);
	}
	ck_assert_int_gt(kept, SHARDS * 5);
	ck_assert_int_le(kept, SHARDS * 8);
	ck_assert(has(c, "k1999"));
	ck_assert(!has(c, "k0"));
	cache_free(c);
	return 0;
}

LOOP_TEST(what_is_too_large_is_not_kept_and_pushes_nothing_out)
{
	static const char large[20 * LARGE];
	struct cache *c = cache_new(SHARDS * 8 * LARGE);
	char key[24];
	for (int i = 0; i < 32; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		put(c, key, "x", 1);
		snprintf(key, sizeof(key), "large%d", i);
		put(c, key, large, sizeof(large));
		ck_assert(!has(c, key));
	}
	for (int i = 0; i < 32; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		ck_assert(has(c, key));
	}
	cache_free(c);
	return 0;
}

LOOP_TEST(a_smaller_bound_holds_at_once)
{
	static const char large[LARGE];
	struct cache *c = cache_new(SHARDS * 8 * LARGE);
	char key[24];
	for (int i = 0; i < SHARDS * 4; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		put(c, key, large, LARGE);
	}
	cache_resize(c, SHARDS * 2 * LARGE);
	int kept = 0;
	for (int i = 0; i < SHARDS * 4; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		kept += has(c, key);
	}
	ck_assert_int_gt(kept, 0);
	ck_assert_int_le(kept, SHARDS * 2);
	cache_resize(c, SHARDS * 8 * LARGE);
	put(c, "k", large, LARGE);
	ck_assert(has(c, "k"));
	cache_free(c);
	return 0;
}

LOOP_TEST(without_memory_nothing_is_kept)
{
	struct cache *c = cache_new(0);
	put(c, "k", "x", 1);
	ck_assert(!has(c, "k"));
	put(c, "k", "x", 1);
	cache_free(c);
	return 0;
}

/* An entry that is being fetched stays, and its flight with it, whatever is pushed out around it. */
LOOP_TEST(what_is_being_fetched_is_not_pushed_out)
{
	static const char large[LARGE];
	struct cache *c = cache_new(SHARDS * 2 * LARGE);
	struct cached *v;
	struct flight *f;
	struct flight_wait *w;
	struct error e;
	char key[24];
	put(c, "k", "old", 3);
	ck_assert_int_eq(task_sleep_ms(1), 0);
	ck_assert_int_eq(cache_look(c, "k", 1, &nothing, &v, &f, &w), CACHE_FETCH);
	for (int i = 0; i < 200; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		put(c, key, large, LARGE);
	}
	ck_assert(has(c, "k"));
	flight_end(f, value_of("new"), true, 0, NULL);
	ck_assert_int_eq(flight_await(w, &v, NULL, &e), 0);
	cached_drop(v);
	v = cache_find_old(c, "k", 1);
	ck_assert_str_eq(v->text, "new");
	cached_drop(v);
	cache_free(c);
	return 0;
}

/* --- flights --- */

/* A key that several want: who begins the flight spawns a fetch that ends when it is told, or is cancelled. */
struct wanted {
	struct cache *cache;
	struct config_cache policy;
	int64_t fetch_ms;
	int fails; /* -errno, or 0 */
	atomic_int fetches, ended, cancelled;
};

struct fetch {
	struct wanted *wanted;
	struct flight *flight;
};

static int fetch(void *arg)
{
	struct fetch *f = arg;
	struct wanted *wanted = f->wanted;
	struct error e = ERROR_INIT;
	int r = task_sleep_ms(wanted->fetch_ms);
	if (r == -ECANCELED)
		wanted->cancelled++;
	else
		r = wanted->fails;
	if (r < 0)
		error_set(&e, r, 502, NULL, "fetch %d", wanted->fetches);
	flight_end(f->flight, r == 0 ? value_of("fetched") : NULL, true, r, &e);
	wanted->ended++;
	free(f);
	return 0;
}

static void spawn_fetch(struct wanted *wanted, struct flight *flight)
{
	struct fetch *f = malloc(sizeof(*f));
	struct task *t;
	*f = (struct fetch){wanted, flight};
	wanted->fetches++;
	ck_assert_int_eq(task_spawn(&t, fetch, f, NULL), 0);
	flight_task(flight, t);
	task_detach(t);
}

/* Returns 0 where the value came. */
static int want(void *arg)
{
	struct wanted *wanted = arg;
	struct cached *v;
	struct flight *f;
	struct flight_wait *w;
	struct error e = ERROR_INIT;
	int r = 0;
	enum cache_state state = cache_look(wanted->cache, "k", 1, &wanted->policy, &v, &f, &w);
	if (f)
		spawn_fetch(wanted, f);
	if (w)
		r = flight_await(w, &v, NULL, &e);
	ck_assert(w || state == CACHE_FRESH || state == CACHE_STALE);
	if (r == 0) {
		ck_assert_str_eq(v->text, "fetched");
		cached_drop(v);
	} else if (r != -ECANCELED && r != -ETIMEDOUT) {
		ck_assert_int_eq(e.errnum, r);
		ck_assert_int_eq(e.status, 502);
	}
	return r;
}

static struct wanted wanted_new(int64_t fetch_ms)
{
	return (struct wanted){.cache = cache_new(1 << 20), .policy = lasting, .fetch_ms = fetch_ms};
}

LOOP_TEST(all_who_come_meanwhile_share_one_fetch)
{
	enum { COUNT = 50 };
	struct wanted wanted = wanted_new(5);
	struct task *t[COUNT];
	for (int i = 0; i < COUNT; i++)
		t[i] = spawn(want, &wanted);
	for (int i = 0; i < COUNT; i++)
		ck_assert_int_eq(join(t[i]), 0);
	ck_assert_int_eq(wanted.fetches, 1);
	ck_assert_int_eq(want(&wanted), 0); /* from the cache */
	ck_assert_int_eq(wanted.fetches, 1);
	cache_free(wanted.cache);
	return 0;
}

LOOP_TEST(all_who_wait_get_the_error_and_the_next_one_tries_again)
{
	enum { COUNT = 10 };
	struct wanted wanted = wanted_new(5);
	struct task *t[COUNT];
	wanted.fails = -EPIPE;
	for (int i = 0; i < COUNT; i++)
		t[i] = spawn(want, &wanted);
	for (int i = 0; i < COUNT; i++)
		ck_assert_int_eq(join(t[i]), -EPIPE);
	ck_assert_int_eq(wanted.fetches, 1);
	wanted.fails = 0;
	ck_assert_int_eq(want(&wanted), 0);
	ck_assert_int_eq(wanted.fetches, 2);
	cache_free(wanted.cache);
	return 0;
}

LOOP_TEST(one_who_leaves_leaves_the_others_waiting)
{
	struct wanted wanted = wanted_new(10);
	struct task *first = spawn(want, &wanted), *second_one = spawn(want, &wanted), *third = spawn(want, &wanted);
	settle();
	task_cancel(first); /* who began the flight */
	task_cancel(third);
	ck_assert_int_eq(join(first), -ECANCELED);
	ck_assert_int_eq(join(third), -ECANCELED);
	ck_assert_int_eq(join(second_one), 0);
	ck_assert_int_eq(wanted.fetches, 1);
	ck_assert_int_eq(wanted.cancelled, 0);
	cache_free(wanted.cache);
	return 0;
}

LOOP_TEST(the_last_one_to_leave_cancels_the_fetch)
{
	struct wanted wanted = wanted_new(30000);
	struct task *first = spawn(want, &wanted), *other = spawn(want, &wanted);
	settle();
	task_cancel(first);
	settle();
	ck_assert_int_eq(wanted.ended, 0);
	task_cancel(other);
	ck_assert_int_eq(join(first), -ECANCELED);
	ck_assert_int_eq(join(other), -ECANCELED);
	settle();
	ck_assert_int_eq(wanted.cancelled, 1);
	ck_assert_int_eq(wanted.ended, 1);
	wanted.fetch_ms = 1;
	ck_assert_int_eq(want(&wanted), 0); /* with a fetch of its own */
	ck_assert_int_eq(wanted.fetches, 2);
	cache_free(wanted.cache);
	return 0;
}

/* Between the last one's leaving and the end of the fetch another one comes: it does not join what is cancelled. */
LOOP_TEST(a_flight_that_is_given_up_is_not_joined)
{
	struct wanted wanted = wanted_new(20);
	struct task *first = spawn(want, &wanted);
	settle();
	task_cancel(first);
	struct task *other = spawn(want, &wanted);
	ck_assert_int_eq(join(first), -ECANCELED);
	ck_assert_int_eq(join(other), 0);
	ck_assert_int_eq(wanted.fetches, 2);
	ck_assert_int_eq(wanted.cancelled, 1);
	cache_free(wanted.cache);
	return 0;
}

static int want_soon(void *arg)
{
	deadline_t before = deadline_push(deadline_in_ms(2));
	int r = want(arg);
	deadline_pop(before);
	return r;
}

LOOP_TEST(a_deadline_is_a_way_to_leave)
{
	struct wanted wanted = wanted_new(20);
	struct task *hasty = spawn(want_soon, &wanted), *patient = spawn(want, &wanted);
	ck_assert_int_eq(join(hasty), -ETIMEDOUT);
	ck_assert_int_eq(join(patient), 0);
	cache_free(wanted.cache);
	return 0;
}

/* Nobody waits for a fetch that replaces a stale value: it goes on all the same. */
LOOP_TEST(a_stale_value_is_fetched_anew_behind_its_back)
{
	struct wanted wanted = wanted_new(5);
	wanted.policy = (struct config_cache){.ttl_us = 1000, .stale_us = 60000000};
	ck_assert_int_eq(want(&wanted), 0);
	ck_assert_int_eq(task_sleep_ms(3), 0);
	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(want(&wanted), 0);
	ck_assert_int_eq(wanted.ended, 1);
	ck_assert_int_eq(wanted.fetches, 2);
	ck_assert_int_eq(task_sleep_ms(20), 0);
	ck_assert_int_eq(wanted.ended, 2);
	ck_assert_int_eq(wanted.cancelled, 0);
	cache_free(wanted.cache);
	return 0;
}

/* The fetch may have failed before anybody waits: where no task could be spawned. */
LOOP_TEST(a_flight_may_end_before_it_is_awaited)
{
	struct wanted wanted = wanted_new(0);
	struct cached *v;
	struct flight *f;
	struct flight_wait *w, *other;
	struct error e, got;
	struct flight *none;
	ck_assert_int_eq(cache_look(wanted.cache, "k", 1, &lasting, &v, &f, &w), CACHE_FETCH);
	ck_assert_int_eq(cache_look(wanted.cache, "k", 1, &lasting, &v, &none, &other), CACHE_WAIT);
	error_set(&e, -EAGAIN, 503, NULL, "no stack");
	flight_end(f, NULL, false, -EAGAIN, &e);
	ck_assert_int_eq(flight_await(w, &v, NULL, &got), -EAGAIN);
	ck_assert_int_eq(flight_await(other, &v, NULL, &got), -EAGAIN);
	ck_assert_int_eq(got.status, 503);
	cache_free(wanted.cache);
	return 0;
}

/* Cancel the one who began the flight, and another, at every moment: each time all is as it should be at the end. */
LOOP_TEST(leaving_at_every_moment)
{
	for (int moment = 0; moment < 30; moment++) {
		struct wanted wanted = wanted_new(1);
		struct task *t[3];
		for (int i = 0; i < 3; i++)
			t[i] = spawn(want, &wanted);
		for (int i = 0; i < moment; i++)
			ck_assert_int_eq(task_sleep(deadline_in_us(80)), 0);
		task_cancel(t[moment % 3]);
		task_cancel(t[(moment + 1) % 3]);
		for (int i = 0; i < 3; i++) {
			int r = join(t[i]);
			ck_assert(r == 0 || r == -ECANCELED);
		}
		while (wanted.ended < wanted.fetches)
			ck_assert_int_eq(task_sleep_ms(1), 0);
		cache_free(wanted.cache);
	}
	return 0;
}

/* --- over threads --- */

enum { THREADS = 4, TASKS = 20 };

struct crowd {
	struct wanted *wanted;
	pthread_barrier_t *barrier;
	unsigned seed;
	int expected; /* of all of them; 1: whatever comes */
};

static int crowd_main(void *arg)
{
	struct crowd *crowd = arg;
	struct task *t[TASKS];
	pthread_barrier_wait(crowd->barrier);
	for (int i = 0; i < TASKS; i++)
		t[i] = spawn(want, crowd->wanted);
	for (int i = 0; i < TASKS; i++)
		ck_assert_int_eq(join(t[i]), crowd->expected);
	return 0;
}

static void *crowd_thread(void *arg)
{
	ck_assert_int_eq(loop_run_main(crowd_main, arg), 0);
	return NULL;
}

static void run_crowds(struct wanted *wanted, void *(*thread)(void *), int expected)
{
	struct crowd crowds[THREADS];
	pthread_t threads[THREADS];
	pthread_barrier_t barrier;
	pthread_barrier_init(&barrier, NULL, THREADS);
	for (unsigned i = 0; i < THREADS; i++) {
		crowds[i] = (struct crowd){wanted, &barrier, i, expected};
		pthread_create(&threads[i], NULL, thread, &crowds[i]);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&barrier);
}

START_TEST(one_fetch_serves_all_loops)
{
	struct wanted wanted = wanted_new(100);
	run_crowds(&wanted, crowd_thread, 0);
	ck_assert_int_eq(wanted.fetches, 1);
	cache_free(wanted.cache);
}
END_TEST

START_TEST(an_error_reaches_all_loops)
{
	struct wanted wanted = wanted_new(100);
	wanted.fails = -EPIPE;
	run_crowds(&wanted, crowd_thread, -EPIPE);
	ck_assert_int_eq(wanted.fetches, 1);
	cache_free(wanted.cache);
}
END_TEST

/* Everybody comes and goes at random, over and over, on a key that is hardly ever fresh. */
static int restless_main(void *arg)
{
	struct crowd *crowd = arg;
	uint64_t state = crowd->seed;
	pthread_barrier_wait(crowd->barrier);
	for (int round = 0; round < SLOWER(150); round++) {
		struct task *t[TASKS];
		for (int i = 0; i < TASKS; i++)
			t[i] = spawn(want, crowd->wanted);
		for (int i = 0; i < TASKS; i++) {
			if (next_random(&state) % 4 == 0)
				ck_assert_int_eq(task_sleep(deadline_in_us(next_random(&state) % 100)), 0);
			if (next_random(&state) % 8 != 0)
				task_cancel(t[i]);
		}
		for (int i = 0; i < TASKS; i++) {
			int r = join(t[i]);
			ck_assert(r == 0 || r == -ECANCELED);
		}
	}
	return 0;
}

static void *restless_thread(void *arg)
{
	ck_assert_int_eq(loop_run_main(restless_main, arg), 0);
	return NULL;
}

START_TEST(coming_and_going_on_all_loops)
{
	struct wanted wanted = wanted_new(0);
	wanted.policy = (struct config_cache){.ttl_us = 20, .stale_us = 20};
	run_crowds(&wanted, restless_thread, 0);
	ck_assert_int_gt(wanted.fetches, THREADS);
	ck_assert_int_eq(wanted.ended, wanted.fetches);
	cache_free(wanted.cache);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cache");
	TCase *c = async_tcase(s, "values");
	tcase_add_test(c, a_value_is_fresh_then_stale_then_gone);
	tcase_add_test(c, keys_are_bytes);
	tcase_add_test(c, what_is_not_to_be_kept_is_handed_over_only);
	tcase_add_test(c, a_failure_leaves_the_old_value);
	c = async_tcase(s, "bound");
	tcase_add_test(c, the_least_recently_used_go_first);
	tcase_add_test(c, what_is_too_large_is_not_kept_and_pushes_nothing_out);
	tcase_add_test(c, a_smaller_bound_holds_at_once);
	tcase_add_test(c, without_memory_nothing_is_kept);
	tcase_add_test(c, what_is_being_fetched_is_not_pushed_out);
	c = async_tcase(s, "flights");
	tcase_add_test(c, all_who_come_meanwhile_share_one_fetch);
	tcase_add_test(c, all_who_wait_get_the_error_and_the_next_one_tries_again);
	tcase_add_test(c, one_who_leaves_leaves_the_others_waiting);
	tcase_add_test(c, the_last_one_to_leave_cancels_the_fetch);
	tcase_add_test(c, a_flight_that_is_given_up_is_not_joined);
	tcase_add_test(c, a_deadline_is_a_way_to_leave);
	tcase_add_test(c, a_stale_value_is_fetched_anew_behind_its_back);
	tcase_add_test(c, a_flight_may_end_before_it_is_awaited);
	tcase_add_test(c, leaving_at_every_moment);
	c = async_tcase(s, "threads");
	tcase_add_test(c, one_fetch_serves_all_loops);
	tcase_add_test(c, an_error_reaches_all_loops);
	tcase_add_test(c, coming_and_going_on_all_loops);
	return run_suite(s);
}
