"""The training reward of held-out completions, beside the metric that judges them."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from reasonrl.config.settings import RunConfig
from reasonrl.evaluation.results import SampleResult, SuiteResult
from reasonrl.scoring.contract import Reward
from reasonrl.types import Group, RewardResult, RewardResults, Rollout, Scorer

RIGHT: Final = 0.5
"""Smallest value of a metric that counts as right."""
LOW, HIGH = 0.05, 0.95
"""Quantiles that are called the range of a reward: a few extreme scores of a reward model do not decide it."""


class Range(NamedTuple):
    """Where a reward lies."""

    low: float
    high: float

    @property
    def width(self) -> float:
        """From the lowest to the highest; 0 where nothing is told apart."""
        return self.high - self.low

    def joined(self, other: "Range | None") -> "Range":
        """Return the smallest range that holds both."""
        return self if other is None else Range(min(self.low, other.low), max(self.high, other.high))

    def share(self, reward: float) -> float:
        """Return where in the range a reward lies: 0 at its lower end or below, 1 at its upper end or above."""
        return min(max((reward - self.low) / self.width, 0.0), 1.0)


@dataclass(frozen=True, slots=True)
class HeldoutScorer:
    """Scores held-out completions with the rewards of a step, and keeps what each reward said.

    Args:
        scorer: the run's rewards; what the method takes off beside them is no part of it.
        step: the step whose weights they have.
    """

    scorer: Scorer
    step: int
    results: dict[str, RewardResult] = field(default_factory=dict)
    """By the rollout's id."""

    def submit_rollout(self, rollout: Rollout, step: int) -> None:
        """Let the rewards of a rollout begin."""
        self.scorer.submit_rollout(rollout, self.step)

    def submit_group(self, group: Group, step: int) -> None:
        """Let the rewards of a group begin."""
        self.scorer.submit_group(group, self.step)

    def score(self, groups: Sequence[Group], step: int) -> tuple[RewardResults, ...]:
        """Return the scores, as the run's step gives them."""
        results = self.scorer.score(groups, self.step)
        for group, members in zip(groups, results, strict=True):
            self.results.update((rollout.id, found) for rollout, found in zip(group.rollouts(), members, strict=True))
        return results


def scores_heldout(config: RunConfig, rewards: Sequence[Reward]) -> bool:
    """Say whether a run's rewards score its held-out completions too: see ``evaluation.rewards``."""
    setting = config.evaluation.rewards
    return bool(rewards) and (
        setting == "all" or (setting == "auto" and not any(reward.is_async for reward in rewards))
    )


def heldout_metrics(result: SuiteResult, seen: Range | None = None) -> dict[str, float]:
    """Return all that a run writes of a suite: its figure, and where it has rewards how they go with the metric.

    Args:
        result: what was measured.
        seen: range of the reward in the suite's evaluations before this one.
    """
    figure = result.estimate()
    named = {f"heldout/{result.name}": figure.value, f"heldout_stderr/{result.name}": figure.standard_error}
    return named | {f"heldout/{result.name}/{name}": value for name, value in reward_figures(result, seen).items()}


def suites_of(metrics: Iterable[str]) -> list[str]:
    """Return the suites whose figure is among metrics; a suite's name has no slash, further numbers of it have."""
    names = (name.removeprefix("heldout/") for name in metrics if name.startswith("heldout/"))
    return [name for name in names if "/" not in name]


def seen_range(records: Iterable[Mapping[str, Any]], suite: str) -> Range | None:
    """Return the range that the reward of a suite's completions has had. Any: lines of ``metrics.jsonl``."""
    low, high = f"heldout/{suite}/reward_low", f"heldout/{suite}/reward_high"
    ranges = [Range(record[low], record[high]) for record in records if low in record and high in record]
    return Range(min(one.low for one in ranges), max(one.high for one in ranges)) if ranges else None


def reward_figures(result: SuiteResult, seen: Range | None = None) -> dict[str, float]:
    """Return mean, error and range of the reward, its correlation with the metric, and how often it is high and wrong.

    Completions without a reward are left out; without any there are no figures.
    """
    rows = rewarded(result)
    if not rows:
        return {}
    own = reward_range(rows)
    mean, error = _mean(result)
    correlation, wrong = correlation_of(rows), high_when_wrong(rows, own.joined(seen))
    return {
        "reward_mean": mean,
        "reward_stderr": error,
        "reward_low": own.low,
        "reward_high": own.high,
        "reward_num_wrong": float(len({row.problem_id for row in rows if row.value < RIGHT})),
        **({} if correlation is None else {"reward_correlation": correlation}),
        **({} if wrong is None else {"reward_high_when_wrong": wrong}),
    }


def rewarded(result: SuiteResult) -> list[SampleResult]:
    """Return the completions that have a reward."""
    return [row for row in result.rows if row.reward is not None]


def reward_range(rows: Sequence[SampleResult]) -> Range:
    """Return the range of the rewards of completions that have one, of which there is at least one.

    Where nearly all of them are equal, the others make the range.
    """
    ordered = sorted(_reward(row) for row in rows)
    usual = Range(*(ordered[round(quantile * (len(ordered) - 1))] for quantile in (LOW, HIGH)))
    return usual if usual.width > 0 else Range(ordered[0], ordered[-1])


def correlation_of(rows: Sequence[SampleResult]) -> float | None:
    """Return Pearson's correlation of reward and metric; None where one of them does not vary."""
    rewards, values = [_reward(row) for row in rows], [row.value for row in rows]
    if len(set(rewards)) < 2 or len(set(values)) < 2:
        return None
    found = statistics.correlation(rewards, values)
    return found if math.isfinite(found) else None


def high_when_wrong(rows: Sequence[SampleResult], scale: Range) -> float | None:
    """Return, of the completions that the metric calls wrong, the share whose reward is in the upper half of a range.

    None where no completion is wrong, or the range is a single value.
    """
    wrong = [_reward(row) for row in rows if row.value < RIGHT]
    if not wrong or not scale.width > 0:
        return None
    return sum(scale.share(reward) > RIGHT for reward in wrong) / len(wrong)


def _mean(result: SuiteResult) -> tuple[float, float]:
    """Return the mean over problems of the mean reward, and its standard error, by clusters where there are some."""
    members: dict[str, list[float]] = {}
    for row in rewarded(result):
        members.setdefault(row.problem_id, []).append(_reward(row))
    means = {problem_id: statistics.fmean(rewards) for problem_id, rewards in members.items()}
    low, width = min(means.values()), max(means.values()) - min(means.values())
    if not 0 < width < math.inf:
        return statistics.fmean(means.values()), 0.0
    scaled = {problem_id: min(max((mean - low) / width, 0.0), 1.0) for problem_id, mean in means.items()}
    found = result.mean(scaled)
    return low + width * found.value, width * found.standard_error


def _reward(row: SampleResult) -> float:
    assert row.reward is not None, "only completions with a reward are compared"
    return row.reward
