"""The daemon under test."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shlex
import socket
from pathlib import Path
from typing import Any, NamedTuple

from .server import ROOT, Server, ServerError

SANITIZER = re.compile(r"^.*(?:ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:).*$", re.MULTILINE)


class Response(NamedTuple):
    status: int
    headers: http.client.HTTPMessage  # names without regard to case
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


class Gatherd(Server):
    """gatherd on a configuration, which is given as YAML or as the path of a file.

    A YAML without `server:` gets one that listens on 127.0.0.1:${PORT} with one thread. The environment that the
    configuration sees is ours with `env` on top; ${PORT}, ${ADMIN} (a second free port) and ${FOLDER} (the scratch
    folder) are always in it. `files` are written beside the configuration. Its log goes to `log_path`, or to our own
    output with `log_here`. The program is $GATHERD, else build/gatherd.
    """

    name = "gatherd"
    stop_timeout = 60.0

    def __init__(
        self,
        config: str | Path,
        *,
        env: dict[str, str] | None = None,
        files: dict[str, str | bytes] | None = None,
        threads: int = 1,
        port: int | None = None,
        program: str | Path | None = None,
        log_here: bool = False,
    ) -> None:
        super().__init__()
        self.log_here = log_here
        self.program = Path(program or os.environ.get("GATHERD") or ROOT / "build/gatherd").resolve()
        self.port = self.take_port() if port is None else port
        self.admin_port = self.take_port()
        self.env = {"PORT": str(self.port), "ADMIN": str(self.admin_port), "FOLDER": str(self.folder)} | (env or {})
        for name, content in (files or {}).items():
            self.write(name, content)
        if isinstance(config, Path):
            self.config_path = config.resolve()
        else:
            self.config_path = self.folder / "gatherd.yaml"
            self.configure(config, threads=threads)

    def write(self, name: str, content: str | bytes) -> Path:
        """Put a file into the scratch folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def configure(self, config: str, *, threads: int = 1) -> None:
        """Replace the configuration's text. A server of ours gives requests time: the machine may be busy."""
        if not re.search(r"^server\s*:", config, re.MULTILINE):
            config = f'server: {{ listen: [ "127.0.0.1:${{PORT}}" ], threads: {threads}, request_timeout: 60s }}\n{config}'
        self.write("gatherd.yaml", config)

    # -- its life --

    def command(self) -> list[str]:
        return [str(self.program), "run", "-c", str(self.config_path)]

    def environment(self) -> dict[str, str]:
        return dict(os.environ) | self.env

    def ready(self) -> bool:
        """/-/live answers, on whichever of the two ports has it."""
        for port in (self.port, self.admin_port):
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.request("GET", "/-/live", port=port, timeout=5).status == 200:
                    return True
        return False

    def stop(self) -> int | None:
        """SIGTERM; anything but a clean end without a sanitizer's word is an error."""
        if self.process is None:
            return None
        code = super().stop()
        if found := SANITIZER.search(self.log()):
            raise ServerError(f"gatherd: {found[0]}\n{self.log_tail(200)}")
        if code != 0:
            raise ServerError(f"gatherd ended with {code}:\n{self.log_tail()}")
        return code

    # -- talking to it --

    def request(
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        body: bytes | str | None = None,
        json_body: Any = None,
        timeout: float = 30,
        port: int | None = None,
    ) -> Response:
        """One request on a connection of its own."""
        headers = dict(headers or {})
        if json_body is not None:
            body = json.dumps(json_body)
            headers.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=timeout)
        try:
            connection.request(method, path, body=body.encode() if isinstance(body, str) else body, headers=headers)
            reply = connection.getresponse()
            return Response(reply.status, reply.headers, reply.read())
        finally:
            connection.close()

    def get(self, path: str, **options: Any) -> Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> Response:
        return self.request("POST", path, **options)

    def head(self, path: str, **options: Any) -> Response:
        return self.request("HEAD", path, **options)

    def connection(self, timeout: float = 30) -> http.client.HTTPConnection:
        """A kept connection."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def connect(self, unix: str | Path | None = None, timeout: float = 30) -> socket.socket:
        """A bare socket to it."""
        if unix is None:
            return socket.create_connection(("127.0.0.1", self.port), timeout)
        plain = socket.socket(socket.AF_UNIX)
        plain.settimeout(timeout)
        plain.connect(str(unix))
        return plain

    def raw(self, data: bytes, *, unix: str | Path | None = None, timeout: float = 10, shutdown: bool = False) -> bytes:
        """Send bytes; return all that comes back until the connection ends or nothing comes for `timeout` seconds."""
        with self.connect(unix, timeout) as plain:
            received = b""
            with contextlib.suppress(TimeoutError, ConnectionError):
                plain.sendall(data)
                if shutdown:
                    plain.shutdown(socket.SHUT_WR)
                while chunk := plain.recv(65536):
                    received += chunk
            return received

    def log_lines(self) -> list[dict[str, str]]:
        """Its log so far, a dict of logfmt's keys a line; lines that are not logfmt are left out, and so is a last one
        of which a part is there: the kernel shows a file page by page while it is written."""
        lines = []
        for line in self.log().rpartition("\n")[0].splitlines():
            with contextlib.suppress(ValueError):
                pairs = [word.split("=", 1) for word in shlex.split(line)]
                if pairs and all(len(pair) == 2 for pair in pairs):
                    lines.append(dict(pairs))
        return lines
