"""Requests that an engine is sampling: one task works on all of them, and another thread can end them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from reasonrl.engines import Request
from reasonrl.errors import EngineError
from reasonrl.types import Trajectory


class AbortSwitch:
    """Ends coroutines from another thread."""

    def __init__(self) -> None:
        self._scopes: dict[asyncio.Timeout, asyncio.AbstractEventLoop] = {}

    @asynccontextmanager
    async def guard(self) -> AsyncIterator[None]:
        """Let what is awaited inside be ended by :meth:`abort`.

        Raises:
            EngineError: it was.
        """
        scope = asyncio.timeout(None)  # which :meth:`abort` lets expire: it cancels the task, and only what is inside
        self._scopes[scope] = asyncio.get_running_loop()
        try:
            async with scope:
                yield
        except TimeoutError:
            if scope.expired():
                raise EngineError("sampling was aborted.") from None
            raise
        finally:
            del self._scopes[scope]

    def abort(self) -> None:
        """End everything that is guarded; called from any thread."""
        for scope, loop in list(self._scopes.items()):
            with suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(self._expire, scope)

    def _expire(self, scope: asyncio.Timeout) -> None:
        if scope in self._scopes and not scope.expired():
            scope.reschedule(asyncio.get_running_loop().time())


@dataclass(frozen=True, slots=True, eq=False)
class PendingRequest:
    """A request with the future that its caller awaits; done also when the caller was cancelled."""

    request: Request
    future: "asyncio.Future[Trajectory]"


class RequestQueue:
    """Collects requests for one task that works on all of them and ends with the last.

    Args:
        work: the task: takes what waits and sets results, until nothing waits. It begins when all tasks that were
            ready to run have submitted their requests, so what is submitted together can be computed together.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:  # Any: an event loop's
        self._work = work
        self._waiting: list[PendingRequest] = []
        self._unfinished: set[PendingRequest] = set()
        self._worker: asyncio.Task[None] | None = None

    async def submit(self, request: Request) -> Trajectory:
        """Return the result of a request; whatever the work raises is raised here."""
        loop = asyncio.get_running_loop()
        pending = PendingRequest(request, loop.create_future())
        self._waiting.append(pending)
        self._unfinished.add(pending)
        if self._worker is None or self._worker.done():
            self._worker = loop.create_task(self._run())
            # A Ctrl-C that arrives in it is raised by the event loop; asyncio need not report it once more.
            self._worker.add_done_callback(lambda worker: worker.cancelled() or worker.exception())
        try:
            return await pending.future
        finally:
            self._unfinished.remove(pending)

    def take(self, most: int | None = None) -> list[PendingRequest]:
        """Remove and return what waits, in order; ``most`` of it."""
        waiting = self._not_done()
        taken, self._waiting = waiting[:most], waiting[len(waiting[:most]) :]
        return taken

    def waiting(self) -> list[Request]:
        """Return the requests that wait, in order."""
        return [pending.request for pending in self._not_done()]

    def _not_done(self) -> list[PendingRequest]:
        self._waiting = [pending for pending in self._waiting if not pending.future.done()]
        return self._waiting

    async def _run(self) -> None:
        try:
            await self._work()
        except Exception as error:
            for pending in self._unfinished:
                if not pending.future.done():
                    pending.future.set_exception(error)
