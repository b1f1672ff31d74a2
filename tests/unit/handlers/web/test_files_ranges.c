/* Ranges, conditions and dates: tables. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "handlers/web/conditions.h"
#include "handlers/web/http_date.h"
#include "handlers/web/ranges.h"
#include "tests/unit/async/async_fixture.h"

#define BIG "18446744073709551616" /* 2^64 */

static struct span span_of(const char *s)
{
	return (struct span){s, s ? strlen(s) : 0};
}

static const struct {
	const char *header;
	uint64_t size;
	const char *expected; /* "0-4,9-9"; "": the whole; "!": none of them is there */
} ranges[] = {
	{"bytes=0-4", 10, "0-4"},
	{"bytes=0-", 10, "0-9"},
	{"bytes=9-", 10, "9-9"},
	{"bytes=0-0", 10, "0-0"},
	{"bytes=5-100", 10, "5-9"},
	{"bytes=5-" BIG "000", 10, "5-9"},
	{"bytes=-3", 10, "7-9"},
	{"bytes=-100", 10, "0-9"},
	{"bytes=-" BIG, 10, "0-9"},
	{"BYTES=0-1", 10, "0-1"},
	{"bytes=0-1,4-5", 10, "0-1,4-5"},
	{"bytes= 0-1 ,\t4-5 ", 10, "0-1,4-5"},
	{"bytes=,0-1,,4-5,", 10, "0-1,4-5"},
	{"bytes=4-5,0-1", 10, "4-5,0-1"},
	{"bytes=0-1,50-60", 10, "0-1"},
	{"bytes=10-", 10, "!"},
	{"bytes=10-11,20-", 10, "!"},
	{"bytes=" BIG "-", 10, "!"},
	{"bytes=-0", 10, "!"},
	{"bytes=-0,0-1", 10, "0-1"},
	{"bytes=0-", 0, "!"},
	{"bytes=-5", 0, ""},
	{"bytes=5-4", 10, ""},
	{"bytes=0-1,5-4", 10, ""},
	{"bytes=a-b", 10, ""},
	{"bytes=0", 10, ""},
	{"bytes=-", 10, ""},
	{"bytes=", 10, ""},
	{"bytes=0-1;2-3", 10, ""},
	{"bytes=0 - 1", 10, ""},
	{"bytes=+1-2", 10, ""},
	{"bytes=0x1-2", 10, ""},
	{"bytes 0-1", 10, ""},
	{"lines=0-1", 10, ""},
	{"", 10, ""},
	{"bytes=0-,0-", 10, ""}, /* more than the whole */
	{"bytes=0-5,2-7", 10, ""},
	{"bytes=0-5,2-5", 10, "0-5,2-5"},
};

START_TEST(ranges_are_understood)
{
	struct byte_range out[RANGES_MAX];
	char text[256] = "";
	int n = ranges_parse(span_of(ranges[_i].header), ranges[_i].size, out);

	if (n == -ERANGE)
		snprintf(text, sizeof(text), "!");
	for (int i = 0; i < n; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%llu-%llu", i ? "," : "",
			 (unsigned long long)out[i].first, (unsigned long long)out[i].last);
	ck_assert_msg(strcmp(text, ranges[_i].expected) == 0, "%s of %llu: %s", ranges[_i].header,
		      (unsigned long long)ranges[_i].size, text);
}
END_TEST

START_TEST(many_ranges_get_the_whole)
{
	struct byte_range out[RANGES_MAX];
	struct buf header = BUF_INIT;

	buf_lit(&header, "bytes=");
	for (int i = 0; i < RANGES_MAX; i++)
		buf_printf(&header, "%s%d-%d", i ? "," : "", 2 * i, 2 * i);
	ck_assert_int_eq(ranges_parse((struct span){header.data, header.len}, 1000, out), RANGES_MAX);
	buf_lit(&header, ",500-");
	ck_assert_int_eq(ranges_parse((struct span){header.data, header.len}, 1000, out), 0);
	buf_done(&header);
}
END_TEST

#define TAG    "\"v1\""
#define BEFORE "Sun, 06 Nov 1994 08:49:36 GMT"
#define THEN   "Sun, 06 Nov 1994 08:49:37 GMT" /* when it was modified */
#define AFTER  "Sun, 06 Nov 1994 08:49:38 GMT"
enum { MODIFIED = 784111777 };

static const struct {
	const char *match, *none_match, *modified_since, *unmodified_since;
	unsigned status;
} conditions[] = {
	{NULL, NULL, NULL, NULL, 200},
	{TAG, NULL, NULL, NULL, 200},
	{"*", NULL, NULL, NULL, 200},
	{"\"v0\", " TAG, NULL, NULL, NULL, 200},
	{"\"v0\"", NULL, NULL, NULL, 412},
	{"W/" TAG, NULL, NULL, NULL, 412}, /* compared strongly */
	{"v1", NULL, NULL, NULL, 412},
	{"", NULL, NULL, NULL, 412},
	{NULL, NULL, NULL, THEN, 200},
	{NULL, NULL, NULL, BEFORE, 412},
	{NULL, NULL, NULL, "yesterday", 200},
	{TAG, NULL, NULL, BEFORE, 200}, /* If-Match decides */
	{NULL, TAG, NULL, NULL, 304},
	{NULL, "*", NULL, NULL, 304},
	{NULL, "W/" TAG, NULL, NULL, 304}, /* compared weakly */
	{NULL, "\"v0\",W/\"v2\" ," TAG, NULL, NULL, 304},
	{NULL, "\"v0\"", NULL, NULL, 200},
	{NULL, "\"a" TAG, NULL, NULL, 200},
	{NULL, "\"v1", NULL, NULL, 200},
	{NULL, "\"v0\"", AFTER, NULL, 200}, /* If-None-Match decides */
	{NULL, NULL, THEN, NULL, 304},
	{NULL, NULL, AFTER, NULL, 304},
	{NULL, NULL, BEFORE, NULL, 200},
	{NULL, NULL, "now", NULL, 200},
	{"\"v0\"", TAG, NULL, NULL, 412},
	{TAG, TAG, NULL, NULL, 304},
};

START_TEST(conditions_decide)
{
	struct validators v = {.etag = TAG, .modified_s = MODIFIED, .now_s = MODIFIED + 10};
	struct conditions c = {
		.if_match = span_of(conditions[_i].match),
		.if_none_match = span_of(conditions[_i].none_match),
		.if_modified_since = span_of(conditions[_i].modified_since),
		.if_unmodified_since = span_of(conditions[_i].unmodified_since),
	};

	ck_assert_uint_eq(conditions_status(&c, &v, true), conditions[_i].status);
	if (c.if_none_match.base && conditions[_i].status == 304)
		ck_assert_uint_eq(conditions_status(&c, &v, false), 412);
}
END_TEST

START_TEST(ranges_are_of_one_version)
{
	static const struct {
		const char *if_range;
		int64_t now_s;
		bool allowed;
	} cases[] = {
		{NULL, MODIFIED + 10, true},      {TAG, MODIFIED + 10, true},  {"\"v0\"", MODIFIED + 10, false},
		{"W/" TAG, MODIFIED + 10, false}, {THEN, MODIFIED + 10, true}, {BEFORE, MODIFIED + 10, false},
		{AFTER, MODIFIED + 10, false},    {THEN, MODIFIED, false},     {"x", MODIFIED + 10, false},
		{"", MODIFIED + 10, false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct validators v = {.etag = TAG, .modified_s = MODIFIED, .now_s = cases[i].now_s};
		struct conditions c = {.if_range = span_of(cases[i].if_range)};
		ck_assert_msg(conditions_allow_range(&c, &v) == cases[i].allowed, "%s", cases[i].if_range);
	}
}
END_TEST

START_TEST(dates_are_read_and_written)
{
	static const char *const good[] = {THEN, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"};
	static const char *const bad[] = {
		"",
		"Sun",
		"784111777",
		"Sun, 06 Nov 1994 08:49:37",
		"Sun, 06 Nov 1994 08:49:37 GMT ",
		"Sun, 06 Nov 1994 25:49:37 GMT",
		"Sun, 06 Nov 1994 08:49:37 GMT, and more than any buffer for a date can hold"};
	char text[HTTP_DATE_SIZE];
	int64_t seconds;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		ck_assert_msg(http_date_parse(good[i], strlen(good[i]), &seconds), "%s", good[i]);
		ck_assert_int_eq(seconds, MODIFIED);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_msg(!http_date_parse(bad[i], strlen(bad[i]), &seconds), "%s", bad[i]);
	http_date_print(text, MODIFIED);
	ck_assert_str_eq(text, THEN);
	http_date_print(text, INT64_MAX);
	ck_assert_str_eq(text, "Thu, 01 Jan 1970 00:00:00 GMT");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("files_ranges");
	TCase *c = async_tcase(s, "tables");
	tcase_add_loop_test(c, ranges_are_understood, 0, ARRAY_SIZE(ranges));
	tcase_add_test(c, many_ranges_get_the_whole);
	tcase_add_loop_test(c, conditions_decide, 0, ARRAY_SIZE(conditions));
	tcase_add_test(c, ranges_are_of_one_version);
	tcase_add_test(c, dates_are_read_and_written);
	return run_suite(s);
}
