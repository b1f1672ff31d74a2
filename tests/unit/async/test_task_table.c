/* The task table, awaits that could never end, failures that nobody reads, and tens of thousands of tasks. */
#include <limits.h>
#include <string.h>

#include "async/future.h"
#include "async/gather.h"
#include "async/run.h"
#include "tests/unit/async/async_fixture.h"

static int return_arg(void *arg)
{
	return (int)(intptr_t)arg;
}

static int sleeper(void *arg)
{
	return task_sleep_ms((intptr_t)arg);
}

static int await_it(void *arg)
{
	return task_await(arg, DEADLINE_NEVER);
}

static int await_until_cancelled(void *arg)
{
	int r = task_await(arg, DEADLINE_NEVER);
	return r == -ECANCELED ? 0 : r;
}

/* --- the table --- */

struct table {
	struct task_info rows[16];
	unsigned count;
};

static void add_row(void *arg, const struct task *t, const struct task_info *info)
{
	struct table *table = arg;
	ck_assert_uint_lt(table->count, ARRAY_SIZE(table->rows));
	ck_assert_uint_eq(task_id(t), info->id);
	ck_assert_str_eq(task_name(t), info->name);
	table->rows[table->count++] = *info;
}

static struct table look_at(unsigned most)
{
	struct table table = {.count = 0};
	loop_each_task(loop_current(), most, add_row, &table);
	return table;
}

static struct table look(void)
{
	return look_at(UINT_MAX);
}

static const struct task_info *row_of(const struct table *table, const char *name)
{
	for (unsigned i = 0; i < table->count; i++) {
		if (strcmp(table->rows[i].name, name) == 0)
			return &table->rows[i];
	}
	ck_abort_msg("no task %s", name);
}

static struct task *spawn_named(const char *name, task_fn fn, void *arg)
{
	struct task *t;
	ck_assert_int_eq(task_spawn(&t, fn, arg, &(struct task_options){.name = name}), 0);
	return t;
}

static int await_future(void *arg)
{
	return future_await(arg, DEADLINE_NEVER);
}

LOOP_TEST(each_task_says_what_it_awaits)
{
	struct future future;
	future_init(&future);
	int64_t before_us = monotonic_us();
	struct task *sleeping = spawn_named("sleeping", sleeper, (void *)60000);
	struct task *awaiting = spawn_named("awaiting", await_until_cancelled, &sleeping);
	struct task *promised = spawn_named("promised", await_future, &future);
	struct task *over = spawn_named("over", return_arg, (void *)7);
	ck_assert_int_eq(task_yield(), 0);
	struct task *fresh = spawn_named("fresh", return_arg, NULL);
	task_cancel(fresh);
	int64_t after_us = monotonic_us();

	struct table table = look();
	ck_assert_uint_eq(table.count, 6);
	ck_assert_str_eq(table.rows[0].name, "main"); /* the oldest */
	ck_assert_int_eq(table.rows[0].state, TASK_RUNNING);
	ck_assert_ptr_null(table.rows[0].awaits);
	const struct task_info *s = row_of(&table, "sleeping");
	ck_assert_int_eq(s->state, TASK_WAITING);
	ck_assert_str_eq(s->awaits, "sleep");
	ck_assert_uint_eq(s->awaits_id, 0);
	ck_assert_int_ge(s->since_us, s->born_us);
	ck_assert_int_le(s->since_us, after_us);
	ck_assert_int_ge(s->born_us, before_us - 1000000); /* as of the turn */
	const struct task_info *a = row_of(&table, "awaiting");
	ck_assert_str_eq(a->awaits, "a task's end");
	ck_assert_uint_eq(a->awaits_id, s->id);
	ck_assert_str_eq(row_of(&table, "promised")->awaits, "a future");
	ck_assert_int_eq(row_of(&table, "over")->state, TASK_ENDED);
	ck_assert_ptr_null(row_of(&table, "over")->awaits);
	ck_assert_int_eq(row_of(&table, "fresh")->state, TASK_READY);
	ck_assert_str_eq(row_of(&table, "fresh")->awaits, "its turn");
	ck_assert(row_of(&table, "fresh")->cancelled && !s->cancelled && !s->detached);

	table = look_at(2);
	ck_assert_uint_eq(table.count, 2);
	ck_assert_str_eq(table.rows[1].name, "sleeping"); /* the next oldest */
	ck_assert_uint_eq(look_at(0).count, 0);
	ck_assert_uint_eq(loop_stats(loop_current()).tasks, 6);

	future_resolve(&future, 3);
	task_cancel(awaiting);
	ck_assert_int_eq(task_await(&awaiting, DEADLINE_NEVER), 0);
	task_cancel(sleeping);
	ck_assert_int_eq(task_await(&sleeping, DEADLINE_NEVER), -ECANCELED);
	ck_assert_int_eq(task_await(&promised, DEADLINE_NEVER), 3);
	ck_assert_int_eq(task_await(&over, DEADLINE_NEVER), 7);
	ck_assert_int_eq(task_await(&fresh, DEADLINE_NEVER), 0);
	ck_assert_uint_eq(look().count, 1);
	return 0;
}

static int note_id(void *arg)
{
	*(uint64_t *)arg = task_id(task_self());
	return 0;
}

/* Neither in a loop nor from loop to loop is a number used twice. */
START_TEST(no_two_tasks_have_the_same_number)
{
	uint64_t first = 0, second = 0;
	ck_assert_int_eq(loop_run_main(note_id, &first), 0);
	ck_assert_int_eq(loop_run_main(note_id, &second), 0);
	ck_assert_uint_ne(first, 0);
	ck_assert_uint_ne(first, second);
	ck_assert_uint_lt(second, (uint64_t)1 << 53);
}
END_TEST

/* --- awaits that could never end --- */

static int await_own_end(void *arg)
{
	struct task *own = task_self();
	(void)arg;
	int r = task_await(&own, DEADLINE_NEVER);
	ck_assert_ptr_eq(own, task_self());
	return r;
}

enum { RING = 5 };
static struct task *ring[RING];

/* Each awaits the next one; the last to do so closes the ring and is refused. */
static int await_next(void *arg)
{
	struct task **next = &ring[((intptr_t)arg + 1) % RING];
	int r = task_await(next, DEADLINE_NEVER);
	return *next ? r : r * 10; /* it was freed: a result */
}

LOOP_TEST(a_ring_of_awaits_is_refused)
{
	struct task *own = spawn(await_own_end, NULL);
	ck_assert_int_eq(task_await(&own, DEADLINE_NEVER), -EDEADLK);
	for (intptr_t i = 0; i < RING; i++)
		ring[i] = spawn(await_next, (void *)i);
	settle();
	/* The last was refused and has ended, which ended those before it, one by one; nobody has awaited the first. */
	for (int i = 1; i < RING; i++)
		ck_assert_ptr_null(ring[i]);
	ck_assert_int_eq(task_await(&ring[0], DEADLINE_NEVER), -EDEADLK * 10000);
	return 0;
}

/* A child ends before the owner of its gather does: to await that one, or somebody who does, would never end. */
static int own_a_gather(void *arg)
{
	(void)arg;
	struct gather g;
	struct task *self = task_self(), *own = self;
	gather_init(&g, GATHER_ALL);
	ck_assert_int_eq(gather_add(&g, "child", await_it, &own), 0);
	struct task *between = spawn(await_it, &self);
	ck_assert_int_eq(gather_add(&g, "over another", await_it, &between), 1);
	ck_assert_int_eq(gather_wait(&g, deadline_in_ms(20000)), 0);
	ck_assert_int_eq(gather_result(&g, 0), -EDEADLK);
	ck_assert_int_eq(gather_result(&g, 1), -EDEADLK);
	gather_done(&g);
	ck_assert_int_eq(task_await(&between, DEADLINE_NEVER), -EDEADLK); /* it awaits this task */
	task_cancel(between);
	ck_assert_int_eq(task_await(&between, DEADLINE_NEVER), -ECANCELED);
	return 0;
}

static struct task *later;

static int await_later(void *arg)
{
	(void)arg;
	int r = task_yield();
	return r < 0 ? r : task_await(&later, DEADLINE_NEVER);
}

static int leave_a_child(void *arg)
{
	gather_init(arg, GATHER_ALL);
	return gather_add(arg, "child", await_later, NULL);
}

/* The owner's memory is another task's now: that one may be awaited. */
LOOP_TEST(a_gather_outlives_its_owner)
{
	struct gather g;
	struct task *owner = spawn(leave_a_child, &g), *at = owner;
	ck_assert_int_eq(task_await(&owner, DEADLINE_NEVER), 0);
	later = spawn(sleeper, (void *)1);
	ck_assert_ptr_eq(later, at);
	ck_assert_int_eq(gather_wait(&g, DEADLINE_NEVER), 0);
	ck_assert_int_eq(gather_result(&g, 0), 0);
	ck_assert_ptr_null(later);
	gather_done(&g);
	return 0;
}

LOOP_TEST(a_child_does_not_await_the_owner_of_its_gather)
{
	struct task *owner = spawn(own_a_gather, NULL);
	while (!task_ended(owner)) /* nobody else awaits it */
		ck_assert_int_eq(task_yield(), 0);
	ck_assert_int_eq(task_await(&owner, DEADLINE_NEVER), 0);
	return 0;
}

/* Awaiting another task from a child is as good as from anywhere. */
LOOP_TEST(a_child_awaits_a_task_of_its_owner)
{
	struct gather g;
	struct task *t = spawn(return_arg, (void *)4);
	gather_init(&g, GATHER_FAIL_FAST);
	ck_assert_int_eq(gather_add(&g, "child", await_it, &t), 0);
	ck_assert_int_eq(gather_wait(&g, DEADLINE_NEVER), 0);
	ck_assert_int_eq(gather_result(&g, 0), 4);
	gather_done(&g);
	return 0;
}

LOOP_TEST(a_task_is_awaited_by_one_and_not_when_detached)
{
	struct task *t = spawn(sleeper, (void *)60000), *same = t;
	struct task *first = spawn(await_it, &t);
	settle();
	ck_assert_int_eq(task_await(&same, DEADLINE_NEVER), -EBUSY);
	ck_assert_ptr_eq(same, t);
	/* One that gives up makes room. */
	task_cancel(first);
	ck_assert_int_eq(task_await(&first, DEADLINE_NEVER), -ECANCELED);
	ck_assert_int_eq(task_await(&same, deadline_in_ms(1)), -ETIMEDOUT);
	task_cancel(t);
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), -ECANCELED);

	/* It has ended, and the one that awaits it has not run yet. */
	struct task *one = spawn(await_it, &t);
	t = same = spawn(return_arg, (void *)8);
	struct task *two = spawn(await_it, &same);
	settle();
	ck_assert_int_eq(task_await(&one, DEADLINE_NEVER), 8);
	ck_assert_int_eq(task_await(&two, DEADLINE_NEVER), -EBUSY);

	struct task *detached;
	ck_assert_int_eq(task_spawn(&detached, sleeper, (void *)1, &(struct task_options){.detached = true}), 0);
	ck_assert_int_eq(task_await(&detached, DEADLINE_NEVER), -EINVAL);
	return 0;
}

/* --- failures that nobody reads --- */

static struct {
	char names[64];
	int sum;
} lost;

static void note_lost(const char *name, uint64_t id, int result)
{
	ck_assert_uint_ne(id, 0);
	ck_assert_uint_lt(strlen(lost.names) + strlen(name) + 2, sizeof(lost.names));
	strcat(strcat(lost.names, name), " ");
	lost.sum += result;
}

static void spawn_to_end(const char *name, int result, const struct task_options *options)
{
	struct task_options o = options ? *options : (struct task_options){.detached = true};
	o.name = name;
	ck_assert_int_eq(task_spawn(NULL, return_arg, (void *)(intptr_t)result, &o), 0);
}

static void take_result(void *arg, int result)
{
	*(int *)arg = result;
}

static int lose_some(void *arg)
{
	int taken = 0;
	(void)arg;
	spawn_to_end("a", -EIO, NULL);
	spawn_to_end("well", 5, NULL);
	spawn_to_end("cancelled", -ECANCELED, NULL);
	spawn_to_end("told", -EPIPE, &(struct task_options){.ended = take_result, .ended_arg = &taken});
	struct task *early = spawn_named("b", return_arg, (void *)-ENOENT);
	task_detach(early);
	struct task *late = spawn_named("c", return_arg, (void *)-EACCES);
	struct task *read = spawn_named("read", return_arg, (void *)-EACCES);
	struct task *left = spawn_named("d", return_arg, (void *)-ENOSPC);
	settle();
	ck_assert(task_ended(left));
	ck_assert_int_eq(task_await(&read, DEADLINE_NEVER), -EACCES);
	ck_assert_str_eq(lost.names, "a b ");
	task_detach(late);
	ck_assert_str_eq(lost.names, "a b c ");
	ck_assert_int_eq(taken, -EPIPE);
	(void)spawn_named("interrupted", sleeper, (void *)60000);
	return 0;
}

START_TEST(a_failure_that_nobody_reads_is_reported_once)
{
	task_on_lost_failure(note_lost);
	ck_assert_int_eq(loop_run_main(lose_some, NULL), 0);
	ck_assert_str_eq(lost.names, "a b c d ");
	ck_assert_int_eq(lost.sum, -EIO - ENOENT - EACCES - ENOSPC);
	task_on_lost_failure(NULL);
}
END_TEST

/* --- many --- */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { MANY = 3000, MANY_KIB = 4 * 1024 * 1024 }; /* TSan has few fibers, both their own bookkeeping */
#else
enum { MANY = 30000, MANY_KIB = 500 * 1024 };
#endif

/* A guarded stack takes two of the mappings that a process may have. */
static int as_many_as_fit(void)
{
	long limit = 0;
	FILE *f = fopen("/proc/sys/vm/max_map_count", "r");
	if (f && fscanf(f, "%ld", &limit) != 1)
		limit = 0;
	if (f)
		fclose(f);
	long fit = (limit - 2000) / 2;
	ck_assert_int_gt(fit, 1000);
	return fit < MANY ? (int)fit : MANY;
}

static void count_sleeping(void *arg, const struct task *t, const struct task_info *info)
{
	(void)t;
	*(int *)arg += info->state == TASK_WAITING && strcmp(info->awaits, "sleep") == 0;
}

LOOP_TEST(tens_of_thousands_sleep_and_are_cancelled)
{
	static struct task *t[MANY];
	int count = as_many_as_fit(), sleeping = 0;
	long before_kib = resident_kib();
	for (int i = 0; i < count; i++)
		t[i] = spawn(sleeper, (void *)(intptr_t)(i % 2 ? 1 : 600000));
	for (int i = 1; i < count; i += 2)
		ck_assert_int_eq(task_await(&t[i], DEADLINE_NEVER), 0);
	loop_each_task(loop_current(), UINT_MAX, count_sleeping, &sleeping);
	ck_assert_int_eq(sleeping, (count + 1) / 2);
	for (int i = 1; i < count; i += 2)
		t[i] = spawn(sleeper, (void *)600000);
	while (sleeping < count) {
		ck_assert_int_eq(task_yield(), 0);
		sleeping = 0;
		loop_each_task(loop_current(), UINT_MAX, count_sleeping, &sleeping);
	}
	ck_assert_int_lt(resident_kib() - before_kib, MANY_KIB);
	for (int i = 0; i < count; i++)
		task_cancel(t[i]);
	for (int i = 0; i < count; i++)
		ck_assert_int_eq(task_await(&t[i], DEADLINE_NEVER), -ECANCELED);
	ck_assert_uint_eq(loop_stats(loop_current()).tasks, 1);
	return 0;
}

static void count_down(void *arg, int result)
{
	*(int *)arg -= result;
}

/* More tasks end by themselves than stacks are kept: the last one to end stands on a stack that is to be unmapped. */
LOOP_TEST(more_detached_tasks_than_stacks_are_kept)
{
	int left = as_many_as_fit() < 10000 ? as_many_as_fit() : 10000;
	int count = left;
	for (int i = 0; i < count; i++)
		ck_assert_int_eq(task_spawn(NULL, return_arg, (void *)1,
					    &(struct task_options){.ended = count_down, .ended_arg = &left}),
				 0);
	while (left > 0)
		ck_assert_int_eq(task_yield(), 0);
	ck_assert_uint_eq(loop_stats(loop_current()).tasks, 1);
	return 0;
}

int main(void)
{
	Suite *s = suite_create("task table");
	TCase *c = async_tcase(s, "task table");
	tcase_add_test(c, each_task_says_what_it_awaits);
	tcase_add_test(c, no_two_tasks_have_the_same_number);
	tcase_add_test(c, a_ring_of_awaits_is_refused);
	tcase_add_test(c, a_child_does_not_await_the_owner_of_its_gather);
	tcase_add_test(c, a_gather_outlives_its_owner);
	tcase_add_test(c, a_child_awaits_a_task_of_its_owner);
	tcase_add_test(c, a_task_is_awaited_by_one_and_not_when_detached);
	tcase_add_test(c, a_failure_that_nobody_reads_is_reported_once);
	tcase_add_test(c, tens_of_thousands_sleep_and_are_cancelled);
	tcase_add_test(c, more_detached_tasks_than_stacks_are_kept);
	return run_suite(s);
}
