"""A service manager for a daemon under test: the sockets and variables of systemd, without systemd.

    with Manager() as manager:
        daemon = ManagedGatherd(YAML, manager=manager)
        manager.await_text("READY=1")

It keeps what the daemon stores, and passes it to the next one that is started.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from .gatherd import Gatherd

# Becomes the daemon, with the descriptors that the manager passes from 3 on and LISTEN_PID its own.
BECOME = """
import os, socket, sys
plain = socket.socket(socket.AF_UNIX)
plain.connect(sys.argv[1])
names, fds, _, _ = socket.recv_fds(plain, 65536, 256)
plain.close()
high = [os.dup2(fd, 300 + i) for i, fd in enumerate(fds)]
os.closerange(3, 300)
for i, fd in enumerate(high):
    os.dup2(fd, 3 + i, inheritable=True)
    os.close(fd)
if fds:
    os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(fds)), "LISTEN_FDNAMES": names.decode().strip()}
os.execv(sys.argv[2], sys.argv[2:])
"""


class Manager:
    """Receives the datagrams of one daemon at a time."""

    def __init__(self) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="gatherd-manager-")
        self.path = str(Path(self.folder.name, "notify"))
        self.pass_path = str(Path(self.folder.name, "pass"))
        self.texts: list[str] = []  # each datagram's, in order
        self.times: list[float] = []
        self.stored: dict[str, socket.socket] = {}
        self.passed: list[tuple[str, socket.socket]] = []  # by socket units
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(self.path)
        self._pass = socket.socket(socket.AF_UNIX)
        self._pass.bind(self.pass_path)
        self._pass.listen()
        self._ending = False
        self._threads = [threading.Thread(target=f, daemon=True) for f in (self._receive, self._hand_over)]

    def __enter__(self) -> Manager:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._ending = True
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as plain:
            plain.sendto(b"", self.path)
        with contextlib.suppress(OSError):
            self._pass.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for kept in [*self.stored.values(), *(s for _, s in self.passed), self._notify, self._pass]:
            kept.close()
        self.folder.cleanup()

    def _receive(self) -> None:
        while True:
            data, fds, _, _ = socket.recv_fds(self._notify, 65536, 16)
            if self._ending:
                return
            text = data.decode()
            lines = dict(line.split("=", 1) for line in text.splitlines())
            if "FDSTORE" in lines and fds:
                self.stored[lines["FDNAME"]] = socket.socket(fileno=fds[0])
            if "FDSTOREREMOVE" in lines and (gone := self.stored.pop(lines["FDNAME"], None)):
                gone.close()
            self.times.append(time.monotonic())
            self.texts.append(text)

    def _hand_over(self) -> None:
        while not self._ending:
            try:
                plain, _ = self._pass.accept()
            except OSError:
                return
            with plain:
                sockets = [*self.passed, *self.stored.items()]
                names = ":".join(name for name, _ in sockets) or " "
                socket.send_fds(plain, [names.encode()], [s.fileno() for _, s in sockets])

    def await_text(self, start: str, seconds: float = 60) -> str:
        """The first text that begins so, of those that came since `forget`."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for text in self.texts:
                if text.startswith(start):
                    return text
            time.sleep(0.01)
        raise AssertionError(f"no {start}: {self.texts}")

    def forget(self) -> None:
        self.texts.clear()
        self.times.clear()

    def listen(self, name: str, family: int = socket.AF_INET, address: Any = ("127.0.0.1", 0)) -> Any:
        """A socket unit's socket, which the next daemon is passed; returns its address."""
        plain = socket.socket(family)
        plain.bind(address)
        plain.listen(1024)
        self.passed.append((name, plain))
        return plain.getsockname()


class ManagedGatherd(Gatherd):
    """A daemon that `manager` has started. `manager_env` is on top of the environment that systemd would give it."""

    def __init__(self, config: str | Path, *, manager: Manager, manager_env: dict[str, str] | None = None, **options: Any) -> None:
        self.manager = manager
        options["env"] = {"NOTIFY_SOCKET": manager.path} | (manager_env or {}) | options.get("env", {})
        super().__init__(config, **options)

    def command(self) -> list[str]:
        return [sys.executable, "-c", BECOME, self.manager.pass_path, *super().command()]

    def environment(self) -> dict[str, str]:
        return {k: v for k, v in super().environment().items() if k != "NOTIFY_SOCKET" or v} | {"PYTHONDONTWRITEBYTECODE": "1"}
