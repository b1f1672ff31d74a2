"""Transactions of several statements, and actions that run for each element of a list."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest
from harness import CuttingProxy, Gatherd, Postgres
from support import at_once, good, in_background, problem, running_statements, wait_for

DATABASE = "transactions"

TABLES = """
drop schema public cascade; create schema public;
create table orders (id int primary key generated always as identity, customer text not null);
create table lines (ord int not null references orders deferrable initially deferred, sku text not null, n int not null check (n > 0));
create table wares (sku text primary key, pieces int not null check (pieces >= 0));
create table mails (address text primary key);
create table accounts (id int primary key, balance int not null);
create table runs (n int);
create sequence attempts;
insert into wares values ('a', 10), ('b', 10), ('c', 0);
insert into mails values ('taken');
insert into accounts select i, 100 from generate_series(1, 4) i;
create function conflict() returns int language plpgsql volatile as
  $$ begin perform nextval('attempts'); raise exception using errcode = '40001', message = 'always'; end $$;
create function conflict_twice() returns int language plpgsql volatile as
  $$ begin if nextval('attempts') < 3 then raise exception using errcode = '40P01', message = 'twice'; end if; return 1; end $$;
"""

CONFIG = """
sources: {{ pg: {{ postgres: "${{PG}}", prepare: {prepare}, pool: {{ size: 4, acquire_timeout: 20s }} }} }}
endpoints:
  "POST /orders":
    body: {{ type: object }}
    location: "/orders/{{order.head.id}}"
    respond: {{ id: "{{order.head.id}}", lines: "{{order.lines.changed}}", stock: "{{order.stock[*].changed}}", all: "{{order}}" }}
    gather:
      order:
        from: pg
        transaction:
          - head: {{ sql: "insert into orders(customer) values ({{body.customer}}) returning id", expect: one }}
          - lines:
              affected: {{ min: 1 }}
              sql: insert into lines select {{head.id}}, sku, n from jsonb_to_recordset({{body.lines}}) as x(sku text, n int)
          - stock: {{ each: "{{body.lines}}", sql: "update wares set pieces = pieces - {{item.n}}::int where sku = {{item.sku}}", affected: 1 }}
  "POST /three":
    body: {{ type: object }}
    gather:
      t:
        from: pg
        transaction:
          - a: {{ sql: "insert into runs values (1)" }}
          - b: {{ sql: "insert into runs values ({{body.n}}::int)" }}
          - c: {{ sql: "insert into runs values (3) returning n" }}
  "POST /looked":
    gather:
      t:
        from: pg
        transaction:
          - a: {{ sql: "insert into runs values (1) returning n", expect: value }}
          - b: {{ when: "{{a}}", sql: "insert into runs values ({{a}} + 1)" }}
          - c: {{ when: "{{b.none}}", sql: "insert into runs values (99)" }}
  "POST /mailed":
    body: {{ type: object }}
    respond: {{ all: "{{t}}", mail: "{{t.mail}}", again: "{{t.again.x}}" }}
    gather:
      t:
        from: pg
        transaction:
          - a: {{ sql: "insert into runs values (1)" }}
          - mail: {{ on_error: null, expect: value, sql: "insert into mails values ({{body.address}}) returning address" }}
          - again: {{ on_error: {{ default: {{ x: 7 }} }}, sql: "insert into mails values ({{body.address}})" }}
          - left: {{ on_error: omit, affected: 1, sql: "update mails set address = address where address = 'nobody'" }}
          - each: {{ on_error: null, each: "{{body.list}}", sql: "insert into mails values ({{item}})" }}
          - b: {{ sql: "insert into runs select 2 where {{mail}}::text is null" }}
  "POST /outside":
    respond: {{ sum: "{{s}}", got: "{{t.b}}" }}
    gather:
      x: {{ from: pg, expect: value, sql: "select 40" }}
      t: {{ from: pg, transaction: [ {{ a: {{ sql: "select {{x}}::int + 1 as n", expect: one }} }}, {{ b: {{ sql: "insert into runs values ({{a.n}}) returning n" }} }} ] }}
      s: {{ from: pg, expect: value, sql: "select {{t.b[0].n}}::int + {{t.a.n}}::int" }}
  "POST /deferred":
    gather: {{ t: {{ from: pg, transaction: [ {{ a: {{ sql: "insert into runs values (1)" }} }}, {{ b: {{ sql: "insert into lines values (999, 'a', 1)" }} }} ] }} }}
  "POST /each":
    body: {{ type: array }}
    gather: {{ w: {{ from: pg, each: "{{body}}", affected: 1, sql: "update wares set pieces = {{item.n}}::int where sku = {{item.sku}}" }} }}
  "POST /each-row":
    body: {{}}
    respond: {{ list: "{{w}}", second: "{{w[1].n}}", all: "{{w[*].n}}", count: "{{n}}" }}
    gather:
      w: {{ from: pg, each: "{{body}}", expect: one, sql: "insert into runs values ({{item}}::int) returning n" }}
      n: {{ from: pg, expect: value, sql: "select cardinality({{w[*].n}}::int[])" }}
  "POST /each-plain": {{ body: {{}}, gather: {{ w: {{ from: pg, each: "{{body}}", sql: "insert into runs values ({{item}}::int)" }} }} }}
  "POST /conflict": {{ gather: {{ t: {{ from: pg, retry: {{ attempts: 3, backoff: 1ms }}, transaction: [ {{ a: {{ sql: "insert into runs values (1)" }} }}, {{ b: {{ sql: "select conflict()" }} }} ] }} }} }}
  "POST /conflict-once": {{ gather: {{ t: {{ from: pg, transaction: [ {{ b: {{ sql: "select conflict()" }} }} ] }} }} }}
  "POST /conflict-twice":
    gather: {{ t: {{ from: pg, isolation: serializable, transaction: [ {{ a: {{ sql: "insert into runs values (1)" }} }}, {{ b: {{ sql: "select conflict_twice() as b", expect: one }} }} ] }} }}
  "POST /level":
    gather: {{ t: {{ from: pg, isolation: repeatable_read, transaction: [ {{ l: {{ expect: value, sql: "select current_setting('transaction_isolation')" }} }} ] }} }}
  "POST /read":
    gather:
      t:
        from: pg
        read_only: true
        transaction:
          - l: {{ expect: value, sql: "select current_setting('transaction_isolation')" }}
          - r: {{ expect: value, sql: "select current_setting('transaction_read_only')" }}
  "POST /transfer":
    body: {{ type: object }}
    gather:
      t:
        from: pg
        isolation: serializable
        retry: {{ attempts: 20, backoff: 2ms }}
        transaction:
          - out: {{ affected: 1, sql: "update accounts set balance = balance - {{body.amount}}::int where id = {{body.from}}::int" }}
          - in: {{ affected: 1, sql: "update accounts set balance = balance + {{body.amount}}::int where id = {{body.to}}::int" }}
"""


@pytest.fixture(scope="module")
def server(postgres: Postgres) -> Postgres:
    postgres.create_database(DATABASE)
    return postgres


@pytest.fixture
def tables(server: Postgres) -> Postgres:
    server.sql(TABLES, DATABASE)
    return server


@pytest.fixture(scope="module", params=["true", "false"], ids=["prepared", "unprepared"])
def daemon(request: pytest.FixtureRequest, module_gatherd: Callable[..., Gatherd], server: Postgres) -> Gatherd:
    server.sql(TABLES, DATABASE)
    return module_gatherd(CONFIG.format(prepare=request.param), postgres=server, env={"PG": server.url(DATABASE)})


def start(gatherd: Callable[..., Gatherd], server: Postgres, url: str | None = None, config: str | None = None) -> Gatherd:
    return gatherd(config or CONFIG.format(prepare="true"), postgres=server, env={"PG": url or server.url(DATABASE)})


def value(server: Postgres, sql: str) -> str:
    return server.sql(sql, DATABASE).strip()


def runs(server: Postgres) -> str:
    return value(server, "select coalesce(string_agg(n::text, ',' order by n), '') from runs")


ORDER = {"customer": "Ann", "lines": [{"sku": "a", "n": 2}, {"sku": "b", "n": 3}]}


def test_its_steps_refer_to_each_other_and_are_one(daemon: Gatherd, tables: Postgres) -> None:
    for round in range(1, 3):
        reply = daemon.post("/orders", json_body=ORDER)
        document = good(reply, 201)
        assert document["id"] == round and document["lines"] == 2 and document["stock"] == [1, 1]
        assert document["all"] == {"head": {"id": round}, "lines": {"changed": 2}, "stock": [{"changed": 1}, {"changed": 1}]}
        assert reply.headers["Location"] == f"/orders/{round}" and reply.headers["Gatherd-Complete"] == "true"
    assert value(tables, "select string_agg(pieces::text, ',' order by sku) from wares") == "6,4,0"
    assert good(daemon.post("/outside")) == {"sum": 82, "got": [{"n": 41}]}


@pytest.mark.parametrize(
    "lines, status, code",
    [
        ([{"sku": "a", "n": 2}, {"sku": "b", "n": -3}], 422, "23514"),  # the second statement
        ([], 404, None),  # `affected` of the second
        ([{"sku": "a", "n": 2}, {"sku": "none", "n": 1}], 404, None),  # `affected` of an element of the last
        ([{"sku": "a", "n": 2}, {"sku": "c", "n": 1}], 422, "23514"),
    ],
)
def test_if_one_fails_nothing_of_it_is_there(daemon: Gatherd, tables: Postgres, lines: list[dict[str, object]], status: int, code: str | None) -> None:
    document = problem(daemon.post("/orders", json_body={"customer": "Ann", "lines": lines}), status, step="order", code=code)
    assert document["outcome"] == "none" and "done" not in document
    assert value(tables, "select (select count(*) from orders), (select count(*) from lines), (select sum(pieces) from wares)") == "0|0|20"
    assert good(daemon.post("/orders", json_body=ORDER), 201)


def test_conditions_and_references(daemon: Gatherd, tables: Postgres) -> None:
    assert good(daemon.post("/looked")) == {"t": {"a": 1, "b": {"changed": 1}, "c": None}}
    assert runs(tables) == "1,2"
    assert good(daemon.post("/three", json_body={"n": 2})) == {"t": {"a": {"changed": 1}, "b": {"changed": 1}, "c": [{"n": 3}]}}
    assert problem(daemon.post("/three", json_body={"n": "x"}), 400, step="t")["outcome"] == "none"
    assert problem(daemon.post("/three", json_body={"n": [1]}), 400, 500)["outcome"] == "none"
    assert runs(tables) == "1,1,2,2,3"
    assert problem(daemon.post("/deferred"), 409, code="23503")["outcome"] == "none"
    assert runs(tables) == "1,1,2,2,3"


def test_a_step_whose_failure_is_replaced_is_undone_alone(daemon: Gatherd, tables: Postgres) -> None:
    reply = daemon.post("/mailed", json_body={"address": "taken", "list": ["x", "taken"]})
    document = good(reply)
    assert document["all"] == {"a": {"changed": 1}, "mail": None, "again": {"x": 7}, "each": None, "b": {"changed": 1}}
    assert document["mail"] is None and document["again"] == 7
    assert reply.headers["Gatherd-Complete"] == "false" and reply.headers["Gatherd-Missing"] == "t.mail, t.again, t.left, t.each"
    assert runs(tables) == "1,2" and value(tables, "select count(*) from mails") == "1"
    reply = daemon.post("/mailed", json_body={"address": "new", "list": ["x", "y"]})
    assert good(reply)["all"] == {"a": {"changed": 1}, "mail": "new", "again": {"x": 7}, "each": [{"changed": 1}, {"changed": 1}], "b": {"changed": 0}}
    assert reply.headers["Gatherd-Missing"] == "t.again, t.left"
    assert runs(tables) == "1,1,2" and value(tables, "select count(*) from mails") == "4"
    reply = daemon.post("/mailed", json_body={"address": [1], "list": 5})
    assert good(reply)["all"]["each"] is None
    assert value(tables, "select count(*) from pg_stat_activity where datname = current_database() and state like 'idle in%'") == "0"


def test_each_element_is_one_run_of_one_transaction(daemon: Gatherd, tables: Postgres) -> None:
    assert good(daemon.post("/each", json_body=[{"sku": "a", "n": 1}, {"sku": "b", "n": 2}])) == {"w": [{"changed": 1}, {"changed": 1}]}
    assert problem(daemon.post("/each", json_body=[{"sku": "a", "n": 5}, {"sku": "z", "n": 2}]), 404, step="w")["outcome"] == "none"
    assert problem(daemon.post("/each", json_body=[{"sku": "a", "n": 5}, {"sku": "b", "n": -1}]), 422, step="w")["outcome"] == "none"
    assert value(tables, "select string_agg(pieces::text, ',' order by sku) from wares") == "1,2,0"
    assert good(daemon.post("/each", json_body=[])) == {"w": []}
    assert good(daemon.post("/each-row", json_body=[3, 1, 2])) == {"list": [{"n": 3}, {"n": 1}, {"n": 2}], "second": 1, "all": [3, 1, 2], "count": 3}
    document = problem(daemon.post("/each-row", json_body={"a": 1}), 400, step="w")
    assert document["detail"] == "{body} is not a list." and document["outcome"] == "none"
    assert problem(daemon.post("/each-row", json_body=None), 400)


def test_each_takes_a_thousand(daemon: Gatherd, tables: Postgres) -> None:
    assert good(daemon.post("/each-row", json_body=list(range(1000))))["all"] == list(range(1000))
    assert problem(daemon.post("/each-row", json_body=list(range(999)) + ["x"]), 400)["outcome"] == "none"
    document = problem(daemon.post("/each-row", json_body=list(range(1001))), 413, step="w")
    assert document["outcome"] == "none" and document["detail"] == "The list has too many elements."
    assert value(tables, "select count(*) from runs") == "1000"


def test_isolation_is_what_was_declared(daemon: Gatherd, tables: Postgres) -> None:
    assert good(daemon.post("/level")) == {"t": {"l": "repeatable read"}}
    assert good(daemon.post("/read")) == {"t": {"l": "repeatable read", "r": "on"}}


def test_a_conflict_begins_it_again_as_often_as_it_may(daemon: Gatherd, tables: Postgres) -> None:
    assert problem(daemon.post("/conflict"), 503, step="t", code="40001")["outcome"] == "none"
    assert value(tables, "select last_value from attempts") == "3"
    assert problem(daemon.post("/conflict-once"), 503, step="t", code="40001")["outcome"] == "none"
    assert value(tables, "select last_value from attempts") == "4"
    tables.sql("alter sequence attempts restart", DATABASE)
    assert good(daemon.post("/conflict-twice")) == {"t": {"a": {"changed": 1}, "b": {"b": 1}}}
    assert runs(tables) == "1"


def test_transfers_at_once_keep_the_sum(daemon: Gatherd, tables: Postgres) -> None:
    def transfer(i: int):
        return daemon.post("/transfer", json_body={"from": 1 + i % 4, "to": 1 + (i + 1 + i // 7) % 4, "amount": i % 5})

    replies = at_once([lambda i=i: transfer(i) for i in range(30) if 1 + i % 4 != 1 + (i + 1 + i // 7) % 4])
    assert all(reply.status in (200, 503) for reply in replies)
    assert value(tables, "select sum(balance) from accounts") == "400"


# -- round trips --


def test_what_refers_to_no_result_leaves_at_once(gatherd: Callable[..., Gatherd], tables: Postgres) -> None:
    with CuttingProxy(tables) as proxy:
        daemon = start(gatherd, tables, proxy.url(DATABASE), CONFIG.format(prepare="true").replace("size: 4", "size: 1"))

        def flushes(path: str, body: object = None) -> int:
            """Of one request; the fewest, as now and then the session is reset behind it, or that is looked into."""
            fewest = 1000
            for _ in range(6):
                before = proxy.syncs
                assert daemon.post(path, json_body=body).status in (200, 201)
                fewest = min(fewest, proxy.syncs - before)
            return fewest

        assert flushes("/three", {"n": 2}) == 1
        assert flushes("/looked") == 3  # a; b; COMMIT rides with b: c's condition needs b
        assert flushes("/each-plain", list(range(300))) == 2  # 256; 44 and COMMIT
        assert flushes("/each", [{"sku": "a", "n": 1}] * 300) == 3  # 256; 44; COMMIT


# -- answers that are lost --

LOST = """
sources: { pg: { postgres: "${PG}", timeout: 2s, pool: { size: 2, acquire_timeout: 20s } } }
endpoints:
  "POST /once": { gather: { t: { from: pg, transaction: [ { a: { sql: "insert into runs values (1)" } }, { b: { sql: "insert into runs values (2) returning n", expect: one } } ] } } }
  "POST /thrice": { gather: { t: { from: pg, retry: { attempts: 3, backoff: 1ms }, transaction: [ { a: { sql: "update accounts set balance = balance + 1 where id = 1" } }, { b: { sql: "insert into runs values (2) returning n", expect: one } } ] } } }
  "POST /riding": { gather: { t: { from: pg, retry: { attempts: 3, backoff: 1ms }, transaction: [ { a: { sql: "update accounts set balance = balance + 1 where id = 1" } }, { b: { sql: "insert into runs values (2)" } } ] } } }
"""


@pytest.fixture
def lossy(gatherd: Callable[..., Gatherd], tables: Postgres) -> Iterator[tuple[Gatherd, CuttingProxy, Postgres]]:
    with CuttingProxy(tables) as proxy:
        daemon = start(gatherd, tables, proxy.url(DATABASE), LOST)
        for path in ["/once", "/thrice", "/riding"]:
            good(daemon.post(path))
        tables.sql("delete from runs", DATABASE)
        yield daemon, proxy, tables


@pytest.mark.parametrize("path, runs_after", [("/once", ""), ("/thrice", "2")])
def test_a_cut_before_commit_was_sent_leaves_nothing_or_begins_again(lossy: tuple[Gatherd, CuttingProxy, Postgres], path: str, runs_after: str) -> None:
    daemon, proxy, tables = lossy
    proxy.lose(b"INSERT")
    reply = daemon.post(path)
    if runs_after:
        assert good(reply)["t"]["b"] == {"n": 2}
    else:
        assert problem(reply, 502, step="t")["outcome"] == "none"
    assert proxy.lost.is_set() and runs(tables) == runs_after


@pytest.mark.parametrize("silent", [False, True], ids=["cut", "silent"])
@pytest.mark.parametrize("path", ["/thrice", "/riding"])
def test_a_cut_behind_commit_is_unknown_and_runs_once(lossy: tuple[Gatherd, CuttingProxy, Postgres], path: str, silent: bool) -> None:
    daemon, proxy, tables = lossy
    proxy.lose(b"COMMIT", silent=silent)
    document = problem(daemon.post(path), 504 if silent else 502, step="t")
    assert document["outcome"] == "unknown" and "may or may not have been made" in document["detail"]
    assert proxy.lost.is_set() and runs(tables) == "2"


def test_a_client_that_leaves_leaves_nothing(gatherd: Callable[..., Gatherd], tables: Postgres) -> None:
    config = """
sources: { pg: { postgres: "${PG}" } }
endpoints:
  "POST /": { gather: { t: { from: pg, transaction: [ { a: { sql: "insert into runs values (1)" } }, { b: { sql: "select 1 as n from pg_sleep(60)", expect: one } } ] } } }
  "POST /late": { timeout: 300ms, gather: { t: { from: pg, transaction: [ { a: { sql: "insert into runs values (1)" } }, { b: { sql: "select 1 as n from pg_sleep(60)" } } ] } } }
"""
    daemon = start(gatherd, tables, config=config)
    client = daemon.connect()
    client.sendall(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n")
    wait_for(lambda: running_statements(tables, "pg_sleep(60)"), 30)
    client.close()
    wait_for(lambda: not running_statements(tables, "pg_sleep(60)"), 30)
    assert problem(daemon.post("/late"), 504)["outcome"] == "none"
    assert runs(tables) == ""


def test_several_reads_of_a_get_see_one_snapshot(gatherd: Callable[..., Gatherd], tables: Postgres) -> None:
    config = """
sources: { pg: { postgres: "${PG}" } }
endpoints:
  "GET /": { gather: { t: { from: pg, transaction: [
    { a: { expect: value, sql: "select count(*) from runs" } },
    { l: { expect: value, sql: "select pg_advisory_xact_lock(77)::text" } },
    { b: { expect: value, sql: "select count(*) from runs" } } ] } } }
  "GET /write": { gather: { t: { from: pg, write: true, transaction: [ { a: { sql: "insert into runs values (1)" } } ] } } }
"""
    daemon = start(gatherd, tables, config=config)
    holder = in_background(lambda: tables.sql("select pg_advisory_lock(77), pg_sleep(600)", DATABASE))
    wait_for(lambda: running_statements(tables, "pg_sleep(600)") and value(tables, "select count(*) from pg_locks where locktype = 'advisory' and granted") == "1", 30)
    reader = in_background(lambda: daemon.get("/"))
    wait_for(lambda: value(tables, "select count(*) from pg_locks where locktype = 'advisory' and not granted") == "1", 30)
    assert good(daemon.get("/write")) == {"t": {"a": {"changed": 1}}}
    tables.sql("select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted")
    assert good(reader.result())["t"] == {"a": 0, "l": "", "b": 0}
    with pytest.raises(Exception):
        holder.result()
    assert good(daemon.get("/"))["t"]["b"] == 1


# -- check --


def test_check_knows_what_is_wrong(program, tmp_path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        """\
sources: { pg: { postgres: "postgresql://u@127.0.0.1/test" } }
endpoints:
  "POST /a": { gather: { t: { from: pg, transaction: [ { a: { sql: "select {b.n}" } }, { b: { sql: "select {b.n}" } } ] } } }
  "POST /b": { gather: { t: { from: pg, transaction: [ { a: { sql: "select {x}" } } ] } } }
  "POST /c": { gather: { t: { from: pg, transaction: [ { a: { each: "{body}", sql: "select {item.a}", when: "{item.b}" } } ] } } }
  "POST /d": { gather: { t: { from: pg, transaction: [ { a: { sql: "select 1", affected: 1 } } ] } } }
  "GET /e": { gather: { t: { from: pg, transaction: [ { a: { sql: "delete from t" } } ] } } }
  "POST /f": { gather: { t: { from: pg, each: "{body}", sql: "select {item}" } } }
  "POST /g": { gather: { t: { from: pg, transaction: [ { a: { sql: "select 1", on_error: { default: "{t}" } } } ] } } }
  "POST /h": { gather: { t: { from: pg, transaction: [ { a: { sql: "begin" } } ] } } }
  "POST /i": { gather: { t: { from: pg, read_only: true, transaction: [ { a: { sql: "delete from t" } } ] } } }
  "POST /j": { gather: { t: { from: pg, transaction: [ { a: { sql: "select {t.a}" } } ] } } }
"""
    )
    done = subprocess.run([program, "check", "-c", path], capture_output=True, text=True)
    assert done.returncode == 78
    said = [line.split("c.yaml:")[1] for line in done.stderr.splitlines() if "c.yaml:" in line]
    for line, text in [
        (3, "{b.n}: the steps of a transaction run in order, and this one comes later"),
        (3, "{b.n}: a step can't refer to itself"),
        (4, "{x} refers to nothing"),
        (5, "{item.b} refers to nothing"),
        (6, "affected: the statement changes nothing"),
        (7, "delete"),
        (8, "each: the statement changes nothing"),
        (9, "a default is a constant"),
        (10, "`begin` is not possible here"),
        (11, "delete"),
        (12, "{t.a}: a step can't refer to itself"),
    ]:
        assert any(entry.startswith(f"{line}:") and text in entry for entry in said), (line, text, said)


def test_check_connect_prepares_its_statements(program, tmp_path, tables: Postgres) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        """\
sources: { pg: { postgres: "${PG}" } }
endpoints:
  "POST /a":
    gather:
      t:
        from: pg
        transaction:
          - a: { sql: "insert into orders(customer) values ('x') returning id" }
          - b: { sql: "insert into no_such_table values ({a[0].id})" }
          - c: { sql: "select id, customer from orders", expect: value }
"""
    )
    done = subprocess.run([program, "check", "-c", path, "--connect"], capture_output=True, text=True, env={"PG": tables.url(DATABASE), "PATH": "/usr/bin"})
    assert done.returncode == 78
    assert 'c.yaml:9:36: error: source pg: relation "no_such_table" does not exist' in done.stderr
    assert 'the statement of step "t.c" has 2' in done.stderr
