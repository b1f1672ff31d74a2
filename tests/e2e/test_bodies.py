"""Bodies: JSON Schema, what is said of a wrong one, and what becomes of a right one."""

from __future__ import annotations

import base64
import json
from typing import Any, Callable

import pytest
from harness import Gatherd, Postgres
from support import Wire, good, problem

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


# -- other bodies --

OTHERS = """
sources:
  media: { files: media, write: true }
  shop: { postgres: "${PG}" }
endpoints:
  "PUT /avatars/{id}":
    body_limit: 2MiB
    status: 201
    body:
      as: form
      required: [ picture ]
      properties:
        picture: { type: file, maxLength: 200000, contentMediaType: [ image/png, image/jpeg ] }
        size: { type: integer }
        tags: { type: array, items: { type: string } }
    gather: { saved: { from: media, write: "{id}.png", content: "{body.picture.content}" } }
    respond: { name: "{body.picture.filename}", type: "{body.picture.type}", bytes: "{body.picture.size}", size: "{body.size}", tags: "{body.tags}" }
  "POST /small": { body_limit: 100B, body: { as: bytes }, respond: "{body}" }
  "POST /text": { body: { as: text, maxLength: 5 }, respond: "{body}" }
  "POST /lines": { body: { as: ndjson, items: { type: object, required: [ a ] } }, respond: "{body}" }
  "POST /csv":
    body:
      as: csv
      items: { type: object, additionalProperties: false, properties: { sku: { type: string }, price: { type: number }, n: { type: [ integer, "null" ] } } }
    respond: "{body}"
  "POST /json": { body: {}, respond: "{body}" }
  "PATCH /notes/{id}":
    body: { type: object, properties: { note: { type: [ string, "null" ] } } }
    gather:
      done:
        from: shop
        sql: "select case when {body.note?} then {body.note} else 'kept' end as note, {body.note?} as sent"
        expect: one
    respond: "{done}"
"""


@pytest.fixture(scope="module")
def others(module_gatherd: Callable[..., Gatherd], postgres: Postgres) -> Gatherd:
    return module_gatherd(OTHERS, env={"PG": postgres.url()}, files={"media/.keep": ""})


PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 300 + b"\r\n--x--\r\n"


def multipart(*parts: tuple[str, bytes]) -> tuple[bytes, dict[str, str]]:
    """A body of (head, content), and its headers."""
    body = b"".join(b"--limit\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + content + b"\r\n" for head, content in parts)
    return body + b"--limit--\r\n", {"Content-Type": "multipart/form-data; boundary=limit"}


def picture(content: bytes, filename: str = "me.png", type: str = "image/png") -> tuple[str, bytes]:
    return f'name="picture"; filename="{filename}"\r\nContent-Type: {type}', content


def test_a_file_of_a_form_is_stored_byte_for_byte(others: Gatherd) -> None:
    body, headers = multipart(picture(PNG, "../../x"), ('name="size"', b"7"), ('name="tags"', b"a"), ('name="tags"', b"b"))
    reply = others.request("PUT", "/avatars/one", body=body, headers=headers)
    assert good(reply, 201) == {"name": "x", "type": "image/png", "bytes": len(PNG), "size": 7, "tags": ["a", "b"]}
    assert (others.folder / "media/one.png").read_bytes() == PNG


def test_a_form_that_is_wrong_stores_nothing(others: Gatherd) -> None:
    for parts, mistake in [
        ([picture(b"x" * 200001)], ("#/picture", "maxLength", "must have at most 200000 bytes")),
        ([picture(PNG, type="text/html")], ("#/picture", "contentMediaType", "must be a file of one of these types: image/png, image/jpeg")),
        ([('name="picture"', b"text")], ("#/picture", "type", "must be a file")),
        ([('name="size"', b"7")], ("#/picture", "required", "is required")),
        ([picture(PNG), ('name="size"', b"x")], ("#/size", "type", "must be an integer")),
        ([('name="a"', b"")] * 65, ("#", None, "is not a valid form: there are too many fields")),
    ]:
        body, headers = multipart(*parts)
        assert mistakes(others.request("PUT", "/avatars/wrong", body=body, headers=headers)) == [mistake]
    body, headers = multipart(picture(PNG))
    assert mistakes(others.request("PUT", "/avatars/wrong", body=body[:-9], headers=headers)) == [
        ("#", None, "is not a valid form: the last delimiter is missing")
    ]
    assert not (others.folder / "media/wrong.png").exists()


def test_a_body_that_is_cut_leaves_no_file(others: Gatherd) -> None:
    body, headers = multipart(picture(PNG))
    for part in (10, len(body) // 2, len(body) - 1):
        with Wire(others) as wire:
            head = f"PUT /avatars/cut HTTP/1.1\r\nHost: a\r\nContent-Type: {headers['Content-Type']}\r\nContent-Length: {len(body)}\r\n\r\n"
            wire.send(head.encode() + body[:part])
    assert good(others.post("/json", json_body=1)) == 1
    assert not (others.folder / "media/cut.png").exists()


def test_an_endpoint_has_a_body_limit_of_its_own(others: Gatherd) -> None:
    def head(method: str, path: str, length: int) -> Any:
        with Wire(others) as wire:
            return wire.send(f"{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n").reply()

    for method, path, most in [("POST", "/small?a=b", 100), ("PUT", "/avatars/a", 2**21), ("POST", "/json", 2**20), ("POST", "/none", 2**20)]:
        problem(head(method, path, most + 1), 413)  # not a byte of the body was sent
    data = {"Content-Type": "application/octet-stream"}
    assert good(others.request("POST", "/small", body=b"\xff" * 100, headers=data)) == base64.b64encode(b"\xff" * 100).decode()
    with Wire(others) as wire:
        chunked = b"65\r\n" + b"x" * 101 + b"\r\n0\r\n\r\n"
        problem(wire.send(b"POST /small HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked).reply(), 413)


def test_text_lines_and_tables(others: Gatherd) -> None:
    def send(path: str, body: str, type: str) -> Any:
        return others.request("POST", path, body=body.encode(), headers={"Content-Type": type})

    assert good(send("/text", "é\U0001f600", "text/plain; charset=utf-8")) == "é\U0001f600"
    assert mistakes(send("/text", "abcdef", "text/plain")) == [("#", "maxLength", "must have at most 5 characters")]
    assert good(send("/lines", '{"a":1}\n\n {"a":[2]}\r\n', "application/x-ndjson")) == [{"a": 1}, {"a": [2]}]
    assert mistakes(send("/lines", '{"a":1}\n{}\n', "application/x-ndjson")) == [("#/1/a", "required", "is required")]
    assert mistakes(send("/lines", '{"a":1}\n{"a":}\n', "application/x-ndjson"))[0][0] == "#/1"
    table = 'sku,price,n\r\na,1.50,2\r\n"b, ""c""\r\nd",1e2,\r\n'
    assert good(send("/csv", table, "text/csv")) == [{"sku": "a", "price": 1.5, "n": 2}, {"sku": 'b, "c"\r\nd', "price": 100, "n": None}]
    assert mistakes(send("/csv", "sku,price\na,1\nb,x\n", "text/csv")) == [("#/1/price", "type", "must be a number")]
    assert mistakes(send("/csv", "sku,price\na,1,2\n", "text/csv")) == [("#/0", None, "is not valid CSV: a line has more cells than the header")]
    assert mistakes(send("/csv", 'sku\n"a', "text/csv")) == [("#/0", None, "is not valid CSV: a quote has no end")]
    assert mistakes(send("/csv", "colour\nred\n", "text/csv")) == [("#/0/colour", "additionalProperties", "is not known")]


def test_a_body_of_another_type_is_told_which_would_do(others: Gatherd) -> None:
    for method, path, type, accept in [
        ("POST", "/json", "text/plain", "application/json"),
        ("POST", "/json", "application/json-patch+json", "application/json"),
        ("PUT", "/avatars/1", "application/json", "multipart/form-data, application/x-www-form-urlencoded"),
        ("POST", "/text", "text/html", "text/plain"),
        ("POST", "/csv", "text/plain", "text/csv"),
        ("POST", "/lines", "application/json", "application/x-ndjson, application/ndjson, application/jsonl"),
    ]:
        reply = others.request(method, path, body=b"{}", headers={"Content-Type": type})
        assert problem(reply, 415)["outcome"] == "none" and reply.headers["Accept"] == accept
    reply = others.request("POST", "/json", body=b"\x1f\x8b", headers={"Content-Type": "application/json", "Content-Encoding": "gzip"})
    assert problem(reply, 415) and reply.headers["Accept-Encoding"] == "identity"


def test_a_member_that_is_null_was_sent(others: Gatherd) -> None:
    assert good(others.request("PATCH", "/notes/1", json_body={"note": None})) == {"note": None, "sent": True}
    assert good(others.request("PATCH", "/notes/1", json_body={})) == {"note": "kept", "sent": False}
    assert good(others.request("PATCH", "/notes/1", json_body={"note": "x"})) == {"note": "x", "sent": True}
