"""`reasonrl sandbox serve`: the sandbox of this machine over HTTP, for runs on others.

    POST /v1/run      runs programs and returns their executions; tests stay with the client
    POST /run_code    the same in SandboxFusion's protocol, for its clients
    GET  /v1/report   the isolation in use
    GET  /healthz     whether the server is up; needs no token

Replies to refused requests are `{"status": "SandboxError", "message": why}` with a matching HTTP status. Connections
are not encrypted: beyond one machine, use a private network, or a proxy with TLS in front.
"""

import asyncio
import hashlib
import hmac
import signal
from collections.abc import Callable, Coroutine
from functools import partial
from http import HTTPStatus
from typing import Final, TypeVar

from aiohttp import BasicAuth, web
from aiohttp.typedefs import Middleware
from pydantic import ValidationError

from reasonrl.errors import ConfigError
from reasonrl.system.access import require_token_beyond_loopback
from reasonrl_sandbox.admission import ConnectionLimiter, Handler, ProgramQueue, ReplyCache, RequestRefusedError
from reasonrl_sandbox.host import Sandbox
from reasonrl_sandbox.messages import KEY_HEADER, TOKEN_VARIABLE, Message, ReportReply, RunReply, RunRequest
from reasonrl_sandbox.sandboxfusion import RunCode, as_program, as_reply
from reasonrl_sandbox.types import is_at_least

MAX_BODY: Final = 8 << 20
"""Bytes of the longest request."""

BODY_S: Final = 30.0
"""Longest time for a client to send the body of a request."""

BACKLOG: Final = 128
"""Connections that may wait to be accepted."""

SHUTDOWN_S: Final = 1.0
"""Time for requests under way when the server is stopped."""

M = TypeVar("M", bound=Message)


def check_address(host: str, token: str | None) -> None:
    """Refuse an address that other machines can reach, if there is no token.

    Raises:
        ConfigError: it is one.
    """
    require_token_beyond_loopback(host, token, TOKEN_VARIABLE, risk="run programs here")


def serve(sandbox: Sandbox, *, host: str, port: int, token: str | None, announce: Callable[[str], None]) -> None:
    """Serve a sandbox until Ctrl-C or SIGTERM.

    Args:
        sandbox: runs the programs.
        host: address to listen on.
        port: port to listen on; 0 for any that is free.
        token: what clients must show.
        announce: called with the server's address once it listens.

    Raises:
        ConfigError: the server cannot listen on the address.
    """
    asyncio.run(_serve(sandbox, host, port, token, announce))


async def _serve(sandbox: Sandbox, host: str, port: int, token: str | None, announce: Callable[[str], None]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    limiter = ConnectionLimiter()
    # Bodies are not decompressed: a small one could inflate to any size, and that before its token is checked.
    runner = web.AppRunner(
        _application(sandbox, token, limiter), access_log=None, shutdown_timeout=SHUTDOWN_S, auto_decompress=False
    )
    await runner.setup()
    listener = None
    try:
        listener = await _listen(partial(_admit, runner, limiter), host, port)
        shown = f"[{host}]" if ":" in host else host
        announce(
            f"serving on http://{shown}:{listener.sockets[0].getsockname()[1]}, isolation {sandbox.report().level}"
        )
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


def _admit(runner: web.AppRunner, limiter: ConnectionLimiter) -> asyncio.BaseProtocol:
    """Return the protocol of a new connection."""
    assert runner.server is not None, "the runner was set up"
    transports = [connection.transport for connection in runner.server.connections]
    return limiter.admit(runner.server, [each for each in transports if each is not None and not each.is_closing()])


def _application(sandbox: Sandbox, token: str | None, limiter: ConnectionLimiter) -> web.Application:
    """Return the routes; the caller opens and closes the sandbox."""
    routes = _Routes(sandbox)
    app = web.Application(
        client_max_size=MAX_BODY, middlewares=[_reply_to_errors, _require_token(token), limiter.track()]
    )
    app.router.add_post("/v1/run", routes.run)
    app.router.add_post("/run_code", routes.run_code)
    app.router.add_get("/v1/report", routes.report)
    app.router.add_get("/healthz", routes.health)
    return app


@web.middleware
async def _reply_to_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Reply to refused requests in one form, whether we or aiohttp refuse them."""
    try:
        return await handler(request)
    except RequestRefusedError as error:
        return _refusal(error.status, str(error))
    except ConfigError as error:  # invalid limits
        return _refusal(400, str(error))
    except web.HTTPException as error:
        return _refusal(error.status, error.reason)


def _refusal(status: int, why: str) -> web.Response:
    headers = {"Retry-After": "1"} if status == HTTPStatus.TOO_MANY_REQUESTS else None
    return web.json_response({"status": "SandboxError", "message": why}, status=status, headers=headers)


def _require_token(token: str | None) -> Middleware:
    """Return middleware that refuses requests without the token, except whether the server is up."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if token is not None and request.path != "/healthz":
            given = _token_in(request.headers.get("Authorization", ""))
            if not hmac.compare_digest(given.encode(errors="surrogateescape"), token.encode()):
                raise RequestRefusedError(
                    401, f"give the server's token: Authorization: Bearer TOKEN ({TOKEN_VARIABLE})."
                )
        return await handler(request)

    return check


def _token_in(header: str) -> str:
    """Return the token in a header: a bearer token, or the password of a URL for clients that cannot send one."""
    scheme, _, rest = header.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    try:
        password: str = BasicAuth.decode(header, encoding="utf-8").password
    except ValueError:
        return ""
    return password


async def _read(request: web.Request, kind: type[M]) -> tuple[M, str]:
    """Return the message of a request and its digest."""
    if request.content_type != "application/json":  # browsers let any web page send other types to any server
        raise RequestRefusedError(415, "send Content-Type: application/json.")
    if "Content-Encoding" in request.headers:
        raise RequestRefusedError(415, "send the body as it is, without Content-Encoding.")
    try:
        async with asyncio.timeout(BODY_S):
            body = await request.read()
    except TimeoutError:
        raise RequestRefusedError(408, f"the body did not come within {BODY_S:g} seconds.") from None
    try:
        return kind.model_validate_json(body), hashlib.sha256(body).hexdigest()
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"] if step != "[key]") or "the request"
        raise RequestRefusedError(400, f"{where}: {first['msg'].removeprefix('Value error, ')}.") from None


class _Routes:
    """The handlers of the server."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox, self._queue, self._replies = sandbox, ProgramQueue(sandbox), ReplyCache()

    async def run(self, request: web.Request) -> web.Response:
        """Run a batch of programs."""
        message, digest = await _read(request, RunRequest)
        level = self._sandbox.report().level
        if message.require is not None and not is_at_least(level, message.require):
            raise RequestRefusedError(412, f"isolation {message.require} is required, this server has {level}.")

        async def reply() -> Message:
            return RunReply(executions=tuple(await self._queue.run(message.programs)))

        return await self._once(request, digest, reply)

    async def run_code(self, request: web.Request) -> web.Response:
        """Run a program, in SandboxFusion's protocol."""
        message, digest = await _read(request, RunCode)
        if message.language != "python":
            raise RequestRefusedError(
                400, f"language {message.language!r} is not served here; this server runs python."
            )

        async def reply() -> Message:
            (execution,) = await self._queue.run([as_program(message)])
            return as_reply(execution)

        return await self._once(request, digest, reply)

    async def report(self, _: web.Request) -> web.Response:
        """Reply with the isolation in use."""
        return _json(ReportReply(report=self._sandbox.report(), slots=self._sandbox.slots).model_dump_json().encode())

    async def health(self, _: web.Request) -> web.Response:
        """Reply that the server is up."""
        return web.json_response({"status": "ok"})

    async def _once(
        self, request: web.Request, digest: str, reply: Callable[[], Coroutine[None, None, Message]]
    ) -> web.Response:
        """Reply to a request; one that is sent again gets the reply of the first."""

        async def encoded() -> bytes:
            return (await reply()).model_dump_json().encode()

        key = request.headers.get(KEY_HEADER)
        return _json(await encoded() if key is None else await self._replies.get(key, digest, encoded))


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")
