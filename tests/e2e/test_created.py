"""`created`, `Prefer: return=minimal`, and the statuses that functions of PostgreSQL raise."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import pytest
from harness import Gatherd, Postgres
from support import good, problem

DATABASE = "created"

TABLES = """
create table customers (id int primary key generated always as identity, ref text unique, name text not null check (name <> 'nobody'));
create function refuse(code text, message text) returns void language plpgsql as
  $$ begin raise exception using errcode = code, message = message; end $$;
"""

CONFIG = """
sources: { pg: { postgres: "${PG}" } }
endpoints:
  "POST /customers":
    body: { type: object }
    created: "{c.is_new}"
    location: "/customers/{c.id}"
    respond: "{c}"
    gather:
      c:
        from: pg
        expect: one
        sql: |
          insert into customers (ref, name) values ({body.ref}, {body.name})
          on conflict (ref) do update set name = excluded.name returning id, name, xmax = 0 as is_new
  "POST /plain": { location: "/at/{request.method}", respond: 1 }
  "PUT /bare": { body: { type: object }, created: "{body.new}", respond: [ 1 ] }
  "PUT /typed": { headers: { Content-Type: text/plain, Vary: X-Any }, respond: [ 1 ] }
  "PUT /accepted": { status: 202, respond: [ 1 ] }
  "DELETE /gone": { status: 204, respond: 1 }
  "GET /read": { respond: 1 }
  "POST /refuse": { body: { type: object }, gather: { w: { from: pg, sql: "select refuse({body.code}, {body.message})" } } }
"""


@pytest.fixture(scope="module")
def daemon(module_gatherd: Callable[..., Gatherd], postgres: Postgres) -> Gatherd:
    postgres.create_database(DATABASE)
    postgres.sql(TABLES, DATABASE)
    return module_gatherd(CONFIG, postgres=postgres, env={"PG": postgres.url(DATABASE)})


MINIMAL = {"Prefer": "return=minimal"}


def put(daemon: Gatherd, path: str, body: object, headers: dict[str, str] | None = None, method: str = "PUT"):
    return daemon.request(method, path, body=json.dumps(body).encode(), headers={"Content-Type": "application/json"} | (headers or {}))


def test_what_is_new_is_a_201_with_its_location(daemon: Gatherd) -> None:
    reply = daemon.post("/customers", json_body={"ref": "a/b", "name": "Ann"})
    row = good(reply, 201)
    assert row["is_new"] is True and reply.headers["Location"] == f"/customers/{row['id']}"
    again = daemon.post("/customers", json_body={"ref": "a/b", "name": "Anna"})
    assert good(again) == {"id": row["id"], "name": "Anna", "is_new": False}
    assert "Location" not in again.headers
    assert problem(daemon.post("/customers", json_body={"ref": "c", "name": "nobody"}), 422)["outcome"] == "none"
    assert good(put(daemon, "/bare", {"new": [0]}), 201) == [1]
    for falsy in [0, "", [], {}, None, False]:
        assert good(put(daemon, "/bare", {"new": falsy})) == [1]
    assert good(put(daemon, "/bare", {})) == [1]


def test_a_client_that_prefers_it_gets_no_body(daemon: Gatherd) -> None:
    reply = put(daemon, "/customers", {"ref": "minimal", "name": "Ann"}, MINIMAL, "POST")
    assert reply.status == 201 and reply.body == b"" and reply.headers["Content-Length"] == "0"
    assert "Content-Type" not in reply.headers and reply.headers["Location"].startswith("/customers/")
    assert reply.headers["Preference-Applied"] == "return=minimal" and reply.headers["Vary"] == "Prefer"
    reply = put(daemon, "/customers", {"ref": "minimal", "name": "Ann"}, MINIMAL, "POST")
    assert reply.status == 204 and reply.body == b"" and reply.headers["Preference-Applied"] == "return=minimal"
    reply = put(daemon, "/plain", {}, {"Prefer": "respond-async, Return=Minimal; x=1"}, "POST")
    assert reply.status == 201 and reply.body == b"" and reply.headers["Location"] == "/at/POST"
    reply = put(daemon, "/typed", {}, MINIMAL)
    assert reply.status == 204 and sorted(reply.headers.get_all("Vary")) == ["Prefer", "X-Any"]


def test_a_preference_that_changes_nothing_is_not_applied(daemon: Gatherd) -> None:
    reply = put(daemon, "/typed", {}, {"Prefer": "return=representation"})
    assert reply.status == 200 and reply.body == b"[1]" and "Prefer" in reply.headers.get_all("Vary")
    assert "Preference-Applied" not in reply.headers
    for method, path, status in [("PUT", "/accepted", 202), ("DELETE", "/gone", 204), ("GET", "/read", 200)]:
        reply = daemon.request(method, path, headers=MINIMAL)
        assert reply.status == status and "Preference-Applied" not in reply.headers and "Vary" not in reply.headers
    assert problem(put(daemon, "/customers", {"ref": "x", "name": "nobody"}, MINIMAL, "POST"), 422)


@pytest.mark.parametrize(
    "code, status, detail",
    [
        ("P0001", 422, "A rule of the data source refuses it."),
        ("PT402", 402, "Pay first: 3 € are due."),
        ("PT404", 404, "Pay first: 3 € are due."),
        ("PT503", 503, "Pay first: 3 € are due."),
        ("PT399", 500, None),
        ("PT600", 500, None),
        ("PT4XX", 500, None),
    ],
)
def test_a_function_says_the_status(daemon: Gatherd, code: str, status: int, detail: str | None) -> None:
    document = problem(daemon.post("/refuse", json_body={"code": code, "message": "Pay first: 3 € are due."}), status, step="w", code=code)
    assert document.get("detail") == detail and document["outcome"] == "none"


def test_a_long_message_is_cut_between_characters(daemon: Gatherd) -> None:
    for n in range(4):
        message = "x" * n + "€" * 200
        detail = problem(daemon.post("/refuse", json_body={"code": "PT400", "message": message}), 400)["detail"]
        assert message.startswith(detail) and 180 < len(detail.encode()) < 192


def test_check_wants_one_reference(program, tmp_path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text('endpoints:\n  "POST /a": { respond: 1, created: "x{request.id}" }\n  "POST /b": { respond: 1, created: "{x}" }\n')
    done = subprocess.run([program, "check", "-c", path], capture_output=True, text=True)
    assert done.returncode == 78
    assert ":2:37: error: created: expected one reference" in done.stderr and ":3:38: error: {x} refers to nothing" in done.stderr
