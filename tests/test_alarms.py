"""Alarms: each trouble sets off its own alarm and no other, once, and a healthy run none."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from random import Random
from typing import Any

import pytest
from builders import logprob_model, policy_learner, run_config, small_llama, training_samples
from rich.console import Console

from reasonrl.config.settings import AlarmSettings
from reasonrl.errors import RunError
from reasonrl.learner import Learner
from reasonrl.run.alarms import AlarmMonitor
from reasonrl.run.events import AlarmRaised
from reasonrl.run.files import RunDirectory
from reasonrl.run.metrics import is_repetitive
from reasonrl.run.start import resume_run, start_run
from reasonrl.run.terminal import PlainView

Trace = list[dict[str, float]]
"""The metrics of each step, from step 1."""

TROUBLE: dict[str, dict[str, float]] = {
    "no_useful_groups": {"groups/useful": 0.0},
    "entropy_collapse": {"policy/entropy": 0.002},
    "entropy_explosion": {"policy/entropy": 5.0},
    "truncation": {"completion/truncated": 0.97},
    "repetition": {"completion/repetition": 0.6},
    "not_finite": {"policy/loss": math.nan},
    "gradient_spike": {"policy/grad_norm": 40.0},
    "no_scores": {"scoring/mine/failure_rate": 0.0, "outcome/mine/unscorable": 16.0},
    "no_learning": {"policy/update": 1e-9, "policy/learning_rate": 1e-12},
}
"""What a step measures in each kind of trouble."""


def healthy(steps: int = 30, seed: int = 0) -> Trace:
    """A run that learns: entropy and truncation fall, reward rises, everything is noisy."""
    noise = Random(seed)
    return [
        {
            "reward/mean": 0.1 + 0.025 * step + noise.uniform(-0.1, 0.1),
            "groups/useful": max(0.0, 0.5 - 0.01 * step + noise.uniform(-0.4, 0.4)),
            "completion/truncated": max(0.0, 0.8 - 0.05 * step) + noise.uniform(0, 0.15),
            "completion/repetition": noise.uniform(0, 0.25),
            "policy/entropy": 1.8 * 0.87**step + noise.uniform(0.01, 0.1),
            "policy/grad_norm": 0.4 * math.exp(noise.gauss(0, 0.5)),
            "policy/learning_rate": 1e-6 * (1 - step / steps),
            "policy/update": 5e-5 * (1 - step / steps),
            "policy/kl_sequence": 1e-4 * step**2 + noise.gauss(0, 1e-5),
            "reward/std": 0.4 + noise.uniform(-0.1, 0.1),
            "policy/loss": noise.gauss(0, 0.1),
        }
        for step in range(steps)
    ]


def troubled(kind: str, first: int = 12, last: int = 20) -> Trace:
    """A healthy run with one trouble in some of its steps, counted from 1."""
    trace = healthy()
    for step in range(first, last + 1):
        trace[step - 1] |= TROUBLE[kind]
    return trace


def alarms(trace: Iterable[Mapping[str, float]], **settings: Any) -> list[tuple[int, AlarmRaised]]:
    """The alarms of a trace, each with the step it came after. Any: alarm settings."""
    monitor = AlarmMonitor(AlarmSettings(**settings))
    return [(step, alarm) for step, metrics in enumerate(trace, 1) for alarm in monitor.after_step(step, metrics)]


@pytest.mark.parametrize("seed", range(20))
def test_a_healthy_run_sets_off_no_alarm(seed: int) -> None:
    assert alarms(healthy(seed=seed)) == []


@pytest.mark.parametrize("kind", TROUBLE)
def test_each_trouble_sets_off_its_alarm_and_no_other_once_after_its_patience(kind: str) -> None:
    ((step, alarm),) = alarms(troubled(kind))
    assert alarm.kind == kind
    assert step == (12 if kind in ("not_finite", "gradient_spike") else 16)
    assert alarm.since == 12


@pytest.mark.parametrize("kind", TROUBLE)
def test_an_alarm_says_since_when_and_which_file_to_open(kind: str) -> None:
    ((step, alarm),) = alarms(troubled(kind))
    assert "since step 12" in alarm.message
    assert alarm.message.endswith(f"Open rollouts/step_{step:06d}.jsonl.")
    named = {"not_finite": "policy/loss not finite", "gradient_spike": "gradient norm 40"}
    assert named.get(kind, "") in alarm.message


@pytest.mark.parametrize("kind", sorted(set(TROUBLE) - {"not_finite", "gradient_spike"}))
def test_trouble_shorter_than_the_patience_is_no_alarm(kind: str) -> None:
    assert alarms(troubled(kind, 12, 15)) == []
    assert [step for step, _ in alarms(troubled(kind, 12, 15), patience=3)] == [14]


def test_an_alarm_comes_again_only_after_the_trouble_was_gone_for_as_long() -> None:
    gone_briefly, gone = healthy(40), healthy(40)
    for trace, pause in ((gone_briefly, range(21, 24)), (gone, range(21, 26))):
        for step in range(12, 35):
            if step not in pause:
                trace[step - 1] |= TROUBLE["truncation"]
    assert [step for step, _ in alarms(gone_briefly)] == [16]
    assert [(step, alarm.since) for step, alarm in alarms(gone)] == [(16, 12), (30, 26)]


def test_an_alarm_carries_the_action_of_its_kind_and_one_that_is_off_is_silent() -> None:
    assert alarms(troubled("truncation"))[0][1].action == "warn"
    assert alarms(troubled("not_finite"))[0][1].action == "stop"
    assert alarms(troubled("truncation"), truncation="rollback")[0][1].action == "rollback"
    assert alarms(troubled("truncation"), truncation="off") == []


def test_thresholds_are_settings() -> None:
    assert alarms(troubled("truncation"), max_truncated=0.98) == []
    assert alarms(troubled("gradient_spike"), spike_factor=1000) == []
    assert alarms(troubled("entropy_explosion"), max_entropy_rise=6.0) == []
    assert alarms(troubled("entropy_collapse"), min_entropy=0.001) == []
    assert alarms(troubled("no_useful_groups"), min_useful_groups=0.0) == []
    assert alarms(troubled("repetition"), max_repetition=0.7) == []


@pytest.mark.parametrize(
    ("measured", "seen"),
    [
        ({"policy/learning_rate": 0.0, "policy/update": 0.0}, "the learning rate is 0"),
        ({"policy/grad_norm": 0.0}, "the gradient is 0"),
        ({"policy/learning_rate": 1e-12, "policy/update": 1e-9}, "moves the weights by 1.0e-09 of their size"),
    ],
)
def test_a_policy_that_is_updated_without_effect_is_an_alarm_that_says_why(
    measured: dict[str, float], seen: str
) -> None:
    trace = [step | measured for step in healthy()]
    ((step, alarm),) = alarms(trace)
    assert (step, alarm.kind, alarm.since) == (5, "no_learning", 1)
    assert seen in alarm.message
    assert "Raise learner.learning_rate" in alarm.message


def test_a_policy_that_stays_where_it_began_is_an_alarm_once_it_was_updated_often_enough() -> None:
    ((step, alarm),) = alarms([step | {"policy/kl_sequence": 0.0} for step in healthy()])
    assert (step, alarm.kind) == (15, "no_learning")
    assert "after 14 updates the policy is where it began" in alarm.message
    unmeasured = [{name: value for name, value in step.items() if "kl" not in name} for step in healthy()]
    assert alarms(unmeasured) == []


def test_steps_without_an_update_are_not_updates_without_effect() -> None:
    pretraining = [{"value/grad_norm": 1.0, "reward/mean": 0.1 * step} for step in range(10)]
    assert alarms(pretraining) == []


def test_a_reward_that_is_always_the_same_is_an_alarm_where_completions_have_no_siblings() -> None:
    constant = {"reward/mean": 0.5, "reward/std": 0.0}
    ((step, alarm),) = alarms([constant] * 9)
    assert (step, alarm.kind, alarm.since) == (6, "constant_reward", 2)
    assert "every completion has the reward 0.500" in alarm.message
    assert alarms([constant | {"reward/mean": 0.1 * step} for step in range(9)]) == [], "it moves from step to step"
    compared = [constant | {"groups/useful": 0.0}] * 9
    assert [alarm.kind for _, alarm in alarms(compared)] == ["no_useful_groups"]
    assert "every completion has the reward 0.500" in alarms(compared)[0][1].message


@pytest.mark.parametrize("kind", ["no_useful_groups", "no_scores", "no_learning"])
def test_what_nothing_is_learned_from_is_an_alarm_in_a_run_shorter_than_the_patience(kind: str) -> None:
    monitor = AlarmMonitor(AlarmSettings(), num_steps=3)
    found = [monitor.after_step(step, healthy()[step] | TROUBLE[kind]) for step in (1, 2, 3)]
    assert [[alarm.kind for alarm in raised] for raised in found] == [[], [], [kind]]
    monitor = AlarmMonitor(AlarmSettings(), num_steps=3)
    assert monitor.after_step(1, healthy()[1]) == monitor.after_step(2, healthy()[2] | TROUBLE[kind]) == []
    assert monitor.after_step(3, healthy()[3] | TROUBLE[kind]) == []


def test_a_reward_that_fails_is_not_said_to_give_no_score_as_well() -> None:
    failing = {"scoring/mine/failure_rate": 1.0, "outcome/mine/error": 16.0}
    assert [alarm.kind for _, alarm in alarms([step | failing for step in healthy()])] == ["reward_failures"]


def test_a_rollouts_file_that_is_not_written_is_not_named() -> None:
    monitor = AlarmMonitor(AlarmSettings(patience=1), rollouts_every=10)
    (early,) = monitor.after_step(9, TROUBLE["truncation"])
    monitor.after_step(10, healthy()[-1])
    (late,) = monitor.after_step(29, TROUBLE["truncation"])
    assert early.message.endswith("Open metrics.jsonl.")
    assert late.message.endswith("Open rollouts/step_000020.jsonl.")


def heldout_alarms(rewards: Sequence[float], figures: Mapping[int, float]) -> list[tuple[int, AlarmRaised]]:
    """The alarms of a run with these training rewards, and held-out figures after some steps."""
    monitor = AlarmMonitor(AlarmSettings())
    found: list[tuple[int, AlarmRaised]] = []
    for step in range(len(rewards) + 1):
        if step:
            found += [(step, alarm) for alarm in monitor.after_step(step, {"reward/mean": rewards[step - 1]})]
        if step in figures:
            found += [(step, alarm) for alarm in monitor.heldout(step, "sums", figures[step])]
    return found


RISING = [0.02 * step for step in range(1, 41)]


def test_a_held_out_figure_that_falls_while_the_reward_rises_is_an_alarm() -> None:
    ((step, alarm),) = heldout_alarms(RISING, {0: 0.2, 10: 0.5, 20: 0.48, 30: 0.4, 40: 0.35})
    assert (step, alarm.kind, alarm.since) == (30, "heldout_fall", 11)
    assert "fell to 40.0% from 50.0% after step 10" in alarm.message
    assert "Open rollouts/step_000030.jsonl and evals/step_000030/sums/samples.jsonl." in alarm.message


def test_a_fall_below_the_untrained_model_counts_too() -> None:
    assert [step for step, _ in heldout_alarms(RISING, {0: 0.5, 20: 0.3, 40: 0.2})] == [20]


def test_a_held_out_figure_that_recovers_and_falls_again_alarms_again() -> None:
    figures = {0: 0.5, 10: 0.3, 20: 0.5, 30: 0.3}
    assert [step for step, _ in heldout_alarms(RISING, figures)] == [10, 30]


def test_a_held_out_figure_that_falls_with_the_reward_or_by_noise_is_no_alarm() -> None:
    falling = RISING[::-1]
    assert heldout_alarms(falling, {0: 0.5, 20: 0.3, 40: 0.2}) == []
    assert heldout_alarms(RISING, {0: 0.5, 20: 0.46, 40: 0.47}) == []


def flat_alarms(figures: Sequence[float], stderr: float, **lengths: int) -> list[tuple[int, str]]:
    """The alarms of evaluations every 10 steps."""
    monitor = AlarmMonitor(AlarmSettings(), evaluate_every=10, **lengths)  # type: ignore[arg-type]
    return [
        (10 * number, alarm.kind)
        for number, figure in enumerate(figures)
        for alarm in monitor.heldout(10 * number, "sums", figure, stderr)
    ]


def test_a_held_out_figure_that_does_not_move_by_more_than_its_noise_is_an_alarm() -> None:
    assert flat_alarms([0.09, 0.12, 0.08, 0.125, 0.1], 0.02) == [(30, "heldout_flat")]
    assert flat_alarms([0.0, 0.0, 0.0, 0.0], 0.0) == [(30, "heldout_flat")]
    assert flat_alarms([0.09, 0.09, 0.25, 0.3, 0.4], 0.02) == []
    assert flat_alarms([0.09, 0.09, 0.125], 0.02, num_steps=20) == [(20, "heldout_flat")], "all of a shorter run"
    assert flat_alarms([0.09, 0.09, 0.25], 0.02, num_steps=20) == []
    assert flat_alarms([0.09, 0.1], 0.02, num_steps=9) == [(10, "heldout_flat")]
    assert flat_alarms([0.09, 0.1], 0.02, num_steps=2) == [], "nobody expects a gain of two steps"


def test_a_held_out_figure_that_falls_back_to_where_it_began_is_told_again() -> None:
    assert flat_alarms([0.1, 0.3, 0.1, 0.1, 0.1], 0.02) == [(40, "heldout_flat")]


@pytest.mark.parametrize("cut", [11, 14, 16, 25])
@pytest.mark.parametrize("kind", TROUBLE)
def test_a_resumed_run_alarms_as_one_that_never_stopped(tmp_path: Path, kind: str, cut: int) -> None:
    trace = troubled(kind, 12, 28)
    directory = RunDirectory.create(
        run_config(run={"steps": 40, "root": str(tmp_path)}), "", environment={}, argv=["train"]
    )
    straight = AlarmMonitor(AlarmSettings())
    for step, metrics in enumerate(trace[:cut], 1):
        directory.append_metrics(step, metrics)
        straight.after_step(step, metrics)
        directory.append_metrics(step, {"heldout/sums": 0.5})
        straight.heldout(step, "sums", 0.5)
    resumed = AlarmMonitor(AlarmSettings()).replay(directory.read_metrics())
    for step, metrics in enumerate(trace[cut:], cut + 1):
        assert resumed.after_step(step, metrics) == straight.after_step(step, metrics)
        assert resumed.heldout(step, "sums", 0.3) == straight.heldout(step, "sums", 0.3)


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([7] * 20, True),
        ([7] * 19 + [0], True),
        ([*range(10), *[1, 2, 3] * 8, 0], True),
        ([*range(40), *[1, 2, 3] * 4], False),
        (list(range(40)), False),
        ([7] * 10, False),
        ([1, 5, 2, 5, 3, 5, 4, 5, 6, 5, 7, 5, 8, 5, 9, 5, 10, 5, 11], False),
        ([*range(30)] * 2, False),
    ],
    ids=[
        "one token",
        "ended",
        "after a start",
        "mostly not",
        "no loop",
        "too short",
        "every other token",
        "said twice",
    ],
)
def test_a_completion_is_repetitive_when_it_ends_in_a_loop(tokens: list[int], expected: bool) -> None:
    assert is_repetitive(tuple(tokens)) == expected


def kl_learner(kl_target: float) -> Learner:
    """A learner whose divergence has a target and whose rate falls."""
    config = run_config(
        algorithm={"preset": "grpo", "kl_coefficient": 0.1, "kl_target": kl_target, "kl_horizon": 10},
        learner={"learning_rate": 0.01, "schedule": "linear"},
    )
    learner: Learner = policy_learner(small_llama(), config, reference=logprob_model(small_llama(seed=1)))
    return learner


def test_a_refused_update_leaves_no_trace_but_its_place_in_the_schedule() -> None:
    kl = kl_learner(1.0).update(training_samples())["policy/kl"]
    disturbed, straight = kl_learner(1.1 * kl), kl_learner(1.1 * kl)
    refused = disturbed.update([replace(sample, advantages_T=1e200) for sample in training_samples(seed=1)])
    assert list(refused) == ["policy/grad_norm"]
    assert math.isnan(refused["policy/grad_norm"])
    after, alone = disturbed.update(training_samples()), straight.update(training_samples())
    assert alone["policy/kl_coefficient"] != 0.1
    assert after["policy/kl_coefficient"] == alone["policy/kl_coefficient"]
    assert after["policy/grad_norm"] == alone["policy/grad_norm"]
    assert (after["policy/learning_rate"], alone["policy/learning_rate"]) == pytest.approx((0.01 * 2 / 3, 0.01))


# Whole runs

RUN = """\
name: one
model: tiny
task: {name: arithmetic, params: {num_problems: 200, min_terms: 2, max_terms: 2}}
template: plain
rewards: [{name: ./reward.py:score, isolated: false}]
algorithm: dr_grpo
rollout: {prompts_per_step: 2, samples_per_prompt: 2, max_new_tokens: 6}
learner: {learning_rate: 1e-4}
run: {steps: 3, checkpoint_every: 1}
alarms: {patience: 1, truncation: off}
"""

REWARD = """
from pathlib import Path
def score(rollout):
    calls = Path("calls")
    number = int(calls.read_text()) if calls.exists() else 0
    calls.write_text(str(number + 1))
    step = number // 4 + 1
    useful = number % 2
    RETURN
"""
"""A reward that knows how many steps of four completions were scored before."""

RUN_DIRECTORY = Path("runs/one")


def go(reward: str, *overrides: str) -> str:
    """Train with a reward of one line and return what was shown."""
    Path("reward.py").write_text(REWARD.replace("RETURN", reward))
    Path("one.yaml").write_text(RUN)
    shown = StringIO()
    view = PlainView(Console(file=shown, width=1000))
    start_run(Path("one.yaml"), overrides, [view], argv=["reasonrl", "train"])
    return shown.getvalue()


def events(kind: str) -> list[dict[str, Any]]:
    """The events of one kind. Any: JSON values."""
    path = RUN_DIRECTORY / "events.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [line for line in lines if line["kind"] == kind]


def manifest() -> dict[str, Any]:
    """The run's manifest. Any: JSON values."""
    found: dict[str, Any] = json.loads((RUN_DIRECTORY / "manifest.json").read_text())
    return found


def rates() -> list[tuple[int, float]]:
    """The learning rate of each step."""
    lines = map(json.loads, (RUN_DIRECTORY / "metrics.jsonl").read_text().splitlines())
    return [(line["step"], line["policy/learning_rate"]) for line in lines if "policy/learning_rate" in line]


@pytest.mark.parametrize(
    ("reward", "override", "kind", "said"),
    [
        ("return None", "seed=0", "no_scores", "gave no score to any completion (4 x unscorable)"),
        ("return 0.5", "seed=0", "no_useful_groups", "every completion has the reward 0.500"),
        ("return useful", "learner.learning_rate=0", "no_learning", "the learning rate is 0"),
        ("return useful", "learner.learning_rate=1e-13", "no_learning", "moves the weights by"),
    ],
)
def test_a_run_that_learns_nothing_says_so_and_why(
    in_folder: Path, reward: str, override: str, kind: str, said: str
) -> None:
    shown = go(reward, override, "alarms.patience=5")
    (line,) = (line for line in shown.splitlines() if f"alarm {kind}" in line)
    assert "after step 3" in line
    assert said in line


def test_a_run_whose_completions_have_no_siblings_says_that_its_reward_is_always_the_same(in_folder: Path) -> None:
    single = ("algorithm=reinforce++", "rollout.samples_per_prompt=1", "rollout.prompts_per_step=4")
    assert "alarm constant_reward after step 2: every completion has the reward 0.500" in go("return 0.5", *single)


FLAT_SUITE = """
from pathlib import Path
from reasonrl import Measurement, Problem, Suite
def never(rollout):
    return Measurement(0.0)
def flat():
    problems = [Problem(id=str(n), task="t", prompt=f"{n} + 1?", answer="2") for n in range(4)]
    return Suite(name="flat", problems=problems, metric=never, template="plain", max_new_tokens=2)
"""


def test_a_run_whose_held_out_figure_does_not_move_says_so(in_folder: Path) -> None:
    Path("suite.py").write_text(FLAT_SUITE)
    shown = go("return useful", "evaluation={suites: [./suite.py:flat], every: 2}", "alarms.heldout_patience=3")
    assert "alarm heldout_flat after step 3: held-out flat has not moved: 0.0%, 0.0% after step 0" in shown


CONSTANT_AFTER_2 = "return useful if step != 2 else 1.0"


def test_a_warning_is_shown_and_kept_and_the_run_goes_on(in_folder: Path) -> None:
    shown = go(CONSTANT_AFTER_2)
    assert "alarm no_useful_groups after step 2: useful groups 0.0%" in shown
    (event,) = events("alarm")
    assert (event["step"], event["message"].split(":")[0]) == (2, "no_useful_groups")
    assert manifest()["status"] == "finished"


def test_a_stop_fails_the_run_with_the_alarm_as_its_cause_and_it_can_be_resumed(in_folder: Path) -> None:
    with pytest.raises(RunError, match=r"alarm no_useful_groups stopped the run after step 2(.|\n)*--resume runs/one"):
        go(CONSTANT_AFTER_2, "alarms.no_useful_groups=stop")
    assert manifest()["status"] == "failed"
    assert "no_useful_groups" in manifest()["cause"]
    assert [path.name for path in (RUN_DIRECTORY / "checkpoints").glob("step_*")] == ["step_000001"]
    assert resume_run(RUN_DIRECTORY, [], []) == "finished"
    assert [step for step, _ in rates()] == [1, 2, 3]


def test_a_roll_back_goes_on_from_before_the_alarm_at_a_lower_rate(in_folder: Path) -> None:
    shown = go(CONSTANT_AFTER_2, "alarms.no_useful_groups=rollback")
    assert "rolled back to the checkpoint of step 1" in shown
    assert rates() == [(1, 1e-4), (2, 5e-5), (3, 5e-5)]
    assert (manifest()["status"], manifest()["rollbacks"]) == ("finished", 1)
    (event,) = events("rolled_back")
    assert "no_useful_groups" in event["message"]
    assert "rollouts/rollback_1_step_000002.jsonl" in event["message"]
    assert (RUN_DIRECTORY / "rollouts" / "rollback_1_step_000002.jsonl").is_file()


def test_a_roll_back_passes_over_checkpoints_from_within_the_trouble(in_folder: Path) -> None:
    shown = go("return useful if step not in (2, 3) else 1.0", "alarms={no_useful_groups: rollback, patience: 2}")
    assert "rolled back to the checkpoint of step 1" in shown
    assert rates() == [(1, 1e-4), (2, 5e-5), (3, 5e-5)]


@pytest.mark.slow
def test_a_roll_back_without_an_earlier_checkpoint_begins_anew(in_folder: Path) -> None:
    shown = go("return useful if step != 1 else 1.0", "alarms.no_useful_groups=rollback")
    assert "rolled back to the start" in shown
    assert rates() == [(1, 5e-5), (2, 5e-5), (3, 5e-5)]
    assert len(events("rolled_back")) == 1


@pytest.mark.slow
def test_a_run_that_was_rolled_back_keeps_its_rate_and_its_event_when_resumed(in_folder: Path) -> None:
    interrupted = "\n    if number == 12: raise KeyboardInterrupt\n    " + CONSTANT_AFTER_2
    go(interrupted, "alarms.no_useful_groups=rollback", "alarms.rollback_rate_factor=0.1")
    assert manifest()["status"] == "interrupted"
    assert resume_run(RUN_DIRECTORY, [], []) == "finished"
    assert rates() == [(1, 1e-4), (2, pytest.approx(1e-5)), (3, pytest.approx(1e-5))]
    assert len(events("rolled_back")) == 1


def test_roll_backs_end_at_their_limit(in_folder: Path) -> None:
    with pytest.raises(RunError, match="rolled back 2 times already"):
        go("return 1.0", "alarms.no_useful_groups=rollback", "alarms.max_rollbacks=2")
    assert (manifest()["status"], manifest()["rollbacks"]) == ("failed", 2)
    assert len(events("rolled_back")) == 2


SUITE = """
from pathlib import Path
from reasonrl import Measurement, Problem, Suite
def right_at_first(rollout):
    seen = Path("measured")
    first = not seen.exists()
    seen.touch()
    return Measurement(float(first))
def worse():
    problem = Problem(id="0", task="t", prompt="1 + 1?", answer="2")
    return Suite(name="worse", problems=[problem], metric=right_at_first, template="plain", max_new_tokens=2)
"""


def test_a_held_out_figure_that_falls_during_a_run_is_told(in_folder: Path) -> None:
    Path("suite.py").write_text(SUITE)
    shown = go("return step + useful", "evaluation={suites: [./suite.py:worse], every: 1}", "alarms.heldout_flat=off")
    assert "alarm heldout_fall after step 2: held-out worse fell to 0.0% from 100.0% after step 0" in shown
    raised = [(event["step"], event["message"].split(":")[0]) for event in events("alarm")]
    assert raised == [(2, "heldout_fall"), (2, "reward_metric_gap")]


OVERFLOWS_AT_2 = "return useful if step != 2 else 1e200 * useful"


def test_a_gradient_that_is_not_finite_stops_the_run_with_finite_weights(in_folder: Path) -> None:
    with pytest.raises(RunError, match="alarm not_finite stopped the run after step 2: policy/grad_norm not finite"):
        go(OVERFLOWS_AT_2)
    assert manifest()["status"] == "failed"
    assert (RUN_DIRECTORY / "rollouts" / "step_000002.jsonl").is_file()


def test_a_gradient_that_is_not_finite_costs_its_update_only_where_that_is_wanted(in_folder: Path) -> None:
    go(OVERFLOWS_AT_2, "alarms.not_finite=warn")
    assert len(events("alarm")) == 1
    assert [step for step, _ in rates()] == [1, 3]
    assert manifest()["status"] == "finished"


def test_a_gradient_that_is_not_finite_can_roll_back(in_folder: Path) -> None:
    go(OVERFLOWS_AT_2, "alarms.not_finite=rollback")
    assert rates() == [(1, 1e-4), (2, 5e-5), (3, 5e-5)]
