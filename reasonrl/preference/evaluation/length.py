"""What length alone achieves, and how much of it is in the scores."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import numpy as np

from reasonrl.evaluation.estimates import Estimate, PairedDifference
from reasonrl.evaluation.intervals import Values
from reasonrl.preference.evaluation.scored import (
    ScoredPair,
    accuracy_by_prompt,
    credit,
    cross_fitted,
    paired,
    prompt_means,
    share,
)

LengthRule: TypeAlias = Literal["longer", "shorter"]

RIDGE: Final = 1e-3
"""Penalty of the regression's squared weights, beside a log-likelihood that is a sum over prompts."""
TINY: Final = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthReport:
    """The length-only baselines beside the model, and the model's own bias.

    Completions of one length are a tie, which counts one half.
    """

    longer: Estimate
    """Accuracy of "prefer the longer"."""
    shorter: Estimate
    """Accuracy of "prefer the shorter"."""
    rule: LengthRule
    """Which of them is the baseline."""
    rule_from: Literal["training", "other prompts"]
    """What the rule was chosen on: the training pairs, or for each fifth of the prompts the others (``rule`` is then
    that of all)."""
    baseline: Estimate
    """Accuracy of the rule where it was not chosen; where that is below one half, a coin stands in its place."""
    is_coin: bool
    """Whether the rule was worse than a coin."""
    difference: PairedDifference
    """The model's accuracy less the baseline's, paired by prompt."""
    logistic: Estimate
    """Accuracy of a logistic regression on length and its logarithm, which may prefer a medium length; fitted on other
    prompts than it is measured on."""
    logistic_difference: PairedDifference
    """The model's accuracy less that of the regression, paired by prompt."""
    chosen_longer: Estimate | None
    """The model's accuracy on pairs whose chosen completion is longer; None where there is none."""
    rejected_longer: Estimate | None
    """The same where the rejected one is longer."""
    equal_length: int
    """Pairs of one length."""
    spearman: float | None
    """Rank correlation over pairs of the difference in length with that in score, chosen less rejected; None where one
    of them does not vary."""

    @property
    def beats_length_only(self) -> bool:
        """Whether the model is better than the rule on these pairs: what the model's card says of it."""
        return self.difference.difference > 0


def length_report(pairs: Sequence[ScoredPair], trained_rule: LengthRule | None = None) -> LengthReport:
    """Measure the baselines on the same pairs as the model.

    Args:
        pairs: scored pairs.
        trained_rule: the rule that fits the training pairs better, where that is known.
    """
    model = accuracy_by_prompt(pairs)
    ruled = _rule_by_prompt(pairs, trained_rule)
    baseline = _not_below_a_coin(ruled)
    logistic = prompt_means(pairs, cross_fitted(pairs, fit_logistic, logistic_credit))
    logistic = _not_below_a_coin(logistic)
    longer = [pair for pair in pairs if pair.length_difference > 0]
    shorter = [pair for pair in pairs if pair.length_difference < 0]
    return LengthReport(
        longer=share(_by_prompt(pairs, "longer")),
        shorter=share(_by_prompt(pairs, "shorter")),
        rule=trained_rule or best_rule(pairs),
        rule_from="training" if trained_rule else "other prompts",
        baseline=share(baseline),
        is_coin=baseline is not ruled,
        difference=paired(baseline, model),
        logistic=share(logistic),
        logistic_difference=paired(logistic, model),
        chosen_longer=share(accuracy_by_prompt(longer)) if longer else None,
        rejected_longer=share(accuracy_by_prompt(shorter)) if shorter else None,
        equal_length=len(pairs) - len(longer) - len(shorter),
        spearman=spearman([pair.length_difference for pair in pairs], [pair.difference for pair in pairs]),
    )


def rule_credit(pair: ScoredPair, rule: LengthRule) -> float:
    """Return what a rule gets for a pair."""
    return credit(pair.length_difference if rule == "longer" else -pair.length_difference)


def best_rule(pairs: Sequence[ScoredPair]) -> LengthRule:
    """Return the rule that more prompts' pairs follow; ``longer`` where both do as well."""
    means = _by_prompt(pairs, "longer").values()
    return "longer" if math.fsum(means) >= len(means) / 2 else "shorter"


def _by_prompt(pairs: Sequence[ScoredPair], rule: LengthRule) -> dict[str, float]:
    return prompt_means(pairs, [rule_credit(pair, rule) for pair in pairs])


def _rule_by_prompt(pairs: Sequence[ScoredPair], trained_rule: LengthRule | None) -> dict[str, float]:
    if trained_rule is not None:
        return _by_prompt(pairs, trained_rule)
    return prompt_means(pairs, cross_fitted(pairs, best_rule, lambda rule, pair: rule_credit(pair, rule)))


def _not_below_a_coin(values: dict[str, float]) -> dict[str, float]:
    """Put a coin in the place of a rule that is worse than one: to beat that would say nothing."""
    return values if math.fsum(values.values()) >= len(values) / 2 else dict.fromkeys(values, 0.5)


def fit_logistic(pairs: Sequence[ScoredPair]) -> Values:
    """Return the weights [2] of length and its logarithm in the log-odds that a completion is the preferred one.

    The likelihood counts prompts alike and has a small ridge, since length may separate the pairs. There is no
    constant: which side a completion stands on must not matter.
    """
    from scipy.optimize import minimize

    if not pairs:
        return np.zeros(2)
    features_ND, counts = np.array([_features(pair) for pair in pairs]), Counter(pair.prompt_id for pair in pairs)
    weight_N = np.array([1 / counts[pair.prompt_id] for pair in pairs])
    scale_D = np.maximum(np.sqrt((features_ND**2).mean(axis=0)), TINY)
    features_ND = features_ND / scale_D

    def loss(weights_D: Values) -> tuple[float, Values]:
        logits_N = features_ND @ weights_D
        wrong_N = np.exp(-np.logaddexp(0, logits_N))
        value = float(weight_N @ np.logaddexp(0, -logits_N)) + RIDGE / 2 * float(weights_D @ weights_D)
        return value, RIDGE * weights_D - features_ND.T @ (weight_N * wrong_N)

    return np.asarray(minimize(loss, np.zeros(2), jac=True).x / scale_D)


def logistic_credit(weights_D: Values, pair: ScoredPair) -> float:
    """Return what the regression gets for a pair."""
    return credit(float(np.dot(weights_D, _features(pair))))


def _features(pair: ScoredPair) -> tuple[float, float]:
    ratio = math.log1p(len(pair.pair.chosen)) - math.log1p(len(pair.pair.rejected))
    return float(pair.length_difference), ratio


def spearman(a_N: Sequence[float], b_N: Sequence[float]) -> float | None:
    """Return the rank correlation, ties with their mean rank; None where one side does not vary."""
    from scipy.stats import rankdata  # 0.3 s, which only an evaluation has to pay

    if len(set(a_N)) < 2 or len(set(b_N)) < 2:
        return None
    return float(np.corrcoef(rankdata(a_N), rankdata(b_N))[0, 1])
