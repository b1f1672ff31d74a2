"""The README's example is run as it stands, but for where its databases are, and must answer what the README shows."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Gatherd

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert found, f"the README has no {language} block"
    return found[1]


@pytest.fixture
def example(gatherd: Callable[..., Gatherd]) -> Gatherd:
    config = block("yaml")
    for scheme, url in (("postgresql", "${PG}"), ("mongodb", "${MONGO}")):
        config, count = re.subn(rf'"{scheme}://[^"]*"', f'"{url}"', config)
        assert count == 1
    return gatherd(config)


def test_the_example_answers_what_the_readme_shows(example):
    reply = example.get("/customers/7")
    assert reply.status == 200
    assert reply.json() == json.loads(block("json"))


def test_a_bad_request_is_refused_as_the_readme_shows(example):
    head, _, body = block("http").partition("\n\n")
    reply = example.get("/customers/seven?limit=5")
    assert head == f"HTTP/1.1 {reply.status} Bad Request\ncontent-type: {reply.headers['Content-Type']}"
    assert reply.json() == json.loads(body) | {"instance": reply.headers["X-Request-Id"]}


def test_mistakes_are_reported_as_the_readme_shows(program, tmp_path):
    wrong = block("yaml").replace("expect: one", "expcet: one").replace("timeout: 300ms", "timeout: 300")
    (tmp_path / "shop.yaml").write_text(wrong)
    done = subprocess.run([program, "check", "-c", "shop.yaml"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 78
    assert done.stderr == block("text")
