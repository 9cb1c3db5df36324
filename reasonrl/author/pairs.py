"""Files of answered questions: one JSON object a line, read one line at a time."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NoReturn

from reasonrl.errors import DataError

REQUIRED: Final = ("id", "answer", "text")
OPTIONAL: Final = ("prompt", "meta", "expected", "kind")
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

JSON_NAMES: Final[Mapping[type, str]] = {
    str: "a string",
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
    type(None): "null",
}
"""What a value is called in JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a verdict on a row is written and counted under."""

    id: str | int
    """The row's own name, as the file has it."""
    expected: bool | float | None = None
    """What the verdict should be: right or wrong, or the value itself."""
    kind: str = ""
    """A label that results are counted under; ``bare`` and ``reply`` also say how the text is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A right answer and a text to judge by it."""

    wanted: Wanted
    answer: str
    text: str
    prompt: str = ""
    meta: Mapping[str, Any]
    """Columns for the reward. Any: JSON values."""
    form: Literal["bare", "reply", ""] = ""
    """Whether the text is an answer already or a reply that holds one, where the row says so."""


@dataclass(frozen=True, slots=True)
class Census:
    """What a file holds."""

    num_rows: int
    kinds: Mapping[str, int]
    """Rows of each kind."""
    forms: frozenset[str]
    """The forms that rows ask for."""
    unused: tuple[str, ...]
    """Keys that rows have and nothing here uses."""


def read_pairs(path: Path) -> Iterator[Pair]:
    """Go through the rows of a file; blank lines are passed over.

    Raises:
        DataError: a line is no row, with its number.
    """
    for number, line in _lines(path):
        yield _pair(_record(line, path, number), line, path, number)


def take_census(path: Path) -> Census:
    """Go through a whole file and say what it holds, before anything is done with it.

    Raises:
        DataError: a line is no row, two rows have one id, or there is none.
    """
    seen: dict[str, int] = {}
    kinds: Counter[str] = Counter()
    forms: set[str] = set()
    keys: set[str] = set()
    for number, line in _lines(path):
        record = _record(line, path, number)
        pair = _pair(record, line, path, number)
        if (first := seen.setdefault(str(pair.wanted.id), number)) != number:
            _refuse(path, number, f"id {pair.wanted.id!r} is that of line {first} too; every row needs its own.")
        kinds[pair.wanted.kind] += 1
        forms.add(pair.form)
        keys |= record.keys()
    if not seen:
        raise DataError(f"{path}: no rows. A row is a line such as {_example()}")
    return Census(len(seen), kinds, frozenset(forms), tuple(sorted(keys - {*REQUIRED, *OPTIONAL})))


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (number, line) of the lines that are not blank."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                content = (line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line).strip()
                if content:
                    yield number, content
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from None


def _record(line: bytes, path: Path, number: int) -> dict[str, Any]:
    """Read one line as JSON. Any: JSON values."""
    try:
        record = _DECODER.decode(line.decode("utf-8"))
    except UnicodeDecodeError:
        _refuse(path, number, "not UTF-8 text.")
    except (ValueError, RecursionError) as error:
        _refuse(path, number, f"not JSON ({error}).")
    if not isinstance(record, dict):
        _refuse(path, number, f"{JSON_NAMES[type(record)]}, not an object such as {_example()}")
    return record


def _pair(record: Mapping[str, Any], line: bytes, path: Path, number: int) -> Pair:
    """Check one row. Any: JSON values."""
    for key in REQUIRED:
        if key not in record:
            _refuse(path, number, f"no {key!r}. A row is a line such as {_example()}")
    for key, kinds in (("id", (str, int)), ("text", (str,)), ("prompt", (str,)), ("meta", (dict,)), ("kind", (str,))):
        if key in record and type(record[key]) not in kinds:
            wanted = " or ".join(JSON_NAMES[kind] for kind in kinds)
            _refuse(path, number, f"{key!r} is {JSON_NAMES[type(record[key])]}; it must be {wanted}.")
    expected = record.get("expected")
    if not isinstance(expected, bool | int | float | None):
        _refuse(path, number, f"'expected' is {JSON_NAMES[type(expected)]}; it is true, false or the value.")
    kind = record.get("kind", "")
    return Pair(
        wanted=Wanted(id=record["id"], expected=expected, kind=kind),
        answer=_answer(record["answer"], line, path, number),
        text=record["text"],
        prompt=record.get("prompt", ""),
        meta=record.get("meta", {}),
        form=kind if kind in ("bare", "reply") else "",
    )


def _answer(given: Any, line: bytes, path: Path, number: int) -> str:
    """Return an answer as text: a number just as the file spells it, so that 1.50 stays 1.50. Any: JSON values."""
    if isinstance(given, str):
        return given
    if type(given) in (int, float):
        return str(_SPELLING_DECODER.decode(line.decode("utf-8"))["answer"])
    _refuse(path, number, f"'answer' is {JSON_NAMES[type(given)]}; write it as a string, in quotes.")


def _not_json(constant: str) -> NoReturn:
    """Refuse the NaN and Infinity that Python would read."""
    raise ValueError(f"{constant} is no JSON value")


_DECODER: Final = json.JSONDecoder(parse_constant=_not_json)
_SPELLING_DECODER: Final = json.JSONDecoder(parse_int=str, parse_float=str)
"""Leaves numbers as they are spelled."""


def _example() -> str:
    """Return a row that is right."""
    return '{"id": "1", "answer": "42", "text": "It is \\\\boxed{42}."}'


def _refuse(path: Path, number: int, what: str) -> NoReturn:
    """Name the file and the line of a mistake."""
    raise DataError(f"{path}:{number}: {what}")
