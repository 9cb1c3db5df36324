"""Estimates from one value a problem: means with intervals, paired differences, pass@k.

Problems are the unit: samples of one problem are not independent, so they are averaged before they come
here. Left out: clustered errors for problems that share a passage or a generator, intervals of maj@k and
best@k, and corrections for comparing many suites at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, sqrt
from statistics import NormalDist
from typing import Final, Literal, TypeAlias

import numpy as np

from reasonrl.errors import DataError

Values: TypeAlias = np.ndarray[tuple[int], np.dtype[np.float64]]
Method: TypeAlias = Literal["wilson", "t", "point", "range"]
"""``wilson`` for values 0 and 1, ``t`` for others; ``point`` when all are equal, so that they show no spread
and the interval has no width; ``range`` for a single one, which leaves everything possible."""

TOLERANCE: Final = 1e-12
"""Differences up to this are rounding."""
NUM_SIGN_FLIPS: Final = 10_000
"""Random sign patterns of a permutation test: the least p-value is about 1e-4."""
POWER_FACTOR: Final = 2.8
"""Standard errors between zero and a difference that a two-sided 5 % test finds in four cases of five."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over problems with its uncertainty over other problems of the same kind."""

    value: float
    standard_error: float
    lower: float
    upper: float
    level: float
    """Share of repetitions in which such an interval holds the true mean."""
    method: Method
    num_problems: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """Mean of B minus A over the problems of both."""

    difference: float
    standard_error: float
    lower: float
    upper: float
    level: float
    method: Method
    num_problems: int
    wins: int
    """Problems on which B is better."""
    ties: int
    losses: int
    p_value: float
    """Share of random sign patterns whose mean is as far from zero."""
    correlation: float | None
    """Correlation of A and B over problems; None when one of them does not vary."""

    @property
    def minimum_detectable_effect(self) -> float:
        """Smallest true difference that as many problems would show with 80 % power."""
        return POWER_FACTOR * self.standard_error


def mean_estimate(values_P: Sequence[float], *, level: float = 0.95) -> Estimate:
    """Return the mean of one value a problem, with the interval that fits the values.

    Wilson's interval (1927) where every value is 0 or 1: the usual one is far too short near the ends.
    Otherwise Student's t over problems, cut to what is possible (Miller 2024, arXiv:2411.00640).

    Raises:
        DataError: there is no value.
        ValueError: a value is not between 0 and 1.
    """
    array_P = _as_values(values_P)
    if np.isin(array_P, (0.0, 1.0)).all():
        lower, upper = _wilson(float(array_P.mean()), array_P.size, level)
        method: Method = "wilson"
    else:
        lower, upper, method = _interval(array_P, level, (0.0, 1.0))
    return Estimate(
        value=float(array_P.mean()),
        standard_error=_standard_error(array_P, (0.0, 1.0)),
        lower=lower,
        upper=upper,
        level=level,
        method=method,
        num_problems=array_P.size,
    )


def paired_difference(a_P: Sequence[float], b_P: Sequence[float], *, level: float = 0.95) -> PairedDifference:
    """Return the mean of B minus A over the same problems in the same order (Miller 2024, arXiv:2411.00640).

    The p-value is that of a sign-flip permutation test with a fixed seed: exchangeable under the hypothesis
    that A and B are alike, whatever the distribution of the values.

    Raises:
        DataError: there is no value.
        ValueError: a value is not between 0 and 1, or the lengths differ.
    """
    array_a_P, array_b_P = _as_values(a_P), _as_values(b_P)
    if array_a_P.size != array_b_P.size:
        raise ValueError(f"{array_a_P.size} values cannot be paired with {array_b_P.size}")
    differences_P = array_b_P - array_a_P
    differences_P[np.abs(differences_P) <= TOLERANCE] = 0.0
    lower, upper, method = _interval(differences_P, level, (-1.0, 1.0))
    return PairedDifference(
        difference=float(differences_P.mean()),
        standard_error=_standard_error(differences_P, (-1.0, 1.0)),
        lower=lower,
        upper=upper,
        level=level,
        method=method,
        num_problems=differences_P.size,
        wins=int((differences_P > 0).sum()),
        ties=int((differences_P == 0).sum()),
        losses=int((differences_P < 0).sum()),
        p_value=_sign_flip_p_value(differences_P),
        correlation=_correlation(array_a_P, array_b_P),
    )


def pass_at_k(num_samples: int, num_correct: int, k: int) -> float:
    """Return the probability that at least one of k samples of a problem is right (Chen et al. 2021, arXiv:2107.03374).

    Unbiased, where ``1 - (1 - c/n)**k`` is too low.

    Raises:
        DataError: there are fewer than k samples.
    """
    if num_samples < k:
        raise DataError(f"pass@{k} needs {k} samples a problem or more, but there are {num_samples}.")
    if k < 1 or not 0 <= num_correct <= num_samples:
        raise ValueError(f"no pass@{k} with {num_correct} right of {num_samples}")
    return 1.0 - comb(num_samples - num_correct, k) / comb(num_samples, k)


def _as_values(values_P: Sequence[float]) -> Values:
    array_P = np.array(values_P, dtype=np.float64)
    if not array_P.size:
        raise DataError("no problem was measured, so there is nothing to estimate.")
    if not ((array_P >= 0) & (array_P <= 1)).all():
        raise ValueError("a metric's values must lie between 0 and 1")
    return array_P


def _all_equal(values_P: Values) -> bool:
    return bool(np.ptp(values_P) <= TOLERANCE)


def _standard_error(values_P: Values, bounds: tuple[float, float]) -> float:
    """Return the standard error of the mean; of one value, the greatest that its bounds allow."""
    if values_P.size == 1:
        return (bounds[1] - bounds[0]) / 2
    return 0.0 if _all_equal(values_P) else float(values_P.std(ddof=1)) / sqrt(values_P.size)


def _wilson(share: float, num_problems: int, level: float) -> tuple[float, float]:
    z = NormalDist().inv_cdf(0.5 + level / 2)
    scale = 1 + z * z / num_problems
    center = (share + z * z / (2 * num_problems)) / scale
    half = z / scale * sqrt(share * (1 - share) / num_problems + (z / (2 * num_problems)) ** 2)
    return min(share, max(0.0, center - half)), max(share, min(1.0, center + half))


def _interval(values_P: Values, level: float, bounds: tuple[float, float]) -> tuple[float, float, Method]:
    """Return Student's interval of the mean, cut to its bounds; see :data:`Method` for values without a spread."""
    from scipy.special import stdtrit  # 0.3 s, which only an evaluation has to pay

    if values_P.size == 1:
        return *bounds, "range"
    mean = float(values_P.mean())
    if _all_equal(values_P):
        return mean, mean, "point"
    half = float(stdtrit(values_P.size - 1, 0.5 + level / 2)) * _standard_error(values_P, bounds)
    return max(bounds[0], mean - half), min(bounds[1], mean + half), "t"


def _sign_flip_p_value(differences_P: Values) -> float:
    """Return the share of random sign patterns whose sum is as far from zero as the given one.

    The given pattern counts as one of them, so that the test keeps its level.
    """
    moved = differences_P[differences_P != 0]
    if not moved.size:
        return 1.0
    random = np.random.default_rng(0)
    threshold = abs(moved.sum()) - 1e-9
    num_extreme, num_left = 0, NUM_SIGN_FLIPS
    while num_left:
        num_rows = min(num_left, max(1, 2_000_000 // moved.size))  # bounds memory
        positive = random.integers(0, 2, size=(num_rows, moved.size), dtype=np.int8)
        sums = 2 * (positive @ moved) - moved.sum()
        num_extreme += int((np.abs(sums) >= threshold).sum())
        num_left -= num_rows
    return (num_extreme + 1) / (NUM_SIGN_FLIPS + 1)


def _correlation(a_P: Values, b_P: Values) -> float | None:
    """Return Pearson's correlation, or None when there is none."""
    if _all_equal(a_P) or _all_equal(b_P):
        return None
    return float(np.corrcoef(a_P, b_P)[0, 1])
