"""Rewards may do anything; what they did is typed, counted and named."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
from builders import group

from reasonrl.errors import PluginError, RunError
from reasonrl.scoring import Scorer, WeightedReward, as_score
from reasonrl.types import RewardFn, Rollout, Score


def score(*functions: tuple[str, RewardFn, float], texts: Sequence[str] = ("a", "bb"), limit: float = 1.0) -> Any:
    """Score one group. Any: a tuple of verdicts."""
    scorer = Scorer([WeightedReward(*function) for function in functions], limit)
    return scorer.score([group(texts)])[0]


def length(rollout: Rollout) -> float:
    return float(len(rollout.text))


def test_the_total_is_the_weighted_sum() -> None:
    verdicts = score(("length", length, 2.0), ("one", lambda rollout: 1, 0.5))
    assert [verdict.total.value for verdict in verdicts] == [2.5, 4.5]
    assert verdicts[1].rewards["length"].value == 2.0


def test_a_group_reward_scores_all_members_at_once() -> None:
    def best(group: Sequence[Rollout]) -> list[float]:
        longest = max(len(member.text) for member in group)
        return [float(len(member.text) == longest) for member in group]

    assert [v.total.value for v in score(("best", best, 1.0))] == [0.0, 1.0]


def raising(rollout: Rollout) -> float:
    if rollout.text == "bb":
        raise ValueError("no good")
    return 1.0


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (raising, "ValueError: no good"),
        (lambda rollout: math.nan if rollout.text == "bb" else 1.0, "not a finite number"),
        (lambda rollout: "1.0" if rollout.text == "bb" else 1.0, "TypeError"),
        (lambda rollout: [1.0] if rollout.text == "bb" else 1.0, "TypeError"),
    ],
)
def test_a_reward_that_fails_costs_its_sample_the_score_and_nothing_else(bad: RewardFn, why: str) -> None:
    good, failed = score(("bad", bad, 1.0), ("length", length, 1.0))
    assert good.total.value == 2.0
    assert (failed.total.value, failed.total.outcome) == (None, "error")
    assert why in failed.rewards["bad"].why
    assert failed.rewards["length"].value == 2.0


def test_a_group_reward_with_the_wrong_number_of_values_fails_as_a_whole() -> None:
    verdicts = score(("short", lambda group: [1.0], 1.0))
    assert {verdict.total.outcome for verdict in verdicts} == {"error"}
    assert "1 values for 2 rollouts" in verdicts[0].total.why


def test_none_is_unscorable_and_leaves_the_baseline() -> None:
    first, second = score(("some", lambda rollout: None if rollout.text == "a" else 1.0, 1.0))
    assert first.total.outcome == "unscorable"
    assert second.total.value == 1.0
    assert first.value is None


def test_a_reward_that_abstains_for_a_whole_group_is_left_out_of_the_sum() -> None:
    verdicts = score(("other_task", lambda rollout: None, 1.0), ("length", length, 1.0))
    assert [verdict.total.value for verdict in verdicts] == [1.0, 2.0]


def test_when_every_reward_abstains_nothing_is_scored() -> None:
    assert {v.total.outcome for v in score(("none", lambda rollout: None, 1.0))} == {"unscorable"}


def test_too_many_failures_stop_the_run_with_reward_and_cause() -> None:
    with pytest.raises(RunError, match=r"'bad' failed on 1 of 2.*no good"):
        score(("bad", raising, 1.0), limit=0.4)


def test_unscorable_samples_are_no_failures() -> None:
    assert score(("none", lambda rollout: None, 1.0), limit=0.0)


def test_a_reward_with_another_first_parameter_is_refused_at_once() -> None:
    with pytest.raises(PluginError, match=r"'text'.*'rollout'"):
        WeightedReward("wrong", lambda text: 1.0)


def test_an_async_reward_is_refused_at_once() -> None:
    async def later(rollout: Rollout) -> float:
        return 1.0

    with pytest.raises(PluginError, match="async"):
        WeightedReward("later", later)


def test_numbers_of_any_kind_are_scores() -> None:
    import torch

    assert [as_score(value).value for value in (True, 2, 0.5, torch.tensor(3.0))] == [1.0, 2.0, 0.5, 3.0]


def test_a_score_cannot_contradict_its_outcome() -> None:
    for arguments in ((None,), (1.0, "", "error"), (math.inf,)):
        with pytest.raises(ValueError, match=r"."):
            Score(*arguments)
