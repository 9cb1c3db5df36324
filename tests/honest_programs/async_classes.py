# entry: Pool
# names: Pool, ticker
# wrong: self.open -= 1 => pass
import asyncio


class Pool:
    def __init__(self):
        self.open = 0

    async def __aenter__(self):
        self.open += 1
        return self

    async def __aexit__(self, *error):
        self.open -= 1

    async def map(self, f, items):
        return [await f(item) for item in items]


async def ticker(n):
    for i in range(n):
        await asyncio.sleep(0)
        yield i
# ---- tests-file
import asyncio
async def main():
    pool = Pool()
    async with pool as inside:
        assert inside is pool
        during = pool.open
    async def double(x):
        await asyncio.sleep(0)
        return 2 * x
    return during, pool.open, [i async for i in ticker(3)], await pool.map(double, [1, 2])
assert asyncio.run(main()) == (1, 0, [0, 1, 2], [2, 4])
