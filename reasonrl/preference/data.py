"""Preference data: pairs and labeled completions, read from TRL's schemas and split by prompt."""

from dataclasses import dataclass

from reasonrl.types import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two completions of one prompt, of which one was preferred."""

    problem: Problem
    """The prompt; two pairs of one prompt have problems of one id."""
    chosen: str
    rejected: str
    margin: float | None = None
    """How much better the chosen one is, in the units of the score."""
    tags: tuple[str, ...] = ()
    """Groups that accuracy is reported for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabeledCompletion:
    """A completion with what it is worth, for an outcome model."""

    problem: Problem
    completion: str
    label: float
    """From 0 for wrong to 1 for right."""
    tags: tuple[str, ...] = ()
