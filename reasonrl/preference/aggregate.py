"""Raw scores of one or several reward models to one score: frozen standardization, clipping, aggregation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import Field

from reasonrl.errors import ConfigError
from reasonrl.preference.card import HeadScale, RewardModelCard
from reasonrl.types import Score

Aggregate: TypeAlias = Literal["mean", "min", "mean_minus_std"]
"""What several members' scores become: ``min`` is worst-case optimization, ``mean_minus_std`` an uncertainty-weighted
one (arXiv:2310.02743)."""

Clip: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)] | None
"""Standard deviations beyond which a member's score does not count; None sets no limit."""

StdCoefficient: TypeAlias = Annotated[float, Field(ge=0, allow_inf_nan=False)] | None
"""Factor of the members' standard deviation in ``mean_minus_std``; None is 1."""

CLIP: Final = 5.0
"""Standard deviations beyond which a score does not count, where nothing else is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aggregation:
    """How the raw scores of members, which are the heads of one or several models, become one score.

    Each member's score is standardized with the mean and standard deviation of its own training scores, which never
    change, and clipped; then the members are aggregated. A moving standardization would hide that scores drift.

    Raises:
        ConfigError: a setting would be ignored.
    """

    scales: tuple[HeadScale, ...]
    """One a member."""
    aggregate: Aggregate = "mean"
    std_coefficient: StdCoefficient = None
    clip: Clip = CLIP
    standardize: bool = True
    """Give scores in standard deviations from the mean of the training scores; otherwise as the model gives them."""

    def __post_init__(self) -> None:
        """Refuse what would be ignored."""
        if len(self.scales) == 1 and self.aggregate != "mean":
            raise ConfigError(
                f"aggregate is {self.aggregate}, but there is one member: give several models, or a model with several "
                "heads (ensemble.num_heads), or leave aggregate out."
            )
        if self.std_coefficient is not None and self.aggregate != "mean_minus_std":
            raise ConfigError(
                f"std_coefficient is {self.std_coefficient:g}, but aggregate is {self.aggregate}: it is for "
                "mean_minus_std."
            )

    def score(self, raws: Sequence[float]) -> Score:
        """Return the score of a completion: its value, why, and ``raw``, ``out_of_range`` and ``clipped`` as parts.

        Several members have ``raw_1``, ``raw_2`` and so on, their disagreement as ``std``, and shares of the members in
        place of 0 and 1.
        """
        if strange := [raw for raw in raws if not math.isfinite(raw)]:
            return Score(None, f"the reward model's score is {strange[0]}, which is not a finite number", "error")
        distances = [(raw - scale.mean) / scale.std for raw, scale in zip(raws, self.scales, strict=True)]
        values = [self._value(*member) for member in zip(raws, distances, self.scales, strict=True)]
        beyond = [raw > scale.p999 for raw, scale in zip(raws, self.scales, strict=True)]
        parts = {
            **_raw_parts(raws),
            **({"std": pstdev(values)} if len(values) > 1 else {}),
            "out_of_range": fmean(beyond),
            "clipped": fmean(self._is_clipped(distance) for distance in distances),
        }
        return Score(self._aggregated(values), _why(raws, distances, beyond), parts=parts)

    def _value(self, raw: float, distance: float, scale: HeadScale) -> float:
        """Return what a member counts."""
        if self.clip is not None and self._is_clipped(distance):
            distance = math.copysign(self.clip, distance)
            raw = scale.mean + distance * scale.std
        return distance if self.standardize else raw

    def _is_clipped(self, distance: float) -> bool:
        return self.clip is not None and abs(distance) > self.clip

    def _aggregated(self, values: Sequence[float]) -> float:
        match self.aggregate:
            case "mean":
                return fmean(values)
            case "min":
                return min(values)
            case "mean_minus_std":
                coefficient = 1.0 if self.std_coefficient is None else self.std_coefficient
                return fmean(values) - coefficient * pstdev(values)


def not_unicode(text: str) -> Score | None:
    """Return the score of a text that no tokenizer takes, because half of a surrogate pair stands alone in it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return Score.unscorable("the text is not Unicode: half of a surrogate pair stands alone in it")
    return None


def too_long(card: RewardModelCard) -> Score:
    """Return the score of a completion that does not fit into a reward model."""
    return Score.unscorable(f"prompt and completion are more than the {card.max_length} tokens of the reward model")


def _raw_parts(raws: Sequence[float]) -> dict[str, float]:
    if len(raws) == 1:
        return {"raw": raws[0]}
    return {f"raw_{number}": raw for number, raw in enumerate(raws, start=1)}


def _why(raws: Sequence[float], distances: Sequence[float], beyond: Sequence[bool]) -> str:
    """Say what the members gave, and whether they were ever seen to give as much."""
    members = ", ".join(f"{raw:.3g} ({distance:+.2f} sd)" for raw, distance in zip(raws, distances, strict=True))
    above = f"; above the 99.9th percentile of training{'' if len(raws) == 1 else f' in {sum(beyond)}'}"
    return f"raw {members}{above if any(beyond) else ''}"
