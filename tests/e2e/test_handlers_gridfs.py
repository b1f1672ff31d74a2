"""Files in MongoDB from handlers in C, beside what other drivers make of them; and a clear word where a server has no transactions and change streams."""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Gatherd, Mongo
from support import good, problem, wait_for

NAMES = ["unfinished", "forgotten", "abandoned", "mistakes", "transaction", "transaction_fails", "watching"]
CHUNK = 255 * 1024

numbers = itertools.count()


@pytest.fixture(scope="module")
def daemon(module_gatherd: Callable[..., Gatherd], module: Callable[..., Path]) -> Gatherd:
    path = module("gridfs")
    lines = ['server: { listen: [ "127.0.0.1:${PORT}" ], debug: true, body_limit: 8MiB }']
    lines += ['sources: { db: { mongodb: "${MONGO}", pool: { size: 4, acquire_timeout: 20s } } }', "endpoints:"]
    lines += [f'  "GET /{name}": {{ handler: "{path}:{name}", parameters: {{ b: {{ required: false }} }} }}' for name in NAMES]
    lines += [f'  "POST /upload": {{ handler: "{path}:upload", parameters: {{ b: {{ in: query, required: false }}, p: {{ in: query, type: integer, default: 1000 }} }} }}']
    for name in ("download", "verify", "removed"):
        one = f'handler: "{path}:{name}", parameters: {{ b: {{ required: false }}, id: {{ format: objectid }} }}'
        lines.append(f'  "GET /{name}/{{id}}": {{ {one} }}')
    lines.append(f'  "GET /named/{{id}}": {{ handler: "{path}:download", parameters: {{ b: {{ required: false }} }} }}')
    return module_gatherd("\n".join(lines) + "\n")


@pytest.fixture
def bucket(mongo: Mongo) -> Iterator[str]:
    """The name of a bucket that nobody else uses."""
    name = f"bucket_{os.getpid()}_{next(numbers)}"
    yield name
    for which in ("files", "chunks"):
        mongo.client.drop("test", f"{name}.{which}")


def some_bytes(count: int) -> bytes:
    return random.Random(count).randbytes(count)


def upload(daemon: Gatherd, bucket: str, content: bytes, piece: int = 100_000) -> str:
    headers = {"Content-Type": "application/octet-stream"}
    done = good(daemon.post(f"/upload?b={bucket}&p={piece}", body=content, headers=headers), 201)
    assert done["length"] == len(content)
    return str(done["_id"])


@pytest.mark.parametrize("count", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 1_500_000])
def test_what_goes_in_comes_out(daemon: Gatherd, mongo: Mongo, bucket: str, count: int) -> None:
    content = some_bytes(count)
    name = upload(daemon, bucket, content, max(1, count // 3))
    reply = daemon.get(f"/download/{name}?b={bucket}")
    assert reply.status == 200 and reply.body == content
    files = mongo.client.find("test", f"{bucket}.files", {})
    chunks = mongo.client.find("test", f"{bucket}.chunks", {})
    assert [(f["length"], f["chunkSize"], f["filename"], f["metadata"]) for f in files] == [(count, CHUNK, "a file", {"owner": "me", "n": [1]})]
    assert sorted(c["n"] for c in chunks) == list(range((count + CHUNK - 1) // CHUNK))


def test_the_bucket_has_its_indexes(daemon: Gatherd, mongo: Mongo, bucket: str) -> None:
    upload(daemon, bucket, b"x")
    upload(daemon, bucket, b"y")

    def keys(which: str) -> list[Any]:
        reply = mongo.client.command("test", {"listIndexes": f"{bucket}.{which}"})
        return [(list(index["key"]), index.get("unique", False)) for index in reply["cursor"]["firstBatch"]]

    assert (["filename", "uploadDate"], False) in keys("files")
    assert (["files_id", "n"], True) in keys("chunks")


def test_other_drivers_read_it_and_are_read(daemon: Gatherd, mongo: Mongo, bucket: str) -> None:
    pymongo = pytest.importorskip("pymongo")
    gridfs = pytest.importorskip("gridfs")
    from bson import ObjectId

    client = pymongo.MongoClient(mongo.url(), serverSelectionTimeoutMS=10_000)
    try:
        files = gridfs.GridFSBucket(client.get_database("test"), bucket)
        content = some_bytes(700_000)
        name = upload(daemon, bucket, content)
        with files.open_download_stream(ObjectId(name)) as stream:
            assert stream.read() == content
            assert (stream.filename, stream.length, stream.metadata) == ("a file", len(content), {"owner": "me", "n": [1]})
        theirs = files.upload_from_stream("theirs", content[::-1], chunk_size_bytes=100_000)
        assert daemon.get(f"/download/{theirs}?b={bucket}").body == content[::-1]
        files.upload_from_stream_with_id("by name", "theirs", content)
        assert daemon.get(f"/named/by%20name?b={bucket}").body == content
        files.delete(ObjectId(name))
        problem(daemon.get(f"/download/{name}?b={bucket}"), 404)
    finally:
        client.close()


def test_removal(daemon: Gatherd, mongo: Mongo, bucket: str) -> None:
    name, other = upload(daemon, bucket, some_bytes(CHUNK + 5)), upload(daemon, bucket, b"stays")
    assert good(daemon.get(f"/removed/{name}?b={bucket}")) == {"deleted_count": 1}
    assert good(daemon.get(f"/removed/{name}?b={bucket}")) == {"deleted_count": 0}
    problem(daemon.get(f"/download/{name}?b={bucket}"), 404)
    assert daemon.get(f"/download/{other}?b={bucket}").body == b"stays"
    assert len(mongo.client.find("test", f"{bucket}.chunks", {})) == 1


def delete(mongo: Mongo, collection: str, query: dict[str, Any]) -> None:
    reply = mongo.client.command("test", {"delete": collection, "deletes": [{"q": query, "limit": 1}]})
    assert reply["n"] == 1


@pytest.mark.parametrize(("missing", "read"), [(0, 0), (1, 1), (2, 2)])
def test_a_missing_chunk_is_a_failure(daemon: Gatherd, mongo: Mongo, bucket: str, missing: int, read: int) -> None:
    name = upload(daemon, bucket, some_bytes(3 * CHUNK - 7))
    assert good(daemon.get(f"/verify/{name}?b={bucket}")) == {"chunks": 3, "end": None}
    delete(mongo, f"{bucket}.chunks", {"n": missing})
    said = good(daemon.get(f"/verify/{name}?b={bucket}"))
    assert said["chunks"] == read and said["end"]["status"] == 500
    assert f"chunk {missing} is missing" in said["end"]["text"]


@pytest.mark.parametrize(("length", "text"), [(2 * CHUNK, "is not of the right length"), (CHUNK, "more than there should be"), (CHUNK - 1, "is not of the right length")])
def test_a_wrong_length_is_a_failure(daemon: Gatherd, mongo: Mongo, bucket: str, length: int, text: str) -> None:
    name = upload(daemon, bucket, some_bytes(2 * CHUNK - 7))
    update = {"q": {"filename": "a file"}, "u": {"$set": {"length": length}}}
    assert mongo.client.command("test", {"update": f"{bucket}.files", "updates": [update]})["n"] == 1
    said = good(daemon.get(f"/verify/{name}?b={bucket}"))
    assert text in said["end"]["text"]


def test_what_is_not_finished_leaves_nothing(daemon: Gatherd, mongo: Mongo, bucket: str) -> None:
    assert good(daemon.get(f"/unfinished?b={bucket}")) == {"meanwhile": 2}
    assert mongo.client.find("test", f"{bucket}.chunks", {}) == []
    assert mongo.client.find("test", f"{bucket}.files", {}) == []
    good(daemon.get(f"/forgotten?b={bucket}"))
    told = {("upload", "GET /unfinished"), ("upload", "GET /forgotten")}
    wait_for(lambda: told == {(line["kind"], line["endpoint"]) for line in daemon.log_lines() if line["msg"] == "left open"}, 10)


def test_a_client_that_leaves_leaves_nothing(daemon: Gatherd, mongo: Mongo, bucket: str) -> None:
    def chunks() -> int:
        return len(mongo.client.find("test", f"{bucket}.chunks", {}))

    connection = daemon.connect()
    connection.sendall(f"GET /abandoned?b={bucket} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    wait_for(lambda: chunks() == 2, 20)
    connection.close()
    wait_for(lambda: chunks() == 0, 20)
    assert mongo.client.find("test", f"{bucket}.files", {}) == []


def test_mistakes(daemon: Gatherd) -> None:
    said = good(daemon.get("/mistakes"))
    expected = [
        (500, "the file has no name"),
        (500, "no mongodb source"),
        (429, "mine"),
        (500, "no file was given"),
        (500, "the _id is NULL"),
        (500, "no mongodb source"),
        (404, "there is no such file"),
        (500, "the _id is NULL"),
    ]
    for told, (status, text) in zip(said, expected):
        assert told["status"] == status and text in told["text"], told
    assert said[8] < 0 and said[9] < 0


# -- what this server does not have --


def test_no_transactions(daemon: Gatherd) -> None:
    said = good(daemon.get("/transaction"))
    assert all(r < 0 for r in said[:3]) and said[3] == 0
    problem(daemon.get("/transaction_fails"), 500)
    wait_for(lambda: any("it is no replica set" in str(line) for line in daemon.log_lines()), 10)


def test_no_change_streams(daemon: Gatherd) -> None:
    said = good(daemon.get("/watching"))
    assert [told["status"] for told in said] == [500, 500, 500, 429]
    assert "MongoDB error" in said[0]["text"]
    assert 'did you mean "full_document"' in said[1]["text"]
