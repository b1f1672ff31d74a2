"""examples/handlers and docs/from-asyncio.md: every module is built and served, every Python program is run, each pair gives
the same JSON, and the page shows or links them all."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import Gatherd, Mongo, Postgres
from support import good, in_background, problem, wait_for

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples/handlers"
PAGE = ROOT / "docs/from-asyncio.md"
PAIRS = sorted(path.stem for path in EXAMPLES.glob("*.py"))
PAPERS = {"one.txt": "one\n", "two.txt": "two\n", "three.txt": "three\n"}


def blocks() -> dict[str, str]:
    """The page's programs by the name of the file that each of them is: a block's first line says it."""
    found = re.findall(r"^```(?:python|c)\n(?:#|//) (\S+)\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return dict(found)


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with handlers.yaml and all modules, built as the README of the examples says."""
    folder = tmp_path_factory.mktemp("handlers")
    shutil.copy(EXAMPLES / "handlers.yaml", folder)
    environment = {name: value for name, value in os.environ.items() if name != "PKG_CONFIG_PATH"}
    subprocess.run(["make", "-s", "-C", EXAMPLES, f"OUT={folder}", "CFLAGS=-O1 -g -Werror"], check=True, env=environment)
    return folder


@pytest.fixture(scope="module")
def pages(module_gatherd: Callable[..., Gatherd]) -> Gatherd:
    return module_gatherd(EXAMPLES / "pages.yaml")


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("papers")
    for name, text in PAPERS.items():
        (folder / name).write_text(text)
    return folder


def environment(pages: Gatherd, papers: Path) -> dict[str, str]:
    return {"PAGES": f"http://127.0.0.1:{pages.port}", "PAPERS": str(papers)}


@pytest.fixture(scope="module")
def daemon(
    module_gatherd: Callable[..., Gatherd], modules: Path, pages: Gatherd, papers: Path
) -> Iterator[Gatherd]:
    yield module_gatherd(modules / "handlers.yaml", env=environment(pages, papers))


@pytest.fixture
def ends(gatherd: Callable[..., Gatherd], modules: Path, pages: Gatherd, tmp_path: Path) -> Gatherd:
    """One that the test may end, with a folder of its own."""
    return gatherd(modules / "handlers.yaml", env=environment(pages, tmp_path))


@pytest.mark.parametrize("name", PAIRS)
def test_python_and_c_say_the_same(
    name: str, daemon: Gatherd, pages: Gatherd, papers: Path, postgres: Postgres, mongo: Mongo
) -> None:
    databases = {"PG": postgres.url("test"), "MONGO": mongo.url("test")}
    python = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"],
        env=os.environ | environment(pages, papers) | databases,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert python.returncode == 0, python.stderr
    answer = daemon.get(f"/{name}")
    assert answer.status == 200, answer.text
    assert answer.json() == json.loads(python.stdout)


def test_the_page_shows_the_programs_that_are_run() -> None:
    shown = blocks()
    assert len(shown) == 8
    linked = set(re.findall(r"\(\.\./examples/handlers/(\w+\.(?:py|c))\)", PAGE.read_text()))
    assert set(shown).isdisjoint(linked)
    pairs = {f"{name}.{ending}" for name in PAIRS for ending in ("py", "c")}
    assert len(PAIRS) >= 9
    assert set(shown) | linked == pairs
    for name, text in shown.items():
        program = (EXAMPLES / name).read_text()
        assert text.strip() == re.sub(r"\A/\*.*?\*/\n", "", program, flags=re.DOTALL).strip(), name


def test_every_module_is_served() -> None:
    served = set(re.findall(r"(\w+)\.so:", (EXAMPLES / "handlers.yaml").read_text()))
    assert served == {path.stem for path in EXAMPLES.glob("*.c")}


def test_export_streams_a_table(daemon: Gatherd) -> None:
    answer = daemon.get("/export")
    assert answer.status == 200
    lines = answer.text.split("\r\n")
    assert lines[0] == "id,name"
    assert lines[1].startswith('1,"')
    assert len(lines) == 102 and lines[-1] == ""


def test_relay_passes_on_what_a_service_answers(daemon: Gatherd) -> None:
    found, missing, strange = (daemon.get(f"/relay/{page}") for page in ("3", "15", "a%2F..%2Fb"))
    assert good(found) == {"page": 3}
    assert [reply.status for reply in (missing, strange)] == [400, 400]
    assert missing.headers["Content-Type"] == "application/problem+json"


def test_who_blocks_is_told(daemon: Gatherd) -> None:
    assert daemon.get("/blocks").status == 200

    def told() -> list[dict[str, str]]:  # a loop may be late on a busy machine, too
        return [line for line in daemon.log_lines() if (line.get("msg"), line.get("task")) == ("the loop is blocked", "GET /blocks")]

    assert any(" (blocks.c:" in line["where"] for line in wait_for(told, 20))


def test_events_are_sent_as_they_happen(daemon: Gatherd) -> None:
    answer = daemon.get("/events?count=3&every_ms=10")
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.text.count("event: tick\n") == 3
    assert "id: 2\nevent: tick\ndata: the clock\ndata: ticks\n\n" in answer.text or (
        "event: tick\nid: 2\ndata: the clock\ndata: ticks\n\n" in answer.text
    )


def test_the_poller_has_seen_a_page(daemon: Gatherd) -> None:
    deadline = time.monotonic() + 20
    while (answer := daemon.get("/poller")).status == 503 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert answer.json() == {"page": 1}


def test_an_upload_can_be_read_again(daemon: Gatherd) -> None:
    boundary = "x-boundary-x"
    body = (
        f"--{boundary}\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nA paper\r\n"
        f"--{boundary}\r\nContent-Disposition: form-data; name=\"paper\"; filename=\"mine.txt\"\r\n"
        f"Content-Type: text/plain\r\n\r\nwhat it says\n\r\n--{boundary}--\r\n"
    )
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    answer = daemon.post("/papers", body=body, headers=headers)
    assert answer.status == 201, answer.text
    assert answer.json() == {"title": "A paper", "size": 13}
    assert answer.headers["location"] == "/papers/mine.txt"
    again = daemon.get("/papers/mine.txt", headers={"Range": "bytes=5-6"})
    assert (again.status, again.text) == (206, "it")


def form(boundary: str, name: str) -> str:
    return (
        f'--{boundary}\r\nContent-Disposition: form-data; name="title"\r\n\r\nA paper\r\n'
        f'--{boundary}\r\nContent-Disposition: form-data; name="paper"; filename="{name}"\r\n'
        f"Content-Type: text/plain\r\n\r\nwhat it says\n\r\n--{boundary}--\r\n"
    )


def test_a_form_without_a_chosen_file_is_refused(daemon: Gatherd) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    refused = daemon.post("/papers", body=form("x", ""), headers=headers)
    assert problem(refused, 400)["detail"] == "There is no file 'paper' in the form."


# -- jobs --


def test_jobs_are_done_and_too_many_refused(daemon: Gatherd, papers: Path) -> None:
    replies = [daemon.post("/jobs", json_body={"page": 100 + n}) for n in range(80)]
    accepted = [reply for reply in replies if reply.status == 202]
    assert len(accepted) >= 10
    full = [reply for reply in replies if reply.status != 202]
    assert full and all(problem(reply, 503)["detail"] == "Too many jobs are waiting." for reply in full)
    wait_for(lambda: daemon.log().count("is given up") == len(accepted), 30)

    wait_for(lambda: daemon.post("/jobs", json_body={"page": 7}).status == 202, 30)
    wait_for(lambda: (papers / "page-7.json").exists(), 30)
    assert json.loads((papers / "page-7.json").read_text()) == {"page": 7}
    assert wait_for(lambda: (count := good(daemon.get("/jobs")))["waiting"] == 0 and count, 30)


def test_jobs_that_were_accepted_are_done_before_the_end(ends: Gatherd, tmp_path: Path) -> None:
    accepted = [n for n in range(15) if ends.post("/jobs", json_body={"page": n}).status == 202]
    ends.stop()
    assert len(accepted) >= 10
    assert {path.name for path in tmp_path.glob("page-*.json")} >= {f"page-{n}.json" for n in accepted}


# -- the feed --


class Reader:
    """Reads a feed in a thread of its own, where it is not slow."""

    def __init__(self, daemon: Gatherd, *, slow: bool = False) -> None:
        self.connection = daemon.connection()
        self.connection.connect()
        if slow:
            self.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.connection.request("GET", "/feed")
        self.response = self.connection.getresponse()
        self.texts: list[str] = []
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.ended = False
        if not slow:
            self.thread.start()

    def _read(self) -> None:
        for line in self.response:
            if line.startswith(b"data: "):
                self.texts.append(line.decode().removeprefix("data: ").rstrip("\n"))
        self.ended = True

    def end(self) -> None:
        """Read on to the feed's end: its proper one, not that of its connection."""
        if not self.thread.ident:
            self.connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            self.thread.start()
        self.thread.join(30)
        assert self.ended

    def since(self, text: str) -> list[str]:
        return self.texts[self.texts.index(text) + 1 :] if text in self.texts else []


def hear(daemon: Gatherd, readers: list[Reader]) -> None:
    """Until all of them hear what is published."""

    def heard() -> bool:
        assert daemon.post("/feed", json_body={"text": "hello"}).status == 202
        return all("hello" in reader.texts for reader in readers)

    wait_for(heard, 30)


def test_a_feed_reaches_all_and_ends_with_the_daemon(ends: Gatherd, postgres: Postgres) -> None:
    readers = [Reader(ends) for _ in range(10)]
    hear(ends, readers)
    postgres.sql("do $$ begin for i in 0..499 loop perform pg_notify('feed', 'n' || i); end loop; end $$", "test")
    wait_for(lambda: all("n499" in reader.texts for reader in readers), 30)
    stopped = in_background(ends.stop)
    for reader in readers:
        reader.end()
        assert [text for text in reader.texts if text != "hello"] == [f"n{i}" for i in range(500)]
    assert stopped.result() == 0


def test_a_reader_that_is_too_slow_is_sent_away(ends: Gatherd, postgres: Postgres) -> None:
    slow, fast = Reader(ends, slow=True), Reader(ends)
    hear(ends, [fast])
    for n in range(10):
        postgres.sql(
            f"do $$ begin for i in 1..150 loop perform pg_notify('feed', i || repeat('x', 7900)); end loop;"
            f" perform pg_notify('feed', 'end of {n}'); end $$",
            "test",
        )
        wait_for(lambda: f"end of {n}" in fast.texts, 30)
    slow.end()
    assert "end of 9" not in slow.texts and "1" + "x" * 7900 in slow.texts
    hear(ends, [fast])


# -- clients that do not wait --


def test_clients_that_leave_break_no_example(ends: Gatherd) -> None:
    paths = re.findall(r'"GET (/[^"]*)"', (EXAMPLES / "handlers.yaml").read_text())
    assert len(paths) >= 20
    for path in paths:
        for delay in (0, 0.001, 0.004, 0.012, 0.03):
            with ends.connect() as client:
                client.sendall(f"GET {path.replace('{', '').replace('}', '')} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                time.sleep(delay)
    assert good(ends.get("/completed"))["in order"] == [3, 1, 2]
