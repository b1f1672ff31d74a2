/* What the tests of the MongoDB driver share: a source with a client on the loop of the test, and actions that are
 * compiled from YAML. */
#pragma once

#include <check.h>
#include <errno.h>
#include <signal.h>

#include "async/executor.h"
#include "async/loop.h"
#include "async/run.h"
#include "async/task.h"
#include "base/arena.h"
#include "config/yaml.h"
#include "drivers/mongo/driver.h"
#include "drivers/mongo/keys.h"
#include "tests/unit/async/async_fixture.h"
#include "tests/unit/drivers/mongo/mongo_server.h"

#define MAX_SLOTS 8

struct fixture {
	struct server server;
	struct config_source config;
	struct mongo_source_keys keys;
	struct config_endpoint endpoint;
	struct arena arena;
	struct diagnostics diagnostics;
	struct executor *executor;
	struct source *source;
	struct client *client;
	char url[512];
	int descriptors; /* that were open before */
};

/* Slots in the order in which references come; the same text is the same slot. */
struct slots {
	struct reference_sink sink;
	const char *texts[MAX_SLOTS];
	int count;
};

int add_slot(struct reference_sink *sink, const struct reference *ref);
void fixture_config(struct fixture *f);
void fixture_url(struct fixture *f, const char *options);
/* In a task. */
void fixture_open(struct fixture *f);
void await_idle(struct fixture *f);
bool await_ready(struct fixture *f, int ms);
/* Begin anew: the next operation needs a connection of its own. */
void lose_connections(struct fixture *f);
/* Cut the next connection after n bytes; `where` is the server's cut_after or cut_requests. */
void cut_begin(struct fixture *f, atomic_long *where, long n);
/* Returns whether one was cut. */
bool cut_end(struct fixture *f, atomic_long *where);
/* cancel_after() in a sweep over n. Returns whether the sweep has come to its end: not by the first few, which may find
 * what they need at once. */
bool cancel_in_turn(int n, task_fn fn, void *arg, const bool *done, int *r);
/* Everything that was taken was given back. */
void fixture_close(struct fixture *f);
void fixture_done(struct fixture *f);
const struct node *yaml(struct fixture *f, const char *text);
struct action *compile(struct fixture *f, const char *text);
int run_result(struct fixture *f, struct action *a, const struct value *args, int64_t timeout_us,
	       struct result **result, struct error *e);
int run_for(struct fixture *f, struct action *a, const struct value *args, int64_t timeout_us, struct buf *json,
	    struct error *e);
/* The JSON of a read, or "! status code". In the arena. */
const char *ask(struct fixture *f, const char *step, const struct value *args);
/* A test whose body is a loop's main task, with a server and a fixture that is not open yet as its argument. */
#define MONGO_MAIN_TEST(name, main)                                                                                    \
	START_TEST(name)                                                                                               \
	{                                                                                                              \
		struct fixture *f = malloc(sizeof(*f));                                                                \
		fixture_config(f);                                                                                     \
		server_start(&f->server, 0);                                                                           \
		fixture_url(f, "?connectTimeoutMS=5000");                                                              \
		ck_assert_int_eq(loop_run_main(main, f), 0);                                                           \
		server_stop(&f->server);                                                                               \
		fixture_done(f);                                                                                       \
		free(f);                                                                                               \
	}                                                                                                              \
	END_TEST

/* A test in a loop with a server and an open client `f`. */
#define MONGO_TEST(name)                                                                                               \
	static void name##_body(struct fixture *f);                                                                    \
	static int name##_main(void *arg)                                                                              \
	{                                                                                                              \
		struct fixture *f = arg;                                                                               \
		fixture_open(f);                                                                                       \
		name##_body(f);                                                                                        \
		fixture_close(f);                                                                                      \
		return 0;                                                                                              \
	}                                                                                                              \
	MONGO_MAIN_TEST(name, name##_main)                                                                             \
	static void name##_body(struct fixture *f)
