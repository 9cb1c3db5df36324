"""Losses, masks, advantages and coefficients of the newer methods, in numbers worked by hand and exact expectations.

Whole presets against their papers' formulas are in ``test_presets.py``, against TRL's own code in
``test_trl.py``.
"""

# Parts of torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

import math
from itertools import combinations, product
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import pytest
import torch
from builders import policy_learner, run_config, small_llama, training_sample, training_samples
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from reasonrl.algorithms.advantages import group_normalized, maxrl, opo, pass_at_k
from reasonrl.algorithms.divergence import DIVERGENCE_LOSSES
from reasonrl.algorithms.losses import dppo_kl, dppo_tv, gmpo, sapo
from reasonrl.algorithms.masks import off_policy_tokens
from reasonrl.config.settings import AlgorithmSettings
from reasonrl.errors import ConfigError
from reasonrl.learner.controller import EntropyController
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.method import require_fitting_estimator

NAN = math.nan
binary_groups = st.lists(st.sampled_from([0.0, 1.0, NAN]), min_size=2, max_size=8)
groups = st.lists(st.one_of(st.just(NAN), st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0])), min_size=2, max_size=7)


def rows(values: list[float]) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


# Losses: values and gradients in the log-probability.


def slopes_of(losses_M: Tensor, logprobs_M: Tensor) -> list[float]:
    return torch.autograd.grad(losses_M.sum(), logprobs_M)[0].tolist()


def test_sapo_is_a_gate_that_closes_on_either_side_of_the_old_policy() -> None:
    logprobs_M = torch.tensor([1.0, 3.0, 0.0001, 3.0]).log().requires_grad_()
    losses_M = sapo(
        logprobs_M,
        torch.zeros(4),
        torch.tensor([1.0, 1.0, -1.0, -1.0]),
        temperature_positive=1.0,
        temperature_negative=2.0,
    )
    # sigmoid(0) 4 = 2; sigmoid(2) 4 = 3.5232; sigmoid(-1.9998) 2 = 0.23845; sigmoid(4) 2 = 1.96403.
    assert losses_M.tolist() == pytest.approx([-2.0, -3.523188, 0.238448, 1.964028], abs=1e-4)
    # 4 p (1 - p) r A with p = 1/2; sigmoid(2) = 0.880797; sigmoid(-1.9998), r almost 0; sigmoid(4) = 0.982014.
    assert slopes_of(losses_M, logprobs_M) == pytest.approx([-1.0, -3 * 0.419974, 0.0, 3 * 0.070651], abs=1e-4)


def test_gmpo_clips_tokens_before_the_mean_and_on_the_pessimistic_side_alone() -> None:
    log_ratios = torch.tensor([1.0, 0.2, -1.0, 0.3, -1.0, 0.6])
    logprobs_M = log_ratios.clone().requires_grad_()
    losses_M = gmpo(
        logprobs_M,
        torch.zeros(6),
        torch.tensor([1.0, 1.0, 1.0, -2.0, -2.0, -2.0]),
        torch.tensor([3, 3]),
        log_clip_low=0.4,
        log_clip_high=0.4,
    )
    # A > 0: (0.4 + 0.2 - 1.0) / 3; A < 0: (0.3 - 0.4 + 0.6) / 3.
    first, second = math.exp(-0.4 / 3), math.exp(0.5 / 3)
    assert losses_M.tolist() == pytest.approx([-first] * 3 + [2 * second] * 3)
    # Each of the three equal losses gives each token that is not clipped a third of it.
    assert slopes_of(losses_M, logprobs_M) == pytest.approx([0, -first, -first, 2 * second, 0, 2 * second])


def test_dppo_leaves_out_tokens_whose_probability_moved_on_by_more_than_the_limit() -> None:
    p = [0.50, 0.50, 0.50, 0.50, 0.50, 0.50]
    q = [0.30, 0.40, 0.70, 0.70, 0.60, 0.30]
    advantages_M = torch.tensor([1.0, 1.0, 1.0, -1.0, -1.0, -1.0])
    logprobs_M, sampler_M = torch.tensor(p).log().requires_grad_(), torch.tensor(q).log()
    old_M = torch.tensor([0.5, 0.25, 0.5, 0.5, 0.01, 0.5]).log()
    losses_M = dppo_tv(
        logprobs_M, old_M, sampler_M, advantages_M, threshold_low=0.15, threshold_high=0.15, ratio_cap=20.0
    )
    # Rose by 0.2 with A > 0, and fell by 0.2 with A < 0: left out. The ratios are 1, 2, 1, 1, 50 (capped at 20), 1.
    assert slopes_of(losses_M, logprobs_M) == pytest.approx([0, -2, -1, 0, 20, 1])


def test_the_divergence_of_dppo_counts_the_token_and_all_others() -> None:
    p, q = 0.5, 0.3
    distance = q * math.log(q / p) + (1 - q) * math.log((1 - q) / (1 - p))
    assert distance == pytest.approx(0.0822829, abs=1e-6)
    for limit, is_kept in ((distance * 1.001, True), (distance * 0.999, False)):
        logprobs_M = torch.tensor([p, p], dtype=torch.float64).log().requires_grad_()
        losses_M = dppo_kl(
            logprobs_M,
            logprobs_M.detach(),
            torch.tensor([q, q], dtype=torch.float64).log(),
            torch.tensor([1.0, -1.0], dtype=torch.float64),
            threshold_low=limit,
            threshold_high=limit,
        )
        # The second one is pushed back towards the sampler's probability, however far it is.
        assert slopes_of(losses_M, logprobs_M) == [-1.0 if is_kept else 0.0, 1.0]


@pytest.mark.parametrize("loss", [dppo_tv, dppo_kl])
def test_a_certain_token_has_finite_losses(loss: Any) -> None:
    logprobs_M = torch.tensor([0.0, -40.0, 0.0], requires_grad=True)
    sampler_M = torch.tensor([-40.0, 0.0, 0.0])
    losses_M = loss(
        logprobs_M, sampler_M, sampler_M, torch.tensor([1.0, -1.0, 1.0]), threshold_low=0.1, threshold_high=0.1
    )
    assert losses_M.isfinite().all()
    assert slopes_of(losses_M, logprobs_M) == [0.0, 0.0, -1.0]


def test_the_off_policy_mask_takes_out_bad_sequences_that_became_unlikely() -> None:
    sampler_M = torch.full((8,), -1.0)
    logprobs_M = torch.tensor([-1.9, -1.3, -1.9, -1.3, -1.4, -1.4, 3.0, 3.0])
    advantages_M = torch.tensor([-1.0, -1.0, 1.0, 1.0, -1.0, -1.0, -1.0, -1.0])
    masked = off_policy_tokens(logprobs_M, sampler_M, advantages_M, torch.tensor([2, 2, 2, 2]), threshold=0.5)
    # Mean drifts 0.6, 0.6 (but good), 0.4 and -4.0 nats a token.
    assert masked.tolist() == [True, True, False, False, False, False, False, False]


def test_the_share_that_the_off_policy_mask_leaves_out_is_reported() -> None:
    samples = [training_sample((1, 2), (3, 4), -1.0, sampler_logprobs=(5.0, 5.0)), training_sample((1,), (3, 4), -1.0)]
    config = run_config(algorithm={"preset": "deepseek_v3_2", "off_policy_threshold": 7.0})
    measured = policy_learner(small_llama(), config).update(samples)
    assert measured["ratio/off_policy"] == 0.5
    without = policy_learner(small_llama(), run_config(algorithm="dr_grpo")).update(samples)
    assert "ratio/off_policy" not in without


# The divergence after several updates: weighted by the ratio to the policy that drew the tokens.


@pytest.mark.parametrize("name", DIVERGENCE_LOSSES)
def test_divergence_losses_are_unbiased_under_the_policy_that_drew_the_tokens(name: str) -> None:
    generator = torch.Generator().manual_seed(1)
    logits, reference, old = (torch.randn(5, generator=generator, dtype=torch.float64) for _ in range(3))
    reference_M, old_M = reference.log_softmax(0), old.log_softmax(0)
    logprobs_M = logits.requires_grad_().log_softmax(0)
    exact = torch.autograd.grad((logprobs_M.exp() * (logprobs_M - reference_M)).sum(), logits, retain_graph=True)[0]
    expected = (old_M.exp() * DIVERGENCE_LOSSES[name](logprobs_M, reference_M, old_M)).sum()
    assert torch.allclose(torch.autograd.grad(expected, logits)[0], exact)


# Advantages.


def test_the_baseline_of_opo_is_the_mean_reward_of_a_token() -> None:
    mask_PGT = torch.zeros(1, 4, 6, dtype=torch.bool)
    for member, length in enumerate((1, 2, 6, 3)):
        mask_PGT[0, member, :length] = True
    mask_PGT[0, 3, 1] = False  # a token of the environment is none of its length
    got = opo(rows([1.0, 0.0, 0.5, NAN]), mask_PGT)
    baseline = (1 * 1.0 + 2 * 0.0 + 6 * 0.5) / 9
    assert got[0].tolist() == pytest.approx([1 - baseline, -baseline, 0.5 - baseline, 0.0])
    assert opo(rows([0.1, 0.1, 0.1]), mask_PGT[:, :3]).eq(0).all()


@pytest.mark.parametrize(("p", "q", "lengths"), [(0.3, 0.6, (2, 9)), (0.5, 0.5, (1, 1))])
def test_the_baseline_of_opo_has_the_least_variance_where_gradients_grow_with_length(
    p: float, q: float, lengths: tuple[int, int]
) -> None:
    """A short and a long completion, right with chances p and q, whose squared gradient is their length."""

    def second_moment(baseline: float) -> float:
        short = lengths[0] * (p * (1 - baseline) ** 2 + (1 - p) * baseline**2)
        return short + lengths[1] * (q * (1 - baseline) ** 2 + (1 - q) * baseline**2)

    best = (lengths[0] * p + lengths[1] * q) / sum(lengths)
    assert all(second_moment(best) < second_moment(best + shift) for shift in (-0.05, 0.05))


def test_maxrl_divides_by_the_share_of_right_ones() -> None:
    assert maxrl(rows([1.0, 0.0, 0.0, 0.0]))[0].tolist() == [3.0, -1.0, -1.0, -1.0]
    assert maxrl(rows([1.0, 1.0, 0.0, NAN]))[0].tolist() == pytest.approx([0.5, 0.5, -1.0, 0.0])
    assert maxrl(rows([0.0, 0.0, NAN])).eq(0).all()
    assert maxrl(rows([1.0, 1.0, 1.0])).eq(0).all()


@pytest.mark.parametrize("size", [2, 3, 5])
def test_maxrl_follows_the_sum_of_pass_at_k_over_k(size: int) -> None:
    """Over all outcomes of a group that is right with chance p: the score function is 1 / p, or -1 / (1 - p)."""
    p = 0.3
    expected = 0.0
    for outcome in product([0.0, 1.0], repeat=size):
        chance = math.prod(p if right else 1 - p for right in outcome)
        advantages = maxrl(rows([*outcome]))[0].tolist()
        scores = [1 / p if right else -1 / (1 - p) for right in outcome]
        expected += chance * fmean(a * s for a, s in zip(advantages, scores, strict=True))
    # d/dp pass@k = k (1 - p)^(k - 1)
    assert expected == pytest.approx(sum((1 - p) ** (k - 1) for k in range(1, size)))


def test_maxrl_refuses_rewards_that_are_no_chance_to_be_right() -> None:
    with pytest.raises(ConfigError, match=r"advantage maxrl: a completion has the reward -0\.5.*group_normalized"):
        maxrl(rows([1.0, -0.5, NAN]))


@pytest.mark.parametrize(
    "changes", [{"overlong_window": 0.2}, {"kl_coefficient": 0.1, "kl_in": "reward", "kl_estimator": "k1"}]
)
def test_maxrl_goes_with_no_penalty(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="advantage maxrl divides by a group's mean reward"):
        AlgorithmSettings.model_validate({"preset": "maxrl", **changes})


def test_pass_at_k_by_hand() -> None:
    # Of the 6 choices of 2 from one right and three wrong, 3 have the right one: mean 1/2, spread 1/2.
    # With the right one: all 3. With a given wrong one: 1 of 3.
    assert pass_at_k(rows([0.0, 1.0, 0.0, 0.0]), k=2, epsilon=0)[0].tolist() == pytest.approx(
        [-1 / 3, 1, -1 / 3, -1 / 3]
    )
    # Two wrong ones: the only choice without a right one is theirs, of 6.
    mean, spread = 5 / 6, (5 / 36) ** 0.5
    expected = [(1 - mean) / spread, (2 / 3 - mean) / spread] * 2
    assert pass_at_k(rows([1.0, 0.0, 1.0, 0.0]), k=2, epsilon=0)[0].tolist() == pytest.approx(expected)


def test_a_group_in_which_every_choice_of_k_solves_the_problem_teaches_exactly_nothing() -> None:
    assert pass_at_k(rows([0.1, 0.3, 0.3, 0.3]), k=2).eq(0).all()
    assert pass_at_k(rows([1.0, 0.0, 1.0]), k=3).eq(0).all()
    assert pass_at_k(rows([1.0, 0.0, NAN]), k=3).eq(0).all()


@given(row=groups, k=st.integers(1, 5))
def test_pass_at_k_is_that_of_all_choices_of_k(row: list[float], k: int) -> None:
    known = [index for index, value in enumerate(row) if not math.isnan(value)]
    best = {chosen: max(row[index] for index in chosen) for chosen in combinations(known, k)}
    spread = pstdev(best.values()) if best else 0.0
    expected = [0.0] * len(row)
    for index in known if spread > 1e-12 else []:
        own = fmean(value for chosen, value in best.items() if index in chosen)
        expected[index] = (own - fmean(best.values())) / (spread + 1e-6)
    assert pass_at_k(rows(row), k=k)[0].tolist() == pytest.approx(expected, abs=1e-9)


@given(row=binary_groups, k=st.integers(1, 5))
def test_pass_at_k_of_right_and_wrong_is_the_papers_closed_form(row: list[float], k: int) -> None:
    """Equations 10 to 15 of arXiv:2508.10751: the chance that k of N have no right one is C(N_neg, k) / C(N, k)."""
    known = [value for value in row if not math.isnan(value)]
    count, wrong = len(known), known.count(0.0)
    mean = 1 - math.comb(wrong, k) / math.comb(count, k) if count >= k else 1.0
    spread = (mean * (1 - mean)) ** 0.5
    values = {1.0: 0.0, 0.0: 0.0}
    if spread > 1e-12:
        values[1.0] = (1 - mean) / (spread + 1e-6)
        values[0.0] = (1 - mean - math.comb(wrong - 1, k - 1) / math.comb(count - 1, k - 1)) / (spread + 1e-6)
    expected = [0.0 if math.isnan(value) else values[value] for value in row]
    assert pass_at_k(rows(row), k=k)[0].tolist() == pytest.approx(expected, abs=1e-9)


@given(row=groups)
def test_pass_at_1_is_grpos_advantage(row: list[float]) -> None:
    assert torch.allclose(pass_at_k(rows(row), k=1), group_normalized(rows(row)), atol=1e-9)


def test_a_k_without_two_choices_is_refused_before_anything_is_loaded() -> None:
    advantage = {"name": "pass_at_k", "params": {"k": 4}}
    config = run_config(algorithm={"preset": "grpo", "advantage": advantage}, rollout={"samples_per_prompt": 4})
    with pytest.raises(ConfigError, match=r"advantage\.params\.k: is 4, but a group has 4 completions"):
        require_fitting_estimator(config, Plugins())
    enough = run_config(algorithm={"preset": "grpo", "advantage": advantage}, rollout={"samples_per_prompt": 5})
    require_fitting_estimator(enough, Plugins())


# The entropy's coefficient.


def adaptive(**changes: Any) -> AlgorithmSettings:
    """A coefficient that is adapted to an entropy of 0.5. Any: settings of the algorithm."""
    settings = {"preset": "skywork_or1", "entropy_target": 0.5, "entropy_delta": 0.125, **changes}
    return run_config(algorithm=settings).method


def test_the_entropy_coefficient_follows_its_target_by_hand() -> None:
    subject = EntropyController(adaptive(entropy_coefficient=0.25, entropy_max_coefficient=0.5))
    assert subject.weight == 0.0, "nothing was measured yet"
    found = []
    for entropy in (0.5, 0.1, 0.1, 0.6, 0.1):
        subject.adapt(entropy * 40, 40)
        found.append((subject.coefficient, subject.weight))
    # At the target counts as below it; 0.5 is the largest; above the target the bonus is off, and comes back.
    assert found == [(0.375, 0.375), (0.5, 0.5), (0.5, 0.5), (0.375, 0.0), (0.5, 0.5)]


def test_an_entropy_coefficient_never_falls_below_0_and_stays_where_nothing_was_measured() -> None:
    subject = EntropyController(adaptive(entropy_coefficient=0.0))
    subject.adapt(20.0, 10)
    assert subject.coefficient == 0.0
    subject.adapt(0.0, 0)
    assert (subject.coefficient, subject.weight) == (0.0, 0.0)


def test_without_a_target_the_entropy_coefficient_counts_from_the_first_step() -> None:
    subject = EntropyController(adaptive(entropy_target=None, entropy_coefficient=0.25))
    subject.adapt(0.0, 10)
    assert subject.weight == 0.25
    assert subject.state() == {}


def test_a_coefficient_to_begin_with_is_not_above_the_largest() -> None:
    with pytest.raises(ValueError, match="entropy_coefficient is 2, which is above entropy_max_coefficient, 1"):
        adaptive(entropy_coefficient=2.0)


def bonus(learner: Any) -> float:
    return learner.objective.entropy.weight


def test_an_adaptive_bonus_enters_the_loss_one_step_after_the_entropy_fell_short(tmp_path: Path) -> None:
    """And a learner that continues from a checkpoint goes on as if it had not stopped."""
    config = run_config(algorithm={"preset": "skywork_or1", "entropy_target": 100.0, "entropy_delta": 0.5})
    whole, first = (policy_learner(small_llama(), config) for _ in range(2))
    for learner in (whole, first):
        assert learner.update(training_samples())["policy/entropy_weight"] == 0.5
    first.save_state(tmp_path)
    second = policy_learner(type(first.model).from_pretrained(tmp_path), config)
    second.restore_state(tmp_path)
    assert bonus(second) == 0.5
    assert whole.update(training_samples()) == second.update(training_samples())
    assert bonus(whole) == bonus(second) == 1.0
    plain = policy_learner(small_llama(), run_config(algorithm={"preset": "skywork_or1", "entropy_target": None}))
    for _ in range(2):
        plain.update(training_samples())
    pairs = zip(whole.model.parameters(), plain.model.parameters(), strict=True)
    assert not all(torch.equal(one, other) for one, other in pairs)


def test_an_update_that_is_refused_teaches_nothing_about_the_entropy() -> None:
    config = run_config(algorithm={"preset": "skywork_or1", "entropy_target": 100.0})
    subject = policy_learner(small_llama(), config)
    with torch.no_grad():
        next(subject.model.parameters()).fill_(math.nan)
    subject.update(training_samples())
    assert bonus(subject) == 0.0
    assert subject.objective.entropy.coefficient == 0.0
