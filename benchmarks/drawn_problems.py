"""Problems whose true figure is known, drawn for ``interval_coverage.py``."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final, TypeAlias

import numpy as np

from reasonrl.evaluation.at_k import best_at_k, maj_at_k, pass_at_k, pass_hat_k
from reasonrl.evaluation.intervals import Values

Places: TypeAlias = np.ndarray[tuple[int], np.dtype[np.int64]]
Samples: TypeAlias = np.ndarray[tuple[int, int], np.dtype[np.float64]]


@dataclass(frozen=True, slots=True)
class Drawn:
    """Problems with one value each."""

    truth: float
    values_P: Values
    places_P: Places
    """The cluster of each."""
    samples_PG: Samples | None = None
    """Where the values are means of samples: those."""


Draw: TypeAlias = Callable[[np.random.Generator], Drawn]

NUM_WRONG: Final = 3
"""Wrong answers that a problem invites, all alike."""
UNPARSED: Final = 0.1
"""Share of samples without an answer."""
NOISE: Final = 1.0
"""Standard deviation of the reward's error, of a right answer worth 1 more than a wrong one."""
GRID: Final = 21
"""Accuracies whose true figure is found by drawing."""
NUM_FOR_TRUTH: Final = 200_000
"""Problems drawn for that: its error is far below that of any interval."""
CLUSTERED: Final = ((100, 2), (100, 5), (500, 5), (500, 20), (500, 40))
"""Problems, and how many stand in a cluster in the mean; from 1 to twice as many do."""


def means(count: int, accuracy: float, *, samples: int = 1, size: int = 1, alike: float = 0.5) -> Draw:
    """Draw problems whose chances have a beta distribution; of one chance within a cluster."""

    def draw(random: np.random.Generator) -> Drawn:
        truth = accuracy + random.uniform(-0.5, 0.5) * min(accuracy, 1 - accuracy)
        places = _clusters(random, count, size)
        chances = _chances(random, truth, alike, places.max() + 1)
        right_PG = (random.random((places.size, samples)) < chances[places, None]).astype(float)
        return Drawn(truth, right_PG.mean(axis=1), places, right_PG if samples > 1 else None)

    return draw


def differences(
    count: int, discordant: float, gain: float, *, samples: int = 0, size: int = 1, alike: float = 0.0
) -> Draw:
    """Draw differences of two models that are unlike on some problems, or clusters of them.

    With samples, a problem has a chance of its own, higher by one half for the better model where they are unlike.
    """

    def draw(random: np.random.Generator) -> Drawn:
        unlike = discordant * random.uniform(0.5, 1.5)
        places = _clusters(random, count, size)
        of_cluster = _signs(random, places.max() + 1, unlike, gain)[places]
        signs = np.where(random.random(places.size) < alike, of_cluster, _signs(random, places.size, unlike, gain))
        if not samples:
            return Drawn(unlike * gain, signs, places)
        chances = random.uniform(0, 0.5, places.size)
        won = random.binomial(samples, chances + 0.5 * (signs > 0))
        lost = random.binomial(samples, chances + 0.5 * (signs < 0))
        return Drawn(unlike * gain / 2, (won - lost) / samples, places)

    return draw


def _signs(random: np.random.Generator, count: int, unlike: float, gain: float) -> Values:
    """Draw 1 for a win, -1 for a loss, else 0; ``gain`` is the share of wins less that of losses among the unlike."""
    drawn = random.random(count)
    return np.where(drawn < unlike * (1 + gain) / 2, 1.0, np.where(drawn < unlike, -1.0, 0.0))


def _clusters(random: np.random.Generator, count: int, size: int) -> Places:
    """Return the cluster of each problem."""
    sizes = random.integers(1, 2 * size, count // size) if size > 1 else np.ones(count, dtype=np.int64)
    return np.repeat(np.arange(sizes.size), sizes)


def _chances(random: np.random.Generator, accuracy: float, alike: float, count: int) -> Values:
    """Draw chances of a right answer, whose mean is the accuracy."""
    spread = 1 / alike - 1
    return random.beta(spread * accuracy, spread * (1 - accuracy), count)


def passes(count: int, accuracy: float, samples: int, k: int, *, every: bool = False, size: int = 1) -> Draw:
    """Draw problems with their pass@k, or pass^k; its truth is a moment of the beta distribution of the chances."""
    figure = pass_hat_k if every else pass_at_k
    value_of_count = np.array([figure(samples, right, k) for right in range(samples + 1)])
    drawn_means = means(count, accuracy, samples=samples, size=size)

    def draw(random: np.random.Generator) -> Drawn:
        drawn = drawn_means(random)
        assert drawn.samples_PG is not None
        values = value_of_count[drawn.samples_PG.sum(axis=1).astype(int)]
        chance = drawn.truth if every else 1 - drawn.truth
        moment = float(np.prod([(chance + done) / (1 + done) for done in range(k)]))  # alike is one half: spread 1
        return Drawn(moment if every else 1 - moment, values, drawn.places_P)

    return draw


def majorities(count: int, accuracy: float, samples: int, k: int, *, size: int = 1) -> Draw:
    """Draw problems with their maj@k: a right answer, some wrong ones, now and then none."""

    def draw(random: np.random.Generator) -> Drawn:
        chosen = random.integers(GRID)
        places = _clusters(random, count, size)
        chances = _chances(random, _on_grid(accuracy)[chosen], 0.5, places.max() + 1)[places]
        values = [_majority(tuple(votes), k) for votes in _votes(random, chances, samples)]
        return Drawn(_true_majorities(accuracy, k)[chosen], np.array(values), places)

    return draw


def _votes(
    random: np.random.Generator, chances: Values, samples: int
) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """Draw how many samples of each problem give the right answer, each wrong one, and none."""
    parsed = 1 - UNPARSED
    shares = np.empty((chances.size, NUM_WRONG + 2))
    shares[:, 0] = parsed * chances
    shares[:, 1:-1] = (parsed * (1 - chances) / NUM_WRONG)[:, None]
    shares[:, -1] = UNPARSED
    return random.multinomial(samples, shares)


@cache
def _majority(votes: tuple[int, ...], k: int) -> float:
    """Return maj@k of samples that were counted by their answer."""
    names: list[int | None] = [*range(NUM_WRONG + 1), None]
    classes = [name for name, count in zip(names, votes, strict=True) for _ in range(count)]
    return maj_at_k(classes, [float(name == 0) for name in classes], k)


@cache
def _true_majorities(accuracy: float, k: int) -> tuple[float, ...]:
    """Return what k fresh samples give of problems without number, at each accuracy of the grid."""
    random = np.random.default_rng(1)
    truths = []
    for at in _on_grid(accuracy):
        votes = _votes(random, _chances(random, at, 0.5, NUM_FOR_TRUTH), k)[:, :-1]
        most = votes.max(axis=1)
        shares = (votes[:, 0] == most) & (most > 0)
        truths.append(float((shares / (votes == most[:, None]).sum(axis=1)).mean()))
    return tuple(truths)


def chosen(count: int, accuracy: float, samples: int, k: int) -> Draw:
    """Draw problems with their best@k under a reward that errs."""

    def draw(random: np.random.Generator) -> Drawn:
        at = random.integers(GRID)
        chances = _chances(random, _on_grid(accuracy)[at], 0.5, count)
        right_PG = (random.random((count, samples)) < chances[:, None]).astype(float)
        rewards_PG = right_PG + NOISE * random.standard_normal(right_PG.shape)
        values = [best_at_k(list(rewards), list(right), k) for rewards, right in zip(rewards_PG, right_PG, strict=True)]
        return Drawn(_true_choices(accuracy, k)[at], np.array(values), np.arange(count))

    return draw


@cache
def _true_choices(accuracy: float, k: int) -> tuple[float, ...]:
    """Return what the reward chooses of k fresh samples, at each accuracy of the grid."""
    random = np.random.default_rng(2)
    truths = []
    for at in _on_grid(accuracy):
        right_PK = random.random((NUM_FOR_TRUTH, k)) < _chances(random, at, 0.5, NUM_FOR_TRUTH)[:, None]
        best_P1 = (right_PK + NOISE * random.standard_normal(right_PK.shape)).argmax(axis=1)[:, None]
        truths.append(float(np.take_along_axis(right_PK, best_P1, axis=1).mean()))
    return tuple(truths)


@cache
def _on_grid(accuracy: float) -> Values:
    """Return accuracies from half to one and a half times the given one, or its distance from 1."""
    return accuracy + np.linspace(-0.5, 0.5, GRID) * min(accuracy, 1 - accuracy)
