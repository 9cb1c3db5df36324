"""Several models and suites at once: who is compared with whom, and Holm's correction over primary figures."""

import hashlib
import json
from itertools import chain, combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from results import result, run_with, with_rows, written
from typer.testing import CliRunner

from reasonrl.commands import app
from reasonrl.errors import ConfigError, DataError
from reasonrl.evaluation.holm import holm
from reasonrl.evaluation.results import SuiteResult


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=7))
def test_holms_p_values_are_those_of_testing_every_subset(p_values: list[float]) -> None:
    """The closed test of Bonferroni tests: a hypothesis falls when every subset with it falls."""
    subsets = list(chain.from_iterable(combinations(range(len(p_values)), size + 1) for size in range(len(p_values))))
    for place, adjusted in enumerate(holm(p_values)):
        with_it = [subset for subset in subsets if place in subset]
        closed = max(min(1.0, len(subset) * min(p_values[one] for one in subset)) for subset in with_it)
        assert adjusted == pytest.approx(closed)


def test_holms_p_values_worked_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx((0.03, 0.06, 0.06))
    assert holm([]) == ()


def _model(num_right: int, **changes: object) -> SuiteResult:
    """Make forty problems of two samples, of which the first ones are right."""
    return result([[1.0, 1.0]] * num_right + [[0.0, 0.0]] * (40 - num_right), **changes)


def _said(*arguments: object) -> str:
    found = CliRunner().invoke(app, ["compare", *map(str, arguments)])
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found.output


def _three(tmp_path: Path) -> list[Path]:
    """Write three models on two suites, each somewhat better than the last."""
    for name, right in (("a", 10), ("b", 16), ("c", 24)):
        written(_model(right), tmp_path / name / "sums")
        written(_model(right + 1, name="words"), tmp_path / name / "words")
    return [tmp_path / name for name in "abc"]


def test_each_model_is_compared_with_the_first_on_all_suites_that_both_have(tmp_path: Path) -> None:
    pairs = json.loads(_said(*_three(tmp_path), "--json"))["pairs"]
    ends = [(Path(pair["a"]).name, Path(pair["b"]).name, pair["suite"]) for pair in pairs]
    assert ends == [("a", "b", "sums"), ("a", "b", "words"), ("a", "c", "sums"), ("a", "c", "words")]
    figures = {figure["id"]: figure for figure in pairs[0]["figures"]}
    assert list(figures) == ["exact", "pass@2", "pass^2", "maj@2", "truncated", "unparsed", "timeout", "error"]
    assert figures["exact"]["difference"]["difference"] == pytest.approx(0.15)
    assert figures["exact"]["name"] == "avg@2"


def test_every_two_models_are_compared_where_that_is_asked_for(tmp_path: Path) -> None:
    pairs = json.loads(_said(*_three(tmp_path), "--all-pairs", "--suite", "words", "--json"))["pairs"]
    assert [Path(pair["a"]).name + Path(pair["b"]).name for pair in pairs] == ["ab", "ac", "bc"]


def test_p_values_are_corrected_over_the_primary_figures_of_all_comparisons(tmp_path: Path) -> None:
    """Six wins of forty have p = 2 / 64; a primary figure in two comparisons is two tests."""
    said = _said(*_three(tmp_path), "--primary", "sums/avg@2", "--json")
    figures = [figure for pair in json.loads(said)["pairs"] for figure in pair["figures"]]
    primary = [figure for figure in figures if figure["is_primary"]]
    assert [figure["id"] for figure in primary] == ["exact", "exact"]
    p_values = [figure["difference"]["p_value"] for figure in primary]
    assert p_values == pytest.approx([2 / 2**6, 2 / 2**14])
    assert [figure["adjusted_p"] for figure in primary] == pytest.approx([p_values[0], 2 * p_values[1]])
    assert all(figure["adjusted_p"] is None for figure in figures if not figure["is_primary"])


def test_the_table_marks_what_is_exploratory(tmp_path: Path) -> None:
    said = _said(*_three(tmp_path), "--primary", "sums/exact", "--primary", "sums/pass@2")
    table = said[said.index("primary figures") :]
    assert "Holm's correction is over 4 tests; all else is exploratory." in table
    assert table.count("sums/avg@2") == table.count("sums/pass@2") == 2
    assert "exploratory" in next(line for line in said.splitlines() if line.startswith("maj@2"))
    assert "No figure was named beforehand" in _said(*_three(tmp_path))


def _preregister(run: Path, *primaries: tuple[str, str]) -> Path:
    content = json.dumps({"primary": [{"suite": suite, "metric": metric} for suite, metric in primaries]})
    (run / "preregistration.json").write_text(content)
    sha = hashlib.sha256(content.encode()).hexdigest()
    (run / "manifest.json").write_text(json.dumps({"settings": {"preregistration.sha": sha}}))
    return run


def test_a_run_that_named_its_figures_beforehand_is_judged_by_them(tmp_path: Path) -> None:
    steps = {(0, "sums"): _model(10), (9, "sums"): _model(16), (0, "words"): _model(10), (9, "words"): _model(11)}
    run = _preregister(run_with(tmp_path / "run", steps), ("sums", "exact"), ("gone", "exact"))
    found = json.loads(_said(run, "--json"))
    assert [(pair["a"], pair["b"]) for pair in found["pairs"]] == [(f"{run}@0", f"{run}@9")] * 2
    assert [[figure["id"] for figure in pair["figures"] if figure["is_primary"]] for pair in found["pairs"]] == [
        ["exact"],
        [],
    ]
    assert found["notes"] == ["primary gone/exact is not compared here: Holm's correction is over the others alone"]


@pytest.mark.parametrize("recorded", ['{"settings": null}', '{"settings": {"preregistration.sha": "00"}}'])
def test_figures_that_were_named_after_the_run_began_are_refused(tmp_path: Path, recorded: str) -> None:
    run = run_with(tmp_path / "run", {(0, "sums"): _model(10), (9, "sums"): _model(16)})
    (_preregister(run, ("sums", "exact")) / "manifest.json").write_text(recorded)
    with pytest.raises(DataError, match="is not the one that was there when the run began"):
        _said(run)
    assert "sums/avg@2" in _said(run, "--primary", "sums/exact")


@pytest.mark.parametrize("content", ["[]", "{}", '{"primary": [1]}', "not JSON"])
def test_a_damaged_preregistration_is_an_error(tmp_path: Path, content: str) -> None:
    run = run_with(tmp_path / "run", {(0, "sums"): _model(10), (9, "sums"): _model(16)})
    (run / "preregistration.json").write_text(content)
    with pytest.raises(DataError, match=r"preregistration.json: is damaged: it needs a list `primary`"):
        _said(run)


def test_what_the_other_was_not_measured_on_is_said(tmp_path: Path) -> None:
    written(_model(3, name="extra"), tmp_path / "b" / "extra")
    a, b, _ = _three(tmp_path)
    assert f"not compared, because the other has no results of it: extra of {b}" in _said(a, b)
    with pytest.raises(DataError, match="they have no suite in common"):
        _said(a, tmp_path / "b" / "extra")


@pytest.mark.parametrize(
    ("primary", "error", "message"),
    [
        ("sums", ConfigError, "write it as SUITE/METRIC"),
        ("smus/exact", DataError, r"that suite is not compared here\. Did you mean 'sums'"),
        ("sums/pass@3", DataError, r"primary sums/pass@3: there is no figure 'pass@3'\. Did you mean 'pass@2'"),
    ],
)
def test_a_primary_figure_that_is_not_there_is_refused(
    tmp_path: Path, primary: str, error: type[Exception], message: str
) -> None:
    a, b, _ = _three(tmp_path)
    with pytest.raises(error, match=message):
        _said(a, b, "--primary", primary)


def test_results_of_a_part_of_a_suite_are_not_compared_with_the_whole(tmp_path: Path) -> None:
    part = result([[1.0, 0.0]] * 20, num_problems_in_suite=40, suite_sha="part")
    with pytest.raises(DataError, match="A has 40 problems, B has 20 of 40, and 20 of them are the same"):
        _said(written(_model(10), tmp_path / "a" / "sums"), written(part, tmp_path / "b" / "sums"))
    same = _said(*(written(part, tmp_path / name / "sums") for name in "cd"))
    assert "limited: 20 of 40 problems" in same


def test_engines_that_differ_are_named(tmp_path: Path) -> None:
    a = written(_model(10), tmp_path / "a" / "sums", engine={"name": "local"})
    b = written(_model(12), tmp_path / "b" / "sums", engine={"name": "vllm"})
    assert "A was sampled by local, B by vllm" in _said(a, b)
    assert "was sampled by" not in _said(a, a)


def test_a_win_in_what_went_wrong_is_less_of_it(tmp_path: Path) -> None:
    cut = with_rows(_model(10), *({"finish_reason": "length"} for _ in range(80)))
    a, b = written(cut, tmp_path / "a" / "sums"), written(_model(10), tmp_path / "b" / "sums")
    (pair,) = json.loads(_said(a, b, "--json"))["pairs"]
    truncated = next(figure["difference"] for figure in pair["figures"] if figure["id"] == "truncated")
    assert (truncated["difference"], truncated["wins"], truncated["losses"]) == (-1.0, 40, 0)


def test_other_k_are_compared_where_that_is_asked_for(tmp_path: Path) -> None:
    a, b = (written(result([[1.0, 0.0, 0.0, 1.0, 0.0]] * 3), tmp_path / name / "sums") for name in "ab")
    (pair,) = json.loads(_said(a, b, "--k", 3, "--json"))["pairs"]
    assert [figure["id"] for figure in pair["figures"] if "@" in figure["id"]] == ["pass@3", "maj@3"]
