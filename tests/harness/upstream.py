"""An HTTP service that misbehaves as its table says: it writes its answers byte by byte, and remembers what it was asked."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple


class Asked(NamedTuple):
    method: str
    target: str  # as it came
    headers: list[tuple[str, str]]  # names in lower case
    body: bytes
    nth: int  # on its connection, from 1

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]

    def header(self, name: str) -> str | None:
        """The one value of a header; None: it did not come."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) < 2, f"{name} came {len(values)} times"
        return values[0] if values else None


class Peer:
    """The other end of one connection. It is gone when a call on it raises OSError."""

    def __init__(self, plain: socket.socket) -> None:
        self.socket = plain
        self._received = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def head(self, *fields: str, status: int = 200) -> None:
        self.send("\r\n".join([f"HTTP/1.1 {status} Whatever", *fields, "", ""]).encode("latin-1"))

    def reply(self, body: bytes | str, *fields: str, status: int = 200, length: int | None = None, bodyless: bool = False) -> None:
        """A whole answer; `length` is what it says that its length is; bodyless: it answers a HEAD."""
        body = body.encode() if isinstance(body, str) else body
        head = "\r\n".join([f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body) if length is None else length}", *fields, "", ""])
        self.send(head.encode("latin-1") + (b"" if bodyless else body))

    def chunk(self, data: bytes) -> None:
        self.send(b"%x\r\n%b\r\n" % (len(data), data))

    def reset(self) -> None:
        """Close with an RST."""
        with contextlib.suppress(OSError):  # a Unix socket has no such thing
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def wait_until_it_leaves(self) -> None:
        with contextlib.suppress(OSError):
            while self.socket.recv(65536):
                pass

    def _need(self, enough: Callable[[], bool]) -> None:
        while not enough():
            chunk = self.socket.recv(65536)
            if not chunk:
                raise ConnectionError("it left")
            self._received += chunk

    def next(self, nth: int) -> Asked:
        """Its next request. Raises OSError when it has left."""
        self._need(lambda: b"\r\n\r\n" in self._received)
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        length = int(dict(headers).get("content-length", "0"))
        self._need(lambda: len(self._received) >= length)
        body, self._received = self._received[:length], self._received[length:]
        return Asked(method, target, headers, body, nth)


Answer = Callable[[Peer, Asked], object]  # returning False ends the connection


class Upstream:
    """A context manager: it listens on a free port of 127.0.0.1, or on the Unix socket `unix`, until it is left.

    `answers` has one for each path, without the query; a list of them is for the first, the second, … request, its last
    one for all that follow. What has none gets `otherwise`, else a 404.
    """

    def __init__(self, answers: dict[str, Answer | list[Answer]], *, otherwise: Answer | None = None, unix: Path | None = None) -> None:
        self.answers = answers
        self.otherwise = otherwise or nothing_there
        self.asked: list[Asked] = []
        self.count: Counter[str] = Counter()
        self.left: Counter[str] = Counter()  # the peer was gone before it had its answer
        self.connections = 0
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._ends = False
        if unix is None:
            self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(unix))
            self._listener.listen(256)

    @property
    def port(self) -> int:
        return self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def of(self, path: str) -> list[Asked]:
        """The requests for a path, in their order."""
        with self._lock:
            return [asked for asked in self.asked if asked.path == path]

    def last(self, path: str) -> Asked:
        return self.of(path)[-1]

    # -- its life --

    def __enter__(self) -> Upstream:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._ends = True
            open_sockets = [self._listener, *self._open]
        for plain in open_sockets:
            with contextlib.suppress(OSError):
                plain.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        self._listener.close()
        assert not any(thread.is_alive() for thread in self._threads)

    def _start(self, run: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=run, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = self._listener.accept()
                with self._lock:
                    if self._ends:
                        plain.close()
                        return
                    self.connections += 1
                    self._open.add(plain)
                self._start(self._serve, plain)

    def _serve(self, plain: socket.socket) -> None:
        try:
            with contextlib.suppress(OSError), plain:
                self._converse(Peer(plain))
        finally:
            with self._lock:
                self._open.discard(plain)

    def _converse(self, peer: Peer) -> None:
        nth = 0
        goes_on: object = True
        while goes_on is not False:
            nth += 1
            asked = peer.next(nth)
            answer = self._note(asked)
            try:
                goes_on = answer(peer, asked)
            except OSError:
                with self._lock:
                    self.left[asked.path] += 1
                raise

    def _note(self, asked: Asked) -> Answer:
        with self._lock:
            self.asked.append(asked)
            self.count[asked.path] += 1
            n = self.count[asked.path]
            answer = self.answers.get(asked.path, self.otherwise)
        return answer[min(n, len(answer)) - 1] if isinstance(answer, list) else answer


# -- answers --

JSON = "Content-Type: application/json"
CHUNKED = "Transfer-Encoding: chunked"


def says(body: bytes | str, *fields: str, status: int = 200, length: int | None = None) -> Answer:
    """A whole answer, as Peer.reply has it."""
    return lambda peer, asked: peer.reply(
        body, *(fields or (JSON,)), status=status, length=length, bodyless=asked.method == "HEAD" or status in (204, 304)
    )


def writes(data: bytes) -> Answer:
    """These bytes, and the end of the connection."""

    def answer(peer: Peer, _: Asked) -> bool:
        peer.send(data)
        return False

    return answer


def resets(data: bytes = b"") -> Answer:
    """These bytes, seen by the peer, and an RST."""

    def answer(peer: Peer, _: Asked) -> bool:
        if data:
            peer.send(data)
            time.sleep(0.03)
        peer.reset()
        return False

    return answer


def hangs(data: bytes = b"") -> Answer:
    """These bytes, then nothing until the peer leaves."""

    def answer(peer: Peer, asked: Asked) -> None:
        peer.send(data)
        peer.wait_until_it_leaves()
        raise ConnectionError("it left")

    return answer


def slowly(seconds: float, answer: Answer) -> Answer:
    def later(peer: Peer, asked: Asked) -> object:
        time.sleep(seconds)
        return answer(peer, asked)

    return later


def trickles(data: bytes, pause: float) -> Answer:
    """These bytes, one at a time."""

    def answer(peer: Peer, _: Asked) -> bool:
        for byte in data:
            peer.send(bytes([byte]))
            time.sleep(pause)
        return False

    return answer


def streams(head: bytes, pieces: Callable[[], Iterator[bytes]]) -> Answer:
    """A head, then the pieces until they end or the peer leaves."""

    def answer(peer: Peer, _: Asked) -> bool:
        peer.send(head)
        for piece in pieces():
            peer.send(piece)
        return False

    return answer


def redirects(where: str, status: int = 302) -> Answer:
    return says("", f"Location: {where}", status=status)


def echoes(peer: Peer, asked: Asked) -> None:
    """What was asked, as JSON."""
    peer.reply(json.dumps({"method": asked.method, "target": asked.target, "body": asked.body.decode()}), JSON)


def nothing_there(peer: Peer, asked: Asked) -> None:
    peer.reply('{"word":"hush"}', JSON, status=404, bodyless=asked.method == "HEAD")
