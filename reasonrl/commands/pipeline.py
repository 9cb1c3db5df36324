"""``reasonrl pipeline``."""

import json
from functools import partial
from typing import Annotated

import typer

from reasonrl.commands.arguments import AsJson
from reasonrl.commands.complete import run_files


def pipeline(
    name: Annotated[
        str,
        typer.Argument(
            metavar="PIPELINE", help="A recipe's name, or the path of a pipeline file.", autocompletion=run_files
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY.PATH=VALUE]...", help="Replace settings; STAGE.KEY.PATH=VALUE those of a stage."),
    ] = None,
    status: Annotated[bool, typer.Option("--status", help="Say how each stage stands, and do nothing.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Do all stages anew.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run the stages of a pipeline, and compare their models; the same command goes on where it was stopped."""
    from reasonrl.api.evaluation_progress import evaluation_progress
    from reasonrl.config.find import find_run
    from reasonrl.config.stages import load_pipeline
    from reasonrl.errors import ConfigError
    from reasonrl.run.pipeline.execute import standings
    from reasonrl.run.pipeline.run import run_pipeline

    found = load_pipeline(find_run(name), overrides or [])
    if status:
        if overwrite:
            raise ConfigError("--status does nothing, and --overwrite does all anew: give one of them.")
        stood = standings(found)
        records = [
            {"name": one.stage.name, "kind": one.stage.kind, "standing": one.standing, "why": one.why} for one in stood
        ]
        typer.echo(json.dumps(records, indent=2) if as_json else "\n".join(one.line() for one in stood))
        return
    say = partial(typer.echo, err=as_json)
    table = run_pipeline(found, say, evaluation_progress, overwrite=overwrite, quiet=as_json)
    typer.echo(table.printed(as_json))
