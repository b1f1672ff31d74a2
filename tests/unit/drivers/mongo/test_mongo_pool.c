/* The pool: who gets a connection, who waits, what happens while the server is away, and what is closed when. */
#include "async/run.h"
#include "tests/unit/drivers/mongo/mongo_fixture.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* A test of the same kind whose configuration is its own: `prepare` runs before the source is made. */
#define POOL_TEST(name, prepare)                                                                                       \
	static void name##_body(struct fixture *f);                                                                    \
	static int name##_main(void *arg)                                                                              \
	{                                                                                                              \
		struct fixture *f = arg;                                                                               \
		fixture_open(f);                                                                                       \
		name##_body(f);                                                                                        \
		fixture_close(f);                                                                                      \
		return 0;                                                                                              \
	}                                                                                                              \
	START_TEST(name)                                                                                               \
	{                                                                                                              \
		struct fixture *f = malloc(sizeof(*f));                                                                \
		fixture_config(f);                                                                                     \
		prepare(f);                                                                                            \
		ck_assert_int_eq(loop_run_main(name##_main, f), 0);                                                    \
		if (f->server.running)                                                                                 \
			server_stop(&f->server);                                                                       \
		fixture_done(f);                                                                                       \
		free(f);                                                                                               \
	}                                                                                                              \
	END_TEST                                                                                                       \
	static void name##_body(struct fixture *f)

static void start(struct fixture *f)
{
	server_start(&f->server, 0);
	fixture_url(f, "");
}

static void small(struct fixture *f)
{
	start(f);
	f->config.pool.size = 2;
	f->config.pool.max_waiting = 5;
	f->config.pool.acquire_timeout_us = 300000;
}

static void two(struct fixture *f)
{
	start(f);
	f->config.pool.size = 2;
}

static void short_lived(struct fixture *f)
{
	start(f);
	f->config.pool.idle_timeout_us = 30000;
}

static void soon_old(struct fixture *f)
{
	start(f);
	f->config.pool.lifetime_us = 40000;
}

/* A port that nobody listens on. */
static void nobody(struct fixture *f)
{
	server_start(&f->server, 0);
	server_stop(&f->server);
	fixture_url(f, "");
	f->config.pool.acquire_timeout_us = 150000;
}

/* One that accepts nothing: the connection is made by the kernel, and no answer ever comes. */
static uint16_t open_silent_port(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	ck_assert_int_eq(listen(fd, 16), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	return ntohs(at.sin_port);
}

static void silent(struct fixture *f)
{
	nobody(f);
	snprintf(f->url, sizeof(f->url), "mongodb://127.0.0.1:%u/catalog?connectTimeoutMS=80", open_silent_port());
}

/* The members of a replica set, as its primary names them. */
static char members[2][32];

static enum script name_members(struct server *s, const char *name, const bson_t *command, bson_t *reply)
{
	bson_t hosts;

	(void)s, (void)command;
	if (strcasecmp(name, "hello") != 0 && strcasecmp(name, "ismaster") != 0)
		return SCRIPT_NOTHING;
	BSON_APPEND_ARRAY_BEGIN(reply, "hosts", &hosts);
	BSON_APPEND_UTF8(&hosts, "0", members[0]);
	BSON_APPEND_UTF8(&hosts, "1", members[1]);
	bson_append_array_end(reply, &hosts);
	BSON_APPEND_UTF8(reply, "me", members[1]);
	return SCRIPT_NOTHING;
}

static void replica_set(struct fixture *f, const char *options)
{
	f->server.script = name_members;
	atomic_store(&f->server.replica, true);
	server_start(&f->server, 0);
	snprintf(members[0], sizeof(members[0]), "127.0.0.1:%u", open_silent_port());
	snprintf(members[1], sizeof(members[1]), "127.0.0.1:%u", f->server.port);
	snprintf(f->url, sizeof(f->url), "mongodb://%s,%s/catalog?replicaSet=rs%s", members[0], members[1], options);
	f->config.pool.acquire_timeout_us = 4000000;
}

static void one_of_two_is_silent(struct fixture *f)
{
	replica_set(f, "");
}

static void one_of_two_is_silent_for_readers(struct fixture *f)
{
	replica_set(f, "&readPreference=nearest&connectTimeoutMS=300");
}

static void by_name(struct fixture *f)
{
	start(f);
	snprintf(f->url, sizeof(f->url), "mongodb://localhost:%u/catalog", f->server.port);
}

static void no_such_name(struct fixture *f)
{
	nobody(f);
	snprintf(f->url, sizeof(f->url), "mongodb://no-such-host.invalid/catalog");
}

/* The scripted server knows nothing of passwords. */
static void with_password(struct fixture *f)
{
	start(f);
	f->config.pool.acquire_timeout_us = 200000;
	snprintf(f->url, sizeof(f->url), "mongodb://me:hunter2@127.0.0.1:%u/catalog", f->server.port);
}

static void unix_socket(struct fixture *f)
{
	char path[] = "/tmp/gatherd-test-XXXXXX", file[64];
	ck_assert_ptr_nonnull(mkdtemp(path));
	snprintf(file, sizeof(file), "%s/mongo.sock", path);
	server_start_unix(&f->server, file);
	snprintf(f->url, sizeof(f->url), "mongodb://%%2Ftmp%%2F%s%%2Fmongo.sock/catalog", path + strlen("/tmp/"));
}

/* --- runs at once --- */

struct run {
	struct fixture *f;
	struct action *action;
	struct value arg;
	struct error error;
	int result;
	char json[2048];
};

static int run_task(void *arg)
{
	struct run *r = arg;
	struct buf json = BUF_INIT;
	r->result = run_for(r->f, r->action, &r->arg, 60000000, &json, &r->error);
	snprintf(r->json, sizeof(r->json), "%s", r->result == 0 ? buf_cstr(&json) : "");
	buf_done(&json);
	return r->result;
}

static void run_all(struct fixture *f, struct run *runs, struct task **tasks, size_t n, const char *step)
{
	struct action *a = compile(f, step);
	for (size_t i = 0; i < n; i++) {
		runs[i] = (struct run){.f = f, .action = a, .arg = value_int((int64_t)i)};
		tasks[i] = spawn(run_task, &runs[i]);
	}
}

POOL_TEST(many_calls_share_few_connections, two)
{
	static struct run runs[200];
	struct task *tasks[ARRAY_SIZE(runs)];
	char expected[64];

	run_all(f, runs, tasks, ARRAY_SIZE(runs), "{ find: echo, filter: { a: \"{i}\" } }");
	for (size_t i = 0; i < ARRAY_SIZE(runs); i++) {
		ck_assert_int_eq(join(tasks[i]), 0);
		snprintf(expected, sizeof(expected), "\"filter\":{\"a\":%zu}", i);
		ck_assert_ptr_nonnull(strstr(runs[i].json, expected));
	}
	ck_assert_uint_eq(server_accepted(&f->server), 2);
}

POOL_TEST(a_full_line_refuses_at_once, small)
{
	struct run runs[10];
	struct task *tasks[ARRAY_SIZE(runs)];
	int refused = 0, waited = 0;

	ck_assert(await_ready(f, 1000));
	run_all(f, runs, tasks, ARRAY_SIZE(runs), "{ find: hang }");
	settle();
	/* One connection is there, the second one opens; 5 wait. The rest is told at once. */
	for (size_t i = ARRAY_SIZE(runs); i-- > 0;) {
		if (!task_ended(tasks[i]))
			continue;
		ck_assert_int_eq(runs[i].result, -EBUSY);
		ck_assert_int_eq(runs[i].error.status, 503);
		refused++;
	}
	ck_assert_int_ge(refused, 4);
	/* Those that waited got nothing within acquire_timeout. */
	for (int turn = 0; turn < 1500 && waited < 4; turn++) {
		ck_assert_int_eq(task_sleep_ms(20), 0);
		waited = 0;
		for (size_t i = 0; i < ARRAY_SIZE(runs); i++)
			waited += task_ended(tasks[i]) && runs[i].result == -ETIMEDOUT && runs[i].error.status == 503;
	}
	ck_assert_int_ge(waited, 4);
	for (size_t i = 0; i < ARRAY_SIZE(runs); i++) {
		task_cancel(tasks[i]);
		join(tasks[i]);
	}
}

POOL_TEST(who_leaves_the_line_leaves_no_hole, two)
{
	struct run runs[12];
	struct task *tasks[ARRAY_SIZE(runs)];

	ck_assert(await_ready(f, 1000));
	run_all(f, runs, tasks, ARRAY_SIZE(runs), "{ find: slow_10 }");
	ck_assert_int_eq(task_sleep_ms(5), 0);
	for (size_t i = 3; i < 9; i++)
		task_cancel(tasks[i]);
	for (size_t i = 0; i < ARRAY_SIZE(runs); i++) {
		int r = join(tasks[i]);
		ck_assert_int_eq(r, i >= 3 && i < 9 ? -ECANCELED : 0);
	}
}

POOL_TEST(a_server_that_is_down, nobody)
{
	struct buf json = BUF_INIT;
	struct error e;
	struct action *a = compile(f, "{ find: docs_1 }");

	ck_assert(!mongo_driver.source_ready(f->source));
	/* At first a call waits for the server to come back. */
	int64_t begun = monotonic_us();
	ck_assert_int_eq(run_for(f, a, NULL, 0, &json, &e), -EHOSTUNREACH);
	ck_assert_int_eq(e.status, 503);
	ck_assert_int_gt(monotonic_us() - begun, 100000);
	ck_assert_ptr_nonnull(strstr(e.what, "refused"));
	/* Once it has been down for longer, nobody waits. */
	ck_assert_int_eq(task_sleep_ms(50), 0);
	int64_t quickest = INT64_MAX; /* a busy machine delays any of them, but not all */
	for (int i = 0; i < 50 && quickest >= 100000; i++) {
		begun = monotonic_us();
		ck_assert_int_eq(run_for(f, a, NULL, 0, &json, &e), -EHOSTUNREACH);
		ck_assert_int_eq(e.status, 503);
		int64_t took = monotonic_us() - begun;
		quickest = took < quickest ? took : quickest;
	}
	ck_assert_int_lt(quickest, 100000);
	/* And it comes back without anybody's asking. */
	server_start(&f->server, f->server.port);
	f->descriptors++; /* the listener's */
	ck_assert(await_ready(f, 3000));
	ck_assert_str_eq(ask(f, "{ find: docs_1 }", NULL), "[{\"n\":0}]");
	buf_done(&json);
}

POOL_TEST(a_server_that_restarts, start)
{
	uint16_t port = f->server.port;

	ck_assert_str_eq(ask(f, "{ find: docs_1 }", NULL), "[{\"n\":0}]");
	server_stop(&f->server);
	ck_assert_int_eq(task_sleep_ms(30), 0);
	ck_assert(!mongo_driver.source_ready(f->source));
	server_start(&f->server, port);
	/* A call that comes meanwhile waits. */
	ck_assert_str_eq(ask(f, "{ find: docs_1 }", NULL), "[{\"n\":0}]");
	ck_assert(mongo_driver.source_ready(f->source));
}

struct ticks {
	bool stop;
	int64_t worst_us;
};

/* The time that this thread has not stood in the line for a processor. */
static int64_t undelayed_us(void)
{
	long long waited_ns = 0;
	FILE *file = fopen("/proc/thread-self/schedstat", "r");
	if (file) {
		if (fscanf(file, "%*d %lld", &waited_ns) != 1)
			waited_ns = 0;
		fclose(file);
	}
	return monotonic_us() - waited_ns / 1000;
}

static int tick(void *arg)
{
	struct ticks *t = arg;
	while (!t->stop) {
		int64_t before = undelayed_us();
		if (task_sleep_ms(2) < 0)
			break;
		int64_t took = undelayed_us() - before;
		t->worst_us = took > t->worst_us ? took : t->worst_us;
	}
	return 0;
}

/* Nothing of libmongoc's puts the thread to sleep, whatever the server does. */
static void never_blocks(struct fixture *f, int ms)
{
	struct ticks ticks = {0};
	struct buf json = BUF_INIT;
	struct error e;
	struct action *a = compile(f, "{ find: docs_1 }");
	struct task *t = spawn(tick, &ticks);
	deadline_t until = deadline_in_ms(ms);

	while (!deadline_passed(until)) {
		ck_assert_int_lt(run_for(f, a, NULL, 0, &json, &e), 0);
		ck_assert_int_eq(e.status, 503);
		ck_assert_int_eq(task_sleep_ms(10), 0);
	}
	ticks.stop = true;
	join(t);
	ck_assert_int_lt(ticks.worst_us, 250000);
	buf_done(&json);
}

POOL_TEST(a_server_that_is_silent, silent)
{
	never_blocks(f, 800);
}

/* A member that does not answer is not waited for once the primary has. */
POOL_TEST(a_member_that_is_silent, one_of_two_is_silent)
{
	int64_t begun = monotonic_us();

	ck_assert_str_eq(ask(f, "{ find: docs_1 }", NULL), "[{\"n\":0}]");
	ck_assert_int_lt(monotonic_us() - begun, 4000000);
	ck_assert_uint_eq(server_accepted(&f->server), 1);
}

/* Where it may be the one that is wanted, for as long as it takes to connect. */
POOL_TEST(a_member_that_is_silent_to_readers, one_of_two_is_silent_for_readers)
{
	ck_assert_str_eq(ask(f, "{ find: docs_1 }", NULL), "[{\"n\":0}]");
	ck_assert_uint_eq(server_accepted(&f->server), 1);
}

POOL_TEST(a_name_that_does_not_exist, no_such_name)
{
	never_blocks(f, 400);
}

POOL_TEST(a_port_without_a_server_blocks_nobody, nobody)
{
	never_blocks(f, 1200);
}

POOL_TEST(names_are_resolved, by_name)
{
	ck_assert_str_eq(ask(f, "{ find: docs_1 }", NULL), "[{\"n\":0}]");
}

POOL_TEST(a_refused_password_is_no_secret_told, with_password)
{
	struct buf json = BUF_INIT;
	struct error e;

	ck_assert_int_lt(run_for(f, compile(f, "{ find: docs_1 }"), NULL, 0, &json, &e), 0);
	ck_assert_int_eq(e.status, 503);
	ck_assert_ptr_null(strstr(e.what, "hunter2"));
	ck_assert_int_eq(mongo_driver.source_ready(f->source), false);
	buf_done(&json);
}

POOL_TEST(unix_sockets_work, unix_socket)
{
	char path[128] = "/tmp/";
	ck_assert_str_eq(ask(f, "{ find: docs_1 }", NULL), "[{\"n\":0}]");
	/* mongodb://%2Ftmp%2FNAME%2Fmongo.sock/catalog */
	const char *name = f->url + strlen("mongodb://%2Ftmp%2F");
	snprintf(path, sizeof(path), "/tmp/%.*s", (int)strcspn(name, "%"), name);
	char file[160];
	snprintf(file, sizeof(file), "%s/mongo.sock", path);
	unlink(file);
	rmdir(path);
}

POOL_TEST(idle_connections_are_closed_but_for_one, short_lived)
{
	struct run runs[4];
	struct task *tasks[ARRAY_SIZE(runs)];

	run_all(f, runs, tasks, ARRAY_SIZE(runs), "{ find: slow_20 }");
	for (size_t i = 0; i < ARRAY_SIZE(runs); i++)
		ck_assert_int_eq(join(tasks[i]), 0);
	ck_assert_uint_eq(server_accepted(&f->server), 4);
	for (int i = 0; i < 500 && server_open(&f->server) > 1; i++)
		ck_assert_int_eq(task_sleep_ms(1), 0);
	ck_assert_uint_eq(server_open(&f->server), 1);
	/* Each said good-bye to its session. */
	ck_assert_int_eq(atomic_load(&f->server.goodbyes), 3);
}

POOL_TEST(old_connections_are_replaced, soon_old)
{
	int64_t begun = monotonic_us();
	for (int i = 0; i < 20; i++) {
		ck_assert_str_eq(ask(f, "{ find: docs_1 }", NULL), "[{\"n\":0}]");
		ck_assert_int_eq(task_sleep_ms(10), 0);
	}
	unsigned lives = (unsigned)((monotonic_us() - begun) / f->config.pool.lifetime_us);
	ck_assert_uint_gt(server_accepted(&f->server), 2);
	ck_assert_uint_le(server_accepted(&f->server), 2 * lives + 2); /* each dies early, by chance */
}

/* What runs, what waits and what connects ends when the client is closed. */
static int closing_main(void *arg)
{
	struct fixture *f = arg;
	struct run runs[12];
	struct task *tasks[ARRAY_SIZE(runs)];

	fixture_open(f);
	run_all(f, runs, tasks, ARRAY_SIZE(runs), "{ find: hang }");
	ck_assert_int_eq(task_sleep_ms(20), 0);
	int64_t begun = monotonic_us();
	mongo_driver.client_close(f->client);
	ck_assert_int_lt(monotonic_us() - begun, 20000000);
	for (size_t i = 0; i < ARRAY_SIZE(runs); i++) {
		ck_assert_int_lt(join(tasks[i]), 0);
		ck_assert_int_eq(runs[i].error.status, 503);
	}
	ck_assert_uint_eq(loop_stats(loop_current()).tasks, 1);
	mongo_driver.source_free(f->source);
	return 0;
}

START_TEST(closing_ends_everything)
{
	struct fixture *f = malloc(sizeof(*f));
	fixture_config(f);
	two(f);
	ck_assert_int_eq(loop_run_main(closing_main, f), 0);
	server_stop(&f->server);
	fixture_done(f);
	free(f);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("mongo pool");
	TCase *c = async_tcase(s, "pool");

	tcase_add_test(c, many_calls_share_few_connections);
	tcase_add_test(c, a_full_line_refuses_at_once);
	tcase_add_test(c, who_leaves_the_line_leaves_no_hole);
	tcase_add_test(c, a_server_that_is_down);
	tcase_add_test(c, a_server_that_restarts);
	tcase_add_test(c, a_server_that_is_silent);
	tcase_add_test(c, a_member_that_is_silent);
	tcase_add_test(c, a_member_that_is_silent_to_readers);
	tcase_add_test(c, a_name_that_does_not_exist);
	tcase_add_test(c, a_port_without_a_server_blocks_nobody);
	tcase_add_test(c, names_are_resolved);
	tcase_add_test(c, a_refused_password_is_no_secret_told);
	tcase_add_test(c, unix_sockets_work);
	tcase_add_test(c, idle_connections_are_closed_but_for_one);
	tcase_add_test(c, old_connections_are_replaced);
	tcase_add_test(c, closing_ends_everything);
	return run_suite(s);
}
