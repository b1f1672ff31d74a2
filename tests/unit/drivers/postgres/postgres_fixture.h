/* What the tests of the PostgreSQL driver share: a source with a client on the loop of the test, and actions that are
 * compiled from text. */
#pragma once

#include <check.h>
#include <errno.h>

#include "async/executor.h"
#include "async/loop.h"
#include "async/task.h"
#include "base/arena.h"
#include "drivers/postgres/driver.h"
#include "drivers/postgres/keys.h"
#include "tests/unit/async/async_fixture.h"
#include "tests/unit/drivers/postgres/postgres_server.h"

#define MAX_SLOTS 8

struct fixture {
	struct config_source config;
	struct pg_source_keys keys;
	struct config_endpoint endpoint;
	struct arena arena;
	struct diagnostics diagnostics;
	struct executor *executor;
	struct source *source;
	struct client *client;
	char url[256];
};

/* Slots in the order in which references come; the same text is the same slot. */
struct slots {
	struct reference_sink sink;
	const char *texts[MAX_SLOTS];
	int count;
};

void fixture_config(struct fixture *f);
/* In a task. */
void fixture_open(struct fixture *f);
void fixture_close_now(struct fixture *f);
void fixture_free(struct fixture *f);
/* Everything that was taken was given back. */
void fixture_close(struct fixture *f);
struct action *compile(struct fixture *f, const char *sql, enum expect expect, bool read_only);
int run_for(struct fixture *f, struct action *a, const struct value *args, int64_t timeout_us, struct buf *json,
	    struct error *e);
/* The JSON of a read, or "! status what". In the arena. */
const char *ask(struct fixture *f, enum expect expect, const char *sql, const struct value *args);
/* run_suite() in a program that has started a server. */
int run_and_stop_server(Suite *s);
/* A test in a loop with an open client `f`, whose source prepares statements or not. */
#define PG_TEST_OF(name, prepares)                                                                                     \
	static void name##_body(struct fixture *f);                                                                    \
	LOOP_TEST(name)                                                                                                \
	{                                                                                                              \
		struct fixture f;                                                                                      \
		fixture_config(&f);                                                                                    \
		f.keys.prepare = (prepares);                                                                           \
		fixture_open(&f);                                                                                      \
		name##_body(&f);                                                                                       \
		fixture_close(&f);                                                                                     \
		return 0;                                                                                              \
	}                                                                                                              \
	static void name##_body(struct fixture *f)

#define PG_TEST(name) PG_TEST_OF(name, true)
