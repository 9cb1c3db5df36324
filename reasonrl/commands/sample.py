"""``reasonrl sample``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from reasonrl.api.progress import progress
from reasonrl.commands.arguments import AsJson, Overrides
from reasonrl.commands.complete import run_files


def sample(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A recipe's name, the path of a run file, or a run directory or RUN@STEP: its trained model.",
            autocompletion=run_files,
        ),
    ],
    out: Annotated[Path, typer.Option(help="File for the rows, one JSON object a line.")],
    overrides: Overrides = None,
    schema: Annotated[
        Literal["samples", "sft", "preference", "kto"],
        typer.Option(help="Completions with their scores, or rows of TRL's schemas for finetuning."),
    ] = "samples",
    keep: Annotated[
        Literal["best", "right", "all"] | None,
        typer.Option(help="The best of each problem, all right ones, or all; the schema's usual one if not given."),
    ] = None,
    per_problem: Annotated[int | None, typer.Option(min=1, help="Most rows of a problem.")] = None,
    label: Annotated[
        str | None, typer.Option(help="What says which is better: score, or the label of one of the run's rewards.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="From this label on a completion is right; 1, or what rewards can add up to.")
    ] = None,
    truncated: Annotated[
        bool, typer.Option("--truncated", help="Keep completions that the token limit has cut as good ones too.")
    ] = False,
    samples: Annotated[
        Path | None, typer.Option(help="File of all completions, to go on with; OUT.samples.jsonl if not given.")
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="Sample with this engine, or at this address; the run file's if not given.")
    ] = None,
    num_samples: Annotated[
        int | None, typer.Option(min=1, help="Completions of each problem; rollout.samples_per_prompt if not given.")
    ] = None,
    num_problems: Annotated[int | None, typer.Option(min=1, help="Problems to sample; all if not given.")] = None,
    split: Annotated[Literal["train", "heldout"], typer.Option(help="Which problems of the task.")] = "train",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin anew where files are there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Sample a run's policy, and keep what is to be learned from; the same command goes on where it was stopped."""
    from reasonrl.config.runfile import load_run
    from reasonrl.plugins.lookup import Plugins
    from reasonrl.preference.selection import SCORE, Selection
    from reasonrl.run.sample import SampleRequest, engine_settings, sampled_run
    from reasonrl.run.sample_rows import RowsRequest, sample_rows

    selection = Selection(
        schema=schema,
        keep=keep,
        label=label or SCORE,
        threshold=threshold,
        per_problem=per_problem,
        truncated=truncated,
    )
    endpoint, settings = engine_settings(engine)
    file, model = sampled_run(run)
    config = load_run(file, [*model, *(overrides or []), *settings])
    sampling = SampleRequest(
        config=config, split=split, num_problems=num_problems, num_samples=num_samples, endpoint=endpoint
    )
    request = RowsRequest(sampling=sampling, selection=selection, out=out, samples=samples, overwrite=overwrite)
    with progress("sampling") as tell:
        found = sample_rows(request, Plugins(timeout_s=config.plugins.timeout_s), tell)
    typer.echo(found.printed(as_json))
