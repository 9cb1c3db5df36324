"""Commands that packages bring: groups in the entry-point group ``reasonrl.commands``."""

from collections.abc import Collection, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

import typer
from typer.main import get_command, get_command_name
from typer.models import CommandInfo, TyperInfo

from reasonrl.errors import PluginError, ReasonRLError
from reasonrl.plugins.boundary import guarded_import, label
from reasonrl.plugins.loading import IMPORT_TIMEOUT_S, PluginWarning, owner_of

GROUP: Final = "reasonrl.commands"
"""The entry-point group that command groups register under."""
HELP: Final = ("", "--help")
"""First words of a command line that lists all commands."""


def add_commands(app: typer.Typer, wanted: str | None = None) -> None:
    """Add the groups that packages register to those of the program.

    A group whose name is there already, such as ``rewards``, gets the package's commands beside its own, but none in
    place of them. What cannot be added is told on standard error, and takes no other command with it.

    Args:
        app: the program.
        wanted: the first word of the command line. Only packages that it may come from are imported; None imports all.

    Raises:
        PluginError: the wanted command is a package's, and cannot be added.
    """
    own = _names(app)
    for entry in _relevant(own, wanted):
        try:
            _add(app, entry)
        except ReasonRLError as error:
            if entry.name == wanted and wanted not in own:
                raise
            typer.echo(f"warning: {error}", err=True)


def command_warnings(app: typer.Typer) -> Sequence[PluginWarning]:
    """Return what is wrong with the commands that packages bring; adds those that are well."""
    warnings = []
    for entry in _entries():
        try:
            _add(app, entry)
        except ReasonRLError as error:
            warnings.append(PluginWarning(owner_of(entry), str(error)))
    return warnings


def _entries() -> list[EntryPoint]:
    """Return what is registered, our own first: a name that two packages want is the first one's."""
    by_owner = sorted(entry_points(group=GROUP), key=owner_of)
    return sorted(by_owner, key=lambda entry: not owner_of(entry).endswith("(reasonrl)"))


def _relevant(own: Collection[str], wanted: str | None) -> list[EntryPoint]:
    entries = _entries()
    if wanted is None:
        return entries
    if asked := [entry for entry in entries if entry.name == wanted]:
        return asked
    is_listed = wanted in HELP or not (wanted in own or wanted.startswith("-"))  # an unknown word is told all names
    return [entry for entry in entries if is_listed and entry.name not in own]


def _add(app: typer.Typer, entry: EntryPoint) -> None:
    added = _load(entry)
    present = {info.name: info.typer_instance for info in app.registered_groups}.get(entry.name)
    if present is None:
        if entry.name in _names(app):
            raise PluginError(f"{_label(entry)}: {entry.name!r} is a command already, and stays what it is.")
        return app.add_typer(added, name=entry.name)
    taken = _taken(present, added)
    present.registered_commands += [each for each in _new_commands(present, added) if _command_name(each) not in taken]
    present.registered_groups += [each for each in _new_groups(present, added) if _group_name(each) not in taken]
    if taken:
        names = " and ".join(f"'{entry.name} {name}'" for name in taken)
        raise PluginError(f"{_label(entry)}: {names} is a command already, and stays what it is.")
    return None


def _load(entry: EntryPoint) -> typer.Typer:
    """Import a package's commands, and see that they can be parsed."""
    with guarded_import("commands", owner_of(entry), timeout_s=IMPORT_TIMEOUT_S):
        added: Any = entry.load()  # Any: anybody's object
        if not isinstance(added, typer.Typer):
            raise PluginError(f"{_label(entry)}: is of type {type(added).__name__}, not a typer.Typer.")
        get_command(added)  # raises where a command cannot be parsed, which would end every command of the program
        return added


def _label(entry: EntryPoint) -> str:
    return label("commands", owner_of(entry))


def _names(app: typer.Typer) -> set[str]:
    return {*map(_command_name, app.registered_commands), *map(_group_name, app.registered_groups)}


def _new_commands(present: typer.Typer, added: typer.Typer) -> list[CommandInfo]:
    return [each for each in added.registered_commands if each not in present.registered_commands]


def _new_groups(present: typer.Typer, added: typer.Typer) -> list[TyperInfo]:
    return [each for each in added.registered_groups if each not in present.registered_groups]


def _taken(present: typer.Typer, added: typer.Typer) -> list[str]:
    new = [*map(_command_name, _new_commands(present, added)), *map(_group_name, _new_groups(present, added))]
    return sorted(_names(present).intersection(new))


def _command_name(command: CommandInfo) -> str:
    assert command.callback is not None, "a command is registered with its function"
    return command.name or get_command_name(command.callback.__name__)


def _group_name(group: TyperInfo) -> str:
    return str(group.name or "")
