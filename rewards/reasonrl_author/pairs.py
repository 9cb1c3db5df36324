"""Files of pairs, a right answer and a text to score by it: one JSON object a line, read one line at a time."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, TypeAlias

from reasonrl import DataError

REQUIRED: Final = ("id", "answer", "text")
OPTIONAL: Final = ("prompt", "meta", "expected", "kind")
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
EXAMPLE: Final = '{"id": "1", "answer": "42", "text": "It is \\\\boxed{42}."}'

JSON_NAMES: Final[Mapping[type, str]] = {
    str: "a string",
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
    type(None): "null",
}
"""What JSON calls the types of its values."""

TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "id": (str, int),
    "text": (str,),
    "prompt": (str,),
    "meta": (dict,),
    "kind": (str,),
}
"""The types of the keys that have the same types in every row."""

Form: TypeAlias = Literal["bare", "reply", ""]
"""Whether a text is only an answer or a reply that contains one; empty where the row does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What the score of a row is written, counted and compared under."""

    id: str | int
    """The row's own name, as in the file."""
    expected: bool | float | None = None
    """What the score should be: right or wrong, or the value itself."""
    kind: str = ""
    """A label that results are counted under; ``bare`` and ``reply`` are also the text's form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One row: a right answer and a text to score by it."""

    label: Label
    answer: str
    text: str
    prompt: str = ""
    meta: Mapping[str, Any]
    """Columns for the reward. Any: JSON values."""
    form: Form = ""


@dataclass(frozen=True, slots=True)
class FileContents:
    """What a file of pairs contains."""

    num_rows: int
    kinds: Mapping[str, int]
    """Rows of each kind."""
    forms: frozenset[Form]
    """The forms of its texts."""
    unused: tuple[str, ...]
    """Keys of rows that are not used."""


def read_pairs(path: Path) -> Iterator[Pair]:
    """Yield the rows of a file; blank lines are skipped.

    Raises:
        DataError: a line is not a row, with its number.
    """
    for number, line in _lines(path):
        yield _pair(_record(line, path, number), line, path, number)


def scan_pairs(path: Path) -> FileContents:
    """Check a whole file and say what it contains, before any of it is used.

    Raises:
        DataError: a line is not a row, two rows have the same id, or there are no rows.
    """
    seen: dict[str, int] = {}
    kinds: Counter[str] = Counter()
    forms: set[Form] = set()
    keys: set[str] = set()
    for number, line in _lines(path):
        record = _record(line, path, number)
        pair = _pair(record, line, path, number)
        if (first := seen.setdefault(str(pair.label.id), number)) != number:
            _refuse(path, number, f"id {pair.label.id!r} is that of line {first} too; every row needs its own.")
        kinds[pair.label.kind] += 1
        forms.add(pair.form)
        keys |= record.keys()
    if not seen:
        raise DataError(f"{path}: no rows. A row is a line such as {EXAMPLE}")
    return FileContents(len(seen), kinds, frozenset(forms), tuple(sorted(keys - {*REQUIRED, *OPTIONAL})))


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the number and the bytes of each line that is not blank."""
    try:
        # Bytes are split at line feeds only; text is also split at other line ends, which JSON strings may contain.
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                content = (line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line).strip()
                if content:
                    yield number, content
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}.") from None


def _record(line: bytes, path: Path, number: int) -> dict[str, Any]:
    """Parse one line. Any: JSON values."""
    try:
        record = _DECODER.decode(line.decode("utf-8"))
    except UnicodeDecodeError:
        _refuse(path, number, "not UTF-8 text.")
    except (ValueError, RecursionError) as error:
        _refuse(path, number, f"not JSON ({error}).")
    if not isinstance(record, dict):
        _refuse(path, number, f"{JSON_NAMES[type(record)]}, not an object such as {EXAMPLE}")
    return record


def _pair(record: Mapping[str, Any], line: bytes, path: Path, number: int) -> Pair:
    """Check one row. Any: JSON values."""
    for key in REQUIRED:
        if key not in record:
            _refuse(path, number, f"no {key!r}. A row is a line such as {EXAMPLE}")
    for key, types in TYPES.items():
        if key in record and type(record[key]) not in types:
            allowed = " or ".join(JSON_NAMES[one] for one in types)
            _refuse(path, number, f"{key!r} is {JSON_NAMES[type(record[key])]}; it must be {allowed}.")
    expected = record.get("expected")
    if not isinstance(expected, bool | int | float | None):
        _refuse(path, number, f"'expected' is {JSON_NAMES[type(expected)]}; it is true, false or the value.")
    kind = record.get("kind", "")
    return Pair(
        label=Label(id=record["id"], expected=expected, kind=kind),
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
    raise ValueError(f"{constant} is no JSON value")


_DECODER: Final = json.JSONDecoder(parse_constant=_not_json)
"""Refuses NaN and Infinity, which Python would accept."""
_SPELLING_DECODER: Final = json.JSONDecoder(parse_int=str, parse_float=str)
"""Leaves numbers as they are spelled."""


def _refuse(path: Path, number: int, what: str) -> NoReturn:
    raise DataError(f"{path}:{number}: {what}")
