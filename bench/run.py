"""Measure gatherd beside peer.py: the same answers from the same databases.

The two take turns in one run; the table shows the medians of the rounds. CPU is the server's own user and system time a
request; requests/s and p99 are wrk's, which shares the machine with both databases.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
HERE = ROOT / "bench"
sys.path.insert(0, str(ROOT / "tests"))

from harness import Gatherd, Mongo, Postgres, Server, ServerError  # noqa: E402

KEYS = 10000
ORDER = {"customer": 4711, "total": 12.5}


class Case(NamedTuple):
    title: str
    path: str
    keyed: bool
    goal: int | None = None  # gatherd's CPU a request is to be at most 1/goal of the peer's
    of: str = ""  # … and at most `times` its own of this other case
    times: float = 0
    method: str = "GET"
    body: object = None


CASES = {
    "hello": Case("constant JSON", "/hello", False, 4),
    "pg": Case("one PostgreSQL read by key", "/pg/", True, 6),
    "pg20": Case("20 PostgreSQL reads gathered", "/pg20/", True, 35),
    "mongo": Case("one MongoDB read", "/mongo/", True, 6),
    "pair": Case("PostgreSQL + MongoDB gathered", "/pair/", True, 6),
    "http": Case("one HTTP call", "/http", False, of="hello", times=6),
    "all": Case("PostgreSQL + MongoDB + HTTP", "/all/", True),
    "reads": Case("two reads of 100 rows", "/reads/", True),
    "join": Case("the same, joined", "/join/", True, of="reads", times=1.5),
    "cached": Case("cached endpoint", "/cached", False, of="hello", times=1.3),
    "cached-key": Case("cached endpoint, by key", "/cached/", True),
    "insert": Case("one INSERT … RETURNING", "/orders", False, 10, method="POST", body=ORDER),
    "update": Case("one UPDATE … RETURNING by key", "/stock/", True, 10, method="PUT", body={"pieces": 7}),
    "bulk": Case("a bulk insert of 1,000 rows", "/bulk", False, 10, method="POST", body=[ORDER] * 1000),
}


class TaskCase(NamedTuple):
    title: str
    unit: str
    below: float | None = None  # gatherd's figure is to be


TASK_CASES = {
    "spawn_ns": TaskCase("spawn, await and end a task", "ns", 150),
    "switch_ns": TaskCase("wake another and suspend, there and back", "ns"),
    "boost_ns": TaskCase("  Boost.Context alone, there and back", "ns"),
    "switch_by_boost": TaskCase("  ours by Boost.Context's", "x", 1.5),
    "semaphore_ns": TaskCase("hand over a permit of a semaphore", "ns"),
    "queue_ns": TaskCase("hand over an item of a queue", "ns"),
    "gather_us": TaskCase("gather 1,000 tasks", "µs", 200),
    "future_us": TaskCase("a future resolved by a thread, round trip", "µs"),
    "sleepers_mib": TaskCase("30,000 sleeping tasks", "MiB", 500),
}


class Sample(NamedTuple):
    rate: float  # requests a second
    p99_ms: float
    cpu_us: float  # a request


def virtual_environment() -> Path:
    """The peer's Python, made once below build/."""
    requirements = HERE / "requirements.txt"
    name = "bench-venv-" + hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    home = ROOT / "build/tools" / name
    home.parent.mkdir(parents=True, exist_ok=True)
    with open(home.parent / f".{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "complete").exists():
            print("bench: installing the peer's packages, once", file=sys.stderr)
            subprocess.run(["/usr/bin/python3", "-m", "venv", "--clear", str(home)], check=True)
            subprocess.run(
                [home / "bin/pip", "install", "-q", "--disable-pip-version-check", "-r", requirements], check=True
            )
            (home / "complete").touch()
    return home / "bin/python"


class Peer(Server):
    name = "peer"

    def __init__(self, env: dict[str, str]) -> None:
        super().__init__()
        self.python = virtual_environment()
        self.env = env
        self.port = self.take_port()

    def command(self) -> list[str]:
        return [str(self.python), "-B", str(HERE / "peer.py"), str(self.port)]

    def environment(self) -> dict[str, str]:
        return dict(os.environ) | self.env

    def ready(self) -> bool:
        try:
            return ask(self.port, "/hello") == {"message": "Hello, World!"}
        except OSError:
            return False


def ask(port: int, path: str, method: str = "GET", body: object = None) -> object:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json"}, method=method
    )
    with urllib.request.urlopen(request, timeout=10) as reply:
        return json.load(reply)


def load(postgres: Postgres, mongo: Mongo) -> None:
    postgres.create_database("bench")
    postgres.sql(
        f"""
        create table items (id integer primary key, name text not null, price double precision not null);
        insert into items select n, 'item ' || n, n / 4.0 + 0.125 from generate_series(0, {KEYS - 1}) n;
        create table lines (id integer primary key, page integer not null, item integer not null, quantity integer not null);
        insert into lines
        select n, n / 100, n / 100 * 100 + n % 100 * 37 % 100, n % 7 + 1 from generate_series(0, {KEYS - 1}) n;
        create index on lines (page);
        create table orders (
            id bigint generated always as identity primary key, customer integer not null, total double precision not null
        );
        create table stock (id integer primary key, pieces integer not null) with (fillfactor = 50);
        vacuum analyze items, lines;
        """,
        "bench",
    )
    reset(postgres)
    notes = (
        {"_id": str(n), "title": f"note {n}", "stars": n % 5, "price": n / 4 + 0.125, "tags": ["a", "b"]}
        for n in range(KEYS)
    )
    mongo.client.insert("bench", "notes", notes)


def reset(postgres: Postgres) -> None:
    """The tables that are written to, as they were at the start."""
    postgres.sql(
        f"""
        truncate orders restart identity;
        truncate stock;
        insert into stock select n, 1 from generate_series(0, {KEYS - 1}) n;
        vacuum analyze orders, stock;
        checkpoint;
        """,
        "bench",
    )


def verify(servers: dict[str, Server], postgres: Postgres) -> None:
    """Both must say the same, or there is nothing to compare."""

    def answer(server: Server, path: str, case: Case) -> object:
        if case.body is not None:
            reset(postgres)
        return ask(server.port, path, case.method, case.body)

    for case in CASES.values():
        for key in (0, 1, 4711, KEYS - 1) if case.keyed else ("",):
            path = f"{case.path}{key}"
            answers = {name: answer(server, path, case) for name, server in servers.items()}
            first, *others = answers.values()
            if any(other != first for other in others):
                raise SystemExit(f"bench: different answers to {path}: {answers}")


def wrk(server: Server, case: Case, seconds: float, connections: int) -> tuple[int, float, float]:
    """Requests, seconds, p99 in ms."""
    body = "" if case.body is None else json.dumps(case.body, separators=(",", ":"))
    done = subprocess.run(
        [
            "wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "10s", "--latency",
            "-s", str(HERE / "random-key.lua"), f"http://127.0.0.1:{server.port}",
            "--", case.path, str(KEYS if case.keyed else 0), case.method, body,
        ],
        capture_output=True,
        text=True,
    )  # fmt: skip
    line = next((line for line in done.stdout.splitlines() if line.startswith("RESULT ")), None)
    if done.returncode != 0 or line is None:
        raise SystemExit(f"bench: wrk failed:\n{done.stdout}{done.stderr}")
    requests, duration_us, p99_us, errors = map(int, line.split()[1:])
    if errors:
        odd = [line for line in server.log().splitlines() if not re.search(r'msg=request .* status=20|" 20[01] ', line)]
        raise SystemExit("\n".join([f"bench: {errors} errors from {server.name} on {case.path}:", *odd[-10:]]))
    return requests, duration_us / 1e6, p99_us / 1e3


def measure(server: Server, case: Case, seconds: float, connections: int, postgres: Postgres) -> Sample:
    if case.body is not None:
        reset(postgres)
    wrk(server, case, 1, connections)
    before = server.cpu_us()
    requests, duration, p99_ms = wrk(server, case, seconds, connections)
    cpu = server.cpu_us() - before
    os.truncate(server.log_path, 0)  # the access log, which both append to
    return Sample(requests / duration, p99_ms, cpu / requests)


def median(samples: list[Sample]) -> Sample:
    return Sample(*(statistics.median(values) for values in zip(*samples, strict=True)))


def report(results: dict[str, dict[str, Sample]], servers: dict[str, Server], kind: str) -> None:
    first, *others = servers
    heads = [f"{what} {name}" for what in ("req/s", "p99 ms", "CPU µs") for name in servers]
    width = max(map(len, heads)) + 2
    print(
        "\n"
        + f"{'':32}"
        + "".join(f"{head:>{width}}" for head in heads)
        + (f"{'CPU ratio':>11}{'goal':>7}" if others else "")
    )
    for key, samples in results.items():
        case = CASES[key]
        cells = [f"{sample.rate:,.0f}" for sample in samples.values()]
        cells += [f"{sample.p99_ms:.2f}" for sample in samples.values()]
        cells += [f"{sample.cpu_us:.1f}" for sample in samples.values()]
        line = f"{case.title:32}" + "".join(f"{cell:>{width}}" for cell in cells)
        if others:
            line += f"{samples[others[0]].cpu_us / samples[first].cpu_us:>10.1f}x"
            line += f"{case.goal:>6}x" if case.goal else ""
        print(line)
    print("\nMemory now: " + ", ".join(f"{name} {server.rss_kib / 1024:.0f} MiB" for name, server in servers.items()))
    if kind != "java":
        print(f"MongoDB's figures are bound by the server at hand ({kind}); the in-memory one needs java and mvn.")


def report_own(samples: dict[str, dict[str, list[Sample]]]) -> None:
    """gatherd's CPU of one case by that of another, round by round."""
    for key, by_side in samples.items():
        case = CASES[key]
        if not case.of or "gatherd" not in by_side:
            continue
        pairs = zip(by_side["gatherd"], samples[case.of]["gatherd"], strict=True)
        ratio = statistics.median(one.cpu_us / other.cpu_us for one, other in pairs)
        verdict = "" if ratio <= case.times else "  MISSED"
        print(f"{case.title}: {ratio:.2f} x the CPU of {CASES[case.of].title}; at most {case.times:g} x{verdict}")


def task_figures(command: list[str | Path]) -> dict[str, float]:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"bench: {command[-1]} failed:\n{done.stdout}{done.stderr}")
    return {name: float(value) for name, value in (line.split() for line in done.stdout.splitlines())}


def report_tasks(sides: list[str]) -> None:
    """The task core by itself, beside asyncio on uvloop."""
    commands: dict[str, Callable[[], list[str | Path]]] = {
        "gatherd": lambda: [ROOT / "build/bench/tasks"],
        "aiohttp": lambda: [virtual_environment(), "-B", HERE / "tasks.py"],
    }
    figures = {side: task_figures(commands[side]()) for side in sides}
    heads = {"gatherd": "gatherd", "aiohttp": "asyncio, uvloop"}
    print(f"\n{'tasks':44}" + "".join(f"{heads[side]:>18}" for side in sides) + f"{'ratio':>9}{'goal':>10}")
    for key, case in TASK_CASES.items():
        values = [figures[side].get(key) for side in sides]
        digits = 2 if case.unit == "x" else 1
        cells = [f"{value:,.{digits}f} {case.unit}" if value is not None else "" for value in values]
        line = f"{case.title:44}" + "".join(f"{cell:>18}" for cell in cells)
        line += f"{values[1] / values[0]:>8.1f}x" if len(values) > 1 and all(values) else f"{'':9}"
        own = figures.get("gatherd", {}).get(key)
        if case.below is not None and own is not None:
            line += f"{f'< {case.below:g}':>10}" + ("" if own < case.below else "  MISSED")
        print(line.rstrip())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], prog="bench/run")
    parser.add_argument("--rounds", type=int, default=5, help="of each case (5)")
    parser.add_argument("--seconds", type=float, default=4, help="a measurement (4)")
    parser.add_argument("--connections", type=int, default=64, help="64")
    parser.add_argument("--only", choices=CASES, action="append", help="a case, and what it is compared with; again for more (all)")
    parser.add_argument("--server", choices=["gatherd", "aiohttp"], action="append", help="one side (both)")
    parser.add_argument("--tasks", action="store_true", help="only the task core, without databases and HTTP")
    parser.add_argument("--json", type=Path, help="write every sample to a file")
    arguments = parser.parse_args()
    sides = arguments.server or ["gatherd", "aiohttp"]
    if arguments.tasks:
        report_tasks(sides)
        return

    # Nothing in the background of the database while it is measured.
    with (
        Postgres({"autovacuum": "off", "shared_buffers": "256MB"}) as postgres,
        Mongo(fast=True) as mongo,
        Gatherd(HERE / "upstream.yaml") as upstream,
    ):
        load(postgres, mongo)
        env = {
            "PG": postgres.url("bench"),
            "MONGO": mongo.url("bench"),
            "UPSTREAM": f"http://127.0.0.1:{upstream.port}",
        }
        makers = {"gatherd": lambda: Gatherd(HERE / "bench.yaml", env=env), "aiohttp": lambda: Peer(env)}
        servers = {side: makers[side]() for side in sides}
        keys = arguments.only or list(CASES)
        keys = [key for key in CASES if key in keys or any(CASES[other].of == key for other in keys)]
        samples: dict[str, dict[str, list[Sample]]] = {key: {side: [] for side in sides} for key in keys}
        try:
            for server in servers.values():
                server.start()
            verify(servers, postgres)
            started = time.monotonic()
            for number in range(arguments.rounds):
                print(f"bench: round {number + 1} of {arguments.rounds}", file=sys.stderr)
                for key, by_side in samples.items():
                    for side, server in servers.items():
                        by_side[side].append(
                            measure(server, CASES[key], arguments.seconds, arguments.connections, postgres)
                        )
            print(f"bench: {time.monotonic() - started:.0f} s", file=sys.stderr)
            medians = {
                key: {side: median(list_) for side, list_ in by_side.items()} for key, by_side in samples.items()
            }
            report(medians, servers, mongo.kind)
            report_own(samples)
            if arguments.json:
                arguments.json.write_text(json.dumps(samples, indent=1) + "\n")
            for server in servers.values():
                server.stop()
        finally:
            for server in servers.values():
                server.discard()
    if not arguments.only:
        report_tasks(sides)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except ServerError as error:
        sys.exit(f"bench: {error}")
