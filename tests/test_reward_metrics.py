"""What a run's log says of its rewards, and when it raises an alarm about one."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from builders import batch, group
from hypothesis import given
from hypothesis import strategies as st

from reasonrl.config.settings import AlarmSettings, RewardRef
from reasonrl.run.alarms import AlarmMonitor
from reasonrl.run.events import AlarmRaised
from reasonrl.run.metrics import step_metrics, variance_shares
from reasonrl.scoring.combine import combine
from reasonrl.types import RewardResults, Score, StepRecord


def metrics(scores: Mapping[str, Sequence[Score]], *refs: RewardRef, step: int = 1) -> dict[str, float]:
    """The metrics of a step of one group."""
    results = combine(scores, refs or [RewardRef(name=name) for name in scores], step)
    record = StepRecord(
        batch=batch([group(["x"] * len(results))], [results]),
        advantages=((0.0,) * len(results),),
        policy_version=0,
        measured={},
        seconds={"waiting": 1.5, "learning": 1.0, "weight_sync": 0.0},
    )
    return step_metrics(record)


def shares(*groups: Mapping[str, Sequence[float]], **settings: dict[str, Any]) -> dict[str, float]:
    """The shares of variance of groups with these values. Any: settings of each reward."""
    refs = [RewardRef(name=name, **settings.get(name, {})) for name in groups[0]]
    results = [combine({n: [Score(v) for v in column] for n, column in one.items()}, refs, 1) for one in groups]
    return variance_shares(results)


def test_a_reward_its_parts_and_its_outcomes_are_logged_under_its_name() -> None:
    scores = [
        Score(1.0, parts={"tags": 1.0, "order": 0.0}),
        Score(0.0, parts={"tags": 0.5}),
        Score(None, "too long", "timeout"),
        Score(-1.0, "too long", "timeout"),
        Score(None, "KeyError: 'x'", "error"),
        Score.unscorable("-"),
    ]
    found = metrics({"form": scores}, RewardRef(name="r", label="form", weight=0.5))
    assert found["reward/form"] == 0.0
    assert found["reward/form/tags"] == 0.75
    assert found["reward/form/order"] == 0.0
    assert {name: value for name, value in found.items() if name.startswith("outcome/")} == {
        "outcome/form/timeout": 2.0,
        "outcome/form/error": 1.0,
        "outcome/form/unscorable": 1.0,
    }
    assert found["scoring/form/failure_rate"] == 0.5
    assert found["weight/form"] == 0.5


def test_a_weight_that_moves_is_logged_as_it_is_in_the_step() -> None:
    moving = RewardRef.model_validate({"name": "a", "weight": {"start": 1, "end": 0, "steps": 5}})
    assert metrics({"a": [Score(1.0)]}, moving, step=2)["weight/a"] == 0.75


def test_times_are_logged_as_percentiles() -> None:
    scores = [Score(1.0, run_s=float(n), queue_s=10.0 * n) for n in range(20, 0, -1)]
    found = metrics({"a": scores})
    assert [found[f"scoring/a/run_{name}_s"] for name in ("p50", "p95", "max")] == [11.0, 19.0, 20.0]
    assert [found[f"scoring/a/queue_{name}_s"] for name in ("p50", "p95", "max")] == [110.0, 190.0, 200.0]


def test_a_reward_that_does_not_vary_has_no_share_of_the_variance() -> None:
    assert shares({"right": [1, 0, 1, 0], "form": [3, 3, 3, 3]}) == {"right": 1.0, "form": 0.0}


def test_the_share_counts_weights_and_gates() -> None:
    # Apart, the deviations are (2, -2, 2, -2) / 2 and (1, 1, -1, -1) / 2: variances of 4 to 1.
    assert shares({"a": [1, 0, 1, 0], "b": [1, 1, 0, 0]}, a={"weight": 2.0}) == pytest.approx({"a": 0.8, "b": 0.2})
    # Behind its gate b is (1, 0, 0, 0): cov(a, total) = 1/3 + 1/6, cov(b, total) = 1/6 + 1/4, var = 11/12.
    gated = shares({"a": [1, 0, 1, 0], "b": [1, 1, 0, 0]}, b={"gate": "a"})
    assert gated == pytest.approx({"a": 6 / 11, "b": 5 / 11})


def test_a_reward_that_works_against_the_others_has_a_negative_share() -> None:
    assert shares({"a": [2, 0], "b": [0, 1]}) == pytest.approx({"a": 2.0, "b": -1.0})


def test_shares_are_means_over_the_groups_that_teach() -> None:
    first, second, dull = {"a": [1, 0], "b": [0, 0]}, {"a": [0, 0], "b": [1, 0]}, {"a": [1, 1], "b": [0, 0]}
    assert shares(first, second, dull) == {"a": 0.5, "b": 0.5}
    assert shares(dull) == {}


FINITE = st.floats(-100, 100).map(lambda value: round(value, 3))


@given(st.lists(st.tuples(FINITE, FINITE, FINITE), min_size=2, max_size=8), st.floats(0.1, 10))
def test_the_shares_of_all_rewards_make_the_whole(members: list[tuple[float, float, float]], weight: float) -> None:
    columns = dict(zip("abc", zip(*members, strict=True), strict=True))
    found = shares(columns, b={"weight": weight})
    assert not found or sum(found.values()) == pytest.approx(1.0, abs=1e-6)


def test_totals_that_differ_by_rounding_only_say_nothing() -> None:
    assert shares({"a": [0.1, 0.3, 0.2], "b": [0.5, 0.3, 0.4]}) == {}


@pytest.mark.parametrize("values", [[0.0, 5e-324], [1e-200, 2e-200], [1e200, 2e200]])
def test_differences_beyond_floats_are_no_crash(values: list[float]) -> None:
    assert shares({"a": values}) == {}


def watched(*rates: Mapping[str, float], **settings: Any) -> list[list[AlarmRaised]]:
    """The alarms after each step in which rewards failed on these shares. Any: settings of ``alarms``."""
    monitor = AlarmMonitor(AlarmSettings(patience=2, **settings))
    return [
        monitor.after_step(
            step,
            {f"scoring/{name}/failure_rate": rate for name, rate in step_rates.items()}
            | {f"reward/{name}": 1.0 for name in step_rates}
            | {f"outcome/{name}/timeout": 3.0 for name, rate in step_rates.items() if rate},
        )
        for step, step_rates in enumerate(rates, start=1)
    ]


def test_a_reward_that_keeps_failing_is_an_alarm_with_its_name() -> None:
    ill, well = {"./judge.py:f": 0.1, "math": 0.0}, {"./judge.py:f": 0.0, "math": 0.0}
    first, second, third, _ = watched(ill, ill, ill, well)
    assert (first, third) == ([], [])
    (alarm,) = second
    assert (alarm.kind, alarm.action, alarm.since) == ("reward_failures", "warn", 1)
    assert alarm.message.startswith("reward './judge.py:f' failed on 10.0% of samples (3 x timeout), since step 1.")
    assert "rollouts/step_000002.jsonl" in alarm.message


def test_each_reward_has_an_alarm_of_its_own() -> None:
    found = watched({"a": 0.1, "b": 0.0}, {"a": 0.1, "b": 0.5}, {"a": 0.0, "b": 0.5})
    assert [["'a'" in alarm.message for alarm in alarms] for alarms in found] == [[], [True], [False]]


def test_few_failures_are_no_alarm_and_what_an_alarm_does_is_a_setting() -> None:
    assert watched({"a": 0.02}, {"a": 0.02}) == [[], []]
    assert watched({"a": 0.5}, {"a": 0.5}, reward_failures="off") == [[], []]
    _, (alarm,) = watched({"a": 0.5}, {"a": 0.5}, reward_failures="stop", max_reward_failures=0.4)
    assert alarm.action == "stop"


def test_results_of_a_step_share_its_weights() -> None:
    """What an estimator of several rewards reads off the first result holds for all."""
    results: RewardResults = combine({"a": [Score(1.0), Score(0.0)]}, [RewardRef(name="a", weight=2.0)], 1)
    assert {result.weight("a") for result in results} == {2.0}
