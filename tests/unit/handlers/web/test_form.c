/* Forms: what browsers send, what they may not, and every cut of both. */
#include "handlers/web/form.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BOUNDARY "multipart/form-data; boundary=\"x y\""

static struct arena arena;
static const char *why;

static void make_arena(void)
{
	arena_init(&arena);
}

static void free_arena(void)
{
	arena_done(&arena);
}

static int parse(struct form *f, const char *type, const char *body, size_t len)
{
	return form_parse(f, &arena, (struct span){type, strlen(type)}, (struct span){body, len}, &why);
}

static void assert_span(struct span s, const char *text)
{
	ck_assert_uint_eq(s.len, strlen(text));
	ck_assert_mem_eq(s.base, text, s.len);
}

START_TEST(pairs_are_decoded_in_their_order)
{
	struct form f;
	const char body[] = "a=1&b=x+y%20%C3%A4&&a=2&c&=d";
	ck_assert_int_eq(parse(&f, "Application/X-WWW-form-urlencoded; charset=utf-8", body, strlen(body)), 0);
	ck_assert_uint_eq(f.count, 5);
	assert_span(f.fields[0].name, "a");
	assert_span(f.fields[0].content, "1");
	assert_span(f.fields[1].content, "x y \xc3\xa4");
	assert_span(f.fields[2].content, "2");
	assert_span(f.fields[3].name, "c");
	assert_span(f.fields[3].content, "");
	assert_span(f.fields[4].name, "");
	ck_assert_ptr_null(f.fields[0].filename.base);
}
END_TEST

START_TEST(bad_pairs_are_refused)
{
	struct form f;
	static const char *const bad[] = {"a=%", "a=%4", "a=%zz", "a=%00", "a=%ff", "%c3=1"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_int_eq(parse(&f, "application/x-www-form-urlencoded", bad[i], strlen(bad[i])), -EBADMSG);
}
END_TEST

START_TEST(more_fields_than_allowed_are_refused)
{
	struct form f;
	char body[2 * FORM_MAX_FIELDS + 2];
	for (size_t i = 0; i < sizeof(body); i++)
		body[i] = i % 2 ? '&' : 'a';
	ck_assert_int_eq(parse(&f, "application/x-www-form-urlencoded", body, 2 * FORM_MAX_FIELDS), 0);
	ck_assert_uint_eq(f.count, FORM_MAX_FIELDS);
	ck_assert_int_eq(parse(&f, "application/x-www-form-urlencoded", body, sizeof(body)), -E2BIG);
}
END_TEST

static const char multipart[] = "this is for readers that know no MIME\r\n"
				"--x y\r\n"
				"Content-Disposition: form-data; name=\"title\"\r\n"
				"\r\n"
				"A \xe2\x82\xac title\r\n"
				"--x y  \r\n"
				"X-More: yes\r\n"
				"content-disposition:form-data; filename=\"C:\\\\temp\\a \\\"b\\\".txt\"; name=file\r\n"
				"Content-Type: text/plain; charset=latin1\r\n"
				"\r\n"
				"\r\n--x\xff\0\r\n\r\n"
				"--x y\r\n"
				"Content-Disposition: form-data; name=\"empty\"; filename=\"..\"\r\n"
				"\r\n"
				"\r\n"
				"--x y--\r\nand so is this";

START_TEST(parts_are_read)
{
	struct form f;
	ck_assert_msg(parse(&f, BOUNDARY, multipart, sizeof(multipart) - 1) == 0, "%s", why);
	ck_assert_uint_eq(f.count, 3);
	assert_span(f.fields[0].name, "title");
	assert_span(f.fields[0].content, "A \xe2\x82\xac title");
	ck_assert_ptr_null(f.fields[0].filename.base);
	assert_span(f.fields[1].name, "file");
	assert_span(f.fields[1].filename, "a \"b\".txt");
	assert_span(f.fields[1].type, "text/plain; charset=latin1");
	ck_assert_uint_eq(f.fields[1].content.len, 9);
	ck_assert_mem_eq(f.fields[1].content.base, "\r\n--x\xff\0\r\n", 9);
	assert_span(f.fields[2].filename, "");
	assert_span(f.fields[2].type, "application/octet-stream");
	assert_span(f.fields[2].content, "");
}
END_TEST

/* What stays of a client's path is one segment that names a file, or nothing. */
START_TEST(paths_of_files_are_cut)
{
	static const char *const paths[][2] = {
		{"a.txt", "a.txt"},
		{"..", ""},
		{".", ""},
		{"", ""},
		{"a/..", ""},
		{"a\\..", ""},
		{"../../.", ""},
		{"/etc/passwd", "passwd"},
		{"C:\\x\\b.txt", "b.txt"},
		{"a/b\\c/..d", "..d"},
		{"..\\..\\..", ""},
		{"a/", ""},
		{"...", "..."},
	};
	const char *path = paths[_i][0], *name = paths[_i][1];
	struct form f;
	char body[256];
	int len = snprintf(body, sizeof(body),
			   "--x y\r\nContent-Disposition: form-data; name=f; filename=\"%s\"\r\n\r\n\r\n--x y--", path);
	ck_assert_int_eq(parse(&f, BOUNDARY, body, (size_t)len), 0);
	assert_span(f.fields[0].filename, name);
}
END_TEST

/* A form that was cut off is never taken for a whole one, and nothing is read behind its end. */
START_TEST(every_cut_is_refused)
{
	size_t whole = (size_t)(strstr(multipart + 300, "--x y--") - multipart);
	if (memcmp(multipart + whole, "--x y--", 7) != 0)
		ck_abort_msg("the end of the form was not found");
	for (size_t len = 0; len < whole + 7; len++) {
		struct form f;
		char *copy = malloc(len ? len : 1);
		memcpy(copy, multipart, len);
		ck_assert_int_eq(parse(&f, BOUNDARY, copy, len), -EBADMSG);
		free(copy);
	}
}
END_TEST

START_TEST(what_is_no_form_is_refused)
{
	struct form f;
	ck_assert_int_eq(parse(&f, "", "a=1", 3), -EMEDIUMTYPE);
	ck_assert_int_eq(parse(&f, "application/json", "{}", 2), -EMEDIUMTYPE);
	ck_assert_int_eq(parse(&f, "multipart/form-data", "--x--", 5), -EBADMSG);
	ck_assert_int_eq(parse(&f, "multipart/form-data; boundary=", "--x--", 5), -EBADMSG);
	ck_assert_int_eq(parse(&f, "multipart/form-data; boundary=x", "--x--", 5), 0);
	ck_assert_uint_eq(f.count, 0);
}
END_TEST

START_TEST(bad_parts_are_refused)
{
	static const char *const heads[] = {
		"Content-Disposition: form-data\r\n",
		"Content-Disposition: attachment; name=a\r\n",
		"Content-Disposition: form-data; name\r\n",
		"Content-Disposition: form-data; name=\"a\r\n",
		"Content-Disposition: form-data name=a\r\n",
		"Content-Disposition: form-data; name=\"\xff\"\r\n",
		"no colon\r\n",
		"",
	};
	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		char body[256];
		struct form f;
		int n = snprintf(body, sizeof(body), "--x\r\n%s\r\ntext\r\n--x--", heads[i]);
		ck_assert_int_eq(parse(&f, "multipart/form-data; boundary=x", body, (size_t)n), -EBADMSG);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("form");
	TCase *c = tcase_create("form");
	tcase_add_checked_fixture(c, make_arena, free_arena);
	tcase_add_test(c, pairs_are_decoded_in_their_order);
	tcase_add_test(c, bad_pairs_are_refused);
	tcase_add_test(c, more_fields_than_allowed_are_refused);
	tcase_add_test(c, parts_are_read);
	tcase_add_loop_test(c, paths_of_files_are_cut, 0, 13);
	tcase_add_test(c, every_cut_is_refused);
	tcase_add_test(c, what_is_no_form_is_refused);
	tcase_add_test(c, bad_parts_are_refused);
	suite_add_tcase(s, c);
	SRunner *runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
