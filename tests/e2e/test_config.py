"""The command line, and configurations that are wrong: every mistake in one run, each where it stands."""

from __future__ import annotations

import json
import os
import re
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest
from harness import ROOT

SOURCES = """\
sources:
  pg: { postgres: "postgresql://u@127.0.0.1/test" }
  db: { mongodb: "mongodb://127.0.0.1/test" }
"""
GOOD = SOURCES + 'endpoints:\n  "GET /": { gather: { n: { from: pg, sql: select 1 } } }\n'


def run(program: Path, *arguments: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess:
    return subprocess.run([str(program), *arguments], capture_output=True, text=True, timeout=60, env=dict(os.environ) | (env or {}), cwd=cwd)


def check(program: Path, folder: Path, text: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    path = folder / "c.yaml"
    path.write_text(textwrap.dedent(text))
    return run(program, "check", "-c", str(path), env=env)


def mistakes(done: subprocess.CompletedProcess) -> list[tuple[int, int, str]]:
    """(line, column, text) of each diagnostic."""
    found = re.findall(r"^.*?\.yaml:(\d+):(\d+): (.*)$", done.stderr, re.MULTILINE)
    return [(int(line), int(column), text) for line, column, text in found]


# -- the command line --


def test_version_and_help(program: Path) -> None:
    done = run(program, "--version")
    assert done.returncode == 0 and re.fullmatch(r"gatherd \d+\.\d+\.\d+\S*\n", done.stdout) and not done.stderr
    done = run(program, "--help")
    assert done.returncode == 0 and not done.stderr
    for word in ("run", "check", "schema", "--version", "-c"):
        assert word in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [[], ["nonsense"], ["run"], ["check"], ["check", "-c"], ["run", "-c", "a", "-c", "b"], ["check", "a.yaml"], ["check", "--nonsense"], ["--nonsense"], ["schema", "x"]],
    ids=" ".join,
)
def test_wrong_usage(program: Path, arguments: list[str]) -> None:
    done = run(program, *arguments)
    assert done.returncode == 64 and done.stderr and not done.stdout


def test_the_nearest_command(program: Path) -> None:
    assert '"check"' in run(program, "chek").stderr


def test_check(program: Path, tmp_path: Path) -> None:
    done = check(program, tmp_path, GOOD)
    assert done.returncode == 0, done.stderr
    assert not mistakes(done)
    for command in ("check", "run"):
        done = run(program, command, "-c", str(tmp_path / "none.yaml"))
        assert done.returncode == 78 and "none.yaml" in done.stderr
        done = run(program, command, "-c", str(tmp_path))
        assert done.returncode == 78


def test_run_refuses_what_check_refuses(program: Path, tmp_path: Path) -> None:
    assert check(program, tmp_path, GOOD.replace("from: pg", "from: pgg")).returncode == 78
    done = run(program, "run", "-c", str(tmp_path / "c.yaml"))
    assert done.returncode == 78 and mistakes(done)


def test_the_schema(program: Path) -> None:
    done = run(program, "schema")
    assert done.returncode == 0 and not done.stderr
    schema = json.loads(done.stdout)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert {"server", "sources", "endpoints", "log"} <= set(schema["properties"])
    references = set(re.findall(r'"\$ref": ?"#/\$defs/([^"]+)"', done.stdout))
    assert references and references <= set(schema["$defs"])
    for key in ("request_timeout", "acquire_timeout", "on_error", "projection", "minLength", "respond", "distinct", "find_one"):
        assert f'"{key}"' in done.stdout


def fits(schema: Any, value: Any, root: dict[str, Any]) -> bool:
    """Is the value right by the schema? As much of JSON Schema as `gatherd schema` prints."""
    if isinstance(schema, bool):
        return schema
    kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None), "integer": int, "number": (int, float)}
    known = {
        "$ref": lambda word: fits(root["$defs"][word.rpartition("/")[2]], value, root),
        "type": lambda word: any(
            isinstance(value, kinds[kind]) and (kind == "boolean" or not isinstance(value, bool)) for kind in ([word] if isinstance(word, str) else word)
        ),
        "enum": lambda word: value in word,
        "const": lambda word: value == word,
        "anyOf": lambda word: any(fits(one, value, root) for one in word),
        "oneOf": lambda word: sum(fits(one, value, root) for one in word) == 1,
        "pattern": lambda word: not isinstance(value, str) or re.search(word, value) is not None,
        "minLength": lambda word: not isinstance(value, str) or len(value) >= word,
        "minimum": lambda word: not isinstance(value, int) or value >= word,
        "maximum": lambda word: not isinstance(value, int) or value <= word,
        "minItems": lambda word: not isinstance(value, list) or len(value) >= word,
        "maxItems": lambda word: not isinstance(value, list) or len(value) <= word,
        "items": lambda word: not isinstance(value, list) or all(fits(word, item, root) for item in value),
        "minProperties": lambda word: not isinstance(value, dict) or len(value) >= word,
        "maxProperties": lambda word: not isinstance(value, dict) or len(value) <= word,
        "required": lambda word: not isinstance(value, dict) or set(word) <= set(value),
        "propertyNames": lambda word: not isinstance(value, dict) or all(fits(word, name, root) for name in value),
        "properties": lambda word: not isinstance(value, dict) or all(fits(word[name], value[name], root) for name in value if name in word),
        "additionalProperties": lambda word: not isinstance(value, dict)
        or all(fits(word, value[name], root) for name in value if name not in schema.get("properties", {})),
    }
    silent = {"$schema", "$id", "$defs", "title", "description", "default", "format", "examples"}
    assert set(schema) <= set(known) | silent, f"words that this test does not know: {set(schema) - set(known) - silent}"
    return all(known[word](schema[word]) for word in schema if word in known)


POSTGRES = {"postgres": "postgresql://u@127.0.0.1/test"}
SQL = {"from": "pg", "sql": "select 1"}
# A configuration, and whether it is right. The schema and `gatherd check` must agree.
JUDGED: list[tuple[dict[str, Any], bool]] = [
    ({"endpoints": {"GET /": {"respond": {"a": [1, None, "x"]}}}}, True),
    ({"endpoints": {"GET /": {"respond": None}}}, True),
    ({"endpoints": {}}, False),
    ({}, False),
    ({"endpoints": {"GET /": {"respnd": 1}}}, False),
    ({"endpoints": {"FETCH /": {"respond": 1}}}, False),
    ({"endpoints": {"GET /": {}}}, False),
    ({"sources": {"pg": POSTGRES}, "endpoints": {"GET /": {"gather": {"n": SQL}}}}, True),
    ({"sources": {"pg": POSTGRES}, "endpoints": {"GET /": {"gather": {"n": SQL | {"on_error": {"default": [1]}, "expect": "one", "timeout": "5s"}}}}}, True),
    ({"sources": {"pg": POSTGRES}, "endpoints": {"GET /": {"gather": {"n": SQL | {"expect": "two"}}}}}, False),
    ({"sources": {"pg": POSTGRES}, "endpoints": {"GET /": {"gather": {"n": SQL | {"timeout": 5}}}}}, False),
    ({"sources": {"pg": POSTGRES}, "endpoints": {"GET /": {"gather": {"n": SQL | {"on_error": "ignore"}}}}}, False),
    ({"sources": {"pg": POSTGRES}, "endpoints": {"GET /": {"gather": {"n": {"from": "pg"}}}}}, False),
    ({"sources": {"pg": POSTGRES | {"pool": {"size": 0}}}, "endpoints": {"GET /": {"gather": {"n": SQL}}}}, False),
    ({"sources": {"pg": POSTGRES | {"pool": {"size": 3, "acquire_timeout": "1s"}}}, "endpoints": {"GET /": {"gather": {"n": SQL}}}}, True),
    ({"sources": {"pg": POSTGRES | {"password": {"file": "a", "env": "b"}}}, "endpoints": {"GET /": {"gather": {"n": SQL}}}}, False),
    ({"sources": {"db": {"mongodb": "mongodb://h/x", "json": "relaxed"}}, "endpoints": {"GET /": {"gather": {"n": {"from": "db", "find": "x", "filter": {"a": 1}, "limit": 5}}}}}, True),
    ({"sources": {"db": {"mongodb": "mongodb://h/x", "json": "relax"}}, "endpoints": {"GET /": {"respond": 1}}}, False),
    ({"sources": {"db": {"mongodb": "mongodb://h/x"}}, "endpoints": {"GET /": {"gather": {"n": {"from": "db", "aggregate": "x"}}}}}, False),
    ({"server": {"threads": 2, "request_timeout": "5s", "body_limit": "64KiB", "listen": ["127.0.0.1:0"]}, "endpoints": {"GET /": {"respond": 1}}}, True),
    ({"server": {"threads": 0}, "endpoints": {"GET /": {"respond": 1}}}, False),
    ({"server": {"body_limit": "64KB"}, "endpoints": {"GET /": {"respond": 1}}}, False),
    ({"endpoints": {"GET /{id}": {"parameters": {"id": {"type": "integer", "minimum": 1}}, "respond": "{id}"}}}, True),
    ({"endpoints": {"GET /{id}": {"parameters": {"id": {"type": "int"}}, "respond": "{id}"}}}, False),
    ({"endpoints": {"POST /": {"body": {"type": "object", "required": ["a"], "properties": {"a": {"type": ["string", "null"]}}}, "respond": 1}}}, True),
]


@pytest.mark.parametrize("number", range(len(JUDGED)))
def test_the_schema_and_the_checker_agree(program: Path, tmp_path: Path, number: int) -> None:
    config, right = JUDGED[number]
    schema = json.loads(run(program, "schema").stdout)
    done = check(program, tmp_path, json.dumps(config))
    assert (done.returncode == 0) == right, done.stderr
    assert fits(schema, config, schema) == right


def test_the_examples_are_right(program: Path) -> None:
    """But for those whose modules must be built first: test_examples.py serves them."""
    paths = [path for path in ROOT.glob("examples/**/*.yaml") if "handler:" not in path.read_text()]
    assert paths
    for path in paths:
        done = run(program, "check", "-c", str(path), env={"PG": "postgresql:///x", "MONGO": "mongodb://x/x", "PORT": "8080"})
        assert done.returncode == 0, done.stderr


# -- mistakes --

# a name, the configuration, and where each mistake stands, with what is said of it
STEP = SOURCES + 'endpoints:\n  "GET /a/{id}":\n    gather:\n      s: '  # the step is on line 7, from column 10
HEAD = SOURCES + "endpoints:\n"  # the next is line 5

MISTAKES: list[tuple[str, str, list[tuple[int, int, str]]]] = [
    ("empty", "", [(1, 1, "nothing|endpoints")]),
    ("a list", "- a\n", [(1, 1, "mapping")]),
    ("no endpoints", SOURCES, [(1, 1, "endpoints")]),
    ("unknown key", GOOD + "endpionts: {}\n", [(6, 1, 'endpionts.*"?endpoints')]),
    ("unknown key of server", "server: { theads: 2 }\n" + GOOD, [(1, 11, 'theads.*"?threads')]),
    ("wrong type", "server: { max_requests: many }\n" + GOOD, [(1, 25, "integer.*many")]),
    ("out of range", "server: { max_requests: 0 }\n" + GOOD, [(1, 25, "max_requests.*0")]),
    ("a duration without a unit", "server: { request_timeout: 10 }\n" + GOOD, [(1, 28, "duration|ms, s, m")]),
    ("a bad size", "server: { body_limit: 1MB }\n" + GOOD, [(1, 23, "size|KiB")]),
    ("a quoted boolean", GOOD.replace("test\" }\n  db", 'test", prepare: "true" }\n  db'), [(2, 61, "true or false")]),
    ("a bad address", "server: { listen: [ nonsense ] }\n" + GOOD, [(1, 21, "HOST:PORT|address")]),
    ("a bad port", "server: { listen: [ '127.0.0.1:99999' ] }\n" + GOOD, [(1, 21, "HOST:PORT|port")]),
    ("a duplicate", GOOD + "endpoints: {}\n", [(6, 1, "twice")]),
    ("a duplicate step", SOURCES + 'endpoints:\n  "GET /":\n    gather:\n      n: { from: pg, sql: select 1 }\n      n: { from: pg, sql: select 2 }\n', [(8, 7, "n.*twice")]),
    ("a source without its kind", "sources: { pg: { pool: { size: 1 } } }\nendpoints: { 'GET /': { respond: x } }\n", [(1, 16, "kind")]),
    ("a source of two kinds", "sources: { pg: { postgres: 'postgresql:///x', mongodb: 'mongodb://x/x' } }\nendpoints: { 'GET /': { respond: x } }\n", [(1, 16, "two kinds")]),
    ("a misspelled kind", "sources: { pg: { postgress: 'postgresql:///x' } }\nendpoints: { 'GET /': { respond: x } }\n", [(1, 18, "postgress.*postgres")]),
    ("a bad PostgreSQL URL", "sources: { pg: { postgres: 'postgresql://u@h:port/x?no=1' } }\nendpoints: { 'GET /': { respond: x } }\n", [(1, 28, "")]),
    ("a bad MongoDB URL", "sources: { db: { mongodb: 'http://x' } }\nendpoints: { 'GET /': { respond: x } }\n", [(1, 27, "mongodb://|")]),
    ("a source that is not there", STEP + "{ from: pgg, sql: select 1 }\n", [(7, 18, 'pgg.*"?pg')]),
    ("a step without from", STEP + "{ sql: select 1 }\n", [(7, 10, "from")]),
    ("a step without an action", STEP + "{ from: pg }\n", [(7, 10, "sql")]),
    ("a mongo step without an action", STEP + "{ from: db, filter: {} }\n", [(7, 10, "find")]),
    ("an action of another source", STEP + "{ from: pg, find: x }\n", [(7, 22, "find.*mongodb")]),
    ("two actions", STEP + "{ from: db, find: x, count: x }\n", [(7, 31, "two actions")]),
    ("a key of another action", STEP + "{ from: db, count: x, sort: { a: 1 } }\n", [(7, 32, "sort")]),
    ("aggregate without a pipeline", STEP + "{ from: db, aggregate: x }\n", [(7, 10, "pipeline")]),
    ("a bad expect", STEP + "{ from: pg, sql: select 1, expect: onee }\n", [(7, 45, 'onee.*"?one')]),
    ("an expect of another action", STEP + "{ from: db, count: x, expect: many }\n", [(7, 40, "many")]),
    ("a bad on_error", STEP + "{ from: pg, sql: select 1, on_error: ignore }\n", [(7, 47, "null")]),
    ("a default with a reference", STEP + "{ from: pg, sql: select 1, on_error: { default: '{id}' } }\n", [(7, 58, "constant|default")]),
    ("a reference to nothing", STEP + '{ from: pg, sql: "select {idd}" }\n', [(7, 35, "idd.*id")]),
    ("a reference to nothing in a filter", STEP + '{ from: db, find: x, filter: { a: "{idd}" } }\n', [(7, 45, "idd.*id")]),
    ("a reference of a step to itself", STEP + '{ from: pg, sql: "select {s.a}" }\n', [(7, 35, "itself")]),
    ("a circle", SOURCES + 'endpoints:\n  "GET /":\n    gather:\n      a: { from: pg, sql: "select {b.x}" }\n      b: { from: pg, sql: "select {a.x}" }\n', [(7, 7, "circle")]),
    ("a bad reference", STEP + '{ from: db, find: x, filter: { a: "{id" } }\n', [(7, 45, "literal brace")]),
    ("a lone brace", HEAD + '  "GET /": { respond: "a } b" }\n', [(5, 26, "literal brace")]),
    ("a reference without quotes", HEAD + '  "GET /a/{id}": { respond: { id: {id} } }\n', [(5, 35, "quote it")]),
    ("a reference as a key", STEP + '{ from: db, find: x, filter: { "{id}": 1 } }\n', [(7, 41, "key|name")]),
    ("an operator that runs JavaScript", STEP + '{ from: db, find: x, filter: { $where: "{id}" } }\n', [(7, 49, "where")]),
    ("a bad when", STEP + "{ from: pg, sql: select 1, when: always }\n", [(7, 43, "reference")]),
    ("two statements", STEP + '{ from: pg, sql: "select 1; select 2" }\n', [(7, 0, "one statement|statement")]),
    ("an empty statement", STEP + '{ from: pg, sql: "" }\n', [(7, 27, "")]),
    ("an open literal", STEP + "{ from: pg, sql: \"select 'a\" }\n", [(7, 0, "")]),
    ("a bad method", HEAD + '  "FETCH /": { respond: x }\n', [(5, 3, "FETCH")]),
    ("a bad path", HEAD + '  "GET x": { respond: x }\n', [(5, 3, "/")]),
    ("no method", HEAD + '  "/x": { respond: x }\n', [(5, 3, "GET")]),
    ("a path parameter twice", HEAD + '  "GET /{a}/{a}": { respond: x }\n', [(5, 13, "twice")]),
    ("rest is not last", HEAD + '  "GET /{a*}/b": { respond: x }\n', [(5, 9, "last")]),
    ("paths that are the same", HEAD + '  "GET /a/{x}": { respond: x }\n  "GET /a/{y}": { respond: y }\n', [(6, 3, "")]),
    ("an endpoint with nothing", HEAD + '  "GET /": { summary: x }\n', [(5, 12, "gather|respond")]),
    ("a parameter that is taken", HEAD + '  "GET /": { parameters: { s: {} }, gather: { s: { from: pg, sql: select 1 } } }\n', [(5, 0, "s")]),
    ("a reserved name", HEAD + '  "GET /": { gather: { body: { from: pg, sql: select 1 } } }\n', [(5, 24, "body")]),
    ("a bad name", HEAD + '  "GET /": { gather: { "a b": { from: pg, sql: select 1 } } }\n', [(5, 24, "name")]),
    ("a bad status", HEAD + '  "GET /": { respond: x, status: 404 }\n', [(5, 34, "status")]),
    ("a bad type", HEAD + '  "GET /": { parameters: { a: { type: integr } }, respond: x }\n', [(5, 39, 'integr.*"?integer')]),
    ("a bad format", HEAD + '  "GET /": { parameters: { a: { type: string, format: dat } }, respond: x }\n', [(5, 55, 'dat.*"?date')]),
    ("a bad pattern", HEAD + '  "GET /": { parameters: { a: { type: string, pattern: "a(b" } }, respond: x }\n', [(5, 0, "pattern")]),
    ("a default that does not fit", HEAD + '  "GET /": { parameters: { a: { type: integer, default: x } }, respond: x }\n', [(5, 57, "default")]),
    ("a default out of range", HEAD + '  "GET /": { parameters: { a: { type: integer, maximum: 5, default: 6 } }, respond: x }\n', [(5, 69, "maximum")]),
    ("a word of another type", HEAD + '  "GET /": { parameters: { a: { type: string, minimum: 5 } }, respond: x }\n', [(5, 47, "minimum")]),
    ("bounds that exclude all", HEAD + '  "GET /": { parameters: { a: { type: integer, minimum: 5, maximum: 4 } }, respond: x }\n', [(5, 60, "minimum")]),
    ("a body of GET", HEAD + '  "GET /": { body: { type: object }, respond: x }\n', [(5, 20, "GET")]),
    ("a variable that is not set", 'server: { listen: "${NO_SUCH_VARIABLE}" }\n' + GOOD, [(1, 19, "NO_SUCH_VARIABLE")]),
    ("a secret that is not there", GOOD.replace('test" }\n  db', 'test", password: { file: none } }\n  db'), [(2, 0, "none")]),
    ("a secret in the environment", GOOD.replace('test" }\n  db', 'test", password: { env: NO_SUCH } }\n  db'), [(2, 0, "NO_SUCH")]),
    ("a tab", "server:\n\tthreads: 1\n" + GOOD, [(2, 1, "tab")]),
    ("an open quote", GOOD + 'log: "\n', [(0, 0, "")]),
    ("a second document", GOOD + "---\na: b\n", [(6, 1, "document")]),
    ("no anchor", GOOD + "log: *nowhere\n", [(6, 6, "anchor")]),
]


@pytest.mark.parametrize("what, text, expected", MISTAKES, ids=[row[0] for row in MISTAKES])
def test_mistakes(program: Path, tmp_path: Path, what: str, text: str, expected: list[tuple[int, int, str]]) -> None:
    done = check(program, tmp_path, text)
    print(done.stderr)
    assert done.returncode == 78
    found = mistakes(done)
    assert len(found) == len(expected)
    for (line, column, said), (at_line, at_column, pattern) in zip(found, expected):
        assert at_line in (0, line) and at_column in (0, column) and re.search(pattern, said)


def test_every_mistake_in_one_run(program: Path, tmp_path: Path) -> None:
    """All single mistakes that do not hide one another, in one file."""
    text = """\
    server: { theads: 2, max_requests: x }
    sources:
      pg: { postgres: "postgresql:///x", pool: { size: none } }
      db: { mongodb: "mongodb://x/y", json: plan }
    endpoints:
      "GET /a/{id}":
        parameters: { id: { type: integr }, q: { type: string, format: dat } }
        gather:
          a: { from: pgg, sql: select 1 }
          b: { from: pg, sql: "select {idd}", expect: som }
          c: { from: db, find: x, filter: { a: "{none.x}" }, timeout: 5 }
        respond: { a: "{nothing}", b: "{b.c" }
      "GET /b":
        respnd: x
      "FETCH /c":
        respond: x
      "GET /d/{id}":
        gather: { a: { from: right, sql: "select {idd}; select 2", when: "x" } }
      "GET /d/{other}":
        respond: "{nothing}"
    lg: {}
    """
    text = text.replace("    sources:\n", "    sources:\n      right: { postgres: \"postgresql:///x\" }\n", 1)
    done = check(program, tmp_path, text)
    print(done.stderr)
    lines = [line for line, _, _ in mistakes(done)]
    assert done.returncode == 78
    # Line 19 is wrong in three ways: its reference, its SQL, its condition. Line 20 is the path of line 18 again.
    for line in (1, 4, 5, 8, 10, 11, 12, 15, 16, 19, 20, 21, 22):
        assert line in lines, f"nothing is said of line {line}"
    assert lines.count(1) == 2 and lines.count(8) == 2 and lines.count(19) >= 3
    assert lines == sorted(lines)


def test_warnings(program: Path, tmp_path: Path) -> None:
    done = check(program, tmp_path, STEP + "{ from: pg, sql: \"select '{id}', {id}::int\" }\n")
    assert done.returncode == 0
    assert any("warning" in said and "{id}" in said for _, _, said in mistakes(done))


@pytest.mark.parametrize(
    "text",
    [
        "trace: { otlp: 'http://127.0.0.1:4318' }\n" + GOOD,
        "server: { listen: [ { address: '127.0.0.1:0', tls: { certificate: a, key: b } } ] }\n" + GOOD,
        "server: { listen: [ { address: '127.0.0.1:0', http2: true } ] }\n" + GOOD,
        GOOD.replace("sql: select 1", "sql: select 1, exclusive: true"),
        *(
            GOOD.replace("{ gather:", f"{{ {key}, gather:")
            for key in ("auth: jwt", "stream: ndjson", "listen: channel", "explain: true")
        ),
        GOOD.replace("sql: select 1", 'sql: "select {claims.sub}"'),
    ],
    ids=lambda text: next(line for line in text.split("\n") if line not in GOOD.split("\n"))[:60],
)
def test_keys_of_later_builds_are_refused(program: Path, tmp_path: Path, text: str) -> None:
    done = check(program, tmp_path, text)
    assert done.returncode == 78
    assert "not supported by this build" in done.stderr


# -- YAML --


@pytest.mark.parametrize(
    "text, expected",
    [
        ("{ a: yes, b: on, c: 012, d: 0x1F, e: 1_000, f: 2024-02-29, g: ~, h: , i: 1.50, j: 1e3, k: .5 }", None),
        ("{ a: 'single ''quoted''', b: \"double \\u00e9 \\n\" }", {"a": "single 'quoted'", "b": "double é \n"}),
        ("[ &x { n: 1 }, *x ]", [{"n": 1}, {"n": 1}]),
    ],
)
def test_scalars_and_aliases(gatherd: Any, text: str, expected: Any) -> None:
    daemon = gatherd(f'endpoints:\n  "GET /":\n    respond: {text}\n')
    reply = daemon.get("/").json()
    if expected is None:
        assert {key: reply[key] for key in "abefgh"} == {"a": "yes", "b": "on", "e": "1_000", "f": "2024-02-29", "g": None, "h": None}
        assert {key: reply[key] for key in "cdijk"} == {"c": 12, "d": 31, "i": 1.5, "j": 1000.0, "k": 0.5}
    else:
        assert reply == expected


def test_merge_keys(gatherd: Any) -> None:
    daemon = gatherd("""
        endpoints:
          "GET /a": { respond: &base { a: 1, b: 2 } }
          "GET /b":
            respond:
              <<: *base
              b: 3
    """)
    assert daemon.get("/b").json() == {"a": 1, "b": 3}


def test_aliases_are_bounded(program: Path, tmp_path: Path) -> None:
    laughs = "a0: &a0 [ x, x, x, x, x, x, x, x, x, x ]\n" + "".join(
        f"a{n}: &a{n} [ {', '.join([f'*a{n - 1}'] * 10)} ]\n" for n in range(1, 10)
    )
    done = check(program, tmp_path, laughs + GOOD)
    assert done.returncode == 78 and "too large" in done.stderr
    done = check(program, tmp_path, "log: " + "[" * 10000 + "\n" + GOOD)
    assert done.returncode == 78


def test_variables(gatherd: Any, program: Path, tmp_path: Path) -> None:
    daemon = gatherd(
        """
        endpoints:
          "GET /":
            respond:
              a: ${AN_A}
              b: "x${AN_A}y${AN_B:-default}"
              c: $${{AN_A}}
              d: "${EMPTY:-e}"
              n: ${NUMBER}
              s: "${NUMBER}"
        """,
        env={"AN_A": "a: [b], 'c' # d", "EMPTY": "", "NUMBER": "5"},
    )
    assert daemon.get("/").json() == {
        "a": "a: [b], 'c' # d", "b": "xa: [b], 'c' # dydefault", "c": "${AN_A}", "d": "e", "n": 5, "s": "5",
    }  # fmt: skip
    done = check(program, tmp_path, 'endpoints: { "GET /": { respond: "${BROKEN}", nonsense: 1 } }', env={"BROKEN": "zz-value, x: { y"})
    assert len(mistakes(done)) >= 1 and "zz-value" not in done.stderr, "what the environment supplied is not shown"


def test_a_file_that_is_no_text(program: Path, tmp_path: Path) -> None:
    for content in (b"\xff\xfe\x00", b"endpoints: \x00", b"endpoints: { 'GET /': { respond: '\xff' } }", os.urandom(1000)):
        (tmp_path / "c.yaml").write_bytes(content)
        done = subprocess.run([str(program), "check", "-c", str(tmp_path / "c.yaml")], capture_output=True, timeout=60)
        assert done.returncode == 78 and done.stderr
