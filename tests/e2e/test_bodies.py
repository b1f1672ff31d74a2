"""Bodies: JSON Schema, what is said of a wrong one, and what becomes of a right one."""

from __future__ import annotations

import json
from typing import Any, Callable

import pytest
from harness import Gatherd
from support import good, problem

CONFIG = """
schemas:
  Node: { type: object, required: [ v ], properties: { v: { type: integer }, kids: { type: array, items: { $ref: "#/schemas/Node" } } } }
endpoints:
  "POST /order":
    body:
      type: object
      required: [ lines ]
      additionalProperties: false
      properties:
        note: { type: [ string, "null" ], maxLength: 10 }
        big: { type: integer }
        currency: { type: string, default: EUR }
        "~/": { type: integer }
        lines:
          type: array
          items: { type: object, required: [ sku ], properties: { sku: { type: string }, pieces: { type: integer, maximum: 9 } } }
    respond: "{body}"
  "POST /big":
    parameters: { n: { type: integer } }
    respond: { n: "{n}" }
  "POST /tree": { body: { $ref: "#/schemas/Node" }, respond: "{body}" }
  "POST /kinds":
    body:
      oneOf:
        - { properties: { kind: { const: card }, number: { type: string, pattern: "^[0-9]{16}$" } }, required: [ kind, number ] }
        - { properties: { kind: { const: bill }, address: { type: object, required: [ city ] } }, required: [ kind, address ] }
    respond: "{body.kind}"
  "POST /hostile":
    body:
      $defs:
        t: { anyOf: [ { properties: { a: { $ref: "#/$defs/t" } }, required: [ x ] }, { properties: { a: { $ref: "#/$defs/t" } }, required: [ y ] } ] }
      $ref: "#/$defs/t"
    respond: 1
"""


@pytest.fixture(scope="module")
def shop(module_gatherd: Callable[..., Gatherd]) -> Gatherd:
    return module_gatherd(CONFIG)


def mistakes(reply: Any) -> list[tuple[str, str, str]]:
    """(pointer, keyword, detail) of each."""
    document = problem(reply, 400)
    assert document["outcome"] == "none"
    return [(error["pointer"], error.get("keyword"), error["detail"]) for error in document["errors"]]


def raw(daemon: Gatherd, path: str, text: str) -> Any:
    return daemon.request("POST", path, body=text, headers={"Content-Type": "application/json"})


def test_each_mistake_has_a_pointer_to_its_value(shop: Gatherd) -> None:
    body = {"lines": [{"sku": "a"}, {"sku": "b", "pieces": 10}, {"pieces": 1}], "~/": "x", "note": None}
    reply = shop.post("/order", json_body=body)
    assert mistakes(reply) == [
        ("#/lines/1/pieces", "maximum", "must be at most 9"),
        ("#/lines/2/sku", "required", "is required"),
        ("#/~0~1", "type", "must be an integer"),
    ]
    error = reply.json()["errors"][0]
    assert error == {"in": "body", "name": "lines[1].pieces", "pointer": "#/lines/1/pieces", "keyword": "maximum", "detail": "must be at most 9"}
    assert mistakes(shop.post("/order", json_body={"lines": [], "ä b": 1})) == [("#/%C3%A4%20b", "additionalProperties", "is not known")]
    assert "secret" not in json.dumps(shop.post("/order", json_body={"lines": "secret"}).json()), "values are not echoed"


def test_a_member_that_comes_twice_is_pointed_at(shop: Gatherd) -> None:
    assert mistakes(raw(shop, "/order", '{"lines":[],"note":null,"note":"x"}')) == [("#/note", None, "must be given once")]
    assert mistakes(raw(shop, "/order", '{"lines":[{"sku":"","a":{"b":1,"b":2}}]}')) == [("#/lines/0/a/b", None, "must be given once")]


def test_fifty_mistakes_are_named_and_the_others_counted(shop: Gatherd) -> None:
    document = problem(shop.post("/order", json_body={"lines": [{"sku": n} for n in range(73)]}), 400)
    assert len(document["errors"]) == 50 and document["more"] == 23
    assert document["errors"][49]["pointer"] == "#/lines/49/sku"
    document = problem(shop.post("/order", json_body={"lines": [{"sku": n} for n in range(50)]}), 400)
    assert len(document["errors"]) == 50 and "more" not in document


def test_numbers_stay_digit_for_digit(shop: Gatherd) -> None:
    reply = raw(shop, "/order", '{"big": 9007199254740993, "lines": [], "currency": "CHF"}')
    assert reply.status == 200 and b"9007199254740993" in reply.body
    assert good(shop.post("/big", json_body={"n": 2**53 + 1})) == {"n": 2**53 + 1}


def test_a_default_is_put_into_the_body(shop: Gatherd) -> None:
    assert good(shop.post("/order", json_body={"lines": [{"sku": "a"}]})) == {"lines": [{"sku": "a"}], "currency": "EUR"}


def test_a_recursive_schema_follows_the_value(shop: Gatherd) -> None:
    tree: dict[str, Any] = {"v": 0, "kids": []}
    for n in range(25):
        tree = {"v": n, "kids": [tree, {"v": -1}]}
    assert good(shop.post("/tree", json_body=tree)) == tree
    assert mistakes(shop.post("/tree", json_body={"v": 1, "kids": [{"v": 2, "kids": [{"v": "x"}]}]})) == [
        ("#/kids/0/kids/0/v", "type", "must be an integer")
    ]


def test_the_alternative_that_was_meant_is_explained(shop: Gatherd) -> None:
    assert good(shop.post("/kinds", json_body={"kind": "bill", "address": {"city": "Bern"}})) == "bill"
    assert mistakes(shop.post("/kinds", json_body={"kind": "card", "number": "12"})) == [("#/number", "pattern", "must match `^[0-9]{16}$`")]
    assert mistakes(shop.post("/kinds", json_body={"kind": "bill", "address": {}})) == [("#/address/city", "required", "is required")]


def test_a_hostile_body_is_refused(shop: Gatherd) -> None:
    body = '{"a":' * 20 + "{}" + "}" * 20
    assert mistakes(raw(shop, "/hostile", body)) == [("#", None, "takes too many steps to check")]
