"""Of 100 intervals that say 95 %, how many hold the truth?

Every kind of interval that an evaluation prints is made from drawn problems whose true mean is known: right-or-wrong
and graded values, alone and paired, independent and in clusters. A true mean is drawn anew for each repetition, from
half to one and a half times the one that a line names (or its distance from 1): with few problems the number of right
answers takes a handful of values, and the coverage at any single truth jumps between them.

At least 93 % have to hold the truth in every line, and at most 97 % where enough clusters carry the figure: from very
few right answers, or discordant pairs, no interval can be made that is not at times too long. Beside them stands what
was used before, which knew no clusters: Wilson's interval of right-or-wrong values, else Student's over problems.

    python benchmarks/interval_coverage.py [--repetitions 2000]

Exit code 1 where a line is outside.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypeAlias

import numpy as np
from measuring import machine
from scipy.stats import t as student

from reasonrl.evaluation.estimates import mean_interval, paired_interval
from reasonrl.evaluation.intervals import Clustered, Values, wilson_interval

LEVEL = 0.95
LEAST, MOST = 0.93, 0.97
FEW = 15
"""Clusters that carry a figure from which on its intervals must not be too long either."""

Places: TypeAlias = np.ndarray[tuple[int], np.dtype[np.int64]]
Draw: TypeAlias = Callable[[np.random.Generator], tuple[float, Values, Places]]
"""Draws the truth, one value a problem, and the cluster of each."""


@dataclass(frozen=True, slots=True)
class Case:
    """Problems of one kind."""

    kind: str
    name: str
    draw: Draw
    is_paired: bool


@dataclass(frozen=True, slots=True)
class Coverage:
    """How often intervals held the truth."""

    ours: float
    before: float
    width: float
    carrying: float
    """Clusters that carry the figure, in the mean."""

    @property
    def is_right(self) -> bool:
        """Whether the intervals are neither too short nor, where that can be asked for, too long."""
        return self.ours >= LEAST and (self.ours <= MOST or self.carrying < FEW)


def cases() -> Iterator[Case]:
    """Yield all kinds of problems."""
    for count, accuracy in product((30, 100, 500), (0.02, 0.1, 0.5, 0.9, 0.98)):
        yield Case("mean of right or wrong", f"{count} problems, {accuracy:.0%}", means(count, accuracy), False)
    for count, accuracy, samples in product((30, 100, 500), (0.02, 0.1, 0.5, 0.98), (4, 16)):
        name = f"{count} problems, {accuracy:.0%}, avg@{samples}"
        yield Case("mean of graded values", name, means(count, accuracy, samples=samples), False)
    for (count, size), accuracy, alike in product(CLUSTERED, (0.02, 0.1, 0.5, 0.98), (0.1, 0.5, 0.9)):
        name = f"{count} problems in clusters of about {size}, {accuracy:.0%}, correlation {alike}"
        yield Case("mean with clusters", name, means(count, accuracy, size=size, alike=alike), False)
    for count, discordant, gain in product((30, 100, 500), (0.01, 0.03, 0.1, 0.4), (0.0, 0.8)):
        name = f"{count} problems, {discordant:.0%} discordant, {gain:.0%} of them a gain"
        yield Case("paired right or wrong", name, differences(count, discordant, gain), True)
    for count, discordant, gain, samples in product((30, 100, 500), (0.03, 0.1, 0.4), (0.0, 0.8), (4, 16)):
        name = f"{count} problems, {discordant:.0%} unlike, {gain:.0%} of them a gain, avg@{samples}"
        yield Case("paired graded values", name, differences(count, discordant, gain, samples=samples), True)
    for (count, size), discordant, gain, alike in product(CLUSTERED, (0.03, 0.1, 0.4), (0.0, 0.8), (0.3, 0.9)):
        name = f"{count} in clusters of about {size}, {discordant:.0%} discordant, {gain:.0%} gain, correlation {alike}"
        yield Case("paired with clusters", name, differences(count, discordant, gain, size=size, alike=alike), True)


CLUSTERED = ((100, 2), (100, 5), (500, 5), (500, 20), (500, 40))
"""Problems, and how many stand in a cluster in the mean; from 1 to twice as many do."""


def means(count: int, accuracy: float, *, samples: int = 1, size: int = 1, alike: float = 0.5) -> Draw:
    """Draw problems whose chances have a beta distribution; of one chance within a cluster."""

    def draw(random: np.random.Generator) -> tuple[float, Values, Places]:
        truth = accuracy + random.uniform(-0.5, 0.5) * min(accuracy, 1 - accuracy)
        places = _clusters(random, count, size)
        spread = 1 / alike - 1
        chances = random.beta(spread * truth, spread * (1 - truth), places.max() + 1)
        return truth, random.binomial(samples, chances[places]) / samples, places

    return draw


def differences(
    count: int, discordant: float, gain: float, *, samples: int = 0, size: int = 1, alike: float = 0.0
) -> Draw:
    """Draw differences of two models that are unlike on some problems, or clusters of them.

    With samples, a problem has a chance of its own, higher by one half for the better model where they are unlike.
    """

    def draw(random: np.random.Generator) -> tuple[float, Values, Places]:
        unlike = discordant * random.uniform(0.5, 1.5)
        places = _clusters(random, count, size)
        of_cluster = _signs(random, places.max() + 1, unlike, gain)[places]
        signs = np.where(random.random(places.size) < alike, of_cluster, _signs(random, places.size, unlike, gain))
        if not samples:
            return unlike * gain, signs, places
        chances = random.uniform(0, 0.5, places.size)
        won = random.binomial(samples, chances + 0.5 * (signs > 0))
        lost = random.binomial(samples, chances + 0.5 * (signs < 0))
        return unlike * gain / 2, (won - lost) / samples, places

    return draw


def _signs(random: np.random.Generator, count: int, unlike: float, gain: float) -> Values:
    """Draw 1 for a win, -1 for a loss, else 0; ``gain`` is the share of wins less that of losses among the unlike."""
    drawn = random.random(count)
    return np.where(drawn < unlike * (1 + gain) / 2, 1.0, np.where(drawn < unlike, -1.0, 0.0))


def _clusters(random: np.random.Generator, count: int, size: int) -> Places:
    """Return the cluster of each problem."""
    sizes = random.integers(1, 2 * size, count // size) if size > 1 else np.ones(count, dtype=np.int64)
    return np.repeat(np.arange(sizes.size), sizes)


def measure(case: Case, repetitions: int) -> Coverage:
    """Make intervals of drawn problems."""
    random = np.random.default_rng(0)
    rows = [_one(case, *case.draw(random)) for _ in range(repetitions)]
    ours, before, width, carrying = np.mean(rows, axis=0)
    return Coverage(float(ours), float(before), float(width), float(carrying))


def _one(case: Case, truth: float, values: Values, places: Places) -> tuple[float, float, float, float]:
    clustered = Clustered.of(values, list(places))
    if case.is_paired:
        lower, upper, _ = paired_interval(values, list(places), LEVEL)
    else:
        lower, upper, _ = mean_interval(values, clustered, LEVEL)
    old_lower, old_upper = _before(values, case.is_paired)
    totals = np.abs(
        clustered.totals_C if case.is_paired or values.mean() < 0.5 else clustered.sizes_C - clustered.totals_C
    )
    carrying = totals.sum() ** 2 / max((totals**2).sum(), 1e-12)
    return lower <= truth <= upper, old_lower <= truth <= old_upper, upper - lower, carrying


def _before(values: Values, is_paired: bool) -> tuple[float, float]:
    """Return the interval that was printed before."""
    if not is_paired and np.isin(values, (0.0, 1.0)).all():
        return wilson_interval(int(values.sum()), values.size, LEVEL)
    half = student.ppf(0.5 + LEVEL / 2, values.size - 1) * values.std(ddof=1) / np.sqrt(values.size)
    return float(values.mean() - half), float(values.mean() + half)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 where a line is outside."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repetitions", type=int, default=2000)
    repetitions = parser.parse_args(arguments).repetitions
    print(*machine("numpy", "scipy"), f"{repetitions} repetitions, intervals of {LEVEL:.0%}", sep="\n")
    found, kind = [], ""
    for case in cases():
        if case.kind != kind:
            kind = case.kind
            print(f"\n{kind:<96}{'ours':>7}{'before':>8}{'width':>8}{'carried by':>12}")
        coverage = measure(case, repetitions)
        found.append(coverage)
        note = "" if coverage.is_right else "  outside"
        figures = f"{coverage.ours:7.1%}{coverage.before:8.1%}{coverage.width:8.3f}{coverage.carrying:12.1f}"
        print(f"  {case.name:<94}{figures}{note}", flush=True)
    return _verdict(found)


def _verdict(found: Sequence[Coverage]) -> int:
    outside = sum(not coverage.is_right for coverage in found)
    worst, worst_before = (1 - min(getattr(one, name) for one in found) for name in ("ours", "before"))
    print(
        f"\n{len(found)} lines, {outside} outside of {LEAST:.0%} to {MOST:.0%} ({LEAST:.0%} alone where few carry it)"
    )
    print(f"misses of the worst line: {worst_before:.1%} before, {worst:.1%} now: {worst_before / worst:.1f}x")
    return 1 if outside else 0


if __name__ == "__main__":
    sys.exit(main())
