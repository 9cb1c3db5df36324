"""One line for each answer: the value, or why there is none. Written in the program's process, read on the host.

A program could write any of its lines itself. That does no harm: a line is an answer, and the host decides whether it
is right.
"""

import builtins
import json
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from reasonrl_sandbox.child.codec import MalformedError, NotPlainError, TooLargeError, encode, parse, value_of

MAX_ANSWER = 1 << 20
"""Bytes of the longest answer."""

FAILURES = ("failed", "not_plain", "runtime_error", "memory_limit", "output_limit", "unscorable")
"""Outcomes that a call, or a test, can have without an answer. `not_plain` is an answer that cannot be written as a
value, `unscorable` a test that would take the program's word for its own result."""


class Record(NamedTuple):
    """The answer to one call."""

    number: int
    """Which call, from 0."""
    value: Any
    """What it answered. Any: any plain value."""
    outcome: str | None = None
    """Why it has no answer; None where it has."""
    detail: str = ""
    """More about why, for people."""
    raised: tuple[str, ...] = ()
    """Types of the exception that was the reason, from the raised one up; all but built-in ones with their module."""


def answer(index: int, call: Callable[[], object]) -> str:
    """Make one call and return its record. Everything that a program can raise is caught here."""
    try:
        return f'{{"i":{index},"v":{encode(call(), MAX_ANSWER, as_dict=True)}}}'
    except BaseException as error:
        outcome, detail, raised = ended(error)
        return failure(index, outcome, detail, raised)


def ended(error: BaseException) -> tuple[str, str, list[str]]:
    """Return how a call without an answer ended: the outcome, a line about it, and the types of what it raised."""
    match error:
        case NotPlainError():
            return "not_plain", f"answered {error}", []
        case TooLargeError():
            return "output_limit", f"answered {error}", []
        case MemoryError():
            return "memory_limit", "MemoryError", []
    return "runtime_error", describe(error), kinds(type(error))


def failure(index: int, outcome: str, detail: str, raised: Sequence[str] = ()) -> str:
    """Return the record of a call without an answer."""
    return json.dumps({"i": index, "outcome": outcome, "detail": detail, "raised": list(raised)})


def kinds(error: type[BaseException]) -> list[str]:
    """Return the names of an exception's type and of its bases, up to the first that is built in."""
    names = []
    # The descriptor of `type` itself: a metaclass of the program could override `__mro__`.
    for kind in type.__dict__["__mro__"].__get__(error):
        own = issubclass(kind, BaseException) and getattr(builtins, kind.__name__, None) is not kind
        names.append(f"{kind.__module__}.{kind.__name__}" if own else kind.__name__)
        if not own:
            break
    return names


def describe(error: BaseException) -> str:
    """Return the type and the message of an exception in one short line, whatever its `__str__` does."""
    try:
        message = str(error)
    except BaseException as second:
        message = f"(its message raised {type(second).__name__})"
    return _printable(f"{type(error).__name__}: {message}"[:300])


def write(descriptor: int, line: str) -> None:
    """Write a line, all of it."""
    data = memoryview(line.encode("ascii") + b"\n")
    while data:
        data = data[os.write(descriptor, data) :]


def read(line: bytes) -> Record:
    """Read one line. A value that cannot be read counts as a failed call.

    Raises:
        MalformedError: It is no record.
    """
    match parse(line):
        case {"i": int(index), "v": tree, **rest} if not rest:
            return _answered(index, tree)
        case {"i": int(index), "outcome": str(outcome), "detail": str(detail), "raised": [*raised]}:
            if outcome in FAILURES and all(isinstance(name, str) for name in raised):
                return Record(index, None, outcome, _printable(detail), tuple(raised))
    raise MalformedError("a line that is no record")


def _printable(text: str) -> str:
    """Return text that can be encoded: the program could have put a lone surrogate into it."""
    return text.encode(errors="backslashreplace").decode()


# Any: the parsed text of a value.
def _answered(index: int, tree: Any) -> Record:
    try:
        return Record(index, value_of(tree))
    except MalformedError as error:
        return Record(index, None, "failed", f"answered what is no plain data: {error}")
