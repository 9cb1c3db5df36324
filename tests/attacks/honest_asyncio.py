# expect: passed
import asyncio


async def slowly(number):
    await asyncio.sleep(0.001)
    return number


async def both(a, b):
    return sum(await asyncio.gather(slowly(a), slowly(b)))


def add(a, b):
    return asyncio.run(both(a, b))
