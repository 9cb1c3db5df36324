"""One engine for several threads: a run samples ahead with it while it evaluates and loads new weights."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext

import torch

from reasonrl.engines import Engine, Request
from reasonrl.errors import EngineError
from reasonrl.system.loop_thread import LoopThread
from reasonrl.system.timer import PhaseTimer
from reasonrl.types import Trajectory


class SharedEngine:
    """Runs all requests on one event loop in a thread of its own, wherever they come from.

    New weights are loaded while requests are outstanding where the engine can do that. Otherwise new requests wait,
    what is outstanding ends, and the weights are loaded then; so a completion has one policy version.

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
        self._thread: LoopThread | None = LoopThread("sampling ahead", num_threads=1)
        self._is_open, self._is_idle = asyncio.Event(), asyncio.Event()
        self._is_open.set()
        self._is_idle.set()
        self._num_outstanding = 0

    @property
    def thread(self) -> LoopThread:
        """The event loop on which it samples."""
        if self._thread is None:
            raise EngineError("the engine is closed.")
        return self._thread

    async def generate(self, request: Request) -> Trajectory:
        """Sample with the engine, on its own event loop."""
        return await self.thread.awaited(self._generate(request))

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
                self.thread.run(self._become_idle())
            yield
        finally:
            self.thread.run(self._reopen())

    async def _become_idle(self) -> None:
        self._is_open.clear()
        await self._is_idle.wait()

    async def _reopen(self) -> None:
        self._is_open.set()

    def close(self) -> None:
        """End all requests, the thread, and the engine."""
        if self._thread is not None:
            self._thread.close()
            self._thread = None
        self._engine.close()
