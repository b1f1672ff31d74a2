"""Idempotency-Key: a request that comes again is answered with the first one's reply, and never done twice."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import CuttingProxy, Gatherd, Postgres
from support import good, in_background, problem, wait_for

DATABASE = "idempotency"

CONFIG = """
sources:
  pg: { postgres: "${PG}", pool: { size: 4, acquire_timeout: 20s } }
  store: { postgres: "${STORE}", pool: { size: 4, acquire_timeout: 20s } }
endpoints:
  "POST /orders":
    body: { type: object, required: [ n ], properties: { n: { type: integer } } }
    idempotency: { store: store }
    gather: { o: { from: pg, expect: one, sql: "insert into orders (n) values ({body.n}) returning id, n" } }
    location: "/orders/{o.id}"
    headers: { X-Way: "o:{o.n}" }
  "POST /others":
    idempotency: { store: store, required: true }
    gather: { o: { from: pg, sql: "insert into orders (n) values (1)" } }
    status: 204
  "POST /gated":
    idempotency: { store: store }
    gather: { o: { from: pg, sql: "insert into orders (n) select 1 from (select pg_advisory_xact_lock(4711)) x returning n" } }
  "POST /again":
    idempotency: { store: store, resume: rerun }
    gather: { o: { from: pg, sql: "insert into orders (n) values (1)" } }
  "POST /large":
    idempotency: { store: store }
    gather: { o: { from: pg, sql: "insert into orders (n) values (1) returning repeat('x', 1100000) as x" } }
"""


@pytest.fixture(scope="module")
def database(postgres: Postgres) -> Postgres:
    postgres.create_database(DATABASE)
    return postgres


@pytest.fixture
def tables(database: Postgres, program: Path) -> Postgres:
    table = subprocess.run([program, "idempotency-schema"], check=True, capture_output=True, text=True).stdout
    database.sql("drop table if exists orders, gatherd_idempotency", DATABASE)
    database.sql(table + table, DATABASE)
    database.sql("create table orders (id bigint primary key generated always as identity, n int not null)", DATABASE)
    return database


def start(gatherd: Callable[..., Gatherd], tables: Postgres, config: str = CONFIG, **urls: str) -> Gatherd:
    return gatherd(config, postgres=tables, env={"PG": tables.url(DATABASE), "STORE": tables.url(DATABASE)} | urls)


@pytest.fixture
def daemon(gatherd: Callable[..., Gatherd], tables: Postgres) -> Gatherd:
    return start(gatherd, tables)


def ask(daemon: Gatherd, path: str, key: str | None, n: int = 1):
    return daemon.post(path, json_body={"n": n}, headers={} if key is None else {"Idempotency-Key": key})


def orders(tables: Postgres) -> int:
    return int(tables.sql("select count(*) from orders", DATABASE))


def locks(tables: Postgres, granted: bool) -> str:
    mine = "locktype = 'advisory' and objid = 4711 and database = (select oid from pg_database where datname = current_database())"
    return tables.sql(f"select count(*) from pg_locks where {mine} and granted = {granted}", DATABASE)


@contextlib.contextmanager
def closed_gate(tables: Postgres) -> Iterator[None]:
    """While it is closed, POST /gated waits in its statement."""
    holder = subprocess.Popen(["psql", "-XAtq", tables.url(DATABASE)], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert holder.stdin
    holder.stdin.write("select pg_advisory_lock(4711);\n")
    holder.stdin.flush()
    wait_for(lambda: locks(tables, True) == "1", 60)
    try:
        yield
    finally:
        holder.stdin.close()
        holder.wait(60)


def test_a_request_that_comes_again_gets_the_first_reply(daemon: Gatherd, tables: Postgres) -> None:
    first = ask(daemon, "/orders", "a")
    assert first.status == 201
    for key in ["a", '"a"']:
        again = ask(daemon, "/orders", key)
        assert (again.status, again.body) == (201, first.body)
        assert again.headers["Idempotency-Replayed"] == "true"
        for name in ["Location", "X-Way", "Content-Type", "Gatherd-Complete"]:
            assert again.headers[name] == first.headers[name]
    assert "Idempotency-Replayed" not in first.headers
    assert orders(tables) == 1


def test_a_key_belongs_to_one_request_of_one_endpoint(daemon: Gatherd, tables: Postgres) -> None:
    assert ask(daemon, "/orders", "a").status == 201
    assert problem(ask(daemon, "/orders", "a", n=2), 422)["outcome"] == "none"
    problem(daemon.post("/orders?", json_body={"n": 1}, headers={"Idempotency-Key": "a", "Content-Type": "application/json; charset=utf-8"}), 422)
    first = ask(daemon, "/others", "a")
    again = ask(daemon, "/others", "a")
    assert (first.status, again.status, again.body) == (204, 204, b"")
    assert again.headers["Idempotency-Replayed"] == "true" and "Content-Type" not in again.headers
    assert ask(daemon, "/orders", "b").status == 201
    assert ask(daemon, "/orders", None).status == 201
    assert ask(daemon, "/orders", None).status == 201
    assert orders(tables) == 5


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, '"a', 'a"b', "é".encode().decode("latin-1"), '""'])
def test_keys_that_are_none(daemon: Gatherd, tables: Postgres, key: str) -> None:
    problem(ask(daemon, "/orders", key), 400)
    assert orders(tables) == 0


def test_a_key_may_be_long_and_may_be_needed(daemon: Gatherd, tables: Postgres) -> None:
    assert ask(daemon, "/orders", "x" * 255).status == 201
    problem(ask(daemon, "/others", None), 400)
    assert orders(tables) == 1


def test_of_two_at_once_one_runs(daemon: Gatherd, tables: Postgres) -> None:
    with closed_gate(tables):
        first = in_background(lambda: ask(daemon, "/gated", "a"))
        wait_for(lambda: locks(tables, False) == "1", 60)
        second = ask(daemon, "/gated", "a")
        assert problem(second, 409)["outcome"] == "none"
        assert second.headers["Retry-After"] == "1"
    body = first.result().body
    again = ask(daemon, "/gated", "a")
    assert (again.status, again.body) == (200, body)
    assert orders(tables) == 1


def test_many_at_once(daemon: Gatherd, tables: Postgres) -> None:
    waiting = [in_background(lambda: ask(daemon, "/orders", "a")) for _ in range(12)]
    statuses = {one.result().status for one in waiting}
    assert 201 in statuses and statuses <= {201, 409}
    assert orders(tables) == 1


def test_a_request_that_has_changed_nothing_gives_its_key_back(daemon: Gatherd, tables: Postgres) -> None:
    tables.sql("alter table orders add constraint small check (n < 5)", DATABASE)
    for _ in range(2):
        assert problem(ask(daemon, "/orders", "a", n=7), 422, code="23514")["outcome"] == "none"
    tables.sql("alter table orders drop constraint small", DATABASE)
    assert ask(daemon, "/orders", "a", n=7).status == 201
    assert orders(tables) == 1


def test_an_unknown_outcome_is_not_done_twice(gatherd: Callable[..., Gatherd], tables: Postgres) -> None:
    with CuttingProxy(tables) as proxy:
        daemon = start(gatherd, tables, PG=proxy.url(DATABASE))
        good(ask(daemon, "/again", None))
        assert ask(daemon, "/orders", None).status == 201
        for path, done in [("/orders", 3), ("/again", 4)]:
            proxy.lose(b"COMMIT")
            assert problem(ask(daemon, path, "a"), 502)["outcome"] == "unknown"
            assert orders(tables) == done
        for _ in range(2):
            assert problem(ask(daemon, "/orders", "a"), 409)["outcome"] == "unknown"
        assert orders(tables) == 4
        good(ask(daemon, "/again", "a"))  # resume: rerun
        assert orders(tables) == 5
        assert ask(daemon, "/again", "a").headers["Idempotency-Replayed"] == "true"
        problem(ask(daemon, "/orders", "a", n=2), 422)
        assert orders(tables) == 5


def test_killed_in_between(gatherd: Callable[..., Gatherd], tables: Postgres) -> None:
    daemon = start(gatherd, tables)
    with closed_gate(tables):
        first = in_background(lambda: ask(daemon, "/gated", "a"))
        wait_for(lambda: locks(tables, False) == "1", 60)
        daemon.kill()
        with pytest.raises(OSError):
            first.result()
    daemon = start(gatherd, tables)
    problem(ask(daemon, "/gated", "a"), 409)
    tables.sql("update gatherd_idempotency set lease = now()", DATABASE)
    assert problem(ask(daemon, "/gated", "a"), 409)["outcome"] == "unknown"
    tables.sql("update gatherd_idempotency set expires = now()", DATABASE)
    assert ask(daemon, "/gated", "a").status == 200


def test_a_reply_that_is_too_large_is_not_kept(daemon: Gatherd, tables: Postgres) -> None:
    assert len(ask(daemon, "/large", "a").body) > 1 << 20
    for _ in range(2):
        document = problem(ask(daemon, "/large", "a"), 409)
        assert "too large" in document["detail"]
    assert orders(tables) == 1


def test_nothing_is_done_while_the_store_is_down(gatherd: Callable[..., Gatherd], tables: Postgres) -> None:
    with CuttingProxy(tables) as proxy:
        daemon = start(gatherd, tables, CONFIG.replace("20s } }\nendpoints", "5s } }\nendpoints"), STORE=proxy.url(DATABASE))
        assert ask(daemon, "/orders", "a").status == 201
        proxy.lose(b"COMMIT")  # of the claim: it was made, and is given back
        assert problem(ask(daemon, "/orders", "b"), 502)["outcome"] == "none"
        assert orders(tables) == 1
        assert ask(daemon, "/orders", "b").status == 201
    assert problem(ask(daemon, "/orders", "c"), 503)["outcome"] == "none"
    assert orders(tables) == 2
    assert ask(daemon, "/orders", None).status == 201


def test_what_has_expired_goes(daemon: Gatherd, tables: Postgres) -> None:
    assert ask(daemon, "/orders", "a").status == 201
    tables.sql("update gatherd_idempotency set expires = now()", DATABASE)
    tables.sql(
        "insert into gatherd_idempotency select 'e', 's', i::text, '', '', now(), now() from generate_series(1, 900) i", DATABASE
    )
    assert ask(daemon, "/orders", "a").status == 201
    assert orders(tables) == 2
    end = time.monotonic() + 120  # one request of 256, by chance
    for n in range(100000):
        assert ask(daemon, "/orders", f"k{n}", n).status == 201
        if n % 64 == 0 and tables.sql("select count(*) from gatherd_idempotency where expires <= now()", DATABASE) == "0":
            break
        assert time.monotonic() < end
