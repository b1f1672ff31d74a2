"""Files read and written by handlers in C: whole ones, open ones, and that nothing leads out of a source's folder."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from harness import Gatherd
from support import Wire, at_once, good, problem, wait_for

EINVAL, EPERM, ENOENT, EFBIG = -errno.EINVAL, -errno.EPERM, -errno.ENOENT, -errno.EFBIG
EBADF, EBUSY, ECANCELED = -errno.EBADF, -errno.EBUSY, -errno.ECANCELED
READ, WRITE, READ_WRITE, APPEND = range(4)
NAMES = ("whole", "at_once", "script", "failing", "left", "nothing")
PARAMETERS = (
    "parameters: { op: { type: string, default: read }, path: { type: string, default: a.txt }, json: { type: string, default: '' }, "
    "reply: { type: integer, default: 0 }, mode: { type: integer, default: 0 }, script: { type: string, default: '' }, "
    "source: { type: string, default: rw } }"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "a.txt").write_text("caf\u00e9\n")
    (folder / "empty").touch()
    (folder / "nul").write_bytes(b"a\0b")
    (folder / "latin").write_bytes(b"\xff\xfe")
    (folder / "large.bin").write_bytes(b"x" * (8 << 20))
    (folder / "shared.txt").write_text("a" * 100000)
    (folder / "sub/b.json").write_text('{"b": 1}')
    (folder / "link").symlink_to(tmp_path / "secret.txt")
    (folder / "inner").symlink_to("a.txt")
    (folder / "up").symlink_to(tmp_path)
    os.mkfifo(folder / "fifo")
    return folder


@pytest.fixture
def daemon(gatherd: Callable[..., Gatherd], module: Callable[..., Path], folder: Path) -> Gatherd:
    path = module("files")
    endpoints = "".join(f'  "GET /{name}": {{ handler: "{path}:{name}", {PARAMETERS} }}\n' for name in NAMES)
    sources = f'  ro: {{ files: "{folder}" }}\n  rw: {{ files: "{folder}", write: true, max_size: 1MiB }}\n'
    return gatherd(f'server: {{ listen: [ "127.0.0.1:${{PORT}}" ], threads: 2 }}\nsources:\n{sources}endpoints:\n{endpoints}')


def target(handler: str, **values: Any) -> str:
    return f"/{handler}?" + "&".join(f"{name}={quote(str(value), safe='')}" for name, value in values.items())


def whole(daemon: Gatherd, op: str, path: str, source: str = "rw", **values: Any) -> Any:
    if "json" in values:
        values["json"] = json.dumps(values["json"])
    return good(daemon.get(target("whole", op=op, path=path, source=source, **values)))


def script(daemon: Gatherd, path: str, mode: int, text: str, source: str = "rw") -> Any:
    return good(daemon.get(target("script", path=path, mode=mode, script=text, source=source)))


# -- whole files --


def test_what_is_read(daemon: Gatherd) -> None:
    assert whole(daemon, "read", "a.txt", "ro") == {"value": "caf\u00e9\n", "bytes": 0}
    assert whole(daemon, "read", "sub/b.json", "ro") == {"value": '{"b": 1}', "bytes": 0}
    assert whole(daemon, "read", "empty", "ro") == {"value": "", "bytes": 0}
    assert whole(daemon, "read", "nul", "ro") == {"value": "YQBi", "bytes": 1}
    assert whole(daemon, "read", "latin", "ro") == {"value": "//4=", "bytes": 1}
    assert whole(daemon, "read", "large.bin")["failed"] == EFBIG


def test_stat_and_list(daemon: Gatherd) -> None:
    stat = whole(daemon, "stat", "sub/b.json", "ro")["value"]
    assert (stat["name"], stat["size"], stat["type"]) == ("b.json", 8, "file")
    names = {entry["name"]: entry["type"] for entry in whole(daemon, "list", "", "ro")["value"]}
    assert names == dict.fromkeys(("a.txt", "empty", "large.bin", "latin", "nul", "shared.txt"), "file") | {"sub": "folder"}
    assert whole(daemon, "list", ".", "ro") == whole(daemon, "list", "", "ro")
    assert [entry["name"] for entry in whole(daemon, "list", "sub", "ro")["value"]] == ["b.json"]


def test_write_append_remove(daemon: Gatherd, folder: Path) -> None:
    written = whole(daemon, "write", "new.txt", json="\u00e9")["value"]
    assert (written["name"], written["size"]) == ("new.txt", 2)
    for content, text in [("x\0y", b"x\0y"), ({"a": [1, None]}, b'{"a":[1,null]}\n'), (5, b"5\n"), (True, b"true\n")]:
        whole(daemon, "write", "sub/new", json=content)
        assert (folder / "sub/new").read_bytes() == text
    whole(daemon, "bytes", "sub/new")
    assert (folder / "sub/new").read_bytes() == b"\xff\0\xfe"
    for n in (1, 2):
        assert whole(daemon, "append", "log", json="line\n")["value"]["size"] == 5 * n
    assert whole(daemon, "remove", "log")["value"]["name"] == "log"
    assert not (folder / "log").exists()
    assert whole(daemon, "remove", "log") == whole(daemon, "remove", "log")
    assert whole(daemon, "remove", "log")["status"] == 404


def test_what_would_be_too_large(daemon: Gatherd, folder: Path) -> None:
    (folder / "full").write_bytes(b"x" * (1 << 20))
    got = whole(daemon, "append", "full", json="y")
    assert (got["failed"], got["status"]) == (EFBIG, 500)
    assert (folder / "full").stat().st_size == 1 << 20


@pytest.mark.parametrize("op", ["read", "stat", "list", "write", "bytes", "append", "remove"])
def test_nothing_leads_out(daemon: Gatherd, folder: Path, op: str) -> None:
    before = sorted(str(path) for path in folder.parent.rglob("*"))
    secret = str(folder.parent / "secret.txt")
    paths = ["../secret.txt", "sub/../../secret.txt", "..", "sub/..", secret, "/etc/passwd", "link", "up/secret.txt", "sub/../a.txt", "fifo", "none/x"]
    for path in [*paths, "inner"]:
        got = whole(daemon, op, path, json="mine")
        if op == "bytes" and path == "fifo":
            continue
        assert got.get("status") == 404, (path, got)
        assert "secret\n" not in json.dumps(got)
    problem(daemon.get(target("whole", op=op, path="../secret.txt", json='"x"', reply=1)), 404)
    assert (folder.parent / "secret.txt").read_text() == "secret"
    assert sorted(str(path) for path in folder.parent.rglob("*")) == before


@pytest.mark.parametrize("op", ["write", "bytes", "append", "remove"])
def test_what_may_only_be_read(daemon: Gatherd, folder: Path, op: str) -> None:
    got = whole(daemon, op, "a.txt", "ro", json="x")
    assert (got["failed"], got["status"]) == (EPERM, 500)
    assert "write: true" in got["text"] and "source ro" in got["text"]
    for mode in (WRITE, READ_WRITE, APPEND):
        assert script(daemon, "a.txt", mode, "w1 x0", "ro") == [EPERM, EPERM]
    assert (folder / "a.txt").read_text() == "caf\u00e9\n"


def test_names_that_are_too_long(daemon: Gatherd) -> None:
    assert whole(daemon, "read", "x" * 300)["status"] == 404
    assert whole(daemon, "write", "x" * 300, json="y")["status"] in (400, 500)


def test_a_write_is_never_seen_half(daemon: Gatherd, folder: Path) -> None:
    assert len(good(daemon.get("/at_once"))) == 8
    stop, torn = threading.Event(), []

    def look() -> None:
        while not stop.is_set():
            text = (folder / "shared.txt").read_bytes()
            if len(text) != 100000 or text.count(text[:1]) != 100000:
                torn.append(text[:10])

    looker = threading.Thread(target=look)
    looker.start()
    replies = at_once([lambda: daemon.get("/at_once")] * 6)
    stop.set()
    looker.join()
    assert all(good(reply) == [1] * 8 for reply in replies)
    assert not torn
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".gatherd")]


# -- open files --


def test_reading_and_seeking(daemon: Gatherd, folder: Path) -> None:
    (folder / "digits").write_text("0123456789")
    assert script(daemon, "digits", READ, "r3 r3 s1 r2 c-1 r2 e-2 r5 r5 e5 r1 s0 r10 x0") == [
        "012", "345", 1, "12", 2, "23", 8, "89", 0, 15, 0, 0, "0123456789", 0,
    ]  # fmt: skip
    assert script(daemon, "digits", READ, "s-1 c-5 e-11 q7 s4 c-4 r1") == [EINVAL] * 4 + [4, 0, "0"]
    assert script(daemon, "digits", READ, "w1 r1 x1 x0 r1 s0") == [EBADF, "0", 0, EBADF, EBADF, EBADF]
    assert script(daemon, "large.bin", READ, "r8388608 r1", "ro") == [8 << 20, 0]
    assert script(daemon, "digits", READ, "r0") == [0]


def test_writing(daemon: Gatherd, folder: Path) -> None:
    assert script(daemon, "new", WRITE, "w3 s5 w2 r1 e0 x1") == [3, 5, 2, EBADF, 7, 0]
    assert (folder / "new").read_bytes() == b"www\0\0ww"
    assert script(daemon, "new", WRITE, "x0") == [0]
    assert (folder / "new").read_bytes() == b""
    (folder / "new").write_text("0123")
    assert script(daemon, "new", READ_WRITE, "s1 w1 r1 e0 w2 s0 r9") == [1, 1, "2", 4, 2, 0, "0w23ww"]
    assert script(daemon, "none", READ_WRITE, "w1") == [ENOENT]
    (folder / "log").write_text("a")
    assert script(daemon, "log", APPEND, "w2 s0 w1 c0 r1 x1") == [2, 0, 1, 4, EBADF, 0]
    assert (folder / "log").read_text() == "awww"
    assert script(daemon, "made", APPEND, "w1 x1") == [1, 0]


def test_an_open_file_does_not_grow_beyond_max_size(daemon: Gatherd, folder: Path) -> None:
    assert script(daemon, "big", WRITE, "w1048576 w1 s1048575 w2 w1 x0") == [1 << 20, EFBIG, 1048575, EFBIG, 1, 0]
    assert (folder / "big").stat().st_size == 1 << 20
    assert script(daemon, "big2", WRITE, "w1048577 x0") == [EFBIG, 0]
    assert (folder / "big2").stat().st_size == 0
    assert script(daemon, "big", APPEND, "w1") == [EFBIG]


@pytest.mark.parametrize("path", ["../secret.txt", "/etc/passwd", "link", "up/secret.txt", "sub", "none", "fifo", "sub/../a.txt"])
def test_an_open_file_leads_nowhere_else(daemon: Gatherd, folder: Path, path: str) -> None:
    for mode in (READ, WRITE, APPEND) if path != "none" else (READ,):
        [r] = script(daemon, path, mode, "x0")
        assert r < 0
    problem(daemon.get(target("failing", path=path)), 404)
    assert (folder.parent / "secret.txt").read_text() == "secret"


def test_a_reader_that_leaves_closes_its_file(daemon: Gatherd) -> None:
    for _ in range(20):
        assert good(daemon.get("/left")) == [EBUSY, ECANCELED, EBADF, EBADF]


def test_files_left_open_are_closed(daemon: Gatherd) -> None:
    good(daemon.get(target("script", path="a.txt", script="r1")))
    before = daemon.fds
    for _ in range(50):
        good(daemon.get(target("script", path="a.txt", script="r1")))
    wait_for(lambda: daemon.fds <= before + 2, 10, "the descriptors to be closed")


def test_clients_that_leave_take_nothing_along(daemon: Gatherd) -> None:
    before = daemon.fds
    for _ in range(20):
        with Wire(daemon) as wire:
            wire.get(target("script", path="large.bin", source="ro", script="r8388608 s0 " * 20))
    wait_for(lambda: daemon.fds <= before + 2, 20, "the descriptors to be closed")


def test_nothing_is_answered_with_a_failure(daemon: Gatherd) -> None:
    assert good(daemon.get("/nothing")) == [EINVAL] * 10
