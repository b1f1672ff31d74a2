"""PostgreSQL as a source: values in and out, what its errors mean, and what it does to us when it goes."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, Callable
from urllib.parse import quote

import pytest
from harness import Gatherd, Postgres, postgres_program
from support import Wire, at_once, good, in_background, problem, quickest, request_line, running_statements, soon, stopwatch, wait_for

SOURCES = """
sources:
  pg: { postgres: "${PG}", pool: { size: 4, acquire_timeout: 20s } }
  local: { postgres: "${PG_SOCKET}", pool: { size: 2 } }
  simple: { postgres: "${PG}", prepare: false, pool: { size: 2 } }
  elsewhere: { postgres: "${PG}?options=-c%20timezone%3DAsia/Tokyo%20-c%20datestyle%3Dgerman%20-c%20intervalstyle%3Diso_8601", pool: { size: 1 } }
"""

# -- results --

RESULTS = """
endpoints:
  "GET /kinds": { gather: { rows: { from: pg, sql: "select * from kinds order by id" } }, respond: "{rows}" }
  "GET /local": { gather: { rows: { from: local, sql: "select * from kinds order by id" } }, respond: "{rows}" }
  "GET /simple": { gather: { rows: { from: simple, sql: "select * from kinds order by id" } }, respond: "{rows}" }
  "GET /elsewhere": { gather: { rows: { from: elsewhere, sql: "select ts, tstz, day, iv from kinds order by id" } }, respond: "{rows}" }
  "GET /one/{id}":
    parameters: { id: { type: integer } }
    gather: { row: { from: pg, sql: "select * from kinds where id = {id}", expect: one } }
    respond: "{row}"
  "GET /odd":
    gather:
      names:   { from: pg, sql: 'select 1 as "a b", 2 as "q""uote", 3 as "é", 4 as "A"' }
      twice:   { from: pg, sql: "select 1 as a, 2 as a", expect: one }
      unnamed: { from: pg, sql: "select 1, 'x'" }
      nothing: { from: pg, sql: "select from generate_series(1, 2)" }
      empty:   { from: pg, sql: "select 1 as n where false" }
      tail:    { from: pg, sql: "select 1 as n;  -- the end" }
      with:    { from: pg, sql: "with recursive t(n) as (values (1) union all select n + 1 from t where n < 4) select n from t" }
      values:  { from: pg, sql: "values (1, 'a'), (2, 'b')" }
      show:    { from: pg, sql: "show timezone", expect: value }
  "GET /many/{n}":
    parameters: { n: { type: integer } }
    gather: { rows: { from: pg, sql: "select n, repeat('x', 100) as pad from generate_series(1, {n}) n" } }
    respond: "{rows}"
  "GET /large/{n}":
    parameters: { n: { type: integer } }
    gather: { text: { from: pg, sql: "select repeat('é', {n}::int) as t", expect: value } }
    respond: "{text}"
"""


@pytest.fixture(scope="module")
def results(module_gatherd: Callable[..., Gatherd]) -> Gatherd:
    return module_gatherd(SOURCES + RESULTS)


def to_json(postgres: Postgres, select: str, settings: str = "") -> list[str]:
    """The rows as the server itself turns them into JSON."""
    plain = "set timezone = 'UTC'; set datestyle = 'ISO'; set intervalstyle = 'postgres';"
    return postgres.sql(f"{plain} {settings} select to_json(t) from ({select}) t", "test").split("\n")


@pytest.mark.parametrize("path", ["/kinds", "/local", "/simple"])
def test_rows_are_what_to_json_gives(results: Gatherd, postgres: Postgres, path: str) -> None:
    expected = to_json(postgres, "select * from kinds order by id")
    for _ in range(3):
        assert results.get(path).body.decode() == f"[{','.join(expected)}]"


def test_each_type_is_what_to_json_gives(results: Gatherd, postgres: Postgres) -> None:
    for id, row in enumerate(to_json(postgres, "select * from kinds order by id"), start=1):
        assert json.loads(results.get(f"/one/{id}").body, parse_float=str) == json.loads(row, parse_float=str)


def test_the_url_may_say_how_values_look(results: Gatherd, postgres: Postgres) -> None:
    settings = "set timezone = 'Asia/Tokyo'; set datestyle = 'german'; set intervalstyle = 'iso_8601';"
    rows = to_json(postgres, "select ts, tstz, day, iv from kinds order by id", settings)
    assert results.get("/elsewhere").body.decode() == f"[{','.join(rows)}]"


MORE_TYPES = [
    "'1 2 3'::int2vector", "'12:34:56+02'::timetz", "'1'::\"char\"", "'name'::name", "7::oid", "'pg_class'::regclass", "'(1,2)'::point",
    "'08:00:2b:01:02:03'::macaddr", "b'101'", "'a b'::tsvector", "'$12.50'::text::money", "'<a>b</a>'::xml::text", "'{[1,2),[5,6)}'::int4multirange",
    "'{\"(1,2)\",\"(3,4)\"}'::point[]", "'[0:2]={1,2,3}'::int[]", "'{{{1}},{{2}}}'::int[]", "array['x'::mood, null]", "array[true, false, null]",
    "array[1.50, 'NaN', 1e100]::numeric[]", "array['2024-02-29']::date[]", "array['2024-02-29 12:00+00']::timestamptz[]",
    "array['{\"a\": 1}', '[1, 2]', 'null']::json[]", "array['{\"a\": 1}']::jsonb[]", "array['\\xff']::bytea[]", "array[array['a', 'b'], array['c', null]]",
    "1e400::numeric", "0.000000000000000000000001::numeric", "1e23::float8", "1e-300::float8", "5e-324::float8", "3.4e38::real", "0.1::real",
    "'-0'::float8", "'-Infinity'::real", "'1e5'::float8", "123456789012345680::float8", "'infinity'::timestamptz", "'4713-01-01 BC'::date",
    "'294276-12-31 23:59:59.999999'::timestamp", "'2024-02-29 12:00:00.1'::timestamp", "'24:00'::time", "interval '1 day -1 hour'", "interval '-1 mon +2 days'",
    "E'\\x01\\x1f\\x7f\\u2028/<>&'", "''::text", "row(1, 'a', null, row(true))", "array[row(1, 'x')]", "(select c from customers c where id = 1)",
    "null::int", "null::int[]", "'{}'::text[]", "array['', ' ', 'null', '{', '\\\\']", "'{x}'::varchar(3)[]", "'{a}'::char(3)[]", "'::1'::inet", "'1.2.3.0/24'::cidr",
    "'{\"b\":1,\"a\":{\"z\": [1.0,2e5,\"\\u00e9\"]}}'::jsonb", "'{\"dup\":1,\"dup\":2}'::json", "'  [1 , 2]  '::json", "pg_current_xact_id() is null",
    "jsonb_path_query_array('[1,2]', '$[*]')", "'00000000-0000-0000-0000-000000000000'::uuid", "array[gen_random_uuid() is null]", "'d1'::positive_test",
]  # fmt: skip


def test_more_types(gatherd: Callable[..., Gatherd], postgres: Postgres) -> None:
    database = postgres.create_database("more_types")
    postgres.sql("create type mood as enum ('x', 'y'); create domain positive_test as text check (value <> ''); create table customers as select 1 as id, 'n' as name", "more_types")
    config = "sources: { pg: { postgres: \"${PGMORE}\", pool: { size: 2 } } }\nendpoints:\n"
    for n, expression in enumerate(MORE_TYPES):
        config += f'  "GET /{n}":\n    gather:\n      v:\n        from: pg\n        sql: |\n          select {expression} as v\n    respond: "{{v}}"\n'
    daemon = gatherd(config, env={"PGMORE": database})
    columns = "\n".join(f"select to_json(t) from (select {expression} as v) t;" for expression in MORE_TYPES)
    expected = postgres.sql(f"set timezone = 'UTC'; set datestyle = 'ISO'; set intervalstyle = 'postgres';\n{columns}", "more_types").split("\n")
    assert len(expected) == len(MORE_TYPES)
    wrong = []
    for n, expression in enumerate(MORE_TYPES):
        reply = daemon.get(f"/{n}")
        if reply.status != 200 or reply.body.decode() != f"[{expected[n]}]":
            wrong.append((expression, expected[n], reply.status, reply.body.decode()))
    assert not wrong


def test_odd_rows(results: Gatherd) -> None:
    reply = results.get("/odd")
    assert b'"twice":{"a":1,"a":2}' in reply.body
    document = good(reply)
    assert document["names"] == [{"a b": 1, 'q"uote': 2, "é": 3, "A": 4}]
    assert document["unnamed"] == [{"?column?": "x"}] and b'{"?column?":1,"?column?":"x"}' in reply.body
    assert document["nothing"] == [{}, {}] and document["empty"] == [] and document["tail"] == [{"n": 1}]
    assert document["with"] == [{"n": 1}, {"n": 2}, {"n": 3}, {"n": 4}]
    assert document["values"] == [{"column1": 1, "column2": "a"}, {"column1": 2, "column2": "b"}]
    assert document["show"] == "UTC"


def test_large_results(results: Gatherd) -> None:
    for n in (0, 1, 20_000):
        rows = good(results.get(f"/many/{n}"))
        assert len(rows) == n and (n == 0 or rows[-1] == {"n": n, "pad": "x" * 100})
    assert good(results.get("/large/3000000")) == "é" * 3_000_000
    assert [len(good(reply)) for reply in at_once([lambda: results.get("/many/5000")] * 20)] == [5000] * 20


# -- parameters --

PARAMETERS = """
endpoints:
  "POST /types":
    parameters:
      i:  { type: integer, required: false }
      n:  { type: number, required: false }
      s:  { type: string, required: false }
      b:  { type: boolean, required: false }
      d:  { type: string, format: date, required: false }
      t:  { type: string, format: date-time, required: false }
      u:  { type: string, format: uuid, required: false }
      is: { type: array, items: { type: integer }, required: false }
      ss: { type: array, items: { type: string }, required: false }
      ns: { type: array, items: { type: number }, required: false }
      o:  { type: object, required: false }
      a:  { type: array, required: false }
    gather:
      typed:
        from: pg
        sql: |
          select {i}::int8 as i, {n}::numeric as n, {s}::text as s, {b}::bool as b, {d}::date as d, {t}::timestamptz as t, {u}::uuid as u,
                 {is}::int[] as is, {ss}::text[] as ss, {ns}::numeric[] as ns, {o}::jsonb as o, {a}::jsonb as a
        expect: one
      nulls:
        from: pg
        sql: |
          select {i} is null as i, {n} is null as n, {s} is null as s, {b} is null as b, {d} is null as d, {t} is null as t, {u} is null as u,
                 {is} is null as is, {ss} is null as ss, {o} is null as o
        expect: one
  "GET /search":
    parameters:
      q: { type: string, required: false }
      active: { type: boolean, required: false }
      limit: { type: integer, default: 3 }
      ids: { type: array, items: { type: integer }, required: false }
    gather:
      rows:
        from: pg
        sql: |
          select id from customers
          where ({q} is null or name = {q}) and ({active} is null or active = {active}) and ({ids} is null or id = any({ids}))
          order by id limit {limit}
    respond: "{rows[*].id}"
  "GET /echo":
    parameters: { s: { type: string } }
    gather:
      a: { from: pg, sql: "select {s} as s", expect: value }
      b: { from: simple, sql: "select {s} as s", expect: value }
      n: { from: pg, sql: "select count(*) from customers where name = {s} or name like {s} || '%'", expect: value }
  "GET /close/{x}":
    parameters: { x: { type: integer } }
    gather:
      a: { from: pg, sql: "select id from customers order by id limit{x}" }
      b: { from: pg, sql: "select {x}+{x}as n,{x}*2 as m", expect: one }
      c: { from: pg, sql: "select{x}::int as n", expect: value }
      d: { from: pg, sql: "select (array[1,2,3])[{x}] as n", expect: value }
      e: { from: pg, sql: "select {x}::text||{x}::text as n", expect: value }
  "GET /literals":
    parameters: { x: { type: integer, default: 5 } }
    gather:
      row:
        from: pg
        sql: |
          select '{x}' as a, E'it\\'s {x}' as b, $$ {x} $$ as c, $tag$ {x} $$ $tag$ as d, {x}::int as e, -- {x} a comment
            /* {x} /* nested {x} */ {x} */ 'it''s {x}' as f, {x} as "col {x}", '{x}' is null as g, U&'{x}' as h
        expect: one
    respond: "{row}"
  "GET /enum":
    parameters: { mood: { type: string } }
    gather: { ids: { from: pg, sql: "select id from kinds where mood = {mood} order by id" } }
    respond: "{ids[*].id}"
  "POST /body":
    gather: { row: { from: pg, sql: "select {body}::jsonb as whole, {body.a.b}::int as b, {body.list}::jsonb as list, {body.list[*].n}::int[] as ns, {body.none}::text as none", expect: one } }
    respond: "{row}"
  "GET /request":
    gather: { row: { from: pg, sql: "select {request.method} as method, {request.path} as path, {request.id}::text as id, {request.ip}::inet as ip, {headers.X-A} as a, {headers.X-B} as b", expect: one } }
    respond: "{row}"
"""


@pytest.fixture(scope="module")
def parameters(module_gatherd: Callable[..., Gatherd]) -> Gatherd:
    return module_gatherd(SOURCES + PARAMETERS)


def test_parameters_of_each_type(parameters: Gatherd) -> None:
    given = {
        "i": -9223372036854775808, "n": 12345678901234567890.125, "s": "it's \\ \" é \U0001f600", "b": False, "d": "2024-02-29",
        "t": "2024-02-29T12:00:00+02:00", "u": "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "is": [1, -2, 3], "ss": ["a", 'q"', "\\", "", "NULL", "{x}", "é, b"],
        "ns": [1.5, 2], "o": {"a": {"b": [1, None, "x"]}}, "a": [1, "two", [None]],
    }  # fmt: skip
    seen = given | {"t": "2024-02-29T10:00:00+00:00", "u": given["u"].lower()}
    raw = json.dumps(given).replace("1.2345678901234567e+19", "12345678901234567890.1250")
    reply = parameters.post("/types", body=raw, headers={"Content-Type": "application/json"})
    document = good(reply)
    assert document["typed"] == seen
    assert b'"n":12345678901234567890.1250' in reply.body
    assert not any(document["nulls"].values())
    document = good(parameters.post("/types", json_body={}))
    assert not any(value is not None for value in document["typed"].values())
    assert all(document["nulls"].values())
    document = good(parameters.post("/types", json_body={"is": [], "ss": [], "o": {}, "s": ""}))
    assert document["typed"]["is"] == [] and document["typed"]["ss"] == [] and document["typed"]["o"] == {} and document["typed"]["s"] == ""


def test_conditions_that_may_be_absent(parameters: Gatherd) -> None:
    for query, expected in {
        "": [1, 2, 3],
        "q=Customer+7": [7],
        "active=false": [10, 20, 30],
        "active=true&limit=1": [1],
        "ids=5&ids=7&ids=5": [5, 7],
        "ids=5&q=Customer+6": [],
        "limit=0": [],
    }.items():
        assert good(parameters.get(f"/search?{query}")) == expected, query
    problem(parameters.get("/search?limit=-1"), 400, code="2201W")


ATTACKS = [
    "' or '1'='1", "'; drop table customers; --", "\\'; drop table customers; --", "x' union select email from customers --", "$1", "{s}", "%", "_",
    "\" or 1=1", "/*", "*/", "--", ";", "\\", "\\\\", "E'\\x27'", "''", "é\u2019", "\x01\x7f", "$$", "$tag$", "null", "NULL", "default", "select 1",
    "\n; select pg_sleep(10)", "\u02bc or 1=1", "）", "a" * 3000,
]  # fmt: skip


def test_input_is_data(parameters: Gatherd, postgres: Postgres) -> None:
    for attack in ATTACKS:
        reply = good(parameters.get(f"/echo?s={quote(attack)}"))
        assert reply["a"] == attack and reply["b"] == attack
    assert good(parameters.get("/echo?s=Customer+1"))["n"] == 12
    assert postgres.sql("select count(*) from customers", "test") == "100"


def test_references_beside_other_text(parameters: Gatherd) -> None:
    document = good(parameters.get("/close/2"))
    assert document["a"] == [{"id": 1}, {"id": 2}], "limit{x} is no alias"
    assert document["b"] == {"n": 4, "m": 4}
    assert document["c"] == 2 and document["d"] == 2 and document["e"] == "22"


def test_references_in_literals_are_left_alone(parameters: Gatherd) -> None:
    assert good(parameters.get("/literals?x=7")) == {
        "a": "{x}", "b": "it's {x}", "c": " {x} ", "d": " {x} $$ ", "e": 7, "f": "it's {x}", "col {x}": 7, "g": False, "h": "{x}",
    }  # fmt: skip


def test_a_type_that_the_server_knows(parameters: Gatherd) -> None:
    assert good(parameters.get("/enum?mood=happy")) == [1]
    problem(parameters.get("/enum?mood=angry"), 400, code="22P02")


def test_the_body_and_the_request_as_parameters(parameters: Gatherd) -> None:
    body = {"a": {"b": 5}, "list": [{"n": 1}, {"n": 2}, {}]}
    reply = parameters.post("/body", json_body=body)
    assert good(reply) == {"whole": body, "b": 5, "list": body["list"], "ns": [1, 2, None], "none": None}
    problem(parameters.post("/body", json_body={"a": {"b": "x"}}), 400, code="22P02")
    problem(parameters.post("/body", json_body={"a": {"b": 1e10}}), 400)
    reply = parameters.get("/request", headers={"X-A": "é'".encode().decode("latin-1"), "X-Request-Id": "abc"})
    assert good(reply) == {"method": "GET", "path": "/request", "id": "abc", "ip": "127.0.0.1", "a": "é'", "b": None}


@pytest.mark.parametrize("text", ["%00", "a%00b", "%ff", "%c3", "%ed%a0%80"])
def test_texts_that_are_none(parameters: Gatherd, text: str) -> None:
    assert problem(parameters.get(f"/echo?s={text}"), 400)["errors"][0]["name"] == "s"


def test_a_nul_in_a_body(parameters: Gatherd) -> None:
    for body in ({"s": "a\0b"}, {"ss": ["a", "\0"]}, {"o": {"a": "x\0"}}, {"o": {"\0": 1}}):
        problem(parameters.post("/types", json_body=body), 400)
    problem(parameters.post("/body", json_body={"none": "a\0"}), 400)
    good(parameters.post("/types", json_body={"s": "fine"}))


# -- errors --

# statement, what is sent, status, SQLSTATE
STATEMENTS: list[tuple[str, dict[str, Any], int, str | None]] = [
    ("insert into zz_made (id, name) values ({n}, {v}) returning id, name", {"n": 1, "v": "a"}, 200, None),
    ("insert into zz_made (id, name) values ({n}, {v})", {"n": 1, "v": "b"}, 409, "23505"),
    ("insert into zz_made (id, name) values ({n}, {v})", {"n": 2}, 422, "23502"),
    ("insert into zz_made (id, name) values ({n}, {v})", {"n": -2, "v": "b"}, 422, "23514"),
    ("insert into zz_made (id, name, parent) values ({n}, {v}, 77)", {"n": 3, "v": "b"}, 409, "23503"),
    ("insert into zz_made (id, name, span) values ({n}, {v}, '[1,9)')", {"n": 4, "v": "b"}, 200, None),
    ("insert into zz_made (id, name, span) values ({n}, {v}, '[5,7)')", {"n": 5, "v": "b"}, 422, "23P01"),
    ("insert into zz_made (id, name) values ({n}, {v})", {"n": 6, "v": "too long, this text"}, 400, "22001"),
    ("update zz_made set name = {v} where id = {n}", {"n": 1, "v": "c"}, 200, None),
    ("delete from zz_made where id = {n}", {"n": 4}, 200, None),
    ("select 1 / ({n}::int)", {"n": 0}, 400, "22012"),
    ("select {v}::int", {"v": "x"}, 400, "22P02"),
    ("select {v}::date", {"v": "2024-02-30"}, 400, "22008"),
    ("select {n}::int2", {"n": 40000}, 400, "22003"),
    ("select {v}::jsonb", {"v": "{"}, 200, None),
    ("select {v}::text::jsonb", {"v": "{"}, 400, "22P02"),
    ("select 1 / 0", {}, 500, "22012"),
    ("select * from nowhere", {}, 500, "42P01"),
    ("select nothing from zz_made", {}, 500, "42703"),
    ("selec 1", {}, 500, "42601"),
    ("select * from zz_secret", {}, 500, "42501"),
    ("select f_raise('P0001')", {}, 422, "P0001"),
    ("select f_raise('40001')", {}, 503, "40001"),
    ("select f_raise('40P01')", {}, 503, "40P01"),
    ("select f_raise('53300')", {}, 503, "53300"),
    ("select f_raise('57014')", {}, 504, "57014"),
]  # fmt: skip

SCHEMA = """
create table zz_made (id int primary key check (id > 0), name varchar(10) not null, parent int references zz_made, span int4range, exclude using gist (span with &&));
create table zz_secret (n int);
create function f_raise(state text) returns int language plpgsql as $$ begin raise exception 'internal-detail %', state using errcode = state; end $$;
"""


@pytest.mark.parametrize("prepare", ["true", "false"])
def test_what_errors_mean(gatherd: Callable[..., Gatherd], postgres: Postgres, prepare: str) -> None:
    name = f"limited_{prepare}"
    postgres.create_database(name)
    postgres.sql(f"{SCHEMA} create role {name} login password 'limited'; grant all on zz_made to {name}", name)
    config = f'sources: {{ pg: {{ postgres: "${{PGLIMITED}}", prepare: {prepare}, pool: {{ size: 2 }} }} }}\nendpoints:\n'
    for n, (statement, _, _, _) in enumerate(STATEMENTS):
        config += f'  "POST /{n}":\n    parameters: {{ v: {{ type: string, required: false }}, n: {{ type: integer, required: false }} }}\n'
        config += f"    gather:\n      step:\n        from: pg\n        sql: |\n          {statement}\n"
    daemon = gatherd(config, env={"PGLIMITED": postgres.url(name).replace(f"postgres:{postgres.password}", f"{name}:limited")})
    for n, (statement, sent, status, code) in enumerate(STATEMENTS):
        reply = daemon.post(f"/{n}", json_body=sent)
        print(statement, sent, reply.status, reply.body)
        if status == 200:
            good(reply)
            continue
        document = problem(reply, status, step="step", code=code)
        for internal in ("zz_", "nowhere", "internal-detail", "limited", "select", "relation"):
            assert internal not in reply.body.decode(), "the client is shown no internals"
        line = request_line(daemon, id=document["instance"])
        assert line["code"] == code and line["step"] == "step" and "source pg" in line["error"]
    assert postgres.sql("select string_agg(id || name, ',' order by id) from zz_made", name) == "1c"


READ_ONLY = """
endpoints:
  "GET /insert": { gather: { a: { from: pg, sql: "insert into read_only_test values (1)" } } }
  "GET /with": { gather: { a: { from: pg, sql: "with x as (insert into read_only_test values (2) returning n) select n from x" } } }
  "GET /nextval": { gather: { a: { from: pg, sql: "select nextval('read_only_seq')" } } }
  "GET /create": { gather: { a: { from: pg, sql: "create table read_only_other (n int)" } } }
  "GET /allowed": { gather: { a: { from: pg, sql: "insert into read_only_test values (3) returning n", expect: value, write: true } } }
  "POST /insert": { gather: { a: { from: pg, sql: "insert into read_only_test values (4) returning n", expect: value } } }
  "PUT /insert": { gather: { a: { from: pg, sql: "insert into read_only_test values (5)", expect: none } } }
  "GET /count": { gather: { a: { from: pg, sql: "select array_agg(n order by n) from read_only_test", expect: value } } }
"""


def test_reading_endpoints_write_nothing(gatherd: Callable[..., Gatherd], postgres: Postgres) -> None:
    postgres.sql("drop table if exists read_only_test; create table read_only_test (n int); drop sequence if exists read_only_seq; create sequence read_only_seq", "test")
    daemon = gatherd(SOURCES + READ_ONLY)
    for _ in range(2):
        for path in ("/insert", "/with", "/nextval", "/create"):
            problem(daemon.get(path), 500, step="a", code="25006")
            daemon.head(path)
    assert postgres.sql("select count(*) from read_only_test", "test") == "0"
    assert good(daemon.get("/allowed")) == {"a": 3}
    assert good(daemon.post("/insert")) == {"a": 4}
    assert good(daemon.request("PUT", "/insert")) == {"a": None}
    assert good(daemon.get("/count")) == {"a": [3, 4, 5]}
    assert postgres.sql("select last_value || is_called::text from read_only_seq", "test") == "1false"


def test_a_write_happens_once_and_whole(gatherd: Callable[..., Gatherd], postgres: Postgres) -> None:
    """Many writers at once, some of which fail: what was answered 200 is there, what failed is not."""
    postgres.sql("drop table if exists once; create table once (n int primary key)", "test")
    daemon = gatherd(SOURCES + """
endpoints:
  "POST /once": { parameters: { n: { type: integer } }, gather: { made: { from: pg, sql: "insert into once values ({n}), (1000 + {n} / ({n} % 5)) returning n" } } }
  "GET /read/{n}": { parameters: { n: { type: integer } }, gather: { r: { from: pg, sql: "select {n}::int / ({n}::int % 3) as n", expect: value } } }
""")
    calls = []
    for n in range(1, 61):
        calls.append(lambda n=n: ("w", n, daemon.post("/once", json_body={"n": n}).status))
        calls.append(lambda n=n: ("r", n, daemon.get(f"/read/{n}").status))
    written = set()
    for kind, n, status in at_once(calls):
        if kind == "r":
            assert status == (400 if n % 3 == 0 else 200)
        elif n % 5 == 0:
            assert status == 400
        else:
            assert status in (200, 409)
            if status == 200:
                written.add(n)
    kept = {int(n) for n in postgres.sql("select n from once where n < 1000", "test").split()}
    assert kept == written


# -- passwords --


@pytest.mark.parametrize(
    "secret", ["{ env: PG_SECRET }", "{ file: secret }", '{ file: "${FOLDER}/secret" }', "{ credential: pg_secret }", '"${PG_SECRET}"']
)
def test_passwords(gatherd: Callable[..., Gatherd], postgres: Postgres, tmp_path: Path, secret: str) -> None:
    (tmp_path / "pg_secret").write_text(postgres.password)
    daemon = gatherd(
        f"""
            sources: {{ pg: {{ postgres: "${{PGBARE}}", password: {secret} }} }}
            endpoints: {{ "GET /": {{ gather: {{ n: {{ from: pg, sql: select 1, expect: value }} }} }} }}
        """,
        env={
            "PGBARE": postgres.url("test").replace(f":{postgres.password}@", "@"),
            "PG_SECRET": postgres.password,
            "CREDENTIALS_DIRECTORY": str(tmp_path),
        },
        files={"secret": postgres.password + "\n"},
    )
    assert good(daemon.get("/")) == {"n": 1}
    daemon.stop()
    assert postgres.password not in daemon.log()


def test_a_wrong_password(gatherd: Callable[..., Gatherd], postgres: Postgres) -> None:
    url = postgres.url("test").replace(postgres.password, "not-the-password")
    config = 'sources: { pg: { postgres: "${PGWRONG}", pool: { acquire_timeout: 300ms } } }\nendpoints: { "GET /": { gather: { n: { from: pg, sql: select 1 } } } }'
    daemon = gatherd(config, env={"PGWRONG": url})
    with stopwatch() as took:
        reply = daemon.get("/")
    problem(reply, 503, step="n")
    assert took.seconds < 5
    assert problem(daemon.get("/-/ready"), 503)["down"] == ["pg"]
    daemon.stop()
    assert "not-the-password" not in daemon.log() and "authentication failed" in daemon.log()


# -- changes under us --


def test_a_table_that_changes(gatherd: Callable[..., Gatherd], postgres: Postgres) -> None:
    postgres.sql("drop table if exists shapes; create table shapes as select n, 'a' as a from generate_series(1, 3) n", "test")
    daemon = gatherd(SOURCES + """
endpoints:
  "GET /shapes/{n}": { parameters: { n: { type: integer } }, gather: { row: { from: pg, sql: "select * from shapes where n = {n}", expect: one } }, respond: "{row}" }
  "GET /simple/{n}": { parameters: { n: { type: integer } }, gather: { row: { from: simple, sql: "select * from shapes where n = {n}", expect: one } }, respond: "{row}" }
""")

    def everywhere(expected: dict[str, Any]) -> None:
        for path in ("/shapes/2", "/simple/2"):
            for reply in at_once([lambda: daemon.get(path)] * 12):
                assert good(reply) == expected

    everywhere({"n": 2, "a": "a"})
    postgres.sql("alter table shapes add column b int default 5", "test")
    everywhere({"n": 2, "a": "a", "b": 5})
    postgres.sql("alter table shapes drop column a", "test")
    everywhere({"n": 2, "b": 5})
    postgres.sql("alter table shapes alter column b type text", "test")
    everywhere({"n": 2, "b": "5"})
    postgres.sql("drop table shapes; create table shapes as select n, true as c from generate_series(1, 3) n", "test")
    everywhere({"n": 2, "c": True})
    postgres.sql("drop table shapes", "test")
    problem(daemon.get("/shapes/2"), 500, code="42P01")
    postgres.sql("create table shapes as select 2 as n, 1 as d", "test")
    everywhere({"n": 2, "d": 1})


# -- the pool --

POOL = """
server: {{ listen: [ "127.0.0.1:${{PORT}}" ], threads: {threads} }}
sources:
  pg: {{ postgres: "${{PGPOOL}}", pool: {{ size: {size}, max_waiting: {waiting}, acquire_timeout: {acquire} }} }}
endpoints:
  "GET /sleep/{{s}}": {{ parameters: {{ s: {{ type: number }} }}, gather: {{ n: {{ from: pg, sql: "select 1 from pg_sleep({{s}})" }} }} }}
  "GET /item/{{id}}": {{ parameters: {{ id: {{ type: integer }} }}, gather: {{ item: {{ from: pg, sql: "select id from items where id = {{id}}", expect: one }} }} }}
  "POST /item/{{id}}": {{ parameters: {{ id: {{ type: integer }} }}, gather: {{ item: {{ from: pg, sql: "select id from items where id = {{id}} for update", expect: one }} }} }}
"""


def pool(gatherd: Callable[..., Gatherd], postgres: Postgres, *, threads: int = 1, size: int = 2, waiting: int = 1024, acquire: str = "20s") -> Gatherd:
    url = postgres.url("test", application_name=f"pool-{threads}-{size}-{waiting}")
    return gatherd(POOL.format(threads=threads, size=size, waiting=waiting, acquire=acquire), env={"PGPOOL": url})


def test_waiting_for_a_connection_is_bounded(gatherd: Callable[..., Gatherd], postgres: Postgres) -> None:
    daemon = pool(gatherd, postgres, size=2, acquire="400ms")
    good(daemon.get("/sleep/0.01"))

    def timed(path: str) -> tuple[float, Any]:
        with stopwatch() as took:
            reply = daemon.get(path)
        return took.seconds, reply

    results = at_once([lambda: timed("/sleep/4")] * 6)
    assert sorted(reply.status for _, reply in results) == [200, 200, 503, 503, 503, 503]
    for seconds, reply in results:
        if reply.status == 503:
            problem(reply, 503, step="n")
            assert 0.3 < seconds < 4
    good(daemon.get("/sleep/0.01"))


def test_the_line_is_bounded(gatherd: Callable[..., Gatherd], postgres: Postgres) -> None:
    daemon = pool(gatherd, postgres, size=1, waiting=2)
    good(daemon.get("/sleep/0.01"))
    first = in_background(lambda: daemon.get("/sleep/4"))
    wait_for(lambda: running_statements(postgres, "pg_sleep"), 10)
    waiting = [in_background(lambda: daemon.get("/sleep/0.1")) for _ in range(3)]
    late = wait_for(lambda: next((one for one in waiting if not one.running), None), 10, "the one that has no place")
    problem(late.result(), 503, step="n")
    assert first.running, "it waited for no connection"
    waiting.remove(late)
    assert good(first.result()) and all(good(one.result()) for one in waiting)


@pytest.mark.parametrize("threads, size", [(1, 3), (2, 3), (2, 2)])
def test_no_more_connections_than_the_pool_has(gatherd: Callable[..., Gatherd], postgres: Postgres, threads: int, size: int) -> None:
    daemon = pool(gatherd, postgres, threads=threads, size=size)
    ending = threading.Event()
    most = 0

    def load(worker: int) -> int:
        done = 0
        kept = daemon.connection()
        while not ending.is_set():
            n = (worker * 997 + done * 31) % 10000
            method, path = [("GET", f"/item/{n}"), ("GET", "/sleep/0.02"), ("POST", f"/item/{n}")][done % 3]
            kept.request(method, path)
            reply = kept.getresponse()
            body = reply.read()
            assert reply.status == 200, body
            assert done % 3 == 1 or json.loads(body)["item"]["id"] == n
            done += 1
        kept.close()
        return done

    workers = [in_background(lambda n=n: load(n)) for n in range(24)]
    name = f"pool-{threads}-{size}-1024"
    begin = time.monotonic()
    while time.monotonic() < begin + 1.5:
        most = max(most, int(postgres.sql(f"select count(*) from pg_stat_activity where application_name = '{name}'")))
    ending.set()
    assert sum(worker.result() for worker in workers) > 20
    assert 1 <= most <= size


def test_idle_and_old_connections_are_closed(gatherd: Callable[..., Gatherd], postgres: Postgres) -> None:
    config = """
        sources: { pg: { postgres: "${PGIDLE}", pool: { size: 4, idle_timeout: 2s, acquire_timeout: 20s } }, old: { postgres: "${PGOLD}", pool: { size: 1, lifetime: 300ms, acquire_timeout: 20s } } }
        endpoints:
          "GET /sleep": { gather: { n: { from: pg, sql: "select 1 from pg_sleep(0.2)" } } }
          "GET /pid": { gather: { pid: { from: old, sql: "select pg_backend_pid()", expect: value } }, respond: "{pid}" }
    """
    env = {"PGIDLE": postgres.url("test", application_name="idle-test"), "PGOLD": postgres.url("test", application_name="old-test")}
    daemon = gatherd(config, env=env)

    def count() -> int:
        return int(postgres.sql("select count(*) from pg_stat_activity where application_name = 'idle-test'"))

    at_once([lambda: good(daemon.get("/sleep"))] * 8)
    assert count() >= 2
    wait_for(lambda: count() <= 1, 10, "idle connections to be closed")
    first = good(daemon.get("/pid"))
    wait_for(lambda: good(daemon.get("/pid")) != first, 10, "a connection that is too old to be replaced")


# -- when it goes --

SHAKEN = """
server: { listen: [ "127.0.0.1:${PORT}" ], threads: 2, request_timeout: 3s }
sources:
  pg: { postgres: "${PG}", pool: { size: 4, acquire_timeout: 500ms }, timeout: 1500ms }
endpoints:
  "GET /item/{id}": { parameters: { id: { type: integer } }, gather: { item: { from: pg, sql: "select id from items where id = {id}", expect: one } } }
  "GET /pair/{id}":
    parameters: { id: { type: integer } }
    gather:
      item:  { from: pg, sql: "select id from items where id = {id}", expect: one }
      other: { from: pg, sql: "select {item.id}::int + 1 as n from pg_sleep(0.01)", expect: value, on_error: null }
  "POST /write": { parameters: { n: { type: integer } }, gather: { row: { from: pg, sql: "insert into written values ({n}) returning n", expect: one } }, respond: "{row}" }
"""


class Load:
    """Requests without end on several threads, each checked: its own rows, or a prompt and proper problem."""

    def __init__(self, daemon: Gatherd, threads: int = 6, longest: float = 6) -> None:
        self.daemon, self.longest = daemon, longest
        self.ending = threading.Event()
        self.statuses: dict[int, int] = {}
        self.written: set[int] = set()
        self.tried: set[int] = set()
        self._lock = threading.Lock()
        self._threads = [in_background(lambda n=n: self._run(n)) for n in range(threads)]

    def _run(self, worker: int) -> None:
        count = 0
        while not self.ending.is_set():
            n = (worker * 1009 + count * 31) % 10000
            path = ("/item", "/pair", "/write")[count % 3]
            with stopwatch() as took:
                if path == "/write":
                    n = worker * 1_000_000 + count
                    with self._lock:
                        self.tried.add(n)
                    reply = self.daemon.post("/write", json_body={"n": n})
                else:
                    reply = self.daemon.get(f"{path}/{n}")
            assert took.seconds < self.longest, f"{path} took {took.seconds} s: {reply}"
            if reply.status == 200:
                document = good(reply)
                if path == "/write":
                    assert document == {"n": n}
                else:
                    assert document["item"] == {"id": n} and (path == "/item" or document["other"] in (n + 1, None))
            else:
                problem(reply, 502, 503, 504)
            with self._lock:
                self.statuses[reply.status] = self.statuses.get(reply.status, 0) + 1
                if path == "/write" and reply.status == 200:
                    self.written.add(n)
            count += 1
            if reply.status != 200:
                self.ending.wait(0.02)

    def end(self) -> dict[int, int]:
        self.ending.set()
        for thread in self._threads:
            thread.result()
        print(self.statuses)
        return self.statuses


def check_written(load: Load, server: Postgres) -> None:
    kept = server.sql("select n from written", "test").split()
    assert len(kept) == len(set(kept)), "a write is never run twice"
    assert load.written <= {int(n) for n in kept} <= load.tried


@pytest.fixture
def shaken(private_postgres: Postgres, gatherd: Callable[..., Gatherd]) -> Gatherd:
    # What was answered must be there after a crash.
    private_postgres.sql("create table written (n int); alter database test set synchronous_commit = on", "test")
    daemon = gatherd(SHAKEN, postgres=private_postgres)
    assert good(soon(lambda: daemon.get("/item/1"))) == {"item": {"id": 1}}
    return daemon


def test_restarts_and_crashes_under_load(private_postgres: Postgres, shaken: Gatherd) -> None:
    load = Load(shaken)
    for step in (private_postgres.restart, private_postgres.terminate_backends, private_postgres.kill):
        time.sleep(0.3)
        step()
    problem(soon(lambda: shaken.get("/-/ready"), lambda reply: reply.status == 503), 503)
    time.sleep(1)
    problem(quickest(lambda: shaken.get("/item/1"), below=2), 503, step="item")  # a source that has been down for a while is told at once
    private_postgres.start()
    soon(lambda: shaken.get("/-/ready"))
    with stopwatch() as took:
        soon(lambda: shaken.get("/item/1"))
    assert took.seconds < 5
    time.sleep(0.3)
    assert load.end()[200] > 20
    for reply in at_once([lambda n=n: soon(lambda: shaken.get(f"/item/{n}")) for n in range(50)]):
        good(reply)
    check_written(load, private_postgres)


def test_a_frozen_server(private_postgres: Postgres, shaken: Gatherd) -> None:
    private_postgres.pause()
    with stopwatch() as took:
        replies = at_once([lambda n=n: shaken.get(f"/item/{n}") for n in range(20)])
    for reply in replies:
        problem(reply, 503, 504, step="item")
    assert took.seconds < 5
    private_postgres.resume()
    with stopwatch() as took:
        soon(lambda: shaken.get("/item/7"))
    assert took.seconds < 10
    for reply in at_once([lambda n=n: soon(lambda: shaken.get(f"/item/{n}")) for n in range(20)]):
        good(reply)


def test_connections_ended_by_an_administrator(private_postgres: Postgres, shaken: Gatherd) -> None:
    load = Load(shaken)
    for _ in range(10):
        time.sleep(0.05)
        private_postgres.terminate_backends()
    soon(lambda: shaken.get("/item/3"))
    statuses = load.end()
    assert statuses[200] > statuses.get(503, 0) + statuses.get(502, 0), "reads are run again, unseen"
    check_written(load, private_postgres)


def test_a_server_that_is_not_there_yet(private_postgres: Postgres, gatherd: Callable[..., Gatherd]) -> None:
    private_postgres.stop()
    daemon = gatherd(SHAKEN, postgres=private_postgres)
    for _ in range(3):
        with stopwatch() as took:
            problem(daemon.get("/item/1"), 503, step="item")
        assert took.seconds < 3
    assert problem(daemon.get("/-/ready"), 503)["down"] == ["pg"]
    private_postgres.start()
    assert good(soon(lambda: daemon.get("/item/1"))) == {"item": {"id": 1}}
    soon(lambda: daemon.get("/-/ready"))


def test_a_server_that_is_full(private_postgres: Postgres, gatherd: Callable[..., Gatherd]) -> None:
    """53300: no slot is left for us; then there is."""
    private_postgres.sql("alter system set max_connections = 10")
    private_postgres.restart()
    psql = [postgres_program("psql"), "-XAtq", private_postgres.url("test")]
    takers = [subprocess.Popen(psql, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(12)]
    try:
        wait_for(lambda: private_postgres.log().count("too many clients") + private_postgres.log().count("remaining connection slots"), 10)
        daemon = gatherd(SHAKEN, postgres=private_postgres)
        problem(daemon.get("/item/1"), 503, step="item")
    finally:
        for taker in takers:
            taker.kill()
            taker.communicate()
    soon(lambda: daemon.get("/item/1"))


def test_a_cancel_hits_only_what_it_is_meant_for(gatherd: Callable[..., Gatherd], postgres: Postgres) -> None:
    """Statements that run out of time share their connections with others, which must not feel it."""
    daemon = pool(gatherd, postgres, size=3)
    hasty = gatherd("""
        sources: { pg: { postgres: "${PG}", pool: { size: 3, acquire_timeout: 20s } } }
        endpoints:
          "GET /item/{id}": { parameters: { id: { type: integer } }, gather: { item: { from: pg, sql: "select id from items where id = {id}", expect: one } } }
          "GET /slow": { gather: { n: { from: pg, sql: "select 'cancel-me' from pg_sleep(20)", timeout: 50ms } } }
    """)
    ending = threading.Event()

    def slow() -> None:
        while not ending.is_set():
            problem(hasty.get("/slow"), 504, step="n")

    def quick(worker: int) -> int:
        wire, n = Wire(hasty), worker
        while not ending.is_set():
            assert good(wire.get(f"/item/{n}").reply()) == {"item": {"id": n}}
            n = (n + 17) % 10000
        return n

    running = [in_background(slow) for _ in range(2)] + [in_background(lambda n=n: quick(n)) for n in range(8)]
    time.sleep(2)
    ending.set()
    for one in running:
        one.result()
    wait_for(lambda: running_statements(postgres, "'cancel-me'") == 0, 10)
    assert good(daemon.get("/item/5"))["item"]["id"] == 5


def test_a_result_has_a_bound(gatherd: Callable[..., Gatherd]) -> None:
    daemon = gatherd("""
        sources: { pg: { postgres: "${PG}", pool: { size: 2 } } }
        endpoints:
          "GET /large":
            gather:
              rows: { from: pg, sql: "select repeat('x', 1000000) as x from generate_series(1, 2000)" }
              item: { from: pg, sql: "select id from items where id = 5", expect: value }
        """)
    for _ in range(2):
        problem(daemon.get("/large"), 502, step="rows")
        assert "the result is larger than 256 MiB" in request_line(daemon, path="/large")["error"]
    assert daemon.rss_kib < 2_000_000
