"""Comparing results, and finding them on disk."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from adders import Adder, source_of, sums, sums_suite

from reasonrl.config.settings import ScoringSettings
from reasonrl.errors import DataError
from reasonrl.evaluation.compare import compare
from reasonrl.evaluation.compare_text import render_comparison
from reasonrl.evaluation.files import write_result
from reasonrl.evaluation.find import find_results, first_and_last
from reasonrl.evaluation.measure import measure
from reasonrl.evaluation.results import SuiteResult
from reasonrl.scoring.metrics import MetricRunner, start_metrics

RUNNING: list[MetricRunner] = []
"""Applies the metrics of the suites below."""


@pytest.fixture(scope="module", autouse=True)
def _metrics() -> Iterator[None]:
    suites = [sums_suite(name=name) for name in ("sums", "other", "words")]
    with start_metrics(suites, ScoringSettings(workers=1)) as metrics:
        RUNNING[:] = [metrics]
        yield


def _measure(skill: float = 0.6, **changes: Any) -> SuiteResult:
    """Measure an adder on the suite. Any: fields of a suite."""
    return measure(sums_suite(**changes), source_of(Adder(skill)), metrics=RUNNING[0], seed=0)


def test_a_better_model_wins_with_an_interval_above_zero() -> None:
    comparison = compare(_measure(0.4), _measure(0.8))
    difference = comparison.figures[0].difference
    assert difference.lower > 0
    assert difference.p_value < 0.001
    assert difference.losses == 0
    assert [figure.name for figure in comparison.figures][:3] == ["avg@4", "pass@2", "pass^2"]


def test_problems_are_paired_by_id_and_not_by_place() -> None:
    forth, back = _measure(), _measure(problems=sums(40)[::-1])
    difference = compare(forth, back).figures[0].difference
    assert (difference.ties, difference.method, difference.difference) == (40, "tango", 0.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "other"}, "A is suite 'sums' version 1, B is suite 'other' version 1"),
        ({"version": 2}, "version 1, B is suite 'sums' version 2"),
        ({"problems": sums(40, start=10)}, "A has 40 problems, B has 40, and 30 of them are the same"),
        ({"max_new_tokens": 8}, "max_new_tokens is 16 in A and 8 in B"),
        ({"temperature": 0.5, "num_samples": 2}, "num_samples is 4 in A and 2 in B; temperature is 1.0 in A"),
        ({"stop": ("\n",)}, "stop is"),
        ({"template": "r1_zero"}, "template 'plain' in A, 'r1_zero' in B.*\n.*Question: What is 0"),
    ],
)
def test_results_that_differ_in_more_than_the_model_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        compare(_measure(), _measure(**changes))


def test_other_answers_under_the_same_ids_are_refused() -> None:
    changed = [dataclasses.replace(sums(1)[0], answer="9"), *sums(40)[1:]]
    with pytest.raises(DataError, match="same ids but other questions or answers"):
        compare(_measure(), _measure(problems=changed))


def test_other_prompts_can_be_allowed_and_are_then_noted() -> None:
    comparison = compare(_measure(), _measure(template="r1_zero"), allow_prompt_mismatch=True)
    assert "read different prompts" in render_comparison(comparison, "base", "chat")


def test_a_comparison_prints_in_aligned_columns() -> None:
    comparison = compare(_measure(0.4), _measure(0.8))
    text = render_comparison(comparison, "base", "step 200")
    title, a, b, _, header, *rows = text.splitlines()
    assert title.startswith("suite sums v1 (valid): 40 problems x 4 samples, temperature 1, max_new_tokens 16")
    assert (a, b) == ("A: base", "B: step 200")
    names = [row.split("  ")[0] for row in rows]
    assert (names[0], names[1]) == ("avg@4", "pass@2")
    assert {"truncated", "unparsed", "timeout", "error", "mean tokens"} <= set(names)
    difference = comparison.figures[0].difference
    cell = f"{difference.difference:+.3f} [{difference.lower:+.3f}, {difference.upper:+.3f}]"
    assert rows[0].index(cell) == header.index("B - A (paired, 95 %)")
    assert rows[0].index("<.001") == header.index("p", header.index("95 %"))
    assert rows[0].endswith(f"{difference.wins}/{difference.ties}/0")
    assert f"minimum detectable effect {difference.minimum_detectable_effect:.3f}" in text


def test_equal_models_are_not_said_to_be_known_as_equal() -> None:
    text = render_comparison(compare(_measure(), _measure()), "a", "b")
    assert "+0.000 [-0.088, +0.088]" in text
    assert "interval: Tango's score interval; p: exact McNemar test" in text


def test_one_problem_is_said_to_prove_nothing() -> None:
    result = _measure(problems=sums(1), num_samples=1)
    assert "One problem" in render_comparison(compare(result, result), "a", "b")


def _run_with(tmp_path: Path, *evaluations: tuple[int, str]) -> Path:
    """Make a run directory with results at the given steps, of the given suites."""
    for step, name in evaluations:
        folder = tmp_path / "evals" / f"step_{step:06d}" / name
        write_result(_measure(step / 100, name=name), folder, model={"step": step})
    return tmp_path


def test_results_are_found_in_a_folder_a_run_and_a_step_of_a_run(tmp_path: Path) -> None:
    run = _run_with(tmp_path, (0, "sums"), (20, "sums"), (100, "sums"))
    last = run / "evals" / "step_000100" / "sums"
    assert find_results(last) == last
    assert find_results(run) == find_results(str(run), "sums") == last
    assert find_results(f"{run}@20") == run / "evals" / "step_000020" / "sums"
    assert first_and_last(run) == {"sums": (run / "evals" / "step_000000" / "sums", last)}


def test_a_folder_with_an_at_sign_is_a_folder(tmp_path: Path) -> None:
    run = _run_with(tmp_path / "run@20", (5, "sums"))
    assert find_results(run) == run / "evals" / "step_000005" / "sums"
    assert find_results(f"{run}@5") == run / "evals" / "step_000005" / "sums"


def test_several_suites_need_a_name(tmp_path: Path) -> None:
    run = _run_with(tmp_path, (0, "sums"), (0, "words"), (20, "words"))
    with pytest.raises(DataError, match="several suites; say which: sums, words"):
        find_results(run)
    assert find_results(run, "sums").parent.name == "step_000000"
    with pytest.raises(DataError, match=r"no results of suite 'wrds'\. Did you mean 'words'"):
        find_results(run, "wrds")


def test_a_step_or_run_without_results_says_what_there_is(tmp_path: Path) -> None:
    run = _run_with(tmp_path / "run", (0, "sums"))
    with pytest.raises(DataError, match="nothing was measured at step 7, but at 0"):
        find_results(f"{run}@7")
    with pytest.raises(DataError, match="measured at step 0 only"):
        first_and_last(run)
    with pytest.raises(DataError, match="neither a folder of results"):
        find_results(tmp_path / "nowhere")
