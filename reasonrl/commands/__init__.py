"""The command line: parse, look up, call. A user's mistake ends in one message and an exit code."""

import errno
import os
import sys
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any

import typer

from reasonrl import __version__
from reasonrl.commands import config, evaluate, examine, kinds, models, rm, sample, train
from reasonrl.errors import ReasonRLError, RunError

app = typer.Typer(
    help="Reasoning RL with verifiable rewards: sample groups, score them with plugins, learn, measure held-out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(train.train)
app.command()(examine.plan)
app.command()(examine.doctor)
app.command("eval")(evaluate.evaluate)
app.command()(evaluate.compare)
app.command()(sample.sample)
app.add_typer(config.app, name="config")
app.add_typer(models.app, name="models")
app.add_typer(rm.app, name="rm")
for _kind in kinds.KINDS:
    app.add_typer(kinds.kind_app(_kind), name=_kind)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(f"reasonrl {__version__}")
        raise typer.Exit


def add_installed_commands(wanted: str | None = None) -> None:
    """Add the command groups that packages register under the entry-point group ``reasonrl.commands``.

    A group whose name is there already, such as ``rewards``, gets the package's commands beside its own. One that
    cannot be imported is named on standard error and takes no other command with it.

    Args:
        wanted: the command that was typed, or nothing: a package is then imported only where that may be one of its
            own, or where its group is to be listed. None imports all.
    """
    groups = {group.name: group.typer_instance for group in app.registered_groups}
    core = {*groups, "train", "plan", "doctor", "eval", "compare", "sample"}
    for entry in entry_points(group="reasonrl.commands"):
        if wanted not in (None, entry.name) and (wanted in core or entry.name in core):
            continue
        installed = _imported(entry)
        if installed is None:
            continue
        if (present := groups.get(entry.name)) is None:
            app.add_typer(installed, name=entry.name)
            groups[entry.name] = installed
        else:
            present.registered_commands += [
                command for command in installed.registered_commands if command not in present.registered_commands
            ]


def _imported(entry: EntryPoint) -> typer.Typer | None:
    """Import a package's commands; say why where that is not possible."""
    try:
        installed: Any = entry.load()  # Any: anybody's object
    except Exception as error:  # anybody's code: whatever it raises is the cause
        cause = f"cannot be imported: {type(error).__name__}: {error}"
    else:
        if isinstance(installed, typer.Typer):
            return installed
        cause = f"is a {type(installed).__name__}, not a typer.Typer"
    typer.echo(f"warning: commands {entry.name!r} ({entry.value}): {cause}", err=True)
    return None


def main() -> None:
    """Run the command line; an error of ours is one message on standard error."""
    # torch reads it once, at its first tensor: large pages save the time that page faults and address look-ups take.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    try:
        add_installed_commands(sys.argv[1] if len(sys.argv) > 1 else "")
        app()
    except ReasonRLError as error:
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted.", 130)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _fail(f"the disk is full: {error.filename or ''}. Free space and try again.", RunError.exit_code)


def _fail(message: str, code: int) -> None:
    typer.echo(f"error: {message}", err=True)
    sys.exit(code)
