"""The cache of steps and endpoints: fetches that are shared, stale results, what is never kept, and what clients keep."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any, Callable

import pytest
from counting import Counting, counting
from harness import Gatherd, Mongo, Postgres
from support import Wire, at_once, good, in_background, problem, quickest, running_statements, soon, stopwatch, wait_for


@pytest.fixture
def upstream() -> Iterator[Counting]:
    with counting() as server:
        yield server


CONFIG = """
server:
  listen: [ "127.0.0.1:${{PORT}}" ]
  threads: {threads}
  {server}
sources:
  up: {{ http: "${{UP}}" }}
  pg: {{ postgres: "${{PG}}", pool: {{ size: 8 }} }}
  db: {{ mongodb: "${{MONGO}}" }}
endpoints:
  "GET /step/{{name}}":
    parameters: {{ sleep: {{ type: number, default: 0 }}, other: {{ type: integer, default: 0 }} }}
    gather: {{ r: {{ from: up, get: "/{{name}}?sleep={{sleep}}", cache: 1h }} }}
  "GET /brief/{{name}}":
    parameters: {{ sleep: {{ type: number, default: 0 }} }}
    gather: {{ r: {{ from: up, get: "/{{name}}?sleep={{sleep}}", cache: 300ms }} }}
  "GET /stale/{{name}}":
    parameters: {{ sleep: {{ type: number, default: 0 }} }}
    gather: {{ r: {{ from: up, get: "/{{name}}?sleep={{sleep}}", cache: {{ ttl: 200ms, stale: 1h }} }} }}
  "GET /reply/{{name}}":
    parameters: {{ sleep: {{ type: number, default: 0 }}, q: {{ type: string, default: "" }} }}
    cache: 1h
    headers: {{ X-Name: "{{name}}", Content-Type: application/vnd.test+json }}
    gather: {{ r: {{ from: up, get: "/{{name}}?sleep={{sleep}}" }} }}
  "GET /short/{{name}}":
    cache: {{ ttl: 1s, stale: 60s }}
    gather: {{ r: {{ from: up, get: "/{{name}}" }} }}
  "GET /personal":
    cache: 90s
    headers: {{ X-Who: "{{request.ip}}" }}
    respond: {{ language: "{{headers.Accept-Language}}", method: "{{request.method}}" }}
  "GET /own":
    cache: 90s
    headers: {{ Cache-Control: "no-cache" }}
    respond: own
  "GET /incomplete/{{name}}":
    cache: 1h
    parameters: {{ sleep: {{ type: number, default: 0 }} }}
    gather:
      r: {{ from: up, get: "/{{name}}?sleep={{sleep}}" }}
      bad: {{ from: pg, sql: "select 1/0", on_error: null }}
  "GET /parts/{{name}}":
    gather:
      kept: {{ from: up, get: "/{{name}}", cache: 1h }}
      not: {{ from: up, get: "/not" }}
  "GET /types":
    parameters: {{ a: {{ type: [ string, "null" ], required: false }} }}
    gather:
      v: {{ from: pg, sql: "select {{a}}::text as a, clock_timestamp()::text as at", expect: one, cache: 1h }}
  "GET /fallback":
    gather:
      row: {{ from: pg, sql: "select id, name from customers where id <= 2 order by id", cache: 100ms, on_error: stale }}
      more: {{ from: pg, sql: "select id from orders where customer_id = any({{row[*].id}}) and id = 1", on_error: null }}
  "GET /fallback/{{id}}":
    parameters: {{ id: {{ type: integer }} }}
    gather: {{ row: {{ from: pg, sql: "select id from customers where id = {{id}}", expect: one, cache: 100ms, on_error: stale }} }}
  "GET /sleep/{{s}}":
    parameters: {{ s: {{ type: number }} }}
    timeout: 10s
    gather: {{ r: {{ from: pg, sql: "select 'shared' as x from pg_sleep({{s}})", cache: 1h }} }}
  "GET /sleep/whole/{{s}}":
    cache: 1h
    parameters: {{ s: {{ type: number }} }}
    gather: {{ r: {{ from: pg, sql: "select 'whole' as x from pg_sleep({{s}})" }} }}
  "GET /hasty/{{s}}":
    timeout: 300ms
    cache: 1h
    parameters: {{ s: {{ type: number }} }}
    gather: {{ r: {{ from: pg, sql: "select 'hasty' as x from pg_sleep({{s}})" }} }}
  "GET /documents":
    gather:
      reviews: {{ from: db, find: reviews, filter: {{ customer: 1 }}, projection: {{ customer: 1 }}, sort: {{ _id: 1 }}, cache: 1h }}
      first: {{ from: pg, sql: "select name from customers where id = {{reviews[0].customer}}", expect: one }}
      who:
        from: pg
        sql: "select id from customers where id = any({{reviews[*].customer}})"
        cache: 1h
        join: {{ into: reviews, key: customer, equals: id, as: who, many: false }}
  "GET /large/{{n}}":
    parameters: {{ n: {{ type: integer }}, i: {{ type: integer }} }}
    gather: {{ r: {{ from: pg, sql: "select repeat('x', {{n}}) as x, clock_timestamp()::text as at, {{i}} as i", expect: one, cache: 1h }} }}
"""


def run(gatherd: Callable[..., Gatherd], upstream: Counting, server: str = "", *, threads: int = 2, **options: Any) -> Gatherd:
    return gatherd(CONFIG.format(server=server, threads=threads), env={"UP": upstream.url}, **options)


# -- keys --


def test_a_step_is_fetched_once_for_the_same_parameters(gatherd: Callable[..., Gatherd], upstream: Counting) -> None:
    daemon = run(gatherd, upstream)
    for _ in range(5):
        assert good(daemon.get("/step/a")) == {"r": {"path": "/a", "n": 1}}
    assert good(daemon.get("/step/a?other=5")) == {"r": {"path": "/a", "n": 1}}, "the step does not refer to it"
    assert good(daemon.get("/step/a?sleep=0.01")) == {"r": {"path": "/a", "n": 2}}
    assert good(daemon.get("/step/b")) == {"r": {"path": "/b", "n": 1}}
    assert good(daemon.get("/brief/a")) == {"r": {"path": "/a", "n": 3}}, "another endpoint's is its own"
    reply = daemon.get("/step/a")
    assert reply.headers["Gatherd-Complete"] == "true"
    assert "ETag" not in reply.headers and "Age" not in reply.headers and "Cache-Control" not in reply.headers


def test_a_reply_is_fetched_once_for_the_same_request(gatherd: Callable[..., Gatherd], upstream: Counting) -> None:
    daemon = run(gatherd, upstream)
    first = daemon.get("/reply/a")
    for _ in range(5):
        reply = daemon.get("/reply/a")
        assert reply.status == 200 and reply.body == first.body == b'{"r":{"path":"/a","n":1}}'
        for name in ("Content-Type", "X-Name", "ETag", "Cache-Control", "Gatherd-Complete"):
            assert reply.headers[name] == first.headers[name]
    assert reply.headers["Content-Type"] == "application/vnd.test+json" and reply.headers["X-Name"] == "a"
    assert daemon.get("/reply/a?q=x").json()["r"]["n"] == 2
    assert daemon.get("/reply/b").headers["X-Name"] == "b"
    problem(daemon.get("/reply/a?sleep=x"), 400)
    problem(daemon.get("/reply/a?nope=1"), 400)


def test_parameters_of_other_types_are_others(gatherd: Callable[..., Gatherd], upstream: Counting) -> None:
    daemon = run(gatherd, upstream)
    words = ["", "?a=", "?a=null", "?a=1", "?a=%221%22", "?a=%0A", "?a=%5Cn"]
    values = [good(daemon.get(f"/types{word}"))["v"] for word in words]
    assert [value["a"] for value in values] == [None, "", "null", "1", '"1"', "\n", "\\n"]
    assert len({value["at"] for value in values}) == len(words)
    assert [good(daemon.get(f"/types{word}"))["v"] for word in words] == values


def test_it_ends(gatherd: Callable[..., Gatherd], upstream: Counting) -> None:
    daemon = run(gatherd, upstream)
    assert good(daemon.get("/brief/a"))["r"]["n"] == 1
    assert good(daemon.get("/brief/a"))["r"]["n"] == 1
    time.sleep(0.35)
    assert good(daemon.get("/brief/a"))["r"]["n"] == 2


def test_looking_into_what_is_kept(gatherd: Callable[..., Gatherd], upstream: Counting) -> None:
    daemon = run(gatherd, upstream)
    who = {"who": {"id": 1}}
    expected = {
        "reviews": [{"_id": f"r-1-{n}", "customer": 1} | who for n in (1, 2, 3)],
        "first": {"name": "Customer 1"},
    }
    for _ in range(3):
        assert good(daemon.get("/documents")) == expected


# -- sharing --


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("kind", ["step", "reply"])
def test_fifty_at_once_are_one_fetch(gatherd: Callable[..., Gatherd], upstream: Counting, threads: int, kind: str) -> None:
    daemon = run(gatherd, upstream, threads=threads)
    replies = at_once([lambda: daemon.get(f"/{kind}/crowd?sleep=0.5")] * 50)
    assert [reply.status for reply in replies] == [200] * 50
    assert {reply.body for reply in replies} == {b'{"r":{"path":"/crowd","n":1}}'}
    assert upstream.count["/crowd"] == 1


@pytest.mark.parametrize("path", ["/sleep/4", "/sleep/whole/4"])
def test_fifty_at_once_are_one_statement(gatherd: Callable[..., Gatherd], upstream: Counting, postgres: Postgres, path: str) -> None:
    daemon = run(gatherd, upstream)
    mark = "'whole' as x from pg_sleep" if "whole" in path else "'shared' as x from pg_sleep"
    calls = [in_background(lambda: daemon.get(path)) for _ in range(50)]
    seen = {wait_for(lambda: running_statements(postgres, mark), 10)}
    while any(call.running for call in calls):
        seen.add(running_statements(postgres, mark))
    assert max(seen) == 1
    for call in calls:
        good(call.result())


def test_all_get_the_error_and_the_next_one_tries_again(gatherd: Callable[..., Gatherd], upstream: Counting) -> None:
    daemon = run(gatherd, upstream)
    upstream.status = 500
    for kind in ("step", "reply"):
        for reply in at_once([lambda: daemon.get(f"/{kind}/{kind}?sleep=0.3")] * 10):
            document = problem(reply, 502, step="r")
            assert document["instance"] == reply.headers["X-Request-Id"]
        before = upstream.count[f"/{kind}"]
        assert before <= 2
        problem(daemon.get(f"/{kind}/{kind}?sleep=0.3"), 502)
        assert upstream.count[f"/{kind}"] > before, "failures are not kept"
    upstream.status = 200
    for kind in ("step", "reply"):
        assert daemon.get(f"/{kind}/{kind}?sleep=0.3").status == 200


@pytest.mark.parametrize("path", ["/sleep/1.5", "/sleep/whole/1.5"])
def test_one_who_leaves_does_not_break_the_others(gatherd: Callable[..., Gatherd], upstream: Counting, postgres: Postgres, path: str) -> None:
    daemon = run(gatherd, upstream)
    mark = "as x from pg_sleep"
    leader = Wire(daemon).get(path)
    wait_for(lambda: running_statements(postgres, mark) == 1, 10)
    followers = [in_background(lambda: daemon.get(path)) for _ in range(5)]
    leaving = [Wire(daemon).get(path) for _ in range(3)]
    time.sleep(0.2)
    for wire in [leader, *leaving]:
        wire.socket.close()
    for follower in followers:
        good(follower.result())
    good(quickest(lambda: daemon.get(path), below=1))  # what the leader began was kept


@pytest.mark.parametrize("path", ["/sleep/30", "/sleep/whole/30"])
def test_the_last_one_to_leave_cancels_it(gatherd: Callable[..., Gatherd], upstream: Counting, postgres: Postgres, path: str) -> None:
    daemon = run(gatherd, upstream)
    mark = "as x from pg_sleep"
    wires = [Wire(daemon).get(path) for _ in range(6)]
    wait_for(lambda: running_statements(postgres, mark) == 1, 10)
    time.sleep(0.1)
    for wire in wires[:-1]:
        wire.socket.close()
    time.sleep(0.4)
    assert running_statements(postgres, mark) == 1
    wires[-1].socket.close()
    wait_for(lambda: running_statements(postgres, mark) == 0, 10, "the statement to be cancelled")


def test_a_deadline_of_one_s_own(gatherd: Callable[..., Gatherd], upstream: Counting) -> None:
    """Who can't wait any longer leaves with a 504; who comes later finds what was fetched for those who could."""
    daemon = run(gatherd, upstream)
    with stopwatch() as took:
        problem(daemon.get("/hasty/5"), 504)
    assert 0.3 <= took.seconds < 5
    good(daemon.get("/hasty/0.1"))


# -- stale --


def test_stale_while_it_is_fetched_anew(gatherd: Callable[..., Gatherd], upstream: Counting) -> None:
    daemon = run(gatherd, upstream)
    assert good(daemon.get("/stale/a?sleep=0.4"))["r"]["n"] == 1
    time.sleep(0.25)
    upstream.delay = 5
    for reply in at_once([lambda: daemon.get("/stale/a?sleep=0.4")] * 10):
        assert good(reply)["r"]["n"] == 1, "nobody waits for the second"
        assert reply.headers["Gatherd-Complete"] == "true"
    upstream.delay = 0
    wait_for(lambda: upstream.count["/a"] == 2 and upstream.running == 0, 10)
    soon(lambda: daemon.get("/stale/a?sleep=0.4"), lambda reply: good(reply)["r"]["n"] >= 2)
    assert upstream.most == 1


def test_a_stale_reply_and_its_age(gatherd: Callable[..., Gatherd], upstream: Counting) -> None:
    daemon = run(gatherd, upstream)
    first = daemon.get("/short/a")
    assert first.headers["Cache-Control"] == "max-age=1, stale-while-revalidate=60"
    assert first.headers["Age"] == "0"
    time.sleep(2.1)
    stale = daemon.get("/short/a")
    assert good(stale)["r"]["n"] == 1 and stale.headers["Age"] == "2" and stale.headers["ETag"] == first.headers["ETag"]
    fresh = soon(lambda: daemon.get("/short/a"), lambda reply: reply.headers["Age"] == "0")
    assert good(fresh)["r"]["n"] == 2 and fresh.headers["ETag"] != first.headers["ETag"]


def test_the_daemon_ends_while_it_fetches_anew(gatherd: Callable[..., Gatherd], upstream: Counting) -> None:
    daemon = run(gatherd, upstream, "drain_timeout: 300ms")
    good(daemon.get("/stale/a"))
    time.sleep(0.25)
    upstream.delay = 5
    good(daemon.get("/stale/a"))
    wait_for(lambda: upstream.running == 1, 10)
    with stopwatch() as took:
        assert daemon.stop() == 0
    assert took.seconds < 3


def test_the_old_result_when_the_source_is_gone(private_postgres: Postgres, gatherd: Callable[..., Gatherd], upstream: Counting) -> None:
    daemon = run(gatherd, upstream, postgres=private_postgres)
    rows = [{"id": 1, "name": "Customer 1"}, {"id": 2, "name": "Customer 2"}]
    whole = {"row": rows, "more": [{"id": 1}]}
    reply = daemon.get("/fallback")
    assert good(reply) == whole and reply.headers["Gatherd-Complete"] == "true"
    assert good(daemon.get("/fallback/7")) == {"row": {"id": 7}}
    private_postgres.kill()
    time.sleep(0.15)
    for _ in range(3):
        reply = daemon.get("/fallback")
        assert good(reply) == {"row": rows, "more": None}
        assert reply.headers["Gatherd-Complete"] == "false"
        assert reply.headers["Gatherd-Missing"] == "row, more"
        assert good(daemon.get("/fallback/7")) == {"row": {"id": 7}}
        problem(daemon.get("/fallback/8"), 503, step="row")
    private_postgres.start()
    reply = soon(lambda: daemon.get("/fallback"), lambda reply: reply.headers["Gatherd-Complete"] == "true")
    assert good(reply) == whole


# -- what is never kept --


def test_an_incomplete_reply_is_never_kept(gatherd: Callable[..., Gatherd], upstream: Counting) -> None:
    daemon = run(gatherd, upstream)
    for n in (1, 2, 3):
        reply = daemon.get("/incomplete/a", headers={"If-None-Match": "*"})
        assert good(reply) == {"r": {"path": "/a", "n": n}, "bad": None}
        assert reply.headers["Gatherd-Missing"] == "bad"
        assert reply.headers["Cache-Control"] == "no-store"
        assert "ETag" not in reply.headers and "Age" not in reply.headers
    replies = at_once([lambda: daemon.get("/incomplete/b?sleep=0.3")] * 10)
    assert {reply.body for reply in replies} == {b'{"r":{"path":"/b","n":1},"bad":null}'}, "it is shared all the same"
    assert {reply.headers["Gatherd-Missing"] for reply in replies} == {"bad"}


def test_a_step_that_is_kept_beside_one_that_is_not(gatherd: Callable[..., Gatherd], upstream: Counting) -> None:
    daemon = run(gatherd, upstream)
    for n in (1, 2, 3):
        assert good(daemon.get("/parts/a")) == {"kept": {"path": "/a", "n": 1}, "not": {"path": "/not", "n": n}}


# -- what clients keep --


def test_conditions(gatherd: Callable[..., Gatherd], upstream: Counting) -> None:
    daemon = run(gatherd, upstream)
    first = daemon.get("/reply/a")
    tag = first.headers["ETag"]
    assert tag.startswith('"') and tag.endswith('"') and len(tag) == 34
    assert first.headers["Cache-Control"] == "max-age=3600"
    with Wire(daemon) as wire:
        for value in (tag, f"W/{tag}", f'"other", {tag}', f'"other",{tag} , "more"', "*"):
            reply = wire.get("/reply/a", f"If-None-Match: {value}").reply()
            assert reply.status == 304 and reply.body == b"" and "Content-Length" not in reply.headers
            assert reply.headers["Etag"] == tag and reply.headers["Cache-Control"] == "max-age=3600"
        assert wire.get("/reply/a", 'If-None-Match: "other"', f"If-None-Match: {tag}").reply().status == 304
        for value in ('"other"', tag[1:-1], tag[:-1], "", '""'):
            reply = wire.get("/reply/a", f"If-None-Match: {value}").reply()
            assert reply.status == 200 and reply.body == first.body
    assert upstream.count["/a"] == 1


def test_equal_replies_have_equal_tags(gatherd: Callable[..., Gatherd], upstream: Counting) -> None:
    daemon = run(gatherd, upstream)
    one, two, other = daemon.get("/reply/a"), run(gatherd, upstream).get("/own"), daemon.get("/own")
    assert two.headers["ETag"] == other.headers["ETag"] != one.headers["ETag"]


def test_a_condition_on_what_is_not_there_yet(gatherd: Callable[..., Gatherd], upstream: Counting) -> None:
    daemon = run(gatherd, upstream)
    assert daemon.get("/own", headers={"If-None-Match": "*"}).status == 304
    assert daemon.get("/own").body == b'"own"'


def test_head(gatherd: Callable[..., Gatherd], upstream: Counting) -> None:
    daemon = run(gatherd, upstream)
    head = daemon.request("HEAD", "/reply/a")
    got = daemon.get("/reply/a")
    assert head.status == 200 and head.body == b"" and head.headers["Content-Length"] == str(len(got.body))
    assert head.headers["ETag"] == got.headers["ETag"]
    assert got.json() == {"r": {"path": "/a", "n": 1}}, "it is one entry"
    assert daemon.request("HEAD", "/reply/a", headers={"If-None-Match": head.headers["ETag"]}).status == 304


def test_what_a_reply_depends_on(gatherd: Callable[..., Gatherd], upstream: Counting) -> None:
    daemon = run(gatherd, upstream)
    for language in ("de", "en", "de"):
        reply = daemon.get("/personal", headers={"Accept-Language": language})
        assert good(reply) == {"language": language, "method": "GET"}
        assert reply.headers["Cache-Control"] == "private, max-age=90"
        assert reply.headers["Vary"].lower() == "accept-language"
        assert reply.headers["X-Who"] == "127.0.0.1"
    head = daemon.request("HEAD", "/personal", headers={"Accept-Language": "de"})
    assert head.headers["ETag"] != reply.headers["ETag"], "the method is part of it here"
    assert daemon.get("/own").headers.get_all("Cache-Control") == ["no-cache"]


# -- bounds --


def test_memory_is_bounded(gatherd: Callable[..., Gatherd], upstream: Counting) -> None:
    daemon = run(gatherd, upstream, "cache_size: 4MiB")

    def fill(first: int, count: int) -> None:
        with Wire(daemon) as wire:
            for i in range(first, first + count):
                assert len(good(wire.get(f"/large/50000?i={i}").reply())["r"]["x"]) == 50000

    at_once([lambda n=n: fill(n * 200, 200) for n in range(3)])
    before = daemon.rss_kib
    at_once([lambda n=n: fill(n * 200, 200) for n in range(3, 6)])
    if not any(mark in daemon.program.read_bytes() for mark in (b"__asan_init", b"__tsan_init")):
        assert daemon.rss_kib < before + 8 * 1024
    newest = good(daemon.get("/large/50000?i=1"))["r"]["at"]
    assert good(daemon.get("/large/50000?i=1"))["r"]["at"] == newest
    large = good(daemon.get("/large/400000?i=1"))["r"]["at"]
    assert good(daemon.get("/large/400000?i=1"))["r"]["at"] != large, "more than a sixteenth of it is not kept"


def test_a_crowd_that_comes_and_goes(gatherd: Callable[..., Gatherd], upstream: Counting, postgres: Postgres) -> None:
    daemon = run(gatherd, upstream, threads=4)

    def restless(seed: int) -> None:
        for n in range(12):
            with Wire(daemon) as wire:
                kind = ("brief", "stale", "step", "reply", "short")[(seed + n) % 5]
                sleep = "" if kind == "short" else "?sleep=0.05"
                wire.get(f"/{kind}/{n % 3}{sleep}")
                if (seed + n) % 3:
                    time.sleep(0.01 * ((seed + n) % 4))
                else:
                    assert wire.reply().status == 200

    at_once([lambda n=n: restless(n) for n in range(16)])
    wait_for(lambda: upstream.running == 0, 10)
    for kind in ("brief", "stale", "step", "reply"):
        assert json.loads(daemon.get(f"/{kind}/0?sleep=0.05").body)["r"]["path"] == "/0"
