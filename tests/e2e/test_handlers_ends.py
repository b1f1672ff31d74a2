"""Ends and beginnings of handlers' modules: what a request forgets to give back, a start that is cut off, one that fails."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import Gatherd, Postgres
from support import good, in_background, soon, wait_for

EPERM, ETIMEDOUT, ECANCELED, EBUSY = -errno.EPERM, -errno.ETIMEDOUT, -errno.ECANCELED, -errno.EBUSY

NAMES = """leave_lock take_lock leave_lock_in_tasks leave_lock_of_condition leave_lock_to_own_task leave_permits take_permits
    hand_over give count_down count_up leave_named take_named strange_gather read_twice jobs""".split()


def messages(daemon: Gatherd, text: str, **wanted: str) -> list[dict[str, str]]:
    return [line for line in daemon.log_lines() if line.get("msg") == text and wanted.items() <= line.items()]


def unreleased(daemon: Gatherd, **wanted: str) -> list[tuple[str, str]]:
    return [(line["kind"], line["count"]) for line in messages(daemon, "taken and never released", **wanted)]


def expect(call: Callable[[], object], answer: object) -> None:
    """The log is written behind the replies."""
    wait_for(lambda: call() == answer, 10, f"{answer}")


@pytest.fixture(scope="module")
def daemon(module_gatherd: Callable[..., Gatherd], module: Callable[..., Path]) -> Gatherd:
    config = 'semaphores: { only: 1, two: 2 }\nsources: { files: { files: "${FOLDER}/files", semaphore: two } }\nendpoints:\n'
    config += "".join(f"  'GET /{name}': {{ handler: '{module('ends')}:{name}' }}\n" for name in NAMES)
    return module_gatherd(config, files={"files/a.txt": "text"})


# -- what is forgotten --


def test_a_lock_of_the_start_is_given_up(daemon: Gatherd) -> None:
    assert good(daemon.get("/take_lock")) == [0, 0, EPERM]
    expect(lambda: unreleased(daemon, task="gd_module_start"), [("mutex", "1")])


def test_a_lock_of_a_request_is_given_up(daemon: Gatherd) -> None:
    for _ in range(3):
        assert good(daemon.get("/leave_lock")) is None
    assert good(daemon.get("/take_lock")) == [0, 0, EPERM]
    expect(lambda: unreleased(daemon, endpoint="GET /leave_lock", task="GET /leave_lock"), [("mutex", "1")] * 3)


def test_a_lock_of_a_task_is_given_up(daemon: Gatherd) -> None:
    for _ in range(2):
        assert good(daemon.get("/leave_lock_in_tasks")) == [0] * 8
        assert good(daemon.get("/leave_lock_of_condition")) == [0, 0, ECANCELED, 0, 0]
    for task in ("spawned", "later", "waited", "child", "another", "waits"):
        expect(lambda name=task: unreleased(daemon, task=name), [("mutex", "1")] * 2)


def test_a_handler_that_returns_with_a_lock_does_not_wait_for_itself(daemon: Gatherd) -> None:
    assert good(daemon.get("/leave_lock_to_own_task")) is None
    wait_for(lambda: messages(daemon, "a shielded task has the lock: 0"), 10)
    assert good(daemon.get("/take_lock")) == [0, 0, EPERM]


def test_permits_of_a_request_come_back(daemon: Gatherd) -> None:
    for _ in range(3):
        assert good(daemon.get("/leave_permits")) == [0, 0]
    assert good(daemon.get("/take_permits")) == [0, 0, ETIMEDOUT, 0, 0, EPERM]
    expect(lambda: unreleased(daemon, endpoint="GET /leave_permits"), [("semaphore", "2")] * 3)


def test_another_request_may_give_a_permit_back(daemon: Gatherd) -> None:
    waiting = in_background(lambda: good(daemon.get("/hand_over")))
    soon(lambda: daemon.get("/give"), lambda reply: good(reply) == 0)
    assert waiting.result() == 0
    assert good(daemon.get("/give")) == EPERM
    assert good(daemon.get("/take_permits")) == [0, 0, ETIMEDOUT, 0, 0, EPERM]
    assert unreleased(daemon, endpoint="GET /hand_over") == []


def test_what_counts_for_all_stays_taken(daemon: Gatherd) -> None:
    assert [good(daemon.get("/count_down")) for _ in range(2)] == [0, ETIMEDOUT]
    assert [good(daemon.get("/count_up")) for _ in range(2)] == [0, 0]
    assert [good(daemon.get("/count_down")) for _ in range(3)] == [0, 0, ETIMEDOUT]
    assert good(daemon.get("/count_up")) == 0


def test_a_named_permit_is_the_requests_whoever_asked_for_the_name(daemon: Gatherd) -> None:
    for _ in range(3):
        assert good(daemon.get("/leave_named")) == 0
    assert good(daemon.get("/take_named")) == [EPERM, 0, ETIMEDOUT, 0, EPERM]
    expect(lambda: len(messages(daemon, "semaphore not released", name="only")), 3)


def test_a_gather_takes_no_children_of_other_requests(daemon: Gatherd) -> None:
    assert good(daemon.get("/strange_gather")) == [EPERM, EPERM]
    expect(lambda: len(messages(daemon, "a gather can't be added to from another request")), 2)


def test_two_tasks_at_one_file_take_one_permit(daemon: Gatherd) -> None:
    for _ in range(3):
        first, second, again, *permits = good(daemon.get("/read_twice"))
        assert sorted([first, second]) == [EBUSY, 1]
        assert (again, permits) == (1, [0, 0])


def test_background_tasks_that_have_ended_are_gone(daemon: Gatherd) -> None:
    soon(lambda: daemon.get("/jobs"), lambda reply: good(reply) == 300)
    expect(lambda: [task["state"] for task in good(daemon.get("/-/tasks"))["tasks"] if task["name"] == "job"], [])


OUTSIDE = r"""
    #include <gatherd.h>
    #include <string.h>

    struct writer {
        gd_copy *copy;
        int result;
        bool writes;
    };

    static int write_all(void *arg)
    {
        enum { ROWS = 1 << 20 };
        struct writer *w = arg;
        char *rows = gd_alloc(4 * ROWS);
        for (int i = 0; i < ROWS; i++)
            memcpy(rows + 4 * i, "700\n", 4);
        while (!w->copy)
            gd_yield();
        w->writes = true;
        w->result = gd_copy_write(w->copy, rows, 4 * ROWS);
        w->writes = false;
        return 0;
    }

    /* A task of the request writes when the scope ends that the copy was made in. */
    int outside(gd_request *req)
    {
        struct writer w = {.result = 1};
        gd_task *t = gd_spawn("writes", write_all, &w);
        gd_scope *s = gd_scope_begin();
        w.copy = gd_pg_copy("pg", "copy ends_outside from stdin");
        while (!w.writes)
            gd_yield();
        gd_scope_end(s);
        bool left = !w.writes;
        int r = gd_await(t, GD_NEVER);
        return gd_reply(req, 200, gd_build("[%d, %d, %d]", left, r, w.result));
    }
"""


def test_who_is_in_a_copy_leaves_it_before_it_goes(gatherd: Callable[..., Gatherd], module: Callable[..., Path], postgres: Postgres) -> None:
    postgres.sql("create table if not exists ends_outside (n integer)", "test")
    daemon = gatherd(f"""
        sources: {{ pg: {{ postgres: "${{PG}}" }} }}
        endpoints: {{ "GET /outside": {{ handler: '{module("outside", OUTSIDE)}:outside' }} }}
    """)
    for _ in range(3):
        assert good(daemon.get("/outside")) == [1, 0, 0]
    assert postgres.sql("select count(*) from ends_outside", "test") == "0"


# -- starts --

STARTS = r"""
    #include <errno.h>
    #include <gatherd.h>
    #include <pthread.h>
    #include <stdatomic.h>
    #include <stdlib.h>
    #include <string.h>
    #include <unistd.h>

    static atomic_int started;

    static void *idle(void *arg)
    {
        for (;;)
            pause();
        return arg;
    }

    /* As a library does that the module is linked with. */
    __attribute__((constructor)) static void loaded(void)
    {
        pthread_t thread;
        if (getenv("THREAD") && pthread_create(&thread, NULL, idle, NULL) == 0)
            pthread_detach(thread);
    }

    static int linger(void *arg)
    {
        (void)arg;
        int r = gd_sleep(60000);
        gd_log(GD_LOG_INFO, "a background task cleaned up");
        return r;
    }

    int gd_module_start(unsigned worker, unsigned workers)
    {
        const char *mode = getenv("MODE"), *which = getenv("WORKER");
        int r = gd_background("lingers", linger, NULL);
        if (r < 0 || !mode || (which && worker != (unsigned)atoi(which))) {
            started++;
            return r;
        }
        gd_log(GD_LOG_INFO, "starting");
        (void)workers;
        if (strcmp(mode, "slow") == 0)
            r = gd_sleep(55000);
        else if (strcmp(mode, "late") == 0)
            r = gd_sleep(300);
        else if (strcmp(mode, "fail") == 0)
            r = gd_fail(-EINTR, 500, "no licence");
        else if (strcmp(mode, "ignore") == 0)
            for (;;)
                gd_sleep(10);
        else if (strcmp(mode, "careless") == 0)
            r = gd_sleep(55000) * 0;
        else
            sleep(1000);
        gd_log(GD_LOG_INFO, "a start returns");
        started++;
        return r;
    }

    void gd_module_stop(unsigned worker, unsigned workers)
    {
        (void)worker, (void)workers;
        gd_log(GD_LOG_INFO, "stop");
    }

    int count(gd_request *req) { return gd_reply(req, 200, gd_int(started)); }
"""


@pytest.fixture
def starting(gatherd: Callable[..., Gatherd], module: Callable[..., Path]) -> Iterator[Callable[..., Gatherd]]:
    """A daemon whose module is in its start, as MODE has it."""
    config = f"""
        server: {{ listen: [ "127.0.0.1:${{PORT}}" ], threads: 2, drain_timeout: 100ms }}
        endpoints: {{ "GET /count": {{ handler: '{module("starts", STARTS)}:count' }} }}
    """

    def run(mode: str, worker: int | None = None, **env: str) -> Gatherd:
        env |= {"MODE": mode} | ({} if worker is None else {"WORKER": str(worker)})
        daemon = gatherd(config, env=env, start=False)
        daemon._spawn()
        wait_for(lambda: messages(daemon, "starting") or not daemon.running, 60)
        return daemon

    yield run


def end(daemon: Gatherd, code: int) -> None:
    """It ends by itself, or was told to."""
    assert daemon.process
    assert daemon.process.wait(60) == code
    daemon.process = None
    assert "Sanitizer" not in daemon.log() and not messages(daemon, "left over at the end")
    assert not messages(daemon, "listening") and not messages(daemon, "started")


@pytest.mark.parametrize("mode", ["slow", "careless"])
@pytest.mark.parametrize("worker", [0, 1])
def test_a_start_is_cut_off_by_the_end(starting: Callable[..., Gatherd], mode: str, worker: int) -> None:
    """Whether it says so or not."""
    daemon = starting(mode, worker)
    began = time.monotonic()
    os.kill(daemon.pid, signal.SIGTERM)
    end(daemon, 0)
    assert time.monotonic() - began < 20
    assert len(messages(daemon, "draining", signal="SIGTERM")) == 1
    assert len(messages(daemon, "a start returns")) == 1
    assert len(messages(daemon, "a background task cleaned up")) == worker + 1
    assert len(messages(daemon, "stop")) == worker + (mode == "careless")
    assert messages(daemon, "stopped", code="0")


def test_a_start_that_does_not_end_is_told(starting: Callable[..., Gatherd]) -> None:
    daemon = starting("ignore", 1)
    os.kill(daemon.pid, signal.SIGINT)
    end(daemon, 70)
    assert messages(daemon, "gd_module_start was cancelled and does not end", worker="1", level="error")


def test_a_start_that_blocks_is_told(starting: Callable[..., Gatherd]) -> None:
    daemon = starting("block", 0)
    os.kill(daemon.pid, signal.SIGTERM)
    end(daemon, 70)
    assert messages(daemon, "a worker does not end", level="error")


def test_a_start_that_fails_ends_those_before(starting: Callable[..., Gatherd]) -> None:
    daemon = starting("fail", 1)
    end(daemon, 69)
    [line] = messages(daemon, "can't start")
    assert line["error"].endswith("gd_module_start failed on worker 1: no licence")
    assert len(messages(daemon, "a background task cleaned up")) == 2
    assert len(messages(daemon, "stop")) == 1


def test_nobody_is_answered_before_all_have_started(starting: Callable[..., Gatherd]) -> None:
    daemon = starting("late", 1)
    for _ in range(10):
        assert good(daemon.get("/count")) == 2


def test_check_starts_nothing(module: Callable[..., Path], program: Path, tmp_path: Path) -> None:
    (tmp_path / "g.yaml").write_text(f"endpoints: {{ 'GET /count': {{ handler: '{module('starts', STARTS)}:count' }} }}\n")
    env = os.environ | {"MODE": "block"}
    done = subprocess.run([program, "check", "-c", "g.yaml"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_threads_of_a_module_get_no_signals(starting: Callable[..., Gatherd]) -> None:
    """One that it started when it was loaded would end the process."""
    daemon = starting("late", THREAD="1")
    wait_for(daemon.ready, 60)
    daemon.stop()
    assert messages(daemon, "stopped", code="0")
