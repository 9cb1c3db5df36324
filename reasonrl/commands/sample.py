"""``reasonrl sample``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from reasonrl.api.progress import progress
from reasonrl.commands.arguments import AsJson, Overrides, RunFile


def sample(
    run: RunFile,
    out: Annotated[Path, typer.Option(help="File for the completions, one JSON object a line.")],
    overrides: Overrides = None,
    num_samples: Annotated[
        int | None, typer.Option(min=1, help="Completions of each problem; rollout.samples_per_prompt if not given.")
    ] = None,
    num_problems: Annotated[int | None, typer.Option(min=1, help="Problems to sample; all if not given.")] = None,
    split: Annotated[Literal["train", "heldout"], typer.Option(help="Which problems of the task.")] = "train",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin anew where the file is there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Sample completions of a run's policy with their scores; the same command goes on where it was stopped."""
    from reasonrl.config.find import find_run
    from reasonrl.config.runfile import load_run
    from reasonrl.plugins.lookup import Plugins
    from reasonrl.run.sample import SampleRequest, sample_to_file

    config = load_run(find_run(run, "policy"), overrides or [])
    request = SampleRequest(config=config, split=split, num_problems=num_problems, num_samples=num_samples)
    plugins = Plugins(timeout_s=config.plugins.timeout_s)
    with progress("sampling") as tell:
        found = sample_to_file(request, out, plugins, overwrite=overwrite, tell=tell)
    typer.echo(found.printed(as_json))
