/* Cancel each task of a scenario at each of its moments.
 *
 * The tasks of a scenario call point() before and after what may suspend. The scenario runs once to count the points;
 * then once more for each point and each task, which is cancelled when that point is reached: while it waits, while
 * what it waits for is on its way to it, while it runs, before it has begun. */
#pragma once

#include "tests/unit/async/async_fixture.h"

enum { MAX_STRUCK = 8 };

static struct {
	struct task *tasks[MAX_STRUCK]; /* NULL: ended */
	int count;
	int point, at, victim;
} strike;

static void point(void)
{
	if (strike.point++ == strike.at && strike.tasks[strike.victim])
		task_cancel(strike.tasks[strike.victim]);
}

/* The last thing of each task. */
static int leave(int r)
{
	for (int i = 0; i < strike.count; i++) {
		if (strike.tasks[i] == task_self())
			strike.tasks[i] = NULL;
	}
	return r;
}

/* Run all tasks, the victim cancelled at that point. A scenario that hangs fails. */
static void strike_once(const task_fn *fns, int count, int at, int victim)
{
	struct task *t[MAX_STRUCK];
	strike.count = count;
	strike.point = 0;
	strike.at = at;
	strike.victim = victim;
	for (int i = 0; i < count; i++)
		strike.tasks[i] = t[i] = spawn(fns[i], (void *)(intptr_t)i);
	for (int i = 0; i < count; i++) {
		int r = task_await(&t[i], deadline_in_ms(20000));
		ck_assert_msg(!t[i], "task %d hangs when %d is cancelled at point %d", i, victim, at);
		if (at < 0)
			ck_assert_int_eq(r, 0);
		else
			ck_assert_msg(r == 0 || (r == -ECANCELED && i == victim), "task %d: %d", i, r);
	}
}

/* Returns the number of points. */
static int strike_everywhere(const task_fn *fns, int count, void (*set_up)(void), void (*check)(void))
{
	set_up();
	strike_once(fns, count, -1, 0);
	check();
	int points = strike.point;
	for (int at = 0; at < points; at++) {
		for (int victim = 0; victim < count; victim++) {
			set_up();
			strike_once(fns, count, at, victim);
			check();
		}
	}
	return points;
}
