"""The log as JSON and in the journal, its bounds, and what repeats."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import Gatherd
from support import wait_for

HELLO = """
server: { listen: [ "127.0.0.1:${PORT}" ], threads: 2 }
log: { %s }
endpoints:
  "GET /hello": { respond: { hello: true } }
  "GET /p/{x}": { parameters: { x: { type: string } }, respond: { x: "{x}" } }
  "GET /handler": { handler: "%s:say" }
"""
SAY = """
#include <gatherd.h>
int say(gd_request *req)
{
	for (int i = 0; i < 100; i++)
		gd_log(GD_LOG_ERROR, "it broke");
	return gd_reply(req, 200, gd_list());
}
"""


@pytest.fixture
def run(gatherd: Callable[..., Gatherd], module: Callable[..., Path]) -> Callable[..., Gatherd]:
    return lambda log, **options: gatherd(HELLO % (log, module("say", SAY)), **options)


def objects(daemon: Gatherd) -> list[dict]:
    return [json.loads(line) for line in daemon.log().splitlines()]


def test_json_whatever_a_path_holds(run: Callable[..., Gatherd]) -> None:
    """An object a line, with the keys of a logfmt line in the same order; numbers are numbers, texts are texts."""
    daemon = run("format: json")
    for byte in range(256):
        daemon.raw(b"GET /p/%%%02x%c HTTP/1.0\r\n\r\n" % (byte, byte), timeout=2)
    wait_for(lambda: sum(line["msg"] == "request" for line in objects(daemon)) > 200)
    daemon.get("/hello", headers={"X-Request-Id": "12345678901234567890123456789012"})
    wait_for(lambda: [line for line in objects(daemon) if line.get("id") == "12345678901234567890123456789012"])
    (line,) = [line for line in objects(daemon) if line.get("id") == "12345678901234567890123456789012"]
    assert list(line)[:7] == ["time", "level", "msg", "id", "method", "path", "status"]
    assert line["status"] == 200 and isinstance(line["bytes"], int) and isinstance(line["ms"], float)


@pytest.mark.parametrize(("requests", "lines"), [("all", 30), ("errors", 0), ("none", 0)])
def test_which_requests_have_a_line(requests: str, lines: int, run: Callable[..., Gatherd]) -> None:
    daemon = run(f"requests: {requests}")
    for _ in range(30):
        assert daemon.get("/hello").status == 200
    daemon.stop()
    assert sum(line.get("path") == "/hello" for line in daemon.log_lines()) == lines


def test_requests_have_a_budget(run: Callable[..., Gatherd]) -> None:
    """Of an hour, so that no window ends meanwhile; what is left out is counted."""
    daemon = run("most: 10/h")
    with contextlib.closing(daemon.connection()) as connection:
        for _ in range(100):
            connection.request("GET", "/hello")
            assert connection.getresponse().read()
    wait_for(lambda: [line for line in daemon.log_lines() if line["msg"] == "lines of requests left out"], timeout=30)
    requests = sum(line["msg"] == "request" for line in daemon.log_lines())
    left_out = sum(int(line["lines"]) for line in daemon.log_lines() if line["msg"] == "lines of requests left out")
    # The harness has asked for /-/live until it was there. An hour may begin in between, once.
    assert requests in (10, 20) and requests + left_out >= 100


def test_what_repeats_becomes_one_line(run: Callable[..., Gatherd]) -> None:
    daemon = run("level: info")
    for _ in range(10):
        assert daemon.get("/handler").status == 200
    daemon.stop()
    lines = [line for line in daemon.log_lines() if line["msg"] == "it broke"]
    shown = [line for line in lines if "repeated" not in line]
    # A window has ten seconds; on a slow machine there may be more than one.
    assert len(shown) == 5 * sum("repeated" in line for line in lines)
    assert len(shown) + sum(int(line["repeated"]) for line in lines if "repeated" in line) == 1000


# --- the journal ---

JOURNAL = Path("/run/systemd/journal/socket")


def fields(entry: bytes) -> dict[str, str]:
    """As journald reads them."""
    found = {}
    while entry:
        end = entry.index(b"\n")
        name, equals, value = entry[:end].partition(b"=")
        entry = entry[end + 1 :]
        if not equals:
            (size,) = struct.unpack_from("<Q", entry)
            value, entry = entry[8 : 8 + size], entry[8 + size + 1 :]
        found[name.decode()] = value.decode()
    return found


class Journal:
    """In the place of journald, of which this machine has none."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(JOURNAL))
        self.entries: list[bytes] = []
        self.reads = threading.Event()
        self.reads.set()
        self.ending = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        self.socket.settimeout(0.1)
        while not self.ending:
            self.reads.wait()
            with contextlib.suppress(TimeoutError):
                self.entries.append(self.socket.recv(1 << 20))

    def close(self) -> None:
        self.ending = True
        self.reads.set()
        self.thread.join(10)
        self.socket.close()
        JOURNAL.unlink()

    def messages(self) -> list[dict[str, str]]:
        return [fields(entry) for entry in list(self.entries)]


@pytest.fixture
def journal() -> Iterator[Journal]:
    """One test at a time: the path is journald's own."""
    if os.geteuid() != 0:
        pytest.skip("/run/systemd/journal is root's")
    lock = socket.socket(socket.AF_UNIX)
    deadline = time.monotonic() + 120
    while True:
        with contextlib.suppress(OSError):
            lock.bind("\0gatherd-journal")
            break
        assert time.monotonic() < deadline
        time.sleep(0.05)
    if JOURNAL.exists():
        lock.close()
        pytest.skip("a journald runs here")
    JOURNAL.parent.mkdir(parents=True, exist_ok=True)
    try:
        journal = Journal()
        yield journal
        journal.close()
    finally:
        lock.close()


def in_the_journal(run: Callable[..., Gatherd], log: str) -> Gatherd:
    daemon = run(log, start=False)
    daemon.log_path.touch()
    status = daemon.log_path.stat()
    daemon.env["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino}"
    daemon.start()
    return daemon


def test_entries_of_the_journal(journal: Journal, run: Callable[..., Gatherd]) -> None:
    daemon = in_the_journal(run, "level: info")
    daemon.get("/p/a%0Ab", headers={"X-Request-Id": "one"})
    wait_for(lambda: [m for m in journal.messages() if m.get("GATHERD_ID") == "one"])
    (m,) = [m for m in journal.messages() if m.get("GATHERD_ID") == "one"]
    assert m["MESSAGE"].startswith("GET /p/a%0Ab 200 ") and m["MESSAGE"].endswith(" ms")
    assert m["PRIORITY"] == "6" and m["SYSLOG_IDENTIFIER"] == "gatherd" and m["GATHERD_STATUS"] == "200"
    (started,) = [m for m in journal.messages() if m.get("GATHERD_MSG") == "started"]
    assert len(started["MESSAGE_ID"]) == 32
    daemon.stop()
    assert [m for m in journal.messages() if m.get("GATHERD_MSG") == "stopped"]
    assert all(len(entry) <= 16384 for entry in journal.entries)
    assert "msg=" not in daemon.log()


def test_repeats_do_not_flood_the_journal(journal: Journal, run: Callable[..., Gatherd]) -> None:
    daemon = in_the_journal(run, "requests: none")
    for _ in range(100):
        daemon.get("/handler")
    daemon.stop()
    # Ten windows of ten seconds at the most.
    assert len(journal.entries) <= 60 + 60


def test_a_journal_that_does_not_read_holds_nobody_up(journal: Journal, run: Callable[..., Gatherd]) -> None:
    daemon = in_the_journal(run, "most: 1000000/s")
    journal.reads.clear()
    with contextlib.closing(daemon.connection()) as connection:
        for _ in range(2000):
            connection.request("GET", "/hello")
            assert connection.getresponse().read()
    journal.reads.set()
    daemon.stop()
