"""The reward ``math`` reads the marked answer and grades it under the policies of the run file."""

import pytest
from builders import completion, problem

from reasonrl import Rollout
from reasonrl_rewards.math import math


def rollout(text: str, answer: str) -> Rollout:
    return Rollout(problem=problem(answer=answer), prompt="?", trajectory=completion(text))


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
