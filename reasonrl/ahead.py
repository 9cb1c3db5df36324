"""One step ahead: the next step's batch is sampled and scored in a thread while this one is learnt.

Who is faster decides nothing: drawing batch k + 1 begins when batch k is asked for, so with the weights after step
k - 1, and the weights after step k wait until it is complete.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import replace
from threading import Thread
from time import monotonic, perf_counter

import torch

from reasonrl.engines import Arrived, Engine, Request, SamplingParams
from reasonrl.metrics import with_waiting
from reasonrl.types import Batch, Completion, StepRecord

LONGEST_END_S = 10.0
"""Longest time that a run which was stopped waits for its thread: an aborted engine ends soon, a reward may not."""


class Ahead:
    """Batches for the loop, each drawn while the one before it is learnt.

    Args:
        batches: draws a batch when it is asked for one, which happens in a thread.
        engine: samples them.
        first: the batch that was drawn already when the run was stopped.
        max_staleness: groups sampled more weight updates ago are left out.
    """

    def __init__(
        self,
        batches: Iterator[Batch],
        engine: Engine,
        *,
        first: Batch | None = None,
        max_staleness: int | None = None,
    ) -> None:
        """Draw nothing yet."""
        self.engine = PatientEngine(engine, self._wait)
        self._batches = batches
        self._max_staleness = max_staleness
        self._drawing = _drawn(first) if first else None
        self._waited_s = 0.0

    def __iter__(self) -> Iterator[Batch]:
        """Yield every batch; the next one is begun when one is asked for."""
        self._drawing = self._drawing or _begun(self._batches)
        while (batch := self._wait()) is not None:
            self._drawing = _begun(self._batches)
            yield self._handed_out(batch)

    @property
    def pending(self) -> Batch | None:
        """The batch that was drawn and not asked for yet, once the engine has taken new weights."""
        return self._drawing.result() if self._drawing and self._drawing.done() else None

    def timed(self, record: StepRecord) -> StepRecord:
        """Take out of a step's learning the time that its new weights waited for the next batch."""
        return replace(record, metrics=with_waiting(record.metrics, self._waiting_s()))

    def close(self) -> None:
        """End what a run that stops in the middle of a step still draws."""
        until = monotonic() + LONGEST_END_S
        while self._drawing and not self._drawing.done() and monotonic() < until:
            self.engine.abort()  # again each time: scoring may be over and another sampling begin
            wait([self._drawing], timeout=0.1)

    def _wait(self) -> Batch | None:
        """Return the batch that is being drawn, when it is complete; None after the last.

        Raises whatever drawing it raised.
        """
        began = perf_counter()
        assert self._drawing is not None, "weights are loaded after a batch was asked for"
        batch = self._drawing.result()
        self._waited_s += perf_counter() - began
        return batch

    def _waiting_s(self) -> float:
        """Return the time spent waiting since this was last asked."""
        waited_s, self._waited_s = self._waited_s, 0.0
        return waited_s

    def _handed_out(self, batch: Batch) -> Batch:
        """Note what the learner is about to learn from, and leave out what is too old for it."""
        version, limit = self.engine.policy_version, self._max_staleness
        seconds = {**batch.seconds, "waiting": self._waiting_s()}
        noted = replace(batch, learner_version=version, seconds=seconds)
        return noted if limit is None else without_old(noted, version - limit)


def without_old(batch: Batch, oldest: int) -> Batch:
    """Leave out whole groups with a completion that was sampled before weight update ``oldest``."""
    groups = list(zip(batch.groups, batch.verdicts, strict=True))
    old = [any(completion.policy_version < oldest for completion in group.completions) for group, _ in groups]
    kept = [pair for pair, is_old in zip(groups, old, strict=True) if not is_old]
    return replace(
        batch,
        groups=tuple(group for group, _ in kept),
        verdicts=tuple(verdicts for _, verdicts in kept),
        too_old=tuple(pair for pair, is_old in zip(groups, old, strict=True) if is_old),
    )


class PatientEngine:
    """An engine that samples ahead, as the loop sees it: new weights wait for what the old ones sample.

    Args:
        engine: who samples.
        wait: returns when nothing is sampled any more.
    """

    def __init__(self, engine: Engine, wait: Callable[[], object]) -> None:
        """Have the engine's weights."""
        self.policy_version = engine.policy_version
        self.shares_weights = engine.shares_weights
        self._engine = engine
        self._wait = wait

    def sample(
        self, requests: Sequence[Request], params: SamplingParams, arrived: Arrived | None = None
    ) -> list[tuple[Completion, ...]]:
        """Sample."""
        return self._engine.sample(requests, params, arrived)

    def abort(self) -> None:
        """End the sampling that runs in another thread."""
        self._engine.abort()

    def sleep(self) -> None:
        """Give nothing up: the next batch is being sampled."""

    def load(self, weights: Iterable[tuple[str, torch.Tensor]], version: int) -> None:
        """Wait for the batch that is being drawn, then take new weights."""
        self._wait()
        self._engine.load(weights, version)
        self.policy_version = version

    def close(self) -> None:
        """Give everything back."""
        self._engine.close()


def _drawn(batch: Batch) -> "Future[Batch | None]":
    """Return a drawing that is over."""
    drawing: Future[Batch | None] = Future()
    drawing.set_result(batch)
    return drawing


def _begun(batches: Iterator[Batch]) -> "Future[Batch | None]":
    """Draw a batch in a thread; one that cannot be ended does not keep the process alive."""
    drawing: Future[Batch | None] = Future()
    Thread(target=_draw, args=(batches, drawing), name="sampling ahead", daemon=True).start()
    return drawing


def _draw(batches: Iterator[Batch], drawing: "Future[Batch | None]") -> None:
    """Draw a batch; whatever goes wrong is raised where the batch is waited for."""
    try:
        drawing.set_result(next(batches, None))
    except BaseException as error:
        drawing.set_exception(error)
