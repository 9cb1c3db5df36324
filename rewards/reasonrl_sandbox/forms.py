"""The forms of tests. None of them is sent to the process that runs the program."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from reasonrl.errors import DataError
from reasonrl_sandbox.compare import ComparisonRules, check_tolerance

Checker = Callable[[str, str, str], bool]
"""Decides on the host whether an output is right, given the input, the output and the expected output."""


@dataclass(frozen=True, slots=True)
class Case:
    """One call and what it should return. Values are plain data; see `child/codec.py`."""

    args: tuple[Any, ...] = ()
    """Positional arguments. Any: any plain values."""
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Arguments by name."""
    expected: Any = None
    """What it should return. Any: any plain value."""
    comparison: ComparisonRules | None = None
    """How this answer is compared; None for the rules of all cases."""


@dataclass(frozen=True, slots=True)
class CallTests:
    """A function called with arguments; all calls go to one process, one after the other."""

    entry: str
    """The function; also `Class.method`, or a method of a class `Solution`, each call on a new object."""
    cases: tuple[Case, ...]
    """The calls."""
    comparison: ComparisonRules = field(default_factory=ComparisonRules)
    """How answers are compared."""


@dataclass(frozen=True, slots=True)
class StdioCase:
    """One input and the output it should give."""

    stdin: str
    """The whole input."""
    stdout: str
    """The whole output."""


@dataclass(frozen=True, slots=True)
class StdioTests:
    """A program that reads standard input and writes standard output, started anew for each case."""

    cases: tuple[StdioCase, ...]
    """The inputs."""
    compare: Literal["tokens", "lines"] = "tokens"
    """Word by word, or line by line."""
    abs_tol: float = 0.0
    """How far a number among the words may be off."""
    rel_tol: float = 0.0
    """How far it may be off, as a share of the larger of the two."""
    checker: Checker | None = None
    """Decides instead of the comparison, for problems with more than one right output."""

    def __post_init__(self) -> None:
        """Refuse what cannot be compared by."""
        check_tolerance("abs_tol", self.abs_tol)
        check_tolerance("rel_tol", self.rel_tol)
        if self.compare == "lines" and (self.abs_tol or self.rel_tol):
            raise DataError("'lines' compares text, without tolerance: leave abs_tol and rel_tol out, or use 'tokens'.")
        for index, case in enumerate(self.cases):
            _check_text(f"cases[{index}]: 'stdin'", case.stdin)
            _check_text(f"cases[{index}]: 'stdout'", case.stdout)


def _check_text(where: str, text: str) -> None:
    """Refuse text with a lone surrogate, which JSON can write and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = text[error.start]
        raise DataError(f"{where} holds {half!a}, half of a surrogate pair, which is no character.") from None


@dataclass(frozen=True, slots=True)
class AssertTests:
    """Python text with asserts about a function, such as HumanEval's `check(candidate)` or MBPP's lines.

    Where every assert compares a call with constant arguments to a constant, the text is only parsed. Other text runs
    in a second process of the sandbox, which calls the program's process and gets values back.
    """

    entry: str
    """The function; a name in CapWords is a class, whose objects the tests may use."""
    source: str
    """The text."""
    setup: str = ""
    """Trusted Python that runs before the text, in the same process, for helpers that the tests call."""
    allow_forgeable: bool = False
    """Let the tests compare objects of the program's own classes, which can then claim to equal anything."""


@dataclass(frozen=True, slots=True)
class FileTests:
    """The text of a file for unittest or pytest that imports the program as a module.

    It runs in a second process of the sandbox, as `AssertTests` do. Tests that patch the module, or read what the
    program prints, have no effect on the program, because it runs in another process.
    """

    source: str
    """The text. To import pytest it needs a sandbox with `preimport=("pytest",)`."""
    module: str = "solution"
    """The name it imports the program by."""
    allow_forgeable: bool = False
    """Let the tests compare objects of the program's own classes, which can then claim to equal anything."""


@dataclass(frozen=True, slots=True)
class ReferenceTests:
    """A function called with arguments, which should return what a reference solution returns, as EvalPlus has them.

    The reference runs in the sandbox as well, in a process of its own, once for all programs that are judged by it. A
    value whose `repr` is longer than 20,000 characters is compared by type, length and SHA-256 of that, exactly.
    """

    entry: str
    """The function, in the reference and in the program."""
    reference: str
    """A program that is right."""
    inputs: tuple[tuple[Any, ...], ...]
    """Positional arguments of each call. Any: any plain values."""
    comparison: ComparisonRules = field(default_factory=ComparisonRules)
    """How answers are compared."""
    float_comparison: ComparisonRules | None = None
    """How they are where a float is expected, or a list or tuple of floats; None for the same way."""
    shown: str = "value"
    """Python expression over `value`, what the function returned, for what is compared: `value is not None`."""
    agrees: str = ""
    """Python text that defines `agrees(args, answer, expected)`, which decides instead of a comparison, for problems
    with more than one right answer. It runs in a third process of the sandbox."""
    slowdown: float = 4.0
    """How many times as long as the reference a program may take, where that is more than its limit."""


Tests = CallTests | StdioTests | AssertTests | FileTests | ReferenceTests
"""Tests of one program, in any form."""
