"""Estimators: numbers from tables, worked by hand, and properties that must hold for all values."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonrl.errors import DataError
from reasonrl.evaluation.estimates import mean_estimate, paired_difference, pass_at_k

shares = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]) | st.floats(0, 1)
pairs = st.lists(st.tuples(shares, shares), min_size=1, max_size=40)


def test_right_or_wrong_answers_get_wilsons_interval() -> None:
    """Wilson for 1 of 10 at 95 %: 0.018 to 0.404."""
    estimate = mean_estimate([1.0] + [0.0] * 9)
    assert (estimate.value, estimate.method) == (0.1, "wilson")
    assert (estimate.lower, estimate.upper) == pytest.approx((0.0179, 0.4042), abs=1e-4)
    assert estimate.standard_error == pytest.approx(math.sqrt(0.1 * 0.9 / 9))


def test_all_wrong_still_leaves_room_above_zero() -> None:
    """The rule of three says about 3 / n."""
    estimate = mean_estimate([0.0] * 100)
    assert estimate.lower == 0.0
    assert estimate.upper == pytest.approx(0.037, abs=0.001)


def test_shares_get_students_interval() -> None:
    """For 4 values t is 3.182; the standard deviation of .2 .4 .6 .8 is .2582."""
    estimate = mean_estimate([0.2, 0.4, 0.6, 0.8])
    assert estimate.method == "t"
    assert estimate.standard_error == pytest.approx(0.1291, abs=1e-4)
    assert (estimate.lower, estimate.upper) == pytest.approx((0.5 - 3.182 * 0.1291, 0.5 + 3.182 * 0.1291), abs=1e-3)


def test_equal_shares_are_a_point_and_one_share_says_nothing() -> None:
    assert mean_estimate([0.1] * 3).method == "point"
    assert mean_estimate([0.1] * 3).standard_error == 0.0
    one = mean_estimate([0.5])
    assert (one.method, one.lower, one.upper, one.standard_error) == ("range", 0.0, 1.0, 0.5)


def test_nothing_measured_is_a_data_error() -> None:
    with pytest.raises(DataError, match="no problem was measured"):
        mean_estimate([])


@pytest.mark.parametrize("value", [math.nan, 1.5, -0.1, math.inf])
def test_values_that_no_metric_may_return_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        mean_estimate([0.5, value])


@given(st.lists(shares, min_size=1, max_size=60))
def test_an_interval_holds_its_mean_and_stays_possible(values: list[float]) -> None:
    estimate = mean_estimate(values)
    assert 0 <= estimate.lower <= estimate.value + 1e-12
    assert estimate.value - 1e-12 <= estimate.upper <= 1
    assert estimate.standard_error >= 0


@given(st.lists(shares, min_size=2, max_size=60), st.floats(0.5, 0.95))
def test_a_higher_level_gives_a_wider_interval(values: list[float], level: float) -> None:
    narrow, wide = mean_estimate(values, level=level), mean_estimate(values, level=0.99)
    assert wide.lower <= narrow.lower
    assert narrow.upper <= wide.upper


def test_a_paired_difference_worked_by_hand() -> None:
    """Differences 1 1 0 -1 1: mean .4, standard deviation .8944, t of 4 degrees 2.776."""
    paired = paired_difference([0, 0, 1, 1, 0], [1, 1, 1, 0, 1])
    assert paired.difference == pytest.approx(0.4)
    assert paired.standard_error == pytest.approx(0.4)
    assert (paired.lower, paired.upper) == pytest.approx((0.4 - 2.776 * 0.4, 1.0), abs=1e-3)
    assert (paired.wins, paired.ties, paired.losses) == (3, 1, 1)
    assert paired.minimum_detectable_effect == pytest.approx(2.8 * 0.4)
    assert paired.p_value == pytest.approx(10 / 16, abs=0.02)  # |sum| >= 2 in 10 of 16 sign patterns


def test_the_p_value_of_six_wins_is_that_of_the_sign_test() -> None:
    """All six equal in sign: 2 of 64 patterns."""
    assert paired_difference([0.0] * 6, [1.0] * 6).p_value == pytest.approx(2 / 64, abs=0.005)


def test_no_p_value_is_zero() -> None:
    """Of ten thousand patterns and the given one, at least the given one is as extreme."""
    assert paired_difference([0.0] * 100, [1.0] * 100).p_value == 1 / 10_001


def test_equal_differences_are_a_point_without_nan() -> None:
    paired = paired_difference([0.1, 0.2, 0.7], [0.2, 0.3, 0.8])
    assert (paired.method, paired.standard_error) == ("point", 0.0)
    assert paired.lower == paired.upper == paired.difference == pytest.approx(0.1)


def test_rounding_is_neither_a_win_nor_a_spread() -> None:
    same = paired_difference([0.1 + 0.2, 0.5], [0.3, 0.5])
    assert (same.wins, same.ties, same.losses, same.p_value, same.method) == (0, 2, 0, 1.0, "point")


def test_a_model_without_variation_has_no_correlation() -> None:
    assert paired_difference([1, 1, 1], [0, 1, 0]).correlation is None
    assert paired_difference([0, 1, 1], [0, 1, 1]).correlation == pytest.approx(1.0)


def test_values_of_other_problems_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="cannot be paired"):
        paired_difference([0.0], [0.0, 1.0])


@given(pairs)
def test_swapping_the_models_turns_the_difference_round(values: list[tuple[float, float]]) -> None:
    a, b = zip(*values, strict=True)
    forth, back = paired_difference(a, b), paired_difference(b, a)
    assert back.difference == pytest.approx(-forth.difference)
    assert (back.lower, back.upper) == pytest.approx((-forth.upper, -forth.lower))
    assert (back.wins, back.losses, back.p_value) == (forth.losses, forth.wins, forth.p_value)


@given(pairs)
def test_a_paired_difference_is_finite_and_consistent(values: list[tuple[float, float]]) -> None:
    paired = paired_difference(*zip(*values, strict=True))
    figures = (paired.difference, paired.standard_error, paired.lower, paired.upper, paired.p_value)
    assert all(math.isfinite(figure) for figure in figures)
    assert paired.wins + paired.ties + paired.losses == paired.num_problems == len(values)
    assert paired.lower <= paired.difference + 1e-12
    assert paired.difference - 1e-12 <= paired.upper
    assert 0 < paired.p_value <= 1


@given(st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_subsets_with_a_right_answer(numbers: tuple[int, int, int]) -> None:
    num_samples, num_correct, k = numbers
    subsets = list(combinations([True] * num_correct + [False] * (num_samples - num_correct), k))
    assert pass_at_k(num_samples, num_correct, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


def test_pass_at_k_needs_k_samples() -> None:
    with pytest.raises(DataError, match="pass@8 needs 8 samples"):
        pass_at_k(4, 2, 8)


def _coverage_of_means(truth: float, num_problems: int, num_samples: int) -> float:
    """Return how often the 95 % interval holds the mean of problems of unlike difficulty."""
    random = np.random.default_rng(1)
    held = 0
    for _ in range(300):
        difficulty = random.beta(4 * truth, 4 * (1 - truth), num_problems)
        estimate = mean_estimate(list(random.binomial(num_samples, difficulty) / num_samples))
        held += estimate.lower <= truth <= estimate.upper
    return held / 300


@pytest.mark.parametrize(("truth", "num_samples"), [(0.05, 1), (0.5, 1), (0.3, 8)])
def test_95_of_100_intervals_hold_the_truth(truth: float, num_samples: int) -> None:
    """At 300 repetitions the standard error of a coverage of .95 is .013."""
    assert 0.91 <= _coverage_of_means(truth, 60, num_samples) <= 0.99


def _paired_sample(random: np.random.Generator, gain: float) -> tuple[list[float], list[float]]:
    """Draw 60 problems that two models answer, the second one better by the gain."""
    difficulty = random.uniform(0.1, 0.8, 60)
    return list(random.binomial(4, difficulty) / 4), list(random.binomial(4, difficulty + gain) / 4)


def test_95_of_100_paired_intervals_hold_the_true_gain() -> None:
    random = np.random.default_rng(2)
    results = [paired_difference(*_paired_sample(random, 0.1)) for _ in range(120)]
    held = sum(paired.lower <= 0.1 <= paired.upper for paired in results)
    assert 0.9 <= held / 120 < 1


@pytest.mark.slow
def test_the_permutation_test_keeps_its_level_and_its_power() -> None:
    """Of equal models 5 % are called different; at the minimum detectable effect 80 % are found."""
    random = np.random.default_rng(3)
    null = [paired_difference(*_paired_sample(random, 0.0)) for _ in range(600)]
    assert 0.025 <= sum(paired.p_value <= 0.05 for paired in null) / 600 <= 0.075
    effect = sum(paired.minimum_detectable_effect for paired in null) / 600
    found = [paired_difference(*_paired_sample(random, effect)).p_value <= 0.05 for _ in range(600)]
    assert 0.74 <= sum(found) / 600 <= 0.86
