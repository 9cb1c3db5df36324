"""Apply another metric to saved completions, without sampling again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from reasonrl.config.runfile import load_settings
from reasonrl.config.settings import PluginRef, RunConfig, ScoringSettings, SuiteRef
from reasonrl.errors import ConfigError, ReasonRLError, RunError
from reasonrl.evaluation.answers import with_answer_classes
from reasonrl.evaluation.compare import Comparison, compare
from reasonrl.evaluation.compare_text import render_comparison
from reasonrl.evaluation.files import RESULTS, Measured, read_measured, write_result
from reasonrl.evaluation.find import run_directory_of
from reasonrl.evaluation.results import SampleResult, SuiteResult
from reasonrl.plugins.lookup import Plugins
from reasonrl.plugins.types import MetricFn, Suite
from reasonrl.run.inputs import load_suite
from reasonrl.scoring.metrics import MetricFailures, MetricResult, start_metrics
from reasonrl.system import jsonl
from reasonrl.system.atomic import write_atomically
from reasonrl.system.disk import disk_errors
from reasonrl.system.summary import Summary
from reasonrl.types import Problem, Rollout, Trajectory

CHANGED: Final = "changed.jsonl"
"""File with the completions that the two metrics measure otherwise."""
AT_ONCE: Final = 256
"""Completions measured between two words about the progress."""


@dataclass(frozen=True, slots=True)
class Changed:
    """A completion that the two metrics measure otherwise."""

    before: SampleResult
    after: SampleResult

    def to_json(self) -> Mapping[str, object]:
        """Return what a person who judges the two wants to see."""
        before, after = self.before, self.after
        return {
            "problem_id": before.problem_id,
            "sample_index": before.sample_index,
            "answer": before.answer,
            "before": {"value": before.value, "parsed": before.parsed, "outcome": before.outcome},
            "after": {"value": after.value, "parsed": after.parsed, "outcome": after.outcome, "why": after.why},
            "completion": before.completion,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescored:
    """A result under its own metric and under another one."""

    comparison: Comparison
    """Paired by problem: A under its own metric, B under the other."""
    changed: tuple[Changed, ...]
    warnings: tuple[str, ...]
    folder: Path
    """Where the new result is."""


def rescore(
    folder: Path,
    metric: PluginRef,
    plugins: Plugins,
    *,
    out: Path | None = None,
    overwrite: bool = False,
    ks: Sequence[int] = (),
    settings: ScoringSettings | None = None,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Rescored:
    """Measure the completions of a folder of results with another metric, and write a result of its own.

    Args:
        folder: the results.
        metric: an installed metric, or one by ``./file.py:function``, with its parameters.
        plugins: where the metric and the suite come from.
        out: folder of the new result; ``FOLDER/rescored/METRIC`` if not given.
        overwrite: replace a result that is there.
        ks: as in :func:`reasonrl.evaluation.figures.figures`.
        settings: how the metric's worker processes run.
        tell: is told how many completions are measured, and of how many.

    Raises:
        PluginError: there is no such metric, or it cannot run in a worker process.
        DataError: the results cannot be read.
        RunError: the metric fails on too many completions, or there is a result already.
    """
    measured = read_measured(folder)
    place = out or folder / "rescored" / _slug(metric.name)
    _refuse_place(place, folder, overwrite)
    function = plugins.find_metric(metric.name, **metric.params)
    problems, suite, warnings = _problems(measured, plugins)
    rows = _measured(_suite(measured.result, function, problems), measured.result, settings, tell)
    rows = with_answer_classes(rows, suite.equal_answers if suite else None)
    result = replace(measured.result, rows=rows)
    changed = tuple(
        Changed(before, after)
        for before, after in zip(measured.result.rows, rows, strict=True)
        if (before.value, before.outcome) != (after.value, after.outcome)
    )
    about = {**measured.about, "metric": metric.model_dump(mode="json")}
    write_result(result, place, model=measured.model, about=about, ks=ks, then="then rescore again.")
    with disk_errors(place, "then rescore again."):
        write_atomically(place / CHANGED, jsonl.encode(one.to_json() for one in changed))
    return Rescored(
        comparison=compare(measured.result, result, ks=ks), changed=changed, warnings=tuple(warnings), folder=place
    )


def _slug(metric: str) -> str:
    """Return a folder's name for a metric: of ``./file.py:function`` the function's."""
    return metric.rpartition(":")[2].replace("/", "--")


def _refuse_place(place: Path, folder: Path, overwrite: bool) -> None:
    if place.resolve() == folder.resolve():
        raise RunError(f"--out {place}: those are the results themselves, which are kept. Name another folder.")
    if place.exists() and not place.is_dir():
        raise RunError(f"--out {place}: that is a file. Name a folder.")
    if (place / RESULTS).exists() and not overwrite:
        raise RunError(f"{place} holds results already. Give --out FOLDER, or --overwrite to replace them.")


def _problems(measured: Measured, plugins: Plugins) -> tuple[Mapping[str, Problem], Suite | None, list[str]]:
    """Return the problems of the rows by id: the suite's, with all columns, or what the rows hold of them."""
    result = measured.result
    try:
        suite = load_suite(_suite_ref(measured), plugins)
    except ReasonRLError as error:
        return _from_rows(result), None, [f"{_without_columns(result)}, because it cannot be loaded: {error}"]
    loaded = {problem.id: problem for problem in suite.problems}
    if any(row.problem_id not in loaded or loaded[row.problem_id].answer != row.answer for row in result.rows):
        cause = "because the suite as it is installed now has other problems"
        return _from_rows(result), suite, [f"{_without_columns(result)}, {cause}"]
    return loaded, suite, []


def _suite_ref(measured: Measured) -> SuiteRef:
    """Return how the suite was loaded: as the results say, or the run that they are of, else by its name."""
    name = measured.result.name
    if "suite_ref" in measured.about:
        return SuiteRef.model_validate(measured.about["suite_ref"])
    refs = _suites_of_run(run_directory_of(measured.folder))
    return next((ref for ref in refs if ref.name == name), refs[0] if len(refs) == 1 else SuiteRef(name=name))


def _suites_of_run(run: Path | None) -> Sequence[SuiteRef]:
    """Return the suites of a run's settings; none where another version wrote them."""
    if run is None:
        return []
    try:
        return load_settings(run / "config.resolved.yaml", (), RunConfig).evaluation.suites
    except ConfigError:
        return []


def _without_columns(result: SuiteResult) -> str:
    return f"the metric sees prompts and answers of {result.name!r} without the suite's further columns"


def _from_rows(result: SuiteResult) -> Mapping[str, Problem]:
    return {
        row.problem_id: Problem(id=row.problem_id, task=result.name, prompt=row.prompt, answer=row.answer)
        for row in result.rows
    }


def _suite(result: SuiteResult, metric: MetricFn, problems: Mapping[str, Problem]) -> Suite:
    """Return the suite with the other metric alone."""
    sampling = result.sampling
    return Suite(
        name=result.name,
        version=result.version,
        role=result.role,
        problems=tuple(problems.values()),
        metric=metric,
        template=result.template,
        max_new_tokens=sampling.max_new_tokens,
        num_samples=sampling.num_samples,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        stop=sampling.stop,
    )


def _measured(
    suite: Suite, result: SuiteResult, settings: ScoringSettings | None, tell: Callable[[int, int], None]
) -> Sequence[SampleResult]:
    """Apply the metric in processes that can be killed."""
    problems = {problem.id: problem for problem in suite.problems}
    rows: list[SampleResult] = []
    with start_metrics([suite], settings) as metrics:
        failures = MetricFailures(suite, len(result.rows), metrics.max_failure_rate)
        tell(0, len(result.rows))
        for start in range(0, len(result.rows), AT_ONCE):
            some = result.rows[start : start + AT_ONCE]
            rollouts = [_rollout(row, problems[row.problem_id]) for row in some]
            for row, found in zip(some, metrics.measure(suite, rollouts), strict=True):
                failures.count(found)
                rows.append(_row(row, found))
            tell(len(rows), len(result.rows))
    return rows


def _rollout(row: SampleResult, problem: Problem) -> Rollout:
    """Return a completion as a metric sees it; its tokens are not kept, only how many there were."""
    trajectory = Trajectory.single_turn(
        token_ids=(0,) * row.num_tokens,
        logprobs=(0.0,) * row.num_tokens,
        policy_version=0,
        text=row.completion,
        finish_reason=row.finish_reason,
        sample_index=row.sample_index,
        seed=row.seed,
    )
    return Rollout(problem=problem, prompt=row.prompt, trajectory=trajectory)


def _row(row: SampleResult, found: MetricResult) -> SampleResult:
    return replace(row, value=found.value, parsed=found.parsed, outcome=found.outcome, why=found.why)


def summarize_rescored(rescored: Rescored, name_a: str, name_b: str, show: int) -> Summary:
    """Return both figures, and the first completions that the metrics measure otherwise.

    Args:
        rescored: what was found.
        name_a: what to call the result under its own metric.
        name_b: what to call it under the other one.
        show: most completions.
    """
    comparison, changed = rescored.comparison, rescored.changed
    num_up = sum(one.after.value > one.before.value for one in changed)
    num_down = sum(one.after.value < one.before.value for one in changed)
    lines = [
        *(f"warning: {warning}" for warning in rescored.warnings),
        render_comparison(comparison, name_a, name_b),
        "",
        f"{len(changed)} of {len(comparison.a.rows)} completions changed: {num_up} up, {num_down} down",
        *map(_line, changed[:show]),
        f"Results: {rescored.folder}   All that changed: {rescored.folder / CHANGED}",
    ]
    values = {
        "a": name_a,
        "b": name_b,
        "figures": [asdict(figure) for figure in comparison.figures],
        "changed": {"completions": len(changed), "up": num_up, "down": num_down},
        "shown": [one.to_json() for one in changed[:show]],
        "warnings": list(rescored.warnings),
        "folder": str(rescored.folder),
    }
    return Summary("\n".join(lines), values)


def _line(one: Changed) -> str:
    before, after = one.before, one.after
    read = (
        f"read {before.parsed!r}, now {after.parsed!r}" if before.parsed != after.parsed else f"read {after.parsed!r}"
    )
    why = f"; {after.why}" if after.outcome != "scored" else ""
    return (
        f"  {before.problem_id} sample {before.sample_index}: {before.value:g} -> {after.value:g}, {read}, "
        f"answer {before.answer!r}{why}"
    )
