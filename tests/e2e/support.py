"""What the end-to-end tests share: looking at replies, speaking HTTP byte by byte, doing things at once, asking PostgreSQL what it runs."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from typing import Any, Callable, Iterable, Iterator, NamedTuple

from harness import Gatherd, Postgres
from harness.server import wait_for

__all__ = ["Reply", "Wire", "at_once", "good", "in_background", "problem", "request_line", "running_statements", "soon", "stopwatch", "wait_for"]

TITLES = {
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    413: "Content Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


def good(reply: Any, status: int = 200) -> Any:
    """The JSON of a reply that went well."""
    assert reply.status == status, f"{reply.status}: {reply.body!r}"
    assert reply.headers["Content-Type"] == "application/json"
    return json.loads(reply.body)


def problem(reply: Any, *statuses: int, step: str | None = None, code: str | None = None) -> dict[str, Any]:
    """The document of a reply that must be a problem (RFC 9457) of one of these statuses."""
    assert reply.status in statuses, f"{reply.status}: {reply.body!r}"
    assert reply.headers["Content-Type"] == "application/problem+json"
    document = json.loads(reply.body)
    assert document["type"] == "about:blank"
    assert document["status"] == reply.status
    assert document["title"] == TITLES.get(reply.status, document["title"]) and document["title"]
    assert document["instance"] == reply.headers["X-Request-Id"]
    assert document.get("outcome") in (None, "none", "partial", "unknown")
    if reply.status in (503, 429) and document.get("outcome") in (None, "none"):
        assert int(reply.headers["Retry-After"]) >= 1
    elif document.get("outcome") in ("partial", "unknown"):
        assert "Retry-After" not in reply.headers
    if reply.status == 405:
        assert reply.headers["Allow"]
    if step is not None:
        assert document["step"] == step
    if code is not None:
        assert document["code"] == code
    return document


# -- HTTP by hand --


class Reply(NamedTuple):
    status: int
    version: str
    headers: dict[str, str]  # names in title case; several fields of a name joined with ", "
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """A connection on which requests are written and replies are read by hand."""

    def __init__(self, daemon: Gatherd, *, unix: Any = None, port: int | None = None, timeout: float = 30) -> None:
        if port is None:
            self.socket = daemon.connect(unix, timeout)
        else:
            self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self._received = b""

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: Any) -> None:
        self.socket.close()

    def send(self, data: bytes | str) -> "Wire":
        self.socket.sendall(data.encode() if isinstance(data, str) else data)
        return self

    def get(self, path: str, *fields: str, version: str = "1.1") -> "Wire":
        return self.send("\r\n".join([f"GET {path} HTTP/{version}", "Host: test", *fields, "", ""]))

    def post(self, path: str, body: bytes | str, *fields: str, type: str = "application/json") -> "Wire":
        body = body.encode() if isinstance(body, str) else body
        head = "\r\n".join([f"POST {path} HTTP/1.1", "Host: test", f"Content-Type: {type}", f"Content-Length: {len(body)}", *fields, "", ""])
        return self.send(head.encode() + body)

    def _more(self) -> bool:
        chunk = self.socket.recv(65536)
        self._received += chunk
        return bool(chunk)

    def reply(self, *, head_only: bool = False) -> Reply:
        """The next reply, whole; an interim 100 is a reply of its own. head_only: it answers a HEAD."""
        while b"\r\n\r\n" not in self._received:
            if not self._more():
                raise ConnectionError(f"the connection ended after {self._received!r}")
        head, _, rest = self._received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status, _ = first.split(" ", 2)
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            name, value = name.strip().title(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        bodyless = head_only or status[0] == "1" or status in ("204", "304")
        length = 0 if bodyless else int(headers["Content-Length"])
        self._received = rest
        while len(self._received) < length:
            if not self._more():
                raise ConnectionError("the connection ended in a body")
        body, self._received = self._received[:length], self._received[length:]
        return Reply(int(status), version, headers, body)

    def ended(self, timeout: float = 10) -> bool:
        """Does the server close, with nothing more said?"""
        self.socket.settimeout(timeout)
        with contextlib.suppress(ConnectionResetError):
            while not self._received and self._more():
                pass
        return not self._received


# -- time --


class Elapsed:
    seconds = 0.0


@contextlib.contextmanager
def stopwatch() -> Iterator[Elapsed]:
    """`with stopwatch() as took: …` leaves the time in took.seconds."""
    took, begin = Elapsed(), time.monotonic()
    try:
        yield took
    finally:
        took.seconds = time.monotonic() - begin


def quickest(call: Callable[[], Any], below: float, tries: int = 20) -> Any:
    """Call until one call takes less than `below` seconds, and return what that one did. A busy machine can delay any call, but
    not all of them; what waits for something else is never that quick."""
    for _ in range(tries):
        with stopwatch() as took:
            result = call()
        if took.seconds < below:
            return result
    raise AssertionError(f"not one of {tries} calls took less than {below} s")


def soon(call: Callable[[], Any], accept: Callable[[Any], bool] = lambda reply: reply.status == 200, timeout: float = 20) -> Any:
    """Call until the answer is accepted, and return it; what it says while it can't be reached counts as no."""
    last: Any = None

    def attempt() -> Any:
        nonlocal last
        with contextlib.suppress(ConnectionError):
            last = call()
            return last if accept(last) else None
        return None

    try:
        return wait_for(attempt, timeout)
    except TimeoutError:
        raise AssertionError(f"still not after {timeout} s; the last was {last!r}") from None


# -- doing things at once --


class Background:
    """A call on a thread of its own."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._result: Any = None
        self._error: BaseException | None = None
        try:
            self._result = self._call()
        except BaseException as error:
            self._error = error

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def result(self, timeout: float = 60) -> Any:
        self._thread.join(timeout)
        assert not self._thread.is_alive(), f"no end after {timeout} s"
        if self._error is not None:
            raise self._error
        return self._result


def in_background(call: Callable[[], Any]) -> Background:
    return Background(call)


def at_once(calls: Iterable[Callable[[], Any]], timeout: float = 60) -> list[Any]:
    """Make all calls at once; their results in the order given."""
    started = [Background(call) for call in calls]
    return [one.result(timeout) for one in started]


# -- PostgreSQL --


def running_statements(postgres: Postgres, part: str) -> int:
    """How many statements run at this moment whose text holds `part`."""
    mark = part.replace("'", "''")
    return int(
        postgres.sql(
            "select count(*) from pg_stat_activity where state = 'active' and pid <> pg_backend_pid() "
            f"and backend_type = 'client backend' and position('{mark}' in query) > 0"
        )
    )


def request_line(daemon: Gatherd, **wanted: str) -> dict[str, str]:
    """The newest line of the log about a request that has these values; waited for."""

    def find() -> dict[str, str] | None:
        for line in reversed(daemon.log_lines()):
            if line.get("msg") == "request" and all(line.get(key) == value for key, value in wanted.items()):
                return line
        return None

    return wait_for(find, 10, f"a log line with {wanted}")
