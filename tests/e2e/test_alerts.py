"""docs/deploy/: the alert rules and the dashboard ask for what gatherd counts, each rule comes when it should, and the page describes each."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness import Gatherd
from harness.server import ROOT
from prometheus_client.parser import text_string_to_metric_families

RULES = ROOT / "docs/deploy/gatherd.rules.yml"
CASES = ROOT / "tests/deploy/gatherd.rules.test.yml"
DASHBOARD = json.loads((ROOT / "docs/deploy/dashboard.json").read_text())
OPERATIONS = (ROOT / "docs/operations.md").read_text()

CONFIG = """
sources:
  pg: { postgres: "${PG}" }
  up: { http: "http://127.0.0.1:1", breaker: { failures: 2, cooldown: 1s } }
semaphores: { few: 2 }
endpoints:
  "GET /one": { gather: { one: { from: pg, sql: "select 1", expect: value, cache: 1m } } }
  "GET /fails": { gather: { one: { from: up, get: / } } }
"""


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions() -> list[str]:
    shown = [target["expr"] for panel in panels() for target in panel["targets"]]
    return shown + [one["expr"] for one in DASHBOARD["annotations"]["list"]]


def promtool(*args: Any) -> str:
    done = subprocess.run(["promtool", *args], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_each_rule_comes_when_it_should() -> None:
    promtool("check", "rules", RULES)
    promtool("test", "rules", CASES)


def test_each_rule_has_its_test_and_its_lines_in_the_page() -> None:
    names = [rule["alert"] for rule in alerts()]
    tested = {one["alertname"] for case in yaml.safe_load(CASES.read_text())["tests"] for one in case["alert_rule_test"] if one.get("exp_alerts")}
    section = OPERATIONS.partition("\n## Alerts\n")[2].partition("\n## ")[0]
    described = re.findall(r"^\| `(\w+)`", section, re.MULTILINE)
    assert tested == set(names)
    assert described == names


@pytest.fixture(scope="module")
def samples(module_gatherd: Callable[..., Gatherd]) -> dict[str, set[str]]:
    """The labels of each sample that there is after some requests, by its name."""
    daemon = module_gatherd(CONFIG)
    for path in ("/one", "/one", "/fails"):
        daemon.get(path)
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(daemon.get("/-/metrics").text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found | {"up": set()}


@pytest.mark.parametrize("where", ["rules", "dashboard"])
def test_what_is_asked_for_is_counted(samples: dict[str, set[str]], where: str) -> None:
    asked = [rule["expr"] for rule in alerts()] if where == "rules" else expressions()
    for expression in asked:
        metrics = re.findall(r"\b((?:gatherd|process)_\w+|up\b)(?:\{([^}]*)\})?", expression)
        assert metrics, expression
        for name, matchers in metrics:
            assert name in samples, name
            named = set(re.findall(r'(\w+) *(?:=~|!=|=)', matchers))
            assert named <= samples[name] | {"instance", "job"}, (name, named)
        for labels in re.findall(r"by \(([^)]*)\)", expression):
            known = set.union(*(samples[name] for name, _ in metrics)) | {"instance", "job"}
            assert set(re.findall(r"\w+", labels)) <= known, expression


def test_the_dashboard_is_whole(tmp_path: Path) -> None:
    """Prometheus takes its expressions, its panels have names and units, and none lies upon another."""
    records = [
        {"record": f"panel:{n}", "expr": expression.replace("$__rate_interval", "5m").replace("$instance", ".*")}
        for n, expression in enumerate(expressions())
    ]
    rules = tmp_path / "rules.yml"
    rules.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": records}]}))
    promtool("check", "rules", rules)
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken and max(x for x, _ in cells) < 24, panel["title"]
        taken |= cells
    for panel in panels():
        assert panel["title"] and panel["fieldConfig"]["defaults"]["unit"], panel["id"]
        assert all(target["legendFormat"] for target in panel["targets"]), panel["title"]
