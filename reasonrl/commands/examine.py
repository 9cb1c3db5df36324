"""``reasonrl plan`` and ``reasonrl doctor``: look at a run before it trains, or at this machine."""

from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Final

import typer

from reasonrl.commands.arguments import Overrides, RunFile, find_run
from reasonrl.errors import PluginError, ReasonRLError
from reasonrl.plugins.boundary import guarded_import, label
from reasonrl.plugins.loading import owner_of

DOCTOR_TIMEOUT_S: Final = 300.0
"""Longest time in seconds that a package may take to look at this machine."""


def plan(run: RunFile, overrides: Overrides = None) -> None:
    """Say what a run would do: data, steps, time measured in a probe, memory. Writes nothing."""
    from reasonrl.config.runfile import load_any
    from reasonrl.config.settings import RunConfig
    from reasonrl.plugins.lookup import Plugins

    config = load_any(find_run(run), overrides or [])
    if isinstance(config, RunConfig):
        from reasonrl.run.plan import plan_run

        return typer.echo(plan_run(config, Plugins()))
    from reasonrl.run.reward_model.plan import plan_reward_model

    return typer.echo(plan_reward_model(config, Plugins()))


def doctor(
    run: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="A recipe's name, or the path of a run file; without it, this machine."),
    ] = None,
    overrides: Overrides = None,
    engine: Annotated[str | None, typer.Option(help="Sample with this engine; the run file's if not given.")] = None,
    steps: Annotated[int | None, typer.Option(min=2, help="Steps to take at learning rate 0; 3 if not given.")] = None,
) -> None:
    """Check a run before it trains: its prompts and first scores, and steps that must change nothing.

    Without a run, say what this machine offers to the installed packages, such as the isolation of programs.
    """
    if run is None:
        for option, given in (("--engine", engine), ("--steps", steps)):
            if given is not None:
                raise typer.BadParameter("needs a RUN that is to be examined", param_hint=option)
        return _describe_machine()
    from reasonrl.config.runfile import load_run
    from reasonrl.plugins.lookup import Plugins
    from reasonrl.run.doctor import examine_run

    settings = [*(overrides or []), *([f"rollout.engine={engine}"] if engine else [])]
    config = load_run(find_run(run, "policy"), settings)
    raise typer.Exit(examine_run(config, Plugins(), steps=steps or 3, say=typer.echo))


def _describe_machine() -> None:
    """Print what packages say of this machine, and what is wrong with any of them.

    What they say comes from functions without arguments in the entry-point group ``reasonrl.doctor``.
    """
    from reasonrl.commands.plugins import plugin_warnings
    from reasonrl.plugins.lookup import Plugins

    for entry in entry_points(group="reasonrl.doctor"):
        try:
            typer.echo(_said_by(entry))
        except ReasonRLError as error:
            typer.echo(f"warning: {error}")
    for warning in plugin_warnings(Plugins()):
        typer.echo(warning)


def _said_by(entry: EntryPoint) -> str:
    owner = owner_of(entry)
    with guarded_import("doctor", owner, timeout_s=DOCTOR_TIMEOUT_S):
        said = entry.load()()
        if not isinstance(said, str):
            raise PluginError(f"{label('doctor', owner)}: returned a value of type {type(said).__name__}, not text.")
        return said
