"""A PostgreSQL of one's own, on a Unix socket and a port of 127.0.0.1."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import functools
import hashlib
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import quote

from .server import ROOT, Server, ServerError, wait_for

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    # Nothing here outlives the test.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    # In the data folder: a killed server leaves nothing in /dev/shm.
    "dynamic_shared_memory_type": "mmap",
    "shared_buffers": "64MB",
    "max_wal_size": "4GB",
    "log_line_prefix": "%m [%p] %q%a ",
}

CLIENTS = "backend_type = 'client backend' and pid <> pg_backend_pid()"


class SqlError(Exception):
    """What psql said."""


@functools.cache
def postgres_program(name: str) -> str:
    """A program of the newest version that Debian's packages have, else the one on the PATH, which is a script in Perl there: it
    takes twenty times as long as psql itself, which the tests ask thousands of times."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    path = str(found[-1]) if found else shutil.which(name)
    if path is None:
        raise ServerError(f"there is no PostgreSQL here ({name}): scripts/setup run")
    return path


def _user() -> str | None:
    """Who runs the server: PostgreSQL refuses to be root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _own(path: Path) -> None:
    """Give path to the server's user."""
    if user := _user():
        group = pwd.getpwnam(user).pw_gid
        subprocess.run(["chown", "-R", f"{user}:{group}", str(path)], check=True)


def _clean_environment() -> dict[str, str]:
    """Ours, without what would redirect libpq."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C.UTF-8"}


def _template() -> Path:
    """A fresh cluster, made once below build/: `data` and the superuser's `password`."""
    initdb = postgres_program("initdb")
    options = [
        "--username=postgres",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--auth-local=trust",
        "--auth-host=scram-sha-256",
        "--no-sync",
    ]
    version = subprocess.run([initdb, "--version"], check=True, capture_output=True, text=True).stdout
    name = "postgres-" + hashlib.sha256(repr((version, options)).encode()).hexdigest()[:12]
    template = ROOT / "build/tools" / name
    if template.exists():
        return template
    template.parent.mkdir(parents=True, exist_ok=True)
    with open(template.parent / f".{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if template.exists():
            return template
        # The server's user may not be able to reach build/: made elsewhere, and brought here.
        with (
            tempfile.TemporaryDirectory(prefix="gatherd-initdb-") as scratch,
            tempfile.TemporaryDirectory(prefix=".new-", dir=template.parent) as here,
        ):
            password = Path(scratch, "password")
            password.touch(0o600)
            password.write_text(secrets.token_hex(16))
            _own(Path(scratch))
            argv = [initdb, *options, f"--pwfile={password}", f"--pgdata={scratch}/data"]
            if user := _user():
                argv = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--", *argv]
            done = subprocess.run(argv, cwd=scratch, env=_clean_environment(), capture_output=True, text=True)
            if done.returncode != 0:
                raise ServerError(f"initdb failed:\n{done.stdout}{done.stderr}")
            fresh = Path(here, name)
            fresh.mkdir(mode=0o700)
            subprocess.run(
                ["cp", "-r", "--preserve=mode", f"{scratch}/data", f"{scratch}/password", str(fresh)], check=True
            )
            fresh.rename(template)
    return template


class Postgres(Server):
    """`settings` are lines of postgresql.conf on top of SETTINGS. Over TCP it asks for the password that is in `url()`;
    its Unix socket lies in a folder that only its user and root can enter, and asks for none."""

    name = "postgres"
    stop_signal = signal.SIGINT  # "fast": sessions are ended, the log is flushed

    def __init__(self, settings: dict[str, str] | None = None) -> None:
        super().__init__()
        self.port = self.take_port()
        self.data = self.folder / "data"
        self._fill()
        lines = SETTINGS | {"port": str(self.port), "unix_socket_directories": str(self.folder)} | (settings or {})
        with open(self.data / "postgresql.conf", "a") as conf:
            conf.writelines(f"{key} = '{value}'\n" for key, value in lines.items())
        _own(self.folder)

    def _fill(self) -> None:
        """The data folder, and the superuser's password."""
        template = _template()
        subprocess.run(["cp", "-r", "--preserve=mode", str(template / "data"), str(self.data)], check=True)
        self.password = (template / "password").read_text()

    def command(self) -> list[str]:
        return [postgres_program("postgres"), "-D", str(self.data)]

    def environment(self) -> dict[str, str]:
        return _clean_environment()

    def start(self) -> Postgres:
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        # SIGQUIT lets it end its own processes at once, where SIGKILL would leave them to notice.
        self._spawn(user=_user(), death="QUIT")
        self._wait_until_ready()
        return self

    def ready(self) -> bool:
        lines = self._pid_file()
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"

    def _pid_file(self) -> list[str]:
        with contextlib.suppress(OSError):
            return (self.data / "postmaster.pid").read_text().splitlines()
        return []

    def kill(self) -> None:
        """As a power cut; its System V segment (56 bytes, which tells a second server that the first lives) goes as
        well."""
        lines = self._pid_file() if self.running else []
        super().kill()
        if len(lines) >= 7 and re.fullmatch(r"\s*\d+\s+\d+\s*", lines[6]):
            ctypes.CDLL(None).shmctl(int(lines[6].split()[1]), 0, None)  # IPC_RMID

    def url(self, database: str = "postgres", *, user: str = "postgres", socket: bool = False, **options: str) -> str:
        """A libpq URL, over TCP or the Unix socket."""
        query = {"host": str(self.folder), "port": str(self.port)} | options if socket else options
        authority = f"{user}@" if socket else f"{user}:{self.password}@127.0.0.1:{self.port}"
        tail = "&".join(f"{key}={quote(value, safe='')}" for key, value in query.items())
        return f"postgresql://{authority}/{database}" + (f"?{tail}" if tail else "")

    def sql(self, text: str, database: str = "postgres") -> str:
        """Run statements with psql; the rows come back unaligned, a line each, columns separated by `|`."""
        done = subprocess.run(
            [postgres_program("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", self.url(database, socket=True), "-f", "-"],
            input=text,
            capture_output=True,
            text=True,
            env=_clean_environment(),
        )
        if done.returncode != 0:
            raise SqlError(done.stderr.strip())
        return done.stdout.rstrip("\n")

    def create_database(self, name: str) -> str:
        """A new database; returns its URL."""
        self.sql(f'create database "{name}"')
        return self.url(name)

    def backends(self, database: str | None = None) -> int:
        """How many client connections there are, apart from the one that asks."""
        where = f"and datname = '{database}'" if database else ""
        return int(self.sql(f"select count(*) from pg_stat_activity where {CLIENTS} {where}"))

    def terminate_backends(self) -> int:
        """End every client's connection, as an administrator would; returns how many there were."""
        return int(self.sql(f"select count(pg_terminate_backend(pid)) from pg_stat_activity where {CLIENTS}"))


class Standby(Postgres):
    """A hot standby of `primary`, which runs: it follows it until it is promoted."""

    name = "standby"

    def __init__(self, primary: Postgres, settings: dict[str, str] | None = None) -> None:
        self.primary = primary
        super().__init__(settings)

    def _fill(self) -> None:
        self.password = self.primary.password
        argv = [
            postgres_program("pg_basebackup"),
            f"--dbname={self.primary.url(socket=True)}",
            f"--pgdata={self.data}",
            "--checkpoint=fast",
            "--no-sync",
            "--write-recovery-conf",
        ]
        done = subprocess.run(argv, cwd=self.folder, env=_clean_environment(), capture_output=True, text=True)
        if done.returncode != 0:
            raise ServerError(f"pg_basebackup failed:\n{done.stdout}{done.stderr}")

    def ready(self) -> bool:
        lines = self._pid_file()
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() in ("ready", "standby") and self._answers()

    def _answers(self) -> bool:
        with contextlib.suppress(SqlError):
            return self.sql("select 1") == "1"
        return False

    def promote(self) -> None:
        """It is a primary from now on."""
        self.sql("select pg_promote()")
        wait_for(lambda: self.sql("select pg_is_in_recovery()") == "f", 60, "the standby to be promoted")

    def catch_up(self) -> None:
        """Wait until all that the primary has is here."""
        lsn = self.primary.sql("select pg_current_wal_lsn()")
        wait_for(lambda: self.sql(f"select pg_last_wal_replay_lsn() >= '{lsn}'") == "t", 60, "the standby to catch up")
