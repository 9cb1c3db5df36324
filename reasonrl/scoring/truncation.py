"""What the method itself does to completions that reach the token limit, on top of what rewards say."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from reasonrl.types import Completion, Grader, Group, Rollout, Score, Verdict, Verdicts


@dataclass(frozen=True, slots=True)
class OverlongPenalty:
    """Takes up to 1 off the reward of a completion, growing over the last tokens before the limit.

    Soft overlong punishment of DAPO (arXiv:2503.14476, equation 13).

    Args:
        grader: whose verdicts are changed.
        max_new_tokens: the limit, where the penalty is 1.
        window: share of the limit over which it grows from 0.
    """

    grader: Grader
    max_new_tokens: int
    window: float

    def start(self, rollout: Rollout, step: int) -> None:
        """Let the rewards begin."""
        self.grader.start(rollout, step)

    def start_group(self, group: Group, step: int) -> None:
        """Let the rewards of groups begin."""
        self.grader.start_group(group, step)

    def score(self, groups: Sequence[Group], step: int) -> tuple[Verdicts, ...]:
        """Return the grader's verdicts with the penalty ``overlong``."""
        return tuple(
            tuple(
                verdict.less("overlong", self._penalty(completion))
                for completion, verdict in zip(group.completions, verdicts, strict=True)
            )
            for group, verdicts in zip(groups, self.grader.score(groups, step), strict=True)
        )

    def _penalty(self, completion: Completion) -> float:
        """Return what one completion loses."""
        window = self.window * self.max_new_tokens
        excess = len(completion.token_ids) - (self.max_new_tokens - window)
        return min(max(excess / window, 0.0), 1.0)


@dataclass(frozen=True, slots=True)
class DropTruncated:
    """Takes cut completions out of their group: they have no score."""

    grader: Grader

    def start(self, rollout: Rollout, step: int) -> None:
        """Let the rewards begin; what they say of a cut completion is kept."""
        self.grader.start(rollout, step)

    def start_group(self, group: Group, step: int) -> None:
        """Let the rewards of groups begin."""
        self.grader.start_group(group, step)

    def score(self, groups: Sequence[Group], step: int) -> tuple[Verdicts, ...]:
        """Return the grader's verdicts, without a total where a completion was cut."""
        return tuple(
            tuple(
                verdict if completion.finish_reason != "length" else _without_total(verdict)
                for completion, verdict in zip(group.completions, verdicts, strict=True)
            )
            for group, verdicts in zip(groups, self.grader.score(groups, step), strict=True)
        )


def _without_total(verdict: Verdict) -> Verdict:
    """Keep what each reward said; the sum does not count."""
    return replace(verdict, total=Score.unscorable("cut at max_new_tokens; algorithm.truncated is drop"))
