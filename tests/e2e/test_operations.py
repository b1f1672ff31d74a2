"""Steps that run without a task of their own: reads of PostgreSQL whose statements are known. A step is asked once before
each test, so that its statement is: what comes then is what came from a task."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from harness import Gatherd, Postgres
from support import Wire, good, in_background, problem, running_statements, wait_for

CONFIG = """
server: { listen: [ "127.0.0.1:${PORT}" ], threads: 1, explain: true }
sources: { pg: { postgres: "${PG}", pool: { size: 4 } } }
endpoints:
  "GET /many/{n}":
    parameters: { n: { type: integer } }
    gather:
      a: { from: pg, sql: "select {n}::int + 1 as x", expect: value }
      b: { from: pg, sql: "select {n}::int + 2 as x", expect: value }
      sum: { from: pg, sql: "select {a}::int + {b}::int as x", expect: value }
  "GET /fails/{s}/{d}":
    parameters: { s: { type: number }, d: { type: integer } }
    gather:
      slow: { from: pg, sql: "select 'beside a failure' from pg_sleep({s})", expect: value }
      bad: { from: pg, sql: "select 1 / {d}::int", expect: value }
  "GET /late/{s}":
    parameters: { s: { type: number } }
    gather:
      slow: { from: pg, sql: "select 'too late' from pg_sleep({s})", expect: value, timeout: 200ms, on_error: null }
      quick: { from: pg, sql: "select 'in time'", expect: value }
  "GET /bound/{s}":
    timeout: 300ms
    parameters: { s: { type: number } }
    gather:
      slow: { from: pg, sql: "select 'out of bounds' from pg_sleep({s})", expect: value }
      quick: { from: pg, sql: "select 'in time'", expect: value }
  "GET /left/{s}":
    parameters: { s: { type: number } }
    gather:
      slow: { from: pg, sql: "select 'left alone' from pg_sleep({s})", expect: value }
      quick: { from: pg, sql: "select 'in time'", expect: value }
  "GET /skipped":
    parameters: { flag: { type: boolean, in: query, default: false } }
    gather:
      last: { from: pg, sql: "select {middle}::int is null", expect: value }
      middle: { from: pg, sql: "select {first}::int", expect: value, when: "{first}" }
      first: { from: pg, sql: "select 1", expect: value, when: "{flag}" }
  "GET /changing": { gather: { rows: { from: pg, sql: "select * from changing" }, one: { from: pg, sql: "select 1", expect: value } } }
"""


@pytest.fixture(scope="module")
def daemon(module_gatherd: Callable[..., Gatherd], postgres: Postgres) -> Gatherd:
    postgres.sql("create table changing (a int); insert into changing values (1)", "test")
    return module_gatherd(CONFIG)


def quiet(postgres: Postgres, part: str) -> None:
    wait_for(lambda: running_statements(postgres, part) == 0, 30)


def steps(daemon: Gatherd) -> float:
    found = re.search(r'^gatherd_step_duration_seconds_count\{source="pg"\} (\S+)', daemon.get("/-/metrics").text, re.M)
    return float(found.group(1)) if found else 0


def test_each_has_its_own_rows(daemon: Gatherd) -> None:
    for n in range(5):
        before = steps(daemon)
        reply = daemon.get(f"/many/{n}", headers={"Gatherd-Explain": "1"})
        assert good(reply) == {"a": n + 1, "b": n + 2, "sum": 2 * n + 3}
        assert re.findall(r"(\w+);dur=", reply.headers["Server-Timing"])[:3] == ["a", "b", "sum"]
        assert steps(daemon) == before + 3


def test_a_failure_ends_its_neighbours(daemon: Gatherd, postgres: Postgres) -> None:
    assert good(daemon.get("/fails/0/1")) == {"slow": "beside a failure", "bad": 1}
    running = in_background(lambda: daemon.get("/fails/600/0"))
    problem(running.result(60), 400)
    quiet(postgres, "'beside a failure'")


def test_a_step_that_is_late_is_replaced(daemon: Gatherd, postgres: Postgres) -> None:
    wait_for(lambda: daemon.get("/late/0").json() == {"slow": "too late", "quick": "in time"}, 60)  # slow machines need a few
    assert good(daemon.get("/late/600")) == {"slow": None, "quick": "in time"}
    quiet(postgres, "'too late'")


def test_the_endpoint_has_a_time_out(daemon: Gatherd, postgres: Postgres) -> None:
    wait_for(lambda: daemon.get("/bound/0").status == 200, 60)
    problem(daemon.get("/bound/600"), 504)
    quiet(postgres, "'out of bounds'")


def test_a_client_that_leaves_cancels_them(daemon: Gatherd, postgres: Postgres) -> None:
    assert good(daemon.get("/left/0")) == {"slow": "left alone", "quick": "in time"}
    with Wire(daemon) as wire:
        wire.get("/left/600")
        wait_for(lambda: running_statements(postgres, "'left alone'") == 1, 30)
    quiet(postgres, "'left alone'")


def test_what_is_skipped_lets_the_next_begin(daemon: Gatherd) -> None:
    for _ in range(2):
        assert good(daemon.get("/skipped?flag=true")) == {"last": False, "middle": 1, "first": 1}
        assert good(daemon.get("/skipped")) == {"last": True, "middle": None, "first": None}


def test_a_table_that_has_changed(daemon: Gatherd, postgres: Postgres) -> None:
    assert good(daemon.get("/changing")) == {"rows": [{"a": 1}], "one": 1}
    postgres.sql("alter table changing add b text default 'new'", "test")
    for _ in range(2):
        assert good(daemon.get("/changing")) == {"rows": [{"a": 1, "b": "new"}], "one": 1}
