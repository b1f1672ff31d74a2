import asyncio, json

said = []

async def patient():
    try:
        said.append("waiting")
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        said.append("cancelled")
        raise
    finally:
        said.append("cleaned up")

async def main():
    task = asyncio.create_task(patient())
    await asyncio.sleep(0.01)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        said.append("awaited")
    print(json.dumps(said))

asyncio.run(main())
