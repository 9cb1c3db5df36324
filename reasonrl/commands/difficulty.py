"""``reasonrl difficulty``."""

from pathlib import Path
from typing import Annotated

import typer

from reasonrl.api.progress import progress
from reasonrl.commands.arguments import AsJson, Overrides, RunFile


def difficulty(
    run: RunFile,
    overrides: Overrides = None,
    num_samples: Annotated[int, typer.Option(min=1, help="Completions of each problem.")] = 8,
    num_problems: Annotated[int | None, typer.Option(min=1, help="Problems to measure; all if not given.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="File for the pass rates, one JSON object a problem; difficulty/NAME.jsonl.")
    ] = None,
    pass_at: Annotated[
        float | None,
        typer.Option(help="Smallest total reward that passes; 1, or what rewards can add up to where that is less."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Sample anew where completions are there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Measure how often a run's policy passes each training problem; the same command goes on where it was stopped."""
    from reasonrl.config.find import find_run
    from reasonrl.config.runfile import load_run
    from reasonrl.plugins.lookup import Plugins
    from reasonrl.run.difficulty import DifficultyRequest, measure_difficulty

    config = load_run(find_run(run, "policy"), overrides or [])
    request = DifficultyRequest(
        config=config,
        out=out or Path("difficulty") / f"{config.name}.jsonl",
        num_samples=num_samples,
        num_problems=num_problems,
        pass_at=pass_at,
    )
    plugins = Plugins(timeout_s=config.plugins.timeout_s)
    with progress("sampling") as tell:
        found = measure_difficulty(request, plugins, overwrite=overwrite, tell=tell)
    typer.echo(found.printed(as_json))
