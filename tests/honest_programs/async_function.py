# entry: fetch
# names: fetch, fetch_all
# wrong: x * 2 => x * 3
import asyncio


async def fetch(x):
    await asyncio.sleep(0.001)
    if x < 0:
        raise ValueError("negative")
    return x * 2


async def fetch_all(xs):
    return await asyncio.gather(*(fetch(x) for x in xs))
# ---- tests-file
import asyncio
import inspect
assert asyncio.run(fetch(2)) == 4
assert asyncio.run(fetch_all([1, 2])) == [2, 4]
async def main():
    first = await fetch(1)
    both = await asyncio.gather(fetch(2), fetch(3))
    task = asyncio.create_task(fetch(5))
    timed = await asyncio.wait_for(fetch(4), 1)
    return first, both, await task, timed
assert asyncio.run(main()) == (2, [4, 6], 10, 8)
try:
    asyncio.run(fetch(-1))
    message = ""
except ValueError as error:
    message = str(error)
assert message == "negative"
assert inspect.iscoroutinefunction(fetch)
