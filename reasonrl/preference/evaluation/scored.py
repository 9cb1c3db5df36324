"""Pairs with the scores of a reward model, and means in which every prompt counts alike."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from reasonrl.evaluation.estimates import Estimate, PairedDifference, mean_estimate, paired_difference
from reasonrl.preference.data import Pair
from reasonrl.types import digest

Fitted = TypeVar("Fitted")

NUM_FOLDS: Final = 5
"""Parts of the prompts in cross-fitting: what is measured on one is fitted on the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredPair:
    """A pair with the scores of its completions."""

    pair: Pair
    chosen: float
    """Score of the chosen completion: of the heads together, where there are several."""
    rejected: float
    chosen_heads: tuple[float, ...] = ()
    """Raw scores of the single heads [K]."""
    rejected_heads: tuple[float, ...] = ()

    @property
    def prompt_id(self) -> str:
        """Id of the prompt: equal for two pairs of one prompt."""
        return self.pair.problem.id

    @property
    def difference(self) -> float:
        """Score of the chosen completion less that of the rejected one."""
        return self.chosen - self.rejected

    @property
    def length_difference(self) -> int:
        """Characters that the chosen completion is longer by. Characters, so that it is equal for every model."""
        return len(self.pair.chosen) - len(self.pair.rejected)


def credit(difference: float) -> float:
    """Return what a difference of two scores counts: 1 for the right order, 0 for the wrong one, one half for a tie."""
    return 0.5 if difference == 0 else float(difference > 0)


def prompt_means(pairs: Sequence[ScoredPair], values_N: Sequence[float]) -> dict[str, float]:
    """Return the mean of the values, one a pair, over the pairs of each prompt, by prompt id."""
    values: dict[str, list[float]] = {}
    for pair, value in zip(pairs, values_N, strict=True):
        values.setdefault(pair.prompt_id, []).append(value)
    return {prompt_id: math.fsum(those) / len(those) for prompt_id, those in values.items()}


def accuracy_by_prompt(pairs: Sequence[ScoredPair]) -> dict[str, float]:
    """Return each prompt's share of pairs that the scores order as the labels do; a tie counts one half."""
    return prompt_means(pairs, [credit(pair.difference) for pair in pairs])


def share(values: Mapping[str, float]) -> Estimate:
    """Return the mean over prompts with its interval."""
    return mean_estimate(list(values.values()))


def paired(a: Mapping[str, float], b: Mapping[str, float]) -> PairedDifference:
    """Return the mean of B less A over the same prompts."""
    return paired_difference(list(a.values()), [b[prompt] for prompt in a])


def cross_fitted(
    pairs: Sequence[ScoredPair],
    fit: Callable[[Sequence[ScoredPair]], Fitted],
    value: Callable[[Fitted, ScoredPair], float],
) -> list[float]:
    """Return a value of each pair under what was fitted on other prompts only.

    Args:
        pairs: all pairs.
        fit: given the pairs of four fifths of the prompts; none where there is one prompt only.
        value: given what was fitted, and a pair of the rest.
    """
    folds = _folds(pairs)
    fitted = {fold: fit([pair for pair in pairs if folds[pair.prompt_id] != fold]) for fold in set(folds.values())}
    return [value(fitted[folds[pair.prompt_id]], pair) for pair in pairs]


def _folds(pairs: Sequence[ScoredPair]) -> dict[str, int]:
    """Deal the prompts out, in an order that depends on their ids alone."""
    order = sorted({pair.prompt_id for pair in pairs}, key=lambda prompt_id: digest("fold", prompt_id))
    return {prompt_id: place % NUM_FOLDS for place, prompt_id in enumerate(order)}


def first_pairs(pairs: Sequence[ScoredPair]) -> list[ScoredPair]:
    """Return the first pair of each prompt."""
    return list({pair.prompt_id: pair for pair in reversed(pairs)}.values())[::-1]
