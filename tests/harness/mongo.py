"""A MongoDB-protocol server of one's own (whichever scripts/mongo-server finds or builds), and a client for it."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import struct
import subprocess
from collections.abc import Iterable
from typing import Any

from . import bson
from .server import ROOT, Server, ServerError

SCRIPT = ROOT / "scripts/mongo-server"


class MongoError(Exception):
    """The server's refusal: its reply is in `reply`."""

    def __init__(self, reply: dict[str, Any]) -> None:
        super().__init__(reply.get("errmsg") or repr(reply))
        self.reply = reply


class MongoClient:
    """One blocking connection that speaks OP_MSG."""

    def __init__(self, host: str, port: int, timeout: float = 30) -> None:
        self._socket = socket.create_connection((host, port), timeout)
        self._stream = self._socket.makefile("rb")
        self._ids = itertools.count(1)

    def close(self) -> None:
        self._stream.close()
        self._socket.close()

    def command(self, database: str, command: dict[str, Any]) -> dict[str, Any]:
        """Run a command, its name first; an error of the command or of its writes is raised."""
        body = struct.pack("<IB", 0, 0) + bson.encode(command | {"$db": database})
        self._socket.sendall(struct.pack("<iiii", 16 + len(body), next(self._ids), 0, 2013) + body)
        length, _, _, _ = struct.unpack("<iiii", self._read(16))
        reply = bson.decode(self._read(length - 16), 5)
        if reply.get("ok") != 1 or reply.get("writeErrors"):
            raise MongoError(reply)
        return reply

    def _read(self, count: int) -> bytes:
        data = self._stream.read(count)
        if len(data) != count:
            raise ConnectionError("the MongoDB server closed the connection")
        return data

    def insert(self, database: str, collection: str, documents: Iterable[dict[str, Any]]) -> int:
        """Insert them, a thousand at a time; returns how many there were."""
        documents = list(documents)
        for start in range(0, len(documents), 1000):
            self.command(database, {"insert": collection, "documents": documents[start : start + 1000]})
        return len(documents)

    def find(
        self, database: str, collection: str, filter: dict[str, Any] | None = None, **options: Any
    ) -> list[dict[str, Any]]:
        """All documents that match; options as the find command has them (sort, limit, projection, batchSize)."""
        cursor = self.command(database, {"find": collection, "filter": filter or {}} | options)["cursor"]
        found = cursor["firstBatch"]
        while cursor["id"]:
            cursor = self.command(database, {"getMore": bson.Int64(cursor["id"]), "collection": collection})["cursor"]
            found += cursor["nextBatch"]
        return found

    def aggregate(self, database: str, collection: str, pipeline: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return self.command(database, {"aggregate": collection, "pipeline": pipeline, "cursor": {"batchSize": 1000}})[
            "cursor"
        ]["firstBatch"]

    def drop(self, database: str, collection: str) -> None:
        """Drop a collection that may not be there."""
        try:
            self.command(database, {"drop": collection})
        except MongoError as error:
            if error.reply.get("code") != 26:  # NamespaceNotFound
                raise


class Mongo(Server):
    """`fast` prefers the in-memory server that can keep a benchmark busy. What it holds survives a restart, but for
    that server's."""

    name = "mongo"
    _client: MongoClient | None = None

    def __init__(self, *, fast: bool = False) -> None:
        super().__init__()
        self.port = self.take_port()
        self.data = self.folder / "data"
        self.data.mkdir()
        self._script = [str(SCRIPT), *(["--fast"] if fast else [])]
        self.kind = self._prepare()  # mongod, ferretdb or java

    def _prepare(self) -> str:
        # Building can take a minute: interrupted, it takes its compilers with it.
        builder = subprocess.Popen(
            [*self._script, "--prepare"], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        try:
            kind, _ = builder.communicate()
        except BaseException:
            os.killpg(builder.pid, signal.SIGTERM)
            builder.wait()
            raise
        if builder.returncode != 0:
            raise ServerError("there is no MongoDB server to be had")
        return kind.strip()

    def command(self) -> list[str]:
        return [*self._script, str(self.port), str(self.data)]

    def ready(self) -> bool:
        try:
            client = MongoClient("127.0.0.1", self.port, timeout=5)
        except OSError:
            return False
        try:
            return client.command("admin", {"ping": 1})["ok"] == 1
        except (OSError, MongoError):
            return False
        finally:
            client.close()

    def stop(self) -> int | None:
        self._disconnect()
        return super().stop()

    def kill(self) -> None:
        self._disconnect()
        super().kill()

    def _disconnect(self) -> None:
        if self._client is not None:
            with contextlib.suppress(OSError):
                self._client.close()
            self._client = None

    @property
    def client(self) -> MongoClient:
        """The harness's own connection."""
        if self._client is None:
            self._client = MongoClient("127.0.0.1", self.port)
        return self._client

    def url(self, database: str = "test", **options: str) -> str:
        tail = "&".join(f"{key}={value}" for key, value in options.items())
        return f"mongodb://127.0.0.1:{self.port}/{database}" + (f"?{tail}" if tail else "")
