"""``reasonrl compare``."""

import json
from typing import Annotated

import typer

from reasonrl.commands.arguments import AsJson
from reasonrl.commands.complete import checkpoints


def compare(
    results: Annotated[
        list[str],
        typer.Argument(
            metavar="A [B ...]",
            help="Results, a run directory, or RUN@STEP; one run alone compares its last evaluation with its first.",
            autocompletion=checkpoints,
        ),
    ],
    suites: Annotated[
        list[str] | None, typer.Option("--suite", help="Which suite; all that both have if not given.")
    ] = None,
    primaries: Annotated[
        list[str] | None,
        typer.Option("--primary", help="SUITE/METRIC to judge by, in place of those that the runs named beforehand."),
    ] = None,
    all_pairs: Annotated[bool, typer.Option("--all-pairs", help="Every two, in place of each with the first.")] = False,
    ks: Annotated[list[int] | None, typer.Option("--k", min=1, help="k of pass@k and its like; powers of 2.")] = None,
    allow_prompt_mismatch: Annotated[
        bool, typer.Option("--allow-prompt-mismatch", help="Compare although the prompts differ.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare evaluations, paired by problem; p-values of primary figures are corrected by Holm's method."""
    from reasonrl.api.comparison import compare as compared

    found = compared(
        *results,
        suites=suites or (),
        primaries=primaries or (),
        all_pairs=all_pairs,
        ks=ks or (),
        allow_prompt_mismatch=allow_prompt_mismatch,
    )
    typer.echo(json.dumps(found.to_json(), indent=2) if as_json else str(found))
