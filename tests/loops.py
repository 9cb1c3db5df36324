"""Event loops as a notebook has them."""

import asyncio
from collections.abc import Callable


def in_a_loop(work: Callable[[], object]) -> object:
    """Call a function on a running event loop, as a notebook's cell is."""

    async def cell() -> object:
        return work()

    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(cell())
    finally:
        loop.close()
