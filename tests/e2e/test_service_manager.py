"""What gatherd says to a service manager, and what it takes from one: readiness, status, extensions, the watchdog, sockets that
are passed and kept. A datagram socket stands for systemd."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import ManagedGatherd, Manager
from support import wait_for

HELLO = """
endpoints:
  "GET /hello": { respond: { hello: true } }
"""
MODULE = """
endpoints:
  "GET /hello": { respond: { hello: true } }
  "GET /handler": { handler: "%s:%s" }
"""
SLOW = """
#include <gatherd.h>
int slow(gd_request *req) { gd_sleep(3000); return gd_reply(req, 200, gd_list()); }
"""
BURN = """
#include <gatherd.h>
#include <time.h>
int burn(gd_request *req)
{
	struct timespec end, now;
	clock_gettime(CLOCK_MONOTONIC, &end);
	do clock_gettime(CLOCK_MONOTONIC, &now); while (now.tv_sec - end.tv_sec < 4);
	return gd_reply(req, 200, gd_list());
}
"""
VARIABLES = """
#include <gatherd.h>
#include <stdlib.h>
int variables(gd_request *req)
{
	const char *const names[] = {"NOTIFY_SOCKET", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_USEC", "FDSTORE"};
	gd_value *found = gd_list();
	for (int i = 0; i < 6; i++)
		if (getenv(names[i]))
			gd_append(found, gd_string(names[i]));
	return gd_reply(req, 200, found);
}
"""
STARTS_SLOWLY = """
#include <gatherd.h>
int gd_module_start(unsigned worker, unsigned workers) { (void)worker; (void)workers; gd_sleep(6500); return 0; }
int hi(gd_request *req) { return gd_reply(req, 200, gd_list()); }
"""


@pytest.fixture
def manager() -> Iterator[Manager]:
    with Manager() as manager:
        yield manager


@pytest.fixture
def managed(manager: Manager) -> Iterator[Callable[..., ManagedGatherd]]:
    with contextlib.ExitStack() as stack:

        def run(config: str, *, start: bool = True, **options) -> ManagedGatherd:
            daemon = ManagedGatherd(textwrap.dedent(config), manager=manager, **options)
            stack.callback(daemon.discard)
            stack.callback(lambda: print(daemon.log_tail(100)))
            stack.callback(daemon.stop)
            if start:
                daemon.start()
            return daemon

        yield run


def test_it_is_ready_when_it_listens(manager: Manager, managed: Callable[..., ManagedGatherd]) -> None:
    """A source that is down does not delay it."""
    daemon = managed(
        """
        server: { listen: [ "127.0.0.1:${PORT}" ] }
        sources: { pg: { postgres: "postgresql://nobody@127.0.0.1:1/x" } }
        endpoints: { "GET /x": { gather: { x: { from: pg, sql: "select 1" } } } }
        """
    )
    manager.await_text("READY=1")
    assert manager.await_text("STATUS=serving") == "STATUS=serving 1 endpoint on 1 listener"
    assert daemon.get("/-/live").status == 200


def test_the_environment_is_not_inherited(
    manager: Manager, managed: Callable[..., ManagedGatherd], module: Callable[..., Path]
) -> None:
    """Programs that a module starts would take our socket and our watchdog for theirs."""
    built = module("variables", VARIABLES)
    variables = {"WATCHDOG_USEC": "60000000", "FDSTORE": "4"}
    daemon = managed(MODULE % (built, "variables"), manager_env=variables)
    manager.await_text("READY=1")
    assert daemon.get("/handler").json() == []


def test_the_status_says_how_it_goes(manager: Manager, managed: Callable[..., ManagedGatherd]) -> None:
    daemon = managed(
        """
        server: { listen: [ "127.0.0.1:${PORT}" ], threads: 2 }
        sources:
          pg: { postgres: "postgresql://nobody@127.0.0.1:1/x", pool: { acquire_timeout: 50ms } }
          up: { files: "${FOLDER}" }
        endpoints:
          "GET /x": { gather: { x: { from: pg, sql: "select 1" } } }
          "GET /hello": { respond: hello }
        """
    )
    asked = 0
    while not (found := [text for text in manager.texts if "req/s" in text]):
        daemon.get("/-/live")
        assert daemon.get("/hello").status == 200 and daemon.get("/x").status == 503
        asked += 2
        time.sleep(0.02)
    line = re.fullmatch(r"STATUS=(\d+) req/s, p99 [\d.]+ ms, (\d+) errors/s; sources 1 of 2 \(down: pg\)", found[0])
    assert line, found
    # The line is of ten seconds or more, in which there were no more requests than these.
    assert 0 < int(line[1]) <= asked / 10 + 1
    assert abs(int(line[1]) / 2 - int(line[2])) <= 1


@pytest.mark.parametrize("value", ["relative", "@", "vsock:2:1", "/" + 200 * "x"])
def test_an_address_of_another_kind_is_left_alone(value: str, managed: Callable[..., ManagedGatherd]) -> None:
    daemon = managed(HELLO, manager_env={"NOTIFY_SOCKET": value})
    assert daemon.get("/hello").status == 200


def test_what_keeps_it_from_starting(manager: Manager, managed: Callable[..., ManagedGatherd]) -> None:
    daemon = managed("server: { threads: 1, thraeds: 2 }" + HELLO, start=False)
    daemon._spawn()
    assert daemon.process is not None
    assert daemon.process.wait(60) == 78
    daemon.process = None
    text = manager.await_text("STATUS=")
    assert "gatherd.yaml:1:23: " in text and "thraeds" in text


def test_a_slow_start_asks_for_time(
    manager: Manager, managed: Callable[..., ManagedGatherd], module: Callable[..., Path]
) -> None:
    built = module("starts_slowly", STARTS_SLOWLY)
    managed(MODULE % (built, "hi"))
    manager.await_text("READY=1")
    ready = manager.texts.index("READY=1")
    before = [text for text in manager.texts[:ready] if text == "EXTEND_TIMEOUT_USEC=15000000"]
    assert len(before) >= 2
    assert any(text.startswith("STATUS=starting: ") for text in manager.texts[:ready])


def test_a_drain_says_how_long_it_takes(
    manager: Manager, managed: Callable[..., ManagedGatherd], module: Callable[..., Path]
) -> None:
    built = module("slow", SLOW)
    daemon = managed(MODULE % (built, "slow"))
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(daemon.get("/handler").status))
    thread.start()
    wait_for(lambda: "slow" in daemon.get("/-/tasks").text or "GET /handler" in daemon.get("/-/tasks").text)
    manager.forget()
    daemon.stop()
    thread.join(60)
    assert answers == [200]
    stopping = manager.texts.index("STOPPING=1")
    assert any(text.startswith("EXTEND_TIMEOUT_USEC=") for text in manager.texts[stopping:])
    assert not [text for text in manager.texts[stopping + 1 :] if text == "READY=1"]


# --- the watchdog ---


def test_the_watchdog_is_fed(manager: Manager, managed: Callable[..., ManagedGatherd]) -> None:
    managed(HELLO, manager_env={"WATCHDOG_USEC": "600000"}, threads=2)
    manager.await_text("READY=1")
    manager.forget()
    wait_for(lambda: manager.texts.count("WATCHDOG=1") >= 6)


def test_the_watchdog_of_another_process_is_not_fed(manager: Manager, managed: Callable[..., ManagedGatherd]) -> None:
    daemon = managed(HELLO, manager_env={"WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"})
    manager.await_text("READY=1")
    time.sleep(0.5)
    daemon.stop()
    assert "WATCHDOG=1" not in manager.texts


def test_a_worker_that_hangs_starves_the_watchdog(
    manager: Manager, managed: Callable[..., ManagedGatherd], module: Callable[..., Path]
) -> None:
    """While one of two hangs nothing is fed, and the log says where it is; afterwards it goes on."""
    built = module("burn", BURN)
    daemon = managed(MODULE % (built, "burn"), manager_env={"WATCHDOG_USEC": "800000"}, threads=2)
    manager.await_text("READY=1")
    thread = threading.Thread(target=lambda: daemon.get("/handler", timeout=60))
    thread.start()
    wait_for(lambda: [line for line in daemon.log_lines() if line.get("msg") == "a worker does not turn"])
    (line,) = [line for line in daemon.log_lines() if line.get("msg") == "a worker does not turn"]
    assert line["task"] == "GET /handler" and "burn" in line["where"]
    manager.forget()
    time.sleep(0.5)
    hungry = list(manager.texts)
    thread.join(60)
    assert "WATCHDOG=1" not in hungry
    wait_for(lambda: "WATCHDOG=1" in manager.texts)


# --- sockets ---


class Clients:
    """Clients that ask again and again, each time over a connection of its own."""

    def __init__(self, port: int, count: int = 4) -> None:
        self.port = port
        self.good = 0
        self.bad: list[str] = []
        self.ending = False
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.run) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def run(self) -> None:
        while not self.ending:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
                connection.request("GET", "/hello", headers={"Connection": "close"})
                status = connection.getresponse().status
                connection.close()
            except (OSError, http.client.HTTPException) as e:
                status = repr(e)
            with self.lock:
                if status == 200:
                    self.good += 1
                else:
                    self.bad.append(str(status))

    def end(self) -> None:
        self.ending = True
        for thread in self.threads:
            thread.join(90)


def test_sockets_are_kept_over_a_restart(manager: Manager, managed: Callable[..., ManagedGatherd]) -> None:
    """Nobody is refused while no process is there, and each worker has a socket of its own."""
    daemon = managed(HELLO, manager_env={"FDSTORE": "8"}, threads=2)
    manager.await_text("READY=1")
    wait_for(lambda: len(manager.stored) == 2)
    assert sorted(manager.stored) == [f"l/127.0.0.1_{daemon.port}/0", f"l/127.0.0.1_{daemon.port}/1"]
    clients = Clients(daemon.port)
    for _ in range(3):
        before = clients.good
        wait_for(lambda before=before: clients.good >= before + 40)
        daemon.stop()
        daemon.start()
    before = clients.good
    wait_for(lambda: clients.good >= before + 40)
    clients.end()
    assert clients.bad == []
    assert len(manager.stored) == 2


def test_sockets_are_kept_over_a_crash(manager: Manager, managed: Callable[..., ManagedGatherd]) -> None:
    """Requests that run are lost; nobody is refused."""
    daemon = managed(HELLO, manager_env={"FDSTORE": "8"})
    wait_for(lambda: len(manager.stored) == 1)
    daemon.kill()
    waiting = [socket.create_connection(("127.0.0.1", daemon.port), 60) for _ in range(20)]
    for plain in waiting:
        plain.sendall(b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    daemon.start()
    for plain in waiting:
        assert plain.recv(65536).startswith(b"HTTP/1.1 200")
        plain.close()


@pytest.mark.parametrize(("before", "after"), [(2, 4), (4, 2), (3, 1), (1, 3)])
def test_another_number_of_workers(
    before: int, after: int, manager: Manager, managed: Callable[..., ManagedGatherd]
) -> None:
    """No socket is left without a worker: the connections that the kernel gives it would wait forever."""
    daemon = managed(HELLO, manager_env={"FDSTORE": "8"}, threads=before)
    wait_for(lambda: len(manager.stored) == before)
    daemon.stop()
    daemon.configure(HELLO, threads=after)
    daemon.start()
    assert len(manager.stored) == before
    for _ in range(100):
        assert daemon.get("/hello", headers={"Connection": "close"}).status == 200


def test_an_address_that_is_gone_is_not_kept(manager: Manager, managed: Callable[..., ManagedGatherd]) -> None:
    daemon = managed(
        'server: { listen: [ "127.0.0.1:${PORT}", "127.0.0.1:${ADMIN}" ], threads: 1 }' + HELLO, manager_env={"FDSTORE": "8"}
    )
    wait_for(lambda: len(manager.stored) == 2)
    daemon.stop()
    daemon.configure('server: { listen: [ "127.0.0.1:${PORT}" ], threads: 1 }' + HELLO)
    daemon.start()
    wait_for(lambda: sorted(manager.stored) == [f"l/127.0.0.1_{daemon.port}/0"])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", daemon.admin_port), 10)


def test_a_unix_socket_is_kept_with_its_file(manager: Manager, managed: Callable[..., ManagedGatherd]) -> None:
    config = 'server: { listen: [ "127.0.0.1:${PORT}", { address: "unix:${FOLDER}/s", mode: "%s" } ], threads: 2 }' + HELLO
    daemon = managed(config % "0600", manager_env={"FDSTORE": "8"})
    path = daemon.folder / "s"
    wait_for(lambda: f"l/unix_{path}/0" in manager.stored)
    first = path.stat().st_ino
    daemon.stop()
    assert path.exists()
    daemon.configure(config % "0660")
    daemon.start()
    assert path.stat().st_ino == first and path.stat().st_mode & 0o777 == 0o660
    assert b" 200 " in daemon.raw(b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", unix=path)
    daemon.stop()
    path.unlink()  # its folder went, say: what is kept has no path any more
    daemon.start()
    assert b" 200 " in daemon.raw(b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", unix=path)


def test_a_manager_that_keeps_nothing(manager: Manager, managed: Callable[..., ManagedGatherd]) -> None:
    daemon = managed('server: { listen: [ "127.0.0.1:${PORT}", "unix:${FOLDER}/s" ] }' + HELLO)
    manager.await_text("READY=1")
    daemon.stop()
    assert not manager.stored and not (daemon.folder / "s").exists()


def ask(address: tuple[str, int]) -> int:
    connection = http.client.HTTPConnection(*address, timeout=60)
    connection.request("GET", "/hello")
    status = connection.getresponse().status
    connection.close()
    return status


def test_socket_units(manager: Manager, managed: Callable[..., ManagedGatherd]) -> None:
    """One listener for all that are passed, or one by name; a further one of ours beside."""
    first, second = manager.listen("http"), manager.listen("extra")
    daemon = managed('server: { listen: [ "127.0.0.1:${PORT}", "systemd:http" ], threads: 2 }' + HELLO)
    assert ask(first) == 200
    daemon.stop()
    daemon.configure('server: { listen: [ "127.0.0.1:${PORT}", systemd ], threads: 2 }' + HELLO)
    daemon.start()
    assert ask(first) == ask(second) == 200


LISTEN = "server: { listen: [ %s ], threads: 2 }" + HELLO
MAIN, ADMIN, UNIX = '"127.0.0.1:${PORT}"', '"127.0.0.1:${ADMIN}"', '"unix:${FOLDER}/s"'


def reload(manager: Manager, daemon: ManagedGatherd, config: str) -> str:
    """Its outcome, as the manager is told of it: before that, all that it stores or forgets."""
    manager.forget()
    daemon.configure(config)
    os.kill(daemon.pid, signal.SIGHUP)
    manager.await_text("READY=1")
    return manager.await_text("STATUS=generation")


def test_a_reload_stores_what_it_adds_and_forgets_what_it_removes(manager: Manager, managed: Callable[..., ManagedGatherd]) -> None:
    daemon = managed(LISTEN % MAIN, manager_env={"FDSTORE": "8"})
    main, admin = ([f"l/127.0.0.1_{port}/{w}" for w in (0, 1)] for port in (daemon.port, daemon.admin_port))
    unix = f"l/unix_{daemon.folder}/s/0"
    wait_for(lambda: sorted(manager.stored) == main)
    reload(manager, daemon, LISTEN % f"{MAIN}, {ADMIN}, {UNIX}")
    assert sorted(manager.stored) == sorted([*main, *admin, unix])
    # What is stored is what listens.
    assert {s.getsockname()[1] for name, s in manager.stored.items() if name in admin} == {daemon.admin_port}
    daemon.kill()
    daemon.start()
    assert ask(("127.0.0.1", daemon.admin_port)) == 200
    # A reload that is undone changes nothing of it.
    manager.forget()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = LISTEN % f'"127.0.0.1:{taken.getsockname()[1]}", "unix:${{FOLDER}}/other", {MAIN}'
        assert "reload refused" in reload(manager, daemon, refused)
        assert not [text for text in manager.texts if text.startswith("FDSTORE")]
    assert not (daemon.folder / "other").exists()
    assert ask(("127.0.0.1", daemon.admin_port)) == ask(("127.0.0.1", daemon.port)) == 200
    # Those that were adopted after the crash are forgotten like those that this process has bound.
    reload(manager, daemon, LISTEN % MAIN)
    assert sorted(manager.stored) == main
    assert not (daemon.folder / "s").exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", daemon.admin_port), 10)


def test_a_reload_carries_over_more_sockets_than_workers(manager: Manager, managed: Callable[..., ManagedGatherd]) -> None:
    daemon = managed(HELLO, manager_env={"FDSTORE": "8"}, threads=4)
    wait_for(lambda: len(manager.stored) == 4)
    daemon.stop()
    daemon.configure(HELLO, threads=2)
    daemon.start()
    assert "nothing" in reload(manager, daemon, HELLO)
    assert len(manager.stored) == 4
    for _ in range(100):
        assert daemon.get("/hello", headers={"Connection": "close"}).status == 200


def test_a_reload_keeps_a_socket_units_socket(manager: Manager, managed: Callable[..., ManagedGatherd]) -> None:
    """It is passed once: what is undone or removed gives it back, and it can be adopted again."""
    passed = manager.listen("http")
    daemon = managed(LISTEN % MAIN, manager_env={"FDSTORE": "8"})
    bad = LISTEN.replace("threads", "listen_backlog: 1, threads")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        undone = LISTEN % f'"systemd:http", "127.0.0.1:{taken.getsockname()[1]}", {MAIN}'
        assert "reload refused" in reload(manager, daemon, undone)
    assert "reload refused" in reload(manager, daemon, bad % MAIN)
    for _ in range(2):
        reload(manager, daemon, LISTEN % f'"systemd:http", {MAIN}')
        assert ask(passed) == 200
        reload(manager, daemon, LISTEN % MAIN)
    with socket.create_connection(passed, 60) as waits:
        waits.sendall(b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        reload(manager, daemon, LISTEN % f'"systemd:http", {MAIN}')
        assert waits.recv(65536).startswith(b"HTTP/1.1 200")
    assert sorted(manager.stored) == [f"l/127.0.0.1_{daemon.port}/{w}" for w in (0, 1)]


def test_a_socket_unit_that_was_not_started(manager: Manager, managed: Callable[..., ManagedGatherd]) -> None:
    manager.listen("other")
    for word, text in [("systemd:http", "no socket of the name http was passed: is gatherd.socket started?")]:
        daemon = managed(f"server: {{ listen: [ \"{word}\" ] }}" + HELLO, start=False)
        daemon._spawn()
        assert daemon.process is not None
        assert daemon.process.wait(60) == 78
        daemon.process = None
        assert text in daemon.log()


def test_a_socket_that_does_not_listen(manager: Manager, managed: Callable[..., ManagedGatherd]) -> None:
    address = manager.listen("http")
    manager.passed.append(("x", socket.create_connection(address, 10)))
    daemon = managed("server: { listen: [ systemd ] }" + HELLO, start=False)
    daemon._spawn()
    assert daemon.process is not None
    assert daemon.process.wait(60) == 78
    daemon.process = None
    assert 'fd 4 (name "x") is not a listening socket: Accept=yes?' in daemon.log()


def test_sockets_for_another_process_are_ignored(manager: Manager, managed: Callable[..., ManagedGatherd]) -> None:
    daemon = managed(HELLO, manager_env={"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "http"})
    assert daemon.get("/hello").status == 200


def test_units_are_sound(tmp_path: Path, program: Path) -> None:
    """As far as systemd-analyze can tell, if it is there."""
    analyze = "/usr/bin/systemd-analyze"
    if not Path(analyze).exists():
        pytest.skip("no systemd-analyze")
    root = Path(__file__).resolve().parents[2]
    command = ["make", "-s", "-o", str(program), f"B={program.parent}", f"PREFIX={tmp_path}", "install"]
    subprocess.run(command, cwd=root, check=True, capture_output=True, timeout=120)
    units = sorted((tmp_path / "lib/systemd/system").iterdir())
    assert [unit.name for unit in units] == ["gatherd.service", "gatherd.socket", "gatherd@.service"]
    done = subprocess.run([analyze, "verify", *units], capture_output=True, text=True, timeout=120)
    assert not [line for line in done.stderr.splitlines() if "gatherd" in line], done.stderr
    service = tmp_path / "lib/systemd/system/gatherd.service"
    done = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=12", service], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout
