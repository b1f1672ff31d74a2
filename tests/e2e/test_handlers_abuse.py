"""Handlers in C that use gatherd.h as nobody should: each mistake has an answer, no other request suffers, and the daemon
ends as it should."""

from __future__ import annotations

import errno
import http.client
import random
import re
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from harness import Gatherd
from harness.server import ServerError

from support import good, in_background, problem, soon, wait_for

SOURCE = Path(__file__).resolve().parent / "modules/abuse.c"
ECANCELED, ETIMEDOUT, EPERM, EINVAL = -errno.ECANCELED, -errno.ETIMEDOUT, -errno.EPERM, -errno.EINVAL
EDEADLK, EBUSY, E2BIG = -errno.EDEADLK, -errno.EBUSY, -errno.E2BIG

# What each handler that answers for itself must say, and whether it says so again and again.
WORDS: dict[str, Any] = {
    "times": [ETIMEDOUT, ETIMEDOUT, ETIMEDOUT, 0, ETIMEDOUT, 0, ETIMEDOUT, 0, EINVAL, EINVAL],
    "nulls": [EINVAL] * 52 + [True],
    "scope_left_by_child": 6,
    "scope_pairs": 5,
    "shield_pairs": [0, ETIMEDOUT, 0, False],
    "shield_of_another": [ETIMEDOUT, ETIMEDOUT],
    "gather_of_outer_scope": [ECANCELED, 0, 4],
    "call_of_inner_scope": [1, 0, EINVAL],
    "gather_left_by_its_owner": [0, 0, 8],
    "waiting_for_what_ends": [0] + [ECANCELED] * 9,
    "lock_left": [0, 0, 0],
    "many_appends": 1000001,
    "many_gathers": 3334,
    "deep": [1001, E2BIG, True, 500],
    "built_wrong": [EINVAL] * 31,
    "circles": [EDEADLK, EBUSY, EBUSY, 0],
    "threads": [True, 1],
}


def config(module: Path, server: str = "", threads: int = 1) -> str:
    """Each function of the module at its name."""
    names = re.findall(r"^int (\w+)\(gd_request \*req\)$", SOURCE.read_text(), re.MULTILINE)
    lines = [f"server: {{ listen: [ '127.0.0.1:${{PORT}}' ], threads: {threads}{server} }}"]
    lines += ["sources: { papers: { files: '${FOLDER}/papers' } }", "endpoints:"]
    for name in names:
        more = ", parameters: { value: { type: string, default: '' } }" if name == "echo_header" else ""
        lines.append(f"  '{'POST' if name == 'echo_form' else 'GET'} /{name}': {{ handler: '{module}:{name}'{more} }}")
    return "\n".join(lines) + "\n"


@pytest.fixture
def abused(gatherd: Callable[..., Gatherd], module: Callable[..., Path]) -> Callable[..., Gatherd]:
    def run(server: str = "", threads: int = 1, **options: Any) -> Gatherd:
        return gatherd(config(module("abuse"), server, threads), files={"papers/a.txt": "0123456789"}, **options)

    return run


@pytest.fixture(scope="module")
def daemon(module_gatherd: Callable[..., Gatherd], module: Callable[..., Path]) -> Gatherd:
    return module_gatherd(config(module("abuse"), ", write_timeout: 2s"), files={"papers/a.txt": "0123456789"})


def messages(daemon: Gatherd, text: str) -> list[dict[str, str]]:
    return [line for line in daemon.log_lines() if line.get("msg") == text]


def ended(daemon: Gatherd) -> dict[str, int]:
    """What the handlers that stream have noted, once none of them runs any more."""
    return wait_for(lambda: (state := good(daemon.get("/ended")))["live"] == 0 and state, 30, "the handler's end")


# -- words --


@pytest.mark.parametrize("word", WORDS)
def test_word(daemon: Gatherd, word: str) -> None:
    for _ in range(2):
        assert good(daemon.get(f"/{word}", timeout=60)) == WORDS[word]


def test_stacks_run_out_and_come_back(daemon: Gatherd) -> None:
    answer = good(daemon.get("/many_spawns", timeout=120))
    assert answer == {"some": 1, "refused": 10, "none": -errno.EAGAIN, "also": -errno.EAGAIN}
    assert good(soon(lambda: daemon.get("/many_gathers"), timeout=60)) == WORDS["many_gathers"]


def test_what_a_run_leaves_open_does_not_reach_the_next(daemon: Gatherd) -> None:
    """Shields, deadlines and scopes of a background task's run end with it."""
    state = wait_for(lambda: (s := good(daemon.get("/background")))["runs"] == 3 and s["ticks"] > 3 and s, 30, "three runs")
    assert state["constructed"] == 1
    assert {line["result"] for line in messages(daemon, "background task failed")} == {str(-errno.EIO)}


def test_what_one_worker_made_is_refused_to_the_other(abused: Callable[..., Gatherd]) -> None:
    daemon = abused(threads=2)
    seen = wait_for(lambda: good(daemon.get("/foreign")), 30, "an answer of worker 0")
    assert seen == [EPERM] * 19 + [True]
    expected = {"gd_queue_put", "gd_lock", "gd_await", "gd_event_set", "gd_gather_wait", "gd_ticker_wait"}
    wait_for(lambda: expected <= {line["function"] for line in messages(daemon, "called on another worker than the one that made it")}, 10, "the log")


# -- requests and replies --


def test_a_request_that_is_over_is_not_touched(daemon: Gatherd) -> None:
    for _ in range(3):
        assert good(daemon.get("/keep")) is None
        assert good(daemon.get("/use")) == [EPERM, EPERM, EPERM, 1]
    wait_for(lambda: messages(daemon, "a request is used by a task that is not its own"), 10, "the log")


def test_a_request_of_another_is_not_answered(daemon: Gatherd) -> None:
    slow = in_background(lambda: daemon.get("/keep_slow"))
    time.sleep(0.03)
    daemon.get("/use")
    assert slow.result(30).text == "mine"


def test_replies_of_children(daemon: Gatherd) -> None:
    problem(daemon.get("/child_replies_late"), 500)
    assert daemon.get("/child_replies").text == "from the child"
    assert daemon.get("/replies_twice").text == "first"
    assert daemon.get("/two_files").text == "0123456789"


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\rb", "\r\n\r\n<html>", "a%00b", "plain", "ä", "\x7f\x01", ""])
def test_headers_of_requests_make_no_headers(daemon: Gatherd, value: str) -> None:
    answer = daemon.raw(f"GET /echo_header?value={quote(value, safe='%')} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    head, _, _ = answer.partition(b"\r\n\r\n")
    names = [line.split(b":")[0].lower() for line in head.split(b"\r\n")[1:]]
    assert b"x-evil" not in names and answer.count(b"HTTP/1.1 ") == 1
    assert answer.split(b" ")[1] in (b"200", b"303", b"400")


# -- streams --


def leave_after(daemon: Gatherd, path: str, count: int, request: str = "GET {} HTTP/1.1\r\nHost: x\r\n\r\n") -> None:
    """Read some bytes, then go without a word."""
    with daemon.connect() as plain:
        plain.sendall(request.format(path).encode())
        left = count
        while left > 0 and (chunk := plain.recv(min(left, 65536))):
            left -= len(chunk)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")


@pytest.mark.parametrize("path", ["write_shielded", "stream_in_a_shield", "child_writes", "endless", "endless_events", "events_that_are_slow"])
@pytest.mark.parametrize("count", [0, 1, 100, 300_000])
def test_the_client_leaves_a_stream(daemon: Gatherd, path: str, count: int) -> None:
    leave_after(daemon, f"/{path}", count if path != "endless_events" else min(count, 1000))
    state = ended(daemon)
    if path == "write_shielded" and count == 300_000:
        assert (state["write"], state["end"]) == (ECANCELED, ECANCELED)
    if path == "child_writes" and count == 300_000:
        assert state["child"] == ECANCELED


@pytest.mark.parametrize("path", ["endless", "endless_events", "child_writes", "write_shielded"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_head_ends_an_endless_stream(daemon: Gatherd, path: str, version: str) -> None:
    """Nobody takes what it writes, and nobody leaves: it would go on for ever."""
    answer = daemon.raw(f"HEAD /{path} HTTP/{version}\r\nHost: x\r\nConnection: close\r\n\r\n".encode(), timeout=20)
    assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"\r\n\r\n")
    ended(daemon)


def test_a_slow_reader_of_events_is_dropped(daemon: Gatherd) -> None:
    with daemon.connect() as plain:
        plain.sendall(b"GET /events_that_are_slow HTTP/1.1\r\nHost: x\r\n\r\n")
        ended(daemon)


def test_a_stream_that_may_have_no_body(daemon: Gatherd) -> None:
    answer = daemon.get("/nothing_to_write")
    assert (answer.status, answer.body) == (204, b"")
    assert good(daemon.get("/ended"))["unwanted"] == ECANCELED
    answer = daemon.raw(b"GET /nothing_to_write HTTP/1.1\r\nHost: x\r\n\r\nGET /writes_after_the_end HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 204") and b"whole" in answer


def test_requests_behind_a_stream(daemon: Gatherd) -> None:
    ask = b"GET /writes_after_the_end HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = daemon.raw(ask + ask + ask.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), timeout=20)
    assert answer.count(b"HTTP/1.1 200") == 3 and answer.count(b"5\r\nwhole\r\n0\r\n\r\n") == 3
    old = daemon.raw(ask.replace(b"1.1", b"1.0"), timeout=20)
    assert old.endswith(b"\r\n\r\nwhole")


# -- who goes on --


def test_who_ignores_that_it_was_cancelled_lets_the_others_run(abused: Callable[..., Gatherd]) -> None:
    daemon = abused(", request_timeout: 200ms")
    going_on = in_background(lambda: daemon.get("/goes_on"))
    wait_for(lambda: good(daemon.get("/ended"))["live"] == 1, 10, "it to begin")
    time.sleep(0.4)
    assert good(daemon.get("/ended"))["live"] == 1  # answered while it goes on, its deadline long over
    assert going_on.result(30).status == 200


def test_exit_is_no_clean_end(abused: Callable[..., Gatherd]) -> None:
    daemon = abused()
    with daemon.connect() as plain:
        plain.sendall(b"GET /exits HTTP/1.1\r\nHost: x\r\n\r\n")
        plain.recv(10)
    with pytest.raises(ServerError, match="70"):
        daemon.stop()
    assert messages(daemon, "a module called exit()")


# -- forms --


def mutations(seed: int, count: int) -> list[tuple[str, bytes]]:
    """Content-Types and bodies of forms, spoilt in some places."""
    chance = random.Random(seed)
    part = b'--b\r\nContent-Disposition: form-data; name="f"; filename="a\\"b"\r\nContent-Type: x/y\r\n\r\n\x00\xff\r\n'
    field = b'--b\r\nContent-Disposition: form-data; name="t"\r\n\r\nA \xe2\x82\xac\r\n'
    wholes = [("multipart/form-data; boundary=b", part + field * 2 + b"--b--\r\n"), ("application/x-www-form-urlencoded", b"a=1&b=%20+&a=%c3%a4&&=x")]
    tokens = [b"--b", b"--b--", b"\r\n", b"\r\n\r\n", b'"', b"\\", b";", b"name=", b"filename*=utf-8''%ff", b"\0", b"\xff", b"%", b"=", b"&", b":", b""]
    out = []
    for _ in range(count):
        kind, body = chance.choice(wholes)
        spoilt = bytearray(body)
        for _ in range(chance.randrange(1, 6)):
            at, to = sorted((chance.randrange(len(spoilt) + 1), chance.randrange(len(spoilt) + 1)))
            spoilt[at : min(to, at + chance.randrange(4))] = chance.choice([chance.choice(tokens), bytes([chance.randrange(256)]), bytes(spoilt[at:to])])
        if chance.random() < 0.1:
            kind += chance.choice([" ", ";", '"', "b" * 80, "; boundary=", "; charset=x"])
        out.append((kind, bytes(spoilt)))
    return out


def test_no_form_breaks_the_daemon(daemon: Gatherd) -> None:
    connection = daemon.connection()
    for kind, body in mutations(7, 3000):
        connection.request("POST", "/echo_form", body=body, headers={"Content-Type": kind})
        try:
            reply = connection.getresponse()
        except http.client.RemoteDisconnected:  # pragma: no cover
            pytest.fail(f"{kind}: {body!r}")
        assert reply.status in (200, 400, 413, 415), (kind, body)
        reply.read()
    connection.close()


# -- the end --


@pytest.mark.parametrize("path", ["endless", "endless_events", "child_writes", "write_shielded", "stream_in_a_shield", "keep_slow", "child_replies_late", "many_gathers", "events_that_are_slow"])
def test_the_end_comes_in_the_middle(abused: Callable[..., Gatherd], path: str) -> None:
    """Whatever a handler is at: drain_timeout, then it is cancelled, and nothing is left over (the fixture looks)."""
    daemon = abused(", drain_timeout: 300ms")
    with daemon.connect() as plain:
        plain.sendall(f"GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        plain.recv(10)
        began = time.monotonic()
        daemon.stop()
        assert time.monotonic() - began < 30
    assert not messages(daemon, "left over at the end")


def test_promises_that_nobody_keeps_do_not_hold_up_the_end(abused: Callable[..., Gatherd]) -> None:
    daemon = abused(threads=2, env={"ABUSE_PROMISE": "1"})
    daemon.stop()
    assert [line["count"] for line in messages(daemon, "promises were never resolved")] == ["1"]


def test_a_stop_that_waits_for_ever_is_bounded(abused: Callable[..., Gatherd]) -> None:
    daemon = abused(env={"ABUSE_NEVER_STOP": "1"})
    daemon.stop()


def test_nothing_begins_at_the_end(abused: Callable[..., Gatherd]) -> None:
    """A task that starts a background task when it is cancelled, and a gd_module_stop that does."""
    daemon = abused()
    daemon.stop()
    assert [line["result"] for line in messages(daemon, "a task failed and nobody asked") if line["name"] == "starts more"] == [str(EPERM)]


# -- loading --


def test_handlers_are_functions_of_their_module(module: Callable[..., Path], program: Path, tmp_path: Path) -> None:
    """Not its data, and not what it is linked with: `exit` would be found, too."""
    path = module("abuse")
    names = ["data_symbol", "exit", "gatherd_module_abi", "construct"]
    (tmp_path / "g.yaml").write_text("endpoints:\n" + "".join(f"  'GET /{name}': {{ handler: '{path}:{name}' }}\n" for name in names))
    done = subprocess.run([program, "check", "-c", "g.yaml"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 78
    for name in names:
        assert f'{path} has no function "{name}"' in done.stderr


TWIN = """
#include <gatherd.h>
static _Thread_local int started;
int shared_name = {number};
int gd_module_start(unsigned worker, unsigned workers)
{{
	started = shared_name + (int)(worker * workers * 0);
	return 0;
}}
int answer(gd_request *req)
{{
	return gd_reply(req, 200, gd_list(gd_int(started), gd_int(shared_name)));
}}
"""


def test_modules_with_the_same_names_are_apart(gatherd: Callable[..., Gatherd], module: Callable[..., Path]) -> None:
    one, two = (module(f"twin{n}", TWIN.format(number=n)) for n in (1, 2))
    daemon = gatherd(f"endpoints: {{ 'GET /1': {{ handler: '{one}:answer' }}, 'GET /2': {{ handler: '{two}:answer' }}, 'GET /3': {{ handler: '{one}:answer' }} }}")
    assert [good(daemon.get(f"/{n}")) for n in (1, 2, 3)] == [[1, 1], [2, 2], [1, 1]]


BLOCKING = """
#include <gatherd.h>
#include <unistd.h>
int block(gd_request *req)
{
	sleep(3);
	return gd_reply(req, 200, gd_int(gd_worker()));
}
int worker(gd_request *req)
{
	return gd_reply(req, 200, gd_int(gd_worker()));
}
"""


def test_who_blocks_a_worker_blocks_that_one_alone(gatherd: Callable[..., Gatherd], module: Callable[..., Path]) -> None:
    path = module("blocking", BLOCKING)
    daemon = gatherd(f"endpoints: {{ 'GET /block': {{ handler: '{path}:block' }}, 'GET /worker': {{ handler: '{path}:worker' }} }}", threads=2)

    def ask(connection: http.client.HTTPConnection, path: str = "/worker") -> int:
        connection.request("GET", path)
        return int(connection.getresponse().read())

    of_worker: dict[int, http.client.HTTPConnection] = {}
    connections = []  # kept open: a worker has a connection as long as it lasts
    while len(of_worker) < 2:
        connections.append(daemon.connection())
        of_worker[ask(connections[-1])] = connections[-1]
    blocked = in_background(lambda: ask(of_worker[0], "/block"))
    time.sleep(0.2)
    assert [ask(of_worker[1]) for _ in range(20)] == [1] * 20
    assert blocked.running
    assert blocked.result(30) == 0
