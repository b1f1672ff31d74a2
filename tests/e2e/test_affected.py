"""`affected`: how many rows a write must change, or nothing stays changed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest
from harness import Gatherd, Postgres
from support import good, problem

DATABASE = "affected"

TABLES = """
drop schema public cascade; create schema public;
create table wares (id int primary key, kind text not null, n int not null);
insert into wares select i, case i when 1 then 'single' else 'triple' end, 0 from generate_series(1, 4) i;
create function bump(k text) returns setof int language sql volatile as 'update wares set n = n + 1 where kind = k returning id';
"""

CONFIG = """
sources: {{ pg: {{ postgres: "${{PG}}", prepare: {prepare}, pool: {{ size: 2 }} }} }}
endpoints:
  "POST /one": {{ body: {{}}, gather: {{ w: {{ from: pg, affected: 1, sql: "update wares set n = n + 1 where kind = {{body.kind}}" }} }} }}
  "POST /rows": {{ body: {{}}, gather: {{ w: {{ from: pg, affected: 1, sql: "update wares set n = n + 1 where kind = {{body.kind}} returning n" }} }} }}
  "POST /both": {{ body: {{}}, gather: {{ w: {{ from: pg, affected: 1, expect: one, sql: "update wares set n = n + 1 where kind = {{body.kind}} returning n" }} }} }}
  "POST /two": {{ body: {{}}, gather: {{ w: {{ from: pg, affected: {{ max: 2 }}, sql: "update wares set n = n + 1 where kind = {{body.kind}}" }} }} }}
  "POST /some": {{ body: {{}}, gather: {{ w: {{ from: pg, affected: {{ min: 1 }}, sql: "update wares set n = n + 1 where kind = {{body.kind}}" }} }} }}
  "POST /said": {{ body: {{}}, gather: {{ w: {{ from: pg, affected: "{{body.n}}", sql: "update wares set n = n + 1 where kind = {{body.kind}}" }} }} }}
  "POST /found":
    body: {{}}
    gather:
      c: {{ from: pg, expect: value, sql: "select count(*) from wares where kind = {{body.kind}}" }}
      w: {{ from: pg, affected: "{{c}}", sql: "update wares set n = n + 1 where kind = {{body.kind}}" }}
  "POST /called": {{ body: {{}}, gather: {{ w: {{ from: pg, affected: 1, sql: "select * from bump({{body.kind}})" }} }} }}
  "GET /written/{{kind}}": {{ gather: {{ w: {{ from: pg, write: true, affected: 1, sql: "update wares set n = n + 1 where kind = {{kind}}" }} }} }}
  "DELETE /wares/{{id}}": {{ parameters: {{ id: {{ type: integer }} }}, status: 204, gather: {{ w: {{ from: pg, affected: 1, sql: "delete from wares where id = {{id}}" }} }} }}
"""


@pytest.fixture(scope="module")
def server(postgres: Postgres) -> Postgres:
    if postgres.sql(f"select count(*) from pg_database where datname = '{DATABASE}'") == "0":
        postgres.create_database(DATABASE)
    return postgres


@pytest.fixture
def tables(server: Postgres) -> Iterator[Postgres]:
    server.sql(TABLES, DATABASE)
    yield server


def counts(server: Postgres) -> list[int]:
    return [int(line) for line in server.sql("select n from wares order by id", DATABASE).split()]


@pytest.mark.parametrize("prepare", ["true", "false"])
def test_a_write_that_changes_more_or_less_changes_nothing(gatherd: Callable[..., Gatherd], tables: Postgres, prepare: str) -> None:
    daemon = gatherd(CONFIG.format(prepare=prepare), postgres=tables, env={"PG": tables.url(DATABASE)})

    def post(path: str, kind: str, **more: object):
        return daemon.post(path, json_body={"kind": kind, **more})

    for _ in range(2):  # unlearned, then learned
        for path in ["/one", "/rows", "/both", "/two", "/called"]:
            document = problem(post(path, "triple"), 409, step="w")
            assert document["outcome"] == "none" and document["detail"] == "More or less would be changed than may be."
            assert counts(tables) == [0, 0, 0, 0], path
        for path in ["/one", "/rows", "/both", "/some", "/called"]:
            document = problem(post(path, "none"), 404, step="w")
            assert document["outcome"] == "none" and document["detail"] == "There is nothing here that could be changed."
        problem(post("/said", "triple", n=2), 409)
        problem(post("/said", "none", n=1), 404)
        problem(daemon.get("/written/triple"), 409)
    assert good(post("/two", "none")) == {"w": {"changed": 0}}
    assert good(post("/said", "none", n=0)) == {"w": {"changed": 0}}
    assert counts(tables) == [0, 0, 0, 0]
    assert good(post("/one", "single")) == {"w": {"changed": 1}}
    assert good(post("/rows", "single")) == {"w": [{"n": 2}]}
    assert good(post("/both", "single")) == {"w": {"n": 3}}
    assert good(post("/two", "single")) == {"w": {"changed": 1}}
    assert good(post("/some", "triple")) == {"w": {"changed": 3}}
    assert good(post("/said", "triple", n=3)) == {"w": {"changed": 3}}
    assert good(post("/found", "triple"))["w"] == {"changed": 3}
    assert good(post("/called", "single"))["w"] == [{"bump": 1}]
    assert good(daemon.get("/written/single")) == {"w": {"changed": 1}}
    assert counts(tables) == [6, 3, 3, 3]
    assert daemon.request("DELETE", "/wares/1").status == 204
    assert problem(daemon.request("DELETE", "/wares/1"), 404)["outcome"] == "none"


def test_a_bound_that_is_no_count_is_the_request_s_fault(gatherd: Callable[..., Gatherd], tables: Postgres) -> None:
    daemon = gatherd(CONFIG.format(prepare="true"), postgres=tables, env={"PG": tables.url(DATABASE)})
    for n in [-1, "1", None, [1], {}, 1.5, 10**30, True]:
        document = problem(daemon.post("/said", json_body={"kind": "single", "n": n}), 400, step="w")
        assert document["detail"] == "{body.n} is not an integer of 0 or more." and document["outcome"] == "none"
    assert counts(tables) == [0, 0, 0, 0]


def test_check_knows_what_can_t_be_counted(program, tmp_path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        """\
sources: { pg: { postgres: "postgresql://u@127.0.0.1/test" } }
endpoints:
  "GET /a": { gather: { s: { from: pg, affected: 1, sql: "select 1" } } }
  "POST /b": { gather: { s: { from: pg, affected: 1, sql: "select 1" } } }
  "POST /c": { gather: { s: { from: pg, affected: 1, sql: "call p()" } } }
  "POST /d": { gather: { s: { from: pg, affected: "{x}", sql: "delete from t" } } }
  "POST /e": { gather: { s: { from: pg, affected: "{body.a}{body.b}", sql: "delete from t" } } }
  "POST /f": { gather: { s: { from: pg, affected: "{s.n}", sql: "delete from t" } } }
"""
    )
    done = subprocess.run([program, "check", "-c", path], capture_output=True, text=True)
    assert done.returncode == 78
    said = [line.split("c.yaml:")[1] for line in done.stderr.splitlines() if "c.yaml:" in line]
    for line, column, text in [
        (3, 50, "affected: the statement changes nothing"),
        (4, 51, "affected: the statement changes nothing"),
        (5, 51, "affected: the server does not count what `call` changes"),
        (6, 51, "{x} refers to nothing"),
        (7, 51, "affected: expected one reference"),
        (8, 51, "{s.n}: a step can't refer to itself"),
    ]:
        assert any(entry.startswith(f"{line}:") and text in entry for entry in said), (line, text, said)
