"""Agreement of a reward's decisions with labels: Cohen's kappa, which leaves out what chance would agree on."""

from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import TypeVar

Choice = TypeVar("Choice", bound=Hashable)
"""What a label says, or a reward decides."""


@dataclass(frozen=True, slots=True)
class Kappa:
    """Cohen's kappa with its interval: 1 is full agreement, 0 is that of chance."""

    value: float
    lower: float
    upper: float

    def __str__(self) -> str:
        """Return it for a person."""
        return f"{self.value:.3f} (95 % interval {self.lower:.3f} to {self.upper:.3f})"


def cohens_kappa(counts: Mapping[tuple[Choice, Choice], int], num_rows: int) -> Kappa | None:
    """Return the agreement of labels and decisions beyond chance (Cohen 1960), or None where chance explains all of it.

    The interval is Wilson's of the share of agreement, with the agreement by chance taken as observed. In simulations
    of 30 to 400 rows it held the true value in 93.5 to 97.1 % of the cases; the one that rests on the standard error of
    Fleiss, Cohen and Everitt (1969) did in 70.5 to 95.4 %, because it has no width where all rows agree.

    Args:
        counts: how often each label met each decision.
        num_rows: independent rows behind the counts, where each was counted more than once.
    """
    total = sum(counts.values())
    if not total:
        return None
    labels, decisions = Counter[Choice](), Counter[Choice]()
    for (label, decision), count in counts.items():
        labels[label] += count
        decisions[decision] += count
    by_chance = sum(labels[one] * decisions[one] for one in labels) / total**2
    if by_chance >= 1:
        return None
    agreed = sum(count for (label, decision), count in counts.items() if label == decision) / total
    value, *ends = ((share - by_chance) / (1 - by_chance) for share in (agreed, *_wilson(agreed, num_rows)))
    return Kappa(value, *ends)


def preference_kappa(agreed: int, tied: int, total: int) -> Kappa | None:
    """Return the kappa of preferences, each of which stands for the pair in both orders.

    With the orders alike, a label says "the first" as often as "the second", and so does a reward where it is not tied:
    chance agrees on half of its decisions.
    """
    reversed_ = total - agreed - tied
    counts = {
        (label, decision): count
        for label, other in (("first", "second"), ("second", "first"))
        for decision, count in ((label, agreed), (other, reversed_), ("tie", tied))
    }
    return cohens_kappa(counts, total)


def _wilson(share: float, count: int, level: float = 0.95) -> tuple[float, float]:
    """Return Wilson's interval (1927) of a share."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    center = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return center - half, center + half
