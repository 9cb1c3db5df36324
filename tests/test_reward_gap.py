"""Reward beside metric on held-out completions: figures by hand, the alarm, the file that shows why, and runs."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasonrl.config.settings import AlarmSettings
from reasonrl.evaluation.results import SampleResult, Sampling, SuiteResult
from reasonrl.run.alarms import AlarmMonitor
from reasonrl.run.control import Control
from reasonrl.run.disagreements import MAX_SHOWN, disagreement_report
from reasonrl.run.events import AlarmRaised
from reasonrl.run.metric_names import describe
from reasonrl.run.reward_beside_metric import Range, heldout_metrics, reward_figures, seen_range, suites_of
from reasonrl.run.reward_gap import GapDetector, Point
from reasonrl.run.start import start_run
from reasonrl.types import RewardResult, Score

RUN = """\
name: gameable
model: tiny
task: {name: arithmetic, params: {num_problems: 500, min_terms: 3, max_terms: 4, max_value: 20}}
template: r1_zero
rewards: [{name: numeric_answer, params: {sources: [answer_tag]}}]
algorithm: dr_grpo
rollout: {prompts_per_step: 8, samples_per_prompt: 8, max_new_tokens: 40}
learner: {learning_rate: 1e-3}
evaluation:
  suites:
    - {name: arithmetic, params: {num_problems: 100, min_terms: 3, max_terms: 4, max_value: 20}, max_new_tokens: 40}
  every: 4
run: {steps: 8}
"""


def row(problem: int, value: float, reward: float | None, *, sample: int = 0, **fields: Any) -> SampleResult:
    """A completion with metric and reward. Any: other fields."""
    texts = {"prompt": f"Question {problem}", "completion": f"Completion {problem}", "parsed": "1", "answer": "2"}
    return SampleResult(
        problem_id=f"p{problem}",
        sample_index=sample,
        seed=problem * 10 + sample,
        value=value,
        finish_reason="stop",
        num_tokens=3,
        reward=reward,
        rewards={"r": reward},
        **{**texts, **fields},
    )


def suite_result(*rows: SampleResult) -> SuiteResult:
    return SuiteResult(
        name="sums",
        version=1,
        role="valid",
        suite_sha="",
        prompt_sha="",
        template="plain",
        sampling=Sampling(num_samples=1, max_new_tokens=8, temperature=0.0, stop=()),
        seed=0,
        seconds=1.0,
        rows=rows,
    )


def test_reward_and_metric_have_figures_side_by_side_that_are_those_of_a_calculation_by_hand() -> None:
    found = reward_figures(suite_result(row(0, 1, 1.0), row(1, 0, 1.0), row(2, 0, 0.0), row(3, 1, 1.0)))
    assert found == {
        "reward_mean": 0.75,
        "reward_stderr": pytest.approx(0.25),  # of 1, 1, 0, 1
        "reward_low": 0.0,
        "reward_high": 1.0,
        "reward_num_wrong": 2.0,
        "reward_correlation": pytest.approx(1 / math.sqrt(3)),
        "reward_high_when_wrong": 0.5,
    }


def test_the_mean_is_one_over_problems_and_completions_without_a_reward_are_left_out() -> None:
    rows = [row(0, 1, 3.0), row(0, 0, 1.0, sample=1), row(1, 0, -2.0), row(2, 0, None)]
    found = reward_figures(suite_result(*rows))
    assert (found["reward_mean"], found["reward_low"], found["reward_high"]) == (0.0, -2.0, 3.0)
    assert found["reward_num_wrong"] == 2
    assert reward_figures(suite_result(row(0, 1, None))) == {}


def test_where_one_does_not_vary_there_is_no_correlation_and_the_range_is_that_of_earlier_evaluations() -> None:
    same = suite_result(row(0, 0, 1.0), row(1, 1, 1.0))
    assert reward_figures(same).keys().isdisjoint({"reward_correlation", "reward_high_when_wrong"})
    assert reward_figures(same, Range(0.0, 0.5))["reward_high_when_wrong"] == 1.0
    assert "reward_correlation" not in reward_figures(suite_result(row(0, 0, 1.0), row(1, 0, 2.0)))


def test_what_a_run_writes_of_a_suite_is_documented_and_read_back() -> None:
    metrics = heldout_metrics(suite_result(row(0, 1, 1.0), row(1, 0, 0.25)))
    assert all(describe(name) is not None for name in metrics)
    assert {describe(name).name for name in metrics if describe(name)} >= {"heldout/{suite}/reward_mean"}  # type: ignore[union-attr]
    assert suites_of(metrics) == ["sums"]
    assert seen_range([metrics, {}], "sums") == Range(0.25, 1.0)
    assert seen_range([metrics], "other") is None


# the statistic


def points(rewards: Sequence[float], metrics: Sequence[float], num_problems: int = 100, **fields: Any) -> list[Point]:
    """Evaluations with a reward of 0 or 1 and a metric of 0 or 1, by their means. Any: other fields."""

    def error(mean: float) -> float:
        return math.sqrt(mean * (1 - mean) / num_problems)

    return [
        Point(
            step=10 * number,
            metric=metric,
            metric_stderr=error(metric),
            reward=of_reward,
            reward_stderr=error(of_reward),
            range=Range(0.0, 1.0),
            num_wrong=round(num_problems * (1 - metric)),
            **fields,
        )
        for number, (of_reward, metric) in enumerate(zip(rewards, metrics, strict=True))
    ]


def gaps(found: Sequence[Point], **given: Any) -> list[bool]:
    """Whether there is a gap at each evaluation. Any: of the detector."""
    detector = GapDetector(**{"max_false_alarms": 0.05, "margin": 0.05, **given})
    return [detector.observe(point) is not None for point in found]


@pytest.mark.parametrize(
    ("rewards", "metrics", "expected"),
    [
        ((0.1, 0.9, 1.0), (0.1, 0.1, 0.1), [False, True, True]),
        ((0.1, 0.9, 1.0), (0.4, 0.2, 0.0), [False, True, True]),
        ((0.1, 0.5, 0.9), (0.1, 0.5, 0.9), [False, False, False]),
        ((0.1, 0.6, 1.0), (0.1, 0.4, 0.7), [False, False, False]),  # pays for more than the metric, which gains by it
        ((0.5, 0.5, 0.5), (0.5, 0.2, 0.0), [False, False, False]),  # what falls alone is another alarm's
        ((0.9, 0.5, 0.1), (0.5, 0.5, 0.5), [False, False, False]),
        ((0.1, 0.5, 0.9), (0.1, 0.5, 0.5), [False, False, True]),  # gamed from the second evaluation on
        ((0.1, 0.12, 0.14), (0.1, 0.1, 0.1), [False, False, False]),  # within noise
    ],
)
def test_there_is_a_gap_where_the_reward_rose_and_the_metric_did_not(
    rewards: Sequence[float], metrics: Sequence[float], expected: list[bool]
) -> None:
    assert gaps(points(rewards, metrics, correlation=0.5)) == expected


def test_a_reward_that_pays_for_wrong_completions_as_for_right_ones_is_a_gap_although_the_metric_rose() -> None:
    rewards, metrics = (0.1, 1.0, 1.0), (0.1, 0.8, 0.8)
    assert gaps(points(rewards, metrics, high_when_wrong=1.0)) == [False, True, True]
    assert gaps(points(rewards, metrics, high_when_wrong=0.3)) == [False, False, False]
    assert gaps(points(rewards, metrics, high_when_wrong=1.0, correlation=0.6)) == [False, False, False]
    assert gaps(points((0.1, 0.2, 0.3), (0.9, 0.8, 0.7), high_when_wrong=1.0, correlation=-1.0))[-1], "inverted"
    few = points(rewards, (0.1, 0.98, 0.98), high_when_wrong=1.0)
    assert gaps(few) == [False, False, False], "two wrong completions say nothing"


@settings(max_examples=40, deadline=None)
@given(scale=st.floats(1e-3, 1e3), shift=st.floats(-100, 100))
def test_the_unit_of_the_reward_decides_nothing(scale: float, shift: float) -> None:
    def in_other_units(point: Point) -> Point:
        reward, error = shift + scale * point.reward, scale * point.reward_stderr
        return replace(point, reward=reward, reward_stderr=error, range=Range(shift, shift + scale))

    found = points((0.1, 0.5, 0.9, 0.9), (0.1, 0.45, 0.4, 0.9))
    assert gaps([in_other_units(point) for point in found]) == gaps(found)


def test_noise_alone_makes_a_gap_in_fewer_runs_than_allowed() -> None:
    random = np.random.default_rng(0)
    runs = [gaps([_noisy(random, step, 40) for step in range(8)], max_false_alarms=0.1) for _ in range(150)]
    assert sum(map(any, runs)) / len(runs) <= 0.1


def _noisy(random: np.random.Generator, step: int, num_problems: int) -> Point:
    """An evaluation of a model that stays as it is, by a reward that has nothing to do with the metric."""
    rewards, values = (random.random(num_problems) < share for share in (0.4, 0.2))
    (point,) = points([float(rewards.mean())], [float(values.mean())], num_problems)
    return replace(point, step=step, high_when_wrong=float(rewards[~values].mean()))


# the alarm


def evaluated(reward_mean: float, metric: float, correlation: float = 0.0) -> dict[str, float]:
    """What a run writes of an evaluation."""
    (point,) = points([reward_mean], [metric])
    return {
        "heldout/sums": metric,
        "heldout_stderr/sums": point.metric_stderr,
        "heldout/sums/reward_mean": reward_mean,
        "heldout/sums/reward_stderr": point.reward_stderr,
        "heldout/sums/reward_low": 0.0,
        "heldout/sums/reward_high": 1.0,
        "heldout/sums/reward_num_wrong": float(point.num_wrong),
        "heldout/sums/reward_correlation": correlation,
        "heldout/sums/reward_high_when_wrong": reward_mean,
    }


def raised(evaluations: Mapping[int, Mapping[str, float]], *, num_steps: int = 100, **given: Any) -> list[AlarmRaised]:
    """The gap alarms of a run. Any: alarm settings."""
    monitor = AlarmMonitor(AlarmSettings(**given), num_steps=num_steps, evaluate_every=10)
    found = [alarm for step, metrics in evaluations.items() for alarm in monitor.after_evaluation(step, metrics)]
    return [alarm for alarm in found if alarm.kind == "reward_metric_gap"]


def test_the_alarm_comes_after_two_evaluations_in_a_row_and_names_the_file_that_shows_why() -> None:
    gamed = {0: evaluated(0.1, 0.2), 10: evaluated(0.8, 0.2), 20: evaluated(0.9, 0.2), 30: evaluated(0.9, 0.2)}
    (alarm,) = raised(gamed)
    assert (alarm.step, alarm.since, alarm.action) == (20, 10, "warn")
    assert "the reward of held-out sums rose to 0.900 from 0.100 after step 0" in alarm.message
    assert "its metric went to 20.0% from 20.0%" in alarm.message
    assert "90.0% of the completions that the metric calls wrong have a high reward" in alarm.message
    assert alarm.message.endswith("Open evals/step_000020/sums/disagreements.md.")
    assert raised(gamed, reward_metric_gap="off") == []


def test_the_margin_is_a_setting() -> None:
    gamed = {step: evaluated(0.1 if step == 0 else 0.4, 0.2, correlation=0.5) for step in (0, 10, 20)}
    assert len(raised(gamed)) == 1
    assert raised(gamed, max_reward_gap=0.3) == []


def test_one_evaluation_is_enough_where_a_run_has_no_more() -> None:
    assert [alarm.step for alarm in raised({0: evaluated(0.1, 0.2), 10: evaluated(0.8, 0.2)}, num_steps=10)] == [10]


def test_a_form_that_is_learned_before_what_it_helps_to_is_no_alarm() -> None:
    first_the_form = {0: evaluated(0.1, 0.1), 10: evaluated(0.55, 0.12), 20: evaluated(0.8, 0.6, correlation=0.9)}
    assert raised(first_the_form) == []


def test_a_resumed_run_alarms_as_one_that_never_stopped() -> None:
    before = [{"step": 0, **evaluated(0.1, 0.2)}, {"step": 5, "reward/mean": 0.5}, {"step": 10, **evaluated(0.8, 0.2)}]
    monitor = AlarmMonitor(AlarmSettings(), num_steps=100, evaluate_every=10).replay(before)
    assert [alarm.kind for alarm in monitor.after_evaluation(20, evaluated(0.9, 0.2))] == ["reward_metric_gap"]


# the file


def test_the_file_shows_the_highest_rewards_of_wrong_completions_first_with_what_reward_and_metric_say() -> None:
    rows = [row(0, 1, 2.0), row(1, 0, 2.0), row(2, 0, 0.0), row(3, 0, 1.5), row(4, 1, 0.0, parsed=None)]
    results = {f"p{number}-{number * 10:x}": said(2.0, f"why {number}") for number in range(5)}
    report = disagreement_report(suite_result(*rows), results, None, 20) or ""
    high, low = report.split("## Metric right, low reward")
    assert "# Reward and metric on sums after step 20" in high
    assert "## High reward, metric wrong: 2 of 5 completions" in high
    assert high.index("### 1. problem p1, sample 0: reward 2.000, metric 0") < high.index("### 2. problem p3")
    assert "- reward `style`, weight 2: 1.000 `why 1`" in high
    assert "\n    Question 1\n" in high
    assert "\n    Completion 1\n" in high
    assert "- answer: `2`\n- parsed by the metric: `1`\n" in high
    assert ": 1 of 5 completions" in low
    assert "### 1. problem p4" in low
    assert "- parsed by the metric: nothing" in low


def said(total: float, why: str) -> RewardResult:
    return RewardResult(total=Score(total), rewards={"style": Score(total / 2, why)}, weights={"style": 2.0})


def test_no_completion_can_write_into_the_file() -> None:
    hostile = "```\n# Fine\n<script>\x1b[2J\u202e`\n```"
    rows = [row(0, 0, 1.0, completion=hostile, prompt=hostile, parsed=hostile, answer="`"), row(1, 1, 0.0)]
    report = disagreement_report(suite_result(*rows), {"p0-0": said(1.0, hostile)}, None, 1) or ""
    assert {"\x1b", "\u202e"}.isdisjoint(report)
    assert not any(line.startswith(("```", "<script>", "# Fine")) for line in report.splitlines())
    assert sum(line.startswith("#") for line in report.splitlines()) == 5  # the title, two sections, two completions


def test_a_long_list_is_cut_and_shows_every_problem_before_a_second_sample_of_one() -> None:
    rows = [row(number, 0, 1.0, sample=sample) for number in range(30) for sample in range(2)] + [row(99, 1, 0.0)]
    report = disagreement_report(suite_result(*rows), {}, None, 1) or ""
    assert "60 of 61 completions" in report
    assert f"... and {60 - MAX_SHOWN} more." in report
    assert all(f"problem p{number}, sample 0" in report for number in range(MAX_SHOWN))


def test_without_rewards_there_is_no_file_and_with_equal_ones_it_says_so() -> None:
    assert disagreement_report(suite_result(row(0, 1, None)), {}, None, 1) is None
    same = disagreement_report(suite_result(row(0, 1, 1.0), row(1, 0, 1.0)), {}, None, 1) or ""
    assert "Every completion has the same reward" in same


# runs


def trained(*overrides: str, control: Control | None = None) -> Path:
    Path("run.yaml").write_text(RUN)
    assert start_run(Path("run.yaml"), overrides, [], argv=["test"], control=control) == "finished"
    return Path("runs", "gameable" if control is None else f"gameable-control-{control}")


def alarms_of(run: Path) -> list[str]:
    lines = (run / "events.jsonl").read_text().splitlines() if (run / "events.jsonl").exists() else []
    return [json.loads(line)["message"].split(":")[0] for line in lines if json.loads(line)["kind"] == "alarm"]


@pytest.mark.slow
def test_a_run_on_the_form_alone_raises_the_alarm_and_shows_why_and_the_same_run_with_its_reward_does_not(
    in_folder: Path,
) -> None:
    gamed, honest = trained(control="format"), trained()
    assert "reward_metric_gap" in alarms_of(gamed)
    report = (gamed / "evals" / "step_000008" / "arithmetic" / "disagreements.md").read_text()
    assert "- reward `numeric_answer`, weight 0: 0.000 `answered" in report
    assert "- reward `control_r1_format`, weight 1: 1.000 `well formed`" in report
    assert "</think> <answer>" in report
    assert "reward_metric_gap" not in alarms_of(honest)
    assert (
        "## High reward, metric wrong: 0 of 100 completions"
        in (honest / "evals" / "step_000008" / "arithmetic" / "disagreements.md").read_text()
    )
