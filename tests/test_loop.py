"""The loop learns: on a bandit without a model, and on a small real model."""

from collections.abc import Iterable, Sequence

import pytest
import torch
from builders import WeightlessEngine, letter_tokenizer, problem, run_config, scorer, small_llama, told
from hypothesis import given
from hypothesis import strategies as st

from reasonrl.algorithms.advantages import group_centered, group_normalized
from reasonrl.algorithms.losses import clipped_surrogate
from reasonrl.engines import Arrived, Request, SamplingParams
from reasonrl.engines.local import LocalEngine
from reasonrl.learner import Learner
from reasonrl.learner.credit import Credit
from reasonrl.loop import Parts, train
from reasonrl.plugins.lookup import installed_plugins, named_arguments
from reasonrl.rollout.sampler import DataOrder, Sampler
from reasonrl.rollout.templates import Renderer
from reasonrl.types import Rollout, StepRecord, TrainingSample, Trajectory, sample_seed

PROBLEMS = [problem(f"{number}?", id=str(number)) for number in range(10)]


class Bandit(WeightlessEngine):
    """Engine and learner in one: a single token drawn from five arms."""

    def __init__(self) -> None:
        self.logits = torch.zeros(5, requires_grad=True)

    def sample(
        self, requests: Sequence[Request], params: SamplingParams, arrived: Arrived | None = None
    ) -> list[tuple[Trajectory, ...]]:
        pulled = [tuple(self._pull(i, seed) for i, seed in enumerate(request.seeds)) for request in requests]
        return told(pulled, arrived)

    def _pull(self, index: int, seed: int) -> Trajectory:
        logprobs = self.logits.detach().log_softmax(0)
        arm = int(torch.multinomial(logprobs.exp(), 1, generator=torch.Generator().manual_seed(seed)))
        return Trajectory.single_turn(
            token_ids=(arm,),
            text=str(arm),
            logprobs=(float(logprobs[arm]),),
            finish_reason="stop",
            policy_version=self.policy_version,
            sample_index=index,
            seed=seed,
        )

    def update(self, samples: Sequence[TrainingSample]) -> dict[str, float]:
        logprobs = self.logits.log_softmax(0)
        loss = -sum(s.advantage * logprobs[s.completion_ids[0]] for s in samples) / len(samples)
        (gradient,) = torch.autograd.grad(torch.as_tensor(loss), self.logits)
        with torch.no_grad():
            self.logits -= 2.0 * gradient
        self.policy_version += 1
        return {}

    def weights(self) -> Iterable[tuple[str, torch.Tensor]]:
        return [("logits", self.logits)]


def arm_three(rollout: Rollout) -> float:
    return float(rollout.text == "3")


@pytest.mark.parametrize("advantage", [group_centered, group_normalized])
def test_a_bandit_finds_its_best_arm(advantage) -> None:  # type: ignore[no-untyped-def]
    bandit, records = Bandit(), list[StepRecord]()
    settings = run_config(rollout={"prompts_per_step": 8, "samples_per_prompt": 8}).rollout
    sampler = Sampler(
        order=DataOrder(PROBLEMS, 0),
        renderer=Renderer(letter_tokenizer(), installed_plugins().template("plain")),
        engine=bandit,
        scorer=scorer(arm_three),
        settings=settings,
        seed=0,
    )
    credit = Credit(estimator=named_arguments(advantage))
    train(sampler.batches(range(1, 26)), Parts(credit=credit, learner=bandit, engine=bandit), records.append)
    assert records[0].metrics["reward/mean"] < 0.4
    assert records[-1].metrics["reward/mean"] > 0.9
    assert [record.step for record in records] == list(range(1, 26))


def test_a_small_model_learns_to_say_what_is_rewarded() -> None:
    config = run_config(
        rollout={"prompts_per_step": 4, "samples_per_prompt": 8, "max_new_tokens": 8},
        learner={"learning_rate": 0.01},
        run={"steps": 25},
    )
    model, tokenizer = small_llama(layers=1), letter_tokenizer()
    engine = LocalEngine(model, tokenizer)
    records: list[StepRecord] = []
    sampler = Sampler(
        order=DataOrder(PROBLEMS, 0),
        renderer=Renderer(tokenizer, installed_plugins().template("plain")),
        engine=engine,
        scorer=scorer(lambda rollout: rollout.text.count("7") / 8),
        settings=config.rollout,
        seed=0,
    )
    parts = Parts(
        credit=Credit(estimator=named_arguments(group_normalized)),
        learner=Learner(model, config, loss=clipped_surrogate),
        engine=engine,
    )
    train(sampler.batches(range(1, 26)), parts, records.append)
    assert records[-1].metrics["reward/mean"] > records[0].metrics["reward/mean"] + 0.4
    assert all(record.metrics["mismatch/max"] < 1e-3 for record in records if "mismatch/max" in record.metrics)
    assert 0 < engine.policy_version <= 25


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
