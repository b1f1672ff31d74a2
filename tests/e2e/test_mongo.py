"""MongoDB as a source: what is asked, what comes back, what input may not do, and what happens when it goes."""

from __future__ import annotations

import json
import threading
import time
from typing import Any, Callable

import data
import pytest
from harness import Gatherd, Mongo, MongoClient
from support import at_once, good, in_background, problem, quickest, request_line, soon, stopwatch, wait_for

SOURCES = """
sources:
  db: { mongodb: "${MONGO}", pool: { size: 4, acquire_timeout: 20s } }
  relaxed: { mongodb: "${MONGO}", json: relaxed, pool: { size: 2, acquire_timeout: 20s } }
"""


def step(action: str, source: str = "db") -> str:
    return f"{{ from: {source}, {action} }}"


def endpoints(table: dict[str, str], parameters: str = "") -> str:
    """An endpoint a step: GET /NAME answers what the step found."""
    lines = ["endpoints:"]
    for name, action in table.items():
        lines.append(f'  "GET /{name}":')
        if parameters:
            lines.append(f"    parameters: {parameters}")
        lines += ["    gather:", f"      r: {action}", '    respond: "{r}"']
    return "\n".join(lines) + "\n"


# -- reading --

PRODUCTS = [{"_id": f"p-{n}", "name": f"Product {n}", "price": n * 1.25, "tags": ["all", "even" if n % 2 == 0 else "odd"]} for n in range(1, 51)]
POINTS = [{"_id": f"pt-{n:03}", "n": n} for n in range(250)]


def by_id(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(documents, key=lambda document: document["_id"])


READS: dict[str, tuple[str, Any]] = {
    "all": ("find: products, sort: { _id: 1 }", by_id(PRODUCTS)),
    "filter": ("find: products, filter: { price: { $gte: 60 } }, sort: { price: 1 }", PRODUCTS[47:]),
    "down": ("find: products, sort: { price: -1 }, limit: 2", [PRODUCTS[49], PRODUCTS[48]]),
    "skip": ("find: products, sort: { price: 1 }, skip: 48", PRODUCTS[48:]),
    "page": ("find: products, sort: { price: 1 }, skip: 10, limit: 2, projection: { _id: 1 }", [{"_id": "p-11"}, {"_id": "p-12"}]),
    "members": ("find: products, filter: { _id: p-1 }, projection: { name: 1, _id: 0 }", [{"name": "Product 1"}]),
    "without": ("find: products, filter: { _id: p-1 }, projection: { tags: 0, price: 0 }", [{"_id": "p-1", "name": "Product 1"}]),
    "or": ("find: products, filter: { $or: [ { _id: p-2 }, { price: 1.25 } ] }, sort: { price: 1 }, projection: { _id: 1 }", [{"_id": "p-1"}, {"_id": "p-2"}]),
    "array": ("find: products, filter: { tags: even, price: { $lt: 6 } }, sort: { price: 1 }, projection: { _id: 1 }", [{"_id": "p-2"}, {"_id": "p-4"}]),
    "regex": ("find: products, filter: { name: { $regex: '^product 1$', $options: i } }, projection: { _id: 1 }", [{"_id": "p-1"}]),
    "none": ("find: products, filter: { _id: none }", []),
    "nowhere": ("find: no_such_collection", []),
    "one": ("find_one: products, filter: { _id: p-7 }", PRODUCTS[6]),
    "first": ("find_one: products, sort: { price: -1 }, projection: { _id: 1 }", {"_id": "p-50"}),
    "second": ("find_one: products, sort: { price: -1 }, skip: 1, projection: { _id: 1 }", {"_id": "p-49"}),
    "no-one": ("find_one: products, filter: { _id: none }", None),
    "batches": ("find: points, sort: { n: 1 }, projection: { n: 1 }", POINTS),
    "limited": ("find: points, sort: { n: 1 }, projection: { n: 1 }, limit: 150", POINTS[:150]),
    "limit-is-batch": ("find: points, sort: { n: 1 }, projection: { n: 1 }, limit: 101", POINTS[:101]),
    "skipped": ("find: points, sort: { n: 1 }, projection: { n: 1 }, skip: 100", POINTS[100:]),
    "groups": (
        "aggregate: reviews, pipeline: [ { $group: { _id: '$stars', n: { $sum: 1 } } }, { $sort: { _id: 1 } } ]",
        [{"_id": n, "n": 60} for n in range(1, 6)],
    ),
    "long-pipeline": ("aggregate: points, pipeline: [ { $match: { n: { $gte: 10 } } }, { $sort: { n: 1 } }, { $project: { n: 1 } } ]", POINTS[10:]),
    "count": ("count: reviews", 300),
    "count-some": ("count: reviews, filter: { customer: 3 }", 3),
    "count-none": ("count: reviews, filter: { customer: 3000 }", 0),
    "count-limit": ("count: reviews, limit: 7", 7),
    "count-skip": ("count: reviews, skip: 290", 10),
    "distinct": ("distinct: reviews, key: stars", [1, 2, 3, 4, 5]),
    "distinct-some": ("distinct: reviews, key: product, filter: { customer: 1 }", ["p-5", "p-6", "p-7"]),
    "distinct-array": ("distinct: products, key: tags", ["all", "even", "odd"]),
}


@pytest.fixture(scope="module")
def reads(module_gatherd: Callable[..., Gatherd]) -> Gatherd:
    return module_gatherd(SOURCES + endpoints({name: step(action) for name, (action, _) in READS.items()}))


@pytest.mark.parametrize("name", READS)
def test_reads(reads: Gatherd, name: str) -> None:
    reply = good(reads.get(f"/{name}"))
    expected = READS[name][1]
    assert (sorted(reply) if name.startswith("distinct") else reply) == expected


def test_long_cursors_at_once(reads: Gatherd) -> None:
    for reply in at_once([lambda: reads.get("/batches")] * 20):
        assert good(reply) == POINTS


# -- how values look --

KINDS = '{ _id: { $oid: "65a1b2c3d4e5f60718293a4b" } }'


def test_values_in_plain_json(gatherd: Callable[..., Gatherd]) -> None:
    reply = gatherd(SOURCES + endpoints({"kinds": step(f"find_one: kinds, filter: {KINDS}")})).get("/kinds")
    assert good(reply) == {
        "_id": "65a1b2c3d4e5f60718293a4b",
        "double": 0.1,
        "whole": 3.0,
        "string": data.KINDS["string"],
        "document": data.KINDS["document"],
        "array": data.KINDS["array"],
        "binary": "AP8Q",
        "uuid": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "true": True,
        "false": False,
        "date": "2024-02-29T12:34:56.789Z",
        "old": "1900-01-01T00:00:00.000Z",
        "null": None,
        "int32": -42,
        "int64": 9007199254740993,
        "regex": "/^a.*b$/i",
        "timestamp": {"t": 1700000000, "i": 7},
    }
    assert list(good(reply)) == list(data.KINDS)


def test_values_in_relaxed_extended_json(gatherd: Callable[..., Gatherd]) -> None:
    reply = gatherd(SOURCES + endpoints({"kinds": step(f"find_one: kinds, filter: {KINDS}", "relaxed")})).get("/kinds")
    assert good(reply) == {
        "_id": {"$oid": "65a1b2c3d4e5f60718293a4b"},
        "double": 0.1,
        "whole": 3.0,
        "string": data.KINDS["string"],
        "document": data.KINDS["document"],
        "array": data.KINDS["array"],
        "binary": {"$binary": {"base64": "AP8Q", "subType": "00"}},
        "uuid": {"$binary": {"base64": "oO68mZwLTvi7bWu5vTgKEQ==", "subType": "04"}},
        "true": True,
        "false": False,
        "date": {"$date": "2024-02-29T12:34:56.789Z"},
        "old": {"$date": {"$numberLong": "-2208988800000"}},
        "null": None,
        "int32": -42,
        "int64": 9007199254740993,
        "regex": {"$regularExpression": {"pattern": "^a.*b$", "options": "i"}},
        "timestamp": {"$timestamp": {"t": 1700000000, "i": 7}},
    }
    assert b'"whole":3.0' in reply.body, "a double stays one for whoever reads it back"


def test_values_that_not_every_server_keeps(gatherd: Callable[..., Gatherd], mongo: Mongo) -> None:
    if mongo.kind == "ferretdb":
        pytest.skip("FerretDB has no Decimal128")
    daemon = gatherd(SOURCES + endpoints({"plain": step("find_one: kinds, filter: { _id: rare }"), "relaxed": step("find_one: kinds, filter: { _id: rare }", "relaxed")}))
    assert b'"decimal":123.45' in daemon.get("/plain").body
    assert good(daemon.get("/relaxed"))["decimal"] == {"$numberDecimal": "123.45"}


# -- references --

REFERENCES = """
endpoints:
  "GET /typed":
    parameters:
      id:    { type: string, format: objectid, required: false }
      n:     { type: integer, required: false }
      x:     { type: number, required: false }
      s:     { type: string, required: false }
      b:     { type: boolean, required: false }
      ids:   { type: array, items: { type: string }, required: false }
      ns:    { type: array, items: { type: integer }, default: [] }
    gather:
      by_id:   { from: db, count: kinds, filter: { _id: "{id}" } }
      by_oid:  { from: db, count: kinds, filter: { _id: { $oid: "{id}" } } }
      by_n:    { from: db, count: points, filter: { n: "{n}" } }
      by_x:    { from: db, count: products, filter: { price: { $lte: "{x}" } } }
      by_s:    { from: db, count: products, filter: { _id: "{s}" } }
      by_text: { from: db, count: products, filter: { name: "Product {n}" } }
      by_b:    { from: db, count: kinds, filter: { double: 0.1, "true": "{b}" } }
      by_ids:  { from: db, count: products, filter: { _id: { $in: "{ids}" } }, when: "{ids}" }
      by_list: { from: db, count: points, filter: { n: { $in: [ "{n}", 0, 1 ] } } }
      by_ns:   { from: db, count: points, filter: { n: { $in: "{ns}" } } }
  "GET /date":
    parameters: { at: { type: string } }
    gather: { n: { from: db, count: reviews, filter: { at: { $gte: { $date: "{at}" } } } } }
    respond: "{n}"
  "GET /oid/{id}": { gather: { n: { from: db, count: kinds, filter: { _id: { $oid: "{id}" } } } }, respond: "{n}" }
  "GET /object/{id}": { parameters: { id: { type: string, format: objectid } }, gather: { n: { from: db, count: kinds, filter: { _id: "{id}" } } }, respond: "{n}" }
  "GET /page":
    parameters: { limit: { type: integer, default: 2 }, skip: { type: integer, default: 0 }, order: { type: integer, default: 1 } }
    gather:
      found: { from: db, find: points, sort: { n: "{order}" }, limit: "{limit}", skip: "{skip}", projection: { _id: 0, n: 1 } }
    respond: "{found[*].n}"
  "GET /pipeline":
    parameters: { customer: { type: integer } }
    gather:
      found:
        from: db
        aggregate: reviews
        pipeline:
          - $match: { customer: { $lte: "{customer}" } }
          - $group: { _id: "$customer", n: { $sum: 1 } }
          - $sort: { _id: -1 }
          - $limit: 2
    respond: "{found}"
  "GET /distinct": { parameters: { customer: { type: integer } }, gather: { found: { from: db, distinct: reviews, key: stars, filter: { customer: "{customer}" } } }, respond: "{found}" }
  "POST /filter":
    parameters: { any: { required: false }, o: { type: object, required: false }, list: { type: array, required: false }, s: { type: string, required: false } }
    gather:
      by_any:  { from: db, count: products, filter: { _id: "{any}" }, when: "{any}" }
      by_o:    { from: db, count: kinds, filter: { document: "{o}" }, when: "{o}" }
      by_list: { from: db, count: products, filter: { tags: "{list}" }, when: "{list}" }
      by_s:    { from: db, count: products, filter: { _id: "{s}" }, when: "{s}" }
    respond: { any: "{by_any}", o: "{by_o}", list: "{by_list}", s: "{by_s}" }
  "POST /body":
    gather: { n: { from: db, count: products, filter: { _id: "{body.id}" } } }
    respond: "{n}"
  "POST /field":
    parameters: { s: { type: string } }
    gather: { found: { from: db, aggregate: products, pipeline: [ { $match: { _id: p-1 } }, { $project: { v: "{s}" } } ] } }
    respond: "{found[0].v}"
"""


@pytest.fixture(scope="module")
def references(module_gatherd: Callable[..., Gatherd]) -> Gatherd:
    return module_gatherd(SOURCES + REFERENCES)


def test_references_keep_their_types(references: Gatherd) -> None:
    nothing = {"by_id": 0, "by_oid": 0, "by_n": 0, "by_x": 0, "by_s": 0, "by_text": 0, "by_b": 0, "by_ids": None, "by_list": 2, "by_ns": 0}
    for query, expected in {
        "id=65a1b2c3d4e5f60718293a4b": {"by_id": 1, "by_oid": 1},
        "n=7": {"by_n": 1, "by_text": 1, "by_list": 3},
        "x=2.5": {"by_x": 2},
        "x=2.4999": {"by_x": 1},
        "s=p-1": {"by_s": 1},
        "b=true": {"by_b": 1},
        "b=false": {},
        "ids=p-1&ids=p-2&ids=none": {"by_ids": 2},
        "ns=3&ns=4": {"by_ns": 2},
    }.items():
        reply = good(references.get(f"/typed?{query}"))
        assert reply == nothing | expected, query


def test_dates_and_object_ids_of_a_request(references: Gatherd) -> None:
    assert good(references.get("/date?at=2024-04-01")) == 100
    assert good(references.get("/date?at=2024-04-28T00:00:00Z")) == good(references.get("/date?at=2024-04-28T02:00:00%2B02:00")) == 3
    assert good(references.get("/date?at=2124-01-01")) == 0
    for bad in ("yesterday", "2024-13-01", ""):
        problem(references.get(f"/date?at={bad}"), 400)
    for path in ("oid", "object"):
        assert good(references.get(f"/{path}/65a1b2c3d4e5f60718293a4b")) == 1
        assert good(references.get(f"/{path}/65A1B2C3D4E5F60718293A4B")) == 1
        assert good(references.get(f"/{path}/000000000000000000000000")) == 0
        for bad in ("65a1b2c3d4e5f60718293a4", "65a1b2c3d4e5f60718293a4bb", "65a1b2c3d4e5f60718293a4x", "p-1"):
            problem(references.get(f"/{path}/{bad}"), 400)


def test_numbers_of_a_request(references: Gatherd) -> None:
    assert good(references.get("/page")) == [0, 1]
    assert good(references.get("/page?limit=3&skip=10")) == [10, 11, 12]
    assert good(references.get("/page?order=-1")) == [249, 248]
    assert good(references.get("/page?limit=0")) == []
    for bad in ("limit=-1", "skip=-1"):
        problem(references.get(f"/page?{bad}"), 400)
    assert good(references.get("/pipeline?customer=5")) == [{"_id": 5, "n": 3}, {"_id": 4, "n": 3}]
    assert sorted(good(references.get("/distinct?customer=5"))) == [2, 3, 4]


OPERATORS: list[Any] = [
    {"$ne": None}, {"$gt": ""}, {"$where": "sleep(1000)"}, {"a": {"$gt": 1}}, [{"$gt": 1}], {"$oid": "65a1b2c3d4e5f60718293a4b"}, {"a": [[{"$x": 1}]]}, {"$": 1},
]  # fmt: skip


@pytest.mark.parametrize("value", OPERATORS, ids=json.dumps)
def test_input_brings_no_operators(references: Gatherd, value: Any) -> None:
    for sent in ({"any": value}, {"o": value}, {"list": value}, {"list": [value]}, {"s": value}):
        problem(references.post("/filter", json_body=sent), 400)
    problem(references.post("/body", json_body={"id": value}), 400)


def test_objects_and_arrays_only_where_declared(references: Gatherd) -> None:
    none = {"any": None, "o": None, "list": None, "s": None}
    assert good(references.post("/filter", json_body={"o": data.KINDS["document"]})) == none | {"o": 1}
    assert good(references.post("/filter", json_body={"list": ["all", "odd"]})) == none | {"list": 25}
    assert good(references.post("/filter", json_body={"any": "p-1"})) == none | {"any": 1}
    assert good(references.post("/filter", json_body={"s": "$where"})) == none | {"s": 0}
    for sent in ({"any": {"a": 1}}, {"any": ["p-1"]}):
        problem(references.post("/filter", json_body=sent), 400)
    assert good(references.post("/body", json_body={"id": "p-1"})) == 1
    assert good(references.post("/body", json_body={})) == 0
    for id in ({"a": 1}, ["p-1"], "a\0b"):
        problem(references.post("/body", json_body={"id": id}), 400)


def test_texts_in_expressions_are_no_fields(references: Gatherd, mongo: Mongo) -> None:
    for text in ("x", "", "a $name", "$name", "$$ROOT", "$_id", "$"):
        reply = references.post("/field", json_body={"s": text})
        if text.startswith("$") and mongo.kind == "ferretdb":
            problem(reply, 500, code="238")  # it has no $literal
        else:
            assert good(reply) == text


# -- errors --


def test_what_errors_mean(gatherd: Callable[..., Gatherd]) -> None:
    table = {
        "operator": step("find: products, filter: { a: { $noSuchOperator: 1 } }"),
        "stage": step("aggregate: products, pipeline: [ { $noSuchStage: {} } ]"),
        "fine": step("count: products"),
    }
    daemon = gatherd(SOURCES + endpoints(table))
    for name in ("operator", "stage"):
        reply = daemon.get(f"/{name}")
        document = problem(reply, 500, step="r")
        assert "noSuch" not in reply.body.decode() and "products" not in reply.body.decode()
        line = request_line(daemon, id=document["instance"])
        assert "noSuch" in line["error"] and line["step"] == "r"
    assert good(daemon.get("/fine")) == 50


# -- the pool --


def connections(mongo: Mongo) -> int:
    """Established connections to the server, whoever's."""
    lines = open("/proc/net/tcp").read().splitlines()[1:]
    port = f"0100007F:{mongo.port:04X}"
    return sum(line.split()[1] == port and line.split()[3] == "01" for line in lines)


@pytest.mark.parametrize("threads, size", [(1, 2), (2, 3)])
def test_no_more_clients_than_the_pool_has(private_mongo: Mongo, gatherd: Callable[..., Gatherd], threads: int, size: int) -> None:
    config = f'sources: {{ db: {{ mongodb: "${{MONGO}}", pool: {{ size: {size}, acquire_timeout: 20s }} }} }}\n' + endpoints({"batches": step("find: points, sort: { n: 1 }, projection: { n: 1 }")})
    private_mongo._disconnect()
    wait_for(lambda: connections(private_mongo) == 0, 10, "our own connection to be gone")
    daemon = gatherd(config, mongo=private_mongo, threads=threads)
    running = [in_background(lambda: [daemon.get("/batches") for _ in range(3)]) for _ in range(16)]
    most = 0
    while any(one.running for one in running):
        # Reading the table of sockets takes a while, in which one may go and another come: what is there twice is there.
        most = max(most, min(connections(private_mongo), connections(private_mongo)))
        time.sleep(0.002)
    for one in running:
        for reply in one.result():
            assert good(reply) == POINTS
    assert 1 <= most <= size


FROZEN = """
server: { listen: [ "127.0.0.1:${PORT}" ], threads: 1, request_timeout: 2s }
sources:
  db: { mongodb: "${MONGO}", pool: { size: 2, max_waiting: 3, acquire_timeout: 400ms }, timeout: 1s }
endpoints:
  "GET /{id}": { gather: { product: { from: db, find_one: products, filter: { _id: "{id}" }, expect: one } } }
  "GET /quick/{id}": { gather: { product: { from: db, find_one: products, filter: { _id: "{id}" }, timeout: 200ms } } }
  "GET /replaced/{id}": { gather: { product: { from: db, find_one: products, filter: { _id: "{id}" }, timeout: 200ms, on_error: null } } }
"""


@pytest.fixture
def frozen(private_mongo: Mongo, gatherd: Callable[..., Gatherd]) -> Gatherd:
    daemon = gatherd(FROZEN, mongo=private_mongo)
    for reply in at_once([lambda: soon(lambda: daemon.get("/p-1"))] * 2):
        good(reply)
    return daemon


def test_a_frozen_server(private_mongo: Mongo, frozen: Gatherd) -> None:
    private_mongo.pause()
    with stopwatch() as took:
        problem(frozen.get("/quick/p-1"), 504, step="product")
    assert 0.2 <= took.seconds < 20
    with stopwatch() as took:
        replies = at_once([lambda: frozen.get("/p-1")] * 10)
    for reply in replies:
        problem(reply, 503, 504, step="product")
    assert took.seconds < 5
    with stopwatch() as took:
        reply = frozen.get("/replaced/p-1")
    assert good(reply) == {"product": None} and reply.headers["Gatherd-Missing"] == "product"
    assert took.seconds < 3
    private_mongo.resume()
    with stopwatch() as took:
        soon(lambda: frozen.get("/p-2"))
    assert took.seconds < 10
    soon(lambda: frozen.get("/-/ready"))
    for n, reply in enumerate(at_once([lambda n=n: soon(lambda: frozen.get(f"/p-{n}")) for n in range(1, 31)]), start=1):
        assert good(reply)["product"]["_id"] == f"p-{n}"


def test_restarts_and_crashes_under_load(private_mongo: Mongo, frozen: Gatherd) -> None:
    ending = threading.Event()
    statuses: dict[int, int] = {}

    def load(worker: int) -> None:
        n = worker
        while not ending.is_set():
            n = n % 50 + 1
            with stopwatch() as took:
                reply = frozen.get(f"/p-{n}")
            assert took.seconds < 4
            if reply.status == 200:
                assert good(reply)["product"]["_id"] == f"p-{n}"
            else:
                problem(reply, 502, 503, 504)
                ending.wait(0.02)
            statuses[reply.status] = statuses.get(reply.status, 0) + 1

    running = [in_background(lambda n=n: load(n)) for n in range(4)]
    time.sleep(0.2)
    private_mongo.restart()
    soon(lambda: frozen.get("/p-1"))
    private_mongo.kill()
    document = problem(soon(lambda: frozen.get("/-/ready"), lambda reply: reply.status == 503), 503)
    assert document["down"] == ["db"]
    time.sleep(0.6)
    problem(quickest(lambda: frozen.get("/p-1"), below=1.5), 503, step="product")
    private_mongo.start()
    with stopwatch() as took:
        soon(lambda: frozen.get("/p-1"))
    assert took.seconds < 10
    soon(lambda: frozen.get("/-/ready"))
    ending.set()
    for one in running:
        one.result()
    print(statuses)
    assert statuses[200] > 5


def test_a_server_that_is_not_there_yet(private_mongo: Mongo, gatherd: Callable[..., Gatherd]) -> None:
    private_mongo.stop()
    daemon = gatherd(FROZEN, mongo=private_mongo)
    for _ in range(2):
        with stopwatch() as took:
            problem(daemon.get("/p-1"), 503, step="product")
        assert took.seconds < 3
    assert problem(daemon.get("/-/ready"), 503)["down"] == ["db"]
    private_mongo.start()
    assert good(soon(lambda: daemon.get("/p-1")))["product"]["_id"] == "p-1"
    soon(lambda: daemon.get("/-/ready"))


def test_data_that_changes(gatherd: Callable[..., Gatherd], mongo: Mongo) -> None:
    client = MongoClient("127.0.0.1", mongo.port)
    client.drop("test", "changing")
    daemon = gatherd(SOURCES + endpoints({"changing": step("find: changing, sort: { _id: 1 }")}))
    assert good(daemon.get("/changing")) == []
    client.insert("test", "changing", [{"_id": 1, "a": 1}])
    assert good(daemon.get("/changing")) == [{"_id": 1, "a": 1}]
    client.insert("test", "changing", [{"_id": 2, "pad": "x" * 100_000} | {f"m{n}": n for n in range(500)}])
    assert len(good(daemon.get("/changing"))[1]) == 502
    client.insert("test", "changing", [{"_id": 3 + n, "pad": "y" * 200_000} for n in range(30)])
    assert sum(len(document.get("pad", "")) for document in good(daemon.get("/changing"))) == 100_000 + 30 * 200_000
    client.drop("test", "changing")
    assert good(daemon.get("/changing")) == []
    client.close()
