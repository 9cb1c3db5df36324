"""Files of one JSON object a line that grow by appending.

A line counts when its line break is there. A last line without one is what a kill or a full disk left of a
record: readers pass over it and the next append replaces it.
"""

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from reasonrl.errors import RunError
from reasonrl.system.atomic import write_atomically

Record: TypeAlias = Mapping[str, Any]
"""One line. Any: JSON values."""


def encode(records: Iterable[Record]) -> bytes:
    """Return the lines of the records; any text survives, unpaired surrogates included."""
    lines = (json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n" for record in records)
    return "".join(lines).encode("utf-8", "backslashreplace")


def finite(value: Any) -> Any:
    """Return JSON values with null for numbers that JSON does not have. Any: JSON values."""
    if isinstance(value, Mapping):
        return {name: finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def append(path: Path, record: Record) -> None:
    """Add one line; it outlives this process, and a power cut once the file is synced."""
    with path.open("a+b") as file:
        drop_unfinished_line(file)
        file.write(encode([record]))


def read(path: Path) -> list[dict[str, Any]]:
    """Return the records of a file; none where there is no file. Any: JSON values.

    Raises:
        RunError: a finished line is not JSON.
    """
    return [record for _, record in _lines(path)]


def keep(path: Path, wanted: Callable[[Record], bool]) -> None:
    """Drop the lines that are not wanted, and an unfinished one."""
    if path.exists():
        write_atomically(path, b"".join(line for line, record in _lines(path) if wanted(record)))


def _lines(path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    content = path.read_bytes() if path.exists() else b""
    for number, line in enumerate(content.splitlines(keepends=True), start=1):
        if line.endswith(b"\n"):
            yield line, _parsed(line, path, number)


def _parsed(line: bytes, path: Path, number: int) -> dict[str, Any]:
    """Read one line."""
    try:
        record = json.loads(line)
    except ValueError as error:
        raise RunError(f"{path}:{number}: not a JSON record ({error}). Remove or mend the line.") from None
    if not isinstance(record, dict):
        raise RunError(f"{path}:{number}: not a JSON record ({line.decode()!r}). Remove or mend the line.")
    return record


def drop_unfinished_line(file: BinaryIO) -> None:
    """Cut the file after its last line break."""
    end = file.seek(0, os.SEEK_END)
    if end == 0:
        return
    file.seek(end - 1)
    if file.read(1) == b"\n":
        return
    file.seek(0)
    file.truncate(file.read().rfind(b"\n") + 1)
