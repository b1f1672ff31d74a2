"""Semaphores: on sources, endpoints and steps, exact and in order over all workers, with bounded queues."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Callable

import pytest
from counting import Counting, counting
from harness import Gatherd, Postgres
from support import Wire, at_once, good, in_background, problem, running_statements, stopwatch, wait_for


@pytest.fixture
def upstream() -> Iterator[Counting]:
    with counting() as server:
        yield server


CONFIG = """
sources:
  up: { http: "${UP}" }
  few: { http: "${UP}", semaphore: 3 }
  pg: { postgres: "${PG}", pool: { size: 8 } }
semaphores:
  one: { permits: 1, max_waiting: 4 }
  two: 2
endpoints:
  "GET /source/{name}":
    gather: { r: { from: few, get: "/{name}?sleep=0.1" } }
  "GET /step/{name}":
    gather: { r: { from: up, get: "/{name}?sleep=0.1", semaphore: two }, s: { from: pg, sql: select 1, expect: value } }
  "GET /steps/{name}":
    gather:
      a: { from: up, get: "/{name}-a?sleep=0.1", semaphore: two }
      b: { from: up, get: "/{name}-b?sleep=0.1", semaphore: two }
      c: { from: up, get: "/{name}-c?sleep=0.1", semaphore: two }
      d: { from: up, get: "/{name}-d?sleep=0.1", semaphore: two }
  "GET /both/{name}":
    gather: { r: { from: few, get: "/{name}?sleep=0.05", semaphore: two } }
  "GET /endpoint/{name}":
    semaphore: one
    gather: { r: { from: up, get: "/{name}?sleep=0.3" } }
  "GET /order/{name}":
    semaphore: 1
    gather: { r: { from: up, get: "/{name}?sleep=0.02" } }
  "GET /warm": { respond: 1 }
  "GET /failing":
    semaphore: one
    gather: { r: { from: pg, sql: "select 1/0" } }
  "GET /sleep":
    semaphore: one
    timeout: 400ms
    gather: { r: { from: pg, sql: "select 1 from pg_sleep(30)" } }
  "GET /sleep-on":
    semaphore: one
    gather: { r: { from: pg, sql: "select 'semaphore' from pg_sleep(30)" } }
  "GET /patience":
    gather: { r: { from: up, get: "/patience?sleep=0.01", semaphore: one, on_error: null } }
"""


def run(gatherd: Callable[..., Gatherd], upstream: Counting, threads: int = 2) -> Gatherd:
    return gatherd(CONFIG, env={"UP": upstream.url}, threads=threads)


# -- exact --


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_of_a_source(gatherd: Callable[..., Gatherd], upstream: Counting, threads: int) -> None:
    daemon = run(gatherd, upstream, threads)
    with stopwatch() as took:
        for reply in at_once([lambda n=n: daemon.get(f"/source/{n}") for n in range(24)]):
            good(reply)
    assert upstream.most == 3
    assert 0.8 <= took.seconds


def test_of_steps_of_many_requests(gatherd: Callable[..., Gatherd], upstream: Counting) -> None:
    daemon = run(gatherd, upstream)
    for reply in at_once([lambda n=n: daemon.get(f"/step/{n}") for n in range(10)]):
        assert good(reply)["s"] == 1
    assert upstream.most == 2


def test_of_steps_of_one_request(gatherd: Callable[..., Gatherd], upstream: Counting) -> None:
    daemon = run(gatherd, upstream)
    with stopwatch() as took:
        good(daemon.get("/steps/x"))
    assert upstream.most == 2
    assert 0.2 <= took.seconds


def test_of_source_and_step_together(gatherd: Callable[..., Gatherd], upstream: Counting) -> None:
    daemon = run(gatherd, upstream)
    calls = [lambda n=n: daemon.get(f"/{'both' if n % 2 else 'source'}/{n}") for n in range(24)]
    for reply in at_once(calls):
        good(reply)
    assert upstream.most == 3


def test_of_an_endpoint(gatherd: Callable[..., Gatherd], upstream: Counting) -> None:
    daemon = run(gatherd, upstream)
    for reply in at_once([lambda n=n: daemon.get(f"/endpoint/{n}") for n in range(4)]):
        good(reply)
    assert upstream.most == 1


# -- the queue --


def waiting(daemon: Gatherd) -> int:
    """Tasks that wait for a permit."""
    return daemon.get("/-/tasks").body.count(b"a permit of a shared semaphore")


def test_first_come_first_served(gatherd: Callable[..., Gatherd], upstream: Counting) -> None:
    daemon = run(gatherd, upstream, 4)
    order = [f"/{n}" for n in range(10)]
    wires = [Wire(daemon) for _ in order]
    for wire in wires:  # each is with its worker
        good(wire.get("/warm").reply())
    upstream.delay = 0.5
    blocker = in_background(lambda: daemon.get("/order/first"))
    wait_for(lambda: upstream.running == 1, 10)
    upstream.delay = 0
    with upstream.lock:  # the first one goes on when all have come
        for before, (wire, path) in enumerate(zip(wires, order)):
            wire.get(f"/order{path}")
            wait_for(lambda: waiting(daemon) > before, 30)  # noqa: B023
    for call in [blocker.result(), *(wire.reply() for wire in wires)]:
        good(call)
    assert upstream.order == ["/first", *order]
    assert upstream.most == 1
    for wire in wires:
        wire.socket.close()


def test_a_full_queue(gatherd: Callable[..., Gatherd], upstream: Counting) -> None:
    daemon = run(gatherd, upstream)
    upstream.delay = 5.0
    running = in_background(lambda: daemon.get("/endpoint/runs"))
    wait_for(lambda: upstream.running == 1, 10)
    upstream.delay = 0
    waiting = [in_background(lambda n=n: daemon.get(f"/endpoint/waits-{n}")) for n in range(5)]
    late = wait_for(lambda: next((one for one in waiting if not one.running), None), 10, "the one that has no place")
    document = problem(late.result(), 503)
    assert running.running and sum(one.running for one in waiting) == 4, "it waited for no permit"
    name = f"/waits-{waiting.index(late)}"
    waiting.remove(late)
    assert "semaphore" not in document["detail"]
    assert good(daemon.get("/patience")) == {"r": None}, "on_error replaces this too"
    for call in [running, *waiting]:
        good(call.result())
    assert name not in upstream.count
    good(daemon.get("/endpoint/late"))


def test_who_leaves_the_queue_leaves_no_hole(gatherd: Callable[..., Gatherd], upstream: Counting) -> None:
    daemon = run(gatherd, upstream)
    upstream.delay = 1.0
    running = in_background(lambda: daemon.get("/endpoint/runs"))
    wait_for(lambda: upstream.running == 1, 10)
    upstream.delay = 0
    wires = [Wire(daemon).get(f"/endpoint/left-{n}") for n in range(4)]
    time.sleep(0.3)
    problem(daemon.get("/endpoint/late"), 503)
    for wire in wires:
        wire.socket.close()
    time.sleep(0.2)
    waiting = [in_background(lambda n=n: daemon.get(f"/endpoint/stays-{n}")) for n in range(4)]
    for call in [running, *waiting]:
        good(call.result())
    assert not [path for path in upstream.count if path.startswith("/left")]


def test_who_leaves_with_a_permit_gives_it_back(gatherd: Callable[..., Gatherd], upstream: Counting, postgres: Postgres) -> None:
    daemon = run(gatherd, upstream)
    wire = Wire(daemon).get("/sleep-on")
    wait_for(lambda: running_statements(postgres, "'semaphore' from pg_sleep") == 1, 10)
    wire.socket.close()
    good(daemon.get("/endpoint/next"))


def test_permits_come_back_from_failures_and_deadlines(gatherd: Callable[..., Gatherd], upstream: Counting) -> None:
    daemon = run(gatherd, upstream)
    for _ in range(6):
        problem(daemon.get("/failing"), 500, step="r")
    with stopwatch() as took:
        first, second = at_once([lambda: daemon.get("/sleep")] * 2)
    problem(first, 504)
    problem(second, 504)
    assert took.seconds < 2, "the deadline counts in the queue too"
    good(daemon.get("/endpoint/next"))


def test_under_a_crowd_that_comes_and_goes(gatherd: Callable[..., Gatherd], upstream: Counting) -> None:
    daemon = run(gatherd, upstream, 4)

    def impatient(seed: int) -> None:
        for n in range(10):
            with Wire(daemon) as wire:
                wire.get(f"/both/{seed}-{n}")
                time.sleep(0.01 * ((seed + n) % 7))

    at_once([lambda n=n: impatient(n) for n in range(12)])
    time.sleep(0.5)  # what was given up is still answered there
    wait_for(lambda: upstream.running == 0, 10)
    upstream.most = 0
    for reply in at_once([lambda n=n: daemon.get(f"/source/after-{n}") for n in range(9)]):
        good(reply)
    assert upstream.most == 3
