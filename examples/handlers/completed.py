import asyncio, json

async def nap(n):
    await asyncio.sleep(n / 10)
    return n

async def main():
    naps = [asyncio.create_task(nap(n)) for n in (3, 1, 2)]
    done = [await first for first in asyncio.as_completed(naps)]
    print(json.dumps({"as they ended": done, "in order": await asyncio.gather(*naps)}))

asyncio.run(main())
