"""Ports that behave as a network does on its bad days."""

from __future__ import annotations

import contextlib
import select
import socket
import threading

from .server import Port


class BlackHole:
    """A port of a loopback address that swallows connections, as a machine without power does: its backlog is full, and
    nobody accepts."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.address = address
        self._family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._port = Port()
        self.port = self._port.number

    def __enter__(self) -> BlackHole:
        self._listener = socket.socket(self._family)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((self.address, self.port))
        self._listener.listen(0)
        self._filling: list[socket.socket] = []
        while True:
            client = socket.socket(self._family)
            self._filling.append(client)
            client.setblocking(False)
            client.connect_ex((self.address, self.port))
            if not select.select([], [client], [], 0.2)[1]:
                return self

    def __exit__(self, *_: object) -> None:
        for one in [*self._filling, self._listener]:
            one.close()
        self._port.release()


class Relay:
    """A port of 127.0.0.1 that leads to the port `to`, which can be changed: connections that there are stay where they
    are, as those to a moving address do."""

    def __init__(self, to: int) -> None:
        self.to = to
        self._port = Port()
        self.port = self._port.number
        self._ends: set[socket.socket] = set()

    def __enter__(self) -> Relay:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for one in [self._listener, *self._ends]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._port.release()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self.to))
                except OSError:
                    client.close()
                    continue
                self._ends |= {client, server}
                for one, other in ((client, server), (server, client)):
                    threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    @staticmethod
    def _carry(one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_WR)
