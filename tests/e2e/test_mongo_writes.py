"""Declared writes on MongoDB: what each action does and brings, what a request may not do with it, what failed where."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from harness import Gatherd, Mongo, MongoClient
from support import good, problem

DATABASE = "test"

CONFIG = """
sources: { db: { mongodb: "${MONGO}", pool: { size: 2, acquire_timeout: 20s } } }
endpoints:
  "POST /insert_one": { body: {}, gather: { w: { from: db, insert_one: writes, document: "{body}" } }, respond: "{w}" }
  "POST /built": { body: {}, gather: { w: { from: db, insert_one: writes, document: { _id: "{body.id}", note: "for {body.id}", tags: [ new, "{body.tag}" ] } } }, respond: "{w}" }
  "POST /insert_many": { body: {}, gather: { w: { from: db, insert_many: writes, documents: "{body}" } }, respond: "{w}" }
  "POST /unordered": { body: {}, gather: { w: { from: db, insert_many: writes, documents: "{body}", ordered: false } }, respond: "{w}" }
  "POST /listed": { body: {}, gather: { w: { from: db, insert_many: writes, documents: [ { _id: "{body.a}" }, "{body.b}" ] } }, respond: "{w}" }
  "POST /update_one": { body: {}, gather: { w: { from: db, update_one: writes, filter: { kind: "{body.kind}" }, update: { $inc: { n: "{body.by}" } } } }, respond: "{w}" }
  "POST /update_many": { body: {}, gather: { w: { from: db, update_many: writes, filter: { kind: "{body.kind}" }, update: { $inc: { n: "{body.by}" }, $set: { seen: true } } } }, respond: "{w}" }
  "POST /upsert": { body: {}, gather: { w: { from: db, update_one: writes, filter: { _id: "{body.id}" }, update: { $set: { n: "{body.n}" } }, upsert: true } }, respond: "{w}" }
  "POST /set": { body: {}, gather: { w: { from: db, update_one: writes, filter: { _id: a }, update: { $set: "{body}" } } }, respond: "{w}" }
  "POST /set/below": { body: { type: object, properties: { v: { type: object } } }, gather: { w: { from: db, update_one: writes, filter: { _id: a }, update: { $set: { v: "{body.v}" } } } }, respond: "{w}" }
  "POST /replace_one": { body: {}, gather: { w: { from: db, replace_one: writes, filter: { _id: a }, replacement: "{body}" } }, respond: "{w}" }
  "POST /delete_one": { body: {}, gather: { w: { from: db, delete_one: writes, filter: { kind: "{body.kind}" } } }, respond: "{w}" }
  "POST /delete_many": { body: {}, gather: { w: { from: db, delete_many: writes, filter: { kind: "{body.kind}" } } }, respond: "{w}" }
  "POST /fetch/before": { body: {}, gather: { w: { from: db, find_one_and_update: writes, filter: { kind: "{body.kind}" }, update: { $inc: { n: 1 } }, sort: { _id: -1 } } }, respond: "{w}" }
  "POST /fetch/after": { body: {}, gather: { w: { from: db, find_one_and_update: writes, filter: { _id: "{body.id}" }, update: { $inc: { n: 1 } }, return: after } }, respond: "{w}" }
  "POST /fetch/replace": { body: {}, gather: { w: { from: db, find_one_and_replace: writes, filter: { _id: a }, replacement: "{body}", return: after } }, respond: "{w}" }
  "POST /fetch/delete": { body: {}, gather: { w: { from: db, find_one_and_delete: writes, filter: { _id: "{body.id}" }, expect: one } }, respond: "{w}" }
  "POST /none": { body: {}, gather: { w: { from: db, insert_one: writes, document: "{body}", expect: none } }, respond: "{w}" }
  "PATCH /merge/{id}": { body: {}, status: 204, gather: { w: { from: db, update_one: writes, filter: { _id: "{id}" }, update: { merge: "{body}" }, affected: 1 } } }
  "PATCH /merge": { body: {}, gather: { w: { from: db, update_many: writes, filter: { kind: many }, update: { merge: { note: "{body.note}", deep: { by: "{body.by}" } } } } }, respond: "{w}" }
  "PATCH /merged/{id}": { body: {}, gather: { w: { from: db, find_one_and_update: writes, filter: { _id: "{id}" }, update: { merge: "{body}" }, return: after, expect: one } }, respond: "{w}" }
  "DELETE /writes/{id}": { status: 204, gather: { w: { from: db, delete_one: writes, filter: { _id: "{id}" }, affected: 1 } } }
  "POST /affected": { body: {}, gather: { w: { from: db, update_many: writes, filter: { kind: "{body.kind}" }, update: { $inc: { n: 1 } }, affected: { max: 1 } } }, respond: "{w}" }
"""

DOCUMENTS = [
    {"_id": "a", "kind": "single", "n": 1, "address": {"city": "Paris", "zip": "75001"}, "tags": ["x", "y"]},
    {"_id": "b", "kind": "many", "n": 2},
    {"_id": "c", "kind": "many", "n": 3},
]


@pytest.fixture(scope="module")
def daemon(module_gatherd: Callable[..., Gatherd]) -> Gatherd:
    return module_gatherd(CONFIG)


@pytest.fixture
def db(mongo: Mongo) -> MongoClient:
    mongo.client.drop(DATABASE, "writes")
    mongo.client.insert(DATABASE, "writes", DOCUMENTS)
    return mongo.client


def stored(db: MongoClient) -> dict[str, dict[str, Any]]:
    return {str(document["_id"]): document for document in db.find(DATABASE, "writes")}


def send(daemon: Gatherd, path: str, body: Any, method: str = "POST") -> Any:
    return daemon.request(method, path, body=json.dumps(body).encode(), headers={"Content-Type": "application/json"})


def test_inserts(daemon: Gatherd, db: MongoClient) -> None:
    made = good(send(daemon, "/insert_one", {"name": "new", "deep": {"list": [1, {"x": None}]}}))["inserted_id"]
    assert len(made) == 24
    assert good(send(daemon, "/insert_one", {"_id": "given"})) == {"inserted_id": "given"}
    assert good(send(daemon, "/built", {"id": "z", "tag": "old"})) == {"inserted_id": "z"}
    assert good(send(daemon, "/insert_many", [{"_id": "m1"}, {"_id": "m2", "n": 1.5}])) == {"inserted_count": 2, "inserted_ids": ["m1", "m2"]}
    assert good(send(daemon, "/listed", {"a": "l1", "b": {"_id": "l2", "z": 1}})) == {"inserted_count": 2, "inserted_ids": ["l1", "l2"]}
    assert good(send(daemon, "/insert_many", [])) == {"inserted_count": 0, "inserted_ids": []}
    assert good(send(daemon, "/none", {"_id": "unseen"})) is None
    documents = stored(db)
    assert documents["z"] == {"_id": "z", "note": "for z", "tags": ["new", "old"]}
    assert documents["l2"] == {"_id": "l2", "z": 1}
    assert [d["deep"] for d in documents.values() if d.get("name") == "new"] == [{"list": [1, {"x": None}]}]
    assert "unseen" in documents


def test_a_key_twice(daemon: Gatherd, db: MongoClient) -> None:
    assert problem(send(daemon, "/insert_one", {"_id": "a"}), 409)["outcome"] == "none"
    reply = problem(send(daemon, "/insert_many", [{"_id": "1"}, {"_id": "2"}, {"_id": "a"}, {"_id": "3"}]), 409)
    assert reply["outcome"] == "partial" and reply["inserted_count"] == 2
    assert reply["errors"] == [{"pointer": "#/2", "detail": "A document with this key exists already.", "code": "11000"}]
    assert reply["detail"] == "A document with this key exists already. 2 of 4 were done."
    assert set(stored(db)) == {"a", "b", "c", "1", "2"}
    reply = problem(send(daemon, "/insert_many", [{"_id": "a"}, {"_id": "4"}]), 409)
    assert reply["outcome"] == "none" and reply["inserted_count"] == 0 and reply["errors"][0]["pointer"] == "#/0"
    reply = problem(send(daemon, "/unordered", [{"_id": "a"}, {"_id": "5"}, {"_id": "b"}]), 409)
    assert reply["outcome"] == "partial" and reply["inserted_count"] == 1
    assert [e["pointer"] for e in reply["errors"]] == ["#/0", "#/2"]


def test_updates_and_deletions(daemon: Gatherd, db: MongoClient) -> None:
    assert good(send(daemon, "/update_one", {"kind": "many", "by": 10})) == {"matched_count": 1, "modified_count": 1, "upserted_id": None}
    assert good(send(daemon, "/update_many", {"kind": "many", "by": 10})) == {"matched_count": 2, "modified_count": 2, "upserted_id": None}
    assert good(send(daemon, "/update_one", {"kind": "none", "by": 1})) == {"matched_count": 0, "modified_count": 0, "upserted_id": None}
    assert good(send(daemon, "/upsert", {"id": "u", "n": 1})) == {"matched_count": 0, "modified_count": 0, "upserted_id": "u"}
    assert good(send(daemon, "/upsert", {"id": "u", "n": 2}))["matched_count"] == 1
    assert sorted(d.get("n") for d in stored(db).values()) == [1, 2, 13, 22] or sorted(d.get("n") for d in stored(db).values()) == [1, 2, 12, 23]
    assert good(send(daemon, "/set", {"n": 7, "deep": {"er": [1]}}))["modified_count"] == 1
    assert good(send(daemon, "/set/below", {"v": {"x": {"y": "$n"}}}))["modified_count"] == 1
    assert stored(db)["a"] == DOCUMENTS[0] | {"n": 7, "deep": {"er": [1]}, "v": {"x": {"y": "$n"}}}
    assert good(send(daemon, "/replace_one", {"other": 1})) == {"matched_count": 1, "modified_count": 1, "upserted_id": None}
    assert stored(db)["a"] == {"_id": "a", "other": 1}
    assert good(send(daemon, "/delete_one", {"kind": "many"})) == {"deleted_count": 1}
    assert good(send(daemon, "/delete_many", {"kind": "many"})) == {"deleted_count": 1}
    assert good(send(daemon, "/delete_many", {"kind": "many"})) == {"deleted_count": 0}
    assert set(stored(db)) == {"a", "u"}


def test_changing_a_document_and_getting_it(daemon: Gatherd, db: MongoClient) -> None:
    assert good(send(daemon, "/fetch/before", {"kind": "many"})) == DOCUMENTS[2]
    assert good(send(daemon, "/fetch/before", {"kind": "none"})) is None
    assert good(send(daemon, "/fetch/after", {"id": "c"})) == DOCUMENTS[2] | {"n": 5}
    assert good(send(daemon, "/fetch/replace", {"x": 1})) == {"_id": "a", "x": 1}
    assert good(send(daemon, "/fetch/delete", {"id": "b"})) == DOCUMENTS[1]
    assert problem(send(daemon, "/fetch/delete", {"id": "b"}), 404)["outcome"] == "none"


MERGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "members": ({"n": 5, "new": "x"}, {"n": 5, "new": "x"}),
    "a null removes": ({"kind": None, "absent": None}, {"kind": ...}),
    "objects are merged": ({"address": {"city": "Lyon"}}, {"address": {"city": "Lyon", "zip": "75001"}}),
    "nulls in objects": ({"address": {"zip": None, "street": "x"}}, {"address": {"city": "Paris", "street": "x"}}),
    "arrays are values": ({"tags": [None, {"a": None}]}, {"tags": [None, {"a": None}]}),
    "new objects": ({"deep": {"er": {"est": 1, "no": None}}}, {"deep": {"er": {"est": 1}}}),
    "nothing": ({}, {}),
    "all of it": ({"n": 2, "address": {"zip": 1}, "tags": None}, {"n": 2, "address": {"city": "Paris", "zip": 1}, "tags": ...}),
    "texts that look like fields": ({"n": "$kind", "address": {"city": "$zip"}}, {"n": "$kind", "address": {"city": "$zip", "zip": "75001"}}),
}


@pytest.mark.parametrize("name", MERGES)
def test_a_merge_patch(daemon: Gatherd, db: MongoClient, name: str) -> None:
    patch, changes = MERGES[name]
    expected = {k: v for k, v in (DOCUMENTS[0] | changes).items() if v is not ...}
    assert send(daemon, "/merge/a", patch, "PATCH").status == 204
    assert stored(db)["a"] == expected
    assert good(send(daemon, "/merged/a", patch, "PATCH")) == expected


@pytest.mark.parametrize("patch", [{"n": {"x": 1}}, {"tags": {"0": "z"}}, {"address": {"city": {"x": None}}}, {"new": {"x": None}}, {"new": {}}])
def test_a_merge_patch_is_exact_or_refused(daemon: Gatherd, db: MongoClient, patch: dict[str, Any]) -> None:
    """Here $set and $unset would say something else: a pipeline does it, on a server that has them."""
    reply = send(daemon, "/merge/a", patch, "PATCH")
    if reply.status == 204:
        assert stored(db)["a"] == merged(DOCUMENTS[0], patch)
    else:
        assert problem(reply, 422)["outcome"] == "none"
        assert stored(db)["a"] == DOCUMENTS[0]


def merged(target: Any, patch: Any) -> Any:
    """RFC 7386, section 2."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def test_merges_of_nothing_and_of_several(daemon: Gatherd, db: MongoClient) -> None:
    assert problem(send(daemon, "/merge/none", {"n": 1}, "PATCH"), 404)["outcome"] == "none"
    assert good(send(daemon, "/merge", {"note": "x", "by": 1}, "PATCH"))["matched_count"] == 2
    assert stored(db)["b"] == {"_id": "b", "kind": "many", "n": 2, "note": "x", "deep": {"by": 1}}
    assert good(send(daemon, "/merge", {"by": 2}, "PATCH"))["modified_count"] == 2
    assert stored(db)["c"] == {"_id": "c", "kind": "many", "n": 3, "deep": {"by": 2}}


HOSTILE = [{"$set": 1}, {"a.b": 1}, {"": 1}, {"a\0b": 1}, {"$where": "1"}, {"x": {"$gt": 1}}, {"x": {"a.b": 1}}, {"x": [{"a.b": 1}]}, {"x": {"": 1}}]


@pytest.mark.parametrize("body", HOSTILE, ids=json.dumps)
@pytest.mark.parametrize("path", ["PATCH /merge/a", "PATCH /merged/a", "POST /set"])
def test_names_of_a_request_are_no_operators_and_no_paths(daemon: Gatherd, db: MongoClient, path: str, body: dict[str, Any]) -> None:
    method, path = path.split()
    assert problem(send(daemon, path, body, method), 400)["outcome"] == "none"
    assert stored(db)["a"] == DOCUMENTS[0]


@pytest.mark.parametrize("body", [{"$set": 1}, {"x": {"$gt": 1}}, {"a\0b": 1}], ids=json.dumps)
def test_what_is_stored_has_no_operators(daemon: Gatherd, db: MongoClient, body: dict[str, Any]) -> None:
    for path in ("/insert_one", "/replace_one", "/fetch/replace"):
        assert problem(send(daemon, path, body), 400)["outcome"] == "none"
    assert problem(send(daemon, "/insert_many", [{"_id": 1}, body]), 400)["outcome"] == "none"
    assert list(stored(db).values()) == DOCUMENTS


def test_what_does_not_fit(daemon: Gatherd, db: MongoClient) -> None:
    for body in (1, "x", None, [], [{}]):
        assert problem(send(daemon, "/insert_one", body), 400)
    for body in (1, {}, "x", [1], [{}, None], [[{}]]):
        assert problem(send(daemon, "/insert_many", body), 400)
    assert problem(send(daemon, "/merge/a", {"_id": "b"}, "PATCH"), 400)["detail"] == "{body} has the member _id, which can't be changed."
    assert problem(send(daemon, "/merge/a", [1], "PATCH"), 400)
    assert problem(send(daemon, "/set", [1]), 400) and problem(send(daemon, "/set", 1), 400)
    assert problem(send(daemon, "/listed", {"a": "l1", "b": 1}), 400)["detail"] == "{body.b} is not a document."
    assert problem(send(daemon, "/set/below", {"v": {"a.b": 1}}), 400)["outcome"] == "none"
    assert problem(send(daemon, "/update_one", {"kind": {"$gt": ""}, "by": 1}), 400)["outcome"] == "none"
    assert problem(send(daemon, "/delete_many", {"kind": {"$gt": ""}}), 400)["outcome"] == "none"
    assert list(stored(db).values()) == DOCUMENTS


def test_how_many_are_affected(daemon: Gatherd, db: MongoClient) -> None:
    assert daemon.request("DELETE", "/writes/b").status == 204
    assert problem(daemon.request("DELETE", "/writes/b"), 404)["outcome"] == "none"
    assert good(send(daemon, "/affected", {"kind": "single"}))["matched_count"] == 1
    db.insert(DATABASE, "writes", [{"_id": "d", "kind": "many", "n": 0}])
    reply = problem(send(daemon, "/affected", {"kind": "many"}), 409)
    # MongoDB takes nothing back.
    assert reply["outcome"] == "partial" and reply["detail"].endswith("The change was made.")


# -- each --

EACH = """
sources: { db: { mongodb: "${MONGO}", pool: { size: 2, acquire_timeout: 20s } } }
endpoints:
  "POST /insert": { body: { type: array, items: { type: object } }, gather: { w: { from: db, each: "{body}", insert_one: writes, document: { _id: "{item.id}", of: "{item}", n: 0 } } }, respond: "{w}" }
  "POST /update": { body: {}, gather: { w: { from: db, each: "{body}", update_one: writes, filter: { _id: "{item.id}" }, update: { $inc: { n: "{item.by}" } } } }, respond: "{w}" }
  "POST /exact": { body: {}, gather: { w: { from: db, each: "{body}", update_one: writes, filter: { _id: "{item.id}" }, update: { $inc: { n: "{item.by}" } }, affected: 1 } }, respond: "{w}" }
  "POST /delete": { body: {}, gather: { w: { from: db, each: "{body}", delete_one: writes, filter: { _id: "{item}" } } }, respond: { first: "{w[0].deleted_count}", all: "{w[*].deleted_count}" } }
  "POST /upsert": { body: {}, gather: { w: { from: db, each: "{body}", update_one: writes, filter: { _id: "{item.id}" }, update: { merge: { deep: "{item.deep}" } }, upsert: true } }, respond: "{w}" }
"""


@pytest.fixture(scope="module")
def eacher(module_gatherd: Callable[..., Gatherd]) -> Gatherd:
    return module_gatherd(EACH)


def test_each_element_has_its_result(eacher: Gatherd, db: MongoClient) -> None:
    assert good(send(eacher, "/insert", [{"id": "1"}, {"id": "2", "x": [1]}])) == [{"inserted_id": "1"}, {"inserted_id": "2"}]
    assert stored(db)["2"] == {"_id": "2", "of": {"id": "2", "x": [1]}, "n": 0}
    reply = good(send(eacher, "/update", [{"id": "1", "by": 2}, {"id": "none", "by": 1}, {"id": "1", "by": 3}]))
    assert [r["matched_count"] for r in reply] == [1, 0, 1] and stored(db)["1"]["n"] == 5
    assert good(send(eacher, "/upsert", [{"id": "u", "deep": 1}, {"id": "1", "deep": 2}]))[0] == {"matched_count": 0, "modified_count": 0, "upserted_id": "u"}
    assert good(send(eacher, "/delete", ["1", "none", "2"])) == {"first": 1, "all": [1, 0, 1]}
    assert good(send(eacher, "/insert", [])) == []


def test_each_ends_at_the_first_that_fails(eacher: Gatherd, db: MongoClient) -> None:
    reply = problem(send(eacher, "/insert", [{"id": "1"}, {"id": "2"}, {"id": "a"}, {"id": "3"}]), 409)
    assert reply["outcome"] == "partial" and reply["inserted_count"] == 2
    assert reply["errors"] == [{"pointer": "#/2", "detail": "A document with this key exists already.", "code": "11000"}]
    reply = problem(send(eacher, "/exact", [{"id": "a", "by": 1}, {"id": "none", "by": 1}, {"id": "b", "by": 1}]), 404)
    assert reply["outcome"] == "partial" and reply["matched_count"] == 1 and reply["errors"][0]["pointer"] == "#/1"
    assert (stored(db)["a"]["n"], stored(db)["b"]["n"]) == (2, 2)
    assert problem(send(eacher, "/exact", [{"id": "none", "by": 1}]), 404)["outcome"] == "none"
    assert problem(send(eacher, "/update", {"id": 1}), 400)["outcome"] == "none"
    assert problem(send(eacher, "/insert", [{"id": str(i)} for i in range(1001)]), 413)["outcome"] == "none"
