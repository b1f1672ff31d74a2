/* Scopes of handlers: whatever is left in one, and whenever its task is cancelled, its end gives everything back. */
#include "async/executor.h"
#include "async/internal.h"
#include "handlers/module/internal.h"
#include "tests/unit/async_fixture.h"

#include <string.h>

static struct config_semaphore declared[] = {{.name = "two", .permits = 2, .max_waiting = 100}};
static struct config config = {.semaphores = declared, .semaphore_count = 1};
static struct shared_semaphore permits;
static struct module_env env = {.config = &config, .semaphores = &permits, .workers = 1};

static int open_cursors, opened_cursors, cleaned;

static void set_up(void)
{
	shared_semaphore_init(&permits, 2, 100);
	ck_assert_int_eq(executor_new(&env.executor, 2, 100), 0);
	open_cursors = opened_cursors = cleaned = 0;
}

static void tear_down(void)
{
	executor_free(env.executor);
	shared_semaphore_done(&permits);
}

/* --- cursors that count --- */

struct counting {
	struct gd_cursor cursor;
	int left;
};

static int next_number(struct gd_cursor *c, struct value *out, struct error *e)
{
	struct counting *counting = container_of(c, struct counting, cursor);
	int r = task_yield();
	if (r < 0)
		return r;
	*out = value_int(counting->left);
	if (counting->left == 13)
		return error_set(e, -EIO, 502, NULL, "thirteen");
	return counting->left-- > 0;
}

static void close_counting(struct gd_cursor *c)
{
	(void)c;
	ck_assert_int_eq(task_yield(), 0); /* shielded */
	open_cursors--;
}

static gd_cursor *count_down(int from)
{
	static const struct cursor_ops ops = {.next = next_number, .close = close_counting};
	struct gd_scope *s = scope_here(__func__);
	struct counting *c = arena_zalloc(s->arena, sizeof(*c));
	c->left = from;
	cursor_open(&c->cursor, s, &ops);
	open_cursors++;
	opened_cursors++;
	return &c->cursor;
}

LOOP_TEST(a_cursor_is_closed_once_by_whoever_is_first)
{
	struct gd_scope s;
	int64_t sum = 0;
	gd_value *v;
	set_up();
	scope_open(&s, &env, NULL, NULL);
	gd_cursor *whole = count_down(4), *half = count_down(4), *bad = count_down(15);
	count_down(9); /* left */
	while ((v = gd_next(whole)))
		sum += v->v.integer;
	ck_assert_int_eq(sum, 10);
	ck_assert_ptr_null(gd_next(whole));
	ck_assert_int_eq(open_cursors, 3);
	ck_assert_int_eq(gd_next(half)->v.integer, 4);
	gd_close(half);
	gd_close(half);
	ck_assert_ptr_null(gd_next(half));
	ck_assert_int_eq(open_cursors, 2);
	ck_assert_int_eq(gd_failed(gd_next(bad)), 0);
	ck_assert_int_eq(gd_failed(gd_next(bad)), 0);
	ck_assert_int_eq(gd_failed(gd_next(bad)), -EIO);
	ck_assert_ptr_null(gd_next(bad)); /* a loop that does not look ends */
	ck_assert_int_eq(open_cursors, 1);
	ck_assert_int_eq(s.error.errnum, -EIO);
	scope_close(&s);
	ck_assert_int_eq(open_cursors, 0);
	tear_down();
	return 0;
}

/* --- calls --- */

static struct config_source shop = {.name = "shop", .kind = SOURCE_POSTGRES, .longest_us = 1000};

static int seven(struct call *c)
{
	int r = task_yield();
	c->value = value_int(7);
	return r;
}

static int refused(struct call *c)
{
	return error_set(&c->error, -EACCES, 403, "No.", "refused");
}

static gd_value *call(gd_gather *g, const char *source, call_fn *fn)
{
	gd_value *failed;
	struct call *c = call_new(sizeof(*c), __func__, source, SOURCE_POSTGRES, &failed);
	return c ? call_start(c, g, "call", fn) : failed;
}

LOOP_TEST(a_call_is_awaited_or_a_child)
{
	struct gd_scope s;
	struct client *client = NULL;
	config.sources = &shop;
	config.source_count = 1;
	env.clients = &client;
	set_up();
	ck_assert_ptr_null(call(NULL, "shop", seven)); /* in no scope */
	scope_open(&s, &env, NULL, NULL);
	ck_assert_int_eq(call(NULL, "shop", seven)->v.integer, 7);
	ck_assert_int_eq(gd_failed(call(NULL, "chop", seven)), -EINVAL);
	ck_assert_int_eq(gd_failed(call(NULL, "shop", refused)), -EACCES);
	ck_assert_int_eq(s.error.status, 403);
	gd_gather *g = gd_gather_new(GD_ALL);
	gd_value *a = call(g, "shop", seven), *b = call(g, "shop", refused);
	ck_assert_int_eq(gd_failed(a), -EINPROGRESS);
	ck_assert_int_eq(gd_gather_wait(g, GD_NEVER), 0);
	ck_assert_int_eq(a->v.integer, 7);
	ck_assert_int_eq(gd_failed(b), -EACCES);
	ck_assert_ptr_eq(gd_gather_value(g, 0), a);
	ck_assert_int_eq(gd_gather_result(g, 1), -EACCES);
	gd_gather *fast = gd_gather_new(GD_FAIL_FAST);
	a = call(fast, "shop", seven);
	b = call(fast, "shop", refused);
	ck_assert_int_eq(gd_gather_wait(fast, GD_NEVER), -EACCES);
	b = call(fast, "shop", seven);
	ck_assert_int_eq(s.error.errnum, -EACCES); /* what was cancelled for it is not the reason */
	ck_assert_int_eq(gd_failed(a), -ECANCELED);
	ck_assert_int_eq(gd_failed(b), -ECANCELED);
	scope_close(&s);
	tear_down();
	config.source_count = 0;
	return 0;
}

/* --- the sweep --- */

static int nap(void *arg)
{
	(void)arg;
	return gd_sleep(1);
}

static int use_permit(void *arg)
{
	gd_semaphore *two = gd_semaphore_named("two");
	(void)arg;
	int r = gd_acquire(two, GD_NEVER);
	if (r < 0)
		return r;
	r = gd_yield();
	return r < 0 ? r : gd_release(two); /* cancelled, it forgets the permit */
}

static int spawn_more(void *arg)
{
	gd_scope *s = gd_scope_begin();
	gd_task *t = gd_spawn("more", nap, arg);
	gd_cursor *c = count_down(5);
	int r = 0;
	for (gd_value *v; (v = gd_next(c));)
		r = gd_failed(v);
	r = r < 0 ? r : gd_await(t, GD_NEVER);
	if (r >= 0) /* else it is forgotten */
		gd_scope_end(s);
	return r;
}

/* Cleans up for a while, and starts another task for it. */
static int clean_up_slowly(void *arg)
{
	int r = gd_sleep(5);
	gd_shield s;
	gd_shield_begin(&s, GD_NEVER);
	gd_task *t = gd_spawn("cleaner", nap, arg);
	cleaned += gd_await(t, GD_NEVER) <= 0;
	gd_shield_end(&s);
	return r;
}

static int compute(void *arg)
{
	usleep(100);
	return *(int *)arg;
}

static int block(void *arg)
{
	int n = 5;
	(void)arg;
	return gd_run_blocking(compute, &n);
}

static void *resolve(void *promise)
{
	usleep(200);
	gd_promise_resolve(promise, 1);
	return NULL;
}

static int await_thread(void *arg)
{
	pthread_t t;
	gd_future *f = gd_future_new();
	(void)arg;
	if (pthread_create(&t, NULL, resolve, gd_future_promise(f)) != 0)
		abort();
	pthread_detach(t);
	return gd_future_await(f, GD_NEVER);
}

static int consume(void *queue)
{
	void *item;
	int r;
	while ((r = gd_queue_get(queue, &item, GD_NEVER)) == 0)
		count_down(2);
	return r == -EPIPE ? 0 : r;
}

static int use_queue(void *arg)
{
	gd_queue *q = gd_queue_new(1);
	gd_spawn("consumer", consume, q);
	for (int i = 0; i < 4; i++) {
		int r = gd_queue_put(q, arg, GD_NEVER);
		if (r < 0)
			return r;
	}
	gd_queue_close(q);
	return 0;
}

/* Waits for a gather of its own, and adds to it while it cleans up. */
static int gather_some(void *arg)
{
	gd_gather *g = gd_gather_new(GD_ALL);
	gd_gather_add(g, "nap", nap, NULL);
	gd_gather_add(g, "slow", clean_up_slowly, NULL);
	int r = gd_gather_wait(g, GD_NEVER);
	gd_gather_add(g, "late", nap, arg);
	gd_gather_add(gd_gather_new(GD_FAIL_FAST), "later", clean_up_slowly, arg);
	return r;
}

static int gather_shielded(void *arg)
{
	gd_shield s;
	gd_shield_begin(&s, GD_NEVER);
	int r = gather_some(arg);
	gd_shield_end(&s);
	return r;
}

static gd_task_fn *const steps[] = {nap,   use_permit,   use_permit, use_permit,  spawn_more,     clean_up_slowly,
				    block, await_thread, use_queue,  gather_some, gather_shielded};

/* A sloppy handler: it awaits half of what it starts. */
static int scenario(void *arg)
{
	struct gd_scope s;
	(void)arg;
	scope_open(&s, &env, NULL, NULL);
	gd_gather *g = gd_gather_new(GD_FAIL_FAST), *left = gd_gather_new(GD_ALL);
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		gd_task *t = gd_spawn("step", steps[i], NULL);
		int index = gd_gather_add(g, "child", steps[i], NULL);
		if (index < 0 || gd_gather_add(left, "left", steps[i], NULL) < 0)
			break;
		if (i % 3 == 0 && gd_await(t, GD_NEVER) < 0)
			break;
	}
	gd_scope_begin();
	use_queue(NULL);
	int r = gd_gather_wait(g, GD_NEVER);
	scope_close(&s);
	return r;
}

/* What comes from threads comes to its end. */
static bool quiet(unsigned tasks)
{
	struct loop *l = loop_current();
	return l->task_count == tasks && l->expected == 0;
}

LOOP_TEST(left_in_any_state_a_scope_gives_all_back)
{
	uint64_t seed = 7;
	set_up();
	struct loop *l = loop_current();
	unsigned tasks = l->task_count, stacks = l->stacks.in_use;
	size_t timers = l->timers.count;
	int fds = open_fds(), cancelled = 0;
	for (int i = 0; i < SLOWER(280); i++) {
		struct task *t = spawn(scenario, NULL);
		uint32_t yields = next_random(&seed) % (4u << (i % 14));
		while (yields-- > 0 && !task_ended(t))
			ck_assert_int_eq(task_yield(), 0);
		bool whole = i % 10 == 0;
		if (!whole)
			task_cancel(t);
		int r = task_await(&t, DEADLINE_NEVER);
		ck_assert(r == 0 || (r == -ECANCELED && !whole));
		cancelled += r < 0;
		for (int k = 0; k < 100000 && !quiet(tasks); k++)
			ck_assert_int_eq(task_yield(), 0);
		ck_assert(quiet(tasks));
		ck_assert_uint_eq(l->stacks.in_use, stacks);
		ck_assert_uint_eq(l->timers.count, timers);
		ck_assert_int_eq(open_cursors, 0);
		ck_assert_uint_eq(permits.available, 2);
		ck_assert_uint_eq(permits.waiting, 0);
		ck_assert_int_eq(open_fds(), fds);
	}
	ck_assert_int_gt(cancelled, 0);
	ck_assert_int_gt(opened_cursors, 0);
	ck_assert_int_gt(cleaned, 0);
	tear_down();
	return 0;
}

/* A scope that spawns task after task holds the stacks of those that run. */
LOOP_TEST(stacks_of_tasks_that_ended_are_given_back)
{
	struct gd_scope s;
	unsigned most = 0;
	set_up();
	scope_open(&s, &env, NULL, NULL);
	unsigned before = loop_current()->stacks.in_use;
	for (int i = 0; i < 1000; i++) {
		gd_spawn("short", nap, NULL);
		gd_sleep(0);
		gd_task *t = gd_spawn("awaited", nap, NULL);
		ck_assert_int_eq(gd_await(t, GD_NEVER), 0);
		ck_assert_int_eq(gd_await(t, GD_NEVER), 0);
		unsigned now = loop_current()->stacks.in_use - before;
		most = now > most ? now : most;
	}
	ck_assert_uint_le(most, 10);
	scope_close(&s);
	ck_assert_uint_eq(loop_current()->stacks.in_use, before);
	tear_down();
	return 0;
}

int main(void)
{
	Suite *s = suite_create("scope");
	TCase *c = async_tcase(s, "scope");
	tcase_add_test(c, a_cursor_is_closed_once_by_whoever_is_first);
	tcase_add_test(c, a_call_is_awaited_or_a_child);
	tcase_add_test(c, left_in_any_state_a_scope_gives_all_back);
	tcase_add_test(c, stacks_of_tasks_that_ended_are_given_back);
	return run_suite(s);
}
