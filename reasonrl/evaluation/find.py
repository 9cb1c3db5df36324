"""Find results on disk: folders that an evaluation wrote, and those inside run directories."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reasonrl.errors import DataError, and_known
from reasonrl.evaluation.files import RESULTS, read_summary

STEP_FOLDER: Final = re.compile(r"step_(\d+)")


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
        suite: which suite, where there are several.

    Raises:
        DataError: there is none, or it is not clear which; the message says what was found.
    """
    found = results_by_suite(path, [] if suite is None else [suite])
    if len(found) > 1:
        raise DataError(f"{path}: has results of several suites; say which: {', '.join(found)}.")
    return next(iter(found.values()))


def results_by_suite(path: str | Path, suites: Sequence[str] = ()) -> dict[str, Path]:
    """Return the folders of results that a path means, by suite.

    Args:
        path: a folder of results, a folder of such folders, a run directory (its latest evaluation of each suite) or
            ``RUN@STEP``.
        suites: which ones, in this order; all if none are given.

    Raises:
        DataError: there are none, or one of the suites has none; the message says what was found.
    """
    folder, step = _split_step(path)
    if step is None and (folder / RESULTS).is_file():
        found = {_suite_name(folder): folder}
    elif step is None and not (folder / "evals").is_dir() and (children := sorted(folder.glob(f"*/{RESULTS}"))):
        found = _by_name([child.parent for child in children])
    else:
        found = _of_run(folder, step, suites)
    for suite in suites:
        if suite not in found:
            raise DataError(f"{path}: has no results of suite {suite!r}.{and_known(suite, list(found))}")
    return {suite: found[suite] for suite in suites or found}


def first_and_last(run: Path, suites: Sequence[str] = ()) -> dict[str, tuple[Path, Path]]:
    """Return the folders of a run's first evaluation of each suite, which is that of step 0, and of its last one.

    Args:
        run: its directory.
        suites: which ones; all that were measured twice if none are given.

    Raises:
        DataError: there are no two evaluations of a suite at different steps.
    """
    found = _evaluations(run)
    names = list(suites) or sorted({evaluation.suite for evaluation in found})
    pairs = {}
    for name in names:
        of_suite = _of_suite(found, name, run)
        if len(of_suite) > 1:
            pairs[name] = of_suite[0].folder, of_suite[-1].folder
        elif suites or len(names) == 1:
            step = of_suite[0].step
            raise DataError(f"{run}: suite {name!r} was measured at step {step} only; name what to compare it with.")
    if not pairs:
        raise DataError(f"{run}: no suite was measured at two steps; name what to compare it with.")
    return pairs


def run_directory_of(folder: Path) -> Path | None:
    """Return the run directory that a folder of results stands in, or None."""
    step, evals = folder.parent.name, folder.parent.parent
    return evals.parent if evals.name == "evals" and STEP_FOLDER.fullmatch(step) else None


def step_of(folder: Path) -> int | None:
    """Return the step of a run that a folder of results is of, or None."""
    match = STEP_FOLDER.fullmatch(folder.parent.name)
    return int(match[1]) if match and run_directory_of(folder) else None


def _split_step(path: str | Path) -> tuple[Path, int | None]:
    """Split ``RUN@STEP``; an existing folder is taken as it is, whatever its name."""
    run, _, step = str(path).rpartition("@")
    if Path(path).exists() or not run or not step.isdecimal():
        return Path(path), None
    return Path(run), int(step)


def _suite_name(folder: Path) -> str:
    suite = read_summary(folder).get("suite")
    return str(suite.get("name", folder.name)) if isinstance(suite, dict) else folder.name


def _by_name(folders: Sequence[Path]) -> dict[str, Path]:
    """Return folders by their suite; two of one suite stay apart by their own names."""
    names = [_suite_name(folder) for folder in folders]
    return {folder.name if names.count(name) > 1 else name: folder for name, folder in zip(names, folders, strict=True)}


def _of_run(run: Path, step: int | None, suites: Sequence[str]) -> dict[str, Path]:
    """Return a run's results of each suite: of one step, or the latest."""
    found = _evaluations(run)
    if step is not None and step not in {evaluation.step for evaluation in found}:
        steps = ", ".join(str(one) for one in sorted({evaluation.step for evaluation in found}))
        raise DataError(f"{run}: nothing was measured at step {step}, but at {steps}.")
    for suite in suites:
        at = [evaluation.step for evaluation in _of_suite(found, suite, run)]
        if step is not None and step not in at:
            steps = ", ".join(map(str, at))
            raise DataError(f"{run}: suite {suite!r} was not measured at step {step}, but at {steps}.")
    return {evaluation.suite: evaluation.folder for evaluation in found if step in (None, evaluation.step)}


def _of_suite(found: Sequence[_Evaluation], suite: str, run: Path) -> list[_Evaluation]:
    of_suite = [evaluation for evaluation in found if evaluation.suite == suite]
    if not of_suite:
        names = sorted({evaluation.suite for evaluation in found})
        raise DataError(f"{run}: has no results of suite {suite!r}.{and_known(suite, names)}")
    return of_suite


def _evaluations(run: Path) -> list[_Evaluation]:
    """Return all evaluations of a run by step, then by suite.

    Raises:
        DataError: there are none.
    """
    found = []
    for path in sorted(run.glob(f"evals/step_*/*/{RESULTS}")):
        if match := STEP_FOLDER.fullmatch(path.parent.parent.name):
            found.append(_Evaluation(int(match[1]), path.parent.name, path.parent))
    if not found:
        raise DataError(f"{run}: neither a folder of results ({RESULTS}) nor a run with evals/step_*/SUITE in it.")
    return sorted(found, key=lambda evaluation: (evaluation.step, evaluation.suite))
