"""Measuring, writing, reading and comparing suites, on an engine without a model."""

import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from metric_cases import half, sum_is_right
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from tokenizers.decoders import Fuse
from transformers import PreTrainedTokenizerFast

from reasonrl.config.settings import ScoringSettings
from reasonrl.engines import Engine, Request
from reasonrl.errors import DataError, RunError
from reasonrl.evaluation.clusters import cluster_warnings
from reasonrl.evaluation.compare import compare, find_results, first_and_last, render_comparison
from reasonrl.evaluation.files import read_result, write_result
from reasonrl.evaluation.measure import measure
from reasonrl.evaluation.results import SuiteResult
from reasonrl.plugins.lookup import installed_plugins
from reasonrl.plugins.types import Suite
from reasonrl.rollout.templates import Renderer, find_template
from reasonrl.scoring.metrics import MetricRunner, start_metrics
from reasonrl.types import FinishReason, Problem, Trajectory, digest, sample_seed


@cache
def _tokenizer() -> PreTrainedTokenizerFast:
    """Make a tokenizer whose tokens are characters."""
    characters = [chr(code) for code in range(32, 127)] + ["\n", "<unk>"]
    vocabulary = {character: index for index, character in enumerate(characters)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("[\\s\\S]"), "isolated")
    tokenizer.decoder = Fuse()
    # transformers leaves its constructor without types
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")  # type: ignore[no-untyped-call]


class Adder:
    """An engine that adds the numbers of a prompt, rightly with a probability that falls with their size.

    Whether one completion is right depends on its seed alone, so that a better adder is right wherever a
    worse one is.

    Args:
        skill: the probability of a right sum of small numbers.
    """

    def __init__(self, skill: float) -> None:
        self.skill = skill
        self.policy_version, self.shares_weights = 0, True

    async def generate(self, request: Request) -> Trajectory:
        """Answer ``A: sum``, now and then something that is not a number."""
        numbers = [int(found) for found in re.findall(r"\d+", str(_tokenizer().decode(list(request.prompt_ids))))]
        luck, total = Random(request.seed).random(), sum(numbers)
        right = luck < self.skill * (1 - total / 400)
        text = f"A: {total}" if right else "A: many" if luck > 0.95 else f"A: {total + 1}"
        ids = tuple(_tokenizer()(text)["input_ids"])[: request.params.max_new_tokens]
        reason: FinishReason = "stop" if len(ids) == len(text) else "length"
        return Trajectory.single_turn(
            token_ids=ids,
            text=str(_tokenizer().decode(list(ids))),
            logprobs=(0.0,) * len(ids),
            finish_reason=reason,
            policy_version=self.policy_version,
            sample_index=request.sample_index,
            seed=request.seed,
        )

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]], version: int) -> None:
        self.skill, self.policy_version = float(dict(weights)["skill"]), version

    def abort(self) -> None:
        pass

    def sleep(self) -> None:
        pass

    def close(self) -> None:
        pass


def _problems(count: int, start: int = 0) -> list[Problem]:
    """Ask for sums of growing size."""
    terms = [(index, index % 7) for index in range(start, start + count)]
    return [Problem(id=digest(a, b), task="sums", prompt=f"What is {a} + {b}?", answer=str(a + b)) for a, b in terms]


def _suite(**changes: Any) -> Suite:
    """Make a suite of forty sums with four samples each. Any: fields of a suite."""
    suite = Suite(
        name="sums",
        problems=_problems(40),
        metric=sum_is_right,
        template="plain",
        max_new_tokens=16,
        num_samples=4,
        temperature=1.0,
    )
    return dataclasses.replace(suite, **changes)


RUNNING: list[MetricRunner] = []
"""Applies the metrics of the suites below."""


@pytest.fixture(scope="module", autouse=True)
def _metrics() -> Iterator[None]:
    suites = [*(_suite(name=name) for name in ("sums", "other", "words")), _suite(name="halves", metric=half)]
    with start_metrics(suites, ScoringSettings(workers=1)) as metrics:
        RUNNING[:] = [metrics]
        yield


def _renderer(template: str) -> Renderer:
    return Renderer(_tokenizer(), find_template(template, installed_plugins()))


def _measure(skill: float = 0.6, seed: int = 0, engine: Engine | None = None, **changes: Any) -> SuiteResult:
    """Measure an adder on the suite. Any: fields of a suite."""
    suite = _suite(**changes)
    engine, renderer = engine or Adder(skill), _renderer(suite.template)
    return measure(suite, engine, renderer, metrics=RUNNING[0], seed=seed, batch_problems=16)


def test_a_row_holds_what_was_asked_said_and_read() -> None:
    result = _measure()
    row = result.rows[5]
    problem = _suite().problems[1]
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
    assert list(values) == [problem.id for problem in _suite().problems]
    assert result.estimate().value == pytest.approx(sum(values.values()) / 40)
    assert result.estimate().lower < 0.6 * (1 - 22.5 / 400) < result.estimate().upper


def test_checkpoints_get_the_same_random_numbers() -> None:
    """A better adder is right wherever a worse one is, which only equal seeds can show."""
    worse, better = _measure(0.4), _measure(0.7)
    assert all(a.value <= b.value for a, b in zip(worse.rows, better.rows, strict=True))
    assert better.estimate().value > worse.estimate().value


def test_the_seed_decides_the_samples_and_the_batches_do_not() -> None:
    suite, renderer = _suite(), _renderer("plain")
    results = [
        measure(suite, Adder(0.5), renderer, metrics=RUNNING[0], seed=seed, batch_problems=size)
        for seed, size in [(0, 7), (0, 64), (1, 64)]
    ]
    assert results[0].rows == results[1].rows
    assert results[1].values_by_problem() != results[2].values_by_problem()


def test_progress_counts_problems_batch_by_batch() -> None:
    seen: list[tuple[int, int]] = []
    measure(
        _suite(),
        Adder(0.5),
        _renderer("plain"),
        metrics=RUNNING[0],
        seed=0,
        batch_problems=16,
        progress=lambda *counts: seen.append(counts),
    )
    assert seen == [(16, 40), (32, 40), (40, 40)]


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
        _measure(problems=[*_problems(3), *_problems(1)])


def test_the_hashes_follow_what_they_stand_for() -> None:
    plain = _measure()
    other_prompt = _measure(template="r1_zero")
    other_order = _measure(problems=_problems(40)[::-1])
    other_answer = _measure(problems=[dataclasses.replace(_problems(1)[0], answer="9"), *_problems(40)[1:]])
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
    assert [metric["id"] for metric in written["metrics"]] == ["exact", "pass@4"]
    assert written["metrics"][0]["ci"]["method"] == "effective_wilson"
    assert written["metrics"][1]["value"] >= estimate.value


def test_partial_credit_has_no_pass_at_k(tmp_path: Path) -> None:
    result = _measure(name="halves", metric=half)
    write_result(result, tmp_path, model={})
    written = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert [metric["id"] for metric in written["metrics"]] == ["exact"]
    with pytest.raises(DataError, match="says only 0 or 1"):
        result.pass_at_k_by_problem(2)


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


def test_a_better_model_wins_with_an_interval_above_zero() -> None:
    comparison = compare(_measure(0.4), _measure(0.8))
    difference = comparison.figures[0].difference
    assert difference.lower > 0
    assert difference.p_value < 0.001
    assert difference.losses == 0
    assert [figure.name for figure in comparison.figures] == ["avg@4", "pass@4"]


def test_problems_are_paired_by_id_and_not_by_place() -> None:
    forth, back = _measure(), _measure(problems=_problems(40)[::-1])
    difference = compare(forth, back).figures[0].difference
    assert (difference.ties, difference.method, difference.difference) == (40, "tango", 0.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "other"}, "A is suite 'sums' version 1, B is suite 'other' version 1"),
        ({"version": 2}, "version 1, B is suite 'sums' version 2"),
        ({"problems": _problems(40, start=10)}, "A has 40 problems, B has 40, and 30 of them are the same"),
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
    changed = [dataclasses.replace(_problems(1)[0], answer="9"), *_problems(40)[1:]]
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
    assert [row.split("  ")[0] for row in rows[:5]] == [
        "avg@4",
        "pass@4",
        "truncated",
        "unparsed",
        "mean tokens",
    ]
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


def _families(column: str = "template_id") -> list[Problem]:
    """Make forty sums, five of each of eight templates."""
    return [
        dataclasses.replace(problem, meta={column: f"family {index // 5}", "level": index % 3})
        for index, problem in enumerate(_problems(40))
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
    suite = _suite(problems=_families(column))
    (warning,) = cluster_warnings(suite)
    assert f"`cluster: {column}` beside the suite's name" in warning
    assert not list(cluster_warnings(dataclasses.replace(suite, cluster=column)))


def test_columns_that_tell_all_problems_apart_or_none_are_no_clusters() -> None:
    unlike = [dataclasses.replace(problem, meta={"template_id": problem.id}) for problem in _problems(40)]
    alike = [dataclasses.replace(problem, meta={"template_id": "one"}) for problem in _problems(40)]
    assert not [*cluster_warnings(_suite(problems=unlike)), *cluster_warnings(_suite(problems=alike))]


def test_one_problem_is_said_to_prove_nothing() -> None:
    result = _measure(problems=_problems(1), num_samples=1)
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
    assert first_and_last(run) == (run / "evals" / "step_000000" / "sums", last)


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
    with pytest.raises(DataError, match="not measured at step 7, but at 0"):
        find_results(f"{run}@7")
    with pytest.raises(DataError, match="measured at step 0 only"):
        first_and_last(run)
    with pytest.raises(DataError, match="neither a folder of results"):
        find_results(tmp_path / "nowhere")


def test_only_measuring_needs_torch() -> None:
    """Comparing results is for any machine."""
    script = (
        "import sys, reasonrl.evaluation, reasonrl.evaluation.compare;"
        "sys.exit(' '.join({'torch', 'transformers', 'vllm', 'scipy'} & set(sys.modules)))"
    )
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert finished.stderr.strip() == ""
