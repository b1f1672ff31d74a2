"""`gatherd check --connect`: every statement on its server, each mistake where it stands; sources that are not there."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from pathlib import Path
from typing import Any, Iterator

import pytest
from harness import postgres_program
from support import stopwatch

HEAD = 'sources: { pg: { postgres: "${PG}" } }\nendpoints:\n'  # the next line is 3
ONE = HEAD + '  "GET /a/{id}":\n    parameters: { id: { type: integer } }\n    gather:\n      s: '


def check(program: Path, folder: Path, text: str, **env: str) -> subprocess.CompletedProcess[str]:
    path = folder / "c.yaml"
    path.write_text(text)
    done = subprocess.run(
        [str(program), "check", "-c", str(path), "--connect"],
        capture_output=True,
        text=True,
        timeout=60,
        env=dict(os.environ) | env,
    )
    print(done.stderr)
    assert "Sanitizer" not in done.stderr and "runtime error" not in done.stderr
    return done


def said(done: subprocess.CompletedProcess[str]) -> list[tuple[str, int, int, str]]:
    """(file, line, column, text) of each diagnostic."""
    found = re.findall(r"^(.*?):(\d+):(\d+): (.*)$", done.stderr, re.MULTILINE)
    return [(Path(file).name, int(line), int(column), text) for file, line, column, text in found]


@pytest.fixture
def url(postgres: Any) -> str:
    return postgres.url("test")


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that nobody listens on, and that nobody else takes meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Somebody accepts, and says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        yield listener.getsockname()[1]


# -- all is well --


def test_all_is_well(program: Path, tmp_path: Path, url: str) -> None:
    text = (
        ONE
        + '{ from: pg, sql: "select name from customers where id = {id} and ({id} is null or {id} > 0)" }\n'
        + """\
      t: { from: pg, sql: "select day, num, point3 from kinds where js #> '{{a,b}}' is null limit {id}" }
  "POST /orders":
    body: { type: object, properties: { total: { type: number }, at: { type: string, format: date-time } } }
    gather:
      made:
        from: pg
        sql: |
          insert into orders (id, customer_id, product_id, placed_at, total)
          values (1, 1, 'p', {body.at}, {body.total}) returning id
"""
    ).replace("point3", "id")
    done = check(program, tmp_path, text, PG=url)
    assert done.returncode == 0 and not done.stderr and done.stdout.endswith("c.yaml: ok\n")


def test_no_source_at_all(program: Path, tmp_path: Path) -> None:
    assert check(program, tmp_path, 'endpoints: { "GET /": { respond: 1 } }').returncode == 0


@pytest.mark.parametrize("setting", ["prepare: false", "pool: { size: 1, max_waiting: 1, acquire_timeout: 20ms }"])
def test_whatever_the_source_says(program: Path, tmp_path: Path, url: str, setting: str) -> None:
    text = ONE.replace('"${PG}"', '"${PG}", ' + setting) + '{ from: pg, sql: "select {id}::int, ¶nope" }\n'
    text += "".join(f'      s{n}: {{ from: pg, sql: "select {{id}}::int + {n}" }}\n' for n in range(20))
    text, line, column = marked(text)
    assert [place[1:3] for place in said(check(program, tmp_path, text, PG=url))] == [(line, column)]


# -- where a mistake stands --

# the step, with a ¶ where the mistake is; what is said of it
MISTAKES: dict[str, tuple[str, str]] = {
    "an unknown table": ("{ from: pg, sql: select 1 from ¶custommers }", '"custommers" does not exist'),
    "an unknown column": ("{ from: pg, sql: select ¶nmae from customers }", '"nmae" does not exist; hint: .*"customers.name"'),
    "an unknown column in quotes": ('{ from: pg, sql: "select ¶nmae from customers" }', "nmae"),
    "behind a reference": ("{ from: pg, sql: 'select {id}::int, ¶nmae from customers' }", "nmae"),
    "behind letters of several bytes": ("{ from: pg, sql: \"select 'äöü€𝄞', {id}::int, ¶nmae from customers\" }", "nmae"),
    "behind literal braces": ('{ from: pg, sql: "select {id}::int, array[1] /* {{ }} {{ */, ¶nope" }', "nope"),
    "an unknown function": ("{ from: pg, sql: select ¶nofunction(1) }", "nofunction"),
    "bad syntax": ("{ from: pg, sql: select 1 form ¶customers }", "syntax error"),
    "bad syntax at the end": ("{ from: pg, sql: 'select 1 from¶' }", "syntax error at end"),
    "types that do not go together": ('{ from: pg, sql: "select 1 where now() ¶= {id}::int" }', "operator does not exist"),
    "a literal that does not fit": ("{ from: pg, sql: \"select 1 where 1 = ¶'x'\" }", "invalid input syntax"),
    "a reference that has no place": ('{ from: pg, sql: "select 1 from ¶{id}" }', "syntax error"),
    "a block": ("\n        from: pg\n        sql: |\n          select id,\n            {id}::int as x, ¶nmae\n          from customers\n", "nmae"),
    "a block that ends too early": ("\n        from: pg\n        sql: |\n          select id\n          from¶\n\n", "end of input"),
    "a block with a deeper first line": ("\n        from: pg\n        sql: |2\n              select\n            ¶nmae\n          from customers\n", "nmae"),
    "a folded text": ("\n        from: pg\n        sql: ¶>\n          select id,\n          nmae from customers\n", "nmae"),
    "a text with escapes": ('{ from: pg, sql: ¶"select\\tnmae from customers" }', "nmae"),
    "more columns than one": ("{ from: pg, sql: '¶select 1, 2', expect: value }", "one column.*has 2"),
    "a type that is not there": ("{ from: pg, sql: 'select {id}::¶nothing' }", '"nothing" does not exist'),
}  # fmt: skip


def marked(text: str) -> tuple[str, int, int]:
    """The text without its ¶, and the line and the column where that was."""
    before, mark, after = text.partition("¶")
    assert mark and "¶" not in after
    return before + after, before.count("\n") + 1, len(before) - before.rfind("\n")


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_stands_where_it_is(program: Path, tmp_path: Path, url: str, name: str) -> None:
    step, pattern = MISTAKES[name]
    config, line, column = marked(ONE + step + "\n")
    done = check(program, tmp_path, config, PG=url)
    assert done.returncode == 78 and not done.stdout
    [(file, at_line, at_column, text)] = said(done)
    assert (file, at_line, at_column) == ("c.yaml", line, column)
    assert re.search(f"^error: .*{pattern}", text)


def test_a_file_of_sql(program: Path, tmp_path: Path, url: str) -> None:
    (tmp_path / "q.sql").write_text("-- who it is\nselect {id}::int,\n\tnmae\nfrom customers\n")
    done = check(program, tmp_path, ONE + "{ from: pg, sql: { file: q.sql } }\n", PG=url)
    assert done.returncode == 78
    assert [place[:3] for place in said(done)] == [("q.sql", 3, 2)]


def test_an_included_file(program: Path, tmp_path: Path, url: str) -> None:
    (tmp_path / "more.yaml").write_text('endpoints:\n  "GET /b": { gather: { s: { from: pg, sql: select nope } } }\n')
    done = check(program, tmp_path, "include: [ more.yaml ]\n" + ONE + "{ from: pg, sql: select 1 }\n", PG=url)
    assert done.returncode == 78
    assert [place[:3] for place in said(done)] == [("more.yaml", 2, 52)]


def test_what_the_environment_supplied_is_not_shown(program: Path, tmp_path: Path, url: str) -> None:
    done = check(program, tmp_path, ONE + '{ from: pg, sql: "select ${COLUMN} from customers" }\n', PG=url, COLUMN="zz_value")
    assert done.returncode == 78 and "zz_value" not in done.stderr
    assert [place[1:3] for place in said(done)] == [(6, 27)] and "42703" in done.stderr


# -- types --

# the parameter's schema, the SQL, the severity ("" for none), what both are called
TYPES: dict[str, tuple[str, str, str, str]] = {
    "a string as an integer": ("{ type: string }", "select 1 from customers where id = {v}", "warning", "as integer, and it is declared as string"),
    "a string as a bigint": ("{ type: string }", "select 1 from kinds where i8 = {v}", "warning", "as bigint"),
    "a string as a uuid": ("{ type: string }", "select {v}::uuid", "warning", "as uuid"),
    "a string as a date": ("{ type: string }", "select {v}::date", "warning", "as date"),
    "a string with a pattern": ('{ type: string, pattern: "^[0-9]+$" }', "select 1 from customers where id = {v}", "", ""),
    "a list of words": ("{ type: string, enum: [ '1', '2' ] }", "select 1 from customers where id = {v}", "", ""),
    "a string as an enumeration": ("{ type: string }", "select {v}::mood", "", ""),
    "a string as an address": ("{ type: string, format: ipv4 }", "select {v}::inet", "", ""),
    "a string as text": ("{ type: string }", "select 1 from customers where name = {v}", "", ""),
    "a boolean as an integer": ("{ type: boolean }", "select 1 from customers where id = {v}", "error", "integer.*boolean: no value"),
    "a boolean as a boolean": ("{ type: boolean }", "select 1 from customers where active = {v}", "", ""),
    "an integer as a boolean": ("{ type: integer }", "select 1 from customers where active = {v}", "warning", "boolean.*integer"),
    "an integer as a number": ("{ type: integer }", "select {v}::numeric", "", ""),
    "a number as an integer": ("{ type: number }", "select 1 from customers where id = {v}", "warning", "integer.*number"),
    "an integer as a uuid": ("{ type: integer }", "select {v}::uuid", "error", "uuid.*integer"),
    "a date as a timestamp": ("{ type: string, format: date }", "select 1 from orders where placed_at > {v}", "", ""),
    "a uuid as an integer": ("{ type: string, format: uuid }", "select 1 from customers where id = {v}", "error", r"integer.*string \(uuid\)"),
    "an address as a date": ("{ type: string, format: email }", "select {v}::date", "error", r"date.*string \(email\)"),
    "a string as jsonb": ("{ type: string }", "select {v}::jsonb", "", ""),
    "a string as json": ("{ type: string, format: date }", "select {v}::json", "", ""),
    "strings as jsonb": ("{ type: array, items: { type: string } }", "select {v}::jsonb[]", "", ""),
    "an object as jsonb": ("{ type: object }", "select {v}::jsonb", "", ""),
    "an object as an integer": ("{ type: object }", "select {v}::int", "error", "integer.*object"),
    "an array as an array": ("{ type: array, items: { type: integer } }", "select 1 from customers where id = any({v})", "", ""),
    "an array of others": ("{ type: array, items: { type: boolean } }", "select 1 from customers where id = any({v})", "error", r"integer\[\].*array of boolean"),
    "an integer as an array": ("{ type: integer }", "select 1 from customers where id = any({v})", "error", r"integer\[\].*integer"),
    "nothing in particular": ("{}", "select 1 from customers where id = {v}", "", ""),
    "a type that nobody can tell": ("{ type: string }", "select {v} is null", "", ""),
    "by a cast of a cast": ("{ type: string }", "select {v}::text::int", "", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", TYPES)
def test_types(program: Path, tmp_path: Path, url: str, name: str) -> None:
    schema, sql, severity, pattern = TYPES[name]
    text = HEAD + f'  "POST /":\n    parameters: {{ v: {schema} }}\n    gather: {{ s: {{ from: pg, sql: "{sql}" }} }}\n'
    done = check(program, tmp_path, text, PG=url)
    assert done.returncode == (78 if severity == "error" else 0)
    if not severity:
        assert not said(done)
        return
    [(_, line, column, text)] = said(done)
    assert (line, column) == (5, 36 + sql.index("{v}"))
    assert text.startswith(f"{severity}: source pg takes {{v}}") and re.search(pattern, text)


@pytest.mark.parametrize(
    "sql, expect, names",
    [
        ("select 1 as a, 2 as b, 3 as a, 4 as a, 5 as b", "many", ["a", "b"]),
        ("select * from customers c join orders o on o.customer_id = c.id", "many", ["id"]),
        ("select 1, 2", "one", ["?column?"]),
        ("select 1 as a, row(1, 2) as a", "maybe", ["a"]),
        ('select 1 as a, 2 as "A"', "many", []),
        ("select 1 as a, 2 as a", "none", []),
    ],
)
def test_columns_of_one_name(program: Path, tmp_path: Path, url: str, sql: str, expect: str, names: list[str]) -> None:
    text = HEAD + f"  \"GET /\":\n    gather: {{ s: {{ from: pg, sql: '{sql}', expect: {expect} }} }}\n"
    done = check(program, tmp_path, text, PG=url)
    assert done.returncode == 0
    assert [re.search('name "(.*?)":', line[3]).group(1) for line in said(done)] == names  # type: ignore[union-attr]
    assert all(line[3].startswith('warning: the statement of step "s"') for line in said(done))


def test_a_domain_is_what_it_stands_for(program: Path, tmp_path: Path, private_postgres: Any) -> None:
    private_postgres.sql("create domain positive as integer check (value > 0)", "test")
    text = HEAD + '  "GET /":\n    parameters: { v: { type: boolean } }\n    gather: { s: { from: pg, sql: "select {v}::positive" } }\n'
    done = check(program, tmp_path, text, PG=private_postgres.url("test"))
    assert done.returncode == 78 and "as integer, and it is declared as boolean" in done.stderr


# -- sources that are not there --


def test_every_kind_of_source_that_is_down(program: Path, tmp_path: Path, closed_port: int) -> None:
    text = f"""\
sources:
  pg: {{ postgres: "postgresql://u:Sup3rSecret@127.0.0.1:{closed_port}/x" }}
  db: {{ mongodb: "mongodb://u:Sup3rSecret@127.0.0.1:{closed_port}/x" }}
  web: {{ http: "http://127.0.0.1:{closed_port}/" }}
  safe: {{ http: "https://127.0.0.1:{closed_port}/" }}
endpoints:
  "GET /": {{ gather: {{ s: {{ from: pg, sql: select nonsense }}, t: {{ from: db, find: x }}, u: {{ from: web, get: / }} }} }}
"""
    done = check(program, tmp_path, text)
    assert done.returncode == 69 and not done.stdout
    assert [place[1:3] for place in said(done)] == [(2, 19), (3, 18), (4, 16), (5, 17)]
    for (_, _, _, text), name in zip(said(done), ("pg", "db", "web", "safe")):
        assert text.startswith(f"error: source {name}: ") and re.search("refused|connect", text), "and not that time ran out"
    assert "Sup3rSecret" not in done.stderr


def test_sources_that_say_nothing_are_not_waited_for(program: Path, tmp_path: Path, silent_port: int) -> None:
    """Five of them, all at once, five seconds each."""
    text = f"""\
sources:
  pg: {{ postgres: "postgresql://u@127.0.0.1:{silent_port}/x" }}
  pg2: {{ postgres: "postgresql://u@127.0.0.1:{silent_port}/x?connect_timeout=60" }}
  db: {{ mongodb: "mongodb://127.0.0.1:{silent_port}/x" }}
  safe: {{ http: "https://127.0.0.1:{silent_port}/" }}
endpoints: {{ "GET /": {{ respond: 1 }} }}
"""
    with stopwatch() as took:
        done = check(program, tmp_path, text)
    assert done.returncode == 69
    assert [place[1] for place in said(done)] == [2, 3, 4, 5]
    assert took.seconds < 20, "and connect_timeout is 60"


def test_http_needs_no_more_than_a_connection(program: Path, tmp_path: Path, silent_port: int) -> None:
    text = f'sources: {{ web: {{ http: "http://127.0.0.1:{silent_port}" }} }}\nendpoints: {{ "GET /": {{ gather: {{ u: {{ from: web, get: / }} }} }} }}\n'
    assert check(program, tmp_path, text).returncode == 0


def test_mongo_and_files_that_are_there(program: Path, tmp_path: Path, mongo: Any) -> None:
    text = """\
sources: { db: { mongodb: "${MONGO}" }, papers: { files: . } }
endpoints: { "GET /": { gather: { u: { from: db, find: reviews }, t: { from: papers, read: a.txt } } } }
"""
    assert check(program, tmp_path, text, MONGO=mongo.url("test")).returncode == 0


def test_a_wrong_password(program: Path, tmp_path: Path, postgres: Any) -> None:
    wrong = re.sub(r"//([^:@/]*):[^@]*@", r"//\1:Sup3rSecret@", postgres.url("test"))
    assert "Sup3rSecret" in wrong
    done = check(program, tmp_path, ONE + "{ from: pg, sql: select 1 }\n", PG=wrong)
    assert done.returncode == 69 and "authentication failed" in done.stderr and "Sup3rSecret" not in done.stderr


def test_a_statement_that_waits_for_a_lock(program: Path, tmp_path: Path, private_postgres: Any) -> None:
    """The server is there, but does not answer in time."""
    holder = subprocess.Popen(
        [postgres_program("psql"), "-X", "-q", private_postgres.url("test")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        holder.stdin.write("begin; lock table items; \\echo held\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == "held\n"
        text = ONE + "{ from: pg, sql: select 1 from items }\n      t: { from: pg, sql: select 1 from customers }\n"
        with stopwatch() as took:
            done = check(program, tmp_path, text, PG=private_postgres.url("test"))
        assert done.returncode == 69 and took.seconds < 9
    finally:
        holder.kill()
        holder.wait()


# -- everything in one run --


def test_all_mistakes_in_one_run(program: Path, tmp_path: Path, url: str, closed_port: int) -> None:
    text = f"""\
sources:
  pg: {{ postgres: "${{PG}}" }}
  gone: {{ postgres: "postgresql://u:Sup3rSecret@127.0.0.1:{closed_port}/x" }}
endpoints:
  "GET /a/{{id}}":
    parameters: {{ id: {{ type: boolean }}, q: {{ type: string }} }}
    gather:
      a: {{ from: pg, sql: select 1 from nowhere }}
      b: {{ from: pg, sql: "select nmae from customers where id = {{id}}" }}
      c: {{ from: pg, sql: "select name from customers where id = {{id}}" }}
      d: {{ from: gone, sql: select 1 }}
      e:
        from: pg
        sql: |
          select 1
          form customers
  "GET /b":
    parameters: {{ q: {{ type: string }} }}
    gather:
      a: {{ from: pg, sql: "select 1 from items where id = {{q}}" }}
      b: {{ from: pg, sql: select 1 from nowhere }}
"""
    done = check(program, tmp_path, text, PG=url)
    assert done.returncode == 78 and "Sup3rSecret" not in done.stderr
    assert [place[1] for place in said(done)] == [3, 8, 9, 10, 16, 20, 21]
    assert done.stderr.endswith("6 errors, 1 warning\n")


def test_what_the_file_itself_has_wrong_comes_first(program: Path, tmp_path: Path) -> None:
    done = check(program, tmp_path, HEAD + '  "GET /": { respnd: 1 }\n', PG="postgresql://127.0.0.1:1/x")
    assert done.returncode == 78 and "connect" not in done.stderr


def test_usage(program: Path, tmp_path: Path) -> None:
    for arguments in (["run", "-c", "x", "--connect"], ["check", "--connect"], ["schema", "--connect"]):
        assert subprocess.run([str(program), *arguments], capture_output=True, timeout=60).returncode == 64
