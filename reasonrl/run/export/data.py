"""What a run learned from, in words."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from reasonrl.config.finetune import SFTDataSettings
from reasonrl.config.settings import PluginRef, RunConfig
from reasonrl.errors import RunError
from reasonrl.plugins.catalog import catalog
from reasonrl.run.files.directory import RunDirectory

FACTS: Final = ("source", "license", "size", "paper")
"""What a card says of published data."""


def learned_from(directory: RunDirectory) -> str:
    """Return a run's data in a few words, with its size.

    Raises:
        RunError: the run's record of it cannot be read.
    """
    recorded = _recorded(directory)
    if isinstance(directory.config, RunConfig):
        labels = ", ".join(task.label for task in directory.config.tasks)
        return f"{labels} ({recorded.get('train', {}).get('num_problems', 'unknown')} problems)"
    counts = ", ".join(f"{count} {name}" for name, count in recorded.get("summary", {}).items())
    return f"{_short(recorded.get('source', 'unknown'))} ({counts})"


def data_lines(directory: RunDirectory) -> Iterator[str]:
    """Yield a run's data as a list: its tasks with their parameters, or its rows."""
    config = directory.config
    tasks: list[PluginRef] = []
    if isinstance(config, RunConfig):
        tasks = [task.ref for task in config.tasks]
    elif isinstance(config.data, SFTDataSettings) and config.data.task is not None:
        tasks = [config.data.task]
    for task in tasks:
        yield f"- task {with_params(task)}{_published(task.name)}"
    if not tasks:
        yield f"- {learned_from(directory)}"


def with_params(ref: PluginRef) -> str:
    """Return a plugin's name with the parameters that a run file gives it."""
    params = ", ".join(f"{name}={value!r}" for name, value in ref.params.items())
    return f"`{ref.name}`" + (f" with {params}" if params else "")


def _published(task: str) -> str:
    """Return what is known of the data behind a task; nothing for problems that are generated."""
    facts = catalog().get(task, {})
    return "".join(f"; {name}: {facts[name]}" for name in FACTS if facts.get(name))


def _recorded(directory: RunDirectory) -> Mapping[str, Any]:
    """Read what a run wrote down of its data. Any: JSON values."""
    path = directory.path / "data.json"
    try:
        found: Mapping[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read ({type(error).__name__}: {error}). Restore it.") from None
    return found


def _short(source: str) -> str:
    """Return a file's name without the folders of this machine."""
    return Path(source).name if Path(source).is_absolute() or Path(source).exists() else source
