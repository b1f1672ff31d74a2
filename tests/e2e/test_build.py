"""The Makefile's variables and targets, and what `make demo` says before it does anything."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OWN = ("CC", "CFLAGS", "CPPFLAGS", "LDFLAGS", "MAKEFLAGS", "MFLAGS", "MAKELEVEL", "SANITIZE", "CI", "WERROR")


def make(*arguments: str, folder: Path = ROOT, **variables: str) -> str:
    """What it prints; a warning is printed, too."""
    env = {name: value for name, value in os.environ.items() if name not in OWN} | variables
    command = ["make", "--no-print-directory", *arguments]
    done = subprocess.run(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


def compile_one(build: Path, *arguments: str, **variables: str) -> str:
    """How one file is compiled, once it was, without a word from the compiler."""
    target = f"{build}/obj/base/utf8.o"
    said = make(f"B={build}", *arguments, target, **variables)
    assert said == "  CC  base/utf8.c\n"
    return next(line for line in make("-B", "-n", f"B={build}", *arguments, target, **variables).splitlines() if "-c -o" in line)


@pytest.mark.parametrize("place", ["command line", "environment"])
@pytest.mark.parametrize("level", ["-O0 -g3", "-O3"])
def test_the_users_flags_come_last(tmp_path, place, level):
    given = {"CFLAGS": level, "CPPFLAGS": "-DTHEIRS -I/nowhere"}
    arguments = [f"{name}={value}" for name, value in given.items()] if place == "command line" else []
    line = compile_one(tmp_path / "build", *arguments, **(given if not arguments else {}))
    assert line.index("-O2") < line.index("-DTHEIRS") < line.index(level)
    assert line.count("_FORTIFY_SOURCE") == (0 if "-O0" in level else 2)  # -U, then -D


def test_the_linker_gets_the_users_flags_after_ours(tmp_path):
    for line in make("-B", "-n", f"B={tmp_path}/build", "LDFLAGS=-Wl,-z,lazy -Wl,--as-needed").splitlines():
        if "-export-dynamic" in line:
            assert line.index("-z,now") < line.index("-z,lazy") < line.index(" -o ")
            break
    else:
        raise AssertionError("nothing is linked")


@pytest.mark.parametrize("name", ["CFLAGS", "CPPFLAGS"])
def test_who_fortifies_decides_how(tmp_path, name):
    line = compile_one(tmp_path / "build", **{name: "-Wdate-time -D_FORTIFY_SOURCE=2"})
    assert line.count("_FORTIFY_SOURCE") == 1


def test_clean_keeps_what_takes_minutes(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    make("clean", folder=tmp_path)  # with nothing there
    for name in ("tools/mongo-server-1", "obj/a.o", ".hidden", "gatherd"):
        path = tmp_path / "build" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    make("clean", folder=tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in (tmp_path / "build").rglob("*")) == [
        "build/tools",
        "build/tools/mongo-server-1",
    ]
    make("distclean", folder=tmp_path)
    assert not (tmp_path / "build").exists()


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_the_demo_looks_at_its_port_before_anything_else(tmp_path, address):
    with socket.socket() as taken:
        taken.bind((address, 0))
        taken.listen()
        port = taken.getsockname()[1]
        # Without any program but these: nothing could be installed or built.
        (tmp_path / "dirname").symlink_to("/usr/bin/dirname")
        done = subprocess.run(
            ["/bin/bash", ROOT / "scripts/demo"], env={"PORT": str(port), "PATH": str(tmp_path)}, capture_output=True, text=True
        )
    assert done.returncode == 69
    assert done.stdout == "" and f"port {port} of 127.0.0.1 is taken; choose another: make demo PORT={port + 1}" in done.stderr


@pytest.mark.parametrize("port", ["0", "65536", "99999999999999999999", "x", "80 ", "-1", "8080; true"])
def test_the_demo_refuses_what_is_not_a_port(tmp_path, port):
    (tmp_path / "dirname").symlink_to("/usr/bin/dirname")
    done = subprocess.run(
        ["/bin/bash", ROOT / "scripts/demo"], env={"PORT": port, "PATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode == 64
    assert f"PORT={port} is not a port" in done.stderr
