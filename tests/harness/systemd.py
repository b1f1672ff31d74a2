"""A real systemd, in a container of its own, for the tests of the installed service.

    with Container() as container:
        container.install(program)          # `make install` into it
        container.write("/etc/x", "…")
        results = container.run(SCENARIO)   # boots, runs that Python program as root in it, powers off

The container is the machine's own root folder under an overlay in memory: nothing of it stays. It needs root, systemd-container
and a kernel that allows namespaces; `why_not` says what is missing.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

if __package__:
    from .server import ROOT, ServerError

# The scenario's service: the machine ends with it, however it ends.
UNIT = """
[Unit]
After=multi-user.target dbus.service
FailureAction=poweroff-force
SuccessAction=poweroff-force
[Service]
Type=oneshot
ExecStart=/usr/bin/python3 /gatherd-test/scenario.py
TimeoutStartSec=%d
StandardOutput=file:/gatherd-test/output
StandardError=file:/gatherd-test/output
"""
TARGET = """
[Unit]
Requires=basic.target systemd-journald.service
After=basic.target
Wants=gatherd-test.service dbus.socket
AllowIsolate=yes
"""


def why_not() -> str | None:
    """What keeps a container from being started here; None: nothing does."""
    if os.geteuid() != 0:
        return "it takes root"
    for program in ("systemd-nspawn", "unshare", "script"):
        if not shutil.which(program):
            return f"there is no {program}"
    with tempfile.TemporaryDirectory(prefix="gatherd-container-") as folder:
        done = subprocess.run([*ENTER, "prepare", folder, GROUP], capture_output=True, text=True, timeout=60)
    subprocess.run([*ENTER, "remove", GROUP], capture_output=True, timeout=60)
    return None if done.returncode == 0 else f"no namespace, cgroup or overlay: {done.stderr.strip()[-200:]}"


GROUP = f"gatherd-test-{os.getpid()}"  # the control group of our container
ENTER = ["unshare", "--mount", "--propagation", "private", sys.executable, str(Path(__file__).resolve())]


class Container:
    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="gatherd-container-"))
        self.root = self.folder / "files"  # what is laid over the machine's root
        self.shared = self.folder / "shared"  # /gatherd-test within
        self.root.mkdir()
        self.shared.mkdir()

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *_: Any) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def install(self, program: Path) -> None:
        """What `make install` gives, and nothing of the build folder."""
        command = ["make", "-s", "-o", str(program), f"B={program.parent}", f"DESTDIR={self.root}", "PREFIX=/usr", "install"]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)

    def write(self, path: str, text: str) -> Path:
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        return place

    def run(self, scenario: str, timeout: int = 300) -> dict[str, Any]:
        """Boot, run the scenario, power off. It writes its results, one JSON object, to /gatherd-test/results."""
        (self.shared / "scenario.py").write_text(scenario)
        self.write("/etc/systemd/system/gatherd-test.service", UNIT % timeout)
        self.write("/etc/systemd/system/gatherd-test.target", TARGET)
        with open(self.folder / "said", "wb") as said, contextlib.suppress(subprocess.TimeoutExpired):
            # After a time-out the results say how far it came.
            subprocess.run(
                [*ENTER, "boot", str(self.folder), GROUP],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                timeout=timeout + 60,
                check=False,
            )
        subprocess.run([*ENTER, "remove", GROUP], capture_output=True, timeout=60)
        results = self.shared / "results"
        if not results.exists():
            places = [place for place in (self.shared / "output", self.folder / "console", self.folder / "said") if place.exists()]
            texts = [place.read_text(errors="replace")[-3000:] for place in places]
            raise ServerError("the container ended without results:\n" + "\n".join(texts))
        return json.loads(results.read_text())


# --- within a mount namespace of its own ---


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def _mount_groups() -> Path:
    _mount("-t", "cgroup2", "cgroup2", "/sys/fs/cgroup")
    return Path("/sys/fs/cgroup")


def _prepare(folder: Path, group: str, files: Path | None = None) -> Path:
    """Returns the root folder of the container."""
    place = _mount_groups() / group
    place.mkdir(exist_ok=True)
    (place / "cgroup.procs").write_text(str(os.getpid()))
    work = folder / "overlay"
    work.mkdir()
    _mount("-t", "tmpfs", "tmpfs", str(work))
    for name in ("up", "work", "root"):
        (work / name).mkdir()
    _mount("-t", "overlay", "overlay", "-o", f"lowerdir=/,upperdir={work}/up,workdir={work}/work", str(work / "root"))
    if files:
        shutil.copytree(files, work / "root", dirs_exist_ok=True, symlinks=True)
    return work / "root"


def _boot(folder: Path, group: str) -> None:
    root = _prepare(folder, group, folder / "files")
    _mount("-t", "tmpfs", "tmpfs", "/run")
    Path("/run/lock").mkdir()
    for wants in (root / "etc/systemd/system").glob("*.wants"):
        shutil.rmtree(wants)
    (root / "etc/machine-id").unlink(missing_ok=True)
    (root / "etc/machine-id").write_text("")
    os.environ |= {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1", "SYSTEMD_NSPAWN_LOCK": "0"}
    nspawn = f"setpriv --pdeathsig KILL systemd-nspawn -D {root} --register=no --keep-unit --private-network"
    nspawn += f" --bind={folder}/shared:/gatherd-test --boot systemd.unit=gatherd-test.target"
    os.execvp("script", ["script", "-qfc", nspawn, str(folder / "console")])


def _remove(group: str) -> None:
    """The control groups, which outlive the container."""
    top = _mount_groups() / group
    for place, _, _ in os.walk(top, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(place)


if __name__ == "__main__":
    if sys.argv[1] == "prepare":
        _prepare(Path(sys.argv[2]), sys.argv[3])
    elif sys.argv[1] == "boot":
        _boot(Path(sys.argv[2]), sys.argv[3])
    else:
        _remove(sys.argv[2])
