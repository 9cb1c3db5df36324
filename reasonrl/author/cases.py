"""Problems that a reward is checked with, with replies known to be right or wrong."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reasonrl.author.pairs import Pair, read_pairs, take_census
from reasonrl.author.samples import problem_of
from reasonrl.author.tricks import wrong_answers
from reasonrl.config import PluginRef
from reasonrl.errors import DataError
from reasonrl.plugins import Plugins
from reasonrl.types import Problem

USUAL_ANSWERS: Final = ("42", "-7", "3/4")
"""Right answers where none are given: numbers, which most rewards read."""

MOST_CASES: Final = 200
"""Rows of a file of pairs that are used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A problem with what is known about replies to it."""

    problem: Problem
    wrong_answers: tuple[str, ...] = ()
    """To be marked the way the reward reads answers."""
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
        """What the model was asked, with the marks that a prompt would ask for."""
        return f"{self.problem.prompt}\nPut the answer in \\boxed{{}} or in <answer> </answer>, or after ####."


def make_cases(
    answers: Sequence[str],
    wrong: Sequence[str],
    pairs: Path | None,
    task: PluginRef | None,
    num_problems: int,
    plugins: Plugins,
) -> tuple[Case, ...]:
    """Return the problems to check with: the answers, the rows and the task's, or the usual ones if none is given.

    Args:
        answers: right answers.
        wrong: wrong answers to all of those.
        pairs: file of rows with id, answer and text; those that say what is expected are right or wrong replies.
        task: gives problems of its training split.
        num_problems: how many of the task's.
        plugins: where the task comes from.

    Raises:
        DataError: the file cannot be read, or the task has no problems.
        PluginError: there is no such task.
    """
    cases = list(_of_answers(answers, wrong))
    if pairs is not None:
        cases += _of_pairs(pairs)
    if task is not None:
        cases += _of_task(task, num_problems, plugins)
    return tuple(cases or _of_answers(USUAL_ANSWERS, wrong))


def _of_answers(answers: Sequence[str], wrong: Sequence[str]) -> Iterator[Case]:
    """Yield a problem for each answer."""
    for number, answer in enumerate(answers):
        problem = problem_of(answer, id=f"answer-{number}", prompt=f"Question {number + 1}: what is the answer?")
        yield Case(problem=problem, wrong_answers=(*wrong, *wrong_answers(answer)))


def _of_pairs(path: Path) -> list[Case]:
    """Return one problem for each of the first rows that say what is expected."""
    take_census(path)
    rows = [pair for pair in read_pairs(path) if pair.wanted.expected is not None][:MOST_CASES]
    if not rows:
        raise DataError(f"{path}: no row says what is 'expected', true or false, so nothing can be checked with it.")
    return [_of_pair(pair) for pair in rows]


def _of_pair(pair: Pair) -> Case:
    """Return the problem of a row, with its text as a reply that is right or wrong."""
    problem = problem_of(pair.answer, id=str(pair.wanted.id), prompt=pair.prompt, meta=pair.meta)
    is_right = float(pair.wanted.expected or 0.0) >= 1.0
    return Case(
        problem=problem,
        right=(pair.text,) if is_right else (),
        wrong=() if is_right else (pair.text,),
        wrong_answers=wrong_answers(pair.answer),
    )


def _of_task(task: PluginRef, num_problems: int, plugins: Plugins) -> list[Case]:
    """Return the first problems of a task."""
    problems: Sequence[Problem] = plugins.function("tasks", task)(split="train", seed=0)[:num_problems]
    if not problems:
        raise DataError(f"task {task.name!r} has no problems.")
    return [Case(problem=problem, wrong_answers=wrong_answers(problem.answer)) for problem in problems]
