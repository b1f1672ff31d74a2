"""/-/tasks and `gatherd tasks`: every task of the process, what it awaits, for how long, and for which request."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import termios
import time
import unicodedata
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest
from harness import Gatherd, Postgres
from support import good, in_background, problem, running_statements, wait_for

CONFIG = """
server:
  listen: [ "127.0.0.1:${{PORT}}", "unix:${{FOLDER}}/gatherd.sock" ]
  threads: {threads}
  {server}
sources:
  pg: {{ postgres: "${{PG}}", pool: {{ size: 4 }} }}
endpoints:
  "GET /both/{{s}}":
    parameters: {{ s: {{ type: number }} }}
    gather:
      sleeper: {{ from: pg, sql: "select 'both' from pg_sleep({{s}})" }}
      other: {{ from: pg, sql: "select 1" }}
  "GET /alone/{{s}}":
    parameters: {{ s: {{ type: number }} }}
    gather: {{ one: {{ from: pg, sql: "select 'alone' from pg_sleep({{s}})" }} }}
"""


def configured(gatherd: Callable[..., Gatherd], server: str = "", *, threads: int = 1) -> Gatherd:
    return gatherd(CONFIG.format(server=server, threads=threads))


def tasks(daemon: Gatherd, **options: Any) -> list[dict[str, Any]]:
    return good(daemon.get("/-/tasks", **options))["tasks"]


@contextlib.contextmanager
def sleeping(daemon: Gatherd, postgres: Postgres, path: str, request: str) -> Iterator[None]:
    """A request that sleeps in PostgreSQL meanwhile."""
    running = in_background(lambda: daemon.get(path, headers={"X-Request-Id": request}))
    mark = path.split("/")[1]
    wait_for(lambda: running_statements(postgres, f"'{mark}' from pg_sleep") == 1, 10)
    try:
        yield
    finally:
        postgres.sql(
            "select pg_cancel_backend(pid) from pg_stat_activity where state = 'active' and pid <> pg_backend_pid() "
            f"and position('''{mark}'' from pg_sleep' in query) > 0"
        )
        running.result()


def test_a_waiting_query(gatherd: Callable[..., Gatherd], private_postgres: Postgres) -> None:
    daemon = gatherd(CONFIG.format(server="", threads=1), postgres=private_postgres)
    with sleeping(daemon, private_postgres, "/both/30", "my-request.1"):
        mine: dict[str, dict[str, Any]] = {}

        def settled() -> bool:
            mine.clear()
            mine.update({task["name"]: task for task in tasks(daemon) if task.get("request") == "my-request.1"})
            return set(mine) == {"GET /both/{s}", "sleeper"} and all(task["age_ms"] >= 20 for task in mine.values())

        wait_for(settled, 10)
        for task in mine.values():
            assert task["worker"] == 0 and task["state"] == "waiting" and task["id"] > 0
            assert task["age_ms"] >= task["awaits_ms"] >= 0
        assert mine["sleeper"]["awaits"] == "an answer from PostgreSQL (source pg, sent)"
        assert "children" in mine["GET /both/{s}"]["awaits"]
        # The page's own task is one of them.
        assert any(task["name"] == "/-/tasks" for task in tasks(daemon))
    assert not [task for task in tasks(daemon) if task.get("request") == "my-request.1"]


def test_phases_and_states_have_names(gatherd: Callable[..., Gatherd], private_postgres: Postgres) -> None:
    config = CONFIG.format(server="request_timeout: 10m", threads=1).replace("size: 4", "size: 1, acquire_timeout: 5m") + "log: { level: debug }"
    daemon = gatherd(config, postgres=private_postgres)
    with sleeping(daemon, private_postgres, "/alone/600", "first"):
        second = in_background(lambda: daemon.get("/alone/0", headers={"X-Request-Id": "second"}))
        awaited = "an answer from PostgreSQL (source pg, waiting)"
        wait_for(lambda: [task.get("awaits") for task in tasks(daemon) if task.get("request") == "second"] == [awaited], 30)
    assert second.result().status == 200

    def moves(of: str) -> dict[str, list[tuple[str, str]]]:
        found: dict[str, list[tuple[str, str]]] = {}
        for line in daemon.log_lines():
            if line["msg"] == "state" and line["of"] == of and line["source"] == "pg":
                found.setdefault(line["which"], []).append((line["from"], line["to"]))
        return found

    whole = [("free", "new"), ("new", "waiting"), ("waiting", "sent"), ("sent", "ended"), ("ended", "free")]
    wait_for(lambda: whole in moves("postgres call").values(), 30)
    wanted = {("connecting", "idle"), ("idle", "busy"), ("busy", "idle")}
    wait_for(lambda: any(wanted <= set(found) for found in moves("postgres connection").values()), 30)


@pytest.mark.parametrize("threads", [1, 3])
def test_every_worker_answers(gatherd: Callable[..., Gatherd], threads: int) -> None:
    daemon = configured(gatherd, threads=threads)
    wait_for(lambda: len(good(daemon.get("/-/tasks"))["workers"]) == threads)  # they start one after another
    page = good(daemon.get("/-/tasks"))
    assert [worker["worker"] for worker in page["workers"]] == list(range(threads))
    assert all(worker["answers"] and worker["left_out"] == 0 for worker in page["workers"])
    assert sum(worker["tasks"] for worker in page["workers"]) == len(page["tasks"]) >= 1
    assert "stacks" not in page, "stacks are measured in debug mode"


def test_who_may_see_it(gatherd: Callable[..., Gatherd]) -> None:
    daemon = configured(gatherd)
    reply = daemon.get("/-/tasks")
    assert reply.status == 200 and reply.headers["Cache-Control"] == "no-store"
    problem(daemon.get("/-/tasks", headers={"X-Forwarded-For": "10.0.0.1"}), 404)
    problem(daemon.post("/-/tasks"), 405)
    head = daemon.head("/-/tasks")
    assert head.status == 200 and head.body == b""


def test_an_admin_address_has_it_alone(gatherd: Callable[..., Gatherd], private_postgres: Postgres) -> None:
    """There it is answered even when max_requests are running."""
    server = 'admin: "127.0.0.1:${{ADMIN}}"\n  max_requests: 1'.replace("{{", "{").replace("}}", "}")
    daemon = gatherd(CONFIG.format(server=server, threads=1), postgres=private_postgres)
    problem(daemon.get("/-/tasks"), 404)
    with sleeping(daemon, private_postgres, "/alone/30", "full"):
        problem(daemon.get("/alone/0"), 503)
        assert any(task.get("request") == "full" for task in tasks(daemon, port=daemon.admin_port))


CROWD = """
    #include <gatherd.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <unistd.h>

    static int sleeper(void *arg)
    {
        (void)arg;
        return gd_sleep(3600 * 1000);
    }

    int crowd(gd_request *req)
    {
        char path[500];
        snprintf(path, sizeof(path), "%s/a", getenv("FOLDER"));
        for (int i = 0; i < 10050; i++)
            gd_spawn(i ? "one of many" : "first\\\"\\033[2J \\xc3\\xbc\\xff", sleeper, NULL);
        while (access(path, F_OK) == 0 && gd_sleep(10) == 0)
            ;
        return gd_reply(req, 200, gd_int(1));
    }
"""


def test_a_crowd_is_cut_off(gatherd: Callable[..., Gatherd], module: Callable[..., Path], program: Path) -> None:
    """The page is bounded, the oldest come first, and names are text whatever is in them."""
    daemon = gatherd(
        'endpoints: { "GET /crowd": { handler: "${MODULE}:crowd", timeout: 1m } }',
        files={"a": ""},
        env={"MODULE": str(module("crowd", CROWD))},
    )
    running = in_background(lambda: daemon.get("/crowd", timeout=60))
    wait_for(lambda: len(tasks(daemon)) == 10000, 30)
    page = good(daemon.get("/-/tasks"))
    (worker,) = page["workers"]
    assert worker["tasks"] == worker["left_out"] + 10000 and worker["left_out"] > 50
    names = [task["name"] for task in page["tasks"]]
    assert names.index("GET /crowd") < names.index('first"\x1b[2J ü') < names.index("one of many")
    done = run_tasks(program, "--admin", f"127.0.0.1:{daemon.port}", "--once")
    assert done.returncode == 0 and "\x1b" not in done.stdout
    assert f"{worker['left_out']} of them not shown" in done.stdout and 'first"?[2J ü' in done.stdout
    (daemon.folder / "a").unlink()
    good(running.result())


# -- the command --


def run_tasks(program: Path, *arguments: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, "tasks", *map(str, arguments)], capture_output=True, text=True, timeout=60, **options)


def test_once(gatherd: Callable[..., Gatherd], private_postgres: Postgres, program: Path) -> None:
    daemon = gatherd(CONFIG.format(server="", threads=2), postgres=private_postgres)
    with sleeping(daemon, private_postgres, "/both/30", "seen-in-the-terminal"):
        for where in (
            ["-c", daemon.config_path],
            ["--admin", f"127.0.0.1:{daemon.port}"],
            [f"--admin=unix:{daemon.folder}/gatherd.sock"],
        ):
            done = run_tasks(program, "--once", *where, env=daemon.environment())
            assert done.returncode == 0 and done.stderr == "", done.stderr
            assert "\x1b" not in done.stdout
            assert "2 workers" in done.stdout.splitlines()[0]
            line = next(line for line in done.stdout.splitlines() if " sleeper " in line and "seen-in-the-terminal" in line)
            assert "waiting" in line and "PostgreSQL" in line and re.match(r" *\d+\.\d{3} s ", line)


def test_again_and_again_without_a_terminal(gatherd: Callable[..., Gatherd], program: Path) -> None:
    daemon = configured(gatherd)
    process = subprocess.Popen(
        [program, "tasks", "--admin", f"127.0.0.1:{daemon.port}", "--interval", "100ms"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        seen = 0
        while seen < 3:
            line = process.stdout.readline()
            assert line, "it ended"
            assert "\x1b" not in line
            seen += " on 1 worker at " in line
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()


SCREEN_ENTER = b"\x1b[?1049h\x1b[?25l\x1b[?7l"
SCREEN_LEAVE = b"\x1b[?7h\x1b[?25h\x1b[?1049l"


class Terminal:
    """Our end of a terminal."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.ahead = b""  # read, but not asked for yet

    def write(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def read_until(self, wanted: bytes, timeout: float = 20) -> bytes:
        end = time.monotonic() + timeout
        while wanted not in self.ahead:
            assert time.monotonic() < end, f"no {wanted!r} in {self.ahead!r}"
            if select.select([self.fd], [], [], 0.2)[0]:
                self.ahead += os.read(self.fd, 65536)
        seen, _, self.ahead = self.ahead.partition(wanted)
        return seen

    def page(self) -> list[bytes]:
        """The lines of the next page."""
        self.read_until(b"\x1b[H")
        return [re.sub(rb"\x1b\[.|\r", b"", line) for line in self.read_until(b"\x1b[J").split(b"\n")]


@contextlib.contextmanager
def in_terminal(program: Path, address: str, size: tuple[int, int] = (7, 30), interval: str = "100ms") -> Iterator[tuple[Any, Terminal]]:
    """`gatherd tasks` in a terminal of its own, and our end of that; it must leave the terminal as it was."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, size)
    before = termios.tcgetattr(theirs)
    process = subprocess.Popen(
        [program, "tasks", "--admin", address, "--interval", interval],
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=lambda: os.close(os.open(os.ttyname(theirs), os.O_RDWR)),  # its controlling terminal
    )
    try:
        terminal = Terminal(ours)
        terminal.read_until(SCREEN_ENTER)
        yield process, terminal
        terminal.read_until(SCREEN_LEAVE)
        process.wait(20)
        assert termios.tcgetattr(theirs) == before
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("end", ["q", "\x03", "\x1c", signal.SIGTERM, signal.SIGHUP])
def test_in_a_terminal(gatherd: Callable[..., Gatherd], program: Path, end: str | signal.Signals) -> None:
    """A page of the terminal's size, drawn anew; q, Ctrl-C, Ctrl-\\ and signals end it and give the terminal back as it was."""
    daemon = configured(gatherd)
    with in_terminal(program, f"127.0.0.1:{daemon.port}") as (process, terminal):
        lines = terminal.page()
        assert b" on 1 worker" in lines[0]
        assert len(lines) <= 7 and all(len(line) <= 30 for line in lines)
        if isinstance(end, str):
            terminal.write(end)
        else:
            process.send_signal(end)
    assert process.returncode == 0


def test_another_size(gatherd: Callable[..., Gatherd], program: Path) -> None:
    """It is drawn anew at once."""
    daemon = configured(gatherd)
    with in_terminal(program, f"127.0.0.1:{daemon.port}", interval="1h") as (process, terminal):
        assert max(map(len, terminal.page())) == 30
        termios.tcsetwinsize(terminal.fd, (30, 100))
        assert 60 < max(map(len, terminal.page())) <= 100
        terminal.write("q")


def test_the_daemon_ends_meanwhile(gatherd: Callable[..., Gatherd], program: Path) -> None:
    daemon = configured(gatherd)
    with in_terminal(program, f"127.0.0.1:{daemon.port}") as (process, terminal):
        terminal.page()
        daemon.stop()
    assert process.returncode == 69 and str(daemon.port).encode() in process.stderr.read()


@contextlib.contextmanager
def impostor(*answers: bytes | None) -> Iterator[str]:
    """The address of what answers so, a connection after the other; None: it says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept: list[socket.socket] = []

        def serve() -> None:
            with contextlib.suppress(OSError):
                for answer in answers:
                    kept.append(server.accept()[0])
                    if answer is not None:
                        kept[-1].recv(65536)
                        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer)
                        kept[-1].sendall(head + answer)

        serving = in_background(serve)
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            serving.result()
            for connection in kept:
                connection.close()


def test_ctrl_c_while_nobody_answers(program: Path) -> None:
    with impostor(None) as address, in_terminal(program, address) as (process, terminal):
        terminal.write("\x03")
    assert process.returncode == 0


EMPTY = b'{"workers":[{"worker":0,"answers":true,"tasks":0,"left_out":0}],"tasks":[]}'


def test_a_blocked_worker_has_the_connection(program: Path) -> None:
    """Another connection comes to another worker."""
    with impostor(None, None, EMPTY) as address:
        done = run_tasks(program, "--admin", address, "--once")
    assert done.returncode == 0 and "0 tasks on 1 worker" in done.stdout


def test_long_names_stay_in_their_column(program: Path) -> None:
    """In a terminal; text for a file has them whole."""
    name = "a long name: " + "äöü" * 30
    task = {"worker": 0, "id": 1, "name": name, "state": "waiting", "awaits": "sleep", "awaits_ms": 5, "age_ms": 5}
    page = json.dumps({"workers": [{"worker": 0, "answers": True, "tasks": 1, "left_out": 0}], "tasks": [task]}).encode()
    with impostor(page, None) as address:
        with in_terminal(program, address, size=(20, 120), interval="1h") as (process, terminal):
            lines = [line.decode() for line in terminal.page()]
            terminal.write("q")
    head, row = lines[-3], lines[-2]
    assert row[head.index("NAME") :].startswith(name[:27] + "… sleep ")
    assert row.index("sleep") == head.index("AWAITS")
    with impostor(page) as address:
        assert f" {name} sleep " in run_tasks(program, "--admin", address, "--once").stdout


def test_nothing_speaks_to_the_terminal(program: Path) -> None:
    """Whatever controls the daemon's texts hold: C0, DEL, C1."""
    evil = "".join(f"\\u{c:04x}" for c in [*range(1, 32), 127, *range(128, 160)]) + "ü日本"
    task = {name: "TEXT" for name in ("name", "state", "awaits", "request")} | {"worker": 0, "id": 1, "age_ms": 5, "awaits_ms": 5}
    page = json.dumps({"workers": [{"worker": 0, "answers": True, "tasks": 1, "left_out": 0}], "tasks": [task]})
    with impostor(page.replace("TEXT", evil).encode()) as address:
        done = run_tasks(program, "--admin", address, "--once")
    assert done.returncode == 0 and done.stdout.count("?ü日本") == 5
    assert not [c for c in done.stdout if unicodedata.category(c) == "Cc" and c != "\n"]


@pytest.mark.parametrize("answer", [b"", b"{}", b"[", b'{"workers":1,"tasks":[]}', b"\xff"])
def test_it_is_no_page_of_ours(program: Path, answer: bytes) -> None:
    with impostor(answer) as address:
        done = run_tasks(program, "--admin", address, "--once")
    assert done.returncode == 69 and "not gatherd's" in done.stderr and done.stdout == ""


def test_nobody_answers(gatherd: Callable[..., Gatherd], program: Path, tmp_path: Path) -> None:
    daemon = configured(gatherd)
    daemon.stop()
    done = run_tasks(program, "-c", daemon.config_path, "--once", env=daemon.environment())
    assert done.returncode == 69 and str(daemon.port) in done.stderr and done.stdout == ""
    done = run_tasks(program, "--admin", f"unix:{tmp_path}/nobody.sock")
    assert done.returncode == 69


def test_where_it_may_not_look(gatherd: Callable[..., Gatherd], program: Path) -> None:
    server = 'admin: "127.0.0.1:${{ADMIN}}"'.replace("{{", "{").replace("}}", "}")
    daemon = configured(gatherd, server)
    done = run_tasks(program, "--admin", f"127.0.0.1:{daemon.port}", "--once")
    assert done.returncode == 69 and "404" in done.stderr
    done = run_tasks(program, "-c", daemon.config_path, "--once", env=daemon.environment())
    assert done.returncode == 0, "the configuration says where: at server.admin"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--once"],
        ["-c"],
        ["--admin"],
        ["-c", "a.yaml", "--admin", "127.0.0.1:1"],
        ["--admin", "127.0.0.1:1", "--admin", "127.0.0.1:2"],
        ["--admin", "127.0.0.1:1", "--interval", "soon"],
        ["--admin", "127.0.0.1:1", "--interval", "1ms"],
        ["--admin", "user@127.0.0.1:1"],
        ["--admin", "http://127.0.0.1:1"],
        ["--admin", "127.0.0.1:1/path"],
        ["--admin", "127.0.0.1:1", "--connect"],
        ["--admin", "127.0.0.1:1", "more"],
    ],
)
def test_usage(program: Path, arguments: list[str]) -> None:
    done = run_tasks(program, *arguments)
    assert done.returncode == 64 and done.stderr.startswith("gatherd: ")


def test_a_wrong_configuration(program: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("server: { lisen: 1 }\n")
    done = run_tasks(program, "-c", tmp_path / "bad.yaml")
    assert done.returncode == 78 and "lisen" in done.stderr and "--admin" in done.stderr
    (tmp_path / "any.yaml").write_text('server: { listen: "127.0.0.1:0" }\nendpoints: { "GET /": { respond: 1 } }\n')
    done = run_tasks(program, "-c", tmp_path / "any.yaml")
    assert done.returncode == 64 and "--admin" in done.stderr
