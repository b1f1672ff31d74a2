/* Lines taken apart again, repeats of one kind, entries for the journal. */
#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "base/log.h"
#include "base/log_fields.h"
#include "base/log_repeat.h"

static bool is(const struct log_field *f, const char *text, size_t len)
{
	return f && f->value_len == len && memcmp(f->value, text, len) == 0;
}

START_TEST(every_byte_comes_back)
{
	struct buf line = BUF_INIT, scratch = BUF_INIT;
	struct log_fields f;
	for (int c = 0; c < 0x80; c++) {
		char value[] = {'a', (char)c, '9', '\\', 'n'};
		line.len = 0;
		buf_lit(&line, "before=x path=");
		logfmt_value(&line, value, sizeof(value));
		buf_lit(&line, " after=7");
		ck_assert(log_fields_parse(&f, line.data, line.len, &scratch));
		ck_assert_uint_eq(f.count, 3);
		ck_assert(is(&f.items[1], value, sizeof(value)));
		ck_assert(is(log_fields_find(&f, "after"), "7", 1) && f.items[2].number);
	}
	buf_done(&line);
	buf_done(&scratch);
}
END_TEST

static const struct {
	const char *text;
	bool number;
} looks[] = {
	{"0", true},   {"-1", true}, {"12.50", true}, {"1e3", false}, {"007", false},  {"1.", false},
	{".5", false}, {"-", false}, {"", false},     {"1a", false},  {"0x1F", false}, {"NaN", false},
};

/* A text never becomes a number on its way: request ids are 32 digits now and then. */
START_TEST(texts_stay_texts)
{
	struct buf line = BUF_INIT, scratch = BUF_INIT;
	struct log_fields f;
	buf_lit(&line, "id=");
	logfmt_value(&line, looks[_i].text, strlen(looks[_i].text));
	ck_assert(log_fields_parse(&f, line.data, line.len, &scratch));
	ck_assert(!f.items[0].number);
	ck_assert(is(&f.items[0], looks[_i].text, strlen(looks[_i].text)));
	ck_assert_int_eq(log_is_number(looks[_i].text, strlen(looks[_i].text)), looks[_i].number);
	buf_done(&line);
	buf_done(&scratch);
}
END_TEST

START_TEST(other_texts_are_not_lines)
{
	static const char *const others[] = {"", "words", "a", "=x", " a=b", "a=b  c=d", "a=\"b\"c", "a=b c"};
	struct buf scratch = BUF_INIT;
	struct log_fields f;
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		ck_assert_msg(!log_fields_parse(&f, others[i], strlen(others[i]), &scratch), "%s", others[i]);
	buf_done(&scratch);
}
END_TEST

static bool hold(struct log_repeats *r, const char *line, int64_t now_us)
{
	struct buf scratch = BUF_INIT;
	struct log_fields f;
	ck_assert(log_fields_parse(&f, line, strlen(line), &scratch));
	bool held = log_repeats_hold(r, &f, line, strlen(line), now_us);
	buf_done(&scratch);
	return held;
}

START_TEST(what_repeats_becomes_one_line)
{
	struct log_repeats r = {0};
	struct buf out = BUF_INIT;
	char line[128];
	unsigned written = 0;
	for (int i = 0; i < 1000; i++) {
		snprintf(line, sizeof(line), "level=error msg=\"it broke\" source=a id=%d ms=%d", i, i);
		written += !hold(&r, line, 1000 + i);
	}
	ck_assert_uint_eq(written, REPEATS_SHOWN);
	ck_assert(!hold(&r, "level=error msg=\"it broke\" source=b", 2000));
	ck_assert(!hold(&r, "level=info msg=\"it broke\" source=a", 2000));
	log_repeats_release(&r, &out, 9000000, false);
	ck_assert_uint_eq(out.len, 0);
	ck_assert_int_eq(log_repeats_due_us(&r), 10001000);
	log_repeats_release(&r, &out, 10001000, false);
	ck_assert_str_eq(buf_cstr(&out), "level=error msg=\"it broke\" source=a id=999 ms=999 repeated=995\n");
	ck_assert_int_eq(log_repeats_due_us(&r), INT64_MAX);
	ck_assert(!hold(&r, line, 10001001));
	buf_done(&out);
	log_repeats_done(&r);
}
END_TEST

START_TEST(requests_and_infos_are_never_held_back)
{
	struct log_repeats r = {0};
	for (int i = 0; i < 100; i++) {
		ck_assert(!hold(&r, "level=error msg=request status=500", i));
		ck_assert(!hold(&r, "level=info msg=listening", i));
	}
	log_repeats_done(&r);
}
END_TEST

/* More kinds than there is room for: all of them are written. */
START_TEST(too_many_kinds)
{
	struct log_repeats r = {0};
	char line[64];
	for (int i = 0; i < 10 * REPEAT_KINDS; i++) {
		snprintf(line, sizeof(line), "level=error msg=\"kind %c%c\"", 'a' + i / 26, 'a' + i % 26);
		ck_assert(!hold(&r, line, i));
	}
	log_repeats_done(&r);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("log fields");
	TCase *t = tcase_create("fields");
	tcase_add_test(t, every_byte_comes_back);
	tcase_add_loop_test(t, texts_stay_texts, 0, (int)ARRAY_SIZE(looks));
	tcase_add_test(t, other_texts_are_not_lines);
	tcase_add_test(t, what_repeats_becomes_one_line);
	tcase_add_test(t, requests_and_infos_are_never_held_back);
	tcase_add_test(t, too_many_kinds);
	suite_add_tcase(suite, t);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
