/* State machines: a move is made, and is a line of the log if that is wanted. */
#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/states.h"

enum { SHUT, OPEN };

static const struct states doors = {
	.of = "front door",
	.names = {[SHUT] = "shut", [OPEN] = "open"},
	.allowed = {[SHUT] = BIT(OPEN), [OPEN] = BIT(SHUT)},
};

/* What a move from shut to open writes to stderr. */
static void open_door(enum log_severity least, uint8_t *state, char *text, size_t size)
{
	int captured = memfd_create("stderr", MFD_CLOEXEC), real = dup(STDERR_FILENO);

	ck_assert_int_ge(captured, 0);
	ck_assert_int_ge(dup2(captured, STDERR_FILENO), 0);
	log_start(least, LOG_OUTPUT_LOGFMT);
	states_move(&doors, state, OPEN, (struct states_subject){.source = "house", .which = 7});
	log_stop();
	dup2(real, STDERR_FILENO);
	close(real);
	ssize_t n = pread(captured, text, size - 1, 0);
	ck_assert_int_ge(n, 0);
	text[n] = '\0';
	close(captured);
}

START_TEST(a_move_is_traced)
{
	char text[512];
	uint8_t state = SHUT;

	open_door(LOG_LINE_DEBUG, &state, text, sizeof(text));
	ck_assert_uint_eq(state, OPEN);
	ck_assert_ptr_nonnull(strstr(text, " level=debug msg=state of=\"front door\" source=house which=7 "
					   "from=shut to=open\n"));
}
END_TEST

START_TEST(a_move_is_not_traced_at_other_levels)
{
	char text[512];
	uint8_t state = SHUT;

	open_door(LOG_LINE_INFO, &state, text, sizeof(text));
	ck_assert_uint_eq(state, OPEN);
	ck_assert_str_eq(text, "");
}
END_TEST

START_TEST(numbers_differ)
{
	uint64_t first = states_number();

	ck_assert_uint_gt(first, 0);
	ck_assert_uint_ne(states_number(), first);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("states");
	TCase *c = tcase_create("states");

	tcase_add_test(c, a_move_is_traced);
	tcase_add_test(c, a_move_is_not_traced_at_other_levels);
	tcase_add_test(c, numbers_differ);
	suite_add_tcase(s, c);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
