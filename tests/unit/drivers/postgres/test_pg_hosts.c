/* Which host comes first, what each attempt gets of the time, and what libpq is told for one host. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "drivers/postgres/keys.h"
#include "drivers/postgres/wire/conninfo.h"
#include "drivers/postgres/wire/hosts.h"
#include "tests/unit/async/async_fixture.h"

enum { SECOND = 1000000 };

static void expect_order(struct pg_hosts *h, int64_t now_us, unsigned fine, const char *expected)
{
	unsigned order[8];
	char got[9] = "";

	ck_assert_uint_eq(pg_hosts_order(h, now_us, order), fine);
	for (unsigned i = 0; i < h->count; i++)
		got[i] = (char)('a' + order[i]);
	ck_assert_str_eq(got, expected);
}

START_TEST(the_last_good_one_is_first_and_what_failed_is_last)
{
	struct pg_hosts h;
	pg_hosts_init(&h, 4);
	expect_order(&h, 100 * SECOND, 4, "abcd");
	pg_hosts_good(&h, 2, "", 100 * SECOND);
	expect_order(&h, 101 * SECOND, 4, "cabd");
	pg_hosts_failed(&h, 0, 101 * SECOND);
	expect_order(&h, 102 * SECOND, 3, "cbda");
	/* Even the one that was good. */
	pg_hosts_failed(&h, 2, 102 * SECOND);
	expect_order(&h, 103 * SECOND, 2, "bdac");
	/* For ten seconds. */
	expect_order(&h, 111 * SECOND, 3, "abdc");
	expect_order(&h, 112 * SECOND, 4, "cabd");
	/* What is good again has not failed. */
	pg_hosts_failed(&h, 1, 113 * SECOND);
	pg_hosts_good(&h, 1, "", 114 * SECOND);
	expect_order(&h, 114 * SECOND, 4, "bacd");
	pg_hosts_done(&h);
}
END_TEST

START_TEST(addresses_of_a_host_likewise)
{
	struct pg_hosts h;
	pg_address addresses[3] = {"::1", "127.0.0.1", "10.0.0.1"};
	pg_hosts_init(&h, 2);
	pg_hosts_address_failed(&h, 1, "::1", 100 * SECOND);
	pg_hosts_good(&h, 1, "10.0.0.1", 100 * SECOND);
	pg_hosts_order_addresses(&h, 1, 101 * SECOND, addresses, 3);
	ck_assert_str_eq(addresses[0], "10.0.0.1");
	ck_assert_str_eq(addresses[1], "127.0.0.1");
	ck_assert_str_eq(addresses[2], "::1");
	/* Names may have more of them over time than there is room for. */
	for (int i = 0; i < 100; i++) {
		pg_address one;
		snprintf(one, sizeof(one), "10.0.1.%d", i);
		pg_hosts_address_failed(&h, 1, one, (101 + i) * SECOND);
	}
	strcpy(addresses[0], "10.0.1.99");
	strcpy(addresses[1], "10.0.1.0");
	pg_hosts_order_addresses(&h, 1, 201 * SECOND, addresses, 2);
	ck_assert_str_eq(addresses[0], "10.0.1.0");
	pg_hosts_done(&h);
}
END_TEST

START_TEST(connections_are_suspect_by_their_beginning)
{
	struct pg_hosts h;
	pg_hosts_init(&h, 2);
	ck_assert(!pg_hosts_is_suspect(&h, 0, 5));
	pg_hosts_suspect(&h, 0, 10);
	ck_assert(pg_hosts_is_suspect(&h, 0, 9));
	ck_assert(!pg_hosts_is_suspect(&h, 0, 10));
	ck_assert(!pg_hosts_is_suspect(&h, 1, 9));
	ck_assert(!pg_hosts_is_frozen(&h, 0, 9));
	pg_hosts_frozen(&h, 1, 20);
	ck_assert(pg_hosts_is_suspect(&h, 1, 19) && pg_hosts_is_frozen(&h, 1, 19));
	pg_hosts_done(&h);
}
END_TEST

/* --- the URL --- */

static struct pg_conninfo *parse(const char *url)
{
	struct pg_source_keys keys = {.prepare = true};
	struct config_source config = {.own = &keys, .name = "shop", .url = (char *)url, .longest_us = SECOND};
	struct error e = ERROR_INIT;

	return pg_conninfo_new(&config, &e);
}

static const struct {
	const char *url, *hosts; /* "name|address|port", separated by blanks; NULL: refused */
} lists[] = {
	{"postgresql://u@a/d", "a||5432"},
	{"postgresql://u@a:1,b:2/d", "a||1 b||2"},
	{"postgresql://u@a:1,b/d", "a||1 b||"},
	{"postgresql://u@a,b/d?port=7", "a||7 b||7"},
	{"postgresql://u@[::1]:5,[fe80::1]:6/d", "::1||5 fe80::1||6"},
	{"host=/run/pg,b port=1,2", "/run/pg||1 b||2"},
	{"host=a,,c", "a||5432 ||5432 c||5432"},
	{"host=a,b hostaddr=10.0.0.1,10.0.0.2 port=1", "a|10.0.0.1|1 b|10.0.0.2|1"},
	{"hostaddr=10.0.0.1,10.0.0.2", "|10.0.0.1|5432 |10.0.0.2|5432"},
	{"host=a hostaddr=10.0.0.1,10.0.0.2", NULL},
	{"host=a,b port=1,2,3", NULL},
	{"host=a port=1,2", NULL},
	{"host=a,b port=1,x", NULL},
	{"host=a port=65536", NULL},
	{"host=a target_session_attrs=both", NULL},
};

START_TEST(lists_of_hosts)
{
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		struct pg_conninfo *info = parse(lists[i].url);
		struct buf got = BUF_INIT;
		ck_assert_msg(!info == !lists[i].hosts, "%s", lists[i].url);
		for (unsigned k = 0; info && k < info->host_count; k++)
			buf_printf(&got, "%s%s|%s|%s", k ? " " : "", info->hosts[k].name, info->hosts[k].address,
				   info->hosts[k].port);
		if (info)
			ck_assert_str_eq(buf_cstr(&got), lists[i].hosts);
		buf_done(&got);
		pg_conninfo_drop(info);
	}
}
END_TEST

static void expect_value(const struct pg_conninfo *info, const char *keyword, const char *value)
{
	ck_assert_msg(strcmp(pg_conninfo_get(info, keyword), value) == 0, "%s is %s", keyword,
		      pg_conninfo_get(info, keyword));
}

START_TEST(one_attempt_gets_one_host)
{
	struct pg_conninfo *info = parse("postgresql://u:pw@a:1,b:2/d?target_session_attrs=primary&keepalives_idle=77");
	struct pg_conninfo *one = pg_conninfo_for(info, &info->hosts[1], "10.0.0.2");

	expect_value(one, "host", "b");
	expect_value(one, "hostaddr", "10.0.0.2");
	expect_value(one, "port", "2");
	expect_value(one, "password", "pw");
	expect_value(one, "target_session_attrs", "any");
	/* What is there by default, and what the URL says instead. */
	expect_value(one, "keepalives_idle", "77");
	expect_value(one, "keepalives_interval", "3");
	expect_value(one, "keepalives_count", "3");
	expect_value(one, "tcp_user_timeout", "10000");
	pg_conninfo_drop(one);
	pg_conninfo_drop(info);
}
END_TEST

/* libpq's variables count for what is taken from the URL. */
START_TEST(the_environment_counts)
{
	setenv("PGHOST", "x,y", 1);
	setenv("PGPORT", "1,2", 1);
	setenv("PGTARGETSESSIONATTRS", "standby", 1);
	struct pg_conninfo *info = parse("postgresql:///d");
	ck_assert_uint_eq(info->host_count, 2);
	ck_assert_str_eq(info->hosts[1].name, "y");
	ck_assert_str_eq(info->hosts[1].port, "2");
	ck_assert_int_eq(info->target, PG_STANDBY);
	pg_conninfo_drop(info);
	unsetenv("PGHOST");
	unsetenv("PGPORT");
	unsetenv("PGTARGETSESSIONATTRS");
}
END_TEST

START_TEST(every_attempt_has_its_budget)
{
	struct pg_conninfo *plain = parse("postgresql://a,b/d"), *told = parse("postgresql://a,b/d?connect_timeout=6");

	ck_assert_int_eq(pg_conninfo_budget_us(plain, 1), 5 * SECOND);
	ck_assert_int_eq(pg_conninfo_budget_us(plain, 2), SECOND * 3 / 2);
	ck_assert_int_eq(pg_conninfo_budget_us(plain, 9), SECOND);
	ck_assert_int_eq(pg_conninfo_budget_us(told, 1), 6 * SECOND);
	ck_assert_int_eq(pg_conninfo_budget_us(told, 3), 2 * SECOND);
	ck_assert_int_eq(pg_conninfo_budget_us(told, 20), SECOND);
	pg_conninfo_drop(plain);
	pg_conninfo_drop(told);
}
END_TEST

int main(void)
{
	unsetenv("PGPORT");
	unsetenv("PGHOST");
	Suite *s = suite_create("postgres: hosts");
	TCase *c = tcase_create("hosts");
	tcase_add_test(c, the_last_good_one_is_first_and_what_failed_is_last);
	tcase_add_test(c, addresses_of_a_host_likewise);
	tcase_add_test(c, connections_are_suspect_by_their_beginning);
	tcase_add_test(c, lists_of_hosts);
	tcase_add_test(c, one_attempt_gets_one_host);
	tcase_add_test(c, the_environment_counts);
	tcase_add_test(c, every_attempt_has_its_budget);
	suite_add_tcase(s, c);
	return run_suite(s);
}
