"""The embedded engine on several ranks: each samples a share of the requests from its own module."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from torch import Tensor

from reasonrl.distributed.collectives import gather, num_ranks, rank
from reasonrl.engines import Request
from reasonrl.engines.batch import Finished, sample_all
from reasonrl.engines.local import LocalEngine
from reasonrl.engines.running import AbortSwitch, PendingRequest, RequestQueue
from reasonrl.types import Trajectory


class RankSampler:
    """One rank's part of the sampling.

    Args:
        engine: samples from this rank's module.
        gathered: returns the context in which the module has all weights and computes without the other ranks.
    """

    def __init__(self, engine: LocalEngine, gathered: Callable[[], AbstractContextManager[None]]) -> None:
        self.engine = engine
        self.finished: Finished | None = None
        """Called with every completion of this rank's own share; rank 0 sets it for the time of a call."""
        self._gathered = gathered

    def sample(self, requests: Sequence[Request], version: int) -> list[Trajectory]:
        """Return all completions, in the order of the requests; called on every rank with the same arguments.

        Args:
            requests: those with equal prompts follow one another.
            version: number of weight updates that the policy has seen.
        """
        self.engine.load_weights((), version)
        share = share_of(len(requests), rank(), num_ranks())
        with self._gathered():
            own = sample_all(self.engine, requests[share], finished=self._told(share.start))
        return [trajectory for of_rank in gather(own) for trajectory in of_rank]

    def _told(self, first: int) -> Finished | None:
        if (finished := self.finished) is None:
            return None
        return lambda position, trajectory: finished(first + position, trajectory)


def share_of(num_requests: int, rank: int, num_ranks: int) -> slice:
    """Return a rank's part of a list: equally many, and neighbors, of which most have a prompt in common."""
    return slice(num_requests * rank // num_ranks, num_requests * (rank + 1) // num_ranks)


class CallSampler(Protocol):
    """Has all ranks sample: calls :meth:`RankSampler.sample` on each, and returns what it returns."""

    def __call__(self, requests: Sequence[Request], version: int) -> list[Trajectory]:
        """Return all completions, in the order of the requests."""
        ...


class SpreadEngine:
    """Samples on all ranks; requests that wait together are shared out, and those that come meanwhile wait for them.

    Args:
        own: rank 0's part.
        call: has all ranks sample.
    """

    def __init__(self, own: RankSampler, call: CallSampler) -> None:
        self.policy_version = own.engine.policy_version
        self.shares_weights = True
        self.loads_while_sampling = False
        self._own = own
        self._call = call
        self._queue = RequestQueue(self._sample_waiting)
        self._switch = AbortSwitch()

    async def generate(self, request: Request) -> Trajectory:
        """Return one completion; see :meth:`reasonrl.engines.Engine.generate`."""
        self._own.engine.refuse(request)  # here, and not on some rank while the others go on
        async with self._switch.guard():
            return await self._queue.submit(request)

    async def _sample_waiting(self) -> None:
        while pending := self._queue.take():
            await self._sample_batch(pending)

    async def _sample_batch(self, pending: Sequence[PendingRequest]) -> None:
        """Have all ranks sample, in a thread: completions of rank 0 are passed on while others are still sampled."""
        loop = asyncio.get_running_loop()

        def finished(position: int, trajectory: Trajectory) -> None:
            loop.call_soon_threadsafe(_give, pending[position], trajectory)

        self._own.finished = finished
        try:
            requests = [one.request for one in pending]
            trajectories = await asyncio.to_thread(self._call, requests, self.policy_version)
        finally:
            self._own.finished = None
        for one, trajectory in zip(pending, trajectories, strict=True):
            _give(one, trajectory)

    def abort(self) -> None:
        """End the sampling that runs in another thread: rank 0's part of it."""
        self._switch.abort()
        self._own.engine.abort()

    def sleep(self) -> None:
        """Free nothing: there is no second copy."""

    def load_weights(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Note the version; the weights are the learners' own."""
        self.policy_version = version

    def close(self) -> None:
        """Free nothing: the module is the learner's."""


def _give(pending: PendingRequest, trajectory: Trajectory) -> None:
    if not pending.future.done():
        pending.future.set_result(trajectory)
