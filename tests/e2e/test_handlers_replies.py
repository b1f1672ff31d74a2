"""Handlers in C: what they see of a request, and every way to answer it: streams, events, redirects, forms, files."""

from __future__ import annotations

import errno
import http.client
import json
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import pytest
from harness import Gatherd

from support import wait_for

CONFIG = """
server: { listen: [ "127.0.0.1:${PORT}", "unix:${FOLDER}/replies.sock" ], threads: 1, write_timeout: 2s }
sources:
  papers: { files: "${FOLDER}/papers" }
endpoints:
  "GET /lines":     { handler: "replies.so:lines", parameters: { count: { type: integer, default: 0 } } }
  "GET /endless":   { handler: "replies.so:endless" }
  "GET /so-far":    { handler: "replies.so:endless_so_far" }
  "GET /broken":    { handler: "replies.so:broken", parameters: { fail: { type: boolean, default: false } } }
  "GET /dated":     { handler: "replies.so:dated", timeout: 300ms }
  "GET /misused":   { handler: "replies.so:misused" }
  "GET /redirect":  { handler: "replies.so:redirect", parameters: { status: { type: integer, default: 303 } } }
  "GET /in-time":   { handler: "replies.so:events_begun_in_time" }
  "GET /mouthful":  { handler: "replies.so:mouthful" }
  "GET /events":
    handler: replies.so:events
    timeout: 500ms
    parameters: { keep_alive: { type: integer, default: 0 }, wait: { type: integer, default: 0 } }
  "POST /raw":       { handler: "replies.so:raw" }
  "POST /json":      { handler: "replies.so:json" }
  "POST /form":      { handler: "replies.so:form" }
  "POST /late":      { handler: "replies.so:late_body" }
  "GET /file/{name}": { handler: "replies.so:file" }
  "POST /file/{name}": { handler: "replies.so:file" }
  "GET /odd":        { handler: "replies.so:odd_headers", parameters: { byte: { type: integer } } }
"""


@pytest.fixture(scope="module")
def daemon(module_gatherd: Callable[..., Gatherd], module: Callable[..., Path]) -> Gatherd:
    return module_gatherd(
        CONFIG,
        files={"replies.so": module("replies").read_bytes(), "papers/a.txt": "0123456789", "papers/empty": ""},
    )


# -- streams --


@pytest.mark.parametrize("count", [0, 1, 2, 100, 50000])
def test_a_stream_comes_whole(daemon: Gatherd, count: int) -> None:
    answer = daemon.get(f"/lines?count={count}")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/plain"
    assert answer.text == "".join(f"line {n}\n" for n in range(count))


def test_http_1_0_ends_a_stream_with_its_connection(daemon: Gatherd) -> None:
    for count in (0, 3, 50000):
        raw = daemon.raw(f"GET /lines?count={count} HTTP/1.0\r\nHost: x\r\n\r\n".encode(), timeout=30)
        head, _, body = raw.partition(b"\r\n\r\n")
        assert b"transfer-encoding" not in head.lower()
        assert body == b"".join(b"line %d\n" % n for n in range(count))


def test_head_of_a_stream_has_no_body(daemon: Gatherd) -> None:
    answer = daemon.head("/lines?count=100")
    assert (answer.status, answer.body) == (200, b"")
    assert daemon.get("/lines?count=1").text == "line 0\n"


def test_a_slow_client_slows_the_handler_down(daemon: Gatherd) -> None:
    with daemon.connect() as sock:
        sock.sendall(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(100).startswith(b"HTTP/1.1 200")
        seen = -1
        while (now := daemon.get("/so-far").json()["bytes"]) != seen:
            seen = now
            time.sleep(0.2)
        assert seen < 64 * 1024 * 1024  # what the sockets' buffers and two pieces hold, not what the handler would write
    wait_for(lambda: daemon.get("/so-far").json()["end"] == -errno.ECANCELED)


def test_a_client_that_takes_nothing_is_dropped(daemon: Gatherd) -> None:
    with daemon.connect() as sock:
        sock.sendall(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_for(lambda: daemon.get("/so-far").json()["end"] == -errno.ECANCELED, timeout=30)


@pytest.mark.parametrize("unix", [False, True])
def test_a_client_that_takes_a_lot_slowly_is_not_dropped(daemon: Gatherd, unix: bool) -> None:
    """It takes far more than 64 KiB within write_timeout, but not all that the handler wrote at once."""
    with daemon.connect(daemon.folder / "replies.sock" if unix else None) as sock:
        sock.sendall(b"GET /mouthful HTTP/1.0\r\nHost: x\r\n\r\n")
        seen = b""
        while more := sock.recv(64 * 1024, socket.MSG_WAITALL):
            seen += more
            time.sleep(0.02)
    body = seen.partition(b"\r\n\r\n")[2]
    assert len(body) == 16 << 20
    assert all(body[i] == i // 4099 % 256 for i in range(0, len(body), 1021))


@pytest.mark.parametrize(
    ("query", "said"), [("", "broken returned without gd_stream_end"), ("?fail=true", "The other half is missing.")]
)
def test_a_stream_that_breaks_off_is_seen_to_be_broken(daemon: Gatherd, query: str, said: str) -> None:
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        daemon.get(f"/broken{query}")
    wait_for(lambda: any(said in line.get("error", "") for line in daemon.log_lines()))


def test_a_stream_within_a_deadline(daemon: Gatherd) -> None:
    assert daemon.get("/dated").json() == [-errno.ETIMEDOUT, 0]


def test_misuse_is_answered(daemon: Gatherd) -> None:
    answer = daemon.get("/misused")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == [-errno.EINVAL] * 7 + [-errno.EALREADY]


# -- events --


def test_events_have_fields_and_lines(daemon: Gatherd) -> None:
    answer = daemon.get("/events")
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.text == ":\n\nevent: greeting\nid: 7\ndata: one\ndata: two\ndata: \ndata: four\n\ndata: \n\n"


def test_silence_is_filled_and_outlives_the_deadline(daemon: Gatherd) -> None:
    """The endpoint's timeout is 500 ms: once the reply has begun it does not hold any more; nor does write_timeout, as
    long as the client takes what there is."""
    answer = daemon.get("/events?keep_alive=100&wait=4000")
    comments, _, events = answer.text.partition("event: ")
    assert comments.count(":\n\n") >= 5
    assert events.startswith("greeting")


def test_silence_is_filled_beyond_a_deadline_of_the_beginning(daemon: Gatherd) -> None:
    assert daemon.get("/in-time").text.count(":\n\n") >= 3


def test_events_arrive_before_the_reply_ends(daemon: Gatherd) -> None:
    with daemon.connect() as sock:
        sock.sendall(b"GET /events?wait=60000 HTTP/1.1\r\nHost: x\r\n\r\n")
        sock.settimeout(20)
        seen = b""
        while b":\n\n" not in seen:
            seen += sock.recv(1000)


@pytest.mark.parametrize("early", [False, True])
def test_a_stream_ends_where_its_client_will_send_nothing_more(daemon: Gatherd, early: bool) -> None:
    """It may have left, and can't be asked any more."""
    name = f"half-{early}"
    with daemon.connect() as sock:
        sock.sendall(f"GET /events?wait=60000 HTTP/1.1\r\nHost: x\r\nX-Request-Id: {name}\r\n\r\n".encode())
        sock.settimeout(20)
        seen = b""
        if early:
            sock.shutdown(socket.SHUT_WR)
        while b":\n\n" not in seen:
            seen += sock.recv(1000)
        if not early:
            sock.shutdown(socket.SHUT_WR)
        while more := sock.recv(1000):
            seen += more
        assert not seen.endswith(b"0\r\n\r\n")
    line = wait_for(lambda: next((line for line in daemon.log_lines() if line.get("id") == name), None))
    assert line["error"] == "the client left before the end of the stream"


@pytest.mark.parametrize("way", [0, 1, 2])
def test_a_reply_has_its_limit(gatherd: Callable[..., Gatherd], module: Callable[..., Path], way: int) -> None:
    endpoint = '"GET /large": { handler: "replies.so:large", parameters: { way: { type: integer } } }'
    for limit, status in (("4KiB", 500), ("8KiB", 200)):
        daemon = gatherd(
            f'server: {{ listen: [ "127.0.0.1:${{PORT}}" ], reply_limit: {limit} }}\nendpoints:\n  {endpoint}\n',
            files={"replies.so": module("replies").read_bytes()},
        )
        answer = daemon.get(f"/large?way={way}")
        assert answer.status == status, answer.text[:200]


# -- redirects --


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects(daemon: Gatherd, status: int) -> None:
    answer = daemon.get(f"/redirect?status={status}")
    assert (answer.status, answer.headers["location"], answer.body) == (status, "/else?where=1", b"")


def test_no_redirect_without_a_status_for_it(daemon: Gatherd) -> None:
    assert daemon.get("/redirect?status=200").status == 500


# -- headers --

TOKENS = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


@pytest.mark.parametrize("byte", range(1, 256))
def test_headers_with_every_byte(daemon: Gatherd, byte: int) -> None:
    """No byte splits a reply, or makes it one that clients can't read."""
    answer = daemon.get(f"/odd?byte={byte}")
    value, name, of_type, no_redirect, *rest = answer.json()
    good = byte == 9 or (byte >= 32 and byte != 127)
    assert value == of_type == (0 if good else -errno.EINVAL)
    assert name == (0 if byte in TOKENS else -errno.EINVAL)
    assert no_redirect == -errno.EINVAL
    assert rest == ([] if good else [-errno.EINVAL] * 3)
    assert answer.headers["x-odd"] == (f"a{chr(byte)}b" if good else None)
    assert answer.headers["x" + chr(byte)] == ("v" if byte in TOKENS else None)


# -- bodies --


def test_a_body_that_went_with_its_connection(gatherd: Callable[..., Gatherd], module: Callable[..., Path]) -> None:
    """The daemon ends, and does not wait for ever: a handler that looks late finds nothing, not what is no more."""
    daemon = gatherd(
        'server: { listen: [ "127.0.0.1:${PORT}" ], drain_timeout: 100ms }\nendpoints: { "POST /": { handler: "replies.so:too_late" } }\n',
        files={"replies.so": module("replies").read_bytes()},
    )
    with daemon.connect() as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: x/y\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000)
        wait_for(lambda: "the executor" in daemon.get("/-/tasks").text)
        daemon.process.send_signal(signal.SIGTERM)
        assert sock.recv(1) == b""
    daemon.process.wait(20)
    assert "a body of 0 bytes, there, no type" in daemon.log()


def test_a_raw_body_comes_as_it_was_sent(daemon: Gatherd) -> None:
    body = bytes(range(256)) * 100
    answer = daemon.post("/raw", body=body, headers={"Content-Type": "x/y"})
    assert answer.headers["content-type"] == "application/x-echo"
    assert answer.body == body
    assert daemon.post("/raw", body=b"").body == b""


def test_a_body_is_still_there_after_the_reply_has_begun(daemon: Gatherd) -> None:
    assert daemon.post("/late", body=b"abc" * 1000, headers={"Content-Type": "x/y"}).body == b"abc" * 1000


def test_json_bodies(daemon: Gatherd) -> None:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    for value in ({"a": [1, 2.5, None, "ä"]}, [], 7, "text", None, False):
        answer = daemon.post("/json", body=json.dumps(value).encode(), headers=headers)
        assert (answer.status, answer.json()) == (200, value)
    assert daemon.post("/json", body=b"{", headers=headers).status == 400
    assert daemon.post("/json", body=b"{}", headers={"Content-Type": "text/plain"}).status == 415
    assert daemon.post("/json", body=b"", headers=headers).status == 400


def test_urlencoded_forms(daemon: Gatherd) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    fields = [("b", "x y&=ä"), ("a", "1"), ("a", "2"), ("empty", "")]
    answer = daemon.post("/form", body=urlencode(fields).encode(), headers=headers)
    assert answer.json() == {"a": ["1", "2"], "b": "x y&=ä", "empty": ""}
    assert daemon.post("/form", body=b"a=%zz", headers=headers).status == 400
    assert daemon.post("/form", body=b"a&" * 1001, headers=headers).status == 413
    assert daemon.post("/form", body=b"{}", headers={"Content-Type": "application/json"}).status == 415


def test_multipart_forms(daemon: Gatherd) -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="title"\r\n\r\nA \xe2\x82\xac\r\n'
        b'--b\r\nContent-Disposition: form-data; name="f"; filename="../../etc/x.bin"\r\nContent-Type: x/y\r\n\r\n\x00\xff\r\n'
        b'--b\r\nContent-Disposition: form-data; name="f"; filename="z"\r\n\r\n\r\n'
        b"--b--\r\n"
    )
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = daemon.post("/form", body=body, headers=headers)
    assert answer.json() == {
        "title": "A €",
        "f": [
            {"filename": "x.bin", "type": "x/y", "content": "AP8="},
            {"filename": "z", "type": "application/octet-stream", "content": ""},
        ],
    }
    for cut in range(len(body) - 3):
        assert daemon.post("/form", body=body[:cut], headers=headers).status == 400, cut


# -- files --


def test_a_file_as_a_reply(daemon: Gatherd) -> None:
    answer = daemon.get("/file/a.txt")
    assert (answer.status, answer.text, answer.headers["content-type"]) == (200, "0123456789", "text/plain; charset=utf-8")
    etag = answer.headers["etag"]
    assert daemon.get("/file/a.txt", headers={"If-None-Match": etag}).status == 304
    part = daemon.get("/file/a.txt", headers={"Range": "bytes=2-4"})
    assert (part.status, part.text, part.headers["content-range"]) == (206, "234", "bytes 2-4/10")
    assert daemon.get("/file/a.txt", headers={"Range": "bytes=20-"}).status == 416
    assert daemon.get("/file/a.txt", headers={"If-Match": '"other"'}).status == 412
    assert daemon.get("/file/empty").body == b""
    for name, value, status in (
        ("If-None-Match", etag, 412),  # to be left alone where it is that version (RFC 9110, 13.1.2)
        ("If-None-Match", '"other"', 200),
        ("If-Modified-Since", answer.headers["last-modified"], 200),  # of reading alone
        ("If-Unmodified-Since", "Thu, 01 Jan 1970 00:00:00 GMT", 412),
        ("Range", "bytes=2-4", 200),
    ):
        assert daemon.post("/file/a.txt", body=b"", headers={name: value}).status == status, (name, value)
    assert daemon.head("/file/a.txt").headers["content-length"] == "10"
    for name in ("none", "..", "%2e%2e", "b"):
        assert daemon.get(f"/file/{name}").status in (400, 404)
