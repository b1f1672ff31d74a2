"""HTTP/1 as strangers speak it: what is answered, what is refused, and that nothing ends the process."""

from __future__ import annotations

import contextlib
import json
import random
import re
import socket
import time
from email.utils import parsedate_to_datetime
from typing import Callable

import pytest
from harness import Gatherd
from support import Wire, at_once, good, problem, stopwatch, wait_for

CONFIG = """
server: { listen: [ "127.0.0.1:${PORT}", "unix:${FOLDER}/http.sock" ], threads: 1, body_limit: 64KiB }
endpoints:
  "GET /": { respond: root }
  "GET /echo/{text}": { additional: allow, respond: "{text}" }
  "GET /host": { respond: "{headers.host}" }
  "GET /rest/{path*}": { respond: "{path}" }
  "GET /things/{id}": { parameters: { id: { type: integer } }, respond: { id: "{id}" } }
  "DELETE /things/{id}": { respond: { deleted: "{id}" } }
  "POST /things": { parameters: { n: { type: integer, required: false } }, respond: { n: "{n}", body: "{body}" } }
  "POST /any": { respond: { id: "{request.id}" } }
  "PUT /things/{id}": { body: { type: object }, respond: "{body}" }
  "POST /only-post": { respond: x }
"""


@pytest.fixture(scope="module")
def daemon(module_gatherd: Callable[..., Gatherd]) -> Gatherd:
    return module_gatherd(CONFIG)


def still_well(daemon: Gatherd) -> None:
    assert daemon.running, daemon.log_tail()
    assert good(daemon.get("/")) == "root"


# -- methods --


def test_head_answers_where_get_does(daemon: Gatherd) -> None:
    with Wire(daemon) as wire:
        for path, status in {"/": 200, "/things/5": 200, "/things/x": 400, "/none": 404, "/-/live": 200}.items():
            whole = wire.get(path).reply()
            head = wire.send(f"HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n").reply(head_only=True)
            assert head.status == whole.status == status and head.body == b""
            for name in ("Content-Type", "Content-Length"):
                assert head.headers[name] == whole.headers[name]
    problem(daemon.get("/only-post"), 405)
    assert daemon.head("/only-post").status == 405


def allowed(reply) -> set[str]:
    return set(re.split(r",\s*", reply.headers["Allow"]))


def test_options_and_methods_that_are_not_there(daemon: Gatherd) -> None:
    things = {"GET", "HEAD", "DELETE", "PUT", "OPTIONS"}
    reply = daemon.request("OPTIONS", "/things/5")
    assert reply.status in (200, 204) and reply.body == b"" and allowed(reply) == things
    assert allowed(daemon.request("OPTIONS", "/things")) == {"POST", "OPTIONS"}
    for method in ("POST", "PATCH"):
        reply = daemon.request(method, "/things/5")
        problem(reply, 405)
        assert allowed(reply) == things
    problem(daemon.request("OPTIONS", "/none"), 404)
    assert daemon.raw(b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").split()[1] in (b"200", b"204")


@pytest.mark.parametrize("method", ["BREW", "get", "PROPFIND", "M-SEARCH", "PRI", "TRACER", "CONNECTED", "trace"])
def test_methods_of_nobody(daemon: Gatherd, method: str) -> None:
    with Wire(daemon) as wire:
        problem(wire.send(f"{method} / HTTP/1.1\r\nHost: x\r\n\r\n").reply(), 501)
        assert wire.get("/").reply().status == 200


EVERY_METHOD = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


@pytest.mark.parametrize(
    "line, methods",
    [
        ("TRACE / HTTP/1.1", {"GET", "HEAD", "OPTIONS"}),
        ("TRACE / HTTP/1.0", {"GET", "HEAD", "OPTIONS"}),
        ("TRACE /things/5?a=b HTTP/1.1", {"GET", "HEAD", "DELETE", "PUT", "OPTIONS"}),
        ("TRACE http://x/things HTTP/1.1", {"POST", "OPTIONS"}),
        ("TRACE /-/live HTTP/1.1", {"GET", "HEAD", "OPTIONS"}),
        ("TRACE * HTTP/1.1", EVERY_METHOD),
        ("CONNECT / HTTP/1.1", {"GET", "HEAD", "OPTIONS"}),
        ("CONNECT x:80 HTTP/1.1", EVERY_METHOD),
        ("CONNECT [::1]:443 HTTP/1.1", EVERY_METHOD),
    ],
)
def test_methods_for_proxies(daemon: Gatherd, line: str, methods: set[str]) -> None:
    """Nothing of the request is sent back, and there is no tunnel: the connection goes on."""
    with Wire(daemon) as wire:
        reply = wire.send(f"{line}\r\nHost: x\r\nConnection: keep-alive\r\nX-Secret: s3cret\r\n\r\n").reply()
        problem(reply, 405)
        assert allowed(reply) == methods and b"s3cret" not in reply.body
        problem(wire.send("TRACE /none HTTP/1.1\r\nHost: x\r\n\r\n").reply(), 404)
        assert good(wire.get("/").reply()) == "root"


# -- paths --

PATHS: list[tuple[str, int, object]] = [
    ("/", 200, "root"),
    ("/?", 200, "root"),
    ("/echo/a", 200, "a"),
    ("/echo/a?x=1", 200, "a"),
    ("/echo/a%20b", 200, "a b"),
    ("/echo/a+b", 200, "a+b"),
    ("/echo/a%2Fb", 200, "a/b"),
    ("/echo/a%2fb", 200, "a/b"),
    ("/echo/%C3%A9%F0%9F%98%80", 200, "é\U0001f600"),
    ("/echo/;a=b,c:d@e!$&'()*", 200, ";a=b,c:d@e!$&'()*"),
    ("/echo/...", 200, "..."),
    ("/echo/%25", 200, "%"),
    ("/echo/%7Bx%7D", 200, "{x}"),
    ("/rest/a/b/c", 200, "a/b/c"),
    ("/rest/a", 200, "a"),
    ("/rest/a%20b/c", 200, "a b/c"),
    ("http://any.example/echo/a?b", 200, "a"),
    ("http://any.example", 200, "root"),
    ("/none", 404, None),
    ("/echo", 404, None),
    ("/echo/", 404, None),
    ("/echo/a/", 404, None),
    ("/echo/a/b", 404, None),
    ("//", 404, None),
    ("//echo/a", 404, None),
    ("/echo//a", 404, None),
    ("/Echo/a", 404, None),
    ("/%65cho/a", 200, "a"),
    ("/rest/", 404, None),
    ("/rest", 404, None),
    ("/echo/..", 400, None),
    ("/echo/.", 400, None),
    ("/echo/../echo/a", 400, None),
    ("/echo/%2e%2e", 400, None),
    ("/echo/%2E%2e/a", 400, None),
    ("/rest/a/../b", 400, None),
    ("/rest/a/%2e%2e/b", 400, None),
    ("/rest/%2e%2e%2fb", 400, None),
    ("/echo/%00", 400, None),
    ("/echo/a%00b", 400, None),
    ("/echo/%", 400, None),
    ("/echo/%4", 400, None),
    ("/echo/%zz", 400, None),
    ("/echo/%ff", 400, None),
    ("/echo/%c0%af", 400, None),
    ("/echo/%ed%a0%80", 400, None),
    ("*", 400, None),
    ("echo/a", 400, None),
    ("127.0.0.1:80", 400, None),
    ("ftp://x/echo/a", 400, None),
    ("/echo/a#b", 400, None),
]


def test_paths(daemon: Gatherd) -> None:
    with Wire(daemon) as wire:
        for path, status, expected in PATHS:
            try:
                reply = wire.get(path).reply()
            except ConnectionError as error:
                raise AssertionError(f"{path}: {error}") from error
            print(path, reply.status, reply.body)
            if status == 200:
                assert good(reply) == expected
            else:
                problem(reply, status)
            if reply.headers.get("Connection") == "close":
                wire.socket.close()
                wire = Wire(daemon)


# -- bodies --


def chunked(*chunks: bytes, trailer: bytes = b"") -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n" + trailer + b"\r\n"


def test_bodies(daemon: Gatherd) -> None:
    head = b"POST /things HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with Wire(daemon) as wire:
        assert good(wire.post("/things", '{"n": 5}').reply()) == {"n": 5, "body": {"n": 5}}
        assert good(wire.post("/things", '{"n": 5}', type="application/json; charset=utf-8").reply())["n"] == 5
        assert good(wire.post("/things", '{"n": 5}', type="application/merge-patch+json").reply())["n"] == 5
        assert good(wire.send(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b'{"n"', b": 6}")).reply())["n"] == 6
        extended = b"3;name=value\r\n{}\n\r\n0\r\nTrailer: x\r\n\r\n"
        assert good(wire.send(head + b"Transfer-Encoding: chunked\r\n\r\n" + extended).reply())["body"] == {}
        assert good(wire.send(head + b"Content-Length: 0\r\n\r\n").reply())["body"] is None
        assert good(wire.send(b"POST /things HTTP/1.1\r\nHost: x\r\n\r\n").reply())["body"] is None
        wire.send(head + b"Content-Length: 8\r\nExpect: 100-continue\r\n\r\n")
        assert wire.reply().status == 100
        assert good(wire.send(b'{"n": 7}').reply())["n"] == 7
        for byte in head + b"Content-Length: 8\r\n\r\n" + b'{"n": 8}':
            wire.send(bytes([byte]))
        assert good(wire.reply())["n"] == 8
        # A body that nobody wants does not become the next request.
        assert good(wire.send("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nGET ").reply()) == "root"
        assert good(wire.get("/").reply()) == "root"


CHUNKED = b"POST /things HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"


def test_chunks_in_pieces(daemon: Gatherd) -> None:
    """Cut anywhere, with the next request right behind; the client may have asked whether to send."""
    body = chunked(b'{"n"', b": 6}", trailer=b"A: b\r\n")
    whole = CHUNKED + b"\r\n" + body + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    with Wire(daemon) as wire:
        for cut in range(len(CHUNKED) + 2, len(whole)):
            wire.send(whole[:cut])
            time.sleep(0.001)
            wire.send(whole[cut:])
            assert good(wire.reply())["n"] == 6
            assert good(wire.reply()) == "root"
        for cut in range(len(body)):
            wire.send(CHUNKED + b"Expect: 100-continue\r\n\r\n" + body[:cut])
            assert wire.reply().status == 100
            for byte in body[cut:]:
                wire.send(bytes([byte]))
            assert good(wire.reply())["n"] == 6
        assert good(wire.get("/").reply()) == "root"


@pytest.mark.parametrize("status, title", [(200, "OK"), (203, "Non-Authoritative Information"), (207, "Multi-Status"), (299, "Other")])
def test_the_words_of_a_status(gatherd: Callable[..., Gatherd], status: int, title: str) -> None:
    """No success is called an error."""
    daemon = gatherd(f'server: {{ listen: [ "127.0.0.1:${{PORT}}" ] }}\nendpoints: {{ "GET /": {{ status: {status}, respond: x }} }}\n')
    assert daemon.raw(b"GET / HTTP/1.0\r\n\r\n").startswith(f"HTTP/1.1 {status} {title}\r\n".encode())


@pytest.mark.parametrize("name", ["Content-Type", "X-Value"])
def test_no_value_splits_a_reply(gatherd: Callable[..., Gatherd], name: str) -> None:
    config = f'"GET /{{rest*}}": {{ parameters: {{ v: {{ type: string }} }}, headers: {{ {name}: "text/{{v}}" }}, respond: x }}'
    daemon = gatherd('server: { listen: [ "127.0.0.1:${PORT}" ] }\nendpoints:\n  ' + config + "\n")
    for code in (1, 9, 10, 13, 31, 127):
        reply = daemon.get(f"/x?v=a%{code:02x}X-Evil:%20b")
        assert reply.headers["x-evil"] is None
        if code == 9:
            assert (reply.status, reply.headers[name]) == (200, "text/a\tX-Evil: b")
        else:
            problem(reply, 500)
    assert daemon.get("/x?v=%C3%A9").status == 200


@pytest.mark.parametrize("expect", [b"", b"Expect: 100-continue\r\n"])
@pytest.mark.parametrize("first", [b"", b"2\r\n{}\r\n"])
@pytest.mark.parametrize(
    "rest, status",
    [
        (b"2;a\n{}\r\n0\r\n\r\n", 400),
        (b"2\n{}\r\n0\r\n\r\n", 400),
        (b"0x2\r\n{}\r\n0\r\n\r\n", 400),
        (b"2\r\n{}\n0\r\n\r\n", 400),
        (b"2\r\n{}\r\r\n0\r\n\r\n", 400),
        (b"2 \r\n{}\r\n0\r\n\r\n", 400),
        (b"2;\r\n{}\r\n0\r\n\r\n", 400),
        (b'2;a="\r\n{}\r\n0\r\n\r\n', 400),
        (b"2; a\r\n{}\r\n0\r\n\r\n", 400),
        (b"0\n\n", 400),
        (b"0\r\nA: b\n\n", 400),
        (b"0\r\nA\r\n\r\n", 400),
        (b"0\r\nA : b\r\n\r\n", 400),
        (b"0\r\nContent-Length: 9\r\n\r\n", 400),
        (b"0\r\n" + b"A: b\r\n" * 4000, 431),
        (b"2;" + b"a" * 5000, 400),
    ],
)
def test_chunks_that_could_be_read_in_two_ways(daemon: Gatherd, expect: bytes, first: bytes, rest: bytes, status: int) -> None:
    """Refused in one piece and in two; what follows is no request."""
    for pieces in ([first + rest], [first, rest]):
        with Wire(daemon) as wire:
            wire.send(CHUNKED + expect + b"\r\n")
            if expect:
                assert wire.reply().status == 100
            for piece in pieces:
                wire.send(piece)
                time.sleep(0.002)
            wire.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            reply = wire.reply()
            assert "detail" in problem(reply, status)
            assert reply.headers["Connection"] == "close"
            assert wire.ended()


@pytest.mark.parametrize(
    "body, type, status",
    [
        ("{", "application/json", 400),
        ("", "application/json", 200),
        ("nonsense", "application/json", 400),
        ('{"n": 1} {"n": 2}', "application/json", 400),
        ("[1]", "application/json", 400),
        ('{"n": 1,}', "application/json", 400),
        ("{'n': 1}", "application/json", 400),
        ('{"n": 01}', "application/json", 400),
        ('{"n": NaN}', "application/json", 400),
        (b'{"n": "\xff"}', "application/json", 400),
        (b'\xef\xbb\xbf{"n": 1}', "application/json", 400),
        ('{"x": "\\ud800"}', "application/json", 400),
        ('{"n": 1', "application/json", 400),
        ("[" * 30000, "application/json", 400),
        ('{"a":' * 10000 + "1" + "}" * 10000, "application/json", 400),
        ('{"n": 1}', "text/plain", 415),
        ("n=1", "application/x-www-form-urlencoded", 415),
        ('{"n": 1}', "application/jsonx", 415),
        ("x" * 65536, "application/json", 400),
        ("x" * 65537, "application/json", 413),
        ("x" * 200000, "application/json", 413),
    ],
)
def test_bad_bodies(daemon: Gatherd, body: str | bytes, type: str, status: int) -> None:
    with Wire(daemon) as wire:
        wire.post("/things", body, type=type)
        reply = wire.reply()
        if status == 200:
            good(reply)
        else:
            problem(reply, status)
        if status == 413 or reply.headers.get("Connection") == "close":
            assert wire.ended()
        else:
            assert good(wire.get("/").reply()) == "root", "the connection goes on"
    still_well(daemon)


def test_a_body_without_its_type(daemon: Gatherd) -> None:
    with Wire(daemon) as wire:
        problem(wire.send('POST /things HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\n{"n": 1}').reply(), 415)
        assert wire.post("/any", "what ever", type="image/png").reply().status == 200


def test_bodies_that_are_too_large(daemon: Gatherd) -> None:
    head = b"POST /things HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with Wire(daemon) as wire:  # refused before any of it is sent
        problem(wire.send(head + b"Content-Length: 10000000000\r\nExpect: 100-continue\r\n\r\n").reply(), 413)
    with Wire(daemon) as wire:
        problem(wire.send(head + b"Content-Length: 99999999999999999999999999\r\n\r\n").reply(), 400, 413)
    with Wire(daemon) as wire:
        wire.send(head + b"Transfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(200):
                wire.send(b"1000\r\n" + b"x" * 4096 + b"\r\n")
        except ConnectionError:
            pass
        problem(wire.reply(), 413)
    still_well(daemon)


# -- heads --

HOST = b"Host: x\r\n"
END = b"\r\n"

# What is refused, and as what. Each would let a request hide from a proxy in front, or is no HTTP.
SHAPES: list[tuple[str, bytes, tuple[int, ...]]] = [
    ("no host", b"GET / HTTP/1.1\r\n\r\n", (400,)),
    ("two hosts", b"GET / HTTP/1.1\r\n" + HOST + b"Host: y\r\n\r\n", (400,)),
    ("a strange host", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", (400,)),
    ("an unfinished address", b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", (400,)),
    ("a port that is a word", b"GET / HTTP/1.1\r\nHost: x:y\r\n\r\n", (400,)),
    ("a port that is too large", b"GET / HTTP/1.1\r\nHost: x:99999\r\n\r\n", (400,)),
    ("a host of broken percents", b"GET / HTTP/1.1\r\nHost: %zz\r\n\r\n", (400,)),
    ("a user in the host", b"GET / HTTP/1.1\r\nHost: u@x\r\n\r\n", (400,)),
    ("a port without a host", b"GET / HTTP/1.1\r\nHost: :80\r\n\r\n", (400,)),
    ("a strange host in 1.0", b"GET / HTTP/1.0\r\nHost: x:y\r\n\r\n", (400,)),
    ("a strange host in the target", b"GET http://x:y/ HTTP/1.1\r\n" + HOST + END, (400,)),
    ("UTF-8 in the target", "GET /echo/é HTTP/1.1\r\n".encode() + HOST + END, (400,)),
    ("HTTP/1.2", b"GET / HTTP/1.2\r\n" + HOST + END, (505,)),
    ("empty lines and nothing else", b"\r\n" * 1000, (400,)),
    ("an empty line without CR", b"\nGET / HTTP/1.1\r\n" + HOST + END, (400,)),
    ("a compressed body", b"POST /any HTTP/1.1\r\n" + HOST + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b", (415,)),
    ("length and encoding", b"POST /any HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", (400,)),
    ("encoding and length", b"POST /any HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", (400,)),
    ("two lengths", b"POST /any HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", (400,)),
    ("the same length twice", b"POST /any HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na", (400,)),
    ("a list of lengths", b"POST /any HTTP/1.1\r\n" + HOST + b"Content-Length: 1, 1\r\n\r\na", (400,)),
    ("a signed length", b"POST /any HTTP/1.1\r\n" + HOST + b"Content-Length: +1\r\n\r\na", (400,)),
    ("a negative length", b"POST /any HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n", (400,)),
    ("a hexadecimal length", b"POST /any HTTP/1.1\r\n" + HOST + b"Content-Length: 0x1\r\n\r\na", (400,)),
    ("an empty length", b"POST /any HTTP/1.1\r\n" + HOST + b"Content-Length: \r\n\r\n", (400,)),
    ("an overflowing length", b"POST /any HTTP/1.1\r\n" + HOST + b"Content-Length: 18446744073709551617\r\n\r\na", (400, 413)),
    ("gzip, chunked", b"POST /any HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", (400, 501)),
    ("identity", b"POST /any HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: identity\r\n\r\n", (400, 501)),
    ("chunked twice", b"POST /any HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", (400,)),
    ("xchunked", b"POST /any HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", (400, 501)),
    ("a vertical tab", b"POST /any HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", (400,)),
    ("chunked in 1.0", b"POST /any HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", (400,)),
    ("a blank before the colon", b"POST /any HTTP/1.1\r\n" + HOST + b"Content-Length : 1\r\n\r\na", (400,)),
    ("a folded field", b"GET / HTTP/1.1\r\n" + HOST + b"X-A: b\r\n c\r\n\r\n", (400,)),
    ("a folded first field", b"GET / HTTP/1.1\r\n Host: x\r\n\r\n", (400,)),
    ("a bare CR", b"GET / HTTP/1.1\r\n" + HOST + b"X-A: b\rX-B: c\r\n\r\n", (400,)),
    ("bare LFs", b"GET / HTTP/1.1\nHost: x\n\n", (400,)),
    ("one bare LF", b"GET / HTTP/1.1\r\nHost: x\nX-A: b\r\n\r\n", (400,)),
    ("a NUL in a field", b"GET / HTTP/1.1\r\n" + HOST + b"X-A: b\0c\r\n\r\n", (400,)),
    ("a NUL in the target", b"GET /\0 HTTP/1.1\r\n" + HOST + END, (400,)),
    ("a field without a name", b"GET / HTTP/1.1\r\n" + HOST + b": x\r\n\r\n", (400,)),
    ("a field without a colon", b"GET / HTTP/1.1\r\n" + HOST + b"X-A\r\n\r\n", (400,)),
    ("a blank in a name", b"GET / HTTP/1.1\r\n" + HOST + b"X A: b\r\n\r\n", (400,)),
    ("blanks in the target", b"GET /a b HTTP/1.1\r\n" + HOST + END, (400,)),
    ("no target", b"GET  HTTP/1.1\r\n" + HOST + END, (400,)),
    ("no version", b"GET /\r\n" + HOST + END, (400,)),
    ("HTTP/0.9", b"GET /\r\n\r\n", (400,)),
    ("HTTP/2.0", b"GET / HTTP/2.0\r\n" + HOST + END, (400, 505)),
    ("HTTP/1.10", b"GET / HTTP/1.10\r\n" + HOST + END, (400, 505)),
    ("another protocol", b"GET / ICY/1.1\r\n" + HOST + END, (400,)),
    ("h2 at once", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 505)),
    ("TLS", bytes.fromhex("16030100c8010000c40303") + b"x" * 190 + b"\r\n\r\n", (400,)),
    ("an expectation", b"POST /any HTTP/1.1\r\n" + HOST + b"Expect: 200-ok\r\nContent-Length: 0\r\n\r\n", (417,)),
    ("a long target", b"GET /" + b"a" * 10000 + b" HTTP/1.1\r\n" + HOST + END, (414,)),
    ("a target without end", b"GET /" + b"a" * 100000, (414,)),
    ("a long field", b"GET / HTTP/1.1\r\n" + HOST + b"X-A: " + b"a" * 100000 + b"\r\n\r\n", (431,)),
    ("a field without end", b"GET / HTTP/1.1\r\n" + HOST + b"X-A: " + b"a" * 200000, (431,)),
    ("many fields", b"GET / HTTP/1.1\r\n" + HOST + b"".join(b"X-%d: a\r\n" % n for n in range(500)) + END, (431,)),
    ("a long method", b"A" * 5000 + b" / HTTP/1.1\r\n" + HOST + END, (400, 501)),
    ("bad chunks", b"POST /any HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n0\r\n\r\n", (400,)),
    ("a huge chunk", b"POST /any HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\na", (400, 413)),
    ("a negative chunk", b"POST /any HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\na\r\n0\r\n\r\n", (400,)),
    ("a chunk that is longer", b"POST /any HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n", (400,)),
]


@pytest.mark.parametrize("what, data, statuses", SHAPES, ids=[shape[0] for shape in SHAPES])
def test_refused_shapes(daemon: Gatherd, what: str, data: bytes, statuses: tuple[int, ...]) -> None:
    smuggled = b"GET /echo/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    with Wire(daemon) as wire:
        wire.send(data + smuggled)
        problem(wire.reply(), *statuses)
        assert wire.ended(), "what follows is not believed to be a request"
    still_well(daemon)


def test_a_head_in_the_same_breath_as_others_is_refused_after_them(daemon: Gatherd) -> None:
    with Wire(daemon) as wire:
        wire.get("/echo/1").get("/echo/2").send("GET / HTTP/1.1\r\n\r\n").get("/echo/3")
        assert [good(wire.reply()), good(wire.reply())] == ["1", "2"]
        problem(wire.reply(), 400)
        assert wire.ended()


def test_heads_that_are_unusual_but_right(daemon: Gatherd) -> None:
    with Wire(daemon) as wire:
        for head in (
            b"GET / HTTP/1.1\r\nhOsT: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost:x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: \t x \t\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
            b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"\r\n" * 8 + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET http://X:80/ HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: %41b.c_d:65535\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: [::1]:80\r\nX-Empty:\r\nX-Bytes: \xe9\xff\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + HOST + b"".join(b"X-%d: a\r\n" % n for n in range(90)) + END,
            b"GET / HTTP/1.1\r\n" + HOST + b"X-A: " + b"a" * 8000 + b"\r\n\r\n",
            b"GET /echo/" + b"a" * 7000 + b" HTTP/1.1\r\n" + HOST + END,
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        ):
            reply = wire.send(head).reply()
            assert reply.status == 200 and reply.version == "HTTP/1.1", head


def test_an_absolute_target_has_the_last_word(daemon: Gatherd) -> None:
    """RFC 9112, 3.2.2: Host does not count beside it."""
    with Wire(daemon) as wire:
        assert good(wire.send("GET /host HTTP/1.1\r\nHost: a:80\r\n\r\n").reply()) == "a:80"
        for target, host in (("http://b/host", "b"), ("HTTP://[::1]:8080/host", "[::1]:8080"), ("https://c:443/host", "c:443")):
            assert good(wire.send(f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").reply()) == host
            assert good(wire.send(f"GET {target} HTTP/1.1\r\nHost:\r\n\r\n").reply()) == host
        assert good(wire.send("GET /host HTTP/1.1\r\nHost: a\r\n\r\n").reply()) == "a"


def test_empty_lines_before_a_request(daemon: Gatherd) -> None:
    """Old clients send one after a body. It is not the beginning of a request: nothing comes of it but idleness."""
    with Wire(daemon) as wire:
        for _ in range(3):
            assert good(wire.post("/things", '{"n": 5}').reply())["n"] == 5
            for byte in b"\r\n":
                wire.send(bytes([byte]))
                time.sleep(0.01)
            assert good(wire.get("/echo/a").reply()) == "a"
        wire.post("/things", '{"n": 6}').send("\r\n").get("/echo/b").send("\r\n\r\n").get("/echo/c")
        assert good(wire.reply())["n"] == 6
        assert [good(wire.reply()), good(wire.reply())] == ["b", "c"]


def test_an_empty_line_is_no_slow_head(gatherd: Callable[..., Gatherd]) -> None:
    """The time for a head, 10 s, begins with its first byte; an idle connection has idle_timeout."""
    daemon = gatherd('server: { listen: [ "127.0.0.1:${PORT}" ], idle_timeout: 60s }\nendpoints: { "GET /": { respond: x } }\n')
    with Wire(daemon) as wire:
        wire.send("\r\n")
        time.sleep(12)
        assert good(wire.get("/").reply()) == "x"


@pytest.mark.parametrize("field", ["Expect: 100-continue", "expect:100-Continue", "Expect: nonsense", "Expect:"])
@pytest.mark.parametrize("first", [True, False])
def test_old_clients_get_no_interim_reply(daemon: Gatherd, field: str, first: bool) -> None:
    """HTTP/1.0 knows none: it would be taken for the reply."""
    lines = ["POST /things HTTP/1.0", "Content-Type: application/json", "Connection: keep-alive", "Content-Length: 8"]
    lines.insert(1 if first else 4, field)
    with Wire(daemon) as wire:
        for n in (1, 2):
            wire.send("\r\n".join([*lines, "", ""]))
            time.sleep(0.05)
            assert good(wire.send(f'{{"n": {n}}}').reply()) == {"n": n, "body": {"n": n}}
        assert good(wire.send("\r\n".join([*lines, "", '{"n": 3}'])).reply())["n"] == 3
        for byte in "\r\n".join(["", *lines, "", '{"n": 4}']).encode():
            wire.send(bytes([byte]))
            time.sleep(0.0005)
        assert good(wire.reply())["n"] == 4


def test_content_codings(daemon: Gatherd) -> None:
    """Refused before the body is sent; what is not coded is welcome."""
    head = "POST /things HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 8\r\n"
    with Wire(daemon) as wire:
        for field in ("Content-Encoding: identity", "content-encoding: IDENTITY, identity", "Content-Encoding:"):
            assert good(wire.send(f'{head}{field}\r\n\r\n{{"n": 9}}').reply())["n"] == 9
    for fields in ("Content-Encoding: gzip", "Content-Encoding: identity\r\ncontent-encoding: br", "Content-Encoding: x-unknown"):
        with Wire(daemon) as wire:
            reply = wire.send(f"{head}{fields}\r\nExpect: 100-continue\r\n\r\n").reply()
            problem(reply, 415)
            assert reply.headers["Accept-Encoding"] == "identity"
            assert wire.ended()


# -- connections --


def test_kept_connections_and_those_that_end(daemon: Gatherd) -> None:
    with Wire(daemon) as wire:
        for _ in range(5):
            assert wire.get("/").reply().status == 200
        reply = wire.get("/", "Connection: close").reply()
        assert reply.status == 200 and reply.headers["Connection"] == "close"
        assert wire.ended()
    with Wire(daemon) as wire:
        assert wire.get("/", "connection: keep-alive, CLOSE").reply().status == 200
        assert wire.ended()
    with Wire(daemon) as wire:  # HTTP/1.0 ends unless asked
        assert good(wire.get("/", version="1.0").reply()) == "root"
        assert wire.ended()
    with Wire(daemon) as wire:
        assert wire.send("GET / HTTP/1.0\r\n\r\n").reply().status == 200, "HTTP/1.0 knows no Host"
        assert wire.ended()
    with Wire(daemon) as wire:
        assert wire.get("/", "Connection: keep-alive", version="1.0").reply().status == 200
        assert wire.get("/", "Connection: keep-alive", version="1.0").reply().status == 200


def test_errors_leave_the_connection(daemon: Gatherd) -> None:
    with Wire(daemon) as wire:
        for path, status in {"/none": 404, "/things/x": 400, "/only-post": 405, "/echo/%00": 400, "/": 200}.items():
            assert wire.get(path).reply().status == status
        problem(wire.post("/things", "{").reply(), 400)
        problem(wire.post("/things", "x", type="text/plain").reply(), 415)
        assert wire.get("/").reply().status == 200


def test_pipelined_requests_are_answered_in_order(daemon: Gatherd) -> None:
    with Wire(daemon) as wire:
        for n in range(100):
            wire.get(f"/echo/{n}")
            wire.post("/things", json.dumps({"n": n}))
        for n in range(100):
            assert good(wire.reply()) == str(n)
            assert good(wire.reply())["n"] == n


def test_a_client_that_closes_its_side_gets_its_replies(daemon: Gatherd) -> None:
    received = daemon.raw(b"GET /echo/1 HTTP/1.1\r\nHost: x\r\n\r\nGET /echo/2 HTTP/1.1\r\nHost: x\r\n\r\n", shutdown=True)
    assert received.count(b"HTTP/1.1 200") == 2 and received.endswith(b'"2"')


def test_a_connection_that_says_nothing_or_half(daemon: Gatherd) -> None:
    before = daemon.fds
    for data in (b"", b"GET", b"GET / HTTP/1.1\r\nHost", b"POST /any HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc"):
        assert daemon.raw(data, shutdown=True) == b"" or True
    wires = [Wire(daemon).send("GET / HTTP/1.1\r\nHos") for _ in range(50)]
    for wire in wires:
        wire.socket.close()
    still_well(daemon)
    wait_for(lambda: daemon.fds <= before + 1, 10, "the connections to be closed")


def test_a_slow_head_is_given_up(daemon: Gatherd) -> None:
    """A byte now and then does not hold a connection for ever."""
    with Wire(daemon) as wire, stopwatch() as took:
        wire.send("GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        wire.socket.settimeout(0.25)
        while took is not None:
            try:
                wire.send("a")
                reply = wire.reply()
                break
            except TimeoutError:
                continue
        problem(reply, 408)
        assert good(daemon.get("/")) == "root"
    assert 2 < took.seconds < 30


def test_a_reply_that_nobody_takes_stalls_nobody(daemon: Gatherd) -> None:
    stuck = []
    for _ in range(10):
        wire = Wire(daemon)
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.socket.setblocking(False)
        try:
            for n in range(2000):
                wire.get("/echo/" + "a" * 4000)
        except BlockingIOError:
            pass
        stuck.append(wire)
    with stopwatch() as took:
        still_well(daemon)
    assert took.seconds < 5
    for wire in stuck:
        wire.socket.close()
    still_well(daemon)


# -- ids --


def test_request_ids(daemon: Gatherd) -> None:
    def id_for(given: str | None) -> str:
        headers = {} if given is None else {"X-Request-Id": given}
        reply = daemon.post("/any", headers=headers)
        assert good(reply)["id"] == reply.headers["X-Request-Id"]
        return reply.headers["X-Request-Id"]

    for sane in ("abc-123_X.y", "a", "9" * 64, "8f14e45f-ceea-467f-a8f5-5e2a3d1b9c77"):
        assert id_for(sane) == sane
    made = [id_for(other) for other in (None, "", "a b", 'a"b', "x" * 200, "a=b", "é".encode().decode("latin-1"), "a,b\tc")]
    assert len(set(made)) == len(made) and all(re.fullmatch(r"[A-Za-z0-9._-]{16,64}", one) for one in made)
    reply = daemon.get("/none", headers={"X-Request-Id": "mine"})
    assert problem(reply, 404)["instance"] == "mine"


# -- listeners --


def test_a_unix_socket(daemon: Gatherd) -> None:
    path = daemon.folder / "http.sock"
    assert path.stat().st_mode & 0o777 == 0o660
    with Wire(daemon, unix=path) as wire:
        assert good(wire.get("/echo/unix").reply()) == "unix"
        assert good(wire.get("/-/live").reply())


@pytest.mark.parametrize("threads", [1, 2])
def test_several_listeners(gatherd: Callable[..., Gatherd], threads: int) -> None:
    daemon = gatherd(f"""
        server:
          threads: {threads}
          listen:
            - 127.0.0.1:${{PORT}}
            - 127.0.0.1:${{ADMIN}}
            - "[::1]:${{PORT}}"
            - {{ address: "unix:${{FOLDER}}/a.sock", mode: "0600" }}
            - unix:${{FOLDER}}/b.sock
        endpoints: {{ "GET /": {{ respond: "{{request.ip}}" }} }}
    """)
    assert good(daemon.get("/")) == "127.0.0.1"
    assert good(daemon.get("/", port=daemon.admin_port)) == "127.0.0.1"
    assert (daemon.folder / "a.sock").stat().st_mode & 0o777 == 0o600
    for name in ("a.sock", "b.sock"):
        with Wire(daemon, unix=daemon.folder / name) as wire:
            assert good(wire.get("/").reply()) == "unix"
    with socket.create_connection(("::1", daemon.port), 10) as six:
        six.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b'"::1"' in b"".join(iter(lambda: six.recv(65536), b""))
    daemon.stop()
    assert not list(daemon.folder.glob("*.sock")), "a Unix socket's file goes with its listener"


def test_a_stale_unix_socket_is_replaced(gatherd: Callable[..., Gatherd]) -> None:
    daemon = gatherd('server: { listen: [ "127.0.0.1:${PORT}", "unix:${FOLDER}/http.sock" ] }\nendpoints: { "GET /": { respond: x } }')
    daemon.kill()
    assert (daemon.folder / "http.sock").exists()
    daemon.start()
    with Wire(daemon, unix=daemon.folder / "http.sock") as wire:
        assert wire.get("/").reply().status == 200


def test_an_address_that_is_taken(gatherd: Callable[..., Gatherd]) -> None:
    first = gatherd('endpoints: { "GET /": { respond: x } }')
    second = gatherd(f'server: {{ listen: "127.0.0.1:{first.port}" }}\nendpoints: {{ "GET /": {{ respond: y }} }}', start=False)
    second._spawn()
    assert second.process.wait(20) not in (0, None)
    assert str(first.port) in second.log()
    assert "gatherd.yaml:1:" in second.log()
    second.process = None
    assert good(first.get("/")) == "x"


def test_the_admin_listener(gatherd: Callable[..., Gatherd]) -> None:
    daemon = gatherd("""
        server: { listen: [ "127.0.0.1:${PORT}" ], admin: "127.0.0.1:${ADMIN}" }
        endpoints: { "GET /": { respond: x } }
    """)
    for path in ("/-/live", "/-/ready"):
        problem(daemon.get(path), 404)
        assert good(daemon.get(path, port=daemon.admin_port))
        assert daemon.head(path, port=daemon.admin_port).status == 200
        problem(daemon.request("DELETE", path, port=daemon.admin_port), 405)
    assert good(daemon.get("/")) == "x"
    problem(daemon.get("/", port=daemon.admin_port), 404)
    problem(daemon.get("/-/none", port=daemon.admin_port), 404)


# -- anything --


def mutations(seed: int) -> bytes:
    """Something between a request and noise."""
    rng = random.Random(seed)
    base = bytearray(
        rng.choice(
            [
                b"GET /echo/abc?x=1&y=%20 HTTP/1.1\r\nHost: x\r\nX-Request-Id: abc\r\n\r\n",
                b'POST /things HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n{"n": 1}',
                b"POST /any HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
                b'PUT /things/1 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n{"a": [1, {}]}',
                b"OPTIONS /rest/a/b HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
                bytes(rng.randrange(256) for _ in range(rng.randrange(200))),
            ]
        )
        * rng.randrange(1, 4)
    )
    for _ in range(rng.choice([0, 1, 1, 2, 5, 30])):
        at = rng.randrange(len(base) + 1)
        match rng.randrange(5):
            case 0 if at < len(base):
                base[at] = rng.randrange(256)
            case 1:
                base[at:at] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 20)))
            case 2:
                del base[at : at + rng.randrange(1, 20)]
            case 3:
                base[at:at] = rng.choice([b"\r\n", b"\n", b"\0", b"%00", b": ", b"\r\n\r\n", b"%", b"chunked", b"0", b"\xff\xfe", b" HTTP/1.1"])
            case 4:
                base[at:at] = base[at : at + rng.randrange(1, 60)]
    return bytes(base)


def check_stream(data: bytes, sent: bytes) -> None:
    """All that came back are whole replies, and problems are problems."""
    while data:
        head, separator, rest = data.partition(b"\r\n\r\n")
        assert separator, (data, sent)
        assert re.fullmatch(rb"HTTP/1\.1 [1-5]\d\d [ -~]+", head.split(b"\r\n")[0]), (head, sent)
        status = int(head.split()[1])
        fields = {line.partition(b":")[0].lower(): line.partition(b":")[2].strip() for line in head.split(b"\r\n")[1:]}
        if status == 100:
            data = rest
            continue
        length = int(fields.get(b"content-length", b"0")) if status != 204 else 0
        body, data = rest[:length], rest[length:]
        if status >= 400 and body and len(body) == length and not data.startswith(b"{"):
            assert fields[b"content-type"] == b"application/problem+json", (head, body, sent)
            assert json.loads(body)["status"] == status
        assert status != 500, (body, sent)


@pytest.mark.parametrize("part", range(6))
def test_anything_at_all(daemon: Gatherd, part: int) -> None:
    def throw(seed: int) -> None:
        data = mutations(seed)
        rng = random.Random(~seed)
        with daemon.connect(timeout=20) as plain:
            received = b""
            try:
                for at in range(0, max(1, len(data)), step := rng.choice([1 << 20, 1 << 20, 7, 64])):
                    plain.sendall(data[at : at + step])
                with contextlib.suppress(OSError):  # it may have been refused and closed by now
                    plain.shutdown(socket.SHUT_WR)
                while chunk := plain.recv(65536):
                    received += chunk
            except ConnectionError:
                return
        if b"HEAD" not in data:
            check_stream(received, data)

    for batch in range(10):
        at_once([lambda seed=seed: throw(seed) for seed in range(part * 200 + batch * 20, part * 200 + batch * 20 + 20)])
    still_well(daemon)


def test_connections_that_are_reset(daemon: Gatherd) -> None:
    linger_0 = b"\x01\0\0\0\0\0\0\0"
    for n in range(100):
        wire = Wire(daemon)
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_0)
        wire.send(mutations(n)) if n % 2 else wire.get("/echo/a").post("/things", "{}")
        wire.socket.close()
    still_well(daemon)


def test_many_connections_at_once(daemon: Gatherd) -> None:
    wires = [Wire(daemon) for _ in range(500)]
    for turn in range(2):
        for n, wire in enumerate(wires):
            wire.get(f"/echo/{turn}-{n}")
        for n, wire in enumerate(wires):
            assert good(wire.reply()) == f"{turn}-{n}"
    for wire in wires:
        wire.socket.close()


def test_no_noise_about_itself(daemon: Gatherd) -> None:
    """Nobody is told which program answers, nor its parts."""
    reply = daemon.get("/")
    assert "Server" not in reply.headers or "h2o" not in reply.headers["Server"].lower()
    assert abs(parsedate_to_datetime(reply.headers["Date"]).timestamp() - time.time()) < 5
