"""How often one client may ask: buckets by address, what the client is told, and who the client is behind proxies."""

from __future__ import annotations

import http.client
import re
import time
from typing import Any, Callable

import pytest
from harness import Gatherd
from harness.gatherd import Response
from support import Wire, at_once, good, problem, request_line, stopwatch

CONFIG = """
server:
  listen: [ "127.0.0.1:${{PORT}}", "unix:${{FOLDER}}/http.sock" ]
  threads: {threads}
  {server}
endpoints:
  "GET /slow": {{ rate: 5/h, respond: "{{request.ip}}" }}
  "GET /other": {{ rate: 5/h, respond: other }}
  "POST /slow": {{ rate: 2/m, parameters: {{ n: {{ type: integer }} }}, respond: posted }}
  "GET /fast": {{ rate: 20/s, respond: fast }}
  "GET /checked": {{ rate: 3/h, parameters: {{ n: {{ type: integer }} }}, respond: "{{n}}" }}
  "GET /cached": {{ rate: 3/h, cache: 1h, respond: cached }}
  "GET /free": {{ respond: "{{request.ip}}" }}
"""


def configured(gatherd: Callable[..., Gatherd], server: str = "", *, threads: int = 1) -> Gatherd:
    return gatherd(CONFIG.format(server=server, threads=threads))


def ask(daemon: Gatherd, path: str, source: str = "127.0.0.1", forwarded: list[str] | None = None, method: str = "GET") -> Response:
    """From an address of one's own, with any number of X-Forwarded-For fields."""
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=30, source_address=(source, 0))
    try:
        connection.putrequest(method, path)
        for value in forwarded or []:
            connection.putheader("X-Forwarded-For", value)
        connection.endheaders()
        reply = connection.getresponse()
        return Response(reply.status, reply.headers, reply.read())
    finally:
        connection.close()


def told(reply: Any) -> tuple[int, int, int, int]:
    """q, w, r, t of the RateLimit fields."""
    policy = re.fullmatch(r'"client";q=(\d+);w=(\d+)', reply.headers["RateLimit-Policy"])
    now = re.fullmatch(r'"client";r=(\d+);t=(\d+)', reply.headers["RateLimit"])
    assert policy and now
    return int(policy[1]), int(policy[2]), int(now[1]), int(now[2])


# -- the bucket --


def test_what_a_client_is_told(gatherd: Callable[..., Gatherd]) -> None:
    daemon = configured(gatherd)
    for left in (4, 3, 2, 1):
        reply = daemon.get("/slow")
        assert good(reply) == "127.0.0.1"
        quota, window, remaining, seconds = told(reply)
        assert (quota, window, remaining) == (5, 3600, left)
        assert (5 - left) * 720 - 60 <= seconds <= (5 - left) * 720
    last = daemon.get("/slow")
    assert good(last) and told(last)[2] == 0
    assert 660 <= told(last)[3] <= 720
    refused = daemon.get("/slow")
    document = problem(refused, 429)
    assert document["title"] == "Too Many Requests" and "address" in document["detail"]
    assert told(refused)[:3] == (5, 3600, 0)
    assert int(refused.headers["Retry-After"]) == told(refused)[3]
    assert 660 <= told(refused)[3] <= 720
    line = request_line(daemon, status="429")
    assert line["endpoint"] == "GET /slow"
    assert good(daemon.get("/other")) == "other", "each endpoint has buckets of its own"
    assert good(daemon.get("/free")) and "RateLimit" not in daemon.get("/free").headers


def test_the_connection_stays(gatherd: Callable[..., Gatherd]) -> None:
    daemon = configured(gatherd)
    with Wire(daemon) as wire:
        for _ in range(5):
            good(wire.get("/slow").reply())
        for _ in range(3):
            problem(wire.get("/slow").reply(), 429)
        good(wire.get("/other").reply())


def test_tokens_come_back(gatherd: Callable[..., Gatherd]) -> None:
    daemon = configured(gatherd)
    with Wire(daemon) as wire, stopwatch() as took:
        replies = [wire.get("/fast").reply() for _ in range(60)]
        assert {reply.status for reply in replies} == {200, 429}
        enough = [reply.status for reply in replies].count(200)
        assert all(reply.headers["Retry-After"] == "1" for reply in replies if reply.status == 429)
        time.sleep(0.5)
        enough += [wire.get("/fast").reply().status for _ in range(30)].count(200)
    assert 29 <= enough <= 21 + 20 * took.seconds


def test_it_is_one_bucket_over_all_workers(gatherd: Callable[..., Gatherd]) -> None:
    daemon = configured(gatherd, threads=4)
    statuses = [reply.status for reply in at_once([lambda: daemon.get("/slow")] * 60)]
    assert statuses.count(200) == 5 and statuses.count(429) == 55


def test_it_is_taken_before_parameters_are_looked_at(gatherd: Callable[..., Gatherd]) -> None:
    daemon = configured(gatherd)
    for _ in range(3):
        reply = daemon.get("/checked?n=wrong")
        problem(reply, 400)
        assert told(reply)[0] == 3
    problem(daemon.get("/checked?n=1"), 429)


def test_methods(gatherd: Callable[..., Gatherd]) -> None:
    daemon = configured(gatherd)
    for left in (4, 3):
        assert told(daemon.request("HEAD", "/slow"))[2] == left
    assert told(daemon.get("/slow"))[2] == 2, "HEAD is the same endpoint"
    assert daemon.request("OPTIONS", "/slow").status == 204
    assert daemon.request("DELETE", "/slow").status == 405
    for _ in range(2):
        good(daemon.request("POST", "/slow", json_body={"n": 1}))
    reply = daemon.request("POST", "/slow", json_body={"n": 1})
    problem(reply, 429)
    assert told(reply)[:2] == (2, 60)
    assert told(daemon.get("/slow"))[2] == 1


def test_replies_that_are_kept(gatherd: Callable[..., Gatherd]) -> None:
    daemon = configured(gatherd)
    assert [told(daemon.get("/cached"))[2] for _ in range(3)] == [2, 1, 0], "each says how many are left now"
    problem(daemon.get("/cached"), 429)
    assert told(ask(daemon, "/cached", "127.0.0.9"))[2] == 2


# -- who the client is --


def spent(daemon: Gatherd, **who: Any) -> bool:
    """Is the bucket of /slow empty? Takes a token where it is not."""
    reply = ask(daemon, "/slow", **who)
    if reply.status == 200:
        return False
    problem(reply, 429)
    return True


def spend(daemon: Gatherd, **who: Any) -> None:
    for _ in range(5):
        assert not spent(daemon, **who)
    assert spent(daemon, **who)


def test_each_address_has_its_own(gatherd: Callable[..., Gatherd]) -> None:
    daemon = configured(gatherd, threads=2)
    for n in (1, 2, 3):
        spend(daemon, source=f"127.0.0.{n}")
    assert spent(daemon, source="127.0.0.1")


def test_nobody_is_believed_without_trust(gatherd: Callable[..., Gatherd]) -> None:
    daemon = configured(gatherd)
    assert good(ask(daemon, "/free", forwarded=["198.51.100.1"])) == "127.0.0.1"
    for n in range(5):
        assert not spent(daemon, forwarded=[f"198.51.100.{n}"])
    assert spent(daemon, forwarded=["198.51.100.77"])


def test_a_stranger_is_not_believed(gatherd: Callable[..., Gatherd]) -> None:
    daemon = configured(gatherd, "trusted_proxies: [ 127.0.0.8/29 ]")
    assert good(ask(daemon, "/free", "127.0.0.1", ["198.51.100.1"])) == "127.0.0.1"
    assert good(ask(daemon, "/free", "127.0.0.16", ["198.51.100.1"])) == "127.0.0.16"
    assert good(ask(daemon, "/free", "127.0.0.15", ["198.51.100.1"])) == "198.51.100.1"


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ([], "127.0.0.1"),
        (["198.51.100.1"], "198.51.100.1"),
        (["203.0.113.9, 198.51.100.1"], "198.51.100.1"),
        (["203.0.113.9", "198.51.100.1"], "198.51.100.1"),
        (["198.51.100.1, 10.1.2.3", "10.0.0.1"], "198.51.100.1"),
        (["198.51.100.1:4711"], "198.51.100.1"),
        (["2001:DB8:0::1"], "2001:db8::1"),
        (["[2001:db8::1]:4711"], "2001:db8::1"),
        (["::ffff:198.51.100.1"], "198.51.100.1"),
        (["10.1.2.3"], "10.1.2.3"),
        (["nonsense"], "127.0.0.1"),
        (["198.51.100.1, nonsense"], "127.0.0.1"),
        (["198.51.100.1, nonsense, 10.0.0.1"], "10.0.0.1"),
        (["\"><script>"], "127.0.0.1"),
        ([""], "127.0.0.1"),
    ],
)
def test_behind_trusted_proxies(module_gatherd: Callable[..., Gatherd], trusting: Gatherd, forwarded: list[str], client: str) -> None:
    assert good(ask(trusting, "/free", forwarded=forwarded)) == client
    assert request_line(trusting, peer=client)


@pytest.fixture(scope="module")
def trusting(module_gatherd: Callable[..., Gatherd]) -> Gatherd:
    return module_gatherd(CONFIG.format(server="trusted_proxies: [ 127.0.0.1, 10.0.0.0/8, unix ]", threads=2))


def test_buckets_behind_a_proxy(gatherd: Callable[..., Gatherd]) -> None:
    daemon = configured(gatherd, "trusted_proxies: [ 127.0.0.1 ]", threads=2)
    spend(daemon, forwarded=["198.51.100.1"])
    assert spent(daemon, forwarded=["203.0.113.1, 198.51.100.1"]), "what the client made up changes nothing"
    assert not spent(daemon, forwarded=["198.51.100.2"])
    assert not spent(daemon)
    spend(daemon, forwarded=["2001:db8:0:1::1"])
    assert spent(daemon, forwarded=["2001:db8:0:1:ffff::2"]), "a /64 is one client"
    assert not spent(daemon, forwarded=["2001:db8:0:2::1"])


def test_over_a_unix_socket(trusting: Gatherd) -> None:
    with Wire(trusting, unix=trusting.folder / "http.sock") as wire:
        assert good(wire.get("/free").reply()) == "unix"
        assert good(wire.get("/free", "X-Forwarded-For: 198.51.100.5").reply()) == "198.51.100.5"
        for _ in range(5):
            good(wire.get("/slow", "X-Forwarded-For: 198.51.100.6").reply())
        problem(wire.get("/slow", "X-Forwarded-For: 198.51.100.6").reply(), 429)
        good(wire.get("/slow", "X-Forwarded-For: 198.51.100.7").reply())


def test_a_flood_of_addresses(gatherd: Callable[..., Gatherd]) -> None:
    """More clients than there is room for: nobody is refused for what others did, and memory stays as it is."""
    daemon = configured(gatherd, "trusted_proxies: [ 127.0.0.1 ]")

    def flood(first: int) -> None:
        with Wire(daemon) as wire:
            for n in range(first, first + 2000, 50):
                for k in range(n, n + 50):
                    wire.get("/other", f"X-Forwarded-For: 2001:db8:{k >> 8:x}:{k & 255:x}::1")
                assert all(wire.reply().status == 200 for _ in range(50))

    flood(0)
    before = daemon.rss_kib
    at_once([lambda n=n: flood(n * 2000) for n in range(1, 5)])
    if not any(mark in daemon.program.read_bytes() for mark in (b"__asan_init", b"__tsan_init")):
        assert daemon.rss_kib < before + 6 * 1024
    spend(daemon, forwarded=["198.51.100.9"])
