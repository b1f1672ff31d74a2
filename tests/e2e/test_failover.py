"""Several hosts of one PostgreSQL: which of them is used, and how soon the next one is when it fails."""

from __future__ import annotations

import functools
import http.server
import itertools
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import BlackHole, Gatherd, Mongo, Postgres, Relay, Standby, postgres_program
from support import at_once, good, problem, soon, stopwatch, wait_for

SERVER = 'server: { listen: [ "127.0.0.1:${PORT}" ], threads: 2, request_timeout: 2s }\n'
SHOP = """
sources:
  shop: { postgres: "${SHOP}", pool: { size: 4, acquire_timeout: 1s } }
endpoints:
  "GET /port": { gather: { port: { from: shop, sql: "show port", expect: value } }, respond: "{port}" }
  "GET /sum": { gather: { sum: { from: shop, sql: "select coalesce(sum(n), 0) from notes", expect: value } }, respond: "{sum}" }
  "GET /writes": { gather: { n: { from: shop, sql: "insert into notes values (1) returning n" } }, respond: "{n}" }
  "GET /sleep": { gather: { n: { from: shop, sql: "select 1 as n from pg_sleep(0.3)" } }, respond: "{n}" }
  "POST /notes/{n}":
    parameters: { n: { type: integer } }
    gather: { note: { from: shop, sql: "insert into notes values ({n}) returning n", expect: value } }
    respond: "{note}"
"""


def _primary() -> Iterator[Postgres]:
    with Postgres() as primary:
        primary.sql("create table notes (n int); create role reader login; alter role reader set default_transaction_read_only = on")
        primary.sql("grant all on notes to reader")
        yield primary


def _standby(primary: Postgres) -> Iterator[Standby]:
    with Standby(primary) as standby:
        standby.catch_up()
        yield standby


@pytest.fixture(scope="module")
def primary() -> Iterator[Postgres]:
    """A primary that all tests of this file share and leave as it is."""
    yield from _primary()


@pytest.fixture(scope="module")
def standby(primary: Postgres) -> Iterator[Standby]:
    yield from _standby(primary)


@pytest.fixture
def private_primary() -> Iterator[Postgres]:
    """A primary for one test, which may do with it what it likes."""
    yield from _primary()


@pytest.fixture
def private_standby(private_primary: Postgres) -> Iterator[Standby]:
    yield from _standby(private_primary)


def url(*ports: int, password: str = "", user: str = "postgres", **options: str) -> str:
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    return f"postgresql://{user}:{password}@{hosts}/postgres?" + "&".join(f"{k}={v}" for k, v in options.items())


def lines(daemon: Gatherd, msg: str) -> list[str]:
    return [line for line in daemon.log().splitlines() if f'msg="{msg}"' in line]


# -- which one --

TARGETS = ["any", "read-write", "read-only", "primary", "standby", "prefer-standby"]


@functools.cache
def psql(url: str) -> str | None:
    """The port of the server that psql would be connected to; None: of none."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    done = subprocess.run([postgres_program("psql"), "-XAtc", "show port", url], capture_output=True, text=True, env=environment)
    return done.stdout.strip() if done.returncode == 0 else None


def test_target_session_attrs_are_psql_s(gatherd: Callable[..., Gatherd], primary: Postgres, standby: Standby) -> None:
    """All six, over lists of hosts in any order, over one host, and for a role whose sessions only read."""
    sockets = {primary.port: str(primary.folder), standby.port: str(standby.folder)}
    urls = []
    for user, prepare in (("postgres", True), ("reader", True), ("postgres", False), ("reader", False)):
        for target, hosts in itertools.product(TARGETS, ([primary, standby], [standby, primary], [primary], [standby])):
            folders = ",".join(sockets[host.port] for host in hosts)
            ports = ",".join(str(host.port) for host in hosts)
            urls.append((f"postgresql://{user}@/postgres?host={folders}&port={ports}&target_session_attrs={target}", prepare))
    sources = "".join(
        f'  s{i}: {{ postgres: "{url}", prepare: {str(prepare).lower()}, pool: {{ size: 1, acquire_timeout: 15s }} }}\n'
        for i, (url, prepare) in enumerate(urls)
    )
    endpoints = "".join(
        f'  "GET /{i}": {{ gather: {{ port: {{ from: s{i}, sql: "show port", expect: value }} }}, respond: "{{port}}" }}\n'
        for i in range(len(urls))
    )
    daemon = gatherd(f"sources:\n{sources}endpoints:\n{endpoints}")
    expected = [psql(url) for url, _ in urls]
    assert None in expected and len(set(expected)) == 3
    replies = at_once([lambda i=i: daemon.get(f"/{i}", timeout=60) for i in range(len(urls))])
    found = [reply.json() if reply.status == 200 else None for reply in replies]
    assert [(url, was) for url, was in zip(urls, found)] == [(url, was) for url, was in zip(urls, expected)]


@pytest.mark.parametrize("target", ["read-write", "read-only"])
def test_a_get_does_not_write_whatever_the_target(
    gatherd: Callable[..., Gatherd], primary: Postgres, standby: Standby, target: str
) -> None:
    user = "postgres" if target == "read-write" else "reader"
    source = url(primary.port, target_session_attrs=target, user=user, password=primary.password)
    if user == "reader":
        source = f"postgresql://reader@/postgres?host={primary.folder}&port={primary.port}&target_session_attrs={target}"
    daemon = gatherd(SERVER + SHOP, env={"SHOP": source})
    for _ in range(3):
        problem(daemon.get("/writes"), 500, code="25006")
    # It is the endpoint's fault, and no reason to connect again.
    assert good(daemon.get("/port")) == str(primary.port)
    assert not lines(daemon, "source is down")


def test_hosts_and_ports_of_every_kind(gatherd: Callable[..., Gatherd], primary: Postgres, tmp_path: Any) -> None:
    """One port for all, one each, a Unix socket after a TCP port, hostaddr, and a password a host, from a file."""
    nobody = 1
    passfile = tmp_path / "pgpass"
    passfile.write_text(f"127.0.0.1:{nobody}:*:*:wrong\n127.0.0.1:{primary.port}:*:*:{primary.password}\n")
    passfile.chmod(0o600)
    environment = {"PGPASSFILE": str(passfile)}
    urls = [
        f"postgresql://postgres@127.0.0.1:{nobody},127.0.0.1:{primary.port}/postgres",
        f"postgresql://postgres@/postgres?host=/nowhere,127.0.0.1&port={primary.port}",
        f"postgresql://postgres@127.0.0.1:{nobody},/postgres?host=127.0.0.1,{primary.folder}&port={nobody},{primary.port}",
        f"postgresql://postgres@/postgres?host=127.0.0.1,127.0.0.1&hostaddr=127.0.0.2,127.0.0.1&port={primary.port}",
        f"host=localhost,localhost port={nobody},{primary.port} user=postgres dbname=postgres password={primary.password}",
    ]
    for each in urls:
        daemon = gatherd(SERVER + SHOP, env=environment | {"SHOP": each})
        assert good(soon(lambda: daemon.get("/port"))) == str(primary.port), each
        daemon.stop()


def _has_ipv6() -> bool:
    return "00000000000000000000000000000001 " in Path("/proc/net/if_inet6").read_text()


def test_ipv6(gatherd: Callable[..., Gatherd]) -> None:
    if not _has_ipv6():
        pytest.skip("this machine has no ::1")
    with Postgres({"listen_addresses": "::1"}) as server:
        for host in (f"127.0.0.1:1,[::1]:{server.port}", f"[::1]:{server.port}"):
            daemon = gatherd(SERVER + SHOP, env={"SHOP": f"postgresql://postgres:{server.password}@{host}/postgres"})
            assert good(soon(lambda: daemon.get("/port"))) == str(server.port)


@pytest.mark.parametrize(
    "tail,message",
    [
        ("a,b/d?port=1,2,3", "port takes one number for all hosts"),
        ("a,b/d?hostaddr=127.0.0.1", "as many items"),
        ("a/d?port=99999", "port must be a number"),
        ("a/d?target_session_attrs=master", "target_session_attrs must be any, read-write"),
    ],
)
def test_lists_that_do_not_fit_are_refused(gatherd: Callable[..., Gatherd], program: Any, tail: str, message: str) -> None:
    daemon = gatherd(SERVER + SHOP, env={"SHOP": f"postgresql://u@{tail}"}, start=False)
    done = subprocess.run(
        [program, "check", "-c", str(daemon.config_path)], capture_output=True, text=True, env=daemon.environment()
    )
    assert done.returncode == 78 and message in done.stderr, done.stderr


# -- one that does not answer --


def test_a_first_host_that_swallows_packets(gatherd: Callable[..., Gatherd], primary: Postgres) -> None:
    with BlackHole() as hole:
        daemon = gatherd(SERVER + SHOP, env={"SHOP": url(hole.port, primary.port, password=primary.password)})
        with stopwatch() as took:
            good(soon(lambda: daemon.get("/port")))
        assert took.seconds < 10
        assert not lines(daemon, "source is down")


def test_a_first_host_that_accepts_and_is_silent(gatherd: Callable[..., Gatherd], primary: Postgres, private_primary: Postgres) -> None:
    private_primary.pause()
    daemon = gatherd(SERVER + SHOP, env={"SHOP": url(private_primary.port, primary.port, password=primary.password)})
    with stopwatch() as took:
        assert good(soon(lambda: daemon.get("/port"))) == str(primary.port)
    assert took.seconds < 10


def writes_again(daemon: Gatherd, since: float, most: float) -> None:
    reply = soon(lambda: daemon.post("/notes/1"), timeout=most + 10)
    good(reply)
    assert time.monotonic() - since < most


@pytest.mark.parametrize("how", ["kill", "pause"])
def test_a_primary_that_fails_with_a_promoted_standby(
    gatherd: Callable[..., Gatherd], private_primary: Postgres, private_standby: Standby, how: str
) -> None:
    source = url(private_primary.port, private_standby.port, password=private_primary.password, target_session_attrs="read-write")
    daemon = gatherd(SERVER + SHOP, env={"SHOP": source})
    replies = at_once([lambda: daemon.get("/sleep") for _ in range(4)])
    assert [reply.status for reply in replies] == [200] * 4
    good(daemon.post("/notes/1"))
    private_standby.catch_up()
    failed = time.monotonic()
    if how == "kill":
        private_primary.kill()
    else:
        private_primary.pause()
    # Everybody finds out at once.
    replies = at_once([lambda: daemon.post("/notes/5", timeout=30) for _ in range(8)])
    assert {reply.status for reply in replies} <= {502, 503, 504}
    private_standby.promote()
    writes_again(daemon, failed, 12)
    good(daemon.get("/sum"))
    # It was down only if the last connection went before there was another one; then it is back, or soon will be.
    down = len(lines(daemon, "source is down"))
    assert down <= 1
    wait_for(lambda: len(lines(daemon, "source is back")) == down, timeout=30)


def test_a_demoted_primary_is_left(gatherd: Callable[..., Gatherd], private_primary: Postgres, private_standby: Standby) -> None:
    """The address leads elsewhere now, and the connections that there are lead to what has become a standby."""
    with Relay(private_standby.port) as relay:
        daemon = gatherd(SERVER + SHOP, env={"SHOP": url(relay.port, password=private_primary.password)})
        assert good(daemon.get("/port")) == str(private_standby.port)
        at_once([lambda: daemon.get("/sleep") for _ in range(4)])
        for _ in range(2):
            problem(daemon.post("/notes/1"), 503)
        relay.to = private_primary.port
        time.sleep(1.5)
        writes_again(daemon, time.monotonic(), 5)
        # None is left that leads to the standby.
        wait_for(lambda: private_standby.backends() == 0, 10)
        replies = at_once([lambda: daemon.get("/port") for _ in range(8)])
        assert {good(reply) for reply in replies} == {str(private_primary.port)}


def test_of_two_hosts_the_one_that_takes_writes_is_found_again(
    gatherd: Callable[..., Gatherd], private_primary: Postgres, private_standby: Standby
) -> None:
    """With `any`, too: a host that refuses a write is tried last."""
    daemon = gatherd(
        SERVER + SHOP, env={"SHOP": url(private_standby.port, private_primary.port, password=private_primary.password)}
    )
    assert good(daemon.get("/port")) == str(private_standby.port)
    time.sleep(1.1)
    problem(daemon.post("/notes/1"), 503)
    assert good(soon(lambda: daemon.post("/notes/1"))) == 1

    def write_and_read() -> Any:  # an attempt to connect that had begun before may still bring the standby; a write drops it
        daemon.post("/notes/1")
        return daemon.get("/port")

    assert good(soon(write_and_read, lambda r: r.status == 200 and r.json() == str(private_primary.port)))


WAYS = ["statement", "transaction", "serializable", "savepoint", "copies", "listens"]


def test_no_way_to_write_keeps_a_standby(
    gatherd: Callable[..., Gatherd], module: Callable[..., Path], primary: Postgres, standby: Standby
) -> None:
    """Each of a handler's is 503, and its connection goes."""
    path = module("failover")
    endpoints = "".join(f'  "POST /{way}": {{ handler: "{path}:{way}", timeout: 5s }}\n' for way in WAYS)
    with Relay(standby.port) as relay:
        daemon = gatherd(
            SERVER.replace("threads: 2, ", "threads: 1, ") + SHOP + endpoints,
            env={"SHOP": url(relay.port, password=primary.password)},
        )
        for way in WAYS:
            relay.to = standby.port
            primary.terminate_backends()
            assert good(soon(lambda: daemon.get("/port"), lambda r: r.status == 200 and r.json() == str(standby.port)))
            time.sleep(1.1)
            relay.to = primary.port
            problem(daemon.post(f"/{way}"), 503)
            assert good(soon(lambda: daemon.get("/port"), lambda r: r.status == 200 and r.json() == str(primary.port)))


# -- the log --


def test_a_source_that_goes_and_returns_is_two_lines(gatherd: Callable[..., Gatherd], private_primary: Postgres) -> None:
    daemon = gatherd(
        SERVER.replace("threads: 2", "threads: 3") + SHOP,
        env={"SHOP": url(private_primary.port, 1, password=private_primary.password)},
    )
    at_once([lambda: daemon.get("/sleep") for _ in range(4)])
    for round in range(1, 3):
        private_primary.stop()
        wait_for(lambda: len(lines(daemon, "source is down")) == round)
        for _ in range(5):
            daemon.get("/port")
        time.sleep(1)
        private_primary.start()
        good(soon(lambda: daemon.get("/port")))
        wait_for(lambda: len(lines(daemon, "source is back")) == round)
    assert len(lines(daemon, "source is down")) == 2
    down = lines(daemon, "source is down")[0]
    assert "source=shop" in down and f"port {private_primary.port}" in down and "port 1 failed" in down
    assert down.count(" failed: ") == 2


def test_all_reasons_of_all_hosts_and_no_password(gatherd: Callable[..., Gatherd], primary: Postgres) -> None:
    secret = "geheim-4711"
    with BlackHole() as hole:
        daemon = gatherd(SERVER + SHOP, env={"SHOP": url(1, hole.port, primary.port, password=secret, connect_timeout="3")})
        problem(soon(lambda: daemon.get("/port"), lambda reply: reply.status == 503), 503)
        (down,) = wait_for(lambda: lines(daemon, "source is down"))
        assert "port 1 failed: Connection refused" in down
        assert f"port {hole.port} failed: no answer in time" in down
        assert f"port {primary.port} failed: FATAL:  password authentication failed for user \\\"postgres\\\"" in down
        time.sleep(1.5)
        assert len(lines(daemon, "source is down")) == 1
        assert secret not in daemon.log()


def test_a_refusal_has_libpq_s_whole_message(gatherd: Callable[..., Gatherd], primary: Postgres) -> None:
    """libpq's message has two lines when TLS was refused first."""
    daemon = gatherd(SERVER + SHOP, env={"SHOP": url(primary.port, password="wrong")})
    reply = soon(lambda: daemon.get("/port"), lambda reply: reply.status == 503)
    assert "FATAL" not in problem(reply, 503).get("detail", "")
    wait_for(lambda: re.search(r'GET /port.*error=.*FATAL:  password authentication failed', daemon.log()))


# -- other kinds of sources --


def test_a_mongodb_that_goes_and_returns_is_two_lines(gatherd: Callable[..., Gatherd], private_mongo: Mongo) -> None:
    daemon = gatherd(
        SERVER
        + """
sources:
  catalog: { mongodb: "${MONGO}", pool: { size: 4 } }
endpoints:
  "GET /docs": { gather: { docs: { from: catalog, find: products, limit: 1 } }, respond: "{docs}" }
""",
        mongo=private_mongo,
    )
    good(soon(lambda: daemon.get("/docs")))
    assert not lines(daemon, "source is down")
    private_mongo.stop()
    daemon.get("/docs")
    wait_for(lambda: lines(daemon, "source is down"), 30)
    time.sleep(1)
    private_mongo.start()
    good(soon(lambda: daemon.get("/docs")))
    wait_for(lambda: lines(daemon, "source is back"), 30)
    assert len(lines(daemon, "source is down")) == len(lines(daemon, "source is back")) == 1
    assert f"127.0.0.1:{private_mongo.port}" in lines(daemon, "source is down")[0]


class _Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1")
        self.end_headers()
        self.wfile.write(b"7")

    def log_message(self, *_: Any) -> None:
        pass


def test_a_dead_address_of_an_http_service_s_name(gatherd: Callable[..., Gatherd]) -> None:
    """localhost is ::1, which swallows packets, and 127.0.0.1."""
    if not _has_ipv6():
        pytest.skip("this machine has no ::1")
    with BlackHole("::1") as hole, http.server.ThreadingHTTPServer(("127.0.0.1", hole.port), _Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        daemon = gatherd(
            SERVER
            + """
sources:
  rates: { http: "http://localhost:${RATES}" }
endpoints:
  "GET /rate": { gather: { rate: { from: rates, get: / } }, respond: "{rate}" }
""",
            env={"RATES": str(hole.port)},
        )
        for _ in range(3):
            assert good(daemon.get("/rate")) == 7
        server.shutdown()
