import asyncio, json, os
import aiohttp

async def safe_fetch(session, limit, path):
    try:
        async with limit, session.get(path) as response:
            response.raise_for_status()
            return await response.json()
    except aiohttp.ClientError:
        return {"path": path, "error": "no such page"}

async def main():
    limit = asyncio.Semaphore(5)
    async with aiohttp.ClientSession(os.environ["PAGES"]) as session:
        paths = [f"/pages/{n}" for n in range(20)]
        pages = await asyncio.gather(*(safe_fetch(session, limit, path) for path in paths))
    print(json.dumps(pages))

asyncio.run(main())
