"""`RemoteSandbox`: the sandboxes of other machines, used like the one of this machine.

What a server, or the way there, fails is tried again, on another server where there is one. What that does not help
is a `sandbox_error`, never a fault of the program.
"""

import asyncio
import random
import threading
import time
import uuid
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Final, Self, TypeVar, get_args

import aiohttp
from pydantic import BaseModel, ValidationError
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception
from yarl import URL

from reasonrl.errors import ConfigError, SandboxError
from reasonrl.retries import BACK_OFF, Breaker, is_transient, retry_after
from reasonrl.sandbox.messages import (
    KEY_HEADER,
    TOKEN_VARIABLE,
    WAITING,
    Message,
    ReportReply,
    RunReply,
    RunRequest,
    as_token,
    read_token,
)
from reasonrl.sandbox.report import IsolationReport
from reasonrl.sandbox.sandboxfusion import RunCodeReply, as_execution, as_request, refuse_split
from reasonrl.sandbox.types import Execution, Isolation, Level, Program, ServerProtocol, at_least

CONCURRENCY: Final = 16
"""Programs at once on a server that does not say how many it takes."""

RETRIES: Final = 3
"""Further tries of a program that servers failed."""

FAILURES: Final = 3
"""Programs in a row failed by a server after which it is taken to be down."""

PAUSE_S: Final = 5.0
"""Time for which a server that is down is asked nothing; then one program tries it."""

LOOK_S: Final = 0.5
"""Time between looks for a server when all are down."""

CONNECT_S: Final = 5.0
"""Longest time to reach a server."""

ROUNDS: Final = WAITING + 2
"""Programs one after the other that a request may take: those that wait before it, itself, and its repetition."""

SPARE_S: Final = 10.0
"""Time for a request beyond the deadlines of those programs."""

LONGEST_PAUSE_S: Final = 60.0
"""Longest time for which a server may ask to be left alone."""

MAX_REPLY: Final = 128 << 20
"""Bytes of the longest reply; the largest output that a server of ours allows fits, however JSON escapes it."""

_STRANGER: Final = IsolationReport(
    level="unverified",
    layers={"isolation": "off: SandboxFusion does not say how it holds programs"},
    verified={},
    needs={"isolation": "servers started by `reasonrl sandbox serve`"},
    uid=-1,
    kernel="unknown",
    python="unknown",
)

LEVELS: Final = get_args(Level)

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)


class _RefusedError(Exception):
    """A reply other than the one asked for, with the attributes that `is_transient` and `retry_after` read."""

    def __init__(self, status: int, why: str, headers: Mapping[str, str]) -> None:
        super().__init__(why)
        self.status, self.headers = status, headers


class _FailedError(ConnectionError):
    """A sandbox that failed on a server that is up."""


class _AllDownError(Exception):
    """Every server has been down for too long."""


class _Refusal(BaseModel):
    """What a server replies to a request that it refuses; those of others may say it otherwise."""

    message: str = ""


@dataclass(slots=True)
class _Server:
    """One server as the client knows it."""

    url: URL
    concurrency: int
    report: IsolationReport | None = None
    """How it holds programs; None until it has answered."""
    under_way: int = 0
    breaker: Breaker = field(default_factory=lambda: Breaker(FAILURES, PAUSE_S))

    def __str__(self) -> str:
        return str(self.url.with_user(None))


@dataclass(slots=True)
class _Job:
    """One program on its way."""

    program: Program
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    """The same as long as no server has answered, so that none runs it twice."""
    failures: int = 0
    server: _Server | None = None
    """Where it was tried last."""


class RemoteSandbox:
    """Runs programs on other machines; a context manager.

    Args:
        urls: One server or several, such as `http://10.0.0.7:8080`.
        token: What the servers ask for; by default, what REASONRL_SANDBOX_TOKEN holds is for servers of ours.
        require: The least isolation that will do; a server below it is refused.
        protocol: What the servers speak. SandboxFusion does not say how it holds programs: level `unverified`.
        concurrency: Programs at once on each server; by default twice its slots, or 16 where it does not say.
        patience_s: How long all servers may be down before programs are given up.

    Raises:
        ConfigError: No URL of a server, no token that a header can hold, or an isolation required of SandboxFusion.
        SandboxError: No server answers, or one is below `require`, or refuses the token.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        *,
        token: str | None = None,
        require: Isolation | None = None,
        protocol: ServerProtocol = "reasonrl",
        concurrency: int | None = None,
        patience_s: float = 60.0,
    ) -> None:
        """Ask every server how it holds programs."""
        if protocol == "sandboxfusion" and require is not None:
            raise ConfigError(
                f"isolation {require} is required, but SandboxFusion servers do not say how they hold programs: "
                "take isolation auto, or servers started by `reasonrl sandbox serve`."
            )
        names = [urls] if isinstance(urls, str) else dict.fromkeys(urls)
        self._servers = [_Server(_url(name), concurrency or CONCURRENCY) for name in names]
        headers = {"Content-Type": "application/json", **_authorization(token, protocol, self._servers)}
        self._require, self._protocol, self._patience_s = require, protocol, patience_s
        self._concurrency = concurrency
        self._down_since: float | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="remote-sandbox", daemon=True)
        self._thread.start()
        self._session = self._wait_for(_open(headers))
        try:
            self._wait_for(self._meet())
            self._turn = asyncio.Semaphore(self.slots)
        except BaseException:
            self.close()
            raise

    @property
    def slots(self) -> int:
        """Programs that are under way at once."""
        return sum(server.concurrency for server in self._servers)

    def run(self, program: Program) -> Execution:
        """Run one program to its end. Never raises on what the program does, nor on what a server fails."""
        return self.submit(program).result()

    def submit(self, program: Program) -> Future[Execution]:
        """Queue one program; any thread may call it.

        Raises:
            SandboxError: the sandbox is closed, or servers of this protocol cannot take the program.
        """
        try:
            program.source.encode()
        except UnicodeEncodeError as error:  # JSON in UTF-8 does not hold it, and Python would not compile it
            return _done(Execution("compile_error", detail=str(error)))
        if self._protocol == "sandboxfusion":
            refuse_split(program)
        with self._lock:
            if self._closed:
                raise SandboxError("the remote sandbox is closed.")
            return asyncio.run_coroutine_threadsafe(self._serve(_Job(program)), self._loop)

    def report(self) -> IsolationReport:
        """Say what holds the programs on the weakest of the servers."""
        known = [server.report for server in self._servers if server.report is not None]
        weakest = max(known, key=lambda report: LEVELS.index(report.level))
        where = "active: " + ", ".join(map(str, self._servers))
        return replace(weakest, layers={"remote": where, **weakest.layers})

    def close(self) -> None:
        """Give up what is under way, as `sandbox_error`, and hang up. Closing twice is closing once."""
        with self._lock:
            was_closed, self._closed = self._closed, True
        if was_closed:
            return
        self._wait_for(self._hang_up())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *exc: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Close."""
        self.close()

    def _wait_for(self, work: Coroutine[None, None, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    # On the event loop.

    async def _hang_up(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._session.close()

    async def _meet(self) -> None:
        """Learn how each server holds programs; one that does not answer now may do so later."""
        failures = await asyncio.gather(*map(self._greet, self._servers))
        if all(failures):
            raise SandboxError(f"no sandbox server answers: {'; '.join(failures)}.")

    async def _greet(self, server: _Server) -> str:
        """Learn how one server holds programs; return why it did not answer, if so."""
        try:
            await self._learn(server)
        except (_RefusedError, OSError, aiohttp.ClientError) as error:
            if not is_transient(error):
                raise SandboxError(f"{server}: {_describe(error)}.") from None
            return f"{server}: {_describe(error)}"
        return ""

    async def _learn(self, server: _Server) -> None:
        """Learn how one server holds programs, unless that is known.

        Raises:
            _RefusedError: it has less isolation than required, or does not say.
            OSError, aiohttp.ClientError: it did not answer.
        """
        if server.report is not None:
            return
        report, concurrency = await self._ask(server)
        if self._require is not None and not at_least(report.level, self._require):
            there = "`reasonrl sandbox doctor` there says what it would need"
            raise _RefusedError(412, f"isolation {self._require} is required, it has {report.level}. {there}", {})
        server.report, server.concurrency = report, concurrency

    async def _ask(self, server: _Server) -> tuple[IsolationReport, int]:
        """Ask one of ours, or have one of theirs run a program; return the report, and how many programs it takes."""
        if self._protocol == "reasonrl":
            reply = await self._exchange(server, "/v1/report", None, ReportReply, SPARE_S)
            return reply.report, self._concurrency or 2 * reply.slots
        execution = await self._tried(server, _Job(Program("")))
        if execution.ending != "finished":
            raise _RefusedError(502, f"an empty program did not end well: {execution.stderr or execution.detail}", {})
        return _STRANGER, server.concurrency

    async def _serve(self, job: _Job) -> Execution:
        """Run a program when its turn comes."""
        try:
            async with self._turn:
                return await self._run(job)
        except asyncio.CancelledError:
            return Execution("sandbox_error", detail="the remote sandbox was closed")

    async def _run(self, job: _Job) -> Execution:
        """Try a program where it can be tried, as long as that may help."""
        tries = AsyncRetrying(
            retry=retry_if_exception(_another_may_help),
            stop=lambda _: job.failures > RETRIES or self._out_of_patience(),
            wait=_pause,
            reraise=True,
        )
        try:
            return await tries(self._try, job)
        except _AllDownError as error:
            return Execution("sandbox_error", detail=str(error))
        except (_RefusedError, OSError, aiohttp.ClientError) as error:
            return Execution("sandbox_error", detail=f"{job.server}: {_describe(error)}")

    async def _try(self, job: _Job) -> Execution:
        """Try a program on the least busy server that is up."""
        job.server = server = await self._pick(job.server)
        server.breaker.begin()
        server.under_way += 1
        try:
            await self._learn(server)
            execution = await self._tried(server, job)
        except (_RefusedError, OSError, aiohttp.ClientError) as error:
            self._failed(server, job, error)
            raise
        except BaseException:
            server.breaker.note("")
            raise
        finally:
            server.under_way -= 1
        server.breaker.note("")
        self._down_since = None
        return execution

    async def _pick(self, last: _Server | None) -> _Server:
        """Return the least busy server that is up, waiting for one; rather another than the last."""
        while not (up := [server for server in self._servers if not server.breaker.refusal()]):
            if self._out_of_patience():
                first = self._servers[0]
                raise _AllDownError(f"every server is down: {first} {first.breaker.refusal()}")
            await asyncio.sleep(random.uniform(0, 2 * LOOK_S))
        return min(up, key=lambda server: (server is last, server.under_way / server.concurrency, random.random()))

    def _failed(self, server: _Server, job: _Job, error: Exception) -> None:
        """Keep in mind that a program was not run. It is no fault of a server that is busy, refuses it, or replies."""
        busy = isinstance(error, _RefusedError) and error.status == 429
        replied = isinstance(error, _FailedError) or not _another_may_help(error)
        server.breaker.note("" if busy or replied else _describe(error))
        job.failures += not busy
        self._down_since = None if replied else self._down_since or time.monotonic()

    def _out_of_patience(self) -> bool:
        return self._down_since is not None and time.monotonic() - self._down_since > self._patience_s

    async def _tried(self, server: _Server, job: _Job) -> Execution:
        """Have one server run a program.

        Raises:
            _RefusedError, OSError, aiohttp.ClientError: it did not.
        """
        limits = job.program.limits
        within_s = ROUNDS * limits.deadline_s + SPARE_S
        if self._protocol == "sandboxfusion":
            theirs = as_request(job.program)
            answer = await self._exchange(server, "/run_code", theirs, RunCodeReply, within_s, job.key)
            try:
                execution = as_execution(answer, limits)
            except ValueError:  # files that are not base64
                raise _unreadable("/run_code") from None
        else:
            ours = RunRequest(programs=(job.program,), require=self._require)
            reply = await self._exchange(server, "/v1/run", ours, RunReply, within_s, job.key)
            if len(reply.executions) != 1:
                raise _unreadable("/v1/run")
            execution = reply.executions[0]
        if execution.ending == "sandbox_error":
            job.key = uuid.uuid4().hex
            raise _FailedError(execution.detail)
        return execution

    async def _exchange(
        self, server: _Server, path: str, message: Message | None, kind: type[M], within_s: float, key: str = ""
    ) -> M:
        """Send a message, or nothing, and read the reply."""
        async with self._session.request(
            "GET" if message is None else "POST",
            server.url.joinpath(path[1:]),
            data=None if message is None else message.model_dump_json().encode(),
            headers={KEY_HEADER: key} if key else None,
            timeout=aiohttp.ClientTimeout(total=within_s, sock_connect=CONNECT_S),
            allow_redirects=False,  # the token is for this server
        ) as response:
            body = await _body(response, path)
        if response.status != 200:
            raise _RefusedError(response.status, _reason(response.status, body), response.headers)
        try:
            return kind.model_validate_json(body)
        except ValidationError:
            raise _unreadable(path) from None


async def _open(headers: Mapping[str, str]) -> aiohttp.ClientSession:
    """Return a pool of connections that stay open; `slots` bounds them. No reply is inflated, however small it came."""
    plain = {**headers, "Accept-Encoding": "identity"}
    return aiohttp.ClientSession(headers=plain, connector=aiohttp.TCPConnector(limit=0), auto_decompress=False)


async def _body(response: aiohttp.ClientResponse, path: str) -> bytes:
    """Read a reply.

    Raises:
        _RefusedError: it is longer than any that is right.
    """
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_REPLY:
            raise _RefusedError(502, f"the reply to {path} is longer than {MAX_REPLY >> 20} MiB", {})
    return bytes(body)


def _unreadable(path: str) -> _RefusedError:
    return _RefusedError(502, f"the reply to {path} is not what it should be", {})


def _url(text: str) -> URL:
    """Read the URL of a server, which may hold name and password for it.

    Raises:
        ConfigError: it is none, or could not be asked for.
    """
    try:
        url = URL(text.rstrip("/"))
        (url.raw_host or "").encode("idna")
        if shown := aiohttp.BasicAuth.from_url(url):
            shown.encode()
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host or url.query_string or url.fragment:
        raise ConfigError(f"{text!r} is no URL of a sandbox server: write http://HOST:PORT.")
    return url


def _authorization(token: str | None, protocol: ServerProtocol, servers: Sequence[_Server]) -> dict[str, str]:
    """Return the header that shows the token; the one in the environment is for servers of ours.

    Raises:
        ConfigError: a header cannot hold it, or a URL has name and password beside it.
    """
    if token is not None:
        shown: str | None = as_token(token, "token")
    else:
        shown = read_token() if protocol == "reasonrl" else None
    if shown is None:
        return {}
    for server in servers:
        if server.url.user is not None or server.url.password is not None:
            raise ConfigError(
                f"{server}: its URL has a name or password, and there is a token ({TOKEN_VARIABLE}) too: give one."
            )
    return {"Authorization": f"Bearer {shown}"}


def _another_may_help(error: BaseException) -> bool:
    """Say whether the same program may fare better later, or on another server."""
    of_server = (401, 403, 404, 412)
    return is_transient(error) or (isinstance(error, _RefusedError) and error.status in of_server)


def _pause(state: RetryCallState) -> float:
    """Return the seconds until the next try, differing by chance so that not all come back at once."""
    error = state.outcome.exception() if state.outcome is not None else None
    assert error is not None, "only what failed is tried again"
    asked = retry_after(error)
    return BACK_OFF(state) if asked is None else min(max(asked, LOOK_S) * random.uniform(1, 2), LONGEST_PAUSE_S)


def _reason(status: int, body: bytes) -> str:
    """Return what a server says about a request that it refuses."""
    try:
        return f"HTTP {status}: {_Refusal.model_validate_json(body).message}".rstrip(": ")
    except ValidationError:
        return f"HTTP {status}"


def _describe(error: BaseException) -> str:
    return " ".join((str(error) or type(error).__name__).split())[:300].rstrip(".")


def _done(execution: Execution) -> Future[Execution]:
    future: Future[Execution] = Future()
    future.set_result(execution)
    return future
