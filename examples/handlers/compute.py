import asyncio, json

def primes_below(limit):
    sieve = bytearray([1]) * limit
    sieve[0:2] = b"\0\0"
    for n in range(2, int(limit ** 0.5) + 1):
        if sieve[n]:
            sieve[n * n::n] = bytes(len(range(n * n, limit, n)))
    return sum(sieve)

async def main():
    loop = asyncio.get_running_loop()
    counts = await asyncio.gather(*(loop.run_in_executor(None, primes_below, limit) for limit in (10, 1000, 2_000_000)))
    print(json.dumps(counts))

asyncio.run(main())
