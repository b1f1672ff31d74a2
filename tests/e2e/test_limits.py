"""Bounds: on requests, connections and time; clients that leave; readiness and the way down."""

from __future__ import annotations

import os
import random
import signal
import socket
import struct
import threading
import time
from typing import Any, Callable

import pytest
from harness import Gatherd, Mongo, Postgres
from support import Reply, Wire, at_once, good, in_background, problem, request_line, running_statements, soon, stopwatch, wait_for

CONFIG = """
server:
  listen: [ "127.0.0.1:${{PORT}}" ]
  threads: {threads}
  {server}
sources:
  pg: {{ postgres: "${{PG}}", pool: {{ size: 8, acquire_timeout: 20s }} }}
endpoints:
  "GET /": {{ respond: here }}
  "GET /sleep/{{s}}/{{mark}}":
    parameters: {{ s: {{ type: number }} }}
    gather:
      n: {{ from: pg, sql: "select {{mark}}::text as mark from pg_sleep({{s}})" }}
      m: {{ from: pg, sql: "select 1" }}
  "GET /alone/{{s}}": {{ parameters: {{ s: {{ type: number }} }}, gather: {{ n: {{ from: pg, sql: "select 'alone' from pg_sleep({{s}})" }} }} }}
  "GET /item/{{id}}": {{ parameters: {{ id: {{ type: integer }} }}, gather: {{ item: {{ from: pg, sql: "select id from items where id = {{id}}", expect: one }} }} }}
"""


def configured(gatherd: Callable[..., Gatherd], server: str = "", *, threads: int = 1, **options: Any) -> Gatherd:
    return gatherd(CONFIG.format(server=server, threads=threads), **options)


def sleepers(postgres: Postgres) -> int:
    """Statements of pg_sleep in the database `test`."""
    return running_statements(postgres, "pg_sleep(")


# -- bounds --


@pytest.mark.parametrize("threads", [1, 2])
def test_requests_at_once(gatherd: Callable[..., Gatherd], postgres: Postgres, threads: int) -> None:
    daemon = configured(gatherd, "max_requests: 3", threads=threads)
    good(daemon.get("/item/1"))
    running = [in_background(lambda: daemon.get("/sleep/4/bound")) for _ in range(3)]
    wait_for(lambda: sleepers(postgres) == 3, 10)
    for _ in range(10):
        problem(daemon.get("/sleep/0/x"), 503)
    assert all(one.running for one in running), "they waited for no place"
    assert good(daemon.get("/")) == "here", "what needs no task is answered"
    assert good(daemon.get("/-/live"))
    for page in ("/-/tasks", "/-/status.json", "/-/metrics"):  # they take no place, and ask for none
        assert daemon.get(page, headers={"Accept-Encoding": "gzip"}).status == 200
    assert good(daemon.get("/-/status.json"))["requests"]["running"] == 3
    with Wire(daemon) as wire:
        problem(wire.get("/item/1").reply(), 503)
        for one in running:
            good(one.result())
        assert good(wire.get("/item/1").reply()), "on the same connection"
    for reply in at_once([lambda: soon(lambda: daemon.get("/item/2"))] * 5):
        good(reply)


def test_connections_at_once(gatherd: Callable[..., Gatherd]) -> None:
    daemon = configured(gatherd, "max_connections: 5")
    wires = [Wire(daemon) for _ in range(5)]
    for wire in wires:
        assert good(wire.get("/").reply()) == "here"
    late = Wire(daemon, timeout=0.5).get("/")
    with pytest.raises((TimeoutError, ConnectionError)):
        late.reply()
    late.socket.settimeout(10)
    cpu = daemon.cpu_us()
    time.sleep(0.3)
    assert daemon.cpu_us() - cpu < 150_000, "it does not spin while it is full"
    for wire in wires:
        assert good(wire.get("/").reply()) == "here"
    wires.pop().socket.close()
    assert good(late.reply()) == "here"
    for wire in [*wires, late]:
        wire.socket.close()


def test_the_admin_listener_answers_when_all_is_full(gatherd: Callable[..., Gatherd]) -> None:
    daemon = configured(gatherd, 'max_connections: 3\n  admin: "127.0.0.1:${ADMIN}"')
    wires = [Wire(daemon) for _ in range(3)]
    for wire in wires:
        assert good(wire.get("/").reply())
    assert good(daemon.get("/-/live", port=daemon.admin_port))
    for wire in wires:
        wire.socket.close()


def test_the_deadline_of_a_request(gatherd: Callable[..., Gatherd], postgres: Postgres) -> None:
    daemon = configured(gatherd, "request_timeout: 500ms")
    for path in ("/sleep/30/deadline", "/alone/30"):
        with stopwatch() as took:
            problem(daemon.get(path), 504)
        assert 0.5 <= took.seconds < 3.5
    wait_for(lambda: sleepers(postgres) == 0, 10, "the statements to be cancelled")
    with Wire(daemon) as wire:
        problem(wire.get("/alone/30").reply(), 504)
        good(wire.get("/item/3").reply())


# -- clients that leave --


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("how", ["close", "reset", "half"])
def test_a_client_that_leaves_cancels_its_work(gatherd: Callable[..., Gatherd], postgres: Postgres, threads: int, how: str) -> None:
    daemon = configured(gatherd, threads=threads)
    good(daemon.get("/item/1"))
    wires = [Wire(daemon).get("/sleep/30/leaves", f"X-Request-Id: leaves-{n}") for n in range(3)]
    wires.append(Wire(daemon).get("/alone/30", "X-Request-Id: leaves-3"))
    wires.append(Wire(daemon).get("/", "X-Request-Id: stays").get("/sleep/30/leaves", "X-Request-Id: leaves-4").get("/"))
    wait_for(lambda: sleepers(postgres) == 5, 10)
    if how == "half":  # it seems to wait for its replies, and was asked whether it is still there
        for wire in wires:
            wire.socket.shutdown(socket.SHUT_WR)
        for wire in wires[:4]:
            assert wire.reply().status == 100
        assert sleepers(postgres) == 5
    for wire in wires:
        if how == "reset":
            wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        wire.socket.close()
    wait_for(lambda: sleepers(postgres) == 0, 10, "the statements to be cancelled")
    for n in range(5):
        assert request_line(daemon, id=f"leaves-{n}")["status"] == "499"
    assert request_line(daemon, id="stays")["status"] == "200"
    good(daemon.get("/item/1"))


def test_a_client_whose_machine_is_gone_is_noticed(gatherd: Callable[..., Gatherd], postgres: Postgres) -> None:
    """It says nothing, not even that it closes: the kernel asks, also while there is nothing to be sent."""
    daemon = configured(gatherd)
    with Wire(daemon) as wire:
        wire.get("/sleep/30/gone")
        wait_for(lambda: sleepers(postgres) == 1, 10)
        ours = f":{daemon.port:04X}", f":{wire.socket.getsockname()[1]:04X}"
        lines = [line.split() for line in open("/proc/net/tcp")]
        timer, seconds = next(line[5] for line in lines if line[1].endswith(ours[0]) and line[2].endswith(ours[1])).split(":")
        assert timer == "02", "the keep-alive timer"
        assert 0 < int(seconds, 16) / os.sysconf("SC_CLK_TCK") <= 60
    wait_for(lambda: sleepers(postgres) == 0, 10)


# -- clients that shut their sending side down, and wait for the reply --


def final(wire: Wire) -> Reply:
    """The next reply that is none of the interim ones, of which there is one at least."""
    assert wire.reply().status == 100
    while (reply := wire.reply()).status == 100:
        pass
    return reply


def test_a_client_that_will_send_nothing_more_gets_its_reply(gatherd: Callable[..., Gatherd], postgres: Postgres) -> None:
    daemon = configured(gatherd)
    with Wire(daemon) as wire:
        wire.get("/sleep/1.5/half").socket.shutdown(socket.SHUT_WR)
        assert good(final(wire))["n"] == [{"mark": "half"}]
        assert wire.ended()
    with Wire(daemon) as wire:  # each of them
        wire.get("/").get("/alone/0.3").get("/alone/0.2").get("/").socket.shutdown(socket.SHUT_WR)
        assert good(wire.reply()) == "here"
        good(final(wire))
        good(final(wire))
        assert good(wire.reply()) == "here"
        assert wire.ended()
    with Wire(daemon) as wire:  # in one segment, as it were: the end is there before the request is looked at
        daemon.process.send_signal(signal.SIGSTOP)
        wire.get("/alone/0.3").socket.shutdown(socket.SHUT_WR)
        daemon.process.send_signal(signal.SIGCONT)
        good(final(wire))


def test_a_client_that_sends_nothing_more_and_then_leaves(gatherd: Callable[..., Gatherd], postgres: Postgres) -> None:
    """Nothing tells of it but what it is sent: it is asked again and again."""
    daemon = configured(gatherd)
    with Wire(daemon) as wire:
        wire.get("/sleep/30/half", "X-Request-Id: half").socket.shutdown(socket.SHUT_WR)
        for _ in range(3):
            assert wire.reply().status == 100
        assert sleepers(postgres) == 1
    wait_for(lambda: sleepers(postgres) == 0, 10, "the statement to be cancelled")
    assert request_line(daemon, id="half")["status"] == "499"


def test_a_client_of_http_1_0_that_sends_nothing_more_has_left(gatherd: Callable[..., Gatherd], postgres: Postgres) -> None:
    """It can't be asked: there are no interim replies."""
    daemon = configured(gatherd)
    with Wire(daemon) as wire:
        wire.get("/sleep/30/old", "X-Request-Id: old", version="1.0")
        wait_for(lambda: sleepers(postgres) == 1, 10)
        wire.socket.shutdown(socket.SHUT_WR)
        assert wire.ended()
    wait_for(lambda: sleepers(postgres) == 0, 10, "the statement to be cancelled")
    assert request_line(daemon, id="old")["status"] == "499"


def test_who_has_left_is_known_on_a_unix_socket(gatherd: Callable[..., Gatherd], postgres: Postgres) -> None:
    daemon = gatherd(CONFIG.format(server="", threads=1).replace('listen: [', 'listen: [ "unix:${FOLDER}/half.sock",'))
    for version in ("1.1", "1.0"):
        with Wire(daemon, unix=daemon.folder / "half.sock") as wire:
            wire.get("/sleep/1.5/unix", version=version).socket.shutdown(socket.SHUT_WR)
            assert good(wire.reply())["n"] == [{"mark": "unix"}], "and nothing was asked"
    for shut in (False, True):
        with Wire(daemon, unix=daemon.folder / "half.sock") as wire:
            wire.get("/sleep/30/unix", f"X-Request-Id: unix-{shut}")
            wait_for(lambda: sleepers(postgres) == 1, 10)
            if shut:
                wire.socket.shutdown(socket.SHUT_WR)
                time.sleep(0.1)
                assert sleepers(postgres) == 1
        wait_for(lambda: sleepers(postgres) == 0, 10, "the statement to be cancelled")
        assert request_line(daemon, id=f"unix-{shut}")["status"] == "499"


@pytest.mark.parametrize("threads", [1, 2])
def test_clients_that_leave_in_the_middle_of_load(gatherd: Callable[..., Gatherd], postgres: Postgres, threads: int) -> None:
    """Half of the clients lose patience at any moment; the others get what is theirs; at the end nothing is left taken (Gatherd.stop)."""
    daemon = configured(gatherd, threads=threads)

    def impatient(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(25):
            wire = Wire(daemon)
            for _ in range(rng.randrange(1, 4)):
                wire.get(rng.choice(["/sleep/0.05/x", "/alone/0.02", f"/item/{rng.randrange(10000)}"]))
            time.sleep(rng.choice([0, 0, 0.001, 0.01, 0.04]))
            if rng.randrange(2):
                wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            wire.socket.close()

    def patient(seed: int) -> None:
        with Wire(daemon) as wire:
            for n in range(50):
                id = (seed * 997 + n) % 10000
                assert good(wire.get(f"/item/{id}").reply()) == {"item": {"id": id}}

    at_once([lambda n=n: impatient(n) for n in range(10)] + [lambda n=n: patient(n) for n in range(6)])
    wait_for(lambda: sleepers(postgres) == 0, 10)
    at_once([lambda: good(daemon.get("/item/7"))] * 10)


def test_overload_and_then_rest(gatherd: Callable[..., Gatherd], postgres: Postgres) -> None:
    """Far more than it may take: every reply is right or a prompt 503, and afterwards all is as before."""
    daemon = configured(gatherd, "max_requests: 20\n  request_timeout: 5s", threads=2)
    statuses: list[int] = []

    def client(seed: int) -> None:
        with Wire(daemon) as wire:
            for n in range(12):
                id = (seed * 31 + n) % 10000
                with stopwatch() as took:
                    reply = wire.get(f"/item/{id}" if n % 3 else "/alone/0.05").reply()
                assert took.seconds < 8
                if reply.status == 200:
                    assert n % 3 == 0 or good(reply) == {"item": {"id": id}}
                else:
                    problem(reply, 503, 504)
                statuses.append(reply.status)

    at_once([lambda n=n: client(n) for n in range(80)])
    assert statuses.count(200) > 50 and statuses.count(503) > 0
    for n, reply in enumerate(at_once([lambda n=n: daemon.get(f"/item/{n}") for n in range(15)])):
        assert good(reply) == {"item": {"id": n}}
    assert daemon.stop() == 0


def test_descriptors_and_memory_come_back(gatherd: Callable[..., Gatherd]) -> None:
    daemon = configured(gatherd)

    def burst() -> None:
        wires = [Wire(daemon) for _ in range(100)]
        for n, wire in enumerate(wires):
            wire.get(f"/item/{n}")
        for wire in wires:
            good(wire.reply())
            wire.socket.close()

    for _ in range(4):
        burst()
    fds, rss = daemon.fds, daemon.rss_kib
    for _ in range(6):
        burst()
    wait_for(lambda: daemon.fds <= fds + 8, 10, "descriptors to come back, but for those of the pool")
    if b"__asan_init" not in daemon.program.read_bytes():  # which keeps what was freed for a while
        assert daemon.rss_kib < rss * 1.1 + 8192


# -- readiness --


def test_readiness_follows_the_sources(private_postgres: Postgres, private_mongo: Mongo, gatherd: Callable[..., Gatherd]) -> None:
    daemon = gatherd(
        """
        sources:
          pg: { postgres: "${PG}" }
          db: { mongodb: "${MONGO}" }
        endpoints:
          "GET /": { gather: { n: { from: pg, sql: select 1, on_error: null }, m: { from: db, count: products, on_error: null } } }
        """,
        postgres=private_postgres,
        mongo=private_mongo,
    )
    assert good(soon(lambda: daemon.get("/-/ready"))) == {"ready": True}

    def down() -> list[str]:
        reply = daemon.get("/-/ready")
        return sorted(problem(reply, 503)["down"]) if reply.status != 200 else []

    private_postgres.kill()
    wait_for(lambda: down() == ["pg"], 20)
    assert good(daemon.get("/"))["m"] == 50, "the other source is not touched"
    private_mongo.kill()
    wait_for(lambda: down() == ["db", "pg"], 20)
    assert good(daemon.get("/-/live")), "it lives all the same"
    private_postgres.start()
    wait_for(lambda: down() == ["db"], 20, "PostgreSQL to be found again, though nobody asks for it")
    private_mongo.start()
    wait_for(lambda: down() == [], 20)
    assert good(daemon.get("/")) == {"n": [{"?column?": 1}], "m": 50}


# -- what comes while a request runs --


def question(path: str, body: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


@pytest.mark.parametrize("first", [0, 20, 1000])
def test_what_comes_early_waits_for_its_turn(gatherd: Callable[..., Gatherd], postgres: Postgres, first: int) -> None:
    """A part of it with the request that runs, and the rest in pieces; longer than any buffer that there is at first."""
    daemon = configured(gatherd)
    good(daemon.get("/item/1"))
    with Wire(daemon) as wire:
        marks = ["two", "t" * 6000, "four", "five"]
        following = b"".join(question(f"/sleep/0/{mark}", "ignored" * (n * 3000)) for n, mark in enumerate(marks))
        wire.send(question("/sleep/2/one") + following[:first])
        wait_for(lambda: sleepers(postgres) == 1, 10)
        wire.send(following[first : first + 30])
        time.sleep(0.05)
        wire.send(following[first + 30 :])
        assert [good(wire.reply())["n"][0]["mark"] for _ in ["one", *marks]] == ["one", *marks]
        assert good(wire.get("/").reply()) == "here"


@pytest.mark.parametrize("reset", [False, True])
def test_who_asks_again_and_leaves_is_gone(gatherd: Callable[..., Gatherd], postgres: Postgres, reset: bool) -> None:
    daemon = configured(gatherd)
    good(daemon.get("/item/1"))
    wire = Wire(daemon).get("/sleep/30/gone")
    wait_for(lambda: sleepers(postgres) == 1, 10)
    wire.get("/").get("/")
    if reset:
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.socket.close()
    wait_for(lambda: sleepers(postgres) == 0, 10, "its statement to be cancelled")
    assert good(daemon.get("/")) == "here"


# -- the way down --


def terminate(daemon: Gatherd, signal_number: int = signal.SIGTERM) -> None:
    os.kill(daemon.pid, signal_number)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_what_runs_may_finish(gatherd: Callable[..., Gatherd], postgres: Postgres, threads: int, signal_number: int) -> None:
    daemon = configured(gatherd, threads=threads)
    good(daemon.get("/item/1"))
    idle, running, half = Wire(daemon), Wire(daemon), Wire(daemon)
    assert good(idle.get("/").reply()) == "here"
    running.get("/sleep/4/drains")
    half.send("GET / HTTP/1.1\r\nHost: x\r\n")
    wait_for(lambda: sleepers(postgres) == 1, 10)
    time.sleep(0.05)
    with stopwatch() as took:
        terminate(daemon, signal_number)
        wait_for(lambda: refused(daemon), 5, "new connections to be refused")
        assert idle.ended(), "an idle connection ends"
        half.send("\r\n")
        try:
            assert half.reply().status in (200, 503), "a request that was on its way is answered"
        except ConnectionError:
            pass
        reply = running.reply()
        assert good(reply)["n"] == [{"mark": "drains"}] and reply.headers["Connection"] == "close"
        assert running.ended()
        assert daemon.process.wait(20) == 0
    assert took.seconds < 15


def refused(daemon: Gatherd) -> bool:
    try:
        with daemon.connect(timeout=2) as probe:
            probe.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            return probe.recv(1) == b""
    except ConnectionError:
        return True


def test_an_idle_daemon_ends_at_once(gatherd: Callable[..., Gatherd]) -> None:
    daemon = configured(gatherd)
    good(daemon.get("/item/1"))
    with stopwatch() as took:
        assert daemon.stop() == 0
    assert took.seconds < 3


def test_a_second_signal_is_obeyed_at_once(gatherd: Callable[..., Gatherd], postgres: Postgres) -> None:
    daemon = configured(gatherd)
    good(daemon.get("/item/1"))
    running = Wire(daemon).get("/sleep/30/second")
    wait_for(lambda: sleepers(postgres) == 1, 10)
    terminate(daemon)
    wait_for(lambda: refused(daemon), 5)
    assert daemon.running
    with stopwatch() as took:
        terminate(daemon)
        try:
            problem(running.reply(), 503)
        except ConnectionError:
            pass
        assert daemon.process.wait(20) == 0
    assert took.seconds < 5
    wait_for(lambda: sleepers(postgres) == 0, 10)


def test_draining_is_bounded(gatherd: Callable[..., Gatherd], postgres: Postgres) -> None:
    daemon = configured(gatherd, "drain_timeout: 500ms\n  request_timeout: 60s")
    good(daemon.get("/item/1"))
    running = [Wire(daemon).get("/sleep/30/bounded"), Wire(daemon).get("/alone/30")]
    stuck = Wire(daemon).send("GET / HT")
    wait_for(lambda: sleepers(postgres) == 2, 10)
    with stopwatch() as took:
        terminate(daemon)
        for one in running:
            problem(one.reply(), 503)
            assert one.ended()
        assert stuck.ended()
        assert daemon.process.wait(20) == 0
    assert 0.5 <= took.seconds < 5
    wait_for(lambda: sleepers(postgres) == 0, 10)


def test_readiness_while_draining(gatherd: Callable[..., Gatherd], postgres: Postgres) -> None:
    daemon = configured(gatherd, 'admin: "127.0.0.1:${ADMIN}"')
    soon(lambda: daemon.get("/-/ready", port=daemon.admin_port))
    running = in_background(lambda: daemon.get("/sleep/4/admin"))
    wait_for(lambda: sleepers(postgres) == 1, 10)
    terminate(daemon)
    wait_for(lambda: refused(daemon), 5)
    problem(daemon.get("/-/ready", port=daemon.admin_port), 503)
    assert good(daemon.get("/-/live", port=daemon.admin_port))
    assert good(running.result())
    assert daemon.process.wait(20) == 0


def test_the_end_under_load(gatherd: Callable[..., Gatherd], postgres: Postgres) -> None:
    """A request that was read is answered whole, or its connection is closed; never half a reply."""
    daemon = configured(gatherd, threads=2)
    ending = threading.Event()

    done = [0] * 12

    def client(seed: int) -> None:
        while not ending.is_set():
            try:
                with Wire(daemon) as wire:
                    for n in range(20):
                        id = (seed * 997 + done[seed]) % 10000
                        reply = wire.get(f"/item/{id}").reply()
                        if reply.status == 200:
                            assert good(reply) == {"item": {"id": id}}
                            done[seed] += 1
                        else:
                            problem(reply, 503)
                        if reply.headers.get("Connection") == "close":
                            break
            except ConnectionError as error:
                assert "body" not in str(error)
                if ending.wait(0.01):
                    break

    clients = [in_background(lambda n=n: client(n)) for n in range(12)]
    wait_for(lambda: sum(done) > 50, 60)
    terminate(daemon)
    assert daemon.process.wait(20) == 0
    ending.set()
    for one in clients:
        one.result()


def test_a_source_that_is_gone_at_the_end(private_postgres: Postgres, private_mongo: Mongo, gatherd: Callable[..., Gatherd]) -> None:
    daemon = gatherd(
        """
        sources: { pg: { postgres: "${PG}" }, db: { mongodb: "${MONGO}" } }
        endpoints: { "GET /": { gather: { n: { from: pg, sql: select 1, expect: value }, m: { from: db, count: products } } } }
        """,
        postgres=private_postgres,
        mongo=private_mongo,
    )
    assert good(soon(lambda: daemon.get("/"))) == {"n": 1, "m": 50}
    private_postgres.pause()
    private_mongo.pause()
    wire = Wire(daemon).get("/")
    time.sleep(0.1)
    wire.socket.close()
    with stopwatch() as took:
        assert daemon.stop() == 0
    assert took.seconds < 10
    private_postgres.resume()
    private_mongo.resume()
