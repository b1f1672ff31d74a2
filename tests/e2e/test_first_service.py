"""docs/first-service.md is taken step by step, as it stands: each file is written, each command is typed, and what it says is compared
with what the page shows.

Once on this machine, up to the chapter about systemd, with the tests' PostgreSQL and a port of our own; once in a container with a real
systemd and a PostgreSQL of its own, the whole page as it stands."""

from __future__ import annotations

import io
import json
import os
import re
from http.client import parse_headers
from pathlib import Path

import pytest
from harness import Postgres, Response
from harness.page import Said, Step, Walk, read_page
from harness.server import ROOT, Port
from harness.systemd import Container, why_not
from test_cookbook import Exchange, compare, same_body

PAGE = (ROOT / "docs/first-service.md").read_text()


def reply(text: str) -> Response:
    """What `curl -i` prints."""
    head, _, body = text.replace("\r\n", "\n").partition("\n\n")
    status, _, headers = head.partition("\n")
    return Response(int(status.split()[1]), parse_headers(io.BytesIO(f"{headers}\n\n".encode())), body.encode())


def check(step: Step, said: Said) -> None:
    where = f"{step.text}{said.text}"
    assert said.status == 0, where
    if step.language == "json":
        assert json.loads(said.text) == json.loads(step.shown), where
    elif step.language == "http":
        compare(Exchange([], "http", step.shown), reply(said.text))
    elif step.language == "text":
        assert said.text.rstrip("\n") == step.shown.rstrip("\n"), where
    else:
        assert said.text == "", where  # what the page does not show is silent


def test_the_page_has_its_steps():
    steps = read_page(PAGE)
    assert [step.kind for step in steps].count("run") == 2 and len(steps) > 15
    assert len(re.findall(r"^```", PAGE, re.MULTILINE)) == 2 * (len(steps) + len([step for step in steps if step.shown]))
    assert {step.name for step in steps if step.kind == "file"} == {"schema.sql", "gatherd.yaml"}


def test_from_an_empty_folder_to_a_running_service(program: Path, postgres: Postgres, tmp_path: Path):
    """All but the last chapter. The port is ours: 8080 may be somebody else's."""
    text, port = PAGE.partition("\n## 4. ")[0], Port()
    text = text.replace("localhost:8080", f"localhost:{port.number}")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/gatherd").symlink_to(program)
    environment = os.environ | {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "PGHOST": str(postgres.folder), "PGPORT": str(postgres.port), "PGUSER": "postgres"}
    (tmp_path / "empty").mkdir()
    walk = Walk(tmp_path / "empty", environment, port.number)
    try:
        for step in read_page(text):
            if step.name.endswith(".yaml"):
                step = step._replace(text=f"{step.text}server: {{ listen: 127.0.0.1:{port.number} }}\n")
            check(step, walk.take(step))
        walk.end()
    finally:
        walk.kill()
        postgres.sql("drop database if exists shop with (force)")
        port.release()


SCENARIO = r"""
import subprocess, sys
from pathlib import Path

def call(*words):
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, timeout=120)

# A PostgreSQL in which root may create databases and roles: what the page asks for. The machine's own, if it has one, is not seen.
call("rm", "-rf", "/etc/postgresql/15", "/var/lib/postgresql/15")
call("pg_createcluster", "15", "main", "--start")
call("runuser", "-u", "postgres", "--", "createuser", "--superuser", "root")
sys.path.insert(0, "/gatherd-test")
import page
page.main(Path("/gatherd-test/page.md"), Path("/root/first"), Path("/gatherd-test/results"))
"""


def test_the_whole_page_in_a_container(program: Path):
    if b"__asan_init" in program.read_bytes():
        pytest.skip("a sanitizer can't run under the unit's sandbox")
    if reason := why_not():
        pytest.skip(f"no container can be started: {reason}")
    with Container() as container:
        container.install(program)
        (container.shared / "page.md").write_text(PAGE)
        (container.shared / "page.py").write_text((ROOT / "tests/harness/page.py").read_text())
        results = [Said(*one) for one in container.run(SCENARIO)]
    for step, said in zip(read_page(PAGE), results, strict=True):
        check(step, said)
