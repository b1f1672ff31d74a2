"""Memory goes back to the kernel when a daemon has nothing to do: it does not wait for traffic."""

from __future__ import annotations

import re
import resource
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Gatherd
from harness.upstream import Upstream, hangs
from support import wait_for

MIB = 1 << 20
WITHIN = 20.0  # seconds, generously: ten are promised
NEAR = 24 * MIB  # above what it was after a first request

CONFIG = """
server: { listen: [ "127.0.0.1:${PORT}" ], threads: 2, max_connections: 20000, max_requests: 20000, request_timeout: 60s, reply_limit: 1GiB }
sources: { pg: { postgres: "${PG}", pool: { size: 2 } }, web: { http: "${WEB}" } }
semaphores: { one: { permits: 1, max_waiting: 20000 } }
endpoints:
  "GET /small": { gather: { a: { from: pg, sql: "select 1", expect: value } }, respond: "{a}" }
  "GET /large":
    gather: { rows: { from: pg, sql: "select repeat('x', 1000) as t from generate_series(1, 160000)" } }
    respond: "{rows}"
  "GET /waits":
    timeout: 60s
    gather: { a: { from: web, get: "/hangs", semaphore: one, expect: response, on_error: null } }
    respond: 1
"""


def resident(daemon: Gatherd) -> int:
    rollup = Path(f"/proc/{daemon.process.pid}/smaps_rollup").read_text()
    return int(re.search(r"^Rss:\s+(\d+) kB", rollup, re.MULTILINE)[1]) << 10


def falls_to(daemon: Gatherd, most: int) -> None:
    wait_for(lambda: resident(daemon) <= most, WITHIN, f"{most >> 20} MiB; it has {resident(daemon) >> 20}")


@pytest.fixture
def daemon(gatherd: Callable[..., Gatherd], program: Path):
    if b"__asan_init" in program.read_bytes():
        pytest.skip("the sanitizers keep what is freed")
    with Upstream({}, otherwise=hangs()) as web:
        yield gatherd(CONFIG, env={"WEB": web.url})


def test_after_large_results(daemon: Gatherd) -> None:
    assert daemon.get("/small").status == 200
    before = resident(daemon)
    for _ in range(3):
        reply = daemon.get("/large", timeout=120)
        assert reply.status == 200 and len(reply.body) > 150 * MIB
        del reply
    assert resident(daemon) > before + NEAR  # there is something to give back
    falls_to(daemon, before + NEAR)
    assert daemon.get("/small").status == 200


def test_after_thousands_of_waiting_requests(daemon: Gatherd) -> None:
    count = 5000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 16384), hard))
    assert daemon.get("/small").status == 200
    before = resident(daemon)
    waiting: list[socket.socket] = []
    for _ in range(count):
        plain = socket.create_connection(("127.0.0.1", daemon.port), 30)
        plain.sendall(b"GET /waits HTTP/1.1\r\nHost: x\r\n\r\n")
        waiting.append(plain)
    wait_for(lambda: resident(daemon) > before + NEAR, 60)
    for plain in waiting:
        plain.close()
    falls_to(daemon, before + NEAR)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert daemon.get("/small").status == 200
