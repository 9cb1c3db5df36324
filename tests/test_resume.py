"""A run that is killed again and again ends exactly as one that was left alone."""

import json
import multiprocessing
import random
import signal
from collections.abc import Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import killing
import pytest
import torch
from builders import untimed
from optimizer_state import optimizer_state
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from reasonrl.run.files.checkpoint import verify

RUN = """\
name: {name}
model: tiny
task: {{name: arithmetic, params: {{num_problems: 60, min_terms: 3, max_terms: 3}}}}
template: plain
rewards: [numeric_answer, {{name: ./noise.py:noise, weight: 0.01, isolated: false}}]
algorithm:
  preset: dapo
  overlong_window: null
  kl_coefficient: 0.05
  kl_estimator: k3
  kl_target: 0.001
  kl_horizon: 64
  entropy_target: 100
  entropy_delta: 0.001
  refill_attempts: 2
rollout: {{prompts_per_step: 2, samples_per_prompt: 4, max_new_tokens: 12}}
learner: {{learning_rate: 3e-4, schedule: cosine, warmup_steps: 2, minibatch_sequences: 4, epochs: 2}}
evaluation:
  suites: [{{name: arithmetic, params: {{num_problems: 8}}, template: plain, max_new_tokens: 16}}]
  every: 18
run: {{steps: 36, checkpoint_every: 3, keep_checkpoints: 20}}
"""
PPO = """\
name: {name}
model: tiny
task: {{name: arithmetic, params: {{num_problems: 60, min_terms: 3, max_terms: 3}}}}
template: plain
rewards: [numeric_answer, {{name: ./noise.py:noise, weight: 0.01, isolated: false}}]
algorithm: {{preset: ppo, kl_coefficient: 0.05, kl_target: 0.001, kl_horizon: 64}}
rollout: {{prompts_per_step: 2, samples_per_prompt: 4, max_new_tokens: 12}}
learner: {{learning_rate: 3e-4, schedule: cosine, warmup_steps: 2, minibatch_sequences: 4, epochs: 2}}
critic: {{learning_rate: 1e-3, pretrain_steps: 4}}
evaluation:
  suites: [{{name: arithmetic, params: {{num_problems: 8}}, template: plain, max_new_tokens: 16}}]
  every: 10
run: {{steps: 20, checkpoint_every: 2, keep_checkpoints: 20}}
"""
MIXTURE = """\
name: {name}
model: tiny
task:
- {{name: arithmetic, label: easy, weight: 2, params: {{num_problems: 12, min_terms: 2, max_terms: 2}}}}
- name: arithmetic
  label: hard
  params: {{num_problems: 10, min_terms: 3, max_terms: 3}}
  max_new_tokens: 16
  rewards: [{{name: numeric_answer, label: right, isolated: false}}]
- {{name: countdown, template: bare, params: {{num_problems: 8}}}}
curriculum: {{half_life: 8}}
template: plain
rewards: [{{name: ./noise.py:noise, isolated: false}}]
algorithm: {{preset: dapo, refill_attempts: 2}}
rollout: {{prompts_per_step: 4, samples_per_prompt: 4, max_new_tokens: 8}}
learner: {{learning_rate: 3e-4, minibatch_sequences: 8}}
evaluation:
  suites: [{{name: arithmetic, params: {{num_problems: 8}}, template: plain, max_new_tokens: 8}}]
  every: 12
run: {{steps: 24, checkpoint_every: 2, keep_checkpoints: 20}}
"""
NOISE = '''\
"""A reward that draws from the process's generators: a resumed run must go on in their streams."""
import random

import numpy as np
import torch


def noise(rollout) -> float:
    return float(random.random() + float(np.random.rand()) + float(torch.rand(())) < 0.9)
'''
IMPORTED = [
    "reasonrl.run.build",
    "reasonrl.run.policy",
    "reasonrl.run.session",
    "reasonrl.engines.local",
    "reasonrl_tasks",
    "reasonrl_evals",
    "reasonrl_rewards.answer",
    "reasonrl_sandbox",
    "scipy.stats",
    "transformers.models.llama.modeling_llama",
]
"""What takes long to import; the server that children are forked from does not find modules of tests."""


def start_child(
    folder: Path, file: str | None, place: str | None = None, count: int = 0, *, ahead: bool = False
) -> ForkServerProcess:
    """Train in a process of its own, forked from one that has imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    process = context.Process(target=killing.train, args=(folder, file, place, count), kwargs={"ahead": ahead})
    process.start()
    return process


def run_child(folder: Path, file: str | None, place: str | None = None, count: int = 0, *, ahead: bool = False) -> int:
    """Train in a process of its own to its end; return its exit code."""
    process = start_child(folder, file, place, count, ahead=ahead)
    process.join(timeout=300)
    assert process.exitcode is not None, "the run hangs"
    return process.exitcode


def records(run: Path) -> dict[str, Any]:
    """Everything a run wrote but times. Any: JSON values."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    metrics = [untimed(line) for line in lines]
    texts = {str(path.relative_to(run)): path.read_text() for path in run.glob("rollouts/*")}
    texts |= {str(path.relative_to(run)): path.read_text() for path in run.glob("evals/*/*/samples.jsonl")}
    return {"metrics": metrics, "texts": texts}


def state(run: Path, step: int) -> dict[str, Any]:
    """All that a checkpoint holds: parameters, optimizer, controller, generators. Any: tensors and numbers."""
    folder = run / "checkpoints" / f"step_{step:06d}"
    parameters = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    learner, rng = (torch.load(folder / name, weights_only=True) for name in ("learner.pt", "rng.pt"))
    found = {"parameters": parameters, "learner": learner, "rng": rng, "position": verify(folder).position}
    found["optimizer"] = optimizer_state(folder)
    if (folder / "order.json").is_file():
        found["order"] = json.loads((folder / "order.json").read_text())
    if (folder / "critic").is_dir():
        found["critic"] = AutoModelForSequenceClassification.from_pretrained(folder / "critic").state_dict()
        found["critic learner"] = torch.load(folder / "critic" / "learner.pt", weights_only=True)
        found["critic optimizer"] = optimizer_state(folder / "critic")
    return found


def identical(one: Any, other: Any) -> bool:
    """Compare to the last bit. Any: what a checkpoint holds."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(identical(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(identical, one, other))
    return bool(one == other)


SHORT = """\
name: {name}
model: tiny
task: {{name: arithmetic, params: {{num_problems: 60, min_terms: 3, max_terms: 3}}}}
template: plain
rewards:
- {{name: numeric_answer, isolated: false}}
- {{name: ./noise.py:noise, weight: 0.01, isolated: false}}
rollout: {{prompts_per_step: 2, samples_per_prompt: 4, max_new_tokens: 12}}
learner: {{learning_rate: 3e-4}}
evaluation: {{suites: [./suite.py:first, ./suite.py:second], every: 2}}
run: {{steps: 4, checkpoint_every: 2}}
"""
SUITES = """
import random
from functools import partial
from reasonrl import Measurement, Suite

async def draw(rollout):
    random.random()  # in this process, where training draws too
    return Measurement(len(rollout.text) % 2)

def suite(name, *, load):
    problems = load("arithmetic", num_problems=6)
    return Suite(name=name, problems=problems, metric=draw, template="plain", max_new_tokens=12)

def first(*, load):
    return suite("first", load=load)

def second(*, load):
    return suite("second", load=load)
"""


@pytest.mark.slow
def test_a_run_that_is_killed_around_its_evaluations_ends_as_one_that_was_left_alone(tmp_path: Path) -> None:
    (tmp_path / "noise.py").write_text(NOISE)
    (tmp_path / "suite.py").write_text(SUITES)
    for name in ("straight", "killed"):
        (tmp_path / f"{name}.yaml").write_text(SHORT.format(name=name))
    straight, killed = tmp_path / "runs" / "straight", tmp_path / "runs" / "killed"
    assert run_child(tmp_path, "straight.yaml") == 0
    # After step 2: between its checkpoint and its evaluation, then between the two suites; then within step 4.
    assert run_child(tmp_path, "killed.yaml", "evaluation begun", 3) == -signal.SIGKILL
    assert (killed / "checkpoints" / "step_000002").is_dir()
    assert run_child(tmp_path, None, "evaluation not written", 2) == -signal.SIGKILL
    assert [path.name for path in (killed / "evals" / "step_000002").glob("*/results.json")] == ["results.json"]
    assert run_child(tmp_path, None, "rollouts", 2) == -signal.SIGKILL
    assert run_child(tmp_path, None, "evaluation begun", 1) == -signal.SIGKILL
    assert run_child(tmp_path, None) == 0
    assert records(killed) == records(straight)
    assert len(records(killed)["texts"]) == 4 + 3 * 2
    assert identical(state(killed, 4), state(straight, 4))


def killed_and_straight(
    folder: Path, text: str, num_kills: int, places: Sequence[str], *, ahead: bool = False
) -> tuple[Path, Path]:
    """Train a run twice, once with so many kills at these places in turn; return both directories."""
    (folder / "noise.py").write_text(NOISE)
    for name in ("straight", "killed"):
        (folder / f"{name}.yaml").write_text(text.format(name=name))
    assert run_child(folder, "straight.yaml", ahead=ahead) == 0
    chance, kills = random.Random(0), 0
    while kills < num_kills:
        place = places[kills % len(places)]
        longest = {"sampling": 60, "update": 8, "refill": 3, "evaluation begun": 1, "evaluation not written": 1}.get(
            place, 2
        )
        file = None if (folder / "runs" / "killed" / "manifest.json").exists() else "killed.yaml"
        code = run_child(folder, file, place, chance.randint(1, longest), ahead=ahead)
        assert code == -signal.SIGKILL, f"the run ended before it was killed at {place!r}: exit code {code}"
        kills += 1
    assert run_child(folder, None, ahead=ahead) == 0
    killed, straight = folder / "runs" / "killed", folder / "runs" / "straight"
    assert json.loads((killed / "manifest.json").read_text())["attempts"] == num_kills + 1
    return killed, straight


@pytest.mark.slow
@pytest.mark.parametrize(("ahead", "kills"), [(False, 20), (True, 13)], ids=["in step", "sampling ahead"])
def test_twenty_kills_leave_no_trace(tmp_path: Path, ahead: bool, kills: int) -> None:
    places = [place for place in killing.OF_POLICIES if ahead or "pending" not in place]
    assert kills >= len(places)
    killed, straight = killed_and_straight(tmp_path, RUN, kills, places, ahead=ahead)
    assert records(killed) == records(straight)
    assert identical(state(killed, 36), state(straight, 36))
    assert any(line.get("groups/discarded") for line in records(straight)["metrics"]), "no step was refilled"


@pytest.mark.slow
def test_kills_leave_no_trace_in_a_policy_with_a_critic(tmp_path: Path) -> None:
    places = ["update", "metrics", "checkpoint begun", "checkpoint half written", "checkpoint not published"]
    killed, straight = killed_and_straight(tmp_path, PPO, len(places), places)
    assert records(killed) == records(straight)
    assert identical(state(killed, 20), state(straight, 20))
    lines = records(straight)["metrics"]
    assert [line["step"] for line in lines if "value/loss" in line and "policy/loss" not in line] == [1, 2, 3, 4]
    assert state(straight, 20)["critic"]["score.weight"].any()


@pytest.mark.slow
@pytest.mark.parametrize("ahead", [False, True], ids=["in step", "sampling ahead"])
def test_kills_leave_no_trace_in_a_mixture_with_a_curriculum(tmp_path: Path, ahead: bool) -> None:
    at_checkpoints = ["checkpoint not sealed", "checkpoint without the pending batch" if ahead else "checkpoint begun"]
    places = ["sampling", "refill", "rollouts", *at_checkpoints]
    killed, straight = killed_and_straight(tmp_path, MIXTURE, len(places), places, ahead=ahead)
    assert records(killed) == records(straight)
    assert identical(state(killed, 24), state(straight, 24))
    assert state(straight, 24)["order"]["tasks"].keys() == {"easy", "hard", "countdown"}
    lines = [line for line in records(straight)["metrics"] if "curriculum/passed_over" in line]
    assert sum(line["curriculum/passed_over"] for line in lines) > 0, "nothing was ever passed over"
    assert any(line["groups/discarded"] for line in lines), "no step was refilled"
