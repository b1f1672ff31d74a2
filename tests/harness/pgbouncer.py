"""A pgbouncer of one's own before a PostgreSQL of the harness, on a port of 127.0.0.1."""

from __future__ import annotations

import os
import shutil
import socket

from .postgres import Postgres, _own, _user
from .server import Server, ServerError


class PgBouncer(Server):
    """`settings` are lines of pgbouncer.ini. It asks for no password, and speaks to PostgreSQL as its superuser."""

    name = "pgbouncer"

    def __init__(self, postgres: Postgres, mode: str, **settings: str) -> None:
        super().__init__()
        self.port = self.take_port()
        lines = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(self.port),
            "unix_socket_dir": "",
            "auth_type": "any",
            "pool_mode": mode,
            "default_pool_size": "5",
        } | settings
        with open(self.folder / "pgbouncer.ini", "w") as ini:
            ini.write(f"[databases]\n* = host={postgres.folder} port={postgres.port} user=postgres\n[pgbouncer]\n")
            ini.writelines(f"{key} = {value}\n" for key, value in lines.items())
        _own(self.folder)

    def command(self) -> list[str]:
        program = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin")
        if program is None:
            raise ServerError("there is no pgbouncer here: scripts/setup test")
        return [program, str(self.folder / "pgbouncer.ini")]

    def start(self) -> PgBouncer:
        self._spawn(user=_user())
        self._wait_until_ready()
        return self

    def ready(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def url(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"
