"""Transactions and change streams from handlers in C: what is asked of a replica set, which a script plays."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Gatherd, bson
from support import at_once, good, problem

NAMES = ["transaction", "aborted", "nested", "changes", "changes_closed"]
UNSAID = {"lsid", "maxTimeMS", "$db", "$readPreference"}


class Replica:
    """The primary of a replica set: it remembers what it was asked, and makes up the answers."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.lock = threading.Lock()
        self.connections: list[socket.socket] = []
        self.asked: list[dict[str, Any]] = []
        self.sessions: dict[int, set[bytes]] = {}  # by what was asked
        self.conflicts = 0  # so many updates fail
        self.changes: list[int] = []  # so many come with each getMore; then one where there is a lot of time
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"mongodb://127.0.0.1:{self.listener.getsockname()[1]}/test"

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def taken(self) -> list[dict[str, Any]]:
        """What was asked since the last time, without what every command has."""
        with self.lock:
            asked, self.asked = self.asked, []
        return [{name: value for name, value in command.items() if name not in UNSAID} for command in asked]

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.connections.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        stream = connection.makefile("rb")
        with contextlib.suppress(OSError, struct.error):
            while True:
                length, request, _, code = struct.unpack("<iiii", stream.read(16))
                body = stream.read(length - 16)
                legacy = code == 2004
                at = body.index(b"\0", 4) + 9 if legacy else 5
                reply = bson.encode({"ok": 1.0} | self._answer(bson.decode(body, at)))
                head = struct.pack("<iqii", 8, 0, 0, 1) if legacy else struct.pack("<IB", 0, 0)
                connection.sendall(struct.pack("<iiii", 16 + len(head) + len(reply), 0, request, 1 if legacy else 2013) + head + reply)
        connection.close()

    def _answer(self, command: dict[str, Any]) -> dict[str, Any]:
        name = next(iter(command))
        if name.lower() in ("hello", "ismaster"):
            about = {"helloOk": True, "ismaster": True, "setName": "rs", "minWireVersion": 0, "maxWireVersion": 17, "logicalSessionTimeoutMinutes": 30}
            return about | {"maxBsonObjectSize": 16 << 20, "maxMessageSizeBytes": 48 << 20, "maxWriteBatchSize": 100_000}
        if name in ("ping", "endSessions"):
            return {}
        with self.lock:
            self.asked.append(command)
            conflict = name == "update" and self.conflicts > 0
            self.conflicts -= conflict
        if conflict:
            return {"ok": 0.0, "code": 112, "errmsg": "a conflict", "errorLabels": ["TransientTransactionError"]}
        if name in ("insert", "update"):
            return {"n": 1, "nModified": 1}
        if name in ("find", "aggregate", "getMore"):
            return {"cursor": self._batch(name, command)}
        return {}

    def _batch(self, name: str, command: dict[str, Any]) -> dict[str, Any]:
        collection = str(command.get("collection", command[name]))
        if name == "find":
            more = collection == "many"
            return {"id": bson.Int64(9 if more else 0), "ns": f"test.{collection}", "firstBatch": [{"_id": 1}]}
        if name == "aggregate":
            return {"id": bson.Int64(8), "ns": "test.accounts", "firstBatch": []}
        with self.lock:
            count = self.changes.pop(0) if self.changes else int(command["maxTimeMS"] == 1000)
        if count == 0:
            time.sleep(command["maxTimeMS"] / 1000)
        changes = [{"_id": {"t": n}, "operationType": "insert", "fullDocument": {"n": n}} for n in range(count)]
        return {"id": bson.Int64(8), "ns": "test.accounts", "nextBatch": changes}


@pytest.fixture(scope="module")
def server() -> Iterator[Replica]:
    replica = Replica()
    yield replica
    replica.close()


@pytest.fixture(scope="module")
def daemon(module_gatherd: Callable[..., Gatherd], module: Callable[..., Path], server: Replica) -> Gatherd:
    path = module("replica")
    lines = ["semaphores: { two: 2 }", f'sources: {{ db: {{ mongodb: "{server.url}", pool: {{ size: 4 }}, semaphore: two }} }}', "endpoints:"]
    lines += [f'  "GET /{name}": {{ handler: "{path}:{name}" }}' for name in NAMES]
    return module_gatherd("\n".join(lines) + "\n")


FIND = {"find": "accounts", "filter": {"_id": 1}}
APART = {"insert": "audit", "documents": [{"_id": "apart"}], "ordered": True}
UPDATE = {"update": "accounts", "updates": [{"q": {"_id": 1}, "u": {"$inc": {"n": 1}}}], "ordered": True}
MANY = {"find": "many", "filter": {}, "batchSize": 32}
KILL = {"killCursors": "many", "cursors": [9]}


def asked_in(number: int, *commands: dict[str, Any], snapshot: bool) -> list[dict[str, Any]]:
    """The commands of that transaction, as the server sees them."""
    begin: dict[str, Any] = {"startTransaction": True} | ({"readConcern": {"level": "snapshot"}} if snapshot else {})
    return [c if c is APART else c | {"txnNumber": number} | ({} if i else begin) | {"autocommit": False} for i, c in enumerate(commands)]


def number_of(asked: list[dict[str, Any]]) -> int:
    return int(asked[0]["txnNumber"])


def test_a_transaction(daemon: Gatherd, server: Replica) -> None:
    server.taken()
    assert good(daemon.get("/transaction")) == [5, 1, 1, -32]
    asked = server.taken()
    first = number_of(asked)
    commit = {"commitTransaction": 1}
    assert asked == asked_in(first, FIND, APART, UPDATE, MANY, KILL, commit, snapshot=True) + [{"find": "accounts", "filter": {}}]


def test_a_conflict(daemon: Gatherd, server: Replica) -> None:
    server.taken()
    server.conflicts = 1
    assert good(daemon.get("/transaction"))[:2] == [5, 2]
    asked = server.taken()
    first = number_of(asked)
    failed = asked_in(first, FIND, APART, UPDATE, {"abortTransaction": 1}, snapshot=True)
    assert asked[: len(failed)] == failed
    assert {c["txnNumber"] for c in asked[len(failed) :] if "txnNumber" in c} == {first + 1}
    server.conflicts = 3
    said = problem(daemon.get("/transaction"), 503, code="112")
    assert "a conflict" not in str(said)
    assert sum("commitTransaction" in c for c in server.taken()) == 0


def test_one_that_fails_is_aborted(daemon: Gatherd, server: Replica) -> None:
    server.taken()
    assert problem(daemon.get("/aborted"), 404)["detail"] == "No such account."
    asked = server.taken()
    assert asked == asked_in(number_of(asked), FIND, APART, UPDATE, MANY, KILL, {"abortTransaction": 1}, snapshot=False)


def test_one_within_another(daemon: Gatherd, server: Replica) -> None:
    server.taken()
    assert good(daemon.get("/nested")) == [0, True]
    assert server.taken() == []


def test_a_transaction_has_the_permit_of_its_calls(daemon: Gatherd, server: Replica) -> None:
    """More at once than there are permits."""
    for reply in at_once([lambda: daemon.get("/nested")] * 8):
        assert good(reply) == [0, True]


def test_changes(daemon: Gatherd, server: Replica) -> None:
    server.taken()
    server.changes = [3]
    assert good(daemon.get("/changes")) == {"seen": [0, 1, 2, 0], "late": 1}
    asked = server.taken()
    stages = [{"$changeStream": {"fullDocument": "updateLookup"}}, {"$match": {"operationType": "insert"}}]
    assert asked[0] == {"aggregate": "accounts", "pipeline": stages, "cursor": {}}
    assert asked[1] == {"getMore": 8, "collection": "accounts"}
    assert asked[-1] == {"killCursors": "accounts", "cursors": [8]}
    server.changes = [1]
    assert good(daemon.get("/changes_closed")) == 0
    asked = server.taken()
    assert asked[0]["aggregate"] == 1 and asked[-1] == {"killCursors": "accounts", "cursors": [8]}
