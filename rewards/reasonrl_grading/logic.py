"""Three-valued logic: two answers are equal, different, or neither could be shown."""

from collections.abc import Iterable
from typing import TypeAlias

Truth: TypeAlias = bool | None
"""None where it could not be decided."""


def every(truths: Iterable[Truth]) -> Truth:
    """Whether all hold: False as soon as one does not, else None where one is undecided."""
    outcome: Truth = True
    for truth in truths:
        if truth is False:
            return False
        outcome = outcome and truth
    return outcome


def some(truths: Iterable[Truth]) -> Truth:
    """Whether one holds: True as soon as one does, else None where one is undecided."""
    outcome: Truth = False
    for truth in truths:
        if truth:
            return True
        outcome = None if truth is None else outcome
    return outcome
