/* Scopes of handlers: whatever is left in one, and whenever its task is cancelled, its end gives everything back. */
#include "async/executor.h"
#include "async/internal.h"
#include "drivers/postgres/driver.h"
#include "drivers/postgres/keys.h"
#include "handlers/module/internal.h"
#include "tests/unit/async/async_fixture.h"

#include <string.h>

static struct config_semaphore declared[] = {{.name = "two", .permits = 2, .max_waiting = 100}};
static struct config config = {.semaphores = declared, .semaphore_count = 1};
static struct shared_semaphore permits;
static struct shared_semaphore *const semaphores[] = {&permits};
static struct module_env env = {.config = &config, .semaphores = semaphores, .workers = 1};

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

/* What a function of s that returns r fails with. */
static struct error failure_of(struct gd_scope *s, int r)
{
	struct error e;
	scope_error(s, r, &e);
	return e;
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
	ck_assert_str_eq(failure_of(&s, -EIO).what, "thirteen");
	scope_close(&s);
	ck_assert_int_eq(open_cursors, 0);
	tear_down();
	return 0;
}

LOOP_TEST(a_cursor_is_its_workers)
{
	struct module_env other = env;
	other.worker = 1;
	struct gd_scope s, t;
	set_up();
	scope_open(&s, &env, NULL, NULL);
	gd_cursor *c = count_down(4);
	scope_open(&t, &other, NULL, NULL);
	ck_assert_int_eq(gd_failed(gd_next(c)), -EPERM);
	gd_close(c);
	scope_close(&t);
	ck_assert_int_eq(open_cursors, 1);
	scope_enter(&s);
	ck_assert_int_eq(gd_next(c)->v.integer, 4);
	scope_close(&s);
	tear_down();
	return 0;
}

/* --- what ends while tasks of scopes around it use it --- */

static int next_never(struct gd_cursor *c, struct value *out, struct error *e)
{
	struct waiter w;
	(void)c, (void)out, (void)e;
	waiter_init(&w, NULL, "nothing");
	return task_suspend(&w, DEADLINE_NEVER);
}

static gd_cursor *silent(void)
{
	static const struct cursor_ops ops = {.next = next_never, .close = close_counting};
	struct gd_scope *s = scope_here(__func__);
	struct gd_cursor *c = arena_zalloc(s->arena, sizeof(*c));
	cursor_open(c, s, &ops);
	open_cursors++;
	return c;
}

struct outside {
	gd_cursor *cursor;
	gd_task *task;
	gd_gather *gather;
	int result, then;
};

static int read_from_outside(void *arg)
{
	struct outside *o = arg;
	while (!o->cursor)
		ck_assert_int_eq(task_yield(), 0);
	o->result = gd_failed(gd_next(o->cursor));
	o->then = gd_sleep(0);
	return 0;
}

/* The reader is told, it is not cancelled; nobody waits for a timer. */
LOOP_TEST(a_reader_from_outside_is_told_of_the_end)
{
	struct gd_scope s;
	struct outside o = {.result = 1, .then = 1};
	set_up();
	scope_open(&s, &env, NULL, NULL);
	gd_task *reader = gd_spawn("reader", read_from_outside, &o);
	gd_scope *inner = gd_scope_begin();
	o.cursor = silent();
	settle();
	ck_assert_uint_eq(o.cursor->users.count, 1);
	ck_assert_uint_eq(loop_current()->timers.count, 0);
	gd_scope_end(inner);
	ck_assert_int_eq(open_cursors, 0);
	ck_assert_int_eq(gd_await(reader, GD_NEVER), 0);
	ck_assert_int_eq(o.result, -ECANCELED);
	ck_assert_int_eq(o.then, 0);
	scope_close(&s);
	tear_down();
	return 0;
}

/* A reader from outside that is cancelled, or too late, leaves as one from inside does. */
LOOP_TEST(a_reader_from_outside_leaves)
{
	struct gd_scope s;
	struct outside o = {0};
	set_up();
	scope_open(&s, &env, NULL, NULL);
	gd_task *reader = gd_spawn("reader", read_from_outside, &o);
	gd_scope *inner = gd_scope_begin();
	o.cursor = silent();
	settle();
	gd_cancel(reader);
	ck_assert_int_eq(gd_await(reader, GD_NEVER), 0);
	ck_assert_int_eq(o.result, -ECANCELED);
	ck_assert_int_eq(o.then, -ECANCELED);
	ck_assert_int_eq(open_cursors, 0);

	struct outside late = {.cursor = silent()};
	gd_deadline before = gd_deadline_push(gd_in_ms(5));
	scope_enter(&s); /* where such a task has always been */
	ck_assert_int_eq(read_from_outside(&late), 0);
	scope_enter(inner);
	gd_deadline_pop(before);
	ck_assert_int_eq(late.result, -ETIMEDOUT);
	gd_scope_end(inner);
	ck_assert_int_eq(open_cursors, 0);
	scope_close(&s);
	tear_down();
	return 0;
}

static int sleep_long(void *arg)
{
	(void)arg;
	return gd_sleep(1000000);
}

static int await_shielded(void *arg)
{
	struct outside *o = arg;
	gd_shield shield;
	gd_shield_begin(&shield, GD_NEVER);
	while (!o->task)
		ck_assert_int_eq(task_yield(), 0);
	o->result = gd_await(o->task, GD_NEVER);
	gd_shield_end(&shield);
	return 0;
}

/* … of a scope that was left open: it ends after the tasks of the one around it. */
LOOP_TEST(a_task_of_an_inner_scope_is_awaited_from_outside)
{
	struct gd_scope s;
	struct outside o = {0};
	set_up();
	scope_open(&s, &env, NULL, NULL);
	gd_spawn("awaits", await_shielded, &o);
	gd_scope_begin();
	o.task = gd_spawn("sleeps", sleep_long, NULL);
	settle();
	scope_close(&s);
	ck_assert_int_eq(o.result, -ECANCELED);
	ck_assert_ptr_null(scope_try());
	tear_down();
	return 0;
}

static int await_parent(void *arg)
{
	gd_shield shield;
	gd_shield_begin(&shield, gd_in_ms(5));
	int r = gd_await(((struct outside *)arg)->task, GD_NEVER);
	gd_shield_end(&shield);
	((struct outside *)arg)->result = r;
	return r;
}

static int end_awaited_parent(void *arg)
{
	gd_scope *s = gd_scope_begin();
	gd_spawn("child", await_parent, arg);
	settle();
	gd_scope_end(s);
	return 7;
}

/* A task that ends a scope whose child awaits it, shielded: until the shield's time is over. */
LOOP_TEST(a_child_that_awaits_its_parent_gives_up)
{
	struct gd_scope s;
	struct outside o = {0};
	set_up();
	scope_open(&s, &env, NULL, NULL);
	o.task = gd_spawn("parent", end_awaited_parent, &o);
	while (!gd_ended(o.task))
		ck_assert_int_eq(task_sleep_ms(1), 0);
	ck_assert_int_eq(gd_await(o.task, GD_NEVER), 7);
	ck_assert_int_eq(o.result, -ETIMEDOUT);
	scope_close(&s);
	tear_down();
	return 0;
}

static int await_nothing(void *arg)
{
	(void)arg;
	return gd_yield();
}

static int make_gather(void *arg)
{
	((struct outside *)arg)->gather = gd_gather_new(GD_ALL);
	return 0;
}

/* The gather is newer than the inner scope that has children in it: it goes first. */
LOOP_TEST(a_gather_goes_before_a_scope_with_children_in_it)
{
	struct gd_scope s;
	struct outside o = {0};
	set_up();
	scope_open(&s, &env, NULL, NULL);
	gd_spawn("makes", make_gather, &o);
	gd_scope_begin();
	settle();
	for (int i = 0; i < 40; i++)
		ck_assert_int_eq(gd_gather_add(o.gather, "guest", sleep_long, NULL), i);
	settle();
	scope_close(&s);
	tear_down();
	return 0;
}

/* Nobody's children use a scope that has ended. */
LOOP_TEST(a_gather_takes_no_children_of_another_request)
{
	struct gd_scope worker, request;
	set_up();
	scope_open(&worker, &env, NULL, NULL);
	gd_gather *g = gd_gather_new(GD_ALL);
	scope_open(&request, &env, NULL, NULL);
	ck_assert_int_eq(gd_gather_add(g, "stranger", sleep_long, NULL), -EPERM);
	scope_close(&request);
	scope_enter(&worker);
	ck_assert_int_eq(gd_gather_add(g, "own", await_nothing, NULL), 0);
	ck_assert_int_eq(gd_gather_wait(g, GD_NEVER), 0);
	scope_close(&worker);
	tear_down();
	return 0;
}

/* --- users --- */

static struct users users;
static unsigned came;

static int come_and_go(void *arg)
{
	(void)arg;
	for (int i = 0; i < 3; i++) {
		users_enter(&users);
		ck_assert_int_eq(task_yield(), 0);
		came++;
		users_leave(&users); /* and in again, before whom it wakes runs */
	}
	return 0;
}

LOOP_TEST(the_end_waits_for_the_last_user)
{
	came = 0;
	ck_assert_int_eq(users_await(&users, DEADLINE_NEVER), 0);
	struct task *a = spawn(come_and_go, NULL), *b = spawn(come_and_go, NULL);
	ck_assert_int_eq(task_yield(), 0);
	ck_assert_int_eq(users_await(&users, DEADLINE_NEVER), 0);
	ck_assert_uint_eq(came, 6);
	ck_assert_int_eq(join(a), 0);
	ck_assert_int_eq(join(b), 0);
	users_enter(&users);
	ck_assert_int_eq(users_await(&users, deadline_in_ms(1)), -ETIMEDOUT);
	users_leave(&users);
	ck_assert_ptr_null(users.end);
	return 0;
}

/* --- calls --- */

static struct config_source shop = {.name = "shop", .kind = &postgres_kind, .longest_us = 1000};

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
	struct call *c = call_new(sizeof(*c), __func__, source, &postgres_driver, &failed);
	return c ? call_start(c, g, "call", fn) : failed;
}

LOOP_TEST(a_call_is_awaited_or_a_child)
{
	struct gd_scope s;
	struct client *client = NULL;
	config.sources = &shop;
	config.source_count = 1;
	env.clients = &client;
	struct tally *tally = tally_take(&source_tally, "shop");
	const struct source_numbers *numbers = tally_here(tally);
	env.tallies = &tally;
	set_up();
	ck_assert_ptr_null(call(NULL, "shop", seven)); /* in no scope */
	scope_open(&s, &env, NULL, NULL);
	ck_assert_int_eq(call(NULL, "shop", seven)->v.integer, 7);
	ck_assert_int_eq(gd_failed(call(NULL, "chop", seven)), -EINVAL);
	ck_assert_int_eq(gd_failed(call(NULL, "shop", refused)), -EACCES);
	ck_assert_str_eq(failure_of(&s, -EACCES).what, "refused");
	gd_gather *g = gd_gather_new(GD_ALL);
	gd_value *a = call(g, "shop", seven), *b = call(g, "shop", refused);
	ck_assert_int_eq(gd_failed(a), -EINPROGRESS);
	ck_assert_int_eq(gd_gather_wait(g, GD_NEVER), 0);
	ck_assert_int_eq(a->v.integer, 7);
	ck_assert_int_eq(gd_failed(b), -EACCES);
	ck_assert_ptr_eq(gd_gather_value(g, 0), a);
	ck_assert_int_eq(gd_gather_result(g, 1), -EACCES);
	unsigned failures = s.failure_count;
	gd_gather *fast = gd_gather_new(GD_FAIL_FAST);
	a = call(fast, "shop", seven);
	call(fast, "shop", refused);
	ck_assert_int_eq(gd_gather_wait(fast, GD_NEVER), -EACCES);
	b = call(fast, "shop", seven);
	ck_assert_uint_eq(s.failure_count, failures); /* what was cancelled for it is not the reason */
	ck_assert_int_eq(gd_failed(a), -ECANCELED);
	ck_assert_int_eq(gd_failed(b), -ECANCELED);
	/* Each that the source refused is counted, and none that was cancelled. */
	ck_assert_uint_eq(counter_read(&numbers->step_failures), 3);
	scope_close(&s);
	tear_down();
	tally_drop(tally);
	config.source_count = 0;
	return 0;
}

/* --- the sweep --- */

static gd_mutex *lock; /* of the worker */
static gd_semaphore *limit;

/* What several requests share; cancelled, it forgets what it has. */
static int use_shared(void *arg)
{
	gd_condition *c = gd_condition_new(lock);
	(void)arg;
	int r = gd_acquire(limit, GD_NEVER);
	if (r == 0)
		r = gd_lock(lock, GD_NEVER);
	if (r == 0)
		r = gd_yield();
	if (r == 0 && (r = gd_condition_wait(c, gd_in_ms(1))) == -ETIMEDOUT)
		r = 0;
	return r < 0 ? r : gd_release(limit) + gd_unlock(lock);
}

static void assert_nothing_is_held(void)
{
	gd_deadline now = gd_in_ms(0);
	ck_assert_int_eq(gd_lock(lock, now), 0);
	ck_assert_int_eq(gd_unlock(lock), 0);
	ck_assert_int_eq(gd_release(limit), -EPERM);
	ck_assert_int_eq(gd_acquire(limit, now), 0);
	ck_assert_int_eq(gd_acquire(limit, now), 0);
	ck_assert_int_eq(gd_acquire(limit, now), -ETIMEDOUT);
	ck_assert_int_eq(gd_release(limit), 0);
	ck_assert_int_eq(gd_release(limit), 0);
}

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

struct lent {
	gd_cursor *cursor;
	bool gone;
};

static int read_lent(void *arg)
{
	struct lent *lent = arg;
	int r = 0;
	while (!lent->cursor && r == 0)
		r = gd_yield();
	for (gd_value *v; r == 0 && !lent->gone && (v = gd_next(lent->cursor));)
		r = gd_failed(v);
	return r;
}

/* A task of the request reads a cursor of a scope within, until that ends. */
static int lend(void *arg)
{
	static unsigned times;
	struct lent *lent = gd_alloc(sizeof(*lent));
	(void)arg;
	gd_task *t = gd_spawn("reader", read_lent, lent);
	gd_scope *s = gd_scope_begin();
	lent->cursor = times++ % 2 ? silent() : count_down(9);
	for (int i = 0; i < 3; i++) {
		int r = gd_yield();
		if (r < 0)
			return r;
	}
	lent->gone = true;
	gd_scope_end(s);
	int r = gd_await(t, GD_NEVER);
	return r == -ECANCELED && !gd_cancelled() ? 0 : r;
}

static gd_task_fn *const steps[] = {nap,   use_permit,   use_permit, use_permit,  spawn_more,      clean_up_slowly,
				    block, await_thread, use_queue,  gather_some, gather_shielded, use_shared,
				    lend};

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
	struct gd_scope start;
	set_up();
	scope_open(&start, &env, NULL, NULL);
	lock = gd_mutex_new();
	limit = gd_semaphore_new(2, 0);
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
		ck_assert_uint_eq(permits.taken, 0);
		ck_assert_uint_eq(permits.waiting, 0);
		ck_assert_int_eq(open_fds(), fds);
		assert_nothing_is_held();
	}
	ck_assert_int_gt(cancelled, 0);
	ck_assert_int_gt(opened_cursors, 0);
	ck_assert_int_gt(cleaned, 0);
	scope_close(&start);
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
	tcase_add_test(c, a_cursor_is_its_workers);
	tcase_add_test(c, a_reader_from_outside_is_told_of_the_end);
	tcase_add_test(c, a_reader_from_outside_leaves);
	tcase_add_test(c, a_task_of_an_inner_scope_is_awaited_from_outside);
	tcase_add_test(c, a_child_that_awaits_its_parent_gives_up);
	tcase_add_test(c, a_gather_goes_before_a_scope_with_children_in_it);
	tcase_add_test(c, a_gather_takes_no_children_of_another_request);
	tcase_add_test(c, the_end_waits_for_the_last_user);
	tcase_add_test(c, a_call_is_awaited_or_a_child);
	tcase_add_test(c, left_in_any_state_a_scope_gives_all_back);
	tcase_add_test(c, stacks_of_tasks_that_ended_are_given_back);
	return run_suite(s);
}
