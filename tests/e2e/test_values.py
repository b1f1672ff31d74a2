"""Values on their way: what a text is, what a number is, what is read of what sources sent, and what is refused."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable
from urllib.parse import urlencode

import pytest
from harness import Gatherd, Mongo, Postgres, bson
from harness.upstream import Upstream
from support import Wire, good, problem

PG = 'sources: { pg: { postgres: "${PG}" } }\n'


def post(daemon: Gatherd, path: str, body: Any) -> Any:
    return daemon.request("POST", path, body=json.dumps(body), headers={"Content-Type": "application/json"})


# -- a text bound to json is a JSON string --

TEXTS = ["123", "null", "true", "abc", "{", '{"a": 1}', '"quoted"', "", " ", "\\", "é😀", "[1]", "1e5"]


@pytest.fixture(scope="module")
def texts(module_gatherd: Callable[..., Gatherd], mongo: Mongo, postgres: Postgres) -> Iterator[Gatherd]:
    mongo.client.drop("test", "texts")
    mongo.client.insert("test", "texts", [{"_id": n, "t": text} for n, text in enumerate(TEXTS)])
    with Upstream({"/": lambda peer, asked: peer.reply(json.dumps(TEXTS))}) as upstream:
        yield module_gatherd(
            f"""
sources:
  pg: {{ postgres: "${{PG}}" }}
  plain: {{ postgres: "${{PG}}", prepare: false }}
  db: {{ mongodb: "${{MONGO}}" }}
  web: {{ http: "{upstream.url}" }}
  disk: {{ files: "${{FOLDER}}" }}
endpoints:
  "GET /query":
    parameters: {{ t: {{ type: string }} }}
    gather: {{ r: {{ from: pg, sql: "select {{t}}::jsonb as b, {{t}}::json as j, jsonb_build_array({{t}}::jsonb) as l", expect: one }} }}
  "GET /pooled":
    parameters: {{ t: {{ type: string }} }}
    gather: {{ r: {{ from: plain, sql: "select {{t}}::jsonb as b, {{t}}::json as j, jsonb_build_array({{t}}::jsonb) as l", expect: one }} }}
  "GET /path/{{t}}":
    gather: {{ r: {{ from: pg, sql: "select {{t}}::jsonb as b", expect: one }} }}
  "GET /header":
    gather: {{ r: {{ from: pg, sql: "select {{headers.X-Text}}::jsonb as b", expect: one }} }}
  "POST /body":
    gather: {{ r: {{ from: pg, sql: "select {{body.t}}::jsonb as b, {{body.l}}::jsonb[] as l, {{body}}::jsonb as whole", expect: one }} }}
  "GET /http":
    gather:
      w: {{ from: web, get: "/" }}
      r: {{ from: pg, sql: "select {{w[*]}}::jsonb[] as l, {{w}}::jsonb as whole, {{w[0]}}::jsonb as first", expect: one }}
    respond: "{{r}}"
  "GET /mongo":
    gather:
      m: {{ from: db, find: texts, sort: {{ _id: 1 }} }}
      r: {{ from: pg, sql: "select {{m[*].t}}::jsonb[] as l, {{m[0].t}}::json as first", expect: one }}
    respond: "{{r}}"
  "GET /sql":
    gather:
      s: {{ from: pg, sql: "select '123' as a, '\\"x\\"'::jsonb as b, array['null', '1'] as c, '{{\\"k\\": \\"7\\"}}'::jsonb as d", expect: one }}
      r: {{ from: pg, sql: "select {{s.a}}::jsonb as a, {{s.b}}::jsonb as b, {{s.c}}::jsonb[] as c, {{s.d.k}}::jsonb as k, {{s.d}}::jsonb as d, {{s}}::jsonb as s", expect: one }}
    respond: "{{r}}"
  "GET /file":
    gather:
      f: {{ from: disk, read: "t.txt" }}
      r: {{ from: pg, sql: "select {{f}}::jsonb as b", expect: one }}
    respond: "{{r}}"
  "GET /text":
    parameters: {{ t: {{ type: string }} }}
    gather: {{ r: {{ from: pg, sql: "select {{t}}::text::jsonb as b", expect: one }} }}
  "GET /default":
    parameters: {{ t: {{ type: string, default: "42" }} }}
    gather: {{ r: {{ from: pg, sql: "select {{t}}::jsonb as b", expect: one }} }}
""",
            files={"t.txt": "123"},
        )


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_of_the_request_is_a_json_string(texts: Gatherd, text: str) -> None:
    for path in "/query", "/pooled":
        assert good(texts.get(f"{path}?" + urlencode({"t": text})))["r"] == {"b": text, "j": text, "l": [text]}
    assert good(post(texts, "/body", {"t": text, "l": [text, 1, None]}))["r"] == {
        "b": text,
        "l": [text, 1, None],
        "whole": {"t": text, "l": [text, 1, None]},
    }


def test_a_text_of_a_path_header_default_or_file_is_a_json_string(texts: Gatherd) -> None:
    assert good(texts.get("/path/123"))["r"] == {"b": "123"}
    assert good(texts.get("/header", headers={"X-Text": "null"}))["r"] == {"b": "null"}
    assert good(texts.get("/header"))["r"] == {"b": None}
    assert good(texts.get("/default"))["r"] == {"b": "42"}
    assert good(texts.get("/file")) == {"b": "123"}


def test_a_text_of_a_source_is_a_json_string(texts: Gatherd) -> None:
    assert good(texts.get("/http")) == {"l": TEXTS, "whole": TEXTS, "first": "123"}
    assert good(texts.get("/mongo")) == {"l": TEXTS, "first": "123"}
    assert good(texts.get("/sql")) == {
        "a": "123",
        "b": "x",
        "c": ["null", "1"],
        "k": "7",
        "d": {"k": "7"},
        "s": {"a": "123", "b": "x", "c": ["null", "1"], "d": {"k": "7"}},
    }


@pytest.mark.parametrize("value", [0, -1.50, True, False, None, [], {}, [1, "2", None, {"a": []}], {"a": {"b": "1"}}])
def test_what_is_no_text_stays_what_it_is(texts: Gatherd, value: Any) -> None:
    row = good(post(texts, "/body", {"t": value, "l": [value, [value]]}))["r"]
    assert row["b"] == value and row["l"] == [value, [value]]


def test_who_wants_the_text_read_says_so(texts: Gatherd) -> None:
    assert good(texts.get("/text?" + urlencode({"t": '{"a": 1}'})))["r"] == {"b": {"a": 1}}
    problem(texts.get("/text?" + urlencode({"t": "{"})), 400, code="22P02")


# -- whole numbers --


@pytest.mark.parametrize("digits, value", [("1.0", 1), ("1e2", 100), ("7.00", 7), ("-20e-1", -2), ("0.0", 0), ("-0", 0), ("32767.0", 32767)])
def test_whole_numbers_bind_to_integers(gatherd: Callable[..., Gatherd], postgres: Postgres, mongo: Mongo, digits: str, value: int) -> None:
    mongo.client.drop("test", "whole")
    mongo.client.insert("test", "whole", [{"_id": 1, "d": float(value)}])
    with Upstream({"/": lambda peer, asked: peer.reply(f'{{"n": {digits}, "l": [{digits}, null]}}')}) as upstream:
        daemon = gatherd(
            f"""
sources: {{ pg: {{ postgres: "${{PG}}" }}, db: {{ mongodb: "${{MONGO}}" }}, web: {{ http: "{upstream.url}" }} }}
endpoints:
  "POST /n":
    parameters: {{ i: {{ type: integer }}, n: {{ type: number }} }}
    gather:
      w: {{ from: web, get: "/" }}
      m: {{ from: db, find_one: whole }}
      s: {{ from: pg, sql: "select {{body.n}}::numeric as n", expect: one }}
      r:
        from: pg
        sql: >
          select {{n}}::int2 as a, {{i}}::int4 as b, {{body.n}}::int8 as c, {{body.l}}::int2[] as d, {{body.l[*]}}::int8[] as e,
          {{w.n}}::int as f, {{w.l}}::int[] as g, {{m.d}}::int as h, {{s.n}}::bigint as i, {{n}}::numeric as j, {{n}}::text as k
        expect: one
    respond: "{{r}}"
"""
        )
        reply = daemon.request(
            "POST", "/n", body=f'{{"i": {digits}, "n": {digits}, "l": [{digits}, null]}}', headers={"Content-Type": "application/json"}
        )
        row = good(reply)
        assert [row[key] for key in "abcfhi"] == [value] * 6
        assert row["d"] == row["e"] == row["g"] == [value, None]
        assert row["j"] == value


def test_what_is_no_whole_number_is_refused(gatherd: Callable[..., Gatherd], postgres: Postgres) -> None:
    daemon = gatherd(PG + 'endpoints: { "POST /": { gather: { r: { from: pg, sql: "select {body.n}::int as n" } } } }\n')
    for digits in "1.5", "1e-1", "1e99", "2147483648.0":
        reply = daemon.request("POST", "/", body=f'{{"n": {digits}}}', headers={"Content-Type": "application/json"})
        problem(reply, 400)


# -- JSON that is stranger than ours --

DEEP = "[" * 300 + "1" + "]" * 300


def test_a_json_column_is_read_whatever_is_in_it(gatherd: Callable[..., Gatherd], postgres: Postgres) -> None:
    daemon = gatherd(
        PG
        + f"""
endpoints:
  "GET /":
    gather:
      s: {{ from: pg, sql: 'select ''{{"a": "x\\ud800y", "b": [1, "\\udc00"], "c": 2}}''::json as j, ''{DEEP}''::json as d, array[''"\\ud83d"'']::json[] as l', expect: one, cache: 5s }}
      yes: {{ from: pg, sql: "select 1 as n", expect: value, when: "{{s.j}}" }}
      deep: {{ from: pg, sql: "select 1 as n", expect: value, when: "{{s.d}}" }}
      cut: {{ from: pg, sql: "select 1 as n", expect: value, when: "{{s.j.a}}" }}
      back: {{ from: pg, sql: "select {{s.j.a}}::json as a, {{s.d}}::json as d, {{s.l}}::json[] as l", expect: one }}
    respond: {{ j: "{{s.j}}", d: "{{s.d}}", a: "{{s.j.a}}", c: "{{s.j.c}}", b: "{{s.j.b[*]}}", l: "{{s.l[0]}}", yes: "{{yes}}", deep: "{{deep}}", cut: "{{cut}}", back: "{{back}}" }}
"""
    )
    for _ in range(2):  # the second from the step's cache
        text = daemon.get("/").body.decode()
        reply = json.loads(text)
        assert reply["j"] == {"a": "x\ud800y", "b": [1, "\udc00"], "c": 2}
        assert reply["a"] == "x\ud800y" and reply["b"] == [1, "\udc00"] and reply["c"] == 2 and reply["l"] == "\ud83d"
        assert f'"d":{DEEP}' in text
        assert (reply["yes"], reply["deep"], reply["cut"]) == (1, 1, 1)
        assert reply["back"]["a"] == "x\ud800y" and reply["back"]["l"] == ["\ud83d"]


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


CUT = b'{"a": "x\\ud83d", "n": 1.50, "l": ["\\udc00"]}'
MARK = b"\xef\xbb\xbf"
BIG = json.dumps({"a": "b" * 100000}).encode()
ANSWERS: dict[str, tuple[bytes, tuple[str, ...], bytes]] = {
    "cut": (CUT, (), CUT),
    "mark": (MARK + b'{"n": 1}', (), b'{"n": 1}'),
    "zlib": (zlib.compress(CUT), ("Content-Encoding: deflate",), CUT),
    "raw": (raw_deflate(CUT), ("Content-Encoding: deflate",), CUT),
    "big": (raw_deflate(BIG), ("Content-Encoding: deflate",), BIG),
    "stored": (b"\x01\x02\x00\xfd\xff{}", ("Content-Encoding: deflate",), b"{}"),
    "all": (raw_deflate(MARK + CUT), ("Content-Encoding: Deflate", "Content-Type: application/json; charset=utf-8"), CUT),
}


def test_answers_that_are_stranger_than_ours(gatherd: Callable[..., Gatherd]) -> None:
    table = {
        f"/{name}": lambda peer, asked, body=body, fields=fields: peer.reply(body, *(fields if any("Type" in f for f in fields) else (*fields, "Content-Type: application/json")))
        for name, (body, fields, _) in ANSWERS.items()
    }
    table["/broken"] = lambda peer, asked: peer.reply(raw_deflate(BIG)[:-5], "Content-Encoding: deflate")
    table["/none"] = lambda peer, asked: peer.reply(b"\x07\xff\xff", "Content-Encoding: deflate")
    table["/mark-only"] = lambda peer, asked: peer.reply(MARK)
    with Upstream(table) as upstream:
        daemon = gatherd(
            f"""
sources: {{ web: {{ http: "{upstream.url}" }} }}
endpoints:
  "GET /{{name}}": {{ gather: {{ w: {{ from: web, get: "/{{name}}" }} }}, respond: "{{w}}" }}
  "GET /{{name}}/inside": {{ gather: {{ w: {{ from: web, get: "/{{name}}" }} }}, respond: {{ a: "{{w.a}}", l: "{{w.l}}" }} }}
  "GET /{{name}}/picked": {{ gather: {{ w: {{ from: web, get: "/{{name}}", pick: a }} }}, respond: "{{w}}" }}
  "GET /{{name}}/whole": {{ gather: {{ w: {{ from: web, get: "/{{name}}", expect: response }} }}, respond: "{{w.body}}" }}
"""
        )
        for name, (_, _, text) in ANSWERS.items():
            wanted = json.loads(text)
            reply = daemon.get(f"/{name}")
            assert good(reply) == wanted and MARK not in reply.body
            assert good(daemon.get(f"/{name}/whole")) == wanted
            assert good(daemon.get(f"/{name}/inside")) == {"a": wanted.get("a"), "l": wanted.get("l")}
            assert good(daemon.get(f"/{name}/picked")) == wanted.get("a")
        for name in "broken", "none", "mark-only":
            problem(daemon.get(f"/{name}"), 502)


# -- headers --


def test_repeated_headers_are_joined(gatherd: Callable[..., Gatherd]) -> None:
    daemon = gatherd(
        """
endpoints:
  "GET /":
    parameters: { X-Many: { type: string, in: header, required: false }, Cookie: { type: string, in: header, required: false } }
    respond: { reference: "{headers.X-Many}", parameter: "{X-Many}", cookie: "{headers.Cookie}", cookies: "{Cookie}" }
"""
    )
    with Wire(daemon) as wire:
        reply = wire.get("/", "X-Many: a", "Cookie: a=1", "x-many:  b, c ", "X-MANY:", "cookie: b=2; c=3").reply().json()
        assert reply["reference"] == reply["parameter"] and reply["reference"].startswith("a, b, c")
        assert reply["cookie"] == reply["cookies"] == "a=1; b=2; c=3"
        reply = wire.get("/", "X-Many: a").reply().json()
        assert reply == {"reference": "a", "parameter": "a", "cookie": None, "cookies": None}


def test_set_cookie_is_a_list(gatherd: Callable[..., Gatherd]) -> None:
    one, two = "a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT", "b=2; Path=/"
    table = {
        "/one": lambda peer, asked: peer.reply("1", f"Set-Cookie: {one}", "X-A: 1", "X-A: 2"),
        "/two": lambda peer, asked: peer.reply("1", f"Set-Cookie: {one}", f"set-cookie: {two}"),
        "/none": lambda peer, asked: peer.reply("1"),
    }
    with Upstream(table) as upstream:
        daemon = gatherd(
            f"""
sources: {{ web: {{ http: "{upstream.url}" }} }}
endpoints:
  "GET /{{name}}": {{ gather: {{ w: {{ from: web, get: "/{{name}}", expect: response }} }}, respond: "{{w.headers}}" }}
"""
        )
        assert good(daemon.get("/one"))["set-cookie"] == [one] and good(daemon.get("/one"))["x-a"] == "1, 2"
        assert good(daemon.get("/two"))["set-cookie"] == [one, two]
        assert "set-cookie" not in good(daemon.get("/none"))


# -- a member that is there twice --


@pytest.mark.parametrize(
    "body, names",
    [
        ('{"a": 1, "a": 1}', ["a"]),
        ('{"a": 1, "b": {"c": [0, {"d": 1, "e": 2, "d": 3}]}}', ["b.c[1].d"]),
        ('[{"a": 1, "\\u0061": 2}]', ["[0].a"]),
        ('{"a": {"x": 1, "x": 1}, "b": 2, "a": 3, "b": 4, "a": 5}', ["a", "b", "a.x"]),
        ("{" + ", ".join(f'"k{n}": {n}' for n in [*range(1000), 500]) + "}", ["k500"]),
        ('{"": 1, "": 2}', [""]),
    ],
)
def test_a_member_that_comes_twice_is_refused(gatherd: Callable[..., Gatherd], body: str, names: list[str]) -> None:
    daemon = gatherd('endpoints: { "POST /": { respond: "{body}" } }\n')
    reply = daemon.request("POST", "/", body=body, headers={"Content-Type": "application/json"})
    errors = problem(reply, 400)["errors"]
    assert sorted(error["name"] for error in errors) == sorted(names)
    assert all(error["in"] == "body" and error["detail"] == "must be given once" for error in errors)


def test_members_of_one_name_in_two_objects_are_two(gatherd: Callable[..., Gatherd]) -> None:
    daemon = gatherd('endpoints: { "POST /": { respond: "{body}" } }\n')
    body = {"a": [{"a": 1}, {"a": {"a": 2}}], "A": 1, "b": {str(n): n for n in range(2000)}}
    assert good(post(daemon, "/", body)) == body


# -- MongoDB --


def test_binary_of_the_old_subtype(gatherd: Callable[..., Gatherd], mongo: Mongo) -> None:
    mongo.client.drop("test", "old")
    try:
        mongo.client.insert("test", "old", [{"_id": 1, "b": bson.Binary(2, struct.pack("<i", 2) + b"\x00\xff")}])
    except Exception as error:  # a server may not store it
        pytest.skip(str(error))
    daemon = gatherd(
        """
sources: { db: { mongodb: "${MONGO}" }, relaxed: { mongodb: "${MONGO}", json: relaxed } }
endpoints:
  "GET /plain":   { gather: { r: { from: db, find_one: old } }, respond: "{r.b}" }
  "GET /text":    { gather: { r: { from: db, find_one: old } }, respond: "b: {r.b}" }
  "GET /relaxed": { gather: { r: { from: relaxed, find_one: old } }, respond: "{r.b}" }
"""
    )
    assert good(daemon.get("/plain")) == "AP8="
    assert good(daemon.get("/text")) == "b: AP8="
    assert good(daemon.get("/relaxed")) == {"$binary": {"base64": "AP8=", "subType": "02"}}


@contextlib.contextmanager
def damaging(mongo: Mongo, find: bytes, replace: bytes) -> Iterator[int]:
    """A port that leads to the server, and on the way back of which these bytes become those, as many."""
    assert len(find) == len(replace)
    listener = socket.create_server(("127.0.0.1", 0))
    ends: list[socket.socket] = [listener]

    def pump(source: socket.socket, target: socket.socket, damage: bool) -> None:
        with contextlib.suppress(OSError):
            while head := source.recv(4, socket.MSG_WAITALL):
                data = head + source.recv(struct.unpack("<i", head)[0] - 4, socket.MSG_WAITALL)
                target.sendall(data.replace(find, replace) if damage else data)
        for end in source, target:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(("127.0.0.1", mongo.port))
                ends.extend([client, server])
                for source, target, damage in (client, server, False), (server, client, True):
                    threading.Thread(target=pump, args=(source, target, damage), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        for end in ends:
            end.close()


TEXT = b"\x02t\x00\x07\x00\x00\x00MARKED\x00"
DAMAGE = {
    "a text longer than its document": b"\x02t\x00\xff\xff\xff\x00MARKED\x00",
    "a text of a negative length": b"\x02t\x00\xff\xff\xff\xffMARKED\x00",
    "a text that does not end": b"\x02t\x00\x07\x00\x00\x00MARKEDx",
    "a text that ends early": b"\x02t\x00\x05\x00\x00\x00MARK\x00D\x00",
    "a text that is not UTF-8": b"\x02t\x00\x07\x00\x00\x00MAR\xe9ED\x00",
    "a name that is not UTF-8": b"\x02\xe9\x00\x07\x00\x00\x00MARKED\x00",
    "a type that there is not": b"\x14t\x00\x07\x00\x00\x00MARKED\x00",
    "a truth value of 7": b"\x08t\x00\x07\x00\x00\x00MARKED\x00",
    "an inner document that is too long": b"\x03t\x00\x0b\x00\x00\x00MARKED\x00",
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_bson_fails_the_step(gatherd: Callable[..., Gatherd], mongo: Mongo, kind: str) -> None:
    mongo.client.drop("test", "damaged")
    mongo.client.insert("test", "damaged", [{"_id": 1, "t": "whole"}, {"_id": 2, "d": {"l": [{"t": "MARKED"}]}}])
    with damaging(mongo, TEXT, DAMAGE[kind]) as port:
        daemon = gatherd(
            f"""
sources: {{ db: {{ mongodb: "mongodb://127.0.0.1:{port}/test" }} }}
endpoints:
  "GET /all":   {{ gather: {{ r: {{ from: db, find: damaged, sort: {{ _id: 1 }} }} }} }}
  "GET /two":   {{ gather: {{ r: {{ from: db, find_one: damaged, filter: {{ _id: 2 }} }} }}, respond: "{{r.d.l[0].t}}" }}
  "GET /one":   {{ gather: {{ r: {{ from: db, find_one: damaged, filter: {{ _id: 1 }} }} }} }}
  "GET /null":  {{ gather: {{ r: {{ from: db, find_one: damaged, filter: {{ _id: 2 }}, on_error: "null" }} }} }}
  "GET /match": {{ gather: {{ r: {{ from: db, aggregate: damaged, pipeline: [ {{ $match: {{ _id: 2 }} }} ] }} }} }}
""".replace('"null" }', "null }")
        )
        for path in "/all", "/two", "/match":
            problem(daemon.get(path), 502, step="r")
        reply = daemon.get("/null")
        assert good(reply) == {"r": None} and reply.headers["Gatherd-Complete"] == "false"
        assert good(daemon.get("/one")) == {"r": {"_id": 1, "t": "whole"}}


def test_decimals_that_are_no_numbers(gatherd: Callable[..., Gatherd], mongo: Mongo) -> None:
    daemon = gatherd(
        """
sources: { db: { mongodb: "${MONGO}" } }
endpoints:
  "GET /":
    parameters: { d: { type: string, required: false } }
    gather: { r: { from: db, find: nothing, filter: { $or: [ { d: { $numberDecimal: "NaN" } }, { d: { $numberDecimal: "Infinity" } }, { d: { $numberDecimal: "-Infinity" } }, { d: { $numberDecimal: "{d}" } }, { d: { $numberDouble: "NaN" } } ] } } }
"""
    )
    for text in "NaN", "-Infinity", "1.5", "1E+3":
        reply = daemon.get("/?" + urlencode({"d": text}))
        # FerretDB has no Decimal128: that the value was taken is what counts.
        assert reply.status == 200 or "400" not in str(reply.status), reply.body
    problem(daemon.get("/?" + urlencode({"d": "x"})), 400)


# -- what of a body enters a filter --


def test_structure_enters_a_filter_where_it_is_declared(gatherd: Callable[..., Gatherd], mongo: Mongo) -> None:
    mongo.client.drop("test", "entered")
    mongo.client.insert("test", "entered", [{"_id": 1, "v": {"x": 1}}, {"_id": 2, "v": [1, 2]}, {"_id": 3, "v": 7}])
    daemon = gatherd(
        """
sources: { db: { mongodb: "${MONGO}" } }
endpoints:
  "POST /free":
    body: { type: object }
    gather: { r: { from: db, find: entered, filter: { v: "{body.v}" } } }
    respond: "{r[*]._id}"
  "POST /undeclared":
    gather: { r: { from: db, find: entered, filter: { v: "{body.v}" } } }
    respond: "{r[*]._id}"
  "POST /other":
    body: { type: object, properties: { w: { type: object } } }
    gather: { r: { from: db, find: entered, filter: { v: "{body.v}" } } }
    respond: "{r[*]._id}"
  "POST /inside":
    body: { type: object, properties: { o: { type: object, properties: { v: { type: object } } } } }
    gather: { r: { from: db, find: entered, filter: { v: "{body.o.v}" } } }
    respond: "{r[*]._id}"
  "POST /parameter":
    parameters: { o: { type: object } }
    gather: { r: { from: db, find: entered, filter: { v: "{o.v}" } } }
    respond: "{r[*]._id}"
  "POST /each":
    body: { type: object, properties: { l: { type: array, items: { type: integer } } } }
    gather: { r: { from: db, find: entered, filter: { _id: { $in: "{body.l[*]}" } }, sort: { _id: 1 } } }
    respond: "{r[*]._id}"
  "POST /rows":
    body: { type: object, properties: { l: { type: array, items: { type: object } } } }
    gather: { r: { from: db, find: entered, filter: { v: { $in: "{body.l[*].v}" } }, sort: { _id: 1 } } }
    respond: "{r[*]._id}"
  "POST /all":
    body: { type: object, properties: { v: { type: [object, "null"] }, a: { type: array } } }
    gather: { r: { from: db, find: entered, filter: { v: "{body.v}" } } }
    respond: "{r[*]._id}"
"""
    )
    for path in "/free", "/undeclared", "/other":
        assert good(post(daemon, path, {"v": 7})) == [3]
        for value in {"x": 1}, [1, 2], {}, []:
            problem(post(daemon, path, {"v": value}), 400)
    assert good(post(daemon, "/inside", {"o": {"v": {"x": 1}}})) == [1]
    problem(post(daemon, "/inside", {"o": {"v": {"$gt": 1}}}), 400)
    assert good(post(daemon, "/parameter", {"o": {"v": 7}})) == [3]
    problem(post(daemon, "/parameter", {"o": {"v": {"x": 1}}}), 400)
    assert good(post(daemon, "/each", {"l": [1, 3]})) == [1, 3]
    assert good(post(daemon, "/rows", {"l": [{"v": 7}, {"v": 8}]})) == [3]
    problem(post(daemon, "/rows", {"l": [{"v": {"x": 1}}]}), 400)
    assert good(post(daemon, "/all", {"v": {"x": 1}})) == [1]
    problem(post(daemon, "/all", {"v": {"x": {"$ne": 1}}}), 400)


# -- a data exception of what is stored, and of what the request brought --

STORED = {
    "a text as an integer": ("select t::int from zz_stored where id = {id}", 500, "22P02"),
    "a division": ("select 10 / n from zz_stored where id = {id}", 500, "22012"),
    "a number that is too large": ("select big::int2 from zz_stored where id = {id}", 500, "22003"),
    "an arithmetic overflow": ("select big * big * big * big from zz_stored where id = {id}", 500, "22003"),
    "a text as a date": ("select t::date from zz_stored where id = {id}", 500, "22007"),
    "a text as JSON": ("select t::json from zz_stored where id = {id}", 500, "22P02"),
    "a text as an array": ("select t::int[] from zz_stored where id = {id}", 500, "22P02"),
    "a text by a format": ("select to_date(t, 'YYYY-MM-DD') from zz_stored where id = {id}", 500, "22007"),
    "a pattern": ("select 'a' ~ p from zz_stored where id = {id}", 500, "2201B"),
    "a logarithm": ("select ln(n) from zz_stored where id = {id}", 500, "2201E"),
    "a text that grew": ("update zz_stored set short = short || short where id = {id}", 500, "22001"),
    "what a function reads": ("select zz_read({id}::int)", 500, "22P02"),
    "what another step brought": ("select {s.t}::int, {id}::int from zz_stored", 500, "22P02"),
    "what another step brought, alone": ("select {s.t}::int, {id}::int", 500, "22P02"),
}
BROUGHT = {
    "an integer": ("select 1 from zz_stored where id = {v}::int", "n/a", "22P02"),
    "an integer, late": ("select 1 from zz_stored where id = {v}::text::int", "x", "22P02"),
    "an integer with quotes": ("select 1 from zz_stored where id = {v}::text::int", 'a"b"c', "22P02"),
    "a date": ("select 1 from zz_stored where {v}::date is null", "2024-02-30", "22008"),
    "a date by a format": ("select to_date({v}, 'YYYY-MM-DD') from zz_stored", "20xx-01-01", "22007"),
    "a large number": ("select 1 from zz_stored where n = {v}::text::int2", "70000", "22003"),
    "a division": ("select big / {v}::int from zz_stored", "0", "22012"),
    "a limit": ("select 1 from zz_stored limit {v}::int", "-1", "2201W"),
    "an offset": ("select 1 from zz_stored offset {v}::int", "-1", "2201X"),
    "a pattern": ("select 1 from zz_stored where t ~ {v}", "(", "2201B"),
    "an escape": ("select 1 from zz_stored where t like {v}", "n\\", "22025"),
    "a long text": ("update zz_stored set short = {v} where id = 1", "longer than five", "22001"),
    "JSON": ("select {v}::text::json from zz_stored", '{"a": x}', "22P02"),
    "JSON alone": ("select {v}::text::json", "{", "22P02"),
    "an array": ("select {v}::text::int[] from zz_stored", "{1,y}", "22P02"),
    "a division alone": ("select 1 / ({v}::int - 5)", "5", "22012"),
    "raised by a function": ("select zz_refuse({v})", "x", "22023"),
}


@pytest.fixture(scope="module")
def stored(module_gatherd: Callable[..., Gatherd], postgres: Postgres) -> Gatherd:
    postgres.sql(
        """
drop table if exists zz_stored;
create table zz_stored (id int primary key, t text, n int, big bigint, p text, short varchar(5));
insert into zz_stored values (1, 'n/a', 0, 4000000000, '(', 'abcde');
create or replace function zz_read(i int) returns int language plpgsql stable as $$ begin return (select t::int from zz_stored where id = i); end $$;
create or replace function zz_refuse(v text) returns int language plpgsql as $$ begin raise exception 'no' using errcode = '22023'; end $$;
""",
        "test",
    )
    lines = [PG, "endpoints:\n"]
    for group, table in ("stored", STORED), ("brought", BROUGHT):
        for n, (sql, *_) in enumerate(table.values()):
            parameter = "id" if group == "stored" else "v"
            lines.append(f"""  "POST /{group}/{n}":
    parameters: {{ {parameter}: {{ type: string, in: query }} }}
    gather:
      s: {{ from: pg, sql: "select t from zz_stored where id = 1", expect: one }}
      r: {{ from: pg, sql: {json.dumps(sql)} }}
""")
    return module_gatherd("".join(lines))


@pytest.mark.parametrize("n, kind", enumerate(STORED))
def test_a_failure_of_stored_data_is_no_fault_of_the_client(stored: Gatherd, n: int, kind: str) -> None:
    _, status, code = STORED[kind]
    problem(stored.request("POST", f"/stored/{n}?id=1"), status, step="r", code=code)


@pytest.mark.parametrize("n, kind", enumerate(BROUGHT))
def test_a_failure_of_what_the_request_brought_is_its_own(stored: Gatherd, n: int, kind: str) -> None:
    _, text, code = BROUGHT[kind]
    problem(stored.request("POST", f"/brought/{n}?" + urlencode({"v": text})), 400, step="r", code=code)
