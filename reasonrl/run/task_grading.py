"""Score replies with a suite's metric or with a reward, in worker processes kept while the same thing scores."""

import pickle
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Self, TypeAlias

from reasonrl.config.settings import RewardRef, ScoringSettings
from reasonrl.plugins.lookup import Plugins
from reasonrl.plugins.types import Suite
from reasonrl.scoring.caller import RewardCaller
from reasonrl.scoring.contract import load_reward
from reasonrl.scoring.metrics import MetricRunner, start_metrics
from reasonrl.types import Rollout, Score

Grade: TypeAlias = Callable[[Sequence[Rollout]], Sequence["Graded"]]


@dataclass(frozen=True, slots=True)
class Graded:
    """What scored a reply gave it."""

    value: float | None
    """None where there is no score: the reward cannot judge the problem, or failed."""
    failure: str = ""
    """How it failed, if it did."""
    run_s: float = 0.0


class Graders:
    """Starts what scores; the one before is stopped unless it is the same.

    Args:
        settings: workers and time limits.
        plugins: where rewards come from.
    """

    def __init__(self, settings: ScoringSettings, plugins: Plugins) -> None:
        self._settings, self._plugins = settings, plugins
        self._open = ExitStack()
        self._key: object = None
        self._grade: Grade = lambda _: ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def reward(self, name: str) -> Grade:
        """Return what scores with a reward."""
        return self._started(("reward", name), partial(self._start_reward, name))

    def metric(self, suite: Suite) -> Grade:
        """Return what scores with a suite's own metric, its further ones left out."""
        try:
            key: object = pickle.dumps(suite.metric)
        except Exception:  # anybody's object: one that cannot be pickled is told by what starts it
            key = object()
        return self._started(("metric", key), partial(self._start_metric, replace(suite, further_metrics={})))

    def _started(self, key: object, start: Callable[[], Grade]) -> Grade:
        if key != self._key:
            self._open.close()
            self._key = None
            self._grade = start()
            self._key = key
        return self._grade

    def _start_reward(self, name: str) -> Grade:
        loaded = load_reward(RewardRef(name=name), self._plugins)
        return partial(_rewarded, self._open.enter_context(RewardCaller([loaded], self._settings)), loaded.name)

    def _start_metric(self, suite: Suite) -> Grade:
        return partial(_measured, self._open.enter_context(start_metrics([suite], self._settings)), suite)


def _measured(metrics: MetricRunner, suite: Suite, rollouts: Sequence[Rollout]) -> list[Graded]:
    measured = metrics.measure(suite, rollouts)
    return [Graded(None if one.failures else one.value, one.why, one.run_s) for one in measured]


def _rewarded(caller: RewardCaller, name: str, rollouts: Sequence[Rollout]) -> list[Graded]:
    futures = [caller.submit(name, [rollout]) for rollout in rollouts]
    return [_graded(future.result()[0]) for future in futures]


def _graded(score: Score) -> Graded:
    failure = f"{score.outcome}: {score.why}" if score.outcome in ("timeout", "error") else ""
    return Graded(score.value, failure, score.run_s)
