"""`reasonrl sandbox serve`: the sandbox of this machine over HTTP, for runs on others.

    POST /v1/run      runs programs and returns their executions; tests stay with the client
    POST /run_code    the same in SandboxFusion's protocol, for its clients
    GET  /v1/report   the isolation in use
    GET  /healthz     whether the server is up; needs no token

Replies to refused requests are `{"status": "SandboxError", "message": why}` with a matching HTTP status. Connections
are not encrypted: beyond one machine, use a private network, or a proxy with TLS in front.
"""

import asyncio
import hmac
import signal
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from http import HTTPStatus
from typing import Final

from aiohttp import BasicAuth, web
from aiohttp.typedefs import Middleware

from reasonrl.errors import ConfigError
from reasonrl.system.access import require_token_beyond_loopback
from reasonrl.system.stopping import server_stop
from reasonrl_sandbox.admission import ConnectionLimiter, Handler, ProgramQueue, ReplyCache, RequestRefusedError
from reasonrl_sandbox.bodies import DEFAULT_MAX_BODY_MIB, BodyReader
from reasonrl_sandbox.host import Sandbox
from reasonrl_sandbox.messages import KEY_HEADER, TOKEN_VARIABLE, ReportReply, RunReply, RunRequest
from reasonrl_sandbox.sandboxfusion import RunCode, as_program, as_reply
from reasonrl_sandbox.types import Execution, is_at_least

BACKLOG: Final = 128
"""Connections that may wait to be accepted."""

SHUTDOWN_S: Final = 1.0
"""Time for requests under way when the server is stopped."""

MAX_MESSAGE: Final = 400
"""Characters of the reason for a refusal, which may quote the request."""

LINGER_S: Final = 1.0
"""Time for which the rest of a refused request is still taken, and thrown away, so that its client reads the reply."""


def check_address(host: str, token: str | None) -> None:
    """Refuse an address that other machines can reach, if there is no token.

    Raises:
        ConfigError: it is one.
    """
    require_token_beyond_loopback(host, token, TOKEN_VARIABLE, risk="run programs here")


def serve(
    sandbox: Sandbox,
    *,
    host: str,
    port: int,
    token: str | None,
    announce: Callable[[str], None],
    max_body_mib: int = DEFAULT_MAX_BODY_MIB,
) -> None:
    """Serve a sandbox until Ctrl-C or SIGTERM.

    Args:
        sandbox: runs the programs.
        host: address to listen on.
        port: port to listen on; 0 for any that is free.
        token: what clients must show.
        announce: called with the server's address once it listens.
        max_body_mib: mebibytes of the longest request.

    Raises:
        ConfigError: the server cannot listen on the address.
    """
    limiter = ConnectionLimiter()
    app = _application(sandbox, token, limiter, BodyReader(max_body_mib))

    def announce_url(url: str) -> None:
        announce(f"serving on {url}, isolation {sandbox.report().level}")

    asyncio.run(_serve(app, limiter, host, port, announce_url))


async def _serve(
    app: web.Application, limiter: ConnectionLimiter, host: str, port: int, announce_url: Callable[[str], None]
) -> None:
    stop = asyncio.Event()
    asked = server_stop(stop.set, f"the programs that run, {SHUTDOWN_S:g} s at most", "their results are lost")
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, asked, number)
    # Bodies are not decompressed: a small one could inflate to any size, and that before its token is checked.
    runner = web.AppRunner(
        app, access_log=None, shutdown_timeout=SHUTDOWN_S, auto_decompress=False, lingering_time=LINGER_S
    )
    await runner.setup()
    listener = None
    try:
        listener = await _listen(partial(_admit, runner, limiter), host, port)
        shown = f"[{host}]" if ":" in host else host
        announce_url(f"http://{shown}:{listener.sockets[0].getsockname()[1]}")
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


def _application(
    sandbox: Sandbox, token: str | None, limiter: ConnectionLimiter, bodies: BodyReader
) -> web.Application:
    """Return the routes; the caller opens and closes the sandbox."""
    routes = _Routes(sandbox, bodies)
    app = web.Application(middlewares=[_reply_to_errors, _require_token(token), limiter.track()])
    for path, handler in (("/v1/run", routes.run), ("/run_code", routes.run_code)):
        app.router.add_post(path, handler, expect_handler=_before_body(token, bodies))
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
    return web.json_response({"status": "SandboxError", "message": why[:MAX_MESSAGE]}, status=status, headers=headers)


def _require_token(token: str | None) -> Middleware:
    """Return middleware that refuses requests without the token, except whether the server is up."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path != "/healthz":
            _check_token(request, token)
        return await handler(request)

    return check


def _check_token(request: web.Request, token: str | None) -> None:
    """Refuse a request without the token."""
    given = _token_in(request.headers.get("Authorization", ""))
    if token is not None and not hmac.compare_digest(given.encode(errors="surrogateescape"), token.encode()):
        raise RequestRefusedError(401, f"give the server's token: Authorization: Bearer TOKEN ({TOKEN_VARIABLE}).")


def _before_body(token: str | None, bodies: BodyReader) -> Callable[[web.Request], Awaitable[web.Response | None]]:
    """Return what answers `Expect: 100-continue`, which asks before it sends a body: middleware would come too late."""

    async def answer(request: web.Request) -> web.Response | None:
        try:
            _check_token(request, token)
            bodies.check_headers(request)
        except RequestRefusedError as error:
            return _refusal(error.status, str(error))
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return None

    return answer


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


class _Routes:
    """The handlers of the server."""

    def __init__(self, sandbox: Sandbox, bodies: BodyReader) -> None:
        self._sandbox, self._bodies = sandbox, bodies
        self._queue, self._replies = ProgramQueue(sandbox), ReplyCache()

    async def run(self, request: web.Request) -> web.Response:
        """Run a batch of programs."""
        message, digest = await self._bodies.message(request, RunRequest)
        level = self._sandbox.report().level
        if message.require is not None and not is_at_least(level, message.require):
            raise RequestRefusedError(412, f"isolation {message.require} is required, this server has {level}.")

        async def reply() -> bytes:
            executions = await self._queue.run(message.programs)
            return b'{"executions":[%b]}' % b",".join([await asyncio.to_thread(_encoded, each) for each in executions])

        return await self._once(request, digest, reply)

    async def run_code(self, request: web.Request) -> web.Response:
        """Run a program, in SandboxFusion's protocol."""
        message, digest = await self._bodies.message(request, RunCode)
        if message.language != "python":
            raise RequestRefusedError(
                400, f"language {message.language!r} is not served here; this server runs python."
            )

        async def reply() -> bytes:
            (execution,) = await self._queue.run([as_program(message)])
            answered = await asyncio.to_thread(as_reply, execution, message.fetch_files)
            return (await asyncio.to_thread(answered.model_dump_json)).encode()

        return await self._once(request, digest, reply)

    async def report(self, _: web.Request) -> web.Response:
        """Reply with the isolation in use."""
        return _json(ReportReply(report=self._sandbox.report(), slots=self._sandbox.slots).model_dump_json().encode())

    async def health(self, _: web.Request) -> web.Response:
        """Reply that the server is up."""
        return web.json_response({"status": "ok"})

    async def _once(
        self, request: web.Request, digest: str, reply: Callable[[], Coroutine[None, None, bytes]]
    ) -> web.Response:
        """Reply to a request; one that is sent again gets the reply of the first."""
        key = request.headers.get(KEY_HEADER)
        return _json(await reply() if key is None else await self._replies.get(key, digest, reply))


def _encoded(execution: Execution) -> bytes:
    """Return an execution in JSON; each by itself, so that the event loop gets its turn between long ones."""
    reply = RunReply(executions=(execution,)).model_dump_json().encode()
    return reply.removeprefix(b'{"executions":[').removesuffix(b"]}")


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")
