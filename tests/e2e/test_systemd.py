"""The installed service under a real systemd: what its unit promises, seen with systemctl, journalctl and clients.

One container is booted for all of it. The functions of SCENARIO below run in it, one after another; each is a test here.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness.systemd import Container, why_not

MODULE = r"""
#include <gatherd.h>
int slow(gd_request *req) { gd_sleep(3000); return gd_reply(req, 200, gd_list()); }
int hang(gd_request *req) { volatile int on = 1; while (on) {} return gd_reply(req, 200, gd_list()); }
"""

SCENARIO = r'''
import http.client, json, os, signal, subprocess, sys, threading, time, traceback
from pathlib import Path

CONFIG = """
server: { listen: [ "127.0.0.1:8080", "unix:/run/gatherd/s" ], threads: 2 }
sources: { papers: { files: /srv/papers } }
endpoints:
  "GET /hello": { respond: { hello: true } }
  "GET /papers/{name}": { gather: { paper: { from: papers, read: "{name}" } } }
  "GET /slow": { handler: "/gatherd-test/module.so:slow" }
  "GET /hang": { handler: "/gatherd-test/module.so:hang" }
"""
FILE = Path("/etc/gatherd/gatherd.yaml")


def call(*words, check=True):
    done = subprocess.run(words, capture_output=True, text=True, timeout=90)
    if check and done.returncode != 0:
        raise AssertionError(f"{words}: {done.returncode} {done.stdout} {done.stderr}")
    return done


def show(name, unit="gatherd"):
    return call("systemctl", "show", "-P", name, unit).stdout.strip()


def get(path, port=8080, timeout=60):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    connection.request("GET", path, headers={"Connection": "close"})
    reply = connection.getresponse()
    body = reply.read().decode()
    connection.close()
    return reply.status, body


def wait(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


class Load:
    def __init__(self):
        self.good, self.bad, self.ending = 0, [], False
        self.threads = [threading.Thread(target=self.run) for _ in range(4)]
        for thread in self.threads:
            thread.start()

    def run(self):
        while not self.ending:
            try:
                status, _ = get("/hello")
            except (OSError, http.client.HTTPException) as e:
                status = repr(e)
            if status == 200:
                self.good += 1
            else:
                self.bad.append(str(status))

    def more(self):
        before = self.good
        wait(lambda: self.good > before + 50)

    def end(self):
        self.ending = True
        for thread in self.threads:
            thread.join(90)
        return self.bad


def without_a_file_it_is_no_failure():
    call("systemd-sysusers")
    call("systemd-tmpfiles", "--create")
    call("systemctl", "start", "gatherd")
    assert show("ActiveState") == "inactive" and show("Result") == "success"
    assert FILE.parent.stat().st_mode & 0o777 == 0o750


def it_starts_and_says_so():
    Path("/srv/papers").mkdir(parents=True)
    Path("/srv/papers/one.txt").write_text("one")
    FILE.write_text(CONFIG)
    os.chown(FILE, 0, int(call("id", "-g", "gatherd").stdout))
    FILE.chmod(0o640)
    call("systemctl", "enable", "--now", "gatherd")
    assert show("ActiveState") == "active"
    wait(lambda: show("StatusText") == "serving 4 endpoints on 2 listeners" or "req/s" in show("StatusText"))
    assert get("/hello") == (200, '{"hello":true}')
    pid = show("MainPID")
    assert os.stat(f"/proc/{pid}").st_uid == int(call("id", "-u", "gatherd").stdout)


def files_are_read_within_the_sandbox():
    status, body = get("/papers/one.txt")
    assert status == 200 and "one" in body, (status, body)
    assert get("/papers/..%2fpasswd")[0] in (400, 404)


def its_sockets_outlive_restarts():
    load = Load()
    for _ in range(3):
        load.more()
        call("systemctl", "restart", "gatherd")
    load.more()
    bad = load.end()
    assert not bad, bad
    assert int(show("NFileDescriptorStore")) == 3


def its_sockets_outlive_crashes():
    load = Load()
    for _ in range(5):
        load.more()
        pid = show("MainPID")
        os.kill(int(pid), signal.SIGKILL)
        wait(lambda: show("MainPID") not in ("0", pid))
    load.more()
    bad = load.end()
    # Requests that were running are lost with the process; nobody is refused.
    assert not [b for b in bad if "Refused" in b], bad
    assert len(bad) <= 5 * 4, bad


def many_crashes_in_a_row():
    for _ in range(12):
        pid = show("MainPID")
        if pid != "0":
            os.kill(int(pid), signal.SIGKILL)
        wait(lambda: show("MainPID") not in ("0", pid))
    assert get("/hello")[0] == 200


def the_journal_has_fields():
    connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=60)
    connection.request("GET", "/hello", headers={"X-Request-Id": "journal-one"})
    connection.getresponse().read()

    def entry():
        said = call("journalctl", "-u", "gatherd", "-o", "json", "GATHERD_ID=journal-one", check=False).stdout
        return [json.loads(line) for line in said.splitlines()]

    wait(entry)
    (found,) = entry()
    assert found["MESSAGE"].startswith("GET /hello 200 ") and found["GATHERD_STATUS"] == "200", found
    assert found["PRIORITY"] == "6" and found["SYSLOG_IDENTIFIER"] == "gatherd"


def a_reload_is_done_or_refused():
    pid = show("MainPID")
    FILE.write_text(CONFIG.replace("endpoints:", 'endpoints:\n  "GET /new": { respond: 1 }'))
    call("systemctl", "reload", "gatherd")
    assert get("/new") == (200, "1")
    wait(lambda: show("StatusText").startswith("generation 2") or "req/s" in show("StatusText"))
    FILE.write_text(CONFIG.replace("threads", "thraeds"))
    assert call("systemctl", "reload", "gatherd", check=False).returncode != 0
    assert show("ActiveState") == "active" and show("ReloadResult") == "exit-code" and show("MainPID") == pid
    assert get("/new") == (200, "1")
    wait(lambda: "gatherd.yaml:2:" in call("journalctl", "-u", "gatherd", "-o", "cat").stdout)
    refused = call("gatherd", "reload", check=False)
    checked = call("gatherd", "check", "-c", str(FILE), check=False)
    assert (refused.returncode, refused.stderr) == (78, checked.stderr), refused
    FILE.write_text(CONFIG)
    call("systemctl", "reload", "gatherd")
    assert show("ReloadResult") == "success" and get("/new")[0] == 404


def commands_reach_it():
    assert call("gatherd", "ready", "off").stdout.startswith("not ready")
    assert get("/-/ready")[0] == 503
    call("gatherd", "ready", "on")
    assert get("/-/ready")[0] == 200
    other = call("setpriv", "--reuid=nobody", "--clear-groups", "gatherd", "ready", "off", check=False)
    expected = "gatherd: /run/gatherd/control.sock: permission denied: run it as root or as user gatherd\n"
    assert (other.returncode, other.stderr) == (77, expected), other


def a_stop_waits_for_requests():
    answers = []
    thread = threading.Thread(target=lambda: answers.append(get("/slow")[0]))
    thread.start()
    time.sleep(1)
    call("systemctl", "stop", "gatherd")
    thread.join(60)
    assert answers == [200] and show("Result") == "success", (answers, show("Result"))
    call("systemctl", "start", "gatherd")


def the_watchdog_bites():
    drop_in = Path("/etc/systemd/system/gatherd.service.d/watchdog.conf")
    drop_in.parent.mkdir(exist_ok=True)
    drop_in.write_text("[Service]\nWatchdogSec=2s\n")
    call("systemctl", "daemon-reload")
    call("systemctl", "restart", "gatherd")
    pid = show("MainPID")
    time.sleep(5)
    assert show("MainPID") == pid  # it is fed
    threading.Thread(target=lambda: get("/hang"), daemon=True).start()
    wait(lambda: show("MainPID") not in ("0", pid))
    assert get("/hello")[0] == 200
    said = call("journalctl", "-u", "gatherd", "-o", "cat", "MESSAGE_ID=5f0d6f0c1f4b4b0f8c0e3a4f1d2b7a07").stdout
    assert "a worker does not turn" in said and "hang" in said, said
    drop_in.unlink()
    call("systemctl", "daemon-reload")


def a_wrong_file_ends_it_once():
    FILE.write_text(CONFIG.replace("threads", "thraeds"))
    call("systemctl", "restart", "gatherd", check=False)
    wait(lambda: show("ActiveState") == "failed")
    assert show("ExecMainStatus") == "78" and show("NRestarts") in ("0",), show("NRestarts")
    assert "gatherd.yaml:2:" in show("StatusText") and "thraeds" in show("StatusText"), show("StatusText")
    FILE.write_text(CONFIG)
    call("systemctl", "reset-failed", "gatherd")
    call("systemctl", "start", "gatherd")


def credentials_are_read():
    secret = Path("/etc/gatherd/token")
    secret.write_text("s3cret\n")
    secret.chmod(0o600)
    drop_in = Path("/etc/systemd/system/gatherd.service.d/secret.conf")
    drop_in.parent.mkdir(exist_ok=True)
    drop_in.write_text("[Service]\nLoadCredential=token:/etc/gatherd/token\n")
    FILE.write_text(CONFIG.replace("sources: {", 'sources: { db: { postgres: "postgresql://u@127.0.0.1:1/x", password: { credential: token } },'))
    call("systemctl", "daemon-reload")
    call("systemctl", "restart", "gatherd")
    assert get("/hello")[0] == 200
    assert "s3cret" not in call("journalctl", "-u", "gatherd").stdout
    drop_in.unlink()
    call("systemctl", "daemon-reload")
    call("systemctl", "restart", "gatherd", check=False)
    wait(lambda: show("ActiveState") == "failed")
    assert show("ExecMainStatus") == "78"
    FILE.write_text(CONFIG)
    call("systemctl", "reset-failed", "gatherd")
    call("systemctl", "start", "gatherd")


def a_socket_unit_starts_it():
    call("systemctl", "stop", "gatherd")
    FILE.write_text(CONFIG.replace('"127.0.0.1:8080"', "systemd:http"))
    call("systemctl", "start", "gatherd.socket")
    assert show("ActiveState") == "inactive"
    assert get("/hello")[0] == 200
    assert show("ActiveState") == "active"
    call("systemctl", "stop", "gatherd.socket", "gatherd")
    call("systemctl", "start", "gatherd", check=False)
    wait(lambda: show("ActiveState") == "failed")
    assert show("ExecMainStatus") == "78" and "gatherd.socket" in show("StatusText"), show("StatusText")
    call("systemctl", "reset-failed", "gatherd")
    FILE.write_text(CONFIG)


def instances():
    other = Path("/etc/gatherd/other.yaml")
    other.write_text('server: { listen: [ "127.0.0.1:8081" ] }\nendpoints: { "GET /other": { respond: 1 } }\n')
    call("systemctl", "start", "gatherd@other")
    assert get("/other", 8081) == (200, "1")
    call("systemctl", "stop", "gatherd@other")


def the_unit_is_tight():
    score = call("systemd-analyze", "security", "--no-pager", "gatherd", check=False).stdout.splitlines()[-1]
    assert float(score.split(":")[1].split()[0]) <= 1.2, score


results = {}
for test in [without_a_file_it_is_no_failure, it_starts_and_says_so, files_are_read_within_the_sandbox,
             its_sockets_outlive_restarts, its_sockets_outlive_crashes, many_crashes_in_a_row, the_journal_has_fields,
             a_reload_is_done_or_refused, commands_reach_it, a_stop_waits_for_requests, the_watchdog_bites, a_wrong_file_ends_it_once, credentials_are_read,
             a_socket_unit_starts_it, instances, the_unit_is_tight]:
    began = time.monotonic()
    try:
        test()
        results[test.__name__] = ""
    except Exception:
        log = call("journalctl", "-n", "30", "-o", "cat", check=False).stdout
        results[test.__name__] = traceback.format_exc() + "\n" + call("systemctl", "status", "gatherd", check=False).stdout + log
    print(test.__name__, results[test.__name__] or "ok", round(time.monotonic() - began, 1), flush=True)
    Path("/gatherd-test/results.new").write_text(json.dumps(results))
    os.replace("/gatherd-test/results.new", "/gatherd-test/results")
'''
NAMES = re.findall(r"^def (\w+)\(\):$", SCENARIO, re.MULTILINE)


@pytest.fixture(scope="module")
def results(program: Path, module: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    if b"__asan_init" in program.read_bytes():
        pytest.skip("a sanitizer can't run under the unit's sandbox")
    if reason := why_not():
        pytest.skip(f"no container can be started: {reason}")
    built = module("service", MODULE)
    with Container() as container:
        container.install(program)
        subprocess.run(["cp", built, container.shared / "module.so"], check=True)
        yield container.run(SCENARIO)


@pytest.mark.parametrize("name", NAMES)
def test_under_systemd(name: str, results: dict[str, str]) -> None:
    assert name in results, f"it was not reached: {results}"
    assert not results[name], results[name]
