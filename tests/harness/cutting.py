"""A proxy before a PostgreSQL that loses an answer: the server has done it, and who asked never hears of it."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

from .postgres import Postgres


class CuttingProxy:
    """A context manager. `lose(b"COMMIT")`: the next answer whose command tag begins so is not passed on; the connection
    is cut there, or, with silent=True, nothing more is said on it, as if the server hung. `url` leads through it."""

    def __init__(self, server: Postgres) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._tag: bytes | None = None
        self._silent = False
        self.lost = threading.Event()
        self.syncs = 0  # that the server has answered
        self._ends = threading.Event()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]

    def url(self, database: str = "test") -> str:
        plain = self._server.url(database, sslmode="disable", gssencmode="disable")
        return plain.replace(f":{self._server.port}/", f":{self.port}/")

    def lose(self, tag: bytes, *, silent: bool = False) -> None:
        with self._lock:
            self._tag, self._silent = tag, silent
            self.lost.clear()

    def __enter__(self) -> CuttingProxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        with self._lock:
            open_sockets = [self._listener, *self._sockets]
        for one in open_sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._server.port))
                with self._lock:
                    self._sockets += [near, far]
                threading.Thread(target=self._asking, args=(near, far), daemon=True).start()
                threading.Thread(target=self._answering, args=(far, near), daemon=True).start()

    @staticmethod
    def _end(*ends: socket.socket) -> None:
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _asking(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := near.recv(65536):
                far.sendall(data)
        self._end(near, far)

    def _is_lost(self, kind: bytes, body: bytes) -> bool:
        with self._lock:
            self.syncs += kind == b"Z"
            if kind != b"C" or self._tag is None or not body.startswith(self._tag):
                return False
            self._tag = None
        self.lost.set()
        return True

    def _answering(self, far: socket.socket, near: socket.socket) -> None:
        """Message by message: what comes before the one that is lost is passed on."""
        received = b""
        with contextlib.suppress(OSError):
            while data := far.recv(65536):
                received += data
                while len(received) >= 5 and len(received) >= (size := 1 + struct.unpack("!I", received[1:5])[0]):
                    message, received = received[:size], received[size:]
                    if self._is_lost(message[:1], message[5:]):
                        if self._silent:
                            self._ends.wait()
                        self._end(far, near)
                        return
                    near.sendall(message)
        self._end(far, near)
