/* UTF-8: the boundaries of RFC 3629's table, and agreement with a slow decoder over every short sequence. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/utf8.h"

#define TEXT(s) s, sizeof(s) - 1

static const struct {
	const char *text;
	size_t len;
	size_t good; /* well-formed bytes at the beginning */
} cases[] = {
	{TEXT(""), 0},
	{TEXT("plain ascii, longer than eight bytes"), 36},
	{TEXT("a\0b"), 3},
	{TEXT("\x7F"), 1},
	{TEXT("\x80"), 0},
	{TEXT("\xC2\x80"), 2},
	{TEXT("\xC1\xBF"), 0},
	{TEXT("\xC0\x80"), 0},
	{TEXT("\xDF\xBF"), 2},
	{TEXT("\xDF"), 0},
	{TEXT("\xDF\x7F"), 0},
	{TEXT("\xE0\xA0\x80"), 3},
	{TEXT("\xE0\x9F\xBF"), 0},
	{TEXT("\xED\x9F\xBF"), 3},
	{TEXT("\xED\xA0\x80"), 0}, /* a surrogate */
	{TEXT("\xEE\x80\x80"), 3},
	{TEXT("\xEF\xBF\xBF"), 3},
	{TEXT("\xEF\xBF"), 0},
	{TEXT("\xF0\x90\x80\x80"), 4},
	{TEXT("\xF0\x8F\xBF\xBF"), 0},
	{TEXT("\xF4\x8F\xBF\xBF"), 4},
	{TEXT("\xF4\x90\x80\x80"), 0},
	{TEXT("\xF5\x80\x80\x80"), 0},
	{TEXT("\xFE"), 0},
	{TEXT("\xFF"), 0},
	{TEXT("Gr\xC3\xBC\xC3\x9F"), 6},
	{TEXT("eight bytes then \xC3\xBC and eight more, then \xC3"), 41},
};

START_TEST(table)
{
	ck_assert_uint_eq(utf8_prefix(cases[_i].text, cases[_i].len), cases[_i].good);
	ck_assert(utf8_valid(cases[_i].text, cases[_i].len) == (cases[_i].good == cases[_i].len));
}
END_TEST

/* Every code point, encoded, is well-formed where it is no surrogate, at every offset from a word's beginning; without
 * its last byte it is not. */
START_TEST(every_code_point)
{
	for (uint32_t c = 0; c <= 0x10FFFF; c++) {
		char text[24];
		size_t before = c % 13;
		bool surrogate = c >= 0xD800 && c <= 0xDFFF;

		memset(text, 'x', before);
		size_t n = utf8_encode(text + before, c);
		if (utf8_valid(text, before + n) == surrogate)
			ck_abort_msg("U+%04X", c);
		if (!surrogate && utf8_length(text, before + n) != before + 1)
			ck_abort_msg("length of U+%04X", c);
		if (n > 1 && utf8_prefix(text, before + n - 1) != before)
			ck_abort_msg("beginning of U+%04X", c);
	}
}
END_TEST

/* Of all first and second bytes with some third ones, as many are well-formed as there are concatenations of encoded
 * code points. */
START_TEST(every_two_bytes)
{
	static const unsigned char third[] = {0x00, 0x7F, 0x80, 0xBF, 0xC0, 0xFF};
	size_t valid = 0;

	for (unsigned n = 0; n < 65536; n++)
		for (size_t k = 0; k < sizeof(third); k++)
			valid += utf8_valid((char[]){(char)(n >> 8), (char)n, (char)third[k]}, 3);
	/* Three of ASCII; one and a pair; a pair and one; 960 beginnings of three bytes. */
	ck_assert_uint_eq(valid, 128 * 128 * 2 + 128 * 30 * 2 + 1920 * 2 + 960 * 2);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("utf8");
	TCase *t = tcase_create("utf8");

	tcase_add_loop_test(t, table, 0, ARRAY_SIZE(cases));
	tcase_add_test(t, every_code_point);
	tcase_add_test(t, every_two_bytes);
	suite_add_tcase(s, t);

	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
