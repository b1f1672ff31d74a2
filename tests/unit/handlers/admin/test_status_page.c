/* The status page as the server renders it: each value stands where the page wants it, and none is markup. */
#include <check.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "handlers/admin/status_page.h"

/* Words that would be markup or script, if they were not text. */
#define EVIL "</td></script><img src=x onerror=alert(1)>&\\\"'"
#define TEXT "&lt;/td&gt;&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;&amp;&quot;'"

static const char usual[] =
	"{\"version\":1,\"now\":2000000000.5,\"gatherd\":\"0.1.0\",\"host\":\"" EVIL "\",\"started\":1999996400,"
	"\"state\":\"degraded\",\"generation\":3,\"loaded\":1999999990,"
	"\"reload_refused\":{\"time\":1999999999,\"error\":\"x.yaml:3:5: " EVIL "\"},"
	"\"requests\":{\"running\":3,\"limit\":4096},"
	"\"history\":{\"every\":5,\"until\":2000000000,\"requests_per_s\":[1,null,12.345,null],\"errors_percent\":[0],"
	"\"p50_ms\":[0.5],\"p95_ms\":[99.94],\"p99_ms\":[250.4],\"running\":[]},\"events\":[],"
	"\"sources\":[{\"name\":\"shop\",\"kind\":\"postgres\",\"up\":true,\"since\":1999740800,\"error\":null,"
	"\"role\":\"primary\",\"host\":\"10.0.0.1:5432\",\"pool\":{\"size\":8,\"busy\":3,\"idle\":2,\"waiting\":1},"
	"\"p95_ms\":2.25,\"failures_per_s\":0,\"breaker\":null},"
	"{\"name\":\"rates\",\"kind\":\"http\",\"up\":false,\"since\":1999999820,\"error\":\"" EVIL "\",\"role\":null,"
	"\"host\":null,\"pool\":null,\"p95_ms\":null,\"failures_per_s\":1.5,\"breaker\":\"open\"}],"
	"\"endpoints\":[{\"name\":\"GET /a/" EVIL "\",\"requests_per_s\":40,\"p50_ms\":1,\"p95_ms\":2,\"p99_ms\":3,"
	"\"errors_percent\":0,\"incomplete_percent\":2.5,\"slowest_step\":\"orders\"}],"
	"\"errors\":[{\"time\":1999999999,\"status\":503,\"endpoint\":\"GET "
	"/x\",\"step\":null,\"code\":\"57P01\",\"id\":\"abc\","
	"\"error\":\"" EVIL "\"}],"
	"\"slowest\":[{\"time\":1999999999,\"id\":\"def\",\"endpoint\":\"GET /x\",\"ms\":812.5,"
	"\"steps\":[{\"name\":\"one\",\"start_ms\":0,\"ms\":800},{\"name\":\"two\",\"start_ms\":800,\"ms\":12}]}],"
	"\"tasks\":[],\"workers\":[{\"worker\":0,\"lag_ms\":0.25,\"turns_per_s\":900,\"tasks\":3}],"
	"\"log\":{\"dropped\":7,\"left_out\":0}}";

static struct buf page;

static void render(const char *json)
{
	page.len = 0;
	ck_assert_int_eq(status_page_render(&page, json, strlen(json)), 0);
	buf_cstr(&page);
}

static void done(void)
{
	buf_done(&page);
	page = BUF_INIT;
}

static bool has(const char *text)
{
	return strstr(page.data, text) != NULL;
}

START_TEST(values_stand_where_the_page_wants_them)
{
	render(usual);
	ck_assert(has("<header id=\"band\" data-class=\"state\" class=\"degraded\">"));
	ck_assert(has(">Degraded: rates is down since 3 min; the breaker of rates is open; 1 endpoint answers "
		      "incompletely.</h1>"));
	ck_assert(has(">A reload was refused at 03:33:19: x.yaml:3:5: "));
	ck_assert(has(">1 h 0 min</dd>"));               /* up */
	ck_assert(has(">3, loaded 10 s ago</dd>"));      /* the generation */
	ck_assert(has("data-as=\"rate\">12.3</p>"));     /* the last that there is */
	ck_assert(has("data-as=\"whole\">4096</span>")); /* of the requests that may run */
	ck_assert(has("<td class=\"health\">▲ up 3 d 0 h</td>"));
	ck_assert(has("<td>primary 10.0.0.1:5432</td><td>3/8 busy, 1 wait</td><td class=\"n\">2.25</td>"));
	ck_assert(has("<td class=\"health\"><span class=\"down\">▼ down since 3 min</span>: "));
	ck_assert(has("<td>–</td><td>–</td><td class=\"n\">–</td><td class=\"n\">1.50</td><td>open</td></tr>"));
	ck_assert(has("<th scope=\"row\">03:33:19</th><td class=\"n\">503</td><td>GET "
		      "/x</td><td>–</td><td>57P01</td><td>abc</td>"));
	ck_assert(has("<td>one 800, two 12.0</td>"));
	ck_assert(has("<tr><td colspan=\"6\">There are none.</td></tr>")); /* tasks */
	ck_assert(has(">7</strong>"));
	done();
}
END_TEST

START_TEST(no_value_is_markup)
{
	size_t count = 0;
	render(usual);
	ck_assert(!has("<img") && !has("onerror=alert(1)>"));
	for (const char *at = page.data; (at = strstr(at, TEXT)); at += strlen(TEXT))
		count++;
	ck_assert_uint_eq(count, 5);
	done();
}
END_TEST

START_TEST(the_band_has_a_word_for_each_state)
{
	render("{\"state\":\"serving\",\"sources\":[],\"endpoints\":[]}");
	ck_assert(has(">Serving. It has no sources.</h1>"));
	render("{\"state\":\"serving\",\"sources\":[{\"up\":true}]}");
	ck_assert(has(">Serving. Its source is up.</h1>"));
	render("{\"state\":\"serving\",\"sources\":[{\"up\":true},{\"up\":true}]}");
	ck_assert(has(">Serving. All 2 sources up.</h1>"));
	render("{\"state\":\"draining\"}");
	ck_assert(has(">Draining: requests that run may end.</h1>"));
	render("{\"state\":\"not_ready\",\"sources\":[{\"name\":\"a\",\"up\":false},{\"name\":\"b\",\"up\":false}]}");
	ck_assert(has("class=\"not_ready\">") && has(">Not ready: a is down; b is down.</h1>"));
	done();
}
END_TEST

START_TEST(what_is_missing_is_a_dash)
{
	render("{}");
	ck_assert(has("data-as=\"clock\">–</dd>") && has("data-as=\"ms\">–</span>"));
	ck_assert_int_eq(status_page_render(&page, "{", 1), -EBADMSG);
	done();
}
END_TEST

START_TEST(it_is_small_and_whole)
{
	render("{}");
	ck_assert_uint_lt(page.len, 60 * 1024);
	ck_assert(strncmp(page.data, "<!doctype html>", 15) == 0);
	ck_assert_str_eq(page.data + page.len - strlen("</script>\n</body>\n</html>\n"),
			 "</script>\n</body>\n</html>\n");
	ck_assert(has("<style>:root {") && has("\"use strict\";"));
	/* Nothing in the style or the script ends its element early. */
	const char *script = strstr(page.data, "<script>");
	ck_assert_ptr_nonnull(script);
	ck_assert_ptr_eq(strstr(script, "</script>"), page.data + page.len - strlen("</script>\n</body>\n</html>\n"));
	done();
}
END_TEST

START_TEST(the_policy_allows_nothing_inline_but_the_two)
{
	const char *policy = status_page_policy();
	ck_assert_ptr_eq(policy, status_page_policy());
	ck_assert_ptr_nonnull(strstr(policy, "default-src 'none'"));
	ck_assert_ptr_nonnull(strstr(policy, "style-src 'sha256-"));
	ck_assert_ptr_nonnull(strstr(policy, "script-src 'sha256-"));
	ck_assert_ptr_null(strstr(policy, "unsafe"));
	ck_assert_ptr_nonnull(strstr(policy, "frame-ancestors 'none'")); /* the end: it was not cut */
}
END_TEST

int main(void)
{
	Suite *s = suite_create("status_page");
	TCase *t = tcase_create("status_page");
	tcase_add_test(t, values_stand_where_the_page_wants_them);
	tcase_add_test(t, no_value_is_markup);
	tcase_add_test(t, the_band_has_a_word_for_each_state);
	tcase_add_test(t, what_is_missing_is_a_dash);
	tcase_add_test(t, it_is_small_and_whole);
	tcase_add_test(t, the_policy_allows_nothing_inline_but_the_two);
	suite_add_tcase(s, t);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
