"""What the method itself does to completions that reach the token limit, on top of what rewards say."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from reasonrl.types import Group, RewardResult, RewardResults, Rollout, Score, Scorer, Trajectory


@dataclass(frozen=True, slots=True)
class OverlongPenalty:
    """Takes up to 1 off the reward of a completion, growing over the last tokens before the limit.

    Soft overlong punishment of DAPO (arXiv:2503.14476, equation 13).

    Args:
        scorer: whose results are changed.
        max_new_tokens: the limit, where the penalty is 1.
        window: share of the limit over which it grows from 0.
    """

    scorer: Scorer
    max_new_tokens: int
    window: float

    def submit_rollout(self, rollout: Rollout, step: int) -> None:
        """Let the rewards begin."""
        self.scorer.submit_rollout(rollout, step)

    def submit_group(self, group: Group, step: int) -> None:
        """Let the rewards of groups begin."""
        self.scorer.submit_group(group, step)

    def score(self, groups: Sequence[Group], step: int) -> tuple[RewardResults, ...]:
        """Return the scorer's results with the penalty ``overlong``."""
        return tuple(
            tuple(
                result.less("overlong", self._penalty(completion))
                for completion, result in zip(group.trajectories, results, strict=True)
            )
            for group, results in zip(groups, self.scorer.score(groups, step), strict=True)
        )

    def _penalty(self, completion: Trajectory) -> float:
        window = self.window * self.max_new_tokens
        excess = completion.num_sampled_tokens - (self.max_new_tokens - window)
        return min(max(excess / window, 0.0), 1.0)


@dataclass(frozen=True, slots=True)
class DropTruncated:
    """Takes cut completions out of their group: they have no score."""

    scorer: Scorer

    def submit_rollout(self, rollout: Rollout, step: int) -> None:
        """Let the rewards begin; what they say of a cut completion is kept."""
        self.scorer.submit_rollout(rollout, step)

    def submit_group(self, group: Group, step: int) -> None:
        """Let the rewards of groups begin."""
        self.scorer.submit_group(group, step)

    def score(self, groups: Sequence[Group], step: int) -> tuple[RewardResults, ...]:
        """Return the scorer's results, without a total where a completion was cut."""
        return tuple(
            tuple(
                result if completion.finish_reason != "length" else _without_total(result)
                for completion, result in zip(group.trajectories, results, strict=True)
            )
            for group, results in zip(groups, self.scorer.score(groups, step), strict=True)
        )


def _without_total(result: RewardResult) -> RewardResult:
    """Keep what each reward said; the sum does not count."""
    return replace(result, total=Score.unscorable("cut at max_new_tokens; algorithm.truncated is drop"))
