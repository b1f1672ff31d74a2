"""HTTP sources and services that misbehave: what becomes of each answer, of time and memory, of connections, retries and
the breaker; and what of a request reaches the service."""

from __future__ import annotations

import functools
import gzip
import re
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote

import pytest
from harness import Gatherd
from harness.upstream import (
    CHUNKED,
    JSON,
    Answer,
    Asked,
    Peer,
    Upstream,
    echoes,
    hangs,
    redirects,
    resets,
    says,
    slowly,
    streams,
    trickles,
    writes,
)
from support import Wire, at_once, good, in_background, problem, request_line, stopwatch, wait_for

SECRET = "hush"  # a word of bodies that no client may see
BASE = "/inner"  # where the service has its paths, which no client may see either
OK = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
MIB = 1 << 20


def head(*fields: str) -> bytes:
    return (OK + "".join(f"{field}\r\n" for field in fields) + "\r\n").encode()


@functools.cache
def bomb() -> bytes:
    """128 MiB of spaces."""
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    return b"".join(packer.compress(bytes(b" ") * MIB) for _ in range(128)) + packer.flush()


def spaces(count: int | None = None) -> Iterator[bytes]:
    """MiB of them; None: without end."""
    piece = b" " * MIB
    while count is None or count > 0:
        yield piece
        count = None if count is None else count - 1


def chunks(count: int | None = None) -> Iterator[bytes]:
    for piece in spaces(count):
        yield b"%x\r\n%b\r\n" % (len(piece), piece)


def head_lines() -> Iterator[bytes]:
    for n in range(1 << 30):
        yield b"X-%d: %b\r\n" % (n, SECRET.encode())


def answers_a_bomb(peer: Peer, _: Asked) -> None:
    peer.reply(bomb(), JSON, "Content-Encoding: gzip")


# Answers that are a failure of the step: name, answer, and what the log says of it.
BAD: dict[str, tuple[Answer, str]] = {
    "not-json": (says(SECRET), "not JSON"),
    "nothing": (says(""), "not JSON"),
    "html": (says(f"<html>{SECRET}</html>", "Content-Type: text/html"), "not JSON"),
    "cut-json": (says(f'{{"a": ["{SECRET}", 2'), "not JSON"),
    "two-values": (says(f'{{"a": "{SECRET}"}} {{}}'), "not JSON"),
    "nul": (says(f'{{"a": "{SECRET}\0"}}'), "not JSON"),
    "nul-behind": (says(f'{{"a": "{SECRET}"}}\0'), "not JSON"),
    "bad-utf8": (says(b'{"a": "hush \xff"}'), "not JSON"),
    "surrogate-utf8": (says(b'{"a": "\xed\xa0\x80"}'), "not JSON"),
    "latin1": (says('{"a": "hush \xfc"}'.encode("latin-1"), "Content-Type: application/json; charset=iso-8859-1"), "not JSON"),
    "deep": (says("[" * 100_000 + "]" * 100_000), "not JSON"),
    "deep-open": (says("[" * 100_000), "not JSON"),
    "deep-65": (says("[" * 65 + "]" * 65), "not JSON"),
    "nan": (says('{"a": NaN}'), "not JSON"),
    "hex": (says('{"a": 0x10}'), "not JSON"),
    "leading-zero": (says('{"a": 01}'), "not JSON"),
    "comment": (says('{"a": 1} // hush'), "not JSON"),
    "closes": (writes(b""), "closed before an answer"),
    "closes-in-status": (writes(b"HTTP/1.1 2"), ""),
    "closes-in-head": (writes(OK.encode() + b"X-Word: hush\r\n"), ""),
    "closes-in-chunks": (writes(head(CHUNKED) + b'8\r\n{"a": 1}\r\n'), ""),
    "resets": (resets(), ""),
    "resets-in-head": (resets(OK.encode()), ""),
    "resets-in-body": (resets(head("Content-Length: 100") + b'{"a": "hush'), ""),
    "resets-in-chunks": (resets(head(CHUNKED) + b'8\r\n{"a": 1}\r\n'), ""),
    "resets-endless-body": (resets(head("Connection: close") + b'{"a": 1}'), ""),
    "length-too-large": (writes(head("Content-Length: 100") + b'{"a": 1}'), "closed in the midst"),
    "length-too-small": (says(f'{{"a": "{SECRET}"}}', length=5), "not JSON"),
    "gzip-trailer-cut": (says(gzip.compress(b'{"a": 1}')[:-8], JSON, "Content-Encoding: gzip"), "cut off"),
    "gzip-and-more": (says(gzip.compress(b'{"a": 1}') + b"more", JSON, "Content-Encoding: gzip"), "compression"),
    "coding-unknown": (says('{"a": 1}', JSON, "Content-Encoding: br"), "compression"),
    "coding-twice": (says(gzip.compress(gzip.compress(b'{"a": 1}')), JSON, "Content-Encoding: gzip, gzip"), "compression"),
    "length-nonsense": (writes(head("Content-Length: hush") + b'{"a": 1}'), ""),
    "length-with-more": (writes(head("Content-Length: 8hush") + b'{"a": 1}'), "Content-Length"),
    "length-twice": (writes(head("Content-Length: 2", "Content-Length: 8") + b'{"a": 1}'), "Content-Length"),
    "length-beyond-all": (writes(head("Content-Length: 99999999999999999999999") + b'{"a": 1}'), "Content-Length"),
    "chunk-nonsense": (writes(head(CHUNKED) + b"hush\r\n"), ""),
    "gzip-nonsense": (says("hush", JSON, "Content-Encoding: gzip"), ""),
    "gzip-cut": (says(gzip.compress(b'{"a": "hush"}')[:-14], JSON, "Content-Encoding: gzip"), ""),
    "encoding-unknown": (says("hush", JSON, "Content-Encoding: br"), ""),
    "not-http": (writes(b"SSH-2.0-hush\r\n"), ""),
    "status-nonsense": (writes(b"HTTP/1.1 abc hush\r\n\r\n"), ""),
    "huge": (streams(head(f"Content-Length: {256 * MIB}"), lambda: spaces(256)), "max_size"),
    "huge-chunked": (streams(head(CHUNKED), lambda: chunks(256)), "max_size"),
    "huge-to-its-end": (streams(head("Connection: close"), lambda: spaces(256)), "max_size"),
    "endless": (streams(head(CHUNKED), chunks), "max_size"),
    "endless-head": (streams(OK.encode(), head_lines), "headers"),
    "bomb": (answers_a_bomb, "max_size"),
    "redirects": (redirects(f"{BASE}/good"), "status 302"),
    "not-modified": (says("", status=304), "status 304"),
    **{
        f"status-{status}": (says(f'{{"word": "{SECRET}"}}', status=status), f"status {status}")
        for status in (400, 401, 403, 404, 409, 418, 422, 429, 499, 500, 501, 502, 503, 504, 599)
    },
}

# Answers that are unusual and right: the answer, and the step's result as it must stand in the reply.
GOOD: dict[str, tuple[Answer, str]] = {
    "good": (says('{"a": 1}'), '{"a":1}'),
    "created": (says('{"a": 1}', status=201), '{"a":1}'),
    "no-content": (says("", status=204), "null"),
    "scalar": (says(' "x" \r\n'), '"x"'),
    "null": (says("null"), "null"),
    "any-type": (says('{"a": 1}', "Content-Type: text/plain"), '{"a":1}'),
    "deep-64": (says("[" * 64 + "]" * 64), "[" * 64 + "]" * 64),
    "1e999": (says('{"n": 1e999, "m": -1E-999}'), '{"n":1e999,"m":-1E-999}'),
    "duplicate": (says('{"a": 1, "a": 2}'), '{"a":1,"a":2}'),
    "escaped-nul": (says('{"a": "\\u0000"}'), '{"a":"\\u0000"}'),
    "chunked": (writes(head(CHUNKED) + b'4;x="y"\r\n{"a"\r\n4\r\n: 1}\r\n0\r\nX-Trailer: 1\r\n\r\n'), '{"a":1}'),
    "to-its-end": (writes(head("Connection: close") + b'{"a": 1}'), '{"a":1}'),
    "http-1.0": (writes(b'HTTP/1.0 200 OK\r\n\r\n{"a": 1}'), '{"a":1}'),
    "interim": (writes(b"HTTP/1.1 103 Early Hints\r\nX-A: 1\r\n\r\n" + head("Content-Length: 8") + b'{"a": 1}'), '{"a":1}'),
    "gzip": (says(gzip.compress(b'{"a": 1}'), JSON, "Content-Encoding: gzip"), '{"a":1}'),
    "trickling": (trickles(head("Content-Length: 8") + b'{"a": 1}', 0.001), '{"a":1}'),
    "length-too-small-but-whole": (says('{"a": 1}HTTP/1.1 200 OK\r\n\r\n', length=8), '{"a":1}'),
    "digits": (
        says('{"a": [0.10000000000000000000000000001, 123456789012345678901234567890, -0, 1.0, 1.50E+007]}'),
        '{"a":[0.10000000000000000000000000001,123456789012345678901234567890,-0,1.0,1.50E+007]}',
    ),
}

# Answers that take too long.
LATE: dict[str, Answer] = {
    "silent": hangs(),
    "silent-in-head": hangs(OK.encode()),
    "silent-in-body": hangs(head("Content-Length: 100") + b'{"a": "hush"'),
    "trickling-on": trickles(head("Content-Length: 100000") + b'{"a": "hush"' + b" " * 5000, 0.01),
    "interim-on": streams(b"", lambda: (time.sleep(0.02) or b"HTTP/1.1 102 Processing\r\n\r\n" for _ in range(500))),
}

RATES = '{"rates": {"EUR": 0.10, "JPY": 1e2}, "items": [{"id": "a b", "n": 1.50}, {"id": "c/d", "n": 2}, {"n": 3}]}'

CONFIG = """
sources:
  up: { http: "${UP}/inner", max_size: 256KiB, headers: { X-Source: of the source, X-Both: of the source } }
  hasty: { http: "${UP}/inner", timeout: 200ms }
  small: { http: "${UP}/inner", max_size: 8B }
  follows: { http: "${UP}/inner", redirects: 2, headers: { Authorization: Bearer hush } }
  again: { http: "${UP}/inner", retry: { attempts: 3, backoff: 5ms } }
  nowhere: { http: "http://127.0.0.1:${ADMIN}/inner" }
endpoints:
  "GET /get/{name}": { gather: { answer: { from: up, get: "/{name}" } } }
  "GET /null/{name}": { gather: { answer: { from: up, get: "/{name}", on_error: null }, good: { from: up, get: /good } } }
  "GET /default/{name}": { gather: { answer: { from: up, get: "/{name}", on_error: { default: [ 7 ] } } } }
  "GET /omit/{name}": { gather: { answer: { from: up, get: "/{name}", on_error: omit }, good: { from: up, get: /good } } }
  "GET /small/{name}": { gather: { answer: { from: small, get: "/{name}" } } }
  "GET /nowhere": { gather: { answer: { from: nowhere, get: / } } }
  "GET /step-late/{name}": { gather: { answer: { from: up, get: "/{name}", timeout: 200ms } } }
  "GET /source-late/{name}": { gather: { answer: { from: hasty, get: "/{name}" } } }
  "GET /request-late/{name}": { timeout: 200ms, gather: { answer: { from: up, get: "/{name}" } } }
  "GET /replaced-late/{name}": { gather: { answer: { from: hasty, get: "/{name}", on_error: null } } }
  "GET /response/{name}": { gather: { answer: { from: up, get: "/{name}", expect: response } } }
  "GET /head/{name}": { gather: { answer: { from: up, head: "/{name}" } } }
  "GET /follow/{name}": { gather: { answer: { from: follows, get: "/{name}" } } }
  "POST /follow/{name}": { gather: { answer: { from: follows, post: "/{name}", body: { word: 1 } } } }
  "GET /again/{name}": { gather: { answer: { from: again, get: "/{name}" } } }
  "GET /again-soon/{name}": { timeout: 500ms, gather: { answer: { from: again, get: "/{name}" } } }
  "POST /post/{name}": { gather: { answer: { from: again, post: "/{name}", body: { word: 1 } } } }
  "POST /patch/{name}": { gather: { answer: { from: again, patch: "/{name}", body: { word: 1 } } } }
  "POST /put/{name}": { gather: { answer: { from: again, put: "/{name}", body: { word: 1 } } } }
  "POST /delete/{name}": { gather: { answer: { from: again, delete: "/{name}" } } }
  "GET /pick/member": { gather: { answer: { from: up, get: /rates, pick: rates.EUR } } }
  "GET /pick/element": { gather: { answer: { from: up, get: /rates, pick: "items[1].id" } } }
  "GET /pick/list": { gather: { answer: { from: up, get: /rates, pick: "items[*].n" } } }
  "GET /pick/object": { gather: { answer: { from: up, get: /rates, pick: rates } } }
  "GET /pick/absent": { gather: { answer: { from: up, get: /rates, pick: rates.USD.x } } }
  "GET /pick/nonsense": { gather: { answer: { from: up, get: /not-json, pick: a } } }
  "GET /pick/deep": { gather: { answer: { from: up, get: /deep, pick: a } } }
  "POST /references":
    gather:
      first: { from: up, get: /rates }
      second: { from: up, post: /echo, body: { all: "{first.items[*].n}", eur: "{first.rates.EUR}", in: "<{first.items[0].id}>" } }
      third: { from: up, get: "/echo/{first.items[1].id}", query: { q: "{first.items[*].id}", none: "{first.nope}", n: "{first.rates.JPY}" } }
    respond: { second: "{second.body}", third: "{third.target}", ids: "{first.items[*].id}" }
  "GET /path": { parameters: { v: { type: string } }, gather: { answer: { from: up, get: "/echo/{v}/end?fixed=1" } } }
  "GET /query": { parameters: { v: { type: string } }, gather: { answer: { from: up, get: "/echo?x={v}&fixed=1", query: { y: "{v}" } } } }
  "GET /header":
    parameters: { v: { type: string, required: false } }
    gather: { answer: { from: up, get: /echo, headers: { X-Value: "{v}", X-Both: of the step, X-Mixed: "<{v}>" } } }
"""


class World(NamedTuple):
    upstream: Upstream
    daemon: Gatherd

    def log_of(self, reply: Any) -> dict[str, str]:
        return request_line(self.daemon, id=reply.headers["X-Request-Id"])


def service() -> Upstream:
    named = {name: answer for name, (answer, _) in [*BAD.items(), *GOOD.items()]} | LATE
    return Upstream({f"{BASE}/{name}": answer for name, answer in (named | {"rates": says(RATES)}).items()}, otherwise=echoes)


@pytest.fixture(scope="module")
def world(module_gatherd: Callable[..., Gatherd]) -> Iterator[World]:
    with service() as upstream:
        yield World(upstream, module_gatherd(CONFIG, env={"UP": upstream.url}))


def is_discreet(text: str, upstream: Upstream) -> None:
    """It shows nothing of the service. An id may have any digits."""
    text = re.sub(r"\b[0-9a-f]{32}\b", "", text)
    for inner in (SECRET, BASE, "127.0.0.1", str(upstream.port), "curl", "http:"):
        assert inner not in text.lower(), text


# -- bad answers --


@pytest.mark.parametrize("name", BAD)
def test_a_bad_answer(world: World, name: str) -> None:
    reply = world.daemon.get(f"/get/{name}")
    problem(reply, 502, step="answer")
    is_discreet(reply.text, world.upstream)
    line = world.log_of(reply)
    assert (line["status"], line["step"], line["level"]) == ("502", "answer", "error")
    assert BAD[name][1] in line["error"] and "source up" in line["error"]
    assert SECRET not in line["error"], "nor does the log hold what the service said"
    assert good(world.daemon.get("/get/good")) == {"answer": {"a": 1}}


@pytest.mark.parametrize("name", ["not-json", "resets", "huge", "status-404", "status-500", "bomb", "deep"])
def test_a_bad_answer_is_replaced(world: World, name: str) -> None:
    for path, expected in {
        f"/null/{name}": {"answer": None, "good": {"a": 1}},
        f"/default/{name}": {"answer": [7]},
        f"/omit/{name}": {"good": {"a": 1}},
    }.items():
        reply = world.daemon.get(path)
        assert good(reply) == expected
        assert (reply.headers["Gatherd-Complete"], reply.headers["Gatherd-Missing"]) == ("false", "answer")


@pytest.mark.parametrize("name", GOOD)
def test_an_unusual_answer(world: World, name: str) -> None:
    for _ in range(2):  # what one leaves on its connection is no part of the next
        reply = world.daemon.get(f"/get/{name}")
        good(reply)
        assert reply.text == f'{{"answer":{GOOD[name][1]}}}'


def test_nobody_there(world: World) -> None:
    reply = world.daemon.get("/nowhere")
    problem(reply, 503, step="answer")
    is_discreet(reply.text, world.upstream)


def test_max_size_is_exact(world: World) -> None:
    world.upstream.answers |= {
        f"{BASE}/eight": says('{"a": 1}'),
        f"{BASE}/nine": says('{"a": 12}'),
        f"{BASE}/nine-chunked": writes(head(CHUNKED) + b'4\r\n{"a"\r\n5\r\n: 12}\r\n0\r\n\r\n'),
    }
    assert good(world.daemon.get("/small/eight")) == {"answer": {"a": 1}}
    problem(world.daemon.get("/small/nine"), 502, step="answer")
    problem(world.daemon.get("/small/nine-chunked"), 502, step="answer")


def test_memory_stays_bounded(gatherd: Callable[..., Gatherd]) -> None:
    names = ["huge", "huge-chunked", "huge-to-its-end", "endless", "endless-head", "bomb", "deep"]
    with service() as upstream:
        daemon = gatherd(CONFIG, env={"UP": upstream.url})
        good(daemon.get("/get/good"))
        before = daemon.rss_kib
        for _ in range(3):
            for reply in at_once(functools.partial(daemon.get, f"/get/{name}") for name in names):
                problem(reply, 502, step="answer")
        assert daemon.status("VmHWM") < before + 64 * 1024, "each may be 256 KiB, of 128 MiB and more"
        assert good(daemon.get("/get/good")) == {"answer": {"a": 1}}


# -- time --


@pytest.mark.parametrize("name", LATE)
def test_a_late_answer(world: World, name: str) -> None:
    calls = [functools.partial(world.daemon.get, f"/{whose}-late/{name}") for whose in ("step", "source", "request", "replaced")]
    with stopwatch() as took:
        *late, replaced = at_once(calls)
    assert 0.19 < took.seconds < 20
    for reply in late:
        problem(reply, 504)
        is_discreet(reply.text, world.upstream)
    for reply in late[:2]:
        assert reply.json()["step"] == "answer"
    assert good(replaced) == {"answer": None}
    wait_for(lambda: world.upstream.left[f"{BASE}/{name}"] >= 4, 10, "the calls to be given up")


def test_a_client_that_leaves_frees_the_call(world: World) -> None:
    path = f"{BASE}/silent-forever"
    world.upstream.answers[path] = hangs()
    with Wire(world.daemon) as wire:
        wire.get("/get/silent-forever")
        wait_for(lambda: world.upstream.count[path])
        assert world.upstream.left[path] == 0
    wait_for(lambda: world.upstream.left[path], 5, "the call to be given up")
    assert request_line(world.daemon, path="/get/silent-forever")["status"] == "499"


# -- the whole answer, and parts of it --


def test_the_whole_response(world: World) -> None:
    world.upstream.answers |= {
        f"{BASE}/whole": says('{"n": 1.50}', JSON + "; charset=utf-8", "X-Word: a", "X-WORD:  b ", status=404),
        f"{BASE}/whole-text": says("1.50", "Content-Type: text/plain"),
        f"{BASE}/whole-claims": says("{", JSON, status=500),
        f"{BASE}/whole-bytes": says("1", "X-Word: \xff", "x-quote: \"\\\\\t<"),
    }
    reply = world.daemon.get("/response/whole")
    answer = good(reply)["answer"]
    assert answer["status"] == 404 and answer["body"] == {"n": 1.5} and '"body":{"n":1.50}' in reply.text
    assert answer["headers"] == {"content-length": "11", "content-type": "application/json; charset=utf-8", "x-word": "a, b"}
    assert good(world.daemon.get("/response/whole-text"))["answer"]["body"] == "1.50"
    answer = good(world.daemon.get("/response/whole-claims"))["answer"]
    assert (answer["status"], answer["body"]) == (500, "{"), "what is no JSON is a text"
    headers = good(world.daemon.get("/response/whole-bytes"))["answer"]["headers"]
    assert (headers["x-word"], headers["x-quote"]) == (None, '"\\\\\t<'), "bytes that are no text are null"
    answer = good(world.daemon.get("/response/redirects"))["answer"]
    assert (answer["status"], answer["headers"]["location"], answer["body"]) == (302, f"{BASE}/good", None)
    for name in ("resets-in-body", "huge", "bad-utf8", "nothing-of-http"):
        world.upstream.answers.setdefault(f"{BASE}/nothing-of-http", writes(b"hush\r\n\r\n"))
        problem(world.daemon.get(f"/response/{name}"), 502, step="answer")


@pytest.mark.parametrize("trailer", ["X-Word: late", "Content-Length: 5", "Content-Encoding: gzip", "HTTP/1.1 500: none", "Content-Type: text/html"])
def test_trailers_are_no_headers(world: World, trailer: str) -> None:
    """What a service says behind its body can't change what it has said before (RFC 9110, 6.5.1)."""
    text = f"8\r\n{{\"a\": 1}}\r\n0\r\n{trailer}\r\n\r\n"
    world.upstream.answers[f"{BASE}/trailers"] = writes(head(CHUNKED, "X-Word: first") + text.encode())
    answer = good(world.daemon.get("/response/trailers"))["answer"]
    assert (answer["status"], answer["body"]) == (200, {"a": 1})
    assert answer["headers"] == {"content-type": "application/json", "transfer-encoding": "chunked", "x-word": "first"}


def test_trailers_have_their_bound(world: World) -> None:
    text = b"0\r\n" + b"X-Word: late\r\n" * 100_000 + b"\r\n"
    world.upstream.answers[f"{BASE}/trailers-on"] = writes(head(CHUNKED) + text)
    problem(world.daemon.get("/response/trailers-on"), 502, step="answer")


def test_head(world: World) -> None:
    answer = good(world.daemon.get("/head/good"))["answer"]
    assert (answer["status"], answer["headers"]["content-length"], answer["body"]) == (200, "8", None)
    assert good(world.daemon.get("/head/status-404"))["answer"]["status"] == 404
    assert world.upstream.last(f"{BASE}/good").method == "HEAD"


@pytest.mark.parametrize(
    ("what", "expected"),
    {"member": "0.10", "element": '"c/d"', "list": "[1.50,2,3]", "object": '{"EUR":0.10,"JPY":1e2}', "absent": "null"}.items(),
)
def test_pick(world: World, what: str, expected: str) -> None:
    assert world.daemon.get(f"/pick/{what}").text == f'{{"answer":{expected}}}'


@pytest.mark.parametrize("what", ["nonsense", "deep"])
def test_nothing_to_pick_from(world: World, what: str) -> None:
    problem(world.daemon.get(f"/pick/{what}"), 502, step="answer")


def test_references_into_an_answer(world: World) -> None:
    document = good(world.daemon.post("/references"))
    assert document["second"] == '{"all":[1.50,2,3],"eur":0.10,"in":"<a b>"}', "digit for digit"
    path, _, query = document["third"].partition("?")
    assert path == f"{BASE}/echo/c%2Fd"
    assert parse_qsl(query, keep_blank_values=True) == [("q", "a b"), ("q", "c/d"), ("n", "1e2")]
    assert document["ids"] == ["a b", "c/d", None]


# -- what of a request reaches the service --

EVIL = "\r\nX-Evil: 1\r\n\r\nGET /evil HTTP/1.1"
AWKWARD = ["a/b", "../../x", "..%2f", "%2e%2e", "a?b=c", "a#b", "a&b=c;d", "a b+c", "ü☃", EVIL, "@evil:80", "//evil", "a\tb"]


@pytest.mark.parametrize("value", AWKWARD)
def test_input_stays_data(world: World, value: str) -> None:
    segment, _, query = good(world.daemon.get(f"/path?v={quote(value, safe='')}"))["answer"]["target"].partition("?")
    match = re.fullmatch(BASE + r"/echo/([\w%.~!$'()*+,;=:@&-]+)/end", segment)
    assert match and unquote(match[1]) == value and query == "fixed=1"

    target = good(world.daemon.get(f"/query?v={quote(value, safe='')}"))["answer"]["target"]
    path, _, query = target.partition("?")
    assert path == f"{BASE}/echo" and "#" not in query
    assert parse_qsl(query, keep_blank_values=True) == [("x", value), ("fixed", "1"), ("y", value)]

    reply = world.daemon.get(f"/header?v={quote(value, safe='')}")
    if "\r" in value:
        problem(reply, 400)
    else:
        good(reply)
        asked = world.upstream.last(f"{BASE}/echo")
        came = [asked.header(name).encode("latin-1").decode() for name in ("x-value", "x-mixed")]
        assert came == [value, f"<{value}>"]
    assert world.upstream.count["/evil"] == 0


@pytest.mark.parametrize("value", ["", ".", ".."])
def test_what_is_no_segment(world: World, value: str) -> None:
    before = len(world.upstream.asked)
    problem(world.daemon.get(f"/path?v={value}"), 400)
    assert len(world.upstream.asked) == before


@pytest.mark.parametrize("value", ["a\nb", "a\rb", "\n", "a\x01b", "a\x7fb"])
def test_what_is_no_header(world: World, value: str) -> None:
    before = len(world.upstream.asked)
    problem(world.daemon.get(f"/header?v={quote(value, safe='')}"), 400)
    assert len(world.upstream.asked) == before


def test_headers(world: World) -> None:
    good(world.daemon.get("/header", headers={"Authorization": "Basic x", "Cookie": "a=b", "X-Other": "1", "Accept": "text/html"}))
    asked = world.upstream.last(f"{BASE}/echo")
    names = [name for name, _ in asked.headers]
    assert asked.header("x-source") == "of the source"
    assert asked.header("x-both") == "of the step", "the step's wins"
    assert "x-value" not in names, "null leaves it out"
    assert asked.header("accept") == "application/json"
    assert asked.header("host") == f"127.0.0.1:{world.upstream.port}"
    assert not {"authorization", "cookie", "x-other", "traceparent"} & set(names), "the client's are its own"


def test_request_id_and_trace(world: World) -> None:
    trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    reply = world.daemon.get("/header", headers={"X-Request-Id": "mine-7", "traceparent": f"00-{trace}-{span}-01"})
    asked = world.upstream.last(f"{BASE}/echo")
    assert reply.headers["X-Request-Id"] == asked.header("x-request-id") == "mine-7"
    match = re.fullmatch(f"00-{trace}-([0-9a-f]{{16}})-01", asked.header("traceparent") or "")
    assert match and match[1] not in (span, "0" * 16)
    reply = world.daemon.get("/header")
    assert world.upstream.last(f"{BASE}/echo").header("x-request-id") == reply.headers["X-Request-Id"]
    zero = "0" * 32
    shapeless = ["", "hush", f"00-{trace}-{span}", f"ff-{trace}-{span}-01", f"00-{trace.upper()}-{span}-01"]
    for bad in [*shapeless, f"00-{zero}-{span}-01", f"00-{trace}-{zero[:16]}-01"]:
        good(world.daemon.get("/header", headers={"traceparent": bad}))
        assert world.upstream.last(f"{BASE}/echo").header("traceparent") is None, bad


TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"traceparent: 00-{TRACE}-{SPAN}-01"
MEMBERS = [f"bar{n:02}={n:02}" for n in range(1, 34)]


def child_of(fields: list[str], wire: Wire, upstream: Upstream) -> tuple[str | None, str | None]:
    """What a call takes along: the trace id and the flags, and the tracestate."""
    good(wire.get("/header", *fields).reply())
    asked = upstream.last(f"{BASE}/echo")
    assert len([name for name, _ in asked.headers if name in ("traceparent", "tracestate")]) <= 2
    parent = asked.header("traceparent")
    if parent is None:
        return None, asked.header("tracestate")
    match = re.fullmatch("00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})", parent)
    assert match and match[2] not in (SPAN, "0" * 16), parent
    return f"{match[1]}-{match[3]}", asked.header("tracestate")


# Fields of the request, and what a call takes along.
CONTEXTS: list[tuple[list[str], str | None, str | None]] = [
    ([PARENT], f"{TRACE}-01", None),
    ([f"TRACEPARENT: 00-{TRACE}-{SPAN}-00 \t", "TraceState:\t foo=1"], f"{TRACE}-00", "foo=1"),
    ([f"traceparent: 00-{TRACE}-{SPAN}-02"], f"{TRACE}-02", None),
    ([f"traceparent: 00-{TRACE}-{SPAN}-ff"], f"{TRACE}-03", None),
    ([f"traceparent: cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", "tracestate: foo=1"], f"{TRACE}-01", "foo=1"),
    # Two are none, whatever they are; and then there is no tracestate either.
    ([PARENT, PARENT, "tracestate: foo=1"], None, None),
    ([PARENT, f"Traceparent: 00-{TRACE[::-1]}-{SPAN}-01"], None, None),
    ([f"traceparent: cc-{TRACE}-{SPAN}-01", f"traceparent: cc-{TRACE}-{SPAN}-01"], None, None),
    ([PARENT, "traceparent:"], None, None),
    ([f"trace-parent: 00-{TRACE}-{SPAN}-01", "tracestate: foo=1"], None, None),
    (["tracestate: foo=1"], None, None),
    ([f"traceparent: 00-{TRACE}-{SPAN}-01.", "tracestate: foo=1"], None, None),
    # Several tracestates are one.
    ([PARENT, "tracestate: foo=1,bar=2", "tracestate: rojo=1,congo=2", "tracestate: baz=3"], f"{TRACE}-01", "foo=1,bar=2,rojo=1,congo=2,baz=3"),
    ([PARENT, "tracestate:", "tracestate: foo=1", "tracestate: "], f"{TRACE}-01", "foo=1"),
    ([PARENT, "tracestate: foo=1,foo=2"], f"{TRACE}-01", "foo=1,foo=2"),
    ([PARENT, "tracestate:"], f"{TRACE}-01", None),
    ([PARENT, "trace-state: foo=1"], f"{TRACE}-01", None),
    ([PARENT, *("tracestate: " + ",".join(MEMBERS[n : n + 10]) for n in (0, 10)), "tracestate: " + ", ".join(MEMBERS[20:32])], f"{TRACE}-01", ",".join(MEMBERS[:32])),
    # What is wrong in it spoils all of it, and nothing else.
    ([PARENT, "tracestate: " + ",".join(MEMBERS)], f"{TRACE}-01", None),
    ([PARENT, "tracestate: foo=1", "tracestate: FOO=1"], f"{TRACE}-01", None),
    ([PARENT, "tracestate: foo=bar=baz"], f"{TRACE}-01", None),
    ([PARENT, "tracestate: foo=1", f"tracestate: {'z' * 257}=1"], f"{TRACE}-01", None),
    ([PARENT, f"tracestate: {'t' * 242}@v=1"], f"{TRACE}-01", f"{'t' * 242}@v=1"),
]


@pytest.mark.parametrize("fields, parent, state", CONTEXTS, ids=[str(n) for n in range(len(CONTEXTS))])
def test_trace_context(world: World, fields: list[str], parent: str | None, state: str | None) -> None:
    with Wire(world.daemon) as wire:
        assert child_of(fields, wire, world.upstream) == (parent, state)


# -- redirections --


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirections_on_the_same_origin(world: World, status: int) -> None:
    up = world.upstream
    up.answers |= {
        f"{BASE}/absolute-{status}": redirects(f"{up.url}{BASE}/echo?from=absolute", status),
        f"{BASE}/relative-{status}": redirects("echo?from=relative", status),
        f"{BASE}/rooted-{status}": redirects(f"{BASE}/relative-{status}", status),
    }
    for name, word in {"absolute": "absolute", "relative": "relative", "rooted": "relative"}.items():
        assert good(world.daemon.get(f"/follow/{name}-{status}"))["answer"]["target"] == f"{BASE}/echo?from={word}"
    answer = good(world.daemon.post(f"/follow/absolute-{status}"))["answer"]
    assert (answer["method"], answer["body"]) == (("POST", '{"word":1}') if status > 303 else ("GET", ""))


def test_redirections_that_are_not_followed(world: World) -> None:
    up = world.upstream
    with Upstream({}) as other:
        places = {
            "port": f"http://127.0.0.1:{other.port}/",
            "host": f"http://localhost:{up.port}{BASE}/target",
            "host-only": f"//localhost:{up.port}{BASE}/target",
            "user": f"http://user:hush@127.0.0.1:{other.port}/",
            "user-trick": f"http://127.0.0.1:{up.port}@127.0.0.1:{other.port}/",
            "backslash": f"http://127.0.0.1:{other.port}\\@127.0.0.1:{up.port}/",
            "https": f"https://127.0.0.1:{up.port}{BASE}/target",
            "file": "file:///etc/passwd",
            "ftp": f"ftp://127.0.0.1:{up.port}/",
            "nonsense": "http://[",
        }
        for name, where in places.items():
            up.answers[f"{BASE}/to-{name}"] = redirects(where)
        for name in places:
            reply = world.daemon.get(f"/follow/to-{name}")
            problem(reply, 502, step="answer")
            is_discreet(reply.text, up)
        assert other.connections == 0 and up.count[f"{BASE}/target"] == 0


def test_too_many_redirections(world: World) -> None:
    up = world.upstream
    up.answers[f"{BASE}/loop"] = redirects(f"{BASE}/loop")
    problem(world.daemon.get("/follow/loop"), 502, step="answer")
    assert up.count[f"{BASE}/loop"] == 3
    up.answers[f"{BASE}/once"] = redirects(f"{BASE}/once-target")
    problem(world.daemon.get("/get/once"), 502, step="answer")
    assert up.count[f"{BASE}/once-target"] == 0, "none is followed unless the source says so"


# -- attempts --

FAILS = {
    "503": says(SECRET, status=503),
    "502": says(SECRET, status=502),
    "504": says(SECRET, status=504),
    "429": says(SECRET, status=429),
    "reset": resets(),
    "closed": writes(b""),
    "cut": writes(head("Content-Length: 100") + b"{"),
    "reset-in-body": resets(head("Content-Length: 100") + b"{"),
}


@pytest.mark.parametrize("name", FAILS)
def test_attempts(world: World, name: str) -> None:
    up, path = world.upstream, f"{BASE}/attempts-{name}"
    for method, call, sent in [
        ("GET", lambda: world.daemon.get(f"/again/attempts-{name}"), 3),
        ("PUT", lambda: world.daemon.post(f"/put/attempts-{name}"), 3),
        ("DELETE", lambda: world.daemon.post(f"/delete/attempts-{name}"), 3),
        ("POST", lambda: world.daemon.post(f"/post/attempts-{name}"), 1),
        ("PATCH", lambda: world.daemon.post(f"/patch/attempts-{name}"), 1),
    ]:
        up.answers[path] = FAILS[name]
        before = len(up.of(path))
        problem(call(), 502, step="answer")
        asked = up.of(path)[before:]
        assert {(one.method, one.body) for one in asked} == {(method, b'{"word":1}' if method[0] == "P" else b"")}
        # On a connection that was kept, and is closed as if it had been idle for too long, it was no attempt yet.
        stale = sum(one.nth > 1 for one in asked) if sent > 1 and name in ("reset", "closed") else 0
        assert len(asked) - stale == sent and stale <= 1
    n = up.count[path]
    up.answers[path] = [FAILS[name]] * (n + 2) + [says('{"a": 1}')]
    assert good(world.daemon.get(f"/again/attempts-{name}")) == {"answer": {"a": 1}}
    assert up.count[path] == n + 3


@pytest.mark.parametrize("name", ["status-500", "status-501", "status-404", "not-json", "huge-to-its-end", "gzip-nonsense"])
def test_what_is_not_tried_again(world: World, name: str) -> None:
    before = world.upstream.count[f"{BASE}/{name}"]
    problem(world.daemon.get(f"/again/{name}"), 502, step="answer")
    assert world.upstream.count[f"{BASE}/{name}"] == before + 1


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after(world: World, status: int) -> None:
    up = world.upstream
    asks = says("", "Retry-After: 1", status=status)
    up.answers |= {f"{BASE}/asks-{status}": [asks, says("1")], f"{BASE}/asks-late-{status}": [asks, says("1")]}
    with stopwatch() as took:
        good(world.daemon.get(f"/again/asks-{status}"))
    assert 0.99 < took.seconds and up.count[f"{BASE}/asks-{status}"] == 2
    with stopwatch() as took:
        problem(world.daemon.get(f"/again-soon/asks-late-{status}"), 502, step="answer")
    assert took.seconds < 0.45 and up.count[f"{BASE}/asks-late-{status}"] == 1, "never past the deadline"


def test_a_client_that_leaves_between_attempts(gatherd: Callable[..., Gatherd]) -> None:
    config = """
    sources: { up: { http: "${UP}", retry: { attempts: 3, backoff: 8s } } }
    endpoints: { "GET /": { gather: { answer: { from: up, get: / } } } }
    """
    with Upstream({"/": says("", status=503)}) as upstream:
        daemon = gatherd(config, env={"UP": upstream.url})
        with Wire(daemon) as wire:
            wire.get("/")
            wait_for(lambda: upstream.count["/"])
        assert request_line(daemon, path="/")["status"] == "499"
        assert upstream.count["/"] == 1


# -- connections --


def test_connections_are_kept(gatherd: Callable[..., Gatherd]) -> None:
    with service() as upstream:
        daemon = gatherd(CONFIG, env={"UP": upstream.url})
        for _ in range(20):
            good(daemon.get("/get/good"))
            problem(daemon.get("/get/status-404"), 502)
            problem(daemon.get("/get/not-json"), 502)
            good(daemon.get("/get/chunked-kept"))
        assert upstream.connections == 1
        problem(daemon.get("/get/huge"), 502)
        good(daemon.get("/get/good"))
        assert upstream.connections == 2, "one in whose midst an answer was given up is not used again"


def reset_when_used_again(peer: Peer, asked: Asked) -> bool | None:
    if asked.nth > 1:
        peer.reset()
        return False
    peer.reply("1", JSON)
    return None


def test_a_kept_connection_that_is_closed(gatherd: Callable[..., Gatherd]) -> None:
    def closes_silently(peer: Peer, asked: Asked) -> bool:
        peer.reply("1", JSON)
        return False

    with service() as upstream:
        upstream.answers |= {
            f"{BASE}/closing": closes_silently,
            f"{BASE}/fresh-get": reset_when_used_again,
            f"{BASE}/fresh-post": reset_when_used_again,
        }
        daemon = gatherd(CONFIG, env={"UP": upstream.url})
        for n in range(3):
            good(daemon.get("/again/closing"))
            time.sleep(0.03)
            good(daemon.post("/post/good"))
            assert upstream.count[f"{BASE}/good"] == n + 1
        assert good(daemon.get("/get/fresh-get")) == {"answer": 1}
        assert good(daemon.get("/get/fresh-get")) == {"answer": 1}, "it is asked again on a connection of its own"
        assert upstream.count[f"{BASE}/fresh-get"] == 3
        before = upstream.count[f"{BASE}/fresh-post"]
        problem(daemon.post("/post/fresh-post"), 502, step="answer")
        assert upstream.count[f"{BASE}/fresh-post"] == before + 1, "a POST is sent once"


def test_a_unix_socket(gatherd: Callable[..., Gatherd], tmp_path: Path) -> None:
    config = """
    sources: { up: { http: "http+unix://${UP}:/base" } }
    endpoints: { "GET /": { gather: { answer: { from: up, get: "/a?b=c" } } } }
    """
    where = tmp_path / "up"
    daemon = gatherd(config, env={"UP": str(where)})
    problem(daemon.get("/"), 503, step="answer")
    with Upstream({}, unix=where, otherwise=echoes) as upstream:
        for _ in range(5):
            assert good(daemon.get("/"))["answer"]["target"] == "/base/a?b=c"
        assert upstream.connections == 1
        upstream.answers["/base/a"] = resets()
        problem(daemon.get("/"), 502, step="answer")


# -- the breaker --

BREAKER = """
sources:
  up: { http: "${UP}", breaker: { failures: 3, cooldown: 1s } }
  long: { http: "${UP}", breaker: { failures: 1, cooldown: 1h } }
  never: { http: "${UP}" }
endpoints:
  "GET /call": { gather: { answer: { from: up, get: /call, timeout: 1s } } }
  "GET /long": { gather: { answer: { from: long, get: /long } } }
  "GET /replaced": { gather: { answer: { from: long, get: /long, on_error: null } } }
"""


def metrics(daemon: Gatherd) -> dict[str, int]:
    reply = daemon.get("/-/metrics")
    assert reply.status == 200 and reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    lines = [line.rpartition(" ") for line in reply.text.splitlines() if line.startswith("gatherd_breaker_")]
    return {name: int(value) for name, _, value in lines}


def state(daemon: Gatherd, source: str = "up") -> str:
    return ["closed", "open", "half_open"][metrics(daemon)[f'gatherd_breaker_state{{source="{source}"}}']]


def moves(daemon: Gatherd, source: str = "up") -> dict[str, int]:
    found = metrics(daemon)
    return {to: found[f'gatherd_breaker_moves_total{{source="{source}",to="{to}"}}'] for to in ("closed", "open", "half_open")}


def logged(daemon: Gatherd) -> list[str]:
    return [f"{line['source']} {line['from']} {line['to']}" for line in daemon.log_lines() if line["msg"] == "breaker"]


BREAKING = {"500": says("", status=500), "429": says("", status=429), "reset": resets(), "closed": writes(b""), "late": hangs()}
NOT_BREAKING = {"404": says("", status=404), "not-json": says(SECRET), "302": redirects("/")}


@pytest.mark.parametrize("name", BREAKING)
def test_the_breaker(gatherd: Callable[..., Gatherd], name: str) -> None:
    with Upstream({"/call": BREAKING[name]}) as upstream:
        daemon = gatherd(BREAKER, env={"UP": upstream.url}, threads=2)
        for _ in range(3):
            assert state(daemon) == "closed"
            problem(daemon.get("/call"), 504 if name == "late" else 502, step="answer")
        assert (state(daemon), moves(daemon)) == ("open", {"closed": 0, "open": 1, "half_open": 0})
        for _ in range(5):
            reply = daemon.get("/call")
            problem(reply, 503, step="answer")
            assert reply.headers["Retry-After"] == "1"
        assert upstream.count["/call"] == 3, "calls are refused at once"

        time.sleep(1.02)
        problem(daemon.get("/call"), 504 if name == "late" else 502, step="answer")
        problem(daemon.get("/call"), 503, step="answer")
        assert upstream.count["/call"] == 4 and state(daemon) == "open"

        upstream.answers["/call"] = slowly(0.6, says('{"a": 1}'))
        time.sleep(1.02)
        probe = in_background(lambda: daemon.get("/call"))
        wait_for(lambda: upstream.count["/call"] == 5)
        assert state(daemon) == "half_open"
        problem(daemon.get("/call"), 503, step="answer")
        assert good(probe.result()) == {"answer": {"a": 1}}
        assert good(daemon.get("/call")) == {"answer": {"a": 1}}
        assert (state(daemon), moves(daemon)) == ("closed", {"closed": 1, "open": 2, "half_open": 2})
        assert logged(daemon) == ["up closed open", "up open half-open", "up half-open open", "up open half-open", "up half-open closed"]
        assert upstream.count["/call"] == 6


def test_what_opens_no_breaker(gatherd: Callable[..., Gatherd]) -> None:
    with Upstream({}) as upstream:
        daemon = gatherd(BREAKER, env={"UP": upstream.url})
        for answer in NOT_BREAKING.values():
            upstream.answers["/call"] = answer
            for _ in range(4):
                problem(daemon.get("/call"), 502, step="answer")
        for fails in (says("", status=500), says("1")) * 4:
            upstream.answers["/call"] = fails
            daemon.get("/call")
            daemon.get("/call")  # two in a row are not three
        upstream.answers["/long"] = hangs()
        for n in range(3):
            with Wire(daemon) as wire:
                wire.get("/long")
                wait_for(lambda: upstream.count["/long"] == n + 1)
            wait_for(lambda: upstream.left["/long"] == n + 1)
        assert state(daemon) == state(daemon, "long") == "closed", "nor does a client that leaves"
        assert logged(daemon) == []
        assert not any('"never"' in name for name in metrics(daemon)), "it has none"


def test_an_open_breaker_is_replaced(gatherd: Callable[..., Gatherd]) -> None:
    with Upstream({"/long": says("", status=500)}) as upstream:
        daemon = gatherd(BREAKER, env={"UP": upstream.url})
        problem(daemon.get("/long"), 502, step="answer")
        reply = daemon.get("/long")
        problem(reply, 503, step="answer")
        assert 3500 < int(reply.headers["Retry-After"]) <= 3601
        is_discreet(reply.text, upstream)
        reply = daemon.get("/replaced")
        assert good(reply) == {"answer": None} and reply.headers["Gatherd-Missing"] == "answer"
        assert upstream.count["/long"] == 1


# -- who may see the metrics --


def test_metrics_without_an_admin_address(gatherd: Callable[..., Gatherd]) -> None:
    daemon = gatherd("""
    server: { listen: [ "127.0.0.1:${PORT}", "unix:${FOLDER}/http.sock" ] }
    endpoints: { "GET /": { respond: here } }
    """)
    assert daemon.get("/-/metrics").status == 200
    with Wire(daemon, unix=daemon.folder / "http.sock") as wire:
        assert wire.get("/-/metrics").reply().status == 200
        problem(wire.get("/-/metrics", "X-Forwarded-For: 127.0.0.1").reply(), 404)
    for name in ("X-Forwarded-For", "x-forwarded-for", "Forwarded"):
        for value in ("192.0.2.1", "for=192.0.2.1", ""):
            problem(daemon.get("/-/metrics", headers={name: value}), 404)
            assert daemon.get("/-/live", headers={name: value}).status == 200


def test_metrics_on_the_admin_address(gatherd: Callable[..., Gatherd]) -> None:
    daemon = gatherd("""
    server: { listen: "127.0.0.1:${PORT}", admin: "127.0.0.1:${ADMIN}" }
    endpoints: { "GET /": { respond: here } }
    """)
    problem(daemon.get("/-/metrics"), 404)
    for headers in ({}, {"X-Forwarded-For": "192.0.2.1"}):
        assert daemon.get("/-/metrics", port=daemon.admin_port, headers=headers).status == 200
    problem(daemon.post("/-/metrics", port=daemon.admin_port), 405)
