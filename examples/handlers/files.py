import asyncio, json, os
import aiofiles

async def read(name):
    async with aiofiles.open(os.path.join(os.environ["PAPERS"], name)) as file:
        return await file.read()

async def main():
    texts = await asyncio.gather(*(read(f"{name}.txt") for name in ("one", "two", "three")))
    async with aiofiles.open(os.path.join(os.environ["PAPERS"], "all.txt"), "w") as file:
        for text in texts:
            await file.write(text)
    async with aiofiles.open(os.path.join(os.environ["PAPERS"], "all.txt")) as file:
        await file.seek(4)
        print(json.dumps(await file.read(9)))

asyncio.run(main())
