import asyncio, json

said = []

async def reader(name, condition, news, closing):
    async with condition:
        await condition.wait_for(lambda: news)
        said.append(f"{name} read {news[-1]}")
    await closing.wait()
    said.append(f"{name} left")

async def main():
    lock = asyncio.Lock()
    condition, news, closing = asyncio.Condition(lock), [], asyncio.Event()
    readers = [asyncio.create_task(reader(name, condition, news, closing)) for name in ("ann", "bob")]
    await asyncio.sleep(0.01)
    async with lock:
        news.append("hello")
        condition.notify_all()
        said.append("told them")
    await asyncio.sleep(0.01)
    closing.set()
    await asyncio.gather(*readers)
    print(json.dumps(said))

asyncio.run(main())
