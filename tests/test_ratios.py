"""Ratios whose exponent would overflow: losses, divergences, weights and objectives stay finite at their limits."""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from builders import training_sample
from gradients import METHODS, Step, even_llama, exact_logprobs, gradient
from test_critic import critic_learner, random_samples, value_model
from test_reward_model_objectives import bradley_terry, classifier, outcome, recorded, samples
from torch import Tensor, nn

from reasonrl.algorithms.divergence import DIVERGENCE_LOSSES, k1, k2, k3
from reasonrl.algorithms.importance import IMPORTANCE
from reasonrl.algorithms.losses import LOSSES
from reasonrl.algorithms.ratios import MAX_LOG_RATIO, ratio
from reasonrl.config.settings import AlgorithmSettings
from reasonrl.plugins.lookup import named_arguments
from reasonrl.preference.objectives import LabelSample

FAR = 1e4
CAP = math.exp(MAX_LOG_RATIO)
"""What a ratio of ``exp(1e4)`` is."""

LIMITS: Mapping[str, tuple[dict[str, Any], dict[tuple[float, float], float]]] = {
    "policy_gradient": ({}, {(FAR, 1): -CAP, (FAR, -1): CAP, (-FAR, 1): 0.0, (-FAR, -1): 0.0}),
    "clipped_surrogate": (
        {"clip_low": 0.2, "clip_high": 0.3},
        {(FAR, 1): -1.3, (FAR, -1): CAP, (-FAR, 1): 0.0, (-FAR, -1): 0.8},
    ),
    "gspo": (
        {"clip_low": 0.2, "clip_high": 0.3},
        {(FAR, 1): -1.3, (FAR, -1): CAP, (-FAR, 1): 0.0, (-FAR, -1): 0.8},
    ),
    "cispo": ({"ratio_cap": 5.0}, {(FAR, 1): -5.0 * FAR, (FAR, -1): 5.0 * FAR, (-FAR, 1): 0.0, (-FAR, -1): 0.0}),
    "gmpo": (
        {"log_clip_low": 0.4, "log_clip_high": 0.4},
        {(FAR, 1): -math.exp(0.4), (FAR, -1): CAP, (-FAR, 1): 0.0, (-FAR, -1): math.exp(-0.4)},
    ),
    "sapo": (
        {"temperature_positive": 1.0, "temperature_negative": 2.0},
        {(FAR, 1): -4.0, (FAR, -1): 2.0, (-FAR, 1): -4 / (1 + math.e), (-FAR, -1): 2 / (1 + math.exp(2))},
    ),
    "dppo_tv": (
        {"threshold_low": 0.2, "threshold_high": 0.2},
        {(FAR, 1): 0.0, (FAR, -1): 20.0 * FAR, (-FAR, 1): 0.0, (-FAR, -1): 0.0},
    ),
    # The divergence of a probability above 1 is none.
    "dppo_kl": (
        {"threshold_low": 0.2, "threshold_high": 0.2},
        {(FAR, 1): -20.0 * FAR, (FAR, -1): 20.0 * FAR, (-FAR, 1): 0.0, (-FAR, -1): 0.0},
    ),
}
"""Of each loss: its parameters, and its value by log-ratio and advantage. Any: parameters. A loss that is new has to be
added here."""


def losses_and_slopes(
    loss: Callable[..., Tensor], log_ratios: list[float], advantages: list[float], **params: Any
) -> Any:
    """Loss and gradient of rows of one token each, of which old policy and sampler are certain. Any: two lists."""
    logprobs_M = torch.tensor(log_ratios).requires_grad_()
    losses_M = named_arguments(loss)(
        logprobs_M=logprobs_M,
        old_logprobs_M=torch.zeros(len(log_ratios)),
        sampler_logprobs_M=torch.zeros(len(log_ratios)),
        advantages_M=torch.tensor(advantages),
        lengths_N=torch.ones(len(log_ratios), dtype=torch.long),
        **params,
    )
    (slopes_M,) = torch.autograd.grad(losses_M.sum(), logprobs_M)
    return losses_M.tolist(), slopes_M.tolist()


def test_every_loss_has_its_limits_written_down() -> None:
    assert LIMITS.keys() == LOSSES.keys()


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_and_its_gradient_are_finite_at_their_limits_beside_ordinary_tokens(name: str) -> None:
    params, limits = LIMITS[name]
    ordinary = losses_and_slopes(LOSSES[name], [0.1], [1.0], **params)
    pairs = [*limits, (FAR, 0.0), (-FAR, 0.0), (0.1, 1.0)]
    losses, slopes = losses_and_slopes(LOSSES[name], *map(list, zip(*pairs, strict=True)), **params)
    assert losses[: len(limits)] == pytest.approx(list(limits.values()))
    assert all(map(math.isfinite, slopes))
    assert (losses[-3:-1], slopes[-3:-1]) == ([0.0, 0.0], [0.0, 0.0]), "an advantage of 0 teaches nothing"
    assert (losses[-1:], slopes[-1:]) == ordinary


def test_a_bad_token_that_became_far_too_likely_is_still_pushed_back_unless_it_is_clipped() -> None:
    params, _ = LIMITS["clipped_surrogate"]
    _, slopes = losses_and_slopes(LOSSES["clipped_surrogate"], [FAR, FAR], [-1.0, 1.0], **params)
    assert slopes == pytest.approx([CAP, 0.0])
    losses, slopes = losses_and_slopes(LOSSES["clipped_surrogate"], [FAR], [-1.0], **params, dual_clip=3.0)
    assert (losses, slopes) == ([3.0], [0.0])


def test_a_long_row_with_one_token_far_off_is_finite_under_a_ratio_of_sequences() -> None:
    logprobs_M = torch.tensor([FAR, *[0.0] * 9, 0.1, 0.2]).requires_grad_()
    losses_M = LOSSES["gspo"](
        logprobs_M, torch.zeros(12), -torch.ones(12), torch.tensor([10, 2]), clip_low=0.2, clip_high=0.3
    )
    (slopes_M,) = torch.autograd.grad(losses_M.sum(), logprobs_M)
    assert torch.isfinite(losses_M).all()
    assert torch.isfinite(slopes_M).all()


def on_policy(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A divergence loss where the policy has not moved since it drew the tokens."""
    return lambda logprobs_M, reference_logprobs_M: loss(logprobs_M, reference_logprobs_M, logprobs_M.detach())


def far_off(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A divergence loss where the policy that drew the tokens is as far as the reference."""
    return lambda logprobs_M, reference_logprobs_M: loss(logprobs_M, reference_logprobs_M, reference_logprobs_M)


ON_POLICY, FAR_OFF = ({name: kind(loss) for name, loss in DIVERGENCE_LOSSES.items()} for kind in (on_policy, far_off))


@pytest.mark.parametrize("estimate", [k1, k2, k3, *ON_POLICY.values(), *FAR_OFF.values()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_divergence_and_its_gradient_are_finite_far_from_the_reference(
    estimate: Callable[..., Tensor], dtype: torch.dtype
) -> None:
    logprobs_M = torch.tensor([FAR, -FAR, 0.3], dtype=dtype).requires_grad_()
    values_M = estimate(logprobs_M, torch.zeros(3, dtype=dtype))
    (slopes_M,) = torch.autograd.grad(values_M.sum(), logprobs_M)
    assert torch.isfinite(values_M).all()
    assert torch.isfinite(slopes_M).all()
    if estimate not in (k1, ON_POLICY["k1"], *FAR_OFF.values()):
        assert values_M.min() > 0, "a divergence that cannot be negative"
    if estimate is k3:
        assert values_M.tolist()[:2] == pytest.approx([FAR - 1, CAP - 1 + FAR * -1], rel=1e-3)


@pytest.mark.parametrize("kind", IMPORTANCE)
def test_importance_weights_stay_within_their_limits(kind: str) -> None:
    old_M, sampler_M = torch.tensor([0.0, 0.0, 0.0, -math.inf, 0.0]), torch.tensor([-FAR, FAR, -0.1, 0.0, -math.inf])
    weights_M = IMPORTANCE[kind](old_M, sampler_M, torch.ones(5, dtype=torch.long), low=0.0, high=2.0)
    expected = [0.0, 0.0, math.exp(0.1), 0.0, 0.0] if kind == "band" else [2.0, 0.0, math.exp(0.1), 0.0, 2.0]
    assert weights_M.tolist() == pytest.approx(expected)


def test_an_ordinary_ratio_is_that_of_exp_to_the_last_bit_and_so_is_its_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    log_ratios = torch.randn(10_000, generator=generator) * 5
    ordinary = [(log_ratios[log_ratios < MAX_LOG_RATIO]).clone().requires_grad_() for _ in range(2)]
    results = [ratio(ordinary[0]), torch.exp(ordinary[1])]
    slopes = [torch.autograd.grad(out.square().sum(), given) for out, given in zip(results, ordinary, strict=True)]
    assert torch.equal(results[0], results[1])
    assert torch.equal(slopes[0][0], slopes[1][0])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("far", [FAR, -FAR])
def test_an_update_whose_policy_is_far_from_the_one_before_it_and_from_the_sampler_is_finite(
    method: str, far: float
) -> None:
    drafts = [training_sample((3, 4), (6, 7, 8), sign, sampler_logprobs=(-1.0,) * 3) for sign in (1.0, -1.0, 0.0)]
    logprobs = [exact_logprobs(even_llama(), draft).detach() for draft in drafts]
    one_far = torch.tensor([far, 0.0, 0.0])
    said = [tuple((of + one_far).tolist()) for of in logprobs]
    step = Step([replace(draft, sampler_logprobs=of) for draft, of in zip(drafts, said, strict=True)])
    step.old = {sample: of - one_far for sample, of in zip(step.samples, logprobs, strict=True)}
    for importance in {"token", "sequence", "band", "none", METHODS[method].get("importance", "none")}:
        found = gradient(step, {**METHODS[method], "importance": importance})
        assert torch.isfinite(found).all()
        assert torch.isfinite(found.norm())


@torch.no_grad()
def widen(head: nn.Module) -> None:
    """Make the scores of a head thousands."""
    for parameter in head.parameters():
        parameter.mul_(FAR / parameter.abs().mean())


def test_the_objectives_of_reward_models_are_finite_at_scores_of_thousands(tmp_path: Any) -> None:
    even_llama().save_pretrained(tmp_path)
    model = classifier(str(tmp_path))
    widen(model.get_submodule("score"))
    labeled = [LabelSample(prompt=pair.prompt, completion=pair.chosen, label=0.0) for pair in samples()]
    for objective, given in ((bradley_terry(model, centering=0.01), samples()), (outcome(model), labeled)):
        slope, measured = recorded(objective, given)
        assert torch.isfinite(slope).all()
        assert all(map(math.isfinite, measured.values()))


@pytest.mark.parametrize("clip", [0.2, None])
def test_the_critics_objective_is_finite_at_values_of_thousands(clip: float | None) -> None:
    values = value_model()
    widen(values.model.get_submodule("score"))
    measured = critic_learner(values, clip=clip).update(random_samples(6))
    assert all(map(math.isfinite, measured.values()))
    assert all(bool(torch.isfinite(parameter).all()) for parameter in values.model.parameters())


def test_every_kind_of_importance_weight_is_a_setting() -> None:
    for kind in IMPORTANCE:
        assert AlgorithmSettings.model_validate({"preset": "grpo", "importance": kind}).importance == kind
