"""The same service by hand: aiohttp, asyncpg, motor and orjson on uvloop, in one process.

peer.py PORT, with the databases in $PG and $MONGO and the HTTP service in $UPSTREAM.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time

import aiohttp
import asyncpg
import orjson
import uvloop
from aiohttp import web
from motor.motor_asyncio import AsyncIOMotorClient

ITEM = "select id, name, price from items where id = $1"
LINES = "select id, item, quantity from lines where page = $1 order by id"
ITEMS = "select id, name, price from items where id >= $1 and id < $1 + 100"
INSERT = "insert into orders (customer, total) values ($1, $2) returning id, customer, total"
UPDATE = "update stock set pieces = $1 where id = $2 returning id, pieces"
BULK = (
    "insert into orders (customer, total)"
    " select customer, total from jsonb_to_recordset($1) as o(customer integer, total double precision)"
)
routes = web.RouteTableDef()


def answer(value: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, headers=headers, content_type="application/json")


def order_of(body: object) -> tuple[int, float]:
    if (
        not isinstance(body, dict)
        or type(body.get("customer")) is not int
        or not isinstance(body.get("total"), (int, float))
    ):
        raise web.HTTPBadRequest(text="customer or total is wrong")
    return body["customer"], body["total"]


def key(request: web.Request) -> int:
    try:
        return int(request.match_info["id"])
    except ValueError:
        raise web.HTTPBadRequest(text="id is no integer") from None


async def read_item(request: web.Request, id: int) -> dict | None:
    row = await request.app["pg"].fetchrow(ITEM, id)
    return None if row is None else dict(row)


async def read_note(request: web.Request, id: int) -> dict | None:
    return await request.app["mongo"].notes.find_one({"_id": str(id)})


def found(value: dict | None) -> dict:
    if value is None:
        raise web.HTTPNotFound
    return value


@routes.get("/hello")
async def hello(request: web.Request) -> web.Response:
    return answer({"message": "Hello, World!"})


@routes.get("/pg/{id}")
async def pg(request: web.Request) -> web.Response:
    return answer(found(await read_item(request, key(request))))


@routes.get("/pg20/{id}")
async def pg20(request: web.Request) -> web.Response:
    id = key(request)
    rows = await asyncio.gather(*(read_item(request, (id + n * 499) % 10000) for n in range(20)))
    return answer({f"r{n}": found(row) for n, row in enumerate(rows)})


@routes.get("/mongo/{id}")
async def mongo(request: web.Request) -> web.Response:
    return answer(found(await read_note(request, key(request))))


@routes.get("/pair/{id}")
async def pair(request: web.Request) -> web.Response:
    id = key(request)
    item, note = await asyncio.gather(read_item(request, id), read_note(request, id))
    return answer({"item": found(item), "note": found(note)})


async def read_rates(request: web.Request) -> dict:
    async with request.app["http"].get(os.environ["UPSTREAM"] + "/rates") as reply:
        reply.raise_for_status()
        return orjson.loads(await reply.read())


@routes.get("/http")
async def http(request: web.Request) -> web.Response:
    return answer(await read_rates(request))


@routes.get("/all/{id}")
async def all(request: web.Request) -> web.Response:
    id = key(request)
    item, note, rates = await asyncio.gather(read_item(request, id), read_note(request, id), read_rates(request))
    return answer({"item": found(item), "note": found(note), "rates": rates})


async def read_page(request: web.Request, id: int) -> tuple[list[dict], list[dict]]:
    pg, page = request.app["pg"], id % 100
    lines, items = await asyncio.gather(pg.fetch(LINES, page), pg.fetch(ITEMS, page * 100))
    return [dict(line) for line in lines], [dict(item) for item in items]


@routes.get("/reads/{id}")
async def reads(request: web.Request) -> web.Response:
    lines, items = await read_page(request, key(request))
    return answer({"lines": lines, "items": items})


@routes.get("/join/{id}")
async def join(request: web.Request) -> web.Response:
    lines, items = await read_page(request, key(request))
    by_id = {item["id"]: item for item in items}
    return answer({"lines": [line | {"of": by_id.get(line["item"])} for line in lines]})


@routes.post("/orders")
async def order(request: web.Request) -> web.Response:
    body = order_of(orjson.loads(await request.read()))
    row = await request.app["pg"].fetchrow(INSERT, *body)
    return answer(dict(row), 201, {"Location": f"/orders/{row['id']}"})


@routes.put("/stock/{id}")
async def stock(request: web.Request) -> web.Response:
    body = orjson.loads(await request.read())
    if not isinstance(body, dict) or type(body.get("pieces")) is not int:
        raise web.HTTPBadRequest(text="pieces is no integer")
    row = await request.app["pg"].fetchrow(UPDATE, body["pieces"], key(request))
    return answer(found(row and dict(row)))


@routes.post("/bulk")
async def bulk(request: web.Request) -> web.Response:
    body = await request.read()
    orders = orjson.loads(body)
    if not isinstance(orders, list):
        raise web.HTTPBadRequest(text="the body is no list")
    for one in orders:
        order_of(one)
    tag = await request.app["pg"].execute(BULK, body.decode())
    return answer({"changed": int(tag.split()[-1])})


kept: dict[int, tuple[float, bytes]] = {}


async def cached_item(request: web.Request, id: int, seconds: float) -> web.Response:
    now = time.monotonic()
    expires, body = kept.get(id, (0.0, b""))
    if expires <= now:
        body = orjson.dumps(found(await read_item(request, id)))
        kept[id] = now + seconds, body
    return web.Response(body=body, content_type="application/json")


@routes.get("/cached")
async def cached(request: web.Request) -> web.Response:
    return await cached_item(request, 4711, 1)


@routes.get("/cached/{id}")
async def cached_by_key(request: web.Request) -> web.Response:
    return await cached_item(request, key(request), 10)


async def sources(app: web.Application):
    client = AsyncIOMotorClient(os.environ["MONGO"], maxPoolSize=16)
    app["mongo"] = client.get_default_database()
    async with (
        asyncpg.create_pool(os.environ["PG"], min_size=8, max_size=8) as app["pg"],
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=256)) as app["http"],
    ):
        yield
    client.close()


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")  # aiohttp's access log, to stderr
    app = web.Application()
    app.add_routes(routes)
    app.cleanup_ctx.append(sources)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), loop=uvloop.new_event_loop(), print=None)


if __name__ == "__main__":
    main()
