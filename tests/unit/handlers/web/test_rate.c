/* The rate of a client: the bucket, many clients in a table of a fixed size, all workers at once; and who the client is
 * behind proxies. */
#include "handlers/web/rate.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "tests/unit/async/async_fixture.h"

enum { SECOND = 1000000 };

static const struct config_rate ten_a_second = {.count = 10, .per_us = SECOND};
static const struct config_rate three_an_hour = {.count = 3, .per_us = 3600LL * SECOND};

static struct address address(const char *text)
{
	struct address a;
	ck_assert_msg(address_parse(&a, text, strlen(text)), "%s", text);
	return a;
}

static bool take(struct rates *r, const struct config_rate *rate, const char *who, int64_t now_us)
{
	struct address a = address(who);
	return rates_take(r, rate_identity("GET /", rate), rate, &a, now_us).pass;
}

/* --- the bucket --- */

START_TEST(a_quiet_client_may_send_all_at_once_then_one_an_interval)
{
	struct rates *r = rates_new(64);
	struct address who = address("192.0.2.1");
	int64_t now = 5 * SECOND;
	for (unsigned i = 0; i < 10; i++) {
		struct rate_verdict v = rates_take(r, 1, &ten_a_second, &who, now);
		ck_assert(v.pass);
		ck_assert_uint_eq(v.remaining, 9 - i);
		ck_assert_int_eq(v.full_us, (i + 1) * SECOND / 10);
		ck_assert_int_eq(v.wait_us, i < 9 ? 0 : SECOND / 10);
	}
	struct rate_verdict v = rates_take(r, 1, &ten_a_second, &who, now);
	ck_assert(!v.pass);
	ck_assert_uint_eq(v.remaining, 0);
	ck_assert_int_eq(v.wait_us, SECOND / 10);
	ck_assert_int_eq(v.full_us, SECOND);

	v = rates_take(r, 1, &ten_a_second, &who, now + v.wait_us - 1);
	ck_assert(!v.pass);
	ck_assert_int_eq(v.wait_us, 1);
	ck_assert(rates_take(r, 1, &ten_a_second, &who, now + SECOND / 10).pass); /* exactly when it was told to come */
	ck_assert(!rates_take(r, 1, &ten_a_second, &who, now + SECOND / 10).pass);
	v = rates_take(r, 1, &ten_a_second, &who, now + 100LL * SECOND); /* no more than all of them are saved up */
	ck_assert(v.pass);
	ck_assert_uint_eq(v.remaining, 9);
	rates_free(r);
}
END_TEST

static const struct config_rate rates[] = {{1, SECOND},
					   {7, SECOND},
					   {100, SECOND},
					   {1000000, SECOND},
					   {1, 60LL * SECOND},
					   {7, 3600LL * SECOND},
					   {1000000, 3600LL * SECOND}};

/* Who asks all the time gets what the rate says, in the long run, whatever the rounding. */
START_TEST(who_never_stops_gets_the_rate)
{
	const struct config_rate *rate = &rates[_i];
	struct rates *r = rates_new(64);
	struct address who = address("192.0.2.1");
	const int64_t start = 123 * (int64_t)SECOND, periods = rate->count > 1000 ? 1 : 20;
	const int64_t interval_us = rate->per_us / rate->count;
	int64_t passed = 0, now = start;
	while (now < start + periods * rate->per_us) {
		struct rate_verdict v = rates_take(r, 1, rate, &who, now);
		passed += v.pass;
		now += v.pass ? interval_us / 3 : v.wait_us;
		if (v.pass && interval_us < 3)
			now += passed % 2;
	}
	int64_t most = rate->count + periods * rate->count + 1;
	ck_assert_int_le(passed, most);
	ck_assert_int_ge(passed, most - most / 50 - 3);
	rates_free(r);
}
END_TEST

START_TEST(a_refusal_takes_nothing)
{
	struct rates *r = rates_new(64);
	int64_t now = SECOND;
	for (int i = 0; i < 10; i++)
		ck_assert(take(r, &ten_a_second, "192.0.2.1", now));
	for (int i = 0; i < 1000; i++)
		ck_assert(!take(r, &ten_a_second, "192.0.2.1", now));
	ck_assert(take(r, &ten_a_second, "192.0.2.1", now + SECOND / 10));
	rates_free(r);
}
END_TEST

/* --- who shares a bucket --- */

static const struct {
	const char *a, *b;
	bool same;
} clients[] = {
	{"192.0.2.1", "192.0.2.1", true},
	{"192.0.2.1", "192.0.2.2", false},
	{"192.0.2.1", "::ffff:192.0.2.1", true},
	{"2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", true},
	{"2001:db8:1:2::1", "2001:db8:1:3::1", false},
	{"::1", "192.0.2.1", false},
	{"unix", "unix", true},
	{"unix", "::1", false},
	{"unix", "0.0.0.1", false},
};

START_TEST(a_client_is_an_address_or_a_64)
{
	static const struct config_rate one = {1, SECOND};
	struct rates *r = rates_new(64);
	ck_assert(take(r, &one, clients[_i].a, SECOND));
	ck_assert(take(r, &one, clients[_i].b, SECOND) != clients[_i].same);
	rates_free(r);
}
END_TEST

START_TEST(endpoints_do_not_share)
{
	const struct config_rate one = {1, SECOND}, same = one, other = {2, SECOND};
	struct address who = {0};
	struct rates *r = rates_new(64);
	ck_assert(rates_take(r, rate_identity("GET /a", &one), &one, &who, SECOND).pass);
	ck_assert(rates_take(r, rate_identity("GET /b", &one), &one, &who, SECOND).pass);
	ck_assert(rates_take(r, rate_identity("GET /a", &other), &other, &who, SECOND).pass);
	ck_assert(!rates_take(r, rate_identity("GET /a", &same), &same, &who, SECOND).pass); /* wherever it stands */
	rates_free(r);
}
END_TEST

/* --- more clients than there is room for --- */

START_TEST(others_never_make_a_client_be_refused)
{
	struct rates *r = rates_new(64);
	struct address who = {.family = AF_INET};
	for (uint32_t n = 1; n <= 200000; n++) {
		memcpy(who.bytes, &n, 4);
		ck_assert(rates_take(r, 1, &three_an_hour, &who, SECOND).pass);
	}
	rates_free(r);
}
END_TEST

/* The bucket that is emptiest is the last to be given away. */
START_TEST(who_asks_most_is_kept)
{
	struct rates *r = rates_new(1024);
	struct address who = {.family = AF_INET};
	for (int i = 0; i < 3; i++)
		ck_assert(take(r, &three_an_hour, "192.0.2.1", SECOND));
	for (uint32_t n = 1; n <= 100000; n++) {
		uint32_t address = htonl(0x0a000000u + n);
		memcpy(who.bytes, &address, 4);
		ck_assert(rates_take(r, 1, &three_an_hour, &who, SECOND).pass);
	}
	ck_assert(!take(r, &three_an_hour, "192.0.2.1", SECOND));
	rates_free(r);
}
END_TEST

START_TEST(as_many_as_were_promised_are_kept_for_the_most_part)
{
	struct rates *r = rates_new(8192);
	struct address who = {.family = AF_INET6};
	unsigned forgotten = 0;
	for (int round = 0; round < 4; round++) {
		for (uint16_t n = 0; n < 4096; n++) {
			memcpy(who.bytes + 4, &n, 2);
			bool pass = rates_take(r, 1, &three_an_hour, &who, SECOND).pass;
			ck_assert(pass || round == 3);
			forgotten += pass && round == 3;
		}
	}
	ck_assert_uint_lt(forgotten, 4096 / 10);
	rates_free(r);
}
END_TEST

/* --- all workers at once --- */

enum { THREADS = 4, TRIES = 20000 };

struct hammer {
	struct rates *rates;
	atomic_int passed;
};

static void *hammer_thread(void *arg)
{
	struct hammer *h = arg;
	struct address one = address("192.0.2.1"), other = {.family = AF_INET};
	for (uint32_t i = 0; i < SLOWER(TRIES); i++) {
		h->passed += rates_take(h->rates, 1, &ten_a_second, &one, SECOND).pass;
		memcpy(other.bytes, &i, 4);
		(void)rates_take(h->rates, 2, &three_an_hour, &other, SECOND);
	}
	return NULL;
}

START_TEST(it_is_exact_over_threads)
{
	struct hammer h = {.rates = rates_new(4 * THREADS * TRIES)};
	pthread_t threads[THREADS];
	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, hammer_thread, &h);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	ck_assert_int_eq(h.passed, 10);
	rates_free(h.rates);
}
END_TEST

/* --- addresses --- */

static const struct {
	const char *text, *address; /* NULL: it is none */
} addresses[] = {
	{"192.0.2.1", "192.0.2.1"},
	{"192.0.2.1:80", "192.0.2.1"},
	{"192.0.2.1:65535", "192.0.2.1"},
	{"2001:db8::1", "2001:db8::1"},
	{"[2001:db8::1]", "2001:db8::1"},
	{"[2001:db8::1]:443", "2001:db8::1"},
	{"::ffff:192.0.2.1", "192.0.2.1"},
	{"[::ffff:192.0.2.1]:1", "192.0.2.1"},
	{"2001:DB8:0:0::1", "2001:db8::1"},
	{"", NULL},
	{"unknown", NULL},
	{"_hidden", NULL},
	{"192.0.2", NULL},
	{"192.0.2.256", NULL},
	{"192.0.2.1:", NULL},
	{"192.0.2.1:x", NULL},
	{"192.0.2.1 ", NULL},
	{"[2001:db8::1", NULL},
	{"[2001:db8::1]x", NULL},
	{"[192.0.2.1]", NULL},
	{"fe80::1%eth0", NULL},
	{"2001:db8::1::2", NULL},
	{"1111111111111111111111111111111111111111111111111111111111111111111111111", NULL},
};

START_TEST(addresses_as_proxies_write_them)
{
	const char *text = addresses[_i].text;
	struct address a;
	char again[64];
	bool is_one = address_parse(&a, text, strlen(text));
	ck_assert_msg(is_one == (addresses[_i].address != NULL), "%s", text);
	if (is_one)
		ck_assert_str_eq(inet_ntop(a.family, a.bytes, again, sizeof(again)), addresses[_i].address);
}
END_TEST

static struct config_network network(const char *text, unsigned bits)
{
	struct address a = address(text);
	struct config_network n = {.family = a.family, .bits = bits};
	memcpy(n.address, a.bytes, sizeof(n.address));
	return n;
}

static const struct {
	const char *network;
	unsigned bits;
	const char *address;
	bool within;
} networks[] = {
	{"10.0.0.0", 8, "10.255.255.255", true},
	{"10.0.0.0", 8, "11.0.0.0", false},
	{"10.0.0.0", 9, "10.127.0.1", true},
	{"10.0.0.0", 9, "10.128.0.1", false},
	{"10.0.0.1", 32, "10.0.0.1", true},
	{"10.0.0.1", 32, "10.0.0.2", false},
	{"0.0.0.0", 0, "192.0.2.1", true},
	{"0.0.0.0", 0, "::1", false},
	{"fd00::", 8, "fdff::1", true},
	{"fd00::", 8, "fe00::1", false},
	{"2001:db8::", 33, "2001:db8:7fff::", true},
	{"2001:db8::", 33, "2001:db8:8000::", false},
	{"::1", 128, "::1", true},
	{"::1", 128, "::2", false},
	{"10.0.0.0", 8, "::ffff:10.1.2.3", true},
	{"unix", 0, "unix", true},
	{"unix", 0, "10.0.0.1", false},
	{"0.0.0.0", 0, "unix", false},
};

START_TEST(networks_end_at_any_bit)
{
	struct config_network n = network(networks[_i].network, networks[_i].bits);
	struct address a = address(networks[_i].address);
	ck_assert_msg(address_within(&a, &n) == networks[_i].within, "%s/%u %s", networks[_i].network, n.bits,
		      networks[_i].address);
}
END_TEST

/* Trusted are 10.0.0.0/8, fd00::/8 and Unix sockets. */
static const struct {
	const char *peer, *list, *client;
} chains[] = {
	{"192.0.2.9", "198.51.100.1", "192.0.2.9"}, /* a stranger's word counts for nothing */
	{"10.0.0.1", "", "10.0.0.1"},
	{"10.0.0.1", "198.51.100.1", "198.51.100.1"},
	{"10.0.0.1", "203.0.113.7, 198.51.100.1", "198.51.100.1"}, /* what the client made up stands on the left */
	{"10.0.0.1", "198.51.100.1, 10.0.0.2", "198.51.100.1"},
	{"10.0.0.1", "198.51.100.1,10.0.0.3 ,\t10.0.0.2", "198.51.100.1"},
	{"10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"},
	{"10.0.0.1", "198.51.100.1:5000", "198.51.100.1"},
	{"10.0.0.1", "[2001:db8::1]:5000", "2001:db8::1"},
	{"10.0.0.1", "2001:db8::1, fd00::1", "2001:db8::1"},
	{"fd00::1", "198.51.100.1", "198.51.100.1"},
	{"unix", "198.51.100.1", "198.51.100.1"},
	{"10.0.0.1", "198.51.100.1, unknown", "10.0.0.1"},
	{"10.0.0.1", "198.51.100.1, unix", "10.0.0.1"},
	{"10.0.0.1", "198.51.100.1, nonsense, 10.0.0.2", "10.0.0.2"},
	{"10.0.0.1", "198.51.100.1, , ", "198.51.100.1"},
	{"10.0.0.1", ",", "10.0.0.1"},
	{"10.0.0.1", " ", "10.0.0.1"},
	{"10.0.0.1", ",,198.51.100.1", "198.51.100.1"},
};

START_TEST(the_client_behind_proxies)
{
	const struct config_network trusted[] = {network("10.0.0.0", 8), network("fd00::", 8), network("unix", 0)};
	struct span list = {chains[_i].list, strlen(chains[_i].list)};
	struct address expected = address(chains[_i].client);
	struct address client = client_behind(address(chains[_i].peer), list, trusted, ARRAY_SIZE(trusted));
	ck_assert_int_eq(client.family, expected.family);
	ck_assert_mem_eq(client.bytes, expected.bytes, sizeof(client.bytes));
}
END_TEST

START_TEST(a_long_list_takes_no_stack_and_little_time)
{
	enum { COUNT = 100000 };
	const struct config_network trusted[] = {network("10.0.0.0", 8)};
	struct buf list = BUF_INIT;
	buf_str(&list, "198.51.100.1");
	for (int i = 0; i < COUNT; i++)
		buf_str(&list, ", 10.0.0.2");
	struct address expected = address("198.51.100.1");
	struct address client = client_behind(address("10.0.0.1"), (struct span){list.data, list.len}, trusted, 1);
	ck_assert_mem_eq(client.bytes, expected.bytes, sizeof(client.bytes));
	buf_done(&list);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("rate");
	TCase *c = async_tcase(s, "bucket");
	tcase_add_test(c, a_quiet_client_may_send_all_at_once_then_one_an_interval);
	tcase_add_loop_test(c, who_never_stops_gets_the_rate, 0, ARRAY_SIZE(rates));
	tcase_add_test(c, a_refusal_takes_nothing);
	c = async_tcase(s, "clients");
	tcase_add_loop_test(c, a_client_is_an_address_or_a_64, 0, ARRAY_SIZE(clients));
	tcase_add_test(c, endpoints_do_not_share);
	tcase_add_test(c, others_never_make_a_client_be_refused);
	tcase_add_test(c, who_asks_most_is_kept);
	tcase_add_test(c, as_many_as_were_promised_are_kept_for_the_most_part);
	tcase_add_test(c, it_is_exact_over_threads);
	c = async_tcase(s, "addresses");
	tcase_add_loop_test(c, addresses_as_proxies_write_them, 0, ARRAY_SIZE(addresses));
	tcase_add_loop_test(c, networks_end_at_any_bit, 0, ARRAY_SIZE(networks));
	tcase_add_loop_test(c, the_client_behind_proxies, 0, ARRAY_SIZE(chains));
	tcase_add_test(c, a_long_list_takes_no_stack_and_little_time);
	return run_suite(s);
}
