"""`RemoteSandbox`: the sandboxes of other machines, with the interface of the one of this machine.

A program that a server or the connection fails is tried again, on another server where there is one. If that does not
help it ends as `sandbox_error`, which is never a fault of the program.
"""

import asyncio
import random
import threading
import time
import uuid
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Final, Self, TypeVar, get_args

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception
from yarl import URL

from reasonrl.errors import ConfigError, SandboxError
from reasonrl.system.retries import BACK_OFF, CircuitBreaker, failure, is_transient, retry_after
from reasonrl_sandbox.http_client import (
    REQUEST_ERRORS,
    HttpClient,
    RefusedError,
    SandboxFailedError,
    authorization,
    describe_error,
    read_url,
)
from reasonrl_sandbox.report import IsolationReport
from reasonrl_sandbox.sandboxfusion import refuse_split
from reasonrl_sandbox.types import (
    Execution,
    Isolation,
    Program,
    ReportedIsolation,
    ServerProtocol,
    completed,
    is_at_least,
)

CONCURRENCY: Final = 16
"""Programs at once on a server that does not report its slots."""

MAX_RETRIES: Final = 3
"""Further tries of a program that servers failed."""

MAX_FAILURES: Final = 3
"""Programs in a row failed by a server after which it counts as down."""

DOWN_PAUSE_S: Final = 5.0
"""Time for which a server that is down gets no request; then one program tries it."""

POLL_S: Final = 0.5
"""Mean time between checks for a server when all are down."""

MAX_PAUSE_S: Final = 60.0
"""Longest `Retry-After` of a server that is followed."""

T = TypeVar("T")


class _AllDownError(Exception):
    """Every server has been down for too long."""


@dataclass(slots=True)
class _Server:
    """State of one server."""

    url: URL
    concurrency: int
    report: IsolationReport | None = None
    """Its isolation; None until it has answered."""
    num_running: int = 0
    breaker: CircuitBreaker = field(default_factory=lambda: CircuitBreaker(MAX_FAILURES, DOWN_PAUSE_S))

    def __str__(self) -> str:
        return str(self.url.with_user(None))


@dataclass(slots=True)
class _Job:
    """State of one program."""

    program: Program
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Sent with every try until a server has answered, so that no server runs the program twice."""
    failures: int = 0
    server: _Server | None = None
    """Where it was tried last."""


class RemoteSandbox:
    """Runs programs on other machines; a context manager.

    Args:
        urls: One server or several, such as `http://10.0.0.7:8080`.
        token: The servers' token; by default that of REASONRL_SANDBOX_TOKEN, for servers of ours only.
        require: The weakest isolation that servers may have; a weaker one is refused.
        protocol: Protocol of the servers. SandboxFusion's do not report their isolation: level `unverified`.
        concurrency: Programs at once on each server; by default twice its slots, or 16 where it does not report them.
        outage_timeout_s: How long all servers may be down before programs are given up.

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
        outage_timeout_s: float = 60.0,
    ) -> None:
        """Ask every server for its isolation."""
        if protocol == "sandboxfusion" and require is not None:
            raise ConfigError(
                f"isolation {require} is required, but SandboxFusion servers do not report their isolation: "
                "take isolation auto, or servers started by `reasonrl sandbox serve`."
            )
        parsed = [read_url(text) for text in ([urls] if isinstance(urls, str) else dict.fromkeys(urls))]
        self._servers = [_Server(url, concurrency or CONCURRENCY) for url in parsed]
        self._client = HttpClient(protocol, require, authorization(token, protocol, parsed))
        self._require, self._protocol, self._outage_timeout_s = require, protocol, outage_timeout_s
        self._concurrency = concurrency
        self._down_since: float | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="remote-sandbox", daemon=True)
        self._thread.start()
        self._wait_for(self._client.open())
        try:
            self._wait_for(self._check_all())
            self._free = asyncio.Semaphore(self.slots)
        except BaseException:
            self.close()
            raise

    @property
    def slots(self) -> int:
        """Programs that are sent at once."""
        return sum(server.concurrency for server in self._servers)

    def run(self, program: Program) -> Execution:
        """Run one program to its end. Nothing that the program does or a server fails raises here."""
        return self.submit(program).result()

    def submit(self, program: Program) -> Future[Execution]:
        """Queue one program; any thread may call it.

        Raises:
            SandboxError: the sandbox is closed, or servers of this protocol cannot take the program.
        """
        try:
            program.source.encode()
        except UnicodeEncodeError as error:  # JSON in UTF-8 cannot hold it, and Python would not compile it
            return completed(Execution("compile_error", detail=str(error)))
        if self._protocol == "sandboxfusion":
            refuse_split(program)
        with self._lock:
            if self._closed:
                raise SandboxError("the remote sandbox is closed.")
            return asyncio.run_coroutine_threadsafe(self._run_when_free(_Job(program)), self._loop)

    def report(self) -> IsolationReport:
        """Return the isolation of the weakest server."""
        known = [server.report for server in self._servers if server.report is not None]
        levels = get_args(ReportedIsolation)
        weakest = max(known, key=lambda report: levels.index(report.level))
        names = "active: " + ", ".join(map(str, self._servers))
        return replace(weakest, layers={"remote": names, **weakest.layers})

    def close(self) -> None:
        """End what runs, as `sandbox_error`, and disconnect. May be called twice."""
        with self._lock:
            was_closed, self._closed = self._closed, True
        if was_closed:
            return
        self._wait_for(self._cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        """Return the sandbox."""
        return self

    def __exit__(self, *exc: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Close."""
        self.close()

    def _wait_for(self, work: Coroutine[None, None, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    # ---- on the event loop

    async def _cancel_all(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.close()

    async def _check_all(self) -> None:
        """Ask every server for its isolation; one that does not answer now may do so later."""
        failures = await asyncio.gather(*map(self._check, self._servers))
        if all(failures):
            raise SandboxError(f"no sandbox server answers: {'; '.join(failures)}.")

    async def _check(self, server: _Server) -> str:
        """Ask a server for its isolation; return why it did not answer, if so."""
        try:
            await self._learn_isolation(server)
        except REQUEST_ERRORS as error:
            if not is_transient(error):
                raise SandboxError(f"{server}: {describe_error(error)}.") from None
            return f"{server}: {describe_error(error)}"
        return ""

    async def _learn_isolation(self, server: _Server) -> None:
        """Ask a server for its isolation, unless it is known.

        Raises:
            RefusedError: it has less isolation than required, or does not report it.
            OSError, aiohttp.ClientError: it did not answer.
        """
        if server.report is not None:
            return
        report, slots = await self._client.isolation_of(server.url)
        if self._require is not None and not is_at_least(report.level, self._require):
            doctor = "`reasonrl sandbox doctor` there says what it would need"
            raise RefusedError(412, f"isolation {self._require} is required, it has {report.level}. {doctor}", {})
        if self._concurrency is None and slots is not None:
            server.concurrency = 2 * slots  # one program is sent while another runs
        server.report = report

    async def _run_when_free(self, job: _Job) -> Execution:
        try:
            async with self._free:
                return await self._run(job)
        except asyncio.CancelledError:
            return Execution("sandbox_error", detail="the remote sandbox was closed")

    async def _run(self, job: _Job) -> Execution:
        """Try a program until a server has run it or no further try may help."""
        tries = AsyncRetrying(
            retry=retry_if_exception(_may_succeed_elsewhere),
            stop=lambda _: job.failures > MAX_RETRIES or self._outage_is_over_limit(),
            wait=_pause,
            reraise=True,
        )
        try:
            return await tries(self._try, job)
        except _AllDownError as error:
            return Execution("sandbox_error", detail=str(error))
        except REQUEST_ERRORS as error:
            return Execution("sandbox_error", detail=f"{job.server}: {describe_error(error)}")

    async def _try(self, job: _Job) -> Execution:
        """Try a program on the least busy server that is up."""
        job.server = server = await self._pick(job.server)
        server.breaker.begin()
        server.num_running += 1
        try:
            await self._learn_isolation(server)
            execution = await self._client.run(server.url, job.program, job.key)
        except REQUEST_ERRORS as error:
            self._note_failure(server, job, error)
            raise
        except BaseException:
            server.breaker.note("")
            raise
        finally:
            server.num_running -= 1
        server.breaker.note("")
        self._down_since = None
        return execution

    async def _pick(self, last: _Server | None) -> _Server:
        """Return the least busy server that is up, preferably not the last one; wait while there is none."""
        while not (up := [server for server in self._servers if not server.breaker.refusal()]):
            if self._outage_is_over_limit():
                first = self._servers[0]
                raise _AllDownError(f"every server is down: {first} {first.breaker.refusal()}")
            await asyncio.sleep(random.uniform(0, 2 * POLL_S))
        return min(up, key=lambda server: (server is last, server.num_running / server.concurrency, random.random()))

    def _note_failure(self, server: _Server, job: _Job, error: Exception) -> None:
        """Count a failed try. Only a server that does not reply counts as failing, not one that is busy or refuses."""
        busy = isinstance(error, RefusedError) and error.status == 429
        replied = isinstance(error, SandboxFailedError) or not _may_succeed_elsewhere(error)
        server.breaker.note("" if busy or replied else describe_error(error))
        job.failures += not busy
        self._down_since = None if replied else self._down_since or time.monotonic()
        if isinstance(error, SandboxFailedError):
            job.key = uuid.uuid4().hex  # under the old key the server would repeat its reply

    def _outage_is_over_limit(self) -> bool:
        return self._down_since is not None and time.monotonic() - self._down_since > self._outage_timeout_s


def _may_succeed_elsewhere(error: BaseException) -> bool:
    """Return whether the same program may succeed later, or on another server."""
    of_server = (401, 403, 404, 412)  # replies about this server's token, routes or isolation, not about the program
    return is_transient(error) or (isinstance(error, RefusedError) and error.status in of_server)


def _pause(state: RetryCallState) -> float:
    """Return the seconds until the next try, at random so that clients do not come back all at once."""
    asked = retry_after(failure(state))
    return BACK_OFF(state) if asked is None else min(max(asked, POLL_S) * random.uniform(1, 2), MAX_PAUSE_S)
