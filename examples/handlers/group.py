import asyncio, json

said = []

async def fails():
    await asyncio.sleep(0.01)
    raise ValueError("bad")

async def waits():
    try:
        await asyncio.sleep(3600)
    finally:
        said.append("the other one ended")

async def main():
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(waits())
            group.create_task(fails())
    except* ValueError:
        said.append("the group failed")
    print(json.dumps(said))

asyncio.run(main())
