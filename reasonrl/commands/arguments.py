"""Arguments that several commands take, and how they are read."""

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reasonrl.errors import ConfigError, PluginError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reasonrl.config.kinds import KindName

RunFile = Annotated[str, typer.Argument(metavar="RUN", help="A recipe's name, or the path of a run file.")]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY.PATH=VALUE]...", help="Settings that replace the run file's.")
]


def find_run(name: str, kind: "KindName | None" = None) -> Path:
    """Return the path of a run file, given it or a recipe's name.

    Args:
        name: a recipe's name, or a path.
        kind: what it should train; None takes anything.

    Raises:
        ConfigError: it clearly trains something else; the message has the command for that.
    """
    from reasonrl.config.runfile import refuse_other_kind

    path = _run_file(name)
    if kind is not None:
        refuse_other_kind(path, kind, name)
    return path


def checked_run(name: str, overrides: "Sequence[str]", kind: "KindName") -> Path:
    """Return the path of a run file whose settings are right, before what trains is imported.

    Raises:
        ConfigError: one line for each mistake in it or in the overrides.
    """
    from reasonrl.config.kinds import KINDS
    from reasonrl.config.runfile import load_settings

    path = find_run(name, kind)
    load_settings(path, overrides, KINDS[kind].settings)
    return path


def _run_file(name: str) -> Path:
    from reasonrl.plugins.lookup import Plugins

    path = Path(name)
    if path.is_file() or path.suffix in (".yaml", ".yml"):
        return path
    if path.is_dir() and name not in Plugins().entries("configs"):
        raise ConfigError(f"{name} is a folder: name a recipe (reasonrl configs list) or a run file.")
    entry = Plugins().find("configs", name)
    if not isinstance(entry.offered, str | PathLike):
        raise PluginError(f"{entry.label}: is a value of type {type(entry.offered).__name__}, not the path of a file.")
    return Path(entry.offered)


def is_override(text: str) -> bool:
    """Tell ``key=value`` from a run's name."""
    return "=" in text and not Path(text).is_file()
