"""Handlers in C on PostgreSQL: each function of gatherd.h, what fails, and that nothing stays behind."""

from __future__ import annotations

import errno
import itertools
import json
from typing import Any, Callable

import pytest
from harness import Gatherd, Postgres
from support import Wire, at_once, good, in_background, problem, request_line, running_statements, soon, wait_for

EPERM, ENOENT, EIO, EBUSY = -errno.EPERM, -errno.ENOENT, -errno.EIO, -errno.EBUSY
EEXIST, EINVAL, EBADMSG, ETIMEDOUT = -errno.EEXIST, -errno.EINVAL, -errno.EBADMSG, -errno.ETIMEDOUT

FUNCTIONS = {
    "reads": "at: { type: string, format: date-time, default: '2024-01-02T03:04:05Z' }",
    "wrong": "",
    "fails": "text: { type: string }",
    "writes": "",
    "gathers": "",
    "gathers_fast": "",
    "transaction": "",
    "rolled_back": "",
    "not_committed": "",
    "failed_value": "",
    "retried": "",
    "serialized": "",
    "misused": "",
    "lingers": "",
    "streams": "n: { type: integer, default: 1000 }",
    "counts": "n: { type: integer, default: 200000 }",
    "leaves_early": "close: { type: boolean, default: false }",
    "streams_within": "",
}
runs = itertools.count(1)


SOURCES = """
sources:
  pg: { postgres: "${PG}", pool: { size: 4 } }
  simple: { postgres: "${PG_SOCKET}", prepare: false, pool: { size: 2 } }
  hasty: { postgres: "${PG}", timeout: 200ms, pool: { size: 1, acquire_timeout: 100ms } }
  files: { files: /tmp }
endpoints:
"""


def config(path: Any) -> str:
    lines = []
    for name, parameter in FUNCTIONS.items():
        parameters = "on: { type: string, default: pg }, run: { type: integer, default: 0 }" + (f", {parameter}" if parameter else "")
        lines.append(f'  "GET /{name}": {{ handler: "{path}:{name}", parameters: {{ {parameters} }} }}\n')
    return SOURCES + "".join(lines)


@pytest.fixture(scope="module")
def handled(module_gatherd: Callable[..., Gatherd], module: Any, postgres: Postgres) -> Gatherd:
    postgres.sql("create table if not exists handled (run int, n int, primary key (run, n))", "test")
    return module_gatherd(config(module("postgres")))


def idle_in_transaction(postgres: Postgres) -> int:
    return int(
        postgres.sql(
            "select count(*) from pg_stat_activity where datname = 'test' and application_name = 'gatherd' and xact_start is not null"
        )
    )


@pytest.fixture(autouse=True)
def nothing_stays(postgres: Postgres) -> Any:
    yield
    wait_for(lambda: idle_in_transaction(postgres) == 0, 10, "the end of all transactions")


def rows(postgres: Postgres, run: int) -> str:
    return postgres.sql(f"select coalesce(string_agg(n::text, ',' order by n), '') from handled where run = {run}", "test")


@pytest.mark.parametrize("source", ["pg", "simple"])
def test_reads(handled: Gatherd, source: str) -> None:
    for _ in range(3):
        assert good(handled.get(f"/reads?on={source}")) == {
            "rows": [{"n": 1, "x": 1.5}, {"n": 2, "x": 3.0}, {"n": 3, "x": 4.5}],
            "second": 2,
            "row": {"a": "ü", "b": {"k": [None]}, "c": [1, None], "d": {"f1": 1, "f2": True}},
            "none": None,
            "one": 1,
            "given": "2024-01-02T03:04:05+00:00",
            "parsed": {"a": 5, "b": "x"},
            "bytes": "00ff",
        }


def test_what_is_wrong_is_said(handled: Gatherd) -> None:
    said = good(handled.get("/wrong"))
    expected = [
        (500, "42601", "gd_pg_query, source pg: syntax error"),
        (500, "", "the statement takes 1 parameter, and 0 values were given"),
        (500, "", "one statement at a time"),
        (500, "", "gd_pg_transaction"),
        (500, "", "gd_pg_row, source pg: more than one row"),
        (500, "", "gd_pg_scalar, source pg: not exactly one column"),
        (500, "25006", "gd_pg_execute is for what writes"),
        (500, "", "are no list"),
        (404, "", ""),
        (500, "", "expected an SQL statement"),
        (500, "", '"files" is no postgres source'),
        (500, "", "is no postgres source"),
        (500, "", "no transaction was given"),
        (500, "42601", "gd_pg_stream, source pg: syntax error"),
        (500, "", "no transaction was given"),
    ]
    assert [(one["status"], one["code"]) for one in said] == [(status, code) for status, code, _ in expected]
    for one, (_, _, text) in zip(said, expected):
        assert one["failed"] < 0 and text in one["text"]


def test_a_bad_value_of_the_request_is_its_fault(handled: Gatherd) -> None:
    assert good(handled.get("/fails?text=12")) == [{"int4": 12}]
    problem(handled.get("/fails?text=x"), 400)
    assert "22P02" in json.dumps(request_line(handled, path="/fails", status="400"))


def test_writes(handled: Gatherd, postgres: Postgres) -> None:
    for source in ("pg", "simple"):
        run = next(runs)
        reply = good(handled.get(f"/writes?run={run}&on={source}"))
        assert (reply["n"], reply["rows"], reply["none"]) == (3, [{"n": 12}, {"n": 13}], 0)
        assert (reply["twice"]["status"], reply["twice"]["code"]) == (409, "23505")
        assert rows(postgres, run) == "1,12,13"


@pytest.mark.parametrize("source", ["pg", "simple"])
def test_gather_of_twenty(handled: Gatherd, source: str) -> None:
    expected = {"r": 0, "all": [i * 10 if i != 7 else "22012" for i in range(20)]}
    for reply in at_once([lambda: handled.get(f"/gathers?on={source}")] * 10):
        assert good(reply) == expected


def test_the_first_failure_ends_the_others(handled: Gatherd, postgres: Postgres) -> None:
    reply = good(handled.get("/gathers_fast"))
    assert reply == {"r": EINVAL, "slow": -errno.ECANCELED, "bad": "22012"}
    wait_for(lambda: running_statements(postgres, "pg_sleep(60)") == 0, 10)


@pytest.mark.parametrize("source", ["pg", "simple"])
def test_a_transaction_with_savepoints(handled: Gatherd, source: str) -> None:
    for _ in range(2):
        reply = good(handled.get(f"/transaction?run={next(runs)}&on={source}"))
        assert reply["seen"] == [1, 0, ENOENT, "23505", "25P02", EEXIST, [{"n": 1}, {"n": 2}], {"n": 2}, "serializable", [{"n": 20}]]
        assert (reply["r"], reply["left"]) == (5, [1, 20])


def test_transactions_that_are_not_committed(handled: Gatherd) -> None:
    assert problem(handled.get(f"/rolled_back?run={next(runs)}"), 403)["detail"] == "Not you."
    problem(handled.get(f"/not_committed?run={next(runs)}"), 409)
    reply = good(handled.get(f"/failed_value?run={next(runs)}"))
    assert (reply["r"], reply["left"]) == (ENOENT, None)


def test_a_transaction_is_tried_again(handled: Gatherd) -> None:
    reply = good(handled.get(f"/retried?run={next(runs)}"))
    assert (reply["r"], reply["runs"], reply["left"]) == (0, 3, [3])
    tries = 0
    for _ in range(5):
        reply = good(handled.get(f"/serialized?run={next(runs)}"))
        assert (reply["r"], reply["left"]) == (0, [0, 1])
        tries += reply["runs"]
    assert tries > 10


def test_bad_use_is_answered(handled: Gatherd) -> None:
    reply = good(handled.get("/misused"))
    assert "the transaction has ended" in reply[0]["text"] and "has ended" in reply[2]["text"]
    assert [reply[1], *reply[3:]] == [EINVAL] * 5


def test_a_client_that_leaves_rolls_back(handled: Gatherd, postgres: Postgres) -> None:
    run = next(runs)
    with Wire(handled) as wire:
        wire.get(f"/lingers?run={run}")
        wait_for(lambda: running_statements(postgres, "/* lingers */") == 1, 10)
    wait_for(lambda: running_statements(postgres, "/* lingers */") == 0, 10)
    assert rows(postgres, run) == ""


def test_a_timeout_and_a_full_pool(handled: Gatherd, postgres: Postgres) -> None:
    run = next(runs)
    soon(lambda: handled.get("/gathers?on=hasty"))
    replies = at_once([lambda: handled.get(f"/lingers?run={run}&on=hasty")] * 3)
    for reply in replies:
        problem(reply, 503, 504)
    assert 504 in [reply.status for reply in replies]
    wait_for(lambda: running_statements(postgres, "/* lingers */") == 0, 10)
    assert rows(postgres, run) == ""


@pytest.mark.parametrize("source", ["pg", "simple"])
def test_streams(handled: Gatherd, source: str) -> None:
    expected = [{"n": n, "text": f"row {n}"} for n in range(1, 1001)]
    assert good(handled.get(f"/streams?on={source}")) == expected
    assert good(handled.get(f"/streams?n=0&on={source}")) == []
    n = 200000
    assert good(handled.get(f"/counts?n={n}&on={source}")) == {"count": n, "sum": n * (n + 1) // 2}


def test_streams_are_left(handled: Gatherd) -> None:
    for close in ("true", "false") * 6:
        assert good(handled.get(f"/leaves_early?close={close}")) == {"n": 1}


def test_streams_within_a_transaction(handled: Gatherd) -> None:
    reply = good(handled.get(f"/streams_within?run={next(runs)}"))
    assert (reply["r"], reply["runs"], reply["left"]) == (0, 20, list(range(2, 41, 2)))


def test_the_server_goes_and_comes_back(gatherd: Callable[..., Gatherd], module: Any, private_postgres: Postgres) -> None:
    private_postgres.sql("create table if not exists handled (run int, n int, primary key (run, n))", "test")
    private_postgres.sql("checkpoint", "test")  # it commits asynchronously
    daemon = gatherd(config(module("postgres")), postgres=private_postgres)
    assert good(daemon.get("/transaction?run=1"))["r"] == 5
    lingering = in_background(lambda: daemon.get("/lingers?run=2"))
    wait_for(lambda: running_statements(private_postgres, "/* lingers */") == 1, 10)
    private_postgres.kill()
    problem(lingering.result(), 502, 503)
    problem(daemon.get("/streams"), 502, 503)
    private_postgres.start()
    wait_for(lambda: daemon.get("/streams").status == 200, 20)
    assert good(daemon.get("/transaction?run=3"))["r"] == 5
    assert rows(private_postgres, 2) == ""


PERMITS = r"""
    #include <gatherd.h>

    static int within(gd_pg *tx, void *arg)
    {
        gd_value *inside = gd_tx_scalar(tx, "select 1", NULL);
        gd_value *beside = gd_pg_scalar(NULL, "pg", "select 2", NULL);
        *(gd_value **)arg = gd_list(inside, beside);
        return gd_fail_with(*(gd_value **)arg);
    }

    int transaction(gd_request *req)
    {
        gd_value *both = NULL;
        int r = gd_pg_transaction("pg", NULL, within, &both);
        return r < 0 ? r : gd_reply(req, 200, both);
    }

    int stream(gd_request *req)
    {
        gd_value *seen = gd_list();
        gd_cursor *rows = gd_pg_stream("pg", "select generate_series(1, 3) n", NULL);
        for (gd_value *row; (row = gd_next(rows));)
            gd_append(seen, gd_list(gd_get(row, "n"), gd_pg_scalar(NULL, "pg", "select 7", NULL)));
        return gd_reply(req, 200, seen);
    }

    int holding(gd_request *req)
    {
        gd_cursor *rows = gd_pg_stream("pg", "select generate_series(1, 3) n", NULL);
        gd_next(rows);
        gd_gather *g = gd_gather_new(GD_ALL);
        gd_value *other = gd_pg_scalar(g, "pg", "select 7", NULL);
        int waits = gd_gather_wait(g, gd_in_ms(200));
        gd_close(rows);
        int r = gd_gather_wait(g, GD_NEVER);
        return r < 0 ? r : gd_reply(req, 200, gd_list(gd_int(waits), other));
    }
"""


def test_streams_and_transactions_hold_a_permit_of_their_source(gatherd, module) -> None:
    """And their task needs no second one for what it does meanwhile; another task does."""
    daemon = gatherd(
        """
        server: { listen: [ "127.0.0.1:${PORT}" ], threads: 1, request_timeout: 20s }
        sources: { pg: { postgres: "${PG}", semaphore: 1 } }
        endpoints:
          "GET /transaction": { handler: "permits.so:transaction" }
          "GET /stream": { handler: "permits.so:stream" }
          "GET /holding": { handler: "permits.so:holding" }
        """,
        files={"permits.so": module("permits", PERMITS).read_bytes()},
    )
    for _ in range(3):
        assert daemon.get("/transaction").json() == [1, 2]
        assert daemon.get("/stream").json() == [[1, 7], [2, 7], [3, 7]]
        assert daemon.get("/holding").json() == [-errno.ETIMEDOUT, 7]
