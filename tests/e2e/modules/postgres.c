/* Each of gatherd.h's functions of PostgreSQL: test_handlers_postgres.py says what each must answer. The source is the
 * parameter `on`; where it matters a table of the test's own is used, whose rows carry the parameter `run`. */
#include <errno.h>
#include <gatherd.h>
#include <string.h>

#include "postgres.h"

/* --- one statement --- */

int reads(gd_request *req)
{
	const char *s = on(req);
	gd_value *rows = gd_pg_query(NULL, s, "select n, n * 1.5 as x from generate_series(1, $1) n",
				     gd_list(gd_int(3)));
	gd_value *row = gd_pg_row(
		NULL, s, "select $1::text as a, $2::jsonb as b, $3::int[] as c, row(1, true) as d",
		gd_list(gd_string("ü"), gd_doc("k", gd_list(gd_null())), gd_list(gd_int(1), gd_null())));
	gd_value *none = gd_pg_row(NULL, s, "select 1 where false", NULL);
	gd_value *one = gd_pg_scalar(NULL, s, "select count(*) from pg_class where relname = $1",
				     gd_list(gd_string("pg_class")));
	gd_value *given = gd_pg_scalar(NULL, s, "select $1::timestamptz", gd_list(gd_param(req, "at")));
	gd_value *parsed = gd_pg_row(NULL, s, "select $1::int as a, $2::text as b", gd_parse("[5, \"x\"]", 8));
	gd_value *bytes = gd_pg_scalar(NULL, s, "select encode($1::bytea, 'hex')", gd_list(gd_bytes("\0\xff", 2)));
	return gd_reply(req, 200,
			gd_build("{rows: %p, second: %p, row: %p, none: %p, one: %p, given: %p, parsed: %p, bytes: %p}",
				 rows, gd_get(rows, "[1].n"), row, none, one, given, parsed, bytes));
}

int wrong(gd_request *req)
{
	const char *s = on(req);
	gd_value *all = gd_list(
		outcome(gd_pg_query(NULL, s, "selec", NULL)), outcome(gd_pg_query(NULL, s, "select $1::int", NULL)),
		outcome(gd_pg_query(NULL, s, "select 1; select 2", NULL)),
		outcome(gd_pg_query(NULL, s, "commit", NULL)), outcome(gd_pg_row(NULL, s, "values (1), (2)", NULL)),
		outcome(gd_pg_scalar(NULL, s, "select 1, 2", NULL)),
		outcome(gd_pg_query(NULL, s, "delete from handled", NULL)),
		outcome(gd_pg_query(NULL, s, "select 1", gd_int(1))),
		outcome(gd_pg_query(NULL, s, "select $1::int", gd_list(gd_failure(-ENOENT, 404, "Mine.")))),
		outcome(gd_pg_query(NULL, s, NULL, NULL)), outcome(gd_pg_query(NULL, "files", "select 1", NULL)),
		outcome(gd_pg_query(NULL, NULL, "select 1", NULL)), outcome(gd_tx_query(NULL, "select 1", NULL)),
		outcome(gd_next(gd_pg_stream(s, "selec", NULL))),
		outcome(gd_next(gd_tx_stream(NULL, "select 1", NULL))));
	return gd_reply(req, 200, all);
}

int fails(gd_request *req)
{
	gd_value *v = gd_pg_query(NULL, on(req), "select $1::text::int", gd_list(gd_param(req, "text")));
	return gd_reply(req, 200, v);
}

int writes(gd_request *req)
{
	const char *s = on(req);
	gd_value *run = gd_param(req, "run");
	gd_value *n = gd_pg_execute(NULL, s, "insert into handled select $1, n from generate_series(1, 3) n",
				    gd_list(run));
	gd_value *rows = gd_pg_execute(NULL, s, "update handled set n = n + 10 where run = $1 and n > 1 returning n",
				       gd_list(run));
	gd_value *none = gd_pg_execute(NULL, s, "delete from handled where run = $1 and n > 100", gd_list(run));
	gd_value *twice = gd_pg_execute(NULL, s, "insert into handled values ($1, 1)", gd_list(run));
	return gd_reply(req, 200, gd_build("{n: %p, rows: %p, none: %p, twice: %p}", n, rows, none, outcome(twice)));
}

/* --- many at once --- */

int gathers(gd_request *req)
{
	gd_gather *g = gd_gather_new(GD_ALL);
	gd_value *all = gd_list();
	gd_value *values[20];

	for (int i = 0; i < 20; i++)
		values[i] = gd_pg_scalar(g, on(req), i == 7 ? "select 1 / ($1::int - 7)" : "select $1::int * 10",
					 gd_list(gd_int(i)));
	int r = gd_gather_wait(g, GD_NEVER);
	for (int i = 0; i < 20; i++)
		gd_append(all, gd_failed(values[i]) ? gd_string(gd_error_code(values[i])) : values[i]);
	return gd_reply(req, 200, gd_build("{r: %d, all: %p}", r, all));
}

int gathers_fast(gd_request *req)
{
	gd_gather *g = gd_gather_new(GD_FAIL_FAST);
	gd_value *slow = gd_pg_query(g, on(req), "select pg_sleep(60)", NULL);
	gd_value *bad = gd_pg_query(g, on(req), "select 1 / 0", NULL);
	int r = gd_gather_wait(g, GD_NEVER);
	return gd_reply(req, 200, gd_build("{r: %d, slow: %d, bad: %s}", r, gd_failed(slow), gd_error_code(bad)));
}

/* --- transactions --- */

struct story {
	gd_request *req;
	gd_value *run, *seen;
	int runs;
};

static struct story story_of(gd_request *req)
{
	return (struct story){.req = req, .run = gd_param(req, "run"), .seen = gd_list()};
}

static gd_value *add(gd_pg *tx, struct story *s, int n)
{
	return gd_tx_execute(tx, "insert into handled values ($1, $2)", gd_list(s->run, gd_int(n)));
}

static gd_value *left(struct story *s)
{
	return gd_pg_scalar(NULL, on(s->req), "select array_agg(n order by n) from handled where run = $1",
			    gd_list(s->run));
}

static int reply(struct story *s, int r)
{
	return gd_reply(s->req, 200, gd_build("{r: %d, runs: %d, seen: %p, left: %p}", r, s->runs, s->seen, left(s)));
}

static int sub_kept(gd_pg *tx, void *arg)
{
	return gd_failed(add(tx, arg, 2));
}

static int sub_undone(gd_pg *tx, void *arg)
{
	add(tx, arg, 3);
	return gd_fail(-ENOENT, 404, "Not that.");
}

static int sub_failed(gd_pg *tx, void *arg)
{
	struct story *s = arg;
	gd_append(s->seen, gd_string(gd_error_code(add(tx, s, 1))));
	gd_append(s->seen, gd_string(gd_error_code(gd_tx_query(tx, "select 1", NULL))));
	return 0;
}

static int tell_all(gd_pg *tx, void *arg)
{
	struct story *s = arg;
	gd_append(s->seen, add(tx, s, 1));
	gd_append(s->seen, gd_int(gd_pg_savepoint(tx, sub_kept, s)));
	gd_append(s->seen, gd_int(gd_pg_savepoint(tx, sub_undone, s)));
	gd_append(s->seen, gd_int(gd_pg_savepoint(tx, sub_failed, s)));
	gd_append(s->seen, gd_tx_query(tx, "select n from handled where run = $1 order by n", gd_list(s->run)));
	gd_append(s->seen, gd_tx_row(tx, "select n from handled where run = $1 and n = 2", gd_list(s->run)));
	gd_append(s->seen, gd_tx_scalar(tx, "select current_setting('transaction_isolation')", NULL));
	gd_append(s->seen,
		  gd_tx_execute(tx, "update handled set n = 20 where run = $1 and n = 2 returning n", gd_list(s->run)));
	return 5;
}

int transaction(gd_request *req)
{
	struct story s = story_of(req);
	gd_pg_options options = {.isolation = GD_SERIALIZABLE};
	return reply(&s, gd_pg_transaction(on(req), &options, tell_all, &s));
}

static int tell_and_fail(gd_pg *tx, void *arg)
{
	add(tx, arg, 1);
	return gd_fail(-EPERM, 403, "Not you.");
}

/* Fails with what the function failed with. */
int rolled_back(gd_request *req)
{
	struct story s = story_of(req);
	int r = gd_pg_transaction(on(req), NULL, tell_and_fail, &s);
	return gd_truthy(left(&s)) ? 0 : r;
}

static int tell_badly(gd_pg *tx, void *arg)
{
	add(tx, arg, 1);
	add(tx, arg, 1);
	return 0;
}

/* Ignores what failed in it: that is what it fails with. */
int not_committed(gd_request *req)
{
	struct story s = story_of(req);
	int r = gd_pg_transaction(on(req), NULL, tell_badly, &s);
	return gd_truthy(left(&s)) ? 0 : r;
}

static int tell_with_failed_value(gd_pg *tx, void *arg)
{
	struct story *s = arg;
	add(tx, s, 1);
	gd_tx_execute(tx, "insert into handled values ($1, $2)", gd_list(s->run, gd_failure(-ENOENT, 404, "None.")));
	return 0;
}

int failed_value(gd_request *req)
{
	struct story s = story_of(req);
	return reply(&s, gd_pg_transaction(on(req), NULL, tell_with_failed_value, &s));
}

static int tell_again(gd_pg *tx, void *arg)
{
	struct story *s = arg;
	add(tx, s, ++s->runs);
	if (s->runs < 3)
		gd_tx_query(tx, "do $$ begin raise exception 'again' using errcode = '40001'; end $$", NULL);
	return 0;
}

int retried(gd_request *req)
{
	struct story s = story_of(req);
	gd_pg_options options = {.attempts = 5};
	return reply(&s, gd_pg_transaction(on(req), &options, tell_again, &s));
}

/* Two at once, each reading what the other writes: whatever the order, both are committed. */
static int tell_count(gd_pg *tx, void *arg)
{
	struct story *s = arg;
	s->runs++;
	gd_value *n = gd_tx_scalar(tx, "select count(*) from handled where run = $1", gd_list(s->run));
	gd_sleep(20);
	return gd_failed(gd_tx_execute(tx, "insert into handled values ($1, $2)", gd_list(s->run, n)));
}

static int count_task(void *arg)
{
	struct story *s = arg;
	gd_pg_options options = {.isolation = GD_SERIALIZABLE, .attempts = 20};
	return gd_pg_transaction(on(s->req), &options, tell_count, s);
}

int serialized(gd_request *req)
{
	struct story s = story_of(req), t = story_of(req);
	gd_gather *g = gd_gather_new(GD_ALL);
	gd_gather_add(g, "first", count_task, &s);
	gd_gather_add(g, "second", count_task, &t);
	int r = gd_gather_wait(g, GD_NEVER);
	s.runs += t.runs;
	return reply(&s, r < 0 ? r : gd_gather_result(g, 0) + gd_gather_result(g, 1));
}

static gd_pg *kept;
static gd_cursor *kept_cursor;

static int tell_kept(gd_pg *tx, void *arg)
{
	(void)arg;
	kept = tx;
	kept_cursor = gd_tx_stream(tx, "select 1", NULL);
	return 0;
}

int misused(gd_request *req)
{
	struct story s = story_of(req);
	gd_pg_options odd = {.isolation = (gd_isolation)77};
	gd_pg_transaction(on(req), NULL, tell_kept, &s);
	return gd_reply(req, 200,
			gd_build("[%p, %d, %p, %d, %d, %d, %d]", outcome(gd_tx_query(kept, "select 1", NULL)),
				 gd_pg_savepoint(kept, sub_kept, &s), outcome(gd_next(kept_cursor)),
				 gd_pg_transaction("nobody", NULL, tell_kept, &s),
				 gd_pg_transaction(on(req), NULL, NULL, NULL),
				 gd_pg_transaction(on(req), &odd, tell_kept, &s), gd_pg_savepoint(NULL, NULL, NULL)));
}

static int tell_slow(gd_pg *tx, void *arg)
{
	add(tx, arg, 1);
	return gd_failed(gd_tx_query(tx, "select pg_sleep(60) /* lingers */", NULL));
}

/* The client leaves, or the deadline passes. */
int lingers(gd_request *req)
{
	struct story s = story_of(req);
	return gd_pg_transaction(on(req), NULL, tell_slow, &s);
}

/* --- streams --- */

int streams(gd_request *req)
{
	gd_cursor *rows = gd_pg_stream(on(req), "select n, 'row ' || n as text from generate_series(1, $1) n",
				       gd_list(gd_param(req, "n")));
	gd_value *all = gd_list(), *row;

	while ((row = gd_next(rows))) {
		if (gd_failed(row))
			return gd_fail_with(row);
		gd_append(all, row);
	}
	return gd_reply(req, 200, all);
}

/* So many that they could not all be held. */
int counts(gd_request *req)
{
	gd_cursor *rows = gd_pg_stream(on(req), "select n, repeat('x', 100) as pad from generate_series(1, $1) n",
				       gd_list(gd_param(req, "n")));
	int64_t sum = 0, count = 0;
	gd_value *row;

	while ((row = gd_next(rows))) {
		gd_scope *s = gd_scope_begin();
		sum += gd_to_int(gd_get(row, "n"), -1);
		count++;
		gd_scope_end(s);
	}
	return gd_reply(req, 200, gd_build("{count: %lld, sum: %lld}", (long long)count, (long long)sum));
}

int leaves_early(gd_request *req)
{
	gd_cursor *rows = gd_pg_stream(on(req), "select generate_series(1, 100000000) as n", NULL);
	gd_value *first = gd_value_copy(gd_next(rows));
	if (gd_truthy(gd_param(req, "close")))
		gd_close(rows);
	return gd_reply(req, 200, first);
}

static int tell_streaming(gd_pg *tx, void *arg)
{
	struct story *s = arg;
	gd_tx_execute(tx, "insert into handled select $1, n from generate_series(1, 40) n", gd_list(s->run));
	gd_cursor *rows = gd_tx_stream(tx, "select n from handled where run = $1 order by n", gd_list(s->run));
	gd_value *row;
	while ((row = gd_next(rows))) {
		if (gd_to_int(gd_get(row, "n"), 0) % 2)
			s->runs += (int)gd_to_int(gd_tx_execute(tx, "delete from handled where run = $1 and n = $2",
								gd_list(s->run, gd_get(row, "n"))),
						  -1);
	}
	return 0;
}

int streams_within(gd_request *req)
{
	struct story s = story_of(req);
	return reply(&s, gd_pg_transaction(on(req), NULL, tell_streaming, &s));
}
