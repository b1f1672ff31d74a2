/* Prefer: one preference of a list. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"
#include "handlers/web/prefer.h"

static const struct {
	const char *fields;
	bool minimal;
} cases[] = {
	{"return=minimal", true},
	{"Return = Minimal", true},
	{"return=\"minimal\"", true},
	{"respond-async, return=minimal;foo=1 , wait=5", true},
	{"a=\"x, return=representation\", return=minimal", true},
	{"a=\"\\\", return=minimal\"", false},
	{"return=minimal, return=representation", true},
	{"return=representation, return=minimal", false},
	{"return", false},
	{"return=", false},
	{"return=minimal=", false},
	{"returned=minimal", false},
	{"minimal", false},
	{",,;=,\"", false},
	{"", false},
};

START_TEST(of_a_list_the_first_return_counts)
{
	const char *fields = cases[_i].fields;

	ck_assert_msg(prefer_minimal((struct span){fields, strlen(fields)}) == cases[_i].minimal, "%s", fields);
	ck_assert(!prefer_minimal((struct span){NULL, 0}));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("prefer");
	TCase *t = tcase_create("prefer");

	tcase_add_loop_test(t, of_a_list_the_first_return_counts, 0, (int)ARRAY_SIZE(cases));
	suite_add_tcase(s, t);
	SRunner *runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
