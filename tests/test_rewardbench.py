"""RewardBench and RewardBench 2: small files in their formats, and scores worked by hand."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from reasonrl.config.reward_model import PreferenceDataSettings
from reasonrl.errors import DataError
from reasonrl.preference.evaluation.judge import rewardbench_report
from reasonrl.preference.evaluation.pairs import JudgedData, read_data
from reasonrl.preference.evaluation.rewardbench import (
    COUNTS,
    NUM_PAIRS,
    NUM_ROWS,
    Choice,
    choice_scores,
    is_rewardbench,
    section_scores,
    ties_scores,
)
from reasonrl.preference.evaluation.scored import ScoredPair


def read(folder: Path, rows: Sequence[Mapping[str, Any]]) -> JudgedData:
    """Read rows from a file. Any: columns."""
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_data(PreferenceDataSettings(path=str(path)))


def scored(data: JudgedData, score: Mapping[str, float]) -> list[ScoredPair]:
    """Pairs with the scores of their texts; those with another text are not scored."""
    there = [pair for pair in data.pairs if {pair.chosen, pair.rejected} <= score.keys()]
    return [ScoredPair(pair=pair, chosen=score[pair.chosen], rejected=score[pair.rejected]) for pair in there]


def test_the_tables_are_the_benchmarks() -> None:
    """Totals as published: 2,985 pairs, code and mathematics alike; 1,865 rows of version 2."""
    assert sum(NUM_PAIRS.values()) == 2985
    assert sum(NUM_ROWS.values()) == 1865
    reasoning = COUNTS["Reasoning"]
    assert reasoning["math-prm"] == sum(count for name, count in reasoning.items() if name != "math-prm")
    assert is_rewardbench(["math-prm", "donotanswer"])
    assert not is_rewardbench(["math-prm", "mine"])
    assert not is_rewardbench([])


def test_sections_are_weighted_by_the_counts_of_their_subsets() -> None:
    """Chat: 1/2 of alpacaeval-easy (100), all of mt-bench-med (40): (50 + 40) / 140. Reasoning: math-prm counts 984."""
    rows = [
        ("alpacaeval-easy", 1.0),
        ("alpacaeval-easy", -1.0),
        ("mt-bench-med", 0.5),
        ("math-prm", 1.0),
        ("hep-go", -1.0),
        ("hep-rust", 1.0),
        ("donotanswer", 0.0),
    ]
    report = section_scores(rows)
    assert report.sections == pytest.approx(
        {"Chat": 90 / 140, "Safety": 0.0, "Reasoning": (984 + 164) / (984 + 2 * 164)}
    )
    assert report.subsets["donotanswer"] == 0.0, "a tie counts nothing there"
    assert report.overall is None, "Chat Hard is missing"
    full = section_scores([*rows, ("llmbar-natural", 1.0)])
    assert full.overall == pytest.approx(sum(full.sections.values()) / 4)
    assert set(full.incomplete) == set(NUM_PAIRS)


def test_a_subset_with_all_its_pairs_is_complete() -> None:
    report = section_scores([("mt-bench-easy", 1.0)] * 28 + [("math-prm", 1.0)] * 447)
    assert {"mt-bench-easy", "math-prm"}.isdisjoint(report.incomplete)


def test_version_1_is_read_and_scored(tmp_path: Path) -> None:
    rows = [
        {"prompt": "A?", "chosen": "good", "rejected": "bad", "subset": "llmbar-natural", "id": 1},
        {"prompt": "B?", "chosen": "fine", "rejected": "poor", "subset": "llmbar-natural", "id": 2},
        {"prompt": "C?", "chosen": "bad", "rejected": "good", "subset": "mt-bench-hard", "id": 3},
    ]
    data = read(tmp_path, rows)
    assert (data.form, [pair.tags for pair in data.pairs]) == (
        "rewardbench",
        [("llmbar-natural",), ("llmbar-natural",), ("mt-bench-hard",)],
    )
    report = rewardbench_report(data, scored(data, {"good": 1, "bad": 0, "fine": 0, "poor": 3}))
    assert report is not None
    assert report.subsets == {"llmbar-natural": 0.5, "mt-bench-hard": 0.0}
    assert report.sections == {"Chat Hard": pytest.approx(0.5 * 100 / 137)}


def test_rows_with_other_subsets_are_ordinary_pairs(tmp_path: Path) -> None:
    data = read(tmp_path, [{"prompt": "A?", "chosen": "good", "rejected": "bad", "subset": "mine"}])
    assert data.form == "pairs"
    assert rewardbench_report(data, scored(data, {"good": 1, "bad": 0})) is None


def choice(right: Sequence[float], wrong: Sequence[float], id: str = "1", subset: str = "Math") -> Choice:
    return Choice(id=id, subset=subset, right=tuple(right), wrong=tuple(wrong))


def test_best_of_four_shares_the_first_place() -> None:
    """Alone first: 1; first with one other: 1/2; with three others: 1/4; not first: 0."""
    choices = [choice([3], [2, 1, 0]), choice([3], [3, 1, 0]), choice([3], [3, 3, 3]), choice([3], [4, 3, 3])]
    report = choice_scores(choices)
    assert report.subsets == {"Math": (1 + 0.5 + 0.25 + 0) / 4}
    assert (report.overall, report.ties) == (None, None)
    assert report.version == 2


def test_ties_worked_by_hand() -> None:
    """Prompt 1: gap 3 above spread 1, but its twin's gap is 0.5. Prompt 2: gap 1, spread 4; its twin is wrong."""
    choices = [
        choice([5], [4.5, 0], "ref:1", "Ties"),
        choice([6, 5], [2, 1], "tied:1", "Ties"),
        choice([1], [2], "ref:2", "Ties"),
        choice([9, 5], [4], "tied:2", "Ties"),
    ]
    score = ties_scores(choices)
    assert (score.tied_accuracy, score.ref_accuracy) == (1.0, 0.5)
    assert (score.preferred, score.preferred_hard) == (0.5, 0.0)
    assert score.margin == pytest.approx((math.tanh(0.5 / 1 - 1) + math.tanh(-1 / 4 - 1)) / 2)
    assert score.score == pytest.approx(0.3 + 0.3 * 0.5 + 0.2 * 0.5 + 0.01 * score.margin)
    assert choice_scores(choices).subsets == {"Ties": score.score}


def test_a_spread_of_nothing_counts_as_in_the_benchmarks_code() -> None:
    def margin(gap: float) -> float:
        twins = [choice([gap], [0], "ref:1", "ties"), choice([gap, gap], [0], "tied:1", "ties")]
        return ties_scores(twins).margin

    assert [margin(gap) for gap in (2.0, 0.0, -2.0)] == [1.0, 0.0, -1.0]


def test_all_six_subsets_make_an_overall_score() -> None:
    others = [choice([1], [0, 0, 0], subset=name) for name in NUM_ROWS if name != "Ties"]
    ties = [choice([1], [0], "ref:1", "Ties"), choice([1, 0.9], [0], "tied:1", "Ties")]
    report = choice_scores([*others, *ties])
    assert report.overall == pytest.approx((5 + report.subsets["Ties"]) / 6)


def test_an_unknown_id_in_ties_is_refused() -> None:
    with pytest.raises(DataError, match="'half:1', neither 'ref:N' nor 'tied:N'"):
        ties_scores([choice([1], [0], "half:1", "Ties")])


V2 = {"id": "7", "prompt": "Sum?", "chosen": ["good"], "rejected": ["a", "b", "c"], "num_correct": 1, "subset": "Math"}


def test_version_2_is_read_and_scored(tmp_path: Path) -> None:
    ties = [
        {**V2, "id": "ref:3", "subset": "Ties", "prompt": "Largest?", "chosen": ["red"], "rejected": ["a"]},
        {**V2, "id": "tied:3", "subset": "Ties", "chosen": ["red", "blue"], "rejected": ["a"], "num_correct": 2},
    ]
    data = read(tmp_path, [V2, *ties])
    assert (data.form, len(data.pairs), len(data.choices)) == ("rewardbench2", 3 + 1 + 2, 3)
    assert {pair.tags for pair in data.pairs} == {("Math",), ("Ties",)}
    score = {"good": 2.0, "a": 2.0, "b": 0.0, "c": 0.0, "red": 4.0, "blue": 3.5}
    report = rewardbench_report(data, scored(data, score))
    assert report is not None
    assert report.ties is not None
    assert report.subsets["Math"] == 0.5
    assert report.ties.score == pytest.approx(1.0 + 0.01 * math.tanh(1.5 / 0.5 - 1))
    assert report.num_rows == {"Math": 1, "Ties": 2}


def test_a_row_with_a_text_that_was_not_scored_is_left_out(tmp_path: Path) -> None:
    data = read(tmp_path, [V2, {**V2, "id": "8", "prompt": "Product?", "rejected": ["a", "b", "far too long"]}])
    report = rewardbench_report(data, scored(data, {"good": 2.0, "a": 1.0, "b": 0.0, "c": 0.0}))
    assert report is not None
    assert (report.num_rows, report.subsets) == ({"Math": 1}, {"Math": 1.0})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": 7}, "column 'id' of a row of RewardBench 2 is 7, not a text"),
        ({"num_correct": 2}, "num_correct is 2, but chosen has 1 texts"),
        ({"rejected": []}, "'chosen' and 'rejected' of a row of RewardBench 2 are lists of texts"),
        ({"prompt": ""}, "prompt.* is empty"),
    ],
)
def test_rows_that_are_not_the_benchmarks_are_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=rf"rows.jsonl:2: .*{message}"):
        read(tmp_path, [V2, {**V2, **change}])
