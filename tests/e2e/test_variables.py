"""Environment variables in a configuration: their text is data wherever it stands, and stands in no message."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest
from harness import Gatherd
from harness.upstream import Upstream, echoes
from support import good

# Each looks like something: references, literal braces, YAML, SQL's parameters, fields of MongoDB, a fragment.
VALUES = [
    "{id}",
    "{{id}}",
    "}{",
    "a{b",
    "$id",
    "$$ROOT",
    "$1",
    "${TOK}",
    "*x",
    "a: b",
    "- a",
    "# x",
    "a#b?c&d=e+f%41 g",
    "\"q'",
    "[1, 2",
    "null",
    "true",
    "42",
    "é{ü}",
]

CONFIG = """
sources:
  pg: { postgres: "${PG}" }
  web: { http: "${WEB}", headers: { X-Source: "${TOK}" } }
  box: { files: "${FOLDER}", write: true }
endpoints:
  "GET /constant/{id}":
    respond: { whole: "${TOK}", part: "<${TOK}|{id}|${TOK}>", list: [ "${TOK}" ], unset: "${NOT_SET:-x}" }
    headers: { X-Reply: "<${TOK}>{id}" }
  "GET /default":
    parameters: { t: { type: string, default: "${TOK}" } }
    respond: "{t}"
  "GET /sql/{id}":
    gather:
      a: { from: pg, sql: "select ltrim($q$ ${TOK}$q$, ' ') || {id} || '{{'", expect: value }
    respond: "{a}"
  "POST /call/{id}":
    gather:
      a: { from: web, post: "/p/x${TOK}/{id}?a=${TOK}&b={id}", query: { c: "${TOK}" }, headers: { X-Step: "${TOK}{id}" }, body: { t: "${TOK}", u: "${TOK}{id}" }, expect: response }
    respond: "{a.status}"
  "POST /file":
    gather:
      a: { from: box, write: out.txt, content: "${TOK}" }
    respond: 1
"""


@pytest.mark.parametrize("value", VALUES)
def test_a_variable_is_data_wherever_it_stands(gatherd: Callable[..., Gatherd], value: str) -> None:
    with Upstream({}, otherwise=echoes) as web:
        daemon = gatherd(CONFIG, env={"TOK": value, "WEB": web.url, "NOT_SET": ""})
        reply = daemon.get("/constant/7")
        assert good(reply) == {"whole": value, "part": f"<{value}|7|{value}>", "list": [value], "unset": "x"}
        assert reply.headers["X-Reply"].encode("latin-1").decode() == f"<{value}>7"
        assert good(daemon.get("/default")) == value
        assert good(daemon.get("/sql/7")) == value + "7{{"
        good(daemon.post("/call/7"))
        [asked] = web.asked
        path, _, query = asked.target.partition("?")
        assert unquote(path) == f"/p/x{value}/7"
        assert [unquote(field) for field in query.split("&")] == [f"a={value}", "b=7", f"c={value}"]
        assert asked.header("x-step").encode("latin-1").decode() == value + "7"
        assert asked.header("x-source").encode("latin-1").decode() == value
        assert json.loads(asked.body) == {"t": value, "u": value + "7"}
        good(daemon.post("/file"))
        assert (daemon.folder / "out.txt").read_text() == value


@pytest.mark.parametrize("value", ["{id}", "$name", "a{b"])
def test_a_variable_is_data_in_a_filter(gatherd: Callable[..., Gatherd], value: str) -> None:
    daemon = gatherd(
        """
        sources: { mongo: { mongodb: "${MONGO}" } }
        endpoints:
          "GET /{id}":
            gather: { a: { from: mongo, find: products, filter: { name: "${TOK}", other: "${TOK}{id}" } } }
            respond: "{a}"
        """,
        env={"TOK": value},
    )
    assert good(daemon.get("/7")) == []


ENDPOINT = '\nendpoints: { "GET /": { respond: 1 } }\n'
WRONG = {
    "postgres": 'sources: { a: { postgres: "postgresql://u:${TOK}@h:1/d?${TOK}=1" } }',
    "mongodb": 'sources: { a: { mongodb: "mongodb://u:${TOK}@h:1/d?${TOK}=1" } }',
    "http": 'sources: { a: { http: "http://u:${TOK}@h" } }',
    "header": 'sources: { a: { http: "http://h", headers: { A: { env: "${TOK}" }, B: { file: "${TOK}" }, C: { credential: "${TOK}" } } } }',
    "files": 'sources: { a: { files: "${TOK}" } }',
    "include": 'include: "${TOK}"',
    "module": 'modules: [ "${TOK}" ]',
    "listen": 'server: { listen: [ "${TOK}", "${TOK}" ], admin: "${TOK}", trusted_proxies: [ "${TOK}" ], threads: "${TOK}" }',
    "reference": 'server: { threads: 1 }\nendpoints: { "GET /{id}": { respond: "{${TOK}}{id.${TOK}}" } }',
    "required": 'endpoints: { "POST /": { body: { type: object, required: [ "${TOK}" ] }, respond: 1 } }',
}


@pytest.mark.parametrize("value", ["s3cr3t", "/s3cr3t", "s3cr3t{id}", "s3cr3t@h:99999", "s3cr3t %zz\n'"])
@pytest.mark.parametrize("config", WRONG.values(), ids=WRONG)
def test_no_message_shows_what_a_variable_holds(program: Path, tmp_path: Path, config: str, value: str) -> None:
    path = tmp_path / "gatherd.yaml"
    path.write_text(config if "endpoints" in config else config + ENDPOINT)
    checked = subprocess.run([program, "check", "-c", path], env=os.environ | {"TOK": value}, capture_output=True, text=True, timeout=60)
    assert checked.returncode in (0, 78)  # http://u:/s3cr3t@h has a path
    assert "s3cr3t" not in checked.stdout + checked.stderr
