/* Processors that a process may use: quotas of control groups, in folders that look like theirs. */
#include <check.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cores.h"

static char mount_folder[40];

static void setup(void)
{
	char command[200];
	snprintf(mount_folder, sizeof(mount_folder), "/tmp/cores-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(mount_folder));
	snprintf(command, sizeof(command), "mkdir -p %s/a/b/c", mount_folder);
	ck_assert_int_eq(system(command), 0);
}

static void teardown(void)
{
	char command[200];
	snprintf(command, sizeof(command), "rm -r %s", mount_folder);
	ck_assert_int_eq(system(command), 0);
}

static void write_quota(const char *group, const char *text)
{
	char name[200];
	snprintf(name, sizeof(name), "%s%s/cpu.max", mount_folder, group);
	FILE *f = fopen(name, "w");
	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

START_TEST(a_group_without_a_quota_bounds_nothing)
{
	ck_assert_uint_eq(cores_of_group(mount_folder, "/a/b/c"), 0);
	ck_assert_uint_eq(cores_of_group("/nowhere", "/"), 0);
	write_quota("/a/b/c", "max 100000\n");
	ck_assert_uint_eq(cores_of_group(mount_folder, "/a/b/c"), 0);
}
END_TEST

START_TEST(a_part_of_a_processor_counts_as_one)
{
	static const struct {
		const char *text;
		unsigned cores;
	} cases[] = {
		{"100000 100000\n", 1},
		{"150000 100000\n", 2},
		{"1000 100000\n", 1},
		{"0 100000\n", 1},
		{"800000 100000\n", 8},
		{"300001 100000\n", 4},
		{"25000 50000\n", 1},
		{"18446744073709551615 1\n", 4096},
		{"100000 0\n", 0},
		{"nonsense\n", 0},
		{"", 0},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		write_quota("/a", cases[i].text);
		ck_assert_uint_eq(cores_of_group(mount_folder, "/a"), cases[i].cores);
	}
}
END_TEST

START_TEST(the_least_quota_on_the_way_up_holds)
{
	write_quota("/a", "200000 100000");
	write_quota("/a/b/c", "400000 100000");
	ck_assert_uint_eq(cores_of_group(mount_folder, "/a/b/c"), 2);
	ck_assert_uint_eq(cores_of_group(mount_folder, "/a/b/"), 2);
	write_quota("", "100000 100000"); /* a container's own group is the root of what it sees */
	ck_assert_uint_eq(cores_of_group(mount_folder, "/a/b/c"), 1);
	ck_assert_uint_eq(cores_of_group(mount_folder, "/"), 1);
}
END_TEST

START_TEST(no_more_than_the_affinity_mask_has)
{
	cpu_set_t set;
	ck_assert_int_eq(sched_getaffinity(0, sizeof(set), &set), 0);
	unsigned n = cores_usable();
	ck_assert_uint_ge(n, 1);
	ck_assert_uint_le(n, (unsigned)CPU_COUNT(&set));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cores");
	TCase *t = tcase_create("cores");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_group_without_a_quota_bounds_nothing);
	tcase_add_test(t, a_part_of_a_processor_counts_as_one);
	tcase_add_test(t, the_least_quota_on_the_way_up_holds);
	tcase_add_test(t, no_more_than_the_affinity_mask_has);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed > 0;
}
