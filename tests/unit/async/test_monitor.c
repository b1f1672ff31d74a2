/* Debug mode: who blocks a loop is told while it does; stacks are measured; overflow names its task. */
#include "tests/unit/async/async_fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "async/monitor.h"
#include "async/overflow.h"
#include "async/run.h"
#include "async/stack.h"
#include "async/stack_use.h"
#include "base/mem.h"

enum { SLOW_MS = 50, PATIENCE_MS = 20000 };
#ifdef __SANITIZE_THREAD__
enum { SIGNALS_COME_AT_ONCE = 0 }; /* it keeps them back until the thread waits */
#else
enum { SIGNALS_COME_AT_ONCE = 1 };
#endif

/* --- what was logged: lines go to stderr at once, and stderr to a file --- */

static FILE *logged;

static void capture_log(void)
{
	logged = tmpfile();
	ck_assert_ptr_nonnull(logged);
	ck_assert_int_ge(dup2(fileno(logged), STDERR_FILENO), 0);
}

static char *log_text(void)
{
	struct stat st;
	ck_assert_int_eq(fstat(fileno(logged), &st), 0);
	char *text = mem_zalloc((size_t)st.st_size + 1);
	ck_assert_int_eq(pread(fileno(logged), text, (size_t)st.st_size, 0), st.st_size);
	return text;
}

static bool line_has(const char *line, const char *end, const char *const parts[])
{
	for (size_t i = 0; parts[i]; i++) {
		const char *found = strstr(line, parts[i]);
		if (!found || found >= end)
			return false;
	}
	return true;
}

/* How many lines of the log hold all of these? */
#define count_lines(...) count_lines_with((const char *const[]){__VA_ARGS__, NULL})
static int count_lines_with(const char *const parts[])
{
	char *text = log_text();
	int count = 0;
	for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1)
		count += line_has(line, end, parts);
	free(text);
	return count;
}

/* --- slow turns --- */

static void begin_debug(int64_t slow_ms)
{
	ck_assert_int_eq(monitor_start(slow_ms * 1000), 0);
	ck_assert_int_eq(signal_stack_begin(), 0);
	ck_assert_int_eq(monitor_watch(loop_current(), 7), 0);
}

static void end_debug(void)
{
	monitor_unwatch(loop_current());
	signal_stack_end();
	monitor_stop();
}

/* At the end of a function: what it calls before has a frame to return to. */
#define NO_TAIL_CALL() __asm__ volatile("")

/* Compute until it was logged that `part` does: the loop hangs for as long as nobody has said so. */
static __attribute__((noinline)) void crunch_until_told(const char *part)
{
	deadline_t by = deadline_in_ms(PATIENCE_MS);
	volatile unsigned sum = 0;
	while (!count_lines("the loop is blocked", part) && !deadline_passed(by)) {
		for (unsigned i = 0; i < 1000000; i++)
			sum += i;
	}
	(void)sum;
}

static int cruncher(void *arg)
{
	crunch_until_told("crunch_until_told");
	return (int)(intptr_t)arg;
}

LOOP_TEST(a_slow_task_is_told_of_while_it_is_slow)
{
	struct task *t;
	begin_debug(SLOW_MS);
	ck_assert_int_eq(task_spawn(&t, cruncher, (void *)5, &(struct task_options){.name = "step orders"}), 0);
	ck_assert_int_eq(join(t), 5);
	ck_assert_int_eq(task_yield(), 0); /* the turn has ended */
	end_debug();
	ck_assert_int_eq(count_lines("level=warning", "msg=\"the loop is blocked\"", "worker=7", "task=\"step orders\"",
				     "task_id=", "where=", "crunch_until_told+0x", "test_monitor.c:", "cruncher+0x",
				     "task_main"),
			 1);
	ck_assert_int_eq(count_lines("the loop is blocked", "task=\"step orders\""), 1);
	ck_assert_int_ge(count_lines("level=warning", "msg=\"the loop was blocked\"", "worker=7", "ms="), 1);
	return 0;
}

static int compare(const void *a, const void *b)
{
	crunch_until_told("qsort");
	return *(const int *)a - *(const int *)b;
}

/* With a frame of a library between ours. */
LOOP_TEST(a_slow_call_from_a_library)
{
	int numbers[] = {2, 1};
	begin_debug(SLOW_MS);
	ck_assert_int_eq(task_yield(), 0);
	qsort(numbers, 2, sizeof(*numbers), compare);
	ck_assert_int_eq(task_yield(), 0);
	end_debug();
	ck_assert_int_eq(count_lines("the loop is blocked", "task=main", "compare+0x", "qsort"), 1);
	return 0;
}

static void slow_message(struct message *m)
{
	(void)m;
	crunch_until_told("slow_message");
	NO_TAIL_CALL();
}

LOOP_TEST(a_slow_callback_on_the_loops_own_stack)
{
	struct message m = {.run = slow_message};
	begin_debug(SLOW_MS);
	loop_post(loop_current(), &m);
	ck_assert_int_eq(task_sleep_ms(1), 0);
	ck_assert_int_eq(task_yield(), 0);
	end_debug();
	ck_assert_int_eq(count_lines("the loop is blocked", "slow_message+0x"), 1);
	ck_assert_int_eq(count_lines("slow_message+0x", "task="), 0);
	return 0;
}

/* What waits in the kernel is interrupted, and goes on. */
static int read_pipe(void *arg)
{
	char c = 0;
	int *fds = arg;
	return read(fds[0], &c, 1) == 1 ? c : -errno;
}

static void *write_when_told(void *arg)
{
	int *fds = arg;
	crunch_until_told("read_pipe");
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	return NULL;
}

LOOP_TEST(a_blocking_system_call_is_told_of_and_goes_on)
{
	int fds[2];
	pthread_t writer;
	struct task *t;
	begin_debug(SLOW_MS);
	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_eq(pthread_create(&writer, NULL, write_when_told, fds), 0);
	ck_assert_int_eq(task_spawn(&t, read_pipe, fds, NULL), 0);
	ck_assert_int_eq(join(t), 'x');
	pthread_join(writer, NULL);
	end_debug();
	ck_assert_int_eq(count_lines("the loop is blocked", "task=task", "read_pipe"), 1);
	close(fds[0]);
	close(fds[1]);
	return 0;
}

/* Has that been logged? Nothing but system calls: for a child that has borrowed our memory. */
static bool says(const char *part)
{
	static char text[4096];
	ssize_t n = pread(fileno(logged), text, sizeof(text), 0);
	return n > 0 && memmem(text, (size_t)n, part, strlen(part));
}

#ifdef __SANITIZE_ADDRESS__ /* its own vfork can't be unwound */
#define WHERE_IT_WAITS "vfork"
#else
#define WHERE_IT_WAITS "wait_without_signals+0x"
#endif

/* No signal reaches who waits for a vfork'ed child. */
static __attribute__((noinline)) int wait_without_signals(void *arg)
{
	static const struct timespec a_while = {.tv_nsec = 1000000};
	int status = 0;
	(void)arg;
	pid_t child = vfork(); // NOLINT(clang-analyzer-security.insecureAPI.vfork)
	if (child == 0) {
		for (int i = 0; i < PATIENCE_MS && !says("where=unknown"); i++)
			nanosleep(&a_while, NULL);
		_exit(0);
	}
	return waitpid(child, &status, 0) == child ? status : -1;
}

LOOP_TEST(what_no_signal_interrupts_is_told_of_when_it_is_over)
{
	struct task *t;
	begin_debug(SLOW_MS);
	ck_assert_int_eq(task_spawn(&t, wait_without_signals, NULL, &(struct task_options){.name = "step disk"}), 0);
	ck_assert_int_eq(join(t), 0);
	ck_assert_int_eq(task_yield(), 0);
	for (deadline_t by = deadline_in_ms(PATIENCE_MS); !count_lines("blocked here") && !deadline_passed(by);)
		ck_assert_int_eq(task_sleep_ms(1), 0);
	end_debug();
	ck_assert_int_eq(count_lines("the loop is blocked", "where=unknown"), 1);
	ck_assert_int_eq(count_lines("level=warning", "msg=\"the loop was blocked here\"", "worker=7",
				     "task=\"step disk\"", "task_id=", "where=", WHERE_IT_WAITS),
			 1);
	return 0;
}

static int busy_but_polite(void *arg)
{
	(void)arg;
	for (int i = 0; i < SLOWER(100000); i++)
		if (task_yield() < 0)
			return -1;
	return 0;
}

/* Long sleeps and long work in short turns are both no news. */
LOOP_TEST(nothing_is_told_of_what_is_not_slow)
{
	begin_debug(10000);
	ck_assert_int_eq(task_sleep_ms(100), 0);
	ck_assert_int_eq(join(spawn(busy_but_polite, NULL)), 0);
	end_debug();
	char *text = log_text();
	ck_assert_str_eq(text, "");
	free(text);
	return 0;
}

/* Stop that process when it says so, and let it go on some time later. */
static void stop_when_told(pid_t whom, int fd, int64_t ms)
{
	char c;
	if (read(fd, &c, 1) != 1 || kill(whom, SIGSTOP) < 0)
		_exit(1);
	usleep((useconds_t)ms * 1000);
	_exit(kill(whom, SIGCONT) < 0);
}

enum { STOPPED_FOR_MS = 2500, STOPPED_SLOW_MS = 1500 };

/* In the middle of a turn. */
static int be_stopped(void *arg)
{
	const int *fd = arg;
	deadline_t by = deadline_in_ms(PATIENCE_MS);
	int64_t before = monotonic_us();
	ck_assert_int_eq(write(*fd, "x", 1), 1);
	for (int64_t now; !deadline_passed(by); before = now) {
		now = monotonic_us();
		if (now - before > (STOPPED_FOR_MS - 500) * 1000)
			return 0;
	}
	return -1;
}

/* Whether it is the watchdog or the loop that goes on first. */
LOOP_TEST(a_process_that_was_stopped_did_not_block)
{
	int fds[2], status = 0;
	ck_assert_int_eq(pipe(fds), 0);
	pid_t me = getpid(), stopper = fork();
	ck_assert_int_ge(stopper, 0);
	if (stopper == 0)
		stop_when_told(me, fds[0], STOPPED_FOR_MS);
	begin_debug(STOPPED_SLOW_MS);
	ck_assert_int_eq(join(spawn(be_stopped, &fds[1])), 0);
	ck_assert_int_eq(task_yield(), 0);
	end_debug();
	ck_assert_int_eq(waitpid(stopper, &status, 0), stopper);
	ck_assert_int_eq(status, 0);
	char *text = log_text();
	ck_assert_str_eq(text, "");
	free(text);
	close(fds[0]);
	close(fds[1]);
	return 0;
}

LOOP_TEST(without_debug_mode_nothing_watches)
{
	ck_assert(!monitor_running());
	ck_assert_int_eq(monitor_watch(loop_current(), 0), 0);
	monitor_unwatch(loop_current());
	monitor_stop();
	return 0;
}

/* --- wrong threads --- */

static __attribute__((noinline)) void loop_thread_only(void)
{
	if (!loop_current())
		monitor_wrong_thread(__func__);
	NO_TAIL_CALL();
}

static void *call_it_from_two_places(void *unused)
{
	for (volatile int i = 0; i < 3; i++) /* not unrolled: one place */
		loop_thread_only();
	loop_thread_only();
	return unused;
}

LOOP_TEST(a_call_on_a_wrong_thread_is_told_once_a_place)
{
	pthread_t other;
	loop_thread_only();
	ck_assert_int_eq(pthread_create(&other, NULL, call_it_from_two_places, NULL), 0);
	pthread_join(other, NULL);
	ck_assert_int_eq(count_lines("msg=\"called on a wrong thread\"", "function=loop_thread_only",
				     "call_it_from_two_places+0x"),
			 2);
	return 0;
}

/* --- stacks --- */

static __attribute__((noinline)) int touch(size_t bytes)
{
	volatile char *room = __builtin_alloca(bytes);
	for (size_t i = 0; i < bytes; i += 512)
		room[bytes - 1 - i] = 1;
	return room[0];
}

static int deep(void *arg)
{
	touch(STACK_SIZE * 8 / 10);
	return (int)(intptr_t)arg;
}

static int shallow(void *arg)
{
	return (int)(intptr_t)arg;
}

struct seen {
	struct stack_use deep, shallow;
};

static void note_use(const struct stack_use *u, void *arg)
{
	struct seen *seen = arg;
	if (strcmp(u->name, "deep") == 0)
		seen->deep = *u;
	if (strcmp(u->name, "shallow") == 0)
		seen->shallow = *u;
}

static void run_named(task_fn fn, const char *name)
{
	struct task *t;
	ck_assert_int_eq(task_spawn(&t, fn, (void *)3, &(struct task_options){.name = name}), 0);
	ck_assert_int_eq(task_await(&t, DEADLINE_NEVER), 3);
}

LOOP_TEST(stacks_are_measured_by_name)
{
	struct seen seen = {0};
	begin_debug(10000);
	/* The others use the stack that the first one has dirtied. */
	run_named(deep, "deep");
	for (deadline_t by = deadline_in_ms(PATIENCE_MS); seen.shallow.measured < 3 && !deadline_passed(by);) {
		run_named(shallow, "shallow");
		ck_assert_int_eq(task_yield(), 0); /* time goes on */
		stack_use_each(note_use, &seen);
	}
	end_debug();
	ck_assert_uint_eq(seen.deep.measured, 1);
	ck_assert_uint_ge(seen.deep.deepest_bytes, STACK_SIZE * 8 / 10);
	ck_assert_uint_le(seen.deep.deepest_bytes, seen.deep.size_bytes);
	ck_assert_uint_ge(seen.shallow.measured, 3);
	ck_assert_uint_gt(seen.shallow.deepest_bytes, 0);
	ck_assert_uint_lt(seen.shallow.deepest_bytes, STACK_SIZE / 4);
	ck_assert_int_eq(count_lines("a task nearly fills its stack", "task=deep"), 1);
	ck_assert_int_eq(count_lines("a task nearly fills its stack", "task=shallow"), 0);
	return 0;
}

/* --- overflow --- */

/* AddressSanitizer's own handler stays, and tells of an overflow itself. */
#ifndef __SANITIZE_ADDRESS__

/* Run fn in a child, as a task with an overflow handler. Returns its wait status. */
static int run_in_child(task_fn fn)
{
	pid_t child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		setrlimit(RLIMIT_CORE, &(struct rlimit){0});
		overflow_install();
		if (signal_stack_begin() < 0)
			_exit(1);
		_exit(loop_run_main(fn, NULL) == 0 ? 0 : 2);
	}
	int status = 0;
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	return status;
}

static __attribute__((noinline)) int recurse(volatile int *depth)
{
	volatile char room[1000];
	room[0] = (char)++*depth;
	return *depth > 0 ? recurse(depth) + room[0] : 0;
}

static int overflow(void *arg)
{
	volatile int depth = 0;
	(void)arg;
	return recurse(&depth);
}

static int spawn_overflow_as(const char *name)
{
	struct task *t;
	if (task_spawn(&t, overflow, NULL, &(struct task_options){.name = name}) < 0)
		return -1;
	return task_await(&t, DEADLINE_NEVER);
}

static int spawn_overflow(void *arg)
{
	(void)arg;
	return spawn_overflow_as("step \"reviews\"");
}

/* A name is whatever a handler gave. */
static int spawn_overflow_of_a_long_name(void *arg)
{
	static char name[3000];
	(void)arg;
	memset(name, 'n', sizeof(name) - 1);
	memcpy(name, "\033[2J\x7f\n", 6);
	return spawn_overflow_as(name);
}

/* stderr is a pipe that is full, and stays so. */
static int overflow_unheard(void *arg)
{
	static const char much[4096];
	int fds[2];
	if (pipe2(fds, O_NONBLOCK) < 0)
		return -1;
	while (write(fds[1], much, sizeof(much)) > 0)
		;
	if (fcntl(fds[1], F_SETFL, 0) < 0 || dup2(fds[1], STDERR_FILENO) < 0)
		return -1;
	return spawn_overflow(arg);
}

static int null_pointer(void *arg)
{
	volatile int *nothing = arg;
	return *nothing;
}

static int sent_signal(void *arg)
{
	(void)arg;
	return kill(getpid(), SIGSEGV);
}

START_TEST(overflow_names_its_task)
{
	int status = run_in_child(spawn_overflow);
	ck_assert(WIFSIGNALED(status));
	ck_assert_int_eq(WTERMSIG(status), SIGSEGV);
	ck_assert_int_eq(count_lines("gatherd: the task \"step \"reviews\"\" (id ", "has overflowed its stack of "), 1);
	ck_assert_int_ge(count_lines("gatherd:   at gatherd+0x"), 3);
}
END_TEST

START_TEST(a_long_name_leaves_room_for_what_happened)
{
	int status = run_in_child(spawn_overflow_of_a_long_name);
	ck_assert_int_eq(WTERMSIG(status), SIGSEGV);
	ck_assert_int_eq(count_lines("gatherd: the task \" [2J  nnn", "nnn\" (id ", "has overflowed its stack of "), 1);
}
END_TEST

START_TEST(overflow_does_not_wait_for_a_reader)
{
	int status = run_in_child(overflow_unheard);
	ck_assert(WIFSIGNALED(status));
	ck_assert_int_eq(WTERMSIG(status), SIGSEGV);
}
END_TEST

START_TEST(other_faults_are_not_called_overflow)
{
	static const task_fn faults[] = {null_pointer, sent_signal};
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		int status = run_in_child(faults[i]);
		ck_assert(WIFSIGNALED(status));
		ck_assert_int_eq(WTERMSIG(status), SIGSEGV);
	}
	char *text = log_text();
	ck_assert_str_eq(text, "");
	free(text);
}
END_TEST

#endif

int main(void)
{
	Suite *s = suite_create("monitor");
	TCase *c = async_tcase(s, "debug mode");
	tcase_add_checked_fixture(c, capture_log, NULL);
	if (SIGNALS_COME_AT_ONCE) {
		tcase_add_test(c, a_slow_task_is_told_of_while_it_is_slow);
		tcase_add_test(c, a_slow_call_from_a_library);
		tcase_add_test(c, a_slow_callback_on_the_loops_own_stack);
		tcase_add_test(c, a_blocking_system_call_is_told_of_and_goes_on);
		tcase_add_test(c, what_no_signal_interrupts_is_told_of_when_it_is_over);
	}
	tcase_add_test(c, nothing_is_told_of_what_is_not_slow);
	tcase_add_test(c, a_process_that_was_stopped_did_not_block);
	tcase_add_test(c, without_debug_mode_nothing_watches);
	tcase_add_test(c, a_call_on_a_wrong_thread_is_told_once_a_place);
	tcase_add_test(c, stacks_are_measured_by_name);
#ifndef __SANITIZE_ADDRESS__
	c = async_tcase(s, "overflow");
	tcase_add_checked_fixture(c, capture_log, NULL);
	tcase_add_test(c, overflow_names_its_task);
	tcase_add_test(c, a_long_name_leaves_room_for_what_happened);
	tcase_add_test(c, overflow_does_not_wait_for_a_reader);
	if (SIGNALS_COME_AT_ONCE) /* and its handler gets the other faults */
		tcase_add_test(c, other_faults_are_not_called_overflow);
#endif
	return run_suite(s);
}
