"""Off-policy training several steps ahead: groups are sampled and scored without a pause, and steps take finished ones.

Who finishes first decides which step takes a group, so a run is no function of its configuration; the problems, their
order, their seeds and the bound on staleness are.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from threading import Thread
from time import perf_counter
from typing import Any, TypeVar

from reasonrl.rollout.buffer import BufferState, FinishedGroup, GroupBuffer
from reasonrl.rollout.prefetch import MAX_END_S, without_stale
from reasonrl.rollout.sampler import RolloutSampler, ScoredGroups
from reasonrl.rollout.shared_engine import SharedEngine
from reasonrl.types import Batch, RewardResults, teaches

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingLead:
    """How far sampling may run ahead of learning."""

    steps: int
    """While a step is sampled and learned, groups of so many later ones may be begun."""
    max_staleness: int
    """Most weight updates between a group's first token and its step; at least those of ``steps`` steps."""
    updates_per_step: int
    """Most weight updates that a step makes."""


class ContinuousSampler:
    """Batches for the loop, of groups that are sampled all the time.

    The places of a step are given to the next problems in their order as soon as there is room. A step takes the groups
    that must not wait any longer (:meth:`~reasonrl.rollout.buffer.GroupBuffer.due`), then finished ones by position;
    groups that teach nothing make place for further ones, as often as the sampler refills.

    Args:
        sampler: says what is sampled at a position, and scores it. Its scorer stops no run by itself.
        engine: samples.
        steps: the steps to take.
        lead: how far ahead.
        state: what was sampled already.
        require_scored: raises where rewards fail too often, by the results of a step.
    """

    def __init__(
        self,
        sampler: RolloutSampler,
        engine: SharedEngine,
        *,
        steps: range,
        lead: SamplingLead,
        state: BufferState,
        require_scored: Callable[[Sequence[RewardResults], int], None],
    ) -> None:
        self._sampler = sampler
        self._engine = engine
        self._steps = steps
        self._lead = lead
        self._buffer = GroupBuffer(state)
        self._require_scored = require_scored
        self._step, self._num_held = steps.start, 0
        self._failure: BaseException | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._taken_at = perf_counter()

    def __iter__(self) -> Iterator[Batch]:
        """Yield every batch as soon as enough groups are finished; what the sampling raised is raised here."""
        for step in self._steps:
            batch = self._engine.thread.run(self._batch(step))
            self._require_scored([results for _, results in batch.sampled()], step)
            yield without_stale(batch, self._engine.policy_version - self._lead.max_staleness)

    def state(self) -> BufferState:
        """Return what a checkpoint needs: all that no step has taken."""
        return self._engine.thread.run(self._state())

    def close(self) -> None:
        """End the sampling of a run that stops; what was begun counts as not begun."""
        self._engine.abort()  # an engine's own threads are not ended by cancelling tasks
        with suppress(TimeoutError):
            self._engine.thread.run(self._end(), timeout_s=MAX_END_S)

    # On the engine's event loop.

    async def _batch(self, step: int) -> Batch:
        size = self._sampler.prompts_per_step
        self._step, self._num_held = step, 0
        taken = list[FinishedGroup]()
        for attempt in range(1 + self._sampler.refill_attempts):
            if self._num_held == size:
                break
            self._fill()
            taken += await self._take(size - self._num_held, frozenset() if attempt else self._due())
            self._num_held = min(size, sum(teaches(group.results) for group in taken))
        self._num_held = size
        self._fill()
        return self._as_batch(step, taken)

    def _due(self) -> frozenset[int]:
        return self._buffer.due(
            self._engine.policy_version,
            size=self._sampler.prompts_per_step,
            updates_per_step=self._lead.updates_per_step,
            max_staleness=self._lead.max_staleness,
        )

    async def _take(self, count: int, due: frozenset[int]) -> list[FinishedGroup]:
        """Return so many finished groups when those that are due and enough others are there."""
        while True:
            if self._failure is not None:
                raise self._failure
            if (taken := self._buffer.take(count, due)) is not None:
                return taken
            self._changed.clear()
            await self._changed.wait()

    def _fill(self) -> None:
        """Begin groups until all places are taken.

        There are ``prompts_per_step`` for the current step and each of the next ones; groups that the current step
        keeps hold theirs.
        """
        size = self._sampler.prompts_per_step
        num_places = size * (min(self._lead.steps, self._steps.stop - 1 - self._step) + 1) - self._num_held
        while self._failure is None and (self._buffer.num_to_begin or len(self._buffer) < num_places):
            self._begin()

    def _begin(self) -> None:
        position = self._buffer.begin(self._engine.policy_version)
        step = self._step + (self._num_held + self._buffer.num_before(position)) // self._sampler.prompts_per_step
        task = asyncio.get_running_loop().create_task(self._sample(position, step))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _sample(self, position: int, step: int) -> None:
        """Sample and score the problem at a position; whatever goes wrong is raised where a batch is waited for.

        Args:
            position: in the stream of problems.
            step: where its turn is, on which the weights of rewards depend.
        """
        sampler = self._sampler
        try:
            group = await sampler.groups.sample_one(sampler.request_at(position), sampler.scoring_early(step))
            sampled_at = perf_counter()
            (results,) = await _in_thread(partial(sampler.scorer.score, (group,), step))
            scoring_s = perf_counter() - sampled_at
            self._buffer.finish(FinishedGroup(position=position, group=group, results=results, scoring_s=scoring_s))
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._failure = self._failure or error
            self._cancel_others()
        finally:
            self._changed.set()

    def _as_batch(self, step: int, taken: Sequence[FinishedGroup]) -> Batch:
        now = perf_counter()
        seconds = {"sampling": now - self._taken_at, "scoring": max(group.scoring_s for group in taken)}
        self._taken_at = now
        scored = ScoredGroups([(group.group, group.results) for group in taken], seconds)
        batch = scored.batch(step, self._sampler.prompts_per_step, self._buffer.first_position)
        return replace(
            batch,
            measured={
                "rollout/buffered_groups": float(self._buffer.num_finished),
                "rollout/running_groups": float(self._buffer.num_running),
            },
        )

    async def _state(self) -> BufferState:
        return self._buffer.state()

    async def _end(self) -> None:
        self._cancel_others()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _cancel_others(self) -> None:
        """Cancel all sampling but that of the task that is running."""
        for task in self._tasks - {asyncio.current_task()}:
            task.cancel()


async def _in_thread(function: Callable[[], Result]) -> Result:
    """Call a function that blocks, in a daemon thread: one that cannot be ended does not keep the process alive."""
    future: Future[Result] = Future()
    future.set_running_or_notify_cancel()
    Thread(target=_call, args=(function, future), name="scoring ahead", daemon=True).start()
    return await asyncio.wrap_future(future)


def _call(function: Callable[[], Result], future: "Future[Any]") -> None:
    """Set the result of a function, whatever it raises. Any: the function's result."""
    try:
        future.set_result(function())
    except BaseException as error:
        future.set_exception(error)
