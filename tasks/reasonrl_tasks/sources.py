"""Read a published data set: from the Hugging Face hub, or the same data from a file or a folder.

A folder may be a snapshot of the hub's repository, what ``datasets.save_to_disk`` wrote, or hold files of any names of
which one fits.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from reasonrl import DataError, UnreachableError
from reasonrl.errors import and_known, did_you_mean
from reasonrl.system.extras import needs_extra
from reasonrl_tasks.columns import Row
from reasonrl_tasks.folders import files_in, refuse_other_split
from reasonrl_tasks.readers import file_rows


@dataclass(frozen=True, slots=True)
class HubSource:
    """Where a published data set is found."""

    name: str
    """Its name on the hub."""
    config: str | None = None
    """Its configuration, where it has several."""
    split: str = "train"
    """Its own split to read, or several with ``+`` between them."""
    files: tuple[str, ...] = ()
    """Usual names, or glob patterns, of the same data inside a local folder, the best first. A file that one of them
    names is taken whatever split its name speaks of."""
    parts: tuple[str, ...] = ()
    """Configurations that the data is divided into, such as the subjects of MATH: all are read, in this order. A local
    folder may be divided so."""


def read_source(source: HubSource, *, data: str | None = None, revision: str | None = None) -> Iterator[Row]:
    """Yield the rows of a data set, in its order.

    Args:
        source: the data set.
        data: a file or folder that holds it; nothing is then asked of a network.
        revision: commit, tag or branch on the hub.

    Raises:
        DataError: ``data`` is not there, does not hold this split, holds it twice, or cannot be read; or a ``revision``
            is given for it, which only the hub has.
        UnreachableError: the hub cannot be reached, or does not have the data set.
    """
    if data is None:
        parts = source.parts if source.config is None else ()
        whole = [replace(source, config=part) for part in parts] or [source]
        return (row for part in whole for row in _hub_rows(part, revision))
    if revision is not None:
        raise DataError(
            f"revision {revision!r} is of the hub's data set, but the data comes from {data}; set only one."
        )
    path = Path(data).expanduser()
    if not _exists(path):
        known = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise DataError(f"{data}: there is no such file or folder.{did_you_mean(path.name, known)}")
    return _local_rows(source, path)


def _exists(path: Path) -> bool:
    """Say whether a path is there; one that cannot be is not."""
    try:
        return path.exists()
    except OSError:  # such as a name that is too long
        return False


def _local_rows(source: HubSource, path: Path) -> Iterator[Row]:
    if path.is_file():
        refuse_other_split(path, source.split, source.files)
        return file_rows(path)
    if any((path / name).is_file() for name in ("state.json", "dataset_dict.json")):
        return _saved_rows(source, path)
    files = files_in(path, config=source.config, split=source.split, patterns=source.files, parts=source.parts)
    return (row for file in files for row in file_rows(file))


def _hub_rows(source: HubSource, revision: str | None) -> Iterator[Row]:
    """Yield the rows of a split of a data set that ``datasets`` knows by name."""
    with needs_extra("data", f"the data set {source.name!r}"):
        from datasets import load_dataset
        from datasets.exceptions import DatasetsError

    try:
        rows = load_dataset(source.name, source.config, split=source.split, revision=revision)
    except (OSError, ValueError, DatasetsError) as error:
        config = f", configuration {source.config!r}" if source.config else ""
        raise UnreachableError(
            f"cannot load the data set {source.name!r}{config}, split {source.split!r}, from the hub: {_cause(error)}. "
            "Without a network, give a file or folder with the same data: --data PATH, or in a run file data: PATH "
            "under params."
        ) from None
    return _placed(f"{source.name} ({source.split})", rows)


def _saved_rows(source: HubSource, path: Path) -> Iterator[Row]:
    """Yield the rows of a folder that ``save_to_disk`` wrote."""
    with needs_extra("data", f"{path}, a saved data set,"):
        from datasets import DatasetDict, load_from_disk

    try:
        found = load_from_disk(str(path))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as a saved data set: {_cause(error)}.") from None
    splits = found if isinstance(found, DatasetDict) else {str(found.split or source.split): found}
    return _of_splits(source, path, splits)


def _of_splits(source: HubSource, path: Path, splits: Mapping[str, Iterable[Mapping[str, Any]]]) -> Iterator[Row]:
    """Yield the rows of the source's splits in turn. Any: columns hold whatever they do."""
    wanted = source.split.split("+")
    if source.files and len(splits) == 1:
        wanted = list(splits)
    for name in wanted:
        if name not in splits:
            raise DataError(f"{path}: has no split {name!r}.{and_known(name, splits)}")
    return (row for name in wanted for row in _placed(f"{path} ({name})", splits[name]))


def _placed(where: str, rows: Iterable[Mapping[str, Any]]) -> Iterator[Row]:
    """Number rows. Any: as above."""
    return ((f"{where}, row {number}", row) for number, row in enumerate(rows, start=1))


def source_of(copies: Sequence[HubSource], *, hub_name: str | None, data: str | None) -> HubSource:
    """Return one of the copies of a data set on the hub, the first by default; or how any of them is read locally.

    Raises:
        DataError: there is no copy of this name, or one is named although the data is local.
    """
    if data is None:
        return next((copy for copy in copies if hub_name in (None, copy.name)), None) or _no_copy(copies, hub_name)
    if hub_name is not None:
        raise DataError(f"hub_name is {hub_name!r}, but the data comes from {data}; set only one of them.")
    files = dict.fromkeys(pattern for copy in copies for pattern in copy.files)
    parts = dict.fromkeys(part for copy in copies for part in copy.parts)
    return replace(copies[0], files=tuple(files), parts=tuple(parts))


def _no_copy(copies: Sequence[HubSource], hub_name: str | None) -> NoReturn:
    known = and_known(str(hub_name), [copy.name for copy in copies])
    raise DataError(f"hub_name {hub_name!r} is no known copy of this data set.{known} For another, use task 'hub'.")


def _cause(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__
