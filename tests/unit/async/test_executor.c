/* The executor: bounded, and a job is freed exactly once whatever becomes of who waits for it. */
#include "async/executor.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "async/gather.h"
#include "async/internal.h"
#include "async/run.h"
#include "tests/unit/async/async_fixture.h"

/* A job that waits until it may go on, so that the tests decide what is running and what is queued. */
struct work {
	struct job job;
	sem_t *gate; /* NULL: runs through */
	int in, out;
};

static atomic_int started, ran, freed;
static atomic_bool left;

static void set_up(void)
{
	started = ran = freed = 0;
	left = false;
}

static void run_work(struct job *j)
{
	struct work *w = container_of(j, struct work, job);
	atomic_fetch_add(&started, 1);
	if (w->gate) {
		while (sem_wait(w->gate) < 0)
			;
	}
	w->out = w->in * 2;
	atomic_fetch_add(&ran, 1);
}

static void free_work(struct job *j)
{
	atomic_fetch_add(&freed, 1);
	free(container_of(j, struct work, job));
}

static struct work *work_new(sem_t *gate, int in)
{
	struct work *w = malloc(sizeof(*w));
	*w = (struct work){.job = {.run = run_work, .free = free_work}, .gate = gate, .in = in};
	return w;
}

static struct executor *new_executor(unsigned threads, unsigned max_queued)
{
	struct executor *e;
	ck_assert_int_eq(executor_new(&e, threads, max_queued), 0);
	return e;
}

static void until(atomic_int *counter, int value)
{
	for (int i = 0; i < 10000 && atomic_load(counter) < value; i++)
		ck_assert_int_eq(task_sleep_ms(1), 0);
	ck_assert_int_eq(atomic_load(counter), value);
}

LOOP_TEST(a_job_runs_and_comes_back)
{
	struct executor *e = new_executor(2, 4);
	struct work *w = work_new(NULL, 21);
	ck_assert_int_eq(executor_run(e, &w->job, deadline_in_ms(10000)), 0);
	ck_assert_int_eq(w->out, 42);
	ck_assert_int_eq(freed, 0); /* ours */
	free_work(&w->job);
	executor_free(e);
	executor_free(NULL);
	return 0;
}

struct call {
	struct executor *executor;
	sem_t *gate;
	deadline_t by;
	int in;
};

static int call_executor(void *arg)
{
	struct call *c = arg;
	struct work *w = work_new(c->gate, c->in);
	int r = executor_run(c->executor, &w->job, c->by);
	if (r < 0)
		return r; /* not ours any more */
	r = w->out;
	free_work(&w->job);
	return r;
}

LOOP_TEST(the_queue_is_bounded)
{
	sem_t gate;
	sem_init(&gate, 0, 0);
	struct executor *e = new_executor(1, 2);
	struct call c = {e, &gate, DEADLINE_NEVER, 1};
	struct task *t[3];
	t[0] = spawn(call_executor, &c);
	until(&started, 1);
	t[1] = spawn(call_executor, &c);
	t[2] = spawn(call_executor, &c);
	settle();
	ck_assert_int_eq(call_executor(&c), -EBUSY);
	ck_assert_int_eq(freed, 1);
	ck_assert_int_eq(executor_submit(e, &work_new(NULL, 0)->job), -EBUSY);
	ck_assert_int_eq(freed, 2);
	for (int i = 0; i < 3; i++)
		sem_post(&gate);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(task_await(&t[i], DEADLINE_NEVER), 2);
	ck_assert_int_eq(freed, 5);
	executor_free(e);
	return 0;
}

LOOP_TEST(a_waiter_cancelled_while_queued_frees_the_job_at_once)
{
	sem_t gate;
	sem_init(&gate, 0, 0);
	struct executor *e = new_executor(1, 1);
	struct call c = {e, &gate, DEADLINE_NEVER, 1};
	struct task *running = spawn(call_executor, &c);
	until(&started, 1);
	struct task *queued = spawn(call_executor, &c);
	settle();
	task_cancel(queued);
	ck_assert_int_eq(freed, 1);
	ck_assert_int_eq(task_await(&queued, DEADLINE_NEVER), -ECANCELED);
	queued = spawn(call_executor, &c); /* its place is free */
	settle();
	sem_post(&gate);
	sem_post(&gate);
	ck_assert_int_eq(task_await(&queued, DEADLINE_NEVER), 2);
	ck_assert_int_eq(task_await(&running, DEADLINE_NEVER), 2);
	ck_assert_int_eq(ran, 2);
	ck_assert_int_eq(freed, 3);
	executor_free(e);
	return 0;
}

LOOP_TEST(a_waiter_that_leaves_while_it_runs_leaves_the_job_to_itself)
{
	sem_t gate;
	sem_init(&gate, 0, 0);
	struct executor *e = new_executor(2, 2);
	struct call c = {e, &gate, DEADLINE_NEVER, 1};
	struct call hurried = {e, &gate, DEADLINE_NEVER, 1};
	struct task *cancelled = spawn(call_executor, &c);
	until(&started, 1);
	/* A thread has to begin it before its deadline: a busy machine needs a later one. */
	int queued = 0;
	for (unsigned ms = 20;; ms *= 2) {
		hurried.by = deadline_in_ms(ms);
		struct task *late = spawn(call_executor, &hurried);
		ck_assert_int_eq(task_await(&late, DEADLINE_NEVER), -ETIMEDOUT);
		if (atomic_load(&started) == 2)
			break;
		queued++;
	}
	task_cancel(cancelled);
	ck_assert_int_eq(task_await(&cancelled, DEADLINE_NEVER), -ECANCELED);
	ck_assert_int_eq(freed, queued);
	sem_post(&gate);
	sem_post(&gate);
	until(&freed, 2 + queued);
	ck_assert_int_eq(ran, 2);
	executor_free(e);
	return 0;
}

/* The job has run and is on its way back when its waiter is cancelled. */
LOOP_TEST(a_waiter_cancelled_while_the_job_is_on_its_way_back)
{
	sem_t gate;
	sem_init(&gate, 0, 0);
	struct executor *e = new_executor(1, 1);
	struct call c = {e, &gate, DEADLINE_NEVER, 1};
	struct task *t = spawn(call_executor, &c);
	until(&started, 1);
	sem_post(&gate);
	while (atomic_load(&ran) == 0)
		usleep(100); /* the loop stands still meanwhile */
	usleep(1000);
	task_cancel(t);
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), -ECANCELED);
	until(&freed, 1);
	executor_free(e);
	ck_assert_int_eq(freed, 1);
	return 0;
}

LOOP_TEST(a_cancelled_task_starts_no_job)
{
	struct executor *e = new_executor(1, 0);
	struct call c = {e, NULL, DEADLINE_NEVER, 1};
	struct task *t = spawn(call_executor, &c);
	task_cancel(t);
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), -ECANCELED); /* the full queue is not even looked at */
	executor_free(e);
	ck_assert_int_eq(started, 0);
	ck_assert_int_eq(freed, 1);
	return 0;
}

LOOP_TEST(many_jobs_each_with_its_own_answer)
{
	enum { COUNT = 500 };
	static struct call c[COUNT];
	struct executor *e = new_executor(4, COUNT);
	struct gather g;
	gather_init(&g, GATHER_ALL);
	for (int i = 0; i < COUNT; i++) {
		c[i] = (struct call){e, NULL, DEADLINE_NEVER, i};
		ck_assert_int_eq(gather_add(&g, NULL, call_executor, &c[i]), i);
	}
	ck_assert_int_eq(gather_wait(&g, deadline_in_ms(20000)), 0);
	for (int i = 0; i < COUNT; i++)
		ck_assert_int_eq(gather_result(&g, (unsigned)i), i * 2);
	gather_done(&g);
	ck_assert_int_eq(freed, COUNT);
	executor_free(e);
	return 0;
}

/* Deadlines and cancellations at random: each job is freed once. */
LOOP_TEST(many_waiters_leave_at_random)
{
	enum { COUNT = 600 };
	static struct call c[COUNT];
	static struct task *t[COUNT];
	struct executor *e = new_executor(3, 100);
	uint64_t seed = 7;
	for (int i = 0; i < COUNT; i++) {
		bool hurried = next_random(&seed) % 2;
		c[i] = (struct call){e, NULL, hurried ? deadline_in_us(next_random(&seed) % 500) : DEADLINE_NEVER, 1};
		t[i] = spawn(call_executor, &c[i]);
		if (i % 3 == 0)
			ck_assert_int_eq(task_yield(), 0);
		if (i % 4 == 0)
			task_cancel(t[next_random(&seed) % (unsigned)(i + 1)]);
	}
	for (int i = 0; i < COUNT; i++) {
		int r = task_await(&t[i], DEADLINE_NEVER);
		ck_assert(r == 2 || r == -EBUSY || r == -ETIMEDOUT || r == -ECANCELED);
	}
	until(&freed, COUNT);
	executor_free(e);
	ck_assert_int_eq(freed, COUNT);
	return 0;
}

START_TEST(free_runs_what_is_queued)
{
	enum { COUNT = 20 };
	sem_t gate;
	sem_init(&gate, 0, 0);
	struct executor *e = new_executor(2, COUNT);
	for (int i = 0; i < COUNT; i++)
		ck_assert_int_eq(executor_submit(e, &work_new(&gate, i)->job), 0);
	for (int i = 0; i < COUNT; i++)
		sem_post(&gate);
	executor_free(e);
	ck_assert_int_eq(ran, COUNT);
	ck_assert_int_eq(freed, COUNT);
}
END_TEST

static int leave_a_job_behind(void *arg)
{
	struct call *c = arg;
	struct task *t = spawn(call_executor, c);
	until(&started, 1);
	task_cancel(t);
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), -ECANCELED);
	atomic_store(&left, true);
	return 0;
}

static void *open_later(void *arg)
{
	while (!atomic_load(&left))
		usleep(1000);
	usleep(20000);
	sem_post(arg);
	return NULL;
}

/* Nobody waits for the job any more: the loop may go, whether the job ends soon or never. */
START_TEST(a_loop_does_not_wait_for_a_job_that_was_left)
{
	sem_t gate;
	pthread_t opener;
	sem_init(&gate, 0, 0);
	struct executor *e = new_executor(1, 1);
	struct call c = {e, &gate, DEADLINE_NEVER, 1};
	pthread_create(&opener, NULL, open_later, &gate);
	ck_assert_int_eq(loop_run_main(leave_a_job_behind, &c), 0);
	pthread_join(opener, NULL);
	executor_free(e);
	ck_assert_int_eq(freed, 1);
}
END_TEST

/* A call without a time-out, as PQcancel to a server that is frozen. */
START_TEST(a_job_that_hangs_holds_nobody_up)
{
	sem_t gate;
	sem_init(&gate, 0, 0);
	static struct executor *e; /* it stays, for the thread that hangs */
	e = new_executor(2, 1);
	struct call c = {e, &gate, DEADLINE_NEVER, 1};
	ck_assert_int_eq(loop_run_main(leave_a_job_behind, &c), 0);
	executor_free(e);
	ck_assert_int_eq(freed, 0);
	/* It ends after all. */
	sem_post(&gate);
	for (int i = 0; i < 10000 && atomic_load(&freed) == 0; i++)
		usleep(1000);
	ck_assert_int_eq(freed, 1);
}
END_TEST

/* Loops on several threads share one executor. */
static int use_the_executor(void *arg)
{
	struct call c = {arg, NULL, DEADLINE_NEVER, 3};
	for (int i = 0; i < 200; i++)
		ck_assert_int_eq(call_executor(&c), 6);
	return 0;
}

static void *loop_thread(void *arg)
{
	return (void *)(intptr_t)loop_run_main(use_the_executor, arg);
}

START_TEST(loops_share_an_executor)
{
	struct executor *e = new_executor(2, 10);
	pthread_t t[4];
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, loop_thread, e);
	for (int i = 0; i < 4; i++) {
		void *result;
		pthread_join(t[i], &result);
		ck_assert_ptr_null(result);
	}
	executor_free(e);
	ck_assert_int_eq(freed, 800);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("executor");
	TCase *c = async_tcase(s, "executor");
	tcase_add_checked_fixture(c, set_up, NULL);
	tcase_add_test(c, a_job_runs_and_comes_back);
	tcase_add_test(c, the_queue_is_bounded);
	tcase_add_test(c, a_waiter_cancelled_while_queued_frees_the_job_at_once);
	tcase_add_test(c, a_waiter_that_leaves_while_it_runs_leaves_the_job_to_itself);
	tcase_add_test(c, a_waiter_cancelled_while_the_job_is_on_its_way_back);
	tcase_add_test(c, a_cancelled_task_starts_no_job);
	tcase_add_test(c, many_jobs_each_with_its_own_answer);
	tcase_add_test(c, many_waiters_leave_at_random);
	tcase_add_test(c, free_runs_what_is_queued);
	tcase_add_test(c, a_loop_does_not_wait_for_a_job_that_was_left);
	tcase_add_test(c, a_job_that_hangs_holds_nobody_up);
	tcase_add_test(c, loops_share_an_executor);
	return run_suite(s);
}
