"""What an evaluation of a run's suites takes on this machine."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Final

from reasonrl.config.settings import RunConfig
from reasonrl.evaluation.measure import measure
from reasonrl.evaluation.results import SuiteResult
from reasonrl.plugins.types import Suite
from reasonrl.run.inputs import RunInputs
from reasonrl.run.plan.estimates import on_line
from reasonrl.run.reward_beside_metric import HeldoutScorer, scores_heldout

if TYPE_CHECKING:
    from reasonrl.run.build import RunComponents

PROBE_COMPLETIONS: Final = 64
"""Completions of a suite that are measured first, and then twice as many where the whole suite takes too long."""

FULL_EVALUATION_S: Final = 20.0
"""A suite that is expected to take no longer is measured whole."""


@dataclass(frozen=True, slots=True)
class EvaluationProbe:
    """One evaluation, of one suite or of all."""

    seconds: float = 0.0
    tokens: float = 0.0
    """Of all completions."""
    most_tokens: float = 0.0
    """Of all completions, where each reaches its limit."""

    def __add__(self, other: "EvaluationProbe") -> "EvaluationProbe":
        return EvaluationProbe(
            self.seconds + other.seconds, self.tokens + other.tokens, self.most_tokens + other.most_tokens
        )

    def after(self, growth: float) -> float:
        """Return the time of one whose completions are longer by a factor, at most at their limit."""
        return self.seconds * max(1.0, min(growth, self.most_growth))

    @property
    def most_growth(self) -> float:
        """The limit, as a multiple of what completions have now."""
        return self.most_tokens / self.tokens if self.tokens else 1.0


def probe_evaluation(config: RunConfig, inputs: RunInputs, components: "RunComponents") -> EvaluationProbe:
    """Measure all suites as a run does, where that is quick; else a part of each."""
    from reasonrl.run.heldout import RunSource

    source = RunSource(config.rollout.engine.name, components.engine, {}, components.suite_renderers)
    rewards = components.rewards.without_limit() if scores_heldout(config, inputs.rewards) else None
    measured = partial(
        measure,
        source=source,
        metrics=components.rewards.metrics,
        seed=config.seed,
        max_concurrent=config.evaluation.max_concurrent,
        scorer=HeldoutScorer(rewards, 0) if rewards else None,
    )
    return probe_suites(inputs.suites, measured)


def probe_suites(suites: Iterable[Suite], measured: Callable[[Suite], SuiteResult]) -> EvaluationProbe:
    """Measure suites where that is quick; else a part of each."""
    return sum((_probe_suite(suite, measured) for suite in suites), EvaluationProbe())


def _probe_suite(suite: Suite, measured: Callable[[Suite], SuiteResult]) -> EvaluationProbe:
    whole = len(suite.problems)
    sizes = PROBE_COMPLETIONS, 2 * PROBE_COMPLETIONS
    first, second = (min(whole, max(1, size // suite.num_samples)) for size in sizes)
    small = _evaluated(suite, first, measured)
    if first == whole:
        return small
    if small.seconds * whole / first <= FULL_EVALUATION_S:
        return _evaluated(suite, whole, measured)
    large = _evaluated(suite, second, measured)
    seconds = on_line(small.seconds, large.seconds, first, second, whole)
    return EvaluationProbe(seconds, large.tokens * whole / second, large.most_tokens * whole / second)


def _evaluated(suite: Suite, problems: int, measured: Callable[[Suite], SuiteResult]) -> EvaluationProbe:
    """Measure the first problems of a suite."""
    began = perf_counter()
    rows = measured(replace(suite, problems=suite.problems[:problems])).rows
    seconds = perf_counter() - began
    return EvaluationProbe(seconds, sum(row.num_tokens for row in rows), len(rows) * suite.max_new_tokens)
