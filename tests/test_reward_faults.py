"""A reward that fails at random takes nothing from a run but its own scores, and each of these is accounted for."""

import hashlib
import inspect
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
from builders import batch, completion, problem, scorer
from rich.console import Console
from torch import Tensor

from reasonrl.algorithms.advantages import ADVANTAGES
from reasonrl.errors import RunError
from reasonrl.learner.credit import Credit
from reasonrl.plugins.lookup import named_arguments
from reasonrl.plugins.types import RewardFn
from reasonrl.run.files import RunDirectory
from reasonrl.run.start import start_run
from reasonrl.run.terminal import PlainView
from reasonrl.types import Group, Rollout, sample_seed

STEPS = range(1, 6)

RUN = """\
name: {third}
seed: 3
model: tiny
task: {{name: arithmetic, params: {{num_problems: 200, min_terms: 3, max_terms: 3}}}}
template: plain
rewards:
  - numeric_answer
  - {{name: "./rewards.py:brevity", label: brevity, weight: 0.1}}
  - {{name: "./rewards.py:{third}", label: third, weight: 0.5}}
algorithm: dr_grpo
rollout: {{prompts_per_step: 8, samples_per_prompt: 8, max_new_tokens: 12}}
learner: {{learning_rate: 1e-4, minibatch_sequences: 32}}
scoring: {{timeout_s: 1, workers: 2, max_failure_rate: 0.5}}
run: {{steps: 5}}
"""


def fault(rollout_id: str) -> str | None:
    """Say what goes wrong with a rollout: 5 % raise, 1 % hang, 0.5 % kill their process."""
    place = int(hashlib.sha256(rollout_id.encode()).hexdigest()[:12], 16) / 16**12
    return "raises" if place < 0.05 else "hangs" if place < 0.06 else "kills" if place < 0.065 else None


REWARDS = f'''\
"""Rewards, of which one fails at random."""
import hashlib
import os
import signal
import time


{inspect.getsource(fault)}

def brevity(rollout):
    return 1 / (1 + len(rollout.text))


def sound(rollout):
    return float(len(rollout.text) % 3)


def faulty(rollout):
    match fault(rollout.id):
        case "raises":
            raise ZeroDivisionError(f"fault of {{rollout.id}}")
        case "hangs":
            time.sleep(3600)
        case "kills":
            os.kill(os.getpid(), signal.SIGKILL)
    return sound(rollout)
'''

OUTCOMES = {None: "scored", "raises": "error", "hangs": "timeout", "kills": "error"}


class Done:
    """A run with one of the two as its third reward, which has ended."""

    def __init__(self, folder: Path, third: str) -> None:
        (folder / f"{third}.yaml").write_text(RUN.format(third=third))
        view = PlainView(Console(file=StringIO()))
        assert start_run(Path(f"{third}.yaml"), [], [view], argv=["test"]) == "finished"
        self.path = folder / "runs" / third

    def lines(self, file: str) -> list[dict[str, Any]]:
        """Any: JSON values."""
        return [json.loads(line) for line in (self.path / file).read_text().splitlines()]

    def rollouts(self, *steps: int) -> dict[str, dict[str, Any]]:
        """What was sampled, by its id. Any: as above."""
        return {row["id"]: row for step in steps for row in self.lines(f"rollouts/step_{step:06d}.jsonl")}

    def metrics(self) -> dict[int, dict[str, Any]]:
        """What was measured in each step. Any: as above."""
        return {line["step"]: line for line in self.lines("metrics.jsonl") if "reward/mean" in line}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Done]:
    """One run with faults, one with the same reward without them."""
    folder = tmp_path_factory.mktemp("faults")
    (folder / "rewards.py").write_text(REWARDS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return {third: Done(folder, third) for third in ("sound", "faulty")}


@pytest.mark.slow
def test_a_run_goes_on_to_its_end_whatever_a_reward_does(runs: Mapping[str, Done]) -> None:
    faulty = runs["faulty"]
    assert json.loads((faulty.path / "manifest.json").read_text())["status"] == "finished"
    assert [*faulty.metrics()] == [*STEPS]
    assert {fault(id) for id in faulty.rollouts(*STEPS)} == {*OUTCOMES}, "the case needs each of the faults"


@pytest.mark.slow
def test_every_lost_score_is_named_where_it_was_lost(runs: Mapping[str, Done]) -> None:
    for id, row in runs["faulty"].rollouts(*STEPS).items():
        third, what = row["rewards"]["third"], fault(id)
        assert third["outcome"] == OUTCOMES[what]
        assert (third["value"] is None) == (what is not None)
        assert (row["outcome"], row["reward"] is None) == (third["outcome"], what is not None)
        if what is not None:
            assert row["advantage"] == 0
        if what == "raises":
            assert f"fault of {id}" in third["why"]


@pytest.mark.slow
def test_every_lost_score_is_counted_under_its_reward_and_outcome(runs: Mapping[str, Done]) -> None:
    for step, line in runs["faulty"].metrics().items():
        lost = Counter(OUTCOMES[fault(id)] for id in runs["faulty"].rollouts(step))
        del lost["scored"]
        prefix = "outcome/"
        counted = {name.removeprefix(prefix): value for name, value in line.items() if name.startswith(prefix)}
        assert counted == {f"third/{outcome}": count for outcome, count in lost.items()}
        assert line["scoring/third/failure_rate"] == lost.total() / 64
        assert line["scoring/brevity/failure_rate"] == line["scoring/numeric_answer/failure_rate"] == 0


@pytest.mark.slow
def test_the_alarm_names_the_reward_that_fails_and_no_other(runs: Mapping[str, Done]) -> None:
    messages = {
        third: [e["message"] for e in RunDirectory.open(done.path).read_events()] for third, done in runs.items()
    }
    assert any("reward 'third' failed on" in message for message in messages["faulty"])
    assert not any("'brevity'" in message or "'numeric_answer'" in message for message in messages["faulty"])
    assert not any("failed on" in message for message in messages["sound"])


@pytest.mark.slow
def test_other_rewards_and_other_samples_are_as_in_a_run_without_faults(runs: Mapping[str, Done]) -> None:
    """Compared in the first step: the weights, and so the completions, are the same there."""
    sound, faulty = runs["sound"].rollouts(1), runs["faulty"].rollouts(1)
    assert sound.keys() == faulty.keys()
    for id, row in faulty.items():
        assert row["completion"] == sound[id]["completion"]
        kept = ["numeric_answer", "brevity", *([] if fault(id) else ["third"])]
        assert all(row["rewards"][name] == sound[id]["rewards"][name] for name in kept)
        assert fault(id) or row["reward"] == sound[id]["reward"]


@pytest.mark.slow
def test_a_run_in_which_more_is_lost_than_is_allowed_stops_and_names_the_reward(in_folder: Path) -> None:
    Path("rewards.py").write_text(REWARDS)
    Path("faulty.yaml").write_text(RUN.format(third="faulty"))
    changes = ["scoring.max_failure_rate=0.005"]
    with pytest.raises(RunError, match=r"reward 'third' failed on \d+ of 64"):
        start_run(Path("faulty.yaml"), changes, [PlainView(Console(file=StringIO()))], argv=["test"])


# The expected gradient, simulated; tests/test_lost_scores.py has it in full, by adding up all cases.

PAID = (0.0, 0.3, 1.0, 0.6)
"""Reward of each arm."""

POLICY = torch.tensor([0.8, 0.2, -0.5, 0.0], dtype=torch.float64).softmax(0)

GROUPS, MEMBERS = 400, 8


@pytest.fixture(scope="module")
def pulled() -> list[Group]:
    """Groups of arms drawn from the policy."""
    return [pull(number) for number in range(GROUPS)]


def pull(number: int) -> Group:
    arms = torch.multinomial(POLICY, MEMBERS, replacement=True, generator=torch.Generator().manual_seed(number))
    members = tuple(
        completion(str(arm), index=index, seed=sample_seed(0, 1, str(number), index))
        for index, arm in enumerate(arms.tolist())
    )
    return Group(problem=problem(id=str(number)), prompt="", prompt_ids=(1,), trajectories=members)


def gradients(groups: Sequence[Group], reward: RewardFn, estimator: str = "group_centered") -> Tensor:
    """The gradient of each group [P, arms]: the mean of advantage times score function over all its members."""
    scored = batch(groups, scorer(reward, max_failure_rate=1.0).score(groups, 1))
    credit = Credit(estimator=named_arguments(ADVANTAGES[estimator]))
    advantages_PG = torch.tensor(credit.estimate(scored).advantages)
    arms_PG = torch.tensor([[int(member.text) for member in group.trajectories] for group in groups])
    score_functions_PGA = torch.eye(len(PAID), dtype=torch.float64)[arms_PG] - POLICY
    gradients_PA: Tensor = (advantages_PG[..., None] * score_functions_PGA).mean(dim=1)
    return gradients_PA


def deviation(gradients_PA: Tensor) -> Tensor:
    """The mean gradient, in standard errors."""
    standard_errors_A = gradients_PA.std(dim=0) / math.sqrt(len(gradients_PA))
    return gradients_PA.mean(dim=0) / standard_errors_A


def pay(rollout: Rollout) -> float:
    return PAID[int(rollout.text)]


def pay_but_for_faults(rollout: Rollout) -> float:
    if what := fault(rollout.id):
        raise ConnectionError(what)
    return pay(rollout)


def kept(estimator: str) -> float:
    """What the loss of 6.5 % of scores leaves of the length of the expected gradient, from a binomial distribution."""
    chances = [math.comb(MEMBERS, count) * 0.935**count * 0.065 ** (MEMBERS - count) for count in range(MEMBERS + 1)]
    if estimator == "leave_one_out":
        return sum(chance * count for count, chance in enumerate(chances) if count > 1) / MEMBERS
    return sum(chance * max(count - 1, 0) for count, chance in enumerate(chances)) / (MEMBERS - 1)


@pytest.mark.parametrize("estimator", ["group_centered", "leave_one_out"])
def test_the_expected_gradient_is_that_without_faults_but_for_a_known_length(
    pulled: Sequence[Group], estimator: str
) -> None:
    """What is missing is missing in all directions: it acts as a lower learning rate, and on Adam not at all."""
    clean, got = gradients(pulled, pay, estimator), gradients(pulled, pay_but_for_faults, estimator)
    assert deviation(clean).abs().max() > 20, "the case needs a gradient that can be told from noise"
    assert deviation(got - kept(estimator) * clean).abs().max() < 3.5
    assert 0.92 < kept(estimator) < 0.94


def fail_on_one_arm(rollout: Rollout) -> float:
    """Pays all arms alike, but for one in four pulls of the last one: it is long, and the time runs out."""
    if rollout.text == "3" and rollout.completion.seed % 4 == 0:
        raise TimeoutError
    return 1.0


def hide_the_failure(rollout: Rollout) -> float:
    try:
        return fail_on_one_arm(rollout)
    except TimeoutError:
        return 0.0


def test_a_zero_in_place_of_a_lost_score_pushes_the_policy_and_a_loss_does_not(pulled: Sequence[Group]) -> None:
    assert not gradients(pulled, fail_on_one_arm).any()
    assert deviation(gradients(pulled, hide_the_failure))[3] < -10
