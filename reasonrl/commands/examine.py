"""``reasonrl plan`` and ``reasonrl doctor``: look at a run before it trains, or at this machine."""

from importlib.metadata import entry_points
from typing import Annotated

import typer

from reasonrl.commands.arguments import Overrides, RunFile, find_run


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
    """Print what packages say of this machine: functions without arguments in the group ``reasonrl.doctor``."""
    for entry in entry_points(group="reasonrl.doctor"):
        typer.echo(entry.load()())
