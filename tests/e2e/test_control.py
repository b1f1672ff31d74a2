"""The control socket, the commands that use it, who sees the pages below /-/, and readiness."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import Gatherd
from support import Wire, good, in_background, problem, soon, wait_for

CONFIG = """
server: { listen: [ "127.0.0.1:${PORT}", "unix:${FOLDER}/http" ], control: "${FOLDER}/control", threads: 2 }
sources:
  gone: { http: "http://127.0.0.1:1", ready: false }
  away: { postgres: "postgresql://nobody@127.0.0.1:1/x", pool: { acquire_timeout: 100ms } }
  lost: { http: "http://127.0.0.1:1" }
endpoints:
  "GET /": { respond: here }
  "GET /gone": { gather: { x: { from: gone, get: / } } }
  "GET /lost": { gather: { x: { from: lost, get: / } } }
  "GET /away": { gather: { x: { from: away, sql: select 1 } } }
"""
ADMIN = """
server: { listen: "127.0.0.1:${PORT}", admin: "127.0.0.1:${ADMIN}", control: "${FOLDER}/control" }
endpoints: { "GET /": { respond: here } }
"""
PROXY_FIELDS = ["Via", "X-Real-IP", "X-Forwarded-For", "X-Forwarded-Host", "x-forwarded-proto", "X-Forwarded-Anything", "Forwarded"]


@pytest.fixture(scope="module")
def daemon(module_gatherd: Callable[..., Gatherd]) -> Gatherd:
    return module_gatherd(CONFIG)


@pytest.fixture(scope="module")
def admin(module_gatherd: Callable[..., Gatherd]) -> Gatherd:
    return module_gatherd(ADMIN)


@pytest.fixture
def control(daemon: Gatherd) -> Iterator[Wire]:
    with Wire(daemon, unix=daemon.folder / "control") as wire:
        yield wire


def command(daemon: Gatherd, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    words = (*words, "--control", str(daemon.folder / "control"))
    return subprocess.run([daemon.program, *words], capture_output=True, text=True, timeout=120, **options)


# -- the socket --


def test_only_its_user_reaches_it(daemon: Gatherd) -> None:
    path = daemon.folder / "control"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    if os.geteuid() != 0:
        pytest.skip("it takes root to be somebody else")
    # The program may stand in a folder that is root's alone.
    program = shutil.copy(daemon.program, daemon.folder / "program")
    daemon.folder.chmod(0o755)
    try:
        done = subprocess.run([program, "ready", "on", "--control", path], capture_output=True, text=True, timeout=60, user=65534, group=65534)
    finally:
        daemon.folder.chmod(0o700)
    expected = f"gatherd: {path}: permission denied: run it as root or as user gatherd\n"
    assert (done.returncode, done.stdout, done.stderr) == (77, "", expected)


def test_it_has_every_page_and_nothing_else(control: Wire) -> None:
    for path in ("/-/live", "/-/metrics", "/-/tasks"):
        assert control.get(path, "X-Forwarded-For: 192.0.2.1", "Via: 1.1 x").reply().status == 200
    problem(control.get("/").reply(), 404)
    problem(control.get("/-/none").reply(), 404)
    assert control.send("OPTIONS /-/ready HTTP/1.1\r\nHost: x\r\n\r\n").reply().headers["Allow"] == "GET, HEAD, POST, OPTIONS"
    problem(control.post("/-/live", "{}").reply(), 405)
    problem(control.send("DELETE /-/ready HTTP/1.1\r\nHost: x\r\n\r\n").reply(), 405)


@pytest.mark.parametrize("path", ["/-/ready", "/-/reload", "/-/upgrade"])
def test_nothing_is_changed_by_other_listeners(daemon: Gatherd, admin: Gatherd, path: str) -> None:
    for ready in (False, True):
        problem(daemon.post(path, json_body={"ready": ready}), 404)
        problem(admin.post(path, json_body={"ready": ready}), 404)
        problem(admin.post(path, json_body={"ready": ready}, port=admin.admin_port), 404)
        with Wire(daemon, unix=daemon.folder / "http") as wire:
            problem(wire.post(path, '{"ready":false}').reply(), 404)
    assert good(admin.get("/-/ready", port=admin.admin_port))


def test_it_takes_who_comes_when_all_connections_are_taken(gatherd: Callable[..., Gatherd]) -> None:
    daemon = gatherd("""
        server: { listen: "127.0.0.1:${PORT}", control: "${FOLDER}/control", max_connections: 1 }
        endpoints: { "GET /": { respond: here } }
    """)
    with contextlib.ExitStack() as stack:
        taken = stack.enter_context(Wire(daemon))
        assert taken.get("/").reply().status == 200
        # Whoever looks at it through an admin address has 64 more: here these are the control socket's, too.
        for _ in range(60):
            stack.enter_context(Wire(daemon, unix=daemon.folder / "control"))
        assert command(daemon, "status").returncode == 0
        assert command(daemon, "ready", "off").returncode == 0
        problem(taken.get("/-/ready").reply(), 503)


def test_what_is_too_large_or_too_slow_is_refused(gatherd: Callable[..., Gatherd]) -> None:
    daemon = gatherd(ADMIN.replace("admin:", "read_timeout: 1s, idle_timeout: 1s, admin:"))

    def wire() -> Wire:
        return Wire(daemon, unix=daemon.folder / "control")

    with wire() as large:
        large.send(f"POST /-/ready HTTP/1.1\r\nHost: x\r\nContent-Length: {1 << 30}\r\n\r\n")
        problem(large.reply(), 413)
    with wire() as long:
        long.send("GET /-/live HTTP/1.1\r\nHost: x\r\n" + "".join(f"X-{n}: {'x' * 1000}\r\n" for n in range(20)))
        problem(long.reply(), 431)
    with wire() as silent:
        assert silent.ended(60)
    with wire() as slow:
        slow.send("POST /-/ready HTTP/1.1\r\nHost: x\r\nContent-Length: 15\r\n\r\n{")
        problem(slow.reply(), 408)
        assert slow.ended(60)


@pytest.mark.parametrize("body", ["", "{}", "true", "[]", '{"ready":1}', '{"ready":null}', '{"ready":true,"x":1}', '{"ready":tru', "x" * 1000])
def test_a_body_that_says_nothing_changes_nothing(control: Wire, body: str) -> None:
    problem(control.post("/-/ready", body).reply(), 400)


def test_a_stale_file_is_replaced_and_a_live_one_is_not(gatherd: Callable[..., Gatherd], admin: Gatherd) -> None:
    dead = gatherd(ADMIN)
    assert dead.process is not None
    dead.process.send_signal(signal.SIGKILL)
    dead.process.wait(20)
    dead.process = None
    assert (dead.folder / "control").exists()
    dead.start()
    assert command(dead, "ready", "on").returncode == 0
    thief = gatherd(
        'server: { listen: "127.0.0.1:${PORT}", control: "${CONTROL}" }\nendpoints: { "GET /": { respond: x } }',
        env={"CONTROL": str(admin.folder / "control")},
        start=False,
    )
    thief._spawn()
    assert thief.process is not None and thief.process.wait(20) == 71
    thief.process = None
    assert "gatherd.yaml:1:49: error: can't listen on unix:" in thief.log()
    assert command(admin, "ready", "on").returncode == 0
    dead.stop()
    assert not (dead.folder / "control").exists()


def test_where_it_is(gatherd: Callable[..., Gatherd], tmp_path: Path) -> None:
    text = 'server: { listen: "127.0.0.1:${PORT}" }\nendpoints: { "GET /": { respond: here } }'
    daemon = gatherd(text, env={"RUNTIME_DIRECTORY": f"{tmp_path}:/other"})
    assert stat.S_IMODE((tmp_path / "control.sock").stat().st_mode) == 0o600
    environment = {k: v for k, v in os.environ.items() if k != "RUNTIME_DIRECTORY"}
    there = subprocess.run([daemon.program, "ready", "on"], env=environment | {"RUNTIME_DIRECTORY": str(tmp_path)}, timeout=60)
    assert there.returncode == 0
    daemon.stop()
    none = gatherd(text.replace('" }', '", control: false }'), env={"RUNTIME_DIRECTORY": str(tmp_path)})
    assert not (tmp_path / "control.sock").exists() and none.get("/").status == 200
    for word in ("on", "off"):
        done = subprocess.run([none.program, "ready", word], env=environment, capture_output=True, text=True, timeout=60)
        expected = "gatherd: /run/gatherd/control.sock: nobody answers there: No such file or directory\n"
        assert (done.returncode, done.stderr) == (69, expected)


def test_nobody_answers_there(daemon: Gatherd, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as plain:
        plain.bind(str(path))
    done = subprocess.run([daemon.program, "ready", "on", "--control", path], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (69, f"gatherd: {path}: nobody answers there: Connection refused\n")


@pytest.mark.parametrize("words", [["ready"], ["ready", "maybe"], ["ready", "on", "off"], ["ready", "on", "--control"], ["ready", "on", "--control", "s"]])
def test_a_command_that_is_not_one(program: Path, words: list[str]) -> None:
    assert subprocess.run([program, *words], capture_output=True, timeout=60).returncode == 64


# -- who sees the private pages --


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8080", "127.1.2.3", "localhost", "LocalHost:1", "[::1]", "[::1]:8080"])
def test_a_loopback_host_is_answered(daemon: Gatherd, host: str) -> None:
    for path in ("/-/metrics", "/-/tasks"):
        assert daemon.get(path, headers={"Host": host}).status == 200


HOSTS = ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "127.evil.example", "127.0.0.1evil", "1270.0.0.1"]


@pytest.mark.parametrize("host", [*HOSTS, "10.0.0.1", "[::2]", "[::1]evil", "127.1"])
def test_a_foreign_host_is_misdirected(daemon: Gatherd, admin: Gatherd, host: str) -> None:
    if host != "[::1]evil":  # which is no Host at all
        problem(daemon.get("/-/metrics", headers={"Host": host}), 421)
        problem(daemon.get("/-/tasks", headers={"Host": host}), 421)
        assert daemon.get("/-/live", headers={"Host": host}).status == 200
        assert daemon.get("/", headers={"Host": host}).status == 200
        assert admin.get("/-/tasks", headers={"Host": host}, port=admin.admin_port).status == 200
    with Wire(daemon) as wire:
        wire.send(f"GET http://{host}/-/metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        problem(wire.reply(), 421, 400)


@pytest.mark.parametrize("name", PROXY_FIELDS)
def test_what_a_proxy_forwards_is_hidden(daemon: Gatherd, admin: Gatherd, name: str) -> None:
    for value in ("192.0.2.1", ""):
        problem(daemon.get("/-/metrics", headers={name: value}), 404)
        assert daemon.get("/-/live", headers={name: value}).status == 200
        assert admin.get("/-/metrics", headers={name: value}, port=admin.admin_port).status == 200
    with Wire(daemon, unix=daemon.folder / "http") as wire:
        assert wire.get("/-/tasks").reply().status == 200
        problem(wire.get("/-/tasks", f"{name}: x").reply(), 404)


@pytest.mark.parametrize("path", ["/-/live", "/-/ready", "/-/metrics", "/-/tasks", "/-/none"])
def test_every_page_has_the_headers(daemon: Gatherd, admin: Gatherd, path: str) -> None:
    for reply in (daemon.get(path), admin.get(path, port=admin.admin_port), daemon.get(path, headers={"Host": "evil.example"})):
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["Cache-Control"] == "no-store"
        assert reply.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert daemon.get("/").headers["Cross-Origin-Resource-Policy"] is None


def test_check_warns_of_trusted_proxies(program: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    text = 'server: {{ {} trusted_proxies: [ "10.0.0.0/8" ] }}\nendpoints: {{ "GET /": {{ respond: x }} }}\n'
    for admin, warned in (("", True), ('admin: "127.0.0.1:9091",', False)):
        path.write_text(text.format(admin))
        done = subprocess.run([program, "check", "-c", path], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0
        assert (f"{path}:1:" in done.stderr and "warning: trusted_proxies without admin" in done.stderr) == warned


# -- readiness --


def down(daemon: Gatherd, query: str = "") -> list[str]:
    reply = daemon.get("/-/ready" + query)
    return problem(reply, 503)["down"] if reply.status == 503 else good(reply) and []


def test_readiness_leaves_out_what_it_shall(daemon: Gatherd) -> None:
    for path in ("/gone", "/lost", "/away"):
        problem(daemon.get(path), 503)
    # All workers say the same: each connection goes to one of them.
    for _ in range(20):
        assert down(daemon) == ["away", "lost"]
        assert down(daemon, "?ignore=away") == ["lost"]
        assert down(daemon, "?x=1&ignore=lost,none") == ["away"]
        for query in ("?ignore=away,lost", "?ignore=*", "?ignore=away&ignore=lost", "?ignore=%61way%2Clost", "?ignore=none,*"):
            assert down(daemon, query) == []
    for query in ("?ignore=", "?ignore", "?ignore=awa,awayy", "?ignore=%zz", "?IGNORE=*", "?ignore=away%00"):
        assert "away" in down(daemon, query)
        problem(daemon.get("/lost"), 503)


def test_it_is_taken_out_and_in_by_hand(admin: Gatherd) -> None:
    done = command(admin, "ready", "off")
    assert (done.returncode, done.stdout, done.stderr) == (0, "not ready, until `gatherd ready on`\n", "")
    problem(admin.get("/-/ready", port=admin.admin_port), 503)
    problem(admin.get("/-/ready?ignore=*", port=admin.admin_port), 503)
    assert good(admin.get("/")) == "here"
    assert good(admin.get("/-/live", port=admin.admin_port))
    done = command(admin, "ready", "on")
    assert (done.returncode, done.stdout, done.stderr) == (0, "ready\n", "")
    assert good(admin.get("/-/ready", port=admin.admin_port)) == {"ready": True}


DRAINING = """
server: { listen: "127.0.0.1:${PORT}", control: "${FOLDER}/control", threads: 2, drain_delay: %s }
endpoints: { "GET /": { respond: here } }
"""


def test_a_drain_begins_with_readiness(gatherd: Callable[..., Gatherd]) -> None:
    daemon = gatherd(DRAINING % "2s")
    assert daemon.process is not None
    began = time.monotonic()
    daemon.process.send_signal(signal.SIGTERM)
    soon(lambda: daemon.get("/-/ready"), lambda reply: reply.status == 503)
    while time.monotonic() - began < 1:
        assert daemon.get("/").status == 200, "it still accepts"
        problem(daemon.get("/-/ready?ignore=*"), 503)
    assert daemon.process.wait(60) == 0
    assert time.monotonic() - began >= 2


def test_a_second_signal_ends_the_delay(gatherd: Callable[..., Gatherd]) -> None:
    daemon = gatherd(DRAINING % "1h")
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGTERM)
    soon(lambda: daemon.get("/-/ready"), lambda reply: reply.status == 503)
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(60) == 0


def test_the_control_socket_closes_last(gatherd: Callable[..., Gatherd], module: Callable[..., Path]) -> None:
    built = module("slow", "#include <gatherd.h>\nint slow(gd_request *req) { gd_sleep(1500); return gd_reply(req, 200, gd_list()); }\n")
    daemon = gatherd(ADMIN.replace("endpoints: {", f'endpoints: {{ "GET /slow": {{ handler: "{built}:slow" }},'))
    running = in_background(lambda: daemon.get("/slow"))
    wait_for(lambda: "GET /slow" in daemon.get("/-/tasks", port=daemon.admin_port).text)
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGTERM)

    def refused() -> bool:
        with contextlib.suppress(ConnectionRefusedError):
            daemon.get("/-/live")
            return False
        return True

    wait_for(refused)
    with Wire(daemon, unix=daemon.folder / "control") as wire:
        assert problem(wire.get("/-/ready").reply(), 503)["detail"] == "The service is draining."
    assert good(running.result()) == []
    assert daemon.process.wait(60) == 0


# -- reload --

RELOADED = """
server: { listen: "127.0.0.1:${PORT}", control: "${FOLDER}/control", threads: 2 }
endpoints: { "GET /": { respond: here } }
"""
SLOW_MODULE = """
#include <gatherd.h>
int gd_module_start(unsigned worker, unsigned workers) { (void)worker; (void)workers; gd_sleep(1500); return 0; }
int hi(gd_request *req) { return gd_reply(req, 200, gd_list()); }
"""


@pytest.fixture(scope="module")
def reloaded(module_gatherd: Callable[..., Gatherd]) -> Gatherd:
    return module_gatherd(RELOADED)


def generation(daemon: Gatherd) -> int:
    """The number of the one that serves, by a reload that is one more."""
    return int(re.fullmatch(r"generation (\d+) after \d+ ms: .*\n", command(daemon, "reload").stdout)[1])


def test_a_reload_says_what_has_changed(reloaded: Gatherd) -> None:
    reloaded.configure(RELOADED)
    number = generation(reloaded)
    reloaded.configure(RELOADED.replace("endpoints: {", 'endpoints: { "GET /new": { respond: new },'))
    done = command(reloaded, "reload")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(rf"generation {number + 1} after \d+ ms: 1 endpoint new\n", done.stdout)
    assert good(reloaded.get("/new")) == "new"


def test_a_reload_tells_what_waits(reloaded: Gatherd) -> None:
    reloaded.configure(RELOADED.replace("threads: 2", "threads: 3"))
    done = command(reloaded, "reload")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1].startswith("warning: server.threads: 2 -> 3 waits for ")
    reloaded.configure(RELOADED)


def test_a_look_at_what_it_would_do(reloaded: Gatherd) -> None:
    reloaded.configure(RELOADED)
    number = generation(reloaded)
    reloaded.configure(RELOADED.replace("here", "there"))
    done = command(reloaded, "reload", "--check")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"would be generation {number + 1}: 1 endpoint changed\n", "")
    assert good(reloaded.get("/")) == "here"


BROKEN = {
    "keys": RELOADED.replace("threads", "thraeds") + "sources: { a: { postgres: 'postgresql://' , b: 1 } }\nlog: 5\n",
    "yaml": RELOADED + "x: [",
    "empty": "server: {}\n",
    "include": RELOADED + "include: none.yaml\n",
    "sql": RELOADED.replace("endpoints: {", 'sources: { a: { http: "http://127.0.0.1" } }\nendpoints: { "GET /x": { gather: { y: { from: b } } },'),
    "warned": RELOADED.replace("server: {", 'server: { trusted_proxies: [ "10.0.0.0/8" ], max_requests: 0,'),
}


@pytest.mark.parametrize("mistake", BROKEN)
def test_a_bad_file_is_refused_as_check_refuses_it(reloaded: Gatherd, mistake: str) -> None:
    reloaded.configure(BROKEN[mistake])
    check = [reloaded.program, "check", "-c", reloaded.config_path]
    wanted = subprocess.run(check, capture_output=True, timeout=60, env=reloaded.environment())
    assert wanted.returncode == 78 and wanted.stderr
    for words in (["reload"], ["reload", "--check"], ["reload", "--force"]):
        done = subprocess.run([reloaded.program, *words, "--control", reloaded.folder / "control"], capture_output=True, timeout=120)
        assert (done.returncode, done.stdout, done.stderr) == (78, b"", wanted.stderr)
    assert good(reloaded.get("/")) == "here"
    reloaded.configure(RELOADED)


def test_why_else_it_is_refused(reloaded: Gatherd, admin: Gatherd) -> None:
    reloaded.configure(RELOADED.replace('"127.0.0.1:${PORT}"', f'[ "127.0.0.1:${{PORT}}", "127.0.0.1:{admin.port}" ]'))
    done = command(reloaded, "reload")
    assert done.returncode == 71
    assert done.stderr == f"{reloaded.config_path}:2:42: error: can't listen on 127.0.0.1:{admin.port}: Address already in use\n1 error\n"
    reloaded.configure(RELOADED + 'sources: { down: { postgres: "postgresql://nobody@127.0.0.1:1/x" } }\n')
    done = command(reloaded, "reload")
    assert done.returncode == 69 and f"{reloaded.config_path}:4:30: error: source down: " in done.stderr
    done = command(reloaded, "reload", "--force")
    assert done.returncode == 0 and "1 source new (down)" in done.stdout
    reloaded.configure(RELOADED)
    assert command(reloaded, "reload").returncode == 0


def test_another_one_is_under_way(reloaded: Gatherd, module: Callable[..., Path]) -> None:
    built = module("starts_slowly", SLOW_MODULE)
    reloaded.configure(RELOADED.replace("endpoints: {", f'endpoints: {{ "GET /hi": {{ handler: "{built}:hi" }},'))
    first = in_background(lambda: command(reloaded, "reload"))
    wait_for(lambda: "gd_module_start" in reloaded.get("/-/tasks").text or not first.running, 60)
    done = command(reloaded, "reload", "--timeout", "100ms")
    assert (done.returncode, done.stdout) == (75, "")
    assert done.stderr == f"gatherd: {reloaded.folder / 'control'}: another reload is still under way\n"
    assert first.result().returncode == 0
    assert good(reloaded.get("/hi")) == []
    reloaded.configure(RELOADED)


def test_a_reload_by_http(reloaded: Gatherd) -> None:
    reloaded.configure(RELOADED)
    with Wire(reloaded, unix=reloaded.folder / "control", timeout=60) as wire:
        done = wire.post("/-/reload", "").reply()
        assert done.status == 200 and done.headers["Content-Type"] == "application/json"
        assert set(done.json()) == {"generation", "took_ms", "text", "diagnostics"} and done.json()["diagnostics"] == []
        refused = wire.get("/-/reload").reply()
        problem(refused, 405)
        assert refused.headers["Allow"] == "POST, OPTIONS"
        for body in ("[]", "x", '{"force":1}', '{"timeout_ms":-1}', '{"timeout_ms":1.5}', '{"timeout_ms":1e99}', '{"timeout_ms":99999999999}'):
            problem(wire.post("/-/reload", body).reply(), 400)
        reloaded.configure(BROKEN["keys"])
        document = problem(wire.post("/-/reload", '{"check":true}').reply(), 422)
        assert document["exit"] == 78 and document["generation"] == done.json()["generation"]
        first = document["diagnostics"][0]
        assert first == {"severity": "error", "file": str(reloaded.config_path), "line": 2, "column": first["column"], "text": first["text"]}
        assert "thraeds" in first["text"] and "thraeds" in document["detail"]
        problem(wire.post("/-/reload", '{"timeout_ms":0}').reply(), 409)
    reloaded.configure(RELOADED)


# -- status --


def test_the_status_of_one_that_is_ready(admin: Gatherd) -> None:
    done = command(admin, "status")
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.splitlines()
    assert re.fullmatch(r"gatherd \S+  generation 1 \(\d+ (s|min)\)  up \d+ (s|min)  \d+ workers? {5}ready", first)
    assert re.fullmatch(r"[\d.-]+ req/s   p50 [\d.-]+  p95 [\d.-]+  p99 [\d.-]+ ms   5xx \d+\.\d %   running \d+ of 4096", second)
    done = command(admin, "status", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["state"] == "serving"
    command(admin, "ready", "off")
    done = command(admin, "status")
    assert done.returncode == 69 and done.stdout.splitlines()[0].endswith("NOT READY: off")
    command(admin, "ready", "on")


def test_the_status_of_one_that_is_not_ready(daemon: Gatherd) -> None:
    for path in ("/gone", "/lost", "/away"):
        problem(daemon.get(path), 503)
    done = command(daemon, "status")
    assert (done.returncode, done.stderr) == (69, "")
    assert done.stdout.splitlines()[0].endswith("     NOT READY: away, lost")
    assert re.search(r"^away  postgres  DOWN", done.stdout, re.MULTILINE)
    done = command(daemon, "status", "--json")
    assert done.returncode == 69 and [source["name"] for source in json.loads(done.stdout)["sources"]] == ["gone", "away", "lost"]
