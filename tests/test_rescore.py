"""Another metric on saved completions: the same ones, no sampling, never over the original."""

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from results import result, sample, written

from reasonrl.config.settings import PluginRef, ScoringSettings, SuiteRef
from reasonrl.errors import PluginError, RunError
from reasonrl.evaluation.files import read_measured, read_result
from reasonrl.evaluation.results import SampleResult, SuiteResult
from reasonrl.plugins.lookup import installed_plugins
from reasonrl.run.inputs import load_suite
from reasonrl.run.rescore import CHANGED, Rescored, rescore, summarize_rescored
from reasonrl.types import Problem

METRICS = '''
import os, time
from reasonrl import Measurement, Rollout

def mentioned(rollout: Rollout, word: str = "") -> Measurement:
    """1 where the answer, or a word, stands anywhere."""
    found = (word or rollout.problem.answer) in rollout.text
    return Measurement(float(found), rollout.problem.answer if found else None)

def columns(rollout: Rollout) -> Measurement:
    """Read a column of the suite's data, and the length of the completion."""
    assert len(rollout.completion.token_ids) == 7
    return Measurement(float("kind" in rollout.problem.meta), rollout.problem.prompt)

def bad(rollout: Rollout) -> Measurement:
    """Hang on one, die on another, raise on a third."""
    match rollout.problem.answer:
        case "0": time.sleep(60)
        case "1": os._exit(3)
        case "2": raise ValueError("no digits")
    return Measurement(1.0, "fine")
'''

SUITE = '''
from reasonrl import Measurement, Problem, Rollout, Suite

def right(rollout: Rollout) -> Measurement:
    """Measure nothing."""
    return Measurement(0.0, None)

def sums(*, num_problems: int = 6, shift: int = 0) -> Suite:
    """Make sums."""
    problems = [
        Problem(id=f"p{n}", task="sums", prompt=f"What is {n} + 0?", answer=str(n + shift), meta={"kind": "easy"})
        for n in range(num_problems)
    ]
    return Suite(
        name="sums", problems=problems, metric=right, template="plain", max_new_tokens=16,
        equal_answers=lambda a, b: True,
    )
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give results of a suite of six problems, with two samples each, the first of which is right."""
    monkeypatch.chdir(tmp_path)
    Path("metrics.py").write_text(METRICS)
    Path("suites.py").write_text(SUITE)
    rows = [
        sample(problem, index, float(index == 0), answer=f"{problem}", completion=f"{problem + index}", parsed=None)
        for problem in range(6)
        for index in range(2)
    ]
    return written(_with(*rows), tmp_path / "mine" / "sums", suite_ref={"name": "./suites.py:sums"})


def _with(*rows: SampleResult) -> SuiteResult:
    return dataclasses.replace(result([[1.0, 0.0]]), rows=rows)


def _rescored(folder: Path, name: str, params: dict[str, Any] | None = None, **options: Any) -> Rescored:
    """Any: parameters of the metric, options of rescoring."""
    settings = ScoringSettings(workers=1, metric_timeout_s=0.5, max_failure_rate=options.pop("max_failure_rate", 1.0))
    ref = PluginRef(name=f"./metrics.py:{name}", params=params or {})
    return rescore(folder, ref, installed_plugins(), settings=settings, **options)


def test_the_other_metric_is_measured_on_the_same_completions_and_paired(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    found = _rescored(folder, "mentioned", {"word": "3"})
    assert found.folder == folder / "rescored" / "mentioned"
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
    new = read_measured(found.folder)
    assert [row.value for row in new.result.rows] == [float("3" in row.completion) for row in new.result.rows]
    assert [row.completion for row in new.result.rows] == [row.completion for row in read_result(folder).rows]
    assert new.about["metric"] == {"name": "./metrics.py:mentioned", "params": {"word": "3"}}
    difference = found.comparison.figures[0].difference
    assert difference.difference == pytest.approx(2 / 12 - 6 / 12)


def test_the_completions_that_changed_are_listed_and_written(folder: Path) -> None:
    found = _rescored(folder, "mentioned", {"word": "3"})
    changed = [json.loads(line) for line in (found.folder / CHANGED).read_text().splitlines()]
    up = [one for one in changed if one["after"]["value"] > one["before"]["value"]]
    assert [(one["problem_id"], one["sample_index"], one["completion"]) for one in up] == [("p2", 1, "3")]
    assert len(changed) == 6
    said = summarize_rescored(found, "its own", "mentioned", show=2).text
    assert "6 of 12 completions changed: 1 up, 5 down" in said
    assert "  p0 sample 0: 1 -> 0, read None, answer '0'" in said
    assert len(re.findall(r"^  p\d sample", said, re.MULTILINE)) == 2
    assert "avg@2" in said


def test_the_metric_sees_the_suites_columns_and_its_equivalence_decides_majorities(folder: Path) -> None:
    found = _rescored(folder, "columns")
    assert not found.warnings
    rows = read_result(found.folder).rows
    assert {row.value for row in rows} == {1.0}
    assert rows[2].parsed == "What is 1 + 0?"
    assert {row.answer_class for row in rows} == {0}


def _without_the_file(folder: Path) -> None:
    Path("suites.py").unlink()


def _other_answers(folder: Path) -> None:
    path = folder / "results.json"
    ref = '"name": "./suites.py:sums"'
    path.write_text(path.read_text().replace(ref, f'{ref}, "params": {{"shift": 1}}'))


def _fewer_problems(folder: Path) -> None:
    path = folder / "results.json"
    ref = '"name": "./suites.py:sums"'
    path.write_text(path.read_text().replace(ref, f'{ref}, "params": {{"num_problems": 3}}'))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without_the_file, "because it cannot be loaded: .*suites.py"),
        (_other_answers, "because the suite as it is installed now has other problems"),
        (_fewer_problems, "because the suite as it is installed now has other problems"),
    ],
)
def test_without_the_suite_the_metric_sees_what_was_saved_and_that_is_said(
    folder: Path, change: Callable[[Path], None], message: str
) -> None:
    change(folder)
    found = _rescored(folder, "columns")
    (warning,) = found.warnings
    assert re.search(message, warning)
    assert {row.value for row in read_result(found.folder).rows} == {0.0}
    assert warning in summarize_rescored(found, "a", "b", 0).text
    assert read_result(found.folder).rows[0].parsed == read_result(folder).rows[0].prompt


@pytest.mark.slow
def test_a_metric_that_hangs_dies_or_raises_is_an_outcome_of_its_rows(folder: Path) -> None:
    rows = read_result(_rescored(folder, "bad").folder).rows
    assert [row.outcome for row in rows[::2]] == ["timeout", "error", "error", "scored", "scored", "scored"]
    assert "no digits" in rows[4].why
    assert [row.value for row in rows[::2]] == [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]


@pytest.mark.slow
def test_a_metric_that_fails_too_often_writes_nothing(folder: Path) -> None:
    with pytest.raises(RunError, match="failed on"):
        _rescored(folder, "bad", max_failure_rate=0.2)
    assert not (folder / "rescored").exists()


def test_results_are_never_written_over(folder: Path) -> None:
    with pytest.raises(RunError, match="those are the results themselves"):
        _rescored(folder, "mentioned", out=folder / "." / "")
    elsewhere = _rescored(folder, "mentioned", out=folder.parent / "other")
    assert read_result(elsewhere.folder).estimate().value == 0.5
    with pytest.raises(RunError, match="holds results already"):
        _rescored(folder, "mentioned", out=folder.parent / "other")
    again = _rescored(folder, "mentioned", {"word": "x"}, out=folder.parent / "other", overwrite=True)
    assert read_result(again.folder).estimate().value == 0.0


def test_a_metric_that_is_not_there_is_named_with_the_nearest(folder: Path) -> None:
    with pytest.raises(PluginError, match=r"no 'answer_mach'\. Did you mean 'answer_match'"):
        rescore(folder, PluginRef(name="answer_mach"), installed_plugins())


def test_an_installed_suite_and_metric_are_found_by_their_names(tmp_path: Path) -> None:
    """Results that say nothing of how the suite was loaded have its name."""
    problems: list[Problem] = list(load_suite(SuiteRef(name="arithmetic"), installed_plugins()).problems)[:3]
    rows = [
        dataclasses.replace(
            sample(0, 0, 0.0), problem_id=problem.id, answer=problem.answer, completion=f"So it is {problem.answer}."
        )
        for problem in problems
    ]
    found = dataclasses.replace(_with(*rows), name="arithmetic", num_problems_in_suite=400)
    done = rescore(
        written(found, tmp_path / "m" / "arithmetic"),
        PluginRef(name="last_number"),
        installed_plugins(),
        settings=ScoringSettings(workers=1),
    )
    assert not done.warnings
    assert read_result(done.folder).estimate().value == 1.0
