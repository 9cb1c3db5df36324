"""Arguments that several commands take, and how they are read."""

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reasonrl.errors import PluginError

if TYPE_CHECKING:
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


def _run_file(name: str) -> Path:
    from reasonrl.plugins.lookup import Plugins

    path = Path(name)
    if path.is_file() or path.suffix in (".yaml", ".yml"):
        return path
    entry = Plugins().find("configs", name)
    if not isinstance(entry.offered, str | PathLike):
        raise PluginError(f"{entry.label}: is a value of type {type(entry.offered).__name__}, not the path of a file.")
    return Path(entry.offered)


def is_override(text: str) -> bool:
    """Tell ``key=value`` from a run's name."""
    return "=" in text and not Path(text).is_file()
