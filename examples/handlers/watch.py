import asyncio, json, os

async def main():
    loop = asyncio.get_running_loop()
    said, came = [], loop.create_future()
    reading, writing = os.pipe()
    loop.add_reader(reading, lambda: came.done() or came.set_result(os.read(reading, 100).decode()))
    loop.call_later(0.02, os.write, writing, b"hello")
    loop.call_later(0.01, said.append, "later")
    loop.call_soon(said.append, "soon")
    said.append(await came)
    loop.remove_reader(reading)
    print(json.dumps(said))

asyncio.run(main())
