"""`reasonrl sandbox serve`: the sandbox of this machine over HTTP, for runs on others.

    POST /v1/run      programs in, executions out; tests stay with the client
    POST /run_code    the same as SandboxFusion has it, so that its clients can be pointed here
    GET  /v1/report   what holds programs here
    GET  /healthz     whether the server is up

Replies to what was refused are `{"status": "SandboxError", "message": why}` with an HTTP status that says of what kind
it is. Connections are not encrypted: beyond one machine, use a private network, or a proxy that does TLS in front.
"""

import asyncio
import hashlib
import hmac
import resource
import signal
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import fields
from functools import partial
from http import HTTPStatus
from ipaddress import ip_address
from typing import Final, TypeVar
from weakref import WeakSet

from aiohttp import BasicAuth, web
from aiohttp.typedefs import Middleware
from pydantic import ValidationError

from reasonrl.errors import ConfigError
from reasonrl.sandbox.host import Sandbox
from reasonrl.sandbox.messages import KEY_HEADER, TOKEN_VARIABLE, WAITING, Message, ReportReply, RunReply, RunRequest
from reasonrl.sandbox.sandboxfusion import RunCode, as_program, as_reply
from reasonrl.sandbox.types import Execution, Limits, Program, at_least

MAX_BODY: Final = 8 << 20
"""Bytes of the longest request."""

BODY_S: Final = 30.0
"""Longest time that a client may take to send a request's body."""

MAX_CONNECTIONS: Final = 1024
"""Connections open at once, where a quarter of this process's descriptors is not fewer."""

BACKLOG: Final = 128
"""Connections that may wait to be let in."""

REMEMBERED: Final = 64 << 20
"""Bytes of replies that are kept for requests that are sent again."""

MOST: Final = Limits(
    cpu_s=300.0, wall_s=900.0, memory_mib=4096, output_kib=8192, disk_mib=1024, num_files=1024, num_threads=256
)
"""The largest limits that a client may ask for."""

SHUTDOWN_S: Final = 1.0
"""Time that requests under way have when the server is stopped."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
M = TypeVar("M", bound=Message)


class _RefusedError(Exception):
    """A request that is not served.

    Args:
        status: HTTP status of the reply.
        why: what is wrong with it, and what to do.
    """

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


def check_address(host: str, token: str | None) -> None:
    """Refuse to serve strangers.

    Raises:
        ConfigError: others can reach this address, and there is no token.
    """
    if token is None and not _is_loopback(host):
        raise ConfigError(
            f"--host {host}: others could run programs here. Write a token into a file and give --token-file FILE, "
            f"or set {TOKEN_VARIABLE}; `openssl rand -hex 32` makes one. Or serve 127.0.0.1 only."
        )


def _is_loopback(host: str) -> bool:
    """Say whether an address is reached from this machine only. A name may stand for anything, except localhost."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def serve(sandbox: Sandbox, *, host: str, port: int, token: str | None, say: Callable[[str], None]) -> None:
    """Serve a sandbox until Ctrl-C or SIGTERM.

    Args:
        sandbox: what runs the programs.
        host: address to listen on.
        port: port to listen on; 0 for any that is free.
        token: what clients must show.
        say: told where the server listens, once it does.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    asyncio.run(_serve(sandbox, host, port, token, say))


async def _serve(sandbox: Sandbox, host: str, port: int, token: str | None, say: Callable[[str], None]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    door = _Door()
    # A request of a few bytes must not cost the work of inflating many, least of all before its token is looked at.
    runner = web.AppRunner(
        _application(sandbox, token, door), access_log=None, shutdown_timeout=SHUTDOWN_S, auto_decompress=False
    )
    await runner.setup()
    listener = None
    try:
        listener = await _listen(partial(_admit, runner, door), host, port)
        shown = f"[{host}]" if ":" in host else host
        say(f"serving on http://{shown}:{listener.sockets[0].getsockname()[1]}, isolation {sandbox.report().level}")
        await stop.wait()
    finally:
        if listener is not None:
            listener.close()
        await runner.cleanup()


async def _listen(admit: Callable[[], asyncio.BaseProtocol], host: str, port: int) -> asyncio.Server:
    try:
        return await asyncio.get_running_loop().create_server(admit, host, port, backlog=BACKLOG)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host} port {port}: {error.strerror or error}.") from None


def _admit(runner: web.AppRunner, door: "_Door") -> asyncio.BaseProtocol:
    """Return what talks to a client that has just come."""
    assert runner.server is not None, "the runner was set up"
    transports = [connection.transport for connection in runner.server.connections]
    return door.admit(runner.server, [each for each in transports if each is not None and not each.is_closing()])


class _Door:
    """Keeps connections few, so that idle ones do not take the descriptors that programs need."""

    def __init__(self) -> None:
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        unlimited = descriptors == resource.RLIM_INFINITY
        self._most = MAX_CONNECTIONS if unlimited else max(1, min(MAX_CONNECTIONS, descriptors // 4))
        self._arriving = 0  # let in, but not connected before the event loop's next round
        self._busy: set[asyncio.BaseTransport] = set()
        self._known: WeakSet[asyncio.BaseTransport] = WeakSet()

    def watch(self) -> Middleware:
        """Return what keeps in mind which connections have a request under way that was let in, and which had one."""

        @web.middleware
        async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
            transport = request.transport
            if transport is None:
                raise ConnectionResetError("the client hung up")
            self._busy.add(transport)
            if request.path != "/healthz":  # which asks for no token
                self._known.add(transport)
            try:
                return await handler(request)
            finally:
                self._busy.discard(transport)

        return watch

    def admit(
        self, server: Callable[[], asyncio.BaseProtocol], connected: Sequence[asyncio.Transport]
    ) -> asyncio.BaseProtocol:
        """Let a connection in. When there are too many, the oldest idle one goes, strangers first, or else this one."""
        if len(connected) + self._arriving >= self._most:
            idle = [transport for transport in connected if transport not in self._busy]
            if not idle:
                return _HungUp()
            min(idle, key=self._known.__contains__).abort()
        self._arriving += 1
        asyncio.get_running_loop().call_soon(self._arrived)
        return server()

    def _arrived(self) -> None:
        self._arriving -= 1


class _HungUp(asyncio.Protocol):
    """A connection that is closed at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hang up."""
        transport.close()


def _application(sandbox: Sandbox, token: str | None, door: _Door) -> web.Application:
    """Return the server's routes, for a sandbox that somebody else opens and closes."""
    routes = _Routes(sandbox)
    app = web.Application(client_max_size=MAX_BODY, middlewares=[_say_why, _ask_token(token), door.watch()])
    app.router.add_post("/v1/run", routes.run)
    app.router.add_post("/run_code", routes.run_code)
    app.router.add_get("/v1/report", routes.report)
    app.router.add_get("/healthz", routes.health)
    return app


@web.middleware
async def _say_why(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer whatever is refused, by us or by aiohttp, in one form."""
    try:
        return await handler(request)
    except _RefusedError as error:
        return _refusal(error.status, str(error))
    except ConfigError as error:  # limits that are none
        return _refusal(400, str(error))
    except web.HTTPException as error:
        return _refusal(error.status, error.reason)


def _refusal(status: int, why: str) -> web.Response:
    headers = {"Retry-After": "1"} if status == HTTPStatus.TOO_MANY_REQUESTS else None
    return web.json_response({"status": "SandboxError", "message": why}, status=status, headers=headers)


def _ask_token(token: str | None) -> Middleware:
    """Return what lets nobody in without the token, except to ask whether the server is up."""

    @web.middleware
    async def ask(request: web.Request, handler: Handler) -> web.StreamResponse:
        if token is not None and request.path != "/healthz":
            shown = _shown_token(request.headers.get("Authorization", ""))
            if not hmac.compare_digest(shown.encode(errors="surrogateescape"), token.encode()):
                raise _RefusedError(401, f"give the server's token: Authorization: Bearer TOKEN ({TOKEN_VARIABLE}).")
        return await handler(request)

    return ask


def _shown_token(header: str) -> str:
    """Return the token that a client shows, as bearer or as the password in its URL, for clients that know no other."""
    scheme, _, rest = header.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    try:
        password: str = BasicAuth.decode(header, encoding="utf-8").password
    except ValueError:
        return ""
    return password


async def _read(request: web.Request, kind: type[M]) -> tuple[M, str]:
    """Return the message in a request and a digest of it."""
    if request.content_type != "application/json":  # a web page could send anything else from a visitor's browser
        raise _RefusedError(415, "send Content-Type: application/json.")
    if "Content-Encoding" in request.headers:
        raise _RefusedError(415, "send the body as it is, without Content-Encoding.")
    try:
        async with asyncio.timeout(BODY_S):
            body = await request.read()
    except TimeoutError:
        raise _RefusedError(408, f"the body did not come within {BODY_S:g} seconds.") from None
    try:
        return kind.model_validate_json(body), hashlib.sha256(body).hexdigest()
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"] if step != "[key]") or "the request"
        raise _RefusedError(400, f"{where}: {first['msg'].removeprefix('Value error, ')}.") from None


class _Routes:
    """What each address of the server does."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox, self._queue, self._replies = sandbox, _Queue(sandbox), _Replies()

    async def run(self, request: web.Request) -> web.Response:
        """Run a batch of programs."""
        message, digest = await _read(request, RunRequest)
        level = self._sandbox.report().level
        if message.require is not None and not at_least(level, message.require):
            raise _RefusedError(412, f"isolation {message.require} is required, this server has {level}.")

        async def reply() -> Message:
            return RunReply(executions=tuple(await self._queue.run(message.programs)))

        return await self._once(request, digest, reply)

    async def run_code(self, request: web.Request) -> web.Response:
        """Run a program as SandboxFusion does."""
        message, digest = await _read(request, RunCode)
        if message.language != "python":
            raise _RefusedError(400, f"language {message.language!r} is not served here; this server runs python.")

        async def reply() -> Message:
            (execution,) = await self._queue.run([as_program(message)])
            return as_reply(execution)

        return await self._once(request, digest, reply)

    async def report(self, _: web.Request) -> web.Response:
        """Say what holds programs here."""
        return _json(ReportReply(report=self._sandbox.report(), slots=self._sandbox.slots).model_dump_json().encode())

    async def health(self, _: web.Request) -> web.Response:
        """Say that the server is up."""
        return web.json_response({"status": "ok"})

    async def _once(
        self, request: web.Request, digest: str, reply: Callable[[], Coroutine[None, None, Message]]
    ) -> web.Response:
        """Answer a request; one that is sent again gets the reply of the first."""

        async def encoded() -> bytes:
            return (await reply()).model_dump_json().encode()

        key = request.headers.get(KEY_HEADER)
        return _json(await encoded() if key is None else await self._replies.get(key, digest, encoded))


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")


class _Queue:
    """The programs that run or wait, as many as the server takes on."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox, self._room, self._taken = sandbox, (1 + WAITING) * sandbox.slots, 0

    async def run(self, programs: Sequence[Program]) -> list[Execution]:
        """Run programs, or refuse all of them."""
        self._check(programs)
        self._taken += len(programs)
        return await asyncio.gather(*map(self._run, programs))

    async def _run(self, program: Program) -> Execution:
        try:
            return await asyncio.wrap_future(self._sandbox.submit(program))
        finally:
            self._taken -= 1

    def _check(self, programs: Sequence[Program]) -> None:
        if len(programs) > self._room:
            raise _RefusedError(413, f"{len(programs)} programs at once; this server takes at most {self._room}.")
        if self._taken + len(programs) > self._room:
            raise _RefusedError(429, f"{self._taken} programs run or wait here already; come back later.")
        for index, program in enumerate(programs):
            _check_limits(program.limits, f"programs.{index}.limits")


def _check_limits(limits: Limits, where: str) -> None:
    """Refuse limits above those of this server."""
    for name in (field.name for field in fields(Limits)):
        asked, most = getattr(limits, name), getattr(MOST, name)
        if asked is not None and asked > most:
            raise _RefusedError(400, f"{where}.{name} is {asked}: at most {most:g} is allowed here.")


class _Replies:
    """Replies by the key of their request, kept while they are few."""

    def __init__(self) -> None:
        self._tasks: OrderedDict[str, tuple[str, asyncio.Task[bytes]]] = OrderedDict()
        self._bytes = 0

    async def get(self, key: str, digest: str, make: Callable[[], Coroutine[None, None, bytes]]) -> bytes:
        """Return the reply to a request, which is made when its key is new. A reply that is refused is forgotten."""
        if key not in self._tasks:
            task = asyncio.create_task(make())
            self._tasks[key] = (digest, task)
            task.add_done_callback(partial(self._keep, key))
        known, task = self._tasks[key]
        if known != digest:
            raise _RefusedError(422, f"{KEY_HEADER} {key!r} belongs to another request.")
        return await asyncio.shield(task)

    def _keep(self, key: str, task: "asyncio.Task[bytes]") -> None:
        if task.cancelled() or task.exception() is not None:
            del self._tasks[key]
            return
        self._bytes += _size(task)
        self._tasks.move_to_end(key)
        while self._bytes > REMEMBERED:
            self._bytes -= self._drop_oldest()

    def _drop_oldest(self) -> int:
        """Forget the reply that was finished first; return its size."""
        oldest = next(key for key, (_, task) in self._tasks.items() if task.done())
        return _size(self._tasks.pop(oldest)[1])


def _size(task: "asyncio.Task[bytes]") -> int:
    """Return the bytes of a reply, and of keeping it."""
    return len(task.result()) + 1024
