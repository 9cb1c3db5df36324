"""Control runs: one flag of any run file puts another reward in place of its own, and says so."""

import json
from pathlib import Path
from typing import Any

import pytest
from builders import completion, problem, run_config
from typer.testing import CliRunner

from reasonrl.commands import app
from reasonrl.config.settings import RunConfig
from reasonrl.errors import ConfigError
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.control import with_control
from reasonrl.run.start import fork_run, resume_run, start_run
from reasonrl.types import Rollout
from reasonrl_rewards.chance import random

RUN = """\
name: mine
model: tiny
task: {name: arithmetic, params: {num_problems: 60, min_terms: 2, max_terms: 2}}
template: r1_zero
rewards: [{name: numeric_answer, params: {sources: [answer_tag]}}]
rollout: {prompts_per_step: 2, samples_per_prompt: 4, max_new_tokens: 12}
run: {steps: 2, checkpoint_every: 1}
"""


def control(config: RunConfig, kind: Any) -> RunConfig:
    """The control of a run. Any: its name, right or wrong."""
    return with_control(config, kind, Plugins())


def weights(config: RunConfig) -> dict[str, Any]:
    """The weight of each reward. Any: a number or a schedule."""
    return {reward.key: reward.weight for reward in config.rewards}


def test_random_and_format_are_what_is_learned_from_and_the_run_s_rewards_are_only_measured() -> None:
    config = run_config(template="r1_zero")
    assert weights(control(config, "random")) == {"numeric_answer": 0.0, "control_random": 1.0}
    assert weights(control(config, "format")) == {"numeric_answer": 0.0, "control_r1_format": 1.0}
    assert control(config, "random").name == "test-control-random"
    kept, _ = control(config, "random").rewards
    assert kept.model_copy(update={"weight": 1.0}) == config.rewards[0]


def test_inverted_is_the_negative_of_the_sum_schedules_included() -> None:
    schedule = {"start": 1.0, "end": 0.0, "steps": 5}
    rewards = ["numeric_answer", {"name": "length", "weight": schedule}, {"name": "math", "weight": 0.0}]
    changed = weights(control(run_config(rewards=rewards), "inverted"))
    assert (changed["numeric_answer"], changed["math"]) == (-1.0, 0.0)
    assert [changed["length"].at(step) for step in (1, 3, 5)] == [-1.0, -0.5, 0.0]


@pytest.mark.parametrize(
    ("template", "label", "good", "bad"),
    [
        ("r1_zero", "control_r1_format", "<think>no</think><answer>7</answer>", "<answer>7</answer>"),
        ("boxed", "control_boxed", "It is \\boxed{7}.", "It is 7."),
        ("program", "control_program", "```python\nprint(7)\n```", "print(7)"),
    ],
)
def test_a_format_control_pays_for_the_form_that_the_template_asks_for_whatever_the_answer(
    template: str, label: str, good: str, bad: str
) -> None:
    config = control(run_config(template=template), "format")
    ref = next(reward for reward in config.rewards if reward.key == label)
    function = Plugins().function("rewards", ref, ("rollout",))
    asked = Rollout(problem=problem("p"), prompt="", trajectory=completion())
    assert [function(rollout=_saying(asked, text)).value or 0.0 for text in (good, bad)] == [1.0, 0.0]


def _saying(rollout: Rollout, text: str) -> Rollout:
    from dataclasses import replace

    return replace(rollout, trajectory=replace(rollout.trajectory, text=text))


def test_a_template_that_asks_for_no_form_has_no_format_control() -> None:
    with pytest.raises(ConfigError, match=r"template 'plain' asks for no form.*r1_zero"):
        control(run_config(), "format")


def test_each_task_of_a_mixture_has_the_control_in_place_of_its_own_rewards() -> None:
    tasks = [{"name": "arithmetic", "template": "boxed"}, {"name": "countdown", "rewards": ["countdown"]}]
    config = run_config(task=tasks, template="r1_zero", rewards=["numeric_answer"])
    changed = control(config, "format")
    assert [[reward.key for reward in task.rewards if reward.weight] for task in changed.tasks] == [
        ["control_boxed"],
        ["control_r1_format"],
    ]
    assert {reward.key: reward.weight for reward in control(config, "inverted").all_rewards} == {
        "numeric_answer": -1.0,
        "countdown": -1.0,
    }


def test_a_control_of_a_control_is_refused() -> None:
    with pytest.raises(ConfigError, match="control_random"):
        control(control(run_config(), "random"), "inverted")


def test_a_random_reward_is_drawn_from_the_seed_of_the_completion_alone() -> None:
    rollouts = [Rollout(problem=problem("p"), prompt="", trajectory=completion(seed=seed)) for seed in range(2000)]
    values = [random(rollout, rate=0.3).value or 0.0 for rollout in rollouts]
    assert values == [random(rollout, rate=0.3).value or 0.0 for rollout in rollouts]
    assert sum(values) / len(values) == pytest.approx(0.3, abs=0.04)
    with pytest.raises(ConfigError, match="no share"):
        random(rollouts[0], rate=2)


@pytest.mark.slow
def test_a_control_run_says_what_it_is_and_goes_on_as_that(in_folder: Path) -> None:
    Path("run.yaml").write_text(RUN)
    assert start_run(Path("run.yaml"), [], [], argv=["test"], control="random") == "finished"
    run = Path("runs/mine-control-random")
    assert json.loads((run / "manifest.json").read_text())["control"] == "random"
    resume_run(run, ["run.steps=3"], [])
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    learned = [line for line in lines if "reward/mean" in line]
    assert [line["step"] for line in learned] == [1, 2, 3]
    assert all(line["reward/mean"] == line["reward/control_random"] for line in learned)
    assert all("reward/numeric_answer" in line for line in learned)
    fork_run(f"{run}@2", ["name=fork", "run.steps=1"], [], argv=["test"])
    assert json.loads(Path("runs/fork/manifest.json").read_text())["control"] == "random"


def test_the_flag_is_for_new_runs_and_known_kinds(in_folder: Path) -> None:
    Path("run.yaml").write_text(RUN)
    resumed = CliRunner().invoke(app, ["train", "--resume", "runs/mine", "--control", "random"])
    assert isinstance(resumed.exception, ConfigError)
    assert "--control random is for a new run" in str(resumed.exception)
    assert CliRunner().invoke(app, ["train", "run.yaml", "--control", "chance"]).exit_code == 2
