"""GPQA Diamond, MMLU-Pro and BIG-Bench Extra Hard: their rows, and what counts as the right answer."""

import csv
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from reward_cases import HOSTILE, rollout

from reasonrl import DataError, Problem, Rollout, Suite
from reasonrl_evals import reasonrl_suites
from reasonrl_evals.bbeh import bbeh_match, same_answer
from reasonrl_evals.choices import right_choice, same_choice
from reasonrl_rewards.choice import multiple_choice
from reasonrl_tasks import reasonrl_tasks

Row = dict[str, Any]  # Any: JSON


def load(task: str, /, **params: object) -> Sequence[Problem]:
    return reasonrl_tasks()[task](split="heldout", seed=0, **params)


def suite_of(name: str, **params: object) -> Suite:
    return reasonrl_suites()[name](load=load, **params)


def write(path: Path, *rows: Row) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(path)


def answered(problem: Problem, text: str) -> Rollout:
    return replace(rollout(text, prompt="?"), problem=problem)


# GPQA


def gpqa(number: int) -> Row:
    return {
        "Question": f"What is {number} + {number}?",
        "Correct Answer": f" {2 * number} m\n",
        "Incorrect Answer 1": f"{number} m",
        "Incorrect Answer 2": f"{3 * number} m",
        "Incorrect Answer 3": f"{4 * number} m",
        "High-level domain": "Physics" if number % 2 else "Biology",
        "Subdomain": "Optics",
        "Explanation": "secret",
    }


def write_csv(path: Path, *rows: Row) -> str:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def test_the_right_choice_stands_at_each_letter_about_as_often_and_always_at_the_same(tmp_path: Path) -> None:
    rows = [gpqa(number) for number in range(1, 201)]
    problems = load("gpqa_diamond", data=write_csv(tmp_path / "gpqa_diamond.csv", *rows))
    letters = Counter(problem.answer for problem in problems)
    assert set(letters) == set("ABCD")
    assert min(letters.values()) > 30
    again = load("gpqa_diamond", data=write(tmp_path / "gpqa_diamond.jsonl", *reversed(rows)))
    assert {p.id: (p.prompt, p.answer) for p in again} == {p.id: (p.prompt, p.answer) for p in problems}


def test_the_order_of_the_choices_is_that_of_the_prompt_and_nothing_else_is_told(tmp_path: Path) -> None:
    (problem,) = load("gpqa_diamond", data=write(tmp_path / "gpqa_diamond.jsonl", gpqa(3)))
    index = "ABCD".index(problem.answer)
    assert problem.meta["choices"][index] == "6 m"
    assert f"\n{problem.answer}) 6 m" in problem.prompt
    assert "secret" not in str(problem)
    rows = write(tmp_path / "gpqa_diamond.jsonl", gpqa(3), gpqa(4))
    assert len(load("gpqa_diamond", data=rows, domain=("Biology",))) == 1


# MMLU-Pro

MMLU: Row = {
    "question_id": 7,
    "question": "Which is a fruit?",
    "options": ["A stone.", "An apple", "A shoe", "N/A", "N/A"],
    "answer": "B",
    "answer_index": 1,
    "cot_content": "",
    "category": "biology",
    "src": "made up",
}


def test_mmlu_pro_has_its_validation_questions_for_training_and_its_test_set_held_out(tmp_path: Path) -> None:
    write(tmp_path / "data" / "test.jsonl", MMLU, {**MMLU, "question": "Another?", "category": "law"})
    write(tmp_path / "data" / "validation.jsonl", {**MMLU, "question": "Shown?"})
    first, second = load("mmlu_pro", data=str(tmp_path))
    (shown,) = reasonrl_tasks()["mmlu_pro"](split="train", seed=0, data=str(tmp_path))
    assert shown.prompt.startswith("Shown?")
    assert first.prompt.endswith("A) A stone.\nB) An apple\nC) A shoe\n\nAnswer with the letter of the right choice.")
    assert (first.answer, first.meta["category"]) == ("B", "biology")
    assert load("mmlu_pro", data=str(tmp_path), category=("law",)) == [second]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": "C"}, "'answer' and 'answer_index' are 'C' and 1"),
        ({"answer_index": 4, "answer": "E"}, "no one choice of 3"),
        ({"answer_index": True}, "and True"),
        ({"options": "ABC"}, "'options' must be a list of 2 to 26 texts"),
        ({"options": ["x"] * 27}, "'options' must be a list of 2 to 26 texts"),
        ({"question": None}, "'question' must be text"),
    ],
)
def test_a_row_of_mmlu_pro_that_cannot_be_used_is_named(tmp_path: Path, change: Row, message: str) -> None:
    with pytest.raises(DataError, match=rf"rows\.jsonl:1: .*{message}"):
        load("mmlu_pro", data=write(tmp_path / "rows.jsonl", {**MMLU, **change}))


ANSWERS = [
    (r"So \boxed{B}.", 1, "B"),
    ("Answer: B", 1, "B"),
    ("The answer is (b).", 1, "B"),
    ("<answer>An apple</answer>", 1, "B"),
    (r"\boxed{\text{B) An apple}}", 1, "B"),
    (r"\boxed{A}", 0, "A"),
    (r"\boxed{B) A shoe}", 0, "B) A shoe"),
    (r"\boxed{A or B}", 0, "A or B"),
    ("I do not know.", 0, None),
    ("<think>Answer: B</think> I am not sure at all", 0, None),
]


@pytest.mark.parametrize(("text", "value", "parsed"), ANSWERS)
def test_a_letter_or_the_text_of_a_choice_counts_as_it_does_for_the_reward(
    tmp_path: Path, text: str, value: float, parsed: str | None
) -> None:
    (problem,) = load("mmlu_pro", data=write(tmp_path / "rows.jsonl", MMLU))
    measured = right_choice(answered(problem, text))
    assert (measured.value, measured.parsed) == (value, parsed)
    assert multiple_choice(answered(problem, text)).value == value


def test_two_answers_are_one_vote_where_they_name_one_choice() -> None:
    assert same_choice("B", "B")
    assert same_choice("the apple", "An Apple.")
    assert not same_choice("A", "B")
    assert not same_choice("...", "!")


# BBEH


def test_bbeh_compares_as_its_authors_do(tmp_path: Path) -> None:
    row = {"input": "How many?", "target": "(b)", "task": "object counting", "mini": 1}
    (problem,) = load("bbeh", data=write(tmp_path / "bbeh.jsonl", row))
    assert problem.prompt.endswith('For example, "The answer is: (a)".')
    for text in ("So. The answer is: (b).", "The answer is: B", r"\boxed{b}", "(b)", "The answer is **(b)**\nYes."):
        assert bbeh_match(answered(problem, text)).value == 1, text
    for text in ("The answer is: (c)", "", "The answer is: (b) or (c)", "<think>The answer is: (b)</think>"):
        assert bbeh_match(answered(problem, text)).value == 0, text
    assert bbeh_match(answered(problem, "")).parsed is None


@pytest.mark.parametrize(
    ("given", "other", "are_same"),
    [
        ("42.0", "42", True),
        ("a, b", "a,b", True),
        (r"$\text{yes}$", "Yes", True),
        ("don't know", "dont know", True),
        ("[1,2]", "1, 2", True),
        ("who?", "who", True),
        ("ab", "(ab)", False),
        ("4", "5", False),
        ("", "a", False),
    ],
)
def test_answers_of_bbeh_are_equal_but_for_their_form(given: str, other: str, are_same: bool) -> None:
    assert same_answer(given, other) is are_same
    assert same_answer(other, given) is are_same


def test_bbeh_is_read_from_the_authors_folders_by_task(tmp_path: Path) -> None:
    for name, target in (("bbeh_time_arithmetic", "5"), ("bbeh_nycc", "b")):
        folder = tmp_path / "benchmark_tasks" / name
        folder.mkdir(parents=True)
        text = json.dumps({"canary": "x", "examples": [{"input": f"{name}?", "target": target}]}, indent=1)
        (folder / "task.json").write_text(text)
    found = load("bbeh", data=str(tmp_path))
    assert {problem.meta["task"]: problem.answer for problem in found} == {"time arithmetic": "5", "nycc": "b"}
    assert len(load("bbeh", data=str(tmp_path), task=("nycc",))) == 1
    with pytest.raises(DataError, match=r"no task 'nyc' in the data\. It has nycc, time arithmetic"):
        load("bbeh", data=str(tmp_path), task=("nyc",))
    with pytest.raises(DataError, match="column 'mini'"):
        load("bbeh", data=str(tmp_path), subset="mini")


def test_the_mini_subset_is_what_the_data_marks_and_a_suite_of_its_own(tmp_path: Path) -> None:
    rows = [{"input": f"Q{n}", "target": "a", "task": "nycc", "mini": n % 2} for n in range(4)]
    path = write(tmp_path / "bbeh.jsonl", *rows)
    assert len(suite_of("bbeh", data=path).problems) == 4
    mini = suite_of("bbeh", data=path, subset="mini")
    assert (len(mini.problems), mini.name) == (2, "bbeh_mini")


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_completions_are_wrong_answers(tmp_path: Path, text: str) -> None:
    (problem,) = load("mmlu_pro", data=write(tmp_path / "rows.jsonl", MMLU))
    assert right_choice(answered(problem, text)).value == 0
    assert bbeh_match(answered(replace(problem, answer="(q)"), text)).value == 0
