"""/-/metrics: what is counted, by whom it can be read, and that it stays small, right and cheap."""

from __future__ import annotations

import gzip
import re
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Gatherd
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from support import Wire, at_once, good, in_background, wait_for

OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = "text/plain; version=0.0.4; charset=utf-8"

CONFIG = """
log: { requests: none }
sources:
  pg: { postgres: "${PG}", pool: { size: 4 } }
  nobody: { http: "http://127.0.0.1:1", breaker: { failures: 100000, cooldown: 1s } }
semaphores: { few: 2 }
endpoints:
  "GET /one":
    gather: { one: { from: pg, sql: "select 1", expect: value } }
  "GET /item/{id}":
    parameters: { id: { type: integer } }
    gather: { item: { from: pg, sql: "select {id}::int as id", expect: one, semaphore: few } }
  "GET /none":
    gather: { row: { from: pg, sql: "select 1 where false", expect: one } }
  "GET /replaced":
    gather:
      a: { from: nobody, get: /, on_error: null }
      b: { from: nobody, get: /, on_error: { default: 1 } }
  "GET /down":
    gather: { a: { from: nobody, get: / } }
  "GET /cached":
    gather: { c: { from: pg, sql: "select 2", expect: value, cache: 1h } }
  "GET /limited":
    rate: 1/h
    respond: 1
  "POST /echo":
    body: { type: object }
    respond: { got: "{body}" }
"""


def scrape(daemon: Gatherd, query: str = "") -> dict[tuple[str, ...], float]:
    """Samples by name and sorted labels: ("name", "label=value", …)."""
    reply = daemon.get("/-/metrics" + query)
    assert reply.status == 200
    found: dict[tuple[str, ...], float] = {}
    for family in text_string_to_metric_families(reply.body.decode()):
        for sample in family.samples:
            key = (sample.name, *sorted(f"{k}={v}" for k, v in sample.labels.items()))
            assert key not in found, f"{key} is there twice"
            found[key] = sample.value
    return found


HANDLER = """
#include <gatherd.h>
int ask(gd_request *req)
{
	gd_value *one = gd_pg_scalar(NULL, "pg", "select 1", NULL);
	gd_value *bad = gd_pg_scalar(NULL, "pg", "select 1 / 0", NULL);
	return gd_failed(bad) ? gd_reply(req, 200, one) : -1;
}
"""


def test_calls_of_handlers_are_steps_of_their_source(gatherd: Callable[..., Gatherd], module: Callable[..., Path]) -> None:
    daemon = gatherd(
        'sources: { pg: { postgres: "${PG}" } }\nendpoints: { "GET /": { handler: "${MODULE}:ask" } }',
        env={"MODULE": str(module("asks", HANDLER))},
    )
    before = scrape(daemon)
    assert before["gatherd_step_duration_seconds_count", "source=pg"] == 0
    for _ in range(3):
        good(daemon.get("/"))
    after = scrape(daemon)
    assert after["gatherd_step_duration_seconds_count", "source=pg"] == 6
    assert after["gatherd_step_duration_seconds_sum", "source=pg"] > 0


def promtool(text: bytes) -> None:
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.fixture(scope="module")
def daemon(module_gatherd: Callable[..., Gatherd]) -> Gatherd:
    return module_gatherd(CONFIG, threads=4)


def total(found: dict[tuple[str, ...], float], name: str, *labels: str) -> float:
    return sum(n for key, n in found.items() if key[0] == name and set(labels) <= set(key[1:]))


def test_there_are_metrics_before_the_first_request(gatherd: Callable[..., Gatherd]) -> None:
    fresh = gatherd(CONFIG)
    text = fresh.get("/-/metrics")
    assert text.headers["Content-Type"] == TEXT
    promtool(text.body)
    found = scrape(fresh)
    for source in ("pg", "nobody"):
        assert ("gatherd_source_up", f"source={source}") in found
        assert ("gatherd_pool_size", f"source={source}") in found
        assert found["gatherd_pool_refused_total", "reason=full", f"source={source}"] == 0
    for reason in ("max_requests", "max_connections", "rate", "draining", "malformed", "timeout"):
        assert found["gatherd_http_refused_total", f"reason={reason}"] == 0
    assert found["gatherd_semaphore_permits", "semaphore=few"] == 2
    assert found["gatherd_config_generation",] == 1
    assert found["gatherd_http_request_duration_seconds_count", "endpoint=GET /one"] == 0
    assert found["process_start_time_seconds",] == pytest.approx(time.time(), abs=120)
    assert found["process_cpu_seconds_total",] > 0
    assert found["process_resident_memory_bytes",] > 1 << 20
    assert 5 < found["process_open_fds",] < found["process_max_fds",]
    info = [key for key in found if key[0] == "gatherd_build_info"]
    assert len(info) == 1 and {label.partition("=")[0] for label in info[0][1:]} >= {"version", "h2o", "libpq", "libmongoc", "libcurl"}


def test_other_tools_read_both_forms(daemon: Gatherd) -> None:
    for path in ("/one", "/item/1", "/none", "/replaced", "/down", "/cached", "/cached", "/nowhere"):
        daemon.get(path)
    promtool(daemon.get("/-/metrics").body)
    reply = daemon.get("/-/metrics", headers={"Accept": f"{OPEN_METRICS};q=0.8, text/plain;version=0.0.4;q=0.5"})
    assert reply.headers["Content-Type"] == OPEN_METRICS
    text = reply.body.decode()
    assert text.endswith("# EOF\n")
    parsed = list(openmetrics.text_string_to_metric_families(text))
    assert {f.name for f in parsed if f.type == "counter"} >= {"gatherd_http_requests", "gatherd_pool_refused", "process_cpu_seconds"}
    names = {s.name for f in text_string_to_metric_families(daemon.get("/-/metrics").body.decode()) for s in f.samples}
    assert {s.name for f in parsed for s in f.samples} == names, "both forms have the same samples"
    for accept in ("text/plain", "*/*", "application/openmetrics-text;q=0", "application/openmetrics-text;q=0.2,text/plain"):
        assert daemon.get("/-/metrics", headers={"Accept": accept}).headers["Content-Type"] == TEXT


def test_the_sums_are_the_requests_that_were_sent(daemon: Gatherd) -> None:
    paths = ["/one", "/item/7", "/none", "/nowhere", "/down", "/item/x"]
    before = scrape(daemon)
    each = 40

    def client(number: int) -> None:
        with Wire(daemon) as wire:
            for i in range(each):
                wire.get(paths[(number + i) % len(paths)]).reply()

    at_once([lambda n=n: client(n) for n in range(12)])
    wait_for(lambda: grown(daemon, before, "gatherd_http_requests_total") >= 12 * each, 60, "all requests are counted")
    after = scrape(daemon)

    def grew(name: str, *labels: str) -> float:
        return total(after, name, *labels) - total(before, name, *labels)

    sent = 12 * each
    assert grew("gatherd_http_requests_total") - grew("gatherd_http_requests_total", "endpoint=admin") == sent
    assert grew("gatherd_http_requests_total", "endpoint=GET /one", "method=GET", "status=200") == sent / len(paths)
    assert grew("gatherd_http_requests_total", "endpoint=GET /none", "status=404") == sent / len(paths)
    assert grew("gatherd_http_requests_total", "endpoint=none", "status=404") == sent / len(paths)
    assert grew("gatherd_http_requests_total", "endpoint=GET /item/{id}", "status=400") == sent / len(paths)
    assert grew("gatherd_http_requests_total", "endpoint=GET /down", "status=503") == sent / len(paths)
    assert grew("gatherd_http_request_duration_seconds_count", "endpoint=GET /one") == sent / len(paths)
    assert grew("gatherd_step_duration_seconds_count", "source=pg") == 3 * sent / len(paths)
    assert grew("gatherd_endpoint_step_duration_seconds_count", "endpoint=GET /item/{id}", "step=item") == sent / len(paths)
    assert grew("gatherd_step_failures_total", "endpoint=GET /none", "reason=not_found", "step=row") == sent / len(paths)
    assert grew("gatherd_step_failures_total", "endpoint=GET /down", "reason=unavailable") == sent / len(paths)
    assert grew("gatherd_pool_wait_seconds_count", "source=pg") >= 3 * sent / len(paths)
    assert grew("gatherd_http_connections_total") >= 12
    assert grew("gatherd_loop_turns_total") > 0
    assert len([key for key in after if key[0] == "gatherd_tasks"]) == 4


def grown(daemon: Gatherd, before: dict[tuple[str, ...], float], name: str) -> float:
    now = scrape(daemon)
    return sum(
        n - before.get(key, 0) for key, n in now.items() if key[0] == name and "endpoint=admin" not in key
    )


def is_counter(name: str) -> bool:
    return name.endswith(("_total", "_count", "_sum", "_bucket"))


def test_counters_never_fall_and_buckets_ascend(daemon: Gatherd) -> None:
    ends: list[bool] = []

    def load() -> None:
        with Wire(daemon) as wire:
            while not ends:
                wire.get("/one").reply()
                wire.get("/replaced").reply()

    loads = [in_background(load) for _ in range(2)]
    try:
        before: dict[tuple[str, ...], float] = {}
        for _ in range(30):
            now = scrape(daemon)
            for key, n in before.items():
                assert not is_counter(key[0]) or now[key] >= n, key
            check_buckets(now)
            before = now
    finally:
        ends.append(True)
    for one in loads:
        one.result(60)


def check_buckets(found: dict[tuple[str, ...], float]) -> None:
    buckets: dict[tuple[str, ...], list[tuple[float, float]]] = defaultdict(list)
    for key, n in found.items():
        if key[0].endswith("_bucket"):
            bound = next(label for label in key if label.startswith("le="))
            rest = tuple(label for label in key[1:] if label != bound)
            buckets[(key[0].removesuffix("_bucket"), *rest)].append((float(bound.removeprefix("le=")), n))
    assert buckets
    for key, found_buckets in buckets.items():
        counts = [n for _, n in sorted(found_buckets)]
        assert counts == sorted(counts), key
        assert counts[-1] == found[(key[0] + "_count", *key[1:])], key
        assert len(counts) == 15


def test_what_strangers_send_makes_no_series(daemon: Gatherd) -> None:
    for path in ("/nowhere", "/-/nowhere"):
        daemon.get(path)
    with Wire(daemon) as wire:
        wire.send("BREW / HTTP/1.1\r\nHost: x\r\n\r\n").reply()
    before = set(scrape(daemon))
    with Wire(daemon) as wire:
        for i in range(1000):
            wire.send(f"M{i} /path/{i} HTTP/1.1\r\nHost: h{i}\r\nX-{i}: {i}\r\n\r\nGET /p/{i}?q={i} HTTP/1.1\r\nHost: x\r\nUser-Agent: a{i}\r\n\r\n")
            wire.reply()
            wire.reply()
    after = scrape(daemon)
    assert len(set(after) - before) <= 3, set(after) - before
    assert after["gatherd_http_requests_total", "endpoint=none", "method=_OTHER", "status=501"] >= 1000


def test_gauges_are_zero_when_nothing_runs(daemon: Gatherd) -> None:
    at_once([lambda: daemon.get("/item/1") for _ in range(20)])

    def idle() -> bool:
        found = scrape(daemon)
        gauges = [
            found["gatherd_http_requests_running",],
            total(found, "gatherd_pool_connections", "state=busy"),
            total(found, "gatherd_pool_waiting"),
            found["gatherd_semaphore_taken", "semaphore=few"],
            found["gatherd_semaphore_waiting", "semaphore=few"],
            found["gatherd_executor_queue",],
            total(found, "gatherd_tasks"),
        ]
        return not any(gauges) and total(found, "gatherd_http_connections") == 1

    wait_for(idle, 60, "nothing is taken")


def test_refusals_have_a_reason(daemon: Gatherd) -> None:
    before = scrape(daemon)
    assert [daemon.get("/limited").status for _ in range(3)] == [200, 429, 429]
    with Wire(daemon) as wire:
        assert wire.send("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").reply().status == 400
    after = scrape(daemon)

    def grew(reason: str) -> float:
        return after["gatherd_http_refused_total", f"reason={reason}"] - before["gatherd_http_refused_total", f"reason={reason}"]

    assert (grew("rate"), grew("malformed"), grew("timeout")) == (2, 1, 0)
    assert total(after, "gatherd_http_requests_total", "endpoint=none", "status=400") >= 1


def test_bytes_substitutes_and_the_cache(daemon: Gatherd) -> None:
    before = scrape(daemon)
    body = b'{"a":"' + b"x" * 1000 + b'"}'
    reply = daemon.post("/echo", body=body, headers={"Content-Type": "application/json"})
    assert good(reply)
    assert good(daemon.get("/replaced")) == {"a": None, "b": 1}
    daemon.get("/cached")
    daemon.get("/cached")
    after = scrape(daemon)

    def grew(*key: str) -> float:
        return after[key] - before.get(key, 0)

    assert grew("gatherd_http_request_bytes_total", "endpoint=POST /echo") == len(body)
    assert grew("gatherd_http_reply_bytes_total", "endpoint=POST /echo") == len(reply.body)
    assert grew("gatherd_steps_replaced_total", "by=null", "endpoint=GET /replaced", "step=a") == 1
    assert grew("gatherd_steps_replaced_total", "by=default", "endpoint=GET /replaced", "step=b") == 1
    assert grew("gatherd_cache_lookups_total", "result=hit") >= 1
    assert after["gatherd_cache_entries",] == 1 and after["gatherd_cache_bytes",] > 0
    assert after["gatherd_source_up", "source=pg"] == 1
    assert after["gatherd_source_up", "source=nobody"] == 0
    assert after["gatherd_source_role", "role=primary", "source=pg"] == 1
    assert after["gatherd_source_role", "role=standby", "source=pg"] == 0


def test_a_part_may_be_asked_for(daemon: Gatherd) -> None:
    everything = {key[0] for key in scrape(daemon)}
    parts = {part: {key[0] for key in scrape(daemon, f"?collect[]={part}")} for part in ("http", "steps", "pools", "loop", "process")}
    assert set().union(*parts.values()) == everything
    assert sum(map(len, parts.values())) == len(everything), "no family is in two parts"
    assert {key[0] for key in scrape(daemon, "?collect%5B%5D=http,loop&other=1")} == parts["http"] | parts["loop"]
    assert {key[0] for key in scrape(daemon, "?collect[]=http&collect[]=loop")} == parts["http"] | parts["loop"]
    assert daemon.get("/-/metrics?collect[]=everything").status == 400


def test_gzip_if_it_is_asked_for(daemon: Gatherd) -> None:
    reply = daemon.get("/-/metrics", headers={"Accept-Encoding": "deflate, gzip;q=1.0"})
    assert reply.headers["Content-Encoding"] == "gzip"
    text = gzip.decompress(reply.body)
    assert len(reply.body) * 4 < len(text)
    promtool(text)
    assert "Content-Encoding" not in daemon.get("/-/metrics", headers={"Accept-Encoding": "gzip;q=0, br"}).headers
    at_once([lambda: daemon.get("/-/metrics", headers={"Accept-Encoding": "gzip"}) for _ in range(20)])


def test_names_are_escaped(gatherd: Callable[..., Gatherd], tmp_path: Path) -> None:
    path = tmp_path / 'a"b\\c'
    daemon = gatherd(f"""
        server: {{ listen: [ "127.0.0.1:${{PORT}}", 'unix:{path}' ] }}
        endpoints:
          "GET /": {{ respond: 1 }}
    """)
    daemon.raw(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", unix=path)
    body = daemon.get("/-/metrics").body.decode()
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    assert f'gatherd_http_connections_total{{listener="unix:{escaped}"}} 1' in body
    promtool(body.encode())
    list(openmetrics.text_string_to_metric_families(daemon.get("/-/metrics", headers={"Accept": OPEN_METRICS}).body.decode()))


def test_buckets_of_its_own_and_many_endpoints(gatherd: Callable[..., Gatherd]) -> None:
    steps = ", ".join(f"s{i}: {{ from: none, get: / }}" for i in range(4))
    endpoints = "\n".join(f'  "GET /e{i}": {{ gather: {{ {steps} }} }}' for i in range(200))
    daemon = gatherd(f"""
metrics: {{ buckets: [1ms, 0.5s, 10s, 1m] }}
sources: {{ none: {{ http: "http://127.0.0.1:1" }} }}
endpoints:
{endpoints}
""", threads=2)
    body = daemon.get("/-/metrics").body
    promtool(body)
    bounds = re.findall(rb'gatherd_http_request_duration_seconds_bucket\{endpoint="GET /e0",le="([^"]*)"\}', body)
    assert bounds == [b"0.001", b"0.5", b"10.0", b"60.0", b"+Inf"]
    assert body.count(b"gatherd_endpoint_step_duration_seconds_count") == 800
    list(openmetrics.text_string_to_metric_families(daemon.get("/-/metrics", headers={"Accept": OPEN_METRICS}).body.decode()))
