"""examples/handlers and docs/from-asyncio.md: every module is built and served, every Python program is run, and each of
the page's pairs gives the same JSON."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import Gatherd, Mongo, Postgres

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


@pytest.fixture(scope="module")
def daemon(
    module_gatherd: Callable[..., Gatherd], modules: Path, pages: Gatherd, papers: Path
) -> Iterator[Gatherd]:
    yield module_gatherd(
        modules / "handlers.yaml", env={"PAGES": f"http://127.0.0.1:{pages.port}", "PAPERS": str(papers)}
    )


@pytest.mark.parametrize("name", PAIRS)
def test_python_and_c_say_the_same(
    name: str, daemon: Gatherd, pages: Gatherd, papers: Path, postgres: Postgres, mongo: Mongo
) -> None:
    environment = os.environ | {
        "PAGES": f"http://127.0.0.1:{pages.port}",
        "PAPERS": str(papers),
        "PG": postgres.url("test"),
        "MONGO": mongo.url("test"),
    }
    python = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert python.returncode == 0, python.stderr
    answer = daemon.get(f"/{name}")
    assert answer.status == 200, answer.text
    assert answer.json() == json.loads(python.stdout)


def test_the_page_shows_the_programs_that_are_run() -> None:
    shown = blocks()
    assert sorted(name.removesuffix(".py") for name in shown if name.endswith(".py")) == PAIRS
    assert len(PAIRS) >= 9
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
