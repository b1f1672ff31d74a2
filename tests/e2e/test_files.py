"""Files: read, listed, written, sent whole and in parts; what leads out of the folder, what is slow, what is huge."""

from __future__ import annotations

import email.parser
import email.policy
import hashlib
import json
import os
import re
import socket
import threading
import time
from email.utils import format_datetime, parsedate_to_datetime
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Callable

import pytest
from harness import Gatherd
from support import Wire, at_once, good, in_background, problem, request_line, wait_for

CONFIG = """
server: { listen: [ "127.0.0.1:${PORT}" ], threads: 2, request_timeout: 2s, body_limit: 64KiB }
sources:
  papers: { files: "${FOLDER}/papers", max_size: 4KiB }
  desk: { files: "${FOLDER}/desk", write: true, max_size: 4KiB }
endpoints:
  "GET /text/{name}": { gather: { text: { from: papers, read: "{name}" } } }
  "GET /json/{name}": { gather: { doc: { from: papers, read: "{name}.json", as: json } }, respond: { all: "{doc}", b: "{doc.a[1]}" } }
  "GET /base64/{name}": { gather: { bytes: { from: papers, read: "{name}", as: base64 } } }
  "GET /soft/{name}": { gather: { text: { from: papers, read: "{name}", on_error: null } } }
  "GET /optional":
    parameters: { name: { type: string, required: false } }
    gather: { text: { from: papers, read: "terms/{name}.txt" } }
  "GET /chain/{name}":
    gather:
      who: { from: papers, read: "{name}.json", as: json }
      terms: { from: papers, read: "terms/{who.currency}.txt" }
  "GET /stat/{way*}": { gather: { file: { from: papers, stat: "{way}" } } }
  "GET /list/{way*}": { gather: { files: { from: papers, list: "{way}" } } }
  "GET /send/{way*}":
    headers: { Cache-Control: "max-age=60", X-Name: "{way}" }
    gather: { file: { from: papers, send: "{way}" } }
  "GET /download/{name}":
    headers: { Content-Type: application/x-paper, Content-Disposition: attachment }
    gather: { file: { from: papers, send: "{name}" } }
  "GET /one/{name}": { semaphore: 1, gather: { file: { from: papers, send: "{name}" } } }
  "PUT /desk/{name}":
    body: { type: object }
    gather: { file: { from: desk, write: "{name}", content: "{body.text}" } }
  "POST /desk/{name}":
    body: { type: object }
    gather: { file: { from: desk, append: "{name}", content: { at: "{request.method}", text: "{body.text}" } } }
  "DELETE /desk/{name}": { gather: { file: { from: desk, remove: "{name}" } } }
  "GET /desk/{name}": { gather: { text: { from: desk, read: "{name}" } }, respond: "{text}" }
"""

TEXT = "".join(f"line {n}\n" for n in range(200)).encode()
HUGE = 200 << 20


def fill(folder: Path) -> None:
    papers = folder / "papers"
    (papers / "terms").mkdir(parents=True)
    (folder / "desk").mkdir()
    (folder / "secret").write_text("s3cret")
    (papers / "a.txt").write_bytes(TEXT)
    (papers / "empty.html").write_bytes(b"")
    (papers / "doc.json").write_text(' { "a": [ 1, 2.50, 1e999 ] } ')
    (papers / "bad.json").write_text('{"a":')
    (papers / "deep.json").write_text("[" * 4000)
    (papers / "nul").write_bytes(b"a\0b")
    (papers / "latin").write_bytes(b"caf\xe9")
    (papers / "large").write_bytes(b"x" * 4097)
    (papers / "eur.json").write_text('{"currency": "EUR"}')
    (papers / "out.json").write_text('{"currency": "../../secret"}')
    (papers / "none.json").write_text('{"currency": null}')
    (papers / "terms/EUR.txt").write_text("euro")
    (papers / "link").symlink_to("a.txt")
    (papers / "out").symlink_to("..")
    os.mkfifo(papers / "fifo")
    for name, size in {"huge.bin": HUGE, "shrinking": 64 << 20}.items():
        with open(papers / name, "wb") as file:
            file.truncate(size)
            file.seek(size // 2)
            file.write(b"in the middle")


@pytest.fixture(scope="module")
def daemon(module_gatherd: Callable[..., Gatherd]) -> Gatherd:
    daemon = module_gatherd(CONFIG, start=False)
    fill(daemon.folder)
    daemon.start()
    return daemon


@pytest.fixture(scope="module", params=["openat2", "walk"])
def either(request: pytest.FixtureRequest, module_gatherd: Callable[..., Gatherd]) -> Gatherd:
    """The daemon, and one that goes from folder to folder as if the kernel had no openat2, as within systemd's sandbox."""
    if request.param == "openat2":
        return request.getfixturevalue("daemon")
    daemon = module_gatherd(CONFIG, start=False, env={"GATHERD_NO_OPENAT2": "1"})
    fill(daemon.folder)
    daemon.start()
    return daemon


# -- reading --


def test_files_are_read(either: Gatherd) -> None:
    assert good(either.get("/text/a.txt")) == {"text": TEXT.decode()}
    reply = either.get("/json/doc")
    assert reply.body == b'{"all":{"a":[1,2.50,1e999]},"b":2.50}'
    assert good(either.get("/base64/latin")) == {"bytes": "Y2Fm6Q=="}
    assert good(either.get("/chain/eur"))["terms"] == "euro"


@pytest.mark.parametrize("path", ["text/nul", "text/latin", "text/large", "json/bad", "json/deep", "base64/large"])
def test_files_that_are_nonsense(daemon: Gatherd, path: str) -> None:
    document = problem(daemon.get(f"/{path}"), 502, step={"text": "text", "json": "doc", "base64": "bytes"}[path.split("/")[0]])
    assert document["detail"].startswith("The file is") and str(daemon.folder) not in json.dumps(document)


def test_a_failure_is_replaced(daemon: Gatherd) -> None:
    reply = daemon.get("/soft/latin")
    assert good(reply) == {"text": None}
    assert reply.headers["Gatherd-Complete"] == "false" and reply.headers["Gatherd-Missing"] == "text"


@pytest.mark.parametrize("name", ["missing", "terms", "link", "fifo", "out", "x" * 300, "a.txt%0A"])
def test_what_is_no_file(either: Gatherd, name: str) -> None:
    problem(either.get(f"/text/{name}"), 404, step="text")
    problem(either.get(f"/send/{name}"), 404, step="file")
    problem(either.get(f"/stat/{name}"), 404, step="file")


@pytest.mark.parametrize("name", ["..%2fsecret", "%2e%2e%2fsecret", "%2fetc%2fpasswd", "a%00b", "terms%2fEUR.txt"])
def test_names_that_lead_away(either: Gatherd, name: str) -> None:
    problem(either.get(f"/text/{name}"), 400)


@pytest.mark.parametrize("way", ["..%2fsecret", "terms/..%2f..%2fsecret", "%2fetc%2fpasswd", "out/secret", "terms%2f%2fEUR.txt", "terms/%2e%2e/a.txt"])
def test_ways_that_lead_away(either: Gatherd, way: str) -> None:
    reply = either.get(f"/send/{way}")
    problem(reply, 400, 404)
    assert b"s3cret" not in reply.body


def test_names_from_elsewhere(either: Gatherd) -> None:
    problem(either.get("/optional"), 400, 500, step="text")
    problem(either.get("/optional?name="), 400)
    problem(either.get("/chain/out"), 500, step="terms")
    problem(either.get("/chain/none"), 500, step="terms")
    assert good(either.get("/optional?name=EUR")) == {"text": "euro"}


def test_files_are_described_and_listed(either: Gatherd) -> None:
    os.utime(either.folder / "papers/terms/EUR.txt", (1700000000.25, 1700000000.25))
    euro = {"name": "EUR.txt", "size": 4, "modified": "2023-11-14T22:13:20.250Z", "type": "file"}
    assert good(either.get("/stat/terms/EUR.txt")) == {"file": euro}
    assert good(either.get("/list/terms")) == {"files": [euro]}
    problem(either.get("/list/a.txt"), 404)
    problem(either.get("/list/out"), 404)


# -- sending --


def test_a_file_is_the_reply(either: Gatherd) -> None:
    reply = either.get("/send/a.txt")
    assert reply.status == 200 and reply.body == TEXT
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert reply.headers["X-Content-Type-Options"] == "nosniff"
    assert reply.headers["Accept-Ranges"] == "bytes"
    assert reply.headers["Cache-Control"] == "max-age=60" and reply.headers["X-Name"] == "a.txt"
    assert reply.headers["Gatherd-Complete"] == "true"
    assert re.fullmatch(r'"[!#-~]+"', reply.headers["ETag"])
    modified = int((either.folder / "papers/a.txt").stat().st_mtime)
    assert parsedate_to_datetime(reply.headers["Last-Modified"]).timestamp() == modified
    line = request_line(either, id=reply.headers["X-Request-Id"])
    assert line["status"] == "200" and line["bytes"] == str(len(TEXT)) and "error" not in line
    head = either.head("/send/a.txt")
    assert head.body == b""
    volatile = ("X-Request-Id", "Date", "Connection")
    assert [h for h in head.headers.items() if h[0].title() not in volatile] == [h for h in reply.headers.items() if h[0].title() not in volatile]
    custom = either.get("/download/a.txt")
    assert custom.headers.get_all("Content-Type") == ["application/x-paper"]
    empty = either.get("/send/empty.html")
    assert empty.status == 200 and empty.body == b"" and empty.headers["Content-Type"] == "text/html; charset=utf-8"
    assert either.get("/send/terms/EUR.txt").body == b"euro"
    problem(either.post("/send/a.txt"), 405)


def test_a_connection_goes_on_after_a_file(daemon: Gatherd) -> None:
    with Wire(daemon) as wire:
        wire.get("/send/a.txt").get("/text/a.txt").get("/send/a.txt", "Range: bytes=5-8").get("/send/none")
        wire.send("HEAD /send/a.txt HTTP/1.1\r\nHost: x\r\n\r\n")
        assert wire.reply().body == TEXT
        assert wire.reply().json() == {"text": TEXT.decode()}
        assert wire.reply().body == TEXT[5:9]
        assert wire.reply().status == 404
        assert wire.reply(head_only=True).status == 200
        assert wire.get("/send/a.txt", version="1.0").reply().body == TEXT
        assert wire.ended()


RANGES = [
    ("bytes=0-0", 0, 1),
    ("bytes=5-8", 5, 9),
    ("bytes=100-", 100, len(TEXT)),
    ("bytes=-7", len(TEXT) - 7, len(TEXT)),
    (f"bytes=5-{10**30}", 5, len(TEXT)),
    ("bytes=0-", 0, len(TEXT)),
    (f"bytes=1-2,{len(TEXT)}-", 1, 3),
]


@pytest.mark.parametrize("header,first,end", RANGES)
def test_a_range(daemon: Gatherd, header: str, first: int, end: int) -> None:
    reply = daemon.get("/send/a.txt", headers={"Range": header})
    assert reply.status == 206 and reply.body == TEXT[first:end]
    assert reply.headers["Content-Range"] == f"bytes {first}-{end - 1}/{len(TEXT)}"
    assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert daemon.head("/send/a.txt", headers={"Range": header}).status == 200


@pytest.mark.parametrize("header", ["bytes=9-5", "bytes=x", "lines=0-1", "bytes=", "bytes=0-,0-,0-", "bytes=" + ",".join(["0-0"] * 100)])
def test_ranges_that_are_left_alone(daemon: Gatherd, header: str) -> None:
    reply = daemon.get("/send/a.txt", headers={"Range": header})
    assert reply.status == 200 and reply.body == TEXT and "Content-Range" not in reply.headers


def test_a_range_behind_the_end(daemon: Gatherd) -> None:
    for header in (f"bytes={len(TEXT)}-", "bytes=-0", f"bytes={10**40}-{10**41}"):
        reply = daemon.get("/send/a.txt", headers={"Range": header})
        problem(reply, 416)
        assert reply.headers["Content-Range"] == f"bytes */{len(TEXT)}"
    problem(daemon.get("/send/empty.html", headers={"Range": "bytes=0-"}), 416)


def parts_of(reply: Any) -> list[tuple[str, bytes]]:
    """Of a multipart/byteranges: Content-Range and bytes of each."""
    head = f"Content-Type: {reply.headers['Content-Type']}\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + reply.body)
    assert message.get_content_type() == "multipart/byteranges" and not message.defects
    return [(part["Content-Range"], part.get_payload(decode=True)) for part in message.iter_parts()]


def test_ranges(daemon: Gatherd) -> None:
    reply = daemon.get("/send/doc.json", headers={"Range": "bytes=-2, 0-3,5-5,50-60"})
    data, size = (daemon.folder / "papers/doc.json").read_bytes(), 29
    assert reply.status == 206 and len(data) == size and int(reply.headers["Content-Length"]) == len(reply.body)
    assert parts_of(reply) == [(f"bytes 27-28/{size}", data[27:]), (f"bytes 0-3/{size}", data[:4]), (f"bytes 5-5/{size}", data[5:6])]
    assert b"Content-Type: application/json\r\n" in reply.body


def test_large_ranges(daemon: Gatherd) -> None:
    """Parts larger than a piece, and pieces that end beside a part's head."""
    half = HUGE // 2
    for length in (1, 65535, 131071, 131072, 131073, 1 << 20):
        reply = daemon.get("/send/huge.bin", headers={"Range": f"bytes=0-{length - 1},{half}-{half + length - 1},7-7"})
        expected = (b"in the middle" + bytes(length))[:length]
        assert [body for _, body in parts_of(reply)] == [bytes(length), expected, b"\0"]


def test_conditions(daemon: Gatherd) -> None:
    reply = daemon.get("/send/a.txt")
    tag, modified = reply.headers["ETag"], reply.headers["Last-Modified"]
    earlier = format_datetime(parsedate_to_datetime(modified) - timedelta(seconds=1), usegmt=True)

    def status(**headers: str) -> int:
        answer = daemon.get("/send/a.txt", headers={name.replace("_", "-"): value for name, value in headers.items()})
        if answer.status == 304:
            assert answer.body == b"" and answer.headers["ETag"] == tag and answer.headers["Cache-Control"] == "max-age=60"
            assert "Content-Type" not in answer.headers and "Content-Length" not in answer.headers
        elif answer.status == 412:
            problem(answer, 412)
        return answer.status

    assert status(If_None_Match=tag) == status(If_None_Match=f'"x", W/{tag}') == status(If_None_Match="*") == 304
    assert status(If_None_Match='"x"') == status(If_None_Match='"x"', If_Modified_Since=modified) == 200
    assert status(If_Modified_Since=modified) == 304
    assert status(If_Modified_Since=earlier) == status(If_Modified_Since="tomorrow") == 200
    assert status(If_Match=tag) == status(If_Match="*") == status(If_Unmodified_Since=modified) == 200
    assert status(If_Match='"x"') == status(If_Match=f"W/{tag}") == status(If_Unmodified_Since=earlier) == 412
    assert status(If_None_Match=tag, Range="bytes=0-1") == 304
    time.sleep(max(0.0, parsedate_to_datetime(modified).timestamp() + 1.1 - time.time()))
    assert status(If_Range=tag, Range="bytes=0-1") == status(If_Range=modified, Range="bytes=0-1") == 206
    assert status(If_Range='"x"', Range="bytes=0-1") == status(If_Range=earlier, Range="bytes=0-1") == 200
    assert daemon.head("/send/a.txt", headers={"If-None-Match": tag}).status == 304
    with Wire(daemon) as wire:
        assert wire.get("/send/a.txt", f"If-None-Match: {tag}").reply().status == 304
        assert wire.get("/send/a.txt").reply().body == TEXT


def test_another_version_has_another_tag(daemon: Gatherd) -> None:
    path = daemon.folder / "papers/version.txt"
    path.write_text("one")
    first = daemon.get("/send/version.txt").headers["ETag"]
    path.write_text("two")
    reply = daemon.get("/send/version.txt", headers={"If-None-Match": first})
    assert reply.status == 200 and reply.body == b"two" and reply.headers["ETag"] != first
    os.utime(path, (time.time() + 86400,) * 2)
    modified = parsedate_to_datetime(daemon.get("/send/version.txt").headers["Last-Modified"])
    assert modified <= datetime.now(timezone.utc)


# -- slow, huge, broken --


def memory(daemon: Gatherd) -> int:
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) * 1024


def open_descriptors(daemon: Gatherd) -> list[str]:
    folder, found = Path(f"/proc/{daemon.process.pid}/fd"), []
    for name in os.listdir(folder):
        try:
            found.append(os.readlink(folder / name))
        except OSError:
            pass
    return [path for path in found if path.startswith(f"{daemon.folder}/papers/")]


def ask(daemon: Gatherd, path: str, receive_buffer: int = 65536, id: str = "any") -> socket.socket:
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    plain.settimeout(30)
    plain.connect(("127.0.0.1", daemon.port))
    plain.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Request-Id: {id}\r\n\r\n".encode())
    return plain


def test_a_huge_file_to_slow_readers(daemon: Gatherd) -> None:
    """200 MB to readers of whom one takes its time: longer than request_timeout, and in bounded memory."""
    good(daemon.get("/text/a.txt"))
    before = memory(daemon)
    most, received, digest = 0, 0, hashlib.sha256()
    others = [ask(daemon, "/send/huge.bin") for _ in range(20)]  # they take nothing
    began = time.monotonic()
    with ask(daemon, "/send/huge.bin", 1 << 20) as slow:
        head = b""
        while b"\r\n\r\n" not in head:
            head += slow.recv(4096)
        rest = head.partition(b"\r\n\r\n")[2]
        received += len(rest)
        digest.update(rest)
        for step in range(25):  # 2.5 s
            time.sleep(0.1)
            chunk = slow.recv(100000)
            received += len(chunk)
            digest.update(chunk)
            most = max(most, memory(daemon))
        while chunk := slow.recv(1 << 20):
            received += len(chunk)
            digest.update(chunk)
            most = max(most, memory(daemon))
    assert time.monotonic() - began > 2.4
    expected = hashlib.sha256()
    with open(daemon.folder / "papers/huge.bin", "rb") as file:
        while block := file.read(1 << 20):
            expected.update(block)
    assert received == HUGE and digest.digest() == expected.digest()
    if b"__asan_init" not in daemon.program.read_bytes():  # which keeps what was freed for a while
        assert most - before < 24 << 20  # 21 replies of some 0.3 MB, and stacks
    for other in others:
        other.close()
    wait_for(lambda: not open_descriptors(daemon), 10)


def test_a_client_that_leaves(daemon: Gatherd) -> None:
    with ask(daemon, "/send/huge.bin", id="leaves-at-once"):
        pass
    for taken in (1, 5000, 1 << 20):
        with ask(daemon, "/send/huge.bin", id=f"leaves-{taken}") as plain:
            received = 0
            while received < taken:
                received += len(plain.recv(65536))
        line = request_line(daemon, id=f"leaves-{taken}")
        assert line["status"] == "200" and int(line["bytes"]) < HUGE and "connection broke" in line["error"]
        wait_for(lambda: not open_descriptors(daemon), 10)
    for line in daemon.log_lines():
        if line.get("id") == "leaves-at-once":  # else it had left before its request was read
            assert (line["status"], line["bytes"]) == ("499", "0") or "connection broke" in line["error"]
    good(daemon.get("/text/a.txt"))


def test_a_file_that_becomes_shorter(daemon: Gatherd) -> None:
    """Its length was promised: the connection breaks, and the log says why."""
    with ask(daemon, "/send/shrinking") as plain:
        head = plain.recv(1000)
        assert b"Content-Length: 67108864\r\n" in head
        os.truncate(daemon.folder / "papers/shrinking", 1000)
        received = len(head)
        try:
            while chunk := plain.recv(1 << 20):
                received += len(chunk)
        except ConnectionResetError:
            pass
    assert received < 67108864
    line = request_line(daemon, path="/send/shrinking")
    assert "shorter" in line["error"]
    good(daemon.get("/text/a.txt"))


def test_one_at_a_time(daemon: Gatherd) -> None:
    """A semaphore is held until the file is sent; the client's leaving gives it back."""
    with ask(daemon, "/one/huge.bin") as first:
        assert first.recv(100).startswith(b"HTTP/1.1 200")
        second = in_background(lambda: daemon.get("/one/a.txt"))
        time.sleep(0.3)
        assert second.running
    assert second.result().body == TEXT


def test_many_files_at_once(daemon: Gatherd) -> None:
    folder = daemon.folder / "papers"
    for n in range(50):
        (folder / f"many{n}.bin").write_bytes(bytes([n]) * (n * 10007))
    replies = at_once([lambda n=n: daemon.get(f"/send/many{n}.bin") for n in range(50)])
    for n, reply in enumerate(replies):
        assert reply.status == 200 and reply.body == bytes([n]) * (n * 10007)


def test_draining_sends_what_was_begun(gatherd: Callable[..., Gatherd]) -> None:
    daemon = gatherd(CONFIG, start=False)
    fill(daemon.folder)
    daemon.start()
    with ask(daemon, "/send/huge.bin", 1 << 20) as plain:
        received = len(plain.recv(1000))
        stopping = in_background(daemon.stop)
        time.sleep(0.3)
        while chunk := plain.recv(1 << 20):
            received += len(chunk)
    assert received > HUGE
    assert stopping.result() == 0


# -- writing --


def test_files_are_written(either: Gatherd) -> None:
    desk = either.folder / "desk"
    before = set(os.listdir(desk))
    reply = good(either.request("PUT", "/desk/note.txt", json_body={"text": "first é"}))
    assert reply["file"]["name"] == "note.txt" and reply["file"]["size"] == 8 and reply["file"]["type"] == "file"
    assert (desk / "note.txt").read_text() == "first é"
    good(either.request("PUT", "/desk/note.txt", json_body={"text": "second"}))
    assert good(either.get("/desk/note.txt")) == "second"
    good(either.post("/desk/log", json_body={"text": 'a"b'}))
    good(either.post("/desk/log", json_body={"text": None}))
    assert (desk / "log").read_text() == '{"at":"POST","text":"a\\"b"}\n{"at":"POST","text":null}\n'
    good(either.request("DELETE", "/desk/log"))
    problem(either.request("DELETE", "/desk/log"), 404, step="file")
    assert set(os.listdir(desk)) == before | {"note.txt"}


def test_what_may_not_be_written(either: Gatherd) -> None:
    desk = either.folder / "desk"
    (desk / "link").symlink_to("../secret")
    (desk / "folder").mkdir()
    os.mkfifo(desk / "fifo")
    for name in ("link", "folder", "fifo"):
        for method in ("PUT", "POST", "DELETE"):
            problem(either.request(method, f"/desk/{name}", json_body={"text": "x"}), 404, step="file")
    for name in ("..%2fsecret", "a%00b", "x" * 300):
        problem(either.request("PUT", f"/desk/{name}", json_body={"text": "x"}), 400)
    problem(either.request("PUT", "/desk/large", json_body={"text": "x" * 4097}), 413)
    problem(either.post("/desk/large", json_body={"text": "x" * 4097}), 413)
    assert (either.folder / "secret").read_text() == "s3cret"
    assert not (desk / "large").exists() and not [name for name in os.listdir(desk) if name.startswith(".")]


def test_readers_see_whole_files(daemon: Gatherd) -> None:
    ended = threading.Event()

    def write() -> None:
        for n in range(100):
            good(daemon.request("PUT", "/desk/whole", json_body={"text": "abcdefghij"[n % 10] * 4000}))
        ended.set()

    good(daemon.request("PUT", "/desk/whole", json_body={"text": "x" * 4000}))
    writer, seen = in_background(write), set()
    while not ended.is_set():
        text = good(daemon.get("/desk/whole"))
        assert len(text) == 4000 and len(set(text)) == 1
        seen.add(text[0])
        assert writer.running or ended.is_set() or writer.result() is None
    writer.result()
    assert len(seen) > 1
