"""A page that tells somebody what to type, and whoever types it.

    read_page(text)   its steps, in order
    Walk(folder)      takes them, in a folder, and notes what each has said

A step is a fenced block. After a paragraph that ends with "`NAME`:" it is a file of that name. ```sh is typed as it stands; what is
shown right after it, as ```json, ```text or ```http, is what that says. `gatherd run` goes on until the next one, until a line with
systemctl, or until the end, as if by Ctrl-C; what follows it is typed at a second terminal.

This file is also copied into containers, and is then a program: it knows nothing of the other files.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

class Step(NamedTuple):
    kind: str  # file, run, sh
    name: str  # of the file
    text: str
    language: str = ""  # of what is shown after it
    shown: str = ""


class Said(NamedTuple):
    status: int
    text: str  # stdout and stderr, in their order


def read_page(text: str) -> list[Step]:
    steps: list[Step] = []
    lines = text.splitlines(keepends=True)
    at, paragraph, answers = 0, "", False
    while at < len(lines):
        if not lines[at].startswith("```"):
            if lines[at].strip():
                paragraph, answers = lines[at], False
            at += 1
            continue
        end = next(i for i in range(at + 1, len(lines)) if lines[i].rstrip() == "```")
        language, body = lines[at][3:].strip(), "".join(lines[at + 1 : end])
        named = re.search(r"`([\w./-]+)`:\s*$", paragraph)
        if answers and language in ("json", "text", "http"):
            steps[-1] = steps[-1]._replace(language=language, shown=body)
        elif named:
            steps.append(Step("file", named[1], body))
        elif language == "sh":
            steps.append(Step("run" if body.startswith("gatherd run ") else "sh", "", body))
        else:
            raise ValueError(f"line {at + 1}: a block that is neither a file, nor typed, nor an answer")
        answers, paragraph, at = language == "sh", "", end + 1
    return steps


class Walk:
    def __init__(self, folder: Path, environment: dict[str, str], port: int = 8080) -> None:
        self.folder, self.environment, self.port = folder, environment, port
        self.daemon: subprocess.Popen[bytes] | None = None

    def take(self, step: Step) -> Said:
        if step.kind == "file":
            (self.folder / step.name).write_text(step.text)
            return Said(0, "")
        if step.kind == "run":
            self.end()
            self._serve(step.text.split())
            return Said(0, "")
        if "systemctl" in step.text:
            self.end()
        # There may be no sudo, and no need for it.
        script = 'sudo() { "$@"; }\n' + step.text
        done = subprocess.run(
            ["bash", "-e", "-c", script],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
            check=False,
        )
        return Said(done.returncode, done.stdout.decode())

    def _serve(self, words: list[str]) -> None:
        with open(self.folder / ".log", "ab") as log:
            command = ["setpriv", "--pdeathsig=KILL", *words]
            self.daemon = subprocess.Popen(command, cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while self.daemon.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 5).close()
                return
            except OSError:
                if time.monotonic() > deadline:
                    break
                time.sleep(0.02)
        raise RuntimeError(f"{words}: {(self.folder / '.log').read_text()}")

    def end(self) -> None:
        """Ctrl-C."""
        if self.daemon is None:
            return
        self.daemon.send_signal(signal.SIGINT)
        code = self.daemon.wait(60)
        self.daemon = None
        if code != 0:
            raise RuntimeError(f"gatherd ended with {code}: {(self.folder / '.log').read_text()}")

    def kill(self) -> None:
        if self.daemon:
            self.daemon.kill()
            self.daemon.wait()


def main(page: Path, folder: Path, results: Path) -> None:
    """Take all steps of a page; the results are a list of what they have said, as far as it came."""
    folder.mkdir(parents=True)
    walk, said = Walk(folder, dict(os.environ)), []
    try:
        for step in read_page(page.read_text()):
            said.append(walk.take(step))
        walk.end()
    except Exception as error:
        said.append(Said(-1, str(error)))
    finally:
        walk.kill()
    results.with_suffix(".new").write_text(json.dumps(said))
    results.with_suffix(".new").replace(results)
