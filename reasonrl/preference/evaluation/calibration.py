"""Whether differences of scores mean probabilities: P(chosen is better) = sigmoid(difference / temperature)."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from reasonrl.evaluation.intervals import Values
from reasonrl.preference.evaluation.scored import ScoredPair, cross_fitted

NUM_BINS: Final = 10
NO_DIFFERENCE: Final = 1e-30
"""Mean size of differences below which scores are all equal."""
SWAP_SEED: Final = 0
"""Seed of the order of each pair's sides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Pairs of about one predicted probability."""

    predicted: float
    """Mean probability that the first completion is the better one."""
    observed: float
    """Share of pairs in which it was."""
    num_pairs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How good probabilities are, over pairs in random order of their sides."""

    nll: float
    """Mean negative log-likelihood in nats; a coin has 0.693."""
    brier: float
    """Mean squared error; a coin has 0.25."""
    ece: float
    """Expected calibration error: mean distance of predicted and observed over the bins, weighted by pairs."""
    bins: tuple[Bin, ...]
    """Equally many pairs each, by predicted probability."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationReport:
    """Calibration of the scores as they are, and divided by a temperature."""

    raw: Calibration
    scaled: Calibration
    """Each fifth of the prompts under the temperature that was fitted on the others."""
    temperature: float | None
    """Fitted on all pairs: what later differences are divided by. None where a coin is better than any."""


def calibration_report(pairs: Sequence[ScoredPair]) -> CalibrationReport:
    """Measure calibration; the sides of each pair are put in random order, or every outcome would be the same."""
    order = random.Random(SWAP_SEED)
    first_is_chosen_N = np.array([float(order.random() < 0.5) for _ in pairs])
    sign_N = 2 * first_is_chosen_N - 1
    differences_N = np.array([pair.difference for pair in pairs])
    scaled_N = np.array(cross_fitted(pairs, inverse_temperature, lambda inverse, pair: pair.difference * inverse))
    inverse = inverse_temperature(pairs)
    return CalibrationReport(
        raw=calibration(sign_N * differences_N, first_is_chosen_N),
        scaled=calibration(sign_N * scaled_N, first_is_chosen_N),
        temperature=1 / inverse if inverse > 0 else None,
    )


def calibration(logits_N: Values, outcomes_N: Values) -> Calibration:
    """Compare probabilities, given as logits, with what happened: 1, 0, or for graded labels something between."""
    probabilities_N = np.exp(-np.logaddexp(0, -logits_N))
    bins = _bins(probabilities_N, outcomes_N)
    return Calibration(
        nll=float((np.logaddexp(0, logits_N) - outcomes_N * logits_N).mean()),
        brier=float(((probabilities_N - outcomes_N) ** 2).mean()),
        ece=sum(abs(one.predicted - one.observed) * one.num_pairs for one in bins) / len(logits_N),
        bins=bins,
    )


def inverse_temperature(pairs: Sequence[ScoredPair]) -> float:
    """Return the factor of score differences that makes the labels likeliest; 0 where a coin is better than any.

    The labels are smoothed as in Platt (1999), ``(N + 1) / (N + 2)`` for 1, so that scores without a mistake have a
    finite factor too. The loss is convex: its derivative has one root.
    """
    from scipy.optimize import brentq

    differences_N = np.array([pair.difference for pair in pairs])
    scale = float(np.abs(differences_N).mean()) if pairs else 0.0
    if scale < NO_DIFFERENCE or differences_N.mean() <= 0:
        return 0.0
    target = (len(pairs) + 1) / (len(pairs) + 2)

    def slope(factor: float) -> float:
        probabilities_N = np.exp(-np.logaddexp(0, -factor * differences_N / scale))
        return float((differences_N / scale * (probabilities_N - target)).mean())

    upper = 1.0
    while slope(upper) < 0:
        upper *= 2
    return float(brentq(slope, 0.0, upper)) / scale


def _bins(probabilities_N: Values, outcomes_N: Values) -> tuple[Bin, ...]:
    order_N = np.argsort(probabilities_N, kind="stable")
    parts = np.array_split(order_N, min(NUM_BINS, len(order_N)))
    return tuple(
        Bin(
            predicted=float(probabilities_N[part].mean()),
            observed=float(outcomes_N[part].mean()),
            num_pairs=len(part),
        )
        for part in parts
    )
