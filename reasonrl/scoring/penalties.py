"""What the method itself changes about the results of rewards: penalties, and members that lose their score."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import TypeAlias

from reasonrl.types import Group, RewardResult, RewardResults, Rollout, Score, Scorer, Trajectory

Adjustment: TypeAlias = Callable[[Sequence[Group], tuple[RewardResults, ...]], tuple[RewardResults, ...]]
"""From the groups of a step and their results to other results."""


@dataclass(frozen=True, slots=True)
class AdjustedScorer:
    """Changes the results of a scorer, one adjustment after the other; rewards begin early all the same.

    Several threads may score at once; an adjustment, which may compute with a model, has one call at a time.
    """

    scorer: Scorer
    adjustments: tuple[Adjustment, ...]
    _turn: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)

    def submit_rollout(self, rollout: Rollout, step: int) -> None:
        """Let the rewards of a rollout begin."""
        self.scorer.submit_rollout(rollout, step)

    def submit_group(self, group: Group, step: int) -> None:
        """Let the rewards of a group begin."""
        self.scorer.submit_group(group, step)

    def score(self, groups: Sequence[Group], step: int) -> tuple[RewardResults, ...]:
        """Return the scorer's results, adjusted."""
        results = self.scorer.score(groups, step)
        with self._turn:
            for adjust in self.adjustments:
                results = adjust(groups, results)
        return results


@dataclass(frozen=True, slots=True)
class OverlongPenalty:
    """Takes up to 1 off the reward of a completion, growing over the last tokens before the limit.

    Soft overlong punishment of DAPO (arXiv:2503.14476, equation 13).

    Args:
        max_new_tokens: the limit, where the penalty is 1, of groups that do not say theirs.
        window: share of the limit over which it grows from 0.
    """

    max_new_tokens: int
    window: float

    def __call__(self, groups: Sequence[Group], results: tuple[RewardResults, ...]) -> tuple[RewardResults, ...]:
        """Return the results with the penalty ``overlong``."""
        return _for_each(
            lambda group, trajectory, result: result.less("overlong", self._penalty(group, trajectory)), groups, results
        )

    def _penalty(self, group: Group, trajectory: Trajectory) -> float:
        limit = group.max_new_tokens or self.max_new_tokens
        window = self.window * limit
        excess = trajectory.num_sampled_tokens - (limit - window)
        return min(max(excess / window, 0.0), 1.0)


def drop_truncated(groups: Sequence[Group], results: tuple[RewardResults, ...]) -> tuple[RewardResults, ...]:
    """Take trajectories that were cut out of their group: what each reward gave is kept, the sum does not count."""
    nothing = Score.unscorable("cut at max_new_tokens; algorithm.truncated is drop")
    return _for_each(
        lambda _, trajectory, result: (
            replace(result, total=nothing) if trajectory.finish_reason == "length" else result
        ),
        groups,
        results,
    )


def _for_each(
    adjust: Callable[[Group, Trajectory, RewardResult], RewardResult],
    groups: Sequence[Group],
    results: tuple[RewardResults, ...],
) -> tuple[RewardResults, ...]:
    """Change the result of every trajectory by itself."""
    return tuple(
        tuple(adjust(group, trajectory, result) for trajectory, result in zip(group.trajectories, members, strict=True))
        for group, members in zip(groups, results, strict=True)
    )
