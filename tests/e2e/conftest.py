"""Fixtures of the end-to-end tests: real servers with known data (data.py), and a factory of daemons.

    def test_one(gatherd):
        daemon = gatherd('''
            sources: { pg: { postgres: "${PG}" } }
            endpoints:
              "GET /customers/{id}": …
        ''')
        assert daemon.get("/customers/1").status == 200

In a configuration ${PG} and ${PG_SOCKET} are the database `test` of the PostgreSQL over TCP and over its Unix socket,
${MONGO} that of the MongoDB. `module("name")` is the path of a handlers' module built of modules/name.c.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import data  # noqa: E402
from harness import Gatherd, Mongo, Postgres  # noqa: E402

# The server's own ideas about how values look; what gatherd answers must not depend on them.
AWKWARD = {
    "timezone": "Asia/Kathmandu",
    "datestyle": "sql, dmy",
    "intervalstyle": "sql_standard",
    "bytea_output": "escape",
}


def pytest_configure() -> None:
    os.environ["MONGOC_DISABLE_SHM"] = "1"  # daemons that are killed would leave files in /dev/shm
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a program that crashes is seen without a file of its memory
    # A SIGTERM is an ordinary end: fixtures are torn down, folders removed.
    with contextlib.suppress(ValueError):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


def _start_postgres() -> Iterator[Postgres]:
    with Postgres(AWKWARD) as server:
        data.load_postgres(server)
        yield server


def _start_mongo() -> Iterator[Mongo]:
    with Mongo() as server:
        data.load_mongo(server)
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL that all tests of this worker share: read it, write only to tables of your own, leave it running."""
    yield from _start_postgres()


@pytest.fixture(scope="session")
def mongo() -> Iterator[Mongo]:
    """A MongoDB that all tests of this worker share, likewise."""
    yield from _start_mongo()


@pytest.fixture
def private_postgres() -> Iterator[Postgres]:
    """A PostgreSQL with the same data for one test, which may stop, kill, pause and restart it."""
    yield from _start_postgres()


@pytest.fixture
def private_mongo() -> Iterator[Mongo]:
    """A MongoDB with the same data for one test, likewise."""
    yield from _start_mongo()


def _factory(request: pytest.FixtureRequest) -> Iterator[Callable[..., Gatherd]]:
    with contextlib.ExitStack() as stack:

        def run(
            config: str | Path,
            *,
            postgres: Postgres | None = None,
            mongo: Mongo | None = None,
            start: bool = True,
            **options,
        ) -> Gatherd:
            text = config.read_text() if isinstance(config, Path) else config
            env = {}
            if "${PG" in text:
                server = postgres or request.getfixturevalue("postgres")
                env |= {"PG": server.url("test"), "PG_SOCKET": server.url("test", socket=True)}
            if "${MONGO" in text:
                env["MONGO"] = (mongo or request.getfixturevalue("mongo")).url("test")
            env |= options.pop("env", {})
            daemon = Gatherd(config if isinstance(config, Path) else textwrap.dedent(config), env=env, **options)
            stack.callback(daemon.discard)
            stack.callback(
                lambda: print(daemon.log_tail(100), file=sys.stderr)
            )  # pytest shows it where the test failed
            stack.callback(daemon.stop)
            if start:
                daemon.start()
            return daemon

        yield run


@pytest.fixture
def gatherd(request: pytest.FixtureRequest) -> Iterator[Callable[..., Gatherd]]:
    """`gatherd(config, postgres=, mongo=, env=, files=, threads=, start=)`: a running daemon, on the shared servers
    unless others are given. When the test ends it must stop cleanly, with exit code 0 and nothing from a sanitizer."""
    yield from _factory(request)


@pytest.fixture(scope="module")
def module_gatherd(request: pytest.FixtureRequest) -> Iterator[Callable[..., Gatherd]]:
    """The same for daemons that a module's tests share."""
    yield from _factory(request)


@pytest.fixture(scope="session")
def module(tmp_path_factory: pytest.TempPathFactory, program: Path) -> Callable[..., Path]:
    """`module("name")`: the path of a handlers' module, built of modules/name.c; `module("name", text)`: of that text.
    More arguments are the compiler's; include= is where gatherd.h is. Under a sanitizer the module has it, too."""
    root = Path(__file__).resolve().parents[2]
    built: dict[tuple[str, ...], Path] = {}
    sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"] if b"__asan_init" in program.read_bytes() else []

    def build(name: str, text: str | None = None, *flags: str, include: Path = root / "include") -> Path:
        key = (name, text or "", str(include), *flags)
        if key not in built:
            folder = tmp_path_factory.mktemp(f"module-{name}")
            source = Path(__file__).resolve().parent / "modules" / f"{name}.c"
            if text is not None:
                source = folder / f"{name}.c"
                source.write_text(textwrap.dedent(text))
            out = folder / f"{name}.so"
            warnings = ["-Wall", "-Wextra", "-Werror"]
            command = ["cc", "-shared", "-fPIC", "-g", "-fno-omit-frame-pointer", *warnings, *sanitize, f"-I{include}", *flags]
            done = subprocess.run([*command, "-o", out, source], capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, done.stderr
            built[key] = out
        return built[key]

    return build


@pytest.fixture(scope="session")
def program() -> Path:
    """The daemon's binary, for tests of its command line."""
    return Path(os.environ.get("GATHERD") or Path(__file__).resolve().parents[2] / "build/gatherd").resolve()
