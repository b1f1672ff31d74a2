import asyncio, json, os
import asyncpg

async def transfer(connection, amount):
    async with connection.transaction():
        await connection.execute("update accounts set balance = balance - $1 where name = 'ann'", amount)
        await connection.execute("update accounts set balance = balance + $1 where name = 'bob'", amount)

async def main():
    connection = await asyncpg.connect(os.environ["PG"])
    await connection.execute("create temporary table accounts (name text, balance int check (balance >= 0))")
    await connection.execute("insert into accounts values ('ann', 100), ('bob', 0)")
    said = []
    for amount in (30, 500):
        try:
            await transfer(connection, amount)
            said.append("done")
        except asyncpg.CheckViolationError:
            said.append("not enough")
    rows = await connection.fetch("select balance from accounts order by name")
    print(json.dumps([said, [row["balance"] for row in rows]]))
    await connection.close()

asyncio.run(main())
