"""Replies that answer a problem rightly or wrongly, in the forms in which models mark an answer."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Final

from reasonrl.evaluation.ngrams import contains
from reasonrl.evaluation.texts import tokens_of
from reasonrl.types import Problem, Rollout, Trajectory

THOUGHT: Final = "Let me work it out."

CHARACTERS_PER_TOKEN: Final = 4
"""There is no tokenizer here, so every four characters count as a token, the average of English text."""


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """A way to mark the answer in a reply."""

    name: str
    before: str
    """What the reply says first."""
    inside: Callable[[str], str]
    """Puts the mark around an answer."""

    def reply(self, answer: str) -> str:
        """Return a whole reply with this answer."""
        return self.before + self.inside(answer)


ANSWER_FORMATS: Final = (
    AnswerFormat("answer_tag", f"{THOUGHT}\n", "<answer>{}</answer>".format),
    AnswerFormat("r1", f"<think>{THOUGHT}</think>\n", "<answer>{}</answer>".format),
    AnswerFormat("boxed", f"{THOUGHT} ", r"\boxed{{{}}}".format),
    AnswerFormat("hash", f"{THOUGHT}\n", "#### {}".format),
    AnswerFormat("phrase", f"{THOUGHT}\n", "The final answer is {}.".format),
    AnswerFormat("plain", "", "{}".format),
)
"""The usual formats. ``r1`` is an answer tag after thinking in tags; ``plain`` is the answer alone."""

PROGRAM: Final = AnswerFormat("program", f"{THOUGHT}\n", "```python\n{}\n```".format)
"""A program in a fenced block."""

OTHER_DIGITS: Final = str.maketrans("0123456789", "1234567890")

SOLUTION: Final = "solution"
"""Column of ``Problem.meta`` for a right reply where the answer is none, as in Countdown, whose answer is a target."""


@dataclass(frozen=True, slots=True)
class Way:
    """Where a right answer stands, and how a reply marks it."""

    column: str
    """``answer`` or ``solution``."""
    format: AnswerFormat

    @property
    def name(self) -> str:
        """Name it for people."""
        return self.format.name if self.column == "answer" else f"{self.column}, {self.format.name}"

    def gold(self, problem: Problem) -> str | None:
        """Return a problem's right answer; None where it has none."""
        found = problem.answer if self.column == "answer" else problem.meta.get(SOLUTION)
        return found if isinstance(found, str) and found.strip() else None


def ways() -> Iterator[Way]:
    """Yield all ways in which a right reply may be made, the usual ones first."""
    for column in ("answer", SOLUTION):
        for answer_format in (*ANSWER_FORMATS, PROGRAM):
            yield Way(column, answer_format)


def another_answer(answer: str, others: Sequence[str]) -> str | None:
    """Return the first of the answers to other problems that says something else; None where none does.

    One that contains this answer, or is contained in it, is passed over: ``x = 5`` may be a right answer where 5 is.
    """
    return next((other for other in others if not _may_be_same(other, answer)), None)


def mangled(answer: str, answer_format: AnswerFormat) -> str:
    """Return a wrong answer made of a right one: with other digits, or of a program and of words the first half."""
    shifted = answer.translate(OTHER_DIGITS)
    return answer[: len(answer) // 2] if answer_format is PROGRAM or shifted == answer else shifted


def _may_be_same(answer: str, other: str) -> bool:
    value, tokens, others = _value(answer), tokens_of(answer), tokens_of(other)
    is_equal = value is not None and value == _value(other)
    return is_equal or contains(tokens, others) or contains(others, tokens)


def _value(answer: str) -> Fraction | None:
    try:
        return Fraction(answer.replace(",", "").strip())
    except (ValueError, ZeroDivisionError):
        return None


def rollout_of(problem: Problem, text: str, *, prompt: str, seed: int = 0) -> Rollout:
    """Return a finished completion of a problem, as a model would have written it.

    Args:
        problem: what is answered.
        text: the completion.
        prompt: what the model saw.
        seed: distinguishes completions of one problem.
    """
    token_ids = (0,) * ceil(len(text) / CHARACTERS_PER_TOKEN)
    completion = Trajectory.single_turn(
        token_ids=token_ids,
        text=text,
        logprobs=(0.0,) * len(token_ids),
        finish_reason="stop",
        policy_version=0,
        sample_index=seed,
        seed=seed,
    )
    return Rollout(problem=problem, prompt=prompt, trajectory=completion)
