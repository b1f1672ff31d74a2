"""Parameters: each word of JSON Schema, wherever a parameter stands, and what is said of wrong ones."""

from __future__ import annotations

import json
from typing import Any, Callable
from urllib.parse import quote, urlencode

import pytest
from harness import Gatherd
from support import Wire, good, problem

# schema, values that are right, values that are wrong
SCHEMAS: dict[str, tuple[str, list[Any], list[Any]]] = {
    "string": ("type: string", ["", "a", "é\U0001f600", "1", "null", "true", " a ", "a" * 5000], []),
    "integer": ("type: integer", [0, -1, 42, 9223372036854775807, -9223372036854775808], ["", "x", "1.5", "1 ", " 1", "0x1", "01", "+1", "--1", "9223372036854775808", "1e400", "NaN", "∞", "١"]),
    "number": ("type: number", [0, -1.5, 1e300, 0.1, 12345678901234567890], ["", "x", "1.", ".5", "1,5", "NaN", "Infinity", "0x1", "1e", "01"]),
    "boolean": ("type: boolean", [True, False], ["", "yes", "1", "0", "TRUE", "True", "on"]),
    "range": ("type: integer, minimum: 1, maximum: 100", [1, 50, 100], [0, 101, -5]),
    "fraction": ("type: number, minimum: 0.1, maximum: 0.3", [0.1, 0.2, 0.3], [0.09999, 0.30000000000000001e1, 1]),
    "enum": ("type: string, enum: [ red, green, 'blue 1' ]", ["red", "blue 1"], ["", "Red", "reds", "yellow"]),
    "numbers": ("type: integer, enum: [ 1, 2, 3 ]", [1, 3], [0, 4]),
    "length": ("type: string, minLength: 2, maxLength: 4", ["ab", "abcd", "éé", "\U0001f600" * 4], ["a", "abcde", "", "\U0001f600" * 5]),
    "pattern": ("type: string, pattern: '^[a-z]{2}-[0-9]+$'", ["ab-1", "xy-123"], ["ab-", "AB-1", "ab-1x", "xab-1", "ab-1\n"]),
    "anywhere": ("type: string, pattern: 'b+'", ["abc", "b"], ["", "ac"]),
    "unicode": ("type: string, pattern: '^.$'", ["é", "\U0001f600"], ["éé", ""]),
    "date": ("type: string, format: date", ["2024-02-29", "0001-01-01", "9999-12-31"], ["2023-02-29", "2024-2-29", "2024-13-01", "2024-00-01", "29.02.2024", "2024-02-29T00:00:00Z", ""]),
    "date-time": (
        "type: string, format: date-time",
        ["2024-02-29T12:00:00Z", "2024-02-29T12:00:00.123456+02:00", "2024-02-29t12:00:00z", "2016-12-31T23:59:59-08:00"],
        ["2024-02-29", "2024-02-29 12:00:00", "2024-02-29T12:00:00", "2024-02-30T12:00:00Z", "2024-02-29T25:00:00Z", "2024-02-29T12:60:00Z", "x"],
    ),
    "uuid": ("type: string, format: uuid", ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"], ["a0eebc999c0b4ef8bb6d6bb9bd380a11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1", "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}", "g0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]),
    "email": ("type: string, format: email", ["a@example.com", "a.b+c@sub.example.org"], ["a", "a@", "@b", "a b@c.d", "a@b@c", ""]),
    "uri": ("type: string, format: uri", ["http://a/b?c#d", "urn:isbn:1", "mailto:a@b.c"], ["", "a b", "//a/b", "http://a b/", "/relative"]),
    "ipv4": ("type: string, format: ipv4", ["0.0.0.0", "255.255.255.255"], ["256.1.1.1", "1.2.3", "1.2.3.4.5", "01.2.3.4", "::1", ""]),
    "ipv6": ("type: string, format: ipv6", ["::", "::1", "2001:db8::ff00:42:8329", "::ffff:1.2.3.4"], ["1.2.3.4", ":::", "1:2:3:4:5:6:7", "g::", "fe80::1%eth0", ""]),
    "objectid": ("type: string, format: objectid", ["65a1b2c3d4e5f60718293a4b", "65A1B2C3D4E5F60718293A4B"], ["65a1b2c3d4e5f60718293a4", "65a1b2c3d4e5f60718293a4bb", "x5a1b2c3d4e5f60718293a4b", ""]),
}  # fmt: skip


def text_of(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def wrong(reply: Any, *mistakes: tuple[str, str]) -> list[dict[str, str]]:
    """The errors of a 400, which must be these: (name, in)."""
    errors = problem(reply, 400)["errors"]
    assert sorted((error["name"], error["in"]) for error in errors) == sorted(mistakes), errors
    assert all(error["detail"] for error in errors)
    return errors


@pytest.fixture(scope="module")
def words(module_gatherd: Callable[..., Gatherd]) -> Gatherd:
    config = "endpoints:\n"
    for name, (schema, _, _) in SCHEMAS.items():
        for where in ("query", "header", "body"):
            parameter = "v" if where != "header" else "X-V"
            method = "POST" if where == "body" else "GET"
            config += f'  "{method} /{where}/{name}":\n    parameters: {{ {parameter}: {{ {schema}, in: {where} }} }}\n    respond: "{{{parameter}}}"\n'
        config += f'  "GET /path/{name}/{{v}}":\n    parameters: {{ v: {{ {schema} }} }}\n    respond: "{{v}}"\n'
    return module_gatherd(config)


@pytest.mark.parametrize("name", SCHEMAS)
def test_words_in_the_query_and_the_path(words: Gatherd, name: str) -> None:
    _, right, mistaken = SCHEMAS[name]
    for value in right:
        assert good(words.get(f"/query/{name}?v={quote(text_of(value), safe='')}")) == value
        if value != "":
            assert good(words.get(f"/path/{name}/{quote(text_of(value), safe='')}")) == value
    for value in mistaken:
        wrong(words.get(f"/query/{name}?v={quote(text_of(value), safe='')}"), ("v", "query"))
        if value != "":
            wrong(words.get(f"/path/{name}/{quote(text_of(value), safe='')}"), ("v", "path"))
    wrong(words.get(f"/query/{name}"), ("v", "query"))


@pytest.mark.parametrize("name", SCHEMAS)
def test_words_in_the_body(words: Gatherd, name: str) -> None:
    _, right, mistaken = SCHEMAS[name]
    for value in right:
        assert good(words.post(f"/body/{name}", json_body={"v": value})) == value
    for value in mistaken:
        wrong(words.post(f"/body/{name}", json_body={"v": value}), ("v", "body"))
    for value in (None, [], {}, ["a"]):
        wrong(words.post(f"/body/{name}", json_body={"v": value}), ("v", "body"))
    wrong(words.post(f"/body/{name}", json_body={}), ("v", "body"))
    wrong(words.post(f"/body/{name}"), ("v", "body"))


def test_headers_of_one_name_are_one(words: Gatherd) -> None:
    """Also for who takes one: a proxy may have put the one that counts behind the client's."""
    with Wire(words) as wire:
        assert good(wire.get("/header/string", "X-V: a", "X-V:  b ").reply()) == "a, b"
        wrong(wire.get("/header/integer", "X-V: 1", "x-v: 2").reply(), ("X-V", "header"))
        assert good(wire.get("/header/integer", "X-V: 2").reply()) == 2


@pytest.mark.parametrize("name", SCHEMAS)
def test_words_in_a_header(words: Gatherd, name: str) -> None:
    _, right, mistaken = SCHEMAS[name]
    for value in right:
        text = text_of(value)
        if text == text.strip() != "":
            assert good(words.get(f"/header/{name}", headers={"x-v": text.encode().decode("latin-1")})) == value
    for value in mistaken:
        text = text_of(value)
        if text == text.strip() != "" and "\n" not in text:
            wrong(words.get(f"/header/{name}", headers={"X-V": text.encode().decode("latin-1")}), ("X-V", "header"))
    wrong(words.get(f"/header/{name}"), ("X-V", "header"))


def test_types_in_a_body_are_types(words: Gatherd) -> None:
    for name, value in {"integer": "5", "number": "1.5", "boolean": "true", "string": 5, "integer ": 1.5}.items():
        wrong(words.post(f"/body/{name.strip()}", json_body={"v": value}), ("v", "body"))
    for text, value in {"1.0": 1, "1e2": 100, "-0": 0, "10.00e-1": 1}.items():
        reply = words.post("/body/integer", body=f'{{"v": {text}}}', headers={"Content-Type": "application/json"})
        assert good(reply) == value
    reply = words.post("/body/number", body='{"v": 1.50000000000000000000001}', headers={"Content-Type": "application/json"})
    assert reply.body == b"1.50000000000000000000001", "a number keeps its digits"


# -- where they stand, defaults, arrays --

PLACES = """
endpoints:
  "GET /defaults":
    parameters:
      i: { type: integer, default: 20, maximum: 100 }
      s: { type: string, default: "x y" }
      n: { type: number, default: 1.50 }
      b: { type: boolean, default: false }
      l: { type: array, items: { type: integer }, default: [ 1, 2 ] }
      none: { type: string, default: null }
      optional: { type: integer, required: false }
    respond: { i: "{i}", s: "{s}", n: "{n}", b: "{b}", l: "{l}", none: "{none}", optional: "{optional}" }
  "POST /defaults":
    parameters: { i: { type: integer, default: 20 }, o: { type: object, default: { a: [ 1 ] } }, optional: { type: string, required: false } }
    respond: { i: "{i}", o: "{o}", optional: "{optional}" }
  "GET /arrays":
    parameters:
      tag: { type: array, items: { type: string, maxLength: 5 }, required: false }
      id:  { type: array, items: { type: integer, minimum: 1 }, default: [] }
      X-List: { in: header, type: array, items: { type: integer }, required: false }
    respond: { tag: "{tag}", id: "{id}", first: "{id[0]}", header: "{X-List}" }
  "POST /arrays":
    parameters:
      l: { type: array, items: { type: integer, minimum: 1 } }
      m: { type: array, items: { type: array, items: { type: string } }, required: false }
    respond: { l: "{l}", m: "{m}" }
  "POST /mixed/{id}":
    parameters:
      id: { type: integer }
      q: { in: query, type: integer }
      X-Token: { in: header, type: string, minLength: 3 }
      name: { type: string }
      age: { type: integer, minimum: 0, required: false }
    respond: [ "{id}", "{q}", "{X-Token}", "{name}", "{age}" ]
  "DELETE /mixed/{id}": { parameters: { reason: { type: string } }, respond: "{reason}" }
  "PATCH /mixed/{id}": { parameters: { name: { type: string } }, respond: "{name}" }
  "GET /strict": { respond: x }
  "GET /lax": { additional: allow, parameters: { a: { type: integer, default: 1 } }, respond: "{a}" }
  "GET /rest/{id}/{path*}": { parameters: { id: { type: integer }, path: { type: string, maxLength: 10 } }, respond: [ "{id}", "{path}" ] }
  "GET /pick/{id}": { respond: [ parameter, "{id}" ] }
  "GET /pick/me": { respond: literal }
"""


@pytest.fixture(scope="module")
def places(module_gatherd: Callable[..., Gatherd]) -> Gatherd:
    return module_gatherd(PLACES)


def test_defaults(places: Gatherd) -> None:
    reply = places.get("/defaults")
    assert reply.body == b'{"i":20,"s":"x y","n":1.50,"b":false,"l":[1,2],"none":null,"optional":null}'
    reply = places.get("/defaults?i=3&s=&n=2&b=true&l=9&none=z&optional=4")
    assert good(reply) == {"i": 3, "s": "", "n": 2, "b": True, "l": [9], "none": "z", "optional": 4}
    wrong(places.get("/defaults?i=101"), ("i", "query"))
    assert good(places.post("/defaults")) == {"i": 20, "o": {"a": [1]}, "optional": None}
    assert good(places.post("/defaults", json_body={"o": {}, "optional": "x"})) == {"i": 20, "o": {}, "optional": "x"}


def test_arrays(places: Gatherd) -> None:
    assert good(places.get("/arrays")) == {"tag": None, "id": [], "first": None, "header": None}
    assert good(places.get("/arrays?tag=b&id=3&tag=a&tag=&id=2")) == {"tag": ["b", "a", ""], "id": [3, 2], "first": 3, "header": None}
    assert good(places.get("/arrays?tag=a,b"))["tag"] == ["a,b"]
    assert good(places.get("/arrays", headers={"X-List": "1, 2 ,3"}))["header"] == [1, 2, 3]
    with Wire(places) as wire:
        assert good(wire.get("/arrays", "X-List: 1,2", "X-List: 3").reply())["header"] == [1, 2, 3]
    errors = problem(places.get("/arrays?tag=toolong&id=0&id=x"), 400)["errors"]
    assert {error["name"].split("[")[0] for error in errors} == {"tag", "id"}
    problem(places.get("/arrays", headers={"X-List": "1,x"}), 400)
    assert good(places.post("/arrays", json_body={"l": [], "m": [["a"], []]})) == {"l": [], "m": [["a"], []]}
    for body in ({"l": 1}, {"l": ["1"]}, {"l": [0]}, {"l": [1, None]}, {"l": [1], "m": ["a"]}, {"l": [1], "m": [[1]]}):
        problem(places.post("/arrays", json_body=body), 400)


def test_places(places: Gatherd) -> None:
    reply = places.post("/mixed/5?q=6", json_body={"name": "n", "age": 7}, headers={"X-Token": "abc"})
    assert good(reply) == [5, 6, "abc", "n", 7]
    reply = places.post("/mixed/x?q=y", json_body={"age": -1, "q": 1}, headers={"X-Token": "a"})
    wrong(reply, ("id", "path"), ("q", "query"), ("X-Token", "header"), ("name", "body"), ("age", "body"))
    assert good(places.request("DELETE", "/mixed/1?reason=a%26b+c")) == "a&b c"
    assert good(places.request("PATCH", "/mixed/1", json_body={"name": "x"})) == "x"
    wrong(places.request("DELETE", "/mixed/1"), ("reason", "query"))


def test_the_query(places: Gatherd) -> None:
    wrong(places.get("/strict?a=1&b=2&a=3"), ("a", "query"), ("b", "query"))
    wrong(places.get("/defaults?I=1"), ("I", "query"))
    wrong(places.get("/defaults?i=1&i=2"), ("i", "query"))
    wrong(places.get("/defaults?%69=1&unknown&=x"), ("unknown", "query"), ("", "query"))
    assert good(places.get("/lax?a=5&b=6&c&=&&")) == 5
    assert good(places.get("/strict?")) == "x"
    assert good(places.get("/strict?&&")) == "x"
    assert good(places.get("/defaults?s=a%2Bb+c%20d")) == good(places.get("/defaults?s=a%2Bb%20c+d"))
    assert good(places.get("/defaults?s=a=b"))["s"] == "a=b"
    assert good(places.get("/defaults?s=a;i=5"))["s"] == "a;i=5"
    for bad in ("s=%", "s=%f", "s=%zz", "s=%ff", "s=%00", "s=a%00b"):
        wrong(places.get(f"/defaults?{bad}"), ("s", "query"))
    many = urlencode([(f"p{n}", n) for n in range(500)])
    errors = problem(places.get(f"/strict?{many}"), 400)["errors"]
    assert 10 <= len(errors) <= 500
    assert good(places.get("/lax?" + many)) == 1


def test_paths(places: Gatherd) -> None:
    assert good(places.get("/rest/1/a/b")) == [1, "a/b"]
    wrong(places.get("/rest/x/a/too/long/this"), ("id", "path"), ("path", "path"))
    assert good(places.get("/pick/me")) == "literal"
    assert good(places.get("/pick/you")) == ["parameter", "you"]


def test_nothing_of_the_input_is_repeated_in_details(places: Gatherd) -> None:
    reply = places.get("/defaults?i=%3Cscript%3E")
    errors = wrong(reply, ("i", "query"))
    assert "script" not in errors[0]["detail"]


# -- a schema of the body --

BODY = """
endpoints:
  "POST /body":
    body:
      type: object
      required: [ name, address ]
      additionalProperties: false
      properties:
        name: { type: string, minLength: 1 }
        age: { type: [ integer, "null" ], minimum: 0 }
        address:
          type: object
          required: [ city ]
          properties: { city: { type: string }, zip: { type: string, pattern: "^[0-9]{5}$" } }
        tags: { type: array, items: { type: string, enum: [ a, b ] }, maxItems: 3 }
        when: { type: string, format: date }
    respond: "{body}"
  "PUT /list": { body: { type: array, items: { type: object, required: [ id ], properties: { id: { type: integer } } } }, respond: "{body[*].id}" }
  "PUT /scalar": { body: { type: integer, maximum: 5 }, respond: "{body}" }
  "POST /none": { respond: "{body}" }
"""


@pytest.fixture(scope="module")
def bodies(module_gatherd: Callable[..., Gatherd]) -> Gatherd:
    return module_gatherd(BODY)


FINE = {"name": "n", "address": {"city": "c"}}


@pytest.mark.parametrize(
    "body, mistakes",
    [
        (FINE, []),
        (FINE | {"age": None, "tags": [], "when": "2024-02-29", "address": {"city": "c", "zip": "12345", "other": [1]}}, []),
        ({}, ["name", "address"]),
        ([], ["body"]),
        ("x", ["body"]),
        (FINE | {"name": ""}, ["name"]),
        (FINE | {"name": 5, "age": -1, "extra": 1}, ["name", "age", "extra"]),
        (FINE | {"address": {}}, ["address.city"]),
        (FINE | {"address": {"city": 1, "zip": "1234x"}}, ["address.city", "address.zip"]),
        (FINE | {"address": "x"}, ["address"]),
        (FINE | {"tags": ["a", "c"]}, ["tags[1]"]),
        (FINE | {"tags": ["a", "a", "a", "a"]}, ["tags"]),
        (FINE | {"tags": {"a": 1}}, ["tags"]),
        (FINE | {"when": "2024-02-30"}, ["when"]),
    ],
    ids=json.dumps,
)
def test_a_body_and_its_schema(bodies: Gatherd, body: Any, mistakes: list[str]) -> None:
    reply = bodies.post("/body", json_body=body)
    if mistakes:
        wrong(reply, *((name, "body") for name in mistakes))
    else:
        assert good(reply) == body


def test_bodies_that_are_no_objects(bodies: Gatherd) -> None:
    assert good(bodies.request("PUT", "/list", json_body=[{"id": 1}, {"id": 2}])) == [1, 2]
    wrong(bodies.request("PUT", "/list", json_body=[{"id": 1}, {}, 5]), ("[1].id", "body"), ("[2]", "body"))
    assert good(bodies.request("PUT", "/scalar", json_body=5)) == 5
    problem(bodies.request("PUT", "/scalar", json_body=6), 400)
    problem(bodies.request("PUT", "/scalar"), 400)
    problem(bodies.request("PUT", "/scalar", body="5", headers={"Content-Type": "text/plain"}), 415)
    assert good(bodies.post("/none", json_body={"any": ["thing"]})) == {"any": ["thing"]}
    assert good(bodies.post("/none")) is None
    problem(bodies.post("/none", body="{", headers={"Content-Type": "application/json"}), 400)


def test_a_pattern_that_takes_for_ever(gatherd: Callable[..., Gatherd]) -> None:
    daemon = gatherd("""endpoints: { "GET /": { parameters: { s: { type: string, pattern: "^(a+)+$" } }, respond: x } }""")
    problem(daemon.get("/?s=" + "a" * 4000 + "b", timeout=10), 400)
    assert good(daemon.get("/?s=aaa")) == "x"
