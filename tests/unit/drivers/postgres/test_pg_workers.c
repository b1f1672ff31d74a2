/* One pool for several workers: whoever waits is served from whichever worker has something idle, whatever the numbers
 * of workers and connections, and whatever happens to the connections on their way. */
#include <pthread.h>
#include <stdatomic.h>

#include "async/run.h"
#include "drivers/postgres/wire/client.h"
#include "drivers/postgres/wire/connection.h"
#include "tests/unit/drivers/postgres/postgres_fixture.h"

#define MOST_WORKERS 8
#define TASKS        6

enum load { LOAD_CALM, LOAD_KILLS, LOAD_ENDS };

struct worker {
	struct fixture *f; /* the source's */
	struct fixture own;
	enum load load;
	unsigned number, calls, fine, failed, wrong, idled;
	uint64_t random;
	atomic_uint *left; /* workers that have calls to make */
};

/* One that could serve a call: the others are closed as soon as the pool looks at them. */
static bool is_usable(const struct pg_connection *conn)
{
	return conn->entries == 0 && !conn->broken && !conn->ending && !pg_connection_is_suspect(conn);
}

/* Is there something idle that the first in line could have, though this worker was told of the line? */
static bool idles(struct worker *w)
{
	struct pg_client *c = pg_client_of(w->own.client);
	struct budget *b = &c->source->budget;
	bool bad = false;

	pthread_mutex_lock(&b->lock);
	if (!c->member.message_posted && !list_empty(&b->line)) {
		const struct budget_ticket *t = container_of(b->line.next, struct budget_ticket, link);
		list_for_each (link, &c->connections[PG_IDLE]) {
			const struct pg_connection *conn = container_of(link, struct pg_connection, link);
			bad |= is_usable(conn) && conn->began_us >= t->fresh_us;
		}
	}
	pthread_mutex_unlock(&b->lock);
	return bad;
}

struct caller {
	struct worker *worker;
	uint64_t random;
};

static const struct {
	const char *sql;
	bool read_only;
} statements[] = {
	{"select {a}::int as n", true},
	{"select {a}::int as n from pg_sleep({b} / 1000.0)", true},
	{"insert into written values ({a}) returning x as n", false},
	{"select {a}::int + 0 as n", true},
};

static struct action *actions[ARRAY_SIZE(statements)];

static void call_once(struct caller *caller)
{
	struct worker *w = caller->worker;
	uint32_t random = next_random(&caller->random);
	int number = (int)(random % 100000);
	unsigned which = next_random(&caller->random) % ARRAY_SIZE(statements);
	struct value args[2] = {value_int(number), value_int(random % 4)};
	struct buf json = BUF_INIT;
	struct error e;
	char expected[32];

	snprintf(expected, sizeof(expected), "{\"n\":%d}", number);
	int r = run_for(&w->own, actions[which], args, 0, &json, &e);
	w->idled += idles(w);
	if (r < 0 && w->load == LOAD_CALM)
		fprintf(stderr, "worker %u: %s\n", w->number, e.what);
	if (r < 0)
		ck_assert_msg(e.status == 502 || e.status == 503, "%d %s", e.status, e.what);
	w->failed += r < 0;
	w->fine += r == 0 && strcmp(buf_cstr(&json), expected) == 0;
	w->wrong += r == 0 && strcmp(buf_cstr(&json), expected) != 0;
	buf_done(&json);
}

static int caller_main(void *arg)
{
	struct caller *caller = arg;
	struct worker *w = caller->worker;

	for (unsigned i = 0; i < w->calls; i++) {
		call_once(caller);
		if (next_random(&caller->random) % 8 == 0)
			ck_assert_int_eq(task_sleep(deadline_in_us(next_random(&caller->random) % 2000)), 0);
	}
	return 0;
}

static int worker_main(void *arg)
{
	struct worker *w = arg;
	struct caller callers[TASKS];
	struct task *tasks[TASKS];
	struct error e;

	ck_assert_int_eq(postgres_driver.client_open(&w->own.client, w->f->source, &e), 0);
	for (int i = 0; i < TASKS; i++) {
		callers[i] = (struct caller){.worker = w, .random = w->random + (uint64_t)i * 1000};
		tasks[i] = spawn(caller_main, &callers[i]);
	}
	for (int i = 0; i < TASKS; i++)
		ck_assert_int_eq(join(tasks[i]), 0);
	atomic_fetch_sub(w->left, 1);
	/* What it holds serves the others; or it goes with it, while they wait. */
	while (w->load != LOAD_ENDS && atomic_load(w->left) > 0) {
		w->idled += idles(w);
		ck_assert_int_eq(task_sleep_ms(1), 0);
	}
	while (!postgres_driver.client_idle(w->own.client))
		ck_assert_int_eq(task_sleep_ms(1), 0);
	postgres_driver.client_close(w->own.client);
	return 0;
}

static void *worker_thread(void *arg)
{
	return loop_run_main(worker_main, arg) == 0 ? NULL : arg;
}

static void kill_all(PGconn *killer)
{
	PQclear(PQexec(killer,
		       "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'gatherd'"));
}

static void run_load(unsigned count, unsigned size, enum load load)
{
	static struct worker workers[MOST_WORKERS];
	struct fixture f;
	pthread_t threads[MOST_WORKERS];
	atomic_uint left = count;
	struct error e;

	fixture_config(&f);
	f.config.pool.size = size;
	f.config.pool.acquire_timeout_us = 30000000;
	ck_assert_int_eq(executor_new(&f.executor, 2, 100), 0);
	ck_assert_int_eq(postgres_driver.source_new(&f.source, &f.config, f.executor, count, &e), 0);
	for (size_t i = 0; i < ARRAY_SIZE(statements); i++)
		actions[i] = compile(&f, statements[i].sql, EXPECT_ONE, statements[i].read_only);
	for (unsigned i = 0; i < count; i++) {
		struct worker *w = &workers[i];
		*w = (struct worker){.f = &f, .load = load, .number = i, .random = size * 100 + i, .left = &left};
		w->own = f;
		w->calls = load == LOAD_ENDS ? 5 + 10 * i : 25;
		arena_init(&w->own.arena);
		diagnostics_init(&w->own.diagnostics);
	}
	for (unsigned i = 0; i < count; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, worker_thread, &workers[i]), 0);
	PGconn *killer = load == LOAD_KILLS ? server_connect() : NULL;
	while (killer && atomic_load(&left) > 0) {
		usleep(100000);
		kill_all(killer);
	}
	for (unsigned i = 0; i < count; i++) {
		struct worker *w = &workers[i];
		void *failed;
		pthread_join(threads[i], &failed);
		ck_assert_ptr_null(failed);
		ck_assert_uint_eq(w->wrong, 0);
		ck_assert_uint_eq(w->fine + w->failed, TASKS * w->calls);
		ck_assert_msg(load == LOAD_KILLS || w->failed == 0, "worker %u: %u failed", i, w->failed);
		ck_assert_msg(w->idled == 0, "worker %u of %u, size %u: idle %u times", i, count, size, w->idled);
		arena_done(&w->own.arena);
		diagnostics_done(&w->own.diagnostics);
	}
	if (killer)
		PQfinish(killer);
	postgres_driver.source_free(f.source); /* asserts that everything was given back */
	executor_free(f.executor);
	fixture_free(&f);
}

static const struct {
	unsigned workers, size;
} shapes[] = {{8, 2}, {4, 4}, {2, 1}, {8, 1}, {2, 3}, {4, 7}, {1, 1}, {1, 8}, {2, 2}, {3, 2}, {4, 1}, {5, 3}, {8, 8}};

START_TEST(nobody_waits_while_something_is_idle)
{
	run_load(shapes[_i].workers, shapes[_i].size, LOAD_CALM);
}
END_TEST

START_TEST(connections_die_on_their_way)
{
	run_load(shapes[_i].workers, shapes[_i].size, LOAD_KILLS);
}
END_TEST

START_TEST(workers_end_while_others_wait)
{
	run_load(shapes[_i].workers, shapes[_i].size, LOAD_ENDS);
}
END_TEST

int main(void)
{
	server_start();
	free(server_sql("create table written (x int)"));
	Suite *s = suite_create("postgres: workers");
	TCase *c = async_tcase(s, "workers");
	tcase_add_loop_test(c, nobody_waits_while_something_is_idle, 0, ARRAY_SIZE(shapes));
	tcase_add_loop_test(c, connections_die_on_their_way, 0, 5);
	tcase_add_loop_test(c, workers_end_while_others_wait, 0, 6);
	int status = run_suite(s);
	server_stop();
	return status;
}
