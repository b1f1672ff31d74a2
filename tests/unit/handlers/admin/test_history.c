/* What the status page says of the last minutes: differences of counters, percentiles within buckets. */
#include <check.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/tally.h"
#include "handlers/admin/history.h"
#include "handlers/web/numbers.h"

static uint64_t buckets[HISTOGRAM_MOST + 1];

static void setup(void)
{
	memset(buckets, 0, sizeof(buckets));
	histogram_set_bounds(&histogram_bounds_default);
}

static void is_about(double found, double wanted)
{
	ck_assert_msg(found > wanted - 0.001 && found < wanted + 0.001, "%f is not %f", found, wanted);
}

START_TEST(nothing_has_no_percentile)
{
	ck_assert_double_lt(history_quantile_ms(buckets, 0.5), 0);
}
END_TEST

START_TEST(percentiles_lie_within_their_bucket)
{
	buckets[0] = 50; /* up to 0.5 ms */
	buckets[2] = 50; /* 1 to 2.5 ms */
	is_about(history_quantile_ms(buckets, 0.25), 0.25);
	is_about(history_quantile_ms(buckets, 0.5), 0.5);
	is_about(history_quantile_ms(buckets, 0.75), 1.75);
	is_about(history_quantile_ms(buckets, 1), 2.5);
}
END_TEST

START_TEST(beyond_the_last_bound_is_the_last_bound)
{
	buckets[histogram_bounds.count] = 1;
	is_about(history_quantile_ms(buckets, 0.99), 10000);
}
END_TEST

static struct buf out;

static bool says(void (*render)(struct buf *), const char *text)
{
	out.len = 0;
	render(&out);
	return strstr(buf_cstr(&out), text) != NULL;
}

static void endpoints(struct buf *b)
{
	(void)!history_endpoints(b);
}

START_TEST(an_endpoint_is_there_from_its_first_look_until_it_is_counted_no_more)
{
	struct tally *t = tally_take(&endpoint_tally, "GET /a\"b");
	struct endpoint_numbers *n = tally_here(t);
	history_look(0);
	for (int i = 0; i < 10; i++)
		endpoint_count(n, METHOD_GET, i < 5 ? 200 : 503, 2000);
	history_look(7);
	ck_assert(says(endpoints, "{\"name\":\"GET /a\\\"b\",\"requests_per_s\":"));
	ck_assert(says(endpoints, "\"mean_ms\":2,"));
	ck_assert(says(endpoints, "\"errors_percent\":50,\"incomplete_percent\":0,\"slowest_step\":null}"));
	ck_assert(says(history_render, ",50],\"p50_ms\":["));
	ck_assert(says(history_render, ",7]},\"events\":[]"));
	tally_drop(t);
	history_look(0);
	ck_assert(!says(endpoints, "GET /a"));
	history_event("source down", "shop");
	ck_assert(says(history_render, "\"kind\":\"source down\",\"text\":\"shop\"}]"));
	buf_done(&out);
	out = BUF_INIT;
	history_done();
}
END_TEST

START_TEST(the_history_goes_on_when_it_is_full)
{
	for (int i = 0; i < 500; i++) {
		history_look((unsigned)i);
		history_event("start", NULL);
	}
	ck_assert(says(history_render, ",498,499]},"));
	ck_assert(!says(history_render, "\"running\":[null"));
	buf_done(&out);
	out = BUF_INIT;
	history_done();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("history");
	TCase *t = tcase_create("history");
	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_test(t, nothing_has_no_percentile);
	tcase_add_test(t, percentiles_lie_within_their_bucket);
	tcase_add_test(t, beyond_the_last_bound_is_the_last_bound);
	tcase_add_test(t, an_endpoint_is_there_from_its_first_look_until_it_is_counted_no_more);
	tcase_add_test(t, the_history_goes_on_when_it_is_full);
	suite_add_tcase(s, t);
	SRunner *sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
