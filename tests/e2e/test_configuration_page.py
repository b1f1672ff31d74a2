"""docs/configuration.md names every key of the language, and what it shows as a configuration is one."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

PAGE = (Path(__file__).resolve().parents[2] / "docs/configuration.md").read_text()
CONFIGURATIONS = [text for text in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL) if "\nsources:" in text]


@pytest.fixture(scope="module")
def schema(program: Path) -> dict[str, Any]:
    return json.loads(subprocess.run([program, "schema"], capture_output=True, check=True, timeout=60).stdout)


def test_every_key_stands_in_the_page(schema):
    sections = [schema, *schema["$defs"].values()]
    keys = {key for section in sections for key in section.get("properties", {})}
    assert len(keys) > 80
    prose = re.sub(r"^```.*?^```", "", PAGE, flags=re.MULTILINE | re.DOTALL)
    shown = set(re.findall(r"[A-Za-z_]+", " ".join(re.findall(r"`([^`]+)`", prose))))
    assert keys - shown == set()


def test_defaults_are_those_of_the_language(schema):
    """Where a table gives one: `| `key` | `default` | …`."""
    chapters = dict(re.findall(r"^###? (\w+)\n(.*?)(?=^##)", PAGE, re.MULTILINE | re.DOTALL))
    sections = {name: schema["$defs"][name] for name in ("server", "log", "postgres", "mongodb", "http", "files", "join")}
    sections |= {"pool": schema["$defs"]["postgres_pool"], "endpoints": schema["$defs"]["endpoint"]}
    for name, section in [*sections.items(), ("http", schema["$defs"]["http_pool"])]:
        told = dict(re.findall(r"^\| `(\w+)` \| `([^`]*)` \|", chapters[name], re.MULTILINE))
        for key, what in section["properties"].items():
            default = what.get("default")
            if default is None or key in ("size", "timeout", "semaphore", "ready"):
                continue
            assert told.get(key) == (default if isinstance(default, str) else json.dumps(default)), f"{name}.{key}"


@pytest.mark.parametrize("text", CONFIGURATIONS)
def test_a_configuration_of_the_page_is_right(text, program, tmp_path):
    (tmp_path / "papers").mkdir()
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "gatherd.yaml").write_text(text.replace("/srv/papers", "papers"))
    done = subprocess.run(
        [program, "check", "-c", "gatherd.yaml"],
        cwd=tmp_path,
        env=os.environ | {"SHOP_PASSWORD": "secret"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_there_is_a_configuration():
    assert CONFIGURATIONS
