"""Gathering: steps at once and one after another, what becomes of failures, what the reply says."""

from __future__ import annotations

import json
import random
import urllib.parse
from typing import Any, Callable

import data
import pytest
from harness import Gatherd, Postgres
from support import Wire, at_once, good, problem, quickest, running_statements, stopwatch, wait_for

SOURCES = """
sources:
  pg: { postgres: "${PG}", pool: { size: 8, acquire_timeout: 20s } }
  mongo: { mongodb: "${MONGO}", pool: { size: 8, acquire_timeout: 20s } }
"""

ENDPOINTS = """
endpoints:
  "GET /parallel":
    gather:
      a: { from: pg, sql: "select 'a' as name from pg_sleep(0.5)", expect: value }
      b: { from: pg, sql: "select 'b' as name from pg_sleep(0.5)", expect: value }
      c: { from: pg, sql: "select 'c' as name from pg_sleep(0.4)", expect: value }
      d: { from: mongo, count: products }
  "GET /chain":
    gather:
      last:    { from: pg, sql: "select {middle.n}::int + 1 as n from pg_sleep(0.3)", expect: one }
      first:   { from: pg, sql: "select 1 as n from pg_sleep(0.3)", expect: one }
      middle:  { from: pg, sql: "select {first.n}::int + 1 as n from pg_sleep(0.3)", expect: one }
      aside:   { from: pg, sql: "select 0 as n from pg_sleep(0.6)", expect: one }
  "GET /customers/{id}":
    parameters: { id: { type: integer } }
    gather:
      customer: { from: pg, sql: "select id, name, currency from customers where id = {id}", expect: one }
      orders:   { from: pg, sql: "select id, product_id from orders where customer_id = {customer.id} order by id" }
      products: { from: mongo, find: products, filter: { _id: { $in: "{orders[*].product_id}" } }, sort: { _id: 1 }, projection: { name: 1 } }
      reviews:  { from: mongo, find: reviews, filter: { customer: "{customer.id}" }, sort: { _id: 1 } }
      reviewed: { from: pg, sql: "select distinct product_id from orders where product_id = any({reviews[*].product}) order by 1" }
      again:    { from: pg, sql: "select count(*) as n from orders where product_id = any({orders[*].product_id})", expect: value }
  "GET /types":
    gather:
      kind:    { from: mongo, find_one: kinds, filter: { _id: { $oid: "65a1b2c3d4e5f60718293a4b" } } }
      same:    { from: mongo, count: kinds, filter: { _id: "{kind._id}", date: "{kind.date}" } }
      text:    { from: pg, sql: "select {kind._id}::text as id, {kind.date}::timestamptz as date, {kind.int64}::int8 as big", expect: one }
      back:    { from: mongo, count: kinds, filter: { _id: { $oid: "{text.id}" }, date: { $date: "{text.date}" } } }
      number:  { from: mongo, count: kinds, filter: { int64: "{text.big}" } }
      tagged:  { from: mongo, find_one: products, filter: { _id: p-4 } }
      tags:    { from: pg, sql: "select array_length({tagged.tags}::text[], 1) as n, 'even' = any({tagged.tags}) as has", expect: one }
  "GET /single/{id}":
    parameters: { id: { type: integer } }
    gather: { customer: { from: pg, sql: "select name from customers where id = {id}", expect: one } }
  "GET /single-mongo/{id}":
    gather: { product: { from: mongo, find_one: products, filter: { _id: "{id}" }, expect: one } }
  "GET /constant":
    respond: { hello: world, list: [1, 2.50, true, null, "yes", yes], braces: "{{not a reference}}", "key {x}": {} }
"""


@pytest.fixture(scope="module")
def plain(module_gatherd: Callable[..., Gatherd]) -> Gatherd:
    return module_gatherd(SOURCES + ENDPOINTS)


def test_steps_run_at_once(plain: Gatherd) -> None:
    plain.get("/parallel")
    reply = good(quickest(lambda: plain.get("/parallel"), below=0.95))  # one after another: 1.4
    assert reply == {"a": "a", "b": "b", "c": "c", "d": 50}
    assert list(reply) == ["a", "b", "c", "d"]


def test_steps_wait_for_what_they_refer_to(plain: Gatherd) -> None:
    plain.get("/chain")
    with stopwatch() as took:
        reply = quickest(lambda: plain.get("/chain"), below=1.4)  # one after another: 1.5
    assert good(reply) == {"last": {"n": 3}, "first": {"n": 1}, "middle": {"n": 2}, "aside": {"n": 0}}
    assert took.seconds >= 0.9


def test_values_go_from_one_source_to_another(plain: Gatherd, postgres: Postgres) -> None:
    for customer in (1, 42, 100):
        reply = good(plain.get(f"/customers/{customer}"))
        bought = [f"p-{1 + (customer * 7 + n) % 50}" for n in range(1, 6)]
        assert reply["customer"] == {"id": customer, "name": f"Customer {customer}", "currency": data.CURRENCIES[customer % 4]}
        assert reply["orders"] == [{"id": (customer - 1) * 5 + n, "product_id": bought[n - 1]} for n in range(1, 6)]
        assert reply["products"] == [{"_id": p, "name": f"Product {p[2:]}"} for p in sorted(set(bought))]
        reviewed = [f"p-{1 + (customer * 3 + n) % 50}" for n in range(1, 4)]
        assert [review["_id"] for review in reply["reviews"]] == [f"r-{customer}-{n}" for n in range(1, 4)]
        assert {row["product_id"] for row in reply["reviewed"]} == set(reviewed)
        listed = ",".join(f"'{p}'" for p in bought)
        assert reply["again"] == int(postgres.sql(f"select count(*) from orders where product_id in ({listed})", "test"))


def test_types_go_from_one_source_to_another(plain: Gatherd) -> None:
    reply = good(plain.get("/types"))
    assert reply["same"] == 1, "an ObjectId and a date, within MongoDB"
    assert reply["text"] == {"id": "65a1b2c3d4e5f60718293a4b", "date": "2024-02-29T12:34:56.789+00:00", "big": 9007199254740993}
    assert reply["back"] == 1, "an ObjectId and a date, from PostgreSQL"
    assert reply["number"] == 1, "an integer that no double holds"
    assert reply["tags"] == {"n": 2, "has": True}, "an array of a document"


def test_a_single_step(plain: Gatherd) -> None:
    assert good(plain.get("/single/7")) == {"customer": {"name": "Customer 7"}}
    problem(plain.get("/single/1000"), 404, step="customer")
    assert good(plain.get("/single-mongo/p-3"))["product"]["name"] == "Product 3"
    problem(plain.get("/single-mongo/p-300"), 404, step="product")


def test_no_step_at_all(plain: Gatherd) -> None:
    reply = plain.get("/constant")
    assert reply.body == b'{"hello":"world","list":[1,2.50,true,null,"yes","yes"],"braces":"{not a reference}","key {x}":{}}'
    assert reply.headers["Gatherd-Complete"] == "true"


# -- many at once --

CROWD = """
endpoints:
  "GET /pair/{id}":
    parameters: { id: { type: integer }, tag: { type: string } }
    gather:
      item:   { from: pg, sql: "select id, name, {tag}::text as tag from items where id = {id}", expect: one }
      points: { from: mongo, find_one: points, filter: { n: { $eq: "{id}" } }, projection: { n: 1 } }
      broken: { from: pg, sql: "select 100 / ({id}::int % 7) as n", expect: value, on_error: null }
  "GET /ratio/{id}":
    parameters: { id: { type: integer } }
    gather: { n: { from: pg, sql: "select {id}::int + 0 / ({id}::int % 7) as n", expect: value } }
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_everybody_gets_their_own_rows(gatherd: Callable[..., Gatherd], threads: int) -> None:
    daemon = gatherd(SOURCES + CROWD, threads=threads)
    wires = [Wire(daemon, timeout=60) for _ in range(200)]
    for turn in range(3):
        order = random.Random(turn).sample(range(200), 200)
        for n in order:
            wires[n].get(f"/pair/{n}?tag=turn-{turn}-{n}" if n % 4 else f"/ratio/{n}")
        for n, wire in enumerate(wires):
            reply = wire.reply()
            if n % 4:
                broken = n % 7 == 0
                expected: Any = {
                    "item": {"id": n, "name": f"item {n}", "tag": f"turn-{turn}-{n}"},
                    "points": {"_id": f"pt-{n:03}", "n": n},
                    "broken": None if broken else 100 // (n % 7),
                }
                assert good(reply) == expected
                assert reply.headers["Gatherd-Complete"] == ("false" if broken else "true")
            elif n % 7 == 0:
                problem(reply, 400, step="n", code="22012")
            else:
                assert good(reply) == {"n": n}
    for wire in wires:
        wire.socket.close()


# -- failures --

FAILURES = """
endpoints:
  "GET /replaced":
    gather:
      fine:    { from: pg, sql: "select 1 as n", expect: value }
      nothing: { from: pg, sql: "select 1/0", on_error: null }
      default: { from: pg, sql: "select 1/0", on_error: { default: { rate: 1.50, list: [1] } } }
      omitted: { from: pg, sql: "select 1/0", on_error: omit }
      missing: { from: mongo, find_one: products, filter: { _id: none }, expect: one, on_error: null }
      later:   { from: pg, sql: "select {default.rate}::numeric as rate, {nothing.x}::int as x, {omitted}::text as o", expect: one }
  "GET /replaced/respond":
    gather:
      nothing: { from: pg, sql: "select 1/0", on_error: null }
      default: { from: pg, sql: "select 1/0", on_error: { default: { rate: 1.0 } } }
      omitted: { from: pg, sql: "select 1/0", on_error: omit }
    respond:
      nothing: "{nothing}"
      inside: "{default.rate}"
      default: "{default}"
      omitted: "{omitted}"
      list: [ "{omitted}", 1, "{omitted}" ]
      member: "{omitted.a}"
      text: "<{omitted}>"
  "GET /all-fail":
    gather:
      a: { from: pg, sql: "select 1/0", on_error: omit }
      b: { from: mongo, find_one: products, filter: { _id: none }, expect: one, on_error: omit }
  "GET /one-fails":
    gather:
      slow:  { from: pg, sql: "select 'one-fails' from pg_sleep(30)" }
      bad:   { from: pg, sql: "select 1/0 from pg_sleep(0.2)" }
      after: { from: pg, sql: "select {slow[0].x}::int" }
  "GET /none/{id}":
    parameters: { id: { type: integer } }
    gather:
      customer: { from: pg, sql: "select id from customers where id = {id}", expect: one }
      orders:   { from: pg, sql: "select id from orders where customer_id = {customer.id} order by id limit 2" }
"""


@pytest.fixture(scope="module")
def failing(module_gatherd: Callable[..., Gatherd]) -> Gatherd:
    return module_gatherd(SOURCES + FAILURES)


def test_failures_are_replaced(failing: Gatherd) -> None:
    reply = failing.get("/replaced")
    assert good(reply) == {
        "fine": 1,
        "nothing": None,
        "default": {"rate": 1.5, "list": [1]},
        "missing": None,
        "later": {"rate": 1.5, "x": None, "o": None},
    }
    assert b'"default":{"rate":1.50,"list":[1]}' in reply.body
    assert reply.headers["Gatherd-Complete"] == "false"
    assert reply.headers["Gatherd-Missing"] == "nothing, default, omitted, missing"


def test_replaced_failures_in_the_declared_reply(failing: Gatherd) -> None:
    reply = failing.get("/replaced/respond")
    assert good(reply) == {"nothing": None, "inside": 1.0, "default": {"rate": 1.0}, "list": [1], "text": "<>"}
    assert reply.headers["Gatherd-Missing"] == "nothing, default, omitted"


def test_all_steps_replaced(failing: Gatherd) -> None:
    assert failing.get("/all-fail").body == b"{}"


def test_one_failure_ends_the_others(failing: Gatherd, postgres: Postgres) -> None:
    with stopwatch() as took:
        problem(failing.get("/one-fails"), 500, step="bad", code="22012")
    assert took.seconds < 5
    wait_for(lambda: running_statements(postgres, "'one-fails'") == 0, 10, "the statement of the other step to be cancelled")


def test_none_where_one_is_expected(failing: Gatherd) -> None:
    assert good(failing.get("/none/2")) == {"customer": {"id": 2}, "orders": [{"id": 6}, {"id": 7}]}
    problem(failing.get("/none/200"), 404, step="customer")


# -- expect --


def sql(text: str, expect: str | None) -> str:
    return f"{{ from: pg, sql: \"{text}\"{f', expect: {expect}' if expect else ''} }}"


def find(action: str, expect: str | None, tail: str = "") -> str:
    return f"{{ from: mongo, {action}{f', expect: {expect}' if expect else ''}{tail} }}"


NONE = "select 1 as n, 2 as m where false"
ONE = "select 1 as n, 2 as m"
TWO = "select n, 2 as m from generate_series(1, 2) n"
ROW, ROW2 = {"n": 1, "m": 2}, {"n": 2, "m": 2}
P1, P2 = {"_id": "p-1"}, {"_id": "p-2"}
NO_DOC, ONE_DOC = "filter: { _id: none }, projection: { _id: 1 }", "filter: { _id: p-1 }, projection: { _id: 1 }"
TWO_DOCS = "filter: { _id: { $in: [ p-1, p-2 ] } }, projection: { _id: 1 }, sort: { _id: 1 }"

# the step, and what becomes of it: a status where it fails, else the result
EXPECTATIONS: list[tuple[str, Any]] = [
    (sql(NONE, None), []),
    (sql(ONE, None), [ROW]),
    (sql(TWO, "many"), [ROW, ROW2]),
    (sql(NONE, "one"), 404),
    (sql(ONE, "one"), ROW),
    (sql(TWO, "one"), 500),
    (sql(NONE, "maybe"), None),
    (sql(ONE, "maybe"), ROW),
    (sql(TWO, "maybe"), 500),
    (sql("select 1 where false", "value"), None),
    (sql("select 'text'", "value"), "text"),
    (sql("select null::int", "value"), None),
    (sql("select array[1, 2]", "value"), [1, 2]),
    (sql("select n from generate_series(1, 2) n", "value"), 500),
    (sql(ONE, "value"), 500),
    (sql(TWO, "none"), None),
    (sql(NONE, "none"), None),
    (find(f"find: products, {NO_DOC}", None), []),
    (find(f"find: products, {TWO_DOCS}", None), [P1, P2]),
    (find(f"find: products, {NO_DOC}", "one"), 404),
    (find(f"find: products, {ONE_DOC}", "one"), P1),
    (find(f"find: products, {TWO_DOCS}", "one"), 500),
    (find(f"find: products, {NO_DOC}", "maybe"), None),
    (find(f"find: products, {ONE_DOC}", "maybe"), P1),
    (find(f"find: products, {TWO_DOCS}", "maybe"), 500),
    (find(f"find_one: products, {NO_DOC}", None), None),
    (find(f"find_one: products, {NO_DOC}", "one"), 404),
    (find(f"find_one: products, {TWO_DOCS}", "one"), P1),
    (find("aggregate: products, pipeline: [ { $match: { _id: none } } ]", None), []),
    (find("aggregate: products, pipeline: [ { $match: { _id: none } } ]", "one"), 404),
    (find("aggregate: products, pipeline: [ { $match: { _id: none } } ]", "maybe"), None),
    (find("aggregate: products, pipeline: [ { $group: { _id: x, n: { $sum: 1 } } } ]", "one"), {"_id": "x", "n": 50}),
    (find("count: products", None), 50),
    (find("count: products, filter: { _id: none }", "value"), 0),
    (find("distinct: products, key: nothing", None), []),
]


@pytest.mark.parametrize("also", ["alone", "beside another"])
def test_what_a_step_is_expected_to_find(gatherd: Callable[..., Gatherd], also: str) -> None:
    config = SOURCES + "endpoints:\n"
    for n, (step, _) in enumerate(EXPECTATIONS):
        config += f'  "GET /{n}":\n    gather:\n      step: {step}\n'
        config += "      other: { from: pg, sql: select 1 }\n" if also != "alone" else ""
    daemon = gatherd(config)
    for n, (step, expected) in enumerate(EXPECTATIONS):
        reply = daemon.get(f"/{n}")
        print(step, expected, reply.status, reply.body)
        if isinstance(expected, int) and expected >= 400:
            problem(reply, expected, step="step")
        else:
            assert good(reply)["step"] == expected


# -- when --

WHEN = """
endpoints:
  "GET /when":
    parameters: { flag: { type: boolean, required: false }, n: { type: integer, required: false }, tags: { type: array, items: { type: string }, default: [] } }
    gather:
      none:    { from: pg, sql: "select 1 where false" }
      some:    { from: pg, sql: "select 0 as zero, '' as empty, 'x' as text, false as no, '{}'::jsonb as object", expect: one }
      by_flag: { from: pg, sql: "select 1", expect: value, when: "{flag}" }
      by_n:    { from: mongo, count: products, when: "{n}" }
      by_tags: { from: pg, sql: "select 1", expect: value, when: "{tags}" }
      by_none: { from: pg, sql: "select 1/0", when: "{none}" }
      by_zero: { from: pg, sql: "select 1/0", when: "{some.zero}" }
      by_empty: { from: pg, sql: "select 1/0", when: "{some.empty}" }
      by_no:   { from: pg, sql: "select 1/0", when: "{some.no}" }
      by_object: { from: pg, sql: "select 1/0", when: "{some.object}" }
      by_absent: { from: pg, sql: "select 1/0", when: "{some.absent}" }
      by_text: { from: pg, sql: "select 1", expect: value, when: "{some.text}" }
      by_row:  { from: pg, sql: "select 1", expect: value, when: "{some}" }
      after:   { from: pg, sql: "select {by_none[0].n}::int is null as is_null", expect: value }
    respond: ["{by_flag}", "{by_n}", "{by_tags}", "{by_none}", "{by_zero}", "{by_empty}", "{by_no}", "{by_object}", "{by_absent}", "{by_text}", "{by_row}", "{after}"]
"""


def test_when(gatherd: Callable[..., Gatherd]) -> None:
    daemon = gatherd(SOURCES + WHEN)
    never, always = [None] * 6, [1, 1, True]
    for query, expected in {
        "": [None, None, None],
        "flag=false&n=0&tags=": [None, None, 1],
        "flag=true&n=-1&tags=a&tags=b": [1, 50, 1],
        "flag=true": [1, None, None],
    }.items():
        reply = daemon.get(f"/when?{query}")
        assert good(reply) == expected + never + always
        assert reply.headers["Gatherd-Complete"] == "true"


# -- respond --

RESPOND = """
endpoints:
  "POST /echo/{name}":
    additional: allow
    gather:
      row:  { from: pg, sql: "select 1 as n, 1.50 as price, true as yes, null as nothing, 'a \\"b\\"' as text, array[1, 2] as list, '{\\"k\\": [{\\"v\\": 1}, {\\"v\\": 2}, {}]}'::jsonb as doc, date '2024-02-29' as day", expect: one }
      rows: { from: pg, sql: "select n, n * 10 as m from generate_series(1, 3) n" }
      mongo: { from: mongo, find_one: kinds, filter: { _id: { $oid: "65a1b2c3d4e5f60718293a4b" } } }
    respond:
      types: [ "{row.n}", "{row.price}", "{row.yes}", "{row.nothing}", "{row.text}", "{row.list}", "{row.doc}", "{row.day}" ]
      texts: [ "n {row.n}", "{row.price}{row.price}", "{row.yes}!", "<{row.nothing}>", "{row.text}.", "{row.list}.", "{row.day} {{{row.n}}}" ]
      paths: [ "{row.doc.k[0].v}", "{row.doc.k[*].v}", "{row.doc.none.deeper}", "{row.list[1]}", "{row.list[9]}", "{rows[*].m}", "{rows[1].n}", "{rows[7].n}", "{rows[*].none}" ]
      mongo: [ "{mongo._id}", "{mongo.document.a.deep[1]}", "{mongo.date}", "{mongo.array[3].four}", "{mongo.int64}", "at {mongo.date}", "{mongo._id}." ]
      whole: { deep: { rows: "{rows}" } }
      request: [ "{request.method}", "{request.path}", "{request.id}", "{request.ip}", "{name}" ]
      headers: [ "{headers.X-Test}", "{headers.x-test}", "{headers.x-none}", "<{headers.x-none}>" ]
      body: [ "{body}", "{body.a}", "{body.a[1].b}", "{body.none}" ]
      "a {name} key": plain
"""


def test_the_declared_reply(gatherd: Callable[..., Gatherd]) -> None:
    daemon = gatherd(SOURCES + RESPOND)
    body = {"a": [1, {"b": "é \U0001f600 \" \\ \n"}], "big": 12345678901234567890}
    reply = daemon.post("/echo/J%C3%BCrgen%20%22x%22", json_body=body, headers={"X-Test": "a \"quoted\" one", "X-Request-Id": "my-id.1"})
    document = good(reply)
    rows = [{"n": n, "m": n * 10} for n in (1, 2, 3)]
    doc = {"k": [{"v": 1}, {"v": 2}, {}]}
    assert document["types"] == [1, 1.5, True, None, 'a "b"', [1, 2], doc, "2024-02-29"]
    assert b'"types":[1,1.50,true,null,' in reply.body, "a numeric keeps its digits"
    assert document["texts"] == ["n 1", "1.501.50", "true!", "<>", 'a "b".', "[1,2].", "2024-02-29 {1}"]
    assert document["paths"] == [1, [1, 2, None], None, 2, None, [10, 20, 30], 2, None, [None, None, None]]
    assert document["mongo"] == [
        "65a1b2c3d4e5f60718293a4b", "two", "2024-02-29T12:34:56.789Z", 4, 9007199254740993,
        "at 2024-02-29T12:34:56.789Z", "65a1b2c3d4e5f60718293a4b.",
    ]  # fmt: skip
    assert document["whole"] == {"deep": {"rows": rows}}
    assert document["request"] == ["POST", "/echo/J%C3%BCrgen%20%22x%22", "my-id.1", "127.0.0.1", 'Jürgen "x"']
    assert document["headers"] == ['a "quoted" one', 'a "quoted" one', None, "<>"]
    assert document["body"] == [body, body["a"], body["a"][1]["b"], None]
    assert document["a {name} key"] == "plain"
    assert list(document) == ["types", "texts", "paths", "mongo", "whole", "request", "headers", "body", "a {name} key"]
    assert b"12345678901234567890" in reply.body


@pytest.mark.parametrize("respond, expected", [('"{n}"', 1), ('["{n}"]', [1]), ("text", "text"), ("5", 5), ("null", None), ("[]", [])])
def test_a_reply_need_not_be_an_object(gatherd: Callable[..., Gatherd], respond: str, expected: Any) -> None:
    endpoint = f'endpoints: {{ "GET /": {{ gather: {{ n: {{ from: pg, sql: select 1, expect: value }} }}, respond: {respond} }} }}'
    assert json.loads(gatherd(SOURCES + endpoint).get("/").body) == expected


# -- status, location, headers --

HEADS = """
endpoints:
  "POST /made":
    parameters: { name: { type: string, required: false } }
    gather: { row: { from: pg, sql: "select coalesce({name}, 'a/b ü?') as name, 7 as id", expect: one } }
    location: "/things/{row.name}/{row.id}"
  "POST /accepted":
    gather: { n: { from: pg, sql: "select 1", expect: value } }
    status: 202
  "PUT /made/{name}":
    gather: { n: { from: pg, sql: "select 1", expect: value } }
    location: "/made/{name}"
    status: 201
  "DELETE /gone":
    gather: { n: { from: pg, sql: "select 1", expect: value } }
    status: 204
  "GET /headers":
    parameters: { value: { type: string, default: x } }
    gather: { row: { from: pg, sql: "select 7 as id, null as nothing", expect: one } }
    headers: { Cache-Control: "max-age=60", X-Row: "row {row.id}", X-Nothing: "{row.nothing}", X-Value: "{value}" }
"""


def test_status_location_and_headers(gatherd: Callable[..., Gatherd]) -> None:
    daemon = gatherd(SOURCES + HEADS)
    reply = daemon.post("/made", json_body={})
    assert good(reply, 201) and reply.headers["Location"] == "/things/a%2Fb%20%C3%BC%3F/7"
    reply = daemon.post("/made", json_body={"name": "x\r\nSet-Cookie: a=b"})
    assert reply.headers["Location"] == "/things/x%0D%0ASet-Cookie%3A%20a%3Db/7"
    assert daemon.post("/accepted").status == 202
    reply = daemon.request("PUT", "/made/../x".replace("..", "a%20b").replace("/x", ""))
    assert good(reply, 201) and reply.headers["Location"] == "/made/a%20b"
    reply = daemon.request("DELETE", "/gone")
    assert reply.status == 204 and reply.body == b"" and "Content-Length" not in reply.headers
    reply = daemon.get("/headers")
    assert reply.headers["Cache-Control"] == "max-age=60" and reply.headers["X-Row"] == "row 7"
    assert not reply.headers["X-Nothing"] and reply.headers["X-Value"] == "x"
    for bad in ("a\r\nSet-Cookie: a=b", "a\nb", "a\rb"):
        reply = daemon.get("/headers?value=" + urllib.parse.quote(bad))
        problem(reply, 400, 500)
        assert "Set-Cookie" not in reply.headers


# -- time --

TIMES = """
server: { listen: [ "127.0.0.1:${PORT}" ], threads: 1, request_timeout: 900ms }
sources:
  pg: { postgres: "${PG}" }
  hasty: { postgres: "${PG}", timeout: 200ms }
endpoints:
  "GET /step": { gather: { a: { from: pg, sql: "select 'times-1' from pg_sleep(30)", timeout: 200ms }, b: { from: pg, sql: "select 1" } } }
  "GET /source": { gather: { a: { from: hasty, sql: "select 'times-2' from pg_sleep(30)" } } }
  "GET /longer": { gather: { a: { from: hasty, sql: "select 'times-3' from pg_sleep(0.4)", timeout: 10s } } }
  "GET /endpoint": { timeout: 200ms, gather: { a: { from: pg, sql: "select 'times-4' from pg_sleep(30)" } } }
  "GET /server": { gather: { a: { from: pg, sql: "select 'times-5' from pg_sleep(30)", timeout: 60s } } }
  "GET /replaced": { gather: { a: { from: pg, sql: "select 'times-6' from pg_sleep(30)", timeout: 200ms, on_error: null }, b: { from: pg, sql: "select 1 as n" } } }
  "GET /all-replaced":
    timeout: 300ms
    gather:
      a: { from: pg, sql: "select 'times-7' from pg_sleep(30)", on_error: null }
      b: { from: pg, sql: "select 1 as n", expect: value }
      c: { from: pg, sql: "select {a}::text is null", on_error: { default: late }, expect: value }
"""


def test_deadlines(gatherd: Callable[..., Gatherd], postgres: Postgres) -> None:
    daemon = gatherd(TIMES)
    assert daemon.get("/longer").status == 200
    for path, least in {"/step": 0.2, "/source": 0.2, "/endpoint": 0.2, "/server": 0.9}.items():
        with stopwatch() as took:
            problem(daemon.get(path), 504, step="a")
        assert least <= took.seconds < least + 3, path
    with stopwatch() as took:
        reply = daemon.get("/replaced")
    assert good(reply) == {"a": None, "b": [{"n": 1}]} and reply.headers["Gatherd-Missing"] == "a"
    assert took.seconds < 3
    with stopwatch() as took:
        reply = daemon.get("/all-replaced")
    assert good(reply) == {"a": None, "b": 1, "c": "late"} and reply.headers["Gatherd-Missing"] == "a, c"
    assert took.seconds < 3
    wait_for(lambda: running_statements(postgres, "'times-") == 0, 10, "the statements to be cancelled")
    at_once([lambda: good(daemon.get("/longer"))] * 8)
