"""docs/cookbook.md is run as it stands, but for where its sources are: each recipe's configuration by a daemon, its
requests in their order, and what they answer is compared with what the recipe shows.

A recipe is a chapter with a ```yaml block, perhaps a ```sql block that is run before, and requests: a ```sh block that
is one curl, then its answer. Without -i that is a ```json or ```text block, the body. With -i it is a ```http block:
the status line, the headers that matter, an empty line, and (where it is shown) the body.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import shlex
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest
from harness import Gatherd, Postgres, Response

COOKBOOK = Path(__file__).resolve().parents[2] / "docs/cookbook.md"
RECIPES = 18

FILES = {
    "terms/JPY.txt": "Payment within 30 days.\n",
    "prices/2024.json": '{ "EUR": 9.90,\n  "JPY": 1580 }\n',
    "alphabet.txt": "abcdefghijklmnopqrstuvwxyz",
}


# -- reading the cookbook --


class Exchange(NamedTuple):
    curl: list[str]
    language: str
    answer: str


class Recipe(NamedTuple):
    title: str
    config: str
    sql: str
    exchanges: list[Exchange]


def read_recipe(chapter: str) -> Recipe:
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", chapter, re.MULTILINE | re.DOTALL)
    of = {language: text for language, text in reversed(blocks)}
    exchanges = [
        Exchange(shlex.split(request), language, answer)
        for (kind, request), (language, answer) in zip(blocks, blocks[1:])
        if kind == "sh"
    ]
    return Recipe(chapter.splitlines()[0], of["yaml"], of.get("sql", ""), exchanges)


def recipes() -> list[Recipe]:
    chapters = re.split(r"^## (?=\d+\. )", COOKBOOK.read_text(), flags=re.MULTILINE)[1:]
    return [read_recipe(chapter) for chapter in chapters]


# -- the services that recipes call --


class Service(http.server.BaseHTTPRequestHandler):
    """rates.example: not there at the first call for a currency, and it knows no dollars. slow.example: no answer for a second."""

    asked: set[str] = set()

    def do_GET(self) -> None:
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        if path == "/slow/customers/7":
            time.sleep(1)
        base = query.get("base", [""])[0]
        again = base in self.asked
        self.asked.add(base)
        if self.headers["Authorization"] != "Bearer of good tidings":
            self.reply(401, {})
        elif path != "/api/latest" or base == "USD":
            self.reply(404, {})
        elif not again:
            self.reply(503, {})
        else:
            self.reply(200, {"base": base, "rates": {"EUR": 0.0061, "USD": 0.0066}})

    def reply(self, status: int, document: Any) -> None:
        body = json.dumps(document).encode()
        with contextlib.suppress(ConnectionError):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def services() -> Iterator[str]:
    Service.asked.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


# -- running a recipe --


def at_home(config: str, services: str) -> str:
    """The configuration with our sources for the recipe's, and our port for its."""
    config = re.sub(r'"postgresql://[^"]*"', '"${PG}"', config)
    config = re.sub(r'"mongodb://[^"]*"', '"${MONGO}"', config)
    config = re.sub(r'"https://rates\.example/', f'"{services}/', config)
    config = re.sub(r'"https://slow\.example"', f'"{services}/slow"', config)
    config = config.replace("/srv/papers", '"${FOLDER}/papers"')
    assert "example" not in config and "/srv" not in config
    return re.sub(r"^server:\n", 'server:\n  listen: "127.0.0.1:${PORT}"\n', config, flags=re.MULTILINE)


def send(daemon: Gatherd, curl: list[str]) -> Response:
    """The request that a line with curl makes; it has the options that the recipes use."""
    assert curl.pop(0) == "curl"
    method, headers, body, url = None, {}, None, None
    while curl:
        word = curl.pop(0)
        if word in ("-X", "--request"):
            method = curl.pop(0)
        elif word in ("-H", "--header"):
            name, _, value = curl.pop(0).partition(": ")
            headers[name] = value
        elif word in ("-d", "--data"):
            body = curl.pop(0)
        elif word == "--json":
            body = curl.pop(0)
            headers["Content-Type"] = "application/json"
        elif word != "-i":
            assert url is None and word.startswith("localhost:8080/"), word
            url = word.removeprefix("localhost:8080")
    assert url
    if body is not None:
        headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
    return daemon.request(method or ("POST" if body is not None else "GET"), url, headers=headers, body=body)


def without_instance(document: Any) -> Any:
    """A problem's `instance` is the request's own."""
    if isinstance(document, dict):
        return {key: value for key, value in document.items() if key != "instance"}
    return document


def same_body(shown: str, reply: Response) -> None:
    if "json" in reply.headers["Content-Type"]:
        assert without_instance(reply.json()) == without_instance(json.loads(shown))
    else:
        assert reply.text == shown.removesuffix("\n") or reply.text == shown


# Headers that tell the time, and what of them does.
TIMES = {"age": r"\d+", "retry-after": r"\d+", "ratelimit": r"(?<=t=)\d+", "server-timing": r"\d+\.\d+"}


def same_header(name: str, shown: str, value: str) -> None:
    if moving := TIMES.get(name):
        shown, value = re.sub(moving, "#", shown), re.sub(moving, "#", value)
    assert value == shown, name


def compare(exchange: Exchange, reply: Response) -> None:
    if exchange.language != "http":
        same_body(exchange.answer, reply)
        return
    head, _, body = exchange.answer.partition("\n\n")
    status, *headers = head.rstrip("\n").splitlines()
    assert status.split(" ")[:2] == ["HTTP/1.1", str(reply.status)], reply.text
    for line in headers:
        name, _, value = line.partition(": ")
        assert name in reply.headers, name
        same_header(name, value, reply.headers[name])
    if body:
        same_body(body, reply)


def test_the_cookbook_has_its_recipes():
    found = recipes()
    assert [recipe.title.partition(".")[0] for recipe in found] == [str(n + 1) for n in range(RECIPES)]
    assert all(recipe.exchanges for recipe in found)


@pytest.mark.parametrize("recipe", recipes(), ids=lambda recipe: recipe.title)
def test_recipe(recipe: Recipe, gatherd, postgres: Postgres, services: str):
    for table in re.findall(r"^create table (\w+)", recipe.sql, re.MULTILINE):
        postgres.sql(f"drop table if exists {table}", "test")
    if recipe.sql:
        postgres.sql(recipe.sql, "test")
    daemon = gatherd(
        at_home(recipe.config, services),
        env={"RATES_TOKEN": "Bearer of good tidings"},
        files={f"papers/{name}": content for name, content in FILES.items()},
    )
    for exchange in recipe.exchanges:
        compare(exchange, send(daemon, list(exchange.curl)))
