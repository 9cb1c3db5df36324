"""Completions of a policy with a gold metric's value, for the best-of-n curve."""

from dataclasses import dataclass
from pathlib import Path

from reasonrl.errors import DataError, and_known
from reasonrl.preference.samples import SampleRow, read_sample_rows
from reasonrl.preference.schema import examples_of
from reasonrl.types import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldSample:
    """A completion with what it is worth."""

    problem: Problem
    completion: str
    gold: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldSamples:
    """Several completions of each problem, with a gold metric's value."""

    metric: str
    """Label of a reward, or ``score`` for the weighted sum of all."""
    samples: tuple[GoldSample, ...]
    without_gold: int
    """Samples that were left out because the metric gave no value."""

    def num_trained(self, trained: frozenset[str] | None) -> int | None:
        """Count the problems whose prompt is among the ids of prompts that a model was trained on."""
        if trained is None:
            return None
        problems = {one.problem.id: one.problem for one in self.samples}
        return sum(_preference_id(problem) in trained for problem in problems.values())


def read_samples(path: Path, gold: str | None) -> GoldSamples:
    """Read samples with their gold values.

    Args:
        path: a file of ``reasonrl sample``.
        gold: label of a reward; None is the weighted sum.

    Raises:
        DataError: the file cannot be used, or has no such reward or no value.
    """
    rows = list(read_sample_rows(path))
    if not rows:
        raise DataError(f"{path}: holds no sample.")
    labels = {label for row in rows for label in row.rewards}
    if gold is not None and gold not in labels:
        raise DataError(f"{path}: has no reward {gold!r} (--gold).{and_known(gold, labels)}")
    metric = gold or "score"
    values = [(row, _value(row, gold)) for row in rows]
    samples = tuple(
        GoldSample(problem=row.problem(), completion=row.completion, gold=value)
        for row, value in values
        if value is not None
    )
    if not samples:
        raise DataError(f"{path}: no sample has a value of {metric!r}. Score them first, or name another --gold.")
    return GoldSamples(metric=metric, samples=samples, without_gold=len(rows) - len(samples))


def _value(row: SampleRow, gold: str | None) -> float | None:
    if gold is None:
        return row.score
    return row.rewards[gold].value if gold in row.rewards else None


def _preference_id(problem: Problem) -> str:
    """Return the id that the prompt has in preference data, which is made of its words alone."""
    prompt = [dict(message) for message in problem.messages] if problem.messages else problem.prompt
    row = {"prompt": prompt, "chosen": "", "rejected": ""}
    return next(iter(examples_of(problem.id, row, "bradley_terry"))).problem.id
