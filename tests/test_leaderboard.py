"""The table of all results under a folder."""

import dataclasses
import json
from pathlib import Path

import pytest
from results import result, run_with, with_rows, written
from typer.testing import CliRunner

from reasonrl.commands import app
from reasonrl.errors import ConfigError, DataError
from reasonrl.evaluation.leaderboard import read_board
from reasonrl.evaluation.results import SuiteResult


def _model(num_right: int, **changes: object) -> SuiteResult:
    return result([[1.0, 1.0]] * num_right + [[0.0, 0.0]] * (10 - num_right), **changes)


def _said(*arguments: object) -> str:
    found = CliRunner().invoke(app, ["leaderboard", *map(str, arguments)])
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found.output


def _models(root: Path) -> Path:
    """Write two models that can be compared on one suite, and others that cannot."""
    written(_model(4), root / "weak" / "sums", engine={"name": "vllm"})
    written(_model(8), root / "strong" / "sums")
    written(_model(9, prompt_sha="other", template="chat"), root / "chatty" / "sums")
    written(_model(10, temperature=0.0, num_problems_in_suite=100, suite_sha="part"), root / "greedy" / "sums")
    written(_model(5, name="words"), root / "strong" / "words")
    return root


def test_models_stand_by_their_figure_and_what_cannot_be_compared_below_them(tmp_path: Path) -> None:
    board = read_board(_models(tmp_path))
    assert [(entry.model, entry.value) for entry in board.suites["sums"]] == [
        ("strong", 0.8),
        ("weak", 0.4),
        ("greedy", 1.0),
        ("chatty", 0.9),
    ]
    differs = {entry.model: entry.differs for entry in board.suites["sums"]}
    assert differs == {
        "strong": (),
        "weak": (),
        "greedy": ("other problems", "temperature 0.0, not 1.0"),
        "chatty": ("template chat, not plain", "other prompts"),
    }
    assert list(board.suites) == ["sums", "words"]


def test_the_table_has_intervals_numbers_engines_and_marks(tmp_path: Path) -> None:
    said = _said(_models(tmp_path))
    overview, sums, words, legend = said.strip().split("\n\n")
    assert overview.splitlines()[0].split() == ["model", "sums", "words"]
    title, _, strong, weak, greedy, chatty = sums.splitlines()
    assert title == "sums v1: 10 problems x 2, temperature 1.0, top_p 1.0, max_new_tokens 16, template plain"
    assert strong.split("  ")[0] == "strong"
    assert "40.0% [" in weak
    assert "10 x 2" in weak
    assert "vllm" in weak
    assert "100.0% [" in greedy
    assert "] *" in greedy
    assert "limited: 10 of 100 problems; other problems; temperature" in greedy
    assert chatty.endswith("template chat, not plain; other prompts")
    assert "50.0% [" in words
    assert legend == "* cannot be compared with those above it in its suite"


def test_a_run_shows_its_first_and_last_step_or_all_of_them(tmp_path: Path) -> None:
    run_with(tmp_path / "runs" / "mine", {(step, "sums"): _model(step) for step in (0, 3, 7)})
    board = read_board(tmp_path)
    assert [entry.model for entry in board.suites["sums"]] == ["mine@7", "mine@0"]
    assert board.left_out == ("1 results of steps between a run's first and last: --all-steps shows them",)
    every = read_board(tmp_path, all_steps=True, by_name=True)
    assert [entry.model for entry in every.suites["sums"]] == ["mine@0", "mine@3", "mine@7"]


def test_any_figure_can_be_the_column_and_less_of_what_went_wrong_is_better(tmp_path: Path) -> None:
    cut = with_rows(_model(9), *({"finish_reason": "length"} for _ in range(20)))
    written(cut, tmp_path / "cut" / "sums")
    written(_model(4), tmp_path / "whole" / "sums")
    board = read_board(tmp_path, metric="truncated")
    assert [(entry.model, entry.value) for entry in board.suites["sums"]] == [("whole", 0.0), ("cut", 1.0)]
    assert read_board(tmp_path, metric="avg@2").suites["sums"][0].figure == "avg@2"
    with pytest.raises(DataError, match="none of the results has a figure 'pass@8'"):
        read_board(tmp_path, metric="pass@8")


def test_another_metric_on_the_same_samples_is_marked(tmp_path: Path) -> None:
    written(_model(4), tmp_path / "a" / "sums")
    written(_model(6), tmp_path / "b" / "sums")
    written(_model(9), tmp_path / "a" / "sums" / "rescored" / "loose", metric={"name": "loose", "params": {}})
    *_, last = read_board(tmp_path).suites["sums"]
    assert (last.value, last.differs) == (0.9, ("metric loose, not the suite's",))


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    written(_model(4), tmp_path / "a" / "sums")
    for name, content in {
        "text": "{",
        "other": '{"results": {}}',
        "half": '{"schema_version": 1, "suite": {}}',
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.json").write_text(content)
    board = read_board(tmp_path)
    assert len(board.left_out) == 3
    assert sum(str(tmp_path / name) in reason for name in ("text", "other", "half") for reason in board.left_out) == 3
    assert "left out: " in _said(tmp_path)


def test_two_results_of_one_model_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    for place in ("one", "two"):
        for suite in ("sums", "words"):
            written(_model(4, name=suite), tmp_path / place / "mine" / suite)
    overview = _said(tmp_path).split("\n\n")[0].splitlines()
    assert [row.split("  ")[0] for row in overview[1:]] == [
        f"mine ({tmp_path / place / 'mine'})" for place in ("one", "two")
    ]


def test_markdown_and_json_have_the_same_figures(tmp_path: Path) -> None:
    markdown = _said(_models(tmp_path), "--suite", "sums", "--markdown")
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert lines[1] == "| --- | --- | --- | --- | --- | --- | --- |"
    assert all(line.count(" | ") == 6 for line in lines[:1] + lines[2:])
    found = json.loads(_said(tmp_path, "--suite", "sums", "--json"))["suites"]
    assert list(found) == ["sums"]
    assert found["sums"]["entries"][0]["value"] == 0.8
    assert found["sums"]["protocol"]["temperature"] == 1.0


def test_what_is_not_there_is_an_error_with_the_nearest_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no results of an evaluation"):
        read_board(tmp_path)
    with pytest.raises(DataError, match=r"no results of suite 'smus'\. Did you mean 'sums'"):
        read_board(_models(tmp_path), suites=["smus"])
    with pytest.raises(ConfigError, match="that is not a folder"):
        _said(tmp_path / "gone")
    with pytest.raises(ConfigError, match="give one of them"):
        _said(tmp_path, "--json", "--markdown")


def test_the_most_common_way_of_measuring_is_the_one_that_others_are_held_against(tmp_path: Path) -> None:
    """Two against one; a part of the suite never is it where the whole was measured as often."""
    for name in ("a", "b"):
        written(_model(5, max_new_tokens=99), tmp_path / name / "sums")
    written(_model(9), tmp_path / "c" / "sums")
    assert [entry.model for entry in read_board(tmp_path).suites["sums"]] == ["a", "b", "c"]
    part = dataclasses.replace(_model(5), num_problems_in_suite=99, suite_sha="part")
    written(part, tmp_path / "d" / "a" / "sums")
    written(_model(4), tmp_path / "d" / "b" / "sums")
    assert [entry.model for entry in read_board(tmp_path / "d").suites["sums"]] == ["b", "a"]
