"""What may stand for a number, a truth value or a text in a run file: nothing is converted that may not be meant.

Python and pydantic take ``true`` for 1, ``"3"`` for 3 and infinity for a float. In a run file each is a slip.
"""

import math
import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

_SCALARS: Final = (bool, int, float, str)


def refuse_lookalikes(annotation: Any, given: object) -> None:
    """Refuse a value that would be read as one of another type.

    Args:
        annotation: what the setting or parameter is declared as. Any: a type.
        given: the value as YAML or a caller has it.

    Raises:
        ValueError: a truth value or a text stands for a number, a number or a text for a truth value, or a number is
            not finite; also inside lists and mappings.
    """
    scalars = _scalars(annotation)
    if isinstance(given, bool) and bool not in scalars and scalars & {int, float}:
        raise ValueError(f"should be a number, got {str(given).lower()}")
    if isinstance(given, str) and not scalars & {str} and scalars & {int, float} and _is_number(given):
        raise ValueError(f"should be a number, got the text {given!r}: write it without quotes")
    if isinstance(given, int | float | str) and not isinstance(given, bool) and scalars == {bool}:
        raise ValueError(f"should be true or false, got {given!r}")
    if isinstance(given, float) and not math.isfinite(given):
        raise ValueError(f"should be a finite number, got {given}")
    for item_annotation, item in _items(annotation, given):
        refuse_lookalikes(item_annotation, item)


def refuse_repeated(annotation: Any, given: object) -> None:
    """Refuse a list of plain values that holds one twice. Any: a type.

    Raises:
        ValueError: it does.
    """
    if not isinstance(given, list) or not any(str in _scalars(get_args(each)[0]) for each in _lists(annotation)):
        return
    texts = [item for item in given if isinstance(item, str)]
    if repeated := next((item for index, item in enumerate(texts) if item in texts[:index]), None):
        raise ValueError(f"holds {repeated!r} twice")


def _scalars(annotation: Any) -> set[type]:
    """Return the plain types that an annotation takes. Any: a type."""
    if annotation in _SCALARS:
        return {annotation}
    if get_origin(annotation) is Literal:
        return {type(word) for word in get_args(annotation)}
    return {found for each in _alternatives(annotation) for found in _scalars(each)}


def _alternatives(annotation: Any) -> Sequence[Any]:
    """Return what a union or an annotated type is made of. Any: types."""
    if get_origin(annotation) is Annotated:
        return get_args(annotation)[:1]
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else ()


def _items(annotation: Any, given: object) -> list[tuple[Any, object]]:
    """Pair the members of a list or a mapping with what they are declared as; a class checks its own."""
    if isinstance(given, Mapping):
        values = [Any] if annotation is Any else [get_args(each)[1] for each in _of_origin(annotation, dict, Mapping)]
        return [(value, item) for value in values[:1] for item in given.values()]
    if not isinstance(given, list | tuple):
        return []
    if fixed := [each for each in _of_origin(annotation, tuple) if ... not in get_args(each)]:
        return list(zip(get_args(fixed[0]), given, strict=False))
    members = [Any] if annotation is Any else [get_args(each)[0] for each in _lists(annotation)]
    return [(member, item) for member in members[:1] for item in given]


def _lists(annotation: Any) -> list[Any]:
    """Return the lists of any length that an annotation takes. Any: types."""
    found = _of_origin(annotation, list, tuple, Sequence)
    return [each for each in found if get_origin(each) is not tuple or ... in get_args(each)]


def _of_origin(annotation: Any, *origins: Any) -> list[Any]:
    if get_origin(annotation) in origins and get_args(annotation):
        return [annotation]
    return [found for each in _alternatives(annotation) for found in _of_origin(each, *origins)]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
