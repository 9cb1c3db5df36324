"""From scores to advantages by hand: baselines, several rewards, penalties, and completions that were cut."""

# Parts of transformers and torch are untyped.
# mypy: disallow-untyped-calls=False, warn-return-any=False

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

import pytest
import torch
from builders import LateScorer, batch, completion, problem
from gradients import Step, even_llama, exact_logprobs, gradient, relative_error
from torch import Tensor

from reasonrl.algorithms.advantages import ADVANTAGES
from reasonrl.config.settings import RewardRef
from reasonrl.learner.credit import Credit
from reasonrl.plugins.lookup import named_arguments
from reasonrl.scoring.combine import combine
from reasonrl.scoring.penalties import AdjustedScorer, OverlongPenalty, drop_truncated
from reasonrl.types import Batch, Group, RewardResult, RewardResults, Score, TrainingSample, mean_advantage

COMPARING = sorted(ADVANTAGES.keys() - {"gae"})
"""Estimators that compare completions with one another, and with no critic."""

Rewards = Sequence[Sequence[float | None]]
Truncated = Literal["penalize", "mask", "drop"]


def result(scores: Mapping[str, float | None], weights: Mapping[str, float]) -> RewardResult:
    """What the scorer makes of these rewards."""
    typed = {name: Score.unscorable("-") if value is None else Score(value) for name, value in scores.items()}
    missing = None in scores.values()
    total = Score.unscorable("-") if missing else Score(sum(weights[n] * (v or 0.0) for n, v in scores.items()))
    return RewardResult(total=total, rewards=typed, weights=weights)


def step_of(rewards: Mapping[str, Rewards], weights: Mapping[str, float]) -> Batch:
    """A step of groups with these rewards."""
    shape = next(iter(rewards.values()))
    results = [
        tuple(result({name: rewards[name][p][g] for name in rewards}, weights) for g in range(len(row)))
        for p, row in enumerate(shape)
    ]
    groups = [
        Group(
            problem=problem(id=str(p)),
            prompt="",
            prompt_ids=(1 + p, 2),
            trajectories=tuple(completion(tokens=[3 + p, 4 + g], index=g) for g in range(len(row))),
        )
        for p, row in enumerate(shape)
    ]
    return batch(groups, results)


def advantages(name: str, rewards: Rewards) -> list[list[float]]:
    """Advantages of a single reward."""
    estimator = partial(ADVANTAGES[name], k=2) if name == "pass_at_k" else ADVANTAGES[name]
    return numbers(Credit(estimator=named_arguments(estimator)), step_of({"r": rewards}, {"r": 1.0}))


def numbers(credit: Credit, step: Batch) -> list[list[float]]:
    """The advantages of a step, one number a trajectory."""
    return [[mean_advantage(advantage) for advantage in row] for row in credit.estimate(step).advantages]


def close(got: Sequence[Sequence[float]], expected: Sequence[Sequence[float]]) -> bool:
    return all(row == pytest.approx(wanted, abs=2e-5) for row, wanted in zip(got, expected, strict=True))


# Baselines.


def test_leave_one_out_is_the_reward_less_the_mean_of_the_others() -> None:
    # 1 - (0 + 0 + 1)/3, 0 - (1 + 0 + 1)/3; without the third member the others are one less.
    assert close(
        advantages("leave_one_out", [[1, 0, 0, 1], [3, 0, None, 0]]),
        [[2 / 3, -2 / 3, -2 / 3, 2 / 3], [3, -1.5, 0, -1.5]],
    )


def test_batch_normalized_takes_mean_and_spread_of_the_whole_step() -> None:
    # mean 0.75, variance 3/16: a group in which all are right is rewarded too.
    spread = math.sqrt(3) / 4
    got = advantages("batch_normalized", [[1, 1], [0, 1]])
    assert close(got, [[0.25 / spread, 0.25 / spread], [-0.75 / spread, 0.25 / spread]])


def test_group_centered_batch_normalized_takes_the_mean_of_the_group_and_the_spread_of_the_step() -> None:
    # centered: 0.5, -0.5, 2, -2; mean square (0.25 + 0.25 + 4 + 4) / 4 = 2.125.
    spread = math.sqrt(2.125)
    got = advantages("group_centered_batch_normalized", [[1, 0], [5, 1]])
    assert close(got, [[0.5 / spread, -0.5 / spread], [2 / spread, -2 / spread]])


def test_the_spread_of_the_step_is_that_of_its_scored_members() -> None:
    # centered: 0.5, -0.5 and nothing; mean square over the two.
    assert close(advantages("group_centered_batch_normalized", [[1, 0, None]]), [[1.0, -1.0, 0.0]])


@pytest.mark.parametrize("name", COMPARING)
def test_a_step_in_which_all_rewards_are_equal_teaches_exactly_nothing(name: str) -> None:
    assert advantages(name, [[0.1, 0.1, 0.1], [0.1, None, 0.1]]) == [[0.0] * 3, [0.0] * 3]


@pytest.mark.parametrize("name", COMPARING)
def test_a_member_without_a_score_gets_exactly_zero_and_leaves_every_baseline(name: str) -> None:
    with_hole = advantages(name, [[1.0, 0.0, 0.0, None], [0.5, 0.25, 1.0, None]])
    without = advantages(name, [[1.0, 0.0, 0.0], [0.5, 0.25, 1.0]])
    assert [row[3] for row in with_hole] == [0.0, 0.0]
    assert close([row[:3] for row in with_hole], without)


@pytest.mark.parametrize("name", [name for name in COMPARING if name != "batch_normalized"])
def test_groups_that_teach_nothing_get_exactly_zero(name: str) -> None:
    rows = advantages(name, [[1.0, 0.0, 0.0], [1.0, 1.0, 1.0], [7.0, None, None], [None, None, None]])
    assert rows[1:] == [[0.0] * 3] * 3
    assert rows[0][0] > 0 > rows[0][1]


# Several rewards.


def gdpo(rewards: Mapping[str, Rewards], weights: Mapping[str, float]) -> list[list[float]]:
    credit = Credit(estimator=named_arguments(ADVANTAGES["gdpo"]))
    return numbers(credit, step_of(rewards, weights))


def test_gdpo_normalizes_each_reward_in_its_group_before_adding() -> None:
    """A reward of great range does not drown another (arXiv:2601.05242): 10 for the answer, 1 for its form."""
    got = gdpo({"answer": [[10, 0, 10, 0]], "form": [[1, 1, 0, 0]]}, {"answer": 1.0, "form": 1.0})
    # z-scores (1, -1, 1, -1) + (1, 1, -1, -1) = (2, 0, 0, -2), over the spread sqrt(8 / 4).
    assert close(got, [[math.sqrt(2), 0, 0, -math.sqrt(2)]])


def test_gdpo_weighs_rewards_after_normalizing_them() -> None:
    got = gdpo({"answer": [[10, 0, 10, 0]], "form": [[1, 1, 0, 0]]}, {"answer": 3.0, "form": 1.0})
    spread = math.sqrt((16 + 4 + 4 + 16) / 4)
    assert close(got, [[4 / spread, -2 / spread, 2 / spread, -4 / spread]])


def test_gdpo_divides_by_the_spread_of_the_step() -> None:
    got = gdpo({"answer": [[1, 0], [0, 0]], "form": [[1, 0], [1, 0]]}, {"answer": 1.0, "form": 1.0})
    spread = math.sqrt((4 + 4 + 1 + 1) / 4)
    assert close(got, [[2 / spread, -2 / spread], [1 / spread, -1 / spread]])


def test_gdpo_leaves_out_a_reward_that_does_not_apply_to_a_group() -> None:
    typed = step_of({"answer": [[1, 0], [1, 0]]}, {"answer": 1.0})
    elsewhere = [
        tuple(
            replace(v, rewards={**v.rewards, "other": Score.unscorable("-")}, weights={"answer": 1.0, "other": 5.0})
            for v in group
        )
        for group in typed.results
    ]
    credit = Credit(estimator=named_arguments(ADVANTAGES["gdpo"]))
    assert close(numbers(credit, batch(typed.groups, elsewhere)), [[1.0, -1.0], [1.0, -1.0]])


def test_gdpo_sees_a_reward_behind_a_shut_gate_as_0() -> None:
    scores = {"right": [1, 0, 1, 0], "style": [1, 1, 0, 0]}
    refs = [RewardRef(name="right"), RewardRef(name="style", gate="right")]
    groups = step_of({"right": [scores["right"]]}, {"right": 1.0}).groups
    results = combine({name: [Score(value) for value in column] for name, column in scores.items()}, refs, 1)
    (row,) = Credit(estimator=named_arguments(ADVANTAGES["gdpo"])).estimate(batch(groups, [results])).advantages
    # z-scores (1, -1, 1, -1) and, of what counts, those of (1, 0, 0, 0).
    added = [1 + math.sqrt(3), -1 - 1 / math.sqrt(3), 1 - 1 / math.sqrt(3), -1 - 1 / math.sqrt(3)]
    spread = math.sqrt(sum(value**2 for value in added) / 4)
    assert row == pytest.approx([value / spread for value in added], abs=1e-5)


def test_gdpo_normalizes_a_penalty_of_the_method_as_a_reward_of_its_own() -> None:
    scored = step_of({"answer": [[1, 0, 1, 0]]}, {"answer": 1.0})
    cut = [tuple(v.less("overlong", p) for v, p in zip(g, (0.5, 0.5, 0, 0), strict=True)) for g in scored.results]
    credit = Credit(estimator=named_arguments(ADVANTAGES["gdpo"]))
    # (1, -1, 1, -1) - (1, 1, -1, -1) = (0, -2, 2, 0)
    assert close(numbers(credit, batch(scored.groups, cut)), [[0, -math.sqrt(2), math.sqrt(2), 0]])


# Completions that are too long.


class Told(LateScorer):
    """Scores groups as it was told."""

    def __init__(self, rewards: Rewards) -> None:
        self.rewards = rewards

    def score(self, groups: Sequence[Group], step: int) -> tuple[RewardResults, ...]:
        return tuple(tuple(result({"r": value}, {"r": 1.0}) for value in row) for row in self.rewards)


LIMIT = 10


def long_group(*lengths: int) -> Group:
    """Completions of these lengths; one of ``LIMIT`` tokens was cut."""
    members = tuple(
        completion(
            tokens=[1 + (3 * index + 5 * t) % 47 for t in range(length)],
            index=index,
            finish_reason="length" if length == LIMIT else "stop",
        )
        for index, length in enumerate(lengths)
    )
    return Group(problem=problem(), prompt="", prompt_ids=(5, 6), trajectories=members)


def test_the_overlong_penalty_grows_over_the_last_tokens() -> None:
    """A window of 0.4 of 10 tokens: free up to 6, then a quarter a token, 1 at the limit."""
    group = long_group(5, 6, 7, 8, 9, 10)
    (results,) = OverlongPenalty(LIMIT, 0.4)([group], Told([[1.0] * 6]).score([group], 1))
    assert [v.penalties["overlong"] for v in results] == pytest.approx([0, 0, 0.25, 0.5, 0.75, 1.0])
    assert [v.value for v in results] == pytest.approx([1, 1, 0.75, 0.5, 0.25, 0])
    assert {v.total.value for v in results} == {1.0}


def test_adjustments_follow_one_another() -> None:
    group = long_group(8, LIMIT)
    adjusted = AdjustedScorer(Told([[1.0, 1.0]]), (OverlongPenalty(LIMIT, 0.4), drop_truncated))
    ((kept, dropped),) = adjusted.score([group], 1)
    assert (kept.value, dropped.value) == (0.5, None)
    assert dropped.penalties == {"overlong": 1.0}


def test_advantages_are_made_of_rewards_less_penalties() -> None:
    group = long_group(5, 8)
    credit = Credit(estimator=named_arguments(ADVANTAGES["group_centered"]))
    results = OverlongPenalty(LIMIT, 0.4)([group], Told([[1.0, 1.0]]).score([group], 1))
    assert close(numbers(credit, batch([group], results)), [[0.25, -0.25]])


def learned_from(truncated: Truncated) -> tuple[list[float], list[TrainingSample]]:
    """Advantages and samples of a group with rewards 1, 0, 1, 0 whose third member was cut."""
    group = long_group(2, 3, LIMIT, 5)
    results = Told([[1.0, 0.0, 1.0, 0.0]]).score([group], 1)
    if truncated == "drop":
        results = drop_truncated([group], results)
    scored = batch([group], results)
    credit = Credit(estimator=named_arguments(ADVANTAGES["group_centered"]), truncated=truncated)
    (row,) = numbers(credit, scored)
    return row, credit.samples(scored, credit.estimate(scored))


def test_penalize_learns_from_a_cut_completion_as_from_any_other() -> None:
    row, samples = learned_from("penalize")
    assert row == [0.5, -0.5, 0.5, -0.5]
    assert [sample.advantages_T for sample in samples] == row


def test_mask_keeps_the_cut_completion_in_the_baseline_and_not_in_the_gradient() -> None:
    row, samples = learned_from("mask")
    assert row == [0.5, -0.5, 0.0, -0.5]
    assert len(samples) == 4


def test_drop_takes_the_cut_completion_out_of_the_baseline_too() -> None:
    row, samples = learned_from("drop")
    assert row == pytest.approx([2 / 3, -1 / 3, 0.0, -1 / 3])
    assert [len(sample.token_ids) for sample in samples] == [2, 3, 5]


def written_out(samples: Sequence[TrainingSample], weight: Callable[[int], float]) -> Tensor:
    """The gradient of -sum A log pi, each token's weight given by its completion's length."""
    model = even_llama()
    terms = [
        -mean_advantage(s.advantages_T) * weight(len(s.token_ids)) * exact_logprobs(model, s).sum() for s in samples
    ]
    slopes = torch.autograd.grad(torch.stack(terms).sum(), list(model.parameters()))
    return torch.cat([slope.flatten() for slope in slopes])


@pytest.mark.parametrize(
    ("preset", "masked", "dropped"),
    [
        # Lengths 2, 3, 10 (cut) and 5: 20 tokens in 4 completions, or 10 in 3.
        ("dapo", lambda length: 1 / 20, lambda length: 1 / 10),
        ("grpo", lambda length: 1 / (4 * length), lambda length: 1 / (3 * length)),
        ("dr_grpo", lambda length: 1 / (4 * 12), lambda length: 1 / (3 * 12)),
    ],
)
def test_a_masked_completion_stays_in_the_denominator_and_a_dropped_one_does_not(
    preset: str, masked: Callable[[int], float], dropped: Callable[[int], float]
) -> None:
    """trl issue 6369: whether the denominator counts what is masked was left to chance."""
    cases: list[tuple[Truncated, Callable[[int], float]]] = [("mask", masked), ("drop", dropped)]
    for truncated, weight in cases:
        samples = learned_from(truncated)[1]
        assert relative_error(gradient(Step(samples), preset), written_out(samples, weight)) < 1e-5
