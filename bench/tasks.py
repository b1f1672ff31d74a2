"""What tasks cost on asyncio with uvloop: the same as tasks.c does, in the same words.

Prints a line `name median` for each measurement; the rounds take turns. Times are the thread's own, but for those of
two threads.
"""

from __future__ import annotations

import asyncio
import queue
import statistics
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

ROUNDS = 5
SPAWNS, SWITCHES, HAND_OVERS, CHILDREN, GATHERS, SLEEPERS, TRIPS = 20000, 20000, 10000, 1000, 5, 30000, 1000


async def nothing() -> None:
    pass


async def spawn_ns() -> float:
    began = time.thread_time_ns()
    for _ in range(SPAWNS):
        await asyncio.create_task(nothing())
    return (time.thread_time_ns() - began) / SPAWNS


async def switch_ns() -> float:
    """Two tasks; each wakes the other and suspends."""
    loop = asyncio.get_running_loop()
    futures: list[asyncio.Future[None]] = [loop.create_future(), loop.create_future()]

    async def side(own: int) -> None:
        for number in range(SWITCHES):
            futures[own] = loop.create_future()
            if not futures[not own].done():
                futures[not own].set_result(None)
            if own == 1 and number == SWITCHES - 1:
                return
            await futures[own]
        if not futures[not own].done():
            futures[not own].set_result(None)

    began = time.thread_time_ns()
    await asyncio.gather(side(0), side(1))
    return (time.thread_time_ns() - began) / SWITCHES


async def semaphore_ns() -> float:
    semaphores = asyncio.Semaphore(0), asyncio.Semaphore(0)

    async def side(own: int) -> None:
        for _ in range(HAND_OVERS):
            if own == 0:
                semaphores[0].release()
            await semaphores[not own].acquire()
            if own == 1:
                semaphores[1].release()

    began = time.thread_time_ns()
    await asyncio.gather(side(0), side(1))
    return (time.thread_time_ns() - began) / (2 * HAND_OVERS)


async def queue_ns() -> float:
    queues: tuple[asyncio.Queue[int], ...] = asyncio.Queue(1), asyncio.Queue(1)

    async def side(own: int) -> None:
        item = 0
        for _ in range(HAND_OVERS):
            if own == 0:
                await queues[0].put(item)
            item = await queues[not own].get()
            if own == 1:
                await queues[1].put(item)

    began = time.thread_time_ns()
    await asyncio.gather(side(0), side(1))
    return (time.thread_time_ns() - began) / (2 * HAND_OVERS)


async def gather_us() -> float:
    began = time.thread_time_ns()
    for _ in range(GATHERS):
        await asyncio.gather(*(nothing() for _ in range(CHILDREN)))
    return (time.thread_time_ns() - began) / GATHERS / 1e3


async def future_us() -> float:
    """A future that another thread resolves."""
    loop = asyncio.get_running_loop()
    orders: queue.SimpleQueue[asyncio.Future[None] | None] = queue.SimpleQueue()

    def resolve() -> None:
        while future := orders.get():
            loop.call_soon_threadsafe(future.set_result, None)

    thread = threading.Thread(target=resolve)
    thread.start()
    began = time.perf_counter_ns()
    for _ in range(TRIPS):
        future = loop.create_future()
        orders.put(future)
        await future
    took = time.perf_counter_ns() - began
    orders.put(None)
    thread.join()
    return took / TRIPS / 1e3


def resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1048576


async def sleepers_mib() -> float:
    before = resident_mib()
    tasks = [asyncio.create_task(asyncio.sleep(600)) for _ in range(SLEEPERS)]
    await asyncio.sleep(0.5)
    now = resident_mib()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return now - before


MEASUREMENTS: list[Callable[[], Awaitable[float]]] = [switch_ns, spawn_ns, semaphore_ns, queue_ns, gather_us, future_us]


async def main() -> None:
    samples: dict[str, list[float]] = {measure.__name__: [] for measure in MEASUREMENTS}
    for _ in range(ROUNDS):
        for measure in MEASUREMENTS:
            samples[measure.__name__].append(await measure())
    for name, values in samples.items():
        print(f"{name} {statistics.median(values):.3f}")
    print(f"sleepers_mib {await sleepers_mib():.3f}")


if __name__ == "__main__":
    uvloop.install()
    asyncio.run(main())
