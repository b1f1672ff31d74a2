"""Handlers in C: how their modules are loaded, each word about tasks, background tasks, and what bad use is answered."""

from __future__ import annotations

import errno
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support import Wire, at_once, good, in_background, problem, request_line, soon, wait_for

ROOT = Path(__file__).resolve().parents[2]
ECANCELED, ETIMEDOUT, EDEADLK, EBUSY = -errno.ECANCELED, -errno.ETIMEDOUT, -errno.EDEADLK, -errno.EBUSY
EPERM, ENOENT, EPIPE, EAGAIN, EINVAL, EBADF = -errno.EPERM, -errno.ENOENT, -errno.EPIPE, -errno.EAGAIN, -errno.EINVAL, -errno.EBADF
EINPROGRESS = -errno.EINPROGRESS

WORDS: dict[str, Any] = {
    "spawn": {"early": 0, "ended": 1, "results": [2, 1, 2]},
    "soon": "0abab",
    "cancel": {"results": [ECANCELED, ECANCELED], "cleaned": 1, "me": 0},
    "await_late": [ETIMEDOUT, 7, EAGAIN],
    "circles": {"itself": EDEADLK, "circle": EDEADLK, "busy": EBUSY, "fine": 0, "now": 0},
    "wait_for": {"in_time": 5, "late": ETIMEDOUT},
    "many": sum(range(1000)),
    "sleeps": {"slept": 0, "yielded": 0, "zero": 0, "long_enough": 1},
    "deadlines": {"narrow": ETIMEDOUT, "still": ETIMEDOUT, "wide": 0},
    "shield": {"r": 0, "inside": 0, "cancelled": 1, "nested": 0, "late": ETIMEDOUT, "after": ECANCELED},
    "later": {"order": "aabb", "results": [0, 0, ECANCELED], "long_enough": 1},
    "ticks": {"first": 1, "fine": 1, "early": ETIMEDOUT, "missed": 1, "none": 1},
    "locals": {"before": None, "seen": "ann", "mine": "bob", "r": 0},
    "scopes": {"running": 0, "only": 1, "both": 1, "text": "5%"},
    "scope_left": None,
    "gather_fast": {
        "indices": [0, 1, 2],
        "pending": EINPROGRESS,
        "early": ETIMEDOUT,
        "r": ENOENT,
        "results": [1, ENOENT, ECANCELED],
        "none": ENOENT,
        "cleaned": 1,
        "late": ECANCELED,
    },
    "gather_all": {"r": 0, "results": [ENOENT if i % 7 == 3 else 100 + i for i in range(20)], "value": EINVAL},
    "gather_order": {"late": ETIMEDOUT, "completed": [1, 2, 0], "end": ENOENT},
    "gather_cancel": [0, ECANCELED, 4],
    "semaphores": {
        "bounded": {"r": 0, "most": 2},
        "named": {"r": 0, "most": 3},
        "none": 1,
        "unheld": [EPERM, EPERM],
        "held": 0,
        "late": ETIMEDOUT,
        "busy": EBUSY,
        "given": 0,
        "waited": 0,
        "more": [0, 0, 0],
    },
    "mutexes": {"unheld": EPERM, "held": 0, "twice": EDEADLK, "late": ETIMEDOUT, "given": 0, "r": 0, "most": 1},
    "events": {"late": ETIMEDOUT, "before": 0, "r": 0, "at_once": 0, "after": 1, "cleared": 0},
    "conditions": {"unheld": EPERM, "mute": EPERM, "held": 0, "late": ETIMEDOUT, "one": 0, "woken": [1, 3], "r": 0},
    "queues": {
        "early": ETIMEDOUT,
        "empty": EAGAIN,
        "most": 2,
        "full": EAGAIN,
        "got": list(range(1, 11)),
        "end": EPIPE,
        "produced": 0,
        "closed": EPIPE,
        "last": [21, 40, 11, 32],
        "lowest": [40, 11, 21, 32],
    },
    "joins": {"over": EPERM, "r": 0, "late": ETIMEDOUT, "joined": 0},
    "futures": {"early": ETIMEDOUT, "before": 0, "r": 0, "results": [7, 7, 7], "late": 7, "done": 1},
    "promises": [0, 11],
    "promise_left": 0,
    "blocking": {"r": 42, "n": 2, "in_time": 42, "ran": 1, "late": ETIMEDOUT, "late_ran": 0, "dropped": [0, 1]},
    "blocking_cancelled": [42, 2, 42, 2],
    "descriptors": {"late": ETIMEDOUT, "writable": 2, "readable": 1, "n": 1, "r": 1, "hung_up": 1, "bad": EBADF},
    "elsewhere": {"refused": 1, "failed": 1},
}


def endpoints(path: Path, *names: str, **more: str) -> str:
    """A configuration's endpoints: each function at its name. `more`: further keys of one."""
    lines = [f'  "GET /{name}": {{ handler: "{path}:{name}"{", " + more[name] if name in more else ""} }}\n' for name in names]
    return "endpoints:\n" + "".join(lines)


def messages(daemon: Any, text: str) -> list[dict[str, str]]:
    return [line for line in daemon.log_lines() if line.get("msg") == text]


def logged(daemon: Any, text: str) -> dict[str, str]:
    """The first line of that message; waited for."""
    return wait_for(lambda: messages(daemon, text), 10, f"a line {text!r}")[0]


def check(program: Path, folder: Path, text: str) -> tuple[int, str]:
    """What `gatherd check` says of a configuration in that folder: the exit code, and the mistakes without the file's name."""
    (folder / "gatherd.yaml").write_text(text)
    done = subprocess.run([program, "check", "-c", "gatherd.yaml"], cwd=folder, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr.replace("gatherd.yaml:", "")


# -- words --


@pytest.fixture(scope="module")
def words(module_gatherd, module):
    semaphores = "semaphores: { three: 3, only: { permits: 1, max_waiting: 5 } }\n"
    names = [*WORDS, "unasked", "forget", "linger", "lingered", "too_slow"]
    return module_gatherd(semaphores + endpoints(module("tasks"), *names, too_slow="timeout: 50ms"))


@pytest.mark.parametrize("word", WORDS)
def test_word(words, word):
    if word == "blocking":  # a counter of the process: once
        assert good(words.get("/blocking")) == WORDS[word]
        return
    for _ in range(2):
        assert good(words.get(f"/{word}")) == WORDS[word]


def test_a_task_that_failed_and_nobody_asked_is_logged(words):
    assert good(words.get("/unasked")) is None
    line = logged(words, "a task failed and nobody asked")
    assert (line["name"], line["result"], line["level"]) == ("forgotten", str(ENOENT), "warning")


def test_a_permit_that_was_forgotten_comes_back(words):
    for _ in range(3):
        assert good(words.get("/forget")) is None
    line = logged(words, "semaphore not released")
    assert (line["name"], line["permits"]) == ("only", "1")


def test_calls_from_other_threads_are_logged_once(words):
    for _ in range(2):
        assert good(words.get("/elsewhere")) == WORDS["elsewhere"]
    logged(words, "called outside the tasks of handlers")
    lines = [line["function"] for line in messages(words, "called outside the tasks of handlers")]
    assert {"gd_spawn", "gd_sleep", "gd_alloc", "gd_mutex_new"} <= set(lines)
    assert len(lines) == len(set(lines))


# -- the end of a request --


def test_a_client_that_leaves_cancels_handler_and_children(words):
    before = good(words.get("/lingered"))
    with Wire(words) as wire:
        wire.get("/linger")
        wait_for(lambda: words.get("/-/live").status == 200, 5)
    wait_for(lambda: good(words.get("/lingered")) == [n + 1 for n in before], 20)
    assert request_line(words, path="/linger")["status"] == "499"


def test_the_deadline_of_the_endpoint_ends_it(words):
    assert problem(words.get("/too_slow"), 504)


def test_drain_cancels_what_lingers(gatherd, module):
    server = 'server: { listen: [ "127.0.0.1:${PORT}" ], threads: 1, drain_timeout: 100ms }\n'
    daemon = gatherd(server + endpoints(module("tasks"), "linger", "promise_left"))
    lingering = in_background(lambda: daemon.get("/linger"))
    wait_for(lambda: good(daemon.get("/promise_left")) == 0, 5)
    wait_for(lambda: "/linger" in daemon.get("/-/tasks").text, 20)
    daemon.stop()
    problem(lingering.result(), 503)
    assert messages(daemon, "a promise is kept")


# -- what is around the call --


AROUND = r"""
    #include <errno.h>
    #include <gatherd.h>
    #include <string.h>

    int echo(gd_request *req)
    {
        const char *header = gd_header(req, "X-Thing");
        return gd_reply(req, 200, gd_build("{n: %p, q: %p, unknown: %d, method: %s, path: %s, header: %s, host: %s, none: %d, client: %s, same: %d}",
                        gd_param(req, "n"), gd_param(req, "q"), gd_failed(gd_param(req, "other")), gd_method(req), gd_path(req), header,
                        gd_header(req, "HOST"), gd_header(req, "x-none") == NULL, gd_client(req),
                        strlen(gd_request_id(req)) > 0));
    }
    int silent(gd_request *req) { (void)req; return 7; }
    int fails(gd_request *req) { (void)req; return gd_fail(-ENOENT, 404, "No such %s.", "customer"); }
    int other(gd_request *req) { (void)req; gd_fail(-ENOENT, 404, "No such customer."); return -EBUSY; }
    int plain_errno(gd_request *req) { (void)req; return -ENOENT; }
    int error_reply(gd_request *req) { return gd_reply_error(req, gd_fail(-EBUSY, 429, "Not now.")); }
    int failed_value(gd_request *req) { return gd_reply(req, 200, gd_failure(-EINVAL, 422, "Not %d.", 5)); }
    int twice(gd_request *req)
    {
        gd_reply_text(req, 201, "%s", "first");
        int again = gd_reply(req, 200, gd_int(1));
        gd_log(GD_LOG_WARN, "again: %d \"%s\"", again, "x\ny");
        return again;
    }
    int headers(gd_request *req)
    {
        int r[] = {gd_reply_header(req, "X-One", "1"), gd_reply_header(req, "content-length", "5"), gd_reply_header(req, "a b", "c"),
                   gd_reply_header(req, "x", "a\r\nb: c"), gd_reply_header(req, "Location", "/there"),
                   gd_reply_header(req, "Content-Type", "application/vnd.x+json"), gd_reply(req, 99, gd_null())};
        return gd_reply(req, 201, gd_build("[%d, %d, %d, %d, %d, %d, %d]", r[0], r[1], r[2], r[3], r[4], r[5], r[6]));
    }
    int bytes(gd_request *req) { return gd_reply_bytes(req, 200, "image/x-thing", "a\0b", 3); }
    int nothing(gd_request *req) { return gd_reply(req, 204, gd_null()); }
    int slow(gd_request *req) { int r = gd_sleep(300); return r < 0 ? r : gd_reply(req, 200, gd_null()); }
"""


@pytest.fixture(scope="module")
def around(module_gatherd, module):
    names = ["silent", "fails", "other", "plain_errno", "error_reply", "failed_value", "twice", "headers", "bytes", "nothing", "slow"]
    path = module("around", AROUND)
    more = f'  "GET /echo/{{n}}": {{ handler: "{path}:echo", parameters: {{ n: {{ type: integer }}, q: {{ default: "d" }} }} }}\n'
    more += f'  "GET /limited": {{ handler: "{path}:slow", rate: 2/h }}\n'
    more += f'  "GET /one": {{ handler: "{path}:slow", semaphore: few }}\n'
    semaphores = "semaphores: { few: { permits: 1, max_waiting: 0 } }\n"
    return module_gatherd(semaphores + endpoints(path, *names) + more)


def test_what_a_request_says(around):
    said = good(around.request("GET", "/echo/5?q=a%20b", headers={"X-Thing": "t"}))
    assert said.pop("host").startswith("127.0.0.1")
    assert said == {
        "n": 5,
        "q": "a b",
        "unknown": EINVAL,
        "method": "GET",
        "path": "/echo/5",
        "header": "t",
        "none": 1,
        "client": "127.0.0.1",
        "same": 1,
    }
    assert good(around.get("/echo/6"))["q"] == "d"


def test_parameters_are_checked_before(around):
    assert {e["name"] for e in problem(around.get("/echo/x?z=1"), 400)["errors"]} == {"n", "z"}


def test_no_reply_is_a_500_and_a_line(around):
    problem(around.get("/silent"), 500)
    line = logged(around, "a handler returned without a reply")
    assert (line["level"], line["handler"], line["endpoint"]) == ("error", "silent", "GET /silent")


def test_failures_become_problems(around):
    assert problem(around.get("/fails"), 404)["detail"] == "No such customer."
    assert "detail" not in problem(around.get("/other"), 503)
    assert "detail" not in problem(around.get("/plain_errno"), 404)
    assert around.get("/error_reply").status == 429
    assert problem(around.get("/failed_value"), 422)["detail"] == "Not 5."


def test_the_first_reply_counts(around):
    reply = around.get("/twice")
    assert (reply.status, reply.body, reply.headers["Content-Type"]) == (201, b"first", "text/plain; charset=utf-8")
    line = logged(around, "second reply to one request")
    assert line["function"] == "gd_reply"
    assert logged(around, f'again: {-errno.EALREADY} "x\\ny"')["id"] == reply.headers["X-Request-Id"]


def test_headers_of_a_reply(around):
    reply = around.get("/headers")
    assert reply.status == 201
    assert reply.json() == [0, EINVAL, EINVAL, EINVAL, 0, 0, EINVAL]
    assert (reply.headers["X-One"], reply.headers["Location"], reply.headers["Content-Type"]) == ("1", "/there", "application/vnd.x+json")


def test_bytes_and_nothing(around):
    reply = around.get("/bytes")
    assert (reply.body, reply.headers["Content-Type"]) == (b"a\0b", "image/x-thing")
    reply = around.get("/nothing")
    assert (reply.status, reply.body) == (204, b"")


def test_rate_and_semaphore_of_the_endpoint(around):
    assert [around.get("/limited").status for _ in range(3)] == [200, 200, 429]
    soon(lambda: {reply.status for reply in at_once([lambda: around.get("/one")] * 8)}, lambda found: found == {200, 503})


# -- background tasks --


def test_background_tasks(gatherd, module):
    config = "semaphores: { only: 1 }\n" + endpoints(module("background"), "state")
    config += f'  "GET /twice/{{n}}": {{ handler: "{module("background")}:twice", parameters: {{ n: {{ type: integer }} }} }}\n'
    daemon = gatherd(config, threads=2, env={"MODE": ""})
    state = soon(lambda: daemon.get("/state"), lambda reply: reply.json()["failures"] >= 4 and reply.json()["ticks"] >= 6).json()
    assert state["started"] == 200 + state["worker"]
    assert (state["polls"], state["once"], state["held"], state["too_late"]) == (4, 2, 1, EPERM)
    assert [good(daemon.get(f"/twice/{n}")) for n in range(5)] == [0, 2, 4, 6, 8]
    daemon.stop()
    assert len(messages(daemon, "a poll cleaned up")) == 2
    assert len(messages(daemon, "a task of the start cleaned up")) == 2
    assert sorted(line["msg"] for line in daemon.log_lines() if line.get("msg", "").startswith("worker ")) == [
        "worker 0 of 2 stops: 0",
        "worker 1 of 2 stops: 0",
    ]
    failed = messages(daemon, "background task failed")
    pauses = {name: [line["pause_ms"] for line in failed if line["name"] == name and line["worker"] == "0"] for name in ("fails", "tick")}
    assert pauses["fails"][:2] == ["100", "200"][: len(pauses["fails"])]
    assert {line["error"] for line in failed if line["name"] == "tick"} == {"odd ticks only"}
    assert {line["result"] for line in failed if line["name"] == "fails"} == {str(-errno.ENOLINK)}


def test_modules_without_endpoints_are_started(gatherd, module):
    daemon = gatherd(f'semaphores: {{ only: 1 }}\nmodules: [ "{module("background")}" ]\nendpoints:\n  "GET /a": {{ respond: 1 }}\n')
    assert good(daemon.get("/a")) == 1
    daemon.stop()
    assert len(messages(daemon, "a poll cleaned up")) == 1


def test_a_start_that_fails_refuses_the_daemons(gatherd, module, program):
    daemon = gatherd(endpoints(module("background"), "state"), threads=2, env={"MODE": "refuse"}, start=False)
    done = subprocess.run(daemon.command(), env=daemon.environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 69
    assert "gd_module_start failed on worker 0: no licence for 2 workers" in done.stderr
    assert not re.search("Sanitizer|left over", done.stderr)


# -- loading --


def test_modules_that_cannot_be_used(module, program, tmp_path):
    (tmp_path / "old").mkdir()
    header = (ROOT / "include/gatherd.h").read_text()
    (tmp_path / "old/gatherd.h").write_text(re.sub(r"#define GATHERD_ABI\s+\d+", "#define GATHERD_ABI 999", header))
    old = module("tasks", None, include=tmp_path / "old")
    stranger = module("stranger", "int f(void *req) { return req ? 1 : 0; }")
    internal = module(
        "internal",
        """
        #include <gatherd.h>
        int task_spawn(void **out, int (*fn)(void *), void *arg, const void *options);
        int f(gd_request *req) { return task_spawn((void **)0, 0, req, 0); }
        """,
    )
    (tmp_path / "text.so").write_text("not a shared object")
    abi = re.search(r"#define GATHERD_ABI\s+(\d+)", header)[1]
    code, said = check(
        program,
        tmp_path,
        f"""modules: [ gone.so, "text.so" ]
endpoints:
  "GET /a": {{ handler: "{old}:spawn" }}
  "GET /b": {{ handler: "{stranger}:f" }}
  "GET /c": {{ handler: "{internal}:f" }}
  "GET /d": {{ handler: "{module("tasks")}:spwan" }}
  "GET /e": {{ handler: "{module("tasks")}:nothing_like_it" }}
  "GET /f": {{ handler: "{module("tasks")}:spawn" }}
""",
    )
    lines = said.splitlines()
    assert code == 78
    assert "1:12: error: the module can't be loaded: ./gone.so: cannot open shared object file: No such file or directory" in lines
    assert any(line.startswith("1:21: error: the module can't be loaded: ./text.so: ") for line in lines)
    assert f"3:24: error: {old} was built for ABI 999 of gatherd, while this one has {abi}: build it with this one's gatherd.h" in lines
    assert f"4:24: error: {stranger} is no module of gatherd: build it with gatherd.h" in lines
    assert any(re.match(r"5:24: error: the module can't be loaded: .*internal\.so: undefined symbol: task_spawn$", line) for line in lines)
    assert f'6:24: error: {module("tasks")} has no function "spwan": did you mean "spawn"?' in lines
    assert f'7:24: error: {module("tasks")} has no function "nothing_like_it"' in lines
    assert lines[-1] == "7 errors"


def test_a_module_stands_beside_the_file_that_names_it(module, program, tmp_path):
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d/tasks.so").write_bytes(module("tasks").read_bytes())
    (tmp_path / "conf.d/more.yaml").write_text(endpoints(Path("tasks.so"), "spawn"))
    assert check(program, tmp_path, 'include: conf.d/*.yaml\nendpoints: { "GET /a": { respond: 1 } }\n') == (0, "")


def test_only_the_public_names_are_exported(program):
    out = subprocess.run(["nm", "-D", "--defined-only", program], capture_output=True, text=True, check=True).stdout
    functions = {line.split()[2].split("@")[0] for line in out.splitlines() if line.split()[1] in "TtWwi"}
    ours = {name for name in functions if not name.startswith(("__", "_init", "_fini"))}
    header = re.sub(r"/\*.*?\*/", "", (ROOT / "include/gatherd.h").read_text(), flags=re.DOTALL)
    declared = set(re.findall(r"^GD_PUBLIC [^;]*?\b(gd_\w+)\(", header, re.MULTILINE))
    assert len(declared) > 100
    assert ours == declared - {"gd_module_start", "gd_module_stop"}


def test_installed_header_builds_a_module(program, tmp_path):
    folder = program.parent
    subprocess.run(
        ["make", "-o", str(folder / "gatherd"), f"B={folder}", f"DESTDIR={tmp_path}", "PREFIX=/opt/x", "install"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=120,
    )
    env = os.environ | {"PKG_CONFIG_PATH": f"{tmp_path}/opt/x/lib/pkgconfig", "PKG_CONFIG_SYSROOT_DIR": str(tmp_path)}
    (tmp_path / "m.c").write_text("#include <gatherd.h>\nint f(gd_request *req) { return gd_reply(req, 200, gd_null()); }\n")
    build = 'cc -shared -fPIC $(pkg-config --cflags gatherd) -o "$1/m.so" "$1/m.c"'
    subprocess.run(["sh", "-ec", build, "sh", str(tmp_path)], env=env, check=True, timeout=60)
    installed = tmp_path / "opt/x/bin/gatherd"
    version = subprocess.run([installed, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    said = subprocess.run(["pkg-config", "--modversion", "gatherd"], env=env, capture_output=True, text=True, check=True).stdout
    assert said.strip() == version
    assert check(installed, tmp_path, 'endpoints: { "GET /a": { handler: "m.so:f" } }\n') == (0, "")


def test_the_header_is_cxx_too(tmp_path):
    (tmp_path / "m.cc").write_text('#include <gatherd.h>\nextern "C" int f(gd_request *req) { return gd_reply(req, 200, gd_null()); }\n')
    command = ["c++", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'include'}", "-o", tmp_path / "m.so", tmp_path / "m.cc"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
