/* Operations in a gather: they end beside tasks, are looked at in time, are cancelled, and are seen in the task table.
 */
#include "async/operation.h"

#include <string.h>

#include "async/call.h"
#include "async/gather.h"
#include "async/timer.h"
#include "tests/unit/async/async_fixture.h"

/* It completes when its timer fires, or when it is looked at after its time. */
struct nap {
	struct operation operation;
	struct timer timer;
	int64_t late_us; /* INT64_MAX: never */
	unsigned looks, cancels;
};

static struct nap *nap_of(struct operation *op)
{
	return container_of(op, struct nap, operation);
}

static void look(struct operation *op)
{
	struct nap *n = nap_of(op);

	n->looks++;
	op->look_at.us = n->late_us;
	if (deadline_passed(op->look_at))
		operation_complete(op);
}

static void cancel(struct operation *op)
{
	struct nap *n = nap_of(op);

	n->cancels++;
	timer_stop(&n->timer, loop_timers(loop_current()));
}

static void describe(const struct operation *op, struct buf *out)
{
	buf_printf(out, "a nap (%s)", op->look_at.us == INT64_MAX ? "long" : "short");
}

static const struct operation_kind naps = {.look = look, .cancel = cancel, .describe = describe};

static void fire(struct timer *t)
{
	operation_complete(&container_of(t, struct nap, timer)->operation);
}

static void begin(struct nap *n, int64_t ms, int64_t late_us)
{
	*n = (struct nap){.operation = {.kind = &naps, .look_at = {late_us}}, .late_us = late_us};
	timer_init(&n->timer, fire);
	if (ms >= 0)
		timer_start(&n->timer, loop_timers(loop_current()), deadline_in_ms(ms));
}

static int fails(void *arg)
{
	(void)arg;
	return -EIO;
}

static int sleep_long(void *arg)
{
	(void)arg;
	return task_sleep_ms(60000);
}

LOOP_TEST(they_end_beside_tasks)
{
	struct nap first, second;
	struct gather g;

	gather_init(&g, GATHER_FAIL_FAST);
	begin(&second, 20, INT64_MAX);
	begin(&first, 0, INT64_MAX);
	ck_assert_int_eq(gather_add_operation(&g, "second", &second.operation, &second), 0);
	ck_assert_int_eq(gather_add_operation(&g, "first", &first.operation, &first), 1);
	ck_assert_int_eq(gather_next(&g, DEADLINE_NEVER), 1);
	ck_assert_ptr_eq(gather_arg(&g, 1), &first);
	ck_assert_ptr_null(first.operation.completed);
	ck_assert_int_eq(gather_result(&g, 1), 0);
	ck_assert_int_eq(gather_result(&g, 0), -EINPROGRESS);
	ck_assert_int_eq(gather_next(&g, DEADLINE_NEVER), 0);
	ck_assert_int_eq(gather_next(&g, DEADLINE_NEVER), -ENOENT);
	gather_done(&g);
	ck_assert_uint_eq(first.cancels + second.cancels + first.looks + second.looks, 0);
	return 0;
}

LOOP_TEST(it_is_looked_at_when_it_wants)
{
	struct nap n;
	struct gather g;

	gather_init(&g, GATHER_ALL);
	begin(&n, -1, deadline_in_ms(30).us);
	n.operation.look_at = deadline_in_ms(2); /* too early: it says so, and is looked at again */
	ck_assert_int_eq(gather_add_operation(&g, "late", &n.operation, NULL), 0);
	ck_assert_int_eq(gather_wait(&g, DEADLINE_NEVER), 0);
	ck_assert_uint_ge(n.looks, 1);
	ck_assert_int_ge(monotonic_us(), n.late_us);
	gather_done(&g);
	ck_assert_uint_eq(n.cancels, 0);
	return 0;
}

LOOP_TEST(the_wait_ends_by_its_own_deadline)
{
	struct nap n;
	struct gather g;

	gather_init(&g, GATHER_ALL);
	begin(&n, -1, INT64_MAX);
	ck_assert_int_eq(gather_add_operation(&g, "never", &n.operation, NULL), 0);
	ck_assert_int_eq(gather_next(&g, deadline_in_ms(2)), -ETIMEDOUT);
	deadline_t before = deadline_push(deadline_in_ms(2));
	ck_assert_int_eq(gather_wait(&g, DEADLINE_NEVER), -ETIMEDOUT);
	deadline_pop(before);
	ck_assert_int_eq(gather_result(&g, 0), -EINPROGRESS);
	gather_done(&g);
	ck_assert_uint_eq(n.cancels, 1);
	return 0;
}

LOOP_TEST(the_failure_of_a_task_cancels_them)
{
	struct nap n;
	struct gather g;

	gather_init(&g, GATHER_FAIL_FAST);
	begin(&n, -1, INT64_MAX);
	ck_assert_int_eq(gather_add_operation(&g, "cancelled", &n.operation, NULL), 0);
	ck_assert_int_eq(gather_add(&g, "fails", fails, NULL), 1);
	ck_assert_int_eq(gather_wait(&g, DEADLINE_NEVER), -EIO);
	ck_assert_uint_eq(n.cancels, 1);
	ck_assert_int_eq(gather_result(&g, 0), -ECANCELED);
	struct nap refused;
	begin(&refused, -1, INT64_MAX);
	ck_assert_int_eq(gather_add_operation(&g, "refused", &refused.operation, NULL), -ECANCELED);
	gather_done(&g);
	ck_assert_uint_eq(n.cancels, 1);
	ck_assert_uint_eq(refused.cancels, 0);
	return 0;
}

static int gather_forever(void *arg)
{
	struct nap *n = arg;
	struct gather g;

	gather_init(&g, GATHER_ALL);
	begin(n, -1, INT64_MAX);
	ck_assert_int_eq(gather_add_operation(&g, "nap", &n->operation, NULL), 0);
	ck_assert_int_eq(gather_add(&g, "sleeper", sleep_long, NULL), 1);
	int r = gather_wait(&g, DEADLINE_NEVER);
	ck_assert_uint_eq(n->cancels, 0);
	gather_done(&g);
	return r;
}

LOOP_TEST(cancelling_the_one_who_gathers_cancels_them)
{
	struct nap n;
	struct task *t;

	ck_assert_int_eq(task_spawn(&t, gather_forever, &n, NULL), 0);
	ck_assert_int_eq(task_yield(), 0);
	task_cancel(t);
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), -ECANCELED);
	ck_assert_uint_eq(n.cancels, 1);
	return 0;
}

struct seen {
	uint64_t ids[8];
	unsigned count;
	struct buf awaits; /* of "nap" */
	const char *owner;
};

static void see(void *arg, const struct task *t, const struct task_info *info)
{
	struct seen *s = arg;

	s->ids[s->count++] = info->id;
	if (strcmp(info->name, "nap") != 0)
		return;
	ck_assert_int_eq(info->state, TASK_WAITING);
	ck_assert_int_ge(info->since_us, info->born_us);
	s->owner = task_name(t);
	task_awaits(t, info, &s->awaits);
}

LOOP_TEST(the_task_table_has_them)
{
	static const struct task_options options = {.name = "gatherer"};
	struct seen seen = {0};
	struct nap n;
	struct task *t;

	ck_assert_int_eq(task_spawn(&t, gather_forever, &n, &options), 0);
	ck_assert_int_eq(task_yield(), 0);
	ck_assert_uint_eq(loop_each_task(loop_current(), 8, see, &seen), 4);
	ck_assert_uint_eq(seen.count, 4); /* this one, the gatherer, its nap, its sleeper */
	ck_assert_str_eq(seen.owner, "gatherer");
	ck_assert_str_eq(buf_cstr(&seen.awaits), "a nap (long)");
	for (unsigned i = 0; i < seen.count; i++)
		for (unsigned j = 0; j < i; j++)
			ck_assert_uint_ne(seen.ids[i], seen.ids[j]);
	buf_done(&seen.awaits);
	seen = (struct seen){0};
	ck_assert_uint_eq(loop_each_task(loop_current(), 2, see, &seen), 4); /* two are left out */
	ck_assert_uint_eq(seen.count, 2);
	task_cancel(t);
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), -ECANCELED);
	return 0;
}

int main(void)
{
	Suite *s = suite_create("operations");
	TCase *c = async_tcase(s, "operations");

	tcase_add_test(c, they_end_beside_tasks);
	tcase_add_test(c, it_is_looked_at_when_it_wants);
	tcase_add_test(c, the_wait_ends_by_its_own_deadline);
	tcase_add_test(c, the_failure_of_a_task_cancels_them);
	tcase_add_test(c, cancelling_the_one_who_gathers_cancels_them);
	tcase_add_test(c, the_task_table_has_them);
	return run_suite(s);
}
