"""`make install`: what it leaves, and the unit file."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from harness.server import ROOT


@pytest.fixture(scope="module")
def prefix(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which that program is installed."""
    folder = tmp_path_factory.mktemp("root") / "usr"
    command = ["make", "-s", "-o", str(program), f"B={program.parent}", f"PREFIX={folder}", "install"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
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
    assert files == {
        "bin/gatherd": 0o755,
        "include/gatherd.h": 0o644,
        "lib/pkgconfig/gatherd.pc": 0o644,
        "lib/systemd/system/gatherd.service": 0o644,
        "lib/systemd/system/gatherd.socket": 0o644,
        "lib/systemd/system/gatherd@.service": 0o644,
        "lib/sysusers.d/gatherd.conf": 0o644,
        "lib/tmpfiles.d/gatherd.conf": 0o644,
        "share/doc/gatherd/allow-list.conf": 0o644,
        "share/doc/gatherd/low-ports.conf": 0o644,
    }
    assert not [path for path in prefix.rglob("*") if path.is_file() and path.suffix and "@PREFIX@" in path.read_text()]


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
