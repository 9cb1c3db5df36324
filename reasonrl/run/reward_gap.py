"""Has the reward of held-out completions risen, although the metric that it stands for has no part in it?

Both are measured on the same completions, in every evaluation of a suite. An evaluation is compared with each one
before it. There is a gap between them where the reward has risen, and

- the metric has not, and the rise of the reward, as a share of its range, is larger than that of the metric by more
  than a margin: what was gained is not what was wanted; or
- most completions that the metric calls wrong have a reward in the upper half of its range, and the two do not
  correlate: whatever was gained so far, the reward no longer asks for it.

Each by more than noise: the level of the comparisons of one evaluation is such that all comparisons of a run, however
long it is, together find something by chance with a probability of at most ``max_false_alarms``.

Left out: that the problems of two evaluations are the same, which makes the errors of their differences smaller than
they are taken to be here.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, Self

from reasonrl.evaluation.intervals import wilson_interval
from reasonrl.run.reward_beside_metric import Range

ROSE: Final = 1.645
"""Standard errors by which a metric has risen: one that may well have risen is given the benefit of the doubt."""
MOST: Final = 0.5
"""Share of the wrong completions that is most of them."""
MIN_CORRELATION: Final = 0.3
"""Correlation of reward and metric below which a reward does not tell right from wrong."""
MIN_PROBLEMS: Final = 4.0
"""Problems from which on the error of a correlation is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What one evaluation of a suite found."""

    step: int
    metric: float
    metric_stderr: float
    reward: float
    reward_stderr: float
    range: Range
    correlation: float | None = None
    """Of reward and metric over completions; None where one of them does not vary."""
    num_wrong: int = 0
    """Problems with a completion that the metric calls wrong."""
    high_when_wrong: float | None = None
    """Of the completions that the metric calls wrong, those with a high reward."""

    @classmethod
    def of(cls, step: int, suite: str, metrics: Mapping[str, float]) -> Self | None:
        """Read it from the numbers that a run writes; None where it has no reward."""
        prefix = f"heldout/{suite}/reward_"
        if not {f"{prefix}{name}" for name in ("mean", "stderr", "low", "high", "num_wrong")} <= metrics.keys():
            return None
        return cls(
            step=step,
            metric=metrics[f"heldout/{suite}"],
            metric_stderr=metrics[f"heldout_stderr/{suite}"],
            reward=metrics[f"{prefix}mean"],
            reward_stderr=metrics[f"{prefix}stderr"],
            range=Range(metrics[f"{prefix}low"], metrics[f"{prefix}high"]),
            correlation=metrics.get(f"{prefix}correlation"),
            num_wrong=round(metrics[f"{prefix}num_wrong"]),
            high_when_wrong=metrics.get(f"{prefix}high_when_wrong"),
        )

    def gap_variance(self, width: float) -> float:
        """Return the variance of reward less metric, with the reward as a share of a range of this width."""
        reward, metric = self.reward_stderr / width, self.metric_stderr
        return max(reward**2 + metric**2 - 2 * (self.correlation or 0.0) * reward * metric, 0.0)

    def pays_for_wrong(self, bound: float) -> bool:
        """Say whether most wrong completions have a high reward, and the reward does not go with the metric.

        Args:
            bound: standard errors that count as noise.
        """
        if self.high_when_wrong is None or not self.num_wrong:
            return False
        level = 2 * NormalDist().cdf(bound) - 1
        least, _ = wilson_interval(round(self.high_when_wrong * self.num_wrong), self.num_wrong, level)
        return least > MOST and self._largest_correlation(bound) < MIN_CORRELATION

    def _largest_correlation(self, bound: float) -> float:
        """Return the upper end of the correlation's interval (Fisher's z); 0 where one of the two does not vary."""
        if self.correlation is None:
            return 0.0
        num_problems = self.metric * (1 - self.metric) / self.metric_stderr**2 if self.metric_stderr else 0.0
        if num_problems < MIN_PROBLEMS:
            return 1.0
        if abs(self.correlation) >= 1:
            return self.correlation
        return math.tanh(math.atanh(self.correlation) + bound / math.sqrt(num_problems - 3))


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A rise of the reward that the metric has no part in."""

    then: Point
    now: Point
    metric_rose: bool
    """Whether the metric has risen too; then the reward no longer asks for that."""

    def describe(self, suite: str) -> str:
        """Say what was seen."""
        then, now = self.then, self.now
        metric = f"its metric went to {now.metric:.1%} from {then.metric:.1%}"
        and_so = f"{metric}, but the reward no longer tells right from wrong" if self.metric_rose else metric
        told = [
            f"the reward of held-out {suite} rose to {now.reward:.3f} from {then.reward:.3f} after step {then.step}, "
            f"while {and_so}"
        ]
        if now.correlation is not None:
            told.append(f"reward and metric correlate by {now.correlation:.2f}")
        if now.high_when_wrong is not None:
            told.append(f"{now.high_when_wrong:.1%} of the completions that the metric calls wrong have a high reward")
        return "; ".join(told)


class GapDetector:
    """Takes in the evaluations of one suite and says whether the reward has risen without the metric.

    Args:
        max_false_alarms: chance that noise alone ever makes a gap.
        margin: largest healthy gap, as a share of the reward's range.
    """

    def __init__(self, *, max_false_alarms: float, margin: float) -> None:
        self._max_false_alarms = max_false_alarms
        self._margin = margin
        self._points: list[Point] = []
        self._range: Range | None = None

    def observe(self, point: Point) -> Gap | None:
        """Take in an evaluation; return the gap since the lowest reward of an earlier one, if there is any gap."""
        self._range = point.range.joined(self._range)
        gaps = list(self._gaps(point, self._range.width)) if self._points and self._range.width > 0 else []
        self._points.append(point)
        return min(gaps, key=lambda gap: (gap.metric_rose, gap.then.reward), default=None)

    def _gaps(self, now: Point, width: float) -> Iterator[Gap]:
        bound = self._bound(len(self._points))
        pays_for_wrong = now.pays_for_wrong(bound)
        for then in self._points:
            rise, risen = (now.reward - then.reward) / width, now.metric - then.metric
            if rise <= bound * math.hypot(now.reward_stderr, then.reward_stderr) / width:
                continue
            metric_rose = risen > ROSE * math.hypot(now.metric_stderr, then.metric_stderr)
            least = rise - risen - bound * math.sqrt(now.gap_variance(width) + then.gap_variance(width))
            if pays_for_wrong or (not metric_rose and least > self._margin):
                yield Gap(then=then, now=now, metric_rose=metric_rose)

    def _bound(self, num_earlier: int) -> float:
        """Return the standard errors beyond which a difference is none by chance.

        Each of n comparisons has the level a / (n n (n + 1)), and the sum of 1 / (n (n + 1)) over all n is 1.
        """
        level = self._max_false_alarms / (num_earlier**2 * (num_earlier + 1))
        return NormalDist().inv_cdf(1 - level)
