/* Task-local values: inherited, copied, dropped once, when nobody sees them any more. */
#include "async/local.h"

#include "async/event.h"
#include "async/gather.h"
#include "async/internal.h"
#include "tests/unit/async/async_fixture.h"

enum { VALUES = 64 };

static int dropped[VALUES];

static void drop(void *value)
{
	dropped[(intptr_t)value]++;
}

static const struct task_local request = {"request", drop}, trace = {"trace", drop}, plain = {"plain", NULL};
static struct event go;

static void begin(void)
{
	for (int i = 0; i < VALUES; i++)
		dropped[i] = 0;
	event_init(&go);
}

static void set(const struct task_local *key, int value)
{
	ck_assert_int_eq(task_local_set(key, (void *)(intptr_t)value), 0);
}

static int get(const struct task_local *key)
{
	return (int)(intptr_t)task_local_get(key);
}

static int total_dropped(void)
{
	int total = 0;
	for (int i = 0; i < VALUES; i++) {
		ck_assert_int_le(dropped[i], 1);
		total += dropped[i];
	}
	return total;
}

static int sets_some(void *arg)
{
	(void)arg;
	ck_assert_ptr_null(task_local_get(&request));
	set(&request, 1);
	set(&trace, 2);
	set(&plain, 3);
	ck_assert_int_eq(get(&request), 1);
	ck_assert_int_eq(get(&trace), 2);
	ck_assert_int_eq(get(&plain), 3);
	set(&trace, 4);
	ck_assert_int_eq(dropped[2], 1); /* nobody else had it */
	ck_assert_int_eq(get(&request), 1);
	ck_assert_int_eq(get(&trace), 4);
	set(&plain, 0); /* none */
	ck_assert_ptr_null(task_local_get(&plain));
	ck_assert_int_eq(total_dropped(), 1);
	set(&trace, 0);
	set(&trace, 5);
	ck_assert_int_eq(dropped[4], 1);
	ck_assert_int_eq(total_dropped(), 2); /* none is not dropped */
	return 0;
}

LOOP_TEST(values_are_a_tasks_own_and_end_with_it)
{
	begin();
	struct task *t = spawn(sets_some, NULL);
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), 0);
	ck_assert_ptr_null(task_local_get(&request));
	ck_assert_int_eq(dropped[1], 1);
	ck_assert_int_eq(dropped[5], 1);
	ck_assert_int_eq(total_dropped(), 4); /* what has no function is not dropped */
	ck_assert_ptr_null(loop_current()->running->locals);
	return 0;
}

/* A child sees what was there when it was spawned, and what it sets itself. */
static int child(void *arg)
{
	ck_assert_int_eq(get(&request), 1);
	ck_assert_int_eq(get(&trace), 2);
	set(&trace, (int)(intptr_t)arg);
	int r = event_wait(&go, DEADLINE_NEVER);
	ck_assert_int_eq(get(&request), 1);
	ck_assert_int_eq(get(&trace), (int)(intptr_t)arg);
	return r;
}

LOOP_TEST(a_child_has_a_copy)
{
	begin();
	set(&request, 1);
	set(&trace, 2);
	struct task *a = spawn(child, (void *)10), *b = spawn(child, (void *)11);
	set(&request, 3); /* after the spawn: they do not see it */
	set(&trace, 4);
	ck_assert_int_eq(task_yield(), 0);
	ck_assert_int_eq(get(&request), 3);
	ck_assert_int_eq(get(&trace), 4);
	ck_assert_ptr_eq(task_local_of(a, &trace), (void *)10);
	ck_assert_ptr_eq(task_local_of(b, &trace), (void *)11);
	ck_assert_ptr_eq(task_local_of(b, &request), (void *)1);
	ck_assert_ptr_null(task_local_of(b, &plain));
	ck_assert_int_eq(total_dropped(), 1);
	ck_assert_int_eq(dropped[2], 1); /* both have set another one */
	event_set(&go);
	ck_assert_int_eq(task_await(&a, DEADLINE_NEVER), 0);
	ck_assert_int_eq(dropped[10], 1);
	ck_assert_int_eq(dropped[1], 0);
	ck_assert_int_eq(task_await(&b, DEADLINE_NEVER), 0);
	ck_assert_int_eq(dropped[1], 1);
	ck_assert_int_eq(total_dropped(), 4);
	set(&request, 0);
	set(&trace, 0);
	ck_assert_int_eq(total_dropped(), 6);
	return 0;
}

/* The value outlives the task that set it, as long as a grandchild sees it. */
static int grandchild(void *arg)
{
	(void)arg;
	int r = event_wait(&go, DEADLINE_NEVER);
	ck_assert_int_eq(get(&request), 5);
	return r;
}

static int parent(void *arg)
{
	set(&request, 5);
	return task_spawn(arg, grandchild, NULL, NULL);
}

LOOP_TEST(the_last_who_sees_a_value_ends_it)
{
	struct task *last;
	begin();
	struct task *t = spawn(parent, &last);
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), 0);
	ck_assert_int_eq(task_yield(), 0);
	ck_assert_int_eq(total_dropped(), 0);
	event_set(&go);
	ck_assert_int_eq(task_await(&last, DEADLINE_NEVER), 0);
	ck_assert_int_eq(dropped[5], 1);
	ck_assert_int_eq(total_dropped(), 1);
	return 0;
}

static int has_five(void *arg)
{
	(void)arg;
	return get(&request);
}

static int gathers(void *arg)
{
	struct gather g;
	(void)arg;
	set(&request, 5);
	gather_init(&g, GATHER_ALL);
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(gather_add(&g, NULL, has_five, NULL), i);
	int r = gather_wait(&g, DEADLINE_NEVER);
	for (unsigned i = 0; i < 20; i++)
		ck_assert_int_eq(gather_result(&g, i), 5);
	gather_done(&g);
	return r;
}

LOOP_TEST(gathered_and_detached_tasks_inherit_and_drop)
{
	begin();
	struct task *t = spawn(gathers, NULL);
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), 0);
	ck_assert_int_eq(dropped[5], 1);
	set(&request, 6);
	ck_assert_int_eq(task_spawn(NULL, has_five, NULL, &(struct task_options){.detached = true}), 0);
	set(&request, 0);
	ck_assert_int_eq(dropped[6], 0);
	settle();
	ck_assert_int_eq(dropped[6], 1);
	return 0;
}

/* A copy is the tasks' own: it outlives the text that it was made of, the task that set it, and other values that were
 * set beside it. */
static int reads_the_copy(void *arg)
{
	(void)arg;
	int r = event_wait(&go, DEADLINE_NEVER);
	ck_assert_str_eq(task_local_get(&plain), "a text");
	ck_assert_int_eq(get(&request), 1);
	set(&request, 2);
	set(&trace, 3);
	set(&request, 4);
	ck_assert_str_eq(task_local_get(&plain), "a text");
	ck_assert_int_eq(task_local_set_copy(&plain, "", 1), 0);
	ck_assert_str_eq(task_local_get(&plain), "");
	ck_assert_int_eq(get(&request), 4);
	ck_assert_int_eq(get(&trace), 3);
	return r;
}

static int sets_a_copy(void *arg)
{
	char text[] = "a text";
	ck_assert_int_eq(task_local_set_copy(&plain, text, sizeof(text)), 0);
	memset(text, 'x', sizeof(text));
	set(&request, 1);
	int r = task_spawn(arg, reads_the_copy, NULL, NULL);
	ck_assert_str_eq(task_local_get(&plain), "a text");
	ck_assert_int_eq(task_local_set_copy(&plain, "another", 8), 0);
	set(&plain, 0);
	return r;
}

LOOP_TEST(a_copy_lives_as_long_as_somebody_sees_it)
{
	struct task *last;
	begin();
	struct task *t = spawn(sets_a_copy, &last);
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), 0);
	event_set(&go);
	ck_assert_int_eq(task_await(&last, DEADLINE_NEVER), 0);
	for (int i = 1; i <= 4; i++)
		ck_assert_int_eq(dropped[i], 1);
	ck_assert_int_eq(total_dropped(), 4);
	return 0;
}

static void outside(struct timer *t)
{
	struct task *spawned;
	(void)t;
	ck_assert_int_eq(task_local_set(&request, (void *)7), -EPERM);
	ck_assert_int_eq(task_local_set_copy(&plain, "", 1), -EPERM);
	ck_assert_ptr_null(task_local_get(&request));
	ck_assert_int_eq(task_spawn(&spawned, has_five, NULL, NULL), 0);
	ck_assert_ptr_null(task_local_of(spawned, &request));
	task_detach(spawned);
	dropped[0] = 1;
}

LOOP_TEST(outside_of_tasks_there_is_none)
{
	struct timer timer;
	begin();
	set(&request, 8);
	timer_init(&timer, outside);
	timer_start(&timer, loop_timers(loop_current()), deadline_in_us(0));
	ck_assert_int_eq(task_sleep_ms(1), 0);
	ck_assert_int_eq(dropped[0], 1);
	ck_assert_int_eq(dropped[7], 0);
	return 0;
}

START_TEST(no_loop_no_value)
{
	ck_assert_ptr_null(task_local_get(&request));
	ck_assert_int_eq(task_local_set(&request, NULL), -EPERM);
}
END_TEST

/* Setting again and again, with children alive that share the values, does not grow anything. */
static int waits(void *arg)
{
	(void)arg;
	return event_wait(&go, DEADLINE_NEVER);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { ROUNDS = 10000, GROWTH_KIB = 64 * 1024 }; /* what was freed stays for a while */
#else
enum { ROUNDS = 200000, GROWTH_KIB = 1024 };
#endif

LOOP_TEST(setting_often_leaves_nothing_behind)
{
	static struct task *t[16];
	static const struct task_local counter = {"counter", NULL};
	begin();
	long before_kib = 0;
	for (int i = 0; i < ROUNDS; i++) {
		struct task **slot = &t[i % 16];
		if (*slot) {
			task_cancel(*slot);
			ck_assert_int_eq(task_await(slot, DEADLINE_NEVER), -ECANCELED);
		}
		set(&counter, i + 1);
		*slot = spawn(waits, NULL);
		if (i == ROUNDS / 4)
			before_kib = resident_kib();
	}
	ck_assert_uint_eq(loop_stats(loop_current()).tasks, 17);
	ck_assert_int_lt(resident_kib() - before_kib, GROWTH_KIB);
	event_set(&go);
	for (int i = 0; i < 16; i++) {
		ck_assert_int_eq((int)(intptr_t)task_local_of(t[i], &counter), ROUNDS - 16 + i + 1);
		ck_assert_int_eq(task_await(&t[i], DEADLINE_NEVER), 0);
	}
	return 0;
}

int main(void)
{
	Suite *s = suite_create("local");
	TCase *c = async_tcase(s, "local");
	tcase_add_test(c, values_are_a_tasks_own_and_end_with_it);
	tcase_add_test(c, a_child_has_a_copy);
	tcase_add_test(c, the_last_who_sees_a_value_ends_it);
	tcase_add_test(c, gathered_and_detached_tasks_inherit_and_drop);
	tcase_add_test(c, a_copy_lives_as_long_as_somebody_sees_it);
	tcase_add_test(c, outside_of_tasks_there_is_none);
	tcase_add_test(c, no_loop_no_value);
	tcase_add_test(c, setting_often_leaves_nothing_behind);
	return run_suite(s);
}
