/* The last requests that failed, and the slowest ones. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handlers/web/recent.h"

static struct buf out;

static size_t count(void (*render)(struct buf *), const char *text)
{
	size_t n = 0;
	out.len = 0;
	render(&out);
	for (const char *at = buf_cstr(&out); (at = strstr(at, text)); at++)
		n++;
	return n;
}

static void note(unsigned status, int64_t us, const char *id)
{
	recent_note(
		&(struct request_line){.id = id, .status = status, .us = us, .endpoint = "GET /x", .error = "a \"b\""},
		NULL, NULL);
}

static void teardown(void)
{
	buf_done(&out);
	out = BUF_INIT;
	recent_done();
}

START_TEST(failures_are_kept_the_newest_first_a_hundred_of_them)
{
	char id[16];
	for (int i = 0; i < 250; i++) {
		snprintf(id, sizeof(id), "id-%d", i);
		note(i % 2 ? 503 : 404, 1, id);
	}
	ck_assert_uint_eq(count(recent_errors, "\"status\":503"), 100);
	ck_assert_uint_eq(count(recent_errors, "\"status\":404"), 0);
	ck_assert(strstr(out.data, "id-249") < strstr(out.data, "id-247"));
	ck_assert_uint_eq(count(recent_errors, "id-51\""), 1);
	ck_assert_uint_eq(count(recent_errors, "id-49\""), 0);
	ck_assert_uint_eq(count(recent_errors, "\"error\":\"a \\\"b\\\"\""), 100);
}
END_TEST

START_TEST(the_slowest_are_kept_the_slowest_first)
{
	for (int i = 0; i < 1000; i++)
		note(200, (i * 7919) % 1000 + 1, "quick");
	note(200, 5000, "slow");
	recent_age(); /* none is ten minutes old */
	ck_assert_uint_eq(count(recent_slowest, "\"ms\":"), 20);
	ck_assert_uint_eq(count(recent_slowest, "\"ms\":0.9"), 18); /* 0.982 to 0.999 */
	ck_assert_uint_eq(count(recent_slowest, "[{\"time\":"), 1);
	ck_assert(strstr(out.data, "\"ms\":5.000,\"steps\":[]") < strstr(out.data, "\"ms\":1.000"));
}
END_TEST

START_TEST(nothing_is_an_empty_list)
{
	ck_assert_uint_eq(count(recent_errors, "[]"), 1);
	ck_assert_uint_eq(count(recent_slowest, "[]"), 1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("recent");
	TCase *t = tcase_create("recent");
	tcase_add_checked_fixture(t, NULL, teardown);
	tcase_add_test(t, nothing_is_an_empty_list);
	tcase_add_test(t, failures_are_kept_the_newest_first_a_hundred_of_them);
	tcase_add_test(t, the_slowest_are_kept_the_slowest_first);
	suite_add_tcase(s, t);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
