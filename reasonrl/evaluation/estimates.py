"""Estimates from one value a problem: means with intervals, and paired differences.

Problems are the unit: samples of one problem are not independent, so they are averaged before they come here. Problems
that belong together, such as the questions on one text, are clusters: errors are then those of clusters.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Final, Literal, TypeAlias

import numpy as np

from reasonrl.errors import DataError
from reasonrl.evaluation.intervals import (
    TOLERANCE,
    Clustered,
    Values,
    effective_tango_interval,
    effective_wilson_interval,
    normal_quantile,
    tango_interval,
    wilson_interval,
)

Method: TypeAlias = Literal["wilson", "effective_wilson", "tango", "effective_tango", "range"]
"""The score intervals of Wilson and Tango for values 0 and 1, or with an effective sample size for other values and
for clusters; ``range`` for a single cluster, which leaves everything possible."""

NUM_SIGN_FLIPS: Final = 9_999
"""Random sign patterns of a permutation test beside the given one: the least p-value is 1e-4."""
MAX_DRAWN: Final = 2_000_000
"""Signs drawn at once, which bounds memory."""
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
    num_clusters: int
    """Independent groups of problems; ``num_problems`` where each stands for itself."""
    sampling_error: float | None = None
    """Standard error over new samples of the same problems, which :func:`sampling_error` gives; None where it is not
    known."""


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
    num_clusters: int
    wins: int
    """Problems on which B is better."""
    ties: int
    losses: int
    p_value: float
    """Of the exact test of McNemar (1947) for values 0 and 1, of a sign-flip permutation test for others and for
    clusters."""
    correlation: float | None
    """Correlation of A and B over problems; None when one of them does not vary."""

    @property
    def minimum_detectable_effect(self) -> float:
        """Smallest true difference that as many problems would show with 80 % power, by the width of the interval."""
        return POWER_FACTOR * (self.upper - self.lower) / 2 / normal_quantile(self.level)


def mean_estimate(
    values_P: Sequence[float], *, clusters_P: Sequence[Hashable] | None = None, level: float = 0.95
) -> Estimate:
    """Return the mean of one value a problem, with the interval that fits the values.

    Args:
        values_P: between 0 and 1.
        clusters_P: what cluster each problem belongs to; None where each is independent of the others.
        level: share of repetitions in which such an interval holds the true mean.

    Raises:
        DataError: there is no value.
        ValueError: a value is not between 0 and 1, or the lengths differ.
    """
    array_P = _as_values(values_P)
    clustered = _clustered(array_P, clusters_P)
    lower, upper, method = mean_interval(array_P, clustered, level)
    return Estimate(
        value=clustered.mean,
        standard_error=_standard_error(clustered, (0.0, 1.0)),
        lower=lower,
        upper=upper,
        level=level,
        method=method,
        num_problems=array_P.size,
        num_clusters=clustered.num_clusters,
    )


def mean_interval(values_P: Values, clustered: Clustered, level: float) -> tuple[float, float, Method]:
    """Return the interval of :func:`mean_estimate`."""
    if clustered.num_clusters == values_P.size and np.isin(values_P, (0.0, 1.0)).all():
        return *wilson_interval(int(values_P.sum()), values_P.size, level), "wilson"
    if clustered.num_clusters == 1:
        return 0.0, 1.0, "range"
    return *effective_wilson_interval(clustered, level), "effective_wilson"


def paired_difference(
    a_P: Sequence[float],
    b_P: Sequence[float],
    *,
    clusters_P: Sequence[Hashable] | None = None,
    level: float = 0.95,
) -> PairedDifference:
    """Return the mean of B minus A over the same problems in the same order (Miller 2024, arXiv:2411.00640).

    Args:
        a_P: values of A, between 0 and 1.
        b_P: values of B.
        clusters_P: what cluster each problem belongs to; None where each is independent of the others.
        level: share of repetitions in which such an interval holds the true difference.

    Raises:
        DataError: there is no value.
        ValueError: a value is not between 0 and 1, or the lengths differ.
    """
    array_a_P, array_b_P = _as_values(a_P), _as_values(b_P)
    if array_a_P.size != array_b_P.size:
        raise ValueError(f"{array_a_P.size} values cannot be paired with {array_b_P.size}")
    differences_P = array_b_P - array_a_P
    differences_P[np.abs(differences_P) <= TOLERANCE] = 0.0
    clustered = _clustered(differences_P, clusters_P)
    lower, upper, method = paired_interval(differences_P, clusters_P, level)
    return PairedDifference(
        difference=clustered.mean,
        standard_error=_standard_error(clustered, (-1.0, 1.0)),
        lower=lower,
        upper=upper,
        level=level,
        method=method,
        num_problems=differences_P.size,
        num_clusters=clustered.num_clusters,
        wins=int((differences_P > 0).sum()),
        ties=int((differences_P == 0).sum()),
        losses=int((differences_P < 0).sum()),
        p_value=_p_value(clustered),
        correlation=_correlation(array_a_P, array_b_P),
    )


def paired_interval(
    differences_P: Values, clusters_P: Sequence[Hashable] | None, level: float
) -> tuple[float, float, Method]:
    """Return the interval of :func:`paired_difference`."""
    won, lost = (Clustered.of(np.maximum(sign * differences_P, 0.0), clusters_P) for sign in (1, -1))
    is_binary = bool(np.isin(differences_P, (-1.0, 0.0, 1.0)).all())
    if won.num_clusters == differences_P.size and is_binary:
        return *tango_interval(won.mean, lost.mean, differences_P.size, normal_quantile(level)), "tango"
    if won.num_clusters == 1:
        return -1.0, 1.0, "range"
    return *effective_tango_interval(won, lost, level), "effective_tango"


def sampling_error(values_by_problem: Iterable[Sequence[float]]) -> float | None:
    """Return the standard error of avg@n over new samples of the same problems; None with a single sample of one.

    With values 0 and 1 and n samples a problem it is ``sqrt(mean(q * (1 - q) / (n - 1)) / Q)`` of the Q problems'
    shares q. It says nothing of other problems.
    """
    errors = []
    for values in values_by_problem:
        if len(values) < 2:
            return None
        errors.append(float(np.var(values, ddof=1)) / len(values))
    return sqrt(sum(errors)) / len(errors)


def _as_values(values_P: Sequence[float]) -> Values:
    array_P = np.array(values_P, dtype=np.float64)
    if not array_P.size:
        raise DataError("no problem was measured, so there is nothing to estimate.")
    if not ((array_P >= 0) & (array_P <= 1)).all():
        raise ValueError("a metric's values must lie between 0 and 1")
    return array_P


def _clustered(values_P: Values, clusters_P: Sequence[Hashable] | None) -> Clustered:
    if clusters_P is not None and len(clusters_P) != values_P.size:
        raise ValueError(f"{values_P.size} values do not have {len(clusters_P)} clusters")
    return Clustered.of(values_P, clusters_P)


def _standard_error(values: Clustered, bounds: tuple[float, float]) -> float:
    """Return the standard error of the mean; of one cluster, the greatest that its bounds allow."""
    return (bounds[1] - bounds[0]) / 2 if values.num_clusters == 1 else sqrt(values.squared_error)


def _p_value(differences: Clustered) -> float:
    """Return how probable a difference as large would be, were A and B alike in every cluster."""
    from scipy.stats import binomtest, monte_carlo_test

    moved_C = differences.totals_C[np.abs(differences.totals_C) > TOLERANCE]
    if not moved_C.size:
        return 1.0
    size_C = np.abs(moved_C)
    if np.ptp(size_C) <= TOLERANCE:  # all of one size: the exact test of the sign, which is McNemar's
        return float(binomtest(int((moved_C > 0).sum()), moved_C.size).pvalue)
    random = np.random.default_rng(0)
    flips = monte_carlo_test(
        moved_C,
        lambda size: size_C * random.choice((-1.0, 1.0), size),
        lambda values, axis: np.abs(values.sum(axis)),
        n_resamples=NUM_SIGN_FLIPS,
        batch=max(1, MAX_DRAWN // moved_C.size),
        vectorized=True,
        alternative="greater",
    )
    return float(flips.pvalue)


def _correlation(a_P: Values, b_P: Values) -> float | None:
    """Return Pearson's correlation, or None when there is none."""
    if min(np.ptp(a_P), np.ptp(b_P)) <= TOLERANCE:
        return None
    return float(np.corrcoef(a_P, b_P)[0, 1])
