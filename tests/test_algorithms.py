"""The formulas, against numbers worked by hand and against their definitions."""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reasonrl.algorithms.advantages import group_centered, group_normalized, useful_groups
from reasonrl.algorithms.divergence import k1, k2, k3, k3_loss
from reasonrl.algorithms.losses import clipped_surrogate
from reasonrl.algorithms.reductions import fixed_length, sequence_mean, token_mean

NAN = math.nan
ESTIMATORS = [group_centered, group_normalized]
rewards = st.lists(st.one_of(st.just(NAN), st.floats(-5, 5, width=32)), min_size=2, max_size=8)


def test_centered_advantages_are_rewards_minus_the_mean() -> None:
    got = group_centered(torch.tensor([[1.0, 0.0, 0.0, 1.0], [3.0, 0.0, 0.0, 0.0]]))
    assert got.tolist() == [[0.5, -0.5, -0.5, 0.5], [2.25, -0.75, -0.75, -0.75]]


def test_normalized_advantages_divide_by_the_population_spread() -> None:
    got = group_normalized(torch.tensor([[1.0, 0.0, 0.0, 1.0]]), epsilon=0.0)
    assert got.tolist() == [[1.0, -1.0, -1.0, 1.0]]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_group_without_spread_teaches_exactly_nothing(estimator) -> None:  # type: ignore[no-untyped-def]
    constant = torch.full((1, 7), 0.1)
    assert estimator(constant).eq(0).all()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_single_scored_member_gets_zero_and_not_its_reward(estimator) -> None:  # type: ignore[no-untyped-def]
    assert estimator(torch.tensor([[5.0, NAN, NAN]])).eq(0).all()


def test_a_member_without_a_score_leaves_the_baseline() -> None:
    assert group_centered(torch.tensor([[1.0, 0.0, NAN]])).tolist() == [[0.5, -0.5, 0.0]]


def test_a_group_in_which_nobody_was_scored_gets_zeros() -> None:
    assert group_normalized(torch.tensor([[NAN, NAN]])).tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("estimator", ESTIMATORS)
@given(row=rewards)
def test_advantages_match_a_slow_reference(estimator, row: list[float]) -> None:  # type: ignore[no-untyped-def]
    scored = [value for value in row if not math.isnan(value)]
    got = estimator(torch.tensor([row], dtype=torch.float64))[0].tolist()
    if len(set(scored)) < 2:
        assert got == [0.0] * len(row)
        return
    mean = sum(scored) / len(scored)
    spread = math.sqrt(sum((value - mean) ** 2 for value in scored) / len(scored))
    scale = 1.0 if estimator is group_centered else spread + 1e-6
    expected = [0.0 if math.isnan(value) else (value - mean) / scale for value in row]
    assert got == pytest.approx(expected, abs=1e-9)


@given(row=rewards)
def test_useful_groups_are_those_with_two_different_scores(row: list[float]) -> None:
    scored = {value for value in row if not math.isnan(value)}
    assert bool(useful_groups(torch.tensor([row], dtype=torch.float64))[0]) == (len(scored) > 1)


def test_clipped_surrogate_by_hand() -> None:
    logprobs = torch.tensor([1.5, 1.5, 0.5, 0.5]).log()
    old = torch.zeros(4)
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0])
    got = clipped_surrogate(logprobs, old, advantages, clip_low=0.2, clip_high=0.3)
    # ratio 1.5 is clipped to 1.3 where that is worse (A > 0); ratio 0.5 to 0.8 where that is worse (A < 0).
    assert got.tolist() == pytest.approx([-1.3, 1.5, -0.5, 0.8])


def test_a_clipped_token_has_no_gradient_and_others_have_ratio_times_advantage() -> None:
    logprobs = torch.tensor([1.5, 1.1]).log().requires_grad_()
    clipped_surrogate(logprobs, torch.zeros(2), torch.ones(2), clip_low=0.2, clip_high=0.2).sum().backward()
    assert logprobs.grad is not None
    assert logprobs.grad.tolist() == pytest.approx([0.0, -1.1])


def test_reductions_by_hand() -> None:
    lengths = torch.tensor([1, 3])
    assert token_mean(lengths, max_new_tokens=5).tolist() == pytest.approx([1 / 4, 1 / 4])
    assert sequence_mean(lengths, max_new_tokens=5).tolist() == pytest.approx([1 / 2, 1 / 6])
    assert fixed_length(lengths, max_new_tokens=5).tolist() == pytest.approx([1 / 10, 1 / 10])


def categorical() -> tuple[Tensor, Tensor]:
    """Log-probabilities of a policy (with gradient on its logits) and of a reference."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(5, generator=generator, dtype=torch.float64).requires_grad_()
    return logits, torch.randn(5, generator=generator, dtype=torch.float64).log_softmax(0)


def exact_kl_gradient() -> Tensor:
    logits, reference = categorical()
    logprobs = logits.log_softmax(0)
    return torch.autograd.grad((logprobs.exp() * (logprobs - reference)).sum(), logits)[0]


def expected_gradient(estimate) -> Tensor:  # type: ignore[no-untyped-def]
    """The gradient of the mean of a per-token loss over samples of the policy, in closed form."""
    logits, reference = categorical()
    logprobs = logits.log_softmax(0)
    return torch.autograd.grad((logprobs.exp().detach() * estimate(logprobs, reference)).sum(), logits)[0]


@pytest.mark.parametrize("estimate", [k1, k3])
def test_k1_and_k3_are_unbiased_estimates_of_the_divergence(estimate) -> None:  # type: ignore[no-untyped-def]
    logits, reference = categorical()
    logprobs = logits.log_softmax(0)
    exact = (logprobs.exp() * (logprobs - reference)).sum().item()
    assert (logprobs.exp() * estimate(logprobs, reference)).sum().item() == pytest.approx(exact)


def on_policy_k3_loss(logprobs: Tensor, reference: Tensor) -> Tensor:
    return k3_loss(logprobs, reference, logprobs.detach())


@pytest.mark.parametrize("loss", [k2, on_policy_k3_loss])
def test_divergence_losses_have_the_gradient_of_the_divergence(loss) -> None:  # type: ignore[no-untyped-def]
    assert torch.allclose(expected_gradient(loss), exact_kl_gradient())


def test_plain_k1_in_the_loss_has_no_expected_gradient() -> None:
    assert torch.allclose(expected_gradient(k1), torch.zeros(5, dtype=torch.float64))


def test_plain_k3_in_the_loss_follows_another_direction() -> None:
    assert not torch.allclose(expected_gradient(k3), exact_kl_gradient(), atol=0.05)


@pytest.mark.parametrize("loss", [k2, on_policy_k3_loss])
def test_a_step_on_a_divergence_loss_lowers_the_exact_divergence(loss) -> None:  # type: ignore[no-untyped-def]
    logits, reference = categorical()
    stepped = (logits - 0.1 * expected_gradient(loss)).log_softmax(0)
    before = logits.log_softmax(0)
    kl_before, kl_after = ((p.exp() * (p - reference)).sum().item() for p in (before, stepped))
    assert kl_after < kl_before
