import asyncio, json, os
import asyncpg

async def main():
    pool = await asyncpg.create_pool(os.environ["PG"], min_size=2, max_size=4)
    listener = await pool.acquire()
    heard = asyncio.Queue()

    def hear(connection, pid, channel, payload):
        heard.put_nowait(payload)

    await listener.add_listener("news", hear)
    for word in ("one", "two", "three"):
        await pool.execute("select pg_notify('news', $1)", word)
    print(json.dumps([await heard.get() for _ in range(3)]))
    await listener.remove_listener("news", hear)
    await pool.release(listener)
    await pool.close()

asyncio.run(main())
