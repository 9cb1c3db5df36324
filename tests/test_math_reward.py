"""The reward ``math`` reads the marked answer and grades it under the policies of the run file."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from builders import completion, problem

from reasonrl import Rollout
from reasonrl_grading import Policy
from reasonrl_rewards.math import math

PAGE = Path(__file__).parent.parent / "docs" / "rewards" / "math.md"


def rollout(text: str, answer: str, question: str = "?") -> Rollout:
    return Rollout(problem=problem(answer=answer, prompt=question), prompt="?", trajectory=completion(text))


@pytest.mark.parametrize(
    ("text", "answer", "value"),
    [
        (r"So it is \boxed{\frac{2}{4}}.", "0.5", 1.0),
        (r"<think>\boxed{1/2}</think> It is \boxed{1/3}.", "1/2", 0.0),
        ("<answer>x = 7</answer>", "7", 1.0),
        ("<answer>7, 8</answer>", "7", 0.0),
        (r"\boxed{8=7}", "7", 0.0),
        ("It is 7.", "7", 0.0),
    ],
)
def test_the_marked_answer_is_graded(text: str, answer: str, value: float) -> None:
    assert math(rollout(text, answer)).value == value


def test_a_problem_whose_answer_cannot_be_read_is_unscorable() -> None:
    score = math(rollout(r"\boxed{7}", r"\frac{1"))
    assert (score.value, score.outcome) == (None, "unscorable")


def test_policies_are_parameters() -> None:
    assert math(rollout(r"\boxed{9\%}", "9")).value == 0
    assert math(rollout(r"\boxed{9\%}", "9"), percent="ignore_sign").value == 1
    assert math(rollout("The answer is 7.", "7"), sources=("phrase",)).value == 1


def test_the_reason_names_the_tier() -> None:
    assert math(rollout(r"\boxed{x+1}", "1+x")).why.endswith("(algebra)")


def decisions() -> Iterator[tuple[str, str, str, dict[str, Any], float]]:  # Any: values of policies
    """Yield question, wanted and given answer, policy and score of every example in the table of decisions."""
    table = PAGE.read_text().partition("## Decisions")[2].partition("## The other")[0]
    for line in re.findall(r"^\| (?!what|---).*$", table, re.MULTILINE):
        what, wanted, right, wrong, policy = (cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1])
        question = what.partition("Question: ")[2]
        for cell, value in ((right, 1.0), (wrong, 0.0)):
            for given in codes(cell):
                yield question, codes(wanted)[0], given, yaml.safe_load("".join(codes(policy))) or {}, value


def codes(cell: str) -> list[str]:
    return [code.replace(r"\|", "|") for code in re.findall(r"`([^`]+)`", cell)]


@pytest.mark.parametrize(("question", "wanted", "given", "policy", "value"), list(decisions()))
def test_every_decision_of_the_page_is_as_it_says(
    question: str,
    wanted: str,
    given: str,
    policy: dict[str, Any],  # Any: values of policies
    value: float,
) -> None:
    score = math(rollout(rf"\boxed{{{given}}}", wanted, question or "?"), sources=("boxed",), **policy)
    assert score.value == value, score.why


def test_the_page_has_an_example_of_every_policy() -> None:
    assert {name for *_, policy, _ in decisions() for name in policy} == set(Policy.__dataclass_fields__)


def test_a_completion_that_cannot_be_decided_is_unscorable() -> None:
    score = math(rollout(r"\boxed{\frac{1}{2}}", r"\lim_{x\to0}\frac{\sin x}{2x}"))
    assert (score.value, score.outcome) == (None, "unscorable")
