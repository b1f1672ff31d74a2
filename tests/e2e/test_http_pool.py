"""The pool of an HTTP source: calls at once over all workers, who waits for one, and that each is given back."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from harness import Gatherd
from harness.upstream import CHUNKED, Asked, Peer, Upstream, resets
from support import Wire, at_once, good, in_background, problem, request_line, wait_for

PATIENCE = 60  # seconds, of what must come


class Gate(Upstream):
    """A service whose answers below /held wait until `open` is called; it counts how many it had at once."""

    def __init__(self) -> None:
        super().__init__({"/resets": resets(), "/trickles": self._trickle}, otherwise=self._hold)
        self.inside = self.most = 0
        self.order: list[str] = []
        self._changed = threading.Condition()
        self._opened = False

    def _hold(self, peer: Peer, asked: Asked) -> None:
        with self._changed:
            self.inside += 1
            self.most = max(self.most, self.inside)
            self.order.append(asked.path)
            self._changed.wait_for(lambda: self._opened or not asked.path.startswith("/held"), PATIENCE)
            self.inside -= 1
        peer.reply('"x"')

    def _trickle(self, peer: Peer, _: Asked) -> None:
        peer.head(CHUNKED)
        peer.chunk(b"first")
        peer.wait_until_it_leaves()
        raise ConnectionError

    def open(self) -> None:
        with self._changed:
            self._opened = True
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._opened = False

    def holds(self, count: int) -> None:
        wait_for(lambda: self.inside == count, PATIENCE, f"{count} calls under way")


@pytest.fixture
def gate() -> Iterator[Gate]:
    with Gate() as service:
        yield service
        service.open()


@pytest.fixture
def start(gatherd: Callable[..., Gatherd], gate: Gate) -> Callable[..., Gatherd]:
    """A daemon whose source has that pool."""

    def make(pool: str, *, threads: int = 4, source: str = "", endpoint: str = "", url: str = "") -> Gatherd:
        return gatherd(
            f'server: {{ listen: [ "127.0.0.1:${{PORT}}" ], threads: {threads}, request_timeout: 60s }}\n'
            f"sources: {{ svc: {{ http: \"{url or gate.url}\"{pool and f', pool: {pool}'}{source} }} }}\n"
            'endpoints:\n  "GET /call/{path*}": { gather: { a: { from: svc, get: "/{path}" } } }\n'
            f'  "GET /late/{{path*}}": {{ timeout: 300ms, gather: {{ a: {{ from: svc, get: "/{{path}}" }} }} }}\n{endpoint}'
        )

    return make


def call(daemon: Gatherd, path: str) -> Callable[[], object]:
    return lambda: daemon.get(path, timeout=PATIENCE)


def test_size_is_of_the_process(start: Callable[..., Gatherd], gate: Gate) -> None:
    """Fewer calls than workers: whichever worker has the request, it gets the one that is free."""
    daemon = start("{ size: 2, acquire_timeout: 60s }")
    held = in_background(call(daemon, "/call/held"))
    gate.holds(1)
    for reply in at_once([call(daemon, f"/call/quick-{n}") for n in range(60)]):
        assert good(reply) == {"a": "x"}
    gate.open()
    assert good(held.result(PATIENCE)) == {"a": "x"}
    assert gate.most == 2


def test_all_of_size_run_at_once(start: Callable[..., Gatherd], gate: Gate) -> None:
    daemon = start("{ size: 7, max_waiting: 100, acquire_timeout: 60s }", threads=3)
    calls = [in_background(call(daemon, "/call/held")) for _ in range(20)]
    gate.holds(7)
    gate.open()
    assert [good(one.result(PATIENCE)) for one in calls] == [{"a": "x"}] * 20
    assert gate.most == 7


def test_who_comes_first_is_served_first(start: Callable[..., Gatherd], gate: Gate) -> None:
    daemon = start("{ size: 1, acquire_timeout: 60s }")
    calls = [in_background(call(daemon, "/call/held"))]
    gate.holds(1)
    with Wire(daemon) as wire:
        for n in range(12):
            calls.append(in_background(call(daemon, f"/call/{n}")))
            wait_for(lambda: waiting(daemon) == len(calls) - 1, PATIENCE, "it waits")
        assert wire.get("/-/live").reply().status == 200
    gate.open()
    for one in calls:
        good(one.result(PATIENCE))
    assert gate.order == ["/held", *(f"/{n}" for n in range(12))]


def waiting(daemon: Gatherd) -> int:
    """Tasks that wait for a permit."""
    return daemon.get("/-/tasks").body.count(b"a permit of a shared semaphore")


def test_a_full_queue_and_a_long_wait(start: Callable[..., Gatherd], gate: Gate) -> None:
    daemon = start("{ size: 2, max_waiting: 3, acquire_timeout: 200ms }", threads=2)
    held = [in_background(call(daemon, "/call/held")) for _ in range(2)]
    gate.holds(2)
    replies = at_once([call(daemon, "/call/quick") for _ in range(40)])
    for reply in replies:
        document = problem(reply, 503)
        assert document["detail"] == "The data source is busy." and int(reply.headers["Retry-After"]) >= 1

    def refused() -> list[str]:
        return [line["error"] for line in daemon.log_lines() if line.get("status") == "503"]

    wait_for(lambda: len(refused()) == 40, PATIENCE, "a line in the log for each")
    errors = set(refused())
    full = {error for error in errors if "2 calls are under way (pool.size), and 3 wait (pool.max_waiting)" in error}
    late = {error for error in errors if "2 calls were under way (pool.size), and none ended within pool.acquire_timeout" in error}
    assert full and late and errors == full | late and all("nothing was sent" in error for error in errors)
    gate.open()
    for one in held:
        good(one.result(PATIENCE))
    assert len(gate.asked) == 2, "what was refused was not sent"
    assert good(daemon.get("/call/quick")) == {"a": "x"}


def test_no_waiting_at_all(start: Callable[..., Gatherd], gate: Gate) -> None:
    daemon = start("{ size: 1, max_waiting: 0 }", threads=2)
    held = in_background(call(daemon, "/call/held"))
    gate.holds(1)
    for _ in range(5):
        problem(daemon.get("/call/quick"), 503)
    gate.open()
    good(held.result(PATIENCE))
    assert good(daemon.get("/call/quick")) == {"a": "x"}


def test_the_deadline_while_it_waits(start: Callable[..., Gatherd], gate: Gate) -> None:
    """What was never sent is no 504 of an answer that was awaited."""
    daemon = start("{ size: 1, acquire_timeout: 60s }")
    held = in_background(call(daemon, "/call/held"))
    gate.holds(1)
    reply = daemon.get("/late/quick")
    problem(reply, 503)
    assert int(reply.headers["Retry-After"]) >= 1
    assert "nothing was sent" in request_line(daemon, path="/late/quick")["error"]
    gate.open()
    good(held.result(PATIENCE))
    gate.close()
    reply = daemon.get("/late/held")
    problem(reply, 504)
    assert "the answer was awaited" in request_line(daemon, path="/late/held")["error"]
    assert len(gate.asked) == 2


def test_the_deadline_while_it_connects(start: Callable[..., Gatherd]) -> None:
    """A listener whose queue is full lets nobody in and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        filler = [socket.socket() for _ in range(4)]
        for one in filler:
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        daemon = start("", url=f"http://127.0.0.1:{listener.getsockname()[1]}")
        document = problem(daemon.get("/late/x"), 503)
        assert document["detail"] == "The data source could not be reached in time."
        assert "nothing was sent: the deadline passed while a connection was being made" in request_line(daemon, status="503")["error"]
        for one in filler:
            one.close()


def test_every_way_out_gives_back(start: Callable[..., Gatherd], gate: Gate) -> None:
    """Clients that leave while they wait or while they are answered, services that break, deadlines, retries."""
    daemon = start("{ size: 2, acquire_timeout: 60s }", threads=2, source=", retry: { attempts: 2, backoff: 1ms }")
    for round in range(5):
        wires = [Wire(daemon).get(f"/call/held-{round}") for _ in range(8)]
        gate.holds(2)
        wait_for(lambda: waiting(daemon) == 6, PATIENCE, "six wait")
        for wire in wires[round:] + wires[:round]:
            wire.socket.close()
        wait_for(lambda: daemon.get("/-/tasks").body.count(b"/call/") == 0, PATIENCE, "all to end")
        gate.open()
        gate.holds(0)
        for reply in at_once([call(daemon, "/call/resets") for _ in range(6)]):
            problem(reply, 502)
        gate.close()
        for reply in at_once([call(daemon, "/late/held") for _ in range(6)]):
            problem(reply, 503, 504)
        gate.open()
        gate.holds(0)
        gate.close()
    last = [in_background(call(daemon, "/call/held")) for _ in range(8)]
    wait_for(lambda: waiting(daemon) == 6, PATIENCE, "six wait")
    gate.holds(2)
    gate.open()
    assert [good(one.result(PATIENCE)) for one in last] == [{"a": "x"}] * 8


def test_a_stream_is_a_call_until_it_is_closed(start: Callable[..., Gatherd], gate: Gate, module: Callable[..., Path]) -> None:
    parameters = "ask: { type: string }, most: { type: integer, default: 0 }, pause_ms: { type: integer, default: 0 }, source: { type: string, default: svc }"
    handlers = "".join(f'  "GET /{name}": {{ handler: "{module("http")}:{name}", parameters: {{ {parameters} }} }}\n' for name in ("stream", "call"))
    daemon = start("{ size: 1, max_waiting: 0 }", endpoint=handlers)
    where = quote(json.dumps({"path": "/trickles"}), safe="")
    for n in range(3):
        with Wire(daemon) as wire:
            wire.get(f"/stream?ask={where}")
            wait_for(lambda: len(gate.of("/trickles")) == n + 1, PATIENCE, "the stream to begin")
            problem(daemon.get("/call/quick"), 503)
        wait_for(lambda: daemon.get("/call/quick").status == 200, PATIENCE, "the call to be given back")
    quick = quote(json.dumps({"path": "/quick"}), safe="")
    for _ in range(5):
        for name in ("stream", "call"):
            assert daemon.get(f"/{name}?ask={quick}").status == 200


def test_an_idle_connection_is_not_used_for_ever(start: Callable[..., Gatherd], gate: Gate) -> None:
    daemon = start("{ idle_timeout: 1s }", threads=1)
    good(daemon.get("/call/quick"))
    before = gate.connections
    threading.Event().wait(2.5)
    good(daemon.get("/call/quick"))
    assert gate.connections == before + 1


@pytest.mark.parametrize(
    "pool, message",
    [
        ("{ size: 0 }", "size"),
        ("{ size: 10001 }", "size"),
        ("{ idle_timeout: 1ms }", "idle_timeout"),
        ("{ max_in_flight: 3 }", "max_in_flight"),
        ("{ acquire_timeout: 0 }", "acquire_timeout"),
    ],
)
def test_pools_that_are_refused(program: Path, tmp_path: Path, pool: str, message: str) -> None:
    (tmp_path / "g.yaml").write_text(f'sources: {{ s: {{ http: "http://x", pool: {pool} }} }}\nendpoints: {{ "GET /": {{ respond: 1 }} }}\n')
    done = subprocess.run([program, "check", "-c", tmp_path / "g.yaml"], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and message in done.stderr


def test_a_pool_may_be_smaller_than_threads(start: Callable[..., Gatherd], gate: Gate) -> None:
    daemon = start("{ size: 1 }", threads=8)
    assert good(daemon.get("/call/quick")) == {"a": "x"}
