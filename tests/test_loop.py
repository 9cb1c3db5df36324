"""The loop learns: on a bandit without a model, and on a small real model."""

from collections.abc import Iterable, Sequence
from time import perf_counter

import pytest
import torch
from builders import (
    WeightlessEngine,
    letter_tokenizer,
    policy_learner,
    problem,
    rollout_sampler,
    run_config,
    scorer,
    small_llama,
)
from hypothesis import given
from hypothesis import strategies as st

from reasonrl.algorithms.advantages import group_centered, group_normalized
from reasonrl.config.settings import RunConfig
from reasonrl.engines import Engine, Request
from reasonrl.engines.local import LocalEngine
from reasonrl.learner.credit import Credit
from reasonrl.loop import Policy, StepComponents, train
from reasonrl.plugins.lookup import named_arguments
from reasonrl.plugins.types import RewardFn
from reasonrl.rollout.order import DataOrder
from reasonrl.run.metrics import step_metrics
from reasonrl.system.timer import PhaseTimer
from reasonrl.types import Rollout, StepRecord, TrainingSample, Trajectory, mean_advantage, sample_seed

PROBLEMS = [problem(f"{number}?", id=str(number)) for number in range(10)]


class Bandit(WeightlessEngine):
    """Engine and learner in one: a single token drawn from five arms."""

    def __init__(self) -> None:
        self.logits = torch.zeros(5, requires_grad=True)

    async def generate(self, request: Request) -> Trajectory:
        logprobs = self.logits.detach().log_softmax(0)
        arm = int(torch.multinomial(logprobs.exp(), 1, generator=torch.Generator().manual_seed(request.seed)))
        return Trajectory.single_turn(
            token_ids=(arm,),
            text=str(arm),
            logprobs=(float(logprobs[arm]),),
            finish_reason="stop",
            policy_version=self.policy_version,
            sample_index=request.sample_index,
            seed=request.seed,
        )

    def update(self, samples: Sequence[TrainingSample]) -> dict[str, float]:
        logprobs = self.logits.log_softmax(0)
        loss = -sum(mean_advantage(s.advantages_T) * logprobs[s.token_ids[0]] for s in samples) / len(samples)
        (gradient,) = torch.autograd.grad(torch.as_tensor(loss), self.logits)
        with torch.no_grad():
            self.logits -= 2.0 * gradient
        self.policy_version += 1
        return {}

    def weights(self) -> Iterable[tuple[str, torch.Tensor]]:
        return [("logits", self.logits)]


def arm_three(rollout: Rollout) -> float:
    return float(rollout.text == "3")


def trained(
    config: RunConfig, engine: Engine, learner: Policy, rewarded: RewardFn, advantage: object
) -> list[StepRecord]:
    """The records of 25 steps."""
    records, timer = list[StepRecord](), PhaseTimer()
    credit = Credit(estimator=named_arguments(advantage))  # type: ignore[arg-type]  # an estimator of any arguments
    batches = rollout_sampler(config, engine, scorer(rewarded), DataOrder(PROBLEMS, 0)).batches(range(1, 26))
    parts = StepComponents(credit=credit, learner=learner, engine=engine, timer=timer)
    train(batches, parts, records.append)
    return records


def rewards(records: Sequence[StepRecord]) -> list[float]:
    """The mean reward of each step."""
    return [step_metrics(record)["reward/mean"] for record in records]


@pytest.mark.parametrize("advantage", [group_centered, group_normalized])
def test_a_bandit_finds_its_best_arm(advantage: object) -> None:
    bandit = Bandit()
    config = run_config(rollout={"prompts_per_step": 8, "samples_per_prompt": 8})
    records = trained(config, bandit, bandit, arm_three, advantage)
    assert rewards(records)[0] < 0.4
    assert rewards(records)[-1] > 0.9
    assert [record.step for record in records] == list(range(1, 26))
    assert [record.policy_version for record in records] == list(range(25))


def test_a_small_model_learns_to_say_what_is_rewarded() -> None:
    config = run_config(
        rollout={"prompts_per_step": 4, "samples_per_prompt": 8, "max_new_tokens": 8},
        learner={"learning_rate": 0.01},
        run={"steps": 25},
    )
    model = small_llama(layers=1)
    engine = LocalEngine(model, letter_tokenizer())
    records = trained(
        config, engine, policy_learner(model, config), lambda rollout: rollout.text.count("7") / 8, group_normalized
    )
    assert rewards(records)[-1] > rewards(records)[0] + 0.4
    assert all(record.measured.get("mismatch/max", 0.0) < 1e-3 for record in records)
    assert 0 < engine.policy_version <= 25


def test_the_phases_of_a_step_add_up_to_it() -> None:
    bandit = Bandit()
    config = run_config(rollout={"prompts_per_step": 2, "samples_per_prompt": 2})
    began = perf_counter()
    records = trained(config, bandit, bandit, arm_three, group_centered)
    assert 0 < sum(sum(record.seconds.values()) for record in records) <= perf_counter() - began
    for record in records:
        assert record.seconds.keys() == {"waiting", "learning", "weight_sync"}
        assert step_metrics(record)["seconds/step"] == pytest.approx(sum(record.seconds.values()))


@given(seed=st.integers(0, 99), first=st.integers(0, 200), count=st.integers(1, 30))
def test_data_order_is_a_function_of_seed_and_position(seed: int, first: int, count: int) -> None:
    whole = DataOrder(PROBLEMS, seed).at(0, first + count)
    assert DataOrder(PROBLEMS, seed).at(first, count) == whole[first:]


@given(seed=st.integers(0, 99))
def test_every_epoch_has_every_problem_once(seed: int) -> None:
    order = DataOrder(PROBLEMS, seed)
    for epoch in range(3):
        assert {p.id for p in order.at(10 * epoch, 10)} == {p.id for p in PROBLEMS}


def test_two_epochs_have_different_orders() -> None:
    order = DataOrder(PROBLEMS, 0)
    assert order.at(0, 10) != order.at(10, 10)


def test_sampling_seeds_differ_by_run_step_problem_and_sample() -> None:
    seeds = {sample_seed(r, s, p, i) for r in range(3) for s in range(3) for p in ("a", "b") for i in range(4)}
    assert len(seeds) == 72
    assert all(0 <= seed < 2**63 for seed in seeds)
