"""Handlers in C: a parent that can't wait any more takes its children along, of several failures the right one is told,
streams of any status end well, and what would go on for ever hears of the daemon's end."""

from __future__ import annotations

import contextlib
import errno
import http.client
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import Gatherd
from support import Wire, good, in_background, problem, wait_for

SERVER = 'server: { listen: [ "127.0.0.1:${PORT}" ], threads: 1, drain_timeout: 60s }\n'
ENDPOINTS = """
  "GET /wait_for_all":   { handler: "M:wait_for_all" }
  "GET /wait_for_next":  { handler: "M:wait_for_next" }
  "GET /late/wait_for_all":  { handler: "M:wait_for_all", timeout: 50ms }
  "GET /late/wait_for_next": { handler: "M:wait_for_next", timeout: 50ms }
  "GET /pushed":         { handler: "M:pushed" }
  "GET /not_so_long":    { handler: "M:not_so_long" }
  "GET /left":           { handler: "M:left" }
  "GET /first_failure":  { handler: "M:first_failure" }
  "GET /chosen_failure": { handler: "M:chosen_failure", parameters: { lost: { type: boolean } } }
  "GET /many_failures":  { handler: "M:many_failures", parameters: { which: { type: integer } } }
  "GET /failure_of":     { handler: "M:failure_of" }
  "GET /stream":
    handler: "M:stream"
    parameters: { status: { type: integer }, whole: { type: boolean, default: true }, slow: { type: boolean, default: false } }
  "GET /feed":           { handler: "M:feed" }
  "GET /elsewhere":      { handler: "M:elsewhere" }
"""
ECANCELED, ETIMEDOUT, EPERM = -errno.ECANCELED, -errno.ETIMEDOUT, -errno.EPERM


@pytest.fixture
def daemon(gatherd: Callable[..., Gatherd], module: Callable[..., Path]) -> Iterator[Gatherd]:
    sources = 'sources: { pg: { postgres: "${PG}" } }\n'
    yield gatherd(SERVER + sources + "endpoints:" + ENDPOINTS.replace("M:", f"{module('together')}:"))


# -- a parent that can't wait any more --


@pytest.mark.parametrize("path", ["wait_for_all", "wait_for_next"])
def test_children_end_before_a_parent_whose_client_has_left(daemon: Gatherd, path: str) -> None:
    for n in range(1, 4):
        with Wire(daemon) as wire:
            wire.get(f"/{path}")
            wait_for(lambda: good(daemon.get("/left"))[2] == 20, 20)
        wait_for(lambda: good(daemon.get("/left"))[0] == n, 20)
    assert good(daemon.get("/left")) == [3, 0, 0]


@pytest.mark.parametrize("path", ["wait_for_all", "wait_for_next"])
def test_children_end_before_a_parent_whose_time_is_over(daemon: Gatherd, path: str) -> None:
    problem(daemon.get(f"/late/{path}"), 504)
    assert good(daemon.get("/left")) == [1, 0, 0]


def test_children_end_with_a_deadline_that_was_pushed(daemon: Gatherd) -> None:
    assert good(daemon.get("/pushed")) == [ETIMEDOUT, 0, ECANCELED]
    assert good(daemon.get("/left")) == [1, 0, 0]


def test_children_go_on_behind_a_wait_that_was_not_longer(daemon: Gatherd) -> None:
    assert good(daemon.get("/not_so_long")) == [ETIMEDOUT, ETIMEDOUT, 20, 0, 0]


# -- failures of several --


def test_the_first_failure_is_told_whatever_the_others_say_when_they_are_cancelled(daemon: Gatherd) -> None:
    assert problem(daemon.get("/first_failure"), 422)["detail"] == "This is no picture."


def test_the_failure_that_is_returned_is_told(daemon: Gatherd) -> None:
    assert problem(daemon.get("/chosen_failure?lost=false"), 422)["detail"] == "This is no picture."
    assert problem(daemon.get("/chosen_failure?lost=true"), 404)["detail"] == "There is no such picture."


def test_a_number_of_failures_is_remembered(daemon: Gatherd) -> None:
    assert [problem(daemon.get(f"/many_failures?which={n}"), 422)["detail"] for n in (35, 42, 50)] == [
        "Number 35.",
        "Number 42.",
        "Number 50.",
    ]
    assert "detail" not in problem(daemon.get("/many_failures?which=34"), 500)
    assert "detail" not in problem(daemon.get(f"/many_failures?which={errno.ENOENT}"), 404)


def test_what_is_behind_a_result_can_be_asked_for(daemon: Gatherd) -> None:
    twice, lost, busy, none, null = good(daemon.get("/failure_of"))
    assert (twice["same"], twice["status"], twice["code"]) == (1, 409, "23505")
    assert "once" in twice["text"]
    assert lost == {"same": 1, "status": 404, "code": "", "text": "There is no such picture."}
    assert (busy["same"], busy["status"], busy["code"]) == (1, 503, "")
    assert none == {"same": 1, "status": 0, "code": "", "text": ""}
    assert null is None


# -- streams of other statuses than 200 --


@pytest.mark.parametrize("status", [200, 201, 206, 400, 404, 503])
@pytest.mark.parametrize("slow", ["false", "true"])
def test_a_stream_of_any_status_comes_whole(daemon: Gatherd, status: int, slow: str) -> None:
    with contextlib.closing(daemon.connection()) as connection:
        for _ in range(3):  # the connection is kept
            connection.request("GET", f"/stream?status={status}&slow={slow}")
            reply = connection.getresponse()
            assert (reply.status, reply.read()) == (status, b"line 0\nline 1\nline 2\n")
            assert not reply.will_close


@pytest.mark.parametrize("status", [200, 404])
@pytest.mark.parametrize("wish", ["", "Connection: keep-alive\r\n"])
def test_http_1_0_sees_a_streams_end_by_that_of_the_connection(daemon: Gatherd, status: int, wish: str) -> None:
    began = time.monotonic()
    old = daemon.raw(f"GET /stream?status={status} HTTP/1.0\r\nHost: x\r\n{wish}\r\n".encode(), timeout=60)
    assert time.monotonic() - began < 30
    assert old.startswith(b"HTTP/1.1 %d " % status) and b"\r\nConnection: close\r\n" in old
    assert old.endswith(b"\r\n\r\nline 0\nline 1\nline 2\n")


@pytest.mark.parametrize("status", [200, 201, 404])
def test_a_stream_of_any_status_that_breaks_off_is_seen(daemon: Gatherd, status: int) -> None:
    with pytest.raises(http.client.IncompleteRead) as broken:
        daemon.get(f"/stream?status={status}&whole=false&slow=true")
    assert b"line 2\n" in broken.value.partial


# -- the daemon's end --


def test_feeds_end_when_the_daemon_drains(daemon: Gatherd) -> None:
    feeds = [in_background(lambda: daemon.get("/feed")) for _ in range(3)]
    wait_for(lambda: daemon.get("/-/tasks").text.count('"name":"GET /feed"') == 3, 20)
    began = time.monotonic()
    daemon.stop()
    assert time.monotonic() - began < 30  # and not drain_timeout
    assert [feed.result().text for feed in feeds] == ["begin end"] * 3
    assert "the end: 0 0 1" in daemon.log()


def test_the_end_is_asked_for_in_tasks_only(daemon: Gatherd) -> None:
    assert good(daemon.get("/elsewhere")) == [0, EPERM]
