"""MongoDB from handlers in C: each function of gatherd.h, and what requests may not bring into it."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from harness import Gatherd, Mongo
from support import at_once, good, problem, soon

NAMES = [
    "reads", "gathered", "inserts", "duplicate", "updates", "find_and_modify", "bulk", "large", "stream", "streams",
    "mistakes", "by_parameter", "whole_filter", "expression", "script",
]  # fmt: skip

BODIES = ["store", "filter_by_body", "filter_by_member", "update_by_body", "pipeline_by_body"]
FORMS = ["filter_by_form", "member_by_form"]

numbers = itertools.count()


def config(path: Path, source: str = 'mongodb: "${MONGO}", pool: { size: 4, acquire_timeout: 20s }') -> str:
    lines = [f"sources: {{ db: {{ {source} }} }}", "endpoints:"]
    lines += [f'  "GET /{name}": {{ handler: "{path}:{name}", parameters: {{ c: {{ required: false }}, q: {{ required: false }} }} }}' for name in NAMES]
    lines += [f'  "GET /list/{name}": {{ handler: "{path}:{name}", parameters: {{ q: {{ type: array }} }} }}' for name in ("by_parameter", "whole_filter")]
    lines += [f'  "POST /{name}": {{ handler: "{path}:{name}", parameters: {{ c: {{ in: query, required: false }} }} }}' for name in BODIES]
    lines += [f'  "POST /{name}": {{ handler: "{path}:{name}" }}' for name in FORMS]
    lines += [f'  "POST /declared/{name}": {{ handler: "{path}:{name}", body: {{ type: object }} }}' for name in BODIES]
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def daemon(module_gatherd: Callable[..., Gatherd], module: Callable[..., Path]) -> Gatherd:
    return module_gatherd(config(module("mongo")))


@pytest.fixture
def own(mongo: Mongo) -> Iterator[str]:
    """The name of a collection that nobody else uses."""
    name = f"handlers_{os.getpid()}_{next(numbers)}"
    yield name
    mongo.client.drop("test", name)


def test_reads(daemon: Gatherd) -> None:
    said = good(daemon.get("/reads"))
    said["names"].sort()  # they come in any order
    assert said == {
        "found": [{"product": "p-18"}, {"product": "p-17"}],
        "one": "Product 7",
        "none": None,
        "groups": [{"_id": 4, "n": 60}, {"_id": 5, "n": 60}],
        "count": 300,
        "some": 50,
        "names": [1, 2, 3, 4, 5],
    }


def test_calls_in_a_gather(daemon: Gatherd) -> None:
    said = good(daemon.get("/gathered"))
    assert said["counts"] == [60] * 5
    assert said["bad"]["status"] == 500 and "the filter is NULL" in said["bad"]["text"]
    assert said["early"] < 0


def test_inserts(daemon: Gatherd, own: str) -> None:
    said = good(daemon.get(f"/inserts?c={own}"))
    some, twice = said.pop("some"), said.pop("twice")
    assert said == {
        "id": 24,
        "again": "first",
        "by_text": 1,
        "as_text": None,
        "many": {"inserted_count": 2, "inserted_ids": [1, 2]},
        "left": 4,
    }
    assert (twice["status"], twice["code"]) == (409, "11000")
    assert (some["status"], some["code"]) == (409, "11000")
    assert "at index 1" in some["text"] and "1 of 3 were done" in some["text"]


def test_a_failure_is_the_reply(daemon: Gatherd, own: str) -> None:
    said = problem(daemon.get(f"/duplicate?c={own}"), 409)
    assert said["detail"] == "A document with this key exists already."


def test_updates(daemon: Gatherd, own: str) -> None:
    assert good(daemon.get(f"/updates?c={own}")) == {
        "one": {"matched_count": 1, "modified_count": 1, "upserted_id": None},
        "many": {"matched_count": 2, "modified_count": 2, "upserted_id": None},
        "none": {"matched_count": 0, "modified_count": 0, "upserted_id": None},
        "upsert": {"matched_count": 0, "modified_count": 0, "upserted_id": 9},
        "replaced": {"matched_count": 1, "modified_count": 1, "upserted_id": None},
        "deleted": {"deleted_count": 1},
        "left": [{"_id": 2, "n": 12}, {"_id": 3, "b": [1, {"c": 2}]}, {"_id": 9, "a": 1}],
        "all": {"deleted_count": 3},
    }


def test_find_and_modify(daemon: Gatherd, own: str) -> None:
    assert good(daemon.get(f"/find_and_modify?c={own}")) == {
        "before": {"_id": 1, "n": 1},
        "after": {"_id": 1, "n": 3},
        "none": None,
        "made": {"_id": 9, "n": 9},
        "replaced": {"_id": 2, "m": 1},
        "deleted": {"_id": 9, "n": 9},
    }


def test_bulk(daemon: Gatherd, own: str) -> None:
    said = good(daemon.get(f"/bulk?c={own}"))
    upserted = said["done"].pop("upserted_ids")
    assert [one["id"] for one in upserted] == [7]  # which statement it was FerretDB tells wrongly
    assert said["done"] == {"inserted_count": 2, "matched_count": 3, "modified_count": 3, "deleted_count": 1}
    assert said["left"] == [{"_id": 1, "n": 6, "seen": True}, {"_id": 7, "r": 1}]
    assert said["bad"]["status"] == 409 and "1 of 2 were done" in said["bad"]["text"]
    assert said["rest"] == 1


def test_more_than_a_command_can_carry(daemon: Gatherd, own: str) -> None:
    assert good(daemon.get(f"/large?c={own}")) == {"inserted": 40, "n": 40, "gone": {"deleted_count": 40}}


def test_streams(daemon: Gatherd) -> None:
    assert good(daemon.get("/stream")) == {
        "count": 250,
        "sum": sum(range(250)),
        "in_order": 1,
        "after": 0,
        "first": 249,
        "closed": 0,
    }
    # The ones that were left were given back: again, and many at once.
    for reply in at_once([lambda: daemon.get("/stream")] * 20):
        assert good(reply)["count"] == 250


def test_streams_wait_for_connections(daemon: Gatherd) -> None:
    assert good(daemon.get("/streams")) == {"r": 0, "total": 2500}


def test_mistakes(daemon: Gatherd) -> None:
    said = good(daemon.get("/mistakes"))
    expected = [
        (500, "the filter is NULL"),
        (500, "the collection has no name"),
        (500, "no mongodb source"),
        (500, 'did you mean "limit"'),
        (500, "MongoDB error"),
        (500, "it is null"),
        (429, "mine"),
        (500, "it is null"),
        (500, "a is not an operator"),
        (500, "$set is an operator"),
        (500, "the field has no name"),
        (500, "the filter is NULL"),
        (500, "$out and $merge"),
    ]
    for told, (status, text) in zip(said, expected, strict=True):
        assert told["status"] == status and text in told["text"], told


# -- what a request brings is data --


@pytest.mark.parametrize("text", ['{"$ne": 1}', '{"$gt": ""}', "$ne", "5"])
def test_a_parameter_is_a_text(daemon: Gatherd, text: str) -> None:
    assert good(daemon.get(f"/by_parameter?q={quote(text)}")) == 0


def test_a_list_is_a_list(daemon: Gatherd) -> None:
    assert good(daemon.get("/list/by_parameter?q=$ne&q=1")) == 0


@pytest.mark.parametrize("path", ["/whole_filter?q=x", "/whole_filter", "/list/whole_filter?q=x"])
def test_a_parameter_is_no_filter(daemon: Gatherd, path: str) -> None:
    problem(daemon.get(path), 400, 500)  # 500: it was not given, and no filter at all would be every document


@pytest.mark.parametrize("text", ["$name", "$$ROOT", "plain"])
def test_a_parameter_names_no_field(daemon: Gatherd, text: str) -> None:
    reply = daemon.get(f"/expression?q={quote(text)}")
    if reply.status == 500:  # FerretDB has no $literal, which is what a text with "$" is wrapped in
        assert text.startswith("$")
        problem(reply, 500, code="238")
    else:
        assert good(reply)[0]["said"] == text


def test_a_parameter_is_no_script(daemon: Gatherd) -> None:
    said = problem(daemon.get("/script?q=true"), 500)
    assert "JavaScript" not in str(said)


def test_a_body_is_stored(daemon: Gatherd, own: str) -> None:
    document = {"name": "n", "list": [1, {"a": None}], "text": "$name"}
    assert good(daemon.post(f"/store?c={own}", json_body=document), 201) == document
    for bad in ({"a": {"$gt": 1}}, {"$set": {"a": 1}}, [], "x"):
        problem(daemon.post(f"/store?c={own}", json_body=bad), 400)


OPERATORS = [{"customer": {"$ne": 1}}, {"$where": "true"}, {"$or": [{}]}, {"a": [{"$x": 1}]}]


@pytest.mark.parametrize("body", OPERATORS)
@pytest.mark.parametrize("prefix", ["", "/declared"])
def test_a_body_brings_no_operators(daemon: Gatherd, prefix: str, body: Any) -> None:
    problem(daemon.post(f"{prefix}/filter_by_body", json_body=body), 400)
    problem(daemon.post(f"{prefix}/filter_by_member", json_body={"customer": body}), 400)
    problem(daemon.post(f"{prefix}/update_by_body?c=handlers_none", json_body=body), 400)


def test_a_body_is_no_pipeline(daemon: Gatherd) -> None:
    problem(daemon.post("/pipeline_by_body", json_body=[{"$match": {}}]), 400)
    problem(daemon.post("/update_by_body?c=handlers_none", json_body=[{"$set": {"a": 1}}]), 400)


def test_a_declared_body_may_be_a_filter(daemon: Gatherd) -> None:
    assert good(daemon.post("/declared/filter_by_body", json_body={"customer": 3})) == 3
    assert good(daemon.post("/filter_by_member", json_body={"customer": 3})) == 3
    assert good(daemon.post("/declared/filter_by_member", json_body={"customer": {"a": 3}})) == 0


@pytest.mark.parametrize("form", ["$where=true", "customer=3", "customer[$ne]=1", "$or=1&$or=2"])
def test_a_form_is_no_filter(daemon: Gatherd, form: str) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    problem(daemon.post("/filter_by_form", body=form, headers=headers), 400)
    problem(daemon.post("/member_by_form", body=form, headers=headers), 400)


# -- a server that is not there --


def test_a_server_that_is_gone(gatherd: Callable[..., Gatherd], module: Callable[..., Path], private_mongo: Mongo) -> None:
    daemon = gatherd(config(module("mongo"), 'mongodb: "${MONGO}", pool: { size: 2, acquire_timeout: 300ms }'), mongo=private_mongo)
    assert good(daemon.get("/reads"))["count"] == 300
    private_mongo.stop()
    said: Any = problem(daemon.get("/duplicate?c=x"), 503)
    assert "127.0.0.1" not in str(said)
    private_mongo.start()
    assert good(soon(lambda: daemon.get("/by_parameter?q=1"))) == 0
