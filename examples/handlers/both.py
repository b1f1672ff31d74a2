import asyncio, json, os
import asyncpg
from motor.motor_asyncio import AsyncIOMotorClient

async def main():
    pool = await asyncpg.create_pool(os.environ["PG"], min_size=1, max_size=4)
    catalog = AsyncIOMotorClient(os.environ["MONGO"]).get_default_database()
    customer, reviews = await asyncio.gather(
        pool.fetchrow("select id, name from customers where id = $1", 1),
        catalog.reviews.find({"customer": 1}, {"_id": 0, "stars": 1}).sort("stars", 1).to_list(10),
    )
    print(json.dumps({"customer": dict(customer), "reviews": reviews}))
    await pool.close()

asyncio.run(main())
