"""Figures of several samples a problem: against their definitions, by enumerating subsets and outcomes."""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations, product
from math import comb, sqrt
from pathlib import Path
from random import Random
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from results import result, with_rows, written

from reasonrl.errors import DataError
from reasonrl.evaluation import at_k
from reasonrl.evaluation.answers import answer_classes, with_answer_classes
from reasonrl.evaluation.at_k import best_at_k, maj_at_k, pass_at_k, pass_hat_k
from reasonrl.evaluation.estimates import sampling_error
from reasonrl.evaluation.figures import figure_values, figures, find_figure, label, missing_figures
from reasonrl.evaluation.files import read_result, read_summary
from reasonrl.evaluation.report import render_result
from reasonrl.evaluation.results import SuiteResult

values = st.sampled_from([0.0, 1.0, 0.25])
counts = st.integers(1, 8).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n)))
answers = st.lists(st.tuples(st.sampled_from([0, 1, 2, None]), values), min_size=1, max_size=7)
rewarded = st.lists(st.tuples(st.sampled_from([0.0, 1.0, 2.0, None]), values), min_size=1, max_size=7)


def _mean_over_subsets(num: int, k: int, of: Callable[[Sequence[int]], float]) -> float:
    return fmean(of(subset) for subset in combinations(range(num), k))


def _majority(voters: Sequence[tuple[int | None, float]]) -> float:
    """Return maj@k by its definition: each of the most frequent answers is worth the mean of its samples."""
    votes = Counter(answer for answer, _ in voters if answer is not None)
    if not votes:
        return 0.0
    winners = [answer for answer, count in votes.items() if count == max(votes.values())]
    return fmean(fmean(value for answer, value in voters if answer == winner) for winner in winners)


def _best(candidates: Sequence[tuple[float | None, float]]) -> float:
    """Return best@k by its definition: the samples of the highest reward share."""
    rewards = [-math.inf if reward is None else reward for reward, _ in candidates]
    return fmean(value for reward, (_, value) in zip(rewards, candidates, strict=True) if reward == max(rewards))


@settings(max_examples=50, deadline=None)
@given(counts)
def test_pass_at_k_is_the_share_of_subsets_with_a_right_answer(numbers: tuple[int, int, int]) -> None:
    num_samples, num_correct, k = numbers
    expected = _mean_over_subsets(num_samples, k, lambda subset: float(any(one < num_correct for one in subset)))
    assert pass_at_k(num_samples, num_correct, k) == pytest.approx(expected)


@settings(max_examples=50, deadline=None)
@given(counts)
def test_pass_hat_k_is_the_share_of_subsets_with_right_answers_only(numbers: tuple[int, int, int]) -> None:
    num_samples, num_correct, k = numbers
    expected = _mean_over_subsets(num_samples, k, lambda subset: float(all(one < num_correct for one in subset)))
    assert pass_hat_k(num_samples, num_correct, k) == pytest.approx(expected)


@settings(max_examples=50, deadline=None)
@given(answers, st.data())
def test_maj_at_k_is_the_mean_over_subsets_of_the_answer_with_most_votes(
    given_answers: list[tuple[int | None, float]], data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, len(given_answers)))
    classes, of_samples = zip(*given_answers, strict=True)
    expected = _mean_over_subsets(len(classes), k, lambda subset: _majority([given_answers[one] for one in subset]))
    assert maj_at_k(classes, of_samples, k) == pytest.approx(expected)


@settings(max_examples=50, deadline=None)
@given(rewarded, st.data())
def test_best_at_k_is_the_mean_over_subsets_of_the_sample_with_the_highest_reward(
    given_rewards: list[tuple[float | None, float]], data: st.DataObject
) -> None:
    k = data.draw(st.integers(1, len(given_rewards)))
    rewards, of_samples = zip(*given_rewards, strict=True)
    expected = _mean_over_subsets(len(rewards), k, lambda subset: _best([given_rewards[one] for one in subset]))
    assert best_at_k(rewards, of_samples, k) == pytest.approx(expected)


@settings(max_examples=50, deadline=None)
@given(counts, st.floats(0, 1))
def test_pass_at_k_and_pass_hat_k_expect_what_k_fresh_samples_give(
    numbers: tuple[int, int, int], chance: float
) -> None:
    """Over all numbers of right answers that n samples may have; the share alone, 1 - (1 - c/n)**k, is too low."""
    num_samples, _, k = numbers
    weights = [
        comb(num_samples, right) * chance**right * (1 - chance) ** (num_samples - right)
        for right in range(num_samples + 1)
    ]
    some = sum(weight * pass_at_k(num_samples, right, k) for right, weight in enumerate(weights))
    every = sum(weight * pass_hat_k(num_samples, right, k) for right, weight in enumerate(weights))
    assert some == pytest.approx(1 - (1 - chance) ** k)
    assert every == pytest.approx(chance**k)


@pytest.mark.parametrize(("num_samples", "k"), [(3, 2), (4, 3), (5, 2)])
def test_maj_at_k_expects_what_k_fresh_samples_give(num_samples: int, k: int) -> None:
    """Over all outcomes of n samples: the right answer, two wrong ones, or none."""
    outcomes = {(0, 1.0): 0.4, (1, 0.0): 0.3, (2, 0.0): 0.2, (None, 0.0): 0.1}
    expected = sum(
        math.prod(outcomes[one] for one in drawn) * _majority(drawn) for drawn in product(outcomes, repeat=k)
    )
    found = 0.0
    for drawn in product(outcomes, repeat=num_samples):
        classes, of_samples = zip(*drawn, strict=True)
        found += math.prod(outcomes[one] for one in drawn) * maj_at_k(classes, of_samples, k)
    assert found == pytest.approx(expected)


@pytest.mark.parametrize(("num_samples", "k"), [(3, 2), (5, 3)])
def test_best_at_k_expects_what_k_fresh_samples_give(num_samples: int, k: int) -> None:
    """Over all outcomes of n samples, of a reward that likes a wrong answer most."""
    outcomes = {(2.0, 0.0): 0.2, (1.0, 1.0): 0.5, (0.0, 0.0): 0.3}
    expected = sum(math.prod(outcomes[one] for one in drawn) * _best(drawn) for drawn in product(outcomes, repeat=k))
    found = 0.0
    for drawn in product(outcomes, repeat=num_samples):
        rewards, of_samples = zip(*drawn, strict=True)
        found += math.prod(outcomes[one] for one in drawn) * best_at_k(rewards, of_samples, k)
    assert found == pytest.approx(expected)


def test_a_majority_of_many_samples_is_near_the_mean_over_all_subsets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of C(20, 6) = 38,760 subsets, 200 are drawn, always the same ones."""
    random = Random(0)
    classes = [random.choice([0, 0, 1, 2, None]) for _ in range(20)]
    right = [float(one == 0) for one in classes]
    drawn = maj_at_k(classes, right, 6)
    assert at_k.subsets(20, 6).shape == (at_k.NUM_SUBSETS, 20)
    assert drawn == maj_at_k(classes, right, 6)
    at_k.subsets.cache_clear()
    monkeypatch.setattr(at_k, "MAX_SUBSETS", 40_000)
    every = maj_at_k(classes, right, 6)
    at_k.subsets.cache_clear()
    assert drawn != every
    assert drawn == pytest.approx(every, abs=4 * 0.5 / sqrt(200))


def test_samples_without_an_answer_have_no_vote_and_ties_share() -> None:
    assert maj_at_k([None, None, None, 0], [0.0, 0.0, 0.0, 1.0], 4) == 1.0
    assert maj_at_k([0, 1], [1.0, 0.0], 2) == 0.5
    assert maj_at_k([None, None], [0.0, 0.0], 2) == 0.0


@pytest.mark.parametrize("of", [lambda k: pass_at_k(4, 2, k), lambda k: pass_hat_k(4, 2, k)])
def test_k_needs_as_many_samples(of: Callable[[int], float]) -> None:
    with pytest.raises(DataError, match=r"pass.8 needs 8 samples a problem or more, but there are 4"):
        of(8)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.sampled_from([0.0, 1.0]), min_size=4, max_size=4), min_size=1, max_size=12))
def test_the_sampling_error_of_right_or_wrong_answers_is_that_of_their_shares(rows: list[list[float]]) -> None:
    shares = [fmean(row) for row in rows]
    expected = sqrt(fmean(q * (1 - q) / 3 for q in shares) / len(rows))
    assert sampling_error(rows) == pytest.approx(expected)


def test_the_sampling_error_is_the_spread_of_the_figure_over_new_samples() -> None:
    """Of 20 problems with 8 samples each, drawn 2,000 times: the formula's mean square is their variance."""
    random = np.random.default_rng(0)
    chances = random.uniform(size=(20, 1))
    drawn = [(random.random((20, 8)) < chances).astype(float) for _ in range(2000)]
    spread = float(np.std([one.mean() for one in drawn]))
    errors = [error for one in drawn[:200] if (error := sampling_error(one.tolist())) is not None]
    assert sqrt(fmean(error**2 for error in errors)) == pytest.approx(spread, rel=0.05)
    assert sampling_error([[1.0], [0.0]]) is None


def _equal(a: str, b: str) -> bool:
    return float(a) == float(b)


def test_equal_answers_share_a_class_by_the_suites_own_equivalence() -> None:
    parsed = ["1.0", None, "1", "2", "1.0", "2.00"]
    assert answer_classes(parsed, _equal) == (0, None, 0, 1, 0, 1)
    assert answer_classes(parsed) == (0, None, 1, 2, 0, 3)


def test_a_majority_counts_by_the_suites_equivalence_wherever_the_files_are_read(tmp_path: Path) -> None:
    """By their texts alone the right answers lose: 2 and 2 against 1, 1.0 and 1.00."""
    found = result([[1.0, 1.0, 0.0, 0.0, 1.0]])
    found = with_rows(found, *({"parsed": text} for text in ("1", "1.0", "2", "2", "1.00")))
    assert figures(found)["maj@5"].value == 0.0
    rows = with_answer_classes(found.rows, _equal)
    folder = written(dataclasses.replace(found, rows=rows), tmp_path / "sums")
    assert [row.answer_class for row in read_result(folder).rows] == [0, 0, 1, 1, 0]
    assert figures(read_result(folder))["maj@5"].value == 1.0


def _mixed() -> SuiteResult:
    """Make a result of two problems and four samples in which everything went wrong, one thing twice."""
    found = result([[1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0]])
    return with_rows(
        found,
        {"reward": 1.0, "metrics": {"loose": 1.0}},
        {"reward": 2.0, "finish_reason": "length", "parsed": None, "metrics": {"loose": 1.0}},
        {"reward": 0.0, "metrics": {"loose": 1.0}},
        {"reward": 0.5, "metrics": {"loose": 1.0}},
        {"reward": None, "outcome": "timeout", "why": "60 s", "parsed": None, "metrics": {"loose": 0.0}},
        {"reward": 0.0, "outcome": "error", "why": "ValueError", "parsed": None},
        {"reward": 3.0, "metrics": {"loose": 1.0}},
        {"reward": 1.0, "outcome": "timeout", "why": "60 s", "metrics": {"loose": 0.0}},
    )


FIGURES = {
    "exact": 0.5,
    "pass@2": (1 + 1 / 2) / 2,
    "pass^2": (1 / 2 + 0) / 2,
    "maj@2": (1 + 2.5 / 6) / 2,
    "best@2": 0.5,
    "pass@4": 1.0,
    "pass^4": 0.0,
    "maj@4": 0.75,
    "best@4": 0.5,
    "loose": (1 + 1 / 4) / 2,
    "truncated": 0.125,
    "unparsed": 0.375,
    "timeout": 0.25,
    "error": 0.125,
}
"""Of :func:`_mixed`, worked by hand."""


def test_a_result_has_every_figure_with_its_errors_in_memory_and_on_disk(tmp_path: Path) -> None:
    found = figures(_mixed())
    assert {name: estimate.value for name, estimate in found.items()} == pytest.approx(FIGURES)
    for name, of_problem in figure_values(_mixed()).items():
        assert fmean(of_problem.values()) == pytest.approx(FIGURES[name])
    summary = read_summary(written(_mixed(), tmp_path / "sums"))
    assert {metric["id"]: metric["value"] for metric in summary["metrics"]} == pytest.approx(FIGURES)
    main, some, *_ = summary["metrics"]
    assert main["se_sampling"] == pytest.approx(sqrt((0.75 * 0.25 + 0.25 * 0.75) / 3 / 2 / 2))
    assert (main["label"], main["n"], main["clusters"], some["se_sampling"]) == ("avg@4", 2, 2, None)
    assert summary["completions"] == {"sampled": 8, "scored": 5}
    assert summary["rates"] == {name: FIGURES[name] for name in ("truncated", "unparsed", "timeout", "error")}
    assert not any(metric["higher_is_better"] for metric in summary["metrics"][-4:])


def test_a_person_reads_every_figure_and_how_many_were_scored() -> None:
    said = render_result(_mixed(), "tiny")
    assert "avg@4      50.0% [" in said
    assert all(f"  {name} " in said for name in FIGURES if name != "exact")
    assert "scored 5 of 8 completions" in said
    assert "effective sample size and Student's t" in said


def test_one_sample_a_problem_has_no_figures_of_several() -> None:
    found = figures(result([[1.0], [0.0], [1.0]]))
    assert list(found) == ["exact", "truncated", "unparsed", "timeout", "error"]
    assert (found["exact"].method, found["exact"].sampling_error) == ("wilson", None)
    assert not list(missing_figures(result([[1.0], [0.0]])))


def test_k_goes_in_powers_of_two_to_the_number_of_samples_or_is_what_was_asked_for() -> None:
    six = result([[1.0, 0.0, 1.0, 1.0, 0.0, 0.0]] * 2)
    assert [name for name in figures(six) if name.startswith("pass@")] == ["pass@2", "pass@4", "pass@6"]
    assert [name for name in figures(six, [3, 1]) if name.startswith("pass@")] == ["pass@1", "pass@3"]
    assert figures(six, [1])["pass@1"].value == figures(six)["exact"].value
    with pytest.raises(DataError, match=r"no pass@8 of problems with 6 samples\. k goes from 1 to 6"):
        figures(six, [8])


def test_unequal_numbers_of_samples_count_each_problem_alike_and_k_ends_at_the_fewest() -> None:
    found = result([[1.0, 1.0, 1.0, 1.0, 1.0], [0.0, 0.0]])
    assert figures(found)["exact"].value == 0.5
    assert [name for name in figures(found) if name.startswith("pass")] == ["pass@2", "pass^2"]
    assert "problems have from 2 to 5 samples" in next(missing_figures(found))
    with pytest.raises(DataError, match="no pass@4 of problems with 2 samples"):
        figures(found, [4])


def test_figures_that_cannot_be_are_said_to_be_missing() -> None:
    """Pass@k of a graded metric, and a majority where each answer stands alone."""
    graded = with_rows(result([[0.5, 0.25]]), {"parsed": "a"}, {"parsed": "b"})
    assert [name for name in figures(graded) if "@" in name or "^" in name] == []
    assert list(missing_figures(graded)) == [
        "no pass@k and pass^k: the metric gives values between 0 and 1",
        "no maj@k: no two samples of a problem give the same answer",
    ]


def test_all_figures_have_the_errors_of_clusters() -> None:
    rows = [[1.0, 0.0, 1.0, 1.0]] * 5 + [[0.0, 0.0, 1.0, 0.0]] * 5
    alone = result(rows)
    together = with_rows(alone, *({"cluster": str(row.problem_id < "p5")} for row in alone.rows))
    for name, estimate in figures(together).items():
        assert (estimate.num_problems, estimate.num_clusters) == (10, 2)
        assert estimate.upper - estimate.lower >= figures(alone)[name].upper - figures(alone)[name].lower


def test_figures_have_the_names_that_people_use() -> None:
    known = figures(_mixed())
    assert label("exact", 8) == "avg@8"
    assert (label("exact", 1), label("pass@4", 8)) == ("exact", "pass@4")
    assert find_figure("avg@4", known, 4, "here") == find_figure("exact", known, 4, "here") == "exact"
    with pytest.raises(DataError, match=r"here: there is no figure 'maj@3'. Did you mean 'maj@"):
        find_figure("maj@3", known, 4, "here")


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 6), st.data())
def test_every_figure_of_any_result_is_a_share_with_an_interval_around_it(
    num_problems: int, num_samples: int, data: st.DataObject
) -> None:
    rows = [[data.draw(values) for _ in range(num_samples)] for _ in range(num_problems)]
    found = result(rows)
    changes = [
        {"parsed": data.draw(st.sampled_from(["a", "b", None])), "reward": data.draw(st.sampled_from([0.0, 1.0, None]))}
        for _ in found.rows
    ]
    for estimate in figures(with_rows(found, *changes)).values():
        assert 0 <= estimate.lower <= estimate.value + 1e-12
        assert estimate.value - 1e-12 <= estimate.upper <= 1
