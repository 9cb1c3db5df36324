"""The figures of one suite under several prompt templates: how much of a figure is the prompt's."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean


@dataclass(frozen=True, slots=True, kw_only=True)
class Variants:
    """The mean of a suite's metric under each of its templates."""

    primary: str
    """The template that alone decides the suite's figure."""
    values: Mapping[str, float]
    """By template, the primary one included."""

    def to_json(self) -> dict[str, object]:
        """Return what ``results.json`` holds of them."""
        values = list(self.values.values())
        return {
            "primary": self.primary,
            "exact": dict(self.values),
            "min": min(values),
            "mean": fmean(values),
            "max": max(values),
        }

    def render(self) -> str:
        """Return them as a line of text."""
        values = list(self.values.values())
        each = ", ".join(f"{name} {value:.1%}" for name, value in self.values.items())
        spread = f"min {min(values):.1%}, mean {fmean(values):.1%}, max {max(values):.1%}"
        return f"{len(values)} templates: {spread} ({each})"
