import asyncio, contextvars, json

user = contextvars.ContextVar("user", default="nobody")
said = []

async def child(name, seconds):
    said.append(f"{name} sees {user.get()}")
    user.set(name)
    await asyncio.sleep(seconds)
    said.append(f"{name} set {user.get()}")

async def main():
    user.set("ann")
    await asyncio.gather(child("first", 0.01), child("second", 0.05))
    said.append(f"still {user.get()}")
    print(json.dumps(said))

asyncio.run(main())
