"""A reload loses nothing: no request, no connection, no level; a mistake changes nothing."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Gatherd, Mongo, Postgres
from support import good, in_background, running_statements, wait_for

RELOADS = int(os.environ.get("RELOADS", "200"))
SERVER = 'log: { requests: errors }\nserver: { listen: [ "127.0.0.1:${PORT}" ], threads: 2, request_timeout: 60s }\n'


def outcomes(daemon: Gatherd) -> list[dict[str, str]]:
    return [line for line in daemon.log_lines() if line.get("msg") in ("reloaded", "reload refused")]


def reload(daemon: Gatherd, config: str | None = None) -> dict[str, str]:
    """SIGHUP, and what became of it."""
    before = len(outcomes(daemon))
    if config is not None:
        daemon.configure(config)
    os.kill(daemon.pid, signal.SIGHUP)
    wait_for(lambda: len(outcomes(daemon)) > before, timeout=60)
    return outcomes(daemon)[before]


def reloaded(daemon: Gatherd, config: str | None = None) -> dict[str, str]:
    outcome = reload(daemon, config)
    assert outcome["msg"] == "reloaded", outcome
    return outcome


def refused(daemon: Gatherd, code: int, config: str | None = None) -> str:
    outcome = reload(daemon, config)
    assert (outcome["msg"], outcome["code"]) == ("reload refused", str(code)), outcome
    return outcome["error"]


def metric(daemon: Gatherd, name: str) -> float:
    for line in daemon.get("/-/metrics").text.splitlines():
        if line.split(" ")[0] == name:
            return float(line.split(" ")[1])
    raise AssertionError(name)


def answer(value: str) -> str:
    return SERVER + f'endpoints: {{ "GET /": {{ respond: "{value}" }} }}'


# --- 1, 10: many reloads, and a storm of them ---


class Clients:
    """Ask all the time, on connections of their own, kept and not; every failure is kept, too."""

    def __init__(self, daemon: Gatherd, path: str, count: int = 8) -> None:
        self.daemon, self.path = daemon, path
        self.replies, self.failures = 0, []
        self.ends = threading.Event()
        self.threads = [threading.Thread(target=self.ask, args=(i % 2 == 0,)) for i in range(count)]

    def ask(self, keep: bool) -> None:
        connection: http.client.HTTPConnection | None = None
        while not self.ends.is_set():
            try:
                connection = connection or self.daemon.connection(timeout=60)
                connection.request("GET", self.path, headers={} if keep else {"Connection": "close"})
                reply = connection.getresponse()
                reply.read()
                assert reply.status == 200, reply.status
                self.replies += 1
            except (OSError, http.client.HTTPException, AssertionError) as e:
                self.failures.append(repr(e))
                connection = None
            if connection and not keep:
                connection.close()
                connection = None
        if connection:
            connection.close()

    def __enter__(self) -> Clients:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ends.set()
        for thread in self.threads:
            thread.join()


def test_many_reloads_under_load_lose_nothing(gatherd: Callable[..., Gatherd]) -> None:
    sources = 'sources: { pg: { postgres: "${PG}?application_name=reloads", pool: { size: 4 } } }\n'
    versions = [
        SERVER + sources + f'endpoints: {{ "GET /": {{ gather: {{ n: {{ from: pg, sql: "select {i}", expect: value }} }} }} }}' for i in range(2)
    ]
    daemon = gatherd(versions[0])
    for i in range(10):  # what is made once is there
        reloaded(daemon, versions[i % 2])
    good(daemon.get("/"))
    fds, rss = daemon.fds, daemon.rss_kib
    with Clients(daemon, "/") as clients:
        for i in range(RELOADS):
            reloaded(daemon, versions[i % 2])
    assert not clients.failures, clients.failures[:5]
    assert clients.replies > RELOADS
    wait_for(lambda: daemon.fds <= fds + 8)  # connections that the load has asked for
    wait_for(lambda: metric(daemon, "gatherd_config_generations") == 1)
    assert metric(daemon, "gatherd_config_reloads_total{result=\"ok\"}") == RELOADS + 10
    print(f"rss {rss} -> {daemon.rss_kib} KiB, fds {fds} -> {daemon.fds}, {clients.replies} replies")


def test_a_storm_of_signals_ends_with_the_last_file(gatherd: Callable[..., Gatherd]) -> None:
    daemon = gatherd(answer("0"))
    until = time.monotonic() + 1.5
    n = 0
    while time.monotonic() < until:
        n += 1
        (daemon.folder / "next").write_text(answer(str(n)))
        os.replace(daemon.folder / "next", daemon.folder / "gatherd.yaml")
        os.kill(daemon.pid, signal.SIGHUP)
        time.sleep(0.005)
    wait_for(lambda: daemon.get("/").json() == str(n))
    assert all(line["msg"] == "reloaded" for line in outcomes(daemon))
    assert daemon.threads < 40


# --- 2, 3, 9: what is carried over, and what is not ---


def test_a_cached_result_ends_with_its_text(gatherd: Callable[..., Gatherd]) -> None:
    config = SERVER + (
        'sources: { pg: { postgres: "${PG}" } }\n'
        'endpoints:\n  "GET /": { gather: { n: { from: pg, cache: 1h, expect: value, sql: "select random()::text" } } }\n'
        '  "GET /x": { cache: 1h, gather: { n: { from: pg, expect: value, sql: "select random()::text || \'a\'" } } }\n'
    )
    daemon = gatherd(config)
    first, reply = good(daemon.get("/")), good(daemon.get("/x"))
    reloaded(daemon, config + '  "GET /other": { respond: new }\n')
    assert good(daemon.get("/")) == first
    assert good(daemon.get("/x")) == reply
    reloaded(daemon, config.replace("random()::text\"", "'2'\"").replace("|| 'a'", "|| 'b'"))
    assert good(daemon.get("/")) == {"n": "2"}
    assert good(daemon.get("/x"))["n"].endswith("b")


def test_rates_and_breakers_keep_their_levels(gatherd: Callable[..., Gatherd]) -> None:
    config = SERVER + (
        'sources: { gone: { http: "http://127.0.0.1:1", breaker: { failures: 2, cooldown: 1h } } }\n'
        'endpoints:\n  "GET /": { rate: 3/h, respond: here }\n'
        '  "GET /gone": { gather: { x: { from: gone, get: / } } }\n'
    )
    daemon = gatherd(config)
    assert [daemon.get("/").status for _ in range(4)] == [200, 200, 200, 429]
    for _ in range(3):
        assert daemon.get("/gone").status == 503
    assert metric(daemon, 'gatherd_breaker_state{source="gone"}') == 1
    reloaded(daemon, config + '  "GET /new": { respond: new }\n')
    assert daemon.get("/").status == 429
    assert metric(daemon, 'gatherd_breaker_state{source="gone"}') == 1
    reloaded(daemon, config.replace("failures: 2", "failures: 3").replace("3/h", "4/h"))
    assert metric(daemon, 'gatherd_breaker_state{source="gone"}') == 0
    assert daemon.get("/").status == 200


# --- 4, 5: pools ---


def backends(postgres: Postgres, name: str) -> int:
    return int(postgres.sql(f"select count(*) from pg_stat_activity where application_name = '{name}'"))


def test_a_pool_grows_and_shrinks_in_place(gatherd: Callable[..., Gatherd], postgres: Postgres) -> None:
    def config(size: int) -> str:
        return SERVER + (
            f'sources: {{ pg: {{ postgres: "${{PG}}?application_name=resized", pool: {{ size: {size} }} }} }}\n'
            'endpoints: { "GET /": { gather: { n: { from: pg, expect: value, sql: "select 7 from pg_sleep(2) /* resized */" } } } }'
        )

    daemon = gatherd(config(4))
    most, ends = [0], threading.Event()

    def watch() -> None:
        while not ends.is_set():
            most[0] = max(most[0], backends(postgres, "resized"))

    watcher = in_background(watch)
    asked = [in_background(lambda: daemon.get("/")) for _ in range(4)]
    wait_for(lambda: running_statements(postgres, "resized") == 4)
    assert "pg: pool.size" in reloaded(daemon, config(6))["text"]
    asked += [in_background(lambda: daemon.get("/")) for _ in range(2)]
    wait_for(lambda: running_statements(postgres, "resized") == 6)
    reloaded(daemon, config(2))
    assert [reply.result(60).json() for reply in asked] == [{"n": 7}] * 6
    wait_for(lambda: backends(postgres, "resized") <= 2)
    assert good(daemon.get("/")) == {"n": 7}
    ends.set()
    watcher.result(60)
    assert most[0] <= 6


def test_a_mongodb_pool_grows_and_shrinks_in_place(gatherd: Callable[..., Gatherd], mongo: Mongo) -> None:
    def config(size: int) -> str:
        return SERVER.replace("threads: 2", "threads: 1") + (
            f'sources: {{ db: {{ mongodb: "${{MONGO}}", pool: {{ size: {size}, acquire_timeout: 60s }} }} }}\n'
            'endpoints: { "GET /": { gather: { all: { from: db, find: nothing } } } }'
        )

    daemon = gatherd(config(1))

    def open_ones() -> float:
        """Of one look: they change their states all the time."""
        lines = daemon.get("/-/metrics?collect[]=pools").text.splitlines()
        return sum(float(line.split(" ")[1]) for line in lines if line.startswith('gatherd_pool_connections{source="db"'))

    assert good(daemon.get("/")) == {"all": []}
    with Clients(daemon, "/") as clients:
        wait_for(lambda: clients.replies > 20, timeout=60)
        assert open_ones() == 1
        assert "db: pool.size" in reloaded(daemon, config(4))["text"]
        wait_for(lambda: open_ones() > 2, timeout=60)
        reloaded(daemon, config(2))
        wait_for(lambda: open_ones() <= 2, timeout=60)
        before = clients.replies
        wait_for(lambda: clients.replies > before + 20, timeout=60)
        assert open_ones() <= 2
    assert not clients.failures, clients.failures[:5]


def test_a_password_that_changes_takes_nobody_along(gatherd: Callable[..., Gatherd], postgres: Postgres) -> None:
    postgres.sql("drop role if exists reloader; create role reloader login password 'one'")
    url = postgres.url("test", user="reloader")
    config = SERVER + (
        f'sources: {{ pg: {{ postgres: "{url}", password: {{ file: secret }} }} }}\n'
        'endpoints: { "GET /": { gather: { n: { from: pg, expect: value, sql: "select 1" } } },'
        '  "GET /slow": { gather: { n: { from: pg, expect: value, sql: "select 2 from pg_sleep(1) /* password */" } } } }'
    )
    daemon = gatherd(config, files={"secret": "one"})
    slow = in_background(lambda: daemon.get("/slow"))
    wait_for(lambda: running_statements(postgres, "password") == 1)
    with Clients(daemon, "/", 4) as clients:
        daemon.write("secret", "two")
        postgres.sql("alter role reloader password 'two'")
        assert "pg: password" in reloaded(daemon)["text"]
    assert not clients.failures, clients.failures[:5]
    assert good(slow.result(60)) == {"n": 2}


def test_statements_go_on_as_they_were(gatherd: Callable[..., Gatherd]) -> None:
    """One connection, which tells what is prepared on it: PREPARE comes once for each text, however often it is reloaded."""
    mine = "select name, statement, prepare_time::text from pg_prepared_statements order by name"

    def config(*numbers: int, path: str = "/") -> str:
        endpoints = "".join(
            f'  "GET /{n}": {{ parameters: {{ x: {{ in: query, type: integer, default: {n} }} }}, '
            f'gather: {{ a: {{ from: pg, expect: value, sql: "select {{x}} + {n} as v" }} }} }}\n'
            for n in numbers
        )
        return SERVER.replace("threads: 2", "threads: 1") + (
            'sources: { pg: { postgres: "${PG}", pool: { size: 1 } } }\n'
            f'endpoints:\n  "GET {path}": {{ gather: {{ mine: {{ from: pg, sql: "{mine}" }} }} }}\n{endpoints}'
        )

    daemon = gatherd(config(1, 2, 3))
    for n in (1, 2, 3):
        assert good(daemon.get(f"/{n}")) == {"a": 2 * n}
    good(daemon.get("/"))
    before = good(daemon.get("/"))["mine"]
    assert len(before) == 4
    for _ in range(3):
        reloaded(daemon, config(1, 2, 3))
        for n in (1, 2, 3):
            assert good(daemon.get(f"/{n}")) == {"a": 2 * n}
        assert good(daemon.get("/"))["mine"] == before
    # Elsewhere in the file, and beside others, they are the same.
    reloaded(daemon, config(4, 3, 1, path="/mine"))
    for n in (1, 3, 4):
        good(daemon.get(f"/{n}"))
    after = good(daemon.get("/mine"))["mine"]
    assert [s for s in before if " + 2" not in s["statement"]] == [s for s in after if " + 4" not in s["statement"]]
    # Those that nobody has any more make room: there are never more than there were at a time.
    for n in range(5, 25):
        reloaded(daemon, config(1, n, n + 1))
        for k in (1, n, n + 1):
            good(daemon.get(f"/{k}"))
    assert len(good(daemon.get("/"))["mine"]) <= 7


# --- 6: mistakes ---

STARTS = """
    #include <gatherd.h>
    int gd_module_start(unsigned worker, unsigned workers) { (void)worker; (void)workers; return -5; }
    int handle(gd_request *req) { (void)req; return 0; }
"""

MISTAKES = {
    "empty": ("", 78, "gatherd.yaml"),
    "half": (answer("new")[:-9], 78, "gatherd.yaml:"),
    "key": (SERVER + 'endpoints: { "GET /": { respond: new, x: 1 } }', 78, "gatherd.yaml:3:39: "),
    "include": (answer("new") + "\ninclude: [ nowhere.yaml ]", 78, "gatherd.yaml:4:"),
    "secret": (SERVER + 'sources: { pg: { postgres: "postgresql:///x", password: { env: NOT_SET_AT_ALL } } }\nendpoints: { "GET /": { respond: 1 } }', 78, "gatherd.yaml:3:"),
    "taken": (answer("new").replace("[ ", '[ "127.0.0.1:${TAKEN}", '), 71, "can't listen on"),
    "down": (SERVER + 'sources: { pg: { postgres: "postgresql://x@127.0.0.1:1/x" } }\nendpoints: { "GET /": { respond: new } }', 69, "gatherd.yaml:3:"),
    "start": (SERVER + 'modules: [ "${STARTS}" ]\nendpoints: { "GET /": { respond: new } }', 70, "gd_module_start failed"),
    "function": (SERVER + 'endpoints: { "GET /": { handler: "${STARTS}:nothing" } }', 78, "has no function"),
}


@pytest.fixture(scope="module")
def steady(module_gatherd: Callable[..., Gatherd], module: Callable[..., Path]) -> Iterator[tuple[Gatherd, str]]:
    """A daemon whose configuration is good, and stays so; somebody else listens on ${TAKEN}."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = SERVER + 'sources: { pg: { postgres: "${PG}", pool: { size: 1 } } }\nendpoints: { "GET /": { gather: { n: { from: pg, sql: "select 1", expect: value } } } }'
        env = {"TAKEN": str(taken.getsockname()[1]), "STARTS": str(module("starts", STARTS))}
        daemon = module_gatherd(config, env=env)
        good(daemon.get("/"))
        yield daemon, config


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_changes_nothing(steady: tuple[Gatherd, str], name: str) -> None:
    daemon, config = steady
    text, code, error = MISTAKES[name]
    reloaded(daemon, config)
    generation, fds = metric(daemon, "gatherd_config_generation"), daemon.fds
    daemon.write("gatherd.yaml", text)
    assert error in refused(daemon, code)
    assert good(daemon.get("/")) == {"n": 1}
    assert metric(daemon, "gatherd_config_generation") == generation
    assert metric(daemon, "gatherd_config_last_reload_successful") == 0
    wait_for(lambda: daemon.fds <= fds)
    reloaded(daemon, config)
    assert metric(daemon, "gatherd_config_last_reload_successful") == 1


def test_the_end_undoes_a_reload(gatherd: Callable[..., Gatherd]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        daemon = gatherd(answer("old"))
        daemon.configure(SERVER + f'sources: {{ pg: {{ postgres: "postgresql://x@127.0.0.1:{silent.getsockname()[1]}/x" }} }}\nendpoints: {{ "GET /": {{ respond: new }} }}')
        os.kill(daemon.pid, signal.SIGHUP)
        silent.settimeout(60)
        connection, _ = silent.accept()  # it asks the new source, which says nothing
        with connection:
            assert daemon.get("/").json() == "old"
            assert daemon.stop() == 0
        assert outcomes(daemon)[-1]["code"] == "75"


# --- 7: listeners ---


def test_listeners_come_and_go(gatherd: Callable[..., Gatherd]) -> None:
    both = answer("here").replace("[ ", '[ "127.0.0.1:${ADMIN}", "unix:${FOLDER}/http", ')
    daemon = gatherd(answer("here"))
    with pytest.raises(OSError):
        daemon.get("/", port=daemon.admin_port)
    assert "2 listeners new" in reloaded(daemon, both)["text"]
    assert daemon.get("/", port=daemon.admin_port).json() == "here"
    assert (daemon.folder / "http").is_socket()
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(socket.create_connection(("127.0.0.1", daemon.admin_port))) for _ in range(200)]
        assert "2 listeners gone" in reloaded(daemon, answer("here"))["text"]
        for s in waiting:
            s.settimeout(60)
            s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert all(s.recv(1000).startswith(b"HTTP/1.1 200 ") for s in waiting)
    assert not (daemon.folder / "http").exists()
    with pytest.raises(OSError):
        daemon.get("/", port=daemon.admin_port)
    assert daemon.get("/").json() == "here"


# --- 8: generations, and modules ---

EVENTS = """
    #include <gatherd.h>
    #include <stdio.h>
    static int beat(void *arg)
    {
        (void)arg;
        fprintf(stderr, "beat " VERSION "\\n");
        return 0;
    }
    int gd_module_start(unsigned worker, unsigned workers)
    {
        (void)workers;
        fprintf(stderr, "start " VERSION "\\n");
        return worker == 0 ? gd_every("beat", 20, beat, 0) : 0;
    }
    void gd_module_stop(unsigned worker, unsigned workers)
    {
        (void)worker, (void)workers;
        fprintf(stderr, "stop " VERSION "\\n");
    }
    int events(gd_request *req)
    {
        int r = gd_stream_begin(req, 200, "text/event-stream");
        while (r >= 0) {
            r = gd_stream_write(req, VERSION, sizeof(VERSION) - 1);
            if (r >= 0)
                r = gd_sleep(20);
        }
        return r;
    }
"""


class Stream:
    """One that is begun and goes on."""

    def __init__(self, daemon: Gatherd) -> None:
        self.connection = daemon.connection(timeout=60)
        self.connection.request("GET", "/events")
        self.reply = self.connection.getresponse()
        assert self.reply.status == 200
        self.reply.read1(1)

    def goes_on(self) -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return len(self.reply.read1(1)) == 1
        return False


def events_config(path: Path, n: int) -> str:
    return SERVER + f'endpoints: {{ "GET /": {{ respond: "{n}" }}, "GET /events": {{ handler: "{path}:events" }} }}'


@pytest.fixture(scope="module")
def versions(module: Callable[..., Path]) -> list[Path]:
    return [module(f"events{v}", EVENTS, f'-DVERSION="{v}"') for v in range(2)]


def test_at_most_four_generations_live(gatherd: Callable[..., Gatherd], versions: list[Path]) -> None:
    daemon = gatherd(events_config(versions[0], 0))
    streams = [Stream(daemon)]
    for n in range(1, 4):
        reloaded(daemon, events_config(versions[0], n))
        streams.append(Stream(daemon))
    assert all(s.goes_on() for s in streams)
    assert metric(daemon, "gatherd_config_generations") == 4
    reloaded(daemon, events_config(versions[0], 4))
    assert metric(daemon, "gatherd_config_generations") == 4
    wait_for(lambda: not streams[0].goes_on())
    assert all(s.goes_on() for s in streams[1:])
    for s in streams:
        s.connection.close()
    wait_for(lambda: metric(daemon, "gatherd_config_generations") == 1)
    alone = Stream(daemon)
    for n in range(10):
        reloaded(daemon, events_config(versions[0], n))
    assert alone.goes_on()
    alone.connection.close()


def test_a_module_is_its_file(gatherd: Callable[..., Gatherd], versions: list[Path]) -> None:
    daemon = gatherd(answer("old"), files={"m.so": versions[0].read_bytes()})
    file = daemon.folder / "m.so"
    reloaded(daemon, events_config(file, 0))
    wait_for(lambda: "beat 0" in daemon.log())
    reloaded(daemon, events_config(file, 1))
    assert daemon.log().count("start 0") == 2  # a worker each: it runs on
    assert "stop 0" not in daemon.log()
    old = Stream(daemon)
    shutil.copy(versions[1], daemon.folder / "new.so")
    os.replace(daemon.folder / "new.so", file)
    reloaded(daemon, events_config(file, 2))
    wait_for(lambda: "beat 1" in daemon.log())
    assert old.goes_on()  # with the code that it was begun with
    old.connection.close()
    wait_for(lambda: daemon.log().count("stop 0") == 2)
    new = Stream(daemon)
    assert new.reply.read1(1) == b"1"
    new.connection.close()
    with file.open("ab") as f:
        f.write(b"\0")
    assert "was written in place" in refused(daemon, 78)


def test_a_module_is_loaded_sixteen_times_at_most(gatherd: Callable[..., Gatherd], versions: list[Path]) -> None:
    daemon = gatherd(events_config(Path("${FOLDER}/m.so"), 0), files={"m.so": versions[0].read_bytes()})

    def install() -> None:
        shutil.copy(versions[0], daemon.folder / "new.so")
        os.replace(daemon.folder / "new.so", daemon.folder / "m.so")

    for _ in range(15):
        install()
        reloaded(daemon)
    before = metric(daemon, "gatherd_config_generation")
    install()
    assert "was loaded 16 times since the start: restart the daemon" in refused(daemon, 78)
    assert metric(daemon, "gatherd_config_generation") == before
    assert good(daemon.get("/")) == "0"  # what serves was loaded before


# --- 11: sources that are not there ---


def test_only_a_new_source_must_be_there(gatherd: Callable[..., Gatherd], private_postgres: Postgres) -> None:
    config = SERVER + 'sources: { pg: { postgres: "${PG}", pool: { acquire_timeout: 200ms } } }\nendpoints: { "GET /": { respond: "0" } }'
    daemon = gatherd(config, postgres=private_postgres)
    private_postgres.stop()
    reloaded(daemon, config.replace('"0"', '"1"'))
    assert daemon.get("/").json() == "1"
    assert "source other" in refused(daemon, 69, config.replace("pg: {", "other: {"))
    reloaded(daemon, answer("2"))  # it can go
    assert daemon.get("/").json() == "2"


# --- what is said ---


def test_the_manager_and_the_metrics_are_told(gatherd: Callable[..., Gatherd], tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        daemon = gatherd(answer("old"), env={"NOTIFY_SOCKET": str(tmp_path / "notify")})

        def until(wanted: str) -> list[str]:
            seen = []
            while not seen or wanted not in seen[-1]:
                seen.append(manager.recv(4096).decode())
            return seen

        until("STATUS=serving")
        reloaded(daemon, answer("new").replace("threads: 2", "threads: 3"))
        seen = until("STATUS=generation 2 after")
        begun = next(i for i, text in enumerate(seen) if text.startswith("RELOADING=1\nMONOTONIC_USEC="))
        assert "READY=1" in seen[begun:]
        assert metric(daemon, "gatherd_config_restart_needed") == 1
        refused(daemon, 78, answer("new") + "\nx: 1")
        assert "gatherd.yaml:4:1" in until("generation 2; reload refused: ")[-1]
        reloaded(daemon, answer("new"))
        assert metric(daemon, "gatherd_config_restart_needed") == 0
        reloaded(daemon, answer("new") + "\nmetrics: { buckets: [ 1ms, 1s ] }")
        assert metric(daemon, "gatherd_config_restart_needed") == 1
        assert "metrics.buckets: wait for a restart" in daemon.log()
