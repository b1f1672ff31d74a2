"""What was learned of a statement ends with the schema that it was learned from."""

from __future__ import annotations

from typing import Any, Callable
from urllib.parse import quote

import pytest
from harness import Gatherd, Postgres
from support import good, problem, wait_for


PREPARE = pytest.mark.parametrize("prepare", ["true", "false"], ids=["prepared", "unprepared"])


class Service:
    """A daemon on a database of its own; each path is a statement."""

    def __init__(self, gatherd: Callable[..., Gatherd], postgres: Postgres, name: str, prepare: str, reads: dict[str, str], writes: dict[str, str] | None = None, size: int = 2) -> None:
        self.postgres, self.name = postgres, f"{name}_{prepare}"
        url = postgres.create_database(self.name)
        config = f'sources: {{ pg: {{ postgres: "${{PGL}}", prepare: {prepare}, pool: {{ size: {size} }} }} }}\nendpoints:\n'
        for method, statements in (("GET", reads), ("POST", writes or {})):
            for path, sql in statements.items():
                x = "{x}" in sql
                config += f'  "{method} /{path}":\n'
                if x:
                    config += "    parameters: { x: { in: query, type: string, required: true } }\n"
                config += f"    gather:\n      v:\n        from: pg\n        sql: |\n          {sql}\n    respond: '{{v}}'\n"
        self.config, self.start = config, lambda: gatherd(config, env={"PGL": url})
        self.daemon: Gatherd | None = None

    def sql(self, text: str) -> str:
        return self.postgres.sql(text, self.name)

    def get(self, path: str, x: str | None = None) -> Any:
        self.daemon = self.daemon or self.start()
        return self.daemon.get(f"/{path}" + (f"?x={quote(x)}" if x is not None else ""))

    def post(self, path: str, x: str | None = None) -> Any:
        self.daemon = self.daemon or self.start()
        return self.daemon.post(f"/{path}" + (f"?x={quote(x)}" if x is not None else ""))


PAIR = "create type pair as (p int, q text); create table t (a text, b text, c pair); insert into t values ('A', 'B', (1, 'one'));"


@PREPARE
def test_columns_beside_a_composite_one(gatherd: Callable[..., Gatherd], postgres: Postgres, prepare: str) -> None:
    s = Service(gatherd, postgres, "beside", prepare, {"all": "select * from t", "named": "select a, b, c from t"}, {"again": "update t set b = b returning *"})
    s.sql(PAIR)
    for ask in (s.get, s.get, s.post):
        assert good(ask("again" if ask == s.post else "all")) == [{"a": "A", "b": "B", "c": {"p": 1, "q": "one"}}]
    good(s.get("named"))
    s.sql("alter table t rename a to x; alter table t rename b to a; alter table t rename x to b")
    swapped = [{"b": "A", "a": "B", "c": {"p": 1, "q": "one"}}]
    assert good(s.post("again")) == swapped
    assert good(s.get("all")) == swapped
    assert good(s.get("named")) == [{"a": "B", "b": "A", "c": {"p": 1, "q": "one"}}]
    s.sql("alter table t add d int default 7")
    assert good(s.get("all")) == [swapped[0] | {"d": 7}]
    good(s.post("again"))
    assert good(s.post("again")) == [swapped[0] | {"d": 7}]
    s.sql("alter table t drop a")
    assert good(s.get("all")) == [{"b": "A", "c": {"p": 1, "q": "one"}, "d": 7}]
    assert s.get("named").status == 500
    s.sql("alter table t add a text default 'new'")
    assert good(s.get("named")) == [{"a": "new", "b": "A", "c": {"p": 1, "q": "one"}}]


@PREPARE
def test_attributes_of_a_composite_type(gatherd: Callable[..., Gatherd], postgres: Postgres, prepare: str) -> None:
    s = Service(gatherd, postgres, "attributes", prepare, {"all": "select c, array[c] as cs, row(c) as r, t as whole from t"})
    s.sql(PAIR)

    def expected(c: dict[str, Any], **whole: Any) -> list[Any]:
        return [{"c": c, "cs": [c], "r": {"f1": c}, "whole": {"a": "A", "b": "B", "c": c} | whole}]

    assert good(s.get("all")) == expected({"p": 1, "q": "one"})
    s.sql("alter type pair rename attribute p to x; alter type pair rename attribute q to p; alter type pair rename attribute x to q")
    assert good(s.get("all")) == expected({"q": 1, "p": "one"})
    s.sql("alter type pair add attribute more int")
    assert good(s.get("all")) == expected({"q": 1, "p": "one", "more": None})
    s.sql("alter type pair drop attribute q")
    assert good(s.get("all")) == expected({"p": "one", "more": None})
    s.sql("alter table t add d int default 7")
    assert good(s.get("all")) == expected({"p": "one", "more": None}, d=7)


@PREPARE
def test_plain_columns(gatherd: Callable[..., Gatherd], postgres: Postgres, prepare: str) -> None:
    s = Service(gatherd, postgres, "plain", prepare, {"all": "select * from t"}, {"again": "update t set b = b returning *"})
    s.sql("create table t (a int, b int); insert into t values (1, 2)")
    assert good(s.get("all")) == good(s.post("again")) == [{"a": 1, "b": 2}]
    s.sql("alter table t rename a to x; alter table t rename b to a; alter table t rename x to b")
    s.sql("alter table t add d text default 'x'")
    assert good(s.post("again") if prepare == "true" else s.get("all")) == [{"b": 1, "a": 2, "d": "x"}]
    assert good(s.get("all")) == [{"b": 1, "a": 2, "d": "x"}]
    s.sql("alter table t alter d drop default; alter table t alter d type int using 5")
    assert good(s.get("all")) == [{"b": 1, "a": 2, "d": 5}]


@PREPARE
def test_types_of_parameters(gatherd: Callable[..., Gatherd], postgres: Postgres, prepare: str) -> None:
    s = Service(gatherd, postgres, "parameters", prepare, {"one": "select id from t where id = {x}"}, {"add": "insert into t values ({x}) returning id"})
    s.sql("create table t (id int); insert into t values (7)")
    for _ in range(3):
        assert good(s.get("one", "7")) == [{"id": 7}]
        problem(s.get("one", "3000000000"), 400)
        problem(s.post("add", "3000000000"), 400)
    s.sql("alter table t alter id type bigint")
    assert good(s.post("add", "3000000000")) == [{"id": 3000000000}]
    assert good(s.get("one", "3000000000")) == [{"id": 3000000000}]
    s.sql("alter table t alter id type text")
    assert good(s.get("one", "7")) == [{"id": "7"}]
    assert good(s.post("add", "abc")) == [{"id": "abc"}]
    assert good(s.get("one", "abc")) == [{"id": "abc"}]
    s.sql("delete from t where id = 'abc'; alter table t alter id type int using (id::bigint % 1000)::int")
    assert good(s.get("one", "7")) == [{"id": 7}]
    problem(s.get("one", "abc"), 400)


@PREPARE
def test_types_that_come_again(gatherd: Callable[..., Gatherd], postgres: Postgres, prepare: str) -> None:
    s = Service(gatherd, postgres, "again", prepare, {"mood": "select id, m from t where m = {x}", "moods": "select id, m from t", "f": "select * from f()"})
    s.sql("create type mood as enum ('a'); create table t (id int, m mood); insert into t values (1, 'a')")
    s.sql("create function f() returns table (x int) language sql as 'select 1'")
    assert good(s.get("mood", "a")) == good(s.get("moods")) == [{"id": 1, "m": "a"}]
    assert good(s.get("f")) == [{"x": 1}]
    problem(s.get("mood", "b"), 400)
    s.sql("alter type mood add value 'b'")
    s.sql("insert into t values (2, 'b')")
    assert good(s.get("mood", "b")) == [{"id": 2, "m": "b"}]
    s.sql("drop type mood cascade; create domain mood as int check (value > 0); alter table t add m mood default 5; drop function f; create function f() returns table (y text) language sql as $$select 'z'::text$$")
    assert good(s.get("mood", "5")) == [{"id": 1, "m": 5}, {"id": 2, "m": 5}]
    assert good(s.get("f")) == [{"y": "z"}]
    s.sql("drop domain mood cascade; create type mood as (k int); alter table t add m mood default row(5)")
    assert good(s.get("moods")) == [{"id": 1, "m": {"k": 5}}, {"id": 2, "m": {"k": 5}}]


@PREPARE
def test_another_database_behind_the_address(gatherd: Callable[..., Gatherd], postgres: Postgres, prepare: str) -> None:
    s = Service(gatherd, postgres, "swap", prepare, {"all": "select * from t", "one": "select id from t where m = {x}"})
    s.sql("create type mood as enum ('a', 'b'); create domain number as int; create table t (id int, m mood, ns number[]); insert into t values (1, 'a', '{1,2}')")
    assert good(s.get("all")) == [{"id": 1, "m": "a", "ns": [1, 2]}]
    assert good(s.get("one", "a")) == [{"id": 1}]
    other = f"{s.name}_other"
    postgres.create_database(other)
    postgres.sql("create domain number as text; create type mood as enum ('b', 'a'); create table t (id int, m mood, ns number[]); insert into t values (2, 'a', '{x,y}')", other)
    postgres.sql(f"alter database {s.name} allow_connections false")  # it would connect again at once
    postgres.sql(f"select pg_terminate_backend(pid, 20000) from pg_stat_activity where datname = '{s.name}'")
    postgres.sql(f"alter database {s.name} rename to {s.name}_old; alter database {other} rename to {s.name}")
    wait_for(lambda: s.get("all").status != 503, 30)  # an attempt to connect that began before may fail after
    assert good(s.get("all")) == [{"id": 2, "m": "a", "ns": ["x", "y"]}]
    assert good(s.get("one", "a")) == [{"id": 2}]


@PREPARE
def test_another_server_behind_the_address(gatherd: Callable[..., Gatherd], prepare: str) -> None:
    """Its oids are the same, and mean something else."""
    with Postgres() as first:
        s = Service(gatherd, first, "server", prepare, {"all": "select ns from t", "one": "select id from t where {x} = any (ns)"}, size=1)
        s.sql("create domain number as int; create table t (id int, ns number[]); insert into t values (1, '{1,2}')")
        before = s.sql("select 'number[]'::regtype::oid")
        assert good(s.get("all")) == [{"ns": [1, 2]}]
        first.stop()
        with Postgres({"port": str(first.port)}) as second:
            second.port = first.port
            second.create_database(s.name)
            second.sql("create domain number as text; create table t (id int, ns number[]); insert into t values (2, '{x,y}')", s.name)
            assert second.sql("select 'number[]'::regtype::oid", s.name) == before
            for _ in range(3):
                wait_for(lambda: s.get("all").status != 503, 30)
                assert good(s.get("all")) == [{"ns": ["x", "y"]}]
