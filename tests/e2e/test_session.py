"""No session state of a request survives it; what a role or the environment brings does not change what is answered."""

from __future__ import annotations

from typing import Any, Callable
from urllib.parse import quote

import pytest
from harness import Gatherd, Postgres
from support import good, problem

SCHEMA = """
create table secrets (tenant text, word text);
insert into secrets values ('a', 'apple'), ('b', 'banana');
alter table secrets enable row level security;
create policy mine on secrets using (tenant = current_setting('app.tenant', true));
create role service login;
create role other nologin;
grant other to service;
grant all on schema public to service, other;
grant all on secrets to service, other;
create function enter(t text) returns text language plpgsql as $$ begin perform set_config('app.tenant', t, false); return t; end $$;
create function stable_enter(t text) returns text stable language sql as $$ select set_config('app.tenant', t, false) $$;
create function any_setting(name text, v text) returns text language plpgsql as $$ begin perform set_config(name, v, false); return v; end $$;
create function command(c text) returns void language plpgsql as $$ begin execute c; end $$;
create function fails(t text) returns text language plpgsql as $$
  begin perform set_config('app.tenant', t, false); perform pg_advisory_lock(77); raise exception 'no'; return t; end $$;
create view entering as select set_config('app.tenant', 'a', false) as t;
create view outer_view as select * from entering;
create table log (id serial primary key, what text);
create table plain (id int primary key, what text);
create table numbered (id int generated always as identity, what text);
create table defaulted (number bigint default currval('numbered_id_seq'), what text);
create function last_called() returns bigint stable language sql as $$ select lastval() $$;
create table guarded (id int primary key);
insert into guarded values (1);
create policy guard on guarded using (id > 0 and set_config('app.tenant', 'a', false) <> '');
alter table guarded enable row level security;
create function on_log() returns trigger language plpgsql as $$ begin perform set_config('app.tenant', 'a', false); return new; end $$;
create trigger on_log before insert on log for each row execute function on_log();
create table parent (id int primary key);
create table child (id int primary key, parent int references parent on delete cascade);
create trigger on_child after delete on child for each row execute function on_log();
create function deferred() returns trigger language plpgsql as $$ begin perform set_config('app.tenant', 'a', false); return null; end $$;
create table late (id int);
create constraint trigger late after insert on late deferrable initially deferred for each row execute function deferred();
grant all on all tables in schema public to service, other;
grant all on all sequences in schema public to service, other;
"""

CONFIG = """
sources:
  pg: {{ postgres: "${{PGS}}", prepare: {prepare}, pool: {{ size: 1, acquire_timeout: 20s }} }}
endpoints:
  "GET /seen":
    gather:
      words: {{ from: pg, sql: "select word from secrets order by 1" }}
      state:
        from: pg
        expect: one
        sql: |
          select current_setting('app.tenant', true) as tenant, current_user::text as "user", session_user::text as "session",
            current_setting('search_path') as path, current_setting('TimeZone') as zone, current_setting('DateStyle') as style,
            current_setting('default_transaction_read_only') as read_only, to_regclass('pg_temp.scratch') is null as no_scratch,
            (select count(*) from pg_locks where locktype = 'advisory') as locks, (select count(*) from pg_listening_channels()) as channels,
            (select count(*) from pg_prepared_statements where from_sql) as statements, (select count(*) from pg_cursors where is_holdable) as cursors
  "GET /value": {{ gather: {{ v: {{ from: pg, sql: "select * from plain" }} }}, respond: "{{v}}" }}
  "GET /set/{{name}}/{{to}}": {{ gather: {{ v: {{ from: pg, sql: "select set_config({{name}}, {{to}}, false) as v", expect: value }} }} }}
  "GET /any/{{name}}/{{to}}": {{ gather: {{ v: {{ from: pg, sql: "select any_setting({{name}}, {{to}}) as v", expect: value }} }} }}
  "GET /enter/{{t}}": {{ gather: {{ v: {{ from: pg, sql: "select enter({{t}}) as v", expect: value }} }} }}
  "GET /stable/{{t}}": {{ gather: {{ v: {{ from: pg, sql: "select stable_enter({{t}}) as v", expect: value }} }} }}
  "GET /view": {{ gather: {{ v: {{ from: pg, sql: "select * from OUTER_VIEW", expect: value }} }} }}
  "GET /quoted": {{ gather: {{ v: {{ from: pg, sql: 'select * from "outer_view"', expect: value }} }} }}
  "GET /guarded": {{ gather: {{ v: {{ from: pg, sql: "select id from guarded" }} }} }}
  "GET /lock": {{ gather: {{ v: {{ from: pg, sql: "select pg_advisory_lock(42)" }} }} }}
  "GET /fails/{{t}}": {{ gather: {{ v: {{ from: pg, sql: "select fails({{t}})" }} }} }}
  "GET /slow/{{t}}": {{ gather: {{ v: {{ from: pg, timeout: 300ms, sql: "select enter({{t}}), pg_advisory_lock(7), pg_sleep(20)" }} }} }}
  "GET /command":
    parameters: {{ c: {{ in: query, type: string }} }}
    gather: {{ v: {{ from: pg, sql: "select command({{c}})" }} }}
  "POST /command":
    parameters: {{ c: {{ in: query, type: string }} }}
    gather: {{ v: {{ from: pg, sql: "insert into plain select 1 from (select command({{c}})) x where false returning id" }} }}
  "POST /log": {{ gather: {{ v: {{ from: pg, sql: "insert into log (what) values ('x') returning id" }} }} }}
  "POST /late": {{ gather: {{ v: {{ from: pg, sql: "insert into late values (1)" }} }} }}
  "POST /numbered": {{ gather: {{ v: {{ from: pg, sql: "insert into numbered (what) values ('x')" }} }} }}
  "POST /last": {{ gather: {{ v: {{ from: pg, sql: "insert into plain select lastval()" }} }} }}
  "POST /defaulted": {{ gather: {{ v: {{ from: pg, sql: "insert into defaulted (what) values ('x')" }} }} }}
  "GET /last-called": {{ gather: {{ v: {{ from: pg, sql: "select last_called()" }} }} }}
  "POST /numbered-last":
    gather: {{ v: {{ from: pg, expect: one, sql: "insert into numbered (what) values ('x') returning id, lastval() + 1000 as last" }} }}
  "GET /last": {{ gather: {{ v: {{ from: pg, sql: "select lastval()" }} }} }}
  "POST /parent":
    gather: {{ v: {{ from: pg, sql: "with gone as (delete from parent returning id) select count(*) as n from gone" }} }}
"""

CLEAN = {
    "tenant": "", "user": "service", "session": "service", "path": '"$user", public', "zone": "UTC", "style": "ISO, DMY", "no_scratch": True,
    "locks": 0, "channels": 0, "statements": 0, "cursors": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def database(postgres: Postgres) -> str:
    postgres.create_database("sessions")
    postgres.sql(SCHEMA, "sessions")
    return postgres.url("sessions", user="service", socket=True)


@pytest.fixture(scope="module", params=["true", "false"], ids=["prepared", "unprepared"])
def daemon(request: pytest.FixtureRequest, module_gatherd: Callable[..., Gatherd], database: str) -> Gatherd:
    return module_gatherd(CONFIG.format(prepare=request.param), env={"PGS": database}, threads=1)


def assert_clean(daemon: Gatherd) -> None:
    seen = good(daemon.get("/seen"))
    assert seen["words"] == []
    state = seen["state"]
    del state["read_only"]
    state["tenant"] = state["tenant"] or ""
    assert state == CLEAN


STATE = [
    "/set/app.tenant/a", "/set/search_path/pg_catalog", "/set/TimeZone/Asia%2FTokyo", "/set/DateStyle/German", "/set/role/other",
    "/set/default_transaction_read_only/off", "/set/statement_timeout/12345", "/any/app.tenant/a", "/any/TimeZone/Asia%2FTokyo", "/any/role/other",
    "/any/client_min_messages/error", "/enter/a", "/stable/a", "/view", "/quoted", "/guarded", "/lock", "/command?c=set%20app.tenant%20=%20'a'", "/command?c=set%20role%20other",
    "/command?c=declare%20c%20cursor%20with%20hold%20for%20select%201", "/command?c=listen%20x", "/command?c=set%20session%20characteristics%20as%20transaction%20read%20write",
]  # fmt: skip


@pytest.mark.parametrize("path", STATE)
def test_a_read_leaves_nothing(daemon: Gatherd, path: str) -> None:
    for _ in range(2):
        good(daemon.get(path))
        assert_clean(daemon)


@pytest.mark.parametrize(
    "path",
    ["/log", "/late", "/command?c=create%20temp%20table%20scratch%20(a%20int)", "/command?c=set%20app.tenant%20=%20'a'", "/command?c=select%20pg_advisory_lock(4)"],
)
def test_a_write_leaves_nothing(daemon: Gatherd, path: str) -> None:
    for _ in range(2):
        reply = daemon.post(path)
        assert reply.status == 200, reply.body
        assert_clean(daemon)


def test_a_cascade_leaves_nothing(daemon: Gatherd, postgres: Postgres) -> None:
    postgres.sql("insert into parent values (1); insert into child values (1, 1)", "sessions")
    assert good(daemon.post("/parent"))["v"] == [{"n": 1}]
    assert_clean(daemon)


def test_sequences_are_forgotten(daemon: Gatherd) -> None:
    for _ in range(4):  # both in doubt, then known
        assert daemon.post("/numbered").status == 200
        assert daemon.get("/last").status == 500  # "lastval is not yet defined in this session"
        assert daemon.post("/numbered").status == 200
        assert daemon.post("/last").status == 500
        assert daemon.post("/numbered").status == 200
        assert daemon.post("/defaulted").status == 500  # … of a sequence
        assert daemon.post("/numbered").status == 200
        assert daemon.get("/last-called").status == 500


def test_a_sequence_may_be_looked_at_where_it_moves(daemon: Gatherd) -> None:
    for n in range(3):
        got = good(daemon.post("/numbered-last"))["v"]
        assert got["last"] == got["id"] + 1000, n


def test_what_fails_leaves_nothing(daemon: Gatherd) -> None:
    problem(daemon.get("/fails/a"), 422)
    assert_clean(daemon)


def test_what_times_out_leaves_nothing(daemon: Gatherd) -> None:
    problem(daemon.get("/slow/a"), 504)
    assert_clean(daemon)


def test_others_cost_nothing(module_gatherd: Callable[..., Gatherd], postgres: Postgres, database: str) -> None:
    postgres.sql("create role watched login; grant all on all tables in schema public to watched; alter role watched set log_statement = 'all'", "sessions")
    config = 'sources: { pg: { postgres: "${PGS}", pool: { size: 1 } } }\nendpoints:\n'
    config += '  "GET /value": { gather: { v: { from: pg, sql: "select * from plain order by id" } } }\n'
    config += """  "POST /value": { gather: { v: { from: pg, sql: "insert into plain values (1, 'x') on conflict (id) do nothing" } } }\n"""
    daemon = module_gatherd(config, env={"PGS": postgres.url("sessions", user="watched", socket=True)}, threads=1)
    for method in ("GET", "POST"):
        for _ in range(4):
            assert daemon.request(method, "/value").status == 200
        before = len(postgres.log())
        for _ in range(50):
            assert daemon.request(method, "/value").status == 200
        said = postgres.log()[before:]
        assert said.count("from plain") + said.count("insert into plain") >= 50
        assert said.count("reset all") <= 5  # now and then a judgement is due


def test_what_roles_and_the_environment_bring_changes_nothing(module_gatherd: Callable[..., Gatherd], postgres: Postgres, database: str) -> None:
    postgres.sql(
        """create role odd login; alter role odd set standard_conforming_strings = off; alter role odd set datestyle = 'German'; alter role odd set timezone = 'Asia/Tokyo';
        alter role odd set intervalstyle = 'iso_8601'; alter role odd set extra_float_digits = -5; alter role odd set client_encoding = 'LATIN1'; alter role odd set search_path = public"""
    )
    config = "sources:\n"
    sql = """select 'a\\\\nb' as s, timestamptz '2024-01-02 03:04:05+00' as t, date '2024-02-03' as d, interval '1 day 2 hours' as i, 0.1::float8 + 0.2::float8 as f, 'é' as e, current_setting('search_path') as p"""
    for name in ("true", "false"):
        config += f'  {name}_: {{ postgres: "${{PGS}}", prepare: {name}, pool: {{ size: 1 }} }}\n'
    config += "endpoints:\n"
    for name in ("true", "false"):
        config += f'  "GET /{name}": {{ gather: {{ v: {{ from: {name}_, expect: one, sql: "{sql}" }} }}, respond: "{{v}}" }}\n'
    environment = {"PGTZ": "Asia/Kathmandu", "PGDATESTYLE": "SQL", "PGOPTIONS": "-c timezone=Asia/Tokyo -c standard_conforming_strings=off -c search_path=pg_catalog"}
    daemon = module_gatherd(config, env={"PGS": postgres.url("sessions", user="odd", socket=True)} | environment, threads=1)
    for path in ("/true", "/false", "/true", "/false"):
        assert good(daemon.get(path)) == {
            "s": "a\\nb", "t": "2024-01-02T03:04:05+00:00", "d": "2024-02-03", "i": "1 day 02:00:00", "f": 0.30000000000000004, "e": "é", "p": "public",
        }  # fmt: skip


def test_a_session_reads_only_whatever_the_target(module_gatherd: Callable[..., Gatherd], database: str) -> None:
    """What cannot be an option of the session survives its reset, too."""
    config = 'sources: { pg: { postgres: "${PGS}&target_session_attrs=read-write", pool: { size: 1 } } }\nendpoints:\n'
    config += """  "GET /enter": { gather: { v: { from: pg, sql: "select enter('a')" } } }\n"""
    config += """  "GET /write": { gather: { v: { from: pg, sql: "select command('insert into plain values (4711)')" } } }\n"""
    daemon = module_gatherd(config, env={"PGS": database}, threads=1)
    for _ in range(3):
        assert daemon.get("/enter").status == 200
        problem(daemon.get("/write"), 500, code="25006")


HANDLER = """
  "GET /does":
    handler: "{module}:does"
    parameters: {{ how: {{ in: query, type: string }}, sql: {{ in: query, type: string }} }}
"""


@pytest.mark.parametrize("prepare", ["true", "false"], ids=["prepared", "unprepared"])
def test_handlers_leave_nothing(module_gatherd: Callable[..., Gatherd], module: Callable[..., Any], database: str, prepare: str) -> None:
    config = CONFIG.format(prepare=prepare) + HANDLER.format(module=module("session"))
    daemon = module_gatherd(config, env={"PGS": database}, threads=1)

    def do(how: str, sql: str) -> None:
        reply = daemon.get(f"/does?how={how}&sql={quote(sql)}")
        assert reply.status == 200, (how, sql, reply.body)
        assert_clean(daemon)

    for how in ("query", "execute", "stream", "transaction"):
        for sql in ("select enter('a')", "select set_config('TimeZone', 'Asia/Tokyo', false)", "select * from outer_view", "select enter('a')"):
            do(how, sql)
    for how in ("query", "execute", "transaction"):
        for command in ("set role other", "listen x", "declare c cursor with hold for select 1"):
            do(how, f"select command('{command}')")
        do(how, "select pg_advisory_lock(3)")
    for how in ("execute", "transaction"):
        for sql in ("create temp table scratch (a int)", "insert into log (what) values ('x')", "select 1 as a into temp scratch"):
            do(how, sql)
    if prepare == "true":
        for how in ("query", "execute", "transaction"):
            do(how, "select command('prepare mine as select 1')")
    for how in ("query", "execute"):
        reply = daemon.get(f"/does?how={how}&sql={quote('select fails(chr(97))')}")
        assert reply.status == 422
        assert_clean(daemon)
