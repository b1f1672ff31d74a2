import asyncio, json

async def slow():
    await asyncio.sleep(3600)

async def main():
    said = []
    try:
        await asyncio.wait_for(slow(), 0.02)
    except asyncio.TimeoutError:
        said.append("wait_for")
    try:
        async with asyncio.timeout(0.02):
            async with asyncio.timeout(3600):
                await slow()
    except asyncio.TimeoutError:
        said.append("the outer timeout")
    shielded = asyncio.create_task(asyncio.sleep(0.05, "finished"))
    try:
        await asyncio.wait_for(asyncio.shield(shielded), 0.01)
    except asyncio.TimeoutError:
        said.append(await shielded)
    print(json.dumps(said))

asyncio.run(main())
