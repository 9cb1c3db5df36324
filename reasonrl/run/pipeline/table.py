"""The table of a pipeline: every suite across the stages, each paired with the model before it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from reasonrl.config.stages import Pipeline, Stage
from reasonrl.evaluation.compare import Comparison, compare
from reasonrl.evaluation.compare_text import comparison_title, p_text, with_interval
from reasonrl.evaluation.estimates import Estimate, PairedDifference
from reasonrl.evaluation.figures import MAIN, label
from reasonrl.evaluation.results import SuiteResult
from reasonrl.preference.card import read_card
from reasonrl.run.pipeline.inputs import model_folder
from reasonrl.run.pipeline.measuring import MeasuredModel
from reasonrl.system import jsonl
from reasonrl.system.summary import Summary
from reasonrl.system.table import aligned


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One model on one suite."""

    name: str
    kind: str
    value: Estimate
    mean_tokens: float
    difference: PairedDifference | None = None
    """From the model of the row before; None in the first row."""
    comparison: Comparison | None = None

    def cells(self) -> list[str]:
        """Return the row as text."""
        found = self.difference
        if found is None:
            return [self.name, self.kind, with_interval(self.value), "", "", "", f"{self.mean_tokens:.1f}"]
        return [
            self.name,
            self.kind,
            with_interval(self.value),
            f"{found.difference:+z.3f} [{found.lower:+z.3f}, {found.upper:+z.3f}]",
            p_text(found.p_value),
            f"{found.wins}/{found.ties}/{found.losses}",
            f"{self.mean_tokens:.1f}",
        ]

    def record(self) -> dict[str, Any]:
        """Return the row as JSON values. Any: JSON values."""
        difference = None if self.difference is None else asdict(self.difference)
        facts = {"stage": self.name, "kind": self.kind, "mean_tokens": self.mean_tokens}
        return {**facts, "value": asdict(self.value), "difference": difference}


def stage_table(pipeline: Pipeline, models: Sequence[MeasuredModel]) -> Summary:
    """Return the table of every suite, and what the stages made that are measured otherwise.

    Raises:
        DataError: results of two models cannot be compared.
    """
    suites = dict.fromkeys(suite for model in models for suite in model.measured)
    tables = {suite: [*_rows(suite, models)] for suite in suites}
    facts = [*map(_fact, pipeline.stages)]
    lines = [f"pipeline {pipeline.config.name}: {len(pipeline.stages)} stages in {pipeline.folder}"]
    lines += [f"  {fact['name']} ({fact['kind']}): {fact['made']}" for fact in facts]
    for suite, rows in tables.items():
        lines += ["", *_suite_lines(suite, rows, models)]
    values = {
        "pipeline": pipeline.config.name,
        "description": pipeline.config.description,
        "folder": str(pipeline.folder),
        "stages": facts,
        "suites": {suite: [row.record() for row in rows] for suite, rows in tables.items()},
    }
    return Summary("\n".join(lines), values)


def _rows(suite: str, models: Sequence[MeasuredModel]) -> Iterator[Row]:
    """Yield a row for each model, paired with the one before it."""
    before: SuiteResult | None = None
    for model in models:
        result = model.measured[suite].result
        kind = "" if model.stage is None else model.stage.kind
        paired = None if before is None else compare(before, result)
        figure = None if paired is None else next(each for each in paired.figures if each.id == MAIN)
        yield Row(
            name=model.name,
            kind=kind,
            value=result.estimate() if figure is None else figure.b,
            mean_tokens=result.mean_tokens,
            difference=None if figure is None else figure.difference,
            comparison=paired,
        )
        before = result


def _suite_lines(suite: str, rows: Sequence[Row], models: Sequence[MeasuredModel]) -> Iterator[str]:
    result = models[0].measured[suite].result
    paired = next((row.comparison for row in rows if row.comparison), None)
    yield f"suite {suite}" if paired is None else comparison_title(paired)
    figure = label(MAIN, result.sampling.num_samples)
    header = ["stage", "", figure, "from the row before (paired, 95 %)", "p", "W/T/L", "mean tokens"]
    yield from aligned([header, *(row.cells() for row in rows)])
    yield "Intervals and tests are those of reasonrl compare; no figure was named beforehand, so all are exploratory."


def _fact(stage: Stage) -> dict[str, Any]:
    """Return what a stage made. Any: JSON values."""
    about = {"name": stage.name, "kind": stage.kind, "folder": str(stage.folder)}
    if stage.sampling is not None:
        counts = {
            schema: len(jsonl.read(stage.rows_file(schema)))
            for schema in dict.fromkeys((*stage.sampling.schemas, "samples"))
        }
        made = ", ".join(
            f"{count} {'rows of ' + schema if schema != 'samples' else 'samples'}" for schema, count in counts.items()
        )
        return {**about, "made": made, "rows": counts}
    if stage.trains == "reward_model":
        return {**about, **_of_reward_model(stage)}
    return {**about, "made": str(model_folder(stage))}


def _of_reward_model(stage: Stage) -> Mapping[str, Any]:
    """Return what a reward model is measured to be worth. Any: JSON values."""
    evaluation = read_card(model_folder(stage)).evaluation
    if evaluation is None:
        return {"made": str(model_folder(stage))}
    value = evaluation.accuracy
    said = f"held-out accuracy {value.value:.3f} [{value.lower:.3f}, {value.upper:.3f}] of {evaluation.num_pairs} pairs"
    return {
        "made": f"{said}; by length alone {evaluation.length_only.value:.3f}",
        "evaluation": evaluation.model_dump(),
    }
