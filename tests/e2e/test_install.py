"""`make install`: what it leaves, and the unit file."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from harness.server import ROOT

DOC = "share/doc/gatherd"


def make(program: Path, target: str, *variables: str) -> None:
    command = ["make", "-s", "-o", str(program), f"B={program.parent}", *variables, target]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture(scope="module")
def prefix(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which that program is installed."""
    folder = tmp_path_factory.mktemp("root") / "usr"
    make(program, "install", f"PREFIX={folder}")
    return folder


def unit(prefix: Path) -> dict[str, list[str]]:
    """Its settings: the values of each name, in order."""
    settings: dict[str, list[str]] = {}
    for line in (prefix / "lib/systemd/system/gatherd.service").read_text().splitlines():
        if found := re.match(r"(\w+)=(.*)", line):
            settings.setdefault(found[1], []).append(found[2])
    return settings


def test_these_files_and_no_others(prefix: Path) -> None:
    files = {str(path.relative_to(prefix)): path.stat().st_mode & 0o777 for path in prefix.rglob("*") if path.is_file()}
    pages = {name for name in files if name.startswith(f"{DOC}/")}
    assert {name: mode for name, mode in files.items() if name not in pages} == {
        "bin/gatherd": 0o755,
        "include/gatherd.h": 0o644,
        "lib/pkgconfig/gatherd.pc": 0o644,
        "lib/systemd/system/gatherd.service": 0o644,
        "lib/systemd/system/gatherd.socket": 0o644,
        "lib/systemd/system/gatherd@.service": 0o644,
        "lib/sysusers.d/gatherd.conf": 0o644,
        "lib/tmpfiles.d/gatherd.conf": 0o644,
    }
    assert {files[name] for name in pages} == {0o644}
    assert not [path for path in (prefix / "lib").rglob("*") if path.is_file() and re.search(r"@[A-Z]+@", path.read_text())]


def test_the_pages_and_the_examples_come_along(prefix: Path) -> None:
    here = {path.name: path for path in (prefix / DOC).iterdir()}
    assert {"README.md", "LICENSE", "docs", "examples", "allow-list.conf", "low-ports.conf"} <= set(here)
    tracked = subprocess.run(["git", "ls-files", "docs", "examples"], cwd=ROOT, capture_output=True, text=True, timeout=60).stdout.split()
    wanted = {name for name in tracked if not Path(name).name.startswith(".")}
    assert wanted <= {str(path.relative_to(prefix / DOC)) for path in (prefix / DOC).rglob("*")} or not tracked
    done = subprocess.run([prefix / "bin/gatherd", "check", "-c", prefix / DOC / "examples/gatherd.yaml"], timeout=60)
    assert done.returncode == 0


def test_the_links_of_the_pages_hold_where_they_are_installed(prefix: Path) -> None:
    pages = list((prefix / DOC).rglob("*.md"))
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)\s#]+)[^)\s]*\)", page.read_text()) if "://" not in link]
    assert len(links) > 50
    assert not [f"{page}: {link}" for page, link in links if not (page.parent / link).exists()]


def test_uninstall_takes_away_what_install_brought(program: Path, tmp_path: Path) -> None:
    """And nothing else: neither what others have put beside it, nor what the operator has made."""
    theirs = tmp_path / "usr/lib/systemd/system/other.service"
    for path in (theirs, tmp_path / "etc/gatherd/gatherd.yaml", tmp_path / "usr" / DOC / "notes"):
        path.parent.mkdir(parents=True)
        path.touch()
    before = everything(tmp_path)
    make(program, "install", f"DESTDIR={tmp_path}", "PREFIX=/usr")
    assert len(everything(tmp_path)) > len(before) + 50
    make(program, "uninstall", f"DESTDIR={tmp_path}", "PREFIX=/usr")
    assert everything(tmp_path) == before


def test_nothing_is_left_of_an_empty_folder(program: Path, tmp_path: Path) -> None:
    make(program, "install", f"DESTDIR={tmp_path}", "PREFIX=/usr")
    make(program, "uninstall", f"DESTDIR={tmp_path}", "PREFIX=/usr")
    assert everything(tmp_path) == []


def test_the_unit_starts_what_was_installed(prefix: Path) -> None:
    program, *arguments = unit(prefix)["ExecStart"][0].split()
    assert program == f"{prefix}/bin/gatherd" and arguments == ["run", "-c", "/etc/gatherd/gatherd.yaml"]
    assert subprocess.run([program, "--version"], timeout=60).returncode == 0
    if shutil.which("systemd-analyze"):
        path = prefix / "lib/systemd/system/gatherd.service"
        done = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, timeout=60)
        assert "gatherd.service" not in done.stderr, done.stderr


def test_a_drain_that_takes_long_is_not_cut_off(prefix: Path) -> None:
    """gatherd asks for the time that it takes (tests/e2e/test_service_manager.py): the unit need not know drain_timeout."""
    assert unit(prefix)["Type"] == ["notify"] and unit(prefix)["NotifyAccess"] == ["main"]


def test_the_unit_allows_what_debug_mode_calls(prefix: Path) -> None:
    """@system-service has no mincore: without it stacks are not measured."""
    allowed = " ".join(line for line in unit(prefix)["SystemCallFilter"] if not line.startswith("~")).split()
    assert "@system-service" in allowed and "mincore" in allowed
