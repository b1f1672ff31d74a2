"""What all servers of the harness share: a scratch folder, a port nobody else takes, a process that never outlives us.

A process gets a death signal from the kernel when the thread that started it ends, however it ends: start servers from
the main thread.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Below the kernel's range for outgoing connections, so that none of those takes a port between our look and the
# server's bind.
PORTS = range(20000, 32000)


class ServerError(Exception):
    """A server did not start, died, or did not stop as it should."""


class Port:
    """A free TCP port of 127.0.0.1, `number`, this process's own until `release`: an abstract Unix socket of that name
    is the lock, for every process of the machine that uses this class."""

    def __init__(self) -> None:
        for number in random.sample(PORTS, len(PORTS)):
            self.number = number
            self._lock = socket.socket(socket.AF_UNIX)
            try:
                self._lock.bind(f"\0gatherd-port-{number}")
                if port_is_free(number):
                    return
            except OSError:
                pass
            self._lock.close()
        raise ServerError("no free port")

    def release(self) -> None:
        self._lock.close()


def port_is_free(number: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", number))
        except OSError:
            return False
    return True


def descendants(pid: int) -> list[int]:
    """The processes below pid."""
    found = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in children.read_text().split():
                found += [int(child), *descendants(int(child))]
    return found


def running(pid: int) -> bool:
    """Does pid run? A zombie doesn't."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def frozen(pid: int) -> bool:
    """Has every thread of pid stopped? A stop signal reaches them one after another."""
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):
            if stat.read_text().rpartition(")")[2].split()[0] not in "TtZX":
                return False
    return True


class Server:
    """One server process. A context manager: started on entry, stopped and its folder removed on exit."""

    name = "server"
    stop_signal = signal.SIGTERM
    stop_timeout = 20.0
    start_timeout = 60.0

    _alive: set[Server] = set()

    def __init__(self) -> None:
        self.folder = Path(tempfile.gettempdir(), f"gatherd-{self.name}-{secrets.token_hex(6)}")
        self._ports: list[Port] = []
        self.log_path = self.folder / "log"
        self.log_here = False  # to our own stderr instead of log_path
        self.process: subprocess.Popen | None = None
        self._alive.add(self)  # first: a signal may come at any time
        self.folder.mkdir(mode=0o700)

    def take_port(self) -> int:
        """A port that is ours until the end."""
        self._ports.append(Port())
        return self._ports[-1].number

    # -- what a kind of server says of itself --

    def command(self) -> list[str]:
        raise NotImplementedError

    def ready(self) -> bool:
        """Does it answer yet? Asked again and again while it starts."""
        raise NotImplementedError

    def environment(self) -> dict[str, str] | None:
        return None

    # -- its life --

    @property
    def pid(self) -> int:
        if self.process is None:
            raise ServerError(f"{self.name} is not running")
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> Server:
        self._spawn()
        self._wait_until_ready()
        return self

    def _spawn(self, *, user: str | None = None, death: str = "KILL") -> None:
        if self.process is not None:
            raise ServerError(f"{self.name} runs already")
        argv = ["setpriv", f"--pdeathsig={death}"]
        if user is not None:
            argv += [f"--reuid={user}", f"--regid={user}", "--init-groups"]
        with contextlib.ExitStack() as stack:
            log = None if self.log_here else stack.enter_context(open(self.log_path, "ab"))
            # A session of its own: a Ctrl-C at the terminal is for us alone, and we stop it in our order.
            self.process = subprocess.Popen(
                [*argv, "--", *self.command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment(),
                cwd=self.folder,
                start_new_session=True,
            )

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self.start_timeout
        pause = 0.005
        while not self.ready():
            if not self.running:
                code, self.process = self.process.poll() if self.process else None, None
                raise ServerError(f"{self.name} ended with {code} while it started:\n{self.log_tail()}")
            if time.monotonic() > deadline:
                self.kill()
                raise ServerError(f"{self.name} did not answer within {self.start_timeout:.0f} s:\n{self.log_tail()}")
            time.sleep(pause)
            pause = min(pause * 1.3, 0.1)

    def stop(self) -> int | None:
        """Stop it in good order; returns its exit code. Past `stop_timeout` it is killed, and that is an error."""
        if self.process is None:
            return None
        self.resume()
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(self.stop_signal)
        try:
            code = self.process.wait(self.stop_timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerError(
                f"{self.name} did not stop within {self.stop_timeout:.0f} s:\n{self.log_tail()}"
            ) from None
        self.process = None
        return code

    def kill(self) -> None:
        """End it at once, with all of its processes, as a power cut would: no farewell to anybody."""
        if self.process is None:
            return
        pids = []
        if self.running:
            os.kill(self.process.pid, signal.SIGSTOP)  # it starts no more of them while we look
            pids = [self.process.pid, *descendants(self.process.pid)]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.process = None
        wait_for(lambda: not any(map(running, pids)), 10, f"the processes of {self.name} to end")

    def restart(self) -> None:
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze it: its connections stay open and nothing answers."""
        pids: list[int] = []
        while more := [pid for pid in (self.pid, *descendants(self.pid)) if pid not in pids]:  # it may fork before it stops
            for pid in more:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            pids += more
            wait_for(lambda: all(map(frozen, pids)), 10, f"the threads of {self.name} to stop")

    def resume(self) -> None:
        for pid in [*descendants(self.pid), self.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def close(self) -> None:
        """Stop it and remove its folder."""
        try:
            self.stop()
        finally:
            self.discard()

    def discard(self) -> None:
        """Whatever its state: nothing of it is left after this."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        for port in self._ports:
            port.release()
        self._alive.discard(self)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.discard()
            raise

    def __exit__(self, kind: type | None, *_) -> None:
        if kind is None:
            self.close()
        else:  # what went wrong first is what the reader wants to see
            with contextlib.suppress(ServerError):
                self.stop()
            self.discard()

    # -- looking at it --

    def log(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return self.log_path.read_text(errors="replace")
        return ""

    def log_tail(self, lines: int = 40) -> str:
        return "\n".join(self.log().splitlines()[-lines:])

    def cpu_us(self) -> int:
        """User and system time so far, with that of its processes, in microseconds (in steps of 10 ms)."""
        ticks = 0
        for pid in [self.pid, *descendants(self.pid)]:
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
        return ticks * 1_000_000 // os.sysconf("SC_CLK_TCK")

    def status(self, field: str) -> int:
        """A number of /proc/PID/status, such as VmRSS (KiB) or Threads."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            key, _, value = line.partition(":")
            if key == field:
                return int(value.split()[0])
        raise KeyError(field)

    @property
    def threads(self) -> int:
        return self.status("Threads")

    @property
    def rss_kib(self) -> int:
        return self.status("VmRSS")

    @property
    def fds(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))


def wait_for(condition: Callable[[], object], timeout: float = 10, what: str = "the condition"):
    """Ask until the answer is true, and return it."""
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout} s for {what}")
        time.sleep(0.01)
    return answer


@atexit.register
def _discard_all() -> None:
    for server in list(Server._alive):
        server.discard()
