"""The README's example is run as it stands, but for where its databases are, and must answer what the README shows."""

from __future__ import annotations

import json
import re
from pathlib import Path

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()


def block(language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert found, f"the README has no {language} block"
    return found[1]


def test_the_example_answers_what_the_readme_shows(gatherd):
    config = block("yaml")
    for scheme, url in (("postgresql", "${PG}"), ("mongodb", "${MONGO}")):
        config, count = re.subn(rf'"{scheme}://[^"]*"', f'"{url}"', config)
        assert count == 1
    reply = gatherd(config).get("/customers/7")
    assert reply.status == 200
    assert reply.json() == json.loads(block("json"))
