/* A server that is not there, goes away, comes back, or refuses. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "tests/unit/drivers/postgres/postgres_fixture.h"

/* Without blocking the loop: a server that ends waits for the first message of who has just connected. */
static void end_meanwhile(void)
{
	kill(server.pid, SIGINT);
	while (waitpid(server.pid, NULL, WNOHANG) == 0)
		ck_assert_int_eq(task_sleep_ms(2), 0);
}

static int64_t timed_ask(struct fixture *f, const char *sql, const char **out)
{
	int64_t before = monotonic_us();
	*out = ask(f, EXPECT_VALUE, sql, NULL);
	return monotonic_us() - before;
}

/* Refused. Returns how long that took. */
static int64_t expect_503(struct fixture *f)
{
	const char *got;
	int64_t took = timed_ask(f, "select 1", &got);
	ck_assert_msg(strncmp(got, "! 503", 5) == 0, "%s", got);
	return took;
}

/* Refused without waiting: one of several is that quick, however busy the machine is. */
static void expect_503_at_once(struct fixture *f, int64_t below_us)
{
	for (int i = 0; i < 50; i++) {
		if (expect_503(f) < below_us)
			return;
	}
	ck_abort_msg("all of them waited");
}

/* Ask until it answers: a start takes its time. */
static void expect_1_soon(struct fixture *f)
{
	const char *got = "";
	for (deadline_t by = deadline_in_ms(30000); strcmp(got, "1") != 0 && !deadline_passed(by);) {
		got = ask(f, EXPECT_VALUE, "select 1", NULL);
		if (strcmp(got, "1") != 0)
			ck_assert_int_eq(task_sleep_ms(5), 0);
	}
	ck_assert_str_eq(got, "1");
}

/* A restart: a call that comes meanwhile waits. */
LOOP_TEST(it_restarts)
{
	struct fixture f;
	server_start();
	fixture_config(&f);
	f.config.pool.acquire_timeout_us = 30000000;
	fixture_open(&f);
	ck_assert_str_eq(ask(&f, EXPECT_VALUE, "select 1", NULL), "1");
	end_meanwhile();
	server_run();
	ck_assert_str_eq(ask(&f, EXPECT_VALUE, "select 1", NULL), "1");
	fixture_close(&f);
	server_stop();
	return 0;
}

LOOP_TEST(it_goes_away_and_comes_back)
{
	struct fixture f;
	server_start();
	fixture_config(&f);
	f.config.pool.acquire_timeout_us = 200000;
	fixture_open(&f);
	ck_assert(!postgres_driver.source_ready(f.source));
	expect_1_soon(&f);
	ck_assert(postgres_driver.source_ready(f.source));
	/* Down: nobody is refused before it has been so for as long as a call may wait; later ones are refused at once.
	 */
	int64_t ended = monotonic_us();
	end_meanwhile();
	ck_assert_int_eq(task_sleep_ms(20), 0);
	expect_503(&f);
	ck_assert_int_ge(monotonic_us() - ended, 100000);
	ck_assert_int_eq(task_sleep_ms(100), 0);
	expect_503_at_once(&f, 100000);
	ck_assert(!postgres_driver.source_ready(f.source));
	/* Back, without anybody asking. */
	server_run();
	for (int i = 0; i < 30000 && !postgres_driver.source_ready(f.source); i++)
		ck_assert_int_eq(task_sleep_ms(1), 0);
	ck_assert(postgres_driver.source_ready(f.source));
	expect_1_soon(&f);
	fixture_close(&f);
	server_stop();
	return 0;
}

static int sleep_a_little(void *arg)
{
	return strcmp(ask(arg, EXPECT_VALUE, "select 1 from pg_sleep(0.01)", NULL), "1") == 0 ? 0 : -EIO;
}

/* It refuses further connections while one lives: who waits goes on waiting for that one. */
LOOP_TEST(one_refusal_is_no_disaster)
{
	struct fixture f;
	free(server_sql("create role few login connection limit 1"));
	free(server_sql("grant connect on database postgres to few"));
	fixture_config(&f);
	snprintf(f.url, sizeof(f.url), "postgresql://few@/postgres?host=%s&port=%d", server.folder, server.port);
	fixture_open(&f);
	struct task *tasks[20];
	for (int i = 0; i < 20; i++)
		tasks[i] = spawn(sleep_a_little, &f);
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(join(tasks[i]), 0);
	fixture_close(&f);
	return 0;
}

/* Nobody listens, nobody answers, the name is not known, the password is wrong: 503, and no secret in the message. */
LOOP_TEST(it_was_never_there)
{
	static const char *const urls[] = {
		"postgresql://u:geheim@127.0.0.1:1/d",
		"postgresql://u:geheim@no-such-host.invalid/d?connect_timeout=1",
		"postgresql://u:geheim@/d?host=/nowhere",
	};
	for (size_t i = 0; i < ARRAY_SIZE(urls); i++) {
		struct fixture f;
		fixture_config(&f);
		snprintf(f.url, sizeof(f.url), "%s", urls[i]);
		f.config.pool.acquire_timeout_us = 60000;
		fixture_open(&f);
		const char *got;
		int64_t took = timed_ask(&f, "select 1", &got);
		ck_assert_msg(strncmp(got, "! 503", 5) == 0, "%s", got);
		ck_assert_ptr_null(strstr(got, "geheim"));
		ck_assert_int_lt(took, 20000000);
		fixture_close(&f);
	}
	return 0;
}

/* A server that accepts and says nothing: connecting ends by connect_timeout, closing ends at once. */
LOOP_TEST(it_accepts_and_is_silent)
{
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&a, len), 0);
	ck_assert_int_eq(listen(listener, 16), 0);
	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&a, &len), 0);
	struct fixture f;
	fixture_config(&f);
	snprintf(f.url, sizeof(f.url), "postgresql://u@127.0.0.1:%d/d?connect_timeout=100", ntohs(a.sin_port));
	f.config.pool.acquire_timeout_us = 60000;
	fixture_open(&f);
	ck_assert_int_ge(expect_503(&f), 50000);
	int64_t before = monotonic_us();
	fixture_close(&f);
	ck_assert_int_lt(monotonic_us() - before, 20000000);
	close(listener);
	return 0;
}

/* The same at every moment of connecting: close the client after n steps. */
LOOP_TEST(closed_while_it_connects)
{
	for (int n = 0; n < 40; n++) {
		struct fixture f;
		fixture_config(&f);
		fixture_open(&f);
		for (int i = 0; i < n; i++)
			ck_assert_int_eq(task_sleep(deadline_in_us(200)), 0);
		fixture_close(&f);
	}
	return 0;
}

/* The second host answers where the first does not; every address of a name is tried. */
LOOP_TEST(several_hosts)
{
	struct fixture f;
	fixture_config(&f);
	snprintf(f.url, sizeof(f.url),
		 "postgresql://postgres@/postgres?host=localhost,%s&port=1,%d&target_session_attrs=any", server.folder,
		 server.port);
	fixture_open(&f);
	ck_assert_str_eq(ask(&f, EXPECT_VALUE, "select 1", NULL), "1");
	fixture_close(&f);
	return 0;
}

int main(void)
{
	Suite *s = suite_create("postgres: down");
	TCase *c = async_tcase(s, "down");
	tcase_add_test(c, it_restarts);
	tcase_add_test(c, it_goes_away_and_comes_back);
	tcase_add_test(c, one_refusal_is_no_disaster);
	tcase_add_test(c, it_was_never_there);
	tcase_add_test(c, it_accepts_and_is_silent);
	tcase_add_test(c, closed_while_it_connects);
	tcase_add_test(c, several_hosts);
	server_start();
	int status = run_suite(s);
	server_stop();
	server_sweep();
	return status;
}
