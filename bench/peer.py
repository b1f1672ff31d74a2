"""The same service by hand: aiohttp, asyncpg, motor and orjson on uvloop, in one process.

peer.py PORT, with the databases in $PG and $MONGO.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys

import asyncpg
import orjson
import uvloop
from aiohttp import web
from motor.motor_asyncio import AsyncIOMotorClient

ITEM = "select id, name, price from items where id = $1"
routes = web.RouteTableDef()


def answer(value: object) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json")


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


async def sources(app: web.Application):
    client = AsyncIOMotorClient(os.environ["MONGO"], maxPoolSize=16)
    app["mongo"] = client.get_default_database()
    async with asyncpg.create_pool(os.environ["PG"], min_size=8, max_size=8) as app["pg"]:
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
