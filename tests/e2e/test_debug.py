"""Debug mode: who blocks a loop is told while it does, and what is still there when a drain gives up."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any, Callable

import pytest
from harness import Gatherd, Postgres
from harness.server import ROOT
from support import good, in_background, running_statements, wait_for

CONFIG = """
server:
  listen: [ "127.0.0.1:${{PORT}}" ]
  threads: 1
  body_limit: 64MiB
  {server}
endpoints:
  "POST /echo": {{ body: {{ type: array, maxItems: 1000000 }}, respond: "{{body[0]}}", gather: {{ none: {{ from: files, stat: a }} }} }}
sources:
  files: {{ files: "${{FOLDER}}" }}
"""
# Some tens of milliseconds to parse and to check.
LARGE = "[" + ",".join(['{"a":[1,2,3],"b":"text"}'] * 400000) + "]"

HANDLERS = r"""
    #include <gatherd.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <unistd.h>

    static const char *path_of(const char *name)
    {
        static char path[500];
        snprintf(path, sizeof(path), "%s/%s", getenv("FOLDER"), name);
        return path;
    }

    static __attribute__((noinline)) int block_while_there(const char *path)
    {
        int n = 0;
        while (n < 60000 && access(path, F_OK) == 0)
            n += usleep(1000) == 0;
        return n;
    }

    int block(gd_request *req)
    {
        block_while_there(path_of("a"));
        return gd_reply(req, 200, gd_int(1));
    }

    static __attribute__((noinline)) int recurse(volatile int *depth)
    {
        volatile char room[1000];
        room[0] = (char)++*depth;
        return *depth > 0 ? recurse(depth) + room[0] : 0;
    }

    int deep(gd_request *req)
    {
        volatile int depth = 0;
        return gd_reply(req, 200, gd_int(recurse(&depth)));
    }

    static __attribute__((noinline)) int claim(size_t bytes)
    {
        volatile char *room = __builtin_alloca(bytes);
        room[0] = room[bytes / 2] = 1;
        return room[0];
    }

    int large(gd_request *req)
    {
        return gd_reply(req, 200, gd_int(claim((size_t)gd_to_int(gd_param(req, "bytes"), 0))));
    }

    static int block_on_a_thread(void *arg)
    {
        return block_while_there(arg);
    }

    int elsewhere(gd_request *req)
    {
        gd_run_blocking(block_on_a_thread, (void *)path_of("a"));
        return gd_reply(req, 200, gd_int(1));
    }
"""
HANDLERS_CONFIG = """
server: { listen: [ "127.0.0.1:${PORT}" ], threads: THREADS, debug: true, slow_callback: 20ms }
endpoints:
  "GET /block": { handler: "${MODULE}:block" }
  "GET /deep": { handler: "${MODULE}:deep" }
  "GET /large/{bytes}": { handler: "${MODULE}:large", parameters: { bytes: { type: integer } } }
  "GET /elsewhere": { handler: "${MODULE}:elsewhere" }
"""


def with_handlers(gatherd: Callable[..., Gatherd], module: Callable[..., Path], threads: int = 1) -> Gatherd:
    env = {"MODULE": str(module("debug", HANDLERS))}
    return gatherd(HANDLERS_CONFIG.replace("THREADS", str(threads)), files={"a": ""}, env=env)


def configured(gatherd: Callable[..., Gatherd], server: str = "", **options: Any) -> Gatherd:
    return gatherd(CONFIG.format(server=server), files={"a": ""}, **options)


def lines(daemon: Gatherd, msg: str) -> list[dict[str, str]]:
    return [line for line in daemon.log_lines() if line.get("msg") == msg]


def blocked_in(daemon: Gatherd, task: str) -> list[dict[str, str]]:
    """Told of this task: on a busy machine a loop may be late for other reasons, too."""
    return [line for line in lines(daemon, "the loop is blocked") if line.get("task") == task]


def block(daemon: Gatherd) -> None:
    reply = daemon.post("/echo", body=LARGE, headers={"Content-Type": "application/json"})
    assert reply.status == 200, reply.body[:200]


def test_a_slow_turn_is_told_of(gatherd: Callable[..., Gatherd]) -> None:
    daemon = configured(gatherd, "debug: true\n  slow_callback: 10ms")
    block(daemon)
    told = wait_for(lambda: lines(daemon, "the loop is blocked"), 10)
    assert told[0]["level"] == "warning" and told[0]["worker"] == "0" and int(told[0]["ms"]) >= 10
    assert any("service_handle+0x" in line["where"] for line in told), "functions by their names"
    ended = wait_for(lambda: lines(daemon, "the loop was blocked"), 10)
    assert ended[0]["worker"] == "0" and int(ended[0]["ms"]) >= 10


def test_a_handler_that_blocks_is_named(gatherd: Callable[..., Gatherd], module: Callable[..., Path]) -> None:
    """While it blocks: it goes on for as long as nobody has said so."""
    daemon = with_handlers(gatherd, module)
    running = in_background(lambda: daemon.get("/block"))
    (told,) = wait_for(lambda: blocked_in(daemon, "GET /block"), 20)
    assert int(told["task_id"]) > 0
    where = told["where"].split(" < ")
    assert any(frame.startswith("block_while_there+0x") and "debug.c:" in frame for frame in where), where
    assert any(frame.startswith("block+0x") for frame in where), where
    assert running.running
    (daemon.folder / "a").unlink()
    assert good(running.result()) == 1
    wait_for(lambda: lines(daemon, "the loop was blocked"), 10)
    assert len(blocked_in(daemon, "GET /block")) == 1


def test_a_blocked_worker_does_not_hang_the_page(gatherd: Callable[..., Gatherd], module: Callable[..., Path]) -> None:
    daemon = with_handlers(gatherd, module, threads=2)
    running = in_background(lambda: daemon.get("/block"))
    told = wait_for(lambda: blocked_in(daemon, "GET /block"), 20)
    pages: list[Any] = []

    def look() -> None:  # which worker takes it is chance
        pages.append(good(daemon.get("/-/tasks")))

    looks = [in_background(look) for _ in range(16)]
    wait_for(lambda: pages, 20)
    assert running.running
    answers = {worker["worker"]: worker["answers"] for worker in pages[0]["workers"]}
    blocked = int(told[0]["worker"])
    assert answers == {blocked: False, 1 - blocked: True}
    (daemon.folder / "a").unlink()
    good(running.result())
    for one in looks:
        one.result()


def test_two_workers_that_block(gatherd: Callable[..., Gatherd], module: Callable[..., Path]) -> None:
    daemon = with_handlers(gatherd, module, threads=2)
    running: list[Any] = []

    def both_told() -> bool:  # which worker takes it is chance
        blocked = {line["worker"] for line in lines(daemon, "the loop is blocked") if "block_while_there" in line["where"]}
        if len(blocked) < 2 and len(running) < 40:
            running.append(in_background(lambda: daemon.get("/block", timeout=120)))
        return blocked == {"0", "1"}

    wait_for(both_told, 60)
    (daemon.folder / "a").unlink()
    for one in running:
        assert good(one.result()) == 1


def test_what_blocks_a_thread_of_the_executor_blocks_nobody(gatherd: Callable[..., Gatherd], module: Callable[..., Path]) -> None:
    daemon = with_handlers(gatherd, module)
    running = in_background(lambda: daemon.get("/elsewhere"))
    for _ in range(10):
        good(daemon.get("/-/live"))
        time.sleep(0.02)
    (daemon.folder / "a").unlink()
    assert good(running.result()) == 1
    daemon.stop()
    assert not [line for line in lines(daemon, "the loop is blocked") if "block_while_there" in line["where"]]


def test_no_wrong_names_for_a_module_that_was_replaced(gatherd: Callable[..., Gatherd], module: Callable[..., Path]) -> None:
    """The file has other functions at those places now."""
    built = module("debug", HANDLERS)
    other = module("debug", 'int inserted(int n)\n{\n\treturn n ? 0 : n;\n}\n' + HANDLERS)
    config = HANDLERS_CONFIG.replace("THREADS", "1").replace("${MODULE}", "${FOLDER}/debug.so")
    daemon = gatherd(config, files={"a": "", "debug.so": built.read_bytes()})
    daemon.write("new.so", other.read_bytes()).rename(daemon.folder / "debug.so")
    running = in_background(lambda: daemon.get("/block"))
    (told,) = wait_for(lambda: blocked_in(daemon, "GET /block"), 20)
    assert "debug.so+0x" in told["where"] and "debug.c:" not in told["where"]
    (daemon.folder / "a").unlink()
    good(running.result())


def see_it_overflow(daemon: Gatherd, path: str, task: str) -> None:
    with pytest.raises((ConnectionError, OSError)):
        daemon.get(path)
    assert daemon.process
    code = daemon.process.wait(30)
    log = daemon.log()
    if "AddressSanitizer" in log:  # its own handler stays
        assert "stack-overflow" in log
    else:
        assert code == -signal.SIGSEGV
        assert f'gatherd: the task "{task}" (id ' in log and "debug.so+0x" in log
    daemon.process = None


def test_a_stack_that_overflows_names_its_task(gatherd: Callable[..., Gatherd], module: Callable[..., Path]) -> None:
    see_it_overflow(with_handlers(gatherd, module), "/deep", "GET /deep")


@pytest.mark.parametrize("kib", [132, 150, 190, 1 << 30])
def test_a_frame_that_is_larger_than_the_stack(
    gatherd: Callable[..., Gatherd], module: Callable[..., Path], program: Path, kib: int
) -> None:
    """Without probes: it ends beside the last page, deep in the guard, or far beyond it."""
    if b"__asan_init" in program.read_bytes():
        pytest.skip("AddressSanitizer probes frames itself, on larger stacks")
    daemon = with_handlers(gatherd, module)
    assert good(daemon.get("/large/65536")) == 1
    see_it_overflow(daemon, f"/large/{kib * 1024}", "GET /large/{bytes}")


def test_a_frame_that_is_probed(gatherd: Callable[..., Gatherd], module: Callable[..., Path]) -> None:
    """It meets the guard wherever it ends: modules that are built with gatherd.pc."""
    (line,) = (line for line in (ROOT / "include/gatherd.pc.in").read_text().splitlines() if line.startswith("Cflags:"))
    flags = [word for word in line.split()[1:] if not word.startswith("-I")]
    built = module("debug", HANDLERS, *flags)
    daemon = gatherd(HANDLERS_CONFIG.replace("THREADS", "1"), files={"a": ""}, env={"MODULE": str(built)})
    see_it_overflow(daemon, f"/large/{900 * 1024}", "GET /large/{bytes}")


@pytest.mark.parametrize("word, on", [("1", True), ("0", False), ("", False)])
def test_the_environment_turns_it_on(gatherd: Callable[..., Gatherd], word: str, on: bool) -> None:
    daemon = configured(gatherd, "slow_callback: 2ms", env={"GATHERD_DEBUG": word})
    block(daemon)
    good(daemon.get("/-/live"))
    assert bool(wait_for(lambda: daemon.log_lines(), 10))
    if on:
        assert wait_for(lambda: lines(daemon, "the loop is blocked"), 10)
    assert bool(lines(daemon, "debug mode")) == on
    assert ("stacks" in good(daemon.get("/-/tasks"))) == on
    daemon.stop()
    assert bool(lines(daemon, "the loop was blocked")) == on


def test_nothing_is_told_of_what_is_not_slow(gatherd: Callable[..., Gatherd]) -> None:
    daemon = configured(gatherd, "debug: true\n  slow_callback: 1m")
    block(daemon)
    daemon.stop()
    assert not lines(daemon, "the loop is blocked") and not lines(daemon, "the loop was blocked")


def test_stacks_are_measured(gatherd: Callable[..., Gatherd]) -> None:
    daemon = configured(gatherd, "debug: true")
    for _ in range(200):
        assert daemon.post("/echo", json_body=[1]).status == 200
    measured = {stack["name"]: stack for stack in good(daemon.get("/-/tasks"))["stacks"]}
    stack = measured["POST /echo"]
    assert 0 < stack["deepest_bytes"] < stack["stack_bytes"] and stack["measured"] >= 1


def test_what_a_drain_cuts_off_is_told(gatherd: Callable[..., Gatherd], private_postgres: Postgres) -> None:
    daemon = gatherd(
        """
        server: { listen: [ "127.0.0.1:${PORT}" ], threads: 1, debug: true, drain_timeout: 300ms, request_timeout: 60s }
        sources: { pg: { postgres: "${PG}" } }
        endpoints:
          "GET /long": { gather: { long: { from: pg, sql: "select 'cut off' from pg_sleep(60)" } } }
        """,
        postgres=private_postgres,
    )
    running = in_background(lambda: daemon.get("/long", headers={"X-Request-Id": "cut-off"}))
    wait_for(lambda: running_statements(private_postgres, "'cut off'") == 1, 10)
    assert daemon.process
    os.kill(daemon.process.pid, signal.SIGTERM)
    assert running.result().status == 503
    daemon.stop()
    told = [line for line in lines(daemon, "cancelled at the end") if line.get("id") == "cut-off"]
    assert told and told[0]["task"] == "GET /long" and told[0]["state"] == "waiting"
    assert "PostgreSQL" in told[0]["awaits"] and int(told[0]["awaits_ms"]) >= 0 and int(told[0]["age_ms"]) >= 0


FORGETFUL = r"""
    #include <gatherd.h>

    static _Thread_local gd_semaphore *limit, *count;
    static _Thread_local gd_mutex *lock;

    int gd_module_start(unsigned worker, unsigned workers)
    {
        (void)worker, (void)workers;
        limit = gd_semaphore_new(10, 0);
        count = gd_semaphore_new_unbounded(10, 0);
        lock = gd_mutex_new();
        return 0;
    }

    int forgetful(gd_request *req)
    {
        if (gd_acquire(limit, GD_NEVER) < 0 || gd_acquire(limit, GD_NEVER) < 0 || gd_lock(lock, GD_NEVER) < 0)
            return -1;
        gd_release(limit);
        if (gd_acquire(count, GD_NEVER) < 0 || gd_acquire(count, GD_NEVER) < 0)
            return -1;
        gd_next(gd_pg_stream("pg", "select generate_series(1, 100000)", NULL));
        gd_scope_begin(); /* left open, too: it goes before what was made before */
        return gd_reply(req, 200, gd_null());
    }

    int careful(gd_request *req)
    {
        if (gd_acquire(limit, GD_NEVER) < 0)
            return -1;
        gd_release(limit);
        gd_close(gd_pg_stream("pg", "select 1", NULL));
        return gd_reply(req, 200, gd_null());
    }
"""


@pytest.mark.parametrize("debug", [True, False])
def test_what_is_never_released_is_told(gatherd: Callable[..., Gatherd], module: Callable[..., Path], debug: bool) -> None:
    daemon = gatherd(
        f"""
        server: {{ listen: [ "127.0.0.1:${{PORT}}" ], threads: 1, debug: {str(debug).lower()} }}
        sources: {{ pg: {{ postgres: "${{PG}}" }} }}
        endpoints:
          "GET /forgetful": {{ handler: "forgetful.so:forgetful" }}
          "GET /careful": {{ handler: "forgetful.so:careful" }}
        """,
        files={"forgetful.so": module("forgetful", FORGETFUL).read_bytes()},
    )
    good(daemon.get("/careful"))
    good(daemon.get("/forgetful"))
    daemon.stop()
    told = sorted(
        (line["msg"], line["kind"], line["count"], line["endpoint"])
        for line in daemon.log_lines()
        if line["msg"] in ("taken and never released", "left open")
    )
    assert told == debug * [("left open", "cursor", "1", "GET /forgetful")] + [
        ("taken and never released", "mutex", "1", "GET /forgetful"),
        ("taken and never released", "semaphore", "1", "GET /forgetful"),
    ] + debug * [("taken and never released", "semaphore", "2", "GET /forgetful")]
