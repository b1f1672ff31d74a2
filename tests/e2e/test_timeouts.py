"""Clients that take their time: idle between requests, slow with a body, slow with a reply."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from harness import Gatherd
from support import Wire, good, in_background, problem, request_line, stopwatch

MIB = 1 << 20
SIZE = 8 * MIB

CONFIG = """
server:
  listen: [ "127.0.0.1:${PORT}", "unix:${FOLDER}/http.sock" ]
  threads: 1
  idle_timeout: 2s
  read_timeout: 1s
  write_timeout: 2s
sources:
  folder: { files: "${FOLDER}", max_size: 16MiB }
endpoints:
  "GET /": { respond: here }
  "POST /": { body: { type: object }, respond: "{body}" }
  "GET /whole": { gather: { text: { from: folder, read: large } }, respond: "{text}" }
  "GET /pieces": { gather: { file: { from: folder, send: large } } }
"""


@pytest.fixture(scope="module")
def daemon(module_gatherd: Callable[..., Gatherd]) -> Gatherd:
    return module_gatherd(CONFIG, files={"large": b"x" * SIZE})


@contextlib.contextmanager
def narrow(daemon: Gatherd, kind: str) -> Iterator[socket.socket]:
    """A client whose kernel takes little for it."""
    client = socket.socket(socket.AF_UNIX if kind == "unix" else socket.AF_INET)
    with client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
        client.settimeout(30)
        client.connect(str(daemon.folder / "http.sock") if kind == "unix" else ("127.0.0.1", daemon.port))
        yield client


def taken_by(client: socket.socket, piece: int, pause: float, goes_on: Callable[[], bool] = lambda: True) -> int:
    """Read until the end, so much at a time; how much it was."""
    taken = 0
    with contextlib.suppress(ConnectionResetError):
        while goes_on() and (chunk := client.recv(piece)):
            taken += len(chunk)
            time.sleep(pause)
    return taken


def test_an_idle_connection_ends(daemon: Gatherd) -> None:
    with Wire(daemon) as silent, Wire(daemon) as quiet, Wire(daemon) as busy, stopwatch() as took:
        assert good(quiet.get("/").reply()) == "here"
        for ended in [in_background(silent.ended), in_background(quiet.ended)]:
            while ended.running:
                assert good(busy.get("/").reply()) == "here", "one that is used stays"
                time.sleep(0.1)
            assert ended.result()
    assert 1.9 < took.seconds < 10


def test_a_slow_body_is_given_up(daemon: Gatherd) -> None:
    with Wire(daemon) as wire, stopwatch() as took:
        wire.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{")
        reply = in_background(wire.reply)
        while reply.running:
            with contextlib.suppress(OSError):  # it has closed meanwhile
                wire.send(" ")
            time.sleep(0.1)
        problem(reply.result(), 408)
    assert 0.9 < took.seconds < 10


@pytest.mark.parametrize("path", ["/whole", "/pieces"])
@pytest.mark.parametrize("kind", ["tcp", "unix"])
@pytest.mark.parametrize(("piece", "pause"), [(0, 0), (64, 0.1)], ids=["never", "now and then"])
def test_a_reply_that_is_hardly_taken_is_given_up(daemon: Gatherd, kind: str, path: str, piece: int, pause: float) -> None:
    mark = f"hardly-{kind}-{path[1:]}-{piece}"
    given_up = threading.Event()
    with narrow(daemon, kind) as client, stopwatch() as took:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\nX-Request-Id: {mark}\r\n\r\n".encode())
        reader = in_background(lambda: taken_by(client, piece, pause, lambda: not given_up.is_set()) if piece else 0)
        line = request_line(daemon, id=mark)
        given_up.set()
        assert reader.result() + taken_by(client, MIB, 0) < SIZE
    assert line["status"] == "200" and "write_timeout" in line["error"] and int(line["bytes"]) < SIZE
    assert 1.9 < took.seconds < 20
    assert good(daemon.get("/")) == "here"


@pytest.mark.parametrize("path", ["/whole", "/pieces"])
@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_reply_may_take_its_time(daemon: Gatherd, kind: str, path: str) -> None:
    with narrow(daemon, kind) as client, stopwatch() as took:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
        assert taken_by(client, 96 * 1024, 0.05) > SIZE
    assert took.seconds > 4, "longer than write_timeout"
