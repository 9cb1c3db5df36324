"""Find the files of one split of a data set in a folder: by the names that the hub and authors give them."""

import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

from reasonrl import DataError
from reasonrl_tasks.readers import file_form

SPLITS: Final[Mapping[str, tuple[str, ...]]] = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "eval", "heldout"),
}
"""Words in the names of files that tell a split."""

NOT_DATA: Final = ("dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json", "metadata.jsonl")
"""Files of data sets that hold no rows."""

MAX_NAMED: Final = 8
"""Files that a message names."""

_SHARD = re.compile(r"-(\d{5})-of-(\d{5})")


def files_in(
    folder: Path, *, config: str | None, split: str, patterns: Sequence[str], parts: Sequence[str]
) -> Sequence[Path]:
    """Return the files of a folder that hold one split, in the order of their rows.

    They are narrowed down by ``patterns``, by the configuration and by the split, each where any file fits. What
    remains must be one file, the shards of one, or one file for each of the ``parts``.

    Raises:
        DataError: none remains, more than one does, or a shard or part is missing.
    """
    root = _snapshot(folder)
    found = _data_files(root)
    if not found:
        raise DataError(f"{folder}: holds no file of a known form (.jsonl, .json, .parquet, .csv).")
    named = _named(found, root, patterns)
    kept = _narrowed(named or found, lambda path: config is not None and _has_config(path.relative_to(root), config))
    in_split = [path for path in kept if _split_words(path.relative_to(root)) & _words(split)]
    kept = in_split or (kept if named else [path for path in kept if not _split_words(path.relative_to(root))])
    if not kept:
        raise DataError(f"{folder}: holds nothing of split {split!r}, but {_listed(found, root)}.")
    return _single(folder, root, kept, parts)


def refuse_other_split(path: Path, split: str, patterns: Sequence[str]) -> None:
    """Refuse a file whose own name speaks of another split alone.

    Raises:
        DataError: it does, and no pattern names it.
    """
    words = _split_words(Path(path.name))
    if words and not words & _words(split) and not _matches(Path(path.name), patterns):
        raise DataError(
            f"{path}: its name says {' and '.join(sorted(words))}, but split {split!r} is wanted. Give the file of "
            "that split, or a name to this one that speaks of none."
        )


def _snapshot(folder: Path) -> Path:
    """Return the data's own folder: the hub's cache keeps it under ``snapshots``."""
    snapshots = folder / "snapshots"
    versions = sorted(path for path in snapshots.iterdir() if path.is_dir()) if snapshots.is_dir() else []
    if len(versions) > 1:
        raise DataError(f"{folder}: holds {len(versions)} versions; give one of them: {_listed(versions, folder)}.")
    return versions[0] if versions else folder


def _data_files(root: Path) -> list[Path]:
    """Return the files of known forms, hidden ones and those without rows left out."""
    files = (path for path in sorted(root.rglob("*")) if file_form(path) and path.name not in NOT_DATA)
    return [
        path
        for path in files
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(root).parts)
    ]


def _named(paths: Sequence[Path], root: Path, patterns: Sequence[str]) -> Sequence[Path]:
    """Return the files of the first pattern that any has."""
    by_pattern = ([path for path in paths if _matches(path.relative_to(root), [pattern])] for pattern in patterns)
    return next(filter(None, by_pattern), [])


def _matches(path: Path, patterns: Sequence[str]) -> bool:
    """Say whether a path within the folder, or its name, is of a pattern."""
    return any(fnmatch(path.as_posix(), pattern) or fnmatch(path.name, pattern) for pattern in patterns)


def _narrowed(paths: Sequence[Path], fits: Callable[[Path], bool]) -> Sequence[Path]:
    return [path for path in paths if fits(path)] or paths


def _has_config(path: Path, config: str) -> bool:
    """Say whether a path names a configuration, as its folder or in the file's name."""
    return config.lower() in (*(part.lower() for part in path.parts[:-1]), _stem(path)) or _mentions(path, config)


def _mentions(path: Path, config: str) -> bool:
    return re.search(rf"(?<![a-z0-9]){re.escape(config.lower())}(?![a-z0-9])", _stem(path)) is not None


def _stem(path: Path) -> str:
    """Return a file's name without its endings and the number of its shard."""
    return _SHARD.sub("", path.name.lower().partition(".")[0])


def _split_words(path: Path) -> set[str]:
    """Return the splits that a path within the folder speaks of, in the file's name or, where that has none, above."""
    for text in (_stem(path), *(part.lower() for part in reversed(path.parts[:-1]))):
        words = set(re.split(r"[^a-z0-9]+", text))
        if found := {name for name, known in SPLITS.items() if words & set(known)}:
            return found
    return set()


def _words(split: str) -> set[str]:
    """Return the names under which files speak of a split."""
    wanted = split.lower().split("+")
    return {name for name, known in SPLITS.items() if set(known) & set(wanted)} | set(wanted)


def _single(folder: Path, root: Path, paths: Sequence[Path], parts: Sequence[str]) -> Sequence[Path]:
    """Return the files of the one data set among these."""
    groups: dict[Path, list[Path]] = {}
    for path in paths:
        groups.setdefault(path.with_name(_SHARD.sub("", path.name)), []).append(path)
    for shards in groups.values():
        _require_all_shards(folder, shards)
    if len(groups) == 1:
        return next(iter(groups.values()))
    by_part = [[path for path in paths if _has_config(path.relative_to(root), part)] for part in parts]
    if parts and sorted(path for part in by_part for path in part) == sorted(paths):
        missing = [part for part, files in zip(parts, by_part, strict=True) if not files]
        if missing:
            raise DataError(f"{folder}: lacks {', '.join(missing)} of the {len(parts)} parts of the data set.")
        return [path for part in by_part for path in part]
    raise DataError(f"{folder}: holds more than one file that may be meant: {_listed(paths, root)}. Give one of them.")


def _require_all_shards(folder: Path, shards: Sequence[Path]) -> None:
    """Refuse a part of a data set that was published in numbered files."""
    numbered = [match for path in shards if (match := _SHARD.search(path.name))]
    total = int(numbered[0][2]) if numbered else 1
    if numbered and len(numbered) != total:
        raise DataError(
            f"{folder}: has {len(numbered)} of the {total} files of {_SHARD.sub('', shards[0].name)}; get the others."
        )


def _listed(paths: Sequence[Path], root: Path) -> str:
    names = [path.relative_to(root).as_posix() for path in paths[:MAX_NAMED]]
    return ", ".join([*names, *([f"and {len(paths) - MAX_NAMED} more"] if len(paths) > MAX_NAMED else [])])
