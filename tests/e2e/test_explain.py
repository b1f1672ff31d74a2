"""Server-Timing: what each step of a request waited for and how long it ran, for those who may ask."""

from __future__ import annotations

import re
from typing import Any, Callable

import pytest
from harness import Gatherd
from support import good, in_background, problem, wait_for, running_statements
from harness import Postgres

CONFIG = """
server:
  listen: [ "127.0.0.1:${{PORT}}" ]
  explain: {explain}
sources:
  pg: {{ postgres: "${{PG}}", pool: {{ size: 8 }} }}
  db: {{ mongodb: "${{MONGO}}" }}
endpoints:
  "GET /":
    gather:
      slow: {{ from: pg, sql: "select pg_sleep(0.15)" }}
      after: {{ from: pg, sql: "select n from generate_series(1, 7) n where {{slow}}::text is not null and pg_sleep(0.01) is not null" }}
      reviews: {{ from: db, find: reviews, filter: {{ customer: 1 }} }}
      skipped: {{ from: pg, sql: "select 1", when: "{{reviews[9]}}" }}
      failed: {{ from: pg, sql: "select 1/0", on_error: null }}
  "GET /constant": {{ respond: 1 }}
  "GET /failing": {{ gather: {{ a: {{ from: pg, sql: "select 1/0" }} }} }}
  "GET /cached": {{ cache: {{ ttl: 3s, stale: 1h }}, gather: {{ a: {{ from: pg, sql: "select 1" }} }} }}
  "GET /queued": {{ gather: {{ a: {{ from: pg, sql: "select 'explain' from pg_sleep(3)", semaphore: 1 }} }} }}
"""

ASKED = {"Gatherd-Explain": "1"}


def timing(reply: Any) -> dict[str, dict[str, float]]:
    """Each metric's duration and what its description says."""
    out = {}
    for part in reply.headers["Server-Timing"].split(", "):
        match = re.fullmatch(r'([\w-]+);dur=([\d.]+);desc="wait=([\d.]+) run=([\d.]+) rows=(\d+)"', part)
        assert match, part
        out[match[1]] = {"dur": float(match[2]), "wait": float(match[3]), "run": float(match[4]), "rows": int(match[5])}
    return out


@pytest.fixture(scope="module")
def explaining(module_gatherd: Callable[..., Gatherd]) -> Gatherd:
    return module_gatherd(CONFIG.format(explain="true"))


def test_each_step(explaining: Gatherd) -> None:
    reply = explaining.get("/", headers=ASKED)
    good(reply)
    steps = timing(reply)
    assert list(steps) == ["slow", "after", "reviews", "skipped", "failed"]
    assert {name: step["rows"] for name, step in steps.items()} == {"slow": 1, "after": 7, "reviews": 3, "skipped": 0, "failed": 0}
    assert 150 <= steps["slow"]["run"] < 1000 and steps["slow"]["wait"] < 50
    assert steps["after"]["wait"] >= 150 and 70 <= steps["after"]["run"] < 1000
    assert all(step["dur"] == step["run"] for step in steps.values())


def test_only_who_asks_is_told(explaining: Gatherd) -> None:
    for path in ("/", "/cached", "/constant"):
        assert "Server-Timing" not in explaining.get(path).headers
    assert "Server-Timing" not in explaining.get("/constant", headers=ASKED).headers
    problem(explaining.get("/failing", headers=ASKED), 500)


@pytest.mark.parametrize("value", ["0", "", "no"])
def test_what_is_no_question(explaining: Gatherd, value: str) -> None:
    assert "Server-Timing" not in explaining.get("/", headers={"Gatherd-Explain": value}).headers


def test_nobody_is_told_where_it_is_off(gatherd: Callable[..., Gatherd]) -> None:
    daemon = gatherd(CONFIG.format(explain="false"))
    assert "Server-Timing" not in daemon.get("/", headers=ASKED).headers
    assert "Server-Timing" not in daemon.get("/cached", headers=ASKED).headers


def test_the_wait_for_a_permit_is_no_run(explaining: Gatherd, postgres: Postgres) -> None:
    first = in_background(lambda: explaining.get("/queued"))
    wait_for(lambda: running_statements(postgres, "'explain' from pg_sleep") == 1, 10)
    step = timing(explaining.get("/queued", headers=ASKED))["a"]
    good(first.result())
    assert step["wait"] >= 100
    assert 2995 <= step["run"] < 4500, "three seconds, of which the other one's are no part"


def test_kept_replies_say_where_they_come_from(gatherd: Callable[..., Gatherd]) -> None:
    daemon = gatherd(CONFIG.format(explain="true"))
    assert list(timing(daemon.get("/cached", headers=ASKED))) == ["a"]
    assert daemon.get("/cached", headers=ASKED).headers["Server-Timing"] == 'cache;desc="hit"'
    assert "Server-Timing" not in daemon.get("/cached").headers
    wait_for(lambda: daemon.get("/cached", headers=ASKED).headers["Server-Timing"] == 'cache;desc="stale"', 20)
