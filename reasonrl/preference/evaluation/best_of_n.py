"""Best-of-n: what the completion that the model ranks first among n is worth to a gold metric."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from reasonrl.errors import DataError
from reasonrl.evaluation.estimates import Estimate, mean_estimate
from reasonrl.preference.evaluation.scored import credit


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedSample:
    """One completion with its two values."""

    problem_id: str
    score: float
    """The model's."""
    gold: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """Best of n under the model and under the gold metric itself."""

    n: int
    kl: float
    """Upper bound of the divergence from the policy in nats: ``log n - (n - 1) / n`` (arXiv:2401.01879)."""
    picked: Estimate
    """Gold value of the completion that the model ranks first among n."""
    best: Estimate
    """Gold value of the best among n: what a perfect model would get."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BestOfNReport:
    """The curve, and how well the scores order samples of one problem."""

    metric: str
    """Name of the gold metric."""
    num_problems: int
    num_samples: int
    curve: tuple[CurvePoint, ...]
    """n = 1, 2, 4, ... up to the fewest samples of a problem; n = 1 is the mean of the samples."""
    accuracy: Estimate | None
    """Share of pairs of samples of a problem with different gold values that the scores order the same way, averaged
    by problem; None where no problem has such a pair."""
    out_of_range: float | None
    """Share of samples that score above the 99.9th percentile of the training data; None where that is not known."""
    left_out: int = 0
    """Samples without a score or a gold value, and those of problems with one sample."""
    num_trained: int | None = None
    """Problems whose prompt the model was trained on; None where that is not known."""


def best_of_n_report(samples: Sequence[RankedSample], metric: str, p999: float | None = None) -> BestOfNReport:
    """Measure the curve; intervals are over problems.

    Args:
        samples: several of each problem.
        metric: name of the gold metric.
        p999: 99.9th percentile of scores in training.

    Raises:
        DataError: no problem has two samples.
    """
    groups = [group for group in _by_problem(samples).values() if len(group) > 1]
    used = [sample for group in groups for sample in group]
    if not groups:
        raise DataError("no problem has two samples with values, but best-of-n needs several: sample more of each.")
    return BestOfNReport(
        metric=metric,
        num_problems=len(groups),
        num_samples=len(used),
        curve=tuple(_point(groups, 2**power) for power in range(min(map(len, groups)).bit_length())),
        accuracy=_accuracy(groups),
        out_of_range=None if p999 is None else sum(one.score > p999 for one in used) / len(used),
        left_out=len(samples) - len(used),
    )


def expected_gold_of_first(scores: Sequence[float], gold: Sequence[float], n: int) -> float:
    """Return the mean gold value of the highest score over all subsets of n samples: unbiased, as pass@k is.

    In ascending order the i-th sample is the highest of ``C(i - 1, n - 1)`` of the ``C(N, n)`` subsets. Among equal
    scores each is as likely to be taken.
    """
    order = sorted(range(len(scores)), key=lambda index: scores[index])
    num_subsets, start, total = math.comb(len(order), n), 0, 0.0
    while start < len(order):
        end = start
        while end < len(order) and scores[order[end]] == scores[order[start]]:
            end += 1
        share = (math.comb(end, n) - math.comb(start, n)) / num_subsets
        total += share * math.fsum(gold[index] for index in order[start:end]) / (end - start)
        start = end
    return total


def _by_problem(samples: Sequence[RankedSample]) -> dict[str, list[RankedSample]]:
    groups: dict[str, list[RankedSample]] = {}
    for sample in samples:
        groups.setdefault(sample.problem_id, []).append(sample)
    return groups


def _point(groups: Sequence[Sequence[RankedSample]], n: int) -> CurvePoint:
    gold = [sample.gold for group in groups for sample in group]
    bounds = min(gold), max(gold)

    def estimate(rank: Callable[[RankedSample], float]) -> Estimate:
        values_P = [
            expected_gold_of_first([rank(one) for one in group], [one.gold for one in group], n) for group in groups
        ]
        return _bounded(values_P, bounds)

    return CurvePoint(
        n=n,
        kl=math.log(n) - (n - 1) / n,
        picked=estimate(lambda sample: sample.score),
        best=estimate(lambda sample: sample.gold),
    )


def _bounded(values_P: Sequence[float], bounds: tuple[float, float]) -> Estimate:
    """Return the mean of values with other bounds than 0 and 1, by moving them there and the estimate back."""
    low, high = min(0.0, bounds[0]), max(1.0, bounds[1])
    unit = mean_estimate([min(1.0, max(0.0, (value - low) / (high - low))) for value in values_P])
    moved = {name: low + getattr(unit, name) * (high - low) for name in ("value", "lower", "upper")}
    return replace(unit, standard_error=unit.standard_error * (high - low), **moved)


def _accuracy(groups: Sequence[Sequence[RankedSample]]) -> Estimate | None:
    found = [value for group in groups if (value := _ordered(group)) is not None]
    return mean_estimate(found) if found else None


def _ordered(group: Sequence[RankedSample]) -> float | None:
    """Return the share of pairs with different gold values that the scores order the same way."""
    credits = [credit(a.score - b.score) for a in group for b in group if a.gold > b.gold]
    return sum(credits) / len(credits) if credits else None
