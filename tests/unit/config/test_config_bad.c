/* Every file of tests/config/bad is refused with exactly the diagnostics that its lines `#! line:column: text` (of
 * another file:
 * `#!! name:line:column: text`) name, in that order. A new mistake to be caught is one more file. */
#include <check.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "config/config.h"
#include "drivers/drivers.h"

#define FOLDER      "tests/config/bad"
#define LEAST_CASES 40 /* a folder that was not found must not pass */

static int is_case(const struct dirent *e)
{
	size_t len = strlen(e->d_name);
	return len > 5 && strcmp(e->d_name + len - 5, ".yaml") == 0;
}

static void read_file(const char *path, struct buf *out)
{
	FILE *f = fopen(path, "rb");
	ck_assert_msg(f != NULL, "%s can't be read", path);
	size_t n;
	do {
		buf_reserve(out, 65536);
		n = fread(out->data + out->len, 1, 65536, f);
		out->len += n;
	} while (n > 0);
	fclose(f);
}

/* The expected lines as diagnostics_print would write them. */
static void expected_of(const char *path, const struct buf *text, struct buf *out)
{
	const char *p = text->data, *end = p + text->len;
	while (p < end) {
		const char *newline = memchr(p, '\n', (size_t)(end - p));
		const char *line_end = newline ? newline : end;
		bool here = line_end - p > 3 && memcmp(p, "#! ", 3) == 0;
		bool there = line_end - p > 4 && memcmp(p, "#!! ", 4) == 0; /* with the file's name in the folder */
		if (here)
			buf_printf(out, "%s:", path);
		else if (there)
			buf_lit(out, FOLDER "/");
		if (here || there) {
			size_t skipped = here ? 3 : 4;
			buf_append(out, p + skipped, (size_t)(line_end - p) - skipped);
			buf_char(out, '\n');
		}
		p = line_end + 1;
	}
}

static void check_file(const char *path)
{
	struct buf text = BUF_INIT, expected = BUF_INIT, found = BUF_INIT;
	struct diagnostics d;

	read_file(path, &text);
	expected_of(path, &text, &expected);
	diagnostics_init(&d);
	struct config *c = config_load(path, &drivers_language, &d);
	diagnostics_print(&d, &found);
	ck_assert_msg(d.errors > 0, "%s was accepted", path);
	ck_assert_msg(expected.len > 0, "%s says nothing of what is expected", path);
	ck_assert_msg(strcmp(buf_cstr(&expected), buf_cstr(&found)) == 0, "\n--- expected\n%s--- found\n%s",
		      expected.data, found.data);
	config_free(c);
	diagnostics_done(&d);
	buf_done(&found);
	buf_done(&expected);
	buf_done(&text);
}

START_TEST(bad_files)
{
	struct dirent **cases;
	int count = scandir(FOLDER, &cases, is_case, alphasort);

	ck_assert_msg(count >= LEAST_CASES, "%d files in %s", count, FOLDER);
	for (int i = 0; i < count; i++) {
		char path[512];
		snprintf(path, sizeof(path), "%s/%s", FOLDER, cases[i]->d_name);
		check_file(path);
		free(cases[i]);
	}
	free(cases);
}
END_TEST

START_TEST(no_file)
{
	struct diagnostics d;
	struct buf found = BUF_INIT;

	diagnostics_init(&d);
	ck_assert_ptr_null(config_load(FOLDER "/no-such-file.yaml", &drivers_language, &d));
	ck_assert_ptr_null(config_load(FOLDER, &drivers_language, &d));
	diagnostics_print(&d, &found);
	ck_assert_str_eq(buf_cstr(&found),
			 FOLDER "/no-such-file.yaml: No such file or directory\n" FOLDER ": Is a directory\n");
	buf_done(&found);
	diagnostics_done(&d);
}
END_TEST

int main(void)
{
	setenv("TEST_WORD", "word", 1);
	setenv("TEST_EMPTY", "", 1);
	setenv("TEST_NOT_UTF8", "\xff", 1);
	unsetenv("TEST_NOT_SET");
	unsetenv("CREDENTIALS_DIRECTORY");

	Suite *s = suite_create("config_bad");
	TCase *t = tcase_create("bad");
	tcase_add_test(t, bad_files);
	tcase_add_test(t, no_file);
	suite_add_tcase(s, t);
	SRunner *runner = srunner_create(s);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
