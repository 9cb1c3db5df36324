"""Problems that a reward is checked with, and replies to them that are known to be right or wrong."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reasonrl import DataError, Problem
from reasonrl.config.settings import PluginRef
from reasonrl.plugins.lookup import Plugins
from reasonrl_author.attacks import wrong_answers
from reasonrl_author.pairs import Pair, read_pairs, scan_pairs
from reasonrl_author.rollouts import problem_of

DEFAULT_ANSWERS: Final = ("42", "-7", "3/4")
"""Right answers where none are given: numbers, which most rewards read."""

MAX_PAIRS: Final = 200
"""Rows of a file of pairs that are used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A problem, and what is known about replies to it."""

    problem: Problem
    wrong_answers: tuple[str, ...] = ()
    """To be put into replies in the formats that the reward reads."""
    right: tuple[str, ...] = ()
    """Whole replies that are right."""
    wrong: tuple[str, ...] = ()
    """Whole replies that are wrong."""

    @property
    def answer(self) -> str:
        """The right answer."""
        return self.problem.answer

    @property
    def prompt(self) -> str:
        """What the model was asked, with the answer formats that a prompt would name."""
        return f"{self.problem.prompt}\nPut the answer in \\boxed{{}} or in <answer> </answer>, or after ####."


def make_cases(
    answers: Sequence[str],
    wrong: Sequence[str],
    pairs: Path | None,
    task: PluginRef | None,
    num_problems: int,
    plugins: Plugins,
) -> tuple[Case, ...]:
    """Return the problems to check with: the answers, the rows and the task's; the default ones if none is given.

    Args:
        answers: right answers.
        wrong: wrong answers to all of those.
        pairs: file of rows with id, answer and text; rows with ``expected`` are right or wrong replies.
        task: gives problems of its training split.
        num_problems: how many of the task's.
        plugins: where the task comes from.

    Raises:
        DataError: the file cannot be read, or the task has no problems.
        PluginError: there is no such task.
    """
    cases = list(_from_answers(answers, wrong))
    if pairs is not None:
        cases += _from_pairs(pairs)
    if task is not None:
        cases += _from_task(task, num_problems, plugins)
    return tuple(cases or _from_answers(DEFAULT_ANSWERS, wrong))


def _from_answers(answers: Sequence[str], wrong: Sequence[str]) -> Iterator[Case]:
    for number, answer in enumerate(answers):
        problem = problem_of(answer, id=f"answer-{number}", prompt=f"Question {number + 1}: what is the answer?")
        yield Case(problem=problem, wrong_answers=(*wrong, *wrong_answers(answer)))


def _from_pairs(path: Path) -> list[Case]:
    scan_pairs(path)
    labeled = [pair for pair in read_pairs(path) if pair.label.expected is not None][:MAX_PAIRS]
    if not labeled:
        raise DataError(f"{path}: no row says what is 'expected', true or false, so nothing can be checked with it.")
    return [_from_pair(pair) for pair in labeled]


def _from_pair(pair: Pair) -> Case:
    problem = problem_of(pair.answer, id=str(pair.label.id), prompt=pair.prompt, meta=pair.meta)
    is_right = float(pair.label.expected or 0.0) >= 1.0
    return Case(
        problem=problem,
        right=(pair.text,) if is_right else (),
        wrong=() if is_right else (pair.text,),
        wrong_answers=wrong_answers(pair.answer),
    )


def _from_task(task: PluginRef, num_problems: int, plugins: Plugins) -> list[Case]:
    problems: Sequence[Problem] = plugins.function("tasks", task)(split="train", seed=0)[:num_problems]
    if not problems:
        raise DataError(f"task {task.name!r} has no problems.")
    return [Case(problem=problem, wrong_answers=wrong_answers(problem.answer)) for problem in problems]
