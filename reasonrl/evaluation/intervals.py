"""Confidence intervals of means of values between bounds, with or without clusters.

The usual intervals are far too short where few problems carry the mean: with an accuracy of 2 % Student's holds the
truth in 65 of 100 cases on 30 problems, and that of a paired difference without discordant problems has no width.
Which of the known remedies is used where was chosen by measured coverage (``benchmarks/interval_coverage.py``).
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Final, TypeAlias

import numpy as np

Values: TypeAlias = np.ndarray[tuple[int], np.dtype[np.float64]]
Interval: TypeAlias = tuple[float, float]

TOLERANCE: Final = 1e-12
"""Differences up to this are rounding."""
FEW: Final = 2.5
"""Clusters carrying a mean with which its measured error counts as much as the largest possible one."""


@dataclass(frozen=True, slots=True)
class Clustered:
    """Values summed by cluster: what errors are computed from where the values of a cluster are not independent."""

    totals_C: Values
    """Sum of each cluster's values."""
    sizes_C: Values
    """Values in each cluster."""

    @classmethod
    def of(cls, values_P: Values, clusters_P: Sequence[Hashable] | None) -> "Clustered":
        """Sum values by cluster; without clusters each value is one of its own."""
        if clusters_P is None:
            return cls(values_P, np.ones_like(values_P))
        places: dict[Hashable, int] = {}
        place_P = [places.setdefault(cluster, len(places)) for cluster in clusters_P]
        totals_C, sizes_C = np.zeros(len(places)), np.zeros(len(places))
        np.add.at(totals_C, place_P, values_P)
        np.add.at(sizes_C, place_P, 1.0)
        return cls(totals_C, sizes_C)

    @property
    def num_clusters(self) -> int:
        """How many there are."""
        return self.totals_C.size

    @property
    def mean(self) -> float:
        """Mean of the values, each counting alike."""
        return float(self.totals_C.sum() / self.sizes_C.sum())

    @property
    def squared_error(self) -> float:
        """Squared cluster-robust standard error of the mean (Liang and Zeger 1986; Miller 2024, arXiv:2411.00640)."""
        residuals_C = self.totals_C - self.sizes_C * self.mean
        correction = self.num_clusters / (self.num_clusters - 1)
        return correction * float((residuals_C**2).sum()) / float(self.sizes_C.sum()) ** 2

    def largest_squared_error(self, variance: float) -> float:
        """Return the squared error of the mean where the values of a cluster are all the same, given their variance."""
        return variance * float((self.sizes_C**2).sum()) / float(self.sizes_C.sum()) ** 2


def wilson_interval(num_right: int, num_problems: int, level: float) -> Interval:
    """Return Wilson's score interval (1927) of a share."""
    from scipy.stats import binomtest

    found = binomtest(num_right, num_problems).proportion_ci(level, method="wilson")
    return min(float(found.low), num_right / num_problems), max(float(found.high), num_right / num_problems)


def effective_wilson_interval(values: Clustered, level: float) -> Interval:
    """Return Wilson's interval of the mean of values between 0 and 1, with the sample size that fits their error.

    That is the number of right-or-wrong values whose mean would have that error (Dean and Pagano 2015, after Korn and
    Graubard 1998); the quantile is Student's.
    """
    mean = values.mean
    carrying_C = values.totals_C if mean <= 0.5 else values.sizes_C - values.totals_C
    count, z = _effective_count(values, carrying_C, mean * (1 - mean)), _student(values.num_clusters - 1, level)
    center, scale = mean + z * z / (2 * count), 1 + z * z / count
    half = z * sqrt(mean * (1 - mean) / count + (z / (2 * count)) ** 2)
    return min(mean, max(0.0, (center - half) / scale)), max(mean, min(1.0, (center + half) / scale))


def tango_interval(won: float, lost: float, count: float, z: float) -> Interval:
    """Return Tango's score interval (1998) of the mean of paired differences, ``won - lost``.

    Args:
        won: sum of the positive differences over the number of pairs; with right-or-wrong values, the share won.
        lost: the same of the negative ones.
        count: how many pairs there are.
        z: quantile of the level.
    """

    def beyond(limit: float) -> float:
        return _tango_score(limit, won, lost, count) ** 2 - z * z

    return _root(beyond, -1.0, won - lost), _root(beyond, 1.0, won - lost)


def effective_tango_interval(won: Clustered, lost: Clustered, level: float) -> Interval:
    """Return Tango's interval of a mean of differences between -1 and 1, with the sample size that fits their error.

    What :func:`effective_wilson_interval` is to Wilson's.

    Args:
        won: the positive differences.
        lost: the negative ones, without their sign, in the same clusters.
        level: share of repetitions in which such an interval holds the true mean.
    """
    differences = Clustered(won.totals_C - lost.totals_C, won.sizes_C)
    variance = won.mean + lost.mean - differences.mean**2
    count = _effective_count(differences, won.totals_C + lost.totals_C, variance)
    return tango_interval(won.mean, lost.mean, count, _student(won.num_clusters - 1, level))


def _effective_count(values: Clustered, carrying_C: Values, variance: float) -> float:
    """Return how many independent values of the largest possible variance have a mean as uncertain as this one.

    Where few clusters carry the mean its measured error is too small, and the error that it has if the values of a
    cluster are all equal counts beside it.
    """
    if variance <= TOLERANCE:
        return float(values.num_clusters)
    largest = values.largest_squared_error(variance)
    num_carrying = float(carrying_C.sum() ** 2 / (carrying_C**2).sum())  # equal ones count 1 each
    weight = 1 / (1 + (num_carrying / FEW) ** 3)
    return variance / ((1 - weight) * values.squared_error + weight * largest)


def _tango_score(difference: float, won: float, lost: float, count: float) -> float:
    """Return by how many standard errors, under a given true difference, the observed one is off."""
    linear = (2 - won + lost) * difference - won - lost
    root = sqrt(max(0.0, linear * linear + 8 * lost * difference * (1 - difference)))
    variance = (root - linear) / 2 + difference * (1 - difference)  # with the likeliest share lost, (root - linear) / 4
    return (won - lost - difference) * sqrt(count / max(variance, TOLERANCE))


def _root(function: Callable[[float], float], end: float, center: float) -> float:
    """Return where a function that is negative at a center becomes positive towards an end, or the end."""
    from scipy.optimize import brentq

    inside = end * (1 - TOLERANCE)
    is_inside = abs(center - end) > TOLERANCE and function(inside) > 0
    return float(brentq(function, inside, center)) if is_inside else end


def normal_quantile(level: float) -> float:
    """Return the number of standard errors to each side that a normal value stays within."""
    from scipy.special import ndtri

    return float(ndtri(0.5 + level / 2))


def _student(degrees: int, level: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 0.5 + level / 2))
