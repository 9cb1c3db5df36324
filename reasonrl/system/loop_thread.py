"""An event loop in a thread of its own, for what goes on whichever thread or event loop asks for it."""

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Thread
from typing import Any, Final, TypeVar

Result = TypeVar("Result")

MAX_END_S: Final = 30.0
"""Longest time that the end of what runs is waited for."""


class LoopThread:
    """An event loop in a daemon thread.

    Args:
        name: of the thread.
        num_threads: how many calls of :func:`asyncio.to_thread` may run at once.
    """

    def __init__(self, name: str, *, num_threads: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(ThreadPoolExecutor(num_threads, thread_name_prefix=name))
        self._thread = Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Result], *, timeout_s: float | None = None) -> Result:
        """Run a coroutine to its end and return its result; the calling thread waits. Any: the event loop's.

        Whatever interrupts the wait ends the coroutine.

        Raises:
            TimeoutError: it took longer than ``timeout_s``.
        """
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout_s)
        except BaseException:
            future.cancel()
            raise

    async def awaited(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Await a coroutine from another event loop; one that is cancelled there is cancelled here. Any: as above."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def close(self) -> None:
        """End everything that runs, threads included, and the loop."""
        ending = asyncio.run_coroutine_threadsafe(self._end(), self._loop)
        with suppress(TimeoutError):
            ending.result(MAX_END_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(MAX_END_S)
        if not self._thread.is_alive():
            self._loop.close()

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._loop.shutdown_default_executor()
