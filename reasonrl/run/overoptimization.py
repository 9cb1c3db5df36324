"""Over-optimization: has a gold figure fallen from its peak by more than noise explains, while its proxy rose?

A policy that is trained on a proxy, such as a reward model, first gains on what the proxy stands for and then loses
again (arXiv:2210.10760). The test scans windows: the mean of the last ``b`` points against the best earlier mean of
``a`` points, for every ``a`` and ``b`` of :data:`WINDOWS`, in standard errors of the difference. A sharp fall is found
by short windows, a slow one by long windows; points in between are passed over.

The highest of many noisy means is high by chance, so the bound grows with the number of points (see
:func:`fall_bound`). What a figure that stays where it is would cross is tested by simulation.

Left out: correlation between successive points but through the scatter of their differences, and weights of windows by
their plausibility.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, median
from typing import Final

WINDOWS: Final = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
"""Numbers of points whose mean is looked at."""

MAX_DIFFERENCES: Final = 64
"""Latest differences between successive points that say how much points scatter."""

MIN_DIFFERENCES: Final = 5
"""Fewest differences that say anything."""

MEDIAN_DIFFERENCE: Final = 0.954
"""Median of the absolute difference of two values of a normal distribution, in its standard deviations."""

MANY: Final = 1e6
"""Degrees of freedom of a standard error that is known well."""

ROUNDING: Final = 1e-9
"""Falls up to this share of the figure may come from rounding."""

MIN_RISE: Final = 2.0
"""Standard errors by which the proxy must have risen; it is compared once, so that no scan has to be allowed for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Gold figure and proxy of one step."""

    step: int
    gold: float
    proxy: float
    gold_stderr: float | None = None
    """Standard error of the gold figure; None where only its scatter is known."""
    proxy_stderr: float | None = None
    num_groups: int | None = None
    """Problems that the standard error was estimated from; None for so many that it is known well."""
    kl: float | None = None
    """Divergence from the initial policy, in nats a completion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Means over successive points."""

    first: int
    """Step of the first point."""
    last: int
    gold: float
    proxy: float
    kl: float | None

    @property
    def middle(self) -> int:
        """The step in its middle."""
        return (self.first + self.last) // 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Fall:
    """The most significant fall of the gold figure to where it is now."""

    peak: Window
    now: Window
    standard_errors: float


class FallDetector:
    """Takes in points one by one and says whether the gold figure has fallen although the proxy rose.

    Once it has, it counts as fallen until the fall is less than half of the bound.

    Args:
        max_false_alarms: chance of a fall being found in 300 points that vary by noise alone.
        min_window: fewest points in a window: 1 for points that are well known by themselves.
    """

    def __init__(self, *, max_false_alarms: float, min_window: int = 2) -> None:
        self._max_false_alarms = max_false_alarms
        self._windows = [length for length in WINDOWS if length >= min_window]
        self._points: list[Point] = []
        self._gold, self._gold_variance, self._proxy, self._proxy_variance = _Sums(), _Sums(), _Sums(), _Sums()
        self._freedom = _Sums()
        self._best: dict[int, list[int]] = {length: [] for length in self._windows}
        self._has_fallen = False

    def observe(self, point: Point) -> Fall | None:
        """Take in a point; return the fall to it, if there is one."""
        self._points.append(point)
        self._gold.add(point.gold)
        self._gold_variance.add((point.gold_stderr or 0.0) ** 2)
        self._proxy.add(point.proxy)
        self._proxy_variance.add((point.proxy_stderr or 0.0) ** 2)
        self._freedom.add(MANY if point.num_groups is None else max(point.num_groups - 1, 0))
        for length in self._windows:
            self._note_best(length)
        bound = fall_bound(len(self._points), self._max_false_alarms) * (0.5 if self._has_fallen else 1.0)
        found = max(self._falls(bound), key=lambda fall: fall.standard_errors, default=None)
        self._has_fallen = found is not None
        return found

    def _note_best(self, length: int) -> None:
        """Note for the new number of points where the best window of this length ends."""
        count, best = len(self._points), self._best[length]
        earlier = best[-1] if best else 0
        is_better = count >= length and (  # as good is better: the peak lasted until then
            not earlier or self._gold.mean(count - length, count) >= self._gold.mean(earlier - length, earlier)
        )
        best.append(count if is_better else earlier)

    def _falls(self, bound: float) -> Iterator[Fall]:
        """Yield the falls beyond a bound, of every pair of windows."""
        count, scatter = len(self._points), self._scatter()
        for now in self._windows:
            for length in self._windows:
                begin = count - now
                end = self._best[length][begin - 1] if begin >= length else 0
                if not end:
                    continue
                errors = self._standard_errors(end - length, end, begin, scatter)
                if errors > bound and (self._has_fallen or self._has_risen(end - length, end, begin)):
                    yield Fall(
                        peak=self._window(end - length, end), now=self._window(begin, count), standard_errors=errors
                    )

    def _standard_errors(self, first: int, end: int, begin: int, scatter: float) -> float:
        """Return how far the points from ``begin`` on are below those from ``first`` to ``end``.

        The noise of a point is that of the points since ``first``, or that of its own window if that is more: a figure
        near its limit, such as a share near 1, seems free of noise until it falls.
        """
        count = len(self._points)
        then, now = self._gold.mean(first, end), self._gold.mean(begin, count)
        if then - now <= ROUNDING * max(abs(then), abs(now)):
            return 0.0
        usual = max(self._gold_variance.mean(first, count), scatter**2)
        of_peak = max(usual, self._gold_variance.mean(first, end)) / (end - first)
        of_now = max(usual, self._gold_variance.mean(begin, count)) / (count - begin)
        error = math.sqrt(of_peak + of_now)
        return normal_quantile_of_t((then - now) / error, self._freedom.sum(first, count)) if error else math.inf

    def _scatter(self) -> float:
        """Return the standard deviation of a point that the differences of successive ones imply, trends left out."""
        latest = self._points[-MAX_DIFFERENCES - 1 :]
        differences = [abs(later.gold - earlier.gold) for earlier, later in pairwise(latest)]
        return median(differences) / MEDIAN_DIFFERENCE if len(differences) >= MIN_DIFFERENCES else 0.0

    def _has_risen(self, first: int, end: int, begin: int) -> bool:
        """Say whether the proxy of the points from ``begin`` on is above that of those from ``first`` to ``end``."""
        count = len(self._points)
        rise = self._proxy.mean(begin, count) - self._proxy.mean(first, end)
        of_then = self._proxy_variance.mean(first, end) / (end - first)
        of_now = self._proxy_variance.mean(begin, count) / (count - begin)
        return rise > MIN_RISE * math.sqrt(max(of_then + of_now, 0.0))

    def _window(self, first: int, end: int) -> Window:
        points = self._points[first:end]
        measured = [point.kl for point in points if point.kl is not None]
        return Window(
            first=points[0].step,
            last=points[-1].step,
            gold=self._gold.mean(first, end),
            proxy=self._proxy.mean(first, end),
            kl=fmean(measured) if measured else None,
        )


class _Sums:
    """Sums over successive values, each in constant time."""

    def __init__(self) -> None:
        self._until = [0.0]

    def add(self, value: float) -> None:
        self._until.append(self._until[-1] + value)

    def sum(self, first: int, end: int) -> float:
        """Return the sum of the values from ``first`` up to, not including, ``end``."""
        return self._until[end] - self._until[first]

    def mean(self, first: int, end: int) -> float:
        return self.sum(first, end) / (end - first)


def fall_bound(num_points: int, max_false_alarms: float) -> float:
    """Return the standard errors beyond which a fall among so many points is none by chance.

    The square of the largest of n values that vary by noise grows as 2 log n, and pairs of windows are as many as the
    square of the points. The constant is such that in 300 points of a figure that stays where it is, one run of a
    hundred finds a fall at ``max_false_alarms = 0.01`` (900 simulated runs of 16 problems with 8 completions).
    """
    square = 4 * math.log(num_points) + 7.3 + 2 * math.log(0.01 / max_false_alarms)
    return math.sqrt(max(square, 1.0))


def normal_quantile_of_t(value: float, degrees_of_freedom: float) -> float:
    """Return the normal deviate about as rare as a value of Student's t (Wallace 1959, Biometrika 46)."""
    n = degrees_of_freedom
    if n <= 0:
        return 0.0
    return math.sqrt(n * math.log1p(value * value / n)) * (8 * n + 1) / (8 * n + 3)
