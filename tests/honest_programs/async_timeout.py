# entry: slow
# wrong: await asyncio.sleep(seconds) => await asyncio.sleep(0)
import asyncio


async def slow(seconds):
    await asyncio.sleep(seconds)
    return seconds
# ---- tests
import asyncio
async def limited():
    try:
        await asyncio.wait_for(slow(1), timeout=0.02)
    except asyncio.TimeoutError:
        return "late"
    return "in time"
assert asyncio.run(limited()) == "late"
