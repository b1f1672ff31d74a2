import asyncio, json, threading

def work(loop, future):
    loop.call_soon_threadsafe(future.set_result, 42)

async def main():
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    thread = threading.Thread(target=work, args=(loop, future))
    thread.start()
    answers = await asyncio.gather(*(asyncio.wait_for(asyncio.shield(future), 5) for _ in range(3)))
    thread.join()
    print(json.dumps(answers))

asyncio.run(main())
