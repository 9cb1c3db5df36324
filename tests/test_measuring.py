"""Measuring without barriers, and what is kept of it: an engine without a model, real metrics and real kills."""

import asyncio
import dataclasses
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import metric_cases
import pytest
from adders import Adder, source_of, sums, sums_suite
from builders import reward

from reasonrl.config.settings import ScoringSettings
from reasonrl.engines import Request
from reasonrl.errors import DataError, EngineError, PluginError, RunError
from reasonrl.evaluation.files import write_result
from reasonrl.evaluation.journal import Journal
from reasonrl.evaluation.measure import measure, measure_all
from reasonrl.evaluation.results import SuiteResult
from reasonrl.evaluation.suite_run import SuitePlan
from reasonrl.evaluation.touches import count_touches, record_touch
from reasonrl.scoring import RewardScorer
from reasonrl.scoring.metrics import MetricRunner, start_metrics
from reasonrl.types import Trajectory

LIMITS = ScoringSettings(workers=1, max_failure_rate=0.5)


@pytest.fixture(scope="module")
def metrics() -> Iterator[MetricRunner]:
    """The metrics of the suites that have the usual one, and of those with several."""
    fails_on = {name: partial(metric_cases.fails_on, text=text) for name, text in (("some", "many"), ("all", ""))}
    suites = [sums_suite(), sums_suite(name="other")]
    suites += [sums_suite(name=name, metric=metric) for name, metric in fails_on.items()]
    suites += [sums_suite(name="hanging", metric=metric_cases.hangs, metric_timeout_s=0.3)]
    suites += [sums_suite(name="further", further_metrics={"half": metric_cases.half, "some": fails_on["some"]})]
    with start_metrics(suites, LIMITS) as running:
        yield running


def measured(metrics: MetricRunner, folder: Path | None = None, skill: float = 0.6, **changes: Any) -> SuiteResult:
    """Any: fields of a suite."""
    journal = None if folder is None else Journal(folder)
    return measure(sums_suite(**changes), source_of(Adder(skill)), metrics=metrics, seed=0, journal=journal)


# Without barriers


class Waiting(Adder):
    """An adder whose first completion ends after all others but one have begun."""

    def __init__(self) -> None:
        super().__init__(0.5)
        self.most, self._running, self._released = 0, 0, asyncio.Event()

    async def generate(self, request: Request) -> Trajectory:
        self._running += 1
        self.most = max(self.most, self._running)
        is_first = not self.requests
        trajectory = await super().generate(request)
        if len(self.requests) == 160:
            self._released.set()
        if is_first:
            await self._released.wait()
        else:
            await asyncio.sleep(0)
        self._running -= 1
        return trajectory


def test_a_slow_completion_holds_nobody_back_and_no_more_than_allowed_are_under_way(metrics: MetricRunner) -> None:
    engine = Waiting()
    result = measure(sums_suite(), source_of(engine), metrics=metrics, seed=0, max_concurrent=5)
    assert engine.most == 5
    assert result.rows == measured(metrics, skill=0.5).rows


def test_completions_of_one_problem_are_asked_for_one_after_another(metrics: MetricRunner) -> None:
    engine = Adder(0.5)
    measure(sums_suite(), source_of(engine), metrics=metrics, seed=0, max_concurrent=7)
    prompts = [request.prompt_ids for request in engine.requests]
    assert [prompts.index(prompt) for prompt in prompts] == [4 * (number // 4) for number in range(160)]


def test_the_next_suite_begins_while_the_last_completion_of_one_is_sampled(metrics: MetricRunner) -> None:
    engine, plans = Waiting(), [SuitePlan(suite=sums_suite(problems=sums(20), name=name)) for name in ("sums", "other")]
    told: list[str] = []
    results = measure_all(
        plans,
        source_of(engine),
        metrics=metrics,
        seed=0,
        max_concurrent=6,
        finished=lambda plan, result: told.append(result.name),
    )
    assert [result.name for result in results] == ["sums", "other"]
    assert sorted(told) == ["other", "sums"]
    assert [len(result.rows) for result in results] == [80, 80]


class Lost(Adder):
    """An engine that is lost when a journal has some rows."""

    def __init__(self, folder: Path) -> None:
        super().__init__(0.6)
        self._rows = folder / "samples.jsonl"

    async def generate(self, request: Request) -> Trajectory:
        if len(self.requests) < 100:
            return await super().generate(request)
        while self._rows.read_bytes().count(b"\n") < 20:
            await asyncio.sleep(0.01)
        raise EngineError("the engine is lost.")


# What is kept


def test_an_evaluation_goes_on_after_a_lost_engine_and_samples_nothing_twice(
    metrics: MetricRunner, tmp_path: Path
) -> None:
    folder = tmp_path / "sums"
    lost, rest = Lost(folder), Adder(0.6)
    with pytest.raises(EngineError, match=r"^the engine is lost"):
        measure(sums_suite(), source_of(lost), metrics=metrics, seed=0, max_concurrent=8, journal=Journal(folder))
    kept = (folder / "samples.jsonl").read_text().splitlines()
    result = measure(sums_suite(), source_of(rest), metrics=metrics, seed=0, journal=Journal(folder))
    assert 20 <= len(kept) <= 100
    assert len(rest.requests) == 160 - len(kept)
    assert result.rows == measured(metrics).rows


def test_a_killed_evaluation_goes_on_where_it_was(metrics: MetricRunner, tmp_path: Path) -> None:
    """The torn line of the kill is dropped; what is in the file is not sampled again."""
    rows = 77
    script = f"import adders; adders.measure_until_killed({str(tmp_path)!r}, {rows})"
    killed = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parent, check=False)
    assert killed.returncode == -signal.SIGKILL
    lines = (tmp_path / "sums" / "samples.jsonl").read_bytes().split(b"\n")
    assert (len(lines), lines[-1]) == (rows + 1, b'{"problem_id": "torn')
    kept = {(row["problem_id"], row["sample_index"], row["seed"]) for row in map(json.loads, lines[:-1])}
    engine = Adder(0.6)
    result = measure(sums_suite(), source_of(engine), metrics=metrics, seed=0, journal=Journal(tmp_path / "sums"))
    seeds = Counter(request.seed for request in engine.requests)
    assert not seeds.keys() & {seed for *_, seed in kept}
    assert sum(seeds.values()) == 160 - rows
    assert len(list(map(json.loads, (tmp_path / "sums" / "samples.jsonl").read_text().splitlines()))) == 160
    assert result.rows == measured(metrics).rows


def test_a_complete_journal_and_a_result_that_is_written_need_no_engine(metrics: MetricRunner, tmp_path: Path) -> None:
    first, engine = measured(metrics, tmp_path), Adder(0.6)
    for _ in range(2):
        again = measure(sums_suite(), source_of(engine), metrics=metrics, seed=0, journal=Journal(tmp_path))
        assert (again.rows, engine.requests) == (first.rows, [])
        write_result(again, tmp_path, model={})


@pytest.mark.parametrize(
    ("changes", "seed", "told"),
    [
        ({"num_samples": 5}, 0, "sampling.num_samples was 4 and is 5 now"),
        ({"temperature": 0.7, "top_p": 0.9}, 0, "sampling.temperature was 1.0 and is 0.7 now; sampling.top_p was"),
        ({"template": "r1_zero"}, 0, 'prompt_sha was ".*" and is ".*" now; template was "plain" and is "r1_zero"'),
        ({"problems": sums(39)}, 0, "num_problems was 40 and is 39 now; .*suite.sha was"),
        ({"metric": metric_cases.half}, 0, 'metrics.exact was "metric_cases:sum_is_right" and is "metric_cases:half"'),
        ({"version": 2}, 0, "suite.version was 1 and is 2 now"),
        ({}, 1, "seed was 0 and is 1 now"),
    ],
)
def test_a_journal_of_another_setup_is_refused_with_what_differs(
    metrics: MetricRunner, tmp_path: Path, changes: dict[str, Any], seed: int, told: str
) -> None:
    measured(metrics, tmp_path / "sums", problems=sums(40))
    source, again = source_of(Adder(0.6)), Journal(tmp_path / "sums")
    with pytest.raises(RunError, match=rf"another setup: .*{told}.*--overwrite"):
        measure(sums_suite(**changes), source, metrics=metrics, seed=seed, journal=again)
    anew = Journal(tmp_path / "sums", overwrite=True)
    suite = sums_suite(**{**changes, "metric": metric_cases.sum_is_right})
    assert measure(suite, source, metrics=metrics, seed=seed, journal=anew).seed == seed


def test_rows_of_another_model_or_engine_are_refused(metrics: MetricRunner, tmp_path: Path) -> None:
    folder = tmp_path / "sums"
    journal = Journal(folder, {"model": {"weights": "sha256:a"}})
    measure(sums_suite(), source_of(Adder(0.6)), metrics=metrics, seed=0, journal=journal)
    other = Journal(folder, {"model": {"weights": "sha256:b"}})
    with pytest.raises(RunError, match=r'model\.weights was "sha256:a" and is "sha256:b" now'):
        measure(sums_suite(), source_of(Adder(0.6)), metrics=metrics, seed=0, journal=other)
    engine = dataclasses.replace(source_of(Adder(0.6)), name="vllm")
    with pytest.raises(RunError, match='engine was "adder" and is "vllm" now'):
        measure(sums_suite(), engine, metrics=metrics, seed=0, journal=Journal(folder, journal.facts))


def _other_problem(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "problem_id": "none"}


def _other_seed(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "seed": 1}


def _no_value(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "value"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_other_problem, "has sample 0 of problem none, which is none of this evaluation"),
        (_other_seed, "which is none of this evaluation"),
        (_no_value, r"samples.jsonl:1: is no row of an evaluation: value: "),
    ],
)
def test_a_journal_that_was_changed_is_refused(
    metrics: MetricRunner, tmp_path: Path, change: Callable[[dict[str, Any]], dict[str, Any]], told: str
) -> None:
    measured(metrics, tmp_path)
    first, *others = (tmp_path / "samples.jsonl").read_text().splitlines()
    changed = json.dumps(change(json.loads(first)))
    (tmp_path / "samples.jsonl").write_text("\n".join([changed, *others, ""]))
    with pytest.raises(DataError, match=told):
        measured(metrics, tmp_path)


def test_two_processes_do_not_write_one_journal(metrics: MetricRunner, tmp_path: Path) -> None:
    first = Journal(tmp_path)
    first.open({})
    with pytest.raises(RunError, match="another process is measuring there"):
        Journal(tmp_path).open({})
    first.close()
    second = Journal(tmp_path)
    second.open({})
    second.close()


def test_an_evaluation_that_ended_before_its_first_completion_binds_nobody(
    metrics: MetricRunner, tmp_path: Path
) -> None:
    ended = Journal(tmp_path)
    ended.open({"seed": 7})
    ended.close()
    assert len(measured(metrics, tmp_path).rows) == 160


def test_files_that_no_evaluation_wrote_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "samples.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(RunError, match=r"samples.jsonl is there, but neither setup.json nor results.json"):
        Journal(tmp_path).open({})
    assert (tmp_path / "samples.jsonl").read_text() == '{"a": 1}\n'


# Metrics that fail


def test_what_a_metric_did_is_in_the_row_and_counts_zero_in_the_mean(metrics: MetricRunner) -> None:
    result = measured(metrics, name="some", metric=metric_cases.fails_on)
    failed = [row for row in result.rows if row.outcome == "error"]
    assert {row.completion for row in failed} == {"A: many"}
    assert {row.value for row in failed} == {0.0}
    assert "ValueError: cannot read 'A: many'" in failed[0].why
    assert len(result.rows) == 160
    assert 0 < result.estimate().value < 1


def test_a_metric_that_always_fails_ends_the_evaluation_by_its_name(metrics: MetricRunner, tmp_path: Path) -> None:
    told = r"suite 'all': metric 'fails_on' \(metric_cases.py:\d+\) failed on 8 of 8 completions.*max_failure_rate"
    with pytest.raises(RunError, match=told):
        measured(metrics, tmp_path, name="all", metric=metric_cases.fails_on)
    rows = list(map(json.loads, (tmp_path / "samples.jsonl").read_text().splitlines()))
    assert {row["outcome"] for row in rows} == {"error"}


def test_a_metric_that_hangs_is_stopped_and_named(metrics: MetricRunner) -> None:
    few = dataclasses.replace(sums_suite(problems=sums(2), num_samples=1), name="hanging", metric_timeout_s=0.3)
    suite = dataclasses.replace(few, metric=metric_cases.hangs)
    with pytest.raises(RunError, match=r"failed on 2 of 2 completions.*timeout: ran longer than 0.3 s"):
        measure(suite, source_of(Adder(0.6)), metrics=metrics, seed=0)


def test_a_failed_measurement_is_tried_again_without_sampling(tmp_path: Path) -> None:
    suite = sums_suite(metric=partial(metric_cases.reads_flag, folder=str(tmp_path)))
    engine = Adder(0.6)
    with start_metrics([suite], LIMITS) as metrics:
        with pytest.raises(RunError, match="failed on 8 of 8"):
            measure(suite, source_of(Adder(0.6)), metrics=metrics, seed=0, journal=Journal(tmp_path / "sums"))
        failed = len((tmp_path / "sums" / "samples.jsonl").read_text().splitlines())
        (tmp_path / "flag").touch()
        result = measure(suite, source_of(engine), metrics=metrics, seed=0, journal=Journal(tmp_path / "sums"))
    assert failed >= 8
    assert len(engine.requests) == 160 - failed
    assert {(row.outcome, row.value) for row in result.rows} == {("scored", 1.0)}


def test_further_metrics_stand_beside_the_suites_own(metrics: MetricRunner) -> None:
    failing = partial(metric_cases.fails_on, text="many")
    result = measured(metrics, name="further", further_metrics={"half": metric_cases.half, "some": failing})
    assert {row.metrics["half"] for row in result.rows} == {0.5}
    (failed, *_) = (row for row in result.rows if row.completion == "A: many")
    assert (failed.outcome, failed.metrics["some"]) == ("scored", 0.0)
    assert failed.why.startswith("further metric 'some': error: ValueError")


def test_answers_that_cannot_be_compared_are_an_error_by_name_and_the_rows_are_kept(
    metrics: MetricRunner, tmp_path: Path
) -> None:
    def as_words(answer: str, other: str) -> bool:
        raise ValueError("no words")

    with pytest.raises(PluginError, match=r"equal_answers 'as_words' \(test_measuring.py:\d+\).*ValueError: no words"):
        measured(metrics, tmp_path, equal_answers=as_words)
    assert len((tmp_path / "samples.jsonl").read_text().splitlines()) == 160
    same = measured(metrics, tmp_path, equal_answers=lambda answer, other: True)
    assert {row.answer_class for row in same.rows} <= {0, None}


def test_rows_have_what_the_training_reward_gives_them(tmp_path: Path) -> None:
    def length(texts: list[str]) -> list[float]:
        return [float(len(text)) for text in texts]

    scorer = RewardScorer([reward(length, name="length", weight=2)], LIMITS, [sums_suite()])
    try:
        source, journal = source_of(Lost(tmp_path)), Journal(tmp_path)
        with pytest.raises(EngineError):
            measure(sums_suite(), source, metrics=scorer.metrics, seed=0, scorer=scorer, journal=journal)
        source, journal = source_of(Adder(0.6)), Journal(tmp_path)
        result = measure(sums_suite(), source, metrics=scorer.metrics, seed=0, scorer=scorer, journal=journal)
    finally:
        scorer.close()
    assert all(row.reward == 2 * len(row.completion) for row in result.rows)
    assert all(row.rewards == {"length": len(row.completion)} for row in result.rows)


# Test suites


def test_looks_at_test_suites_are_counted_and_those_at_others_are_not(tmp_path: Path) -> None:
    test, valid = sums_suite(role="test"), sums_suite(name="other")
    assert record_touch(tmp_path, test, model="m", step=3, final=False) == 1
    assert record_touch(tmp_path, test, model="m", step=4, final=True, limit=5) == 2
    assert record_touch(tmp_path, valid, model="m", step=3, final=False) is None
    first, second = map(json.loads, (tmp_path / "test_touches.jsonl").read_text().splitlines())
    assert (first["suite"], first["step"], first["final"], first["limit"]) == ("sums", 3, False, None)
    assert (second["step"], second["final"], second["limit"]) == (4, True, 5)
    assert count_touches(tmp_path, "other") == count_touches(tmp_path / "nowhere", "sums") == 0
