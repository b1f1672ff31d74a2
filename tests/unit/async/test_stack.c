/* Stacks: guarded, pooled, and refused rather than died of when no memory map is left. */
#include <execinfo.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <ucontext.h>

#include "async/internal.h"
#include "async/overflow.h"
#include "async/run.h"
#include "base/backtrace.h"
#include "tests/unit/async/async_fixture.h"

/* Run fn in a process of its own; returns its wait status. */
static int in_a_child(int (*fn)(void))
{
	pid_t pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		signal(SIGSEGV, SIG_DFL);
		_exit(fn());
	}
	int status;
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return status;
}

static bool is_mapped(void *page)
{
	return msync(page, 1, MS_ASYNC) == 0;
}

/* Its own pages are writable to the last byte. */
static int write_inside(void)
{
	struct stack_pool p;
	stack_pool_init(&p, 1);
	struct stack *s = stack_get(&p);
	if (!s)
		return 1;
	memset(s->base, 1, s->size);
	stack_put(&p, s);
	stack_pool_done(&p);
	return 0;
}

static ptrdiff_t below = 1;

static int write_below(void)
{
	struct stack_pool p;
	stack_pool_init(&p, 1);
	struct stack *above = stack_get(&p), *s = stack_get(&p), *under = stack_get(&p);
	if (!above || !s || !under)
		return 1;
	((volatile char *)s->base)[-below] = 1;
	return 0;
}

/* Deeper than any stack. */
static int recurse(int depth)
{
	volatile char frame[512];
	frame[0] = (char)depth;
	return depth == 0 ? 0 : recurse(depth - 1) + frame[0];
}

static int overflow(void *arg)
{
	return recurse(*(int *)arg);
}

static int run_an_overflow(void)
{
	int depth = 1000000;
	return loop_run_main(overflow, &depth);
}

static void check_segv(int status)
{
	ck_assert(WIFSIGNALED(status));
	ck_assert_int_eq(WTERMSIG(status), SIGSEGV);
}

/* Whose frame is larger than a page may write anywhere in it. */
START_TEST(a_write_below_ends_in_the_guard)
{
	static const ptrdiff_t places[] = {1, 4097, 20000, STACK_GUARD_SIZE};
	ck_assert_int_eq(in_a_child(write_inside), 0);
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		below = places[i];
		check_segv(in_a_child(write_below));
	}
}
END_TEST

START_TEST(a_task_that_recurses_too_deep_ends_in_the_guard)
{
	check_segv(in_a_child(run_an_overflow));
}
END_TEST

START_TEST(the_pool_keeps_some_and_unmaps_the_rest)
{
	struct stack_pool p;
	struct stack *s[4];
	void *mapping[4];
	stack_pool_init(&p, 2);
	for (int i = 0; i < 4; i++) {
		s[i] = stack_get(&p);
		ck_assert_ptr_nonnull(s[i]);
		ck_assert_uint_eq((uintptr_t)s[i] % 64, 0);
		ck_assert_uint_gt(s[i]->size, STACK_SIZE - 8192);
		mapping[i] = s[i]->mapping;
	}
	ck_assert_uint_eq(p.in_use, 4);
	for (int i = 0; i < 4; i++)
		stack_put(&p, s[i]);
	ck_assert_uint_eq(p.in_use, 0);
	ck_assert_uint_eq(p.idle, 2);
	ck_assert(is_mapped(mapping[0]) && is_mapped(mapping[1]));
	ck_assert(!is_mapped(mapping[2]) && !is_mapped(mapping[3]));
	ck_assert_ptr_eq(stack_get(&p), s[1]); /* the warmest */
	ck_assert_ptr_eq(stack_get(&p), s[0]);
	stack_put(&p, s[0]);
	stack_put(&p, s[1]);
	stack_pool_done(&p);
	for (int i = 0; i < 4; i++)
		ck_assert(!is_mapped(mapping[i]));
}
END_TEST

static int return_seven(void *arg)
{
	(void)arg;
	return 7;
}

LOOP_TEST(tasks_use_one_stack_again_and_again)
{
	struct loop *l = loop_current();
	for (int i = 0; i < 1000; i++)
		ck_assert_int_eq(join(spawn(return_seven, NULL)), 7);
	ck_assert_uint_eq(l->stacks.in_use, 1);
	ck_assert_uint_eq(l->stacks.idle, 1);
	return 0;
}

enum { FRAMES = 100 };

/* How many frames a back-trace shows from here, `deeper` calls further down. */
static __attribute__((noinline)) int frames(int deeper)
{
	void *at[FRAMES];
	int count = deeper > 0 ? frames(deeper - 1) : backtrace(at, FRAMES);
	__asm__ volatile("" ::: "memory"); /* not a tail call */
	return count;
}

/* A back-trace ends at the task's first function, before and after a switch, and has a frame for each call. */
LOOP_TEST(a_back_trace_ends_where_the_task_began)
{
	int count = frames(0);
	ck_assert_int_ge(count, 3);
	ck_assert_int_lt(count, 10);
	ck_assert_int_eq(task_sleep_ms(1), 0);
	ck_assert_int_eq(frames(0), count);
	ck_assert_int_eq(frames(20), count + 20);
	return 0;
}

#if defined(__x86_64__) && !defined(CONTEXT_BOOST) && !defined(CONTEXT_ASAN) && !defined(CONTEXT_TSAN)
#define CAN_STEP 1

static unsigned steps_in_switches, steps_outside, most_frames;

static void on_step(int signo, siginfo_t *info, void *context)
{
	const ucontext_t *interrupted = context;
	struct backtrace b;
	(void)signo, (void)info;
	if (context_switching((uintptr_t)interrupted->uc_mcontext.gregs[REG_RIP])) {
		steps_in_switches++;
		return;
	}
	backtrace_take(&b, true);
	steps_outside++;
	most_frames = b.count > most_frames ? b.count : most_frames;
}

/* From here on a trap follows each instruction, or none any more. */
static void trap_each_step(bool on)
{
	if (on)
		__asm__ volatile("pushfq\norq $0x100, (%%rsp)\npopfq" ::: "memory", "cc");
	else
		__asm__ volatile("pushfq\nandq $~0x100, (%%rsp)\npopfq" ::: "memory", "cc");
}

static int yield_twice(void *arg)
{
	(void)arg;
	int r = task_yield();
	return r < 0 ? r : task_yield();
}

/* New tasks, ones that go on, the loop's own stack: whatever is switched to, at each instruction of it. */
LOOP_TEST(a_back_trace_may_be_taken_at_any_instruction)
{
	struct sigaction action = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO | SA_ONSTACK}, before;
	sigemptyset(&action.sa_mask);
	backtrace_init();
	ck_assert_int_eq(signal_stack_begin(), 0);
	ck_assert_int_eq(sigaction(SIGTRAP, &action, &before), 0);
	struct task *a = spawn(yield_twice, NULL), *b = spawn(yield_twice, NULL);
	trap_each_step(true);
	int r = task_await(&a, DEADLINE_NEVER);
	r |= task_await(&b, DEADLINE_NEVER);
	trap_each_step(false);
	ck_assert_int_eq(r, 0);
	ck_assert_int_eq(sigaction(SIGTRAP, &before, NULL), 0);
	signal_stack_end();
	ck_assert_uint_gt(steps_in_switches, 50);
	ck_assert_uint_gt(steps_outside, 500);
	ck_assert_uint_ge(most_frames, 5); /* from within the poll, say */
	return 0;
}

#endif

/* The sanitizers end the process themselves when they get no memory. */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

static void limit_address_space(size_t more)
{
	long pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");
	if (!f || fscanf(f, "%ld", &pages) != 1)
		_exit(2);
	fclose(f);
	struct rlimit limit = {.rlim_cur = (rlim_t)(pages * sysconf(_SC_PAGESIZE)) + more, .rlim_max = RLIM_INFINITY};
	if (setrlimit(RLIMIT_AS, &limit) < 0)
		_exit(2);
}

/* Take stacks until there are none; one that is given back can be had again. Returns how many, or -1. */
static int use_up(struct stack_pool *p)
{
	int count = 0;
	struct stack *s, *last = NULL, *taken = NULL;
	while ((s = stack_get(p))) {
		s->next = taken;
		taken = last = s;
		count++;
	}
	if (count == 0)
		return -1;
	taken = taken->next;
	stack_put(p, last);
	s = stack_get(p);
	if (!s)
		return -1;
	stack_put(p, s);
	while ((s = taken)) {
		taken = s->next;
		stack_put(p, s);
	}
	return p->in_use == 0 ? count : -1;
}

static int use_up_the_address_space(void)
{
	struct stack_pool p;
	stack_pool_init(&p, 0);
	limit_address_space(10 * (STACK_GUARD_SIZE + STACK_SIZE));
	int first = use_up(&p), second = use_up(&p);
	return first == 10 && second == 10 ? 0 : 1;
}

static int use_up_the_mappings(void)
{
	struct stack_pool p;
	stack_pool_init(&p, 0);
	int first = use_up(&p), second = use_up(&p);
	return first > 1000 && second == first ? 0 : 1;
}

static int sleeper(void *arg)
{
	(void)arg;
	return task_sleep_ms(60000);
}

static int spawn_until_refused(void *arg)
{
	struct task *t[50];
	int count = 0, r = 0;
	(void)arg;
	limit_address_space(10 * (STACK_GUARD_SIZE + STACK_SIZE));
	while (count < 50 && (r = task_spawn(&t[count], sleeper, NULL, NULL)) == 0)
		count++;
	if (count != 10 || r != -EAGAIN || task_sleep_ms(1) < 0)
		return 1;
	for (int i = 0; i < count; i++) {
		task_cancel(t[i]);
		if (task_await(&t[i], DEADLINE_NEVER) != -ECANCELED)
			return 1;
	}
	return task_spawn(&t[0], return_seven, NULL, NULL) == 0 && task_await(&t[0], DEADLINE_NEVER) == 7 ? 0 : 1;
}

static int run_spawn_until_refused(void)
{
	return loop_run_main(spawn_until_refused, NULL);
}

START_TEST(without_address_space_stacks_and_tasks_are_refused)
{
	ck_assert_int_eq(in_a_child(use_up_the_address_space), 0);
	ck_assert_int_eq(in_a_child(run_spawn_until_refused), 0);
}
END_TEST

static long map_limit(void)
{
	long limit = -1;
	FILE *f = fopen("/proc/sys/vm/max_map_count", "r");
	if (f && fscanf(f, "%ld", &limit) != 1)
		limit = -1;
	if (f)
		fclose(f);
	return limit;
}

START_TEST(at_the_limit_of_mappings_stacks_are_refused)
{
	long limit = map_limit();
	if (limit < 4000 || limit > 70000)
		return; /* too large here to be used up in a test */
	ck_assert_int_eq(in_a_child(use_up_the_mappings), 0);
}
END_TEST

#endif

int main(void)
{
	Suite *s = suite_create("stack");
	TCase *c = async_tcase(s, "stack");
	tcase_add_test(c, a_write_below_ends_in_the_guard);
	tcase_add_test(c, a_task_that_recurses_too_deep_ends_in_the_guard);
	tcase_add_test(c, the_pool_keeps_some_and_unmaps_the_rest);
	tcase_add_test(c, tasks_use_one_stack_again_and_again);
	tcase_add_test(c, a_back_trace_ends_where_the_task_began);
#ifdef CAN_STEP
	tcase_add_test(c, a_back_trace_may_be_taken_at_any_instruction);
#endif
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	tcase_add_test(c, without_address_space_stacks_and_tasks_are_refused);
	tcase_add_test(c, at_the_limit_of_mappings_stacks_are_refused);
#endif
	return run_suite(s);
}
