"""Math answers whose equality is known, of every kind and in many spellings."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from reasonrl_grading import Policy, compare_answers

ROWS: list[dict[str, Any]] = [  # Any: JSON
    json.loads(line) for line in Path(__file__).with_name("math_pairs.jsonl").read_text(encoding="utf-8").splitlines()
]
CLASSES = sorted({row["class"] for row in ROWS})
WRAPPED = ("${}$", r"\({}\)", r"\boxed{{{}}}", "  {} ", "**{}**")
"""Spellings that never change what an answer is."""


def graded(row: dict[str, Any], given: str, wanted: str) -> bool:
    """Return whether an answer is found right under the row's policies and question."""
    policy, question = Policy(**row.get("policy", {})), row.get("question", "")
    return compare_answers(given, wanted, policy, question=question, symbolic=True).right is True


def should(row: dict[str, Any]) -> str:
    return f"should be {'right' if row['right'] else 'wrong'}"


def report(wrong: list[str]) -> None:
    assert not wrong, f"{len(wrong)} wrong:\n" + "\n".join(wrong)


@pytest.mark.parametrize("name", CLASSES)
def test_every_answer_is_graded_as_labelled(name: str) -> None:
    report(
        [
            f"{row['given']!r} for {row['wanted']!r} {should(row)} {row.get('why', '')}"
            for row in ROWS
            if row["class"] == name and graded(row, row["given"], row["wanted"]) != row["right"]
        ]
    )


@pytest.mark.parametrize("name", CLASSES)
def test_given_and_wanted_can_change_places(name: str) -> None:
    report(
        [
            f"{row['wanted']!r} for {row['given']!r} {should(row)}"
            for row in ROWS
            if row["class"] == name and not row.get("one_way")
            if graded(row, row["wanted"], row["given"]) != row["right"]
        ]
    )


@pytest.mark.parametrize("name", CLASSES)
def test_what_is_put_around_an_answer_changes_nothing(name: str) -> None:
    rows = [row for row in ROWS if row["class"] == name and plain(row["given"])][::3]
    report(
        [
            f"{wrapped!r} for {row['wanted']!r} {should(row)}"
            for number, row in enumerate(rows)
            for wrapped in [WRAPPED[number % len(WRAPPED)].format(row["given"])]
            if graded(row, wrapped, row["wanted"]) != row["right"]
        ]
    )


MARKS = ("$", "*", r"\(", r"\[", "boxed", "`", "__", "\n")


def plain(given: str) -> bool:
    """Return whether an answer has no delimiters of its own, and braces that can be boxed."""
    return bool(given.strip()) and not any(mark in given for mark in MARKS) and balanced(given)


def balanced(text: str) -> bool:
    """Return whether braces open and close, those of LaTeX sets included."""
    depth = 0
    for character in text:
        depth += (character == "{") - (character == "}")
        if depth < 0:
            return False
    return depth == 0 and not text.endswith("\\")


def test_the_set_is_large_and_covers_every_class() -> None:
    assert len(ROWS) >= 3500
    counts = Counter((row["class"], row["right"]) for row in ROWS)
    assert all(counts[name, label] >= 10 for name in CLASSES for label in (True, False))


@pytest.mark.parametrize("wanted", ["", "   ", "$", r"\boxed{}"])
def test_an_answer_cannot_be_right_where_none_is_wanted(wanted: str) -> None:
    assert all(compare_answers(given, wanted, symbolic=True).right is None for given in ("7", "x", r"\sqrt{2}"))
