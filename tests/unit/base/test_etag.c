/* Texts as entity tags. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/etag.h"

static const char *tag_of(const char *text, size_t len)
{
	static struct buf out;

	out.len = 0;
	etag_append(&out, text, len);
	return buf_cstr(&out);
}

START_TEST(visible_texts_are_tags_as_they_are)
{
	ck_assert_str_eq(tag_of("731", 3), "731");
	ck_assert_str_eq(tag_of("a-b.c~!#\\'", 10), "a-b.c~!#\\'");
	char longest[129];
	memset(longest, 'x', sizeof(longest));
	ck_assert_uint_eq(strlen(tag_of(longest, 128)), 128);
	ck_assert_uint_eq(strlen(tag_of(longest, 129)), 22);
}
END_TEST

START_TEST(others_are_hashed)
{
	/* printf 'a b' | openssl sha256 -binary | head -c 16 | basenc --base64url */
	ck_assert_str_eq(tag_of("a b", 3), "yGh6CKpdbtIEQyj6aml6uA");
	static const struct {
		const char *text;
		size_t len;
	} odd[] = {{"\"", 1}, {"\xc3\xa9", 2}, {"\x7f", 1}, {"a\0b", 3}, {"\r\n", 2}, {" ", 1}};
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		const char *tag = tag_of(odd[i].text, odd[i].len);
		ck_assert_uint_eq(strlen(tag), 22);
		ck_assert_uint_eq(strspn(tag, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"), 22);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("etag");
	TCase *tc = tcase_create("etag");
	tcase_add_test(tc, visible_texts_are_tags_as_they_are);
	tcase_add_test(tc, others_are_hashed);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
