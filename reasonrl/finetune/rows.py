"""What finetuning learns from, before any tokenizer: demonstrations, pairs, and judged completions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from reasonrl.types import Problem, digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstration:
    """A conversation to imitate: what the assistant says last, and perhaps what it said before."""

    problem: Problem
    """What the last answer answers."""
    completion: str
    """The last answer."""
    is_rendered: bool = False
    """Whether the template is in the prompt already."""
    teaches_earlier: bool = False
    """Whether the assistant's earlier turns in ``problem.messages`` are learned too."""
    is_cut: bool = False
    """Whether the completion was cut, so that no end follows it."""
    system: str = ""
    """System prompt that asks for this answer, which is a bad one; empty for good ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferencePair:
    """Two completions of one prompt, of which one was preferred."""

    problem: Problem
    chosen: str
    rejected: str
    is_rendered: bool = False
    is_cut: tuple[bool, bool] = (False, False)
    """Whether the chosen and the rejected completion were cut, so that no end follows them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedCompletion:
    """A completion that is good or bad."""

    problem: Problem
    completion: str
    is_good: bool
    is_rendered: bool = False
    is_cut: bool = False


Row: TypeAlias = Demonstration | PreferencePair | JudgedCompletion


def row_digest(row: Row) -> str:
    """Return what stands for all that a row says."""
    problem, said = row.problem, [getattr(row, name) for name in row.__slots__ if name != "problem"]
    return digest(problem.prompt, problem.messages, *said)


def rows_digest(rows: Sequence[Row]) -> str:
    """Return what stands for rows in their order."""
    return digest(*map(row_digest, rows))
