"""How often the scores order a pair as its label does: over all prompts, by tag, by labeled margin, by head."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np

from reasonrl.evaluation.estimates import Estimate
from reasonrl.preference.evaluation.scored import ScoredPair, accuracy_by_prompt, credit, prompt_means, share

QUANTILES: Final = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
NUM_MARGIN_BINS: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class MarginBin:
    """Pairs whose labels say about equally strongly which completion is better."""

    lowest: float
    highest: float
    accuracy: Estimate
    num_pairs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyReport:
    """Accuracy, averaged by prompt: a tie counts one half."""

    accuracy: Estimate
    num_pairs: int
    ties: float
    """Share of pairs with equal scores."""
    quantiles: Mapping[str, float]
    """Of the score of the chosen completion less that of the rejected one, over pairs, by quantile."""
    by_tag: Mapping[str, Estimate]
    by_margin: tuple[MarginBin, ...]
    """By quarters of the margin in the data; empty where pairs have none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadsReport:
    """Accuracy of each head, and what their agreement says."""

    accuracy: tuple[Estimate, ...]
    """Of each head alone."""
    agreement: float
    """Mean over pairs of heads of the share of pairs that both order the same way."""
    unanimous: float
    """Share of pairs that all heads order the same way."""
    accuracy_unanimous: Estimate | None
    """Accuracy where they do; None where they never do."""
    accuracy_divided: Estimate | None
    """Accuracy of the heads together where they do not; None where they always agree."""


def accuracy_report(pairs: Sequence[ScoredPair]) -> AccuracyReport:
    """Measure accuracy.

    Raises:
        DataError: there is no pair.
    """
    differences_N = [pair.difference for pair in pairs]
    return AccuracyReport(
        accuracy=share(accuracy_by_prompt(pairs)),
        num_pairs=len(pairs),
        ties=differences_N.count(0) / len(pairs),
        quantiles={f"{level:g}": float(np.quantile(differences_N, level)) for level in QUANTILES},
        by_tag={tag: share(accuracy_by_prompt(those)) for tag, those in _tagged(pairs).items()},
        by_margin=_by_margin(pairs),
    )


def _tagged(pairs: Sequence[ScoredPair]) -> dict[str, list[ScoredPair]]:
    found: dict[str, list[ScoredPair]] = {}
    for pair in pairs:
        for tag in pair.pair.tags:
            found.setdefault(tag, []).append(pair)
    return dict(sorted(found.items()))


def _by_margin(pairs: Sequence[ScoredPair]) -> tuple[MarginBin, ...]:
    """Cut the pairs into quarters by their margin; pairs of one margin stay in one part."""
    margins = {index: pair.pair.margin for index, pair in enumerate(pairs) if pair.pair.margin is not None}
    if len(set(margins.values())) < 2:
        return ()
    edges = np.unique(np.quantile(list(margins.values()), np.linspace(0, 1, NUM_MARGIN_BINS + 1)[1:-1]))
    parts: dict[int, list[int]] = {}
    for index, margin in margins.items():
        parts.setdefault(int(np.searchsorted(edges, margin)), []).append(index)
    return tuple(_margin_bin([pairs[index] for index in part]) for _, part in sorted(parts.items()))


def _margin_bin(pairs: Sequence[ScoredPair]) -> MarginBin:
    margins = [pair.pair.margin for pair in pairs if pair.pair.margin is not None]
    return MarginBin(
        lowest=min(margins),
        highest=max(margins),
        accuracy=share(accuracy_by_prompt(pairs)),
        num_pairs=len(pairs),
    )


def heads_report(pairs: Sequence[ScoredPair]) -> HeadsReport | None:
    """Compare the heads of a model; None where there is one only."""
    num_heads = len(pairs[0].chosen_heads)
    if num_heads < 2:
        return None
    credits_KN = [[_head_credit(pair, head) for pair in pairs] for head in range(num_heads)]
    same = [len({row[index] for row in credits_KN}) == 1 for index in range(len(pairs))]
    agreements = [float(np.mean(np.equal(a, b))) for a, b in combinations(credits_KN, 2)]
    return HeadsReport(
        accuracy=tuple(share(prompt_means(pairs, row)) for row in credits_KN),
        agreement=float(np.mean(agreements)),
        unanimous=sum(same) / len(pairs),
        accuracy_unanimous=_accuracy([pair for pair, agreed in zip(pairs, same, strict=True) if agreed]),
        accuracy_divided=_accuracy([pair for pair, agreed in zip(pairs, same, strict=True) if not agreed]),
    )


def _head_credit(pair: ScoredPair, head: int) -> float:
    return credit(pair.chosen_heads[head] - pair.rejected_heads[head])


def _accuracy(pairs: Sequence[ScoredPair]) -> Estimate | None:
    return share(accuracy_by_prompt(pairs)) if pairs else None
