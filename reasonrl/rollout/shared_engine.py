"""One engine for several threads: a run samples ahead with it while it evaluates and loads new weights."""

import asyncio
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from threading import Thread
from typing import Any, TypeVar

import torch

from reasonrl.engines import Engine, Request
from reasonrl.system.timer import PhaseTimer
from reasonrl.types import Trajectory

Result = TypeVar("Result")

MAX_END_S = 10.0
"""Longest time that a run which was stopped waits for what it began: an aborted engine ends soon, a reward may not."""


class SharedEngine:
    """Runs all requests on one event loop in a thread of its own, wherever they come from.

    New weights are loaded while requests are outstanding where the engine can do that. Otherwise new requests wait, what
    is outstanding ends, and the weights are loaded then; so a completion has one policy version.

    Args:
        engine: samples.
        timer: counts the time that weights wait for requests to end, as ``waiting``.
    """

    def __init__(self, engine: Engine, timer: PhaseTimer) -> None:
        self.policy_version = engine.policy_version
        self.shares_weights = engine.shares_weights
        self.loads_while_sampling = True
        self._engine = engine
        self._timer = timer
        self._loop = asyncio.new_event_loop()
        self._is_open, self._is_idle, self._is_closed = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._is_open.set()
        self._is_idle.set()
        self._num_outstanding = 0
        # A daemon: an engine that does not return to the loop does not keep the process alive.
        self._thread = Thread(target=self._serve, name="sampling ahead", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:  # which cancels what is left when it ends
            runner.run(self._wait_until_closed())

    async def _wait_until_closed(self) -> None:
        await self._is_closed.wait()

    def run(self, work: Coroutine[Any, Any, Result], *, timeout_s: float | None = None) -> Result:
        """Run a coroutine on the engine's event loop; return its result. Any: what it yields is the event loop's.

        Raises:
            TimeoutError: it took longer than ``timeout_s``.
        """
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout_s)
        finally:
            future.cancel()  # where the wait was ended by Ctrl-C or the time limit

    async def generate(self, request: Request) -> Trajectory:
        """Sample with the engine, on its own event loop."""
        if asyncio.get_running_loop() is self._loop:
            return await self._generate(request)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._generate(request), self._loop))

    async def _generate(self, request: Request) -> Trajectory:
        await self._is_open.wait()
        self._num_outstanding += 1
        self._is_idle.clear()
        try:
            return await self._engine.generate(request)
        finally:
            self._num_outstanding -= 1
            if not self._num_outstanding:
                self._is_idle.set()

    def abort(self) -> None:
        """End all requests."""
        self._engine.abort()

    def sleep(self) -> None:
        """Free nothing: it goes on sampling."""

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]], version: int) -> None:
        """Load new weights, when no request is outstanding if the engine needs that."""
        with nullcontext() if self._engine.loads_while_sampling else self._while_idle():
            self._engine.load_weights(weights, version)
            self.policy_version = self._engine.policy_version

    @contextmanager
    def _while_idle(self) -> Iterator[None]:
        """Let new requests wait for as long as the body runs, which begins when none is outstanding."""
        try:
            with self._timer.phase("waiting"):
                self.run(self._become_idle())
            yield
        finally:
            self._loop.call_soon_threadsafe(self._is_open.set)

    async def _become_idle(self) -> None:
        self._is_open.clear()
        await self._is_idle.wait()

    def close(self) -> None:
        """End all requests, the thread, and the engine."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._is_closed.set)
            self._thread.join(MAX_END_S)
        self._engine.close()
