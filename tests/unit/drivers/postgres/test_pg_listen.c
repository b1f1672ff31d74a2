/* Notifications: each listener hears all of its channel in order, or is told that some may be missing; one connection
 * serves all, and goes back when nobody listens. */
#include "drivers/postgres/calls/listen.h"
#include "drivers/postgres/wire/connection.h"
#include "tests/unit/drivers/postgres/postgres_ask.h"

static int listen_to(struct fixture *f, struct pg_listener *l, const char *channel, struct error *e)
{
	*e = ERROR_INIT;
	return pg_listener_open(l, client_of(f), channel, "gd_pg_listen", e);
}

static void begin(struct fixture *f, struct pg_listener *l, const char *channel)
{
	struct error e;
	int r = listen_to(f, l, channel, &e);
	ck_assert_msg(r == 0, "%s", e.what);
}

/* The next payload, or "! errnum status what". */
static const char *hear(struct fixture *f, struct pg_listener *l)
{
	const struct pg_notification *n;
	struct error e = ERROR_INIT;
	int r = pg_listener_next(l, &n, &e);
	if (r == 1)
		return arena_strndup(&f->arena, n->payload, n->len);
	ck_assert_int_eq(e.errnum, r);
	return arena_printf(&f->arena, "! %d %d %s", r, e.status, e.what);
}

static void notify(const char *channel, const char *payload)
{
	free(server_sql("select pg_notify('%s', '%s')", channel, payload));
}

static const char listening[] = "query like 'listen%'";

PG_TEST(what_is_sent_is_heard)
{
	struct pg_listener a, b, c;
	char *pid;

	begin(f, &a, "orders");
	notify("orders", "1");
	notify("others", "x");
	ck_assert_str_eq(hear(f, &a), "1");
	begin(f, &b, "orders");
	begin(f, &c, "Odd \"name\" ü");
	notify("orders", "zwei ü");
	notify("orders", "");
	notify("Odd \"name\" ü", "3");
	ck_assert_str_eq(hear(f, &a), "zwei ü");
	ck_assert_str_eq(hear(f, &a), "");
	ck_assert_str_eq(hear(f, &b), "zwei ü");
	ck_assert_str_eq(hear(f, &b), "");
	ck_assert_str_eq(hear(f, &c), "3");
	pid = server_sql("select pg_backend_pid() from (select pg_notify('orders', 'p')) x");
	const struct pg_notification *n;
	struct error e;
	ck_assert_int_eq(pg_listener_next(&a, &n, &e), 1);
	ck_assert_int_gt(n->pid, 0);
	free(pid);
	/* By the way of a pool that is one connection smaller. */
	ck_assert_uint_eq(client_of(f)->count[PG_BUSY], 1);
	ck_assert_str_eq(read_text(f, "select 1 as a", NULL, 0), "[{\"a\":1}]");
	pg_listener_close(&a);
	notify("orders", "after");
	ck_assert_str_eq(hear(f, &b), "p");
	ck_assert_str_eq(hear(f, &b), "after");
	pg_listener_close(&b);
	pg_listener_close(&b);
	ck_assert_contains(hear(f, &b), "closed");
	pg_listener_close(&c);
	await_quiet(f);
	ck_assert_str_eq(read_text(f, "select pg_listening_channels()", NULL, 0), "[]");
	/* And again. */
	begin(f, &a, "orders");
	notify("orders", "again");
	ck_assert_str_eq(hear(f, &a), "again");
	pg_listener_close(&a);
}

PG_TEST(what_is_wrong_is_said)
{
	struct pg_listener l;
	struct error e;
	char name[65];

	memset(name, 'x', sizeof(name));
	name[64] = '\0';
	ck_assert_int_eq(listen_to(f, &l, name, &e), -EINVAL);
	ck_assert_int_eq(listen_to(f, &l, "", &e), -EINVAL);
	ck_assert_int_eq(listen_to(f, &l, NULL, &e), -EINVAL);
	ck_assert_int_eq(listen_to(f, &l, "\xff", &e), -EINVAL);
	ck_assert_contains(e.what, "gd_pg_listen, source shop: the name of a channel has 1 to 63 bytes");
	pg_listener_close(&l);
	name[63] = '\0';
	begin(f, &l, name);
	notify(name, "long");
	ck_assert_str_eq(hear(f, &l), "long");
	pg_listener_close(&l);
	ck_assert_contains(write_text(f, "listen x", NULL, 0), "gd_pg_listen");
}

LOOP_TEST(one_connection_is_not_enough)
{
	struct fixture f;
	struct pg_listener l;
	struct error e;
	fixture_config(&f);
	f.config.pool.size = 1;
	fixture_open(&f);
	ck_assert_int_eq(listen_to(&f, &l, "orders", &e), -EINVAL);
	ck_assert_contains(e.what, "pool.size must be above the number of workers");
	fixture_close(&f);
	return 0;
}

struct story {
	struct fixture *f;
	unsigned n;
	bool done;
	unsigned heard;
	struct error error;
};

static int hear_all(void *arg)
{
	struct story *s = arg;
	struct pg_listener l;
	int r = listen_to(s->f, &l, arena_printf(&s->f->arena, "c%u", s->n % 3), &s->error);
	const struct pg_notification *n;

	s->done = r == 0;
	while (r >= 0 && s->heard < 50) {
		r = pg_listener_next(&l, &n, &s->error);
		if (r == 1) {
			ck_assert_str_eq(n->payload, arena_printf(&s->f->arena, "%u", s->heard));
			s->heard++;
		}
	}
	pg_listener_close(&l);
	return r;
}

PG_TEST(many_listen_on_one_connection)
{
	enum { LISTENERS = 60 };
	struct story s[LISTENERS];
	struct task *t[LISTENERS];

	for (unsigned i = 0; i < LISTENERS; i++) {
		s[i] = (struct story){.f = f, .n = i};
		t[i] = spawn(hear_all, &s[i]);
	}
	for (unsigned i = 0; i < LISTENERS; i++) {
		while (!s[i].done)
			ck_assert_int_eq(task_sleep_ms(1), 0);
	}
	ck_assert_uint_eq(rows_of(arena_printf(&f->arena, "pg_stat_activity where application_name = 'gatherd' and %s",
					       listening)),
			  1);
	free(server_sql("select pg_notify('c' || c, i::text) from generate_series(0, 49) i, generate_series(0, 2) c "
			"order by i"));
	for (unsigned i = 0; i < LISTENERS; i++)
		ck_assert_int_ge(join(t[i]), 0);
	await_quiet(f);
}

PG_TEST(one_that_is_too_slow_is_told)
{
	struct pg_listener slow, quick;
	unsigned heard = 0;
	const char *got;

	begin(f, &slow, "flood");
	begin(f, &quick, "flood");
	free(server_sql("select pg_notify('flood', i::text) from generate_series(1, 2000) i"));
	for (unsigned i = 1; i <= 1000; i++)
		ck_assert_str_eq(hear(f, &quick), arena_printf(&f->arena, "%u", i));
	while (slow.failure.errnum == 0)
		ck_assert_int_eq(task_sleep_ms(1), 0);
	while ((got = hear(f, &slow))[0] != '!')
		ck_assert_str_eq(got, arena_printf(&f->arena, "%u", ++heard));
	ck_assert_uint_eq(heard, PG_LISTENER_NOTIFICATIONS);
	ck_assert_contains(got, arena_printf(&f->arena, "! %d 503", -ENOBUFS));
	ck_assert_contains(got, "too slow");
	ck_assert_contains(hear(f, &slow), "too slow");
	pg_listener_close(&slow);
	/* It listens again, and large ones count by their bytes. */
	pg_listener_close(&quick);
	begin(f, &slow, "flood");
	free(server_sql("select pg_notify('flood', i || repeat('x', 7900)) from generate_series(1, 600) i"));
	while (slow.failure.errnum == 0)
		ck_assert_int_eq(task_sleep_ms(1), 0);
	ck_assert_uint_le(slow.bytes, PG_LISTENER_BYTES);
	ck_assert_uint_gt(slow.count, 500);
	pg_listener_close(&slow);
	await_quiet(f);
}

PG_TEST(a_broken_connection_is_told_once)
{
	struct pg_listener a, b;

	for (int i = 0; i < 3; i++) {
		begin(f, &a, "orders");
		begin(f, &b, "others");
		notify("orders", "before");
		ck_assert_int_eq(task_sleep_ms(i), 0);
		end_sessions(listening);
		const char *got = hear(f, &a);
		if (strcmp(got, "before") == 0)
			got = hear(f, &a);
		ck_assert_contains(got, arena_printf(&f->arena, "! %d 503", -EPIPE));
		ck_assert_contains(got, "notifications may have been missed");
		ck_assert_contains(hear(f, &b), "notifications may have been missed");
		pg_listener_close(&a);
		pg_listener_close(&b);
		await_quiet(f);
	}
}

/* The server's process hangs: nothing comes, and nothing breaks. */
PG_TEST(a_silent_server_is_noticed)
{
	struct pg_listener l;
	pg_listen_probe(client_of(f), 20000, 500000);
	begin(f, &l, "orders");
	ck_assert_int_eq(task_sleep_ms(200), 0);
	notify("orders", "1");
	ck_assert_str_eq(hear(f, &l), "1");
	char *pid = server_sql("select pid from pg_stat_activity where application_name = 'gatherd' and pid <> "
			       "pg_backend_pid() and query = 'select 1'");
	ck_assert_ptr_nonnull(pid);
	kill((pid_t)atoi(pid), SIGSTOP);
	const char *got = hear(f, &l);
	kill((pid_t)atoi(pid), SIGCONT);
	free(pid);
	ck_assert_contains(got, "notifications may have been missed");
	pg_listener_close(&l);
	await_quiet(f);
}

PG_TEST(a_wait_has_the_deadline_of_its_task)
{
	struct pg_listener l;
	begin(f, &l, "orders");
	deadline_t before = deadline_push(deadline_in_us(20000));
	ck_assert_contains(hear(f, &l), arena_printf(&f->arena, "! %d 504", -ETIMEDOUT));
	ck_assert_contains(hear(f, &l), "504");
	deadline_pop(before);
	notify("orders", "1");
	ck_assert_str_eq(hear(f, &l), "1");
	pg_listener_close(&l);
}

/* Who comes while the last one leaves. */
PG_TEST(listeners_come_and_go)
{
	struct pg_listener a, b;
	for (unsigned i = 0; i < 40; i++) {
		begin(f, &a, "orders");
		pg_listener_close(&a);
		for (unsigned turn = 0; turn < i % 7; turn++)
			ck_assert_int_eq(task_yield(), 0);
		begin(f, &b, i % 2 ? "orders" : "others");
		notify(i % 2 ? "orders" : "others", "x");
		ck_assert_str_eq(hear(f, &b), "x");
		pg_listener_close(&b);
	}
	await_quiet(f);
	ck_assert_ptr_nonnull(client_of(f)->hub);
}

PG_TEST(cancel_at_each_suspension)
{
	struct pg_listener other;
	unsigned cancelled = 0;
	for (unsigned n = 0; n < 40; n++) {
		struct story s = {.f = f, .n = 1};
		bool alone = n % 2;
		if (!alone)
			begin(f, &other, "c1");
		struct task *t = spawn(hear_all, &s);
		for (unsigned i = 0; i < n / 2; i++)
			ck_assert_int_eq(task_yield(), 0);
		if (n % 3 == 0)
			notify("c1", "0");
		task_cancel(t);
		int r = join(t);
		ck_assert_msg(r == -ECANCELED, "%d %s", r, s.error.what);
		cancelled++;
		if (!alone) {
			notify("c1", "on");
			const char *got = hear(f, &other);
			if (strcmp(got, "0") == 0)
				got = hear(f, &other);
			ck_assert_str_eq(got, "on");
			pg_listener_close(&other);
		}
		await_quiet(f);
	}
	ck_assert_uint_eq(cancelled, 40);
}

LOOP_TEST(the_server_is_down)
{
	struct fixture f;
	struct pg_listener l;
	struct error e;
	fixture_config(&f);
	f.config.pool.acquire_timeout_us = 100000;
	snprintf(f.url, sizeof(f.url), "postgresql://nobody@/none?host=/nowhere");
	fixture_open(&f);
	int r = listen_to(&f, &l, "orders", &e);
	ck_assert_int_lt(r, 0);
	ck_assert_int_eq(e.status, 503);
	ck_assert_contains(e.what, "gd_pg_listen");
	pg_listener_close(&l);
	fixture_close_now(&f);
	fixture_free(&f);
	return 0;
}

LOOP_TEST(closing_ends_it)
{
	struct fixture f;
	fixture_config(&f);
	fixture_open(&f);
	struct story s = {.f = &f};
	struct task *t = spawn(hear_all, &s);
	while (!s.done)
		ck_assert_int_eq(task_sleep_ms(1), 0);
	fixture_close_now(&f);
	ck_assert_int_eq(join(t), -EPIPE);
	fixture_free(&f);
	return 0;
}

int main(void)
{
	server_start();
	Suite *s = suite_create("PostgreSQL notifications");
	TCase *c = async_tcase(s, "notifications");
	tcase_set_timeout(c, 120);
	tcase_add_test(c, what_is_sent_is_heard);
	tcase_add_test(c, what_is_wrong_is_said);
	tcase_add_test(c, one_connection_is_not_enough);
	tcase_add_test(c, many_listen_on_one_connection);
	tcase_add_test(c, one_that_is_too_slow_is_told);
	tcase_add_test(c, a_broken_connection_is_told_once);
	tcase_add_test(c, a_silent_server_is_noticed);
	tcase_add_test(c, a_wait_has_the_deadline_of_its_task);
	tcase_add_test(c, listeners_come_and_go);
	tcase_add_test(c, cancel_at_each_suspension);
	tcase_add_test(c, the_server_is_down);
	tcase_add_test(c, closing_ends_it);
	return run_and_stop_server(s);
}
