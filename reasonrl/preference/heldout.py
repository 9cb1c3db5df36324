"""What a reward model in training is worth on prompts that it does not learn from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, product
from statistics import fmean
from typing import TypeAlias

import numpy as np

from reasonrl.evaluation.estimates import Estimate
from reasonrl.preference.card import HeldoutEvaluation, Interval
from reasonrl.preference.data import Pair
from reasonrl.preference.encoded import Encoded, EncodedCompletion, EncodedPair, Tokens
from reasonrl.preference.evaluation.calibration import inverse_temperature
from reasonrl.preference.evaluation.length import LengthRule, best_rule, length_report
from reasonrl.preference.evaluation.scored import ScoredPair, accuracy_by_prompt, prompt_means, share

HeadScores: TypeAlias = tuple[float, ...]
"""Raw scores of a completion under each head [K]."""
ScoreTokens: TypeAlias = Callable[[Sequence[Tokens]], list[HeadScores]]
"""Scores completions, in their order."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two completions of a prompt of which one is known to be better."""

    pair: Pair
    chosen: Tokens
    rejected: Tokens


def comparisons(examples: Sequence[Encoded]) -> list[Comparison]:
    """Return the pairs; of labeled completions every two of one prompt with different labels."""
    found = [Comparison(one.example, *one.texts) for one in examples if isinstance(one, EncodedPair)]
    labeled = (one for one in examples if isinstance(one, EncodedCompletion))
    for _, members in groupby(labeled, key=lambda one: one.example.problem.id):
        group = list(members)
        found += [_compared(a, b) for a, b in product(group, group) if a.example.label > b.example.label]
    return found


def _compared(better: EncodedCompletion, worse: EncodedCompletion) -> Comparison:
    example = better.example
    pair = Pair(
        problem=example.problem, chosen=example.completion, rejected=worse.example.completion, tags=example.tags
    )
    return Comparison(pair, *better.texts, *worse.texts)


def length_rule(train: Sequence[Encoded]) -> LengthRule:
    """Return the rule of length that fits the training pairs better."""
    return best_rule([ScoredPair(pair=one.pair, chosen=0.0, rejected=0.0) for one in comparisons(train)])


def score_pairs(pairs: Sequence[Comparison], scores_of: ScoreTokens) -> list[ScoredPair]:
    """Score both sides of pairs; the score of several heads is their mean."""
    chosen, rejected = (scores_of([getattr(one, side) for one in pairs]) for side in ("chosen", "rejected"))
    return [
        ScoredPair(
            pair=one.pair, chosen=fmean(better), rejected=fmean(worse), chosen_heads=better, rejected_heads=worse
        )
        for one, better, worse in zip(pairs, chosen, rejected, strict=True)
    ]


def heldout_evaluation(pairs: Sequence[ScoredPair], rule: LengthRule) -> HeldoutEvaluation:
    """Return accuracy beside that of length alone, averaged by prompt.

    Raises:
        DataError: there is no pair.
    """
    length = length_report(pairs, rule)
    difference = length.difference
    return HeldoutEvaluation(
        accuracy=_interval(share(accuracy_by_prompt(pairs))),
        length_only=_interval(length.baseline),
        length_rule=rule,
        difference=Interval(value=difference.difference, lower=difference.lower, upper=difference.upper),
        num_pairs=len(pairs),
        num_prompts=difference.num_problems,
    )


def _interval(estimate: Estimate) -> Interval:
    return Interval(value=estimate.value, lower=estimate.lower, upper=estimate.upper)


def pair_metrics(pairs: Sequence[ScoredPair], evaluation: HeldoutEvaluation, *, margin: bool) -> Mapping[str, float]:
    """Return what a step's line says of held-out pairs."""
    return {
        "heldout/accuracy": evaluation.accuracy.value,
        "heldout/length_only": evaluation.length_only.value,
        "heldout/margin": _mean(pairs, [pair.difference for pair in pairs]),
        "heldout/loss": _mean(pairs, [_pair_loss(pair, margin) for pair in pairs]),
        "heldout_stderr/accuracy": share(accuracy_by_prompt(pairs)).standard_error,
    }


def label_metrics(examples: Sequence[EncodedCompletion], scores: Sequence[HeadScores]) -> Mapping[str, float]:
    """Return what a step's line says of held-out labeled completions."""
    labels_N, scores_NK = np.array([one.example.label for one in examples]), np.array(scores)
    losses_NK = np.logaddexp(0, scores_NK) - labels_N[:, None] * scores_NK
    agreement_N = np.sign(scores_NK.mean(axis=1) * (labels_N - 0.5))
    return {
        "heldout/loss": float(losses_NK.mean()),
        "heldout/label_accuracy": float(((agreement_N + 1) / 2).mean()),
    }


def fitted_temperature(pairs: Sequence[ScoredPair]) -> float | None:
    """Return what differences of scores are to be divided by; None where a coin is better than any."""
    inverse = inverse_temperature(pairs)
    return 1 / inverse if inverse > 0 else None


def _mean(pairs: Sequence[ScoredPair], values: Sequence[float]) -> float:
    """Return the mean in which every prompt counts alike."""
    return fmean(prompt_means(pairs, values).values())


def _pair_loss(pair: ScoredPair, margin: bool) -> float:
    """Return the mean over heads of -log sigmoid of the difference less the margin."""
    off = (pair.pair.margin or 0.0) if margin else 0.0
    differences_K = np.subtract(pair.chosen_heads, pair.rejected_heads) - off
    return float(np.logaddexp(0, -differences_K).mean())
