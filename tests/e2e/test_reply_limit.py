"""server.reply_limit: what would be larger is not rendered to its end, whatever multiplies it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from harness import Gatherd
from harness.upstream import Upstream, says
from support import at_once, good, problem, request_line, stopwatch

CHAIN = 25  # 2^25 times the last one's rows


def chained(rows: str) -> str:
    """A gather whose steps are each two rows, every one of them in both rows of the one before."""
    joins = [f"join: {{ into: s{n - 1}, key: k, equals: k, as: c, many: true }}" for n in range(1, CHAIN)]
    return "gather: { " + ", ".join(f"s{n}: {{ {rows}, {join} }}" for n, join in enumerate(["expect: many", *joins])) + " }"


PG = 'from: pg, sql: "select 1 as k from generate_series(1, 2)"'
ALIKE = 'from: pg, sql: "select 1 as k from generate_series(1, 5000)"'  # 25 million pairs
UP = 'from: up, get: /rows'

CONFIG = f"""
server: {{ listen: [ "127.0.0.1:${{PORT}}" ], threads: 1, request_timeout: 60s, reply_limit: 1MiB, body_limit: 4MiB }}
sources:
  pg: {{ postgres: "${{PG}}", pool: {{ acquire_timeout: 30s }} }}
  up: {{ http: "${{UP}}" }}
  folder: {{ files: "${{FOLDER}}" }}
endpoints:
  "GET /pg": {{ {chained(PG)} }}
  "GET /up": {{ {chained(UP).replace("expect: many", "expect: json")} }}
  "GET /part": {{ {chained(PG)}, respond: {{ ok: 1, first: "{{s0[0].c}}", last: "{{s24}}" }} }}
  "GET /text": {{ {chained(PG)}, respond: {{ ok: 1, text: "all: {{s0}}" }} }}
  "GET /header": {{ {chained(PG)}, respond: 1, headers: {{ X-All: "{{s0}}" }} }}
  "GET /listed": {{ {chained(PG)}, respond: {{ ok: 1, ks: "{{s0{'[*].c' * (CHAIN - 1)}[*].k}}" }} }}
  "GET /sought": {{ {chained(PG)}, respond: {{ ok: 1, ks: "{{s0{'[*].c' * (CHAIN - 1)}[*].none[*]}}" }} }}
  "GET /alike": {{ gather: {{ a: {{ {ALIKE} }}, b: {{ {ALIKE}, join: {{ into: a, key: k, equals: k, as: c, many: true }} }} }}, respond: {{ first: "{{a[0].k}}" }} }}
  "GET /kept": {{ {chained(PG)}, cache: 1m }}
  "GET /none": {{ {chained(PG)}, status: 204 }}
  "GET /leaf": {{ {chained(PG)}, respond: "{{s20}}" }}
  "GET /many": {{ gather: {{ n: {{ from: pg, sql: "select repeat('x', 1000) as x from generate_series(1, 2000)" }} }} }}
  "GET /again": {{ gather: {{ n: {{ from: pg, sql: "select repeat('x', 200000) as x", expect: one }} }}, respond: [ {", ".join(['"{n}"'] * 8)} ] }}
  "POST /body": {{ body: {{ type: object }}, respond: "{{body.v}}" }}
  "GET /file": {{ gather: {{ f: {{ from: folder, send: large }} }} }}
"""


@pytest.fixture(scope="module")
def daemon(module_gatherd: Callable[..., Gatherd]):
    with Upstream({"/rows": says('[{"k": 1}, {"k": 1}]')}) as upstream:
        yield module_gatherd(CONFIG, env={"UP": upstream.url}, files={"large": b"x" * (3 << 20)})


@pytest.mark.parametrize(("path", "step"), {"pg": "s0", "up": "s0", "part": "s0", "text": "s0", "listed": "s0", "sought": "s0", "kept": "s0", "many": "n", "again": "n"}.items())
def test_a_reply_that_multiplies(daemon: Gatherd, path: str, step: str) -> None:
    good(daemon.get("/leaf"))
    before = daemon.status("VmHWM")
    cpu = daemon.cpu_us()
    replies = at_once([lambda: daemon.get(f"/{path}")] * 3)
    for reply in replies:
        assert "reply_limit" in problem(reply, 500, step=step)["detail"]
        line = request_line(daemon, id=reply.headers["X-Request-Id"])
        assert (line["status"], line["step"], line["level"]) == ("500", step, "error")
        assert "reply_limit" in line["error"]
    assert daemon.status("VmHWM") < before + 64 * 1024, "each would be hundreds of MiB"
    assert daemon.cpu_us() - cpu < 20_000_000, "each would be minutes"
    assert len(good(daemon.get("/leaf"))) == 2, "what is below the limit is answered"


def test_more_matches_than_can_be_joined(daemon: Gatherd) -> None:
    assert "match" in problem(daemon.get("/alike"), 500, step="b")["detail"]


def test_a_header_that_multiplies(daemon: Gatherd) -> None:
    reply = daemon.get("/header")
    assert "reply_limit" in problem(reply, 500)["detail"]
    assert daemon.get("/none").status == 204, "nothing of it is rendered"


def test_the_limit_is_exact(daemon: Gatherd) -> None:
    limit = 1 << 20
    for length, status in ((limit - 2, 200), (limit - 1, 500), (limit - 2, 200)):
        reply = daemon.post("/body", body=b'{"v":"%b"}' % (b"x" * length), headers={"Content-Type": "application/json"})
        assert reply.status == status
        assert len(reply.body) == limit if status == 200 else "reply_limit" in problem(reply, 500)["detail"]


def test_a_file_has_none(daemon: Gatherd) -> None:
    assert len(daemon.get("/file").body) == 3 << 20
