/* What the tests of run-time SQL share: asking by text, outside of and within a transaction, and looking at the server.
 */
#pragma once

#include "drivers/postgres/calls/query.h"
#include "drivers/postgres/calls/transaction.h"
#include "drivers/postgres/driver.h"
#include "drivers/postgres/keys.h"
#include "drivers/postgres/statements/cache.h"
#include "drivers/postgres/wire/client.h"
#include "tests/unit/drivers/postgres/postgres_fixture.h"

#if defined(__SANITIZE_ADDRESS__)
#define QUARANTINE_KIB 400000 /* what is freed is kept for a while */
#else
#define QUARANTINE_KIB 0
#endif

static inline struct pg_client *client_of(const struct fixture *f)
{
	return pg_client_of(f->client);
}

static inline struct pg_ask ask_of(const char *sql, const struct value *args, unsigned count)
{
	return (struct pg_ask){.call = "gd_pg_query",
			       .sql = sql,
			       .len = strlen(sql),
			       .args = args,
			       .count = count,
			       .expect = EXPECT_MANY,
			       .timeout_us = 60000000};
}

/* Its JSON, "changed n", or "! status code what"; in the arena. */
static inline const char *answer_text(struct fixture *f, int r, struct pg_answer *a, const struct error *e)
{
	struct buf json = BUF_INIT;

	if (r < 0) {
		ck_assert_int_eq(e->errnum, r);
		ck_assert_ptr_null(a->result);
		return arena_printf(&f->arena, "! %d %s %s", e->status, e->code, e->what);
	}
	if (!a->result)
		return arena_printf(&f->arena, "changed %lld", (long long)a->changed);
	a->result->ops->render(a->result, &json);
	result_free(a->result);
	const char *out = arena_strndup(&f->arena, json.data, json.len);
	buf_done(&json);
	return out;
}

static inline const char *query(struct fixture *f, const struct pg_ask *ask)
{
	struct pg_answer a = {0};
	struct error e = ERROR_INIT;
	int r = pg_query(client_of(f), ask, &a, &e);
	return answer_text(f, r, &a, &e);
}

static inline const char *read_text(struct fixture *f, const char *sql, const struct value *args, unsigned count)
{
	struct pg_ask ask = ask_of(sql, args, count);
	return query(f, &ask);
}

static inline const char *write_text(struct fixture *f, const char *sql, const struct value *args, unsigned count)
{
	struct pg_ask ask = ask_of(sql, args, count);
	ask.call = "gd_pg_execute";
	ask.writes = true;
	return query(f, &ask);
}

static inline const char *in_tx(struct fixture *f, struct pg_transaction *tx, const char *sql)
{
	struct pg_ask ask = ask_of(sql, NULL, 0);
	struct pg_answer a = {0};
	struct error e = ERROR_INIT;
	ask.call = "gd_tx_execute";
	ask.writes = true;
	int r = pg_transaction_query(tx, &ask, &a, &e);
	return answer_text(f, r, &a, &e);
}

/* The rows of a table, or of one "where …". */
static inline unsigned rows_of(const char *table)
{
	char *n = server_sql("select count(*) from %s", table);
	unsigned count = (unsigned)atoi(n);
	free(n);
	return count;
}

/* The server ends the driver's sessions that the condition is true for. */
static inline void end_sessions(const char *condition)
{
	free(server_sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'gatherd' and "
			"%s",
			condition));
}

#define ck_assert_contains(text, part)                                                                                 \
	do {                                                                                                           \
		const char *text_ = (text);                                                                            \
		ck_assert_msg(strstr(text_, (part)) != NULL, "\"%s\" has no \"%s\"", text_, (part));                   \
	} while (0)

/* What a call says whose connection broke. */
static inline void check_broken(const char *got)
{
	ck_assert_msg(strncmp(got, "! 502", 5) == 0 || strncmp(got, "! 503", 5) == 0, "%s", got);
}

/* Soon nothing is taken, neither here nor on the server. */
static inline void await_quiet(struct fixture *f)
{
	struct shield shield;
	bool quiet = false;

	task_shield(&shield, DEADLINE_NEVER);
	for (int i = 0; i < 2000 && !quiet; i++) {
		quiet = postgres_driver.client_idle(f->client);
		if (!quiet)
			ck_assert_int_eq(task_sleep_ms(1), 0);
	}
	ck_assert_msg(quiet, "the pool is not idle");
	/* A server that was asked to stop, or whose connection was closed, may be at its last rows still. */
	bool left = true;
	for (int i = 0; i < 1000 && left; i++) {
		char *n = server_sql("select count(*) from pg_stat_activity where application_name = 'gatherd' and "
				     "(state like 'idle in transaction%%' or xact_start is not null)");
		left = strcmp(n, "0") != 0;
		free(n);
		if (left)
			ck_assert_int_eq(task_sleep_ms(10), 0);
	}
	ck_assert_msg(!left, "a transaction is open on the server");
	task_unshield(&shield);
}
