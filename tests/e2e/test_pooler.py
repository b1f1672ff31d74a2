"""Behind a real pgbouncer: everything works without prepared statements, but for LISTEN where sessions are not kept; and what cannot work says why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Gatherd, Postgres
from harness.pgbouncer import PgBouncer
from support import at_once, good, problem, request_line, wait_for

MODULE = r"""
#include <gatherd.h>
#include <errno.h>

static int sleeps(gd_pg *tx, void *arg)
{
	(void)arg;
	gd_tx_execute(tx, "insert into pooled values (2)", NULL);
	return gd_failed(gd_tx_query(tx, "select pg_sleep(100)", NULL));
}

static int change(gd_pg *tx, void *arg)
{
	gd_value *all = arg;
	int64_t sum = 0;
	gd_append(all, gd_tx_execute(tx, "insert into pooled values (1)", NULL));
	gd_append(all, gd_int(gd_pg_savepoint(tx, sleeps, NULL)));
	gd_append(all, gd_tx_execute(tx, "insert into pooled values (3)", NULL));
	gd_cursor *c = gd_tx_stream(tx, "select n from generate_series(1, 1000) n", NULL);
	for (gd_value *row = gd_next(c); row && !gd_failed(row); row = gd_next(c))
		sum += gd_to_int(gd_get(row, "n"), 0);
	gd_close(c);
	gd_append(all, gd_int(sum));
	return 0;
}

int changes(gd_request *req)
{
	gd_value *all = gd_list();
	int r = gd_pg_transaction("pg", NULL, change, all);
	gd_copy *c = gd_pg_copy("pg", "copy pooled from stdin");
	int written = gd_copy_write(c, "4\n5\n", 4);
	gd_append(all, gd_int(written));
	gd_append(all, gd_copy_end(c));
	return r < 0 ? r : gd_reply(req, 200, all);
}

int hears(gd_request *req)
{
	gd_cursor *news = gd_pg_listen("pg", "pooled");
	gd_value *told = gd_pg_notify(NULL, "pg", "pooled", gd_string("news"));
	if (gd_failed(told))
		return gd_fail_with(told);
	gd_value *n = gd_next(news);
	return gd_failed(n) ? gd_fail_with(n) : gd_reply(req, 200, gd_get(n, "payload"));
}
"""

CONFIG = """
server: { listen: [ "127.0.0.1:${PORT}" ], threads: 1 }
sources:
  pg: { postgres: "${POOLER}", prepare: PREPARE, timeout: 500ms, pool: { size: 4 } }
endpoints:
  "GET /read/{n}":
    parameters: { n: { type: integer } }
    gather: { a: { from: pg, sql: "select {n} + 1 as n, row({n}, 'x') as r, current_setting('TimeZone') as z", expect: one } }
    respond: "{a}"
  "GET /write":   { gather: { a: { from: pg, sql: "select nextval('pooled_sequence')" } } }
  "GET /changes": { handler: "pooler.so:changes" }
  "GET /hears":   { handler: "pooler.so:hears" }
"""


@pytest.fixture
def behind(gatherd: Callable[..., Gatherd], module: Callable[..., Path], postgres: Postgres) -> Iterator[Any]:
    """`behind(mode, prepare, **settings)`: a daemon behind a pgbouncer."""
    poolers: list[PgBouncer] = []
    postgres.sql("create table if not exists pooled (x int); create sequence if not exists pooled_sequence; truncate pooled", "test")

    def run(mode: str, prepare: bool, **settings: str) -> Gatherd:
        pooler = PgBouncer(postgres, mode, **settings).start()
        poolers.append(pooler)
        files = {"pooler.so": module("pooler", MODULE).read_bytes()}
        return gatherd(CONFIG.replace("PREPARE", str(prepare).lower()), env={"POOLER": pooler.url("test")}, files=files)

    yield run
    for pooler in poolers:
        pooler.kill()
        pooler.discard()


@pytest.mark.parametrize("mode", ["session", "transaction"])
def test_without_prepared_statements(behind: Any, postgres: Postgres, mode: str) -> None:
    daemon = behind(mode, False)
    replies = at_once([lambda n=n: good(daemon.get(f"/read/{n}")) for n in range(40)])
    assert replies == [{"n": n + 1, "r": {"f1": n, "f2": "x"}, "z": "UTC"} for n in range(40)]
    problem(daemon.get("/write"), 500, code="25006")
    # What timed out in its savepoint was cancelled through the pooler.
    said = good(daemon.get("/changes"))
    assert said[0] == 1 and said[1] < 0 and said[2:] == [1, 500500, 0, 2]
    assert postgres.sql("select string_agg(x::text, ',' order by x) from pooled", "test") == "1,3,4,5"


def test_notifications_come_where_sessions_are_kept(behind: Any) -> None:
    daemon = behind("session", False)
    for _ in range(3):
        assert good(daemon.get("/hears")) == "news"


def test_where_no_notification_can_come_that_is_said(behind: Any) -> None:
    daemon = behind("transaction", False)
    problem(daemon.get("/hears"), 500)
    line = request_line(daemon, path="/hears")
    assert "a pooler that does not keep sessions" in line["error"]
    assert good(daemon.get("/read/1"))["n"] == 2


def test_options_that_are_ignored_are_noticed(behind: Any, postgres: Postgres) -> None:
    daemon = behind("session", True, ignore_startup_parameters="options")
    problem(daemon.get("/write"), 503)
    assert "the source needs `prepare: false`" in request_line(daemon, path="/write")["error"]
    assert postgres.sql("select is_called from pooled_sequence", "test") == "f"


def test_options_that_are_refused_are_told(behind: Any) -> None:
    daemon = behind("transaction", True)
    wait_for(lambda: daemon.get("/read/1").status == 503, 10)
    assert "unsupported startup parameter: options" in request_line(daemon, path="/read/1")["error"]
