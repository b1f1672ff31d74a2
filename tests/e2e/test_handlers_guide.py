"""docs/handlers.md is run as it stands, but for where its sources are: each chapter's modules are built and served with
its configuration, its requests are sent in their order, and what they answer is compared with what the page shows.

A chapter's ```c block is a whole module; its first line names its file. It comes with a ```yaml block, perhaps a ```sql
block that is run before, and a ```console block of requests and answers. A ```c block without a file's name is a part of
a module that needs servers which the tests don't have: it is built."""

from __future__ import annotations

import errno
import os
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from harness import Gatherd, Postgres
from support import wait_for
from test_cookbook import Exchange, compare, send

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/handlers.md").read_text()
HEADER = (ROOT / "include/gatherd.h").read_text()


class Chapter(NamedTuple):
    title: str
    text: str
    modules: dict[str, str]  # by their files' names
    fragments: list[str]
    config: str
    sql: str
    exchanges: list[Exchange]

    def shown(self, begin: str) -> str:
        """The ```text block that begins so."""
        found = [block for block in re.findall(r"^```text\n(.*?)^```", self.text, re.MULTILINE | re.DOTALL) if begin in block]
        assert found, begin
        return found[0]


def read_session(text: str) -> list[Exchange]:
    """A ```console block: `$ curl …`, then its answer, as often as it likes. With -i the answer has its head."""
    exchanges = []
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        request, _, answer = part.partition("\n")
        words = shlex.split(request)
        curl = [word for word in words if word != "-N"]
        exchanges.append(Exchange(curl, "http" if "-i" in words else "body", answer))
    return exchanges


def read_chapter(text: str) -> Chapter:
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    in_c = [block for language, block in blocks if language == "c"]
    programs = [re.match(r"// (\w+)\.c\n(.*)", block, re.DOTALL) for block in in_c]
    of = {language: block for language, block in reversed(blocks)}
    return Chapter(
        text.splitlines()[0],
        text,
        {program[1]: program[2] for program in programs if program},
        [block for block, program in zip(in_c, programs, strict=True) if not program],
        of.get("yaml", ""),
        of.get("sql", ""),
        read_session(of.get("console", "")),
    )


CHAPTERS = [read_chapter(text) for text in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]]
SERVED = [chapter for chapter in CHAPTERS if chapter.modules]


def at_home(config: str) -> str:
    """The configuration with our sources for the page's, and our port for its."""
    config = re.sub(r'"postgresql://[^"]*"', '"${PG}"', config)
    config = re.sub(r'"mongodb://[^"]*"', '"${MONGO}"', config)
    config = config.replace("http://127.0.0.1:8080", "http://127.0.0.1:${PORT}").replace("/srv/papers", '"${FOLDER}/papers"')
    return re.sub(r"^server: \{", 'server: { listen: "127.0.0.1:${PORT}",', config, flags=re.MULTILINE)


def serve(chapter: Chapter, gatherd: Callable[..., Gatherd], module: Callable[..., Path]) -> Gatherd:
    files: dict[str, str | bytes] = {f"{name}.so": module(name, text).read_bytes() for name, text in chapter.modules.items()}
    return gatherd(at_home(chapter.config), files=files | {"papers/alphabet.txt": "abcdefghijklmnopqrstuvwxyz"})


def chapter_of(module: str) -> Chapter:
    (found,) = (chapter for chapter in SERVED if module in chapter.modules)
    return found


def test_the_page_has_programs_and_requests():
    assert len(SERVED) >= 8
    assert all(chapter.exchanges for chapter in SERVED)
    shown = re.findall(r"^```(\w+)$", PAGE, re.MULTILINE)
    assert len(SERVED) == shown.count("yaml") == shown.count("console")
    assert shown.count("c") == len(SERVED) + sum(len(chapter.fragments) for chapter in CHAPTERS)


@pytest.mark.parametrize("text", [text for chapter in CHAPTERS for text in chapter.fragments])
def test_parts_of_modules_are_built(text: str, module):
    module("fragment", f"#include <errno.h>\n#include <gatherd.h>\n{text}", "-Wno-unused-function")


def test_every_name_is_in_the_header():
    for name in set(re.findall(r"\b(?:gd|GD|GATHERD)_\w+\b(?!…)", PAGE)) - {"GATHERD_DEBUG"}:
        assert re.search(rf"\b{name}\b" if not name.endswith("_") else rf"\b{name}", HEADER), name


@pytest.mark.parametrize("chapter", SERVED, ids=lambda chapter: chapter.title)
def test_chapter(chapter: Chapter, gatherd, module, postgres: Postgres):
    for table in re.findall(r"^create table (\w+)", chapter.sql, re.MULTILINE):
        postgres.sql(f"drop table if exists {table}", "test")
    if chapter.sql:
        postgres.sql(chapter.sql, "test")
    daemon = serve(chapter, gatherd, module)
    for exchange in chapter.exchanges:
        compare(exchange, send(daemon, list(exchange.curl)))


# -- the first one, as a newcomer does it --


def installed(program: Path, prefix: Path) -> dict[str, str]:
    """An environment in which that program is installed."""
    command = ["make", "-s", "-o", str(program), f"B={program.parent}", f"PREFIX={prefix}", "install"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return os.environ | {"PATH": f"{prefix}/bin:{os.environ['PATH']}", "PKG_CONFIG_PATH": f"{prefix}/lib/pkgconfig"}


def test_the_first_module_from_its_files_to_its_answer(program: Path, tmp_path: Path, gatherd):
    """The shell lines of the first chapter, with gatherd installed; the daemon that they start is the test's own."""
    chapter = CHAPTERS[0]
    environment = installed(program, tmp_path / "root")
    (tmp_path / "hello.c").write_text(chapter.modules["hello"])
    (tmp_path / "hello.yaml").write_text(chapter.config)
    build, run = re.findall(r"^```sh\n((?:cc|gatherd) .*?)^```", chapter.text, re.MULTILINE | re.DOTALL)
    check = next(line for line in run.splitlines() if " check " in line)
    for line in (build, check):
        done = subprocess.run(["sh", "-ec", line], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
    daemon = gatherd(at_home(chapter.config), files={"hello.so": (tmp_path / "hello.so").read_bytes()})
    for exchange in chapter.exchanges:
        compare(exchange, send(daemon, list(exchange.curl)))


def test_a_mistake_in_the_name_is_found(program: Path, tmp_path: Path, module):
    chapter = CHAPTERS[0]
    (tmp_path / "hello.so").write_bytes(module("hello", chapter.modules["hello"]).read_bytes())
    (tmp_path / "hello.yaml").write_text(chapter.config.replace("hello.so:hello", "hello.so:helo"))
    done = subprocess.run([program, "check", "-c", "hello.yaml"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 78
    assert done.stderr == chapter.shown("did you mean")


def test_the_module_of_the_readme_and_of_the_header(gatherd, module):
    readme = (ROOT / "README.md").read_text()
    text = re.findall(r"^```c\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)[0]
    (config,) = (block for block in re.findall(r"^```yaml\n(.*?)^```", readme, re.MULTILINE | re.DOTALL) if "handler:" in block)
    shown = [line.removeprefix(" *").strip() for line in HEADER.splitlines()]
    assert not [line for line in text.splitlines() if line.strip() not in shown]
    sources = 'sources: { shop: { postgres: "${PG}" }, catalog: { mongodb: "${MONGO}" } }\n'
    reply = gatherd(sources + config, files={"shop.so": module("readme", text).read_bytes()}).get("/customers/7").json()
    assert reply["customer"] == {"id": 7, "name": "Customer 7"} and len(reply["reviews"]) == 3


def test_statuses_are_those_of_the_table(gatherd, module):
    """Of each -errno that the page's table names, and of one that it does not."""
    rows = re.findall(r"^\| ((?:`-\w+`(?:, )?)+) \| (\d+) \|", PAGE, re.MULTILINE)
    told = {name: int(status) for names, status in rows for name in re.findall(r"-(\w+)", names)} | {"EINVAL": 500}
    assert len(told) >= 15
    text = """
        #include <gatherd.h>
        int fail(gd_request *req) { return (int)gd_to_int(gd_param(req, "errnum"), 0); }
    """
    daemon = gatherd(
        'endpoints: { "GET /{errnum}": { handler: "fail.so:fail", parameters: { errnum: { type: integer } } } }',
        files={"fail.so": module("fail", text).read_bytes()},
    )
    assert {name: daemon.get(f"/{-getattr(errno, name)}").status for name in told} == told
    assert daemon.get("/0").status == 500


# -- what is seen of trouble --


def without_numbers(line: str) -> str:
    return re.sub(r"0x[0-9a-f]+|[0-9a-f]{32}|\d+(?:\.\d+)?", "#", line)


def test_who_blocks_is_told_as_shown(gatherd, module):
    chapter = chapter_of("trouble")
    daemon = serve(chapter, gatherd, module)
    daemon.get("/blocks")
    for line in chapter.shown("the loop is blocked").splitlines():
        head, _, where = line.partition(' where="')
        begin = without_numbers(head.partition(" level=")[2])
        told = wait_for(lambda: [one for one in daemon.log().splitlines() if begin in without_numbers(one)], 20)
        for frame in re.findall(r"(\w+)\+0x\w+ \(trouble\.c:\d+\)", where):
            assert re.search(rf"\b{frame}\+0x\w+ \(trouble\.c:\d+\)", told[0]), frame


def test_tasks_are_told_as_shown(gatherd, module, program: Path):
    chapter = chapter_of("trouble")
    daemon = serve(chapter, gatherd, module)

    def table() -> set[str] | None:
        done = subprocess.run(
            [program, "tasks", "--admin", f"127.0.0.1:{daemon.port}", "--once"], capture_output=True, text=True, timeout=60
        )
        lines = {re.sub(r" +", " ", without_numbers(line)) for line in done.stdout.splitlines()}
        return lines if any(" nap " in line and "sleep" in line for line in lines) else None

    with daemon.connect() as waiting:
        waiting.sendall(b"GET /naps HTTP/1.1\r\nHost: x\r\nX-Request-Id: nap-1\r\n\r\n")
        told = wait_for(table, 20)
    for line in chapter.shown("AWAITS").splitlines():
        if "/-/tasks" not in line and "127.0.0.1" not in line:
            assert re.sub(r" +", " ", without_numbers(line)) in told, told


def test_a_deep_recursion_is_told_as_shown(gatherd, module):
    chapter = chapter_of("trouble")
    daemon = serve(chapter, gatherd, module)
    with pytest.raises((ConnectionError, OSError)):
        daemon.get("/deep")
    assert daemon.process
    daemon.process.wait(30)
    daemon.process = None
    log = daemon.log()
    if "AddressSanitizer" in log:  # its own handler tells more
        assert "stack-overflow" in log
        return
    told = [without_numbers(line) for line in log.splitlines()]
    for line in chapter.shown("overflowed").splitlines():
        assert without_numbers(line) in told
