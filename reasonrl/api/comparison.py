"""Evaluations compared, paired by problem."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import TypeAlias

from reasonrl.api.evaluation import Evaluation
from reasonrl.api.html import list_html, paragraph, table_html
from reasonrl.api.runs import Run
from reasonrl.errors import DataError
from reasonrl.evaluation.compare import Figure
from reasonrl.evaluation.compare_text import comparison_rows
from reasonrl.evaluation.files import read_measured
from reasonrl.evaluation.find import first_and_last, results_by_suite, step_of
from reasonrl.evaluation.pairs_text import left_out, pair_values, render_pairs
from reasonrl.evaluation.primaries import Model, Pair, Primary, compare_models, preregistered, with_primaries

Results: TypeAlias = str | PathLike[str] | Run | Evaluation
"""A folder of results, a run (its latest evaluations), or ``RUN@STEP``."""


@dataclass(frozen=True, slots=True, repr=False)
class Comparison:
    """One comparison for each suite and each two models, with the differences B minus A."""

    pairs: tuple[Pair, ...]
    notes: tuple[str, ...]
    """What could not be compared, and why."""

    @property
    def figure(self) -> Figure:
        """The suite's own figure of both, with their difference.

        Raises:
            DataError: there are several suites or models.
        """
        if len(self.pairs) > 1:
            raise DataError(f"there are {len(self.pairs)} comparisons: take one of .pairs, each has its .comparison.")
        return self.pairs[0].comparison.figures[0]

    @property
    def difference(self) -> float:
        """B minus A of the suite's own figure; errors are those of :attr:`figure`."""
        return self.figure.difference.difference

    @property
    def interval(self) -> tuple[float, float]:
        """The interval of that difference; errors are those of :attr:`figure`."""
        return self.figure.difference.lower, self.figure.difference.upper

    @property
    def p_value(self) -> float:
        """Of the paired test that there is no difference; errors are those of :attr:`figure`."""
        return self.figure.difference.p_value

    def to_json(self) -> Mapping[str, object]:
        """Return all figures as JSON values."""
        return {"pairs": [*map(pair_values, self.pairs)], "notes": list(self.notes)}

    def __repr__(self) -> str:
        """Return all figures as text."""
        return "\n\n".join([render_pairs(self.pairs), *(["\n".join(self.notes)] if self.notes else [])])

    def _repr_html_(self) -> str:
        """Return a table for each pair."""
        return "".join(map(_pair_html, self.pairs)) + list_html(self.notes)


def _pair_html(pair: Pair) -> str:
    columns, *rows = comparison_rows(pair.comparison)
    return paragraph(f"A: {pair.a}, B: {pair.b}", strong=pair.suite) + table_html(columns, rows)


def compare(
    *results: Results,
    suites: Sequence[str] = (),
    primaries: Sequence[str] = (),
    all_pairs: bool = False,
    ks: Sequence[int] = (),
    allow_prompt_mismatch: bool = False,
) -> Comparison:
    """Compare evaluations with the first of them, problem by problem; p-values of primary figures are Holm's.

    Args:
        results: two or more; one run alone compares its last evaluation with its first.
        suites: which ones; all that both have if not given.
        primaries: ``SUITE/METRIC`` to judge by, in place of those that the runs named beforehand.
        all_pairs: every two, in place of each with the first.
        ks: the k of pass@k and its like; powers of two if none are given.
        allow_prompt_mismatch: compare although the models read different prompts.

    Raises:
        DataError: there are no such results, or they differ in more than the model.
        ConfigError: a primary figure is not written as SUITE/METRIC.
    """
    models = _models([_named(one) for one in results], suites)
    pairs = compare_models(models, all_pairs=all_pairs, allow_prompt_mismatch=allow_prompt_mismatch, ks=ks)
    named = [Primary.parse(text) for text in primaries]
    chosen, absent = (named, []) if named else _preregistered(models, {pair.suite for pair in pairs})
    pairs = with_primaries(pairs, chosen)
    return Comparison(pairs, (*left_out(models, pairs), *absent))


def _named(results: Results) -> str:
    if isinstance(results, Evaluation):
        return str(results.folder)
    return str(results.path) if isinstance(results, Run) else fspath(results)


def _models(named: Sequence[str], suites: Sequence[str]) -> list[Model]:
    """Read what was named; one run is its first and its last evaluation."""
    if not named:
        raise DataError("name what to compare: two evaluations, or a run.")
    folders = [(name, results_by_suite(name, suites)) for name in named] if len(named) > 1 else _ends(named[0], suites)
    return [
        Model(name=name, measured={suite: read_measured(folder) for suite, folder in by_suite.items()})
        for name, by_suite in folders
    ]


def _ends(run: str, suites: Sequence[str]) -> list[tuple[str, dict[str, Path]]]:
    """Return the first and the last results of a run's suites, each with a name."""
    pairs = first_and_last(Path(run), suites)
    ends = []
    for which, name in enumerate(("first", "last")):
        folders = {suite: folders[which] for suite, folders in pairs.items()}
        steps = {step_of(folder) for folder in folders.values()}
        ends.append((f"{run}@{steps.pop()}" if len(steps) == 1 else f"{run}, {name} of each suite", folders))
    return ends


def _preregistered(models: Sequence[Model], compared: Container[str]) -> tuple[list[Primary], list[str]]:
    """Return the figures that the runs named beforehand, and what to say of those that are not compared here."""
    named = preregistered(measured.folder for model in models for measured in model.measured.values())
    absent = [
        f"primary {primary.suite}/{primary.metric} is not compared here: Holm's correction is over the others alone"
        for primary in named
        if primary.suite not in compared
    ]
    return [primary for primary in named if primary.suite in compared], absent
