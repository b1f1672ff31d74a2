"""Servers whose words are wrong: damaged, repeated, cut off, or not asked for."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
import struct
import threading
from typing import Any, Callable, Iterator

import pytest
from harness import Gatherd, Mongo, Postgres, bson
from support import at_once, good, wait_for


class Proxy:
    """Between the daemon and a server: `damage` makes of a piece that the server says what the daemon hears, None: the end."""

    def __init__(self, port: int, damage: Callable[[bytes], bytes | None]) -> None:
        self.server = port
        self.damage = damage
        self.calm = False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                far = socket.create_connection(("127.0.0.1", self.server))
                threading.Thread(target=self._pass, args=(near, far, lambda data: data), daemon=True).start()
                threading.Thread(target=self._pass, args=(far, near, self._hearing()), daemon=True).start()

    def _hearing(self) -> Callable[[bytes], bytes | None]:
        """Of one connection. Its first pieces pass: who is refused a connection tries again after longer and longer pauses."""
        pieces = itertools.count(1)
        return lambda data: data if next(pieces) <= 6 or self.calm else self.damage(data)

    @staticmethod
    def _pass(source: socket.socket, to: socket.socket, change: Callable[[bytes], bytes | None]) -> None:
        with contextlib.suppress(OSError):
            while (data := source.recv(65536)) and (data := change(data)) is not None:
                to.sendall(data)
        for end in (source, to):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def flipped(data: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.choice([1, 1, 3])):
        at = rng.randrange(min(len(damaged), 100)) if rng.random() < 0.5 else rng.randrange(len(damaged))
        damaged[at] = rng.choice([0, 255, damaged[at] ^ (1 << rng.randrange(8))])
    return bytes(damaged)


def damage_by(rng: random.Random) -> Callable[[bytes], bytes | None]:
    """Many pieces pass: a connection gets somewhere before it is hit."""

    def damage(data: bytes) -> bytes | None:
        kind = rng.random()
        if kind < 0.7:
            return data
        if kind < 0.92:
            return flipped(data, rng)
        if kind < 0.95:
            return data + data
        if kind < 0.98:
            return data[: rng.randrange(len(data))]
        return None

    return damage


@pytest.fixture
def proxied() -> Iterator[Callable[..., Proxy]]:
    with contextlib.ExitStack() as stack:

        def make(port: int, damage: Callable[[bytes], bytes | None]) -> Proxy:
            proxy = Proxy(port, damage)
            stack.callback(proxy.close)
            return proxy

        yield make


CONFIG = """
server: {{ listen: [ "127.0.0.1:${{PORT}}" ], threads: 1, request_timeout: 1s }}
sources:
  it: {{ {source}, timeout: 300ms, pool: {{ size: 4, acquire_timeout: 300ms }} }}
endpoints:
{endpoints}
"""

POSTGRES = """
  "GET /one/{id}": { parameters: { id: { type: integer } }, gather: { it: { from: it, sql: "select id from items where id = {id}", expect: value } } }
  "GET /many/{id}": { parameters: { id: { type: integer } }, gather: { it: { from: it, sql: "select name, {id}::int as id from items limit 300" } } }
  "GET /kinds": { gather: { it: { from: it, sql: select * from kinds } } }
"""

MONGODB = """
  "GET /one/{id}": { parameters: { id: { type: integer } }, gather: { it: { from: it, find_one: points, filter: { n: "{id}" } } } }
  "GET /many/{id}": { gather: { it: { from: it, aggregate: points, pipeline: [ { $sort: { n: 1 } } ] } }, respond: { it: "{it}", id: "{id}" } }
  "GET /kinds": { gather: { it: { from: it, find: kinds } } }
"""


def ask_for_a_while(daemon: Gatherd, proxy: Proxy) -> None:
    """Whatever is heard, the daemon answers, in time; and well again once the server does."""
    paths = [path.format(id=n) for n in range(1, 21) for path in ("/one/{id}", "/many/{id}", "/kinds")]
    for begin in range(0, len(paths), 12):
        for reply in at_once([lambda path=path: daemon.get(path, timeout=5) for path in paths[begin : begin + 12]]):
            assert reply.status in (200, 400, 500, 502, 503, 504)
    proxy.calm = True
    wait_for(lambda: all(daemon.get(path).status == 200 for path in paths[:9]), 10, "good answers")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_mongodb_that_speaks_nonsense(gatherd: Callable[..., Gatherd], proxied: Callable[..., Proxy], mongo: Mongo, seed: int) -> None:
    proxy = proxied(mongo.port, damage_by(random.Random(seed)))
    config = CONFIG.format(source='mongodb: "${URL}"', endpoints=MONGODB)
    daemon = gatherd(config, env={"URL": f"mongodb://127.0.0.1:{proxy.port}/test"})
    ask_for_a_while(daemon, proxy)
    assert good(daemon.get("/one/7"))["it"]["n"] == 7


@pytest.mark.parametrize("seed", [1])
def test_a_postgresql_that_speaks_nonsense(gatherd: Callable[..., Gatherd], proxied: Callable[..., Proxy], postgres: Postgres, seed: int) -> None:
    proxy = proxied(postgres.port, damage_by(random.Random(seed)))
    config = CONFIG.format(source='postgres: "${URL}"', endpoints=POSTGRES)
    daemon = gatherd(config, env={"URL": postgres.url("test").replace(f":{postgres.port}/", f":{proxy.port}/")})
    ask_for_a_while(daemon, proxy)
    assert good(daemon.get("/one/7"))["it"] == 7


class Scripted:
    """A server of MongoDB's protocol: what it says to a command is what `say` gives for the command's name and its number, counted by
    connection."""

    HELLO = {"ismaster": True, "maxBsonObjectSize": 16777216, "maxMessageSizeBytes": 48000000, "maxWriteBatchSize": 1000, "maxWireVersion": 17, "ok": 1.0}

    def __init__(self, say: Callable[[str, int], dict[str, Any]]) -> None:
        self.say = say
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"mongodb://127.0.0.1:{self.listener.getsockname()[1]}/test"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self.listener.accept()[0],), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as stream:
            for number in itertools.count(1):
                head = stream.read(16)
                if len(head) < 16:
                    return
                length, request, _, opcode = struct.unpack("<iiii", head)
                body = stream.read(length - 16)
                legacy = opcode != 2013
                command = bson.decode(body, body.index(0, 4) + 9 if legacy else 5)
                reply = (struct.pack("<iqii", 8, 0, 0, 1) if legacy else bytes(5)) + bson.encode(self.say(next(iter(command)).lower(), number))
                connection.sendall(struct.pack("<iiii", 16 + len(reply), 1, request, 1 if legacy else 2013) + reply)

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


FIND = """
sources: { it: { mongodb: "${URL}", timeout: 500ms, pool: { size: 1, acquire_timeout: 300ms } } }
endpoints:
  "GET /": { gather: { it: { from: it, find: things } } }
"""


@pytest.mark.parametrize(
    "wrong",
    [{"ok": 0.0, "code": 0, "errmsg": "x"}, {"ok": 0.0, "code": 13, "errorLabels": 5}, {"ok": 1.0, "compression": [1]}, {"ok": 1.0, "speculativeAuthenticate": 1}],
)
@pytest.mark.parametrize("where", ["ismaster", "ping", "find"])
def test_answers_that_libmongoc_aborts_on(gatherd: Callable[..., Gatherd], where: str, wrong: dict[str, Any]) -> None:
    def say(command: str, number: int) -> dict[str, Any]:
        return wrong if command == where else Scripted.HELLO | {"cursor": {"id": 0, "ns": "test.things", "firstBatch": []}}

    with contextlib.closing(Scripted(say)) as server:
        daemon = gatherd(FIND, env={"URL": server.url})
        for _ in range(3):
            assert daemon.get("/").status in (500, 502, 503)


def test_a_mongodb_that_forgets_what_it_is(gatherd: Callable[..., Gatherd]) -> None:
    """It says that it is no primary, and no more, when asked, what it is: libmongoc would use a stream that it has freed."""

    def say(command: str, number: int) -> dict[str, Any]:
        if command == "ismaster":
            return Scripted.HELLO if number == 1 else {"ok": 0.0, "errmsg": "not now"}
        return {"ok": 1.0, "$err": "not master", "cursor": {"id": 0, "ns": "test.things", "firstBatch": [{"n": 1}]}}

    with contextlib.closing(Scripted(say)) as server:
        daemon = gatherd(FIND, env={"URL": server.url})
        for _ in range(5):
            assert daemon.get("/").status in (200, 502, 503)


def test_answers_that_nobody_asked_for(gatherd: Callable[..., Gatherd]) -> None:
    """An upstream that answers twice must not have its second answer taken for the next request's."""

    said_all = threading.Semaphore(0)

    def answer(number: Any) -> bytes:
        body = b'{"id":%d}' % number
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as lines:
            while first := lines.readline():
                while lines.readline() not in (b"\r\n", b""):
                    pass
                connection.sendall(answer(int(first.split()[1].rpartition(b"/")[2])))
                connection.sendall(answer(-1))
                said_all.release()

    def accept(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        daemon = gatherd(
            """
            sources: { up: { http: "http://127.0.0.1:${UPSTREAM}" } }
            endpoints:
              "GET /{id}": { gather: { it: { from: up, get: "/{id}" } }, respond: "{it.id}" }
            """,
            env={"UPSTREAM": str(listener.getsockname()[1])},
        )
        for n in range(30):
            assert good(daemon.get(f"/{n}")) == n
            assert said_all.acquire(timeout=5)
        listener.shutdown(socket.SHUT_RDWR)
