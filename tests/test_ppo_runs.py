"""Whole runs with a critic, with single completions, and with rewards for the steps of the reasoning."""

import json
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from statistics import fmean

import pytest
from rich.console import Console

from reasonrl.config.runfile import load_run
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.files.directory import RunDirectory
from reasonrl.run.metric_names import describe
from reasonrl.run.plan import plan_run
from reasonrl.run.start import fork_run, start_run
from reasonrl.run.terminal import PlainView

PPO = """\
name: ppo
model: tiny
task: {name: arithmetic, params: {num_problems: 200, min_terms: 3, max_terms: 3}}
template: r1_zero
rewards: [{name: numeric_answer, isolated: false}]
algorithm: ppo
rollout: {prompts_per_step: 8, samples_per_prompt: 1, max_new_tokens: 60}
critic: {learning_rate: 1e-3, pretrain_steps: 1}
learner: {learning_rate: 5e-4}
run: {steps: 3, checkpoint_every: 2}
"""
EQUATIONS = '''\
import re

from reasonrl import Score, Span

EQUATION = re.compile(r"(\\d+) ([+-]) (\\d+) = (-?\\d+)")


def equations(text):
    """1 for every equation that holds, -1 for every other."""
    return Score.of_spans(map(judged, EQUATION.finditer(text)))


def judged(found):
    first, sign, second, claimed = found.groups()
    right = int(first) + int(second) * (1 if sign == "+" else -1)
    return Span(found.start(), found.end(), 1.0 if right == int(claimed) else -1.0, f"it is {right}")
'''
STEPS = """\
name: steps
model: tiny
task: {name: arithmetic, params: {num_problems: 400, min_terms: 3, max_terms: 4, max_value: 20}}
template: r1_zero
rewards: [{name: numeric_answer, isolated: false}, {name: "./equations.py:equations", label: steps, weight: 0.2}]
algorithm: {preset: grpo, advantage: process_normalized}
rollout: {prompts_per_step: 4, samples_per_prompt: 4, max_new_tokens: 60}
learner: {learning_rate: 5e-4}
run: {steps: 2}
"""


def go(folder: Path, text: str, *overrides: str) -> RunDirectory:
    """Train a run file in the current folder, where its reward is."""
    (folder / "equations.py").write_text(EQUATIONS)
    (folder / "run.yaml").write_text(text)
    start_run(folder / "run.yaml", overrides, [], argv=["test"])
    return RunDirectory.open(folder / "runs" / load_run(folder / "run.yaml", overrides).name)


def column(run: RunDirectory, name: str) -> list[float]:
    """A metric in the order of the steps."""
    return [line[name] for line in run.read_metrics() if name in line]


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_one_completion_a_problem_trains_a_policy_and_its_critic_which_a_fork_takes_over(in_folder: Path) -> None:
    shown = StringIO()
    (in_folder / "run.yaml").write_text(PPO)
    view = PlainView(Console(file=shown, width=200))
    start_run(in_folder / "run.yaml", (), [view], argv=["test"])
    run = RunDirectory.open(in_folder / "runs" / "ppo")
    lines = run.read_metrics()
    assert [("policy/loss" in line, "value/loss" in line) for line in lines] == [
        (False, True),
        (True, True),
        (True, True),
    ]
    assert all("groups/useful" not in line for line in lines)
    assert all(describe(name) for line in lines for name in line if "/" in name)
    assert (run.checkpoints()[3] / "critic" / "model.safetensors").is_file()
    assert "compared with no sibling" in (run.path / "startup.md").read_text()
    assert "learns alone until step 1" in shown.getvalue()
    assert "critic explains" in shown.getvalue()
    assert not any(event["kind"].startswith("alarm") for event in run.read_events())
    fork_run(f"{run.path}@3", ["name=again", "run.steps=2"], [view], argv=["test"])
    assert f"critic  from {run.path}/checkpoints/step_000003/critic" in shown.getvalue().replace("\n", "")


def test_the_plan_counts_the_critic_with_weights_gradients_and_optimizer(in_folder: Path) -> None:
    (in_folder / "run.yaml").write_text(PPO)
    text = plan_run(load_run(in_folder / "run.yaml", ["rollout.prompts_per_step=2"]), Plugins()).text()
    assert "critic 0.01" in text  # 0.9 M parameters, four numbers of four bytes each


def test_steps_of_the_reasoning_reach_their_tokens_and_the_rollout_files(in_folder: Path) -> None:
    run = go(in_folder, STEPS)
    records = [record for step in (1, 2) for record in run.read_rollouts(step)]
    scored = [record for record in records if record.rewards["steps"].spans]
    assert scored
    for record in scored:
        spans = record.rewards["steps"].spans
        assert all("=" in record.completion[span.start : span.end] and span.why for span in spans)
        assert record.rewards["steps"].value == pytest.approx(sum(span.value for span in spans))
        assert isinstance(record.advantage, tuple)
        assert len(set(record.advantage)) <= len(spans) + 1  # it changes where a step ends
    assert any(len(set(record.advantage)) > 1 for record in scored if isinstance(record.advantage, tuple))


def changes(values: Sequence[float]) -> tuple[float, float]:
    return fmean(values[:3]), fmean(values[-3:])


@pytest.mark.slow
def test_a_policy_learns_from_rewards_of_its_steps_and_of_the_outcome(in_folder: Path) -> None:
    run = go(
        in_folder, STEPS, "rollout={prompts_per_step: 8, samples_per_prompt: 8, max_new_tokens: 80}", "run.steps=15"
    )

    def right(step: int) -> float:
        return fmean(
            sum(span.value > 0 for span in record.rewards["steps"].spans) for record in run.read_rollouts(step)
        )

    before, after = changes([right(step) for step in range(1, 16)])
    assert before < 1.3
    assert after > before + 0.4


@pytest.mark.slow
def test_ppo_learns_and_its_critic_foresees_the_reward(in_folder: Path) -> None:
    rollout = "rollout={prompts_per_step: 32, samples_per_prompt: 1, max_new_tokens: 60}"
    run = go(in_folder, PPO, rollout, "run.steps=40", "critic={learning_rate: 3e-3, pretrain_steps: 15}")
    explained = column(run, "value/explained_variance")
    assert fmean(explained[:3]) < 0.05
    assert fmean(explained[10:15]) > 0.08
    before, after = changes(column(run, "reward/mean"))
    assert after > before + 0.2
    assert json.loads((run.path / "manifest.json").read_text())["status"] == "finished"
