"""Measure a model on held-out suites: sampling and metrics side by side on one event loop, without barriers."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from reasonrl.engines.batch import run_sampling
from reasonrl.evaluation.journal import Journal
from reasonrl.evaluation.results import SuiteResult
from reasonrl.evaluation.sources import SampleSource
from reasonrl.evaluation.suite_run import SuitePlan, SuiteProgress, SuiteRun, Wanted
from reasonrl.plugins.types import Suite
from reasonrl.scoring.metrics import MetricRunner
from reasonrl.types import Rollout, Scorer

USUAL_CONCURRENT: Final = {"local": 64}
"""Completions sampled side by side by an engine's name: memory bounds the embedded one, which caches all of them."""
MOST_CONCURRENT: Final = 256
"""The same for other engines, which queue what they cannot hold."""


def measure(
    suite: Suite,
    source: SampleSource,
    *,
    metrics: MetricRunner,
    seed: int,
    max_concurrent: int | None = None,
    journal: Journal | None = None,
    scorer: Scorer | None = None,
    step: int = 0,
    progress: Callable[[SuiteProgress], None] | None = None,
) -> SuiteResult:
    """Sample every problem of a suite and apply its metrics.

    A completion's seed depends on the problem and on ``seed``, not on the step of training: two checkpoints
    get the same random numbers, which takes noise out of their difference. A metric that fails or runs out of time
    makes a row of value 0 that says so.

    Args:
        suite: what to measure.
        source: samples the completions; stays open.
        metrics: applies the suite's metrics.
        seed: decides the sampling.
        max_concurrent: most completions under way; changes speed and memory only. None suits the engine.
        journal: keeps rows as they are measured; what it has is not sampled again. Closed at the end.
        scorer: gives each row what the training reward gives it.
        step: of training, for rewards whose weight depends on it.
        progress: is told of every completion that is measured.

    Raises:
        DataError: the suite has no problems, or one id stands for several.
        RunError: a metric fails on too many completions (``scoring.max_failure_rate``), a reward does, or the journal
            is of another setup.
        EngineError: the engine is lost, or was aborted.
    """
    plan = SuitePlan(suite=suite, journal=journal)
    (result,) = measure_all(
        [plan],
        source,
        metrics=metrics,
        seed=seed,
        max_concurrent=max_concurrent,
        scorer=scorer,
        step=step,
        progress=progress,
    )
    return result


def measure_all(
    plans: Sequence[SuitePlan],
    source: SampleSource,
    *,
    metrics: MetricRunner,
    seed: int,
    max_concurrent: int | None = None,
    scorer: Scorer | None = None,
    step: int = 0,
    progress: Callable[[SuiteProgress], None] | None = None,
    finished: Callable[[SuitePlan, SuiteResult], None] = lambda plan, result: None,
) -> tuple[SuiteResult, ...]:
    """Measure suites one after another, the next one beginning while the last completions of one are sampled.

    Args:
        plans: what to measure; the results have their order.
        source: as in :func:`measure`, as are those below.
        metrics: as above.
        seed: as above.
        max_concurrent: as above, over all suites.
        scorer: as above.
        step: as above.
        progress: as above.
        finished: is told of each result as soon as its suite is complete.

    Raises:
        ReasonRLError: as :func:`measure`.
    """
    try:
        runs = [
            SuiteRun(
                plan,
                source,
                metrics=metrics,
                seed=seed,
                scorer=scorer,
                step=step,
                tell=progress or (lambda told: None),
            )
            for plan in plans
        ]
        limit = max_concurrent or USUAL_CONCURRENT.get(source.name, MOST_CONCURRENT)
        work = _Measurement(runs, plans, source, limit, finished)
        return run_sampling(work.results(), source.engine)
    finally:
        for plan in plans:
            if plan.journal is not None:
                plan.journal.close()


class _Measurement:
    """Measures suites on one event loop."""

    def __init__(
        self,
        runs: Sequence[SuiteRun],
        plans: Sequence[SuitePlan],
        source: SampleSource,
        limit: int,
        finished: Callable[[SuitePlan, SuiteResult], None],
    ) -> None:
        self._runs, self._plans, self._source, self._finished = runs, plans, source, finished
        self._slots = asyncio.Semaphore(limit)
        self._complete: set[int] = set()
        self._results: dict[int, SuiteResult] = {}

    async def results(self) -> tuple[SuiteResult, ...]:
        """Measure everything; the first error ends all of it."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for number, run in enumerate(self._runs):
                    await self._begin(tasks, number, run)
        except BaseExceptionGroup as errors:
            raise _first(errors) from None
        return tuple(self._results[number] for number in range(len(self._runs)))

    async def _begin(self, tasks: asyncio.TaskGroup, number: int, run: SuiteRun) -> None:
        """Begin every completion of a suite in order, each as soon as there is room for it."""
        for rollout in run.unmeasured:
            tasks.create_task(self._measure_again(number, run, rollout))
        for wanted in run.wanted():
            await self._slots.acquire()
            tasks.create_task(self._sample(number, run, wanted))
        if run.is_complete:
            await self._finish(number, run)

    async def _sample(self, number: int, run: SuiteRun, wanted: Wanted) -> None:
        try:
            trajectory = await run.environment.run(
                wanted.prompt, self._source.engine.generate, seed=wanted.seed, sample_index=wanted.sample_index
            )
        finally:
            self._slots.release()  # the metric does not hold back the next completion
        await run.measure(wanted.prompt, trajectory)
        if run.is_complete:
            await self._finish(number, run)

    async def _measure_again(self, number: int, run: SuiteRun, rollout: Rollout) -> None:
        await run.measure_again(rollout)
        if run.is_complete:
            await self._finish(number, run)

    async def _finish(self, number: int, run: SuiteRun) -> None:
        """Make the result of a complete suite, once; rewards are waited for while other suites are sampled."""
        if number not in self._complete:
            self._complete.add(number)
            self._results[number] = result = await asyncio.to_thread(run.result)
            self._finished(self._plans[number], result)


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error that ended the others."""
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
