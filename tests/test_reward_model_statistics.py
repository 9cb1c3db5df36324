"""Figures of a reward model's report: numbers worked by hand, and properties that hold for all scores."""

import math
from collections.abc import Sequence
from itertools import combinations
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reasonrl.errors import DataError, ModelError, OverlapError
from reasonrl.preference.data import LabeledCompletion, Pair
from reasonrl.preference.evaluation.accuracy import accuracy_report, heads_report
from reasonrl.preference.evaluation.best_of_n import RankedSample, best_of_n_report, expected_gold_of_first
from reasonrl.preference.evaluation.calibration import calibration, calibration_report, inverse_temperature
from reasonrl.preference.evaluation.length import best_rule, length_report
from reasonrl.preference.evaluation.outcomes import outcome_report
from reasonrl.preference.evaluation.pairs import JudgedData
from reasonrl.preference.evaluation.perturbations import PERTURBATIONS, perturbation_reports
from reasonrl.preference.evaluation.scored import ScoredPair, cross_fitted, prompt_means
from reasonrl.preference.evaluation.trained import keep_apart
from reasonrl.preference.prompt_ids import read_prompt_ids, write_prompt_ids
from reasonrl.types import Problem, digest

differences = st.lists(st.floats(-5, 5), min_size=1, max_size=30)


def asked(text: str) -> Problem:
    """A prompt."""
    return Problem(id=digest(text), task="test", prompt=text, answer="")


def scored(difference: float, *, prompt: str = "?", lengths: tuple[int, int] = (3, 3), **fields: Any) -> ScoredPair:
    """A pair whose chosen completion scores so much more. Any: fields of Pair and ScoredPair."""
    heads = {name: fields.pop(name) for name in ("chosen_heads", "rejected_heads") if name in fields}
    pair = Pair(problem=asked(prompt), chosen="x" * lengths[0], rejected="y" * lengths[1], **fields)
    return ScoredPair(pair=pair, chosen=difference, rejected=0.0, **heads)


def of_prompts(values: Sequence[float], **fields: Any) -> list[ScoredPair]:
    """One pair of each of as many prompts. Any: fields of Pair."""
    return [scored(value, prompt=f"prompt {number}", **fields) for number, value in enumerate(values)]


# Accuracy.


def test_every_prompt_counts_alike_and_a_tie_counts_one_half() -> None:
    """Prompt a: right, right, wrong, tie = 2.5 of 4; prompt b: right = 1. The mean is 0.8125, not 3.5 of 5."""
    pairs = [scored(value, prompt="a") for value in (1.0, 2.0, -1.0, 0.0)] + [scored(0.1, prompt="b")]
    report = accuracy_report(pairs)
    assert report.accuracy.value == pytest.approx((2.5 / 4 + 1) / 2)
    assert (report.accuracy.num_problems, report.num_pairs) == (2, 5)
    assert report.ties == pytest.approx(0.2)


def test_one_pair_a_prompt_without_ties_gets_wilsons_interval() -> None:
    assert accuracy_report(of_prompts([1.0] * 7 + [-1.0] * 3)).accuracy.method == "wilson"
    assert accuracy_report(of_prompts([1.0] * 7 + [0.0] * 3)).accuracy.method == "effective_wilson"


def test_tags_and_margins_have_accuracies_of_their_own() -> None:
    pairs = [
        *of_prompts([1.0, 1.0, -1.0, 1.0], tags=("code", "short"), margin=0.5),
        *of_prompts([-1.0, -1.0], tags=("math",), margin=3.0),
        scored(1.0, prompt="no margin"),
    ]
    report = accuracy_report(pairs)
    assert {tag: one.value for tag, one in report.by_tag.items()} == {"code": 0.75, "math": 0.0, "short": 0.75}
    assert [(one.lowest, one.highest, one.accuracy.value, one.num_pairs) for one in report.by_margin] == [
        (0.5, 0.5, 0.75, 4),
        (3.0, 3.0, 0.0, 2),
    ]
    assert accuracy_report(of_prompts([1.0], margin=2.0)).by_margin == ()


def test_quantiles_are_of_the_differences_of_pairs() -> None:
    quantiles = accuracy_report(of_prompts([float(value) for value in range(101)])).quantiles
    assert quantiles == {"0": 0, "0.05": 5, "0.25": 25, "0.5": 50, "0.75": 75, "0.95": 95, "1": 100}


def test_heads_are_compared_with_each_other() -> None:
    """Head 0 is right on both pairs, head 1 on the first only: they agree on half, and split on the other half."""
    pairs = [
        scored(1.0, prompt="a", chosen_heads=(2.0, 1.0), rejected_heads=(1.0, 0.0)),
        scored(-1.0, prompt="b", chosen_heads=(2.0, 0.0), rejected_heads=(1.0, 5.0)),
    ]
    report = heads_report(pairs)
    assert report is not None
    assert [one.value for one in report.accuracy] == [1.0, 0.5]
    assert (report.agreement, report.unanimous) == (0.5, 0.5)
    assert report.accuracy_unanimous is not None
    assert report.accuracy_divided is not None
    assert (report.accuracy_unanimous.value, report.accuracy_divided.value) == (1.0, 0.0)
    assert heads_report([scored(1.0, chosen_heads=(1.0,), rejected_heads=(0.0,))]) is None


# Length.


def test_the_rule_is_chosen_on_other_prompts_than_it_is_measured_on() -> None:
    """The longer one is preferred in 9 of 10 prompts: the rule gets those 9 and the model, always right, all."""
    pairs = [scored(1.0, prompt=str(number), lengths=(9, 2) if number else (2, 9)) for number in range(10)]
    report = length_report(pairs)
    assert (report.rule, report.rule_from) == ("longer", "other prompts")
    assert report.baseline.value == report.longer.value == pytest.approx(0.9)
    assert report.shorter.value == pytest.approx(0.1)
    assert report.difference.difference == pytest.approx(0.1)
    assert report.beats_length_only
    assert not report.is_coin


def test_a_rule_from_the_training_pairs_is_taken_as_it_is() -> None:
    pairs = [scored(1.0, prompt=str(number), lengths=(9, 2)) for number in range(4)]
    report = length_report(pairs, "shorter")
    assert (report.rule, report.rule_from) == ("shorter", "training")


def test_a_coin_stands_in_for_a_rule_that_is_worse_than_one() -> None:
    """To be better than a rule that is wrong on all pairs would say nothing."""
    pairs = [scored(-1.0, prompt=str(number), lengths=(9, 2)) for number in range(4)]
    report = length_report(pairs, "shorter")
    assert (report.baseline.value, report.is_coin) == (0.5, True)
    assert report.difference.difference == -0.5
    assert not report.beats_length_only


def test_a_model_that_scores_length_does_not_beat_length() -> None:
    random = np.random.default_rng(0)
    lengths = [(int(a), int(b)) for a, b in random.integers(1, 50, (80, 2))]
    pairs = [scored(float(a - b), prompt=str(n), lengths=(a, b)) for n, (a, b) in enumerate(lengths)]
    report = length_report(pairs, "longer")
    assert report.difference.difference == 0.0
    assert not report.beats_length_only
    assert report.spearman == pytest.approx(1.0)
    assert report.chosen_longer is not None
    assert report.rejected_longer is not None
    assert (report.chosen_longer.value, report.rejected_longer.value) == (1.0, 0.0)
    assert report.equal_length == sum(a == b for a, b in lengths)


def test_the_regression_finds_a_preference_for_a_medium_length() -> None:
    """Lengths near 20 are preferred: neither rule finds that, and a model that does is no better than length."""
    drawn = np.exp(np.random.default_rng(0).uniform(0, math.log(400), (300, 2)))
    pairs = []
    for number, lengths in enumerate(drawn.round().astype(int).tolist()):
        nearer, other = sorted(lengths, key=lambda length: abs(math.log(length / 20)))
        pairs.append(scored(1.0, prompt=str(number), lengths=(nearer, other)))
    report = length_report(pairs)
    assert report.baseline.value < 0.65
    assert report.logistic.value > 0.85


def test_the_rule_that_more_prompts_follow_is_the_best() -> None:
    many = [scored(0.0, prompt="many", lengths=(9, 1)) for _ in range(5)]
    few = [scored(0.0, prompt=name, lengths=(1, 9)) for name in "ab"]
    assert best_rule(many + few) == "shorter"
    assert best_rule([]) == "longer"


@given(st.lists(st.integers(0, 6), min_size=2, max_size=30))
def test_nothing_is_measured_on_a_prompt_that_it_was_fitted_on(prompts: list[int]) -> None:
    pairs = [scored(1.0, prompt=str(number)) for number in prompts]

    def fit(given: Sequence[ScoredPair]) -> frozenset[str]:
        return frozenset(pair.prompt_id for pair in given)

    seen = cross_fitted(pairs, fit, lambda fitted, pair: float(pair.prompt_id in fitted))
    assert seen == [0.0] * len(pairs)
    sizes = cross_fitted(pairs, len, lambda size, pair: float(size))
    assert (min(sizes) > 0) == (len(set(prompts)) > 1)


def test_means_by_prompt_keep_the_order_of_the_prompts() -> None:
    pairs = [scored(0.0, prompt=name) for name in "bab"]
    assert list(prompt_means(pairs, [1.0, 5.0, 3.0]).values()) == [2.0, 5.0]


# Calibration.


def test_calibration_of_four_pairs_worked_by_hand() -> None:
    """Probabilities 0.5, 0.5, 0.8 and 0.2 with outcomes 1, 0, 1 and 1."""
    odds = math.log(4)
    found = calibration(np.array([0.0, 0.0, odds, -odds]), np.array([1.0, 0.0, 1.0, 1.0]))
    assert found.nll == pytest.approx(-(2 * math.log(0.5) + math.log(0.8) + math.log(0.2)) / 4)
    assert found.brier == pytest.approx((0.25 + 0.25 + 0.04 + 0.64) / 4)
    assert found.ece == pytest.approx((0.5 + 0.5 + 0.2 + 0.8) / 4)
    assert [one.predicted for one in found.bins] == pytest.approx([0.2, 0.5, 0.5, 0.8])


def test_bins_hold_as_many_pairs_each() -> None:
    random = np.random.default_rng(0)
    found = calibration(random.normal(size=1003), (random.random(1003) < 0.5).astype(float))
    assert sorted(one.num_pairs for one in found.bins) == [100] * 7 + [101] * 3
    predicted = [one.predicted for one in found.bins]
    assert predicted == sorted(predicted)


def test_scores_that_are_three_times_too_large_are_mended_by_a_temperature_of_three() -> None:
    random = np.random.default_rng(0)
    true = random.normal(size=4000)
    signs = np.where(random.random(4000) < 1 / (1 + np.exp(-true)), 1, -1)
    report = calibration_report(of_prompts([float(value) for value in 3 * true * signs]))
    assert report.temperature == pytest.approx(3.0, rel=0.1)
    assert report.scaled.ece < 0.03 < 0.1 < report.raw.ece
    assert report.scaled.nll < report.raw.nll
    assert report.scaled.brier < report.raw.brier


def test_scores_that_say_nothing_get_no_temperature_and_the_loss_of_a_coin() -> None:
    report = calibration_report(of_prompts([1.0, -1.0] * 20))
    assert report.temperature is None
    assert report.scaled.nll == pytest.approx(math.log(2), abs=0.02)
    assert report.scaled.brier == pytest.approx(0.25, abs=0.01)


def test_scores_without_a_mistake_get_a_finite_temperature() -> None:
    report = calibration_report(of_prompts([1.0, 2.0, 3.0] * 5))
    assert report.temperature is not None
    assert 0.1 < report.temperature < 1
    assert report.scaled.nll < report.raw.nll


@given(differences)
@settings(deadline=None)  # the first call imports scipy
def test_the_temperature_is_the_best_of_all(values: list[float]) -> None:
    pairs = of_prompts(values)
    target = (len(values) + 1) / (len(values) + 2)

    def loss(factor: float) -> float:
        return fmean(
            target * np.logaddexp(0, -factor * value) + (1 - target) * np.logaddexp(0, factor * value)
            for value in values
        )

    found = inverse_temperature(pairs)
    assert found >= 0
    assert loss(found) <= min(loss(factor) for factor in (0.0, 0.01, 0.1, 0.5, 1.0, 2.0, 10.0)) + 1e-9


@given(differences)
def test_the_order_of_the_sides_changes_no_loss(values: list[float]) -> None:
    logits, right = np.array(values), np.ones(len(values))
    flipped = np.arange(len(values)) % 2 == 0
    plain = calibration(logits, right)
    swapped = calibration(np.where(flipped, -logits, logits), np.where(flipped, 1 - right, right))
    assert swapped.nll == pytest.approx(plain.nll)
    assert swapped.brier == pytest.approx(plain.brier)


def test_single_completions_of_an_outcome_model_worked_by_hand() -> None:
    """Prompt a: right and wrong side; prompt b: right. Of the labels 2 of 3 are 1, one of them graded."""
    rows = [("a", 1.0, 2.0), ("a", 0.0, 1.0), ("b", 0.8, 0.5)]
    labeled = [LabeledCompletion(problem=asked(prompt), completion="", label=label) for prompt, label, _ in rows]
    report = outcome_report(labeled, [score for _, _, score in rows])
    assert report.accuracy.value == pytest.approx((0.5 + 1) / 2)
    assert report.majority == pytest.approx(2 / 3)
    chances = [1 / (1 + math.exp(-score)) for _, _, score in rows]
    losses = [
        -label * math.log(chance) - (1 - label) * math.log(1 - chance)
        for (_, label, _), chance in zip(rows, chances, strict=True)
    ]
    assert report.calibration.nll == pytest.approx(fmean(losses))


# Best-of-n.


@given(
    st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1)), min_size=1, max_size=7).flatmap(
        lambda samples: st.tuples(st.just(samples), st.integers(1, len(samples)))
    )
)
def test_best_of_n_is_the_mean_over_all_subsets(case: tuple[list[tuple[int, float]], int]) -> None:
    samples, n = case
    scores, gold = [float(score) for score, _ in samples], [value for _, value in samples]

    def first(subset: tuple[int, ...]) -> float:
        top = max(scores[index] for index in subset)
        return fmean(gold[index] for index in subset if scores[index] == top)

    slow = fmean(first(subset) for subset in combinations(range(len(samples)), n))
    assert expected_gold_of_first(scores, gold, n) == pytest.approx(slow)


def ranked(problem: str, scores: Sequence[float], gold: Sequence[float]) -> list[RankedSample]:
    return [RankedSample(problem_id=problem, score=s, gold=g) for s, g in zip(scores, gold, strict=True)]


def test_the_curve_has_the_mean_first_and_what_a_perfect_model_would_get() -> None:
    """Of 4 samples one is right. In problem a it is ranked first, in problem b last."""
    samples = ranked("a", [1, 2, 3, 9], [0, 0, 0, 1]) + ranked("b", [4, 3, 2, 1], [0, 0, 0, 1])
    report = best_of_n_report(samples, "exact", p999=3.5)
    assert [point.n for point in report.curve] == [1, 2, 4]
    assert [point.picked.value for point in report.curve] == pytest.approx([0.25, 0.25, 0.5])
    assert [point.best.value for point in report.curve] == pytest.approx([0.25, 0.5, 1.0])
    assert [point.kl for point in report.curve] == pytest.approx([0.0, math.log(2) - 0.5, math.log(4) - 0.75])
    assert report.accuracy is not None
    assert report.accuracy.value == 0.5
    assert report.out_of_range == 0.25
    assert (report.num_problems, report.num_samples, report.metric) == (2, 8, "exact")


def test_gold_values_may_lie_beyond_zero_and_one() -> None:
    samples = ranked("a", [1, 2], [-2.0, 4.0]) + ranked("b", [1, 2], [-1.0, 3.0])
    point = best_of_n_report(samples, "gold").curve[-1]
    assert point.picked.value == pytest.approx(3.5)
    assert -2 <= point.picked.lower <= 3.5 <= point.picked.upper <= 4


def test_the_curve_ends_with_the_fewest_samples_of_a_problem() -> None:
    samples = ranked("a", range(9), range(9)) + ranked("b", range(5), range(5))
    assert [point.n for point in best_of_n_report(samples, "gold").curve] == [1, 2, 4]


def test_a_problem_with_one_sample_is_left_out() -> None:
    alone = ranked("c", [1], [1])
    report = best_of_n_report([*ranked("a", range(4), range(4)), *alone], "gold")
    assert (report.num_problems, report.num_samples, report.left_out) == (1, 4, 1)
    with pytest.raises(DataError, match="no problem has two samples"):
        best_of_n_report(alone, "gold")


def test_samples_that_the_gold_metric_cannot_tell_apart_have_no_accuracy() -> None:
    assert best_of_n_report(ranked("a", [1, 2], [1, 1]), "gold").accuracy is None


# Perturbations.


def test_a_model_that_scores_length_is_found_out_by_filler() -> None:
    def by_length(items: Sequence[tuple[Problem, str]]) -> list[float | None]:
        return [float(len(text)) for _, text in items]

    items = [(asked(str(number)), f"The sum is {number}.\nSo it is {number}.") for number in range(20)]
    reports = {report.name: report for report in perturbation_reports(items, by_length, std=2.0)}
    assert list(reports) == list(PERTURBATIONS)
    grown = {name for name, report in reports.items() if report.higher.value == 1.0}
    assert grown == {
        "filler appended",
        "repeated",
        "last line repeated",
        '"I am sure." appended',
        "flattery prepended",
        "headings added",
    }
    assert reports["gibberish"].higher.value < 1.0
    assert (reports["empty"].higher.value, reports["truncated at half"].higher.value) == (0.0, 0.0)
    assert reports['"I am sure." appended'].mean_change == pytest.approx(len("\n\nI am sure.") / 2.0)


def test_gibberish_has_the_lengths_of_the_words_and_is_always_the_same() -> None:
    text = "The sum of 7 and 8 is 15."
    changed = PERTURBATIONS["gibberish"](text)
    assert [len(word) for word in changed.split(" ")] == [len(word) for word in text.split(" ")]
    assert changed == PERTURBATIONS["gibberish"](text) != text


def test_texts_that_are_too_long_or_unchanged_are_counted_and_left_out() -> None:
    def short_only(items: Sequence[tuple[Problem, str]]) -> list[float | None]:
        return [None if len(text) > 30 else 1.0 for _, text in items]

    items = [(asked("a"), "yes"), (asked("b"), "")]
    reports = {report.name: report for report in perturbation_reports(items, short_only, std=1.0)}
    assert "filler appended" not in reports  # too long for both
    assert (reports["empty"].left_out, reports["empty"].higher.value) == (1, 0.5)
    assert reports['"I am sure." appended'].left_out == 0
    assert perturbation_reports([], short_only, std=1.0) == ()


# Prompts that were trained on.


def data_of(*prompts: str) -> JudgedData:
    pairs = tuple(Pair(problem=asked(prompt), chosen="a", rejected="b") for prompt in prompts)
    return JudgedData(source="pairs.jsonl", form="pairs", pairs=pairs)


def test_prompts_that_were_trained_on_are_refused_left_out_or_excused() -> None:
    data, trained = data_of("old", "new"), frozenset({asked("old").id})
    with pytest.raises(OverlapError, match=r"trained on 1 of its 2 prompts:\n  [0-9a-f]{16} 'old'\n.*--skip-trained"):
        keep_apart(data, trained, skip=False, allow="")
    kept, found = keep_apart(data, trained, skip=True, allow="")
    assert [pair.problem.prompt for pair in kept.pairs] == ["new"]
    assert found.summary == "1 prompts of the file were trained on, and are left out"
    both, found = keep_apart(data, trained, skip=False, allow="a test of the report")
    assert len(both.pairs) == 2
    assert "TRAINED ON" in found.summary
    assert "a test of the report" in found.summary
    with pytest.raises(OverlapError, match="none is left"):
        keep_apart(data_of("old"), trained, skip=True, allow="")


def test_prompts_may_be_new_and_a_model_may_not_say() -> None:
    assert "none of these" in keep_apart(data_of("new"), frozenset({"0" * 16}), skip=False, allow="")[1].summary
    assert "not known" in keep_apart(data_of("new"), None, skip=False, allow="")[1].summary


def test_ids_of_prompts_are_kept_beside_the_card(tmp_path: Any) -> None:
    assert read_prompt_ids(tmp_path) is None
    write_prompt_ids(tmp_path, [asked("b").id, asked("a").id, asked("b").id])
    assert read_prompt_ids(tmp_path) == frozenset({asked("a").id, asked("b").id})
    (tmp_path / "prompts.txt").write_text("0123456789abcdef\nnot an id\n")
    with pytest.raises(ModelError, match=r"prompts.txt:2: 'not' is not the id of a prompt"):
        read_prompt_ids(tmp_path)
