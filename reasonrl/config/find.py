"""Find the run file that a user names."""

from os import PathLike
from pathlib import Path

from reasonrl.config.kinds import KindName
from reasonrl.config.runfile import refuse_other_kind
from reasonrl.errors import ConfigError, PluginError
from reasonrl.plugins.lookup import Plugins


def find_run(name: str, kind: KindName | None = None) -> Path:
    """Return the path of a run file, given it or a recipe's name.

    Args:
        name: a recipe's name, or a path.
        kind: what it should train; None takes anything.

    Raises:
        ConfigError: it clearly trains something else; the message has the command for that.
        PluginError: there is no such recipe.
    """
    path = _run_file(name)
    if kind is not None:
        refuse_other_kind(path, kind, name)
    return path


def _run_file(name: str) -> Path:
    path = Path(name)
    if path.is_file() or path.suffix in (".yaml", ".yml"):
        return path
    if path.is_dir() and name not in Plugins().entries("configs"):
        raise ConfigError(f"{name} is a folder: name a recipe (reasonrl configs list) or a run file.")
    entry = Plugins().find("configs", name)
    if not isinstance(entry.offered, str | PathLike):
        raise PluginError(f"{entry.label}: is a value of type {type(entry.offered).__name__}, not the path of a file.")
    return Path(entry.offered)
