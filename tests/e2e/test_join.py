"""Joins: rows of one source in those of another, in both directions, one and many."""

from __future__ import annotations

from typing import Any, Callable

import pytest
from counting import counting
from harness import Gatherd
from support import good, problem

SOURCES = """
sources:
  pg: { postgres: "${PG}" }
  db: { mongodb: "${MONGO}" }
endpoints:
"""


def orders_of(customer: int) -> list[dict[str, Any]]:
    return [{"id": (customer - 1) * 5 + n, "product_id": f"p-{1 + (customer * 7 + n) % 50}"} for n in range(1, 6)]


def product(id: str) -> dict[str, Any]:
    return {"_id": id, "name": f"Product {id[2:]}"}


def reviews_of(customer: int) -> list[dict[str, Any]]:
    return [{"_id": f"r-{customer}-{n}", "customer": customer} for n in range(1, 4)]


# -- the two directions --


@pytest.fixture(scope="module")
def shop(module_gatherd: Callable[..., Gatherd]) -> Gatherd:
    return module_gatherd(
        SOURCES
        + """
  "GET /orders/{id}":
    parameters: { id: { type: integer } }
    gather:
      products:
        from: db
        find: products
        filter: { _id: { $in: "{orders[*].product_id}" } }
        projection: { name: 1 }
        join: { into: orders, key: product_id, equals: _id, as: product, many: false }
      orders: { from: pg, sql: "select id, product_id from orders where customer_id = {id} order by id" }
  "GET /kept/{id}":
    parameters: { id: { type: integer } }
    gather:
      orders: { from: pg, sql: "select id, product_id from orders where customer_id = {id} order by id limit 1" }
      products:
        from: db
        find: products
        filter: { _id: { $in: "{orders[*].product_id}" } }
        projection: { name: 1 }
        join: { into: orders, key: product_id, equals: _id, as: product, many: false }
        keep: true
  "GET /reviews/{to}":
    parameters: { to: { type: integer } }
    gather:
      reviews: { from: db, find: reviews, filter: { customer: { $lte: "{to}" } }, projection: { customer: 1 }, sort: { _id: -1 } }
      customers:
        from: pg
        sql: "select id, name from customers where id = any({reviews[*].customer})"
        join: { into: reviews, key: customer, equals: id, as: who, many: false }
  "GET /customers/{to}":
    parameters: { to: { type: integer } }
    gather:
      customers: { from: pg, sql: "select id from customers where id <= {to} order by id" }
      reviews:
        from: db
        find: reviews
        filter: { customer: { $in: "{customers[*].id}", $ne: 2 } }
        projection: { customer: 1 }
        sort: { _id: 1 }
        join: { into: customers, key: id, equals: customer, as: reviews, many: true }
  "GET /customer/{id}":
    parameters: { id: { type: integer } }
    gather:
      customer: { from: pg, sql: "select id, name from customers where id = {id}", expect: one }
      orders:
        from: pg
        sql: "select id, customer_id, product_id from orders where customer_id = {customer.id} order by id"
        join: { into: customer, key: id, equals: customer_id, as: orders, many: true }
      products:
        from: db
        find: products
        filter: { _id: { $in: "{orders[*].product_id}" } }
        projection: { name: 1 }
        join: { into: orders, key: product_id, equals: _id, as: product, many: false }
    respond:
      name: "{customer.name}"
      all: "{customer}"
      names: "{customer.orders[*].product.name}"
      first: "{customer.orders[0].product}"
      orders: "{orders[*].product.name}"
  "GET /maybe/{id}":
    parameters: { id: { type: integer } }
    gather:
      customer: { from: pg, sql: "select id from customers where id = {id}", expect: maybe }
      orders:
        from: pg
        sql: "select id, customer_id from orders where customer_id = {id} order by id limit 1"
        join: { into: customer, key: id, equals: customer_id, as: orders, many: true }
"""
    )


def test_documents_in_rows(shop: Gatherd) -> None:
    for id in (1, 17, 100):
        assert good(shop.get(f"/orders/{id}")) == {"orders": [o | {"product": product(o["product_id"])} for o in orders_of(id)]}
    assert good(shop.get("/orders/101")) == {"orders": []}


def test_the_joined_step_is_a_member_where_it_is_kept(shop: Gatherd) -> None:
    order = orders_of(9)[0]
    one = product(order["product_id"])
    assert good(shop.get("/kept/9")) == {"orders": [order | {"product": one}], "products": [one]}


def test_rows_in_documents(shop: Gatherd) -> None:
    reviews = sorted((r for c in range(1, 6) for r in reviews_of(c)), key=lambda r: r["_id"], reverse=True)
    assert good(shop.get("/reviews/5")) == {
        "reviews": [r | {"who": {"id": r["customer"], "name": f"Customer {r['customer']}"}} for r in reviews]
    }
    assert good(shop.get("/reviews/0")) == {"reviews": []}


def test_many_documents_in_each_row(shop: Gatherd) -> None:
    assert good(shop.get("/customers/3")) == {
        "customers": [{"id": c, "reviews": [] if c == 2 else reviews_of(c)} for c in (1, 2, 3)]
    }


def test_a_hundred_rows_and_their_documents_keep_their_order(shop: Gatherd) -> None:
    rows = good(shop.get("/customers/100"))["customers"]
    assert [row["id"] for row in rows] == list(range(1, 101))
    assert all(row["reviews"] == ([] if row["id"] == 2 else reviews_of(row["id"])) for row in rows)


def test_joins_into_joins_and_ways_into_them(shop: Gatherd) -> None:
    orders = [
        {"id": o["id"], "customer_id": 4, "product_id": o["product_id"], "product": product(o["product_id"])}
        for o in orders_of(4)
    ]
    names = [o["product"]["name"] for o in orders]
    assert good(shop.get("/customer/4")) == {
        "name": "Customer 4",
        "all": {"id": 4, "name": "Customer 4", "orders": orders},
        "names": names,
        "first": orders[0]["product"],
        "orders": names,
    }
    problem(shop.get("/customer/101"), 404, step="customer")


def test_into_one_that_may_be_missing(shop: Gatherd) -> None:
    assert good(shop.get("/maybe/3")) == {"customer": {"id": 3, "orders": [{"id": 11, "customer_id": 3}]}}
    assert good(shop.get("/maybe/101")) == {"customer": None}


# -- keys --


def test_keys_of_different_sources_are_compared_as_json(gatherd: Callable[..., Gatherd]) -> None:
    daemon = gatherd(
        SOURCES
        + """
  "GET /":
    gather:
      keys:
        from: pg
        sql: |
          select n, k from (values
            (1, to_jsonb(1)), (2, '1.0'), (3, '"1"'), (4, 'null'), (5, '2.5'), (6, 'true'), (7, '"true"'), (8, '100'), (9, '1e2'), (10, '-0')
          ) v (n, k) order by n
      numbers:
        from: pg
        sql: "select k, name from (values (1.00, 'one'), (2.5, 'two'), (100, 'hundred'), (0.0, 'zero')) v (k, name)"
        join: { into: keys, key: k, equals: k, as: number, many: false }
      texts:
        from: pg
        sql: "select k, name from (values ('1', 'text one'), ('true', 'text true'), (null, 'none')) v (k, name)"
        join: { into: keys, key: k, equals: k, as: text, many: true }
      truths:
        from: pg
        sql: "select true as k"
        join: { into: keys, key: k, equals: k, as: truth, many: false }
"""
    )
    rows = good(daemon.get("/"))["keys"]
    name = lambda v: v and v["name"]  # noqa: E731
    assert [name(r["number"]) for r in rows] == ["one", "one", None, None, "two", None, None, "hundred", "hundred", "zero"]
    assert [[name(t) for t in r["text"]] for r in rows] == [[], [], ["text one"], [], [], [], ["text true"], [], [], []]
    assert [r["truth"] for r in rows] == [None] * 5 + [{"k": True}] + [None] * 4


def test_numbers_of_mongodb_and_postgresql(gatherd: Callable[..., Gatherd]) -> None:
    """Doubles, integers of both sizes and ids against integer, bigint, numeric and text."""
    daemon = gatherd(
        SOURCES
        + """
  "GET /":
    gather:
      kinds: { from: db, find: kinds, filter: { string: { $ne: null } }, projection: { whole: 1, double: 1, int32: 1, int64: 1 } }
      whole: { from: pg, sql: "select 3::bigint as k", join: { into: kinds, key: whole, equals: k, as: a, many: false } }
      double: { from: pg, sql: "select 0.10 as k", join: { into: kinds, key: double, equals: k, as: b, many: false } }
      int32: { from: pg, sql: "select -42.0::numeric as k", join: { into: kinds, key: int32, equals: k, as: c, many: false } }
      int64: { from: pg, sql: "select 9007199254740993 as k", join: { into: kinds, key: int64, equals: k, as: d, many: false } }
      near: { from: pg, sql: "select 9007199254740992 as k", join: { into: kinds, key: int64, equals: k, as: e, many: false } }
      id: { from: pg, sql: "select '65a1b2c3d4e5f60718293a4b' as k", join: { into: kinds, key: _id, equals: k, as: f, many: false } }
"""
    )
    (row,) = good(daemon.get("/"))["kinds"]
    assert [row[name] is not None for name in "abcdef"] == [True, True, True, True, False, True]


# -- other sources, other ends --


def test_the_json_of_a_service(gatherd: Callable[..., Gatherd]) -> None:
    with counting() as upstream:
        daemon = gatherd(
            SOURCES.replace("endpoints:", '  up: { http: "${UP}" }\nendpoints:')
            + """
  "GET /":
    gather:
      customers: { from: pg, sql: "select id, '/' || id as path from customers where id <= 2 order by id" }
      service:
        from: up
        get: "/2"
        join: { into: customers, key: path, equals: path, as: service, many: false }
  "GET /into":
    gather:
      service: { from: up, get: "/7" }
      row: { from: pg, sql: "select '/7' as path, 1 as n", join: { into: service, key: path, equals: path, as: row, many: true } }
""",
            env={"UP": upstream.url},
        )
        assert good(daemon.get("/")) == {
            "customers": [{"id": 1, "path": "/1", "service": None}, {"id": 2, "path": "/2", "service": {"path": "/2", "n": 1}}]
        }
        assert good(daemon.get("/into")) == {"service": {"path": "/7", "n": 1, "row": [{"path": "/7", "n": 1}]}}


def test_a_side_that_failed_or_was_skipped(gatherd: Callable[..., Gatherd]) -> None:
    daemon = gatherd(
        SOURCES
        + """
  "GET /{a}/{b}":
    parameters: { a: { type: integer }, b: { type: integer }, with: { type: boolean, default: true } }
    gather:
      rows: { from: pg, sql: "select 1 / {a} as k", on_error: null }
      one: { from: pg, sql: "select 1 / {b} as k", on_error: null, join: { into: rows, key: k, equals: k, as: one, many: false } }
      many: { from: pg, sql: "select 1 / {b} as k", on_error: omit, join: { into: rows, key: k, equals: k, as: many, many: true } }
      skipped: { from: pg, sql: "select 1 as k", when: "{with}", join: { into: rows, key: k, equals: k, as: skipped, many: true } }
"""
    )
    row = {"k": 1}
    assert good(daemon.get("/1/1")) == {"rows": [{"k": 1, "one": row, "many": [row], "skipped": [row]}]}
    reply = daemon.get("/1/0")
    assert good(reply) == {"rows": [{"k": 1, "one": None, "many": [], "skipped": [row]}]}
    assert reply.headers["Gatherd-Complete"] == "false"
    assert reply.headers["Gatherd-Missing"] == "one, many"
    assert good(daemon.get("/1/1?with=false"))["rows"][0]["skipped"] == []
    assert good(daemon.get("/0/1")) == {"rows": None}
