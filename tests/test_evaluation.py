"""Measuring, writing, reading and comparing suites, on an engine without a model."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from adders import Adder, source_of, sums, sums_suite
from metric_cases import half

from reasonrl.config.settings import ScoringSettings
from reasonrl.engines import Engine
from reasonrl.errors import DataError, RunError
from reasonrl.evaluation.clusters import cluster_warnings
from reasonrl.evaluation.compare import compare
from reasonrl.evaluation.compare_text import render_comparison
from reasonrl.evaluation.files import read_result, write_result
from reasonrl.evaluation.measure import measure
from reasonrl.evaluation.results import SuiteResult
from reasonrl.evaluation.suite_run import SuiteProgress
from reasonrl.scoring.metrics import MetricRunner, start_metrics
from reasonrl.types import Problem, sample_seed

RUNNING: list[MetricRunner] = []
"""Applies the metrics of the suites below."""


@pytest.fixture(scope="module", autouse=True)
def _metrics() -> Iterator[None]:
    suites = [*(sums_suite(name=name) for name in ("sums", "other", "words")), sums_suite(name="halves", metric=half)]
    with start_metrics(suites, ScoringSettings(workers=1)) as metrics:
        RUNNING[:] = [metrics]
        yield


def _measure(skill: float = 0.6, seed: int = 0, engine: Engine | None = None, **changes: Any) -> SuiteResult:
    """Measure an adder on the suite. Any: fields of a suite."""
    source = source_of(engine or Adder(skill))
    return measure(sums_suite(**changes), source, metrics=RUNNING[0], seed=seed, max_concurrent=16)


def test_a_row_holds_what_was_asked_said_and_read() -> None:
    result = _measure()
    row = result.rows[5]
    problem = sums_suite().problems[1]
    assert (row.problem_id, row.sample_index) == (problem.id, 1)
    assert row.seed == sample_seed(0, 0, problem.id, 1)
    assert row.prompt == "Question: What is 1 + 1?\nAnswer:"
    assert row.answer == "2"
    assert row.completion.startswith("A: ")
    assert row.value == float(row.parsed == "2")
    assert row.num_tokens == len(row.completion)
    assert len(result.rows) == 160


def test_the_figure_is_the_mean_over_problems_and_near_the_skill() -> None:
    result = _measure(0.6)
    values = result.values_by_problem()
    assert list(values) == [problem.id for problem in sums_suite().problems]
    assert result.estimate().value == pytest.approx(sum(values.values()) / 40)
    assert result.estimate().lower < 0.6 * (1 - 22.5 / 400) < result.estimate().upper


def test_checkpoints_get_the_same_random_numbers() -> None:
    """A better adder is right wherever a worse one is, which only equal seeds can show."""
    worse, better = _measure(0.4), _measure(0.7)
    assert all(a.value <= b.value for a, b in zip(worse.rows, better.rows, strict=True))
    assert better.estimate().value > worse.estimate().value


def test_the_seed_decides_the_samples_and_what_is_sampled_beside_them_does_not() -> None:
    results = [
        measure(sums_suite(), source_of(Adder(0.5)), metrics=RUNNING[0], seed=seed, max_concurrent=size)
        for seed, size in [(0, 7), (0, 64), (1, 64)]
    ]
    assert results[0].rows == results[1].rows
    assert results[1].values_by_problem() != results[2].values_by_problem()


def test_progress_tells_of_every_completion_with_the_running_figure() -> None:
    seen: list[SuiteProgress] = []
    result = measure(sums_suite(), source_of(Adder(0.5)), metrics=RUNNING[0], seed=0, progress=seen.append)
    assert [told.done for told in seen] == list(range(161))
    assert {(told.total, told.earlier) for told in seen} == {(160, 0)}
    assert seen[0].mean is None
    assert seen[-1].mean == pytest.approx(result.estimate().value)
    assert seen[-1].tokens == sum(row.num_tokens for row in result.rows)


def test_loaded_weights_change_the_figure() -> None:
    engine = Adder(0.0)
    before = _measure(engine=engine)
    engine.load_weights([("skill", torch.tensor(1.0))], version=3)
    assert _measure(engine=engine).estimate().value > before.estimate().value == 0


def test_rates_count_what_was_cut_and_what_could_not_be_read() -> None:
    whole, cut = _measure(0.0), _measure(0.0, max_new_tokens=3)
    assert whole.truncated == 0
    assert whole.unparsed == pytest.approx(sum("many" in row.completion for row in whole.rows) / 160)
    assert 0 < whole.unparsed < 0.2
    assert (cut.truncated, cut.unparsed, cut.mean_tokens) == (1.0, 1.0, 3.0)


def test_a_suite_without_problems_is_a_data_error() -> None:
    with pytest.raises(DataError, match="suite 'sums' has no problems"):
        _measure(problems=[])


def test_an_id_that_stands_for_two_problems_is_a_data_error() -> None:
    with pytest.raises(DataError, match="2 problems have the id"):
        _measure(problems=[*sums(3), *sums(1)])


def test_the_hashes_follow_what_they_stand_for() -> None:
    plain = _measure()
    other_prompt = _measure(template="r1_zero")
    other_order = _measure(problems=sums(40)[::-1])
    other_answer = _measure(problems=[dataclasses.replace(sums(1)[0], answer="9"), *sums(40)[1:]])
    assert plain.suite_sha == other_prompt.suite_sha == other_order.suite_sha != other_answer.suite_sha
    assert plain.prompt_sha == other_answer.prompt_sha == other_order.prompt_sha != other_prompt.prompt_sha
    assert other_prompt.template == "r1_zero"


def test_what_is_written_reads_back_equal(tmp_path: Path) -> None:
    result = _measure(stop=("\n", "\u2028"))
    write_result(result, tmp_path / "sums", model={"name": "adder", "step": 3})
    assert read_result(tmp_path / "sums") == result
    assert sorted(path.name for path in (tmp_path / "sums").iterdir()) == ["results.json", "samples.jsonl"]


def test_text_of_any_kind_survives_the_file(tmp_path: Path) -> None:
    result = _measure()
    row = dataclasses.replace(result.rows[0], completion='\u2028 "\\\r\n\x00\u00e9\U0001f600', parsed=None)
    result = dataclasses.replace(result, rows=(row, *result.rows[1:]))
    write_result(result, tmp_path, model={})
    assert read_result(tmp_path).rows[0] == row


def test_results_have_the_keys_that_harness_readers_look_for(tmp_path: Path) -> None:
    result = _measure()
    write_result(result, tmp_path, model={"name": "adder", "step": 3})
    written = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    estimate = result.estimate()
    assert written["schema_version"] == 1
    assert written["results"]["sums"]["exact,none"] == estimate.value
    assert written["results"]["sums"]["exact_stderr,none"] == estimate.standard_error
    assert written["n-samples"]["sums"] == {"original": 40, "effective": 40}
    assert written["model"] == {"name": "adder", "step": 3}
    metrics = {metric["id"]: metric for metric in written["metrics"]}
    assert metrics["exact"]["ci"]["method"] == "effective_wilson"
    assert metrics["pass@4"]["value"] >= estimate.value


def test_partial_credit_has_no_pass_at_k(tmp_path: Path) -> None:
    result = _measure(name="halves", metric=half)
    write_result(result, tmp_path, model={})
    written = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert not [metric["id"] for metric in written["metrics"] if metric["id"].startswith("pass")]


def test_results_can_be_written_over(tmp_path: Path) -> None:
    write_result(_measure(0.2), tmp_path, model={})
    write_result(better := _measure(0.9), tmp_path, model={})
    assert read_result(tmp_path) == better


@pytest.mark.parametrize("name", ["samples.jsonl", "results.json"])
def test_a_full_disk_is_one_error_that_names_the_folder_and_leaves_the_old_results(tmp_path: Path, name: str) -> None:
    write_result(old := _measure(0.2), tmp_path, model={})
    (tmp_path / f".{name}.partial").symlink_to("/dev/full")
    with pytest.raises(RunError, match=rf"disk full while writing {tmp_path}: .*, then resume the run\.$"):
        write_result(_measure(0.9), tmp_path, model={}, then="then resume the run.")
    assert read_result(tmp_path) == old
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.json", "samples.jsonl"]


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def _other_version(path: Path) -> None:
    path.write_text(path.read_text(encoding="utf-8").replace('"schema_version": 1', '"schema_version": 9'))


def _no_suite(path: Path) -> None:
    path.write_text(path.read_text(encoding="utf-8").replace('"suite"', '"suit"'))


def _wrong_type(path: Path) -> None:
    path.write_text(path.read_text(encoding="utf-8").replace('"version": 1', '"version": "one"'))


def _list(path: Path) -> None:
    path.write_text("[]")


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("results.json", Path.unlink, "cannot be read: No such file"),
        ("samples.jsonl", Path.unlink, "cannot be read: No such file"),
        ("results.json", _cut, "damaged: it is not JSON"),
        ("results.json", _list, "not a JSON object"),
        ("results.json", _no_suite, "damaged: it has no 'suite'"),
        ("results.json", _wrong_type, "damaged: version: Input should be a valid integer"),
        ("results.json", _other_version, "schema_version is 9"),
        ("samples.jsonl", _cut, "damaged: it is not the file"),
    ],
)
def test_a_damaged_folder_names_the_file(
    tmp_path: Path, name: str, damage: Callable[[Path], None], message: str
) -> None:
    write_result(_measure(), tmp_path, model={})
    damage(tmp_path / name)
    with pytest.raises(DataError, match=message) as caught:
        read_result(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / name))


def _families(column: str = "template_id") -> list[Problem]:
    """Make forty sums, five of each of eight templates."""
    return [
        dataclasses.replace(problem, meta={column: f"family {index // 5}", "level": index % 3})
        for index, problem in enumerate(sums(40))
    ]


def test_problems_of_a_cluster_share_their_error(tmp_path: Path) -> None:
    families = _families()
    alone, together = _measure(problems=families), _measure(problems=families, cluster="template_id")
    assert [row.cluster for row in together.rows[:24:4]] == ["family 0"] * 5 + ["family 1"]
    assert (alone.estimate().num_clusters, together.estimate().num_clusters) == (40, 8)
    write_result(together, tmp_path, model={})
    assert read_result(tmp_path) == together
    assert json.loads((tmp_path / "results.json").read_text())["metrics"][0]["clusters"] == 8
    better = _measure(0.9, problems=families, cluster="template_id")
    text = render_comparison(compare(together, better), "a", "b")
    assert "40 problems in 8 clusters x 4 samples" in text
    assert "effective number of clusters; p: sign-flip test over clusters" in text
    with pytest.raises(DataError, match="A and B have other clusters"):
        compare(alone, better)


def test_a_cluster_that_the_data_lacks_is_refused_before_anything_is_sampled() -> None:
    with pytest.raises(DataError, match=r"cluster is 'template', but problem \w+ has no such column.*template_id"):
        _measure(problems=_families(), cluster="template", engine=None)


@pytest.mark.parametrize("column", ["template_id", "cluster", "passage_id", "variant_of", "original_id", "parent_id"])
def test_data_that_carries_clusters_which_the_suite_does_not_use_is_named(column: str) -> None:
    suite = sums_suite(problems=_families(column))
    (warning,) = cluster_warnings(suite)
    assert f"`cluster: {column}` beside the suite's name" in warning
    assert not list(cluster_warnings(dataclasses.replace(suite, cluster=column)))


def test_columns_that_tell_all_problems_apart_or_none_are_no_clusters() -> None:
    unlike = [dataclasses.replace(problem, meta={"template_id": problem.id}) for problem in sums(40)]
    alike = [dataclasses.replace(problem, meta={"template_id": "one"}) for problem in sums(40)]
    assert not [*cluster_warnings(sums_suite(problems=unlike)), *cluster_warnings(sums_suite(problems=alike))]


def test_only_measuring_needs_torch() -> None:
    """Comparing results is for any machine."""
    script = (
        "import sys, reasonrl.evaluation, reasonrl.evaluation.compare;"
        "sys.exit(' '.join({'torch', 'transformers', 'vllm', 'scipy'} & set(sys.modules)))"
    )
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert finished.stderr.strip() == ""
