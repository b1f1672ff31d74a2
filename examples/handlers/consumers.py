import asyncio, json

async def consumer(queue, results):
    while True:
        n = await queue.get()
        await asyncio.sleep(0.001)
        results[n] = n * n
        queue.task_done()

async def main():
    queue, results = asyncio.Queue(maxsize=4), [None] * 20
    consumers = [asyncio.create_task(consumer(queue, results)) for _ in range(3)]
    for n in range(20):
        await queue.put(n)
    await queue.join()
    for task in consumers:
        task.cancel()
    print(json.dumps(results))

asyncio.run(main())
