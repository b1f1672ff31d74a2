"""/-/status.json: the process, its last minutes, what went wrong, in the form that its schema says."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import Gatherd
from support import Wire, at_once, good, problem, wait_for

SCHEMA = json.loads((Path(__file__).resolve().parents[2] / "handlers/admin/status/schema.json").read_text())

CONFIG = """
sources:
  pg: { postgres: "${PG}", pool: { size: 3 } }
  nobody: { http: "http://127.0.0.1:1", breaker: { failures: 2, cooldown: 1h } }
endpoints:
  "GET /quick": { gather: { one: { from: pg, sql: "select 1", expect: value } } }
  "GET /slow":
    gather:
      first: { from: pg, sql: "select 1 from pg_sleep(0.1)", expect: value }
      second: { from: pg, sql: "select {first}::int from pg_sleep(0.2)", expect: value }
  "GET /wrong": { gather: { bad: { from: pg, sql: "select 1/0", expect: value } } }
  "GET /part": { gather: { a: { from: nobody, get: /, on_error: null } } }
  "GET /long": { gather: { s: { from: pg, sql: "select 1 from pg_sleep(20)" } } }
"""


def check(schema: dict[str, Any], value: Any, path: str = "$") -> None:
    """As much of JSON Schema as schema.json uses."""
    if "anyOf" in schema:
        failures = []
        for one in schema["anyOf"]:
            try:
                return check(one, value, path)
            except AssertionError as error:
                failures.append(str(error))
        raise AssertionError(f"{path}: {failures}")
    if "const" in schema:
        assert value == schema["const"], path
    if "enum" in schema:
        assert value in schema["enum"], (path, value)
    types = {"object": dict, "array": list, "string": str, "number": (int, float), "integer": int, "boolean": bool, "null": type(None)}
    wanted = schema.get("type")
    if wanted:
        names = [wanted] if isinstance(wanted, str) else wanted
        assert any(isinstance(value, types[n]) and (n == "boolean" or not isinstance(value, bool)) for n in names), (path, value)
    if isinstance(value, dict):
        assert set(schema.get("required", ())) <= set(value), (path, set(schema["required"]) - set(value))
        assert schema.get("additionalProperties") is not False or set(value) <= set(schema["properties"]), (path, value)
        for name, one in value.items():
            check(schema.get("properties", {}).get(name, {}), one, f"{path}.{name}")
    if isinstance(value, list):
        for i, one in enumerate(value):
            check(schema.get("items", {}), one, f"{path}[{i}]")


def status(daemon: Gatherd) -> dict[str, Any]:
    document = good(daemon.get("/-/status.json"))
    check(SCHEMA, document)
    return document


@pytest.fixture(scope="module")
def daemon(module_gatherd: Callable[..., Gatherd]) -> Gatherd:
    return module_gatherd(CONFIG, threads=2)


def test_a_new_process_has_a_status(daemon: Gatherd) -> None:
    document = status(daemon)
    assert document["started"] == pytest.approx(time.time(), abs=120)
    assert document["generation"] == 1 and document["reload_refused"] is None and not document["restart_needed"]
    assert [source["name"] for source in document["sources"]] == ["pg", "nobody"]
    assert len(document["endpoints"]) == 5 and len(document["workers"]) == 2
    assert document["events"][0]["kind"] == "start"


def test_failures_and_the_slowest_requests(daemon: Gatherd) -> None:
    failed = daemon.get("/wrong")
    problem(failed, 500, step="bad")
    slow = daemon.get("/slow")
    assert slow.status == 200
    assert good(daemon.get("/part")) == {"a": None}
    good(daemon.get("/part"))
    document = status(daemon)
    error = document["errors"][0]
    assert (error["status"], error["endpoint"], error["step"]) == (500, "GET /wrong", "bad")
    assert error["id"] == failed.headers["X-Request-Id"] and "division by zero" in error["error"]
    slowest = document["slowest"][0]
    assert (slowest["endpoint"], slowest["id"]) == ("GET /slow", slow.headers["X-Request-Id"])
    first, second = slowest["steps"]
    assert (first["name"], second["name"]) == ("first", "second")
    assert first["ms"] >= 95 and second["ms"] >= 190 and second["start_ms"] >= 95 and slowest["ms"] >= 290
    nobody = document["sources"][1]
    assert not nobody["up"] and nobody["error"] and nobody["since"] == pytest.approx(time.time(), abs=120)
    assert nobody["breaker"] == "open" and document["state"] in ("degraded", "not_ready")
    events = [event["text"] for event in document["events"] if event["kind"] == "breaker"]
    assert any("nobody" in text and "open" in text for text in events), document["events"]


def test_what_runs_is_shown(daemon: Gatherd) -> None:
    with Wire(daemon) as wire:
        wire.get("/long")
        wait_for(lambda: any(task["name"] == "GET /long" for task in status(daemon)["tasks"]), 30, "the task is shown")
        document = status(daemon)
        pool = document["sources"][0]["pool"]
        assert pool["size"] == 3 and pool["busy"] == 1
        task = next(task for task in document["tasks"] if task["name"] == "GET /long")
        assert task["awaits"] and task["request"] and task["state"] == "waiting"
        assert document["requests"]["running"] >= 1


def test_the_last_minute(daemon: Gatherd) -> None:
    until = status(daemon)["history"]["until"]
    at_once([lambda: [daemon.get("/quick") for _ in range(50)] for _ in range(4)])
    wait_for(lambda: status(daemon)["history"]["until"] >= until + 9, 60, "two samples are taken")
    document = status(daemon)
    history = document["history"]
    assert history["every"] == 5 and history["until"] == pytest.approx(time.time(), abs=60)
    assert any(value is not None and value > 0 for value in history["requests_per_s"])
    assert any(value is not None and value > 0 for value in history["p95_ms"])
    rates = {one["name"]: one for one in document["endpoints"]}
    quick = rates["GET /quick"]
    assert quick["requests_per_s"] > 0 and quick["mean_ms"] > 0 and quick["p50_ms"] <= quick["p95_ms"] <= quick["p99_ms"]
    assert quick["errors_percent"] == 0 and quick["slowest_step"] == "one"
    spent = [(one["requests_per_s"] or 0) * (one["mean_ms"] or 0) for one in document["endpoints"]]
    assert spent == pytest.approx(sorted(spent, reverse=True), rel=0.01, abs=0.1), "by the time that is spent on them"
    pg = document["sources"][0]
    assert pg["up"] and pg["role"] == "primary" and pg["requests_per_s"] > 0 and pg["error"] is None
    assert all(worker["answers"] and worker["turns_per_s"] > 0 for worker in document["workers"])


def test_a_refused_reload_stands_there_until_one_succeeds(gatherd: Callable[..., Gatherd]) -> None:
    good_one = 'endpoints: { "GET /": { respond: 1 } }'
    fresh = gatherd(good_one)

    def reload(config: str) -> None:
        fresh.configure(config)
        os.kill(fresh.process.pid, signal.SIGHUP)

    reload("endpoints: [")
    wait_for(lambda: status(fresh)["reload_refused"], 30, "the reload is refused")
    refused = status(fresh)["reload_refused"]
    assert "gatherd.yaml" in refused["error"] and refused["time"] == pytest.approx(time.time(), abs=60)
    metrics = fresh.get("/-/metrics").text
    assert "gatherd_config_last_reload_successful 0" in metrics and 'gatherd_config_reloads_total{result="refused"} 1' in metrics
    assert fresh.get("/").status == 200
    reload(good_one)
    wait_for(lambda: status(fresh)["generation"] == 2, 30, "the reload is taken")
    document = status(fresh)
    assert document["reload_refused"] is None
    assert [event["kind"] for event in document["events"]] == ["start", "reload refused", "reload"]
    metrics = fresh.get("/-/metrics").text
    assert "gatherd_config_generation 2" in metrics and "gatherd_config_last_reload_successful 1" in metrics
    count = next(line for line in metrics.splitlines() if line.startswith('gatherd_http_requests_total{endpoint="GET /"'))
    assert count.endswith(" 1"), "counters go on over a reload"
