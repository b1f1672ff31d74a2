/* The log: logfmt values, whole lines in order, from many threads, and at the end nothing is left behind. */
#include <check.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"

static int captured = -1, real_stderr = -1;

/* stderr goes to a file in memory until end_capture, which returns what it holds. */
static void begin_capture(void)
{
	captured = memfd_create("stderr", MFD_CLOEXEC);
	real_stderr = dup(STDERR_FILENO);
	ck_assert_int_ge(captured, 0);
	ck_assert_int_ge(dup2(captured, STDERR_FILENO), 0);
}

static char *end_capture(void)
{
	dup2(real_stderr, STDERR_FILENO);
	close(real_stderr);
	off_t size = lseek(captured, 0, SEEK_END);
	char *text = mem_alloc((size_t)size + 1);
	ck_assert_int_eq(pread(captured, text, (size_t)size, 0), size);
	text[size] = '\0';
	close(captured);
	return text;
}

static const struct {
	const char *value;
	size_t len;
	const char *rendered;
} values[] = {
	{"plain", 5, "plain"},
	{"/a/b-c_d.e~%20:8080", 19, "/a/b-c_d.e~%20:8080"},
	{"", 0, "\"\""},
	{"two words", 9, "\"two words\""},
	{"a=b", 3, "\"a=b\""},
	{"say \"hi\"", 8, "\"say \\\"hi\\\"\""},
	{"back\\slash", 10, "\"back\\\\slash\""},
	{"line\nfeed\r\t", 11, "\"line\\nfeed\\r\\t\""},
	{"nul\0esc\x1b", 8, "\"nul\\x00esc\\x1b\""},
	{"del\x7f", 4, "\"del\\x7f\""},
	{"\xc3\xa9t\xc3\xa9", 5, "\"\xc3\xa9t\xc3\xa9\""},
	{"bad\xff", 4, "\"bad\\xff\""},
};

START_TEST(renders_values)
{
	struct buf out = BUF_INIT;
	logfmt_value(&out, values[_i].value, values[_i].len);
	ck_assert_str_eq(buf_cstr(&out), values[_i].rendered);
	buf_done(&out);
}
END_TEST

START_TEST(writes_at_once_before_start)
{
	begin_capture();
	log_line(LOG_LINE_INFO, "hello there", "n=%d", 7);
	log_line(LOG_LINE_WARNING, "bare", "%s", "");
	log_line(LOG_LINE_DEBUG, "not at this level", "n=%d", 7);
	char *text = end_capture();
	ck_assert_int_eq(strncmp(text, "time=2", 6), 0);
	ck_assert_ptr_nonnull(strstr(text, "Z level=info msg=\"hello there\" n=7\n"));
	ck_assert_ptr_nonnull(strstr(text, "Z level=warning msg=bare\n"));
	ck_assert_ptr_null(strstr(text, "level=debug"));
	free(text);
}
END_TEST

START_TEST(stop_writes_what_is_left)
{
	begin_capture();
	log_start(LOG_LINE_WARNING, LOG_OUTPUT_LOGFMT);
	log_line(LOG_LINE_INFO, "below", "n=%d", 1);
	log_line(LOG_LINE_ERROR, "last", "n=%d", 2);
	log_stop();
	char *text = end_capture();
	ck_assert_ptr_null(strstr(text, "below"));
	ck_assert_ptr_nonnull(strstr(text, "msg=last n=2\n"));
	free(text);
}
END_TEST

enum { THREADS = 4, LINES = 5000 };

static void *write_lines(void *arg)
{
	for (int i = 0; i < LINES; i++)
		log_line(LOG_LINE_INFO, "line", "thread=%d n=%d", *(int *)arg, i);
	return NULL;
}

/* Every line of every thread is there, whole, in its thread's order. */
START_TEST(keeps_lines_of_threads_whole)
{
	pthread_t threads[THREADS];
	int numbers[THREADS], next[THREADS] = {0};
	begin_capture();
	log_start(LOG_LINE_INFO, LOG_OUTPUT_LOGFMT);
	for (int i = 0; i < THREADS; i++) {
		numbers[i] = i;
		ck_assert_int_eq(pthread_create(&threads[i], NULL, write_lines, &numbers[i]), 0);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	log_stop();
	char *text = end_capture(), *rest = text;
	for (char *line; (line = strsep(&rest, "\n")) && *line;) {
		int thread, n;
		const char *at = strstr(line, "msg=line thread=");
		ck_assert_ptr_nonnull(at);
		ck_assert_int_eq(sscanf(at, "msg=line thread=%d n=%d", &thread, &n), 2);
		ck_assert_int_eq(n, next[thread]++);
	}
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(next[i], LINES);
	free(text);
}
END_TEST

/* A reader that does not read costs lines, never the caller's time. */
START_TEST(drops_and_counts_when_nobody_reads)
{
	enum { TRIED = 100000 };
	static char line[256];
	int ends[2];
	memset(line, 'x', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\n';
	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	real_stderr = dup(STDERR_FILENO);
	dup2(ends[1], STDERR_FILENO);
	close(ends[1]);
	log_start(LOG_LINE_INFO, LOG_OUTPUT_LOGFMT);
	for (int i = 0; i < TRIED; i++)
		log_raw(LOG_LINE_INFO, line, sizeof(line));

	/* Now it reads: what was kept, and how many were not. The writer may tell of them in several lines, while more
	 * of the kept ones come. */
	long whole = 0, dropped = 0, told = 0;
	FILE *reader = fdopen(ends[0], "r");
	char got[512];
	while (whole + dropped < TRIED && fgets(got, sizeof(got), reader)) {
		const char *at = strstr(got, "msg=\"log lines dropped\" lines=");
		if (at) {
			dropped += strtol(at + strlen("msg=\"log lines dropped\" lines="), NULL, 10);
			told++;
		} else {
			whole++;
		}
	}
	ck_assert_int_gt(told, 0);
	ck_assert_int_gt(whole, 1000);
	ck_assert_int_eq(whole + dropped, TRIED);
	dup2(real_stderr, STDERR_FILENO);
	log_stop();
	fclose(reader);
	close(real_stderr);
}
END_TEST

START_TEST(time_is_rfc3339)
{
	char text[32];
	int year, month, day, hour, minute, second, ms, end = 0;
	ck_assert_uint_eq(log_time(text), 24);
	ck_assert_int_eq(
		sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d.%3dZ%n", &year, &month, &day, &hour, &minute, &second, &ms, &end),
		7);
	ck_assert_int_eq(end, 24);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("log");
	TCase *tests = tcase_create("log");
	tcase_add_loop_test(tests, renders_values, 0, (int)(sizeof(values) / sizeof(values[0])));
	tcase_add_test(tests, writes_at_once_before_start);
	tcase_add_test(tests, stop_writes_what_is_left);
	tcase_add_test(tests, keeps_lines_of_threads_whole);
	tcase_add_test(tests, drops_and_counts_when_nobody_reads);
	tcase_add_test(tests, time_is_rfc3339);
	suite_add_tcase(suite, tests);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
