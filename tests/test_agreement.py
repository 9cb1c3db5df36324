"""`reasonrl rewards grade` on labels and on preferences: how far a reward, or a judge, agrees with them."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from judge_servers import judging, serving, texts_of, verdict
from typer.testing import CliRunner

from reasonrl.commands import app
from reasonrl.commands.installed import add_commands
from reasonrl.errors import ReasonRLError
from reasonrl_author.agreement import cohens_kappa, preference_kappa
from reasonrl_author.preferences import OTHER, has_preferences, read_preferences

CODE = """
def longer(text):
    return float(len(text))

def longest(texts):
    return [float(len(text) == max(map(len, texts))) for text in texts]

def first(texts):
    return [1.0] + [0.0] * (len(texts) - 1)

def share(text):
    return len(text) / 10

def beats(text, meta):
    return float(len(text) > len(meta["other_completion"]))

def column(meta, answer):
    return float(meta["level"] == "easy" and answer == "4")

def fails(text):
    raise ValueError("no")
"""
PREFERENCES: list[Mapping[str, Any]] = [
    {"prompt": "What is 7 + 1?", "chosen": "It is 8.", "rejected": "9"},
    {"prompt": "What is 2 + 2?", "chosen": "4", "rejected": "It is 5."},
    {"prompt": "What is 1 + 1?", "chosen": "2", "rejected": "3"},
    {
        "prompt": [{"role": "user", "content": "Name a color."}],
        "chosen": [{"role": "assistant", "content": "Blue."}],
        "rejected": [{"role": "assistant", "content": "Cat"}],
    },
]


@pytest.fixture
def grade(in_folder: Path) -> Any:
    """Run the command on rows, and return what it printed with the lines that it wrote. Any: JSON."""
    add_commands(app)
    Path("rewards.py").write_text(CODE)

    def run(reward: str, rows: Sequence[Mapping[str, Any]], *options: str) -> tuple[str, list[dict[str, Any]]]:
        Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        command = ["rewards", "grade", reward, "--pairs", "rows.jsonl", "--out", "out.jsonl", "--overwrite", *options]
        result = CliRunner().invoke(app, command, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output, [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]

    return run


# Kappa


def test_kappa_is_the_agreement_beyond_chance() -> None:
    found = cohens_kappa({("yes", "yes"): 20, ("yes", "no"): 5, ("no", "yes"): 10, ("no", "no"): 15}, 50)
    assert found is not None
    assert found.value == pytest.approx(0.4)  # (0.70 - 0.50) / (1 - 0.50)
    assert found.lower == pytest.approx(0.1250, abs=1e-4)
    assert found.upper == pytest.approx(0.6179, abs=1e-4)


def test_kappa_of_full_agreement_has_an_interval_and_of_one_class_there_is_none() -> None:
    full = cohens_kappa({(True, True): 5, (False, False): 5}, 10)
    assert full is not None
    assert full.value == 1
    assert full.upper == pytest.approx(1.0)
    assert full.lower < 0.5
    assert cohens_kappa({(True, True): 10}, 10) is None
    assert cohens_kappa({}, 0) is None


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("abc")), min_size=1, max_size=60))
def test_kappa_lies_in_its_interval_and_the_interval_within_what_is_possible(rows: list[tuple[str, str]]) -> None:
    found = cohens_kappa(Counter(rows), len(rows))
    if found is not None:
        assert -1e9 < found.lower <= found.value + 1e-9
        assert found.value <= found.upper + 1e-9 <= 1 + 2e-9


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_the_kappa_of_preferences_stands_for_both_orders(agreed: int, tied: int, reversed_: int) -> None:
    total = agreed + tied + reversed_
    if not total:
        return
    found = preference_kappa(agreed, tied, total)
    assert found is not None
    by_chance = (1 - tied / total) / 2
    assert found.value == pytest.approx((agreed / total - by_chance) / (1 - by_chance))
    if not tied:
        assert found.value == pytest.approx(2 * agreed / total - 1)


# Labels


def test_labels_are_compared_with_values_at_the_threshold(grade: Any) -> None:
    rows = [
        {"id": n, "answer": "", "text": "x" * length, "expected": expected}
        for n, (length, expected) in enumerate([(9, True), (7, True), (3, True), (8, False), (2, False), (1, False)])
    ]
    said, lines = grade("./rewards.py:share", rows, "--threshold", "0.5")
    assert "3 right (value 0.5 or more)" in said
    assert "accuracy: 66.67 % (4 of 6 as expected" in said
    assert "Cohen's kappa: 0.333 (95 % interval -0.400 to 0.806)" in said
    assert [line["right"] for line in lines] == [True, True, False, True, False, False]
    said, lines = grade("./rewards.py:share", rows)
    assert "0 right (value 1 or more)" in said
    assert "Cohen's kappa: 0.000" in said


def test_labels_without_decisions_have_no_kappa(grade: Any) -> None:
    said, _ = grade("./rewards.py:fails", [{"id": 1, "answer": "", "text": "x", "expected": True}])
    assert "kappa" not in said
    said, _ = grade("./rewards.py:share", [{"id": 1, "answer": "", "text": "x", "expected": False}])
    assert "Cohen's kappa: not defined: all labels and all decisions are alike" in said


# Preferences


@pytest.mark.parametrize("reward", ["longer", "longest", "beats"])
def test_the_completion_that_was_chosen_should_be_worth_more(grade: Any, reward: str) -> None:
    said, lines = grade(f"./rewards.py:{reward}", PREFERENCES)
    assert "accuracy: 50.00 % (2 of 4 pairs, chosen worth more than rejected; 95 % interval 15.00 to 85.00)" in said
    assert "with ties as half: 62.50 %" in said
    assert "Cohen's kappa: 0.200" in said  # chance agrees on half of the three that are not tied
    assert "ties: 1: 3" in said
    assert "rejected worth more than chosen: 1: 2" in said
    assert [line["preferred"] for line in lines] == ["chosen", "rejected", "tie", "chosen"]
    assert ("both completions of a pair were given to it together" in said) == (reward == "longest")


def test_a_reward_of_a_group_is_not_told_which_completion_was_chosen(grade: Any) -> None:
    rows = [{"prompt": f"What is {n}?", "chosen": "yes", "rejected": "no"} for n in range(60)]
    _, lines = grade("./rewards.py:first", rows)
    assert 15 < sum(line["preferred"] == "chosen" for line in lines) < 45


def test_further_columns_reach_the_reward_and_lost_scores_are_counted_apart(grade: Any) -> None:
    rows = [{**PREFERENCES[1], "level": "easy", "answer": 4}, {**PREFERENCES[0], "level": "hard", "answer": 8}]
    _, lines = grade("./rewards.py:column", rows)
    assert [line["chosen"]["value"] for line in lines] == [1.0, 0.0]
    said, lines = grade("./rewards.py:fails", PREFERENCES)
    assert "accuracy: no pair has values" in said
    assert "pairs without a value: 4: 1, 2, 3, 4" in said
    assert [line["preferred"] for line in lines] == [None] * 4


def test_each_completion_knows_the_other_one_and_the_prompt(grade: Any) -> None:
    grade("./rewards.py:longer", PREFERENCES)
    *_, last = read_preferences(Path("rows.jsonl"))
    assert (last.chosen.text, last.chosen.problem.meta[OTHER]) == ("Blue.", "Cat")
    assert (last.rejected.text, last.rejected.problem.meta[OTHER]) == ("Cat", "Blue.")
    assert last.chosen.problem.prompt == "Name a color."


def test_a_row_that_is_no_pair_is_named_before_anything_is_graded(grade: Any) -> None:
    with pytest.raises(ReasonRLError, match=r"rows.jsonl:2: no column 'rejected'"):
        grade("./rewards.py:longer", [PREFERENCES[0], {"prompt": "a", "chosen": "b"}])
    assert not Path("out.jsonl").exists()


@pytest.mark.parametrize("option", [["--bare"], ["--threshold", "0.5"]])
def test_an_option_that_preferences_would_ignore_is_refused(grade: Any, option: list[str]) -> None:
    with pytest.raises(ReasonRLError, match="is for rows with an answer and a text"):
        grade("./rewards.py:longer", PREFERENCES, *option)


def test_rows_of_texts_are_no_preferences(in_folder: Path) -> None:
    for name, content, found in (
        ("a.jsonl", '{"id": 1, "answer": "2", "text": "3"}\n', False),
        ("b.jsonl", '\n{"chosen": "2", "rejected": "3"}\n', True),
        ("c.txt", '{"id": 1, "answer": "2", "text": "3", "chosen": "4"}\n', False),
        ("d.jsonl", "not JSON\n", False),
        ("e.parquet", "", True),
    ):
        Path(name).write_text(content)
        assert has_preferences(Path(name)) == found
    assert not has_preferences(Path("nowhere.jsonl"))


# A judge


def with_judge(url: str, **params: Any) -> list[str]:
    """Options that name a judge. Any: its parameters."""
    given = {"endpoint": {"url": url, "model": "scripted", "prompt_price": 10, "completion_price": 0}, "cache": False}
    return [f"--param={name}={json.dumps(value)}" for name, value in {**given, **params}.items()]


def brief(shown: Mapping[str, str]) -> Mapping[str, Any]:
    return {"explanation": "", "scores": {"quality": 5 if len(shown["completion"]) < 5 else 1}}


def test_a_judge_is_measured_on_labels_with_what_it_costs(grade: Any) -> None:
    rows = [
        {"id": n, "answer": "8", "text": text, "prompt": "What is 7 + 1?", "expected": text == "8"}
        for n, text in enumerate(["8", "9", "It is 9.", "It is 10."])
    ]
    with serving(judging(brief)) as server:
        said, lines = grade("judge", rows, "--threshold=0.5", *with_judge(server.url))
        assert [texts_of(body)["question"] for body in server.bodies] == ["What is 7 + 1?"] * 5
    assert "accuracy: 75.00 % (3 of 4 as expected" in said
    assert "Cohen's kappa: 0.500" in said
    assert "prompt_tokens: mean 100, sum 400" in said
    assert "cost: mean 0.001" in said
    assert [line["parts"]["quality"] for line in lines] == [1.0, 1.0, 0.0, 0.0]


def test_a_judge_is_measured_on_preferences_one_by_one_in_pairs_and_in_groups(grade: Any) -> None:
    with serving(judging(brief)) as server:
        said, _ = grade("judge", PREFERENCES, *with_judge(server.url))
        assert all("reference answer" not in texts_of(body) for body in server.bodies[1:])
    assert "accuracy: 25.00 % (1 of 4 pairs" in said
    always_first = verdict(explanation="", winners={"quality": "A"})
    with serving(always_first) as server:
        said, lines = grade("judge_pairwise", PREFERENCES, *with_judge(server.url, reference=OTHER))
    assert [line["preferred"] for line in lines] == ["tie"] * 4
    assert "position_bias: mean 1 (95 % interval 0.6756 to 1), sum 8" in said
    assert "chose_first: mean 1" in said
    with serving(verdict(explanation="", ranks={"quality": {"1": 1, "2": 2}})) as server:
        said, lines = grade("judge_group", PREFERENCES, *with_judge(server.url))
        assert len(server.bodies) == 1 + 4
    assert {line["preferred"] for line in lines} <= {"chosen", "rejected"}
