"""Of 100 intervals that say 95 %, how many hold the truth?

Every kind of interval that an evaluation prints is made from drawn problems whose true figure is known: right-or-wrong
and graded values, avg@n, pass@k, pass^k, maj@k, best@k and rates, alone and paired, independent and in clusters. A true
figure is drawn anew for each repetition, from half to one and a half times the accuracy that a line names (or its
distance from 1): with few problems the number of right answers takes a handful of values, and the coverage at any
single truth jumps between them.

At least 93 % have to hold the truth in every line, and at most 97 % where enough clusters carry the figure: from very
few right answers, or discordant pairs, no interval can be made that is not at times too long. Beside them stand the
usual formulas, which know no clusters: Wilson's interval of right-or-wrong values, else Student's over problems
(``usual``); all samples taken for independent (``pooled``); the spread of the repeats' means (``repeats``).

    python benchmarks/interval_coverage.py [--repetitions 2000] [--only avg]

Exit code 1 where a line is outside.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, product

import numpy as np
from drawn_problems import CLUSTERED, Draw, Drawn, chosen, differences, majorities, means, passes
from measuring import machine
from scipy.stats import t as student

from reasonrl.evaluation.estimates import mean_interval, paired_interval
from reasonrl.evaluation.intervals import Clustered, Interval, Values, wilson_interval

LEVEL = 0.95
LEAST, MOST = 0.93, 0.97
FEW = 15
"""Clusters that carry a figure from which on its intervals must not be too long either."""


@dataclass(frozen=True, slots=True)
class Case:
    """Problems of one kind."""

    kind: str
    name: str
    draw: Draw
    is_paired: bool


@dataclass(frozen=True, slots=True)
class Coverage:
    """How often intervals held the truth; NaN for a formula that does not apply."""

    ours: float
    usual: float
    pooled: float
    repeats: float
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


def sampled_cases() -> Iterator[Case]:
    """Yield the figures that need several samples of each problem."""
    for (count, samples), accuracy in product(((30, 10), (30, 32), (200, 4)), (0.02, 0.1, 0.5, 0.9)):
        draw = means(count, accuracy, samples=samples)
        yield Case("avg@n", f"{count} problems x {samples}, {accuracy:.0%}", draw, False)
    for (count, samples), rate in product(((30, 10), (200, 4), (500, 1)), (0.01, 0.05, 0.3)):
        draw = means(count, rate, samples=samples, alike=0.2)
        yield Case("rate of what went wrong", f"{count} problems x {samples}, {rate:.0%}", draw, False)
    for (count, samples, k), accuracy in product(SAMPLED, (0.05, 0.3, 0.7)):
        name = f"{count} problems x {samples}, {accuracy:.0%}, "
        yield Case("pass@k", f"{name}pass@{k}", passes(count, accuracy, samples, k), False)
        yield Case("pass^k", f"{name}pass^{k}", passes(count, accuracy, samples, k, every=True), False)
        yield Case("maj@k", f"{name}maj@{k}", majorities(count, accuracy, samples, k), False)
        yield Case("best@k", f"{name}best@{k}", chosen(count, accuracy, samples, k), False)
    for (count, size), accuracy in product(((100, 2), (100, 5), (500, 20)), (0.05, 0.3, 0.7)):
        name = f"{count} problems in clusters of about {size} x 8, {accuracy:.0%}, "
        yield Case("pass@k with clusters", f"{name}pass@4", passes(count, accuracy, 8, 4, size=size), False)
        yield Case("maj@k with clusters", f"{name}maj@4", majorities(count, accuracy, 8, 4, size=size), False)


SAMPLED = ((30, 10, 4), (30, 10, 10), (30, 16, 8), (100, 16, 4), (200, 8, 8))
"""Problems, samples of each, and k."""


def measure(case: Case, repetitions: int) -> Coverage:
    """Make intervals of drawn problems."""
    random = np.random.default_rng(0)
    rows = [_one(case, case.draw(random)) for _ in range(repetitions)]
    ours, usual, pooled, repeats, width, carrying = (float(column) for column in np.mean(rows, axis=0))
    return Coverage(ours, usual, pooled, repeats, width, carrying)


def _one(case: Case, drawn: Drawn) -> tuple[float, ...]:
    values, places = drawn.values_P, list(drawn.places_P)
    clustered = Clustered.of(values, places)
    if case.is_paired:
        lower, upper, _ = paired_interval(values, places, LEVEL)
    else:
        lower, upper, _ = mean_interval(values, clustered, LEVEL)
    others = (_usual(values, case.is_paired), _pooled(drawn), _over_repeats(drawn))
    held = (np.nan if other is None else other[0] <= drawn.truth <= other[1] for other in others)
    totals = np.abs(
        clustered.totals_C if case.is_paired or values.mean() < 0.5 else clustered.sizes_C - clustered.totals_C
    )
    carrying = totals.sum() ** 2 / max((totals**2).sum(), 1e-12)
    return lower <= drawn.truth <= upper, *held, upper - lower, carrying


def _usual(values: Values, is_paired: bool) -> Interval:
    """Return Wilson's interval of right-or-wrong values, else Student's, of problems without clusters."""
    if not is_paired and np.isin(values, (0.0, 1.0)).all():
        return wilson_interval(int(values.sum()), values.size, LEVEL)
    return _around(float(values.mean()), float(values.std(ddof=1) / np.sqrt(values.size)), values.size - 1)


def _pooled(drawn: Drawn) -> Interval | None:
    """Return the interval that takes all samples for independent."""
    if drawn.samples_PG is None:
        return None
    error = drawn.samples_PG.std(ddof=1) / np.sqrt(drawn.samples_PG.size)
    return _around(float(drawn.samples_PG.mean()), float(error), drawn.samples_PG.size - 1)


def _over_repeats(drawn: Drawn) -> Interval | None:
    """Return the interval from the spread of the repeats' means, as evalchemy's error has it."""
    if drawn.samples_PG is None:
        return None
    means_G = drawn.samples_PG.mean(axis=0)
    return _around(float(means_G.mean()), float(means_G.std() / np.sqrt(means_G.size)), None)


def _around(mean: float, error: float, degrees: int | None) -> Interval:
    """Return Student's interval, or the normal one without degrees of freedom."""
    half = (1.96 if degrees is None else float(student.ppf(0.5 + LEVEL / 2, degrees))) * error
    return mean - half, mean + half


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 where a line is outside."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repetitions", type=int, default=2000)
    parser.add_argument("--only", default="", help="kinds of figures with this in their name")
    options = parser.parse_args(arguments)
    print(*machine("numpy", "scipy"), f"{options.repetitions} repetitions, intervals of {LEVEL:.0%}", sep="\n")
    found, kind = [], ""
    for case in sorted(chain(cases(), sampled_cases()), key=lambda case: case.kind):
        if options.only not in case.kind:
            continue
        if case.kind != kind:
            kind = case.kind
            print(f"\n{kind:<84}{'ours':>7}{'usual':>8}{'pooled':>8}{'repeats':>9}{'width':>8}{'carried by':>12}")
        coverage = measure(case, options.repetitions)
        found.append(coverage)
        print(f"  {case.name:<82}{_line(coverage)}", flush=True)
    return _verdict(found)


def _line(coverage: Coverage) -> str:
    note = "" if coverage.is_right else "  outside"
    others = f"{_share(coverage.usual):>8}{_share(coverage.pooled):>8}{_share(coverage.repeats):>9}"
    return f"{coverage.ours:7.1%}{others}{coverage.width:8.3f}{coverage.carrying:12.1f}{note}"


def _share(coverage: float) -> str:
    return "" if np.isnan(coverage) else f"{coverage:.1%}"


def _verdict(found: Sequence[Coverage]) -> int:
    outside = sum(not coverage.is_right for coverage in found)
    print(
        f"\n{len(found)} lines, {outside} outside of {LEAST:.0%} to {MOST:.0%} ({LEAST:.0%} alone where few carry it)"
    )
    for name in ("ours", "usual", "pooled", "repeats"):
        shares = [share for one in found if not np.isnan(share := getattr(one, name))]
        if shares:
            print(f"lowest coverage of {name}: {min(shares):.1%}, in the mean {np.mean(shares):.1%}")
    return 1 if outside else 0


if __name__ == "__main__":
    sys.exit(main())
