"""One async reward or metric and the service that it asks: slots, rate, retries, a pause while the service is down."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiolimiter import AsyncLimiter
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from reasonrl.plugins.failures import explain
from reasonrl.scoring.runner import CallResult, FunctionCall
from reasonrl.system.retries import BACK_OFF, CircuitBreaker, failure, is_transient, retry_after

GRACE_S: Final = 1.0
"""Time that a cancelled coroutine has to clean up after itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLimits:
    """How much one async function may ask of its service."""

    concurrency: int = 16
    """Calls at once."""
    per_minute: float | None = None
    """Requests a minute, evenly spaced, further tries included."""
    retries: int = 3
    """Further tries after a failed connection, HTTP 429 or 5xx."""
    failures: int = 5
    """Calls in a row failed by the service after which it is taken to be down."""
    pause_s: float = 30.0
    """Time for which a service that is down is asked nothing; then one call tries it."""


class Service:
    """Makes the calls of one async function; to be used on one event loop.

    Args:
        name: the function's.
        function: the coroutine function. Any: anybody's code.
        limits: what it may ask.
    """

    def __init__(self, name: str, function: Callable[..., Any], limits: ServiceLimits) -> None:
        self.name, self.function = name, function
        self._slots = asyncio.Semaphore(limits.concurrency)
        self._rate = None if limits.per_minute is None else AsyncLimiter(1, 60.0 / limits.per_minute)
        self._tries = limits.retries + 1
        self._breaker = CircuitBreaker(limits.failures, limits.pause_s)
        self._blocked: tuple[float, str] = (0.0, "")

    async def serve(self, call: FunctionCall, submitted_at: float) -> CallResult:
        """Make a call when a slot is free and the rate allows it."""
        async with self._slots:
            if why := self._breaker.refusal():
                return _failed(why, time.monotonic() - submitted_at)
            await self._wait_for_rate()
            if why := self._breaker.refusal():  # the service went down meanwhile
                return _failed(why, time.monotonic() - submitted_at)
            self._breaker.begin()
            return await self._run(call, time.monotonic() - submitted_at)

    def note_blocked_loop(self, why: str) -> None:
        """Remember that the event loop was blocked, and why, for the calls that run out of time because of it."""
        self._blocked = (time.monotonic(), why)

    async def _wait_for_rate(self) -> None:
        if self._rate is not None:
            await self._rate.acquire()

    async def _run(self, call: FunctionCall, queue_s: float) -> CallResult:
        begun_at = time.monotonic()
        failures: list[BaseException] = []
        task = asyncio.ensure_future(self._try(call.arguments, failures))
        task.add_done_callback(_retrieve_exception)
        try:
            await asyncio.wait({task}, timeout=call.timeout_s)
        finally:
            task.cancel()
        await asyncio.wait({task}, timeout=GRACE_S)
        run_s = time.monotonic() - begun_at
        if not task.done() or run_s > call.timeout_s:
            return self._timeout(call, begun_at, failures, queue_s)
        return self._outcome(task, queue_s, run_s)

    async def _try(self, arguments: Mapping[str, Any], failures: list[BaseException]) -> Any:
        """Ask again as long as that may help. Any: whatever the function returns."""

        def wait(state: RetryCallState) -> float:
            failures.append(failure(state))
            asked = retry_after(failures[-1])
            return BACK_OFF(state) if asked is None else asked

        tries = AsyncRetrying(
            stop=stop_after_attempt(self._tries), retry=retry_if_exception(is_transient), wait=wait, reraise=True
        )
        return await tries(self.attempt, arguments, failures)

    async def attempt(self, arguments: Mapping[str, Any], failures: list[BaseException]) -> Any:
        """FunctionCall the reward once. Any: whatever it returns."""
        if failures:
            await self._wait_for_rate()
        try:
            return await self.function(**arguments)
        except (SystemExit, KeyboardInterrupt) as error:
            raise RuntimeError(f"the function raised {type(error).__name__}") from error  # either would end the loop

    def _outcome(self, task: "asyncio.Task[Any]", queue_s: float, run_s: float) -> CallResult:
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        self._breaker.note(explain(error, self.function) if error is not None and is_transient(error) else "")
        if error is None:
            return CallResult(outcome="returned", value=task.result(), queue_s=queue_s, run_s=run_s)
        return _failed(explain(error, self.function), queue_s, run_s)

    def _timeout(
        self, call: FunctionCall, begun_at: float, failures: list[BaseException], queue_s: float
    ) -> CallResult:
        why = f"ran longer than {call.timeout_s:g} s"
        blocked_at, blocker = self._blocked
        if blocked_at > begun_at:
            why += f"; {blocker}"
        elif failures:
            why += f"; try {len(failures)} failed: {explain(failures[-1], self.function)}"
        self._breaker.note(why)
        return CallResult(outcome="timeout", why=why, queue_s=queue_s, run_s=time.monotonic() - begun_at)


def _failed(why: str, queue_s: float, run_s: float = 0.0) -> CallResult:
    return CallResult(outcome="error", why=why, queue_s=queue_s, run_s=run_s)


def _retrieve_exception(task: "asyncio.Task[Any]") -> None:
    """Keep asyncio from logging what a task raised after its call timed out. Any: whatever it returned."""
    if not task.cancelled():
        task.exception()
