"""What the test servers hold.

PostgreSQL, database `test`: 100 customers, 5 orders each, 10,000 items, and `kinds`, a row of every type.
MongoDB, database `test`: 3 reviews a customer, 50 products, 250 points (more than a batch), and `kinds`, a document of
every type that the server has.
"""

from __future__ import annotations

import datetime

from harness import Binary, Decimal128, Int64, Mongo, ObjectId, Postgres, Regex, Timestamp

CURRENCIES = ["EUR", "USD", "GBP", "JPY"]

SQL = """
create table customers (
  id        integer primary key,
  name      text not null,
  currency  char(3) not null,
  active    boolean not null,
  email     text unique
);
insert into customers
select n, 'Customer ' || n, (array['EUR', 'USD', 'GBP', 'JPY'])[1 + n % 4], n % 10 <> 0, case when n % 3 = 0 then null else 'c' || n || '@example.com' end
from generate_series(1, 100) n;

create table orders (
  id           integer primary key,
  customer_id  integer not null references customers,
  product_id   text not null,
  placed_at    timestamptz not null,
  total        numeric(12, 2) not null
);
insert into orders
select (c.id - 1) * 5 + n, c.id, 'p-' || (1 + (c.id * 7 + n) % 50),
       timestamptz '2024-01-01 12:00:00Z' + make_interval(days => c.id, hours => n), c.id * 10 + n + 0.50
from customers c, generate_series(1, 5) n;
create index on orders (customer_id);

create table items (id integer primary key, name text not null, weight double precision not null);
insert into items select n, 'item ' || n, n / 8.0 from generate_series(0, 9999) n;

create type mood as enum ('sad', 'ok', 'happy');
create type point3 as (x integer, y integer, label text);
create table kinds (
  id       integer primary key,
  i2       smallint,
  i8       bigint,
  f4       real,
  f8       double precision,
  num      numeric,
  bool     boolean,
  txt      text,
  vc       varchar(20),
  ch       char(5),
  js       json,
  jsb      jsonb,
  day      date,
  tm       time,
  ts       timestamp,
  tstz     timestamptz,
  iv       interval,
  uid      uuid,
  bin      bytea,
  ints     integer[],
  texts    text[],
  grid     integer[][],
  addr     inet,
  mood     mood,
  pt       point3,
  rng      int4range,
  pts      point3[]
);
insert into kinds values (
  1, -32768, 9007199254740993, 1.5, 0.1, 12345678901234567890.12345678901234567890, true,
  E'tab\\t quote" back\\\\slash \\u00e9 \\U0001F600', 'vc', 'ab',
  '{"b": 1,  "a": [1, 2.50]}', '{"b": 1, "a": [1, 2.50]}',
  '2024-02-29', '23:59:59.123456', '2024-02-29 12:34:56.789', '2024-02-29 12:34:56.789+02', '1 year 2 mons 3 days 04:05:06.7',
  'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '\\x00ff10', '{1,2,null,-4}', array['a', null, 'q"uote', 'NULL', ''], '{{1,2},{3,4}}',
  '192.168.1.0/24', 'happy', row(1, null, 'a "label"'), '[1,5)', array[row(1, 2, 'x')::point3]
), (
  2, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null, null,
  null, null, null
), (
  3, 0, -9223372036854775808, 'NaN', 'Infinity', 'NaN', false, '', '', '', 'null', '"text"', 'infinity', '00:00', '-infinity', '0044-03-15 12:00:00+00 BC',
  '-1 day', '00000000-0000-0000-0000-000000000000', '', '{}', '{}', '{}', '::1', 'sad', row(null, null, null), 'empty', '{}'
);
analyze;
"""


def load_postgres(server: Postgres) -> None:
    server.create_database("test")
    server.sql(SQL, "test")


def moment(*parts: int) -> datetime.datetime:
    return datetime.datetime(*parts, tzinfo=datetime.UTC)


KINDS = {
    "_id": ObjectId("65a1b2c3d4e5f60718293a4b"),
    "double": 0.1,
    "whole": 3.0,
    "string": 'tab\t quote" \u00e9 \U0001f600',
    "document": {"b": 1, "a": {"deep": [1, "two"]}},
    "array": [1, None, "three", {"four": 4}],
    "binary": b"\x00\xff\x10",
    "uuid": Binary(4, bytes.fromhex("a0eebc999c0b4ef8bb6d6bb9bd380a11")),
    "true": True,
    "false": False,
    "date": moment(2024, 2, 29, 12, 34, 56, 789000),
    "old": moment(1900, 1, 1),
    "null": None,
    "int32": -42,
    "int64": Int64(9007199254740993),
    "regex": Regex("^a.*b$", "i"),
    "timestamp": Timestamp(1700000000, 7),
}

# What FerretDB cannot store; the other servers have it in `kinds` too.
RARE = {
    "_id": "rare",
    "decimal": Decimal128((12345).to_bytes(14, "little") + (0x3040 - 2 * 2).to_bytes(2, "little")),  # 123.45
    "nested": [1, [2, [3]]],
}


def load_mongo(server: Mongo) -> None:
    client = server.client
    client.insert(
        "test",
        "reviews",
        (
            {
                "_id": f"r-{customer}-{n}",
                "customer": customer,
                "product": f"p-{1 + (customer * 3 + n) % 50}",
                "stars": 1 + (customer + n) % 5,
                "text": f"review {n} of customer {customer}",
                "at": moment(2024, 1 + n, 1 + customer % 28),
            }
            for customer in range(1, 101)
            for n in range(1, 4)
        ),
    )
    client.insert(
        "test",
        "products",
        (
            {
                "_id": f"p-{n}",
                "name": f"Product {n}",
                "price": n * 1.25,
                "tags": ["all", "even" if n % 2 == 0 else "odd"],
            }
            for n in range(1, 51)
        ),
    )
    client.insert("test", "points", ({"_id": f"pt-{n:03}", "n": n, "pad": "x" * 100} for n in range(250)))
    client.insert("test", "kinds", [KINDS] if server.kind == "ferretdb" else [KINDS, RARE])
