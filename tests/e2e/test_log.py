"""The log: a logfmt line a request, and no secret in it."""

from __future__ import annotations

import re
from typing import Callable

import pytest
from harness import Gatherd, Postgres
from support import Wire, good, problem, request_line, wait_for

CONFIG = """
sources:
  pg: { postgres: "${PG}", pool: { size: 2 } }
  locked: { postgres: "${PGLOCKED}", pool: { size: 1, acquire_timeout: 200ms } }
  vault: { mongodb: "${MONGOLOCKED}", pool: { size: 1, acquire_timeout: 200ms } }
endpoints:
  "GET /": { respond: x }
  "GET /things/{id}": { additional: allow, gather: { n: { from: pg, sql: "select {id}::text as id", expect: one } } }
  "GET /bad": { gather: { n: { from: pg, sql: "select nothing from nowhere" } } }
  "POST /divide": { parameters: { n: { type: integer }, secret: { type: string, required: false } }, gather: { row: { from: pg, sql: "select 1 / {n} as n, {secret}::int" } } }
  "GET /replaced": { gather: { n: { from: pg, sql: "select 1/0", on_error: null }, m: { from: pg, sql: "select 1" } } }
  "GET /locked": { gather: { n: { from: locked, sql: "select 1" } } }
  "GET /vault": { gather: { n: { from: vault, count: x } } }
"""
SECRETS = ["zz-pg-secret", "zz-mongo-secret", "zz-query-secret", "zz-body-secret", "zz-header-secret"]


@pytest.fixture(scope="module")
def daemon(module_gatherd: Callable[..., Gatherd], postgres: Postgres) -> Gatherd:
    env = {
        "PGLOCKED": f"postgresql://nobody:zz-pg-secret@127.0.0.1:{postgres.port}/test",
        "MONGOLOCKED": "mongodb://nobody:zz-mongo-secret@127.0.0.1:1/test?authSource=admin",
    }
    return module_gatherd(CONFIG, env=env)


def line_of(daemon: Gatherd, method: str, path: str, **options) -> dict[str, str]:
    id = f"line-{line_of.count}"
    line_of.count += 1
    daemon.request(method, path, headers={"X-Request-Id": id} | options.pop("headers", {}), **options)
    return request_line(daemon, id=id)


line_of.count = 0


def test_a_line_a_request(daemon: Gatherd) -> None:
    line = line_of(daemon, "GET", "/things/a%20b?token=zz-query-secret")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    assert line["level"] == "info" and line["msg"] == "request"
    assert line["method"] == "GET" and line["path"] == "/things/a%20b" and line["status"] == "200"
    assert line["endpoint"] == "GET /things/{id}" and line["peer"] == "127.0.0.1"
    assert int(line["bytes"]) == len('{"n":{"id":"a b"}}') and 0 < float(line["ms"]) < 10_000
    assert "error" not in line and "missing" not in line


@pytest.mark.parametrize(
    "method, path, expected",
    [
        ("GET", "/none", {"status": "404", "level": "info"}),
        ("POST", "/", {"status": "405", "level": "info"}),
        ("BREW", "/", {"status": "501"}),
        ("HEAD", "/", {"status": "200", "bytes": "0"}),
        ("GET", "/bad", {"status": "500", "level": "error", "step": "n", "code": "42P01"}),
        ("GET", "/replaced", {"status": "200", "missing": "n", "code": "22012"}),
        ("GET", "/locked", {"status": "503", "step": "n"}),
        ("GET", "/vault", {"status": "503", "step": "n"}),
        ("GET", "/%0a%22x=y%22", {"status": "404", "path": "/%0a%22x=y%22"}),
    ],
)
def test_lines_of_what_goes_wrong(daemon: Gatherd, method: str, path: str, expected: dict[str, str]) -> None:
    line = line_of(daemon, method, path)
    assert {key: line.get(key) for key in expected} == expected
    assert ("error" in line) == (line["status"] != "200" or "missing" in line)


def test_refused_heads_have_their_line(daemon: Gatherd) -> None:
    with Wire(daemon) as wire:
        reply = wire.send("GET /refused?zz-query-secret HTTP/1.1\r\n\r\n").reply()
    line = request_line(daemon, id=reply.headers["X-Request-Id"])
    assert line["status"] == "400" and line["path"] == "/refused" and line["error"]


def test_exactly_one_line(daemon: Gatherd) -> None:
    for n in range(20):
        good(daemon.get("/", headers={"X-Request-Id": f"once-{n}"}))
    wait_for(lambda: daemon.log().count("id=once-") == 20, 10)
    assert all(line.get("msg") for line in daemon.log_lines())


def test_a_line_can_not_be_forged(daemon: Gatherd) -> None:
    daemon.raw(b"GET /a\x7f\x1b[31m\" level=error HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    daemon.raw(b'GET /forged"\xff\xc3\xa9\\ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
    wait_for(lambda: "/forged" in daemon.log(), 10)
    assert "\x1b" not in daemon.log() and "\x7f" not in daemon.log()
    for line in daemon.log_path.read_bytes().splitlines():
        assert re.fullmatch(rb'(?:[a-z_]+=(?:"(?:[^"\\]|\\.)*"|[^ "=]*) ?)+', line), line


def test_no_secret_anywhere(daemon: Gatherd) -> None:
    said = b""
    for path in ("/things/1?password=zz-query-secret", "/none?zz-query-secret", "/?token=zz-query-secret", "/locked", "/vault", "/-/ready"):
        said += daemon.get(path, headers={"Authorization": "Bearer zz-header-secret", "Cookie": "zz-header-secret"}).body
    for body in ({"n": 1, "secret": "zz-body-secret"}, {"n": "zz-body-secret"}, {"zz": "zz-body-secret"}):
        reply = daemon.post("/divide", json_body=body)
        problem(reply, 400)
        said += reply.body
    said += daemon.post("/divide", body='{"zz-body-secret', headers={"Content-Type": "application/json"}).body
    line_of(daemon, "GET", "/")
    for secret in SECRETS:
        assert secret not in daemon.log(), secret
        assert secret.encode() not in said, secret


def test_levels(gatherd: Callable[..., Gatherd]) -> None:
    config = 'log: {{ level: {level} }}\nendpoints: {{ "GET /": {{ respond: x }} }}'
    quiet = gatherd(config.format(level="error"))
    quiet.get("/")
    loud = gatherd(config.format(level="debug"))
    loud.get("/", headers={"X-Request-Id": "loud"})
    request_line(loud, id="loud")
    quiet.stop()
    assert quiet.log() == ""
