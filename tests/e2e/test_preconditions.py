"""Versions: ETag, If-Match and If-None-Match of endpoints, and `if_match: required`."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Gatherd, Mongo, Postgres
from support import at_once, good, problem

DATABASE = "preconditions"

CONFIG = """
sources:
  pg: { postgres: "${PG}", pool: { size: 4, acquire_timeout: 20s } }
endpoints:
  "GET /wares/{id}":
    parameters: { id: { type: integer } }
    etag: "{w.v}"
    headers: { Cache-Control: no-cache }
    gather: { w: { from: pg, expect: one, sql: "select id, name, xmin::text as v from wares where id = {id}" } }
  "PUT /wares/{id}":
    parameters: { id: { type: integer } }
    body: &named { type: object, required: [ name ], properties: { name: { type: string } } }
    if_match: required
    etag: "{w.v}"
    gather:
      w:
        from: pg
        affected: 1
        expect: one
        sql: &update |
          update wares set name = {body.name} where id = {id} and ({request.if_match} is null or xmin::text = any({request.if_match}))
          returning id, name, xmin::text as v
  "PATCH /wares/{id}":
    parameters: { id: { type: integer } }
    body: *named
    gather: { w: { from: pg, affected: 1, expect: one, sql: *update } }
  "POST /wares/{id}/name":
    parameters: { id: { type: integer } }
    body: *named
    etag: "{w.done.v}"
    respond: "{w.done}"
    gather:
      w:
        from: pg
        transaction:
          - now: { sql: "select xmin::text as v, name from wares where id = {id} for update", expect: one, match: "{now.v}" }
          - done: { sql: "update wares set name = {body.name} where id = {id} returning id, name, xmin::text as v", expect: one }
  "POST /wares/{id}/odd":
    parameters: { id: { type: integer } }
    gather:
      w:
        from: pg
        transaction:
          - done: { sql: "update wares set name = 'odd' where id = {id}" }
          - now: { sql: "select name || ' é' as v from wares where id = {id}", expect: one }
          - same: { sql: "select 1", match: "{now.v}" }
  "GET /wares/{id}/odd":
    parameters: { id: { type: integer } }
    etag: "{v}"
    respond: 1
    gather: { v: { from: pg, sql: "select name || ' é' from wares where id = {id}", expect: value } }
  "DELETE /wares/{id}":
    parameters: { id: { type: integer } }
    gather: { w: { from: pg, affected: 1, sql: "delete from wares where id = {id}" } }
  "POST /wares/{id}":
    parameters: { id: { type: integer } }
    etag: "{w.v}"
    location: "/wares/{id}"
    gather: { w: { from: pg, expect: one, sql: "insert into wares values ({id}, 'new') returning xmin::text as v" } }
  "GET /tag":
    parameters: { t: { type: string, required: false } }
    etag: "{t}"
    respond: { t: "{t}" }
  "GET /hash/{t}": { etag: auto, respond: { t: "{t}" } }
  "GET /partial": { etag: x, gather: { a: { from: pg, sql: "select 1/0", on_error: null } } }
  "GET /listed":
    parameters: { ids: { type: array, items: { type: integer }, required: false } }
    gather: { w: { from: pg, sql: "select id from wares where {ids} is null or id = any({ids}) order by id" } }
  "GET /seen": { gather: { t: { from: pg, expect: value, sql: "select {request.if_match}::text[]" } }, respond: "{t}" }
"""


@pytest.fixture(scope="module")
def database(postgres: Postgres) -> Postgres:
    postgres.create_database(DATABASE)
    return postgres


@pytest.fixture(scope="module")
def daemon(module_gatherd: Callable[..., Gatherd], database: Postgres) -> Gatherd:
    database.sql("create table wares (id int primary key, name text)", DATABASE)
    return module_gatherd(CONFIG, postgres=database, env={"PG": database.url(DATABASE)})


@pytest.fixture(autouse=True)
def wares(daemon: Gatherd, database: Postgres) -> None:
    database.sql("truncate wares; insert into wares values (1, 'first')", DATABASE)


def get(daemon: Gatherd, path: str, method: str = "GET", **headers: str):
    return daemon.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})


def put(daemon: Gatherd, tag: str | None, method: str = "PUT", id: int = 1, name: str = "new"):
    return daemon.request(method, f"/wares/{id}", json_body={"name": name}, headers={"If-Match": tag} if tag else {})


def test_a_version_that_the_client_has_is_not_sent_again(daemon: Gatherd) -> None:
    first = get(daemon, "/wares/1")
    tag = first.headers["ETag"]
    assert first.status == 200 and tag.startswith('"')
    for listed in [tag, f'"x", W/{tag}', "*"]:
        for method in ["GET", "HEAD"]:
            again = get(daemon, "/wares/1", method, If_None_Match=listed)
            assert (again.status, again.body, again.headers["ETag"]) == (304, b"", tag)
            assert again.headers["Cache-Control"] == "no-cache" and "Content-Type" not in again.headers
    assert get(daemon, "/wares/1", If_None_Match='"x"').body == first.body
    assert get(daemon, "/wares/1", If_Modified_Since="Fri, 01 Jan 2038 00:00:00 GMT").body == first.body
    assert get(daemon, "/wares/1", If_Match=tag).body == first.body
    problem(get(daemon, "/wares/1", If_Match=f"W/{tag}"), 412)
    problem(get(daemon, "/wares/9", If_Match='"x"'), 404)


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_version_is_changed_once(daemon: Gatherd, database: Postgres, method: str) -> None:
    tag = get(daemon, "/wares/1").headers["ETag"]
    changed = put(daemon, tag, method)
    new = f'"{changed.json()["w"]["v"]}"'
    assert good(changed)["w"]["name"] == "new" and new != tag
    assert get(daemon, "/wares/1").headers["ETag"] == new
    document = problem(put(daemon, tag, method, name="late"), 412, step="w")
    assert document["outcome"] == "none" and "another version" in document["detail"]
    problem(put(daemon, f"W/{new}", method, name="weak"), 412)
    problem(put(daemon, "nonsense", method, name="nonsense"), 412)
    assert database.sql("select name from wares", DATABASE) == "new"
    assert good(put(daemon, f'"a", {new}', method, name="listed"))["w"]["name"] == "listed"
    assert good(put(daemon, "*", method, name="any"))["w"]["name"] == "any"
    problem(put(daemon, "*", method, id=7), 412)


def rename(daemon: Gatherd, tag: str | None, id: int = 1, name: str = "new"):
    return daemon.request("POST", f"/wares/{id}/name", json_body={"name": name}, headers={"If-Match": tag} if tag else {})


def test_a_transaction_looks_at_the_version_before_it_goes_on(daemon: Gatherd, database: Postgres) -> None:
    tag = get(daemon, "/wares/1").headers["ETag"]
    done = rename(daemon, tag)
    assert done.status == 200 and done.headers["ETag"] == get(daemon, "/wares/1").headers["ETag"] != tag
    document = problem(rename(daemon, tag, name="late"), 412)
    assert document["outcome"] == "none"
    problem(rename(daemon, "W/" + done.headers["ETag"], name="weak"), 412)
    assert database.sql("select name from wares", DATABASE) == "new"
    assert rename(daemon, f'"x", {done.headers["ETag"]}', name="listed").status == 200
    assert rename(daemon, "*", name="any").status == 200
    assert rename(daemon, None, name="unasked").status == 200
    problem(rename(daemon, '"x"', id=7), 412)
    problem(rename(daemon, "*", id=7), 412)
    problem(rename(daemon, None, id=7), 404)
    assert database.sql("select name from wares", DATABASE) == "unasked"


def test_what_was_done_before_another_version_is_undone(daemon: Gatherd, database: Postgres) -> None:
    tag = get(daemon, "/wares/1/odd").headers["ETag"]  # hashed, as the text can't stand in a tag
    assert problem(get(daemon, "/wares/1/odd", "POST", If_Match=tag), 412)["outcome"] == "none"
    assert database.sql("select name from wares", DATABASE) == "first"
    database.sql("update wares set name = 'odd'", DATABASE)
    tag = get(daemon, "/wares/1/odd").headers["ETag"]
    assert get(daemon, "/wares/1/odd", "POST", If_Match=tag).status == 200


def test_of_many_transactions_with_one_version_one_wins(daemon: Gatherd) -> None:
    tag = get(daemon, "/wares/1").headers["ETag"]
    statuses = [reply.status for reply in at_once([lambda n=n: rename(daemon, tag, name=f"n{n}") for n in range(20)])]
    assert sorted(statuses) == [200] + [412] * 19


def test_if_match_may_be_required(daemon: Gatherd, database: Postgres) -> None:
    assert problem(put(daemon, None), 428)["outcome"] == "none"
    assert put(daemon, None, "PATCH").status == 200
    problem(put(daemon, None, "PATCH", id=7), 404)
    assert put(daemon, get(daemon, "/wares/1").headers["ETag"]).headers["ETag"] == get(daemon, "/wares/1").headers["ETag"]


def test_if_match_that_no_step_looks_at_is_no_precondition(daemon: Gatherd) -> None:
    problem(get(daemon, "/wares/7", "DELETE", If_Match='"x"'), 404)


def test_of_many_with_one_version_one_wins(daemon: Gatherd) -> None:
    tag = get(daemon, "/wares/1").headers["ETag"]
    statuses = [reply.status for reply in at_once([lambda n=n: put(daemon, tag, name=f"n{n}") for n in range(20)])]
    assert sorted(statuses) == [200] + [412] * 19


def test_what_must_not_be_there(daemon: Gatherd) -> None:
    made = get(daemon, "/wares/2", "POST", If_None_Match="*")
    assert made.status == 201 and made.headers["ETag"] == get(daemon, "/wares/2").headers["ETag"]
    assert problem(get(daemon, "/wares/2", "POST", If_None_Match="*"), 412)["outcome"] == "none"
    problem(get(daemon, "/wares/2", "POST"), 409)
    problem(get(daemon, "/wares/2", "POST", If_None_Match='"x"'), 409)


def test_tags_are_quoted_or_hashed(daemon: Gatherd) -> None:
    assert get(daemon, "/tag?t=a-b.c~").headers["ETag"] == '"a-b.c~"'
    assert "ETag" not in get(daemon, "/tag").headers
    odd = {get(daemon, "/tag?t=" + t).headers["ETag"] for t in ["a%20b", "%22", "%C3%A9", "x" * 200, "a%0D%0Ab"]}
    assert len(odd) == 5
    for tag in odd:
        assert len(tag) == 24 and tag.strip('"').replace("-", "").replace("_", "").isalnum()
    a, b = get(daemon, "/hash/a"), get(daemon, "/hash/b")
    assert a.headers["ETag"] != b.headers["ETag"] == get(daemon, "/hash/b").headers["ETag"]
    assert get(daemon, "/hash/a", If_None_Match=a.headers["ETag"]).status == 304
    assert get(daemon, "/hash/b", If_None_Match=a.headers["ETag"]).body == b.body


def test_an_incomplete_reply_has_no_version(daemon: Gatherd) -> None:
    reply = get(daemon, "/partial", If_None_Match='"x"')
    assert reply.status == 200 and "ETag" not in reply.headers


def test_lists_that_may_be_absent(daemon: Gatherd, database: Postgres) -> None:
    database.sql("insert into wares values (2, 'b'), (3, 'c')", DATABASE)
    assert [row["id"] for row in good(daemon.get("/listed"))["w"]] == [1, 2, 3]
    assert [row["id"] for row in good(daemon.get("/listed?ids=3&ids=1"))["w"]] == [1, 3]
    for header, seen in [('"a", W/"b", "c,d"', ["a", "c,d"]), ("*", None), (" * ", None), ('W/"b"', []), ("x", []), ('""', [""])]:
        assert good(get(daemon, "/seen", If_Match=header)) == seen
    assert good(daemon.get("/seen")) is None


BAD = """sources: { pg: { postgres: "postgresql:///x" } }
endpoints:
  "GET /e": { respond: 1, etag: "{nobody}" }
  "GET /f": { respond: "{request.if_matches}" }
  "POST /g":
    gather:
      t:
        from: pg
        transaction:
          - a: { sql: "select 1", match: "{b.x}" }
          - b: { sql: "select 2", match: text }
          - c: { sql: "insert into t values ({item})", each: "{body}", match: "{a.x}" }
"""

MISTAKES = [
    "3:34: error: {nobody} refers to nothing: no parameter or step has the name 'nobody' (did you mean 'body'?)",
    "4:25: error: {request.if_matches}: expected request.method, request.path, request.id, request.ip or request.if_match",
    "10:43: error: {b.x}: the steps of a transaction run in order, and this one comes later",
    '11:42: error: match: expected one reference, as "{name}"',
    '12:79: error: match: not beside "each"',
]


def test_mistakes_are_found(program: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(BAD)
    checked = subprocess.run([program, "check", "-c", path], capture_output=True, text=True)
    assert checked.stderr.splitlines() == [f"{path}:{line}" for line in MISTAKES] + ["5 errors"]


def test_mongodb(gatherd: Callable[..., Gatherd], mongo: Mongo) -> None:
    config = """
sources: { m: { mongodb: "${MONGO}" } }
endpoints:
  "PUT /wares/{id}":
    body: { type: object, required: [ name ], properties: { name: { type: string } } }
    gather:
      w:
        from: m
        update_one: wares
        filter: { _id: "{id}", version: { $in: "{request.if_match}" } }
        update: { $set: { name: "{body.name}", version: "2" } }
        affected: 1
  "POST /wares/{id}": { gather: { w: { from: m, insert_one: wares, document: { _id: "{id}", version: "1" } } } }
"""
    daemon = gatherd(config, env={"MONGO": mongo.url("preconditions")})
    path = "/wares/a"
    assert get(daemon, path, "POST", If_None_Match="*").status == 200
    problem(get(daemon, path, "POST", If_None_Match="*"), 412)
    for tag, status in [('"x"', 412), ('"x", "1"', 200), ('"1"', 412)]:
        assert daemon.request("PUT", path, json_body={"name": "n"}, headers={"If-Match": tag}).status == status
