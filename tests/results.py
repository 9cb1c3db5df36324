"""Results of a suite as a test needs them, without a model."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reasonrl.evaluation.files import write_result
from reasonrl.evaluation.results import SampleResult, Sampling, SuiteResult


def sample(problem: int, index: int, value: float = 1.0, **changes: Any) -> SampleResult:
    """Make a row. Any: fields of a row."""
    row = SampleResult(
        problem_id=f"p{problem}",
        sample_index=index,
        seed=100 * problem + index,
        prompt=f"What is {problem}?",
        completion=f"It is {value:g}.",
        parsed=f"{value:g}",
        answer="1",
        value=value,
        finish_reason="stop",
        num_tokens=7,
    )
    return dataclasses.replace(row, **changes)


def result(values_PG: Sequence[Sequence[float]], **changes: Any) -> SuiteResult:
    """Make a result from each problem's values. Any: fields of a result, or of a sampling."""
    rows = [sample(problem, index, value) for problem, row in enumerate(values_PG) for index, value in enumerate(row)]
    usual = {"num_samples": len(values_PG[0]), "max_new_tokens": 16, "temperature": 1.0, "stop": (), "top_p": 1.0}
    of_sampling: Any = {name: changes.pop(name, value) for name, value in usual.items()}
    sampling = Sampling(**of_sampling)
    found = SuiteResult(
        name="sums",
        version=1,
        role="valid",
        suite_sha="problems",
        prompt_sha="prompts",
        template="plain",
        sampling=sampling,
        seed=0,
        seconds=2.0,
        rows=tuple(rows),
    )
    return dataclasses.replace(found, **changes)


def with_rows(found: SuiteResult, *changes: Mapping[str, Any]) -> SuiteResult:
    """Change the rows in their order, one mapping each. Any: fields of a row."""
    rows = [dataclasses.replace(row, **each) for row, each in zip(found.rows, changes, strict=True)]
    return dataclasses.replace(found, rows=tuple(rows))


def written(found: SuiteResult, folder: Path, **about: Any) -> Path:
    """Write a result and return its folder. Any: JSON values."""
    write_result(found, folder, model={"name": folder.parent.name}, about=about)
    return folder


def run_with(run: Path, figures: Mapping[tuple[int, str], SuiteResult]) -> Path:
    """Make a run directory with results by step and suite."""
    for (step, suite), found in figures.items():
        named = dataclasses.replace(found, name=suite)
        folder = run / "evals" / f"step_{step:06d}" / suite
        write_result(named, folder, model={"name": "tiny", "run": run.name, "step": step})
    return run
