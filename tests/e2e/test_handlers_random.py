"""Random programs of all that gatherd.h has (modules/random.h), many at once: nothing is lost, left behind or answered wrongly,
whoever leaves in the middle."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Gatherd, Mongo, Postgres
from harness.upstream import CHUNKED, Upstream, resets, says, slowly, streams

from support import at_once, good, wait_for

PARTS = ["random_program", "random_tasks", "random_waits", "random_clients", "random_values"]
PG, MONGO, WEB, PAPERS = 1, 2, 4, 8
REQUEST_TIMEOUT = 2  # also in random_program.c
HANGS = 30  # seconds: no program runs for so long
STATUSES = {200, 303, 404, 409, 503, 504}

SOURCES = {
    PG: 'pg: { postgres: "${PG}", pool: { size: 4, acquire_timeout: 2s } }',
    MONGO: 'db: { mongodb: "${MONGO}", pool: { size: 4 } }',
    WEB: 'web: { http: "${WEB}", timeout: 3s }',
    PAPERS: 'papers: { files: "${FOLDER}/papers", write: true }',
}


def config(module: Path, clients: int, threads: int, debug: bool) -> str:
    sources = "\n".join(f"  {text}" for bit, text in SOURCES.items() if clients & bit)
    parameters = ", ".join(f"{name}: {{ type: integer, default: 0 }}" for name in ("seed", "size", "clients", "calm"))
    return f"""
server:
  listen: [ "127.0.0.1:${{PORT}}" ]
  threads: {threads}
  debug: {str(debug).lower()}
  slow_callback: 1h
  request_timeout: {REQUEST_TIMEOUT}s
  drain_timeout: 200ms
semaphores: {{ three: 3, left: {{ permits: 2, max_waiting: 5 }} }}
{"sources:" if clients else ""}
{sources}
endpoints:
  "GET /play": {{ handler: "{module}:play", parameters: {{ {parameters} }} }}
  "GET /state": {{ handler: "{module}:state" }}
  "POST /look/{{n}}":
    handler: "{module}:look"
    parameters: {{ n: {{ type: string }}, q: {{ type: number, in: query, required: false }}, list: {{ type: array, items: {{ type: integer }}, in: query, required: false }}, x-a: {{ type: string, in: header, required: false }} }}
"""


class Storm:
    """Clients that ask for program after program, and leave when they like."""

    def __init__(self, daemon: Gatherd, seed: int, *, clients: int = 0, size: int = 25, calm: bool = True, leave: float = 0.3) -> None:
        self.daemon = daemon
        self.random = random.Random(seed)
        self.clients, self.size, self.calm, self.leave = clients, size, calm, leave
        self.statuses: Counter[int] = Counter()
        self.hung: list[str] = []  # programs that had no end
        self.over = threading.Event()
        self.lock = threading.Lock()

    def ask(self) -> None:
        with self.lock:
            seed, leaves = self.random.getrandbits(48), self.random.random() < self.leave
            size, after = self.random.randint(1, self.size), self.random.expovariate(20)
            method, version = self.random.choice(["GET"] * 9 + ["HEAD"]), self.random.choice(["1.1"] * 9 + ["1.0"])
        target = f"/play?seed={seed}&size={size}&clients={self.clients}&calm={int(self.calm)}"
        status = self._play(f"{method} {target} HTTP/{version}", after if leaves else None)
        with self.lock:
            self.statuses[status] += 1

    def _play(self, line: str, leaves_after: float | None) -> int:
        """The reply's status; 0: we left, or the connection broke; -1: it has no end."""
        received = b""
        with contextlib.suppress(ConnectionError), self.daemon.connect(timeout=60) as plain:
            try:
                plain.sendall(f"{line}\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
                plain.settimeout(HANGS if leaves_after is None else leaves_after + 0.001)
                while chunk := plain.recv(65536):
                    received += chunk
            except TimeoutError:
                if leaves_after is None:
                    self.hung.append(line)
                    return -1
        return int(received.split(b" ", 2)[1]) if received else 0

    def run(self, count: int, at_once: int = 24) -> None:
        """count programs, at_once at a time; fewer where it is over before."""
        left = iter(range(count))

        def client() -> None:
            while not self.over.is_set() and next(left, None) is not None:
                with contextlib.suppress(ConnectionRefusedError):
                    self.ask()

        threads = [threading.Thread(target=client, daemon=True) for _ in range(at_once)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert not any(thread.is_alive() for thread in threads), "a program has no end"

    def must_be_calm(self) -> None:
        """Each program has ended as one may, and nothing of any is left."""
        assert not self.hung
        assert set(self.statuses) <= STATUSES | {0}, self.statuses
        wait_for(lambda: all(n == 0 for name, n in good(self.daemon.get("/state")).items() if name != "ended"), 20, "what programs left to go")

        def tasks() -> list[dict[str, Any]]:
            return [task for task in good(self.daemon.get("/-/tasks"))["tasks"] if task["name"] not in ("every", "once", "/-/tasks")]

        wait_for(lambda: not tasks(), 20, "no task to be left")
        assert violations(self.daemon) == []


def violations(daemon: Gatherd) -> list[str]:
    return [line["msg"] for line in daemon.log_lines() if line.get("msg", "").startswith("violation")]


# -- what the programs ask --


def pieces(count: int, size: int, *, whole: bool) -> Iterator[bytes]:
    for _ in range(count):
        yield b"%x\r\n%b\r\n" % (size, b"x" * size)
    if whole:
        yield b"0\r\n\r\n"


STREAM = f"HTTP/1.1 200 OK\r\n{CHUNKED}\r\n\r\n".encode()
ANSWERS = {
    "/json": says('{"n":5}'),
    "/slow": slowly(0.05, says('{"n":6}')),
    "/wrong": says('{"n":7}', status=500),
    "/reset": resets(),
    "/big": streams(STREAM, lambda: pieces(30, 10000, whole=True)),
    "/cut": streams(STREAM, lambda: pieces(5, 1000, whole=False)),
}


def prepare(postgres: Postgres) -> None:
    """Accounts with 400 in all."""
    postgres.sql("drop table if exists random_accounts, random_rows", "test")
    postgres.sql("create table random_accounts (id int primary key, amount int); create table random_rows (run int, n int)", "test")
    postgres.sql("insert into random_accounts select n, 100 from generate_series(1, 4) n; checkpoint", "test")


def sum_of_accounts(postgres: Postgres) -> int:
    return int(postgres.sql("select sum(amount) from random_accounts", "test"))


@pytest.fixture
def program_module(module: Callable[..., Path]) -> Path:
    folder = Path(__file__).resolve().parent / "modules"
    return module(PARTS[0], None, *(str(folder / f"{part}.c") for part in PARTS[1:]))


@pytest.fixture
def played(gatherd: Callable[..., Gatherd], program_module: Path) -> Callable[..., Gatherd]:
    def run(clients: int = 0, *, threads: int = 2, debug: bool = False, **options: Any) -> Gatherd:
        return gatherd(config(program_module, clients, threads, debug), files={"papers/still.txt": "0123456789"}, **options)

    return run


# -- storms --


@pytest.mark.parametrize("debug", [False, True])
def test_programs_of_tasks(played: Callable[..., Gatherd], debug: bool) -> None:
    storm = Storm(played(debug=debug), seed=1 + debug)
    storm.run(400)
    storm.must_be_calm()


def test_programs_that_end_with_the_daemon(played: Callable[..., Gatherd]) -> None:
    daemon = played()
    storm = Storm(daemon, seed=3)
    running = threading.Thread(target=storm.run, args=(10**9,), daemon=True)
    running.start()
    wait_for(lambda: sum(storm.statuses.values()) > 100, 30, "programs")
    assert daemon.stop() == 0
    storm.over.set()
    running.join(60)
    assert not storm.hung and violations(daemon) == []


def test_programs_of_everything(played: Callable[..., Gatherd], postgres: Postgres, mongo: Mongo) -> None:
    prepare(postgres)
    with Upstream(ANSWERS) as upstream:
        storm = Storm(played(PG | MONGO | WEB | PAPERS, env={"WEB": upstream.url}), seed=4, clients=PG | MONGO | WEB | PAPERS)
        storm.run(150)
        storm.must_be_calm()
        assert storm.daemon.stop() == 0
    assert sum_of_accounts(postgres) == 400


def test_programs_whose_servers_are_killed(played: Callable[..., Gatherd], private_postgres: Postgres, private_mongo: Mongo) -> None:
    prepare(private_postgres)
    with Upstream(ANSWERS) as upstream:
        daemon = played(PG | MONGO | WEB | PAPERS, postgres=private_postgres, mongo=private_mongo, env={"WEB": upstream.url})
        storm = Storm(daemon, seed=5, clients=PG | MONGO | WEB | PAPERS, calm=False)
        running = threading.Thread(target=storm.run, args=(10**9,), daemon=True)
        running.start()
        for server in (private_postgres, private_mongo):
            seen = sum(storm.statuses.values())
            wait_for(lambda: sum(storm.statuses.values()) > seen + 20, 30, "programs")
            server.kill()
            time.sleep(0.2)
            server.start()
        storm.over.set()
        running.join(60)
        storm.must_be_calm()
        assert daemon.stop() == 0
    assert sum_of_accounts(private_postgres) == 400


# -- requests of any text --

TYPES = [f"Content-Type: {kind}\r\n" for kind in ("application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x")]
WORDS = [
    *("POST /look/a HTTP/1.1", "POST /look/%41?q=1&list=1&list=2 HTTP/1.1", "POST /look/", "GET ", "?q=", "&list=1", "%00", "%zz", "/..", " HTTP/1.1", " HTTP/1.0", "\r\n", "\r\n\r\n", "\n"),
    *("Host: a\r\n", "Host:", "Content-Length: 5\r\n", "Content-Length: ", "Transfer-Encoding: chunked\r\n"),
    *(*TYPES, "Cookie: c=1; c=2; d\r\n", "Cookie: c=\"", "X-A: 1\r\n"),
    *('{"a":[{"b":1}]}', "a=1&a=%41", "--x\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--x--", "5\r\n", "0\r\n\r\n", "\xff", "\0", ":", ";", "=", " ", "\t"),
]
HEAD = ["POST /look/a?q=1&list=2 HTTP/1.1\r\n", "Host: a\r\n", "Cookie: c=x; d=\"y\"\r\n", "X-A: b\r\n", "X-A: c\r\n", "Connection: close\r\n"]


def any_request(draw: random.Random) -> bytes:
    """One that is sound but for a few words that are left out, or come where they should not."""
    body = "".join(draw.choices(WORDS, k=draw.randrange(4)))
    head = [*HEAD, draw.choice(TYPES), f"Content-Length: {len(body)}\r\n", "\r\n", body]
    for _ in range(draw.choice([0, 0, 1, 1, 2, 5])):
        at = draw.randrange(len(head))
        head[at : at + draw.randrange(2)] = draw.choices(WORDS, k=draw.randrange(3))
    text = bytearray("".join(head).encode("latin-1"))
    if text and draw.random() < 0.2:
        text[draw.randrange(len(text))] = draw.randrange(256)
    return bytes(text)


def test_requests_of_any_text_are_answered_or_refused(played: Callable[..., Gatherd]) -> None:
    daemon = played()
    statuses: Counter[str] = Counter()

    def ask(seed: int) -> None:
        draw = random.Random(seed)
        for _ in range(100):
            reply = daemon.raw(any_request(draw), timeout=0.1)
            statuses[reply[:12].decode("latin-1")] += 1

    at_once([lambda seed=seed: ask(seed) for seed in range(8)])
    refusals = {f"HTTP/1.1 {status}" for status in (400, 404, 405, 411, 413, 415, 422, 501, 505)}
    assert set(statuses) <= {"", "HTTP/1.1 200", *refusals}, statuses
    assert statuses["HTTP/1.1 200"] > 100 and statuses["HTTP/1.1 400"] > 100
    assert good(daemon.get("/state"))["violations"] == 0


# -- what they have found --


@pytest.fixture
def found(gatherd: Callable[..., Gatherd], module: Callable[..., Path]) -> Callable[..., Gatherd]:
    def run(*names: str, **options: Any) -> Gatherd:
        lines = [f'  "GET /{name}": {{ handler: "{module("random_found")}:{name}" }}' for name in names]
        return gatherd("\n".join(["semaphores: { only: 1 }", "endpoints:", *lines]) + "\n", **options)

    return run


def test_who_cleans_up_awaits_its_children_while_its_scope_ends(found: Callable[..., Gatherd]) -> None:
    assert good(found("clean_ups").get("/clean_ups")) == [7, True, 0, True]


def test_a_stream_that_is_cut_between_two_turns_is_not_called_back(found: Callable[..., Gatherd]) -> None:
    """What is freed is overwritten here, so that its use is seen."""
    freed = {"MALLOC_CONF": "junk:true", "ASAN_OPTIONS": "max_free_fill_size=4096:free_fill_byte=90"}
    daemon = found("cut", env=freed)
    for _ in range(10):
        assert daemon.raw(b"GET /cut HTTP/1.1\r\nHost: test\r\n\r\n").startswith(b"HTTP/1.1 200 ")


def test_a_scope_that_is_left_open_ends_before_what_its_tasks_use(found: Callable[..., Gatherd]) -> None:
    daemon = found("leave", "left_by")
    good(daemon.get("/leave"))
    assert wait_for(lambda: (left := good(daemon.get("/left_by"))) != 1 and [left], 20, "the task's end") == [0]
    assert "semaphore not released" not in daemon.log()
