"""The second half of scripts/demo, once everything is installed and built: start, load, run, stop."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ATLAS = ROOT / "examples/atlas"
sys.path[:0] = [str(ROOT / "tests"), str(ATLAS)]

import load  # noqa: E402
from harness import Gatherd, Mongo, MongoError, Postgres, ServerError, SqlError  # noqa: E402
from harness.server import port_is_free  # noqa: E402

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

TRY = """
gatherd answers on http://127.0.0.1:{port}. Try:

  curl -i http://127.0.0.1:{port}/countries/CH
  curl 'http://127.0.0.1:{port}/search?q=zurich'
  curl -i -H 'Gatherd-Explain: 1' http://127.0.0.1:{port}/stats

Ctrl-C stops it. Its log:
"""


class Stopped(BaseException):
    """A signal asked us to stop."""


def stop(*_) -> None:
    for number in SIGNALS:  # once is enough: what follows is cleaning up
        signal.signal(number, lambda *_: None)
    raise Stopped


def say(text: str) -> None:
    print(text, flush=True)


def run(port: int) -> None:
    say("demo: starting PostgreSQL and MongoDB in scratch folders")
    with Postgres() as postgres, Mongo() as mongo:
        env = {"ATLAS_PG": postgres.create_database("atlas"), "ATLAS_MONGO": mongo.url("atlas")}
        say("demo: loaded " + load.load(env["ATLAS_PG"], env["ATLAS_MONGO"]))
        with Gatherd(ATLAS / "neighbour.yaml", env=env) as neighbour:
            env["NEIGHBOUR"] = f"http://127.0.0.1:{neighbour.port}"
            with Gatherd(ATLAS / "atlas.yaml", env=env, port=port, log_here=True) as gatherd:
                say(TRY.format(port=port))
                gatherd.process.wait()  # for ever, unless it dies


def main() -> int:
    text = os.environ.get("PORT") or "8080"
    if not text.isdecimal() or not 0 < int(text) < 65536:
        print(f"demo: PORT={text} is no port", file=sys.stderr)
        return 64
    port = int(text)
    if not port_is_free(port):
        other = port + 1 if port < 65535 else 8081
        print(f"demo: port {port} of 127.0.0.1 is taken; choose another: make demo PORT={other}", file=sys.stderr)
        return 69
    for number in SIGNALS:
        signal.signal(number, stop)
    try:
        run(port)
    except Stopped:
        say("demo: stopped; the installed packages and build/ stay (make distclean removes build/)")
        return 0
    except (OSError, MongoError, ServerError, SqlError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
