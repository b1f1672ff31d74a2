"""HTTP sources and services that misbehave: what becomes of each answer, of time and memory, of connections, retries and
the breaker; and what of a request reaches the service."""

from __future__ import annotations

import functools
import gzip
import json
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
from support import Wire, at_once, good, in_background, problem, request_line, soon, stopwatch, wait_for

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
    "bom": (says(b'\xef\xbb\xbf{"a": "hush"}'), "not JSON"),
    "deep": (says("[" * 100_000 + "]" * 100_000), "not JSON"),
    "deep-open": (says('{"a":' * 100_000), "not JSON"),
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
    "length-nonsense": (writes(head("Content-Length: hush") + b'{"a": 1}'), ""),
    "length-overflow": (writes(head("Content-Length: 99999999999999999999999") + b'{"a": 1}'), ""),
    "chunk-nonsense": (writes(head(CHUNKED) + b"hush\r\n"), ""),
    "gzip-nonsense": (says("hush", JSON, "Content-Encoding: gzip"), ""),
    "gzip-cut": (says(gzip.compress(b'{"a": "hush"}' * 100)[:-20], JSON, "Content-Encoding: gzip"), ""),
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
    "escaped-nul": (says('{"a": "\\u0000\\ud800"}'), '{"a":"\\u0000\\ud800"}'),
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
  "GET /references":
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
CONFIG = CONFIG.replace(
    "      second: { from: up, post: /echo, body:", "      second: { from: again, get: /echo, headers: { X-Body: yes }, query:"
).replace('respond: { second: "{second.body}"', 'respond: { second: "{second.target}"')


class World(NamedTuple):
    upstream: Upstream
    daemon: Gatherd

    def log_of(self, reply: Any) -> dict[str, str]:
        return request_line(self.daemon, id=reply.headers["X-Request-Id"])


def service() -> Upstream:
    named = {name: answer for name, (answer, _) in [*BAD.items(), *GOOD.items()]} | LATE
    named |= {"rates": says(RATES), "echo": echoes, "echo/c%2Fd": echoes}
    return Upstream({f"{BASE}/{name}": answer for name, answer in named.items()})


@pytest.fixture(scope="module")
def world(module_gatherd: Callable[..., Gatherd]) -> Iterator[World]:
    with service() as upstream:
        yield World(upstream, module_gatherd(CONFIG, env={"UP": upstream.url}))


def is_discreet(text: str, upstream: Upstream) -> None:
    """It shows nothing of the service."""
    for inner in (SECRET, BASE, "127.0.0.1", str(upstream.port), "curl", "http:"):
        assert inner not in text.lower(), text
