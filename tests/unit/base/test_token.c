/* Names and values of headers: every byte, at every place. */
#include <check.h>
#include <string.h>

#include "base/token.h"

/* RFC 9110, 5.6.2. */
static bool may_stand_in_one(int c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c != '\0' && strchr("!#$%&'*+-.^_`|~", c));
}

START_TEST(each_byte_is_let_in_or_not)
{
	for (int c = 1; c < 256; c++) {
		for (int at = 0; at < 3; at++) {
			char text[] = "abc";
			text[at] = (char)c;
			ck_assert_msg(is_token(text) == may_stand_in_one(c), "byte %d at %d", c, at);
		}
	}
	ck_assert(is_token("X-Request-Id"));
	ck_assert(!is_token(""));
}
END_TEST

START_TEST(each_byte_is_let_into_a_value_or_not)
{
	static const char around[] = {'a', ' ', '~', '\t', '\x80', '\xff'};
	char text[21];
	for (size_t k = 0; k < sizeof(around); k++) {
		for (int c = 0; c < 256; c++) {
			bool good = c == '\t' || (c >= ' ' && c != 0x7f);
			for (size_t len = 1; len <= sizeof(text); len++) {
				for (size_t at = 0; at < len; at++) {
					memset(text, around[k], sizeof(text));
					text[at] = (char)c;
					ck_assert_msg(is_field_value(text, len) == good, "byte %d at %zu of %zu", c, at,
						      len);
				}
			}
		}
	}
	text[8] = '\n'; /* behind the end */
	ck_assert(is_field_value(text, 8));
	ck_assert(is_field_value("", 0));
	ck_assert(is_field_value(NULL, 0));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("token");
	TCase *t = tcase_create("token");
	tcase_add_test(t, each_byte_is_let_in_or_not);
	tcase_add_test(t, each_byte_is_let_into_a_value_or_not);
	suite_add_tcase(s, t);

	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
