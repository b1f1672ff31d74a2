/* json_check says of every text what json_parse says of it. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/json.h"
#include "tests/unit/async/async_fixture.h"

static const char *const texts[] = {
	"",
	" ",
	"null",
	" null ",
	"nul",
	"nulll",
	"true",
	"false",
	"[]",
	"[ ]",
	"{}",
	"{ }",
	"[1]",
	"[1,]",
	"[,1]",
	"[1 2]",
	"[1,2",
	"]",
	"[}",
	"{]",
	"{\"a\":1}",
	"{\"a\" : 1 , \"b\":[{},[],{\"c\":null}]}",
	"{\"a\":}",
	"{\"a\"}",
	"{\"a\",1}",
	"{a:1}",
	"{1:1}",
	"{\"a\":1,}",
	"{\"a\":1}}",
	"{\"a\":1} x",
	"0",
	"-0",
	"01",
	"-",
	"+1",
	"1.",
	".5",
	"1.5e",
	"1.5e+3",
	"1E-2",
	"1e999",
	"1-2",
	"1.2.3",
	"1e5e5",
	"--1",
	"12345678901234567890",
	"\"\"",
	"\"a",
	"\"a\\",
	"\"\\\"\"",
	"\"\\q\"",
	"\"\\b\\f\\n\\r\\t\\/\\\\\\\"\"",
	"\"\\u0000\"",
	"\"\\u00e9\\uABCD\"",
	"\"\\u00g0\"",
	"\"\\u12\"",
	"\"\\u12",
	"\"\\uD83D\\uDE00\"",
	"\"\\uD83D\"",
	"\"\\uD83Dx\"",
	"\"\\uD83D\\u0041\"",
	"\"\\uDE00\"",
	"\"\\uD83D\\uDE0\"",
	"\"a\nb\"",
	"\"\x7f\"",
	"\"\xc3\xa9\"",
	"\"\xff\"",
	"\"\xed\xa0\x80\"",
	"\xef\xbb\xbf[]",
	"[\"a\",\"b\\n\",{\"c\\u0041\":\"d\"}]",
	"[[[[[[[[[[[]]]]]]]]]]]",
};

static void compare_lenient(const char *text, size_t len, unsigned depth)
{
	struct arena a;
	struct json *tree;
	char why[128];
	bool spaced;

	arena_init(&a);
	int parsed = json_read(&tree, &a, text, len, depth, JSON_CUT_SURROGATES, why, sizeof(why));
	ck_assert_int_eq(json_check(text, len, depth, JSON_CUT_SURROGATES, &spaced, why, sizeof(why)), parsed);
	arena_done(&a);
}

static void compare(const char *text, size_t len, unsigned depth)
{
	struct arena a;
	struct json *tree;
	char parsed_why[128] = "", checked_why[128] = "";
	bool spaced = false;

	compare_lenient(text, len, depth);
	arena_init(&a);
	int parsed = json_parse(&tree, &a, text, len, depth, parsed_why, sizeof(parsed_why));
	int checked = json_check(text, len, depth, JSON_STRICT, &spaced, checked_why, sizeof(checked_why));
	ck_assert_msg(parsed == checked, "%.*s: %d %s, %d %s", (int)len, text, parsed, parsed_why, checked,
		      checked_why);
	ck_assert_int_eq(checked < 0, checked_why[0] != '\0');
	if (checked == 0) {
		struct buf compact = BUF_INIT;
		json_compact(&compact, text, len);
		ck_assert_msg(spaced == (compact.len < len), "%.*s", (int)len, text);
		buf_done(&compact);
	}
	arena_done(&a);
}

START_TEST(they_agree)
{
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		compare(texts[i], strlen(texts[i]), 64);
		compare(texts[i], strlen(texts[i]), 1);
		compare(texts[i], strlen(texts[i]), 10);
	}
	compare("[\0]", 3, 64);
	compare("\"a\0b\"", 5, 64);
	compare("1\0", 2, 64);
	compare("\"\\\0\"", 4, 64);
}
END_TEST

/* Every prefix, and every text with some bytes replaced. */
START_TEST(they_agree_on_what_is_broken)
{
	static const char bytes[] = "[]{}\",:\\u0123456789aeDd.+- \n\ttfn\xff\xc3\xa9";
	uint64_t random = 1;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		size_t len = strlen(texts[i]);
		for (size_t n = 0; n < len; n++)
			compare(texts[i], n, 64);
		for (int round = 0; round < SLOWER(500) && len > 0; round++) {
			char *copy = malloc(len);
			memcpy(copy, texts[i], len);
			for (uint32_t k = next_random(&random) % 3 + 1; k > 0; k--)
				copy[next_random(&random) % len] = bytes[next_random(&random) % (sizeof(bytes) - 1)];
			compare(copy, len, 8);
			free(copy);
		}
	}
}
END_TEST

START_TEST(depth_is_bounded)
{
	static char deep[100000];
	bool spaced;
	char why[64];

	memset(deep, '[', sizeof(deep));
	ck_assert_int_eq(json_check(deep, sizeof(deep), JSON_MAX_DEPTH, JSON_STRICT, &spaced, why, sizeof(why)),
			 -E2BIG);
	ck_assert_str_eq(why, "nested too deep (at byte 64)");
	memset(deep + JSON_MAX_DEPTH, ']', JSON_MAX_DEPTH);
	ck_assert_int_eq(
		json_check(deep, (size_t)2 * JSON_MAX_DEPTH, JSON_MAX_DEPTH, JSON_STRICT, &spaced, why, sizeof(why)),
		0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("json_check");
	TCase *c = async_tcase(s, "check");
	tcase_add_test(c, they_agree);
	tcase_add_test(c, they_agree_on_what_is_broken);
	tcase_add_test(c, depth_is_bounded);
	return run_suite(s);
}
