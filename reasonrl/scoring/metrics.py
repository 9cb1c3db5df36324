"""Apply the metrics of held-out suites, where they can be stopped: a metric is anybody's code, as a reward is."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import Any, Final, Literal, TypeAlias

from reasonrl.config.settings import ScoringSettings
from reasonrl.errors import PluginError, RunError
from reasonrl.plugins.checks import require_measurement
from reasonrl.plugins.failures import describe
from reasonrl.plugins.lookup import Plugins
from reasonrl.plugins.types import Measurement, MetricFn, Suite
from reasonrl.scoring import adapters
from reasonrl.scoring.functions import (
    FunctionRunners,
    Loader,
    PickledFunction,
    PluginFunction,
    opening_of,
    pickle_function,
)
from reasonrl.scoring.runner import CallResult
from reasonrl.types import Rollout

MetricOutcome: TypeAlias = Literal["scored", "timeout", "error"]

FIRST: Final = 8
"""A metric that fails on each of so many completions, the first ones, is broken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricResult:
    """What the metrics of a suite gave one completion. What gave no measurement counts 0, and stays in every mean."""

    value: float = 0.0
    parsed: str | None = None
    outcome: MetricOutcome = "scored"
    """What became of the suite's own metric."""
    further: Mapping[str, float] = field(default_factory=dict)
    """Values of the suite's further metrics, by name."""
    failures: Mapping[str, str] = field(default_factory=dict)
    """Of each metric that gave no measurement, what it did: ``timeout: ran longer than 60 s``. The suite's own metric
    stands under an empty name."""

    run_s: float = field(default=0.0, compare=False)
    """Time that the suite's own metric ran."""

    @property
    def why(self) -> str:
        """What the metrics without a measurement did, in a line; empty where all gave one."""
        return "; ".join(f"further metric {name!r}: {why}" if name else why for name, why in self.failures.items())


class MetricRunner:
    """Measures rollouts with the metrics of suites: ordinary ones in worker processes, async ones on an event loop.

    Args:
        runners: run the suites' :func:`metric_functions`.
        settings: how long a metric may take, and how often it may fail.
    """

    def __init__(self, runners: FunctionRunners, settings: ScoringSettings) -> None:
        self._runners, self._timeout_s = runners, settings.metric_timeout_s
        self.max_failure_rate = settings.max_failure_rate
        """Share of a suite's completions on which a metric may fail before the evaluation ends."""

    def measure(self, suite: Suite, rollouts: Sequence[Rollout]) -> tuple[MetricResult, ...]:
        """Apply a suite's metrics to each rollout; whatever they do, each has its result, in the rollouts' order."""
        begun = [self._submit(suite, rollout) for rollout in rollouts]
        return tuple(_read({name: call.result() for name, call in calls.items()}) for calls in begun)

    async def measure_one(self, suite: Suite, rollout: Rollout) -> MetricResult:
        """Apply a suite's metrics to one rollout, beside others on this event loop."""
        calls = self._submit(suite, rollout)
        results = await asyncio.gather(*map(asyncio.wrap_future, calls.values()))
        return _read(dict(zip(calls, results, strict=True)))

    def _submit(self, suite: Suite, rollout: Rollout) -> "dict[str, Future[CallResult]]":
        """Begin the calls of a suite's metrics, by the name of the further ones; its own stands under none."""
        return {name: self._call(suite, name, rollout) for name in _metrics(suite)}

    def _call(self, suite: Suite, metric: str, rollout: Rollout) -> "Future[CallResult]":
        name = _function_name(suite, metric)
        timeout_s = suite.metric_timeout_s or self._runners.opened[name].timeout_s or self._timeout_s
        return self._runners.submit(name, {"rollout": rollout}, timeout_s)


class MetricFailures:
    """Counts the failures of a suite's metrics, and ends the evaluation where a figure would rest on too many.

    Args:
        suite: whose metrics.
        num_completions: how many will be measured in all.
        max_rate: share of them on which a metric may fail; 1 never ends an evaluation.
    """

    def __init__(self, suite: Suite, num_completions: int, max_rate: float) -> None:
        self._suite, self._num_completions, self._max_rate = suite, num_completions, max_rate
        self._num_measured = 0
        self._causes: dict[str, Counter[str]] = {name: Counter() for name in _metrics(suite)}

    def count(self, result: MetricResult) -> None:
        """Count one completion.

        Raises:
            RunError: a metric failed on the first completions without an exception, or on too many.
        """
        self._num_measured += 1
        for name, why in result.failures.items():
            self._causes[name][why] += 1
            failed = self._causes[name].total()
            is_broken = failed == self._num_measured == min(FIRST, self._num_completions)
            if self._max_rate < 1 and (is_broken or failed > self._max_rate * self._num_completions):
                raise RunError(self._told(name))

    def _told(self, name: str) -> str:
        causes = self._causes[name]
        (cause, _), *_ = causes.most_common(1)
        return (
            f"{_described(self._suite, name)} failed on {causes.total()} of {self._num_measured} completions, more "
            f"than the share of {self._max_rate:g} that scoring.max_failure_rate allows. Most often: {cause}. A metric "
            "returns a Measurement of every completion: 0 where it finds no answer. Mend it, or allow it more."
        )


@contextmanager
def start_metrics(suites: Sequence[Suite], settings: ScoringSettings | None = None) -> Iterator[MetricRunner]:
    """Start what runs the metrics of suites, outside a run; in one, ``RewardScorer.metrics`` runs beside the rewards.

    Args:
        suites: whose metrics may be asked for, each by a name of its own.
        settings: number, memory and time limits of the worker processes, and how often a metric may fail.

    Raises:
        PluginError: a metric cannot be sent to a worker process, or cannot open what it needs.
        ReasonRLError: whatever else a metric says when it opens what it needs.
    """
    settings = settings or ScoringSettings()
    functions = [function for suite in suites for function in metric_functions(suite)]
    with FunctionRunners(functions, settings) as runners:
        yield MetricRunner(runners, settings)


def metric_functions(suite: Suite) -> Sequence[PluginFunction]:
    """Return a suite's metrics as what runs them has to know them.

    Raises:
        PluginError: one is marked by ``keeps_open`` and is not async.
    """
    return [_metric_function(suite, name, metric) for name, metric in _metrics(suite).items()]


def _metrics(suite: Suite) -> Mapping[str, MetricFn]:
    """Return all metrics of a suite, its own under an empty name."""
    return {"": suite.metric, **suite.further_metrics}


def _metric_function(suite: Suite, name: str, metric: MetricFn) -> PluginFunction:
    is_async, opening = adapters.is_async(metric), opening_of(metric)
    if opening is not None and not is_async:
        raise PluginError(
            f"{_described(suite, name)} is marked by keeps_open, which is for async metrics; make it async."
        )
    return PluginFunction(
        name=_function_name(suite, name),
        function=_by_name(metric),
        loader=partial(_loader, metric, _described(suite, name)),
        opening=opening,
    )


def _function_name(suite: Suite, metric: str) -> str:
    return f"metric {metric!r} of suite {suite.name!r}" if metric else f"metric of suite {suite.name!r}"


def _described(suite: Suite, metric: str) -> str:
    beside = f"further metric {metric!r}, " if metric else "metric "
    return f"suite {suite.name!r}: {beside}{describe(_metrics(suite)[metric])}"


def _by_name(metric: Callable[[Rollout], Any]) -> Callable[..., Any]:
    """Return a metric that takes its rollout by name, whatever the author calls it. Any: what it returns is checked."""

    @wraps(metric)
    async def awaited(rollout: Rollout) -> Any:
        return await metric(rollout)

    @wraps(metric)
    def called(rollout: Rollout) -> Any:
        return metric(rollout)

    return awaited if adapters.is_async(metric) else called


def _loader(metric: MetricFn, described: str) -> Loader:
    """Return what a worker process gets a metric from.

    Raises:
        PluginError: it exists in this process only.
    """
    remedy = (
        "Write it as a function of a module, with functools.partial where it needs parameters; or as an async "
        "function, which runs in this process."
    )
    return partial(_load_pickled, pickle_function(metric, described, remedy))


def _load_pickled(function: PickledFunction, _: Plugins) -> Callable[..., Any]:
    return _by_name(function.load())


def _read(results: Mapping[str, CallResult]) -> MetricResult:
    """Read what became of the calls of a suite's metrics, its own under an empty name."""
    read = {name: _measurement(result) for name, result in results.items()}
    own, outcome, _ = read[""]
    return MetricResult(
        value=own.value,
        parsed=own.parsed,
        outcome=outcome,
        run_s=results[""].run_s,
        further={name: measured.value for name, (measured, *_) in read.items() if name},
        failures={name: f"{failed}: {why}" for name, (_, failed, why) in read.items() if failed != "scored"},
    )


def _measurement(result: CallResult) -> tuple[Measurement, MetricOutcome, str]:
    """Return a call's measurement, 0 where there is none, with what became of it and why."""
    if result.outcome != "returned":
        return Measurement(0.0), result.outcome, result.why
    try:
        measured = require_measurement(result.value)
    except PluginError as error:
        return Measurement(0.0), "error", str(error)
    return Measurement(float(measured.value), measured.parsed), "scored", ""
