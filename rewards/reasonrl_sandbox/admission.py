"""What bounds a sandbox server's load: connections, programs that run or wait, and replies that are kept."""

import asyncio
import resource
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import fields
from functools import partial
from typing import Final
from weakref import WeakSet

from aiohttp import web
from aiohttp.typedefs import Middleware

from reasonrl_sandbox.host import Sandbox
from reasonrl_sandbox.messages import KEY_HEADER, MAX_WAITING
from reasonrl_sandbox.types import Execution, Program, ProgramLimits

MAX_CONNECTIONS: Final = 1024
"""Connections open at once, or a quarter of this process's descriptors where that is fewer."""

MAX_CACHED_BYTES: Final = 64 << 20
"""Bytes of replies that are kept for requests that are sent again."""

MAX_LIMITS: Final = ProgramLimits(
    cpu_s=300.0, wall_s=900.0, memory_mib=4096, output_kib=8192, disk_mib=1024, num_files=1024, num_threads=256
)
"""The largest limits that a client may ask for."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class RequestRefusedError(Exception):
    """A request that is not served.

    Args:
        status: HTTP status of the reply.
        why: what is wrong with it, and what to do.
    """

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class ConnectionLimiter:
    """Bounds the connections, so that idle ones do not use up the descriptors that programs need."""

    def __init__(self) -> None:
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        unlimited = descriptors == resource.RLIM_INFINITY
        self._max_connections = MAX_CONNECTIONS if unlimited else max(1, min(MAX_CONNECTIONS, descriptors // 4))
        self._connecting = 0  # admitted, but not connected before the event loop's next round
        self._busy: set[asyncio.BaseTransport] = set()
        self._authenticated: WeakSet[asyncio.BaseTransport] = WeakSet()

    def track(self) -> Middleware:
        """Return middleware that notes which connections have a request under way, and which had an authorized one."""

        @web.middleware
        async def track(request: web.Request, handler: Handler) -> web.StreamResponse:
            transport = request.transport
            if transport is None:
                raise ConnectionResetError("the client disconnected")
            self._busy.add(transport)
            if request.path != "/healthz":  # which needs no token
                self._authenticated.add(transport)
            try:
                return await handler(request)
            finally:
                self._busy.discard(transport)

        return track

    def admit(
        self, server: Callable[[], asyncio.BaseProtocol], connected: Sequence[asyncio.Transport]
    ) -> asyncio.BaseProtocol:
        """Return the protocol of a new connection.

        At the maximum the oldest idle connection is closed, unauthenticated ones first, or else the new one.
        """
        if len(connected) + self._connecting >= self._max_connections:
            idle = [transport for transport in connected if transport not in self._busy]
            if not idle:
                return _ClosedAtOnce()
            min(idle, key=self._authenticated.__contains__).abort()
        self._connecting += 1
        asyncio.get_running_loop().call_soon(self._connected)
        return server()

    def _connected(self) -> None:
        self._connecting -= 1


class _ClosedAtOnce(asyncio.Protocol):
    """A connection that is refused."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close it."""
        transport.close()


class ProgramQueue:
    """The programs that run or wait, up to a maximum."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox, self._capacity, self._num_queued = sandbox, (1 + MAX_WAITING) * sandbox.slots, 0

    async def run(self, programs: Sequence[Program]) -> list[Execution]:
        """Run programs, or refuse all of them.

        Raises:
            RequestRefusedError: there are too many, or one asks for too much.
        """
        self._check(programs)
        self._num_queued += len(programs)
        return await asyncio.gather(*map(self._run, programs))

    async def _run(self, program: Program) -> Execution:
        try:
            return await asyncio.wrap_future(self._sandbox.submit(program))
        finally:
            self._num_queued -= 1

    def _check(self, programs: Sequence[Program]) -> None:
        if len(programs) > self._capacity:
            raise RequestRefusedError(
                413, f"{len(programs)} programs at once; this server takes at most {self._capacity}."
            )
        if self._num_queued + len(programs) > self._capacity:
            raise RequestRefusedError(429, f"{self._num_queued} programs run or wait here already; come back later.")
        for index, program in enumerate(programs):
            _check_limits(program.limits, f"programs.{index}.limits")


def _check_limits(limits: ProgramLimits, where: str) -> None:
    """Refuse limits above those of this server."""
    for name in (field.name for field in fields(ProgramLimits)):
        asked, allowed = getattr(limits, name), getattr(MAX_LIMITS, name)
        if asked is not None and asked > allowed:
            raise RequestRefusedError(400, f"{where}.{name} is {asked}: at most {allowed:g} is allowed here.")


class ReplyCache:
    """Replies by the key of their request, up to a total size; the oldest are dropped first."""

    def __init__(self) -> None:
        self._tasks: OrderedDict[str, tuple[str, asyncio.Task[bytes]]] = OrderedDict()
        self._num_bytes = 0

    async def get(self, key: str, digest: str, make: Callable[[], Coroutine[None, None, bytes]]) -> bytes:
        """Return the reply to a request, which is made only if its key is new. A failed one is not kept."""
        if key not in self._tasks:
            task = asyncio.create_task(make())
            self._tasks[key] = (digest, task)
            task.add_done_callback(partial(self._keep, key))
        known, task = self._tasks[key]
        if known != digest:
            raise RequestRefusedError(422, f"{KEY_HEADER} {key!r} belongs to another request.")
        return await asyncio.shield(task)  # a client that disconnects must not cancel it for the one that comes back

    def _keep(self, key: str, task: "asyncio.Task[bytes]") -> None:
        if task.cancelled() or task.exception() is not None:
            del self._tasks[key]
            return
        self._num_bytes += _size(task)
        self._tasks.move_to_end(key)
        while self._num_bytes > MAX_CACHED_BYTES:
            self._num_bytes -= self._drop_oldest()

    def _drop_oldest(self) -> int:
        """Drop the reply that was finished first; return its size."""
        oldest = next(key for key, (_, task) in self._tasks.items() if task.done())
        return _size(self._tasks.pop(oldest)[1])


def _size(task: "asyncio.Task[bytes]") -> int:
    return len(task.result()) + 1024  # of the task and its key
