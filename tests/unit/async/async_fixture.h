/* What the tests of async/ share. */
#pragma once

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "async/loop.h"
#include "async/run.h"
#include "async/task.h"

#if defined(__SANITIZE_THREAD__)
#define SLOWER(n) ((n) / 10) /* how much of a load a TSan run takes */
#else
#define SLOWER(n) (n)
#endif

/* A test whose body is the main task of a loop; it returns 0. */
#define LOOP_TEST(name)                                                                                                \
	static int name##_main(void *unused);                                                                          \
	START_TEST(name)                                                                                               \
	{                                                                                                              \
		ck_assert_int_eq(loop_run_main(name##_main, NULL), 0);                                                 \
	}                                                                                                              \
	END_TEST                                                                                                       \
	static int name##_main(void *unused __attribute__((unused)))

static inline TCase *async_tcase(Suite *s, const char *name)
{
	TCase *c = tcase_create(name);
	tcase_set_timeout(c, 60);
	suite_add_tcase(s, c);
	return c;
}

static inline int run_suite(Suite *s)
{
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* The resident size of this process. */
static inline long resident_kib(void)
{
	long pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");
	if (!f || fscanf(f, "%*d %ld", &pages) != 1)
		abort();
	fclose(f);
	return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* The open descriptors of this process, the one that counts them included. */
static inline int open_fds(void)
{
	int count = 0;
	DIR *d = opendir("/proc/self/fd");
	if (!d)
		abort();
	while (readdir(d))
		count++;
	closedir(d);
	return count;
}

/* A small generator, the same numbers in every run. */
static inline uint32_t next_random(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*state >> 33);
}

static inline struct task *spawn(task_fn fn, void *arg)
{
	struct task *t;
	ck_assert_int_eq(task_spawn(&t, fn, arg, NULL), 0);
	return t;
}

/* Await t, whatever became of the calling task. */
static inline int join(struct task *t)
{
	struct shield s;
	task_shield(&s, DEADLINE_NEVER);
	int r = task_await(&t, DEADLINE_NEVER);
	task_unshield(&s);
	return r;
}

/* Let the others run n times, or until `done`. Returns whether it is done. */
static inline bool let_run(unsigned n, const bool *done)
{
	for (unsigned i = 0; i < n && !*done; i++)
		ck_assert_int_eq(task_yield(), 0);
	return *done;
}

/* Run fn in a task, and cancel it after n turns. Returns whether it was done before, and in *r its result; fn sets
 * *done, which is in its argument. */
static inline bool cancel_after(unsigned n, task_fn fn, void *arg, const bool *done, int *r)
{
	struct task *t = spawn(fn, arg);
	bool before = let_run(n, done);
	task_cancel(t);
	*r = join(t);
	return before;
}

/* Yield until what is ready, and what that makes ready, has run. */
static inline void settle(void)
{
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(task_yield(), 0);
}
