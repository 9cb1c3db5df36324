"""Apply the metrics of held-out suites, where they can be stopped: a metric is anybody's code, as a reward is."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any, Final

from reasonrl.config.settings import ScoringSettings
from reasonrl.errors import PluginError
from reasonrl.plugins.checks import require_measurement
from reasonrl.plugins.failures import describe
from reasonrl.plugins.lookup import Plugins
from reasonrl.plugins.types import Measurement, Suite
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

TIMEOUT_S: Final = 60.0
"""Longest time that a metric may take for one completion, unless what it keeps open says otherwise.

Far above that of a reward: a reward that runs out of time costs a sample, a metric that does costs the run.
"""


class MetricRunner:
    """Measures rollouts with the metrics of suites: ordinary ones in worker processes, async ones on an event loop.

    Args:
        runners: run the suites' :func:`metric_function`.
        timeout_s: longest time that a metric may take for one completion, unless what it keeps open says otherwise.
    """

    def __init__(self, runners: FunctionRunners, timeout_s: float = TIMEOUT_S) -> None:
        self._runners, self._timeout_s = runners, timeout_s

    def measure(self, suite: Suite, rollouts: Sequence[Rollout]) -> tuple[Measurement, ...]:
        """Apply a suite's metric to each rollout, and return the measurements in their order.

        Raises:
            PluginError: the metric failed on one of them, or returned no measurement between 0 and 1.
        """
        name = _function_name(suite)
        timeout_s = self._runners.opened[name].timeout_s or self._timeout_s
        called = [self._runners.submit(name, {"rollout": rollout}, timeout_s) for rollout in rollouts]
        where = _described(suite)
        return tuple(
            _measurement(one.result(), f"{where}, on problem {rollout.problem.id}")
            for one, rollout in zip(called, rollouts, strict=True)
        )


@contextmanager
def start_metrics(
    suites: Sequence[Suite], settings: ScoringSettings | None = None, *, timeout_s: float = TIMEOUT_S
) -> Iterator[MetricRunner]:
    """Start what runs the metrics of suites, outside a run; in one, ``RewardScorer.metrics`` runs beside the rewards.

    Args:
        suites: whose metrics may be asked for, each by a name of its own.
        settings: number and memory of the worker processes.
        timeout_s: longest time that a metric may take for one completion.

    Raises:
        PluginError: a metric cannot be sent to a worker process, or cannot open what it needs.
        ReasonRLError: whatever else a metric says when it opens what it needs.
    """
    with FunctionRunners([metric_function(suite) for suite in suites], settings or ScoringSettings()) as runners:
        yield MetricRunner(runners, timeout_s)


def metric_function(suite: Suite) -> PluginFunction:
    """Return a suite's metric as what runs it has to know it.

    Raises:
        PluginError: it is marked by ``keeps_open`` and is not async.
    """
    is_async, opening = adapters.is_async(suite.metric), opening_of(suite.metric)
    if opening is not None and not is_async:
        raise PluginError(f"{_described(suite)} is marked by keeps_open, which is for async metrics; make it async.")
    return PluginFunction(
        name=_function_name(suite), function=_by_name(suite.metric), loader=partial(_loader, suite), opening=opening
    )


def _function_name(suite: Suite) -> str:
    return f"metric of suite {suite.name!r}"


def _described(suite: Suite) -> str:
    return f"suite {suite.name!r}: metric {describe(suite.metric)}"


def _by_name(metric: Callable[[Rollout], Any]) -> Callable[..., Any]:
    """Return a metric that takes its rollout by name, whatever the author calls it. Any: what it returns is checked."""

    @wraps(metric)
    async def awaited(rollout: Rollout) -> Any:
        return await metric(rollout)

    @wraps(metric)
    def called(rollout: Rollout) -> Any:
        return metric(rollout)

    return awaited if adapters.is_async(metric) else called


def _loader(suite: Suite) -> Loader:
    """Return what a worker process gets a metric from.

    Raises:
        PluginError: it exists in this process only.
    """
    remedy = (
        "Write it as a function of a module, with functools.partial where it needs parameters; or as an async "
        "function, which runs in this process."
    )
    return partial(_load_pickled, pickle_function(suite.metric, _described(suite), remedy))


def _load_pickled(function: PickledFunction, _: Plugins) -> Callable[..., Any]:
    return _by_name(function.load())


def _measurement(result: CallResult, where: str) -> Measurement:
    """Read what became of a call; a figure can rest on a measurement between 0 and 1 alone.

    Raises:
        PluginError: there is none.
    """
    match result.outcome:
        case "returned":
            measured = require_measurement(result.value, where)
            return Measurement(float(measured.value), measured.parsed)
        case "timeout":
            remedy = "Make it faster, or async and marked by keeps_open, which may give it more time."
        case "error":
            remedy = "A metric returns a Measurement of every completion: 0 where it finds no answer."
    raise PluginError(f"{where}: {result.why}. {remedy}")
