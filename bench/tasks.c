/* What tasks cost: the same as bench/tasks.py does on asyncio, and a bare switch of stacks by Boost.Context beside
 * ours.
 *
 * Prints a line `name median` for each measurement; the rounds take turns. */
#include <fenv.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "async/future.h"
#include "async/gather.h"
#include "async/loop.h"
#include "async/queue.h"
#include "async/run.h"
#include "async/semaphore.h"
#include "async/task.h"

enum {
	ROUNDS = 15,
	SPAWNS = 50000,
	SWITCHES = 200000,
	HAND_OVERS = 50000,
	CHILDREN = 1000,
	GATHERS = 20,
	SLEEPERS = 30000,
	TRIPS = 2000
};

static void must(int r)
{
	if (r >= 0)
		return;
	fprintf(stderr, "bench/tasks: %s\n", strerror(-r));
	exit(1);
}

static double clock_ns(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* The thread's own time: what else the machine does is not counted. */
static double now_ns(void)
{
	return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

static int return_zero(void *arg)
{
	(void)arg;
	return 0;
}

/* Run fn as two tasks, for side 0 and side 1, until both have ended. */
static void run_both(int (*fn)(void *side))
{
	struct gather g;
	gather_init(&g, GATHER_FAIL_FAST);
	must(gather_add(&g, "side 0", fn, (void *)0));
	must(gather_add(&g, "side 1", fn, (void *)1));
	must(gather_wait(&g, DEADLINE_NEVER));
	gather_done(&g);
}

/* --- spawn, await, end --- */

static double spawn_ns(void)
{
	double began = now_ns();
	for (int i = 0; i < SPAWNS; i++) {
		struct task *t;
		must(task_spawn(&t, return_zero, NULL, NULL));
		must(task_await(&t, DEADLINE_NEVER));
	}
	return (now_ns() - began) / SPAWNS;
}

/* --- a switch there and back --- */

static struct waiter waiters[2];

/* Each wakes the other and suspends. */
static int wake_and_suspend(void *arg)
{
	intptr_t side = (intptr_t)arg;
	struct waiter *own = &waiters[side], *other = &waiters[!side];
	for (int i = 0; i < SWITCHES; i++) {
		waiter_init(own, NULL, "the other side");
		task_wake(other, 0);
		must(task_suspend(own, DEADLINE_NEVER));
	}
	task_wake(other, 0);
	return 0;
}

static double switch_ns(void)
{
	memset(waiters, 0, sizeof(waiters)); /* the first to run finds nobody to wake */
	double began = now_ns();
	run_both(wake_and_suspend);
	return (now_ns() - began) / SWITCHES;
}

/* --- the same by Boost.Context alone: nothing but two jumps --- */

struct transfer {
	void *context;
	void *data;
};

struct transfer jump_fcontext(void *to, void *data);
void *make_fcontext(void *stack_top, size_t size, void (*fn)(struct transfer from));

static void jump_back(struct transfer from)
{
	for (;;)
		from = jump_fcontext(from.context, NULL);
}

static double boost_ns(void)
{
	static _Alignas(4096) char stack[65536];
	struct transfer other = {.context = make_fcontext(stack + sizeof(stack), sizeof(stack), jump_back)};
	double began = now_ns();
	for (int i = 0; i < SWITCHES; i++)
		other = jump_fcontext(other.context, NULL);
	return (now_ns() - began) / SWITCHES;
}

/* --- hand-overs: each of them finds the other side waiting --- */

static struct semaphore semaphores[2];

static int pass_permits(void *arg)
{
	intptr_t side = (intptr_t)arg;
	for (int i = 0; i < HAND_OVERS; i++) {
		if (side == 0)
			must(semaphore_release(&semaphores[0]));
		must(semaphore_acquire(&semaphores[side ^ 1], DEADLINE_NEVER));
		if (side == 1)
			must(semaphore_release(&semaphores[1]));
	}
	return 0;
}

static double semaphore_ns(void)
{
	for (int i = 0; i < 2; i++) {
		semaphore_init(&semaphores[i], 1, 1);
		must(semaphore_acquire(&semaphores[i], DEADLINE_NEVER));
	}
	double began = now_ns();
	run_both(pass_permits);
	return (now_ns() - began) / (2 * HAND_OVERS);
}

static struct queue queues[2];

static int pass_items(void *arg)
{
	intptr_t side = (intptr_t)arg;
	void *item = &queues;
	for (int i = 0; i < HAND_OVERS; i++) {
		if (side == 0)
			must(queue_put(&queues[0], item, DEADLINE_NEVER));
		must(queue_get(&queues[side ^ 1], &item, DEADLINE_NEVER));
		if (side == 1)
			must(queue_put(&queues[1], item, DEADLINE_NEVER));
	}
	return 0;
}

static double queue_ns(void)
{
	queue_init(&queues[0], 1);
	queue_init(&queues[1], 1);
	double began = now_ns();
	run_both(pass_items);
	double took = now_ns() - began;
	queue_done(&queues[0]);
	queue_done(&queues[1]);
	return took / (2 * HAND_OVERS);
}

/* --- gather --- */

static double gather_us(void)
{
	double began = now_ns();
	for (int n = 0; n < GATHERS; n++) {
		struct gather g;
		gather_init(&g, GATHER_ALL);
		for (int i = 0; i < CHILDREN; i++)
			must(gather_add(&g, "child", return_zero, NULL));
		must(gather_wait(&g, DEADLINE_NEVER));
		gather_done(&g);
	}
	return (now_ns() - began) / GATHERS / 1e3;
}

/* --- a future that another thread resolves --- */

static struct {
	sem_t wanted;
	struct future *future; /* NULL: end */
} order;

static void *resolve_futures(void *arg)
{
	(void)arg;
	for (;;) {
		while (sem_wait(&order.wanted) < 0)
			continue;
		if (!order.future)
			return NULL;
		future_post(order.future, 0);
	}
}

static double future_us(void)
{
	pthread_t thread;
	struct future f;
	sem_init(&order.wanted, 0, 0);
	must(-pthread_create(&thread, NULL, resolve_futures, NULL));
	double began = clock_ns(CLOCK_MONOTONIC);
	for (int i = 0; i < TRIPS; i++) {
		future_init(&f);
		order.future = &f;
		sem_post(&order.wanted);
		must(future_await(&f, DEADLINE_NEVER));
	}
	double took = clock_ns(CLOCK_MONOTONIC) - began;
	order.future = NULL;
	sem_post(&order.wanted);
	pthread_join(thread, NULL);
	sem_destroy(&order.wanted);
	return took / TRIPS / 1e3;
}

/* --- memory --- */

static double resident_mib(void)
{
	long pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");
	if (!f || fscanf(f, "%*d %ld", &pages) != 1)
		abort();
	fclose(f);
	return (double)(pages * sysconf(_SC_PAGESIZE)) / 1048576;
}

static int sleep_long(void *arg)
{
	(void)arg;
	return task_sleep_ms(600000);
}

static double sleepers_mib(void)
{
	struct gather g;
	double before = resident_mib();
	gather_init(&g, GATHER_ALL);
	for (int i = 0; i < SLEEPERS; i++)
		must(gather_add(&g, "sleeper", sleep_long, NULL));
	must(task_sleep_ms(500));
	double now = resident_mib();
	gather_done(&g);
	return now - before;
}

/* --- all of them --- */

enum { SWITCH, BOOST, MEASUREMENTS = 7 };

static const struct measurement {
	const char *name;
	double (*measure)(void);
} measurements[MEASUREMENTS] = {
	[SWITCH] = {"switch_ns", switch_ns},
	[BOOST] = {"boost_ns", boost_ns},
	{"spawn_ns", spawn_ns},
	{"semaphore_ns", semaphore_ns},
	{"queue_ns", queue_ns},
	{"gather_us", gather_us},
	{"future_us", future_us},
};

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void print_median(const char *name, double *samples)
{
	qsort(samples, ROUNDS, sizeof(double), ascending);
	printf("%s %.3f\n", name, samples[ROUNDS / 2]);
}

static int measure_all(void *arg)
{
	static double samples[MEASUREMENTS][ROUNDS];
	double ratios[ROUNDS];
	(void)arg;
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < MEASUREMENTS; i++)
			samples[i][round] = measurements[i].measure();
		ratios[round] = samples[SWITCH][round] / samples[BOOST][round];
	}
	for (int i = 0; i < MEASUREMENTS; i++)
		print_median(measurements[i].name, samples[i]);
	print_median("switch_by_boost", ratios);
	printf("sleepers_mib %.3f\n", sleepers_mib());
	return 0;
}

int main(void)
{
	/* Boost.Context switches the floating-point status, and that is slow where the two sides' differ: with all
	 * flags set from the start they do not. Ours has no part in it. */
	const fexcept_t all = FE_ALL_EXCEPT;
	fesetexceptflag(&all, FE_ALL_EXCEPT);
	must(loop_run_main(measure_all, NULL));
	return 0;
}
