"""Estimators: numbers from tables, worked by hand, and properties that must hold for all values."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasonrl.errors import DataError
from reasonrl.evaluation.estimates import mean_estimate, paired_difference

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


def test_graded_values_get_wilsons_interval_with_the_sample_size_that_fits_their_error() -> None:
    """A standard error of .1291 at a mean of .5 is that of 15 right-or-wrong values; t of 3 degrees is 3.182."""
    estimate = mean_estimate([0.2, 0.4, 0.6, 0.8])
    assert estimate.method == "effective_wilson"
    assert estimate.standard_error == pytest.approx(0.1291, abs=1e-4)
    assert estimate.lower < 0.5 - 0.1291 * 2 < 0.5 + 0.1291 * 2 < estimate.upper
    assert estimate.lower + estimate.upper == pytest.approx(1.0)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.02, 0.98), st.integers(2, 20))
def test_copies_of_a_problem_in_a_cluster_add_no_information(seed: int, truth: float, copies: int) -> None:
    values = list(np.random.default_rng(seed).binomial(4, truth, 400) / 4)
    single = mean_estimate(values)
    clusters = [index for index in range(len(values)) for _ in range(copies)]
    cloned = mean_estimate([value for value in values for _ in range(copies)], clusters_P=clusters)
    assert (cloned.num_problems, cloned.num_clusters) == (400 * copies, 400)
    assert cloned.standard_error == pytest.approx(single.standard_error, rel=1e-6, abs=1e-9)
    assert (cloned.lower, cloned.upper) == pytest.approx((single.lower, single.upper), abs=0.004)


@settings(max_examples=50, deadline=None)
@given(pairs)
def test_clusters_of_one_change_nothing(values: list[tuple[float, float]]) -> None:
    a, b = zip(*values, strict=True)
    clusters = [f"cluster {index}" for index in range(len(values))]
    assert mean_estimate(a, clusters_P=clusters) == mean_estimate(a)
    assert paired_difference(a, b, clusters_P=clusters) == paired_difference(a, b)


def test_equal_values_still_have_an_interval_and_one_graded_value_says_nothing() -> None:
    same = mean_estimate([0.1] * 3)
    assert same.standard_error == pytest.approx(0.0)
    assert same.lower < 0.05 < 0.3 < same.upper
    one = mean_estimate([0.5])
    assert (one.method, one.lower, one.upper, one.standard_error) == ("range", 0.0, 1.0, 0.5)
    one = mean_estimate([1.0, 0.0], clusters_P=["text", "text"])
    assert (one.method, one.lower, one.upper, one.num_clusters) == ("range", 0.0, 1.0, 1)


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
    """Three wins, a loss, a tie: mean .4, standard deviation .8944; 10 of 16 sign patterns are as far from zero."""
    paired = paired_difference([0, 0, 1, 1, 0], [1, 1, 1, 0, 1])
    assert [paired.difference, paired.standard_error] == pytest.approx([0.4, 0.4])
    assert (paired.wins, paired.ties, paired.losses) == (3, 1, 1)
    assert paired.method == "tango"
    assert paired.p_value == pytest.approx(10 / 16)


@pytest.mark.parametrize(("won", "lost", "num_problems"), [(12, 2, 50), (14, 0, 14), (0, 0, 50), (1, 7, 30), (3, 3, 9)])
def test_a_limit_is_where_the_score_test_of_tango_rejects(won: int, lost: int, num_problems: int) -> None:
    """Tango 1998: the variance is that of the likeliest shares whose difference is the limit, found here by search."""
    ties = num_problems - won - lost
    paired = paired_difference([0.0] * won + [1.0] * (lost + ties), [1.0] * won + [0.0] * lost + [1.0] * ties)
    for limit in (paired.lower, paired.upper):
        if abs(limit) < 1:
            most = (1 - abs(limit)) / 2  # share of the rarer of wins and losses
            rarer = np.linspace(1e-9, most, 400_001)[:-1]
            shares_won, shares_lost = (rarer + limit, rarer) if limit > 0 else (rarer, rarer - limit)
            likelihood = won * np.log(shares_won) + lost * np.log(shares_lost)
            likelihood += ties * np.log(np.maximum(1 - shares_won - shares_lost, 1e-300))
            at = int(likelihood.argmax())
            variance = num_problems * (shares_won[at] + shares_lost[at] - limit**2)
            assert abs(won - lost - num_problems * limit) / math.sqrt(variance) == pytest.approx(1.96, abs=0.002)


@pytest.mark.parametrize(("wins", "losses"), [(6, 0), (9, 1), (1, 9), (30, 12), (0, 0)])
def test_the_p_value_of_right_or_wrong_answers_is_mcnemars(wins: int, losses: int) -> None:
    a = [0.0] * wins + [1.0] * losses + [1.0] * 5
    b = [1.0] * wins + [0.0] * losses + [1.0] * 5
    tail = sum(math.comb(wins + losses, k) for k in range(min(wins, losses) + 1)) / 2 ** (wins + losses)
    assert paired_difference(a, b).p_value == pytest.approx(min(1.0, 2 * tail))


def test_a_win_that_a_cluster_repeats_counts_once() -> None:
    """Six clusters that all won: 2 of 64 sign patterns, however many problems they have."""
    paired = paired_difference([0.0] * 60, [1.0] * 60, clusters_P=[index // 10 for index in range(60)])
    assert paired.p_value == pytest.approx(2 / 64)
    assert paired.lower < paired_difference([0.0] * 60, [1.0] * 60).lower


def test_no_p_value_is_zero() -> None:
    """Of ten thousand patterns at least the given one is as extreme, and its mirror image."""
    random = np.random.default_rng(0)
    gains = random.uniform(0.1, 0.9, 100)
    assert 0 < paired_difference([0.0] * 100, list(gains)).p_value <= 2e-4


def test_equal_graded_differences_have_an_interval_without_nan() -> None:
    paired = paired_difference([0.1, 0.2, 0.7], [0.2, 0.3, 0.8])
    assert paired.standard_error == pytest.approx(0.0)
    assert paired.lower < 0 < 0.1 < paired.upper
    assert paired.difference == pytest.approx(0.1)


def test_models_that_never_differ_are_not_known_to_be_equal() -> None:
    """The interval had no width where no problem of 30 was discordant."""
    paired = paired_difference([1.0] * 20 + [0.0] * 10, [1.0] * 20 + [0.0] * 10)
    assert (paired.difference, paired.p_value) == (0.0, 1.0)
    assert (paired.lower, paired.upper) == pytest.approx((-0.1135, 0.1135), abs=1e-4)
    assert paired.minimum_detectable_effect > 0.1


def test_rounding_is_neither_a_win_nor_a_spread() -> None:
    same = paired_difference([0.1 + 0.2, 0.5], [0.3, 0.5])
    assert (same.wins, same.ties, same.losses, same.p_value) == (0, 2, 0, 1.0)


def test_a_model_without_variation_has_no_correlation() -> None:
    assert paired_difference([1, 1, 1], [0, 1, 0]).correlation is None
    assert paired_difference([0, 1, 1], [0, 1, 1]).correlation == pytest.approx(1.0)


def test_values_of_other_problems_cannot_be_paired() -> None:
    with pytest.raises(ValueError, match="cannot be paired"):
        paired_difference([0.0], [0.0, 1.0])


@settings(max_examples=50, deadline=None)
@given(pairs)
def test_swapping_the_models_turns_the_difference_round(values: list[tuple[float, float]]) -> None:
    a, b = zip(*values, strict=True)
    forth, back = paired_difference(a, b), paired_difference(b, a)
    assert back.difference == pytest.approx(-forth.difference)
    assert (back.lower, back.upper) == pytest.approx((-forth.upper, -forth.lower))
    assert (back.wins, back.losses, back.p_value) == (forth.losses, forth.wins, forth.p_value)


@settings(max_examples=50, deadline=None)
@given(pairs)
def test_a_paired_difference_is_finite_and_consistent(values: list[tuple[float, float]]) -> None:
    paired = paired_difference(*zip(*values, strict=True))
    figures = (paired.difference, paired.standard_error, paired.lower, paired.upper, paired.p_value)
    assert all(math.isfinite(figure) for figure in figures)
    assert paired.wins + paired.ties + paired.losses == paired.num_problems == len(values)
    assert paired.lower <= paired.difference + 1e-12
    assert paired.difference - 1e-12 <= paired.upper
    assert 0 < paired.p_value <= 1


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
