"""docs/configuration.md names every key of the language, and what it shows as a configuration is one."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/configuration.md").read_text()
CONFIGURATIONS = [text for text in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL) if "\nsources:" in text]


@pytest.fixture(scope="module")
def schema(program: Path) -> dict[str, Any]:
    return json.loads(subprocess.run([program, "schema"], capture_output=True, check=True, timeout=60).stdout)


def test_every_key_stands_in_the_page(schema):
    sections = [schema, *schema["$defs"].values()]
    keys = {key for section in sections for key in section.get("properties", {})}
    assert len(keys) > 80
    prose = re.sub(r"^```.*?^```", "", PAGE, flags=re.MULTILINE | re.DOTALL)
    shown = set(re.findall(r"[$A-Za-z_]+", " ".join(re.findall(r"`([^`]+)`", prose))))
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


def test_no_cell_of_a_table_is_a_paragraph():
    """Long explanations stand beneath the table."""
    cells = [cell.strip() for line in PAGE.splitlines() if line.startswith("|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
    assert len(cells) > 500
    assert [cell for cell in cells if len(cell) > 120] == []


def chapter(name: str) -> str:
    return re.search(rf"^###? {name}\n(.*?)(?=^###? )", PAGE, re.MULTILINE | re.DOTALL)[1]


def test_every_text_for_clients_stands_in_the_page():
    """base/reason.h has them all; what fills a format is an ellipsis in the page."""
    table = re.sub(r"\\\n\s*", " ", (ROOT / "base/reason.h").read_text())
    details = [(status, text) for status, text in re.findall(r'ROW\(\w+, (\d+), *"(.*?)"\)', table)]
    said = re.findall(r"^\| (\d+) \| (.*) \|$", chapter("Details"), re.MULTILINE)
    assert len(details) > 80
    assert {d for d in details if d[0] != "0"} == set(said)

    listed = re.findall(r"^- (.*)$", chapter("Details"), re.MULTILINE)
    formats = re.findall(r'#define (REASON|UNFIT|MISTAKE)_\w+ +"((?:[^"\\]|\\.)*)"', table)
    shown = [(kind, re.sub(r"%[.\d]*(?:s|llu|lld|u)(?:%s)?", "…", text).replace('\\"', '"')) for kind, text in formats]
    values = [f"… {text}." if kind == "UNFIT" and text[0].islower() else text for kind, text in shown]
    assert len(values) > 40
    assert {text for status, text in details if status == "0"} | set(values) == set(listed)
    for _, text in details:
        assert re.fullmatch(r"[A-Z].*\.", text) and "database" not in text, text


def test_every_code_of_a_database_stands_in_the_page():
    """With its status, or in a range: `23…`."""
    rows = [
        (codes.split(", "), statuses.split(", "))
        for codes, statuses in re.findall(r"^\| ([\w…, ]+) \| ([\d, ]+) \|", chapter("Statuses"), re.MULTILINE)
    ]
    told = {code.rstrip("…"): statuses for codes, statuses in rows for code in codes}
    postgres = re.findall(r'\{"(\w+)", (\d+), -E', (ROOT / "drivers/postgres/wire/sqlstate.c").read_text())
    statuses = dict(re.findall(r"ROW\((\w+), (\d+)", (ROOT / "base/reason.h").read_text()))
    mongo = re.findall(r"\{(\d+), REASON_(\w+),", (ROOT / "drivers/mongo/wire/errors.c").read_text())
    assert len(postgres) > 15 and len(mongo) > 25
    for code, status in [*postgres, *((code, statuses[reason]) for code, reason in mongo)]:
        assert status in told.get(code, []), code


def arguments(text: str, function: str) -> list[list[str]]:
    """Of each call."""
    calls = []
    for call in re.finditer(rf"\b{function}\(", text):
        depth, found = 1, [""]
        for token in re.finditer(r'"(?:[^"\\]|\\.)*"|[(),]|[^"(),]+', text[call.end() :]):
            depth += (token[0] == "(") - (token[0] == ")")
            if depth == 0:
                break
            if depth == 1 and token[0] == ",":
                found.append("")
            else:
                found[-1] += token[0]
        calls.append([argument.strip() for argument in found])
    return calls


def test_texts_for_clients_stand_in_one_file():
    """A failure names an entry of base/reason.h: no literal is handed in as the text for the client. The status page's words and
    the help of metrics are no problem document's."""
    calls = 0
    places = {"error_set": 3, "error_add_public": 1, "mistake_add": 3, "wrong": 1, "wrong_member": 2}
    for path in [*ROOT.glob("drivers/**/*.c"), *ROOT.glob("handlers/**/*.c"), *ROOT.glob("daemon/*.c")]:
        text = path.read_text()
        sentences = re.findall(r'"[A-Z](?:[^"\\]|\\.)* (?:[^"\\]|\\.)*\."', text)
        assert sentences == [] or path.parent.name == "daemon" or path.name in ("status_words.c", "metrics.c", "keys.c"), (path, sentences)
        assert '.detail = "' not in text, path
        for function, place in places.items():
            if function.startswith("wrong") and path.name != "schema.c":
                continue
            for call in arguments(text, function):
                calls += 1
                assert call[place] == '"%s"' or '"' not in call[place], (path, call)
    assert calls > 150


def test_there_is_a_configuration():
    assert CONFIGURATIONS
