"""The alarm of over-optimization: silent on noise, soon after a real peak, and only where the proxy has risen."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from builders import run_config
from hypothesis import given, settings
from hypothesis import strategies as st

from reasonrl.config.settings import AlarmSettings
from reasonrl.errors import ConfigError
from reasonrl.plugins.lookup import Plugins
from reasonrl.run.alarms import AlarmMonitor
from reasonrl.run.events import AlarmRaised
from reasonrl.run.inputs import load_inputs
from reasonrl.run.overoptimization import Fall, FallDetector, Point, fall_bound, normal_quantile_of_t

PROBLEMS, COMPLETIONS = 16, 8


def measured(rates: Iterable[float], seed: int, problems: int = PROBLEMS) -> Iterator[tuple[float, float]]:
    """Share of right completions and its standard error in steps with these true shares; problems differ."""
    draw = np.random.default_rng(seed)
    for true in rates:
        rate = min(max(true, 1e-3), 1 - 1e-3)
        solvable_P = draw.beta(2 * rate, 2 * (1 - rate), size=problems)
        right_P = draw.binomial(COMPLETIONS, solvable_P) / COMPLETIONS
        yield float(right_P.mean()), float(right_P.std(ddof=1) / math.sqrt(problems))


def first_fall(
    rates: Sequence[float], seed: int, *, rising: bool = True, level: float = 0.05
) -> tuple[int, Fall] | None:
    """The first step that a fall is found after, with the fall."""
    detector = FallDetector(max_false_alarms=level)
    for step, (gold, stderr) in enumerate(measured(rates, seed), start=1):
        proxy = 0.02 * step if rising else -0.02 * step
        point = Point(
            step=step,
            gold=gold,
            gold_stderr=stderr,
            proxy=proxy,
            proxy_stderr=0.002,
            num_groups=PROBLEMS,
            kl=0.1 * step,
        )
        if (fall := detector.observe(point)) is not None:
            return step, fall
    return None


def peaked(low: float, high: float, up: int, down: int) -> list[float]:
    """A share that rises for some steps and then falls to 0."""
    rise = [low + (high - low) * step / up for step in range(1, up + 1)]
    return [*rise, *(high * (1 - step / down) for step in range(1, down + 1)), *[0.0] * 20]


STILL = {
    "flat": [0.5] * 100,
    "near one": [0.98] * 100,
    "near zero": [0.02] * 100,
    "learning": [0.1 + 0.8 * (1 - math.exp(-step / 20)) for step in range(100)],
}


@pytest.mark.parametrize("course", STILL)
def test_a_gold_figure_that_only_varies_is_no_fall(course: str) -> None:
    assert sum(first_fall(STILL[course], seed) is not None for seed in range(20)) <= 2


@pytest.mark.slow
def test_false_alarms_are_as_rare_as_the_setting_says() -> None:
    for level in (0.05, 0.3):
        found = sum(first_fall([0.5] * 300, seed, level=level) is not None for seed in range(60))
        assert found / 60 < 2 * level
    assert found > 0


@pytest.mark.parametrize(
    ("course", "peak", "latest"),
    [
        (peaked(0.1, 0.8, 30, 10), 30, 36),
        (peaked(0.1, 0.8, 30, 30), 30, 44),
        (peaked(0.13, 0.35, 5, 25), 5, 25),
        ([0.8] * 50 + [0.5] * 20, 50, 54),
    ],
    ids=["sharp", "slow", "early and low", "a step down"],
)
def test_a_fall_is_found_soon_after_the_peak(course: list[float], peak: int, latest: int) -> None:
    found = [first_fall(course, seed) for seed in range(20)]
    steps = sorted(one[0] if one else 10**6 for one in found)
    assert steps[0] > peak
    assert steps[-3] <= latest
    middles = sorted(one[1].peak.middle for one in found if one)
    assert middles[-3] <= peak + 3


def test_a_gold_figure_that_falls_with_its_proxy_is_no_over_optimization() -> None:
    assert first_fall(peaked(0.1, 0.8, 30, 10), 0) is not None
    assert first_fall(peaked(0.1, 0.8, 30, 10), 0, rising=False) is None


def test_a_fall_knows_where_gold_proxy_and_divergence_were_and_are() -> None:
    found = first_fall([0.8] * 30 + [0.2] * 20, 1)
    assert found is not None
    step, fall = found
    assert (fall.now.last, fall.now.first > 28) == (step, True)
    assert fall.peak.gold == pytest.approx(0.8, abs=0.15)
    assert fall.now.gold < 0.5
    assert fall.peak.proxy == pytest.approx(0.02 * (fall.peak.first + fall.peak.last) / 2)
    assert fall.peak.kl == pytest.approx(0.1 * (fall.peak.first + fall.peak.last) / 2)
    assert fall.standard_errors > fall_bound(step, 0.05)


VALUES = st.lists(st.integers(-50, 50).map(float), min_size=2, max_size=30)


def falls(golds: Sequence[float], proxies: Sequence[float], stderr: float | None = None) -> list[bool]:
    """After which points there is a fall."""
    detector = FallDetector(max_false_alarms=0.05)
    pairs = enumerate(zip(golds, proxies, strict=True))
    return [
        detector.observe(Point(step=step, gold=gold, proxy=proxy, gold_stderr=stderr)) is not None
        for step, (gold, proxy) in pairs
    ]


@given(VALUES, st.sampled_from([0.5, 2.0, 1024.0]), st.integers(-100, 100))
@settings(max_examples=50)
def test_the_unit_and_the_zero_of_the_gold_figure_do_not_matter(golds: list[float], unit: float, zero: int) -> None:
    proxies = [float(step) for step in range(len(golds))]
    moved = [unit * gold + zero for gold in golds]
    assert falls(golds, proxies, 3.0) == falls(moved, proxies, 3.0 * unit)


@given(VALUES)
@settings(max_examples=50)
def test_a_gold_figure_that_never_falls_is_no_fall_however_little_noise_is_known(golds: list[float]) -> None:
    assert not any(falls(sorted(golds), [float(step) for step in range(len(golds))]))


@pytest.mark.parametrize("value", [1 / 3, 0.1, 1e6 / 7, 0.0])
def test_rounding_is_no_fall(value: float) -> None:
    assert not any(falls([value] * 2000, [float(step) for step in range(2000)]))


def test_a_fall_of_a_figure_without_noise_is_found_at_once() -> None:
    found = falls([1.0] * 10 + [0.5] * 3, [float(step) for step in range(13)])
    assert found.index(True) == 10


def test_few_problems_need_more_evidence() -> None:
    assert normal_quantile_of_t(4.0, 1e6) == pytest.approx(4.0, abs=1e-3)
    # P(t_5 > 4.032) = 0.005, whose normal deviate is 2.576.
    assert normal_quantile_of_t(4.032, 5) == pytest.approx(2.576, abs=0.02)


def test_the_bound_grows_with_the_points_and_with_the_caution() -> None:
    assert fall_bound(20, 0.05) < fall_bound(300, 0.05) < fall_bound(300, 0.01)


# The alarm


def trace(rates: Sequence[float], seed: int = 0) -> list[dict[str, float]]:
    """The metrics of a run whose gold reward has these true shares, while the training reward rises."""
    return [
        {
            "reward/right": gold,
            "reward_stderr/right": stderr,
            "reward/mean": 0.4 + 0.02 * step,
            "reward_stderr/mean": 0.01,
            "groups/count": float(PROBLEMS),
            "policy/kl_sequence": 0.04 * step,
        }
        for step, (gold, stderr) in enumerate(measured(rates, seed), start=1)
    ]


def raised(steps: Sequence[Mapping[str, float]], **changes: Any) -> list[tuple[int, AlarmRaised]]:
    """The alarms of these steps. Any: alarm settings."""
    monitor = AlarmMonitor(AlarmSettings(gold="right", **changes), checkpoints=lambda: [10, 20, 30, 40])
    return [(step, alarm) for step, metrics in enumerate(steps, 1) for alarm in monitor.after_step(step, metrics)]


OVER = peaked(0.1, 0.8, 24, 12)


def test_the_alarm_names_the_peak_what_was_and_is_and_the_nearest_checkpoint() -> None:
    ((step, alarm),) = raised(trace(OVER))
    assert (alarm.kind, alarm.action) == ("over_optimization", "warn")
    assert 24 < step < 36
    assert 18 <= alarm.since - 1 <= 26
    assert alarm.message.startswith("gold reward 'right' fell to 0.")
    assert "standard errors, while the training reward rose from 0." in alarm.message
    assert re.search(r"root of the KL divergence 0\.[89]\d then, 1\.[01]\d now", alarm.message)
    assert "nearest checkpoint: step 20" in alarm.message
    assert f"Open rollouts/step_{step:06d}.jsonl." in alarm.message


def test_one_fall_is_one_alarm_and_a_second_one_after_a_recovery_is_another() -> None:
    assert len(raised(trace([*OVER, *[0.0] * 30]))) == 1
    assert len(raised(trace([*OVER[:36], *[0.8] * 30, *[0.3] * 30]))) == 2


def test_the_alarm_needs_a_gold_figure_and_can_be_off_or_more_careful() -> None:
    assert AlarmMonitor(AlarmSettings()).after_step(1, trace(OVER)[0]) == []
    monitor = AlarmMonitor(AlarmSettings())
    assert not any(monitor.after_step(step, metrics) for step, metrics in enumerate(trace(OVER), 1))
    ((usual, _),), ((careful, alarm),) = raised(trace(OVER)), raised(trace(OVER), max_false_alarms=1e-4)
    assert careful > usual
    assert raised(trace(OVER), over_optimization="rollback")[0][1].action == "rollback"
    assert alarm.since <= careful


def test_a_resumed_run_raises_it_as_one_that_never_stopped() -> None:
    steps = trace(OVER)
    straight = AlarmMonitor(AlarmSettings(gold="right"))
    for step, metrics in enumerate(steps[:26], 1):
        straight.after_step(step, metrics)
    lines = [{"step": step, **metrics} for step, metrics in enumerate(steps[:26], 1)]
    resumed = AlarmMonitor(AlarmSettings(gold="right")).replay(lines)
    later = [
        (straight.after_step(step, metrics), resumed.after_step(step, metrics))
        for step, metrics in enumerate(steps[26:], 27)
    ]
    assert all(one == other for one, other in later)
    assert sum(len(one) for one, _ in later) == 1


def test_a_held_out_suite_can_be_the_gold_figure() -> None:
    figures = {0: 0.2, 10: 0.5, 20: 0.62, 30: 0.6, 40: 0.35, 50: 0.2}
    monitor = AlarmMonitor(AlarmSettings(gold="sums", heldout_fall="off"), checkpoints=lambda: [20, 40])
    found: list[tuple[int, AlarmRaised]] = []
    lines: list[dict[str, float]] = []
    for step in range(51):
        if step:
            metrics = {"reward/mean": 0.02 * step, "policy/kl_sequence": 0.01 * step}
            lines.append({"step": step, **metrics})
            found += [(step, alarm) for alarm in monitor.after_step(step, metrics)]
        if step in figures:
            lines.append({"step": step, "heldout/sums": figures[step], "heldout_stderr/sums": 0.03})
            found += [(step, alarm) for alarm in monitor.heldout(step, "sums", figures[step], 0.03)]
            assert monitor.heldout(step, "other", 0.9 - 0.01 * step, 0.001) == []
    ((step, alarm),) = found
    assert (step, alarm.since) == (40, 26)
    assert "gold suite 'sums' fell to 0.350 (step 40) from 0.610 (mean of steps 20 to 30)" in alarm.message
    assert "nearest checkpoint: step 20" in alarm.message
    replayed = AlarmMonitor(AlarmSettings(gold="sums")).replay(lines)
    assert replayed.heldout(60, "sums", 0.1, 0.03) == []  # it was raised before the run was resumed


def test_scores_out_of_a_reward_models_range_are_an_alarm_of_that_reward() -> None:
    step = {"reward/pref/out_of_range": 0.08, "reward/other/out_of_range": 0.0, "reward/pref": 2.0}
    monitor = AlarmMonitor(AlarmSettings(patience=2))
    assert monitor.after_step(1, step) == []
    (alarm,) = monitor.after_step(2, step)
    assert (alarm.kind, alarm.since) == ("out_of_range", 1)
    assert alarm.message.startswith("8.0% of the scores of reward 'pref' are above the 99.9th percentile")
    for changes in ({"out_of_range": "off"}, {"max_out_of_range": 0.1}):
        quiet = AlarmMonitor(AlarmSettings.model_validate({"patience": 2, **changes}))
        assert [quiet.after_step(number, step) for number in (1, 2, 3)] == [[], [], []]


def test_a_divergence_beyond_its_budget_is_an_alarm() -> None:
    monitor = AlarmMonitor(AlarmSettings(patience=2, max_kl=5.0, kl_budget="stop"))
    assert monitor.after_step(1, {"policy/kl_sequence": 6.0}) == []
    (alarm,) = monitor.after_step(2, {"policy/kl_sequence": 7.0})
    assert (alarm.kind, alarm.action) == ("kl_budget", "stop")
    assert alarm.message.startswith("divergence from the initial policy 7.00 nats a completion (alarms.max_kl: 5)")
    unlimited = AlarmMonitor(AlarmSettings(patience=1))
    assert unlimited.after_step(1, {"policy/kl_sequence": 1e6}) == []


@pytest.mark.parametrize(
    ("alarms", "said"),
    [
        ({"over_optimization": "stop"}, "over_optimization is stop, but gold is not set"),
        ({"kl_budget": "rollback"}, "kl_budget is rollback, but max_kl is not set"),
        ({"over_optimization": "off", "gold": "numeric_answer"}, "gold is set, but over_optimization is off"),
        ({"max_kl": 4.0}, "is not measured: set algorithm.kl_measured: true"),
    ],
)
def test_an_alarm_that_could_never_be_raised_is_refused(alarms: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        run_config(alarms=alarms)


def test_a_budget_needs_a_divergence_that_is_measured_or_charged() -> None:
    for algorithm in ({"kl_measured": True}, {"preset": "grpo", "kl_coefficient": 0.1}):
        assert run_config(alarms={"max_kl": 4.0}, algorithm=algorithm).alarms.max_kl == 4.0


def test_a_gold_figure_that_nothing_measures_is_refused_with_the_nearest_name() -> None:
    config = run_config(alarms={"gold": "numeric_anser"}, task={"name": "arithmetic", "params": {"num_problems": 20}})
    with pytest.raises(
        ConfigError, match=r"no reward or held-out suite 'numeric_anser'. Did you mean 'numeric_answer'"
    ):
        load_inputs(config, Plugins())


def test_a_gold_figure_that_two_things_could_be_is_refused() -> None:
    rewards = [{"name": "numeric_answer", "label": "arithmetic"}]
    suites = [{"name": "arithmetic", "params": {"num_problems": 5}, "template": "plain"}]
    config = run_config(
        alarms={"gold": "arithmetic"},
        rewards=rewards,
        evaluation={"suites": suites},
        task={"name": "arithmetic", "params": {"num_problems": 20}},
    )
    with pytest.raises(ConfigError, match="both a reward and a suite"):
        load_inputs(config, Plugins())
