"""``reasonrl compare``."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from reasonrl.evaluation.primaries import Model, Primary


def compare(
    results: Annotated[
        list[str],
        typer.Argument(
            metavar="A [B ...]",
            help="Results, a run directory, or RUN@STEP; one run alone compares its last evaluation with its first.",
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
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON in place of tables.")] = False,
) -> None:
    """Compare evaluations, paired by problem; p-values of primary figures are corrected by Holm's method."""
    from reasonrl.evaluation.pairs_text import left_out, pair_values, render_pairs
    from reasonrl.evaluation.primaries import Primary, compare_models, with_primaries

    models = _models(results, suites or [])
    pairs = compare_models(models, all_pairs=all_pairs, allow_prompt_mismatch=allow_prompt_mismatch, ks=ks or [])
    named = [Primary.parse(text) for text in primaries or []]
    chosen, absent = (named, []) if named else _preregistered(models, {pair.suite for pair in pairs})
    pairs = with_primaries(pairs, chosen)
    notes = [*left_out(models, pairs), *absent]
    if as_json:
        typer.echo(json.dumps({"pairs": [*map(pair_values, pairs)], "notes": notes}, indent=2))
        return
    typer.echo("\n\n".join([render_pairs(pairs), *(["\n".join(notes)] if notes else [])]))


def _models(given: "Sequence[str]", suites: "Sequence[str]") -> "list[Model]":
    """Read what was named; one run is its first and its last evaluation."""
    from reasonrl.evaluation.files import read_measured
    from reasonrl.evaluation.find import results_by_suite
    from reasonrl.evaluation.primaries import Model

    named = [(name, results_by_suite(name, suites)) for name in given] if len(given) > 1 else _ends(given[0], suites)
    return [
        Model(name=name, measured={suite: read_measured(folder) for suite, folder in folders.items()})
        for name, folders in named
    ]


def _ends(run: str, suites: "Sequence[str]") -> "list[tuple[str, Mapping[str, Path]]]":
    """Return the first and the last results of a run's suites, each with a name."""
    from reasonrl.evaluation.find import first_and_last, step_of

    pairs = first_and_last(Path(run), suites)
    ends: list[tuple[str, Mapping[str, Path]]] = []
    for which, name in enumerate(("first", "last")):
        folders = {suite: folders[which] for suite, folders in pairs.items()}
        steps = {step_of(folder) for folder in folders.values()}
        ends.append((f"{run}@{steps.pop()}" if len(steps) == 1 else f"{run}, {name} of each suite", folders))
    return ends


def _preregistered(models: "Sequence[Model]", compared: "Container[str]") -> "tuple[Sequence[Primary], Sequence[str]]":
    """Return the figures that the runs named beforehand, and what to say of those that are not compared here."""
    from reasonrl.evaluation.primaries import preregistered

    named = preregistered(measured.folder for model in models for measured in model.measured.values())
    absent = [
        f"primary {primary.suite}/{primary.metric} is not compared here: Holm's correction is over the others alone"
        for primary in named
        if primary.suite not in compared
    ]
    return [primary for primary in named if primary.suite in compared], absent
