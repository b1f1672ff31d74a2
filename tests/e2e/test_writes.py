"""A write's reply says what happened: with `expect`, when an answer is lost, when one of several writes fails."""

from __future__ import annotations

import itertools
import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
from harness import CuttingProxy, Gatherd, Postgres
from harness.upstream import Upstream, hangs, resets, says
from support import good, in_background, problem, running_statements, soon, wait_for

PREPARE = ["true", "false"]

CONFIG = """
sources:
  pg: {{ postgres: "${{PG}}", prepare: {prepare}, pool: {{ size: 2 }} }}
endpoints:
  "POST /one":   {{ body: {{}}, gather: {{ w: {{ from: pg, expect: one, sql: "update wares set n = n + 1 where kind = {{body.kind}} returning id, n" }} }} }}
  "POST /maybe": {{ body: {{}}, gather: {{ w: {{ from: pg, expect: maybe, sql: "update wares set n = n + 1 where kind = {{body.kind}} returning id, n" }} }} }}
  "POST /value": {{ body: {{}}, gather: {{ w: {{ from: pg, expect: value, sql: "update wares set n = n + 1 where kind = {{body.kind}} returning n" }} }} }}
  "POST /two-columns": {{ body: {{}}, gather: {{ w: {{ from: pg, expect: value, sql: "update wares set n = n + 1 where kind = {{body.kind}} returning id, n" }} }} }}
  "POST /cte":   {{ body: {{}}, gather: {{ w: {{ from: pg, expect: one, sql: "with w as (update wares set n = n + 1 where kind = {{body.kind}} returning id, n) select * from w" }} }} }}
  "POST /called": {{ body: {{}}, gather: {{ w: {{ from: pg, expect: one, sql: "select * from raise({{body.kind}})" }} }} }}
  "POST /viewed": {{ body: {{}}, gather: {{ w: {{ from: pg, expect: one, sql: "select * from raised" }} }} }}
  "GET /one/{{kind}}": {{ gather: {{ w: {{ from: pg, write: true, expect: one, sql: "update wares set n = n + 1 where kind = {{kind}} returning id, n" }} }} }}
  "POST /record": {{ body: {{}}, gather: {{ w: {{ from: pg, expect: one, sql: "update wares set n = n + 1 where kind = {{body.kind}} returning id, n, place" }} }} }}
  "POST /many":  {{ body: {{}}, gather: {{ w: {{ from: pg, sql: "update wares set n = n + 1 where kind = {{body.kind}} returning id, n" }} }} }}
  "POST /count": {{ body: {{}}, gather: {{ w: {{ from: pg, sql: "update wares set n = n + 1 where kind = {{body.kind}}" }} }} }}
  "POST /count-one": {{ body: {{}}, gather: {{ w: {{ from: pg, expect: one, sql: "update wares set n = n + 1 where kind = {{body.kind}}" }} }} }}
  "POST /count-maybe": {{ body: {{}}, gather: {{ w: {{ from: pg, expect: maybe, sql: "update wares set n = n + 1 where kind = {{body.kind}}" }} }} }}
  "POST /count-value": {{ body: {{}}, gather: {{ w: {{ from: pg, expect: value, sql: "update wares set n = n + 1 where kind = {{body.kind}}" }} }} }}
  "POST /counted": {{ body: {{}}, respond: {{ n: "{{w.changed}}" }}, gather: {{ w: {{ from: pg, sql: "delete from doomed" }} }} }}
  "POST /do": {{ gather: {{ w: {{ from: pg, expect: one, sql: "do 'begin perform 1; end'" }} }} }}
  "POST /upsert": {{ body: {{ type: array }}, gather: {{ w: {{ from: pg, sql: "insert into wares (id, kind, n) select id, 'up', n from jsonb_to_recordset({{body}}) as x(id int, n int) on conflict (id) do update set n = excluded.n" }} }} }}
  "POST /deferred": {{ gather: {{ w: {{ from: pg, expect: one, sql: "insert into parts values (1, 999999) returning id" }} }} }}
"""

TABLES = """
drop schema public cascade; create schema public;
create type spot as (x int, y int);
create table wares (id int primary key, kind text not null, n int not null, place spot);
insert into wares select i, case i when 1 then 'single' else 'double' end, 0, row(1, 2)::spot from generate_series(1, 3) i;
create table doomed (id int); insert into doomed select generate_series(1, 4);
create table parts (id int, ware int references wares deferrable initially deferred);
create or replace function raise(k text) returns table (id int, n int) language sql volatile as
  'update wares set n = n + 1 where kind = k returning id, n';
create view raised as select * from raise('double');
"""


DATABASE = "writes"


def _load(server: Postgres) -> Postgres:
    if server.sql(f"select count(*) from pg_database where datname = '{DATABASE}'") == "0":
        server.create_database(DATABASE)
    server.sql(TABLES, DATABASE)
    return server


@pytest.fixture
def tables(postgres: Postgres) -> Postgres:
    return _load(postgres)


@pytest.fixture
def private_tables(private_postgres: Postgres) -> Postgres:
    return _load(private_postgres)


def start(gatherd: Callable[..., Gatherd], config: str, server: Postgres, **options) -> Gatherd:
    return gatherd(config, postgres=server, env={"PG": server.url(DATABASE)} | options.pop("env", {}), **options)


def counts(server: Postgres) -> list[int]:
    return [int(line) for line in server.sql("select n from wares where id <= 3 order by id", DATABASE).split()]


def post(daemon: Gatherd, path: str, kind: str = "double"):
    return daemon.post(path, json_body={"kind": kind})


def flushes(proxy: CuttingProxy, ask: Callable[[], object], expected: int) -> int:
    """Of one request; the fewest, as now and then the session is reset behind it, or that is looked into."""
    fewest, end = 1000, time.monotonic() + 60
    for n in itertools.count():
        before = proxy.syncs
        ask()
        fewest = min(fewest, proxy.syncs - before)
        if n >= 5 and (fewest <= expected or time.monotonic() > end):
            return fewest
    return fewest


# -- expect --


@pytest.mark.parametrize("prepare", PREPARE)
def test_a_write_that_is_not_as_expected_is_rolled_back(gatherd: Callable[..., Gatherd], tables: Postgres, prepare: str) -> None:
    daemon = start(gatherd, CONFIG.format(prepare=prepare), tables)
    for round in range(2):  # unlearned, then learned
        for path in ["/one", "/maybe", "/value", "/cte", "/called", "/viewed", "/record", "/count-one", "/count-maybe"]:
            document = problem(post(daemon, path), 500, step="w")
            assert document["outcome"] == "none", path
            assert counts(tables) == [0, 0, 0], path
        assert problem(post(daemon, "/two-columns", "single"), 500)["outcome"] == "none"
        problem(daemon.get("/one/double"), 500, step="w")
        for path in ["/one", "/cte", "/called", "/record", "/count-one"]:
            assert problem(post(daemon, path, "none"), 404)["outcome"] == "none"
        assert counts(tables) == [0, 0, 0]
    assert good(post(daemon, "/one", "single")) == {"w": {"id": 1, "n": 1}}
    assert good(post(daemon, "/maybe", "single")) == {"w": {"id": 1, "n": 2}}
    assert good(post(daemon, "/value", "single")) == {"w": 3}
    assert good(daemon.get("/one/single")) == {"w": {"id": 1, "n": 4}}
    assert good(post(daemon, "/record", "single"))["w"] == {"id": 1, "n": 5, "place": {"x": 1, "y": 2}}
    assert good(post(daemon, "/maybe", "none")) == {"w": None}
    assert len(good(post(daemon, "/many"))["w"]) == 2
    assert counts(tables) == [5, 1, 1]
    assert tables.sql(f"select count(*) from pg_stat_activity where datname = '{DATABASE}' and state like 'idle in transaction%'") == "0"


@pytest.mark.parametrize("prepare", PREPARE)
def test_statements_without_columns_say_how_many_rows_they_changed(gatherd: Callable[..., Gatherd], tables: Postgres, prepare: str) -> None:
    daemon = start(gatherd, CONFIG.format(prepare=prepare), tables)
    assert good(post(daemon, "/count")) == {"w": {"changed": 2}}
    assert good(post(daemon, "/count", "none")) == {"w": {"changed": 0}}
    assert good(post(daemon, "/count-one", "single")) == {"w": {"changed": 1}}
    assert good(post(daemon, "/count-maybe", "none")) == {"w": {"changed": 0}}
    assert good(post(daemon, "/count-value")) == {"w": 2}
    assert good(post(daemon, "/counted")) == {"n": 4}
    assert good(daemon.post("/do")) == {"w": {"changed": 0}}


def test_a_key_twice_in_an_upsert_is_the_data_s_fault(gatherd: Callable[..., Gatherd], tables: Postgres) -> None:
    daemon = start(gatherd, CONFIG.format(prepare="true"), tables)
    document = problem(daemon.post("/upsert", json_body=[{"id": 7, "n": 1}, {"id": 7, "n": 2}]), 422, code="21000")
    assert document["outcome"] == "none"
    assert good(daemon.post("/upsert", json_body=[{"id": 7, "n": 1}, {"id": 1, "n": 9}])) == {"w": {"changed": 2}}


def test_what_fails_at_commit_is_known_to_have_failed(gatherd: Callable[..., Gatherd], tables: Postgres) -> None:
    daemon = start(gatherd, CONFIG.format(prepare="true"), tables)
    assert problem(daemon.post("/deferred"), 409, code="23503")["outcome"] == "none"
    assert tables.sql("select count(*) from parts", DATABASE) == "0"


def test_statements_without_a_check_leave_in_one_flush(gatherd: Callable[..., Gatherd], tables: Postgres) -> None:
    """Seen from the server: COMMIT has come before the statement was answered."""
    with CuttingProxy(tables) as proxy:
        daemon = start(gatherd, CONFIG.format(prepare="true").replace("size: 2", "size: 1"), tables, env={"PG": proxy.url(DATABASE)})

        assert good(post(daemon, "/count", "single")) == {"w": {"changed": 1}}
        assert flushes(proxy, lambda: good(post(daemon, "/count", "single")), 1) == 1
        assert flushes(proxy, lambda: good(post(daemon, "/one", "single")), 2) == 2


# -- one row at most: no look is needed --

SINGLE_TABLES = """
create table keyed (id bigint primary key, name varchar(20) unique, a int, b text, late int unique deferrable, part int, n int not null default 0, unique (a, b));
create unique index on keyed (part) where id > 1000;
create unique index on keyed ((a + late));
insert into keyed select i, 'name ' || i, 1, 'b' || i, i, 7, 0 from generate_series(1, 2) i;
create table mother (id int primary key, n int not null); create table daughter () inherits (mother);
insert into mother values (1, 0); insert into daughter values (1, 0);
create table parted (id int primary key, n int not null) partition by range (id);
create table parted_1 partition of parted for values from (0) to (10);
insert into parted values (1, 0);
create table numbered (id int generated always as identity, what text);
create table guarded (id int primary key, what text);
create table traces (what text);
create function swallow() returns trigger language plpgsql as $$ begin insert into traces values (new.what); return null; end $$;
create trigger swallow before insert on guarded for each row execute function swallow();
"""

SINGLE = {
    # One row at most.
    "insert": ("insert into numbered (what) values ({body.kind}) returning id, what", 1),
    "upsert": ("insert into keyed as k (id, name) values (1, {body.kind}) on conflict (id) do update set n = k.n + 1 returning n", 1),
    "id": ("update keyed set n = n + 1 where id = {body.id} returning n", 1),
    "quoted": ("""update public."keyed" as k set n = n + 1 where k."id" = {body.id} and n < 100000 -- by its key\n returning n""", 1),
    "name": ("update keyed set n = n + 1 where name = {body.name} returning n", 1),
    "both": ("update keyed set n = n + 1 where b = {body.b} and a = 1 returning n", 1),
    "parted": ("update parted set n = n + 1 where id = {body.id} returning n", 1),
    "only": ("update only mother set n = n + 1 where id = {body.id} returning n", 1),
    # It may be more.
    "part": ("update keyed set n = n + 0 where part = {body.part} and id < 2 returning n", 2),
    "half": ("update keyed set n = n + 1 where a = {body.id} and name = 'name 1' or id = 1 returning n", 2),
    "late": ("update keyed set n = n + 1 where late = {body.id} returning n", 2),
    "mother": ("update mother set n = n + 1 where id = {body.id} and tableoid = 'mother'::regclass returning n", 2),
    "double": ("update keyed set n = n + 1 where id = {body.id}::float8 returning n", 2),
    "values": ("insert into numbered (what) values (unnest(string_to_array({body.kind}, ' '))) returning id", 2),
    "from": ("update keyed set n = keyed.n + 1 from parted where keyed.id = {body.id} and parted.id = 1 returning keyed.n", 2),
}
SINGLE_BODY = {"kind": "single", "id": 1, "name": "name 1", "b": "b1", "part": 7}

MANY = {  # each meets two rows
    "part": "update keyed set n = n - 1 where part = {body.part} returning n",
    "a": "update keyed set n = n - 1 where a = {body.id} returning n",
    "or": "update keyed set n = n - 1 where id = {body.id} or id = 2 returning n",
    "between": "update keyed set n = n - 1 where n between -1 and 0 and id in ({body.id}, 2) returning n",
    "mother": "update mother set n = n - 1 where id = {body.id} returning n",
    "sets": "insert into numbered (what) values (regexp_split_to_table('a ' || {body.kind}, ' ')) returning id",
    "rows": "insert into numbered (what) values ({body.kind}), ('b') returning id",
    "select": "insert into numbered (what) select {body.kind} from keyed where id <= 2 returning id",
}


def _step_lines(statements: dict[str, str], wanted: str = "expect: one") -> str:
    step = '  "POST /{}": {{ body: {{ type: object }}, gather: {{ w: {{ from: pg, {}, sql: {} }} }} }}\n'
    return "".join(step.format(name, wanted, json.dumps(sql)) for name, sql in statements.items())


SINGLE_SOURCES = 'sources: { pg: { postgres: "${PG}", pool: { size: 1, acquire_timeout: 20s } } }\nendpoints:\n'


def test_what_changes_one_row_at_most_commits_in_its_flush(gatherd: Callable[..., Gatherd], tables: Postgres) -> None:
    tables.sql(SINGLE_TABLES, DATABASE)
    with CuttingProxy(tables) as proxy:
        config = SINGLE_SOURCES + _step_lines({name: sql for name, (sql, _) in SINGLE.items()})
        config += _step_lines({"counted": SINGLE["id"][0]}, "affected: 1")
        daemon = start(gatherd, config, tables, env={"PG": proxy.url(DATABASE)})
        for name, (_, expected) in (SINGLE | {"counted": ("", 1)}).items():
            assert flushes(proxy, lambda name=name: good(daemon.post(f"/{name}", json_body=SINGLE_BODY)), expected) == expected, name


def test_two_rows_are_rolled_back_however_well_the_statement_is_known(gatherd: Callable[..., Gatherd], tables: Postgres) -> None:
    tables.sql(SINGLE_TABLES, DATABASE)
    daemon = start(gatherd, SINGLE_SOURCES + _step_lines(MANY), tables)
    everything = "select (select sum(n) from keyed), (select sum(n) from mother), (select count(*) from numbered)"
    before = tables.sql(everything, DATABASE)
    for name in MANY:
        for _ in range(5):
            document = problem(daemon.post(f"/{name}", json_body=SINGLE_BODY), 500, step="w")
            assert document["outcome"] == "none", name
        assert tables.sql(everything, DATABASE) == before, name


def test_one_row_is_rolled_back_where_two_must_change(gatherd: Callable[..., Gatherd], tables: Postgres) -> None:
    tables.sql(SINGLE_TABLES, DATABASE)
    daemon = start(gatherd, SINGLE_SOURCES + _step_lines({"id": SINGLE["id"][0]}, "affected: { min: 2 }"), tables)
    for _ in range(5):
        assert problem(daemon.post("/id", json_body=SINGLE_BODY), 409, step="w")["outcome"] == "none"
    assert tables.sql("select sum(n) from keyed", DATABASE) == "0"


def test_what_a_trigger_did_for_a_row_that_is_not_there_is_rolled_back(gatherd: Callable[..., Gatherd], tables: Postgres) -> None:
    tables.sql(SINGLE_TABLES, DATABASE)
    daemon = start(gatherd, SINGLE_SOURCES + _step_lines({"guarded": "insert into guarded values ({body.id}, {body.kind}) returning id"}), tables)
    for _ in range(5):  # in doubt, then known
        assert problem(daemon.post("/guarded", json_body=SINGLE_BODY), 404, step="w")["outcome"] == "none"
    assert tables.sql("select count(*) from traces", DATABASE) == "0"


def test_a_key_that_goes_is_missed_soon_and_never_hidden(gatherd: Callable[..., Gatherd], tables: Postgres) -> None:
    tables.sql(SINGLE_TABLES, DATABASE)
    daemon = start(gatherd, SINGLE_SOURCES + _step_lines({"id": SINGLE["id"][0]}), tables)
    for _ in range(4):
        good(daemon.post("/id", json_body=SINGLE_BODY))
    tables.sql("alter table keyed drop constraint keyed_pkey; insert into keyed (id) values (1); update keyed set n = 0", DATABASE)

    def rolled_back() -> bool:
        before = tables.sql("select sum(n) from keyed", DATABASE)
        document = problem(daemon.post("/id", json_body=SINGLE_BODY), 500, step="w")
        changed = int(tables.sql("select sum(n) from keyed", DATABASE)) - int(before)
        assert (changed, document["outcome"]) in [(0, "none"), (2, "partial")]
        return changed == 0

    wait_for(rolled_back, 60)


# -- an answer that is lost --

LOST = """
sources:
  pg: { postgres: "${PG}", pool: { size: 2, acquire_timeout: 10s }, timeout: 1s }
endpoints:
  "POST /count": { gather: { w: { from: pg, sql: "update wares set n = n + 1 where id = 1" } } }
  "POST /one": { gather: { w: { from: pg, expect: one, sql: "update wares set n = n + 1 where kind = 'single' returning n" } } }
  "POST /called": { gather: { w: { from: pg, sql: "select * from raise('single')" } } }
  "GET /count": { gather: { w: { from: pg, write: true, sql: "update wares set n = n + 1 where id = 1" } } }
  "GET /read": { gather: { r: { from: pg, sql: "select n from wares where id = 1", expect: value } } }
"""


@pytest.fixture
def lossy(gatherd: Callable[..., Gatherd], tables: Postgres) -> Iterator[tuple[Gatherd, CuttingProxy, Postgres]]:
    with CuttingProxy(tables) as proxy:
        daemon = start(gatherd, LOST, tables, env={"PG": proxy.url(DATABASE)})
        for path in ["/count", "/one", "/called"]:  # they are known from here on
            good(daemon.post(path))
        tables.sql("update wares set n = 0", DATABASE)
        yield daemon, proxy, tables


@pytest.mark.parametrize("silent", [False, True], ids=["cut", "silent"])
@pytest.mark.parametrize(
    "method, path, tag",
    [("POST", "/count", "UPDATE"), ("POST", "/count", "COMMIT"), ("POST", "/called", "COMMIT"), ("POST", "/one", "COMMIT"), ("GET", "/count", "COMMIT")],
)
def test_a_lost_answer_leaves_the_outcome_unknown(lossy: tuple[Gatherd, CuttingProxy, Postgres], method: str, path: str, tag: str, silent: bool) -> None:
    daemon, proxy, tables = lossy
    proxy.lose(tag.encode(), silent=silent)
    document = problem(daemon.request(method, path), 504 if silent else 502, step="w")
    assert document["outcome"] == "unknown"
    assert "may or may not have been made" in document["detail"]
    assert proxy.lost.is_set()
    assert counts(tables)[0] == 1  # once
    assert good(soon(lambda: daemon.get("/read"))) == {"r": 1}


@pytest.mark.parametrize("silent", [False, True], ids=["cut", "silent"])
def test_a_checked_write_that_is_lost_before_commit_has_not_happened(lossy: tuple[Gatherd, CuttingProxy, Postgres], silent: bool) -> None:
    daemon, proxy, tables = lossy
    proxy.lose(b"UPDATE", silent=silent)
    document = problem(daemon.post("/one"), 504 if silent else 502, step="w")
    assert document["outcome"] == "none"
    assert "may or may not" not in document["detail"]
    assert counts(tables)[0] == 0


def test_reads_say_nothing_of_changes(lossy: tuple[Gatherd, CuttingProxy, Postgres]) -> None:
    daemon, proxy, _ = lossy
    for _ in range(4):  # then it is known that the session needs no reset behind it, whose SELECT would be the lost one
        good(daemon.get("/read"))
    proxy.lose(b"SELECT", silent=True)
    document = problem(daemon.get("/read"), 504)
    assert "outcome" not in document and "may or may not" not in document["detail"]


def test_a_write_that_is_late_is_cancelled_and_known(gatherd: Callable[..., Gatherd], tables: Postgres) -> None:
    daemon = start(
        gatherd,
        """
        sources: { pg: { postgres: "${PG}" } }
        endpoints:
          "POST /late": { gather: { w: { from: pg, timeout: 300ms, sql: "update wares set n = n + 1 from pg_sleep(60) where id = 1" } } }
        """,
        tables,
    )
    for _ in range(2):
        document = problem(daemon.post("/late"), 504, step="w", code="57014")
        assert document["outcome"] == "none"
    assert counts(tables)[0] == 0


def test_a_server_that_is_killed_at_work_leaves_it_unknown(gatherd: Callable[..., Gatherd], private_tables: Postgres) -> None:
    daemon = start(
        gatherd,
        """
        sources: { pg: { postgres: "${PG}" } }
        endpoints:
          "POST /slow": { gather: { w: { from: pg, sql: "update wares set n = n + 1 from pg_sleep(30) where id = 1" } } }
        """,
        private_tables,
    )
    late = in_background(lambda: daemon.post("/slow"))
    wait_for(lambda: running_statements(private_tables, "pg_sleep(30)"), 20)
    private_tables.kill()
    assert problem(late.result(), 502)["outcome"] == "unknown"


def test_what_was_never_sent_has_not_happened(gatherd: Callable[..., Gatherd], private_tables: Postgres) -> None:
    daemon = start(
        gatherd,
        """
        sources: { pg: { postgres: "${PG}", pool: { size: 1, acquire_timeout: 200ms } } }
        endpoints:
          "POST /count": { gather: { w: { from: pg, sql: "update wares set n = n + 1 where id = 1" } } }
          "POST /params": { parameters: { n: { type: integer } }, gather: { w: { from: pg, sql: "update wares set n = {n} where id = 1" } } }
        """,
        private_tables,
    )
    good(daemon.post("/count"))
    assert problem(daemon.post("/params", json_body={"n": "x"}), 400)["outcome"] == "none"
    assert problem(daemon.post("/nowhere"), 404)["outcome"] == "none"
    assert problem(daemon.request("PUT", "/count"), 405)["outcome"] == "none"
    assert "outcome" not in problem(daemon.get("/nowhere"), 404)
    private_tables.stop()
    document = problem(soon(lambda: daemon.post("/count"), lambda reply: reply.status == 503), 503)
    assert document["outcome"] == "none"


# -- several writes --

SEVERAL = """
sources: { pg: { postgres: "${PG}" } }
endpoints:
  "POST /both":
    gather:
      a: { from: pg, sql: "update wares set n = n + 1 where id = 1" }
      b: { from: pg, when: "{a.changed}", sql: "insert into wares values (1, 'again', 0)" }
  "POST /looked-up":
    gather:
      a: { from: pg, sql: "select id from wares where id = 1", expect: value }
      b: { from: pg, sql: "insert into wares values ({a}, 'again', 0)" }
  "POST /after":
    gather:
      a: { from: pg, sql: "select raise('single')" }
      b: { from: pg, sql: "select 1 / count(*) from wares where id = {a[0].none}" }
  "POST /replaced":
    gather:
      a: { from: pg, sql: "update wares set n = n + 1 where id = 1" }
      b: { from: pg, when: "{a.changed}", on_error: null, sql: "insert into wares values (1, 'again', 0)" }
  "POST /header":
    headers: { X-A: "{a.v}" }
    gather: { a: { from: pg, sql: "update wares set n = n + 1 where id = 1 returning chr(10) as v", expect: one } }
"""


def test_of_several_writes_the_problem_names_those_that_stay(gatherd: Callable[..., Gatherd], tables: Postgres) -> None:
    daemon = start(gatherd, SEVERAL, tables)
    document = problem(daemon.post("/both"), 409, step="b")
    assert document["outcome"] == "partial" and document["done"] == ["a"]
    assert "Other changes of this request were made." in document["detail"]
    assert counts(tables)[0] == 1
    document = problem(daemon.post("/looked-up"), 409, step="b")
    assert document["outcome"] == "none" and "done" not in document
    document = problem(daemon.post("/after"), 500, 400, step="b")
    assert document["outcome"] == "partial" and document["done"] == ["a"]
    assert counts(tables)[0] == 2
    reply = daemon.post("/replaced")
    assert good(reply) == {"a": {"changed": 1}, "b": None} and reply.headers["Gatherd-Missing"] == "b"
    assert problem(daemon.post("/header"), 500)["outcome"] == "partial"
    assert counts(tables)[0] == 4


def test_check_warns_of_two_writes_that_are_not_one(gatherd: Callable[..., Gatherd], tables: Postgres, program) -> None:
    daemon = start(gatherd, SEVERAL, tables)
    done = subprocess.run([program, "check", "-c", daemon.config_path], capture_output=True, text=True, env=daemon.environment())
    warnings = [line for line in done.stderr.splitlines() if ": warning:" in line]
    assert done.returncode == 0
    assert len(warnings) == 1 and "'b'" in warnings[0] and "'a'" in warnings[0]


# -- HTTP services --

SERVICE = """
sources:
  up: {{ http: "{url}", timeout: 1s, retry: {{ attempts: 2, backoff: 10ms }} }}
  gone: {{ http: "http://127.0.0.1:{nowhere}" }}
endpoints:
  "POST /{{what}}": {{ gather: {{ h: {{ from: up, post: "/{{what}}", body: {{ a: 1 }} }} }} }}
  "PUT /{{what}}": {{ gather: {{ h: {{ from: up, put: "/{{what}}", body: {{ a: 1 }} }} }} }}
  "POST /read/{{what}}": {{ gather: {{ h: {{ from: up, get: "/{{what}}" }} }} }}
  "POST /gone": {{ gather: {{ h: {{ from: gone, post: "/" }} }} }}
"""


def test_what_an_http_service_s_answer_says_of_a_change(gatherd: Callable[..., Gatherd]) -> None:
    answers = {f"/{status}": says("{}", status=status) for status in (303, 400, 404, 409, 429, 500, 503)}
    answers |= {"/reset": resets(), "/hang": hangs(), "/nonsense": says("<no json>"), "/then-refused": [says("{}", status=503), says("{}", status=409)]}
    closed = socket.create_server(("127.0.0.1", 0))
    nowhere = closed.getsockname()[1]
    closed.close()
    with Upstream(answers) as upstream:
        daemon = gatherd(SERVICE.format(url=upstream.url, nowhere=nowhere))
        for what, status, outcome in [
            ("/400", 502, "none"),
            ("/404", 502, "none"),
            ("/409", 502, "none"),
            ("/429", 502, "none"),
            ("/303", 502, "unknown"),
            ("/500", 502, "unknown"),
            ("/503", 502, "unknown"),
            ("/reset", 502, "unknown"),
            ("/hang", 504, "unknown"),
            ("/nonsense", 502, "unknown"),
        ]:
            document = problem(daemon.post(what), status, step="h")
            assert document["outcome"] == outcome, what
            assert ("may or may not have been made" in document.get("detail", "")) == (outcome == "unknown"), what
            assert problem(daemon.post("/read" + what), 502, 504)["outcome"] == "none", what
        # The first attempt may have done it, whatever the second one says.
        assert problem(daemon.request("PUT", "/then-refused"), 502)["outcome"] == "unknown"
        assert problem(daemon.post("/gone"), 503)["outcome"] == "none"


# -- handlers --

HANDLER = """
#include <errno.h>
#include <gatherd.h>

int run(gd_request *req);

/* {sql, then}: a statement by itself, then another one that fails */
int run(gd_request *req)
{
	gd_value *done = gd_pg_execute(NULL, "pg", gd_to_text(gd_param(req, "first")), NULL);
	if (gd_failed(done))
		return gd_fail_with(done);
	gd_value *then = gd_pg_execute(NULL, "pg", gd_to_text(gd_param(req, "second")), NULL);
	return gd_failed(then) ? gd_fail_with(then) : gd_reply(req, 200, then);
}
"""


def test_a_handler_s_problem_says_what_its_calls_have_done(gatherd: Callable[..., Gatherd], tables: Postgres, module: Callable[..., object]) -> None:
    module_path = module("writes", HANDLER)
    config = f"""
sources: {{ pg: {{ postgres: "${{PG}}", timeout: 2s }} }}
endpoints:
  "POST /": {{ handler: "{module_path}:run", parameters: {{ first: {{ type: string }}, second: {{ type: string }} }} }}
"""
    again, count, look = "insert into wares values (1, 'again', 0)", "update wares set n = n + 1 where id = 1", "select 1 as a"
    with CuttingProxy(tables) as proxy:
        daemon = start(gatherd, config, tables, env={"PG": proxy.url(DATABASE)})
        assert problem(daemon.post("/", json_body={"first": again, "second": count}), 409)["outcome"] == "none"
        assert problem(daemon.post("/", json_body={"first": look, "second": again}), 409)["outcome"] == "none"
        assert problem(daemon.post("/", json_body={"first": count, "second": again}), 409)["outcome"] == "partial"
        proxy.lose(b"COMMIT")
        document = problem(daemon.post("/", json_body={"first": count, "second": count}), 502)
        assert document["outcome"] == "unknown" and "may or may not have been made" in document["detail"]
        assert counts(tables)[0] == 2


# -- the body --

BODY = """
sources:
  pg: { postgres: "${PG}" }
  desk: { files: "${FOLDER}/desk", write: true }
endpoints:
  "PUT /file": { gather: { f: { from: desk, write: a.txt, content: "{body}" } } }
  "PUT /sql": { gather: { w: { from: pg, sql: "update wares set kind = {body.kind}::text where id = 1" } } }
  "PUT /when": { gather: { w: { from: pg, when: "{body.go}", sql: "update wares set n = 5 where id = 1" } } }
  "PUT /path": { gather: { f: { from: desk, read: "{body.name}" } } }
  "PUT /respond": { respond: { it: "{body}" } }
  "PUT /headers": { respond: 1, headers: { X-It: "{body.it}" } }
  "PUT /location": { respond: 1, location: "/{body.it}" }
  "PUT /default": { respond: "{a}", gather: { a: { from: desk, append: a.txt, content: { it: "{body.it}" } } } }
  "PUT /optional": { body: { type: [ object, "null" ] }, respond: { it: "{body}" } }
  "PUT /none": { respond: 1 }
"""


def test_a_reference_to_the_body_makes_json_wanted(gatherd: Callable[..., Gatherd], tables: Postgres) -> None:
    daemon = start(gatherd, BODY, tables, files={"desk/a.txt": "kept"})
    acting = ["/file", "/sql", "/when", "/path", "/default"]
    for path in acting + ["/respond", "/headers", "/location"]:
        for type in ["text/plain", "application/x-www-form-urlencoded", "application/octet-stream"]:
            document = problem(daemon.request("PUT", path, body="hello", headers={"Content-Type": type}), 415)
            assert document["outcome"] == "none", path
        problem(daemon.request("PUT", path, body="hello"), 415)  # no type at all
    for path in acting:
        for headers in [{}, {"Content-Type": "application/json"}, {"Content-Type": "text/plain"}]:
            document = problem(daemon.request("PUT", path, body="", headers=headers), 400)
            assert document["errors"] == [{"in": "body", "name": "body", "pointer": "#", "keyword": "required", "detail": "is required"}], path
    assert (daemon.folder / "desk/a.txt").read_text() == "kept"
    assert tables.sql("select kind, n from wares where id = 1", DATABASE) == "single|0"
    assert good(daemon.request("PUT", "/respond", body="")) == {"it": None}  # nothing was done with it
    assert good(daemon.request("PUT", "/respond", json_body={"a": 1})) == {"it": {"a": 1}}
    assert good(daemon.request("PUT", "/respond", body="null", headers={"Content-Type": "application/json"})) == {"it": None}
    assert good(daemon.request("PUT", "/optional", body="")) == {"it": None}
    assert good(daemon.request("PUT", "/none", body="hello", headers={"Content-Type": "text/plain"})) == 1
    good(daemon.request("PUT", "/file", json_body={"text": "new"}))
    assert json.loads((daemon.folder / "desk/a.txt").read_text()) == {"text": "new"}
