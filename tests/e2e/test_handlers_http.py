"""HTTP services asked by handlers in C: what is sent, what becomes of each answer, bodies that are read piece by piece."""

from __future__ import annotations

import errno
import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from harness import Gatherd
from harness.upstream import CHUNKED, JSON, Asked, Peer, Upstream, hangs, says, writes
from support import Wire, at_once, good, problem, stopwatch, wait_for

EINVAL, EPIPE, EBADF = -errno.EINVAL, -errno.EPIPE, -errno.EBADF
MIB = 1 << 20
BODY = b"0123456789" * 3


def echo(peer: Peer, asked: Asked) -> None:
    text = asked.body.decode("latin-1")
    peer.reply(json.dumps({"method": asked.method, "target": asked.target, "headers": asked.headers, "body": text}), JSON)


def endless(peer: Peer, _: Asked) -> None:
    peer.head(CHUNKED)
    while True:
        peer.chunk(b"x" * 65536)


def trickling(peer: Peer, _: Asked) -> None:
    peer.head(CHUNKED)
    peer.chunk(b"first")
    peer.wait_until_it_leaves()
    raise ConnectionError


def large(peer: Peer, asked: Asked) -> None:
    peer.reply(b"y" * (4 * MIB), "Content-Type: text/plain")


ANSWERS: dict[str, Any] = {
    "/base/json": says('{"a": [1, {"b": 1.50}]}'),
    "/base/null": says("null"),
    "/base/text": says("caf\u00e9", "Content-Type: text/plain"),
    "/base/bytes": says(b"\xff\x00\xfe", "Content-Type: application/octet-stream"),
    "/base/lies": says("no json"),
    "/base/problem": says('{"title":"no"}', "Content-Type: application/problem+json", status=404),
    "/base/nothing": says(b"", "X-A: 1", status=204),
    "/base/cookies": says("{}", JSON, "Set-Cookie: a=1, x", "Vary: a", "Set-Cookie: b=2", "VARY: b", "X-Bad: \xff"),
    "/base/cookie": says("{}", JSON, "Set-Cookie: a=1"),
    "/base/500": says("secret", status=500),
    "/base/hangs": hangs(),
    "/base/endless": endless,
    "/base/trickling": trickling,
    "/base/large": large,
    "/base/flaky": [says("", status=503), says("", status=503), says('"fine"')],
    "/base/echo": echo,
}


def otherwise(peer: Peer, asked: Asked) -> object:
    return echo(peer, asked)


@pytest.fixture
def service() -> Iterator[Upstream]:
    with Upstream(ANSWERS, otherwise=otherwise) as upstream:
        yield upstream


CONFIG = """
server: {{ listen: [ "127.0.0.1:${{PORT}}" ], threads: 2, request_timeout: 20s }}
semaphores: {{ few: 2 }}
sources:
  svc: {{ http: "{url}/base", headers: {{ X-Key: k, X-Other: source }}, retry: {{ attempts: 3, backoff: 1ms }}, max_size: 1MiB }}
  plain: {{ http: "{url}/base" }}
  short: {{ http: "{url}/base", timeout: 200ms, retry: {{ attempts: 1 }} }}
  few: {{ http: "{url}/base", semaphore: few }}
  breaks: {{ http: "{url}/base", retry: {{ attempts: 1 }}, breaker: {{ failures: 2, cooldown: 30s }} }}
endpoints:
"""
PARAMETERS = (
    "parameters: { path: { type: string, default: / }, ask: { type: string, default: '{}' }, most: { type: integer, default: 0 }, "
    "pause_ms: { type: integer, default: 0 }, source: { type: string, default: svc } }"
)
NAMES = ("get", "call", "failure", "gathered", "paths", "stream", "broken", "nothing")


@pytest.fixture
def daemon(gatherd: Callable[..., Gatherd], module: Callable[..., Path], service: Upstream) -> Gatherd:
    path = module("http")
    endpoints = "".join(f'  "GET /{name}": {{ handler: "{path}:{name}", {PARAMETERS} }}\n' for name in NAMES)
    return gatherd(CONFIG.format(url=service.url) + endpoints)


def query(name: str, **values: Any) -> str:
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
    return f"/{name}?" + "&".join(f"{key}={quote(text, safe='')}" for key, text in texts.items())


def ask(daemon: Gatherd, handler: str = "call", source: str = "svc", **request: Any) -> Any:
    return good(daemon.get(query(handler, ask=request, source=source)))


# -- in one piece --


def test_get_brings_the_json(daemon: Gatherd, service: Upstream) -> None:
    reply = daemon.get(query("get", path="/json"))
    assert reply.text == '{"a":[1,{"b":1.50}]}'
    assert good(daemon.get(query("get", path="/null"))) is None
    assert service.last("/base/json").header("accept") == "application/json"
    assert good(daemon.get(query("get", path="/flaky"))) == "fine"


@pytest.mark.parametrize("path", ["/500", "/lies", "/problem", "/text", "/large"])
def test_get_fails_as_a_step_does(daemon: Gatherd, path: str) -> None:
    document = problem(daemon.get(query("get", path=path)), 502)
    assert "secret" not in json.dumps(document)


@pytest.mark.parametrize(
    ("path", "kind", "body", "status"),
    [
        ("/json", "document", {"a": [1, {"b": 1.5}]}, 200),
        ("/null", "null", None, 200),
        ("/text", "text", "caf\u00e9", 200),
        ("/bytes", "bytes", "/wD+", 200),
        ("/lies", "text", "no json", 200),
        ("/problem", "document", {"title": "no"}, 404),
        ("/nothing", "null", None, 204),
        ("/500", "text", "secret", 500),
    ],
)
def test_the_whole_answer(daemon: Gatherd, path: str, kind: str, body: Any, status: int) -> None:
    got = ask(daemon, path=path)
    assert (got["kind"], got["answer"]["status"], got["answer"]["body"]) == (kind, status, body)
    assert got["again"] == {"body": body}


def test_headers_of_an_answer(daemon: Gatherd) -> None:
    headers = ask(daemon, path="/cookies")["answer"]["headers"]
    assert headers["set-cookie"] == ["a=1, x", "b=2"]
    assert (headers["vary"], headers["x-bad"], headers["content-type"]) == ("a, b", None, "application/json")
    assert ask(daemon, path="/cookie")["answer"]["headers"]["set-cookie"] == ["a=1"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
def test_any_method(daemon: Gatherd, service: Upstream, method: str) -> None:
    path = f"/any-{method.lower()}"
    if method == "HEAD":
        service.answers["/base" + path] = says("")
    got = ask(daemon, method=method, path=path)
    assert got["answer"]["status"] == 200
    asked = service.last("/base" + path)
    assert (asked.method, asked.body) == (method, b"")


@pytest.mark.parametrize(
    ("request_", "target"),
    [
        ({"path": "/a%2Fb"}, "/base/a%2Fb"),
        ({"path": "/a?x=1"}, "/base/a?x=1"),
        ({"path": "/", "query": {"a b": "c&d", "n": 1, "l": [1, "\u00e9"], "none": None, "t": True}}, "/base/?a%20b=c%26d&n=1&l=1&l=%C3%A9&t=true"),
        ({"path": "/a?x=1", "query": {"y": "2"}}, "/base/a?x=1&y=2"),
        ({"path": "/.../..a/a./%2e%2e%2e"}, "/base/.../..a/a./%2e%2e%2e"),
    ],
)
def test_targets(daemon: Gatherd, request_: dict[str, Any], target: str) -> None:
    assert ask(daemon, **request_)["answer"]["body"]["target"] == target


@pytest.mark.parametrize(
    "path",
    ["", "a", "/a b", "/a\r\nX: y", "/a\tb", "/%", "/%4", "/%zz", "/#", "/caf\u00e9", "/..", "/../x", "/a/../b", "/a/%2e%2E/b", "/.%2e", "/.", "/a/./b", "//../x", "/[", "?a"],
)
def test_paths_that_are_none(daemon: Gatherd, service: Upstream, path: str) -> None:
    got = ask(daemon, "failure", path=path)
    assert (got["failed"], got["status"]) == (EINVAL, 500)
    assert "the path can't be sent" in got["text"]
    assert not service.asked


@pytest.mark.parametrize(
    ("request_", "what"),
    [
        ({"method": "get"}, "no such method"),
        ({"method": "GET /x"}, "no such method"),
        ({"method": "CONNECT"}, "no such method"),
        ({"method": ""}, "no such method"),
        ({"body": "x"}, "has no body"),
        ({"method": "HEAD", "body": 1}, "has no body"),
        ({"query": [1]}, "the query is no document"),
        ({"query": {"a": "\0"}}, "NUL"),
        ({"headers": "x"}, "the headers are no document"),
        *[({"headers": {name: "x"}}, "can't be set") for name in ("Host", "content-length", "Transfer-Encoding", "connection", "TE", "a b", "", "a:", "a\r\nb", "\u00e9", "a\0b")],
        *[({"headers": {"X-A": value}}, "control character") for value in ("a\r\nb", "a\0", "\n", "\x7f")],
        ({"headers": {f"X-{i}": "x" for i in range(70)}}, "at most"),
    ],
)
def test_requests_that_are_none(daemon: Gatherd, service: Upstream, request_: dict[str, Any], what: str) -> None:
    got = ask(daemon, "failure", **({"path": "/x"} | request_))
    assert (got["failed"], got["status"]) == (EINVAL, 500)
    assert what in got["text"]
    assert not service.asked
    problem(daemon.get(query("stream", ask={"path": "/x"} | request_)), 500)


def test_bodies(daemon: Gatherd) -> None:
    for body, sent, content_type in [
        ("caf\u00e9 ", "caf\u00e9 ".encode().decode("latin-1"), "text/plain; charset=utf-8"),
        ("", "", "text/plain; charset=utf-8"),
        ({"a": [1, None]}, '{"a":[1,null]}', "application/json"),
        (1.50, "1.5", "application/json"),
        (False, "false", "application/json"),
    ]:
        echoed = ask(daemon, method="POST", path="/echo", body=body)["answer"]["body"]
        headers = dict(map(tuple, echoed["headers"]))
        assert (echoed["body"], headers["content-type"], headers["content-length"]) == (sent, content_type, str(len(sent)))
    echoed = ask(daemon, method="PUT", path="/echo", raw="x\0y")["answer"]["body"]
    assert (echoed["body"], dict(map(tuple, echoed["headers"]))["content-type"]) == ("x\0y", "application/octet-stream")
    echoed = ask(daemon, method="PUT", path="/echo", body="<a/>", headers={"content-TYPE": "text/xml"})["answer"]["body"]
    assert [value for name, value in echoed["headers"] if name == "content-type"] == ["text/xml"]


def test_headers_that_are_sent(daemon: Gatherd, service: Upstream) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    path = query("call", ask={"path": "/echo", "headers": {"x-other": "mine", "X-Empty": "", "X-Null": None, "X-N": 5}})
    reply = daemon.get(path, headers={"traceparent": trace, "tracestate": "a=1 , b=2", "X-Request-Id": "the-one"})
    assert good(reply)["answer"]["status"] == 200
    asked = service.last("/base/echo")
    assert (asked.header("x-key"), asked.header("x-other"), asked.header("x-n")) == ("k", "mine", "5")
    assert asked.header("x-empty") is None and asked.header("x-null") is None
    assert asked.header("x-request-id") == "the-one"
    child = asked.header("traceparent")
    assert child and child[:36] == trace[:36] and child != trace
    assert asked.header("tracestate") == "a=1,b=2"
    good(daemon.get(query("stream", ask={"path": "/echo"}), headers={"traceparent": trace, "tracestate": "a=1,,b=2"}))
    asked = service.last("/base/echo")
    assert (asked.header("traceparent") or "")[:36] == trace[:36] and asked.header("tracestate") == "a=1,b=2"
    good(daemon.get(query("call", ask={"path": "/echo", "headers": {"tracestate": "mine=1"}}), headers={"traceparent": trace, "tracestate": "a=1"}))
    assert service.last("/base/echo").header("tracestate") == "mine=1"


def test_only_what_may_be_is_sent_again(daemon: Gatherd, service: Upstream) -> None:
    for method, times in [("GET", 3), ("PUT", 3), ("POST", 1), ("PATCH", 1), ("PROPFIND", 1)]:
        path = f"/down-{method.lower()}"
        service.answers["/base" + path] = says("", status=503)
        assert ask(daemon, method=method, path=path)["answer"]["status"] == 503
        assert service.count["/base" + path] == times
        assert ask(daemon, "stream", method=method, path=path)["head"]["status"] == 503
        assert service.count["/base" + path] == 2 * times


def test_the_breaker_and_the_timeout_hold(daemon: Gatherd, service: Upstream) -> None:
    for handler in ("get", "get", "stream"):
        reply = daemon.get(query(handler, source="breaks", path="/500", ask={"path": "/500"}))
        problem(reply, 503 if handler == "stream" else 502)
    assert service.count["/base/500"] == 2
    with stopwatch() as elapsed:
        problem(daemon.get(query("get", source="short", path="/hangs")), 504)
        problem(daemon.get(query("stream", source="short", ask={"path": "/hangs"})), 504)
        got = ask(daemon, "stream", source="short", path="/trickling")
    assert elapsed.seconds < 10
    assert (got["read"]["ended"], got["read"]["begin"]) == (-errno.ETIMEDOUT, "first")


def test_the_semaphore_of_a_source_holds(daemon: Gatherd, service: Upstream) -> None:
    running: list[int] = [0, 0]

    def slowly(peer: Peer, _: Asked) -> None:
        running[0] += 1
        running[1] = max(running)
        wait_for(lambda: running[0] >= 2 or running[1] >= 2, 10, "two at once")
        running[0] -= 1
        peer.reply("1", JSON)

    service.answers["/base/slow"] = slowly
    got = good(daemon.get(query("gathered", source="few", path="/slow")))
    assert got == {"pending": 1, "r": 0, "all": [1] * 8}
    assert running[1] == 2


def test_calls_in_a_gather_run_at_once(daemon: Gatherd, service: Upstream) -> None:
    there: list[int] = []

    def together(peer: Peer, _: Asked) -> None:
        there.append(1)
        wait_for(lambda: len(there) >= 8, 10, "all eight")
        peer.reply("2", JSON)

    service.answers["/base/together"] = together
    assert good(daemon.get(query("gathered", path="/together")))["all"] == [2] * 8
    assert good(daemon.get(query("gathered", path="/500"))) == {"pending": 1, "r": 0, "all": [-errno.EBADMSG] * 8}


def test_paths_are_encoded(daemon: Gatherd) -> None:
    assert good(daemon.get("/paths")) == [
        "/users/a%2Fb%20c%25d%3F%C3%A9",
        "/n/-1/-2/3/4/5%20",
        "/q?a=&b=..",
        "/x./",
        None,
        None,
        None,
        None,
    ]


def test_nothing_is_answered_with_a_failure(daemon: Gatherd) -> None:
    assert good(daemon.get("/nothing")) == [EINVAL] * 10


def test_a_client_that_leaves_ends_the_call(daemon: Gatherd, service: Upstream) -> None:
    for path in (query("get", path="/hangs"), query("stream", ask={"path": "/trickling"}), query("stream", ask={"path": "/endless"}, pause_ms="50")):
        before = len(service.asked)
        with Wire(daemon) as wire:
            wire.get(path)
            wait_for(lambda: len(service.asked) > before, 10, "the call")
        wait_for(lambda: not service._open, 10, "the service's connections to be closed")


# -- piece by piece --


def test_a_stream_from_its_head_to_its_end(daemon: Gatherd) -> None:
    got = ask(daemon, "stream", path="/json")
    assert got["head"]["status"] == 200 and got["head"]["headers"]["content-type"] == "application/json"
    assert got["read"] == {"ended": 0, "sum": 23, "largest": 23, "begin": '{"a": [1, {"b": 1.50'}
    assert got["late"] == EBADF
    assert ask(daemon, "stream", path="/problem")["head"]["status"] == 404


def test_a_stream_is_not_bounded_by_max_size(daemon: Gatherd) -> None:
    got = ask(daemon, "stream", path="/large")
    assert (got["read"]["ended"], got["read"]["sum"]) == (0, 4 * MIB)
    assert got["read"]["largest"] <= 160 << 10


def test_a_slow_reader_takes_little_memory(daemon: Gatherd) -> None:
    daemon.get(query("stream", ask={"path": "/endless"}, most=str(MIB)))
    before = daemon.rss_kib
    replies = at_once(
        [lambda: daemon.get(query("stream", ask={"path": "/endless"}, most=str(2 * MIB), pause_ms="20"))] * 8,
    )
    assert all(good(reply)["read"]["sum"] >= 2 * MIB for reply in replies)
    assert daemon.rss_kib - before < 32 * 1024


def test_a_stream_that_is_left_open_ends_with_its_request(daemon: Gatherd, service: Upstream) -> None:
    assert good(daemon.get(query("stream", ask={"path": "/json"}, most="-1"))) is None
    got = good(daemon.get(query("stream", ask={"path": "/endless"}, most="1")))
    assert got["read"]["sum"] >= 1 and got["late"] == EBADF
    wait_for(lambda: service.left["/base/endless"] == 1, 10, "the service to notice")


def bodies() -> dict[str, tuple[bytes, int]]:
    """Each way to send BODY, and how long its head is."""
    packed = gzip.compress(BODY, mtime=0)
    heads = {
        "length": (b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY), BODY),
        "chunked": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"a\r\n%b\r\n14\r\n%b\r\n0\r\n\r\n" % (BODY[:10], BODY[10:])),
        "gzip": (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed), packed),
    }
    return {name: (head + body, len(head)) for name, (head, body) in heads.items()}


@pytest.mark.parametrize("kind", ["length", "chunked", "gzip"])
def test_a_body_that_is_cut_is_never_a_whole_one(daemon: Gatherd, service: Upstream, kind: str) -> None:
    whole, head = bodies()[kind]
    service.answers["/base/cut"] = writes(whole)
    got = ask(daemon, "stream", path="/cut", source="plain")
    assert (got["read"]["ended"], got["read"]["sum"]) == (0, len(BODY))
    last = len(whole) - (1 if kind == "chunked" else 0)  # its last byte says nothing any more
    for n in range(head, last):
        service.answers["/base/cut"] = writes(whole[:n])
        got = ask(daemon, "stream", path="/cut", source="plain")
        assert got["read"]["ended"] == EPIPE, n
        assert got["read"]["sum"] <= len(BODY)
    service.answers["/base/cut"] = writes(whole[: head + 2])
    problem(daemon.get(query("broken", ask={"path": "/cut"}, source="plain")), 502)
