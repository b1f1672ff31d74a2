import asyncio, json

said = []

async def ask(name, after, takes):
    try:
        await asyncio.sleep(after)
        await asyncio.sleep(takes)
        return name
    except asyncio.CancelledError:
        said.append(f"{name} is not waited for")
        raise

async def main():
    mirrors = [asyncio.create_task(ask(*mirror)) for mirror in (("slow", 0, 3600), ("fast", 0.02, 0.01), ("spare", 3600, 0.01))]
    answered, others = await asyncio.wait(mirrors, return_when=asyncio.FIRST_COMPLETED)
    said.append(f"{answered.pop().result()} answered")
    for task in mirrors:
        task.cancel()
    await asyncio.gather(*mirrors, return_exceptions=True)
    print(json.dumps(said))

asyncio.run(main())
