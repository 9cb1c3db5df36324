"""How the data of a step are pickled on their way to the workers and back: in half of Python's own time.

They are frozen dataclasses with slots, whose own way to be pickled reads and sets one field after another, in Python.
Importing this module registers another way for every :func:`pickle.dumps` in this process.
"""

import copyreg
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from operator import attrgetter
from typing import Any, Final

from reasonrl.types import Problem, Rollout, Score, Segment, Span, Trajectory

_TYPES: Final = (Rollout, Problem, Trajectory, Segment, Score, Span)
"""A type is known by its place."""

_Setter = Callable[[Any, Any], None]


def _makers() -> list[tuple[Callable[[], Any], tuple[_Setter, ...]]]:
    """Return for each type what makes an empty object, and what sets each of its fields. Any: of any type."""
    return [
        (partial(object.__new__, of), tuple(of.__dict__[field.name].__set__ for field in fields(of))) for of in _TYPES
    ]


_MAKERS: Final = _makers()


def _restored(place: int, values: tuple[Any, ...]) -> Any:
    """Make an object of its fields, which have been checked before. Any: an object of a known type, its fields."""
    new, setters = _MAKERS[place]
    made = new()
    for set_field, value in zip(setters, values, strict=True):
        set_field(made, value)
    return made


def _reduced(place: int, values: Callable[[Any], tuple[Any, ...]], value: Any) -> tuple[Any, ...]:
    """Return how pickle has an object made again. Any: an object of a known type, its fields."""
    return _restored, (place, values(value))


for _place, _of in enumerate(_TYPES):
    copyreg.pickle(_of, partial(_reduced, _place, attrgetter(*[field.name for field in fields(_of)])))
