"""The divergence from the initial policy: every estimator pulls the way of KL(policy || reference), exactly.

Peers maximize it (Logic-RL issue 58), reverse it (rlhf-book's k1 and k3), or follow KL(reference || policy) (plain
k3 in the loss). Here the policy is a real model that says one token out of twelve, so that expectations are sums.
The bare formulas are in ``test_algorithms.py``.
"""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

import copy
import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest
import torch
from builders import (
    LateScorer,
    batch,
    completion,
    letter_tokenizer,
    logprob_model,
    policy_learner,
    problem,
    run_config,
    small_llama,
    training_sample,
)
from gradients import Recorder, exact_logprobs, flat_gradient, relative_error
from torch import Tensor
from transformers import PreTrainedModel

from reasonrl.algorithms.advantages import ADVANTAGES
from reasonrl.algorithms.divergence import DIVERGENCE_LOSSES
from reasonrl.config.settings import RunConfig
from reasonrl.engines import Request, SamplingParams
from reasonrl.engines.batch import sample_all
from reasonrl.engines.local import LocalEngine
from reasonrl.learner import Learner
from reasonrl.learner.controller import KLController
from reasonrl.learner.credit import Credit
from reasonrl.learner.penalty import KLPenalty
from reasonrl.plugins.lookup import named_arguments
from reasonrl.types import Batch, Group, RewardResult, RewardResults, Score, TrainingSample, Trajectory, mean_advantage

TOKENS = 12
PROMPT = (3, 4, 5)
TEMPERATURE = 0.8
COEFFICIENT = 0.25


def policy(seed: int = 0) -> PreTrainedModel:
    """A model with twelve tokens; other seeds are other distributions."""
    return small_llama(seed=seed, vocab_size=TOKENS)


def next_logprobs(model: PreTrainedModel) -> Tensor:
    """The exact distribution [V] of the token after the prompt, under the temperature."""
    return (model(input_ids=torch.tensor([PROMPT])).logits[0, -1] / TEMPERATURE).log_softmax(0)


def exact_kl(model: PreTrainedModel, reference: PreTrainedModel) -> Tensor:
    """KL(policy || reference), a sum over all tokens."""
    logprobs, reference_logprobs = next_logprobs(model), next_logprobs(reference).detach()
    return (logprobs.exp() * (logprobs - reference_logprobs)).sum()


def exact_gradient(model: PreTrainedModel, reference: PreTrainedModel) -> Tensor:
    model.zero_grad(set_to_none=True)
    torch.autograd.backward(exact_kl(model, reference))
    slope = flat_gradient(model)
    model.zero_grad(set_to_none=True)
    return slope


def config(**changes: Any) -> RunConfig:
    """A run of one-token completions. Any: settings of the algorithm."""
    rollout = {
        "prompts_per_step": 1,
        "samples_per_prompt": 2,
        "max_new_tokens": 1,
        "temperature": TEMPERATURE,
    }
    algorithm = {"preset": "rloo", "kl_coefficient": COEFFICIENT, **changes}
    return run_config(algorithm=algorithm, rollout=rollout, learner={"learning_rate": 0.003})


def learner(
    model: PreTrainedModel, reference: PreTrainedModel | None, settings: RunConfig, kind: type[Learner] = Learner
) -> Any:
    """A learner whose loss has the divergence. Any: of the kind asked for."""
    initial = None if reference is None else logprob_model(reference, TEMPERATURE)
    return policy_learner(model, settings, reference=initial, kind=kind)


def said(token: int, model: PreTrainedModel, index: int = 0) -> Trajectory:
    """A completion of one token with the sampler's exact log-probability."""
    return completion(tokens=[token], logprobs=(next_logprobs(model)[token].item(),), index=index)


def sample(token: int, model: PreTrainedModel, advantage: float = 0.0) -> TrainingSample:
    drawn = said(token, model)
    return training_sample(PROMPT, drawn.token_ids, advantage, sampler_logprobs=drawn.logprobs)


# In the loss.


@pytest.mark.parametrize("estimator", DIVERGENCE_LOSSES)
def test_the_expected_gradient_of_a_divergence_loss_is_that_of_the_divergence(estimator: str) -> None:
    model, reference = policy(0), policy(1)
    subject = learner(model, reference, config(kl_estimator=estimator, kl_in="loss"), Recorder)
    expected = torch.zeros_like(exact_gradient(model, reference))
    for token, probability in enumerate(next_logprobs(model).exp().tolist()):
        subject.update([sample(token, model)])
        expected += probability * subject.gradient
    assert relative_error(expected, COEFFICIENT * exact_gradient(model, reference)) < 1e-5


def test_the_divergence_that_is_reported_is_an_unbiased_estimate_of_it() -> None:
    model, reference = policy(0), policy(1)
    subject = learner(model, reference, config(kl_estimator="k2", kl_in="loss"), Recorder)
    probabilities = next_logprobs(model).exp().tolist()
    reported = [subject.update([sample(token, model)])["policy/kl"] for token in range(TOKENS)]
    mean = sum(p * value for p, value in zip(probabilities, reported, strict=True))
    assert mean == pytest.approx(exact_kl(model, reference).item(), rel=1e-4)
    assert min(reported) >= 0


def completions(
    model: PreTrainedModel, prompt: tuple[int, ...], seeds: Sequence[int], max_new_tokens: int
) -> tuple[Trajectory, ...]:
    """Completions of a prompt, sampled from the policy under the temperature."""
    params = SamplingParams(max_new_tokens=max_new_tokens, temperature=TEMPERATURE)
    requests = [Request(prompt_ids=prompt, seed=seed, params=params) for seed in seeds]
    return tuple(sample_all(LocalEngine(model, letter_tokenizer()), requests))


def drawn(model: PreTrainedModel, count: int, seed: int) -> tuple[Trajectory, ...]:
    """Tokens sampled from the policy."""
    return completions(model, PROMPT, range(seed * count, (seed + 1) * count), 1)


@pytest.mark.parametrize("estimator", DIVERGENCE_LOSSES)
def test_steps_on_a_divergence_loss_lower_the_exact_divergence(estimator: str) -> None:
    model, reference = policy(0), policy(1)
    subject = learner(model, reference, config(kl_estimator=estimator, kl_in="loss"))
    before = exact_kl(model, reference).item()
    for step in range(4):
        subject.update([sample(c.token_ids[0], model) for c in drawn(model, 64, step)])
    assert exact_kl(model, reference).item() < 0.9 * before


# In the reward.


class Flat(LateScorer):
    """Rewards every completion alike: what moves the policy is the penalty alone."""

    def score(self, groups: Sequence[Group], step: int) -> tuple[RewardResults, ...]:
        result = RewardResult(total=Score(1.0), rewards={"flat": Score(1.0)})
        return tuple(tuple(result for _ in group.trajectories) for group in groups)


def penalized(members: Sequence[Sequence[Trajectory]], reference: PreTrainedModel, controller: KLController) -> Batch:
    """Groups, scored as a run with the divergence in the reward scores them."""
    groups = [
        Group(problem=problem(), prompt="", prompt_ids=PROMPT, trajectories=tuple(completions))
        for completions in members
    ]
    initial = logprob_model(reference, TEMPERATURE)
    penalty = KLPenalty(reference=initial, controller=controller, microbatch_tokens=400)
    return batch(groups, penalty(groups, Flat().score(groups, 1)))


def credited(scored: Batch, settings: RunConfig) -> list[TrainingSample]:
    credit = Credit(estimator=named_arguments(ADVANTAGES[settings.algorithm.advantage.name]))
    return credit.samples(scored, credit.estimate(scored))


def test_the_expected_gradient_of_the_penalty_in_the_reward_is_that_of_the_divergence() -> None:
    """Over all pairs of completions that a leave-one-out baseline may compare (rloo's preset)."""
    model, reference, settings = policy(0), policy(1), config()
    subject, slopes = learner(model, None, settings, Recorder), []
    for token in range(TOKENS):  # the policy loss is linear in the advantage: 12 gradients serve all 144 pairs
        subject.update([sample(token, model, advantage=1.0)])
        slopes.append(subject.gradient)
    sayings, logprobs = [said(token, model) for token in range(TOKENS)], next_logprobs(model).tolist()
    pairs = list(product(range(TOKENS), repeat=2))
    scored = penalized([[sayings[a], sayings[b]] for a, b in pairs], reference, KLController(settings.algorithm))
    samples = iter(credited(scored, settings))
    expected = torch.zeros_like(slopes[0])
    for a, b in pairs:
        for one in (next(samples), next(samples)):
            expected += (
                math.exp(logprobs[a] + logprobs[b]) * mean_advantage(one.advantages_T) * slopes[one.token_ids[0]] / 2
            )
    assert relative_error(expected, COEFFICIENT * exact_gradient(model, reference)) < 1e-5


def test_steps_on_the_penalty_in_the_reward_lower_the_exact_divergence() -> None:
    model, reference, settings = policy(0), policy(1), config()
    subject, controller = learner(model, None, settings), KLController(settings.algorithm)
    before = exact_kl(model, reference).item()
    for step in range(4):
        subject.update(credited(penalized([drawn(model, 64, step)], reference, controller), settings))
    assert exact_kl(model, reference).item() < 0.9 * before


def test_the_penalty_is_the_sum_of_exact_log_ratios_under_the_temperature() -> None:
    model, reference, settings = small_llama(seed=0), small_llama(seed=1), config()
    groups = [
        Group(
            problem=problem(),
            prompt="",
            prompt_ids=prompt,
            trajectories=completions(model, prompt, seeds, 9),
        )
        for prompt, seeds in [((3, 4, 5, 6), (1, 2, 3)), ((7,), (4, 5))]
    ]
    penalty = KLPenalty(
        reference=logprob_model(reference, TEMPERATURE),
        controller=KLController(settings.algorithm),
        microbatch_tokens=15,
    )
    for group, results in zip(groups, penalty(groups, Flat().score(groups, 1)), strict=True):
        for member, result in zip(group.trajectories, results, strict=True):
            text = TrainingSample.of(group, member)
            ours, theirs = (exact_logprobs(which, text, TEMPERATURE).detach() for which in (model, reference))
            assert result.penalties["kl"] == pytest.approx(COEFFICIENT * (ours - theirs).sum().item(), abs=1e-4)
            assert result.value == pytest.approx(1.0 - result.penalties["kl"])
            assert result.total.value == 1.0


def test_a_member_without_a_score_stays_without_one_under_the_penalty() -> None:
    assert RewardResult(total=Score.unscorable("-"), rewards={}).less("kl", 0.5).value is None


# The coefficient.


def controller(**changes: Any) -> KLController:
    """A controller that starts at 0.1. Any: settings of the algorithm."""
    settings = {"preset": "grpo", "kl_coefficient": 0.1, "kl_target": 0.5, "kl_horizon": 1000, **changes}
    return KLController(run_config(algorithm=settings).algorithm)


@pytest.mark.parametrize(
    ("kl", "expected"),
    [
        (0.55, 0.1 * (1 + 0.1 * 64 / 1000)),  # a tenth above the target
        (0.45, 0.1 * (1 - 0.1 * 64 / 1000)),
        (5.0, 0.1 * (1 + 0.2 * 64 / 1000)),  # never faster than a fifth
        (0.0, 0.1 * (1 - 0.2 * 64 / 1000)),
        (0.5, 0.1),
    ],
)
def test_the_coefficient_follows_the_target_by_hand(kl: float, expected: float) -> None:
    subject = controller()
    subject.observe(kl * 30, 30)
    subject.observe(kl * 10, 10)
    subject.adapt(64)
    assert subject.coefficient == pytest.approx(expected, abs=1e-12)


def test_what_was_observed_is_forgotten_after_a_step() -> None:
    subject = controller()
    subject.observe(100.0, 10)
    subject.adapt(64)
    raised = subject.coefficient
    subject.observe(0.0, 10)
    subject.adapt(64)
    assert subject.coefficient < raised
    lowered = subject.coefficient
    subject.adapt(64)  # a step in which nothing was observed
    assert subject.coefficient == lowered


def test_without_a_target_the_coefficient_stays() -> None:
    subject = controller(kl_target=None)
    subject.observe(100.0, 10)
    subject.adapt(64)
    assert subject.coefficient == 0.1


@pytest.mark.parametrize(("target", "rises"), [(1e-4, True), (1e4, False)])
@pytest.mark.parametrize("place", ["loss", "reward"])
def test_an_adaptive_coefficient_moves_the_right_way_in_a_run(place: str, target: float, rises: bool) -> None:
    model, reference = policy(0), policy(1)
    settings = config(kl_in=place, kl_target=target, kl_horizon=100)
    shared = KLController(settings.algorithm)
    in_loss = logprob_model(reference, TEMPERATURE) if place == "loss" else None
    subject = policy_learner(model, settings, reference=in_loss, controller=shared)
    scored = penalized([drawn(model, 16, 0)], reference, shared if place == "reward" else copy.deepcopy(shared))
    measured = subject.update(credited(scored, settings))
    assert measured["policy/kl_coefficient"] == pytest.approx(COEFFICIENT * (1 + (0.2 if rises else -0.2) * 16 / 100))
