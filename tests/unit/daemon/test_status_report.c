/* The screen of `gatherd status`. */
#include "daemon/status_report.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SHOP                                                                                                           \
	"{\"name\":\"shop\",\"kind\":\"postgres\",\"up\":true,\"since\":900,\"pool\":{\"size\":8,\"busy\":3,"          \
	"\"waiting\":0},\"p95_ms\":2.21}"
#define RATES "{\"name\":\"rates\",\"kind\":\"http\",\"up\":false,\"since\":811.5,\"error\":\"connect: timed out\"}"
#define STATUS(sources)                                                                                                \
	"{\"version\":1,\"gatherd\":\"0.2.0\",\"now\":1000,\"started\":-258300,\"loaded\":250,\"generation\":7,"       \
	"\"workers\":[{},{}],\"requests\":{\"running\":3,\"limit\":4096},\"history\":{\"requests_per_s\":[1,411.6,"    \
	"null],"                                                                                                       \
	"\"errors_percent\":[0.04],\"p50_ms\":[1.8],\"p95_ms\":[9,4.1],\"p99_ms\":[8.24]},\"sources\":[" sources "]}"

static void says(const char *status, const char *ready, size_t columns, const char *expected)
{
	struct status_report r = {.columns = columns, .is_ready = strcmp(ready, "{\"ready\":true}") == 0};
	struct buf out = BUF_INIT;
	buf_str(&r.status, status);
	buf_str(&r.ready, ready);
	ck_assert_int_eq(status_report(&out, &r), expected ? 0 : -EBADMSG);
	ck_assert_str_eq(buf_cstr(&out), expected ? expected : "");
	buf_done(&r.status);
	buf_done(&r.ready);
	buf_done(&out);
}

#define FIRST  "gatherd 0.2.0  generation 7 (12 min)  up 3 d  2 workers     "
#define SECOND "412 req/s   p50 1.8  p95 4.1  p99 8.2 ms   5xx 0.0 %   running 3 of 4096\n"

START_TEST(one_screen)
{
	says(STATUS(SHOP "," RATES), "{\"status\":503,\"down\":[\"rates\"]}", 120,
	     FIRST "NOT READY: rates\n" SECOND "shop   postgres  up    3/8 busy, 0 wait, p95 2.2 ms      rates  http   "
		   "   DOWN 3 min: connect: timed out\n");
	says(STATUS(SHOP "," RATES), "{\"status\":503,\"down\":[\"shop\",\"rates\"]}", 80,
	     FIRST "NOT READY: shop, rates\n" SECOND "shop   postgres  up    3/8 busy, 0 wait, p95 2.2 ms\n"
		   "rates  http      DOWN 3 min: connect: timed out\n");
}
END_TEST

START_TEST(why_it_is_not_ready)
{
	says(STATUS(""), "{\"ready\":true}", 80, FIRST "ready\n" SECOND);
	says(STATUS(""), "{\"status\":503,\"code\":\"draining\"}", 80, FIRST "NOT READY: draining\n" SECOND);
}
END_TEST

START_TEST(what_is_not_known_yet)
{
	says("{\"gatherd\":\"x\",\"now\":5,\"started\":1,\"loaded\":1,\"generation\":1,\"workers\":[{}],\"requests\":{"
	     "\"running\":0,\"limit\":1},\"history\":{\"requests_per_s\":[],\"p50_ms\":[null]},\"sources\":[{\"name\":"
	     "\"a\",\"kind\":\"files\",\"up\":true}]}",
	     "{\"ready\":true}", 80,
	     "gatherd x  generation 1 (4 s)  up 4 s  1 worker     ready\n"
	     "- req/s   p50 -  p95 -  p99 - ms   5xx 0.0 %   running 0 of 1\n"
	     "a  files  up    p95 - ms\n");
}
END_TEST

START_TEST(what_would_speak_to_the_terminal)
{
	says(STATUS("{\"name\":\"a\\u001b[2J\\u009b\",\"kind\":\"http\",\"up\":false,\"error\":\"b\\n\\u007fc\"}"),
	     "{\"down\":[\"a\\u001b[2J\"]}", 80, FIRST "NOT READY: a?[2J\n" SECOND "a?[2J?  http  DOWN: b??c\n");
}
END_TEST

START_TEST(what_is_no_status)
{
	static const char *const texts[] = {"", "[]", "{}", "{\"gatherd\":1", "null"};
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		says(texts[i], "{\"ready\":true}", 80, NULL);
	says(STATUS(""), "", 80, NULL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("status report");
	TCase *t = tcase_create("status report");
	tcase_add_test(t, one_screen);
	tcase_add_test(t, why_it_is_not_ready);
	tcase_add_test(t, what_is_not_known_yet);
	tcase_add_test(t, what_would_speak_to_the_terminal);
	tcase_add_test(t, what_is_no_status);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
