"""``reasonrl plan`` and ``reasonrl doctor``: look at a run before it trains, or at this machine."""

import json
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Annotated, Final

import typer

from reasonrl.commands.arguments import AsJson, Overrides, RunFile
from reasonrl.errors import PluginError, ReasonRLError, RunError
from reasonrl.plugins.boundary import guarded_import, label
from reasonrl.plugins.loading import owner_of

if TYPE_CHECKING:
    from reasonrl.config.kinds import AnyConfig
    from reasonrl.plugins.lookup import Plugins
    from reasonrl.run.plan.estimates import Plan

DOCTOR_TIMEOUT_S: Final = 300.0
"""Longest time in seconds that a package may take to look at this machine."""


def plan(run: RunFile, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Say what a run would do and take: data, steps, time and memory, measured on one step. Writes nothing.

    Of a pipeline, say it of each stage.
    """
    from reasonrl.config.find import find_run
    from reasonrl.config.runfile import load_any
    from reasonrl.config.stages import is_pipeline_file, load_pipeline
    from reasonrl.plugins.lookup import Plugins

    if is_pipeline_file(path := find_run(run)):
        from reasonrl.run.pipeline.plan import plan_pipeline

        found = plan_pipeline(load_pipeline(path, overrides or []), lambda config: _plan(config, Plugins()))
        typer.echo(found.printed(as_json))
        return
    planned = _plan(load_any(path, overrides or []), Plugins())
    typer.echo(json.dumps(planned.record(), indent=2) if as_json else planned.text())


def _plan(config: "AnyConfig", plugins: "Plugins") -> "Plan":
    """Return the plan of a run of any kind."""
    from reasonrl.config.finetune import FinetuneConfig
    from reasonrl.config.settings import RunConfig

    if isinstance(config, RunConfig):
        from reasonrl.run.plan import plan_run

        return plan_run(config, plugins)
    if isinstance(config, FinetuneConfig):
        from reasonrl.run.finetune.plan import plan_finetune

        return plan_finetune(config, plugins)
    from reasonrl.run.reward_model.plan import plan_reward_model

    return plan_reward_model(config, plugins)


def doctor(
    run: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="A recipe's name, or the path of a run file; without it, this machine."),
    ] = None,
    overrides: Overrides = None,
    engine: Annotated[str | None, typer.Option(help="Sample with this engine; the run file's if not given.")] = None,
    steps: Annotated[int | None, typer.Option(min=2, help="Steps to take at learning rate 0; 3 if not given.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check a run before it trains: its prompts and first scores, and steps that must change nothing.

    Without a run, say what this machine offers to the installed packages, such as the isolation of programs.
    """
    if run is None:
        for option, given in (("--engine", engine), ("--steps", steps)):
            if given is not None:
                raise typer.BadParameter("needs a RUN that is to be examined", param_hint=option)
        return _describe_machine(as_json)
    from reasonrl.config.find import find_run
    from reasonrl.config.runfile import load_run
    from reasonrl.plugins.lookup import Plugins
    from reasonrl.run.doctor import examine_run

    settings = [*(overrides or []), *([f"rollout.engine={engine}"] if engine else [])]
    config = load_run(find_run(run, "policy"), settings)
    found = examine_run(config, Plugins(), steps=steps or 3, say=(lambda _: None) if as_json else typer.echo)
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=2, ensure_ascii=False))
    raise typer.Exit(0 if found.passed else RunError.exit_code)


def _describe_machine(as_json: bool) -> None:
    """Print what packages say of this machine, and what is wrong with any of them.

    What they say comes from functions without arguments in the entry-point group ``reasonrl.doctor``.
    """
    from reasonrl.commands.plugins import plugin_warnings
    from reasonrl.plugins.lookup import Plugins

    said: dict[str, str] = {}
    warnings: list[str] = []
    for entry in entry_points(group="reasonrl.doctor"):
        try:
            said[owner_of(entry)] = _said_by(entry)
        except ReasonRLError as error:
            warnings.append(f"warning: {error}")
    warnings += plugin_warnings(Plugins())
    machine = {"machine": said, "warnings": warnings}
    typer.echo(json.dumps(machine, indent=2) if as_json else "\n".join([*said.values(), *warnings]))


def _said_by(entry: EntryPoint) -> str:
    owner = owner_of(entry)
    with guarded_import("doctor", owner, timeout_s=DOCTOR_TIMEOUT_S):
        said = entry.load()()
        if not isinstance(said, str):
            raise PluginError(f"{label('doctor', owner)}: returned a value of type {type(said).__name__}, not text.")
        return said
