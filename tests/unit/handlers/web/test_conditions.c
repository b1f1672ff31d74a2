/* Lists of entity tags. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "handlers/web/conditions.h"

/* The tags of a list, each in brackets. */
static const char *tags_of(const char *text, size_t len, bool strong)
{
	static struct buf out;
	char *copy = strndup(text, len);
	struct span list = {copy, len}, tag;

	out.len = 0;
	while (etag_next(&list, &tag, strong)) {
		buf_char(&out, '[');
		buf_append(&out, tag.base, tag.len);
		buf_char(&out, ']');
	}
	free(copy);
	return buf_cstr(&out);
}

static const struct {
	const char *list, *strong, *all;
} lists[] = {
	{"\"a\"", "[\"a\"]", "[\"a\"]"},
	{"\"a\", W/\"b\" ,,\"c,d\"", "[\"a\"][\"c,d\"]", "[\"a\"][\"b\"][\"c,d\"]"},
	{"\"\"", "[\"\"]", "[\"\"]"},
	{" \t\"a\"\t ", "[\"a\"]", "[\"a\"]"},
	{"W/\"a\"", "", "[\"a\"]"},
	{"a, \"b\"", "", ""},
	{"\"a\" b, \"c\"", "[\"a\"]", "[\"a\"]"},
	{"\"a", "", ""},
	{"W/", "", ""},
	{"w/\"a\"", "", ""},
	{"*", "", ""},
	{"", "", ""},
};

START_TEST(tags_of_lists)
{
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		ck_assert_str_eq(tags_of(lists[i].list, strlen(lists[i].list), true), lists[i].strong);
		ck_assert_str_eq(tags_of(lists[i].list, strlen(lists[i].list), false), lists[i].all);
	}
}
END_TEST

START_TEST(nothing_is_read_beyond_the_end)
{
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		for (size_t len = strlen(lists[i].list); len-- > 0;)
			tags_of(lists[i].list, len, i % 2);
	}
}
END_TEST

static bool is_any(const char *list)
{
	return etag_is_any((struct span){list, strlen(list)});
}

START_TEST(any_version)
{
	ck_assert(is_any("*") && is_any(" * ") && is_any("*\t"));
	ck_assert(!is_any("") && !is_any("**") && !is_any("*, \"a\"") && !is_any("\"*\""));
	ck_assert(etag_listed((struct span){"*", 1}, "\"x\"", true));
	ck_assert(!etag_listed((struct span){"W/\"x\"", 5}, "\"x\"", true));
	ck_assert(etag_listed((struct span){"W/\"x\"", 5}, "\"x\"", false));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("conditions");
	TCase *tc = tcase_create("tags");
	tcase_add_test(tc, tags_of_lists);
	tcase_add_test(tc, nothing_is_read_beyond_the_end);
	tcase_add_test(tc, any_version);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
