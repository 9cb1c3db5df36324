"""Read the rows of one file: JSON lines, a JSON array, CSV or Parquet, plain or compressed."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from reasonrl import DataError
from reasonrl.system.extras import needs_extra
from reasonrl.system.text import read_text
from reasonrl_tasks.columns import Row

COMPRESSED: Final = (".gz", ".zst")
"""Endings that may follow those of files of text."""


def json_rows(path: str | Path) -> Iterator[Row]:
    """Yield the objects of a file with one a line; blank lines are passed over.

    Raises:
        DataError: the file cannot be read, or a line is no JSON object; the message has the line.
    """
    with _opened(Path(path)) as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                where = f"{path}:{number}"
                yield where, _object(where, _parsed(where, line.rstrip("\n")))


def parquet_rows(path: str | Path) -> Iterator[Row]:
    """Yield the rows of a Parquet file, a part of it in memory at a time.

    Raises:
        DataError: the file cannot be read.
    """
    with needs_extra("data", f"{path}, a Parquet file,"):
        import pyarrow
        from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            rows = (row for batch in file.iter_batches(batch_size=1024) for row in batch.to_pylist())
            yield from ((f"{path}, row {number}", row) for number, row in enumerate(rows, start=1))
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path}: cannot be read as Parquet: {' '.join(str(error).split())[:300]}") from None


def file_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a file in the form that its name tells; they are counted from 1 where lines do not say more.

    Raises:
        DataError: the name tells no known form, or the file cannot be read in it.
    """
    form = file_form(path)
    if form is None:
        raise DataError(
            f"{path}: is of no known form. Give a file whose name ends in {', '.join(_READERS)} (text also "
            f"compressed, as in .jsonl{COMPRESSED[0]}), or a folder."
        )
    return _READERS[form](path)


def file_form(path: Path) -> str | None:
    """Return the ending that tells a file's form, such as ``.jsonl`` for ``a.jsonl.gz``; None where it tells none."""
    name = path.name.lower()
    text = next((name.removesuffix(ending) for ending in COMPRESSED if name.endswith(ending)), None)
    form = Path(name if text is None else text).suffix
    return form if form in _READERS and not (text is not None and form == ".parquet") else None


def _json_file(path: Path) -> Iterator[Row]:
    """Yield the objects of a file that holds an array, an object with one array in it, or one object a line."""
    with _opened(path) as file:
        text = file.read()
    if not text.lstrip().startswith("["):
        first, _, others = text.lstrip().partition("\n")
        if others.strip() and _is_object(first):
            yield from json_rows(path)
            return
    for number, value in enumerate(_array(path, _parsed(str(path), text)), start=1):
        where = f"{path}, row {number}"
        yield where, _object(where, value)


def _array(path: Path, value: object) -> list[object]:
    """Return the rows of a parsed file."""
    if isinstance(value, list):
        return value
    arrays = [array for array in value.values() if isinstance(array, list)] if isinstance(value, Mapping) else []
    if len(arrays) == 1:
        return arrays[0]
    if isinstance(value, Mapping) and not arrays:
        return [value]
    raise DataError(f"{path}: is neither a JSON array of objects, nor an object with one such array, nor JSON lines.")


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _csv_rows(path: Path) -> Iterator[Row]:
    """Yield the rows under the names in the first line; cells are texts."""
    with _opened(path, newline="") as file:
        rows = csv.DictReader(file, strict=True)
        try:
            for row in rows:
                where = f"{path}:{rows.line_num}"
                if None in row or None in row.values():
                    raise DataError(f"{where}: has not as many cells as the first line, {len(rows.fieldnames or ())}.")
                yield where, row
        except csv.Error as error:
            raise DataError(f"{path}: is not CSV after line {rows.line_num}: {error}.") from None


@contextmanager
def _opened(path: Path, *, newline: str | None = None) -> Iterator[IO[str]]:
    """Open a file of text; what is wrong with it is one sentence, whenever it shows."""
    try:
        with _binary(path) as binary, io.TextIOWrapper(binary, encoding="utf-8-sig", newline=newline) as text:
            yield text
    except UnicodeDecodeError as error:
        if path.suffix.lower() not in COMPRESSED:
            read_text(path, DataError)  # names the byte, its line and the likely encoding
        raise DataError(f"{path}: is not UTF-8 text: {error.reason}. Save it as UTF-8.") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be decompressed: {error}.") from None
    except OSError as error:
        if path.suffix.lower() not in COMPRESSED or not path.is_file():
            read_text(path, DataError)
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.") from None


def _binary(path: Path) -> io.BufferedReader:
    """Open a file, decompressed as its name says."""
    match path.suffix.lower():
        case ".gz":
            return io.BufferedReader(gzip.GzipFile(path))
        case ".zst":
            with needs_extra("data", f"{path}, a compressed file,"):
                from pyarrow import input_stream

            return io.BufferedReader(input_stream(str(path), compression="zstd"))
        case _:
            return path.open("rb")


def _parsed(where: str, text: str) -> Any:
    """Parse JSON. Any: its values."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if "\n" in text else ""
        raise DataError(f"{where}: is not JSON: {error.msg} at {line}column {error.colno}.") from None
    except (ValueError, RecursionError) as error:  # a number or a nesting that Python refuses
        raise DataError(f"{where}: cannot be read as JSON: {error}.") from None


def _object(where: str, value: object) -> dict[str, Any]:
    """Return a row. Any: its columns."""
    if not isinstance(value, dict):
        raise DataError(f'{where}: is a JSON {type(value).__name__}, not an object like {{"question": ...}}.')
    return value


_READERS: Final[Mapping[str, Callable[[Path], Iterator[Row]]]] = {
    ".jsonl": json_rows,
    ".json": _json_file,
    ".parquet": parquet_rows,
    ".csv": _csv_rows,
}
