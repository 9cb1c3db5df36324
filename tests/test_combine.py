"""Several rewards to one result: weights that move, gates, and values that are missing."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonrl.config.settings import RewardRef, WeightSchedule
from reasonrl.scoring.combine import combine
from reasonrl.types import RewardResults, Score


def ref(label: str, **settings: Any) -> RewardRef:
    """A reward of a run file. Any: its settings."""
    return RewardRef(name=label, **settings)


def results(columns: Mapping[str, Sequence[float | None]], *refs: RewardRef, step: int = 1) -> RewardResults:
    """Combine values; None is a timeout."""
    typed = {
        name: [Score(value, "-", "timeout" if value is None else "scored") for value in column]
        for name, column in columns.items()
    }
    return combine(typed, refs or [ref(name) for name in columns], step)


def totals(columns: Mapping[str, Sequence[float | None]], *refs: RewardRef, step: int = 1) -> list[float | None]:
    """The totals of these."""
    return [result.total.value for result in results(columns, *refs, step=step)]


def test_the_total_is_the_weighted_sum() -> None:
    found = results({"a": [1, 2], "b": [1, 1]}, ref("a", weight=2.0), ref("b", weight=0.5))
    assert [result.total.value for result in found] == [2.5, 4.5]
    assert found[1].rewards["a"].value == 2.0
    assert found[1].weights == {"a": 2.0, "b": 0.5}


def test_a_weight_that_moves_is_that_of_the_step() -> None:
    moving = ref("a", weight={"start": 0.0, "end": 1.0, "steps": 5})
    assert [totals({"a": [4.0]}, moving, step=step) for step in (1, 2, 3, 5, 9)] == [[0.0], [1.0], [2.0], [4.0], [4.0]]
    (result,) = results({"a": [4.0]}, moving, step=2)
    assert result.weight("a") == 0.25


@given(
    start=st.floats(-10, 10),
    end=st.floats(-10, 10),
    steps=st.integers(2, 1000),
    shape=st.sampled_from(["linear", "cosine"]),
    step=st.integers(0, 2000),
)
def test_a_schedule_begins_at_its_start_and_stays_at_its_end(
    start: float, end: float, steps: int, shape: Any, step: int
) -> None:
    schedule = WeightSchedule(start=start, end=end, steps=steps, shape=shape)
    assert (schedule.at(1), schedule.at(0)) == (start, start)
    assert schedule.at(steps) == schedule.at(steps + step) == end
    assert min(start, end) - 1e-9 <= schedule.at(step) <= max(start, end) + 1e-9
    half = (schedule.at(step) + schedule.at(steps + 1 - step)) / 2 if 1 <= step <= steps else (start + end) / 2
    assert half == pytest.approx((start + end) / 2, abs=1e-9)


def test_a_cosine_begins_gently() -> None:
    line, cosine = (WeightSchedule(start=0, end=1, steps=101, shape=shape) for shape in ("linear", "cosine"))
    assert cosine.at(11) == pytest.approx((1 - math.cos(math.pi / 10)) / 2)
    assert cosine.at(11) < line.at(11) == pytest.approx(0.1)


def test_a_reward_counts_only_where_its_gate_is_open() -> None:
    rewards = ref("right"), ref("style", weight=0.5, gate="right")
    found = results({"right": [1, 0, 0.5], "style": [1, 1, 1]}, *rewards)
    assert [result.total.value for result in found] == [1.5, 0.0, 0.5]
    assert [result.counted("style") for result in found] == [1.0, 0.0, 0.0]
    assert [result.rewards["style"].value for result in found] == [1.0, 1.0, 1.0]
    assert [result.shut for result in found] == [(), ("style",), ("style",)]


def test_how_much_opens_a_gate_is_a_setting() -> None:
    rewards = ref("right"), ref("style", gate="right", gate_at_least=0.5)
    assert totals({"right": [0.4, 0.5], "style": [1, 1]}, *rewards) == [0.4, 1.5]


def test_a_gate_looks_at_the_value_and_not_at_its_weight() -> None:
    assert totals({"right": [1], "style": [1]}, ref("right", weight=0.0), ref("style", gate="right")) == [1.0]


def test_a_gate_behind_a_shut_gate_is_shut() -> None:
    rewards = ref("a"), ref("b", gate="a"), ref("c", gate="b")
    assert totals({"a": [0, 1, 1], "b": [1, 1, 0], "c": [1, 1, 1]}, *rewards) == [0.0, 3.0, 1.0]


def test_a_value_behind_a_shut_gate_is_not_missed() -> None:
    rewards = ref("right"), ref("style", gate="right")
    assert totals({"right": [0, 1], "style": [None, 1]}, *rewards) == [0.0, 2.0]
    assert totals({"right": [0, 1], "style": [1, None]}, *rewards) == [0.0, None]


def test_a_gate_whose_reward_gave_nothing_opens_for_nobody() -> None:
    unknown = {"right": [Score.unscorable("-")] * 2, "style": [Score(1.0), Score(0.5)]}
    found = combine(unknown, [ref("right"), ref("style", gate="right")], 1)
    assert [result.total.value for result in found] == [0.0, 0.0]
    assert totals({"right": [1, None], "style": [1, 1]}, ref("right"), ref("style", gate="right")) == [2.0, None]


def test_a_member_that_lacks_a_value_has_no_total_and_the_others_keep_theirs() -> None:
    good, failed = results({"a": [1, None], "b": [1, 2]})
    assert good.total.value == 2.0
    assert (failed.total.value, failed.total.outcome, failed.total.why) == (None, "timeout", "a: -")
    assert failed.rewards["b"].value == 2.0


def test_a_reward_that_abstains_for_a_whole_group_is_left_out_of_the_sum() -> None:
    found = combine({"other": [Score.unscorable("-")] * 2, "a": [Score(1.0), Score(2.0)]}, [ref("other"), ref("a")], 1)
    assert [result.total.value for result in found] == [1.0, 2.0]


def test_when_every_reward_abstains_nothing_is_scored() -> None:
    (result,) = combine({"a": [Score.unscorable("-")]}, [ref("a")], 1)
    assert result.total.outcome == "unscorable"


def test_a_timeout_with_a_value_counts_like_any_other() -> None:
    found = combine({"a": [Score(-1.0, "ran longer than 10 s", "timeout"), Score(1.0)]}, [ref("a")], 1)
    assert [result.total.value for result in found] == [-1.0, 1.0]


def test_a_sum_that_is_not_finite_is_an_error_and_no_crash() -> None:
    huge, fine = results({"a": [1e308, 1]}, ref("a", weight=100.0))
    assert (huge.total.value, huge.total.outcome) == (None, "error")
    assert fine.total.value == 100.0


GATED = [
    ref("a", weight=0.3),
    ref("b", weight=2.0, gate="a"),
    ref("c", gate="b", gate_at_least=0.5),
    ref("d", weight=-1.0),
]
VALUES = st.one_of(st.none(), st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(-5, 5))


@given(members=st.lists(st.tuples(VALUES, VALUES, VALUES, VALUES), min_size=1, max_size=4))
def test_the_order_of_rewards_and_of_members_changes_no_total(members: list[tuple[float | None, ...]]) -> None:
    columns = dict(zip("abcd", zip(*members, strict=True), strict=True))
    expected = totals(columns, *GATED)
    for rewards in itertools.permutations(GATED):
        assert totals(columns, *rewards) == expected
    turned = {name: column[::-1] for name, column in columns.items()}
    assert totals(turned, *GATED) == expected[::-1]


@given(members=st.lists(st.tuples(VALUES, VALUES, VALUES, VALUES), min_size=1, max_size=4))
def test_the_total_is_what_the_rewards_count_times_their_weights(members: list[tuple[float | None, ...]]) -> None:
    columns = dict(zip("abcd", zip(*members, strict=True), strict=True))
    for result in results(columns, *GATED):
        counted = {name: result.counted(name) for name in columns}
        if None in counted.values():
            assert result.total.value is None
        else:
            expected = math.fsum(result.weight(name) * (value or 0.0) for name, value in counted.items())
            assert result.total.value == expected
