"""The estimates of `reasonrl plan`: how a run's time and memory follow from what one step and one evaluation took."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import pytest
from builders import run_config
from typer.testing import CliRunner

from reasonrl.commands import app
from reasonrl.run.plan.estimates import Estimate, Measured, Plan, duration, on_line
from reasonrl.run.plan.evaluation import EvaluationProbe
from reasonrl.run.plan.memory import StepSize
from reasonrl.run.plan.prediction import phase_seconds, step_seconds
from reasonrl.run.plan.probe import Lengths, Probe, _with_length
from reasonrl.system.memory import descendants, peak_memory
from reasonrl.types import Group, Problem, RewardResult, RewardResults, Score, TrainingSample, Trajectory

MIB = 2**20
ScoredGroup: TypeAlias = tuple[Group, RewardResults]


def group(lengths: Sequence[int], limit: int | None = None) -> Group:
    members = [
        Trajectory.single_turn(
            token_ids=(1,) * length,
            logprobs=(0.0,) * length,
            policy_version=0,
            text="",
            finish_reason="stop",
            sample_index=index,
            seed=index,
        )
        for index, length in enumerate(lengths)
    ]
    problem = Problem(id="0" * 16, task="sums", prompt="What?", answer="1")
    return Group(problem=problem, prompt="", prompt_ids=(1,), trajectories=tuple(members), max_new_tokens=limit)


def probe(**changes: Any) -> Probe:
    """A step of 128 completions of 10 tokens, the longest of 40, all of which learn. Any: fields of a probe."""
    measured = Probe(
        lengths=Lengths(mean=10.0, longest=40, limit=80.0),
        num_measured=128,
        longest_prompt=100,
        useful=1.0,
        warm_up_s=0.0,
        sampling_s=4.0,
        per_token_s=0.0,
        scoring_s=1.0,
        learning_s=3.0,
        weight_sync_s=0.5,
        recording_s=0.25,
    )
    return replace(measured, **changes)


def scored(lengths: Sequence[int], values: Sequence[float | None], limit: int | None = None) -> ScoredGroup:
    totals = [Score.unscorable("") if value is None else Score(value) for value in values]
    return group(lengths, limit), tuple(RewardResult(total=total, rewards={"right": total}) for total in totals)


def test_completions_are_expected_between_what_they_are_and_the_longest_of_them() -> None:
    alike = [scored([4, 4, 4, 16], [1.0] * 4, limit=32), scored([4, 4, 4, 24], [0.0] * 4)]
    lengths = Lengths.of(alike, limit=64)
    assert (lengths.mean, lengths.longest, lengths.limit, lengths.reinforced) == (8.0, 24, 48.0, None)
    assert lengths.expected == pytest.approx((8 * 24) ** 0.5)
    assert lengths.growth == pytest.approx(3**0.5)
    assert [lengths.drawn(6, way) for way in (0.0, 1.0)] == [6, 12]
    assert lengths.drawn(30, 1.0) == 30


def test_completions_are_expected_to_become_shorter_where_the_short_ones_are_reinforced() -> None:
    lengths = Lengths.of([scored([4, 20, 20, 20], [1.0, 0.0, 0.0, None])], limit=64)
    assert (lengths.mean, lengths.reinforced) == (16.0, 4.0)
    assert lengths.expected == pytest.approx(2.0)  # as much shorter than 4 as half of the way from 16 to 4 is
    assert [lengths.drawn(16, way) for way in (0.0, 0.5, 1.0)] == [16, 6, 2]


def test_a_reinforced_completion_counts_as_far_as_it_is_above_its_group() -> None:
    groups = [scored([10, 40], [1.0, 0.0]), scored([30, 40], [3.0, 0.0])]
    assert Lengths.of(groups, limit=64).reinforced == pytest.approx((0.5 * 10 + 1.5 * 30) / 2)


@pytest.mark.parametrize(
    ("times", "sizes", "expected"),
    [
        ((2.0, 3.0), (4, 8, 16), 5.0),  # 1 s and a quarter of a second for each
        ((2.0, 5.0), (4, 8, 16), 10.0),  # no more than in proportion: the first was luckier
        ((3.0, 2.0), (4, 8, 16), 2.0),  # no less than the larger one
        ((3.0, 2.0), (4, 8, 8), 2.0),  # all of it was measured
        ((3.0, 2.0), (1, 1, 3), 6.0),  # a single size says nothing of what is fixed
    ],
)
def test_a_whole_lies_on_the_line_through_two_parts(
    times: tuple[float, float], sizes: tuple[int, int, int], expected: float
) -> None:
    assert on_line(*times, *sizes) == pytest.approx(expected)


def test_a_sample_gets_another_length_by_repeating_or_cutting_all_that_it_has_for_its_tokens() -> None:
    sample = TrainingSample(
        prompt_ids=(7,), token_ids=(1, 2, 3), sampler_logprobs=(0.1, 0.2, 0.3), mask=(True, False, True)
    )
    longer = _with_length(sample, 6)
    assert longer.token_ids == (1, 2, 3, 1, 2, 3)
    assert longer.mask == (True, False, True, True, False, True)
    assert _with_length(sample, 2).sampler_logprobs == (0.1, 0.2)


def test_a_step_is_the_sum_of_its_phases_and_at_most_that_of_completions_at_their_limit() -> None:
    phases = phase_seconds(run_config(), probe())
    assert phases["sampling"] == Estimate(4.0, 8.0)  # 0.1 s for each token of the longest completion
    assert phases["scoring"] == Estimate(2.0, 8.0)  # completions are expected to be twice as long
    assert phases["learning"] == Estimate(3.0, 12.0)  # measured at the expected length, 20; the limit is 80
    assert step_seconds(run_config(), probe()) == Estimate.total(phases.values())


def test_tokens_that_are_sampled_side_by_side_take_time_as_they_become_more() -> None:
    config = run_config(rollout={"prompts_per_step": 16, "samples_per_prompt": 8, "max_new_tokens": 80})
    sampling = phase_seconds(config, probe(per_token_s=1 / 640))["sampling"]
    # Of 4 s the 1,280 tokens take 2; the other 2 are 0.05 s for each of the longest one's 40.
    assert sampling.expected == pytest.approx(2 + 2 * 2)
    assert sampling.most == pytest.approx(80 * 0.05 + 128 * 80 / 640)


def test_where_completions_become_shorter_the_longest_does_too() -> None:
    shorter = Lengths(mean=10.0, longest=40, limit=80.0, reinforced=4.9)
    sampling = phase_seconds(run_config(), probe(lengths=shorter))["sampling"]
    assert sampling.expected == pytest.approx(4.0 * 0.49 * 0.7)


def test_where_sampling_runs_ahead_a_step_takes_the_longer_side() -> None:
    ahead = run_config().model_copy(update={"rollout": run_config().rollout.model_copy(update={"async_steps": 1})})
    assert step_seconds(ahead, probe()).expected == 6.0
    assert step_seconds(ahead, probe(learning_s=30.0)).expected == 30.0 + 0.5 + 0.5


def test_groups_that_teach_nothing_are_sampled_again_where_the_method_refills_a_step() -> None:
    dapo = run_config(algorithm="dapo")
    assert dapo.algorithm.refill_attempts > 1
    quarter = probe(useful=0.25)  # a half is expected
    refilled = phase_seconds(dapo, quarter)
    attempts = dapo.algorithm.refill_attempts
    assert refilled["sampling"].expected == pytest.approx(4.0 * sum(0.5**attempt for attempt in range(attempts + 1)))
    assert refilled["learning"].expected == pytest.approx(2 * 3.0, rel=0.1), "a step is refilled to its size"
    assert phase_seconds(run_config(), quarter)["learning"].expected == 3.0


def test_an_evaluation_grows_with_its_completions_up_to_their_limit() -> None:
    one = EvaluationProbe(2.0, 100.0, 300.0) + EvaluationProbe(1.0, 100.0, 100.0)
    assert (one.seconds, one.most_growth) == (3.0, 2.0)
    assert [one.after(growth) for growth in (0.5, 1.5, 9.0)] == [3.0, 4.5, 6.0]


def test_the_total_is_one_line_with_the_most_beside_it_and_json_has_the_same_figures() -> None:
    seconds = {"startup": Estimate.of(5.0), "steps": Estimate(40.0, 100.0)}
    measured = Measured(seconds=seconds, memory=Estimate(2**29, 2**30), bound=" at the limit")
    plan = Plan(path="runs/a", steps=4, lines=("run        runs/a",), measured=measured, warnings=("beware",))
    assert plan.text().splitlines()[1:] == [
        "total      about 45 s, 0.50 GiB of memory; at most 1.8 min, 1.00 GiB of memory at the limit",
        "warning    beware",
    ]
    assert plan.record()["time_s"]["expected"] == 45.0
    assert plan.record()["memory_bytes"] == {"expected": 2**29, "most": 2**30}


def test_times_are_told_in_the_unit_that_suits_them() -> None:
    assert [*map(duration, (0.25, 9.96, 75, 100, 5_000, 9_000))] == [
        "0.2 s",
        "10.0 s",
        "75 s",
        "1.7 min",
        "83.3 min",
        "2.5 h",
    ]


def test_a_step_at_its_limit_has_completions_of_the_limit() -> None:
    config = run_config(rollout={"prompts_per_step": 2, "samples_per_prompt": 3, "max_new_tokens": 9})
    assert StepSize.at_limit(config, 5) == StepSize(sequences=6, prompt=5, completion=9, longest=9)


def test_memory_is_that_of_a_process_with_all_that_it_has_started() -> None:
    before = peak_memory(os.getpid())
    holding = f"held = b'x' * {64 * MIB}; print(len(held), flush=True); input()"
    child = subprocess.Popen(
        [sys.executable, "-c", holding], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    assert child.stdout is not None
    assert child.stdout.readline()
    held = peak_memory(os.getpid())
    assert child.pid in descendants(os.getpid())
    child.communicate("end\n")
    assert before is not None
    assert held is not None
    assert held - before > 64 * MIB
    assert peak_memory(child.pid) is None, "a process that is gone has none"


@pytest.mark.slow
def test_the_figures_of_a_plan_are_printed_as_json() -> None:
    small = ["rollout.prompts_per_step=2", "rollout.samples_per_prompt=2", "evaluation.suites.0.params.num_problems=8"]
    planned = CliRunner().invoke(app, ["plan", "quickstart", *small, "--json"], catch_exceptions=False)
    figures = json.loads(planned.output)
    assert 0 < figures["time_s"]["expected"] <= figures["time_s"]["most"]
    assert sum(part["expected"] for part in figures["time_s"]["parts"].values()) == figures["time_s"]["expected"]
    assert figures["memory_parts_bytes"]["weights"] < figures["memory_bytes"]["expected"]
