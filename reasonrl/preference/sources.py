"""Rows of preference data from files, folders and data sets, each with its place for messages."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from reasonrl.config.finetune import RowSource
from reasonrl.config.reward_model import PreferenceDataSettings
from reasonrl.errors import ConfigError, DataError, UnreachableError, and_known
from reasonrl.system.extras import needs_extra
from reasonrl.system.text import read_text

Row: TypeAlias = Mapping[str, Any]
"""Columns by name. Any: they are whatever the source holds."""
Source: TypeAlias = PreferenceDataSettings | RowSource
"""Settings that name a source."""

COLUMNS: Final = (
    "prompt",
    "chosen",
    "rejected",
    "margin",
    "completions",
    "scores",
    "ranks",
    "completion",
    "label",
    "tags",
    "tools",
    "chat_template_kwargs",
)
"""Columns of the schemas; others are passed over."""


def read_rows(settings: Source, columns: Sequence[str] = COLUMNS) -> tuple[str, Iterator[tuple[str, Row]]]:
    """Return the name of a source, and its rows with their places, columns named as in the schema.

    Args:
        settings: with a ``path``.
        columns: those of the schema.

    Raises:
        ConfigError: a setting has no effect on this source, or a column is not one of the schema's.
        DataError: the source, or a row, cannot be read; errors of rows come when they are asked for.
        UnreachableError: the data set cannot be loaded.
    """
    assert settings.path is not None
    _require_known_columns(settings.columns, columns)
    path = Path(settings.path).expanduser()
    read = READERS.get(path.suffix.lower())
    if read is not None and not path.is_dir():
        _refuse_ignored(settings, "a file", "split", "name")
        return settings.path, _renamed(read(path), settings.columns)
    if path.is_file():
        kinds = ", ".join(READERS)
        raise DataError(f"data.path: {path} is of no known form. Give a file whose name ends in {kinds}, or a folder.")
    source = f"{settings.path} ({settings.split})"
    return source, _renamed(_dataset_rows(settings, path, source), settings.columns)


def _require_known_columns(renamed: Mapping[str, str], known: Sequence[str]) -> None:
    for name in renamed:
        if name not in known:
            raise ConfigError(f"data.columns: no column {name!r} in the schema.{and_known(name, known)}")


def _refuse_ignored(settings: Source, what: str, *names: str) -> None:
    """Refuse settings that have no effect on this source. Values count: a resumed run's file names every setting."""
    for name in names:
        if getattr(settings, name) != type(settings).model_fields[name].default:
            raise ConfigError(f"data.{name} is set, but data.path, {settings.path}, is {what}, which has none.")


def _renamed(rows: Iterable[tuple[str, Row]], columns: Mapping[str, str]) -> Iterator[tuple[str, Row]]:
    """Give columns the schema's names.

    Raises:
        DataError: a row lacks a column that is to be renamed.
    """
    for where, row in rows:
        for ours, theirs in columns.items():
            if theirs not in row:
                raise DataError(f"{where}: no column {theirs!r} (data.columns.{ours}).{and_known(theirs, row)}")
        yield where, {**row, **{ours: row[theirs] for ours, theirs in columns.items()}}


def _json_lines(path: Path) -> Iterator[tuple[str, Row]]:
    """Yield the objects of a file; blank lines are passed over."""
    for number, line in enumerate(read_text(path, DataError).split("\n"), start=1):
        if line.strip():
            where = f"{path}:{number}"
            yield where, _object(where, _parsed(where, line))


def _json_file(path: Path) -> Iterator[tuple[str, Row]]:
    """Yield the objects of a file that holds one array, or one object a line."""
    text = read_text(path, DataError)
    if not text.lstrip().startswith("["):
        yield from _json_lines(path)
        return
    for number, value in enumerate(_parsed(str(path), text), start=1):
        where = f"{path}, row {number}"
        yield where, _object(where, value)


def _parsed(where: str, text: str) -> Any:
    """Parse JSON. Any: its values."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if "\n" in text else ""
        raise DataError(f"{where}: is not JSON: {error.msg} at {line}column {error.colno}.") from None


def _object(where: str, value: object) -> Row:
    if not isinstance(value, dict):
        kind = type(value).__name__
        raise DataError(f"{where}: is a JSON {kind}, not an object with columns.")
    return value


def _parquet(path: Path) -> Iterator[tuple[str, Row]]:
    """Yield the rows of a file, a part of it in memory at a time."""
    with needs_extra("data", f"{path}, a Parquet file,"):
        import pyarrow
        from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            rows = (row for batch in file.iter_batches() for row in batch.to_pylist())
            yield from ((f"{path}, row {number}", row) for number, row in enumerate(rows, start=1))
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path}: cannot be read as Parquet: {' '.join(str(error).split())[:300]}") from None


READERS: Final[Mapping[str, Callable[[Path], Iterator[tuple[str, Row]]]]] = {
    ".jsonl": _json_lines,
    ".json": _json_file,
    ".parquet": _parquet,
}


def _dataset_rows(settings: Source, path: Path, source: str) -> Iterator[tuple[str, Row]]:
    """Yield the rows of a split of a folder that ``datasets`` saved, or of a data set that it knows by name."""
    rows = _saved(settings, path) if _is_saved(path) else _loaded(settings, path)
    for number, row in enumerate(rows, start=1):
        yield f"{source}, row {number}", row


def _is_saved(path: Path) -> bool:
    return any((path / name).is_file() for name in ("state.json", "dataset_dict.json"))


def _saved(settings: Source, path: Path) -> Iterable[Row]:
    """Return the rows of a folder that ``save_to_disk`` wrote."""
    with needs_extra("data", f"data.path: {path}, a saved data set,"):
        from datasets import DatasetDict, load_from_disk

    try:
        found = load_from_disk(str(path))
    except (OSError, ValueError) as error:
        raise DataError(f"data.path: {path} cannot be read: {_cause(error)}.") from None
    _refuse_ignored(settings, "a folder that datasets saved", "name")
    if not isinstance(found, DatasetDict):
        _refuse_ignored(settings, "one saved data set", "split")
        rows: Iterable[Row] = found
        return rows
    if settings.split not in found:
        raise DataError(f"data.split: {path} has no split {settings.split!r}.{and_known(settings.split, found)}")
    chosen: Iterable[Row] = found[settings.split]
    return chosen


def _loaded(settings: Source, path: Path) -> Iterable[Row]:
    """Return the rows of a data set of the hub, or of a folder with its files."""
    with needs_extra("data", f"data.path: {settings.path!r}, a data set,"):
        from datasets import load_dataset
        from datasets.exceptions import DatasetsError

    try:
        rows: Iterable[Row] = load_dataset(str(settings.path), settings.name, split=settings.split)
    except (OSError, ValueError, DatasetsError) as error:
        if path.is_dir():
            raise DataError(f"data.path: {path} cannot be loaded: {_cause(error)}.") from None
        raise UnreachableError(
            f"data.path: {settings.path!r} is no file or folder here, and cannot be loaded as a data set of the hub: "
            f"{_cause(error)}. Check path, name, split and the network."
        ) from None
    return rows


def _cause(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
