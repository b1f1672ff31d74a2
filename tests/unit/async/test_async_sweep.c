/* Interrupt a task at each of its waits, in every way, and find that everything was given back.
 *
 * The scenario uses every call that suspends, alone and from children. Each call is preceded by point(). The scenario
 * runs once to count the points; then once more for every point and every way to interrupt there. After each run all
 * permits, tasks, stacks, jobs, timers and descriptors must be back. */
#include <fcntl.h>

#include "async/executor.h"
#include "async/fd.h"
#include "async/future.h"
#include "async/gather.h"
#include "async/internal.h"
#include "async/semaphore.h"
#include "async/wait.h"
#include "tests/unit/async/async_fixture.h"

/* --- interrupting --- */

enum when {
	NEVER,
	AT_ONCE,   /* the call finds itself interrupted and does not suspend */
	THIS_TURN, /* when the task has suspended */
	NEXT_TURN, /* from a message: others, and the wake itself, may come first */
};

struct strike {
	const char *name;
	enum when cancel_root, cancel_self, deadline;
};

static const struct strike strikes[] = {
	{"cancel the root at once", AT_ONCE, NEVER, NEVER},
	{"cancel the root in this turn", THIS_TURN, NEVER, NEVER},
	{"cancel the root in the next turn", NEXT_TURN, NEVER, NEVER},
	{"cancel the task at once", NEVER, AT_ONCE, NEVER},
	{"cancel the task in this turn", NEVER, THIS_TURN, NEVER},
	{"cancel the task in the next turn", NEVER, NEXT_TURN, NEVER},
	{"a deadline in the past", NEVER, NEVER, AT_ONCE},
	{"a deadline soon", NEVER, NEVER, NEXT_TURN},
	{"both at once", AT_ONCE, NEVER, AT_ONCE},
	{"a deadline soon, and cancel the root", THIS_TURN, NEVER, NEXT_TURN},
	{"a deadline soon, and cancel the task", NEVER, NEXT_TURN, NEXT_TURN},
};

static struct world {
	const struct strike *strike;
	int at, count; /* points */
	struct task *root, *self;
	struct deferred deferred;
	struct message message;
	bool posted;

	struct semaphore semaphore;
	struct shared_semaphore shared;
	struct executor *executor;
	atomic_int jobs;
	unsigned tasks; /* that are not the scenario's */
} world;

static void cancel_what_is_left(enum when when)
{
	if (world.root && world.strike->cancel_root == when)
		task_cancel(world.root);
	if (world.self && world.strike->cancel_self == when)
		task_cancel(world.self);
}

static void strike_deferred(struct deferred *d)
{
	(void)d;
	cancel_what_is_left(THIS_TURN);
}

static void strike_posted(struct message *m)
{
	(void)m;
	world.posted = false;
	cancel_what_is_left(NEXT_TURN);
}

/* Before each call that suspends. */
static void point(void)
{
	if (!world.strike || world.count++ != world.at)
		return;
	world.self = task_self();
	cancel_what_is_left(AT_ONCE);
	if (world.strike->deadline)
		task_self()->deadline = world.strike->deadline == AT_ONCE ? (deadline_t){0} : deadline_in_us(1);
	loop_defer(loop_current(), &world.deferred);
	world.posted = true;
	loop_post(loop_current(), &world.message);
}

/* The last thing of each task: it can't be cancelled any more. */
static int leave(int r)
{
	if (world.self == task_self())
		world.self = NULL;
	if (world.root == task_self())
		world.root = NULL;
	return r;
}

/* --- the scenario: each step cleans up after itself, whatever its waits return --- */

static deadline_t soon(void)
{
	return deadline_in_us(100);
}

static int nap(void)
{
	point();
	return task_sleep(soon());
}

static int step_sleep(void)
{
	return nap();
}

static int step_yield(void)
{
	point();
	return task_yield();
}

static int child_naps(void *arg)
{
	(void)arg;
	return leave(nap());
}

static int step_await(void)
{
	struct task *t;
	int r = task_spawn(&t, child_naps, NULL, NULL);
	if (r < 0)
		return r;
	point();
	r = task_await(&t, DEADLINE_NEVER);
	if (t) {
		task_cancel(t);
		join(t);
	}
	return r;
}

static int step_detach(void)
{
	struct task *t;
	int r = task_spawn(&t, child_naps, NULL, NULL);
	if (r < 0)
		return r;
	point();
	r = task_yield();
	task_detach(t);
	return r;
}

struct timed_future {
	struct future future;
	struct timer timer;
};

static void resolve_in_time(struct timer *t)
{
	future_resolve(&container_of(t, struct timed_future, timer)->future, 1);
}

static int child_awaits_future(void *arg)
{
	point();
	return leave(future_await(arg, DEADLINE_NEVER));
}

static int step_future(void)
{
	struct timed_future f;
	struct gather g;
	future_init(&f.future);
	timer_init(&f.timer, resolve_in_time);
	timer_start(&f.timer, loop_timers(loop_current()), soon());
	gather_init(&g, GATHER_ALL);
	int r = gather_add(&g, NULL, child_awaits_future, &f.future);
	if (r >= 0) {
		point();
		r = future_await(&f.future, DEADLINE_NEVER);
	}
	gather_done(&g);
	timer_stop(&f.timer, loop_timers(loop_current()));
	return r;
}

struct posting {
	struct job job;
	struct future *future;
};

static void post_the_future(struct job *j)
{
	usleep(20);
	future_post(container_of(j, struct posting, job)->future, 1);
}

static void free_posting(struct job *j)
{
	free(container_of(j, struct posting, job));
	atomic_fetch_sub(&world.jobs, 1);
}

/* A thread resolves it, whether anybody still waits or not: until then it stays where it is. */
static int step_posted_future(void)
{
	struct posting *p = malloc(sizeof(*p));
	struct future f;
	struct shield s;
	future_init(&f);
	*p = (struct posting){.job = {.run = post_the_future, .free = free_posting}, .future = &f};
	atomic_fetch_add(&world.jobs, 1);
	if (executor_submit(world.executor, &p->job) < 0)
		abort();
	point();
	int r = future_await(&f, DEADLINE_NEVER);
	task_shield(&s, DEADLINE_NEVER);
	if (future_await(&f, DEADLINE_NEVER) != 1)
		abort();
	task_unshield(&s);
	return r;
}

static int child_waits_for_another(void *arg)
{
	(void)arg;
	point();
	return leave(wait_for("inner", child_naps, NULL, deadline_in_ms(20000)));
}

static int step_wait_for(void)
{
	point();
	return wait_for("outer", child_waits_for_another, NULL, deadline_in_ms(20000));
}

static int child_uses_semaphore(void *arg)
{
	(void)arg;
	point();
	int r = semaphore_acquire(&world.semaphore, DEADLINE_NEVER);
	if (r < 0)
		return leave(r);
	r = nap();
	if (semaphore_release(&world.semaphore) < 0)
		abort();
	return leave(r);
}

static int child_uses_shared_semaphore(void *arg)
{
	(void)arg;
	point();
	int r = shared_semaphore_acquire(&world.shared, DEADLINE_NEVER);
	if (r < 0)
		return leave(r);
	r = nap();
	if (shared_semaphore_release(&world.shared) < 0)
		abort();
	return leave(r);
}

static void run_job(struct job *j)
{
	(void)j;
	usleep(20);
}

static void free_job(struct job *j)
{
	free(j);
	atomic_fetch_sub(&world.jobs, 1);
}

static int child_uses_executor(void *arg)
{
	struct job *j = malloc(sizeof(*j));
	(void)arg;
	*j = (struct job){.run = run_job, .free = free_job};
	atomic_fetch_add(&world.jobs, 1);
	point();
	int r = executor_run(world.executor, j, DEADLINE_NEVER);
	if (r == 0)
		free_job(j);
	return leave(r);
}

static int child_fails(void *arg)
{
	int r = nap();
	(void)arg;
	return leave(r < 0 ? r : -ENOENT);
}

/* Gather some children; wait for all, or for one after the other. */
static int gather_them(enum gather_mode mode, const task_fn *children, int count)
{
	struct gather g;
	int r = 0;
	gather_init(&g, mode);
	for (int i = 0; r >= 0 && i < count; i++)
		r = gather_add(&g, NULL, children[i], NULL);
	if (r >= 0 && mode == GATHER_FAIL_FAST) {
		point();
		r = gather_wait(&g, DEADLINE_NEVER);
	} else if (r >= 0) {
		do {
			point();
		} while ((r = gather_next(&g, DEADLINE_NEVER)) >= 0);
	}
	gather_done(&g);
	return r == -ENOENT ? 0 : r; /* the failing child's, or gather_next's last word */
}

static int step_semaphore(void)
{
	const task_fn children[] = {child_uses_semaphore, child_uses_semaphore, child_uses_semaphore};
	return gather_them(GATHER_FAIL_FAST, children, 3);
}

static int step_shared_semaphore(void)
{
	const task_fn children[] = {child_uses_shared_semaphore, child_uses_shared_semaphore,
				    child_uses_shared_semaphore};
	return gather_them(GATHER_ALL, children, 3);
}

static int step_executor(void)
{
	const task_fn children[] = {child_uses_executor, child_uses_executor, child_uses_executor};
	return gather_them(GATHER_ALL, children, 3);
}

static int step_fail_fast(void)
{
	const task_fn children[] = {child_naps, child_uses_semaphore, child_fails, child_uses_executor,
				    child_uses_shared_semaphore};
	return gather_them(GATHER_FAIL_FAST, children, 5);
}

static int child_writes(void *arg)
{
	int r = nap();
	if (r < 0)
		return leave(r);
	return leave(write(*(int *)arg, "x", 1) == 1 ? 0 : -EIO);
}

static int step_fd(void)
{
	int fds[2];
	struct gather g;
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		abort();
	gather_init(&g, GATHER_ALL);
	int r = gather_add(&g, NULL, child_writes, &fds[1]);
	if (r >= 0) {
		point();
		r = await_fd(fds[0], EPOLLIN, deadline_in_ms(100)); /* the writer may be the one that was cancelled */
	}
	gather_done(&g);
	close(fds[0]);
	close(fds[1]);
	return r;
}

static int step_deadline(void)
{
	deadline_t before = deadline_push(soon());
	point();
	int r = task_sleep_ms(10000);
	if (r == 0)
		abort();
	deadline_pop(before);
	return r == -ETIMEDOUT ? 0 : r;
}

static int step_shield(void)
{
	struct shield s;
	task_shield(&s, DEADLINE_NEVER);
	int r = task_sleep(soon());
	if (r == 0)
		r = task_yield();
	if (r < 0)
		abort();
	task_unshield(&s);
	return 0;
}

static int (*const steps[])(void) = {
	step_sleep,         step_yield,    step_await,     step_detach,           step_future,
	step_posted_future, step_wait_for, step_semaphore, step_shared_semaphore, step_fd,
	step_fail_fast,     step_shield,   step_deadline,  step_executor,
};

/* All steps run, also behind an interruption: then none of their waits waits. */
static int scenario(void *arg)
{
	int first = 0;
	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		int r = steps[i]();
		if (r < 0 && first == 0)
			first = r;
	}
	if (first == 0)
		first = task_check();
	return leave(first);
}

/* --- the sweep --- */

struct inventory {
	unsigned tasks, stacks;
	size_t timers;
	int fds;
};

static struct inventory take_inventory(void)
{
	struct loop *l = loop_current();
	return (struct inventory){l->task_count, l->stacks.in_use, l->timers.count, open_fds()};
}

/* What was left to itself (detached tasks, jobs, messages) comes to its end. */
static bool quiet(void)
{
	struct loop *l = loop_current();
	return l->task_count == world.tasks && l->expected == 0 && atomic_load(&world.jobs) == 0 && !world.posted &&
	       list_empty(&world.deferred.link);
}

static void check_all_is_back(const struct inventory *before)
{
	for (int i = 0; i < 100000 && !quiet(); i++)
		ck_assert_int_eq(task_yield(), 0);
	ck_assert(quiet());
	struct inventory now = take_inventory();
	ck_assert_uint_eq(now.tasks, before->tasks);
	ck_assert_uint_eq(now.stacks, before->stacks);
	ck_assert_uint_eq(now.timers, before->timers);
	ck_assert_int_eq(now.fds, before->fds);
	ck_assert_uint_eq(world.semaphore.available, 1);
	ck_assert_uint_eq(world.semaphore.waiting, 0);
	struct semaphore_levels levels = shared_semaphore_levels(&world.shared);
	ck_assert_uint_eq(levels.permits, 1);
	ck_assert_uint_eq(levels.taken, 0);
	ck_assert_uint_eq(levels.waiting, 0);
}

/* Run the scenario and interrupt it at one point. Returns its result. */
static int run_once(const struct strike *strike, int at, const struct inventory *before)
{
	world.strike = strike;
	world.at = at;
	world.count = 0;
	world.root = spawn(scenario, NULL);
	struct task *t = world.root;
	int r = task_await(&t, DEADLINE_NEVER);
	ck_assert_ptr_null(t);
	check_all_is_back(before);
	return r;
}

static void set_up(void)
{
	world = (struct world){.message.run = strike_posted, .tasks = 1};
	deferred_init(&world.deferred, strike_deferred);
	semaphore_init(&world.semaphore, 1, 10);
	shared_semaphore_init(&world.shared, 1, 10);
	ck_assert_int_eq(executor_new(&world.executor, 1, 10), 0);
}

static void tear_down(void)
{
	executor_free(world.executor);
	shared_semaphore_done(&world.shared);
}

static void check_result(const struct strike *s, int r)
{
	if (s->cancel_root == AT_ONCE && s->deadline == NEVER)
		ck_assert_int_eq(r, -ECANCELED); /* sticky: it can't have missed it */
	else
		ck_assert_msg(r == 0 || r == -ECANCELED || r == -ETIMEDOUT, "%s: %d", s->name, r);
}

/* epoll sleeps for whole milliseconds: this keeps it awake, for tens of thousands of short waits. */
static int keep_awake(void *arg)
{
	(void)arg;
	while (task_yield() == 0)
		;
	return 0;
}

LOOP_TEST(interrupted_at_every_point_all_is_given_back)
{
	static const struct strike nothing = {"nothing", NEVER, NEVER, NEVER};
	set_up();
	struct task *awake = spawn(keep_awake, NULL);
	world.tasks = 2;
	struct inventory before = take_inventory();
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(run_once(&nothing, -1, &before), 0);
	int points = world.count;
	ck_assert_int_ge(points, 40);
	for (size_t i = 0; i < ARRAY_SIZE(strikes); i++) {
		for (int at = 0; at < points; at++) {
			int r = run_once(&strikes[i], at, &before);
			if (world.count > at) /* children of a race may have fewer points */
				check_result(&strikes[i], r);
		}
	}
	task_cancel(awake);
	ck_assert_int_eq(task_await(&awake, DEADLINE_NEVER), 0);
	tear_down();
	return 0;
}

/* And at moments that no point precedes. */
LOOP_TEST(cancelled_at_random_moments_all_is_given_back)
{
	uint64_t seed = 3;
	set_up();
	struct inventory before = take_inventory();
	for (int i = 0; i < 200; i++) {
		struct task *t = spawn(scenario, NULL);
		uint32_t yields = next_random(&seed) % (4u << (i % 14));
		while (yields-- > 0 && !task_ended(t))
			ck_assert_int_eq(task_yield(), 0);
		task_cancel(t);
		int r = task_await(&t, DEADLINE_NEVER);
		ck_assert(r == 0 || r == -ECANCELED);
		check_all_is_back(&before);
	}
	tear_down();
	return 0;
}

int main(void)
{
	Suite *s = suite_create("async sweep");
	TCase *c = async_tcase(s, "sweep");
	tcase_add_test(c, interrupted_at_every_point_all_is_given_back);
	tcase_add_test(c, cancelled_at_random_moments_all_is_given_back);
	return run_suite(s);
}
