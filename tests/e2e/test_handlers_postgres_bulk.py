"""Handlers in C on PostgreSQL: notifications to many clients over one connection, and COPY both ways."""

from __future__ import annotations

import errno
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Gatherd, Postgres
from support import Wire, good, in_background, problem, request_line, running_statements, wait_for

EINVAL, EBADF, ETIMEDOUT = -errno.EINVAL, -errno.EBADF, -errno.ETIMEDOUT

CONFIG = """
server: { listen: [ "127.0.0.1:${PORT}" ], threads: 1, debug: true, body_limit: 64MiB }
sources:
  pg: { postgres: "${PG}", pool: { size: 2 } }
  simple: { postgres: "${PG_SOCKET}", prepare: false, pool: { size: 2 } }
  small: { postgres: "${PG}", pool: { size: 1 } }
endpoints:
  "GET /events":  { handler: "bulk.so:events", parameters: { channel: { type: string, in: query } } }
  "POST /tell":   { handler: "bulk.so:tell", parameters: { channel: { type: string, in: query }, payload: { type: string, in: query } } }
  "GET /hears":   { handler: "bulk.so:hears" }
  "POST /import": { handler: "bulk.so:import", parameters: { on: { type: string, in: query, default: pg } } }
  "POST /rows":
    handler: bulk.so:rows
    parameters: { on: { type: string, in: query, default: pg }, n: { type: integer, in: query }, text: { type: string, in: query, default: x } }
  "GET /export":  { handler: "bulk.so:export", parameters: { on: { type: string, in: query, default: pg } } }
  "GET /within":  { handler: "bulk.so:within", parameters: { on: { type: string, in: query, default: pg } } }
  "GET /misused": { handler: "bulk.so:misused", parameters: { on: { type: string, in: query, default: pg } } }
  "GET /forgets":
    handler: bulk.so:forgets
    parameters: { on: { type: string, in: query, default: pg }, linger: { type: boolean, default: false } }
"""

EVENTS = "application_name = 'gatherd' and query like 'listen%'"


@pytest.fixture(scope="module")
def handled(module_gatherd: Callable[..., Gatherd], module: Callable[..., Path], postgres: Postgres) -> Gatherd:
    postgres.sql("create table if not exists bulk (n int primary key, text text)", "test")
    return module_gatherd(CONFIG, files={"bulk.so": module("postgres_bulk").read_bytes()})


@pytest.fixture(autouse=True)
def nothing_stays(postgres: Postgres) -> Iterator[None]:
    postgres.sql("truncate bulk", "test")
    yield
    left = "select count(*) from pg_stat_activity where datname = 'test' and application_name = 'gatherd' and xact_start is not null"
    wait_for(lambda: postgres.sql(left) == "0", 10, "the end of all transactions")
    wait_for(lambda: listening(postgres) == 0, 10, "the end of all listening")


def listening(postgres: Postgres) -> int:
    return int(postgres.sql(f"select count(*) from pg_stat_activity where {EVENTS}"))


def table(postgres: Postgres) -> str:
    return postgres.sql("select coalesce(string_agg(n || ':' || coalesce(text, '-'), ',' order by n), '') from bulk", "test")


class Events:
    """A client of server-sent events."""

    def __init__(self, daemon: Gatherd, channel: str) -> None:
        self.socket = daemon.connect(timeout=20)
        self.received = b""
        self.socket.sendall(f"GET /events?channel={channel} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        self.await_text("event: listening")

    def await_text(self, text: str) -> None:
        while text.encode() not in self.received:
            chunk = self.socket.recv(65536)
            assert chunk, f"no {text!r} in {self.received!r}"
            self.received += chunk


def test_notifications_go_to_many_clients_over_one_connection(handled: Gatherd, postgres: Postgres) -> None:
    clients = [Events(handled, "a" if n % 4 else "b") for n in range(20)]
    assert listening(postgres) == 1
    assert good(handled.post("/tell?channel=a&payload=first")) == [None, None]
    postgres.sql("select pg_notify('b', 'second')", "test")
    for n, client in enumerate(clients):
        client.await_text("event: a\ndata: first\n" if n % 4 else "event: b\ndata: second\n")
        if n % 4:
            client.await_text('event: a\ndata: {"n":1}\n')
        assert (b"second" if n % 4 else b"first") not in client.received
    for client in clients[:10]:
        client.socket.close()
    good(handled.post("/tell?channel=b&payload=third"))
    clients[12].await_text("data: third\n")
    postgres.sql(f"select pg_terminate_backend(pid) from pg_stat_activity where {EVENTS}")
    for client in clients[10:]:
        client.await_text("event: missed")
        client.await_text("notifications may have been missed")
        client.socket.close()


def test_what_is_heard_and_what_is_wrong(handled: Gatherd) -> None:
    said = good(handled.get("/hears"))
    assert said[:9] == [ETIMEDOUT, None, "hears", "ü", True, None, "", True, said[8]]
    texts = ["1 to 63 bytes", "is no postgres source", "above the number of workers", "", "Mine."]
    for one, text in zip(said[8:], texts, strict=True):
        assert one["failed"] < 0 and text in one["text"] + ("Mine." if one["status"] == 404 else "")
    assert said[11]["code"] == "22023"


@pytest.mark.parametrize("source", ["pg", "simple"])
def test_copy_both_ways(handled: Gatherd, postgres: Postgres, source: str) -> None:
    assert good(handled.post(f"/rows?n=3&text=a%09b%5C&on={source}")) == 3
    assert table(postgres) == "0:a\tb\\,1:-,2:a\tb\\"
    lines = "".join(f"{n},row {n}\n" for n in range(10, 100000))
    assert good(handled.post(f"/import?on={source}", body=lines.encode())) == 99990
    answer = handled.get(f"/export?on={source}")
    assert answer.status == 200
    assert answer.text == "n,text\n0,a\tb\\\n1,\n2,a\tb\\\n" + lines


def test_a_bad_row_is_told(handled: Gatherd, postgres: Postgres) -> None:
    problem(handled.post("/import", body=b"1,a\n2,b\nx,c\n"), 500)
    line = json.dumps(request_line(handled, path="/import", status="500"))
    assert "22P02" in line and "COPY bulk, line 3, column n" in line
    problem(handled.post("/import", body=b"1,a\n1,b\n"), 409)
    assert table(postgres) == ""


@pytest.mark.parametrize("source", ["pg", "simple"])
def test_within_a_transaction(handled: Gatherd, source: str) -> None:
    said = good(handled.get(f"/within?on={source}"))
    assert "gd_copy_end comes first" in said[0]["text"]
    assert said[1:] == [1, 1, 0, EINVAL, 1]


def test_bad_use_is_answered(handled: Gatherd) -> None:
    said = good(handled.get("/misused"))
    assert said[:4] == [EINVAL, EINVAL, EINVAL, 0]
    assert "closed" in said[4]["text"] and said[5:7] == [EBADF, EINVAL]
    assert "expected COPY" in said[7]["text"] and "no postgres source" in said[8]["text"]
    assert "no transaction" in said[9]["text"] and said[10] == EINVAL
    assert "no copy was given" in said[11]["text"] and "expected COPY" in said[12]["text"]


def test_without_its_end_nothing_is_stored(handled: Gatherd, postgres: Postgres) -> None:
    for _ in range(5):
        assert good(handled.get("/forgets")) is None
    wait_for(lambda: [line["msg"] for line in handled.log_lines() if line.get("endpoint") == "GET /forgets" and "kind" in line] == ["left open"] * 5, 10)
    with Wire(handled) as wire:
        wire.get("/forgets?linger=true")
        wait_for(lambda: running_statements(postgres, "copy bulk from stdin") == 1, 10)
    wait_for(lambda: running_statements(postgres, "copy bulk from stdin") == 0, 10)
    assert table(postgres) == ""


def test_the_server_goes_while_it_copies(gatherd: Callable[..., Gatherd], module: Any, private_postgres: Postgres) -> None:
    private_postgres.sql("create table if not exists bulk (n int primary key, text text)", "test")
    private_postgres.sql("checkpoint", "test")
    daemon = gatherd(CONFIG, files={"bulk.so": module("postgres_bulk").read_bytes()}, postgres=private_postgres)
    many = in_background(lambda: daemon.post("/rows?n=100000000"))
    wait_for(lambda: running_statements(private_postgres, "copy bulk") == 1, 10)
    time.sleep(0.2)
    private_postgres.kill()
    problem(many.result(), 502, 503)
    private_postgres.start()
    wait_for(lambda: daemon.get("/within").status == 200, 20)
    wait_for(lambda: daemon.get("/export").text == "n,text\n1,one\n", 20)
    assert good(daemon.post("/import", body=b"1000,x\n")) == 1
