"""One-step off-policy training: the next step's batch is sampled and scored in a thread while this one is learned from.

Deterministic regardless of thread timing: sampling batch k + 1 begins when batch k is asked for, so with the weights
after step k - 1, and the weights after step k are loaded only when it is complete.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, wait
from dataclasses import replace
from threading import Thread
from time import monotonic

import torch

from reasonrl.engines import Engine, Request
from reasonrl.system.timer import PhaseTimer
from reasonrl.types import Batch, Trajectory, UnusedGroup

MAX_END_S = 10.0
"""Longest time that a run which was stopped waits for its thread: an aborted engine ends soon, a reward may not."""


class AsyncSampler:
    """Batches for the loop, each sampled while the one before it is learned from.

    Args:
        batches: samples a batch when it is asked for one, which happens in a thread.
        engine: samples them.
        timer: counts the time that weights wait for a batch to be complete.
        first: the batch that was sampled already when the run was stopped.
        max_staleness: groups sampled more weight updates ago are left out.
    """

    def __init__(
        self,
        batches: Iterator[Batch],
        engine: Engine,
        timer: PhaseTimer,
        *,
        first: Batch | None = None,
        max_staleness: int | None = None,
    ) -> None:
        self.engine = SerializedEngine(engine, self)
        self._batches = batches
        self._timer = timer
        self._max_staleness = max_staleness
        self._sampling = _finished(first) if first else None

    def __iter__(self) -> Iterator[Batch]:
        """Yield every batch; the next one is begun when one is asked for."""
        self._sampling = self._sampling or _start_sampling(self._batches)
        while (batch := self._sampling.result()) is not None:
            self._sampling = _start_sampling(self._batches)
            limit = self._max_staleness
            yield batch if limit is None else without_stale(batch, self.engine.policy_version - limit)

    @property
    def pending(self) -> Batch | None:
        """The batch that was sampled and not asked for yet, once the engine has loaded new weights."""
        return self._sampling.result() if self._sampling and self._sampling.done() else None

    def wait_until_sampled(self) -> None:
        """Return when the batch that is being sampled is complete; raise whatever sampling it raised."""
        assert self._sampling is not None, "weights are loaded after a batch was asked for"
        with self._timer.phase("waiting"):
            self._sampling.result()

    def close(self) -> None:
        """End the sampling of a run that stops in the middle of a step."""
        until = monotonic() + MAX_END_S
        while self._sampling and not self._sampling.done() and monotonic() < until:
            self.engine.abort()  # again each time: scoring may be over and another sampling begin
            wait([self._sampling], timeout=0.1)


def without_stale(batch: Batch, oldest: int) -> Batch:
    """Leave out whole groups with a trajectory that was sampled before weight update ``oldest``."""
    pairs = list(zip(batch.groups, batch.results, strict=True))
    stale = [any(trajectory.policy_version < oldest for trajectory in group.trajectories) for group, _ in pairs]
    kept = [pair for pair, is_stale in zip(pairs, stale, strict=True) if not is_stale]
    left_out = [
        UnusedGroup(group=group, results=results, reason="stale")
        for (group, results), is_stale in zip(pairs, stale, strict=True)
        if is_stale
    ]
    return replace(
        batch,
        groups=tuple(group for group, _ in kept),
        results=tuple(results for _, results in kept),
        unused=(*batch.unused, *left_out),
    )


class SerializedEngine:
    """Delays weight loading until the batch being sampled is complete, so that a batch has one policy version."""

    def __init__(self, engine: Engine, sampler: AsyncSampler) -> None:
        self.policy_version = engine.policy_version
        self.shares_weights = engine.shares_weights
        self.loads_while_sampling = engine.loads_while_sampling
        self._engine = engine
        self._sampler = sampler

    async def generate(self, request: Request) -> Trajectory:
        """Sample with the engine."""
        return await self._engine.generate(request)

    def abort(self) -> None:
        """End the sampling that runs in another thread."""
        self._engine.abort()

    def sleep(self) -> None:
        """Free nothing: the next batch is being sampled."""

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]], version: int) -> None:
        """Wait for the batch that is being sampled, then load new weights."""
        self._sampler.wait_until_sampled()
        self._engine.load_weights(weights, version)
        self.policy_version = version

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()


def _finished(batch: Batch) -> "Future[Batch | None]":
    future: Future[Batch | None] = Future()
    future.set_result(batch)
    return future


def _start_sampling(batches: Iterator[Batch]) -> "Future[Batch | None]":
    """Sample a batch in a daemon thread: one that cannot be ended does not keep the process alive."""
    future: Future[Batch | None] = Future()
    Thread(target=_sample, args=(batches, future), name="sampling ahead", daemon=True).start()
    return future


def _sample(batches: Iterator[Batch], future: "Future[Batch | None]") -> None:
    """Sample a batch; whatever goes wrong is raised where the batch is waited for."""
    try:
        future.set_result(next(batches, None))
    except BaseException as error:
        future.set_exception(error)
