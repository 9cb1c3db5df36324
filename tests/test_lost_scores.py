"""What losing scores does to the expected gradient: of a bandit, summed over every group that can be drawn.

Nothing is sampled. A group of G arms is drawn from a softmax, each of its scores is lost with some probability, and the
gradient of every such case is weighed with the probability of the case.
"""

from collections.abc import Callable
from itertools import product
from math import comb

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reasonrl.algorithms.advantages import group_centered, group_normalized, leave_one_out

GROUP = 4
"""Members of a group."""

Estimator = Callable[[Tensor], Tensor]

random_logits = st.lists(st.floats(-1.5, 1.5), min_size=3, max_size=3)
random_rewards = st.lists(st.floats(-2, 2), min_size=3, max_size=3)


def cases(
    estimate: Estimator, logits_K: Tensor, rewards_K: Tensor, lost_K: Tensor, *, replaced_by: float = torch.nan
) -> tuple[Tensor, Tensor]:
    """Every group that a policy over K arms can draw, with every loss of scores: its probability and its gradient.

    Args:
        estimate: from rewards to advantages.
        logits_K: of the policy.
        rewards_K: of each arm.
        lost_K: probability that an arm's score is lost.
        replaced_by: what stands in a lost score's place; NaN is none.
    """
    policy_K, num_arms = logits_K.softmax(0), len(logits_K)
    arms_CG = torch.tensor(list(product(range(num_arms), repeat=GROUP)) * 2**GROUP)
    is_lost_CG = torch.tensor(list(product([False, True], repeat=GROUP))).repeat_interleave(num_arms**GROUP, dim=0)
    chance_CG = policy_K[arms_CG] * torch.where(is_lost_CG, lost_K[arms_CG], 1 - lost_K[arms_CG])
    advantages_CG = estimate(torch.where(is_lost_CG, replaced_by, rewards_K[arms_CG]))
    score_function_CGK = torch.eye(num_arms, dtype=torch.float64)[arms_CG] - policy_K
    return chance_CG.prod(dim=1), (advantages_CG[..., None] * score_function_CGK).mean(dim=1)


def expected_gradient(
    estimate: Estimator, logits_K: Tensor, rewards_K: Tensor, lost_K: Tensor, *, replaced_by: float = torch.nan
) -> Tensor:
    """The mean over all cases."""
    chance_C, gradient_CK = cases(estimate, logits_K, rewards_K, lost_K, replaced_by=replaced_by)
    return chance_C @ gradient_CK


def noise(estimate: Estimator, rewards_K: Tensor, lost_K: Tensor, *, replaced_by: float = torch.nan) -> float:
    """The variance of the gradient, relative to the square of its mean."""
    chance_C, gradient_CK = cases(estimate, LOGITS, rewards_K, lost_K, replaced_by=replaced_by)
    mean_K = chance_C @ gradient_CK
    return float(chance_C @ (gradient_CK - mean_K).square().sum(dim=1) / mean_K.square().sum())


def vector(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


LOGITS = vector(0.5, 0.0, -0.7)


def clean_gradient(estimate: Estimator, logits_K: Tensor, rewards_K: Tensor) -> Tensor:
    return expected_gradient(estimate, logits_K, rewards_K, torch.zeros_like(rewards_K))


def chances_of_scored(lost: float) -> list[float]:
    """The probability that 0, 1, ... members of a group keep their score."""
    return [comb(GROUP, count) * (1 - lost) ** count * lost ** (GROUP - count) for count in range(GROUP + 1)]


def kept_of_centered(lost: float) -> float:
    return sum(chance * max(count - 1, 0) for count, chance in enumerate(chances_of_scored(lost))) / (GROUP - 1)


def kept_of_left_out(lost: float) -> float:
    return sum(chance * count for count, chance in enumerate(chances_of_scored(lost)) if count >= 2) / GROUP


@pytest.mark.parametrize(("estimate", "kept"), [(group_centered, kept_of_centered), (leave_one_out, kept_of_left_out)])
@settings(max_examples=20, deadline=None)
@given(logits=random_logits, rewards=random_rewards, lost=st.floats(0, 0.9))
def test_scores_lost_at_random_shorten_the_expected_gradient_and_do_not_turn_it(
    estimate: Estimator, kept: Callable[[float], float], logits: list[float], rewards: list[float], lost: float
) -> None:
    clean = clean_gradient(estimate, vector(*logits), vector(*rewards))
    got = expected_gradient(estimate, vector(*logits), vector(*rewards), torch.full((3,), lost, dtype=torch.float64))
    assert torch.allclose(got, kept(lost) * clean, atol=1e-12, rtol=1e-9)


@settings(max_examples=20, deadline=None)
@given(logits=random_logits, rewards=random_rewards, lost=st.lists(st.floats(0, 0.9), min_size=3, max_size=3))
def test_scores_lost_more_often_on_some_completions_leave_the_gradient_of_the_others(
    logits: list[float], rewards: list[float], lost: list[float]
) -> None:
    """It is that of the mean reward of what is scored: to fail is neither good nor bad."""
    parameters_K = vector(*logits).requires_grad_()
    scored_K = parameters_K.softmax(0) * (1 - vector(*lost))
    (wanted,) = torch.autograd.grad((scored_K @ vector(*rewards)) / scored_K.sum(), parameters_K)
    share = float(scored_K.detach().sum())
    for estimate, kept in ((group_centered, kept_of_centered(1 - share)), (leave_one_out, kept_of_left_out(1 - share))):
        clean_length = (GROUP - 1) / GROUP if estimate is group_centered else 1.0
        got = expected_gradient(estimate, vector(*logits), vector(*rewards), vector(*lost))
        assert torch.allclose(got, kept * clean_length * wanted, atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("estimate", [group_centered, leave_one_out, group_normalized])
@pytest.mark.parametrize("reward", [1.0, -1.0])
def test_zeros_in_their_place_teach_to_fail_or_not_to_where_nothing_is_to_be_learnt(
    estimate: Estimator, reward: float
) -> None:
    """All arms are equally good; the score of the last one is lost now and then, as that of a long text is."""
    rewards, lost = vector(reward, reward, reward), vector(0.0, 0.0, 0.3)
    assert torch.equal(expected_gradient(estimate, LOGITS, rewards, lost), vector(0, 0, 0))
    pushed = expected_gradient(estimate, LOGITS, rewards, lost, replaced_by=0.0)
    assert pushed[2] * reward < -0.02
    assert (pushed[:2] * reward > 0.01).all()


@pytest.mark.parametrize("estimate", [group_centered, leave_one_out])
def test_zeros_at_random_are_noise_where_rewards_are_far_from_zero(estimate: Estimator) -> None:
    """Under a baseline that is not normalised, zeros at random do not turn the gradient either; they drown it."""
    rewards, at_random = vector(10.0, 10.3, 11.0), torch.full((3,), 0.065, dtype=torch.float64)
    zeros = expected_gradient(estimate, LOGITS, rewards, at_random, replaced_by=0.0)
    assert torch.allclose(zeros, 0.935 * clean_gradient(estimate, LOGITS, rewards))
    clean = noise(estimate, rewards, torch.zeros_like(rewards))
    assert noise(estimate, rewards, at_random) < 1.2 * clean
    assert noise(estimate, rewards, at_random, replaced_by=0.0) > 20 * clean
