"""Compare two results on one suite, problem by problem, and find results on disk."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from reasonrl.errors import DataError, and_known
from reasonrl.evaluation.estimates import Estimate, PairedDifference, paired_difference
from reasonrl.evaluation.files import RESULTS
from reasonrl.evaluation.report import counted
from reasonrl.evaluation.results import Sampling, SuiteResult

STEP_FOLDER: Final = re.compile(r"step_(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure of both results and their difference."""

    name: str
    a: Estimate
    b: Estimate
    difference: PairedDifference


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two results on the same problems, and the differences of their figures."""

    a: SuiteResult
    b: SuiteResult
    figures: tuple[Figure, ...]
    """``accuracy`` or ``avg@n`` first, then ``pass@n`` where n samples allow one."""

    @property
    def same_prompts(self) -> bool:
        """Whether both models read the same prompts."""
        return self.a.prompt_sha == self.b.prompt_sha


def compare(a: SuiteResult, b: SuiteResult, *, allow_prompt_mismatch: bool = False) -> Comparison:
    """Pair two results on their problems' ids; the differences are B minus A.

    Args:
        a: what to compare with, such as the model before training.
        b: what is compared, such as the trained model.
        allow_prompt_mismatch: accept different prompts, such as those of two models' chat templates.

    Raises:
        DataError: the results differ in more than the model; the message says in what.
    """
    _refuse_other_problems(a, b)
    _refuse_other_sampling(a.sampling, b.sampling)
    if a.prompt_sha != b.prompt_sha and not allow_prompt_mismatch:
        raise _prompt_mismatch(a, b)
    k = a.sampling.num_samples
    mean_name = f"avg@{k}" if k > 1 else "accuracy"
    figures = [_figure(mean_name, a, b, SuiteResult.values_by_problem)]
    if k > 1 and a.all_or_nothing and b.all_or_nothing:
        figures.append(_figure(f"pass@{k}", a, b, lambda result: result.pass_at_k_by_problem(k)))
    return Comparison(a=a, b=b, figures=tuple(figures))


def _figure(
    name: str, a: SuiteResult, b: SuiteResult, values_of: Callable[[SuiteResult], Mapping[str, float]]
) -> Figure:
    values_a, values_b, clusters = values_of(a), values_of(b), a.cluster_by_problem()
    difference = paired_difference(
        list(values_a.values()),
        [values_b[problem_id] for problem_id in values_a],
        clusters_P=[clusters[problem_id] for problem_id in values_a],
    )
    return Figure(name=name, a=a.mean(values_a), b=b.mean(values_b), difference=difference)


def _refuse_other_problems(a: SuiteResult, b: SuiteResult) -> None:
    if (a.name, a.version) != (b.name, b.version):
        raise DataError(
            f"A is suite {a.name!r} version {a.version}, B is suite {b.name!r} version {b.version}: "
            "figures of different suites cannot be compared. Measure both models on one suite."
        )
    ids_a, ids_b = set(a.values_by_problem()), set(b.values_by_problem())
    if ids_a != ids_b:
        raise DataError(
            f"suite {a.name!r}: A has {len(ids_a)} problems, B has {len(ids_b)}, and {len(ids_a & ids_b)} "
            "of them are the same. Measure both models with the same parameters of the suite."
        )
    if a.suite_sha != b.suite_sha:
        raise DataError(
            f"suite {a.name!r}: the problems have the same ids but other questions or answers "
            f"(A {a.suite_sha}, B {b.suite_sha}). Measure both models with one version of the suite's data."
        )
    if a.cluster_by_problem() != b.cluster_by_problem():
        raise DataError(f"suite {a.name!r}: A and B have other clusters. Measure both models with the same `cluster`.")


def _refuse_other_sampling(a: Sampling, b: Sampling) -> None:
    differing = [
        f"{field.name} is {getattr(a, field.name)!r} in A and {getattr(b, field.name)!r} in B"
        for field in fields(Sampling)
        if getattr(a, field.name) != getattr(b, field.name)
    ]
    if differing:
        raise DataError(f"{'; '.join(differing)}. Measure both models with the same settings.")


def _prompt_mismatch(a: SuiteResult, b: SuiteResult) -> DataError:
    prompts_b = {row.problem_id: row.prompt for row in b.rows}
    row = next(row for row in a.rows if row.prompt != prompts_b[row.problem_id])
    return DataError(
        f"suite {a.name!r}: the models read different prompts (template {a.template!r} in A, "
        f"{b.template!r} in B). Problem {row.problem_id}:\n"
        f"  A {row.prompt!r}\n  B {prompts_b[row.problem_id]!r}\n"
        "Measure both with one template, or compare nevertheless with --allow-prompt-mismatch."
    )


def render_comparison(comparison: Comparison, name_a: str, name_b: str) -> str:
    """Return the comparison as text in aligned columns."""
    lines = [_title(comparison), f"A: {name_a}", f"B: {name_b}", ""]
    header = ["", "A", "B", "B - A (paired, 95 %)", "p", "W/T/L"]
    lines += _aligned([header, *map(_figure_row, comparison.figures), *_rate_rows(comparison)])
    lines += ["", *_notes(comparison)]
    return "\n".join(lines)


def _title(comparison: Comparison) -> str:
    a, sampling = comparison.a, comparison.a.sampling
    samples = f" x {sampling.num_samples} samples" if sampling.num_samples > 1 else ""
    return (
        f"suite {a.name} v{a.version} ({a.role}): {counted(comparison.figures[0].a)}{samples}, "
        f"temperature {sampling.temperature:g}, max_new_tokens {sampling.max_new_tokens}, "
        f"template {a.template}, prompts {a.prompt_sha[:8]}"
    )


def _figure_row(figure: Figure) -> list[str]:
    difference = figure.difference
    interval = f"[{difference.lower:+z.3f}, {difference.upper:+z.3f}]"
    p_value = "<.001" if difference.p_value < 0.001 else f"{difference.p_value:.3f}"
    counts = f"{difference.wins}/{difference.ties}/{difference.losses}"
    return [
        figure.name,
        _with_interval(figure.a),
        _with_interval(figure.b),
        f"{difference.difference:+z.3f} {interval}",
        p_value,
        counts,
    ]


def _with_interval(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} [{estimate.lower:.3f}, {estimate.upper:.3f}]"


def _rate_rows(comparison: Comparison) -> list[list[str]]:
    a, b = comparison.a, comparison.b
    return [
        ["truncated", f"{a.truncated:.1%}", f"{b.truncated:.1%}", f"{b.truncated - a.truncated:+z.1%}"],
        ["unparsed", f"{a.unparsed:.1%}", f"{b.unparsed:.1%}", f"{b.unparsed - a.unparsed:+z.1%}"],
        [
            "mean tokens",
            f"{a.mean_tokens:.1f}",
            f"{b.mean_tokens:.1f}",
            f"{b.mean_tokens - a.mean_tokens:+z.1f}",
        ],
    ]


def _notes(comparison: Comparison) -> list[str]:
    first = comparison.figures[0].difference
    notes = [_methods(first), _sensitivity(first)]
    if not comparison.same_prompts:
        notes.append("The models read different prompts: the difference is not the weights' alone.")
    return notes


def _methods(difference: PairedDifference) -> str:
    if difference.method == "tango":
        return "interval: Tango's score interval; p: exact McNemar test"
    by = "clusters" if difference.num_clusters < difference.num_problems else "problems"
    return f"interval: Tango's score interval with the effective number of {by}; p: sign-flip test over {by}"


def _sensitivity(difference: PairedDifference) -> str:
    if difference.num_clusters == 1:
        return "One problem or cluster: nothing follows for others."
    correlation = "" if difference.correlation is None else f"; correlation {difference.correlation:.2f}"
    return (
        f"minimum detectable effect {difference.minimum_detectable_effect:.3f} "
        f"({counted(difference)}, 80 % power){correlation}"
    )


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    num_columns = max(map(len, rows))
    full = [[*row, *[""] * (num_columns - len(row))] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*full, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in full]


@dataclass(frozen=True, slots=True)
class _Evaluation:
    """One folder of results inside a run directory."""

    step: int
    suite: str
    folder: Path


def find_results(path: str | Path, suite: str | None = None) -> Path:
    """Return the folder of results that a path means.

    Args:
        path: a folder of results, a run directory (its latest evaluation) or ``RUN@STEP``.
        suite: which suite, where the run has several.

    Raises:
        DataError: there is none, or it is not clear which; the message says what was found.
    """
    folder, step = _split_step(path)
    if step is None and (folder / RESULTS).is_file():
        return folder
    found = _of_one_suite(folder, suite)
    if step is None:
        return found[-1].folder
    at_step = [evaluation.folder for evaluation in found if evaluation.step == step]
    if not at_step:
        steps = ", ".join(str(evaluation.step) for evaluation in found)
        raise DataError(f"{folder}: suite {found[0].suite!r} was not measured at step {step}, but at {steps}.")
    return at_step[0]


def first_and_last(run: Path, suite: str | None = None) -> tuple[Path, Path]:
    """Return the folders of a run's first evaluation, which is that of step 0, and of its last one.

    Raises:
        DataError: there are no two evaluations of one suite at different steps.
    """
    found = _of_one_suite(run, suite)
    if len(found) < 2:
        raise DataError(
            f"{run}: suite {found[0].suite!r} was measured at step {found[0].step} only; name what to compare it with."
        )
    return found[0].folder, found[-1].folder


def _split_step(path: str | Path) -> tuple[Path, int | None]:
    """Split ``RUN@STEP``; an existing folder is taken as it is, whatever its name."""
    run, _, step = str(path).rpartition("@")
    if Path(path).exists() or not run or not step.isdecimal():
        return Path(path), None
    return Path(run), int(step)


def _of_one_suite(run: Path, suite: str | None) -> list[_Evaluation]:
    """Return a run's evaluations of one suite by step; without a name there must be only one suite."""
    found = _evaluations(run)
    names = sorted({evaluation.suite for evaluation in found})
    if not names:
        raise DataError(f"{run}: neither a folder of results ({RESULTS}) nor a run with evals/step_*/SUITE in it.")
    if suite is None and len(names) > 1:
        raise DataError(f"{run}: has results of several suites; say which: {', '.join(names)}.")
    if suite is not None and suite not in names:
        raise DataError(f"{run}: has no results of suite {suite!r}.{and_known(suite, names)}")
    return [evaluation for evaluation in found if evaluation.suite == (suite or names[0])]


def _evaluations(run: Path) -> list[_Evaluation]:
    found = []
    for path in run.glob(f"evals/step_*/*/{RESULTS}"):
        if match := STEP_FOLDER.fullmatch(path.parent.parent.name):
            found.append(_Evaluation(int(match[1]), path.parent.name, path.parent))
    return sorted(found, key=lambda evaluation: evaluation.step)
