"""``reasonrl prompts``: which prompt to train with."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from reasonrl.api.progress import progress
from reasonrl.commands.arguments import AsJson, Overrides, RunFile

app = typer.Typer(help="Prompts: which template and system message to train with.", no_args_is_help=True)


@app.callback()
def _prompts() -> None:
    """Keep `compare` a command of its own name."""


@app.command()
def compare(
    run: RunFile,
    overrides: Overrides = None,
    templates: Annotated[
        list[str] | None,
        typer.Option("--template", help="A template or a file of one; every installed one if not given."),
    ] = None,
    systems: Annotated[
        list[str] | None, typer.Option("--system", help="A system message, tried with every template that is a chat.")
    ] = None,
    num_problems: Annotated[int, typer.Option(min=2, help="Training problems.")] = 100,
    num_samples: Annotated[int, typer.Option(min=1, help="Completions of each problem with each prompt.")] = 4,
    out: Annotated[Path | None, typer.Option(help="Folder for the samples; prompts/NAME if not given.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin anew where samples are there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure several prompts on a run's model before training, by the run's own rewards; the best one is named."""
    from reasonrl.config.find import find_run
    from reasonrl.config.runfile import load_run
    from reasonrl.plugins.lookup import Plugins
    from reasonrl.run.prompts import candidates, compare_prompts, render_prompts
    from reasonrl.run.sample import SampleRequest

    config = load_run(find_run(run, "policy"), overrides or [])
    request = SampleRequest(config=config, num_problems=num_problems, num_samples=num_samples)
    plugins = Plugins(timeout_s=config.plugins.timeout_s)
    folder = out or Path("prompts") / config.name
    prompts = candidates(config, templates or [], systems or [], plugins)
    with progress("sampling") as tell:
        comparison, left_out = compare_prompts(request, prompts, plugins, folder, overwrite=overwrite, tell=tell)
    if as_json:
        typer.echo(json.dumps({**asdict(comparison), "left_out": left_out}, indent=2, allow_nan=False))
    else:
        typer.echo(render_prompts(comparison, left_out, request, folder))
