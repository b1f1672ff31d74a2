"""A pool is one pool, however many threads share it: no call waits while a connection is idle."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from typing import Any, Callable, Iterator

import pytest
from harness import Gatherd, Mongo, Postgres
from support import at_once, good, in_background, running_statements, soon, wait_for

SHAPES = [(4, 4), (8, 2), (2, 3)]  # threads, connections


def name_of(threads: int, size: int) -> str:
    return f"pool_{threads}_{size}"


def postgres_config(threads: int, size: int, more: str = "") -> str:
    endpoints = "".join(
        f'  "GET /number/{n}/{{x}}": {{ parameters: {{ x: {{ type: integer }} }}, gather: {{ n: {{ from: pg, expect: value, sql: "select {n}000 + {{x}}" }} }} }}\n'
        for n in range(20)
    )
    return f"""
server: {{ listen: [ "127.0.0.1:${{PORT}}" ], threads: {threads} }}
sources:
  pg: {{ postgres: "${{PG}}?application_name={name_of(threads, size)}", pool: {{ size: {size}{more} }} }}
endpoints:
  "GET /slow": {{ gather: {{ n: {{ from: pg, expect: value, sql: "select 1 from pg_sleep(3)" }} }} }}
  "GET /quick": {{ gather: {{ n: {{ from: pg, expect: value, sql: "select 2" }} }} }}
  "GET /write/{{x}}": {{ parameters: {{ x: {{ type: integer }} }}, gather: {{ n: {{ from: pg, write: true, expect: value, sql: "with t as materialized (select pg_sleep(0.002)) select {{x}}::int from t" }} }} }}
{endpoints}"""


def configured(gatherd: Callable[..., Gatherd], threads: int, size: int, more: str = "", **options: Any) -> Gatherd:
    return gatherd(postgres_config(threads, size, more), **options)


def connections(postgres: Postgres, threads: int, size: int) -> int:
    return int(postgres.sql(f"select count(*) from pg_stat_activity where application_name = '{name_of(threads, size)}'"))


@pytest.mark.parametrize(("threads", "size"), SHAPES)
def test_a_slow_statement_blocks_nobody(gatherd: Callable[..., Gatherd], postgres: Postgres, threads: int, size: int) -> None:
    daemon = configured(gatherd, threads, size)
    slow = in_background(lambda: daemon.get("/slow"))
    wait_for(lambda: running_statements(postgres, "pg_sleep(3)") == 1, 10)
    replies = at_once([lambda: daemon.get("/quick")] * 60)
    assert [reply.status for reply in replies] == [200] * 60
    assert good(slow.result()) == {"n": 1}
    assert connections(postgres, threads, size) <= size


def number(daemon: Gatherd, rng: random.Random) -> Callable[[], None]:
    kind, n, x = rng.randrange(8), rng.randrange(20), rng.randrange(1000)
    if kind == 0:
        return lambda: good(daemon.get(f"/write/{x}")) == {"n": x} or pytest.fail(f"write {x}")
    return lambda: good(daemon.get(f"/number/{n}/{x}")) == {"n": n * 1000 + x} or pytest.fail(f"{n} {x}")


@pytest.mark.parametrize(("threads", "size"), [(8, 1), (8, 2), (3, 2)])
def test_more_threads_than_connections(gatherd: Callable[..., Gatherd], postgres: Postgres, threads: int, size: int) -> None:
    """Each worker has statements of its own on the connections, and each reply is that of its own statement."""
    daemon = configured(gatherd, threads, size, ", acquire_timeout: 20s")
    rng = random.Random(threads * size)
    for _ in range(15):
        at_once([number(daemon, rng) for _ in range(20)])
    assert good(daemon.get("/-/ready"))
    assert connections(postgres, threads, size) <= size


def test_sessions_end_on_their_way(gatherd: Callable[..., Gatherd], private_postgres: Postgres) -> None:
    """The server ends all sessions again and again while they go from worker to worker; the daemon counts at its end."""
    daemon = configured(gatherd, 4, 2, ", acquire_timeout: 20s", postgres=private_postgres)
    rng = random.Random(1)
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            reply = daemon.get(f"/number/{rng.randrange(20)}/7")
            assert reply.status in (200, 502, 503), reply

    asking = [in_background(ask) for _ in range(16)]
    for _ in range(8):
        time.sleep(0.05)
        private_postgres.terminate_backends()
    private_postgres.kill()
    private_postgres.start()
    over.set()
    for one in asking:
        one.result()
    assert good(soon(lambda: daemon.get("/number/3/4"))) == {"n": 3004}


def test_it_stops_while_connections_are_on_their_way(gatherd: Callable[..., Gatherd]) -> None:
    daemon = configured(gatherd, 8, 2)
    over = threading.Event()

    def ask() -> None:
        with contextlib.suppress(OSError):
            while not over.is_set():
                daemon.get("/write/1")

    asking = [in_background(ask) for _ in range(24)]
    soon(lambda: daemon.get("/number/1/1"))
    assert daemon.stop() == 0
    over.set()
    for one in asking:
        one.result()


# -- MongoDB --


class Holder:
    """Between the daemon and the server: a connection whose request holds the mark goes on when it is let."""

    def __init__(self, port: int, mark: bytes) -> None:
        self.server, self.mark = port, mark
        self.open, self.most = 0, 0
        self.lock = threading.Lock()
        self.held, self.let = threading.Event(), threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                far = socket.create_connection(("127.0.0.1", self.server))
                with self.lock:
                    self.open += 1
                    self.most = max(self.most, self.open)
                threading.Thread(target=self._pass, args=(near, far, True), daemon=True).start()
                threading.Thread(target=self._pass, args=(far, near, False), daemon=True).start()

    def _pass(self, source: socket.socket, to: socket.socket, asking: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if asking and self.mark in data:
                    self.held.set()
                    self.let.wait(60)
                to.sendall(data)
        if asking:
            with self.lock:
                self.open -= 1
        for end in (source, to):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.let.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.fixture
def holder(mongo: Mongo) -> Iterator[Holder]:
    one = Holder(mongo.port, b"held_up")
    yield one
    one.close()


MONGO = """
server: {{ listen: [ "127.0.0.1:${{PORT}}" ], threads: {threads} }}
sources: {{ m: {{ mongodb: "mongodb://127.0.0.1:{port}/test", pool: {{ size: {size}{more} }} }} }}
endpoints:
  "GET /held": {{ gather: {{ all: {{ from: m, find: held_up }} }} }}
  "GET /quick": {{ gather: {{ all: {{ from: m, find: nothing_there }} }} }}
"""


@pytest.mark.parametrize(("threads", "size"), SHAPES)
def test_a_slow_find_blocks_nobody(gatherd: Callable[..., Gatherd], holder: Holder, threads: int, size: int) -> None:
    daemon = gatherd(MONGO.format(threads=threads, size=size, port=holder.port, more=""))
    held = in_background(lambda: daemon.get("/held"))
    assert holder.held.wait(20)
    replies = at_once([lambda: daemon.get("/quick")] * 60)
    assert [reply.status for reply in replies] == [200] * 60
    holder.let.set()
    assert good(held.result()) == {"all": []}


@pytest.mark.parametrize(("threads", "size"), [(8, 1), (8, 2), (3, 2)])
def test_more_threads_than_clients_of_mongodb(gatherd: Callable[..., Gatherd], holder: Holder, threads: int, size: int) -> None:
    holder.let.set()
    daemon = gatherd(MONGO.format(threads=threads, size=size, port=holder.port, more=", acquire_timeout: 20s"))
    for _ in range(5):
        for reply in at_once([lambda: daemon.get("/quick")] * 20):
            assert good(reply) == {"all": []}
    assert good(daemon.get("/-/ready"))
    assert holder.most <= size, "a client on a server that stands alone is one connection"
